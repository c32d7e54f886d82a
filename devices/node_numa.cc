#include "devices/node_numa.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <map>
#include <string_view>
#include <utility>

#include "devices/quantity.h"
#include "scheduler-core/base/result.h"
#include "topology/card_set.h"
#include "topology/numa.h"

namespace basalt::devices {
namespace {

using Zones = std::map<int, const NumaZone*>;
using Notes = std::vector<std::string>;

constexpr std::int64_t kMebi = std::int64_t{1} << 20;
constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();

void Note(std::string_view text, Notes* notes) {
  notes->push_back("NodeResourceTopology: " + std::string(text));
}

// By number; empty, with a note, where the names do not count from 0.
Zones Numbered(const NumaReport& report, Notes* notes) {
  Zones zones;
  for (const NumaZone& zone : report.zones) {
    const std::size_t digits = zone.name.find_last_not_of("0123456789") + 1;
    int number = -1;
    std::from_chars(zone.name.data() + digits, zone.name.data() + zone.name.size(), number);
    if (number < 0 || !zones.emplace(number, &zone).second) {
      Note("a zone's name does not end in a number of its own", notes);
      return {};
    }
  }
  const auto count = static_cast<int>(zones.size());
  if (count > topology::kMaxNumaNodes || zones.rbegin()->first != count - 1) {
    Note("its zones are not NUMA nodes from 0 to at most 7", notes);
    return {};
  }
  return zones;
}

// Amounts of a resource by zone; where they are more than `all` together, cut in proportion.
Result<std::vector<std::int64_t>> Parts(const Zones& zones, bool memory, std::int64_t all) {
  all = std::min(all, kMost);
  std::vector<std::int64_t> parts;
  std::int64_t sum = 0;
  for (const auto& [number, zone] : zones) {
    const auto at = zone->allocatable.find(memory ? "memory" : "cpu");
    std::int64_t amount = 0;
    if (at != zone->allocatable.end()) {
      const Result<Quantity> read = ParseQuantity(at->second, "zone " + zone->name);
      if (!read) return tl::unexpected<Error>(read.error());
      amount = std::clamp<std::int64_t>(memory ? read->value / kMebi : read->milli, 0, all);
    }
    parts.push_back(amount);
    sum += amount;
  }
  if (sum > all) {
    for (std::int64_t& part : parts) part = part * all / sum;
  }
  return parts;
}

// How many cards each NUMA node has is told, not which: they are taken in order.
void NumaOfCards(const Zones& zones, const Register& reg, NodeSpec* node, Notes* notes) {
  std::vector<std::int32_t> numa;
  for (const auto& [number, zone] : zones) {
    const auto at = zone->allocatable.find(reg.key);
    if (at == zone->allocatable.end()) continue;
    const Result<Quantity> amount = ParseQuantity(at->second, zone->name);
    if (!amount || amount->value < 0 || amount->value > kMaxCardsPerNode) return;
    numa.insert(numa.end(), static_cast<std::size_t>(amount->value), number);
  }
  if (numa.empty() || numa.size() != node->cards.size()) return;
  for (std::size_t i = 0; i < numa.size(); ++i) node->cards[i].numa = numa[i];
  Note("which card is on which NUMA node is assumed, in order", notes);
}

// Both forms: attributes say "single-numa-node" and "pod", the older list "SingleNUMANodePodLevel".
void ReadPolicy(const NumaReport& report, NodeSpec* node, Notes* notes) {
  struct Level {
    std::string_view word;
    topology::NumaPolicy policy;
  };
  static constexpr std::array<Level, 4> kLevels = {
      {{"SingleNUMANode", topology::NumaPolicy::kSingleNumaNode},
       {"Restricted", topology::NumaPolicy::kRestricted},
       {"BestEffort", topology::NumaPolicy::kBestEffort},
       {"None", topology::NumaPolicy::kNone}}};
  std::string_view policy = report.policy;
  std::string_view scope = report.scope.empty() ? "container" : std::string_view(report.scope);
  if (policy.empty()) return;
  for (const auto& [suffix, name] :
       {std::pair<std::string_view, std::string_view>{"PodLevel", "pod"},
        {"ContainerLevel", "container"}}) {
    if (!policy.ends_with(suffix)) continue;
    policy.remove_suffix(suffix.size());
    scope = name;
  }
  const auto* level = std::ranges::find(kLevels, policy, &Level::word);
  const Result<topology::NumaPolicy> read = level != kLevels.end()
                                                ? Result<topology::NumaPolicy>(level->policy)
                                                : topology::ParseNumaPolicy(policy);
  const Result<topology::NumaScope> wide = topology::ParseNumaScope(scope);
  if (!read || !wide) return Note("its policy or scope is none that is known", notes);
  node->numa_policy = *read;
  node->numa_scope = *wide;
}

}  // namespace

bool ReadNumaReport(const NumaReport& report, const Register* only, NodeSpec* node,
                    std::vector<std::string>* notes) {
  if (report.zones.empty()) return false;
  const Zones zones = Numbered(report, notes);
  if (zones.empty()) return false;
  const auto count = static_cast<std::int32_t>(zones.size());
  if (node->numa_nodes > count) {
    Note("the cards stand on more NUMA nodes than it has zones", notes);
    return false;
  }
  const auto cpu = Parts(zones, false, node->cpu_milli);
  const auto memory = Parts(zones, true, node->memory_mib);
  for (const auto* parts : {&cpu, &memory}) {
    if (*parts) continue;
    Note(parts->error().ToString(), notes);
    return false;
  }
  for (std::size_t i = 0; i < zones.size(); ++i) {
    topology::NumaAmounts& made = node->numa.emplace_back();
    made.cpu = static_cast<std::int32_t>((*cpu)[i]);
    made.memory = static_cast<std::int32_t>((*memory)[i]);
  }
  node->numa_nodes = count;
  // A description of the machine knows the cards one by one.
  if (only != nullptr && only->platform == "plugin" && node->machine.empty()) {
    NumaOfCards(zones, *only, node, notes);
  }
  ReadPolicy(report, node, notes);
  return true;
}

}  // namespace basalt::devices
