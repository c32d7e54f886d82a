// Queues in the engine: what they refuse, what they are charged, and that charges are what is held.
#include <gtest/gtest.h>

#include "scheduler-core/base/rng.h"
#include "test/support/cluster.h"

namespace basalt {
namespace {

using support::Ask;
using support::For;
using support::MakeEngine;
using support::Node;
using support::Uid;

void SetQueue(Engine& engine, const std::string& name, AmountMap guarantee, AmountMap capacity,
              const std::string& parent = "") {
  QueueSpec spec;
  spec.name = name;
  spec.parent = parent;
  spec.guarantee = std::move(guarantee);
  spec.capacity = std::move(capacity);
  const Status ok = engine.Apply(QueueSet{spec}, SimTime{});
  ASSERT_TRUE(ok.has_value()) << ok.error().ToString();
}

Request Of(Engine& engine, const std::string& queue, const RequestSpec& spec, std::uint64_t uid) {
  Request request = For(engine, spec, uid);
  request.standing.queue = queue;
  return request;
}

std::int64_t Held(const Engine& engine, const std::string& queue, const std::string& resource) {
  const QueueTree& tree = engine.queues();
  return tree.allocated(*tree.Find(queue))[*tree.resources().Find(resource)];
}

TEST(EngineQuotas, CapacityMakesWaitAndOnlyMoreThanAllOfItIsInfeasible) {
  auto engine = MakeEngine("best-fit", {Node("n", 64'000, 8)});
  SetQueue(*engine, "ml", {}, {{"gpu", 4000}});
  EXPECT_TRUE(engine->Place(Of(*engine, "ml", Ask(1000, 3, 1000), 1), SimTime{}).placed());
  const Outcome waits = engine->Propose(Of(*engine, "ml", Ask(1000, 2, 1000), 2), SimTime{});
  EXPECT_EQ(waits.kind, OutcomeKind::kWait);
  EXPECT_TRUE(waits.by_quota);
  EXPECT_EQ(waits.reason, "queue 'ml' has 3 of 4 gpu, 2 more asked");
  const Outcome never = engine->Propose(Of(*engine, "ml", Ask(1000, 5, 1000), 3), SimTime{});
  EXPECT_EQ(never.kind, OutcomeKind::kInfeasible);
  EXPECT_EQ(never.reason, "queue 'ml' may hold 4 gpu at most, 5 asked");
  EXPECT_EQ(engine->Explain(Of(*engine, "ml", Ask(1000, 2, 1000), 2)).kind, OutcomeKind::kWait);
  // Nobody else is held back, and what ends gives its part back.
  EXPECT_TRUE(engine->Place(For(*engine, Ask(1000, 2, 1000), 4), SimTime{}).placed());
  ASSERT_TRUE(engine->Release(Uid(1), SimTime{}).has_value());
  EXPECT_EQ(Held(*engine, "ml", "gpu"), 0);
  EXPECT_TRUE(engine->Place(Of(*engine, "ml", Ask(1000, 2, 1000), 2), SimTime{}).placed());
  EXPECT_EQ(Held(*engine, "ml", "gpu"), 2000);
  EXPECT_TRUE(engine->Audit().has_value());
}

TEST(EngineQuotas, AModelsNameMayHaveSpaces) {
  auto engine = MakeEngine("best-fit", {Node("n", 64'000, 8, "NVIDIA A30")});
  SetQueue(*engine, "ml", {}, {{"cards/NVIDIA A30", 1}});
  EXPECT_TRUE(engine->Place(Of(*engine, "ml", Ask(1000, 1, 1000), 1), SimTime{}).placed());
  EXPECT_EQ(engine->Place(Of(*engine, "ml", Ask(1000, 1, 1000), 2), SimTime{}).kind,
            OutcomeKind::kWait);
}

// A pod that holds nothing that counts still keeps its queue a leaf, and can end.
TEST(EngineQuotas, PodsOfNoAmountAreInTheirQueue) {
  auto engine = MakeEngine("best-fit", {Node("n", 64'000, 8)});
  SetQueue(*engine, "ml", {}, {});
  EXPECT_TRUE(engine->Place(Of(*engine, "ml", Ask(0), 1), SimTime{}).placed());
  QueueSpec below;
  below.name = "vision";
  below.parent = "ml";
  EXPECT_FALSE(engine->Apply(QueueSet{below}, SimTime{}).has_value());
  EXPECT_FALSE(engine->Apply(QueueRemoved{"ml"}, SimTime{}).has_value());
  ASSERT_TRUE(engine->Release(Uid(1), SimTime{}).has_value());
  EXPECT_TRUE(engine->Apply(QueueSet{below}, SimTime{}).has_value());
}

TEST(EngineQuotas, SkusAreCounted) {
  auto engine = MakeEngine("best-fit", {Node("n", 64'000, 8)});
  SetQueue(*engine, "ml", {}, {{"sku/small", 2}});
  for (std::uint64_t uid = 1; uid <= 3; ++uid) {
    Request request = Of(*engine, "ml", Ask(1000, 1, 100), uid);
    request.standing.sku = "small";
    const Outcome outcome = engine->Place(request, SimTime{});
    EXPECT_EQ(outcome.placed(), uid < 3);
    if (uid == 3) {
      EXPECT_EQ(outcome.reason, "queue 'ml' has 2 of 2 sku/small, 1 more asked");
    }
  }
  EXPECT_TRUE(engine->Audit().has_value());
}

// A queue's pods have oversubscribed memory as far as the queue allows, whatever the card does.
TEST(EngineQuotas, AQueueLimitsOversubscription) {
  NodeSpec node = Node("n", 64'000, 1, "T4", 10'000);
  node.cards[0].memory_ratio_percent = 200;
  auto engine = MakeEngine("best-fit", {node});
  QueueSpec queue;
  queue.name = "ml";
  queue.memory_ratio_percent = 150;
  ASSERT_TRUE(engine->Apply(QueueSet{queue}, SimTime{}).has_value());
  RequestSpec spec = Ask(0, 1, 100);
  spec.gpu_memory_mib = 8000;
  spec.service_class = ServiceClass::kBestEffort;
  EXPECT_TRUE(engine->Place(Of(*engine, "ml", spec, 1), SimTime{}).placed());
  EXPECT_EQ(engine->Place(Of(*engine, "ml", spec, 2), SimTime{}).kind, OutcomeKind::kWait);
  EXPECT_EQ(engine->Explain(Of(*engine, "ml", spec, 2)).kind, OutcomeKind::kWait);
  EXPECT_TRUE(engine->Place(For(*engine, spec, 3), SimTime{}).placed());
}

// What hardware lacks is no reason to let a queue take another's guarantee for good.
TEST(EngineQuotas, GuaranteesHoldWhenNodesAreGone) {
  auto engine = MakeEngine("best-fit", {Node("a", 64'000, 5), Node("b", 64'000, 5)});
  SetQueue(*engine, "ml", {{"gpu", 5000}}, {});
  SetQueue(*engine, "web", {}, {});
  ASSERT_TRUE(engine->Place(Of(*engine, "web", Ask(0, 5, 1000), 1), SimTime{}).placed());
  const std::string with_web = engine->state().name(engine->Find(Uid(1))->node);
  ASSERT_TRUE(engine->Apply(NodeCordoned{with_web, true}, SimTime{}).has_value());
  Request firm = Of(*engine, "web", Ask(0, 5, 1000), 2);
  firm.standing.preemptible = false;
  const Outcome outcome = engine->Place(firm, SimTime{});
  EXPECT_FALSE(outcome.placed());
  EXPECT_TRUE(outcome.by_quota);
}

TEST(EngineQuotas, AReservationIsCheckedAgain) {
  auto engine = MakeEngine("best-fit", {Node("n", 64'000, 8)});
  SetQueue(*engine, "ml", {}, {{"slices", 1}});
  const Request a = Of(*engine, "ml", Ask(1000, 1, 300), 1);
  const Request b = Of(*engine, "ml", Ask(1000, 1, 300), 2);
  const Outcome first = engine->Propose(a, SimTime{});
  const Outcome second = engine->Propose(b, SimTime{});
  ASSERT_TRUE(engine->Reserve(a, first.placement, SimTime{}).has_value());
  const auto refused = engine->Reserve(b, second.placement, SimTime{});
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message.find("queue 'ml' has 1 of 1 slices"), std::string::npos);
}

TEST(EngineQuotas, AnUnknownQueueAndAnInnerOneAreRefused) {
  auto engine = MakeEngine("best-fit", {Node("n", 64'000, 8)});
  SetQueue(*engine, "ml", {}, {});
  SetQueue(*engine, "ml/vision", {}, {}, "ml");
  EXPECT_EQ(engine->Propose(Of(*engine, "mll", Ask(1000), 1), SimTime{}).kind,
            OutcomeKind::kInfeasible);
  EXPECT_EQ(engine->Propose(Of(*engine, "ml", Ask(1000), 1), SimTime{}).reason,
            "queue 'ml' has queues below it: name one of them");
  EXPECT_TRUE(engine->Propose(Of(*engine, "ml/vision", Ask(1000), 1), SimTime{}).placed());
  GangRequest gang;
  gang.uid = Uid(5);
  gang.spec.tasks.push_back({"t", *engine->InternShape(Ask(1000)), 2, 2, -1});
  gang.standing.queue = "nowhere";
  EXPECT_FALSE(engine->ProposeGang(gang, SimTime{}).has_value());
}

TEST(EngineQuotas, ALimitOfOneModelSendsThePodToAnother) {
  auto engine = MakeEngine("best-fit", {Node("a", 64'000, 4, "A100"), Node("h", 64'000, 4, "H20")});
  SetQueue(*engine, "ml", {}, {{"gpu/A100", 1000}});
  EXPECT_EQ(support::NodeName(*engine,
                              engine->Place(Of(*engine, "ml", Ask(1000, 1, 1000), 1), SimTime{})),
            "a");
  const Outcome second = engine->Place(Of(*engine, "ml", Ask(1000, 1, 1000), 2), SimTime{});
  EXPECT_EQ(support::NodeName(*engine, second), "h");
  RequestSpec only = Ask(1000, 1, 1000);
  only.models = {"A100"};
  const Outcome waits = engine->Propose(Of(*engine, "ml", only, 3), SimTime{});
  EXPECT_EQ(waits.kind, OutcomeKind::kWait);
  EXPECT_EQ(waits.reason, "queue 'ml' has 1 of 1 gpu/A100, 1 more asked");
  EXPECT_TRUE(engine->Audit().has_value());
}

// What a pod holds depends on the card: where the best node's would be too much, the next one is
// asked.
TEST(EngineQuotas, WhereTheBestNodeWouldBeTooMuchAnotherOneTakesThePod) {
  auto engine = MakeEngine("binpack", {Node("big", 64'000, 2, "A100", 80'000),
                                       Node("small", 64'000, 2, "A100", 40'000)});
  SetQueue(*engine, "ml", {}, {{"gpu-memory/A100", 45'000}});
  RequestSpec half = Ask(1000, 1, 500);
  half.gpu_memory_percent = 60;
  const Request pod = Of(*engine, "ml", half, 1);
  const Explanation why = engine->Explain(pod);
  ASSERT_EQ(why.kind, OutcomeKind::kPlaced) << why.text;
  EXPECT_EQ(engine->state().name(why.placement.node), "small");
  EXPECT_EQ(support::NodeName(*engine, engine->Place(pod, SimTime{})), "small");
  const Outcome waits = engine->Propose(Of(*engine, "ml", half, 2), SimTime{});
  EXPECT_EQ(waits.kind, OutcomeKind::kWait);
  EXPECT_TRUE(waits.by_quota);
  half.gpu_memory_percent = 0;
  half.gpu_memory_mib = 46'000;
  EXPECT_EQ(engine->Propose(Of(*engine, "ml", half, 3), SimTime{}).kind, OutcomeKind::kInfeasible);
  EXPECT_TRUE(engine->Audit().has_value());
}

TEST(EngineQuotas, WhereAMigInstanceWouldBeTooLargeAPlainCardTakesThePod) {
  CardRules rules;
  rules.model = "A100";
  rules.vendor = "nvidia";
  rules.mig_slots = 8;
  rules.mig = {{"1g.10gb", 9728, 142, 1, {0, 1, 2, 3, 4, 5, 6}, false}};
  NodeSpec mig = Node("mig", 64'000, 1, "A100", 80'000);
  mig.cards[0].mode = CardMode::kMig;
  for (const bool mig_first : {false, true}) {
    auto engine = MakeEngine("binpack", {});
    ASSERT_TRUE(engine->Apply(CardRulesSet{rules}, SimTime{}).has_value());
    const NodeSpec plain = Node("plain", 64'000, 1, "A100", 80'000);
    for (const NodeSpec& node : {mig_first ? mig : plain, mig_first ? plain : mig}) {
      ASSERT_TRUE(engine->Apply(NodeAdded{node}, SimTime{}).has_value());
    }
    // The MIG node is the fuller one, and so the best.
    support::Observe(*engine, "mig", Ask(20'000), CardSet(), 9);
    SetQueue(*engine, "ml", {}, {{"gpu-memory/A100", 6000}});
    RequestSpec spec = Ask(1000, 1, 100);
    spec.gpu_memory_mib = 5000;
    EXPECT_EQ(support::NodeName(*engine, engine->Propose(For(*engine, spec, 1), SimTime{})), "mig");
    EXPECT_EQ(support::NodeName(*engine, engine->Place(Of(*engine, "ml", spec, 2), SimTime{})),
              "plain");
    EXPECT_EQ(engine->Propose(Of(*engine, "ml", spec, 3), SimTime{}).kind, OutcomeKind::kWait);
  }
}

// Reserve refuses what Propose would not have proposed.
TEST(EngineQuotas, AReservationKeepsTheQueuesOversubscription) {
  NodeSpec node = Node("n", 64'000, 1, "T4", 10'000);
  node.cards[0].memory_ratio_percent = 200;
  auto engine = MakeEngine("best-fit", {node});
  QueueSpec queue;
  queue.name = "ml";
  queue.memory_ratio_percent = 150;
  ASSERT_TRUE(engine->Apply(QueueSet{queue}, SimTime{}).has_value());
  RequestSpec spec = Ask(0, 1, 100);
  spec.gpu_memory_mib = 8000;
  spec.service_class = ServiceClass::kBestEffort;
  const Outcome one = engine->Place(Of(*engine, "ml", spec, 1), SimTime{});
  ASSERT_TRUE(one.placed());
  EXPECT_FALSE(engine->Reserve(Of(*engine, "ml", spec, 2), one.placement, SimTime{}).has_value());
  EXPECT_TRUE(engine->Reserve(For(*engine, spec, 3), one.placement, SimTime{}).has_value());
}

TEST(EngineQuotas, WhatIsNotPreemptibleLeavesTheGuaranteesOfOthers) {
  auto engine = MakeEngine("best-fit", {Node("n", 64'000, 8)});
  SetQueue(*engine, "a", {{"gpu", 6000}}, {});
  SetQueue(*engine, "b", {}, {});
  Request firm = Of(*engine, "b", Ask(1000, 3, 1000), 1);
  firm.standing.preemptible = false;
  const Outcome waits = engine->Propose(firm, SimTime{});
  EXPECT_EQ(waits.kind, OutcomeKind::kWait);
  EXPECT_NE(waits.reason.find("would break a guarantee"), std::string::npos) << waits.reason;
  EXPECT_TRUE(engine->Place(Of(*engine, "b", Ask(1000, 3, 1000), 1), SimTime{}).placed());
}

TEST(EngineQuotas, ObservationsAreChargedAsTheyAreAlsoBeforeTheirQueue) {
  auto engine = MakeEngine("best-fit", {Node("n", 64'000, 8)});
  PodObserved pod{Uid(1), 0, Ask(1000, 4, 1000), 0, "n", CardSet(0xF)};
  pod.standing.queue = "ml";
  ASSERT_TRUE(engine->Apply(pod, SimTime{}).has_value());
  EXPECT_FALSE(engine->Find(Uid(1))->queue.valid());
  SetQueue(*engine, "ml", {}, {{"gpu", 2000}});
  EXPECT_EQ(Held(*engine, "ml", "gpu"), 4000);
  EXPECT_FALSE(engine->Propose(Of(*engine, "ml", Ask(0, 1, 1000), 2), SimTime{}).placed());
  EXPECT_FALSE(engine->Apply(QueueRemoved{"ml"}, SimTime{}).has_value());
  ASSERT_TRUE(engine->Apply(PodGone{Uid(1)}, SimTime{}).has_value());
  EXPECT_TRUE(engine->Apply(QueueRemoved{"ml"}, SimTime{}).has_value());
}

TEST(EngineQuotas, AGangGrowsAsFarAsItsQueueAllows) {
  auto engine = MakeEngine("best-fit", {Node("n", 64'000, 8)});
  SetQueue(*engine, "ml", {}, {{"cards", 5}});
  GangRequest gang;
  gang.uid = Uid(1);
  gang.spec.tasks.push_back({"t", *engine->InternShape(Ask(1000, 1, 1000)), 2, 8, -1});
  gang.standing.queue = "ml";
  const auto placed = engine->PlaceGang(gang, SimTime{});
  ASSERT_TRUE(placed.has_value() && placed->placed());
  EXPECT_EQ(placed->members.size(), 5U);
  EXPECT_EQ(Held(*engine, "ml", "cards"), 5);
  gang.uid = Uid(2);
  const auto waits = engine->ProposeGang(gang, SimTime{});
  ASSERT_TRUE(waits.has_value());
  EXPECT_TRUE(waits->by_quota);
  EXPECT_EQ(waits->reason, "queue 'ml' has 5 of 5 cards, 2 more asked");
}

// Whatever comes, no decision takes a queue above its capacity, and charges are what is held.
TEST(EngineQuotas, RandomHistoriesKeepCapacitiesAndCharges) {
  for (int seed = 0; seed < support::Scaled(40); ++seed) {
    Rng rng(static_cast<std::uint64_t>(seed), 9);
    auto engine = MakeEngine("binpack", {Node("a", 64'000, 8, "A100"), Node("b", 64'000, 8, "H20"),
                                         Node("c", 32'000, 4, "A100", 40'000)});
    SetQueue(*engine, "x", {}, {{"gpu", 9000}});
    SetQueue(*engine, "x/1", {}, {{"cards", 3}, {"gpu/A100", 4000}}, "x");
    SetQueue(*engine, "x/2", {}, {{"slices", 4}, {"cpu", 20'000}}, "x");
    std::vector<std::uint64_t> held;
    for (std::uint64_t step = 1; step < 200; ++step) {
      const SimTime now = SimTime::Seconds(static_cast<std::int64_t>(step));
      const std::uint32_t what = rng.Below(10);
      if (what < 6) {
        RequestSpec spec = Ask(500 * rng.Below(6), 1, 100 + 100 * static_cast<int>(rng.Below(10)));
        if (rng.Below(3) == 0) spec.models = {rng.Below(2) == 0 ? "A100" : "H20"};
        const char* queues[] = {"x/1", "x/2", ""};
        Request request = Of(*engine, queues[rng.Below(3)], spec, step);
        request.standing.preemptible = rng.Below(2) == 0;
        if (engine->Place(request, now).placed()) held.push_back(step);
      } else if (what < 9 && !held.empty()) {
        const std::uint32_t at = rng.Below(static_cast<std::uint32_t>(held.size()));
        ASSERT_TRUE(engine->Release(Uid(held[at]), now).has_value());
        held.erase(held.begin() + at);
      } else {
        ASSERT_TRUE(engine->Apply(NodeCordoned{"c", rng.Below(2) == 0}, now).has_value());
      }
      const Status audit = engine->Audit();
      ASSERT_TRUE(audit.has_value()) << audit.error().ToString() << " seed " << seed;
      const QueueTree& tree = engine->queues();
      for (const QueueId id : tree.order()) {
        for (std::size_t r = 0; id != QueueTree::kRoot && r < tree.resources().size(); ++r) {
          ASSERT_LE(tree.allocated(id)[ResourceId(r)], tree.capacity(id)[ResourceId(r)]);
        }
      }
    }
  }
}

}  // namespace
}  // namespace basalt
