// The tree of network domains, and the slots counted over it.
#include "scheduler-core/cluster/domains.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "scheduler-core/cluster/draft.h"
#include "test/support/cluster.h"
#include "test/support/gangs.h"
#include "test/support/random_world.h"

namespace basalt {
namespace {

using support::kRack;
using support::kSpine;

NodeSpec At(const std::string& name, topology::NetworkPath path) {
  NodeSpec node = support::Node(name, 8000, 2);
  node.network = std::move(path);
  return node;
}

TEST(DomainTree, LeavesAreContiguousAndUnknownIsNoDomain) {
  auto engine = support::GangEngine(
      {At("a", {{kRack, "r1"}, {kSpine, "s1"}}), At("lost", {}),
       At("b", {{kRack, "r1"}, {kSpine, "s2"}}), At("c", {{kRack, "r1"}, {kSpine, "s1"}}),
       At("no-rack", {{kSpine, "s1"}}), At("lost2", {}), At("no-spine", {{kRack, "r1"}}),
       At("no-rack2", {{kSpine, "s1"}})});
  const DomainTree& tree = engine->domains();
  const ClusterState& state = engine->state();
  const auto tier = [&](const char* a, const char* b) {
    return tree.TierOf(state.FindNode(a), state.FindNode(b));
  };
  EXPECT_EQ(tier("a", "a"), 0);
  EXPECT_EQ(tier("a", "c"), kRack);
  EXPECT_EQ(tier("a", "b"), kClusterTier);  // r1 of another spine
  EXPECT_EQ(tier("a", "no-spine"), kClusterTier);
  EXPECT_EQ(tier("a", "no-rack"), kSpine);
  EXPECT_EQ(tier("no-rack", "no-rack2"), kSpine);
  EXPECT_EQ(tier("lost", "lost2"), kClusterTier);
  EXPECT_EQ(tree.OfTier(kRack).size(), 3U);
  EXPECT_EQ(tree.OfTier(kSpine).size(), 2U);
  EXPECT_EQ(tree.PathName(tree.innermost(state.FindNode("a"))), "s1/r1");
  EXPECT_EQ(tree.PathName(tree.innermost(state.FindNode("lost"))), "cluster");
  EXPECT_EQ(tree.Find({{kRack, "r1"}, {kSpine, "s2"}}), tree.innermost(state.FindNode("b")));
  EXPECT_EQ(tree.Find({{kRack, "new"}, {kSpine, "s2"}}), tree.Find({{kSpine, "s2"}}));
  EXPECT_EQ(tree.Find({}), tree.root());
  EXPECT_EQ(tree.TierOf("rack"), kRack);
  EXPECT_EQ(tree.TierOf("node"), 0);
  EXPECT_EQ(tree.TierOf("cluster"), kClusterTier);
  EXPECT_EQ(tree.TierOf("tier 3"), 3);
  EXPECT_EQ(tree.TierOf("nvlink"), -1);
  for (std::size_t i = 0; i < tree.size(); ++i) {
    const Domain& domain = tree.domain(DomainId(i));
    for (std::uint32_t leaf = domain.begin; leaf < domain.end; ++leaf) {
      DomainId at = tree.innermost(tree.node(leaf));
      EXPECT_EQ(tree.leaf(tree.node(leaf)), leaf);
      EXPECT_EQ(at == DomainId(i), leaf < domain.own_end);
      while (at.valid() && at != DomainId(i)) at = tree.domain(at).parent;
      EXPECT_EQ(at, DomainId(i));  // every leaf in the range is below
    }
  }
}

TEST(DomainTree, IsTheSameHoweverTheNodesCame) {
  auto nodes = support::Racks(4, 3, 1, 2);
  for (std::size_t i = 0; i < nodes.size(); ++i) nodes[i].rank = static_cast<std::int64_t>(i / 2);
  auto forward = support::GangEngine(nodes);
  std::reverse(nodes.begin(), nodes.end());
  auto backward = support::GangEngine(nodes);
  const DomainTree& a = forward->domains();
  const DomainTree& b = backward->domains();
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a.PathName(DomainId(i)), b.PathName(DomainId(i)));
    EXPECT_EQ(a.domain(DomainId(i)).begin, b.domain(DomainId(i)).begin);
  }
  for (std::uint32_t leaf = 0; leaf < a.leaves(); ++leaf) {
    EXPECT_EQ(forward->state().name(a.node(leaf)), backward->state().name(b.node(leaf)));
  }
}

