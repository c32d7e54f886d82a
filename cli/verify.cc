// `basalt verify atc23`: every published run found in the given folders, repeated and compared with
// the authors' allocation, fragmentation amount and fragmentation ratio at all arrival points.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <set>

#include "cli/common.h"
#include "sim/experiment.h"
#include "traces/csv.h"
#include "traces/openb.h"
#include "traces/text.h"

namespace basalt::cli {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string nodes, pods, orders, expected;
  std::string traces;  // comma separated; empty: all
  std::string seeds;   // empty: all
  int threads = 0;
  bool quiet = false;
  Format format = Format::kTable;
};

// The published policies under their names here. Random draws depend on goroutine order in the
// original, so only the means over seeds can be compared.
struct Published {
  const char* suffix;  // after "NN-" in the result files
  const char* policy;
};
constexpr Published kPublished[] = {{"DotProd", "dot-product"},
                                    {"GpuClustering", "gpu-clustering"},
                                    {"GpuPacking", "gpu-packing"},
                                    {"BestFit", "best-fit"},
                                    {"FGD", "fgd"},
                                    {"Random", "random"}};

// (workload, policy, seed) -> values at 0, 1, 2, ... % arrived; NaN where the cell is empty.
using RunKey = std::tuple<std::string, std::string, std::uint64_t>;
using Expected = std::map<RunKey, std::vector<double>>;

