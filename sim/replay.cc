#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <limits>
#include <map>
#include <set>
#include <tuple>

#include "scheduler-core/base/check.h"
#include "sim/backfill.h"
#include "sim/replay_samplers.h"
#include "sim/run_common.h"
#include "sim/simulator.h"

namespace basalt::sim {
namespace {

double Percentile(const std::vector<double>& sorted, double p) {
  if (sorted.empty()) return 0;
  const auto last = static_cast<double>(sorted.size() - 1);
  return sorted[static_cast<std::size_t>(p * last)];
}

WaitTimes Summarize(std::vector<double> seconds) {
  if (seconds.empty()) return {};
  std::sort(seconds.begin(), seconds.end());
  double sum = 0;
  for (const double s : seconds) sum += s;
  return {sum / static_cast<double>(seconds.size()), Percentile(seconds, 0.5),
          Percentile(seconds, 0.95), Percentile(seconds, 0.99), seconds.back()};
}

// A tier that is called "nvlink" is one fabric, whoever gave it that name.
SpeedOptions SpeedOf(const Workload& workload, const ReplayOptions& replay) {
  SpeedOptions options = replay.speed;
  for (const auto& [tier, name] : workload.tier_names) {
    if (name == "nvlink" && options.fabric_tier == 0) options.fabric_tier = tier;
  }
  return options;
}

// One replay. A unit is what is queued and placed at once: a pod, or a gang.
class Replay {
 public:
  Replay(const Workload& workload, const ReplayOptions& replay, PreparedRun& prepared,
         RunResult& result)
      : workload_(workload),
        replay_(replay),
        prepared_(prepared),
        engine_(*prepared.engine),
        result_(result),
        failures_(workload),
        speed_(engine_.state(), engine_.domains(), SpeedOf(workload, replay)),
        intact_(engine_.state()) {
    for (std::uint32_t i = 0; i < workload.arrivals.size();) {
      const std::int32_t gang = workload.arrivals[i].gang;
      const std::uint32_t pods = gang < 0 ? 1 : workload.gangs[static_cast<std::size_t>(gang)].pods;
      units_.push_back(Unit{i, pods, gang});
      i += pods;
    }
    by_time_.resize(units_.size());
    for (std::uint32_t u = 0; u < by_time_.size(); ++u) by_time_[u] = u;
    std::stable_sort(by_time_.begin(), by_time_.end(),
                     [this](std::uint32_t a, std::uint32_t b) { return Submit(a) < Submit(b); });
    running_.resize(units_.size());
    blocked_.assign(workload.requests.size(), 0);
    by_size_.resize(1);
    MakeShapes();
  }

  void Run(const RunOptions& options, const std::function<std::string(const PodUid&)>& pod_name) {
    const std::int64_t first = Submit(by_time_.front());
    const std::int64_t last = std::max(Submit(by_time_.back()), first + 1);
    TimeSampler sampler(first, last, replay_.points, workload_.target.total_count());
    std::size_t next = 0;
    const auto sample = [&](std::int64_t now) {
      sampler.Advance(engine_, now, queued_pods_);
      intact_.Advance(now);
    };
    while (next < by_time_.size() || !departures_.empty()) {
      const std::int64_t arrival_at = next < by_time_.size()
                                          ? Submit(by_time_[next])
                                          : std::numeric_limits<std::int64_t>::max();
      // Departures before arrivals at the same instant: what came free can be used at once.
      if (!departures_.empty() && std::get<0>(*departures_.begin()) <= arrival_at) {
        const std::int64_t now = std::get<0>(*departures_.begin());
        sample(now);
        while (!departures_.empty() && std::get<0>(*departures_.begin()) == now) {
          Finish(std::get<2>(*departures_.begin()), now);
        }
        if (!queue_.empty()) DrainQueue(now);
      } else {
        sample(arrival_at);
        Arrive(by_time_[next++], arrival_at);
      }
      // The map is of the moment after the last arrival: at the end everything has left.
      if (options.keep_map && next == by_time_.size() && result_.map.empty()) {
        result_.map = DrawMap(engine_, pod_name);
      }
    }
    for (const std::uint32_t unit : queue_) {
      reason_ = "waited to the end";
      Fail(unit, OutcomeKind::kWait);
    }
    result_.series = sampler.Finish();
    result_.wait = Summarize(std::move(waits_));
    result_.gang_wait = Summarize(std::move(gang_waits_));
    result_.completion = Summarize(std::move(completions_));
    FinishTopology();
    FinishRun(engine_, failures_, prepared_.shapes, options, pod_name, result_);
    for (auto& [reason, failed] : failed_gangs_) {
      result_.failed_shapes.push_back(std::move(failed));
    }
    std::stable_sort(result_.failed_shapes.begin(), result_.failed_shapes.end(),
                     [](const FailedShape& a, const FailedShape& b) { return a.gpus > b.gpus; });
  }

