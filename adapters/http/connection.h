// A connection whose client may be slow, silent or endless: a stream for cpp-httplib with a limit
// on a request's head in bytes, and on head and rest in time. cpp-httplib alone knows the time
// between two bytes, so that a client that sends one every few seconds keeps its thread for ever.
#pragma once

#include <httplib.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <string>

namespace basalt::http {

struct ConnectionLimits {
  std::size_t head_bytes = std::size_t{64} << 10;
  std::chrono::milliseconds head{
      5'000};  // from its first byte to its last; a TLS handshake likewise
  std::chrono::milliseconds rest{30'000};  // the body, and the answer
};

class Connection : public httplib::Stream {
 public:
  // Makes `fd` non-blocking, but does not own it.
  Connection(int fd, const ConnectionLimits& limits);
  ~Connection() override;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // The server's side of the handshake; false: it failed, or took too long.
  bool Encrypt(SSL_CTX* context);
  const SSL* ssl() const { return ssl_; }

  // Waits for the next request's first byte. False: none came in this time, or the client went.
  bool WaitForRequest(std::chrono::milliseconds most);
  void BeginHead();
  void BeginRest();
  // What was written is kept until this, or until more is read: an answer's head and body are one
  // packet, for which the client wakes once.
  void Flush();
  // A limit was passed or the client went: nothing more can be read as a request.
  bool broken() const { return broken_; }

  bool is_readable() const override;
  bool is_writable() const override;
  ssize_t read(char* to, std::size_t size) override;
  ssize_t write(const char* from, std::size_t size) override;
  void get_remote_ip_and_port(std::string& ip, int& port) const override;
  void get_local_ip_and_port(std::string& ip, int& port) const override;
  socket_t socket() const override { return fd_; }

 private:
  using Clock = std::chrono::steady_clock;
  bool Wait(short events) const;  // until the deadline
  // What SSL_get_error says is waited for; false: it is no waiting.
  bool WaitFor(int ssl_result) const;
  ssize_t Receive(char* to, std::size_t size);
  bool Send(const char* from, std::size_t size);

  int fd_;
  SSL* ssl_ = nullptr;
  ConnectionLimits limits_;
  Clock::time_point deadline_;
  std::size_t left_;  // of the bytes that may be read
  bool broken_ = false;
  std::array<char, std::size_t{32} << 10> buffer_;
  std::size_t begin_ = 0, end_ = 0;
  std::string unsent_;
  struct Name {
    std::string ip;
    int port = -1;
  };
  mutable Name remote_, local_;  // asked for at each request
};

}  // namespace basalt::http
