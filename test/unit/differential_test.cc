// The fast path against the slow, obvious one: the same random history is played to an engine with
// the index, to one that looks at every node, and to one whose index keeps only two shapes. Every
// outcome must be the same, and so must the digest of all decisions.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "scheduler-core/base/digest.h"
#include "test/support/cluster.h"
#include "test/support/random_world.h"

namespace basalt {
namespace {

using support::CheckDerived;
using support::MakeEngine;
using support::Play;
using support::Step;
using support::World;

class Differential : public ::testing::TestWithParam<std::string> {};

struct Tally {
  std::int64_t decisions = 0;
  std::int64_t placed = 0;
};

void Compare(const std::string& expression, std::uint64_t seed, int nodes, int steps,
             Tally& tally) {
  support::WorldOptions shape_of_world;
  shape_of_world.max_nodes = nodes;
  shape_of_world.card_memory = seed % 3 != 0;
  shape_of_world.odd_cards = seed % 2 == 0;
  shape_of_world.labels = seed % 4 != 0;
  // Each wired node is a machine type of its own, whose tables take a millisecond in each engine.
  shape_of_world.wiring = seed % 7 == 0;
  World world(seed, shape_of_world);
  EngineOptions options;
  options.seed = seed;
  auto indexed = MakeEngine(expression, world.nodes, options);
  options.scan_every_node = true;
  auto scanned = MakeEngine(expression, world.nodes, options);
  options.scan_every_node = false;
  options.shape_cap = 2;
  auto capped = MakeEngine(expression, world.nodes, options);
  for (int i = 0; i < steps; ++i) {
    const Step step = world.Next();
    const SimTime now{i};
    const std::string expected = Play(*scanned, world, step, now);
    ASSERT_EQ(Play(*indexed, world, step, now), expected) << "seed " << seed << " step " << i;
    ASSERT_EQ(Play(*capped, world, step, now), expected) << "seed " << seed << " step " << i;
    const Status audit = indexed->Audit();
    ASSERT_TRUE(audit.has_value()) << audit.error().ToString() << " seed " << seed;
    ASSERT_EQ(CheckDerived(indexed->state()), "") << "seed " << seed;
  }
  tally.decisions += static_cast<std::int64_t>(indexed->work().decisions);
  tally.placed += static_cast<std::int64_t>(indexed->allocation_count());
  ASSERT_EQ(indexed->DecisionDigest(), scanned->DecisionDigest()) << "seed " << seed;
  ASSERT_EQ(capped->DecisionDigest(), scanned->DecisionDigest()) << "seed " << seed;
  ASSERT_EQ(indexed->StateDigest(), scanned->StateDigest()) << "seed " << seed;
}

// Each policy sees other clusters, 2,000 small ones; 19 expressions make 38,000.
TEST_P(Differential, SameDecisionsOnRandomClusters) {
  const std::uint64_t offset = DigestOf(GetParam()).lo % 1'000'000;
  Tally tally;
  for (int i = 0; i < support::Scaled(2000); ++i) {
    Compare(GetParam(), 1000 + offset + static_cast<std::uint64_t>(i), 12, 24, tally);
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(tally.placed, tally.decisions / 5);      // neither always nor never placed, or the
  EXPECT_LT(tally.placed, tally.decisions * 4 / 5);  // comparison says little
}

// More nodes than one level of the score tree has leaves, and enough steps that some shapes catch
// up and others are scored afresh.
TEST_P(Differential, SameDecisionsOnLargerClusters) {
  const std::uint64_t offset = DigestOf(GetParam()).lo % 1'000'000;
  Tally tally;
  for (int i = 0; i < support::Scaled(20); ++i) {
    Compare(GetParam(), 2'000'000 + offset + static_cast<std::uint64_t>(i), i % 2 == 0 ? 60 : 400,
            300, tally);
    if (HasFatalFailure()) return;
  }
}

std::vector<std::string> Expressions() {
  std::vector<std::string> out;
  for (const Registry::Listed& listed : support::Builtins().list()) {
    const auto policy = support::Builtins().Make(listed.name);
    if (policy && !(*policy)->traits().whole_set) out.push_back(listed.name);
  }
  for (const char* expression :
       {"binpack/spread", "fgd/best", "fgd/first", "spread/each", "fgd:0.7+dot-product:0.3",
        "gpu-packing:1+gpu-clustering:2/best", "class-quota(T4=0.3,A10=0.1;best-fit)",
        "class-quota(G2=0;fgd)", "spread-job(binpack)", "spread-job(fgd)",
        "class-quota(T4=0.2;spread-job(gpu-packing))", "spread-job(class-quota(T4=0.5;spread))"}) {
    out.emplace_back(expression);
  }
  return out;
}

std::string TestName(const ::testing::TestParamInfo<std::string>& info) {
  std::string name;
  for (const char c : info.param) name += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return name;
}

INSTANTIATE_TEST_SUITE_P(Policies, Differential, ::testing::ValuesIn(Expressions()), TestName);

// The two engines above share the first test of feasibility, which is one vector comparison over a
// packed row. Here it is compared with the columns that the row was packed from, card by card.
TEST(Feasibility, PackedRowsAgreeWithTheColumns) {
  std::int64_t fitting = 0;
  for (int i = 0; i < support::Scaled(1500); ++i) {
    support::WorldOptions options;
    options.wiring = false;  // the columns know nothing of NUMA nodes and wires
    options.card_memory = i % 2 != 0;
    options.odd_cards = i % 4 == 1;  // most worlds have no complex node: the fastest path
    options.labels = i % 3 == 0;
    World world(3'000'000 + static_cast<std::uint64_t>(i), options);
    auto engine = MakeEngine("best-fit", world.nodes);
    const ClusterState& state = engine->state();
    for (int s = 0; s < 24; ++s) {
      Play(*engine, world, world.Next(), SimTime{s});
      for (const RequestSpec& spec : world.shapes) {
        const ShapeId shape = *engine->InternShape(spec);
        std::vector<NodeId> expected;
        for (const NodeId node : state.order()) {
          const NodeHot& hot = state.hot(node);
          const bool fits = hot.schedulable && hot.pods_free > 0 &&
                            hot.cpu_free >= spec.cpu_milli && hot.memory_free >= spec.memory_mib &&
                            state.ClassAllows(shape, state.node_class(node)) &&
                            state.CountFittingCards(state.shape(shape), node) >= spec.gpus;
          ASSERT_EQ(state.Fits(shape, node), fits) << Describe(spec) << " world " << i;
          if (fits) expected.push_back(node);
        }
        std::vector<NodeId> collected;
        state.CollectFeasible(shape, &collected);
        ASSERT_EQ(collected, expected) << Describe(spec) << " world " << i;
        fitting += static_cast<std::int64_t>(expected.size());
      }
    }
  }
  EXPECT_GT(fitting, support::Scaled(100'000));
}

// The list above must hold every built-in that the index serves: nobody adds a policy unseen.
TEST(DifferentialList, HoldsEveryIndexedBuiltin) {
  const auto expressions = Expressions();
  EXPECT_GE(expressions.size(), 19U);
  std::string all;
  for (const std::string& e : expressions) all += e + " ";
  for (const Registry::Listed& listed : support::Builtins().list()) {
    const auto policy = support::Builtins().Make(listed.name);
    if (policy && (*policy)->traits().whole_set) continue;
    EXPECT_NE(all.find(listed.name), std::string::npos) << listed.name;
  }
}

}  // namespace
}  // namespace basalt
