// Golden scores of the published policies, computed by hand from the formulas in the reference
// (fgd-and-traces section 2.3), and the behaviour of the policies that wrap others.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <memory>
#include <string>
#include <vector>

#include "test/support/cluster.h"

namespace basalt {
namespace {

using support::Ask;
using support::For;
using support::MakeEngine;
using support::Node;
using support::NodeName;
using support::Observe;
using support::Policy;
using testing::ElementsAre;

// The scores of the feasible nodes, in rank order.
std::vector<Score> Scores(Engine& engine, const RequestSpec& spec) {
  const Request request = For(engine, spec, 4242);
  const ClusterState& state = engine.state();
  WorkCounters work;
  const PlacementContext context{state,
                                 request.shape,
                                 state.shape(request.shape),
                                 engine.policy().card_rule,
                                 engine.fragmentation(),
                                 nullptr,
                                 &engine.domains(),
                                 1,
                                 work};
  std::vector<NodeId> feasible;
  for (const NodeId node : state.order()) {
    if (state.Fits(request.shape, node)) feasible.push_back(node);
  }
  std::vector<Score> scores(feasible.size());
  engine.policy().policy->ScoreNodes(context, feasible, scores);
  return scores;
}

Score SetScore(Engine& engine, const RequestSpec& spec, const std::string& node, CardSet cards) {
  const Request request = For(engine, spec, 4242);
  WorkCounters work;
  const PlacementContext context{engine.state(),
                                 request.shape,
                                 engine.state().shape(request.shape),
                                 engine.policy().card_rule,
                                 engine.fragmentation(),
                                 nullptr,
                                 &engine.domains(),
                                 1,
                                 work};
  return engine.policy().policy->ScoreSet(context, engine.state().FindNode(node), cards);
}

// 32 of 64 CPU and 3,500 of 8,000 milli free.
std::unique_ptr<Engine> HalfUsed(std::string_view policy) {
  auto engine = MakeEngine(policy, {Node("a", 64'000, 8)});
  Observe(*engine, "a", Ask(32'000, 4, 1000), CardSet(0b1111), 1);
  Observe(*engine, "a", Ask(0, 1, 500), CardSet::Of(4), 2);
  return engine;
}

TEST(DotProduct, GoldenScores) {
  auto engine = HalfUsed("dot-product");
  // 100 (1 - (0.25 x 0.0625 + 0.4375 x 0.0625) / 2) = 97.85; the GPU asked is 500 of 8000.
  EXPECT_THAT(Scores(*engine, Ask(8000, 1, 500)), ElementsAre(97));
  // 100 (1 - (0.25 x 0.25 + 0.4375 x 0.375) / 2) = 88.67
  EXPECT_THAT(Scores(*engine, Ask(32'000, 3, 1000)), ElementsAre(88));
  EXPECT_THAT(Scores(*engine, Ask(32'000)), ElementsAre(96));  // 96.875
  EXPECT_THAT(Scores(*engine, Ask(0)), ElementsAre(100));
}

TEST(BestFit, GoldenScores) {
  auto engine = HalfUsed("best-fit");
  // 100 (1 - (24/128 + 3/8) / 2) = 71.875
  EXPECT_THAT(Scores(*engine, Ask(8000, 1, 500)), ElementsAre(71));
  // 100 (1 - (0 + 0.5/8) / 2) = 96.875
  EXPECT_THAT(Scores(*engine, Ask(32'000, 3, 1000)), ElementsAre(96));
}

TEST(GpuClustering, GoldenBands) {
  const RequestSpec share = Ask(1000, 1, 500);
  auto engine = HalfUsed("gpu-clustering");
  const Score within = 14;                                        // 25 x (8000 - 3500) / 8000
  EXPECT_THAT(Scores(*engine, share), ElementsAre(within + 50));  // among others
  EXPECT_THAT(Scores(*engine, Ask(1000, 4 - 1, 1000)), ElementsAre(within));  // only other kinds
  EXPECT_THAT(Scores(*engine, Ask(1000)), ElementsAre(0));                    // no GPU
  auto empty = MakeEngine("gpu-clustering", {Node("a", 64'000, 8)});
  EXPECT_THAT(Scores(*empty, share), ElementsAre(25));
  Observe(*empty, "a", Ask(1000), {}, 1);  // CPU-only pods are no GPU work
  EXPECT_THAT(Scores(*empty, share), ElementsAre(25));
  Observe(*empty, "a", share, CardSet::Of(0), 2);
  EXPECT_THAT(Scores(*empty, share), ElementsAre(75 + 1));  // 25 x 500 / 8000 = 1
}

TEST(GpuPacking, GoldenBands) {
  const RequestSpec share = Ask(1000, 1, 460);
  auto idle = MakeEngine("gpu-packing", {Node("a", 64'000, 8), Node("b", 64'000, 2)});
  EXPECT_THAT(Scores(*idle, share), ElementsAre(25, 31));  // max(33 - n, n)
  auto engine = HalfUsed("gpu-packing");
  EXPECT_THAT(Scores(*engine, share), ElementsAre(95));              // 100 - 50/10
  EXPECT_THAT(Scores(*engine, Ask(1000, 1, 501)), ElementsAre(49));  // opens an idle card
  EXPECT_THAT(Scores(*engine, Ask(1000, 3, 1000)), ElementsAre(47));
  EXPECT_THAT(Scores(*engine, Ask(1000)), ElementsAre(0));
  Observe(*engine, "a", Ask(0, 1, 40), CardSet::Of(4), 3);
  EXPECT_THAT(Scores(*engine, share), ElementsAre(96));  // 46 / 10 = 4, integers each
}

// A request for memory alone takes the tightest card that still takes a slice, not a full one.
TEST(GpuPacking, MemoryOnlyRequestDoesNotCountFullCards) {
  auto engine = MakeEngine("gpu-packing", {Node("a", 64'000, 2)});
  Observe(*engine, "a", Ask(0, 1, 1000), CardSet::Of(0), 1);
  RequestSpec memory = Ask(0, 1, 0);
  memory.gpu_memory_percent = 30;
  EXPECT_THAT(Scores(*engine, memory), ElementsAre(49));  // the only card left is idle
  const Outcome outcome = engine->Propose(For(*engine, memory, 1), SimTime{});
  EXPECT_EQ(outcome.placement.cards, CardSet::Of(1));
}

TEST(Fgd, GoldenScoresAndCards) {
  EngineOptions options;
  const std::vector<TargetWorkload::Counted> counted = {{Ask(1000, 1, 500), 1}};
  options.target = TargetWorkload(counted, 100);
  auto engine = MakeEngine("fgd", {Node("a", 64'000, 2)}, options);
  Observe(*engine, "a", Ask(0, 1, 400), CardSet::Of(0), 1);  // cards: 600, 1000; F = 0
  // Card 0 leaves nothing (F' = 0, score 50); card 1 leaves 400 (F' = 400, sigmoid(-0.4) = 0.401).
  const RequestSpec ask = Ask(1000, 1, 600);
  EXPECT_EQ(SetScore(*engine, ask, "a", CardSet::Of(0)), 50);
  EXPECT_EQ(SetScore(*engine, ask, "a", CardSet::Of(1)), 40);
  EXPECT_THAT(Scores(*engine, ask), ElementsAre(50));
  EXPECT_EQ(engine->Propose(For(*engine, ask, 1), SimTime{}).placement.cards, CardSet::Of(0));
  // Using up a fragment is a gain: with 400 free on card 0, F = 400, and taking it leaves F' = 0.
  Observe(*engine, "a", Ask(0, 1, 200), CardSet::Of(0), 2);
  EXPECT_EQ(SetScore(*engine, Ask(0, 1, 400), "a", CardSet::Of(0)), 59);  // sigmoid(0.4) = 0.5987
  // Taking the CPU strands all that is idle: F 400 -> 1400, sigmoid(-1) = 0.2689.
  EXPECT_THAT(Scores(*engine, Ask(63'500)), ElementsAre(26));
  // A node without cards has nothing to fragment.
  auto no_cards = MakeEngine("fgd", {Node("a", 64'000, 0)}, options);
  EXPECT_THAT(Scores(*no_cards, Ask(1000)), ElementsAre(50));
}

// The first of equals: integer scores tie often, and the lowest card index wins.
TEST(Fgd, EqualIntegerScoresTakeTheFirstCard) {
  EngineOptions options;
  const std::vector<TargetWorkload::Counted> counted = {{Ask(1000, 1, 500), 1}};
  options.target = TargetWorkload(counted, 100);
  auto engine = MakeEngine("fgd", {Node("a", 64'000, 3)}, options);
  Observe(*engine, "a", Ask(0, 1, 100), CardSet::Of(0), 1);
  // After 300: 600, 700 and 700 are free on the cards; no fragment anywhere, all score 50.
  EXPECT_EQ(engine->Propose(For(*engine, Ask(0, 1, 300), 1), SimTime{}).placement.cards,
            CardSet::Of(0));
}

TEST(Pwr, GoldenWatts) {
  auto engine = MakeEngine(
      "pwr", {Node("t4", 64'000, 2), Node("p100", 64'000, 2, "P100"), Node("g3", 64'000, 2, "G3"),
              Node("new", 64'000, 2, "B300"), Node("cpu", 64'000, 0)});
  const RequestSpec ask = Ask(1000, 1, 500);
  // The first core opens a socket: 8269CY 205 - 20 W, 2682 v4 120 - 15 W.
  EXPECT_EQ(SetScore(*engine, ask, "t4", CardSet::Of(0)), -(60 + 185));
  EXPECT_EQ(SetScore(*engine, ask, "p100", CardSet::Of(0)), -(225 + 105));
  EXPECT_EQ(SetScore(*engine, ask, "g3", CardSet::Of(0)), -(350 + 185));
  EXPECT_EQ(SetScore(*engine, ask, "new", CardSet::Of(0)), -185);  // no published watts
  EXPECT_EQ(SetScore(*engine, Ask(1000), "cpu", {}), -105);
  Observe(*engine, "t4", ask, CardSet::Of(0), 1);
  EXPECT_EQ(SetScore(*engine, ask, "t4", CardSet::Of(0)), 0);    // card and socket are on
  EXPECT_EQ(SetScore(*engine, ask, "t4", CardSet::Of(1)), -60);  // the other card is not
  EXPECT_EQ(SetScore(*engine, Ask(0, 2, 300), "p100", CardSet(0b11)), -450);
  // t4 0, p100 -330, g3 -535, new -185: (x + 535) x 100 / 535.
  EXPECT_THAT(Scores(*engine, ask), ElementsAre(100, 38, 0, 65));
  // 26 cores are one 8269CY socket; the 27th opens the second.
  Observe(*engine, "t4", Ask(50'000), {}, 2);
  EXPECT_EQ(SetScore(*engine, Ask(1000), "t4", {}), 0);
  EXPECT_EQ(SetScore(*engine, Ask(3000), "t4", {}), -185);
}

TEST(Pwr, EqualIncreasesScoreTheSame) {
  auto engine = MakeEngine("pwr", {Node("a", 64'000, 2), Node("b", 64'000, 2)});
  EXPECT_THAT(Scores(*engine, Ask(1000, 1, 500)), ElementsAre(100, 100));
}

TEST(BinpackAndSpread, FullnessInThousandths) {
  auto engine = HalfUsed("binpack");
  EXPECT_THAT(Scores(*engine, Ask(8000, 1, 500)), ElementsAre(625));  // 5,000 of 8,000 taken
  // CPU and memory: (40/64 + 0) / 2 in thousandths.
  EXPECT_THAT(Scores(*engine, Ask(8000)), ElementsAre(312));
  auto spread = HalfUsed("spread");
  EXPECT_THAT(Scores(*spread, Ask(8000, 1, 500)), ElementsAre(1000 - 625));
  auto memory = MakeEngine("binpack", {Node("a", 64'000, 2, "T4", 16'000)});
  RequestSpec ask = Ask(0, 1, 500);
  ask.gpu_memory_mib = 8000;
  EXPECT_THAT(Scores(*memory, ask), ElementsAre((250 + 250) / 2));
}

TEST(Blend, WeightsAreSharesOfTheMean) {
  auto engine = HalfUsed("dot-product:1+gpu-packing:3");
  const RequestSpec ask = Ask(8000, 1, 460);
  auto dot = HalfUsed("dot-product");
  auto pack = HalfUsed("gpu-packing");
  ASSERT_THAT(Scores(*dot, ask), ElementsAre(97));
  ASSERT_THAT(Scores(*pack, ask), ElementsAre(95));
  EXPECT_THAT(Scores(*engine, ask), ElementsAre((97 * 1 + 95 * 3) * 1000 / 4));
  EXPECT_FALSE(engine->policy().policy->traits().whole_set);
}

// binpack scores 0..1000, so it is stretched over the feasible nodes first.
TEST(Blend, UnboundedScoresAreStretched) {
  auto engine = MakeEngine("binpack:1+dot-product:1",
                           {Node("a", 64'000, 8), Node("b", 64'000, 4), Node("c", 64'000, 2)});
  // Fullness after: 125, 250, 500 -> 0, 33, 100. Dot product: 0.125 x free / 8000 / 2 off 1:
  // 100 (1 - 0.0625) = 93.75, 96.875, 98.4375.
  EXPECT_THAT(Scores(*engine, Ask(0, 1, 1000)),
              ElementsAre((0 + 93) * 500, (33 + 96) * 500, (100 + 98) * 500));
  EXPECT_TRUE(engine->policy().policy->traits().whole_set);
}

TEST(Blend, TheHeaviestComponentChoosesTheCards) {
  auto by_spread = MakeEngine("spread:2+binpack:1", {Node("a", 64'000, 3)});
  auto by_binpack = MakeEngine("spread:1+binpack:2", {Node("a", 64'000, 3)});
  for (Engine* engine : {by_spread.get(), by_binpack.get()}) {
    Observe(*engine, "a", Ask(0, 1, 500), CardSet::Of(1), 1);
  }
  const RequestSpec ask = Ask(0, 1, 300);
  EXPECT_EQ(by_spread->Propose(For(*by_spread, ask, 1), SimTime{}).placement.cards, CardSet::Of(0));
  EXPECT_EQ(by_binpack->Propose(For(*by_binpack, ask, 1), SimTime{}).placement.cards,
            CardSet::Of(1));
}

TEST(CardRules, EachTakesTheCardsItSays) {
  const auto cards = [](const char* policy, int count) {
    auto engine = MakeEngine(policy, {Node("a", 64'000, 4)});
    Observe(*engine, "a", Ask(0, 1, 100), CardSet::Of(0), 1);  // free: 900, 400, 700, 400
    Observe(*engine, "a", Ask(0, 1, 600), CardSet::Of(1), 2);
    Observe(*engine, "a", Ask(0, 1, 300), CardSet::Of(2), 3);
    Observe(*engine, "a", Ask(0, 1, 600), CardSet::Of(3), 4);
    return engine->Propose(For(*engine, Ask(0, count, 300), 1), SimTime{}).placement.cards.bits();
  };
  EXPECT_EQ(cards("binpack/best", 1), 0b0010U);
  EXPECT_EQ(cards("binpack/spread", 1), 0b0001U);
  EXPECT_EQ(cards("binpack/first", 1), 0b0001U);
  EXPECT_EQ(cards("binpack/best", 2), 0b1010U);
  EXPECT_EQ(cards("binpack/spread", 2), 0b0101U);
  EXPECT_EQ(cards("binpack/first", 3), 0b0111U);
  EXPECT_EQ(cards("binpack/each", 2), 0b1010U);  // several cards: as best
  EXPECT_EQ(std::popcount(cards("binpack/random", 3)), 3);
}

TEST(ClassQuota, AModelPastItsShareIsUsedLast) {
  auto engine = MakeEngine("class-quota(T4=0.5;best-fit)",
                           {Node("t4", 64'000, 2), Node("big", 128'000, 8, "G2")});
  const RequestSpec ask = Ask(1000, 1, 1000);
  EXPECT_EQ(NodeName(*engine, engine->Place(For(*engine, ask, 1), SimTime{})), "t4");
  // Half of the T4 is taken: the share is reached.
  EXPECT_EQ(NodeName(*engine, engine->Place(For(*engine, ask, 2), SimTime{})), "big");
  RequestSpec only_t4 = ask;
  only_t4.models = {"T4"};  // has nowhere else to go
  EXPECT_EQ(NodeName(*engine, engine->Propose(For(*engine, only_t4, 3), SimTime{})), "t4");
  for (std::uint64_t i = 10; i < 17; ++i) engine->Place(For(*engine, ask, i), SimTime{});
  EXPECT_EQ(NodeName(*engine, engine->Propose(For(*engine, ask, 20), SimTime{})), "t4");
  EXPECT_EQ(NodeName(*engine, engine->Propose(For(*engine, Ask(1000), 21), SimTime{})), "t4");
}

// A blend scores 0..100,000; the penalties of the wrapping policies must outweigh it.
TEST(ClassQuota, OutweighsABlend) {
  auto engine = MakeEngine("class-quota(T4=0;gpu-packing:1+gpu-clustering:1)",
                           {Node("t4", 64'000, 8), Node("g2", 64'000, 8, "G2")});
  Observe(*engine, "t4", Ask(0, 1, 400), CardSet::Of(0), 1);  // the blend much prefers this card
  EXPECT_EQ(NodeName(*engine, engine->Propose(For(*engine, Ask(1000, 1, 500), 1), SimTime{})),
            "g2");
}

TEST(SpreadJob, TasksOfOneJobLandOnDifferentNodesWhileAnyFits) {
  for (const char* policy : {"spread-job(binpack)", "spread-job(gpu-packing:1+gpu-clustering:1)",
                             "spread-job(fgd)", "spread-job(best-fit)"}) {
    auto engine =
        MakeEngine(policy, {Node("a", 64'000, 4), Node("b", 64'000, 4), Node("c", 64'000, 4)});
    const RequestSpec ask = Ask(1000, 1, 500);
    std::vector<std::string> names;
    for (std::uint64_t i = 0; i < 6; ++i) {
      names.push_back(NodeName(*engine, engine->Place(For(*engine, ask, i, 0, 7), SimTime{})));
    }
    std::sort(names.begin(), names.end());
    EXPECT_THAT(names, ElementsAre("a", "a", "b", "b", "c", "c")) << policy;
    // A pod of no job goes where the inner policy says; the job's own node frees up again.
    ASSERT_TRUE(engine->Release(support::Uid(0), SimTime{}).has_value());
    const Outcome again = engine->Place(For(*engine, ask, 9, 0, 7), SimTime{});
    EXPECT_TRUE(again.placed());
    for (const NodeId node : engine->state().order()) EXPECT_EQ(engine->state().pods_on(node), 2);
  }
}

// The smallest and the largest local score of binpack lie 1000 apart: a tie would let rank decide.
TEST(SpreadJob, OutweighsTheWholeRangeOfBinpack) {
  NodeSpec small = Node("small", 2, 0);
  small.memory_mib = 2;
  auto engine = MakeEngine("spread-job(binpack)", {small, Node("large", 64'000, 0)});
  RequestSpec ask = Ask(1);
  ask.memory_mib = 1;  // fills `small` to 1000 of 1000 with the second task, `large` to 0
  EXPECT_EQ(NodeName(*engine, engine->Place(For(*engine, ask, 1, 0, 3), SimTime{})), "small");
  EXPECT_EQ(NodeName(*engine, engine->Place(For(*engine, ask, 2, 0, 3), SimTime{})), "large");
}

TEST(Random, UsesEveryFeasibleNodeAndCard) {
  std::vector<NodeSpec> nodes;
  for (int i = 0; i < 5; ++i) nodes.push_back(Node("n" + std::to_string(i), 64'000, 4));
  auto engine = MakeEngine("random", nodes);
  std::vector<int> by_node(5, 0);
  std::vector<int> by_card(4, 0);
  constexpr int kDraws = 20'000;
  for (std::uint64_t i = 0; i < kDraws; ++i) {
    const Outcome outcome = engine->Propose(For(*engine, Ask(0, 1, 500), i), SimTime{});
    ++by_node[outcome.placement.node.index()];
    ++by_card[static_cast<std::size_t>(outcome.placement.cards.lowest())];
  }
  const auto chi2 = [](const std::vector<int>& counts) {
    const double expected = static_cast<double>(kDraws) / static_cast<double>(counts.size());
    double sum = 0;
    for (const int n : counts) sum += (n - expected) * (n - expected) / expected;
    return sum;
  };
  EXPECT_LT(chi2(by_node), 18.5);  // 4 degrees of freedom, p = 0.001
  EXPECT_LT(chi2(by_card), 16.3);  // 3 degrees of freedom, p = 0.001
}

}  // namespace
}  // namespace basalt
