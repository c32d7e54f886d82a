// The platform simulator: what a shared GPU platform does, in time. Nodes fail, users come and go,
// demand rises and falls, jobs queue; the same Engine and JobScheduler that run live decide where
// and when. Between two events everything is a rate, so progress and books are exact.
//
// A run depends on its spec alone. What users want is drawn from streams of its own
// (PlatformResult::demand_digest), so that arms of a comparison meet the same demand.
#pragma once

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

}  // namespace basalt::sim
