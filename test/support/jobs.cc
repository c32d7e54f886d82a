#include "test/support/jobs.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "scheduler-core/base/check.h"

namespace basalt::support {
namespace {

constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max() / 2;

}  // namespace

JobRequest MakeJob(Engine& engine, const TestJob& job) {
  JobRequest request;
  request.uid = PodUid{0x10b, job.id};
  const Result<ShapeId> shape = engine.InternShape(job.spec);
  BASALT_CHECK(shape.has_value());
  GangTask task;
  task.shape = *shape;
  task.min = task.max = job.members;
  request.spec.tasks.push_back(task);
  request.spec.level = job.level;
  request.standing.queue = job.queue;
  request.standing.priority = job.priority;
  request.submitted = SimTime{job.submit_s * kSecond};
  request.estimate_us = job.estimate_s < 0 ? -1 : job.estimate_s * kSecond;
  return request;
}

std::string Text(const Action& action) {
  const std::string job = std::to_string(action.job.lo);
  switch (action.kind) {
    case Action::Kind::kStart:
      return "start " + job;
    case Action::Kind::kEvict:
      return "evict " + std::to_string(action.pod.lo) + " for " + job;
    case Action::Kind::kNominate:
      return "nominate " + job;
    case Action::Kind::kSpare:
      return "spare " + std::to_string(action.pod.lo);
    case Action::Kind::kInfeasible:
      return "infeasible " + job;
  }
  return {};
}

Status SlowScheduler::Submit(const JobRequest& job, SimTime) {
  waiting_[job.uid] = job;
  return {};
}

void SlowScheduler::Ended(const PodUid& uid, SimTime) { running_.erase(uid); }

// By the order of the queue as it is now; under fair share the queue is one level deep.
std::vector<const JobRequest*> SlowScheduler::InOrder() {
  std::vector<const JobRequest*> order;
  for (const auto& [uid, job] : waiting_) order.push_back(&job);
  const QueueTree& tree = engine_.CaughtUpQueues();
  std::stable_sort(order.begin(), order.end(), [&](const JobRequest* a, const JobRequest* b) {
    if (options_.order == JobOrder::kFairShare && a->standing.queue != b->standing.queue) {
      const QueueId x = *tree.Find(a->standing.queue);
      const QueueId y = *tree.Find(b->standing.queue);
      const DominantShare p = DominantShareOf(tree, x);
      const DominantShare q = DominantShareOf(tree, y);
      if (p < q || q < p) return p < q;
      return x < y;
    }
    if (options_.order != JobOrder::kFifo && a->standing.priority != b->standing.priority) {
      return a->standing.priority > b->standing.priority;
    }
    return std::pair(a->submitted, a->uid) < std::pair(b->submitted, b->uid);
  });
  return order;
}

std::unique_ptr<Engine> SlowScheduler::Copy() const {
  auto copy = Engine::Restore(engine_.Snapshot(), policy, engine_options);
  BASALT_CHECK(copy.has_value());
  return std::move(*copy);
}

bool SlowScheduler::Place(Engine& engine, const JobRequest& job, SimTime now, OutcomeKind* kind,
                          bool* by_quota) {
  // Ids of shapes differ between an engine and its copy.
  const auto shape = [&](ShapeId id) {
    return *engine.InternShape(engine_.state().shape(id).spec);
  };
  if (job.is_pod()) {
    const Request request{job.uid, job.attempt, shape(job.spec.tasks[0].shape), job.job,
                          job.standing};
    const Outcome outcome = engine.Place(request, now);
    *kind = outcome.kind;
    *by_quota = outcome.by_quota;
    return outcome.placed();
  }
  GangRequest request{job.uid, job.attempt, job.spec, job.members, job.job, job.standing};
  for (GangTask& task : request.spec.tasks) task.shape = shape(task.shape);
  const Result<GangOutcome> outcome = engine.PlaceGang(request, now);
  BASALT_CHECK(outcome.has_value());
  *kind = outcome->kind;
  *by_quota = outcome->by_quota;
  return outcome->placed();
}

std::int64_t SlowScheduler::EndOf(const JobRequest& job, std::int64_t now) const {
  return job.estimate_us < 0 ? kNever : now + std::max<std::int64_t>(job.estimate_us, 1);
}

// When the head fits if those that run end as expected, and `with` is started now.
std::int64_t SlowScheduler::Shadow(const JobRequest& head, const JobRequest* with, SimTime now) {
  const std::unique_ptr<Engine> copy = Copy();
  std::map<PodUid, Run> runs = running_;
  OutcomeKind kind;
  bool by_quota = false;
  if (with != nullptr) {
    BASALT_CHECK(Place(*copy, *with, now, &kind, &by_quota));
    runs[with->uid] = Run{with->is_pod(), now.us, EndOf(*with, now.us)};
  }
  std::map<std::int64_t, std::vector<PodUid>> ends;
  for (const auto& [uid, run] : runs) ends[run.end].push_back(uid);
  if (Place(*copy, head, now, &kind, &by_quota)) return now.us;
  for (const auto& [end, uids] : ends) {
    for (const PodUid& uid : uids) {
      BASALT_CHECK(
          (runs[uid].is_pod ? copy->Release(uid, now) : copy->ReleaseGang(uid, now)).has_value());
    }
    if (Place(*copy, head, now, &kind, &by_quota)) return end;
  }
  return kNever;
}

std::vector<Action> SlowScheduler::Schedule(SimTime now) {
  for (auto& [uid, run] : running_) {
    std::int64_t length = std::max<std::int64_t>(run.end - run.start, 1);
    while (run.end < now.us) run.end = run.start + (length *= 2);
  }
  held_ = false;
  std::vector<Action> actions;
  std::set<PodUid> tried;
  const JobRequest* head = nullptr;
  std::int64_t shadow = 0;
  std::int32_t held = 0;
  std::set<std::string> blocked;  // queues that a refused job blocks
  while (true) {
    // Shares change with every start, and with them the order.
    const std::vector<const JobRequest*> order = InOrder();
    const auto next = std::find_if(order.begin(), order.end(), [&](const JobRequest* job) {
      return !tried.contains(job->uid) && !blocked.contains(job->standing.queue);
    });
    if (next == order.end()) break;
    const JobRequest job = **next;
    tried.insert(job.uid);
    const bool easy = options_.backfill == Backfill::kEasy;
    // Whoever is first of those that were refused; under fair share that can change.
    head = nullptr;
    if (easy) {
      for (const JobRequest* first : order) {
        if (first->uid == job.uid) break;
        if (tried.contains(first->uid)) head = first;
        if (head != nullptr) break;
      }
    }
    OutcomeKind kind = OutcomeKind::kWait;
    bool by_quota = false;
    bool placed = false;
    if (head == nullptr) {
      placed = Place(engine_, job, now, &kind, &by_quota);
    } else {
      const std::unique_ptr<Engine> copy = Copy();
      if (Place(*copy, job, now, &kind, &by_quota)) {
        shadow = Shadow(*head, nullptr, now);
        shadows.try_emplace(head->uid, shadow);
        const bool harmless = job.estimate_us >= 0 && Shadow(*head, &job, now) <= shadow;
        if (harmless) {
          placed = Place(engine_, job, now, &kind, &by_quota);
        } else {
          held_ = true;
          if (++held >= options_.depth) break;
        }
      }
    }
    if (placed) {
      running_[job.uid] = Run{job.is_pod(), now.us, EndOf(job, now.us)};
      actions.push_back({Action::Kind::kStart, job.uid, {}, {}, {}});
      waiting_.erase(job.uid);
    } else if (kind == OutcomeKind::kInfeasible) {
      actions.push_back({Action::Kind::kInfeasible, job.uid, {}, {}, {}});
      waiting_.erase(job.uid);
    } else if (kind == OutcomeKind::kWait && options_.backfill == Backfill::kStrict) {
      if (options_.order != JobOrder::kFairShare) break;
      blocked.insert(job.standing.queue);
    }
  }
  return actions;
}

std::optional<SimTime> SlowScheduler::NextPass() const {
  if (!held_) return {};
  std::int64_t next = kNever;
  for (const auto& [uid, run] : running_) next = std::min(next, run.end);
  if (next >= kNever) return {};
  return SimTime{next + 1};
}

}  // namespace basalt::support
