#include "scheduler-core/engine/trial.h"

#include <algorithm>
#include <utility>

namespace basalt {

Placement Trial::PlaceOn(const Request& request, ShapeId shape, NodeId node) {
  return engine_.MakePlacement(engine_.MakeContext(request, shape), BestNode{node, 0});
}

GangSpec Trial::InQueue(GangSpec spec, const Standing& standing) {
  for (GangTask& task : spec.tasks) task.shape = InQueue(task.shape, standing);
  return spec;
}

std::optional<GangSpec> Trial::OnAllowedModels(const GangRequest& request) {
  if (request.standing.queue.empty()) return {};
  std::vector<QuotaAsk> asks;
  for (const GangTask& task : request.spec.tasks) {
    if (task.min > 0) asks.push_back({task.shape, task.min});
  }
  const Quotas::Check quota = engine_.quotas_.MayAsk(state(), asks, request.standing);
  if (quota.answer != Quotas::Check::Answer::kSome) return {};
  GangSpec spec = request.spec;
  for (GangTask& task : spec.tasks) {
    task.shape = InQueue(engine_.OnModels(task.shape, quota.models), request.standing);
  }
  return spec;
}

Amounts Trial::AmountsOf(const std::vector<Place>& places, const Standing& standing) {
  Amounts sum;
  for (const Place& p : places) {
    sum += engine_.quotas_.Held(state(), p.shape, p.at.node, p.at.cards, p.at.numa.get(), standing);
  }
  return sum;
}

bool Trial::QueueAllows(const QueueTree& tree, const Amounts& ask, const Standing& standing) const {
  const QueueId leaf = engine_.quotas_.LeafOf(standing.queue);
  return !leaf.valid() || !engine_.quotas_.Refusal(tree, leaf, ask, standing.preemptible);
}

void Trial::ChargeIn(QueueTree* tree, const Place& place, int sign) {
  if (place.charged == nullptr) return;
  const Standing& standing = *place.charged;
  const QueueId leaf = engine_.quotas_.LeafOf(standing.queue);
  if (!leaf.valid()) return;
  const Amounts held = AmountsOf({place}, standing);
  if (sign > 0) {
    tree->Charge(leaf, held, standing.preemptible);
  } else {
    tree->Uncharge(leaf, held, standing.preemptible);
  }
}

bool Trial::GangMayFit(const GangSpec& spec) {
  engine_.domains_.CatchUp(engine_.state_);
  const DomainTree& tree = engine_.domains_;
  return std::all_of(spec.tasks.begin(), spec.tasks.end(), [&](const GangTask& task) {
    return engine_.slots_.For(engine_.state_, tree, task.shape).sum[tree.root()] >= task.min;
  });
}

std::optional<GangOutcome> Trial::FindGang(const GangRequest& request, const GangSpec& spec) {
  engine_.domains_.CatchUp(engine_.state_);
  GangProblem problem = engine_.MakeProblem(request, nullptr);
  problem.spec = &spec;
  std::vector<const SlotIndex::Slots*> slots;
  for (const GangTask& task : spec.tasks) {
    slots.push_back(&engine_.slots_.For(engine_.state_, engine_.domains_, task.shape));
  }
  GangAnswer answer = SearchGang(engine_.state_, engine_.domains_, slots, problem,
                                 engine_.options_.gang_limits, engine_.options_.executor);
  if (!answer.placed) return {};
  GangOutcome outcome;
  outcome.kind = OutcomeKind::kPlaced;
  std::size_t at = 0;
  std::int32_t first = 0;
  for (std::size_t t = 0; t < request.spec.tasks.size(); ++t) {
    std::int32_t member = first;
    for (; at < answer.places.size() && answer.places[at].task == t; ++at, ++member) {
      GangAnswer::Place& place = answer.places[at];
      outcome.members.push_back(
          {member, Placement{place.node, place.cards, 0, engine_.state_.generation(place.node),
                             std::move(place.numa)}});
    }
    first += request.spec.tasks[t].max;
  }
  return outcome;
}

}  // namespace basalt
