// Journals and snapshots as files: what was durable is there again, torn ends are cut and said,
// full disks are latched and overcome.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "adapters/store/file_store.h"
#include "adapters/store/recording.h"
#include "test/support/files.h"
#include "test/support/service_bed.h"

namespace basalt {
namespace {

namespace fs = std::filesystem;
namespace pb = placement::v1;

using store::FileStore;
using store::FileStoreOptions;
using support::NodeDelta;
using support::PodOf;
using support::Slurp;
using support::Spill;
using support::TempDir;
using testing::HasSubstr;

// A disk with so many bytes left.
class SmallDisk : public store::FileOps {
 public:
  ssize_t Write(int fd, const char* data, std::size_t size) override {
    if (left == 0) {
      errno = ENOSPC;
      return -1;
    }
    const std::size_t part = std::min(size, left);
    left -= part;
    return FileOps::Write(fd, data, part);
  }
  int Sync(int fd) override {
    ++syncs;
    return FileOps::Sync(fd);
  }
  std::int64_t FreeBytes(const std::string&) override { return free; }
  std::size_t left = std::size_t{1} << 30;
  std::int64_t free = std::int64_t{1} << 40;
  int syncs = 0;
};

// A server's life over a folder, without its sockets.
struct Server {
  std::unique_ptr<FileStore> files;
  store::Recovered recovered;
  std::unique_ptr<service::Service> service;
};

Result<Server> Boot(const std::string& folder, FileStoreOptions options = {},
                    store::FileOps* ops = nullptr) {
  Server server;
  auto files = FileStore::Open(folder, options, ops);
  if (!files) return tl::unexpected<Error>(files.error());
  server.files = std::move(*files);
  const auto config = support::TestCluster();
  auto recovered =
      server.files->Recover(config.id, support::Policy(config.policy),
                            *service::EngineOptionsOf(config, support::TestEnvironment()));
  if (!recovered) return tl::unexpected<Error>(recovered.error());
  server.recovered = std::move(*recovered);
  auto made = service::Service::Create(config, {}, &support::TestEnvironment(),
                                       server.files->boot(), server.files.get(),
                                       std::move(server.recovered.engine), SimTime::Seconds(10));
  if (!made) return tl::unexpected<Error>(made.error());
  server.service = std::move(*made);
  return server;
}

void Sync(service::Service& s, const std::vector<pb::Delta>& deltas) {
  pb::SyncOpen open;
  open.set_source("test");
  open.add_kinds(pb::SYNC_KIND_NODES);
  open.add_kinds(pb::SYNC_KIND_PODS);
  ASSERT_TRUE(s.SyncOpen({"t", true}, open, 1, SimTime::Seconds(11)).ok());
  pb::SyncDeltas message;
  message.set_generation(1);
  for (const pb::Delta& delta : deltas) *message.add_deltas() = delta;
  s.SyncDeltas(message, 1, SimTime::Seconds(11));
  pb::SyncComplete complete;
  complete.set_generation(1);
  complete.add_kinds(pb::SYNC_KIND_NODES);
  complete.add_kinds(pb::SYNC_KIND_PODS);
  ASSERT_TRUE(s.SyncComplete(complete, 1, SimTime::Seconds(11)).body.ready());
}

service::Answer<pb::ReserveResponse> Reserve(service::Service& s, std::uint64_t uid) {
  pb::ReserveRequest request;
  *request.mutable_pod() = PodOf(uid, 1000, 1, 100);
  return s.Reserve({"t", true}, request, SimTime::Seconds(12));
}

TEST(Store, WhatWasDurableIsThereAgain) {
  TempDir folder;
  std::string digest;
  {
    auto server = Boot(folder.path());
    ASSERT_TRUE(server.has_value()) << server.error().ToString();
    EXPECT_EQ(server->files->boot(), 1u);
    Sync(*server->service, {NodeDelta("n1", 64000, 4)});
    for (std::uint64_t pod = 1; pod <= 20; ++pod) {
      const auto answer = Reserve(*server->service, pod);
      ASSERT_TRUE(answer.body.has_lease());
      ASSERT_TRUE(
          server->files->JournalOf("c1")->WaitDurable(server->service->position()).has_value());
    }
    digest = server->service->StateDigest();
  }
  auto again = Boot(folder.path());
  ASSERT_TRUE(again.has_value()) << again.error().ToString();
  EXPECT_EQ(again->files->boot(), 2u);
  EXPECT_EQ(again->service->StateDigest(), digest);
  EXPECT_EQ(again->recovered.snapshot, 1u);
  EXPECT_GT(again->recovered.records, 20u);
  EXPECT_EQ(again->recovered.tail_problem, "");
  EXPECT_TRUE(again->service->Audit().has_value());
  // Old generations go, two stay.
  ASSERT_TRUE(again->service->WriteSnapshot().has_value());
  EXPECT_FALSE(fs::exists(folder.path() + "/c1/snapshot-1"));
  EXPECT_TRUE(fs::exists(folder.path() + "/c1/snapshot-2"));
  EXPECT_TRUE(fs::exists(folder.path() + "/c1/journal-3"));
}

TEST(Store, OneServerAFolder) {
  TempDir folder;
  auto first = Boot(folder.path());
  ASSERT_TRUE(first.has_value());
  const auto second = FileStore::Open(folder.path(), {});
  ASSERT_FALSE(second.has_value());
  EXPECT_THAT(second.error().ToString(), HasSubstr("another server"));
}

TEST(Store, IsItsOwnersAndFollowsNoLinks) {
  TempDir folder;
  const std::string path = folder.path() + "/store";
  {
    ASSERT_TRUE(Boot(path));
  }
  for (const char* name : {"", "/c1"}) {
    EXPECT_EQ(fs::status(path + name).permissions() & fs::perms::others_all, fs::perms::none);
  }
  for (const char* name : {"/BOOT", "/LOCK", "/c1/journal-1", "/c1/snapshot-1"}) {
    EXPECT_EQ(fs::status(path + name).permissions() & fs::perms::others_all, fs::perms::none);
  }
  const std::string other = folder.path() + "/other";
  Spill(other, "somebody else's");
  fs::create_symlink(other, path + "/BOOT.new");
  EXPECT_FALSE(Boot(path));
  fs::remove(path + "/BOOT.new");
  fs::create_symlink(other, path + "/c1/snapshot-2.new");
  {
    const auto booted = Boot(path);
  }  // it says that it cannot write, or goes round
  EXPECT_EQ(Slurp(other), "somebody else's");
}

// What stands in a file's place is said at once: a link leads nowhere, a FIFO does not hang.
TEST(Store, ReadsRegularFilesOnly) {
  TempDir folder;
  const std::string path = folder.path() + "/store";
  {
    auto server = Boot(path);
    ASSERT_TRUE(server.has_value());
    Sync(*server->service, {NodeDelta("n1", 64000, 4)});
    ASSERT_TRUE(server->service->WriteSnapshot().has_value());
  }
  for (const char* name :
       {"BOOT", "c1/snapshot-2", "c1/journal-2", "c1/snapshot-9", "c1/COMMANDS"}) {
    const std::string file = path + "/" + name;
    const std::string other = folder.path() + "/other";
    const bool there = fs::exists(file);
    if (there) fs::rename(file, other);
    const auto refused = [&](const std::string& says) {
      const auto server = Boot(path);
      ASSERT_FALSE(server.has_value()) << name;
      EXPECT_THAT(server.error().ToString(), HasSubstr(std::string(name) + ": " + says));
    };
    fs::create_symlink(other, file);  // where it is, or to nothing
    refused("is a link");
    fs::remove(file);
    ASSERT_EQ(mkfifo(file.c_str(), 0600), 0);
    refused("is no regular file");
    fs::remove(file);
    fs::create_directory(file);
    refused("is no regular file");
    fs::remove(file);
    if (there) fs::rename(other, file);
  }
  {
    const auto server = Boot(path);
    EXPECT_TRUE(server.has_value()) << server.error().ToString();
  }
  // Readers of a recording, alike.
  auto recording = store::Recording::Open(path + "/c1", false);
  ASSERT_TRUE(recording.has_value()) << recording.error().ToString();
  const std::string decisions = "/c1/decisions-" + std::to_string(recording->generations()[0]);
  ASSERT_EQ(mkfifo((path + decisions).c_str(), 0600), 0);
  const auto read = recording->Read(0);
  ASSERT_FALSE(read.has_value());
  EXPECT_THAT(read.error().ToString(), HasSubstr(decisions + ": is no regular file"));
  ASSERT_EQ(mkfifo((path + "/c1/CUT").c_str(), 0600), 0);
  EXPECT_FALSE(store::Recording::Open(path + "/c1", false).has_value());
}

TEST(Store, ClusterNamesAreFileNames) {
  TempDir folder;
  auto files = FileStore::Open(folder.path(), {});
  ASSERT_TRUE(files.has_value());
  for (const char* bad : {"", "..", "a/b", ".x", "a b"}) {
    EXPECT_FALSE((*files)->Recover(bad, support::Policy("binpack"), {}).has_value()) << bad;
  }
}

TEST(Store, TheBookBesideTheJournalIsWholeOrAsItWas) {
  TempDir folder;
  SmallDisk disk;
  auto files = FileStore::Open(folder.path(), {}, &disk);
  ASSERT_TRUE(files) << files.error().ToString();
  fs::create_directories(folder.path() + "/c1");
  EXPECT_EQ(*(*files)->Kept("c1"), "");
  const std::string book("one\0two\n", 8);
  const int before = disk.syncs;
  ASSERT_TRUE((*files)->Keep("c1", book));
  EXPECT_GE(disk.syncs, before + 2);  // the file, and its name in the folder
  EXPECT_EQ(*(*files)->Kept("c1"), book);
  disk.left = 10;
  EXPECT_FALSE((*files)->Keep("c1", "three"));
  EXPECT_EQ(*(*files)->Kept("c1"), book);
  disk.left = 1 << 20;
  ASSERT_TRUE((*files)->Keep("c1", ""));
  EXPECT_EQ(*(*files)->Kept("c1"), "");
  ASSERT_TRUE((*files)->Keep("c1", book));
  std::string bytes = Slurp(folder.path() + "/c1/COMMANDS");
  bytes.back() = 'x';
  Spill(folder.path() + "/c1/COMMANDS", bytes);
  const auto damaged = (*files)->Kept("c1");
  ASSERT_FALSE(damaged);
  EXPECT_THAT(damaged.error().ToString(), HasSubstr("damaged"));
}

TEST(Store, ATornTailIsCutAtEveryByte) {
  TempDir folder;
  std::vector<std::string> digests;  // after each record
  std::vector<std::size_t> ends;
  const std::string journal = folder.path() + "/c1/journal-1";
  std::string bytes;
  {
    auto server = Boot(folder.path());
    ASSERT_TRUE(server.has_value());
    Sync(*server->service, {NodeDelta("n1", 64000, 4)});
    for (std::uint64_t pod = 1; pod <= 6; ++pod) {
      const auto answer = Reserve(*server->service, pod);
      ASSERT_TRUE(
          server->files->JournalOf("c1")->WaitDurable(server->service->position()).has_value());
      digests.push_back(server->service->StateDigest());
      ends.push_back(fs::file_size(journal));
    }
    bytes = Slurp(journal);
  }
  const auto options = service::EngineOptionsOf(support::TestCluster(), support::TestEnvironment());
  // From the end of the second reservation on, every length.
  for (std::size_t size = ends[1]; size <= bytes.size(); ++size) {
    Spill(journal, bytes.substr(0, size));
    const auto recovered =
        store::Recover(folder.path() + "/c1", support::Policy("binpack"), *options);
    ASSERT_TRUE(recovered.has_value()) << recovered.error().ToString() << " at " << size;
    std::size_t whole = 0;
    while (whole + 1 < ends.size() && ends[whole + 1] <= size) ++whole;
    ASSERT_EQ(recovered->engine->StateDigest().ToHex(), digests[whole]) << "at " << size;
    ASSERT_EQ(recovered->tail_problem.empty(), size == ends[whole]) << "at " << size;
    ASSERT_EQ(recovered->cut_bytes, static_cast<std::int64_t>(size - ends[whole]));
    ASSERT_EQ(fs::file_size(journal), ends[whole]);
    ASSERT_EQ(recovered->lost_records, 0u) << "at " << size;
  }
  // And every byte of the last record damaged.
  for (std::size_t at = ends[4]; at < bytes.size(); ++at) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x11);
    Spill(journal, damaged);
    const auto recovered =
        store::Recover(folder.path() + "/c1", support::Policy("binpack"), *options);
    ASSERT_TRUE(recovered.has_value()) << recovered.error().ToString() << " at " << at;
    ASSERT_EQ(recovered->engine->StateDigest().ToHex(), digests[4]) << "at " << at;
    ASSERT_FALSE(recovered->tail_problem.empty());
    ASSERT_EQ(recovered->lost_records, 0u) << "at " << at;
  }
}

