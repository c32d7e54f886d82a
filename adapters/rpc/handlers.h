// The gRPC handlers, one call a method; internal to adapters/rpc.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <string>

#include "adapters/rpc/grpc_server.h"
#include "adapters/rpc/placement.grpc.pb.h"
#include "adapters/rpc/rooms.h"

namespace basalt::rpc {

// From the certificate the first URI name, else the common name; over a Unix socket nothing but
// that it is local: who may open the socket is the file's mode.
service::Caller CallerOf(const grpc::ServerContext& context);
// RESOURCE_EXHAUSTED when the caller's identity makes too many calls.
grpc::Status Limited(Rooms* rooms, grpc::ServerContext* context, std::int64_t tokens);
grpc::Status StatusOf(CallCode code, const std::string& message);

class PlacementHandlers final : public pb::Placement::Service {
 public:
  PlacementHandlers(Rooms* rooms, int max_streams) : rooms_(rooms), max_streams_(max_streams) {}
  // Streams that wait for news end soon.
  void StopStreams() { stopping_ = true; }
  int streams() const { return streams_; }

  grpc::Status Hello(grpc::ServerContext* context, const pb::HelloRequest* request,
                     pb::HelloResponse* response) override;
  grpc::Status Propose(grpc::ServerContext* context, const pb::ProposeRequest* request,
                       pb::ProposeResponse* response) override;
  grpc::Status Reserve(grpc::ServerContext* context, const pb::ReserveRequest* request,
                       pb::ReserveResponse* response) override;
  grpc::Status Confirm(grpc::ServerContext* context, const pb::ConfirmRequest* request,
                       pb::ConfirmResponse* response) override;
  grpc::Status Renew(grpc::ServerContext* context, const pb::RenewRequest* request,
                     pb::RenewResponse* response) override;
  grpc::Status Release(grpc::ServerContext* context, const pb::ReleaseRequest* request,
                       pb::ReleaseResponse* response) override;
  grpc::Status Batch(grpc::ServerContext* context, const pb::BatchRequest* request,
                     pb::BatchResponse* response) override;
  grpc::Status Evaluate(grpc::ServerContext* context, const pb::EvaluateRequest* request,
                        pb::EvaluateResponse* response) override;
  grpc::Status Evict(grpc::ServerContext* context, const pb::EvictRequest* request,
                     pb::EvictResponse* response) override;
  grpc::Status Explain(grpc::ServerContext* context, const pb::ExplainRequest* request,
                       pb::ExplainResponse* response) override;
  grpc::Status ReportUsage(grpc::ServerContext* context, const pb::ReportUsageRequest* request,
                           pb::ReportUsageResponse* response) override;
  grpc::Status AckAction(grpc::ServerContext* context, const pb::AckActionRequest* request,
                         pb::AckActionResponse* response) override;
  // streams.cc
  grpc::Status Sync(grpc::ServerContext* context,
                    grpc::ServerReaderWriter<pb::SyncResponse, pb::SyncRequest>* stream) override;
  grpc::Status GetSnapshot(grpc::ServerContext* context, const pb::SnapshotRequest* request,
                           grpc::ServerWriter<pb::SnapshotChunk>* writer) override;
  grpc::Status Watch(grpc::ServerContext* context, const pb::WatchRequest* request,
                     grpc::ServerWriter<pb::WatchEvent>* writer) override;
  grpc::Status WatchActions(grpc::ServerContext* context, const pb::WatchActionsRequest* request,
                            grpc::ServerWriter<pb::Action>* writer) override;

 private:
  // Counts one stream while it lives; not entered: there are too many.
  class StreamSlot {
   public:
    StreamSlot(std::atomic<int>* count, int most) : count_(count) {
      if (count_->fetch_add(1) >= most) {
        count_->fetch_sub(1);
        count_ = nullptr;
      }
    }
    ~StreamSlot() {
      if (count_ != nullptr) count_->fetch_sub(1);
    }
    StreamSlot(const StreamSlot&) = delete;
    StreamSlot& operator=(const StreamSlot&) = delete;
    explicit operator bool() const { return count_ != nullptr; }

   private:
    std::atomic<int>* count_;
  };
  grpc::Status TooManyStreams() const;
  bool Over(grpc::ServerContext* context) const { return stopping_ || context->IsCancelled(); }
  // Finds the room and that the caller may read; null: `status` says why not.
  Room* ReadableRoom(grpc::ServerContext* context, const pb::Header& header, grpc::Status* status);

  Rooms* rooms_;
  const int max_streams_;
  std::atomic<int> streams_{0};
  std::atomic<bool> stopping_{false};
};

class AdminHandlers final : public pb::Admin::Service {
 public:
  AdminHandlers(Rooms* rooms, AdminHooks hooks) : rooms_(rooms), hooks_(std::move(hooks)) {}
  grpc::Status Status(grpc::ServerContext* context, const pb::StatusRequest* request,
                      pb::StatusResponse* response) override;
  grpc::Status Reload(grpc::ServerContext* context, const pb::ReloadRequest* request,
                      pb::ReloadResponse* response) override;
  grpc::Status Drain(grpc::ServerContext* context, const pb::DrainRequest* request,
                     pb::DrainResponse* response) override;
  grpc::Status WriteSnapshot(grpc::ServerContext* context, const pb::WriteSnapshotRequest* request,
                             pb::WriteSnapshotResponse* response) override;
  grpc::Status Command(grpc::ServerContext* context, const pb::CommandRequest* request,
                       pb::CommandState* response) override;
  grpc::Status ListCommands(grpc::ServerContext* context, const pb::ListCommandsRequest* request,
                            pb::ListCommandsResponse* response) override;

 private:
  grpc::Status Allowed(grpc::ServerContext* context) const;
  Rooms* rooms_;
  AdminHooks hooks_;
};

}  // namespace basalt::rpc
