// A whole cluster told to `basalt serve`, and a server that is killed and started again: 5,000
// nodes x 8 cards and 40,000 pods, over the Unix socket, from a client of its own process. The
// server keeps a store with fsync. Counters are milliseconds:
//   BM_Sync/nodes as specs, or as Kubernetes tells them (HAMi's register, resource names)
//     sync       SyncOpen sent -> SyncComplete answered with ready
//     cpu        of the server's process meanwhile; what others do on the machine is not in it
//   BM_Restart   kill -9, and the same cluster again
//     recovered  process started -> it answers a call (snapshot and journal are read)
//     sync       resume asked, relist told -> listed -> SyncComplete answered with ready
//     total      process started -> first Placed
//     cpu        of the server's process, from its start to there
//   BM_Resume    a stream that broke, the server alive
//     resume     SyncOpen sent -> answered without relist; then a first Placed
//   BM_Reserve   Reserve with confirm, and Release, one client: each waits for the disk
//     p50, p99   of the two calls together, in microseconds
// BASALT_BIN is the command; by default the one beside this program.
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <grpcpp/grpcpp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "adapters/rpc/placement.grpc.pb.h"
#include "scheduler-core/base/check.h"
#include "test/support/files.h"

namespace basalt {
namespace {

namespace fs = std::filesystem;
namespace pb = placement::v1;
using Clock = std::chrono::steady_clock;

constexpr int kNodes = 5'000;
constexpr int kCards = 8;
constexpr int kPods = 40'000;
constexpr int kDeltas = 1'000;  // a message; basalt-sync sends as many
constexpr int kShapes = 200;    // different asks

double Millis(Clock::time_point from) {
  return std::chrono::duration<double, std::milli>(Clock::now() - from).count();
}

std::string NodeName(int n) { return "gpu-node-" + std::to_string(n); }
std::string CardUuid(int n, int c) {
  char text[64];
  std::snprintf(text, sizeof text, "GPU-%08x-0000-4000-8000-%012x", n, c);
  return text;
}
std::string PodUid(int p) {
  char text[64];
  std::snprintf(text, sizeof text, "00000000-0000-4000-8000-%012x", p);
  return text;
}

void AddNode(int n, bool kubernetes, pb::NodeState* out) {
  if (!kubernetes) {
    pb::NodeSpec& spec = *out->mutable_spec();
    spec.set_name(NodeName(n));
    spec.set_cpu_milli(128'000);
    spec.set_memory_mib(1 << 20);
    spec.set_max_pods(110);
    for (int c = 0; c < kCards; ++c) {
      pb::CardSpec& card = *spec.add_cards();
      card.set_uuid(CardUuid(n, c));
      card.set_model("A100");
      card.set_memory_mib(81'920);
      card.set_slots(10);
    }
    return;
  }
  pb::NodeResources& node = *out->mutable_kubernetes();
  node.set_name(NodeName(n));
  auto& labels = *node.mutable_labels();
  labels["kubernetes.io/hostname"] = NodeName(n);
  labels["topology.kubernetes.io/zone"] = "zone-" + std::to_string(n % 3);
  for (auto* amounts : {node.mutable_capacity(), node.mutable_allocatable()}) {
    (*amounts)["cpu"] = "128";
    (*amounts)["memory"] = "1024Gi";
    (*amounts)["pods"] = "110";
    (*amounts)["nvidia.com/gpu"] = "80";
  }
  std::string& text = (*node.mutable_annotations())["hami.io/node-nvidia-register"];
  for (int c = 0; c < kCards; ++c) {
    text += CardUuid(n, c) + ",10,81920,100,NVIDIA A100-SXM4-80GB," + std::to_string(c / 4) +
            ",true," + std::to_string(c) + ",hami-core:";
  }
}

void FillAsk(int p, bool kubernetes, pb::Ask* ask) {
  const int cpu = 4'000 + p % kShapes * 10;
  if (!kubernetes) {
    pb::RequestSpec& spec = *ask->mutable_spec();
    spec.set_cpu_milli(cpu);
    spec.set_memory_mib(32 << 10);
    spec.set_gpus(1);
    spec.set_gpu_milli(1000);
    return;
  }
  pb::PodResources& pod = *ask->mutable_pod();
  pod.set_name("pod-" + std::to_string(p));
  pb::PodResources::Container& container = *pod.add_containers();
  container.set_name("main");
  for (auto* amounts : {container.mutable_limits(), container.mutable_requests()}) {
    (*amounts)["cpu"] = std::to_string(cpu) + "m";
    (*amounts)["memory"] = "32Gi";
    (*amounts)["nvidia.com/gpu"] = "1";
  }
}

// The listing: a message a thousand objects, nodes first.
const std::vector<pb::SyncRequest>& Listing(bool kubernetes) {
  static std::vector<pb::SyncRequest> listings[2];
  std::vector<pb::SyncRequest>& out = listings[kubernetes ? 1 : 0];
  if (!out.empty()) return out;
  const auto next = [&out]() -> pb::Delta& {
    if (out.empty() || out.back().deltas().deltas_size() == kDeltas) {
      out.emplace_back().mutable_deltas()->set_generation(out.size());
    }
    return *out.back().mutable_deltas()->add_deltas();
  };
  for (int n = 0; n < kNodes; ++n) AddNode(n, kubernetes, next().mutable_node());
  // All but a hundred cards are taken.
  for (int p = 0; p < kPods - 100; ++p) {
    pb::PodState& pod = *next().mutable_pod();
    pod.mutable_pod()->set_uid(PodUid(p + 1));
    pod.mutable_pod()->set_namespace_("team-" + std::to_string(p % 20));
    pod.mutable_pod()->set_name("pod-" + std::to_string(p));
    FillAsk(p, kubernetes, pod.mutable_ask());
    pod.set_node(NodeName(p / kCards % kNodes));
    pod.add_granted_uuids(CardUuid(p / kCards % kNodes, p % kCards));
    pod.set_phase("Running");
  }
  for (int p = kPods - 100; p < kPods; ++p) {  // and some that wait
    pb::PodState& pod = *next().mutable_pod();
    pod.mutable_pod()->set_uid(PodUid(p + 1));
    pod.mutable_pod()->set_namespace_("team-0");
    pod.mutable_pod()->set_name("pod-" + std::to_string(p));
    FillAsk(p, kubernetes, pod.mutable_ask());
  }
  return out;
}

const std::string& Folder() {
  static const support::TempDir folder;
  return folder.path();
}

std::string Command() {
  if (const char* named = getenv("BASALT_BIN"); named != nullptr) return named;
  return fs::read_symlink("/proc/self/exe").parent_path() / "basalt";
}

// `basalt serve` with a store, on a socket.
class Server {
 public:
  ~Server() { Kill(); }
  void ForgetStore() { fs::remove_all(Folder() + "/store"); }
  void Start() {
    std::vector<std::string> args = {
        Command(),           "serve",         "--cluster", "c", "--store",
        Folder() + "/store", "--listen-unix", Socket()};
    std::vector<char*> argv;
    for (std::string& arg : args) argv.push_back(arg.data());
    argv.push_back(nullptr);
    started_ = Clock::now();
    pid_ = fork();
    BASALT_CHECK(pid_ >= 0);
    if (pid_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      const int fd = open((Folder() + "/log").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
      dup2(fd, STDERR_FILENO);
      execv(argv[0], argv.data());
      _exit(127);
    }
    grpc::ChannelArguments arguments;
    arguments.SetInt("bench.start", ++starts_);                    // a channel of its own
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);  // gRPC waits no less
    // A connection that is refused waits for its next try: look for the socket first.
    while (access(Socket().c_str(), F_OK) != 0 || !Listens()) {
      BASALT_CHECK(waitpid(pid_, nullptr, WNOHANG) == 0);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    stub_ = pb::Placement::NewStub(grpc::CreateCustomChannel(
        "unix:" + Socket(), grpc::InsecureChannelCredentials(), arguments));
    pb::HelloResponse hello;
    grpc::ClientContext context;
    BASALT_CHECK(stub_->Hello(&context, {}, &hello).ok());
    epoch_ = hello.server_epoch();
  }
  void Kill() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }
  // User and system time of the process so far, in milliseconds.
  double Cpu() const {
    std::ifstream in("/proc/" + std::to_string(pid_) + "/stat");
    std::string text((std::istreambuf_iterator<char>(in)), {});
    std::istringstream fields(text.substr(text.rfind(')') + 2));
    std::string skipped;
    for (int i = 0; i < 11; ++i) fields >> skipped;
    double user = 0;
    double system = 0;
    fields >> user >> system;
    return (user + system) * 1000 / static_cast<double>(sysconf(_SC_CLK_TCK));
  }
  Clock::time_point started() const { return started_; }
  std::uint64_t epoch() const { return epoch_; }
  pb::Placement::Stub& stub() { return *stub_; }

 private:
  static std::string Socket() { return Folder() + "/s"; }
  static bool Listens() {
    const std::string line = "\"protocol\":\"grpc\"";
    std::string text(1 << 16, '\0');
    const int fd = open((Folder() + "/log").c_str(), O_RDONLY);
    if (fd < 0) return false;
    const ssize_t size = read(fd, text.data(), text.size());
    close(fd);
    text.resize(static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
    if (text.find(line) == std::string::npos) return false;
    BASALT_CHECK(truncate((Folder() + "/log").c_str(), 0) == 0);
    return true;
  }
  pid_t pid_ = 0;
  int starts_ = 0;
  Clock::time_point started_;
  std::uint64_t epoch_ = 0;
  std::unique_ptr<pb::Placement::Stub> stub_;
};

class Stream {
 public:
  explicit Stream(Server& server) : stream_(server.stub().Sync(&context_)) {}
  pb::SyncResponse Open(std::uint64_t resume, std::uint64_t epoch) {
    pb::SyncRequest message;
    message.mutable_open()->set_source("bench");
    message.mutable_open()->add_kinds(pb::SYNC_KIND_NODES);
    message.mutable_open()->add_kinds(pb::SYNC_KIND_PODS);
    message.mutable_open()->set_resume_generation(resume);
    message.mutable_open()->set_server_epoch(epoch);
    BASALT_CHECK(stream_->Write(message));
    return Answer();
  }
  // Messages do not wait for each other's answers, as basalt-sync does it.
  void List(bool kubernetes) {
    const std::vector<pb::SyncRequest>& listing = Listing(kubernetes);
    std::thread writer([&] {
      for (const pb::SyncRequest& message : listing) BASALT_CHECK(stream_->Write(message));
      pb::SyncRequest last;
      last.mutable_complete()->set_generation(listing.size());
      last.mutable_complete()->add_kinds(pb::SYNC_KIND_NODES);
      last.mutable_complete()->add_kinds(pb::SYNC_KIND_PODS);
      BASALT_CHECK(stream_->Write(last));
    });
    for (std::size_t m = 0; m < listing.size(); ++m) BASALT_CHECK(!Answer().ready());
    BASALT_CHECK(Answer().ready());
    writer.join();
  }
  void Break() {
    stream_->WritesDone();
    BASALT_CHECK(stream_->Finish().ok());
  }

 private:
  pb::SyncResponse Answer() {
    pb::SyncResponse answer;
    BASALT_CHECK(stream_->Read(&answer) && answer.rejected_size() == 0);
    return answer;
  }
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<pb::SyncRequest, pb::SyncResponse>> stream_;
};

void FirstDecision(Server& server, bool kubernetes) {
  pb::ProposeRequest request;
  request.mutable_pod()->mutable_pod()->set_uid(PodUid(1 << 30));
  FillAsk(3, kubernetes, request.mutable_pod()->mutable_ask());
  pb::ProposeResponse answer;
  grpc::ClientContext context;
  BASALT_CHECK(server.stub().Propose(&context, request, &answer).ok());
  BASALT_CHECK(answer.pod().kind() == pb::OUTCOME_KIND_PLACED);
}

void BM_Sync(benchmark::State& state) {
  const bool kubernetes = state.range(0) != 0;
  Listing(kubernetes);
  double worst = 0;
  double sum = 0;
  double cpu = 0;
  for (auto _ : state) {
    state.PauseTiming();
    Server server;
    server.ForgetStore();
    server.Start();
    state.ResumeTiming();
    const double cpu_before = server.Cpu();
    const auto begin = Clock::now();
    Stream stream(server);
    stream.Open(0, 0);
    stream.List(kubernetes);
    const double took = Millis(begin);
    cpu += server.Cpu() - cpu_before;
    FirstDecision(server, kubernetes);
    state.PauseTiming();
    sum += took;
    worst = std::max(worst, took);
    stream.Break();
    server.Kill();
    state.ResumeTiming();
  }
  state.counters["sync"] = sum / static_cast<double>(state.iterations());
  state.counters["sync_worst"] = worst;
  state.counters["cpu"] = cpu / static_cast<double>(state.iterations());
}
BENCHMARK(BM_Sync)
    ->ArgName("kubernetes")
    ->Arg(0)
    ->Arg(1)
    ->Iterations(5)
    ->Unit(benchmark::kMillisecond);

void BM_Restart(benchmark::State& state) {
  const bool kubernetes = state.range(0) != 0;
  Listing(kubernetes);
  double recovered = 0;
  double sync = 0;
  double total = 0;
  double cpu = 0;
  double worst = 0;
  Server server;
  server.ForgetStore();
  server.Start();
  auto stream = std::make_unique<Stream>(server);
  stream->Open(0, 0);
  stream->List(kubernetes);
  std::uint64_t epoch = server.epoch();
  for (auto _ : state) {
    state.PauseTiming();
    // What is not written yet is written within 100 ms: the journal has it all.
    std::this_thread::sleep_for(std::chrono::milliseconds(400));
    server.Kill();
    stream.reset();
    state.ResumeTiming();
    server.Start();
    recovered += Millis(server.started());
    const auto begin = Clock::now();
    stream = std::make_unique<Stream>(server);
    const pb::SyncResponse opened =
        stream->Open(static_cast<std::uint64_t>(Listing(kubernetes).size()), epoch);
    BASALT_CHECK(opened.relist());
    stream->List(kubernetes);
    sync += Millis(begin);
    FirstDecision(server, kubernetes);
    const double took = Millis(server.started());
    total += took;
    cpu += server.Cpu();
    worst = std::max(worst, took);
    epoch = server.epoch();
  }
  const auto n = static_cast<double>(state.iterations());
  state.counters["recovered"] = recovered / n;
  state.counters["sync"] = sync / n;
  state.counters["total"] = total / n;
  state.counters["total_worst"] = worst;
  state.counters["cpu"] = cpu / n;
  server.Kill();
}
BENCHMARK(BM_Restart)
    ->ArgName("kubernetes")
    ->Arg(0)
    ->Arg(1)
    ->Iterations(5)
    ->Unit(benchmark::kMillisecond);

void BM_Resume(benchmark::State& state) {
  Server server;
  server.ForgetStore();
  server.Start();
  auto stream = std::make_unique<Stream>(server);
  stream->Open(0, 0);
  stream->List(false);
  double resume = 0;
  for (auto _ : state) {
    state.PauseTiming();
    stream->Break();
    state.ResumeTiming();
    const auto begin = Clock::now();
    stream = std::make_unique<Stream>(server);
    const pb::SyncResponse opened =
        stream->Open(static_cast<std::uint64_t>(Listing(false).size()), server.epoch());
    BASALT_CHECK(!opened.relist() && opened.ready());
    FirstDecision(server, false);
    resume += Millis(begin);
  }
  state.counters["resume"] = resume / static_cast<double>(state.iterations());
  stream->Break();
}
BENCHMARK(BM_Resume)->Iterations(20)->Unit(benchmark::kMillisecond);

void BM_Reserve(benchmark::State& state) {
  Server server;
  server.ForgetStore();
  server.Start();
  Stream stream(server);
  stream.Open(0, 0);
  stream.List(false);
  std::vector<double> samples;
  int pod = 1 << 29;
  for (auto _ : state) {
    pb::ReserveRequest request;
    request.mutable_pod()->mutable_pod()->set_uid(PodUid(++pod));
    FillAsk(3, false, request.mutable_pod()->mutable_ask());
    request.set_confirm(true);
    pb::ReserveResponse answer;
    pb::ReleaseResponse released;
    grpc::ClientContext first;
    grpc::ClientContext second;
    const auto begin = Clock::now();
    BASALT_CHECK(server.stub().Reserve(&first, request, &answer).ok() && answer.has_lease());
    pb::ReleaseRequest release;
    *release.mutable_lease() = answer.lease();
    BASALT_CHECK(server.stub().Release(&second, release, &released).ok());
    samples.push_back(1000 * Millis(begin));
  }
  std::ranges::sort(samples);
  state.counters["p50_us"] = samples[samples.size() / 2];
  state.counters["p99_us"] = samples[samples.size() * 99 / 100];
  stream.Break();
}
BENCHMARK(BM_Reserve)->Iterations(2'000);

}  // namespace
}  // namespace basalt

BENCHMARK_MAIN();
