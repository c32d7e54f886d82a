#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "test/unit/traces_test_util.h"
#include "traces/canonical.h"
#include "traces/check.h"
#include "traces/domains.h"
#include "traces/import.h"
#include "traces/philly.h"

namespace basalt::trace {
namespace {

using testing::HasSubstr;

constexpr const char* kHeader = "timestamp,duration,num_gpus,gpu_time,cluster\n";

std::string Fault(const std::string& rows) {
  Diagnostics d;
  ParsePhillyJobs("f", kHeader + rows, &d);
  return OnlyError(d);
}

TEST(Philly, RowsBecomeJobs) {
  Diagnostics d;
  const PhillyJobs got = ParsePhillyJobs("f",
                                         "cluster,timestamp,duration,num_gpus,gpu_time\r\n"
                                         "vc1,2017-10-09 07:01:55,66.0,1,66.0\r\n"
                                         "vc2,2017-10-08 07:01:54,1.5,12,18.0\r\n"
                                         "vc1,2017-10-09 07:01:56,10,128,1280\r\n\r\n",
                                         &d);
  ASSERT_TRUE(d.ok()) << d.ToString();
  ASSERT_EQ(got.jobs.size(), 3U);
  EXPECT_EQ(got.first_submission, "2017-10-08 07:01:54");
  EXPECT_EQ(got.jobs[0].id, "job-000000");
  EXPECT_EQ(got.jobs[0].queue, "vc1");
  EXPECT_EQ(got.jobs[0].submit_us, 86'401'000'000);  // row order is kept
  EXPECT_EQ(got.jobs[1].submit_us, 0);
  EXPECT_EQ(got.jobs[1].duration_us, 1'500'000);
  EXPECT_EQ(got.jobs[2].gpu_total_milli, 128'000);
  EXPECT_EQ(got.tasks[0].split, "");
  EXPECT_EQ(got.tasks[1].split, "assumed");
  EXPECT_EQ(got.tasks[2].job_id, "job-000002");
}

TEST(Philly, GpusAreSplitIntoReplicas) {
  const auto ask = [](std::int64_t gpus) {
    Task task;
    AskForGpus(gpus, &task);
    EXPECT_EQ(std::int64_t{task.replicas} * task.gpu_num, gpus);
    EXPECT_EQ(task.gang_min, task.replicas);
    EXPECT_EQ(task.gpu_milli, 1000);
    return task.replicas;
  };
  for (std::int64_t gpus = 1; gpus <= 8; ++gpus) EXPECT_EQ(ask(gpus), 1);
  EXPECT_EQ(ask(9), 9);
  EXPECT_EQ(ask(12), 3);
  EXPECT_EQ(ask(14), 7);
  EXPECT_EQ(ask(16), 2);
  EXPECT_EQ(ask(24), 3);
  EXPECT_EQ(ask(128), 16);
}

TEST(Philly, FaultsHaveTheirPlace) {
  EXPECT_EQ(Fault("2017-10-09 07:01:55,66.0,2,66.0,a\n"),
            "f:2:28: gpu_time \"66.0\" is not duration \"66.0\" x num_gpus 2; correct the one that "
            "is wrong");
  EXPECT_EQ(Fault("2017-10-09 07:01:55,0.5,2,1.0,a\n"),
            "f:2:21: duration is below 1 second; the source has none that short");
  EXPECT_EQ(Fault("2017-10-09 07:01:55,1,0,0,a\n"),
            "f:2:23: num_gpus \"0\" is out of range; the range is 1..128");
  EXPECT_EQ(Fault("2017-10-09 07:01:55,1,129,129,a\n"),
            "f:2:23: num_gpus \"129\" is out of range; the range is 1..128");
  EXPECT_EQ(Fault("2017-10-09 07:01:55,1,1,1,\n"),
            "f:2:27: cluster is empty; name the job's virtual cluster");
  EXPECT_THAT(Fault("2017-10-09 07:01:55,1000000000000,128,1,a\n"), HasSubstr("is not duration"));
  EXPECT_EQ(Fault(""), "f:2:1: no jobs: the file has a header and no rows");
  for (const char* time :
       {"2017-02-29 00:00:00", "2017-13-01 00:00:00", "2017-00-01 00:00:00", "2017-10-09T07:01:55",
        "2017-10-09 24:00:00", "2017-10-09 00:60:00", "2017-10-09 00:00:60", "2017-10-9 00:00:00",
        "", "1507532515", "2017-10-09 07:01:55Z"}) {
    EXPECT_EQ(Fault(std::string(time) + ",1,1,1,a\n"),
              "f:2:1: timestamp \"" + std::string(time) +
                  "\" is not a date and time; write 2017-10-09 07:01:55");
  }
  EXPECT_EQ(Fault("2016-02-29 23:59:59,1,1,1,a\n"), "0 errors:\n");
  Diagnostics d;
  ParsePhillyJobs("f", "timestamp,duration,num_gpus,cluster\n", &d);
  EXPECT_EQ(OnlyError(d), "f:1:1: column \"gpu_time\" is missing; add it to the header");
}

TEST(Philly, StandInCluster) {
  const std::vector<Node> nodes = PhillyNodes();
  std::map<std::string, std::set<int>> kinds;
  std::map<std::string, int> machines;
  int cards = 0;
  for (const Node& node : nodes) {
    cards += node.gpu_count;
    kinds[node.rack].insert(node.gpu_count);
    ++machines[node.rack];
    EXPECT_EQ(DomainsOf(node), (std::vector<Domain>{{"rack", node.rack}}));
  }
  EXPECT_EQ(nodes.size(), 552U);
  EXPECT_EQ(cards, 2490);
  EXPECT_EQ(kinds.size(), 50U);
  for (const auto& [rack, sizes] : kinds) {
    EXPECT_EQ(sizes.size(), 1U) << rack;
    EXPECT_LE(machines[rack], *sizes.begin() == 8 ? 8 : 16) << rack;
    EXPECT_GE(machines[rack], *sizes.begin() == 8 ? 7 : 15) << rack;
  }
}

TEST(Philly, ImportWithAndWithoutNodes) {
  const TempDir dir;
  const std::string jobs =
      dir.Write("any.name", std::string(kHeader) + "2017-10-09 07:01:55,66.0,16,1056.0,a\n");
  const auto alone = Import("philly-csv", {.nodes = "", .pods = jobs, .directory = ""});
  ASSERT_TRUE(alone) << alone.error().ToString();
  EXPECT_EQ(alone->nodes, PhillyNodes());
  EXPECT_EQ(alone->manifest.time_zero, "");
  EXPECT_EQ(alone->manifest.files.size(), 1U);
  EXPECT_THAT(alone->manifest.notes, testing::Contains(HasSubstr("1 jobs have more GPUs")));
  ASSERT_TRUE(WriteTrace(*alone, dir / "t"));
  EXPECT_EQ(ReadTrace(dir / "t").value(), *alone);

  const auto own =
      Import("philly-csv", {.nodes = dir / "t/nodes.csv", .pods = jobs, .directory = ""});
  ASSERT_TRUE(own) << own.error().ToString();
  EXPECT_EQ(own->nodes, alone->nodes);
  EXPECT_EQ(own->manifest.files.size(), 2U);
  EXPECT_EQ(Import("philly-csv",
                   {.nodes = dir.Write("n", "node_id,gpu_count,cpu_milli,memory_mib\na,x,0,0\n"),
                    .pods = "/no/p",
                    .directory = ""})
                .error()
                .ToString(),
            (dir / "n") +
                ":2:3: gpu_count \"x\" is not a whole number; write digits only, "
                "0..2147483647\n/no/p: there is no such file");
}

}  // namespace
}  // namespace basalt::trace
