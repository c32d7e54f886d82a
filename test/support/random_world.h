// Random small clusters and random histories on them. A history is drawn without looking at any
// engine, so the same one can be played to two engines that should agree.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "scheduler-core/base/rng.h"
#include "scheduler-core/engine/engine.h"

namespace basalt::support {

struct WorldOptions {
  int max_nodes = 12;
  int max_cards = 8;
  int shapes = 6;
  bool card_memory = true;  // some cards have memory, some requests ask for it
  bool odd_cards = true;    // share slots, exclusive, MIG, compute other than 1000
  bool labels = true;       // labels, selectors, taints, pod limits
  bool wiring = true;       // machines, NUMA policies, NICs and bandwidth wishes, network paths
  bool observe = true;      // foreign pods, which may overdraw a node
  bool describe = false;    // nodes are described anew
};

struct Arrive {
  std::uint64_t uid;
  std::uint32_t attempt;
  std::uint64_t job;
  std::size_t shape;  // index into World::shapes
};
struct Leave {
  std::uint64_t uid;
};
using Step = std::variant<Arrive, Leave, Event>;

class World {
 public:
  World(std::uint64_t seed, const WorldOptions& options);
  // The nodes at the beginning and the requests that will be made.
  std::vector<NodeSpec> nodes;
  std::vector<RequestSpec> shapes;
  Step Next();
  RequestSpec RandomRequest();
  NodeSpec RandomNode();

 private:
  std::uint32_t Below(std::uint32_t n) { return rng_.Below(n); }
  void Wire(NodeSpec* node);
  bool OneIn(std::uint32_t n) { return Below(n) == 0; }
  WorldOptions options_;
  Rng rng_;
  NodeSpec Described(const NodeSpec& was);
  std::vector<std::pair<std::string, int>> alive_;  // name, cards
  std::map<std::string, NodeSpec> specs_;           // of those that are alive
  std::uint64_t uids_ = 0;
  int names_ = 0;
};

// What a step did, comparable across engines and readable when they differ.
std::string Play(Engine& engine, const World& world, const Step& step, SimTime now);

}  // namespace basalt::support
