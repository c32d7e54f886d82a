// The insides of JobScheduler: what it knows between passes, and one pass.
//
// A pass asks in the order of the queue policy, skipping what is known to be refused, until nothing
// is left to try, nobody may pass who waits (strict), or `depth` jobs have been held back.
#pragma once

#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "scheduler-core/engine/backfill_plan.h"
#include "scheduler-core/engine/job_queue.h"
#include "scheduler-core/engine/job_scheduler.h"
#include "scheduler-core/queueing/fair_share.h"

namespace basalt {

struct JobScheduler::Impl {
  Impl(Engine& the_engine, SchedulerOptions the_options)
      : engine(the_engine),
        options(std::move(the_options)),
        queue(options.order, options.starvation_us),
        plan(the_engine),
        turns(OrderOptions{.usage_factor_milli = options.division.usage_factor_milli}) {}

  ~Impl();
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  Status Submit(const JobRequest& job, SimTime now);
  bool Cancel(const PodUid& uid, SimTime now);
  void Ended(const PodUid& uid, SimTime now);
  std::vector<Action> Schedule(SimTime now);
  std::optional<SimTime> NextPass() const;

  // What the engine says to a job.
  enum class Answer {
    kPlaced,
    kNoRoom,
    kOverQuota,
    kElsewhere,  // an earlier attempt of it is still there
    kInfeasible,
  };
  // What became of a job in a pass.
  enum class Tried {
    kLeft,     // it waits no more: started, nominated or dropped
    kWaits,    // the next of its class may fare better
    kRefused,  // and so will be all of its class
    kStop,     // nobody may pass it
  };
  using Candidate = std::pair<JobKey, JobClassId>;
  struct RunningJob {
    bool is_pod = true;
    bool preemptible = true;
    std::int32_t priority = 0;
    std::int64_t evictable_at = 0;  // us; end of its minimum runtime
  };
  struct Nominated {
    WaitingJob job;
    Lease lease;
    std::vector<Victim> victims;
  };
  struct Evicted {
    PodUid by;
    SimTime at;
  };

  void Pass(SimTime now, std::vector<Action>* actions);
  bool IsDue(const WaitingJob& job, SimTime now) const;  // its reservation is
  void TryPromised(SimTime now, std::vector<Action>* actions);
  std::optional<std::size_t> NextLane();
  Tried Try(WaitingJob& job, SimTime now, std::vector<Action>* actions);
  // No room: in a strict queue nobody passes it.
  Tried Refused(const Question& question) const;
  Answer Ask(const WaitingJob& job, SimTime now, Proposal* proposal, std::string* reason);
  Tried Start(const WaitingJob& job, const Proposal& proposal, SimTime now,
              std::vector<Action>* actions);
  void Runs(const WaitingJob& job, SimTime now);
  // Whether others' reservations allow it, and with which places.
  bool Admit(WaitingJob& job, Proposal* proposal, SimTime now, bool* stop);
  WaitingJob Leave(const PodUid& uid);
  Amounts AskOf(const WaitingJob& job);

  // --- eviction (scheduler_evict.cc) ---
  void StartNominated(SimTime now, std::vector<Action>* actions);
  // Makes room for the job, if it is entitled to.
  bool Evict(WaitingJob& job, SimTime now, std::vector<Action>* actions);
  // Whether a plan is worth asking for, now that its class is refused.
  bool MayEvict(const WaitingJob& job, SimTime now);
  bool MayReclaim(const WaitingJob& job);
  void SeeForeign(SimTime now);
  void GiveBack(const Nominated& gone, SimTime now);
  const FairShares* Shares();

  // Waiting jobs that have the turn before this one, those over quota left out; at most `limit`.
  std::vector<const WaitingJob*> Before(const WaitingJob& job, std::size_t limit);
  void TakeFirst(std::size_t lane, const WaitingJob& job, std::size_t limit,
                 std::vector<const WaitingJob*>* found);
  std::vector<std::size_t> LanesInTurn();
  // Those before it that have reservations or get one.
  std::vector<const PlannedJob*> ProtectedBefore(const WaitingJob& job);
  // The last of them; zero when there is none.
  PodUid LastProtected(const WaitingJob& job);
  bool QueueIsBlocked(const WaitingJob& job);
  void WakeQuotas();
  std::uint64_t QuotaVersion(const Standing& standing) const;
  bool AnythingToTry();
  bool OneLane() const { return options.order != JobOrder::kFairShare; }

  Engine& engine;
  SchedulerOptions options;
  JobQueue queue;
  BackfillPlan plan;
  QueueOrder turns;
  SchedulerWork work;

  std::map<PodUid, RunningJob> running;
  std::set<std::pair<std::int64_t, PodUid>> evictable_at;  // of those that are not yet
  std::map<PodUid, Nominated> nominated;
  std::map<PodUid, Evicted> evicted;  // jobs; until they run again or their evictor does
  std::vector<Action> spared;         // since the last pass
  std::set<JobClassId> over_quota;
  // Since the last pass jobs came or went: another one may be the first that waits, and who was
  // held back for the former first one may pass.
  bool order_changed = false;
  std::map<std::int32_t, std::int64_t> preemptible;  // running jobs by priority
  // The lowest of what is preemptible and was not started here; none: the largest.
  std::int32_t foreign_priority = std::numeric_limits<std::int32_t>::max();
  // The first end of a minimum runtime of one of those, or the latest time for it to be confirmed.
  std::int64_t foreign_evictable_at = std::numeric_limits<std::int64_t>::max();
  // When an eviction plan that was not found could be: for preemption only after something ended
  // (a start takes no more room than its eviction gives back), for reclaim also after a start.
  std::uint64_t ends = 1;
  std::uint64_t changes = 1;
  std::uint64_t rules_seen = 0;
  SimTime last_pass{std::numeric_limits<std::int64_t>::min()};
  FairShares shares;
  bool shares_known = false;

  // Of one pass.
  std::vector<std::set<Candidate>> candidates;  // by lane
  IdVector<QueueId, char> no_turn;
  std::int64_t held = 0;  // back, for the sake of protected ones
};

}  // namespace basalt
