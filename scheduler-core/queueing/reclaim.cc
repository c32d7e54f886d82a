#include "scheduler-core/queueing/reclaim.h"

#include <fmt/format.h>

#include <algorithm>

#include "scheduler-core/base/check.h"

namespace basalt {
namespace {

constexpr Entitlement kLevels[] = {Entitlement::kGuarantee, Entitlement::kDeserved,
                                   Entitlement::kFairShare};

}  // namespace

std::string_view EntitlementName(Entitlement level) {
  constexpr std::string_view kNames[] = {"guarantee", "deserved", "fair share"};
  return kNames[static_cast<std::size_t>(level)];
}

ReclaimPlan::ReclaimPlan(const QueueTree& tree, const FairShares& shares, const ReclaimAsk& ask)
    : tree_(tree), shares_(shares), ask_(ask), taken_(tree.slots()) {
  BASALT_CHECK(tree.IsLeaf(ask.queue));
  for (QueueId at = ask.queue; at.valid(); at = tree.parent(at)) path_.push_back(at);
  for (std::size_t r = 0; r < ask.shortfall.size(); ++r) {
    if (ask.shortfall[ResourceId(r)] > 0) short_.push_back(ResourceId(r));
  }
}

std::int64_t ReclaimPlan::Entitled(QueueId queue, ResourceId resource, Entitlement level) const {
  const std::int64_t share = shares_.share(queue)[resource];
  switch (level) {
    case Entitlement::kGuarantee:
      return std::min(share, tree_.guarantee(queue)[resource]);
    case Entitlement::kDeserved:
      return std::min(share, tree_.deserved(queue)[resource]);
    case Entitlement::kFairShare:
      return share;
  }
  return share;
}

std::int64_t ReclaimPlan::Left(QueueId queue, ResourceId resource) const {
  return tree_.allocated(queue)[resource] - taken_[queue][resource];
}

bool ReclaimPlan::OnPath(QueueId queue) const {
  return std::find(path_.begin(), path_.end(), queue) != path_.end();
}

bool ReclaimPlan::Counts(QueueId queue, ResourceId resource) const {
  if (queue == ask_.queue) return ask_.request[resource] > 0;
  return ask_.request[resource] > 0 && ask_.shortfall[resource] > 0;
}

std::optional<Entitlement> ReclaimPlan::LevelOf(QueueId queue) const {
  for (const Entitlement level : kLevels) {
    if (!ask_.preemptible && level == Entitlement::kFairShare) break;
    bool within = true;
    for (std::size_t i = 0; i < ask_.request.size() && within; ++i) {
      const ResourceId r(i);
      if (!Counts(queue, r)) continue;
      std::int64_t entitled = Entitled(queue, r, level);
      if (level == Entitlement::kGuarantee && !tree_.IsLeaf(queue)) {
        // Where work below cannot be taken back, the guarantees beside it still count in full.
        entitled = std::max(entitled, tree_.claim(queue)[r]);
      }
      within = Left(queue, r) + ask_.request[r] <= entitled;
    }
    if (within) return level;
  }
  return std::nullopt;
}

std::optional<Entitlement> ReclaimPlan::LevelUnder(QueueId ancestor) const {
  Entitlement highest = Entitlement::kGuarantee;
  for (const QueueId queue : path_) {
    if (queue == ancestor) return highest;
    const auto level = LevelOf(queue);
    if (!level) return std::nullopt;
    highest = std::max(highest, *level);
  }
  BASALT_CHECK(false);  // not above the reclaimer
  return std::nullopt;
}

std::string ReclaimPlan::WhyNot(QueueId ancestor) const {
  const Entitlement most = ask_.preemptible ? Entitlement::kFairShare : Entitlement::kDeserved;
  for (const QueueId queue : path_) {
    if (queue == ancestor) break;
    for (std::size_t i = 0; i < ask_.request.size(); ++i) {
      const ResourceId r(i);
      const std::int64_t entitled = Entitled(queue, r, most);
      if (!Counts(queue, r) || Left(queue, r) + ask_.request[r] <= entitled) continue;
      const auto text = [&](std::int64_t amount) { return tree_.resources().Format(r, amount); };
      return fmt::format("queue '{}' holds {} {} and asks for {}, beyond its {}, {}",
                         tree_.name(queue), text(Left(queue, r)), tree_.resources().name(r),
                         text(ask_.request[r]), EntitlementName(most), text(entitled));
    }
  }
  return "";
}

bool ReclaimPlan::SomebodyIsOver() const {
  const auto level = LevelOf(ask_.queue);  // the levels that count are this or higher
  if (!level) return false;
  for (const QueueId leaf : tree_.order()) {
    if (leaf == ask_.queue || !tree_.IsLeaf(leaf)) continue;
    for (const ResourceId r : short_) {
      bool over = Left(leaf, r) > tree_.allocated_firm(leaf)[r];
      for (QueueId at = leaf; over && !OnPath(at); at = tree_.parent(at)) {
        over = tree_.spec(at).reclaimable && Left(at, r) > Entitled(at, r, *level);
      }
      if (over) return true;
    }
  }
  return false;
}

bool ReclaimPlan::MayTake(QueueId victim, const Amounts& held) const {
  BASALT_CHECK(tree_.IsLeaf(victim));
  if (victim == ask_.queue) return false;
  QueueId side = victim;
  while (!OnPath(tree_.parent(side))) side = tree_.parent(side);
  const QueueId meeting = tree_.parent(side);
  const auto level = LevelUnder(meeting);
  if (!level) return false;
  const auto on_the_way = [&](auto holds) {  // for all from the victim's leaf up to its side
    for (QueueId at = victim; at != meeting; at = tree_.parent(at)) {
      if (!holds(at)) return false;
    }
    return true;
  };
  if (!on_the_way([&](QueueId at) { return tree_.spec(at).reclaimable; })) return false;
  bool over = false;
  for (const ResourceId r : short_) {
    if (held[r] <= 0) continue;
    over |= on_the_way([&](QueueId at) { return Left(at, r) > Entitled(at, r, *level); });
    const bool kept = on_the_way([&](QueueId at) {
      return Left(at, r) - held[r] >= Entitled(at, r, Entitlement::kGuarantee);
    });
    if (!kept && *level != Entitlement::kGuarantee) return false;
  }
  return over;
}

void ReclaimPlan::Take(QueueId victim, const Amounts& held) {
  for (QueueId at = victim; at.valid(); at = tree_.parent(at)) taken_[at] += held;
}

void ReclaimPlan::GiveBack(QueueId victim, const Amounts& held) {
  for (QueueId at = victim; at.valid(); at = tree_.parent(at)) taken_[at] -= held;
}

bool ReclaimPlan::Settled() const {
  for (std::size_t i = 0; i + 1 < path_.size(); ++i) {
    const QueueId meeting = path_[i + 1];
    const bool gave = taken_[meeting] != taken_[path_[i]];  // somebody beside the path
    if (gave && !LevelUnder(meeting)) return false;
  }
  return !tree_.Refusal(ask_.queue, ask_.request, ask_.preemptible, &taken_);
}

}  // namespace basalt
