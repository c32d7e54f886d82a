// Allocated against used. Allocation is what tasks hold (placements where the trace has them, else
// the jobs' own times), use is what was measured (Trace::usage): two things that are never mixed
// up, and a part of the allocation that nobody measured is unknown, not idle.
//
// gpu_util_pct is percent of one card, added up over what a row covers: a row with a card covers
// that card, a row without one all cards of its replica, or of its job. gpu_mem_mib likewise. Where
// a job has rows of several of these grains, the finest counts.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "scheduler-core/base/result.h"
#include "scheduler-core/base/units.h"
#include "traces/trace.h"

namespace basalt::sim {

// Whether something has been used below a threshold for long enough: what idle reclaim asks, with
// the time as an argument. Values are measurements in millionths of any unit.
class IdleDetector {
 public:
  IdleDetector(std::int64_t below_micro, std::int64_t for_us)
      : below_micro_(below_micro), for_us_(for_us) {}
  // Measured now; it stands until the next one. Times do not go back.
  void Measured(SimTime now, std::int64_t value_micro);
  // Nothing is known from now on: an idle stretch ends.
  void Unknown();
  // Since when it has been idle; empty while it is not.
  std::optional<SimTime> Since() const { return since_; }
  // When it will have been idle for long enough, if nothing else is measured.
  std::optional<SimTime> DueAt() const;
  bool Due(SimTime now) const { return DueAt() && *DueAt() <= now; }

 private:
  std::int64_t below_micro_, for_us_;
  std::optional<SimTime> since_;
};

struct UsageOptions {
  // The window on the trace's clock; unknown: from the first to the last time that the trace names.
  std::int64_t from_us = trace::kUnknownTime, to_us = trace::kUnknownTime;
  std::int64_t idle_below_percent = 5;        // of what is allocated
  std::int64_t idle_for_us = 21'600'000'000;  // 6 h
  // How long a measurement stands at most; 0: 1.5 times the median step of its series, at least
  // five minutes. The next one ends it in any case.
  std::int64_t hold_us = 0;
  std::string metric = "gpu_util_pct";  // what counts as use of a card: or sm_active_pct
  // By job; empty: the tenant's path before its first '/', and the kind.
  std::vector<std::string> departments, skus;
};

// GPU-hours are of whole cards: half a card for two hours is one.
struct UsageTotals {
  std::int64_t jobs = 0;  // with an allocation in the window
  double allocated_hours = 0;
  double measured_hours = 0;    // of the allocated ones, those with a measurement
  double used_hours = 0;        // in the measured ones; above allocated where a slice took more
  double wasted_hours = 0;      // measured and not used
  double memory_allocated = 0;  // GiB-hours, where the request says it
  double memory_measured = 0;   // of those
  double memory_used = 0;       // GiB-hours, in the measured ones
  std::int64_t idle_jobs = 0;   // with an idle stretch that was long enough
  double idle_hours = 0;        // GPU-hours allocated in such stretches
};

struct JobUsage {
  std::size_t job = 0;  // index into Trace::jobs
  std::string tenant, department, sku;
  UsageTotals totals;
  double longest_idle_hours = 0;  // by the clock
};

struct CardUsage {
  std::string node, card, model;
  double window_hours = 0;
  double allocated_hours = 0;  // from placements; of slices their part
  double measured_hours = 0;
  double used_hours = 0;
  double memory_mean_mib = -1;  // while measured; -1: never
};

struct UsageReport {
  std::int64_t from_us = 0, to_us = 0;
  UsageTotals total;
  std::vector<JobUsage> jobs;  // with an allocation in the window, in the trace's order
  std::map<std::string, UsageTotals> tenants, departments, skus;
  std::vector<CardUsage> cards;         // that a placement or a measurement names; by node and card
  std::int64_t rows = 0;                // of usage that were read
  std::int64_t rows_unattributed = 0;   // of jobs outside their allocation or the window
  std::int64_t jobs_without_times = 0;  // never started, or unknown when: not allocated
};

// Names that are empty read "(none)". Requires departments and skus to be empty or of every job.
// Errors: no time is known, or the window is empty.
Result<UsageReport> ReportUsage(const trace::Trace& trace, const UsageOptions& options);

}  // namespace basalt::sim
