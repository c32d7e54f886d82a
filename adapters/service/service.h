// The placement service without its sockets: one cluster, one engine, and the books that a server
// keeps beside it (sync streams, leases of this boot, actions, watchers, usage). Protobuf in,
// protobuf out, time as an argument; no thread, lock, socket or clock. The gRPC and HTTP servers
// are shells around it, and the simulation (test/service_sim) drives it in their place.
//
// Contract:
//  - Not fitting is a body; `code` is kOk then. A code is for bad input, rights, limits and a
//    journal that cannot be written.
//  - An answer may leave only when the journal is durable up to `position`; 0: at once. Confirm,
//    Renew and Release have one even if they changed nothing: what they answer may have been
//    appended by an earlier call that is not durable yet. A lease that is not confirmed has none:
//    lost with the server, it is fenced. Actions wait for position().
//  - Before NODES and PODS (and the cluster's other required kinds) are synced, every decision is
//    NOT_READY; Renew and Release work at any time.
//  - A shadow (ClusterConfig::shadow) takes nothing and tells nobody to do anything: Reserve,
//    Confirm, Renew, Release and Evict are refused, and there are no actions. What others bind is
//    judged (scheduler-core/engine/shadow.h) and recorded.
//  - One thread at a time. Distinct services share nothing but the constant Environment.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "adapters/rpc/placement.pb.h"
#include "adapters/service/access.h"
#include "adapters/service/actions.h"
#include "adapters/service/asks.h"
#include "adapters/service/commands.h"
#include "adapters/service/config.h"
#include "adapters/service/metrics.h"
#include "adapters/service/store.h"
#include "adapters/service/usage.h"
#include "adapters/service/watch.h"
#include "devices/catalog.h"
#include "devices/node_resources.h"
#include "scheduler-core/base/units.h"
#include "scheduler-core/engine/engine.h"
#include "scheduler-core/engine/shadow.h"

namespace basalt::service {

namespace pb = placement::v1;

// Limits of one call, told by Hello.
inline constexpr int kMaxBatch = 10'000;
inline constexpr int kMaxNodesNamed = 100'000;
inline constexpr int kMaxAlternatives = 16;

enum class Code : std::uint8_t {
  kOk,
  kInvalid,       // bad input
  kDenied,        // the caller may not use this queue or SKU
  kExhausted,     // a limit of the server
  kUnavailable,   // draining
  kPrecondition,  // a handle of another boot, a sync message out of order
  kExists,        // a second source of a kind
  kDataLoss,      // the journal cannot be written
};

template <class T>
struct Answer {
  Code code = Code::kOk;
  std::string message = {};
  T body = {};
  std::uint64_t position = 0;  // of the journal, to be durable before this leaves
  bool ok() const { return code == Code::kOk; }
};

// What all services of a process read.
struct Environment {
  const Registry* registry = nullptr;
  const devices::Catalog* catalog = nullptr;
  std::vector<devices::Sku> skus = {};
  std::vector<KnownMachine> machines = {};  // for ClusterConfig::guess_wiring
  std::string version = {};                 // HelloResponse::server_version
};

// The engine's options as a cluster's configuration has them, without a journal (recovery makes the
// engine with them). Errors: a SKU that is not there.
Result<EngineOptions> EngineOptionsOf(const ClusterConfig& config, const Environment& environment);

// Epochs of leases begin with the boot's number; so many of one boot, and 28 bits for boots.
inline constexpr int kEpochBits = 35;

class Service {
 public:
  // `recovered`: what the store recovered for this cluster; null: nothing. `server_epoch` grows
  // with each boot (1..2^23). Writes a first snapshot to the store. Errors: a policy that is none;
  // a store that cannot be written.
  static Result<std::unique_ptr<Service>> Create(const ClusterConfig& config, const Access& access,
                                                 const Environment* environment,
                                                 std::uint64_t server_epoch, Store* store,
                                                 std::unique_ptr<Engine> recovered, SimTime now);
  ~Service();
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  // --- calls; `now` only moves forward ---
  Answer<pb::HelloResponse> Hello(const Caller& caller, const pb::HelloRequest& request,
                                  SimTime now);
  Answer<pb::ProposeResponse> Propose(const Caller& caller, const pb::ProposeRequest& request,
                                      SimTime now);
  Answer<pb::ReserveResponse> Reserve(const Caller& caller, const pb::ReserveRequest& request,
                                      SimTime now);
  Answer<pb::ConfirmResponse> Confirm(const Caller& caller, const pb::ConfirmRequest& request,
                                      SimTime now);
  Answer<pb::RenewResponse> Renew(const Caller& caller, const pb::RenewRequest& request,
                                  SimTime now);
  Answer<pb::ReleaseResponse> Release(const Caller& caller, const pb::ReleaseRequest& request,
                                      SimTime now);
  Answer<pb::BatchResponse> Batch(const Caller& caller, const pb::BatchRequest& request,
                                  SimTime now);
  Answer<pb::EvaluateResponse> Evaluate(const Caller& caller, const pb::EvaluateRequest& request,
                                        SimTime now);
  Answer<pb::EvictResponse> Evict(const Caller& caller, const pb::EvictRequest& request,
                                  SimTime now);
  Answer<pb::ExplainResponse> Explain(const Caller& caller, const pb::ExplainRequest& request,
                                      SimTime now);
  Answer<pb::ReportUsageResponse> ReportUsage(const Caller& caller,
                                              const pb::ReportUsageRequest& request, SimTime now);
  Answer<pb::AckActionResponse> AckAction(const Caller& caller, const pb::AckActionRequest& request,
                                          SimTime now);

