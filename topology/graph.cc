#include "topology/graph.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <numeric>
#include <tuple>
#include <utility>

namespace basalt::topology {
namespace {

constexpr std::size_t kMaxVertices = 1024;

bool IsCard(const Vertex& vertex) { return vertex.kind == VertexKind::kCard; }

std::string Lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

// "00000000:4F:00.0" (nvidia-smi) and "4f:00.0" (lspci) are "0000:4f:00.0".
std::string NormalPci(std::string_view text) {
  std::string out = Lower(text);
  const auto colons = std::ranges::count(out, ':');
  if (colons == 1) return "0000:" + out;
  if (colons == 2 && out.find(':') == 8 && out.starts_with("0000")) return out.substr(4);
  return out;
}

class Sets {
 public:
  explicit Sets(std::size_t size) : parent_(size) { std::iota(parent_.begin(), parent_.end(), 0); }
  int Find(int v) {
    while (parent_[Index(v)] != v) v = parent_[Index(v)] = parent_[Index(parent_[Index(v)])];
    return v;
  }
  // False when they were joined already.
  bool Join(int a, int b) {
    a = Find(a);
    b = Find(b);
    parent_[Index(b)] = a;
    return a != b;
  }

 private:
  static std::size_t Index(int v) { return static_cast<std::size_t>(v); }
  std::vector<int> parent_;
};

std::string Name(const MachineGraph& graph, int vertex) {
  const std::string& name = graph.vertices[static_cast<std::size_t>(vertex)].name;
  return name.empty() ? "vertex " + std::to_string(vertex) : name;
}

// The first thing that is wrong with the vertices; empty when nothing is.
std::string VertexFault(const MachineGraph& graph) {
  const int n = graph.cards();
  if (n > kMaxCardsPerNode) {
    return std::to_string(n) + " cards; a machine has at most " + std::to_string(kMaxCardsPerNode);
  }
  if (graph.vertices.size() > kMaxVertices) {
    return std::to_string(graph.vertices.size()) + " vertices; at most " +
           std::to_string(kMaxVertices);
  }
  if (!std::ranges::is_partitioned(graph.vertices, IsCard)) return "the cards must come first";
  for (const Vertex& v : graph.vertices) {
    if (v.numa < -1) return v.name + ": NUMA node " + std::to_string(v.numa);
    if (v.nic_mbps < 0) return v.name + ": NIC of " + std::to_string(v.nic_mbps) + " MB/s";
  }
  for (int i = 0; i < n; ++i) {
    const Vertex& a = graph.vertices[static_cast<std::size_t>(i)];
    for (int j = 0; j < i; ++j) {
      const Vertex& b = graph.vertices[static_cast<std::size_t>(j)];
      if (!a.uuid.empty() && a.uuid == b.uuid) return "two cards with UUID " + a.uuid;
      if (!a.pci.empty() && a.pci == b.pci) return "two cards at " + a.pci;
    }
  }
  return {};
}

// What may be at the ends of a link of this kind.
bool FitsKind(LinkKind link, VertexKind end) {
  switch (link) {
    case LinkKind::kFabric:
      return end == VertexKind::kCard || end == VertexKind::kFabricSwitch ||
             end == VertexKind::kNuma;
    case LinkKind::kPcie:
      return end != VertexKind::kFabricSwitch;
    case LinkKind::kSocket:
      return end == VertexKind::kNuma;
  }
  return false;
}

std::string LinkFault(const MachineGraph& graph) {
  const int size = static_cast<int>(graph.vertices.size());
  Sets trees(graph.vertices.size());
  const Link* before = nullptr;
  for (const Link& link : graph.links) {
    if (link.a < 0 || link.b >= size || link.a >= link.b) {
      return "link " + std::to_string(link.a) + "-" + std::to_string(link.b) +
             ": ends must be two of the " + std::to_string(size) + " vertices, lower one first";
    }
    const std::string name = "link " + Name(graph, link.a) + "-" + Name(graph, link.b);
    if (before != nullptr &&
        std::tie(before->a, before->b, before->kind) >= std::tie(link.a, link.b, link.kind)) {
      return name + ": out of order, or there twice";
    }
    before = &link;
    if (link.mbps <= 0 || link.count <= 0) return name + ": count and capacity must be positive";
    for (const int end : {link.a, link.b}) {
      if (!FitsKind(link.kind, graph.vertices[static_cast<std::size_t>(end)].kind)) {
        return name + ": " + Name(graph, end) + " cannot have a link of this kind";
      }
    }
    if (link.kind == LinkKind::kPcie && !trees.Join(link.a, link.b)) {
      return name + ": closes a circle of PCIe links";
    }
  }
  std::vector<int> numa_of_tree(graph.vertices.size(), -1);
  for (const int numa : graph.Of(VertexKind::kNuma)) {
    int& seen = numa_of_tree[static_cast<std::size_t>(trees.Find(numa))];
    if (seen >= 0) {
      return Name(graph, seen) + " and " + Name(graph, numa) + " are in one PCIe tree";
    }
    seen = numa;
  }
  return {};
}

std::string TableFault(const MachineGraph& graph) {
  const int n = graph.cards();
  if (!graph.p2p.empty() && graph.p2p.size() != static_cast<std::size_t>(n * n)) {
    return "the P2P matrix has " + std::to_string(graph.p2p.size()) + " cells for " +
           std::to_string(n) + " cards";
  }
  for (int a = 0; a < n; ++a) {
    for (int b = 0; b < a; ++b) {
      if (graph.PeerToPeer(a, b) != graph.PeerToPeer(b, a)) {
        return "P2P of " + Name(graph, b) + " and " + Name(graph, a) + " differs by direction";
      }
    }
  }
  const std::uint64_t all = n >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << n) - 1;
  for (const MeasuredBandwidth& m : graph.measured) {
    const int size = m.cards.empty() ? m.size : m.cards.size();
    if (m.mbps <= 0 || size < 2 || size > n || (m.cards.bits() & ~all) != 0) {
      return "measured bandwidth of " + std::to_string(m.mbps) + " MB/s for " +
             std::to_string(size) + " cards: not a set of at least two of this machine's cards";
    }
  }
  return {};
}

}  // namespace

