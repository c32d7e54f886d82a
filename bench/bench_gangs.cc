// Gangs: the time to propose one, and to propose, reserve and confirm it. Between two samples the
// gang is released again, so each sample counts again the nodes that the last one changed.
// Counters: medians in microseconds of both, the steps of the search, and the nodes counted a
// proposal.
//
//   Big/8, Big/1: 512 tasks of 8 cards (a node each) or of 1 card on 5,000 nodes in racks of 10,
//   spines
//     of 50 racks and zones of 5 spines, half of them busy.
//   Mixed: as Big/8, but 8 of the tasks are of another shape: the way of the search, not of
//   arithmetic. Refused: the same cluster lacks one card of what 512 tasks of 1 card need. Racks/0:
//   1,000 tasks that take a node each on 100 racks of 10, the cluster full with it;
//     Racks/1: as 100 sub-groups of 10 that need a rack each (Volcano's benchmark of its HyperNode
//     plugin: 14.1 s).
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

const Registry& Policies() {
  static const Registry registry = [] {
    Registry r;
    RegisterBuiltinPolicies(r);
    return r;
  }();
  return registry;
}

std::unique_ptr<Engine> Cluster(int nodes, int rack, int spine, int zone) {
  auto engine = Engine::Create(*Policies().Configure("binpack"), EngineOptions{});
  BASALT_CHECK(engine.has_value());
  for (int i = 0; i < nodes; ++i) {
    NodeSpec node;
    node.name = "node-" + std::to_string(i);
    node.cpu_milli = 96'000;
    node.memory_mib = 786'432;
    node.cards.assign(8, CardSpec{});
    node.network = {{1, "rack-" + std::to_string(i / rack)}};
    if (spine > 0) node.network.push_back({2, "spine-" + std::to_string(i / rack / spine)});
    if (zone > 0) node.network.push_back({3, "zone-" + std::to_string(i / rack / spine / zone)});
    BASALT_CHECK((*engine)->Apply(NodeAdded{node}, SimTime{}).has_value());
  }
  return std::move(*engine);
}

RequestSpec Cards(int cards) {
  RequestSpec spec;
  spec.cpu_milli = 8'000 * cards;
  spec.memory_mib = 65'536 * cards;
  spec.gpus = cards;
  spec.gpu_milli = kWholeCard;
  return spec;
}

void Busy(Engine& engine, int node, int cards, std::uint64_t uid) {
  PodObserved pod;
  pod.uid = PodUid{1, uid};
  pod.spec = Cards(cards);
  pod.node = "node-" + std::to_string(node);
  pod.cards = CardSet((std::uint64_t{1} << cards) - 1);
  BASALT_CHECK(engine.Apply(pod, SimTime{}).has_value());
}

double Median(std::vector<double>& samples) {
  const auto middle = samples.begin() + static_cast<std::ptrdiff_t>(samples.size() / 2);
  std::nth_element(samples.begin(), middle, samples.end());
  return *middle;
}

void Run(benchmark::State& state, Engine& engine, GangRequest request, bool placed) {
  using Clock = std::chrono::steady_clock;
  const auto us = [](Clock::duration d) {
    return std::chrono::duration<double, std::micro>(d).count();
  };
  std::vector<double> propose;
  std::vector<double> all;
  std::vector<double> release;
  const WorkCounters before = engine.work();
  for (auto _ : state) {
    ++request.uid.lo;
    const auto start = Clock::now();
    const Result<GangOutcome> outcome = engine.ProposeGang(request, SimTime{});
    const auto proposed = Clock::now();
    BASALT_CHECK(outcome.has_value() && outcome->placed() == placed);
    if (placed) {
      const Result<Lease> lease = engine.ReserveGang(request, *outcome, SimTime{});
      BASALT_CHECK(lease.has_value() && engine.ConfirmGang(*lease, SimTime{}).has_value());
    }
    const auto end = Clock::now();
    if (placed) BASALT_CHECK(engine.ReleaseGang(request.uid, SimTime{}).has_value());
    release.push_back(us(Clock::now() - end));
    propose.push_back(us(proposed - start));
    all.push_back(us(end - start));
    state.SetIterationTime(all.back() * 1e-6);
  }
  const WorkCounters& after = engine.work();
  const auto n = static_cast<double>(propose.size());
  state.counters["first_us"] = all.front();  // with the tree and the slots made afresh
  state.counters["propose_us"] = Median(propose);
  state.counters["all_us"] = Median(all);
  state.counters["release_us"] = Median(release);
  state.counters["steps"] = static_cast<double>(after.gang_steps - before.gang_steps) / n;
  state.counters["checked"] = static_cast<double>(after.nodes_checked - before.nodes_checked) / n;
}

