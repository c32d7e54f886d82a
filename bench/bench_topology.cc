// Topology: what a machine type costs to build, and what a question costs. Questions run over
// random free sets; the counter worst_us is the slowest free set of all that were drawn (the best
// of several runs of each, so that it is the machine's worst case and not the scheduler's).
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "scheduler-core/base/check.h"
#include "scheduler-core/base/rng.h"
#include "topology/bandwidth.h"
#include "topology/files/catalog.h"
#include "topology/synthetic.h"

namespace basalt::topology {
namespace {

// A mesh in which no two links are alike: nothing is solved once for several sets.
std::string RandomMesh(int cards) {
  Rng rng(7);
  std::string text = std::to_string(cards) + " link=";
  for (int b = 1; b < cards; ++b) {
    for (int a = 0; a < b; ++a) {
      text += (text.back() == '=' ? "" : ",") + std::to_string(a) + "-" + std::to_string(b) + ":" +
              std::to_string(5000 + rng.Below(45'000));
    }
  }
  return text;
}

MachineGraph Graph(const std::string& what) {
  const auto graph = what[0] >= '0' && what[0] <= '9' ? ParseGraph(what) : CatalogMachine(what);
  BASALT_CHECK(graph.has_value());
  return *graph;
}

void Build(benchmark::State& state, const std::string& what) {
  const MachineGraph graph = Graph(what);
  for (auto _ : state) benchmark::DoNotOptimize(MachineType::Make(graph));
}

enum class Question { kBestSet, kKeepBest, kKeepAny, kCopies };

void Ask(benchmark::State& state, const std::string& what, Question question) {
  const auto type = *MachineType::Make(Graph(what));
  const int cards = type->cards();
  const std::uint64_t all = (std::uint64_t{1} << cards) - 1;
  struct Case {
    CardSet free;
    int size = 0;
  };
  std::vector<Case> cases;
  Rng rng(9);
  for (int size = 1; size <= cards; ++size) cases.push_back({CardSet(all), size});
  while (cases.size() < 2000) {
    // From few to nearly all cards free.
    std::uint64_t free = 0;
    const std::uint32_t share = 1 + rng.Below(99);
    for (int c = 0; c < cards; ++c) free |= rng.Below(100) < share ? std::uint64_t{1} << c : 0;
    if (free == 0) continue;
    const int count = CardSet(free).size();
    cases.push_back(
        {CardSet(free), 1 + static_cast<int>(rng.Below(static_cast<std::uint32_t>(count)))});
  }
  const auto ask = [&](const Case& c) -> std::uint64_t {
    switch (question) {
      case Question::kBestSet:
        return type->BestSet(c.free, c.size).bits();
      case Question::kKeepBest:
        return type->KeepRemainder(c.free, c.size, type->Best(c.size)).bits();
      case Question::kKeepAny:
        return type->KeepRemainder(c.free, c.size, 0).bits();
      case Question::kCopies:
        return static_cast<std::uint64_t>(type->Copies(c.free, c.size, type->Best(c.size)));
    }
    return 0;
  };
  std::size_t next = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(ask(cases[next]));
    next = next + 1 == cases.size() ? 0 : next + 1;
  }
  double worst = 0;
  for (const Case& c : cases) {
    double best = 1e9;
    for (int run = 0; run < 5; ++run) {
      const auto start = std::chrono::steady_clock::now();
      benchmark::DoNotOptimize(ask(c));
      const auto end = std::chrono::steady_clock::now();
      best = std::min(best, std::chrono::duration<double, std::micro>(end - start).count());
    }
    worst = std::max(worst, best);
  }
  state.counters["worst_us"] = worst;
}

BENCHMARK_CAPTURE(Build, dgx1, std::string("dgx-1-v100"))->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Build, mesh8, std::string("mi300x"))->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Build, random_mesh8, RandomMesh(8))->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Build, random_mesh10, RandomMesh(10))->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Build, dgx2, std::string("dgx-2"))->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Build, mesh16, std::string("16 link=0..15-0..15:10000"))
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Build, random_mesh16, RandomMesh(16))->Unit(benchmark::kMillisecond);

#define BASALT_ASK(name, machine)                                       \
  BENCHMARK_CAPTURE(Ask, name##_best, machine, Question::kBestSet);     \
  BENCHMARK_CAPTURE(Ask, name##_keep, machine, Question::kKeepBest);    \
  BENCHMARK_CAPTURE(Ask, name##_keep_any, machine, Question::kKeepAny); \
  BENCHMARK_CAPTURE(Ask, name##_copies, machine, Question::kCopies)

BASALT_ASK(dgx1, std::string("dgx-1-v100"));
BASALT_ASK(hgx, std::string("hgx-h100"));
BASALT_ASK(dgx2, std::string("dgx-2"));
BASALT_ASK(meshes16, std::string("16 link=0..7-0..7:10000,8..15-8..15:10000"));
BASALT_ASK(random_mesh16, RandomMesh(16));

}  // namespace
}  // namespace basalt::topology

BENCHMARK_MAIN();
