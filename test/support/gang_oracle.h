// Whether a gang fits at all, by looking at every way to place it: branch and bound over members,
// nodes and cards on small clusters, with nothing of the engine inside. Cards have compute and a
// model; no card memory, no NUMA nodes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "test/support/oracle.h"

namespace basalt::oracle {

inline constexpr int kWholeCluster = 17;  // the tier above all

struct GangNode {
  std::int64_t cpu = 0;
  std::int64_t memory = 0;
  std::int64_t pods = 0;
  struct Card {
    std::int64_t free = 0;
    std::string model;
    friend auto operator<=>(const Card&, const Card&) = default;
  };
  std::vector<Card> cards;
  std::vector<std::pair<int, std::string>> path;  // tier and name, narrow to wide
};

struct GangAsk {
  struct Task {
    Ask ask;
    int count = 0;
    int group = -1;
  };
  std::vector<Task> tasks;
  std::vector<int> group_required;  // a tier each
  int required = kWholeCluster;
};

struct GangPut {
  int task = 0;
  int node = 0;
  std::vector<int> cards;
};

// Tier of the narrowest domain that holds all nodes: 0 when they are one node. A node that names no
// rack is in none.
int TierOf(const std::vector<GangNode>& nodes, const std::vector<int>& which);

// Empty when the placement is one of the whole gang and breaks nothing; else what is wrong. `held`
// are members that hold already (their amounts are not taken again, their places count for levels).
std::string CheckPlacement(std::vector<GangNode> nodes, const GangAsk& ask,
                           const std::vector<GangPut>& puts, const std::vector<GangPut>& held = {});

// No value: it took more than `steps`.
std::optional<bool> Feasible(const std::vector<GangNode>& nodes, const GangAsk& ask,
                             std::int64_t steps = 300'000);

}  // namespace basalt::oracle
