// How much an all-reduce gets through a set of links: packings of directed rings and cuts. Pure
// functions of capacities (MB/s, one way, the same both ways); deterministic, the linear programs
// are solved in doubles and rounded to MB/s.
//
// A directed ring over a set leaves every proper subset once, so the rings together carry at most
// the smallest cut: RingPacking(c) <= SmallestCut(c).
#pragma once

#include <Eigen/Core>
#include <cstdint>
#include <vector>

#include "topology/card_set.h"
#include "topology/graph.h"

namespace basalt::topology {

inline constexpr int kExactRingCards = 8;

// The most that directed Hamiltonian rings over all rows of `capacity` (symmetric, 2..8 rows) carry
// together, each ring a rate, no link over its capacity: for two cards the link, else
//   2 x max sum x_c over undirected Hamiltonian cycles c, with sum_{c through e} x_c <= capacity_e
// (a cycle is two directed rings). 0 when there is no ring.
std::int64_t RingPacking(const Eigen::MatrixXi& capacity);

// The smallest total capacity between two parts of the rows (Stoer and Wagner, JACM 44(4), 1997).
std::int64_t SmallestCut(const Eigen::MatrixXi& capacity);

// The undirected Hamiltonian cycles as lists of rows, each once: it starts at row 0, and the second
// row is smaller than the last.
std::vector<std::vector<int>> HamiltonianCycles(const Eigen::MatrixXi& capacity);

// A way to part the machine's cards, and the most that goes through PCIe and socket links between
// the two sides.
struct CardCut {
  CardSet side;
  std::int64_t mbps = 0;
};
// At most cards-1 cuts that suffice for every set: the smallest PCIe cut that parts a set S is the
// smallest of those that have cards of S on both sides (an equivalent flow tree; Gusfield, SIAM J.
// Comput. 19(1), 1990).
std::vector<CardCut> PcieCuts(const MachineGraph& graph);

}  // namespace basalt::topology
