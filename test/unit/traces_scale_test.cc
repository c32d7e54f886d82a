#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "traces/check.h"
#include "traces/generate.h"
#include "traces/scale.h"

namespace basalt::trace {
namespace {

using testing::HasSubstr;

Trace Gangs(std::uint32_t nodes, std::uint32_t pods, std::uint32_t racks = 0) {
  GeneratorOptions options;
  options.kind = "gangs";
  options.nodes = nodes;
  options.pods = pods;
  options.racks = racks;
  Result<Trace> trace = Generate(options);
  if (!trace) {
    ADD_FAILURE() << trace.error().ToString();
    return {};
  }
  return *std::move(trace);
}

TEST(Gangs, ValidAndInPhillysSizes) {
  const Trace trace = Gangs(64, 50'000);
  EXPECT_EQ(Validate(trace).ToString(), "");
  EXPECT_EQ(trace, Gangs(64, 50'000));
  std::map<int, double> sizes;
  std::map<std::string, int> racks;
  for (const Node& node : trace.nodes) ++racks[node.rack];
  EXPECT_EQ(racks, (std::map<std::string, int>{
                       {"rack-000", 16}, {"rack-001", 16}, {"rack-002", 16}, {"rack-003", 16}}));
  for (std::size_t i = 0; i < trace.jobs.size(); ++i) {
    const Task& task = trace.tasks[i];
    ++sizes[task.replicas * task.gpu_num];
    EXPECT_EQ(task.gang_min, task.replicas);
    const std::int32_t share = trace.jobs[i].comm_milli;
    EXPECT_GE(share, task.replicas > 1 ? 50 : 0);
    EXPECT_LE(share, task.replicas > 1 ? 400 : (task.gpu_num > 1 ? 150 : 0));
  }
  EXPECT_NEAR(sizes[1] / 50'000, 0.9317, 0.005);
  EXPECT_NEAR(sizes[8] / 50'000, 0.0200, 0.003);
  EXPECT_NEAR(sizes[16] / 50'000, 0.0024, 0.001);
  const auto load = OfferedLoad(trace);
  ASSERT_TRUE(load);
  EXPECT_NEAR(*load, 0.9, 0.1);
}

TEST(Gangs, JobsFitTheCluster) {
  for (const std::uint32_t nodes : {1U, 2U, 5U}) {
    for (const Task& task : Gangs(nodes, 20'000).tasks) {
      ASSERT_LE(static_cast<std::uint32_t>(task.replicas * task.gpu_num), nodes * 8);
    }
  }
  EXPECT_EQ(Gangs(7, 1, 7).nodes[6].rack, "rack-006");
  GeneratorOptions options;
  options.racks = 2;
  EXPECT_EQ(Generate(options).error().where, "racks");
  options.kind = "gangs", options.nodes = 1;
  EXPECT_EQ(Generate(options).error().where, "racks");
}

TEST(Scale, LoadIsWithinAThousandth) {
  const Trace before = Gangs(20, 3000);
  for (const double load : {0.1, 0.9, 1.5, 0.333333, 50.0}) {
    Trace trace = before;
    ASSERT_TRUE(ScaleLoad(&trace, load));
    EXPECT_NEAR(OfferedLoad(trace).value() / load, 1, 0.001);
    EXPECT_EQ(Validate(trace).ToString(), "");
    EXPECT_EQ(trace.jobs[0].submit_us, before.jobs[0].submit_us);
    EXPECT_TRUE(std::ranges::is_sorted(trace.jobs, {}, &Job::submit_us));
    EXPECT_EQ(trace.jobs[7].duration_us, before.jobs[7].duration_us);
    EXPECT_EQ(trace.tasks, before.tasks);
    EXPECT_THAT(trace.manifest.notes.back(), HasSubstr("submissions moved"));
  }
}

// Two jobs by hand: 2 GPUs x 10 s and 1 x 40 s over 30 s of a 4-GPU node is a load of 0.5.
TEST(Scale, ByHandOutOfOrderAndWithRecordedTimes) {
  Trace t;
  t.nodes.resize(1);
  t.nodes[0].id = "n", t.nodes[0].gpu_count = 4;
  t.jobs.resize(2);
  t.jobs[0].id = "late", t.jobs[0].submit_us = 25'000'000;
  t.jobs[0].start_us = 26'000'000, t.jobs[0].end_us = 36'000'000;
  t.jobs[1].id = "early", t.jobs[1].submit_us = -5'000'000, t.jobs[1].duration_us = 40'000'000;
  t.tasks.resize(2);
  t.tasks[0].job_id = "late", t.tasks[0].task = "w", t.tasks[0].gpu_num = 1;
  t.tasks[0].gpu_milli = 1000, t.tasks[0].replicas = 2;
  t.tasks[1].job_id = "early", t.tasks[1].task = "w", t.tasks[1].gpu_num = 1;
  t.tasks[1].gpu_milli = 1000;
  EXPECT_DOUBLE_EQ(OfferedLoad(t).value(), 0.5);
  const Trace original = t;
  ASSERT_TRUE(ScaleLoad(&t, 1));
  EXPECT_EQ(t.jobs[0].submit_us, 10'000'000);
  EXPECT_EQ(t.jobs[0].start_us, kUnknownTime);
  EXPECT_EQ(t.jobs[0].duration_us, 10'000'000);
  EXPECT_EQ(t.jobs[1].submit_us, -5'000'000);

  const auto error = [&](auto change, double load = 0.9) {
    Trace bad = original;
    change(bad);
    const Trace kept = bad;
    const Status status = ScaleLoad(&bad, load);
    EXPECT_EQ(bad, kept);
    return status ? "fine" : status.error().ToString();
  };
  EXPECT_EQ(error([](Trace& b) { b.jobs[0].end_us = kUnknownTime; }),
            "job \"late\": has GPUs but neither duration_s nor start_s and end_s; load needs its "
            "run time");
  EXPECT_EQ(error([](Trace& b) { b.jobs[1].submit_us = kUnknownTime; }),
            "job \"early\": has no submit_s; load needs every job's");
  EXPECT_EQ(error([](Trace& b) { b.nodes.clear(); }),
            "nodes: have no GPUs; load is a part of their capacity");
  EXPECT_THAT(error([](Trace& b) { b.jobs[1].submit_us = b.jobs[0].submit_us; }),
              HasSubstr("jobs: all come at once"));
  EXPECT_THAT(error([](Trace& b) { b.nodes[0].available_from_us = 0; }),
              HasSubstr("is not there all the time"));
  EXPECT_THAT(error([](Trace& b) { b.tasks[0].gpu_num = b.tasks[1].gpu_num = 0; }),
              HasSubstr("use no GPU time"));
  for (const double load : {0.0, -1.0, 101.0, std::nan(""), HUGE_VAL, 1e-9}) {
    EXPECT_EQ(error([](Trace&) {}, load), "load: the range is 0.000001 to 100");
  }
  EXPECT_THAT(error([](Trace& b) { b.jobs[1].duration_us = 999'999'999'999'999'999; }, 0.01),
              HasSubstr("15,000 years"));
  EXPECT_THAT(error(
                  [](Trace& b) {
                    b.jobs[1].duration_us = 1;
                    b.jobs[0].end_us = b.jobs[0].start_us + 1;
                  },
                  1),
              HasSubstr("within a millisecond"));
}

}  // namespace
}  // namespace basalt::trace
