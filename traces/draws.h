// What the generators share: options' limits, numbered names, and draws of times. Draws are
// integers from Rng; times go through log, exp and cos once and are then rounded to microseconds.
// Internal to the generators and importers that make up names.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <string>

#include "scheduler-core/base/result.h"
#include "scheduler-core/base/rng.h"
#include "traces/generate.h"
#include "traces/limits.h"
#include "traces/trace.h"

namespace basalt::trace {

// One stream a purpose, so that asking for more pods never changes the nodes, and so on.
enum Stream : std::uint64_t {
  kClassStream = 1,
  kArrivalStream,
  kDurationStream,
  kRankStream,
  kShareStream
};

inline constexpr double kMaxOneTime = 1e11;  // one duration or gap, seconds; the tail is cut here

inline std::string Numbered(std::string prefix, std::size_t number, std::size_t digits) {
  const std::string text = std::to_string(number);
  if (text.size() < digits) prefix.append(digits - text.size(), '0');
  return prefix + text;
}

// Uniform in (0, 1]: safe for log.
inline double Positive(Rng& rng) { return (static_cast<double>(rng.Next()) + 1) * 0x1p-32; }

// Bounded, because a gap between arrivals grows with 1/load and has no bound of its own.
inline std::int64_t Microseconds(double seconds) {
  return std::llround(std::min(seconds, kMaxOneTime) * 1e6);
}

class Durations {
 public:
  explicit Durations(const GeneratorOptions& o)
      : rng_(o.seed, kDurationStream),
        shape_(o.duration),
        mean_(o.mean_duration_s),
        sigma_(o.sigma) {}

  // Seconds; the mean is the option's for both shapes.
  double Next() {
    if (shape_ == DurationShape::kExponential) return -std::log(Positive(rng_)) * mean_;
    // Box-Muller, one of the two normals.
    const double radius = std::sqrt(-2 * std::log(Positive(rng_)));
    const double normal = radius * std::cos(2 * std::numbers::pi * rng_.Unit());
    return mean_ * std::exp(sigma_ * normal - sigma_ * sigma_ / 2);
  }

 private:
  Rng rng_;
  DurationShape shape_;
  double mean_, sigma_;
};

// Poisson arrivals: what moves the clock from one job to the next.
class Arrivals {
 public:
  // The mean gap is such that mean demand x mean duration / gap = load x capacity.
  Arrivals(const GeneratorOptions& o, double mean_demand_milli, std::int64_t capacity_milli)
      : rng_(o.seed, kArrivalStream),
        gap_(mean_demand_milli * o.mean_duration_s /
             (o.load * static_cast<double>(capacity_milli))) {}
  // False when the time is past what a trace can hold.
  bool Next(std::int64_t* now_us) {
    *now_us += Microseconds(-std::log(Positive(rng_)) * gap_);
    return *now_us <= kMaxTimeUs / 2;
  }
  static tl::unexpected<Error> TooLate() {
    return Fail("load",
                "the arrivals reach past 15,000 years; raise load or lower pods or "
                "mean_duration_s");
  }

 private:
  Rng rng_;
  double gap_;
};

// Kind "gangs" (generate_gangs.cc); the options are within their limits.
Status GenerateGangs(const GeneratorOptions& options, Trace* trace);

}  // namespace basalt::trace
