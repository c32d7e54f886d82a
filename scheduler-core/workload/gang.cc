#include "scheduler-core/workload/gang.h"

#include <fmt/format.h>

#include <array>

#include "scheduler-core/base/digest.h"
#include "scheduler-core/base/suggest.h"

namespace basalt {
namespace {

constexpr std::array<std::string_view, 4> kLayouts = {"policy", "packed", "balanced", "spread"};

Status CheckLevel(const LevelWish& level, const std::string& where, std::string_view who) {
  const auto in_range = [](int tier) { return tier >= 0 && tier <= kAnyTier; };
  if (!in_range(level.preferred) || !in_range(level.required)) {
    return Fail(where, fmt::format("{}: a tier is outside 0..{}", who, kAnyTier));
  }
  if (level.preferred > level.required) {
    return Fail(where, fmt::format("{}: prefers tier {} but requires {} or narrower", who,
                                   level.preferred, level.required));
  }
  return {};
}

}  // namespace

std::string_view GangLayoutName(GangLayout layout) {
  return kLayouts[static_cast<std::size_t>(layout)];
}

Result<GangLayout> ParseGangLayout(std::string_view name) {
  for (std::size_t i = 0; i < kLayouts.size(); ++i) {
    if (kLayouts[i] == name) return static_cast<GangLayout>(i);
  }
  const std::vector<std::string> names(kLayouts.begin(), kLayouts.end());
  return Fail("layout", "unknown layout " + SuggestText(name, names));
}

std::int32_t GangSpec::max_members() const {
  std::int32_t sum = 0;
  for (const GangTask& task : tasks) sum += task.max;
  return sum;
}

std::int32_t GangSpec::min_members() const {
  std::int32_t sum = 0;
  for (const GangTask& task : tasks) sum += task.min;
  return sum;
}

std::size_t GangSpec::TaskOf(std::int32_t member) const {
  std::size_t task = 0;
  while (task + 1 < tasks.size() && member >= tasks[task].max) member -= tasks[task++].max;
  return task;
}

Status ValidateGang(const GangSpec& spec, const std::string& where) {
  if (spec.tasks.empty()) return Fail(where, "a gang needs a task");
  if (spec.tasks.size() > kMaxGangTasks || spec.groups.size() > kMaxGangTasks) {
    return Fail(where, fmt::format("{} tasks in {} sub-groups; at most {} of each",
                                   spec.tasks.size(), spec.groups.size(), kMaxGangTasks));
  }
  std::int64_t min = 0;
  std::int64_t max = 0;
  for (std::size_t t = 0; t < spec.tasks.size(); ++t) {
    const GangTask& task = spec.tasks[t];
    const std::string who = task.name.empty() ? fmt::format("task {}", t) : "task " + task.name;
    if (!task.shape.valid()) return Fail(where, who + " has no shape");
    if (task.min < 0 || task.max < 1 || task.min > task.max) {
      return Fail(where,
                  fmt::format("{}: min {} and max {} do not go together", who, task.min, task.max));
    }
    if (task.group < -1 || task.group >= static_cast<std::int32_t>(spec.groups.size())) {
      return Fail(where, fmt::format("{}: there is no sub-group {}", who, task.group));
    }
    min += task.min;
    max += task.max;
  }
  if (min < 1) return Fail(where, "no member must run: a gang needs a min of 1 or more");
  if (max > kMaxGangMembers) {
    return Fail(where, fmt::format("{} members; at most {}", max, kMaxGangMembers));
  }
  for (const GangGroup& group : spec.groups) {
    if (Status ok = CheckLevel(group.level, where, "sub-group " + group.name); !ok) return ok;
    // A part can not be spread wider than the whole.
    if (group.level.preferred > spec.level.required) {
      return Fail(where, fmt::format("sub-group {} prefers tier {}, but the gang requires {}",
                                     group.name, group.level.preferred, spec.level.required));
    }
  }
  return CheckLevel(spec.level, where, "the gang");
}

PodUid GangMemberUid(const PodUid& gang, std::int32_t member) {
  Digest digest;
  digest.Add(gang.hi);
  digest.Add(gang.lo);
  digest.Add(std::int64_t{member});
  const Digest128 value = digest.value();
  return PodUid{value.hi, value.lo};
}

}  // namespace basalt
