// What the counting and the search of one gang share: its distinct shapes, and which regions of the
// network may hold the whole gang or one of its sub-groups.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "scheduler-core/cluster/domains.h"
#include "scheduler-core/engine/gang_divide.h"
#include "scheduler-core/engine/gang_search.h"

namespace basalt {

inline constexpr std::int32_t kWholeGang = -1;  // where a sub-group's number may stand

// Regions that are tried together: all of one tier, or a single one.
struct GangStage {
  int tier = kNodeTier;
  bool single = false;
  Region one;
};

class GangContext {
 public:
  GangContext(const ClusterState& state, const DomainTree& tree,
              const std::vector<const SlotIndex::Slots*>& slots, const GangProblem& problem);

  const ClusterState& state;
  const DomainTree& tree;
  const GangProblem& problem;
  const GangSpec& spec;
  // Tasks of one shape that may use the same nodes are one in these.
  std::vector<ShapeId> shapes;                        // distinct
  std::vector<const NodeMask*> masks;                 // by distinct shape; null: every node
  std::vector<std::size_t> shape_of;                  // by task
  std::vector<const SlotIndex::Slots*> slots;         // by distinct shape; 0 where masked
  std::vector<std::int64_t> need;                     // of all tasks, by distinct shape
  std::vector<std::vector<std::size_t>> group_tasks;  // by sub-group
  bool planned = false;  // some counts were found by trying, so they prove nothing

  Region Cluster() const { return Region::OfDomain(tree, tree.root()); }
  LevelWish LevelOf(std::int32_t group) const;
  bool HasHeld(std::int32_t group) const { return anchor(group).held; }

  // Inside `within`: where the gang or sub-group may go, in the order in which that is tried. Empty
  // when the members that it holds are further apart than the required level already.
  std::vector<GangStage> Stages(std::int32_t group, const Region& within) const;
  // The widest regions of these, that all others are inside of. They do not overlap.
  std::vector<Region> WidestRegions(std::int32_t group, const Region& within) const;
  template <class Fn>
  void ForEachRegion(const GangStage& stage, const Region& within, const Fn& fn) const;

  std::string RegionName(const Region& region) const;
  std::string TaskName(std::size_t task) const;

 private:
  // What a gang or sub-group holds, and where its lost members were.
  struct Anchor {
    bool held = false;
    bool same_node = true;
    NodeId node;
    DomainId join;   // of what it holds
    DomainId homes;  // of that and of the lost members
  };
  const Anchor& anchor(std::int32_t group) const {
    return anchors_[static_cast<std::size_t>(group + 1)];
  }
  const SlotIndex::Slots* Masked(const SlotIndex::Slots& all, const NodeMask& mask);
  void AddWidest(DomainId at, int required, std::vector<Region>* out) const;
  std::vector<Anchor> anchors_;  // of the gang, then by sub-group
  std::vector<std::shared_ptr<const SlotIndex::Slots>> masked_;
};

template <class Fn>
void GangContext::ForEachRegion(const GangStage& stage, const Region& within, const Fn& fn) const {
  if (stage.single) return fn(stage.one);
  if (stage.tier == kNodeTier) {
    for (std::uint32_t leaf = within.begin; leaf < within.end; ++leaf) fn(Region::OfLeaf(leaf));
    return;
  }
  for (const DomainId id : tree.OfTier(stage.tier)) {
    const Region region = Region::OfDomain(tree, id);
    if (region.begin >= within.begin && region.end <= within.end) fn(region);
  }
}

// Cards, NUMA nodes and NICs of `count` pods of the shape on the draft's node, in member order;
// takes them from the draft. Fewer plans than `count`: the rest does not fit.
void PlanPods(const ClusterState& state, const Shape& shape, std::int32_t count,
              const GangProblem& problem, NodeDraft* draft, std::vector<CardPlan>* plans);

}  // namespace basalt
