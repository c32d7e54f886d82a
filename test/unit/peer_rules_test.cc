// The card rules of HAMi and go-gpuallocator, on machines where their picks are known.
#include "topology/peer_rules.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "scheduler-core/base/rng.h"
#include "topology/bandwidth.h"
#include "topology/files/catalog.h"
#include "topology/pair_scores.h"
#include "topology/synthetic.h"

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

// A machine is its pair scores again, for every NVIDIA machine of the catalog.
TEST(PairScores, AreReadBackwards) {
  int machines = 0;
  for (const std::string& name : CatalogNames()) {
    SCOPED_TRACE(name);
    const auto entry = FindCatalogEntry(name);
    ASSERT_TRUE(entry.has_value());
    if (entry->graph.vendor != "NVIDIA") continue;
    const Eigen::MatrixXi scores = PairScores(entry->graph);
    const auto made = GraphOfPairScores(scores, entry->card_model, {}, "scores");
    ASSERT_TRUE(made.has_value()) << made.error().ToString();
    EXPECT_EQ(PairScores(*made), scores) << FormatGraph(*made);
    EXPECT_EQ(made->warnings.size(), 1U);  // that speeds are the model's
    const auto type = MachineType::Make(*made);
    ASSERT_TRUE(type.has_value()) << type.error().ToString();
    EXPECT_EQ((*type)->cards(), entry->graph.cards());
    ++machines;
  }
  EXPECT_GE(machines, 8);
}

// Any tree of switches, bridges and NUMA nodes, with any NVLinks that V100s can have.
TEST(PairScores, OfRandomTreesAreReadBackwards) {
  Rng rng(7);
  for (int round = 0; round < 300; ++round) {
    SCOPED_TRACE(round);
    const int cards = 1 + static_cast<int>(rng.Below(10));
    std::vector<std::array<std::uint64_t, 4>> at(static_cast<std::size_t>(cards));
    for (auto& path : at) path = {rng.Below(2), rng.Below(2), rng.Below(2), rng.Below(2)};
    Eigen::MatrixXi scores = Eigen::MatrixXi::Zero(cards, cards);
    std::vector<int> left(static_cast<std::size_t>(cards), 6);
    for (int i = 0; i < cards; ++i) {
      for (int j = i + 1; j < cards; ++j) {
        const auto &a = at[static_cast<std::size_t>(i)], &b = at[static_cast<std::size_t>(j)];
        int score = 10;
        for (std::size_t k = 0; k < a.size() && a[k] == b[k]; ++k) score += 10;
        int& left_i = left[static_cast<std::size_t>(i)];
        int& left_j = left[static_cast<std::size_t>(j)];
        const int links = std::min({static_cast<int>(rng.Below(3)), left_i, left_j});
        left_i -= links;
        left_j -= links;
        scores(i, j) = scores(j, i) = score + 100 * links;
      }
    }
    const auto made = GraphOfPairScores(scores, "V100M32", {}, "scores");
    ASSERT_TRUE(made.has_value()) << made.error().ToString();
    EXPECT_EQ(PairScores(*made), scores) << FormatGraph(*made);
    EXPECT_EQ(made->warnings.size(), 1U);
  }
}

TEST(PairScores, ThatAreNoTreeAreWarnedOf) {
  Eigen::MatrixXi scores(3, 3);
  scores << 0, 50, 10, 50, 0, 50, 10, 50, 0;  // 0 and 2 are both beside 1, and far apart
  const auto made = GraphOfPairScores(scores, "A100", {0, 0, 0}, "scores");
  ASSERT_TRUE(made.has_value()) << made.error().ToString();
  EXPECT_EQ(made->warnings.size(), 2U);
  EXPECT_EQ(PairScores(*made)(0, 2), 50);
  // Of the two of a pair the smaller counts, as HAMi does where link lists differ.
  scores << 0, 150, 10, 50, 0, 10, 10, 10, 0;
  EXPECT_EQ(PairScores(*GraphOfPairScores(scores, "A100", {}, "scores"))(0, 1), 50);
}

TEST(PairScores, WhatIsRefused) {
  const auto why = [](const Eigen::MatrixXi& scores, const std::string& model) {
    const auto made = GraphOfPairScores(scores, model, {}, "scores");
    return made ? std::string() : made.error().ToString();
  };
  Eigen::MatrixXi scores = Eigen::MatrixXi::Zero(2, 2);
  EXPECT_EQ(why(Eigen::MatrixXi::Zero(2, 3), "A100"), "scores: pair scores of 2 x 3 cards");
  EXPECT_EQ(why(Eigen::MatrixXi::Zero(65, 65), "A100"), "scores: pair scores of 65 x 65 cards");
  scores(0, 1) = scores(1, 0) = -10;
  EXPECT_EQ(why(scores, "A100"), "scores: a pair score is negative");
  scores(0, 1) = scores(1, 0) = 5010;
  EXPECT_EQ(why(scores, "A100"), "scores: a pair score is 5010; the most is 1899");
  scores(0, 1) = scores(1, 0) = 110;
  EXPECT_EQ(why(scores, "Voodoo 2"),
            "scores: pair scores tell of NVLinks, but not which a \"Voodoo 2\" has");
  scores(0, 1) = scores(1, 0) = 50;
  EXPECT_EQ(why(scores, "Voodoo 2"), "");
}

}  // namespace
}  // namespace basalt::topology