// A damage with whole records behind it is no torn end: how many are lost is said.
TEST(Store, WhatStoodBehindADamageIsCounted) {
  TempDir folder;
  const std::string journal = folder.path() + "/c1/journal-1";
  std::size_t from = 0;
  std::size_t to = 0;
  {
    auto server = Boot(folder.path());
    ASSERT_TRUE(server.has_value());
    Sync(*server->service, {NodeDelta("n1", 64000, 4)});
    Reserve(*server->service, 1);
    ASSERT_TRUE(server->files->JournalOf("c1")->Flush());
    from = fs::file_size(journal);
    Reserve(*server->service, 2);
    ASSERT_TRUE(server->files->JournalOf("c1")->Flush());
    to = fs::file_size(journal);
    for (std::uint64_t pod = 3; pod <= 6; ++pod) Reserve(*server->service, pod);
    EXPECT_EQ(server->files->LostRecords("c1"), 0u);
  }
  const std::string bytes = Slurp(journal);
  const std::size_t all = ReadJournal(bytes)->records.size();
  const std::size_t before = ReadJournal(bytes.substr(0, from))->records.size();
  ASSERT_EQ(ReadJournal(bytes.substr(0, to))->records.size(), before + 1);
  // Every byte of the one record, its length, too.
  for (std::size_t at = from; at < to; ++at) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x11);
    Spill(journal, damaged);
    const auto recovered = store::Recover(
        folder.path() + "/c1", support::Policy("binpack"),
        *service::EngineOptionsOf(support::TestCluster(), support::TestEnvironment()));
    ASSERT_TRUE(recovered.has_value()) << recovered.error().ToString() << " at " << at;
    ASSERT_EQ(recovered->records, before) << "at " << at;
    ASSERT_EQ(recovered->lost_records, all - before - 1) << "at " << at;
  }
  std::string damaged = bytes;
  damaged[from + 20] = static_cast<char>(damaged[from + 20] ^ 1);
  Spill(journal, damaged);
  const auto server = Boot(folder.path());
  ASSERT_TRUE(server.has_value());
  EXPECT_EQ(server->files->LostRecords("c1"), all - before - 1);
  service::MetricsText metrics;
  server->service->WriteMetrics(&metrics);
  EXPECT_THAT(metrics.Text(), HasSubstr("basalt_journal_damaged{cluster=\"c1\"} " +
                                        std::to_string(all - before - 1)));
}

