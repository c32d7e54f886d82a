// NUMA alignment with the meaning of kubelet's Topology Manager: which NUMA nodes a container's (or
// pod's) CPU, memory, cards and NICs come from together, and whether the node may take it at all.
// Pure: amounts in, a decision out. Sources: kubernetes pkg/kubelet/cm/topologymanager (policies),
// cm/cpumanager, cm/memorymanager and cm/devicemanager (hints).
//
// A hint is a set of NUMA nodes and whether it is preferred. A provider (CPU, memory, cards, NICs;
// only those that the demand asks for) offers each set whose free amount suffices; it is preferred
// when it has as few NUMA nodes as the demand needs on the *installed* machine. That is why adding
// a card can make `restricted` refuse a request that it took before: the minimum shrinks. Hints are
// merged by AND over every combination; the best merged hint is preferred, then narrow, then low.
//   none              any; nothing is aligned, no set is chosen
//   best-effort       the best hint; admits always (with no preferred one: the width of the
//                     resource that needs most NUMA nodes, as kubelet's compareHints)
//   restricted        admits only a preferred one
//   single-numa-node  admits only a preferred one of a single NUMA node
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "scheduler-core/base/result.h"

namespace basalt::topology {

// kubelet's default limit too: the number of combinations explodes beyond.
inline constexpr int kMaxNumaNodes = 8;
using NumaSet = std::uint8_t;  // bit i is NUMA node i

enum class NumaPolicy : std::uint8_t { kNone, kBestEffort, kRestricted, kSingleNumaNode };
enum class NumaScope : std::uint8_t { kContainer, kPod };
std::string_view NumaPolicyName(NumaPolicy policy);  // "none", "best-effort", ...
Result<NumaPolicy> ParseNumaPolicy(std::string_view name);
std::string_view NumaScopeName(NumaScope scope);
Result<NumaScope> ParseNumaScope(std::string_view name);

// Amounts of one NUMA node. CPU in milli-cores, memory in MiB; cards and NICs are counts of those
// that the demand could use.
struct NumaAmounts {
  std::int32_t cpu = 0;
  std::int32_t memory = 0;
  std::int16_t cards = 0;
  std::int16_t nics = 0;
  friend auto operator<=>(const NumaAmounts&, const NumaAmounts&) = default;
};

struct NumaDecision {
  bool admitted = false;
  bool preferred = false;
  NumaSet nodes = 0;  // 0: no affinity (policy none, refused, or nothing fits together)
};

// One container, or the whole pod with scope pod. `installed` and `free` have one entry a NUMA
// node, at most kMaxNumaNodes. A `demand` of 0 of a resource asks no hint of it.
NumaDecision Align(NumaPolicy policy, std::span<const NumaAmounts> installed,
                   std::span<const NumaAmounts> free, const NumaAmounts& demand);

// How an admitted demand is divided over its NUMA nodes: from each node in ascending order what it
// has, so that few are touched (as kubelet's static CPU manager and memory manager do). With
// nodes == 0 or free amounts that do not suffice inside `nodes`, what is missing is taken from the
// other NUMA nodes, lowest first (best-effort); if all together do not suffice: an empty result.
std::vector<NumaAmounts> Divide(std::span<const NumaAmounts> free, NumaSet nodes,
                                const NumaAmounts& demand);

// A pod with several containers under scope container: each is aligned in turn against what the
// earlier ones left. One decision and division a container, up to the first that is refused;
// admitted only if all are, and all amounts are there (none and best-effort do not look).
struct NumaPlan {
  bool admitted = false;
  std::vector<NumaDecision> decisions;             // one a container (one for scope pod)
  std::vector<std::vector<NumaAmounts>> division;  // same order; by NUMA node
  // Why not, in words: "restricted: 4 cards need 1 NUMA node, free cards are 2+2".
  std::string reason;
};
NumaPlan PlanPod(NumaPolicy policy, NumaScope scope, std::span<const NumaAmounts> installed,
                 std::span<const NumaAmounts> free, std::span<const NumaAmounts> containers);

}  // namespace basalt::topology
