// A recorded day driven again by other policies. What the cluster did is as recorded; who is placed
// where, and so when, is the policy's; a pod runs for as long as it ran that day.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "sim/recorded_day.h"
#include "sim/recording.h"

namespace basalt::sim {
namespace {

constexpr double kPercent = 100;

// Means over time of what an engine shows.
class Sampler {
 public:
  explicit Sampler(std::int64_t begin) : at_(begin) {}

  // What the engine shows now was there since the last call.
  void Advance(Engine& engine, std::int64_t now, std::size_t waiting) {
    if (now <= at_) return;
    const auto span = static_cast<double>(now - at_);
    at_ = now;
    time_ += span;
    const ClusterTotals& t = engine.state().totals();
    const Fragmentation* f = engine.fragmentation();
    allocated_ += span * static_cast<double>(t.gpu_capacity - t.gpu_free);
    capacity_ += span * static_cast<double>(t.gpu_capacity);
    idle_cards_ += span * static_cast<double>(t.idle_cards);
    waiting_ += span * static_cast<double>(waiting);
    if (f == nullptr) return;
    for (std::size_t c = 0; c < kStrandCauses; ++c) {
      causes_[c] +=
          span * static_cast<double>(f->total().causes[c]) / static_cast<double>(f->weight());
    }
  }

  void Finish(Engine& engine, WhatIfRun* run) {
    const ClusterTotals& t = engine.state().totals();
    const Fragmentation* f = engine.fragmentation();
    const auto capacity = static_cast<double>(t.gpu_capacity);
    double stranded = 0;
    for (std::size_t c = 0; c < kStrandCauses; ++c) {
      stranded += causes_[c];
      run->stranded_gpus[c] = time_ > 0 ? causes_[c] / time_ / 1000 : 0;
    }
    if (capacity_ > 0) {
      run->allocation_pct = kPercent * allocated_ / capacity_;
      run->stranded_pct = kPercent * stranded / capacity_;
    }
    if (time_ > 0) {
      run->idle_cards = idle_cards_ / time_;
      run->waiting_pods = waiting_ / time_;
    }
    if (capacity > 0) {
      run->end_allocation_pct =
          kPercent * static_cast<double>(t.gpu_capacity - t.gpu_free) / capacity;
      if (f != nullptr) {
        run->end_stranded_pct = kPercent * static_cast<double>(f->total().fragment()) /
                                static_cast<double>(f->weight()) / capacity;
      }
    }
  }

 private:
  std::int64_t at_;
  double time_ = 0, allocated_ = 0, capacity_ = 0, idle_cards_ = 0, waiting_ = 0;
  std::array<double, kStrandCauses> causes_{};
};

WaitTimes Summarize(std::vector<double> seconds) {
  if (seconds.empty()) return {};
  std::sort(seconds.begin(), seconds.end());
  double sum = 0;
  for (const double s : seconds) sum += s;
  const auto at = [&](double p) {
    return seconds[static_cast<std::size_t>(p * static_cast<double>(seconds.size() - 1))];
  };
  return {sum / static_cast<double>(seconds.size()), at(0.5), at(0.95), at(0.99), seconds.back()};
}

double SecondsOf(std::int64_t us) { return static_cast<double>(us) / 1e6; }

class Driver {
 public:
  Driver(const RecordedDay& day, Engine* engine)
      : day_(day), engine_(*engine), sampler_(day.begin.us) {}

