// Importers on the real files that are shared; the counts are those of their publishers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <set>

#include "test/unit/traces_test_util.h"
#include "traces/canonical.h"
#include "traces/check.h"
#include "traces/import.h"

namespace basalt::trace {
namespace {

// The trace of one shared file, or a skip. It survives the canonical form.
Trace Imported(std::string_view format, std::string ImportFiles::* option,
               const std::string& file) {
  const std::string path = SharedData() + file;
  ImportFiles files;
  files.*option = path;
  auto trace = Import(format, files);
  EXPECT_TRUE(trace) << trace.error().ToString();
  if (!trace) return {};
  const TempDir dir;
  EXPECT_TRUE(WriteTrace(*trace, dir / "t"));
  EXPECT_EQ(CheckTrace(dir / "t").ToString(), "");
  EXPECT_TRUE(ReadTrace(dir / "t").value() == *trace);
  return *std::move(trace);
}

bool Missing(const std::string& file) {
  return !std::filesystem::is_regular_file(SharedData() + file);
}

TEST(ImportData, DlrmInstances) {
  const std::string file = "/alibaba_dlrm_2025/disaggregated_DLRM_trace.csv";
  if (Missing(file)) GTEST_SKIP() << "skipped: no shared data";
  const Trace t = Imported("dlrm2025", &ImportFiles::jobs, file);
  EXPECT_EQ(t.jobs.size(), 23'871U);
  std::set<std::string> apps;
  std::map<std::string, int> roles, censored;
  for (const Job& job : t.jobs) {
    apps.insert(job.tenant);
    ++censored[job.censor];
  }
  std::int64_t gpus = 0, disk_limits = 0;
  for (const Task& task : t.tasks) {
    ++roles[task.task];
    gpus += task.gpu_num;
    EXPECT_EQ(task.gpu_num, task.task == "HN" ? 1 : 0) << task.job_id;
    disk_limits += !task.extra.empty();
  }
  EXPECT_EQ(apps.size(), 156U);
  EXPECT_EQ(roles, (std::map<std::string, int>{{"CN", 16'485}, {"HN", 7'386}}));
  EXPECT_EQ(gpus, 7'386);
  EXPECT_EQ(disk_limits, 23'201);  // rows whose disk limit is not the request
  EXPECT_EQ(censored, (std::map<std::string, int>{
                          {"", 12'390}, {"both", 4'677}, {"left", 2'603}, {"right", 4'201}}));
  EXPECT_EQ(t.jobs[0].id, "instance_0");
  EXPECT_EQ(t.tasks[0].memory_mib, 122'880);
}

TEST(ImportData, SpotNodes) {
  const std::string file = "/alibaba_spot_2026_nodes/node_info_df.csv";
  if (Missing(file)) GTEST_SKIP() << "skipped: no shared data";
  const Trace t = Imported("spot2026", &ImportFiles::nodes, file);
  EXPECT_EQ(t.nodes.size(), 4'278U);
  std::int64_t gpus = 0, cpu = 0;
  std::map<std::string, int> models;
  for (const Node& node : t.nodes) {
    gpus += node.gpu_count;
    cpu += node.cpu_milli;
    ++models[node.model];
  }
  EXPECT_EQ(gpus, 10'412);
  EXPECT_EQ(cpu, (2'947LL * 128 + 1'329LL * 192 + 2LL * 126) * 1000);
  EXPECT_EQ(models, (std::map<std::string, int>{{"A10", 2'494},
                                                {"GPU-series-1", 989},
                                                {"A100-SXM4-80GB", 432},
                                                {"H800", 219},
                                                {"GPU-series-2", 122},
                                                {"A800-SXM4-80GB", 22}}));
}

TEST(ImportData, PaiMachines) {
  const std::string file = "/pai2020_machine_spec/pai_machine_spec.csv";
  if (Missing(file)) GTEST_SKIP() << "skipped: no shared data";
  const Trace t = Imported("pai2020", &ImportFiles::nodes, file);
  EXPECT_EQ(t.nodes.size(), 1'897U);
  std::int64_t gpus = 0;
  std::map<std::string, int> models;
  for (const Node& node : t.nodes) {
    gpus += node.gpu_count;
    ++models[node.model];
  }
  EXPECT_EQ(gpus, 6'742);
  EXPECT_EQ(
      models,
      (std::map<std::string, int>{
          {"P100", 798}, {"T4", 497}, {"MISC", 280}, {"V100M32", 135}, {"V100", 104}, {"", 83}}));
  ASSERT_EQ(t.manifest.files.size(), 1U);
  EXPECT_EQ(t.manifest.files[0].sha256,  // as the publisher's README prints it
            "251e9e33649155a6a935fdc1dc0e90cd4698206936b60bd8fce60ff2ccd51439");
}

// Objects that kubectl printed of a real control plane with Volcano: a Job, its PodGroup, one pod.
TEST(ImportData, CapturedVolcanoJob) {
  const std::string folder = "/kubernetes/objects/";
  if (Missing(folder + "vcjob.json")) GTEST_SKIP() << "skipped: no shared data";
  ImportFiles files;
  files.jobs = SharedData() + folder + "vcjob.json";
  files.queues = SharedData() + folder + "vcjob-podgroup.json";
  files.pods = SharedData() + folder + "vcjob-pod.json";
  const auto t = Import("volcano", files);
  ASSERT_TRUE(t) << t.error().ToString();
  ASSERT_EQ(t->jobs.size(), 1U);
  EXPECT_EQ(t->jobs[0].id, "default/gang");
  EXPECT_EQ(t->jobs[0].queue, "default");
  EXPECT_EQ(t->jobs[0].status, "pending");
  EXPECT_EQ(t->manifest.time_zero, "2026-11-21T02:29:01Z");
  ASSERT_EQ(t->tasks.size(), 1U);
  const Task& task = t->tasks[0];
  EXPECT_EQ(task.task, "worker");
  EXPECT_EQ(task.replicas, 4);
  EXPECT_EQ(task.gang_min, 4);
  EXPECT_EQ(task.gpu_num, 4);
  EXPECT_EQ(task.gpu_milli, 1000);
  EXPECT_EQ(task.cpu_milli, 4000);
  EXPECT_EQ(task.memory_mib, 16'384);
  ASSERT_EQ(t->placements.size(), 1U);
  EXPECT_EQ(t->placements[0].node_id, "gpu-1");
  EXPECT_EQ(t->placements[0].replica, 0);
  EXPECT_EQ(t->placements[0].start_us, 80'000'000);

  // The pod alone is a job of its own for k8s.
  ImportFiles pod;
  pod.pods = files.pods;
  const auto alone = Import("k8s", pod);
  ASSERT_TRUE(alone) << alone.error().ToString();
  EXPECT_EQ(alone->jobs[0].id, "default/gang-worker-0");
  EXPECT_EQ(alone->jobs[0].parent_id, "Job/default/gang");
  EXPECT_EQ(alone->jobs[0].queue, "default");
  EXPECT_EQ(alone->placements.size(), 1U);
  pod.pods = files.jobs;
  EXPECT_THAT(Import("k8s", pod).error().ToString(),
              testing::HasSubstr("vcjob.json:1: kind \"Job\" of \"batch.volcano.sh/v1alpha1\" is "
                                 "not read by k8s; give it Nodes and Pods, or use the format "
                                 "volcano"));
}

// The node that stock Volcano sent to an extender, with its vGPU register.
TEST(ImportData, CapturedNode) {
  const std::string path = SharedData() + "/kubernetes/vc-extender-vgpu.predicate.json";
  if (!std::filesystem::is_regular_file(path)) GTEST_SKIP() << "skipped: no shared data";
  std::string text = Slurp(path);
  // The request holds the node as a member; kubectl prints it with its kind.
  const std::size_t at = text.rfind("\"Node\": {");
  ASSERT_NE(at, std::string::npos);
  std::size_t end = at + 8;
  bool quoted = false;
  for (int depth = 0; end < text.size(); ++end) {
    if (text[end] == '"' && text[end - 1] != '\\') quoted = !quoted;
    if (quoted) continue;
    depth += text[end] == '{' ? 1 : text[end] == '}' ? -1 : 0;
    if (depth == 0) break;
  }
  const TempDir dir;
  ImportFiles files;
  files.nodes = dir.Write(
      "node.json", "{\"apiVersion\":\"v1\",\"kind\":\"Node\"," + text.substr(at + 9, end - at - 8));
  const auto t = Import("k8s", files);
  ASSERT_TRUE(t) << t.error().ToString();
  ASSERT_EQ(t->nodes.size(), 1U);
  const Node& node = t->nodes[0];
  EXPECT_EQ(node.model, "H100");
  EXPECT_EQ(node.gpu_count, 8);
  EXPECT_EQ(node.gpu_mem_mib, 81'920);
  EXPECT_EQ(node.cpu_milli, 64'000);
  EXPECT_EQ(node.memory_mib, 524'288);
  EXPECT_EQ(node.disk_mib, 1'048'576);
}

}  // namespace
}  // namespace basalt::trace
