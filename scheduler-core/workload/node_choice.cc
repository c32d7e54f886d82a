#include "scheduler-core/workload/node_choice.h"

#include <algorithm>
#include <utility>

namespace basalt {

bool NodeChoice::Allows(NodeId node) const {
  const auto in = [node](const std::vector<NodeId>& nodes) {
    return std::find(nodes.begin(), nodes.end(), node) != nodes.end();
  };
  return (only.empty() || in(only)) && !in(excluded);
}

void NodeMask::Restrict(const NodeChoice& choice) {
  if (!choice.only.empty()) {
    std::vector<char> of(allowed_.size(), 0);
    for (const NodeId node : choice.only) {
      if (node.index() < of.size()) of[node.index()] = allowed_[node.index()];
    }
    allowed_ = std::move(of);
  }
  for (const NodeId node : choice.excluded) {
    if (node.index() < allowed_.size()) allowed_[node.index()] = 0;
  }
}

}  // namespace basalt
