// `basalt serve` as a process: what it refuses, and that killing it loses nothing it has answered.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "adapters/rpc/placement.grpc.pb.h"
#include "test/support/files.h"

namespace basalt {
namespace {

namespace fs = std::filesystem;
namespace pb = placement::v1;
using std::chrono::milliseconds;
using std::chrono::steady_clock;
using testing::HasSubstr;

class ServeTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NE(getenv("BASALT_BIN"), nullptr) << "run by ctest, which says where the command is";
  }
  void TearDown() override {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
  }
  std::string File(const std::string& name, const std::string& text) {
    std::ofstream(folder_ + "/" + name) << text;
    return folder_ + "/" + name;
  }
  pid_t Spawn(std::vector<std::string> args, const std::string& errors) {
    args.insert(args.begin(), {getenv("BASALT_BIN"), "serve"});
    std::vector<char*> argv;
    for (std::string& arg : args) argv.push_back(arg.data());
    argv.push_back(nullptr);
    const pid_t pid = fork();
    if (pid == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);  // a test that is stopped leaves no server behind
      const int fd = open(errors.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
      dup2(fd, STDERR_FILENO);
      execv(argv[0], argv.data());
      _exit(127);
    }
    return pid;
  }
  // Runs to its end; the exit code, and what it said.
  std::pair<int, std::string> Run(const std::vector<std::string>& args) {
    const std::string errors = folder_ + "/errors";
    const pid_t pid = Spawn(args, errors);
    int status = 0;
    const auto until = steady_clock::now() + std::chrono::seconds(20);
    while (waitpid(pid, &status, WNOHANG) == 0) {
      if (steady_clock::now() > until) {
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        return {-1, "still running: " + support::Slurp(errors)};
      }
      std::this_thread::sleep_for(milliseconds(5));
    }
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -2, support::Slurp(errors)};
  }
  // Starts a server on a socket, and waits until it listens.
  void StartServer(std::vector<std::string> more) {
    more.insert(more.begin(), {"--cluster", "c", "--listen-unix", folder_ + "/s"});
    log_ = folder_ + "/log";
    fs::remove(log_);  // of an earlier server: it says that it listens
    pid_ = Spawn(more, log_);
    const auto until = steady_clock::now() + std::chrono::seconds(20);
    while (support::Slurp(log_).find("\"protocol\":\"grpc\"") == std::string::npos) {
      ASSERT_LT(steady_clock::now(), until) << support::Slurp(log_);
      ASSERT_EQ(waitpid(pid_, nullptr, WNOHANG), 0) << support::Slurp(log_);
      std::this_thread::sleep_for(milliseconds(5));
    }
    grpc::ChannelArguments arguments;
    arguments.SetInt("test.number", ++starts_);
    channel_ = grpc::CreateCustomChannel("unix:" + folder_ + "/s",
                                         grpc::InsecureChannelCredentials(), arguments);
    stub_ = pb::Placement::NewStub(channel_);
  }
  void Kill() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }
  int Terminate() {
    kill(pid_, SIGTERM);
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  // One node of eight cards, and no pods but those given.
  void Sync(const std::vector<std::pair<std::string, std::string>>& pods_on = {}) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    const auto stream = stub_->Sync(&context);
    pb::SyncRequest message;
    message.mutable_open()->set_source("test");
    message.mutable_open()->add_kinds(pb::SYNC_KIND_NODES);
    message.mutable_open()->add_kinds(pb::SYNC_KIND_PODS);
    pb::SyncResponse answer;
    ASSERT_TRUE(stream->Write(message) && stream->Read(&answer));
    message.mutable_deltas()->set_generation(1);
    pb::NodeSpec& node = *message.mutable_deltas()->add_deltas()->mutable_node()->mutable_spec();
    node.set_name("n0");
    node.set_cpu_milli(64'000);
    node.set_memory_mib(262'144);
    node.set_max_pods(110);
    for (int i = 0; i < 8; ++i) {
      pb::CardSpec& card = *node.add_cards();
      card.set_uuid("card-" + std::to_string(i));
      card.set_model("T4");
      card.set_memory_mib(15'360);
      card.set_slots(10);
    }
    for (const auto& [uid, node_name] : pods_on) {
      pb::PodState& pod = *message.mutable_deltas()->add_deltas()->mutable_pod();
      pod.mutable_pod()->set_uid(uid);
      pod.mutable_ask()->mutable_spec()->set_gpus(1);
      pod.mutable_ask()->mutable_spec()->set_gpu_milli(1000);
      pod.set_node(node_name);
    }
    ASSERT_TRUE(stream->Write(message) && stream->Read(&answer));
    ASSERT_EQ(answer.rejected_size(), 0) << answer.ShortDebugString();
    message.mutable_complete()->set_generation(1);
    message.mutable_complete()->add_kinds(pb::SYNC_KIND_NODES);
    message.mutable_complete()->add_kinds(pb::SYNC_KIND_PODS);
    ASSERT_TRUE(stream->Write(message) && stream->Read(&answer));
    ASSERT_TRUE(answer.ready());
    stream->WritesDone();
    ASSERT_TRUE(stream->Finish().ok());
  }
  static std::string Uid(int number) {
    return "00000000-0000-4000-8000-00000000000" + std::to_string(number);
  }
  pb::ReserveResponse Reserve(int pod, bool confirm) {
    pb::ReserveRequest request;
    request.mutable_pod()->mutable_pod()->set_uid(Uid(pod));
    request.mutable_pod()->mutable_ask()->mutable_spec()->set_gpus(1);
    request.mutable_pod()->mutable_ask()->mutable_spec()->set_gpu_milli(1000);
    request.set_confirm(confirm);
    pb::ReserveResponse answer;
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    const grpc::Status status = stub_->Reserve(&context, request, &answer);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return answer;
  }
  pb::StatusResponse Status() {
    const auto admin = pb::Admin::NewStub(channel_);
    pb::StatusRequest request;
    request.set_want_digests(true);
    request.set_audit(true);
    pb::StatusResponse answer;
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    const grpc::Status status = admin->Status(&context, request, &answer);
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(answer.audit_error(), "");
    EXPECT_EQ(answer.clusters_size(), 1);
    if (answer.clusters().empty()) answer.add_clusters();
    return answer;
  }

  support::TempDir temp_;
  const std::string folder_ = temp_.path();
  std::string log_;
  pid_t pid_ = 0;
  int starts_ = 0;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<pb::Placement::Stub> stub_;
};

TEST_F(ServeTest, BadInputIsExitTwoWithWords) {
  const auto refused = [&](const std::vector<std::string>& args, const std::string& says) {
    const auto [code, errors] = Run(args);
    EXPECT_EQ(code, 2) << errors;
    EXPECT_THAT(errors, HasSubstr(says));
    EXPECT_THAT(errors, testing::StartsWith("basalt: "));
  };
  refused({"--listen", "0.0.0.0:7070"}, "--insecure-remote");
  refused({"--listen", "127.0.0.1:0", "--http", "0.0.0.0:7071"}, "--insecure-remote");
  refused({"--listen", "7070"}, "HOST:PORT");
  refused({"--listen-unix", "relative"}, "absolute");
  refused({"--listen-unix", "/nowhere/at/all/s"}, "/nowhere/at/all/");
  refused({"--policy", "binpak"}, "binpack");
  refused({"--cluster", "a", "--cluster", "a"}, "twice");
  refused({"--tls-cert", "/nowhere/c.pem"}, "--tls-key");
  refused({"--config", "/nowhere/c.yaml"}, "/nowhere/c.yaml");
  refused({"--config", File("c.yaml", "clusters:\n  - id: a\n    polcy: fgd\n")}, "c.yaml:3:5");
  refused({"--config", File("p.yaml", "clusters:\n  - id: a\n    policy: fdg\n")}, "p.yaml:3:13");
  refused({"--config", File("d.yaml", "clusters: []\n")}, "d.yaml:1");
  refused({"--config", File("e.yaml", "clusters:\n  - id: a\n"), "--cluster", "b"}, "--cluster");
  refused({"--listen", "127.0.0.1:0", "--fsync", "sometimes", "--store", folder_ + "/x"}, "fsync");
  refused({"--max-waiting", "-1"}, "--max-waiting");
  const std::string socket = File("no-socket", "x");
  refused({"--listen-unix", socket}, "no socket");
  EXPECT_EQ(support::Slurp(socket), "x") << "a file was pushed aside";
  refused({"--max-waiting", "0"}, "--max-waiting");
  refused({"--drain-timeout", "3601"}, "--drain-timeout");
  refused({"--config", File("f.yaml", "fsync: 60001ms\nclusters:\n  - id: a\n")}, "f.yaml:1:8");
  const auto [code, errors] = Run({"--check", "--listen", "127.0.0.1:0"});
  EXPECT_EQ(code, 0) << errors;
}

// What does not start is not called good before, and leaves nothing behind.
TEST_F(ServeTest, TheCheckRefusesWhatAStartRefuses) {
  const std::string store = folder_ + "/store";
  const auto refused = [&](std::vector<std::string> args, const std::string& says) {
    args.insert(args.end(), {"--listen", "127.0.0.1:0", "--http", "none"});
    for (const bool check : {true, false}) {
      if (check) args.push_back("--check");
      const auto [code, errors] = Run(args);
      if (check) args.pop_back();
      EXPECT_EQ(code, 2) << errors;
      EXPECT_THAT(errors, HasSubstr(says));
    }
    EXPECT_FALSE(fs::exists(store)) << says;
  };
  for (const char* bad : {"5", "-5ms", "0ms", "60001ms", "5s"}) {
    refused({"--store", store, std::string("--fsync=") + bad}, bad);
    refused({std::string("--fsync=") + bad}, "fsync");
  }
  const auto file = [&](const std::string& more) {
    return File("c.yaml", more + "\nstore: " + store + "\n");
  };
  const std::string one = "clusters:\n  - id: a";
  refused({"--config", file("skus: /nowhere/skus.yaml\n" + one)}, "/nowhere/skus.yaml");
  refused({"--config", file("skus: " + File("skus.yaml", "skus: 3\n") + "\n" + one)},
          "skus.yaml:1");
  refused({"--config", file(one + "\n    target_skus: [none-such]")}, "none-such");
  refused({"--config", file(one + "\n    policy: fgd")}, "fgd");
  for (const char* bad : {"../../etc", "a/b", "..", ".a"}) {
    refused({"--store", store, "--cluster", bad}, "is no name of a folder");
  }
  // Without a store no folder has the name.
  const auto [code, errors] = Run({"--check", "--cluster", "a/b", "--http", "127.0.0.1:0"});
  EXPECT_EQ(code, 0) << errors;
}

TEST_F(ServeTest, KilledAndStartedAgainItIsTheSame) {
  const std::string store = folder_ + "/store";
  StartServer({"--store", store});
  Sync();
  // A lease alone waits for no disk; what is confirmed after it does, and takes it along.
  const pb::Lease open = Reserve(4, false).lease();
  EXPECT_GT(open.epoch(), 0U);
  for (int pod = 1; pod <= 3; ++pod) {
    EXPECT_EQ(Reserve(pod, true).pod().kind(), pb::OUTCOME_KIND_PLACED);
  }
  const pb::StatusResponse before = Status();
  EXPECT_EQ(before.clusters(0).allocations(), 4);
  // The folder is one server's.
  const auto [code, errors] = Run({"--cluster", "c", "--listen", "127.0.0.1:0", "--store", store});
  EXPECT_EQ(code, 2) << errors;
  Kill();

  StartServer({"--store", store});
  const pb::StatusResponse after = Status();
  EXPECT_EQ(after.clusters(0).state_digest(), before.clusters(0).state_digest());
  EXPECT_GT(after.server_epoch(), before.server_epoch());
  EXPECT_FALSE(after.clusters(0).ready());
  EXPECT_EQ(Reserve(5, true).pod().kind(), pb::OUTCOME_KIND_NOT_READY);
  Sync({{Uid(1), "n0"}, {Uid(2), "n0"}, {Uid(3), "n0"}});
  // The lease of the earlier boot is good as long as nothing took its place.
  pb::ConfirmRequest confirm;
  *confirm.mutable_lease() = open;
  pb::ConfirmResponse confirmed;
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->Confirm(&context, confirm, &confirmed).ok());
  EXPECT_EQ(confirmed.answer(), pb::LEASE_ANSWER_OK) << confirmed.reason();
  // Said again it is the same allocation; and the epochs go on.
  EXPECT_TRUE(Reserve(1, true).pod().already_held());
  EXPECT_GT(Reserve(6, true).lease().epoch(), open.epoch());
  const std::string last = Status().clusters(0).state_digest();
  EXPECT_EQ(Terminate(), 0) << support::Slurp(log_);
  EXPECT_THAT(support::Slurp(log_), HasSubstr("\"event\":\"stopped\""));

  StartServer({"--store", store});
  EXPECT_EQ(Status().clusters(0).state_digest(), last);
}

// Numbers of leases are never given twice: not by a server that keeps nothing, and not after the
// count of starts was lost.
TEST_F(ServeTest, StartsAreCounted) {
  StartServer({});
  const std::uint64_t first = Status().server_epoch();
  Kill();
  std::this_thread::sleep_for(milliseconds(1100));
  StartServer({});
  EXPECT_GT(Status().server_epoch(), first);
  EXPECT_GT(first, 1000U);
  Kill();

  const std::string store = folder_ + "/store";
  for (int start = 0; start < 2; ++start) {
    StartServer({"--store", store});
    Kill();
  }
  fs::remove(store + "/BOOT");
  const auto [code, errors] = Run({"--cluster", "c", "--listen", "127.0.0.1:0", "--store", store});
  EXPECT_EQ(code, 2);
  EXPECT_THAT(errors, HasSubstr("has leases of start 2; write 2 there"));
  std::ofstream(store + "/BOOT") << "2\n";
  StartServer({"--store", store});
  EXPECT_EQ(Status().server_epoch(), 3U);
}

// A file that may not grow is a full disk for one journal: it is logged when it fails and when the
// next generation has overcome it, once each.
TEST_F(ServeTest, AJournalThatFailsIsInTheLog) {
  const std::string store = folder_ + "/store";
  StartServer({"--store", store});
  Sync();
  const std::string journal = store + "/c/journal-1";
  // Longer than the log, which has the same limit.
  for (int i = 0; fs::file_size(journal) < 8192; ++i) {
    ASSERT_LT(i, 1000);
    pb::ReleaseRequest release;
    *release.mutable_lease() = Reserve(1, true).lease();
    pb::ReleaseResponse released;
    grpc::ClientContext context;
    ASSERT_TRUE(stub_->Release(&context, release, &released).ok());
  }
  rlimit limit{.rlim_cur = fs::file_size(journal) + 10, .rlim_max = RLIM_INFINITY};
  ASSERT_EQ(prlimit(pid_, RLIMIT_FSIZE, &limit, nullptr), 0);
  pb::ReserveRequest request;
  request.set_confirm(true);
  request.mutable_pod()->mutable_pod()->set_uid(Uid(2));
  request.mutable_pod()->mutable_ask()->mutable_spec()->set_gpus(1);
  request.mutable_pod()->mutable_ask()->mutable_spec()->set_gpu_milli(1000);
  pb::ReserveResponse answer;
  grpc::ClientContext context;
  EXPECT_EQ(stub_->Reserve(&context, request, &answer).error_code(), grpc::StatusCode::DATA_LOSS);
  limit.rlim_cur = RLIM_INFINITY;
  ASSERT_EQ(prlimit(pid_, RLIMIT_FSIZE, &limit, nullptr), 0);
  const auto until = steady_clock::now() + std::chrono::seconds(20);
  const std::string overcome = "\"event\":\"journal recovered\",\"cluster\":\"c\"}";
  while (support::Slurp(log_).find(overcome) == std::string::npos) {
    ASSERT_LT(steady_clock::now(), until) << support::Slurp(log_);
    std::this_thread::sleep_for(milliseconds(5));
  }
  const std::string log = support::Slurp(log_);
  const std::string failed =
      "\"event\":\"journal failed\",\"cluster\":\"c\",\"error\":\"write: File too large\"}";
  EXPECT_THAT(log, HasSubstr(failed));
  EXPECT_EQ(log.find(failed, log.find(failed) + 1), std::string::npos) << log;
  EXPECT_EQ(Terminate(), 0) << support::Slurp(log_);
}

TEST_F(ServeTest, ADamagedJournalIsSaidAloud) {
  const std::string store = folder_ + "/store";
  StartServer({"--store", store});
  Sync();
  const std::string journal = store + "/c/journal-1";
  const auto size = fs::file_size(journal);
  for (int pod = 1; pod <= 3; ++pod) {
    EXPECT_EQ(Reserve(pod, true).pod().kind(), pb::OUTCOME_KIND_PLACED);
  }
  Kill();
  std::string bytes = support::Slurp(journal);
  bytes[size + 20] = static_cast<char>(bytes[size + 20] ^ 1);
  support::Spill(journal, bytes);
  StartServer({"--store", store});
  const std::string log = support::Slurp(log_);
  EXPECT_THAT(log,
              HasSubstr("\"event\":\"journal damaged\",\"cluster\":\"c\",\"lost_records\":\""));
  EXPECT_THAT(log, HasSubstr("checksum does not match"));
  EXPECT_EQ(Terminate(), 0);
  StartServer({"--store", store});
  EXPECT_EQ(support::Slurp(log_).find("journal damaged"), std::string::npos);
}

// What was answered before the kill is in the recording, too, and one command decides it again.
TEST_F(ServeTest, WhatItRecordedIsDecidedAgainAlike) {
  const std::string store = folder_ + "/store";
  const std::vector<std::string> options = {"--store", store, "--record", "100"};
  StartServer(options);
  Sync();
  for (int pod = 1; pod <= 3; ++pod) {
    EXPECT_EQ(Reserve(pod, true).pod().kind(), pb::OUTCOME_KIND_PLACED);
  }
  Kill();
  StartServer(options);
  Sync({{Uid(1), "n0"}, {Uid(2), "n0"}, {Uid(3), "n0"}});
  EXPECT_EQ(Reserve(4, true).pod().kind(), pb::OUTCOME_KIND_PLACED);
  EXPECT_EQ(Terminate(), 0) << support::Slurp(log_);
  const auto replay = [&](const std::string& more) {
    const std::string out = folder_ + "/replay";
    const std::string command = std::string(getenv("BASALT_BIN")) + " replay " + store + "/c" +
                                more + " -o json > " + out + " 2>&1";
    const int status = std::system(command.c_str());
    EXPECT_TRUE(WIFEXITED(status));
    return std::pair{WEXITSTATUS(status), support::Slurp(out)};
  };
  const auto [code, said] = replay("");
  EXPECT_EQ(code, 0) << said;
  EXPECT_THAT(said, HasSubstr("\"decisions\":4,"));
  EXPECT_THAT(said, HasSubstr("\"different\":0,"));
  EXPECT_THAT(said, HasSubstr("\"same_digest\":true"));
  EXPECT_THAT(said, HasSubstr("\"states_different\":0"));
  const auto [driven, runs] = replay(" --policy spread");
  EXPECT_EQ(driven, 0) << runs;
  EXPECT_THAT(runs, HasSubstr("\"arrivals\":4,"));
  fs::resize_file(store + "/c/decisions-1", fs::file_size(store + "/c/decisions-1") - 2);
  const auto [damaged, error] = replay("");
  EXPECT_EQ(damaged, 2);
  EXPECT_THAT(error, HasSubstr("/c/decisions-1: torn entry at byte"));
}

TEST_F(ServeTest, HangUpReadsTheFileAgain) {
  const auto text = [](const std::string& policy) {
    return "listen_unix: SOCKET\nclusters:\n  - id: c\n    policy: " + policy + "\n";
  };
  const auto write = [&](const std::string& policy) {
    std::string all = text(policy);
    all.replace(all.find("SOCKET"), 6, folder_ + "/s");
    return File("c.yaml", all);
  };
  const std::string config = write("binpack");
  log_ = folder_ + "/log";
  pid_ = Spawn({"--config", config}, log_);
  const auto wait_for = [&](const std::string& words) {
    const auto until = steady_clock::now() + std::chrono::seconds(20);
    while (support::Slurp(log_).find(words) == std::string::npos) {
      ASSERT_LT(steady_clock::now(), until) << words << " is not in " << support::Slurp(log_);
      std::this_thread::sleep_for(milliseconds(5));
    }
  };
  wait_for("\"protocol\":\"grpc\"");
  channel_ = grpc::CreateChannel("unix:" + folder_ + "/s", grpc::InsecureChannelCredentials());
  EXPECT_EQ(Status().clusters(0).policy(), "binpack");
  write("nonsense");
  kill(pid_, SIGHUP);
  wait_for("\"applied\":\"no\"");
  EXPECT_EQ(Status().clusters(0).policy(), "binpack");
  write("spread");
  kill(pid_, SIGHUP);
  wait_for("\"applied\":\"yes\"");
  EXPECT_EQ(Status().clusters(0).policy(), "spread");
  EXPECT_EQ(Terminate(), 0);
}

}  // namespace
}  // namespace basalt
