// best-fit, as in the ATC'23 simulator: int(100 (1 - (CPU left / 128000 + GPU left / 8000) / 2)).
// Its min-max normalization afterwards keeps the order of scores, so the choice is the same.
#include "policies/builtin.h"
#include "policies/local_policy.h"

namespace basalt::policies {
namespace {

class BestFit : public LocalPolicy<BestFit> {
 public:
  BestFit() : LocalPolicy({.name = "best-fit", .help = ""}) {}
  Score ScoreOne(const PlacementContext& context, NodeId node) const {
    const NodeHot& hot = context.state.hot(node);
    const double cpu = static_cast<double>(hot.cpu_free - context.shape.cpu) / kMaxSpecCpu * 0.5;
    const double gpu =
        static_cast<double>(hot.gpu_free - context.shape.total_milli()) / kMaxSpecGpu * 0.5;
    return static_cast<Score>((1.0 - (cpu + gpu)) * 100.0);
  }
};

}  // namespace

Made MakeBestFit(const Registry&, std::string_view argument) {
  if (auto ok = RefuseArgument("best-fit", argument); !ok) {
    return tl::unexpected<Error>(ok.error());
  }
  return std::make_shared<BestFit>();
}

}  // namespace basalt::policies
