#include "scheduler-core/cluster/domains.h"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include "scheduler-core/cluster/draft.h"

namespace basalt {
namespace {

constexpr int kMostCopies = std::numeric_limits<std::uint16_t>::max();

}  // namespace

void DomainTree::CatchUp(const ClusterState& state) {
  if (structure_version_ == state.structure_version() && !domains_.empty()) return;
  structure_version_ = state.structure_version();
  domains_.clear();
  Domain cluster;
  cluster.name = "cluster";
  domains_.push_back(std::move(cluster));
  // Domains in the order in which the ranked nodes first name them, so a parent before its
  // children.
  std::map<std::pair<DomainId, topology::DomainStep>, DomainId> known;
  innermost_.assign(state.node_slots(), DomainId());
  std::vector<std::vector<NodeId>> own(1);
  for (const NodeId node : state.order()) {
    DomainId at{std::uint32_t{0}};
    const topology::NetworkPath& path = state.network(node);
    for (std::size_t i = path.size(); i-- > 0;) {  // widest first
      const auto [it, is_new] = known.try_emplace({at, path[i]}, DomainId());
      if (is_new) {
        Domain child;
        child.tier = path[i].tier;
        child.name = path[i].name;
        child.parent = at;
        it->second = domains_.push_back(std::move(child));
        domains_[at].children.push_back(it->second);
        own.emplace_back();
      }
      at = it->second;
    }
    innermost_[node.index()] = at;
    own[at.index()].push_back(node);
  }
  leaf_node_.clear();
  leaf_of_.assign(state.node_slots(), 0);
  for (auto& tier : by_tier_) tier.clear();
  const auto number = [&](const auto& self, DomainId id) -> void {
    domains_[id].begin = static_cast<std::uint32_t>(leaf_node_.size());
    for (const NodeId node : own[id.index()]) {
      leaf_of_[node.index()] = static_cast<std::uint32_t>(leaf_node_.size());
      leaf_node_.push_back(node);
    }
    domains_[id].own_end = static_cast<std::uint32_t>(leaf_node_.size());
    for (const DomainId child : domains_[id].children) self(self, child);
    domains_[id].end = static_cast<std::uint32_t>(leaf_node_.size());
  };
  number(number, this->root());
  for (std::size_t i = 0; i < domains_.size(); ++i) {
    by_tier_[static_cast<std::size_t>(domains_[DomainId(i)].tier)].emplace_back(i);
  }
}

DomainId DomainTree::Join(DomainId a, DomainId b) const {
  // A parent has a smaller number than its children.
  while (a != b) {
    if (a > b) {
      a = domains_[a].parent;
    } else {
      b = domains_[b].parent;
    }
  }
  return a;
}

int DomainTree::TierOf(NodeId a, NodeId b) const {
  return a == b ? kNodeTier : domains_[Join(innermost(a), innermost(b))].tier;
}

DomainId DomainTree::Find(const topology::NetworkPath& path) const {
  DomainId at = root();
  for (std::size_t i = path.size(); i-- > 0;) {
    DomainId next;
    for (const DomainId child : domains_[at].children) {
      if (domains_[child].tier == path[i].tier && domains_[child].name == path[i].name) {
        next = child;
      }
    }
    if (!next.valid()) break;
    at = next;
  }
  return at;
}

std::string DomainTree::TierName(int tier) const {
  if (tier <= kNodeTier) return "node";
  if (tier >= kClusterTier) return "cluster";
  const std::string& name = tier_names_[static_cast<std::size_t>(tier)];
  return name.empty() ? "tier " + std::to_string(tier) : name;
}

void DomainTree::SetTierName(int tier, std::string name) {
  if (tier > kNodeTier && tier < kClusterTier) {
    tier_names_[static_cast<std::size_t>(tier)] = std::move(name);
  }
}

int DomainTree::TierOf(std::string_view name) const {
  for (int tier = kNodeTier; tier <= kClusterTier; ++tier) {
    if (TierName(tier) == name) return tier;
  }
  return -1;
}

std::string DomainTree::PathName(DomainId id) const {
  if (id == root()) return domains_[id].name;
  const DomainId parent = domains_[id].parent;
  return parent == root() ? domains_[id].name : PathName(parent) + "/" + domains_[id].name;
}

int CopiesOn(const ClusterState& state, const ShapeEntry& entry, NodeId node) {
  const FilterRow row = state.FilterRows()[node.index()];
  if (Below(row, entry.need)) return 0;
  const NodeHot& hot = state.hot(node);
  if (!entry.every_class_ok && !state.Admits(entry, node)) return 0;
  const Shape& shape = entry.shape;
  const bool simple = entry.filter_decides && (row[3] & 1) == 0;
  if (!simple || (shape.gpus == 1 && !shape.whole)) {
    NodeDraft draft;
    draft.Load(state, node);
    return draft.Copies(shape, kMostCopies);
  }
  int copies = std::min(hot.pods_free, kMostCopies);
  if (shape.gpus > 0)
    copies = std::min<int>(copies, shape.gpus == 1 ? hot.full_cards : hot.full_cards / shape.gpus);
  // A multiplication tells most nodes that a division is not needed.
  const auto limit = [&copies](std::int32_t free, std::int32_t each) {
    if (std::int64_t{each} * copies > free) copies = free / each;
  };
  limit(hot.cpu_free, shape.cpu);
  limit(hot.memory_free, shape.memory);
  return copies;
}

int CopiesWhenEmpty(const ClusterState& state, const ShapeEntry& entry, NodeId node) {
  const NodeHot& hot = state.hot(node);
  if (entry.class_ok[hot.node_class] == 0) return 0;
  const Shape& shape = entry.shape;
  if (!entry.filter_decides || hot.complex || (shape.gpus == 1 && !shape.whole)) {
    NodeDraft draft;
    draft.LoadEmpty(state, node, shape);
    return draft.CopiesBound(shape, kMostCopies);
  }
  const NodeCapacity& capacity = state.capacity(node);
  int copies = std::min(capacity.pods, kMostCopies);
  if (shape.gpus > 0) copies = std::min(copies, state.HandedOutCards(node) / shape.gpus);
  if (shape.cpu > 0) copies = std::min(copies, capacity.cpu / shape.cpu);
  if (shape.memory > 0) copies = std::min(copies, capacity.memory / shape.memory);
  return copies;
}

void SlotIndex::Slots::SumUp(const DomainTree& tree) {
  sum.clear();
  sum.resize(tree.size(), 0);
  for (std::size_t i = tree.size(); i-- > 0;) {  // children before parents
    const DomainId id(i);
    const Domain& domain = tree.domain(id);
    std::int64_t own = 0;
    for (std::uint32_t leaf = domain.begin; leaf < domain.own_end; ++leaf) own += copies[leaf];
    for (const DomainId child : domain.children) own += sum[child];
    sum[id] = own;
  }
}

void SlotIndex::Slots::Set(const DomainTree& tree, std::uint32_t leaf, int now) {
  const int delta = now - copies[leaf];
  if (delta == 0) return;
  copies[leaf] = static_cast<std::uint16_t>(now);
  for (DomainId at = tree.innermost(tree.node(leaf)); at.valid(); at = tree.domain(at).parent) {
    sum[at] += delta;
  }
}

SlotIndex::Slots& SlotIndex::Find(Entries* entries, ShapeId shape) {
  auto found = std::find_if(entries->begin(), entries->end(),
                            [shape](const auto& e) { return e.first == shape; });
  if (found == entries->end()) {
    if (entries->size() >= shape_cap_) {
      found = std::min_element(entries->begin(), entries->end(), [](const auto& a, const auto& b) {
        return a.second->last_used < b.second->last_used;
      });
      *found = {shape, std::make_unique<Slots>()};
    } else {
      entries->emplace_back(shape, std::make_unique<Slots>());
      found = entries->end() - 1;
    }
  }
  found->second->last_used = ++clock_;
  return *found->second;
}

const SlotIndex::Slots& SlotIndex::For(const ClusterState& state, const DomainTree& tree,
                                       ShapeId shape) {
  Slots& slots = Find(&entries_, shape);
  const ShapeEntry& entry = state.shape_entry(shape);
  const std::uint64_t end = state.change_count();
  // Past this many changes one pass over all nodes is cheaper.
  const bool fresh = slots.structure_version != state.structure_version() ||
                     !state.ChangesAvailable(slots.cursor) ||
                     end - slots.cursor > tree.leaves() / 2 + 64;
  if (fresh) {
    slots.structure_version = state.structure_version();
    slots.copies.resize(tree.leaves());
    nodes_counted_ += tree.leaves();
    for (std::uint32_t leaf = 0; leaf < tree.leaves(); ++leaf) {
      slots.copies[leaf] = static_cast<std::uint16_t>(CopiesOn(state, entry, tree.node(leaf)));
    }
    slots.SumUp(tree);
  } else {
    for (std::uint64_t i = slots.cursor; i < end; ++i) {
      const NodeId node = state.ChangedNode(i);
      if (!state.IsLastChange(i, node)) continue;
      ++nodes_counted_;
      slots.Set(tree, tree.leaf(node), CopiesOn(state, entry, node));
    }
  }
  slots.cursor = end;
  return slots;
}

const SlotIndex::Slots& SlotIndex::WhenEmpty(const ClusterState& state, const DomainTree& tree,
                                             ShapeId shape) {
  Slots& slots = Find(&empty_, shape);
  if (slots.structure_version == state.structure_version()) return slots;
  slots.structure_version = state.structure_version();
  const ShapeEntry& entry = state.shape_entry(shape);
  slots.copies.resize(tree.leaves());
  nodes_counted_ += tree.leaves();
  for (std::uint32_t leaf = 0; leaf < tree.leaves(); ++leaf) {
    slots.copies[leaf] = static_cast<std::uint16_t>(CopiesWhenEmpty(state, entry, tree.node(leaf)));
  }
  slots.SumUp(tree);
  return slots;
}

}  // namespace basalt
