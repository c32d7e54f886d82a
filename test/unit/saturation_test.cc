// The fill experiment, its order of arrivals, and the workload that both experiments read.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "sim/experiment.h"
#include "sim/simulator.h"
#include "test/support/cluster.h"
#include "test/support/workloads.h"

namespace basalt::sim {
namespace {

using support::Ask;
using support::MakeToy;
using support::Node;
using support::Policy;
using support::RandomWorkload;
using testing::ElementsAre;

std::int64_t Demand(const Workload& workload, const Order& order) {
  std::int64_t sum = 0;
  for (const std::uint32_t pod : order.pods) sum += workload.DemandMilli(pod);
  return sum;
}

TEST(SaturationOrder, InflatesToTheTargetWithinOnePod) {
  const Workload workload = RandomWorkload(1, 40, 150);
  std::int64_t trace_demand = 0;
  std::int64_t largest = 0;
  for (std::uint32_t i = 0; i < workload.arrivals.size(); ++i) {
    trace_demand += workload.DemandMilli(i);
    largest = std::max(largest, workload.DemandMilli(i));
  }
  const std::int64_t target = workload.gpu_milli * 130 / 100;
  ASSERT_LT(trace_demand, target);
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const Order order = MakeSaturationOrder(workload, seed);
    EXPECT_NEAR(static_cast<double>(Demand(workload, order)), static_cast<double>(target),
                static_cast<double>(largest));
    EXPECT_GT(order.pods.size(), workload.arrivals.size());
    // The trace in some order comes first, before any pod is drawn again; the last draw may
    // overshoot by a card or more, and then random pods leave.
    std::set<std::uint32_t> first(
        order.pods.begin(),
        order.pods.begin() + static_cast<std::ptrdiff_t>(workload.arrivals.size()));
    EXPECT_GT(first.size(), workload.arrivals.size() * 9 / 10);
    std::vector<std::int64_t> ranks = order.node_ranks;
    std::sort(ranks.begin(), ranks.end());
    for (std::size_t i = 0; i < ranks.size(); ++i) {
      EXPECT_EQ(ranks[i], static_cast<std::int64_t>(i));
    }
  }
}

// With pods of one card at most, no draw can overshoot: the draw that would pass the target ends
// the inflation, and every pod of the trace is there.
TEST(SaturationOrder, TheDrawThatWouldPassTheTargetEndsTheInflation) {
  std::vector<support::Pod> pods;
  for (int i = 0; i < 20; ++i) pods.push_back({Ask(1000, 1, 130 + 45 * i)});
  const Workload workload = MakeToy({Node("a", 64'000, 8), Node("b", 64'000, 8)}, pods);
  const std::int64_t target = 16'000 * 130 / 100;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const Order order = MakeSaturationOrder(workload, seed);
    EXPECT_LE(Demand(workload, order), target);
    EXPECT_GT(Demand(workload, order), target - 1000);
    std::vector<std::uint32_t> trace(order.pods.begin(), order.pods.begin() + 20);
    std::sort(trace.begin(), trace.end());
    for (std::uint32_t i = 0; i < 20; ++i) EXPECT_EQ(trace[i], i);
  }
}

TEST(SaturationOrder, ThinsATraceAboveTheTarget) {
  const Workload workload = RandomWorkload(2, 5, 400);
  const std::int64_t target = workload.gpu_milli * 130 / 100;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const Order order = MakeSaturationOrder(workload, seed);
    EXPECT_LE(Demand(workload, order), target);
    EXPECT_GT(Demand(workload, order), target - 16'000);
    EXPECT_LT(order.pods.size(), workload.arrivals.size());
    const std::set<std::uint32_t> distinct(order.pods.begin(), order.pods.end());
    EXPECT_EQ(distinct.size(), order.pods.size());  // thinned, nothing drawn again
  }
}

TEST(SaturationOrder, SeedDecidesAndWithoutCardsItIsAShuffle) {
  const Workload workload = RandomWorkload(1, 20, 100);
  EXPECT_EQ(MakeSaturationOrder(workload, 7).pods, MakeSaturationOrder(workload, 7).pods);
  EXPECT_NE(MakeSaturationOrder(workload, 7).pods, MakeSaturationOrder(workload, 8).pods);
  const Workload no_cards = MakeToy({Node("a", 8000, 0)}, {{Ask(1)}, {Ask(2)}, {Ask(3)}});
  std::vector<std::uint32_t> pods = MakeSaturationOrder(no_cards, 1).pods;
  std::sort(pods.begin(), pods.end());
  EXPECT_THAT(pods, ElementsAre(0, 1, 2));
}

