// A scenario is one placement question that reads like a sentence: a cluster, what is busy on it, a
// policy, a request, and the answer that is expected. test/scenarios/*.yaml, in units of people:
// CPU in cores, memory in GiB, cards by model name.
//
//   policy: binpack/spread
//   cluster:
//     - {node: a, cpu: 32, cards: 4 T4}            # or [T4, A10] card by card
//   busy:
//     - {on: a, cards: [0], milli: 500}
//   request: {cards: 1, milli: 300, cpu: 4}
//   expect: placed on a cards [1]                  # or "wait: REASONS", "infeasible: REASONS"
#pragma once

#include <string>
#include <vector>

#include "scheduler-core/base/result.h"
#include "scheduler-core/cluster/inventory.h"
#include "scheduler-core/engine/event.h"

namespace basalt::support {

struct Scenario {
  std::string policy;
  std::vector<NodeSpec> nodes;
  std::vector<std::string> cordoned;
  std::vector<PodObserved> busy;
  RequestSpec request;
  std::string expect;
};

// Errors carry file:line:column. A key that is not known is an error.
Result<Scenario> LoadScenario(const std::string& path);
Result<Scenario> ParseScenario(const std::string& text, const std::string& name);

// Asks the engine and says what it answered, in the words of `expect`.
std::string Answer(const Scenario& scenario);

}  // namespace basalt::support
