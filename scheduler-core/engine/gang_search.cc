#include "scheduler-core/engine/gang_search.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>
#include <utility>

#include "scheduler-core/base/check.h"
#include "scheduler-core/engine/gang_context.h"
#include "scheduler-core/engine/gang_divide.h"
#include "scheduler-core/engine/gang_trial.h"

namespace basalt {
namespace {

using Slots = SlotIndex::Slots;

class Search {
 public:
  Search(const ClusterState& state, const DomainTree& tree, const std::vector<const Slots*>& slots,
         const GangProblem& problem, const GangSearchLimits& limits)
      : c_(state, tree, slots, problem), limits_(limits) {
    for (std::size_t s = 0; s < c_.shapes.size(); ++s) {
      const Shape& shape = c_.state.shape(c_.shapes[s]);
      if (shape.whole) needed_.cards += c_.need[s] * shape.gpus;
      needed_.milli += c_.need[s] * shape.total_milli();
      needed_.cpu += c_.need[s] * shape.cpu;
      needed_.memory += c_.need[s] * shape.memory;
    }
  }

  GangAnswer Run(Executor* executor);
  // `slots` are of the empty cluster.
  bool PossibleInSomeRegion(std::string* reason) const;

 private:
  struct Resources {
    std::int64_t cards = 0, milli = 0, cpu = 0, memory = 0;
  };
  // Sums over the leaves before each, for gangs of several shapes.
  void SumResources();
  // What a region lacks, by counting; empty: counting does not show that it lacks anything.
  bool Lacks(const Region& region, std::string* words) const;
  bool LacksPlaces(const Region& region, std::string* words) const;
  bool LacksResources(const Region& region, std::string* words) const;
  bool LacksForGroups(const Region& region, std::string* words) const;
  std::string Certificate(const std::vector<Region>& regions) const;
  bool Uniform(const std::vector<GangStage>& stages, GangAnswer* answer) const;
  bool TrySome(const std::vector<Region>& regions, Executor* executor, GangAnswer* answer,
               bool* finished) const;

