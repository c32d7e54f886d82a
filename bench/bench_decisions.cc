// Decision latency at a steady state: a cluster of N nodes with 8 cards, filled to half its GPU
// capacity with openb's request mix; then pods leave and arrive one by one. A sample is the time of
// one placement (propose, reserve, confirm), index maintenance included: what a departure changed
// is taken in by the next decisions. Counters: p50 and p99 in microseconds over all samples, work
// per decision, and for the memory case bytes a node and a card.
#include <benchmark/benchmark.h>
#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <memory>

#include "policies/builtin.h"
#include "scheduler-core/base/check.h"
#include "scheduler-core/base/rng.h"
#include "scheduler-core/engine/engine.h"
#include "traces/generate.h"

namespace basalt {
namespace {

const Registry& Policies() {
  static const Registry registry = [] {
    Registry r;
    RegisterBuiltinPolicies(r);
    return r;
  }();
  return registry;
}

struct Mix {
  std::vector<RequestSpec> pods;  // one request a pod: drawing one draws the mix
  TargetWorkload target;
};

const Mix& OpenbMix() {
  static const Mix mix = [] {
    Mix m;
    trace::GeneratorOptions options;
    options.nodes = 10;
    options.pods = 8152;
    const auto trace = trace::Generate(options);
    BASALT_CHECK(trace.has_value());
    std::vector<TargetWorkload::Counted> counted;
    for (const trace::Task& task : trace->tasks) {
      RequestSpec spec;
      spec.cpu_milli = task.cpu_milli;
      spec.memory_mib = task.memory_mib;
      spec.gpus = task.gpu_num;
      spec.gpu_milli = task.gpu_milli;
      m.pods.push_back(spec);
      counted.push_back({spec, 1});
    }
    m.target = TargetWorkload(counted);
    return m;
  }();
  return mix;
}

NodeSpec Node(std::size_t i) {
  NodeSpec node;
  char name[24];
  std::snprintf(name, sizeof name, "node-%06zu", i);
  node.name = name;
  // openb's most frequent configurations, by turns, so that there are node classes.
  static const char* const kModels[] = {"G2", "G2", "G2", "V100M32", "G3"};
  node.cpu_milli = 96000;
  node.memory_mib = 393216;
  CardSpec card;
  card.model = kModels[i % std::size(kModels)];
  node.cards.assign(8, card);
  return node;
}

class Churn {
 public:
  Churn(const std::string& policy, std::size_t nodes) : rng_(7, 1) {
    EngineOptions options;
    options.target = OpenbMix().target;
    auto engine = Engine::Create(*Policies().Configure(policy), std::move(options));
    BASALT_CHECK(engine.has_value());
    engine_ = std::move(*engine);
    for (std::size_t i = 0; i < nodes; ++i) {
      BASALT_CHECK(engine_->Apply(NodeAdded{Node(i)}, SimTime{}).has_value());
    }
    std::map<RequestSpec, ShapeId> known;
    for (const RequestSpec& spec : OpenbMix().pods) {
      auto [it, is_new] = known.emplace(spec, ShapeId());
      if (is_new) it->second = *engine_->InternShape(spec);
      shapes_.push_back(it->second);
    }
    const ClusterTotals& t = engine_->state().totals();
    while (t.gpu_free * 2 > t.gpu_capacity) Arrive();
    for (int i = 0; i < 4096; ++i) {  // let every shape be asked for, as on a running cluster
      Depart();
      Arrive();
    }
  }

  double ArriveTimed() {
    const Request request = NextRequest();
    const auto start = std::chrono::steady_clock::now();
    const Outcome outcome = engine_->Place(request, SimTime{});
    const auto end = std::chrono::steady_clock::now();
    if (outcome.placed()) live_.push_back(request.uid);
    return std::chrono::duration<double, std::micro>(end - start).count();
  }
  void Arrive() {
    const Request request = NextRequest();
    if (engine_->Place(request, SimTime{}).placed()) live_.push_back(request.uid);
  }
  void Depart() {
    const std::size_t i = rng_.Below(static_cast<std::uint32_t>(live_.size()));
    BASALT_CHECK(engine_->Release(live_[i], SimTime{}).has_value());
    live_[i] = live_.back();
    live_.pop_back();
  }
  // Keeps the load at half: departs until no more than half is taken.
  void DepartToHalf() {
    const ClusterTotals& t = engine_->state().totals();
    while (t.gpu_free * 2 < t.gpu_capacity) Depart();
  }
  Engine& engine() { return *engine_; }
  // A shape that was never asked for: another CPU amount each time.
  Request UnseenRequest() {
    RequestSpec spec;
    spec.cpu_milli = 1000 + (++unseen_);
    spec.gpus = 1;
    spec.gpu_milli = 300 + unseen_ % 500;
    Request request = NextRequest();
    request.shape = *engine_->InternShape(spec);
    return request;
  }

