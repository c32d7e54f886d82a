// pwr (Lettich et al., CCGrid 2025, arXiv 2412.17484): place where power grows least. A card draws
// its full power as soon as anything runs on it and its idle power otherwise; a CPU socket draws
// full power when one of its cores is busy. Score: minus the increase in watts, stretched to 0..100
// over the feasible nodes as the authors do, so it depends on the whole set. A fractional pod takes
// the card that costs least. Cards of a model without published watts count 0.
#include <algorithm>
#include <vector>

#include "policies/builtin.h"
#include "topology/card_models.h"

namespace basalt::policies {
namespace {

std::int32_t BusySockets(std::int32_t total_milli, std::int32_t free_milli, std::int32_t cores) {
  // 2 vCPU a core; a core counts as free only when both are.
  const std::int32_t all = (total_milli + 1999) / 2000;
  const std::int32_t busy = all - std::max(free_milli, 0) / 2000;
  return (busy + cores - 1) / cores;
}

class Pwr : public PlacementPolicy {
 public:
  const PolicyTraits& traits() const override { return traits_; }

  void ScoreNodes(const PlacementContext& context, std::span<const NodeId> nodes,
                  std::span<Score> scores) const override {
    Score low = std::numeric_limits<Score>::max();
    Score high = kNoScore;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      Score best = kNoScore;
      ProposeCards(context, nodes[i],
                   [&](CardSet set) { best = std::max(best, ScoreSet(context, nodes[i], set)); });
      scores[i] = best;
      low = std::min(low, best);
      high = std::max(high, best);
    }
    for (Score& score : scores) score = high == low ? 100 : (score - low) * 100 / (high - low);
  }

  // Minus the increase in watts.
  Score ScoreSet(const PlacementContext& context, NodeId node, CardSet cards) const override {
    const ClusterState& state = context.state;
    const NodeHot& hot = state.hot(node);
    std::int32_t watts = 0;
    for (const int i : cards) {
      const CardState& card = state.card(node, i);
      if (card.slices > 0) continue;
      const auto model = FindCardModel(state.model_name(ModelId(std::uint32_t{card.model})));
      if (model) watts += model->full_watts - model->idle_watts;
    }
    const std::string_view model =
        hot.cards > 0
            ? std::string_view(state.model_name(ModelId(std::uint32_t{state.card(node, 0).model})))
            : std::string_view();
    const CpuPackageInfo cpu = CpuPackageFor(model);
    const std::int32_t total = state.capacity(node).cpu;
    const std::int32_t opened = BusySockets(total, hot.cpu_free - context.shape.cpu, cpu.cores) -
                                BusySockets(total, hot.cpu_free, cpu.cores);
    return -(watts + opened * (cpu.full_watts - cpu.idle_watts));
  }

 private:
  PolicyTraits traits_{.name = "pwr",
                       .help = "",
                       .default_card_rule = CardRule::kEach,
                       .whole_set = true,
                       .stretch_in_blend = false};
};

}  // namespace

Made MakePwr(const Registry&, std::string_view argument) {
  if (auto ok = RefuseArgument("pwr", argument); !ok) return tl::unexpected<Error>(ok.error());
  return std::make_shared<Pwr>();
}

}  // namespace basalt::policies
