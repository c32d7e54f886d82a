#include "sim/job_speed.h"

#include <algorithm>
#include <limits>
#include <set>

#include "topology/bandwidth.h"

namespace basalt::sim {

JobSpeed::JobSpeed(const ClusterState& state, const DomainTree& tree, SpeedOptions options)
    : state_(state), options_(std::move(options)) {
  if (options_.fabric_tier > 0) {
    for (const DomainId id : tree.OfTier(options_.fabric_tier)) {
      int cards = 0;
      for (std::uint32_t leaf = tree.domain(id).begin; leaf < tree.domain(id).end; ++leaf) {
        cards += FabricOf(tree.node(leaf)) > 0 ? state_.hot(tree.node(leaf)).cards : 0;
      }
      largest_fabric_ = std::max(largest_fabric_, cards);
    }
  }
  std::set<std::pair<const Machine*, int>> seen;
  for (const NodeId node : state_.order()) {
    const int cards = state_.hot(node).cards;
    if (cards > 0 && seen.emplace(state_.machine(node), cards).second) kinds_.push_back(node);
  }
}

std::int32_t JobSpeed::FabricOf(NodeId node) const {
  const Machine* machine = state_.machine(node);
  if (machine == nullptr) return 0;
  const Eigen::VectorXi fabric = machine->type->graph().SwitchedFabric();
  return fabric.size() == 0 ? 0 : fabric.minCoeff();
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

std::int32_t JobSpeed::Best(int cards, int member_cards) {
  const auto [it, is_new] = best_.try_emplace({cards, member_cards}, 0);
  if (!is_new || cards < 2) return it->second;
  std::int32_t best = 0;
  for (const NodeId node : kinds_) {
    const Machine* machine = state_.machine(node);
    const int n = state_.hot(node).cards;
    if (cards <= n) {
      if (machine != nullptr) best = std::max(best, machine->type->Best(cards));
      continue;
    }
    const int on_node = n / std::max(member_cards, 1);  // members
    if (on_node == 0) continue;
    const int members = cards / std::max(member_cards, 1);
    const int nodes = (members + on_node - 1) / on_node;
    const int fewest =
        members / nodes * std::max(member_cards, 1);  // cards on the node that has least
    std::int32_t within = std::numeric_limits<std::int32_t>::max();
    if (machine != nullptr && fewest >= 2) within = machine->type->Best(fewest);
    if (cards <= largest_fabric_ && FabricOf(node) > 0) {
      best = std::max(best, std::min(within, FabricOf(node)));
      continue;
    }
    best = std::max(best, topology::AcrossNodes(within, NicShare(node, fewest)));
  }
  return it->second = best;
}

std::int32_t JobSpeed::BestFor(ShapeId shape) const {
  std::int32_t best = 0;
  const int cards = state_.shape(shape).gpus;
  for (const NodeId node : state_.order()) {
    const Machine* machine = state_.machine(node);
    if (machine != nullptr && machine->type->Best(cards) > best && state_.FitsEmpty(shape, node)) {
      best = machine->type->Best(cards);
    }
  }
  return best;
}

JobSpeed::Got JobSpeed::Of(const DomainTree& tree,
                           std::span<const std::pair<NodeId, CardSet>> cards, int member_cards) {
  Got got;
  int all = 0;
  std::int32_t slowest = std::numeric_limits<std::int32_t>::max();
  for (const auto& [node, set] : cards) {
    got.tier = std::max(got.tier, tree.TierOf(cards.front().first, node));
  }
  const bool one_fabric = got.tier > 0 && got.tier <= options_.fabric_tier;
  for (const auto& [node, set] : cards) {
    all += set.size();
    if (state_.machine(node) == nullptr) return got;  // nothing is known, so nothing is claimed
    std::int32_t within = std::numeric_limits<std::int32_t>::max();
    const Machine* machine = state_.machine(node);
    if (set.size() >= 2 && machine != nullptr) within = machine->type->Bandwidth(set);
    if (cards.size() > 1 && one_fabric && FabricOf(node) > 0) {
      within = std::min(within, FabricOf(node));
    } else if (cards.size() > 1) {
      within = topology::AcrossNodes(within, NicShare(node, set.size()));
    }
    slowest = std::min(slowest, within);
  }
  if (all < 2) return got;
  if (cards.size() == 1 && slowest == std::numeric_limits<std::int32_t>::max()) return got;
  const auto percent = options_.tier_percent.find(got.tier);
  if (percent != options_.tier_percent.end()) {
    slowest = static_cast<std::int32_t>(std::int64_t{slowest} * percent->second / 100);
  }
  got.mbps = slowest;
  got.best = std::max(Best(all, member_cards), got.mbps);
  return got;
}

std::int64_t JobSpeed::RunTime(std::int64_t duration_us, int comm_milli, const Got& got) {
  if (duration_us < 0 || comm_milli <= 0 || got.mbps <= 0) return duration_us;
  // A year at a thousandth of the best bandwidth still fits 64 bits in this order.
  const std::int64_t comm = duration_us / 1000 * comm_milli;
  const double stretched = static_cast<double>(comm) * (static_cast<double>(got.best) / got.mbps);
  constexpr double kMost = 1e18;  // beyond it times would not add up any more
  return static_cast<std::int64_t>(
      std::min(kMost, static_cast<double>(duration_us - comm) + stretched));
}

}  // namespace basalt::sim
