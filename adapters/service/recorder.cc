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
  }
  return answer;
}

Answer<pb::ReportUsageResponse> Service::ReportUsage(const Caller& caller,
                                                     const pb::ReportUsageRequest& request,
                                                     SimTime now) {
  Enter(now);
  Answer<pb::ReportUsageResponse> answer;
  if (RefusedHere(request.header(), &answer) || RefusedFeed(caller, &answer)) return answer;
  answer.body = usage_.Report(*engine_, request);
  return answer;
}

}  // namespace basalt::service
