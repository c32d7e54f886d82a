// Sync streams: which source tells what, in which order, and when a kind is complete. A stream's
// generations have no holes; what is held and was not listed is swept when its kind is complete.
#include <algorithm>
#include <utility>

#include "adapters/service/service.h"
#include "adapters/service/shown.h"
#include "adapters/service/uid.h"
#include "scheduler-core/base/check.h"

namespace basalt::service {
namespace {

constexpr std::size_t kMaxRejectedTold = 1'000;

const std::string& NameOf(const pb::NodeState& node) {
  return node.has_kubernetes() ? node.kubernetes().name() : node.spec().name();
}

std::string ObjectOf(const pb::Delta& delta) {
  switch (delta.of_case()) {
    case pb::Delta::kNode:
      return "node " + NameOf(delta.node());
    case pb::Delta::kNodeGone:
      return "node " + delta.node_gone();
    case pb::Delta::kPod:
      return "pod " + delta.pod().pod().uid();
    case pb::Delta::kPodGone:
      return "pod " + delta.pod_gone().uid();
    case pb::Delta::kQueue:
      return "queue " + delta.queue().name();
    case pb::Delta::kQueueGone:
      return "queue " + delta.queue_gone();
    case pb::Delta::kBudget:
      return "budget " + delta.budget().name();
    case pb::Delta::kCard:
      return "card of node " + delta.card().node();
    case pb::Delta::kPath:
      return "path of node " + delta.path().node();
    case pb::Delta::kCheckpointed:
      return "pod " + delta.checkpointed().uid();
    case pb::Delta::OF_NOT_SET:
      break;
  }
  return "delta";
}

// The kind of object that a stream must carry to tell this.
int KindOf(const pb::Delta& delta) {
  switch (delta.of_case()) {
    case pb::Delta::kNode:
    case pb::Delta::kNodeGone:
    case pb::Delta::kCard:
      return pb::SYNC_KIND_NODES;
    case pb::Delta::kPod:
    case pb::Delta::kPodGone:
    case pb::Delta::kCheckpointed:
      return pb::SYNC_KIND_PODS;
    case pb::Delta::kQueue:
    case pb::Delta::kQueueGone:
      return pb::SYNC_KIND_QUEUES;
    case pb::Delta::kBudget:
      return pb::SYNC_KIND_BUDGETS;
    case pb::Delta::kPath:
      return pb::SYNC_KIND_TOPOLOGY;
    case pb::Delta::OF_NOT_SET:
      break;
  }
  return pb::SYNC_KIND_UNSPECIFIED;
}

}  // namespace

bool Service::ready() const {
  if (config_.learn) return true;
  return complete_.contains(pb::SYNC_KIND_NODES) && complete_.contains(pb::SYNC_KIND_PODS) &&
         (!config_.needs_queues || complete_.contains(pb::SYNC_KIND_QUEUES));
}

Answer<pb::SyncResponse> Service::SyncAnswer(const SyncStream& stream, const Rejections& rejected,
                                             pb::SyncResponse body) {
  Answer<pb::SyncResponse> answer;
  metrics_.Count("sync_rejected", rejected.size());
  body.set_server_epoch(server_epoch_);
  body.set_applied_generation(stream.generation);
  body.set_ready(ready());
  for (const auto& [object, reason] : rejected) {
    if (std::cmp_greater_equal(body.rejected_size(), kMaxRejectedTold)) break;
    pb::Rejected* r = body.add_rejected();
    r->set_object(Shown(object, 300));
    r->set_reason(Shown(reason));
  }
  answer.body = std::move(body);
  return answer;
}

Answer<pb::SyncResponse> Service::SyncOpen(const Caller& caller, const pb::SyncOpen& open,
                                           std::uint64_t stream, SimTime now) {
  using Body = pb::SyncResponse;
  Enter(now);
  Answer<Body> answer;
  if (RefusedHere(open.header(), &answer) || RefusedFeed(caller, &answer)) return answer;
  if (stream <= last_stream_) {
    return Bad<Body>(Code::kInvalid, "streams have growing numbers; this one is not new");
  }
  SyncStream made;
  made.source = open.source();
  engine_->ForEachAllocation(
      [&made](const Allocation& a) { made.newest_epoch = std::max(made.newest_epoch, a.epoch); });
  for (const int kind : open.kinds()) {
    if (kind <= pb::SYNC_KIND_UNSPECIFIED || kind > pb::SYNC_KIND_BUDGETS) {
      return Bad<Body>(Code::kInvalid, "an unknown kind of object");
    }
    made.kinds.insert(kind);
  }
  if (made.kinds.empty()) return Bad<Body>(Code::kInvalid, "the stream is of no kind of object");
  std::set<std::uint64_t> replaced;
  for (const int kind : made.kinds) {
    const auto it = source_of_.find(kind);
    if (it == source_of_.end()) continue;
    // The same source again: its old stream broke without our noticing.
    if (streams_.at(it->second).source != made.source) {
      return Bad<Body>(Code::kExists, pb::SyncKind_Name(static_cast<pb::SyncKind>(kind)) +
                                          " is synced by \"" + streams_.at(it->second).source +
                                          "\" already");
    }
    replaced.insert(it->second);
  }
  last_stream_ = stream;
  for (const std::uint64_t old : replaced) SyncClosed(old);
  const auto last = resumable_.find(made.kinds);
  const bool resumes = open.resume_generation() != 0 && open.server_epoch() == server_epoch_ &&
                       last != resumable_.end() && last->second == open.resume_generation();
  if (resumes) {
    made.generation = open.resume_generation();
  } else {
    made.listing = made.kinds;
  }
  if (last != resumable_.end()) resumable_.erase(last);
  for (const int kind : made.kinds) source_of_[kind] = stream;
  const SyncStream& kept = streams_.emplace(stream, std::move(made)).first->second;
  Body body;
  body.set_relist(!resumes && open.resume_generation() != 0);
  return SyncAnswer(kept, {}, std::move(body));
}

void Service::SyncClosed(std::uint64_t stream) {
  const auto it = streams_.find(stream);
  if (it == streams_.end()) return;
  std::erase_if(source_of_, [stream](const auto& entry) { return entry.second == stream; });
  if (it->second.listing.empty() && !it->second.broken) {
    resumable_[it->second.kinds] = it->second.generation;
  }
  streams_.erase(it);
}

Service::SyncStream* Service::StreamFor(std::uint64_t id, std::uint64_t generation,
                                        std::uint64_t step, Answer<pb::SyncResponse>* answer) {
  const auto it = streams_.find(id);
  if (it == streams_.end()) {
    *answer = Bad<pb::SyncResponse>(Code::kPrecondition, "the stream is not open; open it first");
    return nullptr;
  }
  SyncStream& stream = it->second;
  stream.broken = stream.broken || generation > stream.generation + step;
  if (stream.broken || generation < stream.generation + step) {
    pb::SyncResponse body;
    body.set_relist(stream.broken);
    *answer = SyncAnswer(stream, {}, std::move(body));
    return nullptr;
  }
  return &stream;
}

Answer<pb::SyncResponse> Service::SyncDeltas(const pb::SyncDeltas& deltas, std::uint64_t stream,
                                             SimTime now) {
  now = Enter(now);
  Answer<pb::SyncResponse> answer;
  SyncStream* from = StreamFor(stream, deltas.generation(), 1, &answer);
  if (from == nullptr) return answer;
  from->generation = deltas.generation();
  Rejections rejected;
  for (const pb::Delta& delta : deltas.deltas()) ApplyDelta(delta, from, now, &rejected);
  RetryQueues(now);
  TellVictims();
  StepCommands(now);
  synced_ = now;
  if (from->kinds.contains(pb::SYNC_KIND_PODS)) pods_generation_ = from->generation;
  metrics_.Count("sync_deltas", static_cast<std::uint64_t>(deltas.deltas_size()));
  return SyncAnswer(*from, rejected, {});
}

Answer<pb::SyncResponse> Service::SyncComplete(const pb::SyncComplete& complete,
                                               std::uint64_t stream, SimTime now) {
  now = Enter(now);
  Answer<pb::SyncResponse> answer;
  const std::set<int> told(complete.kinds().begin(), complete.kinds().end());
  if (const auto it = streams_.find(stream); it != streams_.end()) {
    // Overtaken by deltas: which of them the listing had is not known, so nothing can be swept.
    SyncStream& late = it->second;
    const auto lists = [&late](int kind) { return late.listing.contains(kind); };
    late.broken = late.broken || (complete.generation() < late.generation &&
                                  std::any_of(told.begin(), told.end(), lists));
  }
  SyncStream* from = StreamFor(stream, complete.generation(), 0, &answer);
  if (from == nullptr) return answer;
  Rejections rejected;
  pb::SyncResponse body;
  std::set<int> kinds = told;
  std::erase_if(kinds, [from](int kind) { return !from->listing.contains(kind); });
  if (kinds.contains(pb::SYNC_KIND_NODES)) SweepNodes(*from, now, &body);
  if (kinds.contains(pb::SYNC_KIND_TOPOLOGY)) SweepPaths(*from, now);
  if (kinds.contains(pb::SYNC_KIND_PODS)) SweepPods(*from, now, &body);
  if (kinds.contains(pb::SYNC_KIND_BUDGETS)) SweepBudgets(*from, now);
  if (kinds.contains(pb::SYNC_KIND_QUEUES)) {
    SweepQueues(*from, now, &rejected);
    for (const auto& [name, spec] : waiting_queues_) {
      rejected.emplace_back("queue " + name, "its parent " + spec.parent + " was not listed");
    }
    waiting_queues_.clear();
  }
  for (const int kind : kinds) {
    from->listing.erase(kind);
    complete_.insert(kind);
  }
  TellVictims();
  StepCommands(now);
  if (config_.shadow && ready()) MeasureShadow(now);
  synced_ = now;
  return SyncAnswer(*from, rejected, std::move(body));
}

void Service::ApplyDelta(const pb::Delta& delta, SyncStream* stream, SimTime now,
                         Rejections* rejected) {
  const int kind = KindOf(delta);
  if (!stream->kinds.contains(kind)) {
    rejected->emplace_back(ObjectOf(delta), "the stream does not carry this kind of object");
    return;
  }
  const bool lists = stream->listing.contains(kind);
  const std::uint64_t before = engine_->state().change_count();
  Status ok;
  switch (delta.of_case()) {
    case pb::Delta::kNode: {
      const std::string& name = NameOf(delta.node());
      if (lists) stream->nodes.insert(name);
      ok = ApplyNode(delta.node(), now);
      if (ok) AdoptOrphans(name, now, rejected);
      break;
    }
    case pb::Delta::kNodeGone:
      stream->nodes.erase(delta.node_gone());
      ok = NodeEnded(delta.node_gone(), now);
      break;
    case pb::Delta::kPod:
      if (const Result<PodUid> uid = ParseUid(delta.pod().pod().uid()); uid && lists) {
        stream->pods.insert(*uid);
      }
      ok = ApplyPod(delta.pod(), now);
      break;
    case pb::Delta::kPodGone: {
      const Result<PodUid> uid = ParseUid(delta.pod_gone().uid());
      if (uid) {
        stream->pods.erase(*uid);
        PodEnded(*uid, delta.pod_gone().failed(), now);
      } else {
        ok = tl::unexpected<Error>(uid.error());
      }
      break;
    }
    case pb::Delta::kQueue:
      if (lists) stream->queues.insert(delta.queue().name());
      ok = ApplyQueue(delta.queue(), now);
      break;
    case pb::Delta::kQueueGone:
      stream->queues.erase(delta.queue_gone());
      waiting_queues_.erase(delta.queue_gone());
      closed_queues_.erase(delta.queue_gone());
      if (engine_->queues().Find(delta.queue_gone())) {
        ok = engine_->Apply(QueueRemoved{delta.queue_gone()}, now);
      }
      break;
    case pb::Delta::kBudget: {
      const pb::Budget& in = delta.budget();
      if (lists) stream->budgets.insert(in.name());
      ok = engine_->Apply(
          DisruptionBudgetSet{in.name(), in.has_min_available() ? in.min_available() : -1,
                              in.has_max_unavailable() ? in.max_unavailable() : -1,
                              in.has_expected() ? in.expected() : -1},
          now);
      break;
    }
    case pb::Delta::kCard:
      ok = ApplyCard(delta.card(), now);
      break;
    case pb::Delta::kPath:
      if (lists) stream->paths.insert(delta.path().node());
      ok = ApplyPath(delta.path(), now);
      break;
    case pb::Delta::kCheckpointed: {
      const Result<PodUid> uid = ParseUid(delta.checkpointed().uid());
      ok = uid ? engine_->Apply(PodCheckpointed{*uid}, now)
               : Status(tl::unexpected<Error>(uid.error()));
      break;
    }
    case pb::Delta::OF_NOT_SET:
      break;
  }
  if (!ok) rejected->emplace_back(ObjectOf(delta), ok.error().ToString());
  // The listing before the cluster decides frees nothing for anybody.
  if (!ready()) return;
  if (delta.has_queue() || delta.has_queue_gone()) TellFreed("");
  if (delta.has_node() && engine_->state().change_count() != before)
    TellFreed(NameOf(delta.node()));
  if (delta.has_card() && engine_->state().change_count() != before) TellFreed(delta.card().node());
}

void Service::SweepBudgets(const SyncStream& stream, SimTime now) {
  std::vector<std::string> gone;
  for (const auto& [name, budget] : engine_->budgets()) {
    if (!stream.budgets.contains(name)) gone.push_back(name);
  }
  for (const std::string& name : gone) {
    const Status ok = engine_->Apply(DisruptionBudgetSet{name}, now);
    BASALT_CHECK(ok.has_value());  // nothing but its name is asked of it
  }
}

}  // namespace basalt::service
