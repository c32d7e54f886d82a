// `basalt replay`: a recorded day (basalt serve --record) decided again as it was, or driven again
// by other policies.
#include <fmt/format.h>

#include <memory>
#include <string>
#include <vector>

#include "adapters/store/recording.h"
#include "cli/recordings.h"

namespace basalt::cli {
namespace {

struct ReplayInput {
  RecordingInput recording;
  std::string policies;
  Format format = Format::kTable;
};

std::string Span(SimTime begin, SimTime end) {
  return fmt::format("{:.1f} s", static_cast<double>(end.us - begin.us) / 1e6);
}

void PrintAgain(const sim::RecordingReplay& r, Format format) {
  const bool same = r.recorded == r.replayed;
  if (format == Format::kJson) {
    Print(nlohmann::json{{"policy", r.policy},
                         {"generations", r.segments},
                         {"generations_without_decisions", r.without_decisions},
                         {"seconds", static_cast<double>(r.end.us - r.begin.us) / 1e6},
                         {"decisions", r.decisions},
                         {"evictions", r.evictions},
                         {"different", r.different},
                         {"first_difference", r.first_difference},
                         {"recorded_digest", r.recorded.ToHex()},
                         {"replayed_digest", r.replayed.ToHex()},
                         {"same_digest", same},
                         {"states_compared", r.states},
                         {"states_different", r.states_different},
                         {"first_gap", r.first_gap},
                         {"state_digest", r.state_digest.ToHex()}});
    return;
  }
  report::Table table;
  table.header = {"what", "value"};
  table.rows = {
      {"policy", r.policy},
      {"generations", r.without_decisions == 0 ? std::to_string(r.segments)
                                               : fmt::format("{}, {} of them without decisions",
                                                             r.segments, r.without_decisions)},
      {"time", Span(r.begin, r.end)},
      {"decisions", fmt::format("{} ({} evictions)", r.decisions, r.evictions)},
      {"differences", std::to_string(r.different)},
      {"first difference", r.first_difference.empty() ? "-" : r.first_difference},
      {"recorded digest", r.recorded.ToHex()},
      {"replayed digest", r.replayed.ToHex() + (same ? " (the same)" : " (ANOTHER)")},
      {"states", fmt::format("{} of {} as the server's next snapshot has it",
                             r.states - r.states_different, r.states)},
      {"first gap", r.first_gap.empty() ? "-" : r.first_gap},
      {"state digest", r.state_digest.ToHex()}};
  Print(table, format);
}

nlohmann::json JsonOf(const sim::WhatIfRun& run) {
  nlohmann::json causes;
  for (std::size_t c = 0; c < kStrandCauses; ++c) {
    causes[std::string(StrandCauseKey(static_cast<StrandCause>(c)))] = run.stranded_gpus[c];
  }
  const bool driven = run.name != sim::kAsItHappened;
  return {
      {"name", run.name},
      {"policy", run.policy},
      {"arrivals", run.arrivals},
      {"placed", run.placed},
      {"waiting", run.waiting},
      {"refused", run.refused},
      {"withdrawn", run.withdrawn},
      {"running_at_end", run.running},
      {"gangs", run.gangs},
      {"gangs_placed", run.gangs_placed},
      {"wait_s",
       {{"mean", run.wait.mean},
        {"p50", run.wait.p50},
        {"p95", run.wait.p95},
        {"p99", run.wait.p99},
        {"max", run.wait.max}}},
      {"allocation_pct", run.allocation_pct},
      {"stranded_pct", run.stranded_pct},
      {"stranded_gpus", std::move(causes)},
      {"idle_cards", run.idle_cards},
      {"waiting_pods", run.waiting_pods},
      {"end_allocation_pct", run.end_allocation_pct},
      {"end_stranded_pct", run.end_stranded_pct},
      {"decision_digest", driven ? nlohmann::json(run.decision_digest.ToHex()) : nlohmann::json()}};
}

void PrintWhatIf(const sim::WhatIf& what, Format format) {
  if (format == Format::kJson) {
    nlohmann::json runs = nlohmann::json::array();
    for (const sim::WhatIfRun& run : what.runs) runs.push_back(JsonOf(run));
    Print(nlohmann::json{{"seconds", static_cast<double>(what.end.us - what.begin.us) / 1e6},
                         {"foreign_pods", what.foreign_pods},
                         {"there_before", what.there_before},
                         {"target_classes", what.target_classes},
                         {"target_from_day", what.target_from_day},
                         {"runs", std::move(runs)}});
    return;
  }
  report::Table table;
  table.header = {"policy",    "arrivals",   "placed",      "waiting",       "refused",
                  "withdrawn", "gangs",      "alloc %",     "stranded %",    "idle cards",
                  "wait s",    "wait s p95", "alloc % end", "stranded % end"};
  for (const sim::WhatIfRun& run : what.runs) {
    table.rows.push_back(
        {run.name == sim::kAsItHappened ? fmt::format("{} ({})", run.name, run.policy) : run.name,
         std::to_string(run.arrivals), std::to_string(run.placed), std::to_string(run.waiting),
         std::to_string(run.refused), std::to_string(run.withdrawn),
         fmt::format("{} of {}", run.gangs_placed, run.gangs), report::Fixed(run.allocation_pct, 2),
         report::Fixed(run.stranded_pct, 2), report::Fixed(run.idle_cards, 1),
         report::Fixed(run.wait.mean, 1), report::Fixed(run.wait.p95, 1),
         report::Fixed(run.end_allocation_pct, 2), report::Fixed(run.end_stranded_pct, 2)});
  }
  Print(table, format);
  std::fprintf(stderr,
               "%s; %lld pods were never asked for and stay where they were seen, %lld were there "
               "before; stranded is measured against %zu classes of %s\n",
               Span(what.begin, what.end).c_str(), static_cast<long long>(what.foreign_pods),
               static_cast<long long>(what.there_before), what.target_classes,
               what.target_from_day ? "the day's own pods" : "the recorded target");
}

}  // namespace

void AddRecordingInput(CLI::App* app, RecordingInput* input) {
  app->add_option("recording", input->folder,
                  "a cluster's folder in the store of a server that records (STORE/CLUSTER), or a "
                  "copy of it")
      ->required()
      ->type_name("DIR");
  app->add_flag("--cut-tail", input->cut_tail,
                "take a torn end of a file for its end, as a restart does");
}

void WithRecording(const RecordingInput& input, Context* context,
                   const std::function<Status(const sim::SegmentSource&)>& use) {
  auto recording = store::Recording::Open(input.folder, input.cut_tail);
  if (!recording) return context->BadInput(recording.error());
  const sim::SegmentSource source{recording->generations().size(),
                                  [&](std::size_t s) { return recording->Read(s); }};
  const Status done = use(source);
  if (!done) {
    const Error& error = done.error();
    const bool file = error.where.starts_with("journal-") ||
                      error.where.starts_with("decisions-") || error.where.starts_with("snapshot-");
    return context->BadInput(file ? Error{input.folder + "/" + error.where, error.message} : error);
  }
  for (const std::string& note : recording->notes()) {
    std::fprintf(stderr, "%s: %s\n", input.folder.c_str(), note.c_str());
  }
}

void AddReplay(CLI::App* app, Context* context) {
  auto input = std::make_shared<ReplayInput>();
  AddRecordingInput(app, &input->recording);
  app->add_option("--policy", input->policies,
                  "drive the same arrivals, ends and nodes by these policies and compare")
      ->type_name("A,B");
  AddFormat(app, &input->format);
  app->callback([input, context] {
    std::vector<std::string> names;
    if (!input->policies.empty()) {
      const auto policies = ParsePolicies(context->registry, input->policies);
      if (!policies) return context->BadInput(policies.error());
      for (const ConfiguredPolicy& policy : *policies) names.push_back(policy.expression);
    }
    WithRecording(input->recording, context, [&](const sim::SegmentSource& source) -> Status {
      if (names.empty()) {
        const auto again = sim::ReplayRecording(source, context->registry);
        if (!again) return tl::unexpected<Error>(again.error());
        PrintAgain(*again, input->format);
        if (again->different > 0 || again->recorded != again->replayed) {
          context->exit_code = kNondeterminism;
        }
        return {};
      }
      const auto what = sim::DriveRecording(source, context->registry, names);
      if (!what) return tl::unexpected<Error>(what.error());
      PrintWhatIf(*what, input->format);
      return {};
    });
  });
}

}  // namespace basalt::cli
