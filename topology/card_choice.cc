#include "topology/card_choice.h"

#include <algorithm>
#include <bit>
#include <iterator>
#include <tuple>
#include <utility>

namespace basalt::topology {
namespace {

constexpr std::array<int, 3> kIntactSizes = {2, 4, 8};
constexpr int kAnswerCards = 8;

std::size_t Index(int i) { return static_cast<std::size_t>(i); }

// Compares as the remainder does.
std::uint64_t RemainderKey(int eights, int fours, int twos, std::int32_t mbps) {
  const auto counts = static_cast<std::uint64_t>((eights << 16) | (fours << 8) | twos);
  return (counts << 32) | static_cast<std::uint32_t>(mbps);
}

// NUMA nodes x 64 + PCIe switches that a set is spread over. A card that hangs on no PCIe switch
// counts as one of its own.
std::vector<std::uint16_t> Localities(const MachineGraph& graph) {
  const int cards = graph.cards();
  std::vector<int> place(Index(cards));
  for (int i = 0; i < cards; ++i) place[Index(i)] = i;
  for (const Link& link : graph.links) {
    if (link.kind == LinkKind::kPcie && link.a < cards &&
        graph.vertices[Index(link.b)].kind == VertexKind::kPcieSwitch) {
      place[Index(link.a)] = link.b;
    }
  }
  std::vector<std::uint16_t> out(std::size_t{1} << cards, 0);
  for (std::uint32_t mask = 1; mask < out.size(); ++mask) {
    // Counting each NUMA node and switch at its lowest card.
    const std::uint32_t rest = mask & (mask - 1);
    const int lowest = std::countr_zero(mask);
    bool new_numa = true;
    bool new_place = true;
    for (const int other : CardSet(rest)) {
      new_numa =
          new_numa && graph.vertices[Index(other)].numa != graph.vertices[Index(lowest)].numa;
      new_place = new_place && place[Index(other)] != place[Index(lowest)];
    }
    out[mask] = static_cast<std::uint16_t>(out[rest] + (new_numa ? 64 : 0) + (new_place ? 1 : 0));
  }
  return out;
}

}  // namespace

CardChoice::CardChoice(const MachineGraph& graph, std::vector<std::int32_t> bandwidth)
    : cards_(graph.cards()), bandwidth_(std::move(bandwidth)) {
  for (std::uint32_t mask = 1; mask < bandwidth_.size(); ++mask) {
    std::int32_t& best = best_[Index(std::popcount(mask))];
    best = std::max(best, bandwidth_[mask]);
  }
  for (std::size_t i = 0; i < kIntactSizes.size(); ++i) CountIntact(kIntactSizes[i], &intact_[i]);
  RankRemainders();
  SortSets(graph);
  if (cards_ > kAnswerCards) return;
  std::vector<std::uint8_t> answers(bandwidth_.size() * (kAnswerCards + 1), 0);
  for (std::uint32_t free = 0; free < bandwidth_.size(); ++free) {
    for (int size = 1; size <= std::popcount(free); ++size) {
      answers[free * (kAnswerCards + 1) + Index(size)] =
          static_cast<std::uint8_t>(BestSet(CardSet(free), size).bits());
    }
  }
  answers_ = std::move(answers);
}

// cnt[mask] = max(cnt without the lowest card, 1 + cnt without an intact set that has it).
void CardChoice::CountIntact(int size, std::vector<std::uint8_t>* out) const {
  const std::size_t count = bandwidth_.size();
  out->assign(count, 0);
  if (size > cards_) return;
  std::vector<std::vector<std::uint16_t>> by_lowest(Index(cards_));
  for (std::uint32_t mask = 1; mask < count; ++mask) {
    if (std::popcount(mask) == size && bandwidth_[mask] == best_[Index(size)]) {
      by_lowest[Index(std::countr_zero(mask))].push_back(static_cast<std::uint16_t>(mask));
    }
  }
  for (std::uint32_t mask = 1; mask < count; ++mask) {
    const int room = std::popcount(mask) / size;
    std::uint8_t most = (*out)[mask & (mask - 1)];
    if (room <= 1) {
      // At most one: it is there when it is there without one of the cards.
      for (std::uint32_t left = mask; left != 0 && most == 0; left &= left - 1) {
        most = (*out)[mask ^ (left & (~left + 1U))];
      }
      if (std::popcount(mask) == size && bandwidth_[mask] == best_[Index(size)]) most = 1;
    } else {
      for (const std::uint16_t set : by_lowest[Index(std::countr_zero(mask))]) {
        if (most == room) break;
        if ((set & ~mask) == 0) {
          most = std::max(most, static_cast<std::uint8_t>((*out)[mask ^ set] + 1));
        }
      }
    }
    (*out)[mask] = most;
  }
}

void CardChoice::RankRemainders() {
  std::vector<std::pair<std::uint64_t, std::uint32_t>> order(bandwidth_.size());
  for (std::uint32_t mask = 0; mask < order.size(); ++mask) {
    order[mask] = {
        RemainderKey(intact_[2][mask], intact_[1][mask], intact_[0][mask], bandwidth_[mask]), mask};
  }
  std::ranges::sort(order);
  rank_.assign(bandwidth_.size(), 0);
  for (const auto& [key, mask] : order) {
    if (keys_.empty() || keys_.back() != key) keys_.push_back(key);
    rank_[mask] = static_cast<std::uint16_t>(keys_.size() - 1);
  }
}

std::uint32_t CardChoice::HighestRank(CardSet free, int size) const {
  const auto most = [&](std::size_t i) {
    return std::min<int>(intact_[i][free.bits()], size / kIntactSizes[i]);
  };
  const std::uint64_t key = RemainderKey(most(2), most(1), most(0), Best(size));
  return static_cast<std::uint32_t>(std::ranges::lower_bound(keys_, key) - keys_.begin());
}

void CardChoice::SortSets(const MachineGraph& graph) {
  const std::vector<std::uint16_t> locality = Localities(graph);
  for (std::uint32_t mask = 1; mask < bandwidth_.size(); ++mask) {
    lists_[Index(std::popcount(mask))].push_back(static_cast<std::uint16_t>(mask));
  }
  for (int size = 1; size <= cards_; ++size) {
    std::vector<std::uint16_t>& list = lists_[Index(size)];
    std::ranges::sort(list, {}, [&](std::uint16_t mask) {
      return std::tuple(-std::int64_t{bandwidth_[mask]}, locality[mask], mask);
    });
    std::vector<Group>& groups = groups_[Index(size)];
    for (std::size_t i = 0; i < list.size(); ++i) {
      const std::int32_t mbps = bandwidth_[list[i]];
      if (groups.empty() || groups.back().mbps != mbps) groups.push_back({i, i, mbps});
      groups.back().end = i + 1;
    }
  }
}

std::int32_t CardChoice::Best(int size) const {
  return size >= 2 && size <= cards_ ? best_[Index(size)] : 0;
}

int CardChoice::Intact(int size, CardSet free) const {
  for (std::size_t i = 0; i < kIntactSizes.size(); ++i) {
    if (kIntactSizes[i] == size) return intact_[i][free.bits()];
  }
  return 0;
}

CardSet CardChoice::FirstBest(int size, std::size_t begin, std::size_t end, CardSet free) const {
  const std::uint16_t* const list = lists_[Index(size)].data();
  const std::uint16_t* const ranks = rank_.data();
  const auto mask = static_cast<std::uint32_t>(free.bits());
  // On a machine whose cards are much alike one of the first sets leaves all that can be left.
  const std::uint32_t highest = HighestRank(free, free.size() - size) + 1;
  std::uint32_t top = 0;  // one more than the rank of the best
  std::uint32_t best = 0;
  for (std::size_t i = begin; i < end; ++i) {
    // Which sets are free is hard to foresee: no branch on it.
    const std::uint32_t set = list[i];
    const std::uint32_t is_free = (set & ~mask) == 0 ? ~0U : 0U;
    const std::uint32_t rank = (ranks[mask ^ set] + 1U) & is_free;
    if (rank > top) {
      top = rank;
      best = set;
      if (top >= highest) break;
    }
  }
  return CardSet(best);
}

CardSet CardChoice::BestSet(CardSet free, int size) const {
  if (size < 1 || size > free.size()) return {};
  if (!answers_.empty()) {
    return CardSet(answers_[free.bits() * (kAnswerCards + 1) + Index(size)]);
  }
  // The first set that is free has the best bandwidth; the rest of its group can equal it.
  const std::vector<std::uint16_t>& list = lists_[Index(size)];
  std::size_t first = 0;
  while ((list[first] & ~free.bits()) != 0) ++first;
  const auto group = std::ranges::partition_point(groups_[Index(size)],
                                                  [&](const Group& g) { return g.end <= first; });
  return FirstBest(size, first, group->end, free);
}

CardSet CardChoice::KeepRemainder(CardSet free, int size, std::int32_t mbps) const {
  if (size < 1 || size > free.size()) return {};
  const std::vector<Group>& groups = groups_[Index(size)];
  const auto group = std::ranges::partition_point(
      groups, [&](const Group& g) { return size == 1 || g.mbps >= mbps; });
  return group == groups.begin() ? CardSet() : FirstBest(size, 0, std::prev(group)->end, free);
}

int CardChoice::Copies(CardSet free, int size, std::int32_t mbps) const {
  if (size < 1 || size > free.size()) return 0;
  const std::vector<Group>& groups = groups_[Index(size)];
  // Every set will do: nothing to arrange.
  if (size == 1 || groups.back().mbps >= mbps) return free.size() / size;
  if (cards_ > kAnswerCards) {
    int copies = 0;
    for (CardSet left = free;; ++copies) {
      const CardSet taken = KeepRemainder(left, size, mbps);
      if (taken.empty()) return copies;
      left = CardSet(left.bits() ^ taken.bits());
    }
  }
  if (groups.front().mbps < mbps) return 0;
  const std::size_t end =
      std::ranges::partition_point(groups, [&](const Group& g) { return g.mbps >= mbps; })->begin;
  // The lowest card is in a copy or in none; each remainder is looked at once.
  std::array<std::int8_t, 1U << kAnswerCards> known;
  known.fill(-1);
  const std::uint16_t* const list = lists_[Index(size)].data();
  const auto most = [&](const auto& self, std::uint32_t left) -> int {
    if (std::popcount(left) < size) return 0;
    std::int8_t& answer = known[left];
    if (answer >= 0) return answer;
    const std::uint32_t lowest = left & (~left + 1U);
    const int room = std::popcount(left) / size;
    int copies = 0;
    for (std::size_t i = 0; i < end && copies < room; ++i) {
      if ((list[i] & lowest) != 0 && (list[i] & ~left) == 0) {
        copies = std::max(copies, 1 + self(self, left ^ list[i]));
      }
    }
    if (copies < room) copies = std::max(copies, self(self, left ^ lowest));
    answer = static_cast<std::int8_t>(copies);
    return copies;
  };
  return most(most, static_cast<std::uint32_t>(free.bits()));
}

}  // namespace basalt::topology
