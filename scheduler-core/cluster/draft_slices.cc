// Slices that are planned together: containers that ask for different ones, MIG instances, and
// cards that go in groups. Containers are tried one after another by the card rule, as HAMi does;
// when that fails, every assignment of slices to cards is searched (up to a number of steps), so
// that one container's choice never keeps out the next. Whole cards that go in groups are chosen
// first, by their group's rule.
#include <algorithm>
#include <bit>
#include <span>
#include <utility>
#include <vector>

#include "scheduler-core/cluster/card_groups.h"
#include "scheduler-core/cluster/draft.h"

namespace basalt {

// One plan: a copy of the cards, and the slices that were put on them so far.
class SliceSearch {
 public:
  using Want = NodeDraft::Want;

  SliceSearch(const NodeDraft& draft, const Shape& shape, CardRule rule, std::uint64_t seed)
      : draft_(draft), state_(*draft.state_), shape_(shape), rule_(rule), seed_(seed) {
    Reset();
  }

  // By the card rule, container by container.
  bool Greedy(std::span<const Want> wants) {
    for (const Want& want : wants) {
      if (!PlaceContainer(want)) return false;
    }
    return true;
  }

  // Every assignment, but one of those that differ only in cards that are alike.
  bool Search(std::span<const Want> wants) {
    Reset();
    for (const Want& want : wants) {
      // Cards that go in groups are chosen as a group, and first.
      if (NeedsGroup(want)) {
        if (!PlaceContainer(want)) return false;
        continue;
      }
      for (int k = 0; k < want.count; ++k) todo_.push_back(want);
    }
    // The hardest first: whole cards, then the largest slices.
    std::stable_sort(todo_.begin(), todo_.end(), [](const Want& a, const Want& b) {
      return Difficulty(*a.ask) > Difficulty(*b.ask);
    });
    return Enough() && Next(0);
  }

  bool exhausted() const { return steps_ > kMostSteps; }
  const std::vector<SliceTake>& slices() const { return slices_; }

 private:
  // Enough for every assignment of four slices to eight different cards, many times over.
  static constexpr int kMostSteps = 4'000;

  // A bound: all that the slices need at least is free on the cards together.
  bool Enough() const {
    std::int64_t need = 0;
    std::int64_t memory = 0;
    CardSet from;
    for (const Want& want : todo_) {
      need += want.ask->milli;
      memory += want.ask->memory;
      from = CardSet(from.bits() | want.from.bits());
    }
    for (const int card : from) {
      const CardState& state = cards_[static_cast<std::size_t>(card)];
      need -= UsableMilli(state);
      memory -= state.memory_total == 0 ? memory : std::max(state.memory_free, 0);
    }
    return need <= 0 && memory <= 0;
  }

  static std::int64_t Difficulty(const CardAsk& ask) {
    const std::int64_t whole = ask.whole ? std::int64_t{1} << 60 : 0;
    return whole + std::int64_t{ask.memory} * 1000 + std::int64_t{ask.percent} * 100'000 +
           std::int64_t{ask.milli} * 1000 + ask.units;
  }

  void Reset() {
    for (int i = 0; i < draft_.count_; ++i) {
      cards_[static_cast<std::size_t>(i)] = draft_.cards_[static_cast<std::size_t>(i)];
    }
    slices_.clear();
    steps_ = 0;
  }

  bool SliceFits(const Want& want, int card, SliceTake* take) const {
    return want.from.Has(card) && state_.UuidAllowed(shape_, draft_.node(), card) &&
           state_.JudgeSlice(shape_, *want.ask, cards_[static_cast<std::size_t>(card)], take) ==
               ClusterState::SliceVerdict::kFits;
  }

  void Put(const Want& want, int card, SliceTake take) {
    take.card = static_cast<std::int8_t>(card);
    take.container = static_cast<std::int8_t>(want.container);
    state_.ChargeSlice(cards_[static_cast<std::size_t>(card)], take, shape_, +1);
    slices_.push_back(take);
  }
  void TakeBack() {
    const SliceTake& last = slices_.back();
    state_.ChargeSlice(cards_[static_cast<std::size_t>(last.card)], last, shape_, -1);
    slices_.pop_back();
  }

