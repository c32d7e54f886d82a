// Keys of the file itself, of what is compared, and the reference page of all of them.
#include "cli/platform_tables.h"

namespace basalt::cli {
namespace {

// Reads into a part of the entry.
template <class T, class Part>
auto Into(Part T::* part, const Keys<Part>& table) {
  return [part, &table](const auto& file, const auto& node, const auto&, T* out,
                        config::Errors* errors) { table.Parse(file, node, &(out->*part), errors); };
}

// {path: value}: the values are applied to the file before it is read (platform_arms.cc); here they
// are text for the report.
void ReadSet(const std::string& file, const YAML::Node& node, const config::OptionInfo& option,
             ArmEntry* out, config::Errors* errors) {
  if (!node.IsMap()) {
    errors->Add(file, node, fmt::format("{} must be a map of \"path: value\" lines", option.name));
    return;
  }
  for (const auto& entry : node) {
    if (!entry.first.IsScalar()) {
      errors->Add(file, entry.first, "must be a path such as runtime.ladder");
      continue;
    }
    YAML::Emitter text;
    text << YAML::Flow << entry.second;
    out->set.emplace_back(entry.first.Scalar(), text.c_str());
  }
}

}  // namespace

const Keys<ArmEntry>& ArmTable() {
  static const auto table =
      Keys<ArmEntry>()
          .Text({.name = "name", .help = "as the report calls it", .required = true},
                &ArmEntry::name)
          .Text({.name = "about", .help = "what is different, in words"}, &ArmEntry::about)
          .Custom({.name = "set",
                   .help = "keys of the file with other values: "
                           "`{clusters.onprem.groups.a100.memory_ratio: 200%}`; entries of lists "
                           "by name, `*` for all of them",
                   .type = "map"},
                  ReadSet);
  return table;
}

const Keys<SweepEntry>& SweepTable() {
  static const auto table =
      Keys<SweepEntry>()
          .Text({.name = "key", .help = "path, as in an arm's `set`", .required = true},
                &SweepEntry::key)
          .TextList({.name = "values", .help = "an arm for each", .required = true},
                    &SweepEntry::values)
          .TextList({.name = "arms",
                     .help = "that are taken at each value",
                     .default_value = "the baseline"},
                    &SweepEntry::arms);
  return table;
}

const Keys<ClaimEntry>& ClaimTable() {
  static const auto table =
      Keys<ClaimEntry>()
          .Text({.name = "text", .help = "what the document says", .required = true},
                &ClaimEntry::text)
          .Text({.name = "source", .help = "where it says so"}, &ClaimEntry::source)
          .Text({.name = "metric", .help = "expression over the arms, see below", .required = true},
                &ClaimEntry::metric)
          .Text({.name = "holds",
                 .help = "the metric's range: `>= 80`, `< 5` or `60..70`",
                 .required = true},
                &ClaimEntry::holds)
          .Text({.name = "unit", .help = "of the metric, for the report"}, &ClaimEntry::unit);
  return table;
}

const Keys<AssumptionEntry>& AssumptionTable() {
  static const auto table =
      Keys<AssumptionEntry>()
          .Text({.name = "name", .help = "what is assumed", .required = true},
                &AssumptionEntry::name)
          .Text({.name = "key", .help = "path of the key that holds it; its value is shown"},
                &AssumptionEntry::key)
          .Text({.name = "value", .help = "in words, where no single key holds it"},
                &AssumptionEntry::value)
          .Text({.name = "range", .help = "in which it is plausible"}, &AssumptionEntry::range)
          .Text({.name = "source", .help = "or the reason", .required = true},
                &AssumptionEntry::source);
  return table;
}

const Keys<PlatformEntry>& PlatformTable() {
  using P = PlatformEntry;
  static const auto table =
      Keys<P>()
          .Text({.name = "scenario", .help = "its title", .required = true}, &P::title)
          .Text({.name = "about", .help = "a sentence for the report"}, &P::about)
          .Text({.name = "document", .help = "whose figures are checked"}, &P::document)
          .Text({.name = "currency", .help = "of all prices", .default_value = "CNY"}, &P::currency)
          .Duration({.name = "horizon", .help = "the run ends here", .default_value = "7d"},
                    &P::horizon_us)
          .Duration({.name = "warmup", .help = "nothing is measured before", .default_value = "0"},
                    &P::warmup_us)
          .Count({.name = "seed", .help = "of all that is drawn", .default_value = "1", .low = 0},
                 &P::seed)
          .Duration({.name = "demand_step", .help = "15m or 1h", .default_value = "15m"},
                    &P::demand_step_us)
          .Duration(
              {.name = "series_step", .help = "of the curves in the report", .default_value = "1h"},
              &P::series_step_us)
          .Maps({.name = "clusters", .help = "what there is", .required = true}, &P::clusters,
                ClusterTable())
          .Maps({.name = "queues", .help = "the same tree in each cluster; without: no queues"},
                &P::queues, QueueTable())
          .Maps({.name = "tenants", .help = "who", .required = true}, &P::tenants, TenantTable())
          .Maps({.name = "skus", .help = "named bundles with a price"}, &P::skus, SkuTable())
          .Maps({.name = "services", .help = "inference"}, &P::services, ServiceTable())
          .Maps({.name = "sandboxes", .help = "people with an environment each"}, &P::sandboxes,
                SandboxTable())
          .Maps({.name = "training", .help = "jobs that end"}, &P::training, TrainingTable())
          .Maps({.name = "vms", .help = "machines held for days"}, &P::vms, VmTable())
          .Custom({.name = "load", .help = "all demand of a kind times a number", .type = "map"},
                  Into(&P::load, LoadTable()))
          .Custom({.name = "runtime", .help = "what happens on shared cards", .type = "map"},
                  Into(&P::runtime, RuntimeTable()))
          .Custom({.name = "reclaim", .help = "of idle sandboxes", .type = "map"},
                  Into(&P::reclaim, ReclaimTable()))
          .Custom({.name = "pools", .help = "shared and passthrough", .type = "map"},
                  Into(&P::pools, PoolTable()))
          .Custom({.name = "scheduling", .help = "which job next, and where", .type = "map"},
                  Into(&P::scheduling, SchedulingTable()))
          .Maps({.name = "maintenance", .help = "planned work on nodes"}, &P::maintenance,
                MaintenanceTable())
          .Maps({.name = "arms", .help = "what is compared", .default_value = "one, the file"},
                &P::arms, ArmTable())
          .Custom(
              {.name = "sweep", .help = "more arms, from the values of one key", .type = "map"},
              [](const auto& file, const auto& node, const auto&, P* out, config::Errors* errors) {
                SweepTable().Parse(file, node, &out->sweep.emplace(), errors);
              })
          .Text({.name = "baseline",
                 .help = "the arm that others are compared with",
                 .default_value = "the first"},
                &P::baseline)
          .Flag({.name = "equal_service",
                 .help = "search how many cards each arm needs for the baseline's service",
                 .default_value = "false"},
                &P::equal_service)
          .Maps({.name = "claims", .help = "figures of the document"}, &P::claims, ClaimTable())
          .Maps({.name = "assumptions", .help = "what the document does not say"}, &P::assumptions,
                AssumptionTable());
  return table;
}

std::string PlatformKeys() {
  std::string out;
  const auto add = [&out](const char* title, const auto& table) {
    out += fmt::format("### {}\n\n{}\n", title, config::ReferenceTable(table.infos()));
  };
  add("The file", PlatformTable());
  add("`clusters`", ClusterTable());
  add("`clusters.*.groups`", GroupTable());
  add("`clusters.*.groups.*.price`", PriceTable());
  add("`queues`", QueueTable());
  add("`queues.*.slots`", SlotTable());
  add("`tenants`", TenantTable());
  add("`skus`", SkuTable());
  add("`offers` of a workload", OfferTable());
  add("`places` of a workload", PlaceTable());
  add("`services`", ServiceTable());
  add("`services.*.demand`", DemandTable());
  add("`sandboxes`", SandboxTable());
  add("`training`", TrainingTable());
  add("`vms`", VmTable());
  add("`load`", LoadTable());
  add("`runtime`", RuntimeTable());
  add("`runtime.ladder`, as a list", LadderTable());
  add("`reclaim`", ReclaimTable());
  add("`pools`", PoolTable());
  add("`scheduling`", SchedulingTable());
  add("`maintenance`", MaintenanceTable());
  add("`arms`", ArmTable());
  add("`sweep`", SweepTable());
  add("`claims`", ClaimTable());
  add("`assumptions`", AssumptionTable());
  return out;
}

}  // namespace basalt::cli
