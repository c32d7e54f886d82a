// Which cards go together: the published cases of Ascend, Kunlun and MetaX, and that an allowed set
// is found whenever there is one.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <vector>

#include "scheduler-core/cluster/card_groups.h"

namespace basalt {
namespace {

CardSet Set(std::initializer_list<int> cards) {
  CardSet set;
  for (const int card : cards) set.Add(card);
  return set;
}
CardSet Choose(CardGrouping grouping, int count, CardSet free, std::vector<int> groups,
               std::int32_t group_size = 0) {
  const CardRules rules{
      .model = "m", .vendor = "v", .grouping = grouping, .group_size = group_size};
  return ChooseGrouped(rules, count, free,
                       [&](int card) { return groups[static_cast<std::size_t>(card)]; });
}
const std::vector<int> kHalves = {0, 0, 0, 0, 1, 1, 1, 1};
const std::vector<int> kPairs = {0, 0, 1, 1, 2, 2, 3, 3};

TEST(CardGroups, NoneTakesTheFirst) {
  EXPECT_EQ(Choose(CardGrouping::kNone, 2, Set({3, 5, 7}), kHalves), Set({3, 5}));
  EXPECT_EQ(Choose(CardGrouping::kNone, 4, Set({3, 5, 7}), kHalves), CardSet());
  EXPECT_EQ(Choose(CardGrouping::kNone, 0, Set({3}), kHalves), CardSet());
}

// Ascend 910C: full modules only; one die takes its module; odd counts have no set.
TEST(CardGroups, Modules) {
  const auto choose = [](int count, CardSet free) {
    return Choose(CardGrouping::kModules, count, free, kPairs, 2);
  };
  EXPECT_EQ(choose(2, Set({1, 2, 3, 4})), Set({2, 3}));
  EXPECT_EQ(choose(1, Set({1, 2, 3, 4})), Set({2, 3}));
  EXPECT_EQ(choose(4, Set({0, 1, 3, 6, 7})), Set({0, 1, 6, 7}));
  EXPECT_EQ(choose(3, Set({0, 1, 2, 3})), CardSet());
  EXPECT_EQ(choose(2, Set({1, 2, 5, 6})), CardSet()) << "HAMi returns too few here";
  EXPECT_EQ(choose(4, Set({0, 1, 2, 4, 6})), CardSet());
}

// Ascend 910: several cards from the network with the most candidates first.
TEST(CardGroups, FullestGroup) {
  const auto choose = [](int count, CardSet free) {
    return Choose(CardGrouping::kFullestGroup, count, free, kHalves);
  };
  EXPECT_EQ(choose(2, Set({0, 4, 5, 6})), Set({4, 5}));
  EXPECT_EQ(choose(2, Set({0, 1, 4, 5})), Set({0, 1})) << "equal: the lower number";
  EXPECT_EQ(choose(4, Set({0, 4, 5, 6})), Set({0, 4, 5, 6}));
  EXPECT_EQ(choose(5, Set({0, 1, 4, 5, 6})), Set({0, 1, 4, 5, 6}));
  EXPECT_EQ(choose(1, Set({0, 4, 5})), Set({0}));
}

// MetaX: the smallest zone that has enough; else the smallest first, unlinked cards last.
TEST(CardGroups, SmallestGroup) {
  const std::vector<int> zones = {1, 1, 1, 1, 2, 2, -1, -1};
  const auto choose = [&](int count, CardSet free) {
    return Choose(CardGrouping::kSmallestGroup, count, free, zones);
  };
  EXPECT_EQ(choose(2, Set({0, 1, 2, 4, 5})), Set({4, 5}));
  EXPECT_EQ(choose(3, Set({0, 1, 2, 3, 4, 5})), Set({0, 1, 2}));
  EXPECT_EQ(choose(5, Set({0, 1, 2, 3, 4, 5, 6})), Set({0, 1, 2, 4, 5}));
  EXPECT_EQ(choose(7, Set({0, 1, 2, 3, 4, 5, 6, 7})), Set({0, 1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(choose(1, Set({0, 1, 4, 6})), Set({4}));
  EXPECT_EQ(choose(1, Set({6, 7})), Set({6}));
}

CardSet Wings(int count, CardSet free) {
  return Choose(CardGrouping::kWings, count, free, kHalves, 4);
}

// Kunlun P800, the cases of HAMi v2.10's rules.
TEST(CardGroups, WingsOfOneWing) {
  EXPECT_EQ(Wings(8, CardSet(0xff)), CardSet(0xff));
  EXPECT_EQ(Wings(8, CardSet(0xfe)), CardSet());
  // One card: the wing with 1 free, then 3, 2, 4; left before right.
  EXPECT_EQ(Wings(1, Set({0, 1, 2, 3, 6})), Set({6}));
  EXPECT_EQ(Wings(1, Set({0, 1, 5, 6, 7})), Set({5}));
  EXPECT_EQ(Wings(1, Set({0, 1, 2, 3, 5, 6})), Set({5}));
  EXPECT_EQ(Wings(1, CardSet(0xff)), Set({0}));
  EXPECT_EQ(Wings(1, Set({2, 5})), Set({2}));
  // Two: the wing with 2, then 3, then 4.
  EXPECT_EQ(Wings(2, Set({0, 1, 2, 5, 7})), Set({5, 7}));
  EXPECT_EQ(Wings(2, Set({0, 1, 2, 3, 4, 5, 6})), Set({4, 5}));
  EXPECT_EQ(Wings(2, Set({0, 1, 2, 3, 5})), Set({0, 1}));
  EXPECT_EQ(Wings(4, Set({0, 1, 2, 4, 5, 6, 7})), Set({4, 5, 6, 7}));
  for (const int count : {3, 5, 6, 7}) EXPECT_EQ(Wings(count, CardSet(0xff)), CardSet());
}

TEST(CardGroups, WingsAcross) {
  for (int card = 0; card < 4; ++card) {
    EXPECT_EQ(Wings(2, Set({card, card + 4})), Set({card, card + 4}));
    EXPECT_EQ(Wings(2, Set({card, (card + 1) % 4 + 4})), CardSet()) << card;
  }
  // The six quads, each when just its cards are free.
  for (const auto& quad : {Set({0, 1, 4, 5}), Set({2, 3, 6, 7}), Set({0, 2, 4, 6}),
                           Set({1, 3, 5, 7}), Set({0, 3, 4, 7}), Set({1, 2, 5, 6})}) {
    EXPECT_EQ(Wings(4, quad), quad);
  }
  EXPECT_EQ(Wings(4, Set({0, 1, 2, 4, 5})), Set({0, 1, 4, 5}));
  EXPECT_EQ(Wings(4, Set({1, 2, 3, 5, 6})), Set({1, 2, 5, 6}));
  EXPECT_EQ(Wings(4, Set({0, 1, 4, 6})), CardSet());
  EXPECT_EQ(Wings(4, Set({0, 1, 2, 3, 4})), Set({0, 1, 2, 3}));
  // Six free: the two left over are linked (2-6).
  EXPECT_EQ(Wings(4, Set({0, 1, 2, 4, 5, 6})), Set({0, 1, 4, 5}));
  // Here they cannot be: 0 and 7 are in different wings and not linked.
  EXPECT_EQ(Wings(4, Set({0, 1, 2, 5, 6, 7})), Set({1, 2, 5, 6}));
}

// Whatever is free: a set is returned exactly when a set of the published kind is free, and it is
// one of that kind.
TEST(CardGroups, FindsAnAllowedSetIfThereIsOne) {
  const std::array<std::uint64_t, 6> quads = {0x33, 0xcc, 0x55, 0xaa, 0x99, 0x66};
  const auto allowed = [&](CardGrouping grouping, int count, std::uint64_t set) {
    switch (grouping) {
      case CardGrouping::kModules: {
        for (int pair = 0; pair < 4; ++pair) {
          const std::uint64_t both = set >> (2 * pair) & 3;
          if (both == 1 || both == 2) return false;
        }
        return std::popcount(set) == (count == 1 ? 2 : count);
      }
      case CardGrouping::kWings: {
        if (std::popcount(set) != count) return false;
        if (count == 1 || count == 8) return true;
        if (count != 2 && count != 4) return false;
        if ((set & 0x0f) == 0 || (set & 0xf0) == 0) return true;
        if (count == 2) return (set & 0x0f) == (set >> 4);
        return std::ranges::find(quads, set) != quads.end();
      }
      default:
        return std::popcount(set) == count;
    }
  };
  int found = 0;
  for (const CardGrouping grouping :
       {CardGrouping::kNone, CardGrouping::kModules, CardGrouping::kFullestGroup,
        CardGrouping::kSmallestGroup, CardGrouping::kWings}) {
    const bool modules = grouping == CardGrouping::kModules;
    for (std::uint64_t free = 0; free < 256; ++free) {
      for (int count = 1; count <= 8; ++count) {
        const CardSet got =
            Choose(grouping, count, CardSet(free), modules ? kPairs : kHalves, modules ? 2 : 4);
        bool exists = false;
        for (std::uint64_t set = free; set != 0 && !exists; set = (set - 1) & free) {
          exists = allowed(grouping, count, set);
        }
        ASSERT_EQ(!got.empty(), exists)
            << static_cast<int>(grouping) << " " << count << " of " << free;
        if (got.empty()) continue;
        ++found;
        ASSERT_EQ(got.bits() & ~free, 0U);
        ASSERT_TRUE(allowed(grouping, count, got.bits()))
            << static_cast<int>(grouping) << " " << count << " of " << free;
      }
    }
  }
  EXPECT_GT(found, 3000);
}

}  // namespace
}  // namespace basalt
