// Runs as rows and as JSON: what `basalt sim` prints, and the data of the HTML report
// (docs/report.md has the contract).
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "report/table.h"
#include "sim/experiment.h"

namespace basalt::report {

// A row a run: what to look at first.
Table RunTable(const std::vector<sim::RunResult>& runs, sim::Mode mode);
// A row a (trace, policy), mean and standard deviation over seeds.
Table SummaryTable(const std::vector<sim::RunResult>& runs, sim::Mode mode);
// One run and sampled point a row: trace, policy, seed, x and every series.
Table SeriesTable(const std::vector<sim::RunResult>& runs, sim::Mode mode);
// Failed requests by shape, one row a shape of each run.
Table FailureTable(const std::vector<sim::RunResult>& runs);

// An array, one object a run; NaN becomes null.
nlohmann::json RunsJson(const std::vector<sim::RunResult>& runs, sim::Mode mode);

struct ReportHead {
  std::string title;
  std::string subtitle;
  std::string command;
  std::string version;
};
// The HTML report's data. Maps are taken from the runs that kept one.
nlohmann::json ReportJson(const ReportHead& head, sim::Mode mode,
                          const std::vector<const sim::Workload*>& workloads,
                          const std::vector<sim::RunResult>& runs);
nlohmann::json MapJson(const std::string& label, const std::string& policy, std::uint64_t seed,
                       const std::vector<sim::MapNode>& map);
nlohmann::json CausesJson();

}  // namespace basalt::report