  const CardRules* RulesOf(int card) const {
    return state_.RulesOf(ModelId(std::uint32_t{cards_[static_cast<std::size_t>(card)].model}));
  }
  bool IsMig(int card) const {
    return cards_[static_cast<std::size_t>(card)].mode == CardMode::kMig;
  }
  // Some card that the want could have goes with others.
  bool NeedsGroup(const Want& want) const {
    for (int card = 0; card < draft_.count_; ++card) {
      SliceTake take;
      const CardRules* rules = RulesOf(card);
      if (rules != nullptr && rules->grouping != CardGrouping::kNone && !IsMig(card) &&
          SliceFits(want, card, &take) && take.whole) {
        return true;
      }
    }
    return false;
  }

  bool PlaceContainer(const Want& want) {
    CardSet candidates;
    bool mig = false;
    for (int card = 0; card < draft_.count_; ++card) {
      SliceTake take;
      if (!SliceFits(want, card, &take)) continue;
      candidates.Add(card);
      mig = mig || IsMig(card);
    }
    const CardSet set = mig ? CardSet() : PickSet(want, candidates);
    if (!set.empty()) {
      for (const int card : set) {
        SliceTake take;
        SliceFits(want, card, &take);
        Put(want, card, take);
      }
      return true;
    }
    if (!mig) return false;
    // One instance at a time: several of one container may be on one card.
    CardSet used;
    for (int k = 0; k < want.count; ++k) {
      CardSet now;
      for (const int card : candidates) {
        SliceTake take;
        if ((IsMig(card) || !used.Has(card)) && SliceFits(want, card, &take)) now.Add(card);
      }
      const CardSet one = Pick({1, want.ask->whole, 0}, now);
      if (one.empty()) return false;
      for (const int card : one) {
        SliceTake take;
        SliceFits(want, card, &take);
        Put(want, card, take);
        used.Add(card);
      }
    }
    return true;
  }

  CardSet Pick(const CardWish& wish, CardSet from) const {
    if (from.size() < wish.gpus) return {};
    return PickCards(
        rule_, wish, from, state_.machine(draft_.node()), seed_,
        [this](int c) { return UsableMilli(cards_[static_cast<std::size_t>(c)]); },
        [this](int c) { return cards_[static_cast<std::size_t>(c)].memory_free; });
  }

  // The cards of one model where one has enough: models with groups by their rule. Else of all.
  CardSet PickSet(const Want& want, CardSet candidates) const {
    const CardWish wish{want.count, want.ask->whole, shape_.spec.min_bandwidth_mbps};
    CardSet loose;  // of models without groups
    CardSet left = candidates;
    while (!left.empty()) {
      const int first = *left.begin();
      const auto model = cards_[static_cast<std::size_t>(first)].model;
      CardSet of_model;
      for (const int card : left) {
        if (cards_[static_cast<std::size_t>(card)].model == model) of_model.Add(card);
      }
      left = CardSet(left.bits() & ~of_model.bits());
      const CardRules* rules = RulesOf(first);
      SliceTake take;
      SliceFits(want, first, &take);
      if (rules == nullptr || rules->grouping == CardGrouping::kNone || !take.whole) {
        loose = CardSet(loose.bits() | of_model.bits());
        const CardSet set = Pick(wish, of_model);
        if (!set.empty()) return set;
        continue;
      }
      const CardSet set = ChooseGrouped(*rules, wish.gpus, of_model, [this](int card) {
        return int{cards_[static_cast<std::size_t>(card)].group};
      });
      if (!set.empty()) return set;
    }
    return Pick(wish, loose);
  }

  // MIG instances get their starts when all are known: what the card can be cut into decides.
  bool Next(std::size_t at) {
    if (at == todo_.size()) return ArrangeAll();
    const Want& want = todo_[at];
    // Equal slices in ascending order of cards: any other order is the same placement.
    const bool as_before = at > 0 && *todo_[at - 1].ask == *want.ask &&
                           todo_[at - 1].from == want.from && todo_[at - 1].count == want.count &&
                           (want.count == 1 || todo_[at - 1].container == want.container);
    const int least = as_before ? slices_.back().card : 0;
    std::vector<int> tried;
    for (const int card : InOrder(want)) {
      if (card < least) continue;
      if (++steps_ > kMostSteps) return false;
      if (!IsMig(card) && HasSliceOf(want.container, card)) continue;
      if (std::any_of(tried.begin(), tried.end(), [&](int t) { return Alike(t, card, want); })) {
        continue;
      }
      tried.push_back(card);
      SliceTake take;
      if (IsMig(card)) {
        if (!MigFits(want, card, &take)) continue;
        pending_.push_back({card, take.mig_profile});
        take.mig_profile = -1;  // its slots are not taken yet
      } else if (!SliceFits(want, card, &take)) {
        continue;
      }
      const bool mig = IsMig(card);
      Put(want, card, take);
      if (Next(at + 1)) return true;
      TakeBack();
      if (mig) pending_.pop_back();
      if (exhausted()) return false;
    }
    return false;
  }

