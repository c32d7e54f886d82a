// Cards that move between the shared pool (slices for containers) and the passthrough pool (whole
// cards for virtual machines), by what waits. A card that moves is cordoned, empties (or is
// emptied), is drained for a while, and comes back in the other mode.
//
// The rule, every decide_every_us and in each cluster: what waits for one mode and does not fit its
// free cards takes as many cards of the other mode as it lacks, those first that have the least on
// them, within the limits of PoolSpec. When both modes lack cards, nothing moves. A card that is
// still not empty at the next decision is chosen again or kept: another may have become empty.
// With headroom, empty cards also move ahead of demand, as far as the other mode keeps its own.
#include <fmt/format.h>

#include <algorithm>

#include "scheduler-core/base/check.h"
#include "sim/platform/world.h"

namespace basalt::sim::platform {

Status World::SetUpPools() {
  const PoolSpec& pools = spec_.pools;
  if (!pools.dynamic) return {};
  if (pools.decide_every_us <= 0) return Fail("pools", "must decide every so often");
  pool_groups_.resize(clusters_.size());
  const auto poolable = [](const NodeGroupSpec& spec) {
    return spec.mode == CardMode::kShared || spec.mode == CardMode::kPassthrough;
  };
  for (Index g = 0; g < groups_.size(); ++g) {
    const Group& group = groups_[g];
    if (pools.groups.empty() && poolable(*group.spec)) pool_groups_[group.cluster].push_back(g);
  }
  for (const auto& [cluster, name] : pools.groups) {
    bool found = false;
    for (Index g = 0; g < groups_.size(); ++g) {
      const Group& group = groups_[g];
      if (clusters_[group.cluster].spec->name != cluster || group.spec->name != name) continue;
      if (!poolable(*group.spec)) {
        return Fail("pools", fmt::format("group {} is neither shared nor passthrough", name));
      }
      pool_groups_[group.cluster].push_back(g);
      found = true;
    }
    if (!found) {
      return Fail("pools", fmt::format("there is no group {} in a cluster {}", name, cluster));
    }
  }
  events_.Add(pools.decide_every_us, EventKind::kPools);
  return {};
}

void World::DecidePools() {
  for (Index c = 0; c < clusters_.size(); ++c) DecidePool(c);
  events_.Add(now_ + spec_.pools.decide_every_us, EventKind::kPools);
}

void World::DecidePool(Index c) {
  const PoolSpec& pools = spec_.pools;
  for (const Index g : pool_groups_[c]) {
    const Group& group = groups_[g];
    const Index first = group.spec->count > 0 ? nodes_[group.first_node].first_card : 0;
    const Index end = first + static_cast<Index>(group.spec->count * group.spec->cards);
    for (Index card = first; card < end; ++card) {
      if (cards_[card].move == CardMove::kEmptying) KeepCard(card);
    }
  }
  std::int64_t all = 0, moving = 0, passthrough = 0;  // cards; moving ones count where they go
  std::int64_t free_passthrough = 0, free_milli = 0, coming = 0, coming_milli = 0;
  struct Candidate {
    std::int64_t held = 0;  // milli that must leave first
    Index card = kNone;
  };
  std::vector<Candidate> shared_cards, passthrough_cards;
  for (const Index g : pool_groups_[c]) {
    const Group& group = groups_[g];
    if (!group.present) continue;
    const std::int64_t ratio = group.spec->compute_ratio_percent;
    for (std::int32_t n = 0; n < group.spec->count; ++n) {
      const Node& node = nodes_[group.first_node + static_cast<Index>(n)];
      for (std::int32_t k = 0; k < group.spec->cards; ++k) {
        const Index index = node.first_card + static_cast<Index>(k);
        const Card& card = cards_[index];
        ++all;
        if (card.move != CardMove::kNo) {
          ++moving;
          passthrough += card.passthrough ? 0 : 1;
          (card.passthrough ? coming_milli : coming) += card.passthrough ? kWholeCard : 1;
          continue;
        }
        passthrough += card.passthrough ? 1 : 0;
        if (node.cordons > 0) continue;
        const bool empty = card.slices.empty();
        if (card.passthrough) {
          free_passthrough += empty ? 1 : 0;
        } else {
          free_milli += std::max<std::int64_t>(0, kWholeCard * ratio / 100 - card.allocated_milli);
        }
        (card.passthrough ? passthrough_cards : shared_cards)
            .push_back({card.allocated_milli, index});
      }
    }
  }
  const Cluster& cluster = clusters_[c];
  const std::int64_t lack_passthrough = cluster.waiting_cards - free_passthrough - coming;
  const std::int64_t lack_milli = cluster.waiting_milli - free_milli - coming_milli;
  const std::int64_t lack_shared = (lack_milli + kWholeCard - 1) / kWholeCard;  // < 0: to spare
  if (lack_passthrough > 0 && lack_shared > 0) return;
  const bool urgent = lack_passthrough > 0 || lack_shared > 0;
  const std::int64_t headroom = all * pools.headroom_milli / 1000;
  const bool to_passthrough = urgent ? lack_passthrough > 0 : lack_passthrough > lack_shared;
  std::int64_t count = headroom + (to_passthrough ? lack_passthrough : lack_shared);
  const std::int64_t spare = -headroom - (to_passthrough ? lack_shared : lack_passthrough);
  if (!urgent) count = std::min(count, spare);
  count = std::min(count, all * pools.max_moving_milli / 1000 - moving);
  count = std::min(count, to_passthrough ? all - passthrough - all * pools.min_shared_milli / 1000
                                         : passthrough - all * pools.min_passthrough_milli / 1000);
  std::vector<Candidate>& from = to_passthrough ? shared_cards : passthrough_cards;
  std::stable_sort(from.begin(), from.end(),
                   [](const Candidate& a, const Candidate& b) { return a.held < b.held; });
  for (const Candidate& candidate : from) {
    if (count <= 0) return;
    const Card& card = cards_[candidate.card];
    // A machine is never moved off its card; slices may be, if they may be evicted.
    const bool can_leave =
        card.slices.empty() || (urgent && !card.passthrough &&
                                std::all_of(card.slices.begin(), card.slices.end(), [&](Index s) {
                                  return !pools.evict ||
                                         works_[units_[slices_[s].unit].work].spec->preemptible;
                                }));
    if (!can_leave) continue;
    MoveCard(candidate.card);
    --count;
  }
}

void World::MoveCard(Index c) {
  Card& card = cards_[c];
  const Node& node = nodes_[card.node];
  card.move = CardMove::kEmptying;
  card.move_since = now_;
  (card.passthrough ? passthrough_ : shared_) -= 1;
  BASALT_CHECK(
      Apply(clusters_[node.cluster], CardCordoned{node.name, card.number, true}).has_value());
  if (card.slices.empty()) return CardEmptied(c);
  if (!spec_.pools.evict) return;
  const std::vector<Index> slices = card.slices;
  for (const Index s : slices) {
    if (slices_[s].card == c && slices_[s].unit != kNone) {
      TellToLeave(slices_[s].unit, Leave::kEvicted);
    }
  }
}

void World::KeepCard(Index c) {
  Card& card = cards_[c];
  const Node& node = nodes_[card.node];
  pool_result_.emptying_hours += static_cast<double>(now_ - card.move_since) / 3.6e9;
  card.move = CardMove::kNo;
  (card.passthrough ? passthrough_ : shared_) += 1;
  BASALT_CHECK(
      Apply(clusters_[node.cluster], CardCordoned{node.name, card.number, false}).has_value());
  ++clusters_[node.cluster].freed;
  WantPass(node.cluster);
}

void World::CardEmptied(Index c) {
  Card& card = cards_[c];
  pool_result_.emptying_hours += static_cast<double>(now_ - card.move_since) / 3.6e9;
  card.move = CardMove::kDraining;
  card.move_since = now_;
  events_.Add(now_ + spec_.pools.drain_us, EventKind::kCardDrained, c);
}

void World::CardDrained(Index c) {
  Card& card = cards_[c];
  const Node& node = nodes_[card.node];
  Cluster& cluster = clusters_[node.cluster];
  pool_result_.drain_hours += static_cast<double>(now_ - card.move_since) / 3.6e9;
  card.move = CardMove::kNo;
  card.passthrough = !card.passthrough;
  ++(card.passthrough ? pool_result_.moves_to_passthrough : pool_result_.moves_to_shared);
  (card.passthrough ? passthrough_ : shared_) += 1;
  const CardMode mode = card.passthrough ? CardMode::kPassthrough : CardMode::kShared;
  BASALT_CHECK(Apply(cluster, CardModeChanged{node.name, card.number, mode}).has_value());
  BASALT_CHECK(Apply(cluster, CardCordoned{node.name, card.number, false}).has_value());
  ++cluster.freed;
  Unpark(node.cluster);
  WantPass(node.cluster);
}

}  // namespace basalt::sim::platform
