// `basalt sim`: runs of every trace x policy x seed, printed and reported.
#include <fmt/format.h>

#include "cli/common.h"
#include "cli/version.h"
#include "report/html.h"
#include "report/runs.h"
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
  int inflate = 130;
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

void Run(const Options& o, Context* context) {
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
  e.replay.queue = o.queue == "fifo" ? sim::QueueOrder::kFifo : sim::QueueOrder::kFifoSkip;
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
    if (count == 1) {
      sim::SerialExecutor serial;
      return sim::RunExperiment(e, serial);
    }
    return sim::RunExperiment(e, *MakeTbbExecutor(o.threads));
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
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app->add_option(
         "--queue", o->queue,
         "replay: fifo (the head waits, and all behind it) or skip (those behind may pass)")
      ->check(CLI::IsMember({"fifo", "skip"}))
      ->capture_default_str();
  app->add_option("--scenario", o->scenario, "a scenario file: its arms side by side")
      ->type_name("FILE");
  app->add_option("--report", o->report,
                  "write a self-contained HTML page (or its data: FILE.json)")
      ->type_name("FILE");
  app->add_option("--threads", o->threads, "0: as many as there are")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  app->add_flag("--failures", o->failures, "print failed requests by shape, with reasons");
  app->add_flag("--scan", o->scan, "look at every node for each decision (slow; same decisions)");
  app->add_flag("-q,--quiet", o->quiet, "no progress bar");
  AddFormat(app, &o->format);
  app->callback([o, context] { Run(*o, context); });
}

}  // namespace basalt::cli