  // This very Reserve got a lease that has ended since: a late copy, which takes nothing.
  // `held_epoch` is of what the pod or gang holds now, 0: nothing.
  bool AnsweredBefore(const pb::Header& header, const PodUid& uid, std::uint32_t attempt,
                      std::uint64_t held_epoch) const;

  // --- sync; `stream` is the caller's number of the stream, larger than all before ---
  Answer<pb::SyncResponse> SyncOpen(const Caller& caller, const pb::SyncOpen& open,
                                    std::uint64_t stream, SimTime now);
  Answer<pb::SyncResponse> SyncDeltas(const pb::SyncDeltas& deltas, std::uint64_t stream,
                                      SimTime now);
  Answer<pb::SyncResponse> SyncComplete(const pb::SyncComplete& complete, std::uint64_t stream,
                                        SimTime now);
  void SyncClosed(std::uint64_t stream);
  std::uint64_t NewStream() const { return last_stream_ + 1; }
  bool ready() const;

  // --- streams out: polled, after `Tick` or any call. Both check no rights: see `MayRead`. ---
  // Events after number `from`, at most `max`. `from` 0 begins at the oldest that is kept.
  std::vector<pb::WatchEvent> WatchAfter(std::uint64_t from, std::size_t max) const;
  std::uint64_t last_event() const { return ring_.last(); }
  // Not acked, with a larger sequence, of these kinds (empty: all).
  std::vector<pb::Action> ActionsAfter(std::uint64_t sequence,
                                       const std::vector<pb::ActionKind>& kinds,
                                       std::size_t max) const;
  // For the stock extenders' bind: the lease must be confirmed first. The action's id.
  std::string AddBind(const pb::PodKey& pod, const pb::Lease& lease, const pb::Place& to,
                      SimTime deadline);
  // Empty: not acked yet. Else whether it was done, and why not.
  std::optional<ActionResult> ResultOf(const std::string& action_id) const;

  // --- operators ---
  bool MayRead(const Caller& caller) const { return access_.MayRead(caller); }
  // Kept to some queues or tenants: it sees nobody else's names.
  bool IsLimited(const Caller& caller) const { return access_.IsLimited(caller); }
  bool MayAdminister(const Caller& caller) const { return access_.MayAdminister(caller); }
  // Accepted when it returns: durable, and told to executors. Errors: kPrecondition: the pod or
  // card is not there, or another command stands in the way; kDataLoss: it cannot be stored.
  Answer<pb::CommandState> Command(const Caller& caller, const pb::CommandRequest& request,
                                   SimTime now);
  pb::ListCommandsResponse ListCommands() const;
  pb::ClusterStatus StatusOf(bool want_digests);
  Status Audit() const { return engine_->Audit(); }
  std::string Snapshot() const { return engine_->Snapshot(); }  // Engine::Snapshot
  std::string StateDigest() const { return engine_->StateDigest().ToHex(); }
  // A new generation in the store: a snapshot, and an empty journal. Also clears a journal error.
  Status WriteSnapshot();
  // Policy, tiers, lease times and rights anew; on an error nothing has changed.
  Status Reload(const ClusterConfig& config, const Access& access, SimTime now);
  // From now on Propose, Reserve and Evict are refused; the rest works on.
  void Drain() { draining_ = true; }
  bool draining() const { return draining_; }
  std::int64_t open_leases() const;
  // Ends leases, action deadlines and old books; tries a damaged journal again. Every 100 ms.
  void Tick(SimTime now);
  // Prometheus text 0.0.4. Families of several services are joined by MetricsText (metrics.h).
  void WriteMetrics(MetricsText* out);
  // How long a call took, as the shell measured it (with or without waiting: its choice).
  void ObserveCall(const std::string& call, std::int64_t micros) { metrics_.Observe(call, micros); }

