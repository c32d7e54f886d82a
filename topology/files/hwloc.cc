#include "topology/files/hwloc.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <map>
#include <optional>
#include <pugixml.hpp>
#include <set>
#include <utility>
#include <vector>

#include "topology/files/graph_builder.h"

namespace basalt::topology {
namespace {

constexpr int kMaxDepth = 64;
constexpr int kMaxTableObjects = 256;

// Compute capability by words of the model's name, the first that is in it.
constexpr std::array<std::pair<std::string_view, int>, 15> kModels = {{{"P100", 60},
                                                                       {"V100", 70},
                                                                       {"A100", 80},
                                                                       {"A800", 80},
                                                                       {"A30", 80},
                                                                       {"A40", 86},
                                                                       {"A6000", 86},
                                                                       {"H100", 90},
                                                                       {"H800", 90},
                                                                       {"H200", 90},
                                                                       {"H20", 90},
                                                                       {"GH200", 90},
                                                                       {"GB200", 100},
                                                                       {"B200", 100},
                                                                       {"B100", 100}}};

bool Is(const pugi::xml_node& node, std::string_view name) { return node.name() == name; }
bool IsType(const pugi::xml_node& node, std::string_view type) {
  return Is(node, "object") && node.attribute("type").value() == type;
}

std::string_view Info(const pugi::xml_node& node, std::string_view name) {
  for (const pugi::xml_node info : node.children("info")) {
    if (info.attribute("name").value() == name) return info.attribute("value").value();
  }
  return {};
}

// nvml0, cuda3, rsmi1: the number, or nothing.
std::optional<int> Numbered(std::string_view name, std::string_view prefix) {
  if (!name.starts_with(prefix)) return std::nullopt;
  return WholeNumber(name.substr(prefix.size()), 0, 1023);
}

// A bridge or a device of the PCIe tree.
struct Node {
  VertexKind kind = VertexKind::kPcieSwitch;
  Vertex vertex;
  int order = 0;          // cards
  std::int32_t mbps = 0;  // of the link to above
  std::string nodes;      // host bridges: the mask of NUMA nodes that they are at
  std::vector<std::size_t> below;
};

class Reader {
 public:
  Reader(std::string_view text, const std::string& name) : text_(text), name_(name) {}

  Result<MachineGraph> Read() {
    pugi::xml_document document;
    const pugi::xml_parse_result parsed =
        document.load_buffer(text_.data(), text_.size(), pugi::parse_default, pugi::encoding_utf8);
    if (!parsed) {
      return Fail(PlaceOf(name_, text_, static_cast<std::size_t>(parsed.offset)),
                  std::string("not well-formed XML: ") + parsed.description());
    }
    const pugi::xml_node root = document.document_element();
    const std::string_view version = root.attribute("version").value();
    if (!Is(root, "topology")) return Fail(Place(root), "the root element is not <topology>");
    if (!version.starts_with("2.") && !version.starts_with("3.")) {
      return Fail(Place(root), "hwloc XML of version " + Quoted(version) +
                                   "; export it with lstopo of hwloc 2 or 3");
    }
    for (const pugi::xml_node child : root.children("object")) {
      const Status ok = Walk(child, "", 0);
      if (!ok) return tl::unexpected(ok.error());
    }
    SetMaker();
    AddNumaNodes(root);
    for (const std::size_t host : hosts_) AddHost(host);
    for (const char* const tag : {"distances2hetero", "distances2"}) {
      for (const pugi::xml_node table : root.children(tag)) {
        const Status ok = Table(table);
        if (!ok) return tl::unexpected(ok.error());
      }
    }
    JoinSwitches();
    return built_.Finish(name_);
  }

 private:
  std::string Place(const pugi::xml_node& node) const {
    const std::ptrdiff_t offset = node.offset_debug();
    return offset < 0 ? name_ : PlaceOf(name_, text_, static_cast<std::size_t>(offset));
  }