  // The card rule's order: fullest first, or emptiest.
  std::vector<int> InOrder(const Want& want) const {
    std::vector<int> order;
    for (const int card : want.from) {
      if (card < draft_.count_) order.push_back(card);
    }
    std::stable_sort(order.begin(), order.end(), [this](int a, int b) {
      const std::int32_t x = cards_[static_cast<std::size_t>(a)].free_milli;
      const std::int32_t y = cards_[static_cast<std::size_t>(b)].free_milli;
      return rule_ == CardRule::kSpread ? x > y : x < y;
    });
    return order;
  }

  bool HasSliceOf(int container, int card) const {
    return std::any_of(slices_.begin(), slices_.end(), [&](const SliceTake& s) {
      return s.container == container && s.card == card;
    });
  }
  bool Alike(int a, int b, const Want& want) const {
    const CardState& x = cards_[static_cast<std::size_t>(a)];
    const CardState& y = cards_[static_cast<std::size_t>(b)];
    return !shape_.picks_uuids && x.free_milli == y.free_milli && x.memory_free == y.memory_free &&
           x.memory_total == y.memory_total && x.memory_physical == y.memory_physical &&
           x.guaranteed_free == y.guaranteed_free && x.slices == y.slices && x.slots == y.slots &&
           x.model == y.model && x.mode == y.mode && x.mig == y.mig && x.qos == y.qos &&
           x.compute_total == y.compute_total && x.healthy == y.healthy &&
           x.cordoned == y.cordoned && Pending(a) == Pending(b) &&
           want.from.Has(a) == want.from.Has(b) && SameUsers(a, b);
  }
  // Which containers have slices there: the rest of one of them may not.
  bool SameUsers(int a, int b) const {
    std::vector<int> of_a, of_b;
    for (const SliceTake& s : slices_) {
      if (s.card == a) of_a.push_back(s.container);
      if (s.card == b) of_b.push_back(s.container);
    }
    return of_a == of_b;
  }

  std::vector<int> Pending(int card) const {
    std::vector<int> profiles;
    for (const auto& [at, profile] : pending_) {
      if (at == card) profiles.push_back(profile);
    }
    return profiles;
  }
  // The instance and all that are pending there can be cut from what is left of the card.
  bool MigFits(const Want& want, int card, SliceTake* take) const {
    const CardState& state = cards_[static_cast<std::size_t>(card)];
    SliceTake probe;
    const auto verdict = state_.JudgeSlice(shape_, *want.ask, state, &probe);
    if (verdict != ClusterState::SliceVerdict::kFits || !want.from.Has(card) ||
        !state_.UuidAllowed(shape_, draft_.node(), card)) {
      return false;
    }
    std::vector<int> profiles = Pending(card);
    profiles.push_back(probe.mig_profile);
    *take = probe;
    take->mig_start = -1;
    return !Arrange(card, profiles).empty();
  }
  std::vector<int> Arrange(int card, const std::vector<int>& profiles) const {
    const CardRules& rules = *RulesOf(card);
    const std::uint32_t occupied = MigOccupied(cards_[static_cast<std::size_t>(card)]);
    if ((occupied >> kMaxMigSlots) != 0 &&
        std::any_of(profiles.begin(), profiles.end(),
                    [&](int p) { return rules.mig[static_cast<std::size_t>(p)].media; })) {
      return {};
    }
    return ArrangeMig(rules, profiles, occupied & ((1U << kMaxMigSlots) - 1));
  }
  bool ArrangeAll() {
    std::size_t next = 0;
    std::vector<SliceTake*> instances;  // in the order of pending_
    for (SliceTake& s : slices_) {
      if (next < pending_.size() && IsMig(s.card) && s.mig_start < 0) instances.push_back(&s);
    }
    for (const auto& [card, profile] : std::vector(pending_)) {
      if (instances[next]->mig_start >= 0) {  // arranged with its card already
        ++next;
        continue;
      }
      const std::vector<int> starts = Arrange(card, Pending(card));
      std::size_t k = 0;
      for (std::size_t i = next; i < instances.size(); ++i) {
        if (pending_[i].first != card) continue;
        instances[i]->mig_profile = static_cast<std::int8_t>(pending_[i].second);
        instances[i]->mig_start = static_cast<std::int8_t>(starts[k++]);
      }
      ++next;
    }
    return true;
  }

