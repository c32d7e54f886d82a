// Making room for those entitled to it: whom to ask for an eviction plan, and what follows.
#include <algorithm>
#include <utility>

#include "scheduler-core/base/check.h"
#include "scheduler-core/engine/scheduler_pass.h"
#include "scheduler-core/queueing/reclaim.h"

namespace basalt {

void JobScheduler::Impl::SeeForeign(SimTime now) {
  foreign_priority = std::numeric_limits<std::int32_t>::max();
  foreign_evictable_at = std::numeric_limits<std::int64_t>::max();
  for (const NodeId node : engine.state().order()) {
    engine.ForEachOn(node, [&](const Allocation& a) {
      const PodUid& job = a.member >= 0 ? a.gang : a.uid;
      if (!a.standing->preemptible || running.contains(job) || nominated.contains(job)) return;
      foreign_priority = std::min(foreign_priority, a.standing->priority);
      // Its minimum runtime begins when it is confirmed: nobody says when that is.
      const std::int64_t at =
          a.confirmed ? a.started.Plus(a.standing->min_runtime_us).us : a.expires.us;
      if (at > now.us) foreign_evictable_at = std::min(foreign_evictable_at, at);
    });
  }
  ++ends;
  ++changes;
}

void JobScheduler::Impl::StartNominated(SimTime now, std::vector<Action>* actions) {
  std::vector<PodUid> over;
  for (auto& [uid, n] : nominated) {
    const bool is_pod = n.job.job.is_pod;
    const bool holds = is_pod ? engine.Find(uid) != nullptr : engine.FindGang(uid) != nullptr;
    if (holds && !engine.RoomIsFree(uid)) continue;
    over.push_back(uid);
    const bool starts =
        holds &&
        (is_pod ? engine.Confirm(n.lease, now) : engine.ConfirmGang(n.lease, now)).has_value();
    if (starts) {
      actions->push_back({Action::Kind::kStart, uid, {}, {}, {}});
      Runs(n.job, now);
    } else {
      // Its places are gone (a node was lost): it waits again, and victims elsewhere may stay.
      plan.Ended(uid, now);
      for (const Victim& v : n.victims) {
        const Allocation* a = engine.Find(v.uid);
        if (a == nullptr || a->is_leaving()) continue;
        const PodUid owner = a->member >= 0 ? a->gang : v.uid;
        plan.MayStay(owner);
        evicted.erase(owner);
        actions->push_back({Action::Kind::kSpare, uid, v.uid, {}, {}});
      }
      if (!n.job.standing.queue.empty()) {
        engine.AddPending(n.job.standing.queue, n.job.pending);
      }
      queue.AddBack(n.job);
    }
  }
  for (const PodUid& uid : over) nominated.erase(uid);
  for (auto it = evicted.begin(); it != evicted.end();) {
    const bool settled = it->second.at < now && !nominated.contains(it->second.by);
    it = settled ? evicted.erase(it) : std::next(it);
  }
}

const FairShares* JobScheduler::Impl::Shares() {
  if (!shares_known) {
    const DecayedUsage* past = engine.PastUsage();
    DivisionOptions division = options.division;
    if (past == nullptr) division.usage_factor_milli = 0;
    shares.Divide(engine.CaughtUpQueues(), division, past);
  }
  shares_known = true;
  return &shares;
}

bool JobScheduler::Impl::MayReclaim(const WaitingJob& job) {
  if (!options.eviction.reclaim || job.standing.queue.empty()) return false;
  if (engine.MayClaimSlots(job.standing)) return true;
  const QueueTree& tree = engine.CaughtUpQueues();
  const std::optional<QueueId> leaf = tree.Find(job.standing.queue);
  if (!leaf) return false;
  const Amounts asked = engine.GovernedOf(job.pending);
  const ReclaimAsk ask{*leaf, asked, asked, job.standing.preemptible};
  return ReclaimPlan(tree, *Shares(), ask).SomebodyIsOver();
}

bool JobScheduler::Impl::MayEvict(const WaitingJob& job, SimTime now) {
  if (!options.evict) return false;
  // No cascades: who had to leave waits until those that it left for have their room.
  if (const auto it = evicted.find(job.job.uid); it != evicted.end()) {
    if (it->second.at == now || nominated.contains(it->second.by)) return false;
  }
  const JobClass& c = queue.job_class(job.job_class);
  if (c.no_plan_changes == changes) return false;
  const std::int32_t lowest = preemptible.empty()
                                  ? foreign_priority
                                  : std::min(foreign_priority, preemptible.begin()->first);
  if (options.eviction.preempt && lowest < job.standing.priority && c.no_plan_ends != ends) {
    return true;
  }
  return MayReclaim(job);
}

bool JobScheduler::Impl::Evict(WaitingJob& job, SimTime now, std::vector<Action>* actions) {
  if (!MayEvict(job, now)) return false;
  ++work.eviction_plans;
  const PodUid uid = job.job.uid;
  const bool is_pod = job.job.is_pod;
  Result<EvictionPlan> plan_of_victims =
      is_pod ? Result<EvictionPlan>(
                   engine.ProposeEviction(job.job.pod, options.eviction, now, Shares()))
             : engine.ProposeEviction(job.job.gang, options.eviction, now, Shares());
  JobClass& c = queue.job_class(job.job_class);
  if (!plan_of_victims || !plan_of_victims->found || plan_of_victims->victims.empty()) {
    c.no_plan_changes = changes;
    c.no_plan_ends = ends;
    return false;
  }
  EvictionPlan& found = *plan_of_victims;
  Proposal proposal;
  proposal.pod = found.placement;
  proposal.gang = found.gang;
  proposal.places = PlacesOf(job.job, proposal);
  bool stop = false;
  if (!Admit(job, &proposal, now, &stop)) {
    c.no_plan_changes = changes;
    c.no_plan_ends = ends;
    return false;
  }
  const Result<Lease> lease = is_pod ? engine.Nominate(job.job.pod, found, now)
                                     : engine.NominateGang(job.job.gang, found, now);
  if (!lease) {
    job.why = lease.error().message;
    return false;
  }
  std::map<PodUid, std::int32_t> leaving;  // jobs: members
  for (const Victim& v : found.victims) {
    actions->push_back({Action::Kind::kEvict, uid, v.uid, v.why, {}});
    const PodUid owner = v.gang == PodUid{} ? v.uid : v.gang;
    evicted[owner] = {uid, now};
    ++leaving[owner];
  }
  actions->push_back({Action::Kind::kNominate, uid, {}, {}, {}});
  for (const auto& [owner, members] : leaving) {
    const Gang* gang = engine.FindGang(owner);
    if (gang == nullptr || members >= gang->held) plan.AskedToLeave(owner, now);
  }
  Nominated n{Leave(uid), *lease, std::move(found.victims)};
  plan.Started(uid, is_pod, n.job.job.estimate_us, now);
  queue.Taken(engine.state(), proposal.places);
  nominated.emplace(uid, std::move(n));
  shares_known = false;
  ++changes;
  return true;
}

// Nobody needs the room any more: victims that are still there may stay.
void JobScheduler::Impl::GiveBack(const Nominated& gone, SimTime now) {
  const PodUid uid = gone.job.job.uid;
  std::vector<PodUid> stay;
  if (const Nomination* open = engine.FindNomination(uid); open != nullptr) {
    for (const Victim& v : gone.victims) {
      if (open->waiting.contains(v.uid)) stay.push_back(v.uid);
    }
  }
  if (gone.job.job.is_pod) {
    if (engine.Find(uid) != nullptr) BASALT_CHECK(engine.Release(uid, now).has_value());
  } else if (engine.FindGang(uid) != nullptr) {
    BASALT_CHECK(engine.ReleaseGang(uid, now).has_value());
  }
  plan.Ended(uid, now);
  for (const PodUid& pod : stay) {
    const Allocation* a = engine.Find(pod);
    if (a == nullptr) continue;
    const PodUid owner = a->member >= 0 ? a->gang : pod;
    plan.MayStay(owner);
    evicted.erase(owner);
    spared.push_back({Action::Kind::kSpare, uid, pod, {}, {}});
  }
}

}  // namespace basalt