TEST(Store, ADamagedSnapshotFallsBackOnTheOneBefore) {
  TempDir folder;
  std::string digest;
  {
    auto server = Boot(folder.path());
    Sync(*server->service, {NodeDelta("n1", 64000, 4)});
    Reserve(*server->service, 1);
    ASSERT_TRUE(server->service->WriteSnapshot().has_value());
    Reserve(*server->service, 2);
    digest = server->service->StateDigest();
  }
  const std::string second = folder.path() + "/c1/snapshot-2";
  std::string bytes = Slurp(second);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  Spill(second, bytes);
  const auto options = service::EngineOptionsOf(support::TestCluster(), support::TestEnvironment());
  const auto recovered =
      store::Recover(folder.path() + "/c1", support::Policy("binpack"), *options);
  ASSERT_TRUE(recovered.has_value()) << recovered.error().ToString();
  EXPECT_EQ(recovered->snapshot, 1u);
  EXPECT_THAT(recovered->damaged, HasSubstr("snapshot-2"));
  EXPECT_EQ(recovered->engine->StateDigest().ToHex(), digest);
  // Both damaged: said, and nothing is begun over them.
  Spill(folder.path() + "/c1/snapshot-1", "nothing");
  const auto none = store::Recover(folder.path() + "/c1", support::Policy("binpack"), *options);
  ASSERT_FALSE(none.has_value());
  EXPECT_THAT(none.error().ToString(), HasSubstr("move the folder away"));
}

