// How a job stands against others: its queue, its priority, and what taking its place away costs.
// Queues and eviction read it; it is never part of a shape, so it changes no score.
#pragma once

#include <cstdint>
#include <string>

#include "scheduler-core/base/units.h"

namespace basalt {

struct Standing {
  std::string queue;          // a leaf of the queue tree; empty: outside all quotas
  std::int32_t priority = 0;  // the higher wins
  bool preemptible = true;    // false: ends by itself or by a failure only
  // Not evicted before it has run this long (KAI's min runtime). 0: at any time.
  std::int64_t min_runtime_us = 0;
  std::int64_t restart_us = 0;  // what evicting it costs beside the work since its checkpoint
  // Pods of one name here are one disruption budget (DisruptionBudgetSet); empty: none.
  std::string budget;
  std::string sku;  // the named bundle it was asked as: one of "sku/NAME" in the queue; empty: none
  friend auto operator<=>(const Standing&, const Standing&) = default;
};

}  // namespace basalt
