#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "scheduler-core/base/check.h"
#include "scheduler-core/base/rng.h"
#include "sim/run_common.h"
#include "sim/simulator.h"

namespace basalt::sim {
namespace {

// One printed value with two digits, as the published logs carry it.
double TwoDigits(double value) { return std::nearbyint(value * 100) / 100; }

// The sum as numpy takes it (pairwise, eight accumulators): a published mean that lies on a
// rounding edge is reproduced only with the same rounding errors.
double PairwiseSum(std::span<const double> v) {
  if (v.size() < 8) {
    double sum = 0;
    for (const double x : v) sum += x;
    return sum;
  }
  if (v.size() <= 128) {
    std::array<double, 8> r{};
    for (std::size_t k = 0; k < 8; ++k) r[k] = v[k];
    std::size_t i = 8;
    for (; i + 8 <= v.size(); i += 8) {
      for (std::size_t k = 0; k < 8; ++k) r[k] += v[i + k];
    }
    double sum = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
    for (; i < v.size(); ++i) sum += v[i];
    return sum;
  }
  const std::size_t half = v.size() / 2 - v.size() / 2 % 8;
  return PairwiseSum(v.first(half)) + PairwiseSum(v.subspan(half));
}

struct Bucket {
  std::int64_t samples = 0;
  std::vector<double> allocation;
  std::vector<double> ratio;
  std::vector<double> fragment_milli;
  double idle_cards = 0;
  double idle_nodes = 0;
  std::array<std::int64_t, kStrandCauses> causes{};  // weighted milli
};

class Sampler {
 public:
  Sampler(const Workload& workload, std::int64_t total_cards, int last_percent)
      : weight_(workload.target.total_count()),
        cards_(static_cast<double>(total_cards)),
        buckets_(static_cast<std::size_t>(last_percent) + 1) {}

  void Sample(Engine& engine, std::int64_t arrived_milli) {
    const ClusterTotals& totals = engine.state().totals();
    if (cards_ == 0) return;
    const double arrived = static_cast<double>(arrived_milli) / cards_ / 10;
    const auto percent = static_cast<std::size_t>(std::nearbyint(arrived));  // half to even
    if (percent >= buckets_.size()) return;
    const Fragmentation& frag = *engine.fragmentation();
    Bucket& b = buckets_[percent];
    ++b.samples;
    const auto used = static_cast<double>(totals.gpu_capacity - totals.gpu_free);
    b.allocation.push_back(TwoDigits(used / cards_ / 10));
    const NodeFragment& f = frag.total();
    const double milli = static_cast<double>(f.fragment()) / static_cast<double>(weight_);
    b.fragment_milli.push_back(TwoDigits(milli));
    b.ratio.push_back(f.idle > 0 ? TwoDigits(100 * milli / static_cast<double>(f.idle)) : 0);
    b.idle_cards += static_cast<double>(totals.idle_cards);
    b.idle_nodes += static_cast<double>(totals.idle_nodes);
    for (std::size_t c = 0; c < kStrandCauses; ++c) b.causes[c] += f.causes[c];
  }

  Series Finish() const {
    Series s;
    for (std::size_t p = 0; p < buckets_.size(); ++p) {
      // A percentage that no arrival rounded to takes its neighbours, as published.
      Bucket sum = buckets_[p];
      if (sum.samples == 0) {
        for (const std::size_t q : {p - 1, p + 1}) {
          if (q < buckets_.size()) Merge(sum, buckets_[q]);
        }
      }
      const auto mean = [&](double total) {
        return sum.samples == 0 ? std::numeric_limits<double>::quiet_NaN()
                                : total / static_cast<double>(sum.samples);
      };
      s.x.push_back(static_cast<double>(p));
      s.allocation_pct.push_back(TwoDigits(mean(PairwiseSum(sum.allocation))));
      s.fragmentation_pct.push_back(
          TwoDigits(100 * mean(PairwiseSum(sum.fragment_milli)) / 1000 / cards_));
      s.fragmentation_ratio_pct.push_back(mean(PairwiseSum(sum.ratio)));
      s.idle_cards.push_back(mean(sum.idle_cards));
      s.idle_nodes.push_back(mean(sum.idle_nodes));
      for (std::size_t c = 0; c < kStrandCauses; ++c) {
        s.cause_gpus[c].push_back(
            mean(static_cast<double>(sum.causes[c]) / static_cast<double>(weight_) / 1000));
      }
    }
    return s;
  }

 private:
  static void Merge(Bucket& into, const Bucket& from) {
    into.samples += from.samples;
    const auto append = [](std::vector<double>& to, const std::vector<double>& more) {
      to.insert(to.end(), more.begin(), more.end());
    };
    append(into.allocation, from.allocation);
    append(into.ratio, from.ratio);
    append(into.fragment_milli, from.fragment_milli);
    into.idle_cards += from.idle_cards;
    into.idle_nodes += from.idle_nodes;
    for (std::size_t c = 0; c < kStrandCauses; ++c) into.causes[c] += from.causes[c];
  }

