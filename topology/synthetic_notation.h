// What the reader and the writer of descriptions (synthetic.h) agree on.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "topology/graph.h"

namespace basalt::topology::notation {

// The order of vertices in a graph that was read from a description.
inline constexpr std::array kOrder = {VertexKind::kCard,       VertexKind::kFabricSwitch,
                                      VertexKind::kPcieSwitch, VertexKind::kHostBridge,
                                      VertexKind::kNuma,       VertexKind::kNic};
inline constexpr std::array<std::pair<char, VertexKind>, 5> kLetters = {
    {{'f', VertexKind::kFabricSwitch},
     {'s', VertexKind::kPcieSwitch},
     {'h', VertexKind::kHostBridge},
     {'n', VertexKind::kNuma},
     {'i', VertexKind::kNic}}};
inline constexpr std::int64_t kMaxOfKind = 1000;
inline constexpr std::int64_t kMaxMbps = 2'000'000'000;

// Stands for itself in a name; other bytes are written %XX.
inline bool IsPlain(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' ||
         c == '.' || c == '-';
}

std::string VertexName(VertexKind kind, int number);

// By vertex: the number of the NUMA node on which its PCIe tree hangs, -1 without one.
std::vector<int> NumaByTree(const MachineGraph& graph);

}  // namespace basalt::topology::notation
