// kube-scheduler's extender protocol (k8s.io/kube-scheduler/extender/v1): filter, prioritize,
// preempt and bind, with node names (nodeCacheCapable: true) or whole nodes. Only what the nodes
// are called is read of them: the engine knows the rest from its sync.
#include <algorithm>
#include <set>

#include "adapters/http/extender.h"
#include "adapters/service/uid.h"

namespace basalt::http {
namespace {

namespace sj = simdjson::ondemand;
constexpr const char* kWho = "kube-extender";

// Others leaving the node would not help.
bool IsLasting(pb::Reason reason) {
  return reason == pb::REASON_LABEL_OR_TAINT || reason == pb::REASON_MODEL_NOT_ALLOWED;
}

Result<bool> FindPresent(sj::object& parent, const char* field, sj::value* out) {
  const auto found = parent.find_field_unordered(field).get(*out);
  if (found == simdjson::NO_SUCH_FIELD) return false;
  if (found) return JsonError(field, found);
  bool null = false;
  if (const auto code = out->is_null().get(null)) return JsonError(field, code);
  return !null;
}

HttpAnswer BindAnswer(const std::string& error) {
  return JsonAnswer("{\"Error\":" + Quoted(error) + "}");
}

}  // namespace

struct Extender::KubeArgs {
  PodJson pod;
  bool whole_nodes = false;
  std::vector<std::string> names;
  std::vector<std::string> raws;  // by name, when whole_nodes
};

Result<Extender::KubeArgs> Extender::ReadArgs(sj::object root) {
  KubeArgs args;
  sj::object pod;
  if (const auto code = root.find_field_unordered("Pod").get_object().get(pod)) {
    return JsonError("Pod", code);
  }
  auto read = ReadPod(pod, keys_);
  if (!read) return tl::unexpected<Error>(read.error());
  args.pod = std::move(*read);
  sj::value value;
  auto there = FindPresent(root, "NodeNames", &value);
  if (!there) return tl::unexpected<Error>(there.error());
  if (*there) {
    sj::array names;
    if (const auto code = value.get_array().get(names)) return JsonError("NodeNames", code);
    for (auto element : names) {
      std::string_view name;
      if (const auto code = element.get_string().get(name)) return JsonError("NodeNames", code);
      args.names.emplace_back(name);
    }
    return args;
  }
  there = FindPresent(root, "Nodes", &value);
  if (!there) return tl::unexpected<Error>(there.error());
  if (!*there) return Fail("body", "has neither NodeNames nor Nodes");
  args.whole_nodes = true;
  sj::object nodes;
  if (const auto code = value.get_object().get(nodes)) return JsonError("Nodes", code);
  sj::value items;
  there = FindPresent(nodes, "items", &items);
  if (!there) return tl::unexpected<Error>(there.error());
  if (!*there) return args;
  sj::array array;
  if (const auto code = items.get_array().get(array)) return JsonError("items", code);
  thread_local Parser inner;
  for (auto element : array) {
    sj::object node;
    if (const auto code = element.get_object().get(node)) return JsonError("items", code);
    std::string_view raw;
    if (const auto code = node.raw_json().get(raw)) return JsonError("items", code);
    auto name = NameInRaw(&inner, raw, "metadata", "name");
    if (!name) return tl::unexpected<Error>(name.error());
    args.names.push_back(std::move(*name));
    args.raws.emplace_back(raw);
  }
  return args;
}

HttpAnswer Extender::Kube(std::string_view verb, const std::string& body) {
  using Method = HttpAnswer (Extender::*)(sj::object);
  static constexpr std::pair<std::string_view, Method> kVerbs[] = {
      {"filter", &Extender::Filter},
      {"prioritize", &Extender::KubePrioritize},
      {"preempt", &Extender::Preempt},
      {"bind", &Extender::Bind},
  };
  // Its bodies name no pods that run: what ends would never be free again.
  if (learner_ != nullptr) {
    return {.status = 400,
            .body = "cluster " + room_->id() +
                    " is learned from Volcano's extender; kube-scheduler's needs basalt-sync\n",
            .type = "text/plain"};
  }
  for (const auto& [name, method] : kVerbs) {
    if (verb != name) continue;
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
    return (this->*method)(root);
  }
  return {.status = 404, .body = "no such verb\n", .type = "text/plain"};
}

namespace {

pb::PodRequest PodRequestOf(const PodJson& pod) {
  pb::PodRequest request;
  *request.mutable_pod() = pod.key;
  *request.mutable_ask()->mutable_pod() = pod.resources;
  request.mutable_standing()->set_priority(pod.priority);
  request.mutable_standing()->set_queue(pod.queue);
  return request;
}

}  // namespace

HttpAnswer Extender::Filter(sj::object root) {
  const auto args = ReadArgs(root);
  if (!args) return BadBody(args.error());
  const pb::PodRequest request = PodRequestOf(args->pod);
  {
    const std::scoped_lock lock(mutex_);
    asks_.Put(request.pod().uid(), request);  // bind names the pod only
  }
  const auto reply = Evaluate(kWho, request, args->names);
  std::string error;
  if (!reply.ok()) {
    error = reply.message;
  } else if (reply.body.kind() == pb::OUTCOME_KIND_NOT_READY) {
    error = "the engine does not know the whole cluster yet";
  } else if (reply.body.verdicts_size() != static_cast<int>(args->names.size())) {
    error = "the engine answered for other nodes";
  }
  std::string kept;
  std::string failed;
  std::string lasting;
  if (error.empty()) {
    const bool never = reply.body.kind() == pb::OUTCOME_KIND_INFEASIBLE;
    for (std::size_t i = 0; i < args->names.size(); ++i) {
      const pb::NodeVerdict& verdict = reply.body.verdicts(static_cast<int>(i));
      if (verdict.reason() == pb::REASON_FITS) {
        if (!kept.empty()) kept += ',';
        kept += args->whole_nodes ? args->raws[i] : Quoted(args->names[i]);
        continue;
      }
      std::string& list = never || IsLasting(verdict.reason()) ? lasting : failed;
      list += (list.empty() ? "" : ",") + Quoted(args->names[i]) + ":" + Quoted(WhyNot(verdict));
    }
  }
  std::string answer = "{\"Nodes\":";
  answer += args->whole_nodes ? "{\"metadata\":{},\"items\":[" + kept + "]}" : "null";
  answer += ",\"NodeNames\":";
  answer += args->whole_nodes ? "null" : "[" + kept + "]";
  answer += ",\"FailedNodes\":{" + failed + "},\"FailedAndUnresolvableNodes\":{" + lasting +
            "},\"Error\":" + Quoted(error) + "}";
  return JsonAnswer(std::move(answer));
}

HttpAnswer Extender::KubePrioritize(sj::object root) {
  const auto args = ReadArgs(root);
  if (!args) return BadBody(args.error());
  const auto reply = Evaluate(kWho, PodRequestOf(args->pod), args->names);
  if (!reply.ok()) return Refused(reply.code, reply.message);
  const std::vector<int> ranks = RankScores(reply.body, 10);
  std::string list;
  for (std::size_t i = 0; i < args->names.size(); ++i) {
    const int score = i < ranks.size() ? ranks[i] : 0;
    list += (i == 0 ? "{\"Host\":" : ",{\"Host\":") + Quoted(args->names[i]) +
            ",\"Score\":" + std::to_string(score) + "}";
  }
  return JsonAnswer("[" + list + "]");
}

HttpAnswer Extender::Preempt(sj::object root) {
  sj::object pod;
  if (const auto code = root.find_field_unordered("Pod").get_object().get(pod)) {
    return BadBody(Error{"Pod", simdjson::error_message(code)});
  }
  const auto read = ReadPod(pod, keys_);
  if (!read) return BadBody(read.error());
  // What kube-scheduler offers: nodes, and how many budgets each would break.
  std::vector<std::string> nodes;
  std::map<std::string, std::int64_t> broken;
  for (const char* field : {"NodeNameToMetaVictims", "NodeNameToVictims"}) {
    sj::value value;
    const auto there = FindPresent(root, field, &value);
    if (!there) return BadBody(there.error());
    if (!*there) continue;
    sj::object map;
    if (const auto code = value.get_object().get(map)) {
      return BadBody(Error{field, simdjson::error_message(code)});
    }
    for (auto member : map) {
      std::string_view key;
      if (const auto code = member.unescaped_key().get(key)) {
        return BadBody(Error{field, simdjson::error_message(code)});
      }
      nodes.emplace_back(key);
      sj::object victims;
      if (const auto code = member.value().get_object().get(victims)) {
        return BadBody(Error{field, simdjson::error_message(code)});
      }
      const auto count = IntegerOf(victims, "NumPDBViolations");
      if (!count) return BadBody(count.error());
      broken[nodes.back()] = *count;
    }
    break;
  }
  const auto reply = PlanEviction(kWho, PodRequestOf(*read), nodes, true, true);
  if (!reply.ok()) return Refused(reply.code, reply.message);
  // The engine's victims on the engine's node, or nowhere: of the cards of a node it matters which
  // pods leave, and kube-scheduler only counts them.
  const std::string& chosen = reply.body.pod().placement().node();
  std::string victims;
  for (const pb::Victim& victim : reply.body.victims()) {
    if (victim.node() != chosen) continue;
    victims +=
        (victims.empty() ? "" : ",") + std::string("{\"UID\":") + Quoted(victim.pod().uid()) + "}";
  }
  if (!reply.body.found() || !broken.contains(chosen) || victims.empty()) {
    return JsonAnswer("{\"NodeNameToMetaVictims\":{}}");
  }
  return JsonAnswer("{\"NodeNameToMetaVictims\":{" + Quoted(chosen) + ":{\"Pods\":[" + victims +
                    "],\"NumPDBViolations\":" + std::to_string(broken[chosen]) + "}}}");
}

HttpAnswer Extender::Bind(sj::object root) {
  const auto uid = TextOf(root, "PodUID");
  if (!uid) return BadBody(uid.error());
  const auto node = TextOf(root, "Node");
  if (!node) return BadBody(node.error());
  return BindAnswer(BindOn(*uid, *node));
}

std::string Extender::BindOn(const std::string& uid, const std::string& node) {
  std::optional<pb::PodRequest> ask;
  {
    const std::scoped_lock lock(mutex_);
    ask = asks_.Find(uid);
  }
  // After a restart: kube-scheduler asks again from the filter on.
  if (!ask) return "pod " + uid + " was not filtered here";
  const std::string other = HeldOn(uid);
  if (!other.empty() && other != node) {
    if (MayLand(uid))
      return "an earlier bind of the pod may still be carried out, on node " + other;
    // It came to nothing.
    const auto held = Reserve(kWho, *ask, "", false, 0);
    if (held.ok() && held.body.has_lease()) Release(kWho, held.body.lease());
  }
  const auto reply = Reserve(kWho, *ask, node, true, 0);
  if (!reply.ok()) return reply.message;
  const pb::Decision& decision = reply.body.pod();
  if (!reply.body.refused().empty()) return reply.body.refused();
  if (decision.kind() != pb::OUTCOME_KIND_PLACED || decision.placement().node() != node) {
    return decision.reason().empty() ? "does not fit on " + node : decision.reason();
  }
  const pb::Lease lease = reply.body.lease();
  pb::ConfirmRequest confirm;
  *confirm.mutable_header() = HeaderOf(kWho);
  *confirm.mutable_lease() = lease;
  const auto confirmed =
      room_->Run("confirm", TurnBy(), false, [&](service::Service& service, SimTime now) {
        return service.Confirm(options_.caller, confirm, now);
      });
  if (!confirmed.ok()) return confirmed.message;
  if (confirmed.body.answer() != pb::LEASE_ANSWER_OK) return confirmed.body.reason();
  const std::int64_t wait_us =
      std::chrono::duration_cast<std::chrono::microseconds>(options_.bind).count();
  std::uint64_t seen = room_->news();
  const std::string action = room_->With([&](service::Service& service, SimTime now) {
    return service.AddBind(ask->pod(), lease, decision.placement(), now.Plus(wait_us));
  });
  // The action's own deadline answers it when nobody does; a second more for the ticker to see it.
  const auto until = std::chrono::steady_clock::now() + options_.bind + std::chrono::seconds(1);
  std::optional<service::ActionResult> result;
  while (!result && std::chrono::steady_clock::now() < until) {
    result =
        room_->With([&](service::Service& service, SimTime) { return service.ResultOf(action); });
    if (!result) seen = room_->WaitForNews(seen, std::chrono::milliseconds(50));
  }
  if (result && result->done) return "";
  // Its place is kept for a bind that is still on its way.
  if (!result || result->unanswered) {
    const std::scoped_lock lock(mutex_);
    unanswered_.Put(uid, std::chrono::steady_clock::now());
    return "nobody bound the pod in time: is basalt-sync running?";
  }
  Release(kWho, lease);
  return result->error.empty() ? "it was not bound" : result->error;
}

std::string Extender::HeldOn(const std::string& uid) const {
  return room_->With([&](service::Service& service, SimTime) -> std::string {
    const auto read = service::ParseUid(uid);
    const Allocation* held = read ? service.engine().Find(*read) : nullptr;
    return held == nullptr ? "" : service.engine().state().name(held->node);
  });
}

bool Extender::MayLand(const std::string& uid) {
  const auto now = std::chrono::steady_clock::now();
  const std::scoped_lock lock(mutex_);
  const auto since = unanswered_.Find(uid);
  // One that is not known is of an earlier run of the server.
  if (!since) unanswered_.Put(uid, now);
  return !since || now < *since + options_.landing;
}

}  // namespace basalt::http
