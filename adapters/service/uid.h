// Pod UIDs as Kubernetes writes them, and back.
#pragma once

#include <string>
#include <string_view>

#include "scheduler-core/base/result.h"
#include "scheduler-core/workload/request.h"

namespace basalt::service {

// A UUID with its dashes or 32 hexadecimal digits, in either case; never all zero.
Result<PodUid> ParseUid(std::string_view text);
// 8-4-4-4-12 hexadecimal digits, lower case.
std::string UuidText(const PodUid& uid);
// What an engine calls a job of this name; 0 for the empty name only.
std::uint64_t JobOf(std::string_view name);

}  // namespace basalt::service
