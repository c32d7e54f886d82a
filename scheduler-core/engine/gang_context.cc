#include "scheduler-core/engine/gang_context.h"

#include <fmt/format.h>

#include <utility>

namespace basalt {

GangContext::GangContext(const ClusterState& the_state, const DomainTree& the_tree,
                         const std::vector<const SlotIndex::Slots*>& task_slots,
                         const GangProblem& the_problem)
    : state(the_state), tree(the_tree), problem(the_problem), spec(*the_problem.spec) {
  group_tasks.resize(spec.groups.size());
  for (std::size_t t = 0; t < spec.tasks.size(); ++t) {
    const GangTask& task = spec.tasks[t];
    const NodeMask* mask = problem.nodes.empty() ? nullptr : problem.nodes[t].get();
    std::size_t s = 0;
    while (s < shapes.size() && (shapes[s] != task.shape || masks[s] != mask)) ++s;
    if (s == shapes.size()) {
      shapes.push_back(task.shape);
      masks.push_back(mask);
      slots.push_back(mask == nullptr ? task_slots[t] : Masked(*task_slots[t], *mask));
      need.push_back(0);
      planned = planned || state.any_aligned() || state.shape(task.shape).planned;
    }
    shape_of.push_back(s);
    need[s] += problem.need[t];
    if (task.group >= 0) group_tasks[static_cast<std::size_t>(task.group)].push_back(t);
  }
  anchors_.resize(spec.groups.size() + 1);
  const auto join = [this](DomainId a, DomainId b) { return a.valid() ? tree.Join(a, b) : b; };
  const auto add = [&](Anchor& a, NodeId node) {
    a.same_node = !a.held || (a.same_node && a.node == node);
    a.held = true;
    a.node = node;
    a.join = join(a.join, tree.innermost(node));
    a.homes = a.join;
  };
  for (const GangProblem::Held& held : problem.held) {
    add(anchors_[0], held.node);
    const std::int32_t group = spec.tasks[held.task].group;
    if (group >= 0) add(anchors_[static_cast<std::size_t>(group + 1)], held.node);
  }
  for (const GangProblem::Home& home : problem.homes) {
    const std::int32_t group = spec.tasks[home.task].group;
    anchors_[0].homes = join(anchors_[0].homes, home.domain);
    if (group < 0) continue;
    Anchor& a = anchors_[static_cast<std::size_t>(group + 1)];
    if (a.held) a.homes = join(a.homes, home.domain);
  }
}

const SlotIndex::Slots* GangContext::Masked(const SlotIndex::Slots& all, const NodeMask& mask) {
  auto some = std::make_shared<SlotIndex::Slots>(all);
  for (std::uint32_t leaf = 0; leaf < tree.leaves(); ++leaf) {
    if (!mask.Allows(tree.node(leaf))) some->copies[leaf] = 0;
  }
  some->SumUp(tree);
  masked_.push_back(std::move(some));
  return masked_.back().get();
}

LevelWish GangContext::LevelOf(std::int32_t group) const {
  LevelWish level = group < 0 ? spec.level : spec.groups[static_cast<std::size_t>(group)].level;
  // Nobody who spreads means one node, unless that is required.
  if (problem.layout == GangLayout::kSpread && level.preferred == kNodeTier) {
    level.preferred = std::min(1, level.required);
  }
  return level;
}

std::vector<GangStage> GangContext::Stages(std::int32_t group, const Region& within) const {
  std::vector<GangStage> stages;
  const LevelWish level = LevelOf(group);
  const Anchor& a = anchor(group);
  if (a.held) {
    // Only what holds the members that are there: from the narrowest on, but first from where the
    // lost members were too.
    if (a.same_node && within.begin <= tree.leaf(a.node) && tree.leaf(a.node) < within.end) {
      stages.push_back({kNodeTier, true, Region::OfLeaf(tree.leaf(a.node))});
    }
    std::size_t narrower = 0;
    const bool homes_wider = a.homes != a.join || a.same_node;
    for (DomainId at = a.join; at.valid(); at = tree.domain(at).parent) {
      const Region region = Region::OfDomain(tree, at);
      if (region.tier > level.required || region.begin < within.begin || region.end > within.end) {
        break;
      }
      if (at == a.homes && homes_wider && !problem.homes.empty()) narrower = stages.size();
      stages.push_back({region.tier, true, region});
    }
    std::rotate(stages.begin(), stages.begin() + static_cast<std::ptrdiff_t>(narrower),
                stages.end());
    return stages;
  }
  const int widest = std::min(level.required, within.domain.valid() ? within.tier : kNodeTier);
  const auto add = [&](int tier) {
    if (tier == kNodeTier || !tree.OfTier(tier).empty()) stages.push_back({tier, false, {}});
  };
  for (int tier = level.preferred; tier <= widest; ++tier) add(tier);
  // Narrower ones last: a node that names no rack is still a place by itself.
  for (int tier = std::min(level.preferred, widest + 1) - 1; tier >= 0; --tier) add(tier);
  return stages;
}

void GangContext::AddWidest(DomainId at, int required, std::vector<Region>* out) const {
  const Region region = Region::OfDomain(tree, at);
  if (region.tier <= required) {
    out->push_back(region);
    return;
  }
  const Domain& domain = tree.domain(at);
  for (std::uint32_t leaf = domain.begin; leaf < domain.own_end; ++leaf) {
    out->push_back(Region::OfLeaf(leaf));
  }
  for (const DomainId child : domain.children) AddWidest(child, required, out);
}

std::vector<Region> GangContext::WidestRegions(std::int32_t group, const Region& within) const {
  std::vector<Region> out;
  if (anchor(group).held) {
    const std::vector<GangStage> stages = Stages(group, within);
    const auto wider = [](const GangStage& a, const GangStage& b) { return a.tier < b.tier; };
    const auto widest = std::max_element(stages.begin(), stages.end(), wider);
    if (widest != stages.end()) out.push_back(widest->one);
  } else if (!within.domain.valid()) {
    out.push_back(within);
  } else {
    AddWidest(within.domain, LevelOf(group).required, &out);
  }
  return out;
}

std::string GangContext::RegionName(const Region& region) const {
  if (!region.domain.valid()) return "node " + state.name(tree.node(region.begin));
  if (region.domain == tree.root()) return "the cluster";
  return tree.TierName(region.tier) + " " + tree.PathName(region.domain);
}

std::string GangContext::TaskName(std::size_t task) const {
  const std::string& name = spec.tasks[task].name;
  return name.empty() ? fmt::format("task {}", task) : "task " + name;
}

void PlanPods(const ClusterState& state, const Shape& shape, std::int32_t count,
              const GangProblem& problem, NodeDraft* draft, std::vector<CardPlan>* plans) {
  const NodeId node = draft->node();
  const bool planned = state.IsPlanned(shape, node);
  // Rules that know the wiring choose the cards of all pods together: they talk to each other.
  CardSet together;
  const Machine* machine = state.machine(node);
  if (count > 1 && problem.card_rule >= CardRule::kTopology && machine != nullptr && shape.whole &&
      !planned) {
    const CardSet fitting = draft->FittingCards(shape);
    CardWish all = WishOf(shape);
    all.gpus *= count;
    if (fitting.size() >= all.gpus) {
      together = PickWired(problem.card_rule, all, fitting, *machine);
    }
  }
  // A set of cards may leave the others less room than another set would.
  const bool sets_differ = planned || (shape.gpus > 1 && (!shape.whole || state.hot(node).complex));
  int left = sets_differ ? draft->Copies(shape, 65'535) : 0;
  for (std::int32_t i = 0; i < count; ++i) {
    CardPlan plan;
    if (shape.gpus > 0 && together.size() >= shape.gpus) {
      plan.cards = PickWired(problem.card_rule, WishOf(shape), together, *machine);
      plan.fits = plan.cards.size() == shape.gpus;
      together = CardSet(together.bits() & ~plan.cards.bits());
    } else {
      plan = draft->PlanCards(shape, problem.card_rule, problem.seed + static_cast<unsigned>(i));
    }
    if (!plan.fits) return;
    if (--left > 0) {
      NodeDraft trial = *draft;
      trial.Take(shape, plan);
      if (trial.Copies(shape, left) < left) {
        plan = planned ? draft->PlanCards(shape, CardRule::kTopology, 0)  // as Copies counted
                       : draft->PlanForCopies(shape);
      }
    }
    draft->Take(shape, plan);
    plans->push_back(std::move(plan));
  }
}

}  // namespace basalt
