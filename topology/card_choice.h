// Which cards of a machine to take, for machines of at most 16 cards: tables over all sets of
// cards, made once from the bandwidth of every set. A question touches only tables: nothing is
// computed, cached or locked, so that it may be asked from any thread.
//
// Order of choice, in both questions the first key that differs decides:
//   Best:  bandwidth; remainder; locality; lowest mask
//   Keep:  remainder, of all sets with enough bandwidth; bandwidth; locality; lowest mask
// The remainder is what stays free: how many disjoint intact sets of 8, of 4, of 2 (a set is intact
// when it has the best bandwidth of its size), then the bandwidth of all of it. Locality: fewest
// NUMA nodes, then fewest PCIe switches, so that cards stay with the NICs beside them.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "topology/bandwidth.h"
#include "topology/card_set.h"
#include "topology/graph.h"

namespace basalt::topology {

class CardChoice {
 public:
  // `bandwidth` by mask, one entry a set of the graph's cards.
  CardChoice(const MachineGraph& graph, std::vector<std::int32_t> bandwidth);

  std::int32_t Bandwidth(CardSet cards) const { return bandwidth_[cards.bits()]; }
  std::int32_t Best(int size) const;
  int Intact(int size, CardSet free) const;
  CardSet BestSet(CardSet free, int size) const;
  CardSet KeepRemainder(CardSet free, int size, std::int32_t mbps) const;
  int Copies(CardSet free, int size, std::int32_t mbps) const;

 private:
  // Sets of one size and bandwidth: lists_[size][begin, end).
  struct Group {
    std::size_t begin = 0;
    std::size_t end = 0;
    std::int32_t mbps = 0;
  };

  void CountIntact(int size, std::vector<std::uint8_t>* out) const;
  void RankRemainders();
  void SortSets(const MachineGraph& graph);
  // Of the subsets of `free` in lists_[size][begin, end), the first one with the best remainder.
  CardSet FirstBest(int size, std::size_t begin, std::size_t end, CardSet free) const;
  // No remainder of `size` cards out of `free` ranks higher.
  std::uint32_t HighestRank(CardSet free, int size) const;

  int cards_ = 0;
  std::vector<std::int32_t> bandwidth_;
  std::array<std::int32_t, kTableCards + 1> best_{};
  std::array<std::vector<std::uint8_t>, 3> intact_;  // of 2, 4, 8 cards
  // Equal remainders have equal ranks, a better one a higher rank. At most 65,536 differ.
  std::vector<std::uint16_t> rank_;
  std::vector<std::uint64_t> keys_;  // by rank: counts of 8, 4, 2, then bandwidth
  // By size: bandwidth descending, then locality, then mask.
  std::array<std::vector<std::uint16_t>, kTableCards + 1> lists_;
  std::array<std::vector<Group>, kTableCards + 1> groups_;
  std::vector<std::uint8_t> answers_;  // up to 8 cards: BestSet by (free, size)
};

}  // namespace basalt::topology
