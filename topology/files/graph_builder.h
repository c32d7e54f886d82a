// What the readers share: a graph in the making, whose cards are put first and whose links are
// sorted at the end; places in a text; lists of CPUs. Private to topology/files.
// Invariant: a finished graph has passed ValidateGraph.
#pragma once

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdint>
#include <map>
#include <numeric>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "scheduler-core/base/result.h"
#include "topology/graph.h"

namespace basalt::topology {

// More CPUs than the largest Linux kernel configuration has are a slip of the source.
inline constexpr int kMaxCpus = 8192;
// Links of one bundle, lanes of one slot, NUMA nodes: more are a slip as well.
inline constexpr int kMaxLinksOfBundle = 64;
inline constexpr int kMaxNumaNode = 1023;

// "file:12:3" of a byte of the text.
inline std::string PlaceOf(const std::string& name, std::string_view text, std::size_t offset) {
  const std::string_view before = text.substr(0, std::min(offset, text.size()));
  const std::size_t line_start = before.rfind('\n') + 1;  // npos + 1 is 0
  return name + ':' + std::to_string(1 + std::ranges::count(before, '\n')) + ':' +
         std::to_string(before.size() - line_start + 1);
}

// A word of a message: quoted, short, and printable whatever was in the file.
inline std::string Quoted(std::string_view word) {
  std::string out = "\"";
  for (const char c : word.substr(0, 60)) {
    const bool plain = c >= ' ' && c <= '~';
    out += plain ? c : '?';
  }
  return out + (word.size() > 60 ? "...\"" : "\"");
}

// A whole decimal number in [low, high]; nullopt for anything else.
inline std::optional<int> WholeNumber(std::string_view text, int low, int high) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (value < low || value > high) return std::nullopt;
  return value;
}

using CpuRanges = std::vector<std::pair<int, int>>;  // first and last, ascending, disjoint

// "0-11,24-35". nullopt when it is not a list of ascending CPUs.
inline std::optional<CpuRanges> ParseCpuList(std::string_view text) {
  CpuRanges out;
  while (true) {
    const std::size_t comma = text.find(',');
    const std::string_view part = text.substr(0, comma);
    const std::size_t dash = part.find('-');
    const auto first = WholeNumber(part.substr(0, dash), 0, kMaxCpus - 1);
    const auto last = dash == std::string_view::npos
                          ? first
                          : WholeNumber(part.substr(dash + 1), 0, kMaxCpus - 1);
    if (!first || !last || *first > *last) return std::nullopt;
    if (!out.empty() && *first <= out.back().second) return std::nullopt;
    out.emplace_back(*first, *last);
    if (comma == std::string_view::npos) return out;
    text.remove_prefix(comma + 1);
  }
}

// A CPU mask as Linux, NCCL and hwloc write it, 32 bits a group, the highest first:
// "00000000,0fffff00" or "0x00000303,,0x1" (an empty group is 0). As a list "8-27"; nullopt when
// it is no such mask.
inline std::optional<std::string> CpuListOfMask(std::string_view mask) {
  std::vector<std::uint32_t> groups;
  while (true) {
    const std::size_t comma = mask.find(',');
    std::string_view part = mask.substr(0, comma);
    if (part.starts_with("0x")) part.remove_prefix(2);
    std::uint32_t bits = 0;
    if (!part.empty()) {
      const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), bits, 16);
      if (error != std::errc() || end != part.data() + part.size()) return std::nullopt;
    }
    groups.push_back(bits);
    if (groups.size() * 32 > kMaxCpus) return std::nullopt;
    if (comma == std::string_view::npos) break;
    mask.remove_prefix(comma + 1);
  }
  std::ranges::reverse(groups);
  const int size = static_cast<int>(groups.size()) * 32;
  const auto has = [&](int cpu) {
    return cpu < size && ((groups[static_cast<std::size_t>(cpu / 32)] >> (cpu % 32)) & 1U) != 0;
  };
  std::string out;
  for (int cpu = 0; cpu < size; ++cpu) {
    if (!has(cpu)) continue;
    int last = cpu;
    while (has(last + 1)) ++last;
    if (!out.empty()) out += ',';
    out += std::to_string(cpu);
    if (last > cpu) out += '-' + std::to_string(last);
    cpu = last;
  }
  return out;
}

