// The gRPC server: Placement and Admin, health checking and reflection, on a Unix socket and on TCP
// (with TLS or without). It converts codes and holds streams; what the calls mean is in
// adapters/service, and who waits for what is in rooms.h.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "adapters/rpc/listener.h"
#include "adapters/rpc/rooms.h"
#include "scheduler-core/base/result.h"

namespace basalt::rpc {

struct GrpcOptions {
  std::vector<Address> addresses = {};
  TlsTexts tls = {};  // for TCP; a Unix socket needs none
  int max_message_bytes = 16 << 20;
  // Streams hold a thread each.
  int max_streams = 64;
  int max_threads = 256;
};

// What operators' calls do beyond one room.
struct AdminHooks {
  ReloadFn reload;
  // Why the journals cannot be written; empty: they can.
  std::function<std::string()> journal_error;
  std::function<std::int64_t()> journal_bytes;
  // Where snapshots go; shown to operators.
  std::string store = {};
};

class GrpcServer {
 public:
  // Listens when it returns. Errors: an address that is taken, or TLS texts that gRPC refuses.
  static Result<std::unique_ptr<GrpcServer>> Start(const GrpcOptions& options, Rooms* rooms,
                                                   AdminHooks hooks);
  GrpcServer(const GrpcServer&) = delete;
  GrpcServer& operator=(const GrpcServer&) = delete;
  ~GrpcServer();  // Stop

  // By address, as in the options; 0 for Unix sockets.
  const std::vector<int>& ports() const;
  // What the health service answers.
  void SetServing(bool serving);
  // No new calls; those that run have so long, then they are cancelled.
  void Stop(std::chrono::milliseconds grace = std::chrono::milliseconds(500));

 private:
  struct Impl;
  explicit GrpcServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace basalt::rpc
