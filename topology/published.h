// What a node tells of its machine in one annotation: the description in one line (synthetic.h)
// and, behind it, which card is which:
//
//   8xH100 link=0..7-f0:nv18 ... uuids=GPU-1f0c...,GPU-77ab...,...
//
// UUIDs are no part of a machine's type, so they are no clause of a description: they are cut off
// before it is read. Invariant: uuids is empty, or has one for each card, each once.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "scheduler-core/base/result.h"
#include "topology/graph.h"

namespace basalt::topology {

inline constexpr std::size_t kMaxPublishedBytes = 16 << 10;

struct PublishedMachine {
  MachineGraph graph;
  std::vector<std::string> uuids = {};  // by card of the graph; empty: not told
};

// FormatPublished(ParsePublished(t)) == t for a canonical t. Errors: as ParseGraph; UUIDs that are
// not as many as the cards, stand twice, or have other characters than A-Z a-z 0-9 . _ : -
Result<PublishedMachine> ParsePublished(std::string_view text);
// The line. Errors: as above of the UUIDs; longer than kMaxPublishedBytes.
Result<std::string> FormatPublished(const PublishedMachine& machine);

}  // namespace basalt::topology
