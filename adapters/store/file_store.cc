#include "adapters/store/file_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <sstream>
#include <utility>

#include "adapters/store/read_file.h"
#include "scheduler-core/base/digest.h"

namespace basalt::store {
namespace {

namespace fs = std::filesystem;

bool IsFileName(const std::string& id) {
  return !id.empty() && id.size() <= 200 && id[0] != '.' &&
         std::all_of(id.begin(), id.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '.' || c == '_' || c == '-';
         });
}

// The file has this text, or what it had before, also after a crash.
Status Replace(const std::string& folder, const std::string& name, std::string_view text,
               FileOps* ops) {
  const std::string path = folder + "/" + name;
  const int fd = ::open((path + ".new").c_str(),
                        O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0640);
  if (fd < 0) return Fail(path, std::strerror(errno));
  bool written = true;
  while (written && !text.empty()) {
    const ssize_t done = ops->Write(fd, text.data(), text.size());
    written = done > 0;
    if (written) text.remove_prefix(static_cast<std::size_t>(done));
  }
  written = written && ops->Sync(fd) == 0;
  ::close(fd);
  if (!written || ::rename((path + ".new").c_str(), path.c_str()) != 0) {
    return Fail(path, std::string("cannot be written: ") + std::strerror(errno));
  }
  const int dir = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool synced = dir >= 0 && ops->Sync(dir) == 0;
  if (dir >= 0) ::close(dir);
  if (!synced) return Fail(folder, std::string("cannot be synced: ") + std::strerror(errno));
  return {};
}

// Makes a folder that others may not look into, if it is not there.
Status MakeFolder(const std::string& folder) {
  std::error_code error;
  if (fs::create_directories(folder, error)) {
    fs::permissions(folder, fs::perms::owner_all | fs::perms::group_read | fs::perms::group_exec,
                    error);
  }
  if (error) return Fail(folder, "cannot be made: " + error.message());
  return {};
}

// Reads the count of boots, adds one, and makes it durable.
Result<std::uint64_t> CountBoot(const std::string& folder, FileOps* ops) {
  const std::string path = folder + "/BOOT";
  std::uint64_t boots = 0;
  const auto there = ReadIfThere(path);
  if (!there) return tl::unexpected<Error>(there.error());
  if (*there) {
    std::string text;
    std::istringstream(**there) >> text;
    const char* end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, boots);
    if (error != std::errc() || rest != end) {
      return Fail(path, "is no number of boots; write the last one there");
    }
  }
  ++boots;
  if (Status ok = Replace(folder, "BOOT", std::to_string(boots) + "\n", ops); !ok) {
    return tl::unexpected<Error>(ok.error());
  }
  return boots;
}

constexpr const char* kBook = "COMMANDS";

std::string DigestOf(std::string_view book) {
  Digest digest;
  digest.Add(book);
  return digest.value().ToHex();
}

FileOps* RealFiles() {
  static FileOps ops;
  return &ops;
}

}  // namespace

Status CheckClusterName(const std::string& id) {
  if (IsFileName(id)) return {};
  return Fail("cluster \"" + id + "\"",
              "is no name of a folder: letters, digits, '.', '_' and '-', and no '.' first");
}

FileStore::FileStore(std::string folder, const FileStoreOptions& options, FileOps* ops)
    : folder_(std::move(folder)), options_(options), ops_(ops != nullptr ? ops : RealFiles()) {}

FileStore::~FileStore() {
  journals_.clear();
  if (lock_ >= 0) ::close(lock_);
}

Result<std::unique_ptr<FileStore>> FileStore::Open(const std::string& folder,
                                                   const FileStoreOptions& options, FileOps* ops) {
  if (Status ok = MakeFolder(folder); !ok) return tl::unexpected<Error>(ok.error());
  std::unique_ptr<FileStore> store(new FileStore(folder, options, ops));
  store->lock_ =
      ::open((folder + "/LOCK").c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
  if (store->lock_ < 0) return Fail(folder, std::string("LOCK: ") + std::strerror(errno));
  if (::flock(store->lock_, LOCK_EX | LOCK_NB) != 0) {
    return Fail(folder, "another server has it; stop that one, or name another folder");
  }
  const Result<std::uint64_t> boot = CountBoot(folder, store->ops_);
  if (!boot) return tl::unexpected<Error>(boot.error());
  store->boot_ = *boot;
  return store;
}

Result<Recovered> FileStore::Recover(const std::string& cluster, const ConfiguredPolicy& policy,
                                     const EngineOptions& options) {
  if (Status ok = CheckClusterName(cluster); !ok) return tl::unexpected<Error>(ok.error());
  const std::string folder = folder_ + "/" + cluster;
  if (Status ok = MakeFolder(folder); !ok) return tl::unexpected<Error>(ok.error());
  Result<Recovered> recovered = store::Recover(folder, policy, options);
  if (!recovered) return recovered;
  JournalTold told;
  if (options_.told) {
    told = [this, cluster](const std::string& error) { options_.told(cluster, error); };
  }
  auto journal = std::make_unique<FileJournal>(folder, options_.sync, options_.min_free_bytes, ops_,
                                               options_.record_bytes, std::move(told));
  journal->SetGeneration(recovered->newest);
  journals_[cluster] = std::move(journal);
  lost_records_[cluster] = recovered->lost_records;
  return recovered;
}

FileJournal* FileStore::JournalOf(const std::string& cluster) const {
  const auto it = journals_.find(cluster);
  return it == journals_.end() ? nullptr : it->second.get();
}

Result<JournalSink*> FileStore::Begin(const std::string& cluster, std::string_view snapshot) {
  FileJournal* journal = JournalOf(cluster);
  if (journal == nullptr) return Fail("cluster " + cluster, "was not recovered");
  if (Status ok = journal->Begin(snapshot); !ok) return tl::unexpected<Error>(ok.error());
  return journal;
}

std::uint64_t FileStore::Position(const std::string& cluster) const {
  return JournalOf(cluster)->position();
}
std::int64_t FileStore::JournalBytes(const std::string& cluster) const {
  return JournalOf(cluster)->bytes();
}
DecisionSink* FileStore::DecisionsOf(const std::string& cluster) {
  FileJournal* journal = JournalOf(cluster);
  return journal != nullptr && journal->records() ? journal : nullptr;
}
service::Store::Recording FileStore::RecordingOf(const std::string& cluster) const {
  return JournalOf(cluster)->recording();
}
std::string FileStore::ErrorOf(const std::string& cluster) const {
  return JournalOf(cluster)->error();
}

std::size_t FileStore::LostRecords(const std::string& cluster) const {
  return lost_records_.at(cluster);
}

Status FileStore::Keep(const std::string& cluster, std::string_view book) {
  return Replace(folder_ + "/" + cluster, kBook, DigestOf(book) + "\n" + std::string(book), ops_);
}

Result<std::string> FileStore::Kept(const std::string& cluster) {
  const std::string path = folder_ + "/" + cluster + "/" + kBook;
  const auto there = ReadIfThere(path);
  if (!there) return tl::unexpected<Error>(there.error());
  if (!*there) return std::string();
  const std::size_t line = (*there)->find('\n');
  std::string book = line == std::string::npos ? "" : (*there)->substr(line + 1);
  if ((*there)->substr(0, line) != DigestOf(book)) {
    return Fail(path, "is damaged; remove it to go on without the commands that were open");
  }
  return book;
}

}  // namespace basalt::store
