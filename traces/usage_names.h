// What the exporters of the vendors call what we call gpu_util_pct, gpu_mem_mib and sm_active_pct:
// a table, so that another exporter is another row. docs/usage.md prints it with its sources.
//
// The order is the precedence: where two exporters measure the same thing (HAMi's monitor and DCGM,
// or HAMi's new and legacy names side by side), the first row of the table that is there counts and
// the others are left out. Slices stand before cards, for a slice's own figure is the better one.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace basalt::trace {

// The canonical names of Usage::metric that the reports read.
inline constexpr std::string_view kGpuUtilPct = "gpu_util_pct";    // percent of one card
inline constexpr std::string_view kGpuMemMib = "gpu_mem_mib";      // MiB
inline constexpr std::string_view kSmActivePct = "sm_active_pct";  // percent of one card

enum class UsageScope : std::uint8_t {
  kSlice,  // of one container on one card
  kCard,   // of the whole card, also where labels name a pod that has it
};

struct UsageName {
  std::string_view name;  // as exported
  std::string_view vendor;
  std::string_view metric;  // canonical
  UsageScope scope = UsageScope::kCard;
  // Canonical value = exported value * multiply / divide.
  std::int64_t multiply = 1, divide = 1;
  // The series counts only if this label has this value; empty: always.
  std::string_view label = {}, value = {};
};

std::span<const UsageName> UsageNames();
// The row of an exported name, -1 when it is none of them.
int FindUsageName(std::string_view exported);

// What a label is to us, in the order in which they are tried: Prometheus renames a target's own
// label to exported_* where it sets one of that name itself, so those come first.
enum class UsageLabel : std::uint8_t { kNamespace, kPod, kContainer, kNode, kUuid, kIndex };
std::span<const std::string_view> UsageLabels(UsageLabel label);

}  // namespace basalt::trace
