// What the fuzzers do with descriptions of machines. As entry.h: what is accepted keeps the
// module's promises.
#pragma once

#include <string_view>

#include "test/fuzz/entry.h"
#include "topology/files/machine_file.h"

namespace basalt::fuzz {

inline void MachineFile(std::string_view input) {
  const auto graph = topology::ReadMachine(input, "f");
  if (!graph) {
    BASALT_FUZZ_CHECK(graph.error().where.starts_with("f"));
    BASALT_FUZZ_CHECK(!graph.error().message.empty());
    BASALT_FUZZ_CHECK(graph.error().message.find('\0') == std::string::npos);
    return;
  }
  BASALT_FUZZ_CHECK(graph->cards() > 0);
  BASALT_FUZZ_CHECK(topology::ValidateGraph(*graph, "g").has_value());
  BASALT_FUZZ_CHECK(*topology::ReadMachine(input, "f") == *graph);
  for (int card = 0; card < graph->cards(); ++card) {
    BASALT_FUZZ_CHECK(graph->CanPeer(0, card) == graph->CanPeer(card, 0));
  }
}

}  // namespace basalt::fuzz
