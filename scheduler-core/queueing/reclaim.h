// Who may take back what from whom, across queues. (Inside one queue it is preemption by priority,
// which is not decided here.) After KAI Scheduler's reclaim test, with these differences: only
// resources that are short count, the victim must be over at every level, and guarantees hold.
//
// Every queue has three nested entitlements per resource, none above its fair share:
//   guarantee <= deserved <= fair share.
// Reclaimer and victim are compared where their paths part: sides R and V, children of one queue.
//   1. The reclaimer has a level L, the lowest at which allocated + request <= L: on its leaf for
//      all that it asks for, on the queues above up to R for what is short (what is not short it
//      takes from nobody; and for L = guarantee the claim counts there, queue_tree.h). None: it may
//      not reclaim. Non-preemptible requests need L <= deserved.
//   2. The victim pod is preemptible, and all queues from its leaf up to V are reclaimable.
//   3. There is a short resource, of which the pod holds some, in which all queues from the
//      victim's leaf up to V hold more than L, counting what this plan has taken already.
//   4. In every short resource that the pod holds, these queues keep their guarantees. Only a
//      reclaimer within its own guarantee may take a pod that reaches across that line: such a pod
//      is borrowed as a whole, or guarantees would not be reclaimable. What goes along with the
//      pod but is not short is free for its queue to have again at once.
// After a reclaim no leaf that gained is over its fair share, so KAI's ratio rule (where one that
// gained is over its share, nobody may be relatively lower) is met without being asked.
// No ping-pong: each reclaim lowers the sums over leaves of (excess over fair share, over deserved,
// over guarantee) in lexicographic order, as long as the shares stay; and they do: what was taken
// is pending again, what was given is allocated, so the requests are the same. Reclaim within
// guarantees always succeeds in amounts if the tree's claims hold (queue_tree.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "scheduler-core/queueing/fair_share.h"
#include "scheduler-core/queueing/queue_tree.h"

namespace basalt {

enum class Entitlement { kGuarantee, kDeserved, kFairShare };
std::string_view EntitlementName(Entitlement level);

struct ReclaimAsk {
  QueueId queue;  // a leaf
  Amounts request;
  // The resources that are short: QueueTree::Lack, and what placement finds to be short. Only > 0
  // or not is looked at; resources that are not requested do not count.
  Amounts shortfall;
  bool preemptible = true;
};

// One reclaim being put together: ask, take victims one by one, then Settled(). Copies nothing of
// the tree; the tree and the shares must not change in the meantime. The shares must count the
// request as pending.
class ReclaimPlan {
 public:
  ReclaimPlan(const QueueTree& tree, const FairShares& shares, const ReclaimAsk& ask);

  // Rule 1 against queues that part from the reclaimer's path below `ancestor` (the whole tree:
  // the root). No value: it may not reclaim there; WhyNot() says what it is over.
  std::optional<Entitlement> LevelUnder(QueueId ancestor) const;
  std::string WhyNot(QueueId ancestor) const;

  // Whether some leaf that is not the reclaimer's holds preemptible work beyond what rule 3 leaves
  // it. False: MayTake() is false for every pod. Cheap; asked before pods are looked at.
  bool SomebodyIsOver() const;

  // Rules 1 to 4 for a pod of `victim` (a leaf) that holds `held` and is preemptible. Where
  // a queue on the path refuses (QuotaRefusal::queue), only victims inside it help: try the nearest
  // first, take until Settled(), then give back what was not needed.
  bool MayTake(QueueId victim, const Amounts& held) const;
  void Take(QueueId victim, const Amounts& held);
  void GiveBack(QueueId victim, const Amounts& held);  // a pod that turned out not to be needed
  // Whether the request may now be charged: nothing in the tree refuses it once the victims are
  // gone, and rule 1 holds towards all from whom something is taken, also after GiveBack.
  bool Settled() const;
  const Amounts& taken(QueueId queue) const { return taken_[queue]; }

 private:
  std::int64_t Entitled(QueueId queue, ResourceId resource, Entitlement level) const;
  std::int64_t Left(QueueId queue, ResourceId resource) const;
  bool OnPath(QueueId queue) const;
  bool Counts(QueueId queue, ResourceId resource) const;  // for rule 1
  // The lowest level that the queue is within, with the request.
  std::optional<Entitlement> LevelOf(QueueId queue) const;

  const QueueTree& tree_;
  const FairShares& shares_;
  ReclaimAsk ask_;
  std::vector<QueueId> path_;  // the reclaimer's, leaf first, root last
  std::vector<ResourceId> short_;
  IdVector<QueueId, Amounts> taken_;
};

}  // namespace basalt
