// Jobs in time for tests of the job scheduler: a small world that submits, ends and evicts, and
// records every action; and a slow scheduler that is obvious, to compare with.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "scheduler-core/engine/engine.h"
#include "scheduler-core/engine/job_scheduler.h"

namespace basalt::support {

inline constexpr std::int64_t kSecond = 1'000'000;

struct TestJob {
  std::uint64_t id = 0;
  RequestSpec spec;
  std::int32_t members = 1;
  std::string queue = {};
  std::int32_t priority = 0;
  std::int64_t submit_s = 0;
  std::int64_t run_s = 100;
  std::int64_t estimate_s = 100;  // -1 unknown
  LevelWish level = {};
};
JobRequest MakeJob(Engine& engine, const TestJob& job);
std::string Text(const Action& action);  // "start 3", "evict 1 for 4"

// Drives any scheduler with Submit, Ended and Schedule over one engine. Ends come before arrivals
// at the same instant; one pass follows each instant at which something happened or NextPass is.
template <class Scheduler>
class JobWorld {
 public:
  JobWorld(std::unique_ptr<Engine> engine, SchedulerOptions options)
      : engine_(std::move(engine)), scheduler_(*engine_, std::move(options)) {}

  Engine& engine() { return *engine_; }
  Scheduler& scheduler() { return scheduler_; }
  void Add(const TestJob& job) {
    jobs_[job.id] = job;
    arrivals_.emplace(job.submit_s * kSecond, job.id);
  }
  void Add(const std::vector<TestJob>& jobs) {
    for (const TestJob& job : jobs) Add(job);
  }
  bool Done() const { return arrivals_.empty() && ends_.empty() && !Timer(); }
  // The next instant; returns its actions as text, each with the time: "100 start 3".
  std::vector<std::string> Step();
  void Run() {
    while (!Done()) Step();
  }
  // Second at which the job started; -1: never.
  std::int64_t StartOf(std::uint64_t id) const {
    const auto it = starts_.find(id);
    return it == starts_.end() ? -1 : it->second / kSecond;
  }
  const std::vector<std::string>& log() const { return log_; }
  std::function<void(std::int64_t now)> after_pass;

 private:
  std::optional<std::int64_t> Timer() const;
  std::unique_ptr<Engine> engine_;
  Scheduler scheduler_;
  std::map<std::uint64_t, TestJob> jobs_;
  std::set<std::pair<std::int64_t, std::uint64_t>> arrivals_, ends_;
  std::map<std::uint64_t, std::int64_t> starts_;
  std::vector<std::string> log_;
  std::int64_t now_ = -1;
};

// Tries every waiting job in order in each pass, and answers what-ifs on a copy of the engine.
// Without starvation limits, eviction and conservative backfill.
class SlowScheduler {
 public:
  SlowScheduler(Engine& engine, SchedulerOptions options)
      : engine_(engine), options_(std::move(options)) {}
  Status Submit(const JobRequest& job, SimTime now);
  void Ended(const PodUid& uid, SimTime now);
  std::vector<Action> Schedule(SimTime now);
  std::optional<SimTime> NextPass() const;
  // The earliest start that was ever promised to a job at the head of the queue.
  std::map<PodUid, std::int64_t> shadows;

  ConfiguredPolicy policy;  // of the engine: copies are restored under it
  EngineOptions engine_options;

 private:
  struct Run {
    bool is_pod = true;
    std::int64_t start = 0, end = 0;
  };
  std::vector<const JobRequest*> InOrder();
  std::unique_ptr<Engine> Copy() const;
  bool Place(Engine& engine, const JobRequest& job, SimTime now, OutcomeKind* kind, bool* by_quota);
  std::int64_t Shadow(const JobRequest& head, const JobRequest* with, SimTime now);
  std::int64_t EndOf(const JobRequest& job, std::int64_t now) const;

  Engine& engine_;
  SchedulerOptions options_;
  std::map<PodUid, JobRequest> waiting_;
  std::map<PodUid, Run> running_;
  bool held_ = false;
};

template <class Scheduler>
std::optional<std::int64_t> JobWorld<Scheduler>::Timer() const {
  const std::optional<SimTime> next = scheduler_.NextPass();
  // Without anything that runs or comes, time alone changes nothing for good.
  if (!next || (arrivals_.empty() && ends_.empty() && next->us <= now_)) return {};
  return std::max(next->us, now_ + 1);
}

template <class Scheduler>
std::vector<std::string> JobWorld<Scheduler>::Step() {
  std::int64_t now = Timer().value_or(std::numeric_limits<std::int64_t>::max());
  if (!arrivals_.empty()) now = std::min(now, arrivals_.begin()->first);
  if (!ends_.empty()) now = std::min(now, ends_.begin()->first);
  now_ = now;
  const SimTime at{now};
  while (!ends_.empty() && ends_.begin()->first == now) {
    const TestJob& job = jobs_[ends_.begin()->second];
    ends_.erase(ends_.begin());
    const PodUid uid{0x10b, job.id};
    const Status ok = job.members == 1 ? engine_->Release(uid, at) : engine_->ReleaseGang(uid, at);
    if (!ok) std::abort();
    scheduler_.Ended(uid, at);
  }
  while (!arrivals_.empty() && arrivals_.begin()->first == now) {
    const TestJob& job = jobs_[arrivals_.begin()->second];
    arrivals_.erase(arrivals_.begin());
    if (!scheduler_.Submit(MakeJob(*engine_, job), at)) std::abort();
  }
  std::vector<std::string> said;
  for (const Action& action : scheduler_.Schedule(at)) {
    said.push_back(std::to_string(now) + " " + Text(action));
    if (action.kind != Action::Kind::kStart) continue;
    const TestJob& job = jobs_[action.job.lo];
    starts_[job.id] = now;
    ends_.emplace(now + job.run_s * kSecond, job.id);
  }
  log_.insert(log_.end(), said.begin(), said.end());
  if (after_pass) after_pass(now);
  return said;
}

}  // namespace basalt::support