 private:
  struct Unit {
    std::uint32_t first;
    std::uint32_t pods;
    std::int32_t gang;
  };

  const Arrival& Front(std::uint32_t unit) const { return workload_.arrivals[units_[unit].first]; }
  // Of the pods that compute: a launcher has none.
  int MemberCards(std::uint32_t unit) const {
    const GangJob* gang = GangOf(unit);
    if (gang == nullptr) return workload_.requests[Front(unit).request].gpus;
    int most = 0;
    for (const GangTask& task : gang->spec.tasks) {
      most = std::max(most, workload_.requests[task.shape.index()].gpus);
    }
    return most;
  }
  std::int64_t Submit(std::uint32_t unit) const { return Front(unit).submit_us; }
  const GangJob* GangOf(std::uint32_t unit) const {
    const std::int32_t gang = units_[unit].gang;
    return gang < 0 ? nullptr : &workload_.gangs[static_cast<std::size_t>(gang)];
  }

  // Shapes by request; with wait_for_bandwidth_pct those of several cards require that much.
  void MakeShapes() {
    shapes_ = prepared_.shapes;
    if (replay_.wait_for_bandwidth_pct == 0) return;
    for (std::size_t r = 0; r < shapes_.size(); ++r) {
      RequestSpec spec = workload_.requests[r];
      if (spec.gpus < 2) continue;
      // Of the machines that the pod may run on: a slower model's best is what it waits for there.
      const std::int64_t best = speed_.BestFor(shapes_[r]);
      spec.min_bandwidth_mbps =
          static_cast<std::int32_t>(best * replay_.wait_for_bandwidth_pct / 100);
      spec.bandwidth_required = spec.min_bandwidth_mbps > 0;
      const Result<ShapeId> shape = engine_.InternShape(spec);
      BASALT_CHECK(shape.has_value());
      shapes_[r] = *shape;
    }
  }

  Request RequestOf(std::uint32_t unit) const {
    const Arrival& a = Front(unit);
    Request r;
    r.uid = a.uid;
    r.shape = shapes_[a.request];
    r.job = a.job;
    return r;
  }
  GangRequest GangRequestOf(std::uint32_t unit) const {
    const GangJob& gang = *GangOf(unit);
    GangRequest r;
    r.uid = PodUidFromName("gang " + gang.name);
    r.spec = gang.spec;
    for (GangTask& task : r.spec.tasks) task.shape = shapes_[task.shape.index()];
    for (std::uint32_t i = 0; i < gang.pods; ++i) {
      r.members.push_back(workload_.arrivals[gang.first + i].uid);
    }
    r.job = Front(unit).job;
    return r;
  }

  void Arrive(std::uint32_t unit, std::int64_t now) {
    if (replay_.queue == QueueOrder::kFifo && !queue_.empty()) {
      Enqueue(unit);
    } else if (replay_.queue == QueueOrder::kEasy && !queue_.empty()) {
      // Nothing came free, so the head and those behind it wait on; the new one may pass.
      if (queue_.size() > static_cast<std::size_t>(replay_.backfill_depth) ||
          !Backfill(unit, now)) {
        Enqueue(unit);
      }
    } else if (TryPlace(unit, now) == OutcomeKind::kWait) {
      Enqueue(unit);
      shadow_known_ = false;
    }
  }
  void Enqueue(std::uint32_t unit) {
    queue_.push_back(unit);
    queued_pods_ += units_[unit].pods;
  }

