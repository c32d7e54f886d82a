#include "adapters/http/http_server.h"

#include <httplib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <limits>
#include <string_view>
#include <thread>
#include <utility>

#include "adapters/http/connection.h"

namespace basalt::http {
namespace {

constexpr std::chrono::milliseconds kIdle{5'000};
// How soon an idle connection sees that the server stops.
constexpr std::chrono::milliseconds kLook{100};
constexpr std::size_t kCompressFrom = 4096;
constexpr std::size_t kBelieved = std::size_t{1} << 20;  // of an announced length, before it came

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

// Answers before the request was read to its end. What is left of it must not be taken for the next
// request, and need not be waited for: a provider that gives up ends the connection.
void AnswerAndClose(int status, std::string text, httplib::Response& response) {
  response.status = status;
  response.set_content_provider("text/plain",
                                [text = std::move(text)](std::size_t, httplib::DataSink& sink) {
                                  sink.write(text.data(), text.size());
                                  return false;
                                });
}

// Whether a listener's host, or a Host header with its port taken off, can only be this machine.
bool IsLocalName(std::string_view host) {
  return host == "localhost" || host == "::1" || host == "[::1]" ||
         (host.starts_with("127.") && host.find_first_not_of("0123456789.") == host.npos);
}

std::string_view WithoutPort(std::string_view host) {
  const std::size_t colon = host.rfind(':');
  const bool port = colon != host.npos && host.find(']', colon) == host.npos;
  return port ? host.substr(0, colon) : host;
}

// Set while a connection is only to be told that there are too many.
thread_local bool turned_away = false;

// Threads that serve connections, with as many waiting as there are threads. More are told so at
// once: each would be an open file of the process, which the journal and gRPC need, too.
class BoundedPool : public httplib::TaskQueue {
 public:
  explicit BoundedPool(int threads)
      : most_(2 * threads), pool_(static_cast<std::size_t>(threads)) {}
  void enqueue(std::function<void()> serve) override {
    if (open_.fetch_add(1) >= most_) {
      turned_away = true;
      serve();
      turned_away = false;
      open_.fetch_sub(1);
      return;
    }
    pool_.enqueue([this, serve = std::move(serve)] {
      serve();
      open_.fetch_sub(1);
    });
  }
  void shutdown() override { pool_.shutdown(); }

 private:
  const int most_;
  std::atomic<int> open_{0};
  httplib::ThreadPool pool_;
};

// cpp-httplib's server over Connections.
template <class Base>
class Guarded : public Base {
 public:
  template <class... Args>
  explicit Guarded(ConnectionLimits limits, Args... args) : Base(args...), limits_(limits) {}

 private:
  SSL_CTX* Context() const {
    if constexpr (std::is_same_v<Base, httplib::SSLServer>) return this->ssl_context();
    return nullptr;
  }

  bool process_and_close_socket(socket_t fd) override {
    bool good = false;
    {
      Connection connection(fd, limits_);
      if (turned_away) {
        static constexpr std::string_view kBusy =
            "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n"
            "Content-Length: 0\r\n\r\n";
        if (Context() == nullptr) connection.write(kBusy.data(), kBusy.size());
      } else if (Context() == nullptr || connection.Encrypt(Context())) {
        good = Serve(&connection);
      }
    }
    shutdown(fd, SHUT_RDWR);
    close(fd);
    return good;
  }

  bool Serve(Connection* connection) {
    while (AwaitRequest(connection)) {
      connection->BeginHead();
      bool closed = false;
      const bool good =
          this->process_request(*connection, false, closed, [&](httplib::Request& request) {
            request.ssl = connection->ssl();
            connection->BeginRest();
          });
      connection->Flush();
      if (!good || connection->broken()) return false;
      if (closed) return true;
    }
    return true;
  }

  bool AwaitRequest(Connection* connection) {
    for (auto waited = kIdle - kIdle; waited < kIdle; waited += kLook) {
      if (this->svr_sock_ == INVALID_SOCKET) return false;
      if (connection->WaitForRequest(kLook)) return true;
    }
    return false;
  }

  ConnectionLimits limits_;
};

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
  const ConnectionLimits limits{.head = options.head_time, .rest = options.rest_time};
  if (options.certificate.empty()) {
    impl->server = std::make_unique<Guarded<httplib::Server>>(limits);
  } else {
    impl->server = std::make_unique<Guarded<httplib::SSLServer>>(
        limits, options.certificate.c_str(), options.key.c_str(),
        options.client_ca.empty() ? nullptr : options.client_ca.c_str());
    if (!impl->server->is_valid()) {
      return Fail(where, "the certificate, its key and the client CA do not fit together");
    }
  }
  httplib::Server& server = *impl->server;
  server.new_task_queue = [threads = options.threads] { return new BoundedPool(threads); };
  server.set_tcp_nodelay(true);
  // Without SO_REUSEPORT, which is cpp-httplib's default: two servers on one port would share its
  // connections without knowing.
  server.set_socket_options([](int fd) {
    const int yes = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  });
  // Only what answers say about it: Guarded keeps a connection as long as it is used.
  server.set_keep_alive_max_count(std::numeric_limits<std::size_t>::max());
  server.set_payload_max_length(options.max_body);
  server.set_exception_handler(
      [](const httplib::Request&, httplib::Response& response, std::exception_ptr) {
        SetAnswer({500, "internal error\n", "text/plain"}, response);
      });
  // A page in a browser on this machine may give its own name our address and then call us as its
  // own (DNS rebinding). It cannot change the name in Host; with TLS it has no certificate for it.
  if (options.certificate.empty() && IsLocalName(options.host)) {
    server.set_pre_routing_handler([](const httplib::Request& request,
                                      httplib::Response& response) {
      if (IsLocalName(WithoutPort(request.get_header_value("Host")))) {
        return httplib::Server::HandlerResponse::Unhandled;
      }
      AnswerAndClose(421, "write the address as it listens: localhost or 127.0.0.1\n", response);
      return httplib::Server::HandlerResponse::Handled;
    });
  }
  server.Get(".*",
             [get = std::move(get)](const httplib::Request& request, httplib::Response& response) {
               SetAnswer(get(request.path), response);
             });
  server.Post(".*", [post = std::move(post), most = options.max_body](
                        const httplib::Request& request, httplib::Response& response,
                        const httplib::ContentReader& read) {
    // A page in a browser on this machine may post text to any port, but JSON only after asking.
    if (!request.get_header_value("Content-Type").starts_with("application/json")) {
      AnswerAndClose(415, "the body must be application/json\n", response);
      return;
    }
    // Else cpp-httplib reads until the client hangs up.
    if (!request.has_header("Content-Length") && !request.has_header("Transfer-Encoding")) {
      AnswerAndClose(411, "say how long the body is, or send it in chunks\n", response);
      return;
    }
    // cpp-httplib knows a limit for announced lengths only: not for chunks, nor for what gzip
    // hides.
    std::string body;
    body.reserve(std::min<std::size_t>(request.get_header_value<std::uint64_t>("Content-Length"),
                                       kBelieved));
    bool too_long = false;
    const bool whole = read([&](const char* data, std::size_t size) {
      too_long = size > most - body.size();
      if (!too_long) body.append(data, size);
      return !too_long;
    });
    if (whole) {
      SetAnswer(post(request.path, body), response);
    } else if (too_long || response.status == 413) {
      AnswerAndClose(413, "the body is longer than " + std::to_string(most) + " bytes\n", response);
    } else {
      AnswerAndClose(400, "the body cannot be read\n", response);
    }
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
