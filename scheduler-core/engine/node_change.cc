// A node that is described anew: which of its pods stay, and on which of its cards they are then.
#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "scheduler-core/base/check.h"
#include "scheduler-core/cluster/transaction.h"
#include "scheduler-core/engine/engine.h"

namespace basalt {
namespace {

// For each card the one of `was` that it is, or -1. By UUID; where one of the two has none, by
// place and model.
std::vector<int> OldCards(const std::vector<CardSpec>& was, const std::vector<CardSpec>& now) {
  std::map<std::string_view, int> by_uuid;
  for (std::size_t i = 0; i < was.size(); ++i) {
    if (!was[i].uuid.empty()) by_uuid.emplace(was[i].uuid, static_cast<int>(i));
  }
  std::vector<int> from(now.size(), -1);
  std::vector<char> met(was.size(), 0);
  for (std::size_t i = 0; i < now.size(); ++i) {
    const auto it = now[i].uuid.empty() ? by_uuid.end() : by_uuid.find(now[i].uuid);
    if (it == by_uuid.end() || met[static_cast<std::size_t>(it->second)] != 0) continue;
    from[i] = it->second;
    met[static_cast<std::size_t>(it->second)] = 1;
  }
  for (std::size_t i = 0; i < std::min(was.size(), now.size()); ++i) {
    const bool named = !was[i].uuid.empty() && !now[i].uuid.empty();
    if (from[i] >= 0 || met[i] != 0 || named || was[i].model != now[i].model) continue;
    from[i] = static_cast<int>(i);
    met[i] = 1;
  }
  return from;
}

// What a pod holds of a node, in the node's new numbers of cards.
struct Hold {
  CardSet cards;
  std::shared_ptr<const NumaTake> numa;
  bool all = true;  // false: a card of it is gone
};

Hold Moved(CardSet cards, const std::shared_ptr<const NumaTake>& numa, const std::vector<int>& to) {
  Hold out;
  for (const int card : cards) {
    const int now = to[static_cast<std::size_t>(card)];
    out.all = out.all && now >= 0;
    if (now >= 0) out.cards.Add(now);
  }
  if (numa == nullptr || !out.all) return out;
  NumaTake take = *numa;
  for (SliceTake& slice : take.slices) {
    slice.card = static_cast<std::int8_t>(to[static_cast<std::size_t>(slice.card)]);
  }
  out.numa = std::make_shared<const NumaTake>(std::move(take));
  return out;
}

// Its slices alone, where the node no longer has what was pinned.
std::shared_ptr<const NumaTake> Unpinned(const NumaTake& take) {
  if (take.slices.empty()) return nullptr;
  NumaTake slices;
  slices.slices = take.slices;
  return std::make_shared<const NumaTake>(std::move(slices));
}

bool SameButForLabels(const NodeSpec& a, const NodeSpec& b) {
  NodeSpec relabelled = a;
  relabelled.labels = b.labels;
  relabelled.taints = b.taints;
  return relabelled == b;
}

}  // namespace

Result<bool> Engine::ChangeNode(const NodeSpec& spec) {
  const NodeId node = state_.FindNode(spec.name);
  if (!node.valid()) return Fail("node " + spec.name, "is not in the cluster");
  if (Status ok = state_.CheckNode(spec); !ok) return tl::unexpected<Error>(ok.error());
  const NodeSpec was = state_.SpecOf(node);
  NodeSpec now = spec;
  if (now.rank < 0) now.rank = was.rank;
  std::sort(now.labels.begin(), now.labels.end());
  std::sort(now.taints.begin(), now.taints.end());
  if (!SameButForLabels(was, now)) {
    // A cluster of this node alone: it tells how the description reads back, and which of the pods
    // can be on such a node at all.
    ClusterState alone;
    std::set<std::string> models;
    for (const CardSpec& card : now.cards) {
      const ModelId model = state_.FindModel(card.model);
      if (!models.insert(card.model).second || !model.valid()) continue;
      const CardRules* rules = state_.RulesOf(model);
      if (rules != nullptr) BASALT_CHECK(alone.SetCardRules(*rules).has_value());
    }
    const Result<NodeId> there = alone.AddNode(now);
    if (!there) return tl::unexpected<Error>(there.error());
    now = alone.SpecOf(*there);
    if (!SameButForLabels(was, now)) {
      RebuildNode(node, now, &alone, *there);
      return true;
    }
  }
  if (was == now) return false;
  state_.Relabel(node, now.labels, now.taints);
  return true;
}

void Engine::RebuildNode(NodeId node, const NodeSpec& now, ClusterState* alone, NodeId there) {
  const NodeSpec was = state_.SpecOf(node);
  const std::vector<int> from = OldCards(was.cards, now.cards);
  std::vector<int> to(was.cards.size(), -1);
  for (std::size_t i = 0; i < from.size(); ++i) {
    if (from[i] >= 0) to[static_cast<std::size_t>(from[i])] = static_cast<int>(i);
  }
  std::map<PodUid, Hold> stay;
  std::vector<PodUid> lost;
  std::vector<PodUid> pods;
  for (const std::uint32_t slot : on_node_[node]) pods.push_back(allocations_[slot].uid);
  std::sort(pods.begin(), pods.end());  // which goes first must not depend on this engine's past
  {
    Transaction tx(*alone);
    for (const PodUid& uid : pods) {
      const Allocation& a = *Find(uid);
      Hold hold = Moved(a.cards, a.numa, to);
      const ShapeId shape = alone->InternShape(state_.shape(a.shape).spec);
      const auto fits = [&] { return alone->CanRecord(shape, there, hold.cards, hold.numa.get()); };
      bool can = hold.all && fits();
      if (hold.all && !can && hold.numa != nullptr) {
        hold.numa = Unpinned(*hold.numa);
        can = fits();
      }
      if (!can) {
        lost.push_back(uid);
        continue;
      }
      tx.Take(there, shape, hold.cards, hold.numa);
      stay.emplace(uid, std::move(hold));
    }
  }
  for (const PodUid& uid : lost) {
    const auto it = by_uid_.find(uid);  // gone already, with another one
    if (it != by_uid_.end()) End(it->second, Ending::kLost);
  }
  std::erase_if(stay, [this](const auto& pod) { return Find(pod.first) == nullptr; });

  UnmarkNode(node);
  Transaction tx(state_);
  for (const auto& [uid, hold] : stay) {
    Allocation& a = allocations_[by_uid_.find(uid)->second];
    Uncharge(a);  // it may be charged for another model, or for a larger card, then
    tx.Give(node, a.shape, a.cards, a.numa);
  }
  tx.Commit();
  state_.ChangeNode(node, now, from);
  quotas_.InventoryChanged();
  for (const auto& [uid, hold] : stay) {
    Allocation& a = allocations_[by_uid_.find(uid)->second];
    a.cards = hold.cards;
    a.numa = hold.numa;
    tx.Take(node, a.shape, a.cards, a.numa);
    if (!a.is_leaving()) Charge(a);
  }
  tx.Commit();
  MarkNode(node);
  AfterCommit(node);
}

}  // namespace basalt
