// The engine's gangs: propose, reserve, confirm, release, and what happens when members end.
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "scheduler-core/base/check.h"
#include "scheduler-core/cluster/transaction.h"
#include "scheduler-core/engine/engine.h"

namespace basalt {
namespace {

std::vector<PodUid> PodsOf(const GangRequest& request) {
  if (!request.members.empty()) return request.members;
  std::vector<PodUid> pods;
  const std::int32_t members = request.spec.max_members();
  pods.reserve(static_cast<std::size_t>(members));
  for (std::int32_t m = 0; m < members; ++m) pods.push_back(GangMemberUid(request.uid, m));
  return pods;
}

PodUid PodOf(const GangRequest& request, const Gang* held, std::int32_t member) {
  if (held != nullptr) return held->pods[static_cast<std::size_t>(member)];
  if (!request.members.empty()) return request.members[static_cast<std::size_t>(member)];
  return GangMemberUid(request.uid, member);
}

// The task of members that are asked for in ascending order.
class TaskWalk {
 public:
  explicit TaskWalk(const GangSpec& spec) : spec_(&spec) {}
  std::size_t TaskOf(std::int32_t member) {
    while (member >= end_) end_ += spec_->tasks[next_++].max;
    return next_ - 1;
  }

 private:
  const GangSpec* spec_;
  std::size_t next_ = 0;
  std::int32_t end_ = 0;
};

std::vector<QuotaAsk> QuotaAsks(const GangSpec& spec, const std::vector<std::int32_t>& counts) {
  std::vector<QuotaAsk> asks;
  for (std::size_t t = 0; t < counts.size(); ++t) {
    if (counts[t] > 0) asks.push_back({spec.tasks[t].shape, counts[t]});
  }
  return asks;
}

Error Elsewhere(const std::string& where, const PodUid& pod) {
  return Error{where, "its pod " + UidText(pod) + " is allocated outside the gang"};
}

}  // namespace

std::int32_t Gang::Count(std::size_t task, Member state) const {
  std::int32_t first = 0;
  for (std::size_t t = 0; t < task; ++t) first += spec.tasks[t].max;
  const auto begin = members.begin() + first;
  return static_cast<std::int32_t>(std::count(begin, begin + spec.tasks[task].max, state));
}

bool IsDegraded(const Gang& gang) {
  for (std::size_t t = 0; t < gang.spec.tasks.size(); ++t) {
    const std::int32_t there =
        gang.Count(t, Gang::Member::kHeld) + gang.Count(t, Gang::Member::kFinished);
    if (there < gang.spec.tasks[t].min) return true;
  }
  return false;
}

const Gang* Engine::FindGang(const PodUid& uid) const {
  const auto it = gangs_.find(uid);
  return it == gangs_.end() ? nullptr : &it->second;
}

const DomainTree& Engine::domains() {
  domains_.CatchUp(state_);
  return domains_;
}

Status Engine::CheckGang(const GangRequest& request, const Gang* held) const {
  const std::string where = "gang " + UidText(request.uid);
  if (Status ok = ValidateGang(request.spec, where); !ok) return ok;
  for (const GangTask& task : request.spec.tasks) {
    if (task.shape.index() >= state_.shape_count()) return Fail(where, "a task's shape is unknown");
  }
  if (!request.members.empty() &&
      std::cmp_not_equal(request.members.size(), request.spec.max_members())) {
    return Fail(where, fmt::format("{} pod UIDs for at most {} members", request.members.size(),
                                   request.spec.max_members()));
  }
  if (!request.task_nodes.empty() && request.task_nodes.size() != request.spec.tasks.size()) {
    return Fail(where, fmt::format("choices of nodes for {} tasks, but it has {}",
                                   request.task_nodes.size(), request.spec.tasks.size()));
  }
  if (held != nullptr) {
    if (held->attempt != request.attempt) return {};  // an outcome, not an error
    if (held->spec != request.spec || (!request.members.empty() && held->pods != request.members)) {
      return Fail(where, "holds places under another description; release it first");
    }
    return {};
  }
  if (request.members.empty()) return {};
  std::vector<PodUid> sorted = request.members;
  std::sort(sorted.begin(), sorted.end());
  if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) {
    return Fail(where, "names a pod twice");
  }
  for (const PodUid& uid : sorted) {
    if (by_uid_.contains(uid)) return tl::unexpected<Error>(Elsewhere(where, uid));
  }
  return {};
}

