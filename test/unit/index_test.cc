// The candidate index's parts on their own: the score tree against a naive argmax, and the paths
// where a cache must notice that it is void. differential_test.cc compares whole decisions.
#include "scheduler-core/cluster/index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "scheduler-core/base/rng.h"
#include "test/support/cluster.h"

namespace basalt {
namespace {

using support::Ask;
using support::For;
using support::MakeEngine;
using support::Node;
using support::NodeName;

TEST(ScoreTree, AgreesWithANaiveArgmax) {
  for (const std::size_t leaves : {1U, 2U, 15U, 16U, 17U, 255U, 256U, 257U, 4097U}) {
    ScoreTree tree(leaves);
    std::vector<Score> naive(leaves, kNoScore);
    EXPECT_EQ(tree.size(), leaves);
    EXPECT_EQ(tree.Max(), kNoScore);
    Rng rng(leaves);
    for (int step = 0; step < support::Scaled(3000); ++step) {
      const std::size_t leaf = rng.Below(static_cast<std::uint32_t>(leaves));
      // Few distinct scores, so that ties are the normal case.
      const Score score = rng.Below(5) == 0 ? kNoScore : static_cast<Score>(rng.Below(4)) - 1;
      tree.Set(leaf, score);
      naive[leaf] = score;
      const auto best = std::max_element(naive.begin(), naive.end());  // the first of equals
      ASSERT_EQ(tree.Max(), *best) << leaves << " leaves, step " << step;
      if (*best != kNoScore) {
        ASSERT_EQ(tree.ArgMax(), static_cast<std::size_t>(best - naive.begin()));
      }
      ASSERT_EQ(tree.Get(leaf), score);
    }
  }
}

TEST(ScoreTree, RebuildEqualsSettingOneByOne) {
  Rng rng(3);
  ScoreTree one_by_one(1000);
  ScoreTree at_once(1000);
  for (std::size_t i = 0; i < 1000; ++i) {
    const auto score = static_cast<Score>(rng.Below(100'000)) - 50'000;
    one_by_one.Set(i, score);
    at_once.SetLeafOnly(i, score);
  }
  at_once.Rebuild();
  EXPECT_EQ(at_once.Max(), one_by_one.Max());
  EXPECT_EQ(at_once.ArgMax(), one_by_one.ArgMax());
}

TEST(ScoreTree, NoLeavesIsLegal) {
  ScoreTree tree(0);
  tree.Rebuild();
  EXPECT_EQ(tree.Max(), kNoScore);
}

// The work counters show that the index does what it is for: after the first decision of a shape,
// a decision looks at what changed and not at the cluster.
TEST(Index, ADecisionCostsWhatChanged) {
  std::vector<NodeSpec> nodes;
  for (int i = 0; i < 500; ++i) nodes.push_back(Node("n" + std::to_string(i), 64'000, 8));
  auto engine = MakeEngine("best-fit", nodes);
  ASSERT_TRUE(engine->Place(For(*engine, Ask(1000, 1, 500), 1), SimTime{}).placed());
  const WorkCounters first = engine->work();
  EXPECT_EQ(first.nodes_checked, 500U);
  for (std::uint64_t i = 2; i < 102; ++i) {
    ASSERT_TRUE(engine->Place(For(*engine, Ask(1000, 1, 500), i), SimTime{}).placed());
  }
  EXPECT_EQ(engine->work().nodes_checked, first.nodes_checked + 100);
  EXPECT_EQ(engine->work().index_rebuilds, 1U);
}

// More changes than the ring holds between two looks: the fragmentation cache and the index must
// both start afresh instead of reading entries that were overwritten.
TEST(Index, SurvivesAnOverrunChangeLog) {
  const std::vector<NodeSpec> nodes = {Node("a", 64'000, 4), Node("b", 64'000, 4)};
  EngineOptions slow;
  slow.scan_every_node = true;
  auto fast_engine = MakeEngine("fgd", nodes);
  auto slow_engine = MakeEngine("fgd", nodes, slow);
  for (Engine* engine : {fast_engine.get(), slow_engine.get()}) {
    ASSERT_TRUE(engine->Place(For(*engine, Ask(1000, 1, 460), 1), SimTime{}).placed());
    for (int i = 0; i < 3000; ++i) {
      ASSERT_TRUE(engine->Apply(NodeCordoned{"a", i % 2 == 0}, SimTime{}).has_value());
    }
    support::Observe(*engine, "b", Ask(63'000), {}, 100);
    engine->Place(For(*engine, Ask(4000, 1, 460), 2), SimTime{});
    // Caught up from the overrun log, the sums equal those of an engine that never missed a change.
    auto fresh = MakeEngine("fgd", nodes);
    engine->ForEachOn(engine->state().FindNode("a"), [&](const Allocation& a) {
      support::Observe(*fresh, "a", engine->state().shape(a.shape).spec, a.cards, a.uid.lo);
    });
    engine->ForEachOn(engine->state().FindNode("b"), [&](const Allocation& a) {
      support::Observe(*fresh, "b", engine->state().shape(a.shape).spec, a.cards, a.uid.lo);
    });
    EXPECT_EQ(engine->fragmentation()->total().fragment(),
              fresh->fragmentation()->total().fragment());
  }
  EXPECT_EQ(fast_engine->DecisionDigest(), slow_engine->DecisionDigest());
}

// The log's ring grows with the cluster while caches hold cursors into the small one.
TEST(Index, SurvivesTheGrowthOfTheChangeLog) {
  auto engine = MakeEngine("binpack", {Node("first", 64'000, 8)});
  const RequestSpec ask = Ask(1000, 1, 1000);
  ASSERT_TRUE(engine->Place(For(*engine, ask, 1), SimTime{}).placed());
  for (int i = 0; i < 1100; ++i) {
    ASSERT_TRUE(
        engine->Apply(NodeAdded{Node("n" + std::to_string(i), 64'000, 8)}, SimTime{}).has_value());
    if (i % 50 == 0) {
      ASSERT_TRUE(
          engine->Place(For(*engine, ask, 10 + static_cast<std::uint64_t>(i)), SimTime{}).placed());
    }
  }
  EXPECT_TRUE(engine->Audit().has_value());
  EXPECT_EQ(engine->allocation_count(), 23U);
  // Binpack fills whole nodes one after the other: 8, 8 and 7 cards.
  EXPECT_EQ(engine->state().totals().idle_nodes, 1101 - 3);
}

TEST(Index, ShapeCapOfOneStillDecides) {
  EngineOptions options;
  options.shape_cap = 1;
  auto engine = MakeEngine("best-fit", {Node("a", 64'000, 2), Node("b", 64'000, 2)}, options);
  for (std::uint64_t i = 0; i < 4; ++i) {
    const RequestSpec ask = Ask(static_cast<MilliCpu>(1000 + i), 1, 1000);
    EXPECT_EQ(NodeName(*engine, engine->Place(For(*engine, ask, i), SimTime{})), i < 2 ? "a" : "b");
  }
  EXPECT_EQ(engine->work().index_rebuilds, 4U);
}

}  // namespace
}  // namespace basalt
