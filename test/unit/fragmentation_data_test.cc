// The unit fixtures of the FGD authors' own simulator (values only, from the shared data).
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "test/support/cluster.h"

namespace basalt {
namespace {

std::string FixturePath() {
  const char* shared = std::getenv("BASALT_SHARED");
  const std::string root =
      shared != nullptr ? shared : std::string(BASALT_SOURCE_DIR) + "/../shared";
  return root + "/data/fgd_atc23_expected/unit_fixtures.json";
}

std::vector<TargetClass> Classes(const nlohmann::json& rows) {
  std::vector<TargetClass> classes;
  for (const auto& row : rows) {
    TargetClass c;
    c.spec = support::Ask(row["cpu_milli"], row["num_gpu"], row["gpu_milli"]);
    const std::string models = row["gpu_spec"];
    if (!models.empty()) c.spec.models = {models};
    c.weight = row["weight"];
    c.count = std::llround(c.weight * 10'000);  // the fixtures' weights have four digits
    classes.push_back(c);
  }
  return classes;
}

TEST(FragmentationData, PublishedUnitFixtures) {
  std::ifstream file(FixturePath());
  if (!file) GTEST_SKIP() << "skipped: no shared data";
  const nlohmann::json fixtures = nlohmann::json::parse(file);
  ASSERT_EQ(fixtures["cases"].size(), 7U);
  for (const auto& fixture : fixtures["cases"]) {
    const auto& named = fixture["target"];
    const TargetWorkload target = TargetWorkload::FromWeights(
        Classes(named.is_string() ? fixtures["targets"][named.get<std::string>()] : named));
    const auto& node = fixture["node"];
    const std::vector<std::int16_t> free = node["gpu_left_milli"];
    EngineOptions options;
    options.target = target;
    auto engine = support::MakeEngine(
        "fgd", {support::Node("a", 128'000, static_cast<int>(free.size()), node["model"])},
        options);
    const NodeId id = engine->state().FindNode("a");
    const Fragmentation& frag = *engine->fragmentation();
    const double expected = fixture["expected"];
    const double tolerance = fixture["tol"];
    const std::int32_t cpu = node["cpu_left_milli"];
    EXPECT_NEAR(frag.AmountInPublishedOrder(id, cpu, free), expected, tolerance);
    // The exact integers carry count / 10,000 as the weight.
    const NodeFragment exact =
        frag.Evaluate(id, cpu, free, std::vector<std::int32_t>(free.size(), 0));
    EXPECT_NEAR(static_cast<double>(exact.fragment()) / 10'000, expected, tolerance);
    ASSERT_NE(frag.table(id), nullptr);
    EXPECT_EQ(frag.EvaluateByTable(*frag.table(id), cpu, free).causes, exact.causes);
  }
}

}  // namespace
}  // namespace basalt
