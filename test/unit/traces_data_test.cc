// The real openb files and the published arrival orders, where the shared data is at hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <set>

#include "test/unit/traces_test_util.h"
#include "traces/canonical.h"
#include "traces/check.h"
#include "traces/import.h"
#include "traces/openb.h"
#include "traces/orders.h"
#include "traces/scale.h"

namespace basalt::trace {
namespace {

namespace fs = std::filesystem;

class OpenbData : public testing::Test {
 protected:
  void SetUp() override {
    data_ = SharedData();
    if (!fs::is_directory(data_ + "/alibaba_openb_2023/csv")) {
      GTEST_SKIP() << "skipped: no shared data";
    }
    csv_ = data_ + "/alibaba_openb_2023/csv/";
  }
  // Sorted paths in a folder whose file names start with `prefix`.
  static std::vector<std::string> Files(const std::string& folder, std::string_view prefix) {
    std::vector<std::string> out;
    for (const auto& file : fs::directory_iterator(folder)) {
      if (file.path().filename().string().starts_with(prefix)) out.push_back(file.path().string());
    }
    std::ranges::sort(out);
    return out;
  }
  std::string data_, csv_;
};

TEST_F(OpenbData, PublishedFacts) {
  const auto trace =
      ImportOpenb(csv_ + "openb_node_list_gpu_node.csv", csv_ + "openb_pod_list_default.csv");
  ASSERT_TRUE(trace) << trace.error().ToString();
  EXPECT_EQ(Validate(*trace).ToString(), "");
  EXPECT_EQ(trace->nodes.size(), 1213U);
  EXPECT_EQ(trace->jobs.size(), 8152U);
  std::int64_t cards = 0, cpu = 0, demand = 0;
  for (const Node& node : trace->nodes) {
    cards += node.gpu_count;
    cpu += node.cpu_milli;
  }
  EXPECT_EQ(cards, 6212);
  EXPECT_EQ(cpu, 107'018'000);
  int cpu_only = 0, share = 0;
  std::map<int, int> whole;
  for (const Task& task : trace->tasks) {
    demand += std::int64_t{task.gpu_num} * task.gpu_milli;
    if (task.gpu_num == 0) {
      ++cpu_only;
    } else if (task.gpu_milli < 1000) {
      ++share;
    } else {
      ++whole[task.gpu_num];
    }
  }
  EXPECT_EQ(cpu_only, 1088);
  EXPECT_EQ(share, 3078);
  EXPECT_EQ(whole, (std::map<int, int>{{1, 3911}, {2, 16}, {4, 15}, {8, 44}}));
  EXPECT_NEAR(static_cast<double>(demand) / 1000, 6086.8, 0.05);
  EXPECT_EQ(std::ranges::count(trace->jobs, "pending", &Job::status), 897);
  EXPECT_EQ(std::ranges::count(trace->jobs, kUnknownTime, &Job::start_us), 897);
  EXPECT_EQ(trace->jobs[0].submit_us, 0);  // a time, not "unknown"
}

TEST_F(OpenbData, RoundTripThroughTheCanonicalForm) {
  const auto trace =
      ImportOpenb(csv_ + "openb_node_list_all_node.csv", csv_ + "openb_pod_list_gpuspec20.csv");
  ASSERT_TRUE(trace) << trace.error().ToString();
  EXPECT_EQ(trace->nodes.size(), 1523U);
  const TempDir dir;
  ASSERT_TRUE(WriteTrace(*trace, dir / "t"));
  EXPECT_EQ(CheckTrace(dir / "t").ToString(), "");
  EXPECT_EQ(ReadTrace(dir / "t").value(), *trace);
}

// Every pod list that is there; the copy that this was written with holds 18 of the 24.
TEST_F(OpenbData, EveryPodListParses) {
  const auto files = Files(csv_, "openb_pod_list_");
  EXPECT_GE(files.size(), 18U);
  std::size_t rows = 0;
  const auto start = std::chrono::steady_clock::now();
  for (const std::string& path : files) {
    const auto pods = ReadOpenbPods(path);
    ASSERT_TRUE(pods) << pods.error().ToString();
    EXPECT_GE(pods->jobs.size(), 7064U) << path;
    EXPECT_LE(pods->jobs.size(), 10'094U) << path;
    rows += pods->jobs.size();
  }
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
  RecordProperty("rows", std::to_string(rows));
  RecordProperty("milliseconds", std::to_string(took.count()));
}

TEST_F(OpenbData, EveryPublishedOrderBelongsToItsLists) {
  const std::string orders = data_ + "/fgd_atc23_expected/orders";
  if (!fs::is_directory(orders)) GTEST_SKIP() << "skipped: no shared data";
  const auto nodes = ReadOpenbNodes(csv_ + "openb_node_list_gpu_node.csv");
  ASSERT_TRUE(nodes);
  std::map<std::string, std::size_t> pods;
  const auto files = Files(orders, "");
  EXPECT_GE(files.size(), 110U);
  for (const std::string& path : files) {
    const std::string name = fs::path(path).filename().string();
    const std::string trace = name.substr(0, name.find('_'));
    if (!pods.contains(trace)) {
      const auto list = ReadOpenbPods(csv_ + "openb_pod_list_" + trace + ".csv");
      ASSERT_TRUE(list) << list.error().ToString();
      pods[trace] = list->jobs.size();
    }
    const auto order = ReadArrivalOrder(path, nodes->size(), pods[trace]);
    ASSERT_TRUE(order) << order.error().ToString();
    if (name == "default_42.txt.gz") {
      EXPECT_EQ(order->pods.size(), 10'866U);
      EXPECT_EQ(order->node_rank[0], 601U);
      EXPECT_EQ(order->pods[0], 255U);
    }
  }
}

// The figures of the reference: docs/traces.md, "Facts about Philly".
TEST(PhillyData, PublishedFacts) {
  const std::string path = SharedData() + "/philly_sia/philly.csv";
  if (!fs::is_regular_file(path)) GTEST_SKIP() << "skipped: no shared data";
  auto trace = Import("philly-csv", {.nodes = "", .pods = path, .directory = ""});
  ASSERT_TRUE(trace) << trace.error().ToString();
  EXPECT_EQ(trace->jobs.size(), 82'247U);
  std::map<int, int> sizes;
  std::set<std::string> queues;
  std::vector<std::pair<std::int64_t, int>> changes;  // time, GPUs more or less
  std::int64_t gpu_us = 0, gangs = 0, last = 0;
  for (std::size_t i = 0; i < trace->jobs.size(); ++i) {
    const Job& job = trace->jobs[i];
    const Task& task = trace->tasks[i];
    const int gpus = task.replicas * task.gpu_num;
    ++sizes[gpus];
    gangs += task.replicas > 1;
    queues.insert(job.queue);
    gpu_us += gpus * job.duration_us;
    last = std::max(last, job.submit_us);
    changes.emplace_back(job.submit_us, gpus);
    changes.emplace_back(job.submit_us + job.duration_us, -gpus);
  }
  EXPECT_EQ(sizes, (std::map<int, int>{{1, 76'627},
                                       {2, 1'818},
                                       {4, 1'870},
                                       {8, 1'643},
                                       {12, 7},
                                       {16, 199},
                                       {24, 7},
                                       {32, 67},
                                       {64, 6},
                                       {128, 3}}));
  EXPECT_EQ(gangs, 289);
  EXPECT_EQ(queues.size(), 15U);
  EXPECT_EQ(gpu_us / 3'600'000'000, 978'078);
  EXPECT_EQ(last, 9'408'690'000'000);  // 2017-12-22 08:02:11 after 2017-09-04 10:30:41
  // With every job started when it was submitted: ends count before starts of the same second.
  std::ranges::sort(changes);
  int busy = 0, peak = 0;
  for (const auto& [time, gpus] : changes) peak = std::max(peak, busy += gpus);
  EXPECT_EQ(peak, 1243);
  EXPECT_NEAR(OfferedLoad(*trace).value(), 0.150, 0.001);
  ASSERT_TRUE(ScaleLoad(&*trace, 0.9));
  EXPECT_NEAR(OfferedLoad(*trace).value(), 0.9, 0.0009);
}

}  // namespace
}  // namespace basalt::trace
