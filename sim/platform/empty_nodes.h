// What could ever run on a platform: one empty node of each group. A pod that fits none of the
// nodes of its places there will never run, however long it waits. Beside the engine's own test
// (ClusterState::FitsEmpty) it knows pools that do not move, and memory or working sets that are
// more than the slice gets, which the engine does not. Quotas and the size of gangs are not looked
// at.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "scheduler-core/base/result.h"
#include "scheduler-core/engine/engine.h"
#include "scheduler-core/engine/registry.h"
#include "sim/platform/spec.h"

namespace basalt::sim {

class EmptyNodes {
 public:
  // Errors: a policy or nodes that the engine refuses. `spec` must outlive it, in its place.
  static Result<EmptyNodes> Create(const PlatformSpec& spec, const Registry& registry);

  // Why a pod of the request, with a working set of so many MiB on each card (-1: all it has), fits
  // on no node of the places (empty: all clusters): what the first place lacks. Empty when it fits.
  std::string WhyNever(const RequestSpec& request, MiB working_set_mib,
                       const std::vector<PlaceSpec>& places);

 private:
  struct Cluster {
    const ClusterSpec* spec = nullptr;
    std::unique_ptr<Engine> engine;
    std::vector<std::pair<NodeId, const NodeGroupSpec*>> nodes;
  };
  bool Moves(const Cluster& cluster, const NodeGroupSpec& group) const;

  const PoolSpec* pools_ = nullptr;
  std::vector<Cluster> clusters_;
};

}  // namespace basalt::sim
