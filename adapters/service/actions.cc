#include "adapters/service/actions.h"

#include <algorithm>
#include <utility>

namespace basalt::service {
namespace {
constexpr std::size_t kMaxResults = 16'384;
constexpr std::int64_t kResultsKeptUs = 600'000'000;
}  // namespace

const placement::v1::Action& ActionLog::Add(placement::v1::Action action) {
  const auto known = by_id_.find(action.id());
  if (known != by_id_.end()) return open_.at(known->second);
  const std::uint64_t sequence = next_++;
  action.set_sequence(sequence);
  by_id_.emplace(action.id(), sequence);
  return open_.emplace(sequence, std::move(action)).first->second;
}

void ActionLog::Finish(std::uint64_t sequence, ActionResult result, SimTime now) {
  const auto it = open_.find(sequence);
  // An id that failed, was forgotten and was told again has one result: the last.
  if (!results_.insert_or_assign(it->second.id(), std::move(result)).second) {
    std::erase_if(result_order_,
                  [&](const auto& entry) { return entry.second == it->second.id(); });
  }
  std::int64_t when = now.us;
  if (!result_order_.empty()) when = std::max(when, result_order_.rbegin()->first + 1);
  result_order_.emplace(when, it->second.id());
  by_id_.erase(it->second.id());
  open_.erase(it);
  while (result_order_.size() > kMaxResults) {
    results_.erase(result_order_.begin()->second);
    result_order_.erase(result_order_.begin());
  }
}

bool ActionLog::Ack(const std::string& id, ActionResult result, SimTime now) {
  const auto it = by_id_.find(id);
  if (it == by_id_.end()) return false;
  Finish(it->second, std::move(result), now);
  return true;
}

std::optional<ActionResult> ActionLog::ResultOf(const std::string& id) const {
  const auto it = results_.find(id);
  if (it == results_.end()) return std::nullopt;
  return it->second;
}

bool ActionLog::Knows(const std::string& id) const {
  return by_id_.contains(id) || results_.contains(id);
}

void ActionLog::PodGone(const std::string& uid, SimTime now) {
  std::vector<std::pair<std::uint64_t, bool>> of_pod;
  for (const auto& [sequence, action] : open_) {
    if (action.pod().uid() != uid) continue;
    of_pod.emplace_back(sequence, action.kind() == placement::v1::ACTION_KIND_EVICT ||
                                      action.kind() == placement::v1::ACTION_KIND_COMMIT_AND_EXIT ||
                                      action.kind() == placement::v1::ACTION_KIND_MIGRATE);
  }
  for (const auto& [sequence, wanted] : of_pod) {
    Finish(sequence, wanted ? ActionResult{true, ""} : ActionResult{false, "the pod is gone"}, now);
  }
}

std::vector<placement::v1::Action> ActionLog::After(
    std::uint64_t sequence, const std::vector<placement::v1::ActionKind>& kinds,
    std::size_t max) const {
  std::vector<placement::v1::Action> out;
  for (auto it = open_.upper_bound(sequence); it != open_.end() && out.size() < max; ++it) {
    if (!kinds.empty() && std::find(kinds.begin(), kinds.end(), it->second.kind()) == kinds.end()) {
      continue;
    }
    out.push_back(it->second);
  }
  return out;
}

void ActionLog::Expire(SimTime now) {
  std::vector<std::uint64_t> late;
  for (const auto& [sequence, action] : open_) {
    if (action.deadline_us() != 0 && action.deadline_us() < now.us) late.push_back(sequence);
  }
  for (const std::uint64_t sequence : late) {
    Finish(sequence, {false, "its deadline has passed", true}, now);
  }
  while (!result_order_.empty() && result_order_.begin()->first < now.us - kResultsKeptUs) {
    results_.erase(result_order_.begin()->second);
    result_order_.erase(result_order_.begin());
  }
}

}  // namespace basalt::service
