// Snapshot, restore, and the effects of journal records.
#include <algorithm>
#include <utility>

#include "scheduler-core/base/check.h"
#include "scheduler-core/cluster/transaction.h"
#include "scheduler-core/engine/engine.h"

namespace basalt {
namespace {

bool NamesTwice(std::vector<PodUid> pods) {
  std::sort(pods.begin(), pods.end());
  return std::adjacent_find(pods.begin(), pods.end()) != pods.end();
}

}  // namespace

NodeNames NamesOf(const ClusterState& state, const std::shared_ptr<const NodeChoice>& choice) {
  NodeNames names;
  if (choice == nullptr) return names;
  const auto there = [&state](NodeId node) {
    return node.index() < state.node_slots() && state.exists(node);
  };
  for (const NodeId node : choice->excluded) {
    if (there(node)) names.excluded.push_back(state.name(node));
  }
  for (const NodeId node : choice->only) {
    names.only.push_back(there(node) ? state.name(node) : std::string());
  }
  return names;
}

std::shared_ptr<const NodeChoice> ChoiceOf(const ClusterState& state, const NodeNames& names) {
  if (names.empty()) return nullptr;
  NodeChoice choice;
  for (const std::string& name : names.excluded) choice.excluded.push_back(state.FindNode(name));
  for (const std::string& name : names.only) choice.only.push_back(state.FindNode(name));
  return std::make_shared<const NodeChoice>(std::move(choice));
}

std::string Engine::Snapshot() const {
  SnapshotContents contents;
  contents.next_epoch = next_epoch_;
  contents.now = now_;
  contents.rules = state_.AllRules();
  // Only what somebody holds: whatever else was ever asked for would stay forever.
  std::vector<bool> used(state_.shape_count());
  for (const auto& [uid, slot] : by_uid_) used[allocations_[slot].shape.index()] = true;
  for (const auto& [uid, gang] : gangs_) {
    for (const GangTask& task : gang.spec.tasks) used[task.shape.index()] = true;
  }
  std::vector<std::uint32_t> number(used.size());
  for (std::size_t s = 0; s < used.size(); ++s) {
    number[s] = static_cast<std::uint32_t>(contents.shapes.size());
    if (used[s]) contents.shapes.push_back(state_.shape(ShapeId(s)).spec);
  }
  for (const NodeId node : state_.order()) {
    SnapshotNode saved;
    saved.spec = state_.SpecOf(node);
    saved.cordoned = state_.cordoned(node);
    for (int c = 0; c < state_.hot(node).cards; ++c) {
      if (!state_.card(node, c).healthy) {
        saved.unhealthy_cards.push_back(static_cast<std::uint8_t>(c));
      }
      if (state_.card(node, c).cordoned) {
        saved.cordoned_cards.push_back(static_cast<std::uint8_t>(c));
      }
    }
    contents.nodes.push_back(std::move(saved));
    std::vector<std::uint32_t> slots = on_node_[node];
    std::sort(slots.begin(), slots.end(), [this](std::uint32_t a, std::uint32_t b) {
      return allocations_[a].uid < allocations_[b].uid;
    });
    for (const std::uint32_t slot : slots) {
      const Allocation& a = allocations_[slot];
      contents.allocations.push_back(
          SnapshotAllocation{a.uid, a.attempt, number[a.shape.index()], a.job, state_.name(node),
                             a.cards, a.epoch, a.expires, a.confirmed, a.numa, a.gang, a.member,
                             *a.standing, a.started, a.checkpoint, a.leaving});
    }
  }
  for (const auto& [uid, gang] : gangs_) {
    SnapshotGang saved;
    saved.gang =
        GangSpecRecord{gang.uid, gang.attempt, gang.job, gang.spec, gang.pods, gang.standing};
    for (GangTask& task : saved.gang.spec.tasks) task.shape = ShapeId(number[task.shape.index()]);
    for (const Gang::Member member : gang.members) {
      saved.members.push_back(static_cast<std::uint8_t>(member));
    }
    saved.homes = gang.homes;
    contents.gangs.push_back(std::move(saved));
  }
  for (const QueueId queue : queues().order()) {
    if (queue != QueueTree::kRoot) contents.queues.push_back(queues().spec(queue));
  }
  for (const auto& [name, budget] : budgets()) contents.budgets.push_back(budget);
  for (const auto& [uid, nomination] : nominations_) {
    contents.nominations.push_back(SnapshotNomination{
        uid, nomination.gang, nomination.epoch,
        std::vector<PodUid>(nomination.waiting.begin(), nomination.waiting.end())});
  }
  return EncodeSnapshot(contents);
}

Result<std::unique_ptr<Engine>> Engine::Restore(std::string_view snapshot, ConfiguredPolicy policy,
                                                EngineOptions options) {
  Result<SnapshotContents> contents = DecodeSnapshot(snapshot);
  if (!contents) return tl::unexpected<Error>(contents.error());
  // What the snapshot holds is not journaled again: snapshot and new journal together are the
  // state.
  JournalSink* const journal = std::exchange(options.journal, nullptr);
  Result<std::unique_ptr<Engine>> made = Create(std::move(policy), std::move(options));
  if (!made) return made;
  Engine& engine = **made;
  for (const CardRules& rules : contents->rules) {
    if (Status ok = engine.Apply(CardRulesSet{rules}, SimTime{}); !ok) {
      return tl::unexpected<Error>(ok.error());
    }
  }
  for (const SnapshotNode& node : contents->nodes) {
    if (Status ok = engine.Apply(NodeAdded{node.spec}, SimTime{}); !ok) {
      return tl::unexpected<Error>(ok.error());
    }
    const NodeId id = engine.state_.FindNode(node.spec.name);
    for (const std::uint8_t card : node.unhealthy_cards) {
      if (card >= engine.state_.hot(id).cards) {
        return Fail("snapshot", "an unhealthy card that the node does not have");
      }
      engine.state_.SetCardHealth(id, card, false);
    }
    for (const std::uint8_t card : node.cordoned_cards) {
      if (card >= engine.state_.hot(id).cards) {
        return Fail("snapshot", "a drained card that the node does not have");
      }
      engine.state_.SetCardCordoned(id, card, true);
    }
    if (node.cordoned) engine.state_.SetCordoned(id, true);
  }
  for (const QueueSpec& queue : contents->queues) {
    if (Status ok = engine.Apply(QueueSet{queue}, SimTime{}); !ok) {
      return tl::unexpected<Error>(ok.error());
    }
  }
  for (const DisruptionBudgetSet& budget : contents->budgets) {
    if (Status ok = engine.Apply(budget, SimTime{}); !ok) {
      return tl::unexpected<Error>(ok.error());
    }
  }
  std::vector<ShapeId> shapes;
  for (const RequestSpec& spec : contents->shapes) {
    const Result<ShapeId> shape = engine.InternShape(spec);
    if (!shape) return tl::unexpected<Error>(shape.error());
    shapes.push_back(*shape);
  }
  engine.now_ = contents->now;  // what is held is charged from then on
  for (const SnapshotAllocation& a : contents->allocations) {
    const NodeId node = engine.state_.FindNode(a.node);
    if (!node.valid() || a.shape >= shapes.size() || engine.by_uid_.contains(a.uid)) {
      return Fail("snapshot", "an allocation names an unknown node or shape, or stands twice");
    }
    if (!engine.state_.CanRecord(shapes[a.shape], node, a.cards, a.numa.get())) {
      return Fail("snapshot", "an allocation names a card that its node does not have");
    }
    Transaction tx(engine.state_);
    tx.Take(node, shapes[a.shape], a.cards, a.numa);
    tx.Commit();
    const std::uint32_t slot = engine.Insert(
        Allocation{a.uid, a.attempt, shapes[a.shape], node, a.cards, a.job, a.epoch, a.expires,
                   a.confirmed, a.numa, a.gang, a.member, engine.quotas_.Intern(a.standing),
                   QueueId(), a.started, a.checkpoint, a.leaving});
    if (!a.confirmed) engine.AddExpiry(slot);
  }
  for (SnapshotGang& saved : contents->gangs) {
    Gang gang;
    gang.uid = saved.gang.uid;
    gang.attempt = saved.gang.attempt;
    gang.job = saved.gang.job;
    gang.spec = std::move(saved.gang.spec);
    gang.standing = std::move(saved.gang.standing);
    for (GangTask& task : gang.spec.tasks) {
      if (task.shape.index() >= shapes.size()) return Fail("snapshot", "a gang's shape is unknown");
      task.shape = shapes[task.shape.index()];
    }
    gang.pods = std::move(saved.gang.pods);
    gang.homes = std::move(saved.homes);
    if (NamesTwice(gang.pods)) return Fail("snapshot", "a gang names a pod twice");
    std::uint64_t open = 0;
    for (std::size_t m = 0; m < gang.pods.size(); ++m) {
      const std::uint8_t state = saved.members[m];
      const Allocation* held = engine.Find(gang.pods[m]);
      const bool holds =
          held != nullptr && held->gang == gang.uid && std::cmp_equal(held->member, m);
      if (state > static_cast<std::uint8_t>(Gang::Member::kLost) ||
          holds != (state == static_cast<std::uint8_t>(Gang::Member::kHeld))) {
        return Fail("snapshot", "a gang's members and what they hold do not agree");
      }
      gang.members.push_back(static_cast<Gang::Member>(state));
      if (!holds) continue;
      ++gang.held;
      // The open lease's, if there is one; an observed binding may have a later epoch.
      if (!held->confirmed) open = std::max(open, held->epoch);
      gang.newest_epoch = std::max(gang.newest_epoch, held->epoch);
    }
    if (gang.newest_epoch == 0) return Fail("snapshot", "a gang holds nothing");
    if (open != 0) gang.newest_epoch = open;
    for (const auto& [member, path] : gang.homes) {
      const bool known = member >= 0 && std::cmp_less(member, gang.members.size());
      const auto index = static_cast<std::size_t>(member);
      const Allocation* held = known ? engine.Find(gang.pods[index]) : nullptr;
      if (!known || (gang.members[index] != Gang::Member::kLost &&
                     (gang.members[index] != Gang::Member::kHeld || held->confirmed))) {
        return Fail("snapshot", "a member that is not lost has an old place");
      }
    }
    gang.degraded = IsDegraded(gang);
    const PodUid uid = gang.uid;
    if (!engine.gangs_.emplace(uid, std::move(gang)).second) {
      return Fail("snapshot", "a gang stands twice");
    }
  }
  for (const Allocation& a : engine.allocations_) {
    const Gang* gang = a.member < 0 ? nullptr : engine.FindGang(a.gang);
    if (a.member >= 0 && (gang == nullptr || std::cmp_greater_equal(a.member, gang->pods.size()) ||
                          gang->pods[static_cast<std::size_t>(a.member)] != a.uid)) {
      return Fail("snapshot", "a pod is of a gang that is not there");
    }
  }
  for (const SnapshotNomination& saved : contents->nominations) {
    const Gang* gang = engine.FindGang(saved.uid);
    const Allocation* pod = engine.Find(saved.uid);
    if (saved.gang ? gang == nullptr || engine.OpenLease(*gang) != saved.epoch
                   : pod == nullptr || pod->confirmed || pod->epoch != saved.epoch) {
      return Fail("snapshot", "a nomination is of nobody who waits");
    }
    Nomination nomination{saved.gang, saved.epoch, {}};
    for (const PodUid& uid : saved.waiting) {
      const Allocation* victim = engine.Find(uid);
      if (victim == nullptr || victim->leaving != saved.uid) {
        return Fail("snapshot", "a nomination waits for a pod that does not leave for it");
      }
      nomination.waiting.insert(uid);
    }
    if (nomination.waiting.empty() ||
        !engine.nominations_.emplace(saved.uid, std::move(nomination)).second) {
      return Fail("snapshot", "a nomination waits for nobody, or stands twice");
    }
  }
  engine.next_epoch_ = contents->next_epoch;
  engine.now_ = contents->now;
  engine.options_.journal = journal;
  engine.JournalPolicy(SimTime{});
  return made;
}

Status Engine::ApplyRecord(const JournalRecord& record) {
  // A lease that begins when room gets free begins with the time of whoever wrote the journal.
  const std::int64_t own = options_.lease_ttl_us;
  if (record_ttl_us_ > 0) options_.lease_ttl_us = record_ttl_us_;
  Status ok = ApplyBody(record);
  options_.lease_ttl_us = own;
  return ok;
}

Status Engine::ApplyBody(const JournalRecord& record) {
  const auto pod = [](const PodUid& uid) { return "journal: pod " + UidText(uid); };
  Forward(record.now);
  if (const auto* policy = std::get_if<PolicyRecord>(&record.body)) {
    record_shapes_.clear();  // from here on shapes are numbered from 0
    record_ttl_us_ = policy->lease_ttl_us;
  } else if (const auto* shape = std::get_if<ShapeRecord>(&record.body)) {
    const Result<ShapeId> id = InternShape(shape->spec);
    if (!id) return tl::unexpected<Error>(id.error());
    record_shapes_.push_back(*id);
  } else if (const auto* event = std::get_if<EventRecord>(&record.body)) {
    // It is in the journal that is being read; ours must not repeat it.
    JournalSink* const journal = std::exchange(options_.journal, nullptr);
    Status ok = Apply(event->event, record.now);
    options_.journal = journal;
    return ok;
  } else if (const auto* reserved = std::get_if<ReservedRecord>(&record.body)) {
    return ApplyReserved(*reserved);
  } else if (const auto* renewed = std::get_if<RenewedRecord>(&record.body)) {
    return ApplyRenewed(*renewed);
  } else if (const auto* nominated = std::get_if<NominatedRecord>(&record.body)) {
    return ApplyNominated(*nominated);
  } else if (const auto* confirmed = std::get_if<ConfirmedRecord>(&record.body)) {
    const auto it = by_uid_.find(confirmed->uid);
    if (it == by_uid_.end()) return Fail(pod(confirmed->uid), "is confirmed but holds nothing");
    Allocation& a = allocations_[it->second];
    a.confirmed = true;
    a.started = a.checkpoint = now_;
  } else if (const auto* gang = std::get_if<GangReservedRecord>(&record.body)) {
    return ApplyGangReserved(*gang);
  } else if (const auto* of_gang = std::get_if<GangConfirmedRecord>(&record.body)) {
    if (FindGang(of_gang->uid) == nullptr) {
      return Fail("journal: gang " + UidText(of_gang->uid), "is confirmed but holds nothing");
    }
    ConfirmMembers(of_gang->uid, of_gang->epoch);
  } else if (const auto* released = std::get_if<GangReleasedRecord>(&record.body)) {
    JournalSink* const journal = std::exchange(options_.journal, nullptr);
    Status ok = ReleaseGang(released->uid, record.now);
    options_.journal = journal;
    return ok;
  } else {
    const PodUid* ended = nullptr;
    Ending ending = Ending::kFinished;
    if (const auto* r = std::get_if<ReleasedRecord>(&record.body)) ended = &r->uid;
    if (const auto* e = std::get_if<ExpiredRecord>(&record.body)) {
      ended = &e->uid;
      ending = Ending::kExpired;
    }
    if (ended != nullptr) {
      const auto it = by_uid_.find(*ended);
      if (it == by_uid_.end()) return Fail(pod(*ended), "ends but holds nothing");
      const Allocation& a = allocations_[it->second];
      if (a.member >= 0 && ending == Ending::kExpired) {
        ExpireMembers(a.gang, a.epoch);  // the lease is the gang's
      } else {
        End(it->second, ending);
      }
    }
  }
  return {};
}

Status Engine::ApplyReserved(const ReservedRecord& record) {
  const std::string where = "journal: pod " + UidText(record.uid);
  const NodeId node = state_.FindNode(record.node);
  if (!node.valid() || record.shape >= record_shapes_.size()) {
    return Fail(where, "is placed on an unknown node, or has an unknown shape");
  }
  const ShapeId shape_id = record_shapes_[record.shape];
  if (by_uid_.contains(record.uid) ||
      !state_.CanRecord(shape_id, node, record.cards, record.numa.get())) {
    return Fail(where, "is placed twice, or on a card that is not there");
  }
  Transaction tx(state_);
  tx.Take(node, shape_id, record.cards, record.numa);
  tx.Commit();
  AddExpiry(Insert(Allocation{record.uid, record.attempt, shape_id, node, record.cards, record.job,
                              record.epoch, record.expires, false, record.numa, PodUid{}, -1,
                              quotas_.Intern(record.standing), QueueId(), now_, now_}));
  next_epoch_ = std::max(next_epoch_, record.epoch + 1);
  return {};
}

Status Engine::ApplyNominated(const NominatedRecord& record) {
  const auto* pod = std::get_if<ReservedRecord>(&record.places);
  const auto* gang = std::get_if<GangReservedRecord>(&record.places);
  const PodUid& uid = pod != nullptr ? pod->uid : gang->gang.uid;
  if (record.victims.empty() || NamesTwice(record.victims) || nominations_.contains(uid)) {
    return Fail("journal: nomination " + UidText(uid), "has no victims, one twice, or is twice");
  }
  for (const PodUid& victim : record.victims) {
    const Allocation* a = Find(victim);
    if (a == nullptr || a->is_leaving() || !a->confirmed) {
      return Fail("journal: nomination " + UidText(uid),
                  "has victim " + UidText(victim) + ", which holds nothing that could be taken");
    }
  }
  if (Status ok = pod != nullptr ? ApplyReserved(*pod) : ApplyGangReserved(*gang); !ok) return ok;
  Nominated(uid, gang != nullptr, record.victims, pod != nullptr ? pod->epoch : gang->epoch);
  return {};
}

Status Engine::ApplyGangReserved(const GangReservedRecord& record) {
  const auto bad = [&](std::string_view what) {
    return Fail("journal: gang " + UidText(record.gang.uid), std::string(what));
  };
  GangRequest request{record.gang.uid,  record.gang.attempt, record.gang.spec,
                      record.gang.pods, record.gang.job,     record.gang.standing};
  for (GangTask& task : request.spec.tasks) {
    if (task.shape.index() >= record_shapes_.size()) return bad("has an unknown shape");
    task.shape = record_shapes_[task.shape.index()];
  }
  if (NamesTwice(request.members)) return bad("names a pod twice");
  const Gang* held = FindGang(request.uid);
  if (held != nullptr && (held->spec != request.spec || held->pods != request.members ||
                          held->attempt != request.attempt)) {
    return bad("is reserved again as another gang");
  }
  if (record.members.empty()) return bad("is reserved without a member");
  std::vector<GangOutcome::Member> members;
  Transaction tx(state_);
  std::int32_t before = -1;
  for (const GangReservedRecord::Member& m : record.members) {
    const NodeId node = state_.FindNode(m.node);
    if (m.member <= before || std::cmp_greater_equal(m.member, request.members.size()) ||
        !node.valid() || by_uid_.contains(request.members[static_cast<std::size_t>(m.member)])) {
      return bad("a member is placed twice, or where there is no such node");
    }
    before = m.member;
    const ShapeId shape = request.spec.tasks[request.spec.TaskOf(m.member)].shape;
    if (!state_.CanRecord(shape, node, m.cards, m.numa.get()))
      return bad("a member has a card that is not there");
    tx.Take(node, shape, m.cards, m.numa);
    members.push_back({m.member, Placement{node, m.cards, 0, state_.generation(node), m.numa}});
  }
  tx.Commit();
  AddMembers(GangFor(request), members, record.epoch, record.expires);
  next_epoch_ = std::max(next_epoch_, record.epoch + 1);
  return {};
}

}  // namespace basalt
