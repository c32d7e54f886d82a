// Card choice against all subsets, on every machine of the catalog and on random ones; and what
// is special about the DGX-1.
#include <gtest/gtest.h>

#include <set>
#include <tuple>

#include "test/unit/topology_bandwidth_test_util.h"
#include "topology/files/catalog.h"

namespace basalt::topology {
namespace {

// ---- the slow version: everything from Bandwidth(set) and the graph ----

class Slow {
 public:
  explicit Slow(const MachineType& type) : type_(type) {}

  int Intact(int size, CardSet free) {
    if (free.size() < size) return 0;
    const auto [it, is_new] = known_.emplace(std::pair(size, free.bits()), 0);
    if (!is_new) return it->second;
    int most = 0;
    ForSubsets(free, size, [&](CardSet set) {
      if (set.Has(free.lowest()) && type_.Bandwidth(set) >= type_.Best(size)) {
        most = std::max(most, 1 + Intact(size, CardSet(free.bits() ^ set.bits())));
      }
    });
    most = std::max(most, Intact(size, CardSet(free.bits() & (free.bits() - 1))));
    known_[{size, free.bits()}] = most;
    return most;
  }
  // Larger is better, in the order of the header.
  auto Remainder(CardSet rest) {
    return std::tuple(Intact(8, rest), Intact(4, rest), Intact(2, rest), type_.Bandwidth(rest));
  }
  std::pair<int, int> Spread(CardSet set) const {
    std::set<int> numa;
    std::set<int> places;
    for (const int c : set) {
      numa.insert(type_.graph().vertices[static_cast<std::size_t>(c)].numa);
      int place = c;
      for (const Link& l : type_.graph().links) {
        const bool to_switch =
            type_.graph().vertices[static_cast<std::size_t>(l.b)].kind == VertexKind::kPcieSwitch;
        if (l.kind == LinkKind::kPcie && l.a == c && to_switch) place = l.b;
      }
      places.insert(place);
    }
    return {static_cast<int>(numa.size()), static_cast<int>(places.size())};
  }
  CardSet Best(CardSet free, int size) {
    std::vector<
        std::tuple<std::int64_t, decltype(Remainder(CardSet())), std::pair<int, int>, CardSet>>
        all;
    ForSubsets(free, size, [&](CardSet set) {
      const auto [numa, places] = Spread(set);
      all.emplace_back(type_.Bandwidth(set), Remainder(CardSet(free.bits() ^ set.bits())),
                       std::pair(-numa, -places), set);
    });
    return Pick(all);
  }
  CardSet Keep(CardSet free, int size, std::int32_t mbps) {
    std::vector<
        std::tuple<decltype(Remainder(CardSet())), std::int64_t, std::pair<int, int>, CardSet>>
        all;
    ForSubsets(free, size, [&](CardSet set) {
      if (size > 1 && type_.Bandwidth(set) < mbps) return;
      const auto [numa, places] = Spread(set);
      all.emplace_back(Remainder(CardSet(free.bits() ^ set.bits())), type_.Bandwidth(set),
                       std::pair(-numa, -places), set);
    });
    return Pick(all);
  }
  int Copies(CardSet free, int size, std::int32_t mbps) {
    int most = 0;
    ForSubsets(free, size, [&](CardSet set) {
      if (size == 1 || type_.Bandwidth(set) >= mbps) {
        most = std::max(most, 1 + CopiesAbove(CardSet(free.bits() ^ set.bits()), size, mbps, set));
      }
    });
    return most;
  }

 private:
  template <class Fn>
  static void ForSubsets(CardSet free, int size, const Fn& fn) {
    for (std::uint64_t s = free.bits(); s != 0; s = (s - 1) & free.bits()) {
      if (std::popcount(s) == size) fn(CardSet(s));
    }
  }
  // Copies in ascending order of their lowest card, so that each family is tried once.
  int CopiesAbove(CardSet free, int size, std::int32_t mbps, CardSet last) {
    int most = 0;
    ForSubsets(free, size, [&](CardSet set) {
      if (set.lowest() > last.lowest() && (size == 1 || type_.Bandwidth(set) >= mbps)) {
        most = std::max(most, 1 + CopiesAbove(CardSet(free.bits() ^ set.bits()), size, mbps, set));
      }
    });
    return most;
  }
  // The largest key; of equal ones the lowest mask.
  template <class Keys>
  static CardSet Pick(const Keys& all) {
    if (all.empty()) return {};
    const auto better = [](const auto& a, const auto& b) {
      return std::tie(std::get<0>(a), std::get<1>(a), std::get<2>(a), std::get<3>(b)) <
             std::tie(std::get<0>(b), std::get<1>(b), std::get<2>(b), std::get<3>(a));
    };
    return std::get<3>(*std::max_element(all.begin(), all.end(), better));
  }

