// Writing a canonical trace: into a new directory beside the target, then one rename.
#include <fcntl.h>
#include <stdlib.h>  // NOLINT(modernize-deprecated-headers): mkdtemp is POSIX
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>

#include "traces/canonical.h"
#include "traces/check.h"

namespace basalt::trace {
namespace {

namespace fs = std::filesystem;

std::string SystemMessage(int code) { return std::generic_category().message(code); }

// Removes the unfinished directory unless it was renamed into place.
class Scratch {
 public:
  explicit Scratch(std::string path) : path_(std::move(path)) {}
  ~Scratch() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  const std::string& path() const { return path_; }
  void Release() { path_.clear(); }

 private:
  std::string path_;
};

Status WriteFile(const std::string& path, std::string_view text) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0) return Fail(path, "cannot be created: " + SystemMessage(errno));
  int code = 0;
  while (!text.empty() && code == 0) {
    const ssize_t put = write(fd, text.data(), text.size());
    if (put >= 0) {
      text.remove_prefix(static_cast<std::size_t>(put));
    } else if (errno != EINTR) {
      code = errno;
    }
  }
  // The rename must not become durable before the data it promises.
  if (code == 0 && fsync(fd) != 0 && errno != EINVAL) code = errno;
  if (close(fd) != 0 && code == 0) code = errno;
  if (code != 0) return Fail(path, "cannot be written: " + SystemMessage(code));
  return {};
}

// Whether the target may be replaced: it does not exist, is empty, or `overwrite` is given and it
// holds a trace and nothing else.
Status CheckTarget(const fs::path& target, const WriteOptions& options) {
  const auto ours = [](std::string_view name) {
    if (name == "manifest.json") return true;
    if (name.ends_with(".gz")) name.remove_suffix(3);
    if (!name.ends_with(".csv")) return false;
    name.remove_suffix(4);
    return std::ranges::find(kTableNames, name) != kTableNames.end();
  };
  std::error_code error;
  const fs::file_status status = fs::status(target, error);
  if (status.type() == fs::file_type::not_found) return {};
  if (!fs::is_directory(status)) {
    return Fail(target.string(), "exists and is not a directory; choose another output");
  }
  bool empty = true;
  std::string stranger;
  for (fs::directory_iterator it(target, error), end; !error && it != end; it.increment(error)) {
    empty = false;
    const std::string name = it->path().filename().string();
    if (!ours(name) && (stranger.empty() || name < stranger)) {
      stranger = name;
    }
  }
  if (error) return Fail(target.string(), "cannot be listed: " + error.message());
  if (!stranger.empty()) {
    return Fail(target.string(),
                "holds " + stranger + ", which is no file of a trace; choose another output");
  }
  if (!empty && !options.overwrite) {
    return Fail(target.string(),
                "exists and is not empty; choose another output or ask to overwrite it");
  }
  return {};
}

}  // namespace

Status WriteTrace(const Trace& trace, const std::string& directory, const WriteOptions& options) {
  if (directory.empty() || directory.find('\0') != std::string::npos) {
    return Fail("", "the output directory has no usable name");
  }
  const Diagnostics faults = Validate(trace);
  if (!faults.ok()) return tl::unexpected(faults.ToError());
  const std::string manifest = FormatManifest(trace.manifest, CountRows(trace));
  if (manifest.size() > kMaxManifestBytes) {
    return Fail("manifest", "is larger than 16 MiB; shorten the notes");
  }

  std::error_code error;
  // Through links and without a trailing slash, so that the rename meets the directory itself.
  fs::path target = fs::weakly_canonical(fs::absolute(fs::path(directory), error), error);
  if (!error && target.filename().empty()) target = target.parent_path();
  if (error || target.filename().empty()) {
    return Fail(directory, "is not usable as an output directory");
  }
  if (Status allowed = CheckTarget(target, options); !allowed) return allowed;
  fs::create_directories(target.parent_path(), error);
  if (error) return Fail(target.parent_path().string(), "cannot be created: " + error.message());

  std::string pattern = target.string() + ".tmp-XXXXXX";
  if (mkdtemp(pattern.data()) == nullptr) {
    return Fail(pattern, "cannot be created: " + SystemMessage(errno));
  }
  Scratch scratch(pattern);
  std::vector<std::pair<const char*, std::string>> files = {
      {"manifest.json", manifest},
      {"nodes.csv", FormatNodes(trace.nodes)},
      {"jobs.csv", FormatJobs(trace.jobs)},
      {"tasks.csv", FormatTasks(trace.tasks)}};
  // A table that the source does not have is not there, rather than there and empty.
  if (!trace.placements.empty()) {
    files.emplace_back("placements.csv", FormatPlacements(trace.placements));
  }
  if (!trace.usage.empty()) files.emplace_back("usage.csv", FormatUsage(trace.usage));
  if (!trace.queues.empty()) files.emplace_back("queues.csv", FormatQueues(trace.queues));
  if (!trace.capacity.empty()) files.emplace_back("capacity.csv", FormatCapacity(trace.capacity));
  for (const auto& [name, text] : files) {
    if (Status written = WriteFile(scratch.path() + '/' + name, text); !written) return written;
  }
  chmod(scratch.path().c_str(), 0755);  // mkdtemp made it private
  // rename() replaces an empty directory; a trace that is there changes places with the new one.
  if (rename(scratch.path().c_str(), target.c_str()) == 0) {
    scratch.Release();
    return {};
  }
  int code = errno;
  if (options.overwrite && (code == ENOTEMPTY || code == EEXIST)) {
    // On success the scratch path holds the old trace, which its destructor removes.
    if (renameat2(AT_FDCWD, scratch.path().c_str(), AT_FDCWD, target.c_str(), RENAME_EXCHANGE) ==
        0) {
      return {};
    }
    code = errno;
  }
  return Fail(target.string(), "cannot be put in place: " + SystemMessage(code));
}

}  // namespace basalt::trace
