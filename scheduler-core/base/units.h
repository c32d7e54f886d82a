// Integer quantities. Decisions use integers only, so that adding and taking back is exact and a
// digest means something: CPU in milli-cores, memory in MiB, card compute in milli-GPU (1000 = one
// card), time in microseconds of simulated or injected time. The aliases name the unit; the
// strong types are the ids (ids.h) and SimTime, where a mix-up compiles silently otherwise.
#pragma once

#include <compare>
#include <cstdint>
#include <limits>

namespace basalt {

using MilliCpu = std::int64_t;
using MiB = std::int64_t;
using MilliGpu = std::int32_t;

inline constexpr MilliGpu kWholeCard = 1000;

// Microseconds since an origin that the caller chose. The engine never asks for the time.
struct SimTime {
  std::int64_t us = 0;
  friend constexpr auto operator<=>(SimTime, SimTime) = default;
  static constexpr SimTime Seconds(std::int64_t s) { return SimTime{s * 1'000'000}; }
  // At most (and at least) what the type holds: a time without end is no time in the past.
  constexpr SimTime Plus(std::int64_t micros) const {
    constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
    constexpr std::int64_t kLeast = std::numeric_limits<std::int64_t>::min();
    if (micros > 0 && us > kMost - micros) return SimTime{kMost};
    if (micros < 0 && us < kLeast - micros) return SimTime{kLeast};
    return SimTime{us + micros};
  }
};

}  // namespace basalt
