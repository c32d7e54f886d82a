// The engine: one cluster, one configured policy, and every change to either. The simulator and the
// server drive this same object with the same calls; there is no other placement loop.
//
// Contract (each is a test):
//  - Propose decides and changes nothing. Reserve takes, in one transaction, exactly what was
//    proposed, or refuses if it no longer fits. Confirm makes a lease permanent; Release and
//    observed deletions end it; Expire ends the unconfirmed ones. Place is propose, reserve and
//    confirm in one call.
//  - A lease whose time is up ends before anything else is decided (Propose and Reserve call
//  Expire);
//    a Confirm after the lease's time is refused whether it was swept or not.
//  - The same pod and attempt allocates once, for as long as it is allocated.
//  - Time comes in as `now` and only moves forward; the engine reads no clock.
//  - A gang is all or nothing: ReserveGang takes every member in one transaction or none, and its
//    lease is one. Losing members to a failure marks it degraded; proposing it again repairs it,
//    and ReleaseGang ends it as a whole.
//  - What a queue may not hold is not proposed and not reserved; observations are charged as they
//    are. Each pod is charged to its queue exactly while it holds something and is not leaving.
//  - A nomination takes its places beside victims that are still there; nobody else gets what they
//    leave behind, and it cannot be confirmed before the last of them has left.
//  - Same events, same seed: the same decisions, bit for bit (DecisionDigest), with any executor.
// One thread owns an engine. Distinct engines share nothing.
#pragma once

#include <tsl/robin_map.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "scheduler-core/base/digest.h"
#include "scheduler-core/base/executor.h"
#include "scheduler-core/base/result.h"
#include "scheduler-core/cluster/domains.h"
#include "scheduler-core/cluster/fragmentation.h"
#include "scheduler-core/cluster/index.h"
#include "scheduler-core/cluster/state.h"
#include "scheduler-core/engine/event.h"
#include "scheduler-core/engine/eviction.h"
#include "scheduler-core/engine/gang_search.h"
#include "scheduler-core/engine/journal.h"
#include "scheduler-core/engine/outcome.h"
#include "scheduler-core/engine/policy.h"
#include "scheduler-core/engine/quotas.h"
#include "scheduler-core/engine/registry.h"
#include "scheduler-core/queueing/fair_share.h"
#include "scheduler-core/queueing/node_slots.h"
#include "scheduler-core/queueing/usage.h"

namespace basalt {

class Transaction;

// Of a lease whose room is not free yet.
inline constexpr SimTime kNever{std::numeric_limits<std::int64_t>::max()};

struct EngineOptions {
  std::uint64_t seed = 0;
  std::int64_t lease_ttl_us = 60'000'000;
  // Audit the touched node after every n-th commit; 0: never. Debug builds audit every commit.
  std::uint32_t audit_every = 0;
  std::size_t shape_cap = CandidateIndex::kDefaultShapeCap;
  TargetWorkload target;           // empty: no fragmentation is kept, and fgd is refused
  JournalSink* journal = nullptr;  // not owned; null: nothing is recorded
  // Searches the domains of a gang several at a time. Not owned; null: one after another. Results
  // do not depend on it.
  Executor* executor = nullptr;
  GangSearchLimits gang_limits;
  // Half-life of what queues held in the past, for time-based fairness; 0: not kept. It is no part
  // of the state: an engine that starts again starts with no past.
  std::int64_t usage_half_life_us = 0;
  std::map<int, std::string> tier_names;  // what messages call the network tiers
  // Decide by looking at every node, without the index: slow, obvious, and the test's oracle.
  bool scan_every_node = false;
};

// What one pod holds.
struct Allocation {
  PodUid uid;
  std::uint32_t attempt = 0;
  ShapeId shape;
  NodeId node;
  CardSet cards;
  std::uint64_t job = 0;
  std::uint64_t epoch = 0;
  SimTime expires;
  bool confirmed = false;
  std::shared_ptr<const NumaTake> numa = nullptr;
  PodUid gang;                         // zero: of no gang
  std::int32_t member = -1;            // its number in the gang
  const Standing* standing = nullptr;  // never null in the engine's books; lives as long as it
  // The leaf it is charged to. Invalid: outside all quotas, or leaving (its place is charged to
  // whom it leaves for).
  QueueId queue;
  SimTime started;      // confirmed, or first observed
  SimTime checkpoint;   // its work up to here is not lost with it
  PodUid leaving = {};  // the nomination it gives way to; zero: it stays
  bool is_leaving() const { return leaving != PodUid{}; }
};

// Room that is being made for a pod or gang: it holds its places and waits for these to leave. Over
// when none is left; from then on it is a lease like any other.
struct Nomination {
  bool gang = false;
  std::uint64_t epoch = 0;
  std::set<PodUid> waiting;
};

// A gang that holds something. A member is absent until it is placed, and lost when a failure took
// it; one that ended by itself is finished, and is neither missed nor placed again.
struct Gang {
  enum class Member : std::uint8_t { kAbsent, kHeld, kFinished, kLost };
  PodUid uid;
  std::uint32_t attempt = 0;
  std::uint64_t job = 0;
  GangSpec spec;
  Standing standing = {};
  std::vector<PodUid> pods;                             // by member
  std::vector<Member> members;                          // by member
  std::map<std::int32_t, topology::NetworkPath> homes;  // of lost members: where they were, until a
                                                        // replacement is confirmed
  std::int32_t held = 0;                                // members that hold places
  bool degraded = false;           // fewer than a task's min hold or have finished
  std::uint64_t newest_epoch = 0;  // of its newest lease; only that one may be unconfirmed
  std::int32_t Count(std::size_t task, Member state) const;
};
bool IsDegraded(const Gang& gang);

class Engine {
 public:
  // Refuses a policy that needs a target workload when there is none.
  static Result<std::unique_ptr<Engine>> Create(ConfiguredPolicy policy, EngineOptions options);
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  ~Engine();

