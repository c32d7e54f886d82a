#include "report/platform.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>

namespace basalt::report {
namespace {

using sim::kNotMeasured;
using sim::WorkClass;
using sim::WorkloadResult;

const WorkloadResult* ClassOf(const PlatformArm& arm, WorkClass work_class) {
  for (const WorkloadResult& row : arm.result.classes) {
    if (row.work_class == work_class) return &row;
  }
  return nullptr;
}

template <class F>
double Sum(const PlatformArm& arm, F of) {
  double sum = 0;
  for (const WorkloadResult& row : arm.result.classes) sum += static_cast<double>(of(row));
  return sum;
}

// Slowdown over all classes, weighted by what was measured.
double MeanSlowdown(const PlatformArm& arm) {
  double sum = 0, count = 0;
  for (const WorkloadResult& row : arm.result.classes) {
    if (row.slowdown.count == 0 || std::isnan(row.slowdown.mean)) continue;
    sum += row.slowdown.mean * row.allocated_gpu_hours;
    count += row.allocated_gpu_hours;
  }
  return count > 0 ? sum / count : kNotMeasured;
}

class Collector {
 public:
  explicit Collector(const PlatformComparison& comparison) : comparison_(comparison) {}

  void Add(std::string key, std::string label, std::string unit, int digits, int better,
           const std::function<double(const PlatformArm&)>& of) {
    PlatformFigure f{std::move(key), std::move(label), std::move(unit), group_, digits, better, {}};
    bool any = false;
    for (const PlatformArm& arm : comparison_.arms) {
      f.values.push_back(of(arm));
      any = any || !std::isnan(f.values.back());
    }
    if (any) figures_.push_back(std::move(f));
  }
  void Group(std::string name) { group_ = std::move(name); }
  std::vector<PlatformFigure> Take() { return std::move(figures_); }

