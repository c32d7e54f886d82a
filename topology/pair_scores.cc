#include "topology/pair_scores.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "topology/peer_rules.h"
#include "topology/synthetic.h"

namespace basalt::topology {
namespace {

// The lowest score of a pair that shares this part of the PCIe tree.
constexpr int kSameSwitch = 50, kSameSwitches = 40, kSameBridge = 30, kSameNuma = 20;
constexpr int kLinkScore = 100;

// Card -> the lowest card of its group, where pairs of at least `least` are in one group.
std::vector<int> Groups(const Eigen::MatrixXi& scores, int least) {
  const auto cards = static_cast<int>(scores.rows());
  std::vector<int> of(static_cast<std::size_t>(cards));
  for (int i = 0; i < cards; ++i) of[static_cast<std::size_t>(i)] = i;
  for (int i = 0; i < cards; ++i) {
    for (int j = i + 1; j < cards; ++j) {
      if (scores(i, j) % kLinkScore < least) continue;
      const auto [low, high] =
          std::minmax(of[static_cast<std::size_t>(i)], of[static_cast<std::size_t>(j)]);
      const int from = high, to = low;
      std::ranges::replace(of, from, to);
    }
  }
  return of;
}

// NVLinks of one card of this compute capability; 0: unknown.
int MostLinks(int sm) {
  if (sm == 70) return 6;
  if (sm == 80) return 12;
  if (sm == 86) return 4;
  return sm >= 90 ? 18 : 0;
}

// The longest known model that the name begins with: "A100" of "A100-80G".
std::string HeadModel(const std::string& name) {
  std::string best;
  for (const std::string& model : GraphParts::Models()) {
    if (name.starts_with(model) && model.size() > best.size()) best = model;
  }
  return best;
}

class Writer {
 public:
  Writer(const Eigen::MatrixXi& scores, int sm)
      : scores_(scores),
        cards_(static_cast<int>(scores.rows())),
        sm_(sm),
        gen_(sm >= 90   ? "gen5"
             : sm >= 80 ? "gen4"
                        : "gen3"),
        switch_(Groups(scores, kSameSwitch)),
        switches_(Groups(scores, kSameSwitches)),
        bridge_(Groups(scores, kSameBridge)),
        numa_(Groups(scores, kSameNuma)) {}

  // "0+1-s0:gen4,s0-h0:gen4,h0-n0:gen4". A switch is there only where cards share one.
  std::string Pcie() {
    std::string out;
    const auto link = [&](const std::string& below, const std::string& above) {
      out += (out.empty() ? "" : ",") + below + '-' + above + ':' + gen_;
    };
    int switches = 0, bridges = 0;
    for (const int node : Tops(numa_)) {
      const std::string n = 'n' + std::to_string(NumaIndex(node));
      for (const int bridge : Within(numa_, node, bridge_)) {
        const std::string h = 'h' + std::to_string(bridges++);
        link(h, n);
        for (const int upper : Within(bridge_, bridge, switches_)) {
          const std::vector<int> lower = Within(switches_, upper, switch_);
          std::string above = h;
          if (lower.size() > 1) {
            above = 's' + std::to_string(switches++);
            link(above, h);
          }
          for (const int group : lower) {
            std::string parent = above;
            const bool alone = Count(switch_, group) == 1;
            if (!alone || lower.size() > 1) {
              parent = 's' + std::to_string(switches++);
              link(parent, above);
            }
            for (int i = 0; i < cards_; ++i) {
              if (Of(switch_, i) == group) link(std::to_string(i), parent);
            }
          }
        }
      }
    }
    return out;
  }

  std::string Sockets() const {
    const std::size_t nodes = Tops(numa_).size();
    if (nodes < 2) return {};
    return fmt::format("n0..{0}-n0..{0}:{1}", nodes - 1, sm_ >= 90 ? 22000 : 10000);
  }

  // What the cards say of their NUMA nodes' numbers; empty where they contradict each other.
  std::string NumaIds(const std::vector<int>& told) const {
    std::string out;
    std::set<int> seen;
    for (const int node : Tops(numa_)) {
      const int id = std::cmp_less(node, told.size()) ? told[static_cast<std::size_t>(node)] : -1;
      if (id < 0 || !seen.insert(id).second) return {};
      for (int i = 0; i < cards_ && std::cmp_less(i, told.size()); ++i) {
        if (Of(numa_, i) == node && told[static_cast<std::size_t>(i)] != id) return {};
      }
      out += (out.empty() ? "" : ",") + std::to_string(id);
    }
    return out;
  }

  std::string Fabric() const {
    std::string out;
    const auto link = [&](const std::string& ends, int count) {
      out += fmt::format("{}{}:nv{}", out.empty() ? "" : ",", ends, count);
    };
    if (Switched()) {
      for (int i = 0; i < cards_; ++i) {
        int most = 0;
        for (int j = 0; j < cards_; ++j) most = std::max(most, Links(i, j));
        if (most > 0) link(std::to_string(i) + "-f0", most);
      }
      return out;
    }
    for (int i = 0; i < cards_; ++i) {
      for (int j = i + 1; j < cards_; ++j) {
        if (Links(i, j) > 0) link(fmt::format("{}-{}", i, j), Links(i, j));
      }
    }
    return out;
  }

