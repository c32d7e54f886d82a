#include "topology/files/nccl.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <map>
#include <optional>
#include <pugixml.hpp>
#include <set>
#include <utility>
#include <vector>

#include "topology/files/graph_builder.h"

namespace basalt::topology {
namespace {

constexpr int kMaxDepth = 32;

// PCI classes, without the programming interface.
constexpr int kVga = 0x0300;
constexpr int k3d = 0x0302;
constexpr int kPciBridge = 0x0604;
constexpr int kOtherBridge = 0x0680;  // NVSwitch
// What NVLinks end in, with it.
constexpr int kNvswitchTarget = 0x068000;
constexpr int kCpuTarget = 0x068001;

struct Nvlink {
  int card = 0;
  std::string target;
  int count = 0;
  std::optional<int> tclass;
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
    if (root.name() == std::string_view("graphs")) {
      return Fail(Place(root),
                  "NCCL's search result (NCCL_GRAPH_DUMP_FILE), which has channels and no machine; "
                  "the topology is what NCCL_TOPO_DUMP_FILE writes");
    }
    if (root.name() != std::string_view("system")) {
      return Fail(Place(root), "the root element of an NCCL topology is <system>, not <" +
                                   std::string(root.name()).substr(0, 40) + ">");
    }
    built_.graph.vendor = "NVIDIA";
    built_.graph.fabric = "NVLink";
    for (const pugi::xml_node child : root.children()) {
      if (child.name() != std::string_view("cpu")) {
        Unknown(child);
        continue;
      }
      const Status ok = Cpu(child);
      if (!ok) return tl::unexpected(ok.error());
    }
    NameCards();
    AddNvlinks();
    if (nvlinks_.empty() && cards_.size() > 1) {
      built_.Warn("no <nvlink> in it (a file for NCCL to complete has none): PCIe only");
    }
    for (std::size_t i = 0; i < sockets_.size(); ++i) {
      for (std::size_t j = 0; j < i; ++j) {
        built_.Connect(sockets_[i].first, sockets_[j].first, LinkKind::kSocket, 1,
                       std::min(sockets_[i].second, sockets_[j].second));
      }
    }
    return built_.Finish(name_);
  }

 private:
  std::string Place(const pugi::xml_node& node) const {
    const std::ptrdiff_t offset = node.offset_debug();
    return offset < 0 ? name_ : PlaceOf(name_, text_, static_cast<std::size_t>(offset));
  }

  void Unknown(const pugi::xml_node& node) {
    if (node.type() != pugi::node_element) return;
    built_.Warn("element <" + std::string(node.name()).substr(0, 40) + "> is passed over");
  }

  // An attribute that is a whole number; `missing` when it is not there.
  Result<int> Number(const pugi::xml_node& node, const char* attribute, int low, int high,
                     std::optional<int> missing) const {
    const pugi::xml_attribute found = node.attribute(attribute);
    if (!found && missing) return *missing;
    const auto value = WholeNumber(found.value(), low, high);
    if (value) return *value;
    return Fail(Place(node), std::string("<") + node.name() + "> " + attribute + "=" +
                                 Quoted(found.value()) + ": a whole number from " +
                                 std::to_string(low) + " to " + std::to_string(high) +
                                 " is needed");
  }

  Status Cpu(const pugi::xml_node& node) {
    const auto numa = Number(node, "numaid", -1, kMaxNumaNode, std::nullopt);
    if (!numa) return tl::unexpected(numa.error());
    if (!numa_ids_.insert(*numa).second) {
      return Fail(Place(node), "a second <cpu> with numaid=\"" + std::to_string(*numa) + "\"");
    }
    Vertex v = MakeVertex(VertexKind::kNuma, "numa" + std::to_string(*numa), *numa);
    const pugi::xml_attribute mask = node.attribute("affinity");
    const auto cpus = CpuListOfMask(mask.value());
    if (cpus) v.cpus = *cpus;
    if (mask && !cpus) built_.Warn(v.name + ": affinity is not a CPU mask");
    const int root = built_.Add(std::move(v));
    const auto family = WholeNumber(node.attribute("familyid").value(), 0, 1 << 16);
    const auto model = WholeNumber(node.attribute("modelid").value(), 0, 1 << 16);
    const pugi::xml_attribute arch = node.attribute("arch");
    if (!arch) built_.Warn("<cpu> without arch: the link between NUMA nodes is Skylake's");
    sockets_.emplace_back(root, arch ? SocketMbps(arch.value(), node.attribute("vendor").value(),
                                                  family.value_or(0), model.value_or(0))
                                     : 10000);
    for (const pugi::xml_node child : node.children()) {
      Status ok;
      if (child.name() == std::string_view("pci")) {
        ok = Pci(child, root, *numa, 0);
      } else if (child.name() == std::string_view("nic")) {
        ok = Nic(child, root, *numa);
      } else {
        Unknown(child);
      }
      if (!ok) return ok;
    }
    return {};
  }

