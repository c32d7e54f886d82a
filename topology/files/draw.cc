#include "topology/files/draw.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

namespace basalt::topology {
namespace {

std::size_t Index(int i) { return static_cast<std::size_t>(i); }

std::string Title(const MachineGraph& graph) {
  std::string title = fmt::format("{} {}", graph.cards(), graph.cards() == 1 ? "card" : "cards");
  if (!graph.name.empty()) title = graph.name + ": " + title;
  if (!graph.vendor.empty()) title += ", " + graph.vendor;
  if (!graph.fabric.empty()) title += ", " + graph.fabric;
  if (graph.sm > 0)
    title += fmt::format(", compute capability {}.{}", graph.sm / 10, graph.sm % 10);
  return title;
}

std::string Label(const MachineGraph& graph, int vertex, const DrawOptions& options) {
  const Vertex& v = graph.vertices[Index(vertex)];
  std::string text = v.name;
  if (v.kind == VertexKind::kNic && v.nic_mbps > 0) {
    text += fmt::format(" {} Gb/s", v.nic_mbps * 8 / 1000);
  }
  if (v.kind == VertexKind::kCard) {
    if (options.chosen.Has(vertex)) text += " *";
    if (!options.free.Has(vertex)) text += " (taken)";
  }
  return text;
}

void DrawTree(const MachineGraph& graph, const DrawOptions& options,
              const std::vector<TreeNode>& nodes, int at, const std::string& indent,
              std::string* out) {
  const std::vector<int>& children = nodes[Index(at)].children;
  for (std::size_t i = 0; i < children.size(); ++i) {
    const TreeNode& child = nodes[Index(children[i])];
    const bool last = i + 1 == children.size();
    *out += fmt::format("{}{}{:>5} {}\n", indent, last ? "└─" : "├─", GigaBytes(child.mbps),
                        Label(graph, child.vertex, options));
    DrawTree(graph, options, nodes, children[i], indent + (last ? "   " : "│  "), out);
  }
}

void DrawDirect(const MachineGraph& graph, std::string* out) {
  const Eigen::MatrixXi direct = graph.DirectFabric();
  if (direct.size() == 0 || direct.maxCoeff() <= 0) return;
  const int n = graph.cards();
  std::size_t width = 3;
  for (int a = 0; a < n; ++a) {
    for (int b = 0; b < n; ++b) width = std::max(width, GigaBytes(direct(a, b)).size());
  }
  *out += fmt::format("\n{} between cards, GB/s one way\n     ",
                      graph.fabric.empty() ? "Links" : graph.fabric);
  for (int b = 0; b < n; ++b) *out += fmt::format(" {:>{}}", b, width);
  *out += "\n";
  for (int a = 0; a < n; ++a) {
    *out += fmt::format("{:>5}", a);
    for (int b = 0; b < n; ++b) {
      *out += fmt::format(" {:>{}}", direct(a, b) > 0 ? GigaBytes(direct(a, b)) : ".", width);
    }
    *out += "\n";
  }
}

void DrawSwitched(const MachineGraph& graph, std::string* out) {
  const Eigen::VectorXi switched = graph.SwitchedFabric();
  if (switched.size() == 0 || switched.maxCoeff() <= 0) return;
  const std::size_t switches = graph.Of(VertexKind::kFabricSwitch).size();
  *out += fmt::format(
      "\n{} into {} fabric {}, GB/s one way: ", graph.fabric.empty() ? "Links" : graph.fabric,
      switches, switches == 1 ? "switch" : "switches");
  if (switched.maxCoeff() == switched.minCoeff()) {
    *out += fmt::format("{} from each card", GigaBytes(switched(0)));
  } else {
    for (int i = 0; i < graph.cards(); ++i) {
      *out += fmt::format("{}{} from {}", i == 0 ? "" : ", ", GigaBytes(switched(i)),
                          graph.vertices[Index(i)].name);
    }
  }
  *out += graph.in_network_reduction ? "; they reduce in the network\n" : "\n";
}

}  // namespace

std::string GigaBytes(std::int64_t mbps) {
  std::string text = fmt::format("{:.1f}", static_cast<double>(mbps) / 1000);
  if (text.ends_with(".0")) text.resize(text.size() - 2);
  return text;
}

std::string CardListText(CardSet cards) {
  std::string out;
  for (int i = 0; i < kMaxCardsPerNode; ++i) {
    if (!cards.Has(i)) continue;
    int end = i;
    while (end + 1 < kMaxCardsPerNode && cards.Has(end + 1)) ++end;
    out += (out.empty() ? "" : ",") + std::to_string(i);
    if (end > i) out += (end == i + 1 ? "," : "-") + std::to_string(end);
    i = end;
  }
  return out.empty() ? "-" : out;
}

std::vector<TreeNode> PcieForest(const MachineGraph& graph, std::vector<int>* roots) {
  const std::size_t n = graph.vertices.size();
  std::vector<std::vector<std::pair<int, std::int32_t>>> next(n);
  std::vector<char> linked(n, 0);
  for (const Link& link : graph.links) {
    if (link.kind != LinkKind::kPcie) continue;
    next[Index(link.a)].emplace_back(link.b, link.mbps);
    next[Index(link.b)].emplace_back(link.a, link.mbps);
  }
  std::vector<int> order(n);
  std::iota(order.begin(), order.end(), 0);
  const auto rank = [&](int v) {
    const VertexKind kind = graph.vertices[Index(v)].kind;
    if (kind == VertexKind::kNuma) return 0;
    if (kind == VertexKind::kHostBridge) return 1;
    return kind == VertexKind::kPcieSwitch ? 2 : (kind == VertexKind::kCard ? 3 : 4);
  };
  std::ranges::stable_sort(order, {}, rank);
  std::vector<TreeNode> nodes;
  const auto grow = [&](const auto& self, int vertex, int depth, std::int32_t mbps) -> int {
    linked[Index(vertex)] = 1;
    const int place = static_cast<int>(nodes.size());
    nodes.push_back({vertex, depth, mbps, {}});
    for (const auto& [to, capacity] : next[Index(vertex)]) {
      if (linked[Index(to)] != 0) continue;
      const int child = self(self, to, depth + 1, capacity);
      nodes[Index(place)].children.push_back(child);
    }
    return place;
  };
  for (const int v : order) {
    if (linked[Index(v)] != 0 || graph.vertices[Index(v)].kind == VertexKind::kFabricSwitch)
      continue;
    roots->push_back(grow(grow, v, 0, 0));
  }
  return nodes;
}

std::string DrawText(const MachineGraph& graph, const DrawOptions& options) {
  std::string out = Title(graph) + "\n\n";
  std::vector<int> roots;
  const std::vector<TreeNode> nodes = PcieForest(graph, &roots);
  std::string loose;
  for (const int root : roots) {
    const TreeNode& node = nodes[Index(root)];
    if (node.children.empty() && graph.vertices[Index(node.vertex)].kind != VertexKind::kNuma) {
      loose += (loose.empty() ? "" : ", ") + Label(graph, node.vertex, options);
      continue;
    }
    out += Label(graph, node.vertex, options);
    std::string sockets;
    int count = 0;
    std::int32_t low = 0;
    std::int32_t high = 0;
    for (const Link& link : graph.links) {
      const bool ends_here = link.a == node.vertex || link.b == node.vertex;
      if (link.kind != LinkKind::kSocket || !ends_here) continue;
      const int other = link.a == node.vertex ? link.b : link.a;
      sockets += fmt::format("{}{} {}", sockets.empty() ? "" : ", ",
                             graph.vertices[Index(other)].name, GigaBytes(link.mbps));
      low = count == 0 ? link.mbps : std::min(low, link.mbps);
      high = std::max(high, link.mbps);
      ++count;
    }
    if (count > 3 && low == high) {
      sockets = fmt::format("{} other NUMA nodes {} each", count, GigaBytes(low));
    }
    out += sockets.empty() ? "\n" : "  (to " + sockets + ")\n";
    DrawTree(graph, options, nodes, root, "", &out);
  }
  if (!loose.empty()) out += "PCIe path not known: " + loose + "\n";
  DrawDirect(graph, &out);
  DrawSwitched(graph, &out);
  for (const std::string& warning : graph.warnings) out += "note: " + warning + "\n";
  return out;
}

}  // namespace basalt::topology
