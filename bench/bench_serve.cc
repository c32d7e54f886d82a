// What the shells around the engine cost: calls over a Unix socket (Propose over TCP, too) to a
// server in the same process, one client, 1,000 nodes x 8 cards, nothing on a disk (bench_sync has
// Reserve with fsync). `empty` is a gRPC server whose handler does nothing, with the same messages,
// called in turn: what is above it is ours. Counters: p50 and p99 in microseconds a call, decisions
// a second for batches. HTTP: Volcano's predicate, one node a call, a body of 8 kB.
#include <benchmark/benchmark.h>
#include <grpcpp/grpcpp.h>
#include <httplib.h>
#undef _res  // a macro of <resolv.h>, and a parameter of Eigen
#include <stdlib.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "adapters/http/http_server.h"
#include "adapters/http/routes.h"
#include "adapters/rpc/grpc_server.h"
#include "adapters/rpc/listener.h"
#include "adapters/rpc/placement.grpc.pb.h"
#include "scheduler-core/base/check.h"
#include "test/support/files.h"
#include "test/support/served.h"

namespace basalt {
namespace {

namespace pb = placement::v1;
constexpr int kNodes = 1000;

const std::string& Folder() {
  static const support::TempDir folder;
  return folder.path();
}

test::Served& Cluster() {
  static test::Served* const served = [] {
    auto* s = new test::Served();
    s->Sync(kNodes, 8);
    return s;
  }();
  return *served;
}

std::unique_ptr<pb::Placement::Stub> Stub(const std::string& address) {
  return pb::Placement::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
}

struct Stubs {
  std::unique_ptr<pb::Placement::Stub> local;
  std::unique_ptr<pb::Placement::Stub> tcp;
};

Stubs& RealStubs() {
  static Stubs stubs = [] {
    rpc::GrpcOptions options;
    options.addresses.push_back(*rpc::ParseAddress("--listen", "unix:" + Folder() + "/real"));
    options.addresses.push_back(*rpc::ParseAddress("--listen", "127.0.0.1:0"));
    static auto server = rpc::GrpcServer::Start(options, &Cluster().rooms(), {});
    BASALT_CHECK(server.has_value());
    return Stubs{Stub("unix:" + Folder() + "/real"),
                 Stub("127.0.0.1:" + std::to_string((*server)->ports()[1]))};
  }();
  return stubs;
}
pb::Placement::Stub& Real() { return *RealStubs().local; }

class EmptyHandlers final : public pb::Placement::Service {
  grpc::Status Propose(grpc::ServerContext*, const pb::ProposeRequest*,
                       pb::ProposeResponse*) override {
    return grpc::Status::OK;
  }
};

Stubs& EmptyStubs() {
  static Stubs stubs = [] {
    static EmptyHandlers handlers;
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.AddListeningPort("unix:" + Folder() + "/empty", grpc::InsecureServerCredentials());
    builder.RegisterService(&handlers);
    builder.SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
    static const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
    return Stubs{Stub("unix:" + Folder() + "/empty"), Stub("127.0.0.1:" + std::to_string(port))};
  }();
  return stubs;
}

class Latencies {
 public:
  void Begin() { begin_ = std::chrono::steady_clock::now(); }
  void End() {
    samples_.push_back(
        std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin_)
            .count());
  }
  void Report(benchmark::State& state, const std::string& name = "") {
    std::ranges::sort(samples_);
    state.counters[name + "p50_us"] = samples_[samples_.size() / 2];
    state.counters[name + "p99_us"] = samples_[samples_.size() * 99 / 100];
  }

