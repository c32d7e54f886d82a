// EASY backfill: the head of the queue gets a shadow time, the earliest at which it fits when the
// running jobs end as expected; those behind may start now if that time does not get later.
// The shadow is judged on nodes, not on sums: fragments count. Cards of a node are counted (whole
// ones apart from their milli), not told apart, and levels of the network are not looked at; the
// engine decides every placement itself.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "scheduler-core/cluster/state.h"

namespace basalt::sim {

// What a job holds of a node while it runs.
struct Share {
  NodeId node;
  std::int32_t cpu = 0;
  std::int32_t memory = 0;
  std::int32_t milli = 0;  // of slices
  std::int32_t cards = 0;  // whole
};
struct Running {
  std::int64_t ends_us = 0;
  std::vector<Share> shares;
};
// A queued job's tasks.
struct Wanted {
  const Shape* shape = nullptr;
  ShapeId id;
  std::int64_t count = 0;
};

inline constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();

// `running` in order of ends. kNever when it does not fit even then.
std::int64_t ShadowTime(const ClusterState& state, const std::vector<const Running*>& running,
                        const std::vector<Wanted>& wanted);

}  // namespace basalt::sim