  Result<WhatIfRun> Run() {
    if (Status ok = MakeUnits(); !ok) return tl::unexpected<Error>(ok.error());
    const auto& events = day_.events;
    std::size_t event = 0, unit = 0, deletion = 0;
    constexpr std::int64_t kNone = std::numeric_limits<std::int64_t>::max();
    for (;;) {
      // At one time: ends, what happened to the cluster, arrivals, pods deleted while they waited.
      const std::int64_t end = ends_.empty() ? kNone : ends_.begin()->first;
      const std::int64_t change = event < events.size() ? events[event].at_us : kNone;
      const std::int64_t gone = deletion < deleted_.size() ? deleted_[deletion].first : kNone;
      const std::int64_t arrival = unit < units_.size() ? units_[unit].arrived_us : kNone;
      const std::int64_t now = std::min({end, change, gone, arrival});
      if (now == kNone || now > day_.end.us) break;
      sampler_.Advance(engine_, now, waiting_pods_);
      if (end == now) {
        EndPod(ends_.begin()->second, now);
        ends_.erase(ends_.begin());
        changed_ = true;
      } else if (change == now) {
        // An observation that the engine refuses contradicts what it saw; it was so that day, too.
        static_cast<void>(engine_.Apply(events[event++].event, SimTime{now}));
        changed_ = true;
      } else if (arrival == now) {
        Unit& arrived = units_[unit];
        if (!Place(&arrived, now)) {
          waiting_.push_back(unit);
          waiting_pods_ += arrived.pods.size();
        }
        ++unit;
      } else {
        Withdraw(deleted_[deletion++].second, now);
      }
      const bool same_time_follows = (!ends_.empty() && ends_.begin()->first == now) ||
                                     (event < events.size() && events[event].at_us == now);
      if (changed_ && !same_time_follows) Retry(now);
    }
    sampler_.Advance(engine_, day_.end.us, waiting_pods_);
    return Finish();
  }

 private:
  struct Unit {
    std::vector<std::size_t> pods;  // indexes into the day's
    std::int32_t gang = -1;
    std::int64_t arrived_us = 0;
    bool placed = false;
    bool withdrawn = false;
    OutcomeKind last = OutcomeKind::kWait;
    Request request;   // of a pod
    GangRequest many;  // of a gang
  };

  Status MakeUnits() {
    for (std::size_t p = 0; p < day_.pods.size(); ++p) {
      const DayPod& pod = day_.pods[p];
      if (pod.gang >= 0) continue;
      Unit unit;
      unit.pods = {p};
      unit.arrived_us = pod.arrived_us;
      const auto shape = engine_.InternShape(pod.spec);
      if (!shape) return tl::unexpected<Error>(shape.error());
      unit.request = Request{pod.uid, 0, *shape, pod.job, pod.standing, nullptr};
      units_.push_back(std::move(unit));
    }
    for (std::size_t g = 0; g < day_.gangs.size(); ++g) {
      const DayGang& gang = day_.gangs[g];
      Unit unit;
      unit.gang = static_cast<std::int32_t>(g);
      unit.pods = gang.pods;
      unit.arrived_us = gang.arrived_us;
      unit.many.uid = gang.spec.uid;
      unit.many.spec = gang.spec.spec;
      unit.many.members = gang.spec.pods;
      unit.many.job = gang.spec.job;
      unit.many.standing = gang.spec.standing;
      for (GangTask& task : unit.many.spec.tasks) {
        const auto shape = engine_.InternShape(gang.specs[task.shape.index()]);
        if (!shape) return tl::unexpected<Error>(shape.error());
        task.shape = *shape;
      }
      units_.push_back(std::move(unit));
    }
    std::stable_sort(units_.begin(), units_.end(),
                     [](const Unit& a, const Unit& b) { return a.arrived_us < b.arrived_us; });
    for (std::size_t u = 0; u < units_.size(); ++u) {
      for (const std::size_t p : units_[u].pods) unit_of_[p] = u;
    }
    for (std::size_t p = 0; p < day_.pods.size(); ++p) {
      if (day_.pods[p].deleted_us >= 0) deleted_.emplace_back(day_.pods[p].deleted_us, p);
    }
    std::sort(deleted_.begin(), deleted_.end());
    return {};
  }

