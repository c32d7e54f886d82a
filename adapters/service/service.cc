// The life of a service: start, time passing, reload, status, metrics.
#include "adapters/service/service.h"

#include <algorithm>
#include <utility>

#include "adapters/service/uid.h"
#include "scheduler-core/base/check.h"
#include "traces/usage_names.h"

namespace basalt::service {
namespace {

constexpr std::size_t kRing = 8'192;
constexpr std::int64_t kDeletedKeptUs = 600'000'000;
constexpr std::size_t kMaxDeleted = 100'000;
constexpr std::int64_t kAnswersKeptUs = 600'000'000;
constexpr std::size_t kMaxAnswers = 100'000;
constexpr std::int64_t kUsageKeptUs = 600'000'000;
constexpr std::int64_t kRetryUs = 1'000'000;
constexpr std::size_t kNamesSlack = 1'000;

}  // namespace

Result<EngineOptions> EngineOptionsOf(const ClusterConfig& config, const Environment& environment) {
  EngineOptions options;
  options.seed = static_cast<std::uint64_t>(config.seed);
  options.lease_ttl_us = config.lease_ttl_us;
  options.tier_names = config.tier_names;
  std::vector<TargetWorkload::Counted> target;
  for (const std::string& name : config.target_skus) {
    const Result<devices::Sku> sku = devices::FindSku(environment.skus, name);
    if (!sku) return Fail("cluster " + config.id, "target_skus: " + sku.error().message);
    target.push_back({sku->request, 1});
  }
  options.target = TargetWorkload(target, 100);
  return options;
}

Service::Service(const ClusterConfig& config, const Access& access, const Environment* environment,
                 std::uint64_t server_epoch, Store* store)
    : config_(config),
      access_(access),
      environment_(environment),
      server_epoch_(server_epoch),
      store_(store),
      recorder_(this),
      asks_(environment->catalog, &environment->skus, server_epoch,
            static_cast<std::size_t>(config.max_asks)),
      ring_(kRing) {
  // A counter that is not there before its first event has no rate.
  for (const char* name :
       {"asks_forgotten", "assumed_cards", "card_rules_kept", "command_store_errors", "commands",
        "commands_done", "commands_failed", "confirms", "confirms_refused", "evictions",
        "foreign_pods", "grants_unread", "mismatches", "snapshot_errors", "snapshots",
        "sync_deltas", "sync_rejected"}) {
    metrics_.Count(name, 0);
  }
}

Service::~Service() {
  if (engine_ != nullptr) engine_->RestartJournal(nullptr);
}

Result<std::unique_ptr<Service>> Service::Create(const ClusterConfig& config, const Access& access,
                                                 const Environment* environment,
                                                 std::uint64_t server_epoch, Store* store,
                                                 std::unique_ptr<Engine> recovered, SimTime now) {
  const std::string where = "cluster " + config.id;
  if (server_epoch == 0 || server_epoch >> (63 - kEpochBits) != 0) {
    return Fail(where, "the boot's number is out of range");
  }
  std::unique_ptr<Service> service(new Service(config, access, environment, server_epoch, store));
  service->now_ = now;
  service->retried_ = now;
  if (recovered != nullptr) {
    service->engine_ = std::move(recovered);
  } else {
    Result<ConfiguredPolicy> policy = environment->registry->Configure(config.policy);
    if (!policy) return Fail(where, policy.error().ToString());
    Result<EngineOptions> options = EngineOptionsOf(config, *environment);
    if (!options) return tl::unexpected<Error>(options.error());
    Result<std::unique_ptr<Engine>> engine =
        Engine::Create(std::move(*policy), std::move(*options));
    if (!engine) return Fail(where, engine.error().ToString());
    service->engine_ = std::move(*engine);
  }
  Engine& engine = *service->engine_;
  for (const CardRules& rules : devices::CardRulesOf(*environment->catalog)) {
    // Refused where cards of the model are there under other rules: those stay until they are gone.
    if (!engine.Apply(CardRulesSet{rules}, now)) service->metrics_.Count("card_rules_kept");
  }
  engine.RaiseEpoch(server_epoch << kEpochBits);
  service->newest_turn_ = server_epoch << kEpochBits;
  if (Status ok = service->WriteSnapshot(); !ok) return tl::unexpected<Error>(ok.error());
  if (Status ok = service->RecallCommands(); !ok) {
    return Fail(where, ok.error().ToString());
  }
  service->TellVictims();
  return service;
}

Status Service::WriteSnapshot() {
  Result<JournalSink*> sink = store_->Begin(config_.id, engine_->Snapshot());
  if (!sink) {
    metrics_.Count("snapshot_errors");
    return tl::unexpected<Error>(sink.error());
  }
  WriteTo(*sink);
  return {};
}

void Service::WriteTo(JournalSink* sink) {
  recorder_.to = sink;
  recorder_.appended = 0;
  decisions_ = store_->DecisionsOf(config_.id);
  recorded_shapes_.clear();
  engine_->RestartJournal(&recorder_);
  metrics_.Count("snapshots");
}

Status Service::Reload(const ClusterConfig& config, const Access& access, SimTime now) {
  now = Enter(now);
  if (config.id != config_.id) {
    return Fail("cluster " + config_.id, "is not in the new configuration");
  }
  Result<ConfiguredPolicy> policy = environment_->registry->Configure(config.policy);
  if (!policy) return Fail("cluster " + config.id, policy.error().ToString());
  Result<EngineOptions> options = EngineOptionsOf(config, *environment_);
  if (!options) return tl::unexpected<Error>(options.error());
  if (config.policy != config_.policy || config.target_skus != config_.target_skus) {
    if (Status ok = engine_->SetPolicy(std::move(*policy), std::move(options->target), now); !ok) {
      return ok;
    }
  }
  const bool repath = config.tier_labels != config_.tier_labels;
  if (config.target_skus != config_.target_skus) stranded_.clear();
  config_ = config;
  access_ = access;
  asks_.SetMaxAsks(static_cast<std::size_t>(config.max_asks));
  for (const auto& [name, book] : node_facts_) {
    const NodeId node = engine_->state().FindNode(name);
    if (!repath || !node.valid()) continue;
    NodeSpec spec = engine_->state().SpecOf(node);
    spec.network = PathOf(spec);
    if (engine_->state().network(node) == spec.network) continue;
    if (!engine_->Apply(NodeChanged{std::move(spec)}, now)) metrics_.Count("sync_rejected");
  }
  return {};
}

void Service::ForgetAsks() {
  const std::size_t most = asks_.max_asks();
  const bool crowded =
      asks_.size() >= most - most / 4 || engine_->state().shape_count() >= 4 * most;
  if (!crowded || now_ < forgot_.Plus(kRetryUs)) return;
  forgot_ = now_;
  std::set<ShapeId> held;
  engine_->ForEachAllocation([&held](const Allocation& a) { held.insert(a.shape); });
  if (held.size() > most / 2) return;  // not much would be forgotten
  const std::string snapshot = engine_->Snapshot();
  const auto policy = environment_->registry->Configure(config_.policy);
  const auto options = EngineOptionsOf(config_, *environment_);
  BASALT_CHECK(policy.has_value() && options.has_value());  // they were right before
  Result<std::unique_ptr<Engine>> fresh = Engine::Restore(snapshot, *policy, *options);
  BASALT_CHECK(fresh.has_value() && (*fresh)->StateDigest() == engine_->StateDigest());
  const Result<JournalSink*> sink = store_->Begin(config_.id, snapshot);
  if (!sink) {
    metrics_.Count("snapshot_errors");
    return;
  }
  metrics_.Count("asks_forgotten", asks_.size());
  asks_.Clear();
  shadow_.Move(*engine_, fresh->get());
  stranded_.clear();
  engine_ = std::move(*fresh);
  WriteTo(*sink);
  if (config_.shadow) MeasureShadow(now_);
}

void Service::Tick(SimTime now) {
  now = Enter(now);
  engine_->Expire(now);
  actions_.Expire(now);
  usage_.Expire(now.Plus(-kUsageKeptUs));
  while (!deleted_order_.empty() && (deleted_order_.size() > kMaxDeleted ||
                                     deleted_order_.front().first < now.Plus(-kDeletedKeptUs))) {
    const auto& [at, uid] = deleted_order_.front();
    const auto it = deleted_.find(uid);
    if (it != deleted_.end() && it->second == at) deleted_.erase(it);
    deleted_order_.pop_front();
  }
  while (!answered_order_.empty() && (answered_order_.size() > kMaxAnswers ||
                                      answered_order_.front().first < now.Plus(-kAnswersKeptUs))) {
    answered_.erase(answered_order_.front().second);
    answered_order_.pop_front();
  }
  // Names of leases that ended.
  if (names_.size() > 2 * engine_->allocation_count() + kNamesSlack &&
      now >= pruned_.Plus(kRetryUs)) {
    pruned_ = now;
    std::erase_if(names_, [this](const auto& entry) {
      return !entry.second.synced && engine_->Find(entry.first) == nullptr &&
             engine_->FindGang(entry.first) == nullptr;
    });
  }
  // A fresh snapshot replaces a journal with a hole in it.
  if (!store_->ErrorOf(config_.id).empty() && now >= retried_.Plus(kRetryUs)) {
    retried_ = now;
    if (!WriteSnapshot()) return;
  }
  ForgetAsks();
  TellVictims();
  StepCommands(now);
}

void Service::TellVictims() {
  if (config_.shadow) return;  // of an earlier life that was none
  for (const auto& [nominee, nomination] : engine_->nominations()) {
    for (const PodUid& victim : nomination.waiting) {
      const Allocation* held = engine_->Find(victim);
      if (held == nullptr) continue;
      pb::Action action;
      action.set_id("evict/" + UuidText(victim) + "/" + std::to_string(nomination.epoch));
      if (actions_.Knows(action.id())) continue;
      action.set_server_epoch(server_epoch_);
      action.set_cluster(config_.id);
      action.set_kind(pb::ACTION_KIND_EVICT);
      *action.mutable_pod() = KeyOf(victim);
      action.set_node(engine_->state().name(held->node));
      action.set_in_favour_of(UuidText(nominee));
      action.set_reason("its place is needed by " + UuidText(nominee));
      actions_.Add(std::move(action));
    }
  }
}

Answer<pb::HelloResponse> Service::Hello(const Caller& caller, const pb::HelloRequest& request,
                                         SimTime now) {
  Enter(now);
  Answer<pb::HelloResponse> answer;
  if (RefusedHere(request.header(), &answer)) return answer;
  if (!MayRead(caller)) return Bad<pb::HelloResponse>(Code::kDenied, "unknown to this server");
  pb::HelloResponse& out = answer.body;
  out.set_server_version(environment_->version);
  out.set_server_epoch(server_epoch_);
  *out.add_clusters() = StatusOf(false);
  pb::Limits* limits = out.mutable_limits();
  limits->set_max_message_bytes(16 << 20);
  limits->set_max_batch(kMaxBatch);
  limits->set_max_gang_members(kMaxGangMembers);
  limits->set_max_excluded_nodes(kMaxNodesNamed);
  limits->set_max_alternatives(kMaxAlternatives);
  limits->set_lease_ttl_us(config_.lease_ttl_us);
  limits->set_max_lease_ttl_us(config_.max_lease_ttl_us);
  std::set<std::string> keys;
  for (const std::string_view key :
       {devices::kVendorsKey, devices::kModelsKey, devices::kNouseModelsKey, devices::kUseUuidsKey,
        devices::kNouseUuidsKey, devices::kServiceClassKey, devices::kMigProfileKey,
        devices::kPassthroughKey}) {
    keys.emplace(key);
  }
  for (const devices::Vendor& vendor : environment_->catalog->vendors) {
    for (const devices::Interface& interface : vendor.interfaces) {
      std::vector<devices::Interface> forms;
      if (devices::HasWord(interface)) {
        for (const devices::CardModel& model : vendor.models) {
          if (devices::Serves(interface, model)) {
            forms.push_back(devices::ForWord(interface, model.word));
          }
        }
      } else {
        forms.push_back(interface);
      }
      for (const devices::Interface& form : forms) {
        keys.insert({form.mode_key, form.qos_key});
        for (const auto* list :
             {&form.use_type, &form.nouse_type, &form.use_uuid, &form.nouse_uuid}) {
          keys.insert(list->begin(), list->end());
        }
      }
    }
  }
  keys.erase("");
  for (const std::string& key : keys) out.add_pod_annotation_keys(key);
  for (const std::string& key : devices::NodeAnnotationKeys(*environment_->catalog)) {
    out.add_node_annotation_keys(key);
  }
  for (const std::string& key : devices::GrantAnnotationKeys(*environment_->catalog)) {
    out.add_grant_annotation_keys(key);
  }
  for (const trace::UsageName& name : trace::UsageNames()) {
    out.add_usage_metric_names(std::string(name.name));
  }
  for (const std::string& driver : devices::CardDrivers()) out.add_card_drivers(driver);
  return answer;
}

std::int64_t Service::open_leases() const {
  std::int64_t open = 0;
  engine_->ForEachAllocation([&open](const Allocation& a) { open += a.confirmed ? 0 : 1; });
  for (const auto& [number, state] : commands_.all()) {  // nobody will confirm these
    const Result<PodUid> hold = ParseUid(state.held_uid());
    if (hold && engine_->Find(*hold) != nullptr) --open;
  }
  return open;
}

pb::ClusterStatus Service::StatusOf(bool want_digests) {
  pb::ClusterStatus out;
  out.set_cluster(config_.id);
  out.set_ready(ready());
  out.set_generation(pods_generation_);
  out.set_sync_lag_us(now_.us - synced_.us);
  out.set_nodes(engine_->state().totals().nodes);
  out.set_cards(engine_->state().totals().cards);
  out.set_allocations(static_cast<std::int64_t>(engine_->allocation_count()));
  out.set_leases(open_leases());
  out.set_policy(engine_->policy().expression);
  if (want_digests) {
    out.set_state_digest(StateDigest());
    out.set_decision_digest(engine_->DecisionDigest().ToHex());
  }
  for (const auto& [kind, stream] : source_of_) {
    out.add_sources(pb::SyncKind_Name(static_cast<pb::SyncKind>(kind)) + ": " +
                    streams_.at(stream).source);
  }
  return out;
}

void Service::WriteMetrics(MetricsText* out) {
  const MetricsText::Labels cluster = {{"cluster", config_.id}};
  const auto gauge = [&](const std::string& name, std::string_view help, auto value) {
    out->Add("basalt_" + name, "gauge", help, cluster, static_cast<double>(value));
  };
  metrics_.Write(config_.id, out);
  const ClusterTotals& totals = engine_->state().totals();
  gauge("ready", "1: the cluster decides.", ready() ? 1 : 0);
  gauge("nodes", "Nodes that take pods.", totals.nodes);
  gauge("cards", "Cards that take pods.", totals.cards);
  gauge("idle_cards", "Cards without a slice.", totals.idle_cards);
  gauge("card_capacity_milli", "Compute of all cards, 1000 is a card.", totals.gpu_capacity);
  gauge("card_free_milli", "Compute that is not taken.", totals.gpu_free);
  gauge("allocations", "Pods that hold something.", engine_->allocation_count());
  gauge("open_leases", "Of these not confirmed.", open_leases());
  gauge("nominations", "Pods and gangs whose room is not free yet.", engine_->nominations().size());
  gauge("gangs", "Gangs that hold something.", engine_->gangs().size());
  gauge("open_actions", "Actions that nobody has answered.", actions_.open());
  gauge("open_commands", "Commands of operators that have not ended.", commands_.open());
  gauge("asks", "Different asks that are known.", asks_.size());
  gauge("shapes", "Different requests that the engine knows.", engine_->state().shape_count());
  std::size_t orphans = 0;
  for (const auto& [node, pods] : orphans_) orphans += pods.size();
  for (const auto& [table, entries] : std::initializer_list<std::pair<const char*, std::size_t>>{
           {"names", names_.size()},
           {"deleted", deleted_order_.size()},
           {"answered", answered_order_.size()},
           {"events", ring_.size()},
           {"action_results", actions_.results()},
           {"usage", usage_.cards().size() + usage_.pods().size()},
           {"paths", paths_.size()},
           {"nodes", node_facts_.size()},
           {"orphans", orphans},
           {"queues", waiting_queues_.size() + closed_queues_.size()},
           {"streams", streams_.size() + resumable_.size()}}) {
    out->Add("basalt_book_entries", "gauge", "What the server keeps beside the engine, by book.",
             {{"cluster", config_.id}, {"book", table}}, static_cast<double>(entries));
  }
  gauge("sync_generation", "Of the stream of pods.", pods_generation_);
  gauge("sync_age_seconds", "Since the last message of any sync stream.",
        static_cast<double>(now_.us - synced_.us) / 1e6);
  gauge("journal_bytes", "Of the present journal.", store_->JournalBytes(config_.id));
  if (decisions_ != nullptr) {
    const Store::Recording recording = store_->RecordingOf(config_.id);
    gauge("recording_bytes", "Of the generations that are kept for a replay, without the present.",
          recording.bytes);
    gauge("recording_cut_generation",
          "The newest generation that the limit removed from the recording; 0: none.",
          recording.cut);
  }
  gauge("journal_failed", "1: the journal cannot be written.",
        store_->ErrorOf(config_.id).empty() ? 0 : 1);
  gauge("journal_damaged",
        "Whole records that stood behind a damage of the journal at the last start, and are lost.",
        store_->LostRecords(config_.id));
  if (const Fragmentation* fragmentation = engine_->fragmentation(); fragmentation != nullptr) {
    for (std::size_t c = 0; c < kStrandCauses; ++c) {
      out->Add("basalt_fragment_milli", "gauge",
               "Free compute that the target workload cannot use, by cause.",
               {{"cluster", config_.id},
                {"cause", std::string(StrandCauseKey(static_cast<StrandCause>(c)))}},
               static_cast<double>(fragmentation->total().causes[c]) /
                   static_cast<double>(fragmentation->weight()));
    }
  }
  WriteStranded(out);
  WriteCardMetrics(out);
  if (config_.shadow) WriteShadowMetrics(out);
  const QueueTree& queues = engine_->CaughtUpQueues();
  for (const QueueId queue : queues.order()) {
    if (queue == QueueTree::kRoot) continue;
    const QueueSpec& spec = queues.spec(queue);
    for (const auto& [kind, amounts] :
         {std::pair{"deserved", &spec.deserved}, {"capacity", &spec.capacity}}) {
      for (const auto& [resource, amount] : *amounts) {
        out->Add(
            "basalt_queue_limit", "gauge", "What a queue's own settings name.",
            {{"cluster", config_.id}, {"queue", spec.name}, {"resource", resource}, {"kind", kind}},
            static_cast<double>(amount));
      }
    }
    const Amounts& held = queues.allocated(queue);
    for (std::size_t r = 0; r < queues.resources().size(); ++r) {
      const ResourceId resource(r);
      if (held[resource] == 0) continue;
      out->Add("basalt_queue_held", "gauge", "What a queue holds.",
               {{"cluster", config_.id},
                {"queue", queues.name(queue)},
                {"resource", queues.resources().name(resource)}},
               static_cast<double>(held[resource]));
    }
  }
  std::map<std::string, std::int64_t> wired;
  std::size_t notes = 0;
  for (const auto& [node, book] : node_facts_) {
    ++wired[book.wired_as()];
    notes += book.notes;
  }
  for (const auto& [source, nodes] : wired) {
    out->Add("basalt_nodes_wired", "gauge", "Nodes by where it is known from how they are wired.",
             {{"cluster", config_.id}, {"source", source}}, static_cast<double>(nodes));
  }
  gauge("node_notes", "What was guessed or left out when nodes' devices were read.", notes);
  std::int64_t cards = 0, compute = 0, memory = 0;
  for (const auto& [card, sample] : usage_.cards()) {
    cards += 1;
    compute += std::max(0, sample.compute_milli);
    memory += std::max<std::int64_t>(0, sample.memory_mib);
  }
  gauge("usage_cards", "Cards whose use was reported in the last ten minutes.", cards);
  gauge("usage_compute_milli", "Compute used on them.", compute);
  gauge("usage_memory_mib", "Memory used on them.", memory);
}

}  // namespace basalt::service
