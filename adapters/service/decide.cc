// The calls that decide and change nothing: Propose, Evaluate, Explain; and Evict, which may.
#include <algorithm>
#include <utility>

#include "adapters/service/service.h"
#include "adapters/service/uid.h"

namespace basalt::service {
namespace {

constexpr int kMaxTop = 100;

void NotReady(pb::Decision* out) {
  out->set_kind(pb::OUTCOME_KIND_NOT_READY);
  out->set_reason("the cluster is not synced yet");
}
void NotReady(pb::GangDecision* out) {
  out->set_kind(pb::OUTCOME_KIND_NOT_READY);
  out->set_reason("the cluster is not synced yet");
}

pb::Reason ReasonOf(Reason reason) { return static_cast<pb::Reason>(static_cast<int>(reason) + 1); }

}  // namespace

std::string Service::Barred(const PodUid& uid, const Standing& standing) const {
  if (deleted_.contains(uid)) return "the pod was deleted";
  if (closed_queues_.contains(standing.queue)) return "queue " + standing.queue + " is closed";
  return "";
}

Outcome Service::ProposeOne(const PodAsk& ask, SimTime now) {
  std::string barred = Barred(ask.request.uid, ask.request.standing);
  Outcome outcome;
  if (barred.empty() || engine_->Find(ask.request.uid) != nullptr) {
    const pb::CommandState* migration = MigrationFor(ask.request);
    if (migration == nullptr) {
      outcome = engine_->Propose(ask.request, now);
      Decided(ask.request, outcome, now);
      return outcome;
    }
    outcome.kind = OutcomeKind::kPlaced;
    outcome.placement = PlaceOf(*engine_->Find(*ParseUid(migration->held_uid())));
    return outcome;
  }
  outcome.by_quota = true;
  outcome.reason = std::move(barred);
  return outcome;
}

Result<GangOutcome> Service::ProposeMany(const GangAsk& ask, SimTime now) {
  if (engine_->FindGang(ask.request.uid) == nullptr) {
    std::string barred = Barred(ask.request.uid, ask.request.standing);
    for (const PodUid& member : ask.request.members) {
      if (barred.empty()) barred = Barred(member, ask.request.standing);
    }
    if (!barred.empty()) {
      GangOutcome outcome;
      outcome.by_quota = true;
      outcome.reason = std::move(barred);
      return outcome;
    }
  }
  Result<GangOutcome> outcome = engine_->ProposeGang(ask.request, now);
  if (outcome) Decided(ask.request, *outcome, now);
  return outcome;
}

Answer<pb::ProposeResponse> Service::Propose(const Caller& caller,
                                             const pb::ProposeRequest& request, SimTime now) {
  using Body = pb::ProposeResponse;
  now = Enter(now);
  const CallScope scope(this, request.header());
  Answer<Body> answer;
  if (RefusedHere(request.header(), &answer) || RefusedWork(&answer)) return answer;
  const bool decides = Decides(request.header());
  Code code = Code::kOk;
  if (request.of_case() == pb::ProposeRequest::kPod) {
    pb::Decision* out = answer.body.mutable_pod();
    if (!decides) {
      NotReady(out);
      return answer;
    }
    const Result<PodAsk> ask = ReadPod(caller, request.pod(), &code);
    if (!ask) return Bad<Body>(code, ask.error().ToString());
    const Outcome outcome = ProposeOne(*ask, now);
    WriteDecision(*ask, outcome, request.want_reasons(), request.want_assignment(), out);
    const int wanted = std::clamp(request.pod().alternatives(), 0, kMaxAlternatives);
    if (wanted == 0) return answer;
    for (const Placement& place :
         engine_->Alternatives(ask->request, outcome, static_cast<std::size_t>(wanted))) {
      WritePlace(place, *ask->entry, request.want_assignment(), out->add_alternatives());
    }
    return answer;
  }
  if (request.of_case() == pb::ProposeRequest::kGang) {
    pb::GangDecision* out = answer.body.mutable_gang();
    if (!decides) {
      NotReady(out);
      return answer;
    }
    const Result<GangAsk> ask = ReadGang(caller, request.gang(), &code);
    if (!ask) return Bad<Body>(code, ask.error().ToString());
    const Result<GangOutcome> outcome = ProposeMany(*ask, now);
    if (!outcome) return Bad<Body>(Code::kInvalid, outcome.error().ToString());
    WriteGang(*ask, *outcome, request.want_assignment(), out);
    return answer;
  }
  return Bad<Body>(Code::kInvalid, "neither a pod nor a gang is asked about");
}

Answer<pb::EvaluateResponse> Service::Evaluate(const Caller& caller,
                                               const pb::EvaluateRequest& request, SimTime now) {
  using Body = pb::EvaluateResponse;
  now = Enter(now);
  const CallScope scope(this, request.header());
  Answer<Body> answer;
  if (RefusedHere(request.header(), &answer) || RefusedWork(&answer)) return answer;
  Body& out = answer.body;
  out.set_kind(pb::OUTCOME_KIND_NOT_READY);
  if (!Decides(request.header())) return answer;
  if (request.nodes_size() > kMaxNodesNamed) {
    return Bad<Body>(Code::kExhausted, "more nodes than one call may name");
  }
  Code code = Code::kOk;
  const Result<PodAsk> ask = ReadPod(caller, request.pod(), &code);
  if (!ask) return Bad<Body>(code, ask.error().ToString());
  engine_->Expire(now);
  std::vector<NodeId> nodes;
  for (const std::string& name : request.nodes()) nodes.push_back(engine_->state().FindNode(name));
  // What the pod holds already, or what its migration holds for it, is the only place for it.
  const Allocation* held = engine_->Find(ask->request.uid);
  if (const pb::CommandState* migration = MigrationFor(ask->request); migration != nullptr) {
    held = engine_->Find(*ParseUid(migration->held_uid()));
  }
  const std::string barred = held != nullptr ? "" : Barred(ask->request.uid, ask->request.standing);
  const std::vector<NodeVerdict> verdicts = engine_->Judge(ask->request, nodes);
  bool some = false;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    pb::NodeVerdict* v = out.add_verdicts();
    v->set_node(request.nodes(static_cast<int>(i)));
    NodeVerdict verdict = verdicts[i];
    if (held != nullptr) {
      verdict = held->node == nodes[i] ? NodeVerdict{Reason::kFits, 0, held->cards}
                                       : NodeVerdict{Reason::kExcluded, kNoScore, {}};
    } else if (!barred.empty()) {
      verdict = NodeVerdict{Reason::kExcluded, kNoScore, {}};
      v->set_text(barred);
    }
    v->set_reason(ReasonOf(verdict.reason));
    if (verdict.reason == Reason::kFits) {
      some = true;
      v->set_score(verdict.score);
      v->set_cards(verdict.cards.bits());
    } else if (v->text().empty()) {
      v->set_text(std::string(nodes[i].valid() ? ReasonKey(verdict.reason)
                                               : "the node is not in the cluster"));
    }
  }
  out.set_kind(some ? pb::OUTCOME_KIND_PLACED : pb::OUTCOME_KIND_WAIT);
  return answer;
}

