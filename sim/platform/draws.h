// What is drawn in a platform run. One stream for each purpose and owner (a workload's arrivals, a
// user's bursts, a node's failures), named by what it is for, so that nothing that one arm does
// shifts what another draws: common random numbers.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>
#include <string_view>
#include <utility>
#include <vector>

#include "scheduler-core/base/digest.h"
#include "scheduler-core/base/rng.h"
#include "sim/platform/spec.h"

namespace basalt::sim {

inline Rng StreamFor(std::uint64_t seed, std::string_view owner, std::string_view purpose,
                     std::uint64_t number = 0) {
  Digest d;
  d.Add(owner);
  d.Add(purpose);
  d.Add(number);
  return Rng(seed, d.value().lo);
}

// Uniform in (0, 1]: its logarithm is finite.
inline double OpenUnit(Rng& rng) { return 1 - rng.Unit(); }
inline double DrawExponential(Rng& rng, double mean) { return -mean * std::log(OpenUnit(rng)); }

inline std::int64_t Draw(const DurationSpec& spec, Rng& rng) {
  double us = static_cast<double>(spec.mean_us);
  if (spec.kind == DurationSpec::Kind::kExponential) {
    us = DrawExponential(rng, us);
  } else if (spec.kind == DurationSpec::Kind::kLogNormal) {
    // Box-Muller; the mean of exp(sigma z - sigma^2 / 2) is 1.
    const double radius = std::sqrt(-2 * std::log(OpenUnit(rng)));
    const double z = radius * std::cos(2 * std::numbers::pi * rng.Unit());
    us *= std::exp(spec.sigma * z - spec.sigma * spec.sigma / 2);
  }
  us = std::min(us, 9e15);
  return std::max(spec.min_us, std::min(spec.max_us, static_cast<std::int64_t>(us)));
}

// An index by weight.
template <class T>
std::size_t DrawWeighted(const std::vector<std::pair<T, double>>& weights, Rng& rng) {
  double sum = 0;
  for (const auto& [value, weight] : weights) sum += weight;
  double at = rng.Unit() * sum;
  for (std::size_t i = 0; i + 1 < weights.size(); ++i) {
    at -= weights[i].second;
    if (at < 0) return i;
  }
  return weights.size() - 1;
}

}  // namespace basalt::sim
