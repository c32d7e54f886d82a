#include "scheduler-core/engine/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <type_traits>
#include <utility>
#include <variant>

#include "scheduler-core/base/check.h"
#include "scheduler-core/cluster/draft.h"
#include "scheduler-core/cluster/transaction.h"

namespace basalt {

namespace {

// Events up to this one change nodes or cards.
constexpr std::size_t kLastInventoryEvent = 3;
static_assert(
    std::is_same_v<std::variant_alternative_t<kLastInventoryEvent, Event>, CardHealthChanged>);

}  // namespace

Status Engine::CheckPolicy(const ConfiguredPolicy& policy, const TargetWorkload& target) {
  BASALT_CHECK(policy.policy != nullptr);
  if (policy.policy->traits().needs_target_workload && target.empty()) {
    return Fail("policy " + policy.expression,
                "needs a target workload (the typical requests), and none is set");
  }
  return {};
}

Result<std::unique_ptr<Engine>> Engine::Create(ConfiguredPolicy policy, EngineOptions options) {
  if (Status ok = CheckPolicy(policy, options.target); !ok) {
    return tl::unexpected<Error>(ok.error());
  }
  return std::unique_ptr<Engine>(new Engine(std::move(policy), std::move(options)));
}

Engine::Engine(ConfiguredPolicy policy, EngineOptions options)
    : policy_(std::move(policy)), options_(std::move(options)), index_(options_.shape_cap) {
  if (!options_.target.empty()) fragmentation_.emplace(state_, options_.target);
  for (const auto& [tier, name] : options_.tier_names) domains_.SetTierName(tier, name);
  JournalPolicy(SimTime{});
}

void Engine::JournalPolicy(SimTime now) {
  // A journal, or a part of one that begins with another policy, numbers its shapes from 0.
  journal_shapes_.clear();
  journal_shape_count_ = 0;
  if (options_.journal == nullptr) return;
  PolicyRecord record{
      policy_.expression, options_.seed, {}, options_.target.all_count(), options_.lease_ttl_us};
  for (const TargetClass& c : options_.target.classes()) record.target.push_back({c.spec, c.count});
  Journal(JournalRecord{now, std::move(record)});
}

void Engine::RestartJournal(JournalSink* sink) {
  options_.journal = sink;
  JournalPolicy(SimTime{});
}

Status Engine::SetPolicy(ConfiguredPolicy policy, TargetWorkload target, SimTime now) {
  now = Forward(now);
  if (Status ok = CheckPolicy(policy, target); !ok) return ok;
  policy_ = std::move(policy);
  fragmentation_.reset();
  options_.target = std::move(target);
  if (!options_.target.empty()) fragmentation_.emplace(state_, options_.target);
  index_.Clear();
  jobs_.clear();
  ForEachAllocation([this](const Allocation& a) { CountJob(a); });
  JournalPolicy(now);
  return {};
}

Engine::~Engine() = default;

void Engine::Journal(const JournalRecord& record) {
  if (options_.journal != nullptr) options_.journal->Append(record);
}

std::uint32_t Engine::JournalShape(ShapeId shape) {
  if (options_.journal == nullptr) return 0;
  if (journal_shapes_.size() <= shape.index()) {
    journal_shapes_.resize(state_.shape_count(), ~std::uint32_t{0});
  }
  std::uint32_t& number = journal_shapes_[shape];
  if (number == ~std::uint32_t{0}) {
    number = journal_shape_count_++;
    Journal(JournalRecord{SimTime{}, ShapeRecord{state_.shape(shape).spec}});
  }
  return number;
}

Result<ShapeId> Engine::InternShape(const RequestSpec& spec) {
  if (Status ok = ValidateRequest(spec, "request"); !ok) {
    return tl::unexpected<Error>(ok.error());
  }
  return state_.InternShape(spec);
}

Result<NodeId> Engine::NodeWithCard(const std::string& name, int card) const {
  const NodeId node = state_.FindNode(name);
  if (!node.valid()) return Fail("node " + name, "is not in the cluster");
  if (card < 0 || card >= state_.hot(node).cards) {
    return Fail("node " + name, fmt::format("has no card {}", card));
  }
  return node;
}

Status Engine::Apply(const Event& event, SimTime now) {
  now = Forward(now);
  const auto unknown = [](const std::string& node) {
    return Fail("node " + node, "is not in the cluster");
  };
  Event recorded = event;
  if (event.index() <= kLastInventoryEvent) quotas_.InventoryChanged();
  if (const auto* added = std::get_if<NodeAdded>(&event)) {
    const Result<NodeId> node = state_.AddNode(added->spec);
    if (!node) return tl::unexpected<Error>(node.error());
    if (on_node_.size() < state_.node_slots()) on_node_.resize(state_.node_slots());
    MarkNode(*node);
    if (options_.journal == nullptr) return {};
    std::get<NodeAdded>(recorded).spec = state_.SpecOf(*node);  // with the rank it was given
  } else if (const auto* removed = std::get_if<NodeRemoved>(&event)) {
    const NodeId node = state_.FindNode(removed->node);
    if (!node.valid()) return unknown(removed->node);
    // By uid: which member of a gang goes first tells which one counts as lost.
    std::vector<PodUid> there;
    for (const std::uint32_t slot : on_node_[node]) there.push_back(allocations_[slot].uid);
    std::sort(there.begin(), there.end());
    for (const PodUid& uid : there) {
      const auto it = by_uid_.find(uid);  // gone already, with another one
      if (it != by_uid_.end()) End(it->second, Ending::kLost);
    }
    UnmarkNode(node);
    state_.RemoveNode(node);
  } else if (const auto* cordoned = std::get_if<NodeCordoned>(&event)) {
    const NodeId node = state_.FindNode(cordoned->node);
    if (!node.valid()) return unknown(cordoned->node);
    state_.SetCordoned(node, cordoned->cordoned);
    MarkNode(node);
  } else if (const auto* health = std::get_if<CardHealthChanged>(&event)) {
    const Result<NodeId> node = NodeWithCard(health->node, health->card);
    if (!node) return tl::unexpected<Error>(node.error());
    state_.SetCardHealth(*node, health->card, health->healthy);
    MarkNode(*node);
  } else if (const auto* card = std::get_if<CardCordoned>(&event)) {
    const Result<NodeId> node = NodeWithCard(card->node, card->card);
    if (!node) return tl::unexpected<Error>(node.error());
    state_.SetCardCordoned(*node, card->card, card->cordoned);
    MarkNode(*node);
    quotas_.InventoryChanged();
  } else if (const auto* changed = std::get_if<CardModeChanged>(&event)) {
    const Result<NodeId> node = NodeWithCard(changed->node, changed->card);
    if (!node) return tl::unexpected<Error>(node.error());
    if (Status ok = state_.SetCardMode(*node, changed->card, changed->mode); !ok) return ok;
    MarkNode(*node);
    quotas_.InventoryChanged();
  } else if (const auto* rules = std::get_if<CardRulesSet>(&event)) {
    if (Status ok = state_.SetCardRules(rules->rules); !ok) return ok;
  } else if (const auto* observed = std::get_if<PodObserved>(&event)) {
    if (Status ok = Observe(*observed, now); !ok) return ok;
  } else if (const auto* gone = std::get_if<PodGone>(&event)) {
    const auto it = by_uid_.find(gone->uid);
    if (it == by_uid_.end()) return {};  // told twice, or never ours
    End(it->second, gone->failed ? Ending::kLost : Ending::kFinished);
  } else if (const auto* saved = std::get_if<PodCheckpointed>(&event)) {
    if (!Checkpointed(saved->uid, now)) return {};
  } else if (const auto* queue = std::get_if<QueueSet>(&event)) {
    if (Status ok = quotas_.SetQueue(queue->spec); !ok) return ok;
    ChargeNewcomers();
    QueuesChanged();
  } else if (const auto* dropped = std::get_if<QueueRemoved>(&event)) {
    const std::optional<QueueId> removed_queue = queues().Find(dropped->name);
    if (Status ok = quotas_.RemoveQueue(dropped->name); !ok) return ok;
    if (past_usage_ && removed_queue) past_usage_->Forget(*removed_queue, now_);
    ChargeNewcomers();  // of the queue above, if it has none below it any more
    QueuesChanged();
  } else if (const auto* budget = std::get_if<DisruptionBudgetSet>(&event)) {
    if (budget->name.empty() || (budget->min_available >= 0 && budget->max_unavailable >= 0)) {
      return Fail("disruption budget '" + budget->name + "'",
                  "needs a name and one of min_available and max_unavailable");
    }
    quotas_.SetBudget(*budget);
  } else if (const auto* described = std::get_if<NodeChanged>(&event)) {
    const Result<bool> differs = ChangeNode(described->spec);
    if (!differs) return tl::unexpected<Error>(differs.error());
    if (!*differs) return {};
    std::get<NodeChanged>(recorded).spec = state_.SpecOf(state_.FindNode(described->spec.name));
  }
  Journal(JournalRecord{now, EventRecord{std::move(recorded)}});
  return {};
}

Status Engine::Observe(const PodObserved& observed, SimTime now) {
  const NodeId node = state_.FindNode(observed.node);
  if (!node.valid()) return Fail("node " + observed.node, "is not in the cluster");
  const Result<ShapeId> shape = InternShape(observed.spec);
  if (!shape) return tl::unexpected<Error>(shape.error());
  if (!state_.CanRecord(*shape, node, observed.cards, observed.numa.get())) {
    return Fail("pod " + UidText(observed.uid),
                "names a card that the node does not have, takes absurdly more than there is, or "
                "does not say which slices it has where they differ or are MIG instances");
  }
  Allocation was;  // what the pod held before: its place in a gang stays
  if (const auto it = by_uid_.find(observed.uid); it != by_uid_.end()) {
    Allocation& held = allocations_[it->second];
    if (held.attempt == observed.attempt && held.shape == *shape && held.node == node &&
        held.cards == observed.cards) {
      // The binding of our own lease, seen before its Confirm arrived: the lease keeps its epoch.
      if (held.member >= 0) MemberSeen(observed, &held);
      if (!held.confirmed) {
        held.confirmed = true;
        held.started = held.checkpoint = now;
        // Who bound it did not wait for the victims. They have been told to leave all the same.
        DropNomination(held.uid, false);
      }
      // Budgets select pods by their labels, which who asked for the place does not look at.
      if (held.standing->budget != observed.standing.budget) {
        Standing standing = *held.standing;
        standing.budget = observed.standing.budget;
        held.standing = quotas_.Intern(standing);
      }
      return {};
    }
    was = held;
  }
  MemberSeen(observed, &was);
  if (const auto it = by_uid_.find(observed.uid); it != by_uid_.end()) {
    End(it->second, Ending::kReplaced);
  }
  Transaction tx(state_);
  tx.Take(node, *shape, observed.cards, observed.numa);
  tx.Commit();
  Insert(Allocation{observed.uid, observed.attempt, *shape, node, observed.cards, observed.job,
                    next_epoch_++, now, true, observed.numa, was.gang, was.member,
                    quotas_.Intern(observed.standing), QueueId(), now, now});
  AfterCommit(node);
  return {};
}

bool Engine::Checkpointed(const PodUid& uid, SimTime now) {
  if (const auto it = by_uid_.find(uid); it != by_uid_.end()) {
    allocations_[it->second].checkpoint = now;
    return true;
  }
  const Gang* gang = FindGang(uid);
  if (gang == nullptr) return false;
  for (std::size_t m = 0; m < gang->pods.size(); ++m) {
    if (gang->members[m] != Gang::Member::kHeld) continue;
    allocations_[by_uid_.find(gang->pods[m])->second].checkpoint = now;
  }
  return true;
}

std::uint64_t Engine::SeedOf(const PodUid& uid, std::uint32_t attempt) const {
  return MixPair(options_.seed ^ 0x9E3779B97F4A7C15ULL ^ attempt,
                 uid.lo ^ (uid.hi * 0xD6E8FEB86659FD93ULL) ^ 0xA0761D6478BD642FULL);
}

PlacementContext Engine::MakeContext(const Request& request, ShapeId shape) {
  // Others read fragmentation only when they are asked for it.
  if (fragmentation_ && policy_.policy->traits().needs_target_workload) fragmentation_->CatchUp();
  const JobNodes* job = nullptr;
  if (request.job != 0 && policy_.policy->traits().job_term) {
    const auto it = jobs_.find(request.job);
    if (it != jobs_.end()) job = &it->second;
  }
  const bool needs_domains = policy_.policy->traits().needs_domains;
  if (needs_domains) domains_.CatchUp(state_);
  const std::uint64_t seed = SeedOf(request.uid, request.attempt);
  return PlacementContext{state_,
                          shape,
                          state_.shape(shape),
                          policy_.card_rule,
                          fragmentation_ ? &*fragmentation_ : nullptr,
                          job,
                          needs_domains ? &domains_ : nullptr,
                          seed,
                          work_,
                          request.nodes.get()};
}

BestNode Engine::ScanEveryNode(const PlacementContext& context) {
  state_.CollectFeasible(context.shape_id, &feasible_);
  if (context.nodes != nullptr) {
    const NodeMask mask(*context.nodes, state_.node_slots());
    std::erase_if(feasible_, [&mask](NodeId node) { return !mask.Allows(node); });
  }
  work_.nodes_checked += state_.order().size();
  work_.nodes_scored += feasible_.size();
  scores_.resize(feasible_.size());
  const PlacementPolicy& policy = *policy_.policy;
  if (!feasible_.empty()) policy.ScoreNodes(context, feasible_, scores_);
  BestNode best;
  for (std::size_t i = 0; i < feasible_.size(); ++i) {
    scores_[i] = TotalScore(policy, context, feasible_[i], scores_[i]);
    if (scores_[i] > best.score) best = BestNode{feasible_[i], scores_[i]};
  }
  return best;
}

BestNode Engine::FindBest(const PlacementContext& context) {
  if (options_.scan_every_node || policy_.policy->traits().whole_set) {
    return ScanEveryNode(context);
  }
  return index_.Best(*policy_.policy, context);
}

bool Engine::PossibleWhenEmpty(ShapeId shape) {
  if (possible_.size() <= shape.index()) possible_.resize(state_.shape_count());
  Possible& known = possible_[shape];
  if (known.structure_version != state_.structure_version()) {
    known.structure_version = state_.structure_version();
    const auto order = state_.order();
    known.possible = std::any_of(order.begin(), order.end(),
                                 [&](NodeId node) { return state_.FitsEmpty(shape, node); });
  }
  return known.possible;
}

void Engine::RecordDecision(const Request& request, const Outcome& outcome, SimTime now) {
  ++work_.decisions;
  decisions_.Add(now.us);
  decisions_.Add(request.uid.hi);
  decisions_.Add(request.uid.lo);
  decisions_.Add((std::uint64_t{request.attempt} << 8) | static_cast<std::uint64_t>(outcome.kind));
  if (outcome.placed()) {
    decisions_.Add(state_.name_digest(outcome.placement.node).lo);
    decisions_.Add(outcome.placement.cards.bits());
    decisions_.Add(outcome.placement.score);
  } else if (options_.journal != nullptr) {
    const std::uint32_t shape = JournalShape(request.shape);
    Journal(JournalRecord{
        now, DecisionRecord{request.uid, request.attempt, shape, request.job, outcome.kind,
                            request.standing, NamesOf(state_, request.nodes)}});
  }
}

Placement Engine::MakePlacement(const PlacementContext& context, const BestNode& best) const {
  Placement placement;
  placement.node = best.node;
  placement.score = best.score;
  placement.generation = state_.generation(best.node);
  placement.cards = policy_.policy->ChooseCards(context, best.node);
  if (state_.IsPlanned(context.shape, best.node)) {
    // The cards came from the same plan; this is the rest of it.
    NodeDraft draft;
    draft.Load(state_, best.node);
    CardPlan plan = draft.PlanCards(context.shape, policy_.card_rule, context.seed);
    placement.cards = plan.cards;
    placement.numa = std::move(plan.numa);
  }
  return placement;
}

// Where the slice is larger than on other cards (MIG profiles, modules, cards of several sizes),
// only the place tells whether the queue may hold it.
Result<Placement> Engine::PlaceWithinQuota(const Request& request, const PlacementContext& context,
                                           const BestNode& best) {
  Placement placement = MakePlacement(context, best);
  const Status refused = MayHold(request, placement);
  if (refused) return placement;
  ScanEveryNode(context);
  std::vector<std::size_t> by_score(feasible_.size());  // feasible nodes are in rank order
  for (std::size_t i = 0; i < by_score.size(); ++i) by_score[i] = i;
  std::stable_sort(by_score.begin(), by_score.end(),
                   [this](std::size_t a, std::size_t b) { return scores_[a] > scores_[b]; });
  for (const std::size_t i : by_score) {
    placement = MakePlacement(context, BestNode{feasible_[i], scores_[i]});
    if (MayHold(request, placement)) return placement;
  }
  return tl::unexpected<Error>(refused.error());  // in the words of the best node
}

bool Engine::StillFits(ShapeId shape_id, const Placement& placement) const {
  const Shape& shape = state_.shape(shape_id);
  const NodeId node = placement.node;
  bool fits = node.valid() && node.index() < state_.node_slots() && state_.exists(node) &&
              state_.generation(node) == placement.generation && state_.Fits(shape_id, node);
  if (!fits) return false;
  const bool listed = placement.numa != nullptr && !placement.numa->slices.empty();
  if (listed || shape.lists_slices()) {
    NodeDraft draft;
    draft.Load(state_, node);
    CardPlan plan;
    plan.cards = placement.cards;
    plan.numa = placement.numa;
    if (!draft.ListedFit(shape, plan)) return false;
  } else if (placement.cards.size() != shape.gpus ||
             (shape.gpus > 0 && state_.hot(node).planned_cards)) {
    return false;
  }
  for (const int card : placement.cards) {
    fits = fits && card < state_.hot(node).cards && state_.CardFits(shape, node, card);
  }
  if (shape.spec.bandwidth_required) {
    fits = fits && state_.machine(node) != nullptr &&
           state_.machine(node)->type->Bandwidth(placement.cards) >= shape.spec.min_bandwidth_mbps;
  }
  if (!fits || !state_.IsPlanned(shape, node)) return fits;
  const NodeNuma* numa = state_.numa(node);
  if (placement.numa == nullptr) {
    return shape.nics == 0 && (numa == nullptr || (shape.spec.numa == topology::NumaPolicy::kNone &&
                                                   numa->policy == topology::NumaPolicy::kNone));
  }
  if (numa == nullptr) return listed && placement.numa->nics == 0;
  if ((placement.numa->nics & ~numa->nics_free) != 0) return false;
  for (std::size_t i = 0; i < placement.numa->cpu.size(); ++i) {
    fits = fits && placement.numa->cpu[i] <= std::max(numa->cpu_free[i], 0) &&
           placement.numa->memory[i] <= std::max(numa->memory_free[i], 0);
  }
  return fits;
}

Outcome Engine::Propose(const Request& request, SimTime now) {
  now = Forward(now);
  Expire(now);
  Outcome outcome;
  if (const auto it = by_uid_.find(request.uid); it != by_uid_.end()) {
    const Allocation& held = allocations_[it->second];
    if (held.attempt == request.attempt) {
      outcome.kind = OutcomeKind::kPlaced;
      outcome.already_held = true;
      outcome.placement =
          Placement{held.node, held.cards, 0, state_.generation(held.node), held.numa};
    } else {
      outcome.kind = OutcomeKind::kWait;
      outcome.earlier_attempt_held = true;
    }
    RecordDecision(request, outcome, now);
    return outcome;
  }
  ShapeId shape = request.shape;
  if (!request.standing.queue.empty()) {
    Quotas::Check quota = quotas_.MayAsk(state_, {{request.shape}}, request.standing);
    if (!quota.may()) {
      outcome.kind = quota.answer == Quotas::Check::Answer::kWait ? OutcomeKind::kWait
                                                                  : OutcomeKind::kInfeasible;
      outcome.by_quota = true;
      outcome.reason = std::move(quota.reason);
      RecordDecision(request, outcome, now);
      return outcome;
    }
    if (!quota.models.empty()) shape = OnModels(shape, quota.models);
  }
  const ShapeId asked = shape;
  shape = InQueue(asked, request.standing);
  const PlacementContext context = MakeContext(request, shape);
  const BestNode best = FindBest(context);
  if (best.node.valid()) {
    state_.PrefetchForTake(best.node);
    Result<Placement> placement = PlaceWithinQuota(request, context, best);
    if (placement) {
      outcome.kind = OutcomeKind::kPlaced;
      outcome.placement = std::move(*placement);
      BASALT_CHECK(outcome.placement.cards.size() == context.shape.gpus ||
                   (outcome.placement.numa != nullptr && !outcome.placement.numa->slices.empty()));
    } else {
      outcome.kind = OutcomeKind::kWait;
      outcome.by_quota = true;
      outcome.reason = std::move(placement.error().message);
    }
  } else {
    outcome.kind = PossibleWhenEmpty(request.shape) ? OutcomeKind::kWait : OutcomeKind::kInfeasible;
    if (state_.shape_entry(shape).closed != 0 &&
        FindBest(MakeContext(request, InQueue(asked, request.standing, SlotView::kAll)))
            .node.valid()) {
      outcome.by_quota = true;
      outcome.reason = KeptText();
    }
  }
  RecordDecision(request, outcome, now);
  return outcome;
}

Result<Lease> Engine::Reserve(const Request& request, const Placement& placement, SimTime now,
                              std::int64_t ttl_us) {
  now = Forward(now);
  Expire(now);
  const Result<std::int64_t> ttl = TtlOf(ttl_us, request.uid);
  if (!ttl) return tl::unexpected<Error>(ttl.error());
  if (const auto it = by_uid_.find(request.uid); it != by_uid_.end()) {
    const Allocation& held = allocations_[it->second];
    if (held.attempt != request.attempt) {
      return Fail("pod " + UidText(request.uid),
                  fmt::format("attempt {} is still allocated", held.attempt));
    }
    if (placement.node != held.node || placement.cards != held.cards) {
      return Fail("pod " + UidText(request.uid), "holds another placement; use that one");
    }
    return Lease{held.uid, held.epoch, held.expires};
  }
  if (!StillFits(InQueue(request.shape, request.standing, SlotView::kAll), placement)) {
    return Fail("pod " + UidText(request.uid),
                "what was proposed is no longer free; propose again");
  }
  if (Status ok = InChoice(request, placement.node); !ok) return tl::unexpected<Error>(ok.error());
  if (Status ok = MayHold(request, placement); !ok) return tl::unexpected<Error>(ok.error());
  const NodeId node = placement.node;
  Transaction tx(state_);
  tx.Take(node, request.shape, placement.cards, placement.numa);
  tx.Commit();
  const std::uint32_t slot =
      Insert(Allocation{request.uid, request.attempt, request.shape, node, placement.cards,
                        request.job, next_epoch_++, now.Plus(*ttl), false, placement.numa, PodUid{},
                        -1, quotas_.Intern(request.standing), QueueId(), now, now});
  AddExpiry(slot);
  const Allocation& a = allocations_[slot];
  if (options_.journal != nullptr) {
    const std::uint32_t number = JournalShape(request.shape);
    Journal(JournalRecord{
        now, ReservedRecord{a.uid, a.attempt, number, a.job, state_.name(node), a.cards, a.epoch,
                            a.expires, a.numa, *a.standing, NamesOf(state_, request.nodes)}});
  }
  const Lease lease{a.uid, a.epoch, a.expires};
  AfterCommit(node);
  return lease;
}

void Engine::AddExpiry(std::uint32_t slot) {
  const Allocation& a = allocations_[slot];
  if (a.expires == kNever) return;
  expiries_.push_back(Expiry{a.expires, a.epoch, slot});
  std::push_heap(expiries_.begin(), expiries_.end(), Expiry::Later);
}

Status Engine::Confirm(const Lease& lease, SimTime now) {
  now = Forward(now);
  const auto it = by_uid_.find(lease.uid);
  if (it == by_uid_.end()) {
    return Fail("pod " + UidText(lease.uid),
                "holds no lease: it expired, was released, or never was");
  }
  Allocation& a = allocations_[it->second];
  if (a.epoch != lease.epoch) {
    return Fail("pod " + UidText(lease.uid),
                fmt::format("lease {} was replaced by lease {}", lease.epoch, a.epoch));
  }
  if (a.confirmed) return {};
  if (a.member >= 0) {
    return Fail("pod " + UidText(lease.uid),
                "is of gang " + UidText(a.gang) + "; its lease is confirmed as a whole");
  }
  if (const Nomination* waits = FindNomination(lease.uid); waits != nullptr) {
    return Fail("pod " + UidText(lease.uid),
                fmt::format("its room is not free: {} pods have not left", waits->waiting.size()));
  }
  if (now >= a.expires) {
    return Fail("pod " + UidText(lease.uid), "the lease has expired; propose again");
  }
  a.confirmed = true;
  a.started = a.checkpoint = now;
  if (options_.journal != nullptr) Journal(JournalRecord{now, ConfirmedRecord{lease.uid}});
  TrimExpiries();
  return {};
}

void Engine::TrimExpiries() {
  // Entries of leases that were confirmed or renewed stay in the heap until met; it is made anew
  // when most of it is such.
  if (expiries_.size() > by_uid_.size() + 64) {
    std::erase_if(expiries_, [this](const Expiry& e) {
      const Allocation& held = allocations_[e.slot];
      return held.epoch != e.epoch || held.confirmed || held.expires != e.at;
    });
    std::make_heap(expiries_.begin(), expiries_.end(), Expiry::Later);
  }
}

Status Engine::Release(const PodUid& uid, SimTime now) {
  now = Forward(now);
  const auto it = by_uid_.find(uid);
  if (it == by_uid_.end()) return Fail("pod " + UidText(uid), "holds nothing");
  End(it->second, Ending::kFinished);
  if (options_.journal != nullptr) Journal(JournalRecord{now, ReleasedRecord{uid}});
  return {};
}

std::size_t Engine::Expire(SimTime now) {
  now = Forward(now);
  std::size_t ended = 0;
  while (!expiries_.empty() && expiries_.front().at <= now) {
    const Expiry due = expiries_.front();
    std::pop_heap(expiries_.begin(), expiries_.end(), Expiry::Later);
    expiries_.pop_back();
    const Allocation& a = allocations_[due.slot];
    if (a.epoch != due.epoch || a.confirmed || a.expires != due.at) continue;
    const PodUid uid = a.uid;
    if (a.member >= 0) {
      ExpireMembers(a.gang, a.epoch);
    } else {
      End(due.slot, Ending::kExpired);
    }
    ++ended;
    if (options_.journal != nullptr) Journal(JournalRecord{now, ExpiredRecord{uid}});
  }
  return ended;
}

Outcome Engine::Place(const Request& request, SimTime now) {
  Outcome outcome = Propose(request, now);
  if (!outcome.placed()) return outcome;
  // A gang's lease is confirmed as a whole (ConfirmGang).
  if (outcome.already_held && Find(request.uid)->member >= 0) return outcome;
  const Result<Lease> lease = Reserve(request, outcome.placement, now);
  BASALT_CHECK(lease.has_value());  // nothing came between: one thread owns the engine
  BASALT_CHECK(Confirm(*lease, now).has_value());
  return outcome;
}

const Allocation* Engine::Find(const PodUid& uid) const {
  const auto it = by_uid_.find(uid);
  return it == by_uid_.end() ? nullptr : &allocations_[it->second];
}

void Engine::ForEachAllocation(const std::function<void(const Allocation&)>& fn) const {
  std::vector<const Allocation*> all;
  all.reserve(by_uid_.size());
  for (const auto& [uid, slot] : by_uid_) all.push_back(&allocations_[slot]);
  std::sort(all.begin(), all.end(),
            [](const Allocation* a, const Allocation* b) { return a->uid < b->uid; });
  for (const Allocation* a : all) fn(*a);
}

void Engine::ForEachOn(NodeId node, const std::function<void(const Allocation&)>& fn) const {
  for (const std::uint32_t slot : on_node_[node]) fn(allocations_[slot]);
}

const Fragmentation* Engine::fragmentation() {
  if (!fragmentation_) return nullptr;
  fragmentation_->CatchUp();
  return &*fragmentation_;
}

std::uint32_t Engine::Insert(Allocation allocation) {
  std::uint32_t slot;
  if (free_allocations_.empty()) {
    slot = static_cast<std::uint32_t>(allocations_.size());
    allocations_.push_back(allocation);
    position_on_node_.push_back(0);
  } else {
    slot = free_allocations_.back();
    free_allocations_.pop_back();
    allocations_[slot] = allocation;
  }
  auto& on_node = on_node_[allocation.node];
  position_on_node_[slot] = static_cast<std::uint32_t>(on_node.size());
  on_node.push_back(slot);
  by_uid_.insert({allocation.uid, slot});
  if (!allocation.is_leaving()) Charge(allocations_[slot]);
  MarkNode(allocation.node);
  CountJob(allocation);
  return slot;
}

void Engine::CountJob(const Allocation& allocation) {
  if (allocation.job == 0 || !policy_.policy->traits().job_term) return;
  auto& nodes = jobs_[allocation.job].nodes;
  const auto it = std::find_if(nodes.begin(), nodes.end(),
                               [&](const auto& n) { return n.first == allocation.node; });
  if (it != nodes.end()) {
    ++it->second;
  } else {
    nodes.emplace_back(allocation.node, 1);
  }
}

void Engine::Erase(std::uint32_t slot) {
  Allocation& a = allocations_[slot];
  auto& on_node = on_node_[a.node];
  const std::uint32_t hole = position_on_node_[slot];
  on_node[hole] = on_node.back();
  position_on_node_[on_node[hole]] = hole;
  on_node.pop_back();
  by_uid_.erase(a.uid);
  Uncharge(a);
  MarkNode(a.node);
  if (a.job != 0 && policy_.policy->traits().job_term) {
    auto it = jobs_.find(a.job);
    auto& nodes = it.value().nodes;
    const auto at =
        std::find_if(nodes.begin(), nodes.end(), [&](const auto& n) { return n.first == a.node; });
    if (--at->second == 0) nodes.erase(at);
    if (nodes.empty()) jobs_.erase(it);
  }
  a.epoch = 0;  // an entry of the expiry heap that still points here is stale
  a.numa.reset();
  free_allocations_.push_back(slot);
}

void Engine::End(std::uint32_t slot, Ending ending) {
  const Allocation a = allocations_[slot];
  Transaction tx(state_);
  tx.Give(a.node, a.shape, a.cards, a.numa);
  tx.Commit();
  Erase(slot);
  if (a.member >= 0 && ending != Ending::kReplaced) MemberEnded(a, ending);
  if (a.is_leaving()) VictimGone(a.uid, a.leaving);
  if (!a.confirmed && !nominations_.empty()) NomineeEnded(a);
  AfterCommit(a.node);
}

void Engine::AfterCommit(NodeId node) {
  ++commits_;
#ifdef NDEBUG
  if (options_.audit_every == 0 || commits_ % options_.audit_every != 0) return;
#endif
  const Status ok = AuditNode(node);
  if (!ok) std::fprintf(stderr, "%s\n", ok.error().ToString().c_str());
  BASALT_CHECK(ok.has_value());
}

Status Engine::AuditNode(NodeId node) const {
  const NodeHot& hot = state_.hot(node);
  std::int64_t cpu = state_.capacity(node).cpu;
  std::int64_t memory = state_.capacity(node).memory;
  std::vector<std::int64_t> milli;
  std::vector<std::int64_t> card_memory;
  std::vector<std::int64_t> guaranteed;
  std::vector<CardState> mig(static_cast<std::size_t>(hot.cards));
  std::vector<int> slices(static_cast<std::size_t>(hot.cards), 0);
  for (int i = 0; i < hot.cards; ++i) {
    milli.push_back(state_.card(node, i).compute_total);
    card_memory.push_back(state_.card(node, i).memory_total);
    guaranteed.push_back(state_.card(node, i).memory_physical);
    mig[static_cast<std::size_t>(i)].model = state_.card(node, i).model;
  }
  NumaTake pinned;
  for (const std::uint32_t slot : on_node_[node]) {
    const Allocation& a = allocations_[slot];
    const Shape& shape = state_.shape(a.shape);
    if (a.numa != nullptr) {
      pinned.nics |= a.numa->nics;
      for (std::size_t i = 0; i < pinned.cpu.size(); ++i) {
        pinned.cpu[i] += a.numa->cpu[i];
        pinned.memory[i] += a.numa->memory[i];
      }
    }
    cpu -= shape.cpu;
    memory -= shape.memory;
    state_.ForEachSlice(shape, node, a.cards, a.numa.get(), [&](const SliceTake& slice) {
      const auto c = static_cast<std::size_t>(slice.card);
      milli[c] -= slice.milli;
      card_memory[c] -= slice.memory;
      if (shape.spec.service_class == ServiceClass::kGuaranteed) {
        guaranteed[c] -= std::min(slice.memory, state_.card(node, slice.card).memory_physical);
      }
      ++slices[c];
      state_.ChargeSlice(mig[c], slice, shape, +1);
    });
  }
  const auto differs = [&](std::string_view what, std::int64_t expected, std::int64_t is) {
    return Fail("node " + state_.name(node),
                fmt::format("audit: {} should be {}, is {}", what, expected, is));
  };
  if (cpu != hot.cpu_free) return differs("free CPU milli", cpu, hot.cpu_free);
  if (memory != hot.memory_free) return differs("free memory MiB", memory, hot.memory_free);
  if (const NodeNuma* numa = state_.numa(node); numa != nullptr) {
    for (std::size_t i = 0; std::cmp_less(i, numa->nodes); ++i) {
      const std::int64_t cpu_left = numa->installed[i].cpu - pinned.cpu[i];
      const std::int64_t memory_left = numa->installed[i].memory - pinned.memory[i];
      if (cpu_left != numa->cpu_free[i] || memory_left != numa->memory_free[i]) {
        return differs(fmt::format("NUMA node {} free CPU milli", i), cpu_left, numa->cpu_free[i]);
      }
    }
    if ((numa->nics_free & pinned.nics) != 0) {
      return differs("free NICs that pods hold", 0, numa->nics_free & pinned.nics);
    }
  }
  const auto pods = static_cast<std::int64_t>(on_node_[node].size());
  if (pods != state_.pods_on(node)) return differs("pods", pods, state_.pods_on(node));
  for (int i = 0; i < hot.cards; ++i) {
    const auto c = static_cast<std::size_t>(i);
    const CardState& card = state_.card(node, i);
    if (milli[c] != card.free_milli) {
      return differs(fmt::format("card {} free milli", i), milli[c], card.free_milli);
    }
    if (card_memory[c] != card.memory_free) {
      return differs(fmt::format("card {} free MiB", i), card_memory[c], card.memory_free);
    }
    if (guaranteed[c] != card.guaranteed_free) {
      return differs(fmt::format("card {} MiB for guaranteed pods", i), guaranteed[c],
                     card.guaranteed_free);
    }
    if (mig[c].mig != card.mig) {
      return differs(fmt::format("card {} MIG slots", i), MigOccupied(mig[c]), MigOccupied(card));
    }
    if (slices[c] != card.slices) {
      return differs(fmt::format("card {} slices", i), slices[c], card.slices);
    }
  }
  return {};
}

Status Engine::Audit() const {
  ClusterTotals sum;
  for (std::size_t i = 0; i < state_.node_slots(); ++i) {
    const NodeId node{i};
    if (!state_.exists(node)) continue;
    if (Status ok = AuditNode(node); !ok) return ok;
    if (!state_.hot(node).schedulable) continue;
    ++sum.nodes;
    sum.cpu_free += state_.hot(node).cpu_free;
    for (int c = 0; c < state_.hot(node).cards; ++c) {
      const CardState& card = state_.card(node, c);
      if (!CountsInTotals(card)) continue;
      ++sum.cards;
      sum.gpu_free += card.free_milli;
      sum.idle_cards += card.slices == 0 ? 1 : 0;
    }
  }
  const ClusterTotals& kept = state_.totals();
  const auto differs = [](std::string_view what, std::int64_t expected, std::int64_t is) {
    return Fail("cluster totals", fmt::format("audit: {} should be {}, is {}", what, expected, is));
  };
  if (sum.nodes != kept.nodes) return differs("nodes", sum.nodes, kept.nodes);
  if (sum.cards != kept.cards) return differs("cards", sum.cards, kept.cards);
  if (sum.cpu_free != kept.cpu_free) return differs("free CPU", sum.cpu_free, kept.cpu_free);
  if (sum.gpu_free != kept.gpu_free) return differs("free milli", sum.gpu_free, kept.gpu_free);
  if (sum.idle_cards != kept.idle_cards) {
    return differs("idle cards", sum.idle_cards, kept.idle_cards);
  }
  if (Status ok = AuditQuotas(); !ok) return ok;
  if (Status ok = AuditSlots(); !ok) return ok;
  return AuditNominations();
}

namespace {

void AddStanding(const Standing& s, Digest* d) {
  d->Add(s.queue);
  d->Add(s.priority);
  d->Add(s.preemptible ? 1 : 0);
  d->Add(s.min_runtime_us);
  d->Add(s.restart_us);
  d->Add(s.budget);
  d->Add(s.sku);
}

}  // namespace

Digest128 Engine::StateDigest() const {
  Digest128 sum = state_.ComputeDigest();
  for (const auto& [uid, slot] : by_uid_) {  // a sum: the order of the map does not matter
    const Allocation& a = allocations_[slot];
    Digest d;
    d.Add(uid.hi);
    d.Add(uid.lo);
    d.Add(a.attempt);
    AddTo(state_.shape(a.shape).spec, &d);
    d.Add(state_.name_digest(a.node));
    d.Add(a.cards.bits());
    d.Add(a.job);
    d.Add(a.confirmed ? std::int64_t{-1} : a.expires.us);
    if (a.numa != nullptr) {
      d.Add(std::uint64_t{a.numa->nics});
      for (std::size_t i = 0; i < a.numa->cpu.size(); ++i) {
        d.Add(a.numa->cpu[i]);
        d.Add(a.numa->memory[i]);
      }
      for (const SliceTake& slice : a.numa->slices) {
        d.Add(std::int64_t{slice.card} << 8 | slice.container);
        d.Add(std::int64_t{slice.mig_profile} * 256 + slice.mig_start);
        d.Add(std::int64_t{slice.milli} << 32 | slice.memory);
      }
    }
    if (a.member >= 0) {
      d.Add(a.gang.lo);
      d.Add(a.member);
    }
    AddStanding(*a.standing, &d);
    d.Add(a.started.us);
    d.Add(a.checkpoint.us);
    d.Add(a.leaving.hi);
    d.Add(a.leaving.lo);
    const Digest128 v = d.value();
    sum.hi += v.hi;
    sum.lo += v.lo;
  }
  for (const auto& [uid, gang] : gangs_) {
    Digest d;
    d.Add(uid.hi);
    d.Add(uid.lo);
    d.Add(gang.attempt);
    for (const Gang::Member member : gang.members) d.Add(static_cast<std::uint64_t>(member));
    for (const GangTask& task : gang.spec.tasks) {
      AddTo(state_.shape(task.shape).spec, &d);
      d.Add(task.min);
      d.Add(task.max);
      d.Add(task.group);
    }
    const auto add_level = [&d](const LevelWish& level) {
      d.Add(level.preferred);
      d.Add(level.required);
    };
    for (const GangGroup& group : gang.spec.groups) add_level(group.level);
    add_level(gang.spec.level);
    d.Add(static_cast<std::uint64_t>(gang.spec.layout));
    AddStanding(gang.standing, &d);
    const Digest128 v = d.value();
    sum.hi += v.hi;
    sum.lo += v.lo;
  }
  Digest d;
  for (const auto& [uid, nomination] : nominations_) {
    d.Add(uid.hi);
    d.Add(uid.lo);
    d.Add(nomination.epoch);
    d.Add(static_cast<std::uint64_t>(nomination.waiting.size()));
  }
  quotas_.AddTo(&d);
  const Digest128 v = d.value();
  sum.hi += v.hi;
  sum.lo += v.lo;
  return sum;
}

}  // namespace basalt
