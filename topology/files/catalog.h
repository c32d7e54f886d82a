// Known machine types: one YAML file each in files/catalog, embedded in the binary, and users' own
// files of the same form. A file has the parts of a machine in the notation of descriptions
// (synthetic.h), a part a key; docs/topology.md lists the keys. Unknown keys are errors, and errors
// name file, line and column.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "scheduler-core/base/result.h"
#include "topology/graph.h"

namespace basalt::topology {

struct CatalogEntry {
  std::string name;
  std::string help;  // one line
  std::string card_model;
  std::int64_t card_memory_mib = 0;
  MachineGraph graph;
};

std::vector<std::string> CatalogNames();  // ascending
// Errors: the name is unknown; the message names the nearest one, or all.
Result<CatalogEntry> FindCatalogEntry(const std::string& name);
Result<MachineGraph> CatalogMachine(const std::string& name);

// A file of the same form; `file` is its name for messages.
Result<CatalogEntry> ParseCatalogEntry(const std::string& file, const std::string& text);
// The keys as a Markdown table, for docs/topology.md.
std::string CatalogKeys();

}  // namespace basalt::topology