TEST(Saturation, OneEngineCallAnArrival) {
  const Workload workload = RandomWorkload(3, 20, 300);
  const Order order = MakeSaturationOrder(workload, 1);
  for (const char* policy : {"fgd", "best-fit", "random", "spread-job(binpack)"}) {
    const auto result = RunSaturation(workload, Policy(policy), 1, order, {});
    ASSERT_TRUE(result.has_value());
    EXPECT_EQ(result->engine_calls, order.pods.size());
    EXPECT_EQ(result->work.decisions, order.pods.size());
    EXPECT_EQ(result->arrivals, static_cast<std::int64_t>(order.pods.size()));
    EXPECT_EQ(result->placed + result->failed, result->arrivals);
    EXPECT_GT(result->placed, 0);
    EXPECT_GT(result->failed, 0);
    std::int64_t failed = 0;
    for (const FailedShape& shape : result->failed_shapes) failed += shape.count;
    EXPECT_EQ(failed, result->failed);
  }
}

TEST(Saturation, SeriesOfATinyExample) {
  // Two cards; three whole-card pods and a share: 50, 100, 150, 175 % of capacity have arrived.
  const Workload workload = MakeToy(
      {Node("a", 64'000, 2)},
      {{Ask(1000, 1, 1000)}, {Ask(1000, 1, 1000)}, {Ask(1000, 1, 1000)}, {Ask(1000, 1, 500)}});
  Order order;
  order.pods = {0, 1, 2, 3};
  const auto result = RunSaturation(workload, Policy("binpack"), 1, order, {});
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->placed, 2);
  EXPECT_EQ(result->failed, 2);
  EXPECT_EQ(result->final_allocation_pct, 100);
  const Series& s = result->series;
  ASSERT_EQ(s.x.size(), 176U);
  EXPECT_EQ(s.allocation_pct[50], 50);
  EXPECT_EQ(s.allocation_pct[100], 100);
  EXPECT_EQ(s.allocation_pct[175], 100);
  EXPECT_EQ(s.idle_cards[50], 1);
  EXPECT_EQ(s.fragmentation_pct[50], 0);          // an idle card fits every class
  EXPECT_EQ(s.allocation_pct[51], 50);            // no arrival there: its neighbour's
  EXPECT_TRUE(std::isnan(s.allocation_pct[70]));  // never sampled is not 0
  ASSERT_EQ(result->failed_shapes.size(), 2U);
  EXPECT_EQ(result->failed_shapes[0].shape, "1 x 1000m, 1 CPU");
  EXPECT_EQ(result->failed_shapes[0].outcome, "Wait");
  EXPECT_EQ(result->failed_shapes[0].reason, "1 node: no whole card free");
}

TEST(Saturation, StopsAtAPercentAndDrawsTheMap) {
  const Workload workload = MakeToy(
      {Node("a", 64'000, 4)},
      {{Ask(1000, 1, 700)}, {Ask(1000, 2, 1000)}, {Ask(1000, 1, 1000)}, {Ask(1000, 1, 1000)}});
  Order order;
  order.pods = {0, 1, 2, 3};
  RunOptions options;
  options.stop_at_percent = 60;
  options.keep_map = true;
  const auto result = RunSaturation(workload, Policy("binpack"), 1, order, options);
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->arrivals, 2);  // 700 + 2000 of 4000
  ASSERT_EQ(result->map.size(), 1U);
  const std::vector<MapCard>& cards = result->map[0].cards;
  ASSERT_EQ(cards.size(), 4U);
  EXPECT_EQ(cards[0].free_milli, 300);
  ASSERT_EQ(cards[0].slices.size(), 1U);
  EXPECT_EQ(cards[0].slices[0].pod, "pod-0");
  EXPECT_EQ(cards[0].slices[0].milli, 700);
  EXPECT_FALSE(cards[0].usable);
  EXPECT_EQ(cards[1].slices[0].pod, "pod-1");
  EXPECT_EQ(cards[2].slices[0].kind, 2);
  EXPECT_TRUE(cards[3].usable);
  EXPECT_TRUE(cards[3].slices.empty());
}

TEST(Saturation, ScanAndIndexDecideAlike) {
  const Workload workload = RandomWorkload(4, 30, 400);
  const Order order = MakeSaturationOrder(workload, 2);
  for (const char* policy : {"fgd", "dot-product", "gpu-packing", "gpu-clustering", "spread"}) {
    RunOptions scan;
    scan.scan_every_node = true;
    scan.audit_every = 7;
    const auto a = RunSaturation(workload, Policy(policy), 2, order, {});
    const auto b = RunSaturation(workload, Policy(policy), 2, order, scan);
    EXPECT_EQ(a->decision_digest, b->decision_digest) << policy;
    EXPECT_EQ(a->series.fragmentation_pct.size(), b->series.fragmentation_pct.size());
    EXPECT_EQ(a->placed, b->placed);
    EXPECT_LT(a->work.nodes_checked, b->work.nodes_checked);
  }
}

TEST(Experiment, ResultsAreInOrderOfTracesPoliciesSeeds) {
  const Workload one = RandomWorkload(5, 10, 60);
  Workload two = RandomWorkload(6, 10, 60);
  two.name = "two";
  Experiment experiment;
  experiment.workloads = {&one, &two};
  experiment.policies = {Policy("fgd"), Policy("spread")};
  experiment.seeds = {4, 9, 2};
  std::size_t reported = 0;
  experiment.progress = [&](std::size_t done, std::size_t all) {
    EXPECT_EQ(all, 12U);
    EXPECT_EQ(done, ++reported);
  };
  SerialExecutor serial;
  const auto results = RunExperiment(experiment, serial);
  ASSERT_TRUE(results.has_value());
  ASSERT_EQ(results->size(), 12U);
  EXPECT_EQ(reported, 12U);
  EXPECT_EQ((*results)[0].seed, 4U);
  EXPECT_EQ((*results)[5].policy, "spread");
  EXPECT_EQ((*results)[5].seed, 2U);
  EXPECT_EQ((*results)[6].trace, "two");
}

TEST(Experiment, TheFirstErrorInOrderWins) {
  const Workload workload = RandomWorkload(5, 10, 60);
  Experiment experiment;
  experiment.workloads = {&workload};
  experiment.policies = {Policy("spread")};
  experiment.seeds = {1, 2, 3};
  experiment.read_order = [](const Workload&, std::uint64_t seed) -> Result<Order> {
    if (seed >= 2) return Fail("order", "seed " + std::to_string(seed));
    return Order{};
  };
  SerialExecutor serial;
  const auto results = RunExperiment(experiment, serial);
  ASSERT_FALSE(results.has_value());
  EXPECT_EQ(results.error().ToString(), "order: seed 2");
}

TEST(Workload, IsMadeFromTraceRows) {
  trace::Node row;
  row.id = "n1";
  row.rank = 5;
  row.model = "T4";
  row.gpu_count = 4;
  row.gpu_mem_mib = 16'000;
  row.cpu_milli = 64'000;
  row.memory_mib = 1000;
  row.numa = 2;
  row.rack = "r7";
  trace::Node cpu_row;
  cpu_row.id = "n2";
  cpu_row.cpu_milli = 8000;
  const auto cluster = NodesFromTrace({row, cpu_row});
  ASSERT_TRUE(cluster.has_value());
  const std::vector<NodeSpec>* nodes = &cluster->nodes;
  EXPECT_EQ((*nodes)[0].rank, 5);
  EXPECT_EQ((*nodes)[1].rank, 1);  // unknown: the row number
  EXPECT_EQ((*nodes)[0].cards.size(), 4U);
  EXPECT_EQ((*nodes)[0].cards[3].numa, 1);
  EXPECT_EQ((*nodes)[0].cards[0].memory_mib, 16'000);
  EXPECT_EQ((*nodes)[0].labels, (std::vector<LabelRequirement>{{"rack", "r7"}}));
  EXPECT_TRUE((*nodes)[1].cards.empty());
  EXPECT_FALSE(NodesFromTrace({}).has_value());

  trace::Job job;
  job.id = "j";
  job.submit_us = 7;
  job.start_us = 10;
  job.end_us = 30;
  trace::Task task;
  task.job_id = "j";
  task.task = "worker";
  task.replicas = 2;
  task.gpu_num = 1;
  task.gpu_milli = 500;
  task.gpu_spec = "T4|A10";
  task.cpu_milli = 1000;
  const auto workload = MakeWorkload("w", *cluster, {job}, {task});
  ASSERT_TRUE(workload.has_value());
  ASSERT_EQ(workload->arrivals.size(), 2U);
  EXPECT_EQ(workload->requests.size(), 1U);
  EXPECT_THAT(workload->requests[0].models, ElementsAre("T4", "A10"));
  EXPECT_EQ(workload->arrivals[1].submit_us, 7);
  EXPECT_EQ(workload->arrivals[1].duration_us, 20);
  EXPECT_EQ(workload->arrivals[0].job, workload->arrivals[1].job);
  EXPECT_NE(workload->arrivals[0].uid, workload->arrivals[1].uid);
  EXPECT_THAT(workload->pod_names, ElementsAre("j/worker/0", "j/worker/1"));
  EXPECT_EQ(workload->cards, 4);
  EXPECT_EQ(workload->gpu_milli, 4000);

  task.job_id = "unknown";
  EXPECT_EQ(MakeWorkload("w", *cluster, {job}, {task}).error().ToString(),
            "w: task of unknown job \"unknown\"");
  EXPECT_FALSE(MakeWorkload("w", *cluster, {job}, {}).has_value());
  task.job_id = "j";
  task.gpu_milli = 1500;
  EXPECT_FALSE(MakeWorkload("w", *cluster, {job}, {task}).has_value());
}

}  // namespace
}  // namespace basalt::sim
