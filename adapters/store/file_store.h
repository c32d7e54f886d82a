// The store of a server: a folder with one folder a cluster, a lock so that no two servers write
// it, and the number of boots. Recover each cluster before its first Begin.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "adapters/service/store.h"
#include "adapters/store/file_journal.h"
#include "adapters/store/recover.h"

namespace basalt::store {

struct FileStoreOptions {
  SyncPolicy sync;
  std::int64_t min_free_bytes = 64 << 20;  // below this the disk counts as full
  // Keep what is over, of each cluster up to so much, and every decision; 0: nothing is recorded.
  std::int64_t record_bytes = 0;
  // As JournalTold, of each cluster.
  std::function<void(const std::string& cluster, const std::string& error)> told = nullptr;
};

// A cluster's id is the name of its folder: letters, digits, '.', '_', '-', and no '.' first.
Status CheckClusterName(const std::string& id);

class FileStore : public service::Store {
 public:
  // Makes the folder where it is missing, takes the lock and counts the boot, durably. `ops` null:
  // the real file system. Errors: locked by another server; a folder that cannot be written.
  static Result<std::unique_ptr<FileStore>> Open(const std::string& folder,
                                                 const FileStoreOptions& options,
                                                 FileOps* ops = nullptr);
  ~FileStore() override;
  FileStore(const FileStore&) = delete;
  FileStore& operator=(const FileStore&) = delete;

  std::uint64_t boot() const { return boot_; }
  // Errors: as store::Recover and CheckClusterName.
  Result<Recovered> Recover(const std::string& cluster, const ConfiguredPolicy& policy,
                            const EngineOptions& options);

  Result<JournalSink*> Begin(const std::string& cluster, std::string_view snapshot) override;
  std::uint64_t Position(const std::string& cluster) const override;
  std::int64_t JournalBytes(const std::string& cluster) const override;
  std::string ErrorOf(const std::string& cluster) const override;
  std::size_t LostRecords(const std::string& cluster) const override;
  // The file COMMANDS, whatever the sync policy: a digest, and the book.
  Status Keep(const std::string& cluster, std::string_view book) override;
  Result<std::string> Kept(const std::string& cluster) override;
  DecisionSink* DecisionsOf(const std::string& cluster) override;
  Recording RecordingOf(const std::string& cluster) const override;

  // Any thread, after Recover of all clusters. Null: not recovered.
  FileJournal* JournalOf(const std::string& cluster) const;

 private:
  FileStore(std::string folder, const FileStoreOptions& options, FileOps* ops);
  std::string folder_;
  FileStoreOptions options_;
  FileOps* ops_;
  int lock_ = -1;
  std::uint64_t boot_ = 0;
  std::map<std::string, std::unique_ptr<FileJournal>> journals_;
  std::map<std::string, std::size_t> lost_records_;  // as of Recover
};

}  // namespace basalt::store
