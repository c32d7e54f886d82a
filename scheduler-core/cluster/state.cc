#include "scheduler-core/cluster/state.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <utility>

#include "scheduler-core/base/check.h"
#include "scheduler-core/cluster/draft.h"
#include "topology/peer_rules.h"
#include "topology/synthetic.h"

namespace basalt {
namespace {

constexpr std::size_t kSmallestRing = 1024;

}  // namespace

ClusterState::ClusterState() : change_ring_(kSmallestRing) {}

Result<NodeId> ClusterState::AddNode(const NodeSpec& spec) {
  if (Status ok = ValidateNode(spec, "node " + spec.name); !ok) {
    return tl::unexpected<Error>(ok.error());
  }
  if (by_name_.contains(spec.name)) {
    return Fail("node " + spec.name, "a node of this name is already in the cluster");
  }
  const Result<std::uint16_t> machine = MachineOf(spec);
  if (!machine) return tl::unexpected<Error>(machine.error());
  NodeId node;
  const auto lowest = std::min_element(free_slots_.begin(), free_slots_.end());
  if (lowest != free_slots_.end()) {
    node = *lowest;
    free_slots_.erase(lowest);
  } else {
    node = hot_.push_back(NodeHot{});
    filter_.push_back(FilterRow{});
    pods_.push_back(NodePods{});
    capacity_.push_back(NodeCapacity{});
    cold_.push_back(NodeCold{});
    machine_of_.push_back(kNoMachine);
    numa_of_.push_back(kNoNuma);
  }
  by_name_.insert({spec.name, node});
  SetUp(node, spec, *machine);
  hot_[node].schedulable = true;
  ContributeTotals(node, +1);
  RefreshNode(node);
  order_stale_ = true;
  ++structure_version_;
  if (change_ring_.size() < hot_.size()) {
    // Every change so far is void with the structure; a larger ring may start empty.
    change_ring_.assign(std::bit_ceil(hot_.size() * 2), NodeId());
    change_count_ += change_ring_.size() + 1;
  }
  return node;
}

Status ClusterState::CheckNode(const NodeSpec& spec) {
  if (Status ok = ValidateNode(spec, "node " + spec.name); !ok) return ok;
  const Result<std::uint16_t> machine = MachineOf(spec);
  return machine ? Status{} : Status{tl::unexpected<Error>(machine.error())};
}

Result<std::uint16_t> ClusterState::MachineOf(const NodeSpec& spec) {
  if (spec.machine.empty()) return kNoMachine;
  const Result<std::uint16_t> known = InternMachine(spec.machine, "node " + spec.name);
  if (!known) return known;
  const int wired = machines_[*known].type->cards();
  if (static_cast<std::size_t>(wired) != spec.cards.size()) {
    return Fail("node " + spec.name,
                fmt::format("has {} cards, but its machine has {}", spec.cards.size(), wired));
  }
  return known;
}

void ClusterState::SetUp(NodeId node, const NodeSpec& spec, std::uint16_t machine) {
  machine_of_[node] = machine;
  NodeCold& cold = cold_[node];
  const std::uint32_t generation = cold.generation + 1;
  // Rows are the slot's for good, so that nodes that come and go, or lose cards and get them back,
  // take no more. Only where they are too few it gets others, at the end.
  std::uint32_t first_card = hot_[node].first_card;
  std::uint32_t card_rows = cold.card_rows;
  if (card_rows < spec.cards.size()) {
    first_card = static_cast<std::uint32_t>(cards_.size());
    card_rows = static_cast<std::uint32_t>(spec.cards.size());
    cards_.resize(cards_.size() + card_rows);
    card_free_.resize(cards_.size());
  }
  cold = NodeCold{};
  cold.card_rows = card_rows;
  cold.name = spec.name;
  cold.name_digest = DigestOf(spec.name);
  cold.generation = generation;
  cold.rank = spec.rank >= 0 ? spec.rank : next_rank_;
  next_rank_ = std::max(next_rank_, cold.rank + 1);
  cold.numa_nodes = spec.numa_nodes;
  if (spec.numa_nodes == 1 && spec.numa.empty() && machine != kNoMachine) {
    // One is the default: the machine knows better.
    for (const topology::Vertex& v : machines_[machine].type->graph().vertices) {
      cold.numa_nodes = std::max(cold.numa_nodes, v.numa + 1);
    }
  }
  cold.network = spec.network;
  cold.numa_spec = spec.numa;
  cold.labels = spec.labels;
  std::sort(cold.labels.begin(), cold.labels.end());
  cold.taints = spec.taints;
  std::sort(cold.taints.begin(), cold.taints.end());
  cold.exists = true;
  pods_[node] = NodePods{};
  pods_[node].unlimited = spec.max_pods == 0;
  NodeCapacity& capacity = capacity_[node];
  capacity = NodeCapacity{};
  capacity.cpu = static_cast<std::int32_t>(spec.cpu_milli);
  capacity.memory = static_cast<std::int32_t>(spec.memory_mib);
  capacity.pods = spec.max_pods == 0 ? std::numeric_limits<std::int32_t>::max() : spec.max_pods;

  NodeHot& hot = hot_[node];
  hot = NodeHot{};
  hot.cpu_free = capacity.cpu;
  hot.memory_free = capacity.memory;
  hot.pods_free = capacity.pods;
  hot.first_card = first_card;
  hot.cards = static_cast<std::int16_t>(spec.cards.size());
  for (std::size_t i = 0; i < spec.cards.size(); ++i) {
    const CardSpec& card_spec = spec.cards[i];
    CardState card;
    card.compute_total = static_cast<std::int16_t>(card_spec.compute_milli);
    card.free_milli = card.compute_total;
    card.memory_physical = static_cast<std::int32_t>(card_spec.memory_mib);
    card.memory_total =
        static_cast<std::int32_t>(card_spec.memory_mib * card_spec.memory_ratio_percent / 100);
    card.memory_free = card.memory_total;
    card.guaranteed_free = card.memory_physical;
    card.slots = static_cast<std::int16_t>(std::min(card_spec.slots, 32767));
    card.numa = static_cast<std::int16_t>(card_spec.numa);
    if (card.numa < 0 && machine != kNoMachine) {
      card.numa = static_cast<std::int16_t>(machines_[machine].type->graph().vertices[i].numa);
    }
    card.model = static_cast<std::uint16_t>(InternModel(card_spec.model).value());
    card.mode = card_spec.mode;
    const CardRules* rules = rules_[ModelId(std::uint32_t{card.model})].get();
    card.group = static_cast<std::int8_t>(card_spec.group);
    if (card.group < 0 && rules != nullptr && rules->group_size > 0) {
      card.group = static_cast<std::int8_t>(static_cast<int>(i) / rules->group_size);
    }
    cards_[first_card + i] = card;
    capacity.gpu_milli += card_spec.compute_milli;
    if (!card_spec.uuid.empty()) {
      cold.uuids.emplace_back(static_cast<std::int16_t>(i), card_spec.uuid);
    }
  }
  if (capacity.gpu_milli > 0) {
    const auto total = static_cast<std::uint64_t>(capacity.gpu_milli);
    capacity.per_mille =
        ((std::uint64_t{1000} << NodeCapacity::kPerMilleShift) + total - 1) / total;
  }
  AddNuma(node, spec);
  hot.node_class = InternClass(node).value();
}

void ClusterState::DropNuma(NodeId node) {
  if (numa_of_[node] == kNoNuma) return;
  aligned_nodes_ -= numa(node)->policy != topology::NumaPolicy::kNone ? 1 : 0;
  free_numa_.push_back(std::exchange(numa_of_[node], kNoNuma));
}

void ClusterState::ChangeNode(NodeId node, const NodeSpec& spec, std::span<const int> from) {
  BASALT_CHECK(cold_[node].exists && pods_[node].pods == 0 && cold_[node].name == spec.name);
  BASALT_CHECK(from.size() == spec.cards.size());
  const Result<std::uint16_t> machine = MachineOf(spec);
  BASALT_CHECK(machine.has_value());  // CheckNode has seen it
  ContributeTotals(node, -1);
  DropNuma(node);
  const NodeHot was = hot_[node];
  const bool cordoned = cold_[node].cordoned;
  NodeSpec ranked = spec;
  if (ranked.rank < 0) ranked.rank = cold_[node].rank;
  const std::vector<CardState> cards(cards_.begin() + was.first_card,
                                     cards_.begin() + was.first_card + was.cards);
  SetUp(node, ranked, *machine);
  NodeHot& hot = hot_[node];
  for (std::size_t i = 0; i < from.size(); ++i) {
    if (from[i] < 0) continue;
    const CardState& old = cards[static_cast<std::size_t>(from[i])];
    cards_[hot.first_card + i].healthy = old.healthy;
    cards_[hot.first_card + i].cordoned = old.cordoned;
  }
  cold_[node].cordoned = cordoned;
  hot.schedulable = !cordoned;
  ContributeTotals(node, +1);
  RefreshNode(node);
  order_stale_ = true;
  ++structure_version_;
}

void ClusterState::Relabel(NodeId node, std::vector<LabelRequirement> labels,
                           std::vector<std::string> taints) {
  NodeCold& cold = cold_[node];
  cold.labels = std::move(labels);
  std::sort(cold.labels.begin(), cold.labels.end());
  cold.taints = std::move(taints);
  std::sort(cold.taints.begin(), cold.taints.end());
  const std::uint32_t node_class = InternClass(node).value();
  if (hot_[node].node_class == node_class) return;  // labels that nobody asks for
  hot_[node].node_class = node_class;
  RefreshNode(node);
  ++structure_version_;
}

void ClusterState::RemoveNode(NodeId node) {
  NodeCold& cold = cold_[node];
  BASALT_CHECK(cold.exists && pods_[node].pods == 0);
  ContributeTotals(node, -1);
  by_name_.erase(cold.name);
  cold.exists = false;
  hot_[node].schedulable = false;
  DropNuma(node);
  machine_of_[node] = kNoMachine;
  RefreshNode(node);
  free_slots_.push_back(node);
  order_stale_ = true;
  ++structure_version_;
}

void ClusterState::SetCordoned(NodeId node, bool cordoned) {
  if (cold_[node].cordoned == cordoned) return;
  ContributeTotals(node, -1);
  cold_[node].cordoned = cordoned;
  hot_[node].schedulable = !cordoned;
  ContributeTotals(node, +1);
  RefreshNode(node);
}

void ClusterState::SetMark(NodeId node, std::uint8_t mark) {
  if (hot_[node].mark == mark) return;
  hot_[node].mark = mark;
  RefreshNode(node);
}

void ClusterState::SetCardHealth(NodeId node, int card, bool healthy) {
  ContributeTotals(node, -1);
  cards_[hot_[node].first_card + static_cast<std::uint32_t>(card)].healthy = healthy;
  ContributeTotals(node, +1);
  RefreshNode(node);
}

NodeId ClusterState::FindNode(std::string_view name) const {
  const auto it = by_name_.find(std::string(name));
  return it == by_name_.end() ? NodeId() : it->second;
}

NodeSpec ClusterState::SpecOf(NodeId node) const {
  const NodeCold& cold = cold_[node];
  NodeSpec spec;
  spec.name = cold.name;
  spec.rank = cold.rank;
  spec.cpu_milli = capacity_[node].cpu;
  spec.memory_mib = capacity_[node].memory;
  spec.max_pods = pods_[node].unlimited ? 0 : capacity_[node].pods;
  spec.numa_nodes = cold.numa_nodes;
  spec.labels = cold.labels;
  spec.taints = cold.taints;
  for (int i = 0; i < hot_[node].cards; ++i) {
    const CardState& state = card(node, i);
    CardSpec card_spec;
    card_spec.model = models_[ModelId(std::uint32_t{state.model})];
    card_spec.memory_mib = state.memory_physical;
    if (state.memory_physical > 0) {
      // Rounded up: what it was made of gives the same total.
      card_spec.memory_ratio_percent = static_cast<std::int32_t>(
          (std::int64_t{state.memory_total} * 100 + state.memory_physical - 1) /
          state.memory_physical);
    }
    card_spec.group = state.group;
    card_spec.compute_milli = state.compute_total;
    card_spec.slots = state.slots;
    card_spec.numa = state.numa;
    card_spec.mode = state.mode;
    spec.cards.push_back(std::move(card_spec));
  }
  for (const auto& [index, uuid] : cold.uuids) {
    spec.cards[static_cast<std::size_t>(index)].uuid = uuid;
  }
  if (machine(node) != nullptr) spec.machine = machine(node)->type->text();
  spec.network = cold.network;
  spec.numa = cold.numa_spec;
  if (numa(node) != nullptr) {
    spec.numa_policy = numa(node)->policy;
    spec.numa_scope = numa(node)->scope;
  }
  return spec;
}

int ClusterState::HandedOutCards(NodeId node) const {
  int count = 0;
  for (int i = 0; i < hot_[node].cards; ++i) {
    count += card(node, i).serves ? 1 : 0;
  }
  return count;
}

std::string ClusterState::CardUuid(NodeId node, int card) const {
  for (const auto& [index, uuid] : cold_[node].uuids) {
    if (index == card) return uuid;
  }
  return fmt::format("{}/{}", cold_[node].name, card);
}

Result<std::uint16_t> ClusterState::InternMachine(const std::string& text,
                                                  const std::string& where) {
  const auto known = machine_ids_.find(text);
  if (known != machine_ids_.end()) return known->second;
  if (machines_.size() >= kNoMachine) return Fail(where, "more than 65,535 machine types");
  Result<topology::MachineGraph> graph = topology::ParseGraph(text);
  if (!graph) return Fail(where, "machine: " + graph.error().ToString());
  auto type = topology::MachineType::Make(std::move(*graph));
  if (!type) return Fail(where, "machine: " + type.error().ToString());
  const std::string canonical = (*type)->text();
  const auto same = machine_ids_.find(canonical);
  if (same != machine_ids_.end()) {  // the same machine, written another way
    machine_ids_.emplace(text, same->second);
    return same->second;
  }
  const auto id = static_cast<std::uint16_t>(machines_.size());
  machines_.push_back(Machine{*type, topology::PairScores((*type)->graph())});
  machine_ids_.emplace(canonical, id);
  machine_ids_.emplace(text, id);
  return id;
}

void ClusterState::AddNuma(NodeId node, const NodeSpec& spec) {
  const Machine* wired = machine(node);
  std::vector<int> nics;
  if (wired != nullptr) nics = wired->type->graph().Of(topology::VertexKind::kNic);
  if (nics.size() > static_cast<std::size_t>(kMaxNicsPerNode)) nics.resize(kMaxNicsPerNode);
  const bool policy = spec.numa_policy != topology::NumaPolicy::kNone;
  const int numa_nodes = cold_[node].numa_nodes;
  // Too many to align: nothing is pinned there, and ValidateNode refused a policy.
  if (numa_nodes > topology::kMaxNumaNodes) return;
  if (numa_nodes == 1 && !policy && nics.empty()) return;
  aligned_nodes_ += policy ? 1 : 0;
  NodeNuma numa;
  numa.policy = spec.numa_policy;
  numa.scope = spec.numa_scope;
  numa.nodes = numa_nodes;
  for (int i = 0; i < numa.nodes; ++i) {
    const auto n = static_cast<std::size_t>(i);
    topology::NumaAmounts& part = numa.installed[n];
    if (spec.numa.empty()) {  // what does not divide goes to the first
      part.cpu = static_cast<std::int32_t>(spec.cpu_milli / numa.nodes +
                                           (i < spec.cpu_milli % numa.nodes ? 1 : 0));
      part.memory = static_cast<std::int32_t>(spec.memory_mib / numa.nodes +
                                              (i < spec.memory_mib % numa.nodes ? 1 : 0));
    } else {
      part.cpu = spec.numa[n].cpu;
      part.memory = spec.numa[n].memory;
    }
    numa.cpu_free[n] = part.cpu;
    numa.memory_free[n] = part.memory;
  }
  for (int c = 0; c < hot_[node].cards; ++c) {
    const int at = numa.nodes == 1 ? 0 : card(node, c).numa;
    if (at < 0 || at >= numa.nodes) {
      numa.cards_known = false;
      continue;
    }
    numa.cards[static_cast<std::size_t>(at)].Add(c);
    ++numa.installed[static_cast<std::size_t>(at)].cards;
  }
  for (std::size_t i = 0; i < nics.size(); ++i) {
    // A NIC whose place is unknown counts on the first NUMA node.
    const int at = wired->type->graph().vertices[static_cast<std::size_t>(nics[i])].numa;
    const auto n = static_cast<std::size_t>(at < 0 || at >= numa.nodes ? 0 : at);
    numa.nics[n] |= std::uint32_t{1} << i;
    numa.nics_free |= std::uint32_t{1} << i;
    ++numa.installed[n].nics;
  }
  if (free_numa_.empty()) {
    numa_of_[node] = static_cast<std::uint32_t>(numa_.size());
    numa_.push_back(numa);
  } else {
    numa_of_[node] = free_numa_.back();
    free_numa_.pop_back();
    numa_[numa_of_[node]] = numa;
  }
}

ModelId ClusterState::InternModel(const std::string& name) {
  const ModelId known = FindModel(name);
  if (known.valid()) return known;
  model_totals_.push_back(ModelTotals{});
  rules_.push_back(nullptr);
  const ModelId model = models_.push_back(name);
  for (ShapeEntry& entry : shapes_) {
    entry.shape.serving.push_back(ModelServes(entry.shape, model) ? 1 : 0);
  }
  return model;
}

ModelId ClusterState::FindModel(std::string_view name) const {
  for (std::size_t i = 0; i < models_.size(); ++i) {
    if (models_[ModelId(i)] == name) return ModelId(i);
  }
  return {};
}

NodeClassId ClusterState::InternClass(NodeId node) {
  const NodeCold& cold = cold_[node];
  NodeClass node_class;
  for (int i = 0; i < hot_[node].cards; ++i) {
    const CardState& state = card(node, i);
    node_class.card_models.emplace_back(std::uint32_t{state.model});
    node_class.mixed |= state.model != card(node, 0).model;
    node_class.has_memory |= state.memory_total > 0;
  }
  node_class.taints = cold.taints;
  for (const LabelRequirement& label : cold.labels) {
    if (std::binary_search(used_label_keys_.begin(), used_label_keys_.end(), label.key)) {
      node_class.labels.push_back(label);
    }
  }
  SetCardFlags(node);
  const auto it = class_ids_.find(node_class);
  if (it != class_ids_.end()) return it->second;
  const NodeClassId id = classes_.push_back(node_class);
  class_ids_.emplace(std::move(node_class), id);
  for (ShapeEntry& entry : shapes_) {
    AddClassOk(entry, classes_[id]);
  }
  return id;
}

void ClusterState::AddClassOk(ShapeEntry& entry, const NodeClass& node_class) {
  const bool ok = ComputeClassOk(entry.shape, node_class);
  // Who is closed to marks is never tested by the class alone.
  entry.every_class_ok =
      (entry.class_ok.empty() || entry.every_class_ok) && ok && entry.closed == 0;
  entry.class_ok.push_back(ok ? 1 : 0);
}

void ClusterState::ReclassifyAll() {
  classes_.clear();
  class_ids_.clear();
  for (ShapeEntry& entry : shapes_) {
    entry.class_ok.clear();
    entry.every_class_ok = false;
  }
  for (std::size_t i = 0; i < hot_.size(); ++i) {
    if (cold_[NodeId(i)].exists) hot_[NodeId(i)].node_class = InternClass(NodeId(i)).value();
  }
  ++structure_version_;
}

bool ClusterState::ComputeClassOk(const Shape& shape, const NodeClass& node_class) const {
  const RequestSpec& spec = shape.spec;
  for (const LabelRequirement& need : spec.node_selector) {
    if (!std::binary_search(node_class.labels.begin(), node_class.labels.end(), need)) return false;
  }
  for (const std::string& taint : node_class.taints) {
    if (std::find(spec.tolerations.begin(), spec.tolerations.end(), taint) ==
        spec.tolerations.end()) {
      return false;
    }
  }
  if (shape.gpus == 0) return true;
  // A node without cards is no matter of models, unless some are asked for.
  if (node_class.card_models.empty()) return spec.models.empty() && spec.vendors.empty();
  return std::any_of(node_class.card_models.begin(), node_class.card_models.end(),
                     [&](ModelId m) { return shape.serving[m.index()] != 0; });
}

ShapeId ClusterState::InternShape(const RequestSpec& spec) {
  if (const auto it = shape_ids_.find(spec); it != shape_ids_.end()) return it->second;
  bool new_key = false;
  for (const LabelRequirement& need : spec.node_selector) {
    const auto at = std::lower_bound(used_label_keys_.begin(), used_label_keys_.end(), need.key);
    if (at == used_label_keys_.end() || *at != need.key) {
      used_label_keys_.insert(at, need.key);
      new_key = true;
    }
  }
  if (new_key) ReclassifyAll();
  ShapeEntry entry;
  Shape& s = entry.shape;
  s.spec = spec;
  s.cpu = static_cast<std::int32_t>(spec.cpu_milli);
  s.memory = static_cast<std::int32_t>(spec.memory_mib);
  s.gpus = spec.gpus;
  s.milli = spec.gpu_milli;
  s.card_memory = static_cast<std::int32_t>(spec.gpu_memory_mib);
  s.card_memory_percent = spec.gpu_memory_percent;
  s.whole = spec.gpus > 0 && spec.gpu_milli == kWholeCard;
  // A whole card means all of it: nobody else can use memory beside exclusive compute.
  if (s.whole) s.card_memory_percent = 100;
  s.asks_card_memory = s.card_memory > 0 || s.card_memory_percent > 0;
  s.nics = spec.nics;
  s.ask =
      CardAsk{s.milli, s.card_memory, s.card_memory_percent, spec.compute_units, s.whole, s.gpus};
  s.milli_sum = s.gpus * s.milli;
  std::int32_t least = kWholeCard;
  for (const ContainerSpec& c : spec.containers) {
    if (!c.asks_card()) continue;
    s.container_asks.resize(spec.containers.size(), CardAsk{.count = 0});
    CardAsk& ask = s.container_asks[static_cast<std::size_t>(&c - spec.containers.data())];
    const bool whole = c.gpu_milli == kWholeCard;
    ask = CardAsk{c.gpu_milli,
                  static_cast<std::int32_t>(c.gpu_memory_mib),
                  whole ? 100 : c.gpu_memory_percent,
                  c.compute_units,
                  whole,
                  c.gpus};
    s.milli_sum += c.gpus * c.gpu_milli;
    least = std::min(least, c.gpu_milli);
    s.milli = least;  // the least that any slice needs: what coarse tests may go by
    s.asks_card_memory = s.asks_card_memory || ask.memory > 0 || ask.percent > 0;
  }
  s.picks_uuids = !spec.use_uuids.empty() || !spec.nouse_uuids.empty();
  s.plain = s.card_memory == 0 && spec.compute_units == 0 && s.container_asks.empty() &&
            !s.picks_uuids && spec.mig_profile.empty() && !spec.passthrough;
  s.ratio_percent = spec.memory_ratio_percent;
  if (!spec.qos.empty() && spec.qos != kDefaultQos) {
    const auto at = std::find(qos_names_.begin(), qos_names_.end(), spec.qos);
    // More than 253 classes are one: nobody has so many, and a card's is a byte.
    s.qos = static_cast<std::uint8_t>(std::min<std::ptrdiff_t>(at - qos_names_.begin() + 1, 254));
    if (at == qos_names_.end()) qos_names_.push_back(spec.qos);
  }
  for (std::size_t m = 0; m < models_.size(); ++m) {
    s.serving.push_back(ModelServes(s, ModelId(m)) ? 1 : 0);
  }
  s.planned = spec.numa != topology::NumaPolicy::kNone || spec.nics > 0 ||
              spec.bandwidth_required || s.lists_slices();
  if (s.gpus == 0) {
    s.kind = kNoGpuKind;
  } else if (!s.whole && s.gpus == 1) {
    s.kind = kShareKind;
  } else {
    s.kind = std::min(s.gpus, kWorkloadKinds - 1);
  }
  for (const NodeClass& node_class : classes_) {
    AddClassOk(entry, node_class);
  }
  // Lanes as in FilterRow. Several cards of a fraction each are counted card by card.
  const std::int32_t level =
      s.gpus == 0 ? 0 : (s.whole ? kWholeCard * s.gpus : std::max(s.milli, 1));
  entry.need = FilterRow{s.cpu, s.memory, level, 0};
  entry.filter_decides = !s.planned && s.plain && (s.gpus == 0 || s.whole || s.gpus == 1);
  const ShapeId id = shapes_.push_back(std::move(entry));
  shape_ids_.emplace(spec, id);
  return id;
}

ShapeId ClusterState::Closed(ShapeId id, std::uint64_t marks) {
  if (marks == 0) return id;
  const auto [it, is_new] = closed_shapes_.try_emplace({id, marks}, ShapeId());
  if (!is_new) return it->second;
  ShapeEntry entry = shapes_[id];
  entry.closed = marks;
  entry.every_class_ok = false;
  return it->second = shapes_.push_back(std::move(entry));
}

void ClusterState::CollectFeasible(ShapeId id, std::vector<NodeId>* nodes) const {
  const ShapeEntry& entry = shapes_[id];
  const auto in_order = order();
  // Branch-free: each node is written, and the place moves on only when it fits.
  nodes->resize(in_order.size());
  NodeId* out = nodes->data();
  std::size_t count = 0;
  if (order_is_slots_ && entry.filter_decides && entry.every_class_ok && !any_complex_) {
    for (std::size_t i = 0; i < filter_.size(); ++i) {
      out[count] = NodeId(i);
      count += Below(filter_[NodeId(i)], entry.need) ? 0 : 1;
    }
  } else {
    for (const NodeId node : in_order) {
      out[count] = node;
      count += Fits(entry, node) ? 1 : 0;
    }
  }
  nodes->resize(count);
}

int ClusterState::CountFittingCards(const Shape& s, NodeId node) const {
  int count = 0;
  for (int i = 0; i < hot_[node].cards; ++i) count += CardFits(s, node, i) ? 1 : 0;
  return count;
}

CardSet ClusterState::FittingCards(const Shape& s, NodeId node) const {
  CardSet set;
  for (int i = 0; i < hot_[node].cards; ++i) {
    if (CardFits(s, node, i)) set.Add(i);
  }
  return set;
}

bool ClusterState::FitsCards(const Shape& shape, NodeId node) const {
  if (shape.gpus > 0) {
    const bool distinct = !shape.lists_slices() && !hot_[node].planned_cards;
    if (CountFittingCards(shape, node) < (distinct ? shape.gpus : 1)) return false;
  }
  if (!IsPlanned(shape, node)) return true;
  NodeDraft draft;
  draft.Load(*this, node);
  return draft.PlanCards(shape, CardRule::kFirst, 0).fits;
}

bool ClusterState::CanRecord(ShapeId id, NodeId node, CardSet cards, const NumaTake* taken) const {
  constexpr std::int64_t kFloor = -kMaxAmount;
  constexpr int kMostPods = 30'000;
  const Shape& s = shapes_[id].shape;
  const NodeHot& hot = hot_[node];
  if (hot.cpu_free - std::int64_t{s.cpu} < kFloor) return false;
  if (hot.memory_free - std::int64_t{s.memory} < kFloor) return false;
  if (pods_[node].pods >= kMostPods) return false;
  for (const int i : cards) {
    if (i >= hot.cards) return false;
  }
  const bool listed = taken != nullptr && !taken->slices.empty();
  if (!listed && s.lists_slices()) return false;  // then who knows what is where
  if (listed && taken->slices.size() > kMaxListedSlices) return false;
  CardSet named;
  bool sound = true;
  std::map<int, CardState> after;  // with the slices so far: together they may be too many
  ForEachSlice(s, node, cards, taken, [&](const SliceTake& slice) {
    sound = sound && slice.card >= 0 && slice.card < hot.cards && cards.Has(slice.card) &&
            slice.container >= 0 && std::cmp_less(slice.container, kMaxContainers);
    if (!sound) return;
    named.Add(slice.card);
    CardState& c = after.try_emplace(slice.card, card(node, slice.card)).first->second;
    sound = (listed ? SliceRecordable(c, slice) : c.mode != CardMode::kMig || !c.serves) &&
            c.memory_free - std::int64_t{slice.memory} >= kFloor &&
            c.guaranteed_free - std::int64_t{slice.memory} >= kFloor && c.slices < kMostPods &&
            c.free_milli - std::int64_t{slice.milli} >= kFloor;
    if (sound) ChargeSlice(c, slice, s, +1);
  });
  if (!sound || named != cards) return false;
  if (taken == nullptr) return true;
  if (taken->cpu == NumaTake{}.cpu && taken->memory == NumaTake{}.memory && taken->nics == 0) {
    return true;
  }
  const NodeNuma* part = numa(node);
  if (part == nullptr) return false;
  std::uint32_t nics = 0;
  for (const std::uint32_t on_numa : part->nics) nics |= on_numa;
  if ((taken->nics & ~nics) != 0) return false;
  for (std::size_t n = 0; n < taken->cpu.size(); ++n) {
    const std::int32_t cpu = taken->cpu[n];
    const std::int32_t memory = taken->memory[n];
    if (cpu < 0 || memory < 0 || cpu > s.cpu || memory > s.memory) return false;
    if (std::cmp_greater_equal(n, part->nodes) && (cpu != 0 || memory != 0)) return false;
    if (part->cpu_free[n] - std::int64_t{cpu} < kFloor) return false;
    if (part->memory_free[n] - std::int64_t{memory} < kFloor) return false;
  }
  return true;
}

bool ClusterState::FitsEmpty(ShapeId id, NodeId node) const {
  const Shape& s = shapes_[id].shape;
  const NodeCapacity& cap = capacity_[node];
  if (cap.cpu < s.cpu || cap.memory < s.memory || cap.pods < 1) return false;
  if (shapes_[id].class_ok[hot_[node].node_class] == 0) return false;
  int fitting = 0;
  for (int i = 0; i < hot_[node].cards; ++i) {
    fitting += CardFits(s, EmptyCard(s, card(node, i)), node, i) ? 1 : 0;
  }
  const bool distinct = !s.lists_slices() && !hot_[node].planned_cards;
  if (fitting < (distinct ? s.gpus : std::min(s.gpus, 1))) return false;
  if (!IsPlanned(s, node)) return true;
  NodeDraft draft;
  draft.LoadEmpty(*this, node, s);
  const CardPlan plan = draft.PlanCards(s, CardRule::kFirst, 0);
  return plan.fits || plan.exhausted;  // what was not searched to its end may exist
}

void ClusterState::RebuildOrder() const {
  order_.clear();
  for (std::size_t i = 0; i < hot_.size(); ++i) {
    if (cold_[NodeId(i)].exists) order_.emplace_back(i);
  }
  std::sort(order_.begin(), order_.end(), [this](NodeId a, NodeId b) {
    const NodeCold& x = cold_[a];
    const NodeCold& y = cold_[b];
    return x.rank != y.rank ? x.rank < y.rank : x.name < y.name;
  });
  position_.assign(hot_.size(), 0);
  for (std::size_t p = 0; p < order_.size(); ++p) {
    position_[order_[p].index()] = static_cast<std::uint32_t>(p);
  }
  order_is_slots_ = order_.size() == hot_.size() && std::is_sorted(order_.begin(), order_.end());
  order_stale_ = false;
}

void ClusterState::ContributeTotals(NodeId node, int sign) {
  const NodeHot& hot = hot_[node];
  if (!hot.schedulable) return;
  totals_.nodes += sign;
  totals_.cpu_capacity += sign * std::int64_t{capacity_[node].cpu};
  totals_.cpu_free += sign * std::int64_t{hot.cpu_free};
  totals_.gpu_usable += sign * std::int64_t{hot.gpu_free};
  for (int i = 0; i < hot.cards; ++i) {
    const CardState& state = card(node, i);
    if (!CountsInTotals(state)) continue;
    totals_.cards += sign;
    totals_.gpu_capacity += sign * std::int64_t{state.compute_total};
    totals_.gpu_free += sign * std::int64_t{state.free_milli};
    totals_.idle_cards += sign * (state.slices == 0 ? 1 : 0);
    ModelTotals& model = model_totals_[ModelId(std::uint32_t{state.model})];
    model.cards += sign;
    model.gpu_capacity += sign * std::int64_t{state.compute_total};
    model.gpu_free += sign * std::int64_t{state.free_milli};
  }
  totals_.idle_nodes += sign * (hot.cards > 0 && pods_[node].pods == 0 ? 1 : 0);
}

void ClusterState::RefreshNode(NodeId node) {
  NodeHot& hot = hot_[node];
  std::int32_t sum = 0;
  std::int16_t largest = 0;
  std::int16_t full = 0;
  for (std::uint32_t i = hot.first_card; i < hot.first_card + static_cast<std::uint32_t>(hot.cards);
       ++i) {
    const std::int16_t free = UsableMilli(cards_[i]);
    card_free_[i] = free;
    sum += free;
    largest = std::max(largest, free);
    full = static_cast<std::int16_t>(full + (free >= kWholeCard ? 1 : 0));
  }
  if (hot.schedulable) totals_.gpu_usable += sum - hot.gpu_free;
  hot.gpu_free = sum;
  hot.max_card_free = largest;
  hot.full_cards = full;
  // A complex node's cards are looked at one by one, so any level passes here.
  const std::int32_t level = hot.complex ? std::numeric_limits<std::int32_t>::max()
                             : full > 0  ? std::int32_t{full} * kWholeCard
                                         : std::int32_t{largest};
  const bool takes_pods = hot.schedulable && hot.pods_free > 0;
  const auto stamp = static_cast<std::int32_t>((change_count_ & kStampMask) * 2);
  filter_[node] = FilterRow{takes_pods ? hot.cpu_free : -1, hot.memory_free, level,
                            stamp | (hot.complex ? 1 : 0)};
  change_ring_[change_count_ & (change_ring_.size() - 1)] = node;
  ++change_count_;
  kept_changes_ += KeptChange(node);
}

void ClusterState::Apply(NodeId node, const Shape& shape, CardSet cards, int sign,
                         const NumaTake* pinned) {
  NodeHot& hot = hot_[node];
  NodePods& on_node = pods_[node];
  const bool counted = hot.schedulable;
  const bool was_idle = on_node.pods == 0;
  hot.cpu_free -= sign * shape.cpu;
  hot.memory_free -= sign * shape.memory;
  if (!on_node.unlimited) hot.pods_free -= sign;
  on_node.pods += sign;
  if (shape.kind != kNoGpuKind) {
    std::uint16_t& count = on_node.kind_count[shape.kind];
    if (sign > 0 && count == 0) ++on_node.distinct_kinds;
    count = static_cast<std::uint16_t>(count + sign);
    if (sign < 0 && count == 0) --on_node.distinct_kinds;
  }
  if (counted) {
    totals_.cpu_free -= sign * std::int64_t{shape.cpu};
    if (hot.cards > 0) totals_.idle_nodes += (on_node.pods == 0 ? 1 : 0) - (was_idle ? 1 : 0);
  }
  ForEachSlice(shape, node, cards, pinned, [&](const SliceTake& slice) {
    CardState& state = cards_[hot.first_card + static_cast<std::uint32_t>(slice.card)];
    const bool card_was_idle = state.slices == 0;
    ChargeSlice(state, slice, shape, sign);
    CountQos(hot.first_card + static_cast<std::uint32_t>(slice.card), shape, sign);
    if (counted && CountsInTotals(state)) {
      totals_.gpu_free -= sign * std::int64_t{slice.milli};
      model_totals_[ModelId(std::uint32_t{state.model})].gpu_free -=
          sign * std::int64_t{slice.milli};
      totals_.idle_cards += (state.slices == 0 ? 1 : 0) - (card_was_idle ? 1 : 0);
    }
  });
  if (pinned != nullptr && numa_of_[node] != kNoNuma) {
    NodeNuma& numa = numa_[numa_of_[node]];
    for (std::size_t i = 0; i < pinned->cpu.size(); ++i) {
      numa.cpu_free[i] -= sign * pinned->cpu[i];
      numa.memory_free[i] -= sign * pinned->memory[i];
    }
    for (std::uint32_t left = pinned->nics; left != 0; left &= left - 1) {
      const auto nic = static_cast<std::size_t>(std::countr_zero(left));
      numa.nic_pods[nic] = static_cast<std::uint16_t>(numa.nic_pods[nic] + sign);
      const std::uint32_t bit = std::uint32_t{1} << nic;
      numa.nics_free = numa.nic_pods[nic] == 0 ? numa.nics_free | bit : numa.nics_free & ~bit;
    }
  }
  RefreshNode(node);
}

Digest128 ClusterState::ComputeDigest() const {
  Digest128 sum;
  for (std::size_t i = 0; i < hot_.size(); ++i) {
    const NodeId node{i};
    const NodeCold& cold = cold_[node];
    if (!cold.exists) continue;
    Digest d;
    d.Add(cold.name_digest);
    d.Add(cold.rank);
    for (const std::int32_t v :
         {capacity_[node].cpu, capacity_[node].memory, capacity_[node].pods, hot_[node].cpu_free,
          hot_[node].memory_free, hot_[node].pods_free, pods_[node].pods, cold.cordoned ? 1 : 0}) {
      d.Add(v);
    }
    for (int c = 0; c < hot_[node].cards; ++c) {
      const CardState& s = card(node, c);
      d.Add(models_[ModelId(std::uint32_t{s.model})]);
      for (const std::int32_t v :
           {s.free_milli, s.memory_free, s.memory_total, std::int32_t{s.compute_total},
            std::int32_t{s.slices}, std::int32_t{s.slots}, s.healthy ? 1 : 0,
            static_cast<std::int32_t>(s.mode)}) {
        d.Add(v);
      }
      // What most cards do not have is left out, so that digests stay what they were.
      if (s.memory_total != s.memory_physical || s.cordoned || s.mig != 0) {
        d.Add(s.memory_physical);
        d.Add(s.guaranteed_free);
        d.Add(s.cordoned ? 1 : 0);
        d.Add(s.mig);
      }
    }
    if (const Machine* wired = machine(node); wired != nullptr) d.Add(wired->type->text());
    for (const topology::DomainStep& step : cold.network) {
      d.Add(step.tier);
      d.Add(step.name);
    }
    if (const NodeNuma* part = numa(node); part != nullptr) {
      d.Add(static_cast<std::uint64_t>(part->policy));
      d.Add(static_cast<std::uint64_t>(part->scope));
      d.Add(std::uint64_t{part->nics_free});
      for (std::size_t n = 0; std::cmp_less(n, part->nodes); ++n) {
        d.Add(part->cpu_free[n]);
        d.Add(part->memory_free[n]);
      }
    }
    const Digest128 v = d.value();
    sum.hi += v.hi;
    sum.lo += v.lo;
  }
  return sum;
}

}  // namespace basalt
