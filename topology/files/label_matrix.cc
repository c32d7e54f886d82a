#include "topology/files/label_matrix.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <utility>

#include "topology/files/graph_builder.h"

namespace basalt::topology {
namespace {

// --- What is inferred --------------------------------------------------------------------------
//
// Compute capability, from the NVLinks (k: links of one pair, sum: links of one card):
//   k <= 4 everywhere:  a pair with 4 alone: 86 (RTX A6000 bridge); all four of four cards NV4: 80
//                       (HGX A100 4-GPU); NV1 only and sum <= 4 on 8 cards: 60 (DGX-1 P100); else
//                       70 (hybrid cube mesh, fully connected boards of 4)
//   6: 70 (DGX-2)    8: 90 (H800)    12: 80 (HGX A100, A100 PCIe bridges)    18: 90 (HGX H100;
//   GB200 and B200 print 18 as well, say sm: 100 there)    else up to 12: 80, above: 90
// PCIe x16: sm 60 and 70: 8 GT/s; from 90: 32; else 16.
// Link between NUMA nodes (NCCL's figures), from the CPU lists. The second range of a list begins
// with the hyperthreads, so it begins at the machine's number of cores:
//   Huawei: 6000 (ARM)    >= 128 cores: 16000 (two EPYCs of 64 or more)
//   sm >= 90: 22000 (Sapphire Rapids)    else 10000 (Skylake)

struct FabricShape {
  int max_pair = 0;  // links of the pair that has most
  int max_card = 0;  // links of the card that has most
};

FabricShape ShapeOf(const LabelMatrix& m) {
  FabricShape out;
  for (int i = 0; i < m.cards; ++i) {
    int sum = 0;
    for (int j = 0; j < m.cards; ++j) {
      if (m.At(i, j).relation != Relation::kFabric) continue;
      out.max_pair = std::max(out.max_pair, m.At(i, j).count);
      sum += m.At(i, j).count;
    }
    out.max_card = std::max(out.max_card, sum);
  }
  return out;
}

int InferSm(const LabelMatrix& m) {
  const auto [pair, card] = ShapeOf(m);
  if (pair == 0) return 0;
  if (pair == 4 && card == 4) return 86;
  if (pair == 4 && card == 12) return 80;
  if (pair == 1 && card <= 4 && m.cards == 8) return 60;
  if (pair <= 4 || pair == 6) return 70;
  if (pair == 8 || pair > 12) return 90;
  return 80;
}

double InferPcie(int sm) {
  if (sm >= 90) return 32;
  return sm == 60 || sm == 70 ? 8 : 16;
}

std::int32_t InferSocket(const LabelMatrix& m, int sm) {
  if (m.vendor == "Huawei") return 6000;
  int cores = 0;
  for (const std::string& cpus : m.cpus) {
    const auto ranges = ParseCpuList(cpus);
    if (ranges && ranges->size() == 2) {
      cores = std::max(cores, ranges->at(1).first - ranges->at(0).first);
    }
  }
  if (cores >= 128) return 16000;
  return sm >= 90 ? 22000 : 10000;
}

// --- Groups ------------------------------------------------------------------------------------

// Which devices are together so far; a group is named by its lowest device.
class Groups {
 public:
  explicit Groups(int size) : lowest_(static_cast<std::size_t>(size)) {
    std::iota(lowest_.begin(), lowest_.end(), 0);
  }
  int Of(int device) const { return lowest_[static_cast<std::size_t>(device)]; }
  void Join(int a, int b) {
    const auto [low, high] = std::pair(std::min(Of(a), Of(b)), std::max(Of(a), Of(b)));
    std::ranges::replace(lowest_, high, low);
  }
  std::vector<int> Members(int group) const {
    std::vector<int> out;
    for (int i = 0; i < static_cast<int>(lowest_.size()); ++i) {
      if (Of(i) == group) out.push_back(i);
    }
    return out;
  }
  // The groups that are inside one group of a coarser partition, ascending.
  std::vector<int> Within(const Groups& coarser, int group) const {
    std::vector<int> out;
    for (const int i : coarser.Members(group)) {
      if (Of(i) == i) out.push_back(i);
    }
    return out;
  }

