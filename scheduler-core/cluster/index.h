// The candidate index: for a shape, the best node by (score, rank) without looking at every node.
// Each shape that was asked for has a max-tree over the nodes in rank order, whose leaves are the
// policy's local scores (kNoScore where the shape does not fit). A change of a node is taken in by
// a shape when that shape is asked for next, from the change log: an event costs what it touches,
// and a shape nobody asks for costs nothing. When a shape has missed more changes than there are
// nodes it is scored afresh in one pass.
//
// Policies with a class term get one tree a node class, so that the term can be added per class;
// a job term is laid over the few nodes that run the job, for one decision. So are nodes that the
// decision must not use; where it may use only some, those alone are scored, without the trees.
//
// The number of shapes kept is capped; dropping one never changes a decision, only its cost.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "scheduler-core/engine/policy.h"

namespace basalt {

// Max-tree of fan-out 16 over a fixed number of leaves. ArgMax returns the lowest leaf among
// equals.
class ScoreTree {
 public:
  explicit ScoreTree(std::size_t leaves);
  std::size_t size() const { return leaves_; }
  Score Get(std::size_t leaf) const { return levels_[0][leaf]; }
  void Set(std::size_t leaf, Score score);
  // Writes leaves without keeping the inner levels; Rebuild must follow.
  void SetLeafOnly(std::size_t leaf, Score score) { levels_[0][leaf] = score; }
  void ClearLeaves() { std::fill(levels_[0].begin(), levels_[0].end(), kNoScore); }
  void PrefetchLeaf(std::size_t leaf) const { __builtin_prefetch(levels_[0].data() + leaf, 1); }
  void Rebuild();
  Score Max() const { return levels_.back()[0]; }
  std::size_t ArgMax() const;

 private:
  static constexpr std::size_t kFanout = 16;
  std::size_t leaves_;
  std::vector<std::vector<Score>> levels_;  // each padded to a multiple of 16 with kNoScore
};

struct BestNode {
  NodeId node;  // invalid: the shape fits nowhere now
  Score score = kNoScore;
};

class CandidateIndex {
 public:
  static constexpr std::size_t kDefaultShapeCap = 4096;
  explicit CandidateIndex(std::size_t shape_cap = kDefaultShapeCap) : shape_cap_(shape_cap) {}

  // The best node for the context's shape under the policy, which must not be `whole_set`.
  BestNode Best(const PlacementPolicy& policy, const PlacementContext& context);
  void Clear();
  std::size_t shapes() const { return live_; }

 private:
  struct Entry {
    std::uint64_t structure_version = 0;
    std::uint64_t cursor = 0;
    std::uint64_t last_used = 0;
    bool by_class = false;
    std::vector<ScoreTree> trees;              // one, or one a node class
    std::vector<std::vector<NodeId>> members;  // by_class: nodes of each tree in rank order
    std::vector<std::uint32_t> local;          // by_class: node slot -> leaf in its tree
    // By node slot: the leaf is not kNoScore. 32 times denser than the leaves: most changed nodes
    // do not fit before and after, and are passed over without touching their leaf.
    std::vector<std::uint64_t> fits;
    bool Fits(NodeId node) const {
      return ((fits[node.index() / 64] >> (node.index() % 64)) & 1) != 0;
    }
    void SetFits(NodeId node) {
      fits[node.index() / 64] |= std::uint64_t{1} << (node.index() % 64);
    }
    void ClearFits(NodeId node) {
      fits[node.index() / 64] &= ~(std::uint64_t{1} << (node.index() % 64));
    }
  };
  // Among the nodes of the context's choice, which names the only ones.
  BestNode BestOfOnly(const PlacementPolicy& policy, const PlacementContext& context);
  void Build(Entry& entry, const PlacementPolicy& policy, const PlacementContext& context);
  void CatchUp(Entry& entry, const PlacementPolicy& policy, const PlacementContext& context);
  void ScoreInto(const PlacementPolicy& policy, const PlacementContext& context);
  void Put(Entry& entry, const ClusterState& state, NodeId node, Score score);
  void DropOldest();

  std::size_t shape_cap_;
  std::size_t live_ = 0;
  std::uint64_t clock_ = 0;
  IdVector<ShapeId, std::unique_ptr<Entry>> entries_;
  // Changes missed at which a shape is scored afresh: nodes / this.
  static constexpr std::size_t kChangesPerPass = 2;
  // Leaves / this many updates cost as much as making the inner levels afresh.
  static constexpr std::size_t kUpdatesPerRebuild = 32;
  std::vector<NodeId> feasible_;
  std::vector<NodeId> gone_;
  std::vector<Score> scores_;
};

}  // namespace basalt
