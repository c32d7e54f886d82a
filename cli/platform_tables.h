// The option tables of platform scenarios, and the entries that they read.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cli/platform_file.h"
#include "cli/platform_values.h"
#include "sim/platform/spec.h"

namespace basalt::cli {

struct GroupEntry : Entry, sim::NodeGroupSpec {
  double speed = 1;
};
struct ClusterEntry : Entry {
  sim::ClusterSpec spec;
  std::vector<GroupEntry> groups;
  std::vector<QueueSpec> queues;
  std::string name, region;
  bool is_private = true;
  std::int64_t start_delay_us = 0;
};
struct TenantEntry : Entry, sim::TenantSpec {};
// Anything that asks for cards.
struct SkuEntry : Entry, RequestSpec {
  SkuEntry() { gpus = 1; }
  std::string name;
  double price_hour = 0;
};
struct OfferEntry : Entry, RequestSpec {
  OfferEntry() { gpus = 1; }
  std::string sku;
  std::int64_t start_us = 0, after_us = 0;
};
struct PlaceEntry : Entry, sim::PlaceSpec {};
struct DemandEntry : Entry {
  std::vector<std::string> shapes;
  std::string phasing = "as-given";
  std::int64_t shift_us = 0;
  std::int64_t noise_milli = 0;
  std::int64_t smooth_milli = 0;
  std::int64_t weekend_milli = -1;  // as the shape has it
};
// Workloads: offers and places are read as entries and copied (FillWorkload).
template <class Spec>
struct WorkloadEntry : Entry, Spec {
  std::vector<OfferEntry> offer_entries;
  std::vector<PlaceEntry> place_entries;
};
struct ServiceEntry : WorkloadEntry<sim::ServiceSpec> {
  std::int64_t count = 1;
  DemandEntry demand;
};
using SandboxEntry = WorkloadEntry<sim::SandboxSpec>;
using TrainingEntry = WorkloadEntry<sim::TrainingSpec>;
using VmEntry = WorkloadEntry<sim::VmSpec>;
struct PoolEntry : Entry, sim::PoolSpec {};
struct MaintenanceEntry : Entry, sim::MaintenanceSpec {};
struct RuntimeEntry : Entry, sim::RuntimeSpec {};
struct ReclaimEntry : Entry, sim::ReclaimSpec {};
struct SchedulingEntry : Entry, sim::SchedulingSpec {
  JobOrder order = JobOrder::kPriority;
  Backfill backfill = Backfill::kNone;
  std::int32_t depth = 100;
  std::int64_t starvation_us = 0;
  ShareRule share = ShareRule::kPerResource;
  std::int32_t usage_factor_milli = 0;
  bool evict = false, preempt = true, across_queues = true, reclaim = true, break_budgets = false;
};
struct LoadEntry : Entry {
  double services = 1, sandboxes = 1, training = 1, vms = 1;
  std::int64_t inference_milli = -1;
};

struct PlatformEntry : PlatformHead {
  std::int64_t horizon_us = 7 * sim::kDayUs, warmup_us = 0;
  std::int64_t demand_step_us = 15 * sim::kMinuteUs, series_step_us = sim::kHourUs;
  std::int64_t seed = 1;
  std::vector<ClusterEntry> clusters;
  std::vector<QueueSpec> queues;
  std::vector<TenantEntry> tenants;
  std::vector<SkuEntry> skus;
  std::vector<ServiceEntry> services;
  std::vector<SandboxEntry> sandboxes;
  std::vector<TrainingEntry> training;
  std::vector<VmEntry> vms;
  std::vector<MaintenanceEntry> maintenance;
  RuntimeEntry runtime;
  ReclaimEntry reclaim;
  PoolEntry pools;
  SchedulingEntry scheduling;
  LoadEntry load;
};

const Keys<PlatformEntry>& PlatformTable();
const Keys<ClusterEntry>& ClusterTable();
const Keys<GroupEntry>& GroupTable();
const Keys<sim::PriceSpec>& PriceTable();
const Keys<SlotQuota>& SlotTable();
const Keys<QueueSpec>& QueueTable();
const Keys<TenantEntry>& TenantTable();
const Keys<SkuEntry>& SkuTable();
const Keys<OfferEntry>& OfferTable();
const Keys<PlaceEntry>& PlaceTable();
const Keys<DemandEntry>& DemandTable();
const Keys<ServiceEntry>& ServiceTable();
const Keys<SandboxEntry>& SandboxTable();
const Keys<TrainingEntry>& TrainingTable();
const Keys<VmEntry>& VmTable();
const Keys<RuntimeEntry>& RuntimeTable();
const Keys<sim::LadderStep>& LadderTable();
const Keys<ReclaimEntry>& ReclaimTable();
const Keys<PoolEntry>& PoolTable();
const Keys<MaintenanceEntry>& MaintenanceTable();
const Keys<SchedulingEntry>& SchedulingTable();
const Keys<LoadEntry>& LoadTable();
const Keys<ArmEntry>& ArmTable();
const Keys<SweepEntry>& SweepTable();
const Keys<ClaimEntry>& ClaimTable();
const Keys<AssumptionEntry>& AssumptionTable();

}  // namespace basalt::cli
