// Reserve: the lease, for a pod or a gang; and Batch. Said again it is the same lease, for as long
// as that lives; a late copy of a request whose lease has ended takes nothing.
//
// Only what is confirmed waits for the journal: a lease that is lost with the server is fenced by
// the next run's epoch, and its Confirm is refused.
#include <algorithm>
#include <utility>

#include "adapters/service/service.h"
#include "adapters/service/shown.h"
#include "adapters/service/uid.h"
#include "scheduler-core/base/check.h"

namespace basalt::service {
namespace {

Digest128 RequestKey(const pb::Header& header, const PodUid& uid, std::uint32_t attempt) {
  Digest digest;
  digest.Add(std::string_view(header.scheduler()));
  digest.Add(std::string_view(header.request_id()));
  digest.Add(Digest128{uid.hi, uid.lo});
  digest.Add(attempt);
  return digest.value();
}

constexpr const char* kEnded =
    "this request was answered before, and its lease has ended; ask again under a new request id";

}  // namespace

bool Service::AnsweredBefore(const pb::Header& header, const PodUid& uid, std::uint32_t attempt,
                             std::uint64_t held_epoch) const {
  if (header.request_id().empty()) return false;
  const auto it = answered_.find(RequestKey(header, uid, attempt));
  return it != answered_.end() && it->second.epoch != held_epoch;
}

std::uint64_t Service::Remember(const pb::Header& header, const PodUid& uid, std::uint32_t attempt,
                                std::uint64_t epoch) {
  if (header.request_id().empty()) return ++newest_turn_;
  const auto [it, fresh] = answered_.try_emplace(RequestKey(header, uid, attempt));
  if (fresh) answered_order_.emplace_back(now_, it->first);
  if (it->second.epoch != epoch) it->second = {epoch, ++newest_turn_};
  return it->second.turn;
}

std::int64_t Service::TtlOf(std::int64_t asked) const {
  return asked == 0 ? config_.lease_ttl_us : std::min(asked, config_.max_lease_ttl_us);
}

void Service::TakeTurn(const PodUid& uid, std::uint64_t turn) {
  PodNames& names = names_[uid];
  if (turn <= names.turn || turn > newest_turn_) return;
  names.turn = turn;
  names.holder = header_ == nullptr ? "" : header_->scheduler();
}

void Service::NameHeld(const PodUid& uid, const pb::PodKey& key, std::uint64_t turn) {
  TakeTurn(uid, turn);
  PodNames& names = names_[uid];
  if (names.synced) return;
  names.space = key.namespace_();
  names.name = key.name();
}

void Service::GiveBack(const PodUid& uid, bool gang, SimTime now) {
  const Status ok = gang ? engine_->ReleaseGang(uid, now) : engine_->Release(uid, now);
  BASALT_CHECK(ok.has_value());
}

Answer<pb::ReserveResponse> Service::Reserve(const Caller& caller,
                                             const pb::ReserveRequest& request, SimTime now) {
  now = Enter(now);
  const CallScope scope(this, request.header());
  Answer<pb::ReserveResponse> answer;
  if (RefusedHere(request.header(), &answer) || RefusedShadow(&answer) || RefusedWork(&answer) ||
      RefusedWrite(&answer)) {
    return answer;
  }
  if (request.ttl_us() < 0) {
    return Bad<pb::ReserveResponse>(Code::kInvalid, "ttl_us is negative");
  }
  engine_->Expire(now);
  switch (request.of_case()) {
    case pb::ReserveRequest::kPod:
      return ReservePod(caller, request, now);
    case pb::ReserveRequest::kGang:
      return ReserveMany(caller, request, now);
    case pb::ReserveRequest::OF_NOT_SET:
      break;
  }
  return Bad<pb::ReserveResponse>(Code::kInvalid, "neither a pod nor a gang is to be placed");
}

Answer<pb::ReserveResponse> Service::ReservePod(const Caller& caller,
                                                const pb::ReserveRequest& request, SimTime now) {
  using Body = pb::ReserveResponse;
  Answer<Body> answer;
  pb::Decision* decision = answer.body.mutable_pod();
  decision->set_kind(pb::OUTCOME_KIND_NOT_READY);
  if (!Decides(request.header())) return answer;
  Code code = Code::kOk;
  Result<PodAsk> ask = ReadPod(caller, request.pod(), &code);
  if (!ask) return Bad<Body>(code, ask.error().ToString());
  const PodUid uid = ask->request.uid;
  const std::uint32_t attempt = ask->request.attempt;
  const auto refuse = [&](const std::string& why) {
    decision->set_kind(pb::OUTCOME_KIND_WAIT);
    answer.body.set_refused(Shown(why));
    return answer;
  };
  const Allocation* held = engine_->Find(uid);
  if (AnsweredBefore(request.header(), uid, attempt, held == nullptr ? 0 : held->epoch)) {
    return refuse(kEnded);
  }
  // A place in full is taken as it is; a node alone is what the policy may choose from.
  const bool whole = request.has_placement() &&
                     (request.placement().cards() != 0 || request.placement().has_pinned() ||
                      !request.placement().slices().empty());
  Outcome outcome;
  if (held == nullptr && whole && Barred(uid, ask->request.standing).empty()) {
    Result<Placement> place = ReadPlace(request.placement());
    if (!place) return refuse(place.error().ToString());
    outcome.kind = OutcomeKind::kPlaced;
    outcome.placement = std::move(*place);
  } else {
    if (request.has_placement() && !whole) {
      NodeChoice choice;
      if (ask->request.nodes != nullptr) choice = *ask->request.nodes;
      choice.only = {engine_->state().FindNode(request.placement().node())};
      ask->request.nodes = std::make_shared<const NodeChoice>(std::move(choice));
    }
    outcome = ProposeOne(*ask, now);
  }
  if (!outcome.placed()) {
    WriteDecision(*ask, outcome, request.want_reasons(), false, decision);
    return answer;
  }
  if (outcome.already_held && request.has_placement() &&
      (request.placement().node() != engine_->state().name(outcome.placement.node) ||
       (whole && request.placement().cards() != outcome.placement.cards.bits()))) {
    return refuse("the pod holds another place, on node " +
                  engine_->state().name(outcome.placement.node) + "; release that first");
  }
  std::vector<Placement> others;
  if (request.pod().alternatives() > 0 && !request.has_placement() && !outcome.already_held) {
    const int most = std::min(request.pod().alternatives(), kMaxAlternatives);
    others = engine_->Alternatives(ask->request, outcome, static_cast<std::size_t>(most));
  }
  // A pod that comes in another's stead takes what its migration holds, if it is to go there.
  pb::CommandState* migration = MigrationFor(ask->request);
  if (migration != nullptr) {
    const Placement kept = PlaceOf(*engine_->Find(*ParseUid(migration->held_uid())));
    if (kept.node != outcome.placement.node || kept.cards != outcome.placement.cards) {
      migration = nullptr;
    }
  }
  const std::int64_t ttl = TtlOf(request.ttl_us());
  const Result<Lease> lease = migration != nullptr
                                  ? TakeOver(migration, ask->request, ttl, now)
                                  : engine_->Reserve(ask->request, outcome.placement, now, ttl);
  if (!lease) return refuse(lease.error().ToString());
  if (request.confirm()) {
    if (const Status ok = engine_->Confirm(*lease, now); !ok) {
      return refuse(ok.error().ToString());
    }
  }
  if (RefusedWrite(&answer)) {  // it broke on this very record
    if (held == nullptr) GiveBack(uid, false, now);
    return answer;
  }
  WriteDecision(*ask, outcome, false, request.want_assignment(), decision);
  for (const Placement& place : others) {
    WritePlace(place, *ask->entry, false, decision->add_alternatives());
  }
  const std::uint64_t turn = Remember(request.header(), uid, attempt, lease->epoch);
  WriteLease(*lease, false, turn, answer.body.mutable_lease());
  NameHeld(uid, ask->key, turn);
  if (!request.confirm()) return answer;
  return Durable(std::move(answer));
}

Answer<pb::ReserveResponse> Service::ReserveMany(const Caller& caller,
                                                 const pb::ReserveRequest& request, SimTime now) {
  using Body = pb::ReserveResponse;
  Answer<Body> answer;
  pb::GangDecision* decision = answer.body.mutable_gang();
  decision->set_kind(pb::OUTCOME_KIND_NOT_READY);
  if (!Decides(request.header())) return answer;
  Code code = Code::kOk;
  const Result<GangAsk> ask = ReadGang(caller, request.gang(), &code);
  if (!ask) return Bad<Body>(code, ask.error().ToString());
  const PodUid uid = ask->request.uid;
  const std::uint32_t attempt = ask->request.attempt;
  const auto refuse = [&](const std::string& why) {
    decision->set_kind(pb::OUTCOME_KIND_WAIT);
    answer.body.set_refused(Shown(why));
    return answer;
  };
  const Gang* held = engine_->FindGang(uid);
  const std::uint64_t epoch_before = held == nullptr ? 0 : held->newest_epoch;
  if (AnsweredBefore(request.header(), uid, attempt, epoch_before)) return refuse(kEnded);
  GangOutcome outcome;
  if (request.members_size() > 0 && Barred(uid, ask->request.standing).empty()) {
    outcome.kind = OutcomeKind::kPlaced;
    for (const pb::GangDecision::Member& member : request.members()) {
      Result<Placement> place = ReadPlace(member.placement());
      if (!place) return refuse(place.error().ToString());
      outcome.members.push_back({member.member(), std::move(*place)});
    }
    for (const PodUid& member : ask->request.members) {
      if (deleted_.contains(member)) return refuse("a pod of the gang was deleted");
    }
  } else {
    Result<GangOutcome> proposed = ProposeMany(*ask, now);
    if (!proposed) return Bad<Body>(Code::kInvalid, proposed.error().ToString());
    outcome = std::move(*proposed);
  }
  if (!outcome.placed()) {
    WriteGang(*ask, outcome, false, decision);
    return answer;
  }
  const Result<Lease> lease =
      engine_->ReserveGang(ask->request, outcome, now, TtlOf(request.ttl_us()));
  if (!lease) return refuse(lease.error().ToString());
  if (request.confirm()) {
    if (const Status ok = engine_->ConfirmGang(*lease, now); !ok) {
      return refuse(ok.error().ToString());
    }
  }
  if (RefusedWrite(&answer)) {
    if (held == nullptr) GiveBack(uid, true, now);
    return answer;
  }
  WriteGang(*ask, outcome, request.want_assignment(), decision);
  const std::uint64_t turn = Remember(request.header(), uid, attempt, lease->epoch);
  WriteLease(*lease, true, turn, answer.body.mutable_lease());
  NameHeld(uid, ask->key, turn);
  for (std::size_t m = 0; m < ask->members.size(); ++m) {
    if (engine_->Find(ask->request.members[m]) != nullptr) {
      NameHeld(ask->request.members[m], ask->members[m], turn);
    }
  }
  if (!request.confirm()) return answer;
  return Durable(std::move(answer));
}

Answer<pb::BatchResponse> Service::Batch(const Caller& caller, const pb::BatchRequest& request,
                                         SimTime now) {
  using Body = pb::BatchResponse;
  Answer<Body> answer;
  if (RefusedHere(request.header(), &answer)) return answer;
  if (request.items_size() > kMaxBatch) {
    return Bad<Body>(Code::kExhausted, "more items than one batch may have");
  }
  // Items without a header have the batch's.
  const auto with_header = [&](const auto& item) {
    auto copy = item;
    if (!item.has_header()) *copy.mutable_header() = request.header();
    return copy;
  };
  const auto keep = [&](auto item_answer, pb::BatchResult* result, auto* body) {
    answer.position = std::max(answer.position, item_answer.position);
    if (item_answer.ok()) {
      *body = std::move(item_answer.body);
    } else {
      result->set_bad_input(Shown(item_answer.message));
    }
  };
  bool waits = false;
  const auto placed = [](const auto& body) {
    return body.has_gang() ? body.gang().kind() == pb::OUTCOME_KIND_PLACED
                           : body.pod().kind() == pb::OUTCOME_KIND_PLACED;
  };
  for (const pb::BatchItem& item : request.items()) {
    if (waits && request.stop_at_first_wait()) break;
    pb::BatchResult* result = answer.body.add_results();
    switch (item.of_case()) {
      case pb::BatchItem::kPropose:
        keep(Propose(caller, with_header(item.propose()), now), result, result->mutable_propose());
        waits = waits || !result->has_propose() || !placed(result->propose());
        break;
      case pb::BatchItem::kReserve:
        keep(Reserve(caller, with_header(item.reserve()), now), result, result->mutable_reserve());
        waits = waits || !result->has_reserve() || !result->reserve().has_lease();
        break;
      case pb::BatchItem::kConfirm:
        keep(Confirm(caller, with_header(item.confirm()), now), result, result->mutable_confirm());
        break;
      case pb::BatchItem::kRenew:
        keep(Renew(caller, with_header(item.renew()), now), result, result->mutable_renew());
        break;
      case pb::BatchItem::kRelease:
        keep(Release(caller, with_header(item.release()), now), result, result->mutable_release());
        break;
      case pb::BatchItem::OF_NOT_SET:
        result->set_bad_input("an empty item");
        break;
    }
  }
  return answer;
}

}  // namespace basalt::service