 private:
  const PlatformComparison& comparison_;
  std::string group_;
  std::vector<PlatformFigure> figures_;
};

void AddClass(Collector* out, WorkClass work_class) {
  const std::string name = sim::WorkClassName(work_class);
  const bool service = work_class == WorkClass::kService;
  out->Group(service                              ? "Services"
             : work_class == WorkClass::kSandbox  ? "Sandboxes"
             : work_class == WorkClass::kTraining ? "Training"
             : work_class == WorkClass::kVm       ? "Virtual machines"
                                                  : "Jobs of traces");
  const auto add = [&](const char* key, const char* label, const char* unit, int digits, int better,
                       auto of) {
    out->Add(fmt::format("{}_{}", name, key), label, unit, digits, better,
             [work_class, of](const PlatformArm& arm) {
               const WorkloadResult* row = ClassOf(arm, work_class);
               return row == nullptr ? kNotMeasured : static_cast<double>(of(*row));
             });
  };
  add("done", "work completed", "% of wanted", 1, 1, [](const WorkloadResult& w) {
    return w.wanted_gpu_hours > 0 ? 100 * w.completed_gpu_hours / w.wanted_gpu_hours : kNotMeasured;
  });
  add("wait_p50", "wait, median", "s", 0, -1,
      [](const WorkloadResult& w) { return w.wait_seconds.p50; });
  add("wait_p99", "wait, p99", "s", 0, -1,
      [](const WorkloadResult& w) { return w.wait_seconds.p99; });
  add("slowdown_mean", "slowdown, mean", "x", 3, -1,
      [](const WorkloadResult& w) { return w.slowdown.mean; });
  add("slowdown_p99", "slowdown, p99", "x", 2, -1,
      [](const WorkloadResult& w) { return w.slowdown.p99; });
  add("slow_share", service ? "demand slower than allowed" : "slower than allowed", "%", 1, -1,
      [](const WorkloadResult& w) { return w.slow_share_pct; });
  add("overload_minutes", "overload", "slice-min", 0, -1,
      [](const WorkloadResult& w) { return w.overload_minutes; });
  add("infeasible", "refused for good", "", 0, -1, [](const WorkloadResult& w) {
    return w.infeasible > 0 ? static_cast<double>(w.infeasible) : kNotMeasured;
  });
}

std::string Cell(double value, const PlatformFigure& figure) { return Fixed(value, figure.digits); }

}  // namespace

std::vector<PlatformFigure> PlatformFigures(const PlatformComparison& comparison) {
  Collector out(comparison);
  const std::string& money = comparison.currency;
  out.Group("Cards");
  out.Add("utilization", "utilization: served work / capacity", "%", 1, 1,
          [](const PlatformArm& a) { return a.result.utilization_pct; });
  out.Add("allocation", "allocation", "%", 1, 0,
          [](const PlatformArm& a) { return a.result.allocation_pct; });
  out.Add("touched", "cards with something on them", "%", 1, 0,
          [](const PlatformArm& a) { return a.result.touched_pct; });
  out.Add("served_gpu_hours", "served work", "GPU-h", 0, 1,
          [](const PlatformArm& a) { return a.result.served_gpu_hours; });
  out.Add("capacity_gpu_hours", "capacity", "GPU-h", 0, 0,
          [](const PlatformArm& a) { return a.result.capacity_gpu_hours; });
  out.Add("cards_needed", "cards for equal service", "cards", 0, -1, [](const PlatformArm& a) {
    return a.searched && a.scale.found ? static_cast<double>(a.scale.cards) : kNotMeasured;
  });
  out.Add("utilization_needed", "utilization with these cards", "%", 1, 1,
          [](const PlatformArm& a) {
            return a.searched && a.scale.found ? a.scale.result.utilization_pct : kNotMeasured;
          });
  out.Group("Cost");
  out.Add("cost_month", "cost per month", money, 0, -1, [](const PlatformArm& a) {
    return a.result.cost > 0 ? a.result.cost_per_month : kNotMeasured;
  });
  out.Add("cost_served_hour", "cost per served GPU-hour", money, 2, -1, [](const PlatformArm& a) {
    return a.result.cost > 0 ? a.result.cost_per_served_hour : kNotMeasured;
  });
  out.Add("cost_allocated_hour", "cost per allocated GPU-hour", money, 2, -1,
          [](const PlatformArm& a) {
            return a.result.cost > 0 ? a.result.cost_per_allocated_hour : kNotMeasured;
          });
  out.Group("Service, all work");
  out.Add("slowdown_mean", "slowdown, mean by GPU-hours held", "x", 3, -1, MeanSlowdown);
  out.Add("overload_minutes", "overload", "slice-min", 0, -1, [](const PlatformArm& a) {
    return Sum(a, [](const WorkloadResult& w) { return w.overload_minutes; });
  });
  out.Add("card_overload_memory", "cards with working sets above their memory", "card-min", 0, -1,
          [](const PlatformArm& a) { return a.result.card_overload_memory_minutes; });
  out.Add("evictions", "evictions", "", 0, -1, [](const PlatformArm& a) {
    return Sum(a, [](const WorkloadResult& w) { return w.evictions; });
  });
  out.Add("commits", "images committed", "", 0, 0, [](const PlatformArm& a) {
    return Sum(a, [](const WorkloadResult& w) { return w.commits; });
  });
  out.Add("lost_gpu_hours", "work done and lost", "GPU-h", 1, -1,
          [](const PlatformArm& a) { return a.result.lost_gpu_hours; });
  out.Add("reclaimed_gpu_hours", "taken back from idle sandboxes", "GPU-h", 0, 0,
          [](const PlatformArm& a) {
            return Sum(a, [](const WorkloadResult& w) { return w.reclaimed_gpu_hours; });
          });
  out.Add("slots_short", "whole nodes that queues with slots could not have, mean", "", 1, -1,
          [](const PlatformArm& a) { return a.result.slots_short; });
  out.Add("mean_waiting", "units without a place, mean", "", 1, -1,
          [](const PlatformArm& a) { return a.result.mean_waiting; });
  for (int k = 0; k < sim::kWorkClasses; ++k) AddClass(&out, static_cast<WorkClass>(k));
  out.Group("Pools");
  const auto moved = [](const PlatformArm& a) {
    return static_cast<double>(a.result.pools.moves_to_passthrough +
                               a.result.pools.moves_to_shared);
  };
  out.Add("pool_moves", "cards moved between pools", "", 0, 0,
          [moved](const PlatformArm& a) { return moved(a) > 0 ? moved(a) : kNotMeasured; });
  return out.Take();
}

Table PlatformTable(const PlatformComparison& comparison) {
  Table t;
  t.header = {"figure", "unit"};
  t.right = {false, false};
  for (const PlatformArm& arm : comparison.arms) {
    if (arm.swept) continue;
    t.header.push_back(arm.name);
    t.right.push_back(true);
  }
  std::string group;
  for (const PlatformFigure& f : PlatformFigures(comparison)) {
    if (f.group != group) {
      group = f.group;
      t.rows.push_back({group + ":"});
      t.rows.back().resize(t.header.size());
    }
    std::vector<std::string> row = {"  " + f.label, f.unit};
    for (std::size_t i = 0; i < comparison.arms.size(); ++i) {
      if (!comparison.arms[i].swept) row.push_back(Cell(f.values[i], f));
    }
    t.rows.push_back(std::move(row));
  }
  return t;
}

Table PlatformArmRows(const PlatformComparison& comparison) {
  Table t;
  t.header = {"arm"};
  t.right = {false};
  const std::vector<PlatformFigure> figures = PlatformFigures(comparison);
  for (const PlatformFigure& f : figures) {
    t.header.push_back(f.key);
    t.right.push_back(true);
  }
  for (std::size_t i = 0; i < comparison.arms.size(); ++i) {
    std::vector<std::string> row = {comparison.arms[i].name};
    for (const PlatformFigure& f : figures) {
      row.push_back(std::isnan(f.values[i]) ? std::string() : fmt::format("{}", f.values[i]));
    }
    t.rows.push_back(std::move(row));
  }
  return t;
}

Table PlatformSweepTable(const PlatformComparison& comparison) {
  static const std::vector<std::string> kShown = {
      "utilization",          "allocation",        "cards_needed",
      "cost_served_hour",     "service_done",      "service_slow_share",
      "training_wait_p50",    "training_wait_p99", "training_slowdown_mean",
      "sandbox_slowdown_mean"};
  Table t;
  t.header = {"sweep"};
  t.right = {false};
  std::vector<PlatformFigure> figures;
  for (PlatformFigure& f : PlatformFigures(comparison)) {
    if (std::find(kShown.begin(), kShown.end(), f.key) == kShown.end()) continue;
    t.header.push_back(f.key);
    t.right.push_back(true);
    figures.push_back(std::move(f));
  }
  for (std::size_t i = 0; i < comparison.arms.size(); ++i) {
    if (!comparison.arms[i].swept) continue;
    std::vector<std::string> row = {comparison.arms[i].name};
    for (const PlatformFigure& f : figures) row.push_back(Cell(f.values[i], f));
    t.rows.push_back(std::move(row));
  }
  return t;
}

Table ClaimTable(const PlatformComparison& comparison) {
  Table t;
  t.header = {"claim", "holds if", "measured", "unit", "verdict"};
  t.right = {false, false, true};
  for (const PlatformClaim& c : comparison.claims) {
    t.rows.push_back({c.text, c.holds, Fixed(c.value, 1), c.unit, c.verdict});
  }
  return t;
}

Table AssumptionTable(const PlatformComparison& comparison) {
  Table t;
  t.header = {"assumption", "value", "range", "source or reason"};
  for (const PlatformAssumption& a : comparison.assumptions) {
    t.rows.push_back({a.name, a.value, a.range, a.source});
  }
  return t;
}

}  // namespace basalt::report
