// spread-job(POLICY): POLICY's choice, but a node loses 1,000,000 points for each task of the same
// job that runs there, so that the tasks of one job land on different nodes while any fits.
#include "policies/builtin.h"

namespace basalt::policies {
namespace {

constexpr Score kPenalty = 1'000'000;      // more than any local score: they stay below 300,000
constexpr std::int32_t kMostTasks = 1000;  // keeps the score within its type

class SpreadJob : public PlacementPolicy {
 public:
  explicit SpreadJob(std::shared_ptr<const PlacementPolicy> inner) : inner_(std::move(inner)) {
    traits_ = inner_->traits();
    traits_.name = "spread-job";
    traits_.job_term = true;
  }
  const PolicyTraits& traits() const override { return traits_; }
  void ScoreNodes(const PlacementContext& context, std::span<const NodeId> nodes,
                  std::span<Score> scores) const override {
    inner_->ScoreNodes(context, nodes, scores);
  }
  Score ScoreSet(const PlacementContext& context, NodeId node, CardSet cards) const override {
    return inner_->ScoreSet(context, node, cards);
  }
  CardSet ChooseCards(const PlacementContext& context, NodeId node) const override {
    return inner_->ChooseCards(context, node);
  }
  Score ClassTerm(const PlacementContext& context, NodeClassId node_class) const override {
    return inner_->ClassTerm(context, node_class);
  }
  Score JobTerm(const PlacementContext&, NodeId, std::int32_t tasks) const override {
    return -kPenalty * std::min(tasks, kMostTasks);
  }

 private:
  std::shared_ptr<const PlacementPolicy> inner_;
  PolicyTraits traits_;
};

}  // namespace

Made MakeSpreadJob(const Registry& registry, std::string_view argument) {
  if (argument.empty()) return Fail("policy \"spread-job\"", "names no policy; spread-job(fgd)");
  auto inner = registry.Make(argument);
  if (!inner) return inner;
  if ((*inner)->traits().job_term) {
    return Fail("policy \"spread-job\"",
                "cannot hold a policy that itself looks at the job's other pods");
  }
  return std::make_shared<SpreadJob>(*inner);
}

}  // namespace basalt::policies
