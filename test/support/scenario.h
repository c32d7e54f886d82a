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
//
// Several policies on one question: `expect: {binpack: placed on a ..., spread: placed on b ...}`
// and no `policy`. Wiring, network, NUMA and gangs:
//   - {node: a, cards: 8 V100, machine: dgx-1-v100, network: [rack-1, zone-1]}   # tiers 1, 2
//   - {node: b, cards: 4 T4, numa: 2, numa policy: restricted, numa scope: pod, machine: 4xT4 ...}
//   busy:    - {on: a, cards: [0], job: train}
//   request: {cards: 4, job: train, bandwidth: 40, bandwidth required: true, numa: restricted}
//   request: {cards: 8, gang: 4, min: 2, preferred: 1, required: 2, layout: balanced}
//   expect: placed 4 on a, a, b, b                 # a gang: the node of each member
// Slices, model rules of the device catalog, pools:
//   rules: [A100-80G]
//   - {node: a, cards: 2 T4, card memory: 16, memory ratio: 150, mode: mig, groups: [0, 1]}
//   request: {containers: [{cards: 1, milli: 300, card memory: 4}, {cards: 2, milli: 500}],
//             class: best-effort, units: 60, vendors: [ascend], profile: 1g.10gb, qos: fixed-share}
//   expect: placed on a cards [0, 1] slices 0:0=300m, 1:0=500m, 1:1=500m   # container:card
// Whole nodes that queues have, and whose pods they are:
//   slots: {team: 2 nodes of 8}
//   busy:    - {on: a, cards: [0], queue: team, gives way: false}   # not preemptible
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "scheduler-core/base/result.h"
#include "scheduler-core/cluster/inventory.h"
#include "scheduler-core/engine/event.h"
#include "scheduler-core/workload/gang.h"

namespace basalt::support {

struct Scenario {
  struct Gang {
    int members = 0;  // 0: no gang
    int min = 0;
    int preferred = 0;
    int required = kAnyTier;
    std::string layout = "policy";
  };
  std::vector<std::pair<std::string, std::string>> expected;  // policy, answer
  std::vector<CardRules> rules;
  std::vector<NodeSpec> nodes;
  std::vector<std::string> cordoned;
  std::vector<QueueSpec> queues;  // those with slots
  std::vector<PodObserved> busy;
  RequestSpec request;
  Standing standing;  // the request's
  std::uint64_t job = 0;
  Gang gang;
};

// Errors carry file:line:column. A key that is not known is an error.
Result<Scenario> LoadScenario(const std::string& path);
Result<Scenario> ParseScenario(const std::string& text, const std::string& name);

// Asks the engine and says what it answered, in the words of `expect`.
std::string Answer(const Scenario& scenario, const std::string& policy);

}  // namespace basalt::support
