// The replay in time: a tiny example computed by hand, the queue's two orders, and the theory of
// queues as an independent oracle.
#include <gtest/gtest.h>

#include <cmath>

#include "scheduler-core/base/rng.h"
#include "sim/simulator.h"
#include "test/support/cluster.h"
#include "test/support/workloads.h"

namespace basalt::sim {
namespace {

using support::Ask;
using support::MakeToy;
using support::Node;
using support::Pod;
using support::Policy;

Pod At(double submit_s, double duration_s, int gpus) {
  return Pod{Ask(100, gpus, gpus > 0 ? 1000 : 0), static_cast<std::int64_t>(submit_s * 1e6),
             static_cast<std::int64_t>(duration_s * 1e6), 0};
}

RunResult Simulate(const Workload& workload, QueueOrder order, int points = 10,
                   const char* policy = "binpack") {
  ReplayOptions options;
  options.queue = order;
  options.points = points;
  const auto result = RunReplay(workload, Policy(policy), 1, options, {});
  EXPECT_TRUE(result.has_value());
  return *result;
}

// Two cards. A takes one for 10 s; B wants both and waits; C wants one for 3 s.
TEST(Replay, FifoKeepsAllBehindTheHead) {
  const Workload workload =
      MakeToy({Node("a", 64'000, 2)}, {At(0, 10, 1), At(1, 10, 2), At(2, 3, 1)});
  const RunResult result = Simulate(workload, QueueOrder::kFifo);
  EXPECT_EQ(result.placed, 3);
  EXPECT_EQ(result.failed, 0);
  EXPECT_DOUBLE_EQ(result.wait.mean, (0 + 9 + 18) / 3.0);  // B at 10, C at 20
  EXPECT_DOUBLE_EQ(result.wait.p50, 9);
  EXPECT_DOUBLE_EQ(result.wait.max, 18);
  // A; B; C is not asked while B heads the queue; at 10 B fits and C does not; at 20 C fits.
  EXPECT_EQ(result.engine_calls, 5U);
  EXPECT_EQ(result.work.decisions, 5U);
  EXPECT_EQ(result.final_allocation_pct, 0);
}

TEST(Replay, SkipLetsSmallOnesPass) {
  const Workload workload =
      MakeToy({Node("a", 64'000, 2)}, {At(0, 10, 1), At(1, 10, 2), At(2, 3, 1)});
  const RunResult result = Simulate(workload, QueueOrder::kFifoSkip);
  EXPECT_DOUBLE_EQ(result.wait.mean, 3);  // C starts at once and is gone before A
  EXPECT_DOUBLE_EQ(result.wait.max, 9);
  EXPECT_EQ(result.engine_calls, 5U);  // A, B, C, and B again at 5 and at 10
}

TEST(Replay, InfeasibleIsRefusedAndDoesNotBlock) {
  const Workload workload =
      MakeToy({Node("a", 64'000, 2)}, {At(0, 10, 1), At(1, 10, 4), At(2, 3, 1)});
  for (const QueueOrder order : {QueueOrder::kFifo, QueueOrder::kFifoSkip}) {
    const RunResult result = Simulate(workload, order);
    EXPECT_EQ(result.placed, 2);
    EXPECT_EQ(result.failed, 1);
    EXPECT_DOUBLE_EQ(result.wait.max, 0);
    ASSERT_EQ(result.failed_shapes.size(), 1U);
    EXPECT_EQ(result.failed_shapes[0].outcome, "Infeasible");
  }
}

TEST(Replay, WhatComesFreeIsUsedAtTheSameInstant) {
  const Workload workload = MakeToy({Node("a", 64'000, 1)}, {At(0, 10, 1), At(10, 1, 1)});
  const RunResult result = Simulate(workload, QueueOrder::kFifoSkip);
  EXPECT_DOUBLE_EQ(result.wait.max, 0);
  EXPECT_EQ(result.engine_calls, 2U);
}

TEST(Replay, UnknownDurationsRunToTheEndAndTheRestNeverStarts) {
  std::vector<Pod> pods = {At(0, 0, 1), At(1, 5, 1), At(2, 5, 1)};
  pods[0].duration_us = -1;
  const Workload workload = MakeToy({Node("a", 64'000, 1)}, pods);
  const RunResult result = Simulate(workload, QueueOrder::kFifoSkip);
  EXPECT_EQ(result.placed, 1);
  EXPECT_EQ(result.failed, 2);
  EXPECT_EQ(result.final_allocation_pct, 100);
  EXPECT_EQ(result.failed_shapes[0].outcome, "Wait");
}

TEST(Replay, ArrivalsOutOfOrderAreSorted) {
  const Workload workload =
      MakeToy({Node("a", 64'000, 1)}, {At(5, 1, 1), At(0, 2, 1), At(1, 1, 1)});
  const RunResult result = Simulate(workload, QueueOrder::kFifo);
  EXPECT_DOUBLE_EQ(result.wait.max, 1);  // only the pod of second 1 waits, until 2
  EXPECT_DOUBLE_EQ(result.wait.mean, 1.0 / 3);
}

TEST(Replay, SeriesAreTimeWeightedMeans) {
  // One of two cards for 5 s, idle for 5 s, then the last arrival closes the window at 10 s.
  const Workload workload = MakeToy({Node("a", 64'000, 2)}, {At(0, 5, 1), At(10, 1, 1)});
  const RunResult result = Simulate(workload, QueueOrder::kFifoSkip, 4);
  const Series& s = result.series;
  ASSERT_EQ(s.x.size(), 4U);
  EXPECT_DOUBLE_EQ(s.x[0], 1.25 / 3600);
  EXPECT_DOUBLE_EQ(s.allocation_pct[0], 50);
  EXPECT_DOUBLE_EQ(s.allocation_pct[1], 50);
  EXPECT_DOUBLE_EQ(s.allocation_pct[2], 0);
  EXPECT_DOUBLE_EQ(s.idle_cards[0], 1);
  EXPECT_DOUBLE_EQ(s.idle_nodes[3], 1);
  EXPECT_DOUBLE_EQ(s.queued[0], 0);
  // Two points: 5 s of 50 % and 5 s of 0 % in one each; one point: the mean of both.
  EXPECT_DOUBLE_EQ(Simulate(workload, QueueOrder::kFifoSkip, 1).series.allocation_pct[0], 25);
}

TEST(Replay, QueuedCountsWhoWaits) {
  const Workload workload =
      MakeToy({Node("a", 64'000, 1)}, {At(0, 10, 1), At(0, 10, 1), At(0, 10, 1), At(10, 1, 1)});
  EXPECT_DOUBLE_EQ(Simulate(workload, QueueOrder::kFifo, 1).series.queued[0], 2);
}

TEST(Replay, IndexAndScanAndSeedsAgree) {
  const Workload workload = support::RandomWorkload(8, 6, 400);
  for (const char* policy : {"fgd", "best-fit", "spread-job(binpack)", "class-quota(T4=0.3;fgd)"}) {
    RunOptions scan;
    scan.scan_every_node = true;
    const auto a = RunReplay(workload, Policy(policy), 3, {}, {});
    const auto b = RunReplay(workload, Policy(policy), 3, {}, scan);
    ASSERT_TRUE(a.has_value() && b.has_value());
    EXPECT_EQ(a->decision_digest, b->decision_digest) << policy;
    EXPECT_EQ(a->wait.mean, b->wait.mean);
    EXPECT_EQ(a->arrivals, a->placed + a->failed);
    EXPECT_GT(a->wait.max, 0);  // the cluster is small: some did wait
  }
}

// M/M/8 with one-card pods: the mean wait against Erlang's C formula. Over seeds, the mean wait of
// 400,000 arrivals at 60 % load has a standard deviation of 2.4 % (12 runs of a separate 10-line
// simulation); the tolerance is three of them.
TEST(Replay, MeanWaitIsErlangC) {
  constexpr int kServers = 8;
  constexpr double kService = 10;  // seconds
  constexpr double kLoad = 0.6;
  const double rate = kLoad * kServers / kService;
  const int count = support::Scaled(400'000);
  Rng rng(2024, 1);
  const auto exponential = [&](double mean) { return -mean * std::log(1.0 - rng.Unit()); };
  std::vector<Pod> pods;
  double now = 0;
  for (int i = 0; i < count; ++i) {
    now += exponential(1 / rate);
    pods.push_back(At(now, exponential(kService), 1));
    pods.back().spec.cpu_milli = 0;
  }
  const RunResult result =
      Simulate(MakeToy({Node("a", 64'000, kServers)}, pods), QueueOrder::kFifo, 10, "best-fit");
  const double offered = kLoad * kServers;
  double term = 1;  // offered^k / k!
  double below = 0;
  for (int k = 0; k < kServers; ++k) {
    below += term;
    term *= offered / (k + 1);
  }
  const double waiting = term / (1 - kLoad);
  const double erlang_c = waiting / (below + waiting);
  const double expected = erlang_c * kService / (kServers * (1 - kLoad));
  EXPECT_EQ(result.placed, count);
  const double tolerance = 0.073 * std::sqrt(400'000.0 / count);
  EXPECT_NEAR(result.wait.mean / expected, 1, tolerance);
}

}  // namespace
}  // namespace basalt::sim
