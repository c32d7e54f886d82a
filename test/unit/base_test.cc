// Ids, digest, random numbers, suggestions: what every other part stands on. The golden numbers are
// there so that a change of compiler, library or machine that changes decisions is noticed here.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <set>
#include <type_traits>
#include <vector>

#include "scheduler-core/base/digest.h"
#include "scheduler-core/base/ids.h"
#include "scheduler-core/base/result.h"
#include "scheduler-core/base/rng.h"
#include "scheduler-core/base/suggest.h"
#include "scheduler-core/base/units.h"

namespace basalt {
namespace {

TEST(Ids, DefaultIsInvalidAndOrderIsByValue) {
  EXPECT_FALSE(NodeId().valid());
  EXPECT_TRUE(NodeId(std::uint32_t{0}).valid());
  EXPECT_LT(NodeId(std::uint32_t{1}), NodeId(std::uint32_t{2}));
  EXPECT_EQ(NodeId(std::size_t{7}).index(), 7U);
}

TEST(Ids, KindsDoNotConvert) {
  static_assert(!std::is_convertible_v<std::uint32_t, NodeId>);
  static_assert(!std::is_constructible_v<NodeId, ShapeId>);
  static_assert(!std::is_convertible_v<NodeId, std::uint32_t>);
  SUCCEED();
}

TEST(IdVector, PushBackReturnsTheIdThatReadsBack) {
  IdVector<NodeId, std::string> v;
  const NodeId a = v.push_back("a");
  const NodeId b = v.push_back("b");
  EXPECT_EQ(v[a], "a");
  EXPECT_EQ(v[b], "b");
  EXPECT_EQ(v.size(), 2U);
  EXPECT_TRUE(v.contains(b));
  EXPECT_FALSE(v.contains(NodeId()));
  v.resize(4, "x");
  EXPECT_EQ(v[NodeId(std::size_t{3})], "x");
}

TEST(Digest, OrderMatters) {
  Digest ab;
  ab.Add(std::uint64_t{1});
  ab.Add(std::uint64_t{2});
  Digest ba;
  ba.Add(std::uint64_t{2});
  ba.Add(std::uint64_t{1});
  EXPECT_NE(ab.value(), ba.value());
}

TEST(Digest, BoundariesOfStringsMatter) {
  Digest one;
  one.Add("ab");
  one.Add("c");
  Digest two;
  two.Add("a");
  two.Add("bc");
  EXPECT_NE(one.value(), two.value());
  Digest empty;
  empty.Add("");
  EXPECT_NE(empty.value(), Digest().value());
}

TEST(Digest, StringsAreNotTheNumbersOfTheirBytes) {
  Digest text;
  text.Add("a");
  Digest number;
  number.Add(std::uint64_t{'a'});
  EXPECT_NE(text.value(), number.value());
}

TEST(Digest, SignedAndUnsignedOfOneValueAgree) {
  Digest a;
  a.Add(std::int32_t{-5});
  Digest b;
  b.Add(std::int64_t{-5});
  EXPECT_EQ(a.value(), b.value());
  Digest c;
  c.Add(std::uint32_t{5});
  Digest d;
  d.Add(std::uint64_t{5});
  EXPECT_EQ(c.value(), d.value());
}

// Computed once by an independent implementation (Python integers).
TEST(Digest, KnownValuesAreTheSameOnEveryMachine) {
  EXPECT_EQ(Digest().value().ToHex(), "1e20c712152eba62a68dc65f3c42d46c");
  EXPECT_EQ(DigestOf("").ToHex(), "b6c4c26f4497705b19588cbc14646f18");
  EXPECT_EQ(DigestOf("basalt").ToHex(), "db4b5826ceba285819b17156052f0e6c");
  EXPECT_EQ(DigestOf("columns tile without gaps").ToHex(), "43291c368b4f2e8f3b0d8ca7877d4314");
  Digest mixed;
  mixed.Add(std::int64_t{-1});
  mixed.Add("node-0001");
  mixed.Add(std::uint32_t{1000});
  EXPECT_EQ(mixed.value().ToHex(), "127fc9408227a4acf421c1567ed72156");
}

TEST(Digest, NoCollisionsAmongManySmallInputs) {
  std::set<std::pair<std::uint64_t, std::uint64_t>> seen;
  for (std::uint64_t i = 0; i < 300; ++i) {
    for (std::uint64_t j = 0; j < 300; ++j) {
      Digest d;
      d.Add(i);
      d.Add(j);
      seen.emplace(d.value().hi, d.value().lo);
    }
  }
  EXPECT_EQ(seen.size(), 90'000U);
}

TEST(Digest, HexIsThirtyTwoDigitsHighFirst) {
  EXPECT_EQ((Digest128{0x0123456789abcdefULL, 0x10}).ToHex(), "0123456789abcdef0000000000000010");
}

// pcg32 with seed 42, stream 54 is the example of its authors (pcg-cpp, sample).
TEST(Rng, MatchesTheAuthorsSample) {
  Rng rng(42, 54);
  const std::array<std::uint32_t, 6> expected = {0xa15c02b7, 0x7b47f409, 0xba1d3330,
                                                 0x83d2f293, 0xbfa4784b, 0xcbed606e};
  for (const std::uint32_t value : expected) EXPECT_EQ(rng.Next(), value);
}

TEST(Rng, StreamsDiffer) {
  Rng a(1, 0);
  Rng b(1, 1);
  int same = 0;
  for (int i = 0; i < 1000; ++i) same += a.Next() == b.Next() ? 1 : 0;
  EXPECT_LT(same, 3);
}

TEST(Rng, BelowStaysBelowAndIsUniform) {
  Rng rng(7);
  std::array<int, 10> counts{};
  for (int i = 0; i < 100'000; ++i) {
    const std::uint32_t v = rng.Below(10);
    ASSERT_LT(v, 10U);
    ++counts[v];
  }
  double chi2 = 0;
  for (const int n : counts) chi2 += (n - 10'000.0) * (n - 10'000.0) / 10'000.0;
  EXPECT_LT(chi2, 27.9);  // 9 degrees of freedom, p = 0.001
}

// Multiply-and-reject must reject: with a bound just above 2^31 nearly half of the draws are.
TEST(Rng, BelowIsUnbiasedForLargeBounds) {
  Rng rng(8);
  constexpr std::uint32_t kBound = (1U << 31) + 1;
  int high = 0;
  for (int i = 0; i < 20'000; ++i) {
    const std::uint32_t v = rng.Below(kBound);
    ASSERT_LT(v, kBound);
    high += v >= kBound / 2 ? 1 : 0;
  }
  EXPECT_NEAR(high, 10'000, 350);
  EXPECT_EQ(Rng(3).Below(1), 0U);
}

TEST(Rng, UnitIsInTheHalfOpenInterval) {
  Rng rng(9);
  double sum = 0;
  for (int i = 0; i < 10'000; ++i) {
    const double u = rng.Unit();
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    sum += u;
  }
  EXPECT_NEAR(sum / 10'000, 0.5, 0.01);
}

// The order was computed by an independent implementation of PCG-XSH-RR 64/32.
TEST(Rng, ShuffleIsAPermutationAndGolden) {
  std::vector<int> items(12);
  std::iota(items.begin(), items.end(), 0);
  Rng rng(42, 10);
  rng.Shuffle(std::span(items));
  EXPECT_THAT(items, testing::ElementsAre(7, 3, 5, 4, 11, 6, 10, 8, 1, 0, 2, 9));
  std::sort(items.begin(), items.end());
  for (int i = 0; i < 12; ++i) EXPECT_EQ(items[static_cast<std::size_t>(i)], i);
}

TEST(Rng, ShuffleReachesEveryOrder) {
  std::set<std::array<int, 3>> orders;
  Rng rng(1);
  for (int i = 0; i < 200; ++i) {
    std::array<int, 3> items = {0, 1, 2};
    rng.Shuffle(std::span<int>(items));
    orders.insert(items);
  }
  EXPECT_EQ(orders.size(), 6U);
}

TEST(Suggest, NearNamesAndContainedWords) {
  const std::vector<std::string> names = {"best-fit", "binpack", "fgd", "spread"};
  EXPECT_EQ(NearestName("pack", names), "binpack");
  EXPECT_EQ(NearestName("binpak", names), "binpack");
  EXPECT_EQ(NearestName("bestfit", names), "best-fit");
  EXPECT_EQ(NearestName("zzzzzzzzz", names), "");
  EXPECT_EQ(NearestName(std::string(300, 'x'), names), "");
}

TEST(Suggest, TextListsWhatIsKnownWhenNothingIsNear) {
  const std::vector<std::string> names = {"fgd", "spread"};
  EXPECT_EQ(SuggestText("qqqqqqqqqq", names), "\"qqqqqqqqqq\"; known: fgd, spread");
  EXPECT_EQ(SuggestText("spraed", names), "\"spraed\"; did you mean \"spread\"?");
}

TEST(Suggest, EditDistance) {
  EXPECT_EQ(EditDistance("", "abc"), 3U);
  EXPECT_EQ(EditDistance("kitten", "sitting"), 3U);
  EXPECT_EQ(EditDistance("same", "same"), 0U);
}

TEST(Result, ErrorTextPutsThePlaceFirst) {
  EXPECT_EQ((Error{"a.yaml:3:7", "bad"}).ToString(), "a.yaml:3:7: bad");
  EXPECT_EQ((Error{"", "bad"}).ToString(), "bad");
}

TEST(SimTime, SecondsAreMicroseconds) {
  EXPECT_EQ(SimTime::Seconds(3).us, 3'000'000);
  EXPECT_EQ(SimTime::Seconds(1).Plus(5), SimTime{1'000'005});
  EXPECT_LT(SimTime{1}, SimTime{2});
}

}  // namespace
}  // namespace basalt
