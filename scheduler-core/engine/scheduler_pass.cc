#include "scheduler-core/engine/scheduler_pass.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "scheduler-core/base/check.h"

namespace basalt {

std::vector<Action> JobScheduler::Impl::Schedule(SimTime now) {
  ++work.passes;
  engine.Expire(now);  // before what came free is looked for
  if (const std::uint64_t rules = engine.rules_version(); rules != rules_seen) {
    rules_seen = rules;  // queues or budgets may allow now what they refused
    ++ends;
    ++changes;
  }
  std::vector<Action> actions = std::move(spared);
  spared.clear();
  plan.BeginPass(now);
  shares_known = false;
  while (!evictable_at.empty() && evictable_at.begin()->first <= now.us) {
    evictable_at.erase(evictable_at.begin());
    ++ends;
    ++changes;
  }
  if (options.evict && (plan.outside() || foreign_evictable_at <= now.us)) SeeForeign(now);
  StartNominated(now, &actions);
  queue.Starve(now);
  queue.Wake(engine.state(), plan.version());
  WakeQuotas();
  // Whose time has come is asked again, whatever it was told before.
  for (const Reservation& r : plan.reservations()) {
    if (r.start > now.us) continue;
    const WaitingJob* job = queue.Find(r.job.uid);
    if (job != nullptr) queue.Reopen(queue.job_class(job->job_class).question);
  }
  last_pass = now;
  if (AnythingToTry()) Pass(now, &actions);
  plan.EndPass();
  queue.EndPass(engine.state());
  work.plans = plan.plans_made();
  return actions;
}

bool JobScheduler::Impl::AnythingToTry() {
  if (options.evict && !(queue.shut().empty() && over_quota.empty())) return true;
  if (std::exchange(order_changed, false) && held > 0) return true;
  for (const QuestionId question : queue.open()) {
    for (const JobClassId id : queue.question(question).classes) {
      if (!queue.job_class(id).jobs.empty() && !queue.job_class(id).over_quota) return true;
    }
  }
  return false;
}

void JobScheduler::Impl::Pass(SimTime now, std::vector<Action>* actions) {
  held = 0;
  candidates.assign(queue.lanes(), {});
  const auto add = [this](QuestionId question) {
    for (const JobClassId id : queue.question(question).classes) {
      const JobClass& c = queue.job_class(id);
      if (!c.jobs.empty() && (!c.over_quota || options.evict)) {
        candidates[c.lane].emplace(*c.jobs.begin(), id);
      }
    }
  };
  for (const QuestionId question : queue.open()) add(question);
  // They are held back again, but count as such.
  for (const QuestionId question : queue.shut()) {
    if (options.evict || queue.question(question).state == Question::State::kHeld) add(question);
  }
  while (const std::optional<std::size_t> lane = NextLane()) {
    const Candidate next = *candidates[*lane].begin();
    candidates[*lane].erase(candidates[*lane].begin());
    ++work.tried;
    WaitingJob* job = queue.Find(next.first.uid);
    BASALT_CHECK(job != nullptr);
    const Tried tried = Try(*job, now, actions);
    if (tried == Tried::kStop && (OneLane() || *lane == JobQueue::kStarvedLane)) break;
    if (tried == Tried::kStop) candidates[*lane].clear();
    if (held >= options.depth) break;
    if (tried == Tried::kStop || tried == Tried::kRefused) continue;
    const JobClass& c = queue.job_class(next.second);
    if (const auto after = c.jobs.upper_bound(next.first); after != c.jobs.end()) {
      candidates[*lane].emplace(*after, next.second);
    }
  }
  TryPromised(now, actions);
}

// Promises are kept by a pass that gave up, too, and those that it made for now.
void JobScheduler::Impl::TryPromised(SimTime now, std::vector<Action>* actions) {
  std::vector<PodUid> due;
  for (const Reservation& r : plan.reservations()) {
    if (r.possible && r.start <= now.us) due.push_back(r.job.uid);
  }
  for (const PodUid& uid : due) {
    if (WaitingJob* job = queue.Find(uid); job != nullptr) Try(*job, now, actions);
  }
}

bool JobScheduler::Impl::IsDue(const WaitingJob& job, SimTime now) const {
  const Reservation* own = plan.Find(job.job.uid);
  return own != nullptr && own->possible && own->start <= now.us;
}

std::optional<std::size_t> JobScheduler::Impl::NextLane() {
  if (!candidates[JobQueue::kStarvedLane].empty()) return JobQueue::kStarvedLane;
  if (OneLane()) {
    if (candidates.size() > 1 && !candidates[1].empty()) return 1;
    return {};
  }
  const QueueTree& tree = engine.queues();
  no_turn = IdVector<QueueId, char>(tree.slots(), 1);
  bool any = false;
  std::optional<std::size_t> outside;
  for (std::size_t lane = 1; lane < candidates.size(); ++lane) {
    if (candidates[lane].empty()) continue;
    if (const auto leaf = tree.Find(queue.LaneQueue(lane)); leaf) {
      for (QueueId at = *leaf; at != QueueTree::kRoot; at = tree.parent(at)) no_turn[at] = 0;
      any = true;
    } else {
      outside = lane;
    }
  }
  if (!any) return outside;
  const std::optional<QueueId> leaf = turns.Next(tree, no_turn, engine.PastUsage());
  if (!leaf) return outside;
  return queue.LaneOf(tree.name(*leaf));
}

JobScheduler::Impl::Tried JobScheduler::Impl::Try(WaitingJob& job, SimTime now,
                                                  std::vector<Action>* actions) {
  const QuestionId question_id = queue.job_class(job.job_class).question;
  Question& question = queue.question(question_id);
  if (QueueIsBlocked(job)) return Tried::kRefused;
  if (options.backfill == Backfill::kStrict && !Before(job, 1).empty()) return Tried::kStop;
  if (question.state == Question::State::kRefused || queue.job_class(job.job_class).over_quota) {
    if (Evict(job, now, actions)) return Tried::kLeft;
    return Refused(question);
  }
  const std::int64_t length = job.job.estimate_us < 0 ? kSomeDay : job.job.estimate_us;
  if (question.state == Question::State::kHeld && length >= question.held_from_us &&
      question.plan_version == plan.version() && question.held_for == LastProtected(job) &&
      !IsDue(job, now)) {
    ++held;
    return Tried::kWaits;
  }
  Proposal proposal;
  std::string reason;
  Answer answer = Answer::kNoRoom;
  const bool full = question.needs_cards && engine.state().totals().gpu_usable == 0 &&
                    question.possible_in == engine.state().structure_version();
  if (!full) answer = Ask(job, now, &proposal, &reason);
  switch (answer) {
    case Answer::kInfeasible:
      actions->push_back({Action::Kind::kInfeasible, job.job.uid, {}, {}, std::move(reason)});
      Leave(job.job.uid);
      return Tried::kLeft;
    case Answer::kElsewhere:
      job.why = "an earlier attempt of it still holds its places";
      return Tried::kWaits;
    case Answer::kOverQuota: {
      JobClass& c = queue.job_class(job.job_class);
      c.over_quota = true;
      c.quota_version = QuotaVersion(job.standing);
      c.why = std::move(reason);
      over_quota.insert(job.job_class);
      plan.Drop(job.job.uid);  // it protects nothing
      return Evict(job, now, actions) ? Tried::kLeft : Tried::kRefused;
    }
    case Answer::kNoRoom:
      question.possible_in = engine.state().structure_version();
      if (!full) question.why = std::move(reason);
      queue.Refuse(question_id);
      return Evict(job, now, actions) ? Tried::kLeft : Refused(question);
    case Answer::kPlaced:
      break;
  }
  question.possible_in = engine.state().structure_version();
  bool stop = false;
  if (!Admit(job, &proposal, now, &stop)) {
    if (stop) return Tried::kStop;
    ++held;
    std::vector<NodeId> nodes;
    for (const Trial::Place& p : proposal.places) nodes.push_back(p.at.node);
    // When queues take turns, who is before whom changes with every start and end.
    if (OneLane()) {
      queue.Hold(question_id, length, std::move(nodes), plan.version(), LastProtected(job));
    }
    return Tried::kWaits;
  }
  return Start(job, proposal, now, actions);
}

JobScheduler::Impl::Tried JobScheduler::Impl::Refused(const Question& question) const {
  const bool stops =
      options.backfill == Backfill::kStrict && question.state == Question::State::kRefused;
  return stops ? Tried::kStop : Tried::kRefused;
}

JobScheduler::Impl::Answer JobScheduler::Impl::Ask(const WaitingJob& job, SimTime now,
                                                   Proposal* proposal, std::string* reason) {
  ++work.asked;
  OutcomeKind kind;
  bool by_quota = false;
  bool elsewhere = false;
  if (job.job.is_pod) {
    Outcome outcome = engine.Propose(job.job.pod, now);
    kind = outcome.kind;
    by_quota = outcome.by_quota;
    elsewhere = outcome.earlier_attempt_held || outcome.already_held;
    *reason = std::move(outcome.reason);
    proposal->pod = std::move(outcome.placement);
    if (kind == OutcomeKind::kInfeasible && !by_quota) *reason = engine.Explain(job.job.pod).text;
  } else {
    Result<GangOutcome> outcome = engine.ProposeGang(job.job.gang, now);
    if (!outcome) {  // one of its pods is allocated outside the gang
      *reason = outcome.error().ToString();
      return Answer::kElsewhere;
    }
    kind = outcome->kind;
    by_quota = outcome->by_quota;
    elsewhere = outcome->earlier_attempt_held || outcome->held > 0;
    *reason = std::move(outcome->reason);
    proposal->gang = std::move(*outcome);
  }
  if (elsewhere) return Answer::kElsewhere;
  if (kind == OutcomeKind::kInfeasible) return Answer::kInfeasible;
  if (by_quota) return Answer::kOverQuota;
  if (kind == OutcomeKind::kWait) return Answer::kNoRoom;
  proposal->places = PlacesOf(job.job, *proposal);
  return Answer::kPlaced;
}

bool JobScheduler::Impl::Admit(WaitingJob& job, Proposal* proposal, SimTime now, bool* stop) {
  const std::vector<const PlannedJob*> before = ProtectedBefore(job);
  if (options.backfill == Backfill::kEasy) {
    // Only the first that waits is protected, whoever was it before.
    plan.DropUnless([&](const Reservation& r) {
      return (r.job.uid == job.job.uid && queue.IsStarved(job)) ||
             std::any_of(before.begin(), before.end(),
                         [&](auto* b) { return b->uid == r.job.uid; });
    });
  }
  plan.Protect(before, now);
  bool passes = false;
  const bool due = IsDue(job, now);  // those before it were planned with it in mind
  for (const PlannedJob* b : before) {
    const Reservation* r = plan.Find(b->uid);
    if (due || r == nullptr || !r->possible) continue;
    passes = true;
    // It has waited too long, and nobody knows for how long it still must.
    *stop = *stop || (r->start >= kSomeDay && queue.IsStarved(*queue.Find(b->uid)));
  }
  if (*stop) return false;
  if (passes && job.job.estimate_us < 0) {
    job.why = "how long it runs is unknown, and a job before it waits";
    return false;
  }
  if (plan.Admit(job.job, proposal->places, now)) return true;
  // It has a promise of its own, or gets one: that may be for now, in other places.
  const bool promised_too = queue.IsStarved(job) || (options.backfill == Backfill::kConservative &&
                                                     std::cmp_less(before.size(), options.depth));
  if (promised_too) plan.Protect({&job.job}, now);
  if (IsDue(job, now)) {
    // The engine would rather go where others are promised room; its own promise is free.
    Proposal promised = plan.Find(job.job.uid)->proposal;
    if (plan.Admit(job.job, promised.places, now)) {
      Trial trial(engine);
      bool free = true;
      for (const Trial::Place& p : promised.places) {
        free = free && trial.IsFree(p, job.standing);
        if (free) trial.Take(p);
      }
      if (free) {
        *proposal = std::move(promised);
        return true;
      }
    }
  }
  job.why = "it would delay a job before it";
  return false;
}

JobScheduler::Impl::Tried JobScheduler::Impl::Start(const WaitingJob& job, const Proposal& proposal,
                                                    SimTime now, std::vector<Action>* actions) {
  const PodUid uid = job.job.uid;
  const bool is_pod = job.job.is_pod;
  const Result<Lease> lease = is_pod ? engine.Reserve(job.job.pod, proposal.pod, now)
                                     : engine.ReserveGang(job.job.gang, proposal.gang, now);
  if (!lease) {
    // Pods of several containers under a NUMA policy that were planned together may not be taken
    // one by one. Nothing was taken.
    const QuestionId question = queue.job_class(job.job_class).question;
    queue.question(question).why = lease.error().message;
    queue.Refuse(question);
    return Refused(queue.question(question));
  }
  const Status confirmed = is_pod ? engine.Confirm(*lease, now) : engine.ConfirmGang(*lease, now);
  BASALT_CHECK(confirmed.has_value());
  actions->push_back({Action::Kind::kStart, uid, {}, {}, {}});
  Runs(Leave(uid), now);
  queue.Taken(engine.state(), proposal.places);
  return Tried::kLeft;
}

void JobScheduler::Impl::Runs(const WaitingJob& job, SimTime now) {
  RunningJob& run = running[job.job.uid];
  run.is_pod = job.job.is_pod;
  run.preemptible = job.standing.preemptible;
  run.priority = job.standing.priority;
  if (job.standing.preemptible && job.standing.min_runtime_us > 0) {
    run.evictable_at = now.Plus(job.standing.min_runtime_us).us;
    evictable_at.emplace(run.evictable_at, job.job.uid);
  }
  if (run.preemptible) ++preemptible[run.priority];
  evicted.erase(job.job.uid);
  shares_known = false;
  ++changes;
  plan.Started(job.job.uid, job.job.is_pod, job.job.estimate_us, now);
}

Amounts JobScheduler::Impl::AskOf(const WaitingJob& job) {
  return job.job.is_pod ? engine.AskOf(job.job.pod.shape, job.standing)
                        : engine.AskOf(job.job.gang.spec, job.standing);
}

// It waits no more.
WaitingJob JobScheduler::Impl::Leave(const PodUid& uid) {
  WaitingJob job = std::move(*queue.Find(uid));
  if (!job.standing.queue.empty()) engine.RemovePending(job.standing.queue, job.pending);
  plan.Drop(uid);
  queue.Remove(uid);
  return job;
}

}  // namespace basalt
