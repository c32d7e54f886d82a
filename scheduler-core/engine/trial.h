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

  // Whether this very place is free; as Engine::Reserve judges it.
  bool IsFree(const Place& place) const { return engine_.StillFits(place.shape, place.at); }
  // The policy's cards on a node that the shape fits.
  Placement PlaceOn(const Request& request, NodeId node);
  // Counting alone does not rule the gang out: every task has places for its min.
  bool GangMayFit(const GangSpec& spec);
  // Places for a gang that holds nothing yet, as Engine::ProposeGang would find them.
  std::optional<GangOutcome> FindGang(const GangRequest& request);

 private:
  Engine& engine_;
  Transaction transaction_;
  WorkCounters work_;  // before
};

}  // namespace basalt
