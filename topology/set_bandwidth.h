// The bandwidth model (bandwidth.h says what it means), set by set or for all sets at once.
#pragma once

#include <Eigen/Core>
#include <cstdint>
#include <vector>

#include "topology/card_set.h"
#include "topology/graph.h"
#include "topology/ring_packing.h"

namespace basalt::topology {

// All-reduce through host memory, where cards cannot read each other. FITTED to the two rows that
// were measured (nccl#1130: 4 cards of one NUMA node 24 GB/s, 2+2 over two nodes 35 GB/s), not
// derived: never more than kHostMbps, and the cards of a NUMA node share kHostNumaMbps. Besides,
// every card's traffic goes through each PCIe link above it, so cards that share an uplink share
// it, which is why cards of one switch can be slower than cards far apart (nccl#1086).
inline constexpr std::int32_t kHostMbps = 35'000;
inline constexpr std::int32_t kHostNumaMbps = 96'000;

// What reduction in the switches (NVLS) gains over the ring, in thousandths; fitted to 8 x H100
// (nccl-tests#212) and a GB200 NVL72 (coreweave/nccl-tests PR 43). 1000 for others.
std::int64_t InNetworkFactor(int sm);

class SetBandwidth {
 public:
  explicit SetBandwidth(const MachineGraph& graph);

  std::int32_t Of(CardSet cards) const;
  // By mask, for at most kTableCards cards.
  std::vector<std::int32_t> Table() const;

 private:
  struct Shared {  // a PCIe link and the cards whose traffic to host memory goes through it
    CardSet cards;
    std::int64_t mbps = 0;
  };

  std::int64_t Switched(CardSet cards) const;
  std::int64_t Direct(CardSet cards) const;
  std::int64_t PcieOrHost(CardSet cards) const;
  Eigen::MatrixXi Part(CardSet cards) const;
  std::int32_t Value(CardSet cards, std::int64_t direct) const;
  // The direct fabric's part of the table.
  std::vector<std::int64_t> DirectTable() const;
  void FindSwitched(const MachineGraph& graph);
  void FindUplinks(const MachineGraph& graph);

  int cards_ = 0;
  int sm_ = 0;
  bool reduces_ = false;
  bool has_direct_ = false;
  Eigen::MatrixXi direct_;
  std::vector<std::int64_t> switched_;        // MB/s of a card into fabric switches
  std::vector<std::uint64_t> switch_groups_;  // connected groups of switches that a card is on
  std::vector<CardSet> peers_;                // by card: itself and those it can read over PCIe
  std::vector<CardCut> cuts_;
  std::vector<Shared> uplinks_;
  std::vector<CardSet> numa_;  // the cards of each NUMA node; unknown ones together
  std::vector<MeasuredBandwidth> measured_;
};

}  // namespace basalt::topology
