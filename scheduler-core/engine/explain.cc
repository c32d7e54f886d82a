// Why a shape is or is not placed, counted over every node when asked.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <span>
#include <utility>

#include "scheduler-core/cluster/draft.h"
#include "scheduler-core/engine/engine.h"

namespace basalt {
namespace {

// 4000 -> "4,000"
std::string Grouped(std::int64_t value) {
  std::string digits = std::to_string(value);
  for (int i = static_cast<int>(digits.size()) - 3; i > 0; i -= 3) {
    digits.insert(static_cast<std::size_t>(i), ",");
  }
  return digits;
}

std::string NotAllowed(const Shape& shape) {
  const RequestSpec& spec = shape.spec;
  std::string text;
  for (const std::string& model : spec.models) text += (text.empty() ? "" : " or ") + model;
  for (const std::string& vendor : spec.vendors) {
    text += (&vendor != spec.vendors.data() ? " or " : text.empty() ? "" : " of ") + vendor;
  }
  if (!text.empty()) return "no " + text + " card";
  return "no card whose model, UUID or slices the request may have";
}

struct Verdict {
  Reason reason;
  std::int64_t short_by = 0;
};

// What stops `count` slices of the ask on the node's cards: the first dimension, in the order of
// the verdicts, in which fewer than `count` cards suffice.
Reason JudgeAsk(const ClusterState& state, const Shape& shape, const CardAsk& ask, int count,
                NodeId node, bool empty) {
  using SliceVerdict = ClusterState::SliceVerdict;
  std::array<int, ClusterState::kSliceVerdicts> stopped{};
  const int cards = state.hot(node).cards;
  for (int i = 0; i < cards; ++i) {
    const CardState& now = state.card(node, i);
    SliceTake take;
    SliceVerdict verdict =
        state.JudgeSlice(shape, ask, empty ? state.EmptyCard(shape, now) : now, &take);
    if (!state.UuidAllowed(shape, node, i)) verdict = SliceVerdict::kNotAllowed;
    ++stopped[static_cast<std::size_t>(verdict)];
  }
  static constexpr std::array<std::pair<SliceVerdict, Reason>, 7> kOrder = {{
      {SliceVerdict::kUnusable, Reason::kNoCardFree},
      {SliceVerdict::kNotAllowed, Reason::kModelNotAllowed},
      {SliceVerdict::kSlotsUsed, Reason::kSlotsUsed},
      {SliceVerdict::kComputeShort, Reason::kNoCardFree},
      {SliceVerdict::kMemoryShort, Reason::kCardMemoryShort},
      {SliceVerdict::kGuaranteedShort, Reason::kGuaranteedShort},
      {SliceVerdict::kRuleForbids, Reason::kCardRule},
  }};
  int left = cards;
  for (const auto& [verdict, reason] : kOrder) {
    left -= stopped[static_cast<std::size_t>(verdict)];
    if (left < count) return reason;
  }
  return Reason::kFits;
}

Reason JudgeCards(const ClusterState& state, const Shape& shape, NodeId node, bool empty) {
  if (shape.gpus == 0) return Reason::kFits;
  if (!shape.lists_slices()) {
    // MIG instances of one pod may be on one card; of groups, the plan knows the number.
    const int count = state.hot(node).planned_cards ? 1 : shape.gpus;
    return JudgeAsk(state, shape, shape.ask, count, node, empty);
  }
  for (const CardAsk& ask : shape.container_asks) {
    if (ask.count == 0) continue;
    const int count = state.hot(node).planned_cards ? 1 : ask.count;
    const Reason reason = JudgeAsk(state, shape, ask, count, node, empty);
    if (reason != Reason::kFits) return reason;
  }
  return Reason::kFits;
}

// `empty`: judge the node as if nothing ran on it.
Verdict JudgeNode(const ClusterState& state, ShapeId id, NodeId node, bool empty) {
  const Shape& shape = state.shape(id);
  const NodeHot& hot = state.hot(node);
  const NodeCapacity& cap = state.capacity(node);
  const NodeClass& node_class = state.class_of(state.node_class(node));
  if (!empty && !hot.schedulable) return {Reason::kCordoned};
  if (!state.ClassAllows(id, state.node_class(node))) {
    const auto& labels = node_class.labels;
    bool other = false;
    for (const LabelRequirement& need : shape.spec.node_selector) {
      other = other || !std::binary_search(labels.begin(), labels.end(), need);
    }
    for (const std::string& taint : node_class.taints) {
      other = other || std::find(shape.spec.tolerations.begin(), shape.spec.tolerations.end(),
                                 taint) == shape.spec.tolerations.end();
    }
    return {other ? Reason::kLabelOrTaint : Reason::kModelNotAllowed};
  }
  if (const Reason reason = JudgeCards(state, shape, node, empty); reason != Reason::kFits) {
    return {reason};
  }
  const std::int64_t cpu = empty ? cap.cpu : hot.cpu_free;
  const std::int64_t memory = empty ? cap.memory : hot.memory_free;
  if (cpu < shape.cpu) return {Reason::kCpuShort, shape.cpu - cpu};
  if (memory < shape.memory) return {Reason::kMemoryShort, shape.memory - memory};
  if ((empty ? cap.pods : hot.pods_free) < 1) return {Reason::kPodLimit};
  if (!state.IsPlanned(shape, node)) return {Reason::kFits};
  NodeDraft draft;
  if (empty) {
    draft.LoadEmpty(state, node, shape);
  } else {
    draft.Load(state, node);
  }
  if (draft.PlanCards(shape, CardRule::kFirst, 0).fits) return {Reason::kFits};
  if (draft.FreeNics() < shape.nics) return {Reason::kNicShort};
  const bool aligned =
      shape.spec.numa != topology::NumaPolicy::kNone ||
      (state.numa(node) != nullptr && state.numa(node)->policy != topology::NumaPolicy::kNone);
  if (!aligned && (shape.lists_slices() || (shape.gpus > 0 && hot.planned_cards))) {
    return {Reason::kSlicesApart};
  }
  // Without its alignment the bandwidth is what is left to blame.
  if (shape.spec.bandwidth_required && !draft.HasBandwidth(shape)) return {Reason::kBandwidthShort};
  return {Reason::kNumaNotAligned};
}

std::string Text(const ReasonCount& count, const Shape& shape) {
  std::string nodes = Grouped(count.nodes) + (count.nodes == 1 ? " node: " : " nodes: ");
  switch (count.reason) {
    case Reason::kFits:
      return nodes + "fits";
    case Reason::kCordoned:
      return nodes + "cordoned";
    case Reason::kLabelOrTaint:
      return nodes + "node selector or taint does not match";
    case Reason::kModelNotAllowed:
      return nodes + NotAllowed(shape);
    case Reason::kSlotsUsed:
      return nodes + "share slots used up on cards that would serve";
    case Reason::kNoCardFree:
      if (shape.milli == 0 || shape.lists_slices()) {
        return nodes + "no card that takes one more slice";
      }
      if (shape.gpus == 1) {
        return nodes + (shape.whole ? "no whole card free"
                                    : fmt::format("no card with {} milli free", shape.milli));
      }
      return nodes + fmt::format("fewer than {} cards with {} milli free", shape.gpus, shape.milli);
    case Reason::kCardMemoryShort:
      return nodes + "card memory short on the cards with enough compute";
    case Reason::kGuaranteedShort:
      return nodes +
             "memory of the cards is free only by oversubscription, and the pod is guaranteed";
    case Reason::kCardRule:
      return nodes + "the cards' slices are of another QoS class or size, or no MIG slots in a row";
    case Reason::kSlicesApart:
      return nodes + "each slice fits a card, but not all of them together";
    case Reason::kCpuShort:
      return nodes + fmt::format("CPU short by {} milli or more", Grouped(count.least_short));
    case Reason::kMemoryShort:
      return nodes + fmt::format("memory short by {} MiB or more", Grouped(count.least_short));
    case Reason::kPodLimit:
      return nodes + "pod limit reached";
    case Reason::kNumaNotAligned:
      return nodes + "enough in sum, but not on NUMA nodes that the policy admits together";
    case Reason::kNicShort:
      return nodes + fmt::format("fewer than {} NICs free", shape.nics);
    case Reason::kBandwidthShort:
      return nodes + fmt::format("no {} free cards with {:g} GB/s together", shape.gpus,
                                 static_cast<double>(shape.spec.min_bandwidth_mbps) / 1000);
    case Reason::kKeptForSlots:
      return nodes + "kept for the slots of ";
    case Reason::kExcluded:
      return nodes + "it would fit, but whoever asks has ruled it out";
  }
  return nodes;
}

}  // namespace

std::string_view OutcomeKindName(OutcomeKind kind) {
  static constexpr std::array<std::string_view, 3> kNames = {"Placed", "Wait", "Infeasible"};
  return kNames[static_cast<std::size_t>(kind)];
}

std::string_view ReasonKey(Reason reason) {
  static constexpr std::array<std::string_view, kReasons> kKeys = {"fits",
                                                                   "cordoned",
                                                                   "label_or_taint",
                                                                   "model_not_allowed",
                                                                   "slots_used",
                                                                   "no_card",
                                                                   "card_memory_short",
                                                                   "guaranteed_memory_short",
                                                                   "card_rule",
                                                                   "cpu_short",
                                                                   "memory_short",
                                                                   "pod_limit",
                                                                   "numa_not_aligned",
                                                                   "nic_short",
                                                                   "bandwidth_short",
                                                                   "slices_apart",
                                                                   "kept_for_slots",
                                                                   "excluded"};
  return kKeys[static_cast<std::size_t>(reason)];
}

ShapeId Engine::DecidedShape(const Request& request) {
  ShapeId shape = request.shape;
  if (!request.standing.queue.empty()) {
    const Quotas::Check quota = quotas_.MayAsk(state_, {{shape}}, request.standing);
    if (quota.answer == Quotas::Check::Answer::kSome) shape = OnModels(shape, quota.models);
  }
  return InQueue(shape, request.standing);
}

std::vector<NodeVerdict> Engine::Judge(const Request& request, std::span<const NodeId> nodes) {
  const WorkCounters work_before = work_;
  const ShapeId asked = DecidedShape(request);
  const PlacementContext context = MakeContext(request, asked);
  const ShapeEntry& entry = state_.shape_entry(asked);
  std::optional<NodeMask> mask;
  if (context.nodes != nullptr) mask.emplace(*context.nodes, state_.node_slots());
  const Allocation* held = Find(request.uid);
  std::vector<NodeVerdict> out(nodes.size());
  std::vector<std::size_t> fitting;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const NodeId node = nodes[i];
    NodeVerdict& verdict = out[i];
    if (node.index() >= state_.node_slots() || !state_.exists(node)) {
      verdict.reason = Reason::kCordoned;
    } else if (held != nullptr && held->attempt == request.attempt && held->node == node) {
      verdict.score = 0;
      verdict.cards = held->cards;
    } else if (!state_.Fits(entry, node)) {
      verdict.reason = JudgeNode(state_, asked, node, false).reason;
      if (verdict.reason == Reason::kFits) verdict.reason = Reason::kKeptForSlots;
    } else if (mask && !mask->Allows(node)) {
      verdict.reason = Reason::kExcluded;
    } else {
      fitting.push_back(i);
    }
  }
  const PlacementPolicy& policy = *policy_.policy;
  if (!fitting.empty() && policy.traits().whole_set) {
    ScanEveryNode(context);  // a score depends on all that fit
    for (const std::size_t i : fitting) {
      const auto at = std::lower_bound(
          feasible_.begin(), feasible_.end(), nodes[i],
          [this](NodeId a, NodeId b) { return state_.position(a) < state_.position(b); });
      out[i].score = scores_[static_cast<std::size_t>(at - feasible_.begin())];
    }
  } else if (!fitting.empty()) {
    std::vector<NodeId> those;
    for (const std::size_t i : fitting) those.push_back(nodes[i]);
    scores_.resize(those.size());
    policy.ScoreNodes(context, those, scores_);
    for (std::size_t k = 0; k < those.size(); ++k) {
      out[fitting[k]].score = TotalScore(policy, context, those[k], scores_[k]);
    }
  }
  for (const std::size_t i : fitting) {
    out[i].cards = MakePlacement(context, BestNode{nodes[i], out[i].score}).cards;
  }
  work_ = work_before;
  return out;
}

