// Which job next: the queue layer above the engine. It keeps the jobs that wait, asks the engine
// for places in the order of the queue policy, backfills behind a job that must wait, and plans
// evictions for those entitled to room. It decides nothing about where: that is the engine's, and
// every hold, charge and nomination is the engine's too, so a scheduler can be lost and made afresh
// from the jobs that wait. The simulator and the server drive the same one.
//
// Deterministic: time is an argument, ties go by (submit time, uid). It performs nothing: what has
// to happen outside (start a job, ask a victim to leave) is returned as actions, in order.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "scheduler-core/base/result.h"
#include "scheduler-core/base/units.h"
#include "scheduler-core/engine/engine.h"
#include "scheduler-core/engine/eviction.h"
#include "scheduler-core/queueing/fair_share.h"
#include "scheduler-core/workload/standing.h"

namespace basalt {

enum class JobOrder : std::uint8_t {
  kFifo,       // by submit time
  kPriority,   // by priority, then submit time
  kFairShare,  // the queue with the least weighted dominant share next (DRF over the queue tree),
               // inside a queue by priority, then submit time
};
enum class Backfill : std::uint8_t {
  kStrict,        // nobody passes a job that waits (of its queue, under kFairShare)
  kNone,          // everybody who fits starts; who does not is passed by
  kEasy,          // as kNone, but the first that waits is not delayed (by runtime estimates)
  kConservative,  // as kEasy, for every job that waits, up to `depth`
};

struct SchedulerOptions {
  JobOrder order = JobOrder::kPriority;
  Backfill backfill = Backfill::kNone;
  // The most reservations kept, and the most jobs held back by them before a pass gives up.
  std::int32_t depth = 100;
  // Waited longer than this: nobody passes it any more until it runs (it is first, and backfill
  // must not delay it). 0: never.
  std::int64_t starvation_us = 0;
  // How fair shares are divided, for who may reclaim. Its usage needs EngineOptions'
  // usage_half_life_us.
  DivisionOptions division;
  bool evict = false;  // jobs that do not fit may take others' places
  EvictionRules eviction;
  // Runtime estimates are multiplied by this per mille (a user's factor of safety).
  std::int32_t estimate_factor_milli = 1000;
};

// One pod is a gang of one task with min = max = 1.
struct JobRequest {
  PodUid uid;  // of the job
  std::uint32_t attempt = 0;
  GangSpec spec;
  std::vector<PodUid> members;  // as in GangRequest; for one pod: empty, the job's uid is the pod's
  std::uint64_t job = 0;
  Standing standing;
  SimTime submitted;
  std::int64_t estimate_us = -1;  // expected run time; -1 unknown (never backfilled before a head)
  bool is_pod() const { return spec.tasks.size() == 1 && spec.tasks[0].max == 1; }
};

struct Action {
  enum class Kind : std::uint8_t {
    kStart,       // the job has its places, confirmed: start it
    kEvict,       // ask this pod to leave (in favour of `job`); say Released/PodGone when it has
    kNominate,    // the job has its places, and starts when its victims are gone
    kSpare,       // this pod was asked to leave and may stay, if it still can
    kInfeasible,  // never on this cluster: dropped, with the reason
  };
  Kind kind = Kind::kStart;
  PodUid job;  // of the job this is about, or in whose favour
  PodUid pod;  // kEvict, kSpare: the victim
  EvictionReason why = EvictionReason::kPreempt;
  std::string reason;  // kInfeasible
};

// Counts of work done, exact and reproducible.
struct SchedulerWork {
  std::uint64_t passes = 0;
  std::uint64_t tried = 0;           // jobs looked at, whether the engine was asked or not
  std::uint64_t asked = 0;           // the engine for places
  std::uint64_t plans = 0;           // walks through the future for a reservation
  std::uint64_t eviction_plans = 0;  // asked for
};

class JobScheduler {
 public:
  // The engine must outlive it.
  JobScheduler(Engine& engine, SchedulerOptions options);

  // Errors: bad input (an unknown queue, a spec that is no gang, a uid that waits already).
  Status Submit(const JobRequest& job, SimTime now);
  // A job that waits, or is nominated, is wanted no more. False: not known here.
  bool Cancel(const PodUid& uid, SimTime now);
  // A started job is over (the caller has released it in the engine): forgets its estimate.
  void Ended(const PodUid& uid, SimTime now);
  // One pass. Cheap when nothing changed since the last one.
  std::vector<Action> Schedule(SimTime now);
  // When a pass could do something new though nothing happens before: a starvation limit, an end of
  // minimum runtimes. Empty: only after events.
  std::optional<SimTime> NextPass() const;

  std::size_t waiting() const;
  std::size_t nominated() const;
  // Why the job waits, in the words of its last attempt; empty when it does not wait.
  std::string WhyWaiting(const PodUid& uid) const;

  const SchedulerWork& work() const;
  // When a protected job is expected to start; empty: it has no reservation.
  std::optional<SimTime> ReservedStart(const PodUid& uid) const;

  ~JobScheduler();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace basalt