int MachineGraph::cards() const {
  return static_cast<int>(std::ranges::count_if(vertices, IsCard));
}

std::vector<int> MachineGraph::Of(VertexKind kind) const {
  std::vector<int> out;
  for (std::size_t i = 0; i < vertices.size(); ++i) {
    if (vertices[i].kind == kind) out.push_back(static_cast<int>(i));
  }
  return out;
}

int MachineGraph::FindCard(std::string_view uuid_or_pci) const {
  if (uuid_or_pci.empty()) return -1;
  const std::string uuid = Lower(uuid_or_pci);
  const std::string bus = NormalPci(uuid_or_pci);
  for (const int card : Of(VertexKind::kCard)) {
    const Vertex& v = vertices[static_cast<std::size_t>(card)];
    if (!v.uuid.empty() && Lower(v.uuid) == uuid) return card;
    if (!v.pci.empty() && NormalPci(v.pci) == bus) return card;
  }
  return -1;
}

Eigen::MatrixXi MachineGraph::DirectFabric() const {
  const int n = cards();
  Eigen::MatrixXi out = Eigen::MatrixXi::Zero(n, n);
  for (const Link& link : links) {
    if (link.kind != LinkKind::kFabric || link.b >= n) continue;
    out(link.a, link.b) += link.mbps;
    out(link.b, link.a) += link.mbps;
  }
  return out;
}

Eigen::VectorXi MachineGraph::SwitchedFabric() const {
  const int n = cards();
  Eigen::VectorXi out = Eigen::VectorXi::Zero(n);
  for (const Link& link : links) {
    if (link.kind == LinkKind::kFabric && link.a < n && link.b >= n &&
        vertices[static_cast<std::size_t>(link.b)].kind == VertexKind::kFabricSwitch) {
      out(link.a) += link.mbps;
    }
  }
  return out;
}

P2p MachineGraph::PeerToPeer(int a, int b) const {
  if (a == b) return P2p::kYes;
  const std::size_t cell =
      static_cast<std::size_t>(a) * static_cast<std::size_t>(cards()) + static_cast<std::size_t>(b);
  return cell < p2p.size() ? p2p[cell] : P2p::kUnknown;
}

bool MachineGraph::CanPeer(int a, int b) const {
  if (a == b) return true;
  const P2p known = PeerToPeer(a, b);
  if (known == P2p::kYes || (known == P2p::kUnknown && p2p_by_default)) return true;
  // Fabric: a link of their own, or switches that are joined without another card in between.
  if (a > b) std::swap(a, b);
  const auto is_switch = [&](int v) {
    return vertices[static_cast<std::size_t>(v)].kind == VertexKind::kFabricSwitch;
  };
  Sets joined(vertices.size());
  for (const Link& link : links) {
    if (link.kind != LinkKind::kFabric) continue;
    if (link.a == a && link.b == b) return true;
    const auto counts = [&](int v) { return v == a || v == b || is_switch(v); };
    if (counts(link.a) && counts(link.b)) joined.Join(link.a, link.b);
  }
  return joined.Find(a) == joined.Find(b);
}

Status ValidateGraph(const MachineGraph& graph, const std::string& where) {
  for (const auto fault : {&VertexFault, &LinkFault, &TableFault}) {
    std::string message = fault(graph);
    if (!message.empty()) return Fail(where, std::move(message));
  }
  return {};
}

std::int32_t NvlinkMbps(int sm) {
  // The nearest older one when unknown.
  constexpr std::array<std::pair<int, std::int32_t>, 7> kTable = {
      {{60, 18000}, {70, 20000}, {75, 20000}, {80, 20000}, {86, 12000}, {90, 20600}, {100, 40100}}};
  std::int32_t out = 20000;
  if (sm == 0) return out;
  for (const auto& [from, mbps] : kTable) {
    if (sm >= from) out = mbps;
  }
  return out;
}

std::int32_t PcieMbps(double gigatransfers, int width) {
  // MB/s a lane: NCCL's 15, 30, ... 480 are in units of 1/80 GB/s.
  constexpr std::array<std::pair<double, double>, 6> kTable = {
      {{2.5, 187.5}, {5, 375}, {8, 750}, {16, 1500}, {32, 3000}, {64, 6000}}};
  for (const auto& [speed, lane] : kTable) {
    if (gigatransfers == speed && width > 0 && width <= 64)
      return static_cast<std::int32_t>(lane * width);
  }
  return 0;
}

}  // namespace basalt::topology
