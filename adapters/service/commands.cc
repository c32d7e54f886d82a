// Commands: what operators tell running pods and cards. A command is checked, stored and then told
// to executors; what it frees is free when the sync shows it, never before. The steps after that
// are taken from the state alone (StepCommands), so that a restart goes on where the last run
// stopped.
#include "adapters/service/commands.h"

#include <algorithm>
#include <utility>

#include "adapters/service/service.h"
#include "adapters/service/uid.h"
#include "scheduler-core/base/check.h"
#include "scheduler-core/base/digest.h"

namespace basalt::service {
namespace {

constexpr std::int64_t kCommandTtlUs = 600'000'000;
constexpr std::int64_t kMaxCommandTtlUs = 86'400'000'000;
constexpr std::size_t kMaxReason = 1'000;

bool IsId(const std::string& id) {
  return !id.empty() && id.size() <= 100 && std::ranges::all_of(id, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  });
}

bool EndsPod(pb::ActionKind kind) {
  return kind == pb::ACTION_KIND_EVICT || kind == pb::ACTION_KIND_COMMIT_AND_EXIT ||
         kind == pb::ACTION_KIND_MIGRATE;
}

bool Saves(const pb::CommandRequest& command) {
  return command.kind() == pb::ACTION_KIND_COMMIT_AND_EXIT ||
         (command.kind() == pb::ACTION_KIND_MIGRATE && command.commit());
}

std::string ActionOf(const pb::CommandState& state) { return "command/" + state.command().id(); }

// Under which a migrating pod's new place is held.
PodUid HoldOf(const std::string& cluster, const std::string& id) {
  Digest digest;
  digest.Add(std::string_view("migration"));
  digest.Add(std::string_view(cluster));
  digest.Add(std::string_view(id));
  return PodUid{digest.value().hi, digest.value().lo};
}

void EndAs(pb::CommandState* state, pb::CommandPhase phase, std::string reason) {
  state->set_phase(phase);
  state->set_reason(std::move(reason));
}

}  // namespace

Answer<pb::CommandState> Service::Command(const Caller& caller, const pb::CommandRequest& request,
                                          SimTime now) {
  using Body = pb::CommandState;
  now = Enter(now);
  const CallScope scope(this, request.header());
  Answer<Body> answer;
  if (RefusedHere(request.header(), &answer) || RefusedWrite(&answer)) return answer;
  if (!MayAdminister(caller)) return Bad<Body>(Code::kDenied, "needs the role admin");
  if (!IsId(request.id())) {
    return Bad<Body>(Code::kInvalid,
                     "id: 1 to 100 of letters, digits, '.', '_' and '-', chosen by the caller");
  }
  pb::CommandRequest command = request;
  command.clear_header();
  if (const pb::CommandState* known = commands_.Find(request.id()); known != nullptr) {
    if (known->command().SerializeAsString() != command.SerializeAsString()) {
      return Bad<Body>(Code::kInvalid, "id: another command has it");
    }
    answer.body = *known;
    return Durable(std::move(answer));
  }
  if (!Decides(request.header())) {
    return Bad<Body>(Code::kUnavailable, "the cluster is not synced yet");
  }
  if (command.ttl_us() < 0 || command.ttl_us() > kMaxCommandTtlUs) {
    return Bad<Body>(Code::kInvalid, "ttl_us is negative or more than a day");
  }
  if (command.reason().size() > kMaxReason) return Bad<Body>(Code::kInvalid, "reason is too long");
  if (commands_.open() >= CommandBook::kMostOpen) {
    return Bad<Body>(Code::kExhausted, "too many commands are open; wait for some to end");
  }
  engine_->Expire(now);
  pb::CommandState state;
  *state.mutable_command() = std::move(command);
  state.set_phase(pb::COMMAND_PHASE_ORDERED);
  state.set_deadline_us(now.Plus(request.ttl_us() == 0 ? kCommandTtlUs : request.ttl_us()).us);
  const Status may =
      request.kind() == pb::ACTION_KIND_MOVE_CARD ? AcceptMove(&state) : AcceptForPod(&state, now);
  if (!may) return Bad<Body>(Code::kPrecondition, may.error().ToString());
  const std::string hold = state.held_uid();
  pb::CommandState* added = commands_.Add(std::move(state));
  if (const Status kept = StoreCommands(); !kept) {
    commands_.Remove(request.id());
    if (!hold.empty()) GiveBack(*ParseUid(hold), false, now);
    return Bad<Body>(Code::kDataLoss, kept.error().ToString());
  }
  metrics_.Count("commands");
  if (added->phase() == pb::COMMAND_PHASE_ORDERED) OrderCommand(*added);
  StepCommands(now);
  answer.body = *commands_.Find(request.id());
  return Durable(std::move(answer));
}

