// What must hold for every run: nothing is served that was not there, waiting and arrivals agree,
// sums add up, the same seed gives the same run, arms meet the same demand, and results move when
// an assumption moves.
#include <cmath>

#include "test/unit/platform_test_util.h"

namespace basalt::sim {
namespace {

// A platform with everything on it: 12 nodes of 4 cards with memory handed out 1.5 times.
PlatformSpec Everything(std::uint64_t seed) {
  NodeGroupSpec group = Nodes("g", 12, 4, 24'576);
  group.memory_ratio_percent = 150;
  group.compute_ratio_percent = 150;
  group.mtbf_us = 2000 * kHourUs;
  group.repair = {DurationSpec::Kind::kExponential, 4 * kHourUs};
  group.price.card_hour = 1;
  PlatformSpec spec = Platform(group, 24 * 10);
  spec.seed = seed;
  spec.warmup_us = 24 * kHourUs;
  ClusterSpec cloud;
  cloud.name = "cloud";
  cloud.is_private = false;
  cloud.groups = {Nodes("rent", 2, 8, 49'152)};
  cloud.groups[0].model = "BIG";
  cloud.groups[0].price = {Billing::kOnDemand, 3, 0, 1, true};
  spec.clusters.push_back(cloud);
  TenantSpec second;
  second.name = "u";
  second.department = "d";
  spec.tenants.push_back(second);
  SkuSpec sku;
  sku.name = "small";
  sku.request = Part(250, 6144);
  sku.request.service_class = ServiceClass::kBurstable;
  sku.price_hour = 0.5;
  spec.skus = {sku};
  for (int i = 0; i < 6; ++i) {
    ServiceSpec s = Service("s" + std::to_string(i), Part(400, 8192), {});
    for (int h = 0; h < 24; ++h) {
      s.demand_milli.push_back(500 + static_cast<int>(450 * std::sin((h + 3 * i) * 0.2618)));
    }
    s.high = true;
    s.priority = 10;
    s.replicas_min = 1;
    s.replicas_max = 8;
    spec.services.push_back(s);
  }
  spec.demand_step_us = kHourUs;
  auto box = Work<SandboxSpec>("box", Part(250, 6144));
  box.offers[0].sku = "small";
  box.tenant = "u";
  box.users = 60;
  box.image_mib = 20'480;
  spec.sandboxes = {box};
  TrainingSpec t = Training("train", Part(1000), 1.5, 3 * kHourUs);
  t.duration.kind = DurationSpec::Kind::kExponential;
  t.gang_sizes = {{1, 0.6}, {4, 0.3}, {8, 0.1}};
  t.checkpoint_us = kHourUs;
  t.places = {{"c", 0}, {"cloud", kHourUs}};
  spec.training = {t};
  spec.reclaim.idle_after_us = 6 * kHourUs;
  spec.runtime.kappa = 0.03;
  spec.runtime.commit_us = kMinuteUs;
  spec.runtime.restart_us = kMinuteUs;
  spec.runtime.ladder.steps = {{LadderAction::kBlocked, 0},
                               {LadderAction::kOffloaded, 4 * kHourUs}};
  return spec;
}

class PlatformLaws : public testing::TestWithParam<std::uint64_t> {};

TEST_P(PlatformLaws, Conservation) {
  const PlatformSpec spec = Everything(GetParam());
  const PlatformResult r = RunOk(spec);
  ASSERT_GT(r.served_gpu_hours, 100);
  EXPECT_LE(r.served_gpu_hours, r.allocated_gpu_hours);
  EXPECT_LE(r.served_gpu_hours, r.capacity_gpu_hours);
  EXPECT_GT(r.utilization_pct, 0);
  EXPECT_LT(r.utilization_pct, 100);
  // Every card by itself: never more than itself.
  double allocated = 0, served = 0;
  for (const CardUsage& card : r.cards_used) {
    EXPECT_LE(card.served_gpu_hours, r.measured_hours * (1 + 1e-9)) << card.node << card.card;
    EXPECT_LE(card.served_gpu_hours, card.allocated_gpu_hours * (1 + 1e-9));
    allocated += card.allocated_gpu_hours;
    served += card.served_gpu_hours;
  }
  EXPECT_NEAR(allocated, r.allocated_gpu_hours, 1e-6 * allocated);
  EXPECT_NEAR(served, r.served_gpu_hours + r.lost_gpu_hours, 1e-6 * served);
  // By tenant, department, class, workload, model, cluster: the same totals.
  const auto check = [&](const auto& rows, const char* what) {
    double a = 0, s = 0;
    for (const auto& row : rows) {
      a += row.allocated_gpu_hours;
      s += row.served_gpu_hours;
    }
    EXPECT_NEAR(a, r.allocated_gpu_hours, 1e-6 * a) << what;
    EXPECT_NEAR(s, r.served_gpu_hours, 1e-6 * s) << what;
  };
  check(r.tenants, "tenants");
  check(r.departments, "departments");
  check(r.classes, "classes");
  check(r.workloads, "workloads");
  check(r.models, "models");
  check(r.clusters, "clusters");
  // The series' means, over its steps.
  double series_served = 0, series_cost = 0;
  for (std::size_t i = 0; i < r.series.hours.size(); ++i) {
    series_served += r.series.served_cards[i];
    series_cost += r.series.cost_per_hour[i];
    EXPECT_LE(r.series.served_cards[i], r.series.capacity_cards[i] + 1e-9);
  }
  EXPECT_NEAR(series_served, r.served_gpu_hours + r.lost_gpu_hours, 1e-6 * served);
  EXPECT_NEAR(series_cost, r.cost, 1e-6 * r.cost);
  // Charged by the hour held.
  EXPECT_NEAR(r.skus[0].charged, r.skus[0].allocated_gpu_hours / 0.25 * 0.5, 1e-6);
}

TEST_P(PlatformLaws, LittlesLaw) {
  const PlatformResult r = RunOk(Everything(GetParam()));
  ASSERT_GT(r.waited_hours, 0);
  // Time-averaged number that waits x time = waits added up.
  EXPECT_NEAR(r.mean_waiting * r.measured_hours, r.waited_hours, 1e-6 * r.waited_hours);
}

TEST_P(PlatformLaws, SameSeedSameRun) {
  const PlatformSpec spec = Everything(GetParam());
  const PlatformResult a = RunOk(spec), b = RunOk(spec);
  EXPECT_EQ(a.decision_digest, b.decision_digest);
  EXPECT_EQ(a.events, b.events);
  EXPECT_EQ(a.served_gpu_hours, b.served_gpu_hours);  // bit for bit
  EXPECT_EQ(a.cost, b.cost);
  PlatformSpec other = spec;
  other.seed += 1;
  const PlatformResult c = RunOk(other);
  EXPECT_NE(a.decision_digest, c.decision_digest);
  EXPECT_NE(a.demand_digest, c.demand_digest);
}

TEST_P(PlatformLaws, ArmsMeetTheSameDemand) {
  const PlatformSpec spec = Everything(GetParam());
  const PlatformResult base = RunOk(spec);
  std::vector<PlatformSpec> arms(5, spec);
  arms[0].scheduling.policy = "spread";
  arms[1].clusters[0].groups[0].count = 6;
  arms[2].runtime.ladder.steps = {{LadderAction::kEvicted, 0}};
  arms[3].reclaim.idle_after_us = 0;
  arms[4].skus[0].request = Part(1000);
  arms[4].clusters[0].groups[0].mtbf_us = 0;
  for (const PlatformSpec& arm : arms) {
    const PlatformResult r = RunOk(arm);
    EXPECT_EQ(r.demand_digest, base.demand_digest);
    EXPECT_NE(r.decision_digest, base.decision_digest) << "arm " << &arm - arms.data();
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, PlatformLaws, testing::Values(1, 2, 3));

TEST(PlatformSensitivity, ResultsMoveWhenAnAssumptionMoves) {
  PlatformSpec spec = Everything(7);
  for (ServiceSpec& s : spec.services) {  // all peak together
    s.demand_milli = spec.services[0].demand_milli;
  }
  const PlatformResult base = RunOk(spec);
  // Interference: slower.
  PlatformSpec arm = spec;
  arm.runtime.kappa = 0.3;
  EXPECT_GT(Of(RunOk(arm), "box").slowdown.mean, Of(base, "box").slowdown.mean * 1.02);
  // Services that peak apart: fewer overload minutes of the cards.
  arm = spec;
  for (int i = 0; i < 6; ++i) {
    std::rotate(arm.services[static_cast<std::size_t>(i)].demand_milli.begin(),
                arm.services[static_cast<std::size_t>(i)].demand_milli.begin() + 4 * i,
                arm.services[static_cast<std::size_t>(i)].demand_milli.end());
  }
  EXPECT_LT(RunOk(arm).card_overload_compute_minutes, base.card_overload_compute_minutes);
  // Dearer clouds cost more, and change nothing else.
  arm = spec;
  arm.clusters[1].groups[0].price.card_hour = 30;
  const PlatformResult dear = RunOk(arm);
  EXPECT_GT(dear.cost, base.cost);
  EXPECT_EQ(dear.decision_digest, base.decision_digest);
  // Longer restarts: who comes back waits longer. A longer idle time before reclaim: more is held.
  PlatformSpec plain = spec;
  plain.runtime.ladder.steps = {{LadderAction::kBlocked, 0}};
  const PlatformResult blocked = RunOk(plain);
  const auto wait = [](const PlatformResult& r) {
    return Of(r, "box").return_wait_minutes / static_cast<double>(Of(r, "box").returns);
  };
  arm = plain;
  arm.runtime.restart_us = kHourUs;
  EXPECT_GT(wait(RunOk(arm)), wait(blocked) + 30);
  arm = plain;
  arm.reclaim.idle_after_us = 12 * kHourUs;
  const PlatformResult later = RunOk(arm);
  EXPECT_LT(Of(later, "box").reclaimed, Of(blocked, "box").reclaimed);
  EXPECT_LT(Of(later, "box").reclaimed_gpu_hours, Of(blocked, "box").reclaimed_gpu_hours);
}

TEST(PlatformScale, FewestCardsForTheSameService) {
  // Baseline: each of eight services has a whole card of which it uses a quarter.
  PlatformSpec spec = Platform(Nodes("g", 8, 1), 48);
  for (int i = 0; i < 8; ++i) {
    ServiceSpec s = Service("s" + std::to_string(i), Part(1000), {1000});
    s.use_milli = 250;
    spec.services.push_back(s);
  }
  const PlatformResult baseline = RunOk(spec);
  EXPECT_DOUBLE_EQ(baseline.utilization_pct, 25);
  PlatformSpec sliced = spec;
  for (ServiceSpec& s : sliced.services) s.offers[0] = Offer(Part(250));
  const auto search = MinimalScale(sliced, baseline, support::Builtins());
  ASSERT_TRUE(search.has_value()) << search.error().ToString();
  EXPECT_TRUE(search->found);
  EXPECT_EQ(search->cards_before, 8);
  EXPECT_EQ(search->cards, 2);
  EXPECT_DOUBLE_EQ(search->result.utilization_pct, 100);
  EXPECT_TRUE(CompareService(search->result, baseline).equal);
  bool one_card_failed = false;
  for (const ScaleSearch::Tried& t : search->tried) {
    if (t.cards == 1) one_card_failed = !t.equal && t.reason == "service: less work completed";
  }
  EXPECT_TRUE(one_card_failed);
  // Whole cards cannot be fewer.
  EXPECT_EQ(MinimalScale(spec, baseline, support::Builtins())->cards, 8);
  // Three at most a card (slots): three cards.
  sliced.clusters[0].groups[0].slots = 3;
  EXPECT_EQ(MinimalScale(sliced, baseline, support::Builtins())->cards, 3);
}

}  // namespace
}  // namespace basalt::sim
