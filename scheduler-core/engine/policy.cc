#include "scheduler-core/engine/policy.h"

#include <array>

#include "scheduler-core/base/rng.h"

namespace basalt {

std::string_view CardRuleName(CardRule rule) {
  static constexpr std::array<std::string_view, 5> kNames = {"best", "spread", "first", "each",
                                                             "random"};
  return kNames[static_cast<std::size_t>(rule)];
}

CardSet ProposeOne(const PlacementContext& context, NodeId node, CardRule rule) {
  const Shape& shape = context.shape;
  if (shape.gpus == 0) return {};
  const ClusterState& state = context.state;
  const auto free = state.CardFree(node);
  CardSet left = state.FittingCards(shape, node);
  if (left.size() < shape.gpus) return {};
  Rng rng(context.seed, 1);
  CardSet chosen;
  for (int k = 0; k < shape.gpus; ++k) {
    int pick = -1;
    if (rule == CardRule::kRandom) {
      auto skip = rng.Below(static_cast<std::uint32_t>(left.size()));
      for (const int card : left) {
        if (skip-- == 0) {
          pick = card;
          break;
        }
      }
    } else {
      for (const int card : left) {
        if (pick < 0) {
          pick = card;
          if (rule == CardRule::kFirst) break;
          continue;
        }
        const auto a = free[static_cast<std::size_t>(card)];
        const auto b = free[static_cast<std::size_t>(pick)];
        const auto memory = [&](int c) { return state.card(node, c).memory_free; };
        const bool fuller = a != b ? a < b : memory(card) < memory(pick);
        const bool emptier = a != b ? a > b : memory(card) > memory(pick);
        if (rule == CardRule::kSpread ? emptier : fuller) pick = card;
      }
    }
    chosen.Add(pick);
    left = CardSet(left.bits() & ~CardSet::Of(pick).bits());
  }
  return chosen;
}

void ProposeCards(const PlacementContext& context, NodeId node,
                  const std::function<void(CardSet)>& fn) {
  if (context.card_rule == CardRule::kEach && context.shape.gpus == 1 && !context.shape.whole) {
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

}  // namespace basalt
