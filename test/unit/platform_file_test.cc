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

// The error of a file with a piece replaced; empty when it is read.
std::string Wrong(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  if (at == std::string::npos) return "the file does not have " + from;
  text.replace(at, from.size(), to);
  const auto file = ParsePlatformFile("s.yaml", text, AllPolicies());
  return file ? std::string() : file.error().ToString();
}
#define EXPECT_SAYS(text, part) \
  EXPECT_NE((text).find(part), std::string::npos) << "says: " << (text) << "\nnot: " << (part)

TEST(PlatformFile, NamesOfResourcesThatCountNothingAreTold) {
  const auto wrong = [](const std::string& amounts) {
    return Wrong(kQueues, "    slots: [{nodes: 4, cards: 8, model: A100}]", "    " + amounts);
  };
  EXPECT_EQ(wrong("guarantee: {cpu: 8, memory: 64GiB, gpu: 8, gpu/A100: 8, cards: 4, "
                  "gpu-memory/A100: 40GiB}"),
            "");
  EXPECT_EQ(wrong("capacity: {gpu/H20: 8, slices: 4}"), "");  // a model of the catalog, elsewhere
  const std::string card = wrong("capacity: {gpu: 1, cads: 4}");
  EXPECT_SAYS(card, "s.yaml:7:24: queue 'q': capacity: unknown resource \"cads\"");
  EXPECT_SAYS(card, "did you mean \"cards\"?");
  EXPECT_SAYS(wrong("guarantee: {gpu-a100x: 4}"), "did you mean \"gpu/A100\"?");
  EXPECT_SAYS(wrong("deserved: {gpu/a100: 4}"), "did you mean \"gpu/A100\"?");
  EXPECT_SAYS(wrong("deserved: {licences: 4}"), "known: cpu, memory, gpu, cards, slices");
  EXPECT_SAYS(wrong("deserved: {sku/thrid: 4}"), "unknown resource \"sku/thrid\"");
}

TEST(PlatformFile, PromisesBeyondTheLargestClusterAreTold) {
  const std::string slots = "    slots: [{nodes: 4, cards: 8, model: A100}]";
  // 4 nodes of 8 cards of 40 GiB.
  EXPECT_EQ(Wrong(kQueues, slots, "    guarantee: {gpu: 32, gpu-memory: 1280GiB}"), "");
  EXPECT_SAYS(
      Wrong(kQueues, slots, "    guarantee: {gpu: 20}\n  - {name: r, guarantee: {gpu: 13}}"),
      "s.yaml:7:17: guarantees of gpu add up to 33, and cluster \"a\", which has most, has "
      "32: lower them");
  EXPECT_SAYS(Wrong(kQueues, slots, "    guarantee: {gpu-memory: 1281GiB}"),
              "guarantees of gpu-memory add up to 1311744 MiB");
  EXPECT_SAYS(Wrong(kQueues, slots, "    guarantee: {gpu/H20: 1}"), "has 0: lower them");
  EXPECT_EQ(Wrong(kQueues, slots, "    guarantee: {slices: 1000}"), "");  // no hardware limits it
  EXPECT_SAYS(Wrong(kQueues, slots, "    slots: [{nodes: 5, cards: 8, model: A100}]"),
              "s.yaml:7:13: queue 'q': slots: 5 nodes of 8 A100 cards in all, and no cluster has "
              "more than 4");
  // A second cluster that is larger can keep it.
  EXPECT_EQ(
      Wrong(kQueues, "clusters: [",
            "clusters: [{name: b, groups: [{name: g, nodes: 9, cards: 8, model: A100, cpu: 8, "
            "memory: 64GiB}]}, "),
      "");
  // An arm may take away what a guarantee needs; the message names it.
  EXPECT_SAYS(
      Wrong(kQueues, "{name: as it is}", "{name: small, set: {clusters.a.groups.g.nodes: 1}}"),
      "arm \"small\": queue 'q': slots: 4 nodes");
}

TEST(PlatformFile, SharesThatContradictEachOtherAreTold) {
  EXPECT_SAYS(Wrong(kFile, "{1: 50%, 3: 50%}", "{1: 50%, 3: 40%}"),
              "the shares of gang_sizes add up to 90%; they must be 100% together");
  EXPECT_SAYS(Wrong(kFile, "{1: 50%, 3: 50%}", "{1: 50%, 3: 60%}"), "add up to 110%");
  EXPECT_EQ(Wrong(kFile, "{1: 50%, 3: 50%}", "{1: 33.3%, 2: 33.3%, 3: 33.4%}"), "");
  const std::string pools = Wrong(kFile, "arms:\n",
                                  "pools: {dynamic: true, min_shared: 60%, min_passthrough: 50%}\n"
                                  "arms:\n");
  EXPECT_SAYS(pools, "s.yaml:13:36: min_shared and min_passthrough are 110% of the cards together");
  EXPECT_EQ(Wrong(kFile, "arms:\n",
                  "pools: {dynamic: true, min_shared: 50%, min_passthrough: 50%}\narms:\n"),
            "");
}

