#include "adapters/http/connection.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>

namespace basalt::http {
namespace {

constexpr std::size_t kNoLimit = std::numeric_limits<std::size_t>::max();
constexpr std::size_t kKept = std::size_t{16} << 10;  // of an answer, before it is sent

void NameOf(int (*which)(int, sockaddr*, socklen_t*), int fd, std::string* ip, int* port) {
  *port = 0;
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (which(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return;
  char text[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
    *port = ntohs(v4.sin_port);
  } else if (address.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
    inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
    *port = ntohs(v6.sin6_port);
  }
  *ip = text;
}

}  // namespace

Connection::Connection(int fd, const ConnectionLimits& limits)
    : fd_(fd), limits_(limits), deadline_(Clock::now() + limits.head), left_(kNoLimit) {
  fcntl(fd_, F_SETFL, fcntl(fd_, F_GETFL) | O_NONBLOCK);
}

Connection::~Connection() {
  Flush();
  if (ssl_ == nullptr) return;
  if (!broken_) SSL_shutdown(ssl_);
  SSL_free(ssl_);
}

bool Connection::Encrypt(SSL_CTX* context) {
  ssl_ = SSL_new(context);
  if (ssl_ == nullptr || SSL_set_fd(ssl_, fd_) != 1) return false;
  while (true) {
    ERR_clear_error();
    const int result = SSL_accept(ssl_);
    if (result == 1) return true;
    if (!WaitFor(result)) break;
  }
  broken_ = true;
  return false;
}

bool Connection::WaitForRequest(std::chrono::milliseconds most) {
  if (begin_ < end_ || (ssl_ != nullptr && SSL_pending(ssl_) > 0)) return true;
  deadline_ = Clock::now() + most;
  return Wait(POLLIN);
}

void Connection::BeginHead() {
  deadline_ = Clock::now() + limits_.head;
  left_ = limits_.head_bytes;
}

void Connection::BeginRest() {
  deadline_ = Clock::now() + limits_.rest;
  left_ = kNoLimit;
}

bool Connection::Wait(short events) const {
  pollfd one{.fd = fd_, .events = events, .revents = 0};
  while (true) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline_ - Clock::now()).count();
    if (left <= 0) return false;
    const int ready = poll(&one, 1, static_cast<int>(left));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return false;
  }
}

bool Connection::WaitFor(int ssl_result) const {
  switch (SSL_get_error(ssl_, ssl_result)) {
    case SSL_ERROR_WANT_READ:
      return Wait(POLLIN);
    case SSL_ERROR_WANT_WRITE:
      return Wait(POLLOUT);
    default:
      return false;
  }
}

bool Connection::is_readable() const { return begin_ < end_ || Wait(POLLIN); }
bool Connection::is_writable() const { return !broken_; }  // Send waits

ssize_t Connection::Receive(char* to, std::size_t size) {
  while (true) {
    if (ssl_ != nullptr) {
      ERR_clear_error();
      const int got = SSL_read(ssl_, to, static_cast<int>(std::min<std::size_t>(size, 1 << 20)));
      if (got > 0) return got;
      if (!WaitFor(got)) return SSL_get_error(ssl_, got) == SSL_ERROR_ZERO_RETURN ? 0 : -1;
      continue;
    }
    const ssize_t got = recv(fd_, to, size, 0);
    if (got >= 0) return got;
    if (errno == EINTR) continue;
    if ((errno != EAGAIN && errno != EWOULDBLOCK) || !Wait(POLLIN)) return -1;
  }
}

// cpp-httplib reads a head byte by byte: what is buffered costs no look at the clock.
ssize_t Connection::read(char* to, std::size_t size) {
  if (broken_ || left_ == 0) {
    broken_ = true;
    return -1;
  }
  size = std::min(size, left_);
  ssize_t got = 0;
  if (begin_ == end_) {
    Flush();
    if (broken_ || Clock::now() >= deadline_) {
      broken_ = true;
      return -1;
    }
    if (size >= buffer_.size()) {
      got = Receive(to, size);
    } else {
      got = Receive(buffer_.data(), buffer_.size());
      begin_ = 0;
      end_ = got > 0 ? static_cast<std::size_t>(got) : 0;
    }
  }
  if (begin_ < end_) {
    size = std::min(size, end_ - begin_);
    std::memcpy(to, buffer_.data() + begin_, size);
    begin_ += size;
    got = static_cast<ssize_t>(size);
  }
  if (got <= 0) {
    broken_ = true;
  } else if (left_ != kNoLimit) {
    left_ -= static_cast<std::size_t>(got);
  }
  return got;
}

bool Connection::Send(const char* from, std::size_t size) {
  while (size > 0) {
    ssize_t put = 0;
    if (ssl_ != nullptr) {
      ERR_clear_error();
      put = SSL_write(ssl_, from, static_cast<int>(std::min<std::size_t>(size, 1 << 20)));
      if (put <= 0) {
        if (!WaitFor(static_cast<int>(put))) return false;
        continue;
      }
    } else {
      put = send(fd_, from, size, MSG_NOSIGNAL);
      if (put < 0) {
        if (errno == EINTR) continue;
        if ((errno != EAGAIN && errno != EWOULDBLOCK) || !Wait(POLLOUT)) return false;
        continue;
      }
    }
    from += put;
    size -= static_cast<std::size_t>(put);
  }
  return true;
}

void Connection::Flush() {
  if (!unsent_.empty() && !broken_) broken_ = !Send(unsent_.data(), unsent_.size());
  unsent_.clear();
}

ssize_t Connection::write(const char* from, std::size_t size) {
  if (unsent_.size() + size <= kKept) {
    unsent_.append(from, size);
  } else {
    Flush();
    if (!broken_) broken_ = !Send(from, size);
  }
  return broken_ ? -1 : static_cast<ssize_t>(size);
}

void Connection::get_remote_ip_and_port(std::string& ip, int& port) const {
  if (remote_.port < 0) NameOf(getpeername, fd_, &remote_.ip, &remote_.port);
  ip = remote_.ip;
  port = remote_.port;
}
void Connection::get_local_ip_and_port(std::string& ip, int& port) const {
  if (local_.port < 0) NameOf(getsockname, fd_, &local_.ip, &local_.port);
  ip = local_.ip;
  port = local_.port;
}

}  // namespace basalt::http
