// Confirm, Renew and Release. A lease is fenced by its epoch: epochs grow over all boots, so an
// epoch that is not the one held is of a lease that was replaced or lost.
#include <fmt/format.h>

#include <string>
#include <utility>
#include <vector>

#include "adapters/service/service.h"
#include "adapters/service/uid.h"

namespace basalt::service {

Result<Service::Held> Service::FindHeld(const pb::Lease& lease) const {
  const Result<PodUid> uid = ParseUid(lease.uid());
  if (!uid) return tl::unexpected<Error>(uid.error());
  Held held;
  held.uid = *uid;
  held.gang = lease.gang();
  const Allocation* one = nullptr;
  if (held.gang) {
    const Gang* gang = engine_->FindGang(*uid);
    if (gang == nullptr) return held;
    held.whole = true;
    for (std::size_t m = 0; m < gang->pods.size(); ++m) {
      if (gang->members[m] != Gang::Member::kHeld) continue;
      const Allocation* a = engine_->Find(gang->pods[m]);
      // A gang grows lease by lease; the one that is asked about may be an older one.
      if (one == nullptr || a->epoch == lease.epoch() ||
          (one->epoch != lease.epoch() && a->epoch > one->epoch)) {
        one = a;
      }
      held.whole = held.whole && a->epoch == lease.epoch();
    }
  } else {
    one = engine_->Find(*uid);
  }
  if (one == nullptr) return held;
  held.epoch = one->epoch;
  held.expires = one->expires;
  held.confirmed = one->confirmed;
  held.standing = *one->standing;
  return held;
}

pb::LeaseAnswer Service::Fence(const Held& held, const pb::Lease& lease,
                               std::string* reason) const {
  if (held.epoch == lease.epoch() && held.epoch != 0) return pb::LEASE_ANSWER_OK;
  if (held.epoch != 0) {
    *reason = fmt::format("lease {} was replaced by lease {}", lease.epoch(), held.epoch);
    return pb::LEASE_ANSWER_FENCED;
  }
  *reason = "it holds nothing: the lease expired, was released, or was lost with an earlier run";
  return lease.server_epoch() < server_epoch_ ? pb::LEASE_ANSWER_FENCED : pb::LEASE_ANSWER_EXPIRED;
}

template <class Body>
bool Service::RefusedLease(const Caller& caller, const pb::Header& header, const pb::Lease& lease,
                           Answer<Body>* answer, Held* held) const {
  if (RefusedHere(header, answer) || RefusedShadow(answer)) return true;
  if (!lease.cluster().empty() && lease.cluster() != config_.id) {
    *answer = Bad<Body>(Code::kInvalid, "the lease is of cluster " + lease.cluster());
    return true;
  }
  Result<Held> found = FindHeld(lease);
  if (!found) {
    *answer = Bad<Body>(Code::kInvalid, found.error().ToString());
    return true;
  }
  const Status may = found->epoch == 0
                         ? access_.MayFeed(caller)
                         : access_.MayDecide(caller, found->standing, engine_->queues());
  if (!may) {
    *answer = Bad<Body>(Code::kDenied, may.error().ToString());
    return true;
  }
  *held = std::move(*found);
  return false;
}

bool Service::RunsSomewhere(const Held& held, std::uint64_t epoch) const {
  const auto bound = [this](const PodUid& uid) {
    const auto it = names_.find(uid);
    return it != names_.end() && it->second.bound;
  };
  if (!held.gang) return bound(held.uid);
  for (const PodUid& member : engine_->FindGang(held.uid)->pods) {
    const Allocation* a = engine_->Find(member);
    if (a != nullptr && a->gang == held.uid && (epoch == 0 || a->epoch == epoch) && bound(member)) {
      return true;
    }
  }
  return false;
}

std::string Service::WhyNotReleased(const Held& held, const pb::ReleaseRequest& request) const {
  if (RunsSomewhere(held, request.lease().epoch())) {
    return "it is bound to a node; its place is free once it is gone";
  }
  // Whoever reserved it again may be binding the pod just now.
  if (!held.confirmed || request.lease().epoch() == 0) return "";
  const auto it = names_.find(held.uid);
  if (it == names_.end() || it->second.turn == 0) {
    return "it was confirmed in an earlier run of the server; reserve it again first";
  }
  if (IsTurn(held.uid, request.lease().turn())) return "";
  if (request.lease().turn() == 0) return "a confirmed lease is given back with its turn";
  return "it was reserved again since, by " + it->second.holder;
}

bool Service::IsTurn(const PodUid& uid, std::uint64_t turn) const {
  const auto it = names_.find(uid);
  return turn != 0 && it != names_.end() && it->second.turn == turn;
}

Status Service::EndHeld(const Held& held, std::uint64_t epoch, SimTime now) {
  if (held.gang && (held.whole || epoch == 0)) return engine_->ReleaseGang(held.uid, now);
  if (!held.gang && engine_->Find(held.uid)->member < 0) return engine_->Release(held.uid, now);
  // A part of a gang that could not be started: it is missed until it is placed again.
  const std::vector<PodUid> pods =
      held.gang ? engine_->FindGang(held.uid)->pods : std::vector<PodUid>{held.uid};
  for (const PodUid& uid : pods) {
    const Allocation* a = engine_->Find(uid);
    if (a == nullptr || (held.gang && (a->gang != held.uid || a->epoch != epoch))) continue;
    if (Status ok = engine_->Apply(basalt::PodGone{uid, true}, now); !ok) return ok;
  }
  return {};
}

void Service::TakeTurn(const Held& held, std::uint64_t turn) {
  TakeTurn(held.uid, turn);
  if (!held.gang) return;
  for (const PodUid& member : engine_->FindGang(held.uid)->pods) {
    const Allocation* a = engine_->Find(member);
    if (a != nullptr && a->gang == held.uid && a->epoch == held.epoch) TakeTurn(member, turn);
  }
}

Answer<pb::ConfirmResponse> Service::Confirm(const Caller& caller,
                                             const pb::ConfirmRequest& request, SimTime now) {
  now = Enter(now);
  const CallScope scope(this, request.header());
  Answer<pb::ConfirmResponse> answer;
  engine_->Expire(now);
  Held held;
  if (RefusedLease(caller, request.header(), request.lease(), &answer, &held) ||
      RefusedWrite(&answer)) {
    return answer;
  }
  pb::ConfirmResponse& out = answer.body;
  if (!Decides(request.header())) {
    out.set_answer(pb::LEASE_ANSWER_NOT_READY);
    out.set_reason("the cluster is not synced yet");
    return answer;
  }
  std::string reason;
  pb::LeaseAnswer outcome = Fence(held, request.lease(), &reason);
  if (outcome == pb::LEASE_ANSWER_OK) {
    const Lease lease{held.uid, held.epoch, held.expires};
    const Status ok = held.gang ? engine_->ConfirmGang(lease, now) : engine_->Confirm(lease, now);
    if (ok) {
      // Confirmed in an earlier run: this may be a late copy, of a turn before the one that binds.
      const bool known = !held.confirmed || names_[held.uid].turn != 0;
      if (known) TakeTurn(held, request.lease().turn());
    } else {
      reason = ok.error().ToString();
      outcome = engine_->FindNomination(held.uid) != nullptr ? pb::LEASE_ANSWER_ROOM_NOT_FREE
                                                             : pb::LEASE_ANSWER_EXPIRED;
    }
  }
  // Confirmed in memory and perhaps not on disk: to be said again once it can be written.
  if (RefusedWrite(&answer)) return answer;
  out.set_answer(outcome);
  out.set_reason(reason);
  metrics_.Count(outcome == pb::LEASE_ANSWER_OK ? "confirms" : "confirms_refused");
  return Durable(std::move(answer));
}

Answer<pb::RenewResponse> Service::Renew(const Caller& caller, const pb::RenewRequest& request,
                                         SimTime now) {
  now = Enter(now);
  const CallScope scope(this, request.header());
  Answer<pb::RenewResponse> answer;
  engine_->Expire(now);
  Held held;
  if (RefusedLease(caller, request.header(), request.lease(), &answer, &held) ||
      RefusedWrite(&answer)) {
    return answer;
  }
  if (request.ttl_us() < 0) {
    return Bad<pb::RenewResponse>(Code::kInvalid, "ttl_us is negative");
  }
  std::string reason;
  pb::LeaseAnswer outcome = Fence(held, request.lease(), &reason);
  if (outcome == pb::LEASE_ANSWER_OK) {
    const Lease lease{held.uid, held.epoch, held.expires};
    const std::int64_t ttl = TtlOf(request.ttl_us());
    const Result<Lease> renewed =
        held.gang ? engine_->RenewGang(lease, ttl, now) : engine_->Renew(lease, ttl, now);
    if (renewed) {
      WriteLease(*renewed, held.gang, request.lease().turn(), answer.body.mutable_lease());
    } else {
      reason = renewed.error().ToString();
      outcome = pb::LEASE_ANSWER_EXPIRED;
    }
  }
  if (RefusedWrite(&answer)) return answer;
  answer.body.set_answer(outcome);
  answer.body.set_reason(reason);
  return Durable(std::move(answer));
}

Answer<pb::ReleaseResponse> Service::Release(const Caller& caller,
                                             const pb::ReleaseRequest& request, SimTime now) {
  now = Enter(now);
  const CallScope scope(this, request.header());
  Answer<pb::ReleaseResponse> answer;
  engine_->Expire(now);
  Held held;
  if (RefusedLease(caller, request.header(), request.lease(), &answer, &held)) return answer;
  pb::ReleaseResponse& out = answer.body;
  std::string reason;
  pb::LeaseAnswer outcome = pb::LEASE_ANSWER_OK;
  if (request.lease().epoch() != 0 || held.epoch == 0) {
    outcome = Fence(held, request.lease(), &reason);
  }
  // A member that an older lease of its gang holds was handed out again by the newest.
  if (outcome == pb::LEASE_ANSWER_FENCED && held.epoch != 0 && !held.gang &&
      IsTurn(held.uid, request.lease().turn())) {
    outcome = pb::LEASE_ANSWER_OK;
    reason.clear();
  }
  if (outcome == pb::LEASE_ANSWER_OK) {
    reason = WhyNotReleased(held, request);
    if (!reason.empty()) outcome = pb::LEASE_ANSWER_FENCED;
  }
  if (outcome == pb::LEASE_ANSWER_OK) {
    const Status ok = EndHeld(held, request.lease().epoch(), now);
    if (!ok) {
      reason = ok.error().ToString();
      outcome = pb::LEASE_ANSWER_EXPIRED;
    }
  }
  out.set_answer(outcome);
  out.set_reason(reason);
  return Durable(std::move(answer));
}

}  // namespace basalt::service
