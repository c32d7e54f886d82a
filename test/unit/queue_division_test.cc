// Division of amounts: against every saturated set on small numbers, properties on random ones, and
// dominant shares against a bisection in floating point.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "scheduler-core/base/rng.h"
#include "scheduler-core/queueing/division.h"
#include "test/support/cluster.h"

namespace basalt {
namespace {

using Numbers = std::vector<std::int64_t>;

Numbers Fill(std::int64_t amount, const std::vector<FillItem>& items,
             std::int64_t* left = nullptr) {
  FillScratch scratch;
  Numbers out(items.size(), 0);
  const std::int64_t rest = WaterFill(amount, items, out, &scratch);
  if (left != nullptr) *left = rest;
  return out;
}

// The definition: of all sets of items at their limits, the one that one level explains.
Numbers FillByDefinition(std::int64_t amount, const std::vector<FillItem>& items) {
  std::int64_t wanted = 0;
  for (const FillItem& item : items) wanted += item.weight > 0 ? item.limit : 0;
  Numbers out(items.size(), 0);
  if (wanted <= amount) {
    for (std::size_t i = 0; i < items.size(); ++i)
      out[i] = items[i].weight > 0 ? items[i].limit : 0;
    return out;
  }
  for (std::uint32_t full = 0; full < (1U << items.size()); ++full) {
    std::int64_t rest = amount;
    std::int64_t weight = 0;
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (full >> i & 1) {
        rest -= items[i].limit;
      } else {
        weight += items[i].weight;
      }
    }
    if (rest < 0 || weight == 0) continue;
    bool explains = true;  // the level is rest / weight
    for (std::size_t i = 0; i < items.size() && explains; ++i) {
      if (items[i].weight == 0) {
        explains = !(full >> i & 1);
      } else {
        explains = (items[i].limit * weight <= items[i].weight * rest) == ((full >> i & 1) != 0);
      }
    }
    if (!explains) continue;
    std::vector<std::pair<std::int64_t, std::size_t>> remainders;
    std::int64_t left = rest;
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (full >> i & 1) {
        out[i] = items[i].limit;
        continue;
      }
      out[i] = items[i].weight * rest / weight;
      left -= out[i];
      remainders.emplace_back(-(items[i].weight * rest % weight), i);
    }
    std::sort(remainders.begin(), remainders.end());
    for (std::int64_t k = 0; k < left; ++k) ++out[remainders[static_cast<std::size_t>(k)].second];
    return out;
  }
  ADD_FAILURE() << "no level explains the division";
  return out;
}

TEST(WaterFill, DividesByWeightUpToLimits) {
  EXPECT_EQ(Fill(10, {{100, 1}, {100, 1}}), (Numbers{5, 5}));
  EXPECT_EQ(Fill(10, {{100, 3}, {100, 1}, {100, 1}}), (Numbers{6, 2, 2}));
  EXPECT_EQ(Fill(10, {{2, 3}, {100, 1}, {100, 1}}), (Numbers{2, 4, 4}));
  EXPECT_EQ(Fill(10, {{100, 0}, {3, 1}}), (Numbers{0, 3}));
  // 10 / 3: the unit that does not divide goes to the first of equals; 10 x 2/7 = 2.86 before 1.43.
  EXPECT_EQ(Fill(10, {{100, 1}, {100, 1}, {100, 1}}), (Numbers{4, 3, 3}));
  EXPECT_EQ(Fill(10, {{100, 1}, {100, 2}, {100, 2}, {100, 2}}), (Numbers{1, 3, 3, 3}));
  std::int64_t left = -1;
  Fill(10, {{3, 1}, {4, 7}}, &left);
  EXPECT_EQ(left, 3);
}

