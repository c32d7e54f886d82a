// The life of a service over a real store that records, without its sockets: several boots, one
// clock; and the folder that it leaves, read again.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "adapters/store/file_store.h"
#include "adapters/store/recording.h"
#include "sim/recording.h"
#include "test/support/files.h"
#include "test/support/service_bed.h"

namespace basalt::support {

// A server's life over a folder, without its sockets: several boots, one clock.
class Life {
 public:
  Life(std::string folder, service::ClusterConfig config, std::int64_t record_bytes,
       const service::Environment& environment = TestEnvironment())
      : folder_(std::move(folder)), config_(std::move(config)), environment_(environment) {
    options_.record_bytes = record_bytes;
    options_.sync.kind = store::SyncPolicy::Kind::kNever;  // nobody pulls a plug here
    Boot();
  }

  // As after kill -9 with everything written, or after a clean stop.
  void Restart(bool clean) {
    if (clean) {
      EXPECT_TRUE(service->WriteSnapshot().has_value());
    }
    service.reset();
    files.reset();
    Boot();
  }
  void Stop() {
    EXPECT_TRUE(service->WriteSnapshot().has_value());
    service.reset();
    files.reset();
  }
  void Open() {
    pb::SyncOpen open;
    open.set_source("life");
    for (const auto kind : {pb::SYNC_KIND_NODES, pb::SYNC_KIND_PODS, pb::SYNC_KIND_QUEUES}) {
      open.add_kinds(kind);
    }
    ASSERT_TRUE(service->SyncOpen(caller, open, ++stream_, now).ok());
    generation_ = 0;
  }
  void Complete() {
    pb::SyncComplete complete;
    complete.set_generation(generation_);
    for (const auto kind : {pb::SYNC_KIND_NODES, pb::SYNC_KIND_PODS, pb::SYNC_KIND_QUEUES}) {
      complete.add_kinds(kind);
    }
    ASSERT_TRUE(service->SyncComplete(complete, stream_, now).body.ready());
  }
  void Tell(const std::vector<pb::Delta>& deltas) {
    pb::SyncDeltas message;
    message.set_generation(++generation_);
    for (const pb::Delta& delta : deltas) *message.add_deltas() = delta;
    ASSERT_TRUE(service->SyncDeltas(message, stream_, now).ok());
  }
  void List(const std::vector<pb::Delta>& deltas) {
    Open();
    Tell(deltas);
    Complete();
  }
  pb::ReserveResponse Reserve(const pb::PodRequest& pod, bool confirm = false) {
    pb::ReserveRequest request;
    *request.mutable_pod() = pod;
    request.set_confirm(confirm);
    const auto answer = service->Reserve(caller, request, now);
    EXPECT_TRUE(answer.ok()) << answer.message;
    return answer.body;
  }
  void Wait(std::int64_t seconds) { now = now.Plus(seconds * 1'000'000); }

  SimTime now = SimTime::Seconds(1000);
  service::Caller caller{"life", true};
  std::unique_ptr<store::FileStore> files;
  std::unique_ptr<service::Service> service;
  std::string cluster() const { return folder_ + "/" + config_.id; }
  service::ClusterConfig& config() { return config_; }

 private:
  void Boot() {
    auto opened = store::FileStore::Open(folder_, options_);
    ASSERT_TRUE(opened.has_value()) << opened.error().ToString();
    files = std::move(*opened);
    auto recovered = files->Recover(config_.id, Policy(config_.policy),
                                    *service::EngineOptionsOf(config_, environment_));
    ASSERT_TRUE(recovered.has_value()) << recovered.error().ToString();
    auto made = service::Service::Create(config_, {}, &environment_, files->boot(), files.get(),
                                         std::move(recovered->engine), now);
    ASSERT_TRUE(made.has_value()) << made.error().ToString();
    service = std::move(*made);
  }

  std::string folder_;
  service::ClusterConfig config_;
  const service::Environment& environment_;
  store::FileStoreOptions options_;
  std::uint64_t stream_ = 0;
  std::uint64_t generation_ = 0;
};

struct Read {
  std::unique_ptr<store::Recording> recording;
  sim::SegmentSource source;
};
inline Read ReadFolder(const std::string& folder, bool cut_tail = false) {
  auto opened = store::Recording::Open(folder, cut_tail);
  EXPECT_TRUE(opened.has_value()) << opened.error().ToString();
  Read read;
  read.recording = std::make_unique<store::Recording>(std::move(*opened));
  store::Recording* const from = read.recording.get();
  read.source = {from->generations().size(), [from](std::size_t s) { return from->Read(s); }};
  return read;
}

}  // namespace basalt::support
