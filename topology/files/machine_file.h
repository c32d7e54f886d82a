// A description of a machine in any of the formats that Basalt reads, told by its content: nobody
// has to say what a file is.
// Invariant: a graph that is returned is valid and has at least one card; everything else is an
// error that names the place, or, when the format is not known, the formats that are.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "scheduler-core/base/result.h"
#include "topology/files/label_matrix.h"
#include "topology/graph.h"

namespace basalt::topology {

inline constexpr std::size_t kMaxMachineBytes = 1 << 20;

struct MachineFormat {
  std::string_view name;  // "nvidia-smi"
  std::string_view how;   // what makes such a file: a command, or where it is found
};

// For help texts.
std::span<const MachineFormat> MachineFormats();

// `name` is the file's name in messages. The options fill in what a label matrix does not say.
// P2P matrices (`nvidia-smi topo -p2p r` and `w`) after an nvidia-smi matrix are taken in.
Result<MachineGraph> ReadMachine(std::string_view text, const std::string& name,
                                 const MatrixOptions& options = {});

}  // namespace basalt::topology