 private:
  static int Of(const std::vector<int>& groups, int card) {
    return groups[static_cast<std::size_t>(card)];
  }
  static std::vector<int> Tops(const std::vector<int>& groups) {
    const std::set<int> tops(groups.begin(), groups.end());
    return {tops.begin(), tops.end()};
  }
  static std::vector<int> Within(const std::vector<int>& outer, int group,
                                 const std::vector<int>& inner) {
    std::set<int> out;
    for (std::size_t i = 0; i < outer.size(); ++i) {
      if (outer[i] == group) out.insert(inner[i]);
    }
    return {out.begin(), out.end()};
  }
  static std::int64_t Count(const std::vector<int>& groups, int group) {
    return std::ranges::count(groups, group);
  }
  int NumaIndex(int node) const {
    const std::vector<int> tops = Tops(numa_);
    return static_cast<int>(std::ranges::find(tops, node) - tops.begin());
  }
  int Links(int i, int j) const { return i == j ? 0 : scores_(i, j) / kLinkScore; }

  // More links than a card has: they are those into a switch, counted once for every other card.
  bool Switched() const {
    for (int i = 0; i < cards_; ++i) {
      int sum = 0;
      for (int j = 0; j < cards_; ++j) sum += Links(i, j);
      if (sum > MostLinks(sm_)) return true;
    }
    return false;
  }

  const Eigen::MatrixXi& scores_;
  int cards_;
  int sm_;
  std::string gen_;
  std::vector<int> switch_, switches_, bridge_, numa_;
};

}  // namespace

Result<MachineGraph> GraphOfPairScores(const Eigen::MatrixXi& scores, const std::string& model,
                                       const std::vector<int>& numa, const std::string& where) {
  const auto cards = static_cast<int>(scores.rows());
  if (cards < 1 || cards > 64 || scores.cols() != scores.rows()) {
    return Fail(where, fmt::format("pair scores of {} x {} cards", cards, scores.cols()));
  }
  Eigen::MatrixXi even = scores.cwiseMin(scores.transpose());
  even.diagonal().setZero();
  if (even.minCoeff() < 0) return Fail(where, "a pair score is negative");
  constexpr int kMostScore = 19 * kLinkScore - 1;  // 18 links, and a PCIe class
  if (even.maxCoeff() > kMostScore) {
    return Fail(where,
                fmt::format("a pair score is {}; the most is {}", even.maxCoeff(), kMostScore));
  }
  const std::string head = HeadModel(model);
  GraphParts parts;
  const auto put = [&](std::string_view key, const std::string& value) -> Status {
    if (value.empty()) return {};
    const GraphParts::Outcome fault = key.empty() ? parts.Head(value) : parts.Clause(key, value);
    if (fault) return Fail(where, fmt::format("{} {}: {}", key, value, fault->message));
    return {};
  };
  if (Status ok = put("", std::to_string(cards) + (head.empty() ? "" : "x" + head)); !ok) {
    return tl::unexpected<Error>(ok.error());
  }
  const Result<MachineGraph> bare = parts.Finish(where);
  if (!bare) return bare;
  Writer writer(even, bare->sm);
  const std::string fabric = writer.Fabric();
  if (!fabric.empty() && MostLinks(bare->sm) == 0) {
    return Fail(where,
                "pair scores tell of NVLinks, but not which a \"" + model.substr(0, 80) + "\" has");
  }
  for (const auto& [key, value] : {std::pair<std::string_view, std::string>{"link", fabric},
                                   {"pcie", writer.Pcie()},
                                   {"socket", writer.Sockets()},
                                   {"numa-ids", writer.NumaIds(numa)}}) {
    if (Status ok = put(key, value); !ok) return tl::unexpected<Error>(ok.error());
  }
  Result<MachineGraph> graph = parts.Finish(where);
  if (!graph) return graph;
  // A pair that is not told counts as across sockets, and 60 (one board) as one switch.
  Eigen::MatrixXi expected = even;
  for (int i = 0; i < cards; ++i) {
    for (int j = 0; j < cards; ++j) {
      if (i == j) continue;
      const int path = even(i, j) % kLinkScore / 10 * 10;
      expected(i, j) += std::clamp(path, 10, kSameSwitch) - even(i, j) % kLinkScore;
    }
  }
  if (PairScores(*graph) != expected) {
    graph->warnings.push_back(
        "the pair scores are not those of one PCIe tree and its NVLinks; "
        "cards that are closest to a third are put together");
  }
  graph->warnings.push_back("link speeds are not in pair scores: those of the model are taken");
  return graph;
}

}  // namespace basalt::topology
