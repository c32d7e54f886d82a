// What queues hold and may hold, in the engine's terms: which amounts a pod counts under, the
// cluster's totals, and whether a queue allows a request. The tree's mathematics are in
// queueing/queue_tree.h; that charges equal what allocations hold is the engine's (Engine::Audit).
//
// A pod is charged for what it takes: CPU, memory, and each card or slice under its model. Before
// it is placed its models may be open; then every model that its shape allows is asked about by
// itself, and the pod is placed among those that the queue allows.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "scheduler-core/base/digest.h"
#include "scheduler-core/cluster/state.h"
#include "scheduler-core/engine/event.h"
#include "scheduler-core/queueing/queue_tree.h"
#include "scheduler-core/workload/gang.h"
#include "scheduler-core/workload/standing.h"

namespace basalt {

// Pods of a shape that are asked for together.
struct QuotaAsk {
  ShapeId shape;
  std::int64_t count = 1;
};

class Quotas {
 public:
  Quotas();

  // --- structure ---
  Status SetQueue(const QueueSpec& spec);
  Status RemoveQueue(const std::string& name);
  void SetBudget(const DisruptionBudgetSet& budget);
  std::uint64_t budget_version() const { return budget_version_; }
  const QueueTree& tree() const { return tree_; }
  QueueTree& tree() { return tree_; }
  // By name; those that were dropped are not in it.
  const std::map<std::string, DisruptionBudgetSet>& budgets() const { return budgets_; }
  // Some queue was set.
  bool any() const { return tree_.order().size() > 1; }
  // Invalid when the name is empty, unknown, or of a queue that has others below it.
  QueueId LeafOf(const std::string& name) const;
  // One copy of each standing, kept for the lifetime of this object.
  const Standing* Intern(const Standing& standing) { return &*standings_.insert(standing).first; }

  // --- amounts ---
  // What a pod of the shape holds on these cards of the node. `listed`: its slices, where they are
  // listed; else null.
  Amounts Held(const ClusterState& state, ShapeId shape, NodeId node, CardSet cards,
               const NumaTake* listed, const Standing& standing);
  // Adds `count` of the SKU that pods of this standing were asked as.
  void AddSku(const Standing& standing, std::int64_t count, Amounts* amounts);
  // What one pod would hold on cards of the model. Without one: what is the same on every model
  // that the shape allows, and if there is only one, that one's.
  Amounts Ask(const ClusterState& state, ShapeId shape);
  Amounts Ask(const ClusterState& state, ShapeId shape, ModelId model);
  // The models in the cluster that the shape allows; none for a shape without cards.
  std::vector<ModelId> ModelsFor(const ClusterState& state, ShapeId shape);
  // The part of `ask` that shares are about: the resources that some queue speaks of. A card counts
  // as gpu, as cards and as memory at once; a guarantee of gpu must not fail by a share of cards
  // that nobody asked for. Where no queue speaks of cards (of CPU and memory, for a pod without
  // cards), compute (both of these) stands for them.
  Amounts Governed(const Amounts& ask) const;
  // Nodes or cards came, went or changed: the totals are added up again when they are needed.
  void InventoryChanged() { totals_stale_ = true; }
  void CatchUp(const ClusterState& state);
  // Queues, budgets and their limits; what is held is in the allocations.
  void AddTo(Digest* digest) const;

  // --- decisions ---
  // The tree's, but that the hardware's own limits refuse nothing: whether there is room is the
  // state's to say, which also knows of pods that are in no queue and of nodes that are cordoned.
  std::optional<QuotaRefusal> Refusal(QueueId leaf, const Amounts& ask, bool preemptible) const;
  std::optional<QuotaRefusal> Refusal(const QueueTree& tree, QueueId leaf, const Amounts& ask,
                                      bool preemptible) const;

  struct Check {
    enum class Answer : std::uint8_t {
      kYes,    // for every model
      kSome,   // only these models
      kMixed,  // each model by itself no; of a gang a part may still go to each
      kWait,
      kNever,  // more than the queue could ever hold
      kBad,    // there is no such queue, or it has others below it
    };
    Answer answer = Answer::kYes;
    std::vector<ModelId> models;  // kSome
    std::string reason;           // of all but kYes and kSome
    bool may() const { return answer <= Answer::kMixed; }
  };
  Check MayAsk(const ClusterState& state, const std::vector<QuotaAsk>& asks,
               const Standing& standing);

 private:
  const CardResources& ResourcesOf(const ClusterState& state, ModelId model);
  // The least that one pod may hold on a card of the model: cards of one model may differ in size
  // and in how they are handed out.
  Amounts LeastAsk(const ClusterState& state, ShapeId shape, ModelId model);
  Amounts AskOn(const ClusterState& state, const Shape& shape, ModelId model,
                const CardState& card);
  static void AddSlice(const CardResources& ids, const SliceTake& slice, std::int64_t physical,
                       std::int64_t count, Amounts* out);
  Check Refused(const QuotaRefusal& refusal, QueueId leaf, const Amounts& ask) const;

  QueueTree tree_;
  ResourceId cpu_, memory_;
  CardResources any_model_;
  IdVector<ModelId, CardResources> by_model_;
  IdVector<ModelId, CardState> largest_;             // a card of the model with the most memory
  IdVector<ModelId, std::vector<CardState>> kinds_;  // one card of each kind, as when idle
  IdVector<ModelId, std::int64_t> cards_;            // of the model, in the cluster
  std::map<std::string, DisruptionBudgetSet> budgets_;
  std::set<Standing> standings_;
  std::uint64_t budget_version_ = 0;
  bool totals_stale_ = true;
};

}  // namespace basalt