// A rollback: what a newer build wrote is refused with its version, and not touched, so that the
// newer build finds it as it was. Also where the generation before it could still be read: going on
// from there would lose what was promised since.
TEST(Store, ANewerFormatIsRefusedAndLeftAlone) {
  TempDir folder;
  {
    auto server = Boot(folder.path());
    Sync(*server->service, {NodeDelta("n1", 64000, 4)});
    Reserve(*server->service, 1);
    ASSERT_TRUE(server->service->WriteSnapshot().has_value());
    Reserve(*server->service, 2);
  }
  const auto newer = [&](const std::string& name) {
    std::string bytes = Slurp(folder.path() + "/c1/" + name);
    bytes.at(8) = static_cast<char>(kCodecVersion + 1);  // behind the magic, little endian
    Spill(folder.path() + "/c1/" + name, bytes);
    return bytes;
  };
  const std::string snapshot = newer("snapshot-2");
  const std::string journal = newer("journal-2");
  const auto refused = [&] {
    const auto options =
        service::EngineOptionsOf(support::TestCluster(), support::TestEnvironment());
    const auto recovered =
        store::Recover(folder.path() + "/c1", support::Policy("binpack"), *options);
    EXPECT_FALSE(recovered.has_value());
    return recovered.has_value() ? "" : recovered.error().ToString();
  };
  const std::string version = "format version " + std::to_string(kCodecVersion + 1) +
                              "; this build reads up to " + std::to_string(kCodecVersion);
  EXPECT_THAT(refused(), HasSubstr(version));
  EXPECT_THAT(refused(), HasSubstr("journal-2"));
  newer("snapshot-1");
  newer("journal-1");
  EXPECT_THAT(refused(), HasSubstr(version));
  EXPECT_EQ(Slurp(folder.path() + "/c1/snapshot-2"), snapshot);
  EXPECT_EQ(Slurp(folder.path() + "/c1/journal-2"), journal);
}