  // `nodes`: the NUMA nodes of the object around this one.
  Status Walk(const pugi::xml_node& node, std::string nodes, int depth) {
    if (depth > kMaxDepth) return Fail(Place(node), "objects nested too deep");
    if (IsType(node, "Bridge")) {
      // Devices of the root bus come one by one under the CPU's objects; each has its host bridge.
      std::size_t host = NewNode(VertexKind::kHostBridge);
      tree_[host].nodes = nodes;
      hosts_.push_back(host);
      if (node.attribute("bridge_type").value() == std::string_view("0-1")) {
        return Below(node, host, depth);
      }
      return Device(node, host, depth);
    }
    if (node.attribute("nodeset")) nodes = node.attribute("nodeset").value();
    const auto gp = WholeNumber(node.attribute("gp_index").value(), 0, 1 << 30);
    if (IsType(node, "Package") && gp) packages_["Package:" + std::to_string(*gp)] = nodes;
    if (IsType(node, "Package") && cpu_.empty()) cpu_ = node;
    if (IsType(node, "NUMANode")) {
      const auto index = WholeNumber(node.attribute("os_index").value(), 0, kMaxNumaNode);
      if (!index) return Fail(Place(node), "a NUMA node without its number");
      const auto cpus = CpuListOfMask(node.attribute("cpuset").value());
      if (!numa_.emplace(*index, cpus.value_or("")).second) {
        return Fail(Place(node), "a second NUMA node " + std::to_string(*index));
      }
    }
    for (const pugi::xml_node child : node.children("object")) {
      const Status ok = Walk(child, nodes, depth + 1);
      if (!ok) return ok;
    }
    return {};
  }

  std::size_t NewNode(VertexKind kind) {
    tree_.emplace_back().kind = kind;
    return tree_.size() - 1;
  }

  Status Below(const pugi::xml_node& node, std::size_t above, int depth) {
    if (depth > kMaxDepth) return Fail(Place(node), "objects nested too deep");
    for (const pugi::xml_node child : node.children("object")) {
      const Status ok = Device(child, above, depth + 1);
      if (!ok) return ok;
    }
    return {};
  }

  // GB/s of the line: 15.75 is 8 GT/s x16.
  std::int32_t LinkMbps(const pugi::xml_node& node) {
    const std::string_view text = node.attribute("pci_link_speed").value();
    double rate = 0;
    std::from_chars(text.data(), text.data() + text.size(), rate);
    const bool sane = rate > 0.01 && rate < 1000;  // also false for NaN
    if (sane) return static_cast<std::int32_t>(std::lround(rate * 12000 / 15.753846));
    built_.Warn("PCIe links without a known speed are taken as 8 GT/s x16");
    return kUnknownPcieMbps;
  }

  Status Device(const pugi::xml_node& node, std::size_t above, int depth) {
    if (IsType(node, "Bridge")) {
      const std::size_t bridge = NewNode(VertexKind::kPcieSwitch);
      tree_[bridge].vertex.name = node.attribute("pci_busid").value();
      tree_[bridge].vertex.pci = node.attribute("pci_busid").value();
      tree_[bridge].mbps = LinkMbps(node);
      tree_[above].below.push_back(bridge);
      return Below(node, bridge, depth);
    }
    if (!IsType(node, "PCIDev")) return {};
    const std::string_view type = node.attribute("pci_type").value();
    std::optional<int> number;
    std::string_view uuid, model, network;
    for (const pugi::xml_node os : node.children("object")) {
      if (!IsType(os, "OSDev")) continue;
      const std::string_view name = os.attribute("name").value();
      const auto nvml = Numbered(name, "nvml");
      const auto rsmi = Numbered(name, "rsmi");
      const auto cuda = Numbered(name, "cuda");
      // NVML's order is the PCI bus order; CUDA's may be another.
      if (nvml || rsmi) number = nvml ? nvml : rsmi;
      if (cuda && !number) number = cuda;
      if (!Info(os, "GPUModel").empty()) model = Info(os, "GPUModel");
      for (const char* const key : {"NVIDIAUUID", "AMDUUID"}) {
        if (!Info(os, key).empty()) uuid = Info(os, key);
      }
      // RDMA's name before the network interface's.
      if (network.empty() || !Info(os, "NodeGUID").empty()) network = name;
    }
    const bool nvswitch = node.attribute("subtype").value() == std::string_view("NVSwitch");
    const bool card = number || type.starts_with("0302");  // 0300 alone is the console's VGA
    if (!nvswitch && !card && !type.starts_with("02")) return {};
    const std::size_t device = NewNode(card ? VertexKind::kCard : VertexKind::kNic);
    Vertex& v = tree_[device].vertex;
    v.pci = node.attribute("pci_busid").value();
    if (v.pci.empty()) return Fail(Place(node), "a PCI device without pci_busid");
    v.uuid = card ? uuid : std::string_view();
    v.name = network.empty() ? std::string_view(v.pci) : network;
    Remember(node, device);
    if (nvswitch) {
      tree_[device].kind = VertexKind::kFabricSwitch;
      v.name = "nvswitch" + std::to_string(fabric_switches_.size());
      fabric_switches_.push_back(device);
      return {};
    }
    if (card) {
      if (number && !numbers_.insert(*number).second) {
        return Fail(Place(node), "two cards with number " + std::to_string(*number));
      }
      tree_[device].order = number.value_or(1024 + static_cast<int>(cards_.size()));
      cards_.push_back(device);
      models_.emplace(model);
      vendors_.emplace(type.substr(0, 10).ends_with("1002") ? "AMD" : "NVIDIA");
      if (cards_.size() > static_cast<std::size_t>(kMaxCardsPerNode)) {
        return Fail(Place(node), "more than " + std::to_string(kMaxCardsPerNode) + " cards");
      }
    }
    tree_[device].mbps = LinkMbps(node);
    tree_[above].below.push_back(device);
    return {};
  }

