#include "adapters/http/routes.h"

#include "adapters/service/shown.h"

namespace basalt::http {
namespace {

HttpAnswer Text(int status, std::string body) {
  return {.status = status, .body = std::move(body), .type = "text/plain"};
}

// The next part of a path that begins with '/'.
std::string_view TakePart(std::string_view* path) {
  if (!path->starts_with('/')) return {};
  path->remove_prefix(1);
  const std::string_view part = path->substr(0, path->find('/'));
  path->remove_prefix(part.size());
  return part;
}

}  // namespace

Routes::Routes(rpc::Rooms* rooms, ExtenderOptions options)
    : rooms_(rooms), caller_(options.caller) {
  for (const auto& room : rooms->all()) {
    extenders_[room->id()] = std::make_unique<Extender>(room.get(), options);
  }
}

HttpAnswer Routes::Get(const std::string& path) {
  if (path == "/metrics") {
    return {.status = 200, .body = rooms_->Metrics(), .type = "text/plain; version=0.0.4"};
  }
  if (path == "/healthz") return Text(200, "ok\n");
  if (path == "/readyz") {
    const std::string why = rooms_->NotReady();
    return why.empty() ? Text(200, "ok\n") : Text(503, why);
  }
  return Text(404, "there are /metrics, /healthz and /readyz\n");
}

HttpAnswer Routes::Post(const std::string& path, const std::string& body) {
  std::string_view rest = path;
  const bool known = TakePart(&rest) == "v1";
  const std::string_view cluster = TakePart(&rest);
  const std::string_view protocol = TakePart(&rest);
  const std::string_view verb = TakePart(&rest);
  if (!known || verb.empty() || !rest.empty() || (protocol != "volcano" && protocol != "kube")) {
    return Text(404, "write /v1/CLUSTER/volcano/VERB or /v1/CLUSTER/kube/VERB\n");
  }
  const auto extender = extenders_.find(cluster);
  if (extender == extenders_.end())
    return Text(404, service::Shown(rooms_->UnknownCluster(cluster)) + "\n");
  if (const std::int64_t wait_us = rooms_->Limit(caller_); wait_us > 0) {
    HttpAnswer answer = Text(429, rpc::TooFast(caller_.identity, wait_us) + "\n");
    answer.retry_after_s = (wait_us + 999'999) / 1'000'000;
    return answer;
  }
  return protocol == "kube" ? extender->second->Kube(verb, body)
                            : extender->second->Volcano(verb, body);
}

}  // namespace basalt::http