Answer<pb::ExplainResponse> Service::Explain(const Caller& caller,
                                             const pb::ExplainRequest& request, SimTime now) {
  using Body = pb::ExplainResponse;
  now = Enter(now);
  const CallScope scope(this, request.header());
  Answer<Body> answer;
  if (RefusedHere(request.header(), &answer)) return answer;
  answer.body.set_kind(pb::OUTCOME_KIND_NOT_READY);
  if (!Decides(request.header())) return answer;
  Code code = Code::kOk;
  const Result<PodAsk> ask = ReadPod(caller, request.pod(), &code, /*decides=*/false);
  if (!ask) return Bad<Body>(code, ask.error().ToString());
  engine_->Expire(now);
  const Explanation explanation = engine_->Explain(
      ask->request, static_cast<std::size_t>(std::clamp(request.top(), 0, kMaxTop)));
  Body& out = answer.body;
  pb::Decision counts;
  WriteReasons(explanation, &counts);
  *out.mutable_counts() = std::move(*counts.mutable_counts());
  out.set_kind(static_cast<pb::OutcomeKind>(static_cast<int>(explanation.kind) + 1));
  out.set_text(explanation.text);
  out.set_nodes(explanation.nodes);
  out.set_state_version(engine_->state().change_count());
  if (explanation.kind == OutcomeKind::kPlaced) {
    WritePlace(explanation.placement, *ask->entry, false, out.mutable_placement());
  }
  for (const Explanation::Candidate& candidate : explanation.best) {
    pb::NodeVerdict* v = out.add_best();
    v->set_node(engine_->state().name(candidate.node));
    v->set_reason(pb::REASON_FITS);
    v->set_score(candidate.score);
    v->set_cards(candidate.cards.bits());
    // What a choice of several cards stands on.
    const auto book = node_facts_.find(v->node());
    if (candidate.cards.size() > 1 && book != node_facts_.end()) {
      v->set_text("wired: " + book->second.wired_as());
    }
  }
  return answer;
}

