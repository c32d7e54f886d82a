// hwloc 2 and 3 XML (`lstopo --of xml`): NUMA nodes, the PCIe tree, and the NVLinks, which are in
// it as a table of bandwidths between cards, NVSwitches and (on POWER) CPU packages.
// Invariant: bridges that lead to a single device are not vertices; their link is in its link.
//
// hwloc has line rates. PCIe is brought to NCCL's figures (12,000 MB/s for 8 GT/s x16); NVLink to
// NCCL's figure a link where the card's model is known and to 0.8 of the line rate elsewhere.
// Synthetic strings ("Package:2 ... PU:6") describe CPUs only and are not read.
#pragma once

#include <string>
#include <string_view>

#include "scheduler-core/base/result.h"
#include "topology/graph.h"

namespace basalt::topology {

Result<MachineGraph> ParseHwloc(std::string_view text, const std::string& name);

}  // namespace basalt::topology
