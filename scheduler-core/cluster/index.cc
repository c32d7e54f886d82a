#include "scheduler-core/cluster/index.h"

#include <algorithm>

#include "scheduler-core/base/check.h"

namespace basalt {
namespace {

Score MaxOf16(const Score* children) {
  Score best = children[0];
  for (int i = 1; i < 16; ++i) best = std::max(best, children[i]);
  return best;
}

}  // namespace

ScoreTree::ScoreTree(std::size_t leaves) : leaves_(leaves) {
  std::size_t n = std::max<std::size_t>(leaves, 1);
  do {
    n = (n + kFanout - 1) / kFanout * kFanout;
    levels_.emplace_back(n, kNoScore);
    n /= kFanout;
  } while (n > 1);
  levels_.emplace_back(1, kNoScore);
}

void ScoreTree::Set(std::size_t leaf, Score score) {
  Score* level = levels_[0].data();
  Score old = level[leaf];
  if (old == score) return;
  level[leaf] = score;
  std::size_t at = leaf;
  for (std::size_t i = 1; i < levels_.size(); ++i) {
    const std::size_t parent = at / kFanout;
    Score& value = levels_[i][parent];
    if (score > value) {
      old = value;
      value = score;
    } else if (old == value && score < old) {
      const Score next = MaxOf16(level + parent * kFanout);
      if (next == value) return;
      old = value;
      value = next;
      score = next;
    } else {
      return;
    }
    level = levels_[i].data();
    at = parent;
  }
}

void ScoreTree::Rebuild() {
  for (std::size_t i = 1; i < levels_.size(); ++i) {
    const std::size_t parents = levels_[i - 1].size() / kFanout;
    for (std::size_t p = 0; p < parents; ++p) {
      levels_[i][p] = MaxOf16(levels_[i - 1].data() + p * kFanout);
    }
  }
}

std::size_t ScoreTree::ArgMax() const {
  const Score best = Max();
  std::size_t at = 0;
  for (std::size_t i = levels_.size() - 1; i-- > 0;) {
    const Score* children = levels_[i].data() + at * kFanout;
    std::size_t child = 0;
    while (children[child] != best) ++child;
    at = at * kFanout + child;
  }
  return at;
}

void CandidateIndex::Clear() {
  entries_.clear();
  live_ = 0;
}

void CandidateIndex::DropOldest() {
  ShapeId oldest;
  std::uint64_t when = ~std::uint64_t{0};
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    const auto& entry = entries_[ShapeId(i)];
    if (entry != nullptr && entry->last_used < when) {
      when = entry->last_used;
      oldest = ShapeId(i);
    }
  }
  if (oldest.valid()) {
    entries_[oldest].reset();
    --live_;
  }
}

void CandidateIndex::Put(Entry& entry, const ClusterState& state, NodeId node, Score score) {
  if (entry.by_class) {
    entry.trees[state.node_class(node).index()].Set(entry.local[node.index()], score);
  } else {
    entry.trees[0].Set(state.position(node), score);
  }
}

void CandidateIndex::ScoreInto(const PlacementPolicy& policy, const PlacementContext& context) {
  context.work.nodes_scored += feasible_.size();
  scores_.resize(feasible_.size());
  if (!feasible_.empty()) policy.ScoreNodes(context, feasible_, scores_);
}