 private:
  std::vector<int> lowest_;
};

class Maker {
 public:
  Maker(const LabelMatrix& matrix, const MatrixOptions& options)
      : m_(matrix),
        size_(static_cast<int>(matrix.devices.size())),
        pix_(size_),
        pxb_(size_),
        phb_(size_),
        node_(size_),
        numa_(matrix.numa),
        sm_(options.sm),
        socket_(options.socket_mbps) {
    numa_.resize(static_cast<std::size_t>(size_), -1);
    built_.graph.vendor = m_.vendor;
    built_.graph.fabric = m_.fabric;
    built_.graph.warnings = m_.warnings;
    Infer(options);
  }

  Result<MachineGraph> Make(const std::string& where) {
    NumberByAffinity();
    JoinLevels();
    JoinNodes();
    AddDevices();
    AddRoots();
    AddFabric();
    if (m_.vendor == "NVIDIA" && m_.cards > 1) built_.Warn(std::string(kP2pUnknown));
    return built_.Finish(where);
  }

 private:
  struct Contradictions {
    int count = 0;
    std::string first;
    void Add(const Maker& maker, int i, int j) {
      if (count++ == 0) {
        first = maker.Device(i) + " and " + maker.Device(j) + " are " +
                maker.m_.tokens[maker.m_.Cell(i, j)];
      }
    }
    std::string More() const {
      return count > 1 ? " (and " + std::to_string(count - 1) + " more)" : std::string();
    }
  };

  void Infer(const MatrixOptions& options) {
    if (sm_ == 0 && m_.vendor == "NVIDIA") {
      sm_ = InferSm(m_);
      if (sm_ > 0)
        built_.Warn("compute capability " + std::to_string(sm_) + " inferred from the NVLinks");
    }
    built_.graph.sm = sm_;
    const double speed = options.pcie_gts > 0 ? options.pcie_gts : InferPcie(sm_);
    const int width = options.pcie_width > 0 ? options.pcie_width : 16;
    pcie_ = std::max(PcieMbps(speed, width), PcieMbps(2.5, 1));
    if (options.pcie_gts <= 0 || options.pcie_width <= 0) {
      built_.Warn("PCIe links of " + std::to_string(pcie_) + " MB/s inferred");
    }
    if (socket_ <= 0) {
      socket_ = InferSocket(m_, sm_);
      socket_inferred_ = true;
    }
  }

  int& NumaOf(int device) { return numa_[static_cast<std::size_t>(device)]; }
  const std::string& Device(int i) const { return m_.devices[static_cast<std::size_t>(i)]; }
  const std::string& Cpus(int card) const { return m_.cpus[static_cast<std::size_t>(card)]; }

  // Drivers before the NUMA column: equal CPU lists are a NUMA node, numbered by their CPUs.
  void NumberByAffinity() {
    if (m_.numa_column) return;
    std::map<int, std::string> lists;  // by first CPU
    for (int i = 0; i < m_.cards; ++i) {
      const auto ranges = ParseCpuList(Cpus(i));
      if (!ranges) return;
      const auto [it, added] = lists.emplace(ranges->front().first, Cpus(i));
      if (!added && it->second != Cpus(i)) return;
    }
    for (int i = 0; i < m_.cards; ++i) {
      NumaOf(i) = static_cast<int>(
          std::distance(lists.begin(),
                        std::ranges::find(lists, Cpus(i), [](const auto& l) { return l.second; })));
    }
    built_.Warn("no NUMA column: NUMA nodes are numbered by CPU affinity");
  }

