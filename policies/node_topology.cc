// node-topology-aware: the node whose free cards serve the request best by their wiring, at a price
// that the user sets. Score, each term 0..1000:
//   bandwidth x (bandwidth of the cards that would be taken / the best of that many cards there)
// - remainder x (cards of intact sets of 8, 4 and 2 that taking them breaks, of the machine's
// cards)
// + packing   x (how full the node is afterwards)
// With packing alone it is binpack: least waiting, worst bandwidth. The more bandwidth weighs, the
// more it opens fresh nodes for it, and the longer large requests wait (docs/topology.md has the
// curve). HAMi's policy of this name scores cards inside a node; the node's part is ours.
#include <algorithm>
#include <charconv>

#include "policies/builtin.h"
#include "policies/local_policy.h"
#include "scheduler-core/base/suggest.h"

namespace basalt::policies {
namespace {

struct Weights {
  int bandwidth = 100;
  int remainder = 60;
  int packing = 20;
};

class NodeTopology : public LocalPolicy<NodeTopology> {
 public:
  explicit NodeTopology(Weights weights)
      : LocalPolicy(
            {.name = "node-topology-aware", .help = "", .default_card_rule = CardRule::kTopology}),
        weights_(weights) {}

  Score ScoreOne(const PlacementContext& context, NodeId node) const {
    const Score packing = weights_.packing * Fullness(context, node);
    const Shape& shape = context.shape;
    const Machine* machine = context.state.machine(node);
    if (machine == nullptr || shape.gpus == 0 || (!shape.whole && shape.gpus == 1)) return packing;
    const topology::MachineType& type = *machine->type;
    const CardSet set = ProposeOne(context, node, context.card_rule);
    const std::int32_t best = type.Best(shape.gpus);
    const Score bandwidth =
        best == 0 ? 1000 : static_cast<Score>(std::int64_t{type.Bandwidth(set)} * 1000 / best);
    CardSet idle;
    const auto free = context.state.CardFree(node);
    for (std::size_t c = 0; c < free.size(); ++c) {
      if (free[c] >= kWholeCard) idle.Add(static_cast<int>(c));
    }
    const CardSet left(idle.bits() & ~set.bits());
    const Score broken = (Whole(type, idle) - Whole(type, left)) * 1000 / (3 * type.cards());
    return weights_.bandwidth * bandwidth - weights_.remainder * broken + packing;
  }

 private:
  // Cards in intact sets, counted once for each size.
  static Score Whole(const topology::MachineType& type, CardSet free) {
    return 8 * type.Intact(8, free) + 4 * type.Intact(4, free) + 2 * type.Intact(2, free);
  }
  Weights weights_;
};

}  // namespace

Made MakeNodeTopology(const Registry&, std::string_view argument) {
  Weights weights;
  const auto bad = [](const std::string& what) {
    return Fail("policy \"node-topology-aware\"",
                what + "; node-topology-aware(bandwidth=100,remainder=60,packing=20), each 0..100");
  };
  while (!argument.empty()) {
    const std::size_t comma = std::min(argument.find(','), argument.size());
    const std::string_view item = argument.substr(0, comma);
    argument.remove_prefix(std::min(comma + 1, argument.size()));
    const std::size_t eq = std::min(item.find('='), item.size());
    const std::string_view name = item.substr(0, eq);
    int* weight = name == "bandwidth"   ? &weights.bandwidth
                  : name == "remainder" ? &weights.remainder
                  : name == "packing"   ? &weights.packing
                                        : nullptr;
    if (weight == nullptr) {
      return bad("unknown weight " +
                 SuggestText(name, std::vector<std::string>{"bandwidth", "remainder", "packing"}));
    }
    const std::string_view value = item.substr(std::min(eq + 1, item.size()));
    const auto read = std::from_chars(value.data(), value.data() + value.size(), *weight);
    if (read.ec != std::errc() || read.ptr != value.data() + value.size() || *weight < 0 ||
        *weight > 100) {
      return bad("the weight \"" + std::string(value.substr(0, 40)) + "\" is not 0..100");
    }
  }
  return std::make_shared<NodeTopology>(weights);
}

}  // namespace basalt::policies
