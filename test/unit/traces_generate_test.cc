#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "traces/check.h"
#include "traces/generate.h"
#include "traces/openb_mix.h"

namespace basalt::trace {
namespace {

Trace Make(const GeneratorOptions& options) {
  Result<Trace> trace = Generate(options);
  if (!trace) {
    ADD_FAILURE() << trace.error().ToString();
    return {};
  }
  return *std::move(trace);
}

TEST(OpenbMix, PublishedCounts) {
  std::uint32_t pods = 0, cpu_only = 0, shares = 0, whole = 0, nodes = 0, cards = 0;
  std::map<int, std::uint32_t> several;
  for (const RequestClass& c : OpenbRequestClasses()) {
    pods += c.count;
    if (c.gpu_num == 0) cpu_only += c.count;
    if (c.gpu_num == 1 && c.gpu_milli < 1000) shares += c.count;
    if (c.gpu_num == 1 && c.gpu_milli == 1000) whole += c.count;
    if (c.gpu_num > 1) several[c.gpu_num] += c.count;
  }
  EXPECT_EQ(pods, 8152U);
  EXPECT_EQ(cpu_only, 1088U);
  EXPECT_EQ(shares, 3078U);
  EXPECT_EQ(whole, 3911U);
  EXPECT_EQ(several, (std::map<int, std::uint32_t>{{2, 16}, {4, 15}, {8, 44}}));
  for (const NodeConfiguration& c : OpenbNodeConfigurations()) {
    nodes += c.count;
    cards += c.count * static_cast<std::uint32_t>(c.gpu_count);
  }
  EXPECT_EQ(nodes, 1213U);
  EXPECT_EQ(cards, 6212U);
}

TEST(Generate, ValidAndDeterministic) {
  GeneratorOptions options;
  options.nodes = 100;
  options.pods = 1000;
  const Trace trace = Make(options);
  EXPECT_EQ(Validate(trace).ToString(), "");
  EXPECT_EQ(trace, Make(options));
  EXPECT_EQ(trace.nodes[7].id, "node-0007");
  EXPECT_EQ(trace.jobs[42].id, "pod-000042");
  options.seed = 43;
  EXPECT_NE(trace.tasks, Make(options).tasks);
}

// Streams are apart: what one option asks for does not shift the draws of another.
TEST(Generate, OptionsDoNotShiftEachOther) {
  GeneratorOptions options;
  options.nodes = 50;
  options.pods = 200;
  const Trace base = Make(options);
  GeneratorOptions more = options;
  more.pods = 300;
  more.duration = DurationShape::kExponential;
  const Trace longer = Make(more);
  EXPECT_EQ(base.nodes, longer.nodes);
  EXPECT_TRUE(std::equal(base.tasks.begin(), base.tasks.end(), longer.tasks.begin()));
  for (std::size_t i = 0; i < base.jobs.size(); ++i) {
    EXPECT_EQ(base.jobs[i].submit_us, longer.jobs[i].submit_us);
  }
}

TEST(Generate, DefaultNodesAreTheRealConfigurations) {
  const Trace trace = Make({});
  std::int64_t cards = 0;
  std::vector<bool> ranks(trace.nodes.size(), false);
  for (const Node& node : trace.nodes) {
    cards += node.gpu_count;
    ranks[static_cast<std::size_t>(node.rank)] = true;
  }
  EXPECT_EQ(trace.nodes.size(), 1213U);
  EXPECT_EQ(cards, 6212);
  EXPECT_THAT(ranks, testing::Each(true)) << "ranks are a permutation";
}

TEST(Generate, NodesScaleByLargestRemainder) {
  for (const std::uint32_t nodes : {1U, 2U, 7U, 100U, 1212U, 5000U}) {
    GeneratorOptions options;
    options.nodes = nodes;
    options.pods = 1;
    const Trace trace = Make(options);
    ASSERT_EQ(trace.nodes.size(), nodes);
    std::map<std::string, double> by_model;
    for (const Node& node : trace.nodes) by_model[node.model] += 1;
    EXPECT_NEAR(by_model["G2"], 549.0 * nodes / 1213, 1) << nodes;
  }
}

TEST(Generate, ClassSharesAndOfferedLoad) {
  for (const DurationShape shape : {DurationShape::kExponential, DurationShape::kLognormal}) {
    GeneratorOptions options;
    options.pods = 200'000;
    options.duration = shape;
    options.sigma = 1;
    options.load = 0.7;
    const Trace trace = Make(options);
    double cpu_only = 0, shares = 0, whole = 0, duration = 0;
    for (std::size_t i = 0; i < trace.tasks.size(); ++i) {
      const Task& task = trace.tasks[i];
      cpu_only += task.gpu_num == 0;
      shares += task.gpu_num == 1 && task.gpu_milli < 1000;
      whole += task.gpu_num == 1 && task.gpu_milli == 1000;
      duration += static_cast<double>(trace.jobs[i].duration_us) / 1e6;
    }
    const double pods = 200'000;
    EXPECT_NEAR(cpu_only / pods, 0.1335, 0.004);
    EXPECT_NEAR(shares / pods, 0.3776, 0.005);
    EXPECT_NEAR(whole / pods, 0.4798, 0.005);
    EXPECT_NEAR(duration / pods / options.mean_duration_s, 1, 0.03);
    // Demand of the mix per pod is 6,086.8 GPU / 8,152; arrivals must offer 0.7 of 6,212 GPUs.
    const double span = static_cast<double>(trace.jobs.back().submit_us) / 1e6;
    const double offered = pods / span * (6086.8 / 8152) * options.mean_duration_s / 6212;
    EXPECT_NEAR(offered, 0.7, 0.01);
    EXPECT_TRUE(std::ranges::is_sorted(trace.jobs, {}, &Job::submit_us));
  }
}

TEST(Generate, BadOptionsNameTheOption) {
  const auto error = [](auto change) {
    GeneratorOptions options;
    options.pods = 1;
    change(options);
    const Result<Trace> trace = Generate(options);
    return trace ? "fine" : trace.error().where;
  };
  EXPECT_EQ(error([](GeneratorOptions& o) { o.kind = "philly"; }), "kind");
  EXPECT_EQ(error([](GeneratorOptions& o) { o.nodes = 0; }), "nodes");
  EXPECT_EQ(error([](GeneratorOptions& o) { o.pods = 0; }), "pods");
  EXPECT_EQ(error([](GeneratorOptions& o) { o.pods = 10'000'001; }), "pods");
  for (const double bad : std::vector<double>{0.0, -1.0, 101.0, std::nan(""), HUGE_VAL}) {
    EXPECT_EQ(error([&](GeneratorOptions& o) { o.load = bad; }), "load");
  }
  EXPECT_EQ(error([](GeneratorOptions& o) { o.mean_duration_s = std::nan(""); }),
            "mean_duration_s");
  EXPECT_EQ(error([](GeneratorOptions& o) { o.mean_duration_s = 0; }), "mean_duration_s");
  EXPECT_EQ(error([](GeneratorOptions& o) { o.sigma = -1; }), "sigma");
  EXPECT_EQ(error([](GeneratorOptions& o) {
              o.pods = 10'000'000;
              o.nodes = 1;
              o.load = 1e-6;
              o.mean_duration_s = 1e9;
            }),
            "load");
  // One gap alone is past the end of int64 microseconds (found by UBSan).
  EXPECT_EQ(error([](GeneratorOptions& o) {
              o.pods = 10;
              o.nodes = 1;
              o.load = 1e-300;
              o.mean_duration_s = 1e9;
            }),
            "load");
}

// The request sequence is integers only, so it is the same everywhere: pinned.
TEST(Generate, RequestSequenceIsPinned) {
  GeneratorOptions options;
  options.pods = 5;
  options.nodes = 3;
  std::string text;
  for (const Task& t : Make(options).tasks) {
    text += std::to_string(t.cpu_milli) + '/' + std::to_string(t.memory_mib) + '/' +
            std::to_string(t.gpu_num) + '/' + std::to_string(t.gpu_milli) + ' ';
  }
  EXPECT_EQ(
      text,
      "3152/5600/1/1000 4000/30517/1/320 3152/5600/1/1000 88000/327680/8/1000 8200/33792/1/1000 ");
}

}  // namespace
}  // namespace basalt::trace
