// Shares of whole trees, decayed usage, and whose turn it is.
#include <gtest/gtest.h>

#include <cmath>

#include "scheduler-core/base/rng.h"
#include "scheduler-core/queueing/fair_share.h"
#include "test/support/cluster.h"

namespace basalt {
namespace {

QueueId Add(QueueTree& tree, const std::string& name, const std::string& parent = "",
            std::int32_t weight = 1, AmountMap guarantee = {}, AmountMap deserved = {},
            AmountMap capacity = {}, std::int32_t priority = 0) {
  QueueSpec spec;
  spec.name = name;
  spec.parent = parent;
  spec.weight = weight;
  spec.guarantee = std::move(guarantee);
  spec.deserved = std::move(deserved);
  spec.capacity = std::move(capacity);
  spec.priority = priority;
  const auto id = tree.Add(spec);
  if (!id) ADD_FAILURE() << id.error().ToString();
  return id.value_or(QueueId());
}

TEST(FairShares, DividesDownTheTree) {
  QueueTree tree;
  const QueueId a = Add(tree, "a", "", 1, {}, {{"cards", 20}});
  const QueueId b = Add(tree, "b", "", 3);
  const QueueId a1 = Add(tree, "a/1", "a", 1, {{"cards", 6}});
  const QueueId a2 = Add(tree, "a/2", "a", 1, {}, {}, {{"cards", 10}});
  const ResourceId cards = *tree.resources().Find("cards");
  tree.SetTotal(cards, 60);
  const Amounts hundred = tree.resources().Make({{"cards", 100}});
  for (const QueueId leaf : {a1, a2, b}) tree.AddPending(leaf, hundred);
  FairShares shares;
  shares.Divide(tree, {}, nullptr);
  // 20 deserved by a, the other 40 go 1 : 3. In a: 6 guaranteed, then 12 + 12, a/2 stops at 10.
  EXPECT_EQ(shares.share(a)[cards], 30);
  EXPECT_EQ(shares.share(b)[cards], 30);
  EXPECT_EQ(shares.share(a1)[cards], 20);
  EXPECT_EQ(shares.share(a2)[cards], 10);
  // What b does not ask for, a may have; a can use 10 + 3 only.
  tree.RemovePending(a1, hundred);
  tree.AddPending(a1, tree.resources().Make({{"cards", 3}}));
  shares.Divide(tree, {}, nullptr);
  EXPECT_EQ(shares.share(a)[cards], 13);
  EXPECT_EQ(shares.share(b)[cards], 47);
}

// Random trees: all that can be used is given, limits and guarantees hold on every level.
TEST(FairShares, PropertiesOnRandomTrees) {
  const char* kNames[] = {"gpu", "cpu", "memory", "sku/x"};
  for (const ShareRule rule : {ShareRule::kPerResource, ShareRule::kDominant}) {
    for (int round = 0; round < support::Scaled(300); ++round) {
      SCOPED_TRACE(testing::Message() << "seed " << round);
      Rng rng(static_cast<std::uint64_t>(round), 4);
      QueueTree tree;
      const auto amounts = [&](std::uint32_t bound) {
        AmountMap map;
        for (const char* name : kNames) {
          if (rng.Below(3) == 0) map[name] = rng.Below(bound);
        }
        return map;
      };
      for (int q = 0; q < 15; ++q) {
        const auto& order = tree.order();
        QueueSpec spec;
        spec.name = "q" + std::to_string(q);
        spec.parent = tree.name(order[rng.Below(static_cast<std::uint32_t>(order.size()))]);
        spec.weight = static_cast<std::int32_t>(rng.Below(5));
        spec.priority = static_cast<std::int32_t>(rng.Below(2));
        spec.guarantee = amounts(200);
        spec.capacity = amounts(3000);
        (void)tree.Add(spec);
      }
      for (const char* name : kNames) {
        const ResourceId r = tree.resources().Intern(name);
        if (rng.Below(5) != 0) {
          tree.SetTotal(r, tree.guarantee(QueueTree::kRoot)[r] + rng.Below(2000));
        }
      }
      for (const QueueId id : tree.order()) {
        if (!tree.IsLeaf(id)) continue;
        for (int pods = 0; pods < 2; ++pods) {
          Amounts ask;
          for (const char* name : kNames) ask.Set(tree.resources().Intern(name), rng.Below(900));
          if (pods == 0) tree.AddPending(id, ask);
          if (pods == 1 && rng.Below(2)) tree.Charge(id, ask, true);
        }
      }
      FairShares shares;
      DivisionOptions options;
      options.rule = rule;
      shares.Divide(tree, options, nullptr);
      for (const QueueId id : tree.order()) {
        for (std::size_t i = 0; i < tree.resources().size(); ++i) {
          const ResourceId r(i);
          const std::int64_t share = shares.share(id)[r];
          ASSERT_GE(share, 0);
          ASSERT_LE(share, tree.capacity(id)[r]);
          ASSERT_LE(share, tree.allocated(id)[r] + tree.pending(id)[r]);
          if (tree.IsLeaf(id)) continue;
          std::int64_t sum = 0;
          for (const QueueId child : tree.children(id)) sum += shares.share(child)[r];
          ASSERT_LE(sum, share) << tree.name(id);
          if (rule == ShareRule::kDominant) continue;
          bool hungry = false;
          for (const QueueId child : tree.children(id)) {
            const std::int64_t request = std::min(
                tree.capacity(child)[r], tree.allocated(child)[r] + tree.pending(child)[r]);
            const std::int64_t guarantee = std::min(tree.guarantee(child)[r], request);
            if (tree.IsLeaf(child)) {
              ASSERT_GE(shares.share(child)[r], guarantee) << tree.name(child);
              hungry |= tree.spec(child).weight > 0 && shares.share(child)[r] < request;
            }
          }
          if (hungry) {
            ASSERT_EQ(sum, share) << tree.name(id);
          }
        }
      }
    }
  }
}

TEST(FairShares, DominantRuleWithGuaranteeAndCapacity) {
  QueueTree tree;
  const QueueId a = Add(tree, "a", "", 1, {{"gpu", 60}, {"cpu", 100}});
  const QueueId b = Add(tree, "b");
  const QueueId c = Add(tree, "c", "", 1, {}, {}, {{"gpu", 5}});
  const ResourceId gpu = *tree.resources().Find("gpu");
  const ResourceId cpu = *tree.resources().Find("cpu");
  tree.SetTotal(gpu, 100);
  tree.SetTotal(cpu, 1000);
  for (const QueueId queue : {a, b, c}) {
    tree.AddPending(queue, tree.resources().Make({{"gpu", 100}, {"cpu", 100}}));
  }
  FairShares shares;
  DivisionOptions options;
  options.rule = ShareRule::kDominant;
  shares.Divide(tree, options, nullptr);
  EXPECT_NEAR(static_cast<double>(shares.share(a)[gpu]), 60, 1);
  EXPECT_NEAR(static_cast<double>(shares.share(b)[gpu]), 35, 1);
  EXPECT_NEAR(static_cast<double>(shares.share(c)[gpu]), 5, 1);
  EXPECT_NEAR(static_cast<double>(shares.share(b)[cpu]), 35, 1);
}

TEST(DecayFactor, IsAPowerOfTwo) {
  const double one = std::ldexp(1, 62);
  EXPECT_EQ(DecayFactor(0, 7), std::int64_t{1} << 62);
  EXPECT_EQ(DecayFactor(7, 7), std::int64_t{1} << 61);
  EXPECT_EQ(DecayFactor(70, 7), std::int64_t{1} << 52);
  EXPECT_EQ(DecayFactor(7 * 62, 7), 0);
  Rng rng(1, 5);
  for (int i = 0; i < 2000; ++i) {
    const std::int64_t half_life = 1 + rng.Below(4'000'000'000U) * std::int64_t{1000};
    const std::int64_t elapsed = rng.Below(4'000'000'000U) * std::int64_t{2000};
    const double exact = std::exp2(-static_cast<double>(elapsed) / static_cast<double>(half_life));
    EXPECT_NEAR(static_cast<double>(DecayFactor(elapsed, half_life)) / one, exact,
                exact * 1e-11 + 1e-17);
  }
}

TEST(DecayedUsage, AveragesWithAHalfLife) {
  QueueTree tree;
  Add(tree, "a");
  const QueueId leaf = Add(tree, "a/1", "a");
  const ResourceId gpu = tree.resources().Intern("gpu");
  const Amounts held = tree.resources().Make({{"gpu", 8000}});
  constexpr std::int64_t kHour = 3'600'000'000;
  DecayedUsage usage(kHour, SimTime{0});
  tree.Charge(leaf, held, true);
  usage.Advance(tree, leaf, SimTime{kHour});
  EXPECT_EQ(usage.usage(leaf, gpu), 4000);
  EXPECT_EQ(usage.usage(*tree.Find("a"), gpu), 4000);
  usage.Advance(tree, leaf, SimTime{2 * kHour});
  EXPECT_EQ(usage.usage(leaf, gpu), 6000);
  tree.Uncharge(leaf, held, true);
  usage.AdvanceAll(tree, SimTime{4 * kHour});
  EXPECT_EQ(usage.usage(leaf, gpu), 1500);
  EXPECT_EQ(usage.usage(QueueTree::kRoot, gpu), 1500);
  // In many small steps the same, up to what rounding leaves.
  DecayedUsage fine(kHour, SimTime{0});
  tree.Charge(leaf, held, true);
  for (int i = 1; i <= 20'000; ++i) fine.Advance(tree, leaf, SimTime{kHour / 20'000 * i});
  EXPECT_NEAR(static_cast<double>(fine.usage(leaf, gpu)), 4000, 1);
  usage.Forget(leaf, SimTime{4 * kHour});
  EXPECT_EQ(usage.usage(leaf, gpu), 0);
}

TEST(FairShares, PastUsageLowersTheWeight) {
  QueueTree tree;
  const QueueId a = Add(tree, "a");
  const QueueId b = Add(tree, "b");
  const ResourceId cards = tree.resources().Intern("cards");
  tree.SetTotal(cards, 100);
  const Amounts all = tree.resources().Make({{"cards", 100}});
  tree.AddPending(a, all);
  tree.AddPending(b, all);
  DecayedUsage usage(1000, SimTime{0});
  tree.Charge(a, tree.resources().Make({{"cards", 60}}), true);
  usage.AdvanceAll(tree, SimTime{1000});  // a used 30 of 100 on average
  FairShares shares;
  DivisionOptions options;
  options.usage_factor_milli = 1000;
  shares.Divide(tree, options, &usage);
  // w' = 0.5 + (0.5 - 0.3) = 0.7 against 0.5 + 0.5 = 1.
  EXPECT_EQ(shares.share(a)[cards], 41);
  EXPECT_EQ(shares.share(b)[cards], 59);
  options.usage_factor_milli = 100'000;
  usage.AdvanceAll(tree, SimTime{20'000});  // 60: beyond its half, by factor 100
  shares.Divide(tree, options, &usage);
  EXPECT_EQ(shares.share(a)[cards], 0);
  EXPECT_EQ(shares.share(b)[cards], 100);
  // It still has what b leaves.
  tree.RemovePending(b, all);
  tree.AddPending(b, tree.resources().Make({{"cards", 10}}));
  shares.Divide(tree, options, &usage);
  EXPECT_EQ(shares.share(a)[cards], 90);
}

// Ghodsi et al., NSDI'11, figure 3: 9 CPUs, 18 GB, tasks <1, 4> and <3, 1>: 3 and 2 of them.
TEST(QueueOrder, IsDrfsAlgorithm) {
  QueueTree tree;
  const QueueId a = Add(tree, "a");
  const QueueId b = Add(tree, "b");
  const Amounts task[] = {tree.resources().Make({{"cpu", 1000}, {"memory", 4}}),
                          tree.resources().Make({{"cpu", 3000}, {"memory", 1}})};
  tree.SetTotal(*tree.resources().Find("cpu"), 9000);
  tree.SetTotal(*tree.resources().Find("memory"), 18);
  for (int i = 0; i < 9; ++i) tree.AddPending(a, task[0]), tree.AddPending(b, task[1]);
  QueueOrder order{OrderOptions{}};
  IdVector<QueueId, char> blocked(tree.slots(), 0);
  int tasks[2] = {0, 0};
  while (const auto next = order.Next(tree, blocked)) {
    const int which = *next == a ? 0 : 1;
    if (tree.Refusal(*next, task[which], true)) {
      blocked[*next] = 1;
      continue;
    }
    tree.RemovePending(*next, task[which]);
    tree.Charge(*next, task[which], true);
    ++tasks[which];
  }
  EXPECT_EQ(tasks[0], 3);
  EXPECT_EQ(tasks[1], 2);
  EXPECT_EQ(order.Next(tree, blocked), std::nullopt);
}

TEST(QueueOrder, DeservedThenPriorityThenWeightedShareThenStoredOrder) {
  QueueTree tree;
  const QueueId rich = Add(tree, "rich", "", 4);
  const QueueId poor = Add(tree, "poor", "", 1);
  const QueueId dept = Add(tree, "dept", "", 1, {}, {{"cards", 4}});
  const QueueId one = Add(tree, "dept/1", "dept");
  const QueueId two = Add(tree, "dept/2", "dept", 1, {}, {}, {}, 5);
  const QueueId idle = Add(tree, "idle", "", 0);
  const ResourceId cards = *tree.resources().Find("cards");
  tree.SetTotal(cards, 40);
  const auto some = [&](std::int64_t n) { return tree.resources().Make({{"cards", n}}); };
  for (const QueueId leaf : {rich, poor, one, two}) tree.AddPending(leaf, some(1));
  QueueOrder order{OrderOptions{}};
  IdVector<QueueId, char> blocked(tree.slots(), 0);
  EXPECT_EQ(order.Next(tree, blocked), two);  // dept is below what it deserves; two has priority
  blocked[two] = 1;
  EXPECT_EQ(order.Next(tree, blocked), one);
  tree.Charge(two, some(4), true);
  EXPECT_EQ(order.Next(tree, blocked), rich);  // nothing held: the first stored
  tree.Charge(rich, some(8), true);
  EXPECT_EQ(order.Next(tree, blocked), poor);  // 0
  tree.Charge(poor, some(3), true);
  EXPECT_EQ(order.Next(tree, blocked), rich);  // 8 / 4 < 3 / 1 < 4 / 1
  tree.Charge(rich, some(5), true);
  EXPECT_EQ(order.Next(tree, blocked), poor);  // 13 / 4 > 3
  tree.AddPending(idle, some(1));
  blocked[rich] = blocked[poor] = 1;
  EXPECT_EQ(order.Next(tree, blocked), one);
  blocked[dept] = 1;
  EXPECT_EQ(order.Next(tree, blocked), idle);
  EXPECT_FALSE(DominantShareOf(tree, idle) < DominantShareOf(tree, poor));
}

TEST(QueueOrder, PastUsageCountsBesideWhatIsHeld) {
  QueueTree tree;
  const QueueId before = Add(tree, "before");
  const QueueId now = Add(tree, "now");
  const QueueId never = Add(tree, "never");
  tree.SetTotal(tree.resources().Intern("cards"), 40);
  const auto some = [&](std::int64_t n) { return tree.resources().Make({{"cards", n}}); };
  constexpr std::int64_t kHour = 3'600'000'000;
  DecayedUsage past(kHour, SimTime{0});
  tree.Charge(before, some(40), true);
  past.AdvanceAll(tree, SimTime{kHour});  // used 20
  tree.Uncharge(before, some(40), true);
  tree.Charge(now, some(12), true);
  for (const QueueId leaf : {before, now, never}) tree.AddPending(leaf, some(1));
  IdVector<QueueId, char> blocked(tree.slots(), 0);
  blocked[never] = 1;
  QueueOrder held_only{OrderOptions{}};
  EXPECT_EQ(held_only.Next(tree, blocked, &past), before);
  QueueOrder order{OrderOptions{.usage_factor_milli = 1000}};
  EXPECT_EQ(order.Next(tree, blocked), before);
  EXPECT_EQ(order.Next(tree, blocked, &past), now);  // 12 against 20
  past.AdvanceAll(tree, SimTime{2 * kHour});         // 12 + 6 against 10: no version has changed
  EXPECT_EQ(order.Next(tree, blocked, &past), before);
  blocked[never] = 0;
  EXPECT_EQ(order.Next(tree, blocked, &past), never);
  QueueOrder half{OrderOptions{.usage_factor_milli = 500}};
  blocked[never] = 1;
  EXPECT_EQ(half.Next(tree, blocked, &past), before);  // 12 + 3 against 5
}

}  // namespace
}  // namespace basalt