std::uint64_t Engine::OpenLease(const Gang& gang) const {
  if (gang.newest_epoch == 0) return 0;
  for (std::size_t m = 0; m < gang.pods.size(); ++m) {
    if (gang.members[m] != Gang::Member::kHeld) continue;
    const Allocation* a = Find(gang.pods[m]);
    if (a->epoch == gang.newest_epoch) return a->confirmed ? 0 : a->epoch;
  }
  return 0;
}

// The network levels that the members would have together: none wider than required.
Status Engine::CheckLevels(const GangRequest& request, const Gang* held,
                           const std::vector<GangOutcome::Member>& members) {
  const GangSpec& spec = request.spec;
  const bool any = spec.level.required < kAnyTier ||
                   std::any_of(
                       spec.groups.begin(), spec.groups.end(),
                       [](const GangGroup& g) { return g.level.required < kAnyTier; });
  if (!any) return {};
  domains_.CatchUp(state_);
  struct Reach {
    NodeId node;
    DomainId join;
    int tier = kNodeTier;
  };
  std::vector<Reach> reach(spec.groups.size() + 1);  // of the gang, then by sub-group
  // What an observation has torn apart stays so; only where a member is added is a decision.
  std::vector<char> added(spec.groups.size() + 1, 0);
  const auto extend = [this](Reach& r, NodeId node) {
    const DomainId inner = domains_.innermost(node);
    r.join = r.join.valid() ? domains_.Join(r.join, inner) : inner;
    if (r.node.valid() && (r.tier != kNodeTier || r.node != node)) {
      r.tier = domains_.domain(r.join).tier;
    }
    r.node = node;
  };
  TaskWalk walk(spec);
  const auto add = [&](std::int32_t member, NodeId node, bool is_new) {
    const auto group = static_cast<std::size_t>(spec.tasks[walk.TaskOf(member)].group + 1);
    for (const std::size_t g : {std::size_t{0}, group}) {
      extend(reach[g], node);
      added[g] = static_cast<char>(added[g] != 0 || is_new);
    }
  };
  if (held != nullptr) {
    for (std::size_t m = 0; m < held->pods.size(); ++m) {
      if (held->members[m] != Gang::Member::kHeld) continue;
      add(static_cast<std::int32_t>(m), Find(held->pods[m])->node, false);
    }
  }
  walk = TaskWalk(spec);
  for (const GangOutcome::Member& m : members) add(m.member, m.placement.node, true);
  for (std::size_t g = 0; g < reach.size(); ++g) {
    if (added[g] == 0) continue;
    const int required = g == 0 ? spec.level.required : spec.groups[g - 1].level.required;
    if (reach[g].tier <= required) continue;
    return Fail("gang " + UidText(request.uid),
                fmt::format("{} would be in one {} only, but one {} is required",
                            g == 0 ? "it" : "sub-group " + spec.groups[g - 1].name,
                            domains_.TierName(reach[g].tier), domains_.TierName(required)));
  }
  return {};
}

// A task's mask is shared by all tasks that were given the same choices.
std::vector<std::shared_ptr<const NodeMask>> Engine::MasksOf(const GangRequest& request) const {
  std::vector<std::shared_ptr<const NodeMask>> masks;
  const bool by_task = std::any_of(request.task_nodes.begin(), request.task_nodes.end(),
                                   [](const auto& choice) { return choice != nullptr; });
  if (request.nodes == nullptr && !by_task) return masks;
  std::map<const NodeChoice*, std::shared_ptr<const NodeMask>> made;
  for (std::size_t t = 0; t < request.spec.tasks.size(); ++t) {
    const NodeChoice* own = by_task ? request.task_nodes[t].get() : nullptr;
    const auto [it, is_new] = made.try_emplace(own, nullptr);
    if (is_new && (own != nullptr || request.nodes != nullptr)) {
      NodeMask mask(state_.node_slots());
      if (request.nodes != nullptr) mask.Restrict(*request.nodes);
      if (own != nullptr) mask.Restrict(*own);
      it->second = std::make_shared<const NodeMask>(std::move(mask));
    }
    masks.push_back(it->second);
  }
  return masks;
}

