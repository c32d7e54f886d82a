#include "policies/builtin.h"

#include <fmt/format.h>

namespace basalt {

void RegisterBuiltinPolicies(Registry& registry) {
  using namespace policies;
  registry.Add("best-fit", "least CPU and GPU left over on the node (ATC'23 baseline)",
               MakeBestFit);
  registry.Add("binpack", "the fullest node", MakeBinpack);
  registry.Add("class-quota", "class-quota(MODEL=SHARE,...;POLICY): avoid card models past a share",
               MakeClassQuota);
  registry.Add("dot-product", "smallest product of request and free resources (ATC'23 baseline)",
               MakeDotProduct);
  registry.Add("fgd", "fragmentation gradient descent (Weng et al., ATC'23)", MakeFgd);
  registry.Add("gpu-clustering", "nodes that run the same kind of GPU work (ATC'23 baseline)",
               MakeGpuClustering);
  registry.Add("gpu-packing", "used cards, then used nodes, then idle nodes (ATC'23 baseline)",
               MakeGpuPacking);
  registry.Add("node-topology-aware",
               "node-topology-aware(bandwidth=100,...): the node whose free cards are wired best",
               MakeNodeTopology);
  registry.Add("pwr", "least increase in power (Lettich et al., CCGrid'25)", MakePwr);
  registry.Add("random", "a uniformly random node and card", MakeRandom);
  registry.Add("spread", "the emptiest node", MakeSpread);
  registry.Add("spread-job", "spread-job(POLICY): keep the tasks of one job on different nodes",
               MakeSpreadJob);
  registry.Add("task-topology-aware", "as near as can be to the pods of the same job",
               MakeTaskTopology);
  registry.SetBlend(MakeBlend);
}

Result<void> policies::RefuseArgument(std::string_view name, std::string_view argument) {
  if (argument.empty()) return {};
  return Fail(fmt::format("policy \"{}\"", name),
              fmt::format("takes no argument, was given \"{}\"", argument));
}

}  // namespace basalt
