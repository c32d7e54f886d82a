#include "scheduler-core/engine/eviction_search.h"

#include <fmt/format.h>

#include <algorithm>
#include <queue>
#include <tuple>
#include <utility>

#include "scheduler-core/base/check.h"
#include "scheduler-core/engine/gang_context.h"

namespace basalt {
namespace {

__extension__ using Wide = __int128;

// A century: sums of products with 64 cards of 1000 milli then saturate and never wrap.
constexpr std::int64_t kLongest = 100LL * 366 * 86'400 * 1'000'000;
constexpr std::size_t kMostExact = 12;            // candidates of a node that are searched exactly
constexpr std::uint64_t kMostExactSteps = 20'000;  // of one request
constexpr std::size_t kMostPriorities = 16;       // beyond this the lowest is found by halving
// Candidates x nodes up to which a gang's victims are looked for in more than one way.
constexpr std::size_t kSmall = 4096;

std::int64_t Saturated(Wide v) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  return v > kMost ? kMost : static_cast<std::int64_t>(v);
}

// Less per place, in the order of EvictionCost. Both are of one limit of priority.
bool CheaperPerPlace(const EvictionCost& a, std::int32_t a_places, const EvictionCost& b,
                     std::int32_t b_places) {
  const auto less = [&](std::int64_t x, std::int64_t y, bool* decided) {
    const Wide left = static_cast<Wide>(x) * b_places;
    const Wide right = static_cast<Wide>(y) * a_places;
    *decided = left != right;
    return left < right;
  };
  bool decided = false;
  for (const auto part : {&EvictionCost::budgets, &EvictionCost::gangs, &EvictionCost::lost,
                          &EvictionCost::count}) {
    const bool is_less = less(a.*part, b.*part, &decided);
    if (decided) return is_less;
  }
  return false;
}

}  // namespace

void EvictionCost::Add(const EvictionCost& other) {
  priority = std::max(priority, other.priority);
  budgets += other.budgets;
  gangs += other.gangs;
  lost = Saturated(static_cast<Wide>(lost) + other.lost);
  count += other.count;
}

EvictionSearch::EvictionSearch(Engine& engine, const EvictionRules& rules,
                               const Standing& standing, SimTime now, const FairShares* shares)
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
  c.milli = state_.shape(a.shape).total_milli();
  const std::int64_t since = std::clamp<std::int64_t>(now_.us - a.checkpoint.us, 0, kLongest);
  const std::int64_t restart = std::clamp<std::int64_t>(its.restart_us, 0, kLongest);
  c.lost = Saturated(static_cast<Wide>(c.milli) * (since + restart));
  return c;
}

void EvictionSearch::CollectBudgets() {
  for (const auto& [name, budget] : engine_.budgets()) {
    budget_ids_.emplace(name, static_cast<std::int32_t>(budget_ids_.size()));
  }
  budgets_.assign(budget_ids_.size(), 0);
  if (budgets_.empty()) return;
  std::vector<std::int64_t> there(budgets_.size(), 0);
  std::vector<std::int64_t> running(budgets_.size(), 0);
  for (const auto& [uid, slot] : engine_.by_uid_) {
    const Allocation& a = engine_.allocations_[slot];
    const auto it = budget_ids_.find(a.standing->budget);
    if (it == budget_ids_.end()) continue;
    ++there[static_cast<std::size_t>(it->second)];
    running[static_cast<std::size_t>(it->second)] += a.confirmed && !a.is_leaving() ? 1 : 0;
  }
  for (const auto& [name, id] : budget_ids_) {
    const auto b = static_cast<std::size_t>(id);
    const DisruptionBudgetSet& budget = engine_.budgets().at(name);
    const std::int64_t expected = budget.expected >= 0 ? budget.expected : there[b];
    const std::int64_t keep =
        budget.min_available >= 0 ? budget.min_available : expected - budget.max_unavailable;
    budgets_[b] = std::max<std::int64_t>(running[b] - keep, 0);
  }
}

void EvictionSearch::Collect(const PodUid& self) {
  CollectBudgets();
  by_node_.resize(state_.node_slots());
  std::map<PodUid, std::int32_t> gang_ids;
  const bool reclaims = rules_.reclaim && leaf_.valid();
  for (const NodeId node : state_.order()) {
    for (const std::uint32_t slot : engine_.on_node_[node]) {
      const Allocation& a = engine_.allocations_[slot];
      if (!a.confirmed || a.is_leaving() || !a.standing->preemptible || a.gang == self) continue;
      if (now_.us - a.started.us < a.standing->min_runtime_us) continue;
      Candidate c = MakeCandidate(a);
      const bool other_queue = a.queue.valid() && a.queue != leaf_;
      if (!c.by_priority && !(reclaims && other_queue)) continue;
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
            g.spare.push_back(g.gang->Count(t, Gang::Member::kHeld) +
                              g.gang->Count(t, Gang::Member::kFinished) -
                              g.gang->spec.tasks[t].min);
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
      const std::int64_t taken = reclaim_ ? reclaim_->taken(at)[id] : 0;
      if (tree.allocated(at)[id] - taken - held[id] < tree.guarantee(at)[id]) return false;
    }
  }
  return true;
}

