// A draft answers as the state does after the same takes.
#include "scheduler-core/cluster/draft.h"

#include <gtest/gtest.h>

#include <functional>

#include "scheduler-core/cluster/transaction.h"
#include "test/support/cluster.h"
#include "test/support/random_world.h"

namespace basalt {
namespace {

using support::Ask;
using support::Node;
using support::World;

// Some of a world's nodes get NUMA nodes, a Topology Manager policy, or known wires and NICs.
void AddNuma(World& world, Rng& rng) {
  for (NodeSpec& node : world.nodes) {
    if (rng.Below(3) == 0 || node.cards.empty()) continue;
    node.numa_nodes = static_cast<std::int32_t>(1 + rng.Below(2));
    for (std::size_t c = 0; c < node.cards.size(); ++c) {
      node.cards[c].numa = static_cast<std::int32_t>(
          rng.Below(10) == 0 ? -1 : static_cast<int>(c) % node.numa_nodes);
    }
    node.numa_policy = static_cast<topology::NumaPolicy>(rng.Below(4));
    node.numa_scope = static_cast<topology::NumaScope>(rng.Below(2));
  }
  for (RequestSpec& spec : world.shapes) {
    if (rng.Below(3) == 0) spec.numa = static_cast<topology::NumaPolicy>(rng.Below(4));
    if (rng.Below(4) == 0 && spec.gpus >= 2 && spec.gpus % 2 == 0) {
      ContainerSpec half{spec.cpu_milli / 2, spec.memory_mib / 2, spec.gpus / 2, 0};
      ContainerSpec rest{spec.cpu_milli - half.cpu_milli, spec.memory_mib - half.memory_mib,
                         spec.gpus / 2, spec.nics};
      spec.containers = {half, rest};
    }
  }
}

void Compare(const ClusterState& state, const NodeDraft& draft, NodeId node, const Engine& engine,
             int seed) {
  for (std::size_t s = 0; s < state.shape_count(); ++s) {
    const ShapeId id(s);
    const Shape& shape = state.shape(id);
    if (!state.ClassAllows(id, state.node_class(node))) continue;
    ASSERT_EQ(draft.Fits(shape), state.Fits(id, node))
        << Describe(shape.spec) << " on " << state.name(node) << " seed " << seed;
    ASSERT_EQ(draft.FittingCards(shape), state.FittingCards(shape, node));
  }
  for (int c = 0; c < state.hot(node).cards; ++c) {
    ASSERT_EQ(draft.CardFree(c), state.CardFree(node)[static_cast<std::size_t>(c)]);
    ASSERT_EQ(draft.CardMemoryFree(c), state.card(node, c).memory_free);
  }
  (void)engine;
}

TEST(Draft, AnswersAsTheStateAfterTheSameTakes) {
  int takes = 0;
  int pinned = 0;
  for (int seed = 0; seed < support::Scaled(400); ++seed) {
    World world(static_cast<std::uint64_t>(seed) + 3000, {});
    Rng rng(static_cast<std::uint64_t>(seed), 31);
    if (seed % 2 == 0) AddNuma(world, rng);
    auto engine = support::MakeEngine("binpack", world.nodes);
    for (int step = 0; step < 10; ++step) {
      support::Play(*engine, world, world.Next(), SimTime{step});
    }
    for (const RequestSpec& spec : world.shapes) (void)support::For(*engine, spec, 0);
    const ClusterState& state = engine->state();
    for (const NodeId node : state.order()) {
      NodeDraft draft;
      draft.Load(state, node);
      Compare(state, draft, node, *engine, seed);
      // The same takes on both; the state's through the engine, as observed pods.
      for (std::uint64_t k = 0; k < 6; ++k) {
        const RequestSpec& spec =
            world.shapes[rng.Below(static_cast<std::uint32_t>(world.shapes.size()))];
        const Request request = support::For(*engine, spec, 500'000 + k);
        const Shape& shape = state.shape(request.shape);
        if (!state.Fits(request.shape, node)) continue;
        const auto rule = static_cast<CardRule>(rng.Below(kCardRules));
        const CardPlan plan = draft.PlanCards(shape, rule, rng.Below(1000));
        ASSERT_TRUE(plan.fits) << CardRuleName(rule) << " " << Describe(spec) << " seed " << seed;
        if (spec.bandwidth_required) {
          ASSERT_GE(state.machine(node)->type->Bandwidth(plan.cards), spec.min_bandwidth_mbps);
        }
        PodObserved pod;
        pod.uid = PodUid{0xd1af7, (static_cast<std::uint64_t>(node.value()) << 8) | k};
        pod.spec = spec;
        pod.node = state.name(node);
        pod.cards = plan.cards;
        pod.numa = plan.numa;
        ASSERT_TRUE(engine->Apply(pod, SimTime{20}).has_value());
        draft.Take(shape, plan);
        ++takes;
        pinned += plan.numa != nullptr ? 1 : 0;
        Compare(state, draft, node, *engine, seed);
        if (testing::Test::HasFatalFailure()) return;
      }
      ASSERT_TRUE(engine->Audit().has_value());
    }
  }
  EXPECT_GT(takes, support::Scaled(1000));
  EXPECT_GT(pinned, support::Scaled(30));
}

// The most pods of the shape that can be placed one after another, over every choice of cards.
int MostByTrying(const NodeDraft& draft, const Shape& shape, int cards, int at_most) {
  if (at_most == 0 || !draft.Fits(shape)) return 0;
  int most = 0;
  for (std::uint64_t bits = 0; bits < (std::uint64_t{1} << cards); ++bits) {
    const CardSet set(bits);
    if (set.size() != shape.gpus) continue;
    bool fits = true;
    for (const int card : set) fits = fits && draft.CardFits(shape, card);
    if (!fits) continue;
    NodeDraft next = draft;
    CardPlan plan;
    plan.fits = true;
    plan.cards = set;
    next.Take(shape, plan);
    most = std::max(most, 1 + MostByTrying(next, shape, cards, at_most - 1));
    if (most == at_most) break;
  }
  return most;
}

TEST(Draft, CopiesAreTheMostThatAnyOrderPlaces) {
  int compared = 0;
  int several_cards = 0;
  for (int seed = 0; seed < support::Scaled(1500); ++seed) {
    support::WorldOptions options;
    options.max_nodes = 3;
    options.max_cards = 4;
    options.wiring = false;  // nothing is planned
    World world(static_cast<std::uint64_t>(seed) + 9000, options);
    auto engine = support::MakeEngine("random", world.nodes);
    for (int step = 0; step < 6; ++step) {
      support::Play(*engine, world, world.Next(), SimTime{step});
    }
    const ClusterState& state = engine->state();
    for (const RequestSpec& spec : world.shapes) {
      const ShapeId id = support::For(*engine, spec, 1).shape;
      const Shape& shape = state.shape(id);
      for (const NodeId node : state.order()) {
        NodeDraft draft;
        draft.Load(state, node);
        const int copies = draft.Copies(shape, 4);
        const int most = MostByTrying(draft, shape, state.hot(node).cards, 4);
        ASSERT_EQ(copies, most) << Describe(spec) << " on " << state.name(node) << " seed " << seed;
        ASSERT_EQ(draft.CopiesBound(shape, 4), most);
        ASSERT_EQ(draft.Copies(shape, 1), std::min(most, 1));
        ++compared;
        // And PlanForCopies gets there.
        int placed = 0;
        for (; placed < 4 && shape.gpus > 1 && draft.Fits(shape); ++placed) {
          draft.Take(shape, draft.PlanForCopies(shape));
        }
        if (shape.gpus > 1) {
          ASSERT_EQ(placed, most);
          several_cards += most > 1 ? 1 : 0;
        }
      }
    }
  }
  EXPECT_GT(compared, support::Scaled(5000));
  EXPECT_GT(several_cards, support::Scaled(100));
}

TEST(Draft, PlannedCopiesCanBePlacedAndAreWithinTheBound) {
  int planned = 0;
  for (int seed = 0; seed < support::Scaled(300); ++seed) {
    World world(static_cast<std::uint64_t>(seed) + 4000, {});
    Rng rng(static_cast<std::uint64_t>(seed), 33);
    AddNuma(world, rng);
    auto engine = support::MakeEngine("binpack", world.nodes);
    for (int step = 0; step < 6; ++step) {
      support::Play(*engine, world, world.Next(), SimTime{step});
    }
    const ClusterState& state = engine->state();
    for (const RequestSpec& spec : world.shapes) {
      const Shape& shape = state.shape(support::For(*engine, spec, 1).shape);
      for (const NodeId node : state.order()) {
        if (!state.IsPlanned(shape, node)) continue;
        NodeDraft draft;
        draft.Load(state, node);
        const int copies = draft.Copies(shape, 50);
        ASSERT_LE(copies, draft.CopiesBound(shape, 50));
        ASSERT_EQ(copies > 0, draft.Fits(shape)) << seed << Describe(spec);
        planned += copies;
      }
    }
  }
  EXPECT_GT(planned, support::Scaled(300));
}

TEST(Draft, EmptyIsAsIfNothingRanAndNothingWasBroken) {
  auto engine = support::MakeEngine("binpack", {Node("a", 16'000, 4)});
  const Request request = support::For(*engine, Ask(4000, 1, 1000), 1);
  const ClusterState& state = engine->state();
  const NodeId a = state.FindNode("a");
  ASSERT_TRUE(engine->Place(request, SimTime{}).placed());
  ASSERT_TRUE(engine->Apply(NodeCordoned{"a", true}, SimTime{}).has_value());
  ASSERT_TRUE(engine->Apply(CardHealthChanged{"a", 2, false}, SimTime{}).has_value());
  NodeDraft now;
  now.Load(state, a);
  NodeDraft empty;
  empty.LoadEmpty(state, a, state.shape(request.shape));
  EXPECT_EQ(now.Copies(state.shape(request.shape), 99), 0);
  EXPECT_EQ(empty.Copies(state.shape(request.shape), 99), 4);
}

}  // namespace
}  // namespace basalt
