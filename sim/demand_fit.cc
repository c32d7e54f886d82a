// Demand curves from measured use: least squares on the day's harmonics and the week's factors.
#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <numbers>

#include "scheduler-core/base/check.h"
#include "sim/demand.h"

namespace basalt::sim {
namespace {

constexpr int kRounds = 20;  // of curve and week in turns; the change is far below 1e-3 by then

std::int64_t Floor(std::int64_t a, std::int64_t b) { return a / b - (a % b < 0 ? 1 : 0); }

// 1, cos, sin, cos 2, sin 2, ... of the time of day in 0..1.
Eigen::RowVectorXd Basis(double day, int harmonics) {
  Eigen::RowVectorXd row(1 + 2 * harmonics);
  row(0) = 1;
  for (int k = 1; k <= harmonics; ++k) {
    const double angle = 2 * std::numbers::pi * k * day;
    row(2 * k - 1) = std::cos(angle);
    row(2 * k) = std::sin(angle);
  }
  return row;
}

// Samples as the fit wants them.
struct Points {
  Eigen::MatrixXd basis;
  Eigen::VectorXd value;
  std::vector<std::size_t> weekday;
  std::vector<std::int64_t> at_us;
};

struct Model {
  Eigen::VectorXd day;
  std::array<double, 7> week = {1, 1, 1, 1, 1, 1, 1};
};

void FitWeek(const Points& p, const Eigen::VectorXd& shape, Model* model) {
  std::array<double, 7> up{}, down{};
  std::array<bool, 7> seen{};
  for (std::size_t i = 0; i < p.weekday.size(); ++i) {
    const double s = std::max(shape(static_cast<Eigen::Index>(i)), 0.0);
    up[p.weekday[i]] += s * p.value(static_cast<Eigen::Index>(i));
    down[p.weekday[i]] += s * s;
    seen[p.weekday[i]] = true;
  }
  double sum = 0;
  int known = 0;
  for (std::size_t d = 0; d < 7; ++d) {
    if (!seen[d] || down[d] <= 0) continue;
    model->week[d] = std::max(up[d] / down[d], 0.0);
    sum += model->week[d];
    ++known;
  }
  for (std::size_t d = 0; d < 7; ++d) {
    if (!seen[d] || down[d] <= 0) model->week[d] = known > 0 ? sum / known : 1;
  }
  // Only the product counts: the largest factor is 1.
  const double top = *std::ranges::max_element(model->week);
  if (top <= 0) return model->week.fill(1);
  for (double& w : model->week) w /= top;
}

Model Fit(const Points& p, bool weekly) {
  Model model;
  for (int round = 0; round < (weekly ? kRounds : 1); ++round) {
    Eigen::MatrixXd weighted = p.basis;
    for (std::size_t i = 0; i < p.weekday.size(); ++i) {
      weighted.row(static_cast<Eigen::Index>(i)) *= model.week[p.weekday[i]];
    }
    model.day = weighted.colPivHouseholderQr().solve(p.value);
    if (weekly) FitWeek(p, p.basis * model.day, &model);
  }
  return model;
}

// Correlation of residuals that are one slot apart, give or take a quarter of one.
double Autocorrelation(const Points& p, const Eigen::VectorXd& residual, std::int64_t slot_us) {
  std::vector<std::pair<std::int64_t, double>> by_time;
  for (std::size_t i = 0; i < p.at_us.size(); ++i) {
    by_time.emplace_back(p.at_us[i], residual(static_cast<Eigen::Index>(i)));
  }
  std::ranges::sort(by_time);
  double cross = 0, square = 0;
  std::size_t behind = 0, pairs = 0;
  for (const auto& [at, value] : by_time) {
    while (by_time[behind].first < at - slot_us - slot_us / 4) ++behind;
    if (by_time[behind].first > at - slot_us + slot_us / 4) continue;
    const double earlier = by_time[behind].second;
    cross += value * earlier;
    square += (value * value + earlier * earlier) / 2;
    ++pairs;
  }
  return pairs < 2 || square <= 0 ? 0 : cross / square;
}

}  // namespace

Result<DemandFit> FitDemand(std::span<const DemandSample> samples, const FitOptions& options) {
  BASALT_CHECK(options.harmonics >= 0 && options.harmonics <= 11);
  BASALT_CHECK(options.slots == 24 || options.slots == 96);
  DemandFit out;
  out.samples = samples.size();
  Points p;
  p.basis.resize(static_cast<Eigen::Index>(samples.size()), 1 + 2 * options.harmonics);
  p.value.resize(static_cast<Eigen::Index>(samples.size()));
  std::array<bool, 24> hours{};
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const auto row = static_cast<Eigen::Index>(i);
    const std::int64_t on = Floor(samples[i].at.us, kDayUs);
    const std::int64_t of_day = samples[i].at.us - on * kDayUs;
    p.basis.row(row) =
        Basis(static_cast<double>(of_day) / static_cast<double>(kDayUs), options.harmonics);
    p.value(row) = static_cast<double>(samples[i].value);
    p.weekday.push_back(static_cast<std::size_t>(on - Floor(on, 7) * 7));
    p.at_us.push_back(samples[i].at.us);
    hours[static_cast<std::size_t>(of_day / (kDayUs / 24))] = true;
    out.measured_peak = std::max(out.measured_peak, samples[i].value);
  }
  const auto seen = static_cast<std::int32_t>(std::ranges::count(hours, true));
  if (samples.size() < 20 || seen < 2 * options.harmonics + 1) {
    return Fail("samples", std::to_string(samples.size()) + " in " + std::to_string(seen) +
                               " hours of the day; a curve needs 20 in at least " +
                               std::to_string(2 * options.harmonics + 1) + " of them");
  }
  const Model model = Fit(p, options.weekly);