bool EvictionSearch::RulesAllow(Candidate& c) {
  const Allocation& a = *c.pod;
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
  if (!reclaim_ || !rules_.reclaim || !other_queue || !reclaim_->MayTake(a.queue, HeldOf(c))) {
    return false;
  }
  if (rules_.preempt_across_queues && rules_.preempt &&
      a.standing->priority > standing_.priority) {
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
    group.cost.gangs = 1;
    group.broken_gang = c.gang;
    gang->broken = true;
  }
  std::size_t gone = 0;
  for (const std::uint32_t member : group.members) {
    Candidate& m = candidates_[member];
    if (victims_ >= rules_.max_victims || !RulesAllow(m)) break;
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

// --- places -------------------------------------------------------------------------------------

std::int32_t EvictionSearch::CopiesOn(ShapeId id, NodeId node, std::int32_t most) const {
  const ShapeEntry& entry = state_.shape_entry(id);
  if (entry.class_ok[state_.node_class(node).index()] == 0) return 0;
  if (most == 1) return state_.Fits(entry, node) ? 1 : 0;
  NodeDraft draft;
  draft.Load(state_, node);
  return draft.Copies(entry.shape, most);
}

// No place on the node can be had for less on average: what it must free of the cards, at the rates
// of those who lose least.
EvictionCost EvictionSearch::Bound(ShapeId id, NodeId node) const {
  EvictionCost bound;
  const Shape& shape = state_.shape(id);
  std::int64_t lacks = std::int64_t{shape.total_milli()} - std::max(state_.hot(node).gpu_free, 0);
  Wide lost = 0;
  for (const std::uint32_t index : by_node_[node.index()]) {
    const Candidate& c = candidates_[index];
    if (c.evicted || c.pod->standing->priority > limit_) continue;
    if (c.gang >= 0 || lacks <= 0) break;  // rates are in order among pods of no gang only
    const std::int64_t part = std::min(lacks, c.milli);
    if (part > 0) lost += static_cast<Wide>(c.lost) * part / c.milli;
    lacks -= part;
  }
  bound.lost = Saturated(lost);
  return bound;
}

std::optional<EvictionSearch::Offer> EvictionSearch::Evaluate(ShapeId shape, NodeId node,
                                                              std::int32_t most) {
  Offer offer;
  offer.places = CopiesOn(shape, node, most);
  if (offer.places > 0) return offer;
  const Mark start = Now();
  std::size_t chosen = 0;  // groups of the best part of the curve
  EvictionCost cost;
  std::vector<std::uint32_t> asked;  // who was admitted, by group
  for (const std::uint32_t index : by_node_[node.index()]) {
    if (!Admit(index, node)) continue;
    asked.push_back(index);
    cost.Add(groups_.back().cost);
    const std::int32_t copies = CopiesOn(shape, node, most);
    if (copies > 0 &&
        (offer.places == 0 || CheaperPerPlace(cost, copies, offer.cost, offer.places))) {
      offer.places = copies;
      offer.cost = cost;
      chosen = asked.size();
    }
    if (copies >= most) break;
  }
  UndoTo(start);
  if (chosen == 0) return {};
  for (std::size_t i = 0; i < chosen; ++i) BASALT_CHECK(Admit(asked[i], node));
  offer.cost = EvictionCost{};
  for (std::size_t i = chosen; i-- > 0;) {
    const Mark here = Now();
    Group& group = groups_[start.groups + i];
    if (!MayComeBack(group)) continue;
    ComeBack(group, node);
    if (CopiesOn(shape, node, most) >= offer.places) continue;
    LeaveAgain(group, here);
  }
  for (std::size_t i = 0; i < chosen; ++i) {
    if (groups_[start.groups + i].returned) continue;
    offer.victims.push_back(asked[i]);
    offer.cost.Add(groups_[start.groups + i].cost);
  }
  UndoTo(start);
  return offer;
}

void EvictionSearch::Exact(ShapeId shape, NodeId node,
                           const std::vector<std::uint32_t>& candidates, std::size_t next,
                           const Mark& start, std::optional<Offer>* best) {
  if (++exact_steps_ > kMostExactSteps) return;
  EvictionCost cost;
  for (std::size_t g = start.groups; g < groups_.size(); ++g) cost.Add(groups_[g].cost);
  if (*best && cost >= (*best)->cost) return;
  if (CopiesOn(shape, node, 1) > 0) {
    Offer offer{1, cost, {}};
    for (std::size_t g = start.groups; g < groups_.size(); ++g) {
      const auto here = [&](std::uint32_t m) { return candidates_[m].pod->node == node; };
      offer.victims.push_back(
          *std::find_if(groups_[g].members.begin(), groups_[g].members.end(), here));
    }
    *best = std::move(offer);
    return;
  }
  if (next == candidates.size()) return;
  const Mark here = Now();
  if (Admit(candidates[next], node)) {
    Exact(shape, node, candidates, next + 1, start, best);
    UndoTo(here);
  }
  Exact(shape, node, candidates, next + 1, start, best);
}

bool EvictionSearch::TakePlaces(std::size_t task, ShapeId shape_id, NodeId node,
                                std::int32_t count) {
  const Shape& shape = state_.shape(shape_id);
  NodeDraft draft;
  draft.Load(state_, node);
  std::vector<CardPlan> plans;
  if (problem_ != nullptr) {
    PlanPods(state_, shape, count, *problem_, &draft, &plans);
  } else {
    plans.push_back(draft.PlanCards(shape, engine_.policy_.card_rule, seed_));
  }
  for (CardPlan& plan : plans) {
    if (!plan.fits) return false;
    tx_.Take(node, shape_id, plan.cards, plan.numa);
    places_.push_back(Place{task, node, std::move(plan)});
  }
  return std::cmp_equal(plans.size(), count);
}

bool EvictionSearch::PlaceOne(ShapeId shape, std::span<const NodeId> nodes) {
  struct Bounded {
    EvictionCost bound;
    NodeId node;
  };
  std::vector<Bounded> order;
  for (const NodeId node : nodes) {
    if (engine_.state_.FitsEmpty(shape, node)) order.push_back({Bound(shape, node), node});
  }
  std::stable_sort(order.begin(), order.end(), [](const Bounded& a, const Bounded& b) {
    return a.bound.lost < b.bound.lost;
  });
  std::optional<Offer> best;
  NodeId where;
  for (const Bounded& next : order) {
    if (best && next.bound.lost > best->cost.lost && best->cost.budgets == 0 &&
        best->cost.gangs == 0) {
      break;
    }
    std::optional<Offer> offer = Evaluate(shape, next.node, 1);
    std::vector<std::uint32_t> few;
    for (const std::uint32_t index : by_node_[next.node.index()]) {
      const Candidate& c = candidates_[index];
      if (!c.evicted && c.pod->standing->priority <= limit_) few.push_back(index);
    }
    if (few.size() <= kMostExact && (!offer || !offer->victims.empty())) {
      std::optional<Offer> exact = best;  // only what is cheaper is of interest
      if (offer && (!exact || offer->cost < exact->cost)) exact = offer;
      Exact(shape, next.node, few, 0, Now(), &exact);
      if (exact && (!best || exact->cost < best->cost)) offer = std::move(exact);
    }
    if (offer && (!best || offer->cost < best->cost)) {
      best = std::move(offer);
      where = next.node;
    }
  }
  if (!best) return false;
  for (const std::uint32_t index : best->victims) {
    if (!candidates_[index].evicted && !Admit(index, NodeId())) return false;
  }
  return TakePlaces(0, shape, where, 1);
}

bool EvictionSearch::PlaceMany(std::size_t task, ShapeId shape, std::int32_t need,
                               std::span<const NodeId> nodes) {
  struct Entry {
    EvictionCost cost;
    std::int32_t places;
    std::uint32_t order;
  };
  const auto later = [](const Entry& a, const Entry& b) {
    if (CheaperPerPlace(a.cost, a.places, b.cost, b.places)) return false;
    if (CheaperPerPlace(b.cost, b.places, a.cost, a.places)) return true;
    return a.order > b.order;
  };
  std::priority_queue<Entry, std::vector<Entry>, decltype(later)> heap(later);
  std::vector<std::int32_t> order_of(state_.node_slots(), -1);
  for (std::uint32_t i = 0; i < nodes.size(); ++i) {
    if (!state_.hot(nodes[i]).schedulable || !state_.FitsEmpty(shape, nodes[i])) continue;
    order_of[nodes[i].index()] = static_cast<std::int32_t>(i);
    heap.push({Bound(shape, nodes[i]), 1, i});
  }
  while (need > 0 && !heap.empty()) {
    const Entry top = heap.top();
    heap.pop();
    const NodeId node = nodes[top.order];
    const std::optional<Offer> offer = Evaluate(shape, node, need);
    if (!offer) continue;
    const Entry now{offer->cost, offer->places, top.order};
    if (!heap.empty() && later(now, heap.top())) {
      heap.push(now);
      continue;
    }
    const std::size_t before = groups_.size();
    for (const std::uint32_t index : offer->victims) {
      if (!candidates_[index].evicted && !Admit(index, NodeId())) return false;
    }
    if (!TakePlaces(task, shape, node, offer->places)) return false;
    need -= offer->places;
    if (!frozen_ && best_ && Total() >= best_->cost) return false;
    heap.push({EvictionCost{}, 1, top.order});
    for (std::size_t g = before; g < groups_.size(); ++g) {
      if (groups_[g].broken_gang < 0) continue;  // its members have left other nodes, too
      for (const std::uint32_t member : groups_[g].members) {
        const std::int32_t order = order_of[candidates_[member].pod->node.index()];
        if (order >= 0) heap.push({EvictionCost{}, 1, static_cast<std::uint32_t>(order)});
      }
    }
  }
  return need == 0;
}

namespace {

std::vector<NodeId> NodesOf(const DomainTree& tree, const Region& region) {
  std::vector<NodeId> nodes;
  for (std::uint32_t leaf = region.begin; leaf < region.end; ++leaf) {
    nodes.push_back(tree.node(leaf));
  }
  return nodes;
}

}  // namespace

// Tasks of no sub-group anywhere in the region; each sub-group in its cheapest part of it.
bool EvictionSearch::PlaceGroups(const Ask& ask, const std::vector<NodeId>& nodes,
                                 const Region& region) {
  const GangSpec& spec = gang_->spec;
  std::vector<std::size_t> order;
  for (std::size_t t = 0; t < spec.tasks.size(); ++t) {
    if (ask.need[t] > 0) order.push_back(t);
  }
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return state_.shape(ask.shapes[a]).total_milli() > state_.shape(ask.shapes[b]).total_milli();
  });
  const auto place_all = [&](std::int32_t group, const std::vector<NodeId>& where) {
    return std::all_of(order.begin(), order.end(), [&](std::size_t t) {
      return spec.tasks[t].group != group ||
             PlaceMany(t, ask.shapes[t], ask.need[t], where);
    });
  };
  for (std::int32_t g = 0; std::cmp_less(g, spec.groups.size()); ++g) {
    const std::vector<Region> parts = context_->WidestRegions(g, region);
    const Mark mark = Now();
    std::optional<EvictionCost> cheapest;
    std::vector<NodeId> where;
    for (const Region& part : parts) {
      std::vector<NodeId> inside = NodesOf(context_->tree, part);
      if (place_all(g, inside) && (!cheapest || Total() < *cheapest)) {
        cheapest = Total();
        where = std::move(inside);
      }
      UndoTo(mark);
      if (parts.size() == 1) break;
    }
    if (!cheapest || !place_all(g, where)) return false;
  }
  return place_all(kWholeGang, nodes);
}

