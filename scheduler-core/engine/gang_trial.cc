#include "scheduler-core/engine/gang_trial.h"

#include <algorithm>
#include <array>
#include <utility>

namespace basalt {
namespace {

constexpr std::size_t kMostSearchedMembers = 64;
constexpr std::size_t kMostChoices = 256;
constexpr int kMostCopies = 65'535;

bool Larger(const Shape& a, const Shape& b) {
  if (a.total_milli() != b.total_milli()) return a.total_milli() > b.total_milli();
  if (a.cpu != b.cpu) return a.cpu > b.cpu;
  return a.memory > b.memory;
}

}  // namespace

GangTrial::GangTrial(const GangContext& context, const GangSearchLimits& limits,
                     const Region& region)
    : c_(context), region_(region), need_(context.problem.need), extra_(context.problem.extra) {
  slots_.reserve(c_.slots.size());
  for (const SlotIndex::Slots* slots : c_.slots) slots_.push_back(*slots);
  draft_of_.assign(region.end - region.begin, -1);
  std::int64_t members = 0;
  for (const std::int32_t n : need_) members += n;
  something_needed_ = members > 0;
  for (std::size_t t = 0; t < c_.spec.tasks.size(); ++t) {
    picks_uuids_ = picks_uuids_ || ShapeOf(t).picks_uuids;
  }
  // Trying planned shapes is dear, and more than all members need not be known.
  most_copies_ = c_.planned ? std::min(c_.spec.max_members(), kMostCopies) : kMostCopies;
  budget_ = limits.steps + limits.steps_per_member * static_cast<std::uint64_t>(members);
}

bool GangTrial::Step() {
  exhausted_ = exhausted_ || ++steps_ > budget_;
  return !exhausted_;
}

bool GangTrial::Solve() {
  if (!c_.problem.homes.empty()) {
    GoHome();
    if (SolveAll()) return true;
    UndoTo(0);  // going home may be what stands in the way
    need_ = c_.problem.need;
    extra_ = c_.problem.extra;
  }
  return SolveAll();
}

bool GangTrial::SolveAll() {
  MakeUnits();
  const std::size_t start = places_.size();
  // Half of what is left is for each way.
  const std::uint64_t whole = budget_;
  budget_ = steps_ + (whole - std::min(steps_, whole)) / 2;
  exhausted_ = false;
  bool solved = SolveUnit(0);
  budget_ = whole;
  exhausted_ = false;
  if (!solved) {
    UndoTo(start);
    solved = MemberByMember();
  }
  if (solved) AddExtras();
  return solved;
}

std::vector<GangAnswer::Place> GangTrial::TakePlaces() {
  std::stable_sort(places_.begin(), places_.end(), [](const Put& a, const Put& b) {
    return a.task != b.task ? a.task < b.task : a.leaf < b.leaf;
  });
  std::vector<GangAnswer::Place> out;
  out.reserve(places_.size());
  for (Put& p : places_) {
    out.push_back({p.task, c_.tree.node(p.leaf), p.plan.cards, std::move(p.plan.numa)});
  }
  return out;
}

NodeDraft& GangTrial::DraftOf(std::uint32_t leaf) {
  std::int32_t& at = draft_of_[leaf - region_.begin];
  if (at < 0) {
    at = static_cast<std::int32_t>(drafts_.size());
    drafts_.emplace_back().Load(c_.state, c_.tree.node(leaf));
  }
  return drafts_[static_cast<std::size_t>(at)];
}

void GangTrial::Recount(std::uint32_t leaf, const NodeDraft& draft) {
  for (std::size_t s = 0; s < slots_.size(); ++s) {
    const ShapeEntry& entry = c_.state.shape_entry(c_.shapes[s]);
    const NodeId node = c_.tree.node(leaf);
    const bool admits =
        c_.state.Admits(entry, node) && (c_.masks[s] == nullptr || c_.masks[s]->Allows(node));
    slots_[s].Set(c_.tree, leaf, admits ? draft.Copies(entry.shape, most_copies_) : 0);
  }
}

bool GangTrial::PlaceCount(std::size_t task, std::int64_t count, const Region& region) {
  if (count == 0) return true;
  if (PlacesIn(SlotsOf(task), region) < count) return false;
  std::vector<CardPlan> plans;
  for (const LeafCount& part :
       DivideMembers(c_.tree, SlotsOf(task), region, count, c_.problem.layout)) {
    NodeDraft& draft = DraftOf(part.leaf);
    plans.clear();
    PlanPods(c_.state, ShapeOf(task), part.count, c_.problem, &draft, &plans);
    steps_ += static_cast<std::uint64_t>(part.count);
    const bool all = std::cmp_equal(plans.size(), part.count);
    for (CardPlan& plan : plans) places_.push_back(Put{task, part.leaf, std::move(plan)});
    Recount(part.leaf, draft);
    if (!all) return false;
  }
  return true;
}

void GangTrial::UndoTo(std::size_t size) {
  std::vector<std::uint32_t> touched;
  for (std::size_t i = size; i < places_.size(); ++i) touched.push_back(places_[i].leaf);
  places_.resize(size);
  std::sort(touched.begin(), touched.end());
  touched.erase(std::unique(touched.begin(), touched.end()), touched.end());
  for (const std::uint32_t leaf : touched) DraftOf(leaf).Load(c_.state, c_.tree.node(leaf));
  for (const Put& put : places_) {
    if (std::binary_search(touched.begin(), touched.end(), put.leaf)) {
      DraftOf(put.leaf).Take(ShapeOf(put.task), put.plan);
    }
  }
  for (const std::uint32_t leaf : touched) Recount(leaf, DraftOf(leaf));
}

// Lost members go first, each as near to where it was as its levels allow.
void GangTrial::GoHome() {
  for (const GangProblem::Home& home : c_.problem.homes) {
    std::int32_t& need = need_[home.task];
    std::int32_t& extra = extra_[home.task];
    if (need == 0 && extra == 0) continue;
    Region within = region_;
    if (const std::int32_t group = c_.spec.tasks[home.task].group; group >= 0) {
      const std::vector<Region> widest = c_.WidestRegions(group, region_);
      if (!c_.HasHeld(group) || widest.empty()) continue;  // it has no place yet; all go together
      within = widest.front();
    }
    bool placed = false;
    for (DomainId at = home.domain; at.valid() && !placed; at = c_.tree.domain(at).parent) {
      Region near = Region::OfDomain(c_.tree, at);
      if (near.begin <= within.begin && near.end >= within.end) near = within;
      if (near.begin < within.begin || near.end > within.end) break;
      placed = PlacesIn(SlotsOf(home.task), near) > 0 && PlaceCount(home.task, 1, near);
      if (near.begin == within.begin && near.end == within.end) break;
    }
    if (!placed) continue;  // the general search may still find it a place
    --(need > 0 ? need : extra);
  }
}

void GangTrial::MakeUnits() {
  units_.clear();
  for (std::int32_t g = kWholeGang; std::cmp_less(g, c_.spec.groups.size()); ++g) {
    Unit unit;
    unit.group = g;
    unit.level = g < 0 ? LevelWish{kAnyTier, kAnyTier} : c_.LevelOf(g);
    bool any = false;
    for (std::size_t t = 0; t < c_.spec.tasks.size(); ++t) {
      if (c_.spec.tasks[t].group != g) continue;
      unit.tasks.push_back(t);
      any = any || need_[t] > 0 || extra_[t] > 0;
    }
    if (!any) continue;
    std::stable_sort(unit.tasks.begin(), unit.tasks.end(), [this](std::size_t a, std::size_t b) {
      return Larger(ShapeOf(a), ShapeOf(b));
    });
    unit.region = region_;
    units_.push_back(std::move(unit));
  }
  // The narrowest levels are the hardest to meet, then the largest parts; no level comes last.
  // Those that need nothing take what the others leave.
  std::stable_sort(units_.begin(), units_.end(), [this](const Unit& a, const Unit& b) {
    if (Optional(a) != Optional(b)) return Optional(b);
    if (a.level.required != b.level.required) return a.level.required < b.level.required;
    return MilliOf(a) > MilliOf(b);
  });
}

bool GangTrial::Optional(const Unit& unit) const {
  return std::all_of(unit.tasks.begin(), unit.tasks.end(),
                     [this](std::size_t t) { return need_[t] == 0; });
}

std::int64_t GangTrial::MilliOf(const Unit& unit) const {
  std::int64_t sum = 0;
  for (const std::size_t t : unit.tasks) sum += std::int64_t{need_[t]} * ShapeOf(t).total_milli();
  return sum;
}

bool GangTrial::SolveUnit(std::size_t u) {
  if (u == units_.size()) return true;
  Unit& unit = units_[u];
  std::vector<GangStage> stages;
  if (unit.group < 0) {
    stages.push_back({region_.tier, true, region_});
  } else {
    stages = c_.Stages(unit.group, region_);
  }
  struct Candidate {
    bool lacks;           // it does not hold all that is wanted
    std::int64_t places;  // the tightest first; of those that lack, what lacks least
    Region region;
  };
  std::vector<Candidate> fitting;
  const auto collect = [&](const Region& region) {
    for (const std::size_t t : unit.tasks) {
      if (need_[t] > 0 && PlacesIn(SlotsOf(t), region) < need_[t]) return;
    }
    Candidate candidate{false, 0, region};
    std::int64_t places = 0;
    std::int64_t used = 0;
    for (const std::size_t t : unit.tasks) {
      const std::int64_t want = need_[t] + extra_[t];
      const std::int64_t here = PlacesIn(SlotsOf(t), region);
      candidate.lacks = candidate.lacks || (extra_[t] > 0 && here < want);
      places += here;
      used += std::min(here, want);
    }
    candidate.places = candidate.lacks ? -used : places;
    fitting.push_back(candidate);
  };
  const bool optional = Optional(unit);
  unit.region = Region{DomainId(), region_.begin, region_.begin, kNodeTier};  // nowhere
  for (const GangStage& stage : stages) {
    fitting.clear();
    c_.ForEachRegion(stage, region_, collect);
    std::stable_sort(fitting.begin(), fitting.end(), [](const Candidate& a, const Candidate& b) {
      return a.lacks != b.lacks ? b.lacks : a.places < b.places;
    });
    if (optional) {
      std::erase_if(fitting, [](const Candidate& candidate) { return candidate.places == 0; });
      if (fitting.empty()) continue;
      unit.region = fitting.front().region;
      break;
    }
    for (const Candidate& candidate : fitting) {
      if (!Step()) return false;
      const std::size_t checkpoint = places_.size();
      bool ok = true;
      for (const std::size_t t : unit.tasks) ok = ok && PlaceCount(t, need_[t], candidate.region);
      if (ok) {
        unit.region = candidate.region;
        if (SolveUnit(u + 1)) return true;
      }
      UndoTo(checkpoint);
      if (exhausted_) return false;
    }
  }
  return optional && SolveUnit(u + 1);
}

void GangTrial::AddExtras() {
  for (const Unit& unit : units_) {
    if (unit.region.begin == unit.region.end) continue;
    for (const std::size_t t : unit.tasks) {
      PlaceCount(t, std::min<std::int64_t>(extra_[t], PlacesIn(SlotsOf(t), unit.region)),
                 unit.region);
    }
  }
}

bool GangTrial::MemberByMember() {
  members_.clear();
  for (const Unit& unit : units_) {
    for (const std::size_t t : unit.tasks)
      members_.insert(members_.end(), static_cast<std::size_t>(need_[t]), t);
  }
  if (members_.size() > kMostSearchedMembers) {
    exhausted_ = true;
    return false;
  }
  rest_.assign(members_.size() + 1, std::vector<std::int64_t>(slots_.size(), 0));
  for (std::size_t k = members_.size(); k-- > 0;) {
    rest_[k] = rest_[k + 1];
    ++rest_[k][c_.shape_of[members_[k]]];
  }
  std::vector<Reach> reach(c_.spec.groups.size());
  const auto extend = [&](std::size_t task, std::uint32_t leaf) {
    const std::int32_t g = c_.spec.tasks[task].group;
    if (g >= 0) Extend(&reach[static_cast<std::size_t>(g)], leaf);
  };
  for (const GangProblem::Held& held : c_.problem.held) {
    extend(held.task, c_.tree.leaf(held.node));
  }
  for (const Put& put : places_) extend(put.task, put.leaf);
  cut_ = false;
  if (!NextMember(0, region_.begin, reach)) {
    exhausted_ = exhausted_ || cut_;
    return false;
  }
  // Extras stay with what the sub-group got.
  for (const Put& put : places_) extend(put.task, put.leaf);
  for (Unit& unit : units_) {
    if (unit.group < 0) continue;
    const Reach& r = reach[static_cast<std::size_t>(unit.group)];
    unit.region = r.leaf >= 0 ? Region::OfLeaf(static_cast<std::uint32_t>(r.leaf))
                              : Region::OfDomain(c_.tree, r.join.valid() ? r.join : c_.tree.root());
    if (r.leaf == -1) unit.region = Region{DomainId(), region_.begin, region_.begin, kNodeTier};
  }
  return true;
}

void GangTrial::Extend(Reach* reach, std::uint32_t leaf) const {
  const DomainId inner = c_.tree.innermost(c_.tree.node(leaf));
  reach->join = reach->join.valid() ? c_.tree.Join(reach->join, inner) : inner;
  reach->leaf = reach->leaf == -1 || reach->leaf == leaf ? std::int64_t{leaf} : -2;
}

bool GangTrial::RestFits(std::size_t k) {
  for (std::size_t s = 0; s < slots_.size(); ++s) {
    if (rest_[k][s] > 0 && PlacesIn(slots_[s], region_) < rest_[k][s]) return false;
  }
  return true;
}

// A node that nobody can tell from one that was tried for the same member is the same choice.
bool GangTrial::TriedAlike(std::uint32_t leaf, const std::vector<std::uint32_t>& tried) {
  if (picks_uuids_) return false;
  if (c_.planned) return false;
  const NodeId node = c_.tree.node(leaf);
  for (const std::uint32_t other : tried) {
    const NodeId that = c_.tree.node(other);
    if (c_.state.node_class(node) != c_.state.node_class(that)) continue;
    const bool masked_alike = std::all_of(c_.masks.begin(), c_.masks.end(), [&](const NodeMask* m) {
      return m == nullptr || m->Allows(node) == m->Allows(that);
    });
    if (!masked_alike) continue;
    if (!c_.spec.groups.empty()) {
      // Members of sub-groups that are on either node tell them apart.
      if (c_.tree.innermost(node) != c_.tree.innermost(that)) continue;
      const auto used = [&](const Put& p) { return p.leaf == leaf || p.leaf == other; };
      if (std::any_of(places_.begin(), places_.end(), used)) continue;
      const auto holds = [&](const GangProblem::Held& h) {
        return h.node == node || h.node == that;
      };
      if (std::any_of(c_.problem.held.begin(), c_.problem.held.end(), holds)) continue;
    }
    if (DraftOf(leaf).SameAmounts(DraftOf(other))) return true;
  }
  return false;
}

bool GangTrial::NextMember(std::size_t k, std::uint32_t from, const std::vector<Reach>& reach) {
  if (k == members_.size()) return true;
  if (!RestFits(k)) return false;
  const std::size_t task = members_[k];
  const std::int32_t group = c_.spec.tasks[task].group;
  const bool again = k > 0 && members_[k - 1] == task;  // alike: in node order
  std::vector<std::uint32_t> tried;
  for (std::uint32_t leaf = again ? from : region_.begin; leaf < region_.end; ++leaf) {
    if (SlotsOf(task).copies[leaf] == 0) continue;
    std::vector<Reach> now = reach;
    if (group >= 0) {
      Reach& r = now[static_cast<std::size_t>(group)];
      Extend(&r, leaf);
      const int tier = r.leaf >= 0 ? kNodeTier : c_.tree.domain(r.join).tier;
      if (tier > c_.spec.groups[static_cast<std::size_t>(group)].level.required) continue;
    }
    if (TriedAlike(leaf, tried)) continue;
    tried.push_back(leaf);
    for (const CardPlan& plan : Choices(task, leaf)) {
      if (!Step()) return false;
      NodeDraft& draft = DraftOf(leaf);
      draft.Take(ShapeOf(task), plan);
      places_.push_back(Put{task, leaf, plan});
      Recount(leaf, draft);
      if (NextMember(k + 1, leaf, now)) return true;
      UndoTo(places_.size() - 1);
      if (exhausted_) return false;
    }
  }
  return false;
}

// Every set of cards, but one of those that differ only in cards that are alike. A planned shape
// has one plan, which is no proof that there is no other (GangContext::planned).
std::vector<CardPlan> GangTrial::Choices(std::size_t task, std::uint32_t leaf) {
  const Shape& shape = ShapeOf(task);
  const NodeDraft& draft = DraftOf(leaf);
  std::vector<CardPlan> choices;
  if (shape.gpus == 0 || c_.state.IsPlanned(shape, draft.node())) {
    CardPlan plan = draft.PlanCards(shape, c_.problem.card_rule, c_.problem.seed);
    if (plan.fits) choices.push_back(std::move(plan));
    return choices;
  }
  std::vector<std::vector<int>> kinds;
  for (const int card : draft.FittingCards(shape)) {
    const auto kind = std::find_if(kinds.begin(), kinds.end(), [&](const std::vector<int>& k) {
      return !picks_uuids_ && draft.SameCards(k.front(), card);
    });
    if (kind == kinds.end()) {
      kinds.push_back({card});
    } else {
      kind->push_back(card);
    }
  }
  CardPlan plan;
  plan.fits = true;
  const auto choose = [&](const auto& self, std::size_t kind, int left) -> void {
    if (left == 0) {
      choices.push_back(plan);
      return;
    }
    cut_ = cut_ || choices.size() >= kMostChoices;
    if (kind == kinds.size() || cut_) return;
    const CardSet before = plan.cards;
    self(self, kind + 1, left);
    for (int n = 0; std::cmp_less(n, kinds[kind].size()) && n < left;) {
      plan.cards.Add(kinds[kind][static_cast<std::size_t>(n++)]);
      self(self, kind + 1, left - n);
    }
    plan.cards = before;
  };
  choose(choose, 0, shape.gpus);
  return choices;
}

}  // namespace basalt
