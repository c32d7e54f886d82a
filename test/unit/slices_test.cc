// Slices of cards through the engine: containers with different ones, oversubscribed memory, model
// rules, MIG instances, groups of cards, pools. Each unmet dimension has its own reason.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "scheduler-core/cluster/draft.h"
#include "test/support/cluster.h"

namespace basalt {
namespace {

using support::Ask;
using support::For;
using support::MakeEngine;
using support::Node;
using support::Observe;

constexpr MiB kMemory = 80'000;

ContainerSpec Wants(int gpus, MilliGpu milli, MiB memory) {
  ContainerSpec c;
  c.gpus = gpus;
  c.gpu_milli = milli;
  c.gpu_memory_mib = memory;
  return c;
}

RequestSpec PodOf(std::vector<ContainerSpec> containers) {
  RequestSpec spec;
  for (const ContainerSpec& c : containers) spec.gpus += c.gpus;
  spec.containers = std::move(containers);
  return spec;
}

RequestSpec Slice(MilliGpu milli, MiB memory, ServiceClass service_class) {
  RequestSpec spec = Ask(0, 1, milli);
  spec.gpu_memory_mib = memory;
  spec.service_class = service_class;
  return spec;
}

// A100-80: the profiles and starts of NVIDIA's MIG user guide.
CardRules A100() {
  CardRules rules;
  rules.model = "A100";
  rules.vendor = "nvidia";
  rules.compute_units = 312;
  rules.mig_slots = 8;
  rules.mig = {{"1g.10gb", 9728, 142, 1, {0, 1, 2, 3, 4, 5, 6}, false},
               {"2g.20gb", 19'968, 285, 2, {0, 2, 4}, false},
               {"3g.40gb", 40'192, 428, 4, {0, 4}, false},
               {"4g.40gb", 40'192, 571, 4, {0}, false},
               {"7g.80gb", 80'000, 1000, 8, {0}, false}};
  return rules;
}

std::unique_ptr<Engine> EngineWith(const std::string& policy, const std::vector<CardRules>& rules,
                                   const std::vector<NodeSpec>& nodes) {
  auto engine = MakeEngine(policy, {});
  for (const CardRules& r : rules) {
    EXPECT_TRUE(engine->Apply(CardRulesSet{r}, SimTime{}).has_value());
  }
  for (const NodeSpec& node : nodes) {
    EXPECT_TRUE(engine->Apply(NodeAdded{node}, SimTime{}).has_value());
  }
  return engine;
}

std::string Why(Engine& engine, const RequestSpec& spec) {
  return engine.Explain(For(engine, spec, 999'999)).text;
}

std::vector<SliceTake> SlicesOf(const Engine& engine, std::uint64_t uid) {
  const Allocation* a = engine.Find(support::Uid(uid));
  return a == nullptr || a->numa == nullptr ? std::vector<SliceTake>() : a->numa->slices;
}

Outcome Place(Engine& engine, const RequestSpec& spec, std::uint64_t uid) {
  Outcome outcome = engine.Place(For(engine, spec, uid), SimTime{});
  EXPECT_TRUE(engine.Audit().has_value()) << engine.Audit().error().ToString();
  EXPECT_EQ(support::CheckDerived(engine.state()), "");
  return outcome;
}

TEST(Slices, ContainersAskDifferentSlicesAndMayShareACard) {
  auto engine = MakeEngine("binpack", {Node("a", 8000, 2, "T4", kMemory)});
  const RequestSpec pod = PodOf({Wants(1, 300, 3000), Wants(2, 200, 1000)});
  ASSERT_TRUE(Place(*engine, pod, 1).placed());
  const auto slices = SlicesOf(*engine, 1);
  ASSERT_EQ(slices.size(), 3U);
  EXPECT_EQ(slices[0].container, 0);
  EXPECT_EQ(slices[1].container, 1);
  EXPECT_NE(slices[1].card, slices[2].card);  // one container never has two slices of a card
  const NodeId a = engine->state().FindNode("a");
  EXPECT_EQ(engine->state().hot(a).gpu_free, 2000 - 700);
  EXPECT_EQ(engine->state().card(a, 0).memory_free + engine->state().card(a, 1).memory_free,
            2 * kMemory - 5000);
  ASSERT_TRUE(engine->Release(support::Uid(1), SimTime{}).has_value());
  EXPECT_EQ(engine->state().hot(a).gpu_free, 2000);
}

// HAMi takes the emptiest card for the first container and then has none for the second.
TEST(Slices, OneContainersChoiceDoesNotKeepOutTheNext) {
  auto engine = MakeEngine("spread/spread", {Node("a", 8000, 2, "T4", kMemory)});
  Observe(*engine, "a", Slice(400, 0, ServiceClass::kGuaranteed), CardSet::Of(0), 1);
  Observe(*engine, "a", Slice(500, 0, ServiceClass::kGuaranteed), CardSet::Of(1), 2);
  const RequestSpec pod = PodOf({Wants(1, 500, 100), Wants(1, 600, 100)});
  ASSERT_TRUE(Place(*engine, pod, 3).placed());
  EXPECT_EQ(SlicesOf(*engine, 3)[0].card, 1);
  EXPECT_EQ(SlicesOf(*engine, 3)[1].card, 0);
}

TEST(Slices, EachFitsButNotAllTogether) {
  auto engine = MakeEngine("binpack", {Node("a", 8000, 1, "T4", kMemory)});
  Observe(*engine, "a", Slice(200, 0, ServiceClass::kGuaranteed), CardSet::Of(0), 1);
  const RequestSpec pod = PodOf({Wants(1, 500, 100), Wants(1, 500, 100)});
  EXPECT_EQ(Place(*engine, pod, 2).kind, OutcomeKind::kWait);  // empty, it would fit
  EXPECT_EQ(Why(*engine, pod), "1 node: each slice fits a card, but not all of them together");
  const RequestSpec never = PodOf({Wants(1, 600, 100), Wants(1, 500, 100)});
  EXPECT_EQ(Place(*engine, never, 3).kind, OutcomeKind::kInfeasible);
}

TEST(Slices, GuaranteedMemoryIsNeverOversubscribed) {
  NodeSpec node = Node("a", 8000, 1, "T4", 10'000);
  node.cards[0].memory_ratio_percent = 200;
  auto engine = MakeEngine("binpack", {node});
  EXPECT_TRUE(Place(*engine, Slice(100, 8000, ServiceClass::kGuaranteed), 1).placed());
  // 12,000 of 20,000 MiB are left, but only 2000 of them are there.
  const RequestSpec more = Slice(100, 3000, ServiceClass::kGuaranteed);
  EXPECT_EQ(Place(*engine, more, 2).kind, OutcomeKind::kWait);
  EXPECT_EQ(Why(*engine, more),
            "1 node: memory of the cards is free only by oversubscription, and the pod is "
            "guaranteed");
  EXPECT_TRUE(Place(*engine, Slice(100, 12'000, ServiceClass::kBestEffort), 3).placed());
  EXPECT_EQ(Place(*engine, Slice(100, 1, ServiceClass::kBestEffort), 4).kind, OutcomeKind::kWait);
  // What others oversubscribe does not take it from the guaranteed that come later.
  ASSERT_TRUE(engine->Release(support::Uid(1), SimTime{}).has_value());
  EXPECT_TRUE(Place(*engine, Slice(100, 8000, ServiceClass::kGuaranteed), 5).placed());
}

TEST(Slices, AQueuesRatioCapsOversubscription) {
  NodeSpec node = Node("a", 8000, 1, "T4", 10'000);
  node.cards[0].memory_ratio_percent = 200;
  auto engine = MakeEngine("binpack", {node});
  RequestSpec capped = Slice(100, 8000, ServiceClass::kBurstable);
  capped.memory_ratio_percent = 150;
  EXPECT_TRUE(Place(*engine, capped, 1).placed());
  EXPECT_EQ(Place(*engine, capped, 2).kind, OutcomeKind::kWait);  // 16,000 > 15,000
  RequestSpec free = capped;
  free.memory_ratio_percent = 0;
  EXPECT_TRUE(Place(*engine, free, 3).placed());
}

// 100 % of the compute is the card for itself, however far memory and compute are oversubscribed.
TEST(Slices, AWholeCardIsNotShared) {
  NodeSpec node = Node("a", 8000, 1, "T4", 10'000);
  node.cards[0].memory_ratio_percent = 200;
  node.cards[0].compute_milli = 2000;
  auto engine = MakeEngine("binpack", {node});
  ASSERT_TRUE(Place(*engine, Ask(0, 1, 1000), 1).placed());
  EXPECT_EQ(Place(*engine, Slice(1, 1, ServiceClass::kBestEffort), 2).kind, OutcomeKind::kWait);
  ASSERT_TRUE(engine->Release(support::Uid(1), SimTime{}).has_value());
  ASSERT_TRUE(Place(*engine, Slice(1, 1, ServiceClass::kBestEffort), 3).placed());
  EXPECT_EQ(Place(*engine, Ask(0, 1, 1000), 4).kind, OutcomeKind::kWait);
}

TEST(Slices, ShareSlotsHaveTheirOwnReason) {
  NodeSpec node = Node("a", 8000, 1, "T4", kMemory);
  node.cards[0].slots = 2;
  auto engine = MakeEngine("binpack", {node});
  EXPECT_TRUE(Place(*engine, Slice(100, 10, ServiceClass::kGuaranteed), 1).placed());
  EXPECT_TRUE(Place(*engine, Slice(100, 10, ServiceClass::kGuaranteed), 2).placed());
  EXPECT_EQ(Why(*engine, Slice(100, 10, ServiceClass::kGuaranteed)),
            "1 node: share slots used up on cards that would serve");
}

TEST(Slices, UuidsAreAllowedThenDenied) {
  NodeSpec node = Node("a", 8000, 3);
  for (int i = 0; i < 3; ++i)
    node.cards[static_cast<std::size_t>(i)].uuid = "GPU-" + std::to_string(i);
  auto engine = MakeEngine("binpack", {node});
  RequestSpec spec = Ask(0, 1, 500);
  spec.use_uuids = {"GPU-1", "GPU-2"};
  spec.nouse_uuids = {"GPU-1"};
  const Outcome outcome = Place(*engine, spec, 1);
  ASSERT_TRUE(outcome.placed());
  EXPECT_EQ(outcome.placement.cards, CardSet::Of(2));
  spec.use_uuids = {"GPU-7"};
  EXPECT_EQ(Place(*engine, spec, 2).kind, OutcomeKind::kInfeasible);
}

TEST(Slices, RequestsInUnitsLandOnAnyModelThatHasThem) {
  CardRules t4;
  t4.model = "T4";
  t4.vendor = "nvidia";
  t4.compute_units = 65;
  CardRules ascend;
  ascend.model = "910B4";
  ascend.vendor = "ascend";
  ascend.compute_units = 280;
  ascend.templates = {{"vir05_1c_8g", 8192, 250}, {"vir10_3c_16g", 16'384, 500}};
  ascend.several_slices = false;
  auto engine = EngineWith("binpack", {t4, ascend},
                           {Node("t", 8000, 1, "T4", 16'000), Node("n", 8000, 1, "910B4", 32'768)});
  RequestSpec spec;
  spec.gpus = 1;
  spec.compute_units = 60;
  spec.gpu_memory_mib = 6000;
  spec.vendors = {"ascend"};
  ASSERT_TRUE(Place(*engine, spec, 1).placed());
  const NodeId n = engine->state().FindNode("n");
  EXPECT_EQ(engine->state().card(n, 0).free_milli, 750);  // the template's, not 214
  EXPECT_EQ(engine->state().card(n, 0).memory_free, 32'768 - 8192);
  spec.vendors = {"nvidia"};
  ASSERT_TRUE(Place(*engine, spec, 2).placed());
  const NodeId t = engine->state().FindNode("t");
  EXPECT_EQ(engine->state().card(t, 0).free_milli, 1000 - 924);  // ceil(60 / 65)
  spec.compute_units = 100;
  EXPECT_EQ(Place(*engine, spec, 3).kind, OutcomeKind::kInfeasible);  // no T4 has as much
  spec.vendors = {};
  EXPECT_TRUE(Place(*engine, spec, 4).placed());  // an Ascend has
}

TEST(Slices, MigInstancesAreCutAsRequestsCome) {
  NodeSpec node = Node("a", 8000, 1, "A100", kMemory);
  node.cards[0].mode = CardMode::kMig;
  auto engine = EngineWith("binpack", {A100()}, {node});
  const RequestSpec small = Slice(100, 9000, ServiceClass::kGuaranteed);
  const RequestSpec half = Slice(400, 30'000, ServiceClass::kGuaranteed);
  ASSERT_TRUE(Place(*engine, small, 1).placed());
  ASSERT_TRUE(Place(*engine, half, 2).placed());
  const SliceTake first = SlicesOf(*engine, 1)[0];
  const SliceTake second = SlicesOf(*engine, 2)[0];
  EXPECT_EQ(first.mig_profile, 0);
  EXPECT_EQ(second.mig_profile, 2);
  EXPECT_EQ(second.memory, 40'192);
  EXPECT_EQ(MigOccupied(engine->state().card(engine->state().FindNode("a"), 0)),
            (1U << first.mig_start) | (0xFU << second.mig_start));
  // 2g.20gb would fit by amount beside them, and 3g.40gb would not.
  EXPECT_TRUE(Place(*engine, Slice(200, 15'000, ServiceClass::kGuaranteed), 3).placed());
  EXPECT_EQ(Place(*engine, half, 4).kind, OutcomeKind::kWait);
  ASSERT_TRUE(engine->Release(support::Uid(2), SimTime{}).has_value());
  EXPECT_TRUE(Place(*engine, half, 5).placed());  // repartitioned
  RequestSpec named = Ask(0, 1, 0);
  named.mig_profile = "7g.80gb";
  EXPECT_EQ(Place(*engine, named, 6).kind, OutcomeKind::kWait);
  named.mig_profile = "9g.1gb";
  EXPECT_EQ(Place(*engine, named, 7).kind, OutcomeKind::kInfeasible);
}

TEST(Slices, MigSlotsThatAreNotInARowHaveTheirReason) {
  NodeSpec node = Node("a", 8000, 1, "A100", kMemory);
  node.cards[0].mode = CardMode::kMig;
  auto engine = EngineWith("binpack", {A100()}, {node});
  PodObserved pod;  // a 1g.10gb in the middle of each half
  pod.spec = Slice(100, 9000, ServiceClass::kGuaranteed);
  pod.node = "a";
  pod.cards = CardSet::Of(0);
  for (const int start : {1, 5}) {
    pod.uid = support::Uid(static_cast<std::uint64_t>(start));
    NumaTake take;
    take.slices.push_back({0, 0, 0, static_cast<std::int8_t>(start), 142, 9728, false});
    pod.numa = std::make_shared<const NumaTake>(take);
    ASSERT_TRUE(engine->Apply(pod, SimTime{}).has_value());
  }
  const RequestSpec half = Slice(400, 30'000, ServiceClass::kGuaranteed);
  EXPECT_EQ(Place(*engine, half, 9).kind, OutcomeKind::kWait);
  EXPECT_EQ(Why(*engine, half),
            "1 node: the cards' slices are of another QoS class or size, or no MIG slots in a row");
  pod.uid = support::Uid(7);
  pod.numa = nullptr;  // which slots it has is not said
  EXPECT_FALSE(engine->Apply(pod, SimTime{}).has_value());
}

// Containers of one pod as MIG instances of one card: what greedy starts would keep out fits.
TEST(Slices, MigInstancesOfOnePodAreArrangedTogether) {
  NodeSpec node = Node("a", 8000, 1, "A100", kMemory);
  node.cards[0].mode = CardMode::kMig;
  auto engine = EngineWith("binpack", {A100()}, {node});
  const RequestSpec pod =
      PodOf({Wants(1, 100, 9000), Wants(1, 500, 40'000), Wants(1, 200, 15'000)});
  ASSERT_TRUE(Place(*engine, pod, 1).placed());
  const auto slices = SlicesOf(*engine, 1);
  ASSERT_EQ(slices.size(), 3U);
  EXPECT_EQ(slices[1].mig_start, 0);  // 4g.40gb has no other
}

TEST(Slices, QosClassesDoNotShareACard) {
  CardRules metax;
  metax.model = "C500";
  metax.vendor = "metax";
  metax.one_qos = true;
  auto engine = EngineWith("binpack", {metax}, {Node("m", 8000, 1, "C500", 64'000)});
  RequestSpec best = Slice(100, 1000, ServiceClass::kGuaranteed);
  best.qos = "best-effort";
  RequestSpec fixed = best;
  fixed.qos = "fixed-share";
  ASSERT_TRUE(Place(*engine, best, 1).placed());
  EXPECT_EQ(Place(*engine, fixed, 2).kind, OutcomeKind::kWait);
  ASSERT_TRUE(Place(*engine, best, 3).placed());
  ASSERT_TRUE(engine->Release(support::Uid(1), SimTime{}).has_value());
  EXPECT_EQ(Place(*engine, fixed, 2).kind, OutcomeKind::kWait);
  ASSERT_TRUE(engine->Release(support::Uid(3), SimTime{}).has_value());
  EXPECT_TRUE(Place(*engine, fixed, 2).placed());
}

TEST(Slices, KunlunCardsHoldEqualSlices) {
  CardRules kunlun;
  kunlun.model = "P800";
  kunlun.vendor = "kunlunxin";
  kunlun.equal_slices = true;
  kunlun.templates = {{"24g", 24'576, 250}, {"48g", 49'152, 500}, {"96g", 98'304, 1000}};
  auto engine = EngineWith("binpack", {kunlun}, {Node("k", 8000, 1, "P800", 98'304)});
  ASSERT_TRUE(Place(*engine, Slice(1, 20'000, ServiceClass::kGuaranteed), 1).placed());
  EXPECT_EQ(Place(*engine, Slice(1, 40'000, ServiceClass::kGuaranteed), 2).kind,
            OutcomeKind::kWait);
  EXPECT_TRUE(Place(*engine, Slice(1, 24'000, ServiceClass::kGuaranteed), 3).placed());
}

TEST(Slices, ModulesAreTakenWhole) {
  CardRules ascend;
  ascend.model = "910C";
  ascend.vendor = "ascend";
  ascend.grouping = CardGrouping::kModules;
  ascend.group_size = 2;
  auto engine = EngineWith("binpack", {ascend}, {Node("n", 8000, 4, "910C", 65'536)});
  ASSERT_TRUE(Place(*engine, Ask(0, 1, 1000), 1).placed());
  const Allocation* one = engine->Find(support::Uid(1));
  EXPECT_EQ(one->cards, CardSet(0b11));  // a die takes its module
  ASSERT_TRUE(Place(*engine, Ask(0, 2, 1000), 2).placed());
  EXPECT_EQ(engine->Find(support::Uid(2))->cards, CardSet(0b1100));
  EXPECT_EQ(Place(*engine, Ask(0, 2, 1000), 3).kind, OutcomeKind::kWait);
  EXPECT_EQ(Place(*engine, Ask(0, 3, 1000), 4).kind, OutcomeKind::kInfeasible);
}

TEST(Slices, PassthroughCardsAreAPoolOfTheirOwn) {
  NodeSpec node = Node("a", 8000, 2, "T4", kMemory);
  node.cards[1].mode = CardMode::kPassthrough;
  auto engine = MakeEngine("binpack", {node});
  RequestSpec machine = Ask(0, 1, 1000);
  machine.passthrough = true;
  ASSERT_TRUE(Place(*engine, machine, 1).placed());
  EXPECT_EQ(engine->Find(support::Uid(1))->cards, CardSet::Of(1));
  EXPECT_EQ(Place(*engine, machine, 2).kind, OutcomeKind::kWait);  // cards may be moved
  ASSERT_TRUE(Place(*engine, Slice(100, 100, ServiceClass::kGuaranteed), 3).placed());
  EXPECT_EQ(engine->Find(support::Uid(3))->cards, CardSet::Of(0));
  // Moving a card: drained, empty, then handed out the other way.
  EXPECT_FALSE(
      engine->Apply(CardModeChanged{"a", 0, CardMode::kPassthrough}, SimTime{}).has_value());
  ASSERT_TRUE(engine->Apply(CardCordoned{"a", 0, true}, SimTime{}).has_value());
  EXPECT_EQ(Place(*engine, Slice(100, 100, ServiceClass::kGuaranteed), 4).kind, OutcomeKind::kWait);
  ASSERT_TRUE(engine->Release(support::Uid(3), SimTime{}).has_value());
  ASSERT_TRUE(
      engine->Apply(CardModeChanged{"a", 0, CardMode::kPassthrough}, SimTime{}).has_value());
  ASSERT_TRUE(engine->Apply(CardCordoned{"a", 0, false}, SimTime{}).has_value());
  ASSERT_TRUE(Place(*engine, machine, 2).placed());
}

TEST(Slices, RulesComeBeforeTheCards) {
  auto engine = MakeEngine("binpack", {Node("a", 8000, 1, "A100", kMemory)});
  const Status late = engine->Apply(CardRulesSet{A100()}, SimTime{});
  ASSERT_FALSE(late.has_value());
  EXPECT_NE(late.error().ToString().find("before the first node with it"), std::string::npos);
}

TEST(Slices, SnapshotsAndJournalsKeepThem) {
  JournalBuffer journal;
  EngineOptions options;
  options.journal = &journal;
  auto engine = MakeEngine("binpack", {}, options);
  ASSERT_TRUE(engine->Apply(CardRulesSet{A100()}, SimTime{}).has_value());
  NodeSpec node = Node("a", 8000, 3, "A100", kMemory);
  node.cards[0].mode = CardMode::kMig;
  node.cards[1].memory_ratio_percent = 150;
  node.cards[2].mode = CardMode::kPassthrough;
  node.cards[2].group = 4;
  ASSERT_TRUE(engine->Apply(NodeAdded{node}, SimTime{}).has_value());
  ASSERT_TRUE(Place(*engine, PodOf({Wants(1, 100, 9000), Wants(1, 300, 50'000)}), 1).placed());
  ASSERT_TRUE(Place(*engine, Slice(100, 60'000, ServiceClass::kBurstable), 2).placed());
  ASSERT_TRUE(engine->Apply(CardCordoned{"a", 2, true}, SimTime{}).has_value());
  ASSERT_TRUE(engine->Apply(CardModeChanged{"a", 2, CardMode::kShared}, SimTime{}).has_value());
  const auto restored = Engine::Restore(engine->Snapshot(), support::Policy("binpack"), {});
  ASSERT_TRUE(restored.has_value()) << restored.error().ToString();
  EXPECT_EQ((*restored)->StateDigest(), engine->StateDigest());
  EXPECT_EQ((*restored)->state().SpecOf(NodeId(std::size_t{0})),
            engine->state().SpecOf(NodeId(std::size_t{0})));
  EXPECT_TRUE((*restored)->Audit().has_value());
  auto replayed = MakeEngine("binpack", {});
  const auto contents = ReadJournal(journal.bytes());
  ASSERT_TRUE(contents.has_value());
  for (const JournalRecord& record : contents->records) {
    ASSERT_TRUE(replayed->ApplyRecord(record).has_value());
  }
  EXPECT_EQ(replayed->StateDigest(), engine->StateDigest());
}

// A slice of memory only needs a card that has some compute left: it goes first, and what was
// proposed can be reserved.
TEST(Slices, MemoryOnlyBesideAllOfTheCompute) {
  auto engine = MakeEngine("binpack", {Node("a", 8000, 1, "T4", 16'384)});
  const RequestSpec pod = PodOf({Wants(1, 500, 1024), Wants(1, 500, 1024), Wants(1, 0, 8192)});
  ASSERT_TRUE(Place(*engine, pod, 1).placed());
  EXPECT_EQ(engine->state().hot(engine->state().FindNode("a")).gpu_free, 0);
}

TEST(Slices, ListedSlicesThatCannotBeAreRefused) {
  NodeSpec node = Node("a", 8000, 2, "A100", kMemory);
  node.cards[0].mode = CardMode::kMig;
  auto engine = EngineWith("binpack", {A100()}, {node, Node("b", 8000, 2, "A100", kMemory)});
  const auto observe = [&](std::vector<SliceTake> slices, CardSet cards) {
    PodObserved pod;
    pod.uid = support::Uid(1);
    pod.spec = PodOf({Wants(1, 100, 10)});
    pod.node = "a";
    pod.cards = cards;
    NumaTake take;
    take.slices = std::move(slices);
    pod.numa = std::make_shared<const NumaTake>(take);
    return engine->Apply(pod, SimTime{}).has_value();
  };
  const auto on = [](int card, std::int32_t memory) {
    SliceTake slice;
    slice.card = static_cast<std::int8_t>(card);
    slice.milli = 1;
    slice.memory = memory;
    return slice;
  };
  EXPECT_FALSE(observe({on(64, 10)}, CardSet::Of(0)));  // no such card
  EXPECT_FALSE(observe({on(-1, 10)}, CardSet::Of(1)));
  EXPECT_FALSE(observe({on(1, 10)}, CardSet(0b11)));             // and one that nothing is on
  const std::vector<SliceTake> absurd(3, on(1, 1'000'000'000));  // each would do, together not
  EXPECT_FALSE(observe(absurd, CardSet::Of(1)));
  SliceTake instance = on(0, 9728);
  instance.mig_profile = 0;
  instance.mig_start = 3;
  EXPECT_FALSE(observe(std::vector<SliceTake>(16, instance), CardSet::Of(0)));
  instance.mig_profile = 9;
  EXPECT_FALSE(observe({instance}, CardSet::Of(0)));
  EXPECT_TRUE(engine->Audit().has_value());
  EXPECT_TRUE(observe({on(1, 10)}, CardSet::Of(1)));
}

TEST(Slices, NobodyJoinsACardOfMixedQos) {
  CardRules metax;
  metax.model = "C500";
  metax.vendor = "metax";
  metax.one_qos = true;
  auto engine = EngineWith("binpack", {metax}, {Node("m", 8000, 1, "C500", 64'000)});
  RequestSpec best = Slice(100, 1000, ServiceClass::kGuaranteed);
  RequestSpec fixed = best;
  fixed.qos = "fixed-share";
  ASSERT_TRUE(Place(*engine, best, 1).placed());
  Observe(*engine, "m", fixed, CardSet::Of(0), 2);  // somebody else bound it there
  EXPECT_EQ(Place(*engine, best, 3).kind, OutcomeKind::kWait);
  EXPECT_EQ(Place(*engine, fixed, 3).kind, OutcomeKind::kWait);
  ASSERT_TRUE(engine->Release(support::Uid(1), SimTime{}).has_value());
  EXPECT_EQ(Place(*engine, best, 3).kind, OutcomeKind::kWait);
  EXPECT_TRUE(Place(*engine, fixed, 3).placed());
}

TEST(Slices, WhatANewModeMakesPossibleIsNotForgotten) {
  NodeSpec node = Node("a", 8000, 1, "T4", kMemory);
  node.cards[0].mode = CardMode::kExclusive;
  auto engine = MakeEngine("binpack", {node});
  const RequestSpec two = PodOf({Wants(1, 500, 10), Wants(1, 500, 10)});
  EXPECT_EQ(Place(*engine, two, 1).kind, OutcomeKind::kInfeasible);
  ASSERT_TRUE(engine->Apply(CardModeChanged{"a", 0, CardMode::kShared}, SimTime{}).has_value());
  ASSERT_TRUE(Place(*engine, Ask(0, 1, 1000), 2).placed());
  EXPECT_EQ(Place(*engine, two, 1).kind, OutcomeKind::kWait);
}

TEST(Slices, SlicesOfOneCardAreAlignedToItsNumaNode) {
  NodeSpec node = Node("a", 8000, 2, "T4", kMemory);
  node.numa_nodes = 2;
  node.numa_policy = topology::NumaPolicy::kSingleNumaNode;
  node.numa_scope = topology::NumaScope::kPod;
  node.cards[0].numa = 0;
  node.cards[1].numa = 1;
  auto engine = MakeEngine("binpack", {node});
  RequestSpec pod = PodOf({Wants(1, 500, 10), Wants(1, 500, 10)});
  pod.cpu_milli = 1000;
  pod.containers[0].cpu_milli = 1000;
  ASSERT_TRUE(Place(*engine, pod, 1).placed());
  EXPECT_EQ(engine->Find(support::Uid(1))->cards.size(), 1);
}

TEST(Slices, BadRequestsAreRefused) {
  const auto error = [](const RequestSpec& spec) {
    const Status ok = ValidateRequest(spec, "pod");
    return ok ? std::string() : ok.error().message;
  };
  RequestSpec both = PodOf({Wants(1, 100, 10)});
  both.gpu_milli = 100;
  EXPECT_NE(error(both).find("the pod itself must not"), std::string::npos);
  RequestSpec some = PodOf({Wants(1, 100, 10), Wants(0, 0, 0)});
  EXPECT_EQ(error(some), "");
  some.containers[1].gpus = 1;
  some.gpus = 2;
  EXPECT_NE(error(some).find("each that has cards must"), std::string::npos);
  RequestSpec units = Ask(0, 1, 100);
  units.compute_units = 5;
  EXPECT_NE(error(units).find("say one of them"), std::string::npos);
  RequestSpec ratio = Ask(0, 1, 100);
  ratio.memory_ratio_percent = 201;
  EXPECT_NE(error(ratio).find("outside 100..200"), std::string::npos);
  RequestSpec machine = Ask(0, 1, 500);
  machine.passthrough = true;
  EXPECT_NE(error(machine).find("whole cards"), std::string::npos);
}

}  // namespace
}  // namespace basalt
