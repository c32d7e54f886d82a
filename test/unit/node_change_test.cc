// A node that is described anew keeps what runs on it, under the same leases; what its new
// description cannot hold is lost, and nothing else.
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "scheduler-core/engine/engine.h"
#include "test/support/cluster.h"
#include "test/support/gangs.h"
#include "test/support/random_world.h"

namespace basalt {
namespace {

using support::Ask;
using support::CheckDerived;
using support::For;
using support::MakeEngine;
using support::Node;
using support::NodeName;
using support::Policy;
using support::Uid;

constexpr SimTime kNow{10};

NodeSpec Named(const std::string& name, int cards, MiB card_memory = 0) {
  NodeSpec node = Node(name, 64'000, cards, "T4", card_memory);
  for (std::size_t c = 0; c < node.cards.size(); ++c) {
    node.cards[c].uuid = name + "-gpu" + std::to_string(c);
  }
  return node;
}

Lease Held(Engine& engine, const Request& request, SimTime now = kNow) {
  const Outcome outcome = engine.Propose(request, now);
  EXPECT_TRUE(outcome.placed());
  const auto lease = engine.Reserve(request, outcome.placement, now);
  EXPECT_TRUE(lease.has_value());
  return *lease;
}

void Healthy(const Engine& engine) {
  const Status ok = engine.Audit();
  ASSERT_TRUE(ok.has_value()) << ok.error().ToString();
  ASSERT_EQ(CheckDerived(engine.state()), "");
}

TEST(NodeChange, LabelsAloneChangeWhoMayComeAndNothingElse) {
  JournalBuffer journal;
  EngineOptions options;
  options.journal = &journal;
  auto engine = MakeEngine("binpack", {Named("a", 4), Named("b", 4)}, options);
  RequestSpec picky = Ask(1000, 1, 1000);
  picky.node_selector = {{"zone", "x"}};
  EXPECT_EQ(engine->Propose(For(*engine, picky, 1), kNow).kind, OutcomeKind::kInfeasible);
  const Request running = For(*engine, Ask(1000, 1, 500), 2);
  const Lease lease = Held(*engine, running);
  const Request next = For(*engine, Ask(1000, 1, 500), 3);
  const Outcome before = engine->Propose(next, kNow);
  const Digest128 state = engine->StateDigest();
  NodeSpec a = Named("a", 4);
  a.labels = {{"zone", "x"}};
  ASSERT_TRUE(engine->Apply(NodeChanged{a}, kNow).has_value());
  EXPECT_EQ(engine->StateDigest(), state);
  EXPECT_EQ(NodeName(*engine, engine->Propose(For(*engine, picky, 1), kNow)), "a");
  // What was proposed before is still good, and the lease is the same.
  EXPECT_TRUE(engine->Reserve(next, before.placement, kNow).has_value());
  EXPECT_TRUE(engine->Confirm(lease, kNow).has_value());
  a.taints = {"gpu-only"};
  ASSERT_TRUE(engine->Apply(NodeChanged{a}, kNow).has_value());
  EXPECT_EQ(engine->Propose(For(*engine, picky, 1), kNow).kind, OutcomeKind::kInfeasible);
  EXPECT_NE(engine->Find(Uid(2)), nullptr);
  // Said again it is no change, whatever the order.
  const std::size_t records = journal.records();
  const std::uint64_t version = engine->state().structure_version();
  ASSERT_TRUE(engine->Apply(NodeChanged{a}, kNow).has_value());
  EXPECT_EQ(journal.records(), records);
  // A label that no request speaks of voids no cache.
  a.labels.push_back({"kubernetes.io/hostname", "a"});
  ASSERT_TRUE(engine->Apply(NodeChanged{a}, kNow).has_value());
  EXPECT_EQ(engine->state().structure_version(), version);
  EXPECT_EQ(journal.records(), records + 1);
  Healthy(*engine);
}

TEST(NodeChange, PodsFollowTheirCards) {
  auto engine = MakeEngine("binpack", {Named("a", 3), Named("b", 3)});
  RequestSpec on_second = Ask(1000, 1, 600);
  on_second.use_uuids = {"a-gpu1"};
  const Lease open = Held(*engine, For(*engine, on_second, 1));
  RequestSpec on_third = Ask(1000, 1, 1000);
  on_third.use_uuids = {"a-gpu2"};
  ASSERT_TRUE(engine->Place(For(*engine, on_third, 2), kNow).placed());
  ASSERT_TRUE(engine->Apply(CardCordoned{"a", 2, true}, kNow).has_value());
  ASSERT_TRUE(engine->Apply(CardHealthChanged{"a", 0, false}, kNow).has_value());
  ASSERT_TRUE(engine->Apply(NodeCordoned{"a", true}, kNow).has_value());
  const Request late = For(*engine, Ask(1000, 1, 1000), 3);
  const Outcome stale = engine->Propose(late, kNow);
  ASSERT_EQ(NodeName(*engine, stale), "b");

  NodeSpec a = Named("a", 3);  // the cards the other way round, one more, other sizes
  std::swap(a.cards[0], a.cards[2]);
  a.cards.push_back(a.cards[0]);
  a.cards.back().uuid = "a-gpu9";
  a.cpu_milli = 1500;
  ASSERT_TRUE(engine->Apply(NodeChanged{a}, kNow).has_value());
  const NodeId node = engine->state().FindNode("a");
  EXPECT_EQ(engine->Find(Uid(1))->cards, CardSet::Of(1));
  EXPECT_EQ(engine->Find(Uid(2))->cards, CardSet::Of(0));
  EXPECT_EQ(engine->Find(Uid(1))->epoch, open.epoch);
  EXPECT_EQ(engine->Find(Uid(1))->expires, open.expires);
  EXPECT_EQ(engine->state().hot(node).cpu_free, -500);  // an observation may overdraw it
  EXPECT_TRUE(engine->state().cordoned(node));
  EXPECT_TRUE(engine->state().card(node, 0).cordoned);
  EXPECT_FALSE(engine->state().card(node, 2).healthy);
  EXPECT_TRUE(engine->state().card(node, 3).healthy);
  EXPECT_EQ(engine->state().card(node, 1).free_milli, 400);
  EXPECT_TRUE(engine->Confirm(open, kNow).has_value());
  EXPECT_TRUE(engine->Reserve(late, stale.placement, kNow).has_value());
  Healthy(*engine);

  // The rank is the one it had: with equal scores the first node still wins.
  ASSERT_TRUE(engine->Apply(NodeCordoned{"a", false}, kNow).has_value());
  EXPECT_EQ(engine->state().order().front(), node);
  // Placements that were proposed for the earlier description are stale.
  a.cpu_milli = 64'000;
  const Request pod = For(*engine, Ask(1000, 1, 100), 4);
  ASSERT_TRUE(engine->Apply(NodeCordoned{"b", true}, kNow).has_value());
  ASSERT_TRUE(engine->Apply(NodeChanged{a}, kNow).has_value());
  const Outcome again = engine->Propose(pod, kNow);
  ASSERT_EQ(NodeName(*engine, again), "a");
  a.cpu_milli = 63'000;
  ASSERT_TRUE(engine->Apply(NodeChanged{a}, kNow).has_value());
  EXPECT_FALSE(engine->Reserve(pod, again.placement, kNow).has_value());
  Healthy(*engine);
}

TEST(NodeChange, OnlyPodsOfACardThatIsGoneAreLost) {
  auto engine = support::GangEngine(support::Racks(1, 3, 2));
  const GangRequest gang = support::MakeGang(*engine, 1, {{Ask(1000, 2, 1000), 3, 3}});
  ASSERT_TRUE(engine->PlaceGang(gang, kNow)->placed());
  ASSERT_TRUE(engine->Place(For(*engine, Ask(1000), 50), kNow).placed());  // no card at all
  const NodeId with_cpu = engine->Find(Uid(50))->node;
  NodeSpec one_card = engine->state().SpecOf(with_cpu);
  one_card.cards.pop_back();
  ASSERT_TRUE(engine->Apply(NodeChanged{one_card}, kNow).has_value());
  const Gang& held = *engine->FindGang(gang.uid);
  EXPECT_EQ(held.held, 2);
  EXPECT_TRUE(held.degraded);
  ASSERT_EQ(held.homes.size(), 1U);
  EXPECT_EQ(held.homes.begin()->second, one_card.network);
  EXPECT_NE(engine->Find(Uid(50)), nullptr);
  Healthy(*engine);
  EXPECT_EQ(support::CheckGangs(*engine), "");
  // The card is back: the gang is repaired.
  one_card.cards.push_back(one_card.cards.front());
  ASSERT_TRUE(engine->Apply(NodeChanged{one_card}, kNow).has_value());
  ASSERT_TRUE(engine->PlaceGang(gang, kNow)->placed());
  EXPECT_FALSE(engine->FindGang(gang.uid)->degraded);
  Healthy(*engine);
}

// A gang's open lease is confirmed after the node changed under it, and one that is not expires.
TEST(NodeChange, AGangsLeaseGoesOn) {
  EngineOptions options;
  options.lease_ttl_us = 100;
  auto engine = support::GangEngine(support::Racks(1, 2, 4), options);
  std::vector<Lease> leases;
  for (const std::uint64_t uid : {1U, 2U}) {
    const GangRequest gang = support::MakeGang(*engine, uid, {{Ask(1000, 1, 1000), 2, 2}});
    const auto outcome = engine->ProposeGang(gang, kNow);
    ASSERT_TRUE(outcome->placed());
    leases.push_back(*engine->ReserveGang(gang, *outcome, kNow));
  }
  for (const char* name : {"r0n0", "r0n1"}) {
    NodeSpec node = engine->state().SpecOf(engine->state().FindNode(name));
    node.memory_mib += 1000;
    node.network = {{support::kRack, "other"}};
    ASSERT_TRUE(engine->Apply(NodeChanged{node}, kNow).has_value());
  }
  EXPECT_TRUE(engine->ConfirmGang(leases[0], SimTime{50}).has_value());
  EXPECT_GT(engine->Expire(SimTime{110}), 0U);
  EXPECT_NE(engine->FindGang(leases[0].uid), nullptr);
  EXPECT_EQ(engine->FindGang(leases[1].uid), nullptr);
  Healthy(*engine);
}

TEST(NodeChange, ANominationWaitsOnThroughIt) {
  auto engine = MakeEngine("binpack", {Named("a", 1)});
  Request low = For(*engine, Ask(1000, 1, 1000), 1);
  ASSERT_TRUE(engine->Place(low, kNow).placed());
  Request high = For(*engine, Ask(1000, 1, 1000), 2);
  high.standing.priority = 9;
  const EvictionPlan plan = engine->ProposeEviction(high, EvictionRules{}, kNow);
  ASSERT_TRUE(plan.found);
  const Lease lease = *engine->Nominate(high, plan, kNow);
  NodeSpec more = Named("a", 2);
  std::swap(more.cards[0], more.cards[1]);
  ASSERT_TRUE(engine->Apply(NodeChanged{more}, kNow).has_value());
  Healthy(*engine);
  EXPECT_FALSE(engine->RoomIsFree(Uid(2)));
  EXPECT_EQ(engine->Find(Uid(1))->cards, CardSet::Of(1));
  EXPECT_FALSE(engine->Confirm(lease, kNow).has_value());
  ASSERT_TRUE(engine->Release(Uid(1), kNow).has_value());
  EXPECT_TRUE(engine->Confirm(lease, kNow).has_value());
  Healthy(*engine);
}

TEST(NodeChange, QueuesAreChargedForWhatTheCardIsNow) {
  auto engine = MakeEngine("binpack", {Named("a", 2)});
  QueueSpec queue;
  queue.name = "q";
  ASSERT_TRUE(engine->Apply(QueueSet{queue}, kNow).has_value());
  Request pod = For(*engine, Ask(1000, 1, 1000), 1);
  pod.standing.queue = "q";
  ASSERT_TRUE(engine->Place(pod, kNow).placed());
  NodeSpec node = Named("a", 2);
  for (CardSpec& card : node.cards) card.model = "A100";
  ASSERT_TRUE(engine->Apply(NodeChanged{node}, kNow).has_value());
  const Amounts held = engine->HeldBy(*engine->Find(Uid(1)));
  const QueueTree& tree = engine->CaughtUpQueues();
  EXPECT_TRUE(tree.allocated(*tree.Find("q")) == held);
  Healthy(*engine);  // the audit adds the charges up again
}

TEST(NodeChange, SlicesThatTheNodeCanNoLongerHaveAreLostAndPinsAreDropped) {
  CardRules rules;
  rules.model = "A100";
  rules.vendor = "nvidia";
  rules.mig_slots = 8;
  rules.mig = {{.name = "1g.5gb",
                .memory_mib = 4864,
                .compute_milli = 142,
                .size = 1,
                .starts = {0, 1, 2, 3, 4, 5, 6}}};
  auto engine = MakeEngine("binpack", {});
  ASSERT_TRUE(engine->Apply(CardRulesSet{rules}, kNow).has_value());
  NodeSpec node = Node("a", 64'000, 2, "A100", 40'960);
  node.cards[0].mode = CardMode::kMig;
  ASSERT_TRUE(engine->Apply(NodeAdded{node}, kNow).has_value());
  RequestSpec instance = Ask(1000, 1, 0);
  instance.mig_profile = "1g.5gb";
  ASSERT_TRUE(engine->Place(For(*engine, instance, 1), kNow).placed());
  ASSERT_TRUE(engine->Place(For(*engine, Ask(1000, 1, 500), 2), kNow).placed());
  node.memory_mib += 1;
  ASSERT_TRUE(engine->Apply(NodeChanged{node}, kNow).has_value());
  ASSERT_NE(engine->Find(Uid(1)), nullptr);
  Healthy(*engine);
  node.cards[0].mode = CardMode::kShared;
  ASSERT_TRUE(engine->Apply(NodeChanged{node}, kNow).has_value());
  EXPECT_EQ(engine->Find(Uid(1)), nullptr);
  EXPECT_NE(engine->Find(Uid(2)), nullptr);
  Healthy(*engine);

  NodeSpec aligned = Node("b", 8000, 2);
  aligned.numa_nodes = 2;
  aligned.numa_policy = topology::NumaPolicy::kSingleNumaNode;
  aligned.cards[0].numa = 0;
  aligned.cards[1].numa = 1;
  auto other = MakeEngine("binpack", {aligned});
  ASSERT_TRUE(other->Place(For(*other, Ask(4000, 1, 1000), 1), kNow).placed());
  ASSERT_NE(other->Find(Uid(1))->numa, nullptr);
  aligned.numa_nodes = 1;
  aligned.numa_policy = topology::NumaPolicy::kNone;
  ASSERT_TRUE(other->Apply(NodeChanged{aligned}, kNow).has_value());
  ASSERT_NE(other->Find(Uid(1)), nullptr);
  EXPECT_EQ(other->Find(Uid(1))->numa, nullptr);
  Healthy(*other);
}

TEST(NodeChange, BadInputChangesNothing) {
  auto engine = MakeEngine("binpack", {Named("a", 2)});
  ASSERT_TRUE(engine->Place(For(*engine, Ask(1000, 1, 500), 1), kNow).placed());
  const std::string before = engine->Snapshot();
  EXPECT_EQ(engine->Apply(NodeChanged{Node("zz", 1, 1)}, kNow).error().ToString(),
            "node zz: is not in the cluster");
  NodeSpec bad = Named("a", 2);
  bad.cpu_milli = -1;
  EXPECT_FALSE(engine->Apply(NodeChanged{bad}, kNow).has_value());
  bad = Named("a", 2);
  bad.machine = "no machine";
  EXPECT_FALSE(engine->Apply(NodeChanged{bad}, kNow).has_value());
  EXPECT_EQ(engine->Snapshot(), before);
}

// A node that changes often, loses cards and gets them back, or goes and comes back, does not grow
// the state: its cards keep their rows.
TEST(NodeChange, ManyChangesKeepTheCards) {
  auto engine = MakeEngine("binpack", {Named("a", 8), Named("b", 8)});
  ASSERT_TRUE(engine->Place(For(*engine, Ask(1000, 1, 500), 1), kNow).placed());
  const NodeId a = engine->state().FindNode("a");
  const std::uint32_t row = engine->state().hot(a).first_card;
  for (int i = 1; i < 200; ++i) {
    NodeSpec node = Named("a", i % 9);
    node.cpu_milli += i;
    ASSERT_TRUE(engine->Apply(NodeChanged{node}, kNow).has_value());
    EXPECT_EQ(engine->state().hot(a).first_card, row);
    EXPECT_EQ(engine->state().hot(a).cards, i % 9);
    if (i % 20 != 0) continue;
    ASSERT_TRUE(engine->Apply(NodeRemoved{"a"}, kNow).has_value());
    ASSERT_TRUE(engine->Apply(NodeAdded{Named("a", 8)}, kNow).has_value());
    EXPECT_EQ(engine->state().FindNode("a"), a);
    EXPECT_EQ(engine->state().hot(a).first_card, row);
    Healthy(*engine);
  }
  // One card more than ever: other rows, and those of the neighbour are not touched.
  ASSERT_TRUE(engine->Place(For(*engine, Ask(1000, 1, 500), 2), kNow).placed());
  ASSERT_TRUE(engine->Apply(NodeChanged{Named("a", 9)}, kNow).has_value());
  EXPECT_NE(engine->state().hot(a).first_card, row);
  Healthy(*engine);
}

// What must hold of any change: whose cards are all still there stays as it was, everybody else is
// gone; the engine is as one that was made from what it is now; both ways of recovery give it.
TEST(NodeChange, RandomHistories) {
  std::int64_t stayed = 0;
  std::int64_t lost = 0;
  for (int i = 0; i < support::Scaled(400); ++i) {
    const auto seed = static_cast<std::uint64_t>(i);
    support::WorldOptions shape_of_world;
    shape_of_world.describe = true;
    shape_of_world.wiring = i % 5 == 0;
    support::World world(seed + 40'000, shape_of_world);
    JournalBuffer journal;
    EngineOptions options;
    options.seed = seed;
    options.journal = &journal;
    auto engine = MakeEngine("spread-job(fgd)", world.nodes, options);
    for (int step = 0; step < 60; ++step) {
      const support::Step next = world.Next();
      const auto* event = std::get_if<Event>(&next);
      const auto* change = event == nullptr ? nullptr : std::get_if<NodeChanged>(event);
      std::map<PodUid, Allocation> before;
      std::vector<std::string> uuids;
      NodeId node;
      if (change != nullptr) {
        node = engine->state().FindNode(change->spec.name);
        engine->ForEachAllocation([&](const Allocation& a) { before.emplace(a.uid, a); });
        for (int c = 0; c < engine->state().hot(node).cards; ++c) {
          uuids.push_back(engine->state().CardUuid(node, c));
        }
      }
      const std::string said = support::Play(*engine, world, next, SimTime{step});
      if (change == nullptr) continue;
      ASSERT_EQ(said, "applied") << "seed " << seed << " step " << step;
      for (const auto& [uid, was] : before) {
        const Allocation* now = engine->Find(uid);
        if (was.node != node) {
          ASSERT_NE(now, nullptr);
          ASSERT_EQ(now->cards, was.cards);
          continue;
        }
        (now == nullptr ? lost : stayed) += 1;
        if (now == nullptr) continue;
        ASSERT_EQ(now->epoch, was.epoch);
        ASSERT_EQ(now->expires, was.expires);
        ASSERT_EQ(now->confirmed, was.confirmed);
        ASSERT_EQ(now->cards.size(), was.cards.size());
      }
      // By UUID, where both descriptions give them.
      for (const auto& [uid, was] : before) {
        if (was.node != node) continue;
        const Allocation* now = engine->Find(uid);
        bool gone = false;
        CardSet expected;
        bool all_named = true;
        for (const int card : was.cards) {
          const std::string& uuid = uuids[static_cast<std::size_t>(card)];
          all_named = all_named && uuid.find('/') == std::string::npos;
          bool found = false;
          for (int c = 0; c < engine->state().hot(node).cards; ++c) {
            if (engine->state().CardUuid(node, c) != uuid) continue;
            found = true;
            expected.Add(c);
          }
          gone = gone || !found;
        }
        if (!all_named || was.cards.empty()) continue;
        ASSERT_EQ(now == nullptr, gone) << "seed " << seed << " step " << step;
        if (now != nullptr) {
          ASSERT_EQ(now->cards, expected) << "seed " << seed << " step " << step;
        }
      }
      ASSERT_NO_FATAL_FAILURE(Healthy(*engine)) << "seed " << seed << " step " << step;
      // Described as it reads back it is the same node.
      const std::size_t records = journal.records();
      ASSERT_TRUE(
          engine->Apply(NodeChanged{engine->state().SpecOf(node)}, SimTime{step}).has_value());
      ASSERT_EQ(journal.records(), records) << "seed " << seed << " step " << step;
    }
    EngineOptions fresh;
    fresh.seed = seed;
    fresh.target = support::SmallTarget();
    auto restored = Engine::Restore(engine->Snapshot(), Policy("spread-job(fgd)"), fresh);
    ASSERT_TRUE(restored.has_value()) << restored.error().ToString();
    auto recovered = MakeEngine("spread-job(fgd)", {}, fresh);
    const auto read = ReadJournal(journal.bytes());
    for (const JournalRecord& record : read->records) {
      const Status ok = recovered->ApplyRecord(record);
      ASSERT_TRUE(ok.has_value()) << ok.error().ToString() << " seed " << seed;
    }
    ASSERT_EQ((*restored)->StateDigest(), engine->StateDigest()) << "seed " << seed;
    ASSERT_EQ(recovered->StateDigest(), engine->StateDigest()) << "seed " << seed;
    // And they decide alike from here on.
    for (std::uint64_t pod = 0; pod < 6; ++pod) {
      const RequestSpec& spec = world.shapes[pod % world.shapes.size()];
      const Outcome a = engine->Place(For(*engine, spec, 9000 + pod, 0, pod % 3), SimTime{100});
      for (Engine* other : {restored->get(), recovered.get()}) {
        const Outcome b = other->Place(For(*other, spec, 9000 + pod, 0, pod % 3), SimTime{100});
        ASSERT_EQ(NodeName(*engine, a), NodeName(*other, b)) << "seed " << seed;
        ASSERT_EQ(a.placement.cards, b.placement.cards) << "seed " << seed;
      }
    }
  }
  EXPECT_GT(stayed, support::Scaled(400));
  EXPECT_GT(lost, support::Scaled(20));
}

}  // namespace
}  // namespace basalt
