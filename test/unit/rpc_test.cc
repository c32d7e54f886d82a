// The gRPC server in the test's process, over a Unix socket, asked by generated stubs.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <future>
#include <set>
#include <thread>

#include "adapters/rpc/grpc_server.h"
#include "adapters/rpc/listener.h"
#include "adapters/rpc/placement.grpc.pb.h"
#include "adapters/service/config.h"
#include "test/support/files.h"
#include "test/support/served.h"

namespace basalt::rpc {
namespace {

using testing::HasSubstr;

class RpcTest : public testing::Test {
 protected:
  void Start(int max_waiting = 256, std::vector<service::AccessRule> rules = {},
             int max_streams = 8) {
    served_ = std::make_unique<test::Served>(max_waiting, std::move(rules));
    GrpcOptions options;
    options.addresses.push_back(*ParseAddress("--listen", "unix:" + folder_ + "/s"));
    options.addresses.push_back(*ParseAddress("--listen", "127.0.0.1:0"));
    options.max_streams = max_streams;
    AdminHooks hooks;
    hooks.reload = [](const std::string&, bool) { return pb::ReloadResponse(); };
    hooks.journal_error = [] { return std::string(); };
    hooks.journal_bytes = [] { return std::int64_t{0}; };
    auto server = GrpcServer::Start(options, &served_->rooms(), std::move(hooks));
    ASSERT_TRUE(server) << server.error().ToString();
    server_ = std::move(*server);
  }
  void TearDown() override {
    if (server_ != nullptr) server_->Stop(std::chrono::milliseconds(0));
  }
  std::shared_ptr<grpc::Channel> Channel() const {
    // Channels of one address share their connection unless they differ in an argument.
    static std::atomic<int> number{0};
    grpc::ChannelArguments arguments;
    arguments.SetInt("test.number", ++number);
    return grpc::CreateCustomChannel("unix:" + folder_ + "/s", grpc::InsecureChannelCredentials(),
                                     arguments);
  }
  std::unique_ptr<pb::Placement::Stub> Stub() const { return pb::Placement::NewStub(Channel()); }

  static pb::ReserveRequest ReserveCards(std::uint64_t pod, int cards) {
    pb::ReserveRequest request;
    request.mutable_header()->set_cluster("c");
    *request.mutable_pod() = test::WholeCards(pod, cards);
    return request;
  }

