// What sync tells about pods. A pod on a node is an observation: it is recorded as it is. Its cards
// are told by UUID or by what a device protocol wrote on it; where they are not told it has those
// of its lease; without a lease on that node, those that the policy would give it there; and when
// it does not fit, the emptiest ones, until it is known better.
#include <algorithm>
#include <utility>

#include "adapters/service/service.h"
#include "adapters/service/uid.h"
#include "devices/allocation.h"
#include "scheduler-core/base/check.h"
#include "scheduler-core/engine/trial.h"

namespace basalt::service {
namespace {

bool SameTake(const std::shared_ptr<const NumaTake>& a, const std::shared_ptr<const NumaTake>& b) {
  return a == b || (a != nullptr && b != nullptr && *a == *b);
}

}  // namespace

Status Service::ApplyPod(const pb::PodState& pod, SimTime now) {
  const Result<PodUid> uid = ParseUid(pod.pod().uid());
  if (!uid) return tl::unexpected<Error>(uid.error());
  if (pod.phase() == "Succeeded" || pod.phase() == "Failed") {
    PodEnded(*uid, pod.phase() == "Failed", now);
    return {};
  }
  deleted_.erase(*uid);
  PodNames& names = names_[*uid];
  if (!names.synced && pod.node().empty()) SeenWaiting(pod, *uid, now);
  names.space = pod.pod().namespace_();
  names.name = pod.pod().name();
  names.synced = true;
  names.bound = !pod.node().empty();
  pod_named_.insert_or_assign({names.space, names.name}, *uid);
  ForgetOrphan(*uid);
  if (pod.node().empty()) return {};
  const NodeId node = engine_->state().FindNode(pod.node());
  if (node.valid()) return ObservePod(pod, *uid, node, now);
  // Its node may be told later, by another stream.
  orphans_[pod.node()].insert_or_assign(*uid, pod);
  orphan_node_[*uid] = pod.node();
  return {};
}

void Service::ForgetOrphan(const PodUid& uid) {
  const auto it = orphan_node_.find(uid);
  if (it == orphan_node_.end()) return;
  const auto there = orphans_.find(it->second);
  there->second.erase(uid);
  if (there->second.empty()) orphans_.erase(there);
  orphan_node_.erase(it);
}

void Service::AdoptOrphans(const std::string& node, SimTime now, Rejections* rejected) {
  const auto it = orphans_.find(node);
  if (it == orphans_.end()) return;
  const std::map<PodUid, pb::PodState> pods = std::move(it->second);
  orphans_.erase(it);
  for (const auto& [uid, pod] : pods) {
    orphan_node_.erase(uid);
    if (Status ok = ObservePod(pod, uid, engine_->state().FindNode(node), now); !ok) {
      rejected->emplace_back("pod " + UuidText(uid), ok.error().ToString());
    }
  }
}

Status Service::ObservePod(const pb::PodState& pod, const PodUid& uid, NodeId node, SimTime now) {
  const Allocation* held = engine_->Find(uid);
  Result<PodObserved> observed = Observation(pod, uid, node);
  if (!observed) return tl::unexpected<Error>(observed.error());
  if (held != nullptr && held->node == node && held->cards == observed->cards &&
      held->attempt == observed->attempt && SameTake(held->numa, observed->numa)) {
    if (held->confirmed && *held->standing == observed->standing) return {};
  } else if (held != nullptr) {
    pb::WatchEvent event;
    event.set_time_us(now.us);
    event.set_cluster(config_.id);
    pb::Mismatch* mismatch = event.mutable_mismatch();
    *mismatch->mutable_pod() = KeyOf(uid);
    mismatch->set_node(pod.node());
    for (const int card : held->cards) {
      mismatch->add_chosen(engine_->state().CardUuid(held->node, card));
    }
    for (const int card : observed->cards) {
      mismatch->add_granted(engine_->state().CardUuid(node, card));
    }
    ring_.Add(std::move(event));
    metrics_.Count("mismatches");
  } else {
    metrics_.Count("foreign_pods");
    if (config_.shadow && ready() && !ListsPods()) JudgeBound(*observed, now);
  }
  return engine_->Apply(std::move(*observed), now);
}

Result<PodObserved> Service::Observation(const pb::PodState& pod, const PodUid& uid, NodeId node) {
  const ClusterState& state = engine_->state();
  const Allocation* held = engine_->Find(uid);
  PodObserved out;
  out.uid = uid;
  out.node = pod.node();
  out.attempt = held != nullptr && pod.pod().attempt() == 0 ? held->attempt : pod.pod().attempt();
  const Entry* entry = nullptr;
  if (held != nullptr && held->node == node) {
    out.spec = state.shape(held->shape).spec;
    out.job = held->job;
    out.standing = *held->standing;
    if (source_of_.contains(pb::SYNC_KIND_BUDGETS)) out.standing.budget = pod.standing().budget();
    out.cards = held->cards;
    out.numa = held->numa;
  } else {
    const Result<const Entry*> read =
        asks_.Read(*engine_, pod.ask(), &out.standing.sku, AskBook::For::kObservation);
    if (!read) return tl::unexpected<Error>(read.error());
    entry = *read;
    out.spec = entry->request.spec;
    out.job = JobOf(pod.job());
    out.standing.queue = pod.standing().queue();
    out.standing.priority = pod.standing().priority();
    out.standing.preemptible = !pod.standing().not_preemptible();
    out.standing.min_runtime_us = std::max<std::int64_t>(0, pod.standing().min_runtime_us());
    out.standing.restart_us = std::max<std::int64_t>(0, pod.standing().restart_us());
    out.standing.budget = pod.standing().budget();
  }
  if (const auto book = node_facts_.find(out.node);
      !pod.devices().empty() && book != node_facts_.end() && book->second.facts.platform_is_dra()) {
    if (Status ok = ReadDevices(pod, node, book->second.facts, &out); !ok) {
      return tl::unexpected<Error>(ok.error());
    }
    return out;
  }
  if (pod.slices().empty() && !pod.annotations().empty() &&
      (ReadGrants(pod, node, &out) || ReadKubelet(pod, node, &out))) {
    return out;
  }
  if (pod.granted_uuids().empty() && pod.slices().empty()) {
    if (entry == nullptr) return out;
    if (Status ok = ChooseCards(pod, *entry, node, &out); !ok) {
      return tl::unexpected<Error>(ok.error());
    }
    return out;
  }
  CardSet cards;
  for (const std::string& uuid : pod.granted_uuids()) {
    const int index = CardOf(node, uuid);
    if (index < 0) return Fail("card " + uuid, "is not on node " + out.node);
    cards.Add(index);
  }
  if (pod.slices().empty()) {
    if (entry != nullptr || cards != out.cards) out.numa = nullptr;
    out.cards = cards;
    return out;
  }
  Result<NumaTake> take = ReadTake(pod.slices(), pod.pinned(), node);
  if (!take) return tl::unexpected<Error>(take.error());
  for (const SliceTake& slice : take->slices) cards.Add(slice.card);
  out.cards = cards;
  out.numa = std::make_shared<const NumaTake>(std::move(*take));
  return out;
}

int Service::CardOf(NodeId node, const std::string& uuid) const {
  const ClusterState& state = engine_->state();
  int by_place = -1;
  for (int index = 0; index < state.hot(node).cards; ++index) {
    if (state.CardUuid(node, index) == uuid) return index;
    // What a card was called before its node told its UUID.
    if (state.name(node) + '/' + std::to_string(index) == uuid) by_place = index;
  }
  return by_place;
}

std::vector<CardSpec> Service::CardsOf(NodeId node) const {
  std::vector<CardSpec> cards = engine_->state().SpecOf(node).cards;
  for (std::size_t i = 0; i < cards.size(); ++i) {
    cards[i].uuid = engine_->state().CardUuid(node, static_cast<int>(i));
  }
  return cards;
}

bool Service::ReadKubelet(const pb::PodState& pod, NodeId node, PodObserved* observed) {
  const auto told = pod.annotations().find(std::string(devices::kGrantedKey));
  if (told == pod.annotations().end()) return false;
  const Result<CardSet> cards = devices::GrantedCards(told->second, CardsOf(node));
  if (cards && cards->empty()) return false;
  const Result<ShapeId> shape = engine_->InternShape(observed->spec);
  const bool pinned = cards && observed->numa != nullptr && *cards == observed->cards;
  if (!cards || !shape || cards->size() != observed->spec.gpus ||
      !engine_->state().CanRecord(*shape, node, *cards, pinned ? observed->numa.get() : nullptr)) {
    metrics_.Count("grants_unread");
    return false;
  }
  observed->cards = *cards;
  if (!pinned) observed->numa = nullptr;
  return true;
}

Status Service::ReadDevices(const pb::PodState& pod, NodeId node, const devices::NodeFacts& facts,
                            PodObserved* observed) {
  const ClusterState& state = engine_->state();
  std::vector<devices::DeviceName> names;
  for (const pb::Device& device : pod.devices()) {
    names.push_back({device.driver(), device.pool(), device.device()});
  }
  const devices::Catalog& catalog = *environment_->catalog;
  const std::vector<CardSpec> cards = state.SpecOf(node).cards;
  Result<std::vector<SliceTake>> slices =
      devices::SlicesOfDevices(catalog, facts.devices, facts.left_out, cards, names);
  if (!slices) return tl::unexpected<Error>(slices.error());
  CardSet on;
  bool instances = false;
  for (const SliceTake& slice : *slices) {
    on.Add(slice.card);
    instances = instances || slice.mig_profile >= 0;
  }
  // What a lease holds is what was allocated.
  if (on == observed->cards && !on.empty()) {
    const bool listed = observed->numa != nullptr && !observed->numa->slices.empty();
    if (devices::AreAlike(*slices,
                          listed ? observed->numa->slices
                                 : devices::UniformSlices(catalog, observed->spec, on, cards))) {
      return {};
    }
  }
  // The ask is of the devices, as the pod's claims have them; its other words stay.
  RequestSpec& spec = observed->spec;
  spec.containers.clear();
  spec.gpus = on.size();
  spec.gpu_milli = on.empty() ? 0 : kWholeCard;
  spec.gpu_memory_mib = 0;
  spec.gpu_memory_percent = spec.compute_units = 0;
  spec.mig_profile.clear();
  observed->cards = on;
  observed->numa = nullptr;
  if (instances) {
    NumaTake take;
    take.slices = std::move(*slices);
    observed->numa = std::make_shared<const NumaTake>(std::move(take));
  }
  return {};
}

bool Service::ReadGrants(const pb::PodState& pod, NodeId node, PodObserved* observed) {
  const auto grants = devices::ReadGrants({pod.annotations().begin(), pod.annotations().end()});
  if (grants && grants->empty()) return false;
  std::string sku;
  const Result<const Entry*> entry =
      asks_.Read(*engine_, pod.ask(), &sku, AskBook::For::kObservation);
  if (!grants || !entry) {
    metrics_.Count("grants_unread");
    return false;
  }
  const ClusterState& state = engine_->state();
  const devices::Catalog& catalog = *environment_->catalog;
  const std::vector<CardSpec> cards = CardsOf(node);
  const Result<std::vector<SliceTake>> slices =
      devices::SlicesOf(catalog, *grants, (*entry)->request, cards, pod.phase() == "Running");
  if (!slices || slices->empty()) {
    metrics_.Count("grants_unread");
    return false;
  }
  const auto uniform = [&](CardSet on) {
    return devices::UniformSlices(catalog, observed->spec, on, cards);
  };
  // What a lease holds is what was written, up to rounding.
  if (!observed->cards.empty()) {
    const bool listed = observed->numa != nullptr && !observed->numa->slices.empty();
    if (devices::AreAlike(*slices, listed ? observed->numa->slices : uniform(observed->cards))) {
      return true;
    }
  }
  observed->cards = {};
  for (const SliceTake& slice : *slices) observed->cards.Add(slice.card);
  const bool as_asked = !state.shape((*entry)->shape).lists_slices() &&
                        devices::AreAlike(*slices, uniform(observed->cards));
  observed->numa = nullptr;
  if (!as_asked) {
    NumaTake take;
    take.slices = *slices;
    observed->numa = std::make_shared<const NumaTake>(std::move(take));
  }
  return true;
}

Status Service::ChooseCards(const pb::PodState& pod, const Entry& entry, NodeId node,
                            PodObserved* observed) {
  const ClusterState& state = engine_->state();
  const Request request{observed->uid, observed->attempt,  entry.shape,
                        observed->job, observed->standing, nullptr};
  if (engine_->Judge(request, node).reason == Reason::kFits) {
    Trial trial(*engine_);
    const Placement place =
        trial.PlaceOn(request, trial.InQueue(entry.shape, observed->standing), node);
    observed->cards = place.cards;
    observed->numa = place.numa;
    return {};
  }
  if (state.hot(node).cards < entry.request.spec.gpus) {
    return Fail("node " + pod.node(), "has fewer cards than the pod, and it is not told which");
  }
  std::vector<int> cards;
  for (int i = 0; i < state.hot(node).cards; ++i) cards.push_back(i);
  std::stable_sort(cards.begin(), cards.end(), [&](int a, int b) {
    return state.card(node, a).free_milli > state.card(node, b).free_milli;
  });
  for (int i = 0; i < entry.request.spec.gpus; ++i) {
    observed->cards.Add(cards[static_cast<std::size_t>(i)]);
  }
  metrics_.Count("assumed_cards");
  return {};
}

void Service::PodEnded(const PodUid& uid, bool failed, SimTime now) {
  ForgetOrphan(uid);
  if (const Allocation* held = engine_->Find(uid); held != nullptr) {
    std::vector<std::string> cards;
    for (const int card : held->cards) cards.push_back(engine_->state().CardUuid(held->node, card));
    TellFreed(engine_->state().name(held->node), std::move(cards), &uid);
  }
  if (const auto it = names_.find(uid); it != names_.end()) {
    const auto named = pod_named_.find({it->second.space, it->second.name});
    if (named != pod_named_.end() && named->second == uid) pod_named_.erase(named);
    names_.erase(it);
  }
  usage_.PodGone(uid);
  shadow_.Gone(uid);
  actions_.PodGone(UuidText(uid), now);
  if (decisions_ != nullptr && engine_->Find(uid) == nullptr) Record(now, RecordedGone{uid});
  deleted_.insert_or_assign(uid, now);
  deleted_order_.emplace_back(now, uid);
  const Status ok = engine_->Apply(basalt::PodGone{uid, failed}, now);
  BASALT_CHECK(ok.has_value());  // a pod that holds nothing is gone, too
}

void Service::SweepPods(const SyncStream& stream, SimTime now, pb::SyncResponse* out) {
  std::vector<PodUid> gone;
  // What was taken after the stream was opened need not be in the listing. A lease that is not
  // confirmed has its time.
  engine_->ForEachAllocation([&](const Allocation& a) {
    if (a.confirmed && a.epoch <= stream.newest_epoch && !stream.pods.contains(a.uid)) {
      gone.push_back(a.uid);
    }
  });
  for (const PodUid& uid : gone) PodEnded(uid, true, now);
  out->set_swept_pods(static_cast<std::int64_t>(gone.size()));
  gone.clear();
  for (const auto& [uid, names] : names_) {
    if (names.synced && !stream.pods.contains(uid) && engine_->Find(uid) == nullptr) {
      gone.push_back(uid);
    }
  }
  for (const PodUid& uid : gone) PodEnded(uid, false, now);
}

}  // namespace basalt::service
