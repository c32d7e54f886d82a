// Fair shares of a whole queue tree, and whose turn it is.
//
// The division goes top-down: the root's share is the cluster's total; each queue's share is
// divided over its children, who never get more than they request (allocated + pending) or their
// capacities allow. Units that do not divide go by largest remainder, then priority, then stored
// order. Sources: KAI Scheduler's proportion plugin (deserved first, then by priority
// and weight, time-based fairness), DRF (NSDI'11).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "scheduler-core/queueing/division.h"
#include "scheduler-core/queueing/queue_tree.h"
#include "scheduler-core/queueing/usage.h"

namespace basalt {

enum class ShareRule {
  kPerResource,  // each resource by itself: DivideAmount
  // Progressive filling of dominant shares: DivideDominant, at each level of what the parent has.
  // Priority, deserved and usage do not enter. A queue starts with the fraction of its request that
  // lies within its guarantee: none, if it asks for a limited resource that it has no guarantee of.
  kDominant,
};

struct DivisionOptions {
  ShareRule rule = ShareRule::kPerResource;
  // Time-based fairness (kPerResource): siblings' weights become max(0, w + k (w - u)), w the
  // normalized weight, u the usage as a part of the cluster's total. In thousandths, 0..100,000;
  // 0: off. Who comes to 0 gets what the others of its priority leave, by plain weight. (KAI
  // normalizes again in each of its rounds, here once among those that want more than they
  // deserve.)
  std::int32_t usage_factor_milli = 0;
};

// The shares of one moment. Recompute after pending, allocations or specs have changed.
class FairShares {
 public:
  // `usage` (advanced to now) may be null when usage_factor_milli is 0.
  void Divide(const QueueTree& tree, const DivisionOptions& options, const DecayedUsage* usage);
  // What the queue may hold in fairness; at most its request. A resource without a total (and thus
  // without contention): its request, capped by capacity.
  const Amounts& share(QueueId queue) const { return shares_[queue]; }

 private:
  struct Row {
    QueueId queue;
    std::uint32_t parent;      // row
    std::uint32_t begin, end;  // rows of its children
  };
  void Gather(const QueueTree& tree);
  void DivideResource(const QueueTree& tree, const DivisionOptions& options,
                      const DecayedUsage* usage, ResourceId resource);
  void WeighByUsage(const QueueTree& tree, const DivisionOptions& options,
                    const DecayedUsage& usage, std::size_t first_row,
                    std::span<ShareClaim> children, ResourceId resource) const;
  void DivideByDominance(const QueueTree& tree);

  IdVector<QueueId, Amounts> shares_;
  std::vector<Row> rows_;
  std::vector<ShareClaim> claims_;   // by resource, by row
  std::vector<std::int64_t> given_;  // the same
  FillScratch scratch_;
};

// max over resources of allocated / total, divided by weight: an exact fraction. Weight 0 is
// larger than everything.
struct DominantShare {
  std::int64_t amount = 0;
  std::int64_t of = 1;  // total x weight; 0: larger than everything
  ResourceId resource;  // invalid: holds nothing that is limited
};
// With `past`, what was held in the past counts beside it: allocated + factor x usage.
DominantShare DominantShareOf(const QueueTree& tree, QueueId queue,
                              const DecayedUsage* past = nullptr, std::int32_t factor_milli = 0);
bool operator<(const DominantShare& a, const DominantShare& b);

struct OrderOptions {
  // Queues that hold less than they deserve, of each resource that they have pending jobs for and
  // deserve some of, go before those that deserve none of these or would borrow.
  bool deserved_first = true;
  // Of DivisionOptions: how much of past usage counts in the shares that are compared. 0: none.
  std::int32_t usage_factor_milli = 0;
};

// Which queue is served next: from the root down, among the children with pending jobs, by
// (deserved_first, priority high to low, lowest weighted dominant share, stored order). Charging
// one task at a time in this order is DRF's algorithm. Inner queues are compared by the sums of
// what is below them, without hierarchical DRF's rescaling; one whose leaves are all blocked is
// passed over.
class QueueOrder {
 public:
  explicit QueueOrder(OrderOptions options) : options_(options) {}
  // The leaf to serve, of those that are not blocked; none: no value. Blocked counts for leaves
  // and inner queues; shorter than the tree: the rest is open. Without `past` (advanced to now)
  // only what is held counts.
  std::optional<QueueId> Next(const QueueTree& tree, const IdVector<QueueId, char>& blocked,
                              const DecayedUsage* past = nullptr);

 private:
  struct Key {
    std::uint64_t version = 0, total_version = 0;
    bool known = false;
    bool borrows = false;
    std::int32_t priority = 0;
    DominantShare share;
  };
  const Key& KeyOf(const QueueTree& tree, const DecayedUsage* past, QueueId queue);
  std::optional<QueueId> NextBelow(const QueueTree& tree, const IdVector<QueueId, char>& blocked,
                                   const DecayedUsage* past, QueueId queue);

  OrderOptions options_;
  IdVector<QueueId, Key> keys_;
};

}  // namespace basalt