bool EvictionSearch::FindPlaces(const Ask& ask) {
  if (gang_ == nullptr) return PlaceOne(ask.shapes[0], state_.order());
  const Region cluster = context_->Cluster();
  // A level that is wished for by name is kept where victims make it possible at all.
  const LevelWish level = context_->LevelOf(kWholeGang);
  std::vector<std::vector<Region>> stages;
  if (level.preferred > kNodeTier && !context_->HasHeld(kWholeGang)) {
    for (const GangStage& stage : context_->Stages(kWholeGang, cluster)) {
      if (stage.tier < level.preferred) continue;
      std::vector<Region> regions;
      context_->ForEachRegion(stage, cluster, [&](const Region& r) { regions.push_back(r); });
      stages.push_back(std::move(regions));
    }
  }
  stages.push_back(context_->WidestRegions(kWholeGang, cluster));
  for (const std::vector<Region>& regions : stages) {
    const Mark mark = Now();
    std::optional<EvictionCost> cheapest;
    Region where;
    for (const Region& region : regions) {
      const bool found = PlaceGroups(ask, NodesOf(context_->tree, region), region);
      if (found && regions.size() == 1) return true;
      if (found && (!cheapest || Total() < *cheapest)) {
        cheapest = Total();
        where = region;
      }
      UndoTo(mark);
    }
    if (cheapest) return PlaceGroups(ask, NodesOf(context_->tree, where), where);
  }
  return false;
}