  // Places the unit if it fits now. Infeasible is final; Wait leaves it to the queue.
  OutcomeKind TryPlace(std::uint32_t unit, std::int64_t now) {
    ++result_.engine_calls;
    OutcomeKind kind;
    if (GangOf(unit) != nullptr) {
      const Result<GangOutcome> outcome = engine_.PlaceGang(GangRequestOf(unit), SimTime{now});
      BASALT_CHECK(outcome.has_value());
      kind = outcome->kind;
      reason_ = outcome->reason;
    } else {
      kind = engine_.Place(RequestOf(unit), SimTime{now}).kind;
    }
    if (kind == OutcomeKind::kPlaced) Start(unit, now);
    if (kind == OutcomeKind::kInfeasible) Fail(unit, kind);
    return kind;
  }

  void Fail(std::uint32_t unit, OutcomeKind kind) {
    if (const GangJob* gang = GangOf(unit); gang != nullptr) {
      // Its own certificate: its pods by themselves may well fit.
      FailedShape& failed = failed_gangs_[reason_];
      if (failed.count == 0) {
        failed.shape = fmt::format("gang of {}, first {}", gang->pods, gang->name);
      }
      failed.outcome = OutcomeKindName(kind);
      failed.reason = reason_;
      ++failed.count;
      for (std::uint32_t i = 0; i < gang->pods; ++i) {
        failed.gpus += static_cast<double>(workload_.DemandMilli(gang->first + i)) / 1000;
      }
      result_.failed += gang->pods;
      return;
    }
    for (std::uint32_t i = 0; i < units_[unit].pods; ++i) {
      failures_.Add(workload_.arrivals[units_[unit].first + i].request, kind);
    }
    result_.failed += units_[unit].pods;
  }

  // Books the start of a unit that the engine has placed.
  void Start(std::uint32_t unit, std::int64_t now) {
    const Unit& u = units_[unit];
    const Arrival& front = Front(unit);
    Running& running = running_[unit];
    running = RunningOf(unit);
    const auto placed = static_cast<std::int64_t>(running.shares.size());
    const JobSpeed::Got got = speed_.Of(engine_.domains(), on_nodes_, MemberCards(unit));
    std::int64_t run_time = front.duration_us;
    if (run_time >= 0) {
      run_time = JobSpeed::RunTime(run_time, front.comm_milli, got);
      running.ends_us = now + run_time;
      departures_.emplace(running.ends_us, sequence_++, unit);
    }
    CountTopology(got, front.duration_us, run_time);
    result_.placed += placed;
    result_.failed += u.pods - placed;
    const double wait = static_cast<double>(now - front.submit_us) / 1e6;
    waits_.push_back(wait);
    if (u.gang >= 0) {
      gang_waits_.push_back(wait);
      ++result_.gangs;
    }
  }

  // Members of one gang on one node need not be neighbours in their numbers.
  void MergeNodes() {
    std::sort(on_nodes_.begin(), on_nodes_.end(),
              [](const auto& a, const auto& b) { return a.first < b.first; });
    std::size_t kept = 0;
    for (std::size_t i = 0; i < on_nodes_.size(); ++i) {
      if (kept > 0 && on_nodes_[kept - 1].first == on_nodes_[i].first) {
        CardSet& cards = on_nodes_[kept - 1].second;
        cards = CardSet(cards.bits() | on_nodes_[i].second.bits());
      } else {
        on_nodes_[kept++] = on_nodes_[i];
      }
    }
    on_nodes_.resize(kept);
  }

  void Finish(std::uint32_t unit, std::int64_t now) {
    departures_.erase(departures_.begin());
    if (const GangJob* gang = GangOf(unit); gang != nullptr) {
      BASALT_CHECK(
          engine_.ReleaseGang(PodUidFromName("gang " + gang->name), SimTime{now}).has_value());
    } else {
      BASALT_CHECK(engine_.Release(Front(unit).uid, SimTime{now}).has_value());
    }
    running_[unit] = Running{};
    completions_.push_back(static_cast<double>(now - Submit(unit)) / 1e6);
    shadow_known_ = false;
  }

