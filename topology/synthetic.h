// A machine in one short line of text, for tests, scenarios, node lists and the engine's journal.
// The line has everything that the bandwidth table depends on and nothing else (no UUIDs, no PCI
// ids, no names of cards): FormatGraph(ParseGraph(t)) == t for a canonical t, and two graphs with
// equal text have equal bandwidth tables. docs/topology.md has the grammar.
#pragma once

#include <string>
#include <string_view>

#include "scheduler-core/base/result.h"
#include "topology/graph.h"

namespace basalt::topology {

// Errors name the column and what was expected there.
Result<MachineGraph> ParseGraph(std::string_view text);
std::string FormatGraph(const MachineGraph& graph);

}  // namespace basalt::topology
