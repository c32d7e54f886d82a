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
            "openb philly-csv");
  EXPECT_EQ(Import("something-else", {}).error().ToString(),
            "--format: unknown trace format \"something-else\"; Known: canonical openb philly-csv");
}

TEST(Import, FilesMustBeTheOnesOfTheFormat) {
  EXPECT_EQ(Import("openb", {.nodes = "n", .pods = "", .directory = ""}).error().ToString(),
            "--pods: is missing; format openb reads --nodes FILE --pods FILE");
  EXPECT_EQ(Import("canonical", {.nodes = "n", .pods = "", .directory = "d"}).error().ToString(),
            "--nodes: is not used; format canonical reads --dir DIR");
  EXPECT_EQ(Import("philly-csv", {.nodes = "n", .pods = "", .directory = ""}).error().ToString(),
            "--pods: is missing; format philly-csv reads [--nodes FILE] --pods FILE");
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
