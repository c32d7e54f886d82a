// Nodes that one decision must not use, or the only ones that it may: vetoes of whoever asks, or a
// node that was chosen outside. It narrows that decision and is no part of what is asked: not
// fitting because of it is Wait, never Infeasible. Reservations of backfill do not look at it.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "scheduler-core/base/ids.h"

namespace basalt {

// Ids are of the moment: make it anew for each decision, events between may give a slot to another
// node. Nodes that are gone are passed over. Order and repetitions mean nothing.
struct NodeChoice {
  std::vector<NodeId> excluded;
  std::vector<NodeId> only;  // empty: all. One invalid id: none
  bool empty() const { return excluded.empty() && only.empty(); }
  bool Allows(NodeId node) const;
};

// The same as one byte a node, for who asks about many nodes.
class NodeMask {
 public:
  explicit NodeMask(std::size_t node_slots) : allowed_(node_slots, 1) {}
  NodeMask(const NodeChoice& choice, std::size_t node_slots) : NodeMask(node_slots) {
    Restrict(choice);
  }
  void Restrict(const NodeChoice& choice);
  bool Allows(NodeId node) const {
    return node.index() < allowed_.size() && allowed_[node.index()] != 0;
  }

 private:
  std::vector<char> allowed_;
};

}  // namespace basalt
