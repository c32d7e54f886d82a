// The places after the best one. Read-only: neither journaled nor counted as work.
#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "scheduler-core/engine/engine.h"

namespace basalt {

std::vector<Placement> Engine::Alternatives(const Request& request, const Outcome& proposed,
                                            std::size_t k) {
  std::vector<Placement> out;
  if (k == 0 || !proposed.placed() || proposed.already_held) return out;
  const WorkCounters work_before = work_;
  const ShapeId shape = DecidedShape(request);
  PlacementContext context = MakeContext(request, shape);
  NodeChoice rest = request.nodes != nullptr ? *request.nodes : NodeChoice{};
  rest.excluded.push_back(proposed.placement.node);
  const auto add = [&](const BestNode& best) {
    Placement placement = MakePlacement(context, best);
    rest.excluded.push_back(best.node);
    const bool may = MayHold(request, placement).has_value();
    if (may) out.push_back(std::move(placement));
    return may;
  };
  // By the index as long as the queue allows what is best: it may refuse many in a row.
  bool more = !options_.scan_every_node && !policy_.policy->traits().whole_set;
  const bool by_index = more;
  bool none_left = false;
  context.nodes = &rest;
  while (more && out.size() < k) {
    const BestNode best = index_.Best(*policy_.policy, context);
    none_left = !best.node.valid();
    more = !none_left && add(best);
  }
  if (!none_left && out.size() < k) {
    // Scores that depend on all candidates are those of the proposal.
    if (!by_index) context.nodes = request.nodes.get();
    ScanEveryNode(context);
    std::vector<std::size_t> by_score(feasible_.size());  // feasible nodes are in rank order
    for (std::size_t i = 0; i < by_score.size(); ++i) by_score[i] = i;
    std::stable_sort(by_score.begin(), by_score.end(),
                     [this](std::size_t a, std::size_t b) { return scores_[a] > scores_[b]; });
    for (std::size_t i = 0; i < by_score.size() && out.size() < k; ++i) {
      const BestNode best{feasible_[by_score[i]], scores_[by_score[i]]};
      if (best.node != proposed.placement.node) add(best);
    }
  }
  work_ = work_before;
  return out;
}

}  // namespace basalt
