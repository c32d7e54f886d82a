// The search behind ProposeEviction: one dry run on the engine's state, in a transaction that is
// always rolled back.
//
// Order of work:
//  1. Candidates: every pod that runs, may be asked to leave and has run its minimum, with what its
//     leaving loses.
//  2. The lowest priority that suffices: victims are never of a higher one than needed.
//  3. Places. Per node a curve: victims in the order of loss per freed card, and the places that
//     the first n of them make; the cheapest part of a curve, per place, is what the node offers.
//     The cheapest offers are taken from a heap of lower bounds, so that a node is looked at when
//     it may be the next. A single pod's node with few candidates is searched exactly.
//  4. Reprieve: in reverse order, whoever fits back beside the places is no victim. So no proper
//     subset of the victims would do for these places.
//  5. Gangs on small clusters: also whether fewer victims would do with other places, and what
//     plain greed over all nodes finds; the cheapest counts.
// Whether something fits is always the state's own answer.
#pragma once

#include <compare>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "scheduler-core/cluster/draft.h"
#include "scheduler-core/cluster/transaction.h"
#include "scheduler-core/engine/engine.h"
#include "scheduler-core/engine/eviction.h"
#include "scheduler-core/engine/gang_context.h"
#include "scheduler-core/queueing/reclaim.h"

namespace basalt {

__extension__ using Wide = __int128;  // of products of amounts of work
inline std::int64_t Saturated(Wide v) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  return v > kMost ? kMost : static_cast<std::int64_t>(v);
}

// What victims cost together; compared in this order.
struct EvictionCost {
  std::int32_t priority = std::numeric_limits<std::int32_t>::min();  // the highest
  std::int64_t budgets = 0;                                          // broken
  std::int64_t gangs = 0;                                            // broken
  std::int64_t lost = 0;                                             // milli-GPU x us
  std::int64_t count = 0;
  void Add(const EvictionCost& other);
  friend auto operator<=>(const EvictionCost&, const EvictionCost&) = default;
};

class EvictionSearch {
 public:
  // The engine is as it was when the search ends; only counters and caches tell.
  EvictionSearch(Engine& engine, const EvictionRules& rules, const Standing& standing, SimTime now,
                 const FairShares* shares);

  EvictionPlan ForPod(const Request& request);
  Result<EvictionPlan> ForGang(const GangRequest& request);

 private:
  struct Candidate {
    const Allocation* pod = nullptr;
    std::int64_t lost = 0;
    std::int64_t milli = 0;
    std::int32_t gang = -1;    // into gangs_
    std::int32_t task = 0;     // of the gang
    std::int32_t budget = -1;  // into budgets_
    bool by_priority = false;  // preemption may take it
    bool on_slot = false;      // on a node that the request's queue has a slot for
    bool of_slot = false;      // of a gang with a member on such a node
    bool by_slot = false;      // it went, or would, because of that
    bool evicted = false;
    EvictionReason why = EvictionReason::kPreempt;
    std::optional<Amounts> held;
  };
  struct GangOfVictims {
    const Gang* gang = nullptr;
    std::vector<std::uint32_t> members;  // candidates
    std::vector<std::int32_t> spare;     // by task: how many may go before the gang breaks
    bool broken = false;                 // all have gone
  };
  // Candidates that left in one step: one pod, or all that is left of a gang.
  struct Group {
    std::vector<std::uint32_t> members;
    EvictionCost cost;
    std::int32_t broken_gang = -1;  // into gangs_
    bool local = false;             // only what is on one node was given back to the state
    bool returned = false;          // reprieved
  };
  struct Place {
    std::size_t task;
    NodeId node;
    CardPlan plan;
  };
  struct Mark {
    std::size_t groups, places, log;
  };
  struct Offer {
    std::int32_t places = 0;
    EvictionCost cost;
    std::vector<std::uint32_t> victims;
  };
  struct Solution {
    EvictionCost cost;
    std::vector<Victim> victims;
    std::vector<Place> places;
    std::int64_t beyond_budgets = 0;
  };
  // What is asked on one choice of models: shapes by task, and how many.
  struct Ask {
    std::vector<ShapeId> shapes;
    std::vector<std::int32_t> need;
    Amounts amounts;
  };
  // How victims for a full queue and victims for room are combined.
  enum class Mode : std::uint8_t {
    kRoom,       // only room is short
    kInside,     // room from pods inside the full queue, then more of them if that is not enough
    kQuotaFirst  // the cheapest inside the full queue, then room from anybody
  };

  void Collect(const PodUid& self);
  void CollectBudgets();
  Candidate MakeCandidate(const Allocation& a) const;
  std::vector<Ask> Asks(const GangSpec& spec, const std::vector<std::int32_t>& need);
  void PrepareShares(const Ask& ask);
  Amounts Shortfall(const Ask& ask) const;
  const Amounts& HeldOf(Candidate& c);

