// The journal and the snapshot: what is written can be read back, what is damaged is noticed, and
// recovery from either gives the state that was.
#include "scheduler-core/engine/journal.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "sim/simulator.h"
#include "test/support/cluster.h"
#include "test/support/random_world.h"

namespace basalt {
namespace {

using support::Ask;
using support::For;
using support::MakeEngine;
using support::Node;
using support::Policy;
using support::Uid;

RequestSpec FullSpec() {
  RequestSpec spec = Ask(4000, 2, 500);
  spec.memory_mib = 1024;
  spec.gpu_memory_mib = 2000;
  spec.gpu_memory_percent = 30;
  spec.models = {"T4", "A10"};
  spec.node_selector = {{"zone", "a"}};
  spec.tolerations = {"gpu", ""};
  return spec;
}

NodeSpec FullNode() {
  NodeSpec node = Node("node-a", 64'000, 2, "A10", 24'576);
  node.rank = 12;
  node.max_pods = 110;
  node.numa_nodes = 2;
  node.labels = {{"zone", "a"}, {"unicode", "\xc3\xa4"}};
  node.taints = {"gpu"};
  node.cards[1].uuid = "GPU-7";
  node.cards[1].slots = 3;
  node.cards[1].numa = 1;
  node.cards[1].mode = CardMode::kMig;
  return node;
}

// One of every kind, with every field set to something else than its default.
std::vector<JournalRecord> EveryKind() {
  PodObserved pod;
  pod.uid = Uid(1);
  pod.attempt = 2;
  pod.spec = FullSpec();
  pod.job = 77;
  pod.node = "node-a";
  pod.cards = CardSet(0b11);
  std::vector<JournalRecord> out;
  const auto add = [&](auto body) {
    out.push_back(JournalRecord{SimTime{static_cast<std::int64_t>(out.size()) - 3}, body});
  };
  add(PolicyRecord{"binpack/spread", 42, {{FullSpec(), 3}, {Ask(1), 1}}, 5});
  add(ShapeRecord{FullSpec()});
  add(EventRecord{NodeAdded{FullNode()}});
  add(EventRecord{NodeRemoved{"node-a"}});
  add(EventRecord{NodeCordoned{"node-a", true}});
  add(EventRecord{CardHealthChanged{"node-a", 1, true}});
  add(EventRecord{pod});
  add(EventRecord{PodGone{Uid(3)}});
  add(DecisionRecord{Uid(4), 1, 2, 3, OutcomeKind::kInfeasible});
  add(ReservedRecord{Uid(5), 1, 2, 3, "node-a", CardSet(0b10), 9, SimTime{123}});
  add(ConfirmedRecord{Uid(6)});
  add(ReleasedRecord{Uid(7)});
  add(ExpiredRecord{Uid(8)});
  return out;
}

std::string Encode(const std::vector<JournalRecord>& records) {
  JournalBuffer buffer;
  for (const JournalRecord& record : records) buffer.Append(record);
  return buffer.bytes();
}

TEST(Journal, EveryKindOfRecordReadsBackAsWritten) {
  const std::vector<JournalRecord> records = EveryKind();
  const std::string bytes = Encode(records);
  const auto read = ReadJournal(bytes);
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->tail_problem, "");
  EXPECT_EQ(read->valid_bytes, bytes.size());
  ASSERT_EQ(read->records.size(), records.size());
  EXPECT_EQ(Encode(read->records), bytes);  // encoding is a function of every field
  for (std::size_t i = 0; i < records.size(); ++i) {
    EXPECT_EQ(read->records[i].now, records[i].now);
    EXPECT_EQ(read->records[i].body.index(), records[i].body.index());
  }
  const auto& node = std::get<EventRecord>(read->records[2].body);
  EXPECT_EQ(std::get<NodeAdded>(node.event).spec, FullNode());
  EXPECT_EQ(std::get<ShapeRecord>(read->records[1].body).spec, FullSpec());
}

// A history with every kind of effect, journaled; the engine at its end.
struct Story {
  JournalBuffer journal;
  std::unique_ptr<Engine> engine;
};

std::unique_ptr<Story> Tell(std::uint64_t seed, const std::string& policy, int steps) {
  auto story = std::make_unique<Story>();
  support::World world(seed, {});
  EngineOptions options;
  options.seed = seed;
  options.journal = &story->journal;
  options.lease_ttl_us = 3;
  story->engine = MakeEngine(policy, world.nodes, options);
  for (int i = 0; i < steps; ++i) {
    const SimTime now{i};
    const support::Step step = world.Next();
    const auto* arrive = std::get_if<support::Arrive>(&step);
    if (arrive != nullptr && arrive->uid % 3 == 0) {  // reserved and left to expire
      const Request request = For(*story->engine, world.shapes[arrive->shape], arrive->uid,
                                  arrive->attempt, arrive->job);
      const Outcome outcome = story->engine->Propose(request, now);
      if (outcome.placed()) {
        EXPECT_TRUE(story->engine->Reserve(request, outcome.placement, now).has_value());
      }
    } else {
      support::Play(*story->engine, world, step, now);
    }
    if (i % 4 == 0) story->engine->Expire(now);
  }
  return story;
}

std::unique_ptr<Engine> Fresh(const std::string& policy) { return MakeEngine(policy, {}); }

TEST(Recovery, EffectsGiveTheSameState) {
  for (int seed = 0; seed < support::Scaled(150); ++seed) {
    const auto story = Tell(static_cast<std::uint64_t>(seed), "spread-job(binpack)", 40);
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
    const auto story = Tell(static_cast<std::uint64_t>(seed) + 500, "spread-job(fgd)", 40);
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
      const Outcome a = story->engine->Place(
          For(*story->engine, spec, 9000 + pod, 0, pod % 3), SimTime{1});
      const Outcome b = (*restored)->Place(For(**restored, spec, 9000 + pod, 0, pod % 3), SimTime{1});
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
  const auto story = Tell(3, "binpack", 40);
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

TEST(Recovery, EpochsGoOnAfterRecovery) {
  auto engine = MakeEngine("binpack", {Node("a", 64'000, 4)});
  const Request one = For(*engine, Ask(1000, 1, 1000), 1);
  const auto lease = engine->Reserve(one, engine->Propose(one, SimTime{}).placement, SimTime{});
  ASSERT_TRUE(lease.has_value());
  auto restored = Engine::Restore(engine->Snapshot(), Policy("binpack"), EngineOptions{});
  const Request two = For(**restored, Ask(1000, 1, 1000), 2);
  const auto next = (*restored)->Reserve(two, (*restored)->Propose(two, SimTime{}).placement,
                                         SimTime{});
  EXPECT_GT(next->epoch, lease->epoch);
  EXPECT_TRUE((*restored)->Confirm(*lease, SimTime{1}).has_value());
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

TEST(JournalDamage, ATornTailAtEveryByteRecoversAPrefixAndSaysSo) {
  const auto story = Tell(1, "binpack", 12);
  const std::string& bytes = story->journal.bytes();
  const auto whole = ReadJournal(bytes);
  ASSERT_GT(whole->records.size(), 15U);
  std::size_t last = 0;
  for (std::size_t cut = 0; cut < bytes.size(); ++cut) {
    const auto read = ReadJournal(std::string_view(bytes).substr(0, cut));
    if (cut < 16) {
      ASSERT_FALSE(read.has_value()) << cut;
      continue;
    }
    ASSERT_TRUE(read.has_value()) << cut;
    ASSERT_LE(read->valid_bytes, cut);
    ASSERT_GE(read->records.size(), last);
    last = read->records.size();
    ASSERT_EQ(read->tail_problem.empty(), read->valid_bytes == cut) << cut;
    ASSERT_EQ(Encode(read->records), bytes.substr(0, read->valid_bytes)) << cut;
  }
  EXPECT_EQ(last, whole->records.size() - 1);
}

TEST(JournalDamage, AFlippedByteNeverPassesForARecord) {
  const auto story = Tell(2, "binpack", 10);
  const std::string& bytes = story->journal.bytes();
  int caught = 0;
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    for (const int flip : {0x01, 0x80, 0xff}) {
      std::string damaged = bytes;
      damaged[at] = static_cast<char>(damaged[at] ^ flip);
      const auto read = ReadJournal(damaged);
      if (!read) {
        ASSERT_LT(at, 12U);  // magic or version
        continue;
      }
      if (at >= 12 && at < 16) continue;  // reserved
      // What is accepted is the true prefix before the damage.
      ASSERT_LE(read->valid_bytes, at);
      ASSERT_EQ(Encode(read->records), bytes.substr(0, read->valid_bytes));
      ASSERT_FALSE(read->tail_problem.empty());
      ++caught;
    }
  }
  EXPECT_GT(caught, 1000);
}

TEST(JournalDamage, ForeignAndNewerFilesAreRefused) {
  std::string bytes = Encode({});
  EXPECT_TRUE(ReadJournal(bytes).has_value());
  bytes[8] = static_cast<char>(kCodecVersion + 1);
  EXPECT_EQ(ReadJournal(bytes).error().message, "format version 2; this build reads up to 1");
  bytes[8] = 0;
  EXPECT_FALSE(ReadJournal(bytes).has_value());
  EXPECT_FALSE(ReadJournal("").has_value());
  EXPECT_FALSE(ReadJournal("this is a text file, not a journal").has_value());
}

TEST(SnapshotDamage, EveryCutAndEveryFlipIsRefused) {
  const auto story = Tell(4, "binpack", 15);
  const std::string bytes = story->engine->Snapshot();
  for (std::size_t cut = 0; cut < bytes.size(); ++cut) {
    ASSERT_FALSE(DecodeSnapshot(std::string_view(bytes).substr(0, cut)).has_value()) << cut;
  }
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    if (at >= 12 && at < 16) continue;  // reserved
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    ASSERT_FALSE(DecodeSnapshot(damaged).has_value()) << at;
  }
  EXPECT_FALSE(DecodeSnapshot(bytes + "x").has_value());
  std::string newer = bytes;
  newer[8] = static_cast<char>(kCodecVersion + 1);
  EXPECT_EQ(DecodeSnapshot(newer).error().message, "format version 2; this build reads up to 1");
}

TEST(Snapshot, EncodesWhatItDecodes) {
  const auto story = Tell(5, "binpack", 40);
  const std::string bytes = story->engine->Snapshot();
  const auto contents = DecodeSnapshot(bytes);
  ASSERT_TRUE(contents.has_value());
  EXPECT_EQ(EncodeSnapshot(*contents), bytes);
}

TEST(Snapshot, ContentsThatContradictThemselvesAreRefused) {
  SnapshotContents good;
  good.nodes.push_back({FullNode(), true, {1}});
  good.shapes.push_back(Ask(1, 1, 100));
  good.allocations.push_back({Uid(1), 0, 0, 0, "node-a", CardSet(1), 1, SimTime{9}, true});
  const auto restores = [](const SnapshotContents& contents) {
    return Engine::Restore(EncodeSnapshot(contents), Policy("binpack"), EngineOptions{}).has_value();
  };
  EXPECT_TRUE(restores(good));
  for (const auto& damage : std::vector<void (*)(SnapshotContents&)>{
           [](SnapshotContents& c) { c.nodes[0].unhealthy_cards = {2}; },
           [](SnapshotContents& c) { c.nodes.push_back(c.nodes[0]); },
           [](SnapshotContents& c) { c.allocations[0].node = "b"; },
           [](SnapshotContents& c) { c.allocations[0].shape = 1; },
           [](SnapshotContents& c) { c.allocations[0].cards = CardSet(0b100); },
           [](SnapshotContents& c) { c.allocations.push_back(c.allocations[0]); },
           [](SnapshotContents& c) { c.shapes[0].gpu_milli = 9999; }}) {
    SnapshotContents bad = good;
    damage(bad);
    EXPECT_FALSE(restores(bad));
  }
}

// Deciding everything again gives the same placements, and another policy is noticed.
TEST(Replay, DecidesEverythingAgainAlike) {
  for (const char* policy : {"binpack/spread", "fgd", "random", "spread-job(pwr:1+fgd:1)"}) {
    for (int seed = 0; seed < support::Scaled(25); ++seed) {
      const auto story = Tell(static_cast<std::uint64_t>(seed) + 40, policy, 60);
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
  auto engine =
      MakeEngine("binpack", {Node("a", 64'000, 8), Node("b", 64'000, 8)}, options);
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
