// `basalt sim --scenario` on a platform scenario: runs its arms and shows them side by side.
#include "cli/platform_run.h"

#include <fmt/format.h>

#include <atomic>
#include <map>

#include "cli/common.h"
#include "cli/platform_claims.h"
#include "cli/platform_file.h"
#include "cli/version.h"
#include "report/html.h"
#include "report/platform.h"

namespace basalt::cli {
namespace {

std::string VerdictText(ClaimVerdict::Kind kind) {
  switch (kind) {
    case ClaimVerdict::Kind::kHolds:
      return "holds";
    case ClaimVerdict::Kind::kDoesNotHold:
      return "does not hold";
    case ClaimVerdict::Kind::kNotMeasured:
      break;
  }
  return "not measured";
}

void CountCards(const sim::PlatformSpec& spec, report::PlatformComparison* out) {
  std::map<std::string, std::int64_t> models;
  for (const sim::ClusterSpec& cluster : spec.clusters) {
    for (const sim::NodeGroupSpec& group : cluster.groups) {
      const std::int64_t cards = std::int64_t{group.count} * group.cards;
      out->nodes += group.count;
      out->cards += cards;
      models[group.model] += cards;
    }
  }
  out->models.assign(models.begin(), models.end());
}

// All arms, and then the searches for equal service, which need the baseline's result.
Result<std::vector<report::PlatformArm>> RunArms(const PlatformFile& file,
                                                 const Registry& registry) {
  std::vector<report::PlatformArm> arms(file.arms.size());
  std::vector<Status> status(file.arms.size());
  const auto executor = MakeTbbExecutor(0);
  std::atomic<std::size_t> done = 0;
  const std::size_t rounds = file.head.equal_service ? 2 : 1;
  Progress progress("simulating", true);
  const auto finished = [&] { progress.Update(++done, arms.size() * rounds); };
  executor->ForEach(arms.size(), [&](std::size_t i) {
    auto result = sim::RunPlatform(file.arms[i].spec, registry);
    if (result) {
      arms[i].result = std::move(*result);
    } else {
      status[i] = tl::unexpected<Error>(result.error());
    }
    finished();
  });
  for (std::size_t i = 0; i < arms.size(); ++i) {
    if (!status[i]) {
      return Fail(fmt::format("arm \"{}\"", file.arms[i].entry.name), status[i].error().ToString());
    }
    arms[i].name = file.arms[i].entry.name;
    arms[i].about = file.arms[i].entry.about;
    arms[i].set = file.arms[i].entry.set;
    arms[i].swept = file.arms[i].entry.sweep_value >= 0;
  }
  if (!file.head.equal_service) return arms;
  const sim::PlatformResult& baseline = arms[file.baseline].result;
  executor->ForEach(arms.size(), [&](std::size_t i) {
    // With another demand there is no equal service.
    if (arms[i].result.demand_digest == baseline.demand_digest) {
      auto search = sim::MinimalScale(file.arms[i].spec, baseline, registry);
      if (search) {
        arms[i].searched = true;
        arms[i].scale = std::move(*search);
      } else {
        status[i] = tl::unexpected<Error>(search.error());
      }
    }
    finished();
  });
  for (const Status& s : status) {
    if (!s) return tl::unexpected<Error>(s.error());
  }
  return arms;
}

void PrintComparison(const report::PlatformComparison& c, Format format) {
  if (format == Format::kJson) return Print(report::PlatformJson(c));
  if (format == Format::kCsv) return Print(report::PlatformArmRows(c), format);
  const auto also = [format](const report::Table& table) {
    if (table.rows.empty()) return;
    std::printf("\n");
    Print(table, format);
  };
  Print(report::PlatformTable(c), format);
  also(report::PlatformSweepTable(c));
  also(report::ClaimTable(c));
  also(report::AssumptionTable(c));
}

}  // namespace

bool IsPlatformScenario(const YAML::Node& root) {
  if (!root.IsMap() || root["nodes"].IsDefined() || root["pods"].IsDefined()) return false;
  for (const char* key : {"clusters", "tenants", "services", "sandboxes", "training", "vms"}) {
    if (root[key].IsDefined()) return true;
  }
  return false;
}

void RunPlatformScenario(Context* context, const std::string& path, const std::string& report_path,
                         Format format) {
  const auto file = ReadPlatformFile(path, context->registry);
  if (!file) return context->BadInput(file.error());
  for (const std::string& warning : file->warnings) {
    std::fprintf(stderr, "basalt: warning: %s\n", warning.c_str());
  }
  auto arms = RunArms(*file, context->registry);
  if (!arms) return context->BadInput(Error{path, arms.error().ToString()});

  report::PlatformComparison c;
  c.head = {file->head.title, file->head.about, context->command_line, kVersion};
  c.about = file->head.about;
  c.document = file->head.document;
  c.currency = file->head.currency;
  c.baseline = file->baseline;
  CountCards(file->arms[file->baseline].spec, &c);
  c.arms = std::move(*arms);
  std::vector<ArmOutcome> outcomes;
  for (const report::PlatformArm& arm : c.arms) {
    ArmOutcome outcome;
    outcome.name = arm.name;
    outcome.result = &arm.result;
    if (arm.searched && arm.scale.found) {
      outcome.cards_needed = static_cast<double>(arm.scale.cards);
      outcome.utilization_needed = arm.scale.result.utilization_pct;
    }
    outcomes.push_back(outcome);
  }
  for (const ClaimEntry& claim : file->head.claims) {
    const ClaimVerdict verdict = Judge(claim, outcomes);
    c.claims.push_back({claim.text, claim.source, claim.metric, claim.holds, claim.unit,
                        verdict.value, VerdictText(verdict.kind)});
  }
  for (const AssumptionEntry& a : file->head.assumptions) {
    c.assumptions.push_back({a.name, a.value, a.range, a.source});
  }
  PrintComparison(c, format);
  if (report_path.empty()) return;
  const std::string data =
      report::PlatformReportJson(c).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  const std::string page = report_path.ends_with(".json") ? data : report::RenderHtml(data);
  if (Status ok = WriteFile(report_path, page); !ok) return context->BadInput(ok.error());
  std::fprintf(stderr, "report: %s\n", report_path.c_str());
}

}  // namespace basalt::cli
