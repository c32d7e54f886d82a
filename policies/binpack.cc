// binpack and spread: the fullest or the emptiest node, after placing. Fullness is the taken share
// of the node's cards (compute, and card memory where it is known) in thousandths for pods with
// cards, and the mean taken share of CPU and memory for pods without.
#include <algorithm>

#include "policies/builtin.h"
#include "policies/local_policy.h"

namespace basalt::policies {
namespace {

Score TakenPerMille(std::int64_t free, std::int64_t total) {
  return total <= 0 ? 0 : static_cast<Score>(1000 * (total - free) / total);
}

}  // namespace

Score Fullness(const PlacementContext& context, NodeId node) {
  const ClusterState& state = context.state;
  const Shape& shape = context.shape;
  const NodeHot& hot = state.hot(node);
  const NodeCapacity& capacity = state.capacity(node);
  if (shape.gpus == 0) {
    return (TakenPerMille(hot.cpu_free - shape.cpu, capacity.cpu) +
            TakenPerMille(hot.memory_free - shape.memory, capacity.memory)) /
           2;
  }
  // Oversubscribed or unhealthy cards may leave more free than the capacity counts.
  const std::int32_t taken = capacity.gpu_milli - hot.gpu_free + shape.total_milli();
  const auto compute =
      static_cast<Score>((static_cast<std::uint64_t>(std::max(taken, 0)) * capacity.per_mille) >>
                         NodeCapacity::kPerMilleShift);
  if (!hot.complex) return compute;
  std::int64_t total = 0;
  std::int64_t free = 0;
  std::int64_t asked = 0;  // by a typical card; the choice of cards comes later
  for (int i = 0; i < hot.cards; ++i) {
    const CardState& card = state.card(node, i);
    total += card.memory_total;
    free += card.memory_free;
    asked = std::max<std::int64_t>(asked, state.CardMemoryNeed(shape, card));
  }
  if (total == 0) return compute;
  return (compute + TakenPerMille(free - asked * shape.gpus, total)) / 2;
}

namespace {

class Binpack : public LocalPolicy<Binpack> {
 public:
  Binpack() : LocalPolicy({.name = "binpack", .help = ""}) {}
  Score ScoreOne(const PlacementContext& context, NodeId node) const {
    return Fullness(context, node);
  }
};

class Spread : public LocalPolicy<Spread> {
 public:
  Spread()
      : LocalPolicy({.name = "spread",
                     .help = "",
                     .default_card_rule = CardRule::kSpread,
                     .spreads = true}) {}
  Score ScoreOne(const PlacementContext& context, NodeId node) const {
    return 1000 - Fullness(context, node);
  }
};

}  // namespace

Made MakeBinpack(const Registry&, std::string_view argument) {
  if (auto ok = RefuseArgument("binpack", argument); !ok) {
    return tl::unexpected<Error>(ok.error());
  }
  return std::make_shared<Binpack>();
}

Made MakeSpread(const Registry&, std::string_view argument) {
  if (auto ok = RefuseArgument("spread", argument); !ok) {
    return tl::unexpected<Error>(ok.error());
  }
  return std::make_shared<Spread>();
}

}  // namespace basalt::policies
