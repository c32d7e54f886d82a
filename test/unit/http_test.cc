// The HTTP side: stock schedulers' requests as they were captured, and what is wrong with others.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>
#undef _res  // a macro of <resolv.h>, and a parameter of Eigen
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "adapters/http/http_server.h"
#include "adapters/http/pod_json.h"
#include "adapters/http/routes.h"
#include "test/support/served.h"
#include "traces/usage_prometheus.h"

namespace basalt::http {
namespace {

using nlohmann::json;
using testing::HasSubstr;

std::string Shared() {
  const char* root = std::getenv("BASALT_SHARED");
  return (root != nullptr ? std::string(root) : BASALT_SOURCE_DIR "/../shared") +
         "/data/kubernetes/";
}

json Captured(const std::string& name) {
  std::ifstream in(Shared() + name);
  return json::parse(in);
}

// A pod as kube-scheduler sends it, for so many whole cards.
json PodOf(const std::string& uid, int cards, int priority = 0) {
  const std::string count = std::to_string(cards);
  return {{"metadata",
           {{"name", "p"},
            {"namespace", "default"},
            {"uid", uid},
            {"annotations", {{"other.example/x", "y"}}}}},
          {"spec",
           {{"priority", priority},
            {"containers",
             {{{"name", "main"},
               {"resources",
                {{"limits", {{"nvidia.com/gpu", count}}},
                 {"requests", {{"cpu", "4"}, {"nvidia.com/gpu", count}}}}}}}}}}};
}

class HttpTest : public testing::Test {
 protected:
  void Start(ExtenderOptions options = {}) {
    routes_ = std::make_unique<Routes>(&served_.rooms(), options);
    auto server = HttpServer::Start(
        {.max_body = std::size_t{1} << 20},
        [this](const std::string& path) { return routes_->Get(path); },
        [this](const std::string& path, const std::string& body) {
          return routes_->Post(path, body);
        });
    ASSERT_TRUE(server) << server.error().ToString();
    server_ = std::move(*server);
    client_ = std::make_unique<httplib::Client>("127.0.0.1", server_->port());
    client_->set_keep_alive(true);
  }
  // gpu-0 to gpu-4, with the cards of which captured pods ask 4 each.
  void StartSynced(ExtenderOptions options = {}) {
    served_.Sync(5, 8);
    Start(options);
  }
  void TearDown() override {
    client_.reset();  // else the server waits for the open connection
    if (server_ != nullptr) server_->Stop();
  }
  json Post(const std::string& path, const json& body) {
    const auto answer = client_->Post(path, body.dump(), "application/json");
    EXPECT_TRUE(answer) << path;
    if (!answer) return {};
    EXPECT_EQ(answer->status, 200) << path << ": " << answer->body;
    return json::parse(answer->body, nullptr, false);
  }
  std::size_t Allocations() {
    return served_.room().With(
        [](service::Service& service, SimTime) { return service.engine().allocation_count(); });
  }

