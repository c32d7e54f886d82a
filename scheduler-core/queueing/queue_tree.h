// The tree of queues: what each may hold and what it holds. Pods are charged to leaves; every
// amount is kept for the whole path up to the root, whose capacity is the cluster's total.
//
// Per resource a queue has
//   guarantee  it can always have this back, at once or by reclaim (absent: none),
//   deserved   it gets this before anyone borrows (absent: its guarantee),
//   capacity   it never holds more by a decision (absent: no limit),
// with guarantee <= deserved <= capacity. An inner queue that does not name a guarantee (deserved)
// has the sum of its children's; if it does, the children's sum must not exceed it.
//
// Guarantees always reclaimable. What cannot be taken back from a leaf is what its non-preemptible
// pods hold (all that it holds if the leaf or a queue above is not reclaimable). Define
//   claim(leaf)  = max(guarantee, what cannot be taken back)
//   claim(inner) = max(guarantee, sum of the children's claims; all it holds if not reclaimable).
// The rule: no decision raises a claim above that queue's capacity, nor the root's above the
// cluster's total. Then for every queue below its guarantee the rest is either free or held by
// pods of other queues that are preemptible, reclaimable and beyond their own guarantees: with A
// held in all and K the parts of it that are not takable, free + takable = total - K, and
// claim(root) = K + the unmet guarantees <= total. A preemptible pod of a reclaimable queue raises
// no claim, so borrowing is limited by capacity alone.
// Observations (a foreign pod, a node lost, a quota cut) are recorded even when they break a limit;
// a queue that is over takes nothing more of that resource.
//
// Decisions: Refusal() first, then Charge(); FirmRefusal() before trying to reclaim. Ids are slots,
// reused after Remove. Stored order is the order of Add among siblings; it breaks all ties, so add
// in the same order on every run.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "scheduler-core/base/ids.h"
#include "scheduler-core/base/result.h"
#include "scheduler-core/queueing/resources.h"
#include "topology/card_set.h"

namespace basalt {

inline constexpr std::int32_t kMaxQueueWeight = 1'000'000;

// Whole nodes that a queue can always have for work that is not preemptible (node_slots.h).
struct SlotQuota {
  std::int32_t cards = 0;  // of the node: exactly so many, 1..kMaxCardsPerNode
  std::int64_t count = 0;  // nodes, 1..1,000,000
  std::string model;       // of the cards; empty: any
  friend bool operator==(const SlotQuota&, const SlotQuota&) = default;
};
// Of all queues together, each kind of node counted once more.
inline constexpr std::size_t kMaxSlotQuotas = 63;

struct QueueSpec {
  std::string name;           // unique in the tree, e.g. "ml/vision"; not "root"
  std::string parent;         // empty: directly under the root
  std::int32_t weight = 1;    // 0..kMaxQueueWeight: part of what is left over; 0: never borrows
  std::int32_t priority = 0;  // what is left over goes to higher priorities first
  AmountMap guarantee, deserved, capacity;
  bool reclaimable = true;  // others may take back what it holds beyond its guarantee
  // Cap on the memory oversubscription of cards that its pods may use, percent of physical memory,
  // 100..200; 0: none of its own. The effective cap is the lowest on the path (memory_ratio()).
  std::int32_t memory_ratio_percent = 0;
  // For this queue or all below it. Not beside slots of the same kind above or below it; slots of
  // one number of cards all name a model, in all queues, or none does.
  std::vector<SlotQuota> slots;
};

// Why a request may not be charged now: "queue 'ml/vision' has 40 of 40 gpu/A100, 8 more asked".
struct QuotaRefusal {
  enum class Kind {
    kCapacity,    // `held` + `asked` > `limit`, the queue's capacity (the root's: the cluster)
    kGuarantees,  // non-preemptible work would eat into what guarantees still need: the claim of
                  // `queue`, `held`, would grow by `asked` beyond its capacity, `limit`
  };
  Kind kind = Kind::kCapacity;
  QueueId queue;  // the lowest that refuses: reclaim from outside of it does not help
  ResourceId resource;
  std::int64_t held = 0, limit = 0, asked = 0;
};

class QueueTree {
 public:
  static constexpr QueueId kRoot{std::uint32_t{0}};

  QueueTree();

  // --- structure ------------------------------------------------------------------------------
  // Errors name the queue and the field: unknown or full parent (one that holds pods), a second
  // queue of that name, amounts out of 0..kMaxQuotaAmount, guarantee > deserved > capacity, the
  // children's sum above what the parent names, a cycle. On an error nothing has changed.
  Result<QueueId> Add(const QueueSpec& spec);
  // In any order of parents and children; all or none. Ids in the order of `specs`.
  Result<std::vector<QueueId>> AddAll(const std::vector<QueueSpec>& specs);
  // Replaces the spec; name and parent may change, what is held moves along. Capacity may go below
  // what is held: then the queue takes nothing more.
  Status Update(QueueId queue, const QueueSpec& spec);
  Status Remove(QueueId queue);  // refused with children, held amounts or pending requests

