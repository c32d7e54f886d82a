// The arithmetic of shares, without queues: water filling of one resource in exact integers, and
// progressive filling over dominant shares (DRF, Ghodsi et al., NSDI'11) of several.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "scheduler-core/queueing/resources.h"

namespace basalt {

struct FillItem {
  std::int64_t limit = 0;   // gets no more, >= 0
  std::int64_t weight = 0;  // >= 0; sums below 2^62
};

// Working memory of the functions below; one for many calls saves allocations.
struct FillScratch {
  std::vector<std::uint32_t> open;
  struct Part {
    std::uint32_t item;
    __extension__ __int128 remainder;
  };
  std::vector<Part> parts;
  std::vector<FillItem> items;
  std::vector<std::int64_t> given;
  std::vector<std::uint32_t> members;
};

// Adds to out[i] what item i gets of `amount` (>= 0): min(limit, weight x level), with the one
// level at which all is given or every item with weight has its limit. Units that do not divide go
// by largest remainder, then by the lower index. Returns what nobody got. Exact; the order of items
// matters for equal remainders only. An item's part grows with its own weight and never falls.
std::int64_t WaterFill(std::int64_t amount, std::span<const FillItem> items,
                       std::span<std::int64_t> out, FillScratch* scratch);

// What one child brings to the division of one resource.
struct ShareClaim {
  std::int64_t guarantee = 0;
  std::int64_t deserved = 0;  // >= guarantee
  std::int64_t limit = 0;     // min(request, capacity): gets no more
  std::int64_t weight = 0;
  std::int64_t spare_weight = 0;  // counts when all with weight have their limits
  std::int32_t priority = 0;
};

// KAI's division with a guarantee in front, each step capped by `limit`: guarantees, the rest up
// to deserved (where the amount does not reach, equal fractions of what each lacks), then what is
// left by priority, high to low, inside a priority by weight (then by spare_weight). Writes out[i];
// returns what is left.
std::int64_t DivideAmount(std::int64_t amount, std::span<const ShareClaim> claims,
                          std::span<std::int64_t> out, FillScratch* scratch);

// One queue in progressive filling: it takes resources in the proportions of its demand, all of
// it at fraction 1. Fractions in parts of kDrfOne.
inline constexpr std::int64_t kDrfOne = std::int64_t{1} << 40;
struct DrfUser {
  Amounts demand;
  std::int64_t weight = 1;         // 0: stays at its floor; at most kMaxQueueWeight
  std::int64_t floor = 0;          // fraction that it gets before the filling, <= ceiling
  std::int64_t ceiling = kDrfOne;  // fraction that it may have at most, <= kDrfOne
};

// Weighted max-min fairness of dominant shares: all users' dominant shares / weight grow together
// from 0; who has its demand, its ceiling, or needs a resource that is used up stops. Floors that
// do not fit together are cut by one factor. `total`: what is not limited there counts for nobody's
// dominant share; who asks for a resource of total 0 gets nothing. Returns fractions, rounded down
// (so that the sum of fraction x demand never exceeds a total) by 10^-9 or less for up to 1,000
// users. O(U log U + U R^2) for U users and R resources.
std::vector<std::int64_t> DivideDominant(const Limits& total, std::span<const DrfUser> users);

}  // namespace basalt
