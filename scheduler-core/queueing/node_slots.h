// Slot quotas: "4 whole nodes of 8 cards", after HiveD (OSDI'20). What this keeps are counts of
// nodes; which node is in which state is said to it (engine/slots.cc).
//
// A kind of slot is a number of cards and maybe a model. Kinds never overlap: a node is of one at
// most. Firm work is what nobody may take back: pods that are not preemptible, or of a queue that
// is not reclaimable. A node of a kind is
//   open        no firm work is on it (work that gives way may be),
//   held        all its firm work is of one queue that has slots of the kind, or below that queue,
//   outside     otherwise; so are nodes of no kind, cordoned ones and those with a card missing.
// With count = a queue's slots of the kind: bound = min(count, held by it), unbound = count -
// bound.
//
// Invariant (HiveD's safety): slack = open - (sum of unbound) >= 0 for each kind. Then every queue
// can have its slots as whole nodes, whatever others do, once work that gives way has left.
// No decision lowers the slack below 0, nor lowers it at all where it is below. Observations may (a
// node is lost, a foreign pod comes, slots are configured that do not fit): then `short_of` says
// by how much, and nothing makes it worse. Firm work that ends never lowers it.
//
// States are given as marks, small numbers, so that a shape can be closed to a set of them
// (ClusterState::Closed).
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "scheduler-core/queueing/queue_tree.h"

namespace basalt {

using SlotMark = std::uint8_t;
inline constexpr SlotMark kOutside = 0;

class NodeSlots {
 public:
  struct Kind {
    std::int32_t cards = 0;
    std::string model;  // empty: any, all cards alike
    std::int64_t open = 0;
    std::int64_t unbound = 0;
    std::int64_t slack() const { return open - unbound; }
  };
  // The slots of one queue of one kind.
  struct Quota {
    QueueId queue;
    std::int32_t kind = 0;
    std::int64_t count = 0;
    std::int64_t held = 0;
    std::int64_t bound() const { return std::min(count, held); }
    std::int64_t unbound() const { return count - bound(); }
  };

  // From the queues' specs. All nodes are outside again.
  void Reset(const QueueTree& tree);
  bool any() const { return !kinds_.empty(); }
  const std::vector<Kind>& kinds() const { return kinds_; }
  const std::vector<Quota>& quotas() const { return quotas_; }
  // Changes whenever an answer below could.
  std::uint64_t version() const { return version_; }

  // The kind of a node with so many cards of the model; -1: none.
  int KindOf(int cards, std::string_view model) const;
  SlotMark Open(int kind) const { return static_cast<SlotMark>(1 + kind); }
  // Of a node of the kind whose firm work is the leaf's; kOutside when neither the leaf nor a
  // queue above it has such slots. An invalid leaf is in no queue.
  SlotMark HeldBy(int kind, QueueId leaf) const;
  // One node goes from one state to another.
  void Move(SlotMark from, SlotMark to);

  // Bit m: firm work of the leaf must not come to a node with mark m now.
  std::uint64_t Closed(QueueId leaf) const;
  // Whether firm work of the leaf may come to these nodes, distinct ones, at once.
  bool MayEnter(QueueId leaf, std::span<const SlotMark> nodes) const;
  // A set of marks among which MayEnter holds of any number of nodes.
  std::uint64_t ClosedToMany(QueueId leaf) const;
  // Firm work of the leaf may drive out what gives way on a node with this mark: it has a slot to
  // bind there, or has bound the node.
  bool Claims(QueueId leaf, SlotMark mark) const;

  // Slots of the kind that could not be had as whole nodes.
  std::int64_t short_of(int kind) const {
    return std::max<std::int64_t>(-kinds_[static_cast<std::size_t>(kind)].slack(), 0);
  }
  // For whom nodes that are closed now are kept: "queue 'a'" or "queues 'a' and 'b'". While no node
  // is closed to one pod: all that have slots.
  std::string KeptFor(const QueueTree& tree) const;

 private:
  // Index into quotas_; -1: none.
  int QuotaAt(SlotMark mark) const;
  int QuotaOf(std::size_t kind, QueueId leaf) const;

  std::vector<Kind> kinds_;
  std::vector<Quota> quotas_;
  std::vector<std::vector<std::int16_t>> quota_of_;  // by kind, by queue
  std::uint64_t version_ = 0;
};

}  // namespace basalt
