#include "scheduler-core/cluster/card_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <utility>

#include "scheduler-core/base/check.h"

namespace basalt {
namespace {

constexpr std::int64_t kMaxMemory = 1'000'000'000;  // MiB; kMaxAmount of workload/request.h
constexpr std::int32_t kMaxComputeUnits = 1'000'000;
constexpr std::int32_t kMaxCards = 64;
constexpr std::size_t kMaxRows = 127;  // templates and profiles are 8-bit indices

std::int64_t CeilDiv(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// k parts that hold the amount, as milli.
std::int64_t RoundUpToParts(std::int64_t milli, std::int64_t parts) {
  return CeilDiv(milli * parts, kWholeCard) * kWholeCard / parts;
}

Status ValidateTemplates(const CardRules& rules, const std::string& where) {
  if (rules.templates.size() > kMaxRows) {
    return Fail(where, fmt::format("{} templates; at most {}", rules.templates.size(), kMaxRows));
  }
  for (std::size_t i = 0; i < rules.templates.size(); ++i) {
    const SliceTemplate& t = rules.templates[i];
    if (t.name.empty()) return Fail(where, fmt::format("template {} needs a name", i));
    if (t.memory_mib < 1 || t.memory_mib > kMaxMemory || t.compute_milli < 1 ||
        t.compute_milli > kWholeCard) {
      return Fail(where, fmt::format("template {}: {} MiB and {} milli; both must be positive, the "
                                     "compute at most 1000",
                                     t.name, t.memory_mib, t.compute_milli));
    }
    if (i > 0 && t.memory_mib < rules.templates[i - 1].memory_mib) {
      return Fail(where, fmt::format("template {} is smaller than {} before it; list them by "
                                     "memory",
                                     t.name, rules.templates[i - 1].name));
    }
  }
  return {};
}

Status ValidateMig(const CardRules& rules, const std::string& where) {
  if (rules.mig_slots < 0 || rules.mig_slots > kMaxMigSlots) {
    return Fail(where,
                fmt::format("{} MIG slots are outside 0..{}", rules.mig_slots, kMaxMigSlots));
  }
  if (rules.mig.size() > kMaxRows) {
    return Fail(where, fmt::format("{} MIG profiles; at most {}", rules.mig.size(), kMaxRows));
  }
  if ((rules.mig_slots > 0) == rules.mig.empty()) {
    return Fail(where, "MIG needs both: the number of memory slots and the profiles");
  }
  for (const MigProfile& p : rules.mig) {
    if (p.name.empty()) return Fail(where, "a MIG profile needs a name");
    const std::string profile = where + ": MIG profile " + p.name;
    if (p.memory_mib < 1 || p.memory_mib > kMaxMemory || p.compute_milli < 1 ||
        p.compute_milli > kWholeCard) {
      return Fail(profile, fmt::format("{} MiB and {} milli; both must be positive, the compute at "
                                       "most 1000",
                                       p.memory_mib, p.compute_milli));
    }
    if (p.size < 1 || p.starts.empty()) return Fail(profile, "needs a size and its starts");
    for (std::size_t i = 0; i < p.starts.size(); ++i) {
      if (i > 0 && p.starts[i] <= p.starts[i - 1]) {
        return Fail(profile, "list the starts ascending");
      }
      if (p.starts[i] < 0 || p.starts[i] + std::int64_t{p.size} > rules.mig_slots) {
        return Fail(profile, fmt::format("{} slots from {} leave the card, which has {}", p.size,
                                         p.starts[i], rules.mig_slots));
      }
    }
  }
  std::uint32_t taken = 0;
  int media = 0;
  for (const auto& [index, start] : rules.mig_layout) {
    if (index < 0 || static_cast<std::size_t>(index) >= rules.mig.size()) {
      return Fail(where,
                  fmt::format("the MIG layout names profile {} of {}", index, rules.mig.size()));
    }
    const MigProfile& p = rules.mig[static_cast<std::size_t>(index)];
    if (std::find(p.starts.begin(), p.starts.end(), start) == p.starts.end()) {
      return Fail(where,
                  fmt::format("the MIG layout has {} at {}, where it cannot start", p.name, start));
    }
    if ((taken & MigMask(p, start)) != 0) {
      return Fail(where, fmt::format("the MIG layout's {} at {} overlaps another", p.name, start));
    }
    taken |= MigMask(p, start);
    if (p.media && ++media > 1) {
      return Fail(where, "the MIG layout has two instances with media engines; a card has one");
    }
  }
  return {};
}

// Calls visit(start) for each start where the profile is allowed and free.
template <class Visit>
void ForFreeStarts(const CardRules& rules, int profile, std::uint32_t occupied,
                   const Visit& visit) {
  const MigProfile& p = rules.mig[static_cast<std::size_t>(profile)];
  if (rules.mig_layout.empty()) {
    for (const std::int32_t start : p.starts) {
      if ((occupied & MigMask(p, start)) == 0) visit(start);
    }
    return;
  }
  for (const auto& [index, start] : rules.mig_layout) {
    if (index == profile && (occupied & MigMask(p, start)) == 0) visit(start);
  }
}

// The (profile, start) pairs that are still placeable. An instance with media engines is the same
// slice as the one without, so it is not counted again.
int PlaceablePairs(const CardRules& rules, std::uint32_t occupied) {
  int pairs = 0;
  for (std::size_t i = 0; i < rules.mig.size(); ++i) {
    if (rules.mig[i].media) continue;
    ForFreeStarts(rules, static_cast<int>(i), occupied, [&](std::int32_t) { ++pairs; });
  }
  return pairs;
}

// Whether a card cut beforehand has an instance of the profile at all.
bool CardHasProfile(const CardRules& rules, int profile) {
  return rules.mig_layout.empty() ||
         std::any_of(rules.mig_layout.begin(), rules.mig_layout.end(),
                     [&](const auto& instance) { return instance.first == profile; });
}

// All arrangements of profiles[order[next...]], equal profiles at falling starts.
struct Arranger {
  const CardRules& rules;
  const std::vector<int>& profiles;
  std::vector<std::size_t> order;
  std::vector<int> starts = {};
  std::vector<int> best = {};
  int best_pairs = -1;

  void Place(std::size_t next, std::uint32_t occupied) {
    if (next == order.size()) {
      const int pairs = PlaceablePairs(rules, occupied);
      if (pairs > best_pairs) {
        best_pairs = pairs;
        best = starts;
      }
      return;
    }
    const std::size_t at = order[next];
    const int profile = profiles[at];
    const bool again = next > 0 && profiles[order[next - 1]] == profile;
    ForFreeStarts(rules, profile, occupied, [&](std::int32_t start) {
      if (again && start > starts[order[next - 1]]) return;
      starts[at] = start;
      Place(next + 1, occupied | MigMask(rules.mig[static_cast<std::size_t>(profile)], start));
    });
  }
};

}  // namespace

Status ValidateCardRules(const CardRules& rules, const std::string& where) {
  if (rules.model.empty()) return Fail(where, "card rules need a model");
  if (rules.vendor.empty()) return Fail(where, "card rules need a vendor");
  if (rules.compute_units < 0 || rules.compute_units > kMaxComputeUnits) {
    return Fail(where, fmt::format("{} compute units are outside 0..{}", rules.compute_units,
                                   kMaxComputeUnits));
  }
  if (rules.memory_unit_mib < 1 || rules.memory_unit_mib > kMaxMemory) {
    return Fail(where, fmt::format("a memory unit of {} MiB is outside 1..{}",
                                   rules.memory_unit_mib, kMaxMemory));
  }
  for (std::size_t i = 0; i < rules.memory_sizes.size(); ++i) {
    if (rules.memory_sizes[i] < 1 || rules.memory_sizes[i] > kMaxMemory ||
        (i > 0 && rules.memory_sizes[i] <= rules.memory_sizes[i - 1])) {
      return Fail(where, fmt::format("memory sizes must ascend within 1..{}", kMaxMemory));
    }
  }
  if (rules.compute_parts < 1 || rules.compute_parts > kWholeCard) {
    return Fail(where, fmt::format("{} compute parts are outside 1..1000", rules.compute_parts));
  }
  if (rules.group_size < 0 || rules.group_size > kMaxCards) {
    return Fail(where, fmt::format("groups of {} cards; at most {}", rules.group_size, kMaxCards));
  }
  if (rules.grouping == CardGrouping::kModules && rules.group_size < 1) {
    return Fail(where, "modules need group_size, their cards");
  }
  for (std::size_t i = 0; i < rules.counts.size(); ++i) {
    if (rules.counts[i] < 1 || rules.counts[i] > kMaxCards ||
        (i > 0 && rules.counts[i] <= rules.counts[i - 1])) {
      return Fail(where, fmt::format("counts must ascend within 1..{}", kMaxCards));
    }
  }
  if (Status ok = ValidateTemplates(rules, where); !ok) return ok;
  return ValidateMig(rules, where);
}

CardDemand DemandOn(const CardAsk& ask, const CardRules* rules, std::int32_t physical_memory,
                    std::int32_t total_memory, std::int32_t total_milli) {
  const CardDemand whole{.possible = true,
                         .whole = true,
                         .milli = static_cast<std::int16_t>(total_milli),
                         .memory = total_memory};
  BASALT_DCHECK(total_milli >= 0 && std::in_range<std::int16_t>(total_milli));
  if (ask.whole) return ask.memory > total_memory ? CardDemand{} : whole;
  std::int64_t milli = ask.milli;
  if (ask.units > 0) {
    if (rules == nullptr || rules->compute_units == 0) return {};
    milli = CeilDiv(std::int64_t{kWholeCard} * ask.units, rules->compute_units);
    if (milli > kWholeCard) return {};
  }
  std::int64_t memory =
      std::max<std::int64_t>(ask.memory, std::int64_t{physical_memory} * ask.percent / 100);
  CardDemand demand{.possible = true};
  if (rules != nullptr) {
    if (!rules->templates.empty()) {
      for (std::size_t i = 0; i < rules->templates.size(); ++i) {
        const SliceTemplate& t = rules->templates[i];
        if (t.memory_mib < memory || t.compute_milli < milli || t.memory_mib > total_memory) {
          continue;
        }
        if (t.compute_milli == kWholeCard) return whole;
        demand.slice_template = static_cast<std::int8_t>(i);
        demand.milli = static_cast<std::int16_t>(t.compute_milli);
        demand.memory = static_cast<std::int32_t>(t.memory_mib);
        return demand;
      }
      // No template is large enough: the whole card, as HAMi's trimMemory does.
      return memory <= physical_memory && milli <= total_milli ? whole : CardDemand{};
    }
    const std::int64_t unit = rules->memory_unit_mib;
    std::int64_t rounded = CeilDiv(memory, unit) * unit;
    if (memory > 0 && !rules->memory_sizes.empty()) {
      const auto size = std::ranges::lower_bound(rules->memory_sizes, rounded);
      rounded = size == rules->memory_sizes.end() ? total_memory : *size;
    }
    memory = memory <= total_memory ? std::min<std::int64_t>(rounded, total_memory) : memory;
    milli = milli <= total_milli
                ? std::min<std::int64_t>(RoundUpToParts(milli, rules->compute_parts), total_milli)
                : milli;
  }
  if (memory > total_memory || milli > total_milli) return {};
  // All of the compute is a whole card, in whichever unit it was asked.
  if (ask.units > 0 && milli == kWholeCard) return whole;
  demand.milli = static_cast<std::int16_t>(milli);
  demand.memory = static_cast<std::int32_t>(memory);
  return demand;
}

int MigProfileFor(const CardAsk& ask, const std::string& name, const CardRules& rules) {
  if (!name.empty()) {
    for (std::size_t i = 0; i < rules.mig.size(); ++i) {
      const int profile = static_cast<int>(i);
      if (rules.mig[i].name == name) return CardHasProfile(rules, profile) ? profile : -1;
    }
    return -1;
  }
  std::int64_t milli = ask.whole ? kWholeCard : ask.milli;
  if (ask.units > 0) {
    if (rules.compute_units == 0) return -1;
    milli = CeilDiv(std::int64_t{kWholeCard} * ask.units, rules.compute_units);
  }
  std::int64_t largest = 0;
  for (const MigProfile& p : rules.mig) largest = std::max<std::int64_t>(largest, p.memory_mib);
  const std::int64_t memory = std::max<std::int64_t>(ask.memory, largest * ask.percent / 100);
  int best = -1;
  for (std::size_t i = 0; i < rules.mig.size(); ++i) {
    const MigProfile& p = rules.mig[i];
    if (p.media || p.memory_mib < memory || p.compute_milli < milli ||
        !CardHasProfile(rules, static_cast<int>(i))) {
      continue;
    }
    if (best >= 0) {
      const MigProfile& b = rules.mig[static_cast<std::size_t>(best)];
      if (std::pair(p.memory_mib, p.size) >= std::pair(b.memory_mib, b.size)) continue;
    }
    best = static_cast<int>(i);
  }
  return best;
}

int BestMigStart(const CardRules& rules, int profile, std::uint32_t occupied) {
  int best = -1;
  int best_pairs = -1;
  const MigProfile& p = rules.mig[static_cast<std::size_t>(profile)];
  ForFreeStarts(rules, profile, occupied, [&](std::int32_t start) {
    const int pairs = PlaceablePairs(rules, occupied | MigMask(p, start));
    if (pairs > best_pairs || (pairs == best_pairs && start > best)) {
      best_pairs = pairs;
      best = start;
    }
  });
  return best;
}

std::vector<int> ArrangeMig(const CardRules& rules, const std::vector<int>& profiles,
                            std::uint32_t occupied) {
  const auto of = [&](std::size_t i) -> const MigProfile& {
    return rules.mig[static_cast<std::size_t>(profiles[i])];
  };
  int slots = 0;
  int media = 0;
  std::vector<std::size_t> order(profiles.size());
  for (std::size_t i = 0; i < profiles.size(); ++i) {
    order[i] = i;
    slots += of(i).size;
    media += of(i).media ? 1 : 0;
  }
  if (slots > rules.mig_slots || media > 1) return {};
  // The large ones first, equal profiles together: the search is then short.
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return std::pair(-of(a).size, profiles[a]) < std::pair(-of(b).size, profiles[b]);
  });
  Arranger arranger{.rules = rules, .profiles = profiles, .order = std::move(order)};
  arranger.starts.assign(profiles.size(), -1);
  arranger.Place(0, occupied);
  return arranger.best;
}

}  // namespace basalt
