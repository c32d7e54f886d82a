#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "test/unit/traces_test_util.h"
#include "traces/canonical.h"
#include "traces/check.h"
#include "traces/domains.h"

namespace basalt::trace {
namespace {

using testing::EndsWith;
using testing::HasSubstr;

Trace Small() {
  Trace t;
  t.nodes.resize(2);
  t.nodes[0].id = "n0";
  t.nodes[0].gpu_count = 2;
  t.nodes[0].model = "T4";
  t.nodes[1].id = "n1";
  t.jobs.resize(2);
  t.jobs[0].id = "j0";
  t.jobs[1].id = "j1";
  t.tasks.resize(2);
  for (std::size_t i = 0; i < 2; ++i) {
    t.tasks[i].job_id = t.jobs[i].id;
    t.tasks[i].task = "w";
    t.tasks[i].gpu_num = 1;
    t.tasks[i].gpu_milli = 500;
  }
  return t;
}

// The error of Small() after a change.
template <class Change>
std::string After(Change change) {
  Trace t = Small();
  change(t);
  return OnlyError(Validate(t));
}

TEST(Validate, SmallIsValid) { EXPECT_EQ(Validate(Small()).ToString(), ""); }

TEST(Validate, EachRule) {
  EXPECT_EQ(After([](Trace& t) { t.nodes[1].id = ""; }),
            "nodes[1]: node_id is empty; every row needs one");
  EXPECT_EQ(After([](Trace& t) { t.nodes[1].id = "n0"; }),
            "nodes[1]: \"n0\" is already the id of nodes[0]; ids must be unique");
  EXPECT_EQ(
      After([](Trace& t) { t.nodes[1].model = "T4"; }),
      "nodes[1]: model names \"T4\" but gpu_count is 0; leave it empty or give the node cards");
  EXPECT_THAT(After([](Trace& t) { t.nodes[0].model = "A|B"; }), HasSubstr("model holds a |"));
  EXPECT_EQ(After([](Trace& t) { t.nodes[0].gpu_count = 65; }),
            "nodes[0]: gpu_count is 65; the range is 0..64");
  EXPECT_EQ(After([](Trace& t) { t.nodes[0].cpu_milli = -1; }),
            "nodes[0]: cpu_milli is -1; the range is 0..1000000000000");
  EXPECT_EQ(After([](Trace& t) { t.nodes[0].gpu_milli = 0; }),
            "nodes[0]: gpu_milli is 0; the range is 1..1000");
  EXPECT_EQ(After([](Trace& t) { t.nodes[0].rank = -2; }),
            "nodes[0]: rank is -2; the range is 0..1000000000000");
  EXPECT_THAT(After([](Trace& t) { t.nodes[0].labels = "[1]"; }),
              HasSubstr("labels is not a JSON object"));
  EXPECT_THAT(After([](Trace& t) { t.nodes[0].labels = " "; }),
              HasSubstr("labels is not a JSON object"));
  EXPECT_THAT(After([](Trace& t) { t.nodes[0].labels = "{\"a\":}"; }),
              HasSubstr("labels is not a JSON object"));
  EXPECT_EQ(After([](Trace& t) { t.nodes[0].rack = "\xff"; }),
            "nodes[0]: rack is not valid UTF-8 or holds a NUL byte");
  EXPECT_EQ(After([](Trace& t) { t.jobs[0].comm_milli = 1001; }),
            "jobs[0]: comm_share is 1001; the range is 0..1000");
  EXPECT_EQ(
      After([](Trace& t) { t.jobs[0].required_tier = "rack=r1"; }),
      "jobs[0]: required_tier \"rack=r1\" is not the name of a tier; write one, such as rack");
  EXPECT_EQ(After([](Trace& t) {
              t.nodes[0].available_from_us = 2;
              t.nodes[0].available_until_us = 1;
            }),
            "nodes[0]: available_until_s is before available_from_s; swap or correct them");
  EXPECT_EQ(After([](Trace& t) { t.jobs[0].start_us = 5, t.jobs[0].end_us = 4; }),
            "jobs[0]: end_s is before start_s; swap or correct them");
  EXPECT_EQ(After([](Trace& t) { t.jobs[0].duration_us = -1; }),
            "jobs[0]: duration_s is negative; a duration starts at 0");
  EXPECT_EQ(After([](Trace& t) { t.jobs[0].submit_us = INT64_MAX; }),
            "jobs[0]: submit_s is out of range; the largest is 1000000000000 seconds");
  EXPECT_EQ(
      After([](Trace& t) { t.jobs[0].status = "complete"; }),
      "jobs[0]: status has the unknown value \"complete\"; did you mean \"completed\"? known: "
      "completed, failed, cancelled, timeout, node_fail, evicted, running, pending, or empty");
  EXPECT_EQ(
      After([](Trace& t) { t.jobs[0].censor = "sideways"; }),
      "jobs[0]: censor has the unknown value \"sideways\"; known: left, right, both, or empty");
  EXPECT_EQ(After([](Trace& t) { t.jobs[1].user = std::string(5000, 'x'); }),
            "jobs[1]: user is longer than 4096 bytes; shorten it");
  EXPECT_EQ(After([](Trace& t) { t.tasks[0].gpu_milli = 0; }),
            "tasks[0]: gpu_milli is 0 but gpu_num is not; write the milli-GPU wanted of each card, "
            "1..1000");
  EXPECT_EQ(After([](Trace& t) { t.tasks[0].gpu_num = 0; }),
            "tasks[0]: gpu_milli must be 0 when gpu_num is 0");
  EXPECT_EQ(After([](Trace& t) { t.tasks[0].gang_min = 2; }),
            "tasks[0]: gang_min is 2; the range is 0..1");
  EXPECT_EQ(After([](Trace& t) { t.tasks[0].gpu_spec = "A|"; }),
            "tasks[0]: gpu_spec has an empty alternative in \"A|\"; write models as A|B");
  EXPECT_EQ(After([](Trace& t) {
              t.tasks[1].job_id = "j0";
              t.jobs.pop_back();
            }),
            "tasks[1]: job \"j0\" already has the task \"w\" in tasks[0]");
  EXPECT_EQ(After([](Trace& t) { t.tasks.pop_back(); }), "jobs[1]: job \"j1\" has no task");
  EXPECT_EQ(After([](Trace& t) {
              t.jobs[1].id = "j0";
              t.tasks.pop_back();
            }),
            "jobs[1]: \"j0\" is already the id of jobs[0]; ids must be unique");
  EXPECT_EQ(After([](Trace& t) { t = Trace{}; }),
            "trace: the trace has no nodes and no jobs; it holds nothing");
}

TEST(Validate, Domains) {
  const auto fault = [](std::string domains, std::string rack = "") {
    Node node;
    node.domains = std::move(domains);
    node.rack = std::move(rack);
    return DomainsFault(node);
  };
  for (const char* fine : {"rack=r1", "nvlink=c0;rack=r1;spine=s0;zone=z0", "a=b;c=b"}) {
    EXPECT_EQ(fault(fine), "");
  }
  EXPECT_EQ(fault("", "r1"), "");
  EXPECT_EQ(fault("rack=r1;zone=z", "r1"), "");
  for (const char* bad :
       {"r1", "=r1", "rack=", "rack=a=b", ";rack=r1", "rack=r1;", "a=b;;c=d", "=", ";"}) {
    EXPECT_THAT(fault(bad), HasSubstr("is not a list of tier=name")) << bad;
  }
  EXPECT_THAT(fault("rack=a;rack=b"), HasSubstr("names the tier \"rack\" twice"));
  EXPECT_THAT(fault("node=a"), HasSubstr("names the tier node"));
  EXPECT_EQ(fault("rack=a", "b"),
            "says the rack is \"a\", the rack column says \"b\"; make them agree");
  EXPECT_THAT(fault("zone=a", "b"), HasSubstr("has no rack, but the rack column says \"b\""));
  std::string many = "t0=x";
  for (int i = 1; i < 16; ++i) many += ";t" + std::to_string(i) + "=x";
  EXPECT_EQ(fault(many), "");
  EXPECT_THAT(fault(many + ";t16=x"), HasSubstr("more than 16 tiers"));

  Node node;
  EXPECT_TRUE(DomainsOf(node).empty());
  node.rack = "r";
  EXPECT_EQ(DomainsOf(node), (std::vector<Domain>{{"rack", "r"}}));
  node.domains = "nvlink=c;rack=r";
  EXPECT_EQ(DomainsOf(node), (std::vector<Domain>{{"nvlink", "c"}, {"rack", "r"}}));
}

// One table's text is replaced; the error must have the file's own place.
class CheckTraceTest : public testing::Test {
 protected:
  CheckTraceTest() {
    const Status written = WriteTrace(Small(), dir_ / "t");
    if (!written) std::abort();
  }
  std::string With(std::string_view name, std::string_view text) {
    dir_.Write("t/" + std::string(name), text);
    std::string error = OnlyError(CheckTrace(dir_ / "t"));
    const std::string prefix = dir_ / "t/";
    return error.starts_with(prefix) ? error.substr(prefix.size()) : error;
  }
  TempDir dir_;
};

TEST_F(CheckTraceTest, GoodAndAbsent) {
  EXPECT_TRUE(CheckTrace(dir_ / "t").ok());
  EXPECT_THAT(OnlyError(CheckTrace(dir_ / "nowhere")), EndsWith("there is no such directory"));
  EXPECT_THAT(OnlyError(CheckTrace(dir_.Write("file", ""))),
              HasSubstr("is not a directory; a trace"));
}

TEST_F(CheckTraceTest, PlacesInFiles) {
  EXPECT_EQ(With("tasks.csv",
                 "job_id,task,gpu_num,gpu_milli,cpu_milli,memory_mib\n"
                 "j0,w,0,0,1,1\nj9,w,0,0,1,1\nj1,w,0,0,1,1\n"),
            "2 errors:\n" + (dir_ / "t/manifest.json") +
                ": counts.tasks is 2 but the file has 3 rows; was the file cut or edited?\n" +
                (dir_ / "t/tasks.csv") +
                ":3:1: there is no job \"j9\"; add it to the jobs or correct the id");
  EXPECT_EQ(With("tasks.csv",
                 "cpu_milli,memory_mib,job_id,task,gpu_num,gpu_milli\n"
                 "1,1,j0,w,0,0\n1,1,j1,w,1,0\n"),
            "tasks.csv:3:12: gpu_milli is 0 but gpu_num is not; write the milli-GPU wanted of each "
            "card, 1..1000");
}

TEST_F(CheckTraceTest, MoreFaults) {
  EXPECT_EQ(With("jobs.csv", "job_id,start_s,end_s\nj0,1,2\nj1,2,1\n"),
            "jobs.csv:3:6: end_s is before start_s; swap or correct them");
  EXPECT_EQ(With("jobs.csv", "job_id,start_s\nj0,1\nj1,yesterday\n"),
            "jobs.csv:3:4: start_s \"yesterday\" is not a number of seconds; write digits, such as "
            "12.5");
  EXPECT_EQ(With("jobs.csv", "job_id,preemptible\nj0,1\nj1,2\n"),
            "jobs.csv:3:4: preemptible is 2; the range is 0..1");
  EXPECT_EQ(With("jobs.csv", "job_id\nj0\n"),
            "2 errors:\n" + (dir_ / "t/manifest.json") +
                ": counts.jobs is 2 but the file has 1 row; was the file cut or edited?\n" +
                (dir_ / "t/tasks.csv") +
                ":3:1: there is no job \"j1\"; add it to the jobs or correct the id");
  EXPECT_EQ(
      With("jobs.csv", "job_id,comm_share\nj0,\nj1,1.001\n"),
      "jobs.csv:3:4: comm_share \"1.001\" is not a part of one; write 0..1 with at most three "
      "digits after the point, such as 0.25");
  for (const char* bad : {"0.0001", "-0.1", "25%", ".5", "1e-1", "2"}) {
    EXPECT_THAT(With("jobs.csv", "job_id,comm_share\nj0,\nj1," + std::string(bad) + "\n"),
                HasSubstr("jobs.csv:3:4: comm_share \"" + std::string(bad) + "\" is not a part"));
  }
  EXPECT_EQ(With("jobs.csv", "job_id,comm_share\nj0,0\nj1,1.000\n"), "0 errors:\n");
  EXPECT_EQ(
      With("jobs.csv", "job_id,required_tier\nj0,rack\nj1,a;b\n"),
      "jobs.csv:3:4: required_tier \"a;b\" is not the name of a tier; write one, such as rack");
  EXPECT_EQ(With("jobs.csv", "job_id\nj0\nj1\n"), "0 errors:\n");
  EXPECT_EQ(With("nodes.csv",
                 "node_id,gpu_count,cpu_milli,memory_mib,rack,domains\n"
                 "n0,0,1,1,r1,rack=r1;zone=z\nn1,0,1,1,r1,rack=r2\n"),
            "nodes.csv:3:13: domains says the rack is \"r2\", the rack column says \"r1\"; make "
            "them agree");
  EXPECT_EQ(With("nodes.csv", "node_id,gpu_count,cpu_milli,memory_mib\nn0,0,1,1\nn0,0,1,1\n"),
            "nodes.csv:3:1: \"n0\" is already the id of line 2; ids must be unique");
  EXPECT_EQ(With("nodes.csv", "node_id,gpu_count,cpu_milli\nn0,0,1\nn1,0,1\n"),
            "nodes.csv:1:1: column \"memory_mib\" is missing; add it to the header");
}

TEST_F(CheckTraceTest, StrangeFiles) {
  EXPECT_EQ(With("node.csv", ""),
            "node.csv: is not a table of gputrace/1; did you mean \"nodes.csv\"?");
  std::filesystem::remove(dir_ / "t/node.csv");
  EXPECT_EQ(With("README.md", "fine"), "0 errors:\n");
  std::filesystem::remove(dir_ / "t/jobs.csv");
  EXPECT_THAT(OnlyError(CheckTrace(dir_ / "t")),
              HasSubstr("jobs.csv: there is no such file; a trace has"));
}

}  // namespace
}  // namespace basalt::trace
