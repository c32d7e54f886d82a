#include "topology/ring_packing.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <queue>

#include "scheduler-core/base/check.h"

namespace basalt::topology {
namespace {

void ExtendCycle(const Eigen::MatrixXi& capacity, std::vector<int>* path, std::uint32_t used,
                 std::vector<std::vector<int>>* out) {
  const int n = static_cast<int>(capacity.rows());
  if (static_cast<int>(path->size()) == n) {
    if (capacity(path->back(), 0) > 0 && (*path)[1] < path->back()) out->push_back(*path);
    return;
  }
  for (int v = 1; v < n; ++v) {
    if (((used >> v) & 1U) != 0 || capacity(path->back(), v) <= 0) continue;
    path->push_back(v);
    ExtendCycle(capacity, path, used | (1U << v), out);
    path->pop_back();
  }
}

// max sum x, A x <= b, x >= 0 where A's columns are 0/1 and given by their rows. Revised simplex
// from the slack basis: the inverse of the basis is kept, columns are priced from their row lists.
// The best price enters, the lowest index wins ties; after a run of steps without progress Bland's
// rule takes over, which cannot go round in circles.
double SolvePacking(const std::vector<std::vector<int>>& columns, const Eigen::VectorXd& b) {
  constexpr double kEps = 1e-9;
  const int rows = static_cast<int>(b.size());
  const int count = static_cast<int>(columns.size());
  Eigen::MatrixXd inverse = Eigen::MatrixXd::Identity(rows, rows);
  Eigen::VectorXd value = b;                               // of the basic variables
  std::vector<int> basic(static_cast<std::size_t>(rows));  // column, or count + row for a slack
  std::iota(basic.begin(), basic.end(), count);
  int idle_steps = 0;
  for (;;) {
    Eigen::VectorXd dual = Eigen::VectorXd::Zero(rows);
    for (int i = 0; i < rows; ++i) {
      if (basic[static_cast<std::size_t>(i)] < count) dual += inverse.row(i).transpose();
    }
    const bool bland = idle_steps > 2 * rows;
    int enters = -1;
    double best = kEps;
    for (int j = 0; j < count + rows && !(bland && enters >= 0); ++j) {
      double gain = j < count ? 1 : -dual(j - count);
      if (j < count) {
        for (const int row : columns[static_cast<std::size_t>(j)]) gain -= dual(row);
      }
      if (gain > best) {
        enters = j;
        best = gain;
      }
    }
    if (enters < 0) break;
    Eigen::VectorXd direction = Eigen::VectorXd::Zero(rows);
    if (enters < count) {
      for (const int row : columns[static_cast<std::size_t>(enters)]) direction += inverse.col(row);
    } else {
      direction = inverse.col(enters - count);
    }
    int leaves = -1;
    double step = std::numeric_limits<double>::infinity();
    for (int i = 0; i < rows; ++i) {
      if (direction(i) <= kEps) continue;
      const double ratio = value(i) / direction(i);
      const bool tie = leaves >= 0 && std::abs(ratio - step) <= kEps;
      if (tie ? basic[static_cast<std::size_t>(i)] < basic[static_cast<std::size_t>(leaves)]
              : ratio < step) {
        leaves = i;
        step = std::min(step, ratio);
      }
    }
    BASALT_CHECK(leaves >= 0);  // bounded: every column has a row
    idle_steps = step > kEps ? 0 : idle_steps + 1;
    const Eigen::RowVectorXd pivot = inverse.row(leaves) / direction(leaves);
    const double amount = std::max(0.0, value(leaves) / direction(leaves));
    for (int i = 0; i < rows; ++i) {
      if (i == leaves) continue;
      inverse.row(i) -= direction(i) * pivot;
      value(i) = std::max(0.0, value(i) - direction(i) * amount);
    }
    inverse.row(leaves) = pivot;
    value(leaves) = amount;
    basic[static_cast<std::size_t>(leaves)] = enters;
  }
  double sum = 0;
  for (int i = 0; i < rows; ++i) {
    if (basic[static_cast<std::size_t>(i)] < count) sum += value(i);
  }
  return sum;
}

// One undirected capacity graph on the machine's vertices, with maximum flows by shortest
// augmenting paths.
class FlowGraph {
 public:
  explicit FlowGraph(std::size_t vertices) : edges_(vertices) {}

  void Add(int a, int b, std::int64_t capacity) {
    edges_[Index(a)].push_back({b, edges_[Index(b)].size(), capacity});
    edges_[Index(b)].push_back({a, edges_[Index(a)].size() - 1, capacity});
  }

  // The flow between two vertices; `reached` is the side of `from` in a smallest cut.
  std::int64_t Flow(int from, int to, std::vector<char>* reached) const {
    std::vector<std::vector<Edge>> left = edges_;
    std::int64_t total = 0;
    for (;;) {
      std::vector<std::pair<int, std::size_t>> came(left.size(), {-1, 0});
      reached->assign(left.size(), 0);
      (*reached)[Index(from)] = 1;
      std::queue<int> next({from});
      while (!next.empty() && (*reached)[Index(to)] == 0) {
        const int v = next.front();
        next.pop();
        for (std::size_t e = 0; e < left[Index(v)].size(); ++e) {
          const Edge& edge = left[Index(v)][e];
          if (edge.capacity <= 0 || (*reached)[Index(edge.to)] != 0) continue;
          (*reached)[Index(edge.to)] = 1;
          came[Index(edge.to)] = {v, e};
          next.push(edge.to);
        }
      }
      if ((*reached)[Index(to)] == 0) return total;
      std::int64_t amount = std::numeric_limits<std::int64_t>::max();
      for (int v = to; v != from; v = came[Index(v)].first) {
        amount =
            std::min(amount, left[Index(came[Index(v)].first)][came[Index(v)].second].capacity);
      }
      for (int v = to; v != from; v = came[Index(v)].first) {
        Edge& edge = left[Index(came[Index(v)].first)][came[Index(v)].second];
        edge.capacity -= amount;
        left[Index(edge.to)][edge.back].capacity += amount;
      }
      total += amount;
    }
  }