  // --- steps of the dry run ---
  Mark Now() const { return {groups_.size(), places_.size(), tx_.Checkpoint()}; }
  void UndoTo(const Mark& mark);
  // `for_slot`: its leaving clears a node that the queue has a slot for.
  bool RulesAllow(Candidate& c, bool for_slot);
  bool KeepsGuarantees(const Candidate& c, const Amounts& held) const;
  // Evicts the candidate, and its gang where it breaks. `local`: gives back only what is there.
  bool Admit(std::uint32_t candidate, NodeId local);
  void Leave(Candidate& c, Group* group, bool give);
  // Who went before its gang broke comes back after the gang only.
  bool MayComeBack(const Group& group) const;
  void ComeBack(Group& group, NodeId local);
  // Takes back ComeBack, with the state as it was before.
  void LeaveAgain(Group& group, const Mark& before);
  void SetBroken(const Group& group, bool broken);
  void Evicted(Candidate& c, int sign);
  EvictionCost Total() const;

  // --- places ---
  bool FindPlaces(const Ask& ask);
  bool PlaceMany(std::size_t task, ShapeId shape, std::int32_t need, std::span<const NodeId> nodes);
  bool PlaceOne(ShapeId shape, std::span<const NodeId> nodes);  // of a single pod
  bool PlaceGroups(const Ask& ask, const std::vector<NodeId>& nodes, const Region& region);
  EvictionCost Bound(ShapeId shape, NodeId node) const;
  std::optional<Offer> Evaluate(ShapeId shape, NodeId node, std::int32_t most);
  void Exact(ShapeId shape, NodeId node, const std::vector<std::uint32_t>& candidates,
             std::size_t next, const Mark& start, std::optional<Offer>* best);
  bool MayPlaceOn(std::size_t task, ShapeId shape, NodeId node) const;  // if its pods were gone
  std::int32_t CopiesOn(ShapeId shape, NodeId node, std::int32_t most) const;
  bool TakePlaces(std::size_t task, ShapeId shape, NodeId node, std::int32_t count);

  // --- all of it ---
  bool Try(const Ask& ask, std::int32_t priority, bool break_budgets, Mode mode);
  bool MakeQuota(const Ask& ask);
  std::optional<QuotaRefusal> QuotaRefusalNow(const Ask& ask) const;
  Amounts Wanted(const Ask& ask) const;
  void Reprieve(const Ask& ask);
  // Places with these victims (one of each group, in order) and nobody else.
  bool Refit(const Ask& ask, const std::vector<std::uint32_t>& victims, const Mark& start);
  void Shrink(const Ask& ask, std::vector<std::uint32_t> victims, const Mark& start);
  void TryGreed(const Ask& ask, const Mark& start);
  bool Settled(const Ask& ask) const;
  // Slots of the own queue for all nodes that were cleared by that right, and others' slots kept.
  bool KeepsSlots() const;
  bool UnderRatio(const Ask& ask, QueueId victim) const;
  void Keep();
  void Solve(const Ask& ask);
  std::string WhyNot(const std::vector<Ask>& asks);

  Engine& engine_;
  ClusterState& state_;
  const EvictionRules& rules_;
  const Standing& standing_;
  const SimTime now_;
  const FairShares* shares_;
  std::optional<FairShares> own_shares_;
  QueueId leaf_;
  Transaction tx_;

  std::vector<Candidate> candidates_;
  std::vector<std::vector<std::uint32_t>> by_node_;  // by node slot, cheapest first
  std::vector<GangOfVictims> gangs_;
  std::vector<std::int64_t> budgets_;  // disruptions left
  std::map<std::string, std::int32_t> budget_ids_;
  std::vector<std::int32_t> priorities_;  // distinct, ascending
  std::vector<NodeId> touched_;           // nodes that a broken gang left, for the heap

  std::vector<Group> groups_;
  std::vector<Place> places_;
  std::int64_t victims_ = 0;
  std::optional<ReclaimPlan> reclaim_;
  std::map<QueueId, Amounts> gone_;  // what the victims so far held, by queue and those above it
  std::optional<QueueTree> tree_;    // charges without the victims; only where the queue is full
  QueueId inside_;                   // victims only from below here; invalid: from anywhere
  std::int32_t limit_ = 0;           // the highest priority of a victim
  bool break_budgets_ = false;
  bool frozen_ = false;  // nobody may be evicted any more
  Engine::SlotView view_ = Engine::SlotView::kForOne;
  std::uint64_t exact_steps_ = 0;

  // By task, as in GangProblem.
  std::vector<std::shared_ptr<const NodeMask>> nodes_;
  // The gang; null for a pod.
  const GangRequest* gang_ = nullptr;
  const GangProblem* problem_ = nullptr;
  const GangContext* context_ = nullptr;
  std::uint64_t seed_ = 0;
  std::optional<Solution> best_;
};

}  // namespace basalt