  const MachineType& type_;
  std::map<std::pair<int, std::uint64_t>, int> known_;
};

void CheckFree(const MachineType& type, Slow& slow, CardSet free, bool all_thresholds) {
  const auto what = [&](int size) {
    return type.text() + "\nfree " + std::to_string(free.bits()) + " size " + std::to_string(size);
  };
  for (const int j : {2, 4, 8}) ASSERT_EQ(type.Intact(j, free), slow.Intact(j, free)) << what(j);
  for (int size = 1; size <= free.size(); ++size) {
    ASSERT_EQ(type.BestSet(free, size), slow.Best(free, size)) << what(size);
    std::set<std::int32_t> thresholds = {0, type.Best(size), type.Best(size) + 1};
    if (all_thresholds) {
      for (std::uint64_t s = free.bits(); s != 0; s = (s - 1) & free.bits()) {
        if (std::popcount(s) == size) thresholds.insert(type.Bandwidth(CardSet(s)));
      }
    }
    for (const std::int32_t mbps : thresholds) {
      ASSERT_EQ(type.KeepRemainder(free, size, mbps), slow.Keep(free, size, mbps))
          << what(size) << " mbps " << mbps;
      if (type.cards() > 8) continue;
      ASSERT_EQ(type.Copies(free, size, mbps), slow.Copies(free, size, mbps))
          << what(size) << " mbps " << mbps;
    }
  }
  EXPECT_TRUE(type.BestSet(free, free.size() + 1).empty());
  EXPECT_TRUE(type.BestSet(free, 0).empty());
  EXPECT_EQ(type.Copies(free, 0, 0), 0);
}

TEST(CardChoice, EveryFreeSetOfEveryCatalogMachine) {
  for (const std::string& name : CatalogNames()) {
    SCOPED_TRACE(name);
    const auto type = MustMake(*CatalogMachine(name));
    Slow slow(*type);
    if (type->cards() <= 8) {
      for (std::uint64_t free = 0; free <= All(type->cards()).bits(); ++free) {
        CheckFree(*type, slow, CardSet(free), true);
      }
    } else {
      Rng rng(5);
      for (int i = 0; i < 12; ++i) {
        const CardSet free(rng.Next() & rng.Next() & All(type->cards()).bits());
        CheckFree(*type, slow, free, true);
      }
    }
    if (HasFatalFailure()) return;
  }
}

TEST(CardChoice, RandomMachines) {
  Rng rng(6);
  for (int round = 0; round < 12; ++round) {
    const int cards = 2 + round % 7;
    const auto type = MustMake(RandomGraph(rng, cards));
    Slow slow(*type);
    for (std::uint64_t free = 0; free <= All(cards).bits(); ++free) {
      CheckFree(*type, slow, CardSet(free), cards < 7);
    }
    if (HasFatalFailure()) return;
  }
  for (int round = 0; round < 4; ++round) {
    const int cards = 10 + 2 * round;
    const auto type = MustMake(RandomGraph(rng, cards));
    Slow slow(*type);
    for (int i = 0; i < 6; ++i) {
      CheckFree(*type, slow, CardSet(rng.Next() & rng.Next() & All(cards).bits()), false);
    }
    CheckFree(*type, slow, CardSet(rng.Next() & All(cards).bits()), false);
    if (HasFatalFailure()) return;
  }
}

TEST(CardChoice, CopiesBeyondEightCardsNeverClaimTooMuch) {
  Rng rng(8);
  for (int round = 0; round < 3; ++round) {
    const auto type = MustMake(RandomGraph(rng, 10));
    Slow slow(*type);
    for (int size = 1; size <= 5; ++size) {
      const int copies = type->Copies(All(10), size, type->Best(size));
      EXPECT_LE(copies, slow.Copies(All(10), size, type->Best(size)));
      EXPECT_GE(copies, 1);
    }
  }
}

// ---- DGX-1 ----

class Dgx1 : public testing::Test {
 protected:
  std::shared_ptr<const MachineType> type_ = MustMake(*CatalogMachine("dgx-1-v100"));
  Eigen::MatrixXi direct_ = type_->graph().DirectFabric();

