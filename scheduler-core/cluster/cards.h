// The card rules: which set of a node's fitting cards a pod takes. A rule proposes, a policy scores
// what is proposed. The rules that know the wiring need the node's machine type; where it is
// unknown they are as kBest.
#pragma once

#include <cstdint>
#include <string_view>

#include "scheduler-core/base/rng.h"
#include "scheduler-core/cluster/state.h"
#include "topology/card_set.h"

namespace basalt {

enum class CardRule : std::uint8_t {
  kBest,         // the fullest cards that fit, lowest index on ties
  kSpread,       // the emptiest cards, lowest index on ties
  kFirst,        // the lowest indexes
  kEach,         // one card: every card that fits, for the node rule to choose; several: as kBest
  kRandom,       // uniform, from the decision's seed
  kTopology,     // the best bandwidth and the best remainder (topology/bandwidth.h)
  kPairSum,      // HAMi's `topology-aware`: the highest sum of pair scores
  kGoAllocator,  // NVIDIA go-gpuallocator's best-effort policy
};
inline constexpr int kCardRules = 8;
std::string_view CardRuleName(CardRule rule);

// What a set of cards is picked for: a pod, or one container of it.
struct CardWish {
  std::int32_t gpus = 0;
  bool whole = false;
  std::int32_t min_bandwidth_mbps = 0;
};
inline CardWish WishOf(const Shape& shape) {
  return {shape.gpus, shape.whole, shape.spec.min_bandwidth_mbps};
}

// `wish.gpus` cards of `left` by the rule, kEach as kBest; empty when there are too few. `free` and
// `memory` give a card's free milli and MiB; `machine` may be null. What a required bandwidth asks
// is the caller's to check.
template <class FreeOf, class MemoryOf>
CardSet PickCards(CardRule rule, const CardWish& wish, CardSet left, const Machine* machine,
                  std::uint64_t seed, const FreeOf& free, const MemoryOf& memory);

// The set for a rule that reads only which cards are free and how they are wired.
CardSet PickWired(CardRule rule, const CardWish& wish, CardSet left, const Machine& machine);

template <class FreeOf, class MemoryOf>
CardSet PickCards(CardRule rule, const CardWish& wish, CardSet left, const Machine* machine,
                  std::uint64_t seed, const FreeOf& free, const MemoryOf& memory) {
  if (left.size() < wish.gpus) return {};
  // A slice beside others is a question of sizes, not of wires.
  if (rule >= CardRule::kTopology && machine != nullptr && (wish.whole || wish.gpus > 1)) {
    return PickWired(rule, wish, left, *machine);
  }
  Rng rng(seed, 1);
  CardSet chosen;
  for (int k = 0; k < wish.gpus; ++k) {
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
        const auto a = free(card);
        const auto b = free(pick);
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

}  // namespace basalt
