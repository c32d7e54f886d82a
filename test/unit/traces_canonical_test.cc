#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <filesystem>

#include "scheduler-core/base/rng.h"
#include "test/unit/traces_test_util.h"
#include "traces/canonical.h"
#include "traces/check.h"

namespace basalt::trace {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

// A trace with every field set, and text that needs quoting.
Trace Full() {
  Trace t;
  t.manifest.source = "a \"source\"\nin two lines";
  t.manifest.licence = "CC-BY-4.0";
  t.manifest.attribution = "\xc3\xa4";
  t.manifest.time_zero = "2017-10-03T00:00:00.5+08:00";
  t.manifest.files = {{"f.csv", std::string(64, 'a')}};
  t.manifest.importer = "test 1";
  t.manifest.notes = {"one", "two"};
  Node n;
  n.id = "n,0";
  n.rank = 5;
  n.pool = "p";
  n.model = "T4";
  n.gpu_count = 2;
  n.gpu_milli = 500;
  n.gpu_mem_mib = 16384;
  n.cpu_milli = 1;
  n.memory_mib = 2;
  n.disk_mib = 3;
  n.nic_milli = 4;
  n.numa = 2;
  n.rack = "r \"1\"";
  n.domains = "nvlink=c0;rack=r \"1\";zone=z,0";
  n.topology = "t\r\nu";
  n.available_from_us = -1'500'000;
  n.available_until_us = 1;
  n.labels = R"({"a": "b,c"})";
  t.nodes = {n, Node{}};
  t.nodes[1].id = "plain";
  Job j;
  j.id = "j";
  j.parent_id = "pa", j.tenant = "te", j.user = "us", j.queue = "qu", j.kind = "train";
  j.priority_class = "LS";
  j.preemptible = 0;
  j.submit_us = 0, j.start_us = 1, j.end_us = 2, j.duration_us = 3, j.walltime_limit_us = 4;
  j.status = "node_fail", j.status_raw = "NODE FAIL";
  j.gpu_total_milli = 0, j.cpu_total_milli = 2, j.memory_total_mib = 3;
  j.node_count = 0;
  j.censor = "both";
  j.comm_milli = 125, j.required_tier = "zone", j.preferred_tier = "rack";
  j.extra = "{}";
  t.jobs = {j, Job{}};
  t.jobs[1].id = " spaces ";
  Task k;
  k.job_id = "j";
  k.task = "worker";
  k.replicas = 8, k.gang_min = 0, k.gpu_num = 2, k.gpu_milli = 1000, k.gpu_mem_mib = 0;
  k.gpu_spec = "A|B";
  k.cpu_milli = 1, k.memory_mib = 2, k.disk_mib = 0, k.nic_milli = 0, k.max_per_node = 1;
  k.colocate = "nvlink", k.split = "assumed", k.extra = R"({"x":[1,2]})";
  t.tasks = {k, k, Task{}};
  t.tasks[1].task = "ps";
  t.tasks[2].job_id = " spaces ";
  t.tasks[2].task = "0";
  return t;
}

std::string Gzip(const std::string& from, const std::string& to) {
  const std::string text = Slurp(from);
  gzFile out = gzopen(to.c_str(), "wb");
  gzwrite(out, text.data(), static_cast<unsigned>(text.size()));
  gzclose(out);
  fs::remove(from);
  return to;
}

TEST(Canonical, WriteThenReadGivesTheSame) {
  const TempDir dir;
  const Trace t = Full();
  ASSERT_TRUE(Validate(t).ok()) << Validate(t).ToString();
  const Status written = WriteTrace(t, dir / "new/trace/");
  ASSERT_TRUE(written) << written.error().ToString();
  const auto back = ReadTrace(dir / "new/trace");
  ASSERT_TRUE(back) << back.error().ToString();
  EXPECT_EQ(*back, t);
  EXPECT_TRUE(CheckTrace(dir / "new/trace").ok());
  EXPECT_EQ(std::distance(fs::directory_iterator(dir / "new"), fs::directory_iterator()), 1)
      << "a temporary directory was left";
}

TEST(Canonical, CompressedTablesReadTheSame) {
  const TempDir dir;
  ASSERT_TRUE(WriteTrace(Full(), dir / "t"));
  for (const char* name : {"t/nodes.csv", "t/jobs.csv", "t/tasks.csv"}) {
    Gzip(dir / name, (dir / name) + ".gz");
  }
  EXPECT_EQ(ReadTrace(dir / "t").value(), Full());
  dir.Write("t/nodes.csv", "");
  EXPECT_THAT(OnlyError(CheckTrace(dir / "t")),
              HasSubstr("nodes.csv.gz: stands beside nodes.csv; remove one of the two"));
}

// Random valid traces survive the files. Text is drawn from the characters that CSV and JSON treat
// specially, and a few others.
TEST(Canonical, RoundTripProperty) {
  Rng rng(7);
  const auto chance = [&] { return rng.Below(2) == 0; };
  const auto text = [&] {
    static constexpr const char* kPieces[] = {"a", "\"", ",",        "\n", "\r\n",
                                              " ", "'",  "\xc3\xa4", "{"};
    std::string out;
    for (std::uint32_t i = rng.Below(6); i > 0; --i) out += kPieces[rng.Below(9)];
    return out;
  };
  const auto time = [&] {
    return chance() ? kUnknownTime
                    : static_cast<std::int64_t>(rng.Next()) * 1000 - 1'000'000'000'000;
  };
  for (int round = 0; round < 50; ++round) {
    Trace t;
    for (std::uint32_t i = 0; i < 5; ++i) {
      Node n;
      n.id = text() + std::to_string(i);
      n.gpu_count = static_cast<std::int32_t>(rng.Below(9));
      if (n.gpu_count > 0) n.model = text();
      n.rack = text();
      if (n.rack.empty() && chance()) n.domains = "rack=r;spine=" + std::to_string(i);
      n.available_until_us = time();
      n.cpu_milli = rng.Next();
      n.rank = chance() ? -1 : rng.Next();
      t.nodes.push_back(n);
      Job j;
      j.id = text() + std::to_string(i);
      j.user = text();
      j.submit_us = time();
      j.comm_milli = static_cast<std::int32_t>(rng.Below(1002)) - 1;
      j.preferred_tier = chance() ? "rack" : "";
      t.jobs.push_back(j);
      Task k;
      k.job_id = j.id;
      k.task = text() + "t";
      k.gpu_num = static_cast<std::int32_t>(rng.Below(3));
      k.gpu_milli = k.gpu_num == 0 ? 0 : 1 + static_cast<std::int32_t>(rng.Below(1000));
      t.tasks.push_back(k);
    }
    Diagnostics d;
    EXPECT_EQ(ParseNodes("n", FormatNodes(t.nodes), &d), t.nodes);
    EXPECT_EQ(ParseJobs("j", FormatJobs(t.jobs), &d), t.jobs);
    EXPECT_EQ(ParseTasks("t", FormatTasks(t.tasks), &d), t.tasks);
    ASSERT_TRUE(d.ok()) << d.ToString();
  }
}

TEST(WriteTrace, RefusesWhatItMustNotReplace) {
  const TempDir dir;
  fs::create_directory(dir / "empty");
  EXPECT_TRUE(WriteTrace(Full(), dir / "empty"));
  Trace other = Full();
  other.nodes.pop_back();
  EXPECT_THAT(
      WriteTrace(other, dir / "empty").error().ToString(),
      HasSubstr("empty: exists and is not empty; choose another output or ask to overwrite"));
  EXPECT_EQ(ReadTrace(dir / "empty").value(), Full());
  ASSERT_TRUE(WriteTrace(other, dir / "empty", {.overwrite = true}));
  EXPECT_EQ(ReadTrace(dir / "empty").value(), other);

  fs::create_directory(dir / "home");
  dir.Write("home/thesis.tex", "years of work");
  EXPECT_THAT(WriteTrace(other, dir / "home", {.overwrite = true}).error().ToString(),
              HasSubstr("home: holds thesis.tex, which is no file of a trace"));
  EXPECT_EQ(Slurp(dir / "home/thesis.tex"), "years of work");
  const std::string file = dir.Write("file", "x");
  EXPECT_THAT(WriteTrace(other, file, {.overwrite = true}).error().ToString(),
              HasSubstr("file: exists and is not a directory"));
  EXPECT_FALSE(WriteTrace(other, ""));
  // Nothing but the targets is left behind.
  EXPECT_EQ(std::distance(fs::directory_iterator(dir / "."), fs::directory_iterator()), 3);
}

TEST(WriteTrace, FollowsALinkToTheDirectory) {
  const TempDir dir;
  fs::create_directory(dir / "real");
  fs::create_directory_symlink(dir / "real", dir / "link");
  ASSERT_TRUE(WriteTrace(Full(), dir / "link"));
  EXPECT_TRUE(fs::is_symlink(dir / "link"));
  EXPECT_EQ(ReadTrace(dir / "real").value(), Full());
}

TEST(WriteTrace, RefusesAnInvalidTrace) {
  const TempDir dir;
  Trace t = Full();
  t.tasks[0].job_id = "nobody";
  EXPECT_THAT(WriteTrace(t, dir / "t").error().ToString(),
              HasSubstr("tasks[0]: there is no job \"nobody\""));
  EXPECT_FALSE(fs::exists(dir / "t"));
}

TEST(Manifest, Faults) {
  const auto error = [](std::string_view text) {
    Diagnostics d;
    Counts counts;
    ParseManifest("m", text, &d, &counts);
    return OnlyError(d);
  };
  const std::string counts = R"("counts":{"nodes":1,"jobs":2,"tasks":3}})";
  EXPECT_EQ(error("{\n  \"format\" \"x\"}"),
            "m:2:14: not valid JSON; look for a missing comma, quote or brace just before");
  EXPECT_EQ(error("[]"), "m:1:1: must be a JSON object, {...}");
  EXPECT_EQ(error("{}"), "m: format must be \"gputrace/1\", the one that this version reads");
  EXPECT_EQ(error("{\"format\":\"gputrace/2\"}"),
            "m:1:2: format must be \"gputrace/1\", the one that this version reads, but is "
            "\"gputrace/2\"");
  EXPECT_EQ(error("{\"format\":\"gputrace/1\"}"),
            "m: counts must be an object with nodes, jobs and tasks");
  EXPECT_EQ(error("{\"format\":\"gputrace/1\",\n\"sauce\":\"x\"," + counts),
            "m:2:1: sauce is not a key of the manifest; did you mean \"source\"?");
  EXPECT_EQ(error("{\"format\":\"gputrace/1\",\n\"time_zero\":\"yesterday\"," + counts),
            "m:2:1: time_zero \"yesterday\" is not ISO 8601 with a zone, such as "
            "2017-10-03T00:00:00Z");
  EXPECT_EQ(error("{\"format\":\"gputrace/1\",\"counts\":{\"nodes\":-1,\"jobs\":2,\"tasks\":3}}"),
            "m:1:34: nodes must be a whole number, 0 or more");
  EXPECT_EQ(error("{\"format\":\"gputrace/1\",\n\"time_unit\":\"ms\"," + counts),
            "m:2:1: time_unit must be \"s\"");
  EXPECT_EQ(error("{\"format\":\"gputrace/1\",\n\"notes\":\"x\"," + counts),
            "m:2:1: notes must be a list");
  EXPECT_EQ(error("{\"format\":\"gputrace/1\",\n\"files\":[{\"name\":\"x\",\"sha256\":\"ab\"}]," +
                  counts),
            "m:2:1: files the sha256 of \"x\" must be 64 lower-case hexadecimal digits");
  EXPECT_THAT(error("{\"format\":\"gputrace/1\",\"x\":1e999}"), HasSubstr("m: not usable JSON: "));
  EXPECT_EQ(error(std::string_view("{\0}", 3)),
            "m:1:2: a NUL byte; the file is damaged or not text");
}

}  // namespace
}  // namespace basalt::trace
