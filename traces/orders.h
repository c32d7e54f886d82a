// The arrival orders of the ATC'23 fragmentation experiments: which node wins a tie, and in which
// order pods arrive. A text file, gzip when the name ends in ".gz":
//   line 1: a comment, "# ..."
//   line 2: the rank of each node, in the order of the node list; a permutation of 0..nodes-1
//   line 3: arrivals as 0-based row numbers of the pod list; rows may repeat (inflation draws with
//           replacement) or be missing
// Numbers are separated by single spaces; LF or CRLF ends a line; a line of spaces alone, or
// anything after line 3 but line ends, is an error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "scheduler-core/base/result.h"

namespace basalt::trace {

struct ArrivalOrder {
  std::vector<std::uint32_t> node_rank;  // by node row; the smaller rank wins ties
  std::vector<std::uint32_t> pods;       // pod rows, first arrival first
  friend bool operator==(const ArrivalOrder&, const ArrivalOrder&) = default;
};

// Errors are file:line:column: a rank that repeats or is >= node_count, a row >= pod_count, fewer
// or more ranks than nodes, no arrivals.
Result<ArrivalOrder> ReadArrivalOrder(const std::string& path, std::size_t node_count,
                                      std::size_t pod_count);
Result<ArrivalOrder> ParseArrivalOrder(const std::string& name, std::string_view text,
                                       std::size_t node_count, std::size_t pod_count);

}  // namespace basalt::trace