  // The names by which the tables call this device.
  void Remember(const pugi::xml_node& node, std::size_t device) {
    devices_[std::string("PCIDev:") + node.attribute("gp_index").value()] = device;
    for (const pugi::xml_node os : node.children("object")) {
      devices_[std::string("OSDev:") + os.attribute("gp_index").value()] = device;
    }
  }

  void SetMaker() {
    MachineGraph& graph = built_.graph;
    graph.vendor = vendors_.contains("AMD") ? "AMD" : "NVIDIA";
    graph.fabric = graph.vendor == "AMD" ? "XGMI" : "NVLink";
    if (vendors_.size() > 1) built_.Warn("cards of different vendors");
    for (const std::string& model : models_) {
      const auto known = std::ranges::find_if(
          kModels, [&](const auto& m) { return model.find(m.first) != std::string::npos; });
      if (known == kModels.end()) continue;
      graph.sm = graph.sm == 0 ? known->second : std::min(graph.sm, known->second);
    }
    std::ranges::stable_sort(cards_, {}, [&](std::size_t c) { return tree_[c].order; });
    for (std::size_t i = 0; i < cards_.size(); ++i) {
      tree_[cards_[i]].vertex.name = "GPU" + std::to_string(i);
    }
  }

  void AddNumaNodes(const pugi::xml_node& root) {
    if (numa_.empty()) {
      built_.Warn("no NUMA nodes in it");
      numa_.emplace(-1, "");
    }
    const std::string_view model = Info(cpu_, "CPUModel");
    const auto family = WholeNumber(Info(cpu_, "CPUFamilyNumber"), 0, 1 << 16);
    const auto number = WholeNumber(Info(cpu_, "CPUModelNumber"), 0, 1 << 16);
    std::string_view arch = Info(root, "Architecture");
    if (arch.empty() && root.child("object")) arch = Info(root.child("object"), "Architecture");
    if (model.starts_with("POWER")) arch = "ppc64";
    const std::int32_t socket =
        SocketMbps(arch, Info(cpu_, "CPUVendor"), family.value_or(6), number.value_or(85));
    for (const auto& [index, cpus] : numa_) {
      const int vertex =
          built_.Add(MakeVertex(VertexKind::kNuma, "numa" + std::to_string(index), index));
      built_.at(vertex).cpus = cpus;
      for (const auto& [other, known] : numa_vertex_) {
        built_.Connect(vertex, known, LinkKind::kSocket, 1, socket);
      }
      numa_vertex_[index] = vertex;
    }
  }

  // The NUMA node of a mask of one; -1 when it has several or none.
  int NumaOf(std::string_view mask) const {
    const auto list = CpuListOfMask(mask);
    const auto node = WholeNumber(list.value_or(""), 0, kMaxNumaNode);
    if (node && numa_vertex_.contains(*node)) return *node;
    return numa_vertex_.size() == 1 ? numa_vertex_.begin()->first : -1;
  }

