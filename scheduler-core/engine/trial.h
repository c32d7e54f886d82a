// A dry run on an engine's state: what would fit if some of what runs had ended and something else
// had been taken. Backfilling walks the future with it. Everything is undone when the trial ends,
// and nothing is recorded: no decision, no journal, no count of work. The engine's books (Find,
// ForEachOn) stay as they are meanwhile. While a trial lives its engine may only be read.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

#include "scheduler-core/cluster/transaction.h"
#include "scheduler-core/engine/engine.h"

namespace basalt {

class Trial {
 public:
  // One pod's place: what is taken or given back at once.
  struct Place {
    ShapeId shape;
    Placement at;
    const Standing* charged = nullptr;  // whose queue is charged for it; null: none
  };

  explicit Trial(Engine& engine)
      : engine_(engine), transaction_(engine.state_), work_(engine.work_) {}
  Trial(const Trial&) = delete;
  Trial& operator=(const Trial&) = delete;
  ~Trial() { engine_.work_ = work_; }

  const ClusterState& state() const { return engine_.state_; }
  void Take(const Place& place) {
    transaction_.Take(place.at.node, place.shape, place.at.cards, place.at.numa);
  }
  void Give(const Place& place) {
    transaction_.Give(place.at.node, place.shape, place.at.cards, place.at.numa);
  }
  std::size_t Checkpoint() const { return transaction_.Checkpoint(); }
  void Rollback(std::size_t checkpoint) { transaction_.Rollback(checkpoint); }

  // Whether this very place is free for somebody of this standing; as Engine::Reserve judges it.
  bool IsFree(const Place& place, const Standing& standing) const {
    return engine_.StillFits(engine_.InQueue(place.shape, standing, Engine::SlotView::kAll),
                             place.at);
  }
  // The shape as a queue's pods may have it, slots aside: they are judged when it starts. Shapes
  // are to be asked about in this form.
  ShapeId InQueue(ShapeId shape, const Standing& standing) {
    return engine_.InQueue(shape, standing, Engine::SlotView::kAll);
  }
  GangSpec InQueue(GangSpec spec, const Standing& standing);
  // The gang on those models alone that its queue allows all of it now; none: it is not so.
  std::optional<GangSpec> OnAllowedModels(const GangRequest& request);
  // The policy's cards on a node that the shape fits.
  Placement PlaceOn(const Request& request, ShapeId shape, NodeId node);
  // Counting alone does not rule the gang out: every task has places for its min.
  bool GangMayFit(const GangSpec& spec);
  // Places for a gang that holds nothing yet, as Engine::ProposeGang would find them with its
  // shapes as in `spec`.
  std::optional<GangOutcome> FindGang(const GangRequest& request, const GangSpec& spec);
  // What the places will be charged as.
  Amounts AmountsOf(const std::vector<Place>& places, const Standing& standing);
  // Whether the queue of that standing may hold so much more when it holds what `tree` says.
  bool QueueAllows(const QueueTree& tree, const Amounts& ask, const Standing& standing) const;
  // Charges or gives back a place in a copy of the engine's queues.
  void ChargeIn(QueueTree* tree, const Place& place, int sign);
  const QueueTree& queues() { return engine_.CaughtUpQueues(); }

 private:
  Engine& engine_;
  Transaction transaction_;
  WorkCounters work_;  // before
};

}  // namespace basalt
