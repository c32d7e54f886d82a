// The engine's promises to its callers: one allocation a pod, leases that end, observations that
// are always recorded, dry runs that change nothing.
#include "scheduler-core/engine/engine.h"

#include <gtest/gtest.h>

#include "test/support/cluster.h"
#include "test/support/random_world.h"

namespace basalt {
namespace {

using support::Ask;
using support::For;
using support::MakeEngine;
using support::Node;
using support::NodeName;
using support::Observe;
using support::Uid;

constexpr SimTime kNow = SimTime::Seconds(100);

TEST(Engine, RepeatedRequestAllocatesOnce) {
  auto engine = MakeEngine("binpack", {Node("a", 8000, 4), Node("b", 8000, 4)});
  const Request request = For(*engine, Ask(1000, 1, 1000), 1);
  const Outcome first = engine->Propose(request, kNow);
  const auto lease = engine->Reserve(request, first.placement, kNow);
  ASSERT_TRUE(lease.has_value());
  const Digest128 state = engine->StateDigest();
  const Outcome again = engine->Propose(request, kNow);
  EXPECT_TRUE(again.placed());
  EXPECT_TRUE(again.already_held);
  EXPECT_EQ(again.placement.node, first.placement.node);
  EXPECT_EQ(again.placement.cards, first.placement.cards);
  const auto lease_again = engine->Reserve(request, again.placement, kNow);
  ASSERT_TRUE(lease_again.has_value());
  EXPECT_EQ(lease_again->epoch, lease->epoch);
  EXPECT_EQ(engine->StateDigest(), state);
  EXPECT_EQ(engine->allocation_count(), 1U);
  EXPECT_TRUE(engine->Confirm(*lease, kNow).has_value());
  EXPECT_TRUE(engine->Confirm(*lease, kNow).has_value());
}

TEST(Engine, NewAttemptWaitsWhileTheEarlierOneIsHeld) {
  auto engine = MakeEngine("binpack", {Node("a", 8000, 4)});
  ASSERT_TRUE(engine->Place(For(*engine, Ask(1000, 1, 1000), 1, 0), kNow).placed());
  const Request second = For(*engine, Ask(1000, 1, 1000), 1, 1);
  const Outcome waits = engine->Propose(second, kNow);
  EXPECT_EQ(waits.kind, OutcomeKind::kWait);
  EXPECT_TRUE(waits.earlier_attempt_held);
  const NodeId a = engine->state().FindNode("a");
  const auto refused = engine->Reserve(second, Placement{a, CardSet::Of(3), 0}, kNow);
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message.find("attempt 0 is still allocated"), std::string::npos);
  ASSERT_TRUE(engine->Release(Uid(1), kNow).has_value());
  EXPECT_TRUE(engine->Place(second, kNow).placed());
  EXPECT_EQ(engine->Find(Uid(1))->attempt, 1U);
}

TEST(Engine, UnconfirmedLeaseExpiresAndAConfirmAfterThatIsRefused) {
  EngineOptions options;
  options.lease_ttl_us = 1000;
  auto engine = MakeEngine("binpack", {Node("a", 8000, 1)}, options);
  const Digest128 empty = engine->StateDigest();
  const Request request = For(*engine, Ask(1000, 1, 1000), 1);
  const auto lease = engine->Reserve(request, engine->Propose(request, kNow).placement, kNow);
  ASSERT_TRUE(lease.has_value());
  EXPECT_EQ(lease->expires, kNow.Plus(1000));
  EXPECT_EQ(engine->Expire(kNow.Plus(999)), 0U);
  const Status late = engine->Confirm(*lease, kNow.Plus(1000));
  ASSERT_FALSE(late.has_value());
  EXPECT_NE(late.error().message.find("the lease has expired"), std::string::npos);
  EXPECT_EQ(engine->Expire(kNow.Plus(1000)), 1U);
  EXPECT_EQ(engine->StateDigest(), empty);
  const Status gone = engine->Confirm(*lease, kNow.Plus(1001));
  ASSERT_FALSE(gone.has_value());
  EXPECT_NE(gone.error().message.find("holds no lease"), std::string::npos);
}

TEST(Engine, ConfirmWithAnOldEpochIsRefused) {
  auto engine = MakeEngine("binpack", {Node("a", 8000, 2)});
  const Request request = For(*engine, Ask(1000, 1, 1000), 1);
  const auto old_lease = engine->Reserve(request, engine->Propose(request, kNow).placement, kNow);
  ASSERT_TRUE(engine->Release(Uid(1), kNow).has_value());
  const auto new_lease = engine->Reserve(request, engine->Propose(request, kNow).placement, kNow);
  ASSERT_TRUE(new_lease.has_value());
  EXPECT_GT(new_lease->epoch, old_lease->epoch);
  const Status refused = engine->Confirm(*old_lease, kNow);
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message.find("was replaced by lease"), std::string::npos);
  EXPECT_TRUE(engine->Confirm(*new_lease, kNow).has_value());
}

