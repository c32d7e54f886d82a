// Arms of a platform scenario side by side: the figures that are compared, as tables and as JSON
// for programs and for the HTML report (docs/report.md).
//
// One list of figures makes them all, so that no output has a figure that another defines
// differently. What was not measured is NaN here, null in JSON and n/a in tables.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "report/runs.h"
#include "report/table.h"
#include "sim/platform/platform.h"

namespace basalt::report {

struct PlatformArm {
  std::string name;
  std::string about;
  std::vector<std::pair<std::string, std::string>> set;  // what differs from the file: path, value
  bool swept = false;  // of a sweep: its demand may be another, so it is in a table of its own
  sim::PlatformResult result;
  bool searched = false;  // `scale` was asked for
  sim::ScaleSearch scale;
};

struct PlatformClaim {
  std::string text, source, metric, holds, unit;
  double value = sim::kNotMeasured;
  std::string verdict;  // "holds", "does not hold", "not measured"
};
struct PlatformAssumption {
  std::string name, value, range, source;
};

struct PlatformComparison {
  ReportHead head;
  std::string about, document, currency;
  std::int64_t nodes = 0, cards = 0;                         // of the baseline, rented ones too
  std::vector<std::pair<std::string, std::int64_t>> models;  // and their cards
  std::vector<PlatformArm> arms;
  std::size_t baseline = 0;
  std::vector<PlatformClaim> claims;
  std::vector<PlatformAssumption> assumptions;
};

// A row a figure, a column an arm; without swept arms.
Table PlatformTable(const PlatformComparison& comparison);
// A row an arm, swept ones too; for programs.
Table PlatformArmRows(const PlatformComparison& comparison);
// Swept arms, a row each, with the figures to look at first. Empty: none.
Table PlatformSweepTable(const PlatformComparison& comparison);
Table ClaimTable(const PlatformComparison& comparison);
Table AssumptionTable(const PlatformComparison& comparison);

// For programs: all of each arm's result.
nlohmann::json PlatformJson(const PlatformComparison& comparison);
// For the HTML report.
nlohmann::json PlatformReportJson(const PlatformComparison& comparison);

struct PlatformFigure {
  std::string key, label, unit, group;
  int digits = 1;
  int better = 0;              // 1: more is better, -1: less is, 0: neither
  std::vector<double> values;  // by arm
};
// Figures that no arm has are left out.
std::vector<PlatformFigure> PlatformFigures(const PlatformComparison& comparison);

}  // namespace basalt::report