  // Each level is the closure of its labels and the closer ones.
  void JoinLevels() {
    JoinLevel(Relation::kPix, &pix_, nullptr);
    JoinLevel(Relation::kPxb, &pxb_, &pix_);
    JoinLevel(Relation::kPhb, &phb_, &pxb_);
  }

  void JoinLevel(Relation level, Groups* groups, const Groups* closer) {
    if (closer != nullptr) *groups = *closer;
    ForPairs([&](int i, int j, const Label& label) {
      if (label.relation >= Relation::kPix && label.relation <= level) groups->Join(i, j);
    });
    Contradictions lies;
    ForPairs([&](int i, int j, const Label& label) {
      if (closer != nullptr && closer->Of(i) == closer->Of(j)) return;
      if (label.relation > level && groups->Of(i) == groups->Of(j)) lies.Add(*this, i, j);
    });
    if (lies.count == 0) return;
    built_.Warn("labels are not transitive: " + lies.first + ", but both are closer to a third" +
                lies.More());
  }

  // NODE joins host bridges to a NUMA node, unless the NUMA column knows better.
  void JoinNodes() {
    node_ = phb_;
    Contradictions lies;
    for (int i = 0; i < size_; ++i) {
      if (node_.Of(i) == i) Spread(i, &lies);
    }
    for (const int nics : {0, 1, 2}) {
      ForPairs([&](int i, int j, const Label& label) {
        if (label.relation != Relation::kNode || (i >= m_.cards) + (j >= m_.cards) != nics) return;
        if (node_.Of(i) == node_.Of(j)) return;
        if (NumaOf(i) >= 0 && NumaOf(j) >= 0 && NumaOf(i) != NumaOf(j))
          return lies.Add(*this, i, j);
        node_.Join(i, j);
        Spread(i, nullptr);
      });
    }
    if (lies.count > 0) {
      built_.Warn("labels and NUMA column differ: " + lies.first +
                  ", but on other NUMA nodes; the column is taken" + lies.More());
    }
    JoinUntold();
  }

  // The group of the device gets the NUMA node of its first device that has one.
  void Spread(int device, Contradictions* lies) {
    const std::vector<int> members = node_.Members(node_.Of(device));
    const auto first = std::ranges::find_if(members, [&](int i) { return NumaOf(i) >= 0; });
    if (first == members.end()) return;
    for (const int i : members) {
      if (lies != nullptr && NumaOf(i) >= 0 && NumaOf(i) != NumaOf(*first))
        lies->Add(*this, *first, i);
      // Cards keep what the column says of them.
      if (NumaOf(i) < 0 || i >= m_.cards) NumaOf(i) = NumaOf(*first);
    }
  }

  // What no label joins (NVLink hides the PCIe path) is one NUMA node where nothing speaks
  // against it: the same number, no SYS in between; without numbers the same CPUs.
  void JoinUntold() {
    for (int i = 0; i < m_.cards; ++i) {
      for (int j = i + 1; j < m_.cards; ++j) {
        if (node_.Of(i) == node_.Of(j) || NumaOf(i) >= 0 || NumaOf(j) >= 0) continue;
        if (SysBetween(node_.Of(i), node_.Of(j))) continue;
        if (!Cpus(i).empty() && !Cpus(j).empty() && Cpus(i) != Cpus(j)) continue;
        node_.Join(i, j);
        built_.Warn("NUMA nodes are not told: cards without SYS between them are put on one");
      }
    }
  }

  bool SysBetween(int group_a, int group_b) const {
    for (const int i : node_.Members(group_a)) {
      for (const int j : node_.Members(group_b)) {
        if (m_.At(i, j).relation == Relation::kSys) return true;
      }
    }
    return false;
  }

  void AddDevices() {
    for (int i = 0; i < size_; ++i) {
      Vertex v;
      v.name = Device(i);
      v.numa = NumaOf(i);
      if (i < m_.cards) {
        v.cpus = Cpus(i);
      } else {
        v.kind = VertexKind::kNic;
        v.name = m_.nic_names[static_cast<std::size_t>(i - m_.cards)];
      }
      built_.Add(std::move(v));
    }
  }

