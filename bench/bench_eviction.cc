// Evictions: the time to plan one, and to plan and nominate it. After each sample the nomination is
// given up again. Counters: medians in microseconds of both, and the victims.
//
//   Reclaim/C: 1,000 nodes of 8 cards, full with pods of C cards of a queue that borrows; a gang of
//     250 tasks of 8 cards, of a queue with a guarantee, takes back what is its own (KAI's scale
//     test of reclaim on 1,000 nodes: 76 s).
//   Preempt/C: the same by priority, without queues, the gang's tasks with one card each.
//   Gangs: full with gangs of 16 nodes; one task less breaks them.
//   Pod: one pod of 8 cards on the same cluster of pods of one card.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>

#include "policies/builtin.h"
#include "scheduler-core/base/check.h"
#include "scheduler-core/base/rng.h"
#include "scheduler-core/engine/engine.h"

namespace basalt {
namespace {

constexpr int kNodes = 1000;
constexpr SimTime kNow = SimTime::Seconds(100'000);

const Registry& Policies() {
  static const Registry registry = [] {
    Registry r;
    RegisterBuiltinPolicies(r);
    return r;
  }();
  return registry;
}

RequestSpec Cards(int cards) {
  RequestSpec spec;
  spec.cpu_milli = 8'000 * cards;
  spec.memory_mib = 65'536 * cards;
  spec.gpus = cards;
  spec.gpu_milli = kWholeCard;
  return spec;
}

std::unique_ptr<Engine> Nodes() {
  auto engine = Engine::Create(*Policies().Configure("binpack"), EngineOptions{});
  BASALT_CHECK(engine.has_value());
  for (int i = 0; i < kNodes; ++i) {
    NodeSpec node;
    node.name = "node-" + std::to_string(i);
    node.cpu_milli = 96'000;
    node.memory_mib = 786'432;
    CardSpec card;
    card.model = "A100";
    node.cards.assign(8, card);
    BASALT_CHECK((*engine)->Apply(NodeAdded{node}, SimTime{}).has_value());
  }
  return std::move(*engine);
}

// Pods of `cards` cards on every card, begun at different times.
std::unique_ptr<Engine> Full(int cards, bool queues) {
  auto engine = Nodes();
  if (queues) {
    QueueSpec research;
    QueueSpec product;
    research.name = "research";
    product.name = "product";
    research.guarantee = {{"gpu", 2'000'000}};
    product.guarantee = {{"gpu", 4'000'000}};
    BASALT_CHECK(engine->Apply(QueueSet{research}, SimTime{}).has_value());
    BASALT_CHECK(engine->Apply(QueueSet{product}, SimTime{}).has_value());
  }
  Rng rng(1, 1);
  std::uint64_t uid = 0;
  for (int n = 0; n < kNodes; ++n) {
    for (int c = 0; c < 8; c += cards) {
      PodObserved pod;
      pod.uid = PodUid{1, ++uid};
      pod.spec = Cards(cards);
      pod.node = "node-" + std::to_string(n);
      pod.cards = CardSet(((std::uint64_t{1} << cards) - 1) << c);
      if (queues) pod.standing.queue = "product";
      BASALT_CHECK(engine->Apply(pod, SimTime{}).has_value());
    }
  }
  for (std::uint64_t pod = 1; pod <= uid; ++pod) {
    const auto at = SimTime::Seconds(static_cast<std::int64_t>(rng.Below(1000)));
    BASALT_CHECK(engine->Apply(PodCheckpointed{PodUid{1, pod}}, at).has_value());
  }
  return engine;
}

GangRequest Gang(Engine& engine, int members, int cards) {
  GangRequest request;
  request.uid = PodUid{2, 0};
  request.spec.tasks.push_back({"worker", *engine.InternShape(Cards(cards)), members, members, -1});
  return request;
}

double Median(std::vector<double>& samples) {
  const auto middle = samples.begin() + static_cast<std::ptrdiff_t>(samples.size() / 2);
  std::nth_element(samples.begin(), middle, samples.end());
  return *middle;
}

void Run(benchmark::State& state, Engine& engine, GangRequest request) {
  using Clock = std::chrono::steady_clock;
  const auto us = [](Clock::duration d) {
    return std::chrono::duration<double, std::micro>(d).count();
  };
  std::vector<double> plans;
  std::vector<double> all;
  std::size_t victims = 0;
  const EvictionRules rules;
  for (auto _ : state) {
    ++request.uid.lo;
    const auto start = Clock::now();
    const Result<EvictionPlan> plan = engine.ProposeEviction(request, rules, kNow);
    const auto planned = Clock::now();
    BASALT_CHECK(plan.has_value() && plan->found);
    BASALT_CHECK(engine.NominateGang(request, *plan, kNow).has_value());
    const auto end = Clock::now();
    victims = plan->victims.size();
    BASALT_CHECK(engine.ReleaseGang(request.uid, kNow).has_value());
    plans.push_back(us(planned - start));
    all.push_back(us(end - start));
    state.SetIterationTime(all.back() * 1e-6);
  }
  state.counters["victims"] = static_cast<double>(victims);
  state.counters["plan_us"] = Median(plans);
  state.counters["all_us"] = Median(all);
}

void Reclaim(benchmark::State& state) {
  const auto engine = Full(static_cast<int>(state.range(0)), true);
  GangRequest request = Gang(*engine, 250, 8);
  request.standing.queue = "research";
  Run(state, *engine, request);
}
BENCHMARK(Reclaim)->Arg(1)->Arg(2)->Arg(8)->UseManualTime()->Unit(benchmark::kMillisecond);

void Preempt(benchmark::State& state) {
  const auto engine = Full(static_cast<int>(state.range(0)), false);
  GangRequest request = Gang(*engine, 250, 1);
  request.standing.priority = 1;
  Run(state, *engine, request);
}
BENCHMARK(Preempt)->Arg(1)->Arg(8)->UseManualTime()->Unit(benchmark::kMillisecond);

void Gangs(benchmark::State& state) {
  const auto engine = Nodes();
  for (std::uint64_t g = 0; g < 62; ++g) {
    GangRequest victim = Gang(*engine, 16, 8);
    victim.uid = PodUid{3, g};
    const auto outcome = engine->PlaceGang(victim, SimTime::Seconds(static_cast<std::int64_t>(g)));
    BASALT_CHECK(outcome.has_value() && outcome->placed());
  }
  GangRequest request = Gang(*engine, 250, 8);
  request.standing.priority = 1;
  Run(state, *engine, request);
}
BENCHMARK(Gangs)->UseManualTime()->Unit(benchmark::kMillisecond);

void Pod(benchmark::State& state) {
  const auto engine = Full(1, false);
  Request request{PodUid{4, 0}, 0, *engine->InternShape(Cards(8)), 0};
  request.standing.priority = 1;
  const EvictionRules rules;
  std::size_t victims = 0;
  for (auto _ : state) {
    ++request.uid.lo;
    const EvictionPlan plan = engine->ProposeEviction(request, rules, kNow);
    BASALT_CHECK(plan.found);
    victims = plan.victims.size();
  }
  state.counters["victims"] = static_cast<double>(victims);
}
BENCHMARK(Pod)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace basalt

BENCHMARK_MAIN();
