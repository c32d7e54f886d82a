// Demand curves: shapes, phases, noise, fits from measured use, correlation.
#include "sim/demand.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace basalt::sim {
namespace {

DemandCurve Shape(std::string_view name, std::int32_t slots = 24) {
  return ShapeByName(name, slots).value();
}

TEST(DemandCurve, ShapesPeakWhenTheyShould) {
  const auto peak_hour = [](std::string_view name) {
    const DemandCurve c = Shape(name);
    return std::ranges::max_element(c.day) - c.day.begin();
  };
  EXPECT_EQ(peak_hour("business-day"), 11);
  EXPECT_EQ(peak_hour("evening-peak"), 20);
  EXPECT_LE(peak_hour("night-batch"), 4);
  for (const std::string_view name : DemandShapes()) {
    for (const std::int32_t slots : {24, 96}) {
      const DemandCurve c = Shape(name, slots);
      EXPECT_TRUE(ValidateDemand(c, "c").has_value());
      EXPECT_EQ(*std::ranges::max_element(c.day), 1000) << name;
    }
  }
  EXPECT_NE(ShapeByName("busines-day").error().message.find("business-day"), std::string::npos);
}

TEST(DemandCurve, WeekAndTime) {
  const DemandCurve c = Shape("business-day");
  EXPECT_EQ(c.AtSlot(11), 1000);
  EXPECT_EQ(c.AtSlot(5 * 24 + 11), 250);  // Saturday
  EXPECT_EQ(c.AtSlot(7 * 24 + 11), 1000);
  EXPECT_EQ(c.AtSlot(-24 + 11), 200);  // the Sunday before
  EXPECT_EQ(c.At(SimTime{11 * kDayUs / 24 + 1}), 1000);
  EXPECT_EQ(c.At(SimTime{-1}), c.AtSlot(-1));
}

TEST(DemandCurve, ShiftMovesTheDay) {
  const DemandCurve c = Shape("evening-peak");
  EXPECT_EQ(Shift(c, 0), c);
  EXPECT_EQ(Shift(c, 1000), c);
  const DemandCurve later = Shift(c, 250);  // 6 hours
  for (int h = 0; h < 24; ++h) {
    EXPECT_EQ(later.day[static_cast<std::size_t>((h + 6) % 24)],
              c.day[static_cast<std::size_t>(h)]);
  }
}

// The peak of the sum of a set, in per mille of the sum of the peaks.
std::int64_t PeakOfSum(const std::vector<DemandCurve>& set) {
  std::int64_t peak = 0;
  for (std::int64_t slot = 0; slot < 7 * 24; ++slot) {
    std::int64_t sum = 0;
    for (const DemandCurve& c : set) sum += c.AtSlot(slot);
    peak = std::max(peak, sum);
  }
  return peak / static_cast<std::int64_t>(set.size());
}

TEST(DemandSet, TheKnobGoesFromStaggeredToAllByDay) {
  DemandSetOptions options;
  options.services = 12;
  options.shapes = {Shape("business-day")};
  std::int64_t last = 0;
  for (const char* phasing : {"staggered", "0.25", "0.5", "0.75", "all-by-day"}) {
    options.phasing = ParsePhasing(phasing).value();
    const std::int64_t peak = PeakOfSum(MakeDemandSet(options));
    EXPECT_GE(peak, last) << phasing;
    last = peak;
  }
  EXPECT_EQ(last, 1000);
  options.phasing = ParsePhasing("staggered").value();
  // Twelve curves two hours apart add up to nearly their mean at every hour.
  const auto& day = options.shapes[0].day;
  const std::int64_t mean = std::accumulate(day.begin(), day.end(), 0) / 24;
  EXPECT_NEAR(static_cast<double>(PeakOfSum(MakeDemandSet(options))), static_cast<double>(mean),
              25);
  options.phasing = ParsePhasing("independent").value();
  EXPECT_EQ(MakeDemandSet(options), MakeDemandSet(options));
  const auto first = MakeDemandSet(options);
  options.seed = 43;
  EXPECT_NE(MakeDemandSet(options), first);
  for (const char* bad : {"", "both", "1.5", "-1", "nan"}) EXPECT_FALSE(ParsePhasing(bad)) << bad;
}

TEST(DemandSet, AnUnknownNumberIsSpreadEvenlyInEveryPrefix) {
  const Phasing staggered = ParsePhasing("staggered").value();
  std::vector<std::int32_t> seen;
  for (std::int64_t i = 0; i < 64; ++i) {
    seen.push_back(PhaseOf(staggered, i, 0, 42));
    std::vector<std::int32_t> sorted = seen;
    std::ranges::sort(sorted);
    for (std::size_t k = 1; k < sorted.size(); ++k) {
      EXPECT_LE(sorted[k] - sorted[k - 1], 2 * 1000 / static_cast<int>(seen.size()) + 2);
    }
  }
}

TEST(DemandSampler, MeanSdAndAutocorrelation) {
  DemandCurve c = Shape("flat");
  c.day.assign(24, 500);
  c.noise_sd = 80;
  c.noise_rho = 700;
  DemandSampler sampler(c, 42, 1), again(c, 42, 1);
  constexpr int kCount = 100'000;
  std::vector<double> x;
  for (int i = 0; i < kCount; ++i) {
    x.push_back(sampler.Next());
    ASSERT_EQ(again.Next(), static_cast<std::int32_t>(x.back()));
  }
  const double mean = std::accumulate(x.begin(), x.end(), 0.0) / kCount;
  double var = 0, cross = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    var += (x[i] - mean) * (x[i] - mean);
    if (i > 0) cross += (x[i] - mean) * (x[i - 1] - mean);
  }
  EXPECT_NEAR(mean, 500, 3);
  EXPECT_NEAR(std::sqrt(var / kCount), 80, 2);
  EXPECT_NEAR(cross / var, 0.7, 0.02);
}

