// Decisions that must not use some nodes, or may use only some. The oracle is a cluster on which
// the others are cordoned: what is decided there must be decided here, on every path to a decision.
#include "scheduler-core/workload/node_choice.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "scheduler-core/base/rng.h"
#include "scheduler-core/engine/engine.h"
#include "sim/simulator.h"
#include "test/support/cluster.h"
#include "test/support/gangs.h"
#include "test/support/node_choices.h"
#include "test/support/random_world.h"

namespace basalt {
namespace {

using support::Ask;
using support::DrawChoice;
using support::For;
using support::MakeEngine;
using support::NamedChoice;
using support::Node;
using support::NodeName;
using support::Uid;

constexpr SimTime kNow{10};

std::shared_ptr<const NodeChoice> Without(std::vector<NodeId> nodes) {
  return std::make_shared<const NodeChoice>(NodeChoice{std::move(nodes), {}});
}
std::shared_ptr<const NodeChoice> Only(std::vector<NodeId> nodes) {
  return std::make_shared<const NodeChoice>(NodeChoice{{}, std::move(nodes)});
}

NodeId At(const Engine& engine, const char* name) { return engine.state().FindNode(name); }

TEST(NodeChoice, OfSomeNodes) {
  const NodeId a(1U), b(2U), c(3U);
  const NodeChoice none;
  EXPECT_TRUE(none.empty());
  EXPECT_TRUE(none.Allows(a));
  const NodeChoice both{{b}, {a, b}};
  EXPECT_TRUE(both.Allows(a));
  EXPECT_FALSE(both.Allows(b));
  EXPECT_FALSE(both.Allows(c));
  NodeMask mask(both, 3);
  EXPECT_TRUE(mask.Allows(a));
  EXPECT_FALSE(mask.Allows(b));
  EXPECT_FALSE(mask.Allows(c));  // beyond what there is
  EXPECT_FALSE(mask.Allows(NodeId()));
  mask.Restrict(NodeChoice{{}, {b, c}});
  EXPECT_FALSE(mask.Allows(a));
  EXPECT_FALSE(NodeMask(NodeChoice{{}, {NodeId()}}, 3).Allows(a));
}

TEST(NodeChoice, NarrowsOneDecision) {
  auto engine =
      MakeEngine("binpack", {Node("a", 64'000, 2), Node("b", 64'000, 2), Node("c", 64'000, 4)});
  Request pod = For(*engine, Ask(1000, 1, 1000), 1);
  const auto where = [&] { return NodeName(*engine, engine->Propose(pod, kNow)); };
  EXPECT_EQ(where(), "a");
  pod.nodes = Without({At(*engine, "a")});
  EXPECT_EQ(where(), "b");
  EXPECT_EQ(where(), "b");  // and what was laid over the index is off again
  pod.nodes = Only({At(*engine, "c"), At(*engine, "b"), NodeId()});
  EXPECT_EQ(where(), "b");
  pod.nodes = Only({At(*engine, "c")});
  EXPECT_EQ(where(), "c");
  pod.nodes = std::make_shared<const NodeChoice>();
  EXPECT_EQ(where(), "a");
  pod.nodes = nullptr;
  EXPECT_EQ(where(), "a");
  // It waits and is not hopeless, however many are ruled out.
  pod.nodes = Only({NodeId()});
  EXPECT_EQ(where(), "Wait");
  pod.nodes = Without({At(*engine, "a"), At(*engine, "b"), At(*engine, "c")});
  EXPECT_EQ(where(), "Wait");
  const Explanation why = engine->Explain(pod);
  EXPECT_EQ(why.text, "3 nodes: it would fit, but whoever asks has ruled it out");
  Request large = For(*engine, Ask(1000, 4, 1000), 2);
  large.nodes = Without({At(*engine, "c")});
  EXPECT_EQ(NodeName(*engine, engine->Propose(large, kNow)), "Wait");
  const Explanation partly = engine->Explain(large);
  ASSERT_EQ(partly.counts.size(), 2U);
  EXPECT_EQ(partly.counts[0].nodes, 2);
  EXPECT_EQ(partly.counts[1].reason, Reason::kExcluded);
  Request absurd = For(*engine, Ask(1000, 8, 1000), 3);
  absurd.nodes = Without({At(*engine, "c")});
  EXPECT_EQ(NodeName(*engine, engine->Propose(absurd, kNow)), "Infeasible");
}

TEST(NodeChoice, IsKeptByReserve) {
  auto engine = MakeEngine("binpack", {Node("a", 64'000, 2), Node("b", 64'000, 2)});
  Request pod = For(*engine, Ask(1000, 1, 1000), 1);
  const Outcome on_a = engine->Propose(pod, kNow);
  pod.nodes = Without({At(*engine, "a")});
  EXPECT_EQ(engine->Reserve(pod, on_a.placement, kNow).error().message,
            "is not to be on node a; propose again");
  EXPECT_TRUE(engine->Reserve(pod, engine->Propose(pod, kNow).placement, kNow).has_value());
  GangRequest gang = support::MakeGang(*engine, 7, {{Ask(1000, 1, 1000), 1, 1}});
  const auto free = engine->ProposeGang(gang, kNow);
  ASSERT_TRUE(free->placed());
  gang.nodes = Without({free->members[0].placement.node});
  EXPECT_FALSE(engine->ReserveGang(gang, *free, kNow).has_value());
  gang.nodes = nullptr;
  gang.task_nodes = {Without({free->members[0].placement.node})};
  EXPECT_FALSE(engine->ReserveGang(gang, *free, kNow).has_value());
  gang.task_nodes = {nullptr};
  EXPECT_TRUE(engine->ReserveGang(gang, *free, kNow).has_value());
  gang.task_nodes = {nullptr, nullptr};
  EXPECT_FALSE(engine->ProposeGang(gang, kNow).has_value());  // of another number of tasks
}

class Choices : public ::testing::TestWithParam<std::string> {};

// The index, the scan and a capped index decide alike under choices that change with each decision.
TEST_P(Choices, IndexAndScanAgree) {
  std::int64_t placed = 0;
  std::int64_t narrowed = 0;
  for (int i = 0; i < support::Scaled(250); ++i) {
    const auto seed = 70'000 + static_cast<std::uint64_t>(i);
    support::WorldOptions shape_of_world;
    shape_of_world.wiring = i % 9 == 0;
    shape_of_world.describe = i % 4 == 0;
    shape_of_world.max_nodes = i % 10 == 0 ? 60 : 12;
    support::World world(seed, shape_of_world);
    EngineOptions options;
    options.seed = seed;
    auto indexed = MakeEngine(GetParam(), world.nodes, options);
    options.scan_every_node = true;
    auto scanned = MakeEngine(GetParam(), world.nodes, options);
    options.scan_every_node = false;
    options.shape_cap = 2;
    auto capped = MakeEngine(GetParam(), world.nodes, options);
    Rng rng(seed, 5);
    for (int step = 0; step < 40; ++step) {
      const support::Step next = world.Next();
      const SimTime now{step};
      const auto* arrive = std::get_if<support::Arrive>(&next);
      if (arrive == nullptr) {
        const std::string expected = support::Play(*scanned, world, next, now);
        ASSERT_EQ(support::Play(*indexed, world, next, now), expected);
        ASSERT_EQ(support::Play(*capped, world, next, now), expected);
        continue;
      }
      const NamedChoice choice = DrawChoice(rng, *scanned);
      std::string first;
      for (Engine* engine : {scanned.get(), indexed.get(), capped.get()}) {
        Request request =
            For(*engine, world.shapes[arrive->shape], arrive->uid, arrive->attempt, arrive->job);
        const Outcome anywhere = engine->Propose(request, now);
        request.nodes = choice.In(*engine);
        const Outcome outcome = engine->Place(request, now);
        const std::string said = NodeName(*engine, outcome) + " " +
                                 std::to_string(outcome.placement.cards.bits()) + " " +
                                 std::to_string(outcome.placement.score);
        if (engine == scanned.get()) first = said;
        ASSERT_EQ(said, first) << "seed " << seed << " step " << step;
        ASSERT_EQ(outcome.kind == OutcomeKind::kInfeasible,
                  anywhere.kind == OutcomeKind::kInfeasible);
        if (!outcome.placed() || outcome.already_held) continue;
        ASSERT_TRUE(choice.Allows(engine->state().name(outcome.placement.node)));
        ++placed;
        narrowed += anywhere.placement.node != outcome.placement.node ? 1 : 0;
      }
    }
    ASSERT_EQ(indexed->StateDigest(), scanned->StateDigest()) << "seed " << seed;
    ASSERT_EQ(capped->DecisionDigest(), scanned->DecisionDigest()) << "seed " << seed;
    ASSERT_EQ(indexed->DecisionDigest(), scanned->DecisionDigest()) << "seed " << seed;
  }
  EXPECT_GT(placed, support::Scaled(2000));
  EXPECT_GT(narrowed, support::Scaled(200));
}

// Every kind of policy: local, with a class term, with a job term, with both, of the whole set.
INSTANTIATE_TEST_SUITE_P(Policies, Choices,
                         ::testing::Values("best-fit", "fgd", "binpack/topology",
                                           "class-quota(T4=0.3,A10=0.1;best-fit)",
                                           "spread-job(fgd)",
                                           "class-quota(T4=0.2;spread-job(gpu-packing))", "random",
                                           "fgd:0.7+dot-product:0.3"),
                         [](const ::testing::TestParamInfo<std::string>& param) {
                           return "Policy" + std::to_string(param.index);
                         });

// What is cordoned there is ruled out here.
TEST(NodeChoice, AsIfTheOthersWereCordoned) {
  const char* policies[] = {"binpack", "spread", "best-fit", "fgd"};
  std::int64_t placed = 0;
  for (int i = 0; i < support::Scaled(400); ++i) {
    const auto seed = 90'000 + static_cast<std::uint64_t>(i);
    support::WorldOptions shape_of_world;
    shape_of_world.wiring = i % 6 == 0;
    support::World world(seed, shape_of_world);
    auto engine = MakeEngine(policies[i % 4], world.nodes);
    Rng rng(seed, 6);
    for (int step = 0; step < 30; ++step) {
      support::Play(*engine, world, world.Next(), SimTime{step});
    }
    const NamedChoice choice = DrawChoice(rng, *engine);
    EngineOptions options;
    options.target = support::SmallTarget();
    auto cordoned = Engine::Restore(engine->Snapshot(), support::Policy(policies[i % 4]), options);
    ASSERT_TRUE(cordoned.has_value());
    for (const NodeId node : engine->state().order()) {
      const std::string& name = engine->state().name(node);
      if (choice.Allows(name)) continue;
      ASSERT_TRUE((*cordoned)->Apply(NodeCordoned{name, true}, SimTime{100}).has_value());
    }
    for (std::uint64_t pod = 0; pod < 12; ++pod) {
      const RequestSpec& spec = world.shapes[pod % world.shapes.size()];
      Request here = For(*engine, spec, 5000 + pod);
      here.nodes = choice.In(*engine);
      const Outcome a = engine->Place(here, SimTime{100});
      const Outcome b = (*cordoned)->Place(For(**cordoned, spec, 5000 + pod), SimTime{100});
      ASSERT_EQ(NodeName(*engine, a), NodeName(**cordoned, b)) << "seed " << seed;
      ASSERT_EQ(a.placement.cards, b.placement.cards) << "seed " << seed;
      placed += a.placed() ? 1 : 0;
    }
  }
  EXPECT_GT(placed, support::Scaled(800));
}

std::string Says(const Engine& engine, const Result<GangOutcome>& outcome) {
  if (!outcome) return outcome.error().ToString();
  std::string text(OutcomeKindName(outcome->kind));
  for (const GangOutcome::Member& m : outcome->members) {
    text += " " + std::to_string(m.member) + "@" + engine.state().name(m.placement.node) + ":" +
            std::to_string(m.placement.cards.bits());
  }
  return text;
}

// The same for gangs: whole, with levels, sub-groups and several tasks, some of it running already.
TEST(NodeChoice, GangsAsIfTheOthersWereCordoned) {
  std::int64_t placed = 0;
  std::int64_t waits = 0;
  for (int i = 0; i < support::Scaled(600); ++i) {
    const auto seed = static_cast<std::uint64_t>(i);
    Rng rng(seed, 31);
    support::GangWorldOptions shape_of_world;
    shape_of_world.nodes = 3 + i % 6;
    const std::vector<NodeSpec> nodes = support::RandomGangNodes(rng, shape_of_world);
    auto engine = support::GangEngine(nodes);
    for (std::uint64_t pod = rng.Below(6); pod > 0; --pod) {
      engine->Place(For(*engine, support::RandomGangShape(rng), 800 + pod), kNow);
    }
    const NamedChoice choice = DrawChoice(rng, *engine);
    GangRequest gang = support::RandomGang(rng, *engine, 1, 4, i % 3 == 0);
    EngineOptions options;
    options.target = support::SmallTarget();
    options.tier_names = {{support::kRack, "rack"}, {support::kSpine, "spine"}};
    auto cordoned = Engine::Restore(engine->Snapshot(), support::Policy("binpack"), options);
    ASSERT_TRUE(cordoned.has_value());
    GangRequest there = gang;
    for (std::size_t t = 0; t < gang.spec.tasks.size(); ++t) {
      there.spec.tasks[t].shape =
          *(*cordoned)->InternShape(engine->state().shape(gang.spec.tasks[t].shape).spec);
    }
    for (const NodeId node : engine->state().order()) {
      const std::string& name = engine->state().name(node);
      if (choice.Allows(name)) continue;
      ASSERT_TRUE((*cordoned)->Apply(NodeCordoned{name, true}, kNow).has_value());
    }
    // For the gang or for each of its tasks: that is the same.
    if (rng.Below(2) == 0) {
      gang.nodes = choice.In(*engine);
    } else {
      gang.task_nodes.assign(gang.spec.tasks.size(), choice.In(*engine));
    }
    const auto a = engine->PlaceGang(gang, kNow);
    const auto b = (*cordoned)->PlaceGang(there, kNow);
    ASSERT_EQ(Says(*engine, a), Says(**cordoned, b)) << "seed " << seed;
    ASSERT_TRUE(engine->Audit().has_value());
    placed += a && a->placed() ? 1 : 0;
    waits += a && a->kind == OutcomeKind::kWait ? 1 : 0;
  }
  EXPECT_GT(placed, support::Scaled(100));
  EXPECT_GT(waits, support::Scaled(50));
}

// Tasks with choices of their own: each member is where its task may be, and the gang that has some
// place at all is not refused. Three nodes, so that all ways can be tried.
TEST(NodeChoice, EachTaskWhereItMayBe) {
  std::int64_t placed = 0;
  std::int64_t refused = 0;
  for (int i = 0; i < support::Scaled(400); ++i) {
    Rng rng(static_cast<std::uint64_t>(i), 32);
    std::vector<NodeSpec> nodes;
    for (const char* name : {"a", "b", "c"}) nodes.push_back(Node(name, 64'000, 2));
    auto engine = support::GangEngine(nodes);
    GangRequest gang =
        support::MakeGang(*engine, 1, {{Ask(1000, 1, 1000), 2, 2}, {Ask(1000, 1, 1000), 2, 2}});
    std::vector<NamedChoice> choices;
    for (std::size_t t = 0; t < 2; ++t) {
      choices.push_back(DrawChoice(rng, *engine));
      gang.task_nodes.push_back(choices.back().In(*engine));
    }
    const auto outcome = engine->PlaceGang(gang, kNow);
    ASSERT_TRUE(outcome.has_value());
    ASSERT_NE(outcome->kind, OutcomeKind::kInfeasible);
    // Hall's condition for two tasks of two cards each, and two cards a node.
    const auto cards = [&](bool first, bool second) {
      int sum = 0;
      for (const NodeSpec& node : nodes) {
        const bool may =
            (first && choices[0].Allows(node.name)) || (second && choices[1].Allows(node.name));
        sum += may ? 2 : 0;
      }
      return sum;
    };
    const bool possible =
        cards(true, false) >= 2 && cards(false, true) >= 2 && cards(true, true) >= 4;
    ASSERT_EQ(outcome->placed(), possible) << "seed " << i << ": " << outcome->reason;
    for (const GangOutcome::Member& m : outcome->members) {
      const NamedChoice& its = choices[gang.spec.TaskOf(m.member)];
      ASSERT_TRUE(its.Allows(engine->state().name(m.placement.node))) << "seed " << i;
    }
    (outcome->placed() ? placed : refused) += 1;
  }
  EXPECT_GT(placed, support::Scaled(100));
  EXPECT_GT(refused, support::Scaled(20));
}

TEST(NodeChoice, RoomIsMadeWhereItMayBe) {
  auto engine = MakeEngine("binpack", {Node("a", 64'000, 2), Node("b", 64'000, 2)});
  for (std::uint64_t pod = 1; pod <= 4; ++pod) {
    ASSERT_TRUE(engine->Place(For(*engine, Ask(1000, 1, 1000), pod), kNow).placed());
  }
  Request high = For(*engine, Ask(1000, 1, 1000), 9);
  high.standing.priority = 5;
  for (const char* name : {"a", "b"}) {
    high.nodes = Only({At(*engine, name)});
    const EvictionPlan plan = engine->ProposeEviction(high, EvictionRules{}, kNow);
    ASSERT_TRUE(plan.found);
    EXPECT_EQ(engine->state().name(plan.placement.node), name);
    high.nodes = Without({At(*engine, name)});
    const EvictionPlan other = engine->ProposeEviction(high, EvictionRules{}, kNow);
    ASSERT_TRUE(other.found);
    EXPECT_NE(engine->state().name(other.placement.node), name);
  }
  high.nodes = Only({NodeId()});
  EXPECT_FALSE(engine->ProposeEviction(high, EvictionRules{}, kNow).found);
  GangRequest gang = support::MakeGang(*engine, 1, {{Ask(1000, 1, 1000), 2, 2}});
  gang.standing.priority = 5;
  gang.nodes = Only({At(*engine, "b")});
  const auto plan = engine->ProposeEviction(gang, EvictionRules{}, kNow);
  ASSERT_TRUE(plan.has_value() && plan->found);
  for (const GangOutcome::Member& m : plan->gang.members) {
    EXPECT_EQ(engine->state().name(m.placement.node), "b");
  }
}

// A replay hears the choices and decides alike; without them it would not.
TEST(NodeChoice, ReplaysHearOfIt) {
  std::int64_t differ_without = 0;
  for (int i = 0; i < support::Scaled(60); ++i) {
    const auto seed = 110'000 + static_cast<std::uint64_t>(i);
    support::WorldOptions shape_of_world;
    shape_of_world.describe = true;
    shape_of_world.wiring = false;
    support::World world(seed, shape_of_world);
    JournalBuffer journal;
    EngineOptions options;
    options.seed = seed;
    options.journal = &journal;
    auto engine = MakeEngine("spread-job(binpack)", world.nodes, options);
    Rng rng(seed, 8);
    for (int step = 0; step < 50; ++step) {
      const support::Step next = world.Next();
      const SimTime now{step};
      const auto* arrive = std::get_if<support::Arrive>(&next);
      if (arrive == nullptr) {
        support::Play(*engine, world, next, now);
      } else if (arrive->uid % 4 == 0) {
        GangRequest gang = support::MakeGang(
            *engine, arrive->uid,
            {{world.shapes[arrive->uid % world.shapes.size()], 1, 2}, {world.shapes[0], 1, 1}});
        gang.nodes = DrawChoice(rng, *engine).In(*engine);
        if (rng.Below(2) == 0) gang.task_nodes = {DrawChoice(rng, *engine).In(*engine), nullptr};
        ASSERT_TRUE(engine->PlaceGang(gang, now).has_value());
      } else {
        Request request =
            For(*engine, world.shapes[arrive->shape], arrive->uid, arrive->attempt, arrive->job);
        request.nodes = DrawChoice(rng, *engine).In(*engine);
        engine->Place(request, now);
      }
    }
    auto read = ReadJournal(journal.bytes());
    ASSERT_TRUE(read.has_value() && read->tail_problem.empty());
    const auto replay = sim::ReplayJournal(*read, support::Builtins());
    ASSERT_TRUE(replay.has_value()) << replay.error().ToString();
    ASSERT_EQ(replay->different, 0U) << "seed " << seed << ": " << replay->first_difference;
    ASSERT_EQ(replay->state_digest, engine->StateDigest()) << "seed " << seed;
    for (JournalRecord& record : read->records) {
      if (auto* reserved = std::get_if<ReservedRecord>(&record.body)) reserved->nodes = {};
      if (auto* gang = std::get_if<GangReservedRecord>(&record.body)) {
        gang->gang.nodes = {};
        gang->gang.task_nodes.clear();
      }
    }
    const auto deaf = sim::ReplayJournal(*read, support::Builtins());
    ASSERT_TRUE(deaf.has_value());
    differ_without += deaf->different > 0 ? 1 : 0;
  }
  EXPECT_GT(differ_without, support::Scaled(30));
}

}  // namespace
}  // namespace basalt
