// Keys of what runs: services, sandboxes, training, virtual machines, and what they have in common.
#include "cli/platform_requests.h"
#include "cli/platform_tables.h"

namespace basalt::cli {
namespace {

using Kind = Reference::Kind;

template <class T>
void AddWorkloadKeys(Keys<T>* keys) {
  keys->Text({.name = "name", .help = "once in the file", .required = true}, &T::name)
      .Name({.name = "tenant", .help = "whose it is", .required = true}, Kind::kTenant, &T::tenant)
      .Name({.name = "queue", .help = "of its pods", .default_value = "the tenant's"}, Kind::kQueue,
            &T::queue)
      .Maps({.name = "offers",
             .help = "ways to run a pod of it, in order of preference; more than one: "
                     "alternatives",
             .required = true},
            &T::offer_entries, OfferTable())
      .Maps({.name = "places", .help = "clusters in order", .default_value = "all, at once"},
            &T::place_entries, PlaceTable())
      .Count({.name = "priority",
              .help = "in the queue, and against eviction",
              .default_value = "0",
              .low = -1e9,
              .high = 1e9},
             &T::priority)
      .Flag({.name = "preemptible", .help = "may be evicted", .default_value = "true"},
            &T::preemptible)
      .Duration({.name = "min_runtime", .help = "not evicted before", .default_value = "0"},
                &T::min_runtime_us)
      .Text({.name = "budget", .help = "its disruption budget"}, &T::budget)
      .Flag({.name = "high",
             .help = "on a card that it shares it goes first; the others give way "
                     "(`runtime.ladder`)",
             .default_value = "false"},
            &T::high)
      .Duration({.name = "retry",
                 .help = "what waits looks at its other offers and places this often",
                 .default_value = "10m"},
                &T::retry_us)
      .Share({.name = "use",
              .help = "compute that it uses on each card when it works, of the reference card "
                      "(services) or of its own (others); 0%: all of its slice",
              .default_value = "0%",
              .low = 0,
              .high = 2000},
             &T::use_milli)
      .Flag({.name = "compute_cap",
             .help = "false: may use more than its slice where the card has it",
             .default_value = "true"},
            &T::compute_cap)
      .Size({.name = "working_set",
             .help = "card memory in use on each card at peak",
             .default_value = "all of its memory"},
            &T::working_set_mib)
      .Size({.name = "idle_working_set",
             .help = "and when it does nothing",
             .default_value = "working_set"},
            &T::idle_working_set_mib)
      .Share({.name = "cpu_use",
              .help = "of its CPU request",
              .default_value = "100%",
              .low = 0,
              .high = 1000},
             &T::cpu_use_milli)
      .Share({.name = "memory_use",
              .help = "of its host memory request",
              .default_value = "100%",
              .low = 0,
              .high = 1000},
             &T::memory_use_milli)
      .Size({.name = "image", .help = "what committing and restarting move", .default_value = "0"},
            &T::image_mib);
}

void ReadHours(const std::string& file, const YAML::Node& node, const config::OptionInfo& option,
               TrainingEntry* out, config::Errors* errors) {
  if (!config::CheckList(file, node, option, errors)) return;
  if (node.size() != 24) {
    errors->Add(file, node, fmt::format("{} needs 24 values, not {}", option.name, node.size()));
    return;
  }
  for (const YAML::Node& item : node) {
    const auto milli = item.IsScalar() ? ParseShareMilli(item.Scalar()) : std::nullopt;
    if (!milli || *milli > 24000) {
      errors->Add(file, item, fmt::format("{} must be a percentage of the mean", option.name));
      continue;
    }
    out->hour_milli.push_back(static_cast<std::int32_t>(*milli));
  }
}

// {1: 80%, 4: 20%}: pods of a job, and how often.
void ReadSizes(const std::string& file, const YAML::Node& node, const config::OptionInfo& option,
               TrainingEntry* out, config::Errors* errors) {
  if (!node.IsMap() || node.size() == 0) {
    errors->Add(file, node,
                fmt::format("{} must be a map such as {{1: 80%, 4: 20%}}", option.name));
    return;
  }
  out->gang_sizes.clear();
  std::int64_t sum = 0;
  bool all_read = true;
  for (const auto& entry : node) {
    std::int64_t pods = 0;
    config::OptionInfo size = option;
    size.low = 1;
    size.high = 1024;
    if (!config::ReadInteger(file, entry.first, size, &pods, errors)) {
      all_read = false;
      continue;
    }
    const auto share =
        entry.second.IsScalar() ? ParseShareMilli(entry.second.Scalar()) : std::nullopt;
    if (!share || *share == 0) {
      errors->Add(file, entry.second, "must be a percentage above 0");
      all_read = false;
      continue;
    }
    sum += *share;
    out->gang_sizes.emplace_back(static_cast<std::int32_t>(pods),
                                 static_cast<double>(*share) / 1000);
  }
  if (all_read && sum != 1000) {
    errors->Add(file, node,
                fmt::format("the shares of {} add up to {}%; they must be 100% together",
                            option.name, static_cast<double>(sum) / 10));
  }
}

}  // namespace

const Keys<OfferEntry>& OfferTable() {
  static const auto table = [] {
    Keys<OfferEntry> keys;
    keys.Name({.name = "sku", .help = "this bundle, instead of the keys below"}, Kind::kSku,
              &OfferEntry::sku)
        .Duration({.name = "start",
                   .help = "from having its place to working (image, boot, model)",
                   .default_value = "0"},
                  &OfferEntry::start_us)
        .Duration({.name = "after",
                   .help = "considered once the pod has waited this long",
                   .default_value = "0"},
                  &OfferEntry::after_us);
    AddRequestKeys(&keys);
    return keys;
  }();
  return table;
}

const Keys<PlaceEntry>& PlaceTable() {
  static const auto table = Keys<PlaceEntry>()
                                .Name({.name = "cluster", .help = "where", .required = true},
                                      Kind::kCluster, &PlaceEntry::cluster)
                                .Duration({.name = "after",
                                           .help = "considered once the pod has waited this long",
                                           .default_value = "0"},
                                          &PlaceEntry::after_us);
  return table;
}

const Keys<DemandEntry>& DemandTable() {
  static const auto table =
      Keys<DemandEntry>()
          .TextList({.name = "shapes",
                     .help = "of the day, by service in turn: business-day, evening-peak, "
                             "night-batch, flat",
                     .required = true},
                    &DemandEntry::shapes)
          .Text({.name = "phasing",
                 .help = "how the days of the `count` services lie to each other: as-given, "
                         "staggered, independent, all-by-day, or 0..1 (staggered, and so far "
                         "together)",
                 .default_value = "as-given"},
                &DemandEntry::phasing)
          .Duration({.name = "shift", .help = "the whole day later", .default_value = "0"},
                    &DemandEntry::shift_us)
          .Share({.name = "noise",
                  .help = "standard deviation around the curve, of the peak",
                  .default_value = "0%",
                  .low = 0,
                  .high = 100},
                 &DemandEntry::noise_milli)
          .Share({.name = "smoothness",
                  .help = "autocorrelation of the noise from step to step",
                  .default_value = "0%",
                  .low = 0,
                  .high = 99.9},
                 &DemandEntry::smooth_milli)
          .Share({.name = "weekend",
                  .help = "demand of days 6 and 7 against a working day",
                  .default_value = "the shape's",
                  .low = 0,
                  .high = 100},
                 &DemandEntry::weekend_milli);
  return table;
}

const Keys<ServiceEntry>& ServiceTable() {
  static const auto table = [] {
    Keys<ServiceEntry> keys;
    AddWorkloadKeys(&keys);
    keys.Count({.name = "count",
                .help = "services alike, numbered `name-1`, `name-2`, ...",
                .default_value = "1",
                .low = 1,
                .high = 1000},
               &ServiceEntry::count)
        .Count({.name = "replicas_min",
                .help = "of each",
                .default_value = "1",
                .low = 0,
                .high = 100000},
               &ServiceEntry::replicas_min)
        .Count({.name = "replicas_max",
                .help = "of each; the demand's peak is what these serve at `use`",
                .default_value = "1",
                .low = 1,
                .high = 100000},
               &ServiceEntry::replicas_max)
        .Map({.name = "demand", .help = "over the day; without: always the peak"},
             &ServiceEntry::demand, DemandTable())
        .Share({.name = "target_load",
                .help = "replicas are wanted for this load of each",
                .default_value = "80%",
                .low = 1,
                .high = 100},
               &ServiceEntry::target_load_milli)
        .Duration({.name = "scale_down",
                   .help = "fewer replicas only after fewer were wanted for this long",
                   .default_value = "30m"},
                  &ServiceEntry::scale_down_us)
        .Duration({.name = "from", .help = "the service exists from here", .default_value = "0"},
                  &ServiceEntry::from_us)
        .Duration({.name = "to", .help = "to here", .default_value = "the end"},
                  &ServiceEntry::to_us);
    return keys;
  }();
  return table;
}

const Keys<SandboxEntry>& SandboxTable() {
  static const auto table = [] {
    Keys<SandboxEntry> keys;
    AddWorkloadKeys(&keys);
    keys.Count({.name = "users",
                .help = "with an environment each",
                .low = 0,
                .high = 100000,
                .required = true},
               &SandboxEntry::users)
        .Duration({.name = "day_start", .help = "users come from here", .default_value = "9h"},
                  &SandboxEntry::day_start_us)
        .Duration({.name = "day_spread", .help = "within this", .default_value = "2h"},
                  &SandboxEntry::day_spread_us)
        .Drawn({.name = "session",
                .help = "how long they stay",
                .default_value = "exponential(8h, 10m..16h)"},
               &SandboxEntry::session)
        .Share({.name = "come",
                .help = "probability to come on a working day",
                .default_value = "100%",
                .low = 0,
                .high = 100},
               &SandboxEntry::come_milli)
        .Count({.name = "working_days",
                .help = "of seven, from day 0",
                .default_value = "5",
                .low = 0,
                .high = 7},
               &SandboxEntry::working_days)
        .Drawn({.name = "burst",
                .help = "work in one go, at full speed",
                .default_value = "exponential(10m)"},
               &SandboxEntry::burst)
        .Drawn({.name = "think",
                .help = "from the end of a burst at full speed to the next",
                .default_value = "exponential(20m)"},
               &SandboxEntry::think)
        .Drawn({.name = "tenure",
                .help = "a user keeps coming for this long and gives the environment back",
                .default_value = "to the end"},
               &SandboxEntry::tenure)
        .Drawn({.name = "gap", .help = "then another takes over after this", .default_value = "0"},
               &SandboxEntry::gap)
        .Flag({.name = "give_back_daily",
               .help = "the environment ends when its user leaves",
               .default_value = "false"},
              &SandboxEntry::give_back_daily)
        .Flag({.name = "reclaim", .help = "`reclaim` applies", .default_value = "true"},
              &SandboxEntry::reclaim);
    return keys;
  }();
  return table;
}

const Keys<TrainingEntry>& TrainingTable() {
  static const auto table = [] {
    Keys<TrainingEntry> keys;
    AddWorkloadKeys(&keys);
    keys.Number({.name = "jobs_per_hour",
                 .help = "workflows that arrive, Poisson",
                 .low = 0,
                 .high = 1e6,
                 .required = true},
                &TrainingEntry::jobs_per_hour)
        .Custom({.name = "hours",
                 .help = "arrivals by hour of the day, of the mean; 24 values",
                 .type = "list of shares",
                 .default_value = "even"},
                ReadHours)
        .Custom({.name = "gang_sizes",
                 .help = "pods of a job and how often, 100% in all: `{1: 80%, 4: 20%}`",
                 .type = "map of shares",
                 .default_value = "{1: 100%}"},
                ReadSizes)
        .Drawn({.name = "duration",
                .help = "of a job at full speed",
                .default_value = "lognormal(4h, 1.5)"},
               &TrainingEntry::duration)
        .Duration({.name = "checkpoint",
                   .help = "work between checkpoints; 0: none, all is lost",
                   .default_value = "0"},
                  &TrainingEntry::checkpoint_us)
        .Share({.name = "communication",
                .help = "of the run time, gangs only",
                .default_value = "0%",
                .low = 0,
                .high = 99},
               &TrainingEntry::comm_milli)
        .Count({.name = "steps_min",
                .help = "jobs of a workflow, one after another",
                .default_value = "1",
                .low = 1,
                .high = 1000},
               &TrainingEntry::steps_min)
        .Count(
            {.name = "steps_max", .help = "at most", .default_value = "1", .low = 1, .high = 1000},
            &TrainingEntry::steps_max)
        .Number({.name = "estimate_factor",
                 .help = "what users say of the run time / what it takes; 0: nothing",
                 .default_value = "1",
                 .low = 0,
                 .high = 1000},
                &TrainingEntry::estimate_factor);
    return keys;
  }();
  return table;
}

const Keys<VmEntry>& VmTable() {
  static const auto table = [] {
    Keys<VmEntry> keys;
    AddWorkloadKeys(&keys);
    keys.Number({.name = "vms_per_hour",
                 .help = "that arrive, Poisson",
                 .default_value = "0",
                 .low = 0,
                 .high = 1e6},
                &VmEntry::vms_per_hour)
        .Count({.name = "at_start",
                .help = "there from the first moment",
                .default_value = "0",
                .low = 0,
                .high = 100000},
               &VmEntry::at_start)
        .Drawn(
            {.name = "hold", .help = "how long they are held", .default_value = "exponential(7d)"},
            &VmEntry::hold)
        .Drawn({.name = "burst", .help = "work in one go", .default_value = "exponential(30m)"},
               &VmEntry::burst)
        .Share({.name = "used",
                .help = "of the time held it works",
                .default_value = "20%",
                .low = 0.1,
                .high = 100},
               &VmEntry::used_milli);
    return keys;
  }();
  return table;
}

}  // namespace basalt::cli