// MB/s between two NUMA nodes of a machine with such a CPU: NCCL's figures. Family and model are
// x86's.
inline std::int32_t SocketMbps(std::string_view arch, std::string_view vendor, int family,
                               int model) {
  if (arch.starts_with("ppc64")) return 32000;
  if (arch.starts_with("arm") || arch.starts_with("aarch64")) return 6000;
  if (vendor == "AuthenticAMD") return 16000;
  if (vendor.find("hanghai") != std::string_view::npos) return 6000;  // Zhaoxin
  if (family != 6 || model < 85) return 6000;                         // Broadwell and before
  if (model < 143) return 10000;                                      // Skylake
  return model < 207 ? 22000 : 40000;                                 // Sapphire, Emerald Rapids
}

// NCCL's guess for a PCIe link of unknown speed: 8 GT/s x16.
inline constexpr std::int32_t kUnknownPcieMbps = 12000;

inline Vertex MakeVertex(VertexKind kind, std::string name, int numa = -1) {
  Vertex out;
  out.kind = kind;
  out.name = std::move(name);
  out.numa = numa;
  return out;
}

class GraphBuilder {
 public:
  // Everything but vertices and links is written here directly.
  MachineGraph graph;

  // A handle for Connect. Cards are numbered by ascending `order`, equal ones as added.
  int Add(Vertex vertex, int order = 0) {
    for (std::string* text : {&vertex.name, &vertex.uuid, &vertex.pci}) MakePlain(text);
    for (char& c : vertex.pci) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    graph.vertices.push_back(std::move(vertex));
    order_.push_back(order);
    return static_cast<int>(order_.size()) - 1;
  }
  void SetOrder(int card, int order) { order_[static_cast<std::size_t>(card)] = order; }
  Vertex& at(int handle) { return graph.vertices[static_cast<std::size_t>(handle)]; }
  // A second link of the kind between the same two adds to the first.
  void Connect(int a, int b, LinkKind kind, int count, std::int32_t mbps) {
    constexpr std::int32_t kMost = 1'000'000'000;  // never overflows, however often a file adds
    Sum& sum = links_[{std::min(a, b), std::max(a, b), kind}];
    sum.count = std::min(sum.count + std::min(count, kMost), kMost);
    sum.mbps = std::min(sum.mbps + std::min(mbps, kMost), kMost);
  }
  void Warn(std::string text) {
    // A file with a fault in every element says it a few times, not a thousand.
    if (std::ranges::find(graph.warnings, text) != graph.warnings.end()) return;
    if (graph.warnings.size() < 40) graph.warnings.push_back(std::move(text));
  }

  Result<MachineGraph> Finish(const std::string& where) {
    const std::size_t size = graph.vertices.size();
    std::vector<int> handles(size);
    std::iota(handles.begin(), handles.end(), 0);
    std::ranges::stable_sort(handles, {}, [&](int h) {
      const bool card = at(h).kind == VertexKind::kCard;
      return std::pair(card ? 0 : 1, card ? order_[static_cast<std::size_t>(h)] : 0);
    });
    std::vector<int> index(size);
    std::vector<Vertex> vertices;
    for (const int handle : handles) {
      index[static_cast<std::size_t>(handle)] = static_cast<int>(vertices.size());
      vertices.push_back(std::move(at(handle)));
    }
    graph.vertices = std::move(vertices);
    for (const auto& [key, sum] : links_) {
      const auto [a, b] = std::minmax(index[static_cast<std::size_t>(std::get<0>(key))],
                                      index[static_cast<std::size_t>(std::get<1>(key))]);
      graph.links.push_back({a, b, std::get<2>(key), sum.count, sum.mbps});
    }
    std::ranges::sort(graph.links, {}, [](const Link& l) { return std::tuple(l.a, l.b, l.kind); });
    if (graph.cards() == 0) return Fail(where, "no cards in it");
    const Status valid = ValidateGraph(graph, where);
    if (!valid) return tl::unexpected(valid.error());
    return std::move(graph);
  }

 private:
  // Names end up in messages and tables.
  static void MakePlain(std::string* text) {
    text->resize(std::min<std::size_t>(text->size(), 64));
    for (char& c : *text) c = c >= ' ' && c <= '~' ? c : '?';
  }

  struct Sum {
    int count = 0;
    std::int32_t mbps = 0;
  };
  std::vector<int> order_;
  std::map<std::tuple<int, int, LinkKind>, Sum> links_;
};

}  // namespace basalt::topology