  std::optional<QueueId> Find(std::string_view name) const;
  bool contains(QueueId queue) const {
    return queue.index() < queues_.size() && queues_[queue].alive;
  }
  const QueueSpec& spec(QueueId queue) const { return queues_[queue].spec; }
  const std::string& name(QueueId queue) const { return queues_[queue].spec.name; }
  QueueId parent(QueueId queue) const { return queues_[queue].parent; }  // invalid for the root
  const std::vector<QueueId>& children(QueueId queue) const { return queues_[queue].children; }
  bool IsLeaf(QueueId queue) const { return queue != kRoot && queues_[queue].children.empty(); }
  bool IsUnder(QueueId queue, QueueId ancestor) const;             // or the same
  int depth(QueueId queue) const { return queues_[queue].depth; }  // root: 0
  std::size_t slots() const { return queues_.size(); }             // ids are below this
  // All queues, parents before children, siblings in stored order; the root first.
  const std::vector<QueueId>& order() const { return order_; }
  // Changes when a queue is added, updated or removed.
  std::uint64_t structure_version() const { return structure_version_; }

  ResourceTable& resources() { return resources_; }
  const ResourceTable& resources() const { return resources_; }

  // --- amounts --------------------------------------------------------------------------------
  // The cluster. A resource that is not set (e.g. an SKU) is limited by no hardware.
  void SetTotal(ResourceId resource, std::int64_t amount);
  const Limits& total() const { return queues_[kRoot].capacity; }
  // Whether the cluster's total covers all guarantees; the error names the resource and both sums.
  Status CheckGuarantees() const;

  // Effective values: an inner queue's unnamed guarantee (deserved) is its children's sum.
  const Amounts& guarantee(QueueId queue) const { return queues_[queue].guarantee; }
  const Amounts& deserved(QueueId queue) const { return queues_[queue].deserved; }
  const Limits& capacity(QueueId queue) const { return queues_[queue].capacity; }
  std::int32_t memory_ratio(QueueId queue) const;  // lowest on the path; 0: none

  // Whether charging `ask` to the leaf keeps every capacity on the path and all claims. A resource
  // of which `ask` has 0 never refuses. The lowest queue and then the lowest resource id is named.
  // `taken`: what a reclaim would take from each queue (and those above), counted as gone.
  std::optional<QuotaRefusal> Refusal(QueueId leaf, const Amounts& ask, bool preemptible,
                                      const IdVector<QueueId, Amounts>* taken = nullptr) const;
  // The same, but for the cluster's own totals: whether hardware suffices is the state's to say.
  std::optional<QuotaRefusal> RefusalByQueues(QueueId leaf, const Amounts& ask,
                                              bool preemptible) const;
  // What no taking back can lift, neither reclaim nor preemption inside the queue: the refusal
  // if only work that is not preemptible were there. Cheap; ask it before looking for victims.
  std::optional<QuotaRefusal> FirmRefusal(QueueId leaf, const Amounts& ask, bool preemptible) const;
  // By how much each resource is short for the request, at the worst place on the path (the cluster
  // included); 0 where nothing refuses. ReclaimAsk::shortfall for what quotas lack.
  Amounts Lack(QueueId leaf, const Amounts& ask, bool preemptible) const;
  std::string Describe(const QuotaRefusal& refusal) const;

  // Recorded whatever the limits say. Amounts must not be negative; Uncharge takes back exactly
  // what was charged (more than is held is a broken invariant).
  void Charge(QueueId leaf, const Amounts& amounts, bool preemptible);
  void Uncharge(QueueId leaf, const Amounts& amounts, bool preemptible);
  // What pending jobs of the leaf ask for: the division's demand. A job that starts is taken from
  // pending and charged.
  void AddPending(QueueId leaf, const Amounts& amounts);
  void RemovePending(QueueId leaf, const Amounts& amounts);

  const Amounts& allocated(QueueId queue) const { return queues_[queue].allocated; }
  const Amounts& allocated_firm(QueueId queue) const { return queues_[queue].firm; }
  const Amounts& pending(QueueId queue) const { return queues_[queue].pending; }
  std::int64_t pending_jobs(QueueId queue) const { return queues_[queue].pending_jobs; }
  const Amounts& claim(QueueId queue) const { return queues_[queue].claim; }
  // Changes when anything of the queue changes that decides its place in a queue order.
  std::uint64_t version(QueueId queue) const { return queues_[queue].version; }
  std::uint64_t total_version() const { return total_version_; }

  // Recomputes every derived number from the leaves and stops at the first difference; tests.
  void Audit() const;

 private:
  struct Queue {
    QueueSpec spec;
    QueueId parent;
    std::vector<QueueId> children;
    int depth = 0;
    bool alive = false;
    Amounts guarantee, deserved;
    Limits capacity;
    Amounts allocated, firm, pending;  // firm: by non-preemptible pods
    std::int64_t pending_jobs = 0;
    std::int64_t pods = 0;  // charged; some hold nothing that counts
    Amounts child_claims, claim;
    std::uint64_t version = 0;
  };

  Status CheckSpec(const QueueSpec& spec, QueueId self) const;
  Status Place(QueueId queue, const QueueSpec& spec);
  Status CheckSlots() const;
  template <class Held, class Report>
  void Check(QueueId leaf, const Amounts& ask, bool preemptible, const Held& held,
             const Report& report) const;
  Status Rebuild();
  Status Derive(QueueId queue);
  std::int64_t ClaimOf(const Queue& queue, ResourceId resource, std::int64_t child_claims,
                       std::int64_t firm, std::int64_t allocated) const;
  void Apply(QueueId leaf, const Amounts& amounts, bool preemptible, std::int64_t sign);

  ResourceTable resources_;
  IdVector<QueueId, Queue> queues_;
  std::map<std::string, QueueId, std::less<>> by_name_;
  std::vector<QueueId> order_;
  std::uint64_t structure_version_ = 0;
  std::uint64_t total_version_ = 0;
};

}  // namespace basalt
