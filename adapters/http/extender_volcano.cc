// Volcano's `extender` plugin (1.14): one verb a path, Go's field names. Each answer is 200 with a
// body that the plugin knows; any other status fails the call, and with it the task's placement.
#include <algorithm>
#include <set>

#include "adapters/http/extender.h"
#include "adapters/service/uid.h"

namespace basalt::http {
namespace {

namespace sj = simdjson::ondemand;
constexpr const char* kWho = "volcano-extender";
// Nobody confirms what Volcano binds; the sync does, and may be away. Its own end is
// deallocateFunc. The server shortens it to its max_lease_ttl_s.
constexpr std::int64_t kLongest = 86'400'000'000;  // microseconds

// TaskStatus bits of Volcano's api package.
constexpr std::int64_t kPipelined = 4;
constexpr std::int64_t kReleasing = 64;
// Allocated, Binding, Bound, Running, Succeeded: a job counts them as ready.
constexpr std::int64_t kReadyBits = 2 | 8 | 16 | 32 | 128;
// Codes of its Status: 1 Error, 2 Unschedulable, 3 also when others leave.
constexpr int kCodeError = 1;
constexpr int kCodeWait = 2;
constexpr int kCodeNever = 3;

HttpAnswer Verdict(std::string_view status, int code) {
  return JsonAnswer("{\"status\":" + Quoted(status) + ",\"code\":" + std::to_string(code) + "}");
}
HttpAnswer ErrorMessage(std::string_view message) {
  return JsonAnswer("{\"errorMessage\":" + Quoted(message) + "}");
}

Result<sj::object> ObjectOf(sj::object& parent, const char* field) {
  sj::object object;
  if (const auto code = parent.find_field_unordered(field).get_object().get(object)) {
    return JsonError(field, code);
  }
  return object;
}

// Of each element of an array of objects: the text that it is.
Result<std::vector<std::string_view>> RawElements(sj::object& parent, const char* field) {
  std::vector<std::string_view> raws;
  sj::value value;
  const auto found = parent.find_field_unordered(field).get(value);
  if (found == simdjson::NO_SUCH_FIELD) return raws;
  if (found) return JsonError(field, found);
  bool null = false;
  if (const auto code = value.is_null().get(null)) return JsonError(field, code);
  if (null) return raws;
  sj::array array;
  if (const auto code = value.get_array().get(array)) return JsonError(field, code);
  for (auto element : array) {
    sj::object object;
    if (const auto code = element.get_object().get(object)) return JsonError(field, code);
    std::string_view raw;
    if (const auto code = object.raw_json().get(raw)) return JsonError(field, code);
    raws.push_back(raw);
  }
  return raws;
}

}  // namespace

struct Extender::Task {
  std::string uid;
  std::string job;
  std::string node;
  std::int64_t status = 0;
  bool preemptable = true;
  PodJson pod;
};

Result<Extender::Task> Extender::ReadTask(sj::object object) const {
  Task task;
  auto uid = TextOf(object, "UID");
  if (!uid) return tl::unexpected<Error>(uid.error());
  task.uid = std::move(*uid);
  auto job = TextOf(object, "Job");
  if (!job) return tl::unexpected<Error>(job.error());
  task.job = std::move(*job);
  auto node = TextOf(object, "NodeName");
  if (!node) return tl::unexpected<Error>(node.error());
  task.node = std::move(*node);
  const auto status = IntegerOf(object, "Status");
  if (!status) return tl::unexpected<Error>(status.error());
  task.status = *status;
  bool preemptable = true;
  const auto code = object.find_field_unordered("Preemptable").get(preemptable);
  if (code == simdjson::SUCCESS) {
    task.preemptable = preemptable;
  } else if (code != simdjson::NO_SUCH_FIELD && code != simdjson::INCORRECT_TYPE) {
    return JsonError("Preemptable", code);  // the parser has given up: nothing more can be read
  }
  auto inner = ObjectOf(object, "Pod");
  if (!inner) return tl::unexpected<Error>(inner.error());
  auto pod = ReadPod(*inner, keys_);
  if (!pod) return tl::unexpected<Error>(pod.error());
  task.pod = std::move(*pod);
  return task;
}

pb::PodRequest Extender::RequestOf(const Task& task) const {
  pb::PodRequest request;
  *request.mutable_pod() = task.pod.key;
  if (request.pod().uid().empty()) request.mutable_pod()->set_uid(task.uid);
  *request.mutable_ask()->mutable_pod() = task.pod.resources;
  request.set_job(task.job);
  pb::Standing& standing = *request.mutable_standing();
  standing.set_priority(task.pod.priority);
  standing.set_not_preemptible(!task.preemptable);
  standing.set_queue(task.pod.queue);
  if (standing.queue().empty()) {
    const std::scoped_lock lock(mutex_);
    standing.set_queue(queue_of_job_.Find(task.job).value_or(""));
  }
  return request;
}

HttpAnswer Extender::Volcano(std::string_view verb, const std::string& body) {
  if (verb == "onSessionOpen" || verb == "onSessionClose") return JsonAnswer("{}");
  using Method = HttpAnswer (Extender::*)(sj::object);
  static constexpr std::pair<std::string_view, Method> kVerbs[] = {
      {"predicate", &Extender::Predicate},         {"prioritize", &Extender::Prioritize},
      {"allocateFunc", &Extender::Allocate},       {"deallocateFunc", &Extender::Deallocate},
      {"queueOverused", &Extender::QueueOverused}, {"jobEnqueueable", &Extender::JobEnqueueable},
      {"jobReady", &Extender::JobReady},
  };
  const simdjson::padded_string text(body);
  thread_local Parser parser;
  sj::document document;
  if (const auto code = parser.iterate(text).get(document)) {
    return BadBody(Error{"body", simdjson::error_message(code)});
  }
  sj::object root;
  if (const auto code = document.get_object().get(root)) {
    return BadBody(Error{"body", simdjson::error_message(code)});
  }
  if (verb == "preemptable") return Victims(root, false);
  if (verb == "reclaimable") return Victims(root, true);
  for (const auto& [name, method] : kVerbs) {
    if (verb == name) return (this->*method)(root);
  }
  return {.status = 404, .body = "no such verb\n", .type = "text/plain"};
}

HttpAnswer Extender::Predicate(sj::object root) {
  auto object = ObjectOf(root, "task");
  if (!object) return BadBody(object.error());
  const auto task = ReadTask(*object);
  if (!task) return BadBody(task.error());
  auto node = ObjectOf(root, "node");
  if (!node) return BadBody(node.error());
  const auto name = TextOf(*node, "Name");
  if (!name) return BadBody(name.error());
  if (learner_ != nullptr) {
    std::string_view inner, tasks;
    for (const auto& [field, raw] : {std::pair{"Node", &inner}, {"Tasks", &tasks}}) {
      sj::object part;
      const auto found = node->find_field_unordered(field).get_object().get(part);
      if (found) return BadBody(Error{field, simdjson::error_message(found)});
      if (const auto code = part.raw_json().get(*raw)) {
        return BadBody(Error{field, simdjson::error_message(code)});
      }
    }
    const std::string why = learner_->See(*name, inner, tasks);
    if (!why.empty()) return Verdict(why, kCodeWait);
  }
  const auto reply = Evaluate(kWho, RequestOf(*task), {*name});
  if (!reply.ok()) return Verdict(reply.message, kCodeError);
  if (reply.body.kind() == pb::OUTCOME_KIND_NOT_READY) {
    return Verdict("the engine does not know the whole cluster yet", kCodeWait);
  }
  if (reply.body.verdicts_size() != 1) return Verdict("node unknown to the engine", kCodeWait);
  const pb::NodeVerdict& verdict = reply.body.verdicts(0);
  if (verdict.reason() == pb::REASON_FITS) return Verdict("", 0);
  return Verdict(WhyNot(verdict),
                 reply.body.kind() == pb::OUTCOME_KIND_INFEASIBLE ? kCodeNever : kCodeWait);
}

HttpAnswer Extender::Prioritize(sj::object root) {
  auto object = ObjectOf(root, "task");
  if (!object) return BadBody(object.error());
  const auto task = ReadTask(*object);
  if (!task) return BadBody(task.error());
  const auto raws = RawElements(root, "nodes");
  if (!raws) return BadBody(raws.error());
  thread_local Parser inner;
  std::vector<std::string> names;
  for (const std::string_view raw : *raws) {
    auto name = NameInRaw(&inner, raw, nullptr, "Name");
    if (!name) return BadBody(name.error());
    names.push_back(std::move(*name));
  }
  const auto reply = Evaluate(kWho, RequestOf(*task), names);
  std::string scores;
  std::string error;
  if (!reply.ok()) {
    error = reply.message;
  } else {
    const std::vector<int> ranks = RankScores(reply.body, 100);
    for (std::size_t i = 0; i < ranks.size(); ++i) {
      scores += (i == 0 ? "" : ",") + Quoted(reply.body.verdicts(static_cast<int>(i)).node()) +
                ":" + std::to_string(ranks[i]);
    }
  }
  return JsonAnswer("{\"nodeScore\":{" + scores + "},\"errorMessage\":" + Quoted(error) + "}");
}

HttpAnswer Extender::Allocate(sj::object root) {
  auto object = ObjectOf(root, "task");
  if (!object) return BadBody(object.error());
  const auto task = ReadTask(*object);
  if (!task) return BadBody(task.error());
  // Its place is not free yet; Volcano says it again when it is.
  if (task->status == kPipelined) return ErrorMessage("");
  const pb::PodRequest request = RequestOf(*task);
  const auto reply = Reserve(kWho, request, task->node, false, kLongest);
  if (!reply.ok()) return ErrorMessage(reply.message);
  const pb::Decision& decision = reply.body.pod();
  if (!reply.body.refused().empty()) return ErrorMessage(reply.body.refused());
  if (decision.kind() != pb::OUTCOME_KIND_PLACED) {
    return ErrorMessage(decision.reason().empty() ? "does not fit on " + task->node
                                                  : decision.reason());
  }
  if (decision.placement().node() != task->node) {
    return ErrorMessage("holds cards on " + decision.placement().node() + " already");
  }
  const std::scoped_lock lock(mutex_);
  leases_.Put(request.pod().uid(), reply.body.lease());
  return ErrorMessage("");
}

HttpAnswer Extender::Deallocate(sj::object root) {
  auto object = ObjectOf(root, "task");
  if (!object) return BadBody(object.error());
  const auto task = ReadTask(*object);
  if (!task) return BadBody(task.error());
  // An eviction: the pod holds its cards until the sync says that it is gone.
  if (task->status == kReleasing) return ErrorMessage("");
  std::optional<pb::Lease> lease;
  {
    const std::scoped_lock lock(mutex_);
    lease = leases_.Find(task->pod.key.uid().empty() ? task->uid : task->pod.key.uid());
  }
  if (!lease) return ErrorMessage("");
  const bool bound = room_->With([&](service::Service& service, SimTime) {
    const auto uid = service::ParseUid(lease->uid());
    const Allocation* held = uid ? service.engine().Find(*uid) : nullptr;
    return held != nullptr && held->confirmed;
  });
  if (bound) return ErrorMessage("");
  const auto reply = Release(kWho, *lease);
  return ErrorMessage(reply.ok() ? "" : reply.message);
}

HttpAnswer Extender::Victims(sj::object root, bool reclaim) {
  auto object = ObjectOf(root, "evictor");
  if (!object) return BadBody(object.error());
  const auto task = ReadTask(*object);
  if (!task) return BadBody(task.error());
  const auto raws = RawElements(root, "evictees");
  if (!raws) return BadBody(raws.error());
  thread_local Parser inner;
  std::vector<std::string> uids;
  std::set<std::string> nodes;
  for (const std::string_view raw : *raws) {
    auto uid = NameInRaw(&inner, raw, nullptr, "UID");
    if (!uid) return BadBody(uid.error());
    auto node = NameInRaw(&inner, raw, nullptr, "NodeName");
    if (!node) return BadBody(node.error());
    uids.push_back(std::move(*uid));
    nodes.insert(std::move(*node));
  }
  const auto reply =
      PlanEviction(kWho, RequestOf(*task), {nodes.begin(), nodes.end()}, !reclaim, reclaim);
  if (!reply.ok()) return Refused(reply.code, reply.message);
  std::set<std::string> chosen;
  for (const pb::Victim& victim : reply.body.victims()) chosen.insert(victim.pod().uid());
  std::string victims;
  for (std::size_t i = 0; i < uids.size(); ++i) {
    if (!chosen.contains(uids[i])) continue;
    if (!victims.empty()) victims += ',';
    victims += (*raws)[i];
  }
  return JsonAnswer("{\"status\":1,\"victims\":[" + victims + "]}");
}

std::optional<bool> Extender::IsFull(const std::string& queue) {
  return room_->With([&](service::Service& service, SimTime) -> std::optional<bool> {
    if (!service.MayRead(options_.caller)) return std::nullopt;
    const QueueTree& tree = service.engine().queues();
    std::optional<QueueId> at = tree.Find(queue);
    if (!at) return std::nullopt;
    for (; tree.contains(*at) && *at != QueueTree::kRoot; at = tree.parent(*at)) {
      for (const auto& [name, limit] : tree.spec(*at).capacity) {
        if (name.find('/') != name.npos) continue;  // of one model: others may still fit
        const auto resource = tree.resources().Find(name);
        if (resource && tree.allocated(*at)[*resource] >= limit) return true;
      }
    }
    return false;
  });
}

HttpAnswer Extender::QueueOverused(sj::object root) {
  auto queue = ObjectOf(root, "queue");
  if (!queue) return BadBody(queue.error());
  const auto name = TextOf(*queue, "Name");
  if (!name) return BadBody(name.error());
  return JsonAnswer(IsFull(*name).value_or(false) ? "{\"overused\":true}" : "{\"overused\":false}");
}

HttpAnswer Extender::JobEnqueueable(sj::object root) {
  auto job = ObjectOf(root, "job");
  if (!job) return BadBody(job.error());
  const auto uid = TextOf(*job, "UID");
  if (!uid) return BadBody(uid.error());
  const auto queue = TextOf(*job, "Queue");
  if (!queue) return BadBody(queue.error());
  {
    const std::scoped_lock lock(mutex_);
    queue_of_job_.Put(*uid, *queue);
  }
  const std::optional<bool> full = IsFull(*queue);
  return JsonAnswer(!full ? "{\"status\":0}" : (*full ? "{\"status\":-1}" : "{\"status\":1}"));
}

HttpAnswer Extender::JobReady(sj::object root) {
  auto job = ObjectOf(root, "job");
  if (!job) return BadBody(job.error());
  const auto uid = TextOf(*job, "UID");
  if (!uid) return BadBody(uid.error());
  const auto queue = TextOf(*job, "Queue");
  if (!queue) return BadBody(queue.error());
  const auto least = IntegerOf(*job, "MinAvailable");
  if (!least) return BadBody(least.error());
  {
    const std::scoped_lock lock(mutex_);
    queue_of_job_.Put(*uid, *queue);
  }
  auto tasks = ObjectOf(*job, "Tasks");
  if (!tasks) return BadBody(tasks.error());
  std::int64_t ready = 0;
  for (auto member : *tasks) {
    sj::object task;
    if (const auto code = member.value().get_object().get(task)) {
      return BadBody(Error{"Tasks", simdjson::error_message(code)});
    }
    const auto status = IntegerOf(task, "Status");
    if (!status) return BadBody(status.error());
    ready += (*status & kReadyBits) != 0 ? 1 : 0;
  }
  return JsonAnswer(ready >= *least ? "{\"status\":true}" : "{\"status\":false}");
}

}  // namespace basalt::http