  // NCCL attaches NICs that it cannot place in the PCIe tree to the CPU.
  Status Nic(const pugi::xml_node& node, int root, int numa) {
    for (const pugi::xml_node net : node.children("net")) {
      const auto speed = Number(net, "speed", 0, 100'000'000, 0);
      if (!speed) return tl::unexpected(speed.error());
      const int nic = built_.Add(MakeVertex(VertexKind::kNic, net.attribute("name").value(), numa));
      built_.at(nic).nic_mbps = *speed / 8;
      built_.Connect(nic, root, LinkKind::kPcie, 1, std::max(kUnknownPcieMbps, *speed / 8));
    }
    return {};
  }

  std::int32_t LinkMbps(const pugi::xml_node& node) {
    const std::string_view speed = node.attribute("link_speed").value();
    double gigatransfers = 0;
    std::from_chars(speed.data(), speed.data() + speed.size(), gigatransfers);
    const auto width = WholeNumber(node.attribute("link_width").value(), 1, 32);
    const std::int32_t mbps = PcieMbps(gigatransfers, width.value_or(16));
    if (mbps > 0) return mbps;
    built_.Warn("PCIe links without a known speed are taken as 8 GT/s x16, as NCCL does");
    return kUnknownPcieMbps;
  }

  // "0x030200"
  static std::optional<int> Hex(std::string_view text) {
    if (text.starts_with("0x")) text.remove_prefix(2);
    int value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
    if (error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
    return value;
  }

  Status Pci(const pugi::xml_node& node, int above, int numa, int depth) {
    if (depth > kMaxDepth) return Fail(Place(node), "<pci> nested too deep");
    std::string bus = node.attribute("busid").value();
    for (char& c : bus) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    if (bus.empty() || bus.size() > 32) return Fail(Place(node), "<pci> without a busid");
    if (!buses_.insert(bus).second) return Fail(Place(node), "a second <pci> with busid " + bus);
    const pugi::xml_node gpu = node.child("gpu");
    const int pci_class = Hex(node.attribute("class").value()).value_or(0) >> 8;
    if (gpu || pci_class == k3d || pci_class == kVga) return Card(node, gpu, bus, above, numa);
    if (pci_class == kOtherBridge) {
      switches_.insert(bus);
      return {};
    }
    Vertex v = MakeVertex(VertexKind::kPcieSwitch, bus, numa);
    v.pci = bus;
    if (pci_class >> 8 == 0x02 || node.child("nic")) return PciNic(node, std::move(v), above);
    if (pci_class != kPciBridge && !node.child("pci")) {
      built_.Warn("<pci> of class " + Quoted(node.attribute("class").value()) + " is passed over");
      return {};
    }
    const int bridge = built_.Add(std::move(v));
    built_.Connect(bridge, above, LinkKind::kPcie, 1, LinkMbps(node));
    for (const pugi::xml_node child : node.children()) {
      if (child.name() == std::string_view("pci")) {
        const Status ok = Pci(child, bridge, numa, depth + 1);
        if (!ok) return ok;
      } else {
        Unknown(child);
      }
    }
    return {};
  }

  Status PciNic(const pugi::xml_node& node, Vertex v, int above) {
    v.kind = VertexKind::kNic;
    std::string first;
    int total = 0;
    for (const pugi::xml_node nic : node.children("nic")) {
      for (const pugi::xml_node net : nic.children("net")) {
        const auto speed = Number(net, "speed", 0, 100'000'000, 0);
        if (!speed) return tl::unexpected(speed.error());
        if (first.empty()) first = net.attribute("name").value();
        total = std::min(total + *speed / 8, 1'000'000'000);
      }
    }
    v.nic_mbps = total;
    if (!first.empty()) v.name = first;
    built_.Connect(built_.Add(std::move(v)), above, LinkKind::kPcie, 1, LinkMbps(node));
    return {};
  }

  Status Card(const pugi::xml_node& node, const pugi::xml_node& gpu, const std::string& bus,
              int above, int numa) {
    if (cards_.size() >= static_cast<std::size_t>(kMaxCardsPerNode)) {
      return Fail(Place(node),
                  "more than " + std::to_string(kMaxCardsPerNode) + " cards in one machine");
    }
    const auto dev = Number(gpu, "dev", 0, 1023, -1);
    if (!dev) return tl::unexpected(dev.error());
    const auto sm = Number(gpu, "sm", 0, 999, 0);
    if (!sm) return tl::unexpected(sm.error());
    if (*dev >= 0 && !devs_.insert(*dev).second) {
      return Fail(Place(gpu), "a second <gpu> with dev=\"" + std::to_string(*dev) + "\"");
    }
    int& machine_sm = built_.graph.sm;
    if (*sm > 0 && machine_sm > 0 && *sm != machine_sm) {
      built_.Warn("cards of different compute capability; the lower one counts");
    }
    if (*sm > 0) machine_sm = machine_sm > 0 ? std::min(machine_sm, *sm) : *sm;
    const int card = built_.Add(MakeVertex(VertexKind::kCard, std::to_string(*dev), numa), *dev);
    built_.at(card).pci = bus;
    built_.Connect(card, above, LinkKind::kPcie, 1, LinkMbps(node));
    cards_.emplace(bus, card);
    root_of_[card] = sockets_.back().first;
    order_.push_back(card);
    for (const pugi::xml_node link : gpu.children()) {
      if (link.name() != std::string_view("nvlink")) {
        Unknown(link);
        continue;
      }
      const auto count = Number(link, "count", 1, kMaxLinksOfBundle, std::nullopt);
      if (!count) return tl::unexpected(count.error());
      std::string target = link.attribute("target").value();
      for (char& c : target) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      nvlinks_.push_back({card, target, *count, Hex(link.attribute("tclass").value())});
      if (nvlinks_.size() > 4096) return Fail(Place(link), "too many <nvlink>");
    }
    return {};
  }

  // Cards are numbered by their device number, or, where a file has none, as they come.
  void NameCards() {
    const bool numbered = devs_.size() == cards_.size();
    if (!numbered) built_.Warn("cards without <gpu dev>: numbered in the order of the file");
    for (std::size_t i = 0; i < order_.size(); ++i) {
      Vertex& v = built_.at(order_[i]);
      v.name = "GPU" + (numbered ? v.name : std::to_string(i));
      if (!numbered) built_.SetOrder(order_[i], static_cast<int>(i));
    }
  }

  void AddNvlinks() {
    const std::int32_t one = NvlinkMbps(built_.graph.sm);
    std::map<std::pair<int, int>, int> counts;
    std::set<int> switched;
    int hub = -1;
    const auto to_switch = [&](const Nvlink& link) {
      if (hub < 0) hub = built_.Add(MakeVertex(VertexKind::kFabricSwitch, "nvswitch"));
      switched.insert(link.card);
      built_.Connect(link.card, hub, LinkKind::kFabric, link.count, link.count * one);
    };
    for (const Nvlink& link : nvlinks_) {
      const auto known = cards_.find(link.target);
      if (known != cards_.end() && known->second == link.card) {
        // Azure's NC A100 v4 has these where bridges are; NCCL makes nothing of them either.
        built_.Warn("NVLinks of a card to itself are passed over: where they end is not told");
      } else if (known != cards_.end()) {
        counts[{link.card, known->second}] += link.count;
      } else if (link.tclass == kNvswitchTarget || switches_.contains(link.target)) {
        to_switch(link);
      } else if (link.tclass == kCpuTarget) {  // POWER, Grace: to the card's own CPU
        built_.Connect(link.card, root_of_[link.card], LinkKind::kFabric, link.count,
                       link.count * one);
      } else if (link.tclass && (*link.tclass >> 8 == k3d || *link.tclass >> 8 == kVga)) {
        built_.Warn("NVLinks to cards that are not in the file are passed over");
      } else {
        built_.Warn("NVLinks to an unknown target are taken as links to NVSwitch");
        to_switch(link);
      }
    }
    for (const auto& [pair, count] : counts) {
      const auto back = counts.find({pair.second, pair.first});
      const bool both = back != counts.end();
      if (both && pair.first > pair.second) continue;
      if (!both || back->second != count) {
        built_.Warn("NVLinks differ by direction; the lower number, or the only one, counts");
      }
      const int links = std::min(both ? std::min(count, back->second) : count, kMaxLinksOfBundle);
      built_.Connect(pair.first, pair.second, LinkKind::kFabric, links, links * one);
    }
    // As for a label matrix: 8 cards are a full HGX board, the switches of which reduce.
    if (built_.graph.sm >= 90 && cards_.size() == 8 && switched.size() == 8) {
      built_.graph.in_network_reduction = true;
    }
  }

  std::string_view text_;
  const std::string& name_;
  GraphBuilder built_;
  std::vector<std::pair<int, std::int32_t>> sockets_;  // vertex and its CPU's link to others
  std::set<int> numa_ids_;
  std::set<std::string> buses_;
  std::set<std::string> switches_;
  std::map<std::string, int> cards_;  // by bus id
  std::map<int, int> root_of_;        // card to NUMA vertex
  std::vector<int> order_;            // cards as they come
  std::set<int> devs_;
  std::vector<Nvlink> nvlinks_;
};

}  // namespace

Result<MachineGraph> ParseNccl(std::string_view text, const std::string& name) {
  return Reader(text, name).Read();
}

}  // namespace basalt::topology
