// Leases that live longer: renewing them, and numbers that no earlier engine gave.
#include <fmt/format.h>

#include <algorithm>

#include "scheduler-core/engine/engine.h"

namespace basalt {

Result<std::int64_t> Engine::TtlOf(std::int64_t ttl_us, const PodUid& of) const {
  if (ttl_us < 0) {
    return Fail("lease of " + UidText(of), fmt::format("its time is {} microseconds", ttl_us));
  }
  return ttl_us == 0 ? options_.lease_ttl_us : ttl_us;
}

void Engine::RaiseEpoch(std::uint64_t least) { next_epoch_ = std::max(next_epoch_, least); }

void Engine::Extend(std::uint32_t slot, SimTime expires) {
  allocations_[slot].expires = expires;
  AddExpiry(slot);  // the entry of the earlier time is stale from now on
}

void Engine::ExtendMembers(const PodUid& uid, std::uint64_t epoch, SimTime expires) {
  const Gang& gang = *FindGang(uid);
  for (std::size_t m = 0; m < gang.pods.size(); ++m) {
    if (gang.members[m] != Gang::Member::kHeld) continue;
    const std::uint32_t slot = by_uid_.find(gang.pods[m])->second;
    const Allocation& a = allocations_[slot];
    if (a.epoch == epoch && !a.confirmed) Extend(slot, expires);
  }
}

Result<Lease> Engine::Renew(const Lease& lease, std::int64_t ttl_us, SimTime now) {
  now = Forward(now);
  const std::string where = "pod " + UidText(lease.uid);
  const Result<std::int64_t> ttl = TtlOf(ttl_us, lease.uid);
  if (!ttl) return tl::unexpected<Error>(ttl.error());
  const auto it = by_uid_.find(lease.uid);
  if (it == by_uid_.end()) {
    return Fail(where, "holds no lease: it expired, was released, or never was");
  }
  const std::uint32_t slot = it->second;
  const Allocation& a = allocations_[slot];
  if (a.epoch != lease.epoch) {
    return Fail(where, fmt::format("lease {} was replaced by lease {}", lease.epoch, a.epoch));
  }
  if (a.confirmed) return Lease{a.uid, a.epoch, a.expires};
  if (a.member >= 0) {
    return Fail(where, "is of gang " + UidText(a.gang) + "; its lease is renewed as a whole");
  }
  if (now >= a.expires) return Fail(where, "the lease has expired; propose again");
  const SimTime until = std::max(a.expires, now.Plus(*ttl));
  if (until != a.expires) {
    Extend(slot, until);
    if (options_.journal != nullptr) {
      Journal(JournalRecord{now, RenewedRecord{a.uid, false, a.epoch, until}});
    }
    TrimExpiries();
  }
  return Lease{a.uid, a.epoch, until};
}

Result<Lease> Engine::RenewGang(const Lease& lease, std::int64_t ttl_us, SimTime now) {
  now = Forward(now);
  const std::string where = "gang " + UidText(lease.uid);
  const Result<std::int64_t> ttl = TtlOf(ttl_us, lease.uid);
  if (!ttl) return tl::unexpected<Error>(ttl.error());
  const Gang* gang = FindGang(lease.uid);
  if (gang == nullptr) {
    return Fail(where, "holds no lease: it expired, was released, or never was");
  }
  const Allocation* one = nullptr;  // one that is not confirmed, if there is any
  for (std::size_t m = 0; m < gang->pods.size(); ++m) {
    if (gang->members[m] != Gang::Member::kHeld) continue;
    const Allocation* a = Find(gang->pods[m]);
    if (a->epoch == lease.epoch && (one == nullptr || one->confirmed)) one = a;
  }
  if (one == nullptr) return Fail(where, fmt::format("lease {} holds nothing", lease.epoch));
  if (one->confirmed) return Lease{lease.uid, lease.epoch, one->expires};
  if (now >= one->expires) return Fail(where, "the lease has expired; propose again");
  const SimTime until = std::max(one->expires, now.Plus(*ttl));
  if (until != one->expires) {
    ExtendMembers(lease.uid, lease.epoch, until);
    if (options_.journal != nullptr) {
      Journal(JournalRecord{now, RenewedRecord{lease.uid, true, lease.epoch, until}});
    }
    TrimExpiries();
  }
  return Lease{lease.uid, lease.epoch, until};
}

Status Engine::ApplyRenewed(const RenewedRecord& record) {
  const auto bad = [&record] {
    return Fail((record.gang ? "journal: gang " : "journal: pod ") + UidText(record.uid),
                fmt::format("lease {} is renewed but is not open", record.epoch));
  };
  if (record.gang) {
    const Gang* gang = FindGang(record.uid);
    if (gang == nullptr || OpenLease(*gang) != record.epoch) return bad();
    ExtendMembers(record.uid, record.epoch, record.expires);
    return {};
  }
  const auto it = by_uid_.find(record.uid);
  if (it == by_uid_.end()) return bad();
  const Allocation& a = allocations_[it->second];
  if (a.epoch != record.epoch || a.confirmed || a.member >= 0) return bad();
  Extend(it->second, record.expires);
  return {};
}

}  // namespace basalt