// --- quotas -------------------------------------------------------------------------------------

Amounts EvictionSearch::Wanted(const Ask& ask) const {
  if (places_.empty()) return ask.amounts;
  Amounts sum;
  for (const Place& place : places_) {
    sum += engine_.quotas_.Held(state_, ask.shapes[place.task], place.node, place.plan.cards,
                                 place.plan.numa.get());
  }
  return sum;
}

std::optional<QuotaRefusal> EvictionSearch::QuotaRefusalNow(const Ask& ask) const {
  if (!leaf_.valid()) return {};
  const QueueTree& tree = tree_ ? *tree_ : engine_.queues();
  return engine_.quotas_.Refusal(tree, leaf_, Wanted(ask), standing_.preemptible);
}

// Evicts the cheapest inside of the queue that is full, until the request may be charged.
bool EvictionSearch::MakeQuota(const Ask& ask) {
  while (const std::optional<QuotaRefusal> refusal = QuotaRefusalNow(ask)) {
    if (refusal->queue == QueueTree::kRoot) return false;
    const QueueId was = std::exchange(inside_, refusal->queue);
    std::vector<std::uint32_t> order;
    for (std::uint32_t i = 0; i < candidates_.size(); ++i) {
      Candidate& c = candidates_[i];
      const bool helps = !c.evicted && c.pod->queue.valid() &&
                         engine_.queues().IsUnder(c.pod->queue, inside_) &&
                         HeldOf(c)[refusal->resource] > 0;
      if (helps) order.push_back(i);
    }
    const auto rate = [&](std::uint32_t i) { return HeldOf(candidates_[i])[refusal->resource]; };
    std::stable_sort(order.begin(), order.end(), [&](std::uint32_t x, std::uint32_t y) {
      const Candidate& a = candidates_[x];
      const Candidate& b = candidates_[y];
      if ((a.gang >= 0) != (b.gang >= 0)) return b.gang >= 0;
      const Wide left = static_cast<Wide>(a.lost) * rate(y);
      const Wide right = static_cast<Wide>(b.lost) * rate(x);
      if (left != right) return left < right;
      if (rate(x) != rate(y)) return rate(x) > rate(y);
      return a.pod->uid < b.pod->uid;
    });
    const bool some = std::any_of(order.begin(), order.end(),
                                  [this](std::uint32_t i) { return Admit(i, NodeId()); });
    inside_ = was;
    if (!some) return false;
  }
  return true;
}

