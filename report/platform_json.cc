#include <cmath>

#include "report/platform.h"

namespace basalt::report {
namespace {

using nlohmann::json;
using sim::Percentiles;
using sim::PlatformResult;
using sim::PlatformSeries;
using sim::UsageRow;
using sim::WorkloadResult;

json Number(double value) { return std::isnan(value) ? json(nullptr) : json(value); }

json Rounded(const std::vector<double>& values, double scale) {
  json out = json::array();
  for (const double v : values) out.push_back(Number(std::round(v * scale) / scale));
  return out;
}

json PercentilesJson(const Percentiles& p) {
  return {{"count", p.count},     {"mean", Number(p.mean)}, {"p50", Number(p.p50)},
          {"p90", Number(p.p90)}, {"p99", Number(p.p99)},   {"max", Number(p.max)}};
}

json WorkloadJson(const WorkloadResult& w) {
  return {{"name", w.name},
          {"tenant", w.tenant},
          {"class", sim::WorkClassName(w.work_class)},
          {"submitted", w.submitted},
          {"started", w.started},
          {"completed", w.completed},
          {"infeasible", w.infeasible},
          {"abandoned", w.abandoned},
          {"completed_gpu_hours", w.completed_gpu_hours},
          {"wanted_gpu_hours", w.wanted_gpu_hours},
          {"allocated_gpu_hours", w.allocated_gpu_hours},
          {"served_gpu_hours", w.served_gpu_hours},
          {"lost_gpu_hours", w.lost_gpu_hours},
          {"wait_seconds", PercentilesJson(w.wait_seconds)},
          {"slowdown", PercentilesJson(w.slowdown)},
          {"slow_share_pct", Number(w.slow_share_pct)},
          {"overload_minutes", w.overload_minutes},
          {"overload_compute_minutes", w.overload_compute_minutes},
          {"overload_memory_minutes", w.overload_memory_minutes},
          {"overload_host_minutes", w.overload_host_minutes},
          {"evictions", w.evictions},
          {"ladder_evictions", w.ladder_evictions},
          {"failures", w.failures},
          {"commits", w.commits},
          {"restarts", w.restarts},
          {"reclaimed", w.reclaimed},
          {"reclaimed_gpu_hours", w.reclaimed_gpu_hours},
          {"returns", w.returns},
          {"return_wait_minutes", w.return_wait_minutes},
          {"blocked_hours", w.blocked_hours},
          {"throttled_hours", w.throttled_hours},
          {"offloaded_hours", w.offloaded_hours}};
}

json UsageJson(const std::vector<UsageRow>& rows) {
  json out = json::array();
  for (const UsageRow& r : rows) {
    out.push_back({{"name", r.name},
                   {"allocated_gpu_hours", r.allocated_gpu_hours},
                   {"served_gpu_hours", r.served_gpu_hours},
                   {"lost_gpu_hours", r.lost_gpu_hours},
                   {"charged", r.charged}});
  }
  return out;
}

json ClustersJson(const PlatformResult& result) {
  json out = json::array();
  for (const sim::ClusterResult& c : result.clusters) {
    out.push_back({{"name", c.name},
                   {"region", c.region},
                   {"private", c.is_private},
                   {"cards", c.cards},
                   {"capacity_gpu_hours", c.capacity_gpu_hours},
                   {"allocated_gpu_hours", c.allocated_gpu_hours},
                   {"served_gpu_hours", c.served_gpu_hours},
                   {"cost", c.cost},
                   {"committed", c.committed},
                   {"cost_per_month", Number(c.cost_per_month)},
                   {"cost_per_served_hour", Number(c.cost_per_served_hour)},
                   {"overflowed_in", c.overflowed_in},
                   {"rented_peak_cards", c.rented_peak_cards}});
  }
  return out;
}

json SeriesJson(const PlatformSeries& s) {
  return {{"hours", Rounded(s.hours, 1000)},
          {"capacity_cards", Rounded(s.capacity_cards, 100)},
          {"allocated_cards", Rounded(s.allocated_cards, 100)},
          {"served_cards", Rounded(s.served_cards, 100)},
          {"touched_cards", Rounded(s.touched_cards, 100)},
          {"waiting_units", Rounded(s.waiting_units, 100)},
          {"cost_per_hour", Rounded(s.cost_per_hour, 100)},
          {"shared_cards", Rounded(s.shared_cards, 100)},
          {"passthrough_cards", Rounded(s.passthrough_cards, 100)}};
}

json WorkloadsJson(const std::vector<WorkloadResult>& rows) {
  json out = json::array();
  for (const WorkloadResult& row : rows) out.push_back(WorkloadJson(row));
  return out;
}

json ArmJson(const PlatformArm& arm) {
  const PlatformResult& r = arm.result;
  json set = json::array();
  for (const auto& [path, value] : arm.set) set.push_back({{"path", path}, {"value", value}});
  json out = {{"name", arm.name},
              {"about", arm.about},
              {"set", std::move(set)},
              {"swept", arm.swept},
              {"measured_hours", r.measured_hours},
              {"cards", r.cards},
              {"classes", WorkloadsJson(r.classes)},
              {"workloads", WorkloadsJson(r.workloads)},
              {"clusters", ClustersJson(r)},
              {"tenants", UsageJson(r.tenants)},
              {"departments", UsageJson(r.departments)},
              {"skus", UsageJson(r.skus)},
              {"models", UsageJson(r.models)},
              {"series", SeriesJson(r.series)},
              {"pools",
               {{"moves_to_passthrough", r.pools.moves_to_passthrough},
                {"moves_to_shared", r.pools.moves_to_shared},
                {"emptying_hours", r.pools.emptying_hours},
                {"drain_hours", r.pools.drain_hours}}},
              {"demand_digest", r.demand_digest.ToHex()},
              {"digest", r.decision_digest.ToHex()},
              {"events", r.events}};
  if (arm.searched) {
    json tried = json::array();
    for (const sim::ScaleSearch::Tried& t : arm.scale.tried) {
      tried.push_back({{"cards", t.cards}, {"equal", t.equal}, {"reason", t.reason}});
    }
    out["equal_service"] = {{"found", arm.scale.found},
                            {"cards_before", arm.scale.cards_before},
                            {"cards", arm.scale.found ? json(arm.scale.cards) : json(nullptr)},
                            {"tried", std::move(tried)}};
  }
  return out;
}

}  // namespace

json PlatformJson(const PlatformComparison& c) {
  json out = {{"scenario", c.head.title},
              {"about", c.about},
              {"document", c.document},
              {"currency", c.currency},
              {"baseline", c.baseline}};
  json figures = json::array();
  for (const PlatformFigure& f : PlatformFigures(c)) {
    json values = json::array();
    for (const double v : f.values) values.push_back(Number(v));
    figures.push_back({{"key", f.key},
                       {"label", f.label},
                       {"unit", f.unit},
                       {"group", f.group},
                       {"digits", f.digits},
                       {"better", f.better},
                       {"values", std::move(values)}});
  }
  out["figures"] = std::move(figures);
  out["arms"] = json::array();
  for (const PlatformArm& arm : c.arms) out["arms"].push_back(ArmJson(arm));
  out["claims"] = json::array();
  for (const PlatformClaim& claim : c.claims) {
    out["claims"].push_back({{"text", claim.text},
                             {"source", claim.source},
                             {"metric", claim.metric},
                             {"holds", claim.holds},
                             {"unit", claim.unit},
                             {"value", Number(claim.value)},
                             {"verdict", claim.verdict}});
  }
  out["assumptions"] = json::array();
  for (const PlatformAssumption& a : c.assumptions) {
    out["assumptions"].push_back(
        {{"name", a.name}, {"value", a.value}, {"range", a.range}, {"source", a.source}});
  }
  return out;
}

json PlatformReportJson(const PlatformComparison& c) {
  json models = json::array();
  for (const auto& [model, cards] : c.models) {
    models.push_back({{"model", model}, {"nodes", 0}, {"cards", cards}});
  }
  return {{"schema", "basalt.report/1"},
          {"title", c.head.title},
          {"subtitle", c.about},
          {"command", c.head.command},
          {"version", c.head.version},
          {"kind", "platform"},
          {"cluster",
           {{"nodes", c.nodes},
            {"cards", c.cards},
            {"gpu_milli", c.cards * kWholeCard},
            {"models", std::move(models)}}},
          {"traces", json::array()},
          {"causes", json::array()},
          {"runs", json::array()},
          {"maps", json::array()},
          {"comparison", nullptr},
          {"platform", PlatformJson(c)}};
}

}  // namespace basalt::report
