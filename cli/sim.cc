// `basalt sim`: runs of every trace x policy x seed, printed and reported.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "cli/common.h"
#include "cli/version.h"
#include "report/html.h"
#include "report/runs.h"
#include "scheduler-core/base/suggest.h"
#include "sim/experiment.h"

namespace basalt::cli {
namespace {

struct Options {
  TraceInput input;
  std::string policies = "fgd";
  std::string seeds = "42";
  std::string mode = "saturation";
  std::string orders;
  std::string queue = "fifo";
  std::string scenario;
  std::string report;
  std::string tier_bandwidth;
  int inflate = 130;
  int backfill_depth = 100;
  int wait_for_bandwidth = 0;
  int threads = 0;
  bool failures = false;
  bool quiet = false;
  bool scan = false;
  Format format = Format::kTable;
};

void PrintRuns(const Options& o, sim::Mode mode, const std::vector<sim::RunResult>& runs) {
  if (o.format == Format::kJson) {
    Print(report::RunsJson(runs, mode));
  } else if (o.failures) {
    Print(report::FailureTable(runs), o.format);
  } else if (o.format == Format::kCsv) {
    Print(report::SeriesTable(runs, mode), o.format);
  } else {
    Print(report::RunTable(runs, mode), o.format);
    std::printf("\n");
    Print(report::SummaryTable(runs, mode), o.format);
  }
}

// "spine=50,zone=25" for the tiers of the workload.
Result<std::map<int, int>> ParseTierBandwidth(const std::string& text, const sim::Workload& w) {
  std::map<int, int> out;
  for (const std::string& item : SplitList(text)) {
    if (item.empty()) continue;
    const std::size_t eq = item.find('=');
    int percent = 0;
    const char* end = item.data() + item.size();
    const auto read = eq == std::string::npos
                          ? std::from_chars_result{end, std::errc::invalid_argument}
                          : std::from_chars(item.data() + eq + 1, end, percent);
    if (read.ec != std::errc() || read.ptr != end || percent < 1 || percent > 100) {
      return Fail("--tier-bandwidth " + text, "wants TIER=PERCENT,...; percent 1..100");
    }
    const std::string name = item.substr(0, eq);
    int tier = name == "cluster" ? kAnyTier : 0;
    std::vector<std::string> names{"cluster"};
    for (const auto& [number, known] : w.tier_names) {
      names.push_back(known);
      if (known == name) tier = number;
    }
    if (tier == 0) return Fail("--tier-bandwidth", "unknown tier " + SuggestText(name, names));
    out[tier] = percent;
  }
  return out;
}

// An option that this mode would not look at is a mistake, not a wish.
Status CheckGiven(const Options& o, const CLI::App* app) {
  const auto given = [app](const char* name) { return app->count(name) > 0; };
  if (!o.scenario.empty()) {
    for (const char* name :
         {"--policy", "--seeds", "--mode", "--orders", "--inflate", "--queue", "--network",
          "--failures", "--scan", "--target-percent", "--backfill-depth", "--wait-for-bandwidth",
          "--tier-bandwidth", "--threads"}) {
      if (given(name)) return Fail(name, "is not used with --scenario: its arms say it");
    }
  }
  if (o.mode == "saturation") {
    for (const char* name :
         {"--queue", "--backfill-depth", "--wait-for-bandwidth", "--tier-bandwidth"}) {
      if (given(name)) return Fail(name, "is for --mode replay");
    }
  } else if (given("--inflate")) {
    return Fail("--inflate", "is for --mode saturation");
  } else if (given("--backfill-depth") && o.queue != "easy") {
    return Fail("--backfill-depth", "is for --queue easy");
  }
  return {};
}

void Run(const Options& o, const CLI::App* app, Context* context) {
  if (Status ok = CheckGiven(o, app); !ok) return context->BadInput(ok.error());
  if (!o.report.empty()) {
    if (Status ok = CheckWritable(o.report); !ok) return context->BadInput(ok.error());
  }
  if (!o.scenario.empty()) {
    if (!o.input.nodes.empty() || !o.input.pods.empty() || !o.input.traces.empty() ||
        o.input.generate) {
      return context->BadInput(
          Error{"--scenario", "has its own nodes and pods; leave the trace away"});
    }
    RunScenarioFile(context, o.scenario, o.report, o.format);
    return;
  }
  const auto policies = ParsePolicies(context->registry, o.policies);
  if (!policies) return context->BadInput(policies.error());
  const auto seeds = ParseSeeds(o.seeds);
  if (!seeds) return context->BadInput(seeds.error());
  const sim::Mode mode = o.mode == "replay" ? sim::Mode::kReplay : sim::Mode::kSaturation;
  if (!o.orders.empty() && mode == sim::Mode::kReplay) {
    return context->BadInput(Error{"--orders", "is for --mode saturation"});
  }
  const auto workloads = LoadWorkloads(o.input);
  if (!workloads) return context->BadInput(workloads.error());

  sim::Experiment e;
  e.mode = mode;
  for (const sim::Workload& w : *workloads) e.workloads.push_back(&w);
  e.policies = *policies;
  e.seeds = *seeds;
  e.inflate_percent = o.inflate;
  e.replay.queue = o.queue == "fifo"   ? sim::QueueOrder::kFifo
                   : o.queue == "easy" ? sim::QueueOrder::kEasy
                                       : sim::QueueOrder::kFifoSkip;
  if (o.wait_for_bandwidth > 0) {
    for (const sim::Workload& w : *workloads) {
      const bool known = std::any_of(w.nodes.begin(), w.nodes.end(),
                                     [](const NodeSpec& node) { return !node.machine.empty(); });
      if (!known) {
        return context->BadInput(
            Error{"--wait-for-bandwidth",
                  "no node of " + w.name + " says how its cards are wired (column topology)"});
      }
    }
  }
  e.replay.backfill_depth = o.backfill_depth;
  e.replay.wait_for_bandwidth_pct = o.wait_for_bandwidth;
  for (const sim::Workload& w : *workloads) {
    if (!o.tier_bandwidth.empty() && w.tier_names != workloads->front().tier_names) {
      return context->BadInput(
          Error{"--tier-bandwidth", "the traces have different network levels; run them apart"});
    }
  }
  const auto tiers = ParseTierBandwidth(o.tier_bandwidth, workloads->front());
  if (!tiers) return context->BadInput(tiers.error());
  e.replay.speed.tier_percent = *tiers;
  e.map_of_first_seed = !o.report.empty();
  e.run.scan_every_node = o.scan;
  if (!o.orders.empty()) {
    e.read_order = [&o](const sim::Workload& w, std::uint64_t seed) {
      return ReadOrder(o.orders, w, seed);
    };
  }
  e.thread_cpu_seconds = ThreadCpuSeconds;
  const std::size_t count = e.workloads.size() * e.policies.size() * e.seeds.size();
  auto runs = [&] {
    Progress progress("simulating", !o.quiet);
    e.progress = [&](std::size_t done, std::size_t all) { progress.Update(done, all); };
    const auto threads = MakeTbbExecutor(o.threads);
    if (count == 1) {  // then the threads search the domains of gangs
      if (o.threads != 1) e.run.executor = threads.get();
      SerialExecutor serial;
      return sim::RunExperiment(e, serial);
    }
    return sim::RunExperiment(e, *threads);
  }();
  if (!runs) return context->BadInput(runs.error());
  PrintRuns(o, mode, *runs);
  if (!o.report.empty()) {
    const report::ReportHead head{
        mode == sim::Mode::kSaturation ? "GPU fragmentation under saturation"
                                       : "GPU fragmentation over time",
        fmt::format("{} on {} nodes, {} cards", workloads->front().name,
                    workloads->front().nodes.size(), workloads->front().cards),
        context->command_line, kVersion};
    const std::string data = report::ReportJson(head, mode, e.workloads, *runs)
                                 .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    const std::string page = o.report.ends_with(".json") ? data : report::RenderHtml(data);
    if (Status ok = WriteFile(o.report, page); !ok) return context->BadInput(ok.error());
    std::fprintf(stderr, "report: %s\n", o.report.c_str());
  }
}

}  // namespace

void AddSim(CLI::App* app, Context* context) {
  auto o = std::make_shared<Options>();
  AddTraceInput(app, &o->input);
  app->add_option("--policy", o->policies, "policies, comma separated (see basalt --help)")
      ->capture_default_str();
  app->add_option("--seeds", o->seeds, "42-51 or 42,44")->capture_default_str();
  app->add_option("--mode", o->mode, "saturation (fill, no departures) or replay (in time)")
      ->check(CLI::IsMember({"saturation", "replay"}))
      ->capture_default_str();
  app->add_option("--orders", o->orders, "folder of arrival orders TRACE_SEED.txt[.gz]")
      ->type_name("DIR");
  app->add_option("--inflate", o->inflate, "saturation: demand as % of GPU capacity")
      ->check(WholeIn(1, 1000))
      ->capture_default_str();
  app->add_option(
         "--queue", o->queue,
         "replay: fifo (the head waits, and all behind it), easy (those behind may start if the "
         "head does not start later for it) or skip (those behind may pass)")
      ->check(CLI::IsMember({"fifo", "easy", "skip"}))
      ->capture_default_str();
  app->add_option("--backfill-depth", o->backfill_depth,
                  "replay, easy: jobs behind the head that are looked at, each time")
      ->check(WholeIn(1, 1'000'000))
      ->capture_default_str();
  app->add_option("--wait-for-bandwidth", o->wait_for_bandwidth,
                  "replay: pods of several cards wait for so many percent of the best bandwidth "
                  "that their size can have")
      ->check(WholeIn(0, 100))
      ->capture_default_str();
  app->add_option("--tier-bandwidth", o->tier_bandwidth,
                  "replay: what a job over that tier gets of its nodes' bandwidth, in percent")
      ->type_name("TIER=PERCENT,...");
  app->add_option("--scenario", o->scenario, "a scenario file: its arms side by side")
      ->type_name("FILE");
  app->add_option("--report", o->report,
                  "write a self-contained HTML page (or its data: FILE.json)")
      ->type_name("FILE");
  app->add_option("--threads", o->threads, "0: as many as there are")
      ->check(WholeIn(0, 1024))
      ->capture_default_str();
  app->add_flag("--failures", o->failures, "print failed requests by shape, with reasons");
  app->add_flag("--scan", o->scan, "look at every node for each decision (slow; same decisions)");
  app->add_flag("-q,--quiet", o->quiet, "no progress bar");
  AddFormat(app, &o->format);
  app->callback([o, app, context] { Run(*o, app, context); });
}

}  // namespace basalt::cli
