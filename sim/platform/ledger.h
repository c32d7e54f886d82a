// The books of a platform run: who had what for how long. Sums are of milli-GPU x microseconds (or
// micro-GPU in the totals), added in the order of events, so that they are the same on every run.
#pragma once

#include <cstdint>
#include <vector>

#include "sim/platform/result.h"

namespace basalt::sim::platform {

// Weighted values of 1 and more in bins of 0.5 %: percentiles of slowdowns.
class SlowdownBook {
 public:
  void Add(double slowdown, double weight = 1);
  Percentiles Summary() const;
  // Percent of the weight at values above `limit`.
  double ShareAbove(double limit) const;
  void Merge(const SlowdownBook& other);

 private:
  std::vector<double> bins_;  // made at the first value
  double weight_ = 0, sum_ = 0, max_ = 0;
  std::int64_t count_ = 0;
};

Percentiles Summarize(std::vector<double> values);

struct WorkAccount {
  std::int64_t submitted = 0, started = 0, completed = 0, infeasible = 0, abandoned = 0;
  double completed_work = 0, wanted = 0, allocated = 0, served = 0, lost = 0;  // milli x us
  std::vector<double> waits;                                                   // seconds
  SlowdownBook slowdown;
  double over_us = 0, over_compute_us = 0, over_memory_us = 0, over_host_us = 0;
  std::int64_t evictions = 0, ladder_evictions = 0, failures = 0, commits = 0, restarts = 0,
               reclaimed = 0, returns = 0;
  double reclaimed_milli_us = 0, return_wait_us = 0;
  double blocked_us = 0, throttled_us = 0, offloaded_us = 0;
  void Merge(const WorkAccount& other);
};

struct UsageAccount {
  double allocated = 0, served = 0, lost = 0;  // milli x us
  double charged = 0;                          // price x us
};

// Step functions of time, averaged over equal steps.
class SeriesBook {
 public:
  SeriesBook(std::int64_t from_us, std::int64_t to_us, std::int64_t step_us);
  struct Level {
    double capacity = 0, allocated = 0, served = 0, touched = 0, waiting = 0, cost = 0, shared = 0,
           passthrough = 0, slots_short = 0;
  };
  // `level` held from the last call until `now`.
  void Advance(std::int64_t now, const Level& level);
  PlatformSeries Finish() const;
  const Level& total() const { return total_; }  // level x us, over all steps

 private:
  std::int64_t from_, to_, step_;
  std::int64_t at_;
  std::vector<Level> sums_;
  std::vector<double> time_;
  Level total_;
};

}  // namespace basalt::sim::platform
