#include "scheduler-core/cluster/transaction.h"

namespace basalt {

void Transaction::Rollback(std::size_t checkpoint) {
  auto& log = state_.undo_log_;
  while (log.size() > base_ + checkpoint) {
    const UndoStep step = log.back();
    log.pop_back();
    state_.Apply(step.node, state_.shape(step.shape), step.cards, -step.sign, step.numa.get());
    state_.kept_changes_ -= 2 * ClusterState::KeptChange(step.node);  // of the step and its undoing
  }
}

}  // namespace basalt
