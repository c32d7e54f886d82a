// The calls that stay open.
#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>
#include <vector>

#include "adapters/rpc/handlers.h"

namespace basalt::rpc {
namespace {

constexpr std::size_t kChunk = std::size_t{1} << 20;
constexpr std::size_t kEventsAtOnce = 256;
constexpr std::chrono::milliseconds kLook{200};  // how soon a stream sees that it is to end
// Events of so long are told together: what nobody waits for should not have the journal synced
// just when a confirmation needs it.
constexpr std::chrono::milliseconds kGather{20};

// Who is kept to some queues sees when something happens, and of others no more than UIDs.
void HideNames(pb::WatchEvent* event) {
  event->clear_request_id();
  event->clear_scheduler();
  for (pb::PodKey* key :
       {event->has_about() ? event->mutable_about() : nullptr,
        event->has_mismatch() ? event->mutable_mismatch()->mutable_pod() : nullptr}) {
    if (key == nullptr) continue;
    key->clear_namespace_();
    key->clear_name();
  }
}

bool IsLimited(grpc::ServerContext* context, Room* room) {
  const service::Caller caller = CallerOf(*context);
  return room->With([&](service::Service& service, SimTime) { return service.IsLimited(caller); });
}

}  // namespace

grpc::Status PlacementHandlers::TooManyStreams() const {
  return {grpc::StatusCode::RESOURCE_EXHAUSTED,
          "there are " + std::to_string(max_streams_) + " streams already"};
}

Room* PlacementHandlers::ReadableRoom(grpc::ServerContext* context, const pb::Header& header,
                                      grpc::Status* status) {
  Room* room = rooms_->Find(header.cluster());
  if (room == nullptr) {
    *status = {grpc::StatusCode::NOT_FOUND, rooms_->UnknownCluster(header.cluster())};
    return nullptr;
  }
  const service::Caller caller = CallerOf(*context);
  if (!room->With([&](service::Service& service, SimTime) { return service.MayRead(caller); })) {
    *status = {grpc::StatusCode::PERMISSION_DENIED, "may not read this cluster"};
    return nullptr;
  }
  return room;
}

grpc::Status PlacementHandlers::Sync(
    grpc::ServerContext* context,
    grpc::ServerReaderWriter<pb::SyncResponse, pb::SyncRequest>* stream) {
  const StreamSlot slot(&streams_, max_streams_);
  if (!slot) return TooManyStreams();
  if (grpc::Status limited = Limited(rooms_, context, 1); !limited.ok()) return limited;
  pb::SyncRequest message;
  if (!stream->Read(&message)) return grpc::Status::OK;
  if (!message.has_open()) {
    return {grpc::StatusCode::INVALID_ARGUMENT, "the first message must be SyncOpen"};
  }
  const std::string& cluster = message.open().header().cluster();
  Room* room = rooms_->Find(cluster);
  if (room == nullptr) return {grpc::StatusCode::NOT_FOUND, rooms_->UnknownCluster(cluster)};
  const service::Caller caller = CallerOf(*context);
  std::uint64_t number = 0;  // until it is open
  struct Close {
    Room* room;
    const std::uint64_t& number;
    ~Close() {
      room->With([&](service::Service& service, SimTime) { service.SyncClosed(number); });
    }
  } const close{room, number};
  bool opened = false;
  do {
    Reply<pb::SyncResponse> reply =
        room->Run("sync", kNoDeadline, true,
                  [&](service::Service& service, SimTime now) -> service::Answer<pb::SyncResponse> {
                    if (message.has_deltas())
                      return service.SyncDeltas(message.deltas(), number, now);
                    if (message.has_complete())
                      return service.SyncComplete(message.complete(), number, now);
                    if (message.has_open() && !opened) {
                      const std::uint64_t made = service.NewStream();
                      auto answer = service.SyncOpen(caller, message.open(), made, now);
                      if (answer.ok()) number = made;
                      return answer;
                    }
                    return {.code = service::Code::kInvalid,
                            .message = "a sync message must have deltas or complete"};
                  });
    opened = true;
    if (!reply.ok()) return StatusOf(reply.code, reply.message);
    if (!stream->Write(reply.body)) break;
    message.Clear();
  } while (!Over(context) && stream->Read(&message));
  return grpc::Status::OK;
}

grpc::Status PlacementHandlers::GetSnapshot(grpc::ServerContext* context,
                                            const pb::SnapshotRequest* request,
                                            grpc::ServerWriter<pb::SnapshotChunk>* writer) {
  const StreamSlot slot(&streams_, max_streams_);
  if (!slot) return TooManyStreams();
  if (grpc::Status limited = Limited(rooms_, context, 1); !limited.ok()) return limited;
  grpc::Status status;
  Room* room = ReadableRoom(context, request->header(), &status);
  if (room == nullptr) return status;
  if (IsLimited(context, room)) {
    return {grpc::StatusCode::PERMISSION_DENIED, "a snapshot holds all queues' pods"};
  }
  std::string bytes;
  pb::SnapshotChunk chunk;
  const std::uint64_t position = room->With([&](service::Service& service, SimTime) {
    bytes = service.Snapshot();
    chunk.set_state_digest(service.StateDigest());
    return service.position();
  });
  if (!room->Durable(position)) {
    return {grpc::StatusCode::DATA_LOSS, "the journal cannot be written"};
  }
  const std::string digest = chunk.state_digest();
  chunk.Clear();
  for (std::size_t at = 0; at == 0 || at < bytes.size(); at += kChunk) {
    chunk.set_data(bytes.substr(at, kChunk));
    if (at + kChunk >= bytes.size()) {
      chunk.set_state_digest(digest);
      chunk.set_journal_position(position);
    }
    if (!writer->Write(chunk)) break;
  }
  return grpc::Status::OK;
}

grpc::Status PlacementHandlers::Watch(grpc::ServerContext* context, const pb::WatchRequest* request,
                                      grpc::ServerWriter<pb::WatchEvent>* writer) {
  const StreamSlot slot(&streams_, max_streams_);
  if (!slot) return TooManyStreams();
  if (grpc::Status limited = Limited(rooms_, context, 1); !limited.ok()) return limited;
  grpc::Status status;
  Room* room = ReadableRoom(context, request->header(), &status);
  if (room == nullptr) return status;
  const bool limited = IsLimited(context, room);
  std::uint64_t from = request->from();
  if (from == 0) {
    from = room->With([](service::Service& service, SimTime) { return service.last_event(); });
  }
  // Tells the client that what happens from here on will be seen.
  writer->SendInitialMetadata();
  while (!Over(context)) {
    std::this_thread::sleep_for(kGather);
    const std::uint64_t seen = room->news();
    std::uint64_t position = 0;
    std::vector<pb::WatchEvent> events = room->With([&](service::Service& service, SimTime) {
      position = service.position();
      return service.WatchAfter(from, kEventsAtOnce);
    });
    if (events.empty()) {
      room->WaitForNews(seen, kLook);
      continue;
    }
    if (!room->Durable(position)) {
      return {grpc::StatusCode::DATA_LOSS, "the journal cannot be written"};
    }
    for (pb::WatchEvent& event : events) {
      if (limited) HideNames(&event);
      if (!writer->Write(event)) return grpc::Status::OK;
      from = std::max(from, event.number());
    }
  }
  return grpc::Status::OK;
}

grpc::Status PlacementHandlers::WatchActions(grpc::ServerContext* context,
                                             const pb::WatchActionsRequest* request,
                                             grpc::ServerWriter<pb::Action>* writer) {
  const StreamSlot slot(&streams_, max_streams_);
  if (!slot) return TooManyStreams();
  if (grpc::Status limited = Limited(rooms_, context, 1); !limited.ok()) return limited;
  grpc::Status status;
  Room* room = ReadableRoom(context, request->header(), &status);
  if (room == nullptr) return status;
  if (IsLimited(context, room)) {
    return {grpc::StatusCode::PERMISSION_DENIED, "actions are about all queues' pods"};
  }
  std::vector<pb::ActionKind> kinds;
  for (const int kind : request->kinds()) kinds.push_back(static_cast<pb::ActionKind>(kind));
  std::uint64_t after = request->after_sequence();
  writer->SendInitialMetadata();
  while (!Over(context)) {
    const std::uint64_t seen = room->news();
    std::uint64_t position = 0;
    const std::vector<pb::Action> actions = room->With([&](service::Service& service, SimTime) {
      position = service.position();
      return service.ActionsAfter(after, kinds, kEventsAtOnce);
    });
    if (actions.empty()) {
      room->WaitForNews(seen, kLook);
      continue;
    }
    // Nobody is told to end a pod for a decision that a restart would not know.
    if (!room->Durable(position)) {
      return {grpc::StatusCode::DATA_LOSS, "the journal cannot be written"};
    }
    for (const pb::Action& action : actions) {
      if (!writer->Write(action)) return grpc::Status::OK;
      after = std::max(after, action.sequence());
    }
  }
  return grpc::Status::OK;
}

}  // namespace basalt::rpc
