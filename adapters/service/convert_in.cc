// What calls ask, in the engine's terms: names become ids, UIDs numbers, asks shapes.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "adapters/service/service.h"
#include "adapters/service/uid.h"

namespace basalt::service {
namespace {

Result<Standing> ReadStanding(const pb::Standing& in) {
  if (in.min_runtime_us() < 0 || in.restart_us() < 0) {
    return Fail("standing", "a time is negative");
  }
  Standing out;
  out.queue = in.queue();
  out.priority = in.priority();
  out.preemptible = !in.not_preemptible();
  out.min_runtime_us = in.min_runtime_us();
  out.restart_us = in.restart_us();
  out.budget = in.budget();
  return out;
}

Code CodeOf(const Error& error) {
  if (error.where == AskBook::kStale) return Code::kPrecondition;
  if (error.where == AskBook::kFull) return Code::kExhausted;
  return Code::kInvalid;
}

}  // namespace

Result<std::shared_ptr<const NodeChoice>> Service::ReadChoice(
    const pb::Constraints& constraints) const {
  if (constraints.excluded_nodes_size() > kMaxNodesNamed ||
      constraints.only_nodes_size() > kMaxNodesNamed) {
    return Fail("constraints", fmt::format("more than {} nodes", kMaxNodesNamed));
  }
  NodeChoice choice;
  for (const std::string& name : constraints.excluded_nodes()) {
    const NodeId node = engine_->state().FindNode(name);
    if (node.valid()) choice.excluded.push_back(node);
  }
  // A node that is not here is none that may be used, but the list is not empty for that.
  for (const std::string& name : constraints.only_nodes()) {
    choice.only.push_back(engine_->state().FindNode(name));
  }
  if (choice.empty()) return std::shared_ptr<const NodeChoice>();
  return std::make_shared<const NodeChoice>(std::move(choice));
}

Result<LevelWish> Service::ReadLevel(const pb::LevelWish& wish, const std::string& where) const {
  LevelWish out;
  const auto by_name = [&](const std::string& name, int* tier) -> Status {
    if (name.empty()) return {};
    for (const auto* names : {&config_.tier_names, &config_.tier_labels}) {
      for (const auto& [number, known] : *names) {
        if (known == name) {
          *tier = number;
          return {};
        }
      }
    }
    return Fail(where, "the cluster has no network tier \"" + name +
                           "\"; give one this name or label in the server's tiers");
  };
  if (wish.has_preferred()) out.preferred = wish.preferred();
  if (wish.has_required()) out.required = wish.required();
  if (Status ok = by_name(wish.preferred_name(), &out.preferred); !ok) {
    return tl::unexpected<Error>(ok.error());
  }
  if (Status ok = by_name(wish.required_name(), &out.required); !ok) {
    return tl::unexpected<Error>(ok.error());
  }
  return out;
}

Result<Service::PodAsk> Service::ReadPod(const Caller& caller, const pb::PodRequest& pod,
                                         Code* code, bool decides) {
  *code = Code::kInvalid;
  PodAsk out;
  out.key = pod.pod();
  const Result<PodUid> uid = ParseUid(pod.pod().uid());
  if (!uid) return tl::unexpected<Error>(uid.error());
  Result<Standing> standing = ReadStanding(pod.standing());
  if (!standing) return tl::unexpected<Error>(standing.error());
  const Result<const Entry*> entry = asks_.Read(*engine_, pod.ask(), &standing->sku);
  if (!entry) {
    *code = CodeOf(entry.error());
    return tl::unexpected<Error>(entry.error());
  }
  const Status may = decides ? access_.MayDecide(caller, *standing, engine_->queues())
                             : access_.MayAsk(caller, *standing, engine_->queues());
  if (!may) {
    *code = Code::kDenied;
    return tl::unexpected<Error>(may.error());
  }
  const auto choice = ReadChoice(pod.constraints());
  if (!choice) return tl::unexpected<Error>(choice.error());
  out.entry = *entry;
  out.request = Request{
      *uid, pod.pod().attempt(), (*entry)->shape, JobOf(pod.job()), std::move(*standing), *choice};
  return out;
}

Result<Service::GangAsk> Service::ReadGang(const Caller& caller, const pb::GangRequest& gang,
                                           Code* code) {
  *code = Code::kInvalid;
  GangAsk out;
  out.key = gang.gang();
  GangRequest& request = out.request;
  const Result<PodUid> uid = ParseUid(gang.gang().uid());
  if (!uid) return tl::unexpected<Error>(uid.error());
  request.uid = *uid;
  request.attempt = gang.gang().attempt();
  request.job = JobOf(gang.job());
  Result<Standing> standing = ReadStanding(gang.standing());
  if (!standing) return tl::unexpected<Error>(standing.error());
  const Result<LevelWish> level = ReadLevel(gang.level(), "gang.level");
  if (!level) return tl::unexpected<Error>(level.error());
  request.spec.level = *level;
  if (gang.layout() < 0 || gang.layout() > pb::GANG_LAYOUT_SPREAD) {
    return Fail("gang.layout", "is unknown");
  }
  request.spec.layout = static_cast<GangLayout>(gang.layout());
  for (const pb::GangGroup& group : gang.groups()) {
    const Result<LevelWish> of_group = ReadLevel(group.level(), "group " + group.name());
    if (!of_group) return tl::unexpected<Error>(of_group.error());
    request.spec.groups.push_back(GangGroup{group.name(), *of_group});
  }
  bool some_choice = false;
  for (const pb::GangTask& task : gang.tasks()) {
    const std::string where = "task " + task.name();
    std::string sku;
    const Result<const Entry*> entry = asks_.Read(*engine_, task.ask(), &sku);
    if (!entry) {
      *code = CodeOf(entry.error());
      return tl::unexpected<Error>(entry.error());
    }
    if (&task == &gang.tasks(0)) standing->sku = sku;
    if (sku != standing->sku) return Fail(where, "all tasks of a gang are of one SKU, or of none");
    if (task.members_size() > kMaxGangMembers || task.group() < 0 ||
        task.group() > gang.groups_size()) {
      return Fail(where, "has too many members, or a group that is not there");
    }
    out.entries.push_back(*entry);
    request.spec.tasks.push_back(GangTask{task.name(), (*entry)->shape, task.min(),
                                          static_cast<std::int32_t>(task.members_size()),
                                          task.group() - 1});
    for (const pb::PodKey& member : task.members()) {
      const Result<PodUid> pod = ParseUid(member.uid());
      if (!pod) return tl::unexpected<Error>(pod.error());
      request.members.push_back(*pod);
      out.members.push_back(member);
    }
    const auto choice = ReadChoice(task.constraints());
    if (!choice) return tl::unexpected<Error>(choice.error());
    some_choice = some_choice || *choice != nullptr;
    request.task_nodes.push_back(*choice);
  }
  if (!some_choice) request.task_nodes.clear();
  const auto choice = ReadChoice(gang.constraints());
  if (!choice) return tl::unexpected<Error>(choice.error());
  request.nodes = *choice;
  request.standing = std::move(*standing);
  if (Status may = access_.MayDecide(caller, request.standing, engine_->queues()); !may) {
    *code = Code::kDenied;
    return tl::unexpected<Error>(may.error());
  }
  return out;
}

Result<Placement> Service::ReadPlace(const pb::Place& place) const {
  const ClusterState& state = engine_->state();
  const NodeId node = state.FindNode(place.node());
  if (!node.valid()) return Fail("node " + place.node(), "is not in the cluster");
  Placement out{node, CardSet(place.cards()), 0, place.node_generation(), nullptr};
  const int cards = state.hot(node).cards;
  if (cards < kMaxCardsPerNode && (out.cards.bits() >> cards) != 0) {
    return Fail("node " + place.node(), fmt::format("has {} cards, not that many", cards));
  }
  if (!place.has_pinned() && place.slices().empty()) return out;
  const Result<NumaTake> numa = ReadTake(place.slices(), place.pinned(), node);
  if (!numa) return tl::unexpected<Error>(numa.error());
  out.numa = std::make_shared<const NumaTake>(*numa);
  return out;
}

Result<NumaTake> Service::ReadTake(const google::protobuf::RepeatedPtrField<pb::Slice>& slices,
                                   const pb::Pinned& pinned, NodeId node) const {
  const ClusterState& state = engine_->state();
  const std::string where = "node " + state.name(node);
  if (std::cmp_greater(slices.size(), kMaxListedSlices) ||
      pinned.by_node_size() > topology::kMaxNumaNodes || pinned.numa_nodes() > 0xFF) {
    return Fail(where, "more slices or NUMA nodes than a node may have");
  }
  NumaTake take;
  for (const pb::Slice& slice : slices) {
    if (slice.card() < 0 || slice.card() >= state.hot(node).cards || slice.container() < 0 ||
        std::cmp_greater_equal(slice.container(), kMaxContainers) || slice.milli() < 0 ||
        slice.milli() > 10 * kWholeCard || slice.memory_mib() < 0 || slice.mig_profile() < -1 ||
        slice.mig_profile() > 127 || slice.mig_start() < -1 || slice.mig_start() > 127) {
      return Fail(where, "a slice of a card that it does not have");
    }
    take.slices.push_back(SliceTake{
        static_cast<std::int8_t>(slice.card()), static_cast<std::int8_t>(slice.container()),
        static_cast<std::int8_t>(slice.mig_profile()), static_cast<std::int8_t>(slice.mig_start()),
        static_cast<std::int16_t>(slice.milli()), slice.memory_mib(), slice.whole()});
  }
  take.nodes = static_cast<topology::NumaSet>(pinned.numa_nodes());
  take.nics = pinned.nics();
  for (int i = 0; i < pinned.by_node_size(); ++i) {
    take.cpu[static_cast<std::size_t>(i)] = pinned.by_node(i).cpu_milli();
    take.memory[static_cast<std::size_t>(i)] = pinned.by_node(i).memory_mib();
  }
  return take;
}

}  // namespace basalt::service
