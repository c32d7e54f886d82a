#include "topology/network.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

namespace basalt::topology {
namespace {

// NVLink cliques are named <cluster UUID>.<clique>; the nil UUID says that no fabric manager has
// assigned one. Taken as a name it would join all such nodes to one domain.
bool IsUnassigned(std::string_view value) {
  return value.starts_with("00000000-0000-0000-0000-000000000000");
}

struct Found {
  std::string value;    // empty: unknown
  std::string problem;  // why
};

Found FindDomain(const NetworkLevel& level, const NodeLabels& node) {
  std::string problem;
  for (const std::string& key : level.label_keys) {
    for (const auto& [label, value] : node.labels) {
      if (label != key) continue;
      const auto first = value.find_first_not_of(" \t");
      if (first == std::string::npos) {
        problem = fmt::format("label {} is empty", key);
      } else if (IsUnassigned(value)) {
        problem = fmt::format("label {} has no cluster UUID ({})", key, value);
      } else {
        return {value, ""};
      }
    }
  }
  if (problem.empty()) {
    problem = fmt::format("label {} is missing", fmt::join(level.label_keys, " or "));
  }
  return {"", problem};
}

Status CheckLevels(const std::vector<NetworkLevel>& levels) {
  if (levels.empty()) return Fail("network levels", "name at least one level");
  if (levels.size() > static_cast<std::size_t>(kMaxTiers)) {
    return Fail("network levels",
                fmt::format("{} levels, at most {} are possible", levels.size(), kMaxTiers));
  }
  std::set<std::string> names;
  for (const NetworkLevel& level : levels) {
    if (level.name.empty()) return Fail("network levels", "a level has no name");
    if (!names.insert(level.name).second) {
      return Fail("network levels", fmt::format("level \"{}\" stands twice", level.name));
    }
    if (level.label_keys.empty()) {
      return Fail("network levels", fmt::format("level \"{}\" has no label key", level.name));
    }
  }
  return {};
}

// A domain is its whole path. A node that names a domain but not one of the wider ones is
// therefore not together with those that name both: safe, and worth saying.
void WarnOfSplitDomains(std::size_t levels, NetworkMap* map) {
  std::set<DomainStep> complete;  // domains of nodes that know all tiers above
  const auto knows_all_above = [levels](const NetworkPath& path, std::size_t at) {
    return path.size() - at == levels - static_cast<std::size_t>(path[at].tier) + 1;
  };
  for (const auto& [node, path] : map->paths) {
    for (std::size_t i = 0; i < path.size(); ++i) {
      if (knows_all_above(path, i)) complete.insert(path[i]);
    }
  }
  for (const auto& [node, path] : map->paths) {
    for (std::size_t i = 0; i < path.size(); ++i) {
      if (knows_all_above(path, i) || !complete.contains(path[i])) continue;
      map->warnings.push_back(fmt::format(
          "node {}: {} {} is not known to be the one of other nodes, because a wider domain is "
          "unknown: kept apart",
          node, map->tier_names[path[i].tier], path[i].name));
      break;
    }
  }
}

}  // namespace

Status ValidatePath(const NetworkPath& path, const std::string& where) {
  int last = 0;
  for (const DomainStep& step : path) {
    if (step.tier < 1 || step.tier > kMaxTiers) {
      return Fail(where, fmt::format("tier {} is outside 1..{}", step.tier, kMaxTiers));
    }
    if (step.name.empty()) {
      return Fail(where, fmt::format("the domain of tier {} has no name; leave an unknown one out",
                                     step.tier));
    }
    if (step.tier == last) return Fail(where, fmt::format("tier {} stands twice", step.tier));
    if (step.tier < last) {
      return Fail(where,
                  fmt::format("tier {} follows tier {}; write narrow to wide", step.tier, last));
    }
    last = step.tier;
  }
  return {};
}

Result<NetworkMap> NetworkFromLabels(const std::vector<NetworkLevel>& levels,
                                     const std::vector<NodeLabels>& nodes) {
  if (const Status status = CheckLevels(levels); !status) {
    return tl::unexpected<Error>(status.error());
  }
  NetworkMap map;
  std::vector<std::vector<std::string>> unknown(levels.size());  // warnings by level
  for (std::size_t i = 0; i < levels.size(); ++i) {
    map.tier_names[static_cast<int>(i) + 1] = levels[i].name;
  }
  for (const NodeLabels& node : nodes) {
    if (node.node.empty()) return Fail("network labels", "a node has no name");
    NetworkPath path;
    for (std::size_t i = 0; i < levels.size(); ++i) {
      Found found = FindDomain(levels[i], node);
      if (!found.value.empty()) {
        path.push_back({static_cast<int>(i) + 1, std::move(found.value)});
      } else {
        unknown[i].push_back(
            fmt::format("node {}: {}: in no {}", node.node, found.problem, levels[i].name));
      }
    }
    if (!map.paths.emplace(node.node, std::move(path)).second) {
      return Fail("network labels", fmt::format("node {} stands twice", node.node));
    }
  }
  for (std::size_t i = 0; i < levels.size(); ++i) {
    // A level that the cluster does not have is one warning, not one a node.
    if (nodes.size() > 1 && unknown[i].size() == nodes.size()) {
      map.warnings.push_back(fmt::format("no node names its {} (label {}): every node is in no {}",
                                         levels[i].name, fmt::join(levels[i].label_keys, " or "),
                                         levels[i].name));
    } else {
      std::move(unknown[i].begin(), unknown[i].end(), std::back_inserter(map.warnings));
    }
  }
  WarnOfSplitDomains(levels.size(), &map);
  return map;
}

const std::vector<NetworkLevel>& CommonNetworkLevels() {
  static const std::vector<NetworkLevel> levels = {
      {"nvlink",
       {"nvidia.com/gpu.clique", "ds.coreweave.com/nvlink.domain",
        "network.topology.nvidia.com/accelerator", "volcano.sh/hypernode"}},
      {"rack",
       {"network.topology.nvidia.com/leaf", "backend.coreweave.cloud/leafgroup", "volcano.sh/tor",
        "topology.kubernetes.io/rack"}},
      {"spine", {"network.topology.nvidia.com/spine", "backend.coreweave.cloud/superpod"}},
      // A fabric is inside a zone, and superpods are named inside a fabric: with the zone alone,
      // superpods of two fabrics could be taken for one.
      {"zone", {"backend.coreweave.cloud/fabric", "topology.kubernetes.io/zone"}},
  };
  return levels;
}

}  // namespace basalt::topology
