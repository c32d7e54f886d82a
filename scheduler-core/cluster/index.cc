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

void CandidateIndex::Build(Entry& entry, const PlacementPolicy& policy,
                           const PlacementContext& context) {
  const ClusterState& state = context.state;
  const auto order = state.order();
  ++context.work.index_rebuilds;
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
  dirty_.clear();
  for (const NodeId node : order) {
    if (state.Fits(context.shape_id, node)) dirty_.push_back(node);
  }
  context.work.nodes_checked += order.size();
  context.work.nodes_scored += dirty_.size();
  scores_.resize(dirty_.size());
  policy.ScoreNodes(context, dirty_, scores_);
  for (std::size_t i = 0; i < dirty_.size(); ++i) {
    const NodeId node = dirty_[i];
    if (entry.by_class) {
      entry.trees[state.node_class(node).index()].SetLeafOnly(entry.local[node.index()],
                                                              scores_[i]);
    } else {
      entry.trees[0].SetLeafOnly(state.position(node), scores_[i]);
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
  dirty_.clear();
  seen_.resize(state.node_slots(), 0);
  ++stamp_;
  std::uint64_t checked = 0;
  for (std::uint64_t i = entry.cursor; i < end; ++i) {
    const NodeId node = state.ChangedNode(i);
    if (seen_[node.index()] == stamp_) continue;
    seen_[node.index()] = stamp_;
    if (!state.ClassAllows(context.shape_id, state.node_class(node))) continue;
    ++checked;
    if (state.Fits(context.shape_id, node)) {
      dirty_.push_back(node);
    } else {
      Put(entry, state, node, kNoScore);
    }
  }
  entry.cursor = end;
  context.work.nodes_checked += checked;
  context.work.nodes_scored += dirty_.size();
  if (dirty_.empty()) return;
  scores_.resize(dirty_.size());
  policy.ScoreNodes(context, dirty_, scores_);
  for (std::size_t i = 0; i < dirty_.size(); ++i) Put(entry, state, dirty_[i], scores_[i]);
}

BestNode CandidateIndex::Best(const PlacementPolicy& policy, const PlacementContext& context) {
  const ClusterState& state = context.state;
  if (entries_.size() <= context.shape_id.index()) entries_.resize(state.shape_count());
  if (entries_[context.shape_id] == nullptr) {
    if (live_ >= shape_cap_) DropOldest();
    entries_[context.shape_id] = std::make_unique<Entry>();
    ++live_;
  }
  Entry& entry = *entries_[context.shape_id];
  entry.last_used = ++clock_;
  if (entry.structure_version != state.structure_version() ||
      !state.ChangesAvailable(entry.cursor) ||
      state.change_count() - entry.cursor > state.order().size()) {
    Build(entry, policy, context);
  } else {
    CatchUp(entry, policy, context);
  }

  // Lay the job term over the nodes that run the job, and take it off again below.
  std::vector<std::pair<NodeId, Score>> overlaid;
  const auto leaf = [&](NodeId node) {
    return entry.by_class ? entry.trees[state.node_class(node).index()].Get(
                                entry.local[node.index()])
                          : entry.trees[0].Get(state.position(node));
  };
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
