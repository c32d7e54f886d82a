#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/unit/traces_test_util.h"
#include "traces/canonical.h"
#include "traces/generate.h"
#include "traces/import.h"

namespace basalt::trace {
namespace {

using testing::HasSubstr;

TEST(Import, UnknownFormatListsTheKnownAndTheNearest) {
  EXPECT_EQ(Import("opneb", {}).error().ToString(),
            "--format: unknown trace format \"opneb\"; did you mean \"openb\"? Known: canonical "
            "openb philly-csv philly pai2020 pai-sim dlrm2025 spot2026 helios acme swf k8s "
            "volcano");
  EXPECT_EQ(Import("something-else", {}).error().ToString(),
            "--format: unknown trace format \"something-else\"; Known: canonical openb philly-csv "
            "philly pai2020 pai-sim dlrm2025 spot2026 helios acme swf k8s volcano");
}

TEST(Import, FilesMustBeTheOnesOfTheFormat) {
  EXPECT_EQ(Import("openb", {.nodes = "n", .pods = "", .directory = ""}).error().ToString(),
            "--pods: is missing; format openb reads --nodes FILE --pods FILE");
  EXPECT_EQ(Import("canonical", {.nodes = "n", .pods = "", .directory = "d"}).error().ToString(),
            "--nodes: is not used; format canonical reads --dir DIR");
  EXPECT_EQ(Import("philly-csv", {.nodes = "n", .pods = "", .directory = ""}).error().ToString(),
            "--pods: is missing; format philly-csv reads [--nodes FILE] --pods FILE");
}

TEST(Import, OneFileAtLeast) {
  ImportFiles files;
  EXPECT_EQ(Import("spot2026", files).error().ToString(),
            "--format: spot2026 needs a file; it reads [--nodes FILE] [--jobs FILE]");
  files.queues = "q";
  EXPECT_EQ(Import("spot2026", files).error().ToString(),
            "--queues: is not used; format spot2026 reads [--nodes FILE] [--jobs FILE]");
  EXPECT_EQ(Import("swf", {}).error().ToString(),
            "--jobs: is missing; format swf reads [--nodes FILE] --jobs FILE");
}

TEST(Import, EveryFileIsHashedAndEveryFaultReported) {
  const TempDir dir;
  ImportFiles files;
  files.nodes = dir.Write("n.csv", "gpu_model,gpu_capacity_num,cpu_num,node_name\nA10,1,8,0\n");
  const auto good = Import("spot2026", files);
  ASSERT_TRUE(good) << good.error().ToString();
  ASSERT_EQ(good->manifest.files.size(), 1U);
  EXPECT_EQ(good->manifest.files[0].name, "n.csv");
  EXPECT_EQ(good->manifest.files[0].sha256.size(), 64U);
  files.nodes = "/no/n";
  files.jobs = "/no/j";
  EXPECT_EQ(Import("spot2026", files).error().ToString(),
            "/no/n: there is no such file\n/no/j: there is no such file");
}

TEST(Import, CanonicalReadsWhatWasWritten) {
  const TempDir dir;
  GeneratorOptions options;
  options.nodes = 3;
  options.pods = 5;
  const auto trace = Generate(options);
  ASSERT_TRUE(trace);
  ASSERT_TRUE(WriteTrace(*trace, dir / "t"));
  const auto back = Import("canonical", {.nodes = "", .pods = "", .directory = dir / "t"});
  ASSERT_TRUE(back) << back.error().ToString();
  EXPECT_EQ(*back, *trace);
}

TEST(Import, OpenbFaultsComeThrough) {
  EXPECT_THAT(
      Import("openb", {.nodes = "/no/n", .pods = "/no/p", .directory = ""}).error().ToString(),
      HasSubstr("/no/p: there is no such file"));
}

}  // namespace
}  // namespace basalt::trace
