// Random machines, and the slow obvious versions of what the bandwidth tables hold.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <numeric>
#include <string>
#include <tuple>
#include <vector>

#include "scheduler-core/base/check.h"
#include "scheduler-core/base/rng.h"
#include "topology/bandwidth.h"
#include "topology/graph.h"
#include "topology/ring_packing.h"
#include "topology/set_bandwidth.h"
#include "topology/synthetic.h"

namespace basalt::topology {

inline MachineGraph MustParse(const std::string& text) {
  auto graph = ParseGraph(text);
  if (!graph) ADD_FAILURE() << text << "\n" << graph.error().ToString();
  BASALT_CHECK(graph.has_value());
  return std::move(*graph);
}

inline std::shared_ptr<const MachineType> MustMake(MachineGraph graph) {
  auto type = MachineType::Make(std::move(graph));
  if (!type) ADD_FAILURE() << type.error().ToString();
  BASALT_CHECK(type.has_value());
  return std::move(*type);
}

inline CardSet All(int cards) {
  return CardSet(cards >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << cards) - 1);
}

// Any valid machine: vertices of all kinds in any order after the cards, PCIe forests, sockets,
// direct and switched fabric, P2P in part, measured values.
inline MachineGraph RandomGraph(Rng& rng, int cards) {
  const auto below = [&](int n) {
    return static_cast<int>(rng.Below(static_cast<std::uint32_t>(n)));
  };
  MachineGraph g;
  g.vendor = below(3) == 0 ? "" : (below(2) == 0 ? "NVIDIA" : "a b=%,\xC3\xA9");
  g.fabric = below(2) == 0 ? "" : "NVLink";
  g.sm = below(3) == 0 ? 0 : 60 + below(60);
  g.in_network_reduction = below(3) == 0;
  g.p2p_by_default = below(4) != 0;
  const auto vertex = [&](VertexKind kind) {
    Vertex v;
    v.kind = kind;
    v.name = "v" + std::to_string(g.vertices.size());
    v.numa = below(4) - 1;
    if (kind == VertexKind::kNic) v.nic_mbps = below(3) * 12'500;
    g.vertices.push_back(v);
  };
  for (int i = 0; i < cards; ++i) vertex(VertexKind::kCard);
  const int others = below(14);
  for (int i = 0; i < others; ++i) vertex(static_cast<VertexKind>(1 + below(5)));
  const int n = static_cast<int>(g.vertices.size());
  const auto kind = [&](int v) { return g.vertices[static_cast<std::size_t>(v)].kind; };
  std::map<std::tuple<int, int, LinkKind>, Link> links;
  const auto add = [&](int a, int b, LinkKind of) {
    if (a > b) std::swap(a, b);
    const int count = 1 + below(4);
    const int mbps = below(5) == 0 ? 1000 + below(50'000) : count * 5000 * (1 + below(4));
    links.emplace(std::tuple(a, b, of), Link{a, b, of, count, mbps});
  };
  std::vector<int> tree(g.vertices.size());
  std::iota(tree.begin(), tree.end(), 0);
  const auto is_numa_tree = [&](int t) {
    for (int v = 0; v < n; ++v) {
      if (tree[static_cast<std::size_t>(v)] == t && kind(v) == VertexKind::kNuma) return true;
    }
    return false;
  };
  for (int i = 0; i < 3 * n; ++i) {
    const int a = below(n);
    const int b = below(n);
    const int ta = tree[static_cast<std::size_t>(a)];
    const int tb = tree[static_cast<std::size_t>(b)];
    if (ta == tb || kind(a) == VertexKind::kFabricSwitch || kind(b) == VertexKind::kFabricSwitch ||
        (is_numa_tree(ta) && is_numa_tree(tb))) {
      continue;
    }
    add(a, b, LinkKind::kPcie);
    for (int& t : tree) t = t == tb ? ta : t;
  }
  const int density = below(4);
  for (int a = 0; a < n; ++a) {
    for (int b = a + 1; b < n; ++b) {
      const bool numa = kind(a) == VertexKind::kNuma && kind(b) == VertexKind::kNuma;
      if (numa && below(3) > 0) add(a, b, LinkKind::kSocket);
      const auto fabric = [&](int v) {
        return kind(v) == VertexKind::kCard || kind(v) == VertexKind::kFabricSwitch;
      };
      if (fabric(a) && fabric(b) && below(4) < density) add(a, b, LinkKind::kFabric);
    }
  }
  for (const auto& [key, link] : links) g.links.push_back(link);
  if (below(2) == 0) {
    const bool alike = below(2) == 0;
    const auto value = static_cast<P2p>(below(3));
    g.p2p.assign(static_cast<std::size_t>(cards * cards), P2p::kYes);
    for (int a = 0; a < cards; ++a) {
      for (int b = 0; b < a; ++b) {
        const auto cell = alike ? value : static_cast<P2p>(below(3));
        g.p2p[static_cast<std::size_t>(a * cards + b)] = cell;
        g.p2p[static_cast<std::size_t>(b * cards + a)] = cell;
      }
    }
  }
  if (cards >= 3 && below(2) == 0) {
    g.measured.push_back({CardSet(), 2, 7000 + below(1000)});
    g.measured.push_back({CardSet(7), 0, 9000 + below(1000)});
  }
  return g;
}

// ---- slow versions ----

// max sum x, A x <= b in exact fractions, by the textbook tableau with Bland's rule.
class Fraction {
 public:
  Fraction(__int128 n = 0, __int128 d = 1) : n_(n), d_(d) {  // NOLINT: numbers are fractions
    __int128 a = n_ < 0 ? -n_ : n_;
    __int128 b = d_;
    while (b != 0) a = std::exchange(b, a % b);
    if (a > 1) n_ /= a, d_ /= a;
  }
  friend Fraction operator-(Fraction a, Fraction b) {
    return {a.n_ * b.d_ - b.n_ * a.d_, a.d_ * b.d_};
  }
  friend Fraction operator*(Fraction a, Fraction b) { return {a.n_ * b.n_, a.d_ * b.d_}; }
  friend Fraction operator/(Fraction a, Fraction b) {
    return b.n_ < 0 ? Fraction(-a.n_ * b.d_, -a.d_ * b.n_) : Fraction(a.n_ * b.d_, a.d_ * b.n_);
  }
  friend bool operator<(Fraction a, Fraction b) { return a.n_ * b.d_ < b.n_ * a.d_; }
  bool zero() const { return n_ == 0; }
  double value() const { return static_cast<double>(n_) / static_cast<double>(d_); }

 private:
  __int128 n_, d_;
};

// The packing of directed rings, all permutations tried: a cycle is one that starts at 0.
inline double SlowRingPacking(const Eigen::MatrixXi& capacity) {
  const int k = static_cast<int>(capacity.rows());
  if (k == 2) return capacity(0, 1);
  std::vector<std::pair<int, int>> edges;
  for (int a = 0; a < k; ++a) {
    for (int b = a + 1; b < k; ++b) edges.emplace_back(a, b);
  }
  std::vector<int> order(static_cast<std::size_t>(k) - 1);
  std::iota(order.begin(), order.end(), 1);
  std::vector<std::vector<int>> columns;
  do {
    if (order.front() > order.back()) continue;
    std::vector<int> ring = {0};
    ring.insert(ring.end(), order.begin(), order.end());
    std::vector<int> column(edges.size(), 0);
    bool exists = true;
    for (std::size_t i = 0; i < ring.size(); ++i) {
      const auto edge = std::minmax(ring[i], ring[(i + 1) % ring.size()]);
      exists = exists && capacity(edge.first, edge.second) > 0;
      column[static_cast<std::size_t>(
          std::find(edges.begin(), edges.end(), std::pair<int, int>(edge)) - edges.begin())] = 1;
    }
    if (exists) columns.push_back(std::move(column));
  } while (std::next_permutation(order.begin(), order.end()));
  if (columns.empty()) return 0;
  const std::size_t m = edges.size();
  const std::size_t n = columns.size();
  // Rows 0..m-1: constraints, row m: the objective; the last column is the right side.
  std::vector<std::vector<Fraction>> t(m + 1, std::vector<Fraction>(n + m + 1));
  std::vector<std::size_t> basic(m);
  for (std::size_t i = 0; i < m; ++i) {
    for (std::size_t j = 0; j < n; ++j) t[i][j] = columns[j][i];
    t[i][n + i] = 1;
    t[i][n + m] = capacity(edges[i].first, edges[i].second);
    basic[i] = n + i;
  }
  for (std::size_t j = 0; j < n; ++j) t[m][j] = -1;
  for (;;) {
    std::size_t enters = 0;
    while (enters < n + m && !(t[m][enters] < Fraction(0))) ++enters;
    if (enters == n + m) return 2 * t[m][n + m].value();
    std::size_t leaves = m;
    for (std::size_t i = 0; i < m; ++i) {
      if (!(Fraction(0) < t[i][enters])) continue;
      if (leaves == m) {
        leaves = i;
        continue;
      }
      const Fraction a = t[i][n + m] / t[i][enters];
      const Fraction b = t[leaves][n + m] / t[leaves][enters];
      if (a < b || (!(b < a) && basic[i] < basic[leaves])) leaves = i;
    }
    BASALT_CHECK(leaves < m);
    const Fraction pivot = t[leaves][enters];
    for (Fraction& cell : t[leaves]) cell = cell / pivot;
    for (std::size_t i = 0; i <= m; ++i) {
      const Fraction factor = t[i][enters];
      if (i == leaves || factor.zero()) continue;
      for (std::size_t j = 0; j <= n + m; ++j) t[i][j] = t[i][j] - factor * t[leaves][j];
    }
    basic[leaves] = enters;
  }
}

// The smallest cut over all ways to part the rows.
inline std::int64_t SlowCut(const Eigen::MatrixXi& capacity) {
  const int n = static_cast<int>(capacity.rows());
  std::int64_t best = INT64_MAX;
  for (std::uint32_t side = 1; side < (1U << (n - 1)); ++side) {
    std::int64_t cut = 0;
    for (int a = 0; a < n; ++a) {
      for (int b = 0; b < a; ++b) {
        if (((side >> a) & 1U) != ((side >> b) & 1U)) cut += capacity(a, b);
      }
    }
    best = std::min(best, cut);
  }
  return best;
}

// The smallest PCIe cut that parts the set, over all ways to part the machine's vertices.
inline std::int64_t SlowPcieCut(const MachineGraph& g, CardSet set) {
  std::int64_t best = INT64_MAX;
  const std::size_t n = g.vertices.size();
  BASALT_CHECK(n <= 16);
  for (std::uint64_t side = 0; side < (std::uint64_t{1} << n); ++side) {
    const std::uint64_t inside = side & set.bits();
    if (inside == 0 || inside == set.bits()) continue;
    std::int64_t cut = 0;
    for (const Link& l : g.links) {
      if (l.kind != LinkKind::kFabric && ((side >> l.a) & 1U) != ((side >> l.b) & 1U))
        cut += l.mbps;
    }
    best = std::min(best, cut);
  }
  return best;
}

}  // namespace basalt::topology
