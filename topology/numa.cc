#include "topology/numa.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <limits>

#include "scheduler-core/base/suggest.h"

namespace basalt::topology {
namespace {

constexpr std::array<std::string_view, 4> kPolicyNames = {"none", "best-effort", "restricted",
                                                          "single-numa-node"};
constexpr std::array<std::string_view, 2> kScopeNames = {"container", "pod"};

// The hint providers, in the order of their reasons.
constexpr int kResources = 4;
constexpr int kCards = 0;
constexpr int kNics = 1;
constexpr int kCpu = 2;
// 3 is memory.

std::int64_t Of(const NumaAmounts& amounts, int resource) {
  switch (resource) {
    case kCards:
      return std::max<std::int16_t>(amounts.cards, 0);
    case kNics:
      return std::max<std::int16_t>(amounts.nics, 0);
    case kCpu:
      return std::max(amounts.cpu, 0);
    default:
      return std::max(amounts.memory, 0);
  }
}

std::int64_t Sum(std::span<const NumaAmounts> amounts, unsigned set, int resource) {
  std::int64_t sum = 0;
  for (; set != 0; set &= set - 1) {
    sum += Of(amounts[static_cast<std::size_t>(std::countr_zero(set))], resource);
  }
  return sum;
}

// kubelet's minAffinitySize: as few NUMA nodes as the demand needs when nothing is taken; all of
// them when the machine is too small.
int MinimalWidth(std::span<const NumaAmounts> installed, int resource, std::int64_t demand) {
  const int n = static_cast<int>(installed.size());
  std::int64_t sum = 0;
  unsigned used = 0;
  for (int width = 1; width < n; ++width) {
    std::int64_t largest = -1;
    int at = 0;
    for (int i = 0; i < n; ++i) {
      const std::int64_t amount = Of(installed[static_cast<std::size_t>(i)], resource);
      if (((used >> i) & 1) != 0 || amount <= largest) continue;
      largest = amount;
      at = i;
    }
    used |= 1U << at;
    sum += largest;
    if (sum >= demand) return width;
  }
  return n;
}

// The next larger number with as many bits (Gosper).
unsigned NextOfSameWidth(unsigned set) {
  const unsigned low = set & (~set + 1);
  const unsigned ripple = set + low;
  return ripple | (((set ^ ripple) >> 2) / low);
}

// The demand by resource, and which are asked for at all.
struct Asked {
  std::array<std::int64_t, kResources> demand{};
  std::array<int, kResources> width{};  // MinimalWidth; 0 where nothing is asked for
  bool any = false;
  int width_all = 0;  // the width of all; -1 where they differ
};

Asked Ask(std::span<const NumaAmounts> installed, const NumaAmounts& demand) {
  Asked asked;
  for (int r = 0; r < kResources; ++r) {
    const auto i = static_cast<std::size_t>(r);
    asked.demand[i] = Of(demand, r);
    if (asked.demand[i] == 0) continue;
    asked.width[i] = MinimalWidth(installed, r, asked.demand[i]);
    asked.width_all = !asked.any || asked.width_all == asked.width[i] ? asked.width[i] : -1;
    asked.any = true;
  }
  return asked;
}

bool Suffices(std::span<const NumaAmounts> free, unsigned set, const Asked& asked) {
  for (int r = 0; r < kResources; ++r) {
    const std::int64_t demand = asked.demand[static_cast<std::size_t>(r)];
    if (demand != 0 && Sum(free, set, r) < demand) return false;
  }
  return true;
}

// A merged hint is preferred only if all of its hints are preferred and name the same set. So no
// product is needed: the lowest set of the common minimal width in which everything is free.
NumaSet BestPreferred(std::span<const NumaAmounts> free, const Asked& asked) {
  if (asked.width_all < 1) return 0;
  const unsigned end = 1U << free.size();
  for (unsigned set = (1U << asked.width_all) - 1; set < end; set = NextOfSameWidth(set)) {
    if (Suffices(free, set, asked)) return static_cast<NumaSet>(set);
  }
  return 0;
}

// With no preferred hint kubelet takes a merged set of bestNonPreferredAffinityCount NUMA nodes,
// the largest of the providers' narrowest offers, and of those the lowest. There is one: every
// superset of an offer is an offer, so that provider's narrowest is the AND with the others' full
// sets. Which sets are the AND of some combination: the number of tuples of offers whose AND
// contains a set is a product over providers; Moebius inversion makes it "equals".
NumaSet BestOther(std::span<const NumaAmounts> free, const Asked& asked) {
  const unsigned end = 1U << free.size();
  std::array<std::uint64_t, 1U << kMaxNumaNodes> tuples;
  std::array<std::uint64_t, 1U << kMaxNumaNodes> offers;
  std::array<std::int64_t, 1U << kMaxNumaNodes> sums;
  std::fill_n(tuples.begin(), end, 1);
  int width = 0;
  for (int r = 0; r < kResources; ++r) {
    const std::int64_t demand = asked.demand[static_cast<std::size_t>(r)];
    if (demand == 0) continue;
    int narrowest = kMaxNumaNodes + 1;
    sums[0] = 0;
    offers[0] = 0;
    for (unsigned set = 1; set < end; ++set) {
      sums[set] =
          sums[set & (set - 1)] + Of(free[static_cast<std::size_t>(std::countr_zero(set))], r);
      offers[set] = sums[set] >= demand ? 1 : 0;
      if (offers[set] != 0) narrowest = std::min(narrowest, std::popcount(set));
    }
    if (offers[end - 1] == 0) continue;  // no offer: any set, so it narrows nothing
    width = std::max(width, narrowest);
    for (unsigned bit = 1; bit < end; bit <<= 1) {
      for (unsigned set = 0; set < end; ++set) {
        if ((set & bit) == 0) offers[set] += offers[set | bit];
      }
    }
    for (unsigned set = 0; set < end; ++set) tuples[set] *= offers[set];
  }
  if (width == 0) return 0;
  for (unsigned bit = 1; bit < end; bit <<= 1) {
    for (unsigned set = 0; set < end; ++set) {
      if ((set & bit) == 0) tuples[set] -= tuples[set | bit];
    }
  }
  for (unsigned set = (1U << width) - 1; set < end; set = NextOfSameWidth(set)) {
    if (tuples[set] != 0) return static_cast<NumaSet>(set);
  }
  return 0;
}

std::size_t NodeCount(std::span<const NumaAmounts> installed, std::span<const NumaAmounts> free) {
  return std::min({installed.size(), free.size(), static_cast<std::size_t>(kMaxNumaNodes)});
}

// ---- Reasons ----

std::string Amount(int resource, std::int64_t amount) {
  const char* plural = amount == 1 ? "" : "s";
  switch (resource) {
    case kCards:
      return fmt::format("{} card{}", amount, plural);
    case kNics:
      return fmt::format("{} NIC{}", amount, plural);
    case kCpu:
      return amount % 1000 == 0 ? fmt::format("{} CPU{}", amount / 1000, amount == 1000 ? "" : "s")
                                : fmt::format("{}m CPU", amount);
    default:
      return fmt::format("{} MiB", amount);
  }
}

std::string Spread(std::span<const NumaAmounts> amounts, int resource) {
  static constexpr std::array<std::string_view, kResources> kNames = {"cards", "NICs", "CPUs",
                                                                      "MiB"};
  std::string out;
  for (const NumaAmounts& node : amounts) {
    const std::int64_t amount = Of(node, resource);
    if (!out.empty()) out += '+';
    out += resource != kCpu ? fmt::format("{}", amount)
                            : fmt::format("{:g}", static_cast<double>(amount) / 1000);
  }
  return fmt::format("{} are {}", kNames[static_cast<std::size_t>(resource)],
                     out.empty() ? "0" : out);
}

std::string Nodes(int count) { return fmt::format("{} NUMA node{}", count, count == 1 ? "" : "s"); }

// Of which the first that holds is the reason: too little in all; too wide for one NUMA node; one
// resource is free only in pieces; the resources are free, but not in one set.
std::string Reason(NumaPolicy policy, std::span<const NumaAmounts> installed,
                   std::span<const NumaAmounts> free, const NumaAmounts& demand) {
  const Asked asked = Ask(installed, demand);
  const std::string prefix = fmt::format("{}: ", NumaPolicyName(policy));
  const unsigned all = (1U << free.size()) - 1;
  for (int r = 0; r < kResources; ++r) {
    const std::int64_t need = asked.demand[static_cast<std::size_t>(r)];
    if (Sum(free, all, r) >= need) continue;
    return fmt::format("{}{} asked for, free {}", prefix, Amount(r, need), Spread(free, r));
  }
  std::string wants;
  std::string frees;
  for (int r = 0; r < kResources; ++r) {
    const std::int64_t need = asked.demand[static_cast<std::size_t>(r)];
    const int width = asked.width[static_cast<std::size_t>(r)];
    if (need == 0) continue;
    if (policy == NumaPolicy::kSingleNumaNode && width > 1) {
      return fmt::format("{}{} need {}, installed {}", prefix, Amount(r, need), Nodes(width),
                         Spread(installed, r));
    }
    Asked alone;
    alone.demand[static_cast<std::size_t>(r)] = need;
    alone.width_all = width;
    if (BestPreferred(free, alone) == 0) {
      return fmt::format("{}{} need {}, free {}", prefix, Amount(r, need), Nodes(width),
                         Spread(free, r));
    }
    wants += fmt::format("{}{}{}", wants.empty() ? "" : ", ", Amount(r, need),
                         asked.width_all == -1 ? " (" + Nodes(width) + ")" : "");
    frees += fmt::format("{}{}", frees.empty() ? "" : ", ", Spread(free, r));
  }
  return fmt::format("{}no set of NUMA nodes suits all of {}; free {}", prefix, wants, frees);
}

NumaAmounts Total(std::span<const NumaAmounts> containers) {
  NumaAmounts total;
  const auto add = [](auto* to, auto amount) {
    using T = std::remove_pointer_t<decltype(to)>;
    const std::int64_t sum = std::int64_t{*to} + std::max<T>(amount, 0);
    *to = static_cast<T>(std::min<std::int64_t>(sum, std::numeric_limits<T>::max()));
  };
  for (const NumaAmounts& one : containers) {
    add(&total.cpu, one.cpu);
    add(&total.memory, one.memory);
    add(&total.cards, one.cards);
    add(&total.nics, one.nics);
  }
  return total;
}

// Takes up to `want` out of `have`.
template <class T>
void Take(T have, T* want, T* got) {
  const T taken = std::clamp<T>(*want, 0, std::max<T>(have, 0));
  *want = static_cast<T>(*want - taken);
  *got = static_cast<T>(*got + taken);
}

template <class E, std::size_t N>
Result<E> Parse(std::string_view what, std::string_view name,
                const std::array<std::string_view, N>& names) {
  for (std::size_t i = 0; i < N; ++i) {
    if (names[i] == name) return static_cast<E>(i);
  }
  return Fail(std::string(what), "unknown " + SuggestText(name, names));
}

}  // namespace

std::string_view NumaPolicyName(NumaPolicy policy) {
  return kPolicyNames[static_cast<std::size_t>(policy)];
}
Result<NumaPolicy> ParseNumaPolicy(std::string_view name) {
  return Parse<NumaPolicy>("NUMA policy", name, kPolicyNames);
}
std::string_view NumaScopeName(NumaScope scope) {
  return kScopeNames[static_cast<std::size_t>(scope)];
}
Result<NumaScope> ParseNumaScope(std::string_view name) {
  return Parse<NumaScope>("NUMA scope", name, kScopeNames);
}

NumaDecision Align(NumaPolicy policy, std::span<const NumaAmounts> installed,
                   std::span<const NumaAmounts> free, const NumaAmounts& demand) {
  NumaDecision decision;
  if (policy == NumaPolicy::kNone) {
    decision.admitted = true;
    return decision;
  }
  const std::size_t n = NodeCount(installed, free);
  const Asked asked = Ask(installed.first(n), demand);
  if (!asked.any) {
    decision.admitted = true;
    decision.preferred = true;
    return decision;
  }
  if (policy == NumaPolicy::kSingleNumaNode && asked.width_all != 1) return decision;
  decision.nodes = BestPreferred(free.first(n), asked);
  decision.preferred = decision.nodes != 0;
  decision.admitted = decision.preferred || policy == NumaPolicy::kBestEffort;
  if (decision.admitted && !decision.preferred) decision.nodes = BestOther(free.first(n), asked);
  return decision;
}

std::vector<NumaAmounts> Divide(std::span<const NumaAmounts> free, NumaSet nodes,
                                const NumaAmounts& demand) {
  std::vector<NumaAmounts> out(free.size());
  NumaAmounts left = demand;
  for (const bool inside : {true, false}) {
    for (std::size_t i = 0; i < free.size(); ++i) {
      const bool named = i < static_cast<std::size_t>(kMaxNumaNodes) && ((nodes >> i) & 1) != 0;
      if (named != inside) continue;
      Take(free[i].cpu, &left.cpu, &out[i].cpu);
      Take(free[i].memory, &left.memory, &out[i].memory);
      Take(free[i].cards, &left.cards, &out[i].cards);
      Take(free[i].nics, &left.nics, &out[i].nics);
    }
  }
  if (left.cpu > 0 || left.memory > 0 || left.cards > 0 || left.nics > 0) out.clear();
  return out;
}

NumaPlan PlanPod(NumaPolicy policy, NumaScope scope, std::span<const NumaAmounts> installed,
                 std::span<const NumaAmounts> free, std::span<const NumaAmounts> containers) {
  NumaPlan plan;
  const std::size_t n = NodeCount(installed, free);
  installed = installed.first(n);
  std::vector<NumaAmounts> left(free.begin(), free.begin() + static_cast<std::ptrdiff_t>(n));
  const NumaAmounts total = Total(containers);
  const std::span<const NumaAmounts> demands =
      scope == NumaScope::kPod ? std::span<const NumaAmounts>(&total, 1) : containers;
  for (std::size_t c = 0; c < demands.size(); ++c) {
    plan.decisions.push_back(Align(policy, installed, left, demands[c]));
    const NumaDecision& decision = plan.decisions.back();
    std::vector<NumaAmounts> parts;
    if (decision.admitted) parts = Divide(left, decision.nodes, demands[c]);
    // The policies none and best-effort admit a demand that nothing can fill; the device manager
    // then fails it. So a plan needs its division, too.
    if (!decision.admitted || (parts.empty() && demands[c] != NumaAmounts{})) {
      plan.reason = Reason(policy, installed, left, demands[c]);
      if (demands.size() > 1) {
        plan.reason = fmt::format("container {} of {}: {}", c + 1, demands.size(), plan.reason);
      }
      return plan;
    }
    for (std::size_t i = 0; i < parts.size(); ++i) {
      left[i].cpu -= parts[i].cpu;
      left[i].memory -= parts[i].memory;
      left[i].cards = static_cast<std::int16_t>(left[i].cards - parts[i].cards);
      left[i].nics = static_cast<std::int16_t>(left[i].nics - parts[i].nics);
    }
    plan.division.push_back(std::move(parts));
  }
  plan.admitted = true;
  return plan;
}

}  // namespace basalt::topology