TEST(Store, AFullDiskIsLatchedAndOvercome) {
  TempDir folder;
  SmallDisk disk;
  std::string digest;
  std::vector<std::string> told;
  FileStoreOptions options;
  options.told = [&](const std::string& cluster, const std::string& error) {
    told.push_back(cluster + ": " + error);
  };
  {
    auto server = Boot(folder.path(), options, &disk);
    ASSERT_TRUE(server.has_value());
    service::Service& s = *server->service;
    store::FileJournal& journal = *server->files->JournalOf("c1");
    Sync(s, {NodeDelta("n1", 64000, 4)});
    Reserve(s, 1);
    ASSERT_TRUE(journal.WaitDurable(s.position()).has_value());
    disk.left = 10;  // a part of a record gets through
    EXPECT_TRUE(Reserve(s, 2).ok());
    const std::uint64_t lost = s.position();
    EXPECT_FALSE(journal.WaitDurable(lost).has_value());
    EXPECT_THAT(journal.error(), HasSubstr("No space left"));
    EXPECT_EQ(Reserve(s, 3).code, service::Code::kDataLoss);
    s.Tick(SimTime::Seconds(14));
    EXPECT_FALSE(journal.error().empty());
    disk.left = std::size_t{1} << 30;
    s.Tick(SimTime::Seconds(16));
    EXPECT_EQ(journal.error(), "");
    EXPECT_TRUE(Reserve(s, 3).ok());
    EXPECT_TRUE(journal.WaitDurable(s.position()).has_value());
    EXPECT_TRUE(journal.WaitDurable(lost).has_value());
    // Little room is refused before there is none.
    disk.free = 1 << 20;
    EXPECT_TRUE(Reserve(s, 4).ok());
    EXPECT_FALSE(journal.WaitDurable(s.position()).has_value());
    EXPECT_THAT(journal.error(), HasSubstr("1 MiB are free"));
    disk.free = std::int64_t{1} << 40;
    s.Tick(SimTime::Seconds(18));
    EXPECT_EQ(journal.error(), "");
    digest = s.StateDigest();
  }
  // Each failure once, however often it is run into, and its end.
  EXPECT_THAT(told, testing::ElementsAre(HasSubstr("c1: write: No space left"),
                                         "c1: ", HasSubstr("c1: only 1 MiB are free"), "c1: "));
  auto again = Boot(folder.path());
  ASSERT_TRUE(again.has_value()) << again.error().ToString();
  EXPECT_EQ(again->service->StateDigest(), digest);
}

