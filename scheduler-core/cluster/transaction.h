// The only way to change what is taken. A Transaction logs each step and undoes the log backwards
// unless it is committed: gangs, dry-runs, preemption and what-ifs are all "try, look, keep or
// drop". Transactions on one state nest like scopes; the log is the state's, so that opening one
// costs nothing. What an inner one commits belongs to the outer one, and is undone with it.
// Invariant: after Rollback the state digest is what it was at the checkpoint.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>

#include "scheduler-core/cluster/state.h"

namespace basalt {

class Transaction {
 public:
  explicit Transaction(ClusterState& state)
      : state_(state), base_(state.undo_log_.size()), outermost_(base_ == 0) {}
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  ~Transaction() { Rollback(0); }

  // Takes one pod of the shape from the node and cards. The caller has checked Fits for decisions;
  // observations (a pod that is already bound there) may take what is not free.
  // `numa`: what is pinned beside the cards, null for most pods; given back as it was taken.
  void Take(NodeId node, ShapeId shape, CardSet cards,
            std::shared_ptr<const NumaTake> numa = nullptr) {
    Do(node, shape, cards, +1, std::move(numa));
  }
  void Give(NodeId node, ShapeId shape, CardSet cards,
            std::shared_ptr<const NumaTake> numa = nullptr) {
    Do(node, shape, cards, -1, std::move(numa));
  }

  // Positions in this transaction's log; 0 is its start.
  std::size_t Checkpoint() const { return state_.undo_log_.size() - base_; }
  void Rollback(std::size_t checkpoint);
  // Keeps what was done so far; what is done afterwards can still be rolled back.
  void Commit() {
    if (outermost_) state_.undo_log_.clear();
    base_ = state_.undo_log_.size();
  }

 private:
  void Do(NodeId node, ShapeId shape, CardSet cards, int sign,
          std::shared_ptr<const NumaTake> numa) {
    state_.Apply(node, state_.shape(shape), cards, sign, numa.get());
    state_.undo_log_.push_back(UndoStep{node, shape, cards, sign, std::move(numa)});
  }

  ClusterState& state_;
  std::size_t base_;
  bool outermost_;
};

}  // namespace basalt