  // The middle of each part of the day stands for it.
  std::vector<double> day;
  for (std::int32_t s = 0; s < options.slots; ++s) {
    day.push_back(
        std::max((Basis((s + 0.5) / options.slots, options.harmonics) * model.day)(0), 0.0));
  }
  const double peak = *std::ranges::max_element(day);
  out.peak = std::llround(peak);
  const auto milli = [](double part) {
    return static_cast<std::int32_t>(std::lround(std::clamp(part, 0.0, 1.0) * 1000));
  };
  for (const double value : day) out.curve.day.push_back(peak > 0 ? milli(value / peak) : 0);
  for (std::size_t d = 0; d < 7; ++d) out.curve.week[d] = milli(model.week[d]);

  Eigen::VectorXd fitted = (p.basis * model.day).cwiseMax(0.0);
  for (std::size_t i = 0; i < p.weekday.size(); ++i) {
    fitted(static_cast<Eigen::Index>(i)) *= model.week[p.weekday[i]];
  }
  const Eigen::VectorXd residual = p.value - fitted;
  const auto n = static_cast<double>(samples.size());
  const double sd = std::sqrt(residual.squaredNorm() / n);
  const double total = (p.value.array() - p.value.mean()).matrix().squaredNorm();
  out.residual_sd = std::llround(sd);
  out.explained_milli = total > 0 ? milli(1 - residual.squaredNorm() / total) : 1000;
  if (peak > 0) {
    out.curve.noise_sd = milli(sd / peak);
    out.curve.noise_rho =
        std::min(milli(Autocorrelation(p, residual, out.curve.SlotUs())), std::int32_t{999});
  }
  return out;
}

std::vector<std::vector<double>> CorrelationMatrix(
    const std::vector<std::vector<std::int64_t>>& services) {
  const auto n = static_cast<Eigen::Index>(services.size());
  const auto m = static_cast<Eigen::Index>(services.empty() ? 0 : services[0].size());
  Eigen::MatrixXd x(n, m);
  for (Eigen::Index i = 0; i < n; ++i) {
    const auto& row = services[static_cast<std::size_t>(i)];
    BASALT_CHECK(static_cast<Eigen::Index>(row.size()) == m);
    for (Eigen::Index j = 0; j < m; ++j) {
      x(i, j) = static_cast<double>(row[static_cast<std::size_t>(j)]);
    }
  }
  if (m > 0) x.colwise() -= x.rowwise().mean().eval();
  const Eigen::MatrixXd cov = x * x.transpose();
  std::vector<std::vector<double>> out(services.size(), std::vector<double>(services.size()));
  for (Eigen::Index i = 0; i < n; ++i) {
    for (Eigen::Index j = 0; j < n; ++j) {
      const double scale = std::sqrt(cov(i, i) * cov(j, j));
      const double r = scale > 0 ? cov(i, j) / scale : 0;
      out[static_cast<std::size_t>(i)][static_cast<std::size_t>(j)] =
          i == j ? 1 : std::clamp(r, -1.0, 1.0);
    }
  }
  return out;
}

}  // namespace basalt::sim
