#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "topology/network.h"

namespace basalt::topology {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const std::vector<NetworkLevel> kLevels = {
    {"nvlink", {"clique"}}, {"rack", {"leaf", "rack"}}, {"zone", {"zone"}}};

TEST(NetworkPathTest, IsAscendingNamedAndInRange) {
  EXPECT_TRUE(ValidatePath({}, "n1"));
  EXPECT_TRUE(ValidatePath({{1, "c"}, {3, "z"}, {kMaxTiers, "w"}}, "n1"));
  EXPECT_EQ(ValidatePath({{0, "c"}}, "n1").error().ToString(), "n1: tier 0 is outside 1..16");
  EXPECT_FALSE(ValidatePath({{kMaxTiers + 1, "c"}}, "n1"));
  EXPECT_FALSE(ValidatePath({{-1, "c"}}, "n1"));
  EXPECT_EQ(ValidatePath({{2, "r"}, {2, "s"}}, "n1").error().message, "tier 2 stands twice");
  EXPECT_THAT(ValidatePath({{2, "r"}, {1, "c"}}, "n1").error().message,
              HasSubstr("write narrow to wide"));
  EXPECT_THAT(ValidatePath({{2, ""}}, "n1").error().message, HasSubstr("no name"));
}

TEST(NetworkFromLabelsTest, FirstKeyFoundWins) {
  const auto map = NetworkFromLabels(
      kLevels, {{"n1", {{"rack", "r1"}, {"zone", "z"}, {"clique", "c"}, {"leaf", "l1"}}},
                {"n2", {{"rack", "r1"}, {"zone", "z"}, {"clique", "c"}, {"leaf", ""}}}});
  ASSERT_TRUE(map);
  EXPECT_EQ(map->paths.at("n1"), (NetworkPath{{1, "c"}, {2, "l1"}, {3, "z"}}));
  EXPECT_EQ(map->paths.at("n2"), (NetworkPath{{1, "c"}, {2, "r1"}, {3, "z"}}));
  EXPECT_THAT(map->warnings, IsEmpty());
  EXPECT_EQ(map->tier_names.at(2), "rack");
}

// NeMo-RL#2924: nodes without the label were grouped as one domain.
TEST(NetworkFromLabelsTest, UnknownDomainsStayApart) {
  const auto map = NetworkFromLabels(
      kLevels,
      {{"n1", {{"clique", "c"}, {"rack", "r"}, {"zone", "z"}}},
       {"n2", {{"rack", "r"}, {"zone", "z"}}},
       {"n3", {{"clique", " "}, {"rack", "r"}, {"zone", "z"}}},
       {"n4",
        {{"clique", "00000000-0000-0000-0000-000000000000.0"}, {"rack", "r"}, {"zone", "z"}}}});
  ASSERT_TRUE(map);
  for (const char* node : {"n2", "n3", "n4"}) {
    EXPECT_EQ(map->paths.at(node), (NetworkPath{{2, "r"}, {3, "z"}})) << node;
  }
  EXPECT_THAT(map->warnings, ElementsAre("node n2: label clique is missing: in no nvlink",
                                         "node n3: label clique is empty: in no nvlink",
                                         "node n4: label clique has no cluster UUID "
                                         "(00000000-0000-0000-0000-000000000000.0): in no nvlink"));
}

TEST(NetworkFromLabelsTest, ALevelNobodyHasIsOneWarning) {
  std::vector<NodeLabels> nodes;
  for (int i = 0; i < 100; ++i) {
    nodes.push_back({"n" + std::to_string(i), {{"clique", "c"}, {"zone", "z"}}});
  }
  const auto map = NetworkFromLabels(kLevels, nodes);
  ASSERT_TRUE(map);
  EXPECT_THAT(map->warnings,
              ElementsAre("no node names its rack (label leaf or rack): every node is in no rack"));
}

TEST(NetworkFromLabelsTest, SaysWhenAHoleSplitsADomain) {
  const auto map =
      NetworkFromLabels(kLevels, {{"n1", {{"clique", "c"}, {"rack", "r"}, {"zone", "z"}}},
                                  {"n2", {{"clique", "c"}, {"zone", "z"}}}});
  ASSERT_TRUE(map);
  EXPECT_NE(map->paths.at("n1"), map->paths.at("n2"));
  EXPECT_THAT(map->warnings,
              ElementsAre("node n2: label leaf or rack is missing: in no rack",
                          HasSubstr("node n2: nvlink c is not known to be the one")));
}

TEST(NetworkFromLabelsTest, RefusesLevelsAndNodesThatMakeNoSense) {
  EXPECT_FALSE(NetworkFromLabels({}, {}));
  EXPECT_FALSE(NetworkFromLabels({{"", {"a"}}}, {}));
  EXPECT_FALSE(NetworkFromLabels({{"a", {}}}, {}));
  EXPECT_THAT(NetworkFromLabels({{"a", {"x"}}, {"a", {"y"}}}, {}).error().message,
              HasSubstr("\"a\" stands twice"));
  std::vector<NetworkLevel> many;
  for (int i = 0; i <= kMaxTiers; ++i) many.push_back({"l" + std::to_string(i), {"x"}});
  EXPECT_THAT(NetworkFromLabels(many, {}).error().message, HasSubstr("at most 16"));
  EXPECT_THAT(NetworkFromLabels(kLevels, {{"n", {}}, {"n", {}}}).error().message,
              HasSubstr("node n stands twice"));
  EXPECT_FALSE(NetworkFromLabels(kLevels, {{"", {}}}));
  EXPECT_TRUE(NetworkFromLabels(kLevels, {}));
}

TEST(CommonNetworkLevelsTest, AreNarrowToWide) {
  std::vector<std::string> names;
  for (const NetworkLevel& level : CommonNetworkLevels()) names.push_back(level.name);
  EXPECT_THAT(names, ElementsAre("nvlink", "rack", "spine", "zone"));
  // Superpods are numbered inside a fabric: the same number in another one is another superpod.
  const auto map =
      NetworkFromLabels(CommonNetworkLevels(), {{"a",
                                                 {{"topology.kubernetes.io/zone", "z"},
                                                  {"backend.coreweave.cloud/fabric", "f1"},
                                                  {"backend.coreweave.cloud/superpod", "1"}}},
                                                {"b",
                                                 {{"topology.kubernetes.io/zone", "z"},
                                                  {"backend.coreweave.cloud/fabric", "f2"},
                                                  {"backend.coreweave.cloud/superpod", "1"}}}});
  ASSERT_TRUE(map);
  EXPECT_EQ(map->paths.at("a"), (NetworkPath{{3, "1"}, {4, "f1"}}));
  EXPECT_EQ(map->paths.at("b"), (NetworkPath{{3, "1"}, {4, "f2"}}));
}

}  // namespace
}  // namespace basalt::topology
