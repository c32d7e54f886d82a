// Importer of Alibaba's cluster-trace-gpu-v2023 ("openb", USENIX ATC'23): a node list and a pod
// list. Columns are found by name, in any order; nothing depends on a file's name. Row order is
// kept, because the published arrival orders (orders.h) are row numbers.
//
//   nodes: sn,cpu_milli,memory_mib,gpu,model           model is empty exactly when gpu is 0
//   pods:  name,cpu_milli,memory_mib,num_gpu,gpu_milli and, each optional, gpu_spec,qos,pod_phase,
//          creation_time,deletion_time,scheduled_time (seconds from a hidden origin)
//
// gpu_milli is per GPU: 0 exactly when num_gpu is 0, below 1000 only when num_gpu is 1. A pod
// becomes a job of the same name with one task "pod" of one replica.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "scheduler-core/base/result.h"
#include "traces/diagnostics.h"
#include "traces/trace.h"

namespace basalt::trace {

struct OpenbPods {
  std::vector<Job> jobs;  // row i of the file is jobs[i] and tasks[i]
  std::vector<Task> tasks;
};

// The halves, because one node list serves many pod lists. `source`, when given, gets the file's
// name and SHA-256.
Result<std::vector<Node>> ReadOpenbNodes(const std::string& path, SourceFile* source = nullptr);
Result<OpenbPods> ReadOpenbPods(const std::string& path, SourceFile* source = nullptr);

// Both, with a manifest.
Result<Trace> ImportOpenb(const std::string& nodes_csv, const std::string& pods_csv);

// The same on text, with all errors apart. `name` stands for the file in messages.
std::vector<Node> ParseOpenbNodes(const std::string& name, std::string_view text,
                                  Diagnostics* diagnostics);
OpenbPods ParseOpenbPods(const std::string& name, std::string_view text, Diagnostics* diagnostics);

}  // namespace basalt::trace
