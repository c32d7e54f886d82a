// Where a node stands in the network: a path of domains from the narrowest (an NVLink domain or a
// rack) to the widest (a zone). Tier 0 is the node itself; larger tiers are wider; what a tier is
// called and which tiers exist is the cluster's choice. Trees may be of mixed depth: a node may
// skip tiers.
//
// Unknown is not a domain: a node whose rack is unknown is in no rack, and two such nodes are never
// together in one. A domain is identified by its whole path, so two racks called "r1" in different
// zones are different.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "scheduler-core/base/result.h"

namespace basalt::topology {

inline constexpr int kMaxTiers = 16;

struct DomainStep {
  int tier = 1;  // 1..kMaxTiers
  std::string name;
  friend auto operator<=>(const DomainStep&, const DomainStep&) = default;
};
// Ascending in tier, each tier at most once, no empty name.
using NetworkPath = std::vector<DomainStep>;
Status ValidatePath(const NetworkPath& path, const std::string& where);

// What the readers (files/network_files.h) produce.
struct NetworkMap {
  std::map<int, std::string> tier_names;     // 1 -> "nvlink", 2 -> "rack"
  std::map<std::string, NetworkPath> paths;  // by node name; a node that is missing is unknown
  std::vector<std::string> warnings;         // "node n7: label rack is missing: in no rack"
};

// Levels from narrow to wide with the node label that names a node's domain there, first found
// wins: {"nvlink", {"nvidia.com/gpu.clique"}}, {"rack", {"topology.kubernetes.io/rack"}}. Tier i+1
// is levels[i]. A label that is missing or empty is unknown.
struct NetworkLevel {
  std::string name;
  std::vector<std::string> label_keys;
};
struct NodeLabels {
  std::string node;
  std::vector<std::pair<std::string, std::string>> labels;
};
Result<NetworkMap> NetworkFromLabels(const std::vector<NetworkLevel>& levels,
                                     const std::vector<NodeLabels>& nodes);
// The label keys in common use (GPU feature discovery, topograph, Kubernetes): nvlink, rack (leaf),
// spine, zone.
const std::vector<NetworkLevel>& CommonNetworkLevels();

}  // namespace basalt::topology