  const ClusterConfig& config() const { return config_; }
  std::uint64_t server_epoch() const { return server_epoch_; }
  std::uint64_t position() const { return store_->Position(config_.id); }
  const Engine& engine() const { return *engine_; }
  const ShadowBook& shadow() const { return shadow_; }

 private:
  using Entry = AskBook::Entry;
  // Passes records on to the store's journal, and what matters to watchers to the ring.
  class Recorder : public JournalSink {
   public:
    explicit Recorder(Service* service) : service_(service) {}
    void Append(const JournalRecord& record) override;
    JournalSink* to = nullptr;
    std::uint64_t appended = 0;  // to it

   private:
    Service* service_;
  };
  // Who a pod is, for people and executors; kept while it holds something or is synced.
  struct PodNames {
    std::string space;
    std::string name;
    bool synced = false;
    bool bound = false;       // it is synced, on a node
    std::uint64_t turn = 0;   // Lease.turn of who reserved or confirmed it last, in this boot
    std::string holder = {};  // who that is
  };
  struct PodAsk {  // a pod request in the engine's terms
    Request request;
    const Entry* entry = nullptr;
    pb::PodKey key;
  };
  struct GangAsk {
    GangRequest request;
    std::vector<const Entry*> entries;  // by task
    pb::PodKey key;
    std::vector<pb::PodKey> members;
  };
  struct SyncStream {
    std::string source;
    std::set<int> kinds;
    std::uint64_t generation = 0;
    bool broken = false;             // a generation is missing; nothing more is taken
    std::uint64_t newest_epoch = 0;  // of what was held at the opening: its pod was there then
    // What was named since the opening, of the kinds that are being listed.
    std::set<int> listing;
    std::set<std::string> nodes, queues, budgets, paths;
    std::set<PodUid> pods;
  };
  using Rejections = std::vector<std::pair<std::string, std::string>>;  // object, reason

  Service(const ClusterConfig& config, const Access& access, const Environment* environment,
          std::uint64_t server_epoch, Store* store);

  // --- checks, in the order that calls make them ---
  SimTime Enter(SimTime now) { return now_ = std::max(now_, now); }
  bool IsOurs(const pb::Header& header) const {
    return header.cluster().empty() || header.cluster() == config_.id;
  }
  template <class T>
  bool RefusedHere(const pb::Header& header, Answer<T>* answer) const {
    if (IsOurs(header)) return false;
    *answer = Bad<T>(Code::kInvalid, "this is cluster " + config_.id + ", not the one named");
    return true;
  }
  template <class T>
  bool RefusedWork(Answer<T>* answer) const {
    if (!draining_) return false;
    *answer = Bad<T>(Code::kUnavailable, "the server is draining; ask another one");
    return true;
  }
  template <class T>
  bool RefusedShadow(Answer<T>* answer) const {
    if (!config_.shadow) return false;
    *answer = Bad<T>(Code::kPrecondition, "cluster " + config_.id +
                                              " is a shadow (mode: shadow): it looks on beside "
                                              "another scheduler and takes nothing");
    return true;
  }
  // What would be promised could be forgotten.
  template <class T>
  bool RefusedWrite(Answer<T>* answer) const {
    const std::string error = store_->ErrorOf(config_.id);
    if (error.empty()) return false;
    *answer = Bad<T>(Code::kDataLoss, "the journal cannot be written: " + error);
    return true;
  }
  template <class T>
  bool RefusedFeed(const Caller& caller, Answer<T>* answer) const {
    const Status may = access_.MayFeed(caller);
    if (may) return false;
    *answer = Bad<T>(Code::kDenied, may.error().ToString());
    return true;
  }
  bool Decides(const pb::Header& header) const {
    return ready() && header.min_generation() <= pods_generation_;
  }
  template <class T>
  static Answer<T> Bad(Code code, std::string message) {
    Answer<T> answer;
    answer.code = code;
    answer.message = std::move(message);
    return answer;
  }
  // What hangs on the journal as it stands.
  template <class T>
  Answer<T> Durable(Answer<T> answer) const {
    answer.position = position();
    return answer;
  }

