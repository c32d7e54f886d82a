// Quotas in topology units: "4 whole 8-card nodes and 2 quads", after HiveD (OSDI'20). One
// SlotQuota is one chain of alike machines: a forest of equal trees of cells, level 0 the card.
//
// Each queue has a private, virtual set of cells as large as its quota, in which its jobs take and
// free cells of any level by buddy allocation. A virtual cell of the quota is bound to a physical
// cell of that level when the first job comes into it, and unbound when the last leaves; physical
// cells come from one buddy allocator that all queues share. Opportunistic work uses any idle cell
// and goes when a queue's own job needs it.
//
// Invariant (HiveD's safety): what the quotas may still bind fits the physical free cells, level by
// level from the top: surplus(k) = surplus(k + 1) x fanout(k + 1) + free(k) - unbound(k) >= 0.
// SetQuota refuses what breaks it. Taking a level-k cell by splitting a free one of level j lowers
// the surplus of levels k+1..j by one; these are 1 or more, because nothing is free at k..j-1 and
// surplus(k) >= 0 with unbound(k) >= 1. Freeing changes no surplus, merging only raises some. So
// binding never fails: a queue always gets what it could have on machines of its own.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "scheduler-core/base/ids.h"
#include "scheduler-core/base/result.h"

namespace basalt {

// One level; level 0 has fanout 1 (ignored), level k is made of `fanout` cells of level k - 1.
struct CellLevel {
  std::string name;  // "card", "pair", "quad", "node"
  std::int32_t fanout = 1;
};

struct CellChain {
  std::string name;  // "8 x A100"
  std::vector<CellLevel> levels;
  std::int32_t tops = 0;  // cells of the highest level
};

// `index` counts the cells of its level from the left. Its cards are numbers
// [index x size, (index + 1) x size), size the number of cards of one cell of the level.
struct Cell {
  std::int32_t level = 0;
  std::uint32_t index = 0;
  friend constexpr auto operator<=>(const Cell&, const Cell&) = default;
};

// Buddy allocation over cells of mixed levels. Free cells are listed by level; all pieces of a
// split cell that are free again merge.
class CellForest {
 public:
  // roots_by_level[k]: root cells of level k; they are laid out from the highest level down.
  CellForest(const std::vector<CellLevel>& levels, const std::vector<std::int64_t>& roots_by_level);

  std::int64_t cards(int level) const { return cards_[static_cast<std::size_t>(level)]; }
  std::int64_t card_count() const { return card_count_; }
  const std::set<std::uint32_t>& free(int level) const {
    return free_[static_cast<std::size_t>(level)];
  }
  int RootLevel(Cell cell) const;  // level of the root that it lies in
  Cell Ancestor(Cell cell, int level) const;
  std::int64_t CountFree(int level) const;  // cells of the level that Allocate could give
  // Lowest level >= `level` with a free cell: Allocate splits there. No value: none is free.
  std::optional<int> SplitLevel(int level) const;
  // Takes `cell`, which lies in the free cell `from`, by splitting that; the other pieces are free.
  void Take(Cell from, Cell cell);
  void Free(Cell cell);

 private:
  std::vector<CellLevel> levels_;
  std::vector<std::int64_t> cards_;       // by level
  std::vector<std::int64_t> root_begin_;  // by level: first card of its roots
  std::vector<std::int64_t> roots_;
  std::int64_t card_count_ = 0;
  std::vector<std::set<std::uint32_t>> free_;
};

// Opportunistic allocation, and what a queue's own job drives out.
using OpportunisticId = Id<struct OpportunisticTag>;

class SlotQuota {
 public:
  static Result<SlotQuota> Create(const CellChain& chain);

  std::optional<int> LevelOf(std::string_view name) const;
  const CellChain& chain() const { return chain_; }
  std::int64_t cards(int level) const { return physical_.cards(level); }

  // Replaces the queue's quota: cells by level, lowest first (shorter: the rest is 0). Refused if
  // all quotas together then do not fit the machines, or, for now, not beside the cells that other
  // queues hold, or while the queue itself holds cells.
  Status SetQuota(QueueId queue, const std::vector<std::int64_t>& cells_by_level);

  // How many cells of the level the queue could take now, one after the other.
  std::int64_t Available(QueueId queue, int level) const;

  struct Grant {
    Cell cell;                             // physical
    std::vector<OpportunisticId> evicted;  // who must leave it; their cells are free already
  };
  // A cell for the queue's own job; no value exactly when Available() is 0. Among equal choices the
  // cell with the fewest opportunistic cards, then the lowest.
  std::optional<Grant> Allocate(QueueId queue, int level);
  void Free(Cell cell);  // one that Allocate gave

  // A cell in which nothing runs, for work that anyone's own job may drive out; the one in the
  // fullest surroundings, then the lowest. No value: no such cell is idle.
  struct Opportunistic {
    OpportunisticId id;
    Cell cell;
  };
  std::optional<Opportunistic> AllocateOpportunistic(int level);
  void FreeOpportunistic(OpportunisticId id);

  void Audit() const;  // stops at the first broken invariant; tests

 private:
  struct Binding {
    Cell physical;
    std::int32_t jobs = 0;  // 0: not bound
  };
  struct VirtualCluster {
    QueueId queue;
    std::vector<std::int64_t> quota;
    CellForest forest;
    std::map<Cell, Binding> roots;  // the bound cells of the quota
  };
  struct Job {
    QueueId queue;
    Cell cell;  // virtual
  };

  explicit SlotQuota(const CellChain& chain);
  VirtualCluster* ClusterOf(QueueId queue);
  const VirtualCluster* ClusterOf(QueueId queue) const;
  Cell PhysicalOf(Cell virtual_root, Cell physical_root, Cell virtual_cell) const;
  // The lowest level with a negative surplus for these unbound cells; none: they fit.
  std::optional<int> Lacks(const std::vector<std::int64_t>& free,
                           const std::vector<std::int64_t>& unbound) const;
  std::vector<std::int64_t> Unbound() const;
  std::vector<std::int64_t> FreeByLevel() const;
  std::vector<OpportunisticId> GuestsOver(Cell cell) const;
  // Step by step into the piece with the fewest guests.
  Cell Descend(Cell from, int level) const;
  void Count(std::vector<std::vector<std::int32_t>>* counts, Cell cell, int sign);

  CellChain chain_;
  CellForest physical_;
  std::vector<VirtualCluster> clusters_;
  std::map<Cell, Job> jobs_;                      // by physical cell
  std::vector<std::vector<std::int32_t>> own_;    // by level, by cell: cards of queues' own jobs
  std::vector<std::vector<std::int32_t>> guest_;  // the same of opportunistic work
  std::map<std::int64_t, OpportunisticId> guest_at_;  // by first card
  std::vector<Cell> guest_cells_;                     // by OpportunisticId; level -1: a free slot
};

}  // namespace basalt
