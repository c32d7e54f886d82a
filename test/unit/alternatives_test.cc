// What a decision says of nodes beside the one it takes: verdicts of single nodes, and the places
// after the best one. Both are dry runs, and both say what Propose would.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "scheduler-core/base/rng.h"
#include "scheduler-core/engine/engine.h"
#include "test/support/cluster.h"
#include "test/support/random_world.h"

namespace basalt {
namespace {

using support::Ask;
using support::For;
using support::MakeEngine;
using support::Node;
using support::NodeName;
using support::Uid;

constexpr SimTime kNow{100};

// State, decisions, work and journal as they were when this was made.
class Untouched {
 public:
  Untouched(Engine& engine, const JournalBuffer& journal)
      : engine_(engine),
        journal_(journal),
        state_(engine.StateDigest()),
        decisions_(engine.DecisionDigest()),
        work_(engine.work()),
        records_(journal.records()) {}
  bool still() const {
    return engine_.StateDigest() == state_ && engine_.DecisionDigest() == decisions_ &&
           engine_.work() == work_ && journal_.records() == records_;
  }

 private:
  Engine& engine_;
  const JournalBuffer& journal_;
  Digest128 state_;
  Digest128 decisions_;
  WorkCounters work_;
  std::size_t records_;
};

TEST(Judge, SaysWhyNot) {
  NodeSpec tainted = Node("c", 64'000, 4);
  tainted.taints = {"gpu-only"};
  auto engine = MakeEngine(
      "binpack", {Node("a", 64'000, 4), Node("b", 500, 4), tainted, Node("d", 64'000, 4)});
  ASSERT_TRUE(engine->Apply(NodeCordoned{"d", true}, kNow).has_value());
  const auto at = [&](const char* name) { return engine->state().FindNode(name); };
  Request pod = For(*engine, Ask(1000, 1, 1000), 1);
  const std::vector<NodeId> nodes = {at("d"), at("a"), at("b"), at("c"), NodeId(), at("a")};
  const std::vector<NodeVerdict> verdicts = engine->Judge(pod, nodes);
  ASSERT_EQ(verdicts.size(), nodes.size());
  EXPECT_EQ(verdicts[0].reason, Reason::kCordoned);
  EXPECT_EQ(verdicts[1].reason, Reason::kFits);
  EXPECT_EQ(verdicts[1].cards, CardSet::Of(0));
  EXPECT_EQ(verdicts[1].score, engine->Propose(pod, kNow).placement.score);
  EXPECT_EQ(verdicts[2].reason, Reason::kCpuShort);
  EXPECT_EQ(verdicts[2].score, kNoScore);
  EXPECT_EQ(verdicts[3].reason, Reason::kLabelOrTaint);
  EXPECT_EQ(verdicts[4].reason, Reason::kCordoned);
  EXPECT_EQ(verdicts[5].score, verdicts[1].score);
  pod.nodes = std::make_shared<const NodeChoice>(NodeChoice{{at("a")}, {}});
  EXPECT_EQ(engine->Judge(pod, at("a")).reason, Reason::kExcluded);
  EXPECT_EQ(engine->Judge(pod, at("b")).reason, Reason::kCpuShort);
  // What it holds fits, although there is no room for another one of it.
  Request all = For(*engine, Ask(1000, 4, 1000), 2);
  ASSERT_TRUE(engine->Place(all, kNow).placed());
  EXPECT_EQ(engine->Judge(all, at("a")).reason, Reason::kFits);
  EXPECT_EQ(engine->Judge(all, at("a")).cards.size(), 4);
  pod.nodes = nullptr;
  EXPECT_EQ(engine->Judge(pod, at("a")).reason, Reason::kNoCardFree);
}

TEST(Alternatives, OnlyForWhatWasJustPlaced) {
  auto engine = MakeEngine("binpack", {Node("a", 64'000, 1), Node("b", 64'000, 1)});
  const Request pod = For(*engine, Ask(1000, 1, 1000), 1);
  const Outcome outcome = engine->Propose(pod, kNow);
  EXPECT_TRUE(engine->Alternatives(pod, outcome, 0).empty());
  const std::vector<Placement> others = engine->Alternatives(pod, outcome, 5);
  ASSERT_EQ(others.size(), 1U);
  EXPECT_EQ(engine->state().name(others[0].node), "b");
  // Each can be reserved.
  EXPECT_TRUE(engine->Reserve(pod, others[0], kNow).has_value());
  EXPECT_TRUE(engine->Alternatives(pod, engine->Propose(pod, kNow), 5).empty());  // held already
  const Request large = For(*engine, Ask(1000, 8, 1000), 2);
  EXPECT_TRUE(engine->Alternatives(large, engine->Propose(large, kNow), 5).empty());
}

class Dry : public ::testing::TestWithParam<std::string> {};

TEST_P(Dry, SaysWhatProposeWould) {
  std::int64_t others_seen = 0;
  for (int i = 0; i < support::Scaled(120); ++i) {
    const auto seed = 160'000 + static_cast<std::uint64_t>(i);
    support::WorldOptions shape_of_world;
    shape_of_world.wiring = i % 8 == 0;
    support::World world(seed, shape_of_world);
    JournalBuffer journal;
    EngineOptions options;
    options.seed = seed;
    options.journal = &journal;
    auto engine = MakeEngine(GetParam(), world.nodes, options);
    options.journal = nullptr;
    options.scan_every_node = true;
    auto scanned = MakeEngine(GetParam(), world.nodes, options);
    Rng rng(seed, 7);
    for (int step = 0; step < 30; ++step) {
      const support::Step next = world.Next();
      support::Play(*engine, world, next, SimTime{step});
      support::Play(*scanned, world, next, SimTime{step});
      const RequestSpec& spec = world.shapes[static_cast<std::size_t>(step) % world.shapes.size()];
      const std::uint64_t job = step % 3 == 0 ? rng.Below(4) : 0;
      const Request pod = For(*engine, spec, 600'000, 0, job);
      const Request same = For(*scanned, spec, 600'000, 0, job);
      const Outcome outcome = engine->Propose(pod, SimTime{step});
      const Outcome of_scan = scanned->Propose(same, SimTime{step});
      const Untouched untouched(*engine, journal);
      const auto order = engine->state().order();
      const std::vector<NodeId> nodes(order.begin(), order.end());
      const std::vector<NodeVerdict> verdicts = engine->Judge(pod, nodes);
      const std::size_t k = rng.Below(6);
      const std::vector<Placement> others = engine->Alternatives(pod, outcome, k);
      ASSERT_TRUE(untouched.still()) << "seed " << seed << " step " << step;

      // The verdicts, best first, are the proposal and then its alternatives.
      std::vector<std::size_t> fit;
      for (std::size_t n = 0; n < nodes.size(); ++n) {
        const bool fits = verdicts[n].reason == Reason::kFits;
        ASSERT_EQ(fits, engine->state().Fits(pod.shape, nodes[n])) << "seed " << seed;
        ASSERT_EQ(fits, verdicts[n].score != kNoScore);
        if (fits) fit.push_back(n);
      }
      std::stable_sort(fit.begin(), fit.end(), [&](std::size_t a, std::size_t b) {
        return verdicts[a].score > verdicts[b].score;
      });
      ASSERT_EQ(outcome.placed(), !fit.empty());
      if (fit.empty()) {
        ASSERT_TRUE(others.empty());
        continue;
      }
      ASSERT_EQ(nodes[fit[0]], outcome.placement.node) << "seed " << seed << " step " << step;
      ASSERT_EQ(verdicts[fit[0]].score, outcome.placement.score);
      ASSERT_EQ(verdicts[fit[0]].cards, outcome.placement.cards);
      ASSERT_EQ(others.size(), std::min(k, fit.size() - 1));
      for (std::size_t o = 0; o < others.size(); ++o) {
        ASSERT_EQ(others[o].node, nodes[fit[o + 1]]) << "seed " << seed << " step " << step;
        ASSERT_EQ(others[o].score, verdicts[fit[o + 1]].score);
        ASSERT_EQ(others[o].cards, verdicts[fit[o + 1]].cards);
      }
      others_seen += static_cast<std::int64_t>(others.size());
      const std::vector<Placement> by_scan = scanned->Alternatives(same, of_scan, k);
      ASSERT_EQ(by_scan.size(), others.size());
      for (std::size_t o = 0; o < others.size(); ++o) {
        ASSERT_EQ(scanned->state().name(by_scan[o].node), engine->state().name(others[o].node));
      }
    }
  }
  EXPECT_GT(others_seen, support::Scaled(500));
}

INSTANTIATE_TEST_SUITE_P(Policies, Dry,
                         ::testing::Values("best-fit", "fgd", "binpack/topology", "random",
                                           "class-quota(T4=0.2;spread-job(gpu-packing))",
                                           "fgd:0.7+dot-product:0.3"),
                         [](const ::testing::TestParamInfo<std::string>& param) {
                           return "Policy" + std::to_string(param.index);
                         });

// Places that the queue does not allow are passed over, however many there are.
TEST(Alternatives, WithinTheQueue) {
  std::vector<NodeSpec> nodes;
  for (int n = 0; n < 30; ++n) {
    // Whole cards of one model and two sizes: only the place tells what would be held.
    nodes.push_back(Node("n" + std::to_string(n), 64'000, 2, "T4", n % 3 == 0 ? 16'384 : 24'576));
  }
  auto engine = MakeEngine("binpack", nodes);
  QueueSpec queue;
  queue.name = "q";
  queue.capacity = {{"gpu-memory", 16'384}};
  ASSERT_TRUE(engine->Apply(QueueSet{queue}, kNow).has_value());
  Request pod = For(*engine, Ask(1000, 1, 1000), 1);
  pod.standing.queue = "q";
  const Outcome outcome = engine->Propose(pod, kNow);
  ASSERT_TRUE(outcome.placed()) << outcome.reason;
  const std::vector<Placement> others = engine->Alternatives(pod, outcome, 16);
  EXPECT_EQ(others.size(), 9U);
  for (const Placement& other : others) {
    EXPECT_EQ(engine->state().card(other.node, 0).memory_total, 16'384);
  }
}

}  // namespace
}  // namespace basalt
