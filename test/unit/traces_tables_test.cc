// placements.csv, usage.csv, queues.csv and capacity.csv.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/unit/traces_import_util.h"

namespace basalt::trace {
namespace {

namespace fs = std::filesystem;

Trace Full() {
  Trace t;
  t.nodes.emplace_back().id = "n0";
  t.jobs.emplace_back().id = "j0";
  for (const char* name : {"a", "b"}) {
    Task& task = t.tasks.emplace_back();
    task.job_id = "j0";
    task.task = name;
  }
  t.placements.push_back({"j0", "b", 3, 1, "elsewhere", "0;1;GPU-x", 0, 1'500'000, "Pass"});
  t.placements.push_back({"j0", "a", 0, 0, "", "", kUnknownTime, kUnknownTime, ""});
  t.usage.push_back({"j0", "a", 0, "n0", "0", -1, "gpu_util_pct", 16'062'500});
  t.usage.push_back({"", "", -1, "n0", "", kUnknownTime, "gpu_mem_mib", 0});
  t.queues.push_back({"q", "", 4, R"({"cpu":"8"})", "", R"({"nvidia.com/gpu":"8"})", "{}"});
  t.queues.push_back({"q/a", "q", -1, "", "", "", ""});
  t.capacity.push_back({-86'400'000'000, "vc, \"one\"", "T4", 1064});
  return t;
}

TEST(Tables, RoundTripAndAbsentWhenEmpty) {
  const TempDir dir;
  ASSERT_TRUE(WriteTrace(Full(), dir / "t"));
  EXPECT_EQ(CheckTrace(dir / "t").ToString(), "");
  EXPECT_EQ(ReadTrace(dir / "t").value(), Full());
  EXPECT_EQ(Slurp(dir / "t/placements.csv"),
            "job_id,task,replica,attempt,node_id,gpu_ids,start_s,end_s,outcome\n"
            "j0,b,3,1,elsewhere,0;1;GPU-x,0,1.5,Pass\nj0,a,0,0,,,,,\n");
  EXPECT_EQ(Slurp(dir / "t/usage.csv"),
            "job_id,task,replica,node_id,gpu_id,time_s,metric,value\n"
            "j0,a,0,n0,0,-0.000001,gpu_util_pct,16.0625\n,,,n0,,,gpu_mem_mib,0\n");
  EXPECT_EQ(Slurp(dir / "t/queues.csv"),
            "name,parent,weight,guarantee,deserved,capacity,extra\n"
            "q,,4,\"{\"\"cpu\"\":\"\"8\"\"}\",,\"{\"\"nvidia.com/gpu\"\":\"\"8\"\"}\",{}\n"
            "q/a,q,,,,,\n");
  EXPECT_EQ(Slurp(dir / "t/capacity.csv"),
            "time_s,pool,model,gpu_count\n-86400,\"vc, \"\"one\"\"\",T4,1064\n");
  Trace small = Full();
  small.placements.clear();
  small.usage.clear();
  small.queues.clear();
  small.capacity.clear();
  ASSERT_TRUE(WriteTrace(small, dir / "t", {.overwrite = true}));
  for (const char* name : {"placements.csv", "usage.csv", "queues.csv", "capacity.csv"}) {
    EXPECT_FALSE(fs::exists(dir / "t/" + name)) << name;
  }
  EXPECT_EQ(ReadTrace(dir / "t").value(), small);
}

TEST(Tables, ATableThatWasAddedOrRemovedIsNoticed) {
  const TempDir dir;
  ASSERT_TRUE(WriteTrace(Full(), dir / "t"));
  fs::remove(dir / "t/usage.csv");
  EXPECT_EQ(CheckTrace(dir / "t").ToString(),
            (dir / "t/manifest.json") +
                ": counts.usage is 2 but the file has 0 rows; was the file cut or edited?");
}

TEST(Tables, RulesOfRows) {
  const auto faults = [](auto parse, std::string_view text) {
    Diagnostics d;
    parse("f", text, &d, nullptr);
    return OnlyError(d);
  };
  EXPECT_EQ(faults(ParsePlacements, "job_id,task,replica,gpu_ids\nj,t,0,0;;1\n"),
            "f:2:7: gpu_ids has an empty name in \"0;;1\"; write cards as 0;1;2");
  EXPECT_EQ(faults(ParsePlacements, "job_id,task,replica,start_s,end_s\nj,t,0,2,1\n"),
            "f:2:9: end_s is before start_s; swap or correct them");
  EXPECT_EQ(faults(ParsePlacements, "job_id,task,replica\nj,t,\n").substr(0, 15),
            "f:2:5: replica ");
  EXPECT_EQ(faults(ParseUsage, "job_id,metric,value\n,gpu_util_pct,1\n"),
            "f:2:1: job_id and node_id are both empty; say what was measured");
  EXPECT_EQ(faults(ParseUsage, "job_id,metric,value\nj,GPU %,1\n"),
            "f:2:3: metric \"GPU %\" is not a name; write small letters, digits and _, such as "
            "gpu_util_pct");
  EXPECT_EQ(faults(ParseUsage, "job_id,metric,value\nj,m,-1\n"),
            "f:2:5: value \"-1\" is not a number from 0 to 10^12 with at most six digits after the "
            "point; write one, such as 12.5");
  EXPECT_EQ(faults(ParseQueues, "name,capacity\nq,8\n"),
            "f:2:3: capacity is not a JSON object; write one such as {\"zone\":\"a\"}, or nothing");
  EXPECT_EQ(faults(ParseQueues, "name,parent\nq,q\n"),
            "f:2:3: parent is the queue itself; name another or none");
  EXPECT_EQ(faults(ParseCapacity, "pool,gpu_count\n,1\n"),
            "f:2:1: pool is empty; every row needs one");
}

TEST(Tables, RulesBetweenRows) {
  Trace t = Full();
  t.placements[0].job_id = "nobody";
  t.placements[1].task = "c";
  t.usage[0].task = "c";
  t.queues[1].parent = "r";
  t.queues.push_back(t.queues[0]);
  EXPECT_EQ(Validate(t).ToString(),
            "placements[0]: there is no job \"nobody\"; add it to the jobs or correct the id\n"
            "placements[1]: job \"j0\" has no task \"c\"; correct the name\n"
            "usage[0]: job \"j0\" has no task \"c\"; correct the name\n"
            "queues[2]: \"q\" is already the name of queues[0]; names must be unique\n"
            "queues[1]: there is no queue \"r\"; add it or correct the name");
}

}  // namespace
}  // namespace basalt::trace