Status Service::AcceptForPod(pb::CommandState* state, SimTime now) {
  const pb::CommandRequest& command = state->command();
  const pb::ActionKind kind = command.kind();
  if (!EndsPod(kind) && kind != pb::ACTION_KIND_BLOCK && kind != pb::ACTION_KIND_RESUME) {
    return Fail("kind", "is none that can be commanded");
  }
  const Result<PodUid> uid = ParseUid(command.pod_uid());
  if (!uid) return tl::unexpected<Error>(uid.error());
  const Allocation* held = engine_->Find(*uid);
  const auto names = names_.find(*uid);
  if (held == nullptr || names == names_.end() || !names->second.bound) {
    return Fail("pod " + UuidText(*uid), "is not bound to a node of this cluster");
  }
  for (const pb::CommandState* open : commands_.Open()) {
    if (open->pod().uid() == UuidText(*uid) && EndsPod(open->command().kind())) {
      return Fail("pod " + UuidText(*uid), "ends already, by the command " + open->command().id());
    }
  }
  *state->mutable_pod() = KeyOf(*uid);
  state->set_node(engine_->state().name(held->node));
  return kind == pb::ACTION_KIND_MIGRATE ? HoldNewPlace(*held, state, now) : Status();
}

// The place is held by a lease under a UID of its own, outside all quotas, for as long as the
// command lives; the pod that its owner makes in its stead takes it over (MigrationFor).
Status Service::HoldNewPlace(const Allocation& held, pb::CommandState* state, SimTime now) {
  const std::string where = "pod " + state->pod().uid();
  if (held.member >= 0) {
    return Fail(where, "is of a gang, whose scheduler places it again as one: evict it");
  }
  if (held.job == 0) {
    return Fail(where, "has no job by which its successor would be known");
  }
  NodeChoice choice;
  choice.excluded = {held.node};
  if (!state->command().node().empty()) {
    choice.only = {engine_->state().FindNode(state->command().node())};
    if (!choice.only[0].valid() || choice.only[0] == held.node) {
      return Fail("node " + state->command().node(),
                  "is not in the cluster, or is where the pod is");
    }
  }
  Standing standing = *held.standing;
  standing.queue.clear();
  standing.budget.clear();
  standing.preemptible = false;
  const Request request{HoldOf(config_.id, state->command().id()),
                        0,
                        held.shape,
                        held.job,
                        standing,
                        std::make_shared<const NodeChoice>(std::move(choice))};
  const Outcome outcome = engine_->Propose(request, now);
  if (!outcome.placed()) {
    return Fail(where, "has no other place now" +
                           (outcome.reason.empty() ? std::string() : ": " + outcome.reason));
  }
  const std::int64_t ttl = state->deadline_us() - now.us;
  const Result<Lease> lease = engine_->Reserve(request, outcome.placement, now, ttl);
  if (!lease) return tl::unexpected<Error>(lease.error());
  state->set_held_uid(UuidText(request.uid));
  WritePlace(outcome.placement, Entry{}, false, state->mutable_to());
  return {};
}

