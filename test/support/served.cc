#include "test/support/served.h"

#include <cstdio>
#include <cstdlib>

#include "policies/builtin.h"
#include "scheduler-core/base/check.h"

namespace basalt::test {

Result<JournalSink*> CountingStore::Begin(const std::string& cluster, std::string_view) {
  return &sinks_[cluster];
}

std::uint64_t CountingStore::Position(const std::string& cluster) const {
  const auto it = sinks_.find(cluster);
  return it == sinks_.end() ? 0 : it->second.records;
}

namespace {

std::vector<service::ClusterConfig> One() {
  std::vector<service::ClusterConfig> clusters(1);
  clusters[0].id = "c";
  return clusters;
}

}  // namespace

Served::Served(int max_waiting, std::vector<service::AccessRule> rules)
    : Served(One(), max_waiting, std::move(rules)) {}

Served::Served(std::vector<service::ClusterConfig> clusters, int max_waiting,
               std::vector<service::AccessRule> rules)
    : catalog_(devices::EmbeddedCatalog()), clock_(SimTime{0}) {
  RegisterBuiltinPolicies(registry_);
  environment_.registry = &registry_;
  environment_.catalog = &catalog_;
  environment_.version = "test";
  std::vector<std::unique_ptr<rpc::Room>> list;
  for (const service::ClusterConfig& config : clusters) {
    auto service = service::Service::Create(config, service::Access(rules), &environment_, 1,
                                            &store_, nullptr, clock_.Now());
    BASALT_CHECK(service.has_value());
    list.push_back(std::make_unique<rpc::Room>(std::move(*service), max_waiting, &clock_,
                                               [this](const std::string&, std::uint64_t) {
                                                 ++store_.waits;
                                                 return store_.durable.load();
                                               }));
  }
  rooms_ = std::make_unique<rpc::Rooms>(std::move(list), &clock_);
}

void Served::Sync(int nodes, int cards, const std::string& model, std::size_t at) {
  room(at).With([&](service::Service& service, SimTime now) {
    constexpr std::uint64_t kStream = 1'000'000;
    pb::SyncOpen open;
    open.mutable_header()->set_cluster(room(at).id());
    open.set_source("test");
    open.add_kinds(pb::SYNC_KIND_NODES);
    open.add_kinds(pb::SYNC_KIND_PODS);
    BASALT_CHECK(service.SyncOpen({.identity = "test", .local = true}, open, kStream, now).ok());
    pb::SyncDeltas deltas;
    deltas.set_generation(1);
    for (int n = 0; n < nodes; ++n) {
      pb::NodeSpec& spec = *deltas.add_deltas()->mutable_node()->mutable_spec();
      spec.set_name("gpu-" + std::to_string(n));
      spec.set_cpu_milli(64'000);
      spec.set_memory_mib(512 << 10);
      spec.set_max_pods(110);
      for (int c = 0; c < cards; ++c) {
        pb::CardSpec& card = *spec.add_cards();
        card.set_uuid(spec.name() + "-" + std::to_string(c));
        card.set_model(model);
        card.set_memory_mib(81'920);
        card.set_slots(10);
      }
    }
    const auto applied = service.SyncDeltas(deltas, kStream, now);
    BASALT_CHECK(applied.ok() && applied.body.rejected_size() == 0);
    pb::SyncComplete complete;
    complete.set_generation(1);
    complete.add_kinds(pb::SYNC_KIND_NODES);
    complete.add_kinds(pb::SYNC_KIND_PODS);
    BASALT_CHECK(service.SyncComplete(complete, kStream, now).ok());
    service.SyncClosed(kStream);
    BASALT_CHECK(service.ready());
  });
}

std::string PodUidText(std::uint64_t number) {
  char text[40];
  std::snprintf(text, sizeof text, "00000000-0000-4000-8000-%012llx",
                static_cast<unsigned long long>(number));
  return text;
}

pb::PodRequest WholeCards(std::uint64_t pod, int cards) {
  pb::PodRequest request;
  request.mutable_pod()->set_uid(PodUidText(pod));
  pb::RequestSpec& spec = *request.mutable_ask()->mutable_spec();
  spec.set_gpus(cards);
  spec.set_gpu_milli(kWholeCard);
  return request;
}

}  // namespace basalt::test
