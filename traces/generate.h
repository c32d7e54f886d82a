// Synthetic traces with a public trace's request mix and node mix, at any size, for time replay:
// Poisson arrivals, durations drawn from one distribution, scaled so that the offered load is a
// chosen part of the cluster's GPU capacity. The same options give the same trace on one libm:
// draws are integers from Rng, times go through log/exp once and are then rounded to microseconds.
// (That is input, not a decision; the request of pod i and the nodes use integers only.)
#pragma once

#include <cstdint>
#include <string>

#include "scheduler-core/base/result.h"
#include "traces/trace.h"

namespace basalt::trace {

enum class DurationShape { kExponential, kLognormal };

struct GeneratorOptions {
  // "openb": its nodes and requests. "gangs": machines of 8 cards in racks, jobs of 1..128 GPUs in
  // Philly's shares (those that the cluster can hold), with gang_min and a made-up comm_share.
  std::string kind = "openb";
  std::uint64_t seed = 42;
  std::uint32_t nodes = 1213;  // 1..1,000,000; configurations by largest remainder
  std::uint32_t racks = 0;     // of gangs, 1..nodes; 0: one for 16 nodes
  std::uint32_t pods = 8152;   // jobs, 1..10,000,000
  double load = 0.9;           // offered GPU load as a part of capacity, above 0, at most 100
  double mean_duration_s = 3600;
  DurationShape duration = DurationShape::kLognormal;
  double sigma = 1.5;  // of the lognormal's exponent, 0..5
};

// Nodes "node-0000".. with a seeded rank each, jobs "pod-000000".. ("job-" of gangs) sorted by
// submit time. start and
// end stay unknown: they are what a simulation finds out. Errors name the option.
Result<Trace> Generate(const GeneratorOptions& options);

}  // namespace basalt::trace
