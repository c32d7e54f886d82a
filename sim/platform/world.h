// One platform run: the state of everything and the handling of each event. Private to
// sim/platform; its callers see platform.h. The files that define its parts:
//
//   world.cc         set up, the loop over events
//   fleet.cc         clusters, nodes, cards, groups; failures and maintenance
//   dispatch.cc      queueing, passes, starting and ending placements
//   rates.cc         who gets what of a card, progress, the books
//   ladder.cc        low priority gives way
//   services.cc      demand, replicas
//   environments.cc  users, bursts, virtual machines
//   reclaim.cc       idle environments, leases
//   batch.cc         training, workflows, trace jobs
//   pools.cc         cards that move between shared and passthrough
//   summary.cc       the result
//
// Invariant between events: Settle has run, so that every rate follows from what is on its card,
// every unit's books are as of its last change of rate, and no cluster wants a pass (unless it
// waits for its cycle).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "scheduler-core/engine/registry.h"
#include "sim/platform/events.h"
#include "sim/platform/runtime.h"
#include "sim/platform/types.h"

namespace basalt::sim::platform {

// A node of the group, as the engine knows it.
NodeSpec NodeSpecOf(const NodeGroupSpec& spec, const std::string& name);

class World {
 public:
  World(const PlatformSpec& spec, const Registry& registry, std::uint32_t audit_every);
  // Errors: names that are not there, amounts that no cluster could mean, a bad policy.
  Status SetUp();
  PlatformResult Run();

 private:
  // --- set up (world.cc, fleet.cc) ---
  Status SetUpClusters();
  Status SetUpNames();
  Status SetUpQueues(Index cluster);
  Status SetUpWork();
  Status CheckQueue(const std::string& name, const std::string& where) const;
  Status AddWork(const WorkloadSpec& spec, WorkClass work_class, std::size_t number);
  Result<Index> AddAsk(const OfferSpec& offer, const std::string& where);
  std::uint32_t AddRequest(const RequestSpec& spec);
  Status AddNodes(Index group);
  Status Apply(Cluster& cluster, const Event& event);

  // --- events ---
  void Handle(const PlatformEvent& event);
  void WarmupEnd();
  void NodeFails(Index node);
  void NodeBack(Index node);
  void NodesCome(Index group);
  void Cordon(Index node, int change);
  void MaintenanceBegins(Index at);
  void MaintenanceEvicts(Index at);
  void MaintenanceEnds(Index at);
  void ForMaintained(Index at, const std::function<void(Index)>& fn);

  // --- dispatch ---
  Index NewUnit(Index work, Index owner, std::int32_t pods);
  // Wants a place from now on; `fresh`: not a return to what it was.
  void Queue(Index unit, bool fresh);
  void SubmitHome(Index unit);
  void Retry(Index unit);
  bool TryOptions(Index unit);
  bool MayFit(const Unit& unit, const Option& option);
  void SubmitTo(Index unit, Index option);
  void Withdraw(Index unit);  // wanted no more while it waits
  void Park(Index unit, Index cluster);
  void Unpark(Index cluster);
  void WantPass(Index cluster);
  void RunPass(Index cluster);
  void PlanPass(Index cluster, std::int64_t at);
  void RefusedForEver(Index unit);
  void Start(Index unit);
  void Ready(Index unit);
  void TellToLeave(Index unit, Leave why);
  void Stay(Index unit);
  void Gone(Index unit, std::uint32_t leaving);
  void BookWait(const Unit& unit);
  void GoOn(Index unit);
  void PlanCheckpoint(Index unit);
  void Checkpoint(Index unit);
  std::int64_t CheckpointOf(const Unit& unit) const;
  // Ends the placement and decides what becomes of the unit.
  void EndPlacement(Index unit, Leave why);
  void AfterLeaving(Index unit, Leave why);
  void TakePlaces(Index unit);
  void GivePlaces(Index unit);
  void LoseWork(Unit& unit);
  void CountWaiting(const Unit& unit, int sign);
  void BeginWaiting(Unit& unit);
  void StopWaiting(const Unit& unit);
  PodUid JobUid(Index unit) const;
  PodUid MemberUid(Index unit, std::int32_t member) const;
  GangSpec GangOf(const Unit& unit, Index offer, Cluster& cluster);
  ShapeId ShapeOf(Cluster& cluster, std::uint32_t request);
  const Ask& AskOf(const Unit& unit) const;
  std::int64_t CommitTime(const WorkloadSpec& spec) const;
  std::int64_t RestartTime(const WorkloadSpec& spec) const;

