// NCCL's topology XML: what NCCL_TOPO_DUMP_FILE writes and NCCL_TOPO_FILE reads. Cloud vendors ship
// partial ones, without <gpu> and <nvlink>, for NCCL to complete; those are read as far as they go,
// and what is missing is a warning.
// Invariant: a card's identity is its PCI bus id, which is there and unique.
//
// All links to NVSwitch end in one switch vertex, as NCCL has it: the bus ids of the switches are
// not told apart by drivers since Hopper.
#pragma once

#include <string>
#include <string_view>

#include "scheduler-core/base/result.h"
#include "topology/graph.h"

namespace basalt::topology {

Result<MachineGraph> ParseNccl(std::string_view text, const std::string& name);

}  // namespace basalt::topology
