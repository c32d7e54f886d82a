// The planner against closed forms, against sampling, and its monotonicity.
#include "sim/oversubscription.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "scheduler-core/base/rng.h"

namespace basalt::sim {
namespace {

ServiceDemand Flat(std::int64_t milli, std::int32_t load) {
  ServiceDemand s;
  s.name = "s";
  s.compute_milli = milli;
  s.curve.day.assign(24, load);
  return s;
}

// P(Bin(n, q) > k).
double BinomialAbove(int n, double q, int k) {
  double sum = 0;
  for (int i = k + 1; i <= n; ++i) {
    sum += std::exp(std::lgamma(n + 1) - std::lgamma(i + 1) - std::lgamma(n - i + 1) +
                    i * std::log(q) + (n - i) * std::log1p(-q));
  }
  return sum;
}

TEST(Oversubscription, IndependentOnOffIsTheBinomial) {
  for (const std::int32_t load : {50, 200, 400}) {
    for (const std::int32_t ppm : {100, 1000, 50'000}) {
      for (const int fit : {4, 10}) {  // services that a card takes at once
        ServiceDemand s = Flat(1000 / fit, load);
        s.on_off = true;
        OversubscriptionOptions options;
        options.risk_ppm = ppm;
        const auto plan = PlanOversubscription({s}, options);
        ASSERT_TRUE(plan.has_value());
        int n = fit;
        while (BinomialAbove(n + 1, load / 1000.0, fit) <= ppm / 1e6) ++n;
        EXPECT_EQ(plan->services, n) << load << " " << ppm << " " << fit;
        EXPECT_EQ(plan->compute_percent, n * (1000 / fit) * 100 / 1000);
        EXPECT_NEAR(plan->overload_minutes, BinomialAbove(n, load / 1000.0, fit) * 43'200, 1e-6);
        EXPECT_NEAR(plan->next_overload_minutes, BinomialAbove(n + 1, load / 1000.0, fit) * 43'200,
                    1e-6);
      }
    }
  }
}

TEST(Oversubscription, TogetherTheRatioIsOneOverThePeak) {
  for (const std::int32_t peak : {250, 500, 800, 1000}) {
    ServiceDemand s = Flat(10, 1000);
    s.curve = ShapeByName("business-day").value();
    s.peak_milli = peak;
    OversubscriptionOptions options;
    options.risk_ppm = 0;
    const auto plan = PlanOversubscription({s}, options);
    ASSERT_TRUE(plan.has_value());
    // Parts are rounded up to a thousandth of the card.
    const std::int64_t used = (10 * peak + 999) / 1000;
    EXPECT_EQ(plan->services, 1000 / used);
    EXPECT_EQ(plan->compute_percent, 1000 / used * 10 * 100 / 1000);
    EXPECT_EQ(plan->overload_minutes, 0);
    EXPECT_EQ(plan->weekday, 0);
    EXPECT_EQ(plan->minute, 11 * 60);  // where the shape peaks
  }
}

TEST(Oversubscription, ComonotoneOnOffOverloadsAsOftenAsOneIsOn) {
  ServiceDemand s = Flat(250, 10);
  s.on_off = true;
  OversubscriptionOptions options;
  options.correlation = 1000;
  options.risk_ppm = 9'000;  // less than the 1 % in which all are on
  EXPECT_EQ(PlanOversubscription({s}, options)->services, 4);
  options.correlation = 0;
  EXPECT_GT(PlanOversubscription({s}, options)->services, 10);
}

TEST(Oversubscription, MemoryThatIsHeldIsNotOversubscribed) {
  ServiceDemand s = Flat(0, 100);
  s.memory_mib = 2048;
  OversubscriptionOptions options;
  options.memory_mib = 16'384;
  options.risk_ppm = 1000;
  const auto held = PlanOversubscription({s}, options);
  EXPECT_EQ(held->memory_percent, 100);
  EXPECT_EQ(held->binding, Bottleneck::kMemory);
  s.memory_idle_milli = 0;  // all of it goes when idle
  EXPECT_GT(PlanOversubscription({s}, options)->memory_percent, 900);
  s.memory_idle_milli = 444;  // holds half of its peak at this load
  EXPECT_NEAR(static_cast<double>(PlanOversubscription({s}, options)->memory_percent), 200, 13);
}

std::vector<ServiceDemand> RandomMix(Rng* rng) {
  std::vector<ServiceDemand> mix;
  for (std::uint32_t i = 0; i < 1 + rng->Below(3); ++i) {
    ServiceDemand s = Flat(20 + rng->Below(300), 1000);
    s.curve = ShapeByName(DemandShapes()[rng->Below(4)]).value();
    s.curve.noise_sd = static_cast<std::int32_t>(rng->Below(200));
    s.on_off = rng->Below(2) == 0;
    s.peak_milli = static_cast<std::int32_t>(300 + rng->Below(700));
    s.copies = 1 + rng->Below(3);
    mix.push_back(s);
  }
  return mix;
}

TEST(Oversubscription, MonotoneInRiskAndInCorrelation) {
  constexpr std::uint64_t kSeed = 20261121;
  SCOPED_TRACE(kSeed);
  Rng rng(kSeed);
  const char* scale = std::getenv("BASALT_TEST_SCALE");
  const int rounds = 12 * (scale != nullptr ? std::max(1, std::atoi(scale)) : 1);
  for (int round = 0; round < rounds; ++round) {
    const auto mix = RandomMix(&rng);
    OversubscriptionOptions options;
    options.max_services = 60;
    options.correlation = static_cast<std::int32_t>(rng.Below(1001));
    std::int64_t last = 0;
    for (const std::int32_t ppm : {0, 10, 1000, 20'000, 200'000}) {
      options.risk_ppm = ppm;
      const auto plan = PlanOversubscription(mix, options);
      ASSERT_TRUE(plan.has_value());
      EXPECT_GE(plan->services, last) << "round " << round;
      EXPECT_LE(plan->overload_minutes, ppm / 1e6 * 43'200 + 1e-9);
      last = plan->services;
    }
    options.risk_ppm = 5000;
    last = options.max_services;
    for (const std::int32_t correlation : {0, 1, 100, 500, 1000}) {
      options.correlation = correlation;
      const auto plan = PlanOversubscription(mix, options);
      EXPECT_LE(plan->services, last) << "round " << round;
      last = plan->services;
    }
  }
}

TEST(Oversubscription, DaysThatLieTogetherAllowLess) {
  ServiceDemand s = Flat(100, 1000);
  s.curve = ShapeByName("business-day").value();
  s.curve.noise_sd = 50;
  OversubscriptionOptions options;
  options.compute_milli = 8000;
  std::int64_t last = 1'000'000;
  for (const char* phasing : {"staggered", "0.5", "all-by-day"}) {
    options.phasing = ParsePhasing(phasing).value();
    const auto plan = PlanOversubscription({s}, options);
    EXPECT_LE(plan->compute_percent, last) << phasing;
    last = plan->compute_percent;
  }
  EXPECT_GE(last, 100);
  EXPECT_LT(last, 125);  // all at their peak at once, but for the noise
  options.phasing = ParsePhasing("staggered").value();
  EXPECT_GT(PlanOversubscription({s}, options)->compute_percent, 150);
}

// The sum of what is admitted, drawn: the exact probability is within five standard errors.
TEST(Oversubscription, AgreesWithSampling) {
  constexpr std::uint64_t kSeed = 7;
  Rng rng(kSeed, 3);
  ServiceDemand a = Flat(150, 300);
  a.on_off = true;
  ServiceDemand b = Flat(200, 600);
  b.curve.noise_sd = 150;
  OversubscriptionOptions options;
  options.risk_ppm = 30'000;
  const auto plan = PlanOversubscription({a, b}, options);
  ASSERT_TRUE(plan.has_value());
  DemandSampler noise(b.curve, kSeed, 5);
  constexpr int kDraws = 400'000;
  int over = 0;
  for (int d = 0; d < kDraws; ++d) {
    double used = 0;
    for (std::int64_t n = 0; n <= plan->services; ++n) {  // with the one too many
      used += n % 2 == 0 ? (rng.Below(1000) < 300 ? 150 : 0) : 0.2 * noise.Next();
    }
    over += used > 1000 ? 1 : 0;
  }
  const double p = plan->next_overload_minutes / 43'200;
  const double sampled = static_cast<double>(over) / kDraws;
  // Parts are rounded up, so the plan is on the safe side, by little.
  EXPECT_GT(p, sampled - 5 * std::sqrt(p / kDraws));
  EXPECT_LT(p, sampled * 1.25 + 0.002);
}

TEST(Oversubscription, Refusals) {
  OversubscriptionOptions options;
  EXPECT_FALSE(PlanOversubscription({}, options));
  ServiceDemand s = Flat(100, 500);
  options.compute_milli = 0;
  EXPECT_FALSE(PlanOversubscription({s}, options));
  options.compute_milli = 1000;
  options.risk_ppm = -1;
  EXPECT_FALSE(PlanOversubscription({s}, options));
  options.risk_ppm = 0;
  ServiceDemand other = s;
  other.curve.day.assign(96, 500);
  EXPECT_FALSE(PlanOversubscription({s, other}, options));
  s.curve.day[3] = 1001;
  EXPECT_FALSE(PlanOversubscription({s}, options));
  s.curve.day[3] = 0;
  s.curve.day.assign(24, 0);  // never uses anything
  EXPECT_TRUE(PlanOversubscription({s}, options)->unlimited);
}

}  // namespace
}  // namespace basalt::sim
