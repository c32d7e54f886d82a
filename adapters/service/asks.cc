#include "adapters/service/asks.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "devices/plugins.h"

namespace basalt::service {
namespace {

namespace pb = placement::v1;

std::vector<std::string> Texts(const google::protobuf::RepeatedPtrField<std::string>& texts) {
  return {texts.begin(), texts.end()};
}

std::vector<LabelRequirement> Labels(const google::protobuf::RepeatedPtrField<pb::Label>& labels) {
  std::vector<LabelRequirement> out;
  for (const pb::Label& label : labels) out.push_back({label.key(), label.value()});
  return out;
}

Result<RequestSpec> ReadSpec(const pb::RequestSpec& in) {
  if (in.numa() < 0 || in.numa() > pb::NUMA_POLICY_SINGLE_NUMA_NODE || in.service_class() < 0 ||
      in.service_class() > pb::SERVICE_CLASS_BEST_EFFORT) {
    return Fail("ask.spec", "an unknown NUMA policy or service class");
  }
  RequestSpec out;
  out.cpu_milli = in.cpu_milli();
  out.memory_mib = in.memory_mib();
  out.gpus = in.gpus();
  out.gpu_milli = in.gpu_milli();
  out.gpu_memory_mib = in.gpu_memory_mib();
  out.gpu_memory_percent = in.gpu_memory_percent();
  out.models = Texts(in.models());
  out.node_selector = Labels(in.node_selector());
  out.tolerations = Texts(in.tolerations());
  out.min_bandwidth_mbps = in.min_bandwidth_mbps();
  out.bandwidth_required = in.bandwidth_required();
  out.nics = in.nics();
  out.numa = static_cast<topology::NumaPolicy>(in.numa());
  for (const pb::ContainerSpec& c : in.containers()) {
    out.containers.push_back(ContainerSpec{c.cpu_milli(), c.memory_mib(), c.gpus(), c.nics(),
                                           c.gpu_milli(), c.gpu_memory_mib(),
                                           c.gpu_memory_percent(), c.compute_units()});
  }
  out.compute_units = in.compute_units();
  out.vendors = Texts(in.vendors());
  out.nouse_models = Texts(in.nouse_models());
  out.use_uuids = Texts(in.use_uuids());
  out.nouse_uuids = Texts(in.nouse_uuids());
  out.service_class = static_cast<ServiceClass>(in.service_class());
  out.memory_ratio_percent = in.memory_ratio_percent();
  out.qos = in.qos();
  out.mig_profile = in.mig_profile();
  out.passthrough = in.passthrough();
  return out;
}

devices::PodResources ReadPodResources(const pb::PodResources& in) {
  devices::PodResources out;
  out.name = in.name();
  for (const pb::PodResources::Container& c : in.containers()) {
    out.containers.push_back(devices::PodContainer{c.name(),
                                                   c.init(),
                                                   c.sidecar(),
                                                   {c.limits().begin(), c.limits().end()},
                                                   {c.requests().begin(), c.requests().end()}});
  }
  out.annotations = {in.annotations().begin(), in.annotations().end()};
  out.node_selector = Labels(in.node_selector());
  const pb::ClaimedCards& claimed = in.claimed();
  out.claimed = devices::ClaimedCards{claimed.driver(), claimed.count(), claimed.mig_profile(),
                                      Texts(claimed.products()), Texts(claimed.uuids())};
  return out;
}

void AddMap(const std::map<std::string, std::string>& map, Digest* digest) {
  digest->Add(static_cast<std::uint64_t>(map.size()));
  for (const auto& [key, value] : map) {
    digest->Add(std::string_view(key));
    digest->Add(std::string_view(value));
  }
}

// Of all but the pod's name, which is for messages only.
Digest128 KeyOf(const devices::PodResources& pod, const std::vector<std::string>& tolerations) {
  Digest digest;
  digest.Add(static_cast<std::uint64_t>(pod.containers.size()));
  for (const devices::PodContainer& c : pod.containers) {
    digest.Add(std::string_view(c.name));
    digest.Add(static_cast<std::uint64_t>((c.init ? 1 : 0) + (c.sidecar ? 2 : 0)));
    AddMap(c.limits, &digest);
    AddMap(c.requests, &digest);
  }
  AddMap(pod.annotations, &digest);
  digest.Add(static_cast<std::uint64_t>(pod.node_selector.size()));
  for (const LabelRequirement& label : pod.node_selector) {
    digest.Add(std::string_view(label.key));
    digest.Add(std::string_view(label.value));
  }
  digest.Add(static_cast<std::uint64_t>(tolerations.size()));
  for (const std::string& toleration : tolerations) digest.Add(std::string_view(toleration));
  const devices::ClaimedCards& claimed = pod.claimed;
  digest.Add(claimed.count);
  digest.Add(std::string_view(claimed.driver));
  digest.Add(std::string_view(claimed.mig_profile));
  for (const auto* names : {&claimed.products, &claimed.uuids}) {
    digest.Add(static_cast<std::uint64_t>(names->size()));
    for (const std::string& name : *names) digest.Add(std::string_view(name));
  }
  return digest.value();
}

// For asks that are a spec: one slot a container.
devices::PodRequest RequestOf(RequestSpec spec) {
  devices::PodRequest request;
  const std::size_t containers = std::max<std::size_t>(1, spec.containers.size());
  for (std::size_t c = 0; c < containers; ++c) {
    const bool cards = spec.containers.empty() ? spec.gpus > 0 : spec.containers[c].gpus > 0;
    request.slots.push_back(
        {.name = fmt::format("c{}", c), .container = cards ? static_cast<int>(c) : -1});
  }
  request.spec = std::move(spec);
  return request;
}

Digest128 KeyOf(const devices::PodRequest& request) {
  Digest digest;
  AddTo(request.spec, &digest);
  digest.Add(std::string_view(request.interface));
  for (const devices::ContainerSlot& slot : request.slots) {
    digest.Add(std::string_view(slot.name));
    digest.Add(slot.container);
    digest.Add(std::uint32_t{slot.init} + 2 * std::uint32_t{slot.sidecar});
  }
  return digest.value();
}

}  // namespace

void AskBook::Clear() {
  first_ += entries_.size();
  entries_.clear();
  by_pod_.clear();
  by_request_.clear();
}

Result<const AskBook::Entry*> AskBook::Insert(Engine& engine, devices::PodRequest request,
                                              For reader) {
  const Digest128 key = KeyOf(request);
  if (const auto it = by_request_.find(key); it != by_request_.end()) return &entries_[it->second];
  if (entries_.size() >= max_asks_ && reader == For::kCall) {
    return Fail(kFull, fmt::format("{} different asks are known, and max_asks allows no more; ask "
                                   "again in a second, or in words that others use",
                                   entries_.size()));
  }
  // They follow from what the key is of: worked out once a request.
  for (std::string& taint : devices::PluginTolerations(*catalog_, request)) {
    std::vector<std::string>& accepted = request.spec.tolerations;
    if (std::ranges::find(accepted, taint) == accepted.end()) accepted.push_back(std::move(taint));
  }
  const Result<ShapeId> shape = engine.InternShape(request.spec);
  if (!shape) return tl::unexpected<Error>(shape.error());
  const auto index = static_cast<std::uint32_t>(entries_.size());
  entries_.push_back(
      Entry{*shape, std::move(request),
            (server_epoch_ & 0xFFFFFFFF) << 32 | ((first_ + index + 1) & 0xFFFFFFFF)});
  by_request_.emplace(key, index);
  return &entries_.back();
}

Result<const AskBook::Entry*> AskBook::OfSpec(Engine& engine, RequestSpec spec, For reader) {
  return Insert(engine, RequestOf(std::move(spec)), reader);
}

Result<const AskBook::Entry*> AskBook::OfPod(Engine& engine, const devices::PodResources& pod,
                                             const std::vector<std::string>& tolerations,
                                             For reader) {
  const Digest128 key = KeyOf(pod, tolerations);
  if (const auto it = by_pod_.find(key); it != by_pod_.end()) return &entries_[it->second];
  Result<devices::PodRequest> request = devices::ReadRequest(*catalog_, pod);
  if (!request) return tl::unexpected<Error>(request.error());
  request->spec.tolerations.insert(request->spec.tolerations.end(), tolerations.begin(),
                                   tolerations.end());
  const Result<const Entry*> entry = Insert(engine, std::move(*request), reader);
  // Pods of different words may be the same request: their number is limited, too.
  if (entry) {
    if (by_pod_.size() >= 4 * max_asks_) by_pod_.clear();
    by_pod_.emplace(key, static_cast<std::uint32_t>((*entry)->handle - first_ - 1));
  }
  return entry;
}

Result<const AskBook::Entry*> AskBook::Read(Engine& engine, const pb::Ask& ask, std::string* sku,
                                            For reader) {
  if (!ask.sku().empty()) {
    if (ask.of_case() != pb::Ask::OF_NOT_SET) {
      return Fail("ask", "names a SKU and an ask of its own; one of the two");
    }
    const Result<devices::Sku> found = devices::FindSku(*skus_, ask.sku());
    if (!found) return Fail("ask.sku", found.error().message);
    *sku = found->name;
    return OfSpec(engine, found->request, reader);
  }
  switch (ask.of_case()) {
    case pb::Ask::kSpec: {
      Result<RequestSpec> spec = ReadSpec(ask.spec());
      if (!spec) return tl::unexpected<Error>(spec.error());
      return OfSpec(engine, std::move(*spec), reader);
    }
    case pb::Ask::kPod:
      return OfPod(engine, ReadPodResources(ask.pod()), Texts(ask.pod().tolerations()), reader);
    case pb::Ask::kShape: {
      const auto index = static_cast<std::uint32_t>(ask.shape() - first_ - 1);
      if (ask.shape() >> 32 != (server_epoch_ & 0xFFFFFFFF) || index >= entries_.size()) {
        return Fail(kStale, "is no longer known; send the whole ask");
      }
      return &entries_[index];
    }
    case pb::Ask::OF_NOT_SET:
      break;
  }
  return Fail("ask", "is empty: a spec, a pod, a handle or a SKU");
}

}  // namespace basalt::service
