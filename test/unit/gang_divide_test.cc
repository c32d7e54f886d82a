// Dividing members over sub-domains and nodes, against every way to divide them on small trees.
#include "scheduler-core/engine/gang_divide.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <map>
#include <numeric>

#include "test/support/cluster.h"
#include "test/support/gangs.h"

namespace basalt {
namespace {

using support::kRack;

// Racks whose nodes take the given numbers of members; the last may be nodes that are in no rack.
struct Tree {
  explicit Tree(const std::vector<std::vector<int>>& racks, const std::vector<int>& loose = {}) {
    std::vector<NodeSpec> nodes;
    const auto add = [&](int places, topology::NetworkPath path) {
      nodes.push_back(support::Node("n" + std::to_string(nodes.size()), 64'000, places));
      nodes.back().network = std::move(path);
    };
    for (std::size_t r = 0; r < racks.size(); ++r) {
      for (const int places : racks[r]) add(places, {{kRack, "r" + std::to_string(r)}});
    }
    for (const int places : loose) add(places, {});
    engine = support::GangEngine(nodes);
    shape = support::For(*engine, support::Ask(10, 1, 1000), 1).shape;
    tree = &engine->domains();
    slots = &index.For(engine->state(), *tree, shape);
  }
  Region All() const { return Region::OfDomain(*tree, tree->root()); }
  std::vector<LeafCount> Divide(std::int64_t count, GangLayout layout) const {
    return DivideMembers(*tree, *slots, All(), count, layout);
  }
  // Members by sub-domain of the root (a rack, or a loose node), without the empty ones.
  std::vector<std::int64_t> Parts(const std::vector<LeafCount>& division) const {
    std::map<std::uint32_t, std::int64_t> parts;  // by first leaf
    for (const LeafCount& part : division) {
      const DomainId at = tree->innermost(tree->node(part.leaf));
      parts[at == tree->root() ? part.leaf : tree->domain(at).begin] += part.count;
    }
    std::vector<std::int64_t> out;
    for (const auto& [leaf, count] : parts) out.push_back(count);
    return out;
  }

  std::unique_ptr<Engine> engine;
  ShapeId shape;
  const DomainTree* tree;
  SlotIndex index;
  const SlotIndex::Slots* slots;
};

// The places of the root's sub-domains.
std::vector<std::int64_t> UnitsOf(const Tree& t) {
  std::vector<std::int64_t> units;
  const Domain& root = t.tree->domain(t.tree->root());
  for (std::uint32_t leaf = root.begin; leaf < root.own_end; ++leaf) {
    units.push_back(t.slots->copies[leaf]);
  }
  for (const DomainId child : root.children) units.push_back(t.slots->sum[child]);
  return units;
}

// The fewest of them that hold `count` together.
int Fewest(const std::vector<std::int64_t>& places, std::int64_t count) {
  int fewest = 99;
  for (std::uint32_t bits = 0; bits < (1U << places.size()); ++bits) {
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < places.size(); ++i) {
      if (((bits >> i) & 1) != 0) sum += places[i];
    }
    if (sum >= count) fewest = std::min(fewest, std::popcount(bits));
  }
  return fewest;
}

// The fewest of them that can take equal parts (differing by one at most); 99: no way.
int FewestBalanced(const std::vector<std::int64_t>& places, std::int64_t count) {
  int fewest = 99;
  for (std::uint32_t bits = 1; bits < (1U << places.size()); ++bits) {
    const std::int64_t m = std::popcount(bits);
    if (count < m) continue;
    std::int64_t can_small = 0;
    std::int64_t can_large = 0;
    for (std::size_t i = 0; i < places.size(); ++i) {
      if (((bits >> i) & 1) == 0) continue;
      can_small += places[i] >= count / m ? 1 : 0;
      can_large += places[i] >= count / m + 1 ? 1 : 0;
    }
    if (can_small == m && can_large >= count % m) fewest = std::min(fewest, static_cast<int>(m));
  }
  return fewest;
}

void CheckSums(const Tree& t, const std::vector<LeafCount>& division, std::int64_t count) {
  std::int64_t sum = 0;
  std::uint32_t before = 0;
  for (const LeafCount& part : division) {
    ASSERT_GT(part.count, 0);
    ASSERT_LE(part.count, t.slots->copies[part.leaf]);
    ASSERT_TRUE(sum == 0 || part.leaf > before);
    before = part.leaf;
    sum += part.count;
  }
  ASSERT_EQ(sum, count);
}

TEST(Divide, AgainstEveryDivisionOfSmallTrees) {
  int balanced = 0;
  for (int i = 0; i < support::Scaled(400); ++i) {
    Rng rng(static_cast<std::uint64_t>(i), 61);
    std::vector<std::vector<int>> racks(1 + rng.Below(4));
    std::vector<int> loose(rng.Below(3));
    for (auto& rack : racks) {
      rack.resize(1 + rng.Below(5));
      for (int& places : rack) places = static_cast<int>(rng.Below(6));
    }
    for (int& places : loose) places = static_cast<int>(rng.Below(6));
    const Tree t(racks, loose);
    const std::int64_t all = t.slots->sum[t.tree->root()];
    const std::vector<std::int64_t> units = UnitsOf(t);
    for (std::int64_t count = 1; count <= all; ++count) {
      const auto packed = t.Divide(count, GangLayout::kPacked);
      CheckSums(t, packed, count);
      ASSERT_EQ(static_cast<int>(t.Parts(packed).size()), Fewest(units, count)) << "seed " << i;
      // Inside each rack the fewest nodes for what it got.
      for (const DomainId rack : t.tree->OfTier(kRack)) {
        const Domain& d = t.tree->domain(rack);
        std::vector<std::int64_t> places;
        std::int64_t got = 0;
        int nodes = 0;
        for (std::uint32_t leaf = d.begin; leaf < d.end; ++leaf) {
          places.push_back(t.slots->copies[leaf]);
          for (const LeafCount& part : packed) {
            if (part.leaf != leaf) continue;
            got += part.count;
            ++nodes;
          }
        }
        ASSERT_EQ(nodes, Fewest(places, got)) << "seed " << i << " count " << count;
      }
      const auto even = t.Divide(count, GangLayout::kBalanced);
      CheckSums(t, even, count);
      const int fewest = FewestBalanced(units, count);
      std::vector<std::int64_t> parts = t.Parts(even);
      if (fewest == 99) {
        ASSERT_EQ(parts, t.Parts(packed));
      } else {
        ASSERT_EQ(static_cast<int>(parts.size()), fewest) << "seed " << i << " count " << count;
        ASSERT_LE(*std::max_element(parts.begin(), parts.end()) -
                      *std::min_element(parts.begin(), parts.end()),
                  1);
        ++balanced;
      }
      const auto spread = t.Divide(count, GangLayout::kSpread);
      CheckSums(t, spread, count);
      std::map<std::uint32_t, int> on;
      for (const LeafCount& part : spread) on[part.leaf] = part.count;
      for (std::uint32_t a = 0; a < t.tree->leaves(); ++a) {
        for (std::uint32_t b = 0; b < t.tree->leaves(); ++b) {
          ASSERT_TRUE(on[a] <= on[b] + 1 || on[b] == t.slots->copies[b]) << "seed " << i;
        }
      }
    }
  }
  EXPECT_GT(balanced, support::Scaled(1000));
}

// CoreWeave's leaf groups: racks of uneven size, one place a node. Kueue's issue with them was that
// a gang ended up over more leaves than it needed.
TEST(Divide, UnevenLeafGroups) {
  std::vector<std::vector<int>> racks;
  for (const int size : {1, 1, 2, 2, 2, 3, 3, 3, 5, 5, 6, 6, 6, 8, 11}) {
    racks.emplace_back(static_cast<std::size_t>(size), 1);
  }
  const Tree t(racks);
  const auto parts = [&](std::int64_t count, GangLayout layout) {
    auto out = t.Parts(t.Divide(count, layout));
    std::sort(out.begin(), out.end(), std::greater<>());
    return out;
  };
  using Parts = std::vector<std::int64_t>;
  EXPECT_EQ(parts(11, GangLayout::kPacked), (Parts{11}));
  EXPECT_EQ(parts(8, GangLayout::kPacked), (Parts{8}));
  EXPECT_EQ(parts(12, GangLayout::kPacked), (Parts{11, 1}));
  EXPECT_EQ(parts(16, GangLayout::kPacked), (Parts{11, 5}));
  EXPECT_EQ(parts(20, GangLayout::kPacked), (Parts{11, 8, 1}));
  EXPECT_EQ(parts(32, GangLayout::kPacked), (Parts{11, 8, 6, 6, 1}));
  EXPECT_EQ(parts(64, GangLayout::kPacked).size(), 15U);
  EXPECT_EQ(parts(12, GangLayout::kBalanced), (Parts{6, 6}));
  EXPECT_EQ(parts(15, GangLayout::kBalanced), (Parts{8, 7}));
  EXPECT_EQ(parts(16, GangLayout::kBalanced), (Parts{8, 8}));
  EXPECT_EQ(parts(24, GangLayout::kBalanced), (Parts{6, 6, 6, 6}));
  EXPECT_EQ(parts(63, GangLayout::kPacked).size(), 14U);
  // The last one-node group is taken only when nothing else is left.
  EXPECT_EQ(parts(9, GangLayout::kPacked), (Parts{9}));
}

// 33 racks of 18 trays: slices of 16 of 18.
TEST(Divide, SlicesOfEighteenTrays) {
  const Tree t(std::vector<std::vector<int>>(33, std::vector<int>(18, 1)));
  const auto parts = [&](std::int64_t count, GangLayout layout) {
    return t.Parts(t.Divide(count, layout));
  };
  using Parts = std::vector<std::int64_t>;
  EXPECT_EQ(parts(24, GangLayout::kBalanced), Parts(2, 12));
  EXPECT_EQ(parts(48, GangLayout::kBalanced), Parts(3, 16));
  EXPECT_EQ(parts(128, GangLayout::kBalanced), Parts(8, 16));
  EXPECT_EQ(parts(18, GangLayout::kBalanced), Parts(1, 18));
  EXPECT_EQ(parts(19, GangLayout::kBalanced), (Parts{10, 9}));
  EXPECT_EQ(parts(33 * 18, GangLayout::kBalanced), Parts(33, 18));
  EXPECT_EQ(parts(24, GangLayout::kPacked), (Parts{18, 6}));
  EXPECT_EQ(parts(33 * 18, GangLayout::kPacked), Parts(33, 18));
  EXPECT_EQ(parts(66, GangLayout::kSpread).size(), 4U);  // one a node, in order
}

TEST(Divide, OneNodeOnly) {
  const Tree t({{4, 2}});
  const Region leaf = Region::OfLeaf(1);
  EXPECT_EQ(PlacesIn(*t.slots, leaf), 2);
  for (const GangLayout layout :
       {GangLayout::kPacked, GangLayout::kBalanced, GangLayout::kSpread}) {
    const auto division = DivideMembers(*t.tree, *t.slots, leaf, 2, layout);
    ASSERT_EQ(division.size(), 1U);
    EXPECT_EQ(division[0].leaf, 1U);
    EXPECT_EQ(division[0].count, 2);
  }
}

}  // namespace
}  // namespace basalt