  // --- rates and books ---
  void Touch(Index card);
  void TouchUnit(Index unit);
  void TouchNode(Index node);
  void Settle();
  void RateCard(Index card);
  void FillShares(const Card& card);
  void RateUnit(Index unit);
  void BookUnit(Unit& unit);
  void BookCard(Card& card);
  void BookGroup(Group& group);
  void BookService(Index service);
  void SetUse(Index unit, double level);
  double FullUse(const Unit& unit, const Slice& slice) const;
  void PlanDone(Index unit);
  void AdvanceTotals(std::int64_t now);
  void SetServed(Slice& slice, std::int64_t micro);
  void TouchedCards(Index card, int change);
  std::int64_t WorkingSet(const Unit& unit, const Slice& slice) const;
  Sharing SharingOf(const Card& card) const;
  const NodeGroupSpec& GroupSpecOf(const Card& card) const;

  // --- ladder ---
  // After the card was rated: need begins or ends. True: rate it again.
  bool UpdateLadder(Index card, double high_wanted);
  void LadderEvent(Index card, std::uint32_t version);
  void ApplyStep(Index card, LadderAction action);
  bool EndNeed(Index card);
  std::int64_t MoveTime(const Slice& slice) const;

  // --- services ---
  void SetUpServices();
  void DemandStep();
  void Scale(Index service);
  void ShareDemand(Index service);
  void TouchService(Index service);

  // --- environments ---
  void SetUpUsers();
  void UserComes(Index user, std::uint32_t session);
  void UserLeaves(Index user, std::uint32_t session);
  void UserEnds(Index user, std::uint32_t tenure);
  void PlanDay(Index user, std::int64_t day);
  void NextBurst(Index user, std::int64_t from);
  void BurstComes(Index user, std::uint32_t session);
  void BurstDone(Index unit);
  void WorkOnBacklog(Index user);
  void NeedEnvironment(Index user);
  void GiveBack(Index user);
  void EnvironmentReady(Index unit);
  void VmArrives(Source& source);
  void CountWanted(Index user);
  void NewTenure(Index user, std::int64_t from);

  // --- reclaim ---
  void Measure();
  void Lease(Index unit, std::uint32_t attempt);
  void CommitAndExit(Index unit, bool reclaim);
  void BackFromReclaim(User& user);

  // --- batch ---
  void SetUpBatch();
  void SourceArrives(Index source);
  void PlanArrival(Index source);
  void WorkflowArrives(Source& source);
  void WorkflowStep(Index workflow);
  void TraceJobArrives(Source& source);
  void JobDone(Index unit);
  double WorkOf(const Unit& unit) const;  // milli of one us at full speed, all its cards
  double WiringStretch(Index unit);

  // --- pools ---
  Status SetUpPools();
  void DecidePools();
  void DecidePool(Index cluster);
  void MoveCard(Index card);
  void KeepCard(Index card);
  void CardEmptied(Index card);
  void CardDrained(Index card);

  PlatformResult Summary();
  WorkloadResult Report(const WorkAccount& account, const Work* work, WorkClass work_class) const;

  const PlatformSpec& spec_;
  const Registry& registry_;
  const std::uint32_t audit_every_;
  std::int64_t now_ = 0;
  std::int64_t measured_from_ = 0;
  EventQueue events_;
  std::uint64_t event_count_ = 0, pass_count_ = 0;
  Digest happened_;

  std::vector<Cluster> clusters_;
  std::vector<Group> groups_;
  std::vector<Node> nodes_;
  std::vector<Card> cards_;
  std::vector<Slice> slices_;
  std::vector<Index> free_slices_;
  std::vector<Unit> units_;
  std::vector<Work> works_;
  std::vector<Ask> asks_;
  std::vector<RequestSpec> requests_;
  std::map<RequestSpec, std::uint32_t> request_ids_;
  std::vector<Service> services_;
  std::vector<User> users_;
  std::vector<Source> sources_;
  std::vector<Workflow> workflows_;
  std::map<std::string, Index> tenant_ids_, sku_ids_, cluster_ids_;

  std::vector<UsageAccount> tenant_books_, sku_books_;
  SeriesBook::Level level_;
  std::int64_t allocated_milli_ = 0, served_micro_ = 0;
  std::int64_t touched_ = 0, capacity_ = 0, waiting_ = 0, shared_ = 0, passthrough_ = 0;
  std::int64_t down_cards_ = 0;
  double cost_rate_ = 0;  // per hour
  double waited_us_ = 0;  // of units that stopped waiting
  double down_us_ = 0;
  std::int64_t totals_at_ = 0;
  SeriesBook series_;
  PoolResult pool_result_;
  std::vector<std::vector<Index>> pool_groups_;  // by cluster

  std::vector<Index> dirty_cards_, dirty_nodes_, dirty_units_, dirty_services_;
  std::vector<Index> want_pass_;
  std::vector<CardShare> shares_;
};

}  // namespace basalt::sim::platform
