// Every file in test/scenarios is one question and its answer.
#include "test/support/scenario.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace basalt {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> Files() {
  std::vector<std::string> out;
  for (const auto& entry : fs::directory_iterator(fs::path(BASALT_SOURCE_DIR) / "test/scenarios")) {
    if (entry.path().extension() == ".yaml") out.push_back(entry.path().string());
  }
  std::sort(out.begin(), out.end());
  return out;
}

class ScenarioFile : public ::testing::TestWithParam<std::string> {};

TEST_P(ScenarioFile, IsAnsweredAsExpected) {
  const auto scenario = support::LoadScenario(GetParam());
  ASSERT_TRUE(scenario.has_value()) << scenario.error().ToString();
  for (const auto& [policy, answer] : scenario->expected) {
    EXPECT_EQ(support::Answer(*scenario, policy), answer) << policy;
  }
  std::ifstream file(GetParam());
  EXPECT_LE(std::count(std::istreambuf_iterator<char>(file), {}, '\n'), 25);
}

std::string TestName(const ::testing::TestParamInfo<std::string>& param) {
  return fs::path(param.param).stem().string();
}

INSTANTIATE_TEST_SUITE_P(All, ScenarioFile, ::testing::ValuesIn(Files()), TestName);

TEST(ScenarioList, IsThere) { EXPECT_GE(Files().size(), 24U); }

std::string ErrorOf(const std::string& text) {
  const auto scenario = support::ParseScenario(text, "s.yaml");
  return scenario ? "" : scenario.error().ToString();
}

TEST(ScenarioParser, MistakesAreFoundByLineAndColumn) {
  EXPECT_EQ(ErrorOf("policy: fgd\nexpect: x\nrequest: {}\ncluster: []\nbusi: []\n"),
            "s.yaml:5:1: unknown key \"busi\"; did you mean \"busy\"?");
  EXPECT_EQ(ErrorOf("policy: fgd\nexpect: x\nrequest: {card: 1}\n"),
            "s.yaml:3:11: unknown key \"card\"; did you mean \"cards\"?");
  EXPECT_EQ(ErrorOf("policy: fgd\nexpect: x\nrequest: {}\ncluster:\n  - {node: a, mode: odd}\n"),
            "s.yaml:5:21: unknown mode \"odd\"; known: shared, exclusive, mig, passthrough");
  EXPECT_NE(ErrorOf("policy: [\n"), "");
  EXPECT_NE(ErrorOf("expect: x\nrequest: {}\n"), "");  // no policy
}

}  // namespace
}  // namespace basalt
