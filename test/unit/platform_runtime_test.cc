// What slices of one card get: hand-computed.
#include <gtest/gtest.h>

#include <vector>

#include "sim/platform/runtime.h"

namespace basalt::sim {
namespace {

CardShare Share(double use, double cap, bool high = false, std::int64_t memory = 0,
                bool guaranteed = true) {
  CardShare s;
  s.use = use;
  s.cap = cap;
  s.high = high;
  s.working_set_mib = memory;
  s.guaranteed = guaranteed;
  return s;
}

TEST(ShareCard, SlicesAreCappedAndLowSharesWhatHighLeaves) {
  const RuntimeSpec runtime;
  std::vector<CardShare> shares{Share(700, 700, true), Share(400, 400), Share(200, 200)};
  const CardLoad load = ShareCard(runtime, Sharing::kSlices, 0, shares);
  EXPECT_TRUE(load.compute_over);  // 1300 wanted
  EXPECT_DOUBLE_EQ(load.high_wanted, 700);
  EXPECT_DOUBLE_EQ(shares[0].rate, 1);
  EXPECT_DOUBLE_EQ(shares[1].rate, 0.5);  // 300 for the 600 that low priority wants
  EXPECT_DOUBLE_EQ(shares[2].rate, 0.5);
  // A cap below what it would use slows it even alone.
  std::vector<CardShare> capped{Share(600, 300)};
  EXPECT_FALSE(ShareCard(runtime, Sharing::kSlices, 0, capped).compute_over);
  EXPECT_DOUBLE_EQ(capped[0].rate, 0.5);
}

TEST(ShareCard, HighAloneAboveTheCardIsProportional) {
  const RuntimeSpec runtime;
  std::vector<CardShare> shares{Share(1000, 1000, true), Share(600, 600, true), Share(100, 100)};
  ShareCard(runtime, Sharing::kSlices, 0, shares);
  EXPECT_DOUBLE_EQ(shares[0].rate, 1000.0 / 1600);
  EXPECT_DOUBLE_EQ(shares[1].rate, 1000.0 / 1600);
  EXPECT_DOUBLE_EQ(shares[2].rate, 0);
}

TEST(ShareCard, TimeSlicingKnowsNoPriority) {
  RuntimeSpec runtime;
  runtime.time_slicing_overhead_milli = 100;
  std::vector<CardShare> shares{Share(1000, 1000, true), Share(1000, 1000)};
  ShareCard(runtime, Sharing::kTimeSlicing, 0, shares);
  EXPECT_DOUBLE_EQ(shares[0].rate, 0.45);
  EXPECT_DOUBLE_EQ(shares[1].rate, 0.45);
}

TEST(ShareCard, InterferenceAndOverheadMultiply) {
  RuntimeSpec runtime;
  runtime.kappa = 0.25;
  runtime.slicing_overhead_milli = 200;
  std::vector<CardShare> shares{Share(100, 100), Share(100, 100), Share(0, 300)};
  ShareCard(runtime, Sharing::kSlices, 0, shares);
  EXPECT_DOUBLE_EQ(shares[0].rate, 0.8 / 1.25);  // the idle one disturbs nobody
  EXPECT_DOUBLE_EQ(shares[2].rate, 0);
  shares[0].whole = true;
  ShareCard(runtime, Sharing::kPartitions, 0, shares);
  EXPECT_DOUBLE_EQ(shares[0].rate, 1);
  EXPECT_DOUBLE_EQ(shares[1].rate, 1);
}

TEST(ShareCard, MemoryAboveTheCardSlowsThoseWithoutGuaranteeFirst) {
  RuntimeSpec runtime;
  runtime.memory_beta = 2;
  std::vector<CardShare> shares{Share(100, 100, false, 8000, true),
                                Share(100, 100, true, 4000, false),
                                Share(100, 100, false, 4000, false)};
  CardLoad load = ShareCard(runtime, Sharing::kSlices, 10'000, shares);
  EXPECT_TRUE(load.memory_over);
  EXPECT_DOUBLE_EQ(shares[0].rate, 1);
  EXPECT_DOUBLE_EQ(shares[1].rate, 1 / (1 + 2 * 0.2));  // 12000 up to it
  EXPECT_DOUBLE_EQ(shares[2].rate, 1 / (1 + 2 * 0.6));  // 16000 up to it
  load = ShareCard(runtime, Sharing::kSlices, 16'000, shares);
  EXPECT_FALSE(load.memory_over);
  EXPECT_DOUBLE_EQ(shares[2].rate, 1);
}

TEST(ShareCard, StoppedOnesGetNothingAndKeepTheirMemory) {
  const RuntimeSpec runtime;
  std::vector<CardShare> shares{Share(500, 500, true, 6000), Share(500, 500, false, 6000, false)};
  shares[1].stopped = true;
  const CardLoad load = ShareCard(runtime, Sharing::kSlices, 10'000, shares);
  EXPECT_TRUE(load.memory_over);
  EXPECT_DOUBLE_EQ(shares[0].rate, 1);
  EXPECT_DOUBLE_EQ(shares[1].rate, 0);
}

TEST(HostFactor, CpuByItsShareOfTheWorkMemoryByPressure) {
  RuntimeSpec runtime;
  runtime.cpu_bound_milli = 500;
  runtime.host_memory_beta = 4;
  EXPECT_DOUBLE_EQ(HostFactor(runtime, 100, 100, 50, 100), 1);
  EXPECT_DOUBLE_EQ(HostFactor(runtime, 200, 100, 0, 100), 1 / 1.5);
  EXPECT_DOUBLE_EQ(HostFactor(runtime, 0, 100, 125, 100), 0.5);
  EXPECT_DOUBLE_EQ(HostFactor(runtime, 200, 100, 125, 100), 1 / 1.5 / 2);
}

}  // namespace
}  // namespace basalt::sim
