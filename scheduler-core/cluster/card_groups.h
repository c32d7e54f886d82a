// Which whole cards of a node to take together, where the model's cards are wired in groups
// (CardRules::grouping): the rules of HAMi v2.10 for Ascend, Kunlun and MetaX, as pure functions.
#pragma once

#include <functional>

#include "scheduler-core/cluster/card_rules.h"
#include "topology/card_set.h"

namespace basalt {

// `count` of the candidates (cards that may be taken whole), or as many as the rule makes of it;
// empty when no set is allowed. If an allowed set exists, one is returned.
//
//   kNone            the first.
//   kModules         full modules of group_size cards, the first. Less than a module takes one
//                    module; other counts that are no multiple of it have no set.
//   kFullestGroup    several cards: the groups with the most candidates first, and as many groups
//                    as it takes. One card: the first.
//   kSmallestGroup   the smallest group that holds all; else the smallest groups first.
//   kWings           Kunlun P800, by index: wings 0-3 and 4-7, links 0-4, 1-5, 2-6 and 3-7. In one
//                    wing if one has enough, the wing that it fills best; else a linked pair, or
//                    two linked pairs. Only counts of 1, 2, 4 and 8 have sets.
//
// group_of gives a candidate's group; negative: it is in none, and is taken last. Equal groups: the
// lower number first.
CardSet ChooseGrouped(const CardRules& rules, int count, CardSet candidates,
                      const std::function<int(int card)>& group_of);

}  // namespace basalt