// What is kept and caught up is what a fresh count over the state says.
TEST(SlotIndex, CaughtUpIsCountedAfresh) {
  std::uint64_t caught_up = 0;
  for (int seed = 0; seed < support::Scaled(200); ++seed) {
    support::World world(static_cast<std::uint64_t>(seed) + 20'000, {});
    Rng rng(static_cast<std::uint64_t>(seed), 51);
    for (NodeSpec& node : world.nodes) {
      node.network.clear();
      if (rng.Below(4) != 0) node.network.push_back({kRack, "r" + std::to_string(rng.Below(3))});
      if (rng.Below(3) != 0) node.network.push_back({kSpine, "s" + std::to_string(rng.Below(2))});
      if (rng.Below(4) == 0 && !node.cards.empty()) {
        node.numa_policy = topology::NumaPolicy::kRestricted;
      }
    }
    auto engine = support::MakeEngine("binpack", world.nodes);
    DomainTree tree;
    SlotIndex slots;
    SlotIndex small(2);  // forgets shapes all the time
    for (int step = 0; step < 25; ++step) {
      support::Play(*engine, world, world.Next(), SimTime{step});
      if (rng.Below(2) == 0) continue;
      const ClusterState& state = engine->state();
      tree.CatchUp(state);
      for (const RequestSpec& spec : world.shapes) {
        const ShapeId shape = support::For(*engine, spec, 1).shape;
        tree.CatchUp(state);
        const std::uint64_t before = slots.nodes_counted();
        const SlotIndex::Slots& kept = slots.For(state, tree, shape);
        caught_up += slots.nodes_counted() - before < tree.leaves() ? 1 : 0;
        const SlotIndex::Slots& other = small.For(state, tree, shape);
        std::int64_t sum = 0;
        for (std::uint32_t leaf = 0; leaf < tree.leaves(); ++leaf) {
          const NodeId node = tree.node(leaf);
          NodeDraft draft;
          draft.Load(state, node);
          const bool allowed = state.ClassAllows(shape, state.node_class(node));
          const int copies = allowed ? draft.Copies(state.shape(shape), 65'535) : 0;
          ASSERT_EQ(kept.copies[leaf], copies) << Describe(spec) << " seed " << seed;
          ASSERT_EQ(kept.copies[leaf] > 0, state.Fits(shape, node));
          ASSERT_EQ(other.copies[leaf], copies);
          sum += copies;
        }
        ASSERT_EQ(kept.sum[tree.root()], sum);
        for (std::size_t d = 0; d < tree.size(); ++d) {
          const Domain& domain = tree.domain(DomainId(d));
          std::int64_t in = 0;
          for (std::uint32_t leaf = domain.begin; leaf < domain.end; ++leaf) {
            in += kept.copies[leaf];
          }
          ASSERT_EQ(kept.sum[DomainId(d)], in);
        }
        const SlotIndex::Slots& empty = slots.WhenEmpty(state, tree, shape);
        for (std::uint32_t leaf = 0; leaf < tree.leaves(); ++leaf) {
          ASSERT_EQ(empty.copies[leaf] > 0, state.FitsEmpty(shape, tree.node(leaf)));
          if (!state.IsPlanned(state.shape(shape), tree.node(leaf))) {
            ASSERT_GE(empty.copies[leaf], kept.copies[leaf]);
          }
        }
      }
    }
  }
  EXPECT_GT(caught_up, static_cast<std::uint64_t>(support::Scaled(1000)));
}

}  // namespace
}  // namespace basalt
