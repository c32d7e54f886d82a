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
  pb::SyncRequest message;
  if (!stream->Read(&message)) return grpc::Status::OK;
  if (!message.has_open()) {
    return {grpc::StatusCode::INVALID_ARGUMENT, "the first message must be SyncOpen"};
  }
  const std::string& cluster = message.open().header().cluster();
  Room* room = rooms_->Find(cluster);
  if (room == nullptr) return {grpc::StatusCode::NOT_FOUND, rooms_->UnknownCluster(cluster)};
  const service::Caller caller = CallerOf(*context);
  const std::uint64_t number = next_stream_.fetch_add(1);
  struct Close {
    Room* room;
    std::uint64_t number;
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
                      return service.SyncOpen(caller, message.open(), number, now);
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
  grpc::Status status;
  Room* room = ReadableRoom(context, request->header(), &status);
  if (room == nullptr) return status;
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
  grpc::Status status;
  Room* room = ReadableRoom(context, request->header(), &status);
  if (room == nullptr) return status;
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
    const std::vector<pb::WatchEvent> events = room->With([&](service::Service& service, SimTime) {
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
    for (const pb::WatchEvent& event : events) {
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
  grpc::Status status;
  Room* room = ReadableRoom(context, request->header(), &status);
  if (room == nullptr) return status;
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
