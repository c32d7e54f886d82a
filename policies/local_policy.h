// A base for policies whose score of a node is one inlined function of (shape, node): it fills in
// the batch loop, so that a policy file is its traits and its formula.
#pragma once

#include <utility>

#include "scheduler-core/engine/policy.h"

namespace basalt::policies {

// Derived defines `Score ScoreOne(const PlacementContext&, NodeId) const`.
template <class Derived>
class LocalPolicy : public PlacementPolicy {
 public:
  const PolicyTraits& traits() const override { return traits_; }
  void ScoreNodes(const PlacementContext& context, std::span<const NodeId> nodes,
                  std::span<Score> scores) const override {
    const auto& self = static_cast<const Derived&>(*this);
    for (std::size_t i = 0; i < nodes.size(); ++i) scores[i] = self.ScoreOne(context, nodes[i]);
  }

 private:
  friend Derived;
  explicit LocalPolicy(PolicyTraits traits) : traits_(std::move(traits)) {}
  PolicyTraits traits_;
};

// How full the node is once it has the request, 0..1000 (binpack.cc): GPU compute, with card memory
// where it is known; CPU and memory for a request without cards.
Score Fullness(const PlacementContext& context, NodeId node);

// The largest node of the ATC'23 simulator, by which its policies normalize.
inline constexpr double kMaxSpecCpu = 128000;
inline constexpr double kMaxSpecGpu = 8000;

}  // namespace basalt::policies
