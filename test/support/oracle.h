// The published definitions once more, as plainly as they can be written, with nothing of the
// engine inside: plain numbers in, a node out. Sources: fgd-and-traces section 2 (the reference),
// FGD (Weng et al., USENIX ATC'23). Only clusters of one card model, without card memory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace basalt::oracle {

struct Node {
  std::int64_t cpu_free = 0;
  std::int64_t memory_free = 0;
  std::vector<std::int64_t> cards;  // free milli
  std::string model = "T4";
};

struct Ask {
  std::int64_t cpu = 0;
  std::int64_t memory = 0;
  int gpus = 0;
  std::int64_t milli = 0;
  std::vector<std::string> models;  // empty: any
};

struct Class {
  Ask ask;
  double weight = 0;
};

bool Fits(const Node& node, const Ask& ask);

// F_n(M), in milli-GPU: the seven kinds of fragment summed class by class, then all but Q3.
double Fragment(const Node& node, const std::vector<Class>& target);

struct Choice {
  int node = -1;  // -1: fits nowhere
  int score = 0;
  std::vector<int> cards;  // ascending
};
// The node of the highest score, the first of equals; cards as the reference says.
Choice Fgd(const std::vector<Node>& nodes, const Ask& ask, const std::vector<Class>& target);
Choice BestFit(const std::vector<Node>& nodes, const Ask& ask);

}  // namespace basalt::oracle
