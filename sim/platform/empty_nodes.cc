#include "sim/platform/empty_nodes.h"

#include <fmt/format.h>

#include <algorithm>

#include "sim/platform/world.h"

namespace basalt::sim {
namespace {

// MiB that a slice of the shape has on a card of the node; what shares a card without an amount of
// its own may use all of it.
MiB SliceMemory(const ClusterState& state, const Shape& shape, NodeId node,
                const NodeGroupSpec& group) {
  SliceTake take;
  if (!state.SliceOf(shape, shape.ask, state.EmptyCard(shape, state.card(node, 0)), &take)) {
    return group.card_memory_mib;
  }
  if (take.memory == 0 || take.whole) return group.card_memory_mib;
  return take.memory;
}

}  // namespace

Result<EmptyNodes> EmptyNodes::Create(const PlatformSpec& spec, const Registry& registry) {
  const Result<ConfiguredPolicy> policy = registry.Configure(spec.scheduling.policy);
  if (!policy) return tl::unexpected<Error>(policy.error());
  EmptyNodes out;
  out.pools_ = &spec.pools;
  for (const ClusterSpec& from : spec.clusters) {
    Cluster cluster;
    cluster.spec = &from;
    Result<std::unique_ptr<Engine>> engine = Engine::Create(*policy, EngineOptions{});
    if (!engine) return tl::unexpected<Error>(engine.error());
    cluster.engine = std::move(*engine);
    const auto apply = [&](const Event& event) { return cluster.engine->Apply(event, SimTime{0}); };
    for (const CardRules& rules : spec.card_rules) {
      if (Status ok = apply(CardRulesSet{rules}); !ok) return tl::unexpected<Error>(ok.error());
    }
    for (const NodeGroupSpec& group : from.groups) {
      if (group.count == 0) continue;
      if (Status ok = apply(NodeAdded{platform::NodeSpecOf(group, group.name)}); !ok) {
        return tl::unexpected<Error>(ok.error());
      }
      cluster.nodes.emplace_back(cluster.engine->state().FindNode(group.name), &group);
    }
    out.clusters_.push_back(std::move(cluster));
  }
  return out;
}

bool EmptyNodes::Moves(const Cluster& cluster, const NodeGroupSpec& group) const {
  if (!pools_->dynamic) return false;
  const auto& moving = pools_->groups;
  return moving.empty() || std::find(moving.begin(), moving.end(),
                                     std::pair(cluster.spec->name, group.name)) != moving.end();
}

std::string EmptyNodes::WhyNever(const RequestSpec& request, MiB working_set_mib,
                                 const std::vector<PlaceSpec>& places) {
  std::string why;
  const auto say = [&why](std::string reason) {
    if (why.empty()) why = std::move(reason);
  };
  for (Cluster& cluster : clusters_) {
    const auto here = [&](const PlaceSpec& place) { return place.cluster == cluster.spec->name; };
    if (!places.empty() && std::none_of(places.begin(), places.end(), here)) continue;
    const Result<ShapeId> id = cluster.engine->InternShape(request);
    if (!id) return id.error().message;
    const ClusterState& state = cluster.engine->state();
    bool other_pool = false, fits = false;
    for (const auto& [node, group] : cluster.nodes) {
      if (!state.FitsEmpty(*id, node)) continue;
      const Shape& shape = state.shape(*id);
      if (request.gpus == 0) return {};
      if (!Moves(cluster, *group) &&
          request.passthrough != (group->mode == CardMode::kPassthrough)) {
        other_pool = true;
        continue;
      }
      fits = true;
      const MiB has = SliceMemory(state, shape, node, *group);
      if (working_set_mib <= has || has == 0) return {};
      say(fmt::format("its working set of {} MiB is more than the {} MiB that it has on {}",
                      working_set_mib, has, group->model));
    }
    if (fits) continue;
    if (other_pool) {
      say(fmt::format("cluster {} has no {} cards that would do, and its pools do not move",
                      cluster.spec->name, request.passthrough ? "passthrough" : "shared"));
      continue;
    }
    Request pod;
    pod.uid = PodUid{1, 0};
    pod.shape = *id;
    say(fmt::format("cluster {}, one node of each group, empty: {}", cluster.spec->name,
                    cluster.engine->Explain(pod).text));
  }
  return why.empty() ? "its places have no nodes" : why;
}

}  // namespace basalt::sim
