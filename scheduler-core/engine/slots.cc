// Slot quotas on nodes: which state a node is in, and what that closes to whom. The counts are
// queueing/node_slots.h's.
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "scheduler-core/engine/engine.h"

namespace basalt {

bool Engine::IsFirm(const Standing& standing) const {
  if (!standing.preemptible) return true;
  const QueueTree& tree = queues();
  for (QueueId at = quotas_.LeafOf(standing.queue); at.valid() && at != QueueTree::kRoot;
       at = tree.parent(at)) {
    if (!tree.spec(at).reclaimable) return true;
  }
  return false;
}

SlotMark Engine::MarkOf(NodeId node) const {
  const NodeHot& hot = state_.hot(node);
  if (!state_.exists(node) || !hot.schedulable || hot.cards == 0) return kOutside;
  for (int c = 0; c < hot.cards; ++c) {
    const CardState& card = state_.card(node, c);
    if (!CountsInTotals(card) || card.model != state_.card(node, 0).model) return kOutside;
  }
  const int kind = node_slots_.KindOf(
      hot.cards, state_.model_name(ModelId(std::uint32_t{state_.card(node, 0).model})));
  if (kind < 0) return kOutside;
  std::optional<SlotMark> holder;
  for (const std::uint32_t slot : on_node_[node]) {
    const Allocation& a = allocations_[slot];
    if (state_.shape(a.shape).gpus == 0 || !IsFirm(*a.standing)) continue;
    const SlotMark its = node_slots_.HeldBy(kind, quotas_.LeafOf(a.standing->queue));
    if (its == kOutside || (holder && *holder != its)) return kOutside;
    holder = its;
  }
  return holder.value_or(node_slots_.Open(kind));
}

void Engine::MarkNode(NodeId node) {
  if (!node_slots_.any()) return;
  const SlotMark mark = MarkOf(node);
  node_slots_.Move(state_.hot(node).mark, mark);
  state_.SetMark(node, mark);
}

void Engine::UnmarkNode(NodeId node) {
  node_slots_.Move(state_.hot(node).mark, kOutside);
  state_.SetMark(node, kOutside);
}

void Engine::QueuesChanged() {
  const bool had = node_slots_.any();
  node_slots_.Reset(queues());
  if (!had && !node_slots_.any()) return;
  for (const NodeId node : state_.order()) state_.SetMark(node, kOutside);
  for (const NodeId node : state_.order()) MarkNode(node);
}

std::uint64_t Engine::ClosedMarks(ShapeId shape, const Standing& standing, SlotView view) const {
  if (!node_slots_.any() || view == SlotView::kAll || state_.shape(shape).gpus == 0 ||
      !IsFirm(standing)) {
    return 0;
  }
  const QueueId leaf = quotas_.LeafOf(standing.queue);
  return view == SlotView::kForOne ? node_slots_.Closed(leaf) : node_slots_.ClosedToMany(leaf);
}

Status Engine::KeepsSlots(const Standing& standing, std::vector<NodeId> nodes,
                          const std::string& where) const {
  if (!node_slots_.any() || nodes.empty() || !IsFirm(standing)) return {};
  std::sort(nodes.begin(), nodes.end());
  nodes.erase(std::unique(nodes.begin(), nodes.end()), nodes.end());
  std::vector<SlotMark> marks;
  for (const NodeId node : nodes) marks.push_back(state_.hot(node).mark);
  if (node_slots_.MayEnter(quotas_.LeafOf(standing.queue), marks)) return {};
  return Fail(where, KeptText());
}

std::string Engine::KeptText() const {
  const std::string queues_short = node_slots_.KeptFor(queues());
  return "nodes where it would fit are kept for the slots of " + queues_short;
}

bool Engine::MayClaimSlots(const Standing& standing) const {
  if (!node_slots_.any() || !IsFirm(standing)) return false;
  const QueueId leaf = quotas_.LeafOf(standing.queue);
  const auto& kinds = node_slots_.kinds();
  for (int kind = 0; std::cmp_less(kind, kinds.size()); ++kind) {
    if (node_slots_.HeldBy(kind, leaf) != kOutside) return true;
  }
  return false;
}

Status Engine::AuditSlots() const {
  NodeSlots again;
  again.Reset(queues());
  for (const NodeId node : state_.order()) {
    const SlotMark mark = node_slots_.any() ? MarkOf(node) : kOutside;
    if (mark != state_.hot(node).mark) {
      return Fail("node " + state_.name(node),
                  fmt::format("audit: slot mark should be {}, is {}", mark, state_.hot(node).mark));
    }
    again.Move(kOutside, mark);
  }
  for (std::size_t k = 0; k < again.kinds().size(); ++k) {
    const NodeSlots::Kind& should = again.kinds()[k];
    const NodeSlots::Kind& is = node_slots_.kinds()[k];
    if (should.open != is.open || should.unbound != is.unbound) {
      return Fail(fmt::format("slots of {} cards", should.cards),
                  fmt::format("audit: {} open and {} unbound should be {} and {}", is.open,
                              is.unbound, should.open, should.unbound));
    }
  }
  return {};
}

}  // namespace basalt
