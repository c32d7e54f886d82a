// fgd, fragmentation gradient descent (Weng et al., ATC'23): place where the node's fragment grows
// least. Score: int(100 sigmoid((F_n - F_n') / 1000)), F in milli-GPU (cluster/fragmentation.h). A
// fractional pod tries every card that fits and keeps the first card of the highest integer score;
// whole cards are taken lowest index first. The truncation makes ties frequent, so rank decides
// often; that is part of the published policy.
//
// The sigmoid is monotone, so its integer values are thresholds on F_n - F_n', and the difference
// is computed exactly in integers (weights are class counts). The only threshold that an exact
// difference can meet is 0, between scores 49 and 50: there the authors' floating-point sums
// decide, and are repeated.
//
// Cards with two dimensions use the same formula with the amounts of cluster/fragmentation.h.
#include <array>
#include <cmath>
#include <numeric>

#include "policies/builtin.h"

namespace basalt::policies {
namespace {

// kThresholds[k]: int(100 sigmoid(d / 1000)) >= k exactly when d >= 1000 ln(k / (100 - k)).
// For k = 50 the published double arithmetic still gives 50 down to about -3.3e-13.
struct Thresholds {
  std::array<double, 101> at{};
  Thresholds() {
    at[0] = -1e300;
    for (std::size_t k = 1; k < 100; ++k) {
      const auto odds = static_cast<double>(k) / static_cast<double>(100 - k);
      at[k] = 1000.0 * std::log(odds);
    }
    at[50] = 0;
    at[100] = 1e300;
  }
};
const Thresholds& ScoreThresholds() {
  static const Thresholds thresholds;
  return thresholds;
}

Score ScoreOfDouble(double difference) {
  constexpr double kHalfRoundsUp = -1000.0 * 1.5 * 0x1p-52;
  const auto& at = ScoreThresholds().at;
  int low = 0;
  int high = 100;  // at[low] <= difference < at[high]
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    const double edge = middle == 50 ? kHalfRoundsUp : at[static_cast<std::size_t>(middle)];
    const bool reaches = middle == 50 ? difference > edge : difference >= edge;
    (reaches ? low : high) = middle;
  }
  return low;
}

class Fgd : public PlacementPolicy {
 public:
  const PolicyTraits& traits() const override { return traits_; }

  void ScoreNodes(const PlacementContext& context, std::span<const NodeId> nodes,
                  std::span<Score> scores) const override {
    const Fragmentation& frag = *context.fragmentation;
    const double to_milli = 1.0 / static_cast<double>(frag.weight());
    const bool each_card = context.card_rule == CardRule::kEach;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      const FragmentTable* table = frag.table(nodes[i]);
      const bool fast = table != nullptr && context.shape.card_memory == 0 &&
                        (context.shape.gpus == 0 || context.shape.whole ||
                         (each_card && context.shape.gpus == 1 && context.shape.milli > 0));
      if (fast) {
        scores[i] = ScoreByTable(context, *table, nodes[i], to_milli);
      } else if (context.state.hot(nodes[i]).cards == 0) {
        scores[i] = 50;  // nothing to fragment
      } else {
        Score best = kNoScore;
        ProposeCards(context, nodes[i],
                     [&](CardSet set) { best = std::max(best, ScoreSet(context, nodes[i], set)); });
        scores[i] = best;
      }
    }
  }

  Score ScoreSet(const PlacementContext& context, NodeId node, CardSet cards) const override {
    const ClusterState& state = context.state;
    const Fragmentation& frag = *context.fragmentation;
    const NodeHot& hot = state.hot(node);
    if (hot.cards == 0) return 50;
    const auto count = static_cast<std::size_t>(hot.cards);
    std::array<std::int16_t, kMaxCardsPerNode> free{};
    std::array<std::int32_t, kMaxCardsPerNode> memory{};
    for (std::size_t j = 0; j < count; ++j) {
      free[j] = state.CardFree(node)[j];
      memory[j] = state.card(node, static_cast<int>(j)).memory_free;
    }
    for (const int card : cards) {
      const auto j = static_cast<std::size_t>(card);
      free[j] = static_cast<std::int16_t>(free[j] - context.shape.milli);
      memory[j] -= state.CardMemoryNeed(context.shape, state.card(node, card));
    }
    const std::int32_t cpu = hot.cpu_free - context.shape.cpu;
    const auto free_after = std::span<const std::int16_t>(free).first(count);
    const FragmentTable* table = frag.table(node);
    const NodeFragment after =
        table != nullptr ? frag.EvaluateByTable(*table, cpu, free_after)
                         : frag.Evaluate(node, cpu, free_after,
                                         std::span<const std::int32_t>(memory).first(count));
    const std::int64_t difference = frag.node(node).fragment() - after.fragment();
    if (difference == 0 && table != nullptr) {
      ++context.work.exact_fallbacks;
      return ScoreOfDouble(frag.AmountInPublishedOrder(node, hot.cpu_free, state.CardFree(node)) -
                           frag.AmountInPublishedOrder(node, cpu, free_after));
    }
    return ScoreOfDouble(static_cast<double>(difference) / static_cast<double>(frag.weight()));
  }

