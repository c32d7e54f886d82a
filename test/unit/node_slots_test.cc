// Counts behind slot quotas: what binds, what the others may still enter, and what is refused.
#include "scheduler-core/queueing/node_slots.h"

#include <gtest/gtest.h>

#include "scheduler-core/base/rng.h"
#include "test/support/cluster.h"

namespace basalt {
namespace {

QueueSpec Queue(const std::string& name, std::vector<SlotQuota> slots,
                const std::string& parent = "") {
  QueueSpec spec;
  spec.name = name;
  spec.parent = parent;
  spec.slots = std::move(slots);
  return spec;
}

QueueTree Tree(const std::vector<QueueSpec>& specs) {
  QueueTree tree;
  const auto added = tree.AddAll(specs);
  EXPECT_TRUE(added.has_value()) << added.error().ToString();
  return tree;
}

std::string Refused(const std::vector<QueueSpec>& specs) {
  QueueTree tree;
  const auto added = tree.AddAll(specs);
  return added ? "" : added.error().ToString();
}

bool IsClosed(const NodeSlots& slots, QueueId leaf, SlotMark mark) {
  return ((slots.Closed(leaf) >> mark) & 1) != 0;
}

TEST(SlotSpecs, OverlapsAreRefusedInWords) {
  EXPECT_EQ(Refused({Queue("a", {{8, 2, "H100"}, {8, 1, "A100"}, {4, 1, ""}})}), "");
  EXPECT_EQ(Refused({Queue("a", {{8, 2, ""}}), Queue("b", {{8, 1, ""}})}), "");
  const auto says = [](const std::vector<QueueSpec>& specs, const std::string& words) {
    const std::string text = Refused(specs);
    EXPECT_NE(text.find(words), std::string::npos) << text;
  };
  says({Queue("a", {{0, 2, ""}})}, "queue 'a': slots: a node has 1..64 cards, not 0");
  says({Queue("a", {{8, 0, ""}})}, "0 nodes: say 1..1000000");
  says({Queue("a", {{8, 1, ""}, {8, 2, ""}})}, "nodes of 8 cards stand twice");
  says({Queue("a", {{8, 1, "H100"}}), Queue("b", {{8, 1, ""}})}, "name it in both or in none");
  says({Queue("a", {{8, 1, ""}}), Queue("a/x", {{8, 1, ""}}, "a")},
       "queue 'a/x': slots: 'a' above it has nodes of 8 cards for all below it");
  std::vector<QueueSpec> many;
  for (int i = 0; i < 63; ++i) many.push_back(Queue("q" + std::to_string(i), {{8, 1, ""}}));
  says(many, "63 slot quotas on 1 kinds of nodes; together at most 63");
}

TEST(NodeSlots, BindingKeepsTheSlackAndStrangersUseIt) {
  const QueueTree tree = Tree({Queue("a", {{8, 2, ""}}), Queue("b", {{8, 1, ""}}), Queue("c", {})});
  const QueueId a = *tree.Find("a"), b = *tree.Find("b"), c = *tree.Find("c");
  NodeSlots slots;
  slots.Reset(tree);
  EXPECT_EQ(slots.KindOf(8, "any"), 0);
  EXPECT_EQ(slots.KindOf(4, "any"), -1);
  const SlotMark open = slots.Open(0);
  const SlotMark of_a = slots.HeldBy(0, a), of_b = slots.HeldBy(0, b);
  EXPECT_EQ(slots.HeldBy(0, c), kOutside);
  EXPECT_EQ(slots.HeldBy(0, QueueId()), kOutside);
  EXPECT_EQ(slots.short_of(0), 3);
  for (int i = 0; i < 4; ++i) slots.Move(kOutside, open);
  EXPECT_EQ(slots.kinds()[0].slack(), 1);
  EXPECT_EQ(slots.Closed(c), 0U);
  slots.Move(open, kOutside);  // c takes the one that nobody needs
  EXPECT_TRUE(IsClosed(slots, c, open));
  EXPECT_FALSE(IsClosed(slots, a, open));
  slots.Move(open, of_a);
  slots.Move(open, of_a);  // both of a's are bound
  EXPECT_EQ(slots.kinds()[0].slack(), 0);
  EXPECT_TRUE(IsClosed(slots, a, open));
  EXPECT_TRUE(IsClosed(slots, c, of_a));
  EXPECT_TRUE(IsClosed(slots, b, of_a));
  EXPECT_FALSE(IsClosed(slots, a, of_a));
  EXPECT_FALSE(IsClosed(slots, b, open));
  EXPECT_FALSE(slots.Claims(a, open));
  EXPECT_TRUE(slots.Claims(a, of_a));
  EXPECT_TRUE(slots.Claims(b, open));
  EXPECT_FALSE(slots.Claims(b, of_a));
  EXPECT_FALSE(slots.Claims(c, open));
  EXPECT_EQ(slots.KeptFor(tree), "queues 'a' and 'b'");
  // A third node of a is nobody's promise: others may join there.
  slots.Move(kOutside, of_a);
  EXPECT_FALSE(IsClosed(slots, c, of_a));
  EXPECT_FALSE(slots.Claims(a, of_a));
  slots.Move(open, of_b);
  EXPECT_TRUE(IsClosed(slots, a, of_b));
}

TEST(NodeSlots, AnInnerQueuesSlotsAreForAllBelowIt) {
  const QueueTree tree =
      Tree({Queue("a", {{8, 1, ""}}), Queue("a/x", {}, "a"), Queue("a/y", {}, "a")});
  NodeSlots slots;
  slots.Reset(tree);
  EXPECT_NE(slots.HeldBy(0, *tree.Find("a/x")), kOutside);
  EXPECT_EQ(slots.HeldBy(0, *tree.Find("a/x")), slots.HeldBy(0, *tree.Find("a/y")));
}

// One node at a time is closed exactly when MayEnter refuses it; any number of nodes that
// ClosedToMany leaves open may be entered; and slack is what the definition says.
TEST(NodeSlots, ClosedIsMayEnter) {
  for (int seed = 0; seed < support::Scaled(300); ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(static_cast<std::uint64_t>(seed));
    std::vector<QueueSpec> specs;
    for (int q = 0; q < 4; ++q) {
      std::vector<SlotQuota> slots;
      if (rng.Below(3) != 0) slots.push_back({8, 1 + static_cast<int>(rng.Below(3)), ""});
      if (rng.Below(2) == 0) slots.push_back({4, 1 + static_cast<int>(rng.Below(2)), "T4"});
      specs.push_back(Queue(std::string(1, static_cast<char>('a' + q)), slots));
    }
    const QueueTree tree = Tree(specs);
    NodeSlots slots;
    slots.Reset(tree);
    const auto marks = slots.kinds().size() + slots.quotas().size() + 1;
    std::vector<SlotMark> nodes(8, kOutside);
    for (int step = 0; step < 60; ++step) {
      SlotMark& node = nodes[rng.Below(static_cast<std::uint32_t>(nodes.size()))];
      const auto to = static_cast<SlotMark>(rng.Below(static_cast<std::uint32_t>(marks)));
      slots.Move(node, to);
      node = to;
      for (std::size_t k = 0; k < slots.kinds().size(); ++k) {
        std::int64_t slack =
            std::count(nodes.begin(), nodes.end(), slots.Open(static_cast<int>(k)));
        for (const NodeSlots::Quota& quota : slots.quotas()) {
          if (std::cmp_not_equal(quota.kind, k)) continue;
          const std::int64_t held = std::count(nodes.begin(), nodes.end(),
                                               slots.HeldBy(static_cast<int>(k), quota.queue));
          slack -= quota.count - std::min(quota.count, held);
        }
        ASSERT_EQ(slots.kinds()[k].slack(), slack);
      }
      for (int q = 0; q < 5; ++q) {
        const QueueId leaf =
            q < 4 ? *tree.Find(specs[static_cast<std::size_t>(q)].name) : QueueId();
        for (SlotMark mark = 0; mark < marks; ++mark) {
          if (std::count(nodes.begin(), nodes.end(), mark) == 0) continue;
          const SlotMark one[] = {mark};
          ASSERT_EQ(IsClosed(slots, leaf, mark), !slots.MayEnter(leaf, one)) << int{mark};
        }
        std::vector<SlotMark> many;
        for (const SlotMark mark : nodes) {
          if (((slots.ClosedToMany(leaf) >> mark) & 1) == 0) many.push_back(mark);
        }
        ASSERT_TRUE(slots.MayEnter(leaf, many));
      }
    }
  }
}

}  // namespace
}  // namespace basalt
