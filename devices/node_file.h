// Reads a node as kubectl writes it (YAML or JSON), for `basalt devices node`: what the live server
// is told of it.
#pragma once

#include <string>

#include "devices/node_resources.h"
#include "scheduler-core/base/result.h"

namespace basalt::devices {

// Errors: no YAML or JSON, no node, or a part that is not of the Kubernetes form, with
// file:line:column. Unknown keys are left out. Taints that only discourage (PreferNoSchedule) count
// for nothing; a node without a Ready condition is ready.
Result<NodeResources> ReadNodeFile(const std::string& file, const std::string& text);

}  // namespace basalt::devices