GangProblem Engine::MakeProblem(const GangRequest& request, const Gang* held) {
  GangProblem problem;
  problem.spec = &request.spec;
  problem.card_rule = policy_.card_rule;
  problem.layout = request.spec.layout;
  if (problem.layout == GangLayout::kByPolicy) {
    problem.layout = policy_.policy->traits().spreads ? GangLayout::kSpread : GangLayout::kPacked;
  }
  problem.seed = SeedOf(request.uid, request.attempt);
  problem.nodes = MasksOf(request);
  for (std::size_t t = 0; t < request.spec.tasks.size(); ++t) {
    const GangTask& task = request.spec.tasks[t];
    std::int32_t there = 0;
    if (held != nullptr) {
      there = held->Count(t, Gang::Member::kHeld) + held->Count(t, Gang::Member::kFinished);
    }
    problem.need.push_back(std::max(task.min - there, 0));
    problem.extra.push_back(task.max - there - problem.need.back());
  }
  if (held == nullptr) return problem;
  TaskWalk walk(request.spec);
  for (std::size_t m = 0; m < held->pods.size(); ++m) {
    if (held->members[m] != Gang::Member::kHeld) continue;
    const Allocation* a = Find(held->pods[m]);
    problem.held.push_back({walk.TaskOf(static_cast<std::int32_t>(m)), a->node});
  }
  for (const auto& [member, path] : held->homes) {
    if (held->members[static_cast<std::size_t>(member)] != Gang::Member::kLost) continue;
    problem.homes.push_back({request.spec.TaskOf(member), domains_.Find(path)});
  }
  return problem;
}

Result<GangOutcome> Engine::ProposeGang(const GangRequest& request, SimTime now) {
  now = Forward(now);
  Expire(now);
  const Gang* held = FindGang(request.uid);
  if (Status ok = CheckGang(request, held); !ok) return tl::unexpected<Error>(ok.error());
  GangOutcome outcome;
  if (held != nullptr && held->attempt != request.attempt) {
    outcome.earlier_attempt_held = true;
    outcome.reason = fmt::format("attempt {} is still allocated", held->attempt);
    RecordGangDecision(request, outcome, now);
    return outcome;
  }
  domains_.CatchUp(state_);
  GangProblem problem = MakeProblem(request, held);
  outcome.held = static_cast<std::int32_t>(problem.held.size());
  const auto is_zero = [](std::int32_t n) { return n == 0; };
  const bool has_min = std::all_of(problem.need.begin(), problem.need.end(), is_zero);
  const std::uint64_t open = held != nullptr ? OpenLease(*held) : 0;
  const Standing& standing = held != nullptr ? held->standing : request.standing;
  Quotas::Check quota;
  if (open == 0 && !standing.queue.empty()) {
    quota = quotas_.MayAsk(state_, QuotaAsks(request.spec, problem.need), standing);
    if (quota.answer == Quotas::Check::Answer::kBad) {
      return Fail("gang " + UidText(request.uid), quota.reason);
    }
    if (!quota.may()) {
      outcome.kind = quota.answer == Quotas::Check::Answer::kWait ? OutcomeKind::kWait
                                                                  : OutcomeKind::kInfeasible;
      outcome.proven = outcome.by_quota = true;
      outcome.reason = std::move(quota.reason);
      RecordGangDecision(request, outcome, now);
      return outcome;
    }
    CapExtras(request, standing, &problem);
  }
  const bool has_all = has_min && std::all_of(problem.extra.begin(), problem.extra.end(), is_zero);
  GangAnswer answer;
  const auto search = [&](const GangSpec& spec) {
    const std::uint64_t counted = slots_.nodes_counted();
    std::vector<const SlotIndex::Slots*> slots;
    for (const GangTask& task : spec.tasks) {
      slots.push_back(&slots_.For(state_, domains_, task.shape));
    }
    problem.spec = &spec;
    answer = SearchGang(state_, domains_, slots, problem, options_.gang_limits, options_.executor);
    problem.spec = &request.spec;
    work_.nodes_checked += slots_.nodes_counted() - counted;
    work_.gang_steps += answer.steps;
  };
  if (open != 0) {
    // If it expires, what was added to it would be a part of a gang.
    answer.proven = true;
    answer.reason = fmt::format("lease {} is not confirmed yet", open);
  } else if (!has_all) {
    const bool some_models = quota.answer == Quotas::Check::Answer::kSome;
    bool limited = false;  // by slots
    const auto search_as = [&](bool on_models, SlotView view) {
      GangSpec spec = request.spec;
      for (GangTask& task : spec.tasks) {
        const ShapeId asked = on_models ? OnModels(task.shape, quota.models) : task.shape;
        limited = limited || ClosedMarks(asked, standing, view) != 0;
        task.shape = InQueue(asked, standing, view);
      }
      search(spec);
      if (!answer.placed || view == SlotView::kAll) return;
      std::vector<NodeId> nodes;
      for (const GangAnswer::Place& place : answer.places) {
        if (state_.shape(request.spec.tasks[place.task].shape).gpus > 0)
          nodes.push_back(place.node);
      }
      if (KeepsSlots(standing, std::move(nodes), "").has_value()) return;
      limited = true;
      answer = GangAnswer{};
    };
    // Each member may come to its node by itself and all together break what slots promise: then
    // they are placed where that cannot be.
    for (const SlotView view : {SlotView::kForOne, SlotView::kForMany}) {
      if (some_models) search_as(true, view);
      // A part on models that do not hold all of it by themselves may still be within the quota.
      if (!answer.placed) search_as(false, view);
      if (answer.placed || !limited) break;
    }
    if (!answer.placed && limited) {
      search_as(false, SlotView::kAll);
      if (answer.placed) {
        answer = GangAnswer{};
        answer.reason = KeptText();
        outcome.by_quota = true;
      }
    }
  }
  if (answer.placed) {
    if (Status ok = NameMembers(request, held, &answer, &outcome); !ok) {
      return tl::unexpected<Error>(ok.error());
    }
    if (Status ok = MayHold(request, outcome.members); !ok) {
      outcome.members.clear();
      answer.placed = false;
      answer.proven = false;
      answer.reason = ok.error().message;
      outcome.by_quota = true;
    }
  }
  if (answer.placed || has_min) {
    outcome.kind = OutcomeKind::kPlaced;
    NameDomain(problem, &outcome);
  } else {
    outcome.kind = OutcomeKind::kWait;
    outcome.proven = answer.proven;
    outcome.reason = answer.reason;
    if (held == nullptr && answer.proven) {
      std::vector<const SlotIndex::Slots*> empty;
      for (const GangTask& task : request.spec.tasks) {
        empty.push_back(&slots_.WhenEmpty(state_, domains_, task.shape));
      }
      std::string never;
      if (!GangPossibleWhenEmpty(state_, domains_, empty, problem, &never)) {
        outcome.kind = OutcomeKind::kInfeasible;
        outcome.reason = "even with nothing running: " + never;
      }
    }
  }
  RecordGangDecision(request, outcome, now);
  return outcome;
}

