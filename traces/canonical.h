// The canonical trace on disk, "gputrace/1": a directory with manifest.json, nodes.csv, jobs.csv,
// tasks.csv and, where there is something in them, placements.csv, usage.csv, queues.csv and
// capacity.csv (tables may be .csv.gz). docs/traces.md has every column. Reading what was
// written gives the same Trace, field by field, for every trace that is valid (check.h).
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "scheduler-core/base/result.h"
#include "traces/diagnostics.h"
#include "traces/trace.h"

namespace basalt::trace {

inline constexpr std::string_view kTraceFormat = "gputrace/1";

// The trace of a directory. Whatever CheckTrace would report is an error here.
Result<Trace> ReadTrace(const std::string& directory);
// The same, with all errors apart; the trace is only to be used when diagnostics->ok().
Trace ReadTrace(const std::string& directory, Diagnostics* diagnostics);

struct WriteOptions {
  bool overwrite = false;  // replace a trace that is there
};
// Writes into a new directory beside the target and renames it, so that readers see the old trace
// or the new one, never half of it. Refuses an invalid trace, an existing directory that is not
// empty (unless `overwrite`), and always one with files that are not a trace's.
Status WriteTrace(const Trace& trace, const std::string& directory,
                  const WriteOptions& options = {});

// One file each, for tests and fuzzers. `name` stands for the file in messages. Rows are checked
// by themselves; the rules between rows are the caller's.
struct RowPlace {
  std::size_t line = 0, column = 0;  // of the row's key: node_id, job_id, task
};
std::vector<Node> ParseNodes(const std::string& name, std::string_view text,
                             Diagnostics* diagnostics, std::vector<RowPlace>* places = nullptr);
std::vector<Job> ParseJobs(const std::string& name, std::string_view text, Diagnostics* diagnostics,
                           std::vector<RowPlace>* places = nullptr);
std::vector<Task> ParseTasks(const std::string& name, std::string_view text,
                             Diagnostics* diagnostics, std::vector<RowPlace>* places = nullptr);

std::vector<Placement> ParsePlacements(const std::string& name, std::string_view text,
                                       Diagnostics* diagnostics,
                                       std::vector<RowPlace>* places = nullptr);
std::vector<Usage> ParseUsage(const std::string& name, std::string_view text,
                              Diagnostics* diagnostics, std::vector<RowPlace>* places = nullptr);
std::vector<Queue> ParseQueues(const std::string& name, std::string_view text,
                               Diagnostics* diagnostics, std::vector<RowPlace>* places = nullptr);
std::vector<Capacity> ParseCapacity(const std::string& name, std::string_view text,
                                    Diagnostics* diagnostics,
                                    std::vector<RowPlace>* places = nullptr);

// Rows of each table, in the order of kTableNames (check.h).
struct Counts {
  std::array<std::size_t, 7> rows{};
  friend bool operator==(const Counts&, const Counts&) = default;
};
Manifest ParseManifest(const std::string& name, std::string_view text, Diagnostics* diagnostics,
                       Counts* counts);

std::string FormatNodes(const std::vector<Node>& nodes);
std::string FormatJobs(const std::vector<Job>& jobs);
std::string FormatTasks(const std::vector<Task>& tasks);
std::string FormatPlacements(const std::vector<Placement>& placements);
std::string FormatUsage(const std::vector<Usage>& usage);
std::string FormatQueues(const std::vector<Queue>& queues);
std::string FormatCapacity(const std::vector<Capacity>& capacity);
Counts CountRows(const Trace& trace);
std::string FormatManifest(const Manifest& manifest, const Counts& counts);

}  // namespace basalt::trace