Status Service::AcceptMove(pb::CommandState* state) {
  const pb::CommandRequest& command = state->command();
  const std::string where = "card " + command.card_uuid();
  const auto card = FindCard(command.node(), command.card_uuid());
  if (!card) return Fail(where, "is not on node " + command.node());
  if (command.mode() < 0 || command.mode() > pb::CARD_MODE_PASSTHROUGH) {
    return Fail(where, "is to have an unknown mode");
  }
  const ClusterState& cluster = engine_->state();
  const CardState& is = cluster.card(card->first, card->second);
  const auto mode = static_cast<CardMode>(command.mode());
  const CardRules* rules = cluster.RulesOf(ModelId(std::uint32_t{is.model}));
  if (mode == CardMode::kMig && (rules == nullptr || rules->mig.empty())) {
    return Fail(where, "cannot be cut into MIG instances");
  }
  for (const pb::CommandState* open : commands_.Open()) {
    if (open->command().card_uuid() == command.card_uuid() && open->node() == command.node()) {
      return Fail(where, "is moved already, by the command " + open->command().id());
    }
  }
  state->set_node(command.node());
  state->set_cordoned(is.cordoned);
  state->set_phase(is.mode == mode ? pb::COMMAND_PHASE_DONE : pb::COMMAND_PHASE_WAITING);
  return {};
}

std::optional<std::pair<NodeId, int>> Service::FindCard(const std::string& node,
                                                        const std::string& uuid) const {
  const ClusterState& state = engine_->state();
  const NodeId id = state.FindNode(node);
  if (!id.valid() || uuid.empty()) return std::nullopt;
  for (int i = 0; i < state.hot(id).cards; ++i) {
    if (state.CardUuid(id, i) == uuid) return std::pair{id, i};
  }
  return std::nullopt;
}

void Service::OrderCommand(const pb::CommandState& state) {
  const pb::CommandRequest& command = state.command();
  pb::Action action;
  action.set_id(ActionOf(state));
  action.set_server_epoch(server_epoch_);
  action.set_cluster(config_.id);
  action.set_kind(command.kind());
  *action.mutable_pod() = state.pod();
  action.set_node(state.node());
  action.set_reason(command.reason());
  action.set_deadline_us(state.deadline_us());
  if (state.has_to()) *action.mutable_to() = state.to();
  action.set_commit(Saves(command));
  if (command.kind() == pb::ACTION_KIND_MOVE_CARD) {
    action.mutable_card()->set_uuid(command.card_uuid());
    action.mutable_card()->set_mode(command.mode());
  }
  actions_.Add(std::move(action));
}

Status Service::StoreCommands() { return store_->Keep(config_.id, commands_.Bytes()); }

Status Service::RecallCommands() {
  const Result<std::string> kept = store_->Kept(config_.id);
  if (!kept) return tl::unexpected<Error>(kept.error());
  if (Status ok = commands_.Read(*kept); !ok) return ok;
  for (const pb::CommandState* open : commands_.Open()) {
    if (open->phase() == pb::COMMAND_PHASE_ORDERED) OrderCommand(*open);
  }
  return {};
}

void Service::StepCommands(SimTime now) {
  if (commands_.open() == 0 || !ready()) return;
  std::string before = commands_.Bytes();
  for (pb::CommandState* state : commands_.Open()) {
    const bool move = state->command().kind() == pb::ACTION_KIND_MOVE_CARD;
    if (move) {
      StepMove(state, now);
    } else {
      StepForPod(state, now);
    }
    if (!CommandBook::IsOver(*state)) continue;
    if (move) Uncordon(*state, now);
    if (const Result<PodUid> hold = ParseUid(state->held_uid());
        hold && engine_->Find(*hold) != nullptr) {
      GiveBack(*hold, false, now);
    }
    metrics_.Count(state->phase() == pb::COMMAND_PHASE_DONE ? "commands_done" : "commands_failed");
  }
  commands_.Prune();
  if (commands_.Bytes() == before) return;
  // What cannot be stored is found out again after a restart: each step may be taken twice.
  if (!StoreCommands()) metrics_.Count("command_store_errors");
}

