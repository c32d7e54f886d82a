// The table of what the HTTP side answers: /metrics, /healthz and /readyz, and under
// /v1/CLUSTER/volcano/VERB and /v1/CLUSTER/kube/VERB the stock schedulers' endpoints.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "adapters/http/extender.h"
#include "adapters/http/http_server.h"
#include "adapters/rpc/rooms.h"

namespace basalt::http {

class Routes {
 public:
  Routes(rpc::Rooms* rooms, ExtenderOptions options);
  HttpAnswer Get(const std::string& path);
  HttpAnswer Post(const std::string& path, const std::string& body);

 private:
  rpc::Rooms* rooms_;
  service::Caller caller_;
  std::map<std::string, std::unique_ptr<Extender>, std::less<>> extenders_;  // by cluster
};

}  // namespace basalt::http
