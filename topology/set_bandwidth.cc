#include "topology/set_bandwidth.h"

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>
#include <utility>

#include "scheduler-core/base/check.h"
#include "topology/bandwidth.h"

namespace basalt::topology {
namespace {

// How much linear programming a machine of more than 8 cards may cost: the sum over different
// weighted subgraphs of cycles x links. A size that would go over it takes cuts for all its sets,
// never for some of them: mixed, an upper bound would beat an exact value. 8 cards never do.
constexpr std::int64_t kExactBudget = 5'000'000;

std::size_t Index(int i) { return static_cast<std::size_t>(i); }

std::int32_t Clamp(std::int64_t mbps) {
  return static_cast<std::int32_t>(
      std::clamp<std::int64_t>(mbps, 0, std::numeric_limits<std::int32_t>::max()));
}

// The same for sets that differ only in the cards' order, in most cases: rows sorted by their
// links. Only ever used to solve equal ones once.
std::vector<int> SubgraphKey(const Eigen::MatrixXi& part) {
  const int n = static_cast<int>(part.rows());
  std::vector<std::pair<std::vector<int>, int>> order;
  for (int i = 0; i < n; ++i) {
    std::vector<int> links;
    for (int j = 0; j < n; ++j) links.push_back(part(i, j));
    std::ranges::sort(links);
    order.emplace_back(std::move(links), i);
  }
  std::ranges::sort(order);
  std::vector<int> key;
  for (int i = 0; i < n; ++i) {
    for (int j = i + 1; j < n; ++j)
      key.push_back(part(order[Index(i)].second, order[Index(j)].second));
  }
  return key;
}

std::int64_t Cycles(int cards) {
  std::int64_t count = 1;
  for (int i = 3; i < cards; ++i) count *= i;
  return count;
}

// By mask: whether the cards of the set can be put in a ring along links (two cards: one link).
std::vector<char> HasRing(const Eigen::MatrixXi& direct) {
  const int n = static_cast<int>(direct.rows());
  std::vector<std::uint32_t> neighbours(Index(n), 0);
  for (int a = 0; a < n; ++a) {
    for (int b = 0; b < n; ++b) neighbours[Index(a)] |= direct(a, b) > 0 ? 1U << b : 0U;
  }
  const std::size_t count = std::size_t{1} << n;
  std::vector<char> ring(count, 0);
  // Where a path over the whole set can end that starts at its lowest card.
  std::vector<std::uint32_t> ends(count, 0);
  for (std::uint32_t mask = 1; mask < count; ++mask) {
    const std::uint32_t lowest = mask & (~mask + 1U);
    if (mask == lowest) {
      ends[mask] = mask;
      continue;
    }
    for (const int v : CardSet(mask ^ lowest)) {
      if ((ends[mask ^ (1U << v)] & neighbours[Index(v)]) != 0) ends[mask] |= 1U << v;
    }
    ring[mask] = (ends[mask] & neighbours[Index(std::countr_zero(mask))]) != 0 ? 1 : 0;
  }
  return ring;
}

}  // namespace

std::int64_t InNetworkFactor(int sm) {
  if (sm >= 100) return 1160;
  return sm >= 90 ? 1297 : 1000;
}

SetBandwidth::SetBandwidth(const MachineGraph& graph)
    : cards_(graph.cards()),
      sm_(graph.sm),
      reduces_(graph.in_network_reduction),
      direct_(graph.DirectFabric()),
      cuts_(PcieCuts(graph)),
      measured_(graph.measured) {
  has_direct_ = cards_ > 0 && direct_.maxCoeff() > 0;
  FindSwitched(graph);
  FindUplinks(graph);
  std::map<int, CardSet> by_numa;
  for (int a = 0; a < cards_; ++a) {
    by_numa[graph.vertices[Index(a)].numa].Add(a);
    CardSet peers = CardSet::Of(a);
    for (int b = 0; b < cards_; ++b) {
      if (graph.CanPeer(a, b) && graph.CanPeer(b, a)) peers.Add(b);
    }
    peers_.push_back(peers);
  }
  for (const auto& [numa, cards] : by_numa) numa_.push_back(cards);
}

void SetBandwidth::FindSwitched(const MachineGraph& graph) {
  const Eigen::VectorXi switched = graph.SwitchedFabric();
  switched_.assign(switched.begin(), switched.end());
  // Cards meet only in switches that are joined without passing another card.
  std::vector<int> group(graph.vertices.size());
  std::iota(group.begin(), group.end(), 0);
  const auto is_switch = [&](int v) {
    return graph.vertices[Index(v)].kind == VertexKind::kFabricSwitch;
  };
  for (bool changed = true; changed;) {
    changed = false;
    for (const Link& link : graph.links) {
      if (link.kind != LinkKind::kFabric || !is_switch(link.a) || !is_switch(link.b)) continue;
      const int low = std::min(group[Index(link.a)], group[Index(link.b)]);
      changed = changed || group[Index(link.a)] != low || group[Index(link.b)] != low;
      group[Index(link.a)] = group[Index(link.b)] = low;
    }
  }
  std::map<int, int> bit;  // more than 64 separate switches: the rest count as one
  switch_groups_.assign(Index(cards_), 0);
  for (const Link& link : graph.links) {
    if (link.kind != LinkKind::kFabric || link.a >= cards_ || !is_switch(link.b)) continue;
    const int number =
        bit.emplace(group[Index(link.b)], std::min<int>(63, static_cast<int>(bit.size())))
            .first->second;
    switch_groups_[Index(link.a)] |= std::uint64_t{1} << number;
  }
}

void SetBandwidth::FindUplinks(const MachineGraph& graph) {
  const std::size_t n = graph.vertices.size();
  std::vector<std::vector<std::pair<int, std::int64_t>>> next(n);
  for (const Link& link : graph.links) {
    if (link.kind != LinkKind::kPcie) continue;
    next[Index(link.a)].emplace_back(link.b, link.mbps);
    next[Index(link.b)].emplace_back(link.a, link.mbps);
  }
  // Each PCIe tree hangs on its NUMA node; without one on a host bridge, else on a switch. By kind,
  // so that the order in which a source lists the vertices does not matter.
  constexpr auto kRank = [](VertexKind kind) {
    if (kind == VertexKind::kNuma) return 0;
    if (kind == VertexKind::kHostBridge) return 1;
    if (kind == VertexKind::kPcieSwitch) return 2;
    return kind == VertexKind::kNic ? 3 : 4;
  };
  std::vector<int> roots(n);
  std::iota(roots.begin(), roots.end(), 0);
  std::ranges::stable_sort(roots, {}, [&](int v) { return kRank(graph.vertices[Index(v)].kind); });
  std::vector<char> seen(n, 0);
  for (const int root : roots) {
    if (seen[Index(root)] != 0) continue;
    seen[Index(root)] = 1;
    std::vector<int> order = {root};
    std::vector<std::pair<int, std::int64_t>> up(n, {-1, 0});
    for (std::size_t i = 0; i < order.size(); ++i) {
      for (const auto& [to, mbps] : next[Index(order[i])]) {
        if (seen[Index(to)] != 0) continue;
        seen[Index(to)] = 1;
        up[Index(to)] = {order[i], mbps};
        order.push_back(to);
      }
    }
    std::vector<CardSet> below(n);
    for (std::size_t i = order.size(); i-- > 1;) {
      const int v = order[i];
      if (v < cards_) below[Index(v)].Add(v);
      if (!below[Index(v)].empty()) uplinks_.push_back({below[Index(v)], up[Index(v)].second});
      CardSet& parent = below[Index(up[Index(v)].first)];
      parent = CardSet(parent.bits() | below[Index(v)].bits());
    }
  }
}

std::int64_t SetBandwidth::Switched(CardSet cards) const {
  std::int64_t least = std::numeric_limits<std::int64_t>::max();
  std::uint64_t common = ~std::uint64_t{0};
  for (const int card : cards) {
    least = std::min(least, switched_[Index(card)]);
    common &= switch_groups_[Index(card)];
  }
  if (common == 0) return 0;
  const bool whole = reduces_ && cards.size() == cards_;
  return whole ? (least * InNetworkFactor(sm_) + 500) / 1000 : least;
}

Eigen::MatrixXi SetBandwidth::Part(CardSet cards) const {
  std::vector<int> rows;
  for (const int card : cards) rows.push_back(card);
  return direct_(rows, rows);
}

std::int64_t SetBandwidth::Direct(CardSet cards) const {
  if (!has_direct_) return 0;
  const Eigen::MatrixXi part = Part(cards);
  if (cards.size() <= kExactRingCards) return RingPacking(part);
  // A ring needs two neighbours a card; whether there is one is not searched for here.
  for (Eigen::Index i = 0; i < part.rows(); ++i) {
    if ((part.row(i).array() > 0).count() < 2) return 0;
  }
  return SmallestCut(part);
}

std::int64_t SetBandwidth::PcieOrHost(CardSet cards) const {
  bool peers = true;
  for (const int card : cards) {
    peers = peers && (cards.bits() & ~peers_[Index(card)].bits()) == 0;
  }
  std::int64_t value = std::numeric_limits<std::int64_t>::max();
  if (peers) {
    for (const CardCut& cut : cuts_) {
      const std::uint64_t inside = cut.side.bits() & cards.bits();
      if (inside != 0 && inside != cards.bits()) value = std::min(value, cut.mbps);
    }
    if (value > 0) return value;  // 0: the PCIe paths are not known
  }
  value = kHostMbps;
  for (const CardSet node : numa_) {
    const int count = CardSet(node.bits() & cards.bits()).size();
    if (count > 0) value = std::min<std::int64_t>(value, kHostNumaMbps / count);
  }
  for (const Shared& link : uplinks_) {
    const int count = CardSet(link.cards.bits() & cards.bits()).size();
    if (count > 0) value = std::min(value, link.mbps / count);
  }
  return value;
}

std::int32_t SetBandwidth::Value(CardSet cards, std::int64_t direct) const {
  if (cards.size() < 2) return 0;
  const MeasuredBandwidth* by_size = nullptr;
  for (const MeasuredBandwidth& m : measured_) {
    if (m.cards == cards) return m.mbps;
    if (m.cards.empty() && m.size == cards.size() && by_size == nullptr) by_size = &m;
  }
  if (by_size != nullptr) return by_size->mbps;
  return Clamp(std::max({Switched(cards), direct, PcieOrHost(cards)}));
}

std::int32_t SetBandwidth::Of(CardSet cards) const {
  return cards.size() < 2 ? 0 : Value(cards, Direct(cards));
}

std::vector<std::int64_t> SetBandwidth::DirectTable() const {
  const std::size_t count = std::size_t{1} << cards_;
  std::vector<std::int64_t> table(count, 0);
  if (!has_direct_) return table;
  const std::vector<char> ring = HasRing(direct_);
  std::int64_t budget =
      cards_ <= kExactRingCards ? std::numeric_limits<std::int64_t>::max() : kExactBudget;
  int exact = 1;
  for (int size = 2; size <= std::min(cards_, kExactRingCards); ++size) {
    std::map<std::vector<int>, std::vector<std::size_t>> equal;
    const std::int64_t cost = Cycles(size) * size * (size - 1) / 2;
    for (std::size_t mask = 0; mask < count && std::cmp_less_equal(equal.size(), budget / cost);
         ++mask) {
      if (ring[mask] == 0 || std::popcount(mask) != size) continue;
      equal[SubgraphKey(Part(CardSet(mask)))].push_back(mask);
    }
    if (std::cmp_greater(equal.size(), budget / cost)) break;
    budget -= static_cast<std::int64_t>(equal.size()) * cost;
    for (const auto& [key, masks] : equal) {
      const std::int64_t value = RingPacking(Part(CardSet(masks.front())));
      for (const std::size_t mask : masks) table[mask] = value;
    }
    exact = size;
  }
  if (exact == cards_) return table;
  // What is inside a set, then every way to part it: cut = whole - one part - the other.
  std::vector<std::int64_t> inside(count, 0);
  for (std::size_t mask = 1; mask < count; ++mask) {
    const CardSet set(mask);
    inside[mask] = inside[mask & (mask - 1)];
    for (const int v : CardSet(mask & (mask - 1))) inside[mask] += direct_(set.lowest(), v);
  }
  for (std::size_t mask = 1; mask < count; ++mask) {
    if (ring[mask] == 0 || std::popcount(mask) <= exact) continue;
    const std::size_t rest = mask & (mask - 1);
    std::int64_t most = 0;  // inside both parts together
    for (std::size_t part = rest; part != 0; part = (part - 1) & rest) {
      most = std::max(most, inside[part] + inside[mask ^ part]);
    }
    table[mask] = inside[mask] - most;
  }
  return table;
}

std::vector<std::int32_t> SetBandwidth::Table() const {
  BASALT_CHECK(cards_ <= kTableCards);
  const std::vector<std::int64_t> direct = DirectTable();
  std::vector<std::int32_t> table(direct.size(), 0);
  for (std::size_t mask = 0; mask < table.size(); ++mask) {
    table[mask] = Value(CardSet(mask), direct[mask]);
  }
  return table;
}

}  // namespace basalt::topology