  // --- observations ---
  Status Apply(const Event& event, SimTime now);
  // Interns what a request asks; the id is good for this engine's lifetime.
  Result<ShapeId> InternShape(const RequestSpec& spec);

  // Another policy decides from now on; what is held stays. Refused, with nothing changed, as in
  // Create. Journaled: a replay changes its policy there, too.
  Status SetPolicy(ConfiguredPolicy policy, TargetWorkload target, SimTime now);

  // --- decisions ---
  Outcome Propose(const Request& request, SimTime now);
  // The lease ends ttl_us from now; 0: EngineOptions::lease_ttl_us. Said again it is the same lease
  // with the same end.
  Result<Lease> Reserve(const Request& request, const Placement& placement, SimTime now,
                        std::int64_t ttl_us = 0);
  Status Confirm(const Lease& lease, SimTime now);
  // The lease ends no earlier than ttl_us from now (0 as in Reserve), and never earlier than it
  // would have. Refused like a confirm; but one that is confirmed, or whose room is not free yet,
  // is answered as it is.
  Result<Lease> Renew(const Lease& lease, std::int64_t ttl_us, SimTime now);
  Status Release(const PodUid& uid, SimTime now);
  // The next lease has at least this epoch: above all that may have been given and forgotten.
  void RaiseEpoch(std::uint64_t least);
  std::uint64_t next_epoch() const { return next_epoch_; }
  // Ends the unconfirmed leases whose time is up; returns how many. A gang's ends as a whole.
  std::size_t Expire(SimTime now);
  Outcome Place(const Request& request, SimTime now);

  // --- gangs ---
  // Places for all that the gang still lacks. A gang that holds its min may be proposed again to
  // grow to its max; a degraded one to be repaired. An error is bad input: a spec that is no gang,
  // or that differs from the one held; a member that is allocated outside it.
  Result<GangOutcome> ProposeGang(const GangRequest& request, SimTime now);
  // One lease for the new members; its uid is the gang's. While it is not confirmed, nothing more
  // is proposed or reserved for the gang: if it expired, a part would be left. Said again with the
  // same proposal it is the same lease. An observed binding of one member confirms it.
  Result<Lease> ReserveGang(const GangRequest& request, const GangOutcome& proposed, SimTime now,
                            std::int64_t ttl_us = 0);
  Status ConfirmGang(const Lease& lease, SimTime now);
  Result<Lease> RenewGang(const Lease& lease, std::int64_t ttl_us, SimTime now);
  Status ReleaseGang(const PodUid& uid, SimTime now);
  Result<GangOutcome> PlaceGang(const GangRequest& request, SimTime now);
  const Gang* FindGang(const PodUid& uid) const;
  // All gangs that hold something, by uid.
  const std::map<PodUid, Gang>& gangs() const { return gangs_; }
  // The network domains, caught up with the state.
  const DomainTree& domains();