  void AddHost(std::size_t host) {
    const int numa = NumaOf(tree_[host].nodes);
    std::vector<std::pair<int, std::int32_t>> below;
    for (const std::size_t child : tree_[host].below) {
      const auto added = AddPart(child, numa);
      if (added) below.push_back(*added);
    }
    if (below.empty()) return;
    if (numa < 0 && numa_vertex_.size() > 1) {
      built_.Warn("a host bridge at several NUMA nodes is put at the first");
    }
    const int vertex =
        built_.Add(MakeVertex(VertexKind::kHostBridge, "hb" + std::to_string(host_count_++), numa));
    std::int32_t sum = 0;
    for (const auto& [child, mbps] : below) {
      built_.Connect(child, vertex, LinkKind::kPcie, 1, mbps);
      sum = std::min(sum + mbps, 1'000'000'000);
    }
    // Inside the CPU: as wide as everything below it, so never what is short.
    const int root = numa >= 0 ? numa_vertex_.at(numa) : numa_vertex_.begin()->second;
    built_.Connect(vertex, root, LinkKind::kPcie, 1, sum);
  }

  // The vertex of this part of the tree and its link to above; nothing when no device is in it.
  std::optional<std::pair<int, std::int32_t>> AddPart(std::size_t index, int numa) {
    const Node& node = tree_[index];
    if (node.kind != VertexKind::kPcieSwitch) {
      Vertex v = node.vertex;
      v.kind = node.kind;
      v.numa = numa;
      if (node.kind == VertexKind::kCard && numa >= 0) v.cpus = numa_.at(numa);
      return std::pair(AddDevice(index, std::move(v)), node.mbps);
    }
    std::vector<std::pair<int, std::int32_t>> below;
    for (const std::size_t child : node.below) {
      const auto added = AddPart(child, numa);
      if (added) below.push_back(*added);
    }
    if (below.empty()) return std::nullopt;
    if (below.size() == 1) return std::pair(below[0].first, std::min(below[0].second, node.mbps));
    Vertex v = node.vertex;
    v.kind = VertexKind::kPcieSwitch;
    v.numa = numa;
    const int vertex = built_.Add(std::move(v));
    for (const auto& [child, mbps] : below) {
      built_.Connect(child, vertex, LinkKind::kPcie, 1, mbps);
    }
    return std::pair(vertex, node.mbps);
  }

  int AddDevice(std::size_t index, Vertex v) {
    return vertex_of_[index] = built_.Add(std::move(v), tree_[index].order);
  }

  // What is split over several elements, as one list of words.
  static std::vector<std::string> WordsOf(const pugi::xml_node& table, const char* tag) {
    std::vector<std::string> out;
    for (const pugi::xml_node part : table.children(tag)) {
      std::string_view text = part.child_value();
      while (true) {
        const std::size_t from = text.find_first_not_of(" \t\r\n");
        if (from == std::string_view::npos) break;
        text.remove_prefix(from);
        const std::size_t to = std::min(text.find_first_of(" \t\r\n"), text.size());
        out.emplace_back(text.substr(0, to));
        text.remove_prefix(to);
      }
    }
    return out;
  }

  // A table of bandwidths. Others (latencies of NUMA nodes) are passed over.
  Status Table(const pugi::xml_node& table) {
    const std::string_view what = table.attribute("name").value();
    if (what != "NVLinkBandwidth" && what != "XGMIBandwidth") return {};
    const std::vector<std::string> names = WordsOf(table, "indexes");
    const std::vector<std::string> values = WordsOf(table, "u64values");
    const std::size_t n = names.size();
    if (n > kMaxTableObjects || values.size() != n * n) {
      return Fail(Place(table), std::string(what) + " has " + std::to_string(values.size()) +
                                    " values for " + std::to_string(n) + " objects");
    }
    const std::string type = table.attribute("type").value();
    std::vector<int> vertices;
    for (const std::string& name : names) {
      std::string full = type;
      if (!type.empty()) full += ':';
      full += name;
      const int vertex = TableVertex(full);
      if (vertex < 0) built_.Warn(std::string(what) + " of objects that are no device: left out");
      vertices.push_back(vertex);
    }
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < i; ++j) {
        const auto there = WholeNumber(values[i * n + j], 0, 10'000'000);
        const auto back = WholeNumber(values[j * n + i], 0, 10'000'000);
        if (!there || !back)
          return Fail(Place(table),
                      std::string(what) + " with a value that is " + "no whole number of MB/s");
        if (*there != *back) built_.Warn("links differ by direction; the slower one counts");
        AddFabric(vertices[i], vertices[j], std::min(*there, *back));
      }
    }
    return {};
  }

