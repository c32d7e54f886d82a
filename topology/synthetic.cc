// Reading of descriptions as a whole: the line's clauses, and the graph that they make. Clauses
// are read in synthetic_clauses.cc, lines written in synthetic_format.cc.
#include "topology/synthetic.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "topology/synthetic_notation.h"

namespace basalt::topology {
namespace {

constexpr std::size_t kMaxText = 1U << 16;

std::size_t Index(int i) { return static_cast<std::size_t>(i); }

}  // namespace

Result<MachineGraph> GraphParts::Finish(const std::string& where) const {
  MachineGraph graph;
  graph.vendor = vendor_;
  graph.fabric = fabric_;
  graph.sm = sm_;
  graph.in_network_reduction = nvls_;
  graph.p2p_by_default = p2p_by_default_;
  graph.measured = measured_;
  std::map<VertexKind, int> counts = {{VertexKind::kCard, cards_}};
  const auto at_least = [&](VertexKind kind, int count) {
    counts[kind] = std::max(counts[kind], count);
  };
  for (const auto& [kind, count] : with_) at_least(kind, count);
  if (numa_ids_) at_least(VertexKind::kNuma, static_cast<int>(numa_ids_->size()));
  const int nics = nics_ ? static_cast<int>(nics_->size()) : 0;
  at_least(VertexKind::kNic, nics);
  for (const Joined& link : links_) {
    at_least(link.a.kind, link.a.number + 1);
    at_least(link.b.kind, link.b.number + 1);
  }
  if (counts[VertexKind::kNic] > nics) {
    return Fail(where, "NIC i" + std::to_string(counts[VertexKind::kNic] - 1) +
                           " has no speed; expected a clause nics= with " +
                           std::to_string(counts[VertexKind::kNic]) + " values");
  }
  const auto fits = [&](const auto& list, VertexKind kind) {
    return !list || std::cmp_equal(list->size(), counts[kind]);
  };
  if (!fits(numa_, VertexKind::kCard) || !fits(numa_ids_, VertexKind::kNuma) ||
      !fits(nic_numa_, VertexKind::kNic)) {
    return Fail(where,
                "expected one value a card in numa=, one a NUMA node in numa-ids= and one a "
                "NIC in nic-numa=");
  }
  std::map<VertexKind, int> start;
  for (const VertexKind kind : notation::kOrder) {
    start[kind] = static_cast<int>(graph.vertices.size());
    for (int i = 0; i < counts[kind]; ++i) {
      Vertex vertex;
      vertex.kind = kind;
      vertex.name = notation::VertexName(kind, i);
      if (kind == VertexKind::kNuma) {
        vertex.numa = numa_ids_ ? static_cast<int>((*numa_ids_)[Index(i)]) : i;
      }
      if (kind == VertexKind::kNic) {
        vertex.nic_mbps = static_cast<std::int32_t>(std::max<std::int64_t>(0, (*nics_)[Index(i)]));
      }
      graph.vertices.push_back(std::move(vertex));
    }
  }
  for (const Joined& link : links_) {
    graph.links.push_back({start[link.a.kind] + link.a.number, start[link.b.kind] + link.b.number,
                           link.kind, link.count, link.mbps});
  }
  std::ranges::sort(graph.links, {},
                    [](const Link& link) { return std::tuple(link.a, link.b, link.kind); });
  if (p2p_all_ || !p2p_.empty()) {
    graph.p2p.assign(Index(cards_ * cards_), p2p_all_.value_or(P2p::kUnknown));
    for (int i = 0; i < cards_; ++i) graph.p2p[Index(i * cards_ + i)] = P2p::kYes;
    for (const auto& [pair, value] : p2p_) {
      graph.p2p[Index(pair.first * cards_ + pair.second)] = value;
      graph.p2p[Index(pair.second * cards_ + pair.first)] = value;
    }
  }
  const std::vector<int> numa = notation::NumaByTree(graph);
  for (std::size_t v = 0; v < graph.vertices.size(); ++v) {
    Vertex& vertex = graph.vertices[v];
    if (vertex.kind == VertexKind::kNuma) continue;
    vertex.numa = numa[v];
    const int number = static_cast<int>(v) - start[vertex.kind];
    if (vertex.kind == VertexKind::kCard && numa_) {
      vertex.numa = static_cast<int>((*numa_)[Index(number)]);
    }
    if (vertex.kind == VertexKind::kNic && nic_numa_) {
      vertex.numa = static_cast<int>((*nic_numa_)[Index(number)]);
    }
  }
  if (Status ok = ValidateGraph(graph, where); !ok) return tl::unexpected<Error>(ok.error());
  return graph;
}

Result<MachineGraph> ParseGraph(std::string_view text) {
  if (text.size() > kMaxText) return Fail("column 1", "the description is longer than 64 KiB");
  struct Piece {
    std::string_view key, value;
    std::size_t key_at = 0, value_at = 0;
  };
  std::vector<Piece> pieces;
  std::set<std::string_view> seen;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t start = text.find_first_not_of(" \t\n\r", at);
    if (start == std::string_view::npos) break;
    const std::size_t end = std::min(text.find_first_of(" \t\n\r", start), text.size());
    const std::string_view word = text.substr(start, end - start);
    const std::size_t equals = std::min(word.find('='), word.size());
    Piece piece{word.substr(0, equals), {}, start, start};
    if (pieces.empty()) {
      piece.value = word;
    } else if (word == "nvls") {
      piece.value = "yes";
    } else if (equals == word.size()) {
      return Fail(
          "column " + std::to_string(start + 1),
          "expected key=value or \"nvls\", found \"" + std::string(word.substr(0, 40)) + "\"");
    } else {
      piece.value_at = start + equals + 1;
      piece.value = word.substr(equals + 1);
    }
    if (!pieces.empty() && !seen.insert(piece.key).second) {
      return Fail("column " + std::to_string(start + 1),
                  "\"" + std::string(piece.key.substr(0, 40)) + "\" stands twice");
    }
    pieces.push_back(piece);
    at = end;
  }
  if (pieces.empty()) return Fail("column 1", "expected the number of cards, found the end");
  GraphParts parts;
  const auto read = [&](const Piece& piece, const GraphParts::Outcome& fault) -> Status {
    if (!fault) return {};
    const bool unknown = fault->message.starts_with("unknown clause");
    const std::size_t column = (unknown ? piece.key_at : piece.value_at + fault->at) + 1;
    return Fail("column " + std::to_string(column), fault->message);
  };
  if (Status ok = read(pieces[0], parts.Head(pieces[0].value)); !ok) {
    return tl::unexpected<Error>(ok.error());
  }
  for (const bool sm : {true, false}) {  // "nv2" in a link needs it
    for (std::size_t i = 1; i < pieces.size(); ++i) {
      if ((pieces[i].key == "sm") != sm) continue;
      if (Status ok = read(pieces[i], parts.Clause(pieces[i].key, pieces[i].value)); !ok) {
        return tl::unexpected<Error>(ok.error());
      }
    }
  }
  return parts.Finish("column 1");
}

}  // namespace basalt::topology