void CandidateIndex::Build(Entry& entry, const PlacementPolicy& policy,
                           const PlacementContext& context) {
  const ClusterState& state = context.state;
  const auto order = state.order();
  ++context.work.index_rebuilds;
  const bool fresh = entry.structure_version != state.structure_version();
  if (fresh) {
    entry.by_class = policy.traits().class_term;
    entry.trees.clear();
    entry.members.clear();
    if (entry.by_class) {
      entry.members.resize(state.class_count());
      entry.local.assign(state.node_slots(), 0);
      for (const NodeId node : order) {
        auto& members = entry.members[state.node_class(node).index()];
        entry.local[node.index()] = static_cast<std::uint32_t>(members.size());
        members.push_back(node);
      }
      for (const auto& members : entry.members) entry.trees.emplace_back(members.size());
    } else {
      entry.trees.emplace_back(order.size());
    }
  }
  for (ScoreTree& tree : entry.trees) tree.ClearLeaves();
  entry.fits.assign((state.node_slots() + 63) / 64, 0);
  state.CollectFeasible(context.shape_id, &feasible_);
  context.work.nodes_checked += order.size();
  ScoreInto(policy, context);
  for (const NodeId node : feasible_) entry.SetFits(node);
  if (entry.by_class) {
    for (std::size_t i = 0; i < feasible_.size(); ++i) {
      const NodeId node = feasible_[i];
      entry.trees[state.node_class(node).index()].SetLeafOnly(entry.local[node.index()],
                                                              scores_[i]);
    }
  } else {
    ScoreTree& tree = entry.trees[0];
    if (state.OrderIsSlotOrder()) {
      for (std::size_t i = 0; i < feasible_.size(); ++i) {
        tree.SetLeafOnly(feasible_[i].index(), scores_[i]);
      }
    } else {
      for (std::size_t i = 0; i < feasible_.size(); ++i) {
        tree.SetLeafOnly(state.position(feasible_[i]), scores_[i]);
      }
    }
  }
  for (ScoreTree& tree : entry.trees) tree.Rebuild();
  entry.structure_version = state.structure_version();
  entry.cursor = state.change_count();
}

void CandidateIndex::CatchUp(Entry& entry, const PlacementPolicy& policy,
                             const PlacementContext& context) {
  const ClusterState& state = context.state;
  const std::uint64_t end = state.change_count();
  if (entry.cursor == end) return;
  // On large clusters the rows are out of cache: ask for some entries ahead.
  constexpr std::uint64_t kAhead = 16;
  const ShapeEntry& shape = state.shape_entry(context.shape_id);
  const bool filter_is_all = shape.filter_decides && shape.every_class_ok && !state.any_complex();
  // Which nodes fit is as good as random, so a branch would be mispredicted every other time: each
  // node is written to both lists, and a list grows only when the node belongs there.
  const auto most = static_cast<std::size_t>(end - entry.cursor);
  feasible_.resize(most);
  gone_.resize(most);
  std::size_t feasible = 0;
  std::size_t gone = 0;
  std::uint64_t checked = 0;
  for (std::uint64_t i = entry.cursor; i < end; ++i) {
    state.PrefetchFilter(state.ChangedNode(i + kAhead < end ? i + kAhead : i));
    const NodeId node = state.ChangedNode(i);
    const bool last = state.IsLastChange(i, node);
    const bool fits = filter_is_all ? !Below(state.FilterRows()[node.index()], shape.need)
                                    : last && state.Fits(shape, node);
    checked += last ? 1 : 0;
    feasible_[feasible] = node;
    feasible += static_cast<std::size_t>(last & fits);
    gone_[gone] = node;
    gone += static_cast<std::size_t>(last & !fits & entry.Fits(node));
  }
  feasible_.resize(feasible);
  for (const NodeId node : feasible_) {
    state.PrefetchForScore(node);
    if (!entry.by_class) entry.trees[0].PrefetchLeaf(state.position(node));
  }
  entry.cursor = end;
  context.work.nodes_checked += checked;
  ScoreInto(policy, context);
  for (std::size_t i = 0; i < gone; ++i) entry.ClearFits(gone_[i]);
  for (const NodeId node : feasible_) entry.SetFits(node);
  // Past some updates it is cheaper to write the leaves and make the inner levels once.
  if (!entry.by_class && gone + feasible > entry.trees[0].size() / kUpdatesPerRebuild) {
    ScoreTree& tree = entry.trees[0];
    for (std::size_t i = 0; i < gone; ++i) tree.SetLeafOnly(state.position(gone_[i]), kNoScore);
    for (std::size_t i = 0; i < feasible; ++i) {
      tree.SetLeafOnly(state.position(feasible_[i]), scores_[i]);
    }
    tree.Rebuild();
    return;
  }
  for (std::size_t i = 0; i < gone; ++i) Put(entry, state, gone_[i], kNoScore);
  for (std::size_t i = 0; i < feasible; ++i) Put(entry, state, feasible_[i], scores_[i]);
}

