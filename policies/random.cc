// random: a uniformly random feasible node, and a uniformly random card of it. The draw depends on
// the engine's seed and the pod alone, so a replay draws the same.
#include "policies/builtin.h"
#include "scheduler-core/base/rng.h"

namespace basalt::policies {
namespace {

class Random : public PlacementPolicy {
 public:
  const PolicyTraits& traits() const override { return traits_; }
  void ScoreNodes(const PlacementContext& context, std::span<const NodeId> nodes,
                  std::span<Score> scores) const override {
    for (Score& score : scores) score = 0;
    Rng rng(context.seed, 0);
    if (!nodes.empty()) scores[rng.Below(static_cast<std::uint32_t>(nodes.size()))] = 1;
  }

 private:
  PolicyTraits traits_{
      .name = "random", .help = "", .default_card_rule = CardRule::kRandom, .whole_set = true};
};

}  // namespace

Made MakeRandom(const Registry&, std::string_view argument) {
  if (auto ok = RefuseArgument("random", argument); !ok) {
    return tl::unexpected<Error>(ok.error());
  }
  return std::make_shared<Random>();
}

}  // namespace basalt::policies