  // --- queues ---
  const QueueTree& queues() const { return quotas_.tree(); }
  // With the cluster's totals of now.
  const QueueTree& CaughtUpQueues();
  // Grows when queues or disruption budgets change.
  std::uint64_t rules_version() const {
    return quotas_.tree().structure_version() + quotas_.budget_version();
  }
  // What the queues held in the past, brought up to the engine's time; null when it is not kept.
  const DecayedUsage* PastUsage();
  const std::map<std::string, DisruptionBudgetSet>& budgets() const { return quotas_.budgets(); }
  // Whole nodes that queues have, could have, and are short of.
  const NodeSlots& node_slots() const { return node_slots_; }
  // Its queue has slots, and it is of the work that they are for.
  bool MayClaimSlots(const Standing& standing) const;
  // What a pod, or the min of a gang, will hold as far as it is known beforehand: of cards whose
  // model is open the totals only.
  Amounts AskOf(ShapeId shape, const Standing& standing = {});
  Amounts AskOf(const GangSpec& spec, const Standing& standing = {});
  // The part of an ask that shares and reclaim are about (Quotas::Governed).
  Amounts GovernedOf(const Amounts& ask) const { return quotas_.Governed(ask); }
  // What an allocation holds.
  Amounts HeldBy(const Allocation& allocation);
  // What jobs that wait ask for: fair shares are of held and pending. A hint of whoever keeps the
  // jobs: neither journaled nor in the snapshot. The queue must be a leaf; false: it is none.
  bool AddPending(const std::string& queue, const Amounts& ask);
  bool RemovePending(const std::string& queue, const Amounts& ask);

  // --- eviction (engine/eviction.h) ---
  // Who would have to give way. Nothing changes; the plan is for the state as it is. `shares` must
  // count the request as pending; null: divided here, from what the queues hold, what is pending,
  // and this request where nothing is pending in its queue.
  EvictionPlan ProposeEviction(const Request& request, const EvictionRules& rules, SimTime now,
                               const FairShares* shares = nullptr);
  // For what the gang lacks to its min.
  Result<EvictionPlan> ProposeEviction(const GangRequest& request, const EvictionRules& rules,
                                       SimTime now, const FairShares* shares = nullptr);
  // Takes the plan's places at once and marks the victims as leaving. Refused when the plan is no
  // longer what would fit, or would now break a gang or a budget that it did not break when it was
  // made. Victims that have left meanwhile are not waited for. The lease does not expire before the
  // room is free; then its time begins.
  Result<Lease> Nominate(const Request& request, const EvictionPlan& plan, SimTime now);
  Result<Lease> NominateGang(const GangRequest& request, const EvictionPlan& plan, SimTime now);
  // The pod or gang holds places and all its victims are gone.
  bool RoomIsFree(const PodUid& uid) const;
  const Nomination* FindNomination(const PodUid& uid) const;
  // By uid of the pod or gang.
  const std::map<PodUid, Nomination>& nominations() const { return nominations_; }

  // --- reading ---
  const ClusterState& state() const { return state_; }
  // The latest time it was told; the least there is before the first.
  SimTime now() const { return now_; }
  const ConfiguredPolicy& policy() const { return policy_; }
  const Allocation* Find(const PodUid& uid) const;
  std::size_t allocation_count() const { return by_uid_.size(); }
  // All allocations, by uid. The engine must not be changed meanwhile.
  void ForEachAllocation(const std::function<void(const Allocation&)>& fn) const;
  // Allocations on the node, in no particular order.
  void ForEachOn(NodeId node, const std::function<void(const Allocation&)>& fn) const;
  // Caught up with the state. Null without a target workload.
  const Fragmentation* fragmentation();
  const WorkCounters& work() const { return work_; }
  // Counts every node by the first reason that stops it. A dry run: nothing changes. When `top` is
  // not 0, also the best candidates, by looking at every node.
  Explanation Explain(const Request& request, std::size_t top = 0);

