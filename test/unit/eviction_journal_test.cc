// Standings, queues, budgets and nominations in journal and snapshot.
#include <gtest/gtest.h>

#include "scheduler-core/base/rng.h"
#include "test/support/cluster.h"

namespace basalt {
namespace {

using support::Ask;
using support::For;
using support::MakeEngine;
using support::Node;
using support::Policy;
using support::Uid;

// A history with all of it, ending at a random point of a nomination.
void Tell(Engine& engine, std::uint64_t seed) {
  Rng rng(seed, 4);
  for (int n = 0; n < 3; ++n) {
    ASSERT_TRUE(engine.Apply(NodeAdded{Node("n" + std::to_string(n), 16'000, 4)}, SimTime{}));
  }
  for (const char* name : {"a", "b"}) {
    QueueSpec spec;
    spec.name = name;
    spec.guarantee = {{"gpu", 3000}};
    spec.capacity = {{"gpu", 11'000}};
    ASSERT_TRUE(engine.Apply(QueueSet{spec}, SimTime{}).has_value());
  }
  ASSERT_TRUE(engine.Apply(DisruptionBudgetSet{"web", -1, 1, -1}, SimTime{}).has_value());
  std::uint64_t uid = 0;
  SimTime now;
  for (int step = 0; step < 60; ++step) {
    now = now.Plus(10'000'000);
    Standing standing;
    standing.queue = rng.Below(3) == 0 ? "" : rng.Below(2) == 0 ? "a" : "b";
    standing.priority = static_cast<std::int32_t>(rng.Below(4));
    standing.preemptible = rng.Below(5) != 0;
    if (rng.Below(4) == 0) standing.budget = "web";
    standing.restart_us = rng.Below(100);
    const bool is_gang = rng.Below(3) == 0;
    Request pod = For(engine, Ask(500, 1 + static_cast<int>(rng.Below(3)), 1000), ++uid);
    GangRequest gang;
    gang.uid = Uid(10'000 + uid);
    gang.spec.tasks.push_back({"t", pod.shape, 2, 2, -1});
    pod.standing = gang.standing = standing;
    const auto what = rng.Below(10);
    if (what == 0 && uid > 1) {
      static_cast<void>(engine.Apply(PodCheckpointed{Uid(1 + rng.Below(60))}, now));
    } else if (what == 1) {
      static_cast<void>(engine.Release(Uid(1 + rng.Below(60)), now));
    } else if (what == 2 && !engine.nominations().empty()) {
      const auto& [nominee, nomination] = *engine.nominations().begin();
      const PodUid victim = *nomination.waiting.begin();
      static_cast<void>(nominee);
      ASSERT_TRUE(engine.Release(victim, now).has_value());
    } else if (what == 3 && !engine.nominations().empty()) {
      const PodUid nominee = engine.nominations().begin()->first;
      const bool of_gang = engine.nominations().begin()->second.gang;
      ASSERT_TRUE(of_gang ? engine.ReleaseGang(nominee, now).has_value()
                          : engine.Release(nominee, now).has_value());
    } else if (is_gang) {
      const auto placed = engine.PlaceGang(gang, now);
      if (placed && placed->placed()) continue;
      const auto plan = engine.ProposeEviction(gang, {}, now);
      if (plan && plan->found) {
        ASSERT_TRUE(engine.NominateGang(gang, *plan, now).has_value()) << "seed " << seed;
      }
    } else if (!engine.Place(pod, now).placed()) {
      const EvictionPlan plan = engine.ProposeEviction(pod, {}, now);
      if (plan.found) {
        const auto lease = engine.Nominate(pod, plan, now);
        ASSERT_TRUE(lease.has_value()) << lease.error().ToString() << " seed " << seed;
      }
    }
    const Status audit = engine.Audit();
    ASSERT_TRUE(audit.has_value()) << audit.error().ToString() << " seed " << seed;
  }
}

TEST(EvictionJournal, EffectsAndSnapshotGiveTheSameState) {
  std::size_t nominations = 0;
  for (int i = 0; i < support::Scaled(60); ++i) {
    const auto seed = static_cast<std::uint64_t>(i);
    JournalBuffer journal;
    EngineOptions options;
    options.journal = &journal;
    auto engine = MakeEngine("binpack", {}, options);
    Tell(*engine, seed);
    if (HasFatalFailure()) return;
    nominations += engine->nominations().size();
    const auto read = ReadJournal(journal.bytes());
    ASSERT_TRUE(read.has_value() && read->tail_problem.empty());
    auto recovered = MakeEngine("best-fit", {});
    for (const JournalRecord& record : read->records) {
      const Status ok = recovered->ApplyRecord(record);
      ASSERT_TRUE(ok.has_value()) << ok.error().ToString() << " seed " << seed;
    }
    ASSERT_EQ(recovered->StateDigest(), engine->StateDigest()) << "seed " << seed;
    ASSERT_TRUE(recovered->Audit().has_value());
    auto restored = Engine::Restore(engine->Snapshot(), Policy("binpack"), {});
    ASSERT_TRUE(restored.has_value()) << restored.error().ToString();
    ASSERT_EQ((*restored)->StateDigest(), engine->StateDigest()) << "seed " << seed;
    ASSERT_EQ((*restored)->Snapshot(), engine->Snapshot());
    ASSERT_TRUE((*restored)->Audit().has_value());
    // They go on alike: the victims leave, the leases begin and end.
    const SimTime later = SimTime::Seconds(10'000);
    for (Engine* e : {engine.get(), recovered.get(), restored->get()}) {
      while (!e->nominations().empty()) {
        const PodUid victim = *e->nominations().begin()->second.waiting.begin();
        ASSERT_TRUE(e->Release(victim, later).has_value());
      }
      e->Expire(later.Plus(30'000'000));
    }
    ASSERT_EQ(recovered->StateDigest(), engine->StateDigest());
    ASSERT_EQ((*restored)->StateDigest(), engine->StateDigest());
  }
  EXPECT_GT(nominations, 10U);
}

TEST(EvictionJournal, ANominationOfNobodyIsRefused) {
  auto engine = MakeEngine("binpack", {Node("n", 8000, 1)});
  JournalRecord record;
  ASSERT_TRUE(engine->ApplyRecord({SimTime{}, ShapeRecord{Ask(100, 1, 1000)}}).has_value());
  ReservedRecord places{Uid(1), 0, 0, 0, "n", CardSet(1), 1, kNever};
  record.body = NominatedRecord{places, {Uid(7)}};
  EXPECT_FALSE(engine->ApplyRecord(record).has_value());
  record.body = NominatedRecord{places, {}};
  EXPECT_FALSE(engine->ApplyRecord(record).has_value());
  EXPECT_EQ(engine->allocation_count(), 0U);
}

}  // namespace
}  // namespace basalt
