#include "test/support/workloads.h"

#include <algorithm>
#include <array>
#include <utility>

#include "scheduler-core/base/rng.h"
#include "test/support/cluster.h"

namespace basalt::support {

sim::Workload MakeToy(std::vector<NodeSpec> nodes, const std::vector<Pod>& pods) {
  sim::Workload out;
  out.name = "toy";
  out.nodes = std::move(nodes);
  for (std::size_t i = 0; i < out.nodes.size(); ++i) {
    if (out.nodes[i].rank < 0) out.nodes[i].rank = static_cast<std::int64_t>(i);
    out.cards += static_cast<std::int64_t>(out.nodes[i].cards.size());
    for (const CardSpec& card : out.nodes[i].cards) out.gpu_milli += card.compute_milli;
  }
  std::vector<TargetWorkload::Counted> counted;
  for (std::size_t i = 0; i < pods.size(); ++i) {
    const auto known = std::find(out.requests.begin(), out.requests.end(), pods[i].spec);
    const auto request = static_cast<std::uint32_t>(known - out.requests.begin());
    if (known == out.requests.end()) out.requests.push_back(pods[i].spec);
    const std::string name = "pod-" + std::to_string(i);
    out.arrivals.push_back(
        {request, PodUidFromName(name), pods[i].job, pods[i].submit_us, pods[i].duration_us});
    out.pod_names.push_back(name);
    counted.push_back({pods[i].spec, 1});
  }
  out.target = TargetWorkload(counted, 100);
  return out;
}

sim::Workload RandomWorkload(std::uint64_t seed, int nodes, int pods) {
  static constexpr std::array<const char*, 3> kModels = {"T4", "A10", "G2"};
  static constexpr std::array<MilliGpu, 4> kShares = {200, 460, 500, 810};
  Rng rng(seed, 3);
  std::vector<NodeSpec> node_specs;
  for (int n = 0; n < nodes; ++n) {
    const int cards = 2 << rng.Below(3);
    node_specs.push_back(
        Node("node-" + std::to_string(n), 16'000 * cards, cards, kModels[rng.Below(3)]));
  }
  std::vector<Pod> pod_specs;
  for (int p = 0; p < pods; ++p) {
    const std::uint32_t kind = rng.Below(10);
    RequestSpec spec = Ask(1000 * (1 + rng.Below(8)));
    if (kind < 5) {
      spec.gpus = 1;
      spec.gpu_milli = kShares[rng.Below(4)];
    } else if (kind < 9) {
      spec.gpus = kind < 8 ? 1 : 2 << rng.Below(3);
      spec.gpu_milli = kWholeCard;
    }
    if (spec.gpus > 0 && rng.Below(5) == 0) spec.models = {kModels[rng.Below(3)]};
    pod_specs.push_back({spec, std::int64_t{p} * 1'000'000,
                         static_cast<std::int64_t>(rng.Below(100'000'000)), 1 + rng.Below(20)});
  }
  return MakeToy(std::move(node_specs), pod_specs);
}

}  // namespace basalt::support
