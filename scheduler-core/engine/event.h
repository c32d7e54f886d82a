// What the outside tells the engine. Events are observations: they are always recorded, even where
// they contradict what the engine believed (a pod bound by someone else may drive a node negative).
#pragma once

#include <memory>
#include <string>
#include <variant>

#include "scheduler-core/base/units.h"
#include "scheduler-core/cluster/inventory.h"
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
// A pod that somebody else bound: taken as it is, fitting or not.
struct PodObserved {
  PodUid uid;
  std::uint32_t attempt = 0;
  RequestSpec spec;
  std::uint64_t job = 0;
  std::string node;
  CardSet cards;
  std::shared_ptr<const NumaTake> numa = nullptr;  // null: nothing pinned
};
struct PodGone {
  PodUid uid;
  bool failed = false;  // a gang that loses a member to a failure is degraded; one that ends is not
};

using Event =
    std::variant<NodeAdded, NodeRemoved, NodeCordoned, CardHealthChanged, PodObserved, PodGone,
                 CardCordoned, CardModeChanged, CardRulesSet>;

}  // namespace basalt
