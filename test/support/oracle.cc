#include "test/support/oracle.h"

#include <algorithm>
#include <cmath>

namespace basalt::oracle {
namespace {

bool ModelAllowed(const Node& node, const Ask& ask) {
  return ask.models.empty() ||
         std::find(ask.models.begin(), ask.models.end(), node.model) != ask.models.end();
}

int CardsThatFit(const Node& node, std::int64_t milli) {
  return static_cast<int>(std::count_if(node.cards.begin(), node.cards.end(),
                                        [&](std::int64_t free) { return free >= milli; }));
}

// The tightest card that fits and is not chosen yet, the lowest index on ties.
int Tightest(const Node& node, std::int64_t milli, const std::vector<int>& chosen) {
  int best = -1;
  for (int i = 0; i < static_cast<int>(node.cards.size()); ++i) {
    const std::int64_t free = node.cards[static_cast<std::size_t>(i)];
    if (free < milli || std::find(chosen.begin(), chosen.end(), i) != chosen.end()) continue;
    if (best < 0 || free < node.cards[static_cast<std::size_t>(best)]) best = i;
  }
  return best;
}

std::vector<int> TightestSet(const Node& node, const Ask& ask) {
  std::vector<int> chosen;
  for (int k = 0; k < ask.gpus; ++k) chosen.push_back(Tightest(node, ask.milli, chosen));
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

Node After(Node node, const Ask& ask, const std::vector<int>& cards) {
  node.cpu_free -= ask.cpu;
  for (const int card : cards) node.cards[static_cast<std::size_t>(card)] -= ask.milli;
  return node;
}

int FgdScore(const Node& before, const Node& after, const std::vector<Class>& target) {
  const double gain = Fragment(before, target) - Fragment(after, target);
  return static_cast<int>(100.0 * (1.0 / (1.0 + std::exp(-gain / 1000.0))));
}

}  // namespace

bool Fits(const Node& node, const Ask& ask) {
  if (node.cpu_free < ask.cpu || node.memory_free < ask.memory) return false;
  if (ask.gpus == 0) return true;
  return ModelAllowed(node, ask) && CardsThatFit(node, ask.milli) >= ask.gpus;
}

double Fragment(const Node& node, const std::vector<Class>& target) {
  double lack_both = 0;  // Q1
  double lack_gpu = 0;   // Q2
  double lack_cpu = 0;   // Q4
  double xl_satisfied = 0;
  double xr_lack_cpu = 0;
  double no_access = 0;
  std::int64_t all = 0;
  for (const std::int64_t free : node.cards) all += free;
  for (const Class& c : target) {
    const bool cpu = node.cpu_free >= c.ask.cpu;
    const double whole = c.weight * static_cast<double>(all);
    if (c.ask.gpus == 0) {
      (cpu ? xl_satisfied : xr_lack_cpu) += whole;
    } else if (!ModelAllowed(node, c.ask)) {
      no_access += whole;
    } else if (const bool can = CardsThatFit(node, c.ask.milli) >= c.ask.gpus; can && cpu) {
      std::int64_t dust = 0;
      for (const std::int64_t free : node.cards) dust += free < c.ask.milli ? free : 0;
      lack_gpu += c.weight * static_cast<double>(dust);
    } else {
      (can ? lack_cpu : cpu ? lack_gpu : lack_both) += whole;
    }
  }
  return lack_both + lack_gpu + lack_cpu + xl_satisfied + xr_lack_cpu + no_access;
}

Choice Fgd(const std::vector<Node>& nodes, const Ask& ask, const std::vector<Class>& target) {
  Choice best;
  for (int n = 0; n < static_cast<int>(nodes.size()); ++n) {
    const Node& node = nodes[static_cast<std::size_t>(n)];
    if (!Fits(node, ask)) continue;
    Choice here{n, -1, {}};
    if (ask.gpus == 1 && ask.milli < 1000) {
      for (int card = 0; card < static_cast<int>(node.cards.size()); ++card) {
        if (node.cards[static_cast<std::size_t>(card)] < ask.milli) continue;
        const int score = FgdScore(node, After(node, ask, {card}), target);
        if (score > here.score) here = Choice{n, score, {card}};
      }
    } else {
      here.cards = TightestSet(node, ask);
      here.score = FgdScore(node, After(node, ask, here.cards), target);
    }
    if (best.node < 0 || here.score > best.score) best = here;
  }
  return best;
}

Choice BestFit(const std::vector<Node>& nodes, const Ask& ask) {
  Choice best;
  for (int n = 0; n < static_cast<int>(nodes.size()); ++n) {
    const Node& node = nodes[static_cast<std::size_t>(n)];
    if (!Fits(node, ask)) continue;
    std::int64_t free = 0;
    for (const std::int64_t card : node.cards) free += card;
    const double left = 0.5 * (static_cast<double>(node.cpu_free - ask.cpu) / 128000.0) +
                        0.5 * (static_cast<double>(free - ask.gpus * ask.milli) / 8000.0);
    const int score = static_cast<int>(100.0 * (1.0 - left));
    if (best.node < 0 || score > best.score) best = Choice{n, score, TightestSet(node, ask)};
  }
  return best;
}

}  // namespace basalt::oracle