Status Engine::NameMembers(const GangRequest& request, const Gang* held, GangAnswer* answer,
                           GangOutcome* outcome) {
  // Ranks follow the network: places come in tree order, members in their numbers.
  std::size_t at = 0;
  std::int32_t first = 0;
  outcome->members.reserve(answer->places.size());
  for (std::size_t t = 0; t < request.spec.tasks.size(); ++t) {
    for (std::int32_t m = first; m < first + request.spec.tasks[t].max; ++m) {
      if (at == answer->places.size() || answer->places[at].task != t) break;
      if (held != nullptr) {
        const Gang::Member state = held->members[static_cast<std::size_t>(m)];
        if (state == Gang::Member::kHeld || state == Gang::Member::kFinished) continue;
      }
      const PodUid pod = PodOf(request, held, m);
      if (by_uid_.contains(pod)) {
        return tl::unexpected<Error>(Elsewhere("gang " + UidText(request.uid), pod));
      }
      GangAnswer::Place& place = answer->places[at++];
      outcome->members.push_back(
          {m, Placement{place.node, place.cards, 0, state_.generation(place.node),
                        std::move(place.numa)}});
    }
    first += request.spec.tasks[t].max;
  }
  BASALT_CHECK(at == answer->places.size());
  return {};
}

void Engine::NameDomain(const GangProblem& problem, GangOutcome* outcome) {
  NodeId one;
  DomainId join;
  const auto add = [&](NodeId node) {
    if (!one.valid()) one = node;
    outcome->tier = std::max(outcome->tier, domains_.TierOf(one, node));
    const DomainId inner = domains_.innermost(node);
    join = join.valid() ? domains_.Join(join, inner) : inner;
  };
  for (const GangOutcome::Member& m : outcome->members) add(m.placement.node);
  for (const GangProblem::Held& h : problem.held) add(h.node);
  if (one.valid()) {
    outcome->domain = outcome->tier == kNodeTier ? state_.name(one) : domains_.PathName(join);
  }
}