TEST(PlatformFile, MoreArrivalsThanCanRunAreRefusedFirst) {
  // A day in one arm; the others set a rate of their own.
  const std::string many = Wrong(kFile, "jobs_per_hour: 1,", "jobs_per_hour: 1e6, steps_max: 4,");
  EXPECT_SAYS(many, "s.yaml:12:12: about ");
  EXPECT_SAYS(many, "at most 50000000 are run; \"jobs\" brings 60000000 of them in one arm");
  EXPECT_EQ(Wrong(kFile, "jobs_per_hour: 1,", "jobs_per_hour: 1e5,"), "");
  EXPECT_SAYS(Wrong(kFile, "arms:\n",
                    "sandboxes: [{name: people, tenant: t, users: 100000, offers: [{}], "
                    "burst: 1ms, think: 0}]\narms:\n"),
              "\"people\" brings");
}

TEST(PlatformFile, WhatCanRunNowhereIsAnError) {
  EXPECT_SAYS(Wrong(kFile, "offers: [{cards: 2}]", "offers: [{cards: 8}]"),
              "s.yaml:12:12: \"jobs\" can never run: offer 1: cluster a, one node of each group, "
              "empty: ");
  EXPECT_SAYS(Wrong(kFile, "offers: [{cards: 2}]", "offers: [{models: [H20]}]"), "can never run");
  EXPECT_SAYS(Wrong(kFile, "offers: [{cards: 2}]", "offers: [{cpu: 9}]"), "make an offer smaller");
  EXPECT_SAYS(
      Wrong(kFile, "offers: [{cards: 2}]", "offers: [{memory: 81GiB}, {cards: 5}]"),
      "offer 1: cluster a, one node of each group, empty: 1 node: no card whose model, UUID "
      "or slices the request may have; offer 2: cluster a");
  // A working set of 25 % of 40 GiB would not fit its slice.
  EXPECT_SAYS(Wrong(kFile, "replicas_max: 2,", "replicas_max: 2, working_set: 11GiB,"),
              "s.yaml:9:12: \"chat\" can never run: offer 1: its working set of 11264 MiB is more "
              "than the 10240 MiB that it has on A100");
  // Only cluster a has the memory.
  EXPECT_EQ(
      Wrong(kFile, "offers: [{cards: 2}]", "offers: [{memory: 20GiB}], places: [{cluster: a}]"),
      "");
  EXPECT_SAYS(
      Wrong(kFile, "offers: [{cards: 2}]", "offers: [{memory: 20GiB}], places: [{cluster: b}]"),
      "\"jobs\" can never run: offer 1: cluster b");
  // What asks for nothing need not fit.
  EXPECT_EQ(
      Wrong(kFile, "arms:\n", "vms: [{name: none, tenant: t, offers: [{cards: 8}]}]\narms:\n"), "");
  const std::string fixed = Wrong(kFile, "offers: [{cards: 2}]", "offers: [{passthrough: true}]");
  EXPECT_SAYS(fixed, "cluster a has no passthrough cards that would do, and its pools do not move");
}

TEST(PlatformFile, WhatCannotRunInSomeArmsIsAWarning) {
  const auto plain = ParsePlatformFile("s.yaml", kFile, AllPolicies());
  ASSERT_TRUE(plain) << plain.error().ToString();
  EXPECT_TRUE(plain->warnings.empty());
  // One of two alternatives, in all three arms.
  std::string two = kFile;
  const std::string one = "offers: [{cards: 2}]";
  two.replace(two.find(one), one.size(), "offers: [{cards: 8}, {cards: 2}]");
  const auto either = ParsePlatformFile("s.yaml", two, AllPolicies());
  ASSERT_TRUE(either) << either.error().ToString();
  ASSERT_EQ(either->warnings.size(), 1U);
  EXPECT_SAYS(either->warnings[0],
              "s.yaml:12:12: offer 1 of \"jobs\" can never be taken in arms \"x\", \"y\", \"y, "
              "inference 25%\": cluster a");
  // Pools that move in one arm only.
  std::string moving = kFile;
  for (const auto& [from, to] :
       {std::pair("offers: [{cards: 2}]", "offers: [{passthrough: true}]"),
        std::pair("- {name: x}", "- {name: x, set: {pools.dynamic: true}}")}) {
    moving.replace(moving.find(from), std::string(from).size(), to);
  }
  const auto file = ParsePlatformFile("s.yaml", moving, AllPolicies());
  ASSERT_TRUE(file) << file.error().ToString();
  ASSERT_EQ(file->warnings.size(), 1U);
  EXPECT_SAYS(file->warnings[0],
              "s.yaml:12:12: \"jobs\" can never run in arms \"y\", \"y, inference 25%\": offer 1: "
              "cluster a has no passthrough cards");
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