  test::Served served_;
  std::unique_ptr<Routes> routes_;
  std::unique_ptr<HttpServer> server_;
  std::unique_ptr<httplib::Client> client_;
};

class CapturedTest : public HttpTest {
 protected:
  void SetUp() override {
    if (!std::filesystem::is_directory(Shared())) GTEST_SKIP() << "skipped: no shared data";
    StartSynced();
  }
};

TEST_F(HttpTest, Pages) {
  Start();
  EXPECT_EQ(client_->Get("/healthz")->status, 200);
  EXPECT_EQ(client_->Get("/readyz")->status, 503) << "nothing is synced";
  EXPECT_EQ(client_->Get("/x")->status, 404);
  served_.Sync(2, 8);
  EXPECT_EQ(client_->Get("/readyz")->status, 200);
  Post("/v1/c/kube/filter",
       {{"Pod", PodOf(test::PodUidText(1), 1)}, {"NodeNames", {"gpu-0"}}, {"Nodes", nullptr}});
  const auto metrics = client_->Get("/metrics");
  ASSERT_EQ(metrics->status, 200);
  EXPECT_THAT(metrics->get_header_value("Content-Type"), HasSubstr("version=0.0.4"));
  EXPECT_THAT(metrics->body, HasSubstr("\nbasalt_nodes{cluster=\"c\"} 2\n"));
  EXPECT_THAT(metrics->body, HasSubstr("call=\"evaluate\""));
  trace::Diagnostics diagnostics;
  const trace::UsageFile read = trace::ParsePrometheusText("metrics", metrics->body, &diagnostics);
  EXPECT_TRUE(diagnostics.ok()) << diagnostics.ToString();
  EXPECT_GT(read.unknown.size(), 10U) << "families that no importer knows, but well formed";
  served_.rooms().Drain();
  EXPECT_EQ(client_->Get("/readyz")->status, 503);
  EXPECT_EQ(client_->Get("/healthz")->status, 200);
}

TEST_F(HttpTest, WhatIsWrongIsSaid) {
  Start();
  const auto post = [&](const std::string& path, const std::string& body,
                        const std::string& type = "application/json") {
    const auto answer = client_->Post(path, body, type);
    return answer ? answer->status : -1;
  };
  EXPECT_EQ(post("/v1/c/volcano/predicate", "{"), 400);
  EXPECT_EQ(post("/v1/c/volcano/predicate", ""), 400);
  EXPECT_EQ(post("/v1/c/volcano/predicate", "[]"), 400);
  EXPECT_EQ(post("/v1/c/volcano/predicate", "{\"task\":{}}"), 400);
  EXPECT_EQ(post("/v1/c/volcano/predicate", "{\"task\":{\"Pod\":{\"metadata\":[]}}}"), 400);
  EXPECT_EQ(post("/v1/c/kube/filter", "{\"Pod\":{\"metadata\":{},\"spec\":{}}}"), 400);
  EXPECT_EQ(post("/v1/c/volcano/unknown", "{}"), 404);
  EXPECT_EQ(post("/v1/c/kube/unknown", "{}"), 404);
  EXPECT_EQ(post("/v1/d/kube/filter", "{}"), 404);
  EXPECT_EQ(post("/v1/c/other/filter", "{}"), 404);
  EXPECT_EQ(post("/v1/c/kube/filter/more", "{}"), 404);
  EXPECT_EQ(post("/", "{}"), 404);
  // What a page in a browser can send without asking.
  EXPECT_EQ(post("/v1/c/kube/bind", "{}", "text/plain"), 415);
  EXPECT_EQ(post("/v1/c/kube/filter", std::string(2 << 20, ' ')), 413);
  EXPECT_EQ(client_->Get("/healthz")->status, 200);
}

// Bytes as a hostile client writes them: an answer's first line, or "" when the server hangs up.
std::string Raw(int port, const std::string& head, const std::string& body = "") {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string answer;
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
    const timeval patience{.tv_sec = 20, .tv_usec = 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    const std::string all = head + body;
    std::size_t sent = 0;
    while (sent < all.size()) {
      const ssize_t n = send(fd, all.data() + sent, all.size() - sent, MSG_NOSIGNAL);
      if (n <= 0) break;  // it has heard enough
      sent += static_cast<std::size_t>(n);
    }
    char buffer[4096];
    ssize_t n = 0;
    while ((n = recv(fd, buffer, sizeof buffer, 0)) > 0)
      answer.append(buffer, static_cast<std::size_t>(n));
  }
  close(fd);
  return answer.substr(0, answer.find("\r\n"));
}

// The limit of a body counts what is to be kept, however it comes.
TEST_F(HttpTest, BodiesAreLimitedHoweverTheyCome) {
  Start();
  const std::string head =
      "POST /v1/c/kube/filter HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n";
  // 64 MiB of spaces in 64 KiB of gzip; the limit of this server is 1 MiB.
  std::string bomb(std::size_t{1} << 20, '\0');
  z_stream deflater{};
  ASSERT_EQ(deflateInit2(&deflater, 9, Z_DEFLATED, 31, 9, Z_DEFAULT_STRATEGY), Z_OK);
  std::string spaces(std::size_t{1} << 20, ' ');
  deflater.next_out = reinterpret_cast<Bytef*>(bomb.data());
  deflater.avail_out = static_cast<uInt>(bomb.size());
  for (int i = 0; i < 64; ++i) {
    deflater.next_in = reinterpret_cast<Bytef*>(spaces.data());
    deflater.avail_in = static_cast<uInt>(spaces.size());
    ASSERT_GE(deflate(&deflater, i == 63 ? Z_FINISH : Z_NO_FLUSH), Z_OK);
  }
  bomb.resize(deflater.total_out);
  deflateEnd(&deflater);
  EXPECT_LT(bomb.size(), 100'000U);
  EXPECT_THAT(Raw(server_->port(),
                  head + "Content-Encoding: gzip\r\nContent-Length: " +
                      std::to_string(bomb.size()) + "\r\n\r\n",
                  bomb),
              HasSubstr(" 413 "));
  std::string chunks;
  for (int i = 0; i < 4; ++i) chunks += "100000\r\n" + spaces + "\r\n";
  EXPECT_THAT(
      Raw(server_->port(), head + "Transfer-Encoding: chunked\r\n\r\n", chunks + "0\r\n\r\n"),
      testing::AnyOf(HasSubstr(" 413 "), ""));
  EXPECT_THAT(Raw(server_->port(), head + "\r\n", spaces + spaces),
              testing::AnyOf(HasSubstr(" 411 "), ""));
  EXPECT_THAT(Raw(server_->port(), head + "\r\n"), HasSubstr(" 411 "));
  // What follows a refused request on its connection is not a request.
  EXPECT_THAT(
      Raw(server_->port(),
          "POST /v1/c/kube/filter HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\n"
          "Content-Length: 60\r\n\r\n",
          "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
      HasSubstr(" 415 "));
  EXPECT_EQ(client_->Get("/healthz")->status, 200);
}

// A client that is slow, silent or endless holds a thread for a time, and memory not at all.
class SlowClients : public testing::Test {
 protected:
  void Start(int threads, bool tls = false) {
    const std::string certificates = BASALT_SOURCE_DIR "/test/support/tls/";
    auto server = HttpServer::Start(
        {.certificate = tls ? certificates + "server.pem" : "",
         .key = tls ? certificates + "server.key" : "",
         .threads = threads,
         .head_time = std::chrono::milliseconds(300),
         .rest_time = std::chrono::milliseconds(tls ? 60'000 : 300)},
        [](const std::string&) { return HttpAnswer{.status = 200, .body = "ok"}; },
        [](const std::string&, const std::string&) {
          return HttpAnswer{.status = 200, .body = "{}"};
        });
    ASSERT_TRUE(server) << server.error().ToString();
    server_ = std::move(*server);
  }
  void TearDown() override {
    for (const int fd : open_) close(fd);
    if (server_ != nullptr) server_->Stop();
  }
  int Connect() {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(server_->port()));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    open_.push_back(fd);
    return fd;
  }
  static bool Send(int fd, const std::string& text) {
    return send(fd, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
  }
  std::string Healthz() {
    return Raw(server_->port(),
               "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
  }

  std::unique_ptr<HttpServer> server_;
  std::vector<int> open_;
};

TEST_F(SlowClients, HeadsThatDripAreHungUpOn) {
  Start(2);
  std::vector<int> slow = {Connect(), Connect()};
  for (const int fd : slow) ASSERT_TRUE(Send(fd, "GET /healthz HTTP/1.1\r\nX: "));
  std::atomic<bool> over{false};
  const auto drips = [&] {
    while (!over) {
      for (const int fd : slow) Send(fd, "a");
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  };
  std::thread drip(drips);
  EXPECT_THAT(Healthz(), HasSubstr(" 200 "));
  over = true;
  drip.join();
}

TEST_F(SlowClients, BodiesThatDripAreHungUpOn) {
  Start(1);
  const int fd = Connect();
  ASSERT_TRUE(Send(fd,
                   "POST /x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                   "Content-Length: 1000\r\n\r\n{"));
  std::atomic<bool> over{false};
  const auto drips = [&] {
    while (!over) {
      Send(fd, " ");
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  };
  std::thread drip(drips);
  EXPECT_THAT(Healthz(), HasSubstr(" 200 "));
  over = true;
  drip.join();
}

TEST_F(SlowClients, EndlessHeadersAreHungUpOn) {
  Start(1);
  const int fd = Connect();
  ASSERT_TRUE(Send(fd, "GET /healthz HTTP/1.1\r\n"));
  const std::string line = "X: " + std::string(1000, 'a') + "\r\n";
  int sent = 0;
  while (sent < 64 * 1024 && Send(fd, line)) ++sent;
  EXPECT_LT(sent, 64 * 1024) << "64 MiB of headers were read";
  EXPECT_THAT(Healthz(), HasSubstr(" 200 "));
}

TEST_F(SlowClients, TooManyAreTold) {
  Start(2);
  for (int i = 0; i < 4; ++i) Connect();  // two have a thread, two wait
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  const auto began = std::chrono::steady_clock::now();
  EXPECT_THAT(Healthz(), HasSubstr(" 503 "));
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(4));
  for (const int fd : open_) close(fd);
  open_.clear();
  std::string last;
  for (int i = 0; i < 100 && last.find(" 200 ") == std::string::npos; ++i) {
    last = Healthz();
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT_THAT(last, HasSubstr(" 200 "));
}

TEST_F(SlowClients, SilenceInsteadOfAHandshakeIsHungUpOn) {
  Start(1, true);
  Connect();
  httplib::SSLClient client("127.0.0.1", server_->port());
  client.enable_server_certificate_verification(false);
  client.set_connection_timeout(20);
  client.set_read_timeout(20);
  const auto answer = client.Get("/healthz");
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 200);
  // Large bodies go through its records, both ways.
  const auto posted = client.Post("/x", std::string(3 << 20, ' '), "application/json");
  ASSERT_TRUE(posted);
  EXPECT_EQ(posted->body, "{}");
}

// A page whose own name was given our address is not served, whatever it says it is.
TEST_F(HttpTest, NamesThatAreNotThisMachineAreRefused) {
  Start();
  const auto asked_as = [&](const std::string& host) {
    return Raw(server_->port(),
               "GET /metrics HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n");
  };
  for (const char* host :
       {"127.0.0.1", "127.0.0.1:7071", "localhost:7071", "[::1]:7071", "[::1]"}) {
    EXPECT_THAT(asked_as(host), HasSubstr(" 200 ")) << host;
  }
  for (const char* host : {"evil.example", "evil.example:7071", "127.0.0.1.evil.example",
                           "127.evil", "localhost.evil.example", "", "[::2]:7071", "10.0.0.1"}) {
    EXPECT_THAT(asked_as(host), HasSubstr(" 421 ")) << host;
  }
  EXPECT_THAT(Raw(server_->port(),
                  "POST /v1/c/kube/bind HTTP/1.1\r\nHost: evil.example\r\nContent-Type: "
                  "application/json\r\nContent-Length: 2\r\n\r\n",
                  "{}"),
              HasSubstr(" 421 "));
}

TEST_F(HttpTest, NothingIsPlacedBeforeTheSync) {
  Start();
  const json args = {
      {"Pod", PodOf(test::PodUidText(1), 1)}, {"NodeNames", {"gpu-0"}}, {"Nodes", nullptr}};
  const json filtered = Post("/v1/c/kube/filter", args);
  EXPECT_TRUE(filtered["NodeNames"].empty());
  EXPECT_NE(filtered["Error"], "");
  const json verdict = Post("/v1/c/volcano/predicate", {{"task",
                                                         {{"UID", test::PodUidText(1)},
                                                          {"Job", "default/j"},
                                                          {"Status", 1},
                                                          {"Pod", PodOf(test::PodUidText(1), 1)}}},
                                                        {"node", {{"Name", "gpu-0"}}}});
  EXPECT_NE(verdict["code"], 0);
}

TEST_F(HttpTest, GzipAndChunks) {
  StartSynced();
  json names = json::array();
  for (int i = 0; i < 5; ++i) names.push_back("gpu-" + std::to_string(i));
  const json args = {
      {"Pod", PodOf(test::PodUidText(1), 1)}, {"NodeNames", names}, {"Nodes", nullptr}};
  client_->set_compress(true);
  client_->set_decompress(true);
  EXPECT_EQ(Post("/v1/c/kube/filter", args)["NodeNames"], names);
  client_->set_compress(false);
  const std::string text = args.dump();
  const auto chunked = client_->Post(
      "/v1/c/kube/filter",
      [&](std::size_t offset, httplib::DataSink& sink) {
        const std::size_t size = std::min<std::size_t>(100, text.size() - offset);
        if (size == 0) {
          sink.done();
        } else {
          sink.write(text.data() + offset, size);
        }
        return true;
      },
      "application/json");
  ASSERT_TRUE(chunked);
  EXPECT_EQ(chunked->status, 200);
  EXPECT_EQ(json::parse(chunked->body)["NodeNames"], names);
}

// kube-scheduler with node names and with whole nodes: full nodes go, the rest stay as they were.
TEST_F(HttpTest, FilterAndPrioritize) {
  StartSynced();
  served_.room().With([](service::Service& service, SimTime now) {
    pb::ReserveRequest request;
    *request.mutable_pod() = test::WholeCards(99, 6);
    request.mutable_placement()->set_node("gpu-1");
    request.set_confirm(true);
    ASSERT_TRUE(service.Reserve({.identity = "t", .local = true}, request, now).body.has_lease());
  });
  const json pod = PodOf(test::PodUidText(1), 4);
  const json by_name =
      Post("/v1/c/kube/filter",
           {{"Pod", pod}, {"Nodes", nullptr}, {"NodeNames", {"gpu-0", "gpu-1", "nowhere"}}});
  EXPECT_EQ(by_name["NodeNames"], json({"gpu-0"}));
  EXPECT_TRUE(by_name["Nodes"].is_null());
  EXPECT_EQ(by_name["Error"], "");
  EXPECT_EQ(by_name["FailedNodes"].size() + by_name["FailedAndUnresolvableNodes"].size(), 2U);
  EXPECT_TRUE(by_name["FailedNodes"].contains("gpu-1")) << "others may leave it";

  json items = json::array();
  for (const char* name : {"gpu-0", "gpu-1", "gpu-2"}) {
    items.push_back({{"metadata", {{"name", name}, {"labels", {{"a", "\"quoted\""}}}}},
                     {"spec", json::object()}});
  }
  const json whole =
      Post("/v1/c/kube/filter", {{"Pod", pod},
                                 {"Nodes", {{"metadata", json::object()}, {"items", items}}},
                                 {"NodeNames", nullptr}});
  EXPECT_TRUE(whole["NodeNames"].is_null());
  ASSERT_EQ(whole["Nodes"]["items"].size(), 2U);
  EXPECT_EQ(whole["Nodes"]["items"][0], items[0]);
  EXPECT_EQ(whole["Nodes"]["items"][1], items[2]);

  // binpack: a pod of two fits best beside the six.
  const json scores = Post("/v1/c/kube/prioritize", {{"Pod", PodOf(test::PodUidText(2), 2)},
                                                     {"Nodes", nullptr},
                                                     {"NodeNames", {"gpu-0", "gpu-1"}}});
  ASSERT_EQ(scores.size(), 2U);
  EXPECT_EQ(scores[0], json({{"Host", "gpu-0"}, {"Score", 0}}));
  EXPECT_EQ(scores[1], json({{"Host", "gpu-1"}, {"Score", 10}}));
}

// Bind reserves and has the executor bind. What that refuses is given back; what nobody answered
// may be bound yet, and keeps its place.
TEST_F(HttpTest, BindGoesThroughTheExecutor) {
  StartSynced({.bind = std::chrono::milliseconds(300), .landing = std::chrono::milliseconds(1500)});
  const std::string uid = test::PodUidText(7);
  json bind = {{"PodName", "p"}, {"PodNamespace", "default"}, {"PodUID", uid}, {"Node", "gpu-3"}};
  EXPECT_THAT(Post("/v1/c/kube/bind", bind)["Error"].get<std::string>(), HasSubstr("not filtered"));
  Post("/v1/c/kube/filter",
       {{"Pod", PodOf(uid, 4)}, {"Nodes", nullptr}, {"NodeNames", {"gpu-3", "gpu-4"}}});
  std::atomic<bool> over{false};
  const auto ticking = [&] {
    while (!over) {
      served_.rooms().Tick();
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  };
  std::thread ticker(ticking);
  const auto answer = [&](const std::string& node, bool done) {
    return std::thread([this, uid, node, done] {
      for (int i = 0; i < 500; ++i) {
        const bool told = served_.room().With([&](service::Service& service, SimTime now) {
          const auto actions = service.ActionsAfter(0, {pb::ACTION_KIND_BIND}, 10);
          if (actions.empty()) return false;
          EXPECT_EQ(actions[0].pod().uid(), uid);
          EXPECT_EQ(actions[0].pod().name(), "p");
          EXPECT_EQ(actions[0].to().node(), node);
          EXPECT_EQ(actions[0].to().card_uuids_size(), 4);
          pb::AckActionRequest ack;
          ack.set_id(actions[0].id());
          ack.set_server_epoch(actions[0].server_epoch());
          ack.set_done(done);
          if (!done) ack.set_error("no");
          EXPECT_TRUE(service.AckAction({.identity = "t", .local = true}, ack, now).ok());
          return true;
        });
        if (told) return;
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
      ADD_FAILURE() << "no action came";
    });
  };
  std::thread refuses = answer("gpu-3", false);
  EXPECT_EQ(Post("/v1/c/kube/bind", bind)["Error"], "no");
  refuses.join();
  EXPECT_EQ(Allocations(), 0U);

  const auto asked = std::chrono::steady_clock::now();
  EXPECT_NE(Post("/v1/c/kube/bind", bind)["Error"], "") << "nobody is there to bind it";
  EXPECT_EQ(Allocations(), 1U);
  bind["Node"] = "gpu-4";
  EXPECT_THAT(Post("/v1/c/kube/bind", bind)["Error"].get<std::string>(),
              HasSubstr("may still be carried out, on node gpu-3"));
  EXPECT_EQ(Allocations(), 1U);
  std::this_thread::sleep_until(asked + std::chrono::milliseconds(2200));
  std::thread binds = answer("gpu-4", true);
  EXPECT_EQ(Post("/v1/c/kube/bind", bind)["Error"], "");
  binds.join();
  over = true;
  ticker.join();
  EXPECT_EQ(Allocations(), 1U);
}

TEST_F(HttpTest, VolcanoAllocatesAndTakesBack) {
  StartSynced();
  json task = {{"UID", test::PodUidText(5)},
               {"Job", "default/j"},
               {"NodeName", "gpu-2"},
               {"Status", 2},
               {"Pod", PodOf(test::PodUidText(5), 8)}};
  const int waits = served_.store().waits;
  EXPECT_EQ(Post("/v1/c/volcano/allocateFunc", {{"task", task}})["errorMessage"], "");
  EXPECT_GT(served_.store().waits, waits) << "Volcano binds by a lease that may be lost";
  EXPECT_EQ(Allocations(), 1U);
  served_.room().With([](service::Service& service, SimTime now) {
    // Nobody confirms it while the sync is away.
    service.Tick(now.Plus(3'000'000'000));
  });
  EXPECT_EQ(Allocations(), 1U);
  json other = task;
  other["UID"] = test::PodUidText(6);
  other["Pod"] = PodOf(test::PodUidText(6), 1);
  EXPECT_NE(Post("/v1/c/volcano/allocateFunc", {{"task", other}})["errorMessage"], "");
  EXPECT_EQ(
      Post("/v1/c/volcano/predicate", {{"task", other}, {"node", {{"Name", "gpu-2"}}}})["code"], 2);
  EXPECT_EQ(Post("/v1/c/volcano/predicate", {{"task", other}, {"node", {{"Name", "gpu-1"}}}}),
            json({{"status", ""}, {"code", 0}}));
  // Pipelined: only marked. Releasing: an eviction; it holds its cards until it is gone.
  other["Status"] = 4;
  EXPECT_EQ(Post("/v1/c/volcano/allocateFunc", {{"task", other}})["errorMessage"], "");
  task["Status"] = 64;
  EXPECT_EQ(Post("/v1/c/volcano/deallocateFunc", {{"task", task}})["errorMessage"], "");
  EXPECT_EQ(Allocations(), 1U);
  task["Status"] = 1;
  EXPECT_EQ(Post("/v1/c/volcano/deallocateFunc", {{"task", task}})["errorMessage"], "");
  EXPECT_EQ(Allocations(), 0U);
}

// Whom the engine would not let go stays: equals do not evict each other.
TEST_F(HttpTest, VolcanoVictimsAreTheEngines) {
  StartSynced();
  const auto hold = [&](std::uint64_t pod, int cards, int priority) {
    served_.room().With([&](service::Service& service, SimTime now) {
      pb::ReserveRequest request;
      *request.mutable_pod() = test::WholeCards(pod, cards);
      request.mutable_pod()->mutable_standing()->set_priority(priority);
      request.mutable_placement()->set_node("gpu-0");
      request.set_confirm(true);
      const auto held = service.Reserve({.identity = "t", .local = true}, request, now);
      ASSERT_TRUE(held.ok() && held.body.has_lease());
    });
  };
  hold(21, 4, 10);
  hold(22, 4, 1000);
  json evictees = json::array();
  for (const std::uint64_t pod : {21U, 22U}) {
    evictees.push_back({{"UID", test::PodUidText(pod)},
                        {"NodeName", "gpu-0"},
                        {"Status", 32},
                        {"Pod", PodOf(test::PodUidText(pod), 4)}});
  }
  const json evictor = {{"UID", test::PodUidText(30)},
                        {"Job", "default/hi"},
                        {"NodeName", ""},
                        {"Status", 1},
                        {"Pod", PodOf(test::PodUidText(30), 4, 1000)}};
  const json answer =
      Post("/v1/c/volcano/preemptable", {{"evictor", evictor}, {"evictees", evictees}});
  EXPECT_EQ(answer["status"], 1);
  ASSERT_EQ(answer["victims"].size(), 1U) << answer;
  EXPECT_EQ(answer["victims"][0], evictees[0]) << "the object as it came";
}

TEST_F(CapturedTest, VolcanosOwnRequests) {
  // gpu-3 has room; the pods ask for four cards.
  const json predicate = Captured("vc-extender.predicate.json");
  EXPECT_EQ(Post("/v1/c/volcano/predicate", predicate), json({{"status", ""}, {"code", 0}}));
  const json prioritize = Captured("vc-extender.prioritize.json");
  const json scores = Post("/v1/c/volcano/prioritize", prioritize);
  EXPECT_EQ(scores["errorMessage"], "");
  ASSERT_EQ(scores["nodeScore"].size(), prioritize["nodes"].size());
  for (const json& node : prioritize["nodes"]) {
    EXPECT_TRUE(scores["nodeScore"].contains(node["Name"])) << node["Name"];
  }
  const json allocate = Captured("vc-extender.allocateFunc.json");
  EXPECT_EQ(Post("/v1/c/volcano/allocateFunc", allocate)["errorMessage"], "");
  EXPECT_EQ(Allocations(), 1U);
  // 16 bound of 4 wanted; and all pending of 4 wanted.
  EXPECT_EQ(Post("/v1/c/volcano/jobReady", Captured("vc-extender.jobReady.json"))["status"], true);
  EXPECT_EQ(Post("/v1/c/volcano/jobReady", Captured("vc-extender.jobEnqueueable.json"))["status"],
            false);
  // Queues are not synced here: nothing is known of "default".
  EXPECT_EQ(
      Post("/v1/c/volcano/jobEnqueueable", Captured("vc-extender.jobEnqueueable.json"))["status"],
      0);
  EXPECT_EQ(
      Post("/v1/c/volcano/queueOverused", Captured("vc-extender.queueOverused.json"))["overused"],
      false);
  EXPECT_EQ(Post("/v1/c/volcano/onSessionOpen", Captured("vc-extender.onSessionOpen.json")),
            json::object());
  EXPECT_EQ(Post("/v1/c/volcano/onSessionClose", json::object()), json::object());
  // Slices in Volcano's words: a quarter of a card, 20 GiB.
  EXPECT_EQ(Post("/v1/c/volcano/predicate", Captured("vc-extender-vgpu.predicate.json"))["code"],
            0);
  EXPECT_EQ(Post("/v1/c/volcano/allocateFunc",
                 Captured("vc-extender-vgpu.allocateFunc.json"))["errorMessage"],
            "");
  EXPECT_EQ(Allocations(), 2U);
  EXPECT_EQ(Post("/v1/c/volcano/deallocateFunc",
                 Captured("vc-extender-preempt.deallocateFunc.json"))["errorMessage"],
            "");
  EXPECT_EQ(Post("/v1/c/volcano/preemptable", Captured("vc-extender-preempt.preemptable.json")),
            json({{"status", 1}, {"victims", json::array()}}))
      << "there is room: nobody has to leave";
}

TEST_F(CapturedTest, KubeSchedulersOwnRequests) {
  for (const std::string mode : {"true", "false"}) {
    const json args = Captured("ks-extender-" + mode + ".filter.json");
    const json filtered = Post("/v1/c/kube/filter", args);
    EXPECT_EQ(filtered["Error"], "");
    EXPECT_EQ(filtered["FailedNodes"], json::object());
    if (mode == "true") {
      EXPECT_EQ(filtered["NodeNames"], args["NodeNames"]);
    } else {
      EXPECT_EQ(filtered["Nodes"]["items"], args["Nodes"]["items"]) << "nodes come back untouched";
    }
    const json prioritize = Captured("ks-extender-" + mode + ".prioritize.json");
    const json scores = Post("/v1/c/kube/prioritize", prioritize);
    ASSERT_EQ(scores.size(), mode == "true" ? prioritize["NodeNames"].size()
                                            : prioritize["Nodes"]["items"].size());
    EXPECT_EQ(Post("/v1/c/kube/preempt", Captured("ks-extender-" + mode + ".preempt.json")),
              json({{"NodeNameToMetaVictims", json::object()}}))
        << "there is room: nobody has to leave";
  }
}

TEST(PodJson, ReadsWhatPlacementNeeds) {
  const std::string text = R"({"spec":{"containers":[
      {"name":"a","resources":{"limits":{"nvidia.com/gpu":2,"cpu":"1"}}},{"name":"b"}],
     "initContainers":[{"name":"i","restartPolicy":"Always","resources":null}],
     "nodeSelector":{"zone":"\u0061"},"nodeName":"n","priority":7,
     "tolerations":[{"key":"k","operator":"Exists"},{"operator":"Exists"}]},
    "metadata":{"annotations":{"x/y":"1","keep/z":"2","exact":"3","exacter":"4"},"uid":"u",
     "name":"p","namespace":"s"}})";
  simdjson::ondemand::parser parser;
  const simdjson::padded_string padded(text);
  simdjson::ondemand::document document;
  ASSERT_EQ(parser.iterate(padded).get(document), simdjson::SUCCESS);
  const auto pod = ReadPod(document.get_object(), AnnotationKeys({"keep/", "exact"}));
  ASSERT_TRUE(pod) << pod.error().ToString();
  EXPECT_EQ(pod->key.uid(), "u");
  EXPECT_EQ(pod->key.name(), "p");
  EXPECT_EQ(pod->key.namespace_(), "s");
  EXPECT_EQ(pod->node, "n");
  EXPECT_EQ(pod->priority, 7);
  ASSERT_EQ(pod->resources.containers_size(), 3);
  EXPECT_EQ(pod->resources.containers(0).name(), "i") << "init containers are counted first";
  EXPECT_TRUE(pod->resources.containers(0).init());
  EXPECT_TRUE(pod->resources.containers(0).sidecar());
  EXPECT_EQ(pod->resources.containers(1).limits().at("nvidia.com/gpu"), "2");
  EXPECT_EQ(pod->resources.containers(1).limits().at("cpu"), "1");
  EXPECT_EQ(pod->resources.annotations_size(), 2);
  EXPECT_EQ(pod->resources.annotations().at("keep/z"), "2");
  EXPECT_EQ(pod->resources.annotations().at("exact"), "3");
  ASSERT_EQ(pod->resources.node_selector_size(), 1);
  EXPECT_EQ(pod->resources.node_selector(0).value(), "a");
  ASSERT_EQ(pod->resources.tolerations_size(), 1);
  EXPECT_EQ(pod->resources.tolerations(0), "k");
}

TEST_F(HttpTest, TooManyCallsAreToldWhenToComeBack) {
  StartSynced();
  service::ServerConfig config;
  config.access.push_back({.identity = "http", .calls_per_second = 1, .calls_burst = 1});
  served_.rooms().limits().Configure(config);
  const json body = {{"job", {{"UID", "ns/j"}}}};
  const auto first = client_->Post("/v1/c/volcano/jobReady", body.dump(), "application/json");
  ASSERT_TRUE(first);
  EXPECT_NE(first->status, 429);
  const auto second = client_->Post("/v1/c/volcano/jobReady", body.dump(), "application/json");
  ASSERT_TRUE(second);
  EXPECT_EQ(second->status, 429);
  EXPECT_EQ(second->get_header_value("Retry-After"), "1");
  EXPECT_THAT(second->body, HasSubstr("\"http\" makes more calls"));
  EXPECT_EQ(client_->Get("/healthz")->status, 200) << "operators are not limited";
  EXPECT_THAT(client_->Get("/metrics")->body, HasSubstr("basalt_calls_limited_total 1"));
}

TEST_F(HttpTest, TextIsShownAsText) {
  StartSynced();
  const auto answer = client_->Post("/v1/%1b%5b2J/volcano/predicate", "{}", "application/json");
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 404);
  EXPECT_EQ(answer->get_header_value("X-Content-Type-Options"), "nosniff");
  EXPECT_EQ(answer->body.find('\x1b'), std::string::npos) << answer->body;
}

TEST(PodJson, QuotedIsJson) {
  for (const std::string& text : {std::string("plain"), std::string("\"\\\n\t\x01\x7f"),
                                  std::string("h\xc3\xa9llo \xe2\x82\xac"),
                                  std::string("bad \xff\xc3 end"), std::string("\0mid", 4)}) {
    const json read = json::parse(Quoted(text), nullptr, false);
    ASSERT_TRUE(read.is_string()) << Quoted(text);
    if (simdjson::validate_utf8(text)) {
      EXPECT_EQ(read.get<std::string>(), text);
    }
  }
}

}  // namespace
}  // namespace basalt::http