GangRequest Gang(Engine& engine, int members, int cards) {
  GangRequest request;
  request.uid = PodUid{2, 0};
  request.spec.tasks.push_back({"worker", *engine.InternShape(Cards(cards)), members, members, -1});
  return request;
}

std::unique_ptr<Engine> HalfBusy() {
  auto engine = Cluster(5000, 10, 50, 5);
  Rng rng(3, 1);
  for (int i = 0; i < 5000; ++i) {
    if (rng.Below(2) == 0) {
      Busy(*engine, i, static_cast<int>(1 + rng.Below(8)), static_cast<std::uint64_t>(i));
    }
  }
  return engine;
}

void Big(benchmark::State& state) {
  auto engine = HalfBusy();
  Run(state, *engine, Gang(*engine, 512, static_cast<int>(state.range(0))), true);
}

void Mixed(benchmark::State& state) {
  auto engine = HalfBusy();
  GangRequest request = Gang(*engine, 504, 8);
  request.spec.tasks.push_back({"leader", *engine->InternShape(Cards(1)), 8, 8, -1});
  Run(state, *engine, request, true);
}

void Refused(benchmark::State& state) {
  auto engine = Cluster(5000, 10, 50, 5);
  for (int i = 0; i < 5000; ++i) {
    const int free = i < 511 ? 1 : 0;
    Busy(*engine, i, 8 - free, static_cast<std::uint64_t>(i));
  }
  GangRequest request = Gang(*engine, 512, 1);
  if (state.range(0) < 4) request.spec.level.required = static_cast<int>(state.range(0));
  Run(state, *engine, request, false);
}

void Racks(benchmark::State& state) {
  auto engine = Cluster(1000, 10, 0, 0);
  GangRequest request = Gang(*engine, 1000, 8);
  if (state.range(0) == 1) {
    const ShapeId shape = request.spec.tasks[0].shape;
    request.spec.tasks.clear();
    for (int g = 0; g < 100; ++g) {
      request.spec.tasks.push_back({"worker", shape, 10, 10, g});
      request.spec.groups.push_back({"group-" + std::to_string(g), LevelWish{1, 1}});
    }
  }
  Run(state, *engine, request, true);
}

BENCHMARK(Big)
    ->Arg(8)
    ->Arg(1)
    ->UseManualTime()
    ->Iterations(200)
    ->Unit(benchmark::kMicrosecond)
    ->ArgName("cards");
BENCHMARK(Mixed)->UseManualTime()->Iterations(200)->Unit(benchmark::kMicrosecond);
BENCHMARK(Refused)
    ->Arg(1)
    ->Arg(4)
    ->UseManualTime()
    ->Iterations(200)
    ->Unit(benchmark::kMicrosecond)
    ->ArgName("level");
BENCHMARK(Racks)
    ->Arg(0)
    ->Arg(1)
    ->UseManualTime()
    ->Iterations(200)
    ->Unit(benchmark::kMicrosecond)
    ->ArgName("groups");

}  // namespace
}  // namespace basalt

BENCHMARK_MAIN();
