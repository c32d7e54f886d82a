// What sync tells about nodes, their cards and network, and queues.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "adapters/service/service.h"
#include "scheduler-core/base/check.h"

namespace basalt::service {
namespace {

// Of basalt_nodes_wired{source}.
constexpr std::string_view kGuessed = "catalog-guess";

AmountMap ReadAmounts(const google::protobuf::RepeatedPtrField<pb::Amount>& in) {
  AmountMap out;
  for (const pb::Amount& amount : in) out[amount.resource()] = amount.amount();
  return out;
}

Result<topology::NetworkPath> ReadPath(
    const google::protobuf::RepeatedPtrField<pb::DomainStep>& steps, const std::string& where) {
  topology::NetworkPath path;
  for (const pb::DomainStep& step : steps) path.push_back({step.tier(), step.name()});
  if (Status ok = topology::ValidatePath(path, where); !ok) {
    return tl::unexpected<Error>(ok.error());
  }
  return path;
}

// `known`: the node as it is, or null. A card's mode that is not told stays as it is.
CardMode ModeOf(const pb::CardSpec& card, int index, const NodeSpec* known) {
  if (card.has_mode()) return static_cast<CardMode>(card.mode());
  if (known == nullptr) return CardMode::kShared;
  for (const CardSpec& was : known->cards) {
    if (!card.uuid().empty() && was.uuid == card.uuid()) return was.mode;
  }
  const bool by_place = card.uuid().empty() && std::cmp_less(index, known->cards.size());
  return by_place ? known->cards[static_cast<std::size_t>(index)].mode : CardMode::kShared;
}

Result<basalt::NodeSpec> ReadNode(const pb::NodeSpec& in, const NodeSpec* known) {
  const std::string where = "node " + in.name();
  if (in.numa_policy() < 0 || in.numa_policy() > pb::NUMA_POLICY_SINGLE_NUMA_NODE ||
      in.numa_scope() < 0 || in.numa_scope() > pb::NUMA_SCOPE_POD) {
    return Fail(where, "has an unknown NUMA policy or scope");
  }
  basalt::NodeSpec out;
  out.name = in.name();
  if (in.has_rank()) out.rank = in.rank();
  out.cpu_milli = in.cpu_milli();
  out.memory_mib = in.memory_mib();
  out.max_pods = in.max_pods();
  out.numa_nodes = std::max(1, in.numa_nodes());
  for (const pb::Label& label : in.labels()) out.labels.push_back({label.key(), label.value()});
  out.taints = {in.taints().begin(), in.taints().end()};
  for (int i = 0; i < in.cards_size(); ++i) {
    const pb::CardSpec& card = in.cards(i);
    if (card.mode() < 0 || card.mode() > pb::CARD_MODE_PASSTHROUGH) {
      return Fail(where, fmt::format("card {} has an unknown mode", i));
    }
    CardSpec made;
    made.uuid = card.uuid();
    made.model = card.model();
    made.memory_mib = card.memory_mib();
    if (card.compute_milli() != 0) made.compute_milli = card.compute_milli();
    made.slots = card.slots();
    if (card.has_numa()) made.numa = card.numa();
    made.mode = ModeOf(card, i, known);
    if (card.memory_ratio_percent() != 0) made.memory_ratio_percent = card.memory_ratio_percent();
    if (card.has_group()) made.group = card.group();
    out.cards.push_back(std::move(made));
  }
  out.machine = in.machine();
  Result<topology::NetworkPath> path = ReadPath(in.network(), where);
  if (!path) return tl::unexpected<Error>(path.error());
  out.network = std::move(*path);
  out.numa_policy = static_cast<topology::NumaPolicy>(in.numa_policy());
  out.numa_scope = static_cast<topology::NumaScope>(in.numa_scope());
  for (const pb::NumaAmounts& amounts : in.numa()) {
    topology::NumaAmounts made;
    made.cpu = amounts.cpu_milli();
    made.memory = amounts.memory_mib();
    out.numa.push_back(made);
  }
  return out;
}

}  // namespace

Status Service::ApplyNode(const pb::NodeState& node, SimTime now) {
  if (node.has_kubernetes()) return ApplyKubernetes(node.kubernetes(), now);
  const NodeId known = engine_->state().FindNode(node.spec().name());
  NodeSpec was;
  if (known.valid()) was = engine_->state().SpecOf(known);
  Result<NodeSpec> spec = ReadNode(node.spec(), known.valid() ? &was : nullptr);
  if (!spec) return tl::unexpected<Error>(spec.error());
  std::vector<devices::CardCondition> conditions;
  for (const pb::CardSpec& card : node.spec().cards()) {
    conditions.push_back({.healthy = !card.unhealthy(), .cordoned = card.cordoned()});
  }
  const std::string name = spec->name;
  if (Status ok = PutNode(std::move(*spec), std::move(conditions), node.cordoned(), now); !ok) {
    return ok;
  }
  node_facts_.erase(name);
  return {};
}

Status Service::ApplyKubernetes(const pb::NodeResources& node, SimTime now) {
  devices::NodeResources in;
  in.name = node.name();
  in.labels = {node.labels().begin(), node.labels().end()};
  in.annotations = {node.annotations().begin(), node.annotations().end()};
  in.capacity = {node.capacity().begin(), node.capacity().end()};
  in.allocatable = {node.allocatable().begin(), node.allocatable().end()};
  in.taints = {node.taints().begin(), node.taints().end()};
  in.unschedulable = node.unschedulable();
  in.ready = !node.not_ready();
  in.numa.policy = node.numa().policy();
  in.numa.scope = node.numa().scope();
  for (const pb::NumaReport::Zone& zone : node.numa().zones()) {
    in.numa.zones.push_back({zone.name(), {zone.allocatable().begin(), zone.allocatable().end()}});
  }
  in.resource_slices = {node.resource_slices().begin(), node.resource_slices().end()};
  Result<devices::NodeRead> read = devices::ReadNode(*environment_->catalog, in);
  if (!read) return tl::unexpected<Error>(read.error());
  read->spec.taints.insert(read->spec.taints.end(), read->facts.plugins.begin(),
                           read->facts.plugins.end());
  // A register does not know of passthrough, nor of cards that an operator gives one pod at a time.
  if (const NodeId known = engine_->state().FindNode(in.name); known.valid()) {
    const std::vector<CardSpec> was = CardsOf(known);
    const auto is_place = [&in](const std::string& uuid, std::size_t i) {
      return uuid == fmt::format("{}/{}", in.name, i);
    };
    for (std::size_t i = 0; i < read->spec.cards.size(); ++i) {
      CardSpec& card = read->spec.cards[i];
      auto before = std::ranges::find(was, card.uuid, &CardSpec::uuid);
      if (before == was.end() && i < was.size() &&
          (is_place(card.uuid, i) || is_place(was[i].uuid, i))) {
        before = was.begin() + static_cast<std::ptrdiff_t>(i);
      }
      if (before == was.end() || card.mode != CardMode::kShared) continue;
      const bool exclusive = before->mode == CardMode::kExclusive;
      if (before->mode == CardMode::kPassthrough ||
          (exclusive && read->facts.platforms[i] != "plugin")) {
        card.mode = before->mode;
      }
    }
  }
  // "NODE/3" is a place, not a card: without it the card that stands there may get its UUID later,
  // and keeps its pods.
  for (std::size_t i = 0; i < read->spec.cards.size(); ++i) {
    if (read->spec.cards[i].uuid == fmt::format("{}/{}", in.name, i)) {
      read->spec.cards[i].uuid.clear();
    }
  }
  std::string wired = std::move(read->machine_source);
  if (wired.empty()) wired = read->numa_source;
  if (wired.empty() && config_.guess_wiring) wired = GuessWiring(&read->spec);
  const std::size_t notes = read->notes.size() + (wired == kGuessed ? 1 : 0);
  if (Status ok = PutNode(std::move(read->spec), std::move(read->conditions), read->cordoned, now);
      !ok) {
    return ok;
  }
  node_facts_[in.name] = NodeBook{std::move(read->facts), std::move(wired), notes};
  return {};
}

std::string Service::GuessWiring(NodeSpec* node) const {
  if (node->cards.size() < 2) return "";
  const KnownMachine* only = nullptr;
  for (const KnownMachine& machine : environment_->machines) {
    if (std::cmp_not_equal(machine.cards, node->cards.size()) ||
        !std::ranges::all_of(
            node->cards, [&](const CardSpec& card) { return card.model == machine.card_model; })) {
      continue;
    }
    if (only != nullptr) return "";  // no telling which
    only = &machine;
  }
  if (only == nullptr || only->description.size() > kMaxMachineText) return "";
  node->machine = only->description;
  return std::string(kGuessed);
}

Status Service::PutNode(NodeSpec spec, std::vector<devices::CardCondition> conditions,
                        bool cordoned, SimTime now) {
  const std::string name = spec.name;
  const NodeId known = engine_->state().FindNode(name);
  for (std::size_t i = 0; i < conditions.size() && commands_.open() > 0 && known.valid(); ++i) {
    std::string uuid = spec.cards[i].uuid;
    if (uuid.empty() && std::cmp_less(i, engine_->state().hot(known).cards)) {
      uuid = engine_->state().CardUuid(known, static_cast<int>(i));
    }
    conditions[i].cordoned = KeptCordoned(name, uuid, conditions[i].cordoned);
  }
  if (spec.network.empty()) spec.network = PathOf(spec);
  const ClusterState& state = engine_->state();
  const Status applied = state.FindNode(name).valid()
                             ? engine_->Apply(NodeChanged{std::move(spec)}, now)
                             : engine_->Apply(NodeAdded{std::move(spec)}, now);
  if (!applied) return applied;
  for (std::size_t i = 0; i < conditions.size(); ++i) {
    const auto [healthy, card_cordoned] = conditions[i];
    const auto index = static_cast<std::int32_t>(i);
    const CardState is = state.card(state.FindNode(name), index);
    if (is.healthy != healthy) {
      if (Status ok = engine_->Apply(CardHealthChanged{name, index, healthy}, now); !ok) return ok;
    }
    if (is.cordoned != card_cordoned) {
      if (Status ok = engine_->Apply(CardCordoned{name, index, card_cordoned}, now); !ok) return ok;
    }
  }
  if (state.cordoned(state.FindNode(name)) == cordoned) return {};
  return engine_->Apply(NodeCordoned{name, cordoned}, now);
}

// The tiers that labels tell, and those that are synced, which win.
topology::NetworkPath Service::PathOf(const NodeSpec& node) const {
  topology::NetworkPath out;
  if (const auto told = paths_.find(node.name); told != paths_.end()) out = told->second;
  for (const auto& [tier, label] : config_.tier_labels) {
    const auto value = std::ranges::find(node.labels, label, &LabelRequirement::key);
    if (value == node.labels.end()) continue;
    // Empty values and cliques without a fabric are no domains.
    const auto read =
        topology::NetworkFromLabels({{"tier", {label}}}, {{node.name, {{label, value->value}}}});
    if (!read || !read->paths.contains(node.name)) continue;
    const topology::NetworkPath& path = read->paths.at(node.name);
    if (path.empty()) continue;
    const auto at = std::ranges::lower_bound(out, tier, {}, &topology::DomainStep::tier);
    if (at == out.end() || at->tier != tier) out.insert(at, {tier, path.front().name});
  }
  return out;
}

Status Service::NodeEnded(const std::string& name, SimTime now) {
  usage_.NodeGone(name);
  node_facts_.erase(name);
  if (!engine_->state().FindNode(name).valid()) return {};  // told twice
  return engine_->Apply(NodeRemoved{name}, now);
}

Status Service::ApplyPath(const pb::NodePath& path, SimTime now) {
  Result<topology::NetworkPath> read = ReadPath(path.network(), "node " + path.node());
  if (!read) return tl::unexpected<Error>(read.error());
  const NodeId node = engine_->state().FindNode(path.node());
  if (read->empty()) {
    paths_.erase(path.node());
  } else {
    paths_[path.node()] = *read;
  }
  if (!node.valid()) return {};
  NodeSpec spec = engine_->state().SpecOf(node);
  spec.network = PathOf(spec);
  if (engine_->state().network(node) == spec.network) return {};
  return engine_->Apply(NodeChanged{std::move(spec)}, now);
}

Status Service::ApplyCard(const pb::CardState& card, SimTime now) {
  const ClusterState& state = engine_->state();
  const NodeId node = state.FindNode(card.node());
  if (!node.valid()) return Fail("node " + card.node(), "is not in the cluster");
  int index = -1;
  if (card.which_case() == pb::CardState::kIndex) {
    index = card.index();
  } else {
    for (int i = 0; i < state.hot(node).cards; ++i) {
      if (state.CardUuid(node, i) == card.uuid()) index = i;
    }
  }
  if (index < 0 || index >= state.hot(node).cards) {
    return Fail("node " + card.node(), "does not have the card");
  }
  const CardState is = state.card(node, index);
  if (card.has_healthy() && card.healthy() != is.healthy) {
    if (Status ok = engine_->Apply(CardHealthChanged{card.node(), index, card.healthy()}, now);
        !ok) {
      return ok;
    }
  }
  if (card.has_cordoned()) {
    const bool cordoned = KeptCordoned(card.node(), state.CardUuid(node, index), card.cordoned());
    if (cordoned != is.cordoned) {
      if (Status ok = engine_->Apply(CardCordoned{card.node(), index, cordoned}, now); !ok) {
        return ok;
      }
    }
  }
  if (!card.has_mode() || static_cast<CardMode>(card.mode()) == is.mode) return {};
  if (card.mode() < 0 || card.mode() > pb::CARD_MODE_PASSTHROUGH) {
    return Fail("node " + card.node(), "is told an unknown mode of a card");
  }
  return engine_->Apply(CardModeChanged{card.node(), index, static_cast<CardMode>(card.mode())},
                        now);
}

Status Service::ApplyQueue(const pb::QueueState& queue, SimTime now) {
  QueueSpec spec;
  spec.name = queue.name();
  spec.parent = queue.parent();
  if (queue.has_weight()) spec.weight = queue.weight();
  spec.priority = queue.priority();
  spec.guarantee = ReadAmounts(queue.guarantee());
  spec.deserved = ReadAmounts(queue.deserved());
  spec.capacity = ReadAmounts(queue.capacity());
  spec.reclaimable = !queue.not_reclaimable();
  spec.memory_ratio_percent = queue.memory_ratio_percent();
  for (const pb::SlotQuota& slot : queue.slots()) {
    spec.slots.push_back(SlotQuota{slot.cards(), slot.count(), slot.model()});
  }
  if (queue.closed()) {
    closed_queues_.insert(spec.name);
  } else {
    closed_queues_.erase(spec.name);
  }
  waiting_queues_.erase(spec.name);
  if (!spec.parent.empty() && !engine_->queues().Find(spec.parent)) {
    std::string name = spec.name;
    waiting_queues_.emplace(std::move(name), std::move(spec));
    return {};
  }
  return engine_->Apply(QueueSet{std::move(spec)}, now);
}

void Service::RetryQueues(SimTime now) {
  for (bool moved = true; moved;) {
    moved = false;
    for (auto it = waiting_queues_.begin(); it != waiting_queues_.end();) {
      if (!engine_->queues().Find(it->second.parent)) {
        ++it;
        continue;
      }
      moved = true;
      if (!engine_->Apply(QueueSet{it->second}, now)) metrics_.Count("sync_rejected");
      it = waiting_queues_.erase(it);
    }
  }
}

void Service::SweepNodes(const SyncStream& stream, SimTime now, pb::SyncResponse* out) {
  std::vector<std::string> gone;
  for (const NodeId node : engine_->state().order()) {
    const std::string& name = engine_->state().name(node);
    if (!stream.nodes.contains(name)) gone.push_back(name);
  }
  for (const std::string& name : gone) {
    const Status ok = NodeEnded(name, now);
    BASALT_CHECK(ok.has_value());
  }
  out->set_swept_nodes(static_cast<std::int64_t>(gone.size()));
}

void Service::SweepPaths(const SyncStream& stream, SimTime now) {
  std::vector<std::string> gone;
  for (const auto& [node, path] : paths_) {
    if (!stream.paths.contains(node)) gone.push_back(node);
  }
  for (const std::string& node : gone) {
    pb::NodePath none;
    none.set_node(node);
    if (!ApplyPath(none, now)) metrics_.Count("sync_rejected");
  }
}

void Service::SweepQueues(const SyncStream& stream, SimTime now, Rejections* rejected) {
  std::vector<std::string> gone;
  for (const QueueId queue : engine_->queues().order()) {
    if (queue == QueueTree::kRoot) continue;
    const std::string& name = engine_->queues().name(queue);
    if (!stream.queues.contains(name)) gone.push_back(name);
  }
  // Those below before those above them.
  for (auto name = gone.rbegin(); name != gone.rend(); ++name) {
    closed_queues_.erase(*name);
    if (Status ok = engine_->Apply(QueueRemoved{*name}, now); !ok) {
      rejected->emplace_back("queue " + *name, ok.error().ToString());
    }
  }
}

}  // namespace basalt::service
