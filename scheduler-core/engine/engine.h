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
#include "scheduler-core/engine/gang_search.h"
#include "scheduler-core/engine/journal.h"
#include "scheduler-core/engine/outcome.h"
#include "scheduler-core/engine/policy.h"
#include "scheduler-core/engine/registry.h"

namespace basalt {

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
  PodUid gang;               // zero: of no gang
  std::int32_t member = -1;  // its number in the gang
};

// A gang that holds something. A member is absent until it is placed, and lost when a failure took
// it; one that ended by itself is finished, and is neither missed nor placed again.
struct Gang {
  enum class Member : std::uint8_t { kAbsent, kHeld, kFinished, kLost };
  PodUid uid;
  std::uint32_t attempt = 0;
  std::uint64_t job = 0;
  GangSpec spec;
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

  // --- decisions ---
  Outcome Propose(const Request& request, SimTime now);
  Result<Lease> Reserve(const Request& request, const Placement& placement, SimTime now);
  Status Confirm(const Lease& lease, SimTime now);
  Status Release(const PodUid& uid, SimTime now);
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
  Result<Lease> ReserveGang(const GangRequest& request, const GangOutcome& proposed, SimTime now);
  Status ConfirmGang(const Lease& lease, SimTime now);
  Status ReleaseGang(const PodUid& uid, SimTime now);
  Result<GangOutcome> PlaceGang(const GangRequest& request, SimTime now);
  const Gang* FindGang(const PodUid& uid) const;
  // All gangs that hold something, by uid.
  const std::map<PodUid, Gang>& gangs() const { return gangs_; }
  // The network domains, caught up with the state.
  const DomainTree& domains();

  // --- reading ---
  const ClusterState& state() const { return state_; }
  const ConfiguredPolicy& policy() const { return policy_; }
  const Allocation* Find(const PodUid& uid) const;
  std::size_t allocation_count() const { return by_uid_.size(); }
  // Allocations on the node, in no particular order.
  void ForEachOn(NodeId node, const std::function<void(const Allocation&)>& fn) const;
  // Caught up with the state. Null without a target workload.
  const Fragmentation* fragmentation();
  const WorkCounters& work() const { return work_; }
  // Counts every node by the first reason that stops it. A dry run: nothing changes. When `top` is
  // not 0, also the best candidates, by looking at every node.
  Explanation Explain(const Request& request, std::size_t top = 0);

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
  // Applies one journal record's effect, without deciding anything and without journaling it again.
  Status ApplyRecord(const JournalRecord& record);

 private:
  Engine(ConfiguredPolicy policy, EngineOptions options);
  Result<NodeId> NodeWithCard(const std::string& name, int card) const;
  PlacementContext MakeContext(const Request& request);
  BestNode FindBest(const PlacementContext& context);
  BestNode ScanEveryNode(const PlacementContext& context);
  bool PossibleWhenEmpty(ShapeId shape);
  std::uint32_t Insert(Allocation allocation);
  void Erase(std::uint32_t slot);
  enum class Ending : std::uint8_t { kFinished, kLost, kExpired, kReplaced };
  void End(std::uint32_t slot, Ending ending);  // gives back and erases
  void AddExpiry(std::uint32_t slot);
  void TrimExpiries();
  // A placement that was proposed still fits, as it is.
  bool StillFits(ShapeId shape, const Placement& placement) const;
  Placement MakePlacement(const PlacementContext& context, const BestNode& best) const;
  std::uint64_t SeedOf(const PodUid& uid, std::uint32_t attempt) const;
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
  void JournalPolicy();
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
  std::vector<Expiry> expiries_;  // min-heap by (at, epoch); confirmed ones are skipped when met
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
  std::vector<NodeId> feasible_;
  std::vector<Score> scores_;
  Digest decisions_;
  WorkCounters work_;
  std::uint64_t commits_ = 0;
};

}  // namespace basalt