TEST(WaterFill, EqualsTheDefinitionOnSmallNumbers) {
  for (int round = 0; round < support::Scaled(20'000); ++round) {
    SCOPED_TRACE(testing::Message() << "seed " << round);
    Rng rng(static_cast<std::uint64_t>(round));
    std::vector<FillItem> items(1 + rng.Below(7));
    for (FillItem& item : items) item = {rng.Below(12), rng.Below(5)};
    const std::int64_t amount = rng.Below(50);
    ASSERT_EQ(Fill(amount, items), FillByDefinition(amount, items));
  }
}

// Limits that settle one item a round: the amount left over those left is just above each limit.
TEST(WaterFill, ManyRoundsGiveTheSame) {
  for (const std::size_t n : {20U, 300U}) {
    std::vector<FillItem> items;
    for (std::size_t i = 0; i < n; ++i) {
      items.push_back({static_cast<std::int64_t>(1'000'000 + 3 * i), 1});
    }
    std::int64_t sum = 0;
    for (const FillItem& item : items) sum += item.limit;
    for (const std::int64_t amount : {sum - 1, sum - 5, sum - static_cast<std::int64_t>(n)}) {
      const Numbers out = Fill(amount, items);
      EXPECT_EQ(std::accumulate(out.begin(), out.end(), std::int64_t{0}), amount);
      // Equal weights: everyone has the same or its limit.
      const std::int64_t most = *std::max_element(out.begin(), out.end());
      for (std::size_t i = 0; i < n; ++i) {
        EXPECT_TRUE(out[i] == items[i].limit || out[i] >= most - 1) << i;
        EXPECT_LE(out[i], items[i].limit);
      }
    }
  }
  // Each item's limit is what would be its part when all before it have theirs.
  std::vector<FillItem> chain;
  std::int64_t rest = 1'000'000'000;
  for (std::int64_t n = 64; n > 1; --n) {
    chain.push_back({rest / n, 1});
    rest -= rest / n;
  }
  chain.push_back({rest + 1000, 1});
  const Numbers out = Fill(1'000'000'000, chain);
  EXPECT_EQ(std::accumulate(out.begin(), out.end(), std::int64_t{0}), 1'000'000'000);
  for (std::size_t i = 0; i + 1 < chain.size(); ++i) EXPECT_EQ(out[i], chain[i].limit) << i;
}

std::vector<ShareClaim> RandomClaims(Rng& rng, std::size_t n, std::int64_t scale) {
  std::vector<ShareClaim> claims(n);
  const auto below = [&](std::int64_t bound) {
    return static_cast<std::int64_t>(rng.Unit() * static_cast<double>(bound));
  };
  for (ShareClaim& c : claims) {
    c.guarantee = rng.Below(2) ? 0 : below(scale);
    c.deserved = c.guarantee + (rng.Below(2) ? 0 : below(scale));
    c.limit = below(3 * scale);
    c.weight = rng.Below(5) == 0 ? 0 : 1 + rng.Below(9);
    c.spare_weight = c.weight;
    c.priority = static_cast<std::int32_t>(rng.Below(3));
  }
  return claims;
}

Numbers Divide(std::int64_t amount, const std::vector<ShareClaim>& claims,
               std::int64_t* left = nullptr) {
  FillScratch scratch;
  Numbers out(claims.size(), -1);
  const std::int64_t rest = DivideAmount(amount, claims, out, &scratch);
  if (left != nullptr) *left = rest;
  return out;
}

TEST(DivideAmount, GuaranteeThenDeservedThenPriorityThenWeight) {
  // Guarantees 4; deserved 6 more to the second; the third has priority; then 1 : 3.
  const std::vector<ShareClaim> claims = {
      {4, 4, 100, 1, 1, 0}, {0, 6, 100, 3, 3, 0}, {0, 0, 5, 1, 1, 7}, {0, 0, 100, 0, 0, 9}};
  EXPECT_EQ(Divide(4, claims), (Numbers{4, 0, 0, 0}));
  EXPECT_EQ(Divide(10, claims), (Numbers{4, 6, 0, 0}));
  EXPECT_EQ(Divide(13, claims), (Numbers{4, 6, 3, 0}));
  EXPECT_EQ(Divide(23, claims), (Numbers{6, 12, 5, 0}));
  // Too little for the guarantees: equal fractions of them.
  EXPECT_EQ(Divide(6, {{8, 8, 100, 1, 1, 0}, {4, 4, 100, 50, 50, 9}}), (Numbers{4, 2}));
  // Spare weight takes what those with weight leave.
  EXPECT_EQ(Divide(20, {{0, 0, 5, 1, 1, 0}, {0, 0, 100, 0, 3, 0}, {0, 0, 100, 0, 1, 0}}),
            (Numbers{5, 11, 4}));
}

TEST(DivideAmount, PropertiesOnRandomClaims) {
  for (int round = 0; round < support::Scaled(5'000); ++round) {
    SCOPED_TRACE(testing::Message() << "seed " << round);
    Rng rng(static_cast<std::uint64_t>(round), 1);
    const std::size_t n = 1 + rng.Below(12);
    const std::int64_t scale = round % 2 ? 20 : 1'000'000'000;
    const std::vector<ShareClaim> claims = RandomClaims(rng, n, scale);
    const auto amount = static_cast<std::int64_t>(rng.Unit() * static_cast<double>(n) * 2 *
                                                  static_cast<double>(scale));
    std::int64_t left = -1;
    const Numbers out = Divide(amount, claims, &left);
    std::int64_t sum = 0;
    std::int64_t guaranteed = 0;
    for (std::size_t i = 0; i < n; ++i) {
      ASSERT_GE(out[i], 0);
      ASSERT_LE(out[i], std::max<std::int64_t>(0, claims[i].limit));
      sum += out[i];
      guaranteed += std::min(claims[i].guarantee, claims[i].limit);
      if (claims[i].weight == 0) {
        ASSERT_LE(out[i], claims[i].deserved);
      }
    }
    // All is given, or everyone who may have more has its limit.
    ASSERT_EQ(sum + left, amount);
    if (left > 0) {
      for (std::size_t i = 0; i < n; ++i) {
        const std::int64_t most =
            claims[i].weight > 0 ? claims[i].limit : std::min(claims[i].limit, claims[i].deserved);
        ASSERT_EQ(out[i], most) << i;
      }
    }
    if (guaranteed <= amount) {
      for (std::size_t i = 0; i < n; ++i) {
        ASSERT_GE(out[i], std::min(claims[i].guarantee, claims[i].limit)) << i;
      }
    }
    // Monotone in the own weight.
    const std::size_t who = rng.Below(static_cast<std::uint32_t>(n));
    std::vector<ShareClaim> heavier = claims;
    heavier[who].weight += 1 + rng.Below(4);
    heavier[who].spare_weight = heavier[who].weight;
    ASSERT_GE(Divide(amount, heavier)[who], out[who]);
    // The order of input moves no more than the units that do not divide: at most one a step.
    std::vector<std::size_t> order(n);
    std::iota(order.begin(), order.end(), 0);
    rng.Shuffle(std::span(order));
    std::vector<ShareClaim> shuffled;
    for (const std::size_t i : order) shuffled.push_back(claims[i]);
    const Numbers other = Divide(amount, shuffled);
    for (std::size_t k = 0; k < n; ++k) {
      ASSERT_LE(std::abs(other[k] - out[order[k]]), 1) << order[k];
    }
  }
}

// Progressive filling in floating point, phase by phase; the level of a phase by bisection.
std::vector<double> DominantByBisection(const Limits& total, const std::vector<DrfUser>& users,
                                        std::size_t resources) {
  const auto demand = [&](std::size_t u, std::size_t r) {
    return static_cast<double>(users[u].demand[ResourceId(r)]);
  };
  const auto has = [&](std::size_t r) { return static_cast<double>(total[ResourceId(r)]); };
  std::vector<double> dominant(users.size(), 0);
  for (std::size_t u = 0; u < users.size(); ++u) {
    for (std::size_t r = 0; r < resources; ++r) {
      dominant[u] = std::max(dominant[u], demand(u, r) / has(r));
    }
  }
  std::vector<double> fraction(users.size(), -1);  // fixed ones
  const auto at = [&](std::size_t u, double level) {
    if (fraction[u] >= 0) return fraction[u];
    const double one = static_cast<double>(kDrfOne);
    const double most = static_cast<double>(users[u].ceiling) / one;
    const double least = static_cast<double>(users[u].floor) / one;
    const double grown = static_cast<double>(users[u].weight) * level / dominant[u];
    return std::min(most, std::max(least, grown));
  };
  const auto used = [&](std::size_t r, double level) {
    double sum = 0;
    for (std::size_t u = 0; u < users.size(); ++u) sum += demand(u, r) * at(u, level);
    return sum;
  };
  for (;;) {
    double low = 0;
    double high = 1e9;
    for (int i = 0; i < 200; ++i) {
      const double middle = (low + high) / 2;
      bool fits = true;
      for (std::size_t r = 0; r < resources; ++r) fits &= used(r, middle) <= has(r) * (1 + 1e-12);
      (fits ? low : high) = middle;
    }
    bool fixed = false;
    std::vector<double> now(users.size());
    for (std::size_t u = 0; u < users.size(); ++u) now[u] = at(u, low);
    for (std::size_t r = 0; r < resources; ++r) {
      if (used(r, low) < has(r) * (1 - 1e-9)) continue;
      for (std::size_t u = 0; u < users.size(); ++u) {
        if (fraction[u] < 0 && demand(u, r) > 0) {
          fraction[u] = now[u];
          fixed = true;
        }
      }
    }
    if (!fixed) {
      for (std::size_t u = 0; u < users.size(); ++u) fraction[u] = now[u];
      return fraction;
    }
  }
}

// Unlimited demand of the same task: the share is decided by the totals alone.
TEST(DivideDominant, PublishedExample) {
  // 9 CPUs, 18 GB; tasks <1, 4> and <3, 1>: dominant shares 2/3 each, 3 and 2 tasks.
  Limits total;
  total.Set(ResourceId(0U), 9);
  total.Set(ResourceId(1U), 18);
  std::vector<DrfUser> users(2);
  const auto tasks = [&](DrfUser& user, std::int64_t cpu, std::int64_t memory) {
    user.demand.Set(ResourceId(0U), cpu * 100);
    user.demand.Set(ResourceId(1U), memory * 100);
  };
  tasks(users[0], 1, 4);
  tasks(users[1], 3, 1);
  const auto fractions = DivideDominant(total, users);
  EXPECT_NEAR(static_cast<double>(fractions[0]) * 100 / static_cast<double>(kDrfOne), 3, 1e-6);
  EXPECT_NEAR(static_cast<double>(fractions[1]) * 100 / static_cast<double>(kDrfOne), 2, 1e-6);
}

TEST(DivideDominant, WhatIsNotLimitedOrNotThere) {
  const ResourceId cpu(0U), sku(1U), absent(2U);
  Limits total;
  total.Set(cpu, 10);
  total.Set(absent, 0);
  std::vector<DrfUser> users(4);
  users[0].demand.Set(cpu, 20);
  users[1].demand.Set(sku, 5);     // no hardware limits it
  users[2].demand.Set(absent, 1);  // the cluster has none
  users[2].demand.Set(cpu, 20);
  users[3].weight = 0;  // never more than its floor
  users[3].floor = kDrfOne / 10;
  users[3].demand.Set(cpu, 20);
  const auto fractions = DivideDominant(total, users);
  EXPECT_NEAR(static_cast<double>(fractions[0]), 0.4 * static_cast<double>(kDrfOne), 100);
  EXPECT_EQ(fractions[1], kDrfOne);
  EXPECT_EQ(fractions[2], 0);
  EXPECT_NEAR(static_cast<double>(fractions[3]), 0.1 * static_cast<double>(kDrfOne), 100);
  // Floors that do not fit are cut alike.
  std::vector<DrfUser> both(2);
  for (DrfUser& user : both) user.demand.Set(cpu, 20), user.floor = kDrfOne;
  for (const std::int64_t fraction : DivideDominant(total, both)) {
    EXPECT_NEAR(static_cast<double>(fraction), 0.25 * static_cast<double>(kDrfOne), 100);
  }
}

TEST(DivideDominant, WithinOnePercentOfTheAnalyticSolution) {
  double worst = 0;
  for (int round = 0; round < support::Scaled(2'000); ++round) {
    SCOPED_TRACE(testing::Message() << "seed " << round);
    Rng rng(static_cast<std::uint64_t>(round), 2);
    const std::size_t resources = 1 + rng.Below(6);
    Limits total;
    for (std::size_t r = 0; r < resources; ++r) {
      total.Set(ResourceId(r), 1000 + rng.Below(round % 3 ? 1'000'000 : 2'000'000'000));
    }
    std::vector<DrfUser> users(1 + rng.Below(20));
    const bool floors = rng.Below(2) != 0;
    for (DrfUser& user : users) {
      for (std::size_t r = 0; r < resources; ++r) {
        if (rng.Below(3) == 0) continue;
        const double part = rng.Unit() * (rng.Below(4) ? 0.2 : 2);
        user.demand.Set(ResourceId(r), static_cast<std::int64_t>(
                                           part * static_cast<double>(total[ResourceId(r)])));
      }
      if (user.demand.IsZero()) user.demand.Set(ResourceId(0U), 7);
      user.weight = 1 + rng.Below(10);
      if (rng.Below(4) == 0) user.ceiling = kDrfOne / (1 + rng.Below(5));
      if (floors) user.floor = std::min(user.ceiling, kDrfOne / (50 + rng.Below(1000)));
    }
    const auto exact = DominantByBisection(total, users, resources);
    const auto fractions = DivideDominant(total, users);
    for (std::size_t u = 0; u < users.size(); ++u) {
      const double fraction = static_cast<double>(fractions[u]) / static_cast<double>(kDrfOne);
      const double off = std::abs(fraction - exact[u]) / exact[u];
      worst = std::max(worst, off);
      ASSERT_LT(off, 0.01) << "user " << u << ": " << fraction << ", exactly " << exact[u];
    }
    for (std::size_t r = 0; r < resources; ++r) {  // and never above the total
      __extension__ __int128 used = 0;
      for (std::size_t u = 0; u < users.size(); ++u) {
        used += static_cast<__int128>(fractions[u]) * users[u].demand[ResourceId(r)];
      }
      ASSERT_TRUE(used <= static_cast<__int128>(total[ResourceId(r)]) * kDrfOne);
    }
  }
  RecordProperty("worst_relative_error", std::to_string(worst));
  EXPECT_LT(worst, 1e-5);
}

}  // namespace
}  // namespace basalt
