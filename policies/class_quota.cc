// class-quota(MODEL=SHARE,...;POLICY): POLICY's choice, but nodes whose card model is taken beyond
// its share of capacity lose more points than any score has, so they are used only when nothing
// else fits. It keeps scarce models free for the pods that may run nowhere else. The share is read
// from the state at each decision (a class term), so nothing is cached across placements.
#include <fmt/format.h>

#include <charconv>
#include <string>
#include <vector>

#include "policies/builtin.h"

namespace basalt::policies {
namespace {

// More than any local score (a blend reaches 100,000) and any job term (spread_job.cc), so that the
// quota decides first; together they stay within a Score.
constexpr Score kPenalty = 1'000'000'000;

struct Quota {
  std::string model;
  double share;
};

class ClassQuota : public PlacementPolicy {
 public:
  ClassQuota(std::vector<Quota> quotas, std::shared_ptr<const PlacementPolicy> inner)
      : quotas_(std::move(quotas)), inner_(std::move(inner)) {
    traits_ = inner_->traits();
    traits_.name = "class-quota";
    traits_.class_term = true;
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
    const Score inner = inner_->ClassTerm(context, node_class);
    const auto& models = context.state.class_of(node_class).card_models;
    // A pod that names its models has nowhere else to go.
    if (models.empty() || context.shape.gpus == 0 || !context.shape.spec.models.empty())
      return inner;
    for (const Quota& quota : quotas_) {
      if (context.state.model_name(models[0]) != quota.model) continue;
      const ModelTotals& totals = context.state.model_totals(models[0]);
      const auto taken = static_cast<double>(totals.gpu_capacity - totals.gpu_free);
      if (taken >= quota.share * static_cast<double>(totals.gpu_capacity)) return inner - kPenalty;
    }
    return inner;
  }
  Score JobTerm(const PlacementContext& context, NodeId node, std::int32_t tasks) const override {
    return inner_->JobTerm(context, node, tasks);
  }

 private:
  std::vector<Quota> quotas_;
  std::shared_ptr<const PlacementPolicy> inner_;
  PolicyTraits traits_;
};

}  // namespace

Made MakeClassQuota(const Registry& registry, std::string_view argument) {
  const auto bad = [&](const std::string& what) {
    return Fail(fmt::format("policy \"class-quota({})\"", argument),
                what + "; write class-quota(T4=0.5,P100=0.8;fgd)");
  };
  const std::size_t semicolon = argument.find(';');
  if (semicolon == std::string_view::npos) return bad("names no policy after ';'");
  std::vector<Quota> quotas;
  std::string_view list = argument.substr(0, semicolon);
  while (!list.empty()) {
    const std::size_t comma = std::min(list.find(','), list.size());
    const std::string_view item = list.substr(0, comma);
    list.remove_prefix(std::min(comma + 1, list.size()));
    const std::size_t equals = item.find('=');
    double share = -1;
    if (equals != std::string_view::npos) {
      const std::string_view number = item.substr(equals + 1);
      const auto [end, error] =
          std::from_chars(number.data(), number.data() + number.size(), share);
      if (error != std::errc() || end != number.data() + number.size()) share = -1;
    }
    if (equals == 0 || !(share >= 0 && share <= 1)) {
      return bad(fmt::format("\"{}\" is not MODEL=SHARE with a share in 0..1", item));
    }
    quotas.push_back(Quota{std::string(item.substr(0, equals)), share});
  }
  if (quotas.empty()) return bad("has no quota");
  auto inner = registry.Make(argument.substr(semicolon + 1));
  if (!inner) return inner;
  if ((*inner)->traits().class_term) return bad("cannot hold another class-quota: list all models");
  if ((*inner)->traits().whole_set) return bad("needs a policy that scores nodes one by one");
  return std::make_shared<ClassQuota>(std::move(quotas), *inner);
}

}  // namespace basalt::policies
