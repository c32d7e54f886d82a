// Small workloads for the simulator's tests.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sim/workload.h"

namespace basalt::support {

struct Pod {
  RequestSpec spec;
  std::int64_t submit_us = 0;
  std::int64_t duration_us = -1;
  std::uint64_t job = 0;
};

// The target workload is all of the pods.
sim::Workload MakeToy(std::vector<NodeSpec> nodes, const std::vector<Pod>& pods);

// `pods` random pods (shares, whole cards, CPU-only) on `nodes` nodes of 2 to 8 cards.
sim::Workload RandomWorkload(std::uint64_t seed, int nodes, int pods);

}  // namespace basalt::support
