// What a platform run measured. Times in hours unless the name says more, shares in percent; a
// value that was never measured is NaN ("n/a" in reports), never 0. Everything is of the time after
// the warm-up, and of units that were first submitted after it.
//
// Capacity, allocation and use are three things: `capacity` is GPU-hours of cards that were there
// and paid for (on-demand cards only while rented), `allocated` what was handed out (above capacity
// where compute is oversubscribed), `served` the useful compute done, which is what utilization
// counts. Work that was done and then lost (eviction, failure) is in `lost` and not in `served`.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "scheduler-core/base/digest.h"
#include "scheduler-core/engine/policy.h"

namespace basalt::sim {

inline constexpr double kNotMeasured = std::numeric_limits<double>::quiet_NaN();

struct Percentiles {
  std::int64_t count = 0;
  double mean = kNotMeasured, p50 = kNotMeasured, p90 = kNotMeasured, p99 = kNotMeasured,
         max = kNotMeasured;
};

enum class WorkClass : std::uint8_t { kService, kSandbox, kTraining, kVm, kJob };
inline constexpr int kWorkClasses = 5;
const char* WorkClassName(WorkClass work_class);

struct UsageRow {
  std::string name;
  double allocated_gpu_hours = 0;
  double served_gpu_hours = 0;
  double lost_gpu_hours = 0;
  double charged = 0;  // at SKU prices
};

// One workload, or all of a class.
struct WorkloadResult {
  std::string name;
  std::string tenant;
  WorkClass work_class = WorkClass::kTraining;
  std::int64_t submitted = 0;      // jobs, VMs, environments asked for, replicas wanted
  std::int64_t started = 0;        // of these, at least once
  std::int64_t completed = 0;      // jobs done; bursts done; VMs given back
  std::int64_t infeasible = 0;     // refused: could never run anywhere it may; at any time
  std::int64_t abandoned = 0;      // bursts whose user left before they began, or gave back
  double completed_gpu_hours = 0;  // work finished, at full speed on the reference card
  double wanted_gpu_hours = 0;     // services: demand; others: work that was submitted,
                                   // a VM's as if it had begun at once
  double allocated_gpu_hours = 0;
  double served_gpu_hours = 0;
  double lost_gpu_hours = 0;  // done since the last checkpoint, and lost
  // From submission (and again after each eviction) to work. Of who gave up, was wanted no more or
  // still waits at the end: the wait so far, which is less than theirs.
  Percentiles wait_seconds;
  Percentiles slowdown;  // run time / run time at full speed; bursts: response / length
  double slow_share_pct = kNotMeasured;  // share slower than RuntimeSpec::slowdown_milli
  double overload_minutes = 0;           // slice-minutes slower than that
  double overload_compute_minutes = 0;   // of these, because others wanted the compute ...
  double overload_memory_minutes = 0;    // ... memory working sets above the card's ...
  double overload_host_minutes = 0;      // ... host CPU or memory
  std::int64_t evictions = 0;         // by queue preemption and reclaim, ladder, maintenance, pools
  std::int64_t ladder_evictions = 0;  // of these, by the colocation ladder
  std::int64_t failures = 0;          // ended by a node failure
  std::int64_t commits = 0;           // images committed (ladder and idle reclaim)
  std::int64_t restarts = 0;
  std::int64_t reclaimed = 0;      // idle environments that were made to exit
  double reclaimed_gpu_hours = 0;  // what they would have held until their user came back
  std::int64_t returns = 0;        // users who came back to a reclaimed environment
  double return_wait_minutes = 0;  // that they waited for it, together
  double blocked_hours = 0;        // slice-hours in a ladder step, by step
  double throttled_hours = 0;
  double offloaded_hours = 0;
};

struct ClusterResult {
  std::string name;
  std::string region;
  bool is_private = true;
  std::int64_t cards = 0;  // that it has or may rent, at the end
  double capacity_gpu_hours = 0;
  double allocated_gpu_hours = 0;
  double served_gpu_hours = 0;
  double cost = 0;       // over the measured time
  double committed = 0;  // subscription fees that are due after it
  double cost_per_month = kNotMeasured;
  double cost_per_allocated_hour = kNotMeasured;
  double cost_per_served_hour = kNotMeasured;
  std::int64_t overflowed_in = 0;  // units that started here and not in their first place
  double rented_peak_cards = 0;    // on-demand
};

struct CardUsage {
  std::string cluster;
  std::string node;
  std::int32_t card = 0;
  std::string model;
  double allocated_gpu_hours = 0;
  double served_gpu_hours = 0;
  double overload_compute_minutes = 0;  // wanted more than it has
  double overload_memory_minutes = 0;   // working sets above physical memory
};

// One value each PlatformSpec::series_step_us: time-weighted means over the step.
struct PlatformSeries {
  std::vector<double> hours;  // middle of the step
  std::vector<double> capacity_cards;
  std::vector<double> allocated_cards;
  std::vector<double> served_cards;
  std::vector<double> touched_cards;  // with something on them
  std::vector<double> waiting_units;
  std::vector<double> cost_per_hour;
  std::vector<double> shared_cards, passthrough_cards;  // by mode, moving ones in neither
};

struct PoolResult {
  std::int64_t moves_to_passthrough = 0;  // cards
  std::int64_t moves_to_shared = 0;
  double emptying_hours = 0;  // card-hours cordoned before they were empty
  double drain_hours = 0;     // card-hours between modes
};

struct PlatformResult {
  std::string name;
  std::uint64_t seed = 0;
  double measured_hours = 0;
  std::int64_t cards = 0;  // of owned and subscribed groups, at the end
  double capacity_gpu_hours = 0, allocated_gpu_hours = 0, served_gpu_hours = 0, lost_gpu_hours = 0;
  double utilization_pct = kNotMeasured;  // served / capacity
  double allocation_pct = kNotMeasured;   // allocated / capacity
  double touched_pct = kNotMeasured;      // cards with something on them / capacity
  double failed_gpu_hours = 0;            // cards of nodes that were down
  double cost = 0, cost_per_month = kNotMeasured, cost_per_allocated_hour = kNotMeasured,
         cost_per_served_hour = kNotMeasured;
  double card_overload_compute_minutes = 0, card_overload_memory_minutes = 0;
  std::vector<WorkloadResult> classes;    // those that occur, in the order of WorkClass
  std::vector<WorkloadResult> workloads;  // in the order of the spec
  std::vector<ClusterResult> clusters;
  std::vector<UsageRow> tenants, departments, skus, models;
  std::vector<CardUsage> cards_used;  // by cluster, node, card
  PlatformSeries series;
  PoolResult pools;
  double slots_short = 0;     // whole nodes that queues with slots could not have, time-weighted
  double mean_waiting = 0;    // units without a place, time-weighted
  double waited_hours = 0;    // that units waited for places, together (Little's law: the same)
  Digest128 demand_digest;    // of what was wanted: equal for all arms of one comparison
  Digest128 decision_digest;  // of what all engines decided, and of when
  WorkCounters work;
  std::uint64_t events = 0;
  std::uint64_t passes = 0;  // of the job schedulers
};

}  // namespace basalt::sim
