#include "sim/platform/runtime.h"

#include <algorithm>
#include <array>

namespace basalt::sim {
namespace {

constexpr double kCard = kWholeCard;

// Working sets are given memory in this order.
int Tier(const CardShare& s) { return s.guaranteed ? 0 : s.high ? 1 : 2; }

double Overhead(const RuntimeSpec& runtime, Sharing sharing, bool whole, bool neighbours) {
  switch (sharing) {
    case Sharing::kSlices:
      return whole ? 1 : 1 - runtime.slicing_overhead_milli / 1000.0;
    case Sharing::kTimeSlicing:
      return neighbours ? 1 - runtime.time_slicing_overhead_milli / 1000.0 : 1;
    case Sharing::kPartitions:
      return whole ? 1 : 1 - runtime.partition_overhead_milli / 1000.0;
  }
  return 1;
}

}  // namespace

CardLoad ShareCard(const RuntimeSpec& runtime, Sharing sharing, std::int64_t memory_mib,
                   std::span<CardShare> shares) {
  CardLoad load;
  double high = 0, low = 0;
  int busy = 0;
  std::array<std::int64_t, 3> sets{};
  for (CardShare& s : shares) {
    sets[static_cast<std::size_t>(Tier(s))] += s.working_set_mib;
    const double want = std::min(s.use, s.cap);
    if (s.stopped || want <= 0) continue;
    ++busy;
    (s.high ? high : low) += want;
  }
  const std::int64_t resident = sets[0] + sets[1] + sets[2];
  load.memory_over = memory_mib > 0 && sharing != Sharing::kPartitions && resident > memory_mib;
  load.compute_over = sharing != Sharing::kPartitions && high + low > kCard;
  load.high_wanted = high;

  double high_part = 1, low_part = 1;
  if (sharing == Sharing::kTimeSlicing) {
    high_part = low_part = std::min(1.0, kCard / std::max(high + low, 1.0));
  } else if (sharing == Sharing::kSlices) {
    if (high > kCard) high_part = kCard / high;
    const double rest = std::max(0.0, kCard - high);
    if (low > rest) low_part = rest / low;
  }
  const double crowd =
      sharing == Sharing::kPartitions || busy < 2 ? 1 : 1 / (1 + runtime.kappa * (busy - 1));
  std::array<double, 3> memory{1, 1, 1};
  if (load.memory_over) {
    std::int64_t up_to = 0;
    for (std::size_t tier = 0; tier < memory.size(); ++tier) {
      up_to += sets[tier];
      const double pressure = static_cast<double>(up_to) / static_cast<double>(memory_mib);
      if (pressure > 1) memory[tier] = 1 / (1 + runtime.memory_beta * (pressure - 1));
    }
  }
  for (CardShare& s : shares) {
    s.rate = 0;
    s.memory_factor = memory[static_cast<std::size_t>(Tier(s))];
    const double want = std::min(s.use, s.cap);
    if (want <= 0) continue;
    s.compute_factor = (s.high ? high_part : low_part) * want / s.use;
    if (s.stopped) continue;
    s.rate = s.compute_factor * s.memory_factor * crowd *
             Overhead(runtime, sharing, s.whole, shares.size() > 1);
  }
  return load;
}

double HostFactor(const RuntimeSpec& runtime, std::int64_t cpu_used, std::int64_t cpu,
                  std::int64_t memory_used, std::int64_t memory) {
  double factor = 1;
  if (cpu > 0 && cpu_used > cpu) {
    // Of the time that one unit of work takes, the CPU-bound share is stretched (Amdahl).
    const double bound = runtime.cpu_bound_milli / 1000.0;
    factor = 1 / (1 + bound * (static_cast<double>(cpu_used) / static_cast<double>(cpu) - 1));
  }
  if (memory > 0 && memory_used > memory) {
    const double pressure = static_cast<double>(memory_used) / static_cast<double>(memory);
    factor /= 1 + runtime.host_memory_beta * (pressure - 1);
  }
  return factor;
}

}  // namespace basalt::sim
