// Scenario files: a small cluster, some pods, and arms that place them differently, side by side.
// Keys: docs/scenarios.md. Cards are divided into cells, the grain of sharing; what a pod takes in
// cells follows from what it asks, so changing a request changes the result.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "cli/common.h"
#include "cli/platform_run.h"
#include "cli/version.h"
#include "report/html.h"
#include "report/runs.h"
#include "scheduler-core/config/options.h"
#include "scheduler-core/engine/engine.h"

namespace basalt::cli {
namespace {

struct NodeEntry {
  std::string name;
  std::int64_t count = 1, cpu_milli = 0, memory_mib = 0, cards = 0, card_memory_mib = 0;
  std::string model = "GPU";
};
struct PodEntry {
  std::string name;
  std::int64_t count = 1, memory_percent = 0, compute_percent = 0, cards = 1, cpu_milli = 0,
               memory_mib = 0;
};
struct CellsArm {
  std::string name;
  std::string cards;  // whole or sliced
  std::string policy = "binpack";
};
struct ScenarioFile {
  std::string scenario, about;
  std::int64_t cells_per_card = 16;
  std::vector<NodeEntry> nodes;
  std::vector<PodEntry> pods;
  std::vector<CellsArm> arms;
};

const config::OptionTable<NodeEntry>& NodeTable() {
  static const auto table =
      config::OptionTable<NodeEntry>()
          .Text({.name = "name", .help = "name, numbered when count > 1", .required = true},
                &NodeEntry::name)
          .Integer({.name = "count",
                    .help = "how many alike",
                    .default_value = "1",
                    .low = 1,
                    .high = 10000},
                   &NodeEntry::count)
          .Integer({.name = "cpu_milli",
                    .help = "CPU",
                    .default_value = "0",
                    .unit = "milli-cores",
                    .low = 0,
                    .high = 2e9},
                   &NodeEntry::cpu_milli)
          .Integer({.name = "memory_mib",
                    .help = "host memory",
                    .default_value = "0",
                    .unit = "MiB",
                    .low = 0,
                    .high = 2e9},
                   &NodeEntry::memory_mib)
          .Integer(
              {.name = "cards", .help = "GPUs of the node", .low = 0, .high = 64, .required = true},
              &NodeEntry::cards)
          .Integer({.name = "card_memory_mib",
                    .help = "memory of each",
                    .unit = "MiB",
                    .low = 1,
                    .high = 2e9,
                    .required = true},
                   &NodeEntry::card_memory_mib)
          .Text({.name = "model", .help = "their model", .default_value = "GPU"},
                &NodeEntry::model);
  return table;
}
const config::OptionTable<PodEntry>& PodTable() {
  static const auto table =
      config::OptionTable<PodEntry>()
          .Text({.name = "name", .help = "name, numbered when count > 1", .required = true},
                &PodEntry::name)
          .Integer({.name = "count",
                    .help = "how many alike",
                    .default_value = "1",
                    .low = 1,
                    .high = 100000},
                   &PodEntry::count)
          .Integer({.name = "memory_percent",
                    .help = "of each card's memory",
                    .unit = "percent",
                    .low = 1,
                    .high = 100,
                    .required = true},
                   &PodEntry::memory_percent)
          .Integer({.name = "compute_percent",
                    .help = "of each card's compute",
                    .unit = "percent",
                    .low = 0,
                    .high = 100,
                    .required = true},
                   &PodEntry::compute_percent)
          .Integer({.name = "cards",
                    .help = "on how many cards",
                    .default_value = "1",
                    .low = 1,
                    .high = 64},
                   &PodEntry::cards)
          .Integer({.name = "cpu_milli",
                    .help = "CPU",
                    .default_value = "0",
                    .unit = "milli-cores",
                    .low = 0,
                    .high = 2e9},
                   &PodEntry::cpu_milli)
          .Integer({.name = "memory_mib",
                    .help = "host memory",
                    .default_value = "0",
                    .unit = "MiB",
                    .low = 0,
                    .high = 2e9},
                   &PodEntry::memory_mib);
  return table;
}
const config::OptionTable<CellsArm>& ArmTable() {
  static const auto table =
      config::OptionTable<CellsArm>()
          .Text({.name = "name", .help = "as the report calls it", .required = true},
                &CellsArm::name)
          .Text({.name = "cards",
                 .help = "whole: a pod takes whole cards; sliced: what it asks",
                 .required = true},
                &CellsArm::cards)
          .Text({.name = "policy", .help = "policy expression", .default_value = "binpack"},
                &CellsArm::policy);
  return table;
}
const config::OptionTable<ScenarioFile>& FileTable() {
  static const auto table =
      config::OptionTable<ScenarioFile>()
          .Text({.name = "scenario", .help = "its title", .required = true},
                &ScenarioFile::scenario)
          .Text({.name = "about", .help = "a sentence for the report"}, &ScenarioFile::about)
          .Integer({.name = "cells_per_card",
                    .help = "the grain of sharing",
                    .default_value = "16",
                    .low = 1,
                    .high = 32},
                   &ScenarioFile::cells_per_card)
          .Maps({.name = "nodes", .help = "the cluster", .required = true}, &ScenarioFile::nodes,
                NodeTable())
          .Maps({.name = "pods", .help = "what arrives, in this order", .required = true},
                &ScenarioFile::pods, PodTable())
          .Maps({.name = "arms", .help = "what is compared", .required = true}, &ScenarioFile::arms,
                ArmTable());
  return table;
}

// A scenario is for looking at: every free cell is tried, and every pod drawn.
constexpr std::int64_t kMaxCells = 500'000;
constexpr std::int64_t kMaxPods = 100'000;
constexpr std::size_t kReasons = 20;  // pods that wait, by arm

// What the option tables cannot say, with its place in the file.
void CheckScenario(const config::Document& document, const ScenarioFile& file,
                   const Registry& registry, config::Errors* errors) {
  std::int64_t cells = 0;
  for (const NodeEntry& n : file.nodes) cells += n.count * n.cards * file.cells_per_card;
  if (cells > kMaxCells) {
    errors->Add(document.file, document.root["nodes"],
                fmt::format("{} cells; at most {}", cells, kMaxCells));
  }
  std::int64_t pods = 0;
  for (const PodEntry& p : file.pods) pods += p.count;
  if (pods > kMaxPods) {
    errors->Add(document.file, document.root["pods"],
                fmt::format("{} pods; at most {}", pods, kMaxPods));
  }
  const YAML::Node arms = document.root["arms"];
  if (file.arms.empty()) errors->Add(document.file, arms, "name at least one arm");
  for (std::size_t i = 0; i < file.arms.size(); ++i) {
    const CellsArm& arm = file.arms[i];
    if (arm.cards != "whole" && arm.cards != "sliced") {
      errors->Add(document.file, arms[i]["cards"],
                  fmt::format("cards is whole or sliced, not \"{}\"", arm.cards));
    }
    if (const auto policy = registry.Configure(arm.policy); !policy) {
      const YAML::Node at = arms[i]["policy"];
      errors->Add(document.file, at.IsDefined() ? at : arms[i], policy.error().ToString());
    }
  }
}

std::int64_t CeilDiv(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

struct ArmResult {
  std::string name;
  std::int64_t placed = 0, waiting = 0;
  std::int64_t cards = 0, cards_taken = 0;
  std::int64_t cells = 0;              // of the cluster
  std::int64_t cells_needed = 0;       // by the pods that run
  std::int64_t cells_stranded = 0;     // taken with a card, asked by nobody
  std::int64_t cells_schedulable = 0;  // one-cell pods that still fit, counted by placing them
  std::string digest;
  std::vector<sim::MapNode> map;
  std::vector<std::string> reasons;
};

std::string Numbered(const std::string& name, std::int64_t i, std::int64_t count) {
  return count == 1 ? name : fmt::format("{}-{}", name, i + 1);
}

Result<ArmResult> RunArm(const ScenarioFile& file, const std::string& path, const CellsArm& arm,
                         const Registry& registry) {
  const auto policy = registry.Configure(arm.policy);
  if (!policy)
    return Fail(fmt::format("{}: arm \"{}\"", path, arm.name), policy.error().ToString());
  const bool whole = arm.cards == "whole";
  const std::int64_t cells = file.cells_per_card;
  // Card memory differs by node, so a pod's memory stays a share of the card: so many cells of it.
  const auto cells_of = [&](const PodEntry& pod) {
    return CeilDiv(cells * std::max(pod.memory_percent, pod.compute_percent), 100);
  };
  const auto request_of = [&](std::int64_t pod_cells, const PodEntry& pod) {
    RequestSpec spec;
    spec.cpu_milli = pod.cpu_milli;
    spec.memory_mib = pod.memory_mib;
    spec.gpus = static_cast<std::int32_t>(pod.cards);
    spec.gpu_milli = whole ? kWholeCard : static_cast<std::int32_t>(kWholeCard * pod_cells / cells);
    spec.gpu_memory_percent = whole ? 100 : static_cast<std::int32_t>(100 * pod_cells / cells);
    return spec;
  };
  EngineOptions options;
  std::vector<TargetWorkload::Counted> counted;
  for (const PodEntry& pod : file.pods)
    counted.push_back({request_of(cells_of(pod), pod), pod.count});
  options.target = TargetWorkload(counted, 100);
  auto made = Engine::Create(*policy, std::move(options));
  if (!made) return tl::unexpected<Error>(made.error());
  Engine& engine = **made;

  ArmResult out;
  out.name = arm.name;
  for (const NodeEntry& entry : file.nodes) {
    for (std::int64_t i = 0; i < entry.count; ++i) {
      NodeSpec node;
      node.name = Numbered(entry.name, i, entry.count);
      node.cpu_milli = entry.cpu_milli;
      node.memory_mib = entry.memory_mib;
      CardSpec card;
      card.model = entry.model;
      card.memory_mib = entry.card_memory_mib;
      node.cards.assign(static_cast<std::size_t>(entry.cards), card);
      out.cards += entry.cards;
      if (Status ok = engine.Apply(NodeAdded{node}, SimTime{}); !ok) {
        return Fail(path, ok.error().ToString());
      }
    }
  }
  out.cells = out.cards * cells;
  std::map<PodUid, std::string> names;
  for (const PodEntry& pod : file.pods) {
    const std::int64_t pod_cells = cells_of(pod);
    const auto shape = engine.InternShape(request_of(pod_cells, pod));
    if (!shape) return Fail(path, fmt::format("pod \"{}\": {}", pod.name, shape.error().message));
    for (std::int64_t i = 0; i < pod.count; ++i) {
      const std::string name = Numbered(pod.name, i, pod.count);
      Request request;
      request.uid = PodUidFromName(name);
      request.shape = *shape;
      if (!names.emplace(request.uid, name).second) {
        return Fail(path, fmt::format("pod \"{}\" stands twice", name));
      }
      const Outcome outcome = engine.Place(request, SimTime{});
      if (outcome.placed()) {
        ++out.placed;
        out.cells_needed += pod_cells * pod.cards;
      } else {
        ++out.waiting;
        // The first ones say enough; each looks at every node.
        if (out.reasons.size() < kReasons) {
          out.reasons.push_back(name + ": " + engine.Explain(request).text);
        }
      }
    }
  }
  out.digest = engine.DecisionDigest().ToHex();
  out.map = sim::DrawMap(engine, [&](const PodUid& uid) {
    const auto it = names.find(uid);
    return it == names.end() ? std::string("?") : it->second;
  });
  out.cards_taken = out.cards - engine.state().totals().idle_cards;
  // What could still be scheduled is counted by scheduling it: pods of one cell until none fits.
  PodEntry one;
  const auto probe = engine.InternShape(request_of(1, one));
  for (std::int64_t i = 0; i < out.cells; ++i) {
    Request request;
    request.uid = PodUidFromName(fmt::format("one more cell {}", i));
    request.shape = *probe;
    if (!engine.Place(request, SimTime{}).placed()) break;
    ++out.cells_schedulable;
  }
  if (whole) out.cells_schedulable *= cells;  // each probe took a whole card
  out.cells_stranded = out.cells - out.cells_needed - out.cells_schedulable;
  return out;
}

}  // namespace

void RunScenarioFile(Context* context, const std::string& path, const std::string& report_path,
                     Format format) {
  const auto document = config::LoadYaml(path);
  if (!document) return context->BadInput(document.error());
  if (IsPlatformScenario(document->root)) {
    return RunPlatformScenario(context, path, report_path, format);
  }
  ScenarioFile file;
  config::Errors errors;
  FileTable().Parse(path, document->root, &file, &errors);
  if (errors.ok()) CheckScenario(*document, file, context->registry, &errors);
  if (!errors.ok()) return context->BadInput(errors.Joined());
  std::vector<ArmResult> arms;
  for (const CellsArm& arm : file.arms) {
    auto result = RunArm(file, path, arm, context->registry);
    if (!result) return context->BadInput(result.error());
    arms.push_back(std::move(*result));
  }

  report::Table table;
  table.header = {"arm",          "pods placed",    "waiting",          "cards taken",
                  "cells needed", "cells stranded", "cells schedulable"};
  table.right = {false, true, true, true, true, true, true};
  nlohmann::json rows = nlohmann::json::array();
  nlohmann::json maps = nlohmann::json::array();
  nlohmann::json columns = nlohmann::json::array();
  for (const ArmResult& a : arms) {
    table.rows.push_back({a.name, std::to_string(a.placed), std::to_string(a.waiting),
                          fmt::format("{} of {}", a.cards_taken, a.cards),
                          fmt::format("{} of {}", a.cells_needed, a.cells),
                          std::to_string(a.cells_stranded), std::to_string(a.cells_schedulable)});
    rows.push_back({{"arm", a.name},
                    {"placed", a.placed},
                    {"waiting", a.waiting},
                    {"reasons", a.reasons},
                    {"cards", a.cards},
                    {"cards_taken", a.cards_taken},
                    {"cells", a.cells},
                    {"cells_needed", a.cells_needed},
                    {"cells_stranded", a.cells_stranded},
                    {"cells_schedulable", a.cells_schedulable},
                    {"digest", a.digest}});
    const auto kpi = [](const char* label, const std::string& value, const char* unit) {
      return nlohmann::json{{"label", label}, {"value", value}, {"unit", unit}};
    };
    columns.push_back(
        {{"name", a.name},
         {"map", maps.size()},
         {"kpis",
          {kpi("Cards taken", fmt::format("{} of {}", a.cards_taken, a.cards), ""),
           kpi("Stranded", fmt::format("{} of {}", a.cells_stranded, a.cells), "cells"),
           kpi("Still schedulable", std::to_string(a.cells_schedulable), "cells"),
           kpi("Pods placed", std::to_string(a.placed), "")}}});
    maps.push_back(report::MapJson(a.name, a.name, 0, a.map));
  }
  if (format == Format::kJson) {
    Print(nlohmann::json{{"scenario", file.scenario}, {"arms", rows}});
  } else {
    Print(table, format);
  }
  for (const ArmResult& a : arms) {
    for (const std::string& reason : a.reasons) {
      std::fprintf(stderr, "%s: waits: %s\n", a.name.c_str(), reason.c_str());
    }
  }
  if (report_path.empty()) return;
  std::int64_t cards = 0;
  std::int64_t nodes = 0;
  for (const NodeEntry& n : file.nodes) {
    nodes += n.count;
    cards += n.count * n.cards;
  }
  const nlohmann::json data = {{"schema", "basalt.report/1"},
                               {"title", file.scenario},
                               {"subtitle", file.about},
                               {"command", context->command_line},
                               {"version", kVersion},
                               {"kind", "scenario"},
                               {"cluster",
                                {{"nodes", nodes},
                                 {"cards", cards},
                                 {"gpu_milli", cards * kWholeCard},
                                 {"models", nlohmann::json::array()}}},
                               {"traces", nlohmann::json::array()},
                               {"causes", report::CausesJson()},
                               {"runs", nlohmann::json::array()},
                               {"maps", maps},
                               {"comparison", {{"arms", columns}, {"summary", file.about}}}};
  const std::string text = data.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  const std::string page = report_path.ends_with(".json") ? text : report::RenderHtml(text);
  if (Status ok = WriteFile(report_path, page); !ok) return context->BadInput(ok.error());
  std::fprintf(stderr, "report: %s\n", report_path.c_str());
}

}  // namespace basalt::cli