  const NodeDraft& draft_;
  const ClusterState& state_;
  const Shape& shape_;
  const CardRule rule_;
  const std::uint64_t seed_;
  std::array<CardState, kMaxCardsPerNode> cards_;
  std::vector<SliceTake> slices_;
  std::vector<Want> todo_;
  std::vector<std::pair<int, int>> pending_;  // MIG card, profile; their slots are not taken yet
  int steps_ = 0;
};

void NodeDraft::PlanSlices(const Shape& shape, std::vector<Want> wants, CardRule rule,
                           std::uint64_t seed, NumaTake* take, CardPlan* plan) const {
  SliceSearch search(*this, shape, rule, seed);
  if (!search.Greedy(wants) && !search.Search(wants)) {
    plan->exhausted = search.exhausted();
    return;
  }
  take->slices = search.slices();
  std::sort(take->slices.begin(), take->slices.end(), [](const SliceTake& a, const SliceTake& b) {
    return a.container != b.container ? a.container < b.container
           : a.card != b.card         ? a.card < b.card
                                      : a.mig_start < b.mig_start;
  });
  for (const SliceTake& slice : take->slices) plan->cards.Add(slice.card);
  plan->fits = true;
  plan->numa = std::make_shared<const NumaTake>(*take);
}

bool NodeDraft::ListedFit(const Shape& shape, const CardPlan& plan) const {
  if (plan.numa == nullptr || plan.numa->slices.empty()) return false;
  NodeDraft trial = *this;
  CardSet named;
  std::vector<int> counts(std::max<std::size_t>(shape.container_asks.size(), 1), 0);
  // Those without compute first: they need a card that has some left.
  std::vector<SliceTake> slices = plan.numa->slices;
  std::stable_sort(slices.begin(), slices.end(), [](const SliceTake& a, const SliceTake& b) {
    return a.milli == 0 && b.milli != 0;
  });
  for (const SliceTake& slice : slices) {
    if (slice.card < 0 || slice.card >= count_ || slice.container < 0) return false;
    // One container never has two slices of a card, but for MIG instances.
    if (slice.mig_profile < 0 && std::count_if(
                                     slices.begin(), slices.end(),
                                     [&slice](const SliceTake& other) {
                                       return other.container == slice.container &&
                                              other.card == slice.card;
                                     }) != 1) {
      return false;
    }
    const auto c = static_cast<std::size_t>(slice.card);
    const auto container = static_cast<std::size_t>(slice.container);
    if (shape.lists_slices() && container >= shape.container_asks.size()) return false;
    const CardAsk& ask = shape.lists_slices() ? shape.container_asks[container] : shape.ask;
    SliceTake now;
    if (state_->JudgeSlice(shape, ask, trial.cards_[c], &now) !=
            ClusterState::SliceVerdict::kFits ||
        !state_->UuidAllowed(shape, node_, slice.card) || now.milli != slice.milli ||
        now.memory != slice.memory || now.mig_profile != slice.mig_profile) {
      return false;
    }
    if (slice.mig_profile >= 0) {
      const CardRules& rules = *state_->RulesOf(ModelId(std::uint32_t{trial.cards_[c].model}));
      const MigProfile& p = rules.mig[static_cast<std::size_t>(slice.mig_profile)];
      const auto profile = std::int32_t{slice.mig_profile};
      const auto start = std::int32_t{slice.mig_start};
      const bool placeable =
          rules.mig_layout.empty()
              ? std::find(p.starts.begin(), p.starts.end(), start) != p.starts.end()
              : std::find(rules.mig_layout.begin(), rules.mig_layout.end(),
                          std::pair(profile, start)) != rules.mig_layout.end();
      if (!placeable || (MigMask(p, slice.mig_start) & MigOccupied(trial.cards_[c])) != 0) {
        return false;
      }
    }
    state_->ChargeSlice(trial.cards_[c], slice, shape, +1);
    named.Add(slice.card);
    if (container < counts.size()) ++counts[container];
  }
  if (named != plan.cards) return false;
  if (!shape.lists_slices()) {
    return std::cmp_greater_equal(plan.numa->slices.size(), shape.gpus);
  }
  for (std::size_t c = 0; c < counts.size(); ++c) {
    if (counts[c] < shape.container_asks[c].count) return false;
  }
  return true;
}

}  // namespace basalt
