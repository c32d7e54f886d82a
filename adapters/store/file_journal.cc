#include "adapters/store/file_journal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <map>
#include <utility>

#include "adapters/store/read_file.h"

namespace basalt::store {
namespace {

// What nobody waits for (sync deltas) is written when it is so much.
constexpr std::size_t kMaxPending = 4U << 20;

std::string Says(const std::string& what) { return what + ": " + std::strerror(errno); }

}  // namespace

ssize_t FileOps::Write(int fd, const char* data, std::size_t size) {
  return ::write(fd, data, size);
}
int FileOps::Sync(int fd) { return ::fdatasync(fd); }
std::int64_t FileOps::FreeBytes(const std::string& path) {
  struct statvfs info = {};
  if (::statvfs(path.c_str(), &info) != 0) return -1;
  return static_cast<std::int64_t>(info.f_bavail) * static_cast<std::int64_t>(info.f_frsize);
}

Result<SyncPolicy> ParseSyncPolicy(const std::string& text) {
  if (text == "always") return SyncPolicy{};
  if (text == "never") return SyncPolicy{SyncPolicy::Kind::kNever, 100};
  SyncPolicy policy{SyncPolicy::Kind::kInterval, 0};
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, policy.interval_ms);
  if (error != std::errc() || std::string_view(rest, end) != "ms" || policy.interval_ms < 1 ||
      policy.interval_ms > 60'000) {
    return Fail("fsync", "\"" + text + "\" is none of always, never, 1ms to 60000ms");
  }
  return policy;
}

FileJournal::FileJournal(std::string folder, SyncPolicy policy, std::int64_t min_free_bytes,
                         FileOps* ops, std::int64_t record_bytes, JournalTold told)
    : folder_(std::move(folder)),
      policy_(policy),
      min_free_bytes_(min_free_bytes),
      ops_(ops),
      record_bytes_(record_bytes),
      told_(std::move(told)) {}

FileJournal::~FileJournal() {
  std::unique_lock<std::mutex> lock(mutex_);
  if (fd_ < 0) return;
  if (error_.empty()) WriteOut(lock, policy_.kind != SyncPolicy::Kind::kNever);
  ::close(fd_);
  if (decisions_fd_ >= 0) ::close(decisions_fd_);
}

void FileJournal::Append(const JournalRecord& record) {
  std::unique_lock<std::mutex> lock(mutex_);
  ++position_;
  if (!error_.empty()) return;
  const std::string frame = EncodeFrame(record);
  pending_ += frame;
  bytes_ += static_cast<std::int64_t>(frame.size());
  if (pending_.size() > kMaxPending && !writing_) WriteOut(lock, false);
}

void FileJournal::Append(const DecisionEntry& entry) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (!error_.empty() || decisions_fd_ < 0) return;
  pending_decisions_ += EncodeDecision(entry);
  if (pending_decisions_.size() > kMaxPending && !writing_) WriteOut(lock, false);
}

void FileJournal::SetError(const std::string& error) {
  if (error == error_) return;
  error_ = error;
  if (told_) told_(error_);
}

std::string FileJournal::WriteAll(int fd, std::string_view data) {
  while (!data.empty()) {
    const ssize_t done = ops_->Write(fd, data.data(), data.size());
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return Says("write");
    data.remove_prefix(static_cast<std::size_t>(done));
  }
  return "";
}

Status FileJournal::WriteOut(std::unique_lock<std::mutex>& lock, bool sync) {
  while (writing_) written_.wait(lock);
  if (!error_.empty()) return Fail(folder_, error_);
  if (fd_ < 0) return Fail(folder_, "no journal was begun");
  writing_ = true;
  const std::string data = std::exchange(pending_, {});
  const std::string decisions = std::exchange(pending_decisions_, {});
  const std::uint64_t up_to = position_;
  lock.unlock();
  std::string problem;
  const std::int64_t free = data.empty() ? -1 : ops_->FreeBytes(folder_);
  if (free >= 0 && free < min_free_bytes_) {
    problem = fmt::format("only {} MiB are free, {} are kept", free >> 20, min_free_bytes_ >> 20);
  }
  if (problem.empty() && !decisions.empty()) problem = WriteAll(decisions_fd_, decisions);
  if (problem.empty()) problem = WriteAll(fd_, data);
  if (problem.empty() && sync && ops_->Sync(fd_) != 0) problem = Says("fdatasync");
  lock.lock();
  writing_ = false;
  if (problem.empty()) {
    if (sync || policy_.kind != SyncPolicy::Kind::kAlways) durable_ = up_to;
    unsynced_ = !sync && (unsynced_ || !data.empty());
  } else {
    SetError(problem);
    pending_.clear();
    pending_decisions_.clear();
  }
  written_.notify_all();
  if (!problem.empty()) return Fail(folder_, problem);
  return {};
}

Status FileJournal::WaitDurable(std::uint64_t position) {
  std::unique_lock<std::mutex> lock(mutex_);
  const bool sync = policy_.kind == SyncPolicy::Kind::kAlways;
  while (durable_ < position) {
    if (!error_.empty()) return Fail(folder_, error_);
    if (writing_) {
      written_.wait(lock);
    } else if (Status ok = WriteOut(lock, sync); !ok) {
      return ok;
    }
  }
  return {};
}

Status FileJournal::Flush() {
  std::unique_lock<std::mutex> lock(mutex_);
  const bool sync = policy_.kind == SyncPolicy::Kind::kInterval;
  if (error_.empty() && pending_.empty() && !(sync && unsynced_)) return {};
  return WriteOut(lock, sync);
}

