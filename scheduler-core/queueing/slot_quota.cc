#include "scheduler-core/queueing/slot_quota.h"

#include <fmt/format.h>

#include <algorithm>

#include "scheduler-core/base/check.h"

namespace basalt {
namespace {

constexpr std::int64_t kMaxCards = std::int64_t{1} << 24;

std::size_t At(int level) { return static_cast<std::size_t>(level); }

}  // namespace

// --- buddy allocation ---------------------------------------------------------------------------

CellForest::CellForest(const std::vector<CellLevel>& levels,
                       const std::vector<std::int64_t>& roots_by_level)
    : levels_(levels), root_begin_(levels.size(), 0), roots_(roots_by_level), free_(levels.size()) {
  BASALT_CHECK(roots_.size() == levels_.size());
  std::int64_t size = 1;
  for (std::size_t k = 0; k < levels_.size(); ++k) {
    if (k > 0) size *= levels_[k].fanout;
    cards_.push_back(size);
  }
  // From the highest level down every root starts at a multiple of its size.
  for (std::size_t k = levels_.size(); k-- > 0;) {
    root_begin_[k] = card_count_;
    for (std::int64_t i = 0; i < roots_[k]; ++i) {
      free_[k].insert(static_cast<std::uint32_t>(card_count_ / cards_[k]));
      card_count_ += cards_[k];
    }
  }
}

int CellForest::RootLevel(Cell cell) const {
  const std::int64_t card = cell.index * cards(cell.level);
  int level = static_cast<int>(levels_.size()) - 1;
  while (card >= root_begin_[At(level)] + roots_[At(level)] * cards(level)) --level;
  return level;
}

Cell CellForest::Ancestor(Cell cell, int level) const {
  return Cell{level, static_cast<std::uint32_t>(cell.index * cards(cell.level) / cards(level))};
}

std::int64_t CellForest::CountFree(int level) const {
  std::int64_t count = 0;
  for (int k = level; k < static_cast<int>(levels_.size()); ++k) {
    count += static_cast<std::int64_t>(free(k).size()) * (cards(k) / cards(level));
  }
  return count;
}

std::optional<int> CellForest::SplitLevel(int level) const {
  for (int k = level; k < static_cast<int>(levels_.size()); ++k) {
    if (!free(k).empty()) return k;
  }
  return std::nullopt;
}

void CellForest::Take(Cell from, Cell cell) {
  BASALT_CHECK(free_[At(from.level)].erase(from.index) == 1);
  BASALT_CHECK(Ancestor(cell, from.level) == from);
  for (int k = from.level; k > cell.level; --k) {
    const auto fanout = static_cast<std::uint32_t>(levels_[At(k)].fanout);
    const std::uint32_t first = Ancestor(cell, k).index * fanout;
    const std::uint32_t keep = Ancestor(cell, k - 1).index;
    for (std::uint32_t i = first; i < first + fanout; ++i) {
      if (i != keep) free_[At(k - 1)].insert(i);
    }
  }
}

void CellForest::Free(Cell cell) {
  const int top = RootLevel(cell);
  for (; cell.level < top; cell = Ancestor(cell, cell.level + 1)) {
    std::set<std::uint32_t>& beside = free_[At(cell.level)];
    const auto fanout = static_cast<std::uint32_t>(levels_[At(cell.level + 1)].fanout);
    const std::uint32_t first = cell.index / fanout * fanout;
    bool all = true;
    for (std::uint32_t i = first; i < first + fanout && all; ++i) {
      all = i == cell.index || beside.contains(i);
    }
    if (!all) break;
    for (std::uint32_t i = first; i < first + fanout; ++i) beside.erase(i);
  }
  BASALT_CHECK(free_[At(cell.level)].insert(cell.index).second);
}

// --- quotas -------------------------------------------------------------------------------------

namespace {

std::vector<std::int64_t> OnlyTops(const CellChain& chain) {
  std::vector<std::int64_t> roots(chain.levels.size(), 0);
  roots.back() = chain.tops;
  return roots;
}

}  // namespace

Result<SlotQuota> SlotQuota::Create(const CellChain& chain) {
  const std::string where = fmt::format("cells of '{}'", chain.name);
  if (chain.levels.empty()) return Fail(where, "no levels: give at least the card");
  if (chain.tops < 1) return Fail(where, fmt::format("{} cells of the highest level", chain.tops));
  std::int64_t cards = chain.tops;
  for (std::size_t k = 0; k < chain.levels.size(); ++k) {
    const CellLevel& level = chain.levels[k];
    for (std::size_t j = 0; j < k; ++j) {
      if (chain.levels[j].name == level.name) {
        return Fail(where, fmt::format("two levels are called '{}'", level.name));
      }
    }
    if (k == 0) continue;
    if (level.fanout < 1 || level.fanout > kMaxCards) {
      return Fail(where,
                  fmt::format("'{}' is made of {} cells; at least 1", level.name, level.fanout));
    }
    cards *= level.fanout;
    if (cards > kMaxCards) {
      return Fail(where,
                  fmt::format("more than {} cards; make chains of fewer machines", kMaxCards));
    }
  }
  return SlotQuota(chain);
}

SlotQuota::SlotQuota(const CellChain& chain)
    : chain_(chain), physical_(chain.levels, OnlyTops(chain)) {
  for (int k = 0; k < static_cast<int>(chain.levels.size()); ++k) {
    const auto cells = static_cast<std::size_t>(physical_.card_count() / cards(k));
    own_.emplace_back(cells, 0);
    guest_.emplace_back(cells, 0);
  }
}

std::optional<int> SlotQuota::LevelOf(std::string_view name) const {
  for (std::size_t k = 0; k < chain_.levels.size(); ++k) {
    if (chain_.levels[k].name == name) return static_cast<int>(k);
  }
  return std::nullopt;
}

SlotQuota::VirtualCluster* SlotQuota::ClusterOf(QueueId queue) {
  for (VirtualCluster& cluster : clusters_) {
    if (cluster.queue == queue) return &cluster;
  }
  return nullptr;
}

const SlotQuota::VirtualCluster* SlotQuota::ClusterOf(QueueId queue) const {
  return const_cast<SlotQuota*>(this)->ClusterOf(queue);
}

std::optional<int> SlotQuota::Lacks(const std::vector<std::int64_t>& free,
                                    const std::vector<std::int64_t>& unbound) const {
  std::int64_t surplus = 0;
  for (std::size_t k = free.size(); k-- > 0;) {
    const std::int64_t fanout = k + 1 < free.size() ? chain_.levels[k + 1].fanout : 1;
    surplus = surplus * fanout + free[k] - unbound[k];
    if (surplus < 0) return static_cast<int>(k);
  }
  return std::nullopt;
}

std::vector<std::int64_t> SlotQuota::Unbound() const {
  std::vector<std::int64_t> unbound(chain_.levels.size(), 0);
  for (const VirtualCluster& cluster : clusters_) {
    for (std::size_t k = 0; k < unbound.size(); ++k) unbound[k] += cluster.quota[k];
    for (const auto& [root, binding] : cluster.roots) --unbound[At(root.level)];
  }
  return unbound;
}

std::vector<std::int64_t> SlotQuota::FreeByLevel() const {
  std::vector<std::int64_t> free;
  for (int k = 0; k < static_cast<int>(chain_.levels.size()); ++k) {
    free.push_back(static_cast<std::int64_t>(physical_.free(k).size()));
  }
  return free;
}

Status SlotQuota::SetQuota(QueueId queue, const std::vector<std::int64_t>& cells_by_level) {
  const std::string where = fmt::format("slot quota on '{}'", chain_.name);
  if (cells_by_level.size() > chain_.levels.size()) {
    return Fail(where, fmt::format("{} levels given, there are {}", cells_by_level.size(),
                                   chain_.levels.size()));
  }
  std::vector<std::int64_t> quota = cells_by_level;
  quota.resize(chain_.levels.size(), 0);
  for (std::size_t k = 0; k < quota.size(); ++k) {
    const std::int64_t most = physical_.card_count() / cards(static_cast<int>(k));
    if (quota[k] < 0 || quota[k] > most) {
      return Fail(where, fmt::format("{} cells of level '{}': there are {}", quota[k],
                                     chain_.levels[k].name, most));
    }
  }
  VirtualCluster* cluster = ClusterOf(queue);
  if (cluster != nullptr && !cluster->roots.empty()) {
    return Fail(where, "the queue holds cells: drain it first");
  }
  std::vector<std::int64_t> all = quota;
  std::vector<std::int64_t> unbound = Unbound();
  for (std::size_t k = 0; k < quota.size(); ++k) {
    for (const VirtualCluster& other : clusters_) {
      if (other.queue != queue) all[k] += other.quota[k];
    }
    unbound[k] += quota[k] - (cluster == nullptr ? 0 : cluster->quota[k]);
  }
  if (const auto level = Lacks(OnlyTops(chain_), all)) {
    return Fail(where, fmt::format("quotas do not fit {} x '{}': too little is left for the {} of "
                                   "level '{}'",
                                   chain_.tops, chain_.levels.back().name, all[At(*level)],
                                   chain_.levels[At(*level)].name));
  }
  if (const auto level = Lacks(FreeByLevel(), unbound)) {
    return Fail(where, fmt::format("does not fit beside the cells in use, which lie too scattered "
                                   "for level '{}': drain some and try again",
                                   chain_.levels[At(*level)].name));
  }
  VirtualCluster fresh{queue, quota, CellForest(chain_.levels, quota), {}};
  if (cluster != nullptr) {
    *cluster = std::move(fresh);
  } else {
    clusters_.push_back(std::move(fresh));
  }
  return {};
}

std::int64_t SlotQuota::Available(QueueId queue, int level) const {
  const VirtualCluster* cluster = ClusterOf(queue);
  return cluster == nullptr ? 0 : cluster->forest.CountFree(level);
}

Cell SlotQuota::PhysicalOf(Cell virtual_root, Cell physical_root, Cell virtual_cell) const {
  const auto pieces =
      static_cast<std::uint32_t>(cards(virtual_root.level) / cards(virtual_cell.level));
  return Cell{virtual_cell.level,
              physical_root.index * pieces + virtual_cell.index - virtual_root.index * pieces};
}

Cell SlotQuota::Descend(Cell from, int level) const {
  while (from.level > level) {
    const auto fanout = static_cast<std::uint32_t>(chain_.levels[At(from.level)].fanout);
    const std::vector<std::int32_t>& guests = guest_[At(from.level - 1)];
    std::uint32_t best = from.index * fanout;
    for (std::uint32_t i = best + 1; i < (from.index + 1) * fanout; ++i) {
      if (guests[i] < guests[best]) best = i;
    }
    from = Cell{from.level - 1, best};
  }
  return from;
}

void SlotQuota::Count(std::vector<std::vector<std::int32_t>>* counts, Cell cell, int sign) {
  const auto size = static_cast<std::int32_t>(cards(cell.level));
  for (std::size_t k = 0; k < counts->size(); ++k) {
    const int level = static_cast<int>(k);
    if (level >= cell.level) {
      (*counts)[k][physical_.Ancestor(cell, level).index] += sign * size;
      continue;
    }
    const auto part = static_cast<std::int32_t>(cards(level));
    const auto pieces = static_cast<std::uint32_t>(size / part);
    for (std::uint32_t i = 0; i < pieces; ++i) {
      (*counts)[k][cell.index * pieces + i] += sign * part;
    }
  }
}

std::optional<SlotQuota::Grant> SlotQuota::Allocate(QueueId queue, int level) {
  VirtualCluster* cluster = ClusterOf(queue);
  if (cluster == nullptr) return std::nullopt;
  const auto split = cluster->forest.SplitLevel(level);
  if (!split) return std::nullopt;
  // A free piece of a bound cell first: by guests, then from the left. Else a cell not bound yet.
  const auto fewest = [&](int at, const auto& cells, auto physical_of) {
    std::optional<Cell> best;
    std::int32_t guests = 0;
    for (const std::uint32_t index : cells) {
      const std::optional<Cell> physical = physical_of(Cell{at, index});
      if (!physical) continue;
      const std::int32_t here = guest_[At(at)][physical->index];
      if (best && here >= guests) continue;
      best = Cell{at, index};
      guests = here;
    }
    return best;
  };
  const auto root_of = [&](Cell cell) {
    return cluster->forest.Ancestor(cell, cluster->forest.RootLevel(cell));
  };
  auto from = fewest(*split, cluster->forest.free(*split), [&](Cell cell) -> std::optional<Cell> {
    const Cell root = root_of(cell);
    const auto bound = cluster->roots.find(root);
    if (bound == cluster->roots.end()) return std::nullopt;
    return PhysicalOf(root, bound->second.physical, cell);
  });
  if (!from) {
    from = Cell{*split, *cluster->forest.free(*split).begin()};
    const auto whole = physical_.SplitLevel(*split);
    BASALT_CHECK(whole.has_value());  // the safety of quotas
    const auto physical_from =
        fewest(*whole, physical_.free(*whole), [](Cell cell) { return std::optional<Cell>(cell); });
    const Cell physical = Descend(*physical_from, *split);
    physical_.Take(*physical_from, physical);
    cluster->roots.emplace(*from, Binding{physical, 0});
  }
  const Cell root = root_of(*from);
  Binding& binding = cluster->roots.at(root);
  const Cell physical = Descend(PhysicalOf(root, binding.physical, *from), level);
  const Cell cell = PhysicalOf(binding.physical, root, physical);
  cluster->forest.Take(*from, cell);
  ++binding.jobs;
  jobs_.emplace(physical, Job{queue, cell});
  Grant grant{physical, GuestsOver(physical)};
  for (const OpportunisticId guest : grant.evicted) FreeOpportunistic(guest);
  Count(&own_, physical, 1);
  return grant;
}

void SlotQuota::Free(Cell physical) {
  const auto job = jobs_.find(physical);
  BASALT_CHECK(job != jobs_.end());
  VirtualCluster* cluster = ClusterOf(job->second.queue);
  const Cell cell = job->second.cell;
  const Cell root = cluster->forest.Ancestor(cell, cluster->forest.RootLevel(cell));
  cluster->forest.Free(cell);
  Count(&own_, physical, -1);
  jobs_.erase(job);
  const auto bound = cluster->roots.find(root);
  if (--bound->second.jobs == 0) {
    physical_.Free(bound->second.physical);
    cluster->roots.erase(bound);
  }
}

std::vector<OpportunisticId> SlotQuota::GuestsOver(Cell cell) const {
  std::vector<OpportunisticId> out;
  const std::int64_t begin = cell.index * cards(cell.level);
  const std::int64_t end = begin + cards(cell.level);
  auto it = guest_at_.upper_bound(begin);
  if (it != guest_at_.begin()) {  // one that starts before or at `begin` may reach into it
    const auto before = std::prev(it);
    const Cell guest = guest_cells_[before->second.index()];
    if (before->first + cards(guest.level) > begin) it = before;
  }
  for (; it != guest_at_.end() && it->first < end; ++it) out.push_back(it->second);
  return out;
}

std::optional<SlotQuota::Opportunistic> SlotQuota::AllocateOpportunistic(int level) {
  std::optional<Cell> best;
  const auto used = [&](Cell cell) {
    return own_[At(cell.level)][cell.index] + guest_[At(cell.level)][cell.index];
  };
  const auto fuller = [&](Cell a, Cell b) {
    for (int k = level + 1; k < static_cast<int>(chain_.levels.size()); ++k) {
      const std::int32_t left = used(physical_.Ancestor(a, k));
      const std::int32_t right = used(physical_.Ancestor(b, k));
      if (left != right) return left > right;
    }
    return false;
  };
  for (std::uint32_t i = 0; i < own_[At(level)].size(); ++i) {
    const Cell cell{level, i};
    if (used(cell) == 0 && (!best || fuller(cell, *best))) best = cell;
  }
  if (!best) return std::nullopt;
  std::size_t slot = 0;
  while (slot < guest_cells_.size() && guest_cells_[slot].level >= 0) ++slot;
  if (slot == guest_cells_.size()) guest_cells_.push_back(Cell{-1, 0});
  const OpportunisticId id(slot);
  guest_cells_[slot] = *best;
  guest_at_.emplace(best->index * cards(level), id);
  Count(&guest_, *best, 1);
  return Opportunistic{id, *best};
}

void SlotQuota::FreeOpportunistic(OpportunisticId id) {
  BASALT_CHECK(id.index() < guest_cells_.size() && guest_cells_[id.index()].level >= 0);
  const Cell cell = guest_cells_[id.index()];
  guest_at_.erase(cell.index * cards(cell.level));
  Count(&guest_, cell, -1);
  guest_cells_[id.index()].level = -1;
}

void SlotQuota::Audit() const {
  BASALT_CHECK(!Lacks(FreeByLevel(), Unbound()));
  std::vector<char> taken(static_cast<std::size_t>(physical_.card_count()), 0);
  const auto take = [&](Cell cell) {  // no card twice
    for (std::int64_t i = 0; i < cards(cell.level); ++i) {
      char& card = taken[static_cast<std::size_t>(cell.index * cards(cell.level) + i)];
      BASALT_CHECK(card == 0);
      card = 1;
    }
  };
  for (const auto& [cell, job] : jobs_) take(cell);
  for (const Cell cell : guest_cells_) {
    if (cell.level >= 0) take(cell);
  }
  std::vector<char> bound(taken.size(), 0);
  for (const VirtualCluster& cluster : clusters_) {
    for (const auto& [root, binding] : cluster.roots) {
      const std::int64_t size = cards(binding.physical.level);
      BASALT_CHECK(binding.jobs > 0);
      for (std::int64_t i = 0; i < size; ++i) {
        char& card = bound[static_cast<std::size_t>(binding.physical.index * size + i)];
        BASALT_CHECK(card == 0);
        card = 1;
      }
    }
  }
  std::size_t free = 0;
  for (int k = 0; k < static_cast<int>(chain_.levels.size()); ++k) {
    for (const std::uint32_t index : physical_.free(k)) {
      for (std::int64_t i = 0; i < cards(k); ++i, ++free) {
        BASALT_CHECK(bound[static_cast<std::size_t>(index * cards(k) + i)] == 0);
      }
    }
  }
  const auto held = static_cast<std::size_t>(std::count(bound.begin(), bound.end(), 1));
  BASALT_CHECK(free + held == bound.size());
  for (std::size_t card = 0; card < taken.size(); ++card) {
    BASALT_CHECK(own_[0][card] + guest_[0][card] == taken[card]);
    BASALT_CHECK(own_[0][card] <= bound[card]);
  }
}

}  // namespace basalt
