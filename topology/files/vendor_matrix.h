// What the tools of other vendors than NVIDIA print: Ascend `npu-smi info -t topo`, MetaX
// `mx-smi topo -m`, Kunlunxin `xpu-smi topo -m`, Cambricon `cnmon topo -m`, AMD
// `rocm-smi --showtopo`. All are nvidia-smi's form with words of their own.
// Invariant: as nvidia_smi.h; a word whose meaning is not known is refused.
//
// Sources: Ascend, MetaX and AMD by published output; Kunlunxin by a published summary of one;
// Cambricon by a description only (its output is public as images), so its reader is unproven.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "scheduler-core/base/result.h"
#include "topology/files/label_matrix.h"
#include "topology/graph.h"

namespace basalt::topology {

enum class MatrixTool { kNpuSmi, kMxSmi, kXpuSmi, kCnmon, kRocmSmi };

// The matrix as printed; of rocm-smi the one of link types, with hops and NUMA nodes taken in.
Result<LabelMatrix> ReadVendorMatrix(std::string_view text, const std::string& name,
                                     MatrixTool tool);
Result<MachineGraph> ParseVendorMatrix(std::string_view text, const std::string& name,
                                       MatrixTool tool, const MatrixOptions& options = {});

// The tool that printed this, by its words; nullopt when it is none of them.
std::optional<MatrixTool> FindVendorTool(std::string_view text);

}  // namespace basalt::topology
