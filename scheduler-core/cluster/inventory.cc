#include "scheduler-core/cluster/inventory.h"

#include <fmt/format.h>

#include "topology/card_set.h"

namespace basalt {

Status ValidateNode(const NodeSpec& spec, const std::string& where) {
  constexpr std::int64_t kMax = kMaxAmount;
  const auto bad = [&](std::string what) { return Fail(where, std::move(what)); };
  if (spec.name.empty()) return bad("a node needs a name");
  if (spec.cpu_milli < 0 || spec.cpu_milli > kMax) {
    return bad(fmt::format("cpu_milli {} is outside 0..{}", spec.cpu_milli, kMax));
  }
  if (spec.memory_mib < 0 || spec.memory_mib > kMax) {
    return bad(fmt::format("memory_mib {} is outside 0..{}", spec.memory_mib, kMax));
  }
  if (spec.rank > 1'000'000'000'000'000) return bad("rank is larger than 10^15");
  if (spec.max_pods < 0) return bad(fmt::format("max_pods {} is negative", spec.max_pods));
  if (spec.cards.size() > static_cast<std::size_t>(kMaxCardsPerNode)) {
    return bad(
        fmt::format("{} cards on one node; at most {}", spec.cards.size(), kMaxCardsPerNode));
  }
  for (std::size_t i = 0; i < spec.cards.size(); ++i) {
    const CardSpec& card = spec.cards[i];
    if (card.compute_milli < 0 || card.compute_milli > 2 * kWholeCard) {
      return bad(
          fmt::format("card {}: compute {} is outside 0..2000 milli", i, card.compute_milli));
    }
    if (card.memory_mib < 0 || card.memory_mib > kMax) {
      return bad(fmt::format("card {}: memory_mib {} is outside 0..{}", i, card.memory_mib, kMax));
    }
    if (card.slots < 0) return bad(fmt::format("card {}: {} share slots", i, card.slots));
    if (card.memory_ratio_percent < 100 || card.memory_ratio_percent > kMaxMemoryRatio ||
        card.memory_mib * card.memory_ratio_percent / 100 > kMax) {
      return bad(fmt::format("card {}: memory_ratio_percent {} is outside 100..{}, or too much", i,
                             card.memory_ratio_percent, kMaxMemoryRatio));
    }
    if (card.group < -1 || card.group > 127) {
      return bad(fmt::format("card {}: group {} is outside -1..127", i, card.group));
    }
  }
  if (spec.machine.size() > kMaxMachineText) {
    return bad(fmt::format("machine description of {} bytes; at most {}", spec.machine.size(),
                           kMaxMachineText));
  }
  if (spec.numa_nodes < 1 || spec.numa_nodes > 1024) {
    return bad(fmt::format("{} NUMA nodes", spec.numa_nodes));
  }
  const bool aligned = spec.numa_policy != topology::NumaPolicy::kNone;
  if (aligned && spec.numa_nodes > topology::kMaxNumaNodes) {
    return bad(fmt::format("NUMA policy {} on {} NUMA nodes; at most {} (kubelet's limit too)",
                           topology::NumaPolicyName(spec.numa_policy), spec.numa_nodes,
                           topology::kMaxNumaNodes));
  }
  if (!spec.numa.empty()) {
    if (spec.numa.size() != static_cast<std::size_t>(spec.numa_nodes)) {
      return bad(fmt::format("amounts of {} NUMA nodes, but there are {}", spec.numa.size(),
                             spec.numa_nodes));
    }
    std::int64_t cpu = 0;
    std::int64_t memory = 0;
    for (const topology::NumaAmounts& part : spec.numa) {
      if (part.cpu < 0 || part.memory < 0) return bad("a negative amount on a NUMA node");
      cpu += part.cpu;
      memory += part.memory;
    }
    if (cpu > spec.cpu_milli || memory > spec.memory_mib) {
      return bad("its NUMA nodes have more CPU or memory than the node");
    }
  }
  return topology::ValidatePath(spec.network, where);
}

}  // namespace basalt