  // --- convert (convert_in.cc, convert_out.cc) ---
  Result<PodAsk> ReadPod(const Caller& caller, const pb::PodRequest& pod, Code* code,
                         bool decides = true);
  Result<GangAsk> ReadGang(const Caller& caller, const pb::GangRequest& gang, Code* code);
  Result<std::shared_ptr<const NodeChoice>> ReadChoice(const pb::Constraints& constraints) const;
  Result<LevelWish> ReadLevel(const pb::LevelWish& wish, const std::string& where) const;
  Result<Placement> ReadPlace(const pb::Place& place) const;
  Result<NumaTake> ReadTake(const google::protobuf::RepeatedPtrField<pb::Slice>& slices,
                            const pb::Pinned& pinned, NodeId node) const;
  void WritePlace(const Placement& placement, const Entry& entry, bool assign, pb::Place* out);
  void WriteDecision(const PodAsk& ask, const Outcome& outcome, bool reasons, bool assign,
                     pb::Decision* out);
  void WriteGang(const GangAsk& ask, const GangOutcome& outcome, bool assign,
                 pb::GangDecision* out);
  void WriteLease(const Lease& lease, bool gang, std::uint64_t turn, pb::Lease* out) const;
  void WriteReasons(const Explanation& explanation, pb::Decision* out) const;
  pb::PodKey KeyOf(const PodUid& uid) const;

  // --- decisions (decide.cc, reserve.cc) ---
  Outcome ProposeOne(const PodAsk& ask, SimTime now);
  Result<GangOutcome> ProposeMany(const GangAsk& ask, SimTime now);
  // Why nothing new is taken for it: deleted, or its queue is closed. Empty: it may be.
  std::string Barred(const PodUid& uid, const Standing& standing) const;
  Answer<pb::ReserveResponse> ReservePod(const Caller& caller, const pb::ReserveRequest& request,
                                         SimTime now);
  Answer<pb::ReserveResponse> ReserveMany(const Caller& caller, const pb::ReserveRequest& request,
                                          SimTime now);
  // What was just taken and cannot be promised.
  void GiveBack(const PodUid& uid, bool gang, SimTime now);
  // Lease.turn of this answer: a request that is said again has the one that it had.
  std::uint64_t Remember(const pb::Header& header, const PodUid& uid, std::uint32_t attempt,
                         std::uint64_t epoch);
  std::int64_t TtlOf(std::int64_t asked) const;
  void NameHeld(const PodUid& uid, const pb::PodKey& key, std::uint64_t turn);
  void TakeTurn(const PodUid& uid, std::uint64_t turn);
  bool IsTurn(const PodUid& uid, std::uint64_t turn) const;

  // --- leases (leases.cc) ---
  struct Held {
    PodUid uid;
    bool gang = false;
    bool whole = false;       // a gang whose every place is of this lease
    std::uint64_t epoch = 0;  // of what is held now; 0: nothing
    SimTime expires;
    bool confirmed = false;
    Standing standing;
  };
  Result<Held> FindHeld(const pb::Lease& lease) const;
  void TakeTurn(const Held& held, std::uint64_t turn);
  // What a call about the lease must not go past; LEASE_ANSWER_OK: nothing.
  pb::LeaseAnswer Fence(const Held& held, const pb::Lease& lease, std::string* reason) const;
  template <class Body>
  bool RefusedLease(const Caller& caller, const pb::Header& header, const pb::Lease& lease,
                    Answer<Body>* answer, Held* held) const;

  // Why what is held may not be given back by this caller; empty: it may.
  std::string WhyNotReleased(const Held& held, const pb::ReleaseRequest& request) const;
  bool RunsSomewhere(const Held& held, std::uint64_t epoch) const;  // it, or one of its lease
  Status EndHeld(const Held& held, std::uint64_t epoch, SimTime now);

