// The cluster as a tree of network domains, made from the nodes' paths: root (the whole cluster),
// zones, spines, racks, NVLink domains, nodes. Leaves (nodes) are numbered so that each domain is a
// contiguous range. The order of domains and leaves follows the nodes' rank order only, so that the
// same nodes give the same tree however they came.
//
// A node that does not say in which rack it is hangs under the narrowest domain that it does name:
// unknown is never a domain.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "scheduler-core/cluster/state.h"
#include "topology/network.h"

namespace basalt {

inline constexpr int kNodeTier = 0;
inline constexpr int kClusterTier = topology::kMaxTiers + 1;

using DomainId = Id<struct DomainTag>;

struct Domain {
  int tier = kClusterTier;
  std::string name;                  // "r1"; the root's is "cluster"
  DomainId parent;                   // invalid for the root
  std::uint32_t begin = 0, end = 0;  // its leaves
  std::uint32_t own_end = 0;         // leaves [begin, own_end) are in none of its children
  std::vector<DomainId> children;
};

class DomainTree {
 public:
  // Made afresh when nodes came, went or changed class; else this costs one comparison.
  void CatchUp(const ClusterState& state);

  DomainId root() const { return DomainId(std::uint32_t{0}); }
  const Domain& domain(DomainId id) const { return domains_[id]; }
  std::size_t size() const { return domains_.size(); }
  std::size_t leaves() const { return leaf_node_.size(); }
  NodeId node(std::uint32_t leaf) const { return leaf_node_[leaf]; }
  std::uint32_t leaf(NodeId node) const { return leaf_of_[node.index()]; }
  DomainId innermost(NodeId node) const { return innermost_[node.index()]; }
  // Domains of the tier, in order. Tier 0 has none: the nodes are the domains.
  std::span<const DomainId> OfTier(int tier) const {
    return by_tier_[static_cast<std::size_t>(tier)];
  }
  // The narrowest domain that holds both; a domain holds itself.
  DomainId Join(DomainId a, DomainId b) const;
  // Tier of the narrowest domain that holds both nodes; 0 for the same node.
  int TierOf(NodeId a, NodeId b) const;
  // The domain at the end of the path as far as it exists; the root for an empty path.
  DomainId Find(const topology::NetworkPath& path) const;
  // "node", the name that was given, "tier 2", or "cluster".
  std::string TierName(int tier) const;
  void SetTierName(int tier, std::string name);
  // The tier of that name; -1 when there is none.
  int TierOf(std::string_view name) const;
  // "cluster", "zone-a/rack-3".
  std::string PathName(DomainId id) const;

 private:
  std::uint64_t structure_version_ = 0;
  IdVector<DomainId, Domain> domains_;
  std::vector<NodeId> leaf_node_;
  std::vector<std::uint32_t> leaf_of_;  // by node slot
  std::vector<DomainId> innermost_;     // by node slot
  std::vector<std::string> tier_names_{static_cast<std::size_t>(kClusterTier) + 1};
  std::vector<std::vector<DomainId>> by_tier_{static_cast<std::size_t>(kClusterTier) + 1};
};

// For a shape: how many pods of it each leaf takes one after another, and the sums by domain. Kept
// for the shapes that gangs asked for, and caught up from the state's change log.
class SlotIndex {
 public:
  struct Slots {
    std::vector<std::uint16_t> copies;     // by leaf
    IdVector<DomainId, std::int64_t> sum;  // by domain
    std::uint64_t structure_version = 0;
    std::uint64_t cursor = 0;
    std::uint64_t last_used = 0;
    void SumUp(const DomainTree& tree);  // makes `sum` from `copies`
    // Sets one leaf and the sums above it.
    void Set(const DomainTree& tree, std::uint32_t leaf, int now);
  };
  // At least kMaxGangTasks: the slots of one gang are used together.
  explicit SlotIndex(std::size_t shape_cap = 256) : shape_cap_(shape_cap) {}
  const Slots& For(const ClusterState& state, const DomainTree& tree, ShapeId shape);
  // As if nothing ran: kept until the structure changes.
  const Slots& WhenEmpty(const ClusterState& state, const DomainTree& tree, ShapeId shape);
  std::uint64_t nodes_counted() const { return nodes_counted_; }

 private:
  using Entries = std::vector<std::pair<ShapeId, std::unique_ptr<Slots>>>;
  Slots& Find(Entries* entries, ShapeId shape);
  std::size_t shape_cap_;
  std::uint64_t clock_ = 0;
  std::uint64_t nodes_counted_ = 0;
  Entries entries_;
  Entries empty_;
};

// Pods of the shape that the node takes one after another, now; at most 65,535.
int CopiesOn(const ClusterState& state, const ShapeEntry& shape, NodeId node);
// The same if nothing ran there; no more than this many for a shape that is planned.
int CopiesWhenEmpty(const ClusterState& state, const ShapeEntry& shape, NodeId node);

}  // namespace basalt
