// Kubernetes objects made by schema.
#pragma once

#include <string>

namespace basalt::trace {

inline std::string List(const std::string& items) {
  return "{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [\n" + items + "\n]}";
}

inline std::string NodeWith(const std::string& metadata, const std::string& allocatable,
                            const std::string& rest = "") {
  return R"({"apiVersion":"v1","kind":"Node","metadata":{"name":"n0")" + metadata +
         R"(},"status":{"allocatable":{)" + allocatable + "}}" + rest + "}";
}

inline std::string PodWith(const std::string& name, const std::string& annotations,
                           const std::string& resources, const std::string& spec = "",
                           const std::string& status = R"("phase":"Pending")") {
  return R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":")" + name +
         R"(","namespace":"a","creationTimestamp":"2026-01-01T00:00:00Z","annotations":{)" +
         annotations + R"(}},"spec":{"containers":[{"name":"c","resources":{)" + resources + "}}]" +
         spec + R"(},"status":{)" + status + "}}";
}

}  // namespace basalt::trace
