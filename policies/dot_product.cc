// dot-product, as in the ATC'23 simulator ("merge" dimensions, normalized by the largest node):
// int(100 (1 - (cpu free x cpu / 128000^2 + GPU free x GPU / 8000^2) / 2)). Tetris (SIGCOMM'14)
// prefers the larger product; the published baseline prefers the smaller.
#include "policies/builtin.h"
#include "policies/local_policy.h"

namespace basalt::policies {
namespace {

class DotProduct : public LocalPolicy<DotProduct> {
 public:
  DotProduct() : LocalPolicy({.name = "dot-product", .help = "", .stretch_in_blend = false}) {}
  Score ScoreOne(const PlacementContext& context, NodeId node) const {
    const NodeHot& hot = context.state.hot(node);
    const Shape& shape = context.shape;
    const double cpu = (static_cast<double>(hot.cpu_free) / kMaxSpecCpu) *
                       (static_cast<double>(shape.cpu) / kMaxSpecCpu);
    const double gpu = (static_cast<double>(hot.gpu_free) / kMaxSpecGpu) *
                       (static_cast<double>(shape.total_milli()) / kMaxSpecGpu);
    return static_cast<Score>(100.0 * (1.0 - (cpu + gpu) / 2.0));
  }
};

}  // namespace

Made MakeDotProduct(const Registry&, std::string_view argument) {
  if (auto ok = RefuseArgument("dot-product", argument); !ok) {
    return tl::unexpected<Error>(ok.error());
  }
  return std::make_shared<DotProduct>();
}

}  // namespace basalt::policies
