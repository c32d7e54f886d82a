// How the cards of one machine are wired: a capacity graph of cards, fabric switches (NVSwitch),
// PCIe switches, host bridges, NUMA nodes and NICs. The readers in topology/files make one from
// what vendors' tools print; the bandwidth table (bandwidth.h) is computed from it once a machine
// type.
//
// Capacities are MB/s (10^6 bytes a second), one way, effective: what a collective gets through the
// link, not its line rate (reference: NCCL's src/graph/topo.h). A link has the same capacity both
// ways. Vertices 0..cards()-1 are the cards, in the order in which the machine numbers them; that
// index is the card's bit in a CardSet. Identity across files is the UUID or the PCI id, never the
// index: tools and CUDA_DEVICE_ORDER number the cards differently.
#pragma once

#include <Eigen/Core>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "scheduler-core/base/result.h"
#include "topology/card_set.h"

namespace basalt::topology {

enum class VertexKind : std::uint8_t {
  kCard,
  kFabricSwitch,  // NVSwitch and its like
  kPcieSwitch,
  kHostBridge,
  kNuma,
  kNic,
};

enum class LinkKind : std::uint8_t {
  kFabric,  // the cards' own links: NVLink, XGMI, HCCS, MetaXLink, XPULink, MLU-Link
  kPcie,
  kSocket,  // between NUMA nodes
};

struct Vertex {
  VertexKind kind = VertexKind::kCard;
  std::string name;  // as the source calls it: "GPU0", "mlx5_0", "numa1"
  std::string uuid;  // cards; empty when the source has none
  std::string pci;   // "0000:4f:00.0", lower case; empty when unknown
  int numa = -1;     // NUMA node, -1 unknown
  // CPUs of a card or a NUMA node as a list, "0-11,24-35"; empty when unknown.
  std::string cpus;
  std::int32_t nic_mbps = 0;  // NICs: line rate one way in MB/s (12,500 a 100 Gb/s); 0 unknown
  friend bool operator==(const Vertex&, const Vertex&) = default;
};

struct Link {
  int a = 0;  // vertex, a < b
  int b = 0;
  LinkKind kind = LinkKind::kPcie;
  int count = 1;          // links in the bundle
  std::int32_t mbps = 0;  // of the whole bundle, one way
  friend bool operator==(const Link&, const Link&) = default;
};

// Whether two cards can read each other's memory over PCIe. Unknown counts as yes on data-centre
// cards and as no where `p2p_by_default` is false (GeForce).
enum class P2p : std::uint8_t { kUnknown, kYes, kNo };

// A measured bandwidth that wins over the model: all-reduce bus bandwidth of a card set, or of
// every set of that size when `cards` is empty.
struct MeasuredBandwidth {
  CardSet cards;
  int size = 0;  // used when cards is empty
  std::int32_t mbps = 0;
  friend bool operator==(const MeasuredBandwidth&, const MeasuredBandwidth&) = default;
};

struct MachineGraph {
  std::string name;    // machine type, "dgx-1-v100"; empty when unknown
  std::string vendor;  // "NVIDIA", "AMD", "Huawei", "MetaX", "Kunlunxin", "Cambricon"
  std::string fabric;  // what the cards' links are called: "NVLink", "XGMI", "HCCS", ...
  int sm = 0;          // NVIDIA compute capability x 10 (70 = V100); 0 unknown
  // The fabric's switches reduce in the network (NVLS), and the whole fabric domain is this
  // machine: all-reduce over it gains a factor (bandwidth.h).
  bool in_network_reduction = false;
  bool p2p_by_default = true;
  std::vector<Vertex> vertices;  // cards first
  std::vector<Link> links;       // sorted by (a, b, kind)
  std::vector<P2p> p2p;          // cards x cards, row-major; empty: unknown for all
  std::vector<MeasuredBandwidth> measured;
  std::vector<std::string> warnings;  // what a reader could not know, in words

  int cards() const;
  // Vertices of a kind, ascending.
  std::vector<int> Of(VertexKind kind) const;
  // Card whose UUID or PCI id this is, in any case; -1 when there is none.
  int FindCard(std::string_view uuid_or_pci) const;
  // MB/s of the direct fabric links between cards, cards x cards, symmetric, 0 where there are none
  // and on the diagonal. Links through a fabric switch are not in it.
  Eigen::MatrixXi DirectFabric() const;
  // MB/s from each card into fabric switches, together.
  Eigen::VectorXi SwitchedFabric() const;
  P2p PeerToPeer(int a, int b) const;  // as known; kYes for a == b
  // True when data can go card to card: fabric, or PCIe with P2P.
  bool CanPeer(int a, int b) const;
  friend bool operator==(const MachineGraph&, const MachineGraph&) = default;
};

// Checks what every reader promises and every user relies on: cards first, links between known
// vertices with a < b, sorted, positive capacity, no link twice, the PCIe and socket links form a
// tree or forest apart from the sockets, P2P of the right size, at most 64 cards. `where` is put in
// front of the message.
Status ValidateGraph(const MachineGraph& graph, const std::string& where);

// --- constants, MB/s one way (sources: bandwidth.cc) ---
// One NVLink of a GPU of this compute capability; the nearest older one when unknown.
std::int32_t NvlinkMbps(int sm);
// PCIe: GT/s (2.5, 5, 8, 16, 32, 64) x width; 0 for an unknown speed.
std::int32_t PcieMbps(double gigatransfers, int width);

}  // namespace basalt::topology
