// Another policy for a living engine, and another journal: what is held stays, what is decided
// afterwards is as if the policy had always been this one, and every journal recovers.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "scheduler-core/engine/engine.h"
#include "sim/simulator.h"
#include "test/support/cluster.h"
#include "test/support/random_world.h"

namespace basalt {
namespace {

using support::Ask;
using support::For;
using support::MakeEngine;
using support::Node;
using support::NodeName;
using support::Policy;
using support::Uid;

TEST(SetPolicy, DecidesByTheNewOne) {
  auto engine = MakeEngine("binpack", {Node("a", 64'000, 4), Node("b", 64'000, 4)});
  ASSERT_EQ(NodeName(*engine, engine->Place(For(*engine, Ask(1000, 1, 1000), 1), SimTime{1})), "a");
  ASSERT_EQ(NodeName(*engine, engine->Propose(For(*engine, Ask(1000, 1, 1000), 2), SimTime{1})),
            "a");
  const Digest128 state = engine->StateDigest();
  ASSERT_TRUE(engine->SetPolicy(Policy("spread"), {}, SimTime{2}).has_value());
  EXPECT_EQ(engine->policy().expression, "spread");
  EXPECT_EQ(engine->StateDigest(), state);
  EXPECT_EQ(engine->fragmentation(), nullptr);
  EXPECT_EQ(NodeName(*engine, engine->Propose(For(*engine, Ask(1000, 1, 1000), 2), SimTime{2})),
            "b");
  // Without the typical requests fgd cannot decide, and nothing changes.
  const Status refused = engine->SetPolicy(Policy("fgd"), {}, SimTime{3});
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message.find("needs a target workload"), std::string::npos);
  EXPECT_EQ(engine->policy().expression, "spread");
  ASSERT_TRUE(engine->SetPolicy(Policy("fgd"), support::SmallTarget(), SimTime{3}).has_value());
  EXPECT_NE(engine->fragmentation(), nullptr);
}

// From one policy to another and on: as an engine that has had the last one all the time.
TEST(SetPolicy, AsIfItHadAlwaysBeen) {
  const char* policies[] = {"binpack", "spread-job(fgd)", "class-quota(T4=0.3;best-fit)", "random",
                            "spread-job(binpack)"};
  for (int i = 0; i < support::Scaled(100); ++i) {
    const auto seed = 130'000 + static_cast<std::uint64_t>(i);
    support::World world(seed, {.wiring = false});
    EngineOptions options;
    options.seed = seed;
    auto engine = MakeEngine(policies[i % 5], world.nodes, options);
    for (int part = 1; part < 4; ++part) {
      for (int step = 0; step < 25; ++step) {
        support::Play(*engine, world, world.Next(), SimTime{part * 25 + step});
      }
      const char* next = policies[(i + part) % 5];
      ASSERT_TRUE(
          engine->SetPolicy(Policy(next), support::SmallTarget(), SimTime{part * 25}).has_value());
      options.target = support::SmallTarget();
      auto always = Engine::Restore(engine->Snapshot(), Policy(next), options);
      ASSERT_TRUE(always.has_value());
      for (std::uint64_t pod = 0; pod < 8; ++pod) {
        const RequestSpec& spec = world.shapes[pod % world.shapes.size()];
        const Request here = For(*engine, spec, 7000 + pod, 0, pod % 4);
        const Request there = For(**always, spec, 7000 + pod, 0, pod % 4);
        const Outcome a = engine->Propose(here, SimTime{200});
        const Outcome b = (*always)->Propose(there, SimTime{200});
        ASSERT_EQ(NodeName(*engine, a), NodeName(**always, b)) << "seed " << seed << " " << next;
        ASSERT_EQ(a.placement.cards, b.placement.cards) << "seed " << seed << " " << next;
        ASSERT_EQ(a.placement.score, b.placement.score) << "seed " << seed << " " << next;
      }
      ASSERT_TRUE(engine->Audit().has_value());
    }
  }
}

TEST(SetPolicy, ReplayAndRecoveryFollow) {
  const char* policies[] = {"binpack", "spread-job(fgd)", "spread"};
  for (int i = 0; i < support::Scaled(60); ++i) {
    const auto seed = 140'000 + static_cast<std::uint64_t>(i);
    support::World world(seed, {.wiring = false});
    JournalBuffer journal;
    EngineOptions options;
    options.seed = seed;
    options.journal = &journal;
    auto engine = MakeEngine(policies[i % 3], world.nodes, options);
    for (int step = 0; step < 60; ++step) {
      if (step % 20 == 19) {
        ASSERT_TRUE(
            engine
                ->SetPolicy(Policy(policies[(i + step) % 3]), support::SmallTarget(), SimTime{step})
                .has_value());
      }
      support::Play(*engine, world, world.Next(), SimTime{step});
    }
    const auto read = ReadJournal(journal.bytes());
    ASSERT_TRUE(read.has_value());
    const auto replay = sim::ReplayJournal(*read, support::Builtins());
    ASSERT_TRUE(replay.has_value()) << replay.error().ToString();
    EXPECT_EQ(replay->different, 0U) << "seed " << seed << ": " << replay->first_difference;
    EXPECT_EQ(replay->state_digest, engine->StateDigest());
    EXPECT_GT(replay->decisions, 0U);
    auto recovered = MakeEngine("best-fit", {});
    for (const JournalRecord& record : read->records) {
      const Status ok = recovered->ApplyRecord(record);
      ASSERT_TRUE(ok.has_value()) << ok.error().ToString();
    }
    EXPECT_EQ(recovered->StateDigest(), engine->StateDigest()) << "seed " << seed;
  }
}

// A snapshot, then a fresh journal: together they are the state, and the old journal has no more.
TEST(RestartJournal, SnapshotAndTheNewOneAreTheState) {
  for (int i = 0; i < support::Scaled(60); ++i) {
    const auto seed = 150'000 + static_cast<std::uint64_t>(i);
    support::World world(seed, {.wiring = false});
    JournalBuffer first;
    JournalBuffer second;
    EngineOptions options;
    options.seed = seed;
    options.journal = &first;
    auto engine = MakeEngine("binpack", world.nodes, options);
    for (int step = 0; step < 30; ++step) {
      support::Play(*engine, world, world.Next(), SimTime{step});
    }
    const std::string snapshot = engine->Snapshot();
    engine->RestartJournal(&second);
    const std::size_t before = first.records();
    for (int step = 30; step < 60; ++step) {
      support::Play(*engine, world, world.Next(), SimTime{step});
    }
    EXPECT_EQ(first.records(), before);
    EngineOptions fresh;
    fresh.seed = seed;
    auto restored = Engine::Restore(snapshot, Policy("binpack"), fresh);
    ASSERT_TRUE(restored.has_value());
    const auto read = ReadJournal(second.bytes());
    ASSERT_TRUE(std::holds_alternative<PolicyRecord>(read->records.front().body));
    for (const JournalRecord& record : read->records) {
      const Status ok = (*restored)->ApplyRecord(record);
      ASSERT_TRUE(ok.has_value()) << ok.error().ToString() << " seed " << seed;
    }
    EXPECT_EQ((*restored)->StateDigest(), engine->StateDigest()) << "seed " << seed;
    engine->RestartJournal(nullptr);
    const std::size_t after = second.records();
    support::Play(*engine, world, world.Next(), SimTime{70});
    EXPECT_EQ(second.records(), after);
  }
}

// What another sink writes, frame by frame, is the journal.
TEST(RestartJournal, FramesMakeAJournal) {
  struct Frames : JournalSink {
    std::string bytes = JournalHeader();
    void Append(const JournalRecord& record) override { bytes += EncodeFrame(record); }
  };
  Frames frames;
  JournalBuffer buffer;
  auto engine = MakeEngine("binpack", {Node("a", 64'000, 4)});
  for (JournalSink* sink :
       {static_cast<JournalSink*>(&frames), static_cast<JournalSink*>(&buffer)}) {
    engine->RestartJournal(sink);
    ASSERT_TRUE(engine->Place(For(*engine, Ask(1000, 1, 1000), 1), SimTime{1}).placed());
    ASSERT_TRUE(engine->Release(Uid(1), SimTime{2}).has_value());
  }
  const auto read = ReadJournal(frames.bytes);
  ASSERT_TRUE(read.has_value() && read->tail_problem.empty());
  EXPECT_EQ(read->records.size(), buffer.records());
  EXPECT_EQ(frames.bytes.substr(0, 16), buffer.bytes().substr(0, 16));
}

}  // namespace
}  // namespace basalt
