// What must hold at any moment, asked of the service directly: before the sync is complete nothing
// is decided; what only asks changes nothing; explanations agree with decisions and add up; more
// room makes nothing impossible; no gang has a part of its minimum but for a loss or an eviction.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "adapters/service/uid.h"
#include "test/service_sim/world.h"

namespace basalt::service_sim {
namespace {

const service::Caller kProbe{"probe", true};

pb::ProposeRequest ProposalOf(const Job& job) {
  pb::ProposeRequest request;
  if (job.gang) {
    FillGang(job, request.mutable_gang());
  } else {
    FillPod(job, request.mutable_pod());
  }
  return request;
}

pb::OutcomeKind KindOf(const pb::ProposeResponse& answer) {
  return answer.has_gang() ? answer.gang().kind() : answer.pod().kind();
}

}  // namespace

std::string World::Probe() {
  ++tally_.probes;
  if (!server_.service().ready()) return ProbeNotReady();
  if (std::string why = ProbeGangs(); !why.empty()) return why;
  if (api_.jobs().empty()) return "";
  auto it = api_.jobs().begin();
  std::advance(it, static_cast<std::ptrdiff_t>(steps_ / 100 % api_.jobs().size()));
  const Job& job = it->second;
  server_.service().Tick(server_.clock());  // what is due ends here, not inside a question
  for (auto probe : {&World::ProbeDryRuns, &World::ProbeExplanation}) {
    if (std::string why = (this->*probe)(job); !why.empty()) {
      return fmt::format("{}, job {}", why, job.number);
    }
  }
  return steps_ % 1'000 == 0 ? ProbeMoreRoom(job) : "";
}

std::string World::ProbeNotReady() {
  ++tally_.not_ready;
  if (api_.jobs().empty()) return "";
  const Job& job = api_.jobs().begin()->second;
  const auto proposed = server_.service().Propose(kProbe, ProposalOf(job), server_.clock());
  if (KindOf(proposed.body) != pb::OUTCOME_KIND_NOT_READY) return "decided before the sync";
  pb::ReserveRequest reserve;
  FillPod(job, reserve.mutable_pod());
  const auto reserved = server_.service().Reserve(kProbe, reserve, server_.clock());
  return reserved.body.has_lease() ? "reserved before the sync" : "";
}

// The digest of the state, and what a question might have left beside it.
std::string World::ProbeDryRuns(const Job& job) {
  service::Service& service = server_.service();
  const SimTime now = server_.clock();
  const auto look = [&] {
    return fmt::format("{} {} {}", service.StateDigest(), service.engine().allocation_count(),
                       service.ActionsAfter(0, {}, 1'000).size());
  };
  const std::string before = look();
  const auto first = service.Propose(kProbe, ProposalOf(job), now);
  const auto again = service.Propose(kProbe, ProposalOf(job), now);
  if (first.body.SerializeAsString() != again.body.SerializeAsString()) {
    return "the same question had two answers";
  }
  pb::EvictRequest evict;
  pb::EvaluateRequest evaluate;
  if (job.gang) {
    FillGang(job, evict.mutable_gang());
  } else {
    FillPod(job, evict.mutable_pod());
    FillPod(job, evaluate.mutable_pod());
    for (const auto& [name, version] : api_.nodes()) evaluate.add_nodes(name);
    const auto verdicts = service.Evaluate(kProbe, evaluate, now);
    // What fits somewhere is placed, unless a quota or another's room forbids it.
    if (first.body.pod().kind() == pb::OUTCOME_KIND_PLACED &&
        verdicts.body.kind() != pb::OUTCOME_KIND_PLACED) {
      const bool unknown = !api_.nodes().contains(first.body.pod().placement().node());
      if (!unknown) return "what is placed fits nowhere";
    }
  }
  evict.set_dry_run(true);
  static_cast<void>(service.Evict(kProbe, evict, now));
  // Of another cluster: refused.
  pb::ReserveRequest astray;
  FillPod(job, astray.mutable_pod());
  astray.mutable_header()->set_cluster("another");
  if (service.Reserve(kProbe, astray, now).ok()) return "answered for another cluster";
  return look() == before ? "" : "a dry run has changed something";
}

std::string World::ProbeExplanation(const Job& job) {
  if (job.gang || api_.IsBound(job.pods[0])) return "";
  service::Service& service = server_.service();
  if (service.engine().Find(support::Uid(job.pods[0])) != nullptr) return "";
  pb::ExplainRequest explain;
  FillPod(job, explain.mutable_pod());
  explain.set_top(3);
  const auto explained = service.Explain(kProbe, explain, server_.clock());
  const auto proposed = service.Propose(kProbe, ProposalOf(job), server_.clock());
  if (!explained.ok() || !proposed.ok()) return "no explanation: " + explained.message;
  std::int64_t nodes = 0;
  for (const auto& count : explained.body.counts()) nodes += count.nodes();
  if (nodes != explained.body.nodes() ||
      std::cmp_not_equal(nodes, service.engine().state().order().size())) {
    return "the explanation's counts do not add up";
  }
  if (explained.body.kind() != proposed.body.pod().kind()) {
    return "the explanation is of another decision";
  }
  if (explained.body.has_placement() &&
      (explained.body.placement().node() != proposed.body.pod().placement().node() ||
       explained.body.placement().cards() != proposed.body.pod().placement().cards())) {
    return "the explanation is of another place";
  }
  return "";
}

// On a copy: what is placed stays placed, and what waits stays possible, when something ends or a
// node comes. The copy is made of a snapshot, which must be the same state.
std::string World::ProbeMoreRoom(const Job& job) {
  const Engine& real = server_.service().engine();
  const service::ClusterConfig& config = server_.service().config();
  auto copy = Engine::Restore(real.Snapshot(), support::Policy(config.policy),
                              *service::EngineOptionsOf(config, support::TestEnvironment()));
  if (!copy) return "a snapshot that cannot be read: " + copy.error().ToString();
  Engine& engine = **copy;
  if (engine.StateDigest() != real.StateDigest()) return "a snapshot is another state";
  RequestSpec spec = support::Ask(job.cpu_milli, job.gpus, job.milli);
  spec.memory_mib = job.memory_mib;
  const Request request{PodUid{7, 7}, 0, *engine.InternShape(spec), 0, Standing{}, nullptr};
  const SimTime now = engine.now();
  const OutcomeKind before = engine.Propose(request, now).kind;
  std::vector<PodUid> some;
  engine.ForEachAllocation([&some](const Allocation& a) {
    if (a.confirmed && a.member < 0 && !a.is_leaving()) some.push_back(a.uid);
  });
  if (!some.empty() && job.number % 2 == 0) {
    const PodUid& uid = some[job.number / 2 % some.size()];
    if (Status ok = engine.Apply(PodGone{uid, false}, now); !ok) return ok.error().ToString();
  } else {
    NodeSpec node;
    node.name = "one-more";
    node.cpu_milli = kCpuMilli;
    node.memory_mib = kMemoryMib;
    node.cards.resize(kCards);
    for (int c = 0; c < kCards; ++c) {
      node.cards[static_cast<std::size_t>(c)].uuid = fmt::format("GPU-one-more-{}", c);
      node.cards[static_cast<std::size_t>(c)].model = "T4";
    }
    if (Status ok = engine.Apply(NodeAdded{node}, now); !ok) return ok.error().ToString();
  }
  ++tally_.freed;
  const OutcomeKind after = engine.Propose(request, now).kind;
  if (before == OutcomeKind::kPlaced && after != OutcomeKind::kPlaced) {
    return "more room, and what had a place has none";
  }
  if (before == OutcomeKind::kWait && after == OutcomeKind::kInfeasible) {
    return "more room made it impossible";
  }
  return "";
}

std::string World::ProbeGangs() const {
  for (const auto& [uid, gang] : server_.service().engine().gangs()) {
    bool loss = std::ranges::count(gang.members, Gang::Member::kLost) > 0;
    for (const PodUid& pod : gang.pods) loss = loss || made_to_leave_.contains(pod.lo);
    if (IsDegraded(gang) != gang.degraded || (gang.degraded && !loss)) {
      return "a gang has a part of its minimum, and nothing was lost";
    }
  }
  return "";
}

}  // namespace basalt::service_sim
