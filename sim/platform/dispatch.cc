// Which queue a unit waits in, and what schedulers' actions mean for it.
//
// A unit waits in the queue of its home: its first option that could ever take it. If it has other
// options (clusters, offers), it looks at them when it arrives and again every retry_us, in order,
// and goes where it starts at once; nowhere: it keeps its place at home. A look is a dry run of the
// other engine; only what fits is queued there.
#include <algorithm>

#include "scheduler-core/base/check.h"
#include "sim/platform/world.h"

namespace basalt::sim::platform {

PodUid World::JobUid(Index unit) const {
  return PodUid{std::uint64_t{unit} + 1, std::uint64_t{units_[unit].attempt} << 32};
}
PodUid World::MemberUid(Index unit, std::int32_t member) const {
  PodUid uid = JobUid(unit);
  if (units_[unit].pods > 1) uid.lo |= static_cast<std::uint64_t>(member) + 1;
  return uid;
}

ShapeId World::ShapeOf(Cluster& cluster, std::uint32_t request) {
  if (cluster.shapes.size() <= request) cluster.shapes.resize(request + 1);
  ShapeId& shape = cluster.shapes[request];
  if (!shape.valid()) {
    const Result<ShapeId> interned = cluster.engine->InternShape(requests_[request]);
    BASALT_CHECK(interned.has_value());
    shape = *interned;
  }
  return shape;
}

const Ask& World::AskOf(const Unit& unit) const {
  return asks_[unit.first_ask + works_[unit.work].options[unit.option].offer];
}

GangSpec World::GangOf(const Unit& unit, Index offer, Cluster& cluster) {
  const Ask& ask = asks_[unit.first_ask + offer];
  GangSpec spec;
  if (ask.gang != nullptr) {
    spec = ask.gang->spec;
    for (std::size_t t = 0; t < spec.tasks.size(); ++t) {
      spec.tasks[t].shape = ShapeOf(cluster, ask.requests[t]);
      spec.tasks[t].min = spec.tasks[t].max;
    }
    return spec;
  }
  GangTask task;
  task.shape = ShapeOf(cluster, ask.requests[0]);
  task.min = task.max = unit.pods;
  spec.tasks.push_back(std::move(task));
  return spec;
}

Index World::NewUnit(Index work, Index owner, std::int32_t pods) {
  Unit unit;
  unit.work = work;
  unit.owner = owner;
  unit.pods = pods;
  unit.tenant = works_[work].tenant;
  unit.first_ask = works_[work].first_ask;
  unit.priority = works_[work].spec->priority;
  unit.high = works_[work].spec->high;
  units_.push_back(std::move(unit));
  return static_cast<Index>(units_.size() - 1);
}

// Counts the unit among those that wait at its option, or no more.
void World::CountWaiting(const Unit& unit, int sign) {
  const Option& option = works_[unit.work].options[unit.option];
  Cluster& cluster = clusters_[option.cluster];
  waiting_ += sign;
  const Ask& ask = AskOf(unit);
  for (std::size_t t = 0; t < ask.requests.size(); ++t) {
    const RequestSpec& request = requests_[ask.requests[t]];
    const std::int64_t pods = ask.gang != nullptr ? ask.gang->spec.tasks[t].max : unit.pods;
    if (request.passthrough) {
      cluster.waiting_cards += sign * pods * request.gpus;
    } else {
      cluster.waiting_milli += sign * pods * request.gpus * std::max(request.gpu_milli, 1);
    }
  }
}

void World::BeginWaiting(Unit& unit) {
  unit.waits_since = now_;
  CountWaiting(unit, 1);
}
void World::StopWaiting(const Unit& unit) {
  CountWaiting(unit, -1);
  waited_us_ += static_cast<double>(now_ - std::max(unit.waits_since, measured_from_));
}

void World::Queue(Index u, bool fresh) {
  Unit& unit = units_[u];
  if (fresh) {
    unit.submitted = now_;
    unit.measured = now_ >= measured_from_;
    unit.placed_before = false;
    if (unit.measured) ++works_[unit.work].account.submitted;
  }
  unit.queued = now_;
  SubmitHome(u);
}

void World::SubmitHome(Index u) {
  Unit& unit = units_[u];
  const std::vector<Option>& options = works_[unit.work].options;
  Index home = 0;
  while (home < options.size() && (unit.infeasible >> home & 1) != 0) ++home;
  if (home == options.size()) return RefusedForEver(u);
  unit.option = home;
  unit.phase = Phase::kWaiting;
  unit.nominated = false;
  BeginWaiting(unit);
  SubmitTo(u, home);
  if (options.size() == 1) return WantPass(options[home].cluster);
  RunPass(options[home].cluster);
  Retry(u);
}

// Looks at the other options, and plans to look again.
void World::Retry(Index u) {
  if (units_[u].phase != Phase::kWaiting || units_[u].nominated || TryOptions(u)) return;
  const Unit& unit = units_[u];
  if (unit.phase != Phase::kWaiting) return;
  const std::int64_t step = works_[unit.work].spec->retry_us;
  std::int64_t next = (now_ / step + 1) * step;  // all on one grid: refusals are shared
  for (const Option& option : works_[unit.work].options) {
    const std::int64_t from = unit.queued + option.after_us;
    if (from > now_) next = std::min(next, from);
  }
  events_.Add(next, EventKind::kRetry, u, unit.attempt);
}

bool World::TryOptions(Index u) {
  const std::vector<Option>& options = works_[units_[u].work].options;
  const Index home = units_[u].option;
  for (Index i = 0; i < options.size(); ++i) {
    Unit& unit = units_[u];
    if (i == home || (unit.infeasible >> i & 1) != 0) continue;
    if (now_ < unit.queued + options[i].after_us || !MayFit(unit, options[i])) continue;
    Cluster& at_home = clusters_[options[home].cluster];
    if (unit.submitted_now) at_home.scheduler->Cancel(JobUid(u), SimTime{now_});
    CountWaiting(unit, -1);
    unit.option = i;
    CountWaiting(unit, 1);
    SubmitTo(u, i);
    RunPass(options[i].cluster);
    if (units_[u].phase != Phase::kWaiting || units_[u].nominated) return true;
    Unit& back = units_[u];
    clusters_[options[i].cluster].scheduler->Cancel(JobUid(u), SimTime{now_});
    CountWaiting(back, -1);
    back.option = home;
    CountWaiting(back, 1);
    SubmitTo(u, home);
  }
  return false;
}

// A dry run; remembers a refusal until something comes free there.
bool World::MayFit(const Unit& unit, const Option& option) {
  Cluster& cluster = clusters_[option.cluster];
  const Index ask = unit.first_ask + option.offer;
  if (cluster.refused.size() <= ask) cluster.refused.resize(asks_.size());
  auto& [freed, pods] = cluster.refused[ask];
  if (freed == cluster.freed && unit.pods >= pods) return false;
  bool fits = false;
  const Index u = static_cast<Index>(&unit - units_.data());
  if (unit.pods == 1) {
    Request request;
    request.uid = JobUid(u);
    request.shape = ShapeOf(cluster, asks_[ask].requests[0]);
    fits = cluster.engine->Propose(request, SimTime{now_}).placed();
  } else {
    GangRequest request;
    request.uid = JobUid(u);
    request.spec = GangOf(unit, option.offer, cluster);
    const Result<GangOutcome> outcome = cluster.engine->ProposeGang(request, SimTime{now_});
    fits = outcome.has_value() && outcome->placed();
  }
  if (!fits) {
    pods = freed == cluster.freed ? std::min(pods, unit.pods) : unit.pods;
    freed = cluster.freed;
  }
  return fits;
}

void World::SubmitTo(Index u, Index o) {
  Unit& unit = units_[u];
  const Work& work = works_[unit.work];
  const Option& option = work.options[o];
  Cluster& cluster = clusters_[option.cluster];
  JobRequest job;
  job.uid = JobUid(u);
  job.spec = GangOf(unit, option.offer, cluster);
  if (unit.pods > 1) {
    for (std::int32_t m = 0; m < unit.pods; ++m) job.members.push_back(MemberUid(u, m));
  }
  job.job = std::uint64_t{u} + 1;
  job.standing.queue = unit.tenant == work.tenant ? work.queue : spec_.tenants[unit.tenant].queue;
  job.standing.priority = unit.priority;
  job.standing.preemptible = work.spec->preemptible;
  job.standing.min_runtime_us = work.spec->min_runtime_us;
  job.standing.restart_us = RestartTime(*work.spec);
  job.standing.budget = work.spec->budget;
  job.submitted = SimTime{unit.queued};
  job.estimate_us = unit.estimate_us;
  const Status ok = cluster.scheduler->Submit(job, SimTime{now_});
  BASALT_CHECK(ok.has_value());
  unit.submitted_now = true;
}

void World::Withdraw(Index u) {
  Unit& unit = units_[u];
  if (Waits(unit)) BookWait(unit);
  if (unit.phase == Phase::kWaiting) {
    const Index at = works_[unit.work].options[unit.option].cluster;
    StopWaiting(unit);
    if (unit.submitted_now) clusters_[at].scheduler->Cancel(JobUid(u), SimTime{now_});
    WantPass(at);  // what was held for it may serve others
  } else if (unit.phase == Phase::kParked) {
    StopWaiting(unit);
  }
  unit.submitted_now = false;
  unit.phase = Phase::kIdle;
  ++unit.attempt;
}

// It fits nowhere as the cluster is, but the cluster will change.
void World::Park(Index u, Index c) {
  units_[u].phase = Phase::kParked;
  clusters_[c].parked.push_back(u);
}
void World::Unpark(Index c) {
  std::vector<Index> parked;
  parked.swap(clusters_[c].parked);
  for (const Index u : parked) {
    Unit& unit = units_[u];
    if (unit.phase != Phase::kParked) continue;
    StopWaiting(unit);
    unit.phase = Phase::kDelayed;
    events_.Add(now_, EventKind::kSubmit, u, unit.attempt);
  }
}

void World::RefusedForEver(Index u) {
  Unit& unit = units_[u];
  const Work& work = works_[unit.work];
  unit.phase = Phase::kGone;
  ++works_[unit.work].account.infeasible;
  if (work.work_class == WorkClass::kService) services_[unit.owner].refused = true;
}

// --- passes ---

void World::WantPass(Index c) {
  if (clusters_[c].pass_wanted) return;
  clusters_[c].pass_wanted = true;
  want_pass_.push_back(c);
}

void World::PlanPass(Index c, std::int64_t at) {
  Cluster& cluster = clusters_[c];
  at = std::max(at, now_ + 1);
  if (cluster.pass_at <= at) return;
  cluster.pass_at = at;
  events_.Add(at, EventKind::kPass, c);
}

void World::RunPass(Index c) {
  Cluster& cluster = clusters_[c];
  cluster.pass_wanted = false;
  cluster.last_pass = now_;
  ++pass_count_;
  const std::vector<Action> actions = cluster.scheduler->Schedule(SimTime{now_});
  for (const Action& action : actions) {
    const bool of_victim =
        action.kind == Action::Kind::kEvict || action.kind == Action::Kind::kSpare;
    const PodUid& uid = of_victim ? action.pod : action.job;
    const auto u = static_cast<Index>(uid.hi - 1);
    Unit& unit = units_[u];
    if (unit.attempt != static_cast<std::uint32_t>(uid.lo >> 32)) continue;  // has left meanwhile
    happened_.Add(static_cast<std::uint32_t>(action.kind));
    happened_.Add(u);
    happened_.Add(now_);
    switch (action.kind) {
      case Action::Kind::kStart:
        Start(u);
        break;
      case Action::Kind::kEvict:
        TellToLeave(u, Leave::kEvicted);
        break;
      case Action::Kind::kSpare:
        Stay(u);
        break;
      case Action::Kind::kNominate:
        unit.nominated = true;
        break;
      case Action::Kind::kInfeasible:
        unit.submitted_now = false;
        if (spec_.pools.dynamic || cluster.more_nodes_come) {
          Park(u, c);
          break;
        }
        StopWaiting(unit);
        unit.infeasible |= std::uint64_t{1} << unit.option;
        unit.phase = Phase::kDelayed;
        events_.Add(now_, EventKind::kSubmit, u, unit.attempt);
        break;
    }
  }
  if (const std::optional<SimTime> next = cluster.scheduler->NextPass(); next.has_value()) {
    PlanPass(c, next->us);
  }
}

}  // namespace basalt::sim::platform
