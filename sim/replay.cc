#include <algorithm>
#include <deque>
#include <limits>
#include <map>
#include <queue>

#include "scheduler-core/base/check.h"
#include "sim/run_common.h"
#include "sim/simulator.h"

namespace basalt::sim {
namespace {

constexpr double kMicrosPerHour = 3.6e9;

// Time-weighted means of what the cluster looked like, in equal buckets of simulated time.
class TimeSampler {
 public:
  TimeSampler(std::int64_t from_us, std::int64_t to_us, int points, std::int64_t weight)
      : from_(from_us),
        width_(std::max<std::int64_t>(1, (to_us - from_us + points - 1) / points)),
        weight_(static_cast<double>(weight)),
        buckets_(static_cast<std::size_t>(points)) {}

  // The state held from the last call until `now`.
  void Advance(Engine& engine, std::int64_t now, std::size_t queued) {
    if (now > at_) {
      const ClusterTotals& t = engine.state().totals();
      const NodeFragment& f = engine.fragmentation()->total();
      Bucket value;
      const auto capacity = static_cast<double>(t.gpu_capacity);
      const double milli = static_cast<double>(f.fragment()) / weight_;
      value.allocation = 100 * static_cast<double>(t.gpu_capacity - t.gpu_free) / capacity;
      value.fragmentation = 100 * milli / capacity;
      value.ratio = f.idle > 0 ? 100 * milli / static_cast<double>(f.idle) : 0;
      value.idle_cards = static_cast<double>(t.idle_cards);
      value.idle_nodes = static_cast<double>(t.idle_nodes);
      value.queued = static_cast<double>(queued);
      for (std::size_t c = 0; c < kStrandCauses; ++c) {
        value.causes[c] = static_cast<double>(f.causes[c]) / weight_ / 1000;
      }
      std::int64_t from = std::max(at_, from_);
      while (from < now) {
        const auto b = static_cast<std::size_t>((from - from_) / width_);
        if (b >= buckets_.size()) break;
        const std::int64_t until =
            std::min(now, from_ + width_ * (static_cast<std::int64_t>(b) + 1));
        buckets_[b].Add(value, static_cast<double>(until - from));
        from = until;
      }
    }
    at_ = std::max(at_, now);
  }

  Series Finish() const {
    Series s;
    for (std::size_t b = 0; b < buckets_.size(); ++b) {
      const Bucket& bucket = buckets_[b];
      const auto mean = [&](double sum) {
        return bucket.time > 0 ? sum / bucket.time : std::numeric_limits<double>::quiet_NaN();
      };
      s.x.push_back((static_cast<double>(b) + 0.5) * static_cast<double>(width_) / kMicrosPerHour);
      s.allocation_pct.push_back(mean(bucket.allocation));
      s.fragmentation_pct.push_back(mean(bucket.fragmentation));
      s.fragmentation_ratio_pct.push_back(mean(bucket.ratio));
      s.idle_cards.push_back(mean(bucket.idle_cards));
      s.idle_nodes.push_back(mean(bucket.idle_nodes));
      s.queued.push_back(mean(bucket.queued));
      for (std::size_t c = 0; c < kStrandCauses; ++c) {
        s.cause_gpus[c].push_back(mean(bucket.causes[c]));
      }
    }
    return s;
  }

