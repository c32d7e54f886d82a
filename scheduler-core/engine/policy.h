// What a placement policy is. Policies are pure: (request shape, read-only state) -> scores and
// cards. They never change state, keep no state of their own between calls, and see no clock; a
// policy that draws random numbers draws them from the seed in its context.
//
// A node's total score is local(shape, node) + class(shape, node class) + job(job, node).
// Only the local part is cached per node, until that node changes (cluster/index.h). A policy whose
// score of one node depends on the other candidates (normalization, randomness) declares
// `whole_set` and is given every feasible node, in rank order, in one call.
//
// Higher scores win; equal scores go to the node with the smaller rank; the cards then are the
// first of the best sets that the card rule proposes.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "scheduler-core/base/ids.h"
#include "scheduler-core/cluster/cards.h"
#include "scheduler-core/cluster/domains.h"
#include "scheduler-core/cluster/fragmentation.h"
#include "scheduler-core/cluster/state.h"
#include "scheduler-core/workload/node_choice.h"
#include "topology/card_set.h"

namespace basalt {

using Score = std::int32_t;
inline constexpr Score kNoScore = std::numeric_limits<Score>::min();  // infeasible

// Counts of work done, exact and reproducible: what `basalt bench` gates instead of time.
struct WorkCounters {
  std::uint64_t decisions = 0;
  std::uint64_t nodes_checked = 0;    // feasibility tests
  std::uint64_t nodes_scored = 0;     // policy evaluations
  std::uint64_t index_rebuilds = 0;   // shapes indexed from scratch
  std::uint64_t exact_fallbacks = 0;  // fgd: decisions on a rounding edge, summed in doubles
  std::uint64_t gang_steps = 0;       // members placed and choices tried by gang searches
  friend bool operator==(const WorkCounters&, const WorkCounters&) = default;
};

struct JobNodes {
  // (node, tasks of the job on it), unordered.
  std::vector<std::pair<NodeId, std::int32_t>> nodes;
};

struct PlacementContext {
  const ClusterState& state;
  ShapeId shape_id;
  const Shape& shape;
  CardRule card_rule;
  const Fragmentation* fragmentation;  // caught up; null when no target workload is set
  const JobNodes* job;                 // null when the request has no job or nothing of it runs
  const DomainTree* domains;           // caught up for policies that need it, else null
  std::uint64_t seed;                  // differs for each decision, same in every replay
  WorkCounters& work;
  const NodeChoice* nodes = nullptr;  // what the decision may use; null: every node
};

struct PolicyTraits {
  std::string name;
  std::string help;
  CardRule default_card_rule = CardRule::kBest;
  bool whole_set = false;
  bool class_term = false;
  bool job_term = false;
  bool spreads = false;  // gangs that leave their layout to the policy are spread
  bool needs_target_workload = false;
  bool needs_domains = false;
  // In a blend, scores are first stretched to 0..100 over the feasible nodes; false for policies
  // whose scores are 0..100 by definition and are blended as they are.
  bool stretch_in_blend = true;
};

class PlacementPolicy {
 public:
  virtual ~PlacementPolicy() = default;
  virtual const PolicyTraits& traits() const = 0;

  // Fills scores[i] for nodes[i]; every node given is feasible for the shape.
  virtual void ScoreNodes(const PlacementContext& context, std::span<const NodeId> nodes,
                          std::span<Score> scores) const = 0;
  // The score of one proposed set on the node; policies that look at cards override it, and their
  // ScoreNodes gives the maximum over the proposed sets.
  virtual Score ScoreSet(const PlacementContext& context, NodeId node, CardSet cards) const;
  // The cards to take on the chosen node: the first proposed set of the highest ScoreSet.
  virtual CardSet ChooseCards(const PlacementContext& context, NodeId node) const;
  // Added to the local score of every node of the class; read at each decision, never cached.
  virtual Score ClassTerm(const PlacementContext& context, NodeClassId node_class) const;
  // Added to the local score of a node that runs tasks of the request's job.
  virtual Score JobTerm(const PlacementContext& context, NodeId node, std::int32_t tasks) const;
};

// The node's total score, from the local one.
Score TotalScore(const PlacementPolicy& policy, const PlacementContext& context, NodeId node,
                 Score local);

// Calls fn(CardSet) for each set that the rule proposes, in order; none if the cards do not fit.
void ProposeCards(const PlacementContext& context, NodeId node,
                  const std::function<void(CardSet)>& fn);
// The single set of a rule that proposes one (for kEach: that of kBest).
CardSet ProposeOne(const PlacementContext& context, NodeId node, CardRule rule);

}  // namespace basalt
