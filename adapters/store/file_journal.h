// One cluster's journal on disk, and the snapshot before it: generation N is `snapshot-N` and
// `journal-N`, in the engine's own byte formats. Records are appended in memory; whoever must wait
// for one writes all that is pending and makes it durable, for all that wait (group commit).
//
// When it records, there is `decisions-N` too, written before the records that came after, and
// generations stay until they are larger than the limit together; then the oldest goes, and `CUT`
// has its number.
//
// A write that fails is latched: nothing more is written, waiting fails, and only a new generation,
// whose snapshot holds all that the journal missed, clears it.
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>

#include "adapters/service/store.h"
#include "scheduler-core/base/result.h"
#include "scheduler-core/engine/journal.h"

namespace basalt::store {

// What is asked of the file system; tests let it fail.
class FileOps {
 public:
  virtual ~FileOps() = default;
  virtual ssize_t Write(int fd, const char* data, std::size_t size);
  virtual int Sync(int fd);                                 // 0, or -1 and errno
  virtual std::int64_t FreeBytes(const std::string& path);  // -1: unknown
};

struct SyncPolicy {
  enum class Kind : std::uint8_t {
    kAlways,    // WaitDurable waits for the disk
    kInterval,  // WaitDurable writes: a process that ends loses nothing; Flush syncs
    kNever,     // WaitDurable writes; the operating system syncs when it likes
  };
  Kind kind = Kind::kAlways;
  std::int64_t interval_ms = 0;  // of Flush, for its caller
};
Result<SyncPolicy> ParseSyncPolicy(const std::string& text);  // "always", "never", "10ms"

// Told when a journal's error is another one; empty: it is overcome. Any thread, in order, with the
// journal's lock held: ask it nothing.
using JournalTold = std::function<void(const std::string& error)>;

class FileJournal : public JournalSink, public DecisionSink {
 public:
  // `folder` exists. Nothing is written before the first Begin. `record_bytes`: keep so much of
  // what is over; 0: nothing is recorded.
  FileJournal(std::string folder, SyncPolicy policy, std::int64_t min_free_bytes, FileOps* ops,
              std::int64_t record_bytes = 0, JournalTold told = nullptr);
  ~FileJournal() override;
  FileJournal(const FileJournal&) = delete;
  FileJournal& operator=(const FileJournal&) = delete;

  // The engine's thread.
  void Append(const JournalRecord& record) override;
  void Append(const DecisionEntry& entry) override;
  bool records() const { return record_bytes_ > 0; }
  // Generation `last` + 1 (the first time: one above `newest_there`). Keeps two generations, and
  // what is recorded.
  Status Begin(std::string_view snapshot);
  void SetGeneration(std::uint64_t newest_there) { generation_ = newest_there; }

  // Any thread.
  std::uint64_t position() const;
  std::uint64_t generation() const;
  std::int64_t bytes() const;  // of the present file, with what is pending
  std::string error() const;
  service::Store::Recording recording() const;
  // Until all up to the position is as durable as the policy makes it.
  Status WaitDurable(std::uint64_t position);
  Status Flush();

 private:
  // Writes what is pending; `lock` is held before and after, not while writing.
  Status WriteOut(std::unique_lock<std::mutex>& lock, bool sync);
  std::string WriteAll(int fd, std::string_view data);  // empty, or what went wrong
  std::string WriteFile(const std::string& name, std::string_view data, int* fd);
  std::string SyncFolder();
  void SetError(const std::string& error);
  void Remove(std::uint64_t generation);
  // After generation `now` has begun: what need not be kept goes. Returns what is kept.
  service::Store::Recording Prune(std::uint64_t now);

  const std::string folder_;
  const SyncPolicy policy_;
  const std::int64_t min_free_bytes_;
  FileOps* const ops_;
  const std::int64_t record_bytes_;
  const JournalTold told_;
  mutable std::mutex mutex_;
  std::condition_variable written_;
  bool writing_ = false;
  bool unsynced_ = false;  // something was written since the last sync
  int fd_ = -1;
  int decisions_fd_ = -1;  // -1: nothing is recorded
  std::uint64_t generation_ = 0;
  std::string pending_;
  std::string pending_decisions_;
  service::Store::Recording recording_;
  std::uint64_t position_ = 0;
  std::uint64_t durable_ = 0;
  std::int64_t bytes_ = 0;
  std::string error_;
};

}  // namespace basalt::store
