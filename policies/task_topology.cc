// task-topology-aware: pods of one job close together in the network, whoever asks for them one by
// one. The first pod of a job goes to the narrowest domain with the most free cards, so that those
// after it find room beside it; each later one as near as it can to those that run: their node,
// then their NVLink domain, rack, and so on. Among equals the fullest node. Gangs do not need it:
// they are placed as one.
#include <algorithm>
#include <array>

#include "policies/builtin.h"
#include "policies/local_policy.h"

namespace basalt::policies {
namespace {

constexpr Score kTierStep = 10'000;  // more than a node's fullness, 0..1000

class TaskTopology : public PlacementPolicy {
 public:
  const PolicyTraits& traits() const override { return traits_; }

  void ScoreNodes(const PlacementContext& context, std::span<const NodeId> nodes,
                  std::span<Score> scores) const override {
    const DomainTree& tree = *context.domains;
    const bool follows = context.job != nullptr && !context.job->nodes.empty();
    std::vector<std::int64_t> free_in;  // cards, by domain; for a job's first pod
    if (!follows) free_in = FreeCards(context.state, tree);
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      const Score fullness = Fullness(context, nodes[i]);
      if (!follows) {
        const std::int64_t free =
            std::min<std::int64_t>(free_in[tree.innermost(nodes[i]).index()], 100'000);
        scores[i] = static_cast<Score>(free) * kTierStep + fullness;
        continue;
      }
      // Nearness to all of the job's pods: the sum over them, so that the domain with most of them
      // wins, and the mean so that it stays in its type.
      std::int64_t near = 0;
      std::int64_t tasks = 0;
      for (const auto& [node, count] : context.job->nodes) {
        near += std::int64_t{kClusterTier - tree.TierOf(node, nodes[i])} * count;
        tasks += count;
      }
      scores[i] = static_cast<Score>(near * kTierStep / tasks) + fullness;
    }
  }

 private:
  static std::vector<std::int64_t> FreeCards(const ClusterState& state, const DomainTree& tree) {
    std::vector<std::int64_t> free(tree.size(), 0);
    for (std::uint32_t leaf = 0; leaf < tree.leaves(); ++leaf) {
      const NodeId node = tree.node(leaf);
      // A node that names no domain stands for itself alone.
      const DomainId inner = tree.innermost(node);
      if (inner != tree.root() && state.hot(node).schedulable) {
        free[inner.index()] += state.hot(node).full_cards;
      }
    }
    return free;
  }

  PolicyTraits traits_{.name = "task-topology-aware",
                       .help = "",
                       .default_card_rule = CardRule::kTopology,
                       .whole_set = true,
                       .job_term = true,
                       .needs_domains = true};
};

}  // namespace

Made MakeTaskTopology(const Registry&, std::string_view argument) {
  if (auto ok = RefuseArgument("task-topology-aware", argument); !ok) {
    return tl::unexpected<Error>(ok.error());
  }
  return std::make_shared<TaskTopology>();
}

}  // namespace basalt::policies