  void DrainQueue(std::int64_t now) {
    if (replay_.queue == QueueOrder::kEasy) return DrainEasy(now);
    std::fill(blocked_.begin(), blocked_.end(), std::uint8_t{0});
    if (replay_.queue == QueueOrder::kFifo) {
      while (!queue_.empty() && TryPlace(queue_.front(), now) != OutcomeKind::kWait) PopHead();
      return;
    }
    std::deque<std::uint32_t> left;
    for (const std::uint32_t unit : queue_) {
      // Nothing was freed since this shape was refused in this pass: it would be refused again. A
      // gang that was refused says nothing about smaller ones.
      const std::uint32_t shape = Front(unit).request;
      const bool single = GangOf(unit) == nullptr;
      if ((single && blocked_[shape] != 0) || TryPlace(unit, now) == OutcomeKind::kWait) {
        if (single) blocked_[shape] = 1;
        left.push_back(unit);
      } else {
        queued_pods_ -= units_[unit].pods;
      }
    }
    queue_ = std::move(left);
  }

  void PopHead() {
    queued_pods_ -= units_[queue_.front()].pods;
    queue_.pop_front();
    shadow_known_ = false;
  }

  void DrainEasy(std::int64_t now) {
    while (!queue_.empty() && TryPlace(queue_.front(), now) != OutcomeKind::kWait) PopHead();
    std::fill(blocked_.begin(), blocked_.end(), std::uint8_t{0});  // capacity came free
    if (queue_.size() < 2) return;
    const std::size_t depth =
        std::min(queue_.size(), static_cast<std::size_t>(replay_.backfill_depth) + 1);
    std::size_t kept = 1;
    for (std::size_t i = 1; i < depth; ++i) {
      const std::uint32_t unit = queue_[i];
      if (engine_.state().totals().gpu_free > 0 && Backfill(unit, now)) {
        queued_pods_ -= units_[unit].pods;
      } else {
        queue_[kept++] = unit;
      }
    }
    queue_.erase(queue_.begin() + static_cast<std::ptrdiff_t>(kept),
                 queue_.begin() + static_cast<std::ptrdiff_t>(depth));
  }

  std::int64_t HeadShadow(std::uint32_t with, std::int64_t with_ends) {
    const std::uint32_t head = queue_.front();
    std::vector<Wanted> wanted;
    if (const GangJob* gang = GangOf(head); gang != nullptr) {
      for (const GangTask& task : gang->spec.tasks) {
        const ShapeId shape = shapes_[task.shape.index()];
        wanted.push_back({&engine_.state().shape(shape), shape, task.min});
      }
    } else {
      const ShapeId shape = shapes_[Front(head).request];
      wanted.push_back({&engine_.state().shape(shape), shape, 1});
    }
    ends_.clear();
    bool added = with == kNone;
    for (const auto& [ends, sequence, unit] : departures_) {
      if (!added && with_ends < ends) {
        ends_.push_back(&running_[with]);
        added = true;
      }
      ends_.push_back(&running_[unit]);
    }
    if (!added) ends_.push_back(&running_[with]);
    return ShadowTime(engine_.state(), ends_, wanted);
  }

  // Starts the unit now if the head of the queue does not start later for it.
  bool Backfill(std::uint32_t unit, std::int64_t now) {
    const Arrival& front = Front(unit);
    if (front.duration_us < 0) return false;  // runs for ever: never before the head
    const bool single = GangOf(unit) == nullptr;
    if (single && blocked_[front.request] != 0) return false;
    if (!shadow_known_) {
      shadow_ = HeadShadow(kNone, 0);
      shadow_known_ = true;
    }
    ++result_.engine_calls;
    // Ends before the head could start: no harm, if it fits at all.
    if (now + front.duration_us <= shadow_ || shadow_ == kNever) {
      const OutcomeKind kind = TryPlaceQuietly(unit, now);
      if (kind == OutcomeKind::kWait && single) blocked_[front.request] = 1;
      if (kind == OutcomeKind::kPlaced && now + RunTimeOf(unit, now) > shadow_) {
        // Slow placement: it would run into the head's time after all.
        return KeepIfHarmless(unit, now);
      }
      return Keep(unit, now, kind);
    }
    const OutcomeKind kind = TryPlaceQuietly(unit, now);
    if (kind == OutcomeKind::kWait && single) blocked_[front.request] = 1;
    if (kind != OutcomeKind::kPlaced) return Keep(unit, now, kind);
    return KeepIfHarmless(unit, now);
  }