void Service::StepForPod(pb::CommandState* state, SimTime now) {
  const pb::CommandRequest& command = state->command();
  const PodUid uid = *ParseUid(state->pod().uid());
  const auto names = names_.find(uid);
  const bool ended =
      engine_->Find(uid) == nullptr && (names == names_.end() || !names->second.synced);
  const bool late = now.us > state->deadline_us();
  if (ended && state->phase() != pb::COMMAND_PHASE_PLACING) {
    if (!EndsPod(command.kind())) {
      return EndAs(state, pb::COMMAND_PHASE_FAILED, "the pod is gone");
    }
    if (command.kind() != pb::ACTION_KIND_MIGRATE) return EndAs(state, pb::COMMAND_PHASE_DONE, "");
    state->set_phase(pb::COMMAND_PHASE_PLACING);
    state->set_reason("waits for the pod that its owner makes in its stead");
  }
  if (state->phase() == pb::COMMAND_PHASE_PLACING) {
    const Result<PodUid> hold = ParseUid(state->held_uid());
    if (late || !hold || engine_->Find(*hold) == nullptr) {
      EndAs(state, pb::COMMAND_PHASE_DONE, "it has ended; no successor came for its place in time");
    }
    return;
  }
  if (state->phase() != pb::COMMAND_PHASE_ORDERED) return;
  const std::optional<ActionResult> result = actions_.ResultOf(ActionOf(*state));
  if (result && !result->done) return EndAs(state, pb::COMMAND_PHASE_FAILED, result->error);
  if (!result && late) {
    return EndAs(state, pb::COMMAND_PHASE_FAILED, "nobody carried it out in time");
  }
  if (!result) return;
  if (!EndsPod(command.kind())) return EndAs(state, pb::COMMAND_PHASE_DONE, "");
  if (Saves(command)) {
    const Status ok = engine_->Apply(PodCheckpointed{uid}, now);
    BASALT_CHECK(ok.has_value());
  }
  state->set_phase(pb::COMMAND_PHASE_ENDING);
  state->set_reason("waits until the pod is seen to have ended");
}

void Service::StepMove(pb::CommandState* state, SimTime now) {
  const pb::CommandRequest& command = state->command();
  const auto card = FindCard(command.node(), command.card_uuid());
  if (!card) return EndAs(state, pb::COMMAND_PHASE_FAILED, "the card is gone");
  const auto& [node, index] = *card;
  const CardState is = engine_->state().card(node, index);
  const auto mode = static_cast<CardMode>(command.mode());
  if (!is.cordoned) {
    const Status ok = engine_->Apply(CardCordoned{command.node(), index, true}, now);
    BASALT_CHECK(ok.has_value());
  }
  const bool late = now.us > state->deadline_us();
  if (state->phase() == pb::COMMAND_PHASE_WAITING) {
    if (is.slices == 0) {
      state->set_phase(pb::COMMAND_PHASE_ORDERED);
      state->clear_reason();
      return OrderCommand(*state);
    }
    if (late) return EndAs(state, pb::COMMAND_PHASE_FAILED, "something is still on the card");
    state->set_reason("something is on the card");
    if (command.evict()) EvictFrom(*state, node, index);
    return;
  }
  if (state->phase() == pb::COMMAND_PHASE_ORDERED) {
    const std::optional<ActionResult> result = actions_.ResultOf(ActionOf(*state));
    if (result && !result->done) return EndAs(state, pb::COMMAND_PHASE_FAILED, result->error);
    if (!result) {
      if (late) EndAs(state, pb::COMMAND_PHASE_FAILED, "nobody carried it out in time");
      return;
    }
    state->set_phase(pb::COMMAND_PHASE_ENDING);
    state->set_reason("waits until the node's device plugin registers the card so");
    // MIG is the register's to tell. The other modes no register knows.
    const bool told = node_facts_.contains(command.node()) &&
                      (mode == CardMode::kMig || is.mode == CardMode::kMig);
    if (!told) {
      if (Status ok = engine_->Apply(CardModeChanged{command.node(), index, mode}, now); !ok) {
        return EndAs(state, pb::COMMAND_PHASE_FAILED, ok.error().ToString());
      }
    }
  }
  if (engine_->state().card(node, index).mode == mode) {
    return EndAs(state, pb::COMMAND_PHASE_DONE, "");
  }
  if (late) EndAs(state, pb::COMMAND_PHASE_FAILED, "its device plugin did not register it so");
}

