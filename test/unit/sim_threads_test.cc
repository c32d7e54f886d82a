// One thread and two give the same results, bit for bit. Also run under ThreadSanitizer.
#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "sim/experiment.h"
#include "test/support/cluster.h"
#include "test/support/workloads.h"

namespace basalt::sim {
namespace {

// Two workers that both take at least one item of every batch of two or more: the first item of
// each waits for the other's, so the work is truly shared however short it is.
class TwoThreads : public Executor {
 public:
  void ForEach(std::size_t count, const std::function<void(std::size_t)>& fn) override {
    std::atomic<std::size_t> next{0};
    std::barrier both(2);
    const auto work = [&] {
      bool first = true;
      for (std::size_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) {
        if (first && count >= 2) both.arrive_and_wait();
        first = false;
        fn(i);
        const std::lock_guard lock(mutex_);
        workers_.insert(std::this_thread::get_id());
      }
    };
    std::thread a(work);
    std::thread b(work);
    a.join();
    b.join();
  }
  std::size_t workers() const { return workers_.size(); }

 private:
  std::mutex mutex_;
  std::set<std::thread::id> workers_;
};

class Threads : public ::testing::TestWithParam<Mode> {};

TEST_P(Threads, SameResultsAsOneThread) {
  const Workload one = support::RandomWorkload(11, 12, 150);
  const Workload two = support::RandomWorkload(12, 8, 100);
  Experiment experiment;
  experiment.mode = GetParam();
  experiment.workloads = {&one, &two};
  for (const char* policy : {"fgd", "best-fit", "random", "pwr:0.1+fgd:0.9", "gpu-packing",
                             "class-quota(T4=0.3;fgd)", "spread-job(binpack)"}) {
    experiment.policies.push_back(support::Policy(policy));
  }
  experiment.seeds = {1, 2, 3};
  std::atomic<std::size_t> reported{0};
  experiment.progress = [&](std::size_t, std::size_t) { ++reported; };
  TwoThreads two_threads;
  const auto parallel = RunExperiment(experiment, two_threads);
  ASSERT_TRUE(parallel.has_value());
  EXPECT_GE(two_threads.workers(), 2U);
  SerialExecutor serial;
  const auto alone = RunExperiment(experiment, serial);
  ASSERT_TRUE(alone.has_value());
  ASSERT_EQ(parallel->size(), 42U);
  EXPECT_EQ(reported, 84U);
  for (std::size_t i = 0; i < alone->size(); ++i) {
    const RunResult& a = (*alone)[i];
    const RunResult& b = (*parallel)[i];
    EXPECT_EQ(a.decision_digest, b.decision_digest) << a.policy;
    EXPECT_EQ(a.work, b.work);
    EXPECT_EQ(a.placed, b.placed);
    EXPECT_EQ(a.policy, b.policy);
    EXPECT_EQ(a.seed, b.seed);
    EXPECT_EQ(a.series.x, b.series.x);
    EXPECT_EQ(a.final_allocation_pct, b.final_allocation_pct);
    EXPECT_EQ(a.wait.mean, b.wait.mean);
  }
}

INSTANTIATE_TEST_SUITE_P(Modes, Threads, ::testing::Values(Mode::kSaturation, Mode::kReplay));

}  // namespace
}  // namespace basalt::sim
