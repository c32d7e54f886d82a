// What the readers of network descriptions share: the forest that switches or HyperNodes make, and
// the checks of a text and of its nodes.
//
// A Forest is domains by name and the domain of each node. After Link() it is a forest: every child
// exists, nothing has two parents, nothing is inside of itself.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "scheduler-core/base/result.h"
#include "scheduler-core/base/suggest.h"
#include "topology/network.h"

namespace basalt::topology::network {

inline constexpr std::size_t kMaxTextBytes = 16U << 20;

inline Status CheckText(const std::string& text, const std::string& file) {
  if (text.size() > kMaxTextBytes) return Fail(file, "is larger than 16 MiB");
  if (text.find('\0') != std::string::npos) return Fail(file, "contains a NUL byte");
  return {};
}

// A few of them, for a message.
inline std::string Some(const std::vector<std::string>& names) {
  constexpr std::size_t kShown = 5;
  const std::size_t shown = std::min(names.size(), kShown);
  std::string out = fmt::format(
      "{}", fmt::join(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(shown), ", "));
  if (names.size() > kShown) out += fmt::format(" and {} more", names.size() - kShown);
  return out;
}

// Differences between the description and the nodes there are. No nodes: nothing is known.
inline void WarnOfNodes(const std::vector<NodeLabels>& nodes, const std::string& file,
                        NetworkMap* map) {
  if (nodes.empty()) return;
  std::set<std::string_view> known;
  std::vector<std::string> missing;
  for (const NodeLabels& node : nodes) {
    known.insert(node.node);
    if (!map->paths.contains(node.node)) missing.push_back(node.node);
  }
  std::vector<std::string> unknown;
  for (const auto& [name, path] : map->paths) {
    if (!known.contains(name)) unknown.push_back(name);
  }
  if (!unknown.empty()) {
    map->warnings.push_back(fmt::format("{}: {} named here that the cluster does not have: {}",
                                        file, unknown.size() == 1 ? "a node is" : "nodes are",
                                        Some(unknown)));
  }
  if (!missing.empty()) {
    map->warnings.push_back(
        fmt::format("{}: {} of {} nodes are not named here and in no domain: {}", file,
                    missing.size(), nodes.size(), Some(missing)));
  }
}

struct Domain {
  std::string name;
  std::string where;
  int tier = 0;  // 0: not known yet
  int parent = -1;
  std::vector<std::string> nodes;
  std::vector<std::pair<std::string, std::string>> children;  // name, place
  bool block = false;
};

// Domains by name, and where each node hangs.
class Forest {
 public:
  explicit Forest(std::string kind) : kind_(std::move(kind)) {}

  Status Add(Domain domain) {
    const auto [at, fresh] = by_name_.emplace(domain.name, static_cast<int>(domains_.size()));
    if (!fresh) {
      return Fail(domain.where, fmt::format("{} {} stands twice; first at {}", kind_, domain.name,
                                            domains_[static_cast<std::size_t>(at->second)].where));
    }
    domains_.push_back(std::move(domain));
    return {};
  }

  // Parents and the nodes' domains; one each. Refuses cycles: domains that no root is above.
  Status Link() {
    for (std::size_t i = 0; i < domains_.size(); ++i) {
      for (const auto& [name, where] : domains_[i].children) {
        const auto child = by_name_.find(name);
        if (child == by_name_.end()) return Fail(where, Unknown(name));
        int& parent = domains_[static_cast<std::size_t>(child->second)].parent;
        if (parent != -1 && parent != static_cast<int>(i)) {
          return Fail(where, TwoParents(kind_ + " " + name, parent, static_cast<int>(i)));
        }
        parent = static_cast<int>(i);
      }
      for (const std::string& node : domains_[i].nodes) {
        const auto [at, fresh] = home_.emplace(node, static_cast<int>(i));
        if (!fresh && at->second != static_cast<int>(i)) {
          return Fail(domains_[i].where,
                      TwoParents("node " + node, at->second, static_cast<int>(i)));
        }
      }
    }
    std::vector<int> walk(domains_.size(), -1);  // the last walk that came by
    for (std::size_t i = 0; i < domains_.size(); ++i) {
      for (int at = static_cast<int>(i); at != -1;) {
        int& mark = walk[static_cast<std::size_t>(at)];
        if (mark == static_cast<int>(i)) return Fail(Of(at).where, Cycle(at));
        if (mark != -1) break;  // an earlier walk went on from here to a root
        mark = static_cast<int>(i);
        at = Of(at).parent;
      }
    }
    return {};
  }

  NetworkMap Paths() const {
    NetworkMap map;
    for (const auto& [node, home] : home_) {
      NetworkPath& path = map.paths[node];
      for (int at = home; at != -1; at = Of(at).parent) path.push_back({Of(at).tier, Of(at).name});
    }
    return map;
  }

  std::vector<Domain>& domains() { return domains_; }
  const Domain& Of(int i) const { return domains_[static_cast<std::size_t>(i)]; }

 private:
  std::string Unknown(const std::string& name) const {
    std::vector<std::string> names;
    for (const Domain& domain : domains_) {
      if (names.size() < 1000) names.push_back(domain.name);
    }
    const std::string near = NearestName(name, names);
    return fmt::format("there is no {} {}{}", kind_, name,
                       near.empty() ? "" : fmt::format("; did you mean \"{}\"?", near));
  }
  std::string TwoParents(const std::string& what, int a, int b) const {
    return fmt::format("{} is in {} {} and in {}; it can be in one only", what, kind_, Of(a).name,
                       Of(b).name);
  }
  std::string Cycle(int from) const {
    std::vector<std::string> names;
    int at = from;
    do {
      names.push_back(Of(at).name);
      at = Of(at).parent;
    } while (at != from && names.size() < 20);
    names.push_back(Of(from).name);
    return fmt::format("{} is inside of itself: {}", kind_, fmt::join(names, " in "));
  }

  std::string kind_;
  std::vector<Domain> domains_;
  std::map<std::string, int> by_name_;
  std::unordered_map<std::string, int> home_;
};

}  // namespace basalt::topology::network