  // --- sync (sync.cc, sync_nodes.cc, sync_pods.cc) ---
  void ApplyDelta(const pb::Delta& delta, SyncStream* stream, SimTime now, Rejections* rejected);
  Status ApplyNode(const pb::NodeState& node, SimTime now);
  Status ApplyKubernetes(const pb::NodeResources& node, SimTime now);
  // The one machine type of the catalog that has such cards; the source's name, empty: none.
  std::string GuessWiring(NodeSpec* node) const;
  Status PutNode(NodeSpec spec, std::vector<devices::CardCondition> conditions, bool cordoned,
                 SimTime now);
  Status ApplyPath(const pb::NodePath& path, SimTime now);
  Status ApplyCard(const pb::CardState& card, SimTime now);
  Status ApplyQueue(const pb::QueueState& queue, SimTime now);
  void RetryQueues(SimTime now);
  Status ApplyPod(const pb::PodState& pod, SimTime now);
  Status ObservePod(const pb::PodState& pod, const PodUid& uid, NodeId node, SimTime now);
  Result<PodObserved> Observation(const pb::PodState& pod, const PodUid& uid, NodeId node);
  // The cards that the pod's annotations tell; false: none, or they cannot be read.
  bool ReadGrants(const pb::PodState& pod, NodeId node, PodObserved* observed);
  // Those that its node's kubelet has given; false as above.
  bool ReadKubelet(const pb::PodState& pod, NodeId node, PodObserved* observed);
  // By UUID, or by the place that stood for one ("NODE/3"); -1: not on the node.
  int CardOf(NodeId node, const std::string& uuid) const;
  // The node's, with the UUIDs that they are called by.
  std::vector<CardSpec> CardsOf(NodeId node) const;
  topology::NetworkPath PathOf(const NodeSpec& node) const;
  // The cards that its claims' devices are.
  Status ReadDevices(const pb::PodState& pod, NodeId node, const devices::NodeFacts& facts,
                     PodObserved* observed);
  Status ChooseCards(const pb::PodState& pod, const Entry& entry, NodeId node,
                     PodObserved* observed);
  void PodEnded(const PodUid& uid, bool failed, SimTime now);
  void ForgetOrphan(const PodUid& uid);
  Status NodeEnded(const std::string& name, SimTime now);
  void AdoptOrphans(const std::string& node, SimTime now, Rejections* rejected);
  void SweepNodes(const SyncStream& stream, SimTime now, pb::SyncResponse* out);
  void SweepPods(const SyncStream& stream, SimTime now, pb::SyncResponse* out);
  void SweepQueues(const SyncStream& stream, SimTime now, Rejections* rejected);
  void SweepPaths(const SyncStream& stream, SimTime now);
  void SweepBudgets(const SyncStream& stream, SimTime now);
  Answer<pb::SyncResponse> SyncAnswer(const SyncStream& stream, const Rejections& rejected,
                                      pb::SyncResponse body);
  // The stream, if its next message has this generation; else the answer says what is wrong.
  SyncStream* StreamFor(std::uint64_t id, std::uint64_t generation, std::uint64_t expected_after,
                        Answer<pb::SyncResponse>* answer);

  void WriteCardMetrics(MetricsText* out) const;
  void WriteStranded(MetricsText* out);
  // The journal of the engine as it is goes there from here on.
  void WriteTo(JournalSink* sink);
  // An engine keeps every shape that it was ever asked for. When most of what is known is held by
  // nobody, another engine takes over, made from this one's snapshot.
  void ForgetAsks();

  // --- commands (commands.cc) ---
  Status AcceptForPod(pb::CommandState* state, SimTime now);
  Status AcceptMove(pb::CommandState* state);
  Status HoldNewPlace(const Allocation& held, pb::CommandState* state, SimTime now);
  void OrderCommand(const pb::CommandState& state);
  Status StoreCommands();
  Status RecallCommands();  // at the start
  void StepCommands(SimTime now);
  void StepForPod(pb::CommandState* state, SimTime now);
  void StepMove(pb::CommandState* state, SimTime now);
  void EvictFrom(const pb::CommandState& state, NodeId node, int card);
  void Uncordon(const pb::CommandState& state, SimTime now);
  // A card that is being moved stays cordoned; what the sync tells holds from the command's end.
  bool KeptCordoned(const std::string& node, const std::string& uuid, bool told);
  std::optional<std::pair<NodeId, int>> FindCard(const std::string& node,
                                                 const std::string& uuid) const;
  // The migration whose successor asks, and that still holds a place for it; null: none.
  pb::CommandState* MigrationFor(const Request& request);
  Result<Lease> TakeOver(pb::CommandState* migration, const Request& request, std::int64_t ttl_us,
                         SimTime now);
  Placement PlaceOf(const Allocation& a) const;  // as it is held now