  int AddNuma(int number, const std::string& name, int group) {
    Vertex v = MakeVertex(VertexKind::kNuma, name, number);
    for (const int i : node_.Members(group)) {
      if (i < m_.cards && v.cpus.empty()) v.cpus = Cpus(i);
    }
    return built_.Add(std::move(v));
  }

  void AddRoots() {
    std::map<int, std::vector<int>> known;  // NUMA node -> groups of node_
    std::vector<int> roots;
    int unknown = 0;
    for (int i = 0; i < size_; ++i) {
      if (node_.Of(i) != i) continue;
      if (NumaOf(i) >= 0) {
        known[NumaOf(i)].push_back(i);
      } else {
        roots.push_back(AddNuma(-1, "numa?" + std::to_string(unknown++), i));
        AddTree(roots.back(), i);
      }
    }
    for (const auto& [number, groups] : known) {
      const std::string name = "numa" + std::to_string(number);
      const int root = AddNuma(number, name, groups.front());
      roots.push_back(root);
      bool apart = false;
      for (const int a : groups) {
        for (const int b : groups) apart = apart || (a < b && SysBetween(a, b));
      }
      // Cards of one NUMA node that are SYS to each other: each group under a root of its own, so
      // that the way between them is a link between sockets, as the labels say.
      for (std::size_t i = 0; i < groups.size(); ++i) {
        int under = root;
        if (apart) {
          under = AddNuma(number, name + '.' + std::to_string(i), groups[i]);
          built_.Connect(root, under, LinkKind::kSocket, 1, socket_);
        }
        AddTree(under, groups[i]);
      }
      if (apart) {
        built_.Warn(name + ": devices of this NUMA node are SYS to each other; kept so");
      }
    }
    for (std::size_t i = 0; i < roots.size(); ++i) {
      for (std::size_t j = 0; j < i; ++j) {
        built_.Connect(roots[i], roots[j], LinkKind::kSocket, 1, socket_);
      }
    }
    if (socket_inferred_ && roots.size() > 1) {
      built_.Warn("links of " + std::to_string(socket_) + " MB/s between NUMA nodes inferred");
    }
  }

  // The host bridges, switches and devices of one group of node_.
  void AddTree(int root, int group) {
    for (const int bridge : phb_.Within(node_, group)) {
      const int hb = AddInner(VertexKind::kHostBridge, "hb", NumaOf(group));
      int children = 0;
      for (const int upper : pxb_.Within(phb_, bridge)) {
        const std::vector<int> lower = pix_.Within(pxb_, upper);
        const int above = lower.size() > 1 ? AddSwitch(hb) : hb;
        if (above != hb) ++children;
        for (const int one : lower) {
          const std::vector<int> devices = pix_.Members(one);
          const int at = devices.size() > 1 ? AddSwitch(above) : above;
          for (const int device : devices) {
            built_.Connect(device, at, LinkKind::kPcie, 1, pcie_);
          }
          if (above == hb) ++children;
        }
      }
      // Inside the CPU: as wide as everything below it, so never what is short.
      built_.Connect(hb, root, LinkKind::kPcie, 1, pcie_ * children);
    }
  }

  int AddInner(VertexKind kind, const std::string& prefix, int numa) {
    return built_.Add(MakeVertex(kind, prefix + std::to_string(inner_[prefix]++), numa));
  }
  int AddSwitch(int above) {
    const int out = AddInner(VertexKind::kPcieSwitch, "pcie", built_.at(above).numa);
    built_.Connect(out, above, LinkKind::kPcie, 1, pcie_);
    return out;
  }

  std::int32_t Mbps(const Label& label) const {
    return label.mbps > 0 ? label.mbps : label.count * NvlinkMbps(sm_);
  }

