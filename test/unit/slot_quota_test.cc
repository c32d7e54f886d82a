// Slot quotas in the engine: whole nodes that a queue can always have, whatever others do.
#include <gtest/gtest.h>

#include <algorithm>

#include "scheduler-core/base/rng.h"
#include "scheduler-core/engine/job_scheduler.h"
#include "test/support/cluster.h"

namespace basalt {
namespace {

using support::Ask;
using support::For;
using support::MakeEngine;
using support::Node;
using support::Scaled;
using support::Uid;

constexpr SimTime kNow = SimTime::Seconds(1000);

void SetQueue(Engine& engine, const std::string& name, std::vector<SlotQuota> slots,
              const std::string& parent = "") {
  QueueSpec spec;
  spec.name = name;
  spec.parent = parent;
  spec.slots = std::move(slots);
  const Status ok = engine.Apply(QueueSet{spec}, SimTime{});
  ASSERT_TRUE(ok.has_value()) << ok.error().ToString();
}

Standing Firm(const std::string& queue) {
  Standing standing;
  standing.queue = queue;
  standing.preemptible = false;
  return standing;
}

Standing GivesWay(const std::string& queue) {
  Standing standing;
  standing.queue = queue;
  return standing;
}

Request Of(Engine& engine, std::uint64_t uid, int cards, const Standing& standing) {
  Request request = For(engine, Ask(100, cards, cards > 0 ? 1000 : 0), uid);
  request.standing = standing;
  return request;
}

GangRequest GangOf(Engine& engine, std::uint64_t uid, std::int32_t members, int cards,
                   const Standing& standing) {
  GangRequest gang;
  gang.uid = Uid(uid);
  gang.spec.tasks.push_back(
      {"t", *engine.InternShape(Ask(100, cards, 1000)), members, members, -1});
  gang.standing = standing;
  return gang;
}

std::unique_ptr<Engine> Cluster(int nodes, const std::string& policy = "best-fit") {
  std::vector<NodeSpec> specs;
  for (int n = 0; n < nodes; ++n) specs.push_back(Node("n" + std::to_string(n), 64'000, 8));
  return MakeEngine(policy, specs);
}

bool Place(Engine& engine, std::uint64_t uid, int cards, const Standing& standing) {
  return engine.Place(Of(engine, uid, cards, standing), kNow).placed();
}

TEST(EngineSlots, StrangersFirmWorkTakesOnlyWhatIsNotPromised) {
  auto engine = Cluster(4);
  SetQueue(*engine, "a", {{8, 3, ""}});
  SetQueue(*engine, "b", {});
  EXPECT_TRUE(Place(*engine, 1, 1, Firm("b")));  // the one node that is left over
  for (std::uint64_t p = 2; p <= 8; ++p) EXPECT_TRUE(Place(*engine, p, 1, Firm("b"))) << p;
  const Request next = Of(*engine, 9, 1, Firm("b"));
  const Outcome kept = engine->Propose(next, kNow);
  EXPECT_EQ(kept.kind, OutcomeKind::kWait);
  EXPECT_TRUE(kept.by_quota);
  EXPECT_EQ(kept.reason, "nodes where it would fit are kept for the slots of queue 'a'");
  EXPECT_EQ(engine->Explain(next).text,
            "3 nodes: kept for the slots of queue 'a'; 1 node: no whole card free");
  EXPECT_FALSE(Place(*engine, 10, 1, Firm("")));  // nor who is in no queue
  EXPECT_TRUE(Place(*engine, 11, 0, Firm("b")));  // a pod without cards takes nothing from slots
  EXPECT_TRUE(Place(*engine, 12, 1, GivesWay("b")));
  for (std::uint64_t p = 20; p < 23; ++p) {
    const bool placed = Place(*engine, p, 8, Firm("a"));
    EXPECT_EQ(placed, p < 22) << p;  // pod 12 is on the third
  }
  EXPECT_TRUE(engine->Audit().has_value());
}

TEST(EngineSlots, AReservationIsCheckedAgain) {
  auto engine = Cluster(2);
  SetQueue(*engine, "a", {{8, 1, ""}});
  const Request first = Of(*engine, 1, 1, Firm(""));
  const Request second = Of(*engine, 2, 1, Firm(""));
  const Outcome one = engine->Propose(first, kNow);
  Outcome two = engine->Propose(second, kNow);
  ASSERT_TRUE(one.placed() && two.placed());
  two.placement.node = engine->state().FindNode("n1");
  two.placement.generation = engine->state().generation(two.placement.node);
  ASSERT_TRUE(engine->Reserve(first, one.placement, kNow).has_value());
  const auto refused = engine->Reserve(second, two.placement, kNow);
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message.find("slots of queue 'a'"), std::string::npos);
  EXPECT_TRUE(engine->Propose(second, kNow).placed());  // beside the first
}

TEST(EngineSlots, AnInnerQueuesLeavesShareItsNodes) {
  auto engine = Cluster(2);
  SetQueue(*engine, "a", {{8, 1, ""}});
  SetQueue(*engine, "a/x", {}, "a");
  SetQueue(*engine, "a/y", {}, "a");
  EXPECT_TRUE(Place(*engine, 1, 8, Firm("")));
  EXPECT_FALSE(Place(*engine, 2, 4, Firm("")));
  EXPECT_TRUE(Place(*engine, 3, 4, Firm("a/x")));
  EXPECT_TRUE(Place(*engine, 4, 4, Firm("a/y")));
  EXPECT_EQ(engine->node_slots().quotas()[0].held, 1);
}

TEST(EngineSlots, WhatIsLostIsToldAndNotMadeWorse) {
  auto engine = Cluster(3);
  SetQueue(*engine, "a", {{8, 2, ""}});
  EXPECT_EQ(engine->node_slots().short_of(0), 0);
  ASSERT_TRUE(engine->Apply(CardHealthChanged{"n0", 3, false}, kNow).has_value());
  ASSERT_TRUE(engine->Apply(NodeCordoned{"n1", true}, kNow).has_value());
  EXPECT_EQ(engine->node_slots().short_of(0), 1);
  EXPECT_TRUE(Place(*engine, 1, 1, Firm("")));  // n0 is no whole node
  EXPECT_EQ(engine->Find(Uid(1))->node, engine->state().FindNode("n0"));
  EXPECT_FALSE(Place(*engine, 2, 8, Firm("")));
  EXPECT_TRUE(Place(*engine, 3, 8, Firm("a")));
  EXPECT_EQ(engine->node_slots().short_of(0), 1);
  ASSERT_TRUE(engine->Apply(NodeCordoned{"n1", false}, kNow).has_value());
  EXPECT_EQ(engine->node_slots().short_of(0), 0);
  ASSERT_TRUE(engine->Apply(NodeRemoved{"n1"}, kNow).has_value());
  EXPECT_EQ(engine->node_slots().short_of(0), 1);
  SetQueue(*engine, "a", {});
  EXPECT_FALSE(engine->node_slots().any());
  EXPECT_TRUE(engine->Audit().has_value());
}

TEST(EngineSlots, AGangIsJudgedAsAWhole) {
  auto engine = Cluster(4, "spread");
  SetQueue(*engine, "a", {{8, 2, ""}});
  // Each of its members could come to any node, all four to four nodes cannot.
  GangRequest gang = GangOf(*engine, 1, 4, 2, Firm(""));
  const auto spread = engine->ProposeGang(gang, kNow);
  ASSERT_TRUE(spread.has_value());
  EXPECT_FALSE(spread->placed());
  EXPECT_TRUE(spread->by_quota);
  EXPECT_EQ(spread->reason, "nodes where it would fit are kept for the slots of queue 'a'");
  const auto two = engine->PlaceGang(GangOf(*engine, 2, 2, 8, Firm("")), kNow);
  ASSERT_TRUE(two.has_value());
  EXPECT_TRUE(two->placed());
  EXPECT_FALSE(engine->PlaceGang(GangOf(*engine, 3, 1, 8, Firm("")), kNow)->placed());
  EXPECT_TRUE(engine->PlaceGang(GangOf(*engine, 4, 2, 8, Firm("a")), kNow)->placed());
  EXPECT_TRUE(engine->Audit().has_value());
}

TEST(EngineSlots, AGangIsPutWhereItBreaksNothing) {
  auto engine = Cluster(4, "spread");
  SetQueue(*engine, "a", {{8, 2, ""}});
  ASSERT_TRUE(engine->Place(Of(*engine, 50, 4, Firm("")), kNow).placed());
  // Three nodes are open and two of them kept: four members spread would take all. The node that
  // is outside has room for them.
  const auto gang = engine->PlaceGang(GangOf(*engine, 1, 4, 1, Firm("")), kNow);
  ASSERT_TRUE(gang.has_value());
  ASSERT_TRUE(gang->placed()) << gang->reason;
  for (const GangOutcome::Member& m : gang->members) {
    EXPECT_EQ(m.placement.node, engine->Find(Uid(50))->node);
  }
  EXPECT_EQ(engine->node_slots().kinds()[0].slack(), 1);
}

TEST(EngineSlots, WorkThatGivesWayIsDrivenOutOfAQueuesSlots) {
  auto engine = Cluster(2);
  SetQueue(*engine, "a", {{8, 1, ""}});
  SetQueue(*engine, "b", {});
  for (std::uint64_t p = 1; p <= 4; ++p) ASSERT_TRUE(Place(*engine, p, 4, GivesWay("b")));
  EvictionRules rules;
  rules.preempt = false;
  // b holds all of the cluster within its fair share of what is asked for; slots are a right.
  const Request own = Of(*engine, 10, 8, Firm("a"));
  const EvictionPlan plan = engine->ProposeEviction(own, rules, kNow);
  ASSERT_TRUE(plan.found) << plan.reason;
  EXPECT_EQ(plan.victims.size(), 2U);
  const auto lease = engine->Nominate(own, plan, kNow);
  ASSERT_TRUE(lease.has_value()) << lease.error().ToString();
  for (const Victim& v : plan.victims) ASSERT_TRUE(engine->Release(v.uid, kNow).has_value());
  EXPECT_TRUE(engine->Confirm(*lease, kNow).has_value());
  // It has its slot: the second node is not its own.
  const EvictionPlan more = engine->ProposeEviction(Of(*engine, 11, 8, Firm("a")), rules, kNow);
  EXPECT_FALSE(more.found && more.victims.size() == 2 && more.victims[0].queue == "b" &&
               engine->node_slots().quotas()[0].held > 1);
  rules.reclaim = false;
  EXPECT_FALSE(engine->ProposeEviction(Of(*engine, 12, 8, Firm("a")), rules, kNow).found);
  EXPECT_TRUE(engine->Audit().has_value());
}

TEST(EngineSlots, TheSchedulerGivesAQueueItsNodesBack) {
  auto engine = Cluster(2);
  SetQueue(*engine, "a", {{8, 1, ""}});
  SetQueue(*engine, "b", {});
  SchedulerOptions options;
  options.evict = true;
  options.eviction.preempt = false;
  JobScheduler scheduler(*engine, options);
  const auto submit = [&](std::uint64_t uid, int cards, const Standing& standing) {
    JobRequest job;
    job.uid = Uid(uid);
    job.spec.tasks.push_back({"t", *engine->InternShape(Ask(100, cards, 1000)), 1, 1, -1});
    job.standing = standing;
    job.submitted = kNow;
    ASSERT_TRUE(scheduler.Submit(job, kNow).has_value());
  };
  submit(1, 8, Firm("b"));
  submit(2, 8, Firm("b"));  // kept for a
  submit(3, 8, GivesWay("b"));
  std::vector<Action> actions = scheduler.Schedule(kNow);
  ASSERT_EQ(actions.size(), 2U);
  EXPECT_EQ(actions[0].job, Uid(1));
  EXPECT_EQ(actions[1].job, Uid(3));
  EXPECT_EQ(scheduler.WhyWaiting(Uid(2)),
            "nodes where it would fit are kept for the slots of queue 'a'");
  submit(4, 8, Firm("a"));
  actions = scheduler.Schedule(kNow);
  ASSERT_EQ(actions.size(), 2U);
  EXPECT_EQ(actions[0].kind, Action::Kind::kEvict);
  EXPECT_EQ(actions[0].pod, Uid(3));
  ASSERT_TRUE(engine->Release(Uid(3), kNow).has_value());
  scheduler.Ended(Uid(3), kNow);
  actions = scheduler.Schedule(kNow);
  ASSERT_EQ(actions.size(), 1U);
  EXPECT_EQ(actions[0].job, Uid(4));
  // When a has all its slots and a node comes free, the other may have it.
  ASSERT_TRUE(engine->Release(Uid(1), kNow).has_value());
  scheduler.Ended(Uid(1), kNow);
  actions = scheduler.Schedule(kNow);
  ASSERT_EQ(actions.size(), 1U);
  EXPECT_EQ(actions[0].job, Uid(2));
}

TEST(EngineSlots, SlackThatGrowsElsewhereWakesWhoWaits) {
  auto engine = Cluster(3);
  SetQueue(*engine, "a", {{8, 1, ""}});
  JobScheduler scheduler(*engine, {});
  const auto submit = [&](std::uint64_t uid, int cards, const Standing& standing) {
    JobRequest job;
    job.uid = Uid(uid);
    job.spec.tasks.push_back({"t", *engine->InternShape(Ask(100, cards, 1000)), 1, 1, -1});
    job.standing = standing;
    job.submitted = kNow;
    ASSERT_TRUE(scheduler.Submit(job, kNow).has_value());
  };
  submit(1, 1, Firm(""));
  submit(2, 7, GivesWay(""));
  submit(3, 8, Firm(""));
  ASSERT_EQ(scheduler.Schedule(kNow).size(), 3U);
  submit(4, 8, Firm(""));
  EXPECT_TRUE(scheduler.Schedule(kNow).empty());
  // The node of pod 1 does not fit pod 4, but it is open now.
  ASSERT_TRUE(engine->Release(Uid(1), kNow).has_value());
  scheduler.Ended(Uid(1), kNow);
  const std::vector<Action> actions = scheduler.Schedule(kNow);
  ASSERT_EQ(actions.size(), 1U);
  EXPECT_EQ(actions[0].job, Uid(4));
}

TEST(EngineSlots, ASnapshotAndAJournalKeepThem) {
  auto engine = Cluster(3);
  SetQueue(*engine, "a", {{8, 2, "T4"}});
  EXPECT_TRUE(Place(*engine, 1, 8, Firm("a")));
  EXPECT_TRUE(Place(*engine, 2, 3, Firm("")));
  const auto again = Engine::Restore(engine->Snapshot(), support::Policy("best-fit"), {});
  ASSERT_TRUE(again.has_value()) << again.error().ToString();
  EXPECT_EQ((*again)->StateDigest(), engine->StateDigest());
  EXPECT_TRUE((*again)->Audit().has_value());
  EXPECT_EQ((*again)->node_slots().kinds()[0].slack(), 0);
  EXPECT_EQ((*again)->node_slots().kinds()[0].model, "T4");
  EXPECT_FALSE((*again)->Propose(Of(**again, 3, 8, Firm("")), kNow).placed());
}

// Random firm and preemptible work, gangs, evictions, failures: no decision ever lowers a slack
// below 0 (or at all, below it); and at the end of each history every queue that is not short gets
// all its slots as whole nodes, free or by driving out what gives way.
TEST(EngineSlots, NoDecisionBreaksThemAndTheyCanAlwaysBeHad) {
  int had = 0, driven_out = 0, kept = 0, gangs = 0, evicting_gangs = 0;
  for (int seed = 0; seed < Scaled(60); ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(static_cast<std::uint64_t>(seed));
    const int nodes = 5 + static_cast<int>(rng.Below(5));
    static const char* const kPolicies[] = {"best-fit", "spread", "random", "binpack"};
    std::vector<NodeSpec> specs;
    for (int n = 0; n < nodes; ++n) {
      const int cards = rng.Below(4) == 0 ? 4 : 8;
      specs.push_back(Node("n" + std::to_string(n), 64'000, cards));
    }
    auto engine = MakeEngine(kPolicies[rng.Below(4)], specs);
    SetQueue(*engine, "a", {{8, 1 + static_cast<int>(rng.Below(2)), ""}, {4, 1, ""}});
    SetQueue(*engine, "b", {{8, 1, ""}});
    SetQueue(*engine, "b/x", {}, "b");
    SetQueue(*engine, "c", {});
    const std::string queues[] = {"a", "b/x", "c", ""};
    const auto slacks = [&] {
      std::vector<std::int64_t> out;
      for (const NodeSlots::Kind& kind : engine->node_slots().kinds()) out.push_back(kind.slack());
      return out;
    };
    EvictionRules rules;
    std::vector<std::uint64_t> pods;
    std::vector<std::uint64_t> held_gangs;
    std::uint64_t next = 1;
    for (int step = 0; step < 120; ++step) {
      const std::vector<std::int64_t> before = slacks();
      bool observed = false;
      const std::string& queue = queues[rng.Below(4)];
      Standing standing = rng.Below(2) == 0 ? Firm(queue) : GivesWay(queue);
      standing.priority = static_cast<std::int32_t>(rng.Below(2));
      const int cards = static_cast<int>(rng.Below(9));
      const std::uint64_t what = rng.Below(10);
      if (what < 4) {
        const Outcome outcome = engine->Place(Of(*engine, next, cards, standing), kNow);
        if (outcome.placed()) pods.push_back(next);
        kept += outcome.by_quota ? 1 : 0;
        ++next;
      } else if (what < 5) {
        const auto members = 2 + static_cast<std::int32_t>(rng.Below(4));
        const auto outcome = engine->PlaceGang(
            GangOf(*engine, 1'000'000 + next, members, 1 + cards % 8, standing), kNow);
        ASSERT_TRUE(outcome.has_value());
        if (outcome->placed()) held_gangs.push_back(1'000'000 + next);
        gangs += outcome->placed() ? 1 : 0;
        ++next;
      } else if (what < 6) {
        const auto members = 1 + static_cast<std::int32_t>(rng.Below(3));
        const GangRequest request =
            GangOf(*engine, 1'000'000 + next, members, 1 + cards % 8, standing);
        const auto plan = engine->ProposeEviction(request, rules, kNow);
        ASSERT_TRUE(plan.has_value());
        if (plan->found) {
          const auto lease = engine->NominateGang(request, *plan, kNow);
          ASSERT_TRUE(lease.has_value()) << lease.error().ToString();
          for (const Victim& v : plan->victims) {
            ASSERT_TRUE(engine->Release(v.uid, kNow).has_value());
          }
          ASSERT_TRUE(engine->ConfirmGang(*lease, kNow).has_value());
          held_gangs.push_back(1'000'000 + next);
          ++evicting_gangs;
        }
        ++next;
      } else if (what < 7) {
        const Request request = Of(*engine, next, cards, standing);
        const EvictionPlan plan = engine->ProposeEviction(request, rules, kNow);
        const auto lease = engine->Nominate(request, plan, kNow);
        if (plan.found && lease.has_value()) {
          pods.push_back(next);
          for (const Victim& v : plan.victims) {
            if (engine->Find(v.uid) != nullptr) {
              ASSERT_TRUE(engine->Release(v.uid, kNow).has_value());
            }
          }
          ASSERT_TRUE(engine->Confirm(*lease, kNow).has_value());
        }
        ++next;
      } else if (what < 9 && !pods.empty()) {
        const std::size_t at = rng.Below(static_cast<std::uint32_t>(pods.size()));
        if (engine->Find(Uid(pods[at])) != nullptr) {
          ASSERT_TRUE(engine->Release(Uid(pods[at]), kNow).has_value());
        }
        pods.erase(pods.begin() + static_cast<std::ptrdiff_t>(at));
      } else if (!held_gangs.empty() && rng.Below(2) == 0) {
        if (engine->FindGang(Uid(held_gangs.back())) != nullptr) {
          ASSERT_TRUE(engine->ReleaseGang(Uid(held_gangs.back()), kNow).has_value());
        }
        held_gangs.pop_back();
      } else if (seed % 2 == 1) {
        observed = true;
        const std::string node = "n" + std::to_string(rng.Below(static_cast<std::uint32_t>(nodes)));
        ASSERT_TRUE(engine->Apply(NodeCordoned{node, rng.Below(4) == 0}, kNow).has_value());
      }
      if (step % 10 == 0) {
        const Status ok = engine->Audit();
        ASSERT_TRUE(ok.has_value()) << ok.error().ToString();
      }
      const std::vector<std::int64_t> after = slacks();
      for (std::size_t k = 0; k < after.size() && !observed; ++k) {
        ASSERT_GE(after[k], std::min<std::int64_t>(before[k], 0)) << "step " << step;
      }
    }
    // Quotas in amounts count what is held on a cordoned node, and not its cards.
    for (int n = 0; n < nodes; ++n) {
      ASSERT_TRUE(engine->Apply(NodeCordoned{"n" + std::to_string(n), false}, kNow).has_value());
    }
    for (const NodeSlots::Quota& quota : std::vector(engine->node_slots().quotas())) {
      if (engine->node_slots().short_of(quota.kind) > 0) continue;
      const std::string queue = engine->queues().name(quota.queue) == "a" ? "a" : "b/x";
      const int cards = engine->node_slots().kinds()[static_cast<std::size_t>(quota.kind)].cards;
      // Whole nodes for all slots that are not bound yet.
      for (std::int64_t i = quota.bound(); i < quota.count; ++i) {
        const Request request = Of(*engine, next++, cards, Firm(queue));
        if (engine->Place(request, kNow).placed()) {
          ++had;
          continue;
        }
        EvictionRules only_reclaim;
        only_reclaim.preempt = false;
        const EvictionPlan plan = engine->ProposeEviction(request, only_reclaim, kNow);
        ASSERT_TRUE(plan.found) << queue << ": " << plan.reason;
        ASSERT_TRUE(engine->Nominate(request, plan, kNow).has_value());
        for (const Victim& v : plan.victims) {
          ASSERT_TRUE(engine->Release(v.uid, kNow).has_value());
        }
        ++driven_out;
      }
    }
    const Status ok = engine->Audit();
    ASSERT_TRUE(ok.has_value()) << ok.error().ToString();
  }
  EXPECT_GT(had + driven_out, Scaled(30));
  EXPECT_GT(driven_out, 0);
  EXPECT_GT(kept, 0);
  EXPECT_GT(gangs, 0);
  EXPECT_GT(evicting_gangs, 0);
}

}  // namespace
}  // namespace basalt
