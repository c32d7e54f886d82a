#include "topology/files/vendor_matrix.h"

#include <array>
#include <utility>
#include <vector>

#include "topology/files/graph_builder.h"
#include "topology/files/nvidia_smi.h"

namespace basalt::topology {
namespace {

// MB/s one way between two cards. From vendors' data sheets and papers, or set by us where none
// was found; NOT MEASURED. The graph says so in a warning.
constexpr std::int32_t kHccs = 28000;         // Ascend 910B: 56 GB/s both ways a pair, 7 pairs
constexpr std::int32_t kHccsSwitch = 196000;  // Ascend 910C, a die into the switches: as 7 x HCCS
constexpr std::int32_t kSio = 216000;         // Ascend 910C, two dies of a package: 270 x 0.8
constexpr std::int32_t kMetaXLink = 25000;    // set by us
constexpr std::int32_t kXpuLink = 25000;      // set by us
constexpr std::int32_t kMluLink = 25000;      // set by us
constexpr std::int32_t kXgmi = 48000;         // MI300X: 64 GB/s line rate a pair x 0.75

std::optional<Label> ReadPcieWord(std::string_view word) {
  if (word == "X") return Label{Relation::kSelf};
  if (word == "PIX") return Label{Relation::kPix};
  if (word == "PXB") return Label{Relation::kPxb};
  if (word == "PHB") return Label{Relation::kPhb};
  if (word == "NODE") return Label{Relation::kNode};
  if (word == "SYS") return Label{Relation::kSys};
  return std::nullopt;
}

std::optional<Label> ReadAscend(std::string_view word) {
  if (word == "HCCS") return Label{Relation::kFabric, 1, kHccs};
  if (word == "HCCS_SW") return Label{Relation::kFabricSwitch, 1, kHccsSwitch};
  if (word == "SIO") return Label{Relation::kFabric, 1, kSio};
  return ReadPcieWord(word);  // PIB is reserved: refused
}

std::optional<Label> ReadMetaX(std::string_view word) {
  if (word == "MX") return Label{Relation::kFabric, 1, kMetaXLink};
  return ReadPcieWord(word);
}

std::optional<Label> ReadKunlun(std::string_view word) {
  if (word == "XL") return Label{Relation::kFabric, 1, kXpuLink};
  return ReadPcieWord(word);
}

std::optional<Label> ReadCambricon(std::string_view word) {
  if (word == "MLK") return Label{Relation::kFabric, 1, kMluLink};
  if (word == "MUL") return Label{Relation::kPxb};
  if (word == "CPU") return Label{Relation::kPhb};
  return ReadPcieWord(word);
}

std::optional<Label> ReadAmd(std::string_view word) {
  if (word == "0") return Label{Relation::kSelf};
  if (word == "XGMI") return Label{Relation::kFabric, 1, kXgmi};
  if (word == "PCIE") return Label{Relation::kUnknown};
  return std::nullopt;
}

std::optional<Label> ReadHops(std::string_view word) {
  const auto hops = WholeNumber(word, 0, 64);
  if (!hops) return std::nullopt;
  return Label{*hops == 0 ? Relation::kSelf : Relation::kUnknown};
}

constexpr std::array<Dialect, 5> kDialects = {
    Dialect{"Huawei", "HCCS", "NPU", "X HCCS HCCS_SW SIO PIX PXB PHB NODE SYS", &ReadAscend, true,
            "npu-smi info -t topo"},
    Dialect{"MetaX", "MetaXLink", "GPU", "X MX PIX PXB PHB NODE SYS", &ReadMetaX, true,
            "mx-smi topo -m"},
    Dialect{"Kunlunxin", "XPULink", "XPU", "X XL PIX PXB PHB NODE SYS", &ReadKunlun, true,
            "xpu-smi topo -m"},
    Dialect{"Cambricon", "MLU-Link", "MLU", "X MLK MUL CPU PIX PXB PHB NODE SYS", &ReadCambricon,
            true, "cnmon topo -m"},
    Dialect{"AMD", "XGMI", "GPU", "0 XGMI PCIE", &ReadAmd, true, "rocm-smi --showtopo"},
};
constexpr Dialect kHopsDialect = {
    "AMD", "", "GPU", "a number of hops", &ReadHops, true, "rocm-smi --showtopo"};

constexpr std::string_view kLinkTypes = "Link Type between two";
constexpr std::string_view kHops = "Hops between two";
constexpr std::string_view kNumaNode = "(Topology) Numa Node:";

const Dialect& DialectOf(MatrixTool tool) { return kDialects[static_cast<std::size_t>(tool)]; }

// "GPU[3] : (Topology) Numa Node: 1" into numa[3].
Status ReadNumaLines(std::string_view text, const std::string& name, LabelMatrix* m) {
  for (std::size_t at = text.find(kNumaNode); at != std::string_view::npos;
       at = text.find(kNumaNode, at + 1)) {
    const std::size_t window = at > 64 ? at - 64 : 0;
    std::string_view before = text.substr(window, at - window);
    before.remove_prefix(before.rfind('\n') + 1);  // npos + 1 is 0
    const std::size_t open = before.find("GPU[");
    const std::size_t close = before.find(']');
    if (open == std::string_view::npos || close == std::string_view::npos || close < open) continue;
    std::string_view value = text.substr(at + kNumaNode.size(), 64);
    value = value.substr(0, value.find('\n'));
    while (!value.empty() && (value.front() == ' ' || value.front() == '\t'))
      value.remove_prefix(1);
    while (!value.empty() && (value.back() == ' ' || value.back() == '\r')) value.remove_suffix(1);
    const auto card = WholeNumber(before.substr(open + 4, close - open - 4), 0, m->cards - 1);
    const auto node = WholeNumber(value, -1, kMaxNumaNode);
    if (!card || !node) {
      return Fail(PlaceOf(name, text, at),
                  "not the NUMA node of one of the " + std::to_string(m->cards) + " cards");
    }
    m->numa[static_cast<std::size_t>(*card)] = *node;
    m->numa_column = true;
  }
  return {};
}

Result<LabelMatrix> ReadRocmSmi(std::string_view text, const std::string& name) {
  const std::size_t types = text.find(kLinkTypes);
  if (types == std::string_view::npos) {
    return Fail(name, "rocm-smi's matrix \"" + std::string(kLinkTypes) +
                          " GPUs\" is missing; save the whole output of rocm-smi --showtopo");
  }
  const std::size_t unknown = text.find("XXXX", types);
  if (unknown != std::string_view::npos) {
    return Fail(
        PlaceOf(name, text, unknown),
        "rocm-smi could not tell this link (XXXX), as on partitioned cards (TPX, CPX); save "
        "the output in SPX mode");
  }
  auto found = ReadMatrix(text, name, DialectOf(MatrixTool::kRocmSmi), types);
  if (!found) return tl::unexpected(found.error());
  LabelMatrix& m = found->matrix;
  const Status numa = ReadNumaLines(text, name, &m);
  if (!numa) return tl::unexpected(numa.error());
  const std::size_t hops = text.find(kHops);
  if (hops == std::string_view::npos) {
    m.warnings.emplace_back("no matrix of hops: every XGMI pair is taken for a link of its own");
    return std::move(m);
  }
  const auto counted = ReadMatrix(text, name, kHopsDialect, hops);
  if (!counted) return tl::unexpected(counted.error());
  if (counted->matrix.devices != m.devices) {
    return Fail(PlaceOf(name, text, counted->header),
                "other cards than in the matrix of link types");
  }
  // Two hops go through a third card and are no link of their own.
  for (std::size_t i = 0; i < m.labels.size(); ++i) {
    const bool direct = counted->matrix.tokens[i] == "1";
    if (m.labels[i].relation == Relation::kFabric && !direct) m.labels[i] = {Relation::kUnknown};
  }
  return std::move(m);
}

}  // namespace

Result<LabelMatrix> ReadVendorMatrix(std::string_view text, const std::string& name,
                                     MatrixTool tool) {
  auto found = [&]() -> Result<LabelMatrix> {
    if (tool == MatrixTool::kRocmSmi) return ReadRocmSmi(text, name);
    auto read = ReadMatrix(text, name, DialectOf(tool));
    if (!read) return tl::unexpected(read.error());
    return std::move(read->matrix);
  }();
  if (!found) return found;
  for (const Label& label : found->labels) {
    if (label.mbps == 0) continue;
    found->warnings.push_back(found->fabric + " at its data sheet's or an assumed " +
                              std::to_string(label.mbps) + " MB/s a pair; not measured");
    break;
  }
  if (tool == MatrixTool::kCnmon) {
    found->warnings.emplace_back("cnmon's form is known from a description only");
  }
  return found;
}

Result<MachineGraph> ParseVendorMatrix(std::string_view text, const std::string& name,
                                       MatrixTool tool, const MatrixOptions& options) {
  const auto matrix = ReadVendorMatrix(text, name, tool);
  if (!matrix) return tl::unexpected(matrix.error());
  return GraphFromLabels(*matrix, name, options);
}

std::optional<MatrixTool> FindVendorTool(std::string_view text) {
  const auto has = [&](std::string_view word) { return text.find(word) != std::string_view::npos; };
  if (has("(Topology)") || has(kLinkTypes) || has(kHops)) return MatrixTool::kRocmSmi;
  if (FindMatrix(text, "NPU")) return MatrixTool::kNpuSmi;
  if (FindMatrix(text, "XPU")) return MatrixTool::kXpuSmi;
  if (FindMatrix(text, "MLU")) return MatrixTool::kCnmon;
  const bool metax = has("MetaX") || has("mx-smi") || has(" MX ") || has("\tMX\t");
  if (metax && FindMatrix(text, "GPU")) return MatrixTool::kMxSmi;
  return std::nullopt;
}

}  // namespace basalt::topology
