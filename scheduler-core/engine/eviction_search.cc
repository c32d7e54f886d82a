#include "scheduler-core/engine/eviction_search.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "scheduler-core/base/check.h"

namespace basalt {
namespace {

constexpr std::size_t kMostPriorities = 16;  // beyond this the lowest is found by halving
// A gang's victims are looked for in more than one way up to so many candidates, and candidates x
// nodes.
constexpr std::size_t kFewCandidates = 64;
constexpr std::size_t kSmall = 4096;

}  // namespace

// --- quotas -------------------------------------------------------------------------------------

Amounts EvictionSearch::Wanted(const Ask& ask) const {
  if (places_.empty()) return ask.amounts;
  Amounts sum;
  for (const Place& place : places_) {
    sum += engine_.quotas_.Held(state_, ask.shapes[place.task], place.node, place.plan.cards,
                                place.plan.numa.get(), standing_);
  }
  return sum;
}

std::optional<QuotaRefusal> EvictionSearch::QuotaRefusalNow(const Ask& ask) const {
  if (!leaf_.valid()) return {};
  const QueueTree& tree = tree_ ? *tree_ : engine_.queues();
  const Amounts wanted = Wanted(ask);
  auto first = engine_.quotas_.Refusal(tree, leaf_, wanted, standing_.preemptible);
  if (!first) return first;
  // Of several resources that the same queue refuses, the first by name: ids beyond those that
  // every engine begins with (their names have no '/') are of this engine's past.
  const auto before = [&](ResourceId a, ResourceId b) {
    const std::string& x = tree.resources().name(a);
    const std::string& y = tree.resources().name(b);
    const bool x_named = x.find('/') != std::string::npos;
    const bool y_named = y.find('/') != std::string::npos;
    if (x_named != y_named) return y_named;
    return x_named ? x < y : a < b;
  };
  for (std::size_t r = 0; r < wanted.size(); ++r) {
    const ResourceId id(r);
    if (wanted[id] <= 0 || !before(id, first->resource)) continue;
    Amounts one;  // resources are refused each by itself
    one.Set(id, wanted[id]);
    const auto refusal = engine_.quotas_.Refusal(tree, leaf_, one, standing_.preemptible);
    if (refusal && refusal->queue == first->queue) first = refusal;
  }
  return first;
}

// Evicts the cheapest inside of the queue that is full, until the request may be charged.
bool EvictionSearch::MakeQuota(const Ask& ask) {
  while (const std::optional<QuotaRefusal> refusal = QuotaRefusalNow(ask)) {
    if (refusal->queue == QueueTree::kRoot) return false;
    const QueueId was = std::exchange(inside_, refusal->queue);
    std::vector<std::uint32_t> order;
    for (std::uint32_t i = 0; i < candidates_.size(); ++i) {
      Candidate& c = candidates_[i];
      const bool helps = !c.evicted && c.pod->queue.valid() &&
                         engine_.queues().IsUnder(c.pod->queue, inside_) &&
                         HeldOf(c)[refusal->resource] > 0;
      if (helps) order.push_back(i);
    }
    const auto rate = [&](std::uint32_t i) { return HeldOf(candidates_[i])[refusal->resource]; };
    std::stable_sort(order.begin(), order.end(), [&](std::uint32_t x, std::uint32_t y) {
      const Candidate& a = candidates_[x];
      const Candidate& b = candidates_[y];
      if ((a.gang >= 0) != (b.gang >= 0)) return b.gang >= 0;
      const Wide left = static_cast<Wide>(a.lost) * rate(y);
      const Wide right = static_cast<Wide>(b.lost) * rate(x);
      if (left != right) return left < right;
      if (rate(x) != rate(y)) return rate(x) > rate(y);
      return a.pod->uid < b.pod->uid;
    });
    const bool some = std::any_of(order.begin(), order.end(),
                                  [this](std::uint32_t i) { return Admit(i, NodeId()); });
    inside_ = was;
    if (!some) return false;
  }
  return true;
}

// --- all of it ----------------------------------------------------------------------------------

void EvictionSearch::Reprieve(const Ask& ask) {
  for (std::size_t g = groups_.size(); g-- > 0;) {
    Group& group = groups_[g];
    if (!MayComeBack(group)) continue;
    const Mark here = Now();
    bool fits = true;
    for (const std::uint32_t member : group.members) {
      const Allocation& a = *candidates_[member].pod;
      fits = fits && engine_.StillFits(
                         a.shape, Placement{a.node, a.cards, 0, state_.generation(a.node), a.numa});
      if (!fits) break;
      tx_.Take(a.node, a.shape, a.cards, a.numa);
    }
    tx_.Rollback(here.log);
    if (!fits) continue;
    ComeBack(group, NodeId());
    if (!tree_ || !QuotaRefusalNow(ask)) continue;
    LeaveAgain(group, here);
  }
}

// With a ratio above 1000: the reclaimer's part of its share, times the ratio, stays under what the
// victim's queue keeps of its own, where their paths part.
bool EvictionSearch::UnderRatio(const Ask& ask, QueueId victim) const {
  const QueueTree& tree = engine_.queues();
  const FairShares& shares = own_shares_ ? *own_shares_ : *shares_;
  QueueId its = victim;
  while (!tree.IsUnder(leaf_, tree.parent(its))) its = tree.parent(its);
  QueueId ours = leaf_;
  while (tree.parent(ours) != tree.parent(its)) ours = tree.parent(ours);
  for (std::size_t r = 0; r < ask.amounts.size(); ++r) {
    const ResourceId id(r);
    const std::int64_t share = shares.share(ours)[id];
    const std::int64_t its_share = shares.share(its)[id];
    if (ask.amounts[id] == 0 || reclaim_->taken(its)[id] == 0 || its_share == 0) continue;
    const std::int64_t has = tree.allocated(ours)[id] - reclaim_->taken(ours)[id] + ask.amounts[id];
    const std::int64_t keeps = tree.allocated(its)[id] - reclaim_->taken(its)[id];
    // has / share x ratio / 1000 <= keeps / its_share; amounts are below 2^40.
    if (static_cast<Wide>(has) * its_share * rules_.reclaim_ratio_milli >
        static_cast<Wide>(keeps) * share * 1000) {
      return false;
    }
  }
  return true;
}

bool EvictionSearch::KeepsSlots() const {
  const NodeSlots& slots = engine_.node_slots();
  if (!slots.any()) return true;
  std::vector<NodeId> entered;
  for (const Place& place : places_) entered.push_back(place.node);
  std::vector<NodeId> cleared;  // open ones
  for (const Group& group : groups_) {
    if (group.returned) continue;
    for (const std::uint32_t member : group.members) {
      const Candidate& c = candidates_[member];
      if (c.by_slot) cleared.push_back(c.pod->node);
    }
  }
  std::sort(cleared.begin(), cleared.end());
  cleared.erase(std::unique(cleared.begin(), cleared.end()), cleared.end());
  // A gang's members elsewhere go with it.
  std::erase_if(cleared, [&](NodeId node) {
    return std::find(entered.begin(), entered.end(), node) == entered.end();
  });
  for (int kind = 0; std::cmp_less(kind, slots.kinds().size()); ++kind) {
    const auto own = std::find_if(slots.quotas().begin(), slots.quotas().end(), [&](const auto& q) {
      return q.kind == kind && leaf_.valid() && engine_.queues().IsUnder(leaf_, q.queue);
    });
    const std::int64_t right = own == slots.quotas().end() ? 0 : own->unbound();
    const auto open = std::count_if(cleared.begin(), cleared.end(), [&](NodeId node) {
      return state_.hot(node).mark == slots.Open(kind);
    });
    if (open > right) return false;
  }
  return engine_.KeepsSlots(standing_, std::move(entered), "").has_value();
}

bool EvictionSearch::Settled(const Ask& ask) const {
  if (!KeepsSlots()) return false;
  if (!reclaim_) return true;
  bool any = false;
  for (const Group& group : groups_) {
    if (group.returned) continue;
    for (const std::uint32_t member : group.members) {
      const Candidate& c = candidates_[member];
      if (c.why != EvictionReason::kReclaim || c.by_slot) continue;
      any = true;
      if (rules_.reclaim_ratio_milli > 1000 && !UnderRatio(ask, c.pod->queue)) return false;
    }
  }
  return !any || reclaim_->Settled();
}

void EvictionSearch::Keep() {
  Solution solution;
  solution.cost = Total();
  if (best_ && best_->cost <= solution.cost) return;
  for (const Group& group : groups_) {
    if (group.returned) continue;
    for (const std::uint32_t member : group.members) {
      const Candidate& c = candidates_[member];
      const Allocation& a = *c.pod;
      solution.victims.push_back(
          Victim{a.uid, a.node, a.standing->priority, a.standing->queue, a.gang, c.lost, c.why});
    }
  }
  for (const std::int64_t left : budgets_)
    solution.beyond_budgets += std::max<std::int64_t>(-left, 0);
  solution.places = places_;
  best_ = std::move(solution);
}

bool EvictionSearch::Try(const Ask& ask, std::int32_t priority, bool break_budgets, Mode mode) {
  limit_ = priority;
  break_budgets_ = break_budgets;
  const Mark start = Now();
  bool found = true;
  if (mode == Mode::kQuotaFirst) found = MakeQuota(ask);
  if (mode == Mode::kInside) {
    const std::optional<QuotaRefusal> refusal = QuotaRefusalNow(ask);
    if (refusal && refusal->queue != QueueTree::kRoot) inside_ = refusal->queue;
  }
  found = found && FindPlaces(ask);
  inside_ = QueueId();
  found = found && (!leaf_.valid() || MakeQuota(ask));
  if (found) {
    Reprieve(ask);
    found = Settled(ask);
  }
  if (found) Keep();
  std::vector<std::uint32_t> victims;
  for (const Group& group : groups_) {
    if (!group.returned && !group.members.empty()) victims.push_back(group.members.front());
  }
  UndoTo(start);
  if (gang_ == nullptr || candidates_.size() > kFewCandidates ||
      candidates_.size() * state_.order().size() > kSmall) {
    return found;
  }
  if (found) Shrink(ask, std::move(victims), start);
  if (mode == Mode::kRoom) TryGreed(ask, start);
  return found;
}

bool EvictionSearch::Refit(const Ask& ask, const std::vector<std::uint32_t>& victims,
                           const Mark& start) {
  UndoTo(start);
  for (const std::uint32_t index : victims) {
    if (!candidates_[index].evicted && !Admit(index, NodeId())) return false;
  }
  frozen_ = true;
  const bool fits = FindPlaces(ask);
  frozen_ = false;
  return fits && !QuotaRefusalNow(ask);
}

void EvictionSearch::Shrink(const Ask& ask, std::vector<std::uint32_t> victims, const Mark& start) {
  for (std::size_t i = victims.size(); i-- > 0;) {
    std::vector<std::uint32_t> fewer = victims;
    fewer.erase(fewer.begin() + static_cast<std::ptrdiff_t>(i));
    if (Refit(ask, fewer, start)) victims = std::move(fewer);
  }
  if (Refit(ask, victims, start) && Settled(ask)) Keep();
  UndoTo(start);
}

// As kube-scheduler, over all nodes: the cheapest first until it fits; what was not needed stays.
void EvictionSearch::TryGreed(const Ask& ask, const Mark& start) {
  std::vector<std::uint32_t> order(candidates_.size());
  for (std::uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [this](std::uint32_t x, std::uint32_t y) {
    const Candidate& a = candidates_[x];
    const Candidate& b = candidates_[y];
    const std::int32_t p = a.pod->standing->priority;
    const std::int32_t q = b.pod->standing->priority;
    return std::tie(p, a.lost, a.pod->uid) < std::tie(q, b.lost, b.pod->uid);
  });
  std::vector<std::uint32_t> victims;
  for (const std::uint32_t index : order) {
    UndoTo(start);
    for (const std::uint32_t before : victims) {
      if (!candidates_[before].evicted) BASALT_CHECK(Admit(before, NodeId()));
    }
    if (candidates_[index].evicted || !Admit(index, NodeId())) continue;
    victims.push_back(index);
    if (!Refit(ask, victims, start)) continue;
    Shrink(ask, std::move(victims), start);
    break;
  }
  UndoTo(start);
}

void EvictionSearch::Solve(const Ask& ask) {
  PrepareShares(ask);
  tree_.reset();
  std::vector<Mode> modes = {Mode::kRoom};
  if (QuotaRefusalNow(ask)) {
    tree_ = engine_.queues();
    modes = {Mode::kInside, Mode::kQuotaFirst};
  }
  const auto try_all = [&](std::int32_t priority, bool break_budgets) {
    bool found = false;
    for (const Mode mode : modes) found = Try(ask, priority, break_budgets, mode) || found;
    return found;
  };
  for (const bool break_budgets : {false, true}) {
    if (break_budgets && (!rules_.break_budgets || budgets_.empty() || best_)) break;
    if (priorities_.size() <= kMostPriorities) {
      const auto enough = [&](std::int32_t p) { return try_all(p, break_budgets); };
      if (std::any_of(priorities_.begin(), priorities_.end(), enough)) break;
      continue;
    }
    if (!try_all(priorities_.back(), break_budgets)) continue;
    std::size_t low = 0;
    std::size_t high = priorities_.size() - 1;  // suffices
    while (low < high) {
      const std::size_t middle = (low + high) / 2;
      if (try_all(priorities_[middle], break_budgets)) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    break;
  }
  tree_.reset();
  reclaim_.reset();
}

Amounts EvictionSearch::Shortfall(const Ask& ask) const {
  // Cards are what pods and gangs with cards are short of, whichever way they are scattered; CPU
  // and memory where no node has enough.
  Amounts shortfall;
  const ResourceTable& names = engine_.queues().resources();
  const ResourceId cpu = *names.Find("cpu");
  const ResourceId memory = *names.Find("memory");
  bool cards = false;
  std::int64_t most_cpu = 0;
  std::int64_t most_memory = 0;
  for (const NodeId node : state_.order()) {
    if (!state_.hot(node).schedulable) continue;
    most_cpu = std::max<std::int64_t>(most_cpu, state_.hot(node).cpu_free);
    most_memory = std::max<std::int64_t>(most_memory, state_.hot(node).memory_free);
  }
  bool lacks_cpu = false;
  bool lacks_memory = false;
  for (std::size_t t = 0; t < ask.shapes.size(); ++t) {
    if (ask.need[t] == 0) continue;
    const Shape& shape = state_.shape(ask.shapes[t]);
    cards = cards || shape.gpus > 0;
    lacks_cpu = lacks_cpu || shape.cpu > most_cpu;
    lacks_memory = lacks_memory || shape.memory > most_memory;
  }
  const bool unclear = !cards && !lacks_cpu && !lacks_memory;
  for (std::size_t r = 0; r < ask.amounts.size(); ++r) {
    const ResourceId id(r);
    const bool is_short = id == cpu      ? lacks_cpu || unclear
                          : id == memory ? lacks_memory || unclear
                                         : true;
    if (is_short) shortfall.Set(id, ask.amounts[id]);
  }
  if (leaf_.valid()) {
    const Amounts lack = engine_.queues().Lack(leaf_, ask.amounts, standing_.preemptible);
    for (std::size_t r = 0; r < lack.size(); ++r) {
      if (lack[ResourceId(r)] > 0) shortfall.Set(ResourceId(r), ask.amounts[ResourceId(r)]);
    }
  }
  return engine_.quotas_.Governed(shortfall);
}

void EvictionSearch::PrepareShares(const Ask& ask) {
  reclaim_.reset();
  if (!leaf_.valid()) return;
  if (shares_ == nullptr) {
    QueueTree tree = engine_.queues();
    // Whoever keeps the jobs that wait has counted this one.
    if (tree.pending_jobs(leaf_) == 0) tree.AddPending(leaf_, ask.amounts);
    own_shares_.emplace();
    own_shares_->Divide(tree, DivisionOptions{}, nullptr);
  }
  reclaim_.emplace(engine_.queues(), own_shares_ ? *own_shares_ : *shares_,
                   ReclaimAsk{leaf_, engine_.quotas_.Governed(ask.amounts), Shortfall(ask),
                              standing_.preemptible});
}

// Where the queue counts by model, each model that all of it may go to by itself.
std::vector<EvictionSearch::Ask> EvictionSearch::Asks(const GangSpec& spec,
                                                      const std::vector<std::int32_t>& need) {
  engine_.quotas_.CatchUp(state_);
  Ask open;
  open.need = need;
  std::vector<ModelId> models;
  const auto add = [](Amounts* sum, const Amounts& one, std::int64_t count) {
    for (std::size_t r = 0; r < one.size(); ++r) {
      const ResourceId id(r);
      if (one[id] != 0) sum->Add(id, one[id] * count);
    }
  };
  for (std::size_t t = 0; t < spec.tasks.size(); ++t) {
    open.shapes.push_back(engine_.InQueue(spec.tasks[t].shape, standing_, view_));
    if (need[t] == 0) continue;
    engine_.quotas_.AddSku(standing_, need[t], &open.amounts);
    add(&open.amounts, engine_.quotas_.Ask(state_, spec.tasks[t].shape), need[t]);
    for (const ModelId model : engine_.quotas_.ModelsFor(state_, spec.tasks[t].shape)) {
      if (std::find(models.begin(), models.end(), model) == models.end()) models.push_back(model);
    }
  }
  // By name: of plans that cost the same the first one counts, and ids are of this engine's past.
  std::sort(models.begin(), models.end(),
            [this](ModelId a, ModelId b) { return state_.model_name(a) < state_.model_name(b); });
  std::vector<Ask> asks;
  if (leaf_.valid() && models.size() > 1) {
    for (const ModelId model : models) {
      Ask ask;
      ask.need = need;
      for (std::size_t t = 0; t < spec.tasks.size(); ++t) {
        const ShapeId shape = spec.tasks[t].shape;
        ask.shapes.push_back(engine_.InQueue(engine_.OnModels(shape, {model}), standing_, view_));
        if (need[t] == 0) continue;
        add(&ask.amounts, engine_.quotas_.Ask(state_, ask.shapes[t]), need[t]);
        engine_.quotas_.AddSku(standing_, need[t], &ask.amounts);
      }
      asks.push_back(std::move(ask));
    }
    if (gang_ == nullptr) return asks;
  }
  asks.push_back(std::move(open));
  return asks;
}

std::string EvictionSearch::WhyNot(const std::vector<Ask>& asks) {
  if (candidates_.empty()) {
    return "nobody may be asked to leave: all that runs has its priority or more, is not "
           "preemptible, is within its minimum runtime, or is of a queue that it may not reclaim "
           "from";
  }
  std::string text = fmt::format(
      "{} pods may be asked to leave, and that is not enough: priority "
      "limits, budgets, gangs or quotas keep the rest",
      candidates_.size());
  if (!leaf_.valid()) return text;
  PrepareShares(asks.front());
  const QueueTree& tree = engine_.queues();
  const std::string share = reclaim_->WhyNot(tree.parent(leaf_));
  reclaim_.reset();
  return share.empty() ? text : text + "; " + share;
}

EvictionPlan EvictionSearch::ForPod(const Request& request) {
  seed_ = engine_.SeedOf(request.uid, request.attempt);
  if (request.nodes != nullptr) {
    nodes_ = {std::make_shared<const NodeMask>(*request.nodes, state_.node_slots())};
  }
  Collect(request.uid);
  GangSpec spec;
  spec.tasks.push_back({"", request.shape, 1, 1, -1});
  const std::vector<Ask> asks = Asks(spec, {1});
  EvictionPlan plan;
  if (!candidates_.empty()) {
    for (const Ask& ask : asks) Solve(ask);
  }
  if (!best_) {
    plan.reason = WhyNot(asks);
    return plan;
  }
  plan.found = true;
  plan.victims = std::move(best_->victims);
  plan.beyond_budgets = best_->beyond_budgets;
  const Place& place = best_->places.front();
  plan.placement =
      Placement{place.node, place.plan.cards, 0, state_.generation(place.node), place.plan.numa};
  return plan;
}

Result<EvictionPlan> EvictionSearch::ForGang(const GangRequest& request) {
  gang_ = &request;
  const Gang* held = engine_.FindGang(request.uid);
  EvictionPlan plan;
  if (held != nullptr && (held->attempt != request.attempt || engine_.OpenLease(*held) != 0)) {
    plan.reason = "it holds places of another attempt, or a lease that is not confirmed";
    return plan;
  }
  engine_.domains_.CatchUp(state_);
  GangProblem problem = engine_.MakeProblem(request, held);
  std::fill(problem.extra.begin(), problem.extra.end(), 0);
  if (std::all_of(problem.need.begin(), problem.need.end(), [](auto n) { return n == 0; })) {
    plan.reason = "it has its min already";
    return plan;
  }
  std::vector<const SlotIndex::Slots*> slots;
  for (const GangTask& task : request.spec.tasks) {
    slots.push_back(&engine_.slots_.For(state_, engine_.domains_, task.shape));
  }
  const GangContext context(state_, engine_.domains_, slots, problem);
  problem_ = &problem;
  context_ = &context;
  nodes_ = problem.nodes;
  Collect(request.uid);
  const std::vector<Ask> asks = Asks(request.spec, problem.need);
  if (!candidates_.empty()) {
    for (const Ask& ask : asks) Solve(ask);
    if (!best_ && engine_.node_slots().any()) {
      view_ = Engine::SlotView::kForMany;  // together they broke what slots promise
      for (const Ask& ask : Asks(request.spec, problem.need)) Solve(ask);
    }
  }
  if (!best_) {
    plan.reason = WhyNot(asks);
    return plan;
  }
  GangAnswer answer;
  const DomainTree& tree = engine_.domains_;
  std::stable_sort(best_->places.begin(), best_->places.end(), [&](const Place& a, const Place& b) {
    if (a.task != b.task) return a.task < b.task;
    return tree.leaf(a.node) < tree.leaf(b.node);
  });
  for (Place& p : best_->places) {
    answer.places.push_back({p.task, p.node, p.plan.cards, std::move(p.plan.numa)});
  }
  plan.gang.held = static_cast<std::int32_t>(problem.held.size());
  if (Status ok = engine_.NameMembers(request, held, &answer, &plan.gang); !ok) {
    return tl::unexpected<Error>(ok.error());
  }
  plan.gang.kind = OutcomeKind::kPlaced;
  engine_.NameDomain(problem, &plan.gang);
  plan.found = true;
  plan.victims = std::move(best_->victims);
  plan.beyond_budgets = best_->beyond_budgets;
  return plan;
}

}  // namespace basalt
