// A service over a store in memory, and short names for what its tests say to it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "adapters/service/service.h"
#include "test/support/cluster.h"

namespace basalt::support {

namespace pb = placement::v1;

// A store in memory. `synced` moves only by Sync(); a crash keeps what is synced and, if told so, a
// part of what is not.
class MemoryStore : public service::Store {
 public:
  Result<JournalSink*> Begin(const std::string& cluster, std::string_view snapshot) override;
  std::uint64_t Position(const std::string&) const override { return sink_.position; }
  std::int64_t JournalBytes(const std::string&) const override {
    return static_cast<std::int64_t>(sink_.bytes.size());
  }
  std::string ErrorOf(const std::string&) const override { return error; }
  Status Keep(const std::string& cluster, std::string_view text) override {
    if (full) return Fail(cluster, "no space left on device");
    book = text;
    return {};
  }
  Result<std::string> Kept(const std::string&) override { return book; }

  void Sync() {
    if (!error.empty()) return;
    synced_bytes = sink_.bytes.size();
    synced_position = sink_.position;
  }
  // What a restart finds: the snapshot and the journal's first `keep` bytes.
  Result<std::unique_ptr<Engine>> Recover(const ConfiguredPolicy& policy,
                                          const EngineOptions& options, std::size_t keep) const;
  std::size_t journal_size() const { return sink_.bytes.size(); }
  void Flip(std::size_t at) { sink_.bytes[at] = static_cast<char>(sink_.bytes[at] ^ 0x20); }

  std::string book;
  std::string error;  // set: appends are lost, Begin fails while `full`
  bool full = false;
  // Appends after so many more fail; negative: never.
  int fail_after = -1;
  int begins = 0;
  std::size_t synced_bytes = 0;
  std::uint64_t synced_position = 0;

 private:
  class Sink : public JournalSink {
   public:
    explicit Sink(MemoryStore* store) : store_(store) {}
    void Append(const JournalRecord& record) override;
    std::string bytes;
    std::uint64_t position = 0;

   private:
    MemoryStore* store_;
  };
  Sink sink_{this};
  std::string snapshot_;
};

const service::Environment& TestEnvironment();
service::ClusterConfig TestCluster();

// A UID text from a number.
std::string UidOf(std::uint64_t n);

pb::PodRequest PodOf(std::uint64_t uid, MilliCpu cpu, int gpus = 0, MilliGpu milli = 0);
pb::GangRequest GangOf(std::uint64_t uid, int members, int min, int gpus, MilliGpu milli);
pb::Delta NodeDelta(const std::string& name, MilliCpu cpu, int cards,
                    const std::string& model = "T4");
pb::Delta PodDelta(const pb::PodRequest& pod, const std::string& node);
pb::Delta GoneDelta(std::uint64_t uid, bool failed = false);

class Bed {
 public:
  explicit Bed(service::ClusterConfig config = TestCluster(), service::Access access = {});
  // Ends the service as a crash would, and starts a new one from the store's first `keep` bytes of
  // journal (all by default).
  void Restart(std::size_t keep = static_cast<std::size_t>(-1));
  // Opens a stream of nodes and pods (and queues), lists these and completes it.
  void List(const std::vector<pb::Delta>& deltas);
  // The next generation of the stream that List opened.
  pb::SyncResponse Tell(const std::vector<pb::Delta>& deltas);
  SimTime now() const { return SimTime::Seconds(1000).Plus(elapsed); }
  void Wait(std::int64_t micros) { elapsed += micros; }

  service::Answer<pb::ReserveResponse> Reserve(const pb::PodRequest& pod,
                                               const std::string& request_id = "");
  service::Answer<pb::ReserveResponse> Reserve(const pb::GangRequest& gang,
                                               const std::string& request_id = "");
  pb::LeaseAnswer Confirm(const pb::Lease& lease);
  pb::LeaseAnswer Release(const pb::Lease& lease);
  pb::LeaseAnswer Renew(const pb::Lease& lease, std::int64_t ttl_us, pb::Lease* renewed = nullptr);
  pb::Decision Propose(const pb::PodRequest& pod, bool reasons = false);

  service::Service& service() { return *service_; }
  const Engine& engine() const { return service_->engine(); }
  MemoryStore store;
  service::Caller caller{"tester", true};
  std::int64_t elapsed = 0;

 private:
  void Start(std::unique_ptr<Engine> recovered);
  service::ClusterConfig config_;
  service::Access access_;
  std::uint64_t boot_ = 0;
  std::uint64_t stream_ = 0;
  std::uint64_t generation_ = 0;
  std::unique_ptr<service::Service> service_;
};

}  // namespace basalt::support