Answer<pb::EvictResponse> Service::Evict(const Caller& caller, const pb::EvictRequest& request,
                                         SimTime now) {
  using Body = pb::EvictResponse;
  now = Enter(now);
  const CallScope scope(this, request.header());
  Answer<Body> answer;
  if (RefusedHere(request.header(), &answer) || RefusedWork(&answer)) return answer;
  if (!request.dry_run() && (RefusedShadow(&answer) || RefusedWrite(&answer))) return answer;
  Body& out = answer.body;
  if (!Decides(request.header())) {
    out.set_reason("the cluster is not synced yet");
    return answer;
  }
  EvictionRules rules;
  rules.preempt = !request.no_preempt();
  rules.reclaim = !request.no_reclaim();
  rules.preempt_across_queues = !request.within_queue_only();
  rules.break_budgets = request.break_budgets();
  if (request.max_victims() < 0) return Bad<Body>(Code::kInvalid, "max_victims is negative");
  if (request.max_victims() > 0) rules.max_victims = request.max_victims();

  const bool gang = request.of_case() == pb::EvictRequest::kGang;
  if (!gang && request.of_case() != pb::EvictRequest::kPod) {
    return Bad<Body>(Code::kInvalid, "neither a pod nor a gang needs room");
  }
  Code code = Code::kOk;
  PodAsk pod;
  GangAsk many;
  EvictionPlan plan;
  if (gang) {
    Result<GangAsk> ask = ReadGang(caller, request.gang(), &code);
    if (!ask) return Bad<Body>(code, ask.error().ToString());
    many = std::move(*ask);
    Result<EvictionPlan> found = engine_->ProposeEviction(many.request, rules, now);
    if (!found) return Bad<Body>(Code::kInvalid, found.error().ToString());
    plan = std::move(*found);
    if (decisions_ != nullptr) Decided(AskOf(many.request, now), rules, plan, now);
  } else {
    Result<PodAsk> ask = ReadPod(caller, request.pod(), &code);
    if (!ask) return Bad<Body>(code, ask.error().ToString());
    pod = std::move(*ask);
    plan = engine_->ProposeEviction(pod.request, rules, now);
    if (decisions_ != nullptr) Decided(AskOf(pod.request, now), rules, plan, now);
  }
  const Standing& standing = gang ? many.request.standing : pod.request.standing;
  const std::string barred = Barred(gang ? many.request.uid : pod.request.uid, standing);
  if (!barred.empty()) {
    out.set_reason(barred);
    return answer;
  }
  out.set_found(plan.found);
  out.set_reason(plan.reason);
  if (!plan.found) return answer;
  for (const Victim& victim : plan.victims) {
    pb::Victim* v = out.add_victims();
    *v->mutable_pod() = KeyOf(victim.uid);
    v->set_node(engine_->state().name(victim.node));
    v->set_priority(victim.priority);
    v->set_queue(victim.queue);
    if (victim.gang != PodUid{}) v->set_gang(UuidText(victim.gang));
    v->set_lost_milli_us(victim.lost_milli_us);
    v->set_reclaim(victim.why == EvictionReason::kReclaim);
  }
  if (gang) {
    WriteGang(many, plan.gang, false, out.mutable_gang());
  } else {
    Outcome outcome;
    outcome.kind = OutcomeKind::kPlaced;
    outcome.placement = plan.placement;
    WriteDecision(pod, outcome, false, false, out.mutable_pod());
  }
  if (request.dry_run()) return answer;
  const Result<Lease> lease = gang ? engine_->NominateGang(many.request, plan, now)
                                   : engine_->Nominate(pod.request, plan, now);
  if (!lease) {
    out.Clear();
    out.set_reason(lease.error().ToString());
    return answer;
  }
  if (RefusedWrite(&answer)) {  // it broke on this very record
    GiveBack(lease->uid, gang, now);
    return answer;
  }
  const std::uint32_t attempt = gang ? many.request.attempt : pod.request.attempt;
  const std::uint64_t turn = Remember(request.header(), lease->uid, attempt, lease->epoch);
  WriteLease(*lease, gang, turn, out.mutable_lease());
  NameHeld(lease->uid, gang ? many.key : pod.key, turn);
  TellVictims();
  metrics_.Count("evictions", plan.victims.size());
  return Durable(std::move(answer));
}

}  // namespace basalt::service