// --- all of it ----------------------------------------------------------------------------------

void EvictionSearch::Reprieve(const Ask& ask) {
  for (std::size_t g = groups_.size(); g-- > 0;) {
    Group& group = groups_[g];
    if (!MayComeBack(group)) continue;
    const Mark here = Now();
    bool fits = true;
    for (const std::uint32_t member : group.members) {
      const Allocation& a = *candidates_[member].pod;
      fits = fits && engine_.StillFits(a.shape, Placement{a.node, a.cards, 0,
                                                          state_.generation(a.node), a.numa});
      if (!fits) break;
      tx_.Take(a.node, a.shape, a.cards, a.numa);
    }
    tx_.Rollback(here.log);
    if (!fits) continue;
    ComeBack(group, NodeId());
    if (!tree_ || !QuotaRefusalNow(ask)) continue;
    LeaveAgain(group, here);
  }
}

// With a ratio above 1000: the reclaimer's part of its share, times the ratio, stays under what the
// victim's queue keeps of its own, where their paths part.
bool EvictionSearch::UnderRatio(const Ask& ask, QueueId victim) const {
  const QueueTree& tree = engine_.queues();
  const FairShares& shares = own_shares_ ? *own_shares_ : *shares_;
  QueueId its = victim;
  while (!tree.IsUnder(leaf_, tree.parent(its))) its = tree.parent(its);
  QueueId ours = leaf_;
  while (tree.parent(ours) != tree.parent(its)) ours = tree.parent(ours);
  for (std::size_t r = 0; r < ask.amounts.size(); ++r) {
    const ResourceId id(r);
    const std::int64_t share = shares.share(ours)[id];
    const std::int64_t its_share = shares.share(its)[id];
    if (ask.amounts[id] == 0 || reclaim_->taken(its)[id] == 0 || its_share == 0) continue;
    const std::int64_t has =
        tree.allocated(ours)[id] - reclaim_->taken(ours)[id] + ask.amounts[id];
    const std::int64_t keeps = tree.allocated(its)[id] - reclaim_->taken(its)[id];
    // has / share x ratio / 1000 <= keeps / its_share; amounts are below 2^40.
    if (static_cast<Wide>(has) * its_share * rules_.reclaim_ratio_milli >
        static_cast<Wide>(keeps) * share * 1000) {
      return false;
    }
  }
  return true;
}

