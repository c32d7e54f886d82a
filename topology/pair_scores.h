// A machine from the pair scores that go-gpuallocator and HAMi add up (PairScores in peer_rules.h,
// read backwards): a tree of PCIe switches, host bridges and NUMA nodes that gives every pair the
// class of its score, and the NVLinks. PairScores of the result are the scores again, where the
// scores are such a tree's; where not, a warning says so.
//
// Scores have no speeds: links are taken for those of the card model's generation, sockets for
// NCCL's figures. Links that one card cannot have are links into a switch.
#pragma once

#include <Eigen/Core>
#include <string>
#include <vector>

#include "scheduler-core/base/result.h"
#include "topology/graph.h"

namespace basalt::topology {

// `scores`: cards x cards; of the two of a pair the smaller counts, 0 is not told. `model`: of the
// cards, "A100-80G"; it gives the generation of the links. `numa`: of each card, -1 unknown.
// Errors: a matrix that is not square or of more than 64 cards; a negative score; NVLinks of a
// model whose links are not known.
Result<MachineGraph> GraphOfPairScores(const Eigen::MatrixXi& scores, const std::string& model,
                                       const std::vector<int>& numa, const std::string& where);

}  // namespace basalt::topology
