// What makes a trace valid, said once: the readers apply these rules row by row, with the place in
// the file; Validate applies them to a trace in memory, for importers and generators. A valid
// trace survives writing and reading unchanged.
//
// The rules: ids are not empty, unique, UTF-8 without NUL; amounts are within limits.h; a node
// without cards names no model; a task has gpu_milli 0 exactly when gpu_num is 0; intervals do not
// end before they start; closed vocabularies hold; a node's domains are tiers by name, each once,
// and agree with its rack; every task's job exists and every job has a task; placements and usage
// are of tasks that exist; a queue's parent is a queue; there is at least one node or job.
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "traces/diagnostics.h"
#include "traces/trace.h"

namespace basalt::trace {

// `field` is the column's name in the canonical files (docs/traces.md).
using FieldReport = std::function<void(std::string_view field, std::string message)>;

// The rules that one row can break by itself.
void CheckNode(const Node& node, const FieldReport& report);
void CheckJob(const Job& job, const FieldReport& report);
void CheckTask(const Task& task, const FieldReport& report);
void CheckPlacement(const Placement& placement, const FieldReport& report);
void CheckUsage(const Usage& usage, const FieldReport& report);
void CheckQueue(const Queue& queue, const FieldReport& report);
void CheckCapacity(const Capacity& capacity, const FieldReport& report);
void CheckManifest(const Manifest& manifest, const FieldReport& report);

// The rules between rows. `row` is the index of the offender in its table.
enum class Table { kNodes, kJobs, kTasks, kPlacements, kUsage, kQueues, kCapacity };
inline constexpr std::array<std::string_view, 7> kTableNames = {
    "nodes", "jobs", "tasks", "placements", "usage", "queues", "capacity"};
inline constexpr std::size_t kRequiredTables = 3;  // the first ones; the others may be absent

using RowReport =
    std::function<void(Table table, std::size_t row, std::string_view field, std::string message)>;
// Where a row was, for messages that name an earlier one: "line 7".
using RowName = std::function<std::string(Table table, std::size_t row)>;
void CheckReferences(const Trace& trace, const RowName& name, const RowReport& report);

// All rules, on a trace in memory. Places read `tasks[3]`, messages start with the field.
Diagnostics Validate(const Trace& trace);

// All that is wrong with a canonical trace on disk; ok() when nothing is. `path` is its directory.
Diagnostics CheckTrace(const std::string& path);

}  // namespace basalt::trace
