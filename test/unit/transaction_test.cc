// A transaction that is not committed leaves no trace: gangs, dry runs and what-ifs stand on this.
#include "scheduler-core/cluster/transaction.h"

#include <gtest/gtest.h>

#include <vector>

#include "scheduler-core/base/rng.h"
#include "test/support/cluster.h"
#include "test/support/random_world.h"

namespace basalt {
namespace {

using support::Ask;
using support::CheckDerived;
using support::Node;

struct Held {
  NodeId node;
  ShapeId shape;
  CardSet cards;
};

// One random step: give back something held, or take something, fitting or not.
void RandomStep(const ClusterState& state, Transaction& tx, Rng& rng, std::vector<Held>& held) {
  if (!held.empty() && rng.Below(3) == 0) {
    const std::size_t at = rng.Below(static_cast<std::uint32_t>(held.size()));
    tx.Give(held[at].node, held[at].shape, held[at].cards);
    held.erase(held.begin() + static_cast<std::ptrdiff_t>(at));
    return;
  }
  Held h;
  h.node = state.order()[rng.Below(static_cast<std::uint32_t>(state.order().size()))];
  h.shape = ShapeId(std::size_t{rng.Below(static_cast<std::uint32_t>(state.shape_count()))});
  for (int c = 0; c < state.hot(h.node).cards; ++c) {
    if (h.cards.size() < state.shape(h.shape).gpus && rng.Below(2) == 0) h.cards.Add(c);
  }
  tx.Take(h.node, h.shape, h.cards);
  held.push_back(h);
}

TEST(Transaction, RollbackRestoresDigest) {
  for (int seed = 0; seed < support::Scaled(300); ++seed) {
    support::World world(static_cast<std::uint64_t>(seed), {});
    ClusterState state;
    for (const NodeSpec& node : world.nodes) ASSERT_TRUE(state.AddNode(node).has_value());
    for (const RequestSpec& spec : world.shapes) state.InternShape(spec);
    Rng rng(static_cast<std::uint64_t>(seed));
    std::vector<Held> held;
    {
      Transaction tx(state);
      for (int i = 0; i < 20; ++i) RandomStep(state, tx, rng, held);
      tx.Commit();
    }
    const Digest128 before = state.ComputeDigest();
    {
      Transaction tx(state);
      std::vector<Held> inside = held;
      for (int i = 0; i < 30; ++i) {
        RandomStep(state, tx, rng, inside);
        ASSERT_EQ(CheckDerived(state), "") << "seed " << seed << " step " << i;
      }
    }
    ASSERT_EQ(state.ComputeDigest(), before) << "seed " << seed;
    ASSERT_EQ(CheckDerived(state), "");
  }
}

// Checkpoints in one transaction and transactions inside one another, in random shapes.
TEST(Transaction, NestedScopesAndCheckpointsRestoreTheirOwnStart) {
  for (int seed = 0; seed < support::Scaled(200); ++seed) {
    support::World world(static_cast<std::uint64_t>(seed), {});
    ClusterState state;
    for (const NodeSpec& node : world.nodes) ASSERT_TRUE(state.AddNode(node).has_value());
    for (const RequestSpec& spec : world.shapes) state.InternShape(spec);
    Rng rng(static_cast<std::uint64_t>(seed), 5);
    std::vector<Held> held;
    const Digest128 start = state.ComputeDigest();
    {
      Transaction outer(state);
      for (int i = 0; i < 5; ++i) RandomStep(state, outer, rng, held);
      const Digest128 at_five = state.ComputeDigest();
      const std::size_t checkpoint = outer.Checkpoint();
      EXPECT_EQ(checkpoint, 5U);
      std::vector<Held> inside = held;
      for (int i = 0; i < 7; ++i) RandomStep(state, outer, rng, inside);
      const Digest128 at_twelve = state.ComputeDigest();
      {
        Transaction inner(state);
        std::vector<Held> deeper = inside;
        for (int i = 0; i < 6; ++i) RandomStep(state, inner, rng, deeper);
        inner.Rollback(3);
        {
          Transaction innermost(state);
          deeper = inside;
          RandomStep(state, innermost, rng, deeper);
        }
        inner.Rollback(0);
        ASSERT_EQ(state.ComputeDigest(), at_twelve);
        deeper = inside;
        RandomStep(state, inner, rng, deeper);
      }
      ASSERT_EQ(state.ComputeDigest(), at_twelve) << "seed " << seed;
      outer.Rollback(checkpoint);
      ASSERT_EQ(state.ComputeDigest(), at_five) << "seed " << seed;
      ASSERT_EQ(outer.Checkpoint(), checkpoint);
    }
    ASSERT_EQ(state.ComputeDigest(), start) << "seed " << seed;
  }
}

// What an inner transaction committed is still speculation of the outer one: dropping the outer one
// drops it too, and committing the outer one keeps it.
TEST(Transaction, InnerCommitBelongsToTheOuterOne) {
  ClusterState state;
  const NodeId node = *state.AddNode(Node("a", 8000, 1));
  const ShapeId cpu = state.InternShape(Ask(1000));
  {
    Transaction outer(state);
    outer.Take(node, cpu, {});
    {
      Transaction inner(state);
      inner.Take(node, cpu, {});
      inner.Commit();
    }
  }
  EXPECT_EQ(state.hot(node).cpu_free, 8000);
  {
    Transaction outer(state);
    outer.Take(node, cpu, {});
    {
      Transaction inner(state);
      inner.Take(node, cpu, {});
      inner.Commit();
      inner.Take(node, cpu, {});  // not committed: undone with the inner one
    }
    EXPECT_EQ(state.hot(node).cpu_free, 6000);
    outer.Commit();
  }
  EXPECT_EQ(state.hot(node).cpu_free, 6000);
}

TEST(Transaction, CommitKeepsAndEmptiesTheLog) {
  ClusterState state;
  const NodeId node = *state.AddNode(Node("a", 8000, 1));
  const ShapeId cpu = state.InternShape(Ask(1000));
  {
    Transaction tx(state);
    tx.Take(node, cpu, {});
    tx.Commit();
    EXPECT_EQ(tx.Checkpoint(), 0U);
    tx.Take(node, cpu, {});
  }
  EXPECT_EQ(state.hot(node).cpu_free, 7000);
}

// A rolled-back change is a further entry in the change log, never one entry less.
TEST(Transaction, RollbackAppendsToTheChangeLog) {
  ClusterState state;
  const NodeId node = *state.AddNode(Node("a", 8000, 1));
  const ShapeId cpu = state.InternShape(Ask(1000));
  const std::uint64_t before = state.change_count();
  {
    Transaction tx(state);
    tx.Take(node, cpu, {});
  }
  EXPECT_EQ(state.change_count(), before + 2);
  EXPECT_EQ(state.ChangedNode(before), node);
  EXPECT_EQ(state.ChangedNode(before + 1), node);
}

}  // namespace
}  // namespace basalt
