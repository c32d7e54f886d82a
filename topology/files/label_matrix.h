// A label matrix, the form in which nvidia-smi and its like describe a machine: for each pair of
// devices one word for how they are connected. This turns one into a capacity graph.
// Invariant of a matrix: square and symmetric, cards first; what was not in the text is empty.
//
// A matrix has no speeds. They are inferred from the kind of machine that prints such a matrix
// (the table in label_matrix.cc), and every inference is a warning of the graph.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "scheduler-core/base/result.h"
#include "topology/graph.h"

namespace basalt::topology {

// How two devices are connected, the closest PCIe path first.
enum class Relation : std::uint8_t {
  kSelf,
  kFabric,        // a link of their own; the PCIe path between them is not told
  kFabricSwitch,  // through the fabric's switches; nor here
  kUnknown,       // PCIe, but not told how
  kPix,           // at most one PCIe bridge
  kPxb,           // several PCIe bridges
  kPhb,           // the PCIe host bridge
  kNode,          // host bridges of one NUMA node
  kSys,           // the link between NUMA nodes
};

struct Label {
  Relation relation = Relation::kUnknown;
  int count = 1;          // fabric links
  std::int32_t mbps = 0;  // of all of them; 0: NVLink, by compute capability
};

struct LabelMatrix {
  std::string vendor;
  std::string fabric;
  int cards = 0;
  std::vector<std::string> devices;    // as the header calls them
  std::vector<std::string> nic_names;  // of the devices after the cards, by the legend
  std::vector<std::string> tokens;     // devices x devices, row-major, as printed
  std::vector<Label> labels;           // what the tokens mean
  std::vector<std::string> cpus;       // of the cards; empty when not told
  std::vector<int> numa;               // of the cards; -1 when not told
  bool numa_column = false;
  std::vector<std::string> warnings;

  std::size_t Cell(int row, int column) const {
    return static_cast<std::size_t>(row) * devices.size() + static_cast<std::size_t>(column);
  }
  const Label& At(int row, int column) const { return labels[Cell(row, column)]; }
};

// What a matrix does not say. 0: infer.
struct MatrixOptions {
  int sm = 0;
  double pcie_gts = 0;
  int pcie_width = 0;
  std::int32_t socket_mbps = 0;
};

// In the warnings of a graph whose source says nothing about P2P.
inline constexpr std::string_view kP2pUnknown =
    "P2P is not in the matrix and counts as there: append the output of \"nvidia-smi topo -p2p r\"";

// `where` names the file in messages.
Result<MachineGraph> GraphFromLabels(const LabelMatrix& matrix, const std::string& where,
                                     const MatrixOptions& options = {});

}  // namespace basalt::topology
