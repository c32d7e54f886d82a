// Policy expressions: what they mean, and what a user reads when one is wrong.
#include "scheduler-core/engine/registry.h"

#include <gtest/gtest.h>

#include "test/support/cluster.h"

namespace basalt {
namespace {

using support::Builtins;
using support::Policy;

std::string ErrorOf(std::string_view expression) {
  const auto policy = Builtins().Configure(expression);
  return policy ? "" : policy.error().ToString();
}

TEST(Registry, NodeRuleAndCardRuleAreChosenApart) {
  EXPECT_EQ(Policy("binpack").card_rule, CardRule::kBest);
  EXPECT_EQ(Policy("spread").card_rule, CardRule::kSpread);
  EXPECT_EQ(Policy("fgd").card_rule, CardRule::kEach);
  EXPECT_EQ(Policy("binpack/spread").card_rule, CardRule::kSpread);
  EXPECT_EQ(Policy("fgd/first").card_rule, CardRule::kFirst);
  EXPECT_EQ(Policy("pwr:0.1+fgd:0.9").card_rule, CardRule::kEach);
  EXPECT_EQ(Policy("spread:1+binpack:3").card_rule, CardRule::kBest);
  EXPECT_EQ(Policy("class-quota(T4=0.5;spread)/random").card_rule, CardRule::kRandom);
  EXPECT_EQ(Policy("binpack/spread").expression, "binpack/spread");
}

TEST(Registry, ListIsByNameAndHasHelp) {
  std::string last;
  for (const Registry::Listed& listed : Builtins().list()) {
    EXPECT_LT(last, listed.name);
    EXPECT_FALSE(listed.help.empty()) << listed.name;
    last = listed.name;
  }
  EXPECT_EQ(Builtins().list().size(), 13U);
}

TEST(Registry, UnknownPolicySuggestsTheNearest) {
  EXPECT_EQ(ErrorOf("pack"), "unknown policy \"pack\"; did you mean \"binpack\"?");
  EXPECT_EQ(ErrorOf("best-fti"), "unknown policy \"best-fti\"; did you mean \"best-fit\"?");
  EXPECT_NE(ErrorOf("qqqqqqqq").find("known: best-fit, binpack"), std::string::npos);
  EXPECT_NE(ErrorOf("fgd:1+pck:1").find("unknown policy \"pck\""), std::string::npos);
}

TEST(Registry, MalformedExpressionsSayWhatIsWrong) {
  EXPECT_NE(ErrorOf("spread-job(fgd").find("the parenthesis is not closed at the end"),
            std::string::npos);
  EXPECT_NE(ErrorOf("spread-job(fgd)x").find("not closed at the end"), std::string::npos);
  EXPECT_NE(ErrorOf("fgd/best/spread").find("more than one card rule"), std::string::npos);
  EXPECT_EQ(ErrorOf("fgd/tight").substr(0, 37), "card rule: unknown card rule \"tight\";");
  EXPECT_NE(ErrorOf("fgd/spred").find("did you mean \"spread\"?"), std::string::npos);
  for (const char* weight : {"x", "0", "-1", "", "1e9", "nan", "0.5x"}) {
    const std::string expression = std::string("fgd:") + weight + "+binpack:1";
    EXPECT_NE(ErrorOf(expression).find("is not a number in (0, 1000]"), std::string::npos)
        << expression;
  }
  EXPECT_NE(ErrorOf("fgd:1:2+binpack:1").find("a term is NAME or NAME:WEIGHT"), std::string::npos);
  EXPECT_NE(ErrorOf("fgd:0.0001+binpack:1").find("below 0.001"), std::string::npos);
  EXPECT_NE(ErrorOf(""), "");
  EXPECT_NE(ErrorOf("+"), "");
  EXPECT_NE(ErrorOf("("), "");
  EXPECT_NE(ErrorOf(")"), "");
}

TEST(Registry, ArgumentsAreCheckedByThePolicy) {
  EXPECT_EQ(ErrorOf("fgd(1)"), "policy \"fgd\": takes no argument, was given \"1\"");
  EXPECT_NE(ErrorOf("class-quota").find("names no policy after ';'"), std::string::npos);
  EXPECT_NE(ErrorOf("class-quota(T4=2;fgd)").find("\"T4=2\" is not MODEL=SHARE"),
            std::string::npos);
  EXPECT_NE(ErrorOf("class-quota(;fgd)").find("has no quota"), std::string::npos);
  EXPECT_NE(ErrorOf("class-quota(=0.5;fgd)").find("is not MODEL=SHARE"), std::string::npos);
  EXPECT_NE(ErrorOf("class-quota(T4=0.5;random)").find("scores nodes one by one"),
            std::string::npos);
  EXPECT_NE(ErrorOf("spread-job").find("names no policy"), std::string::npos);
  EXPECT_NE(ErrorOf("spread-job(fgd):1+binpack:1").find("cannot be inside a blend"),
            std::string::npos);
  EXPECT_NE(ErrorOf("spread-job(spred)").find("did you mean \"spread\"?"), std::string::npos);
}

TEST(Registry, BlendsNeedABlender) {
  Registry registry;
  registry.Add("one", "help",
               [](const Registry&, std::string_view) { return Builtins().Make("binpack"); });
  EXPECT_TRUE(registry.Configure("one").has_value());
  const auto blend = registry.Configure("one:1+one:2");
  ASSERT_FALSE(blend.has_value());
  EXPECT_NE(blend.error().message.find("blends are not available"), std::string::npos);
}

TEST(RegistryDeathTest, ANameTwiceStopsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        Registry registry;
        const auto factory = [](const Registry&, std::string_view) {
          return Builtins().Make("binpack");
        };
        registry.Add("twice", "", factory);
        registry.Add("twice", "", factory);
      },
      "invariant broken");
}

TEST(CardRule, NamesParseBack) {
  for (const CardRule rule :
       {CardRule::kBest, CardRule::kSpread, CardRule::kFirst, CardRule::kEach, CardRule::kRandom}) {
    const auto parsed = ParseCardRule(CardRuleName(rule));
    ASSERT_TRUE(parsed.has_value());
    EXPECT_EQ(*parsed, rule);
  }
}

}  // namespace
}  // namespace basalt
