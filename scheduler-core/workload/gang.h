// A gang: pods that are placed together or not at all. Its tasks may differ in shape, each has a
// part that must run (min) and a part that may (up to max), tasks may be in sub-groups, and the
// gang and each sub-group may wish to be close together in the network.
//
// Levels are network tiers (topology/network.h): 0 is one node, then NVLink domain, rack, spine,
// ... as the cluster names them. `required` is a hard limit: all members inside one domain of a
// tier not wider than that (Volcano: mode hard, highestTierAllowed; Kueue:
// podset-required-topology). `preferred` is where the search begins: first the domains of that
// tier, then one tier wider at a time, up to `required` or the whole cluster (Volcano: mode soft;
// Kueue: preferred).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "scheduler-core/base/ids.h"
#include "scheduler-core/base/result.h"
#include "scheduler-core/workload/node_choice.h"
#include "scheduler-core/workload/request.h"
#include "topology/network.h"

namespace basalt {

inline constexpr int kAnyTier = topology::kMaxTiers + 1;  // the whole cluster
inline constexpr std::int32_t kMaxGangMembers = 65'535;
inline constexpr std::size_t kMaxGangTasks = 128;  // and sub-groups

struct LevelWish {
  int preferred = 0;        // 0..kAnyTier
  int required = kAnyTier;  // 0..kAnyTier
  friend bool operator==(const LevelWish&, const LevelWish&) = default;
};

// How members are divided inside the domain that was chosen.
enum class GangLayout : std::uint8_t {
  kByPolicy,  // spread if the placement policy spreads, else packed
  kPacked,    // over as few sub-domains and nodes as possible
  kBalanced,  // over as few sub-domains as possible, equal numbers in each (16 + 16 + 16)
  kSpread,    // over as many nodes as possible
};
std::string_view GangLayoutName(GangLayout layout);
Result<GangLayout> ParseGangLayout(std::string_view name);

struct GangGroup {
  std::string name;
  LevelWish level;
  friend bool operator==(const GangGroup&, const GangGroup&) = default;
};

struct GangTask {
  std::string name;
  ShapeId shape;
  std::int32_t min = 1;     // 0..max
  std::int32_t max = 1;     // 1..
  std::int32_t group = -1;  // index into GangSpec::groups; -1: in none
  friend bool operator==(const GangTask&, const GangTask&) = default;
};

struct GangSpec {
  std::vector<GangTask> tasks;
  std::vector<GangGroup> groups;
  LevelWish level;
  GangLayout layout = GangLayout::kByPolicy;

  std::int32_t max_members() const;
  std::int32_t min_members() const;
  // Members are numbered task by task: task 0's first. The task of a member.
  std::size_t TaskOf(std::int32_t member) const;
  friend bool operator==(const GangSpec&, const GangSpec&) = default;
};
// Tasks and groups exist, 0 <= min <= max, one member must run, at most kMaxGangMembers, levels in
// range with preferred not wider than required.
Status ValidateGang(const GangSpec& spec, const std::string& where);

struct GangRequest {
  PodUid uid;  // of the gang
  std::uint32_t attempt = 0;
  GangSpec spec;
  // Each member's pod UID, spec.max_members() of them; empty: derived from the gang's.
  std::vector<PodUid> members;
  std::uint64_t job = 0;
  Standing standing = {};  // of every member; while the gang holds something, what it came with
  std::shared_ptr<const NodeChoice> nodes = nullptr;  // for every member; null: any node
  // For each task's members beside that; as many as tasks, or none. May be null.
  std::vector<std::shared_ptr<const NodeChoice>> task_nodes = {};
};
// The derived UID of a member.
PodUid GangMemberUid(const PodUid& gang, std::int32_t member);

}  // namespace basalt
