// Keys of what there is: clusters, node groups, prices, queues, tenants, SKUs and requests.
#include <cmath>

#include "cli/platform_requests.h"
#include "cli/platform_tables.h"

namespace basalt::cli {
namespace {

using Kind = Reference::Kind;

// gpu: 12.5 is 12,500 milli; cpu in cores; memory as sizes; all else counts.
void ReadAmounts(const std::string& file, const YAML::Node& map, const config::OptionInfo& option,
                 AmountMap* out, config::Errors* errors) {
  if (!map.IsMap()) {
    errors->Add(file, map, fmt::format("{} must be a map such as {{gpu: 8}}", option.name));
    return;
  }
  for (const auto& entry : map) {
    const std::string name = entry.first.IsScalar() ? entry.first.Scalar() : "";
    if (Status ok = ValidateResourceName(name, option.name); !ok) {
      errors->Add(file, entry.first, ok.error().message);
      continue;
    }
    const std::string text = entry.second.IsScalar() ? entry.second.Scalar() : "";
    const bool memory = name == "memory" || name.starts_with("gpu-memory");
    const bool thousandths = name == "cpu" || name == "gpu" || name.starts_with("gpu/");
    const auto number = ParseNumber(text);
    const auto size = ParseSizeMib(text);
    if (memory ? !size : !number || *number < 0 || *number > 1e9) {
      errors->Add(file, entry.second,
                  fmt::format("{} of {} must be {}", option.name, name,
                              memory ? "a size such as 320GiB" : "a number of 0 or more"));
      continue;
    }
    (*out)[name] = memory ? *size : std::llround(*number * (thousandths ? 1000 : 1));
  }
}

auto Amounts(AmountMap QueueSpec::* field) {
  return
      [field](const auto& file, const auto& node, const auto& option, QueueSpec* out,
              config::Errors* errors) { ReadAmounts(file, node, option, &(out->*field), errors); };
}

}  // namespace

const Keys<sim::PriceSpec>& PriceTable() {
  static const auto table =
      Keys<sim::PriceSpec>()
          .Choice({.name = "billing",
                   .help = "owned: all the time; subscription: by months; on-demand: while used, "
                           "and only then part of the capacity",
                   .default_value = "owned"},
                  &sim::PriceSpec::billing,
                  {{"owned", sim::Billing::kOwned},
                   {"subscription", sim::Billing::kSubscription},
                   {"on-demand", sim::Billing::kOnDemand}})
          .Number({.name = "card_hour",
                   .help = "owned (cost of ownership) and on-demand",
                   .default_value = "0",
                   .low = 0},
                  &sim::PriceSpec::card_hour)
          .Number({.name = "card_month",
                   .help = "subscription, a month of 730 hours",
                   .default_value = "0",
                   .low = 0},
                  &sim::PriceSpec::card_month)
          .Count({.name = "commitment_months",
                  .help = "subscription: paid in full, 1 monthly, 12 annual",
                  .default_value = "1",
                  .low = 1,
                  .high = 120},
                 &sim::PriceSpec::commitment_months)
          .Flag({.name = "whole_nodes",
                 .help = "on-demand: a node is paid as a whole while any of it is used",
                 .default_value = "false"},
                &sim::PriceSpec::whole_nodes);
  return table;
}

const Keys<GroupEntry>& GroupTable() {
  static const auto table =
      Keys<GroupEntry>()
          .Text({.name = "name", .help = "of the group, once in its cluster", .required = true},
                &GroupEntry::name)
          .Count({.name = "nodes",
                  .help = "how many; on-demand: the most that can be rented",
                  .low = 0,
                  .high = 100000,
                  .required = true},
                 &GroupEntry::count)
          .Count({.name = "cards", .help = "of one node", .low = 0, .high = 64, .required = true},
                 &GroupEntry::cards)
          .Text(
              {.name = "model", .help = "of the cards, as in the device catalog", .required = true},
              &GroupEntry::model)
          .Size({.name = "card_memory", .help = "of each card", .default_value = "the catalog's"},
                &GroupEntry::card_memory_mib)
          .Thousandths({.name = "cpu",
                        .help = "of one node",
                        .unit = "cores",
                        .low = 0,
                        .high = 1e6,
                        .required = true},
                       &GroupEntry::cpu_milli)
          .Size({.name = "memory", .help = "host memory of one node", .required = true},
                &GroupEntry::memory_mib)
          .Share({.name = "speed",
                  .help = "a card's compute against the reference card's",
                  .default_value = "100%",
                  .low = 1,
                  .high = 2000},
                 &GroupEntry::speed_milli)
          .Choice({.name = "mode",
                   .help = "shared: slices; exclusive: whole cards; mig: partitions; passthrough: "
                           "whole cards for virtual machines",
                   .default_value = "shared"},
                  &GroupEntry::mode,
                  {{"shared", CardMode::kShared},
                   {"exclusive", CardMode::kExclusive},
                   {"mig", CardMode::kMig},
                   {"passthrough", CardMode::kPassthrough}})
          .Choice({.name = "sharing",
                   .help = "of shared cards: slices (capped) or time-slicing (not capped, no "
                           "priorities)",
                   .default_value = "slices"},
                  &GroupEntry::sharing,
                  {{"slices", sim::Sharing::kSlices}, {"time-slicing", sim::Sharing::kTimeSlicing}})
          .Count({.name = "slots",
                  .help = "slices of one card; 0: as many as fit",
                  .default_value = "0",
                  .low = 0,
                  .high = 128},
                 &GroupEntry::slots)
          .Percent({.name = "memory_ratio",
                    .help = "card memory handed out, of the physical",
                    .default_value = "100%",
                    .low = 100,
                    .high = 200},
                   &GroupEntry::memory_ratio_percent)
          .Percent({.name = "compute_ratio",
                    .help = "compute handed out",
                    .default_value = "100%",
                    .low = 100,
                    .high = 200},
                   &GroupEntry::compute_ratio_percent)
          .Percent({.name = "cpu_ratio",
                    .help = "host CPU handed out",
                    .default_value = "100%",
                    .low = 100,
                    .high = 1000},
                   &GroupEntry::cpu_ratio_percent)
          .Percent({.name = "host_memory_ratio",
                    .help = "host memory handed out",
                    .default_value = "100%",
                    .low = 100,
                    .high = 1000},
                   &GroupEntry::host_memory_ratio_percent)
          .Map({.name = "price", .help = "who pays, and when"}, &GroupEntry::price, PriceTable())
          .Duration({.name = "ordered", .help = "when the nodes are ordered", .default_value = "0"},
                    &GroupEntry::ordered_us)
          .Duration({.name = "lead_time",
                     .help = "from the order until they are there",
                     .default_value = "0"},
                    &GroupEntry::lead_time_us)
          .Duration({.name = "mtbf",
                     .help = "mean time between failures of a node; 0: none",
                     .default_value = "0"},
                    &GroupEntry::mtbf_us)
          .Drawn({.name = "repair", .help = "how long a failed node is away"}, &GroupEntry::repair)
          .TextList({.name = "taints", .help = "that pods must tolerate"}, &GroupEntry::taints);
  return table;
}

const Keys<SlotQuota>& SlotTable() {
  static const auto table =
      Keys<SlotQuota>()
          .Count({.name = "nodes",
                  .help = "how many, for this queue or all below it",
                  .low = 1,
                  .high = 1e6,
                  .required = true},
                 &SlotQuota::count)
          .Count({.name = "cards",
                  .help = "of such a node, exactly",
                  .low = 1,
                  .high = kMaxCardsPerNode,
                  .required = true},
                 &SlotQuota::cards)
          .Text({.name = "model", .help = "of its cards", .default_value = "any"},
                &SlotQuota::model);
  return table;
}

const Keys<QueueSpec>& QueueTable() {
  static const auto table =
      Keys<QueueSpec>()
          .Text({.name = "name", .help = "once in the tree", .required = true}, &QueueSpec::name)
          .Text({.name = "parent", .help = "the queue above", .default_value = "the root"},
                &QueueSpec::parent)
          .Count({.name = "weight",
                  .help = "its part of what is left over; 0: never borrows",
                  .default_value = "1",
                  .low = 0,
                  .high = kMaxQueueWeight},
                 &QueueSpec::weight)
          .Count({.name = "priority",
                  .help = "what is left over goes to higher ones first",
                  .default_value = "0",
                  .low = -1e9,
                  .high = 1e9},
                 &QueueSpec::priority)
          .Custom({.name = "guarantee",
                   .help = "it can always have this back: `{gpu: 8, gpu-memory: 320GiB, sku/x: 2}`",
                   .type = "amounts"},
                  Amounts(&QueueSpec::guarantee))
          .Custom({.name = "deserved",
                   .help = "before anyone borrows",
                   .type = "amounts",
                   .default_value = "guarantee"},
                  Amounts(&QueueSpec::deserved))
          .Custom({.name = "capacity",
                   .help = "never more than this",
                   .type = "amounts",
                   .default_value = "no limit"},
                  Amounts(&QueueSpec::capacity))
          .Flag({.name = "reclaimable",
                 .help = "others may take back what is beyond its guarantee",
                 .default_value = "true"},
                &QueueSpec::reclaimable)
          .Percent({.name = "memory_ratio",
                    .help = "cap on the memory oversubscription of its pods; 0%: none of its own",
                    .default_value = "0%",
                    .low = 0,
                    .high = 200},
                   &QueueSpec::memory_ratio_percent)
          .Maps({.name = "slots",
                 .help = "whole nodes that it can always have for work that is not preemptible"},
                &QueueSpec::slots, SlotTable());
  return table;
}

const Keys<ClusterEntry>& ClusterTable() {
  static const auto table =
      Keys<ClusterEntry>()
          .Text({.name = "name", .help = "once in the file", .required = true}, &ClusterEntry::name)
          .Text({.name = "region", .help = "where it is"}, &ClusterEntry::region)
          .Choice({.name = "kind", .help = "whose", .default_value = "private"},
                  &ClusterEntry::is_private, {{"private", true}, {"public", false}})
          .Duration({.name = "start_delay",
                     .help = "added to each start here (image and data over the network)",
                     .default_value = "0"},
                    &ClusterEntry::start_delay_us)
          .Maps({.name = "groups", .help = "its nodes", .required = true}, &ClusterEntry::groups,
                GroupTable())
          .Maps({.name = "queues", .help = "of this cluster", .default_value = "the file's"},
                &ClusterEntry::queues, QueueTable());
  return table;
}

const Keys<TenantEntry>& TenantTable() {
  static const auto table =
      Keys<TenantEntry>()
          .Text({.name = "name", .help = "once in the file", .required = true}, &TenantEntry::name)
          .Text({.name = "department", .help = "to which it belongs"}, &TenantEntry::department)
          .Name({.name = "queue", .help = "of its pods; without: outside all quotas"}, Kind::kQueue,
                &TenantEntry::queue)
          .Names({.name = "skus", .help = "that it may use", .default_value = "all"}, Kind::kSku,
                 &TenantEntry::skus);
  return table;
}

const Keys<SkuEntry>& SkuTable() {
  static const auto table = [] {
    Keys<SkuEntry> keys;
    keys.Text({.name = "name", .help = "once in the file", .required = true}, &SkuEntry::name)
        .Number({.name = "price_hour",
                 .help = "charged to the tenant while it is held",
                 .default_value = "0",
                 .low = 0},
                &SkuEntry::price_hour);
    AddRequestKeys(&keys);
    return keys;
  }();
  return table;
}

}  // namespace basalt::cli
