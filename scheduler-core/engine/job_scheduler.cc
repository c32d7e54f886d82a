#include "scheduler-core/engine/job_scheduler.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "scheduler-core/base/check.h"
#include "scheduler-core/engine/backfill_plan.h"
#include "scheduler-core/engine/job_queue.h"
#include "scheduler-core/engine/scheduler_pass.h"

namespace basalt {

JobScheduler::JobScheduler(Engine& engine, SchedulerOptions options)
    : impl_(std::make_unique<Impl>(engine, std::move(options))) {}
JobScheduler::~JobScheduler() = default;

Status JobScheduler::Submit(const JobRequest& job, SimTime now) {
  const std::string where = "job " + UidText(job.uid);
  if (Status ok = ValidateGang(job.spec, where); !ok) return ok;
  for (const GangTask& task : job.spec.tasks) {
    if (task.shape.index() >= impl_->engine.state().shape_count()) {
      return Fail(where, "a task's shape is unknown");
    }
  }
  if (!job.members.empty() &&
      (job.is_pod() || std::cmp_not_equal(job.members.size(), job.spec.max_members()))) {
    return Fail(where,
                fmt::format("{} pod UIDs for at most {} members{}", job.members.size(),
                            job.spec.max_members(), job.is_pod() ? "; one pod has the job's" : ""));
  }
  const std::string& queue = job.standing.queue;
  if (!queue.empty()) {
    const std::optional<QueueId> known = impl_->engine.queues().Find(queue);
    if (!known) return Fail(where, "queue '" + queue + "' is unknown");
    if (!impl_->engine.queues().IsLeaf(*known)) {
      return Fail(where, "queue '" + queue + "' has queues below it: name one of them");
    }
  }
  return impl_->Submit(job, now);
}

bool JobScheduler::Cancel(const PodUid& uid, SimTime now) { return impl_->Cancel(uid, now); }
void JobScheduler::Ended(const PodUid& uid, SimTime now) { impl_->Ended(uid, now); }
std::vector<Action> JobScheduler::Schedule(SimTime now) { return impl_->Schedule(now); }
std::optional<SimTime> JobScheduler::NextPass() const { return impl_->NextPass(); }
std::size_t JobScheduler::waiting() const { return impl_->queue.jobs().size(); }
std::size_t JobScheduler::nominated() const { return impl_->nominated.size(); }
const SchedulerWork& JobScheduler::work() const { return impl_->work; }

std::optional<SimTime> JobScheduler::ReservedStart(const PodUid& uid) const {
  const Reservation* reservation = impl_->plan.Find(uid);
  if (reservation == nullptr || !reservation->possible || reservation->start >= kSomeDay) return {};
  return SimTime{reservation->start};
}

std::string JobScheduler::WhyWaiting(const PodUid& uid) const {
  const WaitingJob* job = impl_->queue.Find(uid);
  if (job == nullptr) return {};
  const JobClass& job_class = impl_->queue.job_class(job->job_class);
  if (job_class.over_quota) return job_class.why;
  const Question& question = impl_->queue.question(job_class.question);
  if (question.state == Question::State::kRefused) {
    return job->job.is_pod ? impl_->engine.Explain(job->job.pod).text : question.why;
  }
  return job->why.empty() ? "its turn has not come" : job->why;
}

JobScheduler::Impl::~Impl() {
  for (const auto& [uid, job] : queue.jobs()) {
    if (!job.standing.queue.empty()) engine.RemovePending(job.standing.queue, job.pending);
  }
}

Status JobScheduler::Impl::Submit(const JobRequest& job, SimTime) {
  if (nominated.contains(job.uid) ||
      !queue.Add(job, options.estimate_factor_milli, engine.state())) {
    return Fail("job " + UidText(job.uid), "waits already");
  }
  order_changed = true;
  WaitingJob& waiting = *queue.Find(job.uid);
  waiting.pending = AskOf(waiting);
  if (!job.standing.queue.empty()) {
    BASALT_CHECK(engine.AddPending(job.standing.queue, waiting.pending));
  }
  return {};
}

bool JobScheduler::Impl::Cancel(const PodUid& uid, SimTime now) {
  evicted.erase(uid);
  order_changed = true;
  if (queue.Find(uid) != nullptr) {
    Leave(uid);
    return true;
  }
  const auto it = nominated.find(uid);
  if (it == nominated.end()) return false;
  const Nominated gone = std::move(it->second);
  nominated.erase(it);
  GiveBack(gone, now);
  ++ends;
  ++changes;
  return true;
}

void JobScheduler::Impl::Ended(const PodUid& uid, SimTime now) {
  const auto it = running.find(uid);
  if (it == running.end()) return;
  const RunningJob& run = it->second;
  if (run.preemptible && --preemptible[run.priority] == 0) preemptible.erase(run.priority);
  evictable_at.erase({run.evictable_at, uid});
  running.erase(it);
  plan.Ended(uid, now);
  ++ends;
  ++changes;
}

std::optional<SimTime> JobScheduler::Impl::NextPass() const {
  std::optional<SimTime> next = queue.NextStarved();
  const auto also = [&next](std::int64_t us) {
    if (!next || us < next->us) next = SimTime{us};
  };
  if (options.evict && !queue.jobs().empty()) {
    std::int64_t first = foreign_evictable_at;
    if (!evictable_at.empty()) first = std::min(first, evictable_at.begin()->first);
    if (first < std::numeric_limits<std::int64_t>::max()) also(first);
  }
  // A job that starts before its time leaves those behind it times at which nothing happens.
  for (const Reservation& r : plan.reservations()) {
    if (r.possible && r.start > last_pass.us && r.start < kSomeDay) also(r.start);
  }
  // When a job overruns, the reservations behind it are later, and there is room before them.
  if (held > 0 && plan.NextEnd() < kSomeDay) also(plan.NextEnd() + 1);
  return next;
}

}  // namespace basalt
