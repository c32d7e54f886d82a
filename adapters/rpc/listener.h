// Where the server listens, and who may reach it. A place that other machines can reach needs TLS
// or an explicit wish to go without: an open port of a scheduler hands its cluster to the network.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "scheduler-core/base/result.h"

namespace basalt::rpc {

// "unix:/run/basalt/basalt.sock", "127.0.0.1:7070", "[::1]:7070", "localhost:0" (port 0: any free).
struct Address {
  std::string socket_path = {};  // not empty: a Unix socket
  std::string host = {};         // without brackets
  int port = 0;
  bool is_unix() const { return !socket_path.empty(); }
  std::string ToString() const;  // as gRPC takes it
};
// Errors name what is wrong with the text: no port, a port out of range, a path that is not
// absolute or too long for a socket (107 bytes).
Result<Address> ParseAddress(const std::string& option, const std::string& text);
// Only this machine can reach it: a Unix socket, 127.0.0.0/8, ::1 or localhost.
bool IsLocal(const Address& address);

// PEM files. All empty: no TLS. With a client CA every client must show a certificate of it.
struct TlsFiles {
  std::string certificate = {};
  std::string key = {};
  std::string client_ca = {};
  bool enabled() const { return !certificate.empty(); }
};
struct TlsTexts {
  std::string certificate = {};
  std::string key = {};
  std::string client_ca = {};
};
// Errors: one of certificate and key alone, a client CA without them, a file that cannot be read or
// is no PEM.
Result<TlsTexts> ReadTls(const TlsFiles& files);

// Refuses an address that other machines can reach, unless TLS is on or `insecure_remote`.
Status CheckReach(const std::string& option, const Address& address, const TlsFiles& tls,
                  bool insecure_remote);
// Refuses a Unix socket on which another process answers, or a path that is something else than a
// socket. gRPC would take the place of either without a word.
Status CheckSocketFree(const std::string& option, const Address& address);

}  // namespace basalt::rpc
