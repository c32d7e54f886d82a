#include "report/runs.h"

#include <fmt/format.h>

#include <cmath>
#include <map>
#include <set>

namespace basalt::report {
namespace {

using nlohmann::json;
using sim::Mode;
using sim::RunResult;

json Number(double value) { return std::isnan(value) ? json(nullptr) : json(value); }

json Numbers(const std::vector<double>& values, double scale = 0) {
  json out = json::array();
  for (const double v : values) {
    out.push_back(scale > 0 && !std::isnan(v) ? json(std::round(v * scale) / scale) : Number(v));
  }
  return out;
}

// The value at x (saturation: percent), NaN where it was not sampled.
double At(const std::vector<double>& values, std::size_t x) {
  return x < values.size() ? values[x] : std::nan("");
}

double Last(const std::vector<double>& values) {
  for (std::size_t i = values.size(); i-- > 0;) {
    if (!std::isnan(values[i])) return values[i];
  }
  return std::nan("");
}

double Mean(const std::vector<double>& values) {
  double sum = 0;
  std::int64_t n = 0;
  for (const double v : values) {
    if (std::isnan(v)) continue;
    sum += v;
    ++n;
  }
  return n == 0 ? std::nan("") : sum / static_cast<double>(n);
}

double Deviation(const std::vector<double>& values) {
  const double mean = Mean(values);
  double sum = 0;
  for (const double v : values) sum += (v - mean) * (v - mean);
  return values.size() < 2 ? 0 : std::sqrt(sum / static_cast<double>(values.size() - 1));
}

const char* KindName(int kind) {
  return kind == kShareKind ? "share" : (kind == 1 ? "one" : "multi");
}

struct Figure {
  const char* name;
  int digits;
  double (*of)(const RunResult&);
};

double OrNone(bool known, double value) {
  return known ? value : std::numeric_limits<double>::quiet_NaN();
}

const std::vector<Figure>& Figures(Mode mode) {
  static const std::vector<Figure> saturation = {
      {"alloc % @100", 2, [](const RunResult& r) { return At(r.series.allocation_pct, 100); }},
      {"alloc % end", 2, [](const RunResult& r) { return Last(r.series.allocation_pct); }},
      {"stranded % @100", 2,
       [](const RunResult& r) { return At(r.series.fragmentation_pct, 100); }},
      {"stranded % end", 2, [](const RunResult& r) { return Last(r.series.fragmentation_pct); }},
      {"idle cards end", 0, [](const RunResult& r) { return Last(r.series.idle_cards); }},
      {"failed", 0, [](const RunResult& r) { return static_cast<double>(r.failed); }},
      {"cpu s", 4, [](const RunResult& r) { return r.cpu_seconds; }},
  };
  static const std::vector<Figure> replay = {
      {"alloc % mean", 2, [](const RunResult& r) { return Mean(r.series.allocation_pct); }},
      {"stranded % mean", 2, [](const RunResult& r) { return Mean(r.series.fragmentation_pct); }},
      {"idle cards mean", 1, [](const RunResult& r) { return Mean(r.series.idle_cards); }},
      {"wait s mean", 1, [](const RunResult& r) { return r.wait.mean; }},
      {"wait s p95", 1, [](const RunResult& r) { return r.wait.p95; }},
      {"gang wait s", 1, [](const RunResult& r) { return OrNone(r.gangs > 0, r.gang_wait.mean); }},
      {"jct s mean", 1, [](const RunResult& r) { return r.completion.mean; }},
      {"bw % of best", 1,
       [](const RunResult& r) { return OrNone(r.topology.jobs > 0, r.topology.bandwidth_pct); }},
      {"at best %", 1,
       [](const RunResult& r) { return OrNone(r.topology.jobs > 0, r.topology.at_best_pct); }},
      {"8-sets left", 1,
       [](const RunResult& r) { return OrNone(r.topology.jobs > 0, r.topology.intact8_mean); }},
      {"failed", 0, [](const RunResult& r) { return static_cast<double>(r.failed); }},
      {"cpu s", 4, [](const RunResult& r) { return r.cpu_seconds; }},
  };
  return mode == Mode::kSaturation ? saturation : replay;
}

// Without what no run has, such as the wait of gangs where there are none.
std::vector<Figure> Shown(const std::vector<RunResult>& runs, Mode mode) {
  std::vector<Figure> shown;
  for (const Figure& f : Figures(mode)) {
    const bool known = std::any_of(runs.begin(), runs.end(),
                                   [&f](const RunResult& r) { return !std::isnan(f.of(r)); });
    if (known || runs.empty()) shown.push_back(f);
  }
  return shown;
}

}  // namespace

Table RunTable(const std::vector<RunResult>& runs, Mode mode) {
  Table t;
  t.header = {"trace", "policy", "seed", "arrivals", "placed"};
  t.right = {false, false, true, true, true};
  const std::vector<Figure> figures = Shown(runs, mode);
  for (const Figure& f : figures) {
    t.header.emplace_back(f.name);
    t.right.push_back(true);
  }
  t.header.emplace_back("digest");
  for (const RunResult& r : runs) {
    std::vector<std::string> row = {r.trace, r.policy, std::to_string(r.seed),
                                    std::to_string(r.arrivals), std::to_string(r.placed)};
    for (const Figure& f : figures) row.push_back(Fixed(f.of(r), f.digits));
    row.push_back(r.decision_digest.ToHex().substr(0, 12));
    t.rows.push_back(std::move(row));
  }
  return t;
}

Table SummaryTable(const std::vector<RunResult>& runs, Mode mode) {
  Table t;
  t.header = {"trace", "policy", "runs"};
  t.right = {false, false, true};
  const std::vector<Figure> figures = Shown(runs, mode);
  for (const Figure& f : figures) {
    t.header.emplace_back(f.name);
    t.right.push_back(true);
  }
  std::vector<std::pair<std::string, std::string>> groups;
  for (const RunResult& r : runs) {
    const std::pair key(r.trace, r.policy);
    if (std::find(groups.begin(), groups.end(), key) == groups.end()) groups.push_back(key);
  }
  for (const auto& [trace, policy] : groups) {
    std::vector<std::string> row = {trace, policy, ""};
    std::size_t count = 0;
    for (const Figure& f : figures) {
      std::vector<double> values;
      for (const RunResult& r : runs) {
        if (r.trace == trace && r.policy == policy) values.push_back(f.of(r));
      }
      count = values.size();
      row.push_back(Fixed(Mean(values), f.digits) +
                    (count > 1 ? " ±" + Fixed(Deviation(values), f.digits) : ""));
    }
    row[2] = std::to_string(count);
    t.rows.push_back(std::move(row));
  }
  return t;
}

Table SeriesTable(const std::vector<RunResult>& runs, Mode mode) {
  Table t;
  t.header = {"trace",
              "policy",
              "seed",
              mode == Mode::kSaturation ? "arrived_pct" : "hours",
              "allocation_pct",
              "fragmentation_pct",
              "fragmentation_ratio_pct"};
  for (std::size_t c = 0; c < kStrandCauses; ++c) {
    t.header.push_back(fmt::format("{}_gpus", StrandCauseKey(static_cast<StrandCause>(c))));
  }
  t.header.insert(t.header.end(), {"idle_cards", "idle_nodes", "digest", "cpu_seconds"});
  const auto cell = [](double v) { return std::isnan(v) ? std::string() : fmt::format("{}", v); };
  for (const RunResult& r : runs) {
    for (std::size_t i = 0; i < r.series.x.size(); ++i) {
      const sim::Series& s = r.series;
      std::vector<std::string> row = {r.trace,
                                      r.policy,
                                      std::to_string(r.seed),
                                      cell(s.x[i]),
                                      cell(s.allocation_pct[i]),
                                      cell(s.fragmentation_pct[i]),
                                      cell(s.fragmentation_ratio_pct[i])};
      for (const auto& cause : s.cause_gpus) row.push_back(cell(cause[i]));
      row.push_back(cell(s.idle_cards[i]));
      row.push_back(cell(s.idle_nodes[i]));
      row.push_back(r.decision_digest.ToHex());
      row.push_back(cell(r.cpu_seconds));
      t.rows.push_back(std::move(row));
    }
  }
  return t;
}

Table FailureTable(const std::vector<RunResult>& runs) {
  Table t;
  t.header = {"policy", "seed", "shape", "failed", "GPUs", "outcome", "why (at the end)"};
  t.right = {false, true, false, true, true};
  for (const RunResult& r : runs) {
    for (const sim::FailedShape& f : r.failed_shapes) {
      t.rows.push_back({r.policy, std::to_string(r.seed), f.shape, std::to_string(f.count),
                        Fixed(f.gpus, 1), f.outcome, f.reason});
    }
  }
  return t;
}

json CausesJson() {
  json out = json::array();
  for (std::size_t c = 0; c < kStrandCauses; ++c) {
    const auto cause = static_cast<StrandCause>(c);
    out.push_back({{"key", StrandCauseKey(cause)}, {"label", StrandCauseLabel(cause)}});
  }
  return out;
}

json RunsJson(const std::vector<RunResult>& runs, Mode mode) {
  json out = json::array();
  for (const RunResult& r : runs) {
    json causes = json::object();
    for (std::size_t c = 0; c < kStrandCauses; ++c) {
      causes[std::string(StrandCauseKey(static_cast<StrandCause>(c)))] =
          Numbers(r.series.cause_gpus[c]);
    }
    json failed = json::array();
    for (const sim::FailedShape& f : r.failed_shapes) {
      failed.push_back({{"shape", f.shape},
                        {"count", f.count},
                        {"gpus", f.gpus},
                        {"outcome", f.outcome},
                        {"reason", f.reason}});
    }
    json row = {{"trace", r.trace},
                {"policy", r.policy},
                {"seed", r.seed},
                {"arrivals", r.arrivals},
                {"placed", r.placed},
                {"failed", r.failed},
                {mode == Mode::kSaturation ? "arrived_pct" : "hours", Numbers(r.series.x)},
                {"allocation_pct", Numbers(r.series.allocation_pct)},
                {"fragmentation_pct", Numbers(r.series.fragmentation_pct)},
                {"fragmentation_ratio_pct", Numbers(r.series.fragmentation_ratio_pct)},
                {"causes_gpus", std::move(causes)},
                {"idle_cards", Numbers(r.series.idle_cards)},
                {"idle_nodes", Numbers(r.series.idle_nodes)},
                {"failed_shapes", std::move(failed)},
                {"final_allocation_pct", r.final_allocation_pct},
                {"digest", r.decision_digest.ToHex()},
                {"engine_calls", r.engine_calls},
                {"work",
                 {{"decisions", r.work.decisions},
                  {"nodes_checked", r.work.nodes_checked},
                  {"nodes_scored", r.work.nodes_scored},
                  {"index_rebuilds", r.work.index_rebuilds},
                  {"exact_fallbacks", r.work.exact_fallbacks}}},
                {"cpu_seconds", r.cpu_seconds}};
    if (mode == Mode::kReplay) {
      row["queued"] = Numbers(r.series.queued);
      const auto times = [](const sim::WaitTimes& w) {
        return json{
            {"mean", w.mean}, {"p50", w.p50}, {"p95", w.p95}, {"p99", w.p99}, {"max", w.max}};
      };
      row["wait_s"] = times(r.wait);
      row["jct_s"] = times(r.completion);
      row["gangs"] = r.gangs;
      if (r.gangs > 0) row["gang_wait_s"] = times(r.gang_wait);
      row["backfilled"] = r.backfilled;
      row["work"]["gang_steps"] = r.work.gang_steps;
      if (!r.topology.by_tier.empty()) {
        json& t = row["topology"];
        for (const auto& tier : r.topology.by_tier) t["jobs_by_tier"][tier.tier] = tier.jobs;
        t["jobs"] = r.topology.jobs;
        if (r.topology.jobs > 0) {
          t["bandwidth_pct"] = r.topology.bandwidth_pct;
          t["at_best_pct"] = r.topology.at_best_pct;
          t["stretch"] = r.topology.stretch;
          t["intact_8_sets"] = r.topology.intact8_mean;
          for (const auto& size : r.topology.by_size) {
            t["by_size"].push_back({{"cards", size.cards},
                                    {"jobs", size.jobs},
                                    {"bandwidth_pct", size.bandwidth_pct}});
          }
        }
      }
    }
    out.push_back(std::move(row));
  }
  return out;
}

json MapJson(const std::string& label, const std::string& policy, std::uint64_t seed,
             const std::vector<sim::MapNode>& map) {
  json nodes = json::array();
  for (const sim::MapNode& node : map) {
    json cards = json::array();
    for (const sim::MapCard& card : node.cards) {
      json slices = json::array();
      for (const sim::CardSlice& s : card.slices) {
        slices.push_back({{"pod", s.pod},
                          {"milli", s.milli},
                          {"mem_mib", s.memory_mib > 0 ? json(s.memory_mib) : json(nullptr)},
                          {"kind", KindName(s.kind)}});
      }
      cards.push_back(
          {{"free_milli", card.free_milli},
           {"mem_free_mib", card.memory_free_mib >= 0 ? json(card.memory_free_mib) : json(nullptr)},
           {"usable", card.usable},
           {"cause", card.cause.empty() ? json(nullptr) : json(card.cause)},
           {"slices", std::move(slices)}});
    }
    nodes.push_back({{"name", node.name},
                     {"model", node.model},
                     {"cpu_free_milli", node.cpu_free_milli},
                     {"cpu_milli", node.cpu_milli},
                     {"cards", std::move(cards)}});
  }
  return {{"label", label}, {"policy", policy}, {"seed", seed}, {"nodes", std::move(nodes)}};
}

json ReportJson(const ReportHead& head, Mode mode,
                const std::vector<const sim::Workload*>& workloads,
                const std::vector<RunResult>& runs) {
  json out = {
      {"schema", "basalt.report/1"}, {"title", head.title},
      {"subtitle", head.subtitle},   {"command", head.command},
      {"version", head.version},     {"kind", mode == Mode::kSaturation ? "saturation" : "replay"},
      {"causes", CausesJson()},      {"comparison", nullptr}};
  const sim::Workload& first = *workloads.front();
  std::map<std::string, std::pair<std::int64_t, std::int64_t>> models;
  for (const NodeSpec& node : first.nodes) {
    auto& [nodes, cards] = models[node.cards.empty() ? "" : node.cards[0].model];
    ++nodes;
    cards += static_cast<std::int64_t>(node.cards.size());
  }
  json model_rows = json::array();
  for (const auto& [model, counts] : models) {
    model_rows.push_back({{"model", model}, {"nodes", counts.first}, {"cards", counts.second}});
  }
  out["cluster"] = {{"nodes", first.nodes.size()},
                    {"cards", first.cards},
                    {"gpu_milli", first.gpu_milli},
                    {"models", std::move(model_rows)}};
  out["traces"] = json::array();
  for (const sim::Workload* w : workloads) {
    out["traces"].push_back({{"name", w->name}, {"pods", w->arrivals.size()}});
  }
  json rows = json::array();
  json maps = json::array();
  for (const RunResult& r : runs) {
    json series = {{"allocation_pct", Numbers(r.series.allocation_pct, 100)},
                   {"fragmentation_pct", Numbers(r.series.fragmentation_pct, 100)},
                   {"fragmentation_ratio_pct", Numbers(r.series.fragmentation_ratio_pct, 100)},
                   {"idle_cards", Numbers(r.series.idle_cards, 10)},
                   {"idle_nodes", Numbers(r.series.idle_nodes, 10)}};
    if (mode == Mode::kReplay) series["queued"] = Numbers(r.series.queued, 10);
    json causes = json::object();
    for (std::size_t c = 0; c < kStrandCauses; ++c) {
      causes[std::string(StrandCauseKey(static_cast<StrandCause>(c)))] =
          Numbers(r.series.cause_gpus[c], 10);
    }
    json failed = json::array();
    for (const sim::FailedShape& f : r.failed_shapes) {
      failed.push_back(
          {{"shape", f.shape}, {"count", f.count}, {"gpus", f.gpus}, {"reason", f.reason}});
    }
    rows.push_back({{"trace", r.trace},
                    {"policy", r.policy},
                    {"seed", r.seed},
                    {"arrivals", r.arrivals},
                    {"placed", r.placed},
                    {"failed", r.failed},
                    {"digest", r.decision_digest.ToHex()},
                    {"cpu_seconds", r.cpu_seconds},
                    {"x",
                     {{"label", mode == Mode::kSaturation ? "Arrived GPU demand, % of capacity"
                                                          : "Hours since the first arrival"},
                      {"values", Numbers(r.series.x, 1000)}}},
                    {"series", std::move(series)},
                    {"causes_gpus", std::move(causes)},
                    {"failed_shapes", std::move(failed)}});
    if (!r.map.empty()) {
      maps.push_back(
          MapJson(fmt::format("{}, seed {}, {}", r.policy, r.seed,
                              mode == Mode::kSaturation ? "end of run" : "after the last arrival"),
                  r.policy, r.seed, r.map));
    }
  }
  out["runs"] = std::move(rows);
  out["maps"] = std::move(maps);
  return out;
}

}  // namespace basalt::report
