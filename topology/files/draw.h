// A machine as text for a terminal and as an SVG image that needs nothing else. Drawings are of the
// graph as it is: what a reader did not know is not in them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "topology/card_set.h"
#include "topology/graph.h"

namespace basalt::topology {

struct DrawOptions {
  CardSet free;    // cards that are not free are drawn as taken
  CardSet chosen;  // drawn as the answer
};

// The PCIe tree from the NUMA nodes down with capacities, then the fabric: a matrix of direct links
// in GB/s, and what each card has into switches.
std::string DrawText(const MachineGraph& graph, const DrawOptions& options);

// 800 units wide, light and dark by what the viewer prefers. Cards in a row in the order of the
// PCIe tree; above them the fabric, below them PCIe switches, host bridges and NUMA nodes as bars
// under the cards and NICs that hang on them.
std::string DrawSvg(const MachineGraph& graph, const DrawOptions& options);

// MB/s as GB/s in text: 20600 is "20.6".
std::string GigaBytes(std::int64_t mbps);
// "0-3,6".
std::string CardListText(CardSet cards);

// The PCIe forest from its roots (NUMA nodes first), as both drawings walk it.
struct TreeNode {
  int vertex = 0;
  int depth = 0;              // roots have 0
  std::int32_t mbps = 0;      // of the link to the parent; 0 for roots
  std::vector<int> children;  // places in the list
};
// Parents before children; `roots` are places in the list.
std::vector<TreeNode> PcieForest(const MachineGraph& graph, std::vector<int>* roots);

}  // namespace basalt::topology
