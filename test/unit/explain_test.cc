// The explanation agrees with the decision, and its counts add up to the number of nodes.
#include <gtest/gtest.h>

#include <set>

#include "test/support/cluster.h"
#include "test/support/random_world.h"

namespace basalt {
namespace {

using support::Ask;
using support::For;
using support::MakeEngine;
using support::Node;
using support::Observe;

std::string Why(Engine& engine, const RequestSpec& spec) {
  return engine.Explain(For(engine, spec, 777)).text;
}

TEST(Explain, CountsEachNodeByTheFirstReason) {
  auto engine =
      MakeEngine("best-fit", {Node("a", 8000, 1), Node("b", 8000, 1), Node("c", 8000, 1)});
  Observe(*engine, "a", Ask(0, 1, 600), CardSet::Of(0), 1);
  Observe(*engine, "b", Ask(0, 1, 700), CardSet::Of(0), 2);
  Observe(*engine, "c", Ask(4000), {}, 3);
  EXPECT_EQ(Why(*engine, Ask(8000, 1, 460)),
            "2 nodes: no card with 460 milli free; 1 node: CPU short by 4,000 milli or more");
}

TEST(Explain, TextOfEveryReason) {
  NodeSpec memory_node = Node("a", 8000, 2, "T4", 16'000);
  memory_node.max_pods = 3;
  memory_node.labels = {{"zone", "a"}};
  auto engine = MakeEngine("best-fit", {memory_node});
  RequestSpec other = Ask(0, 1, 500);
  other.models = {"A10", "P100"};
  EXPECT_EQ(Why(*engine, other), "1 node: no A10 or P100 card");
  RequestSpec zone = Ask(0);
  zone.node_selector = {{"zone", "b"}};
  EXPECT_EQ(Why(*engine, zone), "1 node: node selector or taint does not match");
  EXPECT_EQ(Why(*engine, Ask(0, 3, 1000)), "1 node: fewer than 3 cards with 1000 milli free");
  EXPECT_EQ(Why(*engine, Ask(9500)), "1 node: CPU short by 1,500 milli or more");
  RequestSpec memory = Ask(0);
  memory.memory_mib = 263'144;
  EXPECT_EQ(Why(*engine, memory), "1 node: memory short by 1,000 MiB or more");
  EXPECT_EQ(Why(*engine, Ask(0, 1, 100)), "1 node: fits");
  Observe(*engine, "a", Ask(0, 1, 300), CardSet::Of(0), 1);
  Observe(*engine, "a", Ask(0, 1, 300), CardSet::Of(1), 2);
  EXPECT_EQ(Why(*engine, Ask(0, 1, 1000)), "1 node: no whole card free");
  RequestSpec card_memory = Ask(0, 1, 100);
  card_memory.gpu_memory_mib = 12'000;
  EXPECT_EQ(Why(*engine, card_memory), "1 node: fits");
  RequestSpec hog = Ask(0, 2, 0);
  hog.gpu_memory_mib = 8000;
  Observe(*engine, "a", hog, CardSet(0b11), 3);
  EXPECT_EQ(Why(*engine, card_memory),
            "1 node: card memory short on the cards with enough compute");
  EXPECT_EQ(Why(*engine, Ask(0)), "1 node: pod limit reached");
  ASSERT_TRUE(engine->Apply(NodeCordoned{"a", true}, SimTime{}).has_value());
  EXPECT_EQ(Why(*engine, Ask(0)), "1 node: cordoned");
}

// An Infeasible answer is about the empty cluster: what runs now is not the reason.
TEST(Explain, InfeasibleIsJudgedOnTheEmptyCluster) {
  auto engine = MakeEngine("best-fit", {Node("a", 8000, 4), Node("b", 8000, 1)});
  Observe(*engine, "a", Ask(7000, 4, 1000), CardSet(0b1111), 1);
  const Explanation why = engine->Explain(For(*engine, Ask(9000, 1, 1000), 1));
  EXPECT_EQ(why.kind, OutcomeKind::kInfeasible);
  EXPECT_EQ(why.text, "2 nodes: CPU short by 1,000 milli or more");
}

TEST(Explain, ListsTheBestCandidatesInDecisionOrder) {
  auto engine = MakeEngine("best-fit", {Node("a", 64'000, 8), Node("b", 8000, 2),
                                        Node("c", 32'000, 4), Node("d", 0, 0)});
  const Request request = For(*engine, Ask(1000, 1, 500), 1);
  const Explanation why = engine->Explain(request, 2);
  ASSERT_EQ(why.best.size(), 2U);
  EXPECT_EQ(engine->state().name(why.best[0].node), "b");
  EXPECT_EQ(engine->state().name(why.best[1].node), "c");
  EXPECT_GE(why.best[0].score, why.best[1].score);
  const Outcome outcome = engine->Propose(request, SimTime{});
  EXPECT_EQ(outcome.placement.node, why.best[0].node);
  EXPECT_EQ(outcome.placement.cards, why.best[0].cards);
  EXPECT_EQ(outcome.placement.score, why.best[0].score);
  EXPECT_EQ(why.text, "3 nodes: fits; 1 node: no card with 500 milli free");
}

TEST(Explain, AgreesWithTheDecisionOnRandomClusters) {
  std::set<Reason> seen;
  for (int seed = 0; seed < support::Scaled(600); ++seed) {
    support::World world(static_cast<std::uint64_t>(seed) + 20'000, {});
    auto engine = MakeEngine("gpu-packing", world.nodes);
    for (int i = 0; i < 20; ++i) {
      support::Play(*engine, world, world.Next(), SimTime{i});
      const Request request =
          For(*engine, world.shapes[static_cast<std::size_t>(i) % world.shapes.size()], 800'000);
      const Explanation why = engine->Explain(request);
      const Outcome outcome = engine->Propose(request, SimTime{i});
      ASSERT_EQ(why.kind, outcome.kind) << "seed " << seed << " step " << i;
      ASSERT_EQ(why.placement.node, outcome.placement.node);
      ASSERT_EQ(why.placement.cards, outcome.placement.cards);
      std::int64_t sum = 0;
      std::int64_t fits = 0;
      std::int64_t last = why.nodes;
      for (const ReasonCount& count : why.counts) {
        ASSERT_GT(count.nodes, 0);
        ASSERT_LE(count.nodes, last);  // most nodes first
        last = count.nodes;
        sum += count.nodes;
        seen.insert(count.reason);
        if (count.reason == Reason::kFits) fits = count.nodes;
        if (count.reason == Reason::kCpuShort || count.reason == Reason::kMemoryShort) {
          ASSERT_GT(count.least_short, 0);
        }
      }
      ASSERT_EQ(sum, static_cast<std::int64_t>(engine->state().order().size()));
      ASSERT_EQ(sum, why.nodes);
      ASSERT_EQ(fits > 0, outcome.placed())
          << "seed " << seed << " step " << i << ": " << why.text << "; "
          << Describe(world.shapes[static_cast<std::size_t>(i) % world.shapes.size()]);
    }
  }
  if (support::Scaled(100) >= 100) {
    // Every reason was met, but for those of slices (slices_test), of slot quotas (slot_quota_test)
    // and of nodes that were ruled out (node_choice_test).
    for (const Reason reason : {Reason::kGuaranteedShort, Reason::kCardRule, Reason::kSlicesApart,
                                Reason::kKeptForSlots, Reason::kExcluded}) {
      seen.insert(reason);
    }
    EXPECT_EQ(seen.size(), kReasons);
  }
}

// A pod that asked for card memory may be observed on a card of unknown memory; that must not make
// the explanation disagree with the decision (card memory is not scheduled there).
TEST(Explain, UnknownCardMemoryIsNotShort) {
  auto engine = MakeEngine("best-fit", {Node("a", 8000, 1)});
  RequestSpec memory = Ask(0, 1, 100);
  memory.gpu_memory_mib = 1000;
  Observe(*engine, "a", memory, CardSet::Of(0), 1);
  const Request request = For(*engine, Ask(0, 1, 500), 1);
  EXPECT_TRUE(engine->Propose(request, SimTime{}).placed());
  EXPECT_EQ(engine->Explain(request).text, "1 node: fits");
}

TEST(Explain, AHeldPodIsExplainedAsHeld) {
  auto engine = MakeEngine("best-fit", {Node("a", 8000, 1)});
  const Request request = For(*engine, Ask(0, 1, 1000), 1);
  ASSERT_TRUE(engine->Place(request, SimTime{}).placed());
  EXPECT_EQ(engine->Explain(request).kind, OutcomeKind::kPlaced);
  Request next = request;
  next.attempt = 1;
  EXPECT_EQ(engine->Explain(next).kind, OutcomeKind::kWait);
}

}  // namespace
}  // namespace basalt
