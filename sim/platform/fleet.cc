// Clusters, nodes and cards: how they come, fail, are worked on, and what they cost.
#include <fmt/format.h>

#include <algorithm>

#include "scheduler-core/base/check.h"
#include "sim/platform/world.h"

namespace basalt::sim::platform {
namespace {

bool OnDemand(const Group& group) { return group.spec->price.billing == Billing::kOnDemand; }

double HourlyPrice(const PriceSpec& price) {
  return price.billing == Billing::kSubscription ? price.card_month / kHoursPerMonth
                                                 : price.card_hour;
}

}  // namespace

NodeSpec NodeSpecOf(const NodeGroupSpec& spec, const std::string& name) {
  NodeSpec node;
  node.name = name;
  node.cpu_milli = spec.cpu_milli * spec.cpu_ratio_percent / 100;
  node.memory_mib = spec.memory_mib * spec.host_memory_ratio_percent / 100;
  node.labels = spec.labels;
  node.taints = spec.taints;
  node.machine = spec.machine;
  CardSpec card;
  card.model = spec.model;
  card.memory_mib = spec.card_memory_mib;
  card.compute_milli = kWholeCard * spec.compute_ratio_percent / 100;
  card.slots = spec.slots;
  card.mode = spec.mode;
  card.memory_ratio_percent = spec.memory_ratio_percent;
  node.cards.assign(static_cast<std::size_t>(spec.cards), card);
  return node;
}

Status World::Apply(Cluster& cluster, const Event& event) {
  return cluster.engine->Apply(event, SimTime{now_});
}

Status World::SetUpClusters() {
  if (spec_.clusters.empty()) return Fail(spec_.name, "has no clusters");
  const Result<ConfiguredPolicy> policy = registry_.Configure(spec_.scheduling.policy);
  if (!policy) return tl::unexpected<Error>(policy.error());
  clusters_.resize(spec_.clusters.size());
  for (Index c = 0; c < clusters_.size(); ++c) {
    Cluster& cluster = clusters_[c];
    cluster.spec = &spec_.clusters[c];
    if (!cluster_ids_.emplace(cluster.spec->name, c).second) {
      return Fail("cluster " + cluster.spec->name, "is there twice");
    }
    EngineOptions options;
    options.seed = spec_.seed;
    options.audit_every = audit_every_;
    options.usage_half_life_us = spec_.scheduling.usage_half_life_us;
    Result<std::unique_ptr<Engine>> engine = Engine::Create(*policy, std::move(options));
    if (!engine) return tl::unexpected<Error>(engine.error());
    cluster.engine = std::move(*engine);
    for (const CardRules& rules : spec_.card_rules) {
      if (Status ok = Apply(cluster, CardRulesSet{rules}); !ok) return ok;
    }
    cluster.scheduler = std::make_unique<JobScheduler>(*cluster.engine, spec_.scheduling.options);
    if (Status ok = SetUpQueues(c); !ok) return ok;
    for (const NodeGroupSpec& spec : cluster.spec->groups) {
      Group group;
      group.spec = &spec;
      group.cluster = c;
      groups_.push_back(group);
    }
  }
  for (Index g = 0; g < groups_.size(); ++g) {
    if (Status ok = AddNodes(g); !ok) return ok;
  }
  return {};
}

Status World::SetUpQueues(Index c) {
  Cluster& cluster = clusters_[c];
  std::vector<QueueSpec> left = cluster.spec->queues.empty() ? spec_.queues : cluster.spec->queues;
  // Parents first; a parent that is not there is the engine's to refuse.
  while (!left.empty()) {
    const auto next = std::find_if(left.begin(), left.end(), [&](const QueueSpec& queue) {
      return std::none_of(left.begin(), left.end(), [&](const QueueSpec& other) {
        return other.name == queue.parent && &other != &queue;
      });
    });
    const auto take = next == left.end() ? left.begin() : next;
    if (Status ok = Apply(cluster, QueueSet{*take}); !ok) return ok;
    left.erase(take);
  }
  return {};
}

// Makes the nodes of the group; those that come later are not yet known to the engine.
Status World::AddNodes(Index g) {
  Group& group = groups_[g];
  const NodeGroupSpec& spec = *group.spec;
  const std::string where =
      fmt::format("cluster {}, group {}", clusters_[group.cluster].spec->name, spec.name);
  if (spec.count < 0 || spec.cards < 0 || spec.cards > 64) {
    return Fail(where, "needs a number of nodes, and 0 to 64 cards in each");
  }
  if (spec.speed_milli <= 0) return Fail(where, "speed must be positive");
  for (Index other = 0; other < g; ++other) {
    if (groups_[other].cluster == group.cluster && groups_[other].spec->name == spec.name) {
      return Fail(where, "is there twice");
    }
  }
  if (Status ok = ValidateNode(NodeSpecOf(spec, spec.name + "-0"), where); !ok) return ok;
  group.first_node = static_cast<Index>(nodes_.size());
  for (std::int32_t n = 0; n < spec.count; ++n) {
    Node node;
    node.name = fmt::format("{}-{}", spec.name, n);
    node.cluster = group.cluster;
    node.group = g;
    node.first_card = static_cast<Index>(cards_.size());
    node.failures = StreamFor(spec_.seed, node.name, "failures", group.cluster);
    for (std::int32_t c = 0; c < spec.cards; ++c) {
      Card card;
      card.node = static_cast<Index>(nodes_.size());
      card.number = c;
      card.passthrough = spec.mode == CardMode::kPassthrough;
      cards_.push_back(std::move(card));
    }
    nodes_.push_back(std::move(node));
  }
  const std::int64_t at = spec.ordered_us + spec.lead_time_us;
  if (at > 0) {
    clusters_[group.cluster].more_nodes_come |= at < spec_.horizon_us;
    events_.Add(at, EventKind::kNodesCome, g);
  } else {
    NodesCome(g);
  }
  return {};
}

void World::NodesCome(Index g) {
  Group& group = groups_[g];
  const NodeGroupSpec& spec = *group.spec;
  Cluster& cluster = clusters_[group.cluster];
  for (std::int32_t n = 0; n < spec.count; ++n) {
    const Index index = group.first_node + static_cast<Index>(n);
    Node& node = nodes_[index];
    const Status ok = Apply(cluster, NodeAdded{NodeSpecOf(spec, node.name)});
    BASALT_CHECK(ok.has_value());
    node.id = cluster.engine->state().FindNode(node.name);
    if (cluster.node_of.size() <= node.id.index()) {
      cluster.node_of.resize(node.id.index() + 1, kNone);
    }
    cluster.node_of[node.id.index()] = index;
    if (spec.mtbf_us > 0) {
      const double next = DrawExponential(node.failures, static_cast<double>(spec.mtbf_us));
      events_.Add(now_ + static_cast<std::int64_t>(next), EventKind::kNodeFailed, index);
    }
  }
  BookGroup(group);
  group.present = true;
  const std::int64_t cards = std::int64_t{spec.count} * spec.cards;
  (spec.mode == CardMode::kPassthrough ? passthrough_ : shared_) += cards;
  if (!OnDemand(group)) {
    capacity_ += cards;
    cost_rate_ += static_cast<double>(cards) * HourlyPrice(spec.price);
  }
  cluster.more_nodes_come = false;
  for (const Group& other : groups_) {
    if (other.cluster == group.cluster && !other.present) cluster.more_nodes_come = true;
  }
  ++cluster.freed;
  Unpark(group.cluster);
  WantPass(group.cluster);
}

// The group's capacity until now: all its cards, or those that are rented.
void World::BookGroup(Group& group) {
  const auto dt = static_cast<double>(now_ - group.booked_at);
  group.booked_at = now_;
  if (!group.present) return;
  const std::int64_t cards = !OnDemand(group) ? std::int64_t{group.spec->count} * group.spec->cards
                             : group.spec->price.whole_nodes
                                 ? group.touched_nodes * group.spec->cards
                                 : group.touched_cards;
  group.peak = std::max(group.peak, cards);
  group.paid_us += static_cast<double>(cards) * dt;
}

// The card got its first slice, or lost its last.
void World::TouchedCards(Index c, int change) {
  Node& node = nodes_[cards_[c].node];
  Group& group = groups_[node.group];
  BookGroup(group);
  const bool first = node.touched_cards == 0;
  node.touched_cards += change;
  const int node_change = first ? 1 : node.touched_cards == 0 ? -1 : 0;
  group.touched_cards += change;
  group.touched_nodes += node_change;
  touched_ += change;
  if (!OnDemand(group)) return;
  const int rented = group.spec->price.whole_nodes ? node_change * group.spec->cards : change;
  capacity_ += rented;
  cost_rate_ += rented * HourlyPrice(group.spec->price);
}

// --- what happens to nodes ---

void World::Cordon(Index n, int change) {
  Node& node = nodes_[n];
  node.cordons += change;
  const bool cordoned = node.cordons > 0;
  if (cordoned == (node.cordons - change > 0)) return;
  BASALT_CHECK(Apply(clusters_[node.cluster], NodeCordoned{node.name, cordoned}).has_value());
  if (cordoned) return;
  ++clusters_[node.cluster].freed;
  WantPass(node.cluster);
}

void World::NodeFails(Index n) {
  Node& node = nodes_[n];
  const NodeGroupSpec& spec = *groups_[node.group].spec;
  node.down = true;
  node.down_since = now_;
  Cordon(n, 1);
  std::vector<Index> units = node.units;
  for (const Index unit : units) {
    if (!units_[unit].places.empty()) EndPlacement(unit, Leave::kFailed);
  }
  events_.Add(now_ + std::max<std::int64_t>(1, Draw(spec.repair, node.failures)),
              EventKind::kNodeBack, n);
}

void World::NodeBack(Index n) {
  Node& node = nodes_[n];
  const NodeGroupSpec& spec = *groups_[node.group].spec;
  down_us_ += static_cast<double>(now_ - std::max(node.down_since, measured_from_)) * spec.cards;
  node.down = false;
  Cordon(n, -1);
  const double next = DrawExponential(node.failures, static_cast<double>(spec.mtbf_us));
  events_.Add(now_ + static_cast<std::int64_t>(next), EventKind::kNodeFailed, n);
}

void World::ForMaintained(Index at, const std::function<void(Index)>& fn) {
  const MaintenanceSpec& work = spec_.maintenance[at];
  for (const Group& group : groups_) {
    if (clusters_[group.cluster].spec->name != work.cluster || group.spec->name != work.group) {
      continue;
    }
    if (!group.present) continue;
    const std::int32_t end = std::min(work.first + work.count, group.spec->count);
    for (std::int32_t n = work.first; n < end; ++n) fn(group.first_node + static_cast<Index>(n));
  }
}

void World::MaintenanceBegins(Index at) {
  const MaintenanceSpec& work = spec_.maintenance[at];
  ForMaintained(at, [&](Index node) { Cordon(node, 1); });
  events_.Add(now_ + work.grace_us, EventKind::kMaintenanceEvict, at);
  events_.Add(now_ + work.grace_us + work.length_us, EventKind::kMaintenanceOver, at);
}

void World::MaintenanceEvicts(Index at) {
  ForMaintained(at, [&](Index node) {
    const std::vector<Index> units = nodes_[node].units;
    for (const Index unit : units) {
      if (!units_[unit].places.empty()) EndPlacement(unit, Leave::kEvicted);
    }
  });
}

void World::MaintenanceEnds(Index at) {
  ForMaintained(at, [&](Index node) { Cordon(node, -1); });
}

}  // namespace basalt::sim::platform
