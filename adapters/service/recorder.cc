// What the engine journals is what watchers are told.
#include <utility>

#include "adapters/service/service.h"
#include "adapters/service/uid.h"

namespace basalt::service {
namespace {

pb::OutcomeKind KindOf(OutcomeKind kind) {
  return static_cast<pb::OutcomeKind>(static_cast<int>(kind) + 1);
}

struct Tell {
  pb::WatchEvent& event;
  PodUid about = {};

  void LeaseOf(const PodUid& uid, bool gang, std::uint64_t epoch, SimTime expires, pb::Lease* out) {
    about = uid;
    out->set_uid(UuidText(uid));
    out->set_gang(gang);
    out->set_epoch(epoch);
    out->set_expires_us(expires.us);
  }
  bool operator()(const ReservedRecord& r) {
    LeaseOf(r.uid, false, r.epoch, r.expires, event.mutable_reserved());
    return true;
  }
  bool operator()(const GangReservedRecord& r) {
    LeaseOf(r.gang.uid, true, r.epoch, r.expires, event.mutable_reserved());
    return true;
  }
  bool operator()(const NominatedRecord& r) { return std::visit(*this, r.places); }
  bool operator()(const ConfirmedRecord& r) {
    LeaseOf(r.uid, false, 0, SimTime{}, event.mutable_confirmed());
    return true;
  }
  bool operator()(const GangConfirmedRecord& r) {
    LeaseOf(r.uid, true, r.epoch, SimTime{}, event.mutable_confirmed());
    return true;
  }
  bool operator()(const RenewedRecord& r) {
    LeaseOf(r.uid, r.gang, r.epoch, r.expires, event.mutable_renewed());
    return true;
  }
  bool operator()(const ReleasedRecord& r) {
    about = r.uid;
    event.set_released_uid(UuidText(r.uid));
    return true;
  }
  bool operator()(const GangReleasedRecord& r) {
    about = r.uid;
    event.set_released_uid(UuidText(r.uid));
    return true;
  }
  bool operator()(const ExpiredRecord& r) {
    about = r.uid;
    event.set_expired_uid(UuidText(r.uid));
    return true;
  }
  bool operator()(const DecisionRecord& r) {
    about = r.uid;
    event.mutable_pod()->set_kind(KindOf(r.kind));
    return true;
  }
  bool operator()(const GangDecisionRecord& r) {
    about = r.gang.uid;
    event.mutable_gang()->set_kind(KindOf(r.kind));
    return true;
  }
  bool operator()(const PolicyRecord& r) {
    event.set_policy_changed(r.expression);
    return true;
  }
  bool operator()(const EventRecord&) { return false; }  // the syncer's own words
  bool operator()(const ShapeRecord&) { return false; }
};

}  // namespace

void Service::Recorder::Append(const JournalRecord& record) {
  ++appended;
  if (to != nullptr) to->Append(record);
  service_->Recorded(record);
}

void Service::Recorded(const JournalRecord& record) {
  pb::WatchEvent event;
  Tell tell{event};
  if (!std::visit(tell, record.body)) return;
  event.set_time_us(record.now.us);
  event.set_cluster(config_.id);
  if (header_ != nullptr) {
    event.set_request_id(header_->request_id());
    event.set_scheduler(header_->scheduler());
  }
  if (tell.about != PodUid{}) {
    event.mutable_about()->set_uid(UuidText(tell.about));
    if (const auto it = names_.find(tell.about); it != names_.end()) {
      event.mutable_about()->set_namespace_(it->second.space);
      event.mutable_about()->set_name(it->second.name);
    }
  }
  ring_.Add(std::move(event));
}

void Service::TellFreed(const std::string& node, std::vector<std::string> cards,
                        const PodUid* about) {
  pb::WatchEvent event;
  event.set_time_us(now_.us);
  event.set_cluster(config_.id);
  event.mutable_freed()->set_node(node);
  for (std::string& card : cards) event.mutable_freed()->add_card_uuids(std::move(card));
  if (about != nullptr) *event.mutable_about() = KeyOf(*about);
  ring_.Add(std::move(event));
}

void Service::Record(SimTime now, decltype(DecisionEntry::body) body) {
  decisions_->Append(DecisionEntry{recorder_.appended, now, std::move(body)});
}

std::uint32_t Service::RecordedShapeOf(ShapeId shape, SimTime now) {
  const auto [it, is_new] = recorded_shapes_.try_emplace(
      shape.value(), static_cast<std::uint32_t>(recorded_shapes_.size()));
  if (is_new) Record(now, RecordedShape{engine_->state().shape(shape).spec});
  return it->second;
}

RecordedAsk Service::AskOf(const Request& request, SimTime now) {
  return {request.uid, request.attempt,  RecordedShapeOf(request.shape, now),
          request.job, request.standing, NamesOf(engine_->state(), request.nodes)};
}

GangSpecRecord Service::AskOf(const GangRequest& request, SimTime now) {
  GangSpecRecord record{request.uid,
                        request.attempt,
                        request.job,
                        request.spec,
                        request.members,
                        request.standing,
                        NamesOf(engine_->state(), request.nodes),
                        {}};
  // A gang that holds places may be asked for without its pods: they are those it has.
  const Gang* held = engine_->FindGang(request.uid);
  if (held != nullptr && held->attempt == request.attempt) {
    record.pods = held->pods;
    record.standing = held->standing;
  } else if (record.pods.empty()) {
    for (std::int32_t m = 0; m < request.spec.max_members(); ++m) {
      record.pods.push_back(GangMemberUid(request.uid, m));
    }
  }
  for (const auto& choice : request.task_nodes) {
    record.task_nodes.push_back(NamesOf(engine_->state(), choice));
  }
  for (GangTask& task : record.spec.tasks) {
    task.shape = ShapeId(RecordedShapeOf(task.shape, now));
  }
  return record;
}

void Service::Decided(const Request& request, const Outcome& outcome, SimTime now) {
  if (decisions_ == nullptr) return;
  RecordedDecision decision{AskOf(request, now), outcome.kind, {}};
  if (outcome.placed()) {
    const Placement& place = outcome.placement;
    decision.place = {-1, engine_->state().name(place.node), place.cards, place.score};
  }
  Record(now, std::move(decision));
}

void Service::Decided(const GangRequest& request, const GangOutcome& outcome, SimTime now) {
  if (decisions_ == nullptr) return;
  RecordedGangDecision decision{AskOf(request, now), outcome.kind, {}};
  for (const GangOutcome::Member& m : outcome.members) {
    decision.places.push_back(
        {m.member, engine_->state().name(m.placement.node), m.placement.cards, 0});
  }
  Record(now, std::move(decision));
}

void Service::Decided(std::variant<RecordedAsk, GangSpecRecord> ask, const EvictionRules& rules,
                      const EvictionPlan& plan, SimTime now) {
  RecordedEviction eviction{std::move(ask), rules, plan.found, {}, {}};
  for (const Victim& victim : plan.victims) eviction.victims.push_back(victim.uid);
  if (plan.found) {
    const auto add = [&](std::int32_t member, const Placement& place) {
      eviction.places.push_back({member, engine_->state().name(place.node), place.cards, 0});
    };
    for (const GangOutcome::Member& m : plan.gang.members) add(m.member, m.placement);
    if (std::holds_alternative<RecordedAsk>(eviction.ask)) add(-1, plan.placement);
  }
  Record(now, std::move(eviction));
}

void Service::SeenWaiting(const pb::PodState& pod, const PodUid& uid, SimTime now) {
  if (decisions_ == nullptr && !config_.shadow) return;
  Request request;
  const Result<const Entry*> entry = asks_.Read(*engine_, pod.ask(), &request.standing.sku);
  if (!entry) return;  // it is said when somebody asks for it
  request.uid = uid;
  request.attempt = pod.pod().attempt();
  request.shape = (*entry)->shape;
  request.job = JobOf(pod.job());
  request.standing.queue = pod.standing().queue();
  request.standing.priority = pod.standing().priority();
  request.standing.preemptible = !pod.standing().not_preemptible();
  if (decisions_ != nullptr) Record(now, RecordedSeen{AskOf(request, now)});
  if (!config_.shadow) return;
  shadow_.Waits(request, now);
  // Asked for as a scheduler of ours would: a replay has it as an arrival.
  Decided(request, engine_->Propose(request, now), now);
}

std::vector<pb::WatchEvent> Service::WatchAfter(std::uint64_t from, std::size_t max) const {
  return ring_.After(from, max);
}

std::vector<pb::Action> Service::ActionsAfter(std::uint64_t sequence,
                                              const std::vector<pb::ActionKind>& kinds,
                                              std::size_t max) const {
  return actions_.After(sequence, kinds, max);
}

std::string Service::AddBind(const pb::PodKey& pod, const pb::Lease& lease, const pb::Place& to,
                             SimTime deadline) {
  pb::Action action;
  action.set_id("bind/" + pod.uid() + "/" + std::to_string(lease.epoch()));
  action.set_server_epoch(server_epoch_);
  action.set_cluster(config_.id);
  action.set_kind(pb::ACTION_KIND_BIND);
  *action.mutable_pod() = pod;
  action.set_node(to.node());
  *action.mutable_to() = to;
  *action.mutable_lease() = lease;
  action.set_deadline_us(deadline.us);
  return actions_.Add(std::move(action)).id();
}

std::optional<ActionResult> Service::ResultOf(const std::string& action_id) const {
  return actions_.ResultOf(action_id);
}

Answer<pb::AckActionResponse> Service::AckAction(const Caller& caller,
                                                 const pb::AckActionRequest& request, SimTime now) {
  now = Enter(now);
  Answer<pb::AckActionResponse> answer;
  if (RefusedHere(request.header(), &answer) || RefusedFeed(caller, &answer)) return answer;
  // Of an earlier run: that run's action may be open under the same id.
  if (request.server_epoch() == server_epoch_) {
    answer.body.set_known(actions_.Ack(request.id(), {request.done(), request.error()}, now));
    StepCommands(now);
  }
  return answer;
}

Answer<pb::ReportUsageResponse> Service::ReportUsage(const Caller& caller,
                                                     const pb::ReportUsageRequest& request,
                                                     SimTime now) {
  now = Enter(now);
  Answer<pb::ReportUsageResponse> answer;
  if (RefusedHere(request.header(), &answer) || RefusedFeed(caller, &answer)) return answer;
  if (request.exposition().size() > kMaxExpositionBytes) {
    return Bad<pb::ReportUsageResponse>(Code::kExhausted,
                                        "an exposition has at most 4 MiB; send it in parts");
  }
  const auto named = [this](const std::string& space, const std::string& name) {
    const auto it = pod_named_.find({space, name});
    return it == pod_named_.end() ? std::nullopt : std::optional<PodUid>(it->second);
  };
  answer.body = usage_.Report(*engine_, request, now, named);
  return answer;
}

}  // namespace basalt::service