  // Reserves without confirming: kept by Keep, given back by KeepIfHarmless.
  OutcomeKind TryPlaceQuietly(std::uint32_t unit, std::int64_t now) {
    if (GangOf(unit) != nullptr) {
      const GangRequest request = GangRequestOf(unit);
      const Result<GangOutcome> outcome = engine_.ProposeGang(request, SimTime{now});
      BASALT_CHECK(outcome.has_value());
      reason_ = outcome->reason;
      if (!outcome->placed()) return outcome->kind;
      const Result<Lease> lease = engine_.ReserveGang(request, *outcome, SimTime{now});
      BASALT_CHECK(lease.has_value());
      lease_ = *lease;
      return OutcomeKind::kPlaced;
    }
    const Request request = RequestOf(unit);
    const Outcome outcome = engine_.Propose(request, SimTime{now});
    if (!outcome.placed()) return outcome.kind;
    const Result<Lease> lease = engine_.Reserve(request, outcome.placement, SimTime{now});
    BASALT_CHECK(lease.has_value());
    lease_ = *lease;
    return OutcomeKind::kPlaced;
  }
  bool Keep(std::uint32_t unit, std::int64_t now, OutcomeKind kind) {
    if (kind == OutcomeKind::kWait) return false;
    if (kind == OutcomeKind::kInfeasible) {
      Fail(unit, kind);
      return true;
    }
    const bool gang = GangOf(unit) != nullptr;
    BASALT_CHECK(
        (gang ? engine_.ConfirmGang(lease_, SimTime{now}) : engine_.Confirm(lease_, SimTime{now}))
            .has_value());
    Start(unit, now);
    ++result_.backfilled;
    return true;
  }
  bool KeepIfHarmless(std::uint32_t unit, std::int64_t now) {
    running_[unit] = RunningOf(unit);
    const std::int64_t ends = now + RunTimeOf(unit, now);
    running_[unit].ends_us = ends;
    const bool harmless = HeadShadow(unit, ends) <= shadow_;
    running_[unit] = Running{};
    if (harmless) return Keep(unit, now, OutcomeKind::kPlaced);
    if (GangOf(unit) != nullptr) {
      BASALT_CHECK(engine_.ReleaseGang(lease_.uid, SimTime{now}).has_value());
    } else {
      BASALT_CHECK(engine_.Release(lease_.uid, SimTime{now}).has_value());
    }
    return false;
  }

  // What a placed unit holds, and how long it will run there.
  Running RunningOf(std::uint32_t unit) {
    Running running;
    on_nodes_.clear();
    const Unit& u = units_[unit];
    for (std::uint32_t i = 0; i < u.pods; ++i) {
      const Allocation* a = engine_.Find(workload_.arrivals[u.first + i].uid);
      if (a == nullptr) continue;  // an elastic member that found no room
      const Shape& shape = engine_.state().shape(a->shape);
      Share share{a->node, shape.cpu, shape.memory, 0, 0};
      (shape.whole ? share.cards : share.milli) = shape.whole ? shape.gpus : shape.total_milli();
      running.shares.push_back(share);
      if (shape.whole) on_nodes_.emplace_back(a->node, a->cards);
    }
    MergeNodes();
    return running;
  }
  std::int64_t RunTimeOf(std::uint32_t unit, std::int64_t) {
    RunningOf(unit);
    const JobSpeed::Got got = speed_.Of(engine_.domains(), on_nodes_, MemberCards(unit));
    return JobSpeed::RunTime(Front(unit).duration_us, Front(unit).comm_milli, got);
  }