TEST(Engine, ExpireEndsOnlyUnconfirmedLeases) {
  EngineOptions options;
  options.lease_ttl_us = 10;
  auto engine = MakeEngine("spread", {Node("a", 64'000, 8)}, options);
  for (std::uint64_t i = 0; i < 8; ++i) {
    const Request request = For(*engine, Ask(1000, 1, 1000), i);
    const auto lease = engine->Reserve(request, engine->Propose(request, kNow).placement, kNow);
    ASSERT_TRUE(lease.has_value());
    if (i % 2 == 0) {
      ASSERT_TRUE(engine->Confirm(*lease, kNow).has_value());
    }
  }
  // A slot that was released and given to another pod must not be ended by the old entry.
  ASSERT_TRUE(engine->Release(Uid(1), kNow).has_value());
  ASSERT_TRUE(engine->Place(For(*engine, Ask(1000, 1, 1000), 20), kNow).placed());
  EXPECT_EQ(engine->Expire(kNow.Plus(1000)), 3U);
  EXPECT_EQ(engine->allocation_count(), 5U);
  EXPECT_NE(engine->Find(Uid(20)), nullptr);
  EXPECT_EQ(engine->Find(Uid(3)), nullptr);
  EXPECT_TRUE(engine->Audit().has_value());
}

// The heap still holds the entry of a lease that was released before its time.
TEST(Engine, AReleasedLeaseIsNotEndedAgain) {
  auto engine = MakeEngine("binpack", {Node("a", 8000, 2)});
  const Digest128 empty = engine->StateDigest();
  const Request request = For(*engine, Ask(1000, 1, 1000), 1);
  ASSERT_TRUE(engine->Reserve(request, engine->Propose(request, kNow).placement, kNow).has_value());
  ASSERT_TRUE(engine->Release(Uid(1), kNow).has_value());
  EXPECT_EQ(engine->Expire(SimTime::Seconds(1'000'000)), 0U);
  EXPECT_EQ(engine->StateDigest(), empty);
  EXPECT_TRUE(engine->Audit().has_value());
}

// Confirmed leases leave stale entries in the expiry heap; it is swept when they are most of it.
TEST(Engine, ManyConfirmedLeasesDoNotDisturbExpiry) {
  EngineOptions options;
  options.lease_ttl_us = 100'000;
  auto engine = MakeEngine("binpack", {Node("a", 64'000, 1)}, options);
  const RequestSpec ask = Ask(1000, 1, 1000);
  const Request pending = For(*engine, Ask(1000), 1'000'000);
  ASSERT_TRUE(engine->Reserve(pending, engine->Propose(pending, kNow).placement, kNow).has_value());
  for (std::uint64_t i = 0; i < 1000; ++i) {
    ASSERT_TRUE(engine->Place(For(*engine, ask, i), kNow.Plus(static_cast<int>(i))).placed());
    ASSERT_TRUE(engine->Release(Uid(i), kNow.Plus(static_cast<int>(i))).has_value());
  }
  EXPECT_EQ(engine->Expire(kNow.Plus(99'999)), 0U);
  EXPECT_EQ(engine->Expire(kNow.Plus(100'000)), 1U);
  EXPECT_EQ(engine->allocation_count(), 0U);
}

TEST(Engine, UnknownThingsAreErrorsThatNameThem) {
  auto engine = MakeEngine("binpack", {Node("a", 8000, 2)});
  EXPECT_FALSE(engine->Release(Uid(9), kNow).has_value());
  EXPECT_EQ(engine->Apply(NodeRemoved{"zz"}, kNow).error().ToString(),
            "node zz: is not in the cluster");
  EXPECT_EQ(engine->Apply(NodeCordoned{"zz", true}, kNow).error().ToString(),
            "node zz: is not in the cluster");
  EXPECT_EQ(engine->Apply(CardHealthChanged{"a", 2, false}, kNow).error().ToString(),
            "node a: has no card 2");
  PodObserved pod;
  pod.node = "a";
  pod.spec = Ask(0, 1, 100);
  pod.cards = CardSet::Of(2);
  EXPECT_FALSE(engine->Apply(pod, kNow).has_value());
  pod.cards = CardSet::Of(1);
  pod.spec.gpu_milli = 5000;
  EXPECT_FALSE(engine->Apply(pod, kNow).has_value());
  EXPECT_FALSE(engine->InternShape(pod.spec).has_value());
  EXPECT_TRUE(engine->Apply(PodGone{Uid(5)}, kNow).has_value());  // told twice is fine
  EXPECT_EQ(engine->allocation_count(), 0U);
}

TEST(Engine, APolicyThatNeedsATargetIsRefusedWithoutOne) {
  const auto engine = Engine::Create(support::Policy("fgd:1+best-fit:1"), EngineOptions{});
  ASSERT_FALSE(engine.has_value());
  EXPECT_NE(engine.error().message.find("needs a target workload"), std::string::npos);
  EXPECT_TRUE(Engine::Create(support::Policy("best-fit"), EngineOptions{}).has_value());
}

TEST(Engine, ObservedPodMayOverdrawAndNothingMoreIsPlacedThere) {
  auto engine = MakeEngine("binpack", {Node("a", 8000, 2)});
  Observe(*engine, "a", Ask(9000, 1, 700), CardSet::Of(0), 1);
  Observe(*engine, "a", Ask(0, 1, 700), CardSet::Of(0), 2);
  const NodeId a = engine->state().FindNode("a");
  EXPECT_EQ(engine->state().hot(a).cpu_free, -1000);
  EXPECT_EQ(engine->state().card(a, 0).free_milli, -400);
  EXPECT_EQ(engine->state().CardFree(a)[0], 0);
  EXPECT_TRUE(engine->Audit().has_value());
  EXPECT_EQ(engine->Place(For(*engine, Ask(0, 1, 1), 1), kNow).kind, OutcomeKind::kWait);
  EXPECT_EQ(engine->Place(For(*engine, Ask(0), 2), kNow).kind, OutcomeKind::kWait);
  ASSERT_TRUE(engine->Apply(PodGone{PodUid{0x0b5e, 1}}, kNow).has_value());
  const Outcome outcome = engine->Place(For(*engine, Ask(0, 1, 300), 3), kNow);
  EXPECT_EQ(outcome.placement.cards, CardSet::Of(0));
}

TEST(Engine, AnObservationReplacesWhatTheEngineBelieved) {
  auto engine = MakeEngine("binpack", {Node("a", 8000, 2), Node("b", 8000, 2)});
  const RequestSpec ask = Ask(1000, 1, 1000);
  const Request request = For(*engine, ask, 1);
  ASSERT_TRUE(engine->Reserve(request, engine->Propose(request, kNow).placement, kNow).has_value());
  PodObserved elsewhere;
  elsewhere.uid = Uid(1);
  elsewhere.spec = ask;
  elsewhere.node = "b";
  elsewhere.cards = CardSet::Of(1);
  ASSERT_TRUE(engine->Apply(elsewhere, kNow).has_value());
  EXPECT_EQ(engine->allocation_count(), 1U);
  EXPECT_EQ(engine->state().name(engine->Find(Uid(1))->node), "b");
  EXPECT_TRUE(engine->Find(Uid(1))->confirmed);
  EXPECT_EQ(engine->Expire(SimTime::Seconds(1'000'000)), 0U);
  EXPECT_TRUE(engine->Audit().has_value());
}

TEST(Engine, RemovingANodeDropsWhatRanThere) {
  auto engine = MakeEngine("binpack", {Node("a", 8000, 2), Node("b", 8000, 2)});
  ASSERT_TRUE(engine->Place(For(*engine, Ask(1000, 2, 1000), 1), kNow).placed());
  ASSERT_TRUE(engine->Place(For(*engine, Ask(1000, 2, 1000), 2), kNow).placed());
  ASSERT_TRUE(engine->Apply(NodeRemoved{"a"}, kNow).has_value());
  EXPECT_EQ(engine->Find(Uid(1)), nullptr);
  EXPECT_NE(engine->Find(Uid(2)), nullptr);
  EXPECT_EQ(engine->state().totals().nodes, 1);
  EXPECT_TRUE(engine->Audit().has_value());
  // The name may come back, smaller; nothing of the old node is left on it.
  ASSERT_TRUE(engine->Apply(NodeAdded{Node("a", 4000, 1)}, kNow).has_value());
  EXPECT_EQ(engine->Place(For(*engine, Ask(4000, 1, 1000), 3), kNow).placement.cards,
            CardSet::Of(0));
}

TEST(Engine, ReserveRefusesWhatIsNoLongerFree) {
  auto engine = MakeEngine("binpack", {Node("a", 8000, 1)});
  const Request first = For(*engine, Ask(1000, 1, 600), 1);
  const Request second = For(*engine, Ask(1000, 1, 600), 2);
  const Placement same = engine->Propose(first, kNow).placement;
  EXPECT_TRUE(engine->Reserve(first, same, kNow).has_value());
  const Digest128 before = engine->StateDigest();
  const auto refused = engine->Reserve(second, same, kNow);
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message.find("no longer free"), std::string::npos);
  EXPECT_EQ(engine->StateDigest(), before);
}

TEST(Engine, InfeasibleBecomesPossibleWhenANodeArrives) {
  auto engine = MakeEngine("binpack", {Node("a", 8000, 1)});
  const Request request = For(*engine, Ask(1000, 4, 1000), 1);
  EXPECT_EQ(engine->Propose(request, kNow).kind, OutcomeKind::kInfeasible);
  ASSERT_TRUE(engine->Apply(NodeAdded{Node("b", 8000, 4)}, kNow).has_value());
  EXPECT_EQ(NodeName(*engine, engine->Propose(request, kNow)), "b");
  ASSERT_TRUE(engine->Apply(NodeCordoned{"b", true}, kNow).has_value());
  EXPECT_EQ(engine->Propose(request, kNow).kind, OutcomeKind::kWait);
  ASSERT_TRUE(engine->Apply(NodeRemoved{"b"}, kNow).has_value());
  EXPECT_EQ(engine->Propose(request, kNow).kind, OutcomeKind::kInfeasible);
}

TEST(Engine, ProposeAndExplainChangeNothing) {
  for (int seed = 0; seed < support::Scaled(200); ++seed) {
    support::World world(static_cast<std::uint64_t>(seed) + 7000, {});
    auto engine = MakeEngine(seed % 2 == 0 ? "fgd" : "random", world.nodes);
    for (int i = 0; i < 15; ++i) {
      support::Play(*engine, world, world.Next(), SimTime{i});
      const Digest128 state = engine->StateDigest();
      const Request request = For(*engine, world.shapes[0], 5000);
      const Digest128 decisions = engine->DecisionDigest();
      const WorkCounters work = engine->work();
      engine->Explain(request, 3);
      ASSERT_EQ(engine->DecisionDigest(), decisions);
      ASSERT_EQ(engine->work(), work);
      engine->Propose(request, SimTime{i});
      ASSERT_EQ(engine->StateDigest(), state);
    }
  }
}

// Releasing capacity, or adding a whole node, never makes a placeable request unplaceable.
TEST(Engine, MoreRoomNeverTakesAPlacementAway) {
  int checked = 0;
  for (int seed = 0; seed < support::Scaled(300); ++seed) {
    support::World world(static_cast<std::uint64_t>(seed) + 9000, {});
    auto engine = MakeEngine("fgd", world.nodes);
    for (int i = 0; i < 25; ++i) {
      const support::Step step = world.Next();
      const bool more_room = std::holds_alternative<support::Leave>(step) ||
                             (std::holds_alternative<Event>(step) &&
                              (std::holds_alternative<NodeAdded>(std::get<Event>(step)) ||
                               std::holds_alternative<PodGone>(std::get<Event>(step))));
      std::vector<OutcomeKind> before;
      const auto kinds = [&] {
        std::vector<OutcomeKind> out;
        for (std::size_t s = 0; s < world.shapes.size(); ++s) {
          const Request probe = For(*engine, world.shapes[s], 90'000 + s);
          out.push_back(engine->Propose(probe, SimTime{i}).kind);
        }
        return out;
      };
      before = kinds();
      support::Play(*engine, world, step, SimTime{i});
      if (!more_room) continue;
      const std::vector<OutcomeKind> after = kinds();
      for (std::size_t s = 0; s < after.size(); ++s) {
        ASSERT_LE(static_cast<int>(after[s]), static_cast<int>(before[s]))
            << "seed " << seed << " step " << i << " " << Describe(world.shapes[s]);
        ++checked;
      }
    }
  }
  EXPECT_GT(checked, support::Scaled(2000));
}

TEST(Engine, SameSeedSameDecisionsOtherSeedOthers) {
  std::vector<NodeSpec> nodes;
  for (int i = 0; i < 20; ++i) nodes.push_back(Node("n" + std::to_string(i), 64'000, 8));
  const auto digest = [&](std::uint64_t seed) {
    EngineOptions options;
    options.seed = seed;
    auto engine = MakeEngine("random", nodes, options);
    for (std::uint64_t i = 0; i < 50; ++i) engine->Place(For(*engine, Ask(1000, 1, 500), i), kNow);
    return engine->DecisionDigest();
  };
  EXPECT_EQ(digest(1), digest(1));
  EXPECT_NE(digest(1), digest(2));
}

TEST(Engine, ForEachOnAndFindSeeTheSameAllocations) {
  auto engine = MakeEngine("binpack", {Node("a", 64'000, 8)});
  for (std::uint64_t i = 0; i < 5; ++i) engine->Place(For(*engine, Ask(1000, 1, 1000), i), kNow);
  ASSERT_TRUE(engine->Release(Uid(2), kNow).has_value());
  CardSet all;
  int count = 0;
  engine->ForEachOn(engine->state().FindNode("a"), [&](const Allocation& a) {
    EXPECT_EQ(engine->Find(a.uid)->cards, a.cards);
    for (const int card : a.cards) all.Add(card);
    ++count;
  });
  EXPECT_EQ(count, 4);
  EXPECT_EQ(all.size(), 4);
}

// A placement is of the node that was there when it was proposed, not of whoever has its slot now.
TEST(Engine, ReserveRefusesANodeThatTookTheSlotOfTheProposedOne) {
  auto engine = MakeEngine("binpack", {Node("a", 8000, 1)});
  const Request request = For(*engine, Ask(100, 1, 600), 1);
  const Outcome outcome = engine->Propose(request, SimTime{});
  ASSERT_TRUE(outcome.placed());
  ASSERT_TRUE(engine->Apply(NodeRemoved{"a"}, SimTime{}).has_value());
  ASSERT_TRUE(engine->Apply(NodeAdded{Node("b", 8000, 1)}, SimTime{}).has_value());
  ASSERT_EQ(engine->state().FindNode("b"), outcome.placement.node);
  EXPECT_FALSE(engine->Reserve(request, outcome.placement, SimTime{}).has_value());
  EXPECT_EQ(engine->allocation_count(), 0U);
}

// A caller whose clock steps back must not revive a lease that has run out.
TEST(Engine, TimeNeverGoesBack) {
  EngineOptions options;
  options.lease_ttl_us = 100;
  auto engine = MakeEngine("binpack", {Node("a", 8000, 1)}, options);
  const Request request = For(*engine, Ask(100, 1, 600), 1);
  const Outcome outcome = engine->Propose(request, SimTime{1000});
  const auto lease = engine->Reserve(request, outcome.placement, SimTime{500});
  ASSERT_TRUE(lease.has_value());
  EXPECT_EQ(lease->expires, SimTime{1100});
  EXPECT_EQ(engine->Expire(SimTime{1099}), 0U);
  EXPECT_EQ(engine->Expire(SimTime{1100}), 1U);
  EXPECT_FALSE(engine->Confirm(*lease, SimTime{0}).has_value());
}

// A pod that comes back after its lease ran out is decided afresh; nobody had to sweep first.
TEST(Engine, ALapsedLeaseEndsBeforeThePodIsDecidedAgain) {
  EngineOptions options;
  options.lease_ttl_us = 100;
  auto engine = MakeEngine("binpack", {Node("a", 8000, 1)}, options);
  const Request request = For(*engine, Ask(100, 1, 600), 1);
  const Outcome first = engine->Propose(request, SimTime{0});
  const auto lease = engine->Reserve(request, first.placement, SimTime{0});
  ASSERT_TRUE(lease.has_value());
  const Outcome again = engine->Place(request, SimTime{100});
  EXPECT_TRUE(again.placed());
  EXPECT_FALSE(again.already_held);
  EXPECT_FALSE(engine->Confirm(*lease, SimTime{100}).has_value());  // the old epoch
}

// An informer may see the binding before our own Confirm arrives.
TEST(Engine, ObservingWhatIsHeldConfirmsItAndKeepsTheEpoch) {
  auto engine = MakeEngine("binpack", {Node("a", 8000, 2)});
  const Request request = For(*engine, Ask(100, 1, 600), 1);
  const Outcome outcome = engine->Propose(request, SimTime{});
  const auto lease = engine->Reserve(request, outcome.placement, SimTime{});
  ASSERT_TRUE(lease.has_value());
  PodObserved seen{request.uid, 0, Ask(100, 1, 600), 0, "a", outcome.placement.cards};
  ASSERT_TRUE(engine->Apply(seen, SimTime{}).has_value());
  EXPECT_TRUE(engine->Confirm(*lease, SimTime{}).has_value());
  EXPECT_TRUE(engine->Find(request.uid)->confirmed);
  EXPECT_TRUE(engine->Audit().has_value());
}

// Of what a lease was asked with an observation changes the disruption budget alone.
TEST(Engine, ObservingWhatIsHeldTellsItsBudget) {
  auto engine = MakeEngine("binpack", {Node("a", 8000, 2)});
  Request request = For(*engine, Ask(100, 1, 600), 1);
  request.standing.priority = 7;
  const Outcome outcome = engine->Propose(request, SimTime{});
  const auto lease = engine->Reserve(request, outcome.placement, SimTime{});
  ASSERT_TRUE(lease.has_value());
  PodObserved seen{request.uid, 0, Ask(100, 1, 600), 0, "a", outcome.placement.cards};
  seen.standing.budget = "ns/web";
  ASSERT_TRUE(engine->Apply(seen, SimTime{}).has_value());
  const Allocation* held = engine->Find(request.uid);
  EXPECT_EQ(held->standing->budget, "ns/web");
  EXPECT_EQ(held->standing->priority, 7);
  EXPECT_EQ(held->epoch, lease->epoch);
}

// The held placement is the only one that a repeated Reserve may name.
TEST(Engine, ReserveOfAnotherPlacementForAHeldPodIsRefused) {
  auto engine = MakeEngine("binpack", {Node("a", 8000, 2)});
  const Request request = For(*engine, Ask(100, 1, 600), 1);
  Outcome outcome = engine->Propose(request, SimTime{});
  ASSERT_TRUE(engine->Reserve(request, outcome.placement, SimTime{}).has_value());
  EXPECT_TRUE(engine->Reserve(request, outcome.placement, SimTime{}).has_value());
  outcome.placement.cards = CardSet::Of(1);
  EXPECT_FALSE(engine->Reserve(request, outcome.placement, SimTime{}).has_value());
}

}  // namespace
}  // namespace basalt