  int TableVertex(const std::string& name) {
    if (const auto package = packages_.find(name); package != packages_.end()) {
      const int numa = NumaOf(package->second);
      return numa < 0 ? -1 : numa_vertex_.at(numa);
    }
    const auto device = devices_.find(name);
    if (device == devices_.end()) return -1;
    const std::size_t index = device->second;
    if (tree_[index].kind == VertexKind::kFabricSwitch && !vertex_of_.contains(index)) {
      Vertex v = tree_[index].vertex;
      v.kind = VertexKind::kFabricSwitch;
      AddDevice(index, std::move(v));
    }
    const auto vertex = vertex_of_.find(index);
    return vertex == vertex_of_.end() ? -1 : vertex->second;
  }

  // The table has no links between switches. Where the cards are on two groups of switches (the two
  // boards of a DGX-2), each switch is taken to be joined to its counterpart as it is to its cards.
  void JoinSwitches() {
    std::map<std::set<int>, std::vector<int>> groups;  // cards to their switches
    for (const auto& [fabric_switch, links] : switch_links_) {
      std::set<int> cards;
      for (const int card : links) cards.insert(card);
      groups[cards].push_back(fabric_switch);
    }
    if (groups.size() != 2) return;
    const auto& [cards_a, a] = *groups.begin();
    const auto& [cards_b, b] = *groups.rbegin();
    if (a.size() != b.size() || cards_a.size() != cards_b.size()) return;
    if (std::ranges::any_of(cards_a, [&](int card) { return cards_b.contains(card); })) return;
    for (std::size_t i = 0; i < a.size(); ++i) {
      const int count = static_cast<int>(cards_a.size());
      built_.Connect(a[i], b[i], LinkKind::kFabric, count, count * NvlinkMbps(built_.graph.sm));
    }
    built_.Warn("the links between the two groups of switches are not in it; taken as full width");
  }

  void AddFabric(int a, int b, int line_mbps) {
    if (a < 0 || b < 0 || a == b || line_mbps == 0) return;
    const auto may = [&](int v) { return built_.at(v).kind != VertexKind::kNic; };
    const auto numa = [&](int v) { return built_.at(v).kind == VertexKind::kNuma; };
    if (!may(a) || !may(b) || (numa(a) && numa(b))) return;
    // A link's line rate: 20,000 with the P100, 25,000 since.
    const int one = built_.graph.sm == 60 ? 20000 : 25000;
    const bool whole = line_mbps % one == 0 && line_mbps / one <= kMaxLinksOfBundle;
    const int count = whole && built_.graph.vendor == "NVIDIA" ? line_mbps / one : 1;
    const bool known = whole && built_.graph.vendor == "NVIDIA" && built_.graph.sm > 0;
    const std::int32_t mbps =
        known ? count * NvlinkMbps(built_.graph.sm) : std::max(line_mbps / 5 * 4, 1);
    built_.Connect(a, b, LinkKind::kFabric, count, mbps);
    for (const auto& [card, other] : {std::pair(a, b), std::pair(b, a)}) {
      const bool on = built_.at(card).kind == VertexKind::kCard;
      if (on && built_.at(other).kind == VertexKind::kFabricSwitch) {
        switch_links_[other].push_back(card);
      }
    }
  }

  std::string_view text_;
  const std::string& name_;
  GraphBuilder built_;
  std::vector<Node> tree_;
  std::vector<std::size_t> hosts_, cards_, fabric_switches_;
  std::set<int> numbers_;
  std::set<std::string> models_, vendors_;
  std::map<std::string, std::size_t> devices_;   // "OSDev:802" to tree_
  std::map<std::string, std::string> packages_;  // "Package:3" to its NUMA nodes
  std::map<int, std::string> numa_;              // number to CPUs
  std::map<int, int> numa_vertex_;
  std::map<std::size_t, int> vertex_of_;          // of devices of tree_
  std::map<int, std::vector<int>> switch_links_;  // switch to its cards
  pugi::xml_node cpu_;
  int host_count_ = 0;
};

}  // namespace

Result<MachineGraph> ParseHwloc(std::string_view text, const std::string& name) {
  return Reader(text, name).Read();
}

}  // namespace basalt::topology
