// The server and several clients in virtual time, with messages lost, late, doubled and overtaking
// each other, peers cut off one way or both, crashes of everybody, torn journals, full disks and a
// jumping clock. After every step no card, CPU, memory or quota is bound twice; every hundred steps
// what probe.cc asks holds; after every restart the state is the one before; after every calm the
// server knows exactly what is true and all that waited is placed. 200,000 steps times
// BASALT_TEST_SCALE, over four seeds.
#include <gtest/gtest.h>

#include <cstdint>

#include "test/service_sim/world.h"

namespace basalt {
namespace {

TEST(ServiceSim, NothingIsBoundTwiceAndEverythingIsPlaced) {
  service_sim::Tally all;
  std::uint64_t binds = 0;
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    service_sim::World world(seed);
    // Calm every so often.
    const int rounds = std::max(1, support::Scaled(2));
    for (int round = 0; round < rounds; ++round) {
      const std::string wrong = world.Run(25'000);
      ASSERT_EQ(wrong, "") << "seed " << seed << " round " << round;
      const std::string unsettled = world.Settle();
      ASSERT_EQ(unsettled, "") << "seed " << seed << " round " << round;
    }
    const service_sim::Tally& t = world.tally();
    all.crashes += t.crashes;
    all.torn += t.torn;
    all.client_crashes += t.client_crashes;
    all.relists += t.relists;
    all.jumps += t.jumps;
    all.lost_answers += t.lost_answers;
    all.evictions += t.evictions;
    all.fenced += t.fenced;
    all.expired += t.expired;
    all.node_losses += t.node_losses;
    all.partitions += t.partitions;
    all.full_disks += t.full_disks;
    all.writes_refused += t.writes_refused;
    all.renewals += t.renewals;
    all.probes += t.probes;
    all.not_ready += t.not_ready;
    all.freed += t.freed;
    binds += world.api().binds();
  }
  RecordProperty("binds", std::to_string(binds));
  std::printf(
      "%llu binds, %llu crashes (%llu torn), %llu scheduler crashes, %llu relists, %llu jumps, "
      "%llu answers lost with a crash, %llu evictions, %llu fenced, %llu expired, %llu nodes "
      "lost, %llu partitions, %llu full disks (%llu writes refused), %llu renewals, %llu probes "
      "(%llu not ready, %llu with more room)\n",
      static_cast<unsigned long long>(binds), static_cast<unsigned long long>(all.crashes),
      static_cast<unsigned long long>(all.torn),
      static_cast<unsigned long long>(all.client_crashes),
      static_cast<unsigned long long>(all.relists), static_cast<unsigned long long>(all.jumps),
      static_cast<unsigned long long>(all.lost_answers),
      static_cast<unsigned long long>(all.evictions), static_cast<unsigned long long>(all.fenced),
      static_cast<unsigned long long>(all.expired),
      static_cast<unsigned long long>(all.node_losses),
      static_cast<unsigned long long>(all.partitions),
      static_cast<unsigned long long>(all.full_disks),
      static_cast<unsigned long long>(all.writes_refused),
      static_cast<unsigned long long>(all.renewals), static_cast<unsigned long long>(all.probes),
      static_cast<unsigned long long>(all.not_ready), static_cast<unsigned long long>(all.freed));
  // The faults were there.
  EXPECT_GT(binds, 500u);
  EXPECT_GT(all.crashes, 20u);
  EXPECT_GT(all.torn, 5u);
  EXPECT_GT(all.client_crashes, 20u);
  EXPECT_GT(all.fenced + all.expired, 20u);
  EXPECT_GT(all.evictions, 5u);
  EXPECT_GT(all.partitions, 5u);
  EXPECT_GT(all.full_disks, 5u);
  EXPECT_GT(all.writes_refused, 0u);
  EXPECT_GT(all.renewals, 0u);
  EXPECT_GT(all.not_ready, 5u);
  EXPECT_GT(all.freed, 50u);
}

TEST(ServiceSim, TheSameSeedIsTheSameRun) {
  std::string digests[2];
  for (std::string& digest : digests) {
    service_sim::World world(77);
    ASSERT_EQ(world.Run(10'000), "");
    ASSERT_EQ(world.Settle(), "");
    digest = world.server().service().StateDigest() +
             world.server().service().engine().DecisionDigest().ToHex();
  }
  EXPECT_EQ(digests[0], digests[1]);
}

// Clusters of one process share nothing but what is constant: what happens to one changes nothing
// of the other.
TEST(ServiceSim, TwoClustersDoNotTouch) {
  const auto digest = [](const service_sim::World& world) {
    return world.server().service().StateDigest() +
           world.server().service().engine().DecisionDigest().ToHex();
  };
  std::string alone[2];
  for (std::uint64_t w = 0; w < 2; ++w) {
    service_sim::World world(501 + w);
    ASSERT_EQ(world.Run(6'000), "");
    ASSERT_EQ(world.Settle(), "");
    alone[w] = digest(world);
  }
  service_sim::World first(501);
  service_sim::World second(502);
  for (int step = 0; step < 6'000; ++step) {
    ASSERT_EQ(first.Run(1), "");
    ASSERT_EQ(second.Run(1), "");
  }
  ASSERT_EQ(second.Settle(), "");
  ASSERT_EQ(first.Settle(), "");
  EXPECT_EQ(digest(first), alone[0]);
  EXPECT_EQ(digest(second), alone[1]);
}

}  // namespace
}  // namespace basalt
