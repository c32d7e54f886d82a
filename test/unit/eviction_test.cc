// Evictions in words: who is no victim, what goes together, and what becomes of a nomination.
#include <gtest/gtest.h>

#include <algorithm>

#include "test/support/cluster.h"
#include "test/support/gangs.h"

namespace basalt {
namespace {

using support::Ask;
using support::For;
using support::MakeEngine;
using support::Node;
using support::Uid;

constexpr SimTime kNow = SimTime::Seconds(1000);

Request Of(Engine& engine, std::uint64_t uid, const RequestSpec& spec, const Standing& standing) {
  Request request = For(engine, spec, uid);
  request.standing = standing;
  return request;
}

Standing Priority(std::int32_t priority) {
  Standing standing;
  standing.priority = priority;
  return standing;
}

Standing InQueue(const std::string& queue, std::int32_t priority = 0) {
  Standing standing = Priority(priority);
  standing.queue = queue;
  return standing;
}

void Start(Engine& engine, std::uint64_t uid, const RequestSpec& spec, const Standing& standing,
           SimTime at = SimTime{}) {
  ASSERT_TRUE(engine.Place(Of(engine, uid, spec, standing), at).placed()) << uid;
}

std::vector<std::uint64_t> Victims(const EvictionPlan& plan) {
  std::vector<std::uint64_t> uids;
  for (const Victim& v : plan.victims) uids.push_back(v.uid.lo);
  std::sort(uids.begin(), uids.end());
  return uids;
}

using Uids = std::vector<std::uint64_t>;

GangRequest GangOf(Engine& engine, std::uint64_t uid, std::int32_t members, int cards,
                   const Standing& standing) {
  GangRequest gang;
  gang.uid = Uid(uid);
  gang.spec.tasks.push_back(
      {"t", *engine.InternShape(Ask(100, cards, 1000)), members, members, -1});
  gang.standing = standing;
  return gang;
}

void SetQueue(Engine& engine, const std::string& name, std::int64_t guarantee,
              std::int64_t capacity = -1) {
  QueueSpec spec;
  spec.name = name;
  if (guarantee > 0) spec.guarantee = {{"gpu", guarantee}};
  if (capacity >= 0) spec.capacity = {{"gpu", capacity}};
  ASSERT_TRUE(engine.Apply(QueueSet{spec}, SimTime{}).has_value());
}

// A member that was made to leave has not finished: what is left is the gang's min, and stays.
TEST(Eviction, NobodyLeavesWhereFirmWorkFillsTheQueue) {
  auto engine = MakeEngine("best-fit", {Node("n", 64'000, 8)});
  QueueSpec queue;
  queue.name = "q";
  queue.capacity = {{"gpu", 4000}};
  ASSERT_TRUE(engine->Apply(QueueSet{queue}, SimTime{}).has_value());
  Standing firm = InQueue("q");
  firm.preemptible = false;
  Start(*engine, 1, Ask(100, 3, 1000), firm);
  Start(*engine, 2, Ask(100, 1, 1000), InQueue("q"));
  const Request two = Of(*engine, 3, Ask(100, 2, 1000), InQueue("q", 5));
  EXPECT_EQ(engine->ProposeEviction(two, {}, kNow).reason,
            "no eviction helps, counting only what is not preemptible: queue 'q' has 3 of 4 gpu, 2 "
            "more asked");
  const Request one = Of(*engine, 4, Ask(100, 1, 1000), InQueue("q", 5));
  EXPECT_EQ(Victims(engine->ProposeEviction(one, {}, kNow)), Uids{2});
}

TEST(Eviction, AGangIsNotEvictedMemberByMemberBelowItsMin) {
  auto engine = MakeEngine("binpack", {Node("n", 8000, 3)});
  GangRequest gang = GangOf(*engine, 50, 3, 1, Priority(0));
  gang.spec.tasks[0].min = 2;
  ASSERT_TRUE(engine->PlaceGang(gang, SimTime{})->placed());
  for (std::uint64_t uid = 1; uid <= 2; ++uid) {
    const Request high = Of(*engine, uid, Ask(100, 1, 1000), Priority(10));
    const EvictionPlan plan = engine->ProposeEviction(high, EvictionRules{}, kNow);
    ASSERT_TRUE(plan.found) << plan.reason;
    // The first takes the one that may go, the second must take the whole gang.
    ASSERT_EQ(plan.victims.size(), uid);
    const auto lease = engine->Nominate(high, plan, kNow);
    ASSERT_TRUE(lease.has_value()) << lease.error().ToString();
    for (const Victim& victim : plan.victims) {
      ASSERT_TRUE(engine->Release(victim.uid, kNow).has_value());
    }
    ASSERT_TRUE(engine->Confirm(*lease, kNow).has_value());
    const Gang* left = engine->FindGang(gang.uid);
    ASSERT_TRUE(left == nullptr || left->held >= 2);
  }
  EXPECT_TRUE(engine->Audit().has_value());
}

// A plan is a value and may be old: what it rested on is looked at again.
TEST(Eviction, AnOldPlanBreaksNoBudget) {
  for (const bool may_break : {false, true}) {
    auto engine = MakeEngine("binpack", {Node("n", 8000, 3)});
    ASSERT_TRUE(engine->Apply(DisruptionBudgetSet{"web", 2, -1, -1}, SimTime{}).has_value());
    Standing web = Priority(0);
    web.budget = "web";
    for (std::uint64_t uid = 1; uid <= 3; ++uid) Start(*engine, uid, Ask(100, 1, 1000), web);
    EvictionRules rules;
    rules.break_budgets = may_break;
    const Request high = Of(*engine, 9, Ask(100, 1, 1000), Priority(10));
    const EvictionPlan old = engine->ProposeEviction(high, rules, kNow);
    ASSERT_TRUE(old.found && old.victims.size() == 1);
    // Another of them ends and somebody takes its place: the budget has none to spare any more.
    const std::uint64_t ends = old.victims[0].uid == Uid(1) ? 2 : 1;
    ASSERT_TRUE(engine->Release(Uid(ends), kNow).has_value());
    Start(*engine, 8, Ask(100, 1, 1000), Priority(20), kNow);
    EXPECT_FALSE(engine->Nominate(high, old, kNow).has_value());
    EXPECT_FALSE(engine->Find(old.victims[0].uid)->is_leaving());
    // Planned afresh it may, where the rules say so.
    const EvictionPlan fresh = engine->ProposeEviction(high, rules, kNow);
    ASSERT_EQ(fresh.found, may_break);
    if (may_break) {
      const auto lease = engine->Nominate(high, fresh, kNow);
      EXPECT_TRUE(lease.has_value()) << lease.error().ToString();
    }
    EXPECT_TRUE(engine->Audit().has_value());
  }
}

TEST(Eviction, AnOldPlanLeavesNoPartOfAGang) {
  auto engine = MakeEngine("binpack", {Node("n", 8000, 3)});
  GangRequest gang = GangOf(*engine, 50, 3, 1, Priority(0));
  gang.spec.tasks[0].min = 2;
  ASSERT_TRUE(engine->PlaceGang(gang, SimTime{})->placed());
  const Request high = Of(*engine, 1, Ask(100, 1, 1000), Priority(10));
  const EvictionPlan old = engine->ProposeEviction(high, EvictionRules{}, kNow);
  ASSERT_TRUE(old.found && old.victims.size() == 1);
  const Gang* held = engine->FindGang(gang.uid);
  const PodUid lost = held->pods[0] == old.victims[0].uid ? held->pods[1] : held->pods[0];
  ASSERT_TRUE(engine->Apply(PodGone{lost, true}, kNow).has_value());
  Start(*engine, 8, Ask(100, 1, 1000), Priority(20), kNow);
  EXPECT_FALSE(engine->Nominate(high, old, kNow).has_value());
  const EvictionPlan fresh = engine->ProposeEviction(high, EvictionRules{}, kNow);
  ASSERT_EQ(fresh.victims.size(), 2U);
  EXPECT_TRUE(engine->Nominate(high, fresh, kNow).has_value());
}

TEST(Eviction, AnOldPlanTakesNobodyElse) {
  auto engine = MakeEngine("binpack", {Node("n", 8000, 1)});
  Start(*engine, 1, Ask(100, 1, 1000), Priority(0));
  const Request high = Of(*engine, 9, Ask(100, 1, 1000), Priority(10));
  const EvictionPlan old = engine->ProposeEviction(high, EvictionRules{}, kNow);
  ASSERT_TRUE(old.found);
  // The pod of that name is another one by now.
  const auto again = [&](const Standing& standing, SimTime now) {
    ASSERT_TRUE(engine->Release(Uid(1), now).has_value());
    Start(*engine, 1, Ask(100, 1, 1000), standing, now);
    EXPECT_FALSE(engine->Nominate(high, old, now).has_value());
  };
  again(Priority(30), kNow);
  Standing firm = Priority(0);
  firm.preemptible = false;
  again(firm, kNow.Plus(1));
  Standing young = Priority(0);
  young.min_runtime_us = 1000;
  again(young, kNow.Plus(2));
  EXPECT_TRUE(engine->Nominate(high, old, kNow.Plus(1002)).has_value());
}

TEST(Eviction, EqualPriorityAndWhoIsProtectedStay) {
  auto engine = MakeEngine("binpack", {Node("n", 8000, 4)});
  Standing firm = Priority(0);
  firm.preemptible = false;
  Standing young = Priority(0);
  young.min_runtime_us = SimTime::Seconds(2000).us;
  Start(*engine, 1, Ask(100, 1, 1000), Priority(5));
  Start(*engine, 2, Ask(100, 1, 1000), firm);
  Start(*engine, 3, Ask(100, 1, 1000), young);
  Start(*engine, 4, Ask(100, 1, 1000), Priority(4));
  const EvictionRules rules;
  const auto plan = [&](int cards, SimTime now) {
    return engine->ProposeEviction(Of(*engine, 9, Ask(100, cards, 1000), Priority(5)), rules, now);
  };
  EXPECT_EQ(Victims(plan(1, kNow)), Uids{4});
  EXPECT_FALSE(plan(2, kNow).found);
  EXPECT_EQ(Victims(plan(2, SimTime::Seconds(2000))), (Uids{3, 4}));
  EXPECT_FALSE(plan(3, SimTime::Seconds(2000)).found);
}

TEST(Eviction, TheLowestPriorityThenTheLeastLostWork) {
  auto engine = MakeEngine("binpack", {Node("n", 8000, 4)});
  Start(*engine, 1, Ask(100, 1, 1000), Priority(2));
  Start(*engine, 2, Ask(100, 1, 1000), Priority(1));
  Start(*engine, 3, Ask(100, 1, 1000), Priority(1), SimTime::Seconds(500));
  Start(*engine, 4, Ask(100, 1, 1000), Priority(1), SimTime::Seconds(100));
  const Request request = Of(*engine, 9, Ask(100, 1, 1000), Priority(5));
  EXPECT_EQ(Victims(engine->ProposeEviction(request, {}, kNow)), Uids{3});
  // A checkpoint makes it cheap to leave.
  ASSERT_TRUE(engine->Apply(PodCheckpointed{Uid(4)}, SimTime::Seconds(900)).has_value());
  EXPECT_EQ(Victims(engine->ProposeEviction(request, {}, kNow)), Uids{4});
}

TEST(Eviction, BudgetsHoldUnlessTheyMayBeBroken) {
  auto engine = MakeEngine("binpack", {Node("n", 8000, 2)});
  ASSERT_TRUE(engine->Apply(DisruptionBudgetSet{"web", 1, -1, -1}, SimTime{}).has_value());
  Standing web = Priority(0);
  web.budget = "web";
  Start(*engine, 1, Ask(100, 1, 1000), web);
  Start(*engine, 2, Ask(100, 1, 1000), web);
  const auto plan = [&](int cards, bool may_break) {
    EvictionRules rules;
    rules.break_budgets = may_break;
    return engine->ProposeEviction(Of(*engine, 9, Ask(100, cards, 1000), Priority(5)), rules, kNow);
  };
  EXPECT_EQ(plan(1, false).victims.size(), 1U);
  EXPECT_FALSE(plan(2, false).found);
  EXPECT_EQ(plan(2, true).victims.size(), 2U);
  // Who is on the way out is unavailable already.
  const Request one = Of(*engine, 9, Ask(100, 1, 1000), Priority(5));
  ASSERT_TRUE(engine->Nominate(one, plan(1, false), kNow).has_value());
  EXPECT_FALSE(
      engine->ProposeEviction(Of(*engine, 10, Ask(100, 1, 1000), Priority(5)), {}, kNow).found);
}

TEST(Eviction, AGangBelowItsMinGoesAsAWhole) {
  auto engine = MakeEngine("binpack", {Node("a", 8000, 2), Node("b", 8000, 2)});
  ASSERT_TRUE(engine->PlaceGang(GangOf(*engine, 100, 2, 2, Priority(0)), SimTime{})->placed());
  const EvictionPlan plan =
      engine->ProposeEviction(Of(*engine, 9, Ask(100, 2, 1000), Priority(1)), {}, kNow);
  ASSERT_TRUE(plan.found);
  EXPECT_EQ(plan.victims.size(), 2U);
  EXPECT_EQ(plan.victims[0].gang, Uid(100));
  EXPECT_NE(plan.victims[0].node, plan.victims[1].node);
}

TEST(Eviction, AMemberThatAGangCanSpareGoesAlone) {
  auto engine = MakeEngine("binpack", {Node("a", 8000, 3)});
  GangRequest gang = GangOf(*engine, 100, 3, 1, Priority(0));
  gang.spec.tasks[0].min = 2;
  ASSERT_TRUE(engine->PlaceGang(gang, SimTime{})->placed());
  const auto ask = [&](int cards) {
    return engine->ProposeEviction(Of(*engine, 9, Ask(100, cards, 1000), Priority(1)), {}, kNow);
  };
  EXPECT_EQ(ask(1).victims.size(), 1U);
  EXPECT_EQ(ask(2).victims.size(), 3U);
}

TEST(Eviction, AGangTakesTheRackThatCostsLeast) {
  auto engine = support::GangEngine(support::Racks(3, 2, 2));
  // Rack 1 is the cheapest as a whole; rack 0 and 2 have the cheapest single pods.
  std::uint64_t uid = 0;
  for (const char* node : {"r0n0", "r0n1", "r1n0", "r1n1", "r2n0", "r2n1"}) {
    ASSERT_TRUE(
        engine->Apply(PodObserved{Uid(++uid), 0, Ask(100, 2, 1000), 0, node, CardSet(3)}, SimTime{})
            .has_value());
  }
  for (const auto& [pod, at] : std::vector<std::pair<int, int>>{
           {2, 100}, {6, 200}, {3, 900}, {4, 900}, {5, 998}, {1, 999}}) {
    ASSERT_TRUE(
        engine->Apply(PodCheckpointed{Uid(static_cast<std::uint64_t>(pod))}, SimTime::Seconds(at))
            .has_value());
  }
  GangRequest gang = GangOf(*engine, 50, 2, 2, Priority(1));
  gang.spec.level.required = gang.spec.level.preferred = support::kRack;
  const auto plan = engine->ProposeEviction(gang, {}, kNow);
  ASSERT_TRUE(plan.has_value() && plan->found);
  EXPECT_EQ(Victims(*plan), (Uids{3, 4}));
  EXPECT_EQ(plan->gang.tier, support::kRack);
  gang.spec.level = {};
  EXPECT_EQ(Victims(*engine->ProposeEviction(gang, {}, kNow)), (Uids{1, 5}));
}

TEST(Eviction, QueuesOverTheirShareGiveBackAndNobodyTakesTurns) {
  auto engine = MakeEngine("binpack", {Node("n", 80'000, 8)});
  SetQueue(*engine, "a", 4000);
  SetQueue(*engine, "b", 4000);
  for (std::uint64_t p = 1; p <= 8; ++p) Start(*engine, p, Ask(100, 1, 1000), InQueue("b"));
  const Request back = Of(*engine, 20, Ask(100, 3, 1000), InQueue("a"));
  const EvictionPlan plan = engine->ProposeEviction(back, {}, kNow);
  ASSERT_TRUE(plan.found) << plan.reason;
  EXPECT_EQ(plan.victims.size(), 3U);
  EXPECT_EQ(plan.victims[0].why, EvictionReason::kReclaim);
  ASSERT_TRUE(engine->Nominate(back, plan, kNow).has_value());
  for (const Victim& v : plan.victims) ASSERT_TRUE(engine->Release(v.uid, kNow).has_value());
  ASSERT_TRUE(engine->RoomIsFree(Uid(20)));
  ASSERT_TRUE(engine->Confirm({Uid(20), engine->Find(Uid(20))->epoch, kNow}, kNow).has_value());
  // Those that lost their places ask again: their queue is over its share.
  for (const Victim& v : plan.victims) {
    const EvictionPlan again =
        engine->ProposeEviction(Of(*engine, v.uid.lo, Ask(100, 1, 1000), InQueue("b")), {}, kNow);
    EXPECT_FALSE(again.found);
    EXPECT_NE(again.reason.find("fair share"), std::string::npos) << again.reason;
  }
  // One more and `a` is beyond its half.
  EXPECT_FALSE(
      engine->ProposeEviction(Of(*engine, 21, Ask(100, 2, 1000), InQueue("a")), {}, kNow).found);
  EXPECT_TRUE(
      engine->ProposeEviction(Of(*engine, 21, Ask(100, 1, 1000), InQueue("a")), {}, kNow).found);
}

TEST(Eviction, PriorityLeavesOtherQueuesTheirGuarantees) {
  auto engine = MakeEngine("binpack", {Node("n", 80'000, 8)});
  SetQueue(*engine, "a", 0);
  SetQueue(*engine, "b", 6000);
  for (std::uint64_t p = 1; p <= 8; ++p) Start(*engine, p, Ask(100, 1, 1000), InQueue("b"));
  const auto ask = [&](int cards) {
    return engine->ProposeEviction(Of(*engine, 20, Ask(100, cards, 1000), InQueue("a", 9)), {},
                                   kNow);
  };
  EXPECT_EQ(ask(2).victims.size(), 2U);
  EXPECT_FALSE(ask(3).found);
  EvictionRules own;
  own.preempt_across_queues = false;
  own.reclaim = false;
  EXPECT_FALSE(
      engine->ProposeEviction(Of(*engine, 20, Ask(100, 1, 1000), InQueue("a", 9)), own, kNow)
          .found);
}

TEST(Eviction, AFullQueueMakesRoomInsideOfIt) {
  auto engine = MakeEngine("binpack", {Node("n", 80'000, 8), Node("m", 80'000, 8)});
  SetQueue(*engine, "a", 0, 4000);
  for (std::uint64_t p = 1; p <= 4; ++p) {
    Start(*engine, p, Ask(100, 1, 1000), InQueue("a"),
          SimTime::Seconds(static_cast<std::int64_t>(p)));
  }
  for (std::uint64_t p = 5; p <= 8; ++p) Start(*engine, p, Ask(100, 1, 1000), Priority(0), kNow);
  const Request request = Of(*engine, 20, Ask(100, 2, 1000), InQueue("a", 1));
  const EvictionPlan plan = engine->ProposeEviction(request, {}, kNow);
  ASSERT_TRUE(plan.found) << plan.reason;
  EXPECT_EQ(Victims(plan), (Uids{3, 4}));  // the youngest of the queue; there is room on node m
  ASSERT_TRUE(engine->Nominate(request, plan, kNow).has_value());
  EXPECT_TRUE(engine->Audit().has_value());
  EXPECT_EQ(engine->queues().allocated(
                *engine->queues().Find("a"))[*engine->queues().resources().Find("gpu")],
            4000);
}

struct Nominee {
  std::unique_ptr<Engine> engine;
  Request request;
  EvictionPlan plan;
  Lease lease;
};
Nominee NominateOn(std::vector<NodeSpec> nodes, int cards) {
  Nominee n{MakeEngine("binpack", nodes), {}, {}, {}};
  SetQueue(*n.engine, "q", 0);
  for (std::uint64_t p = 1; p <= 4; ++p) Start(*n.engine, p, Ask(100, 1, 1000), InQueue("q"));
  n.request = Of(*n.engine, 9, Ask(100, cards, 1000), Priority(1));
  n.plan = n.engine->ProposeEviction(n.request, {}, kNow);
  EXPECT_TRUE(n.plan.found) << n.plan.reason;
  n.lease = *n.engine->Nominate(n.request, n.plan, kNow);
  return n;
}

TEST(Nomination, ACancelledOneGivesItsPlacesBackAndItsVictimsStay) {
  Nominee n = NominateOn({Node("n", 8000, 4)}, 2);
  EXPECT_EQ(n.engine->nominations().size(), 1U);
  const auto held = [&] {
    const QueueTree& tree = n.engine->queues();
    return tree.allocated(*tree.Find("q"))[*tree.resources().Find("cards")];
  };
  EXPECT_EQ(held(), 2);
  const PodUid left = n.plan.victims[0].uid;
  ASSERT_TRUE(n.engine->Release(left, kNow).has_value());
  EXPECT_FALSE(n.engine->RoomIsFree(Uid(9)));
  ASSERT_TRUE(n.engine->Release(Uid(9), kNow).has_value());
  EXPECT_TRUE(n.engine->nominations().empty());
  EXPECT_FALSE(n.engine->Find(n.plan.victims[1].uid)->is_leaving());
  EXPECT_EQ(held(), 3);
  EXPECT_TRUE(n.engine->Audit().has_value());
  EXPECT_TRUE(n.engine->Place(Of(*n.engine, 30, Ask(100, 1, 1000), Priority(0)), kNow).placed());
}

TEST(Nomination, SaidAgainItIsTheSameLeaseAndItsTimeBeginsWithTheRoom) {
  Nominee n = NominateOn({Node("n", 8000, 4)}, 1);
  EXPECT_EQ(n.engine->Nominate(n.request, n.plan, kNow)->epoch, n.lease.epoch);
  const SimTime later = SimTime::Seconds(100'000);
  EXPECT_EQ(n.engine->Expire(later), 0U);
  ASSERT_TRUE(n.engine->Release(n.plan.victims[0].uid, later).has_value());
  EXPECT_EQ(n.engine->Find(Uid(9))->expires, later.Plus(60'000'000));
  EXPECT_EQ(n.engine->Expire(later.Plus(60'000'000)), 1U);
  EXPECT_EQ(n.engine->Find(Uid(9)), nullptr);
  EXPECT_TRUE(n.engine->Audit().has_value());
}

TEST(Nomination, ALostNodeEndsItCleanly) {
  Nominee n = NominateOn({Node("n", 8000, 4)}, 2);
  ASSERT_TRUE(n.engine->Apply(NodeRemoved{"n"}, kNow).has_value());
  EXPECT_TRUE(n.engine->nominations().empty());
  EXPECT_EQ(n.engine->allocation_count(), 0U);
  EXPECT_TRUE(n.engine->Audit().has_value());
}

TEST(Nomination, AGangThatLosesANodeGivesUpAllOfItsPlaces) {
  auto engine = MakeEngine("binpack", {Node("a", 8000, 2), Node("b", 8000, 2), Node("c", 8000, 2)});
  for (std::uint64_t p = 1; p <= 3; ++p) Start(*engine, p, Ask(100, 2, 1000), Priority(0));
  const GangRequest gang = GangOf(*engine, 50, 2, 2, Priority(1));
  const auto plan = engine->ProposeEviction(gang, {}, kNow);
  ASSERT_TRUE(plan.has_value() && plan->found);
  const auto lease = engine->NominateGang(gang, *plan, kNow);
  ASSERT_TRUE(lease.has_value());
  EXPECT_EQ(engine->NominateGang(gang, *plan, kNow)->epoch, lease->epoch);
  EXPECT_FALSE(engine->ConfirmGang(*lease, kNow).has_value());
  const std::string lost = engine->state().name(plan->gang.members[0].placement.node);
  ASSERT_TRUE(engine->Apply(NodeRemoved{lost}, kNow).has_value());
  EXPECT_EQ(engine->FindGang(Uid(50)), nullptr);
  EXPECT_TRUE(engine->nominations().empty());
  EXPECT_EQ(engine->allocation_count(), 2U);
  for (const NodeId node : engine->state().order()) {
    engine->ForEachOn(node, [](const Allocation& a) { EXPECT_FALSE(a.is_leaving()); });
  }
  EXPECT_TRUE(engine->Audit().has_value());
}

TEST(Nomination, WhoIsNominatedIsNoVictimAndVictimsAreNotTakenTwice) {
  Nominee n = NominateOn({Node("n", 8000, 4)}, 2);
  EvictionPlan next =
      n.engine->ProposeEviction(Of(*n.engine, 10, Ask(100, 2, 1000), Priority(9)), {}, kNow);
  ASSERT_TRUE(next.found);
  for (const Victim& v : next.victims) {
    EXPECT_NE(v.uid, Uid(9));
    for (const Victim& first : n.plan.victims) EXPECT_NE(v.uid, first.uid);
  }
  EXPECT_FALSE(
      n.engine->ProposeEviction(Of(*n.engine, 10, Ask(100, 3, 1000), Priority(9)), {}, kNow).found);
  // A plan that is out of date is refused.
  EXPECT_FALSE(n.engine->Nominate(Of(*n.engine, 11, Ask(100, 2, 1000), Priority(9)), n.plan, kNow)
                   .has_value());
}

}  // namespace
}  // namespace basalt
