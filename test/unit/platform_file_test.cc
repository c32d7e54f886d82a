// Platform scenario files: values, paths of arms, expressions of claims, and the reference page.
#include "cli/platform_file.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <sstream>

#include "cli/platform_claims.h"
#include "cli/platform_values.h"
#include "policies/builtin.h"

namespace basalt::cli {
namespace {

TEST(PlatformValues, Durations) {
  EXPECT_EQ(ParseDurationUs("30s"), 30'000'000);
  EXPECT_EQ(ParseDurationUs("15m"), 900'000'000);
  EXPECT_EQ(ParseDurationUs("1.5h"), 5'400'000'000);
  EXPECT_EQ(ParseDurationUs("7d"), 7 * sim::kDayUs);
  EXPECT_EQ(ParseDurationUs("250ms"), 250'000);
  EXPECT_EQ(ParseDurationUs("0"), 0);
  for (const char* bad :
       {"", "30", "s", "-1s", "1 h", "1h30m", "1w", "1e3s", "..s", "9999999999d"}) {
    EXPECT_FALSE(ParseDurationUs(bad)) << bad;
  }
}

TEST(PlatformValues, SizesAndShares) {
  EXPECT_EQ(ParseSizeMib("512MiB"), 512);
  EXPECT_EQ(ParseSizeMib("1.5GiB"), 1536);
  EXPECT_EQ(ParseSizeMib("2TiB"), 2 << 20);
  EXPECT_FALSE(ParseSizeMib("12GB"));
  EXPECT_FALSE(ParseSizeMib("12"));
  EXPECT_EQ(ParseShareMilli("80%"), 800);
  EXPECT_EQ(ParseShareMilli("1.5%"), 15);
  EXPECT_FALSE(ParseShareMilli("0.8"));
}

TEST(PlatformValues, DrawnDurations) {
  using Kind = sim::DurationSpec::Kind;
  const auto constant = ParseDrawnDuration("4h");
  ASSERT_TRUE(constant);
  EXPECT_EQ(constant->kind, Kind::kConstant);
  const auto bounded = ParseDrawnDuration("lognormal(4h, 1.5, 10m..7d)");
  ASSERT_TRUE(bounded);
  EXPECT_EQ(bounded->kind, Kind::kLogNormal);
  EXPECT_EQ(bounded->mean_us, 4 * sim::kHourUs);
  EXPECT_DOUBLE_EQ(bounded->sigma, 1.5);
  EXPECT_EQ(bounded->min_us, 10 * sim::kMinuteUs);
  EXPECT_EQ(bounded->max_us, 7 * sim::kDayUs);
  for (const char* bad : {"normal(4h)", "exponential()", "lognormal(4h)", "exponential(4h, 2)",
                          "exponential(4h, 3h..2h)", "exponential(4h", "lognormal(4h, x)"}) {
    EXPECT_FALSE(ParseDrawnDuration(bad)) << bad;
  }
}

constexpr const char* kFile = R"(
scenario: s
horizon: 1d
clusters:
  - {name: a, groups: [{name: g, nodes: 1, cards: 4, model: A100, cpu: 8, memory: 64GiB}]}
  - {name: b, groups: [{name: g, nodes: 2, cards: 4, model: Odd, card_memory: 8GiB, cpu: 8, memory: 64GiB}]}
tenants: [{name: t}]
services:
  - {name: chat, count: 3, tenant: t, offers: [{compute: 50%, memory: 25%}], replicas_max: 2,
     demand: {shapes: [flat]}}
training:
  - {name: jobs, tenant: t, offers: [{cards: 2}], jobs_per_hour: 1, duration: 2h, gang_sizes: {1: 50%, 3: 50%}}
arms:
  - {name: x}
  - {name: y, set: {clusters.*.groups.g.memory_ratio: 200%, runtime.ladder: throttled, training.0.jobs_per_hour: 4}}
sweep: {key: load.inference, values: [25%], arms: [y]}
)";

Registry AllPolicies() {
  Registry registry;
  RegisterBuiltinPolicies(registry);
  return registry;
}

TEST(PlatformFile, ArmsAreTheFileWithTheirKeys) {
  const auto file = ParsePlatformFile("s.yaml", kFile, AllPolicies());
  ASSERT_TRUE(file) << file.error().ToString();
  ASSERT_EQ(file->arms.size(), 3U);
  const sim::PlatformSpec& x = file->arms[0].spec;
  const sim::PlatformSpec& y = file->arms[1].spec;
  EXPECT_EQ(x.clusters[0].groups[0].card_memory_mib, 40960);  // the catalog's
  EXPECT_EQ(x.clusters[1].groups[0].card_memory_mib, 8192);
  EXPECT_EQ(x.clusters[1].groups[0].memory_ratio_percent, 100);
  EXPECT_EQ(y.clusters[0].groups[0].memory_ratio_percent, 200);
  EXPECT_EQ(y.clusters[1].groups[0].memory_ratio_percent, 200);
  EXPECT_EQ(y.runtime.ladder.steps[0].action, sim::LadderAction::kThrottled);
  EXPECT_DOUBLE_EQ(x.training[0].jobs_per_hour, 1);
  EXPECT_DOUBLE_EQ(y.training[0].jobs_per_hour, 4);
  ASSERT_EQ(x.services.size(), 3U);
  EXPECT_EQ(x.services[2].name, "chat-3");
  EXPECT_EQ(x.services[0].demand_milli.size(), 96U);
  EXPECT_EQ(x.services[0].offers[0].request.gpu_milli, 500);
  EXPECT_EQ(x.services[0].offers[0].request.gpu_memory_percent, 25);
  EXPECT_EQ(x.training[0].offers[0].request.gpu_milli, kWholeCard);
}

TEST(PlatformFile, TheShareOfInferenceKeepsTheSum) {
  const auto file = ParsePlatformFile("s.yaml", kFile, AllPolicies());
  ASSERT_TRUE(file) << file.error().ToString();
  EXPECT_EQ(file->arms[2].entry.name, "y, inference 25%");
  EXPECT_TRUE(file->arms[2].entry.sweep_value >= 0);
  // Services want 3 x 2 x 0.5 = 3 cards; jobs 4/h x 2 h x 2 pods x 2 cards = 32. A quarter of 35
  // is 8.75 for services: 2.9 x as many replicas, whole ones; and 26.25 cards of jobs.
  const sim::PlatformSpec& spec = file->arms[2].spec;
  EXPECT_EQ(spec.services[0].replicas_max, 6);
  EXPECT_NEAR(spec.training[0].jobs_per_hour, 4 * 26.25 / 32, 1e-9);
}

constexpr const char* kQueues = R"(
scenario: s
horizon: 1d
clusters: [{name: a, groups: [{name: g, nodes: 4, cards: 8, model: A100, cpu: 8, memory: 64GiB}]}]
queues:
  - name: q
    slots: [{nodes: 4, cards: 8, model: A100}]
tenants: [{name: t, queue: q}]
training:
  - {name: jobs, tenant: t, offers: [{cards: 8}], jobs_per_hour: 1, duration: 2h, preemptible: false}
scheduling: {evict: true, share: per-resource, usage_half_life: 7d, usage_factor: 150%}
arms:
  - {name: as it is}
  - {name: drf, set: {scheduling.share: dominant, scheduling.usage_half_life: "0", scheduling.usage_factor: 0%}}
)";

TEST(PlatformFile, SlotsAndSharesAreRead) {
  const auto file = ParsePlatformFile("s.yaml", kQueues, AllPolicies());
  ASSERT_TRUE(file) << file.error().ToString();
  const sim::PlatformSpec& spec = file->arms[0].spec;
  ASSERT_EQ(spec.queues.size(), 1U);
  EXPECT_EQ(spec.queues[0].slots, (std::vector<SlotQuota>{{8, 4, "A100"}}));
  EXPECT_EQ(spec.scheduling.usage_half_life_us, 7 * sim::kDayUs);
  EXPECT_EQ(spec.scheduling.options.division.usage_factor_milli, 1500);
  EXPECT_EQ(spec.scheduling.options.division.rule, ShareRule::kPerResource);
  EXPECT_EQ(file->arms[1].spec.scheduling.options.division.rule, ShareRule::kDominant);
}

TEST(PlatformFile, SlotsAndSharesThatCannotBeAreTold) {
  const auto wrong = [](const std::string& from, const std::string& to) {
    std::string text = kQueues;
    text.replace(text.find(from), from.size(), to);
    const auto file = ParsePlatformFile("s.yaml", text, AllPolicies());
    return file ? std::string() : file.error().ToString();
  };
  EXPECT_NE(wrong("cards: 8, model: A100}]\ntenants", "cards: 4, model: A100}]\ntenants")
                .find("queue 'q': slots: no group has nodes of 4 A100 cards"),
            std::string::npos);
  EXPECT_NE(wrong("[{nodes: 4, cards: 8, model: A100}]", "[{cards: 8}]").find("nodes"),
            std::string::npos);
  EXPECT_NE(
      wrong("[{nodes: 4, cards: 8, model: A100}]", "[{nodes: 1, cards: 8}, {nodes: 2, cards: 8}]")
          .find("nodes of 8 cards stand twice"),
      std::string::npos);
  EXPECT_NE(wrong("usage_half_life: 7d, ", "").find("needs a usage_half_life"), std::string::npos);
  EXPECT_NE(wrong(", usage_factor: 150%", "").find("does nothing without a usage_factor"),
            std::string::npos);
  EXPECT_NE(wrong("share: per-resource", "share: dominant").find("does not enter dominant shares"),
            std::string::npos);
}

ArmOutcome Outcome(const std::string& name, const sim::PlatformResult& result) {
  return {name, &result, 12, 50};
}

TEST(PlatformClaims, Expressions) {
  sim::PlatformResult a, b;
  a.utilization_pct = 20;
  b.utilization_pct = 64;
  sim::WorkloadResult row;
  row.name = "jobs";
  row.wait_seconds.p99 = 30;
  b.workloads.push_back(row);
  const std::vector<ArmOutcome> arms = {Outcome("all, whole", a), Outcome("all", b)};
  const auto judge = [&](const std::string& metric, const std::string& holds) {
    ClaimEntry claim;
    claim.metric = metric;
    claim.holds = holds;
    return Judge(claim, arms);
  };
  using Kind = ClaimVerdict::Kind;
  EXPECT_DOUBLE_EQ(judge("utilization[all] / utilization[all, whole]", ">= 3").value, 3.2);
  EXPECT_EQ(judge("utilization[all]", "60..70").kind, Kind::kHolds);
  EXPECT_EQ(judge("utilization[all]", "< 64").kind, Kind::kDoesNotHold);
  EXPECT_EQ(judge("utilization[all]", "<= 64").kind, Kind::kHolds);
  EXPECT_DOUBLE_EQ(judge("100 * (1 - 2 / (3 + 5)) - 5", "> 0").value, 70);
  EXPECT_DOUBLE_EQ(judge("wait_p99[all, jobs] + cards_needed[all]", "> 0").value, 42);
  EXPECT_EQ(judge("wait_p99[all, whole, jobs]", "> 0").kind, Kind::kNotMeasured);
  EXPECT_EQ(judge("1 / 0", "> 0").kind, Kind::kNotMeasured);
  EXPECT_EQ(judge("cost_month[all]", "> 0").kind, Kind::kNotMeasured);
}

TEST(PlatformClaims, BadOnesAreTold) {
  const auto document = config::ParseYaml("s.yaml", "claims: [{metric: m, holds: h}]");
  ASSERT_TRUE(document);
  const auto wrong = [&](const std::string& metric, const std::string& holds) {
    ClaimEntry claim;
    claim.metric = metric;
    claim.holds = holds;
    config::Errors errors;
    CheckClaim(*document, document->root["claims"][0], claim, {"x"}, &errors);
    return errors.ok() ? std::string() : errors.Joined().ToString();
  };
  EXPECT_EQ(wrong("utilization[x] * 2", "> 1"), "");
  EXPECT_NE(wrong("utilisation[x]", "> 1").find("did you mean \"utilization\"?"),
            std::string::npos);
  EXPECT_NE(wrong("utilization[y]", "> 1").find("unknown arm"), std::string::npos);
  EXPECT_NE(wrong("utilization", "> 1").find("[ARM]"), std::string::npos);
  EXPECT_NE(wrong("(utilization[x]", "> 1").find("lacks a \")\""), std::string::npos);
  EXPECT_NE(wrong("utilization[x", "> 1").find("lacks a \"]\""), std::string::npos);
  EXPECT_NE(wrong("utilization[x] 2", "> 1").find("operator"), std::string::npos);
  EXPECT_NE(wrong(std::string(100'000, '('), "> 1").find("deeply"), std::string::npos);
  EXPECT_NE(wrong("utilization[x]", "= 1").find("range"), std::string::npos);
  EXPECT_NE(wrong("utilization[x, jobs]", "> 1").find("as a whole"), std::string::npos);
}

// Both tables stand in docs/scenarios.md as they are generated.
TEST(PlatformFile, TheReferencePageIsUpToDate) {
  std::ifstream in(std::string(BASALT_SOURCE_DIR) + "/docs/scenarios.md");
  std::stringstream text;
  text << in.rdbuf();
  for (const std::string& part : {PlatformKeys(), MetricKeys()}) {
    EXPECT_NE(text.str().find(part), std::string::npos)
        << "docs/scenarios.md does not have the generated keys; put this there:\n"
        << part;
  }
}

}  // namespace
}  // namespace basalt::cli
