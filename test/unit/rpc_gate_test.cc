// The gate: one inside, a bounded number outside. Also under TSan.
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "adapters/rpc/engine_gate.h"

namespace basalt::rpc {
namespace {

TEST(EngineGate, OneAtATime) {
  EngineGate gate(64);
  int inside = 0;  // not atomic: the gate must order every access
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 2000; ++i) {
        const EngineGate::Turn turn = i % 7 == 0 ? gate.EnterAlways() : gate.Enter();
        ASSERT_TRUE(static_cast<bool>(turn));
        ++inside;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(inside, 8000);
  EXPECT_EQ(gate.waiting(), 0);
  EXPECT_EQ(gate.turned_away(), 0);
}

TEST(EngineGate, TurnsAwayBeyondTheBound) {
  EngineGate gate(2);
  EngineGate::Turn held = gate.EnterAlways();
  std::vector<std::thread> waiters;
  std::atomic<int> entered{0};
  for (int i = 0; i < 2; ++i) {
    waiters.emplace_back([&] {
      const EngineGate::Turn turn = gate.Enter();
      if (turn) ++entered;
    });
  }
  while (gate.waiting() < 2) std::this_thread::yield();
  EXPECT_FALSE(static_cast<bool>(gate.Enter()));
  EXPECT_EQ(gate.turned_away(), 1);
  EXPECT_EQ(entered, 0);
  held.End();
  for (std::thread& waiter : waiters) waiter.join();
  EXPECT_EQ(entered, 2);
  EXPECT_TRUE(static_cast<bool>(gate.Enter()));
}

TEST(EngineGate, BoundZeroNeverWaits) {
  EngineGate gate(0);
  EngineGate::Turn held = gate.Enter();
  ASSERT_TRUE(static_cast<bool>(held));
  std::thread([&] { EXPECT_FALSE(static_cast<bool>(gate.Enter())); }).join();
  held.End();
  EXPECT_TRUE(static_cast<bool>(gate.Enter()));
}

}  // namespace
}  // namespace basalt::rpc