bool EvictionSearch::Settled(const Ask& ask) const {
  if (!reclaim_) return true;
  bool any = false;
  for (const Group& group : groups_) {
    if (group.returned) continue;
    for (const std::uint32_t member : group.members) {
      const Candidate& c = candidates_[member];
      if (c.why != EvictionReason::kReclaim) continue;
      any = true;
      if (rules_.reclaim_ratio_milli > 1000 && !UnderRatio(ask, c.pod->queue)) return false;
    }
  }
  return !any || reclaim_->Settled();
}

void EvictionSearch::Keep() {
  Solution solution;
  solution.cost = Total();
  if (best_ && best_->cost <= solution.cost) return;
  for (const Group& group : groups_) {
    if (group.returned) continue;
    for (const std::uint32_t member : group.members) {
      const Candidate& c = candidates_[member];
      const Allocation& a = *c.pod;
      solution.victims.push_back(Victim{a.uid, a.node, a.standing->priority, a.standing->queue,
                                        a.gang, c.lost, c.why});
    }
  }
  solution.places = places_;
  best_ = std::move(solution);
}

bool EvictionSearch::Try(const Ask& ask, std::int32_t priority, bool break_budgets, Mode mode) {
  limit_ = priority;
  break_budgets_ = break_budgets;
  const Mark start = Now();
  bool found = true;
  if (mode == Mode::kQuotaFirst) found = MakeQuota(ask);
  if (mode == Mode::kInside) {
    const std::optional<QuotaRefusal> refusal = QuotaRefusalNow(ask);
    if (refusal && refusal->queue != QueueTree::kRoot) inside_ = refusal->queue;
  }
  found = found && FindPlaces(ask);
  inside_ = QueueId();
  found = found && (!leaf_.valid() || MakeQuota(ask));
  if (found) {
    Reprieve(ask);
    found = Settled(ask);
  }
  if (found) Keep();
  std::vector<std::uint32_t> victims;
  for (const Group& group : groups_) {
    if (!group.returned && !group.members.empty()) victims.push_back(group.members.front());
  }
  UndoTo(start);
  if (gang_ == nullptr || candidates_.size() * state_.order().size() > kSmall) return found;
  if (found) Shrink(ask, std::move(victims), start);
  if (mode == Mode::kRoom) TryGreed(ask, start);
  return found;
}

bool EvictionSearch::Refit(const Ask& ask, const std::vector<std::uint32_t>& victims,
                           const Mark& start) {
  UndoTo(start);
  for (const std::uint32_t index : victims) {
    if (!candidates_[index].evicted && !Admit(index, NodeId())) return false;
  }
  frozen_ = true;
  const bool fits = FindPlaces(ask);
  frozen_ = false;
  return fits && !QuotaRefusalNow(ask);
}

void EvictionSearch::Shrink(const Ask& ask, std::vector<std::uint32_t> victims,
                            const Mark& start) {
  for (std::size_t i = victims.size(); i-- > 0;) {
    std::vector<std::uint32_t> fewer = victims;
    fewer.erase(fewer.begin() + static_cast<std::ptrdiff_t>(i));
    if (Refit(ask, fewer, start)) victims = std::move(fewer);
  }
  if (Refit(ask, victims, start) && Settled(ask)) Keep();
  UndoTo(start);
}

// As kube-scheduler, over all nodes: the cheapest first until it fits, and what was not needed back.
void EvictionSearch::TryGreed(const Ask& ask, const Mark& start) {
  std::vector<std::uint32_t> order(candidates_.size());
  for (std::uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [this](std::uint32_t x, std::uint32_t y) {
    const Candidate& a = candidates_[x];
    const Candidate& b = candidates_[y];
    const std::int32_t p = a.pod->standing->priority;
    const std::int32_t q = b.pod->standing->priority;
    return std::tie(p, a.lost, a.pod->uid) < std::tie(q, b.lost, b.pod->uid);
  });
  std::vector<std::uint32_t> victims;
  for (const std::uint32_t index : order) {
    UndoTo(start);
    for (const std::uint32_t before : victims) {
      if (!candidates_[before].evicted) BASALT_CHECK(Admit(before, NodeId()));
    }
    if (candidates_[index].evicted || !Admit(index, NodeId())) continue;
    victims.push_back(index);
    if (!Refit(ask, victims, start)) continue;
    Shrink(ask, std::move(victims), start);
    break;
  }
  UndoTo(start);
}

