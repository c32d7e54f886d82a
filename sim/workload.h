// A trace made ready to simulate: nodes as the engine takes them, and one arrival a pod, with the
// distinct requests factored out. Made once a trace and shared, read-only, by every run on it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "scheduler-core/base/result.h"
#include "scheduler-core/cluster/fragmentation.h"
#include "scheduler-core/cluster/inventory.h"
#include "scheduler-core/workload/request.h"
#include "traces/trace.h"

namespace basalt::sim {

struct Arrival {
  std::uint32_t request = 0;  // index into Workload::requests
  PodUid uid;
  std::uint64_t job = 0;
  std::int64_t submit_us = 0;
  std::int64_t duration_us = -1;  // -1: unknown, runs to the end
};

struct Workload {
  std::string name;
  std::vector<NodeSpec> nodes;         // ranks are positions in the node list unless the trace says
  std::vector<RequestSpec> requests;   // distinct
  std::vector<Arrival> arrivals;       // in row order
  std::vector<std::string> pod_names;  // by arrival
  TargetWorkload target;               // of all pods of the trace
  std::int64_t cards = 0;              // of the cluster
  std::int64_t gpu_milli = 0;

  std::int64_t DemandMilli(std::uint32_t arrival) const {
    const RequestSpec& r = requests[arrivals[arrival].request];
    return std::int64_t{r.gpu_milli} * r.gpus;
  }
};

// The cluster half: nodes in row order. A node whose model is in topology/card_models.h still gets
// the memory that the trace gives, unknown stays unknown.
Result<std::vector<NodeSpec>> NodesFromTrace(const std::vector<trace::Node>& nodes);

// Errors name the row. A pod larger than any node is legal here: it is a request that fails.
Result<Workload> MakeWorkload(std::string name, std::vector<NodeSpec> nodes,
                              const std::vector<trace::Job>& jobs,
                              const std::vector<trace::Task>& tasks, int target_percent = 95);

}  // namespace basalt::sim
