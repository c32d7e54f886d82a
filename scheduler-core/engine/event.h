// What the outside tells the engine. Events are observations: they are always recorded, even where
// they contradict what the engine believed (a pod bound by someone else may drive a node negative).
#pragma once

#include <memory>
#include <string>
#include <variant>

#include "scheduler-core/base/units.h"
#include "scheduler-core/cluster/inventory.h"
#include "scheduler-core/queueing/queue_tree.h"
#include "scheduler-core/workload/request.h"
#include "topology/card_set.h"

namespace basalt {

struct NodeAdded {
  NodeSpec spec;
};
struct NodeRemoved {  // what ran there is gone with it
  std::string node;
};
struct NodeCordoned {
  std::string node;
  bool cordoned = true;
};
struct CardHealthChanged {
  std::string node;
  int card = 0;
  bool healthy = false;
};
// A card that is drained: it takes nothing more, what is on it stays.
struct CardCordoned {
  std::string node;
  int card = 0;
  bool cordoned = true;
};
// A card that is handed out another way from now on (moved between pools, MIG on or off). Nothing
// may be on it.
struct CardModeChanged {
  std::string node;
  int card = 0;
  CardMode mode = CardMode::kShared;
};
// What a model of cards allows. Before nodes with such cards.
struct CardRulesSet {
  CardRules rules;
};
// A node of this name is described anew; what it is called stays. Its pods, their leases and gangs
// stay, its cordon too, and the health and cordon of its cards. Cards are known by their UUID;
// where one description gives none, by place and model. Pods on a card that is gone, or whose
// slices the node can no longer have, are lost, as on a node that is removed. What was pinned on
// NUMA nodes or NICs that are gone is pinned no more. A rank of -1 is the rank it has. What differs
// in labels and taints alone changes nothing else: proposals that were made stay good. The mode of
// each card is as given here, CardModeChanged or not.
struct NodeChanged {
  NodeSpec spec;
};
// A pod that somebody else bound: taken as it is, fitting or not.
struct PodObserved {
  PodUid uid;
  std::uint32_t attempt = 0;
  RequestSpec spec;
  std::uint64_t job = 0;
  std::string node;
  CardSet cards;
  std::shared_ptr<const NumaTake> numa = nullptr;  // null: nothing pinned
  Standing standing = {};
};
struct PodGone {
  PodUid uid;
  bool failed = false;  // a gang that loses a member to a failure is degraded; one that ends is not
};

// The pod, or every member of the gang, has saved its work: evicting it loses what comes after.
struct PodCheckpointed {
  PodUid uid;
};
// Adds the queue or changes the one of that name. Unlike observations, what contradicts itself is
// refused (queueing/queue_tree.h). Pods that name the queue and came before it are charged to it.
struct QueueSet {
  QueueSpec spec;
};
struct QueueRemoved {  // refused while it has queues below it, pods or pending jobs
  std::string name;
};
// How many of the pods that name this budget (Standing::budget) must keep running. Exactly one of
// the two is set; neither: the budget is no more.
struct DisruptionBudgetSet {
  std::string name;
  std::int32_t min_available = -1;
  std::int32_t max_unavailable = -1;
  // How many there should be, for max_unavailable: those that are lost are unavailable already.
  // -1: unknown, then as many as there are.
  std::int32_t expected = -1;
  friend bool operator==(const DisruptionBudgetSet&, const DisruptionBudgetSet&) = default;
};

using Event = std::variant<NodeAdded, NodeRemoved, NodeCordoned, CardHealthChanged, PodObserved,
                           PodGone, CardCordoned, CardModeChanged, CardRulesSet, PodCheckpointed,
                           QueueSet, QueueRemoved, DisruptionBudgetSet, NodeChanged>;

}  // namespace basalt
