// Who gets what of a card, what follows for the progress of units, and the books of both.
#include <algorithm>
#include <cmath>

#include "sim/platform/world.h"

namespace basalt::sim::platform {

void World::Touch(Index card) {
  if (cards_[card].dirty) return;
  cards_[card].dirty = true;
  dirty_cards_.push_back(card);
}
void World::TouchUnit(Index unit) {
  if (units_[unit].dirty) return;
  units_[unit].dirty = true;
  dirty_units_.push_back(unit);
}
void World::TouchService(Index service) {
  if (services_[service].dirty) return;
  services_[service].dirty = true;
  dirty_services_.push_back(service);
}
void World::TouchNode(Index node) {
  if (nodes_[node].dirty) return;
  nodes_[node].dirty = true;
  dirty_nodes_.push_back(node);
}

const NodeGroupSpec& World::GroupSpecOf(const Card& card) const {
  return *groups_[nodes_[card.node].group].spec;
}
Sharing World::SharingOf(const Card& card) const {
  const NodeGroupSpec& group = GroupSpecOf(card);
  return group.mode == CardMode::kMig ? Sharing::kPartitions : group.sharing;
}

double World::FullUse(const Unit& unit, const Slice& slice) const {
  const Work& work = works_[unit.work];
  if (work.spec->use_milli == 0) return slice.milli;
  if (work.work_class != WorkClass::kService) return work.spec->use_milli;
  return 1000.0 * work.spec->use_milli / GroupSpecOf(cards_[slice.card]).speed_milli;
}

std::int64_t World::WorkingSet(const Unit& unit, const Slice& slice) const {
  const WorkloadSpec& spec = *works_[unit.work].spec;
  const std::int64_t peak = spec.working_set_mib < 0 ? slice.memory_mib : spec.working_set_mib;
  if (spec.idle_working_set_mib < 0) return peak;
  const double level = unit.phase == Phase::kRunning ? std::min(unit.level, 1.0) : 0;
  const auto more = static_cast<double>(peak - spec.idle_working_set_mib);
  return spec.idle_working_set_mib + std::llround(more * level);
}

void World::SetUse(Index u, double level) {
  Unit& unit = units_[u];
  unit.level = level;
  for (const Index s : unit.slices) {
    Slice& slice = slices_[s];
    slice.use = level > 0 ? level * FullUse(unit, slice) : 0;
    Touch(slice.card);
  }
  TouchUnit(u);
}

void World::Settle() {
  for (;;) {
    for (std::size_t i = 0; i < dirty_nodes_.size(); ++i) {
      Node& node = nodes_[dirty_nodes_[i]];
      node.dirty = false;
      const NodeGroupSpec& group = *groups_[node.group].spec;
      const double factor = HostFactor(spec_.runtime, node.cpu_used, group.cpu_milli,
                                       node.memory_used, group.memory_mib);
      if (factor == node.host_factor) continue;
      node.host_factor = factor;
      for (std::int32_t c = 0; c < group.cards; ++c) {
        Touch(node.first_card + static_cast<Index>(c));
      }
      for (const Index unit : node.units) TouchUnit(unit);
    }
    dirty_nodes_.clear();
    for (std::size_t i = 0; i < dirty_cards_.size(); ++i) {
      cards_[dirty_cards_[i]].dirty = false;
      RateCard(dirty_cards_[i]);
    }
    dirty_cards_.clear();
    for (std::size_t i = 0; i < dirty_units_.size(); ++i) {
      units_[dirty_units_[i]].dirty = false;
      RateUnit(dirty_units_[i]);
    }
    dirty_units_.clear();
    for (std::size_t i = 0; i < dirty_services_.size(); ++i) {
      services_[dirty_services_[i]].dirty = false;
      ShareDemand(dirty_services_[i]);
    }
    dirty_services_.clear();
    if (!dirty_cards_.empty() || !dirty_units_.empty()) continue;
    if (want_pass_.empty()) return;
    std::vector<Index> passes;
    passes.swap(want_pass_);
    const std::int64_t cycle = spec_.scheduling.cycle_us;
    for (const Index c : passes) {
      Cluster& cluster = clusters_[c];
      if (!cluster.pass_wanted) continue;
      if (cycle > 0 && cluster.last_pass >= 0 && now_ < cluster.last_pass + cycle) {
        cluster.pass_wanted = false;
        PlanPass(c, cluster.last_pass + cycle);
      } else {
        RunPass(c);
      }
    }
  }
}

void World::FillShares(const Card& card) {
  const Sharing sharing = SharingOf(card);
  shares_.clear();
  for (const Index s : card.slices) {
    Slice& slice = slices_[s];
    Unit& unit = units_[slice.unit];
    if (slice.ladder == LadderState::kReturning && slice.moved_at <= now_) {
      BookUnit(unit);
      slice.ladder = LadderState::kFree;
    }
    const bool capped = sharing == Sharing::kPartitions ||
                        (sharing == Sharing::kSlices && works_[unit.work].spec->compute_cap);
    CardShare share;
    share.use = slice.use;
    share.cap = capped ? slice.milli : kWholeCard;
    share.high = unit.high;
    share.guaranteed = slice.guaranteed;
    share.whole = slice.whole;
    share.stopped = slice.ladder == LadderState::kBlocked ||
                    slice.ladder == LadderState::kOffloaded ||
                    slice.ladder == LadderState::kReturning;
    const bool out = slice.ladder == LadderState::kOffloaded && slice.moved_at <= now_;
    share.working_set_mib = out ? 0 : WorkingSet(unit, slice);
    shares_.push_back(share);
  }
}

void World::RateCard(Index c) {
  Card& card = cards_[c];
  const NodeGroupSpec& group = GroupSpecOf(card);
  BookCard(card);
  FillShares(card);
  CardLoad load = ShareCard(spec_.runtime, SharingOf(card), group.card_memory_mib, shares_);
  if (UpdateLadder(c, load.high_wanted)) {
    FillShares(card);
    load = ShareCard(spec_.runtime, SharingOf(card), group.card_memory_mib, shares_);
  }
  card.compute_over = load.compute_over;
  card.memory_over = load.memory_over;
  const double host = nodes_[card.node].host_factor;
  for (std::size_t i = 0; i < card.slices.size(); ++i) {
    Slice& slice = slices_[card.slices[i]];
    slice.compute_factor = shares_[i].compute_factor;
    slice.memory_factor = shares_[i].memory_factor;
    const double rate = shares_[i].rate * host;
    if (rate == slice.rate) continue;
    slice.rate = rate;
    TouchUnit(slice.unit);
  }
}

void World::SetServed(Slice& slice, std::int64_t micro) {
  if (micro == slice.served_micro) return;
  Card& card = cards_[slice.card];
  BookCard(card);
  card.served_micro += micro - slice.served_micro;
  served_micro_ += micro - slice.served_micro;
  slice.served_micro = micro;
}

void World::RateUnit(Index u) {
  Unit& unit = units_[u];
  BookUnit(unit);
  if (unit.places.empty()) return;
  const bool works = unit.phase == Phase::kRunning && unit.level > 0;
  double rate = works ? 1 : 0;
  double host = 1;
  double speed = unit.slices.empty() ? kWholeCard : 1e9;
  const Slice* slowest = nullptr;
  for (const PodPlace& place : unit.places) host = std::min(host, nodes_[place.node].host_factor);
  if (works && unit.slices.empty()) rate = host;
  for (const Index s : unit.slices) {
    const Slice& slice = slices_[s];
    if (works && (slowest == nullptr || slice.rate < slowest->rate)) slowest = &slice;
    speed = std::min<double>(speed, GroupSpecOf(cards_[slice.card]).speed_milli);
  }
  if (slowest != nullptr) rate = slowest->rate;
  unit.rate = rate;
  unit.speed = rate * (speed / kWholeCard) / unit.stretch;
  for (const Index s : unit.slices) {
    Slice& slice = slices_[s];
    SetServed(slice, std::llround(slice.use * rate * 1000));
  }
  unit.slow = kNotSlow;
  const bool stopped = slowest != nullptr && slowest->ladder != LadderState::kFree;
  if (works && !stopped && rate * spec_.runtime.slowdown_milli < 1000) {
    // The heaviest of what slows it.
    const double compute = slowest == nullptr ? 1 : slowest->compute_factor;
    const double memory = slowest == nullptr ? 1 : slowest->memory_factor;
    const double least = std::min({compute, memory, host});
    unit.slow = least >= 1         ? kSlowOther
                : least == memory  ? kSlowMemory
                : least == compute ? kSlowCompute
                                   : kSlowHost;
  }
  if (works_[unit.work].work_class == WorkClass::kService) {
    TouchService(unit.owner);
  } else {
    PlanDone(u);
  }
}

void World::PlanDone(Index u) {
  Unit& unit = units_[u];
  ++unit.version;
  if (unit.work_left < 0 || unit.speed <= 0) return;
  const double left = std::ceil(std::max(0.0, unit.work_left) / unit.speed);
  if (left >= static_cast<double>(spec_.horizon_us - now_)) return;
  events_.Add(now_ + static_cast<std::int64_t>(left), EventKind::kUnitDone, u, unit.version);
}

// --- the books: what held since the last call ---

void World::BookCard(Card& card) {
  const auto dt = static_cast<double>(now_ - card.booked_at);
  card.booked_at = now_;
  card.allocated += dt * static_cast<double>(card.allocated_milli);
  card.served += dt * static_cast<double>(card.served_micro) / 1000;
  if (card.compute_over) card.compute_over_us += dt;
  if (card.memory_over) card.memory_over_us += dt;
}

void World::BookUnit(Unit& unit) {
  const auto dt = static_cast<double>(now_ - unit.booked_at);
  unit.booked_at = now_;
  if (dt <= 0 || unit.places.empty()) return;
  Work& work = works_[unit.work];
  WorkAccount& account = work.account;
  double served = 0;
  for (const Index s : unit.slices) {
    const Slice& slice = slices_[s];
    Group& group = groups_[nodes_[cards_[slice.card].node].group];
    const double part = dt * static_cast<double>(slice.served_micro) / 1000;
    group.allocated += dt * slice.milli;
    group.served += part;
    served += part;
    if (slice.ladder == LadderState::kThrottled) account.throttled_us += dt;
    if (slice.ladder == LadderState::kBlocked) account.blocked_us += dt;
    if (slice.ladder == LadderState::kOffloaded || slice.ladder == LadderState::kReturning) {
      account.offloaded_us += dt;
    }
  }
  const double allocated = dt * static_cast<double>(unit.allocated_milli);
  account.allocated += allocated;
  account.served += served;
  unit.served_total += served;
  UsageAccount& tenant = tenant_books_[unit.tenant];
  tenant.allocated += allocated;
  tenant.served += served;
  if (const Index sku = AskOf(unit).sku; sku != kNone) {
    const double charged = dt * unit.pods * spec_.skus[sku].price_hour;
    tenant.charged += charged;
    sku_books_[sku].allocated += allocated;
    sku_books_[sku].served += served;
    sku_books_[sku].charged += charged;
  }
  if (unit.work_left >= 0) {
    unit.work_left = std::max(0.0, unit.work_left - dt * unit.speed);
    unit.done += dt * unit.speed;
    unit.served_kept += served;
  }
  if (unit.slow == kNotSlow) return;
  const double over = dt * static_cast<double>(std::max<std::size_t>(1, unit.slices.size()));
  account.over_us += over;
  if (unit.slow == kSlowCompute) account.over_compute_us += over;
  if (unit.slow == kSlowMemory) account.over_memory_us += over;
  if (unit.slow == kSlowHost) account.over_host_us += over;
}

void World::AdvanceTotals(std::int64_t to) {
  SeriesBook::Level level;
  level.capacity = static_cast<double>(capacity_);
  level.allocated = static_cast<double>(allocated_milli_) / 1000;
  level.served = static_cast<double>(served_micro_) / 1e6;
  level.touched = static_cast<double>(touched_);
  level.waiting = static_cast<double>(waiting_);
  level.cost = cost_rate_;
  level.shared = static_cast<double>(shared_);
  level.passthrough = static_cast<double>(passthrough_);
  for (const Cluster& cluster : clusters_) {
    const NodeSlots& slots = cluster.engine->node_slots();
    for (int kind = 0; std::cmp_less(kind, slots.kinds().size()); ++kind) {
      level.slots_short += static_cast<double>(slots.short_of(kind));
    }
  }
  series_.Advance(to, level);
}

}  // namespace basalt::sim::platform
