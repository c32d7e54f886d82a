// The platform simulator: what a shared GPU platform does, in time. Nodes fail, users come and go,
// demand rises and falls, jobs queue; the same Engine and JobScheduler that run live decide where
// and when. Between two events everything is a rate, so progress and books are exact.
//
// A run depends on its spec alone. What users want is drawn from streams of its own
// (PlatformResult::demand_digest), so that arms of a comparison meet the same demand.
#pragma once

#include <string>
#include <vector>

#include "scheduler-core/base/result.h"
#include "scheduler-core/engine/registry.h"
#include "sim/platform/result.h"
#include "sim/platform/spec.h"

namespace basalt::sim {

struct PlatformOptions {
  std::uint32_t audit_every = 0;  // the engines audit after every n-th commit; 0: never
};

// Errors name the workload, cluster or field of the spec that is wrong.
Result<PlatformResult> RunPlatform(const PlatformSpec& spec, const Registry& registry,
                                   const PlatformOptions& options = {});

// --- how many cards would do ---

// The service is equal when every class of workloads of the baseline completes the same work, waits
// no longer at the 99th percentile, and runs not slower than allowed, on average.
struct EqualService {
  std::int32_t completed_tolerance_milli = 5;
  double wait_tolerance_seconds = 1;
  std::int32_t slowdown_milli = 1050;
  std::int32_t step_milli = 5;  // MinimalScale stops when it knows the factor this well
};
struct ServiceComparison {
  bool equal = true;
  std::string reason;  // the first that is not, of the class: "training: p99 wait is worse"
};
ServiceComparison CompareService(const PlatformResult& result, const PlatformResult& baseline,
                                 const EqualService& rules = {});

// The spec with the nodes of all owned and subscribed groups times factor / 1000. A cluster has its
// nodes rounded up, taken from its groups in proportion.
PlatformSpec ScaleNodes(const PlatformSpec& spec, std::int32_t factor_milli);

struct ScaleSearch {
  bool found = false;  // false: not even all its cards give equal service
  std::int64_t cards_before = 0;
  std::int64_t cards = 0;
  PlatformResult result;  // with those cards
  struct Tried {
    std::int64_t cards = 0;
    bool equal = false;
    std::string reason;
  };
  std::vector<Tried> tried;  // in the order of the search
};
// The fewest cards of `spec` that give the baseline's service: all groups in proportion by
// bisection, then single nodes group by group. Service is not exactly monotonous in cards, so this
// is the end of one search, not a proof; `tried` shows it.
Result<ScaleSearch> MinimalScale(const PlatformSpec& spec, const PlatformResult& baseline,
                                 const Registry& registry, const EqualService& rules = {},
                                 const PlatformOptions& options = {});

}  // namespace basalt::sim