  void AddFabric() {
    Groups joined(m_.cards);
    for (int i = 0; i < m_.cards; ++i) {
      for (int j = i + 1; j < m_.cards; ++j) {
        const Relation r = m_.At(i, j).relation;
        if (r == Relation::kFabric || r == Relation::kFabricSwitch) joined.Join(i, j);
      }
    }
    int switches = 0;
    for (int i = 0; i < m_.cards; ++i) {
      if (joined.Of(i) != i) continue;
      const std::vector<int> cards = joined.Members(i);
      const bool nvswitch = m_.vendor == "NVIDIA" && IsSwitched(cards);
      bool switched = nvswitch;
      for (const int a : cards) {
        for (const int b : cards) {
          switched = switched || m_.At(a, b).relation == Relation::kFabricSwitch;
        }
      }
      int hub = -1;
      if (switched) {
        hub = built_.Add(MakeVertex(VertexKind::kFabricSwitch, (nvswitch ? "nvswitch" : "switch") +
                                                                   std::to_string(switches++)));
      }
      for (const int a : cards) {
        Label most{.mbps = 0};
        for (const int b : cards) {
          const Label& label = m_.At(a, b);
          const bool through = nvswitch || label.relation == Relation::kFabricSwitch;
          if (label.relation != Relation::kFabric && label.relation != Relation::kFabricSwitch) {
            continue;
          }
          if (through && Mbps(label) > most.mbps) most = {label.relation, label.count, Mbps(label)};
          if (!through && a < b) {
            built_.Connect(a, b, LinkKind::kFabric, label.count, Mbps(label));
          }
        }
        if (most.mbps > 0) built_.Connect(a, hub, LinkKind::kFabric, most.count, most.mbps);
      }
      // Hopper's and later switches reduce, but a job gains only when the whole NVLink domain is
      // in: 8 cards are a full HGX board; fewer are a part of one or of an NVL72 rack.
      if (nvswitch && sm_ >= 90 && cards.size() == 8 && m_.cards == 8) {
        built_.graph.in_network_reduction = true;
        built_.Warn("in-network reduction (NVLS) inferred: 8 cards on NVSwitch");
      }
    }
  }

  // The same number of links between all of at least three cards is a switch when a card could not
  // have that many for each of the others. Boards of three or four with up to four links a pair are
  // wired directly (4x V100: NV2, HGX A100 4-GPU: NV4). A sum that no card has is a switch as well
  // (a board with a failed card).
  bool IsSwitched(const std::vector<int>& cards) const {
    if (cards.size() < 3) return false;
    std::set<int> counts;
    int most = 0;
    for (const int a : cards) {
      int sum = 0;
      for (const int b : cards) {
        if (a == b) continue;
        const Label& label = m_.At(a, b);
        counts.insert(label.relation == Relation::kFabric ? label.count : 0);
        if (label.relation == Relation::kFabric) sum += label.count;
      }
      most = std::max(most, sum);
    }
    return (counts.size() == 1 && *counts.begin() > 4) || most > 18;
  }

  template <class F>
  void ForPairs(F f) const {
    for (int i = 0; i < size_; ++i) {
      for (int j = i + 1; j < size_; ++j) f(i, j, m_.At(i, j));
    }
  }

  const LabelMatrix& m_;
  int size_;
  Groups pix_, pxb_, phb_, node_;
  std::vector<int> numa_;  // of every device, as far as known
  GraphBuilder built_;
  int sm_;
  std::int32_t pcie_ = 0;
  std::int32_t socket_;
  bool socket_inferred_ = false;
  std::map<std::string, int> inner_;  // how many of a kind there are, for their names
};

}  // namespace

Result<MachineGraph> GraphFromLabels(const LabelMatrix& matrix, const std::string& where,
                                     const MatrixOptions& options) {
  return Maker(matrix, options).Make(where);
}

}  // namespace basalt::topology