  bool Place(Unit* unit, std::int64_t now) {
    if (unit->gang < 0) {
      const DayPod& pod = day_.pods[unit->pods.front()];
      unit->request.nodes = ChoiceOf(engine_.state(), pod.nodes);
      const Outcome outcome = engine_.Place(unit->request, SimTime{now});
      unit->last = outcome.kind;
      unit->placed = outcome.placed();
    } else {
      const GangSpecRecord& spec = day_.gangs[static_cast<std::size_t>(unit->gang)].spec;
      unit->many.nodes = ChoiceOf(engine_.state(), spec.nodes);
      unit->many.task_nodes.clear();
      for (const NodeNames& names : spec.task_nodes) {
        unit->many.task_nodes.push_back(ChoiceOf(engine_.state(), names));
      }
      const Result<GangOutcome> outcome = engine_.PlaceGang(unit->many, SimTime{now});
      unit->last = outcome ? outcome->kind : OutcomeKind::kWait;
      unit->placed = outcome && outcome->placed();
    }
    if (!unit->placed) return false;
    for (const std::size_t p : unit->pods) {
      const DayPod& pod = day_.pods[p];
      if (engine_.Find(pod.uid) == nullptr) continue;  // a gang needs not all
      placed_.insert(p);
      waits_.push_back(SecondsOf(now - unit->arrived_us));
      if (pod.held_us >= 0 && pod.ended_us >= 0) {
        ends_.emplace(now + (pod.ended_us - pod.held_us), p);
      }
    }
    return true;
  }

  void Retry(std::int64_t now) {
    changed_ = false;
    std::vector<std::size_t> still;
    // What did not fit a moment ago does not fit in the same words either.
    std::set<std::tuple<std::uint32_t, std::string, std::int32_t>> failed;
    for (const std::size_t u : waiting_) {
      Unit& unit = units_[u];
      if (unit.withdrawn) continue;
      const auto key = std::tuple(unit.request.shape.value(), unit.request.standing.queue,
                                  unit.request.standing.priority);
      const bool alike = unit.gang < 0 && unit.request.standing.sku.empty() &&
                         unit.request.job == 0 && day_.pods[unit.pods.front()].nodes.empty();
      if (alike && failed.contains(key)) {
        still.push_back(u);
      } else if (Place(&unit, now)) {
        waiting_pods_ -= unit.pods.size();
      } else {
        if (alike) failed.insert(key);
        still.push_back(u);
      }
    }
    waiting_ = std::move(still);
  }

  void EndPod(std::size_t p, std::int64_t now) {
    // It may have gone with its node.
    static_cast<void>(engine_.Apply(PodGone{day_.pods[p].uid, false}, SimTime{now}));
  }

  // Deleted that day while it waited: here it may have been placed meanwhile.
  void Withdraw(std::size_t p, std::int64_t now) {
    Unit& unit = units_[unit_of_.at(p)];
    if (unit.placed) {
      EndPod(p, now);
      changed_ = true;
      return;
    }
    // A gang goes as a whole: without this pod it is another one.
    if (unit.withdrawn) return;
    unit.withdrawn = true;
    waiting_pods_ -= unit.pods.size();
  }

  WhatIfRun Finish() {
    WhatIfRun run;
    run.arrivals = static_cast<std::int64_t>(day_.pods.size());
    run.placed = static_cast<std::int64_t>(placed_.size());
    for (const std::size_t p : placed_) {
      run.running += engine_.Find(day_.pods[p].uid) != nullptr ? 1 : 0;
    }
    for (const Unit& unit : units_) {
      run.gangs += unit.gang >= 0 ? 1 : 0;
      run.gangs_placed += unit.gang >= 0 && unit.placed ? 1 : 0;
      for (const std::size_t p : unit.pods) {
        if (placed_.contains(p)) continue;
        ++(unit.withdrawn                          ? run.withdrawn
           : unit.last == OutcomeKind::kInfeasible ? run.refused
                                                   : run.waiting);
      }
    }
    run.wait = Summarize(std::move(waits_));
    run.decision_digest = engine_.DecisionDigest();
    sampler_.Finish(engine_, &run);
    return run;
  }

