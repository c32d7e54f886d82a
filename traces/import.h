// The one list of trace importers, by name. `basalt trace import --format NAME` is this.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "scheduler-core/base/result.h"
#include "traces/trace.h"

namespace basalt::trace {

struct ImportFiles {
  std::string nodes;      // --nodes: a node list
  std::string pods;       // --pods: a pod or job list
  std::string directory;  // --dir: a canonical trace
};

struct Importer {
  std::string_view name;
  std::string_view help;   // one line: what it reads
  std::string_view files;  // which of ImportFiles it needs, for usage: "--nodes FILE --pods FILE";
                           // in []: optional
  Result<Trace> (*import)(const ImportFiles& files);
};

std::span<const Importer> Importers();

// An unknown format lists the known ones and the nearest; a missing or superfluous file is an
// error that names the option. The trace is valid (check.h).
Result<Trace> Import(std::string_view format, const ImportFiles& files);

}  // namespace basalt::trace
