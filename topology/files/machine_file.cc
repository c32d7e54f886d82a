#include "topology/files/machine_file.h"

#include <array>
#include <utility>

#include "topology/files/graph_builder.h"
#include "topology/files/hwloc.h"
#include "topology/files/nccl.h"
#include "topology/files/nvidia_smi.h"
#include "topology/files/vendor_matrix.h"

namespace basalt::topology {
namespace {

constexpr std::array<MachineFormat, 8> kFormats = {{
    {"nvidia-smi", "nvidia-smi topo -m (and topo -p2p r, topo -p2p w appended)"},
    {"nccl", "NCCL topology XML (NCCL_TOPO_DUMP_FILE)"},
    {"hwloc", "hwloc 2 or 3 XML (lstopo --of xml)"},
    {"npu-smi", "npu-smi info -t topo (Ascend)"},
    {"mx-smi", "mx-smi topo -m (MetaX)"},
    {"xpu-smi", "xpu-smi topo -m (Kunlunxin)"},
    {"cnmon", "cnmon topo -m (Cambricon)"},
    {"rocm-smi", "rocm-smi --showtopo (AMD)"},
}};

std::string KnownFormats() {
  std::string out = "known:";
  for (const MachineFormat& format : kFormats) {
    out += out.back() == ':' ? " " : "; ";
    out += format.how;
  }
  return out;
}

constexpr std::string_view kBlank = " \t\r\n";

// The name of an XML document's root element; empty when there is none.
std::string_view RootElement(std::string_view text) {
  for (std::size_t at = text.find('<'); at != std::string_view::npos; at = text.find('<', at + 1)) {
    const std::string_view rest = text.substr(at + 1);
    if (rest.starts_with("!--")) {
      at = text.find("-->", at);
      if (at == std::string_view::npos) return {};
    } else if (!rest.starts_with('?') && !rest.starts_with('!')) {
      return rest.substr(0, rest.find_first_of(" \t\r\n/>"));
    }
  }
  return {};
}

Result<MachineGraph> ReadXml(std::string_view text, const std::string& name) {
  const std::string_view root = RootElement(text);
  if (root == "system" || root == "graphs") return ParseNccl(text, name);
  if (root == "topology") return ParseHwloc(text, name);
  return Fail(name, "XML with root element " + Quoted(root) + ": not a machine; " + KnownFormats());
}

// The line before a matrix, in which a copied session has the command.
bool AsksFor(std::string_view text, std::size_t header, std::string_view option) {
  const std::string_view before = text.substr(0, header).substr(0, header == 0 ? 0 : header - 1);
  const std::string_view line = before.substr(before.rfind('\n') + 1);
  return line.find(option) != std::string_view::npos;
}

Result<MachineGraph> ReadSmi(std::string_view text, const std::string& name,
                             const MatrixOptions& options) {
  const auto found = ReadMatrix(text, name, SmiDialect());
  if (!found) {
    const auto p2p = ParseSmiP2p(text, name);
    if (!p2p) return tl::unexpected(found.error());
    return Fail(name, "a P2P matrix alone; put the output of \"nvidia-smi topo -m\" before it");
  }
  auto graph = GraphFromLabels(found->matrix, name, options);
  if (!graph) return graph;
  std::size_t at = found->end;
  while (const auto header = FindMatrix(text, "GPU", at)) {
    const auto p2p = ParseSmiP2p(text, name, *header);
    if (!p2p) return tl::unexpected(p2p.error());
    // Atomics and NVLink say nothing about reading over PCIe.
    if (AsksFor(text, *header, "-p2p n") || AsksFor(text, *header, "-p2p a")) {
      graph->warnings.emplace_back("a P2P matrix of NVLink or atomics is passed over");
    } else {
      const Status ok = ApplyP2p(&*graph, *p2p, PlaceOf(name, text, *header));
      if (!ok) return tl::unexpected(ok.error());
    }
    const std::size_t past = text.find('\n', *header);
    at = past == std::string_view::npos ? text.size() : past + 1;
  }
  return graph;
}

Result<MachineGraph> Read(std::string_view text, const std::string& name,
                          const MatrixOptions& options) {
  const std::size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return Fail(name, "the file is empty");
  if (text[first] == '<') return ReadXml(text, name);
  if (const auto tool = FindVendorTool(text)) return ParseVendorMatrix(text, name, *tool, options);
  if (FindMatrix(text, "GPU")) return ReadSmi(text, name, options);
  if (text.find("PU:") != std::string_view::npos && text.find(':') < text.find('\n')) {
    return Fail(name, "an hwloc synthetic string describes CPUs only; " + KnownFormats());
  }
  return Fail(name, "not a description of a machine's cards; " + KnownFormats());
}

}  // namespace

std::span<const MachineFormat> MachineFormats() { return kFormats; }

Result<MachineGraph> ReadMachine(std::string_view text, const std::string& name,
                                 const MatrixOptions& options) {
  if (text.size() > kMaxMachineBytes) {
    return Fail(name, std::to_string(text.size()) + " bytes; a machine's description has at most " +
                          std::to_string(kMaxMachineBytes));
  }
  const std::size_t nul = text.find('\0');
  if (nul != std::string_view::npos) {
    return Fail(PlaceOf(name, text, nul), "a NUL byte; not a text file");
  }
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  return Read(text, name, options);
}

}  // namespace basalt::topology
