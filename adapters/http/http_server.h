// The HTTP side: a server with a bounded number of threads, and the table of what it answers. The
// protocol (heads, chunks, gzip, keep-alive, TLS) is cpp-httplib's.
//
// Each open connection holds a thread until it was idle for five seconds: the schedulers that call
// (Volcano: 16 at once; kube-scheduler: a few) fit into the default many times over. As many again
// may wait for a thread; more are answered 503 at once.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "scheduler-core/base/result.h"

namespace basalt::http {

struct HttpAnswer {
  int status = 200;
  std::string body = {};
  std::string type = "application/json";
  std::int64_t retry_after_s = 0;  // told when not 0
};

struct HttpOptions {
  std::string host = "127.0.0.1";
  int port = 0;  // 0: any free one
  // PEM files; all empty: no TLS. With a client CA every client must show a certificate of it.
  std::string certificate = {}, key = {}, client_ca = {};
  int threads = 64;
  std::size_t max_body = std::size_t{16} << 20;  // bytes, after gzip
  // A request's line and headers (64 KiB at most) must be here in this time, its body and the
  // answer's way in that. Slower clients are hung up on.
  std::chrono::milliseconds head_time{5'000}, rest_time{30'000};
};

class HttpServer {
 public:
  // Called from many threads at once. `path` has no query.
  using Get = std::function<HttpAnswer(const std::string& path)>;
  using Post = std::function<HttpAnswer(const std::string& path, const std::string& body)>;

  // Listens when it returns. Errors: the address is taken or not this machine's; TLS files that do
  // not fit together.
  static Result<std::unique_ptr<HttpServer>> Start(const HttpOptions& options, Get get, Post post);
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;
  ~HttpServer();  // Stop

  int port() const;
  // Takes no more connections and waits for those that are open: at most five seconds when idle.
  void Stop();

 private:
  struct Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace basalt::http