void Engine::CapExtras(const GangRequest& request, const Standing& standing, GangProblem* problem) {
  std::vector<std::int32_t> counts = problem->need;
  for (std::size_t t = 0; t < counts.size(); ++t) {
    const auto may = [&](std::int32_t extra) {
      std::vector<std::int32_t> more = counts;
      more[t] += extra;
      return quotas_.MayAsk(state_, QuotaAsks(request.spec, more), standing).may();
    };
    std::int32_t low = 0;
    std::int32_t high = problem->extra[t];
    if (high > 0 && may(high)) low = high;
    while (low < high) {  // monotone: fewer are never refused where more are not
      const std::int32_t middle = low + (high - low + 1) / 2;
      if (may(middle)) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    problem->extra[t] = low;
    counts[t] += low;
  }
}

void Engine::RecordGangDecision(const GangRequest& request, const GangOutcome& outcome,
                                SimTime now) {
  ++work_.decisions;
  decisions_.Add(now.us);
  decisions_.Add(request.uid.hi);
  decisions_.Add(request.uid.lo);
  decisions_.Add((std::uint64_t{request.attempt} << 8) | 0x80U |
                 static_cast<std::uint64_t>(outcome.kind));
  for (const GangOutcome::Member& m : outcome.members) {
    decisions_.Add(m.member);
    decisions_.Add(state_.name_digest(m.placement.node).lo);
    decisions_.Add(m.placement.cards.bits());
  }
  if (!outcome.placed() && options_.journal != nullptr) {
    GangSpecRecord spec = SpecRecord(request);
    Journal(JournalRecord{now, GangDecisionRecord{std::move(spec), outcome.kind}});
  }
}

GangSpecRecord Engine::SpecRecord(const GangRequest& request) {
  // A gang that holds places may be asked for without its pods: they are those it has.
  const Gang* held = FindGang(request.uid);
  const bool same = held != nullptr && held->attempt == request.attempt;
  GangSpecRecord record{request.uid,
                        request.attempt,
                        request.job,
                        request.spec,
                        same ? held->pods : PodsOf(request),
                        same ? held->standing : request.standing,
                        NamesOf(state_, request.nodes),
                        {}};
  for (const auto& choice : request.task_nodes) {
    record.task_nodes.push_back(NamesOf(state_, choice));
  }
  for (GangTask& task : record.spec.tasks) task.shape = ShapeId(JournalShape(task.shape));
  return record;
}

Gang& Engine::GangFor(const GangRequest& request) {
  const auto [it, is_new] = gangs_.try_emplace(request.uid);
  Gang& gang = it->second;
  if (!is_new) return gang;
  gang.uid = request.uid;
  gang.attempt = request.attempt;
  gang.job = request.job;
  gang.spec = request.spec;
  gang.standing = request.standing;
  gang.pods = PodsOf(request);
  gang.members.assign(gang.pods.size(), Gang::Member::kAbsent);
  return gang;
}

Result<Lease> Engine::ReserveGang(const GangRequest& request, const GangOutcome& proposed,
                                  SimTime now, std::int64_t ttl_us) {
  return TakeGang(request, proposed, {}, now, ttl_us);
}

Result<Lease> Engine::TakeGang(const GangRequest& request, const GangOutcome& proposed,
                               const std::vector<PodUid>& victims, SimTime now,
                               std::int64_t ttl_us) {
  now = Forward(now);
  Expire(now);
  const std::string where = "gang " + UidText(request.uid);
  const Result<std::int64_t> ttl = TtlOf(ttl_us, request.uid);
  if (!ttl) return tl::unexpected<Error>(ttl.error());
  const Gang* held = FindGang(request.uid);
  if (Status ok = CheckGang(request, held); !ok) return tl::unexpected<Error>(ok.error());
  if (held != nullptr && held->attempt != request.attempt) {
    return Fail(where, fmt::format("attempt {} is still allocated", held->attempt));
  }
  if (!proposed.placed()) return Fail(where, "nothing was proposed");
  if (held != nullptr) {
    if (std::optional<Lease> same = HeldAlready(*held, proposed); same) return *same;
    if (const std::uint64_t open = OpenLease(*held); open != 0) {
      return Fail(where, fmt::format("lease {} is not confirmed yet", open));
    }
  }
  // After this every task must have its min: a part of a proposal is no proposal.
  std::vector<std::int32_t> there(request.spec.tasks.size(), 0);
  if (held != nullptr) {
    for (std::size_t t = 0; t < there.size(); ++t) {
      there[t] = held->Count(t, Gang::Member::kHeld) + held->Count(t, Gang::Member::kFinished);
    }
  }
  const std::vector<PodUid> pods = held != nullptr ? held->pods : PodsOf(request);
  const Standing& standing = held != nullptr ? held->standing : request.standing;
  Transaction tx(state_);
  GiveVictims(victims, &tx);
  const std::vector<std::shared_ptr<const NodeMask>> masks = MasksOf(request);
  TaskWalk walk(request.spec);
  std::int32_t before = -1;
  for (const GangOutcome::Member& m : proposed.members) {
    if (m.member <= before || std::cmp_greater_equal(m.member, pods.size())) {
      return Fail(where, fmt::format("member {} is proposed twice or is unknown", m.member));
    }
    before = m.member;
    const auto index = static_cast<std::size_t>(m.member);
    if (held != nullptr && (held->members[index] == Gang::Member::kHeld ||
                            held->members[index] == Gang::Member::kFinished)) {
      return Fail(where, fmt::format("member {} holds a place or has finished", m.member));
    }
    if (by_uid_.contains(pods[index])) {
      return tl::unexpected<Error>(Elsewhere(where, pods[index]));
    }
    const std::size_t task = walk.TaskOf(m.member);
    if (!masks.empty() && masks[task] != nullptr && !masks[task]->Allows(m.placement.node)) {
      return Fail(where,
                  fmt::format("member {} is not to be on that node; propose again", m.member));
    }
    ++there[task];
  }
  // Those that ask for memory on a card and for no compute go first: beside one that takes all of
  // the compute they do not fit any more, and both together do.
  for (const bool memory_only : {true, false}) {
    walk = TaskWalk(request.spec);
    for (const GangOutcome::Member& m : proposed.members) {
      const ShapeId shape = request.spec.tasks[walk.TaskOf(m.member)].shape;
      const bool is_memory_only = state_.shape(shape).gpus > 0 && state_.shape(shape).milli == 0;
      if (is_memory_only != memory_only) continue;
      if (!StillFits(InQueue(shape, standing, SlotView::kAll), m.placement)) {
        return Fail(where, "what was proposed is no longer free; propose again");
      }
      tx.Take(m.placement.node, shape, m.placement.cards, m.placement.numa);
    }
  }
  for (std::size_t t = 0; t < there.size(); ++t) {
    if (there[t] < request.spec.tasks[t].min) {
      return Fail(where, "the proposal leaves a task below its min; propose again");
    }
  }
  if (Status ok = CheckLevels(request, held, proposed.members); !ok) {
    return tl::unexpected<Error>(ok.error());
  }
  UnchargeVictims(victims);
  if (Status ok = MayHold(request, proposed.members); !ok) {
    ChargeVictims(victims);
    return tl::unexpected<Error>(ok.error());
  }
  if (!victims.empty()) {
    // It fits once they have left. Until then both are there.
    tx.Rollback(0);
    walk = TaskWalk(request.spec);
    for (const GangOutcome::Member& m : proposed.members) {
      tx.Take(m.placement.node, request.spec.tasks[walk.TaskOf(m.member)].shape, m.placement.cards,
              m.placement.numa);
    }
  }
  tx.Commit();
  const std::uint64_t epoch = next_epoch_++;
  const SimTime expires = victims.empty() ? now.Plus(*ttl) : kNever;
  AddMembers(GangFor(request), proposed.members, epoch, expires);
  if (!victims.empty()) Nominated(request.uid, true, victims, epoch);
  if (options_.journal != nullptr) {
    GangReservedRecord record{SpecRecord(request), {}, epoch, expires};
    for (const GangOutcome::Member& m : proposed.members) {
      record.members.push_back(
          {m.member, state_.name(m.placement.node), m.placement.cards, m.placement.numa});
    }
    if (victims.empty()) {
      Journal(JournalRecord{now, std::move(record)});
    } else {
      Journal(JournalRecord{now, NominatedRecord{std::move(record), victims}});
    }
  }
  for (const GangOutcome::Member& m : proposed.members) AfterCommit(m.placement.node);
  return Lease{request.uid, epoch, expires};
}

// Said again: every member holds exactly what is proposed, under one lease.
std::optional<Lease> Engine::HeldAlready(const Gang& gang, const GangOutcome& proposed) const {
  const Allocation* one = nullptr;
  if (proposed.members.empty()) {
    for (std::size_t m = 0; m < gang.pods.size(); ++m) {
      if (gang.members[m] != Gang::Member::kHeld) continue;
      const Allocation* a = Find(gang.pods[m]);
      if (one == nullptr || a->epoch > one->epoch) one = a;
    }
  }
  for (const GangOutcome::Member& m : proposed.members) {
    const auto index = static_cast<std::size_t>(m.member);
    if (m.member < 0 || index >= gang.pods.size()) return {};
    if (gang.members[index] != Gang::Member::kHeld) return {};
    const Allocation* a = Find(gang.pods[index]);
    if (one == nullptr) one = a;
    if (a->epoch != one->epoch || a->node != m.placement.node || a->cards != m.placement.cards) {
      return {};
    }
  }
  if (one == nullptr) return {};
  return Lease{gang.uid, one->epoch, one->expires};
}

// Puts what the state holds already into the books.
void Engine::AddMembers(Gang& gang, const std::vector<GangOutcome::Member>& members,
                        std::uint64_t epoch, SimTime expires) {
  TaskWalk walk(gang.spec);
  for (const GangOutcome::Member& m : members) {
    const auto index = static_cast<std::size_t>(m.member);
    AddExpiry(Insert(Allocation{
        gang.pods[index], gang.attempt, gang.spec.tasks[walk.TaskOf(m.member)].shape,
        m.placement.node, m.placement.cards, gang.job, epoch, expires, false, m.placement.numa,
        gang.uid, m.member, quotas_.Intern(gang.standing), QueueId(), now_, now_}));
    gang.members[index] = Gang::Member::kHeld;
  }
  gang.held += static_cast<std::int32_t>(members.size());
  gang.newest_epoch = epoch;
  gang.degraded = IsDegraded(gang);
}

Status Engine::ConfirmGang(const Lease& lease, SimTime now) {
  now = Forward(now);
  const std::string where = "gang " + UidText(lease.uid);
  const Gang* gang = FindGang(lease.uid);
  if (gang == nullptr) {
    return Fail(where, "holds no lease: it expired, was released, or never was");
  }
  const Allocation* one = nullptr;
  bool open = false;
  for (std::size_t m = 0; m < gang->pods.size(); ++m) {
    if (gang->members[m] != Gang::Member::kHeld) continue;
    const Allocation* a = Find(gang->pods[m]);
    if (a->epoch != lease.epoch) continue;
    one = a;
    open = open || !a->confirmed;
  }
  if (one == nullptr) return Fail(where, fmt::format("lease {} holds nothing", lease.epoch));
  if (!open) return {};
  if (const Nomination* waits = FindNomination(lease.uid); waits != nullptr) {
    return Fail(where,
                fmt::format("its room is not free: {} pods have not left", waits->waiting.size()));
  }
  if (now >= one->expires) return Fail(where, "the lease has expired; propose again");
  ConfirmMembers(lease.uid, lease.epoch);
  if (options_.journal != nullptr) {
    Journal(JournalRecord{now, GangConfirmedRecord{lease.uid, lease.epoch}});
  }
  TrimExpiries();
  return {};
}

void Engine::ConfirmMembers(const PodUid& uid, std::uint64_t epoch) {
  Gang& gang = gangs_.find(uid)->second;
  for (std::size_t m = 0; m < gang.pods.size(); ++m) {
    if (gang.members[m] != Gang::Member::kHeld) continue;
    Allocation& a = allocations_[by_uid_.find(gang.pods[m])->second];
    if (a.epoch != epoch) continue;
    if (!a.confirmed) a.started = a.checkpoint = now_;
    a.confirmed = true;
    gang.homes.erase(a.member);
  }
  // An observed binding did not wait for the victims. They have been told to leave all the same.
  const Nomination* nomination = FindNomination(uid);
  if (nomination != nullptr && nomination->epoch == epoch) DropNomination(uid, false);
}

void Engine::ExpireMembers(const PodUid& uid, std::uint64_t epoch) {
  std::vector<PodUid> ending;
  if (FindGang(uid) == nullptr) return;  // its last member has just ended
  const Gang& gang = *FindGang(uid);
  for (std::size_t m = 0; m < gang.pods.size(); ++m) {
    if (gang.members[m] != Gang::Member::kHeld) continue;
    const Allocation* a = Find(gang.pods[m]);
    if (a->epoch == epoch && !a->confirmed) ending.push_back(a->uid);
  }
  for (const PodUid& pod : ending) End(by_uid_.find(pod)->second, Ending::kExpired);
}

void Engine::MemberSeen(const PodObserved& observed, Allocation* was) {
  if (was->member >= 0) {
    // Whoever binds a member has the gang's lease and binds the rest of it too.
    if (!was->confirmed) ConfirmMembers(was->gang, was->epoch);
    return;
  }
  // A lost member that is seen again (its node came back) is the gang's again.
  for (auto& [uid, gang] : gangs_) {
    if (gang.attempt != observed.attempt) continue;
    for (const auto& [member, path] : gang.homes) {
      const auto index = static_cast<std::size_t>(member);
      if (gang.pods[index] != observed.uid || gang.members[index] != Gang::Member::kLost) continue;
      was->gang = uid;
      was->member = member;
      gang.members[index] = Gang::Member::kHeld;
      ++gang.held;
      gang.homes.erase(member);
      gang.degraded = IsDegraded(gang);
      return;
    }
  }
}

Status Engine::ReleaseGang(const PodUid& uid, SimTime now) {
  now = Forward(now);
  const Gang* gang = FindGang(uid);
  if (gang == nullptr) return Fail("gang " + UidText(uid), "holds nothing");
  DropNomination(uid, true);
  std::vector<PodUid> holding;
  for (std::size_t m = 0; m < gang->pods.size(); ++m) {
    if (gang->members[m] == Gang::Member::kHeld) holding.push_back(gang->pods[m]);
  }
  // The last of them takes the gang with it.
  for (const PodUid& pod : holding) End(by_uid_.find(pod)->second, Ending::kFinished);
  if (options_.journal != nullptr) Journal(JournalRecord{now, GangReleasedRecord{uid}});
  return {};
}

Result<GangOutcome> Engine::PlaceGang(const GangRequest& request, SimTime now) {
  Result<GangOutcome> outcome = ProposeGang(request, now);
  if (!outcome || !outcome->placed() || outcome->members.empty()) return outcome;
  const Result<Lease> lease = ReserveGang(request, *outcome, now);
  if (!lease) {
    // What was planned together may not be taken in the order of the members: pods of several
    // containers under a NUMA policy. Nothing was taken.
    outcome->kind = OutcomeKind::kWait;
    outcome->members.clear();
    outcome->reason = lease.error().message;
    return outcome;
  }
  BASALT_CHECK(ConfirmGang(*lease, now).has_value());
  return outcome;
}

void Engine::MemberEnded(const Allocation& a, Ending ending) {
  const auto it = gangs_.find(a.gang);
  BASALT_CHECK(it != gangs_.end());
  Gang& gang = it->second;
  Gang::Member& member = gang.members[static_cast<std::size_t>(a.member)];
  // One that was made to leave has not finished: the gang still wants it.
  const bool finished = ending == Ending::kFinished && !a.is_leaving();
  if (finished) {
    member = Gang::Member::kFinished;
    gang.homes.erase(a.member);
  } else if (ending == Ending::kLost) {
    member = Gang::Member::kLost;
    gang.homes[a.member] = state_.network(a.node);
  } else {  // a replacement that was never confirmed leaves the member lost
    member = gang.homes.contains(a.member) ? Gang::Member::kLost : Gang::Member::kAbsent;
  }
  if (--gang.held == 0) {
    gangs_.erase(it);
    return;
  }
  if (finished) return;
  const std::size_t task = gang.spec.TaskOf(a.member);
  gang.degraded = gang.degraded || gang.Count(task, Gang::Member::kHeld) +
                                           gang.Count(task, Gang::Member::kFinished) <
                                       gang.spec.tasks[task].min;
}

}  // namespace basalt
