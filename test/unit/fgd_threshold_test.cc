// fgd decides by thresholds where the authors compute int(100 * sigmoid(d / 1000)). The thresholds
// are private to the policy, so its file is part of this test.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>

#include "policies/fgd.cc"  // NOLINT(bugprone-suspicious-include)

namespace basalt::policies {
namespace {

long double Sigmoid100(long double d) { return 100.0L / (1.0L + std::exp(-d / 1000.0L)); }

TEST(FgdThresholds, EqualTheTruncatedSigmoidOnAFineGrid) {
  std::int64_t compared = 0;
  for (std::int64_t step = -900'000; step <= 900'000; ++step) {
    const long double d = static_cast<long double>(step) / 100.0L;  // -9000 .. 9000 by 0.01 milli
    const long double exact = Sigmoid100(d);
    // On an integer the published doubles decide, not the real number (see the next test).
    if (std::fabs(exact - std::round(exact)) < 1e-12L) continue;
    ASSERT_EQ(ScoreOfDouble(static_cast<double>(d)), static_cast<Score>(exact)) << step;
    ++compared;
  }
  EXPECT_EQ(compared, 1'800'000);  // all but d = 0
}

// Just below and above each threshold, nearer than any two sums of the engine can lie.
TEST(FgdThresholds, AreSharp) {
  for (int k = 1; k < 100; ++k) {
    if (k == 50) continue;
    const double edge = ScoreThresholds().at[static_cast<std::size_t>(k)];
    const double tiny = 1e-9;
    EXPECT_EQ(ScoreOfDouble(edge + tiny), k);
    EXPECT_EQ(ScoreOfDouble(edge - tiny), k - 1);
  }
}

// Around 0 the authors' double arithmetic gives 50 a little below 0; the rounding is part of the
// published policy.
TEST(FgdThresholds, AroundZeroFollowThePublishedDoubles) {
  const auto published = [](double d) {
    return static_cast<Score>(100.0 * (1.0 / (1.0 + std::exp(-d / 1000.0))));
  };
  for (const double d : {0.0, 1e-13, -1e-13, -2e-13, -3e-13, -4e-13, -5e-13, -1e-12, 1e-12, -1e-9,
                         1e-9, -0.25, 0.25}) {
    EXPECT_EQ(ScoreOfDouble(d), published(d)) << d;
  }
}

TEST(FgdThresholds, FarDifferencesStayInRange) {
  EXPECT_EQ(ScoreOfDouble(-1e6), 0);
  EXPECT_EQ(ScoreOfDouble(1e6), 99);
  EXPECT_EQ(ScoreOfDouble(8000), 99);
  EXPECT_EQ(ScoreOfDouble(-8000), 0);
}

}  // namespace
}  // namespace basalt::policies
