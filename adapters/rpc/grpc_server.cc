#include "adapters/rpc/grpc_server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <sys/stat.h>

#include <mutex>
#include <utility>

#include "adapters/rpc/handlers.h"

namespace basalt::rpc {
namespace {

std::shared_ptr<grpc::ServerCredentials> Credentials(const TlsTexts& tls) {
  if (tls.certificate.empty()) return grpc::InsecureServerCredentials();
  grpc::SslServerCredentialsOptions options(
      tls.client_ca.empty() ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                            : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  options.pem_key_cert_pairs.push_back({tls.key, tls.certificate});
  options.pem_root_certs = tls.client_ca;
  return grpc::SslServerCredentials(options);
}

// Before the first builder: gRPC reads these once.
void Prepare() {
  static std::once_flag once;
  std::call_once(once, [] {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  });
}

}  // namespace

struct GrpcServer::Impl {
  Impl(Rooms* rooms, int max_streams, AdminHooks hooks)
      : placement(rooms, max_streams), admin(rooms, std::move(hooks)) {}
  PlacementHandlers placement;
  AdminHandlers admin;
  std::vector<int> ports;
  std::unique_ptr<grpc::Server> server;  // last: it goes before what it calls
};

GrpcServer::GrpcServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GrpcServer::~GrpcServer() { Stop(); }
const std::vector<int>& GrpcServer::ports() const { return impl_->ports; }

void GrpcServer::SetServing(bool serving) {
  if (auto* health = impl_->server->GetHealthCheckService()) health->SetServingStatus(serving);
}

void GrpcServer::Stop(std::chrono::milliseconds grace) {
  if (impl_->server == nullptr) return;
  impl_->placement.StopStreams();
  impl_->server->Shutdown(std::chrono::system_clock::now() + grace);
  impl_->server->Wait();
  impl_->server.reset();
}

Result<std::unique_ptr<GrpcServer>> GrpcServer::Start(const GrpcOptions& options, Rooms* rooms,
                                                      AdminHooks hooks) {
  Prepare();
  auto impl = std::make_unique<Impl>(rooms, options.max_streams, std::move(hooks));
  impl->ports.resize(options.addresses.size());
  grpc::ServerBuilder builder;
  std::string all;
  for (std::size_t i = 0; i < options.addresses.size(); ++i) {
    const Address& address = options.addresses[i];
    const std::string text = address.ToString();
    all += (all.empty() ? "" : ", ") + text;
    builder.AddListeningPort(
        text, address.is_unix() ? grpc::InsecureServerCredentials() : Credentials(options.tls),
        &impl->ports[i]);
  }
  builder.RegisterService(&impl->placement);
  builder.RegisterService(&impl->admin);
  builder.SetMaxReceiveMessageSize(options.max_message_bytes);
  builder.SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MIN_POLLERS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MAX_POLLERS, 4);
  grpc::ResourceQuota quota("basalt");
  quota.SetMaxThreads(options.max_threads);
  builder.SetResourceQuota(quota);
  // Two servers on one port would share its calls without knowing of each other.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  // A sync source that has vanished without a word must make room for the next one.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5'000);
  // The socket is for its owner and group from the moment it is there.
  const mode_t before = umask(0117);
  impl->server = builder.BuildAndStart();
  umask(before);
  if (impl->server == nullptr) {
    return Fail("--listen " + all,
                "cannot listen there: is an address taken or not this machine's, or do certificate "
                "and key not fit together?");
  }
  return std::unique_ptr<GrpcServer>(new GrpcServer(std::move(impl)));
}

}  // namespace basalt::rpc
