// The nodes that cost least to make room on.
#include <algorithm>
#include <queue>
#include <utility>

#include "scheduler-core/base/check.h"
#include "scheduler-core/engine/eviction_search.h"

namespace basalt {
namespace {

constexpr std::size_t kMostExact = 12;             // candidates of a node that are searched exactly
constexpr std::uint64_t kMostExactSteps = 20'000;  // of one request

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
  for (const auto part :
       {&EvictionCost::budgets, &EvictionCost::gangs, &EvictionCost::lost, &EvictionCost::count}) {
    const bool is_less = less(a.*part, b.*part, &decided);
    if (decided) return is_less;
  }
  return false;
}

std::vector<NodeId> NodesOf(const DomainTree& tree, const Region& region) {
  std::vector<NodeId> nodes;
  for (std::uint32_t leaf = region.begin; leaf < region.end; ++leaf) {
    nodes.push_back(tree.node(leaf));
  }
  return nodes;
}

}  // namespace

// --- places -------------------------------------------------------------------------------------

std::int32_t EvictionSearch::CopiesOn(ShapeId id, NodeId node, std::int32_t most) const {
  const ShapeEntry& entry = state_.shape_entry(id);
  if (!state_.Admits(entry, node)) return 0;
  if (most == 1) return state_.Fits(entry, node) ? 1 : 0;
  NodeDraft draft;
  draft.Load(state_, node);
  return draft.Copies(entry.shape, most);
}

bool EvictionSearch::MayPlaceOn(std::size_t task, ShapeId shape, NodeId node) const {
  if (!nodes_.empty() && nodes_[task] != nullptr && !nodes_[task]->Allows(node)) return false;
  return state_.Admits(state_.shape_entry(shape), node) && state_.FitsEmpty(shape, node);
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

void EvictionSearch::Exact(ShapeId shape, NodeId node, const std::vector<std::uint32_t>& candidates,
                           std::size_t next, const Mark& start, std::optional<Offer>* best) {
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
    if (MayPlaceOn(0, shape, node)) order.push_back({Bound(shape, node), node});
  }
  std::stable_sort(order.begin(), order.end(),
                   [](const Bounded& a, const Bounded& b) { return a.bound.lost < b.bound.lost; });
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
    if (!state_.hot(nodes[i]).schedulable || !MayPlaceOn(task, shape, nodes[i])) continue;
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
      return spec.tasks[t].group != group || PlaceMany(t, ask.shapes[t], ask.need[t], where);
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

}  // namespace basalt
