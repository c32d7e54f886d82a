// The card rules of HAMi and go-gpuallocator, on machines where their picks are known.
#include "topology/peer_rules.h"

#include <gtest/gtest.h>

#include "scheduler-core/base/rng.h"
#include "topology/bandwidth.h"
#include "topology/files/catalog.h"

namespace basalt::topology {
namespace {

int Sum(const Eigen::MatrixXi& scores, CardSet set) {
  int sum = 0;
  for (const int a : set) {
    for (const int b : set) sum += a < b ? scores(a, b) : 0;
  }
  return sum;
}

TEST(PeerRules, PairScoresAreThePublishedOnes) {
  const auto graph = CatalogMachine("dgx-1-v100");
  ASSERT_TRUE(graph.has_value());
  const Eigen::MatrixXi scores = PairScores(*graph);
  EXPECT_EQ(scores(0, 3), 200 + 20);  // two NVLinks, same socket
  EXPECT_EQ(scores(0, 1), 100 + 50);  // one NVLink, one PCIe switch
  EXPECT_EQ(scores(0, 4), 200 + 10);  // two NVLinks, across sockets
  EXPECT_EQ(scores(0, 5), 10);        // nothing but PCIe
  EXPECT_EQ(scores, scores.transpose());
  const auto switched = CatalogMachine("hgx-h100");
  ASSERT_TRUE(switched.has_value());
  EXPECT_GE(PairScores(*switched)(0, 7), 1800);  // 18 links over the switch
}

TEST(PeerRules, PairSumPicksFiveWithoutARing) {
  const auto graph = CatalogMachine("dgx-1-v100");
  const auto type = MachineType::Make(*graph);
  ASSERT_TRUE(type.has_value());
  const Eigen::MatrixXi scores = PairScores(*graph);
  const CardSet all(0xFF);
  const CardSet five = PairSumSet(scores, all, 5);
  EXPECT_EQ(five.size(), 5);
  EXPECT_LT((*type)->Bandwidth(five), 20'000);  // no NVLink ring: PCIe
  EXPECT_EQ((*type)->Bandwidth((*type)->BestSet(all, 5)), 40'000);
  EXPECT_LT((*type)->Bandwidth(PairSumSet(scores, all, 6)), 80'000);
  EXPECT_EQ((*type)->Bandwidth((*type)->BestSet(all, 6)), 80'000);
  for (const int k : {2, 3, 4, 7, 8}) {  // where it is fine
    EXPECT_EQ((*type)->Bandwidth(PairSumSet(scores, all, k)), (*type)->Best(k)) << k;
  }
}

TEST(PeerRules, PairSumIsTheLargestSumAndLowestFirst) {
  const auto graph = CatalogMachine("dgx-1-v100");
  const Eigen::MatrixXi scores = PairScores(*graph);
  Rng rng(5);
  for (int i = 0; i < 200; ++i) {
    const CardSet free(1 + rng.Below(255));
    const int k = 2 + static_cast<int>(rng.Below(5));
    const CardSet picked = PairSumSet(scores, free, k);
    if (free.size() < k) {
      EXPECT_TRUE(picked.empty());
      continue;
    }
    for (std::uint64_t mask = 0; mask < 256; ++mask) {
      const CardSet other(mask);
      if (other.size() != k || (mask & ~free.bits()) != 0) continue;
      EXPECT_LE(Sum(scores, other), Sum(scores, picked));
    }
  }
  // One card: the one whose loss costs the others least.
  const CardSet one = PairSumSet(scores, CardSet(0b1111), 1);
  EXPECT_EQ(one.size(), 1);
}

TEST(PeerRules, GoAllocatorKeepsPairsTogether) {
  const auto graph = CatalogMachine("dgx-1-v100");
  const Eigen::MatrixXi scores = PairScores(*graph);
  // Of {0,1,2,3} the partition {0,3},{1,2} is the best (2 + 2 links); {2,3} alone would be too, but
  // leaves {0,1} with one link.
  const CardSet two = GoAllocatorSet(scores, CardSet(0b1111), 2);
  EXPECT_TRUE(two == CardSet(0b1001) || two == CardSet(0b0110)) << two.bits();
  EXPECT_EQ(GoAllocatorSet(scores, CardSet(0xFF), 8), CardSet(0xFF));
  EXPECT_EQ(GoAllocatorSet(scores, CardSet(0b11110000), 1), CardSet::Of(4));  // the first
  for (std::uint64_t mask = 1; mask < 256; ++mask) {
    for (int k = 1; k <= 8; ++k) {
      const CardSet set = GoAllocatorSet(scores, CardSet(mask), k);
      if (CardSet(mask).size() < k) {
        EXPECT_TRUE(set.empty());
      } else {
        EXPECT_EQ(set.size(), k);
        EXPECT_EQ(set.bits() & ~mask, 0U);
      }
    }
  }
}

}  // namespace
}  // namespace basalt::topology
