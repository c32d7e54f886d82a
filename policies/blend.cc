// A weighted blend, NAME:WEIGHT+NAME:WEIGHT. Scores that are not 0..100 by definition are stretched
// to 0..100 over the feasible nodes first, which makes the blend depend on the whole set. Weights
// count in thousandths. The cards are chosen by the component of the largest weight (the first
// among equals) under its own default card rule unless one is named.
#include <algorithm>
#include <cmath>
#include <vector>

#include "policies/builtin.h"

namespace basalt::policies {
namespace {

class Blend : public PlacementPolicy {
 public:
  struct Component {
    std::shared_ptr<const PlacementPolicy> policy;
    std::int64_t thousandths;
  };
  explicit Blend(std::vector<Component> components) : components_(std::move(components)) {
    traits_.name = "blend";
    for (std::size_t i = 0; i < components_.size(); ++i) {
      const PolicyTraits& t = components_[i].policy->traits();
      traits_.whole_set = traits_.whole_set || t.whole_set || t.stretch_in_blend;
      traits_.needs_target_workload = traits_.needs_target_workload || t.needs_target_workload;
      if (components_[i].thousandths > components_[heaviest_].thousandths) heaviest_ = i;
      sum_ += components_[i].thousandths;
    }
    traits_.default_card_rule = components_[heaviest_].policy->traits().default_card_rule;
  }
  const PolicyTraits& traits() const override { return traits_; }

  // 1000 x the weighted mean of the components' 0..100, so differences below a point still count.
  void ScoreNodes(const PlacementContext& context, std::span<const NodeId> nodes,
                  std::span<Score> scores) const override {
    std::vector<std::int64_t> sums(nodes.size(), 0);
    for (const Component& c : components_) {
      c.policy->ScoreNodes(context, nodes, scores);
      Score low = 0;
      Score high = 100;
      if (c.policy->traits().stretch_in_blend && !scores.empty()) {
        low = *std::min_element(scores.begin(), scores.end());
        high = *std::max_element(scores.begin(), scores.end());
      }
      for (std::size_t i = 0; i < nodes.size(); ++i) {
        const std::int64_t score =
            high == low ? 100 : (std::int64_t{scores[i]} - low) * 100 / (std::int64_t{high} - low);
        sums[i] += score * c.thousandths;
      }
    }
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      scores[i] = static_cast<Score>(sums[i] * 1000 / sum_);
    }
  }
  Score ScoreSet(const PlacementContext& context, NodeId node, CardSet cards) const override {
    return components_[heaviest_].policy->ScoreSet(context, node, cards);
  }
  CardSet ChooseCards(const PlacementContext& context, NodeId node) const override {
    return components_[heaviest_].policy->ChooseCards(context, node);
  }

 private:
  std::vector<Component> components_;
  std::size_t heaviest_ = 0;
  std::int64_t sum_ = 0;
  PolicyTraits traits_;
};

}  // namespace

Made MakeBlend(Registry::Weighted weighted) {
  std::vector<Blend::Component> components;
  for (auto& [policy, weight] : weighted) {
    if (policy->traits().class_term || policy->traits().job_term) {
      return Fail("policy \"" + policy->traits().name + "\"",
                  "cannot be inside a blend; put the blend inside it");
    }
    const auto thousandths = static_cast<std::int64_t>(std::llround(weight * 1000));
    if (thousandths == 0) return Fail("blend", "a weight below 0.001 counts nothing");
    components.push_back({std::move(policy), thousandths});
  }
  return std::make_shared<Blend>(std::move(components));
}

}  // namespace basalt::policies