std::string FileJournal::WriteFile(const std::string& name, std::string_view data, int* fd) {
  const std::string path = folder_ + "/" + name;
  *fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK,
               0640);
  if (*fd < 0) return Says(name);
  std::string problem = WriteAll(*fd, data);
  if (problem.empty() && ops_->Sync(*fd) != 0) problem = Says("fdatasync");
  if (problem.empty()) return "";
  ::close(*fd);
  *fd = -1;
  ::unlink(path.c_str());
  return name + ": " + problem;
}

std::string FileJournal::SyncFolder() {
  const int fd = ::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return Says(folder_);
  const std::string problem = ops_->Sync(fd) == 0 ? "" : Says("fsync of the folder");
  ::close(fd);
  return problem;
}

Status FileJournal::Begin(std::string_view snapshot) {
  std::unique_lock<std::mutex> lock(mutex_);
  // The old generation is whole, too, should the new snapshot ever be damaged. If that fails, it is
  // latched, and overcome here.
  if (fd_ >= 0) WriteOut(lock, policy_.kind != SyncPolicy::Kind::kNever);
  while (writing_) written_.wait(lock);
  writing_ = true;  // what waits goes on waiting: the snapshot will hold it
  const std::uint64_t next = generation_ + 1;
  lock.unlock();
  const std::string name = fmt::format("snapshot-{}", next);
  int journal = -1;
  int decisions = -1;
  int file = -1;
  const std::int64_t free = ops_->FreeBytes(folder_);
  std::string problem;
  if (free >= 0 && free < min_free_bytes_) {
    problem = fmt::format("only {} MiB are free, {} are kept", free >> 20, min_free_bytes_ >> 20);
  }
  // The snapshot's new name is what makes the generation: its journal is there before.
  if (problem.empty()) {
    problem = WriteFile(fmt::format("journal-{}", next), JournalHeader(), &journal);
  }
  if (problem.empty() && records()) {
    problem = WriteFile(fmt::format("decisions-{}", next), DecisionsHeader(), &decisions);
  }
  if (problem.empty()) problem = WriteFile(name + ".new", snapshot, &file);
  if (file >= 0) ::close(file);
  if (problem.empty() &&
      ::rename((folder_ + "/" + name + ".new").c_str(), (folder_ + "/" + name).c_str()) != 0) {
    problem = Says("rename");
  }
  if (problem.empty()) problem = SyncFolder();
  service::Store::Recording kept;
  if (problem.empty()) kept = Prune(next);
  lock.lock();
  writing_ = false;
  written_.notify_all();
  if (!problem.empty()) {
    if (journal >= 0) ::close(journal);
    if (decisions >= 0) ::close(decisions);
    if (error_.empty() && fd_ < 0) SetError(problem);
    return Fail(folder_, problem);
  }
  if (fd_ >= 0) ::close(fd_);
  if (decisions_fd_ >= 0) ::close(decisions_fd_);
  fd_ = journal;
  decisions_fd_ = decisions;
  generation_ = next;
  recording_ = kept;
  pending_.clear();
  pending_decisions_.clear();
  durable_ = position_;
  bytes_ = static_cast<std::int64_t>(JournalHeader().size());
  SetError("");
  return {};
}

void FileJournal::Remove(std::uint64_t generation) {
  for (const char* kind : {"snapshot", "journal", "decisions"}) {
    ::unlink(fmt::format("{}/{}-{}", folder_, kind, generation).c_str());
  }
}

service::Store::Recording FileJournal::Prune(std::uint64_t now) {
  service::Store::Recording kept;
  if (!records()) {
    // Only what this server would have kept two of: a recording of an earlier run stays.
    if (now > 2) Remove(now - 2);
    return kept;
  }
  std::map<std::uint64_t, std::int64_t> bytes;  // by generation, the present one left out
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder_, error)) {
    const std::string name = entry.path().filename().string();
    const std::size_t dash = name.find('-');
    if (dash == std::string::npos) continue;
    std::uint64_t number = 0;
    const char* end = name.data() + name.size();
    const auto [rest, bad] = std::from_chars(name.data() + dash + 1, end, number);
    std::error_code gone;
    const std::uintmax_t size = entry.file_size(gone);
    if (bad == std::errc() && rest == end && !gone && number > 0 && number < now) {
      bytes[number] += static_cast<std::int64_t>(size);
    }
  }
  for (const auto& [number, size] : bytes) kept.bytes += size;
  if (const auto cut = ReadIfThere(folder_ + "/CUT"); cut && *cut) {
    std::from_chars((*cut)->data(), (*cut)->data() + (*cut)->size(), kept.cut);
  }
  const std::uint64_t cut_before = kept.cut;
  while (kept.bytes > record_bytes_ && bytes.size() > 1) {
    const auto oldest = bytes.begin();
    Remove(oldest->first);
    kept.cut = oldest->first;
    kept.bytes -= oldest->second;
    bytes.erase(oldest);
  }
  if (kept.cut != cut_before) {
    int fd = -1;
    WriteFile("CUT", std::to_string(kept.cut) + "\n", &fd);  // that it is gone shows without it
    if (fd >= 0) ::close(fd);
  }
  kept.oldest = bytes.empty() ? now : bytes.begin()->first;
  return kept;
}

service::Store::Recording FileJournal::recording() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return recording_;
}
std::uint64_t FileJournal::position() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return position_;
}
std::uint64_t FileJournal::generation() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return generation_;
}
std::int64_t FileJournal::bytes() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return bytes_;
}
std::string FileJournal::error() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return error_;
}

}  // namespace basalt::store
