// gpu-packing, as in the ATC'23 simulator. With the fullest cards that fit:
//   all cards of the node idle:      max(33 - cards, cards)
//   some chosen card is idle:        max(50 - idle cards chosen, 33)
//   only cards that run something:   max(100 - (sum of free milli x 100 / 1000) / 10, 50)
// CPU-only pods score 0 everywhere.
#include <algorithm>

#include "policies/builtin.h"
#include "policies/local_policy.h"

namespace basalt::policies {
namespace {

class GpuPacking : public LocalPolicy<GpuPacking> {
 public:
  GpuPacking() : LocalPolicy({.name = "gpu-packing", .help = "", .stretch_in_blend = false}) {}

  Score ScoreOne(const PlacementContext& context, NodeId node) const {
    const Shape& shape = context.shape;
    if (shape.gpus == 0) return 0;
    const NodeHot& hot = context.state.hot(node);
    if (hot.full_cards == hot.cards) return std::max<Score>(33 - hot.cards, hot.cards);
    if (shape.whole) return std::max<Score>(50 - shape.gpus, 33);  // whole cards are idle cards
    if (shape.gpus == 1 && !hot.complex && shape.card_memory == 0) {
      // The fullest card that fits, without building the set: this runs for most evaluations.
      std::int32_t tightest = kWholeCard;
      for (const std::int16_t free : context.state.CardFree(node)) {
        if (free >= std::max(shape.milli, 1)) tightest = std::min<std::int32_t>(tightest, free);
      }
      return FromChosen(tightest >= kWholeCard ? 1 : 0, tightest * 100 / kWholeCard);
    }
    const CardSet set = ProposeOne(context, node, CardRule::kBest);
    int idle = 0;
    Score left = 0;
    for (const int card : set) {
      const std::int32_t free = context.state.CardFree(node)[static_cast<std::size_t>(card)];
      idle += free >= kWholeCard ? 1 : 0;
      left += free * 100 / kWholeCard;
    }
    return FromChosen(idle, left);
  }

 private:
  static Score FromChosen(int idle, Score left) {
    return idle > 0 ? std::max<Score>(50 - idle, 33) : std::max<Score>(100 - left / 10, 50);
  }
};

}  // namespace

Made MakeGpuPacking(const Registry&, std::string_view argument) {
  if (auto ok = RefuseArgument("gpu-packing", argument); !ok) {
    return tl::unexpected<Error>(ok.error());
  }
  return std::make_shared<GpuPacking>();
}

}  // namespace basalt::policies
