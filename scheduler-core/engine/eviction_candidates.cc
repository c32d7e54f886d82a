// Who may leave, by which rule, and the steps of the dry run.
#include <algorithm>
#include <set>
#include <utility>

#include "scheduler-core/engine/eviction_search.h"

namespace basalt {
namespace {

// A century: sums of products with 64 cards of 1000 milli then saturate and never wrap.
constexpr std::int64_t kLongest = 100LL * 366 * 86'400 * 1'000'000;

}  // namespace

void EvictionCost::Add(const EvictionCost& other) {
  priority = std::max(priority, other.priority);
  budgets += other.budgets;
  gangs += other.gangs;
  lost = Saturated(static_cast<Wide>(lost) + other.lost);
  count += other.count;
}

EvictionSearch::EvictionSearch(Engine& engine, const EvictionRules& rules, const Standing& standing,
                               SimTime now, const FairShares* shares)
    : engine_(engine),
      state_(engine.state_),
      rules_(rules),
      standing_(standing),
      now_(now),
      shares_(shares),
      leaf_(engine.quotas_.LeafOf(standing.queue)),
      tx_(engine.state_) {}

// --- candidates ---------------------------------------------------------------------------------

EvictionSearch::Candidate EvictionSearch::MakeCandidate(const Allocation& a) const {
  Candidate c;
  c.pod = &a;
  const Standing& its = *a.standing;
  const bool same_queue = its.queue == standing_.queue;
  c.by_priority = rules_.preempt && its.priority < standing_.priority &&
                  (same_queue || rules_.preempt_across_queues);
  state_.ForEachSlice(state_.shape(a.shape), a.node, a.cards, a.numa.get(),
                      [&c](const SliceTake& slice) { c.milli += slice.milli; });
  const std::int64_t since = std::clamp<std::int64_t>(now_.us - a.checkpoint.us, 0, kLongest);
  const std::int64_t restart = std::clamp<std::int64_t>(its.restart_us, 0, kLongest);
  c.lost = Saturated(static_cast<Wide>(c.milli) * (since + restart));
  return c;
}

void EvictionSearch::CollectBudgets() {
  for (const auto& [name, left] : engine_.DisruptionsLeft()) {
    budget_ids_.emplace(name, static_cast<std::int32_t>(budgets_.size()));
    budgets_.push_back(left);
  }
}

void EvictionSearch::Collect(const PodUid& self) {
  CollectBudgets();
  by_node_.resize(state_.node_slots());
  std::map<PodUid, std::int32_t> gang_ids;
  const bool reclaims = rules_.reclaim && leaf_.valid();
  const bool claims = rules_.reclaim && engine_.MayClaimSlots(standing_);
  const auto on_slot = [&](const Allocation& a) {
    return claims && !engine_.IsFirm(*a.standing) &&
           engine_.node_slots().Claims(leaf_, state_.hot(a.node).mark);
  };
  std::set<PodUid> gangs_on_slots;
  for (const NodeId node : state_.order()) {
    if (!claims) break;
    for (const std::uint32_t slot : engine_.on_node_[node]) {
      const Allocation& a = engine_.allocations_[slot];
      if (a.member >= 0 && on_slot(a)) gangs_on_slots.insert(a.gang);
    }
  }
  std::vector<const Allocation*> there;
  for (const NodeId node : state_.order()) {
    there.clear();
    for (const std::uint32_t slot : engine_.on_node_[node]) {
      there.push_back(&engine_.allocations_[slot]);
    }
    // Slots are of this engine's past, and plans must not depend on it.
    std::sort(there.begin(), there.end(),
              [](const Allocation* a, const Allocation* b) { return a->uid < b->uid; });
    for (const Allocation* at : there) {
      const Allocation& a = *at;
      if (!a.confirmed || a.is_leaving() || !a.standing->preemptible || a.gang == self) continue;
      if (now_.us - a.started.us < a.standing->min_runtime_us) continue;
      Candidate c = MakeCandidate(a);
      c.on_slot = on_slot(a);
      c.of_slot = a.member >= 0 && gangs_on_slots.contains(a.gang);
      const bool other_queue = a.queue.valid() && a.queue != leaf_;
      if (!c.by_priority && !c.on_slot && !c.of_slot && !(reclaims && other_queue)) continue;
      const auto index = static_cast<std::uint32_t>(candidates_.size());
      if (const auto it = budget_ids_.find(a.standing->budget); it != budget_ids_.end()) {
        c.budget = it->second;
      }
      if (a.member >= 0) {
        const auto [it, is_new] =
            gang_ids.try_emplace(a.gang, static_cast<std::int32_t>(gangs_.size()));
        if (is_new) {
          GangOfVictims g;
          g.gang = engine_.FindGang(a.gang);
          for (std::size_t t = 0; t < g.gang->spec.tasks.size(); ++t) {
            g.spare.push_back(engine_.StayingMembers(*g.gang, t) - g.gang->spec.tasks[t].min);
          }
          gangs_.push_back(std::move(g));
        }
        c.gang = it->second;
        GangOfVictims& g = gangs_[static_cast<std::size_t>(c.gang)];
        c.task = static_cast<std::int32_t>(g.gang->spec.TaskOf(a.member));
        g.members.push_back(index);
      }
      priorities_.push_back(a.standing->priority);
      by_node_[node.index()].push_back(index);
      candidates_.push_back(std::move(c));
    }
  }
  std::sort(priorities_.begin(), priorities_.end());
  priorities_.erase(std::unique(priorities_.begin(), priorities_.end()), priorities_.end());
  // Least loss per milli first; then who frees more, so that fewer go.
  for (std::vector<std::uint32_t>& on_node : by_node_) {
    std::sort(on_node.begin(), on_node.end(), [this](std::uint32_t x, std::uint32_t y) {
      const Candidate& a = candidates_[x];
      const Candidate& b = candidates_[y];
      if ((a.gang >= 0) != (b.gang >= 0)) return b.gang >= 0;
      const Wide left = static_cast<Wide>(a.lost) * std::max<std::int64_t>(b.milli, 1);
      const Wide right = static_cast<Wide>(b.lost) * std::max<std::int64_t>(a.milli, 1);
      if (left != right) return left < right;
      if (a.pod->standing->priority != b.pod->standing->priority) {
        return a.pod->standing->priority < b.pod->standing->priority;
      }
      if (a.milli != b.milli) return a.milli > b.milli;
      return a.pod->uid < b.pod->uid;
    });
  }
}

const Amounts& EvictionSearch::HeldOf(Candidate& c) {
  if (!c.held) c.held = engine_.HeldBy(*c.pod);
  return *c.held;
}

// --- rules --------------------------------------------------------------------------------------

// Preemption across queues leaves every queue its guarantee, or it would be reclaimed at once.
bool EvictionSearch::KeepsGuarantees(const Candidate& c, const Amounts& held) const {
  const QueueTree& tree = engine_.queues();
  for (QueueId at = c.pod->queue; at.valid() && at != QueueTree::kRoot; at = tree.parent(at)) {
    if (leaf_.valid() && tree.IsUnder(leaf_, at)) break;
    for (std::size_t r = 0; r < held.size(); ++r) {
      const ResourceId id(r);
      if (held[id] == 0 || tree.guarantee(at)[id] == 0) continue;
      const auto gone = gone_.find(at);
      const std::int64_t taken = gone == gone_.end() ? 0 : gone->second[id];
      if (tree.allocated(at)[id] - taken - held[id] < tree.guarantee(at)[id]) return false;
    }
  }
  return true;
}

bool EvictionSearch::RulesAllow(Candidate& c, bool for_slot) {
  const Allocation& a = *c.pod;
  c.by_slot = false;
  if (frozen_ || a.standing->priority > limit_) return false;
  const QueueTree& tree = engine_.queues();
  if (inside_.valid() && !(a.queue.valid() && tree.IsUnder(a.queue, inside_))) return false;
  if (c.budget >= 0 && budgets_[static_cast<std::size_t>(c.budget)] <= 0 && !break_budgets_) {
    return false;
  }
  const bool other_queue = a.queue.valid() && a.queue != leaf_;
  if (c.by_priority && (!other_queue || KeepsGuarantees(c, HeldOf(c)))) {
    c.why = EvictionReason::kPreempt;
    return true;
  }
  if (for_slot) {
    c.by_slot = true;
    c.why = EvictionReason::kReclaim;
    return true;
  }
  if (!reclaim_ || !rules_.reclaim || !other_queue || !reclaim_->MayTake(a.queue, HeldOf(c))) {
    return false;
  }
  if (rules_.preempt_across_queues && rules_.preempt && a.standing->priority > standing_.priority) {
    // What priority gave, fairness does not take back; but a guarantee does.
    QueueId meeting = tree.parent(a.queue);
    while (!tree.IsUnder(leaf_, meeting)) meeting = tree.parent(meeting);
    if (reclaim_->LevelUnder(meeting) != Entitlement::kGuarantee) return false;
  }
  c.why = EvictionReason::kReclaim;
  return true;
}

// --- steps of the dry run -----------------------------------------------------------------------

void EvictionSearch::Evicted(Candidate& c, int sign) {
  c.evicted = sign > 0;
  victims_ += sign;
  if (c.budget >= 0) budgets_[static_cast<std::size_t>(c.budget)] -= sign;
  if (c.gang >= 0) {
    gangs_[static_cast<std::size_t>(c.gang)].spare[static_cast<std::size_t>(c.task)] -= sign;
  }
  const Allocation& a = *c.pod;
  if (!a.queue.valid()) return;
  const QueueTree& tree = engine_.queues();
  const Amounts& held = HeldOf(c);
  for (QueueId at = a.queue; at != QueueTree::kRoot; at = tree.parent(at)) {
    for (std::size_t r = 0; r < held.size(); ++r) {
      if (held[ResourceId(r)] != 0) gone_[at].Add(ResourceId(r), sign * held[ResourceId(r)]);
    }
  }
  if (reclaim_ && sign > 0) reclaim_->Take(a.queue, HeldOf(c));
  if (reclaim_ && sign < 0) reclaim_->GiveBack(a.queue, HeldOf(c));
  if (tree_ && sign > 0) tree_->Uncharge(a.queue, HeldOf(c), true);
  if (tree_ && sign < 0) tree_->Charge(a.queue, HeldOf(c), true);
}

void EvictionSearch::Leave(Candidate& c, Group* group, bool give) {
  EvictionCost cost;
  cost.priority = c.pod->standing->priority;
  cost.lost = c.lost;
  cost.count = 1;
  cost.budgets = c.budget >= 0 && budgets_[static_cast<std::size_t>(c.budget)] == 0 ? 1 : 0;
  group->cost.Add(cost);
  Evicted(c, +1);
  if (give) tx_.Give(c.pod->node, c.pod->shape, c.pod->cards, c.pod->numa);
}

bool EvictionSearch::Admit(std::uint32_t index, NodeId local) {
  Candidate& c = candidates_[index];
  if (c.evicted) return false;
  const Mark mark = Now();
  Group& group = groups_.emplace_back();
  group.local = local.valid();
  GangOfVictims* gang = c.gang >= 0 ? &gangs_[static_cast<std::size_t>(c.gang)] : nullptr;
  const bool breaks = gang != nullptr && gang->spare[static_cast<std::size_t>(c.task)] <= 0;
  if (!breaks) {
    group.members.push_back(index);
  } else {
    // Every member that holds a place must be free to go.
    if (std::cmp_not_equal(gang->members.size(), gang->gang->held)) {
      UndoTo(mark);
      return false;
    }
    for (const std::uint32_t member : gang->members) {
      if (!candidates_[member].evicted) group.members.push_back(member);
    }
    // Who clears the slot is who is asked again for the same group.
    if (c.on_slot)
      std::iter_swap(group.members.begin(),
                     std::find(group.members.begin(), group.members.end(), index));
    group.cost.gangs = 1;
    group.broken_gang = c.gang;
    gang->broken = true;
  }
  std::size_t gone = 0;
  for (const std::uint32_t member : group.members) {
    Candidate& m = candidates_[member];
    if (victims_ >= rules_.max_victims || !RulesAllow(m, c.on_slot)) break;
    Leave(m, &group, !local.valid() || m.pod->node == local);
    ++gone;
  }
  if (gone == group.members.size()) return true;
  group.members.resize(gone);
  UndoTo(mark);
  return false;
}

void EvictionSearch::UndoTo(const Mark& mark) {
  tx_.Rollback(mark.log);
  places_.resize(mark.places);
  while (groups_.size() > mark.groups) {
    Group& group = groups_.back();
    if (!group.returned) {
      for (const std::uint32_t member : group.members) Evicted(candidates_[member], -1);
      SetBroken(group, false);
    }
    groups_.pop_back();
  }
}

// The group was not needed: its pods are where they were.
void EvictionSearch::ComeBack(Group& group, NodeId local) {
  for (const std::uint32_t member : group.members) {
    Candidate& c = candidates_[member];
    Evicted(c, -1);
    if (!group.local || c.pod->node == local) {
      tx_.Take(c.pod->node, c.pod->shape, c.pod->cards, c.pod->numa);
    }
  }
  SetBroken(group, false);
  group.returned = true;
}

void EvictionSearch::LeaveAgain(Group& group, const Mark& before) {
  tx_.Rollback(before.log);
  for (const std::uint32_t member : group.members) Evicted(candidates_[member], +1);
  SetBroken(group, true);
  group.returned = false;
}

bool EvictionSearch::MayComeBack(const Group& group) const {
  if (group.returned) return false;
  const std::int32_t gang = candidates_[group.members.front()].gang;
  return gang < 0 || group.broken_gang >= 0 || !gangs_[static_cast<std::size_t>(gang)].broken;
}

void EvictionSearch::SetBroken(const Group& group, bool broken) {
  if (group.broken_gang < 0) return;
  gangs_[static_cast<std::size_t>(group.broken_gang)].broken = broken;
}

EvictionCost EvictionSearch::Total() const {
  EvictionCost total;
  for (const Group& group : groups_) {
    if (!group.returned) total.Add(group.cost);
  }
  return total;
}

}  // namespace basalt
