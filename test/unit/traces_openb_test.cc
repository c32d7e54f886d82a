#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/unit/traces_test_util.h"
#include "traces/openb.h"

namespace basalt::trace {
namespace {

using testing::HasSubstr;

constexpr std::string_view kNodeHeader = "sn,cpu_milli,memory_mib,gpu,model\n";
constexpr std::string_view kPodHeader = "name,cpu_milli,memory_mib,num_gpu,gpu_milli\n";

std::string NodeError(std::string_view rows) {
  Diagnostics d;
  ParseOpenbNodes("n.csv", std::string(kNodeHeader) + std::string(rows), &d);
  return OnlyError(d);
}

std::string PodError(std::string_view rows) {
  Diagnostics d;
  ParseOpenbPods("p.csv", std::string(kPodHeader) + std::string(rows), &d);
  return OnlyError(d);
}

TEST(OpenbNodes, Good) {
  Diagnostics d;
  const auto nodes = ParseOpenbNodes(
      "n", "model,sn,cpu_milli,memory_mib,gpu\r\nG2,a,96000,393216,8\r\n,b,32000,262144,0\r\n", &d);
  ASSERT_TRUE(d.ok()) << d.ToString();
  ASSERT_EQ(nodes.size(), 2U);
  Node want;
  want.id = "a";
  want.model = "G2";
  want.gpu_count = 8;
  want.cpu_milli = 96000;
  want.memory_mib = 393216;
  EXPECT_EQ(nodes[0], want);
  EXPECT_EQ(nodes[1].gpu_count, 0);
}

TEST(OpenbNodes, Faults) {
  EXPECT_EQ(NodeError(""), "n.csv:2:1: no nodes: the file has a header and no rows");
  EXPECT_EQ(NodeError("a,-1,1,1,T4\n"),
            "n.csv:2:3: cpu_milli \"-1\" is negative; the range is 0..1000000000000");
  EXPECT_EQ(NodeError("a,1,99999999999999999999,1,T4\n"),
            "n.csv:2:5: memory_mib \"99999999999999999999\" is out of range; the range is "
            "0..1000000000000");
  EXPECT_EQ(NodeError("a,1,1,65,T4\n"),
            "n.csv:2:7: gpu \"65\" is out of range; the range is 0..64");
  EXPECT_EQ(NodeError("a,1,1,1,T4\nb,1,1,1,T4\na,1,1,1,T4\n"),
            "n.csv:4:1: sn \"a\" is already on line 2; names must be unique");
  EXPECT_EQ(NodeError(",1,1,1,T4\n"), "n.csv:2:1: sn is empty; every row needs one");
  EXPECT_EQ(NodeError("a,1,1,0,T4\n"),
            "n.csv:2:9: model is \"T4\" but gpu is 0; leave the model empty or correct gpu");
  EXPECT_EQ(NodeError("a,1,1,2,\n"), "n.csv:2:9: model is empty but gpu is 2; name the model");
}

TEST(OpenbPods, Good) {
  Diagnostics d;
  const OpenbPods pods = ParseOpenbPods(
      "p",
      "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,"
      "deletion_time,scheduled_time\n"
      "z,12000,16384,1,460,T4|G2,LS,Succeeded,0,12.5,3\n"
      "a,1000,0,0,0,,BE,Pending,7,,\n",
      &d);
  ASSERT_TRUE(d.ok()) << d.ToString();
  ASSERT_EQ(pods.jobs.size(), 2U);
  Job job;
  job.id = "z";
  job.priority_class = "LS";
  job.status_raw = "Succeeded";
  job.status = "completed";
  job.submit_us = 0;
  job.start_us = 3'000'000;
  job.end_us = 12'500'000;
  EXPECT_EQ(pods.jobs[0], job);
  EXPECT_EQ(RunTimeUs(pods.jobs[0]), 9'500'000);
  Task task;
  task.job_id = "z";
  task.task = "pod";
  task.gpu_num = 1;
  task.gpu_milli = 460;
  task.gpu_spec = "T4|G2";
  task.cpu_milli = 12000;
  task.memory_mib = 16384;
  EXPECT_EQ(pods.tasks[0], task);
  EXPECT_EQ(pods.jobs[1].status, "pending");
  EXPECT_EQ(pods.jobs[1].start_us, kUnknownTime);
  EXPECT_EQ(RunTimeUs(pods.jobs[1]), kUnknownTime);
}

TEST(OpenbPods, FiveColumnsAreEnough) {
  Diagnostics d;
  const OpenbPods pods = ParseOpenbPods("p", std::string(kPodHeader) + "a,1,2,8,1000\n", &d);
  ASSERT_TRUE(d.ok()) << d.ToString();
  EXPECT_EQ(pods.jobs[0].submit_us, kUnknownTime);
  EXPECT_EQ(pods.tasks[0].gpu_spec, "");
}

TEST(OpenbPods, Faults) {
  EXPECT_EQ(PodError(""), "p.csv:2:1: no pods: the file has a header and no rows");
  EXPECT_EQ(PodError("a,1,1,0,5\n"),
            "p.csv:2:9: gpu_milli is 5 but num_gpu is 0; both are 0 or neither");
  EXPECT_EQ(PodError("a,1,1,2,0\n"),
            "p.csv:2:9: gpu_milli is 0 but num_gpu is 2; both are 0 or neither");
  EXPECT_EQ(PodError("a,1,1,2,500\n"),
            "p.csv:2:9: gpu_milli is 500 of each of 2 GPUs; with several it must be 1000");
  EXPECT_EQ(PodError("a,1,1,1,1001\n"),
            "p.csv:2:9: gpu_milli \"1001\" is out of range; the range is 0..1000");
  EXPECT_EQ(PodError("a,1,1,1,1000\na,1,1,1,1000\n"),
            "p.csv:3:1: name \"a\" is already on line 2; names must be unique");
  EXPECT_EQ(PodError("a,1.5,1,1,1000\n"),
            "p.csv:2:3: cpu_milli \"1.5\" has a fraction; write a whole number, "
            "0..1000000000000");
  EXPECT_EQ(PodError("a,1,1\n"),
            "p.csv:2:1: 3 fields, but the header has 5 columns; quote fields that contain commas");
}

TEST(OpenbPods, OptionalColumnFaults) {
  const auto error = [](std::string_view header, std::string_view row) {
    Diagnostics d;
    ParseOpenbPods("p",
                   "name,cpu_milli,memory_mib,num_gpu,gpu_milli," + std::string(header) +
                       "\na,1,1,1,1," + std::string(row) + "\n",
                   &d);
    return OnlyError(d);
  };
  for (const char* spec : {"|", "A|", "|B", "A||B"}) {
    EXPECT_EQ(error("gpu_spec", spec), std::string("p:2:11: gpu_spec \"") + spec +
                                           "\" has an empty alternative; write models as A|B");
  }
  EXPECT_EQ(error("creation_time", "-5"),
            "p:2:11: creation_time \"-5\" is negative; write seconds from 0");
  EXPECT_EQ(
      error("creation_time", "soon"),
      "p:2:11: creation_time \"soon\" is not a number of seconds; write digits, such as 12.5");
  EXPECT_EQ(error("scheduled_time,deletion_time", "5,4"),
            "p:2:13: deletion_time is before scheduled_time; correct them");
  EXPECT_EQ(error("gpu_specs", ""),
            "p:1:45: unknown column \"gpu_specs\"; did you mean \"gpu_spec\"?");
}

TEST(OpenbPods, AllErrorsOfAFileCapped) {
  std::string rows;
  for (int i = 0; i < 30; ++i) rows += "p" + std::to_string(i) + ",x,1,0,0\n";
  Diagnostics d;
  ParseOpenbPods("p.csv", std::string(kPodHeader) + rows, &d);
  EXPECT_EQ(d.total, 30U);
  const TempDir dir;
  const auto pods = ReadOpenbPods(dir.Write("p.csv", std::string(kPodHeader) + rows));
  ASSERT_FALSE(pods);
  EXPECT_THAT(pods.error().where, HasSubstr("p.csv:2:4"));
  EXPECT_THAT(pods.error().message, HasSubstr("... and 10 more errors"));
}

TEST(ImportOpenb, BothFilesAndTheirFaults) {
  const TempDir dir;
  const std::string nodes = dir.Write("any.csv", std::string(kNodeHeader) + "a,1,1,1,T4\n");
  const std::string pods = dir.Write("name.txt", std::string(kPodHeader) + "p,1,1,1,500\n");
  const auto trace = ImportOpenb(nodes, pods);
  ASSERT_TRUE(trace);
  EXPECT_EQ(trace->manifest.importer, "openb 1");
  ASSERT_EQ(trace->manifest.files.size(), 2U);
  EXPECT_EQ(trace->manifest.files[1].name, "name.txt");
  EXPECT_EQ(trace->nodes.size(), 1U);
  EXPECT_EQ(trace->jobs.size(), 1U);
  const auto missing = ImportOpenb(dir / "no-nodes", dir / "no-pods");
  EXPECT_THAT(missing.error().ToString(), HasSubstr("no-nodes: there is no such file"));
  EXPECT_THAT(missing.error().ToString(), HasSubstr("no-pods: there is no such file"));
}

}  // namespace
}  // namespace basalt::trace
