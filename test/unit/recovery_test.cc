// Recovery by effects, from a snapshot, or both gives the state that was; and deciding a recorded
// day again gives the same placements.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "scheduler-core/engine/engine.h"
#include "sim/simulator.h"
#include "test/support/cluster.h"
#include "test/support/random_world.h"
#include "test/support/story.h"

namespace basalt {
namespace {

using support::Ask;
using support::For;
using support::MakeEngine;
using support::Node;
using support::Policy;
using support::Uid;

std::unique_ptr<Engine> Fresh(const std::string& policy) { return MakeEngine(policy, {}); }

TEST(Recovery, EffectsGiveTheSameState) {
  for (int seed = 0; seed < support::Scaled(150); ++seed) {
    const auto story = support::Tell(static_cast<std::uint64_t>(seed), "spread-job(binpack)", 40);
    const auto read = ReadJournal(story->journal.bytes());
    ASSERT_TRUE(read.has_value());
    EXPECT_EQ(read->records.size(), story->journal.records());
    auto recovered = Fresh("best-fit");  // effects need no policy
    for (const JournalRecord& record : read->records) {
      const Status ok = recovered->ApplyRecord(record);
      ASSERT_TRUE(ok.has_value()) << ok.error().ToString() << " seed " << seed;
    }
    ASSERT_EQ(recovered->StateDigest(), story->engine->StateDigest()) << "seed " << seed;
    ASSERT_TRUE(recovered->Audit().has_value());
    ASSERT_EQ(support::CheckDerived(recovered->state()), "");
    // The leases that were open are open again, with the same end.
    const SimTime later{1000};
    ASSERT_EQ(recovered->Expire(later), story->engine->Expire(later));
    ASSERT_EQ(recovered->StateDigest(), story->engine->StateDigest());
  }
}

TEST(Recovery, SnapshotGivesTheSameState) {
  for (int seed = 0; seed < support::Scaled(150); ++seed) {
    const auto story = support::Tell(static_cast<std::uint64_t>(seed) + 500, "spread-job(fgd)", 40);
    EngineOptions options;
    options.target = support::SmallTarget();
    auto restored = Engine::Restore(story->engine->Snapshot(), Policy("spread-job(fgd)"), options);
    ASSERT_TRUE(restored.has_value()) << restored.error().ToString();
    ASSERT_EQ((*restored)->StateDigest(), story->engine->StateDigest()) << "seed " << seed;
    ASSERT_EQ((*restored)->Snapshot(), story->engine->Snapshot());
    ASSERT_EQ(support::CheckDerived((*restored)->state()), "");
    // And it goes on as the original does.
    support::World world(static_cast<std::uint64_t>(seed) + 500, {});
    for (std::uint64_t pod = 0; pod < 10; ++pod) {
      const RequestSpec& spec = world.shapes[pod % world.shapes.size()];
      const Outcome a =
          story->engine->Place(For(*story->engine, spec, 9000 + pod, 0, pod % 3), SimTime{1});
      const Outcome b =
          (*restored)->Place(For(**restored, spec, 9000 + pod, 0, pod % 3), SimTime{1});
      ASSERT_EQ(support::NodeName(*story->engine, a), support::NodeName(**restored, b));
      ASSERT_EQ(a.placement.cards, b.placement.cards);
    }
    ASSERT_EQ((*restored)->StateDigest(), story->engine->StateDigest());
  }
}

// A snapshot in the middle and the rest of the same journal. Shapes are numbered from the journal's
// beginning, so its shape records are read from there; they have no other effect.
TEST(Recovery, SnapshotAndTheRestOfTheJournal) {
  for (int seed = 0; seed < support::Scaled(60); ++seed) {
    support::World world(static_cast<std::uint64_t>(seed) + 900, {});
    JournalBuffer journal;
    EngineOptions options;
    options.journal = &journal;
    auto engine = MakeEngine("best-fit", world.nodes, options);
    std::string snapshot;
    std::size_t cut = 0;
    for (int i = 0; i < 40; ++i) {
      if (i == 20) {
        snapshot = engine->Snapshot();
        cut = journal.records();
      }
      support::Play(*engine, world, world.Next(), SimTime{i});
    }
    auto restored = Engine::Restore(snapshot, Policy("best-fit"), EngineOptions{});
    ASSERT_TRUE(restored.has_value());
    const auto read = ReadJournal(journal.bytes());
    for (std::size_t i = 0; i < read->records.size(); ++i) {
      if (i < cut && !std::holds_alternative<ShapeRecord>(read->records[i].body)) continue;
      const Status ok = (*restored)->ApplyRecord(read->records[i]);
      ASSERT_TRUE(ok.has_value()) << ok.error().ToString();
    }
    ASSERT_EQ((*restored)->StateDigest(), engine->StateDigest()) << "seed " << seed;
  }
}

// A restored engine that writes a journal of its own: snapshot and that journal, alone, recover it.
// So the journal must not repeat what the snapshot holds.
TEST(Recovery, SnapshotAndTheJournalOfTheRestoredEngine) {
  auto first = MakeEngine("binpack", {Node("a", 64'000, 4), Node("b", 64'000, 4)});
  ASSERT_TRUE(first->Place(For(*first, Ask(1000, 1, 1000), 1), SimTime{}).placed());
  ASSERT_TRUE(first->Apply(NodeCordoned{"b", true}, SimTime{}).has_value());
  const std::string snapshot = first->Snapshot();
  JournalBuffer journal;
  EngineOptions options;
  options.journal = &journal;
  auto second = Engine::Restore(snapshot, Policy("binpack"), options);
  ASSERT_TRUE(second.has_value());
  ASSERT_TRUE((*second)->Place(For(**second, Ask(1000, 1, 500), 2), SimTime{5}).placed());
  ASSERT_TRUE((*second)->Apply(NodeCordoned{"b", false}, SimTime{6}).has_value());
  auto third = Engine::Restore(snapshot, Policy("binpack"), EngineOptions{});
  ASSERT_TRUE(third.has_value());
  const auto read = ReadJournal(journal.bytes());
  ASSERT_TRUE(read.has_value());
  ASSERT_TRUE(std::holds_alternative<PolicyRecord>(read->records.front().body));
  for (const JournalRecord& record : read->records) {
    const Status ok = (*third)->ApplyRecord(record);
    ASSERT_TRUE(ok.has_value()) << ok.error().ToString();
  }
  EXPECT_EQ((*third)->StateDigest(), (*second)->StateDigest());
}

// An engine that recovers by applying records writes none of them again, and goes on with its own
// journal; both journals one after the other recover it. A journal numbers its shapes from 0, and
// begins with its policy.
TEST(Recovery, OneJournalAfterTheOther) {
  const auto story = support::Tell(3, "binpack", 40);
  const auto old_records = ReadJournal(story->journal.bytes())->records;
  JournalBuffer journal;
  EngineOptions options;
  options.journal = &journal;
  auto second = MakeEngine("binpack", {}, options);
  for (const JournalRecord& record : old_records) {
    ASSERT_TRUE(second->ApplyRecord(record).has_value());
  }
  EXPECT_EQ(journal.records(), 1U);  // its policy
  ASSERT_TRUE(second->Apply(NodeAdded{Node("new", 64'000, 8)}, SimTime{50}).has_value());
  for (std::uint64_t i = 0; i < 5; ++i) {
    const RequestSpec ask = Ask(100 + static_cast<MilliCpu>(i), 1, 700);
    second->Place(For(*second, ask, 70'000 + i), SimTime{51});
  }
  auto third = Fresh("binpack");
  for (const JournalRecord& record : old_records) {
    ASSERT_TRUE(third->ApplyRecord(record).has_value());
  }
  const auto new_records = ReadJournal(journal.bytes())->records;
  for (const JournalRecord& record : new_records) {
    const Status ok = third->ApplyRecord(record);
    ASSERT_TRUE(ok.has_value()) << ok.error().ToString();
  }
  EXPECT_EQ(third->StateDigest(), second->StateDigest());
}

// An epoch that was given out is never given again, or a late confirm could meet another's lease.
TEST(Recovery, EpochsGoOnAfterRecovery) {
  JournalBuffer journal;
  EngineOptions options;
  options.journal = &journal;
  auto engine = MakeEngine("binpack", {Node("a", 64'000, 4)}, options);
  const Request one = For(*engine, Ask(1000, 1, 1000), 1);
  const auto lease = engine->Reserve(one, engine->Propose(one, SimTime{}).placement, SimTime{});
  ASSERT_TRUE(lease.has_value());
  auto restored = Engine::Restore(engine->Snapshot(), Policy("binpack"), EngineOptions{});
  ASSERT_TRUE(restored.has_value());
  auto replayed = Fresh("binpack");
  const auto read = ReadJournal(journal.bytes());
  for (const JournalRecord& record : read->records) {
    ASSERT_TRUE(replayed->ApplyRecord(record).has_value());
  }
  for (Engine* recovered : {restored->get(), replayed.get()}) {
    const Request two = For(*recovered, Ask(1000, 1, 1000), 2);
    const auto next =
        recovered->Reserve(two, recovered->Propose(two, SimTime{}).placement, SimTime{});
    ASSERT_TRUE(next.has_value());
    EXPECT_GT(next->epoch, lease->epoch);
    EXPECT_TRUE(recovered->Confirm(*lease, SimTime{1}).has_value());
  }
}

TEST(Recovery, RecordsThatCannotBeAreErrors) {
  auto engine = MakeEngine("binpack", {Node("a", 64'000, 2)});
  const auto refused = [&](auto body) {
    return !engine->ApplyRecord(JournalRecord{SimTime{}, body}).has_value();
  };
  const Digest128 before = engine->StateDigest();
  EXPECT_TRUE(refused(ReservedRecord{Uid(1), 0, 0, 0, "a", CardSet(1), 1, SimTime{}}));
  ASSERT_TRUE(engine->ApplyRecord({SimTime{}, ShapeRecord{Ask(1, 1, 100)}}).has_value());
  EXPECT_TRUE(refused(ReservedRecord{Uid(1), 0, 0, 0, "zz", CardSet(1), 1, SimTime{}}));
  EXPECT_TRUE(refused(ReservedRecord{Uid(1), 0, 0, 0, "a", CardSet(0b100), 1, SimTime{}}));
  EXPECT_TRUE(refused(ConfirmedRecord{Uid(1)}));
  EXPECT_TRUE(refused(ReleasedRecord{Uid(1)}));
  EXPECT_TRUE(refused(ExpiredRecord{Uid(1)}));
  EXPECT_TRUE(refused(ShapeRecord{Ask(-1)}));
  EXPECT_TRUE(refused(EventRecord{NodeRemoved{"zz"}}));
  EXPECT_EQ(engine->StateDigest(), before);
  EXPECT_FALSE(refused(ReservedRecord{Uid(1), 0, 0, 0, "a", CardSet(1), 1, SimTime{}}));
  EXPECT_TRUE(refused(ReservedRecord{Uid(1), 0, 0, 0, "a", CardSet(2), 2, SimTime{}}));
}

// Deciding everything again gives the same placements, and another policy is noticed.
TEST(Replay, DecidesEverythingAgainAlike) {
  for (const char* policy : {"binpack/spread", "fgd", "random", "spread-job(pwr:1+fgd:1)"}) {
    for (int seed = 0; seed < support::Scaled(25); ++seed) {
      const auto story = support::Tell(static_cast<std::uint64_t>(seed) + 40, policy, 60);
      const auto journal = ReadJournal(story->journal.bytes());
      ASSERT_TRUE(journal.has_value());
      std::size_t decisions = 0;
      for (const JournalRecord& r : journal->records) {
        decisions += std::holds_alternative<ReservedRecord>(r.body) ||
                             std::holds_alternative<DecisionRecord>(r.body)
                         ? 1
                         : 0;
      }
      const auto replay = sim::ReplayJournal(*journal, support::Builtins());
      ASSERT_TRUE(replay.has_value()) << replay.error().ToString();
      ASSERT_EQ(replay->decisions, decisions);
      ASSERT_EQ(replay->different, 0U) << policy << " " << replay->first_difference;
      ASSERT_EQ(replay->state_digest, story->engine->StateDigest());
    }
  }
}

TEST(Replay, AnotherPolicyDiffersAndTheEffectsStayAsRecorded) {
  JournalBuffer journal;
  EngineOptions options;
  options.journal = &journal;
  auto engine = MakeEngine("binpack", {Node("a", 64'000, 8), Node("b", 64'000, 8)}, options);
  for (std::uint64_t i = 0; i < 6; ++i) {
    engine->Place(For(*engine, Ask(1000, 1, 1000), i), SimTime{});
  }
  const auto contents = ReadJournal(journal.bytes());
  const auto replay = sim::ReplayJournal(*contents, support::Builtins(), "spread");
  ASSERT_TRUE(replay.has_value());
  EXPECT_EQ(replay->decisions, 6U);
  EXPECT_EQ(replay->different, 5U);  // the first goes to a under both
  EXPECT_NE(replay->first_difference.find("was placed on a"), std::string::npos);
  EXPECT_EQ(replay->state_digest, engine->StateDigest());
  EXPECT_FALSE(sim::ReplayJournal(*contents, support::Builtins(), "nope").has_value());
  EXPECT_FALSE(sim::ReplayJournal(JournalContents{}, support::Builtins()).has_value());
}

}  // namespace
}  // namespace basalt
