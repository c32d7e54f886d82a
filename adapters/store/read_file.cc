#include "adapters/store/read_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace basalt::store {

Result<std::optional<std::string>> ReadIfThere(const std::string& path) {
  const auto unread = [&] { return Fail(path, "cannot be read: " + std::string(strerror(errno))); };
  // Without O_NONBLOCK the opening of a FIFO waits for a writer.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0 && errno == ENOENT) return std::optional<std::string>();
  if (fd < 0 && errno == ELOOP) return Fail(path, "is a link; a store's files must not be");
  if (fd < 0) return unread();
  struct stat info = {};
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(fd);
    return Fail(path, "is no regular file");
  }
  std::string bytes(static_cast<std::size_t>(info.st_size), '\0');
  std::size_t size = 0;
  for (;;) {
    // It may grow meanwhile: a recording is read beside the server that writes it.
    if (size == bytes.size()) bytes.resize(size + 4096);
    const ssize_t got = ::read(fd, bytes.data() + size, bytes.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      auto failed = unread();
      ::close(fd);
      return failed;
    }
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  ::close(fd);
  bytes.resize(size);
  return std::optional<std::string>(std::move(bytes));
}

Result<std::string> ReadAll(const std::string& path) {
  auto bytes = ReadIfThere(path);
  if (!bytes) return tl::unexpected<Error>(bytes.error());
  if (!*bytes) return Fail(path, "is not there");
  return std::move(**bytes);
}

}  // namespace basalt::store