void EvictionSearch::Solve(const Ask& ask) {
  PrepareShares(ask);
  tree_.reset();
  std::vector<Mode> modes = {Mode::kRoom};
  if (QuotaRefusalNow(ask)) {
    tree_ = engine_.queues();
    modes = {Mode::kInside, Mode::kQuotaFirst};
  }
  const auto try_all = [&](std::int32_t priority, bool break_budgets) {
    bool found = false;
    for (const Mode mode : modes) found = Try(ask, priority, break_budgets, mode) || found;
    return found;
  };
  for (const bool break_budgets : {false, true}) {
    if (break_budgets && (!rules_.break_budgets || budgets_.empty() || best_)) break;
    if (priorities_.size() <= kMostPriorities) {
      const auto enough = [&](std::int32_t p) { return try_all(p, break_budgets); };
      if (std::any_of(priorities_.begin(), priorities_.end(), enough)) break;
      continue;
    }
    if (!try_all(priorities_.back(), break_budgets)) continue;
    std::size_t low = 0;
    std::size_t high = priorities_.size() - 1;  // suffices
    while (low < high) {
      const std::size_t middle = (low + high) / 2;
      if (try_all(priorities_[middle], break_budgets)) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    break;
  }
  tree_.reset();
  reclaim_.reset();
}

Amounts EvictionSearch::Shortfall(const Ask& ask) const {
  // Cards are what pods and gangs with cards are short of, whichever way they are scattered; CPU
  // and memory where no node has enough.
  Amounts shortfall;
  const ResourceTable& names = engine_.queues().resources();
  const ResourceId cpu = *names.Find("cpu");
  const ResourceId memory = *names.Find("memory");
  bool cards = false;
  std::int64_t most_cpu = 0;
  std::int64_t most_memory = 0;
  for (const NodeId node : state_.order()) {
    if (!state_.hot(node).schedulable) continue;
    most_cpu = std::max<std::int64_t>(most_cpu, state_.hot(node).cpu_free);
    most_memory = std::max<std::int64_t>(most_memory, state_.hot(node).memory_free);
  }
  bool lacks_cpu = false;
  bool lacks_memory = false;
  for (std::size_t t = 0; t < ask.shapes.size(); ++t) {
    if (ask.need[t] == 0) continue;
    const Shape& shape = state_.shape(ask.shapes[t]);
    cards = cards || shape.gpus > 0;
    lacks_cpu = lacks_cpu || shape.cpu > most_cpu;
    lacks_memory = lacks_memory || shape.memory > most_memory;
  }
  const bool unclear = !cards && !lacks_cpu && !lacks_memory;
  for (std::size_t r = 0; r < ask.amounts.size(); ++r) {
    const ResourceId id(r);
    const bool is_short = id == cpu      ? lacks_cpu || unclear
                          : id == memory ? lacks_memory || unclear
                                         : true;
    if (is_short) shortfall.Set(id, ask.amounts[id]);
  }
  if (const auto refusal = QuotaRefusalNow(ask); refusal) {
    shortfall.Set(refusal->resource, ask.amounts[refusal->resource]);
  }
  return shortfall;
}

void EvictionSearch::PrepareShares(const Ask& ask) {
  reclaim_.reset();
  if (!leaf_.valid()) return;
  if (shares_ == nullptr) {
    QueueTree tree = engine_.queues();
    // Whoever keeps the jobs that wait has counted this one.
    if (tree.pending_jobs(leaf_) == 0) tree.AddPending(leaf_, ask.amounts);
    own_shares_.emplace();
    own_shares_->Divide(tree, DivisionOptions{}, nullptr);
  }
  reclaim_.emplace(engine_.queues(), own_shares_ ? *own_shares_ : *shares_,
                   ReclaimAsk{leaf_, ask.amounts, Shortfall(ask), standing_.preemptible});
}

// Where the queue counts by model, each model that all of it may go to by itself.
std::vector<EvictionSearch::Ask> EvictionSearch::Asks(const GangSpec& spec,
                                                      const std::vector<std::int32_t>& need) {
  engine_.quotas_.CatchUp(state_);
  Ask open;
  open.need = need;
  std::vector<ModelId> models;
  const auto add = [](Amounts* sum, const Amounts& one, std::int64_t count) {
    for (std::size_t r = 0; r < one.size(); ++r) {
      const ResourceId id(r);
      if (one[id] != 0) sum->Add(id, one[id] * count);
    }
  };
  for (std::size_t t = 0; t < spec.tasks.size(); ++t) {
    open.shapes.push_back(spec.tasks[t].shape);
    if (need[t] == 0) continue;
    add(&open.amounts, engine_.quotas_.Ask(state_, spec.tasks[t].shape), need[t]);
    for (const ModelId model : engine_.quotas_.ModelsFor(state_, spec.tasks[t].shape)) {
      if (std::find(models.begin(), models.end(), model) == models.end()) models.push_back(model);
    }
  }
  std::vector<Ask> asks;
  if (leaf_.valid() && models.size() > 1) {
    for (const ModelId model : models) {
      Ask ask;
      ask.need = need;
      for (std::size_t t = 0; t < spec.tasks.size(); ++t) {
        const ShapeId shape = spec.tasks[t].shape;
        ask.shapes.push_back(engine_.OnModels(shape, {model}));
        if (need[t] > 0) add(&ask.amounts, engine_.quotas_.Ask(state_, ask.shapes[t]), need[t]);
      }
      asks.push_back(std::move(ask));
    }
    if (gang_ == nullptr) return asks;
  }
  asks.push_back(std::move(open));
  return asks;
}

std::string EvictionSearch::WhyNot(const std::vector<Ask>& asks) {
  if (candidates_.empty()) {
    return "nobody may be asked to leave: all that runs has its priority or more, is not "
           "preemptible, is within its minimum runtime, or is of a queue that it may not reclaim "
           "from";
  }
  std::string text = fmt::format("{} pods may be asked to leave, and that is not enough: priority "
                                 "limits, budgets, gangs or quotas keep the rest",
                                 candidates_.size());
  if (!leaf_.valid()) return text;
  PrepareShares(asks.front());
  const QueueTree& tree = engine_.queues();
  const std::string share = reclaim_->WhyNot(tree.parent(leaf_));
  reclaim_.reset();
  return share.empty() ? text : text + "; " + share;
}

EvictionPlan EvictionSearch::ForPod(const Request& request) {
  seed_ = engine_.SeedOf(request.uid, request.attempt);
  Collect(request.uid);
  GangSpec spec;
  spec.tasks.push_back({"", request.shape, 1, 1, -1});
  const std::vector<Ask> asks = Asks(spec, {1});
  EvictionPlan plan;
  if (!candidates_.empty()) {
    for (const Ask& ask : asks) Solve(ask);
  }
  if (!best_) {
    plan.reason = WhyNot(asks);
    return plan;
  }
  plan.found = true;
  plan.victims = std::move(best_->victims);
  const Place& place = best_->places.front();
  plan.placement =
      Placement{place.node, place.plan.cards, 0, state_.generation(place.node), place.plan.numa};
  return plan;
}

Result<EvictionPlan> EvictionSearch::ForGang(const GangRequest& request) {
  gang_ = &request;
  const Gang* held = engine_.FindGang(request.uid);
  EvictionPlan plan;
  if (held != nullptr && (held->attempt != request.attempt || engine_.OpenLease(*held) != 0)) {
    plan.reason = "it holds places of another attempt, or a lease that is not confirmed";
    return plan;
  }
  engine_.domains_.CatchUp(state_);
  GangProblem problem = engine_.MakeProblem(request, held);
  std::fill(problem.extra.begin(), problem.extra.end(), 0);
  if (std::all_of(problem.need.begin(), problem.need.end(), [](auto n) { return n == 0; })) {
    plan.reason = "it has its min already";
    return plan;
  }
  std::vector<const SlotIndex::Slots*> slots;
  for (const GangTask& task : request.spec.tasks) {
    slots.push_back(&engine_.slots_.For(state_, engine_.domains_, task.shape));
  }
  const GangContext context(state_, engine_.domains_, slots, problem);
  problem_ = &problem;
  context_ = &context;
  Collect(request.uid);
  const std::vector<Ask> asks = Asks(request.spec, problem.need);
  if (!candidates_.empty()) {
    for (const Ask& ask : asks) Solve(ask);
  }
  if (!best_) {
    plan.reason = WhyNot(asks);
    return plan;
  }
  GangAnswer answer;
  const DomainTree& tree = engine_.domains_;
  std::stable_sort(best_->places.begin(), best_->places.end(),
                   [&](const Place& a, const Place& b) {
                     return a.task != b.task ? a.task < b.task : tree.leaf(a.node) < tree.leaf(b.node);
                   });
  for (Place& p : best_->places) {
    answer.places.push_back({p.task, p.node, p.plan.cards, std::move(p.plan.numa)});
  }
  plan.gang.held = static_cast<std::int32_t>(problem.held.size());
  if (Status ok = engine_.NameMembers(request, held, &answer, &plan.gang); !ok) {
    return tl::unexpected<Error>(ok.error());
  }
  plan.gang.kind = OutcomeKind::kPlaced;
  engine_.NameDomain(problem, &plan.gang);
  plan.found = true;
  plan.victims = std::move(best_->victims);
  return plan;
}

}  // namespace basalt
