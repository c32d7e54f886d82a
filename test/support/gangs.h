// Gangs for tests: clusters with a network, short names for what a gang asks, and the same things
// in the words of the oracle.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "scheduler-core/base/rng.h"
#include "scheduler-core/engine/engine.h"
#include "test/support/gang_oracle.h"

namespace basalt::support {

inline constexpr int kRack = 1;
inline constexpr int kSpine = 2;

// `racks` racks of `nodes` nodes each ("r0n0") with `cards` T4s, `per_spine` racks a spine (0:
// none).
std::vector<NodeSpec> Racks(int racks, int nodes, int cards, int per_spine = 0);
// Tiers are called "rack" and "spine".
std::unique_ptr<Engine> GangEngine(const std::vector<NodeSpec>& nodes, EngineOptions options = {},
                                   std::string_view policy = "binpack");

struct TaskAsk {
  RequestSpec spec;
  std::int32_t min = 1;
  std::int32_t max = 1;
  std::int32_t group = -1;
};
GangRequest MakeGang(Engine& engine, std::uint64_t uid, const std::vector<TaskAsk>& tasks,
                     LevelWish level = {}, const std::vector<LevelWish>& groups = {});

// Nodes in rank order, as they are now or as if nothing ran.
std::vector<oracle::GangNode> OracleNodes(const ClusterState& state, bool empty);
oracle::GangAsk OracleAsk(const Engine& engine, const GangSpec& spec);
std::vector<oracle::GangPut> OraclePuts(const Engine& engine, const GangSpec& spec,
                                        const GangOutcome& outcome);
std::vector<oracle::GangPut> OracleHeld(const Engine& engine, const Gang& gang);

struct GangWorldOptions {
  int nodes = 5;
  int cards = 4;
  bool mixed_models = true;
};
// Small random clusters: racks, spines, nodes that say neither, mixed models.
std::vector<NodeSpec> RandomGangNodes(Rng& rng, const GangWorldOptions& options);
RequestSpec RandomGangShape(Rng& rng);
// At most `members` members that must run, in at most 3 tasks and 2 sub-groups.
GangRequest RandomGang(Rng& rng, Engine& engine, std::uint64_t uid, int members, bool alike);

// What every member of every gang must keep: none or at least min of each task (but for losses),
// levels, and books that agree. Empty, or what is wrong.
std::string CheckGangs(Engine& engine);

}  // namespace basalt::support