  // Whether the request fits each of these nodes now, and how well; with the models and the slots
  // that its queue leaves it. How much its queue may hold is not asked. On the node that it holds
  // already it fits as it is. A node that is gone is said to be cordoned. A dry run.
  std::vector<NodeVerdict> Judge(const Request& request, std::span<const NodeId> nodes);
  NodeVerdict Judge(const Request& request, NodeId node) {
    return Judge(request, std::span(&node, 1)).front();
  }
  // Up to k places on other nodes for what was proposed, the best first; none unless it was placed
  // just now. A dry run.
  std::vector<Placement> Alternatives(const Request& request, const Outcome& proposed,
                                      std::size_t k);

  Digest128 DecisionDigest() const { return decisions_.value(); }
  // Of the inventory, what is taken, and by whom; not of the epoch or the work done.
  Digest128 StateDigest() const;
  // Recomputes every node from the allocations. An error names the first node that differs.
  Status Audit() const;

  // --- recovery ---
  std::string Snapshot() const;
  // A fresh engine with the snapshot's state. The policy need not be the one that wrote it.
  static Result<std::unique_ptr<Engine>> Restore(std::string_view snapshot, ConfiguredPolicy policy,
                                                 EngineOptions options);
  // What is journaled goes there from now on (not owned; null: nowhere). A snapshot taken now and
  // that journal are the state.
  void RestartJournal(JournalSink* sink);
  // Applies one journal record's effect, without deciding anything and without journaling it again.
  Status ApplyRecord(const JournalRecord& record);

