// Short names for what every test of the engine builds: nodes, requests, engines.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "scheduler-core/engine/engine.h"
#include "scheduler-core/engine/registry.h"

namespace basalt::support {

// The built-in policies, registered once.
const Registry& Builtins();
// Stops the test program when the expression is not a policy.
ConfiguredPolicy Policy(std::string_view expression);

// How often a random test repeats: n x BASALT_TEST_SCALE, at least once. Without the variable the
// scale is 1, and 0.25 in Debug builds.
int Scaled(int n);

NodeSpec Node(std::string name, MilliCpu cpu, int cards, std::string model = "T4",
              MiB card_memory = 0);
RequestSpec Ask(MilliCpu cpu, int gpus = 0, MilliGpu milli = 0);
inline PodUid Uid(std::uint64_t n) { return PodUid{0x5eed, n}; }

// Five classes with counts 13, 38, 30, 12, 7: CPU-only, 460m, 1 card, 2 cards, 4 cards.
TargetWorkload SmallTarget();

// An engine with the nodes added in order; `options.target` is SmallTarget when empty.
std::unique_ptr<Engine> MakeEngine(std::string_view policy, const std::vector<NodeSpec>& nodes,
                                   EngineOptions options = {});
std::unique_ptr<Engine> MakeEngine(ConfiguredPolicy policy, const std::vector<NodeSpec>& nodes,
                                   EngineOptions options = {});
// Interns the shape; the spec must be valid.
Request For(Engine& engine, const RequestSpec& spec, std::uint64_t uid, std::uint32_t attempt = 0,
            std::uint64_t job = 0);
// A pod that is already there: what puts a test's cluster into the state it wants.
void Observe(Engine& engine, const std::string& node, const RequestSpec& spec, CardSet cards,
             std::uint64_t uid);
std::string NodeName(const Engine& engine, const Outcome& outcome);

// Recomputes every derived column and total from the cards. Empty, or what differs.
std::string CheckDerived(const ClusterState& state);

}  // namespace basalt::support