Result<Expected> ReadExpected(const std::string& path) {
  const auto text = trace::ReadText(path);
  if (!text) return tl::unexpected<Error>(text.error());
  // The number columns are whatever 0, 1, 2, ... the header has.
  const std::string_view header = std::string_view(*text).substr(0, text->find('\n'));
  std::vector<std::string> names;
  std::size_t points = 0;
  for (std::string name : SplitList(std::string(header))) {
    while (!name.empty() && (name.back() == '\r' || name.back() == ' ')) name.pop_back();
    if (name == std::to_string(points)) ++points;
    names.push_back(std::move(name));
  }
  std::vector<trace::CsvColumn> columns;
  std::map<std::string, std::size_t> at;
  for (const std::string& name : names) {
    at.emplace(name, columns.size());
    columns.push_back({name, true});
  }
  for (const char* needed : {"workload", "sc_policy", "seed", "0"}) {
    if (!at.contains(needed)) {
      return Fail(path + ":1:1", fmt::format("column \"{}\" is missing; this is not a result file "
                                             "of the ATC'23 analysis",
                                             needed));
    }
  }
  trace::Diagnostics diagnostics;
  trace::CsvReader reader(path, *text, columns, &diagnostics);
  Expected out;
  if (reader.ReadHeader()) {
    while (reader.Next()) {
      std::int64_t seed = 0;
      if (!reader.Integer(at["seed"], 0, 1'000'000'000, &seed)) continue;
      std::vector<double> values;
      for (std::size_t p = 0; p < points; ++p) {
        const std::size_t column = at[std::to_string(p)];
        const std::string field = reader.String(column);
        char* end = nullptr;
        const double value = field.empty() ? std::nan("") : std::strtod(field.c_str(), &end);
        if (!field.empty() && (*end != '\0' || !std::isfinite(value))) {
          reader.Report(column, "is not a number");
        }
        values.push_back(value);
      }
      out[{reader.String(at["workload"]), reader.String(at["sc_policy"]),
           static_cast<std::uint64_t>(seed)}] = std::move(values);
    }
  }
  if (!diagnostics.ok()) return tl::unexpected<Error>(diagnostics.ToError());
  return out;
}

double Distance(const std::vector<double>& expected, const std::vector<double>& measured) {
  double most = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (std::isnan(expected[i])) continue;
    const double is = i < measured.size() ? measured[i] : std::nan("");
    most = std::isnan(is) ? std::numeric_limits<double>::infinity()
                          : std::max(most, std::abs(expected[i] - is));
  }
  return most;
}

struct Row {
  std::string trace, policy;
  std::uint64_t seed;
  std::int64_t placed, failed;
  double allocation, fragmentation, ratio;  // largest difference over the arrival points
  double cpu_seconds;
  std::string digest;
  bool random;
  double most() const { return std::max({allocation, fragmentation, ratio}); }
};

struct Job {  // one run to make
  const sim::Workload* workload;
  std::string expected_name;
  std::string expected_policy;
  const ConfiguredPolicy* policy;
  std::uint64_t seed;
  std::size_t order;
};

bool Names(const std::string& full, const std::string& part) {
  return full == part || full.ends_with("_" + part);
}

void Run(const Options& o, Context* context) {
  Expected tables[3];
  const char* const files[3] = {"analysis_allo_discrete.csv", "analysis_frag_discrete.csv",
                                "analysis_frag_ratio_discrete.csv"};
  for (int i = 0; i < 3; ++i) {
    auto table = ReadExpected((fs::path(o.expected) / files[i]).string());
    if (!table) return context->BadInput(table.error());
    tables[i] = std::move(*table);
  }
  std::vector<std::uint64_t> seeds;
  if (!o.seeds.empty()) {
    auto parsed = ParseSeeds(o.seeds);
    if (!parsed) return context->BadInput(parsed.error());
    seeds = std::move(*parsed);
  }
  const auto rows = trace::ReadOpenbNodes(o.nodes);
  if (!rows) return context->BadInput(rows.error());
  auto nodes = sim::NodesFromTrace(*rows);
  if (!nodes) return context->BadInput(nodes.error());

  // Pod lists that some published row is about.
  std::set<std::string> published;
  for (const auto& [key, values] : tables[0]) published.insert(std::get<0>(key));
  std::map<std::string, std::string> pod_files;  // published workload -> file
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(o.pods, error)) {
    std::string stem = entry.path().filename().string();
    stem = stem.substr(0, stem.find(".csv"));
    for (const std::string& name : published) {
      if (Names(name, stem) || Names(stem, name)) pod_files.emplace(name, entry.path().string());
    }
  }
  if (error) return context->BadInput(Error{o.pods, "cannot be listed: " + error.message()});
  const std::vector<std::string> wanted =
      o.traces.empty() ? std::vector<std::string>() : SplitList(o.traces);
  for (const std::string& trace : wanted) {
    if (std::none_of(pod_files.begin(), pod_files.end(),
                     [&](const auto& f) { return Names(f.first, trace); })) {
      return context->BadInput(
          Error{"--traces " + trace, "no pod list in " + o.pods + " has published results"});
    }
  }

  std::vector<ConfiguredPolicy> policies;
  for (const Published& p : kPublished) policies.push_back(*context->registry.Configure(p.policy));
  std::vector<std::unique_ptr<sim::Workload>> workloads;
  std::vector<std::pair<const sim::Workload*, std::string>> order_files;
  std::vector<std::uint64_t> order_seeds;
  std::vector<Job> jobs;
  std::set<std::pair<std::string, std::uint64_t>> skipped;
  for (const auto& [name, file] : pod_files) {
    if (!wanted.empty() && std::none_of(wanted.begin(), wanted.end(),
                                        [&](const std::string& w) { return Names(name, w); })) {
      continue;
    }
    std::map<std::uint64_t, std::size_t> orders;  // seed -> index
    std::unique_ptr<sim::Workload> workload;
    for (const auto& [key, values] : tables[0]) {
      const auto& [row_name, row_policy, seed] = key;
      if (row_name != name) continue;
      if (!seeds.empty() && std::find(seeds.begin(), seeds.end(), seed) == seeds.end()) continue;
      if (!orders.contains(seed)) {
        const auto order = FindOrderFile(o.orders, name, seed);
        if (!order) {
          if (!fs::is_directory(o.orders)) return context->BadInput(order.error());
          skipped.emplace(name, seed);  // no order shared for this run
          continue;
        }
        if (workload == nullptr) {
          const auto pods = trace::ReadOpenbPods(file);
          if (!pods) return context->BadInput(pods.error());
          auto made = sim::MakeWorkload(name, *nodes, pods->jobs, pods->tasks);
          if (!made) return context->BadInput(made.error());
          workload = std::make_unique<sim::Workload>(std::move(*made));
        }
        orders.emplace(seed, order_files.size());
        order_files.emplace_back(workload.get(), *order);
        order_seeds.push_back(seed);
      }
      const std::size_t dash = row_policy.find('-');
      const std::string suffix =
          dash == std::string::npos ? row_policy : row_policy.substr(dash + 1);
      for (std::size_t p = 0; p < std::size(kPublished); ++p) {
        if (suffix == kPublished[p].suffix) {
          jobs.push_back({workload.get(), name, row_policy, &policies[p], seed, orders[seed]});
        }
      }
    }
    if (workload) workloads.push_back(std::move(workload));
  }
  // A row that one of the files lacks would compare with nothing, and be called exact.
  for (const Job& job : jobs) {
    for (int i = 0; i < 3; ++i) {
      if (!tables[i].contains({job.expected_name, job.expected_policy, job.seed})) {
        return context->BadInput(
            Error{(fs::path(o.expected) / files[i]).string(),
                  fmt::format("has no row for workload {}, policy {}, seed {}, but {} has one",
                              job.expected_name, job.expected_policy, job.seed, files[0])});
      }
    }
  }
  if (jobs.empty()) {
    return context->BadInput(Error{o.orders,
                                   "no arrival order here belongs to a published run "
                                   "whose pod list is in " +
                                       o.pods});
  }

  if (!skipped.empty()) {
    std::fprintf(stderr,
                 "%s: no arrival order for %zu published trace-seed pairs (%s seed %llu%s)\n",
                 o.orders.c_str(), skipped.size(), skipped.begin()->first.c_str(),
                 static_cast<unsigned long long>(skipped.begin()->second),
                 skipped.size() > 1 ? ", ..." : "");
  }
  const auto executor = MakeTbbExecutor(o.threads);
  std::vector<Result<sim::Order>> orders(order_files.size(), sim::Order{});
  executor->ForEach(orders.size(), [&](std::size_t i) {
    orders[i] = ReadOrder(o.orders, *order_files[i].first, order_seeds[i]);
  });
  for (const auto& order : orders) {
    if (!order) return context->BadInput(order.error());
  }
  std::vector<Row> out(jobs.size());
  std::vector<sim::Series> series(jobs.size());
  std::vector<std::optional<Error>> errors(jobs.size());
  {
    Progress progress("verifying", !o.quiet);
    std::atomic<std::size_t> done{0};
    executor->ForEach(jobs.size(), [&](std::size_t i) {
      const Job& job = jobs[i];
      sim::RunOptions run;
      run.explain_failures = false;
      const double before = ThreadCpuSeconds();
      const auto result =
          sim::RunSaturation(*job.workload, *job.policy, job.seed, *orders[job.order], run);
      if (!result) {
        errors[i] = result.error();
        return;
      }
      const RunKey key{job.expected_name, job.expected_policy, job.seed};
      const sim::Series& s = result->series;
      out[i] = Row{job.expected_name,
                   job.policy->expression,
                   job.seed,
                   result->placed,
                   result->failed,
                   Distance(tables[0].at(key), s.allocation_pct),
                   Distance(tables[1].at(key), s.fragmentation_pct),
                   Distance(tables[2].at(key), s.fragmentation_ratio_pct),
                   ThreadCpuSeconds() - before,
                   result->decision_digest.ToHex(),
                   job.policy->expression == "random"};
      series[i] = s;
      progress.Update(done.fetch_add(1) + 1, jobs.size());
    });
  }
  for (const auto& e : errors) {
    if (e) return context->BadInput(*e);
  }

  std::size_t runs = 0;
  std::size_t exact = 0;
  std::size_t random_runs = 0;
  double most = 0;
  double cpu = 0;
  for (const Row& row : out) {
    cpu += row.cpu_seconds;
    if (row.random) {
      ++random_runs;
      continue;
    }
    ++runs;
    exact += row.most() == 0 ? 1 : 0;
    most = std::max(most, row.most());
  }
  // Random: means over seeds, per trace and point.
  double random_most = 0;
  std::set<std::string> traces;
  for (const Row& row : out) traces.insert(row.trace);
  for (const std::string& trace : traces) {
    std::vector<double> mean;
    std::size_t n = 0;
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      if (!out[i].random || out[i].trace != trace) continue;
      const auto& expected =
          tables[0][RunKey{jobs[i].expected_name, jobs[i].expected_policy, jobs[i].seed}];
      mean.resize(expected.size(), 0);
      for (std::size_t p = 0; p < expected.size(); ++p) {
        const double is =
            p < series[i].allocation_pct.size() ? series[i].allocation_pct[p] : std::nan("");
        mean[p] += std::isnan(expected[p]) ? 0 : is - expected[p];
      }
      ++n;
    }
    for (const double d : mean) {
      const double off = std::abs(d) / static_cast<double>(std::max<std::size_t>(n, 1));
      // A point that was not reached is no match.
      random_most =
          std::max(random_most, std::isnan(off) ? std::numeric_limits<double>::infinity() : off);
    }
  }
  constexpr double kRandomTolerance = 0.5;  // points, on the mean of ten seeds
  std::set<std::uint64_t> random_seeds;
  for (const Row& row : out) {
    if (row.random) random_seeds.insert(row.seed);
  }
  const bool random_judged = random_seeds.size() >= 10;
  const bool passed = exact == runs && (!random_judged || random_most <= kRandomTolerance);

  if (o.format == Format::kJson) {
    nlohmann::json list = nlohmann::json::array();
    const auto number = [](double v) {
      return std::isinf(v) ? nlohmann::json() : nlohmann::json(v);
    };
    for (const Row& r : out) {
      list.push_back({{"trace", r.trace},
                      {"policy", r.policy},
                      {"seed", r.seed},
                      {"placed", r.placed},
                      {"failed", r.failed},
                      {"allocation_diff", number(r.allocation)},
                      {"fragmentation_diff", number(r.fragmentation)},
                      {"fragmentation_ratio_diff", number(r.ratio)},
                      {"exact", r.random ? nlohmann::json() : nlohmann::json(r.most() == 0)},
                      {"digest", r.digest},
                      {"cpu_seconds", r.cpu_seconds}});
    }
    Print(nlohmann::json{{"runs", runs},
                         {"exact", exact},
                         {"max_abs_diff", number(most)},
                         {"random_runs", random_runs},
                         {"random_mean_max_abs_diff", number(random_most)},
                         {"passed", passed},
                         {"cpu_seconds", cpu},
                         {"rows", std::move(list)}});
  } else {
    report::Table t;
    t.header = {"trace",      "policy",    "seed",       "placed", "failed",
                "alloc diff", "frag diff", "ratio diff", "exact",  "cpu s"};
    t.right = {false, false, true, true, true, true, true, true, false, true};
    for (const Row& r : out) {
      t.rows.push_back({r.trace, r.policy, std::to_string(r.seed), std::to_string(r.placed),
                        std::to_string(r.failed), report::Fixed(r.allocation, 2),
                        report::Fixed(r.fragmentation, 2), report::Fixed(r.ratio, 2),
                        r.random ? "-" : (r.most() == 0 ? "yes" : "NO"),
                        report::Fixed(r.cpu_seconds, 4)});
    }
    Print(t, o.format);
    std::fprintf(o.format == Format::kTable ? stdout : stderr,
                 "\n{\"runs\":%zu,\"exact\":%zu,\"max_abs_diff\":%s}\n"
                 "random: %zu runs, the mean over seeds is within %.2f points%s\n",
                 runs, exact, std::isinf(most) ? "null" : report::Fixed(most, 2).c_str(),
                 random_runs, random_most,
                 random_judged ? "" : " (fewer than 10 seeds: not judged)");
  }
  if (!passed) context->exit_code = kGateFailed;
}

}  // namespace

void AddVerify(CLI::App* app, Context* context) {
  app->require_subcommand(1);
  CLI::App* atc = app->add_subcommand(
      "atc23", "the published runs of Weng et al., USENIX ATC'23: difference 0.00 expected");
  auto o = std::make_shared<Options>();
  atc->add_option("--nodes", o->nodes, "node list")->required()->type_name("FILE");
  atc->add_option("--pods", o->pods, "folder of pod lists")->required()->type_name("DIR");
  atc->add_option("--orders", o->orders, "folder of arrival orders")->required()->type_name("DIR");
  atc->add_option("--expected", o->expected, "folder of the authors' results")
      ->required()
      ->type_name("DIR");
  atc->add_option("--traces", o->traces, "only these traces, comma separated");
  atc->add_option("--seeds", o->seeds, "only these seeds");
  atc->add_option("--threads", o->threads, "0: as many as there are")->check(WholeIn(0, 1024));
  atc->add_flag("-q,--quiet", o->quiet, "no progress bar");
  AddFormat(atc, &o->format);
  atc->callback([o, context] { Run(*o, context); });
}

}  // namespace basalt::cli