// Four weeks of quarter hours from a known curve and noise: the fit finds both again.
TEST(FitDemand, FindsAKnownCurve) {
  DemandCurve truth;
  truth.week = {1000, 1000, 900, 1000, 1000, 400, 300};
  for (int s = 0; s < 96; ++s) {
    const double day = (s + 0.5) / 96 * 2 * M_PI;
    truth.day.push_back(static_cast<std::int32_t>(
        std::lround(550 + 350 * std::cos(day - 3) + 80 * std::sin(2 * day))));
  }
  const std::int32_t top = *std::ranges::max_element(truth.day);
  truth.noise_sd = 30;
  truth.noise_rho = 500;
  DemandSampler sampler(truth, 7, 0);
  std::vector<DemandSample> samples;
  for (std::int64_t s = 0; s < 28 * 96; ++s) {
    samples.push_back({SimTime{s * kDayUs / 96 + kDayUs / 192}, sampler.Next() * 1000});
  }
  const auto fit = FitDemand(samples, {.harmonics = 2, .slots = 96});
  ASSERT_TRUE(fit.has_value()) << fit.error().ToString();
  EXPECT_NEAR(static_cast<double>(fit->peak), top * 1000.0, 12'000);
  for (std::size_t s = 0; s < 96; ++s) {
    EXPECT_NEAR(fit->curve.day[s], truth.day[s] * 1000 / top, 15) << s;
  }
  for (std::size_t d = 0; d < 7; ++d) EXPECT_NEAR(fit->curve.week[d], truth.week[d], 20) << d;
  EXPECT_NEAR(fit->curve.noise_sd, 30 * 1000 / top, 5);
  EXPECT_NEAR(fit->curve.noise_rho, 500, 60);
  EXPECT_GT(fit->explained_milli, 950);
  std::ranges::reverse(samples);  // their order does not matter
  EXPECT_EQ(FitDemand(samples, {.harmonics = 2, .slots = 96})->curve, fit->curve);
}

TEST(FitDemand, CutsNegativeLoadsAndRefusesTooLittle) {
  std::vector<DemandSample> samples;
  for (std::int64_t h = 0; h < 14 * 24; ++h) {
    samples.push_back({SimTime{h * kDayUs / 24}, h % 24 == 12 ? 1000 : 0});
  }
  const auto fit = FitDemand(samples, {});
  ASSERT_TRUE(fit.has_value());
  EXPECT_EQ(*std::ranges::min_element(fit->curve.day), 0);
  EXPECT_EQ(fit->measured_peak, 1000);
  samples.resize(19);
  EXPECT_FALSE(FitDemand(samples, {}));
  samples.assign(100, {SimTime{0}, 5});  // one hour of the day
  EXPECT_FALSE(FitDemand(samples, {}));
  for (std::int64_t h = 0; h < 48; ++h) samples.push_back({SimTime{h * kDayUs / 24}, 0});
  for (DemandSample& s : samples) s.value = 0;
  EXPECT_EQ(FitDemand(samples, {})->peak, 0);  // never used: no division
}

TEST(CorrelationMatrix, KnownCases) {
  const auto r =
      CorrelationMatrix({{1, 2, 3, 4}, {2, 4, 6, 8}, {4, 3, 2, 1}, {5, 5, 5, 5}, {1, -1, -1, 1}});
  EXPECT_NEAR(r[0][1], 1, 1e-12);
  EXPECT_NEAR(r[0][2], -1, 1e-12);
  EXPECT_EQ(r[0][3], 0);
  EXPECT_NEAR(r[0][4], 0, 1e-12);
  EXPECT_EQ(r[3][3], 1);
  EXPECT_EQ(r[2][1], r[1][2]);
}

}  // namespace
}  // namespace basalt::sim