TEST(Store, PoliciesOfSyncing) {
  EXPECT_EQ(store::ParseSyncPolicy("always")->kind, store::SyncPolicy::Kind::kAlways);
  EXPECT_EQ(store::ParseSyncPolicy("never")->kind, store::SyncPolicy::Kind::kNever);
  EXPECT_EQ(store::ParseSyncPolicy("25ms")->interval_ms, 25);
  for (const char* bad : {"", "0ms", "10", "10s", "-1ms", "70000ms", "ms"}) {
    EXPECT_FALSE(store::ParseSyncPolicy(bad).has_value()) << bad;
  }
  for (const char* policy : {"always", "10ms", "never"}) {
    TempDir folder;
    SmallDisk disk;
    FileStoreOptions options;
    options.sync = *store::ParseSyncPolicy(policy);
    auto server = Boot(folder.path(), options, &disk);
    Sync(*server->service, {NodeDelta("n1", 64000, 4)});
    store::FileJournal& journal = *server->files->JournalOf("c1");
    ASSERT_TRUE(journal.Flush().has_value());
    const int before = disk.syncs;
    const std::string file = folder.path() + "/c1/journal-1";
    const auto size = fs::file_size(file);
    Reserve(*server->service, 1);
    ASSERT_TRUE(journal.WaitDurable(server->service->position()).has_value());
    // What was answered is written, so that a process that is killed loses nothing of it.
    EXPECT_GT(fs::file_size(file), size) << policy;
    EXPECT_EQ(disk.syncs - before, std::string(policy) == "always" ? 1 : 0) << policy;
    // What was written is synced once, and nothing when nothing was written.
    ASSERT_TRUE(journal.Flush().has_value());
    ASSERT_TRUE(journal.Flush().has_value());
    EXPECT_EQ(disk.syncs - before, std::string(policy) == "never" ? 0 : 1) << policy;
  }
}

