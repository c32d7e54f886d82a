#include "scheduler-core/engine/quotas.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "scheduler-core/base/check.h"

namespace basalt {

Quotas::Quotas() {
  cpu_ = tree_.resources().Intern("cpu");
  memory_ = tree_.resources().Intern("memory");
  any_model_ = tree_.resources().ForModel("");
}

Status Quotas::SetQueue(const QueueSpec& spec) {
  if (const std::optional<QueueId> known = tree_.Find(spec.name); known) {
    return tree_.Update(*known, spec);
  }
  const Result<QueueId> added = tree_.Add(spec);
  if (!added) return tl::unexpected<Error>(added.error());
  return {};
}

Status Quotas::RemoveQueue(const std::string& name) {
  const std::optional<QueueId> known = tree_.Find(name);
  if (!known || *known == QueueTree::kRoot) return Fail("queue '" + name + "'", "is unknown");
  return tree_.Remove(*known);
}

void Quotas::SetBudget(const DisruptionBudgetSet& budget) {
  ++budget_version_;
  if (budget.min_available < 0 && budget.max_unavailable < 0) {
    budgets_.erase(budget.name);
  } else {
    budgets_[budget.name] = budget;
  }
}

QueueId Quotas::LeafOf(const std::string& name) const {
  if (name.empty()) return {};
  const std::optional<QueueId> known = tree_.Find(name);
  return known && tree_.IsLeaf(*known) ? *known : QueueId();
}

const CardResources& Quotas::ResourcesOf(const ClusterState& state, ModelId model) {
  while (by_model_.size() <= model.index()) {
    const ModelId next(by_model_.size());
    by_model_.push_back(tree_.resources().ForModel(state.model_name(next)));
  }
  return by_model_[model];
}

Amounts Quotas::Held(const ClusterState& state, ShapeId shape_id, NodeId node, CardSet cards,
                     const NumaTake* listed, const Standing& standing) {
  const Shape& shape = state.shape(shape_id);
  Amounts held;
  held.Set(cpu_, shape.cpu);
  held.Set(memory_, shape.memory);
  AddSku(standing, 1, &held);
  state.ForEachSlice(shape, node, cards, listed, [&](const SliceTake& slice) {
    const CardState& card = state.card(node, slice.card);
    AddSlice(ResourcesOf(state, ModelId(std::uint32_t{card.model})), slice, card.memory_physical, 1,
             &held);
  });
  return held;
}

void Quotas::AddSku(const Standing& standing, std::int64_t count, Amounts* amounts) {
  if (standing.sku.empty() || count == 0) return;
  amounts->Add(tree_.resources().Intern("sku/" + standing.sku), count);
}

// A whole card is one card of its memory, however far it is oversubscribed.
void Quotas::AddSlice(const CardResources& ids, const SliceTake& slice, std::int64_t physical,
                      std::int64_t count, Amounts* out) {
  AddCards(ids, count, slice.whole ? kWholeCard : std::min<std::int64_t>(slice.milli, kWholeCard),
           slice.whole ? physical : slice.memory, out);
}

Amounts Quotas::Ask(const ClusterState& state, ShapeId shape_id, ModelId model) {
  CardState card;  // the largest of the model, as it is when idle
  if (model.index() < largest_.size()) card = largest_[model];
  return AskOn(state, state.shape(shape_id), model, card);
}

Amounts Quotas::LeastAsk(const ClusterState& state, ShapeId shape_id, ModelId model) {
  if (model.index() >= kinds_.size() || kinds_[model].size() < 2) {
    return Ask(state, shape_id, model);
  }
  const Shape& shape = state.shape(shape_id);
  std::optional<Amounts> least;
  for (const CardState& card : kinds_[model]) {
    const Amounts ask = AskOn(state, shape, model, card);
    if (!least) {
      least = ask;
      continue;
    }
    for (std::size_t r = 0; r < least->size(); ++r) {
      const ResourceId id(r);
      if (ask[id] < (*least)[id]) least->Set(id, ask[id]);
    }
  }
  return *least;
}

Amounts Quotas::AskOn(const ClusterState& state, const Shape& shape, ModelId model,
                      const CardState& card) {
  Amounts ask;
  ask.Set(cpu_, shape.cpu);
  ask.Set(memory_, shape.memory);
  const auto add = [&](const CardAsk& one) {
    SliceTake slice;
    state.SliceOf(shape, one, card, &slice);
    AddSlice(ResourcesOf(state, model), slice, card.memory_physical, one.count, &ask);
  };
  if (shape.gpus > 0 && !shape.lists_slices()) add(shape.ask);
  for (const CardAsk& one : shape.container_asks) {
    if (one.count > 0) add(one);
  }
  return ask;
}

Amounts Quotas::Ask(const ClusterState& state, ShapeId shape_id) {
  const std::vector<ModelId> models = ModelsFor(state, shape_id);
  if (models.size() == 1) return Ask(state, shape_id, models.front());
  const Shape& shape = state.shape(shape_id);
  Amounts ask;
  ask.Set(cpu_, shape.cpu);
  ask.Set(memory_, shape.memory);
  const auto add = [&](const CardAsk& one) {
    AddCards(any_model_, one.count, one.milli, one.memory, &ask);
  };
  if (shape.gpus > 0 && !shape.lists_slices()) add(shape.ask);
  for (const CardAsk& one : shape.container_asks) {
    if (one.count > 0) add(one);
  }
  return ask;
}

std::vector<ModelId> Quotas::ModelsFor(const ClusterState& state, ShapeId shape_id) {
  CatchUp(state);
  std::vector<ModelId> models;
  const Shape& shape = state.shape(shape_id);
  if (shape.gpus == 0) return models;
  for (std::size_t m = 0; m < cards_.size(); ++m) {
    const ModelId model(m);
    if (cards_[model] > 0 && shape.serving[m] != 0) models.push_back(model);
  }
  return models;
}

void Quotas::CatchUp(const ClusterState& state) {
  if (!std::exchange(totals_stale_, false)) return;
  largest_ = IdVector<ModelId, CardState>(state.model_count(), CardState{});
  kinds_ = IdVector<ModelId, std::vector<CardState>>(state.model_count(), {});
  cards_ = IdVector<ModelId, std::int64_t>(state.model_count(), 0);
  std::int64_t cpu = 0;
  std::int64_t memory = 0;
  std::int64_t all_cards = 0;
  std::int64_t all_milli = 0;
  std::int64_t all_memory = 0;
  IdVector<ModelId, std::int64_t> milli(state.model_count(), 0);
  IdVector<ModelId, std::int64_t> usable(state.model_count(), 0);
  IdVector<ModelId, std::int64_t> model_memory(state.model_count(), 0);
  for (const NodeId node : state.order()) {
    const bool schedulable = state.hot(node).schedulable;
    if (schedulable) {
      cpu += state.capacity(node).cpu;
      memory += state.capacity(node).memory;
    }
    for (int c = 0; c < state.hot(node).cards; ++c) {
      const CardState& card = state.card(node, c);
      const ModelId model(std::uint32_t{card.model});
      if (cards_[model]++ == 0 || card.memory_physical > largest_[model].memory_physical) {
        largest_[model] = card;
      }
      const bool known =
          std::any_of(kinds_[model].begin(), kinds_[model].end(), [&card](const CardState& k) {
            return k.mode == card.mode && k.memory_physical == card.memory_physical &&
                   k.memory_total == card.memory_total && k.compute_total == card.compute_total;
          });
      if (!known) kinds_[model].push_back(card);
      if (!schedulable || !CountsInTotals(card)) continue;
      ++usable[model];
      milli[model] += card.compute_total;
      model_memory[model] += card.memory_total;
    }
  }
  tree_.SetTotal(cpu_, cpu);
  tree_.SetTotal(memory_, memory);
  for (std::size_t m = 0; m < state.model_count(); ++m) {
    const ModelId model(m);
    const CardResources& ids = ResourcesOf(state, model);
    all_cards += usable[model];
    all_milli += milli[model];
    all_memory += model_memory[model];
    if (!ids.gpu_model.valid()) continue;  // cards without a model's name
    tree_.SetTotal(ids.gpu_model, milli[model]);
    tree_.SetTotal(ids.cards_model, usable[model]);
    tree_.SetTotal(ids.memory_model, model_memory[model]);
  }
  tree_.SetTotal(any_model_.gpu, all_milli);
  tree_.SetTotal(any_model_.cards, all_cards);
  tree_.SetTotal(any_model_.memory, all_memory);
}

Amounts Quotas::Governed(const Amounts& ask) const {
  const ResourceTable& names = tree_.resources();
  std::vector<char> named(names.size(), 0);
  for (const QueueId queue : tree_.order()) {
    if (queue == QueueTree::kRoot) continue;
    const QueueSpec& spec = tree_.spec(queue);
    for (const AmountMap* amounts : {&spec.guarantee, &spec.deserved, &spec.capacity}) {
      for (const auto& [name, amount] : *amounts) named[names.Find(name)->index()] = 1;
    }
  }
  const bool has_cards = ask[any_model_.gpu] > 0 || ask[any_model_.slices] > 0;
  const auto is_card = [&](ResourceId id) { return id != cpu_ && id != memory_; };
  bool spoken_of = false;
  for (std::size_t r = 0; r < ask.size(); ++r) {
    const ResourceId id(r);
    spoken_of = spoken_of || (ask[id] > 0 && named[r] != 0 && is_card(id) == has_cards);
  }
  Amounts out;
  for (std::size_t r = 0; r < ask.size(); ++r) {
    const ResourceId id(r);
    const bool stands_in = !spoken_of && (has_cards ? id == any_model_.gpu : !is_card(id));
    if (ask[id] > 0 && (named[r] != 0 || stands_in)) out.Set(id, ask[id]);
  }
  return out;
}

void Quotas::AddTo(Digest* digest) const {
  const auto add = [digest](const AmountMap& amounts) {
    digest->Add(static_cast<std::uint64_t>(amounts.size()));
    for (const auto& [name, amount] : amounts) {
      digest->Add(name);
      digest->Add(amount);
    }
  };
  for (const QueueId id : tree_.order()) {
    if (id == QueueTree::kRoot) continue;
    const QueueSpec& spec = tree_.spec(id);
    digest->Add(spec.name);
    digest->Add(spec.parent);
    digest->Add(spec.weight);
    digest->Add(spec.priority);
    add(spec.guarantee);
    add(spec.deserved);
    add(spec.capacity);
    digest->Add(spec.reclaimable ? 1 : 0);
    digest->Add(spec.memory_ratio_percent);
    for (const SlotQuota& slots : spec.slots) {
      digest->Add(slots.cards);
      digest->Add(slots.count);
      digest->Add(slots.model);
    }
  }
  for (const auto& [name, budget] : budgets_) {
    digest->Add(name);
    digest->Add(budget.min_available);
    digest->Add(budget.max_unavailable);
    digest->Add(budget.expected);
  }
}

std::optional<QuotaRefusal> Quotas::Refusal(QueueId leaf, const Amounts& ask,
                                            bool preemptible) const {
  return Refusal(tree_, leaf, ask, preemptible);
}

std::optional<QuotaRefusal> Quotas::Refusal(const QueueTree& tree, QueueId leaf, const Amounts& ask,
                                            bool preemptible) const {
  return tree.RefusalByQueues(leaf, ask, preemptible);
}

Quotas::Check Quotas::Refused(const QuotaRefusal& refusal, QueueId leaf, const Amounts& ask) const {
  Check check;
  check.answer = Check::Answer::kWait;
  check.reason = tree_.Describe(refusal);
  for (QueueId at = leaf; at != QueueTree::kRoot; at = tree_.parent(at)) {
    for (std::size_t r = 0; r < ask.size(); ++r) {
      const ResourceId id(r);
      if (ask[id] <= tree_.capacity(at)[id]) continue;
      check.answer = Check::Answer::kNever;
      check.reason = fmt::format("queue '{}' may hold {} {} at most, {} asked", tree_.name(at),
                                 tree_.resources().Format(id, tree_.capacity(at)[id]),
                                 tree_.resources().name(id), tree_.resources().Format(id, ask[id]));
      return check;
    }
  }
  return check;
}

Quotas::Check Quotas::MayAsk(const ClusterState& state, const std::vector<QuotaAsk>& asks,
                             const Standing& standing) {
  Check check;
  if (standing.queue.empty()) return check;
  const QueueId leaf = LeafOf(standing.queue);
  if (!leaf.valid()) {
    check.answer = Check::Answer::kBad;
    check.reason = fmt::format(
        "queue '{}' {}", standing.queue,
        tree_.Find(standing.queue) ? "has queues below it: name one of them" : "is unknown");
    return check;
  }
  CatchUp(state);
  const auto add = [](Amounts* sum, const Amounts& one, std::int64_t count) {
    for (std::size_t r = 0; r < one.size(); ++r) {
      const ResourceId id(r);
      if (one[id] != 0) sum->Add(id, one[id] * count);
    }
  };
  Amounts known;
  std::vector<ModelId> models;  // that any of the shapes allows
  std::int64_t pods = 0;
  for (const QuotaAsk& ask : asks) pods += ask.count;
  // Of a single pod only what no card of the model would do for is refused here: its place is asked
  // about again. What several take together is not known so exactly.
  const auto ask_on = [&](ShapeId shape, ModelId model) {
    return pods == 1 ? LeastAsk(state, shape, model) : Ask(state, shape, model);
  };
  for (const QuotaAsk& ask : asks) {
    if (ask.count == 0) continue;
    const std::vector<ModelId> its = ModelsFor(state, ask.shape);
    add(&known, its.size() == 1 ? ask_on(ask.shape, its[0]) : Ask(state, ask.shape), ask.count);
    for (const ModelId model : ModelsFor(state, ask.shape)) {
      if (std::find(models.begin(), models.end(), model) == models.end()) models.push_back(model);
    }
  }
  AddSku(standing, pods, &known);
  if (const auto refusal = Refusal(leaf, known, standing.preemptible); refusal) {
    return Refused(*refusal, leaf, known);
  }
  std::sort(models.begin(), models.end());
  std::optional<Check> first;
  for (const ModelId model : models) {
    Amounts all;
    for (const QuotaAsk& ask : asks) {
      const std::vector<ModelId> its = ModelsFor(state, ask.shape);
      const bool allowed = std::find(its.begin(), its.end(), model) != its.end();
      add(&all, allowed ? ask_on(ask.shape, model) : Ask(state, ask.shape), ask.count);
    }
    AddSku(standing, pods, &all);
    const auto refusal = Refusal(leaf, all, standing.preemptible);
    if (!refusal) {
      check.models.push_back(model);
      continue;
    }
    Check refused = Refused(*refusal, leaf, all);
    // If one model's limit could ever hold it, it waits for that one.
    if (!first ||
        (first->answer == Check::Answer::kNever && refused.answer == Check::Answer::kWait)) {
      first = std::move(refused);
    }
  }
  if (!first) {
    check.models.clear();
    return check;
  }
  if (!check.models.empty()) {
    check.answer = Check::Answer::kSome;
    return check;
  }
  if (pods > 1 && models.size() > 1) first->answer = Check::Answer::kMixed;
  return *first;
}

}  // namespace basalt
