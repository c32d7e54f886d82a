// Reads a pod as kubectl writes it (YAML or JSON): its containers' resources, annotations and node
// selector. Workloads with a pod template (Deployment, Job, ...) are read as one of their pods.
#pragma once

#include <string>

#include "devices/resources.h"
#include "scheduler-core/base/result.h"

namespace basalt::devices {

// Errors: no YAML or JSON, no pod, or a part that is not of the Kubernetes form, with
// file:line:column. Unknown keys are left out: a pod has many.
Result<PodResources> ReadPodFile(const std::string& file, const std::string& text);

}  // namespace basalt::devices
