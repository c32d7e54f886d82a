// What the engine answers, in the protocol's terms.
#include <algorithm>
#include <utility>

#include "adapters/service/service.h"
#include "adapters/service/uid.h"
#include "devices/assignment.h"

namespace basalt::service {
namespace {

pb::OutcomeKind KindOf(OutcomeKind kind) {
  switch (kind) {
    case OutcomeKind::kPlaced:
      return pb::OUTCOME_KIND_PLACED;
    case OutcomeKind::kWait:
      return pb::OUTCOME_KIND_WAIT;
    case OutcomeKind::kInfeasible:
      return pb::OUTCOME_KIND_INFEASIBLE;
  }
  return pb::OUTCOME_KIND_UNSPECIFIED;
}

std::string PlatformOf(const devices::Catalog& catalog, const std::string& interface) {
  for (const devices::Vendor& vendor : catalog.vendors) {
    for (const devices::Interface& known : vendor.interfaces) {
      if (known.name == interface) return known.platform;
    }
  }
  return {};
}

// `facts`: what is known of the node's plugins; null: nothing. A plugin of the vendor's own chooses
// by itself, and one of another platform does not read what the pod's interface writes: such pods
// get no assignment, which is not enforced.
void WriteAssignment(const devices::Catalog& catalog, const AskBook::Entry& entry,
                     const NodeSpec& node, const devices::NodeFacts* facts,
                     const Placement& placement, SimTime now, pb::Assignment* out) {
  devices::AssignmentInput input;
  input.node = node.name;
  input.time_ns = now.us * 1000;
  if (facts != nullptr && facts->cards.size() != node.cards.size()) facts = nullptr;
  if (facts != nullptr) {
    input.cards = facts->cards;
    input.platform = facts->platforms[static_cast<std::size_t>(placement.cards.lowest())];
    input.version = facts->version;
    input.profile_ids = facts->profile_ids;
    if (input.platform == "plugin") return;
    if (input.platform == "dra") {  // the claim's allocation says it, and drivers go by that
      out->set_interface("dra");
      out->set_enforced(true);
      return;
    }
  } else {
    for (const CardSpec& card : node.cards) {
      input.cards.push_back(devices::NodeCard{.uuid = card.uuid, .model = card.model});
    }
  }
  input.slices =
      placement.numa != nullptr && !placement.numa->slices.empty()
          ? placement.numa->slices
          : devices::UniformSlices(catalog, entry.request.spec, placement.cards, node.cards);
  if (input.slices.empty()) return;
  const Result<devices::Assignment> assigned = devices::Assign(catalog, entry.request, input);
  // Cards that no plugin is known for are told by their UUIDs alone.
  if (!assigned) return;
  const std::string platform = PlatformOf(catalog, assigned->interface);
  if (facts != nullptr && platform != input.platform) return;
  out->set_interface(assigned->interface);
  for (const auto& [key, value] : assigned->annotations) (*out->mutable_annotations())[key] = value;
  for (const auto& [key, value] : assigned->labels) (*out->mutable_labels())[key] = value;
  out->set_enforced(platform != "plugin");
}

}  // namespace

pb::PodKey Service::KeyOf(const PodUid& uid) const {
  pb::PodKey key;
  key.set_uid(UuidText(uid));
  if (const auto it = names_.find(uid); it != names_.end()) {
    key.set_namespace_(it->second.space);
    key.set_name(it->second.name);
  }
  if (const Allocation* held = engine_->Find(uid); held != nullptr) key.set_attempt(held->attempt);
  return key;
}

void Service::WritePlace(const Placement& placement, const Entry& entry, bool assign,
                         pb::Place* out) {
  const ClusterState& state = engine_->state();
  out->set_node(state.name(placement.node));
  out->set_cards(placement.cards.bits());
  for (const int card : placement.cards) out->add_card_uuids(state.CardUuid(placement.node, card));
  if (placement.score != kNoScore) out->set_score(placement.score);
  out->set_node_generation(placement.generation);
  if (placement.numa != nullptr) {
    const NumaTake& take = *placement.numa;
    for (const SliceTake& slice : take.slices) {
      pb::Slice* s = out->add_slices();
      s->set_card(slice.card);
      s->set_container(slice.container);
      s->set_mig_profile(slice.mig_profile);
      s->set_mig_start(slice.mig_start);
      s->set_milli(slice.milli);
      s->set_memory_mib(slice.memory);
      s->set_whole(slice.whole);
      s->set_uuid(state.CardUuid(placement.node, slice.card));
      const CardRules* rules =
          state.RulesOf(ModelId(std::uint32_t{state.card(placement.node, slice.card).model}));
      const auto profile = static_cast<std::size_t>(slice.mig_profile);
      if (slice.mig_profile >= 0 && rules != nullptr && profile < rules->mig.size()) {
        s->set_mig_profile_name(rules->mig[profile].name);
      }
    }
    pb::Pinned* pinned = out->mutable_pinned();
    pinned->set_numa_nodes(take.nodes);
    pinned->set_nics(take.nics);
    for (std::size_t i = 0; i < take.cpu.size(); ++i) {
      pb::NumaAmounts* amounts = pinned->add_by_node();
      amounts->set_cpu_milli(take.cpu[i]);
      amounts->set_memory_mib(take.memory[i]);
    }
  }
  if (assign && !placement.cards.empty()) {
    NodeSpec node = state.SpecOf(placement.node);
    node.cards = CardsOf(placement.node);
    const auto book = node_facts_.find(node.name);
    WriteAssignment(*environment_->catalog, entry, node,
                    book == node_facts_.end() ? nullptr : &book->second.facts, placement, now_,
                    out->mutable_assignment());
  }
  const auto book = node_facts_.find(out->node());
  if (placement.cards.empty() || book == node_facts_.end() || book->second.facts.devices.empty()) {
    return;
  }
  const NodeSpec node = state.SpecOf(placement.node);
  const devices::Catalog& catalog = *environment_->catalog;
  const bool listed = placement.numa != nullptr && !placement.numa->slices.empty();
  const auto named = devices::DevicesOf(
      book->second.facts.devices, node.cards, catalog,
      listed ? placement.numa->slices
             : devices::UniformSlices(catalog, entry.request.spec, placement.cards, node.cards),
      entry.request.spec.gpu_milli == kWholeCard);
  if (!named) return;  // then a claim cannot be given them, and says so
  for (const devices::DeviceName& name : *named) {
    pb::Device* device = out->add_devices();
    device->set_driver(name.driver);
    device->set_pool(name.pool);
    device->set_device(name.device);
  }
}

void Service::WriteReasons(const Explanation& explanation, pb::Decision* out) const {
  out->set_reason(explanation.text);
  for (const ReasonCount& count : explanation.counts) {
    pb::ReasonCount* c = out->add_counts();
    c->set_reason(static_cast<pb::Reason>(static_cast<int>(count.reason) + 1));
    c->set_nodes(count.nodes);
    c->set_least_short(count.least_short);
    c->set_text(count.text);
  }
}

void Service::WriteDecision(const PodAsk& ask, const Outcome& outcome, bool reasons, bool assign,
                            pb::Decision* out) {
  out->set_kind(KindOf(outcome.kind));
  out->set_already_held(outcome.already_held);
  out->set_earlier_attempt_held(outcome.earlier_attempt_held);
  out->set_by_quota(outcome.by_quota);
  out->set_reason(outcome.reason);
  out->set_shape(ask.entry->handle);
  out->set_state_version(engine_->state().change_count());
  if (outcome.placed()) {
    WritePlace(outcome.placement, *ask.entry, assign, out->mutable_placement());
  } else if (outcome.earlier_attempt_held) {
    out->set_reason("an earlier attempt of the pod is still allocated");
  } else if (reasons && outcome.reason.empty()) {
    WriteReasons(engine_->Explain(ask.request), out);
  }
  metrics_.CountOutcome(OutcomeKindName(outcome.kind), outcome.by_quota ? "quota" : "");
}

void Service::WriteGang(const GangAsk& ask, const GangOutcome& outcome, bool assign,
                        pb::GangDecision* out) {
  out->set_kind(KindOf(outcome.kind));
  out->set_held(outcome.held);
  out->set_earlier_attempt_held(outcome.earlier_attempt_held);
  out->set_tier(outcome.tier);
  out->set_domain(outcome.domain);
  out->set_proven(outcome.proven);
  out->set_by_quota(outcome.by_quota);
  out->set_reason(outcome.reason);
  out->set_state_version(engine_->state().change_count());
  const auto write = [&](std::int32_t number, const Placement& placement) {
    const auto index = static_cast<std::size_t>(number);
    pb::GangDecision::Member* member = out->add_members();
    member->set_member(number);
    *member->mutable_pod() = ask.members[index];
    WritePlace(placement, *ask.entries[ask.request.spec.TaskOf(number)], assign,
               member->mutable_placement());
  };
  for (const GangOutcome::Member& member : outcome.members) write(member.member, member.placement);
  // It holds all that it can have: then those places are told, to whom lost the first answer.
  if (outcome.placed() && outcome.members.empty()) {
    for (std::size_t m = 0; m < ask.request.members.size(); ++m) {
      const Allocation* a = engine_->Find(ask.request.members[m]);
      if (a == nullptr || a->gang != ask.request.uid) continue;
      write(static_cast<std::int32_t>(m),
            Placement{a->node, a->cards, kNoScore, engine_->state().generation(a->node), a->numa});
    }
  }
  metrics_.CountOutcome(OutcomeKindName(outcome.kind), outcome.by_quota ? "quota" : "");
}

void Service::WriteLease(const Lease& lease, bool gang, std::uint64_t turn, pb::Lease* out) const {
  out->set_cluster(config_.id);
  out->set_uid(UuidText(lease.uid));
  out->set_gang(gang);
  out->set_epoch(lease.epoch);
  out->set_server_epoch(server_epoch_);
  out->set_turn(turn);
  out->set_expires_us(lease.expires.us);
  out->set_ttl_us(lease.expires == kNever ? kNever.us
                                          : std::max<std::int64_t>(0, lease.expires.us - now_.us));
}

}  // namespace basalt::service