 private:
  Request NextRequest() {
    Request request;
    request.uid = PodUid{++next_, 0x51ED270B5C3A9D17ULL * next_};
    request.shape = shapes_[rng_.Below(static_cast<std::uint32_t>(shapes_.size()))];
    return request;
  }

  Rng rng_;
  std::unique_ptr<Engine> engine_;
  std::vector<ShapeId> shapes_;
  std::vector<PodUid> live_;
  std::uint64_t next_ = 0;
  std::int32_t unseen_ = 0;
};

double Percentile(std::vector<double>& samples, double p) {
  const auto at = static_cast<std::size_t>(p * static_cast<double>(samples.size() - 1));
  std::nth_element(samples.begin(), samples.begin() + static_cast<std::ptrdiff_t>(at),
                   samples.end());
  return samples[at];
}

void Decision(benchmark::State& state, const std::string& policy) {
  Churn churn(policy, static_cast<std::size_t>(state.range(0)));
  std::vector<double> samples;
  const WorkCounters before = churn.engine().work();
  for (auto _ : state) {
    churn.DepartToHalf();
    const double us = churn.ArriveTimed();
    samples.push_back(us);
    state.SetIterationTime(us * 1e-6);
  }
  const WorkCounters& after = churn.engine().work();
  const auto per_decision = [&](std::uint64_t a, std::uint64_t b) {
    return static_cast<double>(b - a) / static_cast<double>(samples.size());
  };
  state.counters["p50_us"] = Percentile(samples, 0.50);
  state.counters["p99_us"] = Percentile(samples, 0.99);
  state.counters["scored"] = per_decision(before.nodes_scored, after.nodes_scored);
  state.counters["checked"] = per_decision(before.nodes_checked, after.nodes_checked);
}

void UnseenShape(benchmark::State& state, const std::string& policy) {
  Churn churn(policy, static_cast<std::size_t>(state.range(0)));
  std::vector<double> samples;
  for (auto _ : state) {
    const Request request = churn.UnseenRequest();
    const auto start = std::chrono::steady_clock::now();
    benchmark::DoNotOptimize(churn.engine().Propose(request, SimTime{}));
    const double us =
        std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
    samples.push_back(us);
    state.SetIterationTime(us * 1e-6);
  }
  state.counters["p50_us"] = Percentile(samples, 0.50);
  state.counters["max_us"] = *std::max_element(samples.begin(), samples.end());
}

// Bytes that an empty engine takes for its nodes: no pods, no shape asked for.
void Memory(benchmark::State& state) {
  const auto nodes = static_cast<std::size_t>(state.range(0));
  const auto engine_of = [&](std::size_t cards) {
    EngineOptions options;
    options.target = OpenbMix().target;
    auto engine = Engine::Create(*Policies().Configure("fgd"), std::move(options));
    for (std::size_t i = 0; i < nodes; ++i) {
      NodeSpec node = Node(i);
      node.cards.resize(cards);
      BASALT_CHECK((*engine)->Apply(NodeAdded{node}, SimTime{}).has_value());
    }
    (*engine)->fragmentation();
    return std::move(*engine);
  };
  const auto used = [] { return static_cast<double>(mallinfo2().uordblks + mallinfo2().hblkhd); };
  double a_node = 0;
  double a_card = 0;
  for (auto _ : state) {
    (void)OpenbMix();
    const double start = used();
    auto bare = engine_of(0);
    const double without = used() - start;
    bare.reset();
    const double again = used();
    auto full = engine_of(8);
    const double with = used() - again;
    a_node = without / static_cast<double>(nodes);
    a_card = (with - without) / static_cast<double>(nodes) / 8;
  }
  state.counters["bytes_per_node"] = a_node;
  state.counters["bytes_per_card"] = a_card;
}

void Sizes(benchmark::internal::Benchmark* b) {
  for (const int nodes : {1000, 5000, 20000, 100000}) b->Arg(nodes);
  b->UseManualTime()->Iterations(100000)->Unit(benchmark::kMicrosecond)->ArgName("nodes");
}

BENCHMARK_CAPTURE(Decision, binpack, std::string("binpack"))->Apply(Sizes);
BENCHMARK_CAPTURE(Decision, spread, std::string("spread"))->Apply(Sizes);
BENCHMARK_CAPTURE(Decision, best_fit, std::string("best-fit"))->Apply(Sizes);
BENCHMARK_CAPTURE(Decision, fgd, std::string("fgd"))->Apply(Sizes);
BENCHMARK_CAPTURE(UnseenShape, fgd, std::string("fgd"))
    ->Arg(1000)
    ->Arg(5000)
    ->Arg(20000)
    ->Arg(100000)
    ->UseManualTime()
    ->Iterations(200)
    ->Unit(benchmark::kMicrosecond)
    ->ArgName("nodes");
BENCHMARK(Memory)->Arg(100000)->Iterations(1)->Unit(benchmark::kMillisecond)->ArgName("nodes");

}  // namespace
}  // namespace basalt

BENCHMARK_MAIN();