  void CountTopology(const JobSpeed::Got& got, std::int64_t recorded, std::int64_t run_time) {
    int cards = 0;
    for (const auto& [node, set] : on_nodes_) cards += set.size();
    if (cards < 2) return;
    ++by_tier_[got.tier];
    if (got.mbps <= 0 || got.best <= 0) return;
    const double ratio = static_cast<double>(got.mbps) / got.best;
    const auto size = static_cast<std::size_t>(cards);
    if (by_size_.size() <= size) by_size_.resize(size + 1);
    by_size_[size].first += 1;
    by_size_[size].second += ratio;
    at_best_ += got.mbps >= got.best ? 1 : 0;
    if (recorded > 0) {
      recorded_ += static_cast<double>(recorded);
      stretched_ += static_cast<double>(run_time);
    }
  }

  void FinishTopology() {
    TopologyResult& t = result_.topology;
    double ratio = 0;
    for (std::size_t k = 0; k < by_size_.size(); ++k) {
      const auto& [jobs, sum] = by_size_[k];
      if (jobs == 0) continue;
      t.by_size.push_back({static_cast<int>(k), jobs, 100 * sum / static_cast<double>(jobs)});
      t.jobs += jobs;
      ratio += sum;
    }
    if (t.jobs > 0) {
      t.bandwidth_pct = 100 * ratio / static_cast<double>(t.jobs);
      t.at_best_pct = 100 * static_cast<double>(at_best_) / static_cast<double>(t.jobs);
    }
    if (recorded_ > 0) t.stretch = stretched_ / recorded_;
    for (const auto& [tier, jobs] : by_tier_) {
      t.by_tier.push_back({engine_.domains().TierName(tier), jobs});
    }
    t.intact8_mean = intact_.mean();
  }

  static constexpr std::uint32_t kNone = 0xFFFFFFFF;
  const Workload& workload_;
  const ReplayOptions& replay_;
  PreparedRun& prepared_;
  Engine& engine_;
  RunResult& result_;
  FailureTally failures_;
  JobSpeed speed_;
  IntactSets intact_;
  std::vector<Unit> units_;
  std::vector<std::uint32_t> by_time_;
  std::vector<ShapeId> shapes_;   // by request
  std::vector<Running> running_;  // by unit; empty when it does not run
  std::set<std::tuple<std::int64_t, std::uint64_t, std::uint32_t>> departures_;  // end, start order
  std::uint64_t sequence_ = 0;
  std::deque<std::uint32_t> queue_;
  std::size_t queued_pods_ = 0;
  std::vector<std::uint8_t> blocked_;  // by request, of one pass
  bool shadow_known_ = false;
  std::int64_t shadow_ = kNever;
  std::vector<const Running*> ends_;
  std::vector<std::pair<NodeId, CardSet>> on_nodes_;
  Lease lease_;
  std::string reason_;                               // of the last gang that was refused
  std::map<std::string, FailedShape> failed_gangs_;  // by certificate
  std::vector<double> waits_, gang_waits_, completions_;
  std::vector<std::pair<std::int64_t, double>> by_size_;  // jobs, sum of ratios
  std::map<int, std::int64_t> by_tier_;
  std::int64_t at_best_ = 0;
  double recorded_ = 0, stretched_ = 0;
};

}  // namespace

Result<RunResult> RunReplay(const Workload& workload, const ConfiguredPolicy& policy,
                            std::uint64_t seed, const ReplayOptions& replay,
                            const RunOptions& options) {
  Result<PreparedRun> prepared = Prepare(workload, policy, seed, {}, options);
  if (!prepared) return tl::unexpected<Error>(prepared.error());
  if (workload.gpu_milli == 0) return Fail(workload.name, "the cluster has no cards to replay on");
  RunResult result;
  result.trace = workload.name;
  result.policy = policy.expression;
  result.seed = seed;
  result.arrivals = static_cast<std::int64_t>(workload.arrivals.size());
  std::map<PodUid, std::uint32_t> rows;
  if (options.keep_map) {
    for (std::uint32_t i = 0; i < workload.arrivals.size(); ++i) {
      rows.emplace(workload.arrivals[i].uid, i);
    }
  }
  const auto pod_name = [&](const PodUid& uid) {
    const auto it = rows.find(uid);
    return it == rows.end() ? std::string("?") : workload.pod_names[it->second];
  };
  Replay(workload, replay, *prepared, result).Run(options, pod_name);
  return result;
}

}  // namespace basalt::sim