 private:
  struct Bucket {
    double time = 0, allocation = 0, fragmentation = 0, ratio = 0, idle_cards = 0, idle_nodes = 0,
           queued = 0;
    std::array<double, kStrandCauses> causes{};
    void Add(const Bucket& v, double dt) {
      time += dt;
      allocation += v.allocation * dt;
      fragmentation += v.fragmentation * dt;
      ratio += v.ratio * dt;
      idle_cards += v.idle_cards * dt;
      idle_nodes += v.idle_nodes * dt;
      queued += v.queued * dt;
      for (std::size_t c = 0; c < kStrandCauses; ++c) causes[c] += v.causes[c] * dt;
    }
  };
  std::int64_t from_;
  std::int64_t width_;
  std::int64_t at_ = std::numeric_limits<std::int64_t>::min();
  double weight_;
  std::vector<Bucket> buckets_;
};

struct Departure {
  std::int64_t at;
  std::uint64_t sequence;  // departures of one instant go in the order of their starts
  PodUid uid;
  friend bool operator>(const Departure& a, const Departure& b) {
    return a.at != b.at ? a.at > b.at : a.sequence > b.sequence;
  }
};

double Percentile(std::vector<double>& sorted, double p) {
  if (sorted.empty()) return 0;
  const auto last = static_cast<double>(sorted.size() - 1);
  return sorted[static_cast<std::size_t>(p * last)];
}

}  // namespace

Result<RunResult> RunReplay(const Workload& workload, const ConfiguredPolicy& policy,
                            std::uint64_t seed, const ReplayOptions& replay,
                            const RunOptions& options) {
  Result<PreparedRun> prepared = Prepare(workload, policy, seed, {}, options);
  if (!prepared) return tl::unexpected<Error>(prepared.error());
  Engine& engine = *prepared->engine;
  if (workload.gpu_milli == 0) return Fail(workload.name, "the cluster has no cards to replay on");

  std::vector<std::uint32_t> by_time(workload.arrivals.size());
  for (std::uint32_t i = 0; i < by_time.size(); ++i) by_time[i] = i;
  std::stable_sort(by_time.begin(), by_time.end(), [&](std::uint32_t a, std::uint32_t b) {
    return workload.arrivals[a].submit_us < workload.arrivals[b].submit_us;
  });
  const std::int64_t first = workload.arrivals[by_time.front()].submit_us;
  std::int64_t last = workload.arrivals[by_time.back()].submit_us;
  last = std::max(last, first + 1);
  TimeSampler sampler(first, last, replay.points, workload.target.total_count());

  RunResult result;
  result.trace = workload.name;
  result.policy = policy.expression;
  result.seed = seed;
  result.arrivals = static_cast<std::int64_t>(workload.arrivals.size());
  FailureTally failures(workload);
  std::priority_queue<Departure, std::vector<Departure>, std::greater<>> departures;
  std::deque<std::uint32_t> queue;
  std::vector<double> waits;
  std::uint64_t sequence = 0;

  const auto request_of = [&](std::uint32_t pod) {
    const Arrival& a = workload.arrivals[pod];
    Request r;
    r.uid = a.uid;
    r.shape = prepared->shapes[a.request];
    r.job = a.job;
    return r;
  };
  // Places the pod if it fits now. Infeasible is final; Wait leaves it to the queue.
  const auto try_place = [&](std::uint32_t pod, std::int64_t now) {
    const Request request = request_of(pod);
    const Outcome outcome = engine.Propose(request, SimTime{now});
    ++result.engine_calls;
    if (outcome.placed()) {
      const Result<Lease> lease = engine.Reserve(request, outcome.placement, SimTime{now});
      BASALT_CHECK(lease.has_value());
      BASALT_CHECK(engine.Confirm(*lease, SimTime{now}).has_value());
      ++result.placed;
      const Arrival& a = workload.arrivals[pod];
      waits.push_back(static_cast<double>(now - a.submit_us) / 1e6);
      if (a.duration_us >= 0) departures.push({now + a.duration_us, sequence++, a.uid});
    } else if (outcome.kind == OutcomeKind::kInfeasible) {
      failures.Add(workload.arrivals[pod].request, outcome.kind);
      ++result.failed;
    }
    return outcome.kind;
  };
  std::vector<std::uint8_t> blocked(workload.requests.size(), 0);
  const auto drain_queue = [&](std::int64_t now) {
    std::fill(blocked.begin(), blocked.end(), std::uint8_t{0});
    std::deque<std::uint32_t> left;
    bool stopped = false;
    for (const std::uint32_t pod : queue) {
      const std::uint32_t shape = workload.arrivals[pod].request;
      // Nothing was freed since this shape was refused in this pass: it would be refused again.
      if (stopped || blocked[shape] != 0 || try_place(pod, now) == OutcomeKind::kWait) {
        blocked[shape] = 1;
        left.push_back(pod);
        stopped = stopped || replay.queue == QueueOrder::kFifo;
      }
    }
    queue = std::move(left);
  };

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
  std::size_t next = 0;
  while (next < by_time.size() || !departures.empty()) {
    const std::int64_t arrival_at = next < by_time.size()
                                        ? workload.arrivals[by_time[next]].submit_us
                                        : std::numeric_limits<std::int64_t>::max();
    // Departures before arrivals at the same instant: what came free can be used at once.
    if (!departures.empty() && departures.top().at <= arrival_at) {
      const std::int64_t now = departures.top().at;
      sampler.Advance(engine, now, queue.size());
      while (!departures.empty() && departures.top().at == now) {
        BASALT_CHECK(engine.Release(departures.top().uid, SimTime{now}).has_value());
        departures.pop();
      }
      if (!queue.empty()) drain_queue(now);
    } else {
      sampler.Advance(engine, arrival_at, queue.size());
      const std::uint32_t pod = by_time[next++];
      const bool must_wait = replay.queue == QueueOrder::kFifo && !queue.empty();
      if (must_wait || try_place(pod, arrival_at) == OutcomeKind::kWait) queue.push_back(pod);
    }
    // The map is of the moment after the last arrival: at the end everything has left.
    if (options.keep_map && next == by_time.size() && result.map.empty()) {
      result.map = DrawMap(engine, pod_name);
    }
    if (next == by_time.size() && departures.empty()) break;
  }
  for (const std::uint32_t pod : queue) {
    failures.Add(workload.arrivals[pod].request, OutcomeKind::kWait);
    ++result.failed;
  }
  result.series = sampler.Finish();
  std::sort(waits.begin(), waits.end());
  if (!waits.empty()) {
    double sum = 0;
    for (const double w : waits) sum += w;
    result.wait = {sum / static_cast<double>(waits.size()), Percentile(waits, 0.5),
                   Percentile(waits, 0.95), Percentile(waits, 0.99), waits.back()};
  }
  FinishRun(engine, failures, prepared->shapes, options, pod_name, result);
  return result;
}

}  // namespace basalt::sim
