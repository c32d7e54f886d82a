// What a placement's wiring is worth to a job: the all-reduce bandwidth that its cards get, the
// best that this cluster could give a job of that size, and how long the job then runs.
//
// Within a node: the machine type's table (topology/bandwidth.h). Over nodes: the slowest node's
// cards or its share of the node's NICs, whichever is less, times what the widest tier between the
// nodes lets through. Run time: the recorded duration is at best bandwidth; its communication share
// grows as the bandwidth falls. Integers: MB/s and microseconds.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "scheduler-core/cluster/domains.h"
#include "scheduler-core/cluster/state.h"

namespace basalt::sim {

struct SpeedOptions {
  std::int32_t unknown_nic_mbps = 12'500;  // a node without known NICs: one of 100 Gb/s
  std::map<int, int> tier_percent;         // of the bandwidth across a tier; 100 where not named
};

class JobSpeed {
 public:
  JobSpeed(const ClusterState& state, SpeedOptions options);

  struct Got {
    std::int32_t mbps = 0;  // 0: one card, or wiring unknown
    std::int32_t best = 0;
    int tier = 0;  // of the narrowest domain that holds all; 0: one node
  };
  // `cards` by node, each node once; whole cards of one job.
  Got Of(const DomainTree& tree, std::span<const std::pair<NodeId, CardSet>> cards);
  // The best for so many cards on the empty cluster: one node if one is large enough, else as few
  // nodes as hold them, side by side.
  std::int32_t Best(int cards);

  // `comm_milli` of the duration is communication at best bandwidth.
  static std::int64_t RunTime(std::int64_t duration_us, int comm_milli, const Got& got);

 private:
  std::int32_t NicShare(NodeId node, int cards) const;
  const ClusterState& state_;
  SpeedOptions options_;
  std::vector<NodeId> kinds_;  // one node of each (machine type, cards)
  std::unordered_map<int, std::int32_t> best_;
};

}  // namespace basalt::sim
