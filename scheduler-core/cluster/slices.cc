// ClusterState's slices: what a slice takes of a card, what stops it, and what a model allows.
#include <fmt/format.h>

#include <algorithm>

#include "scheduler-core/base/check.h"
#include "scheduler-core/cluster/draft.h"
#include "scheduler-core/cluster/state.h"

namespace basalt {
namespace {

constexpr int kBitsPerMigSlot = 4;
constexpr std::uint8_t kMixedQos = 255;  // slices of several classes: nobody joins them

bool Contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

void AsAsked(const CardAsk& ask, const CardState& card, SliceTake* take) {
  take->milli = static_cast<std::int16_t>(ask.milli);
  const std::int64_t by_percent = std::int64_t{card.memory_physical} * ask.percent / 100;
  take->memory = std::max(ask.memory, static_cast<std::int32_t>(by_percent));
}

}  // namespace

std::uint32_t MigOccupied(const CardState& card) {
  std::uint32_t bits = 0;
  for (int slot = 0; slot <= kMaxMigSlots; ++slot) {
    if (((card.mig >> (slot * kBitsPerMigSlot)) & 0xF) != 0) bits |= std::uint32_t{1} << slot;
  }
  return bits;
}

bool CountsInTotals(const CardState& card) { return card.healthy && !card.cordoned && card.serves; }

bool ClusterState::SliceOf(const Shape& s, const CardAsk& ask, const CardState& card,
                           SliceTake* take) const {
  const CardRules* rules = rules_[ModelId(std::uint32_t{card.model})].get();
  if (card.mode == CardMode::kMig) {
    const int profile = rules == nullptr || rules->mig_slots == 0
                            ? -1
                            : MigProfileFor(ask, s.spec.mig_profile, *rules);
    if (profile < 0) {
      AsAsked(ask, card, take);
      return false;
    }
    const MigProfile& p = rules->mig[static_cast<std::size_t>(profile)];
    take->mig_profile = static_cast<std::int8_t>(profile);
    take->milli = static_cast<std::int16_t>(p.compute_milli);
    take->memory = card.memory_total == 0 ? 0 : static_cast<std::int32_t>(p.memory_mib);
    return true;
  }
  if (!s.spec.mig_profile.empty()) {
    AsAsked(ask, card, take);
    return false;
  }
  if (rules != nullptr) {
    const CardDemand demand =
        DemandOn(ask, rules, card.memory_physical, card.memory_total, card.compute_total);
    const bool possible =
        demand.possible && (demand.whole || rules->several_slices || ask.count == 1);
    if (!possible) {
      AsAsked(ask, card, take);
      return false;
    }
    take->milli = demand.milli;
    take->memory = demand.memory;
    take->whole = demand.whole;
    return true;
  }
  if (ask.whole) {
    // All that is there, so that nobody shares it.
    take->whole = true;
    take->milli = std::max(card.compute_total, static_cast<std::int16_t>(ask.milli));
    take->memory = std::max(card.memory_total, ask.memory);
    return true;
  }
  AsAsked(ask, card, take);
  return ask.units == 0;
}

std::int32_t ClusterState::CardMemoryNeed(const Shape& s, const CardState& card) const {
  SliceTake take;
  SliceOf(s, s.ask, card, &take);
  return take.memory;
}

ClusterState::SliceVerdict ClusterState::JudgeSlice(const Shape& s, const CardAsk& ask,
                                                    const CardState& card, SliceTake* take) const {
  if (!card.healthy || card.cordoned || !card.serves ||
      (card.mode == CardMode::kPassthrough) != s.spec.passthrough ||
      (card.slices > 0 &&
       (card.mode == CardMode::kExclusive || card.mode == CardMode::kPassthrough))) {
    return SliceVerdict::kUnusable;
  }
  if (!s.serving.empty() && s.serving[card.model] == 0) return SliceVerdict::kNotAllowed;
  if (!SliceOf(s, ask, card, take)) return SliceVerdict::kNotAllowed;
  if (card.slots > 0 && card.slices >= card.slots) return SliceVerdict::kSlotsUsed;
  // A request for memory only (0 milli) still needs a card that takes one more slice.
  if (card.free_milli < std::max(take->milli, std::int16_t{1})) return SliceVerdict::kComputeShort;
  // Memory that is not known is not scheduled, whatever observed pods are said to have of it.
  if ((card.memory_total > 0 || take->memory > 0) && card.memory_free < take->memory) {
    return SliceVerdict::kMemoryShort;
  }
  if (card.memory_total != card.memory_physical && !take->whole) {
    if (s.ratio_percent > 0) {
      const std::int64_t most = std::int64_t{card.memory_physical} * s.ratio_percent / 100;
      if (card.memory_total - card.memory_free + std::int64_t{take->memory} > most) {
        return SliceVerdict::kMemoryShort;
      }
    }
    if (s.spec.service_class == ServiceClass::kGuaranteed && card.guaranteed_free < take->memory) {
      return SliceVerdict::kGuaranteedShort;
    }
  }
  const CardRules* rules = rules_[ModelId(std::uint32_t{card.model})].get();
  if (rules == nullptr) return SliceVerdict::kFits;
  if (take->mig_profile >= 0) {
    const std::uint32_t occupied = MigOccupied(card);
    const bool media = rules->mig[static_cast<std::size_t>(take->mig_profile)].media;
    const int start =
        media && (occupied >> kMaxMigSlots) != 0
            ? -1
            : BestMigStart(*rules, take->mig_profile, occupied & ((1U << kMaxMigSlots) - 1));
    if (start < 0) return SliceVerdict::kRuleForbids;
    take->mig_start = static_cast<std::int8_t>(start);
    return SliceVerdict::kFits;
  }
  if (card.slices > 0 && !take->whole) {
    if (rules->one_qos && (card.qos != s.qos || card.qos == kMixedQos))
      return SliceVerdict::kRuleForbids;
    if (rules->equal_slices &&
        std::int64_t{take->memory} * card.slices != card.memory_total - card.memory_free) {
      return SliceVerdict::kRuleForbids;
    }
  }
  return SliceVerdict::kFits;
}

bool ClusterState::UuidAllowed(const Shape& s, NodeId node, int index) const {
  if (!s.picks_uuids) return true;
  const std::string uuid = CardUuid(node, index);
  return (s.spec.use_uuids.empty() || Contains(s.spec.use_uuids, uuid)) &&
         !Contains(s.spec.nouse_uuids, uuid);
}

bool ClusterState::CardFits(const Shape& s, const CardState& card, NodeId node, int index) const {
  if (!UuidAllowed(s, node, index)) return false;
  SliceTake take;
  if (!s.lists_slices()) return JudgeSlice(s, s.ask, card, &take) == SliceVerdict::kFits;
  return std::any_of(s.container_asks.begin(), s.container_asks.end(), [&](const CardAsk& ask) {
    take = SliceTake{};
    return ask.count > 0 && JudgeSlice(s, ask, card, &take) == SliceVerdict::kFits;
  });
}

bool ClusterState::CardFits(const Shape& s, NodeId node, int index) const {
  const NodeHot& h = hot_[node];
  const std::int16_t free = card_free_[h.first_card + static_cast<std::uint32_t>(index)];
  if (free < std::max(s.milli, 1)) return false;
  if (!h.complex && s.plain) return true;
  return CardFits(s, card(node, index), node, index);
}

CardState ClusterState::EmptyCard(const Shape& s, const CardState& card) const {
  CardState empty = card;
  empty.healthy = true;
  empty.cordoned = false;
  empty.slices = 0;
  empty.free_milli = card.compute_total;
  empty.memory_free = card.memory_total;
  empty.guaranteed_free = card.memory_physical;
  empty.mig = 0;
  empty.qos = 0;
  if (s.spec.passthrough && card.mode != CardMode::kMig) empty.mode = CardMode::kPassthrough;
  if (!s.spec.passthrough && card.mode == CardMode::kPassthrough) empty.mode = CardMode::kShared;
  return empty;
}

void ClusterState::Charge(CardState& card, const SliceTake& slice, const Shape& s, int sign) {
  card.free_milli -= sign * slice.milli;
  card.memory_free -= sign * slice.memory;
  if (s.spec.service_class == ServiceClass::kGuaranteed) {
    card.guaranteed_free -= sign * std::min(slice.memory, card.memory_physical);
  }
  if (card.slices == 0) card.qos = s.qos;
  if (card.qos != s.qos) card.qos = kMixedQos;
  card.slices = static_cast<std::int16_t>(card.slices + sign);
  if (card.slices == 0) card.qos = 0;
}

namespace {

// The bits that an instance adds to CardState::mig.
std::uint64_t MigBits(const CardRules& rules, const SliceTake& slice) {
  const MigProfile& p = rules.mig[static_cast<std::size_t>(slice.mig_profile)];
  std::uint64_t bits = 0;
  for (int k = 0; k < p.size; ++k) {
    bits += std::uint64_t{1} << ((slice.mig_start + k) * kBitsPerMigSlot);
  }
  if (p.media) bits += std::uint64_t{1} << (kMaxMigSlots * kBitsPerMigSlot);
  return bits;
}

}  // namespace

void ClusterState::ChargeSlice(CardState& card, const SliceTake& slice, const Shape& s,
                               int sign) const {
  Charge(card, slice, s, sign);
  if (slice.mig_profile < 0 || slice.mig_start < 0) return;
  const std::uint64_t bits = MigBits(*rules_[ModelId(std::uint32_t{card.model})], slice);
  card.mig = sign > 0 ? card.mig + bits : card.mig - bits;
}

void ClusterState::CountQos(std::uint32_t row, const Shape& s, int sign) {
  CardState& card = cards_[row];
  const CardRules* rules = rules_[ModelId(std::uint32_t{card.model})].get();
  if (rules == nullptr || !rules->one_qos) return;
  std::map<std::uint8_t, std::int32_t>& classes = qos_slices_[row];
  if ((classes[s.qos] += sign) == 0) classes.erase(s.qos);
  card.qos = classes.size() > 1 ? kMixedQos
             : classes.empty()  ? std::uint8_t{0}
                                : classes.begin()->first;
  if (classes.empty()) qos_slices_.erase(row);
}

bool ClusterState::SliceRecordable(const CardState& card, const SliceTake& slice) const {
  if (slice.milli < 0 || slice.milli > 2 * kWholeCard || slice.memory < 0) return false;
  if (slice.mig_profile < 0) return slice.mig_start < 0 && card.mode != CardMode::kMig;
  const CardRules* rules = rules_[ModelId(std::uint32_t{card.model})].get();
  if (rules == nullptr || card.mode != CardMode::kMig ||
      std::cmp_greater_equal(slice.mig_profile, rules->mig.size())) {
    return false;
  }
  const MigProfile& p = rules->mig[static_cast<std::size_t>(slice.mig_profile)];
  if (slice.mig_start < 0 || slice.mig_start + p.size > rules->mig_slots) return false;
  for (int slot = 0; slot <= kMaxMigSlots; ++slot) {
    if (((card.mig >> (slot * kBitsPerMigSlot)) & 0xF) == 0xF) return false;
  }
  return true;
}

bool ClusterState::ModelServes(const Shape& s, ModelId model) const {
  const std::string& name = models_[model];
  const CardRules* rules = rules_[model].get();
  const RequestSpec& spec = s.spec;
  if (!spec.models.empty() && !Contains(spec.models, name)) return false;
  if (Contains(spec.nouse_models, name)) return false;
  if (!spec.vendors.empty() && (rules == nullptr || !Contains(spec.vendors, rules->vendor))) {
    return false;
  }
  const auto serves = [&](const CardAsk& ask) {
    if (ask.units > 0 && (rules == nullptr || rules->compute_units == 0)) return false;
    return rules == nullptr || rules->counts.empty() ||
           std::find(rules->counts.begin(), rules->counts.end(), ask.count) != rules->counts.end();
  };
  if (!s.lists_slices()) return serves(s.ask);
  return std::any_of(s.container_asks.begin(), s.container_asks.end(),
                     [&](const CardAsk& ask) { return ask.count > 0 && serves(ask); });
}

void ClusterState::SetCardFlags(NodeId node) {
  NodeHot& hot = hot_[node];
  bool mixed = false;
  bool look = false;
  bool planned = false;
  for (int i = 0; i < hot.cards; ++i) {
    CardState& state = cards_[hot.first_card + static_cast<std::uint32_t>(i)];
    const CardRules* rules = rules_[ModelId(std::uint32_t{state.model})].get();
    mixed = mixed || state.model != card(node, 0).model;
    state.serves = state.mode != CardMode::kMig || (rules != nullptr && rules->mig_slots > 0);
    look = look || state.memory_total > 0 || state.compute_total != kWholeCard ||
           state.mode == CardMode::kPassthrough || rules != nullptr;
    planned = planned || (state.mode == CardMode::kMig && state.serves) ||
              (rules != nullptr && rules->grouping != CardGrouping::kNone);
  }
  const bool aligned = numa(node) != nullptr && numa(node)->policy != topology::NumaPolicy::kNone;
  hot.complex = mixed || look || aligned;
  hot.planned_cards = planned;
  any_complex_ = any_complex_ || hot.complex;
}

void ClusterState::SetCardCordoned(NodeId node, int card, bool cordoned) {
  ContributeTotals(node, -1);
  cards_[hot_[node].first_card + static_cast<std::uint32_t>(card)].cordoned = cordoned;
  ContributeTotals(node, +1);
  RefreshNode(node);
}

Status ClusterState::SetCardMode(NodeId node, int index, CardMode mode) {
  CardState& state = cards_[hot_[node].first_card + static_cast<std::uint32_t>(index)];
  if (state.slices != 0) {
    return Fail(fmt::format("node {}: card {}", name(node), index),
                fmt::format("has {} slices; drain it before its mode changes", state.slices));
  }
  if (state.mode != mode) ++structure_version_;  // what it could serve when empty changes
  ContributeTotals(node, -1);
  state.mode = mode;
  SetCardFlags(node);
  ContributeTotals(node, +1);
  RefreshNode(node);
  return {};
}

Status ClusterState::SetCardRules(const CardRules& rules) {
  const std::string where = "rules of " + rules.model;
  if (Status ok = ValidateCardRules(rules, where); !ok) return ok;
  const ModelId model = InternModel(rules.model);
  if (rules_[model] != nullptr && *rules_[model] == rules) return {};
  for (std::size_t n = 0; n < hot_.size(); ++n) {
    const NodeId node(n);
    if (!cold_[node].exists) continue;
    for (int i = 0; i < hot_[node].cards; ++i) {
      if (card(node, i).model == model.value()) {
        return Fail(where, fmt::format("node {} has such cards already; set the rules of a model "
                                       "before the first node with it",
                                       name(node)));
      }
    }
  }
  rules_[model] = std::make_shared<const CardRules>(rules);
  for (ShapeEntry& entry : shapes_) {
    entry.shape.serving[model.index()] = ModelServes(entry.shape, model) ? 1 : 0;
  }
  ReclassifyAll();
  return {};
}

std::vector<CardRules> ClusterState::AllRules() const {
  std::vector<CardRules> all;
  for (const auto& rules : rules_) {
    if (rules != nullptr) all.push_back(*rules);
  }
  return all;
}

}  // namespace basalt
