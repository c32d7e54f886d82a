#include <fmt/format.h>

#include <utility>

#include "test/service_sim/world.h"

namespace basalt::service_sim {

namespace {
constexpr std::int64_t kPatienceUs = 400'000;
const service::Caller kCaller{"syncer", true};
}  // namespace

Syncer::Syncer(Net* net, ApiModel* api, Server* server, Tally* tally)
    : net_(net), api_(api), server_(server), tally_(tally) {}

void Syncer::Begin() {
  ++life_;
  ++stream_;
  state_ = State::kOpening;
  completed_ = false;
  generation_ = 0;
  Say();
}

void Syncer::Break() {
  if (server_->up()) server_->service().SyncClosed(stream_);
  ++tally_->relists;
  Begin();
}

pb::Delta Syncer::NodeDelta(const std::string& name) const {
  pb::Delta delta = support::NodeDelta(name, kCpuMilli, kCards);
  delta.mutable_node()->mutable_spec()->set_memory_mib(kMemoryMib);
  pb::Label* label = delta.mutable_node()->mutable_spec()->add_labels();
  label->set_key("version");
  label->set_value(std::to_string(api_->nodes().at(name)));
  return delta;
}

pb::Delta Syncer::PodDelta(const Pod& pod) const {
  const Job& job = *api_->JobOf(pod.number);
  pb::Delta delta =
      support::PodDelta(support::PodOf(pod.number, job.cpu_milli, job.gpus, job.milli), pod.node);
  delta.mutable_pod()->mutable_ask()->mutable_spec()->set_memory_mib(job.memory_mib);
  delta.mutable_pod()->mutable_standing()->set_priority(job.priority);
  delta.mutable_pod()->mutable_standing()->set_queue(job.QueueName());
  // What runs says which cards it was given; some nodes do not say.
  if (pod.number % 2 == 0) {
    for (int c = 0; c < kCards; ++c) {
      if (((pod.cards >> c) & 1) != 0) {
        delta.mutable_pod()->add_granted_uuids(fmt::format("GPU-{}-{}", pod.node, c));
      }
    }
  }
  return delta;
}

pb::Delta Syncer::DeltaOf(const LogEntry& entry) const {
  pb::Delta delta;
  switch (entry.kind) {
    case LogEntry::Kind::kNode:
      if (api_->nodes().contains(entry.node)) return NodeDelta(entry.node);
      break;
    case LogEntry::Kind::kNodeGone:
      delta.set_node_gone(entry.node);
      break;
    case LogEntry::Kind::kPod: {
      const auto it = api_->pods().find(entry.pod);
      if (it != api_->pods().end()) return PodDelta(it->second);
      break;
    }
    case LogEntry::Kind::kPodGone:
      return support::GoneDelta(entry.pod, entry.failed);
  }
  return delta;
}

pb::SyncDeltas Syncer::Next() {
  pb::SyncDeltas message;
  message.set_generation(++generation_);
  if (!completed_) {  // the listing, in one message
    at_ = api_->log().size();
    for (const char* name : {"a", "b"}) {
      pb::QueueState* queue = message.add_deltas()->mutable_queue();
      queue->set_name(name);
      pb::Amount* capacity = queue->add_capacity();
      capacity->set_resource("gpu");
      capacity->set_amount(kQueueMilli);
    }
    for (const auto& [name, version] : api_->nodes()) *message.add_deltas() = NodeDelta(name);
    for (const auto& [number, pod] : api_->pods()) *message.add_deltas() = PodDelta(pod);
    return message;
  }
  for (; at_ < api_->log().size() && message.deltas_size() < 50; ++at_) {
    const pb::Delta delta = DeltaOf(api_->log()[at_]);
    if (delta.of_case() != pb::Delta::OF_NOT_SET) *message.add_deltas() = delta;
  }
  return message;
}

void Syncer::Say() {
  const std::uint64_t life = life_;
  const std::uint64_t said = ++said_;
  const std::uint64_t generation = generation_;
  const std::uint64_t stream = stream_;
  // A stream is a connection: it is with one run of the server.
  const std::uint64_t boot = server_->boot();
  const auto with = [boot](const auto& call) {
    return [boot, call](service::Service& s, SimTime now) {
      if (s.server_epoch() == boot) return call(s, now);
      service::Answer<pb::SyncResponse> broken;
      broken.code = service::Code::kUnavailable;
      return broken;
    };
  };
  // A stream answers its messages in their order: an answer to the deltas is none to what follows.
  const auto reply = [this, life, generation,
                      state = state_](const service::Answer<pb::SyncResponse>& answer) {
    if (state == state_) OnAnswer(life, generation, answer);
  };
  if (state_ == State::kOpening) {
    pb::SyncOpen open;
    open.set_source("syncer");
    open.add_kinds(pb::SYNC_KIND_NODES);
    open.add_kinds(pb::SYNC_KIND_PODS);
    open.add_kinds(pb::SYNC_KIND_QUEUES);
    server_->Ask<pb::SyncResponse>(Peer::kSyncer,
                                   with([open, stream](service::Service& s, SimTime now) {
                                     return s.SyncOpen(kCaller, open, stream, now);
                                   }),
                                   reply);
  } else if (state_ == State::kTelling) {
    const pb::SyncDeltas message = message_;
    server_->Ask<pb::SyncResponse>(Peer::kSyncer,
                                   with([message, stream](service::Service& s, SimTime now) {
                                     return s.SyncDeltas(message, stream, now);
                                   }),
                                   reply);
  } else {
    pb::SyncComplete complete;
    complete.set_generation(generation);
    complete.add_kinds(pb::SYNC_KIND_NODES);
    complete.add_kinds(pb::SYNC_KIND_PODS);
    complete.add_kinds(pb::SYNC_KIND_QUEUES);
    server_->Ask<pb::SyncResponse>(Peer::kSyncer,
                                   with([complete, stream](service::Service& s, SimTime now) {
                                     return s.SyncComplete(complete, stream, now);
                                   }),
                                   reply);
  }
  net_->After(kPatienceUs, [this, life, said] {
    if (life != life_ || said != said_) return;
    // An opening that was answered and lost stands in its own way.
    if (state_ == State::kOpening) {
      Begin();
    } else {
      Say();
    }
  });
}

void Syncer::OnAnswer(std::uint64_t life, std::uint64_t generation,
                      const service::Answer<pb::SyncResponse>& answer) {
  if (life != life_ || generation != generation_) return;
  if (!answer.ok() || answer.body.relist()) {
    Break();
    return;
  }
  if (answer.body.applied_generation() != generation_) return;  // of an earlier saying
  switch (state_) {
    case State::kOpening:
      state_ = State::kTelling;
      message_ = Next();
      Say();
      return;
    case State::kCompleting:
      if (!answer.body.ready()) return;
      completed_ = true;
      state_ = State::kTelling;
      break;
    case State::kTelling:
      if (!completed_) {
        state_ = State::kCompleting;
        Say();
        return;
      }
      break;
  }
  // Idle until there is something new.
  ++said_;
  const std::uint64_t said = said_;
  net_->After(20'000, [this, life, said] {
    if (life != life_ || said != said_) return;
    message_ = Next();
    Say();
  });
}

}  // namespace basalt::service_sim
