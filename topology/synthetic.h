// A machine in one short line of text, for tests, scenarios, node lists and the engine's journal.
// The line has everything that the bandwidth table depends on and nothing else (no UUIDs, no PCI
// ids, no names of cards): FormatGraph(ParseGraph(t)) == t for a canonical t, and two graphs with
// equal text have equal bandwidth tables. docs/topology.md has the grammar.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "scheduler-core/base/result.h"
#include "topology/graph.h"

namespace basalt::topology {

// Errors name the column and what was expected there.
Result<MachineGraph> ParseGraph(std::string_view text);
std::string FormatGraph(const MachineGraph& graph);

// The same notation clause by clause, for files that hold the parts under keys of their own
// (files/catalog.h). Head first, then `sm` where links say "nv2"; then the rest in any order.
class GraphParts {
 public:
  struct Fault {
    std::size_t at = 0;  // byte of the value
    std::string message;
  };
  using Outcome = std::optional<Fault>;  // empty: well

  Outcome Head(std::string_view value);
  Outcome Clause(std::string_view key, std::string_view value);
  // Puts the parts together and validates the whole.
  Result<MachineGraph> Finish(const std::string& where) const;

  static const std::vector<std::string>& Keys();
  // What is known of a model in a head: "8xV100".
  static std::vector<std::string> Models();

 private:
  // A vertex by its kind's letter and number: s2 is the third PCIe switch. Cards have no letter.
  struct Ref {
    VertexKind kind = VertexKind::kCard;
    int number = 0;
  };
  struct Joined {
    Ref a, b;
    LinkKind kind = LinkKind::kPcie;
    int count = 1;
    std::int32_t mbps = 0;
  };
  friend class PartsReader;

  int cards_ = 0;
  std::string vendor_, fabric_;
  int sm_ = 0;
  bool nvls_ = false;
  bool p2p_by_default_ = true;
  std::optional<P2p> p2p_all_;
  std::vector<std::pair<std::pair<int, int>, P2p>> p2p_;
  std::optional<std::vector<std::int64_t>> numa_, numa_ids_, nics_, nic_numa_;
  std::vector<std::pair<VertexKind, int>> with_;
  std::vector<Joined> links_;
  std::vector<MeasuredBandwidth> measured_;
};

}  // namespace basalt::topology
