// Reads what placement needs of a pod (v1.Pod as JSON), without building the rest: schedulers send
// whole objects, and most of their bytes are managed fields and status. The pod's names are not
// understood here: they go to the service as PodResources, which devices::ReadRequest reads.
#pragma once

#include <simdjson.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "adapters/rpc/placement.pb.h"
#include "scheduler-core/base/result.h"

namespace basalt::http {

namespace pb = basalt::placement::v1;

// Which annotations are kept: exact keys, or prefixes that end in '/'
// (HelloResponse.pod_annotation_keys). The rest are most of a pod's bytes, and different for pods
// that ask for the same.
class AnnotationKeys {
 public:
  AnnotationKeys() = default;
  explicit AnnotationKeys(std::vector<std::string> keys) : keys_(std::move(keys)) {}
  bool Has(std::string_view key) const;

 private:
  std::vector<std::string> keys_;
};

struct PodJson {
  pb::PodKey key = {};
  pb::PodResources resources = {};
  std::int32_t priority = 0;
  std::string node = {};   // spec.nodeName
  std::string queue = {};  // as Volcano's job controller notes it; empty: not noted
};

// Errors name the field. Missing fields are empty; null is missing; a field of another type is an
// error.
Result<PodJson> ReadPod(simdjson::ondemand::object pod, const AnnotationKeys& keys);

// --- reading JSON with names for what is wrong; used by the endpoints ---

// A member, or nothing when it is missing or null. Errors: not an object where one must be.
Result<std::string> TextOf(simdjson::ondemand::object& object, const char* field);
Result<std::int64_t> IntegerOf(simdjson::ondemand::object& object, const char* field);
// The message of a simdjson error as ours.
tl::unexpected<Error> JsonError(const std::string& where, simdjson::error_code code);

// The text as a JSON string, with quotes. Bytes that are no UTF-8 become U+FFFD.
std::string Quoted(std::string_view text);

}  // namespace basalt::http
