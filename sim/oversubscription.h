// How far may one oversubscribe? Given services with requests and demand curves, and what a card
// (or a pool taken as one) has, the planner admits services one after the other until the risk of
// overload would pass the one that is accepted, and says what was sold against what is there.
//
// Overload is a part of the day in which what the services use together is more than the capacity.
// The distribution of the sum is exact for the given curves (convolution on a grid, parts rounded
// up), not sampled. Services are independent given the time of the week, except for `correlation`:
// with that probability all of them are at the same quantile at once. What correlation would make
// better is not counted, so more of it never allows more.
//
// Risk is a share of time, averaged over the week: it does not say how long one overload lasts, nor
// by how much it overloads.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "scheduler-core/base/result.h"
#include "scheduler-core/base/units.h"
#include "sim/demand.h"

namespace basalt::sim {

struct ServiceDemand {
  std::string name;
  std::int64_t compute_milli = 0;  // what it asks: milli-GPU
  MiB memory_mib = 0;
  DemandCurve curve;
  // What it uses at the curve's 1000, per mille of its request.
  std::int32_t peak_milli = 1000, memory_peak_milli = 1000;
  // Memory that it holds whatever the load (weights), per mille of its peak use; the rest follows
  // the curve.
  std::int32_t memory_idle_milli = 1000;
  bool on_off = false;      // uses its peak with the curve's probability and nothing otherwise
  std::int64_t copies = 1;  // of it in one round of the mix
};

struct OversubscriptionOptions {
  std::int64_t compute_milli = 1000;  // capacity; 0: not looked at
  MiB memory_mib = 0;                 // likewise
  std::int32_t risk_ppm = 1000;       // accepted share of time in overload, per million
  std::int32_t correlation = 0;       // per mille
  Phasing phasing;
  std::uint64_t seed = 42;
  std::int64_t max_services = 1000;
};

enum class Bottleneck : std::uint8_t { kNone, kCompute, kMemory };

struct OversubscriptionPlan {
  std::int64_t services = 0;               // admitted
  bool unlimited = false;                  // max_services came first
  Bottleneck binding = Bottleneck::kNone;  // what the next service would have overloaded
  // Requests admitted / capacity, percent, rounded down; 0 where the capacity is not looked at.
  std::int64_t compute_percent = 0, memory_percent = 0;
  // Of 30 days, of what is admitted: the worse of compute and memory.
  double overload_minutes = 0;
  double next_overload_minutes = 0;  // with one service more
  // Where the next service's overload is most likely.
  std::int32_t weekday = 0;  // 0 Monday
  std::int32_t minute = 0;   // of the day
  double binding_probability = 0;
};

// Errors: no services, a curve that is invalid, all curves' days in unequal numbers of parts,
// amounts out of range.
Result<OversubscriptionPlan> PlanOversubscription(const std::vector<ServiceDemand>& services,
                                                  const OversubscriptionOptions& options);

}  // namespace basalt::sim
