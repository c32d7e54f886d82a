// The engine's queues and nominations: who is charged, and who waits for whose room.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "scheduler-core/base/check.h"
#include "scheduler-core/cluster/transaction.h"
#include "scheduler-core/engine/engine.h"

namespace basalt {

// --- queues -------------------------------------------------------------------------------------

const QueueTree& Engine::CaughtUpQueues() {
  quotas_.CatchUp(state_);
  return quotas_.tree();
}

Amounts Engine::AskOf(const GangSpec& spec, const Standing& standing) {
  Amounts sum;
  for (const GangTask& task : spec.tasks) {
    const Amounts one = quotas_.Ask(state_, task.shape);
    for (std::size_t r = 0; r < one.size(); ++r) {
      const ResourceId id(r);
      if (one[id] != 0) sum.Add(id, one[id] * task.min);
    }
  }
  quotas_.AddSku(standing, spec.min_members(), &sum);
  return sum;
}

Amounts Engine::AskOf(ShapeId shape, const Standing& standing) {
  Amounts ask = quotas_.Ask(state_, shape);
  quotas_.AddSku(standing, 1, &ask);
  return ask;
}

Amounts Engine::HeldBy(const Allocation& a) {
  return quotas_.Held(state_, a.shape, a.node, a.cards, a.numa.get(), *a.standing);
}

bool Engine::AddPending(const std::string& queue, const Amounts& ask) {
  const QueueId leaf = quotas_.LeafOf(queue);
  if (leaf.valid()) quotas_.tree().AddPending(leaf, ask);
  return leaf.valid();
}

bool Engine::RemovePending(const std::string& queue, const Amounts& ask) {
  const QueueId leaf = quotas_.LeafOf(queue);
  if (leaf.valid()) quotas_.tree().RemovePending(leaf, ask);
  return leaf.valid();
}

// Begins with the first pod that is charged: before it there was no past.
DecayedUsage* Engine::Past() {
  if (options_.usage_half_life_us <= 0) return nullptr;
  if (!past_usage_) past_usage_.emplace(options_.usage_half_life_us, now_);
  return &*past_usage_;
}

const DecayedUsage* Engine::PastUsage() {
  DecayedUsage* past = Past();
  if (past != nullptr) past->AdvanceAll(queues(), now_);
  return past;
}

void Engine::Charge(Allocation& a) {
  BASALT_CHECK(!a.queue.valid() && !a.is_leaving());
  a.queue = quotas_.LeafOf(a.standing->queue);
  if (!a.queue.valid()) return;
  if (DecayedUsage* past = Past(); past != nullptr) past->Advance(queues(), a.queue, now_);
  quotas_.tree().Charge(a.queue, HeldBy(a), a.standing->preemptible);
}

void Engine::Uncharge(Allocation& a) {
  if (!a.queue.valid()) return;
  if (DecayedUsage* past = Past(); past != nullptr) past->Advance(queues(), a.queue, now_);
  quotas_.tree().Uncharge(a.queue, HeldBy(a), a.standing->preemptible);
  a.queue = QueueId();
}

void Engine::ChargeNewcomers() {
  for (Allocation& a : allocations_) {
    const bool live = a.epoch != 0 && Find(a.uid) == &a;
    if (live && !a.queue.valid() && !a.is_leaving()) Charge(a);
  }
}

ShapeId Engine::OnModels(ShapeId shape, const std::vector<ModelId>& models) {
  RequestSpec spec = state_.shape(shape).spec;
  if (spec.gpus == 0) return shape;
  std::vector<std::string> names;
  for (const ModelId model : models) {
    const std::string& name = state_.model_name(model);
    const bool allowed = spec.models.empty() || std::find(spec.models.begin(), spec.models.end(),
                                                          name) != spec.models.end();
    if (allowed) names.push_back(name);
  }
  if (names.empty()) return shape;  // the quota speaks of another task's models
  spec.models = std::move(names);
  return state_.InternShape(spec);
}

std::int32_t Engine::StayingMembers(const Gang& gang, std::size_t task) const {
  std::int32_t count = gang.Count(task, Gang::Member::kFinished);
  for (std::size_t m = 0; m < gang.pods.size(); ++m) {
    if (gang.members[m] != Gang::Member::kHeld ||
        gang.spec.TaskOf(static_cast<std::int32_t>(m)) != task) {
      continue;
    }
    const Allocation* a = Find(gang.pods[m]);
    count += a != nullptr && a->confirmed && !a->is_leaving() ? 1 : 0;
  }
  return count;
}

ShapeId Engine::InQueue(ShapeId shape, const Standing& standing, SlotView view) {
  const std::uint64_t closed = ClosedMarks(shape, standing, view);
  const QueueId leaf = quotas_.LeafOf(standing.queue);
  const std::int32_t most = leaf.valid() ? queues().memory_ratio(leaf) : 0;
  const Shape& asked = state_.shape(shape);
  if (most == 0 || asked.gpus == 0 || (asked.ratio_percent > 0 && asked.ratio_percent <= most)) {
    return state_.Closed(shape, closed);
  }
  RequestSpec spec = asked.spec;
  spec.memory_ratio_percent = most;
  return state_.Closed(state_.InternShape(spec), closed);
}

Status Engine::InChoice(const Request& request, NodeId node) const {
  if (request.nodes == nullptr || request.nodes->Allows(node)) return {};
  return Fail("pod " + UidText(request.uid),
              "is not to be on node " + state_.name(node) + "; propose again");
}

Status Engine::MayHold(const Request& request, const Placement& placement) {
  const Standing& standing = request.standing;
  const auto where = [&request] { return "pod " + UidText(request.uid); };  // on errors only
  if (node_slots_.any() && state_.shape(request.shape).gpus > 0) {
    if (Status ok = KeepsSlots(standing, {placement.node}, where()); !ok) return ok;
  }
  if (standing.queue.empty()) return {};
  const QueueId leaf = quotas_.LeafOf(standing.queue);
  if (!leaf.valid())
    return Fail(where(), "queue '" + standing.queue + "' is no leaf of the queues");
  quotas_.CatchUp(state_);
  const Amounts ask = quotas_.Held(state_, request.shape, placement.node, placement.cards,
                                   placement.numa.get(), standing);
  const auto refusal = quotas_.Refusal(leaf, ask, standing.preemptible);
  if (!refusal) return {};
  return Fail(where(), queues().Describe(*refusal));
}

Status Engine::MayHold(const GangRequest& request,
                       const std::vector<GangOutcome::Member>& members) {
  const Gang* held = FindGang(request.uid);
  const Standing& standing = held != nullptr ? held->standing : request.standing;
  const std::string where = "gang " + UidText(request.uid);
  std::vector<NodeId> nodes;  // where members with cards come
  for (const GangOutcome::Member& m : members) {
    const ShapeId shape = request.spec.tasks[request.spec.TaskOf(m.member)].shape;
    if (state_.shape(shape).gpus > 0) nodes.push_back(m.placement.node);
  }
  if (Status ok = KeepsSlots(standing, std::move(nodes), where); !ok) return ok;
  if (standing.queue.empty() || members.empty()) return {};
  const QueueId leaf = quotas_.LeafOf(standing.queue);
  if (!leaf.valid()) return Fail(where, "queue '" + standing.queue + "' is no leaf of the queues");
  quotas_.CatchUp(state_);
  Amounts ask;
  for (const GangOutcome::Member& m : members) {
    const ShapeId shape = request.spec.tasks[request.spec.TaskOf(m.member)].shape;
    ask += quotas_.Held(state_, shape, m.placement.node, m.placement.cards, m.placement.numa.get(),
                        standing);
  }
  const auto refusal = quotas_.Refusal(leaf, ask, standing.preemptible);
  if (!refusal) return {};
  return Fail(where, queues().Describe(*refusal));
}

Status Engine::AuditQuotas() const {
  if (!quotas_.any()) return {};
  std::map<QueueId, std::pair<Amounts, Amounts>> sums;  // all, and of what cannot be taken back
  const auto bad = [](const PodUid& uid, std::string_view what) {
    return Fail("pod " + UidText(uid), "audit: " + std::string(what));
  };
  Quotas again = quotas_;                    // looking up a model may name it
  for (const auto& [uid, slot] : by_uid_) {  // sums: their order does not matter
    const Allocation& a = allocations_[slot];
    const QueueId leaf = a.is_leaving() ? QueueId() : quotas_.LeafOf(a.standing->queue);
    if (a.queue != leaf) return bad(uid, "is charged to another queue than it names");
    if (!leaf.valid()) continue;
    const Amounts held = again.Held(state_, a.shape, a.node, a.cards, a.numa.get(), *a.standing);
    sums[leaf].first += held;
    if (!a.standing->preemptible) sums[leaf].second += held;
  }
  const QueueTree& tree = queues();
  for (const QueueId id : tree.order()) {
    if (!tree.IsLeaf(id)) continue;
    const auto& [all, firm] = sums[id];
    if (!(tree.allocated(id) == all) || !(tree.allocated_firm(id) == firm)) {
      return Fail("queue '" + tree.name(id) + "'", "audit: its charges are not what its pods hold");
    }
  }
  tree.Audit();
  return {};
}

// --- nominations --------------------------------------------------------------------------------

const Nomination* Engine::FindNomination(const PodUid& uid) const {
  const auto it = nominations_.find(uid);
  return it == nominations_.end() ? nullptr : &it->second;
}

bool Engine::RoomIsFree(const PodUid& uid) const {
  return (Find(uid) != nullptr || FindGang(uid) != nullptr) && !nominations_.contains(uid);
}

Result<std::vector<PodUid>> Engine::VictimsOf(const EvictionPlan& plan,
                                              const std::string& where) const {
  if (!plan.found) return Fail(where, "the plan found nothing");
  std::vector<PodUid> victims;
  for (const Victim& victim : plan.victims) {
    const Allocation* a = Find(victim.uid);
    if (a == nullptr || a->node != victim.node) continue;  // it has left, or has moved away
    // Another pod may have come under that uid meanwhile.
    const Standing& its = *a->standing;
    const bool same = a->gang == victim.gang && its.priority == victim.priority &&
                      its.queue == victim.queue && its.preemptible;
    if (!same || !a->confirmed || a->is_leaving() || now_.us - a->started.us < its.min_runtime_us) {
      return Fail(where, "victim " + UidText(victim.uid) + " is not to be had; plan again");
    }
    victims.push_back(victim.uid);
  }
  std::sort(victims.begin(), victims.end());
  if (std::adjacent_find(victims.begin(), victims.end()) != victims.end()) {
    return Fail(where, "the plan names a victim twice");
  }
  if (Status ok = CheckVictims(victims, plan.beyond_budgets, where); !ok) {
    return tl::unexpected<Error>(ok.error());
  }
  return victims;
}

// What the search saw to may have changed since: gangs that lose more than they can spare lose all,
// and budgets are broken only as far as the plan said.
Status Engine::CheckVictims(const std::vector<PodUid>& victims, std::int64_t beyond_budgets,
                            const std::string& where) const {
  std::map<PodUid, std::map<std::size_t, std::int32_t>> of_gangs;  // leaving, by task
  std::map<std::string, std::int64_t> of_budgets;
  for (const PodUid& uid : victims) {
    const Allocation* a = Find(uid);
    if (a->member >= 0) ++of_gangs[a->gang][FindGang(a->gang)->spec.TaskOf(a->member)];
    if (budgets().contains(a->standing->budget)) ++of_budgets[a->standing->budget];
  }
  for (const auto& [uid, tasks] : of_gangs) {
    const Gang& gang = *FindGang(uid);
    std::int32_t leaving = 0;
    bool spared = true;
    for (const auto& [task, count] : tasks) {
      leaving += count;
      spared = spared && StayingMembers(gang, task) - count >= gang.spec.tasks[task].min;
    }
    if (!spared && leaving < gang.held) {
      return Fail(where, "gang " + UidText(uid) + " would keep less than its min; plan again");
    }
  }
  if (of_budgets.empty()) return {};
  const std::map<std::string, std::int64_t> left = DisruptionsLeft();
  std::int64_t beyond = 0;
  for (const auto& [name, count] : of_budgets) {
    beyond += std::max<std::int64_t>(count - left.at(name), 0);
    if (beyond <= beyond_budgets) continue;
    return Fail(where, "disruption budget '" + name + "' would be broken; plan again");
  }
  return {};
}

std::map<std::string, std::int64_t> Engine::DisruptionsLeft() const {
  std::map<std::string, std::pair<std::int64_t, std::int64_t>> pods;  // all, running
  for (const auto& [name, budget] : budgets()) pods[name] = {0, 0};
  std::map<std::string, std::int64_t> left;
  if (pods.empty()) return left;
  for (const auto& [uid, slot] : by_uid_) {  // counts: the order does not matter
    const Allocation& a = allocations_[slot];
    const auto it = pods.find(a.standing->budget);
    if (it == pods.end()) continue;
    ++it->second.first;
    it->second.second += a.confirmed && !a.is_leaving() ? 1 : 0;
  }
  for (const auto& [name, budget] : budgets()) {
    const auto [there, running] = pods.at(name);
    const std::int64_t expected = budget.expected >= 0 ? budget.expected : there;
    const std::int64_t keep =
        budget.min_available >= 0 ? budget.min_available : expected - budget.max_unavailable;
    left[name] = std::max<std::int64_t>(running - keep, 0);
  }
  return left;
}

void Engine::GiveVictims(const std::vector<PodUid>& victims, Transaction* tx) const {
  for (const PodUid& uid : victims) {
    const Allocation* a = Find(uid);
    tx->Give(a->node, a->shape, a->cards, a->numa);
  }
}

void Engine::UnchargeVictims(const std::vector<PodUid>& victims) {
  for (const PodUid& uid : victims) Uncharge(allocations_[by_uid_.find(uid)->second]);
}

void Engine::ChargeVictims(const std::vector<PodUid>& victims) {
  for (const PodUid& uid : victims) Charge(allocations_[by_uid_.find(uid)->second]);
}

Result<Lease> Engine::Nominate(const Request& request, const EvictionPlan& plan, SimTime now) {
  now = Forward(now);
  Expire(now);
  const std::string where = "pod " + UidText(request.uid);
  // Nothing to wait for, or said again: as any placement.
  if (Find(request.uid) != nullptr) return Reserve(request, plan.placement, now);
  const Result<std::vector<PodUid>> victims = VictimsOf(plan, where);
  if (!victims) return tl::unexpected<Error>(victims.error());
  if (victims->empty()) return Reserve(request, plan.placement, now);
  if (nominations_.contains(request.uid)) return Fail(where, "is nominated as a gang");
  const Placement& placement = plan.placement;
  Transaction tx(state_);
  GiveVictims(*victims, &tx);
  if (!StillFits(InQueue(request.shape, request.standing, SlotView::kAll), placement)) {
    return Fail(where, "what was planned no longer fits; plan again");
  }
  if (Status ok = InChoice(request, placement.node); !ok) return tl::unexpected<Error>(ok.error());
  UnchargeVictims(*victims);
  if (Status ok = MayHold(request, placement); !ok) {
    ChargeVictims(*victims);
    return tl::unexpected<Error>(ok.error());
  }
  tx.Rollback(0);
  tx.Take(placement.node, request.shape, placement.cards, placement.numa);
  tx.Commit();
  const std::uint32_t slot =
      Insert(Allocation{request.uid, request.attempt, request.shape, placement.node,
                        placement.cards, request.job, next_epoch_++, kNever, false, placement.numa,
                        PodUid{}, -1, quotas_.Intern(request.standing), QueueId(), now, now});
  const Allocation& a = allocations_[slot];
  if (options_.journal != nullptr) {
    const std::uint32_t number = JournalShape(request.shape);
    ReservedRecord record{
        a.uid,   a.attempt, number, a.job,       state_.name(a.node),           a.cards,
        a.epoch, a.expires, a.numa, *a.standing, NamesOf(state_, request.nodes)};
    Journal(JournalRecord{now, NominatedRecord{std::move(record), *victims}});
  }
  const Lease lease = Nominated(a.uid, false, *victims, a.epoch);
  AfterCommit(placement.node);
  return lease;
}

Result<Lease> Engine::NominateGang(const GangRequest& request, const EvictionPlan& plan,
                                   SimTime now) {
  now = Forward(now);
  Expire(now);
  const std::string where = "gang " + UidText(request.uid);
  if (const Nomination* known = FindNomination(request.uid); known != nullptr) {
    if (!known->gang) return Fail(where, "is nominated as a pod");
    return TakeGang(request, plan.gang, {}, now, 0);  // said again
  }
  const Result<std::vector<PodUid>> victims = VictimsOf(plan, where);
  if (!victims) return tl::unexpected<Error>(victims.error());
  return TakeGang(request, plan.gang, *victims, now, 0);
}

void Engine::MarkLeaving(const PodUid& victim, const PodUid& nominee) {
  Allocation& a = allocations_[by_uid_.find(victim)->second];
  Uncharge(a);
  a.leaving = nominee;
}

Lease Engine::Nominated(const PodUid& nominee, bool gang, const std::vector<PodUid>& victims,
                        std::uint64_t epoch) {
  BASALT_CHECK(!victims.empty());
  Nomination& nomination = nominations_[nominee];
  nomination.gang = gang;
  nomination.epoch = epoch;
  for (const PodUid& victim : victims) {
    MarkLeaving(victim, nominee);
    nomination.waiting.insert(victim);
  }
  return Lease{nominee, epoch, kNever};
}

void Engine::BeginLease(const PodUid& nominee, bool gang_lease, std::uint64_t epoch) {
  const SimTime expires = now_.Plus(options_.lease_ttl_us);
  const auto begin = [&](const PodUid& uid) {
    const std::uint32_t slot = by_uid_.find(uid)->second;
    Allocation& a = allocations_[slot];
    if (a.epoch != epoch || a.confirmed) return;
    a.expires = expires;
    AddExpiry(slot);
  };
  if (!gang_lease) return begin(nominee);
  const Gang& gang = gangs_.find(nominee)->second;
  for (std::size_t m = 0; m < gang.pods.size(); ++m) {
    if (gang.members[m] == Gang::Member::kHeld) begin(gang.pods[m]);
  }
}

void Engine::VictimGone(const PodUid& victim, const PodUid& nominee) {
  const auto it = nominations_.find(nominee);
  if (it == nominations_.end() || it->second.waiting.erase(victim) == 0) return;
  if (!it->second.waiting.empty()) return;
  const Nomination over = std::move(it->second);
  nominations_.erase(it);
  BeginLease(nominee, over.gang, over.epoch);
}

void Engine::DropNomination(const PodUid& nominee, bool victims_stay) {
  const auto it = nominations_.find(nominee);
  if (it == nominations_.end()) return;
  const Nomination over = std::move(it->second);
  nominations_.erase(it);
  if (!victims_stay) return;
  for (const PodUid& uid : over.waiting) {
    Allocation& victim = allocations_[by_uid_.find(uid)->second];
    victim.leaving = PodUid{};
    Charge(victim);
  }
}

void Engine::NomineeEnded(const Allocation& a) {
  const PodUid& nominee = a.member >= 0 ? a.gang : a.uid;
  const Nomination* nomination = FindNomination(nominee);
  if (nomination == nullptr || nomination->epoch != a.epoch) return;
  DropNomination(nominee, true);
  // A part of a gang is no use to anybody.
  if (a.member >= 0) ExpireMembers(a.gang, a.epoch);
}

Status Engine::AuditNominations() const {
  for (const auto& [uid, nomination] : nominations_) {
    const auto bad = [&nominee = uid](std::string_view what) {
      return Fail("nomination " + UidText(nominee), "audit: " + std::string(what));
    };
    if (nomination.waiting.empty()) return bad("waits for nobody");
    for (const PodUid& victim : nomination.waiting) {
      const Allocation* a = Find(victim);
      if (a == nullptr || a->leaving != uid) return bad("a victim is gone or does not leave");
    }
    const Gang* gang = nomination.gang ? FindGang(uid) : nullptr;
    const Allocation* pod = nomination.gang ? nullptr : Find(uid);
    const bool there = nomination.gang
                           ? gang != nullptr && OpenLease(*gang) == nomination.epoch
                           : pod != nullptr && !pod->confirmed && pod->epoch == nomination.epoch;
    if (!there) return bad("has no places that are not confirmed");
  }
  return {};
}

}  // namespace basalt
