#include "scheduler-core/cluster/draft.h"

#include <algorithm>
#include <bit>
#include <utility>
#include <vector>

namespace basalt {
namespace {

topology::NumaPolicy Stricter(topology::NumaPolicy a, topology::NumaPolicy b) {
  return std::max(a, b);  // the enumerators are in order of strictness
}

// No kubelet runs more pods; and requests of next to nothing would be tried without end.
constexpr int kMostTried = 512;

std::int32_t SumOf(const std::array<std::int32_t, topology::kMaxNumaNodes>& amounts) {
  std::int32_t sum = 0;
  for (const std::int32_t amount : amounts) sum += amount;
  return sum;
}

}  // namespace

std::int16_t UsableMilli(const CardState& card) {
  const bool alone = card.mode == CardMode::kExclusive || card.mode == CardMode::kPassthrough;
  const bool takes_more = CountsInTotals(card) && (!alone || card.slices == 0) &&
                          (card.slots == 0 || card.slices < card.slots) && card.free_milli > 0;
  return takes_more ? static_cast<std::int16_t>(card.free_milli) : std::int16_t{0};
}

void NodeDraft::Load(const ClusterState& state, NodeId node) {
  state_ = &state;
  node_ = node;
  const NodeHot& hot = state.hot(node);
  cpu_ = hot.cpu_free;
  memory_ = hot.memory_free;
  pods_ = hot.pods_free;
  unlimited_pods_ = state.unlimited_pods(node);
  schedulable_ = hot.schedulable;
  complex_ = hot.complex;
  planned_cards_ = hot.planned_cards;
  count_ = hot.cards;
  const auto free = state.CardFree(node);
  for (int i = 0; i < count_; ++i) {
    const auto c = static_cast<std::size_t>(i);
    free_[c] = free[c];
    cards_[c] = state.card(node, i);
  }
  numa_ = state.numa(node);
  if (numa_ == nullptr) return;
  nics_free_ = numa_->nics_free;
  cpu_free_ = numa_->cpu_free;
  memory_free_ = numa_->memory_free;
}

void NodeDraft::LoadEmpty(const ClusterState& state, NodeId node, const Shape& shape) {
  Load(state, node);
  const NodeCapacity& capacity = state.capacity(node);
  cpu_ = capacity.cpu;
  memory_ = capacity.memory;
  pods_ = capacity.pods;
  schedulable_ = true;
  for (int i = 0; i < count_; ++i) {
    CardState& card = cards_[static_cast<std::size_t>(i)];
    card = state.EmptyCard(shape, card);
    free_[static_cast<std::size_t>(i)] = UsableMilli(card);
  }
  if (numa_ == nullptr) return;
  nics_free_ = 0;
  for (int i = 0; i < numa_->nodes; ++i) {
    const auto n = static_cast<std::size_t>(i);
    nics_free_ |= numa_->nics[n];
    cpu_free_[n] = numa_->installed[n].cpu;
    memory_free_[n] = numa_->installed[n].memory;
  }
}

bool NodeDraft::CardFits(const Shape& shape, int card) const {
  const auto c = static_cast<std::size_t>(card);
  if (free_[c] < std::max(shape.milli, 1)) return false;
  if (!complex_ && shape.plain) return true;
  return state_->CardFits(shape, cards_[c], node_, card);
}

CardSet NodeDraft::FittingCards(const Shape& shape) const {
  CardSet set;
  for (int i = 0; i < count_; ++i) {
    if (CardFits(shape, i)) set.Add(i);
  }
  return set;
}

bool NodeDraft::Fits(const Shape& shape) const {
  if (!schedulable_ || pods_ < 1 || cpu_ < shape.cpu || memory_ < shape.memory) return false;
  if (shape.gpus > 0 && FittingCards(shape).size() < (ListsSlices(shape) ? 1 : shape.gpus)) {
    return false;
  }
  return !Planned(shape) || PlanCards(shape, CardRule::kFirst, 0).fits;
}

CardSet NodeDraft::Pick(const CardWish& wish, CardSet from, CardRule rule,
                        std::uint64_t seed) const {
  if (from.size() < wish.gpus) return {};
  const Machine* machine = state_->machine(node_);
  const auto free = [this](int c) { return free_[static_cast<std::size_t>(c)]; };
  const auto memory = [this](int c) { return cards_[static_cast<std::size_t>(c)].memory_free; };
  return PickCards(rule, wish, from, machine, seed, free, memory);
}

CardPlan NodeDraft::PlanCards(const Shape& shape, CardRule rule, std::uint64_t seed) const {
  if (Planned(shape)) {
    CardPlan plan = PlanAligned(shape, rule, seed);
    if (rule == CardRule::kFirst || (shape.spec.containers.size() < 2 && !ListsSlices(shape))) {
      return plan;
    }
    // What one container takes may leave the next without. Whether a pod fits must not depend on
    // the rule, so the first cards decide.
    CardPlan first = PlanAligned(shape, CardRule::kFirst, 0);
    return plan.fits && first.fits ? plan : first;
  }
  CardPlan plan;
  if (shape.gpus == 0) {
    plan.fits = true;
    return plan;
  }
  plan.cards = Pick(WishOf(shape), FittingCards(shape), rule, seed);
  plan.fits = plan.cards.size() == shape.gpus;
  return plan;
}

bool NodeDraft::HasBandwidth(const Shape& shape) const {
  const Machine* machine = state_->machine(node_);
  return machine != nullptr &&
         !machine->type
              ->KeepRemainder(FittingCards(shape), shape.gpus, shape.spec.min_bandwidth_mbps)
              .empty();
}

CardPlan NodeDraft::PlanAligned(const Shape& shape, CardRule rule, std::uint64_t seed) const {
  CardPlan plan;
  const CardSet fitting = FittingCards(shape);
  const bool lists = ListsSlices(shape);
  if (fitting.size() < (lists ? 1 : shape.gpus)) return plan;
  const Machine* machine = state_->machine(node_);
  const bool needs_bandwidth = shape.spec.bandwidth_required && shape.gpus >= 2;
  if (needs_bandwidth && machine == nullptr) return plan;
  // Cards of `count` out of `from` that have the bandwidth together, if that is what is asked.
  const auto pick = [&](int count, CardSet from) {
    CardSet set = Pick({count, shape.whole, shape.spec.min_bandwidth_mbps}, from, rule, seed);
    if (!needs_bandwidth || count < 2) return set;
    const std::int32_t need = shape.spec.min_bandwidth_mbps;
    if (!set.empty() && machine->type->Bandwidth(set) >= need) return set;
    return machine->type->KeepRemainder(from, count, need);
  };
  // All slices of the pod, in any of its cards.
  const auto plan_slices = [&](NumaTake* take) {
    std::vector<Want> wants;
    for (std::size_t c = 0; c < shape.container_asks.size(); ++c) {
      if (shape.container_asks[c].count == 0) continue;
      wants.push_back(
          {static_cast<int>(c), &shape.container_asks[c], shape.container_asks[c].count, fitting});
    }
    if (!shape.lists_slices()) wants.push_back({0, &shape.ask, shape.gpus, fitting});
    PlanSlices(shape, std::move(wants), rule, seed, take, &plan);
    if (plan.fits && needs_bandwidth &&
        machine->type->Bandwidth(plan.cards) < shape.spec.min_bandwidth_mbps) {
      plan.fits = false;
    }
  };
  const topology::NumaPolicy policy =
      Stricter(shape.spec.numa, numa_ == nullptr ? topology::NumaPolicy::kNone : numa_->policy);
  if (numa_ == nullptr) {
    // One NUMA node as far as anybody knows: every policy is met there. NICs are not known.
    if (shape.nics > 0) return plan;
    if (policy != topology::NumaPolicy::kNone && !state_->single_numa(node_)) return plan;
    if (lists) {
      NumaTake take;
      plan_slices(&take);
      return plan;
    }
    plan.cards = pick(shape.gpus, fitting);
    plan.fits = plan.cards.size() == shape.gpus;
    return plan;
  }
  // What the pod could use of each NUMA node.
  const auto nodes = static_cast<std::size_t>(numa_->nodes);
  std::array<topology::NumaAmounts, topology::kMaxNumaNodes> free;
  std::array<topology::NumaAmounts, topology::kMaxNumaNodes> installed = numa_->installed;
  for (std::size_t n = 0; n < nodes; ++n) {
    free[n].cpu = std::max(cpu_free_[n], 0);
    free[n].memory = std::max(memory_free_[n], 0);
    free[n].cards =
        static_cast<std::int16_t>(CardSet(fitting.bits() & numa_->cards[n].bits()).size());
    free[n].nics = static_cast<std::int16_t>(std::popcount(numa_->nics[n] & nics_free_));
  }
  std::vector<topology::NumaAmounts> containers;
  const auto demand_of = [this, lists](std::int64_t cpu, std::int64_t memory, int gpus, int nics) {
    topology::NumaAmounts demand;
    demand.cpu = static_cast<std::int32_t>(cpu);
    demand.memory = static_cast<std::int32_t>(memory);
    // Slices of one card are several: PlanSlices finds their cards inside the NUMA nodes.
    demand.cards = static_cast<std::int16_t>(numa_->cards_known && !lists ? gpus : 0);
    demand.nics = static_cast<std::int16_t>(nics);
    return demand;
  };
  for (const ContainerSpec& c : shape.spec.containers) {
    containers.push_back(demand_of(c.cpu_milli, c.memory_mib, c.gpus, c.nics));
  }
  if (containers.empty()) {
    containers.push_back(demand_of(shape.cpu, shape.memory, shape.gpus, shape.nics));
  }
  if (policy == topology::NumaPolicy::kNone) {
    // Nothing is aligned, and CPU and memory float; NICs are taken from any NUMA node.
    if (std::popcount(nics_free_) < shape.nics) return plan;
    NumaTake take;
    if (lists) {
      for (int k = 0; k < shape.nics; ++k) {
        const std::uint32_t left = nics_free_ & ~take.nics;
        take.nics |= left & (~left + 1);
      }
      plan_slices(&take);
      return plan;
    }
    plan.cards = pick(shape.gpus, fitting);
    plan.fits = plan.cards.size() == shape.gpus;
    if (plan.fits && shape.nics > 0) {
      for (int k = 0; k < shape.nics; ++k) {
        const std::uint32_t left = nics_free_ & ~take.nics;
        take.nics |= left & (~left + 1);
      }
      plan.numa = std::make_shared<const NumaTake>(take);
    }
    return plan;
  }
  const topology::NumaPlan numa = topology::PlanPod(policy, numa_->scope, {installed.data(), nodes},
                                                    {free.data(), nodes}, containers);
  if (!numa.admitted) return plan;
  // Each part takes its cards and NICs inside its NUMA nodes, as many of each as it was given.
  NumaTake take;
  CardSet left = fitting;
  std::vector<Want> wants;
  const bool parts = numa.division.size() == shape.spec.containers.size();
  for (std::size_t p = 0; p < numa.division.size(); ++p) {
    const int gpus = parts ? shape.spec.containers[p].gpus : shape.gpus;
    take.nodes = static_cast<topology::NumaSet>(take.nodes | numa.decisions[p].nodes);
    CardSet from;
    for (std::size_t n = 0; n < numa.division[p].size(); ++n) {
      const topology::NumaAmounts& part = numa.division[p][n];
      take.cpu[n] += part.cpu;
      take.memory[n] += part.memory;
      if (part.cards > 0 || ((numa.decisions[p].nodes >> n) & 1) != 0) {
        from = CardSet(from.bits() | (numa_->cards[n].bits() & left.bits()));
      }
      for (int k = 0; k < part.nics; ++k) {
        const std::uint32_t candidates = numa_->nics[n] & nics_free_ & ~take.nics;
        take.nics |= candidates & (~candidates + 1);
      }
    }
    if (gpus == 0) continue;
    if (lists) {
      const CardSet within = numa_->cards_known ? from : fitting;
      if (!shape.lists_slices()) {
        wants.push_back({static_cast<int>(p), &shape.ask, gpus, within});
      } else if (parts) {
        wants.push_back({static_cast<int>(p), &shape.container_asks[p], gpus, within});
      } else {  // the pod as a whole was aligned
        for (std::size_t c = 0; c < shape.container_asks.size(); ++c) {
          if (shape.container_asks[c].count == 0) continue;
          wants.push_back({static_cast<int>(c), &shape.container_asks[c],
                           shape.container_asks[c].count, within});
        }
      }
      continue;
    }
    const CardSet set = pick(gpus, numa_->cards_known ? from : left);
    if (set.size() != gpus) return plan;
    plan.cards = CardSet(plan.cards.bits() | set.bits());
    left = CardSet(left.bits() & ~set.bits());
  }
  if (std::popcount(take.nics) != shape.nics || SumOf(take.cpu) != shape.cpu ||
      SumOf(take.memory) != shape.memory) {
    return plan;
  }
  if (lists && shape.gpus > 0) {
    PlanSlices(shape, std::move(wants), rule, seed, &take, &plan);
    if (!plan.fits) return plan;
  }
  // The containers' cards have the bandwidth each; the pod's must have it together.
  if (needs_bandwidth && machine->type->Bandwidth(plan.cards) < shape.spec.min_bandwidth_mbps) {
    plan.fits = false;
    return plan;
  }
  plan.fits = true;
  plan.numa = std::make_shared<const NumaTake>(take);
  return plan;
}

void NodeDraft::Take(const Shape& shape, const CardPlan& plan) {
  cpu_ -= shape.cpu;
  memory_ -= shape.memory;
  if (!unlimited_pods_) --pods_;
  state_->ForEachSlice(shape, node_, plan.cards, plan.numa.get(), [&](const SliceTake& slice) {
    const auto c = static_cast<std::size_t>(slice.card);
    state_->ChargeSlice(cards_[c], slice, shape, +1);
    free_[c] = UsableMilli(cards_[c]);
  });
  if (plan.numa == nullptr || numa_ == nullptr) return;
  nics_free_ &= ~plan.numa->nics;
  for (std::size_t n = 0; n < cpu_free_.size(); ++n) {
    cpu_free_[n] -= plan.numa->cpu[n];
    memory_free_[n] -= plan.numa->memory[n];
  }
}

std::int32_t NodeDraft::SlicesLeft(const Shape& shape, int index, std::int32_t limit) const {
  if (!CardFits(shape, index)) return 0;
  const CardState& card = cards_[static_cast<std::size_t>(index)];
  if (card.mode == CardMode::kExclusive || card.mode == CardMode::kPassthrough) return 1;
  const auto of = [&](const CardAsk& ask) {
    SliceTake slice;
    if (!state_->SliceOf(shape, ask, card, &slice)) return 0;
    if (slice.whole) return 1;
    std::int32_t n = slice.milli > 0 ? std::min(limit, card.free_milli / slice.milli) : limit;
    if (slice.memory > 0) {
      n = std::min(n, card.memory_free / slice.memory);
      if (card.memory_total != card.memory_physical) {
        if (shape.spec.service_class == ServiceClass::kGuaranteed) {
          n = std::min(n, std::max(card.guaranteed_free, 0) / slice.memory);
        }
        if (shape.ratio_percent > 0) {
          const std::int64_t most = std::int64_t{card.memory_physical} * shape.ratio_percent / 100 -
                                    (card.memory_total - card.memory_free);
          n = static_cast<std::int32_t>(
              std::min<std::int64_t>(n, std::max<std::int64_t>(most, 0) / slice.memory));
        }
      }
    }
    if (card.slots > 0) n = std::min(n, std::int32_t{card.slots} - card.slices);
    return n;
  };
  if (!shape.lists_slices()) return of(shape.ask);
  std::int32_t most = 0;
  for (const CardAsk& ask : shape.container_asks) {
    if (ask.count > 0) most = std::max(most, of(ask));
  }
  return most;
}

int NodeDraft::CopiesByCounting(const Shape& shape, int copies) const {
  if (shape.cpu > 0) copies = std::min(copies, std::max(cpu_, 0) / shape.cpu);
  if (shape.memory > 0) copies = std::min(copies, std::max(memory_, 0) / shape.memory);
  if (cpu_ < 0 || memory_ < 0) copies = 0;  // an observation took more than there is
  if (copies == 0 || shape.gpus == 0) return copies;
  // r pods fit exactly when the cards, giving at most r slices each, give r x gpus of them (a 0-1
  // matrix with r columns of gpus ones each and bounded rows: Gale and Ryser).
  std::array<std::int32_t, kMaxCardsPerNode> slices;
  int cards = 0;
  for (int i = 0; i < count_; ++i) {
    const std::int32_t n = SlicesLeft(shape, i, ListsSlices(shape) ? copies * shape.gpus : copies);
    if (n > 0) slices[static_cast<std::size_t>(cards++)] = n;
  }
  const bool distinct = !ListsSlices(shape);  // else a pod may have several slices of a card
  const auto enough = [&](int pods) {
    std::int64_t sum = 0;
    for (int i = 0; i < cards; ++i) {
      const std::int32_t n = slices[static_cast<std::size_t>(i)];
      sum += distinct ? std::min(n, pods) : n;
    }
    return sum >= std::int64_t{pods} * shape.gpus;
  };
  int low = 0;
  while (low < copies) {  // monotone: more pods never become easier
    const int middle = low + (copies - low + 1) / 2;
    if (enough(middle)) {
      low = middle;
    } else {
      copies = middle - 1;
    }
  }
  return low;
}

int NodeDraft::CopiesBound(const Shape& shape, int at_most) const {
  if (!schedulable_) return 0;
  const int copies = CopiesByCounting(shape, std::min(at_most, std::max(pods_, 0)));
  if (copies == 0 || !Planned(shape)) return copies;
  const CardPlan plan = PlanCards(shape, CardRule::kTopology, 0);
  return plan.fits || plan.exhausted ? copies : 0;
}

int NodeDraft::Copies(const Shape& shape, int at_most) const {
  if (!schedulable_) return 0;
  const int copies = CopiesByCounting(shape, std::min(at_most, std::max(pods_, 0)));
  if (copies == 0 || !Planned(shape)) return copies;
  NodeDraft trial = *this;
  int placed = 0;
  while (placed < std::min(copies, kMostTried)) {
    const CardPlan plan = trial.PlanCards(shape, CardRule::kTopology, 0);
    if (!plan.fits) break;
    trial.Take(shape, plan);
    ++placed;
  }
  return placed;
}

CardPlan NodeDraft::PlanForCopies(const Shape& shape) const {
  // The cards with the most slices left: the constructive side of the theorem above.
  std::array<std::pair<std::int32_t, int>, kMaxCardsPerNode> cards;
  int n = 0;
  for (int i = 0; i < count_; ++i) {
    if (const std::int32_t left = SlicesLeft(shape, i, 65'535); left > 0) {
      cards[static_cast<std::size_t>(n++)] = {-left, i};
    }
  }
  CardPlan plan;
  if (n < shape.gpus) return plan;
  std::sort(cards.begin(), cards.begin() + n);
  for (int k = 0; k < shape.gpus; ++k) plan.cards.Add(cards[static_cast<std::size_t>(k)].second);
  plan.fits = true;
  return plan;
}

bool NodeDraft::SameCard(const NodeDraft& other, int mine, int others) const {
  const auto m = static_cast<std::size_t>(mine);
  const auto o = static_cast<std::size_t>(others);
  const CardState& a = cards_[m];
  const CardState& b = other.cards_[o];
  return free_[m] == other.free_[o] && a.free_milli == b.free_milli &&
         a.memory_free == b.memory_free && a.memory_total == b.memory_total &&
         a.slices == b.slices && a.slots == b.slots && a.model == b.model && a.mode == b.mode &&
         a.memory_physical == b.memory_physical && a.guaranteed_free == b.guaranteed_free &&
         a.mig == b.mig && a.qos == b.qos && (!planned_cards_ || a.group == b.group);
}

bool NodeDraft::SameAmounts(const NodeDraft& other) const {
  if (cpu_ != other.cpu_ || memory_ != other.memory_ || pods_ != other.pods_ ||
      schedulable_ != other.schedulable_ || count_ != other.count_) {
    return false;
  }
  for (int i = 0; i < count_; ++i) {
    if (!SameCard(other, i, i)) return false;
  }
  return true;
}

}  // namespace basalt
