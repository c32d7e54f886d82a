#include "test/support/gang_oracle.h"

#include <algorithm>
#include <functional>
#include <set>

namespace basalt::oracle {
namespace {

bool Allowed(const GangNode::Card& card, const Ask& ask) {
  return card.free >= ask.milli &&
         (ask.models.empty() ||
          std::find(ask.models.begin(), ask.models.end(), card.model) != ask.models.end());
}

bool TakeFrom(GangNode& node, const Ask& ask, const std::vector<int>& cards) {
  if (node.pods < 1 || node.cpu < ask.cpu || node.memory < ask.memory) return false;
  if (static_cast<int>(cards.size()) != ask.gpus) return false;
  for (const int card : cards) {
    if (card < 0 || card >= static_cast<int>(node.cards.size())) return false;
    if (!Allowed(node.cards[static_cast<std::size_t>(card)], ask)) return false;
  }
  --node.pods;
  node.cpu -= ask.cpu;
  node.memory -= ask.memory;
  for (const int card : cards) node.cards[static_cast<std::size_t>(card)].free -= ask.milli;
  return true;
}

class Branch {
 public:
  Branch(std::vector<GangNode> nodes, const GangAsk& ask, std::int64_t steps)
      : nodes_(std::move(nodes)), ask_(ask), steps_(steps), where_(ask.group_required.size() + 1) {
    for (int t = 0; t < static_cast<int>(ask.tasks.size()); ++t) {
      for (int i = 0; i < ask.tasks[static_cast<std::size_t>(t)].count; ++i) members_.push_back(t);
    }
  }

  std::optional<bool> Run() {
    const bool found = Next(0, 0);
    if (!found && steps_ < 0) return std::nullopt;
    return found;
  }

 private:
  bool Next(std::size_t k, int from) {
    if (k == members_.size()) return true;
    if (--steps_ < 0) return false;
    const int t = members_[k];
    const GangAsk::Task& task = ask_.tasks[static_cast<std::size_t>(t)];
    const bool again = k > 0 && members_[k - 1] == t;
    if (!again) from = 0;
    const std::string key = Key(k, from);
    if (failed_.contains(key)) return false;
    for (int n = from; n < static_cast<int>(nodes_.size()); ++n) {
      where_[0].push_back(n);
      const auto g = static_cast<std::size_t>(task.group + 1);
      if (g > 0) where_[g].push_back(n);
      bool found = false;
      if (LevelsHold(g)) {
        std::vector<int> cards;
        found = Cards(k, n, task.ask, 0, &cards);
      }
      if (g > 0) where_[g].pop_back();
      where_[0].pop_back();
      if (found) return true;
    }
    if (steps_ >= 0) failed_.insert(key);
    return false;
  }

  bool LevelsHold(std::size_t g) const {
    if (TierOf(nodes_, where_[0]) > ask_.required) return false;
    return g == 0 || TierOf(nodes_, where_[g]) <= ask_.group_required[g - 1];
  }

  // Every set of cards; of cards that are alike only the first ones.
  bool Cards(std::size_t k, int n, const Ask& ask, int first, std::vector<int>* chosen) {
    GangNode& node = nodes_[static_cast<std::size_t>(n)];
    if (static_cast<int>(chosen->size()) == ask.gpus) {
      const GangNode before = node;
      if (!TakeFrom(node, ask, *chosen)) return false;
      const bool found = Next(k + 1, n);
      node = before;
      return found;
    }
    for (int c = first; c < static_cast<int>(node.cards.size()); ++c) {
      const auto card = static_cast<std::size_t>(c);
      if (!Allowed(node.cards[card], ask)) continue;
      bool alike_skipped = false;
      for (int before = first; before < c && !alike_skipped; ++before) {
        alike_skipped = node.cards[static_cast<std::size_t>(before)] == node.cards[card];
      }
      if (alike_skipped) continue;
      chosen->push_back(c);
      if (Cards(k, n, ask, c + 1, chosen)) return true;
      chosen->pop_back();
    }
    return false;
  }

  std::string Key(std::size_t k, int from) const {
    std::string key = std::to_string(k) + "," + std::to_string(from);
    for (const GangNode& node : nodes_) {
      key += ";" + std::to_string(node.cpu) + "," + std::to_string(node.memory) + "," +
             std::to_string(node.pods);
      for (const GangNode::Card& card : node.cards) key += "," + std::to_string(card.free);
    }
    // Where groups are decides where they may go.
    for (const std::vector<int>& nodes : where_) {
      key += "|";
      for (const int n : std::set<int>(nodes.begin(), nodes.end())) key += std::to_string(n) + ",";
    }
    return key;
  }

  std::vector<GangNode> nodes_;
  const GangAsk& ask_;
  std::int64_t steps_;
  std::vector<std::vector<int>> where_;  // nodes of the gang, then of each sub-group
  std::vector<int> members_;
  std::set<std::string> failed_;
};

}  // namespace

int TierOf(const std::vector<GangNode>& nodes, const std::vector<int>& which) {
  if (which.empty()) return 0;
  if (std::all_of(which.begin(), which.end(), [&](int n) { return n == which[0]; })) return 0;
  // The longest common part of the paths, from the widest step on.
  const auto& first = nodes[static_cast<std::size_t>(which[0])].path;
  std::size_t common = first.size();
  for (const int n : which) {
    const auto& path = nodes[static_cast<std::size_t>(n)].path;
    std::size_t same = 0;
    while (same < common && same < path.size() &&
           path[path.size() - 1 - same] == first[first.size() - 1 - same]) {
      ++same;
    }
    common = std::min(common, same);
  }
  return common == 0 ? kWholeCluster : first[first.size() - common].first;
}

std::string CheckPlacement(std::vector<GangNode> nodes, const GangAsk& ask,
                           const std::vector<GangPut>& puts, const std::vector<GangPut>& held) {
  std::vector<int> count(ask.tasks.size(), 0);
  std::vector<std::vector<int>> where(ask.group_required.size() + 1);
  const auto add = [&](const GangPut& put) {
    where[0].push_back(put.node);
    const int group = ask.tasks[static_cast<std::size_t>(put.task)].group;
    if (group >= 0) where[static_cast<std::size_t>(group) + 1].push_back(put.node);
  };
  for (const GangPut& put : held) add(put);
  for (const GangPut& put : puts) {
    add(put);
    ++count[static_cast<std::size_t>(put.task)];
    if (!TakeFrom(nodes[static_cast<std::size_t>(put.node)],
                  ask.tasks[static_cast<std::size_t>(put.task)].ask, put.cards)) {
      return "a member of task " + std::to_string(put.task) + " does not fit node " +
             std::to_string(put.node);
    }
  }
  for (std::size_t t = 0; t < count.size(); ++t) {
    if (count[t] < ask.tasks[t].count) return "task " + std::to_string(t) + " has too few members";
  }
  if (TierOf(nodes, where[0]) > ask.required) return "the gang is further apart than required";
  for (std::size_t g = 0; g < ask.group_required.size(); ++g) {
    if (TierOf(nodes, where[g + 1]) > ask.group_required[g]) {
      return "sub-group " + std::to_string(g) + " is further apart than required";
    }
  }
  return {};
}

std::optional<bool> Feasible(const std::vector<GangNode>& nodes, const GangAsk& ask,
                             std::int64_t steps) {
  return Branch(nodes, ask, steps).Run();
}

}  // namespace basalt::oracle
