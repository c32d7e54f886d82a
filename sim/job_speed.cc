#include "sim/job_speed.h"

#include <algorithm>
#include <limits>
#include <set>

#include "topology/bandwidth.h"

namespace basalt::sim {

JobSpeed::JobSpeed(const ClusterState& state, SpeedOptions options)
    : state_(state), options_(std::move(options)) {
  std::set<std::pair<const Machine*, int>> seen;
  for (const NodeId node : state_.order()) {
    const int cards = state_.hot(node).cards;
    if (cards > 0 && seen.emplace(state_.machine(node), cards).second) kinds_.push_back(node);
  }
}

std::int32_t JobSpeed::NicShare(NodeId node, int cards) const {
  std::int64_t nics = 0;
  if (const Machine* machine = state_.machine(node); machine != nullptr) {
    for (const int nic : machine->type->graph().Of(topology::VertexKind::kNic)) {
      nics += machine->type->graph().vertices[static_cast<std::size_t>(nic)].nic_mbps;
    }
  }
  if (nics == 0) nics = options_.unknown_nic_mbps;
  const int all = std::max<int>(state_.hot(node).cards, 1);
  return static_cast<std::int32_t>(nics * cards / all);
}

std::int32_t JobSpeed::Best(int cards) {
  const auto [it, is_new] = best_.try_emplace(cards, 0);
  if (!is_new || cards < 2) return it->second;
  std::int32_t best = 0;
  for (const NodeId node : kinds_) {
    const Machine* machine = state_.machine(node);
    const int n = state_.hot(node).cards;
    if (cards <= n) {
      if (machine != nullptr) best = std::max(best, machine->type->Best(cards));
      continue;
    }
    const std::int32_t within =
        machine == nullptr ? std::numeric_limits<std::int32_t>::max() : machine->type->Best(n);
    best =
        std::max(best, topology::AcrossNodes(within > 0 ? within : INT32_MAX, NicShare(node, n)));
  }
  return it->second = best;
}

JobSpeed::Got JobSpeed::Of(const DomainTree& tree,
                           std::span<const std::pair<NodeId, CardSet>> cards) {
  Got got;
  int all = 0;
  std::int32_t slowest = std::numeric_limits<std::int32_t>::max();
  for (const auto& [node, set] : cards) {
    all += set.size();
    got.tier = std::max(got.tier, tree.TierOf(cards.front().first, node));
    std::int32_t within = std::numeric_limits<std::int32_t>::max();
    const Machine* machine = state_.machine(node);
    if (set.size() >= 2 && machine != nullptr) within = machine->type->Bandwidth(set);
    if (cards.size() > 1) within = topology::AcrossNodes(within, NicShare(node, set.size()));
    slowest = std::min(slowest, within);
  }
  if (all < 2) return got;
  if (cards.size() == 1 && slowest == std::numeric_limits<std::int32_t>::max()) return got;
  const auto percent = options_.tier_percent.find(got.tier);
  if (percent != options_.tier_percent.end()) {
    slowest = static_cast<std::int32_t>(std::int64_t{slowest} * percent->second / 100);
  }
  got.mbps = slowest;
  got.best = std::max(Best(all), got.mbps);
  return got;
}

std::int64_t JobSpeed::RunTime(std::int64_t duration_us, int comm_milli, const Got& got) {
  if (duration_us < 0 || comm_milli <= 0 || got.mbps <= 0) return duration_us;
  // A year at a thousandth of the best bandwidth still fits 64 bits in this order.
  const std::int64_t comm = duration_us / 1000 * comm_milli;
  const double stretched = static_cast<double>(comm) * (static_cast<double>(got.best) / got.mbps);
  return duration_us - comm + static_cast<std::int64_t>(stretched);
}

}  // namespace basalt::sim
