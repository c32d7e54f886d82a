// The engine's gangs through its public calls: what is placed, refused, repaired, and in what
// words.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "test/support/cluster.h"
#include "test/support/gangs.h"

namespace basalt {
namespace {

using support::Ask;
using support::CheckGangs;
using support::GangEngine;
using support::kRack;
using support::kSpine;
using support::MakeGang;
using support::Racks;
using support::TaskAsk;

const RequestSpec kCard = Ask(1000, 1, 1000);
const RequestSpec kNode = Ask(1000, 4, 1000);  // all of a node with 4 cards

std::string NodeOf(const Engine& engine, const GangRequest& gang, std::int32_t member) {
  const Allocation* a = engine.Find(GangMemberUid(gang.uid, member));
  return a == nullptr ? "" : engine.state().name(a->node);
}

std::map<std::string, int> ByNode(const Engine& engine, const GangOutcome& outcome) {
  std::map<std::string, int> out;
  for (const auto& m : outcome.members) ++out[engine.state().name(m.placement.node)];
  return out;
}

std::map<std::string, int> ByRack(const Engine& engine, const GangOutcome& outcome) {
  std::map<std::string, int> out;
  for (const auto& m : outcome.members) {
    const auto& path = engine.state().network(m.placement.node);
    ++out[path.empty() ? "" : path[0].name];
  }
  return out;
}

TEST(Gang, AllMembersOrNone) {
  auto engine = GangEngine(Racks(2, 2, 4));
  const GangRequest gang = MakeGang(*engine, 1, {{kNode, 4, 4}});
  const Digest128 before = engine->StateDigest();
  const auto outcome = engine->ProposeGang(gang, SimTime{});
  ASSERT_TRUE(outcome->placed());
  EXPECT_EQ(engine->StateDigest(), before);
  EXPECT_EQ(outcome->members.size(), 4U);
  EXPECT_EQ(outcome->tier, kClusterTier);
  EXPECT_EQ(outcome->domain, "cluster");
  // One node is taken meanwhile: nothing of the proposal is.
  support::Observe(*engine, "r1n1", kCard, CardSet::Of(3), 1);
  const Digest128 then = engine->StateDigest();
  const auto lease = engine->ReserveGang(gang, *outcome, SimTime{});
  ASSERT_FALSE(lease.has_value());
  EXPECT_EQ(lease.error().message, "what was proposed is no longer free; propose again");
  EXPECT_EQ(engine->StateDigest(), then);
  EXPECT_EQ(engine->FindGang(gang.uid), nullptr);
  const auto again = engine->ProposeGang(gang, SimTime{});
  EXPECT_EQ(again->kind, OutcomeKind::kWait);
  EXPECT_TRUE(again->proven);
  EXPECT_EQ(again->reason, "task 0 (4 x 1000m, 1 CPU) needs 4 places; the cluster has 3");
}

TEST(Gang, CertificatesNameTheDomainWhatIsFreeAndWhatIsNeeded) {
  auto engine = GangEngine(Racks(3, 2, 4, 2));
  support::Observe(*engine, "r0n0", kCard, CardSet::Of(0), 1);
  const auto reason = [&](const GangRequest& gang) {
    const auto outcome = engine->ProposeGang(gang, SimTime{});
    EXPECT_FALSE(outcome->placed());
    EXPECT_TRUE(outcome->proven || outcome->kind == OutcomeKind::kInfeasible);
    return std::string(OutcomeKindName(outcome->kind)) + ": " + outcome->reason;
  };
  EXPECT_EQ(reason(MakeGang(*engine, 1, {{kNode, 6, 6}})),
            "Wait: task 0 (4 x 1000m, 1 CPU) needs 6 places; the cluster has 5");
  EXPECT_EQ(reason(MakeGang(*engine, 1, {{kNode, 7, 7}})),
            "Infeasible: even with nothing running: task 0 (4 x 1000m, 1 CPU) needs 7 places; the "
            "cluster has 6");
  EXPECT_EQ(
      reason(MakeGang(*engine, 1, {{kCard, 9, 9}}, LevelWish{0, kRack})),
      "Infeasible: even with nothing running: task 0 (1 x 1000m, 1 CPU) needs 9 places in one "
      "rack; rack s0/r0 has 8, the most of 3");
  EXPECT_EQ(
      reason(MakeGang(*engine, 1, {{kCard, 16, 16}}, LevelWish{0, kSpine})),
      "Wait: task 0 (1 x 1000m, 1 CPU) needs 16 places in one spine; spine s0 has 15, the most "
      "of 2");
  EXPECT_EQ(
      reason(MakeGang(*engine, 1, {{kCard, 5, 5}}, LevelWish{0, 0})),
      "Infeasible: even with nothing running: task 0 (1 x 1000m, 1 CPU) needs 5 places in one "
      "node; node r0n0 has 4, the most of 6");
  // Two tasks that fit one by one and not together.
  EXPECT_EQ(reason(MakeGang(*engine, 1, {{kNode, 5, 5}, {kCard, 4, 4}})),
            "Wait: the cluster has 23 idle cards free, all tasks together need 24");
  // Each sub-group alone has a rack, all together have not.
  const LevelWish rack{kRack, kRack};
  EXPECT_EQ(
      reason(MakeGang(*engine, 1,
                      {{kCard, 5, 5, 0}, {kCard, 5, 5, 1}, {kCard, 5, 5, 2}, {kCard, 5, 5, 3}}, {},
                      {rack, rack, rack, rack})),
      "Infeasible: even with nothing running: the cluster has room for 3 of 4 sub-groups of 5 "
      "or more in one rack each; the best rack has 8 places");
}

TEST(Gang, ElasticPartsGrowWhenThereIsRoom) {
  auto engine = GangEngine(Racks(1, 2, 4));
  support::Observe(*engine, "r0n1", kNode, CardSet(0b1111), 1);
  const GangRequest gang = MakeGang(*engine, 1, {{kCard, 2, 6}});
  auto first = engine->PlaceGang(gang, SimTime{});
  ASSERT_TRUE(first->placed());
  EXPECT_EQ(first->members.size(), 4U);  // all that fits, not only min
  auto full = engine->PlaceGang(gang, SimTime{});
  EXPECT_TRUE(full->placed());
  EXPECT_TRUE(full->members.empty());
  EXPECT_EQ(full->held, 4);
  ASSERT_TRUE(engine->Apply(PodGone{PodUid{0x0b5e, 1}}, SimTime{1}).has_value());
  auto grown = engine->PlaceGang(gang, SimTime{1});
  ASSERT_EQ(grown->members.size(), 2U);
  EXPECT_EQ(grown->members[0].member, 4);
  EXPECT_EQ(grown->held, 4);
  EXPECT_EQ(CheckGangs(*engine), "");
  // A required level binds what grows to what is there.
  const GangRequest tight = MakeGang(*engine, 2, {{kCard, 1, 3}}, LevelWish{0, 0});
  auto one = engine->PlaceGang(tight, SimTime{1});
  ASSERT_TRUE(one->placed());
  EXPECT_EQ(one->members.size(), 2U);  // r0n1 has 2 left
  EXPECT_EQ(one->tier, 0);
  EXPECT_EQ(one->domain, "r0n1");
}

TEST(Gang, FinishedMembersAreNotMissed) {
  auto engine = GangEngine(Racks(1, 2, 4));
  const GangRequest gang = MakeGang(*engine, 1, {{kCard, 3, 3}});
  ASSERT_TRUE(engine->PlaceGang(gang, SimTime{})->placed());
  ASSERT_TRUE(engine->Release(GangMemberUid(gang.uid, 0), SimTime{}).has_value());
  ASSERT_TRUE(engine->Apply(PodGone{GangMemberUid(gang.uid, 1), false}, SimTime{}).has_value());
  EXPECT_FALSE(engine->FindGang(gang.uid)->degraded);
  const auto nothing = engine->PlaceGang(gang, SimTime{});
  EXPECT_TRUE(nothing->placed());
  EXPECT_TRUE(nothing->members.empty());
  ASSERT_TRUE(engine->Release(GangMemberUid(gang.uid, 2), SimTime{}).has_value());
  EXPECT_EQ(engine->FindGang(gang.uid), nullptr);  // the last one ends the gang
  EXPECT_EQ(engine->allocation_count(), 0U);
}

TEST(Gang, LostMembersAreReplacedNearTheirOldPlace) {
  auto engine = GangEngine(Racks(4, 2, 4));
  // Spread over two racks: 4 whole nodes in r0 and r1.
  const GangRequest gang = MakeGang(*engine, 1, {{Ask(1000, 3, 1000), 4, 4}});
  ASSERT_TRUE(engine->PlaceGang(gang, SimTime{})->placed());
  ASSERT_EQ(NodeOf(*engine, gang, 3), "r1n1");
  ASSERT_TRUE(engine->Apply(PodGone{GangMemberUid(gang.uid, 3), true}, SimTime{1}).has_value());
  ASSERT_TRUE(engine->FindGang(gang.uid)->degraded);
  // Its node is gone too; the rack has no other, so it goes elsewhere.
  ASSERT_TRUE(engine->Apply(NodeRemoved{"r1n1"}, SimTime{1}).has_value());
  auto elsewhere = engine->ProposeGang(gang, SimTime{1});
  ASSERT_EQ(elsewhere->members.size(), 1U);
  EXPECT_EQ(elsewhere->members[0].member, 3);
  // A new node in the old rack: now that one, although others come first.
  NodeSpec fresh = Racks(2, 1, 4)[1];
  fresh.name = "fresh";
  ASSERT_TRUE(engine->Apply(NodeAdded{fresh}, SimTime{1}).has_value());
  auto repaired = engine->PlaceGang(gang, SimTime{1});
  ASSERT_EQ(repaired->members.size(), 1U);
  EXPECT_EQ(NodeOf(*engine, gang, 3), "fresh");
  EXPECT_FALSE(engine->FindGang(gang.uid)->degraded);
  EXPECT_EQ(CheckGangs(*engine), "");
}

// What is left is all in r0, the lost ones were in r1: they go back to r1, though r0 has room.
TEST(Gang, ReplacementPrefersTheOldDomainToTheOthers) {
  auto engine = GangEngine(Racks(3, 2, 4));
  const GangRequest gang = MakeGang(*engine, 1, {{Ask(1000, 3, 1000), 3, 3}});
  ASSERT_TRUE(engine->PlaceGang(gang, SimTime{})->placed());
  ASSERT_EQ(NodeOf(*engine, gang, 2), "r1n0");
  ASSERT_TRUE(engine->Apply(PodGone{GangMemberUid(gang.uid, 2), true}, SimTime{}).has_value());
  NodeSpec near = Racks(1, 1, 4)[0];
  near.name = "near";
  ASSERT_TRUE(engine->Apply(NodeAdded{near}, SimTime{}).has_value());
  ASSERT_TRUE(engine->PlaceGang(gang, SimTime{})->placed());
  EXPECT_EQ(NodeOf(*engine, gang, 2), "r1n0");
}

TEST(Gang, ARepairThatExpiresLeavesTheGangDegradedAndItsHomeKnown) {
  EngineOptions options;
  options.lease_ttl_us = 10;
  auto engine = GangEngine(Racks(3, 2, 4), options);
  const GangRequest gang = MakeGang(*engine, 1, {{Ask(1000, 3, 1000), 3, 3}});
  ASSERT_TRUE(engine->PlaceGang(gang, SimTime{})->placed());
  ASSERT_TRUE(engine->Apply(PodGone{GangMemberUid(gang.uid, 2), true}, SimTime{}).has_value());
  const auto repair = engine->ProposeGang(gang, SimTime{});
  ASSERT_TRUE(engine->ReserveGang(gang, *repair, SimTime{}).has_value());
  EXPECT_FALSE(engine->FindGang(gang.uid)->degraded);
  EXPECT_EQ(engine->Expire(SimTime{10}), 1U);
  EXPECT_TRUE(engine->FindGang(gang.uid)->degraded);
  EXPECT_EQ(CheckGangs(*engine), "");
  ASSERT_TRUE(engine->PlaceGang(gang, SimTime{11})->placed());
  EXPECT_EQ(NodeOf(*engine, gang, 2), "r1n0");
}

TEST(Gang, ALostNodeThatComesBackBringsItsMembers) {
  const auto nodes = Racks(1, 2, 4);
  auto engine = GangEngine(nodes);
  const GangRequest gang = MakeGang(*engine, 1, {{kNode, 2, 2}});
  ASSERT_TRUE(engine->PlaceGang(gang, SimTime{})->placed());
  ASSERT_TRUE(engine->Apply(NodeRemoved{"r0n1"}, SimTime{}).has_value());
  EXPECT_TRUE(engine->FindGang(gang.uid)->degraded);
  ASSERT_TRUE(engine->Apply(NodeAdded{nodes[1]}, SimTime{}).has_value());
  PodObserved pod;
  pod.uid = GangMemberUid(gang.uid, 1);
  pod.spec = kNode;
  pod.node = "r0n1";
  pod.cards = CardSet(0b1111);
  ASSERT_TRUE(engine->Apply(pod, SimTime{}).has_value());
  EXPECT_FALSE(engine->FindGang(gang.uid)->degraded);
  EXPECT_EQ(CheckGangs(*engine), "");
  EXPECT_TRUE(engine->PlaceGang(gang, SimTime{})->members.empty());
}

// A pod of the gang that somebody bound while the gang held nothing: an error, not a crash.
TEST(Gang, APodThatIsAllocatedOutsideTheGangIsAnError) {
  auto engine = GangEngine(Racks(1, 2, 4));
  const GangRequest gang = MakeGang(*engine, 1, {{kCard, 2, 2}});
  PodObserved pod;
  pod.uid = GangMemberUid(gang.uid, 1);
  pod.spec = kCard;
  pod.node = "r0n0";
  pod.cards = CardSet::Of(0);
  ASSERT_TRUE(engine->Apply(pod, SimTime{}).has_value());
  const auto outcome = engine->PlaceGang(gang, SimTime{});
  ASSERT_FALSE(outcome.has_value());
  EXPECT_EQ(outcome.error().message,
            "its pod " + UidText(pod.uid) + " is allocated outside the gang");
  EXPECT_EQ(engine->FindGang(gang.uid), nullptr);
}

TEST(Gang, LeasesAreOneForAllAndExpireTogether) {
  EngineOptions options;
  options.lease_ttl_us = 100;
  auto engine = GangEngine(Racks(1, 2, 4), options);
  const GangRequest gang = MakeGang(*engine, 1, {{kCard, 5, 8}});
  const auto outcome = engine->ProposeGang(gang, SimTime{});
  const auto lease = engine->ReserveGang(gang, *outcome, SimTime{});
  ASSERT_TRUE(lease.has_value());
  EXPECT_EQ(lease->uid, gang.uid);
  EXPECT_EQ(engine->allocation_count(), 8U);
  // Said again: the same lease, nothing taken twice.
  const auto again = engine->ReserveGang(gang, *outcome, SimTime{5});
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(again->epoch, lease->epoch);
  EXPECT_EQ(engine->allocation_count(), 8U);
  // A single member's lease is not to be confirmed alone.
  EXPECT_FALSE(
      engine->Confirm(Lease{GangMemberUid(gang.uid, 0), lease->epoch, lease->expires}, SimTime{6})
          .has_value());
  EXPECT_EQ(engine->ConfirmGang(*lease, SimTime{100}).error().message,
            "the lease has expired; propose again");
  EXPECT_EQ(engine->Expire(SimTime{100}), 1U);
  EXPECT_EQ(engine->allocation_count(), 0U);
  EXPECT_EQ(engine->FindGang(gang.uid), nullptr);
  EXPECT_EQ(engine->ConfirmGang(*lease, SimTime{101}).error().message,
            "holds no lease: it expired, was released, or never was");
  const auto second = engine->ProposeGang(gang, SimTime{102});
  const auto newer = engine->ReserveGang(gang, *second, SimTime{102});
  EXPECT_GT(newer->epoch, lease->epoch);
  EXPECT_EQ(engine->ConfirmGang(*lease, SimTime{103}).error().message,
            "lease 1 holds nothing");  // fencing
  EXPECT_TRUE(engine->ConfirmGang(*newer, SimTime{103}).has_value());
  EXPECT_TRUE(engine->ConfirmGang(*newer, SimTime{500}).has_value());
  EXPECT_EQ(engine->Expire(SimTime{1000}), 0U);
}

// Growth on top of a lease that may still expire could leave a part: it has to wait.
TEST(Gang, GrowthWaitsForTheFirstLease) {
  EngineOptions options;
  options.lease_ttl_us = 100;
  auto engine = GangEngine(Racks(1, 2, 4), options);
  support::Observe(*engine, "r0n1", kNode, CardSet(0b1111), 1);
  const GangRequest gang = MakeGang(*engine, 1, {{kCard, 2, 8}});
  const auto first = engine->ProposeGang(gang, SimTime{});
  const auto lease = engine->ReserveGang(gang, *first, SimTime{});
  ASSERT_TRUE(engine->Apply(PodGone{PodUid{0x0b5e, 1}}, SimTime{1}).has_value());
  const auto growth = engine->ProposeGang(gang, SimTime{1});
  EXPECT_TRUE(growth->placed());
  EXPECT_TRUE(growth->members.empty());
  ASSERT_TRUE(engine->ConfirmGang(*lease, SimTime{2}).has_value());
  EXPECT_EQ(engine->PlaceGang(gang, SimTime{3})->members.size(), 4U);
  EXPECT_EQ(CheckGangs(*engine), "");
}

TEST(Gang, AnObservedBindingOfOneMemberConfirmsTheLease) {
  EngineOptions options;
  options.lease_ttl_us = 100;
  auto engine = GangEngine(Racks(1, 2, 4), options);
  const GangRequest gang = MakeGang(*engine, 1, {{kCard, 3, 3}});
  const auto outcome = engine->ProposeGang(gang, SimTime{});
  ASSERT_TRUE(engine->ReserveGang(gang, *outcome, SimTime{}).has_value());
  PodObserved pod;
  pod.uid = GangMemberUid(gang.uid, 1);
  pod.spec = kCard;
  pod.node = NodeOf(*engine, gang, 1);
  pod.cards = engine->Find(pod.uid)->cards;
  ASSERT_TRUE(engine->Apply(pod, SimTime{1}).has_value());
  EXPECT_EQ(engine->Expire(SimTime{1000}), 0U);
  EXPECT_EQ(engine->allocation_count(), 3U);
  // Bound elsewhere: it moves, and stays the gang's.
  pod.uid = GangMemberUid(gang.uid, 2);
  pod.node = "r0n1";
  pod.cards = CardSet::Of(3);
  ASSERT_TRUE(engine->Apply(pod, SimTime{1001}).has_value());
  EXPECT_EQ(NodeOf(*engine, gang, 2), "r0n1");
  EXPECT_EQ(CheckGangs(*engine), "");
}

TEST(Gang, AttemptsAndDescriptions) {
  auto engine = GangEngine(Racks(1, 2, 4));
  GangRequest gang = MakeGang(*engine, 1, {{kCard, 2, 2}});
  ASSERT_TRUE(engine->PlaceGang(gang, SimTime{})->placed());
  const auto same = engine->PlaceGang(gang, SimTime{});
  EXPECT_TRUE(same->placed());
  EXPECT_EQ(same->held, 2);
  EXPECT_EQ(engine->allocation_count(), 2U);
  gang.attempt = 1;
  const auto later = engine->ProposeGang(gang, SimTime{});
  EXPECT_EQ(later->kind, OutcomeKind::kWait);
  EXPECT_TRUE(later->earlier_attempt_held);
  EXPECT_EQ(later->reason, "attempt 0 is still allocated");
  EXPECT_FALSE(engine->ReserveGang(gang, *same, SimTime{}).has_value());
  gang.attempt = 0;
  gang.spec.tasks[0].max = 3;
  EXPECT_EQ(engine->ProposeGang(gang, SimTime{}).error().message,
            "holds places under another description; release it first");
  ASSERT_TRUE(engine->ReleaseGang(gang.uid, SimTime{}).has_value());
  EXPECT_FALSE(engine->ReleaseGang(gang.uid, SimTime{}).has_value());
  gang.attempt = 1;
  EXPECT_TRUE(engine->PlaceGang(gang, SimTime{})->placed());
}

TEST(Gang, BadDescriptionsAreErrorsWithAPlace) {
  auto engine = GangEngine(Racks(1, 2, 4));
  const auto error = [&](auto change) {
    GangRequest gang = MakeGang(*engine, 1, {{kCard, 2, 2}}, {}, {LevelWish{}});
    change(gang);
    const auto outcome = engine->ProposeGang(gang, SimTime{});
    return outcome ? "placed" : outcome.error().message;
  };
  EXPECT_EQ(error([](GangRequest& g) { g.spec.tasks.clear(); }), "a gang needs a task");
  EXPECT_EQ(error([](GangRequest& g) { g.spec.tasks[0].min = 3; }),
            "task 0: min 3 and max 2 do not go together");
  EXPECT_EQ(error([](GangRequest& g) { g.spec.tasks[0].min = 0; }),
            "no member must run: a gang needs a min of 1 or more");
  EXPECT_EQ(error([](GangRequest& g) { g.spec.tasks[0].group = 1; }),
            "task 0: there is no sub-group 1");
  EXPECT_EQ(error([](GangRequest& g) { g.spec.tasks[0].shape = ShapeId(std::size_t{99}); }),
            "a task's shape is unknown");
  EXPECT_EQ(error([](GangRequest& g) { g.members = {PodUid{1, 1}}; }),
            "1 pod UIDs for at most 2 members");
  EXPECT_EQ(error([](GangRequest& g) { g.members = {PodUid{1, 1}, PodUid{1, 1}}; }),
            "names a pod twice");
  EXPECT_EQ(error([](GangRequest& g) { g.spec.level = {3, 2}; }),
            "the gang: prefers tier 3 but requires 2 or narrower");
  EXPECT_EQ(error([](GangRequest& g) { g.members = {PodUid{1, 1}, PodUid{1, 2}}; }), "placed");
}

// Reserve trusts nothing that it is told.
TEST(Gang, MadeUpProposalsAreRefusedWithNothingTaken) {
  auto engine = GangEngine(Racks(2, 2, 4));
  const GangRequest gang =
      MakeGang(*engine, 1, {{kCard, 2, 4, 0}}, LevelWish{0, kSpine}, {LevelWish{0, kRack}});
  // The cluster has no spines, so the gang has to be in one rack.
  const auto good = engine->ProposeGang(gang, SimTime{});
  ASSERT_TRUE(good->placed());
  const Digest128 before = engine->StateDigest();
  const auto refused = [&](auto change) {
    GangOutcome bad = *good;
    change(bad);
    const auto lease = engine->ReserveGang(gang, bad, SimTime{});
    EXPECT_EQ(engine->StateDigest(), before);
    return lease ? "taken" : lease.error().message;
  };
  EXPECT_EQ(refused([](GangOutcome& o) { o.members.resize(1); }),
            "the proposal leaves a task below its min; propose again");
  EXPECT_EQ(refused([](GangOutcome& o) { o.members[1] = o.members[0]; }),
            "member 0 is proposed twice or is unknown");
  EXPECT_EQ(refused([](GangOutcome& o) { o.members[3].member = 4; }),
            "member 4 is proposed twice or is unknown");
  EXPECT_EQ(refused([](GangOutcome& o) { o.members[3].member = -1; }),
            "member -1 is proposed twice or is unknown");
  EXPECT_EQ(refused([](GangOutcome& o) { o.kind = OutcomeKind::kWait; }), "nothing was proposed");
  EXPECT_EQ(refused([](GangOutcome& o) { o.members[0].placement.cards = CardSet(0b110); }),
            "what was proposed is no longer free; propose again");
  EXPECT_EQ(refused([&](GangOutcome& o) {
              const NodeId far = engine->state().FindNode("r1n0");
              o.members[3].placement.node = far;
              o.members[3].placement.generation = engine->state().generation(far);
            }),
            "it would be in one cluster only, but one spine is required");
}

TEST(Gang, UnknownDomainsAreNeverTogether) {
  std::vector<NodeSpec> nodes = {support::Node("a", 64'000, 4), support::Node("b", 64'000, 4)};
  nodes.push_back(support::Node("c", 64'000, 2));
  nodes.back().network = {{kRack, "r1"}};
  auto engine = GangEngine(nodes);
  const GangRequest five = MakeGang(*engine, 1, {{kCard, 5, 5}}, LevelWish{kRack, kRack});
  EXPECT_EQ(
      engine->ProposeGang(five, SimTime{})->reason,
      "even with nothing running: task 0 (1 x 1000m, 1 CPU) needs 5 places in one rack; node a "
      "has 4, the most of 3");
  const GangRequest four = MakeGang(*engine, 2, {{kCard, 4, 4}}, LevelWish{kRack, kRack});
  const auto alone = engine->PlaceGang(four, SimTime{});
  ASSERT_TRUE(alone->placed());  // one node is together with itself
  EXPECT_EQ(alone->domain, "a");
}

TEST(Gang, PreferredLevelsComeFirstThenWiderOnes) {
  auto engine = GangEngine(Racks(4, 2, 4, 2));
  const auto tier = [&](std::int32_t members, LevelWish level) {
    const auto outcome =
        engine->ProposeGang(MakeGang(*engine, 1, {{kCard, members, members}}, level), SimTime{});
    return outcome->placed() ? outcome->tier : -1;
  };
  EXPECT_EQ(tier(4, {}), 0);
  EXPECT_EQ(tier(8, {}), kRack);
  EXPECT_EQ(tier(9, {}), kSpine);
  EXPECT_EQ(tier(16, {}), kSpine);
  EXPECT_EQ(tier(17, {}), kClusterTier);
  EXPECT_EQ(tier(9, {kRack, kRack}), -1);
  EXPECT_EQ(tier(9, {kRack, kSpine}), kSpine);
}

TEST(Gang, SubGroupsHaveTheirOwnDomains) {
  auto engine = GangEngine(Racks(4, 2, 4, 2));
  // A leader beside its workers in each of two groups, the groups in different racks of one spine.
  const GangRequest gang =
      MakeGang(*engine, 1, {{kNode, 1, 1, 0}, {kCard, 4, 4, 0}, {kNode, 1, 1, 1}, {kCard, 3, 3, 1}},
               LevelWish{kSpine, kSpine}, {LevelWish{kRack, kRack}, LevelWish{kRack, kRack}});
  const auto outcome = engine->PlaceGang(gang, SimTime{});
  ASSERT_TRUE(outcome->placed()) << outcome->reason;
  EXPECT_EQ(outcome->tier, kSpine);
  EXPECT_EQ(ByRack(*engine, *outcome).size(), 2U);
  EXPECT_EQ(CheckGangs(*engine), "");
}

TEST(Gang, LayoutsDivideTheMembers) {
  auto engine = GangEngine(Racks(3, 6, 4));
  const auto racks = [&](std::int32_t members, GangLayout layout) {
    GangRequest gang =
        MakeGang(*engine, 1, {{kNode, members, members}}, LevelWish{kRack, kAnyTier});
    gang.spec.layout = layout;
    const auto outcome = engine->ProposeGang(gang, SimTime{});
    std::multiset<int> out;
    for (const auto& [rack, n] : ByRack(*engine, *outcome)) out.insert(n);
    return out;
  };
  EXPECT_EQ(racks(8, GangLayout::kPacked), (std::multiset<int>{2, 6}));
  EXPECT_EQ(racks(8, GangLayout::kBalanced), (std::multiset<int>{4, 4}));
  GangRequest spread = MakeGang(*engine, 1, {{kCard, 6, 6}});
  spread.spec.layout = GangLayout::kSpread;
  const auto outcome = engine->ProposeGang(spread, SimTime{});
  EXPECT_EQ(ByNode(*engine, *outcome).size(), 6U);  // not one node, though it would hold four
  EXPECT_EQ(outcome->tier, kRack);
  // By policy: spread and binpack.
  auto spreading = GangEngine(Racks(1, 3, 4), {}, "spread");
  const GangRequest three = MakeGang(*spreading, 1, {{kCard, 3, 3}});
  EXPECT_EQ(ByNode(*spreading, *spreading->ProposeGang(three, SimTime{})).size(), 3U);
  EXPECT_EQ(ByNode(*engine, *engine->ProposeGang(MakeGang(*engine, 1, {{kCard, 3, 3}}), SimTime{}))
                .size(),
            1U);
}

// An elastic sub-group without a min gets its members where most of them fit.
TEST(Gang, OptionalSubGroupsGrow) {
  auto engine = GangEngine(Racks(2, 2, 4));
  const std::vector<TaskAsk> tasks = {{kNode, 1, 1}, {kCard, 0, 6, 0}};
  const GangRequest gang = MakeGang(*engine, 1, tasks, {kAnyTier, kAnyTier}, {LevelWish{0, kRack}});
  const auto outcome = engine->PlaceGang(gang, SimTime{});
  ASSERT_TRUE(outcome->placed());
  EXPECT_EQ(outcome->members.size(), 5U);  // the node that prefers one node is full
  ASSERT_TRUE(engine->ReleaseGang(gang.uid, SimTime{}).has_value());
  const GangRequest wide =
      MakeGang(*engine, 1, tasks, {kAnyTier, kAnyTier}, {LevelWish{kRack, kRack}});
  EXPECT_EQ(engine->PlaceGang(wide, SimTime{})->members.size(), 7U);
  EXPECT_EQ(CheckGangs(*engine), "");
}

// Cards of different amounts: three pods of two half cards each fit only if the first do not use up
// the cards that are half taken.
TEST(Gang, SeveralPartsOfCardsAreTakenSoThatAllFit) {
  auto engine = GangEngine({support::Node("a", 64'000, 3)});
  support::Observe(*engine, "a", Ask(10, 1, 500), CardSet::Of(0), 1);
  support::Observe(*engine, "a", Ask(10, 1, 500), CardSet::Of(1), 2);
  const auto outcome =
      engine->ProposeGang(MakeGang(*engine, 1, {{Ask(10, 2, 500), 2, 2}}), SimTime{});
  EXPECT_TRUE(outcome->placed()) << outcome->reason;
}

// Two gangs that each need more than half: one gets all, the other nothing, in any order of calls.
TEST(Gang, TwoGangsNeverHoldHalves) {
  EngineOptions options;
  options.lease_ttl_us = 100;
  auto engine = GangEngine(Racks(1, 4, 4), options);
  const GangRequest a = MakeGang(*engine, 1, {{kNode, 3, 3}});
  const GangRequest b = MakeGang(*engine, 2, {{kNode, 3, 3}});
  const auto of_a = engine->ProposeGang(a, SimTime{});
  const auto of_b = engine->ProposeGang(b, SimTime{});
  ASSERT_TRUE(of_a->placed() && of_b->placed());
  EXPECT_TRUE(engine->ReserveGang(b, *of_b, SimTime{}).has_value());
  EXPECT_FALSE(engine->ReserveGang(a, *of_a, SimTime{}).has_value());
  EXPECT_EQ(engine->allocation_count(), 3U);
  EXPECT_EQ(engine->ProposeGang(a, SimTime{1})->kind, OutcomeKind::kWait);
  engine->Expire(SimTime{100});
  EXPECT_TRUE(engine->PlaceGang(a, SimTime{100})->placed());
}

// Kept sizes of mixed clusters: a card of 2,000 milli has three slices of 600, but one whole pod.
TEST(Gang, CardsOfMoreThanOneCount) {
  NodeSpec node = support::Node("a", 64'000, 2);
  for (CardSpec& card : node.cards) card.compute_milli = 2000;
  auto engine = GangEngine({node});
  const auto outcome = engine->ProposeGang(MakeGang(*engine, 1, {{Ask(500, 1, 600), 6, 6}}), {});
  EXPECT_TRUE(outcome->placed()) << outcome->reason;
  EXPECT_EQ(engine->ProposeGang(MakeGang(*engine, 2, {{kCard, 3, 3}}), {})->kind,
            OutcomeKind::kInfeasible);
}

// One that asks for card memory alone, and one that takes all compute of the card, share it.
TEST(Gang, MemoryAloneBesideAllCompute) {
  auto engine = GangEngine({support::Node("a", 64'000, 1)});
  RequestSpec memory = Ask(100, 1, 0);
  memory.gpu_memory_percent = 30;
  const GangRequest gang = MakeGang(*engine, 1, {{Ask(100, 1, 1000), 0, 1}, {memory, 1, 1}});
  const auto outcome = engine->PlaceGang(gang, SimTime{});
  ASSERT_TRUE(outcome->placed());
  EXPECT_EQ(outcome->members.size(), 2U);
}

// Ranks follow the network: members in their numbers go through the tree from left to right.
TEST(Gang, MembersAreNumberedAlongTheTree) {
  auto engine = GangEngine(Racks(3, 2, 4));
  const GangRequest gang = MakeGang(*engine, 1, {{kNode, 5, 5}});
  const auto outcome = engine->ProposeGang(gang, SimTime{});
  const DomainTree& tree = engine->domains();
  std::uint32_t before = 0;
  for (const auto& m : outcome->members) {
    EXPECT_GE(tree.leaf(m.placement.node), before);
    before = tree.leaf(m.placement.node);
  }
}

}  // namespace
}  // namespace basalt