 private:
  friend class Trial;
  friend class EvictionSearch;
  enum class Ending : std::uint8_t { kFinished, kLost, kExpired, kReplaced };
  Engine(ConfiguredPolicy policy, EngineOptions options);
  Result<NodeId> NodeWithCard(const std::string& name, int card) const;
  PlacementContext MakeContext(const Request& request, ShapeId shape);
  BestNode FindBest(const PlacementContext& context);
  BestNode ScanEveryNode(const PlacementContext& context);
  bool PossibleWhenEmpty(ShapeId shape);
  Status Observe(const PodObserved& observed, SimTime now);
  Result<bool> ChangeNode(const NodeSpec& spec);  // false: it is the same
  // The node as it will be is alone in another state, empty.
  void RebuildNode(NodeId node, const NodeSpec& now, ClusterState* alone, NodeId there);
  bool Checkpointed(const PodUid& uid, SimTime now);  // of a pod or gang; false: not here
  // The shape, but only on cards of these models.
  ShapeId OnModels(ShapeId shape, const std::vector<ModelId>& models);
  // Which nodes slot quotas close.
  enum class SlotView : std::uint8_t {
    kAll,      // none: as if there were no slots
    kForOne,   // those that one pod must not come to now
    kForMany,  // all but those that any number of pods may come to at once
  };
  // The shape as pods of this standing may have it: card memory oversubscribed no further than the
  // queue allows, and not on nodes that are kept for others' slots. Only what decides uses it; what
  // is held keeps the shape that was asked.
  ShapeId InQueue(ShapeId shape, const Standing& standing, SlotView view = SlotView::kForOne);
  // The shape that a proposal decides by: on the models that the queue allows, and in it.
  ShapeId DecidedShape(const Request& request);
  // Why no eviction makes the queue take at least this: what is not preemptible fills it already.
  // Empty: some might.
  std::string FirmlyRefused(const Amounts& least, const Standing& standing);
  // --- slot quotas (slots.cc) ---
  bool IsFirm(const Standing& standing) const;  // nobody may take back what such a pod has
  SlotMark MarkOf(NodeId node) const;
  void MarkNode(NodeId node);    // what is on it, or it itself, has changed
  void UnmarkNode(NodeId node);  // it is about to go
  void QueuesChanged();
  std::uint64_t ClosedMarks(ShapeId shape, const Standing& standing, SlotView view) const;
  // Refused if coming to all these nodes would break what slots promise. A node may stand twice.
  Status KeepsSlots(const Standing& standing, std::vector<NodeId> nodes,
                    const std::string& where) const;
  std::string KeptText() const;
  Status AuditSlots() const;
  DecayedUsage* Past();
  // Of the gang's task: members that have finished, or hold confirmed places and need not leave.
  std::int32_t StayingMembers(const Gang& gang, std::size_t task) const;
  Status InChoice(const Request& request, NodeId node) const;  // of nodes that it may be on
  Status MayHold(const Request& request, const Placement& placement);
  Status MayHold(const GangRequest& request, const std::vector<GangOutcome::Member>& members);
  // Takes away from `extra` what the queue does not allow beyond `need`.
  void CapExtras(const GangRequest& request, const Standing& standing, GangProblem* problem);
  void Charge(Allocation& a);  // to the queue that it names, if that is a leaf
  void Uncharge(Allocation& a);
  void ChargeNewcomers();  // pods that were there before their queue
  Status AuditQuotas() const;
  Status AuditNominations() const;
  void MarkLeaving(const PodUid& victim, const PodUid& nominee);
  // The nomination is over: who has not left stays.
  void DropNomination(const PodUid& nominee, bool victims_stay);
  void VictimGone(const PodUid& victim, const PodUid& nominee);
  // What is left of a nomination's places is given back when one of them is lost.
  void NomineeEnded(const Allocation& a);
  // The nominee's places are in the books; from here on it waits for these.
  Lease Nominated(const PodUid& nominee, bool gang, const std::vector<PodUid>& victims,
                  std::uint64_t epoch);
  // Those of the plan's victims that are still there, each once; refused if one is no victim any
  // more.
  Result<std::vector<PodUid>> VictimsOf(const EvictionPlan& plan, const std::string& where) const;
  // Gangs keep their min or lose all, and no more than so many disruptions go beyond budgets.
  Status CheckVictims(const std::vector<PodUid>& victims, std::int64_t beyond_budgets,
                      const std::string& where) const;
  // How many of each budget's pods may be made to leave now.
  std::map<std::string, std::int64_t> DisruptionsLeft() const;
  void GiveVictims(const std::vector<PodUid>& victims, Transaction* tx) const;
  void UnchargeVictims(const std::vector<PodUid>& victims);
  void ChargeVictims(const std::vector<PodUid>& victims);
  // Reserves what was proposed: `victims` leave first, as far as fitting and quotas go.
  Result<Lease> TakeGang(const GangRequest& request, const GangOutcome& proposed,
                         const std::vector<PodUid>& victims, SimTime now, std::int64_t ttl_us);
  Result<std::int64_t> TtlOf(std::int64_t ttl_us, const PodUid& of) const;
  void Extend(std::uint32_t slot, SimTime expires);
  void ExtendMembers(const PodUid& uid, std::uint64_t epoch, SimTime expires);
  Status ApplyRenewed(const RenewedRecord& record);
  // The room is free: the lease's time begins.
  void BeginLease(const PodUid& nominee, bool gang, std::uint64_t epoch);
  Status ApplyBody(const JournalRecord& record);
  Status ApplyReserved(const ReservedRecord& record);
  Status ApplyNominated(const NominatedRecord& record);
  std::uint32_t Insert(Allocation allocation);
  void CountJob(const Allocation& allocation);  // for policies with a job term
  void Erase(std::uint32_t slot);
  void End(std::uint32_t slot, Ending ending);  // gives back and erases
  void AddExpiry(std::uint32_t slot);
  void TrimExpiries();
  // A placement that was proposed still fits, as it is.
  bool StillFits(ShapeId shape, const Placement& placement) const;
  Placement MakePlacement(const PlacementContext& context, const BestNode& best) const;
  // On the best node, or the next best that the request's queue may hold it on; else why not.
  Result<Placement> PlaceWithinQuota(const Request& request, const PlacementContext& context,
                                     const BestNode& best);
  std::uint64_t SeedOf(const PodUid& uid, std::uint32_t attempt) const;
  // By task; empty: every node.
  std::vector<std::shared_ptr<const NodeMask>> MasksOf(const GangRequest& request) const;
  GangProblem MakeProblem(const GangRequest& request, const Gang* held);
  Status CheckGang(const GangRequest& request, const Gang* held) const;
  Status CheckLevels(const GangRequest& request, const Gang* held,
                     const std::vector<GangOutcome::Member>& members);
  // The gang's lease that is not confirmed yet; 0: none.
  std::uint64_t OpenLease(const Gang& gang) const;
  std::optional<Lease> HeldAlready(const Gang& gang, const GangOutcome& proposed) const;
  Gang& GangFor(const GangRequest& request);
  void AddMembers(Gang& gang, const std::vector<GangOutcome::Member>& members, std::uint64_t epoch,
                  SimTime expires);
  // Members in their numbers take the places in tree order.
  Status NameMembers(const GangRequest& request, const Gang* held, GangAnswer* answer,
                     GangOutcome* outcome);
  void NameDomain(const GangProblem& problem, GangOutcome* outcome);
  void ConfirmMembers(const PodUid& gang, std::uint64_t epoch);
  void ExpireMembers(const PodUid& gang, std::uint64_t epoch);
  // Before an observed pod is recorded: `was` is what it held, and becomes what it will be of.
  void MemberSeen(const PodObserved& observed, Allocation* was);
  void MemberEnded(const Allocation& allocation, Ending ending);
  void RecordGangDecision(const GangRequest& request, const GangOutcome& outcome, SimTime now);
  GangSpecRecord SpecRecord(const GangRequest& request);
  Status ApplyGangReserved(const GangReservedRecord& record);
  void RecordDecision(const Request& request, const Outcome& outcome, SimTime now);
  void Journal(const JournalRecord& record);
  void JournalPolicy(SimTime now);
  static Status CheckPolicy(const ConfiguredPolicy& policy, const TargetWorkload& target);
  // The engine's time never goes back: an earlier `now` counts as the latest one seen.
  SimTime Forward(SimTime now) { return now_ = std::max(now_, now); }
  // The journal's number of a shape; writes the shape first if the journal has not seen it.
  std::uint32_t JournalShape(ShapeId shape);
  Status AuditNode(NodeId node) const;
  void AfterCommit(NodeId node);

