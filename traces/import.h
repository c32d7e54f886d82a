// The one list of trace importers, by name. `basalt trace import --format NAME` is this.
#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>

#include "scheduler-core/base/result.h"
#include "traces/source.h"
#include "traces/trace.h"

namespace basalt::trace {

struct ImportFiles {
  std::string nodes;      // --nodes: a node list
  std::string pods;       // --pods: a pod or job list
  std::string directory;  // --dir: a canonical trace
  std::string jobs{}, tasks{}, instances{}, sensors{}, tags{}, capacity{}, queues{};
};

// The options that name files, each said once: the command makes its own from this.
struct FileOption {
  std::string_view name;  // with its dashes
  std::string ImportFiles::* value;
  std::string_view help;
};
inline constexpr std::array<FileOption, 10> kFileOptions = {{
    {"--nodes", &ImportFiles::nodes, "node list"},
    {"--pods", &ImportFiles::pods, "pod or job list"},
    {"--dir", &ImportFiles::directory, "canonical trace"},
    {"--jobs", &ImportFiles::jobs, "job list or log"},
    {"--tasks", &ImportFiles::tasks, "task table (pai2020)"},
    {"--instances", &ImportFiles::instances, "instance table: where tasks ran (pai2020)"},
    {"--sensors", &ImportFiles::sensors, "sensor table: what instances used (pai2020)"},
    {"--tags", &ImportFiles::tags, "group tag table (pai2020)"},
    {"--capacity", &ImportFiles::capacity, "GPUs of each virtual cluster by day (helios)"},
    {"--queues", &ImportFiles::queues, "queues (volcano)"},
}};

struct Importer {
  std::string_view name;
  std::string_view help;   // one line: what it reads
  std::string_view files;  // which of ImportFiles it needs, for usage: "--nodes FILE --pods FILE";
                           // in []: optional, but one file is needed
  // One of the two: from paths, or from the texts of the files that were given.
  Result<Trace> (*import)(const ImportFiles& files);
  Trace (*parse)(const SourceTexts& texts, Diagnostics* diagnostics);
};

std::span<const Importer> Importers();

// An unknown format lists the known ones and the nearest; a missing or superfluous file is an
// error that names the option. The trace is valid (check.h).
Result<Trace> Import(std::string_view format, const ImportFiles& files);

}  // namespace basalt::trace
