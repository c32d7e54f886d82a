#include "adapters/rpc/handlers.h"

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>

#include "adapters/rpc/choose.h"
#include "adapters/service/shown.h"

namespace basalt::rpc {
namespace {

std::string FirstOf(const std::vector<grpc::string_ref>& values) {
  return values.empty() ? std::string() : std::string(values[0].data(), values[0].size());
}

// What calls of a kind cost against their identity's limit.
enum class Cost : std::uint8_t { kNothing, kOne };

// A call about a lease needs no cluster: the lease has one.
template <class Request>
const std::string& ClusterOf(const Request& request) {
  if constexpr (requires { request.lease(); }) {
    if (request.header().cluster().empty()) return request.lease().cluster();
  }
  return request.header().cluster();
}

// One call of one room.
template <class Request, class Response, class Call>
grpc::Status Unary(Rooms* rooms, grpc::ServerContext* context, const char* name,
                   const Request& request, Response* response, Cost cost, Call&& call) {
  std::int64_t tokens = cost == Cost::kNothing ? 0 : 1;
  if constexpr (std::is_same_v<Request, pb::BatchRequest>) {
    tokens = std::ranges::count_if(request.items(), [](const pb::BatchItem& item) {
      return item.has_propose() || item.has_reserve();
    });
  }
  if (tokens > 0) {
    if (grpc::Status status = Limited(rooms, context, tokens); !status.ok()) return status;
  }
  Room* room = rooms->Find(ClusterOf(request));
  if (room == nullptr) {
    return {grpc::StatusCode::NOT_FOUND, rooms->UnknownCluster(ClusterOf(request))};
  }
  const service::Caller caller = CallerOf(*context);
  const bool patient = std::string_view(name) == "ack_action";
  auto reply = room->Run(
      name, context->deadline(), patient,
      [&](service::Service& service, SimTime now) { return call(service, caller, now); },
      // Whoever has hung up while it waited wants nothing new; what it reports is still true.
      [&] { return tokens > 0 && context->IsCancelled(); });
  if (!reply.ok()) return StatusOf(reply.code, reply.message);
  *response = std::move(reply.body);
  return grpc::Status::OK;
}

template <class Response>
grpc::Status Among(Reply<Response> reply, Response* response) {
  if (!reply.ok()) return StatusOf(reply.code, reply.message);
  *response = std::move(reply.body);
  return grpc::Status::OK;
}

}  // namespace

service::Caller CallerOf(const grpc::ServerContext& context) {
  service::Caller caller;
  const auto auth = context.auth_context();
  if (auth != nullptr && auth->IsPeerAuthenticated()) {
    caller.identity = FirstOf(auth->FindPropertyValues(GRPC_PEER_URI_PROPERTY_NAME));
    if (caller.identity.empty()) {
      caller.identity = FirstOf(auth->FindPropertyValues(GRPC_X509_CN_PROPERTY_NAME));
    }
    return caller;
  }
  caller.local = context.peer().starts_with("unix:");
  return caller;
}

grpc::Status StatusOf(CallCode code, const std::string& message) {
  return {static_cast<grpc::StatusCode>(code), service::Shown(message)};
}

grpc::Status Limited(Rooms* rooms, grpc::ServerContext* context, std::int64_t tokens) {
  const service::Caller caller = CallerOf(*context);
  const std::int64_t wait_us = rooms->Limit(caller, tokens);
  if (wait_us == 0) return grpc::Status::OK;
  // gRPC clients with a retry policy obey this.
  context->AddTrailingMetadata("grpc-retry-pushback-ms", std::to_string((wait_us + 999) / 1000));
  return {grpc::StatusCode::RESOURCE_EXHAUSTED, TooFast(caller.identity, wait_us)};
}

grpc::Status PlacementHandlers::Hello(grpc::ServerContext* context, const pb::HelloRequest* request,
                                      pb::HelloResponse* response) {
  // Without a cluster's name: all that the caller may see.
  pb::HelloRequest named = *request;
  const bool all = request->header().cluster().empty();
  if (all && !rooms_->all().empty()) {
    named.mutable_header()->set_cluster(rooms_->all().front()->id());
  }
  grpc::Status status = Unary(rooms_, context, "hello", named, response, Cost::kOne,
                              [&](service::Service& service, const service::Caller& caller,
                                  SimTime now) { return service.Hello(caller, named, now); });
  if (!status.ok() || !all) return status;
  const service::Caller caller = CallerOf(*context);
  for (std::size_t i = 1; i < rooms_->all().size(); ++i) {
    rooms_->all()[i]->With([&](service::Service& service, SimTime) {
      if (service.MayRead(caller)) *response->add_clusters() = service.StatusOf(false);
    });
  }
  return status;
}

grpc::Status PlacementHandlers::Propose(grpc::ServerContext* context,
                                        const pb::ProposeRequest* request,
                                        pb::ProposeResponse* response) {
  if (request->clusters_size() > 0) {
    if (grpc::Status status = Limited(rooms_, context, request->clusters_size()); !status.ok()) {
      return status;
    }
    return Among(ProposeAmong(rooms_, CallerOf(*context), *request, context->deadline()), response);
  }
  return Unary(rooms_, context, "propose", *request, response, Cost::kOne,
               [&](service::Service& service, const service::Caller& caller, SimTime now) {
                 return service.Propose(caller, *request, now);
               });
}

grpc::Status PlacementHandlers::Reserve(grpc::ServerContext* context,
                                        const pb::ReserveRequest* request,
                                        pb::ReserveResponse* response) {
  if (request->clusters_size() > 0) {
    if (grpc::Status status = Limited(rooms_, context, request->clusters_size()); !status.ok()) {
      return status;
    }
    return Among(ReserveAmong(rooms_, CallerOf(*context), *request, context->deadline()), response);
  }
  return Unary(rooms_, context, "reserve", *request, response, Cost::kOne,
               [&](service::Service& service, const service::Caller& caller, SimTime now) {
                 return service.Reserve(caller, *request, now);
               });
}

grpc::Status PlacementHandlers::Confirm(grpc::ServerContext* context,
                                        const pb::ConfirmRequest* request,
                                        pb::ConfirmResponse* response) {
  return Unary(rooms_, context, "confirm", *request, response, Cost::kNothing,
               [&](service::Service& service, const service::Caller& caller, SimTime now) {
                 return service.Confirm(caller, *request, now);
               });
}

grpc::Status PlacementHandlers::Renew(grpc::ServerContext* context, const pb::RenewRequest* request,
                                      pb::RenewResponse* response) {
  return Unary(rooms_, context, "renew", *request, response, Cost::kNothing,
               [&](service::Service& service, const service::Caller& caller, SimTime now) {
                 return service.Renew(caller, *request, now);
               });
}

grpc::Status PlacementHandlers::Release(grpc::ServerContext* context,
                                        const pb::ReleaseRequest* request,
                                        pb::ReleaseResponse* response) {
  return Unary(rooms_, context, "release", *request, response, Cost::kNothing,
               [&](service::Service& service, const service::Caller& caller, SimTime now) {
                 return service.Release(caller, *request, now);
               });
}

grpc::Status PlacementHandlers::Batch(grpc::ServerContext* context, const pb::BatchRequest* request,
                                      pb::BatchResponse* response) {
  return Unary(rooms_, context, "batch", *request, response, Cost::kOne,
               [&](service::Service& service, const service::Caller& caller, SimTime now) {
                 return service.Batch(caller, *request, now);
               });
}

grpc::Status PlacementHandlers::Evaluate(grpc::ServerContext* context,
                                         const pb::EvaluateRequest* request,
                                         pb::EvaluateResponse* response) {
  return Unary(rooms_, context, "evaluate", *request, response, Cost::kOne,
               [&](service::Service& service, const service::Caller& caller, SimTime now) {
                 return service.Evaluate(caller, *request, now);
               });
}

grpc::Status PlacementHandlers::Evict(grpc::ServerContext* context, const pb::EvictRequest* request,
                                      pb::EvictResponse* response) {
  return Unary(rooms_, context, "evict", *request, response, Cost::kOne,
               [&](service::Service& service, const service::Caller& caller, SimTime now) {
                 return service.Evict(caller, *request, now);
               });
}

grpc::Status PlacementHandlers::Explain(grpc::ServerContext* context,
                                        const pb::ExplainRequest* request,
                                        pb::ExplainResponse* response) {
  return Unary(rooms_, context, "explain", *request, response, Cost::kOne,
               [&](service::Service& service, const service::Caller& caller, SimTime now) {
                 return service.Explain(caller, *request, now);
               });
}

grpc::Status PlacementHandlers::ReportUsage(grpc::ServerContext* context,
                                            const pb::ReportUsageRequest* request,
                                            pb::ReportUsageResponse* response) {
  return Unary(rooms_, context, "report_usage", *request, response, Cost::kOne,
               [&](service::Service& service, const service::Caller& caller, SimTime now) {
                 return service.ReportUsage(caller, *request, now);
               });
}

grpc::Status PlacementHandlers::AckAction(grpc::ServerContext* context,
                                          const pb::AckActionRequest* request,
                                          pb::AckActionResponse* response) {
  return Unary(rooms_, context, "ack_action", *request, response, Cost::kNothing,
               [&](service::Service& service, const service::Caller& caller, SimTime now) {
                 return service.AckAction(caller, *request, now);
               });
}

grpc::Status AdminHandlers::Allowed(grpc::ServerContext* context) const {
  const service::Caller caller = CallerOf(*context);
  for (const auto& room : rooms_->all()) {
    if (!room->With(
            [&](service::Service& service, SimTime) { return service.MayAdminister(caller); })) {
      return {grpc::StatusCode::PERMISSION_DENIED, "needs the role admin"};
    }
  }
  return grpc::Status::OK;
}

grpc::Status AdminHandlers::Status(grpc::ServerContext* context, const pb::StatusRequest* request,
                                   pb::StatusResponse* response) {
  if (grpc::Status status = Allowed(context); !status.ok()) return status;
  const std::string& wanted = request->header().cluster();
  if (!wanted.empty() && rooms_->Find(wanted) == nullptr) {
    return {grpc::StatusCode::NOT_FOUND, rooms_->UnknownCluster(wanted)};
  }
  for (const auto& room : rooms_->all()) {
    if (!wanted.empty() && room->id() != wanted) continue;
    room->With([&](service::Service& service, SimTime) {
      *response->add_clusters() = service.StatusOf(request->want_digests());
      response->set_server_epoch(service.server_epoch());
      response->set_draining(response->draining() || service.draining());
      if (request->audit()) {
        if (const basalt::Status ok = service.Audit(); !ok) {
          response->set_audit_error(response->audit_error() + service.config().id + ": " +
                                    ok.error().ToString() + "\n");
        }
      }
    });
  }
  response->set_journal_error(hooks_.journal_error());
  response->set_journal_bytes(hooks_.journal_bytes());
  return grpc::Status::OK;
}

grpc::Status AdminHandlers::Reload(grpc::ServerContext* context, const pb::ReloadRequest* request,
                                   pb::ReloadResponse* response) {
  if (grpc::Status status = Allowed(context); !status.ok()) return status;
  *response = hooks_.reload(request->config_yaml(), request->dry_run());
  return grpc::Status::OK;
}

grpc::Status AdminHandlers::Command(grpc::ServerContext* context, const pb::CommandRequest* request,
                                    pb::CommandState* response) {
  return Unary(rooms_, context, "command", *request, response, Cost::kOne,
               [&](service::Service& service, const service::Caller& caller, SimTime now) {
                 return service.Command(caller, *request, now);
               });
}

grpc::Status AdminHandlers::ListCommands(grpc::ServerContext* context,
                                         const pb::ListCommandsRequest* request,
                                         pb::ListCommandsResponse* response) {
  if (grpc::Status status = Allowed(context); !status.ok()) return status;
  Room* room = rooms_->Find(request->header().cluster());
  if (room == nullptr) {
    return {grpc::StatusCode::NOT_FOUND, rooms_->UnknownCluster(request->header().cluster())};
  }
  room->With([&](service::Service& service, SimTime) { *response = service.ListCommands(); });
  return grpc::Status::OK;
}

grpc::Status AdminHandlers::Drain(grpc::ServerContext* context, const pb::DrainRequest* request,
                                  pb::DrainResponse* response) {
  if (grpc::Status status = Allowed(context); !status.ok()) return status;
  rooms_->Drain();
  const auto begin = std::chrono::steady_clock::now();
  response->set_open_leases(rooms_->OpenLeases());
  while (response->open_leases() > 0 && !context->IsCancelled() &&
         std::chrono::steady_clock::now() - begin < std::chrono::microseconds(request->wait_us())) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    response->set_open_leases(rooms_->OpenLeases());
  }
  return grpc::Status::OK;
}

grpc::Status AdminHandlers::WriteSnapshot(grpc::ServerContext* context,
                                          const pb::WriteSnapshotRequest* request,
                                          pb::WriteSnapshotResponse* response) {
  if (grpc::Status status = Allowed(context); !status.ok()) return status;
  Room* room = rooms_->Find(request->header().cluster());
  if (room == nullptr) {
    return {grpc::StatusCode::NOT_FOUND, rooms_->UnknownCluster(request->header().cluster())};
  }
  const basalt::Status written = room->With([&](service::Service& service, SimTime) {
    response->set_state_digest(service.StateDigest());
    return service.WriteSnapshot();
  });
  if (!written) return {grpc::StatusCode::DATA_LOSS, written.error().ToString()};
  response->set_path(hooks_.store);
  return grpc::Status::OK;
}

}  // namespace basalt::rpc