  ConfiguredPolicy policy_;
  EngineOptions options_;
  ClusterState state_;
  CandidateIndex index_;
  std::optional<Fragmentation> fragmentation_;

  struct UidHash {
    std::size_t operator()(const PodUid& uid) const {
      return uid.lo ^ (uid.hi * 0x9E3779B97F4A7C15);
    }
  };
  std::vector<Allocation> allocations_;
  std::vector<std::uint32_t> position_on_node_;  // by allocation slot
  std::vector<std::uint32_t> free_allocations_;
  IdVector<NodeId, std::vector<std::uint32_t>> on_node_;
  tsl::robin_map<PodUid, std::uint32_t, UidHash> by_uid_;
  tsl::robin_map<std::uint64_t, JobNodes> jobs_;  // only for policies with a job term
  std::map<PodUid, Gang> gangs_;
  Quotas quotas_;
  NodeSlots node_slots_;
  std::optional<DecayedUsage> past_usage_;
  std::map<PodUid, Nomination> nominations_;
  DomainTree domains_;
  SlotIndex slots_;
  struct Expiry {
    SimTime at;
    std::uint64_t epoch;
    std::uint32_t slot;
    // Orders the heap: the earliest lease on top.
    static bool Later(const Expiry& a, const Expiry& b) {
      return a.at != b.at ? a.at > b.at : a.epoch > b.epoch;
    }
  };
  // Min-heap by (at, epoch). Those of leases that were confirmed, renewed or ended are skipped when
  // met.
  std::vector<Expiry> expiries_;
  std::uint64_t next_epoch_ = 1;
  SimTime now_{std::numeric_limits<std::int64_t>::min()};

  struct Possible {
    std::uint64_t structure_version = 0;
    bool possible = false;
  };
  IdVector<ShapeId, Possible> possible_;
  IdVector<ShapeId, std::uint32_t> journal_shapes_;
  std::uint32_t journal_shape_count_ = 0;  // shapes written to our journal
  std::vector<ShapeId> record_shapes_;     // shapes read by ApplyRecord, by their number there
  std::int64_t record_ttl_us_ = 0;         // of the engine that wrote what it reads; 0: unknown
  std::vector<NodeId> feasible_;
  std::vector<Score> scores_;
  Digest decisions_;
  WorkCounters work_;
  std::uint64_t commits_ = 0;
};

}  // namespace basalt
