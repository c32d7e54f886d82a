// The whole Philly trace through the simulator, where the shared data is at hand.
#include <gtest/gtest.h>

#include <filesystem>

#include "sim/simulator.h"
#include "test/support/cluster.h"
#include "test/unit/traces_test_util.h"
#include "traces/philly.h"
#include "traces/scale.h"

namespace basalt::sim {
namespace {

Result<Workload> Philly(double load) {
  const std::string file = trace::SharedData() + "/philly_sia/philly.csv";
  auto trace = trace::ImportPhilly("", file);
  if (!trace) return tl::unexpected<Error>(trace.error());
  if (load > 0) {
    if (Status ok = trace::ScaleLoad(&*trace, load); !ok) return tl::unexpected<Error>(ok.error());
  }
  auto cluster = NodesFromTrace(trace->nodes);
  if (!cluster) return tl::unexpected<Error>(cluster.error());
  return MakeWorkload("philly", std::move(*cluster), trace->jobs, trace->tasks);
}

RunResult Simulate(const Workload& workload, QueueOrder queue) {
  ReplayOptions options;
  options.queue = queue;
  const auto result = RunReplay(workload, support::Policy("binpack/topology"), 1, options, {});
  EXPECT_TRUE(result.has_value());
  return *result;
}

class PhillyData : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(trace::SharedData() + "/philly_sia/philly.csv")) {
      GTEST_SKIP() << "skipped: no shared data";
    }
  }
};

TEST_F(PhillyData, AsRecordedItHardlyQueues) {
  const auto workload = Philly(0);
  ASSERT_TRUE(workload.has_value()) << workload.error().ToString();
  EXPECT_EQ(workload->nodes.size(), 552U);
  EXPECT_EQ(workload->gangs.size(), 289U);
  const RunResult run = Simulate(*workload, QueueOrder::kFifo);
  EXPECT_EQ(run.failed, 0);
  EXPECT_EQ(run.placed, 82'762);  // 82,247 jobs
  EXPECT_EQ(run.gangs, 289);
  EXPECT_LT(run.wait.p99, 1);
}

TEST_F(PhillyData, UnderLoadEasyWaitsLessAndRepeats) {
  const auto workload = Philly(0.9);
  ASSERT_TRUE(workload.has_value()) << workload.error().ToString();
  const RunResult fifo = Simulate(*workload, QueueOrder::kFifo);
  EXPECT_EQ(fifo.placed, 82'762);
  EXPECT_EQ(Simulate(*workload, QueueOrder::kFifo).decision_digest, fifo.decision_digest);
  const RunResult easy = Simulate(*workload, QueueOrder::kEasy);
  EXPECT_EQ(easy.placed, 82'762);
  EXPECT_GT(easy.backfilled, 1000);
  EXPECT_LT(easy.wait.mean, fifo.wait.mean);
}

}  // namespace
}  // namespace basalt::sim
