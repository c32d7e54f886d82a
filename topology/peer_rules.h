// How other schedulers choose cards, repeated here so that policies can be compared in one run.
// Enumeration is what they do, and it does not end on large nodes: past kMostSubsets combinations
// PairSumSet takes the lowest free cards, and past kMostPartitioned free cards GoAllocatorSet does
// as PairSumSet. Both add up a score of each pair of cards (reference: go-gpuallocator's
// gpuallocator/besteffort.go and HAMi's pkg/device/nvidia, which takes the same numbers from a node
// annotation):
//   by PCIe: 10 across sockets, 20 same socket, 30 same host bridge, 40 several switches,
//   50 one switch; plus 100 a NVLink between the two (over NVSwitch: the smaller card's links).
#pragma once

#include <Eigen/Core>

#include "topology/card_set.h"
#include "topology/graph.h"

namespace basalt::topology {

inline constexpr double kMostSubsets = 200'000;
inline constexpr int kMostPartitioned = 10;

// cards x cards, symmetric, 0 on the diagonal.
Eigen::MatrixXi PairScores(const MachineGraph& graph);

// HAMi's `topology-aware`: one card: the lowest sum of scores to the other free ones; several: the
// combination with the highest sum over its pairs, the first in lexicographic order on ties.
CardSet PairSumSet(const Eigen::MatrixXi& scores, CardSet free, int size);

// go-gpuallocator's best-effort policy: the partition of the free cards into sets of `size` (the
// last padded) with the highest sum over all its sets; of it the best full set, first on ties. One
// card: the first.
CardSet GoAllocatorSet(const Eigen::MatrixXi& scores, CardSet free, int size);

}  // namespace basalt::topology
