#include "scheduler-core/cluster/cards.h"

#include <array>

#include "topology/peer_rules.h"

namespace basalt {

std::string_view CardRuleName(CardRule rule) {
  static constexpr std::array<std::string_view, kCardRules> kNames = {
      "best", "spread", "first", "each", "random", "topology", "pair-sum", "go-gpuallocator"};
  return kNames[static_cast<std::size_t>(rule)];
}

CardSet PickWired(CardRule rule, const CardWish& wish, CardSet left, const Machine& machine) {
  if (rule == CardRule::kPairSum) {
    return topology::PairSumSet(machine.pair_scores, left, wish.gpus);
  }
  if (rule == CardRule::kGoAllocator) {
    return topology::GoAllocatorSet(machine.pair_scores, left, wish.gpus);
  }
  if (wish.min_bandwidth_mbps > 0) {
    const CardSet enough = machine.type->KeepRemainder(left, wish.gpus, wish.min_bandwidth_mbps);
    if (!enough.empty()) return enough;
  }
  return machine.type->BestSet(left, wish.gpus);
}

}  // namespace basalt
