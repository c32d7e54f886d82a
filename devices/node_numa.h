// The NUMA nodes of a Kubernetes node, from its NodeResourceTopology
// (topology.node.k8s.io/v1alpha2, written by the exporters of the topology-aware scheduling group):
// what each may hand out, and how kubelet's Topology Manager aligns pods to them.
#pragma once

#include <string>
#include <vector>

#include "devices/registration.h"
#include "devices/resources.h"
#include "scheduler-core/cluster/inventory.h"

namespace basalt::devices {

struct NumaZone {
  std::string name = {};  // ends in the NUMA node's number: "node-0"
  Amounts allocatable = {};
};
struct NumaReport {
  std::vector<NumaZone> zones = {};  // none: there is no report
  std::string policy = {};           // "single-numa-node"; or, older, "SingleNUMANodePodLevel"
  std::string scope = {};            // "container" or "pod"
};

// Puts the report into a node whose cards are read already; true: it counts. `only`: the node's one
// register, whose cards get their NUMA nodes where nothing else tells them; null: there are
// several. What cannot be read or used is left out, with a note: an exporter's fault costs no node.
// Zones that have more CPU or memory together than the node may hand out are cut alike.
bool ReadNumaReport(const NumaReport& report, const Register* only, NodeSpec* node,
                    std::vector<std::string>* notes);

}  // namespace basalt::devices