TEST(Store, ALeaseNeedNotBeOnDiskBeforeItIsConfirmed) {
  TempDir folder;
  SmallDisk disk;
  auto server = Boot(folder.path(), {}, &disk);
  ASSERT_TRUE(server.has_value());
  Sync(*server->service, {NodeDelta("n1", 64000, 4)});
  const service::Caller who{"t", true};
  const auto lease = Reserve(*server->service, 1);
  ASSERT_TRUE(lease.body.has_lease());
  EXPECT_EQ(lease.position, 0u);  // waits for nothing: lost with the server, it is fenced
  pb::ReserveRequest none;
  *none.mutable_pod() = PodOf(2, 1000, 9, 100);
  const auto refused = server->service->Reserve(who, none, SimTime::Seconds(12));
  EXPECT_FALSE(refused.body.has_lease());
  EXPECT_EQ(refused.position, 0u);
  pb::ReserveRequest at_once;
  *at_once.mutable_pod() = PodOf(3, 1000, 1, 100);
  at_once.set_confirm(true);
  const auto placed = server->service->Reserve(who, at_once, SimTime::Seconds(12));
  EXPECT_EQ(placed.position, server->service->position());
  pb::ConfirmRequest confirm;
  *confirm.mutable_lease() = lease.body.lease();
  const auto confirmed = server->service->Confirm(who, confirm, SimTime::Seconds(12));
  EXPECT_EQ(confirmed.body.answer(), pb::LEASE_ANSWER_OK);
  EXPECT_GT(confirmed.position, placed.position);
  EXPECT_EQ(confirmed.position, server->service->position());
  ASSERT_TRUE(server->files->JournalOf("c1")->WaitDurable(confirmed.position).has_value());

  // The machine ends with the lease of pod 4 unwritten.
  const std::string before = Slurp(folder.path() + "/c1/journal-1");
  const auto lost = Reserve(*server->service, 4);
  ASSERT_TRUE(lost.body.has_lease());
  const fs::path copy = folder.path() + "/../" + fs::path(folder.path()).filename().string() + "-b";
  fs::copy(folder.path(), copy, fs::copy_options::recursive);
  EXPECT_EQ(Slurp(folder.path() + "/c1/journal-1"), before);
  auto again = Boot(copy.string());
  ASSERT_TRUE(again.has_value()) << again.error().ToString();
  EXPECT_EQ(again->service->engine().allocation_count(), 2u);  // those that were confirmed
  Sync(*again->service, {NodeDelta("n1", 64000, 4)});
  *confirm.mutable_lease() = lost.body.lease();
  EXPECT_EQ(again->service->Confirm(who, confirm, SimTime::Seconds(13)).body.answer(),
            pb::LEASE_ANSWER_FENCED);
  again = Server{};
  fs::remove_all(copy);
}

TEST(Store, ManyWaitersShareASync) {
  TempDir folder;
  SmallDisk disk;
  auto server = Boot(folder.path(), {}, &disk);
  Sync(*server->service, {NodeDelta("n1", 64000, 4)});
  store::FileJournal& journal = *server->files->JournalOf("c1");
  std::vector<std::uint64_t> positions;
  for (std::uint64_t pod = 1; pod <= 16; ++pod) {
    Reserve(*server->service, pod);
    positions.push_back(server->service->position());
  }
  const int before = disk.syncs;
  std::atomic<int> durable = 0;
  std::vector<std::thread> threads;
  for (const std::uint64_t position : positions) {
    threads.emplace_back([&, position] {
      if (journal.WaitDurable(position)) ++durable;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(durable, 16);
  EXPECT_EQ(disk.syncs - before, 1);  // all were appended before the first wait
}

}  // namespace
}  // namespace basalt
