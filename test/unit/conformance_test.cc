// What every placement policy must do, whatever it prefers. A new built-in is taken in by name.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "test/support/cluster.h"
#include "test/support/random_world.h"

namespace basalt {
namespace {

using support::Ask;
using support::For;
using support::MakeEngine;
using support::Node;
using support::World;

std::vector<std::string> Expressions() {
  std::vector<std::string> out;
  for (const Registry::Listed& listed : support::Builtins().list()) {
    if (support::Builtins().Make(listed.name)) out.push_back(listed.name);
  }
  for (const char* expression :
       {"binpack/spread", "best-fit/random", "random/first", "pwr:0.1+fgd:0.9",
        "binpack:2+random:1", "class-quota(T4=0.3;fgd)", "spread-job(binpack)", "spread-job(pwr)",
        "class-quota(A10=0.2;spread-job(gpu-clustering:1+dot-product:1))"}) {
    out.emplace_back(expression);
  }
  return out;
}

// Feasibility on an empty node, written out from what callers describe.
bool FitsOnEmpty(const NodeSpec& node, const RequestSpec& ask) {
  if (node.cpu_milli < ask.cpu_milli || node.memory_mib < ask.memory_mib) return false;
  for (const LabelRequirement& need : ask.node_selector) {
    if (std::find(node.labels.begin(), node.labels.end(), need) == node.labels.end()) return false;
  }
  for (const std::string& taint : node.taints) {
    if (std::find(ask.tolerations.begin(), ask.tolerations.end(), taint) == ask.tolerations.end()) {
      return false;
    }
  }
  int fitting = 0;
  for (const CardSpec& card : node.cards) {
    if (card.mode == CardMode::kMig || card.mode == CardMode::kPassthrough) continue;
    if (!ask.models.empty() &&
        std::find(ask.models.begin(), ask.models.end(), card.model) == ask.models.end()) {
      continue;
    }
    const std::int64_t percent = ask.gpu_milli == kWholeCard ? 100 : ask.gpu_memory_percent;
    const std::int64_t need = std::max(ask.gpu_memory_mib, card.memory_mib * percent / 100);
    if (card.compute_milli >= std::max(ask.gpu_milli, 1) && card.memory_mib >= need) ++fitting;
  }
  return fitting >= ask.gpus;
}

class Conformance : public ::testing::TestWithParam<std::string> {
 protected:
  static std::uint64_t Seed(int i) {
    return (DigestOf(GetParam()).lo % 1'000'000) * 1000 + static_cast<std::uint64_t>(i);
  }
  static support::WorldOptions Decisions() {
    support::WorldOptions options;
    options.observe = false;  // no foreign pods: then nothing may ever be negative
    return options;
  }
};

TEST_P(Conformance, NeverOvercommitsAndTheCardsFit) {
  int placed = 0;
  for (int i = 0; i < support::Scaled(150); ++i) {
    World world(Seed(i), Decisions());
    auto engine = MakeEngine(GetParam(), world.nodes);
    const ClusterState& state = engine->state();
    for (int step = 0; step < 30; ++step) {
      const support::Step next = world.Next();
      if (const auto* arrive = std::get_if<support::Arrive>(&next)) {
        const Request request =
            For(*engine, world.shapes[arrive->shape], arrive->uid, arrive->attempt, arrive->job);
        const Digest128 before = engine->StateDigest();
        const Outcome outcome = engine->Propose(request, SimTime{step});
        ASSERT_EQ(engine->StateDigest(), before);
        if (outcome.placed() && !outcome.already_held) {
          ++placed;
          const Shape& shape = state.shape(request.shape);
          ASSERT_TRUE(state.Fits(request.shape, outcome.placement.node));
          ASSERT_EQ(outcome.placement.cards.size(), shape.gpus);
          for (const int card : outcome.placement.cards) {
            ASSERT_TRUE(state.CardFits(shape, outcome.placement.node, card));
          }
        }
      }
      support::Play(*engine, world, next, SimTime{step});
      for (const NodeId node : state.order()) {
        ASSERT_GE(state.hot(node).cpu_free, 0);
        ASSERT_GE(state.hot(node).memory_free, 0);
        ASSERT_GE(state.hot(node).pods_free, 0);
        for (int c = 0; c < state.hot(node).cards; ++c) {
          const CardState& card = state.card(node, c);
          ASSERT_GE(card.free_milli, 0);
          ASSERT_GE(card.memory_free, 0);
          if (card.slots > 0) {
            ASSERT_LE(card.slices, card.slots);
          }
          if (card.mode == CardMode::kExclusive) {
            ASSERT_LE(card.slices, 1);
          }
          if (card.mode == CardMode::kMig) {
            ASSERT_EQ(card.slices, 0);
          }
        }
      }
      ASSERT_TRUE(engine->Audit().has_value());
    }
  }
  EXPECT_GT(placed, support::Scaled(300));
}

TEST_P(Conformance, SameInputSameOutput) {
  for (int i = 0; i < support::Scaled(40); ++i) {
    const auto run = [&] {
      World world(Seed(i), {});
      EngineOptions options;
      options.seed = 99;
      auto engine = MakeEngine(GetParam(), world.nodes, options);
      for (int step = 0; step < 30; ++step) {
        support::Play(*engine, world, world.Next(), SimTime{step});
      }
      return std::pair(engine->DecisionDigest(), engine->work());
    };
    ASSERT_EQ(run(), run());
  }
}

TEST_P(Conformance, InfeasibleExactlyWhenItDoesNotFitTheEmptyCluster) {
  int infeasible = 0;
  int waits = 0;
  for (int i = 0; i < support::Scaled(150); ++i) {
    support::WorldOptions options;
    options.wiring = false;  // the obvious test below knows nothing of NUMA nodes and wires
    options.max_nodes = 4;
    World world(Seed(i), options);
    auto engine = MakeEngine(GetParam(), world.nodes);
    for (int step = 0; step < 30; ++step) {
      support::Play(*engine, world, world.Next(), SimTime{step});
      std::vector<NodeSpec> alive;
      for (const NodeId node : engine->state().order()) {
        alive.push_back(engine->state().SpecOf(node));
      }
      for (std::size_t s = 0; s < world.shapes.size(); ++s) {
        const RequestSpec& spec = world.shapes[s];
        const OutcomeKind kind =
            engine->Propose(For(*engine, spec, 70'000 + s), SimTime{step}).kind;
        const bool possible = std::any_of(alive.begin(), alive.end(), [&](const NodeSpec& node) {
          return FitsOnEmpty(node, spec);
        });
        ASSERT_EQ(kind == OutcomeKind::kInfeasible, !possible) << Describe(spec);
        infeasible += kind == OutcomeKind::kInfeasible ? 1 : 0;
        waits += kind == OutcomeKind::kWait ? 1 : 0;
      }
    }
  }
  EXPECT_GT(infeasible, 10);
  EXPECT_GT(waits, 10);
}

// The stored rank decides ties, not the order in which nodes were told: slots and classes differ
// between the two engines, names and cards of every placement must not.
TEST_P(Conformance, OrderOfInsertionDoesNotMatter) {
  for (int i = 0; i < support::Scaled(60); ++i) {
    World world(Seed(i), {});
    for (std::size_t n = 0; n < world.nodes.size(); ++n) {
      world.nodes[n].rank = static_cast<std::int64_t>(n / 2);  // pairs tie, then the name decides
    }
    std::vector<NodeSpec> reversed(world.nodes.rbegin(), world.nodes.rend());
    EngineOptions options;
    options.seed = 5;
    auto forward = MakeEngine(GetParam(), world.nodes, options);
    auto backward = MakeEngine(GetParam(), reversed, options);
    for (std::uint64_t pod = 0; pod < 30; ++pod) {
      const RequestSpec& spec = world.shapes[pod % world.shapes.size()];
      const Outcome a = forward->Place(For(*forward, spec, pod, 0, pod % 3), SimTime{});
      const Outcome b = backward->Place(For(*backward, spec, pod, 0, pod % 3), SimTime{});
      ASSERT_EQ(support::NodeName(*forward, a), support::NodeName(*backward, b));
      ASSERT_EQ(a.placement.cards, b.placement.cards);
      ASSERT_EQ(a.placement.score, b.placement.score);
    }
    ASSERT_EQ(forward->DecisionDigest(), backward->DecisionDigest());
    ASSERT_EQ(forward->StateDigest(), backward->StateDigest());
  }
}

class CachedScores : public Conformance {};

std::vector<std::string> CachedExpressions() {
  std::vector<std::string> out = Expressions();
  std::erase_if(out, [](const std::string& expression) {
    return support::Policy(expression).policy->traits().whole_set;
  });
  return out;
}

// What the index may cache: a node's local score is the same alone and in a batch. And what is
// chosen is what was scored: the best of the proposed sets has the node's score.
TEST_P(CachedScores, BatchScoresAreSingleScores) {
  const ConfiguredPolicy configured = support::Policy(GetParam());
  const PlacementPolicy& policy = *configured.policy;
  int compared = 0;
  for (int i = 0; i < support::Scaled(60); ++i) {
    World world(Seed(i), {});
    auto engine = MakeEngine(GetParam(), world.nodes);
    for (int step = 0; step < 20; ++step) {
      support::Play(*engine, world, world.Next(), SimTime{step});
      const Request request = For(*engine, world.shapes[0], 1);
      const ClusterState& state = engine->state();
      WorkCounters work;
      const PlacementContext context{state,
                                     request.shape,
                                     state.shape(request.shape),
                                     configured.card_rule,
                                     engine->fragmentation(),
                                     nullptr,
                                     &engine->domains(),
                                     1,
                                     work};
      std::vector<NodeId> feasible;
      for (const NodeId node : state.order()) {
        if (state.Fits(request.shape, node)) feasible.push_back(node);
      }
      std::vector<Score> batch(feasible.size());
      policy.ScoreNodes(context, feasible, batch);
      for (std::size_t n = 0; n < feasible.size(); ++n) {
        Score alone = 0;
        policy.ScoreNodes(context, std::span(&feasible[n], 1), std::span(&alone, 1));
        ASSERT_EQ(alone, batch[n]);
        ASSERT_NE(alone, kNoScore);
        ++compared;
        if (policy.traits().name == "fgd") {
          Score best = kNoScore;
          ProposeCards(context, feasible[n], [&](CardSet set) {
            best = std::max(best, policy.ScoreSet(context, feasible[n], set));
          });
          ASSERT_EQ(best, batch[n]) << Describe(world.shapes[0]) << " seed " << i;
        }
      }
    }
  }
  EXPECT_GT(compared, support::Scaled(200));
}

std::string TestName(const ::testing::TestParamInfo<std::string>& param) {
  std::string name;
  for (const char c : param.param) name += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return name;
}

INSTANTIATE_TEST_SUITE_P(Policies, Conformance, ::testing::ValuesIn(Expressions()), TestName);
INSTANTIATE_TEST_SUITE_P(Policies, CachedScores, ::testing::ValuesIn(CachedExpressions()),
                         TestName);

// A broken policy: always proposes card 0, free or not.
class AlwaysCardZero : public PlacementPolicy {
 public:
  const PolicyTraits& traits() const override { return traits_; }
  void ScoreNodes(const PlacementContext&, std::span<const NodeId> nodes,
                  std::span<Score> scores) const override {
    for (std::size_t i = 0; i < nodes.size(); ++i) scores[i] = 1;
  }
  CardSet ChooseCards(const PlacementContext&, NodeId) const override { return CardSet::Of(0); }

 private:
  PolicyTraits traits_{.name = "always-card-zero", .help = ""};
};

TEST(BadPolicy, IsCaughtByReserveAndLeavesTheStateIntact) {
  ConfiguredPolicy broken{"always-card-zero", std::make_shared<AlwaysCardZero>(), CardRule::kBest};
  auto engine = MakeEngine(broken, {Node("a", 8000, 2)});
  ASSERT_TRUE(engine->Place(For(*engine, Ask(100, 1, 600), 1), SimTime{}).placed());
  const Request second = For(*engine, Ask(100, 1, 600), 2);
  const Outcome outcome = engine->Propose(second, SimTime{});
  ASSERT_TRUE(outcome.placed());  // card 1 is free, so the node fits; the policy names card 0
  const Digest128 before = engine->StateDigest();
  EXPECT_FALSE(engine->Reserve(second, outcome.placement, SimTime{}).has_value());
  EXPECT_EQ(engine->StateDigest(), before);
  EXPECT_EQ(engine->allocation_count(), 1U);
  EXPECT_TRUE(engine->Audit().has_value());
}

// Reserve trusts nothing: cards beyond the node, the wrong number of them, a node that is not
// there.
TEST(BadPolicy, ReserveRefusesEveryMalformedPlacement) {
  auto engine = MakeEngine("binpack", {Node("a", 8000, 2), Node("b", 8000, 2)});
  ASSERT_TRUE(engine->Apply(NodeRemoved{"b"}, SimTime{}).has_value());
  const Request request = For(*engine, Ask(100, 1, 600), 1);
  const NodeId a = engine->state().FindNode("a");
  const Digest128 before = engine->StateDigest();
  const std::uint32_t generation = engine->state().generation(a);
  for (const Placement& bad :
       {Placement{a, CardSet::Of(2), 0, generation}, Placement{a, CardSet::Of(63), 0, generation},
        Placement{a, CardSet(0b11), 0, generation}, Placement{a, CardSet(), 0, generation},
        Placement{NodeId(), {}, 0}, Placement{NodeId(std::size_t{1}), CardSet::Of(0), 0},
        Placement{NodeId(std::size_t{99}), CardSet::Of(0), 0}}) {
    EXPECT_FALSE(engine->Reserve(request, bad, SimTime{}).has_value());
  }
  EXPECT_EQ(engine->StateDigest(), before);
  EXPECT_TRUE(
      engine->Reserve(request, Placement{a, CardSet::Of(1), 0, generation}, SimTime{}).has_value());
}

}  // namespace
}  // namespace basalt
