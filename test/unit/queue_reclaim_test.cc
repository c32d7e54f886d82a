// Reclaim across queues: who may take what, that it ends, and that guarantees come back.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "scheduler-core/base/rng.h"
#include "scheduler-core/queueing/reclaim.h"
#include "test/support/cluster.h"

namespace basalt {
namespace {

struct Pod {
  QueueId queue;
  Amounts held;
  bool preemptible = true;
  bool runs = false;
};

// A cluster of amounts only: pods run or wait.
struct World {
  QueueTree tree;
  FairShares shares;
  std::vector<Pod> pods;

  QueueId Queue(const std::string& name, const std::string& parent = "", AmountMap guarantee = {},
                AmountMap deserved = {}, bool reclaimable = true) {
    QueueSpec spec;
    spec.name = name;
    spec.parent = parent;
    spec.guarantee = std::move(guarantee);
    spec.deserved = std::move(deserved);
    spec.reclaimable = reclaimable;
    const auto id = tree.Add(spec);
    if (!id) ADD_FAILURE() << id.error().ToString();
    return id.value_or(QueueId());
  }
  std::size_t Submit(QueueId queue, const AmountMap& held, bool preemptible = true) {
    pods.push_back({queue, tree.resources().Make(held), preemptible, false});
    tree.AddPending(queue, pods.back().held);
    return pods.size() - 1;
  }
  void Start(std::size_t i) {
    tree.RemovePending(pods[i].queue, pods[i].held);
    tree.Charge(pods[i].queue, pods[i].held, pods[i].preemptible);
    pods[i].runs = true;
  }
  void Stop(std::size_t i) {
    tree.Uncharge(pods[i].queue, pods[i].held, pods[i].preemptible);
    tree.AddPending(pods[i].queue, pods[i].held);
    pods[i].runs = false;
  }
  bool Run(std::size_t i) {
    if (pods[i].runs || tree.Refusal(pods[i].queue, pods[i].held, pods[i].preemptible)) {
      return false;
    }
    Start(i);
    return true;
  }
  void Divide() { shares.Divide(tree, {}, nullptr); }
  Amounts Lack(std::size_t i) const {
    return tree.Lack(pods[i].queue, pods[i].held, pods[i].preemptible);
  }
  ReclaimPlan Plan(std::size_t i) {
    Divide();
    return ReclaimPlan(tree, shares, {pods[i].queue, pods[i].held, Lack(i), pods[i].preemptible});
  }
  // Reclaims for a waiting pod and starts it; the victims wait again. False: not allowed, or not
  // enough; nothing has changed then. `order`: in which order victims are tried.
  bool Reclaim(std::size_t i, const std::vector<std::size_t>& order,
               std::vector<std::size_t>* victims = nullptr) {
    if (tree.FirmRefusal(pods[i].queue, pods[i].held, pods[i].preemptible)) return false;
    ReclaimPlan plan = Plan(i);
    std::vector<std::size_t> taken;
    std::vector<char> is_taken(pods.size(), 0);
    for (bool more = true; more && !plan.Settled();) {  // taking inside may allow taking outside
      more = false;
      for (const std::size_t v : order) {
        if (!pods[v].runs || !pods[v].preemptible || is_taken[v]) continue;
        if (!plan.MayTake(pods[v].queue, pods[v].held)) continue;
        EXPECT_TRUE(plan.SomebodyIsOver());
        plan.Take(pods[v].queue, pods[v].held);
        taken.push_back(v);
        is_taken[v] = 1;
        more = true;
        if (plan.Settled()) break;
      }
    }
    if (!plan.Settled()) return false;
    for (std::size_t k = taken.size(); k-- > 0;) {  // give back what is not needed
      plan.GiveBack(pods[taken[k]].queue, pods[taken[k]].held);
      if (plan.Settled()) {
        taken.erase(taken.begin() + static_cast<std::ptrdiff_t>(k));
      } else {
        plan.Take(pods[taken[k]].queue, pods[taken[k]].held);
      }
    }
    for (const std::size_t v : taken) Stop(v);
    if (victims != nullptr) *victims = taken;
    EXPECT_TRUE(Run(i));
    return pods[i].runs;
  }
  std::vector<std::size_t> All() const {
    std::vector<std::size_t> all(pods.size());
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = i;
    return all;
  }
};

AmountMap Cards(std::int64_t n) { return {{"cards", n}}; }

TEST(Reclaim, FromQueuesOverTheirShareOnly) {
  World w;
  const QueueId a = w.Queue("a");
  const QueueId b = w.Queue("b");
  const QueueId c = w.Queue("c");
  w.tree.SetTotal(w.tree.resources().Intern("cards"), 12);
  std::vector<std::size_t> of_a;
  for (int i = 0; i < 9; ++i) w.Start(of_a.emplace_back(w.Submit(a, Cards(1))));
  for (int i = 0; i < 3; ++i) w.Start(w.Submit(b, Cards(1)));
  const std::size_t first = w.Submit(c, Cards(4));
  ReclaimPlan plan = w.Plan(first);  // shares 5 (what the others leave), 3, 4
  EXPECT_EQ(plan.LevelUnder(QueueTree::kRoot), Entitlement::kFairShare);
  EXPECT_FALSE(plan.MayTake(b, w.pods[9].held));
  for (int i = 0; i < 4; ++i) {
    ASSERT_TRUE(plan.MayTake(a, w.pods[0].held));
    plan.Take(a, w.pods[0].held);
  }
  EXPECT_FALSE(plan.MayTake(a, w.pods[0].held));  // 5 left: its share
  EXPECT_FALSE(plan.SomebodyIsOver());
  EXPECT_TRUE(plan.Settled());
  // Its own queue is no victim, and beyond its share it may not reclaim.
  EXPECT_FALSE(plan.MayTake(c, w.pods[0].held));
  ASSERT_TRUE(w.Reclaim(first, w.All()));
  const std::size_t second = w.Submit(c, Cards(1));
  w.Divide();
  EXPECT_EQ(w.shares.share(c)[ResourceId(0U)], 4);  // 12 = 4.5 + 3 + 4.5; the first of equals is a
  EXPECT_EQ(w.shares.share(a)[ResourceId(0U)], 5);
  w.Submit(b, Cards(3));
  EXPECT_EQ(w.Plan(second).LevelUnder(QueueTree::kRoot), std::nullopt);
  EXPECT_EQ(w.Plan(second).WhyNot(QueueTree::kRoot),
            "queue 'c' holds 4 cards and asks for 1, beyond its fair share, 4");
}

TEST(Reclaim, KeepsGuaranteesUnlessAPodReachesAcross) {
  World w;
  const QueueId a = w.Queue("a", "", Cards(4));
  const QueueId b = w.Queue("b", "", Cards(4));
  const QueueId c = w.Queue("c");
  w.tree.SetTotal(w.tree.resources().Intern("cards"), 10);
  // a holds 8 in one pod: 4 of it borrowed, but a pod is not divided.
  w.Start(w.Submit(a, Cards(8)));
  const std::size_t of_b = w.Submit(b, Cards(4));
  const std::size_t of_c = w.Submit(c, Cards(3));
  w.Divide();  // 4 + 4 guaranteed, 1 + 1 of the rest
  EXPECT_EQ(w.Plan(of_c).LevelUnder(QueueTree::kRoot), std::nullopt);
  const Amounts one = w.tree.resources().Make(Cards(1));
  ReclaimPlan plan(w.tree, w.shares, {c, one, one, true});  // as if one were short
  EXPECT_EQ(plan.LevelUnder(QueueTree::kRoot), Entitlement::kFairShare);
  EXPECT_FALSE(plan.MayTake(a, w.pods[0].held));  // a is over its share, but would fall below 4
  // b asks for what it is guaranteed.
  std::vector<std::size_t> victims;
  ASSERT_TRUE(w.Reclaim(of_b, w.All(), &victims));
  EXPECT_EQ(victims, std::vector<std::size_t>{0});
  EXPECT_FALSE(w.Reclaim(0, w.All()));  // and a cannot take it back with that pod
  EXPECT_TRUE(w.Run(w.Submit(a, Cards(4))));
}

TEST(Reclaim, DepartmentsThenTeams) {
  World w;
  w.Queue("x");
  w.Queue("y");
  const QueueId x1 = w.Queue("x/1", "x");
  const QueueId x2 = w.Queue("x/2", "x");
  const QueueId y1 = w.Queue("y/1", "y");
  const QueueId kept = w.Queue("y/2", "y", {}, {}, false);
  w.tree.SetTotal(w.tree.resources().Intern("cards"), 8);
  for (int i = 0; i < 4; ++i) w.Start(w.Submit(x1, Cards(1)));
  for (int i = 0; i < 4; ++i) w.Start(w.Submit(y1, Cards(1)));
  // x holds its half: x/2 may take from x/1, not from y.
  const std::size_t pod = w.Submit(x2, Cards(1));
  ReclaimPlan plan = w.Plan(pod);
  EXPECT_TRUE(plan.LevelUnder(*w.tree.Find("x")).has_value());
  EXPECT_FALSE(plan.LevelUnder(QueueTree::kRoot).has_value());
  EXPECT_TRUE(plan.MayTake(x1, w.pods[0].held));
  EXPECT_FALSE(plan.MayTake(y1, w.pods[0].held));
  // Of a queue that is not reclaimable nothing is taken.
  for (std::size_t i = 4; i < 8; ++i) w.Stop(i);
  for (int i = 0; i < 4; ++i) w.Start(w.Submit(kept, Cards(1)));
  const std::size_t other = w.Submit(y1, Cards(1));
  ReclaimPlan within = w.Plan(other);
  EXPECT_TRUE(within.LevelUnder(*w.tree.Find("y")).has_value());
  EXPECT_FALSE(within.MayTake(kept, w.pods[0].held));
}

TEST(Reclaim, NonPreemptibleWorkStaysWithinDeserved) {
  World w;
  const QueueId a = w.Queue("a");
  const QueueId b = w.Queue("b", "", {}, Cards(2));
  w.tree.SetTotal(w.tree.resources().Intern("cards"), 8);
  for (int i = 0; i < 8; ++i) w.Start(w.Submit(a, Cards(1)));
  const std::size_t two = w.Submit(b, Cards(2), false);
  EXPECT_EQ(w.Plan(two).LevelUnder(QueueTree::kRoot), Entitlement::kDeserved);
  ASSERT_TRUE(w.Reclaim(two, w.All()));
  const std::size_t third = w.Submit(b, Cards(1), false);
  EXPECT_FALSE(w.Plan(third).LevelUnder(QueueTree::kRoot).has_value());
  EXPECT_EQ(w.Plan(third).WhyNot(QueueTree::kRoot),
            "queue 'b' holds 2 cards and asks for 1, beyond its deserved, 2");
  EXPECT_EQ(w.Plan(w.Submit(b, Cards(1))).LevelUnder(QueueTree::kRoot), Entitlement::kFairShare);
}

TEST(Reclaim, OnlyShortResourcesMakeVictims) {
  World w;
  const QueueId a = w.Queue("a");
  const QueueId b = w.Queue("b");
  const QueueId c = w.Queue("c");
  w.tree.SetTotal(w.tree.resources().Intern("cards"), 8);
  w.tree.SetTotal(w.tree.resources().Intern("cpu"), 100);
  w.Start(w.Submit(a, {{"cards", 2}, {"cpu", 70}}));  // over in cpu
  w.Start(w.Submit(b, {{"cards", 6}, {"cpu", 10}}));  // over in cards
  const std::size_t pod = w.Submit(c, {{"cards", 2}, {"cpu", 10}});
  ReclaimPlan plan = w.Plan(pod);
  EXPECT_FALSE(plan.MayTake(a, w.pods[0].held));
  EXPECT_TRUE(plan.MayTake(b, w.pods[1].held));
}

World RandomWorld(Rng& rng, bool unit_pods, bool firm) {
  World w;
  const int departments = 1 + static_cast<int>(rng.Below(3));
  for (const char* name : {"cards", "cpu"}) w.tree.resources().Intern(name);
  const auto amounts = [&](std::uint32_t bound) {
    AmountMap map;
    for (const char* name : {"cards", "cpu"}) {
      if (rng.Below(2)) map[name] = rng.Below(bound);
    }
    return map;
  };
  for (int d = 0; d < departments; ++d) {
    const std::string name = "d" + std::to_string(d);
    w.Queue(name, "", {}, {}, !firm || rng.Below(6) != 0);
    const int teams = 1 + static_cast<int>(rng.Below(3));
    for (int t = 0; t < teams; ++t) {
      w.Queue(name + "/" + std::to_string(t), name, amounts(7), {}, !firm || rng.Below(6) != 0);
      QueueSpec spec = w.tree.spec(*w.tree.Find(name + "/" + std::to_string(t)));
      spec.deserved = spec.guarantee;
      for (auto& [resource, amount] : spec.deserved) amount += rng.Below(6);
      spec.weight = static_cast<std::int32_t>(rng.Below(4));
      EXPECT_TRUE(w.tree.Update(*w.tree.Find(spec.name), spec).has_value());
    }
  }
  for (const char* name : {"cards", "cpu"}) {
    const ResourceId r = w.tree.resources().Intern(name);
    w.tree.SetTotal(r, w.tree.guarantee(QueueTree::kRoot)[r] + 4 + rng.Below(20));
  }
  std::vector<QueueId> leaves;
  for (const QueueId id : w.tree.order()) {
    if (w.tree.IsLeaf(id)) leaves.push_back(id);
  }
  for (int i = 0; i < 60; ++i) {
    const std::uint32_t most = unit_pods ? 2 : 5;
    AmountMap held = Cards(1 + rng.Below(most - 1));
    held["cpu"] = unit_pods ? 1 : 1 + rng.Below(5);
    w.Submit(leaves[rng.Below(static_cast<std::uint32_t>(leaves.size()))], held,
             !firm || rng.Below(4) != 0);
  }
  return w;
}

// Fills a random cluster in random order, then lets everyone reclaim until nobody can: it ends, the
// order (excess over share, over deserved, over guarantee) falls at every step, guarantees hold
// where pods have one unit, and no leaf that gained is over its share.
TEST(Reclaim, EndsAndKeepsGuarantees) {
  int reclaims = 0;
  for (int round = 0; round < support::Scaled(400); ++round) {
    SCOPED_TRACE(testing::Message() << "seed " << round);
    Rng rng(static_cast<std::uint64_t>(round), 8);
    const bool unit_pods = rng.Below(2) != 0;
    World w = RandomWorld(rng, unit_pods, rng.Below(2) != 0);
    std::vector<std::size_t> order = w.All();
    rng.Shuffle(std::span(order));
    for (const std::size_t i : order) w.Run(i);
    w.Divide();
    using Potential = std::array<std::int64_t, 3>;
    const auto potential = [&] {
      Potential sums{0, 0, 0};
      for (const QueueId id : w.tree.order()) {
        if (!w.tree.IsLeaf(id)) continue;
        for (std::size_t k = 0; k < w.tree.resources().size(); ++k) {
          const ResourceId r(k);
          const std::int64_t held = w.tree.allocated(id)[r];
          const std::int64_t share = w.shares.share(id)[r];
          const auto over = [&](std::int64_t level) {
            return std::max<std::int64_t>(0, held - std::min(share, level));
          };
          sums[0] += over(share);
          sums[1] += over(w.tree.deserved(id)[r]);
          sums[2] += over(w.tree.guarantee(id)[r]);
        }
      }
      return sums;
    };
    for (bool any = true; any;) {
      any = false;
      for (const std::size_t i : order) {
        if (w.pods[i].runs || w.Lack(i).IsZero()) continue;
        const Potential before = potential();
        std::vector<std::pair<QueueId, Amounts>> held;
        for (const QueueId id : w.tree.order()) held.emplace_back(id, w.tree.allocated(id));
        const Amounts missing = w.Lack(i);
        const auto level = w.Plan(i).LevelUnder(w.tree.parent(w.pods[i].queue));
        std::vector<std::size_t> victims;
        if (!w.Reclaim(i, order, &victims)) {
          ASSERT_EQ(potential(), before);
          continue;
        }
        any = true;
        ++reclaims;
        ASSERT_LT(potential(), before);
        for (std::size_t k = 0; k < w.tree.resources().size(); ++k) {
          const ResourceId r(k);
          ASSERT_LE(w.tree.allocated(w.pods[i].queue)[r], w.shares.share(w.pods[i].queue)[r]);
        }
        for (const auto& [id, was] : held) {
          if (w.tree.IsUnder(w.pods[i].queue, id)) continue;
          for (std::size_t k = 0; k < w.tree.resources().size(); ++k) {
            const ResourceId r(k);
            if (missing[r] == 0) continue;  // what is not short can be had again
            const std::int64_t guarantee = w.tree.guarantee(id)[r];
            // A reclaim within guarantees may take pods that reach across: not of one unit.
            if (level == Entitlement::kGuarantee && (!unit_pods || was[r] <= guarantee)) continue;
            ASSERT_GE(w.tree.allocated(id)[r], std::min(was[r], guarantee)) << w.tree.name(id);
          }
        }
      }
    }
    w.tree.Audit();
  }
  EXPECT_GT(reclaims, 500);
}

// Reclaim and borrowing in turn, for ever if it could: after each reclaim all who fit start again.
TEST(Reclaim, NoPingPongWithBorrowing) {
  for (int round = 0; round < support::Scaled(200); ++round) {
    SCOPED_TRACE(testing::Message() << "seed " << round);
    Rng rng(static_cast<std::uint64_t>(round), 9);
    World w = RandomWorld(rng, false, true);
    std::vector<std::size_t> order = w.All();
    rng.Shuffle(std::span(order));
    for (const std::size_t i : order) w.Run(i);
    int steps = 0;
    for (bool any = true; any; ++steps) {
      any = false;
      for (const std::size_t i : order) {
        if (w.pods[i].runs || w.Lack(i).IsZero()) continue;
        any |= w.Reclaim(i, order);
      }
      for (const std::size_t i : order) w.Run(i);
      ASSERT_LT(steps, 50) << "still reclaiming";
    }
  }
}

// Whatever the others hold, a queue within its guarantee gets its pod, at once or by reclaim:
// departments, work that cannot be taken back, queues that are not reclaimable, pods of any size.
TEST(Reclaim, GuaranteesAlwaysComeBack) {
  int needed = 0;
  for (int round = 0; round < support::Scaled(600); ++round) {
    SCOPED_TRACE(testing::Message() << "seed " << round);
    Rng rng(static_cast<std::uint64_t>(round), 10);
    World w = RandomWorld(rng, false, true);
    std::vector<std::size_t> order = w.All();
    rng.Shuffle(std::span(order));
    for (const std::size_t i : order) w.Run(i);
    for (const QueueId id : w.tree.order()) {
      if (!w.tree.IsLeaf(id)) continue;
      AmountMap rest;
      bool within = true;
      for (const char* name : {"cards", "cpu"}) {
        const ResourceId r = *w.tree.resources().Find(name);
        const std::int64_t unmet = w.tree.guarantee(id)[r] - w.tree.allocated(id)[r];
        within &= unmet >= 0;
        if (unmet > 0) rest[name] = unmet;
      }
      if (!within || rest.empty()) continue;
      const std::size_t pod = w.Submit(id, rest, rng.Below(2) != 0);
      if (w.Run(pod)) continue;
      ++needed;
      rng.Shuffle(std::span(order));
      ASSERT_TRUE(w.Reclaim(pod, order)) << w.tree.name(id);
    }
    w.tree.Audit();
  }
  EXPECT_GT(needed, 100);
}

}  // namespace
}  // namespace basalt