 private:
  struct Edge {
    int to = 0;
    std::size_t back = 0;  // where the same link stands at the other end
    std::int64_t capacity = 0;
  };
  static std::size_t Index(int v) { return static_cast<std::size_t>(v); }
  std::vector<std::vector<Edge>> edges_;
};

}  // namespace

std::vector<std::vector<int>> HamiltonianCycles(const Eigen::MatrixXi& capacity) {
  std::vector<std::vector<int>> cycles;
  std::vector<int> path = {0};
  if (capacity.rows() >= 3) ExtendCycle(capacity, &path, 1, &cycles);
  return cycles;
}

std::int64_t RingPacking(const Eigen::MatrixXi& capacity) {
  const int n = static_cast<int>(capacity.rows());
  BASALT_CHECK(n >= 2 && n <= kExactRingCards);
  if (n == 2) return std::max(0, capacity(0, 1));
  const std::vector<std::vector<int>> cycles = HamiltonianCycles(capacity);
  if (cycles.empty()) return 0;
  // Rows only for links that exist; capacities in units of the largest, for the tolerances.
  Eigen::MatrixXi row = Eigen::MatrixXi::Constant(n, n, -1);
  std::vector<double> limits;
  const double unit = capacity.maxCoeff();
  for (int a = 0; a < n; ++a) {
    for (int b = a + 1; b < n; ++b) {
      if (capacity(a, b) <= 0) continue;
      row(a, b) = row(b, a) = static_cast<int>(limits.size());
      limits.push_back(capacity(a, b) / unit);
    }
  }
  std::vector<std::vector<int>> columns;
  columns.reserve(cycles.size());
  for (const std::vector<int>& cycle : cycles) {
    std::vector<int> column;
    for (std::size_t i = 0; i < cycle.size(); ++i) {
      column.push_back(row(cycle[i], cycle[(i + 1) % cycle.size()]));
    }
    columns.push_back(std::move(column));
  }
  const double best = SolvePacking(
      columns,
      Eigen::Map<const Eigen::VectorXd>(limits.data(), static_cast<Eigen::Index>(limits.size())));
  return std::llround(2 * best * unit);
}

std::int64_t SmallestCut(const Eigen::MatrixXi& capacity) {
  using Matrix = Eigen::Matrix<std::int64_t, Eigen::Dynamic, Eigen::Dynamic>;
  Matrix weight = capacity.cast<std::int64_t>();
  std::vector<int> left(static_cast<std::size_t>(weight.rows()));
  std::iota(left.begin(), left.end(), 0);
  std::int64_t best = std::numeric_limits<std::int64_t>::max();
  while (left.size() > 1) {
    // The vertex most tightly joined to those taken comes next; the last one's weight is a cut.
    std::vector<std::int64_t> joined(static_cast<std::size_t>(weight.rows()), 0);
    std::vector<int> rest = left;
    int before = -1;
    int last = -1;
    while (!rest.empty()) {
      const auto it = std::max_element(rest.begin(), rest.end(), [&](int a, int b) {
        return joined[static_cast<std::size_t>(a)] < joined[static_cast<std::size_t>(b)];
      });
      before = last;
      last = *it;
      rest.erase(it);
      for (const int v : rest) joined[static_cast<std::size_t>(v)] += weight(last, v);
    }
    best = std::min(best, joined[static_cast<std::size_t>(last)]);
    for (const int v : left) {
      if (v == before || v == last) continue;
      weight(before, v) += weight(last, v);
      weight(v, before) = weight(before, v);
    }
    left.erase(std::find(left.begin(), left.end(), last));
  }
  return best;
}

std::vector<CardCut> PcieCuts(const MachineGraph& graph) {
  const int cards = graph.cards();
  FlowGraph flow(graph.vertices.size());
  for (const Link& link : graph.links) {
    // A card's own link to the CPU (POWER8's NVLink) carries what PCIe would.
    const bool to_cpu =
        graph.vertices[static_cast<std::size_t>(link.a)].kind == VertexKind::kNuma ||
        graph.vertices[static_cast<std::size_t>(link.b)].kind == VertexKind::kNuma;
    if (link.kind != LinkKind::kFabric || to_cpu) flow.Add(link.a, link.b, link.mbps);
  }
  std::vector<int> parent(static_cast<std::size_t>(cards), 0);
  std::vector<std::int64_t> mbps(static_cast<std::size_t>(cards), 0);
  std::vector<char> reached;
  for (int i = 1; i < cards; ++i) {
    const auto at = static_cast<std::size_t>(i);
    mbps[at] = flow.Flow(i, parent[at], &reached);
    for (int j = i + 1; j < cards; ++j) {
      const auto other = static_cast<std::size_t>(j);
      if (reached[other] != 0 && parent[other] == parent[at]) parent[other] = i;
    }
  }
  std::vector<CardCut> cuts;
  for (int i = 1; i < cards; ++i) {
    CardCut cut;
    for (int j = 0; j < cards; ++j) {
      int v = j;
      while (v != 0 && v != i) v = parent[static_cast<std::size_t>(v)];
      if (v == i) cut.side.Add(j);
    }
    cut.mbps = mbps[static_cast<std::size_t>(i)];
    cuts.push_back(cut);
  }
  return cuts;
}

}  // namespace basalt::topology
