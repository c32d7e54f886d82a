#include "topology/peer_rules.h"

#include <algorithm>
#include <bit>
#include <queue>
#include <vector>

namespace basalt::topology {
namespace {

// What the PCIe path between two cards crosses decides its score.
int PcieScore(const MachineGraph& graph, const std::vector<std::vector<const Link*>>& links_of,
              int from, int to) {
  std::vector<const Link*> came(graph.vertices.size(), nullptr);
  std::vector<char> seen(graph.vertices.size(), 0);
  std::queue<int> next;
  next.push(from);
  seen[static_cast<std::size_t>(from)] = 1;
  while (!next.empty() && seen[static_cast<std::size_t>(to)] == 0) {
    const int v = next.front();
    next.pop();
    for (const Link* link : links_of[static_cast<std::size_t>(v)]) {
      const int w = link->a == v ? link->b : link->a;
      if (seen[static_cast<std::size_t>(w)] != 0) continue;
      seen[static_cast<std::size_t>(w)] = 1;
      came[static_cast<std::size_t>(w)] = link;
      next.push(w);
    }
  }
  if (seen[static_cast<std::size_t>(to)] == 0) return 10;  // no path known: as across sockets
  int switches = 0;
  bool bridge = false;
  bool numa = false;
  bool socket = false;
  for (int v = to; v != from;) {
    const Link* link = came[static_cast<std::size_t>(v)];
    v = link->a == v ? link->b : link->a;
    socket = socket || link->kind == LinkKind::kSocket;
    const VertexKind kind = graph.vertices[static_cast<std::size_t>(v)].kind;
    switches += kind == VertexKind::kPcieSwitch ? 1 : 0;
    bridge = bridge || kind == VertexKind::kHostBridge;
    numa = numa || kind == VertexKind::kNuma;
  }
  if (socket) return 10;
  if (numa) return 20;
  if (bridge) return 30;
  return switches > 1 ? 40 : 50;
}

int NvlinksBetween(const MachineGraph& graph, int a, int b) {
  int direct = 0;
  int to_switch_a = 0;
  int to_switch_b = 0;
  for (const Link& link : graph.links) {
    if (link.kind != LinkKind::kFabric) continue;
    if (link.a == a && link.b == b) direct += link.count;
    const bool switched =
        graph.vertices[static_cast<std::size_t>(link.b)].kind == VertexKind::kFabricSwitch;
    if (switched && link.a == a) to_switch_a += link.count;
    if (switched && link.a == b) to_switch_b += link.count;
  }
  return direct + std::min(to_switch_a, to_switch_b);
}

int SumOver(const Eigen::MatrixXi& scores, CardSet set) {
  int sum = 0;
  for (const int a : set) {
    for (const int b : set) {
      if (a < b) sum += scores(a, b);
    }
  }
  return sum;
}

// Calls fn for each subset of `free` with `size` cards, in lexicographic order of the cards.
template <class F>
void ForEachSubset(const std::vector<int>& free, int size, const F& fn) {
  std::vector<int> at(static_cast<std::size_t>(size));
  const auto visit = [&](const auto& self, int depth, int from, CardSet set) -> void {
    if (depth == size) return fn(set);
    for (int i = from; i + (size - depth) <= static_cast<int>(free.size()); ++i) {
      CardSet with = set;
      with.Add(free[static_cast<std::size_t>(i)]);
      self(self, depth + 1, i + 1, with);
    }
  };
  visit(visit, 0, 0, CardSet());
}

struct BestPartition {
  int sum = -1;
  CardSet set;  // its best full set
};

// Sets are made from the lowest card left, as go-gpuallocator does; `pads` empty places are left.
void Partition(const Eigen::MatrixXi& scores, CardSet left, int size, int pads, int sum,
               CardSet best_set, int best_score, BestPartition* best) {
  if (left.empty()) {
    // Where padding left no set whole, go-gpuallocator gives up; we pass to the next partition.
    if (!best_set.empty() && sum > best->sum) *best = BestPartition{sum, best_set};
    return;
  }
  const int lowest = left.lowest();
  std::vector<int> others;
  for (const int card : left) {
    if (card != lowest) others.push_back(card);
  }
  for (int real = size; real >= std::max(1, size - pads); --real) {
    if (real - 1 > static_cast<int>(others.size())) continue;
    ForEachSubset(others, real - 1, [&](CardSet rest) {
      CardSet set = rest;
      set.Add(lowest);
      const int score = SumOver(scores, set);
      const bool better = real == size && score > best_score;
      Partition(scores, CardSet(left.bits() & ~set.bits()), size, pads - (size - real), sum + score,
                better ? set : best_set, better ? score : best_score, best);
    });
  }
}

}  // namespace

Eigen::MatrixXi PairScores(const MachineGraph& graph) {
  const int n = graph.cards();
  std::vector<std::vector<const Link*>> links_of(graph.vertices.size());
  for (const Link& link : graph.links) {
    if (link.kind == LinkKind::kFabric) continue;
    links_of[static_cast<std::size_t>(link.a)].push_back(&link);
    links_of[static_cast<std::size_t>(link.b)].push_back(&link);
  }
  Eigen::MatrixXi scores = Eigen::MatrixXi::Zero(n, n);
  for (int a = 0; a < n; ++a) {
    for (int b = a + 1; b < n; ++b) {
      scores(a, b) = PcieScore(graph, links_of, a, b) + 100 * NvlinksBetween(graph, a, b);
      scores(b, a) = scores(a, b);
    }
  }
  return scores;
}

CardSet PairSumSet(const Eigen::MatrixXi& scores, CardSet free, int size) {
  if (size <= 0 || free.size() < size) return {};
  if (free.size() == size) return free;
  CardSet best;
  double subsets = 1;
  for (int i = 0; i < size; ++i) subsets = subsets * (free.size() - i) / (i + 1);
  if (subsets > kMostSubsets) {
    for (const int card : free) {
      if (best.size() < size) best.Add(card);
    }
    return best;
  }
  if (size == 1) {
    int lowest = 0;
    for (const int a : free) {
      int sum = 0;
      for (const int b : free) sum += a == b ? 0 : scores(a, b);
      if (best.empty() || sum < lowest) {
        best = CardSet::Of(a);
        lowest = sum;
      }
    }
    return best;
  }
  int highest = -1;
  std::vector<int> cards;
  for (const int card : free) cards.push_back(card);
  ForEachSubset(cards, size, [&](CardSet set) {
    const int sum = SumOver(scores, set);
    if (sum > highest) {
      highest = sum;
      best = set;
    }
  });
  return best;
}

CardSet GoAllocatorSet(const Eigen::MatrixXi& scores, CardSet free, int size) {
  if (size <= 0 || free.size() < size) return {};
  if (size == 1) return CardSet::Of(free.lowest());
  if (free.size() > kMostPartitioned) return PairSumSet(scores, free, size);
  const int pads = (size - free.size() % size) % size;
  BestPartition best;
  Partition(scores, free, size, pads, 0, CardSet(), -1, &best);
  return best.set;
}

}  // namespace basalt::topology
