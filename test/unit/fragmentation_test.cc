// How much idle GPU the typical workload cannot use: hand-computed values, the tables against the
// definition, the incremental sums against recomputation, and the choice of the target workload.
#include "scheduler-core/cluster/fragmentation.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

#include "scheduler-core/base/rng.h"
#include "test/support/cluster.h"
#include "test/support/oracle.h"
#include "test/support/random_world.h"

namespace basalt {
namespace {

using support::Ask;
using support::MakeEngine;
using support::Node;
using support::Observe;

std::int64_t Cause(const NodeFragment& f, StrandCause cause) {
  return f.causes[static_cast<std::size_t>(cause)];
}

TargetWorkload Target(std::vector<TargetWorkload::Counted> counted) {
  return TargetWorkload(counted, 100);
}

std::unique_ptr<Engine> EngineFor(const TargetWorkload& target, const NodeSpec& node) {
  EngineOptions options;
  options.target = target;
  return MakeEngine("fgd", {node}, options);
}

// One class of each kind of cause on one node: 8 CPU, cards with 200, 1000 and 300 milli free.
TEST(Fragmentation, EachCauseByHand) {
  const std::vector<std::pair<RequestSpec, StrandCause>> cases = {
      {Ask(1000), StrandCause::kCpuOnly},
      {Ask(1000, 2, 1000), StrandCause::kNoCardFits},
      {Ask(9000, 1, 500), StrandCause::kCpuShort},
      {Ask(9000, 2, 1000), StrandCause::kBoth},
  };
  for (const auto& [spec, cause] : cases) {
    auto engine = EngineFor(Target({{spec, 3}}), Node("a", 8000, 3));
    Observe(*engine, "a", Ask(0, 1, 800), CardSet::Of(0), 1);
    Observe(*engine, "a", Ask(0, 1, 700), CardSet::Of(2), 2);
    const NodeFragment& f = engine->fragmentation()->total();
    EXPECT_EQ(f.idle, 1500);
    EXPECT_EQ(f.fragment(), 3 * 1500) << Describe(spec);
    EXPECT_EQ(Cause(f, cause), 3 * 1500) << Describe(spec);
    EXPECT_EQ(f.usable, 0);
  }
  RequestSpec other_model = Ask(1000, 1, 100);
  other_model.models = {"A10"};
  auto engine = EngineFor(Target({{other_model, 2}}), Node("a", 8000, 3));
  EXPECT_EQ(Cause(engine->fragmentation()->total(), StrandCause::kModelNotAllowed), 6000);
}

// A class that fits counts only the cards beside the fitting ones that are too small for it.
TEST(Fragmentation, DustIsWhatLiesBesideAFittingCard) {
  auto engine = EngineFor(Target({{Ask(1000, 1, 500), 4}}), Node("a", 8000, 3));
  Observe(*engine, "a", Ask(0, 1, 800), CardSet::Of(0), 1);
  Observe(*engine, "a", Ask(0, 1, 501), CardSet::Of(2), 2);
  const NodeFragment& f = engine->fragmentation()->total();
  EXPECT_EQ(Cause(f, StrandCause::kDust), 4 * (200 + 499));
  EXPECT_EQ(f.fragment(), 4 * (200 + 499));
  EXPECT_EQ(f.usable, 4 * 1000);
}

TEST(Fragmentation, CordonedNodesAndUnhealthyCardsAreNotIdleGpu) {
  auto engine = EngineFor(Target({{Ask(1000, 4, 1000), 1}}), Node("a", 8000, 2));
  EXPECT_EQ(engine->fragmentation()->total().fragment(), 2000);
  ASSERT_TRUE(engine->Apply(CardHealthChanged{"a", 1, false}, SimTime{}).has_value());
  EXPECT_EQ(engine->fragmentation()->total().fragment(), 1000);
  ASSERT_TRUE(engine->Apply(NodeCordoned{"a", true}, SimTime{}).has_value());
  EXPECT_EQ(engine->fragmentation()->total().fragment(), 0);
}

// With memory and compute taken in the same proportion, or memory unknown, a card of two dimensions
// strands exactly what the published formula says.
TEST(Fragmentation, TwoDimensionsReduceToThePublishedFormula) {
  Rng rng(11);
  for (int round = 0; round < support::Scaled(300); ++round) {
    RequestSpec share = Ask(4000, 1, 500);
    share.gpu_memory_percent = 50;
    RequestSpec small = Ask(2000, 1, 200);
    small.gpu_memory_percent = 20;
    const TargetWorkload target =
        Target({{share, 5}, {small, 3}, {Ask(8000, 1, 1000), 4}, {Ask(8000, 2, 1000), 2}});
    auto known = EngineFor(target, Node("a", 12'000, 4, "T4", 16'000));
    auto unknown = EngineFor(target, Node("a", 12'000, 4));
    for (int card = 0; card < 4; ++card) {
      const auto tenths = static_cast<std::int32_t>(rng.Below(11));
      if (tenths == 0) continue;
      RequestSpec taken = Ask(0, 1, 100 * tenths);
      taken.gpu_memory_percent = 10 * tenths;
      for (Engine* engine : {known.get(), unknown.get()}) {
        Observe(*engine, "a", taken, CardSet::Of(card), static_cast<std::uint64_t>(card));
      }
    }
    const MilliCpu cpu = rng.Below(13) * 1000;
    for (Engine* engine : {known.get(), unknown.get()}) {
      Observe(*engine, "a", Ask(cpu), {}, 9);
    }
    EXPECT_EQ(known->fragmentation()->total().fragment(),
              unknown->fragmentation()->total().fragment());
    EXPECT_EQ(known->fragmentation()->total().idle, unknown->fragmentation()->total().idle);
  }
}

// Out of proportion, the scarce dimension strands the other: half of the idle amount is compute.
TEST(Fragmentation, CardWithoutMemoryStrandsItsCompute) {
  RequestSpec share = Ask(1000, 1, 500);
  share.gpu_memory_percent = 50;
  auto engine = EngineFor(Target({{share, 1}}), Node("a", 8000, 1, "T4", 16'000));
  EXPECT_EQ(engine->fragmentation()->total().fragment(), 0);
  RequestSpec memory = Ask(0, 1, 0);
  memory.gpu_memory_mib = 12'000;
  Observe(*engine, "a", memory, CardSet::Of(0), 1);
  const NodeFragment& f = engine->fragmentation()->total();
  EXPECT_EQ(f.idle, (1000 + 250) / 2);
  EXPECT_EQ(Cause(f, StrandCause::kNoCardFits), 625);
}

// Properties of every node of random histories.
TEST(Fragmentation, TablesCausesAndSumsAgreeWithTheDefinition) {
  int by_table = 0;
  for (int seed = 0; seed < support::Scaled(400); ++seed) {
    support::World world(static_cast<std::uint64_t>(seed) + 50'000, {});
    std::vector<TargetWorkload::Counted> counted;
    for (std::size_t i = 0; i < world.shapes.size(); ++i) {
      if (seed % 2 == 0) {  // only what the tables can hold
        world.shapes[i].gpu_memory_mib = 0;
        world.shapes[i].gpu_memory_percent = 0;
        if (world.shapes[i].gpus > 1) world.shapes[i].gpu_milli = kWholeCard;
        if (world.shapes[i].gpus == 1 && world.shapes[i].gpu_milli == 0) {
          world.shapes[i].gpu_milli = 333;
        }
      }
      counted.push_back({world.shapes[i], static_cast<std::int64_t>(i) + 1});
    }
    EngineOptions options;
    options.target = Target(counted);
    auto engine = MakeEngine("fgd", world.nodes, options);
    for (int i = 0; i < 20; ++i) {
      support::Play(*engine, world, world.Next(), SimTime{i});
      const Fragmentation& frag = *engine->fragmentation();
      const ClusterState& state = engine->state();
      NodeFragment sum;
      for (const NodeId node : state.order()) {
        const NodeHot& hot = state.hot(node);
        std::vector<std::int32_t> memory;
        for (int c = 0; c < hot.cards; ++c) memory.push_back(state.card(node, c).memory_free);
        const NodeFragment slow = frag.Evaluate(node, hot.cpu_free, state.CardFree(node), memory);
        ASSERT_EQ(slow.usable + slow.fragment(), slow.idle * frag.weight());
        if (const FragmentTable* table = frag.table(node)) {
          ++by_table;
          const NodeFragment fast =
              frag.EvaluateByTable(*table, hot.cpu_free, state.CardFree(node));
          ASSERT_EQ(fast.idle, slow.idle);
          ASSERT_EQ(fast.usable, slow.usable);
          ASSERT_EQ(fast.causes, slow.causes) << "seed " << seed << " step " << i;
        }
        const NodeFragment& kept = frag.node(node);
        if (state.cordoned(node)) {
          ASSERT_EQ(kept.fragment(), 0);
          continue;
        }
        ASSERT_EQ(kept.fragment(), slow.fragment()) << "seed " << seed << " step " << i;
        sum.idle += slow.idle;
        sum.usable += slow.usable;
        for (std::size_t c = 0; c < kStrandCauses; ++c) sum.causes[c] += slow.causes[c];
      }
      ASSERT_EQ(frag.total().idle, sum.idle);
      ASSERT_EQ(frag.total().usable, sum.usable);
      ASSERT_EQ(frag.total().causes, sum.causes) << "seed " << seed << " step " << i;
    }
  }
  EXPECT_GT(by_table, support::Scaled(1000));
}

// The published sum in doubles, the exact integers and the formula written out agree.
TEST(Fragmentation, PublishedOrderEqualsTheFormula) {
  Rng rng(5);
  const TargetWorkload target = support::SmallTarget();
  std::vector<oracle::Class> classes;
  for (const TargetClass& c : target.classes()) {
    classes.push_back({{c.spec.cpu_milli, 0, c.spec.gpus, c.spec.gpu_milli, {}}, c.weight});
  }
  auto engine = EngineFor(target, Node("a", 32'000, 6));
  const NodeId node = engine->state().FindNode("a");
  for (int round = 0; round < support::Scaled(2000); ++round) {
    std::vector<std::int16_t> free;
    oracle::Node plain;
    plain.cpu_free = rng.Below(20) * 1000;
    for (int c = 0; c < 6; ++c) {
      free.push_back(rng.Below(3) == 0 ? 1000 : static_cast<std::int16_t>(rng.Below(1001)));
      plain.cards.push_back(free.back());
    }
    const Fragmentation& frag = *engine->fragmentation();
    const auto cpu = static_cast<std::int32_t>(plain.cpu_free);
    const double published = frag.AmountInPublishedOrder(node, cpu, free);
    EXPECT_EQ(published, oracle::Fragment(plain, classes));
    const NodeFragment exact = frag.Evaluate(node, cpu, free, std::vector<std::int32_t>(6, 0));
    EXPECT_NEAR(published,
                static_cast<double>(exact.fragment()) / static_cast<double>(frag.weight()), 1e-9);
  }
}

TEST(TargetWorkload, KeepsTheShortestPrefixOfNinetyFivePercent) {
  std::vector<TargetWorkload::Counted> counted = {
      {Ask(1000), 60}, {Ask(2000), 30}, {Ask(3000), 5}, {Ask(4000), 4}, {Ask(5000), 1}};
  const TargetWorkload target{counted};
  ASSERT_EQ(target.classes().size(), 3U);  // 60 + 30 + 5 is exactly 95 of 100
  EXPECT_EQ(target.total_count(), 95);
  EXPECT_EQ(target.all_count(), 100);
  EXPECT_DOUBLE_EQ(target.classes()[0].weight, 60.0 / 95.0);
  counted[2].count = 4;
  counted[4].count = 2;
  const TargetWorkload next{counted};
  EXPECT_EQ(next.classes().size(), 4U);  // 94 is not enough
  EXPECT_EQ(TargetWorkload(counted, 100).classes().size(), 5U);
  EXPECT_TRUE(TargetWorkload(std::vector<TargetWorkload::Counted>{}).empty());
}

TEST(TargetWorkload, TiesGoToMoreCpuThenMilliThenCardsThenModels) {
  RequestSpec t4 = Ask(8000, 1, 1000);
  t4.models = {"T4"};
  RequestSpec p100 = Ask(8000, 1, 1000);
  p100.models = {"P100"};
  const std::vector<TargetWorkload::Counted> counted = {{Ask(4000, 1, 1000), 2},
                                                        {p100, 2},
                                                        {Ask(8000, 1, 1000), 2},
                                                        {Ask(8000, 2, 1000), 2},
                                                        {Ask(8000, 1, 500), 2},
                                                        {t4, 2},
                                                        {Ask(1), 9}};
  const TargetWorkload target(counted, 100);
  std::vector<std::string> order;
  for (const TargetClass& c : target.classes()) order.push_back(Describe(c.spec));
  EXPECT_EQ(order, (std::vector<std::string>{"0.001 CPU", "2 x 1000m, 8 CPU", "1 x 1000m T4, 8 CPU",
                                             "1 x 1000m P100, 8 CPU", "1 x 1000m, 8 CPU",
                                             "1 x 500m, 8 CPU", "1 x 1000m, 4 CPU"}));
}

TEST(TargetWorkload, HostMemoryAndLabelsAreNotPartOfAClass) {
  RequestSpec a = Ask(1000, 1, 500);
  a.memory_mib = 77;
  a.node_selector = {{"zone", "a"}};
  a.tolerations = {"gpu"};
  const std::vector<TargetWorkload::Counted> counted = {{a, 2}, {Ask(1000, 1, 500), 3}};
  const TargetWorkload target(counted, 95);
  ASSERT_EQ(target.classes().size(), 1U);
  EXPECT_EQ(target.classes()[0].count, 5);
  EXPECT_EQ(target.classes()[0].spec, Ask(1000, 1, 500));
}

// More than 255 distinct sizes do not fit the tables' bytes; the definition takes over.
TEST(Fragmentation, ManyDistinctSizesFallBackToTheDefinition) {
  std::vector<TargetWorkload::Counted> counted;
  for (int i = 1; i <= 400; ++i) counted.push_back({Ask(1000 + i, 1, i), 1});
  auto engine = EngineFor(Target(counted), Node("a", 8000, 2));
  Observe(*engine, "a", Ask(0, 1, 750), CardSet::Of(0), 1);
  EXPECT_EQ(engine->fragmentation()->table(engine->state().FindNode("a")), nullptr);
  // Cards of 250 and 1000: 150 classes ask for more than 250.
  EXPECT_EQ(engine->fragmentation()->total().fragment(), 150 * 250);
  EXPECT_TRUE(engine->Propose(support::For(*engine, Ask(1000, 1, 100), 1), SimTime{}).placed());
}

}  // namespace
}  // namespace basalt
