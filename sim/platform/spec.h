// What a shared GPU platform is made of, for the simulator (platform.h): clusters and their prices,
// tenants, SKUs, workloads, and the rules of the runtime. Plain values; nothing here is read from a
// file or drawn. Everything that arms of a comparison change is in PlatformSpec, so an arm is a
// copy with some fields changed; what users want (arrivals, sizes, lengths, demand) depends only on
// the workloads and the seed, never on clusters, rules or policies.
//
// Units: times in microseconds of simulated time from 0, memory in MiB, compute in milli-GPU,
// shares in per mille ("milli"), prices in one currency that the caller names. Vectors refer to
// each other by name.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "scheduler-core/cluster/card_rules.h"
#include "scheduler-core/cluster/inventory.h"
#include "scheduler-core/engine/job_scheduler.h"
#include "scheduler-core/queueing/queue_tree.h"
#include "scheduler-core/workload/request.h"
#include "sim/demand.h"
#include "sim/workload.h"

namespace basalt::sim {

inline constexpr std::int64_t kSecondUs = 1'000'000;
inline constexpr std::int64_t kMinuteUs = 60 * kSecondUs;
inline constexpr std::int64_t kHourUs = 60 * kMinuteUs;
inline constexpr double kHoursPerMonth = 730;

// A length of time, drawn anew each time.
struct DurationSpec {
  enum class Kind : std::uint8_t { kConstant, kExponential, kLogNormal };
  Kind kind = Kind::kConstant;
  std::int64_t mean_us = 0;  // of what is drawn, before min and max
  double sigma = 1;          // kLogNormal: standard deviation of the logarithm
  std::int64_t min_us = 0;
  std::int64_t max_us = std::numeric_limits<std::int64_t>::max();
};

// --- clusters ---

// Who pays for a card, and when.
enum class Billing : std::uint8_t {
  kOwned,         // all cards of the group, all the time (cost of ownership)
  kSubscription,  // all cards, from when they are there; committed for whole months
  kOnDemand,      // cards while something holds a part of them; they count as capacity only then
};
struct PriceSpec {
  Billing billing = Billing::kOwned;
  double card_hour = 0;                // kOwned, kOnDemand
  double card_month = 0;               // kSubscription; a month is 730 hours
  std::int32_t commitment_months = 1;  // kSubscription: 1 monthly, 12 annual
  bool whole_nodes = false;            // kOnDemand: a node is paid as a whole while it is used
};

// How slices of one card are kept apart.
enum class Sharing : std::uint8_t {
  kSlices,       // HAMi: compute capped at the slice, memory at its amount
  kTimeSlicing,  // no caps: everybody gets what is left by turns, priorities do not count
  kPartitions,   // MIG: capped, and neighbours do not slow each other; follows from CardMode::kMig
};

struct NodeGroupSpec {
  std::string name;
  std::int32_t count = 0;  // nodes; kOnDemand: the limit of what can be rented
  MilliCpu cpu_milli = 0;  // physical, of one node
  MiB memory_mib = 0;      // host memory, physical
  std::int32_t cards = 0;  // of one node, 0..64
  std::string model;
  MiB card_memory_mib = 0;                // physical; 0: unknown, then no memory rule holds
  std::int32_t speed_milli = kWholeCard;  // a card's compute against the reference card's
  CardMode mode = CardMode::kShared;
  Sharing sharing = Sharing::kSlices;        // of shared cards
  std::int32_t slots = 0;                    // share slots of a card; 0: as many as fit
  std::int32_t memory_ratio_percent = 100;   // card memory handed out, 100..200
  std::int32_t compute_ratio_percent = 100;  // compute handed out, 100..200
  std::int32_t cpu_ratio_percent = 100;      // host CPU handed out
  std::int32_t host_memory_ratio_percent = 100;
  std::string machine;  // how cards are wired (NodeSpec::machine); empty: unknown
  std::vector<LabelRequirement> labels;
  std::vector<std::string> taints;
  PriceSpec price;
  // The nodes come at this time (bought or rented at `ordered_us`, there after the lead time).
  std::int64_t ordered_us = 0;
  std::int64_t lead_time_us = 0;
  std::int64_t mtbf_us = 0;  // mean time between failures of a node, exponential; 0: none
  DurationSpec repair;       // of a node
};

struct ClusterSpec {
  std::string name;
  std::string region;
  bool is_private = true;
  std::int64_t start_delay_us = 0;  // added to each start here (image and data over the network)
  std::vector<NodeGroupSpec> groups;
  std::vector<QueueSpec> queues;  // of this cluster; empty: PlatformSpec::queues
};

// --- who ---

struct TenantSpec {
  std::string name;
  std::string department;
  std::string queue;              // a leaf of the queue tree; empty: outside quotas
  std::vector<std::string> skus;  // that it may use; empty: all. Offers with others are refused
};

struct SkuSpec {
  std::string name;
  RequestSpec request;
  double price_hour = 0;  // charged to the tenant while it is held
};

// --- workloads ---

// One way to run a pod of a workload; a workload names several when alternatives will do (a slice
// in a container, or a whole card in a virtual machine).
struct OfferSpec {
  std::string sku;            // of PlatformSpec::skus; empty: `request`
  RequestSpec request;        // RequestSpec::passthrough: a virtual machine
  std::int64_t start_us = 0;  // from having its place to working (image, boot, model)
  std::int64_t after_us = 0;  // considered once the pod has waited this long
};

struct PlaceSpec {
  std::string cluster;
  std::int64_t after_us = 0;  // considered once it has waited this long
};

// What all workloads have.
struct WorkloadSpec {
  std::string name;
  std::string tenant;
  std::string queue;          // empty: the tenant's
  std::int32_t priority = 0;  // in the queue, and for eviction
  bool preemptible = true;
  std::int64_t min_runtime_us = 0;  // not evicted before
  std::string budget;               // disruption budget
  // On a card it shares: true goes first, false gives way (RuntimeSpec::ladder).
  bool high = false;
  std::vector<OfferSpec> offers;  // at least one, in order of preference
  std::vector<PlaceSpec> places;  // empty: all clusters, in order, at once
  // What waits looks again at its other offers and places this often.
  std::int64_t retry_us = 10 * kMinuteUs;
  // Compute that a pod uses on each of its cards when it works, in milli of the reference card
  // (services) or of the card it is on (all others); 0: all of its slice.
  std::int32_t use_milli = 0;
  bool compute_cap = true;  // false: may use more than its slice where the card has it (HAMi
                            // without gpucores); Sharing::kTimeSlicing never caps
  // Physical card memory in use on each card: at peak, and when it does nothing. -1: all it has.
  MiB working_set_mib = -1;
  MiB idle_working_set_mib = -1;
  std::int32_t cpu_use_milli = kWholeCard;     // share of its CPU request that it uses
  std::int32_t memory_use_milli = kWholeCard;  // share of its host memory request
  std::int64_t image_mib = 0;                  // what committing and restarting move
};

// An inference service. Its replicas share the demand evenly; demand that they cannot serve is
// lost time for its users, not work for later.
struct ServiceSpec : WorkloadSpec {
  std::int32_t replicas_min = 1;
  std::int32_t replicas_max = 1;
  // Demand in per mille of peak, one value each PlatformSpec::demand_step_us, repeated from the
  // start when it ends (sim/demand.h makes it). Peak is replicas_max replicas at use_milli.
  std::vector<std::int32_t> demand_milli;
  // Replicas are wanted for this per mille load of each; fewer only after `scale_down_us`.
  std::int32_t target_load_milli = 800;
  std::int64_t scale_down_us = 30 * kMinuteUs;
  std::int64_t from_us = 0;  // the service exists from here
  std::int64_t to_us = std::numeric_limits<std::int64_t>::max();
};

// People with an environment each (notebook, desktop). While they are there they start bursts of
// work, whether the environment keeps up or not; an environment is asked for when its user comes.
struct SandboxSpec : WorkloadSpec {
  std::int32_t users = 0;
  // Each user comes between [day_start, day_start + spread) on working days, for `session`.
  std::int64_t day_start_us = 9 * kHourUs;
  std::int64_t day_spread_us = 2 * kHourUs;
  DurationSpec session{DurationSpec::Kind::kExponential, 8 * kHourUs, 1, 10 * kMinuteUs,
                       16 * kHourUs};
  std::int32_t come_milli = kWholeCard;  // probability to come on a working day
  std::int32_t working_days = 5;         // of 7, from day 0
  DurationSpec burst{DurationSpec::Kind::kExponential, 10 * kMinuteUs, 1};  // at full speed
  // From the end of a burst at full speed to the start of the next.
  DurationSpec think{DurationSpec::Kind::kExponential, 20 * kMinuteUs, 1};
  // A user keeps coming for this long, then the environment is given back; 0: to the end. Then
  // another user takes over after `gap`.
  DurationSpec tenure;
  DurationSpec gap;
  bool give_back_daily = false;  // the user ends the environment when leaving
  bool reclaim = true;           // ReclaimSpec applies
};

struct TrainingSpec : WorkloadSpec {
  double jobs_per_hour = 0;  // Poisson
  // Arrivals by hour of the day, in per mille of the mean; empty: even. 24 values.
  std::vector<std::int32_t> hour_milli;
  // Pods of one job and how often; all pods are one gang (one pod: a single job).
  std::vector<std::pair<std::int32_t, double>> gang_sizes{{1, 1.0}};
  DurationSpec duration{DurationSpec::Kind::kLogNormal, 4 * kHourUs, 1.5};  // at full speed
  std::int64_t checkpoint_us = 0;  // work between checkpoints; 0: none, all is lost
  std::int32_t comm_milli = 0;     // share of the run time that is communication, gangs only
  // Jobs of one workflow, one after another; drawn evenly from [steps_min, steps_max].
  std::int32_t steps_min = 1;
  std::int32_t steps_max = 1;
  double estimate_factor = 1;  // what users say / what it takes; 0: they say nothing
};

// Machines that are held for days, used or not: a sandbox in all but its arrivals.
struct VmSpec : WorkloadSpec {
  double vms_per_hour = 0;  // Poisson
  std::int32_t at_start = 0;
  DurationSpec hold{DurationSpec::Kind::kExponential, 7 * kDayUs, 1};
  DurationSpec burst{DurationSpec::Kind::kExponential, 30 * kMinuteUs, 1};
  std::int32_t used_milli = 200;  // of the time held, bursts at full speed
};

// The jobs of a trace, gangs included. Its nodes are not used.
struct TraceJobsSpec : WorkloadSpec {  // offers and use_milli are the trace's
  const Workload* workload = nullptr;  // not owned
  std::int64_t checkpoint_us = 0;
  // Each job's tenant, drawn by weight; empty: `tenant`.
  std::vector<std::pair<std::string, double>> tenants;
  // Each job's priority, drawn by weight; empty: `priority`. Priorities from `high_from` are high.
  std::vector<std::pair<std::int32_t, double>> priorities;
  std::int32_t high_from = std::numeric_limits<std::int32_t>::max();
};

// --- runtime ---

// What happens to low-priority slices of a card while high priority needs it. Steps in the order in
// which they are taken, each `after_us` of need (counted from its begin).
enum class LadderAction : std::uint8_t {
  kThrottled,   // gets what high priority leaves
  kBlocked,     // keeps its memory, no progress (what HAMi does)
  kOffloaded,   // its card memory goes to the host and comes back
  kCommitExit,  // image committed, exits, waits for a new place; its process is lost
  kEvicted,     // killed, waits for a new place; work since its checkpoint is lost
};
struct LadderStep {
  LadderAction action = LadderAction::kBlocked;
  std::int64_t after_us = 0;
};
struct LadderSpec {
  std::vector<LadderStep> steps{{LadderAction::kBlocked, 0}};  // ascending by after_us
  // High priority needs the card when it wants more than this of it. (Its memory it has anyway:
  // what exceeds the card slows the others.)
  std::int32_t trigger_milli = 100;
  std::int64_t quiet_us = 0;  // need ends when there was none for this long
  // Who had to exit is queued again after this time, at least a second: the scheduler does not see
  // the need, and would put it back at once.
  std::int64_t backoff_us = 10 * kMinuteUs;
};

struct RuntimeSpec {
  // Several busy slices on a card: each gets 1/(1 + kappa (n - 1)) of its speed. Default off.
  double kappa = 0;
  std::int32_t slicing_overhead_milli = 0;       // of a slice's speed (not of whole cards)
  std::int32_t time_slicing_overhead_milli = 0;  // Sharing::kTimeSlicing, with neighbours
  std::int32_t partition_overhead_milli = 0;     // Sharing::kPartitions
  // Working sets above physical memory: speed 1/(1 + beta (pressure - 1)), those who are not
  // guaranteed first (they carry all of it while the guaranteed fit).
  double memory_beta = 4;
  double host_memory_beta = 4;         // host memory above physical, all pods of the node
  std::int32_t cpu_bound_milli = 500;  // share of the work that slows down with less CPU
  std::int32_t slowdown_milli = 1050;  // slower than this counts as overload
  LadderSpec ladder;
  std::int64_t offload_us_per_gib = kSecondUs / 10;  // one way
  std::int64_t commit_us = 30 * kSecondUs;           // and by image size:
  std::int64_t commit_us_per_gib = 5 * kSecondUs;
  std::int64_t restart_us = 30 * kSecondUs;  // on top of OfferSpec::start_us
  std::int64_t restart_us_per_gib = 2 * kSecondUs;
  std::int64_t evict_grace_us = 0;  // from being told to leave to being gone
};

// Idle environments are committed and exit; they restart from the image when their user works.
struct ReclaimSpec {
  std::int64_t idle_after_us = 0;      // H: 6 to 12 hours on the platforms; 0: off
  std::int32_t idle_below_milli = 10;  // mean use of its slice over those hours is below this
  std::int64_t measure_step_us = kHourUs / 4;
  std::int64_t lease_us = 0;  // at most this long without renewal; a present user renews. 0: off
};

struct PoolSpec {
  bool dynamic = false;  // cards move between shared and passthrough
  std::vector<std::pair<std::string, std::string>> groups;  // cluster, group; empty: all
  std::int64_t decide_every_us = 10 * kMinuteUs;
  std::int64_t drain_us = 15 * kMinuteUs;  // from empty to ready in the other mode
  std::int32_t max_moving_milli = 200;     // of the groups' cards, at once
  std::int32_t min_shared_milli = 0;       // never fewer shared cards than this
  std::int32_t min_passthrough_milli = 0;
  std::int32_t headroom_milli = 0;  // of the cards: kept free in each mode, ahead of demand
  bool evict = false;  // preemptible pods leave a card that moves; else it empties by itself
};

struct MaintenanceSpec {  // planned: cordoned, emptied, worked on, back
  std::string cluster;
  std::string group;
  std::int32_t first = 0;  // nodes of the group
  std::int32_t count = 1;
  std::int64_t at_us = 0;
  std::int64_t grace_us = 0;  // what still runs then is evicted
  std::int64_t length_us = kHourUs;
};

struct SchedulingSpec {
  std::string policy = "binpack";  // placement policy expression
  SchedulerOptions options;        // order, backfill, eviction
  // A pass at most this often, as a scheduler's cycle; 0: at every change.
  std::int64_t cycle_us = 0;
  // Of what queues held in the past, for SchedulerOptions::division; 0: not kept.
  std::int64_t usage_half_life_us = 0;
};

struct PlatformSpec {
  std::string name;
  std::int64_t horizon_us = 7 * kDayUs;  // the run ends here
  std::int64_t warmup_us = 0;            // nothing is measured before
  std::uint64_t seed = 1;
  std::int64_t demand_step_us = 15 * kMinuteUs;
  std::int64_t series_step_us = kHourUs;
  std::vector<CardRules> card_rules;  // of models that have rules
  std::vector<ClusterSpec> clusters;
  std::vector<QueueSpec> queues;  // in each cluster the same tree; empty: no queues
  std::vector<TenantSpec> tenants;
  std::vector<SkuSpec> skus;
  std::vector<ServiceSpec> services;
  std::vector<SandboxSpec> sandboxes;
  std::vector<TrainingSpec> training;
  std::vector<VmSpec> vms;
  std::vector<TraceJobsSpec> jobs;
  std::vector<MaintenanceSpec> maintenance;
  RuntimeSpec runtime;
  ReclaimSpec reclaim;
  PoolSpec pools;
  SchedulingSpec scheduling;
};

}  // namespace basalt::sim
