#include "test/support/service_bed.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "adapters/service/uid.h"
#include "scheduler-core/base/check.h"

namespace basalt::support {

void MemoryStore::Sink::Append(const JournalRecord& record) {
  ++position;
  if (store_->fail_after == 0) store_->error = "no space left on device";
  if (store_->fail_after > 0) --store_->fail_after;
  if (store_->error.empty()) bytes += EncodeFrame(record);
}

Result<JournalSink*> MemoryStore::Begin(const std::string& cluster, std::string_view snapshot) {
  if (full) return Fail(cluster, "no space left on device");
  ++begins;
  error.clear();
  fail_after = -1;
  snapshot_ = snapshot;
  sink_.bytes = JournalHeader();
  Sync();
  return &sink_;
}

Result<std::unique_ptr<Engine>> MemoryStore::Recover(const ConfiguredPolicy& policy,
                                                     const EngineOptions& options,
                                                     std::size_t keep) const {
  auto engine = Engine::Restore(snapshot_, policy, options);
  if (!engine) return engine;
  const auto contents =
      ReadJournal(std::string_view(sink_.bytes).substr(0, std::min(keep, sink_.bytes.size())));
  if (!contents) return tl::unexpected<Error>(contents.error());
  for (const JournalRecord& record : contents->records) {
    if (Status ok = (*engine)->ApplyRecord(record); !ok) {
      return tl::unexpected<Error>(ok.error());
    }
  }
  return engine;
}

const service::Environment& TestEnvironment() {
  static const devices::Catalog catalog = devices::EmbeddedCatalog();
  static const service::Environment environment = [] {
    service::Environment e;
    e.registry = &Builtins();
    e.catalog = &catalog;
    e.version = "test";
    devices::Sku half;
    half.name = "half-t4";
    half.request = Ask(1000, 1, 500);
    e.skus.push_back(half);
    e.machines = {{"A30", 3, "3 link=0..2-f0:80000"},
                  {"A30", 2, "2 link=0-1:80000"},
                  {"A30", 2, "2"},
                  {"T4", 4, "4"}};
    return e;
  }();
  return environment;
}

service::ClusterConfig TestCluster() {
  service::ClusterConfig config;
  config.id = "c1";
  config.policy = "binpack";
  config.tier_names = {{1, "rack"}};
  return config;
}

std::string UidOf(std::uint64_t n) { return service::UuidText(Uid(n)); }

namespace {

void SetSpec(pb::RequestSpec* spec, MilliCpu cpu, int gpus, MilliGpu milli) {
  spec->set_cpu_milli(cpu);
  spec->set_gpus(gpus);
  spec->set_gpu_milli(milli);
}

}  // namespace

pb::PodRequest PodOf(std::uint64_t uid, MilliCpu cpu, int gpus, MilliGpu milli) {
  pb::PodRequest pod;
  pod.mutable_pod()->set_uid(UidOf(uid));
  pod.mutable_pod()->set_namespace_("ns");
  pod.mutable_pod()->set_name(fmt::format("pod-{}", uid));
  SetSpec(pod.mutable_ask()->mutable_spec(), cpu, gpus, milli);
  return pod;
}

pb::GangRequest GangOf(std::uint64_t uid, int members, int min, int gpus, MilliGpu milli) {
  pb::GangRequest gang;
  gang.mutable_gang()->set_uid(UidOf(uid));
  pb::GangTask* task = gang.add_tasks();
  task->set_name("worker");
  task->set_min(min);
  SetSpec(task->mutable_ask()->mutable_spec(), 1000, gpus, milli);
  for (int m = 0; m < members; ++m) {
    task->add_members()->set_uid(UidOf(uid + 1 + static_cast<std::uint64_t>(m)));
  }
  return gang;
}

pb::Delta NodeDelta(const std::string& name, MilliCpu cpu, int cards, const std::string& model) {
  pb::Delta delta;
  pb::NodeSpec* spec = delta.mutable_node()->mutable_spec();
  spec->set_name(name);
  spec->set_cpu_milli(cpu);
  spec->set_memory_mib(1'000'000);
  for (int c = 0; c < cards; ++c) {
    pb::CardSpec* card = spec->add_cards();
    card->set_uuid(fmt::format("GPU-{}-{}", name, c));
    card->set_model(model);
  }
  return delta;
}

pb::Delta PodDelta(const pb::PodRequest& pod, const std::string& node) {
  pb::Delta delta;
  *delta.mutable_pod()->mutable_pod() = pod.pod();
  *delta.mutable_pod()->mutable_ask() = pod.ask();
  *delta.mutable_pod()->mutable_standing() = pod.standing();
  delta.mutable_pod()->set_node(node);
  return delta;
}

pb::Delta GoneDelta(std::uint64_t uid, bool failed) {
  pb::Delta delta;
  delta.mutable_pod_gone()->set_uid(UidOf(uid));
  delta.mutable_pod_gone()->set_failed(failed);
  return delta;
}

Bed::Bed(service::ClusterConfig config, service::Access access)
    : config_(std::move(config)), access_(std::move(access)) {
  Start(nullptr);
}

void Bed::Start(std::unique_ptr<Engine> recovered) {
  auto made = service::Service::Create(config_, access_, &TestEnvironment(), ++boot_, &store,
                                       std::move(recovered), now());
  BASALT_CHECK(made.has_value());
  service_ = std::move(*made);
}

void Bed::Restart(std::size_t keep) {
  auto options = service::EngineOptionsOf(config_, TestEnvironment());
  auto policy = Builtins().Configure(config_.policy);
  BASALT_CHECK(options.has_value() && policy.has_value());
  auto recovered = store.Recover(*policy, *options, keep);
  BASALT_CHECK(recovered.has_value());
  service_.reset();
  generation_ = 0;
  Start(std::move(*recovered));
}

void Bed::List(const std::vector<pb::Delta>& deltas) {
  pb::SyncOpen open;
  open.set_source("bed");
  open.add_kinds(pb::SYNC_KIND_NODES);
  open.add_kinds(pb::SYNC_KIND_PODS);
  open.add_kinds(pb::SYNC_KIND_QUEUES);
  stream_ = stream_ == 0 ? 1 : stream_ + 100;  // between are numbers for streams of a test
  BASALT_CHECK(service_->SyncOpen(caller, open, stream_, now()).ok());
  generation_ = 0;
  Wait(1);
  Tell(deltas);
  pb::SyncComplete complete;
  complete.set_generation(generation_);
  for (const int kind : open.kinds()) complete.add_kinds(static_cast<pb::SyncKind>(kind));
  BASALT_CHECK(service_->SyncComplete(complete, stream_, now()).body.ready());
}

pb::SyncResponse Bed::Tell(const std::vector<pb::Delta>& deltas) {
  pb::SyncDeltas message;
  message.set_generation(++generation_);
  for (const pb::Delta& delta : deltas) *message.add_deltas() = delta;
  const auto answer = service_->SyncDeltas(message, stream_, now());
  BASALT_CHECK(answer.ok());
  return answer.body;
}

service::Answer<pb::ReserveResponse> Bed::Reserve(const pb::PodRequest& pod,
                                                  const std::string& request_id) {
  pb::ReserveRequest request;
  request.mutable_header()->set_request_id(request_id);
  *request.mutable_pod() = pod;
  return service_->Reserve(caller, request, now());
}

service::Answer<pb::ReserveResponse> Bed::Reserve(const pb::GangRequest& gang,
                                                  const std::string& request_id) {
  pb::ReserveRequest request;
  request.mutable_header()->set_request_id(request_id);
  *request.mutable_gang() = gang;
  return service_->Reserve(caller, request, now());
}

pb::LeaseAnswer Bed::Confirm(const pb::Lease& lease) {
  pb::ConfirmRequest request;
  *request.mutable_lease() = lease;
  return service_->Confirm(caller, request, now()).body.answer();
}

pb::LeaseAnswer Bed::Release(const pb::Lease& lease) {
  pb::ReleaseRequest request;
  *request.mutable_lease() = lease;
  return service_->Release(caller, request, now()).body.answer();
}

pb::LeaseAnswer Bed::Renew(const pb::Lease& lease, std::int64_t ttl_us, pb::Lease* renewed) {
  pb::RenewRequest request;
  *request.mutable_lease() = lease;
  request.set_ttl_us(ttl_us);
  const auto answer = service_->Renew(caller, request, now());
  if (renewed != nullptr) *renewed = answer.body.lease();
  return answer.body.answer();
}

pb::Decision Bed::Propose(const pb::PodRequest& pod, bool reasons) {
  pb::ProposeRequest request;
  *request.mutable_pod() = pod;
  request.set_want_reasons(reasons);
  const auto answer = service_->Propose(caller, request, now());
  BASALT_CHECK(answer.ok());
  return answer.body.pod();
}

}  // namespace basalt::support
