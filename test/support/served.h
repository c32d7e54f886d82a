// A server in the test's process: services whose journals stay in memory, behind the real gates,
// and a small cluster that is synced into them.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "adapters/rpc/rooms.h"
#include "adapters/service/service.h"
#include "adapters/service/store.h"
#include "devices/catalog.h"
#include "scheduler-core/engine/registry.h"

namespace basalt::test {

namespace pb = placement::v1;

// Counts what is appended; says that it is durable unless told otherwise.
class CountingStore : public service::Store {
 public:
  Result<JournalSink*> Begin(const std::string& cluster, std::string_view snapshot) override;
  std::uint64_t Position(const std::string& cluster) const override;
  std::int64_t JournalBytes(const std::string&) const override { return 0; }
  std::string ErrorOf(const std::string&) const override { return ""; }

  std::atomic<bool> durable{true};
  std::atomic<int> waits{0};  // for durability

 private:
  struct Sink : JournalSink {
    void Append(const JournalRecord&) override { ++records; }
    std::uint64_t records = 0;
  };
  std::map<std::string, Sink> sinks_;
};

// One cluster, "c", with a policy of its own; or those that are given.
class Served {
 public:
  explicit Served(int max_waiting = 256, std::vector<service::AccessRule> rules = {});
  explicit Served(std::vector<service::ClusterConfig> clusters, int max_waiting = 256,
                  std::vector<service::AccessRule> rules = {});
  rpc::Rooms& rooms() { return *rooms_; }
  rpc::Room& room(std::size_t at = 0) { return *rooms_->all()[at]; }
  CountingStore& store() { return store_; }

  // Nodes gpu-0, gpu-1, ... with so many whole cards each; then NODES and PODS are complete, and
  // the cluster decides. The card's UUIDs are NODE-0, NODE-1, ...
  void Sync(int nodes, int cards, const std::string& model = "A100", std::size_t at = 0);

 private:
  Registry registry_;
  devices::Catalog catalog_;
  service::Environment environment_;
  CountingStore store_;
  rpc::ServerClock clock_;
  std::unique_ptr<rpc::Rooms> rooms_;
};

// "00000000-0000-4000-8000-" and the number as twelve hexadecimal digits.
std::string PodUidText(std::uint64_t number);
// For so many whole cards, of cluster "c".
pb::PodRequest WholeCards(std::uint64_t pod, int cards);

}  // namespace basalt::test
