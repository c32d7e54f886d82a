// The engine's gangs against an exact search on small clusters.
#include <gtest/gtest.h>

#include <cstdio>

#include "test/support/cluster.h"
#include "test/support/gangs.h"

namespace basalt {
namespace {

using support::GangEngine;

struct Tally {
  int placed = 0;
  int wait = 0;
  int infeasible = 0;
  int gave_up = 0;  // Wait where the oracle finds a placement: the budget was used up
  int oracle_gave_up = 0;
};

// Some pods that are there already, and one gang.
void Ask(std::uint64_t seed, bool alike, int members, Tally* tally) {
  Rng rng(seed, 5);
  const auto nodes = support::RandomGangNodes(rng, {});
  auto engine = GangEngine(nodes);
  for (std::uint32_t i = rng.Below(6); i > 0; --i) {
    engine->Place(support::For(*engine, support::RandomGangShape(rng), 100 + i), SimTime{});
  }
  const GangRequest request = support::RandomGang(rng, *engine, seed, members, alike);
  const auto outcome = engine->ProposeGang(request, SimTime{});
  ASSERT_TRUE(outcome.has_value()) << outcome.error().ToString();
  const oracle::GangAsk ask = support::OracleAsk(*engine, request.spec);
  const auto now = support::OracleNodes(engine->state(), false);
  const std::optional<bool> feasible = oracle::Feasible(now, ask);
  if (outcome->placed()) {
    ++tally->placed;
    ASSERT_EQ(
        oracle::CheckPlacement(now, ask, support::OraclePuts(*engine, request.spec, *outcome)), "")
        << "seed " << seed;
    ASSERT_NE(feasible, false) << "the oracle is wrong, seed " << seed;
    return;
  }
  ASSERT_FALSE(outcome->reason.empty()) << "seed " << seed;
  ASSERT_TRUE(outcome->members.empty());
  if (outcome->kind == OutcomeKind::kInfeasible) {
    ++tally->infeasible;
    ASSERT_NE(oracle::Feasible(support::OracleNodes(engine->state(), true), ask), true)
        << "seed " << seed << ": " << outcome->reason;
  } else {
    ++tally->wait;
  }
  if (!feasible) {
    ++tally->oracle_gave_up;
    return;
  }
  if (!*feasible) return;
  ++tally->gave_up;
  ASSERT_FALSE(alike) << "seed " << seed << ": " << outcome->reason;
  ASSERT_FALSE(outcome->proven) << "seed " << seed << ": " << outcome->reason;
}

void Print(const char* what, const Tally& t) {
  std::printf(
      "%s: %d placed, %d wait, %d infeasible; the search gave up on %d that fit (the oracle "
      "on %d)\n",
      what, t.placed, t.wait, t.infeasible, t.gave_up, t.oracle_gave_up);
}

TEST(GangOracle, AlikeMembersAreExact) {
  Tally tally;
  for (int i = 0; i < support::Scaled(3000) && !HasFatalFailure(); ++i) {
    Ask(static_cast<std::uint64_t>(i), true, 7, &tally);
  }
  Print("alike", tally);
  EXPECT_GT(tally.placed, support::Scaled(500));
  EXPECT_GT(tally.wait, support::Scaled(50));
  EXPECT_GT(tally.infeasible, support::Scaled(100));
}

TEST(GangOracle, MixedGangsAreExactUnlessTheBudgetEnds) {
  Tally tally;
  for (int i = 0; i < support::Scaled(3000) && !HasFatalFailure(); ++i) {
    Ask(static_cast<std::uint64_t>(i) + 100'000, false, 7, &tally);
  }
  Print("mixed", tally);
  EXPECT_GT(tally.placed, support::Scaled(500));
  EXPECT_GT(tally.wait, support::Scaled(50));
  EXPECT_GT(tally.infeasible, support::Scaled(100));
  EXPECT_LE(tally.gave_up, support::Scaled(30));
}

}  // namespace
}  // namespace basalt