  std::unique_ptr<test::Served> served_;
  support::TempDir temp_;
  const std::string folder_ = temp_.path();
  std::unique_ptr<GrpcServer> server_;
};

TEST_F(RpcTest, AClientsLife) {
  Start();
  const auto stub = Stub();
  pb::ProposeRequest propose;
  propose.mutable_header()->set_cluster("c");
  *propose.mutable_pod() = test::WholeCards(1, 2);
  pb::ProposeResponse proposed;
  {
    grpc::ClientContext context;
    ASSERT_TRUE(stub->Propose(&context, propose, &proposed).ok());
    EXPECT_EQ(proposed.pod().kind(), pb::OUTCOME_KIND_NOT_READY);
  }
  // The sync stream: one node of four cards.
  {
    grpc::ClientContext context;
    const auto stream = stub->Sync(&context);
    pb::SyncRequest message;
    message.mutable_open()->mutable_header()->set_cluster("c");
    message.mutable_open()->set_source("test");
    message.mutable_open()->add_kinds(pb::SYNC_KIND_NODES);
    message.mutable_open()->add_kinds(pb::SYNC_KIND_PODS);
    pb::SyncResponse answer;
    ASSERT_TRUE(stream->Write(message));
    ASSERT_TRUE(stream->Read(&answer));
    EXPECT_FALSE(answer.ready());
    message.mutable_deltas()->set_generation(1);
    pb::NodeSpec& node = *message.mutable_deltas()->add_deltas()->mutable_node()->mutable_spec();
    node.set_name("n0");
    node.set_cpu_milli(64'000);
    node.set_memory_mib(262'144);
    node.set_max_pods(110);
    for (int i = 0; i < 4; ++i) {
      pb::CardSpec& card = *node.add_cards();
      card.set_uuid("card-" + std::to_string(i));
      card.set_model("T4");
      card.set_memory_mib(15'360);
      card.set_slots(10);
    }
    ASSERT_TRUE(stream->Write(message));
    ASSERT_TRUE(stream->Read(&answer));
    EXPECT_EQ(answer.applied_generation(), 1U);
    EXPECT_EQ(answer.rejected_size(), 0) << answer.ShortDebugString();
    message.mutable_complete()->set_generation(1);
    message.mutable_complete()->add_kinds(pb::SYNC_KIND_NODES);
    message.mutable_complete()->add_kinds(pb::SYNC_KIND_PODS);
    ASSERT_TRUE(stream->Write(message));
    ASSERT_TRUE(stream->Read(&answer));
    EXPECT_TRUE(answer.ready());
    // A second source of a kind is refused while this one is open.
    grpc::ClientContext other;
    const auto second = stub->Sync(&other);
    pb::SyncRequest open;
    open.mutable_open()->mutable_header()->set_cluster("c");
    open.mutable_open()->set_source("second");
    open.mutable_open()->add_kinds(pb::SYNC_KIND_PODS);
    ASSERT_TRUE(second->Write(open));
    EXPECT_FALSE(second->Read(&answer));
    EXPECT_EQ(second->Finish().error_code(), grpc::StatusCode::ALREADY_EXISTS);
    stream->WritesDone();
    EXPECT_TRUE(stream->Finish().ok());
  }
  grpc::ClientContext watching;
  pb::WatchRequest watch;
  watch.mutable_header()->set_cluster("c");
  const auto events = stub->Watch(&watching, watch);
  events->WaitForInitialMetadata();
  {
    grpc::ClientContext context;
    ASSERT_TRUE(stub->Propose(&context, propose, &proposed).ok());
    ASSERT_EQ(proposed.pod().kind(), pb::OUTCOME_KIND_PLACED);
    EXPECT_EQ(proposed.pod().placement().node(), "n0");
    EXPECT_EQ(proposed.pod().placement().card_uuids_size(), 2);
  }
  pb::ReserveResponse reserved;
  {
    pb::ReserveRequest reserve = ReserveCards(1, 2);
    *reserve.mutable_placement() = proposed.pod().placement();
    grpc::ClientContext context;
    const grpc::Status status = stub->Reserve(&context, reserve, &reserved);
    ASSERT_TRUE(status.ok()) << status.error_message();
    ASSERT_TRUE(reserved.has_lease()) << reserved.ShortDebugString();
  }
  pb::WatchEvent event;
  do {
    ASSERT_TRUE(events->Read(&event));
  } while (!event.has_reserved());
  EXPECT_EQ(event.reserved().uid(), test::PodUidText(1));
  watching.TryCancel();
  {
    pb::ConfirmRequest confirm;
    confirm.mutable_header()->set_cluster("c");
    *confirm.mutable_lease() = reserved.lease();
    pb::ConfirmResponse confirmed;
    grpc::ClientContext context;
    const int waits = served_->store().waits;
    ASSERT_TRUE(stub->Confirm(&context, confirm, &confirmed).ok());
    EXPECT_EQ(confirmed.answer(), pb::LEASE_ANSWER_OK) << confirmed.reason();
    EXPECT_GT(served_->store().waits, waits) << "the answer did not wait for the journal";
  }
  {
    pb::ReleaseRequest release;
    release.mutable_header()->set_cluster("c");
    *release.mutable_lease() = reserved.lease();
    pb::ReleaseResponse released;
    grpc::ClientContext context;
    ASSERT_TRUE(stub->Release(&context, release, &released).ok());
    EXPECT_EQ(released.answer(), pb::LEASE_ANSWER_OK) << released.reason();
  }
  {
    grpc::ClientContext context;
    pb::ReserveRequest reserve = ReserveCards(2, 4);
    ASSERT_TRUE(stub->Reserve(&context, reserve, &reserved).ok());
    EXPECT_EQ(reserved.pod().kind(), pb::OUTCOME_KIND_PLACED) << "the release gave nothing back";
  }
}

TEST_F(RpcTest, BadInputAndUnknownClustersAreErrors) {
  Start();
  served_->Sync(1, 4);
  const auto stub = Stub();
  pb::ProposeResponse answer;
  pb::ProposeRequest request;
  request.mutable_header()->set_cluster("d");
  {
    grpc::ClientContext context;
    const grpc::Status status = stub->Propose(&context, request, &answer);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
    EXPECT_THAT(status.error_message(), HasSubstr("\"d\""));
  }
  request.mutable_header()->set_cluster("c");
  {
    grpc::ClientContext context;
    EXPECT_EQ(stub->Propose(&context, request, &answer).error_code(),
              grpc::StatusCode::INVALID_ARGUMENT);
  }
  *request.mutable_pod() = test::WholeCards(1, 1);
  request.mutable_pod()->mutable_pod()->set_uid("no uuid");
  {
    grpc::ClientContext context;
    EXPECT_EQ(stub->Propose(&context, request, &answer).error_code(),
              grpc::StatusCode::INVALID_ARGUMENT);
  }
  // Without a name the only cluster is meant.
  request.mutable_header()->clear_cluster();
  *request.mutable_pod() = test::WholeCards(1, 1);
  grpc::ClientContext context;
  ASSERT_TRUE(stub->Propose(&context, request, &answer).ok());
  EXPECT_EQ(answer.pod().kind(), pb::OUTCOME_KIND_PLACED);
}

// A call whose time is up while it waits is not carried out afterwards.
TEST_F(RpcTest, DeadlineWhileWaiting) {
  Start();
  served_->Sync(1, 4);
  const auto stub = Stub();
  std::promise<void> held;
  std::promise<void> release;
  std::thread holder([&] {
    served_->room().With([&](service::Service&, SimTime) {
      held.set_value();
      release.get_future().wait();
    });
  });
  held.get_future().wait();
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(100));
  pb::ReserveResponse answer;
  const grpc::Status status = stub->Reserve(&context, ReserveCards(1, 4), &answer);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  // The server counts from when it got the call.
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  release.set_value();
  holder.join();
  while (served_->room().gate().waiting() > 0) std::this_thread::yield();
  EXPECT_EQ(served_->room().With([](service::Service& service, SimTime) {
    return service.engine().allocation_count();
  }),
            0U);
}

TEST_F(RpcTest, WhoHangsUpWhileItWaitsHoldsNothing) {
  Start();
  served_->Sync(1, 8);
  std::promise<void> held;
  std::promise<void> release;
  std::thread holder([&] {
    served_->room().With([&](service::Service&, SimTime) {
      held.set_value();
      release.get_future().wait();
    });
  });
  held.get_future().wait();
  grpc::ClientContext context;
  std::thread call([&] {
    const auto stub = Stub();
    pb::ReserveResponse answer;
    EXPECT_EQ(stub->Reserve(&context, ReserveCards(1, 4), &answer).error_code(),
              grpc::StatusCode::CANCELLED);
  });
  while (served_->room().gate().waiting() == 0) std::this_thread::yield();
  context.TryCancel();
  call.join();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));  // until the server knows
  release.set_value();
  holder.join();
  while (served_->room().gate().waiting() > 0) std::this_thread::yield();
  EXPECT_EQ(served_->room().With([](service::Service& service, SimTime) {
    return service.engine().allocation_count();
  }),
            0U);
}

TEST_F(RpcTest, TooManyWaitingAreTurnedAway) {
  Start(1);
  served_->Sync(1, 8);
  std::promise<void> held;
  std::promise<void> release;
  std::thread holder([&] {
    served_->room().With([&](service::Service&, SimTime) {
      held.set_value();
      release.get_future().wait();
    });
  });
  held.get_future().wait();
  std::vector<std::future<grpc::StatusCode>> calls;
  for (std::uint64_t i = 1; i <= 3; ++i) {
    calls.push_back(std::async(std::launch::async, [this, i] {
      const auto stub = Stub();
      grpc::ClientContext context;
      pb::ReserveResponse answer;
      return stub->Reserve(&context, ReserveCards(i, 1), &answer).error_code();
    }));
  }
  while (served_->room().gate().turned_away() < 2) std::this_thread::yield();
  release.set_value();
  holder.join();
  std::multiset<grpc::StatusCode> codes;
  for (auto& call : calls) codes.insert(call.get());
  EXPECT_EQ(codes.count(grpc::StatusCode::OK), 1U);
  EXPECT_EQ(codes.count(grpc::StatusCode::RESOURCE_EXHAUSTED), 2U);
}

// Who makes too many calls is told when to come back; what gives back or keeps a promise is never
// refused for that.
TEST_F(RpcTest, TooManyCallsOfOneIdentity) {
  Start();
  served_->Sync(1, 8);
  service::ServerConfig config;
  config.calls_per_second = 1;
  config.calls_burst = 2;
  served_->rooms().limits().Configure(config);
  const auto stub = Stub();
  pb::ReserveResponse answer;
  for (std::uint64_t pod = 1; pod <= 2; ++pod) {
    grpc::ClientContext context;
    ASSERT_TRUE(stub->Reserve(&context, ReserveCards(pod, 1), &answer).ok());
  }
  const pb::Lease lease = answer.lease();
  {
    grpc::ClientContext context;
    const grpc::Status status = stub->Reserve(&context, ReserveCards(3, 1), &answer);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
    EXPECT_THAT(status.error_message(), HasSubstr("more calls a second than it may"));
    const auto pushback = context.GetServerTrailingMetadata().find("grpc-retry-pushback-ms");
    ASSERT_NE(pushback, context.GetServerTrailingMetadata().end());
    const int wait = std::stoi(std::string(pushback->second.data(), pushback->second.size()));
    EXPECT_GT(wait, 0);
    EXPECT_LE(wait, 1000);
  }
  {
    grpc::ClientContext context;
    pb::BatchRequest batch;
    *batch.add_items()->mutable_reserve() = ReserveCards(4, 1);
    pb::BatchResponse results;
    EXPECT_EQ(stub->Batch(&context, batch, &results).error_code(),
              grpc::StatusCode::RESOURCE_EXHAUSTED);
  }
  for (int i = 0; i < 5; ++i) {
    grpc::ClientContext context;
    pb::ConfirmRequest confirm;
    *confirm.mutable_lease() = lease;
    pb::ConfirmResponse confirmed;
    ASSERT_TRUE(stub->Confirm(&context, confirm, &confirmed).ok());
    EXPECT_EQ(confirmed.answer(), pb::LEASE_ANSWER_OK);
  }
  EXPECT_THAT(served_->rooms().Metrics(), HasSubstr("basalt_calls_limited_total 2"));
  served_->rooms().limits().Configure({});
  grpc::ClientContext context;
  EXPECT_TRUE(stub->Reserve(&context, ReserveCards(3, 1), &answer).ok());
}

TEST_F(RpcTest, TwoClientsNeverHaveOneCard) {
  Start();
  served_->Sync(4, 8);
  std::mutex mutex;
  std::multiset<std::string> cards;
  int placed = 0;
  int waited = 0;
  std::vector<std::thread> clients;
  for (std::uint64_t client = 0; client < 2; ++client) {
    clients.emplace_back([&, client] {
      const auto stub = Stub();
      for (std::uint64_t i = 0; i < 40; ++i) {
        // Every fourth pod is asked for by both: the same pod allocates once.
        const std::uint64_t pod = i % 4 == 0 ? 1 + i : 1 + i + 1000 * (client + 1);
        pb::ReserveRequest request = ReserveCards(pod, 1);
        request.set_confirm(true);
        pb::ReserveResponse answer;
        grpc::ClientContext context;
        ASSERT_TRUE(stub->Reserve(&context, request, &answer).ok());
        const std::scoped_lock lock(mutex);
        if (answer.pod().kind() != pb::OUTCOME_KIND_PLACED) {
          ++waited;
        } else if (!answer.pod().already_held()) {
          ++placed;
          ASSERT_EQ(answer.pod().placement().card_uuids_size(), 1);
          cards.insert(answer.pod().placement().card_uuids(0));
        }
      }
    });
  }
  for (std::thread& client : clients) client.join();
  // 70 pods ask for 32 cards.
  EXPECT_EQ(placed, 32);
  EXPECT_GT(waited, 0);
  EXPECT_EQ(std::set<std::string>(cards.begin(), cards.end()).size(), 32U);
  EXPECT_TRUE(served_->room().With(
      [](service::Service& service, SimTime) { return service.Audit().has_value(); }));
}

TEST_F(RpcTest, AnswersThatAreNotDurableAreErrors) {
  Start();
  served_->Sync(1, 4);
  served_->store().durable = false;
  const auto stub = Stub();
  grpc::ClientContext context;
  pb::ReserveResponse answer;
  pb::ReserveRequest at_once = ReserveCards(1, 1);
  at_once.set_confirm(true);
  const grpc::Status status = stub->Reserve(&context, at_once, &answer);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DATA_LOSS);
}

TEST_F(RpcTest, StreamsAreCounted) {
  Start(256, {}, 1);
  served_->Sync(1, 4);
  const auto stub = Stub();
  pb::WatchRequest watch;
  grpc::ClientContext first;
  const auto open = stub->Watch(&first, watch);
  open->WaitForInitialMetadata();
  grpc::ClientContext second;
  const auto refused = stub->Watch(&second, watch);
  pb::WatchEvent event;
  EXPECT_FALSE(refused->Read(&event));
  EXPECT_EQ(refused->Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  // Stopping ends the one that is open.
  server_->Stop(std::chrono::milliseconds(0));
  while (open->Read(&event)) {
  }
  open->Finish();
}

TEST_F(RpcTest, RightsAndOperators) {
  Start(256, {{.identity = "someone", .role = service::Role::kViewer}});
  served_->Sync(2, 4);
  // The Unix socket is local; TCP without TLS is nobody.
  const auto local = pb::Admin::NewStub(Channel());
  pb::StatusRequest request;
  request.set_want_digests(true);
  request.set_audit(true);
  pb::StatusResponse status;
  {
    grpc::ClientContext context;
    ASSERT_TRUE(local->Status(&context, request, &status).ok());
  }
  ASSERT_EQ(status.clusters_size(), 1);
  EXPECT_EQ(status.clusters(0).cards(), 8);
  EXPECT_EQ(status.clusters(0).state_digest().size(), 32U);
  EXPECT_EQ(status.audit_error(), "");
  const auto remote = pb::Admin::NewStub(grpc::CreateChannel(
      "127.0.0.1:" + std::to_string(server_->ports()[1]), grpc::InsecureChannelCredentials()));
  {
    grpc::ClientContext context;
    EXPECT_EQ(remote->Status(&context, request, &status).error_code(),
              grpc::StatusCode::PERMISSION_DENIED);
  }
  pb::DrainResponse drained;
  {
    grpc::ClientContext context;
    ASSERT_TRUE(local->Drain(&context, pb::DrainRequest(), &drained).ok());
  }
  EXPECT_EQ(drained.open_leases(), 0);
  const auto stub = Stub();
  grpc::ClientContext context;
  pb::ReserveResponse answer;
  EXPECT_EQ(stub->Reserve(&context, ReserveCards(1, 1), &answer).error_code(),
            grpc::StatusCode::UNAVAILABLE);
}

std::string Pem(const std::string& name) {
  std::ifstream in(BASALT_SOURCE_DIR "/test/support/tls/" + name);
  return std::string((std::istreambuf_iterator<char>(in)), {});
}

// With a client CA a caller is who its certificate says, and nobody else gets in.
TEST(RpcTls, CertificatesNameTheCaller) {
  test::Served served(256, {{.identity = "spiffe://basalt.test/volcano"}});
  served.Sync(1, 4);
  GrpcOptions options;
  options.addresses.push_back(*ParseAddress("--listen", "127.0.0.1:0"));
  const std::string folder = BASALT_SOURCE_DIR "/test/support/tls/";
  const auto tls = ReadTls({.certificate = folder + "server.pem",
                            .key = folder + "server.key",
                            .client_ca = folder + "ca.pem"});
  ASSERT_TRUE(tls) << tls.error().ToString();
  options.tls = *tls;
  auto server = GrpcServer::Start(options, &served.rooms(), {});
  ASSERT_TRUE(server) << server.error().ToString();
  const std::string address = "localhost:" + std::to_string((*server)->ports()[0]);
  const auto ask = [&](std::shared_ptr<grpc::ChannelCredentials> credentials) {
    const auto stub = pb::Placement::NewStub(grpc::CreateChannel(address, credentials));
    pb::ReserveRequest request;
    *request.mutable_pod() = test::WholeCards(1, 1);
    pb::ReserveResponse answer;
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
    return stub->Reserve(&context, request, &answer).error_code();
  };
  grpc::SslCredentialsOptions with;
  with.pem_root_certs = Pem("ca.pem");
  EXPECT_NE(ask(grpc::SslCredentials(with)), grpc::StatusCode::OK) << "no certificate was shown";
  EXPECT_NE(ask(grpc::InsecureChannelCredentials()), grpc::StatusCode::OK);
  with.pem_cert_chain = Pem("client.pem");
  with.pem_private_key = Pem("client.key");
  EXPECT_EQ(ask(grpc::SslCredentials(with)), grpc::StatusCode::OK);
  // The server's own certificate is of the CA, but has no rule.
  with.pem_cert_chain = Pem("server.pem");
  with.pem_private_key = Pem("server.key");
  EXPECT_EQ(ask(grpc::SslCredentials(with)), grpc::StatusCode::PERMISSION_DENIED);
}

TEST_F(RpcTest, TheSocketIsForOwnerAndGroup) {
  Start();
  struct stat status{};
  ASSERT_EQ(stat((folder_ + "/s").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0660U);
  // Another server does not push the first one aside.
  const auto address = ParseAddress("--listen-unix", "unix:" + folder_ + "/s");
  ASSERT_TRUE(address);
  const Status taken = CheckSocketFree("--listen-unix", *address);
  ASSERT_FALSE(taken);
  EXPECT_THAT(taken.error().ToString(), HasSubstr("another process listens"));
  server_->Stop();
  EXPECT_TRUE(CheckSocketFree("--listen-unix", *address));
}

TEST(Listener, Addresses) {
  const auto reach = [](const std::string& text) {
    const auto address = ParseAddress("--listen", text);
    return address ? (IsLocal(*address) ? "local" : "remote") : address.error().message;
  };
  EXPECT_EQ(reach("127.0.0.1:7070"), "local");
  EXPECT_EQ(reach("127.8.8.8:0"), "local");
  EXPECT_EQ(reach("localhost:1"), "local");
  EXPECT_EQ(reach("[::1]:7070"), "local");
  EXPECT_EQ(reach("unix:/run/x"), "local");
  EXPECT_EQ(reach("0.0.0.0:7070"), "remote");
  EXPECT_EQ(reach("[::]:7070"), "remote");
  EXPECT_EQ(reach("10.0.0.1:1"), "remote");
  EXPECT_EQ(reach("127.evil.example:1"), "remote");
  EXPECT_EQ(reach("127.0.0.1.example:1"), "remote");
  EXPECT_THAT(reach("7070"), HasSubstr("HOST:PORT"));
  EXPECT_THAT(reach(":7070"), HasSubstr("HOST:PORT"));
  EXPECT_THAT(reach("::1:7070"), HasSubstr("brackets"));
  EXPECT_THAT(reach("127.0.0.1:99999"), HasSubstr("port"));
  EXPECT_THAT(reach("127.0.0.1:x"), HasSubstr("port"));
  EXPECT_THAT(reach("unix:run/x"), HasSubstr("absolute"));
  EXPECT_THAT(reach("unix:/" + std::string(108, 'x')), HasSubstr("too long"));
}

TEST(Listener, OthersReachItOnlyWithTlsOrAWish) {
  const Address open = *ParseAddress("--listen", "0.0.0.0:7070");
  const Status refused = CheckReach("--listen", open, {}, false);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().ToString(), HasSubstr("--tls-cert"));
  EXPECT_TRUE(CheckReach("--listen", open, {}, true));
  EXPECT_TRUE(CheckReach("--listen", open, {.certificate = "c", .key = "k"}, false));
  EXPECT_TRUE(CheckReach("--listen", *ParseAddress("--listen", "127.0.0.1:1"), {}, false));
}

TEST(ServeDocs, HasTheKeys) {
  std::ifstream in(BASALT_SOURCE_DIR "/docs/serve.md");
  const std::string page((std::istreambuf_iterator<char>(in)), {});
  EXPECT_THAT(page, HasSubstr(service::ServerConfigKeys())) << "docs/serve.md must hold:\n"
                                                            << service::ServerConfigKeys();
}

TEST(Listener, TlsFiles) {
  EXPECT_FALSE(ReadTls({.certificate = "c"}));
  EXPECT_FALSE(ReadTls({.key = "k"}));
  EXPECT_FALSE(ReadTls({.client_ca = "k"}));
  const auto missing = ReadTls({.certificate = "/nowhere/c.pem", .key = "/nowhere/k.pem"});
  ASSERT_FALSE(missing);
  EXPECT_THAT(missing.error().ToString(), HasSubstr("/nowhere/c.pem"));
  const auto no_pem = ReadTls(
      {.certificate = BASALT_SOURCE_DIR "/README.md", .key = BASALT_SOURCE_DIR "/README.md"});
  ASSERT_FALSE(no_pem);
  EXPECT_THAT(no_pem.error().ToString(), HasSubstr("PEM"));
  EXPECT_TRUE(ReadTls({}));
}

}  // namespace
}  // namespace basalt::rpc
