// Keys of the rules: runtime, reclaim, pools, maintenance, scheduling, load.
#include "cli/platform_tables.h"

namespace basalt::cli {
namespace {

using Kind = Reference::Kind;
using sim::LadderAction;

const std::vector<std::pair<std::string, LadderAction>>& LadderActions() {
  static const std::vector<std::pair<std::string, LadderAction>> words = {
      {"throttled", LadderAction::kThrottled},
      {"blocked", LadderAction::kBlocked},
      {"offloaded", LadderAction::kOffloaded},
      {"commit-exit", LadderAction::kCommitExit},
      {"evicted", LadderAction::kEvicted}};
  return words;
}

// One word: this step at once.
void ReadLadder(const std::string& file, const YAML::Node& node, const config::OptionInfo& option,
                RuntimeEntry* out, config::Errors* errors) {
  sim::LadderSpec& ladder = out->ladder;
  ladder.steps.clear();
  if (node.IsScalar()) {
    std::vector<std::string> names;
    for (const auto& [word, action] : LadderActions()) {
      names.push_back(word);
      if (word == node.Scalar()) ladder.steps.push_back({action, 0});
    }
    if (ladder.steps.empty()) {
      errors->Add(file, node, fmt::format("{} is no step", SuggestText(node.Scalar(), names)));
    }
    return;
  }
  if (!config::CheckList(file, node, option, errors)) return;
  for (const YAML::Node& item : node) {
    sim::LadderStep step;
    LadderTable().Parse(file, item, &step, errors);
    if (!ladder.steps.empty() && step.after_us < ladder.steps.back().after_us) {
      errors->Add(file, item, "comes before the step above it; order them by `after`");
    }
    ladder.steps.push_back(step);
  }
  if (ladder.steps.empty()) errors->Add(file, node, "name at least one step");
}

void ReadGroups(const std::string& file, const YAML::Node& node, const config::OptionInfo& option,
                PoolEntry* out, config::Errors* errors) {
  if (!config::CheckList(file, node, option, errors)) return;
  for (const YAML::Node& item : node) {
    std::string text;
    if (!config::ReadText(file, item, option, &text, errors)) continue;
    const std::size_t slash = text.find('/');
    const std::string cluster = text.substr(0, slash);
    out->references.push_back({Kind::kCluster, cluster, item});
    if (slash == std::string::npos) {
      errors->Add(file, item, fmt::format("\"{}\" is no CLUSTER/GROUP", text));
      continue;
    }
    out->groups.emplace_back(cluster, text.substr(slash + 1));
  }
}

// The ladder's own numbers stand beside it.
struct LadderNumbers {
  static auto Trigger() {
    return [](const auto& file, const auto& node, const auto& option, RuntimeEntry* out,
              config::Errors* errors) {
      const auto milli = node.IsScalar() ? ParseShareMilli(node.Scalar()) : std::nullopt;
      if (!milli || *milli > 1000) {
        errors->Add(file, node, fmt::format("{} must be a percentage up to 100%", option.name));
        return;
      }
      out->ladder.trigger_milli = static_cast<std::int32_t>(*milli);
    };
  }
  static auto Time(std::int64_t sim::LadderSpec::* field) {
    return [field](const auto& file, const auto& node, const auto& option, RuntimeEntry* out,
                   config::Errors* errors) {
      const auto us = node.IsScalar() ? ParseDurationUs(node.Scalar()) : std::nullopt;
      if (!us) {
        errors->Add(file, node,
                    fmt::format("{} must be a length of time such as 10m", option.name));
        return;
      }
      out->ladder.*field = *us;
    };
  }
};

}  // namespace

const Keys<sim::LadderStep>& LadderTable() {
  static const auto table =
      Keys<sim::LadderStep>()
          .Choice({.name = "action", .help = "what low priority has to do", .required = true},
                  &sim::LadderStep::action, LadderActions())
          .Duration({.name = "after", .help = "of need", .default_value = "0"},
                    &sim::LadderStep::after_us);
  return table;
}

const Keys<RuntimeEntry>& RuntimeTable() {
  using R = RuntimeEntry;
  static const auto table =
      Keys<R>()
          .Custom({.name = "ladder",
                   .help = "what low priority does while high priority needs the card: throttled, "
                           "blocked, offloaded, commit-exit, evicted; or a list of steps",
                   .type = "step or list of maps",
                   .default_value = "blocked"},
                  ReadLadder)
          .Custom({.name = "ladder_trigger",
                   .help = "high priority needs the card when it wants more than this of it",
                   .type = "share",
                   .default_value = "10%"},
                  LadderNumbers::Trigger())
          .Custom({.name = "ladder_quiet",
                   .help = "need ends when there was none for this long",
                   .type = "duration",
                   .default_value = "0"},
                  LadderNumbers::Time(&sim::LadderSpec::quiet_us))
          .Custom({.name = "ladder_backoff",
                   .help = "who had to exit is queued again after this",
                   .type = "duration",
                   .default_value = "10m"},
                  LadderNumbers::Time(&sim::LadderSpec::backoff_us))
          .Number({.name = "kappa",
                   .help = "n busy slices on a card: each has 1/(1 + kappa (n - 1)) of its speed",
                   .default_value = "0",
                   .low = 0,
                   .high = 100},
                  &R::kappa)
          .Share({.name = "slicing_overhead",
                  .help = "of a slice's speed (not of whole cards)",
                  .default_value = "0%",
                  .low = 0,
                  .high = 99},
                 &R::slicing_overhead_milli)
          .Share({.name = "time_slicing_overhead",
                  .help = "with neighbours",
                  .default_value = "0%",
                  .low = 0,
                  .high = 99},
                 &R::time_slicing_overhead_milli)
          .Share({.name = "partition_overhead",
                  .help = "of a MIG partition's speed",
                  .default_value = "0%",
                  .low = 0,
                  .high = 99},
                 &R::partition_overhead_milli)
          .Number({.name = "memory_beta",
                   .help = "working sets above the card's memory: speed 1/(1 + beta (pressure - "
                           "1)), those that are not guaranteed first",
                   .default_value = "4",
                   .low = 0,
                   .high = 1000},
                  &R::memory_beta)
          .Number({.name = "host_memory_beta",
                   .help = "the same for host memory",
                   .default_value = "4",
                   .low = 0,
                   .high = 1000},
                  &R::host_memory_beta)
          .Share({.name = "cpu_bound",
                  .help = "of the work that slows down with less CPU",
                  .default_value = "50%",
                  .low = 0,
                  .high = 100},
                 &R::cpu_bound_milli)
          .Share({.name = "slowdown",
                  .help = "slower than this counts as overload",
                  .default_value = "105%",
                  .low = 100,
                  .high = 10000},
                 &R::slowdown_milli)
          .Duration({.name = "offload_per_gib", .help = "one way", .default_value = "100ms"},
                    &R::offload_us_per_gib)
          .Duration({.name = "commit", .help = "an image", .default_value = "30s"}, &R::commit_us)
          .Duration({.name = "commit_per_gib", .help = "and by its size", .default_value = "5s"},
                    &R::commit_us_per_gib)
          .Duration({.name = "restart", .help = "on top of `start`", .default_value = "30s"},
                    &R::restart_us)
          .Duration({.name = "restart_per_gib", .help = "and by image size", .default_value = "2s"},
                    &R::restart_us_per_gib)
          .Duration({.name = "evict_grace",
                     .help = "from being told to leave to being gone",
                     .default_value = "0"},
                    &R::evict_grace_us);
  return table;
}

const Keys<ReclaimEntry>& ReclaimTable() {
  using R = ReclaimEntry;
  static const auto table =
      Keys<R>()
          .Duration({.name = "idle_after",
                     .help = "sandboxes idle for this long are committed and exit; 0: off",
                     .default_value = "0"},
                    &R::idle_after_us)
          .Share({.name = "idle_below",
                  .help = "mean use of the slice over these hours is below this",
                  .default_value = "1%",
                  .low = 0,
                  .high = 100},
                 &R::idle_below_milli)
          .Duration(
              {.name = "measure_step", .help = "how often it is looked at", .default_value = "15m"},
              &R::measure_step_us)
          .Duration({.name = "lease",
                     .help = "at most this long without renewal; a present user renews; 0: off",
                     .default_value = "0"},
                    &R::lease_us);
  return table;
}

const Keys<PoolEntry>& PoolTable() {
  using P = PoolEntry;
  static const auto table =
      Keys<P>()
          .Flag({.name = "dynamic",
                 .help = "cards move between shared and passthrough by demand",
                 .default_value = "false"},
                &P::dynamic)
          .Custom({.name = "groups",
                   .help = "that take part, as CLUSTER/GROUP",
                   .type = "list of text",
                   .default_value = "all"},
                  ReadGroups)
          .Duration({.name = "decide_every", .help = "how often", .default_value = "10m"},
                    &P::decide_every_us)
          .Duration({.name = "drain",
                     .help = "from empty to ready in the other mode",
                     .default_value = "15m"},
                    &P::drain_us)
          .Share({.name = "max_moving",
                  .help = "of the cards, at once",
                  .default_value = "20%",
                  .low = 0,
                  .high = 100},
                 &P::max_moving_milli)
          .Share({.name = "min_shared",
                  .help = "never fewer",
                  .default_value = "0%",
                  .low = 0,
                  .high = 100},
                 &P::min_shared_milli)
          .Share({.name = "min_passthrough",
                  .help = "never fewer",
                  .default_value = "0%",
                  .low = 0,
                  .high = 100},
                 &P::min_passthrough_milli)
          .Share({.name = "headroom",
                  .help = "of the cards: kept free in each mode, ahead of demand",
                  .default_value = "0%",
                  .low = 0,
                  .high = 50},
                 &P::headroom_milli)
          .Flag({.name = "evict",
                 .help = "preemptible pods leave a card that moves; else it empties by itself",
                 .default_value = "false"},
                &P::evict);
  return table;
}

const Keys<MaintenanceEntry>& MaintenanceTable() {
  using M = MaintenanceEntry;
  static const auto table =
      Keys<M>()
          .Name({.name = "cluster", .help = "where", .required = true}, Kind::kCluster, &M::cluster)
          .Text({.name = "group", .help = "of its nodes", .required = true}, &M::group)
          .Count({.name = "first",
                  .help = "node of the group",
                  .default_value = "0",
                  .low = 0,
                  .high = 100000},
                 &M::first)
          .Count({.name = "count", .help = "nodes", .default_value = "1", .low = 1, .high = 100000},
                 &M::count)
          .Duration({.name = "at", .help = "when", .required = true}, &M::at_us)
          .Duration(
              {.name = "grace", .help = "what still runs then is evicted", .default_value = "0"},
              &M::grace_us)
          .Duration({.name = "length", .help = "of the work", .default_value = "1h"},
                    &M::length_us);
  return table;
}

const Keys<SchedulingEntry>& SchedulingTable() {
  using S = SchedulingEntry;
  static const auto table =
      Keys<S>()
          .Text({.name = "policy", .help = "policy expression", .default_value = "binpack"},
                &S::policy)
          .Choice({.name = "order", .help = "which job next", .default_value = "priority"},
                  &S::order,
                  {{"fifo", JobOrder::kFifo},
                   {"priority", JobOrder::kPriority},
                   {"fair-share", JobOrder::kFairShare}})
          .Choice({.name = "backfill",
                   .help = "strict: nobody passes who waits; none: everybody who fits starts; "
                           "easy, conservative: who waits is not delayed",
                   .default_value = "none"},
                  &S::backfill,
                  {{"strict", Backfill::kStrict},
                   {"none", Backfill::kNone},
                   {"easy", Backfill::kEasy},
                   {"conservative", Backfill::kConservative}})
          .Count({.name = "depth",
                  .help = "jobs looked at behind the first that waits",
                  .default_value = "100",
                  .low = 1,
                  .high = 1e6},
                 &S::depth)
          .Duration({.name = "starvation",
                     .help = "waited longer than this: nobody passes it any more; 0: never",
                     .default_value = "0"},
                    &S::starvation_us)
          .Choice({.name = "share",
                   .help = "how fair shares are divided, for reclaim: each resource by itself, or "
                           "by dominant shares (DRF)",
                   .default_value = "per-resource"},
                  &S::share,
                  {{"per-resource", ShareRule::kPerResource}, {"dominant", ShareRule::kDominant}})
          .Duration({.name = "usage_half_life",
                     .help = "past use of queues is remembered, half of it for so long; 0: it is "
                             "not",
                     .default_value = "0"},
                    &S::usage_half_life_us)
          .Share({.name = "usage_factor",
                  .help = "how much past use lowers a queue's weight; with usage_half_life, share "
                          "per-resource",
                  .default_value = "0%",
                  .low = 0,
                  .high = 10000},
                 &S::usage_factor_milli)
          .Flag({.name = "evict", .help = "jobs may take others' places", .default_value = "false"},
                &S::evict)
          .Flag({.name = "preempt",
                 .help = "with evict: lower priorities give way",
                 .default_value = "true"},
                &S::preempt)
          .Flag({.name = "preempt_across_queues",
                 .help = "also in other queues",
                 .default_value = "true"},
                &S::across_queues)
          .Flag({.name = "reclaim",
                 .help = "with evict: queues over their share give way to those within theirs",
                 .default_value = "true"},
                &S::reclaim)
          .Flag({.name = "break_budgets",
                 .help = "when nothing else helps",
                 .default_value = "false"},
                &S::break_budgets)
          .Duration({.name = "cycle",
                     .help = "a pass at most this often; 0: at every change",
                     .default_value = "0"},
                    &S::cycle_us);
  return table;
}

const Keys<LoadEntry>& LoadTable() {
  using L = LoadEntry;
  static const auto table =
      Keys<L>()
          .Number({.name = "services",
                   .help = "demand of all services times this (replicas)",
                   .default_value = "1",
                   .low = 0,
                   .high = 1000},
                  &L::services)
          .Number(
              {.name = "sandboxes", .help = "users", .default_value = "1", .low = 0, .high = 1000},
              &L::sandboxes)
          .Number({.name = "training",
                   .help = "jobs per hour",
                   .default_value = "1",
                   .low = 0,
                   .high = 1000},
                  &L::training)
          .Number({.name = "vms", .help = "machines", .default_value = "1", .low = 0, .high = 1000},
                  &L::vms)
          .Share({.name = "inference",
                  .help = "share of services in the compute that services and training want "
                          "together; their sum stays",
                  .default_value = "as it stands",
                  .low = 0,
                  .high = 100},
                 &L::inference_milli);
  return table;
}

}  // namespace basalt::cli
