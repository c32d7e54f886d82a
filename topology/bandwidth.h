// What a set of cards of one machine gets in an all-reduce, and which set to take. Everything is
// computed once a machine type; a question is a table look-up.
//
// Bandwidth is all-reduce bus bandwidth in MB/s (nccl-tests' "busbw"): time = 2 (n-1)/n x bytes /
// B. A set's value is
//   its measured value, where the machine has one;
//   else over fabric switches: the smallest card's links, x the NVLS factor for the whole domain;
//   else over direct fabric links: the best packing of directed rings, exact up to 8 cards, and the
//     smallest cut (an upper bound) beyond, if there is a ring at all (machines of 9 to 16 cards:
//     exact up to the size at which different sets become too many, set_bandwidth.cc);
//   else, or if that is more, over PCIe: the smallest cut of the PCIe tree, when all pairs can
//   peer; else through host memory. A set without P2P is never given a peer-to-peer figure.
// One card: no communication; Bandwidth is 0 and means "does not matter".
//
// Cards up to 16: tables over all masks. More: the same formulas per question, and card choice
// counts on the fabric being uniform (a set is taken by lowest index).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "scheduler-core/base/result.h"
#include "topology/card_set.h"
#include "topology/graph.h"

namespace basalt::topology {

inline constexpr int kTableCards = 16;

class SetBandwidth;
class CardChoice;

class MachineType {
 public:
  // Refuses an invalid graph and one without cards.
  static Result<std::shared_ptr<const MachineType>> Make(MachineGraph graph);

  const MachineGraph& graph() const { return graph_; }
  // The canonical description (synthetic.h): equal texts, equal types.
  const std::string& text() const { return text_; }
  int cards() const { return cards_; }

  std::int32_t Bandwidth(CardSet cards) const;
  // The best of all sets of that many cards on the idle machine; 0 for less than 2.
  std::int32_t Best(int size) const;
  // How many disjoint sets of `size` (2, 4 or 8) with the best bandwidth of that size are left.
  int Intact(int size, CardSet free) const;

  // The set to take from `free`: the highest bandwidth, then the best remainder (most intact sets
  // of 8, then of 4, then of 2, then the remainder's own bandwidth), then the fewest NUMA nodes,
  // then the fewest PCIe switches (cards stay with the NICs beside them), then the lowest mask.
  // Empty when there are not enough cards.
  CardSet BestSet(CardSet free, int size) const;
  // Any set with at least `mbps`: the one with the best remainder. Empty when there is none. One
  // card is always fast enough.
  CardSet KeepRemainder(CardSet free, int size, std::int32_t mbps) const;
  // How many disjoint sets of `size` cards with at least `mbps` each fit in `free`. Exact up to 8
  // cards; beyond, a lower bound by taking sets one after another.
  int Copies(CardSet free, int size, std::int32_t mbps) const;

 private:
  MachineType() = default;
  MachineGraph graph_;
  std::string text_;
  int cards_ = 0;
  std::shared_ptr<const SetBandwidth> model_;
  std::shared_ptr<const CardChoice> choice_;  // up to kTableCards cards
  std::vector<std::int32_t> uniform_best_;    // beyond, by size
};

// A job over several machines (ring over at least 3 nodes): the smallest of the nodes' own
// bandwidth and of each node's NICs x 0.96. What to assume for a node whose NICs are not known is
// the caller's choice.
std::int32_t AcrossNodes(std::int32_t within_mbps, std::int32_t nic_mbps);

}  // namespace basalt::topology