  std::int64_t Rings(CardSet set) const {
    std::vector<int> rows;
    for (const int c : set) rows.push_back(c);
    return RingPacking(direct_(rows, rows));
  }
  // What go-gpuallocator and HAMi add up: 100 a link, and 10 or 20..50 for the PCIe distance.
  int PairSum(CardSet set) const {
    int sum = 0;
    for (const int a : set) {
      for (const int b : set) {
        if (a >= b) continue;
        sum += direct_(a, b) / 20'000 * 100 + (a / 4 != b / 4 ? 10 : (a / 2 != b / 2 ? 30 : 50));
      }
    }
    return sum;
  }
  std::vector<CardSet> MaxPairSum(int size) const {
    int most = 0;
    std::vector<CardSet> sets;
    for (std::uint64_t mask = 1; mask < 256; ++mask) {
      if (std::popcount(mask) != size) continue;
      const int sum = PairSum(CardSet(mask));
      if (sum > most) sets.clear();
      most = std::max(most, sum);
      if (sum == most) sets.push_back(CardSet(mask));
    }
    return sets;
  }
};

TEST_F(Dgx1, FiveCardsNeedARingNotPairs) {
  const CardSet best = type_->BestSet(All(8), 5);
  EXPECT_EQ(type_->Bandwidth(best), 40'000);
  EXPECT_EQ(Rings(best), 40'000);
  const std::vector<CardSet> by_pairs = MaxPairSum(5);
  ASSERT_FALSE(by_pairs.empty());
  for (const CardSet set : by_pairs) {
    EXPECT_EQ(Rings(set), 0) << set.bits();  // no ring at all: PCIe
    EXPECT_LE(type_->Bandwidth(set), 10'000);
  }
}

TEST_F(Dgx1, SixCardsReachEighty) {
  EXPECT_EQ(type_->Bandwidth(type_->BestSet(All(8), 6)), 80'000);
  for (const CardSet set : MaxPairSum(6)) EXPECT_LE(type_->Bandwidth(set), 40'000) << set.bits();
  EXPECT_EQ(type_->Best(4), 80'000);
  EXPECT_EQ(type_->Best(8), 120'000);
}

// Blink (MLSys 2020) counts 46 different allocations of 3 to 8 cards on this machine.
TEST_F(Dgx1, FortySixConnectedAllocationsUpToIsomorphism) {
  std::map<int, std::set<std::vector<int>>> shapes;
  for (std::uint64_t mask = 1; mask < 256; ++mask) {
    const CardSet set(mask);
    if (set.size() < 3) continue;
    std::vector<int> cards;
    for (const int c : set) cards.push_back(c);
    std::uint64_t reached = mask & (~mask + 1);
    for (int i = 0; i < 8; ++i) {
      for (const int a : cards) {
        for (const int b : cards) {
          if (((reached >> a) & 1) != 0 && direct_(a, b) > 0) reached |= std::uint64_t{1} << b;
        }
      }
    }
    if (reached != mask) continue;
    // The smallest of all ways to write the links down.
    std::vector<int> least;
    std::ranges::sort(cards);
    do {
      std::vector<int> links;
      for (std::size_t i = 0; i < cards.size(); ++i) {
        for (std::size_t j = 0; j < i; ++j) links.push_back(direct_(cards[i], cards[j]));
      }
      if (least.empty() || links < least) least = links;
    } while (std::next_permutation(cards.begin(), cards.end()));
    shapes[set.size()].insert(least);
  }
  std::vector<std::size_t> counts;
  for (const auto& [size, different] : shapes) counts.push_back(different.size());
  EXPECT_EQ(counts, (std::vector<std::size_t>{5, 14, 14, 10, 2, 1}));
}

TEST_F(Dgx1, TakesPairsThatLeaveGoodSets) {
  // {0,3} and {4,7} are double links; two cards are taken so that four good ones stay.
  const CardSet pair = type_->BestSet(All(8), 2);
  EXPECT_EQ(type_->Bandwidth(pair), 40'000);
  EXPECT_EQ(type_->Intact(4, CardSet(All(8).bits() ^ pair.bits())), 1);
  EXPECT_EQ(type_->Copies(All(8), 2, 40'000), 4);
  EXPECT_EQ(type_->Copies(All(8), 4, 80'000), 2);
  EXPECT_EQ(type_->Copies(All(8), 3, 40'000), 2);
  EXPECT_EQ(type_->Copies(All(8), 2, 40'001), 0);
}

}  // namespace
}  // namespace basalt::topology