  // --- recording (recorder.cc): every decision, if the store keeps them ---
  void Decided(const Request& request, const Outcome& outcome, SimTime now);
  void Decided(const GangRequest& request, const GangOutcome& outcome, SimTime now);
  void Decided(std::variant<RecordedAsk, GangSpecRecord> ask, const EvictionRules& rules,
               const EvictionPlan& plan, SimTime now);
  void SeenWaiting(const pb::PodState& pod, const PodUid& uid, SimTime now);
  // --- shadow (shadow.cc) ---
  bool ListsPods() const;  // what is told now was there before
  // The pod is about to be recorded where somebody bound it.
  void JudgeBound(const PodObserved& observed, SimTime now);
  void MeasureShadow(SimTime now);  // against what is there, if no SKUs were named
  void WriteShadowMetrics(MetricsText* out);
  RecordedAsk AskOf(const Request& request, SimTime now);
  GangSpecRecord AskOf(const GangRequest& request, SimTime now);
  std::uint32_t RecordedShapeOf(ShapeId shape, SimTime now);
  void Record(SimTime now, decltype(DecisionEntry::body) body);

  // --- watch and actions ---
  void Recorded(const JournalRecord& record);  // tells watchers
  void TellFreed(const std::string& node, std::vector<std::string> cards = {},
                 const PodUid* about = nullptr);
  void TellVictims();  // an action for every pod that must leave and was not told in this boot

  ClusterConfig config_;
  Access access_;
  const Environment* environment_;
  std::uint64_t server_epoch_;
  Store* store_;
  Recorder recorder_;
  ShadowBook shadow_;
  DecisionSink* decisions_ = nullptr;                       // null: nothing is recorded
  std::map<std::uint32_t, std::uint32_t> recorded_shapes_;  // ShapeId -> number there
  std::unique_ptr<Engine> engine_;
  AskBook asks_;
  ActionLog actions_;
  CommandBook commands_;
  WatchRing ring_;
  // What each of target_skus alone could not use; of the present engine, made when first asked for.
  std::map<std::string, Fragmentation> stranded_;
  UsageBook usage_;
  Metrics metrics_;
  SimTime now_;
  SimTime retried_;  // a journal that could not be written
  SimTime pruned_;   // names_
  SimTime forgot_;   // asks_
  bool draining_ = false;
  // Of the call that runs, for what it writes to the ring; null between calls.
  const pb::Header* header_ = nullptr;
  struct CallScope {
    CallScope(Service* service, const pb::Header& header) : of(service) { of->header_ = &header; }
    ~CallScope() { of->header_ = nullptr; }
    CallScope(const CallScope&) = delete;
    CallScope& operator=(const CallScope&) = delete;
    Service* of;
  };

  std::map<PodUid, PodNames> names_;
  std::map<std::pair<std::string, std::string>, PodUid> pod_named_;  // of the synced ones
  std::map<PodUid, SimTime> deleted_;                                // tombstones
  std::deque<std::pair<SimTime, PodUid>> deleted_order_;             // oldest first
  struct Answered {                                                  // of a request: its lease
    std::uint64_t epoch = 0;
    std::uint64_t turn = 0;
  };
  std::map<Digest128, Answered> answered_;
  std::uint64_t newest_turn_ = 0;  // above all of earlier boots
  std::deque<std::pair<SimTime, Digest128>> answered_order_;

  std::uint64_t last_stream_ = 0;
  std::map<std::uint64_t, SyncStream> streams_;
  std::map<int, std::uint64_t> source_of_;            // kind -> stream
  std::set<int> complete_;                            // kinds
  std::map<std::set<int>, std::uint64_t> resumable_;  // kinds -> generation of the last stream
  std::uint64_t pods_generation_ = 0;
  SimTime synced_;                                      // last message
  std::map<std::string, topology::NetworkPath> paths_;  // by node
  // Of nodes that were told in Kubernetes' words: what assignments to them need, and how they were
  // read.
  struct NodeBook {
    devices::NodeFacts facts;
    std::string machine_source;  // how it is known how the cards are wired; empty: it is not
    std::size_t notes = 0;
    std::string wired_as() const { return machine_source.empty() ? "unknown" : machine_source; }
  };
  std::map<std::string, NodeBook> node_facts_;
  std::set<std::string> closed_queues_;
  std::map<std::string, QueueSpec> waiting_queues_;                // their parent is not there yet
  std::map<std::string, std::map<PodUid, pb::PodState>> orphans_;  // by node that is not there yet
  std::map<PodUid, std::string> orphan_node_;
};

}  // namespace basalt::service
