// Quotas in topology units: HiveD's safety on random histories, against private clusters.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>

#include "scheduler-core/base/rng.h"
#include "scheduler-core/queueing/slot_quota.h"
#include "test/support/cluster.h"

namespace basalt {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

CellChain Nodes(int nodes) {
  return {"A100", {{"card", 1}, {"pair", 2}, {"quad", 2}, {"node", 2}}, nodes};
}

SlotQuota Make(const CellChain& chain) {
  auto quota = SlotQuota::Create(chain);
  EXPECT_TRUE(quota.has_value());
  return std::move(*quota);
}

const QueueId kA(1U), kB(2U), kC(3U);

TEST(SlotQuota, RefusesWhatCannotBe) {
  EXPECT_FALSE(SlotQuota::Create({"x", {}, 1}).has_value());
  EXPECT_FALSE(SlotQuota::Create({"x", {{"card", 1}}, 0}).has_value());
  EXPECT_FALSE(SlotQuota::Create({"x", {{"card", 1}, {"node", 0}}, 1}).has_value());
  EXPECT_FALSE(SlotQuota::Create({"x", {{"card", 1}, {"card", 2}}, 1}).has_value());
  EXPECT_FALSE(SlotQuota::Create({"x", {{"card", 1}, {"node", 1 << 20}}, 1 << 20}).has_value());
  SlotQuota slots = Make(Nodes(4));
  EXPECT_EQ(slots.LevelOf("quad"), 2);
  EXPECT_EQ(slots.LevelOf("rack"), std::nullopt);
  EXPECT_TRUE(slots.SetQuota(kA, {0, 0, 2, 2}).has_value());
  EXPECT_THAT(slots.SetQuota(kB, {0, 0, 1, 1}).error().ToString(),
              HasSubstr("quotas do not fit 4 x 'node': too little is left for the 3 of level "
                        "'quad'"));
  EXPECT_TRUE(slots.SetQuota(kB, {0, 0, 0, 1}).has_value());
  EXPECT_FALSE(slots.SetQuota(kB, {0, 0, 0, 0, 1}).has_value());
  EXPECT_FALSE(slots.SetQuota(kB, {-1}).has_value());
  ASSERT_TRUE(slots.Allocate(kA, 0).has_value());
  EXPECT_THAT(slots.SetQuota(kA, {1}).error().ToString(), HasSubstr("drain it first"));
  EXPECT_EQ(slots.Available(kC, 0), 0);
  EXPECT_FALSE(slots.Allocate(kC, 0).has_value());
}

TEST(SlotQuota, OwnWorkDrivesOutOpportunistic) {
  SlotQuota slots = Make(Nodes(2));
  ASSERT_TRUE(slots.SetQuota(kA, {0, 0, 0, 1}).has_value());
  ASSERT_TRUE(slots.SetQuota(kB, {0, 0, 2}).has_value());
  std::vector<SlotQuota::Opportunistic> guests;
  while (const auto guest = slots.AllocateOpportunistic(2)) guests.push_back(*guest);
  ASSERT_EQ(guests.size(), 4U);
  slots.FreeOpportunistic(guests[1].id);
  // A quad of B goes where nobody runs; the node of A then evicts the two of the other node.
  const auto quad = slots.Allocate(kB, 2);
  ASSERT_TRUE(quad.has_value());
  EXPECT_EQ(quad->cell, (Cell{2, 1}));
  EXPECT_TRUE(quad->evicted.empty());
  const auto node = slots.Allocate(kA, 3);
  ASSERT_TRUE(node.has_value());
  EXPECT_EQ(node->cell, (Cell{3, 1}));
  EXPECT_THAT(node->evicted, ElementsAre(guests[2].id, guests[3].id));
  EXPECT_FALSE(slots.Allocate(kA, 0).has_value());  // its quota is in use
  EXPECT_FALSE(slots.AllocateOpportunistic(0).has_value());
  slots.Audit();
  slots.Free(node->cell);
  // A card of A binds a node, and guests use the rest: fullest surroundings first.
  const auto card = slots.Allocate(kA, 0);
  ASSERT_TRUE(card.has_value());
  EXPECT_EQ(slots.Available(kA, 2), 1);
  EXPECT_EQ(slots.Available(kA, 3), 0);
  const auto guest = slots.AllocateOpportunistic(0);
  ASSERT_TRUE(guest.has_value());
  EXPECT_EQ(guest->cell, (Cell{0, card->cell.index + 1}));
  slots.Audit();
}

// A change of quotas is refused while cells in use lie in its way, though the sums fit.
TEST(SlotQuota, NewQuotasMustFitBesideCellsInUse) {
  SlotQuota slots = Make(Nodes(2));
  ASSERT_TRUE(slots.SetQuota(kA, {0, 0, 2}).has_value());
  ASSERT_TRUE(slots.SetQuota(kB, {0, 0, 2}).has_value());
  std::map<std::uint32_t, Cell> of_a;
  std::vector<Cell> of_b;
  of_a[0] = slots.Allocate(kA, 2)->cell;  // node 0
  of_b.push_back(slots.Allocate(kB, 2)->cell);
  of_a[1] = slots.Allocate(kA, 2)->cell;  // node 1
  of_b.push_back(slots.Allocate(kB, 2)->cell);
  for (const Cell cell : of_b) slots.Free(cell);
  ASSERT_NE(of_a[0].index / 2, of_a[1].index / 2);
  ASSERT_TRUE(slots.SetQuota(kB, {}).has_value());
  EXPECT_THAT(slots.SetQuota(kC, {0, 0, 0, 1}).error().ToString(), HasSubstr("too scattered"));
  slots.Free(of_a[1]);
  EXPECT_TRUE(slots.SetQuota(kC, {0, 0, 0, 1}).has_value());
  EXPECT_EQ(slots.Allocate(kC, 3)->cell, (Cell{3, 1}));
  EXPECT_EQ(slots.Allocate(kA, 2)->cell, (Cell{2, 1}));
  slots.Audit();
}

// Whether the quotas can be laid out at all: every way to put cells, largest first, on tops.
bool CanLayOut(const CellChain& chain, const std::vector<std::int64_t>& quota) {
  std::vector<int> size = {1};
  for (std::size_t k = 1; k < chain.levels.size(); ++k) {
    size.push_back(size.back() * chain.levels[k].fanout);
  }
  std::vector<char> card(static_cast<std::size_t>(size.back() * chain.tops), 0);
  std::vector<int> cells;
  for (std::size_t k = quota.size(); k-- > 0;) {
    for (std::int64_t i = 0; i < quota[k]; ++i) cells.push_back(size[k]);
  }
  const std::function<bool(std::size_t)> put = [&](std::size_t which) {
    if (which == cells.size()) return true;
    const auto n = static_cast<std::size_t>(cells[which]);
    for (std::size_t at = 0; at + n <= card.size(); at += n) {
      const auto begin = card.begin() + static_cast<std::ptrdiff_t>(at);
      if (std::count(begin, begin + static_cast<std::ptrdiff_t>(n), 1) != 0) continue;
      std::fill_n(begin, n, 1);
      if (put(which + 1)) return true;
      std::fill_n(begin, n, 0);
    }
    return false;
  };
  return put(0);
}

TEST(SlotQuota, AcceptsExactlyTheQuotasThatCanBeLaidOut) {
  const CellChain chain = {"small", {{"card", 1}, {"half", 3}, {"node", 2}}, 2};
  int fits = 0;
  for (std::int64_t cards = 0; cards <= 12; ++cards) {
    for (std::int64_t halves = 0; halves <= 4; ++halves) {
      for (std::int64_t nodes = 0; nodes <= 2; ++nodes) {
        SlotQuota slots = Make(chain);
        const bool accepted = slots.SetQuota(kA, {cards, halves, nodes}).has_value();
        fits += accepted;
        ASSERT_EQ(accepted, CanLayOut(chain, {cards, halves, nodes}))
            << cards << " " << halves << " " << nodes;
      }
    }
  }
  EXPECT_GT(fits, 20);
}

// Random histories of several queues, guests and changing quotas. After every step a queue that
// holds nothing can take its whole quota, whatever the others do; cells never overlap.
TEST(SlotQuota, AQueueAlwaysGetsItsWholeQuota) {
  for (int round = 0; round < support::Scaled(300); ++round) {
    SCOPED_TRACE(testing::Message() << "seed " << round);
    Rng rng(static_cast<std::uint64_t>(round), 6);
    CellChain chain{"c", {{"card", 1}}, 1 + static_cast<std::int32_t>(rng.Below(6))};
    const std::uint32_t levels = 1 + rng.Below(4);
    for (std::uint32_t k = 1; k < levels; ++k) {
      chain.levels.push_back(
          {"level" + std::to_string(k), 1 + static_cast<std::int32_t>(rng.Below(3))});
    }
    SlotQuota slots = Make(chain);
    const std::vector<QueueId> queues = {kA, kB, kC};
    std::map<QueueId, std::vector<std::int64_t>> quotas;
    const auto try_quota = [&](QueueId queue) {
      std::vector<std::int64_t> quota;
      for (std::uint32_t k = 0; k < levels; ++k) quota.push_back(rng.Below(3));
      if (slots.SetQuota(queue, quota)) quotas[queue] = quota;
    };
    for (int i = 0; i < 12; ++i) try_quota(queues[rng.Below(3)]);
    std::map<QueueId, std::vector<Cell>> held;
    std::vector<SlotQuota::Opportunistic> guests;
    for (int step = 0; step < 300; ++step) {
      const QueueId queue = queues[rng.Below(3)];
      const int level = static_cast<int>(rng.Below(levels));
      switch (rng.Below(8)) {
        case 0:
        case 1:
        case 2: {
          const std::int64_t available = slots.Available(queue, level);
          const auto grant = slots.Allocate(queue, level);
          ASSERT_EQ(grant.has_value(), available > 0);
          if (!grant) break;
          ASSERT_EQ(grant->cell.level, level);
          held[queue].push_back(grant->cell);
          for (const OpportunisticId id : grant->evicted) {
            std::erase_if(guests, [&](const auto& guest) { return guest.id == id; });
          }
          break;
        }
        case 3:
        case 4:
          if (!held[queue].empty()) {
            const std::size_t i = rng.Below(static_cast<std::uint32_t>(held[queue].size()));
            slots.Free(held[queue][i]);
            held[queue].erase(held[queue].begin() + static_cast<std::ptrdiff_t>(i));
          }
          break;
        case 5:
          if (const auto guest = slots.AllocateOpportunistic(level)) guests.push_back(*guest);
          break;
        case 6:
          if (!guests.empty()) {
            slots.FreeOpportunistic(guests.back().id);
            guests.pop_back();
          }
          break;
        default:
          if (held[queue].empty()) try_quota(queue);
          break;
      }
      slots.Audit();
      // A queue that holds nothing can take its whole quota, now.
      const QueueId other = queues[rng.Below(3)];
      if (!held[other].empty() || quotas[other].empty()) continue;
      SlotQuota copy = slots;
      for (std::size_t k = quotas[other].size(); k-- > 0;) {
        for (std::int64_t i = 0; i < quotas[other][k]; ++i) {
          ASSERT_TRUE(copy.Allocate(other, static_cast<int>(k)).has_value());
        }
      }
      ASSERT_EQ(copy.Available(other, 0), 0);
      copy.Audit();
    }
  }
}

// The same history of one queue alone on the machines and among busy neighbours: the same answers,
// as on machines of its own.
TEST(SlotQuota, NeighboursChangeNoAnswer) {
  for (int round = 0; round < support::Scaled(200); ++round) {
    SCOPED_TRACE(testing::Message() << "seed " << round);
    Rng rng(static_cast<std::uint64_t>(round), 7);
    SlotQuota shared = Make(Nodes(4));
    SlotQuota alone = Make(Nodes(4));
    const std::vector<std::int64_t> quota = {2, 1, 2, 1};
    ASSERT_TRUE(shared.SetQuota(kA, quota).has_value());
    ASSERT_TRUE(alone.SetQuota(kA, quota).has_value());
    ASSERT_TRUE(shared.SetQuota(kB, {4, 0, 0, 1}).has_value());
    std::vector<Cell> other;
    std::vector<std::pair<Cell, Cell>> held;
    for (int step = 0; step < 100; ++step) {
      if (rng.Below(2)) {
        if (!other.empty() && rng.Below(2)) {
          shared.Free(other.back());
          other.pop_back();
        } else if (const auto grant = shared.Allocate(kB, static_cast<int>(rng.Below(4)))) {
          other.push_back(grant->cell);
        }
      }
      for (int level = 0; level < 4; ++level) {
        ASSERT_EQ(shared.Available(kA, level), alone.Available(kA, level));
      }
      if (!held.empty() && rng.Below(3) == 0) {
        shared.Free(held.back().first);
        alone.Free(held.back().second);
        held.pop_back();
        continue;
      }
      const int level = static_cast<int>(rng.Below(4));
      const auto a = shared.Allocate(kA, level);
      const auto b = alone.Allocate(kA, level);
      ASSERT_EQ(a.has_value(), b.has_value());
      if (a) held.emplace_back(a->cell, b->cell);
    }
  }
}

}  // namespace
}  // namespace basalt
