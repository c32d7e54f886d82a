// `basalt topo compare`: card choices side by side on machines of one type, with what they cost in
// waiting. Jobs of whole cards arrive at a load, run, and leave (sim/workload.h, CardJobs).
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "cli/common.h"
#include "sim/experiment.h"
#include "topology/synthetic.h"

namespace basalt::cli {
namespace {

// What others do, then ours with its price from cheap to dear.
constexpr const char* kDefaultPolicies =
    "binpack/first,binpack/pair-sum,binpack/go-gpuallocator,binpack/topology,"
    "node-topology-aware(bandwidth=0),node-topology-aware(bandwidth=10),"
    "node-topology-aware(bandwidth=20),node-topology-aware";

struct Options {
  std::string machine = "dgx-1-v100";
  std::string sizes = "1-8";
  std::string policies = kDefaultPolicies;
  std::string seeds = "42-45";
  int nodes = 16;
  int jobs = 4000;
  double load = 0.9;
  double comm = 0;
  int threads = 0;
  Format format = Format::kTable;
};

Result<std::vector<int>> ParseSizes(const std::string& text) {
  const auto list = ParseSeeds(text);  // the same notation: 1-8 or 1,2,4,8
  if (!list) return Fail("--sizes " + text, "wants 1-8 or 1,2,4,8");
  std::vector<int> sizes;
  for (const std::uint64_t size : *list) {
    if (size < 1 || size > 64) return Fail("--sizes " + text, "a size is outside 1..64");
    sizes.push_back(static_cast<int>(size));
  }
  return sizes;
}

struct Row {
  std::string policy;
  double bandwidth = 0, at_best = 0, wait = 0, p95 = 0, jct = 0, intact = 0;
  std::vector<std::pair<int, double>> by_size;
};

// Means over the seeds.
Row Summarize(const std::string& policy, const std::vector<const sim::RunResult*>& runs) {
  Row row;
  row.policy = policy;
  const auto n = static_cast<double>(runs.size());
  std::map<int, std::pair<double, double>> sizes;
  for (const sim::RunResult* r : runs) {
    row.bandwidth += r->topology.bandwidth_pct / n;
    row.at_best += r->topology.at_best_pct / n;
    row.wait += r->wait.mean / n;
    row.p95 += r->wait.p95 / n;
    row.jct += r->completion.mean / n;
    row.intact += r->topology.intact8_mean / n;
    for (const auto& size : r->topology.by_size) {
      sizes[size.cards].first += size.bandwidth_pct * static_cast<double>(size.jobs);
      sizes[size.cards].second += static_cast<double>(size.jobs);
    }
  }
  for (const auto& [cards, sum] : sizes) row.by_size.emplace_back(cards, sum.first / sum.second);
  return row;
}

void Run(const Options& o, Context* context) {
  const auto machine = MachineText(o.machine);
  if (!machine) return context->BadInput(machine.error());
  const auto sizes = ParseSizes(o.sizes);
  if (!sizes) return context->BadInput(sizes.error());
  const auto seeds = ParseSeeds(o.seeds);
  if (!seeds) return context->BadInput(seeds.error());
  const auto policies = ParsePolicies(context->registry, o.policies);
  if (!policies) return context->BadInput(policies.error());
  const auto graph = topology::ParseGraph(*machine);
  const int largest = *std::max_element(sizes->begin(), sizes->end());
  if (!graph || largest > graph->cards()) {
    return context->BadInput(
        Error{"--sizes " + o.sizes, fmt::format("{} cards is more than a machine of {} has",
                                                largest, graph ? graph->cards() : 0)});
  }
  std::vector<sim::Workload> workloads;
  for (const std::uint64_t seed : *seeds) {
    sim::CardJobs jobs;
    jobs.machine = *machine;
    jobs.nodes = o.nodes;
    jobs.jobs = o.jobs;
    jobs.sizes = *sizes;
    jobs.load = o.load;
    jobs.comm_milli = static_cast<int>(o.comm * 1000 + 0.5);
    jobs.seed = seed;
    auto workload = sim::MakeCardJobs(jobs);
    if (!workload) return context->BadInput(workload.error());
    workloads.push_back(std::move(*workload));
  }
  sim::Experiment e;
  e.mode = sim::Mode::kReplay;
  for (const sim::Workload& w : workloads) e.workloads.push_back(&w);
  e.policies = *policies;
  e.seeds = {0};  // the seeds are the workloads'; a random policy draws the same in each
  e.run.explain_failures = false;
  const auto runs = sim::RunExperiment(e, *MakeTbbExecutor(o.threads));
  if (!runs) return context->BadInput(runs.error());
  std::vector<Row> rows;
  for (std::size_t p = 0; p < policies->size(); ++p) {
    std::vector<const sim::RunResult*> mine;
    for (std::size_t w = 0; w < workloads.size(); ++w) {
      mine.push_back(&(*runs)[w * policies->size() + p]);
    }
    rows.push_back(Summarize((*policies)[p].expression, mine));
  }
  if (o.format == Format::kJson) {
    nlohmann::json out = nlohmann::json::array();
    for (const Row& r : rows) {
      nlohmann::json by_size = nlohmann::json::object();
      for (const auto& [cards, pct] : r.by_size) by_size[std::to_string(cards)] = pct;
      out.push_back({{"policy", r.policy},
                     {"bandwidth_pct", r.bandwidth},
                     {"at_best_pct", r.at_best},
                     {"wait_s", r.wait},
                     {"wait_p95_s", r.p95},
                     {"jct_s", r.jct},
                     {"intact_8_sets", r.intact},
                     {"by_size", by_size}});
    }
    return Print(out);
  }
  report::Table t;
  t.header = {"policy",   "bw % of best", "at best %", "wait min",
              "vs first", "wait p95",     "jct min",   "8-sets left"};
  t.right = {false, true, true, true, true, true, true, true};
  for (const Row& r : rows) {
    std::vector<std::string> row = {
        r.policy,
        fmt::format("{:.1f}", r.bandwidth),
        fmt::format("{:.1f}", r.at_best),
        fmt::format("{:.2f}", r.wait / 60),
        rows[0].wait > 0 ? fmt::format("{:+.1f}%", 100 * (r.wait / rows[0].wait - 1)) : "n/a",
        fmt::format("{:.1f}", r.p95 / 60),
        fmt::format("{:.1f}", r.jct / 60),
        fmt::format("{:.2f}", r.intact)};
    for (const auto& [cards, pct] : r.by_size) row.push_back(fmt::format("{:.0f}", pct));
    t.rows.push_back(std::move(row));
  }
  if (!rows.empty()) {
    for (const auto& [cards, pct] : rows[0].by_size) {
      t.header.push_back(fmt::format("{}", cards));
      t.right.push_back(true);
    }
  }
  Print(t, o.format);
}

}  // namespace

void AddTopoCompare(CLI::App* topo, Context* context) {
  auto o = std::make_shared<Options>();
  CLI::App* app = topo->add_subcommand(
      "compare", "card choices side by side: bandwidth got and waiting paid for it");
  app->add_option("--machine", o->machine, "a catalog name, a file or a description")
      ->capture_default_str();
  app->add_option("--nodes", o->nodes, "how many of them")
      ->check(WholeIn(1, 10'000))
      ->capture_default_str();
  app->add_option("--jobs", o->jobs, "jobs of each seed")
      ->check(WholeIn(1, 1'000'000))
      ->capture_default_str();
  app->add_option("--sizes", o->sizes, "cards of a job, each as likely: 1-8 or 1,2,4,8")
      ->capture_default_str();
  app->add_option("--load", o->load, "cards asked for / cards there, over time")
      ->check(NumberIn(0.01, 10.0))
      ->capture_default_str();
  app->add_option("--comm-share", o->comm, "share of a job's time that is communication")
      ->check(NumberIn(0.0, 1.0))
      ->capture_default_str();
  app->add_option("--policy", o->policies,
                  "policies, comma separated; waits are compared with the first")
      ->capture_default_str();
  app->add_option("--seeds", o->seeds, "42-45 or 42,44")->capture_default_str();
  app->add_option("--threads", o->threads, "0: as many as there are")
      ->check(WholeIn(0, 1024))
      ->capture_default_str();
  AddFormat(app, &o->format);
  app->callback([o, context] { Run(*o, context); });
}

}  // namespace basalt::cli
