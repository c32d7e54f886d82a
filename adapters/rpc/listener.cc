#include "adapters/rpc/listener.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <cstring>
#include <fstream>
#include <utility>

namespace basalt::rpc {
namespace {

constexpr std::size_t kMaxPem = std::size_t{1} << 20;

Result<std::string> ReadPem(const std::string& option, const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return Fail(option + " " + path, "cannot be read; does it exist, and may you read it?");
  std::string text(kMaxPem, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(in.gcount()));
  if (text.find("-----BEGIN ") == std::string::npos) {
    return Fail(option + " " + path, "is no PEM file: it has no line \"-----BEGIN ...\"");
  }
  return text;
}

}  // namespace

std::string Address::ToString() const {
  if (is_unix()) return "unix:" + socket_path;
  const bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Result<Address> ParseAddress(const std::string& option, const std::string& text) {
  const std::string where = option + " " + text.substr(0, 120);
  Address address;
  if (text.starts_with("unix:")) {
    address.socket_path = text.substr(5);
    if (address.socket_path.starts_with("//")) address.socket_path.erase(0, 2);
    if (!address.socket_path.starts_with('/')) {
      return Fail(where, "write an absolute path: unix:/run/basalt/basalt.sock");
    }
    if (address.socket_path.size() >= sizeof(sockaddr_un{}.sun_path)) {
      return Fail(where, "the path is too long for a Unix socket (at most 107 bytes)");
    }
    return address;
  }
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) {
    return Fail(where, "write HOST:PORT, [IPV6]:PORT or unix:/PATH");
  }
  address.host = text.substr(0, colon);
  if (address.host.starts_with('[') && address.host.ends_with(']')) {
    address.host = address.host.substr(1, address.host.size() - 2);
  } else if (address.host.find(':') != std::string::npos) {
    return Fail(where, "write an IPv6 address in brackets: [::1]:7070");
  }
  const char* begin = text.data() + colon + 1;
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(begin, end, address.port);
  if (parsed.ec != std::errc() || parsed.ptr != end || address.port < 0 || address.port > 65535) {
    return Fail(where, "the port must be a number from 0 (any free one) to 65535");
  }
  return address;
}

bool IsLocal(const Address& address) {
  if (address.is_unix()) return true;
  if (address.host == "localhost" || address.host == "::1") return true;
  // 127.0.0.0/8 by its four numbers, not by its first letters: "127.evil.example" is a name.
  int parts = 0;
  int value = -1;
  int first = -1;
  for (const char c : address.host + ".") {
    if (c == '.') {
      if (value < 0 || value > 255) return false;
      if (parts++ == 0) first = value;
      value = -1;
    } else if (c >= '0' && c <= '9') {
      value = (value < 0 ? 0 : value) * 10 + (c - '0');
      if (value > 255) return false;
    } else {
      return false;
    }
  }
  return parts == 4 && first == 127;
}

Result<TlsTexts> ReadTls(const TlsFiles& files) {
  TlsTexts texts;
  if (files.certificate.empty() != files.key.empty()) {
    return Fail(files.key.empty() ? "--tls-cert" : "--tls-key",
                "give both --tls-cert and --tls-key");
  }
  if (!files.client_ca.empty() && files.certificate.empty()) {
    return Fail("--tls-client-ca", "needs --tls-cert and --tls-key");
  }
  if (!files.enabled()) return texts;
  auto certificate = ReadPem("--tls-cert", files.certificate);
  if (!certificate) return tl::unexpected<Error>(certificate.error());
  auto key = ReadPem("--tls-key", files.key);
  if (!key) return tl::unexpected<Error>(key.error());
  texts.certificate = std::move(*certificate);
  texts.key = std::move(*key);
  if (!files.client_ca.empty()) {
    auto ca = ReadPem("--tls-client-ca", files.client_ca);
    if (!ca) return tl::unexpected<Error>(ca.error());
    texts.client_ca = std::move(*ca);
  }
  return texts;
}

Status CheckReach(const std::string& option, const Address& address, const TlsFiles& tls,
                  bool insecure_remote) {
  if (IsLocal(address) || tls.enabled() || insecure_remote) return {};
  return Fail(option + " " + address.ToString(),
              "other machines could reach it without encryption and without proof of who they are: "
              "give --tls-cert and --tls-key (and --tls-client-ca, so that clients prove who they "
              "are), listen on 127.0.0.1 or unix:/PATH, or say --insecure-remote");
}

Status CheckSocketFree(const std::string& option, const Address& address) {
  if (!address.is_unix()) return {};
  const std::string where = option + " " + address.ToString();
  struct stat status{};
  if (lstat(address.socket_path.c_str(), &status) != 0) {
    const std::string folder = address.socket_path.substr(0, address.socket_path.rfind('/') + 1);
    if (access(folder.c_str(), W_OK) != 0) {
      return Fail(where, "the folder " + folder + " does not exist, or you may not write there");
    }
    return {};
  }
  if (!S_ISSOCK(status.st_mode)) return Fail(where, "is there already and is no socket");
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return {};
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  std::memcpy(name.sun_path, address.socket_path.c_str(), address.socket_path.size() + 1);
  const bool answered = connect(fd, reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0;
  close(fd);
  if (answered) return Fail(where, "another process listens there");
  return {};
}

}  // namespace basalt::rpc