  const RecordedDay& day_;
  Engine& engine_;
  Sampler sampler_;
  std::vector<Unit> units_;  // by arrival
  std::map<std::size_t, std::size_t> unit_of_;
  std::vector<std::size_t> waiting_;  // units, by arrival
  std::size_t waiting_pods_ = 0;
  std::set<std::pair<std::int64_t, std::size_t>> ends_;
  std::vector<std::pair<std::int64_t, std::size_t>> deleted_;
  std::set<std::size_t> placed_;
  std::vector<double> waits_;
  bool changed_ = false;
};

// The recorded effects on an engine that only looks at them.
Result<WhatIfRun> AsItHappened(const SegmentSource& source, const Registry& registry,
                               const RecordedDay& day, const EngineOptions& options) {
  WhatIfRun run;
  run.name = kAsItHappened;
  run.policy = day.head.expression;
  std::vector<std::pair<std::int64_t, std::int64_t>> waits;  // begin, end
  for (const DayPod& pod : day.pods) {
    ++run.arrivals;
    if (pod.held_us >= 0) {
      ++run.placed;
      run.running += pod.ended_us < 0 ? 1 : 0;
    } else {
      ++(pod.deleted_us >= 0 ? run.withdrawn : run.waiting);
    }
    const std::int64_t until = pod.held_us >= 0      ? pod.held_us
                               : pod.deleted_us >= 0 ? pod.deleted_us
                                                     : day.end.us;
    waits.emplace_back(pod.arrived_us, until);
  }
  std::vector<double> seconds;
  for (std::size_t p = 0; p < day.pods.size(); ++p) {
    if (day.pods[p].held_us >= 0) seconds.push_back(SecondsOf(waits[p].second - waits[p].first));
  }
  run.wait = Summarize(std::move(seconds));
  for (const DayGang& gang : day.gangs) {
    ++run.gangs;
    run.gangs_placed += std::any_of(gang.pods.begin(), gang.pods.end(),
                                    [&](std::size_t p) { return day.pods[p].held_us >= 0; });
  }
  double waited = 0;
  for (const auto& [from, until] : waits) waited += static_cast<double>(until - from);
  Sampler sampler(day.begin.us);
  for (std::size_t s = 0; s < source.segments; ++s) {
    const Result<RecordedSegment> segment = source.read(s);
    if (!segment) return tl::unexpected<Error>(segment.error());
    auto policy = registry.Configure("binpack");  // decides nothing
    if (!policy) return tl::unexpected<Error>(policy.error());
    auto engine = Engine::Restore(segment->snapshot, std::move(*policy), options);
    if (!engine) return tl::unexpected<Error>(engine.error());
    for (const JournalRecord& record : segment->journal.records) {
      if (record.now.us > 0) sampler.Advance(**engine, record.now.us, 0);
      if (Status ok = (*engine)->ApplyRecord(record); !ok) return tl::unexpected<Error>(ok.error());
    }
    if (s + 1 < source.segments) continue;
    sampler.Advance(**engine, day.end.us, 0);
    sampler.Finish(**engine, &run);
  }
  const auto span = static_cast<double>(day.end.us - day.begin.us);
  run.waiting_pods = span > 0 ? waited / span : 0;
  return run;
}

}  // namespace

Result<WhatIf> DriveRecording(const SegmentSource& source, const Registry& registry,
                              const std::vector<std::string>& policies) {
  const Result<RecordedDay> day = ReadDay(source);
  if (!day) return tl::unexpected<Error>(day.error());
  Result<EngineOptions> options = OptionsOf(day->head);
  if (!options) return tl::unexpected<Error>(options.error());
  WhatIf out;
  out.foreign_pods = day->foreign_pods;
  out.there_before = day->there_before;
  out.begin = day->begin;
  out.end = day->end;
  if (options->target.empty()) {
    // What fragmentation is measured against: what the day asked for.
    std::vector<TargetWorkload::Counted> asked;
    for (const DayPod& pod : day->pods) asked.push_back({pod.spec, 1});
    options->target = TargetWorkload(asked);
    out.target_from_day = true;
  }
  out.target_classes = options->target.classes().size();
  Result<WhatIfRun> was = AsItHappened(source, registry, *day, *options);
  if (!was) return tl::unexpected<Error>(was.error());
  out.runs.push_back(std::move(*was));
  for (const std::string& name : policies) {
    auto policy = registry.Configure(name);
    if (!policy) return Fail("--policy", policy.error().ToString());
    const std::string expression = policy->expression;
    auto engine = Engine::Restore(day->snapshot, std::move(*policy), *options);
    if (!engine) return tl::unexpected<Error>(engine.error());
    Result<WhatIfRun> run = Driver(*day, engine->get()).Run();
    if (!run) return tl::unexpected<Error>(run.error());
    run->name = run->policy = expression;
    out.runs.push_back(std::move(*run));
  }
  return out;
}

}  // namespace basalt::sim
