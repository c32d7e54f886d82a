// Jobs that end: training (single jobs and workflows) and the jobs of traces. Also the arrivals of
// virtual machines, which are drawn the same way.
#include <algorithm>
#include <numeric>

#include "scheduler-core/base/check.h"
#include "sim/platform/world.h"

namespace basalt::sim::platform {

// Compute of a unit's work, milli of all its cards: what one us of it at full speed is worth.
double World::WorkOf(const Unit& unit) const {
  const WorkloadSpec& spec = *works_[unit.work].spec;
  const Ask& ask = asks_[unit.first_ask];
  double milli = 0;
  for (std::size_t t = 0; t < ask.requests.size(); ++t) {
    const RequestSpec& request = requests_[ask.requests[t]];
    const int pods = ask.gang != nullptr ? ask.gang->spec.tasks[t].max : unit.pods;
    const int use = spec.use_milli > 0 ? spec.use_milli : request.gpu_milli;
    milli += static_cast<double>(use) * request.gpus * pods;
  }
  return milli;
}

void World::SetUpBatch() {
  for (Index w = 0; w < works_.size(); ++w) {
    const Work& work = works_[w];
    const std::string& name = work.spec->name;
    Source source;
    source.work = w;
    source.times = StreamFor(spec_.seed, name, "arrivals");
    source.sizes = StreamFor(spec_.seed, name, "sizes");
    source.lengths = StreamFor(spec_.seed, name, "lengths");
    if (work.work_class == WorkClass::kJob) {
      const Workload& trace = *spec_.jobs[work.number].workload;
      for (std::uint32_t i = 0; i < trace.arrivals.size();) {
        source.order.push_back(i);
        const std::int32_t gang = trace.arrivals[i].gang;
        i += gang < 0 ? 1 : trace.gangs[static_cast<std::size_t>(gang)].pods;
      }
      std::stable_sort(source.order.begin(), source.order.end(),
                       [&](std::uint32_t a, std::uint32_t b) {
                         return trace.arrivals[a].submit_us < trace.arrivals[b].submit_us;
                       });
    } else if (work.work_class != WorkClass::kTraining && work.work_class != WorkClass::kVm) {
      continue;
    }
    sources_.push_back(std::move(source));
    PlanArrival(static_cast<Index>(sources_.size() - 1));
  }
}

void World::PlanArrival(Index s) {
  Source& source = sources_[s];
  const Work& work = works_[source.work];
  if (work.work_class == WorkClass::kJob) {
    const Workload& trace = *spec_.jobs[work.number].workload;
    if (source.next >= source.order.size()) return;
    events_.Add(std::max<std::int64_t>(0, trace.arrivals[source.order[source.next]].submit_us),
                EventKind::kArrival, s);
    return;
  }
  const bool vm = work.work_class == WorkClass::kVm;
  const double per_hour =
      vm ? spec_.vms[work.number].vms_per_hour : spec_.training[work.number].jobs_per_hour;
  if (vm && source.next < static_cast<std::size_t>(spec_.vms[work.number].at_start)) {
    events_.Add(0, EventKind::kArrival, s);
    return;
  }
  if (per_hour <= 0) return;
  static const std::vector<std::int32_t> kEven;
  const std::vector<std::int32_t>& hours = vm ? kEven : spec_.training[work.number].hour_milli;
  // Thinning: draw at the busiest hour's rate, keep in proportion.
  const std::int32_t most = hours.empty() ? 1000 : *std::max_element(hours.begin(), hours.end());
  double at = static_cast<double>(now_);
  for (;;) {
    at += DrawExponential(source.times, static_cast<double>(kHourUs) * 1000 / per_hour / most);
    if (at >= static_cast<double>(spec_.horizon_us)) return;
    if (hours.empty()) break;
    const auto hour = static_cast<std::size_t>(at / static_cast<double>(kHourUs)) % hours.size();
    if (source.times.Unit() * most < hours[hour]) break;
  }
  events_.Add(static_cast<std::int64_t>(at), EventKind::kArrival, s);
}

void World::SourceArrives(Index s) {
  switch (works_[sources_[s].work].work_class) {
    case WorkClass::kVm:
      VmArrives(sources_[s]);
      break;
    case WorkClass::kJob:
      TraceJobArrives(sources_[s]);
      break;
    default:
      WorkflowArrives(sources_[s]);
      break;
  }
  PlanArrival(s);
}

void World::WorkflowArrives(Source& source) {
  Work& work = works_[source.work];
  const TrainingSpec& spec = spec_.training[work.number];
  Workflow flow;
  flow.work = source.work;
  std::int32_t steps = spec.steps_min;
  if (spec.steps_max > spec.steps_min) {
    steps += static_cast<std::int32_t>(
        source.sizes.Below(static_cast<std::uint32_t>(spec.steps_max - spec.steps_min + 1)));
  }
  work.demand.Add(now_);
  for (std::int32_t i = 0; i < steps; ++i) {
    JobPlan job;
    job.pods = spec.gang_sizes[DrawWeighted(spec.gang_sizes, source.sizes)].first;
    job.duration_us = std::max<std::int64_t>(1, Draw(spec.duration, source.lengths));
    work.demand.Add(job.pods);
    work.demand.Add(job.duration_us);
    flow.steps.push_back(job);
  }
  workflows_.push_back(std::move(flow));
  WorkflowStep(static_cast<Index>(workflows_.size() - 1));
}

void World::WorkflowStep(Index f) {
  Workflow& flow = workflows_[f];
  if (flow.next >= flow.steps.size()) return;
  const JobPlan& job = flow.steps[flow.next++];
  const Index u = NewUnit(flow.work, f, job.pods);
  Unit& unit = units_[u];
  const TrainingSpec& spec = spec_.training[works_[flow.work].number];
  unit.work_left = unit.work_total = static_cast<double>(job.duration_us);
  unit.comm_milli = spec.comm_milli;
  if (spec.estimate_factor > 0) {
    unit.estimate_us = static_cast<std::int64_t>(unit.work_total * spec.estimate_factor);
  }
  if (now_ >= measured_from_) works_[unit.work].account.wanted += unit.work_total * WorkOf(unit);
  Queue(u, true);
}

void World::TraceJobArrives(Source& source) {
  Work& work = works_[source.work];
  const TraceJobsSpec& spec = spec_.jobs[work.number];
  const Workload& trace = *spec.workload;
  const std::uint32_t first = source.order[source.next++];
  const Arrival& arrival = trace.arrivals[first];
  std::size_t slot = arrival.request;
  std::int32_t pods = 1;
  const GangJob* gang = nullptr;
  if (arrival.gang >= 0) {
    gang = &trace.gangs[static_cast<std::size_t>(arrival.gang)];
    slot = trace.requests.size() + static_cast<std::size_t>(arrival.gang);
    pods = gang->spec.max_members();
  }
  if (source.asks.size() <= slot) source.asks.resize(slot + 1, kNone);
  if (source.asks[slot] == kNone) {
    Ask ask;
    ask.gang = gang;
    if (gang == nullptr) ask.requests.push_back(AddRequest(trace.requests[slot]));
    for (std::size_t t = 0; gang != nullptr && t < gang->spec.tasks.size(); ++t) {
      ask.requests.push_back(AddRequest(trace.requests[gang->spec.tasks[t].shape.index()]));
    }
    source.asks[slot] = static_cast<Index>(asks_.size());
    asks_.push_back(std::move(ask));
  }
  const Index u = NewUnit(source.work, source.work, pods);
  Unit& unit = units_[u];
  unit.first_ask = source.asks[slot];
  // Drawn for each job in the trace's order, whatever else happens.
  if (!spec.tenants.empty()) {
    unit.tenant = tenant_ids_.at(spec.tenants[DrawWeighted(spec.tenants, source.sizes)].first);
  }
  if (!spec.priorities.empty()) {
    unit.priority = spec.priorities[DrawWeighted(spec.priorities, source.lengths)].first;
  }
  unit.high = spec.high || unit.priority >= spec.high_from;
  unit.comm_milli = arrival.comm_milli;
  work.demand.Add(now_);
  work.demand.Add(arrival.duration_us);
  if (arrival.duration_us >= 0) {
    unit.work_left = unit.work_total =
        static_cast<double>(std::max<std::int64_t>(1, arrival.duration_us));
    unit.estimate_us = arrival.duration_us;
    if (now_ >= measured_from_) work.account.wanted += unit.work_total * WorkOf(unit);
  }
  Queue(u, true);
}

void World::JobDone(Index u) {
  Unit& unit = units_[u];
  BookUnit(unit);
  const Index work = unit.work, owner = unit.owner;
  if (unit.measured) {
    WorkAccount& account = works_[work].account;
    ++account.completed;
    account.completed_work += unit.work_total * WorkOf(unit);
    const std::int64_t ran = unit.run_us + now_ - unit.ready_at;
    account.slowdown.Add(static_cast<double>(ran) / unit.work_total);
  }
  EndPlacement(u, Leave::kFinished);
  if (works_[work].work_class == WorkClass::kTraining) WorkflowStep(owner);
}

// How much longer the work takes for the way its cards are wired; 1 where nothing is known.
double World::WiringStretch(Index u) {
  const Unit& unit = units_[u];
  if (unit.comm_milli == 0 || unit.slices.size() < 2) return 1;
  Cluster& cluster = clusters_[works_[unit.work].options[unit.option].cluster];
  std::vector<std::pair<NodeId, CardSet>> cards;
  for (const Index s : unit.slices) {
    const Card& card = cards_[slices_[s].card];
    if (!slices_[s].whole) return 1;
    const NodeId node = nodes_[card.node].id;
    const auto at = std::find_if(cards.begin(), cards.end(),
                                 [&](const auto& entry) { return entry.first == node; });
    if (at == cards.end()) {
      cards.emplace_back(node, CardSet::Of(card.number));
    } else {
      at->second.Add(card.number);
    }
  }
  std::sort(cards.begin(), cards.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  const DomainTree& domains = cluster.engine->domains();
  if (cluster.speed == nullptr) {
    cluster.speed = std::make_unique<JobSpeed>(cluster.engine->state(), domains, SpeedOptions{});
  }
  const int member = static_cast<int>(unit.slices.size()) / unit.pods;
  const JobSpeed::Got got = cluster.speed->Of(domains, cards, std::max(1, member));
  constexpr std::int64_t kLong = 1'000'000'000;
  return static_cast<double>(JobSpeed::RunTime(kLong, unit.comm_milli, got)) / kLong;
}

}  // namespace basalt::sim::platform