  std::int64_t weight_;
  double cards_;
  std::vector<Bucket> buckets_;
};

}  // namespace

Order MakeSaturationOrder(const Workload& workload, std::uint64_t seed, int inflate_percent) {
  Order order;
  const auto count = static_cast<std::uint32_t>(workload.arrivals.size());
  order.pods.resize(count);
  std::int64_t demand = 0;
  for (std::uint32_t i = 0; i < count; ++i) {
    order.pods[i] = i;
    demand += workload.DemandMilli(i);
  }
  Rng shuffle(seed, 10);
  shuffle.Shuffle(std::span(order.pods));
  const std::int64_t target = workload.gpu_milli * inflate_percent / 100;
  if (demand > 0 && workload.gpu_milli > 0) {
    Rng draw(seed, 11);
    while (demand < target) {
      const std::uint32_t pod = draw.Below(count);
      const RequestSpec& r = workload.requests[workload.arrivals[pod].request];
      if (demand + r.gpu_milli > target) break;
      order.pods.push_back(pod);
      demand += workload.DemandMilli(pod);
    }
    while (demand > target && !order.pods.empty()) {
      const std::uint32_t at = draw.Below(static_cast<std::uint32_t>(order.pods.size()));
      demand -= workload.DemandMilli(order.pods[at]);
      order.pods[at] = order.pods.back();  // random order stays random
      order.pods.pop_back();
    }
  }
  std::vector<std::uint32_t> ranks(workload.nodes.size());
  for (std::size_t i = 0; i < ranks.size(); ++i) ranks[i] = static_cast<std::uint32_t>(i);
  Rng rank(seed, 12);
  rank.Shuffle(std::span(ranks));
  order.node_ranks.assign(ranks.begin(), ranks.end());
  return order;
}

Result<RunResult> RunSaturation(const Workload& workload, const ConfiguredPolicy& policy,
                                std::uint64_t seed, const Order& order, const RunOptions& options) {
  Result<PreparedRun> prepared = Prepare(workload, policy, seed, order.node_ranks, options);
  if (!prepared) return tl::unexpected<Error>(prepared.error());
  Engine& engine = *prepared->engine;

  std::int64_t last_percent = 0;
  for (const std::uint32_t pod : order.pods) last_percent += workload.DemandMilli(pod);
  last_percent = workload.cards == 0 ? 0 : (last_percent / workload.cards + 5) / 10;
  Sampler sampler(workload, workload.cards,
                  static_cast<int>(std::clamp<std::int64_t>(last_percent, 0, 10'000)));
  RunResult result;
  result.trace = workload.name;
  result.policy = policy.expression;
  result.seed = seed;
  FailureTally failures(workload);
  std::int64_t arrived = 0;
  for (std::size_t i = 0; i < order.pods.size(); ++i) {
    const Arrival& arrival = workload.arrivals[order.pods[i]];
    Request request;
    request.uid = arrival.uid;
    request.uid.hi += i;  // the same row may arrive again, as another pod
    request.shape = prepared->shapes[arrival.request];
    request.job = arrival.job;
    const SimTime now{static_cast<std::int64_t>(i)};
    const Outcome outcome = engine.Propose(request, now);
    ++result.engine_calls;
    if (outcome.placed()) {
      const Result<Lease> lease = engine.Reserve(request, outcome.placement, now);
      BASALT_CHECK(lease.has_value());
      BASALT_CHECK(engine.Confirm(*lease, now).has_value());
      ++result.placed;
    } else {
      failures.Add(arrival.request, outcome.kind);
      ++result.failed;
    }
    arrived += workload.DemandMilli(order.pods[i]);
    sampler.Sample(engine, arrived);
    ++result.arrivals;
    if (options.stop_at_percent > 0 &&
        arrived * 100 >= workload.gpu_milli * options.stop_at_percent) {
      break;
    }
  }
  result.series = sampler.Finish();
  std::map<PodUid, std::uint32_t> rows;
  if (options.keep_map) {
    for (std::size_t i = 0; i < order.pods.size(); ++i) {
      PodUid uid = workload.arrivals[order.pods[i]].uid;
      uid.hi += i;
      rows.emplace(uid, order.pods[i]);
    }
  }
  FinishRun(
      engine, failures, prepared->shapes, options,
      [&](const PodUid& uid) {
        const auto it = rows.find(uid);
        return it == rows.end() ? std::string("?") : workload.pod_names[it->second];
      },
      result);
  return result;
}

}  // namespace basalt::sim
