#include "test/support/cluster.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "policies/builtin.h"
#include "scheduler-core/base/check.h"

namespace basalt::support {
namespace {

Registry MakeBuiltins() {
  Registry registry;
  RegisterBuiltinPolicies(registry);
  return registry;
}

}  // namespace

const Registry& Builtins() {
  static const Registry registry = MakeBuiltins();
  return registry;
}

ConfiguredPolicy Policy(std::string_view expression) {
  auto policy = Builtins().Configure(expression);
  if (!policy) std::fprintf(stderr, "%s\n", policy.error().ToString().c_str());
  BASALT_CHECK(policy.has_value());
  return *policy;
}

int Scaled(int n) {
#ifdef NDEBUG
  double scale = 1;
#else
  double scale = 0.25;  // without optimization, and with an audit after every commit
#endif
  if (const char* text = std::getenv("BASALT_TEST_SCALE")) scale = std::strtod(text, nullptr);
  return std::max(1, static_cast<int>(n * scale));
}

NodeSpec Node(std::string name, MilliCpu cpu, int cards, std::string model, MiB card_memory) {
  NodeSpec node;
  node.name = std::move(name);
  node.cpu_milli = cpu;
  node.memory_mib = 262'144;
  CardSpec card;
  card.model = std::move(model);
  card.memory_mib = card_memory;
  node.cards.assign(static_cast<std::size_t>(cards), card);
  return node;
}

RequestSpec Ask(MilliCpu cpu, int gpus, MilliGpu milli) {
  RequestSpec spec;
  spec.cpu_milli = cpu;
  spec.gpus = gpus;
  spec.gpu_milli = milli;
  return spec;
}

TargetWorkload SmallTarget() {
  const std::vector<TargetWorkload::Counted> counted = {{Ask(4000), 13},
                                                        {Ask(4000, 1, 460), 38},
                                                        {Ask(8000, 1, 1000), 30},
                                                        {Ask(8000, 2, 1000), 12},
                                                        {Ask(16000, 4, 1000), 7}};
  return TargetWorkload(counted, 100);
}

std::unique_ptr<Engine> MakeEngine(ConfiguredPolicy policy, const std::vector<NodeSpec>& nodes,
                                   EngineOptions options) {
  if (options.target.empty()) options.target = SmallTarget();
  auto engine = Engine::Create(std::move(policy), std::move(options));
  BASALT_CHECK(engine.has_value());
  for (const NodeSpec& node : nodes) {
    BASALT_CHECK((*engine)->Apply(NodeAdded{node}, SimTime{}).has_value());
  }
  return std::move(*engine);
}

std::unique_ptr<Engine> MakeEngine(std::string_view policy, const std::vector<NodeSpec>& nodes,
                                   EngineOptions options) {
  return MakeEngine(Policy(policy), nodes, std::move(options));
}

Request For(Engine& engine, const RequestSpec& spec, std::uint64_t uid, std::uint32_t attempt,
            std::uint64_t job) {
  const Result<ShapeId> shape = engine.InternShape(spec);
  BASALT_CHECK(shape.has_value());
  return Request{Uid(uid), attempt, *shape, job};
}

void Observe(Engine& engine, const std::string& node, const RequestSpec& spec, CardSet cards,
             std::uint64_t uid) {
  PodObserved pod;
  pod.uid = PodUid{0x0b5e, uid};
  pod.spec = spec;
  pod.node = node;
  pod.cards = cards;
  BASALT_CHECK(engine.Apply(pod, SimTime{}).has_value());
}

std::string NodeName(const Engine& engine, const Outcome& outcome) {
  return outcome.placed() ? engine.state().name(outcome.placement.node)
                          : std::string(OutcomeKindName(outcome.kind));
}

std::string CheckDerived(const ClusterState& state) {
  ClusterTotals sum;
  std::vector<ModelTotals> models(state.model_count());
  for (std::size_t i = 0; i < state.node_slots(); ++i) {
    const NodeId node{i};
    if (!state.exists(node)) continue;
    const NodeHot& hot = state.hot(node);
    std::int64_t gpu_free = 0;
    std::int64_t largest = 0;
    std::int64_t full = 0;
    std::int64_t capacity = 0;
    for (int c = 0; c < hot.cards; ++c) {
      const CardState& card = state.card(node, c);
      const bool usable =
          card.healthy && !card.cordoned && (card.mode != CardMode::kMig || card.serves);
      bool takes_more = usable && card.free_milli > 0;
      const bool alone = card.mode == CardMode::kExclusive || card.mode == CardMode::kPassthrough;
      if (alone && card.slices != 0) takes_more = false;
      if (card.slots > 0 && card.slices >= card.slots) takes_more = false;
      const std::int64_t free = takes_more ? card.free_milli : 0;
      if (free != state.CardFree(node)[static_cast<std::size_t>(c)]) {
        return fmt::format("{} card {}: free should be {}", state.name(node), c, free);
      }
      gpu_free += free;
      largest = std::max(largest, free);
      full += free >= kWholeCard ? 1 : 0;
      capacity += card.compute_total;
      if (!usable || state.cordoned(node)) continue;
      ++sum.cards;
      sum.gpu_capacity += card.compute_total;
      sum.gpu_free += card.free_milli;
      sum.idle_cards += card.slices == 0 ? 1 : 0;
      ModelTotals& model = models[card.model];
      ++model.cards;
      model.gpu_capacity += card.compute_total;
      model.gpu_free += card.free_milli;
    }
    if (hot.gpu_free != gpu_free || hot.max_card_free != largest || hot.full_cards != full) {
      return fmt::format("{}: gpu_free {} largest {} full {}", state.name(node), gpu_free, largest,
                         full);
    }
    if (state.capacity(node).gpu_milli != capacity) return state.name(node) + ": GPU capacity";
    if (hot.schedulable == state.cordoned(node)) return state.name(node) + ": schedulable";
    if (state.cordoned(node)) continue;
    ++sum.nodes;
    sum.cpu_capacity += state.capacity(node).cpu;
    sum.cpu_free += hot.cpu_free;
    sum.idle_nodes += hot.cards > 0 && state.pods_on(node) == 0 ? 1 : 0;
  }
  const ClusterTotals& t = state.totals();
  if (sum.nodes != t.nodes || sum.cards != t.cards || sum.gpu_capacity != t.gpu_capacity ||
      sum.gpu_free != t.gpu_free || sum.cpu_capacity != t.cpu_capacity ||
      sum.cpu_free != t.cpu_free || sum.idle_cards != t.idle_cards ||
      sum.idle_nodes != t.idle_nodes) {
    return "cluster totals differ";
  }
  for (std::size_t m = 0; m < models.size(); ++m) {
    const ModelTotals& kept = state.model_totals(ModelId(m));
    if (models[m].cards != kept.cards || models[m].gpu_capacity != kept.gpu_capacity ||
        models[m].gpu_free != kept.gpu_free) {
      return "totals of model " + state.model_name(ModelId(m)) + " differ";
    }
  }
  return {};
}

}  // namespace basalt::support
