// Faults of gangs, NUMA and NICs that were found and fixed: each as the shortest story that showed
// it.
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "test/support/cluster.h"
#include "test/support/gangs.h"

namespace basalt {
namespace {

using support::Ask;
using support::CheckGangs;
using support::GangEngine;
using support::kRack;
using support::MakeGang;
using support::Racks;

const RequestSpec kCard = Ask(1000, 1, 1000);
const RequestSpec kNode = Ask(1000, 4, 1000);  // all of a node with 4 cards

std::string NodeOf(const Engine& engine, const GangRequest& gang, std::int32_t member) {
  const Allocation* a = engine.Find(GangMemberUid(gang.uid, member));
  return a == nullptr ? "" : engine.state().name(a->node);
}

PodObserved Seen(const PodUid& uid, const RequestSpec& spec, const std::string& node,
                 CardSet cards) {
  PodObserved pod;
  pod.uid = uid;
  pod.spec = spec;
  pod.node = node;
  pod.cards = cards;
  return pod;
}

PodObserved SeenPinned(std::uint64_t uid, int card, const NumaTake& take) {
  PodObserved pod = Seen(support::Uid(uid), kCard, "a", CardSet::Of(card));
  pod.numa = std::make_shared<const NumaTake>(take);
  return pod;
}

// Two cards and two NICs on one NUMA node.
NodeSpec TwoNics() {
  NodeSpec node = support::Node("a", 64'000, 2);
  node.machine = "2 pcie=0+1-n0:12000,i0+1-n0:12000 nics=12500*2";
  return node;
}

std::unique_ptr<Engine> Restored(const Engine& engine) {
  auto restored = Engine::Restore(engine.Snapshot(), support::Policy("binpack"), EngineOptions{});
  if (!restored) {
    ADD_FAILURE() << restored.error().ToString();
    return nullptr;
  }
  return std::move(*restored);
}

// The record of the growth had the derived pods, and the journal was refused as another gang's.
TEST(GangRegression, GrowthWithoutNamingThePodsIsJournaledAsTheSameGang) {
  JournalBuffer journal;
  EngineOptions options;
  options.journal = &journal;
  auto engine = GangEngine(Racks(1, 1, 4), options);
  support::Observe(*engine, "r0n0", Ask(1000, 2, 1000), CardSet(0b11), 1);
  GangRequest gang = MakeGang(*engine, 1, {{kCard, 2, 4}});
  gang.members = {PodUid{7, 0}, PodUid{7, 1}, PodUid{7, 2}, PodUid{7, 3}};
  const auto first = engine->ProposeGang(gang, SimTime{1});
  ASSERT_EQ(first->members.size(), 2U);
  const auto lease = engine->ReserveGang(gang, *first, SimTime{1});
  ASSERT_TRUE(lease.has_value());
  ASSERT_TRUE(engine->ConfirmGang(*lease, SimTime{2}).has_value());
  ASSERT_TRUE(engine->Apply(PodGone{PodUid{0x0b5e, 1}}, SimTime{3}).has_value());
  gang.members.clear();
  ASSERT_EQ(engine->PlaceGang(gang, SimTime{4})->members.size(), 2U);
  EXPECT_NE(engine->Find(PodUid{7, 3}), nullptr);
  const auto read = ReadJournal(journal.bytes());
  ASSERT_TRUE(read.has_value());
  ASSERT_EQ(read->tail_problem, "");
  auto recovered = GangEngine({});
  for (const JournalRecord& record : read->records) {
    const Status ok = recovered->ApplyRecord(record);
    ASSERT_TRUE(ok.has_value()) << ok.error().ToString();
  }
  EXPECT_EQ(recovered->StateDigest(), engine->StateDigest());
  EXPECT_EQ(recovered->FindGang(gang.uid)->pods, engine->FindGang(gang.uid)->pods);
  EXPECT_EQ(CheckGangs(*recovered), "");
}

// Nobody can mend what an observation has torn apart; the other sub-group is repaired all the same.
TEST(GangRegression, ATornSubGroupDoesNotStopTheRepairOfAnother) {
  auto engine = GangEngine(Racks(4, 3, 4));
  const LevelWish rack{kRack, kRack};
  const GangRequest gang = MakeGang(*engine, 1, {{kNode, 2, 2, 0}, {kNode, 2, 2, 1}},
                                    {kAnyTier, kAnyTier}, {rack, rack});
  ASSERT_TRUE(engine->PlaceGang(gang, SimTime{})->placed());
  ASSERT_EQ(NodeOf(*engine, gang, 1), "r0n1");
  ASSERT_EQ(NodeOf(*engine, gang, 2), "r1n0");
  ASSERT_EQ(NodeOf(*engine, gang, 3), "r1n1");
  const PodObserved moved = Seen(GangMemberUid(gang.uid, 1), kNode, "r3n0", CardSet(0b1111));
  ASSERT_TRUE(engine->Apply(moved, SimTime{1}).has_value());
  ASSERT_TRUE(engine->Apply(NodeRemoved{"r1n1"}, SimTime{2}).has_value());
  ASSERT_TRUE(engine->FindGang(gang.uid)->degraded);
  const auto repaired = engine->PlaceGang(gang, SimTime{3});
  ASSERT_TRUE(repaired.has_value());
  ASSERT_TRUE(repaired->placed()) << repaired->reason;
  ASSERT_EQ(repaired->members.size(), 1U);
  EXPECT_EQ(NodeOf(*engine, gang, 3), "r1n2");
  EXPECT_EQ(NodeOf(*engine, gang, 1), "r3n0");
  EXPECT_FALSE(engine->FindGang(gang.uid)->degraded);
  EXPECT_TRUE(engine->Audit().has_value());
}

// Place wanted to confirm the member's lease, which is the gang's.
TEST(GangRegression, PlacingAMemberByItselfIsAnsweredFromTheGang) {
  auto engine = GangEngine(Racks(1, 2, 4));
  const GangRequest gang = MakeGang(*engine, 1, {{kCard, 2, 2}});
  const auto proposed = engine->ProposeGang(gang, SimTime{});
  const auto lease = engine->ReserveGang(gang, *proposed, SimTime{});
  ASSERT_TRUE(lease.has_value());
  const Request member{GangMemberUid(gang.uid, 1), 0, gang.spec.tasks[0].shape, 0};
  const Outcome outcome = engine->Place(member, SimTime{1});
  EXPECT_TRUE(outcome.placed());
  EXPECT_TRUE(outcome.already_held);
  EXPECT_EQ(outcome.placement.node, proposed->members[1].placement.node);
  EXPECT_EQ(outcome.placement.cards, proposed->members[1].placement.cards);
  EXPECT_FALSE(engine->Find(member.uid)->confirmed);
  EXPECT_TRUE(engine->ConfirmGang(*lease, SimTime{2}).has_value());
  EXPECT_TRUE(engine->Find(member.uid)->confirmed);
  EXPECT_EQ(engine->allocation_count(), 2U);
}

// Two observed pods on one NIC: it is free again when the second has left, not the first.
TEST(GangRegression, ANicIsFreeWhenItsLastPodHasLeft) {
  auto engine = GangEngine({TwoNics()});
  NumaTake first_nic;
  first_nic.nics = 0b01;
  const auto nics_free = [](const Engine& of) {
    return of.state().numa(of.state().FindNode("a"))->nics_free;
  };
  ASSERT_EQ(nics_free(*engine), 0b11U);
  ASSERT_TRUE(engine->Apply(SeenPinned(1, 0, first_nic), SimTime{}).has_value());
  ASSERT_TRUE(engine->Apply(SeenPinned(2, 1, first_nic), SimTime{}).has_value());
  EXPECT_EQ(nics_free(*engine), 0b10U);
  auto restored = Restored(*engine);
  ASSERT_NE(restored, nullptr);
  EXPECT_EQ(restored->StateDigest(), engine->StateDigest());
  for (Engine* one : {engine.get(), restored.get()}) {
    ASSERT_TRUE(one->Apply(PodGone{support::Uid(1)}, SimTime{1}).has_value());
    EXPECT_EQ(nics_free(*one), 0b10U);
    EXPECT_TRUE(one->Audit().has_value());
  }
  EXPECT_EQ(restored->StateDigest(), engine->StateDigest());
  EXPECT_EQ(Restored(*engine)->StateDigest(), engine->StateDigest());
  for (Engine* one : {engine.get(), restored.get()}) {
    ASSERT_TRUE(one->Apply(PodGone{support::Uid(2)}, SimTime{2}).has_value());
    EXPECT_EQ(nics_free(*one), 0b11U);
    EXPECT_TRUE(one->Audit().has_value());
  }
  EXPECT_EQ(restored->StateDigest(), engine->StateDigest());
}

TEST(GangRegression, PinningWhatTheNodeDoesNotHaveIsAnError) {
  auto engine = GangEngine({TwoNics(), support::Node("plain", 64'000, 2)});
  const Digest128 before = engine->StateDigest();
  const auto error = [&](const std::string& node, auto change) {
    NumaTake take;
    take.cpu[0] = 1000;
    take.nics = 0b10;
    change(take);
    PodObserved pod = SeenPinned(1, 0, take);
    pod.node = node;
    const Status ok = engine->Apply(pod, SimTime{});
    return ok ? "taken" : ok.error().message;
  };
  const std::string refused =
      "names a card that the node does not have, takes absurdly more than there is, or does not "
      "say which slices it has where they differ or are MIG instances";
  EXPECT_EQ(error("a", [](NumaTake& t) { t.nics = 0xFFFFFFFF; }), refused);
  EXPECT_EQ(error("a", [](NumaTake& t) { t.nics = 0b100; }), refused);
  EXPECT_EQ(error("a", [](NumaTake& t) { t.cpu[0] = -1; }), refused);
  EXPECT_EQ(error("a", [](NumaTake& t) { t.memory[0] = -1; }), refused);
  EXPECT_EQ(error("a", [](NumaTake& t) { t.cpu[0] = 1001; }), refused);  // the pod asks 1000
  EXPECT_EQ(error("a", [](NumaTake& t) { t.cpu[1] = 1; }), refused);
  EXPECT_EQ(error("plain", [](NumaTake&) {}), refused);
  EXPECT_EQ(engine->StateDigest(), before);
  EXPECT_EQ(engine->allocation_count(), 0U);
  EXPECT_EQ(error("a", [](NumaTake&) {}), "taken");
  EXPECT_TRUE(engine->Audit().has_value());
}

// The open lease was taken for the one with the highest epoch, which may be an observed binding's.
TEST(GangRegression, AnOpenLeaseIsKnownAfterARestore) {
  auto engine = GangEngine(Racks(1, 2, 4));
  const GangRequest gang = MakeGang(*engine, 1, {{kCard, 3, 3}});
  ASSERT_TRUE(engine->PlaceGang(gang, SimTime{})->placed());
  ASSERT_TRUE(engine->Apply(PodGone{GangMemberUid(gang.uid, 2), true}, SimTime{}).has_value());
  const auto repair = engine->ProposeGang(gang, SimTime{});
  const auto lease = engine->ReserveGang(gang, *repair, SimTime{});
  ASSERT_TRUE(lease.has_value());
  ASSERT_EQ(lease->epoch, 2U);
  // A member is lost and seen again: its epoch is later than the lease's. Another one is lost.
  ASSERT_TRUE(engine->Apply(PodGone{GangMemberUid(gang.uid, 1), true}, SimTime{}).has_value());
  const PodObserved again = Seen(GangMemberUid(gang.uid, 1), kCard, "r0n1", CardSet::Of(3));
  ASSERT_TRUE(engine->Apply(again, SimTime{}).has_value());
  ASSERT_EQ(engine->Find(again.uid)->epoch, 3U);
  ASSERT_TRUE(engine->Apply(PodGone{GangMemberUid(gang.uid, 0), true}, SimTime{}).has_value());
  auto restored = Restored(*engine);
  ASSERT_NE(restored, nullptr);
  EXPECT_EQ(restored->StateDigest(), engine->StateDigest());
  for (Engine* one : {engine.get(), restored.get()}) {
    const GangRequest same = MakeGang(*one, 1, {{kCard, 3, 3}});
    const auto waits = one->ProposeGang(same, SimTime{1});
    ASSERT_TRUE(waits.has_value());
    EXPECT_EQ(waits->kind, OutcomeKind::kWait);
    EXPECT_EQ(waits->reason, "lease 2 is not confirmed yet");
    EXPECT_EQ(waits->held, 2);
    ASSERT_TRUE(one->ConfirmGang(*lease, SimTime{2}).has_value());
    EXPECT_EQ(one->PlaceGang(same, SimTime{3})->members.size(), 1U);
    EXPECT_FALSE(one->FindGang(gang.uid)->degraded);
    EXPECT_EQ(CheckGangs(*one), "");
  }
  EXPECT_EQ(restored->StateDigest(), engine->StateDigest());
}

// The full node, where the gang is, came first and its empty answer was taken for the answer.
TEST(GangRegression, AGangOfTwoTasksGrowsOntoAnotherNode) {
  auto engine = GangEngine(Racks(1, 2, 4));
  support::Observe(*engine, "r0n1", kNode, CardSet(0b1111), 1);
  const GangRequest gang = MakeGang(*engine, 1, {{kCard, 1, 1}, {kCard, 1, 4}});
  ASSERT_EQ(engine->PlaceGang(gang, SimTime{})->members.size(), 4U);
  ASSERT_TRUE(engine->Apply(PodGone{PodUid{0x0b5e, 1}}, SimTime{1}).has_value());
  const auto grown = engine->PlaceGang(gang, SimTime{2});
  ASSERT_TRUE(grown->placed());
  ASSERT_EQ(grown->members.size(), 1U);
  EXPECT_EQ(grown->members[0].member, 4);
  EXPECT_EQ(NodeOf(*engine, gang, 4), "r0n1");
  EXPECT_EQ(CheckGangs(*engine), "");
}

TEST(GangRegression, ARecordThatNamesAPodTwiceIsRefused) {
  auto engine = GangEngine(Racks(1, 2, 2));
  ASSERT_TRUE(engine->ApplyRecord({SimTime{}, ShapeRecord{kCard}}).has_value());
  GangReservedRecord record;
  record.gang.uid = PodUid{1, 1};
  record.gang.spec.tasks = {{"", ShapeId(std::size_t{0}), 2, 2, -1}};
  record.gang.pods = {PodUid{1, 2}, PodUid{1, 2}};
  record.members = {{0, "r0n0", CardSet(1), nullptr}, {1, "r0n1", CardSet(1), nullptr}};
  record.epoch = 1;
  const Digest128 before = engine->StateDigest();
  const Status ok = engine->ApplyRecord({SimTime{}, record});
  ASSERT_FALSE(ok.has_value());
  EXPECT_EQ(ok.error().message, "names a pod twice");
  EXPECT_EQ(engine->StateDigest(), before);
  EXPECT_TRUE(engine->gangs().empty());
  record.gang.pods[1] = PodUid{1, 3};
  EXPECT_TRUE(engine->ApplyRecord({SimTime{}, record}).has_value());
  EXPECT_EQ(CheckGangs(*engine), "");
}

// A Topology Manager policy makes proofs impossible only as long as a node has one.
TEST(GangRegression, ANumaPolicyThatLeftWithItsNodeStopsNoProof) {
  auto engine = GangEngine(Racks(1, 2, 4));
  NodeSpec aligned = support::Node("x", 64'000, 4);
  aligned.numa_policy = topology::NumaPolicy::kSingleNumaNode;
  ASSERT_TRUE(engine->Apply(NodeAdded{aligned}, SimTime{}).has_value());
  const auto planned = engine->ProposeGang(MakeGang(*engine, 1, {{kNode, 4, 4}}), SimTime{});
  EXPECT_EQ(planned->kind, OutcomeKind::kWait);
  EXPECT_FALSE(planned->proven);
  ASSERT_TRUE(engine->Apply(NodeRemoved{"x"}, SimTime{}).has_value());
  auto other = GangEngine(Racks(1, 2, 4));  // never had the node
  for (Engine* one : {engine.get(), other.get()}) {
    const auto outcome = one->ProposeGang(MakeGang(*one, 1, {{kNode, 3, 3}}), SimTime{});
    EXPECT_EQ(outcome->kind, OutcomeKind::kInfeasible);
    EXPECT_EQ(outcome->reason,
              "even with nothing running: task 0 (4 x 1000m, 1 CPU) needs 3 places; the cluster "
              "has 2");
  }
}

// One NUMA node is the default of a node's description: its machine knows better.
TEST(GangRegression, TheMachineSaysHowManyNumaNodesThereAre) {
  NodeSpec node = support::Node("a", 64'000, 4);
  node.machine = "4 pcie=0+1-n0:12000,2+3-n1:12000 socket=n0-n1:6000";
  auto engine = GangEngine({node});
  const ClusterState& state = engine->state();
  EXPECT_EQ(state.SpecOf(state.FindNode("a")).numa_nodes, 2);
  RequestSpec four = Ask(1000, 4, 1000);
  four.numa = topology::NumaPolicy::kSingleNumaNode;
  RequestSpec two = Ask(1000, 2, 1000);
  two.numa = topology::NumaPolicy::kSingleNumaNode;
  EXPECT_EQ(engine->Propose(support::For(*engine, four, 1), SimTime{}).kind,
            OutcomeKind::kInfeasible);
  EXPECT_TRUE(engine->Place(support::For(*engine, Ask(1000, 4, 1000), 2), SimTime{}).placed());
  ASSERT_TRUE(engine->Release(support::Uid(2), SimTime{}).has_value());
  const Outcome on_one = engine->Place(support::For(*engine, two, 3), SimTime{});
  ASSERT_TRUE(on_one.placed());
  EXPECT_TRUE(on_one.placement.cards == CardSet(0b0011) ||
              on_one.placement.cards == CardSet(0b1100));
  const auto restored = Restored(*engine);
  ASSERT_NE(restored, nullptr);
  EXPECT_EQ(restored->StateDigest(), engine->StateDigest());
}

// What does not divide by the NUMA nodes was nowhere, and a pod that needs all of it never fit.
TEST(GangRegression, OddAmountsAreDividedWithoutALoss) {
  NodeSpec node = support::Node("a", 1001, 2);
  node.memory_mib = 1001;
  node.numa_nodes = 2;
  node.cards[0].numa = 0;
  node.cards[1].numa = 1;
  auto engine = GangEngine({node});
  RequestSpec all = Ask(1001, 2, 1000);
  all.memory_mib = 1001;
  all.numa = topology::NumaPolicy::kBestEffort;
  const Outcome outcome = engine->Place(support::For(*engine, all, 1), SimTime{});
  ASSERT_TRUE(outcome.placed());
  ASSERT_NE(outcome.placement.numa, nullptr);
  EXPECT_EQ(outcome.placement.numa->cpu[0], 501);
  EXPECT_EQ(outcome.placement.numa->cpu[1], 500);
  EXPECT_EQ(outcome.placement.numa->memory[0], 501);
  EXPECT_EQ(outcome.placement.numa->memory[1], 500);
  EXPECT_TRUE(engine->Audit().has_value());
}

}  // namespace
}  // namespace basalt