  const GangContext c_;
  const GangSearchLimits limits_;
  std::vector<Resources> before_;
  Resources needed_;
};

void Search::SumResources() {
  before_.resize(c_.tree.leaves() + 1);
  for (std::uint32_t leaf = 0; leaf < c_.tree.leaves(); ++leaf) {
    const NodeId node = c_.tree.node(leaf);
    const NodeHot& hot = c_.state.hot(node);
    Resources r = before_[leaf];
    const bool may_use = std::any_of(c_.masks.begin(), c_.masks.end(), [node](const NodeMask* m) {
      return m == nullptr || m->Allows(node);
    });
    if (hot.schedulable && may_use) {
      if (hot.complex) {  // a card may be more than one
        for (const std::int16_t free : c_.state.CardFree(node)) r.cards += free / kWholeCard;
      } else {
        r.cards += hot.full_cards;
      }
      r.milli += hot.gpu_free;
      r.cpu += std::max(hot.cpu_free, 0);
      r.memory += std::max(hot.memory_free, 0);
    }
    before_[leaf + 1] = r;
  }
}

bool Search::LacksPlaces(const Region& region, std::string* words) const {
  for (std::size_t t = 0; t < c_.spec.tasks.size(); ++t) {
    const std::size_t s = c_.shape_of[t];
    if (c_.need[s] == 0) continue;
    const std::int64_t places = PlacesIn(*c_.slots[s], region);
    if (places >= c_.need[s]) continue;
    if (words != nullptr) {
      *words = fmt::format("{} has {} of {} places for {} ({})", c_.RegionName(region), places,
                           c_.need[s], c_.TaskName(t), Describe(c_.state.shape(c_.shapes[s]).spec));
    }
    return true;
  }
  return false;
}

bool Search::LacksResources(const Region& region, std::string* words) const {
  if (before_.empty()) return false;
  const Resources& a = before_[region.begin];
  const Resources& b = before_[region.end];
  struct Line {
    std::string_view what;
    std::int64_t free, needed;
  };
  for (const Line& line : std::array<Line, 4>{{{"idle cards", b.cards - a.cards, needed_.cards},
                                               {"milli of cards", b.milli - a.milli, needed_.milli},
                                               {"milli CPU", b.cpu - a.cpu, needed_.cpu},
                                               {"MiB", b.memory - a.memory, needed_.memory}}}) {
    if (line.free >= line.needed) continue;
    if (words != nullptr) {
      *words = fmt::format("{} has {} {} free, all tasks together need {}", c_.RegionName(region),
                           line.free, line.what, line.needed);
    }
    return true;
  }
  return false;
}

// Each sub-group needs a domain of its own, and those of one shape must not stand in each other's
// way: where a domain has p places, it holds p / n sub-groups of n or more.
bool Search::LacksForGroups(const Region& region, std::string* words) const {
  struct Part {
    int required;
    std::size_t shape;  // beyond all: of several
    std::int64_t need;
    std::int32_t group;
  };
  std::vector<Part> parts;
  for (std::size_t g = 0; g < c_.group_tasks.size(); ++g) {
    const auto group = static_cast<std::int32_t>(g);
    Part part{c_.LevelOf(group).required, c_.shapes.size(), 0, group};
    bool one_shape = true;
    for (const std::size_t t : c_.group_tasks[g]) {
      if (c_.problem.need[t] == 0) continue;
      one_shape = one_shape && (part.need == 0 || part.shape == c_.shape_of[t]);
      part.shape = c_.shape_of[t];
      part.need += c_.problem.need[t];
    }
    if (part.need == 0) continue;
    if (one_shape && !c_.HasHeld(group)) {
      parts.push_back(part);
      continue;
    }
    const std::vector<Region> inner = c_.WidestRegions(group, region);
    std::vector<std::int64_t> need(c_.shapes.size(), 0);
    for (const std::size_t t : c_.group_tasks[g]) need[c_.shape_of[t]] += c_.problem.need[t];
    const bool ok = std::any_of(inner.begin(), inner.end(), [&](const Region& r) {
      for (std::size_t s = 0; s < need.size(); ++s) {
        if (need[s] > 0 && PlacesIn(*c_.slots[s], r) < need[s]) return false;
      }
      return true;
    });
    if (ok) continue;
    if (words != nullptr) {
      *words = fmt::format("in {} no {} has places for all of sub-group {}", c_.RegionName(region),
                           c_.tree.TierName(part.required), c_.spec.groups[g].name);
    }
    return true;
  }
  std::sort(parts.begin(), parts.end(), [](const Part& a, const Part& b) {
    if (a.required != b.required) return a.required < b.required;
    if (a.shape != b.shape) return a.shape < b.shape;
    return a.need != b.need ? a.need > b.need : a.group < b.group;
  });
  std::vector<Region> inner;
  std::int64_t so_far = 0;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const bool new_level = i == 0 || parts[i].required != parts[i - 1].required;
    if (new_level) inner = c_.WidestRegions(parts[i].group, region);
    so_far = new_level || parts[i].shape != parts[i - 1].shape ? 1 : so_far + 1;
    const bool last = i + 1 == parts.size() || parts[i + 1].required != parts[i].required ||
                      parts[i + 1].shape != parts[i].shape || parts[i + 1].need != parts[i].need;
    if (!last) continue;  // of equal ones the last asks most
    std::int64_t held = 0;
    std::int64_t most = 0;
    for (const Region& r : inner) {
      const std::int64_t places = PlacesIn(*c_.slots[parts[i].shape], r);
      held += places / parts[i].need;
      most = std::max(most, places);
    }
    if (held >= so_far) continue;
    if (words != nullptr) {
      *words = fmt::format(
          "{} has room for {} of {} sub-groups of {} or more in one {} each; the best {} has {} "
          "places",
          c_.RegionName(region), held, so_far, parts[i].need, c_.tree.TierName(parts[i].required),
          c_.tree.TierName(parts[i].required), most);
    }
    return true;
  }
  return false;
}

bool Search::Lacks(const Region& region, std::string* words) const {
  return LacksPlaces(region, words) || LacksResources(region, words) ||
         (!c_.group_tasks.empty() && LacksForGroups(region, words));
}

// Why none of the widest regions will do. Everything narrower is inside one of them.
std::string Search::Certificate(const std::vector<Region>& regions) const {
  const int required = c_.spec.level.required;
  std::string text;
  // First by task: what no region has enough of.
  for (std::size_t t = 0; t < c_.spec.tasks.size(); ++t) {
    const std::size_t s = c_.shape_of[t];
    if (c_.need[s] == 0) continue;
    if (std::find(c_.shape_of.begin(), c_.shape_of.begin() + static_cast<std::ptrdiff_t>(t), s) !=
        c_.shape_of.begin() + static_cast<std::ptrdiff_t>(t)) {
      continue;  // an earlier task stands for all of the shape
    }
    const Region* best = nullptr;
    std::int64_t most = -1;
    for (const Region& region : regions) {
      const std::int64_t places = PlacesIn(*c_.slots[s], region);
      if (places > most || (places == most && region.tier > best->tier)) {
        most = places;
        best = &region;
      }
    }
    if (best == nullptr || most >= c_.need[s]) continue;
    if (!text.empty()) text += "; ";
    text += fmt::format("{} ({}) needs {} places", c_.TaskName(t),
                        Describe(c_.state.shape(c_.shapes[s]).spec), c_.need[s]);
    if (required < kClusterTier && !c_.HasHeld(kWholeGang)) {
      text += fmt::format(" in one {}; {} has {}, the most of {}", c_.tree.TierName(required),
                          c_.RegionName(*best), most, regions.size());
    } else {
      text += fmt::format("; {} has {}", c_.RegionName(*best), most);
    }
  }
  if (!text.empty()) return text;
  // Else each region lacks something; name it for the one that has most places.
  const Region* best = nullptr;
  std::int64_t most = -1;
  for (const Region& region : regions) {
    std::int64_t met = 0;
    for (std::size_t s = 0; s < c_.shapes.size(); ++s) {
      met += std::min(c_.need[s], PlacesIn(*c_.slots[s], region));
    }
    if (met > most) {
      most = met;
      best = &region;
    }
  }
  if (best == nullptr) return "the cluster has no node";
  Lacks(*best, &text);
  if (regions.size() > 1)
    text += fmt::format("; the other {} domains lack something too", regions.size() - 1);
  return text;
}

// A gang of one task: counts are exact, and the rest is arithmetic.
bool Search::Uniform(const std::vector<GangStage>& stages, GangAnswer* answer) const {
  const Slots& slots = *c_.slots[0];
  const std::int64_t need = c_.problem.need[0];
  const std::int64_t want = need + c_.problem.extra[0];
  const std::int64_t least = std::max<std::int64_t>(need, 1);
  for (const GangStage& stage : stages) {
    ++answer->steps;
    if (!stage.single && stage.tier == kNodeTier) {
      std::uint16_t most = 0;
      for (const std::uint16_t copies : slots.copies) most = std::max(most, copies);
      if (most < least) continue;
    }
    // The tightest that takes all we want; else the one that takes most of it.
    Region best;
    std::int64_t best_places = 0;
    c_.ForEachRegion(stage, c_.Cluster(), [&](const Region& region) {
      const std::int64_t places = PlacesIn(slots, region);
      if (places < least) return;
      if (best_places == 0 ||
          (best_places >= want ? places >= want && places < best_places : places > best_places)) {
        best = region;
        best_places = places;
      }
    });
    if (best_places == 0) continue;
    const std::int64_t count = std::min(want, best_places);
    const Shape& shape = c_.state.shape(c_.shapes[0]);
    NodeDraft draft;
    std::vector<CardPlan> plans;
    answer->places.reserve(static_cast<std::size_t>(count));
    for (const LeafCount& part : DivideMembers(c_.tree, slots, best, count, c_.problem.layout)) {
      const NodeId node = c_.tree.node(part.leaf);
      draft.Load(c_.state, node);
      plans.clear();
      PlanPods(c_.state, shape, part.count, c_.problem, &draft, &plans);
      BASALT_CHECK(std::cmp_equal(plans.size(), part.count));  // the counts are exact
      for (CardPlan& plan : plans) {
        answer->places.push_back({0, node, plan.cards, std::move(plan.numa)});
      }
      answer->steps += static_cast<std::uint64_t>(part.count);
    }
    answer->placed = true;
    answer->domain =
        best.domain.valid() ? best.domain : c_.tree.innermost(c_.tree.node(best.begin));
    return true;
  }
  return false;
}

bool Search::TrySome(const std::vector<Region>& regions, Executor* executor, GangAnswer* answer,
                     bool* finished) const {
  std::vector<std::unique_ptr<GangTrial>> trials(regions.size());
  std::vector<char> solved(regions.size(), 0);
  const auto attempt = [&](std::size_t i) {
    trials[i] = std::make_unique<GangTrial>(c_, limits_, regions[i]);
    // A gang that has its min and finds no more room here may find it in a wider domain.
    solved[i] = trials[i]->Solve() && trials[i]->found_any() ? 1 : 0;
  };
  if (executor != nullptr && regions.size() > 1) {
    executor->ForEach(regions.size(), attempt);
  } else {
    for (std::size_t i = 0; i < regions.size(); ++i) attempt(i);
  }
  for (const auto& trial : trials) answer->steps += trial->steps();
  for (std::size_t i = 0; i < regions.size(); ++i) {
    if (solved[i] == 0) {
      *finished = *finished && !trials[i]->exhausted();
      continue;
    }
    answer->placed = true;
    answer->places = trials[i]->TakePlaces();
    answer->domain = regions[i].domain.valid() ? regions[i].domain
                                               : c_.tree.innermost(c_.tree.node(regions[i].begin));
    return true;
  }
  return false;
}

GangAnswer Search::Run(Executor* executor) {
  GangAnswer answer;
  const std::vector<GangStage> stages = c_.Stages(kWholeGang, c_.Cluster());
  const std::vector<Region> widest = c_.WidestRegions(kWholeGang, c_.Cluster());
  if (widest.empty() && c_.HasHeld(kWholeGang)) {
    answer.proven = true;
    answer.reason = fmt::format("its members are not in one {} as required",
                                c_.tree.TierName(c_.spec.level.required));
    return answer;
  }
  if (c_.shapes.size() > 1) SumResources();
  const bool hopeless = std::all_of(widest.begin(), widest.end(),
                                    [this](const Region& r) { return Lacks(r, nullptr); });
  if (hopeless) {
    answer.proven = !c_.planned;
    answer.reason = Certificate(widest);
    return answer;
  }
  if (c_.spec.tasks.size() == 1 && c_.spec.groups.empty() && c_.problem.homes.empty()) {
    BASALT_CHECK(Uniform(stages, &answer) || c_.need[0] == 0);
    answer.proven = !answer.placed && !c_.planned;
    if (!answer.placed) answer.reason = "there is no place for another member";
    return answer;
  }
  constexpr std::size_t kAtOnce = 8;  // fixed: the work done must not depend on the threads
  bool finished = true;
  std::vector<std::pair<std::int64_t, Region>> fitting;
  std::vector<Region> batch;
  for (const GangStage& stage : stages) {
    fitting.clear();
    c_.ForEachRegion(stage, c_.Cluster(), [&](const Region& region) {
      if (!Lacks(region, nullptr)) fitting.emplace_back(PlacesIn(*c_.slots[0], region), region);
    });
    std::stable_sort(fitting.begin(), fitting.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    if (fitting.size() > limits_.domains) {
      finished = false;
      fitting.resize(limits_.domains);
    }
    // Most often the first will do; after it, several at once.
    for (std::size_t from = 0; from < fitting.size(); from += batch.size()) {
      if (answer.steps > limits_.all_steps) {
        finished = false;
        break;
      }
      batch.clear();
      const std::size_t n = std::min(from == 0 ? 1 : kAtOnce, fitting.size() - from);
      for (std::size_t i = 0; i < n; ++i) batch.push_back(fitting[from + i].second);
      if (TrySome(batch, executor, &answer, &finished)) return answer;
    }
  }
  answer.proven = finished && !c_.planned;
  answer.reason =
      finished
          ? "places and cards suffice by number, but no division over nodes and sub-groups does"
          : fmt::format("the search ended after {} steps without a placement", answer.steps);
  return answer;
}

bool Search::PossibleInSomeRegion(std::string* reason) const {
  const std::vector<Region> widest = c_.WidestRegions(kWholeGang, c_.Cluster());
  const bool possible = std::any_of(widest.begin(), widest.end(),
                                    [this](const Region& r) { return !Lacks(r, nullptr); });
  if (!possible) *reason = Certificate(widest);
  return possible;
}

}  // namespace

GangAnswer SearchGang(const ClusterState& state, const DomainTree& tree,
                      const std::vector<const SlotIndex::Slots*>& slots, const GangProblem& problem,
                      const GangSearchLimits& limits, Executor* executor) {
  return Search(state, tree, slots, problem, limits).Run(executor);
}

bool GangPossibleWhenEmpty(const ClusterState& state, const DomainTree& tree,
                           const std::vector<const SlotIndex::Slots*>& empty,
                           const GangProblem& problem, std::string* reason) {
  if (!problem.nodes.empty()) {
    GangProblem anywhere = problem;
    anywhere.nodes.clear();
    return Search(state, tree, empty, anywhere, {}).PossibleInSomeRegion(reason);
  }
  return Search(state, tree, empty, problem, {}).PossibleInSomeRegion(reason);
}

}  // namespace basalt