BestNode CandidateIndex::BestOfOnly(const PlacementPolicy& policy,
                                    const PlacementContext& context) {
  const ClusterState& state = context.state;
  state.order();  // positions are of now
  std::vector<NodeId> excluded = context.nodes->excluded;
  std::sort(excluded.begin(), excluded.end());
  feasible_.clear();
  for (const NodeId node : context.nodes->only) {
    const bool there = node.index() < state.node_slots() && state.exists(node) &&
                       !std::binary_search(excluded.begin(), excluded.end(), node);
    if (there && state.Fits(context.shape_id, node)) feasible_.push_back(node);
  }
  context.work.nodes_checked += context.nodes->only.size();
  std::sort(feasible_.begin(), feasible_.end(),
            [&state](NodeId a, NodeId b) { return state.position(a) < state.position(b); });
  feasible_.erase(std::unique(feasible_.begin(), feasible_.end()), feasible_.end());
  ScoreInto(policy, context);
  BestNode best;
  for (std::size_t i = 0; i < feasible_.size(); ++i) {
    const Score score = TotalScore(policy, context, feasible_[i], scores_[i]);
    if (score > best.score) best = BestNode{feasible_[i], score};
  }
  return best;
}

BestNode CandidateIndex::Best(const PlacementPolicy& policy, const PlacementContext& context) {
  if (context.nodes != nullptr && !context.nodes->only.empty()) return BestOfOnly(policy, context);
  const ClusterState& state = context.state;
  if (entries_.size() <= context.shape_id.index()) entries_.resize(state.shape_count());
  if (entries_[context.shape_id] == nullptr) {
    if (live_ >= shape_cap_) DropOldest();
    entries_[context.shape_id] = std::make_unique<Entry>();
    ++live_;
  }
  Entry& entry = *entries_[context.shape_id];
  entry.last_used = ++clock_;
  // A pass over all nodes is cheap a node, a change is not: past this many, start afresh.
  const std::size_t many = std::max<std::size_t>(state.order().size() / kChangesPerPass, 64);
  if (entry.structure_version != state.structure_version() ||
      !state.ChangesAvailable(entry.cursor) || state.change_count() - entry.cursor > many) {
    Build(entry, policy, context);
  } else {
    CatchUp(entry, policy, context);
  }

  // Lay what is of this decision alone over the trees, and take it off again below: nodes that it
  // must not use, and the job term over those that run the job.
  std::vector<std::pair<NodeId, Score>> overlaid;
  const auto leaf = [&](NodeId node) {
    return entry.by_class
               ? entry.trees[state.node_class(node).index()].Get(entry.local[node.index()])
               : entry.trees[0].Get(state.position(node));
  };
  if (context.nodes != nullptr) {
    for (const NodeId node : context.nodes->excluded) {
      if (node.index() >= state.node_slots() || !state.exists(node)) continue;
      const Score local = leaf(node);
      if (local == kNoScore) continue;
      overlaid.emplace_back(node, local);
      Put(entry, state, node, kNoScore);
    }
  }
  if (policy.traits().job_term && context.job != nullptr) {
    for (const auto& [node, tasks] : context.job->nodes) {
      const Score local = leaf(node);
      if (local == kNoScore) continue;
      overlaid.emplace_back(node, local);
      Put(entry, state, node, local + policy.JobTerm(context, node, tasks));
    }
  }

  BestNode best;
  if (!entry.by_class) {
    const ScoreTree& tree = entry.trees[0];
    if (tree.Max() != kNoScore) best = BestNode{state.order()[tree.ArgMax()], tree.Max()};
  } else {
    for (std::size_t c = 0; c < entry.trees.size(); ++c) {
      const ScoreTree& tree = entry.trees[c];
      if (tree.Max() == kNoScore) continue;
      const Score score = tree.Max() + policy.ClassTerm(context, NodeClassId(c));
      const NodeId node = entry.members[c][tree.ArgMax()];
      if (score > best.score ||
          (score == best.score && state.position(node) < state.position(best.node))) {
        best = BestNode{node, score};
      }
    }
  }
  for (const auto& [node, local] : overlaid) Put(entry, state, node, local);
  return best;
}

}  // namespace basalt
