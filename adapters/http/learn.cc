#include "adapters/http/learn.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "adapters/service/uid.h"

namespace basalt::http {
namespace {

namespace sj = simdjson::ondemand;
constexpr const char* kCards = "basalt.io/cards";  // written by our own binds
// TaskStatus bits of Volcano's api package: Bound, Running, Releasing, Unknown. Below these are the
// session's own plans, for which leases stand; Volcano writes their node into the pod all the same.
constexpr std::int64_t kThereBits = 16 | 32 | 64 | 512;
constexpr std::int64_t kEndedBits = 128 | 256;

std::uint64_t HashOf(std::string_view text) { return std::hash<std::string_view>()(text); }

// A member that is an object, or nothing when it is missing or null.
Result<std::optional<sj::object>> Member(sj::object& parent, const char* field) {
  sj::value value;
  const auto found = parent.find_field_unordered(field).get(value);
  if (found == simdjson::NO_SUCH_FIELD) return std::optional<sj::object>();
  if (found) return JsonError(field, found);
  bool null = false;
  if (const auto code = value.is_null().get(null)) return JsonError(field, code);
  if (null) return std::optional<sj::object>();
  sj::object object;
  if (const auto code = value.get_object().get(object)) return JsonError(field, code);
  return std::optional<sj::object>(object);
}

Status Texts(sj::object& parent, const char* field, const AnnotationKeys* only,
             google::protobuf::Map<std::string, std::string>* out) {
  auto object = Member(parent, field);
  if (!object) return tl::unexpected<Error>(object.error());
  if (!*object) return {};
  for (auto member : **object) {
    std::string_view key;
    if (const auto code = member.unescaped_key().get(key)) return JsonError(field, code);
    if (only != nullptr && !only->Has(key)) continue;
    const std::string kept(key);
    std::string_view text;
    if (const auto code = member.value().get_string().get(text)) return JsonError(field, code);
    (*out)[kept] = std::string(text);
  }
  return {};
}

// Each element of an array of objects; a missing one has none.
template <class Use>
Status Each(sj::object& parent, const char* field, Use&& use) {
  sj::value value;
  const auto found = parent.find_field_unordered(field).get(value);
  if (found == simdjson::NO_SUCH_FIELD) return {};
  if (found) return JsonError(field, found);
  bool null = false;
  if (const auto code = value.is_null().get(null)) return JsonError(field, code);
  if (null) return {};
  sj::array array;
  if (const auto code = value.get_array().get(array)) return JsonError(field, code);
  for (auto element : array) {
    sj::object object;
    if (const auto code = element.get_object().get(object)) return JsonError(field, code);
    if (Status ok = use(object); !ok) return ok;
  }
  return {};
}

Status ReadSpec(sj::object& spec, pb::NodeResources* out) {
  bool unschedulable = false;
  const auto found = spec.find_field_unordered("unschedulable").get(unschedulable);
  if (found == simdjson::SUCCESS) out->set_unschedulable(unschedulable);
  return Each(spec, "taints", [out](sj::object& taint) -> Status {
    auto key = TextOf(taint, "key");
    if (!key) return tl::unexpected<Error>(key.error());
    const auto effect = TextOf(taint, "effect");
    if (!effect) return tl::unexpected<Error>(effect.error());
    if (*effect != "PreferNoSchedule") out->add_taints(std::move(*key));
    return {};
  });
}

}  // namespace

Result<pb::NodeResources> ReadNode(sj::object node, const AnnotationKeys& keys) {
  pb::NodeResources out;
  const auto fail = [](const Error& error) { return tl::unexpected<Error>(error); };
  auto metadata = Member(node, "metadata");
  if (!metadata) return fail(metadata.error());
  if (!*metadata) return Fail("metadata", "is missing: this is no node");
  auto name = TextOf(**metadata, "name");
  if (!name) return fail(name.error());
  out.set_name(std::move(*name));
  if (Status ok = Texts(**metadata, "labels", nullptr, out.mutable_labels()); !ok) {
    return fail(ok.error());
  }
  if (Status ok = Texts(**metadata, "annotations", &keys, out.mutable_annotations()); !ok) {
    return fail(ok.error());
  }
  auto spec = Member(node, "spec");
  if (!spec) return fail(spec.error());
  if (*spec) {
    if (Status ok = ReadSpec(**spec, &out); !ok) return fail(ok.error());
  }
  auto status = Member(node, "status");
  if (!status) return fail(status.error());
  if (!*status) return out;
  if (Status ok = Texts(**status, "capacity", nullptr, out.mutable_capacity()); !ok) {
    return fail(ok.error());
  }
  if (Status ok = Texts(**status, "allocatable", nullptr, out.mutable_allocatable()); !ok) {
    return fail(ok.error());
  }
  Status ok = Each(**status, "conditions", [&out](sj::object& condition) -> Status {
    const auto type = TextOf(condition, "type");
    if (!type) return tl::unexpected<Error>(type.error());
    const auto is = TextOf(condition, "status");
    if (!is) return tl::unexpected<Error>(is.error());
    if (*type == "Ready") out.set_not_ready(*is != "True");
    return {};
  });
  if (!ok) return fail(ok.error());
  return out;
}

Learner::Learner(rpc::Room* room, service::Caller caller, Keys keys)
    : room_(room), caller_(std::move(caller)), keys_(std::move(keys)) {}

// The pods that are known from an earlier run are of their nodes, so that their ends are noticed.
Status Learner::Open() {
  if (open_) return {};
  pb::SyncOpen open;
  open.mutable_header()->set_cluster(room_->id());
  open.mutable_header()->set_scheduler("learned");
  open.set_source("learned");
  open.add_kinds(pb::SYNC_KIND_NODES);
  open.add_kinds(pb::SYNC_KIND_PODS);
  const auto reply =
      room_->Run("sync", rpc::kNoDeadline, true, [&](service::Service& service, SimTime now) {
        const std::uint64_t stream = service.NewStream();
        auto answer = service.SyncOpen(caller_, open, stream, now);
        if (!answer.ok()) return answer;
        stream_ = stream;
        generation_ = answer.body.applied_generation();
        seen_.clear();
        const ClusterState& state = service.engine().state();
        service.engine().ForEachAllocation([&](const Allocation& a) {
          if (a.confirmed) seen_[state.name(a.node)].pods.insert(service::UuidText(a.uid));
        });
        return answer;
      });
  if (!reply.ok()) return Fail("learn", reply.message);
  open_ = true;
  return {};
}

Result<std::optional<pb::PodState>> Learner::ReadPodOf(sj::object task, const std::string& node,
                                                       std::set<std::string>* present) {
  const auto fail = [](const Error& error) { return tl::unexpected<Error>(error); };
  pb::PodState out;
  const auto text = TextOf(task, "UID");
  if (!text) return fail(text.error());
  const Result<PodUid> uid = service::ParseUid(*text);
  if (!uid) return fail(uid.error());
  const auto bits = IntegerOf(task, "Status");
  if (!bits) return fail(bits.error());
  if ((*bits & kEndedBits) != 0) return std::optional<pb::PodState>();
  present->insert(service::UuidText(*uid));
  if ((*bits & kThereBits) == 0) return std::optional<pb::PodState>();
  auto job = TextOf(task, "Job");
  if (!job) return fail(job.error());
  out.set_job(std::move(*job));
  bool preemptable = true;
  if (task.find_field_unordered("Preemptable").get(preemptable) == simdjson::SUCCESS) {
    out.mutable_standing()->set_not_preemptible(!preemptable);
  }
  auto inner = Member(task, "Pod");
  if (!inner) return fail(inner.error());
  if (!*inner) return std::optional<pb::PodState>();
  std::string_view raw;
  if (const auto code = (*inner)->raw_json().get(raw)) return JsonError("Pod", code);
  const auto read = [&](auto&& use) -> Status {
    thread_local sj::parser parser;
    sj::document document;
    sj::object pod;
    if (const auto code =
            parser.iterate(raw.data(), raw.size(), raw.size() + simdjson::SIMDJSON_PADDING)
                .get(document)) {
      return JsonError("Pod", code);
    }
    if (const auto code = document.get_object().get(pod)) return JsonError("Pod", code);
    return use(pod);
  };
  Status ok = read([&](sj::object& object) -> Status {
    auto pod = ReadPod(object, keys_.pod);
    if (!pod) return fail(pod.error());
    *out.mutable_pod() = std::move(pod->key);
    *out.mutable_ask()->mutable_pod() = std::move(pod->resources);
    out.mutable_standing()->set_priority(pod->priority);
    out.mutable_standing()->set_queue(std::move(pod->queue));
    return {};
  });
  if (!ok) return fail(ok.error());
  out.set_node(node);
  out.mutable_pod()->set_uid(service::UuidText(*uid));
  ok = read([&](sj::object& object) -> Status {
    auto metadata = Member(object, "metadata");
    if (!metadata) return fail(metadata.error());
    if (*metadata) {
      return Texts(**metadata, "annotations", &keys_.grants, out.mutable_annotations());
    }
    return {};
  });
  if (!ok) return fail(ok.error());
  ok = read([&](sj::object& object) -> Status {
    auto status = Member(object, "status");
    if (!status) return fail(status.error());
    if (!*status) return {};
    auto phase = TextOf(**status, "phase");
    if (!phase) return fail(phase.error());
    out.set_phase(std::move(*phase));
    return {};
  });
  if (!ok) return fail(ok.error());
  if (const auto cards = out.annotations().find(kCards); cards != out.annotations().end()) {
    std::string_view list = cards->second;
    while (!list.empty()) {
      const std::string_view uuid = list.substr(0, list.find(','));
      if (!uuid.empty()) out.add_granted_uuids(std::string(uuid));
      list.remove_prefix(std::min(list.size(), uuid.size() + 1));
    }
    out.mutable_annotations()->erase(kCards);
  }
  return std::optional(std::move(out));
}

Result<pb::SyncDeltas> Learner::Deltas(const std::string& name, std::string_view node,
                                       std::string_view tasks, std::set<std::string>* present) {
  thread_local sj::parser parser;
  const auto object = [&](std::string_view raw, sj::document* document) -> Result<sj::object> {
    if (const auto code =
            parser.iterate(raw.data(), raw.size(), raw.size() + simdjson::SIMDJSON_PADDING)
                .get(*document)) {
      return JsonError("node", code);
    }
    sj::object out;
    if (const auto code = document->get_object().get(out)) return JsonError("node", code);
    return out;
  };
  pb::SyncDeltas out;
  if (!node.empty()) {
    sj::document document;
    auto inner = object(node, &document);
    if (!inner) return tl::unexpected<Error>(inner.error());
    auto read = ReadNode(*inner, keys_.node);
    if (!read) return tl::unexpected<Error>(read.error());
    if (read->name() != name) return Fail("node " + name, "is called " + read->name() + " inside");
    *out.add_deltas()->mutable_node()->mutable_kubernetes() = std::move(*read);
  }
  if (tasks.empty()) return out;
  sj::document document;
  auto list = object(tasks, &document);
  if (!list) return tl::unexpected<Error>(list.error());
  for (auto member : *list) {
    sj::object task;
    if (const auto code = member.value().get_object().get(task)) return JsonError("Tasks", code);
    auto pod = ReadPodOf(task, name, present);
    if (!pod) return tl::unexpected<Error>(pod.error());
    if (*pod) *out.add_deltas()->mutable_pod() = std::move(**pod);
  }
  return out;
}

std::string Learner::See(const std::string& name, std::string_view node, std::string_view tasks) {
  const std::uint64_t node_hash = HashOf(node);
  const std::uint64_t tasks_hash = HashOf(tasks);
  const std::scoped_lock lock(mutex_);
  bool same_node = false;
  if (const auto it = seen_.find(name); open_ && it != seen_.end() && it->second.known) {
    same_node = it->second.node_hash == node_hash;
    if (same_node && it->second.tasks_hash == tasks_hash) return it->second.refused;
  }
  if (Status ok = Open(); !ok) return ok.error().ToString();
  std::set<std::string> present;
  Result<pb::SyncDeltas> deltas =
      Deltas(name, same_node ? std::string_view() : node, tasks, &present);
  if (!deltas) return deltas.error().ToString();
  Seen& seen = seen_[name];
  std::set<std::string> pods;
  for (const std::string& uid : seen.pods) {
    if (present.contains(uid)) {
      pods.insert(uid);
    } else {
      deltas->add_deltas()->mutable_pod_gone()->set_uid(uid);
    }
  }
  for (const pb::Delta& delta : deltas->deltas()) {
    if (delta.has_pod()) pods.insert(delta.pod().pod().uid());
  }
  deltas->set_generation(generation_ + 1);
  const auto reply =
      room_->Run("sync", rpc::kNoDeadline, true, [&](service::Service& service, SimTime now) {
        return service.SyncDeltas(*deltas, stream_, now);
      });
  if (!reply.ok() || reply.body.relist()) {
    open_ = false;  // begin again, from nothing but what the engine holds
    return reply.ok() ? "the learned state begins anew" : reply.message;
  }
  generation_ = reply.body.applied_generation();
  seen.known = true;
  seen.node_hash = node_hash;
  seen.tasks_hash = tasks_hash;
  seen.pods = std::move(pods);
  if (!same_node) seen.refused.clear();
  for (const pb::Rejected& rejected : reply.body.rejected()) {
    if (rejected.object() == "node " + name) seen.refused = rejected.reason();
  }
  return seen.refused;
}

}  // namespace basalt::http
