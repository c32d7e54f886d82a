#include "scheduler-core/cluster/card_groups.h"

#include <algorithm>
#include <array>
#include <map>
#include <utility>
#include <vector>

namespace basalt {
namespace {

CardSet First(CardSet set, int count) {
  CardSet taken;
  for (const int card : set) {
    if (taken.size() == count) break;
    taken.Add(card);
  }
  return taken;
}

CardSet Without(CardSet set, CardSet taken) { return CardSet(set.bits() & ~taken.bits()); }

struct Group {
  int id = 0;
  CardSet cards;
};

// By id. Cards without a group are in `rest`.
std::vector<Group> GroupsOf(CardSet candidates, const std::function<int(int)>& group_of,
                            CardSet* rest) {
  std::map<int, CardSet> by_id;
  for (const int card : candidates) {
    const int id = group_of(card);
    if (id < 0) {
      rest->Add(card);
    } else {
      by_id[id].Add(card);
    }
  }
  std::vector<Group> groups;
  for (const auto& [id, cards] : by_id) groups.push_back({id, cards});
  return groups;
}

CardSet TakeInOrder(const std::vector<Group>& groups, CardSet rest, int count) {
  CardSet taken;
  const auto take = [&](CardSet cards) {
    taken = CardSet(taken.bits() | First(cards, count - taken.size()).bits());
  };
  for (const Group& group : groups) take(group.cards);
  take(rest);
  return taken;
}

CardSet Modules(int count, int module, const std::vector<Group>& groups) {
  if (module < 1) return {};
  if (count > module && count % module != 0) return {};
  const int wanted = std::max(1, count / module);
  CardSet taken;
  for (const Group& group : groups) {
    if (group.cards.size() < module || taken.size() == wanted * module) continue;
    taken = CardSet(taken.bits() | First(group.cards, module).bits());
  }
  return taken.size() == wanted * module ? taken : CardSet();
}

constexpr int kWing = 4;
constexpr std::array<std::uint64_t, 2> kWings = {0x0f, 0xf0};
// Two linked pairs each, in the order in which HAMi tries them:
// 0145, 2367, 0246, 1357, 0347, 1256.
constexpr std::array<std::uint64_t, 6> kQuads = {0x33, 0xcc, 0x55, 0xaa, 0x99, 0x66};

bool Connected(CardSet pair) {
  const int a = pair.lowest();
  const int b = Without(pair, CardSet::Of(a)).lowest();
  return a / kWing == b / kWing || b - a == kWing;
}

CardSet WingsOf(int count, CardSet candidates) {
  const CardSet free(candidates.bits() & 0xff);
  if (count == 8) return free.size() == 8 ? free : CardSet();
  if (count != 1 && count != 2 && count != 4) return {};
  // How many free cards the wing should have: as many as asked, else those whose rest is least of
  // use. A single card would rather break a three than a pair.
  constexpr std::array<int, 4> kForOne = {1, 3, 2, 4};
  constexpr std::array<int, 4> kForMore = {1, 2, 3, 4};
  for (const int wanted : count == 1 ? kForOne : kForMore) {
    if (wanted < count) continue;
    for (const std::uint64_t wing : kWings) {
      const CardSet cards(free.bits() & wing);
      if (cards.size() == wanted) return First(cards, count);
    }
  }
  if (count == 2) {
    for (int card = 0; card < kWing; ++card) {
      if (free.Has(card) && free.Has(card + kWing)) {
        return CardSet((std::uint64_t{1} << card) | (std::uint64_t{1} << (card + kWing)));
      }
    }
    return {};
  }
  CardSet first;
  for (const std::uint64_t quad : kQuads) {
    if ((free.bits() & quad) != quad) continue;
    const CardSet left = Without(free, CardSet(quad));
    if (left.size() != 2 || Connected(left)) return CardSet(quad);
    if (first.empty()) first = CardSet(quad);
  }
  return first;
}

}  // namespace

CardSet ChooseGrouped(const CardRules& rules, int count, CardSet candidates,
                      const std::function<int(int card)>& group_of) {
  if (count < 1 || candidates.size() < count) return {};
  if (rules.grouping == CardGrouping::kWings) return WingsOf(count, candidates);
  if (rules.grouping == CardGrouping::kNone ||
      (rules.grouping == CardGrouping::kFullestGroup && count == 1)) {
    return First(candidates, count);
  }
  CardSet rest;
  std::vector<Group> groups = GroupsOf(candidates, group_of, &rest);
  if (rules.grouping == CardGrouping::kModules) return Modules(count, rules.group_size, groups);
  const bool fullest = rules.grouping == CardGrouping::kFullestGroup;
  std::stable_sort(groups.begin(), groups.end(), [&](const Group& a, const Group& b) {
    return fullest ? a.cards.size() > b.cards.size() : a.cards.size() < b.cards.size();
  });
  if (!fullest) {
    for (const Group& group : groups) {
      if (group.cards.size() >= count) return First(group.cards, count);
    }
  }
  return TakeInOrder(groups, rest, count);
}

}  // namespace basalt