Explanation Engine::Explain(const Request& request, std::size_t top) {
  Explanation out;
  const WorkCounters work_before = work_;  // a dry run leaves no trace, not even here
  const bool possible = PossibleWhenEmpty(request.shape);
  const Allocation* held = Find(request.uid);
  const Quotas::Check quota = held == nullptr
                                  ? quotas_.MayAsk(state_, {{request.shape}}, request.standing)
                                  : Quotas::Check{};
  const bool some = quota.answer == Quotas::Check::Answer::kSome;
  // What Propose decides by: the models and the oversubscription that its queue allows.
  const ShapeId asked =
      InQueue(some ? OnModels(request.shape, quota.models) : request.shape, request.standing);
  const PlacementContext context = MakeContext(request, asked);
  const BestNode best = held == nullptr && quota.may() ? FindBest(context) : BestNode{};
  if (held != nullptr && held->attempt == request.attempt) {
    out.kind = OutcomeKind::kPlaced;
    out.placement =
        Placement{held->node, held->cards, 0, state_.generation(held->node), held->numa};
  } else if (best.node.valid()) {
    Result<Placement> placement = PlaceWithinQuota(request, context, best);
    out.kind = placement ? OutcomeKind::kPlaced : OutcomeKind::kWait;
    if (placement) {
      out.placement = std::move(*placement);
    } else {
      out.text = std::move(placement.error().message);
    }
  } else if (held != nullptr) {
    out.kind = OutcomeKind::kWait;  // an earlier attempt holds its place
  } else {
    const bool may_ever = quota.may() || quota.answer == Quotas::Check::Answer::kWait;
    out.kind = possible && may_ever ? OutcomeKind::kWait : OutcomeKind::kInfeasible;
    if (!quota.may()) out.text = quota.reason;
  }
  std::array<ReasonCount, kReasons> counts;
  for (std::size_t r = 0; r < kReasons; ++r) counts[r].reason = static_cast<Reason>(r);
  std::optional<NodeMask> mask;
  if (context.nodes != nullptr) mask.emplace(*context.nodes, state_.node_slots());
  for (const NodeId node : state_.order()) {
    const bool empty = out.kind == OutcomeKind::kInfeasible && !possible;
    Verdict v = JudgeNode(state_, asked, node, empty);
    if (v.reason == Reason::kFits && !empty && !state_.Admits(state_.shape_entry(asked), node)) {
      v.reason = Reason::kKeptForSlots;
    }
    if (v.reason == Reason::kFits && !empty && mask && !mask->Allows(node)) {
      v.reason = Reason::kExcluded;
    }
    ReasonCount& count = counts[static_cast<std::size_t>(v.reason)];
    count.least_short = count.nodes == 0 ? v.short_by : std::min(count.least_short, v.short_by);
    ++count.nodes;
    ++out.nodes;
  }
  std::stable_sort(counts.begin(), counts.end(),
                   [](const ReasonCount& a, const ReasonCount& b) { return a.nodes > b.nodes; });
  for (ReasonCount& count : counts) {
    if (count.nodes == 0) continue;
    count.text = Text(count, context.shape);
    if (count.reason == Reason::kKeptForSlots) count.text += node_slots_.KeptFor(queues());
    out.text += (out.text.empty() ? "" : "; ") + count.text;
    out.counts.push_back(count);
  }
  if (top > 0 && best.node.valid()) {
    ScanEveryNode(context);
    std::vector<std::size_t> by_score(feasible_.size());
    for (std::size_t i = 0; i < by_score.size(); ++i) by_score[i] = i;
    std::stable_sort(by_score.begin(), by_score.end(),
                     [this](std::size_t a, std::size_t b) { return scores_[a] > scores_[b]; });
    for (std::size_t i = 0; i < std::min(top, by_score.size()); ++i) {
      const NodeId node = feasible_[by_score[i]];
      out.best.push_back(Explanation::Candidate{node, scores_[by_score[i]],
                                                policy_.policy->ChooseCards(context, node)});
    }
  }
  work_ = work_before;
  return out;
}

}  // namespace basalt
