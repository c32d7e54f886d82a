#include "scheduler-core/engine/trial.h"

#include <algorithm>
#include <utility>

namespace basalt {

Placement Trial::PlaceOn(const Request& request, NodeId node) {
  return engine_.MakePlacement(engine_.MakeContext(request, request.shape), BestNode{node, 0});
}

bool Trial::GangMayFit(const GangSpec& spec) {
  engine_.domains_.CatchUp(engine_.state_);
  const DomainTree& tree = engine_.domains_;
  return std::all_of(spec.tasks.begin(), spec.tasks.end(), [&](const GangTask& task) {
    return engine_.slots_.For(engine_.state_, tree, task.shape).sum[tree.root()] >= task.min;
  });
}

std::optional<GangOutcome> Trial::FindGang(const GangRequest& request) {
  engine_.domains_.CatchUp(engine_.state_);
  const GangProblem problem = engine_.MakeProblem(request, nullptr);
  std::vector<const SlotIndex::Slots*> slots;
  for (const GangTask& task : request.spec.tasks) {
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
