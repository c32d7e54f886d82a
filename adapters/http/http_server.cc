#include "adapters/http/http_server.h"

#include <httplib.h>
#include <sys/socket.h>

#include <limits>
#include <thread>
#include <utility>

namespace basalt::http {
namespace {

constexpr int kIdleSeconds = 5;
constexpr std::size_t kCompressFrom = 4096;

void SetAnswer(HttpAnswer answer, httplib::Response& response) {
  response.status = answer.status;
  // What is text is shown as text, whatever stands in it.
  response.set_header("X-Content-Type-Options", "nosniff");
  if (answer.retry_after_s > 0) {
    response.set_header("Retry-After", std::to_string(answer.retry_after_s));
  }
  // cpp-httplib compresses what it knows as JSON. For a verdict of 30 bytes that costs more than
  // all the rest, so small answers say their type in a way that it leaves alone.
  if (answer.type == "application/json" && answer.body.size() < kCompressFrom) {
    answer.type = "application/json; charset=utf-8";
  }
  response.set_content(std::move(answer.body), answer.type);
}

}  // namespace

struct HttpServer::Impl {
  std::unique_ptr<httplib::Server> server;
  std::thread thread;
  int port = 0;
};

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() { Stop(); }
int HttpServer::port() const { return impl_->port; }

void HttpServer::Stop() {
  if (!impl_->thread.joinable()) return;
  impl_->server->stop();
  impl_->thread.join();
}

Result<std::unique_ptr<HttpServer>> HttpServer::Start(const HttpOptions& options, Get get,
                                                      Post post) {
  auto impl = std::make_unique<Impl>();
  const std::string where = "--http " + options.host + ":" + std::to_string(options.port);
  if (options.certificate.empty()) {
    impl->server = std::make_unique<httplib::Server>();
  } else {
    impl->server = std::make_unique<httplib::SSLServer>(
        options.certificate.c_str(), options.key.c_str(),
        options.client_ca.empty() ? nullptr : options.client_ca.c_str());
    if (!impl->server->is_valid()) {
      return Fail(where, "the certificate, its key and the client CA do not fit together");
    }
  }
  httplib::Server& server = *impl->server;
  server.new_task_queue = [threads = options.threads] {
    return new httplib::ThreadPool(static_cast<std::size_t>(threads));
  };
  server.set_tcp_nodelay(true);
  // Without SO_REUSEPORT, which is cpp-httplib's default: two servers on one port would share its
  // connections without knowing.
  server.set_socket_options([](int fd) {
    const int yes = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  });
  server.set_keep_alive_max_count(std::numeric_limits<std::size_t>::max());
  server.set_keep_alive_timeout(kIdleSeconds);
  server.set_read_timeout(kIdleSeconds);
  server.set_write_timeout(kIdleSeconds);
  server.set_payload_max_length(options.max_body);
  server.set_exception_handler(
      [](const httplib::Request&, httplib::Response& response, std::exception_ptr) {
        SetAnswer({500, "internal error\n", "text/plain"}, response);
      });
  server.Get(".*",
             [get = std::move(get)](const httplib::Request& request, httplib::Response& response) {
               SetAnswer(get(request.path), response);
             });
  server.Post(
      ".*", [post = std::move(post)](const httplib::Request& request, httplib::Response& response) {
        // A page in a browser on this machine may post text to any port, but JSON only after
        // asking.
        if (!request.get_header_value("Content-Type").starts_with("application/json")) {
          SetAnswer({415, "the body must be application/json\n", "text/plain"}, response);
          return;
        }
        SetAnswer(post(request.path, request.body), response);
      });
  if (options.port == 0) {
    impl->port = server.bind_to_any_port(options.host);
  } else if (server.bind_to_port(options.host, options.port)) {
    impl->port = options.port;
  } else {
    impl->port = -1;
  }
  if (impl->port <= 0) {
    return Fail(where,
                "cannot listen there: is the port taken, or the address not this machine's?");
  }
  impl->thread = std::thread([raw = impl.get()] { raw->server->listen_after_bind(); });
  // stop() before the loop has begun would be lost.
  while (!server.is_running()) std::this_thread::yield();
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

}  // namespace basalt::http
