#include "scheduler-core/engine/policy.h"

#include "scheduler-core/cluster/draft.h"

namespace basalt {

CardSet ProposeOne(const PlacementContext& context, NodeId node, CardRule rule) {
  const Shape& shape = context.shape;
  if (shape.gpus == 0) return {};
  const ClusterState& state = context.state;
  if (state.IsPlanned(shape, node)) {
    NodeDraft draft;
    draft.Load(state, node);
    return draft.PlanCards(shape, rule, context.seed).cards;
  }
  const auto free = state.CardFree(node);
  return PickCards(
      rule, WishOf(shape), state.FittingCards(shape, node), state.machine(node), context.seed,
      [free](int c) { return free[static_cast<std::size_t>(c)]; },
      [&](int c) { return state.card(node, c).memory_free; });
}

void ProposeCards(const PlacementContext& context, NodeId node,
                  const std::function<void(CardSet)>& fn) {
  if (context.card_rule == CardRule::kEach && context.shape.gpus == 1 && !context.shape.whole &&
      !context.state.IsPlanned(context.shape, node)) {
    for (const int card : context.state.FittingCards(context.shape, node)) fn(CardSet::Of(card));
    return;
  }
  const CardSet set = ProposeOne(context, node, context.card_rule);
  if (!set.empty() || context.shape.gpus == 0) fn(set);
}

Score PlacementPolicy::ScoreSet(const PlacementContext&, NodeId, CardSet) const { return 0; }

CardSet PlacementPolicy::ChooseCards(const PlacementContext& context, NodeId node) const {
  CardSet best;
  Score best_score = kNoScore;
  ProposeCards(context, node, [&](CardSet set) {
    const Score score = ScoreSet(context, node, set);
    if (score > best_score) {
      best_score = score;
      best = set;
    }
  });
  return best;
}

Score PlacementPolicy::ClassTerm(const PlacementContext&, NodeClassId) const { return 0; }
Score PlacementPolicy::JobTerm(const PlacementContext&, NodeId, std::int32_t) const { return 0; }

Score TotalScore(const PlacementPolicy& policy, const PlacementContext& context, NodeId node,
                 Score local) {
  if (policy.traits().class_term) {
    local += policy.ClassTerm(context, context.state.node_class(node));
  }
  if (policy.traits().job_term && context.job != nullptr) {
    for (const auto& [of_job, tasks] : context.job->nodes) {
      if (of_job == node) local += policy.JobTerm(context, node, tasks);
    }
  }
  return local;
}

}  // namespace basalt
