// Reads where nodes stand in the network from the descriptions that clusters have: Volcano
// HyperNodes, Slurm's topology.conf, and a short YAML file of our own (docs/topology.md).
//
// What a reader returns is a forest: a node or domain has one parent, and tiers grow towards the
// root. What a file leaves open stays unknown; nothing is guessed. Every error names
// file:line:column, and the work is bounded by the size of the text: at most 16 MiB, and
// kMaxNodeNames (hostlist.h) names from ranges such as n[0-17].
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "scheduler-core/base/result.h"
#include "topology/network.h"

namespace basalt::topology {

// Objects of kind HyperNode (topology.volcano.sh/v1alpha1): YAML documents, or a List in YAML or
// JSON as kubectl prints it; objects of other kinds in it are passed over. `nodes` are the
// cluster's nodes, which regexMatch and labelMatch choose from; empty when they are not known.
// A pattern matches anywhere in a name unless it is anchored (Go's MatchString).
Result<NetworkMap> ReadHyperNodes(const std::string& text, const std::string& file,
                                  const std::vector<NodeLabels>& nodes);

// Our own:
//   levels: [nvlink, rack, spine, zone]        # narrow to wide; tier i+1 is levels[i]
//   nodes:
//     - {node: n1, rack: r1, zone: z}          # a level that is left out is skipped
//     - {nodes: "g[0-17]", nvlink: c0}
//   tree:                                      # or nested, from the widest level
//     z: {spine0: {r2: "n[20-27]", r3: ["n28", "n29"]}}
Result<NetworkMap> ReadNetworkYaml(const std::string& text, const std::string& file);

// topology.conf of topology/tree (SwitchName= Nodes=|Switches=) or topology/block (BlockName=
// Nodes=). A switch is one tier above the highest of what hangs on it; blocks are tier 1.
Result<NetworkMap> ReadSlurmTopology(const std::string& text, const std::string& file);

// Whichever of these the text is.
Result<NetworkMap> ReadNetwork(const std::string& text, const std::string& file,
                               const std::vector<NodeLabels>& nodes);

}  // namespace basalt::topology