 private:
  std::chrono::steady_clock::time_point begin_;
  std::vector<double> samples_;
};

void ProposeOver(Latencies* latencies, pb::Placement::Stub& stub) {
  static const pb::ProposeRequest request = [] {
    pb::ProposeRequest made;
    *made.mutable_pod() = test::WholeCards(1, 1);
    return made;
  }();
  pb::ProposeResponse answer;
  grpc::ClientContext context;
  latencies->Begin();
  const bool ok = stub.Propose(&context, request, &answer).ok();
  latencies->End();
  BASALT_CHECK(ok);
}

// In turn, a hundred calls each: the machine's own speed changes from second to second by more
// than the difference.
void ProposeBesideEmpty(benchmark::State& state, pb::Placement::Stub& real,
                        pb::Placement::Stub& empty) {
  Latencies ours;
  Latencies theirs;
  for (auto _ : state) {
    for (int call = 0; call < 100; ++call) ProposeOver(&theirs, empty);
    for (int call = 0; call < 100; ++call) ProposeOver(&ours, real);
  }
  theirs.Report(state, "empty_");
  ours.Report(state);
  state.counters["added_p50_us"] = state.counters["p50_us"] - state.counters["empty_p50_us"];
}

void BM_Propose(benchmark::State& state) { ProposeBesideEmpty(state, Real(), *EmptyStubs().local); }
void BM_ProposeTcp(benchmark::State& state) {
  ProposeBesideEmpty(state, *RealStubs().tcp, *EmptyStubs().tcp);
}
BENCHMARK(BM_Propose)->Iterations(200);
BENCHMARK(BM_ProposeTcp)->Iterations(200);

// Reserve with confirm, and the release: two calls, one sample.
void BM_ReserveRelease(benchmark::State& state) {
  pb::Placement::Stub& stub = Real();
  Latencies latencies;
  std::uint64_t pod = 1'000'000;
  for (auto _ : state) {
    pb::ReserveRequest request;
    *request.mutable_pod() = test::WholeCards(++pod, 1);
    request.set_confirm(true);
    pb::ReserveResponse answer;
    pb::ReleaseResponse released;
    grpc::ClientContext first;
    grpc::ClientContext second;
    latencies.Begin();
    BASALT_CHECK(stub.Reserve(&first, request, &answer).ok() && answer.has_lease());
    pb::ReleaseRequest release;
    *release.mutable_lease() = answer.lease();
    BASALT_CHECK(stub.Release(&second, release, &released).ok());
    latencies.End();
  }
  latencies.Report(state);
}
BENCHMARK(BM_ReserveRelease)->Iterations(10'000);

// Proposals, or reservations and their releases, so many in one call.
void BatchOf(benchmark::State& state, bool reserve) {
  pb::Placement::Stub& stub = Real();
  const auto items = static_cast<int>(state.range(0));
  pb::BatchRequest request;
  for (int i = 0; i < items; ++i) {
    const auto pod = static_cast<std::uint64_t>(2'000'000 + i);
    if (!reserve) {
      *request.add_items()->mutable_propose()->mutable_pod() = test::WholeCards(pod, 1);
      continue;
    }
    *request.add_items()->mutable_reserve()->mutable_pod() = test::WholeCards(pod, 1);
  }
  double seconds = 0;
  std::int64_t decisions = 0;
  for (auto _ : state) {
    pb::BatchResponse answer;
    grpc::ClientContext context;
    const auto begin = std::chrono::steady_clock::now();
    BASALT_CHECK(stub.Batch(&context, request, &answer).ok());
    seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    BASALT_CHECK(answer.results_size() == items);
    decisions += items;
    if (!reserve) continue;
    state.PauseTiming();
    pb::BatchRequest releases;
    for (const pb::BatchResult& result : answer.results()) {
      BASALT_CHECK(result.reserve().has_lease());
      *releases.add_items()->mutable_release()->mutable_lease() = result.reserve().lease();
    }
    grpc::ClientContext second;
    BASALT_CHECK(stub.Batch(&second, releases, &answer).ok());
    state.ResumeTiming();
  }
  state.counters["decisions_per_s"] = static_cast<double>(decisions) / seconds;
}
void BM_BatchPropose(benchmark::State& state) { BatchOf(state, false); }
void BM_BatchReserve(benchmark::State& state) { BatchOf(state, true); }
BENCHMARK(BM_BatchPropose)->Arg(1000)->Iterations(200);
BENCHMARK(BM_BatchReserve)->Arg(1000)->Iterations(100);

void BM_HttpPredicate(benchmark::State& state) {
  static http::Routes routes(&Cluster().rooms(), {});
  static auto server = http::HttpServer::Start(
      {}, [](const std::string& path) { return routes.Get(path); },
      [](const std::string& path, const std::string& body) { return routes.Post(path, body); });
  BASALT_CHECK(server.has_value());
  httplib::Client client("127.0.0.1", (*server)->port());
  client.set_keep_alive(true);
  client.set_tcp_nodelay(true);
  const std::string filler(7'000, 'x');  // managed fields and status, of which nothing is read
  const std::string body =
      R"({"task":{"UID":")" + test::PodUidText(1) +
      R"(","Job":"default/j","NodeName":"","Status":1,"Preemptable":true,"Pod":{"metadata":{"name":"p",)"
      R"("namespace":"default","uid":")" +
      test::PodUidText(1) + R"(","annotations":{"last-applied":")" + filler +
      R"("}},"spec":{"containers":[{"name":"main","resources":{"limits":{"nvidia.com/gpu":"4"},)"
      R"("requests":{"cpu":"4","nvidia.com/gpu":"4"}}}],"priority":0}}},"node":{"Name":"gpu-3"}})";
  Latencies latencies;
  for (auto _ : state) {
    latencies.Begin();
    const auto answer = client.Post("/v1/c/volcano/predicate", body, "application/json");
    latencies.End();
    BASALT_CHECK(answer && answer->status == 200);
  }
  latencies.Report(state);
}
BENCHMARK(BM_HttpPredicate)->Iterations(10'000);

}  // namespace
}  // namespace basalt

BENCHMARK_MAIN();
