#include "sim/platform/ledger.h"

#include <algorithm>
#include <cmath>

namespace basalt::sim::platform {
namespace {

constexpr double kBinLog = 0.004987541511039073;  // log(1.005)
constexpr std::size_t kBins = 2800;               // up to 1.16 million

std::size_t BinOf(double slowdown) {
  if (slowdown <= 1) return 0;
  // Rounded to nearest, so that 1.05 is not counted as more than 1.05.
  const auto bin = static_cast<std::size_t>(std::lround(std::log(slowdown) / kBinLog));
  return std::min(bin, kBins - 1);
}
double ValueOf(std::size_t bin) { return std::exp(kBinLog * static_cast<double>(bin)); }

}  // namespace

void SlowdownBook::Add(double slowdown, double weight) {
  if (weight <= 0) return;
  if (bins_.empty()) bins_.resize(kBins);
  slowdown = std::max(slowdown, 1.0);
  bins_[BinOf(slowdown)] += weight;
  weight_ += weight;
  sum_ += weight * slowdown;
  max_ = std::max(max_, slowdown);
  ++count_;
}

void SlowdownBook::Merge(const SlowdownBook& other) {
  if (other.bins_.empty()) return;
  if (bins_.empty()) bins_.resize(kBins);
  for (std::size_t b = 0; b < kBins; ++b) bins_[b] += other.bins_[b];
  weight_ += other.weight_;
  sum_ += other.sum_;
  max_ = std::max(max_, other.max_);
  count_ += other.count_;
}

Percentiles SlowdownBook::Summary() const {
  Percentiles p;
  p.count = count_;
  if (weight_ <= 0) return p;
  const auto at = [&](double share) {
    double left = share * weight_;
    for (std::size_t b = 0; b < kBins; ++b) {
      left -= bins_[b];
      if (left <= 1e-12 * weight_) return std::min(ValueOf(b), max_);
    }
    return max_;
  };
  p.mean = sum_ / weight_;
  p.p50 = at(0.5);
  p.p90 = at(0.9);
  p.p99 = at(0.99);
  p.max = max_;
  return p;
}

double SlowdownBook::ShareAbove(double limit) const {
  if (weight_ <= 0) return kNotMeasured;
  double above = 0;
  for (std::size_t b = BinOf(limit) + 1; b < kBins; ++b) above += bins_[b];
  return 100 * above / weight_;
}

Percentiles Summarize(std::vector<double> values) {
  Percentiles p;
  p.count = static_cast<std::int64_t>(values.size());
  if (values.empty()) return p;
  std::sort(values.begin(), values.end());
  double sum = 0;
  for (const double v : values) sum += v;
  const auto at = [&](double share) {
    return values[static_cast<std::size_t>(share * static_cast<double>(values.size() - 1))];
  };
  p.mean = sum / static_cast<double>(values.size());
  p.p50 = at(0.5);
  p.p90 = at(0.9);
  p.p99 = at(0.99);
  p.max = values.back();
  return p;
}

void WorkAccount::Merge(const WorkAccount& o) {
  submitted += o.submitted;
  started += o.started;
  completed += o.completed;
  infeasible += o.infeasible;
  abandoned += o.abandoned;
  completed_work += o.completed_work;
  wanted += o.wanted;
  allocated += o.allocated;
  served += o.served;
  lost += o.lost;
  waits.insert(waits.end(), o.waits.begin(), o.waits.end());
  slowdown.Merge(o.slowdown);
  over_us += o.over_us;
  over_compute_us += o.over_compute_us;
  over_memory_us += o.over_memory_us;
  over_host_us += o.over_host_us;
  evictions += o.evictions;
  ladder_evictions += o.ladder_evictions;
  failures += o.failures;
  commits += o.commits;
  restarts += o.restarts;
  reclaimed += o.reclaimed;
  returns += o.returns;
  reclaimed_milli_us += o.reclaimed_milli_us;
  return_wait_us += o.return_wait_us;
  blocked_us += o.blocked_us;
  throttled_us += o.throttled_us;
  offloaded_us += o.offloaded_us;
}

SeriesBook::SeriesBook(std::int64_t from_us, std::int64_t to_us, std::int64_t step_us)
    : from_(from_us), to_(to_us), step_(step_us), at_(from_us) {
  const auto steps = static_cast<std::size_t>((to_ - from_ + step_ - 1) / step_);
  sums_.resize(steps);
  time_.resize(steps);
}

void SeriesBook::Advance(std::int64_t now, const Level& level) {
  now = std::min(now, to_);
  while (at_ < now) {
    const auto b = static_cast<std::size_t>((at_ - from_) / step_);
    const std::int64_t until = std::min(now, from_ + step_ * (static_cast<std::int64_t>(b) + 1));
    const auto dt = static_cast<double>(until - at_);
    const auto add = [&](Level& sum) {
      sum.capacity += level.capacity * dt;
      sum.allocated += level.allocated * dt;
      sum.served += level.served * dt;
      sum.touched += level.touched * dt;
      sum.waiting += level.waiting * dt;
      sum.cost += level.cost * dt;
      sum.shared += level.shared * dt;
      sum.passthrough += level.passthrough * dt;
      sum.slots_short += level.slots_short * dt;
    };
    add(sums_[b]);
    add(total_);
    time_[b] += dt;
    at_ = until;
  }
}

PlatformSeries SeriesBook::Finish() const {
  PlatformSeries s;
  for (std::size_t b = 0; b < sums_.size(); ++b) {
    const double t = time_[b];
    const auto mean = [t](double sum) { return t > 0 ? sum / t : kNotMeasured; };
    const double middle =
        static_cast<double>(from_) + (static_cast<double>(b) + 0.5) * static_cast<double>(step_);
    s.hours.push_back(middle / 3.6e9);
    s.capacity_cards.push_back(mean(sums_[b].capacity));
    s.allocated_cards.push_back(mean(sums_[b].allocated));
    s.served_cards.push_back(mean(sums_[b].served));
    s.touched_cards.push_back(mean(sums_[b].touched));
    s.waiting_units.push_back(mean(sums_[b].waiting));
    s.cost_per_hour.push_back(mean(sums_[b].cost));
    s.shared_cards.push_back(mean(sums_[b].shared));
    s.passthrough_cards.push_back(mean(sums_[b].passthrough));
  }
  return s;
}

}  // namespace basalt::sim::platform
