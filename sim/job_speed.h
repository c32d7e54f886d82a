// What a placement's wiring is worth to a job: the all-reduce bandwidth that its cards get, the
// best that this cluster could give a job of that size, and how long the job then runs.
//
// Within a node: the machine type's table (topology/bandwidth.h). Over nodes: the slowest node's
// cards or its share of the node's NICs, whichever is less (inside one NVLink domain the fabric
// instead of NICs), times what the widest tier between the nodes lets through. Run time: the
// recorded duration is at best bandwidth; its communication share grows as the bandwidth falls.
// Integers: MB/s and microseconds.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "scheduler-core/cluster/domains.h"
#include "scheduler-core/cluster/state.h"

namespace basalt::sim {

struct SpeedOptions {
  std::int32_t unknown_nic_mbps = 12'500;  // a node without known NICs: one of 100 Gb/s
  std::map<int, int> tier_percent;         // of the bandwidth across a tier; 100 where not named
  // Nodes inside one domain of this tier share their cards' fabric (an NVL72 rack's trays): they
  // are joined by it and not by NICs. 0: there is no such tier.
  int fabric_tier = 0;
};

class JobSpeed {
 public:
  JobSpeed(const ClusterState& state, const DomainTree& tree, SpeedOptions options);

  struct Got {
    std::int32_t mbps = 0;  // 0: one card, or wiring unknown
    std::int32_t best = 0;
    int tier = 0;  // of the narrowest domain that holds all; 0: one node
  };
  // `cards` by node, each node once; whole cards of one job, whose pods have `member_cards` each.
  Got Of(const DomainTree& tree, std::span<const std::pair<NodeId, CardSet>> cards,
         int member_cards);
  // The best for so many cards on the empty cluster: one node if one is large enough, else pods of
  // `member_cards` each over as few nodes as hold them, as evenly as can be, side by side.
  std::int32_t Best(int cards, int member_cards);
  // The best for one pod on the nodes that would take it when empty.
  std::int32_t BestFor(ShapeId shape) const;

  // `comm_milli` of the duration is communication at best bandwidth.
  static std::int64_t RunTime(std::int64_t duration_us, int comm_milli, const Got& got);

 private:
  std::int32_t NicShare(NodeId node, int cards) const;
  // What leaves the node through its cards' fabric switches; 0 when there are none.
  std::int32_t FabricOf(NodeId node) const;
  const ClusterState& state_;
  SpeedOptions options_;
  int largest_fabric_ = 0;     // cards of the largest domain of the fabric tier
  std::vector<NodeId> kinds_;  // one node of each (machine type, cards)
  std::map<std::pair<int, int>, std::int32_t> best_;  // by cards, member_cards
};

}  // namespace basalt::sim