void Service::EvictFrom(const pb::CommandState& state, NodeId node, int card) {
  engine_->ForEachAllocation([&](const Allocation& a) {
    const auto names = names_.find(a.uid);
    if (a.node != node || !a.cards.Has(card) || names == names_.end() || !names->second.bound)
      return;
    pb::Action action;
    action.set_id(ActionOf(state) + "/" + UuidText(a.uid));
    if (actions_.Knows(action.id())) return;
    action.set_server_epoch(server_epoch_);
    action.set_cluster(config_.id);
    action.set_kind(pb::ACTION_KIND_EVICT);
    *action.mutable_pod() = KeyOf(a.uid);
    action.set_node(state.node());
    action.set_reason("its card joins another pool: " + state.command().reason());
    action.set_deadline_us(state.deadline_us());
    actions_.Add(std::move(action));
  });
}

void Service::Uncordon(const pb::CommandState& state, SimTime now) {
  const auto card = FindCard(state.node(), state.command().card_uuid());
  if (!card || engine_->state().card(card->first, card->second).cordoned == state.cordoned())
    return;
  const Status ok = engine_->Apply(CardCordoned{state.node(), card->second, state.cordoned()}, now);
  BASALT_CHECK(ok.has_value());
  TellFreed(state.node());
}

bool Service::KeptCordoned(const std::string& node, const std::string& uuid, bool told) {
  for (pb::CommandState* open : commands_.Open()) {
    if (open->command().kind() != pb::ACTION_KIND_MOVE_CARD || open->node() != node ||
        open->command().card_uuid() != uuid) {
      continue;
    }
    open->set_cordoned(told);
    return true;
  }
  return told;
}

pb::CommandState* Service::MigrationFor(const Request& request) {
  if (commands_.open() == 0 || request.job == 0 || engine_->Find(request.uid) != nullptr) {
    return nullptr;
  }
  for (pb::CommandState* open : commands_.Open()) {
    if (open->held_uid().empty() || open->pod().uid() == UuidText(request.uid)) continue;
    const Allocation* hold = engine_->Find(*ParseUid(open->held_uid()));
    if (hold != nullptr && hold->job == request.job && hold->shape == request.shape &&
        (request.nodes == nullptr || request.nodes->Allows(hold->node))) {
      return open;
    }
  }
  return nullptr;
}

Result<Lease> Service::TakeOver(pb::CommandState* migration, const Request& request,
                                std::int64_t ttl_us, SimTime now) {
  const PodUid uid = *ParseUid(migration->held_uid());
  const Allocation hold = *engine_->Find(uid);
  const Standing standing = *hold.standing;
  const Placement place = PlaceOf(hold);
  GiveBack(uid, false, now);
  const auto generation = [&] { return engine_->state().generation(hold.node); };
  Placement taken = place;
  taken.generation = generation();
  Result<Lease> lease = engine_->Reserve(request, taken, now, ttl_us);
  if (lease) {
    EndAs(migration, pb::COMMAND_PHASE_DONE, "its successor is " + UuidText(request.uid));
    if (!StoreCommands()) metrics_.Count("command_store_errors");
    metrics_.Count("commands_done");
    commands_.Prune();
    return lease;
  }
  // Its own quota refuses it: the place stays for the next try.
  taken.generation = generation();
  const Request again{uid, 0, hold.shape, hold.job, standing, nullptr};
  const Result<Lease> kept = engine_->Reserve(again, taken, now, migration->deadline_us() - now.us);
  if (!kept)
    EndAs(migration, pb::COMMAND_PHASE_FAILED, "its place was lost: " + kept.error().message);
  return lease;
}

Placement Service::PlaceOf(const Allocation& a) const {
  return Placement{a.node, a.cards, kNoScore, engine_->state().generation(a.node), a.numa};
}

pb::ListCommandsResponse Service::ListCommands() const {
  pb::ListCommandsResponse out;
  for (const auto& [number, state] : commands_.all()) *out.add_commands() = state;
  return out;
}

}  // namespace basalt::service
