// The columns of the cluster: inventory, classes, feasibility by each rule, derived columns.
#include "scheduler-core/cluster/state.h"

#include <gtest/gtest.h>

#include "scheduler-core/cluster/transaction.h"
#include "test/support/cluster.h"

namespace basalt {
namespace {

using support::Ask;
using support::CheckDerived;
using support::Node;

class StateTest : public ::testing::Test {
 protected:
  NodeId Add(const NodeSpec& spec) {
    const Result<NodeId> node = state_.AddNode(spec);
    EXPECT_TRUE(node.has_value());
    return *node;
  }
  void Take(NodeId node, ShapeId shape, CardSet cards) {
    Transaction tx(state_);
    tx.Take(node, shape, cards);
    tx.Commit();
  }
  void Give(NodeId node, ShapeId shape, CardSet cards) {
    Transaction tx(state_);
    tx.Give(node, shape, cards);
    tx.Commit();
  }
  ShapeId Shape(const RequestSpec& spec) { return state_.InternShape(spec); }
  void TearDown() override { EXPECT_EQ(CheckDerived(state_), ""); }
  ClusterState state_;
};

TEST_F(StateTest, LowestFreeSlotIsReusedAndItsGenerationGrows) {
  const NodeId a = Add(Node("a", 1000, 1));
  const NodeId b = Add(Node("b", 1000, 1));
  const NodeId c = Add(Node("c", 1000, 1));
  EXPECT_EQ(state_.generation(a), 1U);
  state_.RemoveNode(b);
  state_.RemoveNode(a);
  EXPECT_FALSE(state_.exists(a));
  EXPECT_FALSE(state_.FindNode("a").valid());
  EXPECT_EQ(Add(Node("d", 1000, 4)), a);
  EXPECT_EQ(state_.generation(a), 2U);
  EXPECT_EQ(Add(Node("e", 1000, 2)), b);
  EXPECT_EQ(state_.generation(c), 1U);
  EXPECT_EQ(state_.hot(a).cards, 4);
  EXPECT_EQ(state_.FindNode("e"), b);
}

TEST_F(StateTest, TwoNodesOfOneNameAreRefused) {
  Add(Node("a", 1000, 1));
  const auto again = state_.AddNode(Node("a", 2000, 2));
  ASSERT_FALSE(again.has_value());
  EXPECT_EQ(again.error().ToString(), "node a: a node of this name is already in the cluster");
  EXPECT_EQ(state_.totals().nodes, 1);
}

TEST_F(StateTest, SpecOfGivesBackWhatWasAdded) {
  NodeSpec spec = Node("a", 64'000, 2, "A10", 24'576);
  spec.rank = 7;
  spec.max_pods = 110;
  spec.numa_nodes = 2;
  spec.labels = {{"disk", "ssd"}, {"zone", "a"}};
  spec.taints = {"gpu"};
  spec.cards[1].uuid = "GPU-1";
  spec.cards[1].slots = 4;
  spec.cards[1].numa = 1;
  spec.cards[1].mode = CardMode::kExclusive;
  const NodeId node = Add(spec);
  EXPECT_EQ(state_.SpecOf(node), spec);
  EXPECT_EQ(state_.CardUuid(node, 1), "GPU-1");
  EXPECT_EQ(state_.CardUuid(node, 0), "a/0");
}

TEST_F(StateTest, OrderIsByRankThenName) {
  NodeSpec late = Node("a", 0, 0);
  late.rank = 9;
  NodeSpec tie_b = Node("c", 0, 0);
  tie_b.rank = 2;
  NodeSpec tie_a = Node("b", 0, 0);
  tie_a.rank = 2;
  Add(late);
  Add(tie_b);
  Add(tie_a);
  Add(Node("z", 0, 0));  // no rank: after all that came before
  std::string names;
  for (const NodeId node : state_.order()) names += state_.name(node);
  EXPECT_EQ(names, "bcaz");
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(state_.position(state_.order()[i]), i);
}

TEST_F(StateTest, ANewSelectorKeyReclassifiesTheNodes) {
  NodeSpec a = Node("a", 1000, 1);
  a.labels = {{"zone", "a"}, {"noise", "1"}};
  NodeSpec b = Node("b", 1000, 1);
  b.labels = {{"zone", "b"}, {"noise", "2"}};
  const NodeId na = Add(a);
  const NodeId nb = Add(b);
  const ShapeId any = Shape(Ask(100));
  EXPECT_EQ(state_.class_count(), 1U);  // nobody asks for a label: one class
  const std::uint64_t before = state_.structure_version();
  RequestSpec in_b = Ask(100);
  in_b.node_selector = {{"zone", "b"}};
  const ShapeId shape = Shape(in_b);
  EXPECT_GT(state_.structure_version(), before);
  EXPECT_EQ(state_.class_count(), 2U);  // by zone, not by noise
  EXPECT_FALSE(state_.Fits(shape, na));
  EXPECT_TRUE(state_.Fits(shape, nb));
  EXPECT_TRUE(state_.Fits(any, na));
  in_b.node_selector = {{"zone", "a"}};
  const std::uint64_t known_key = state_.structure_version();
  EXPECT_TRUE(state_.Fits(Shape(in_b), na));
  EXPECT_EQ(state_.structure_version(), known_key);
}

TEST_F(StateTest, TaintsMustBeToleratedEachByKey) {
  NodeSpec spec = Node("a", 1000, 1);
  spec.taints = {"gpu", "spot"};
  const NodeId node = Add(spec);
  RequestSpec ask = Ask(100);
  EXPECT_FALSE(state_.Fits(Shape(ask), node));
  ask.tolerations = {"gpu"};
  EXPECT_FALSE(state_.Fits(Shape(ask), node));
  ask.tolerations = {"spot", "gpu", "other"};
  EXPECT_TRUE(state_.Fits(Shape(ask), node));
}

TEST_F(StateTest, MixedModelsCountOnlyTheCardsOfAnAllowedModel) {
  NodeSpec spec = Node("a", 1000, 3);
  spec.cards[1].model = "A10";
  const NodeId node = Add(spec);
  RequestSpec ask = Ask(0, 2, 1000);
  EXPECT_TRUE(state_.Fits(Shape(ask), node));
  ask.models = {"A10"};
  EXPECT_FALSE(state_.Fits(Shape(ask), node));
  ask.gpus = 1;
  const ShapeId one = Shape(ask);
  EXPECT_TRUE(state_.Fits(one, node));
  EXPECT_EQ(state_.FittingCards(state_.shape(one), node), CardSet::Of(1));
  Take(node, one, CardSet::Of(1));
  EXPECT_FALSE(state_.Fits(one, node));
  ask.models = {"A10", "T4"};
  EXPECT_EQ(state_.CountFittingCards(state_.shape(Shape(ask)), node), 2);
}

TEST_F(StateTest, CardMemoryInMiBAndPercentTheLargerHolds) {
  const NodeId node = Add(Node("a", 1000, 1, "T4", 16'000));
  RequestSpec ask = Ask(0, 1, 100);
  ask.gpu_memory_mib = 4000;
  ask.gpu_memory_percent = 50;
  const ShapeId shape = Shape(ask);
  EXPECT_EQ(state_.CardMemoryNeed(state_.shape(shape), state_.card(node, 0)), 8000);
  Take(node, shape, CardSet::Of(0));
  EXPECT_EQ(state_.card(node, 0).memory_free, 8000);
  Take(node, shape, CardSet::Of(0));
  EXPECT_EQ(state_.card(node, 0).memory_free, 0);
  EXPECT_FALSE(state_.Fits(shape, node));                 // 800 milli are free, no memory is
  EXPECT_TRUE(state_.Fits(Shape(Ask(0, 1, 100)), node));  // asks for compute only
}

TEST_F(StateTest, AWholeCardTakesAllOfItsMemory) {
  const NodeId node = Add(Node("a", 1000, 2, "T4", 16'000));
  RequestSpec memory = Ask(0, 1, 0);
  memory.gpu_memory_mib = 1;
  const ShapeId sliver = Shape(memory);
  Take(node, sliver, CardSet::Of(0));  // compute untouched, 1 MiB gone
  const ShapeId whole = Shape(Ask(0, 1, 1000));
  EXPECT_EQ(state_.FittingCards(state_.shape(whole), node), CardSet::Of(1));
  EXPECT_FALSE(state_.Fits(Shape(Ask(0, 2, 1000)), node));
  Take(node, whole, CardSet::Of(1));
  EXPECT_EQ(state_.card(node, 1).memory_free, 0);
}

TEST_F(StateTest, MemoryAskedOnACardOfUnknownMemoryDoesNotFit) {
  const NodeId node = Add(Node("a", 1000, 1));
  RequestSpec ask = Ask(0, 1, 100);
  ask.gpu_memory_mib = 1;
  EXPECT_FALSE(state_.Fits(Shape(ask), node));
  EXPECT_FALSE(state_.FitsEmpty(Shape(ask), node));
  ask.gpu_memory_mib = 0;
  ask.gpu_memory_percent = 100;  // of an unknown amount: nothing to hold against it
  EXPECT_TRUE(state_.Fits(Shape(ask), node));
}

// Fits and FittingCards must agree, or a decision is made for a node that has no card to give.
TEST_F(StateTest, MemoryOnlyRequestDoesNotFitFullCardsOfUnknownMemory) {
  const NodeId node = Add(Node("a", 1000, 1));
  Take(node, Shape(Ask(0, 1, 1000)), CardSet::Of(0));
  RequestSpec ask = Ask(0, 1, 0);
  ask.gpu_memory_percent = 50;
  const ShapeId shape = Shape(ask);
  EXPECT_TRUE(state_.FittingCards(state_.shape(shape), node).empty());
  EXPECT_FALSE(state_.Fits(shape, node));
}

TEST_F(StateTest, ShareSlotsLimitTheSlicesOfACard) {
  NodeSpec spec = Node("a", 1000, 1);
  spec.cards[0].slots = 2;
  const NodeId node = Add(spec);
  const ShapeId tenth = Shape(Ask(0, 1, 100));
  Take(node, tenth, CardSet::Of(0));
  EXPECT_TRUE(state_.Fits(tenth, node));
  Take(node, tenth, CardSet::Of(0));
  EXPECT_FALSE(state_.Fits(tenth, node));
  EXPECT_EQ(state_.card(node, 0).free_milli, 800);
  EXPECT_EQ(state_.CardFree(node)[0], 0);
  Give(node, tenth, CardSet::Of(0));
  EXPECT_EQ(state_.CardFree(node)[0], 900);
}

TEST_F(StateTest, AnExclusiveCardTakesOneSliceOfAnySize) {
  NodeSpec spec = Node("a", 1000, 2);
  spec.cards[0].mode = CardMode::kExclusive;
  spec.cards[1].mode = CardMode::kMig;
  const NodeId node = Add(spec);
  const ShapeId tenth = Shape(Ask(0, 1, 100));
  EXPECT_EQ(state_.FittingCards(state_.shape(tenth), node), CardSet::Of(0));
  Take(node, tenth, CardSet::Of(0));
  EXPECT_FALSE(state_.Fits(tenth, node));
  EXPECT_EQ(state_.totals().cards, 1);  // a MIG card hands out no slices
}

TEST_F(StateTest, AnUnhealthyCardTakesNothingAndComesBack) {
  const NodeId node = Add(Node("a", 1000, 2));
  const ShapeId two = Shape(Ask(0, 2, 1000));
  EXPECT_TRUE(state_.Fits(two, node));
  state_.SetCardHealth(node, 1, false);
  EXPECT_FALSE(state_.Fits(two, node));
  EXPECT_TRUE(state_.FitsEmpty(two, node));  // it may heal: Wait, not Infeasible
  EXPECT_EQ(state_.totals().gpu_capacity, 1000);
  EXPECT_EQ(CheckDerived(state_), "");
  state_.SetCardHealth(node, 1, true);
  EXPECT_TRUE(state_.Fits(two, node));
}

TEST_F(StateTest, ACordonedNodeLeavesTheTotalsAndTakesNothing) {
  const NodeId a = Add(Node("a", 4000, 2));
  Add(Node("b", 1000, 1, "A10"));
  const ShapeId one = Shape(Ask(100, 1, 1000));
  Take(a, one, CardSet::Of(0));
  EXPECT_EQ(state_.totals().gpu_free, 2000);
  state_.SetCordoned(a, true);
  EXPECT_FALSE(state_.Fits(one, a));
  EXPECT_EQ(state_.totals().gpu_free, 1000);
  EXPECT_EQ(state_.totals().nodes, 1);
  EXPECT_EQ(state_.model_totals(state_.FindModel("T4")).cards, 0);
  Give(a, one, CardSet::Of(0));  // while cordoned
  state_.SetCordoned(a, false);
  EXPECT_EQ(state_.totals().gpu_free, 3000);
  EXPECT_EQ(state_.totals().idle_nodes, 2);
}

TEST_F(StateTest, PodLimitCountsPodsOfEveryKind) {
  NodeSpec spec = Node("a", 1000, 1);
  spec.max_pods = 2;
  const NodeId node = Add(spec);
  const ShapeId cpu = Shape(Ask(1));
  Take(node, cpu, {});
  Take(node, Shape(Ask(1, 1, 10)), CardSet::Of(0));
  EXPECT_FALSE(state_.Fits(cpu, node));
  Give(node, cpu, {});
  EXPECT_TRUE(state_.Fits(cpu, node));
}

TEST_F(StateTest, WorkloadKindsAreCountedApart) {
  const NodeId node = Add(Node("a", 1000, 8));
  const ShapeId share = Shape(Ask(0, 1, 300));
  const ShapeId two = Shape(Ask(0, 2, 1000));
  Take(node, share, CardSet::Of(0));
  Take(node, share, CardSet::Of(0));
  Take(node, two, CardSet(0b110));
  Take(node, Shape(Ask(10)), {});
  EXPECT_EQ(state_.kind_count(node, kShareKind), 2);
  EXPECT_EQ(state_.kind_count(node, 2), 1);
  EXPECT_EQ(state_.distinct_kinds(node), 2);
  EXPECT_EQ(state_.pods_on(node), 4);
  Give(node, two, CardSet(0b110));
  EXPECT_EQ(state_.distinct_kinds(node), 1);
}

// The multiplication that stands for a division must be exact for the largest nodes too; with 32
// fractional bits it was off by one from 66,923 milli on.
TEST_F(StateTest, PerMilleMultiplierIsExact) {
  for (const int whole_cards : {0, 1, 7, 33, 45, 63}) {
    for (const MilliGpu rest : {1, 923, 1111, 1500, 2000}) {
      NodeSpec spec = Node("n" + std::to_string(whole_cards * 10'000 + rest), 0, whole_cards + 1);
      for (CardSpec& card : spec.cards) card.compute_milli = 2000;
      spec.cards.back().compute_milli = rest;
      const NodeCapacity& capacity = state_.capacity(Add(spec));
      const auto total = static_cast<std::uint64_t>(capacity.gpu_milli);
      ASSERT_EQ(total, static_cast<std::uint64_t>(2000 * whole_cards + rest));
      for (std::uint64_t x = 0; x <= total; ++x) {
        ASSERT_EQ((x * capacity.per_mille) >> NodeCapacity::kPerMilleShift, 1000 * x / total)
            << x << " of " << total;
      }
    }
  }
}

TEST_F(StateTest, OneSpecIsOneShape) {
  const ShapeId a = Shape(Ask(1000, 1, 500));
  EXPECT_EQ(Shape(Ask(1000, 1, 500)), a);
  EXPECT_NE(Shape(Ask(1000, 1, 501)), a);
  EXPECT_EQ(state_.shape_count(), 2U);
}

TEST_F(StateTest, DigestSeesEveryColumnThatDecisionsRead) {
  const NodeId node = Add(Node("a", 4000, 2, "T4", 16'000));
  Digest128 last = state_.ComputeDigest();
  const auto changed = [&] {
    const Digest128 now = state_.ComputeDigest();
    const bool differs = now != last;
    last = now;
    return differs;
  };
  state_.SetCardHealth(node, 0, false);
  EXPECT_TRUE(changed());
  state_.SetCordoned(node, true);
  EXPECT_TRUE(changed());
  Take(node, Shape(Ask(1)), {});
  EXPECT_TRUE(changed());
  RequestSpec memory = Ask(0, 1, 0);
  memory.gpu_memory_mib = 5;
  Take(node, Shape(memory), CardSet::Of(1));
  EXPECT_TRUE(changed());
  Add(Node("b", 0, 0));
  EXPECT_TRUE(changed());
}

TEST_F(StateTest, DigestDoesNotDependOnTheOrderOfArrival) {
  NodeSpec a = Node("a", 1000, 1);
  a.rank = 1;
  NodeSpec b = Node("b", 2000, 2, "A10");
  b.rank = 0;
  Add(a);
  Add(b);
  ClusterState other;
  ASSERT_TRUE(other.AddNode(b).has_value());
  ASSERT_TRUE(other.AddNode(a).has_value());
  EXPECT_EQ(state_.ComputeDigest(), other.ComputeDigest());
}

}  // namespace
}  // namespace basalt
