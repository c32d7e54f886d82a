// gpu-clustering, as in the ATC'23 simulator: keep pods of one kind (share, 1 card, 2 cards, ...)
// together. Bands of 25: only this kind, this kind among others, no GPU work, other kinds only;
// inside a band the less GPU is free the better. CPU-only pods score 0 everywhere.
#include "policies/builtin.h"
#include "policies/local_policy.h"

namespace basalt::policies {
namespace {

class GpuClustering : public LocalPolicy<GpuClustering> {
 public:
  GpuClustering()
      : LocalPolicy({.name = "gpu-clustering", .help = "", .stretch_in_blend = false}) {}
  Score ScoreOne(const PlacementContext& context, NodeId node) const {
    const int kind = context.shape.kind;
    if (kind == kNoGpuKind) return 0;
    const ClusterState& state = context.state;
    const Score within = 25 * (8000 - state.hot(node).gpu_free) / 8000;
    const int kinds = state.distinct_kinds(node);
    if (state.kind_count(node, kind) > 0) return within + (kinds == 1 ? 75 : 50);
    return within + (kinds == 0 ? 25 : 0);
  }
};

}  // namespace

Made MakeGpuClustering(const Registry&, std::string_view argument) {
  if (auto ok = RefuseArgument("gpu-clustering", argument); !ok) {
    return tl::unexpected<Error>(ok.error());
  }
  return std::make_shared<GpuClustering>();
}

}  // namespace basalt::policies