 private:
  // For each whole milli-GPU of difference, the score at its lower end, so that one
  // comparison with the next threshold finishes: thresholds are at least 40 milli apart.
  struct Steps {
    static constexpr std::int32_t kReach = 70'000;  // 64 cards and then some
    std::vector<std::uint8_t> score;
    Steps() : score(2 * kReach + 1) {
      std::uint8_t k = 0;  // thresholds ascend with the difference
      for (std::int32_t d = -kReach; d <= kReach; ++d) {
        while (ScoreThresholds().at[std::size_t{k} + 1] <= d) ++k;
        score[static_cast<std::size_t>(d + kReach)] = k;
      }
    }
  };

  static Score ScoreOfExact(double milli) {
    static const Steps steps;
    const double below = std::floor(milli);
    const Score score =
        steps.score[static_cast<std::size_t>(static_cast<std::int32_t>(below) + Steps::kReach)];
    return score + (milli >= ScoreThresholds().at[static_cast<std::size_t>(score) + 1] ? 1 : 0);
  }

  // F_n - F_n' for the best card, through the tables. With W the weight of all classes, R the idle
  // milli and Q the usable weighted milli: F = W R - Q, so F - F' = W u - Q + Q'.
  static Score ScoreByTable(const PlacementContext& context, const FragmentTable& table,
                            NodeId node, double to_milli) {
    const Shape& shape = context.shape;
    const Fragmentation& frag = *context.fragmentation;
    const NodeHot& hot = context.state.hot(node);
    const auto cards = context.state.CardFree(node);
    const std::int32_t rank = table.CpuRank(hot.cpu_free - shape.cpu);
    // Without cards asked, nothing changes unless CPU falls below what some class asks, or unless
    // nothing is idle: then the published sums are the same too, and their difference 0.
    if (shape.gpus == 0 && (hot.gpu_free == 0 || rank == table.CpuRank(hot.cpu_free))) return 50;
    const std::int32_t* row = table.SingleRow(rank);
    std::int64_t usable = 0;
    for (const std::int16_t r : cards) {
      usable += std::int64_t{r} * row[table.milli_rank[static_cast<std::size_t>(r)]];
    }
    std::int64_t best;
    if (shape.gpus == 0) {
      best = usable + table.Multi(rank, hot.full_cards);
    } else if (shape.whole) {
      best = usable - std::int64_t{shape.gpus} * kWholeCard * row[table.milli_rank[kWholeCard]] +
             table.Multi(rank, hot.full_cards - shape.gpus);
    } else {
      const std::int64_t multi = table.Multi(rank, hot.full_cards);
      const std::int64_t multi_opened =
          hot.full_cards > 0 ? table.Multi(rank, hot.full_cards - 1) : 0;
      std::int64_t largest = std::numeric_limits<std::int64_t>::min();
      std::int16_t previous = -1;
      for (const std::int16_t r : cards) {
        if (r < shape.milli || r == previous) continue;
        previous = r;
        const auto left = static_cast<std::int16_t>(r - shape.milli);
        const std::int64_t gain =
            std::int64_t{left} * row[table.milli_rank[static_cast<std::size_t>(left)]] -
            std::int64_t{r} * row[table.milli_rank[static_cast<std::size_t>(r)]] +
            (r >= kWholeCard ? multi_opened : multi);
        largest = std::max(largest, gain);
      }
      best = usable + largest;
    }
    const std::int64_t difference =
        frag.weight() * shape.total_milli() - frag.node(node).usable + best;
    if (difference == 0) [[unlikely]] {
      return ScoreOnTheEdge(context, node);
    }
    return ScoreOfExact(static_cast<double>(difference) * to_milli);
  }

  // The best card's difference is exactly 0: every set near it is scored as published.
  static Score ScoreOnTheEdge(const PlacementContext& context, NodeId node) {
    static const Fgd self;
    Score best = kNoScore;
    ProposeCards(context, node,
                 [&](CardSet set) { best = std::max(best, self.ScoreSet(context, node, set)); });
    return best;
  }

  PolicyTraits traits_{.name = "fgd",
                       .help = "",
                       .default_card_rule = CardRule::kEach,
                       .needs_target_workload = true,
                       .stretch_in_blend = false};
};

}  // namespace

Made MakeFgd(const Registry&, std::string_view argument) {
  if (auto ok = RefuseArgument("fgd", argument); !ok) return tl::unexpected<Error>(ok.error());
  return std::make_shared<Fgd>();
}

}  // namespace basalt::policies
