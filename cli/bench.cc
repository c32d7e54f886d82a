// `basalt bench`: runs a suite of small fixed cases and compares decision digests and work counters
// with a committed file. Each case runs twice, alone and beside others: a digest that differs
// between the two is nondeterminism (exit 3); one that differs from the file is a changed decision
// (exit 1), to be accepted with --accept and a reason.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "cli/common.h"
#include "scheduler-core/config/options.h"
#include "sim/experiment.h"
#include "traces/generate.h"

namespace basalt::cli {
namespace {

struct Case {
  std::string name;
  std::string policy;
  std::string mode = "saturation";
  std::int64_t seed = 42;
  std::int64_t nodes = 100;
  std::int64_t pods = 1000;
};
struct Suite {
  std::vector<Case> cases;
};

const config::OptionTable<Suite>& SuiteTable() {
  static const auto cases =
      config::OptionTable<Case>()
          .Text({.name = "name", .help = "unique", .required = true}, &Case::name)
          .Text({.name = "policy", .help = "policy expression", .required = true}, &Case::policy)
          .Text({.name = "mode", .help = "saturation or replay", .default_value = "saturation"},
                &Case::mode)
          .Integer({.name = "seed",
                    .help = "of trace, order and policy",
                    .default_value = "42",
                    .low = 0,
                    .high = 1e9},
                   &Case::seed)
          .Integer({.name = "nodes",
                    .help = "generated nodes",
                    .default_value = "100",
                    .low = 1,
                    .high = 1e6},
                   &Case::nodes)
          .Integer({.name = "pods",
                    .help = "generated pods",
                    .default_value = "1000",
                    .low = 1,
                    .high = 1e7},
                   &Case::pods);
  static const auto suite = config::OptionTable<Suite>().Maps(
      {.name = "cases", .help = "what to run", .required = true}, &Suite::cases, cases);
  return suite;
}

Result<Suite> ReadSuite(const std::string& path, const Registry& registry) {
  const auto document = config::LoadYaml(path);
  if (!document) return tl::unexpected<Error>(document.error());
  Suite suite;
  config::Errors errors;
  SuiteTable().Parse(document->file, document->root, &suite, &errors);
  if (!errors.ok()) return tl::unexpected<Error>(errors.Joined());
  const YAML::Node places = document->root["cases"];
  if (suite.cases.empty()) errors.Add(path, places, "name at least one case");
  for (std::size_t i = 0; i < suite.cases.size(); ++i) {
    const Case& c = suite.cases[i];
    if (c.mode != "saturation" && c.mode != "replay") {
      errors.Add(path, places[i]["mode"],
                 fmt::format("mode is saturation or replay, not \"{}\"", c.mode));
    }
    if (const auto policy = registry.Configure(c.policy); !policy) {
      errors.Add(path, places[i]["policy"], policy.error().ToString());
    }
    for (std::size_t j = 0; j < i; ++j) {
      if (suite.cases[j].name == c.name) {
        errors.Add(path, places[i]["name"], fmt::format("case \"{}\" stands twice", c.name));
      }
    }
  }
  if (!errors.ok()) return tl::unexpected<Error>(errors.Joined());
  return suite;
}

Result<sim::RunResult> RunCase(const Case& c, const Registry& registry) {
  auto policy = registry.Configure(c.policy);
  if (!policy) return Fail("case " + c.name, policy.error().ToString());
  trace::GeneratorOptions generate;
  generate.seed = static_cast<std::uint64_t>(c.seed);
  generate.nodes = static_cast<std::uint32_t>(c.nodes);
  generate.pods = static_cast<std::uint32_t>(c.pods);
  generate.load = 1.0;
  const auto trace = trace::Generate(generate);
  if (!trace) return tl::unexpected<Error>(trace.error());
  auto nodes = sim::NodesFromTrace(trace->nodes);
  if (!nodes) return tl::unexpected<Error>(nodes.error());
  const auto workload = sim::MakeWorkload(c.name, std::move(*nodes), trace->jobs, trace->tasks);
  if (!workload) return tl::unexpected<Error>(workload.error());
  sim::RunOptions run;
  run.explain_failures = false;
  const auto seed = static_cast<std::uint64_t>(c.seed);
  if (c.mode == "replay") return sim::RunReplay(*workload, *policy, seed, {}, run);
  return sim::RunSaturation(*workload, *policy, seed, sim::MakeSaturationOrder(*workload, seed),
                            run);
}

nlohmann::json Golden(const sim::RunResult& r) {
  return {{"digest", r.decision_digest.ToHex()},
          {"placed", r.placed},
          {"failed", r.failed},
          {"decisions", r.work.decisions},
          {"nodes_checked", r.work.nodes_checked},
          {"nodes_scored", r.work.nodes_scored},
          {"index_rebuilds", r.work.index_rebuilds},
          {"exact_fallbacks", r.work.exact_fallbacks}};
}

struct Options {
  std::string suite = "bench/suite.yaml";
  std::string golden = "bench/golden.json";
  std::string reason;
  bool accept = false;
  Format format = Format::kTable;
};

void Run(const Options& o, Context* context) {
  if (o.accept && o.reason.empty()) {
    return context->BadInput(Error{"--accept", "needs --reason: it is kept in the golden file"});
  }
  const auto suite = ReadSuite(o.suite, context->registry);
  if (!suite) return context->BadInput(suite.error());
  const std::size_t count = suite->cases.size();
  std::vector<Result<sim::RunResult>> alone(count, Fail("", ""));
  std::vector<Result<sim::RunResult>> beside(count, Fail("", ""));
  for (std::size_t i = 0; i < count; ++i) alone[i] = RunCase(suite->cases[i], context->registry);
  MakeTbbExecutor(0)->ForEach(
      count, [&](std::size_t i) { beside[i] = RunCase(suite->cases[i], context->registry); });
  for (std::size_t i = 0; i < count; ++i) {
    if (!alone[i]) return context->BadInput(alone[i].error());
    if (alone[i]->decision_digest != beside[i]->decision_digest) {
      std::fprintf(stderr, "basalt: case %s: two runs decided differently\n",
                   suite->cases[i].name.c_str());
      context->exit_code = kNondeterminism;
    }
  }
  if (context->exit_code != kOk) return;

  nlohmann::json golden = {{"schema", "basalt.bench/1"},
                           {"accepted", nlohmann::json::array()},
                           {"cases", nlohmann::json::object()}};
  std::error_code unknown;
  const bool there = std::filesystem::exists(o.golden, unknown);
  if (const auto text = ReadFile(o.golden, 64U << 20); text) {
    golden = nlohmann::json::parse(*text, nullptr, false);
    const auto has = [&](const char* key, nlohmann::json::value_t type) {
      return golden.contains(key) && golden[key].type() == type;
    };
    if (!golden.is_object() || !golden.contains("schema") || golden["schema"] != "basalt.bench/1" ||
        !has("cases", nlohmann::json::value_t::object) ||
        !has("accepted", nlohmann::json::value_t::array)) {
      return context->BadInput(
          Error{o.golden,
                "is not a golden file (schema basalt.bench/1 with cases and accepted); "
                "restore it, or remove it and run with --accept --reason"});
    }
  } else if (!o.accept || there) {
    return context->BadInput(text.error());
  }
  report::Table table;
  table.header = {"case", "figure", "golden", "now"};
  nlohmann::json now = nlohmann::json::object();
  nlohmann::json changes = nlohmann::json::array();
  for (std::size_t i = 0; i < count; ++i) {
    const std::string& name = suite->cases[i].name;
    now[name] = Golden(*alone[i]);
    const nlohmann::json was =
        golden["cases"].contains(name) ? golden["cases"][name] : nlohmann::json::object();
    for (const auto& [figure, value] : now[name].items()) {
      if (was.contains(figure) && was[figure] == value) continue;
      const std::string before = was.contains(figure) ? was[figure].dump() : "-";
      table.rows.push_back({name, figure, before, value.dump()});
      changes.push_back({{"case", name}, {"figure", figure}, {"golden", before}, {"now", value}});
    }
  }
  for (const auto& [name, value] : golden["cases"].items()) {
    if (!now.contains(name)) {
      table.rows.push_back({name, "case", "present", "removed"});
      changes.push_back(
          {{"case", name}, {"figure", "case"}, {"golden", "present"}, {"now", nullptr}});
    }
  }
  if (o.accept && !changes.empty()) {
    golden["cases"] = now;
    golden["accepted"].push_back(o.reason);
    if (Status ok = WriteFile(o.golden, golden.dump(1) + "\n"); !ok) {
      return context->BadInput(ok.error());
    }
    std::fprintf(stderr, "%s: %zu figures accepted\n", o.golden.c_str(), changes.size());
    return;
  }
  if (o.format == Format::kJson) {
    Print(nlohmann::json{{"cases", now}, {"changed", changes}, {"passed", changes.empty()}});
  } else if (changes.empty() && o.format == Format::kTable) {
    std::printf("%zu cases, all as in %s\n", count, o.golden.c_str());
  } else {
    Print(table, o.format);
  }
  if (!changes.empty()) context->exit_code = kGateFailed;
}

}  // namespace

void AddBench(CLI::App* app, Context* context) {
  auto o = std::make_shared<Options>();
  app->add_option("--suite", o->suite, "cases to run")->capture_default_str();
  app->add_option("--golden", o->golden, "what they gave when last accepted")
      ->capture_default_str();
  app->add_flag("--accept", o->accept, "write what they give now to the golden file");
  app->add_option("--reason", o->reason, "why the change is right (with --accept)");
  AddFormat(app, &o->format);
  app->callback([o, context] { Run(*o, context); });
}

}  // namespace basalt::cli
