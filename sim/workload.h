// A trace made ready to simulate: nodes as the engine takes them, and one arrival a pod, with the
// distinct requests factored out. Made once a trace and shared, read-only, by every run on it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "scheduler-core/base/result.h"
#include "scheduler-core/cluster/fragmentation.h"
#include "scheduler-core/cluster/inventory.h"
#include "scheduler-core/workload/gang.h"
#include "scheduler-core/workload/request.h"
#include "traces/trace.h"

namespace basalt::sim {

struct Arrival {
  std::uint32_t request = 0;  // index into Workload::requests
  PodUid uid;
  std::uint64_t job = 0;
  std::int64_t submit_us = 0;
  std::int64_t duration_us = -1;  // -1: unknown, runs to the end
  std::int32_t gang = -1;         // index into Workload::gangs; -1: a pod by itself
  std::int16_t comm_milli = 0;    // share of the run time that is communication at best bandwidth
};

// A job whose pods are placed together or not at all. Its arrivals are [first, first + pods).
struct GangJob {
  std::string name;
  GangSpec spec;  // shapes are indexes into Workload::requests
  std::uint32_t first = 0;
  std::uint32_t pods = 0;
};

struct Workload {
  std::string name;
  std::vector<NodeSpec> nodes;         // ranks are positions in the node list unless the trace says
  std::vector<RequestSpec> requests;   // distinct
  std::vector<Arrival> arrivals;       // in row order
  std::vector<std::string> pod_names;  // by arrival
  std::vector<GangJob> gangs;
  std::map<int, std::string> tier_names;  // of the nodes' network paths, 1 the narrowest
  TargetWorkload target;                  // of all pods of the trace
  std::int64_t cards = 0;                 // of the cluster
  std::int64_t gpu_milli = 0;

  std::int64_t DemandMilli(std::uint32_t arrival) const {
    const RequestSpec& r = requests[arrivals[arrival].request];
    return std::int64_t{r.gpu_milli} * r.gpus;
  }
};

// The cluster half: nodes in row order. A node whose model is in topology/card_models.h still gets
// the memory that the trace gives, unknown stays unknown.
struct ClusterNodes {
  std::vector<NodeSpec> nodes;
  std::map<int, std::string> tier_names;
};
// What a node's `topology` column names, as a machine description (topology/synthetic.h). The
// catalog of machines is its caller's.
using MachineResolver = std::function<Result<std::string>(const std::string& name)>;
Result<ClusterNodes> NodesFromTrace(const std::vector<trace::Node>& nodes,
                                    const MachineResolver& resolve = nullptr);

// Errors name the row. A pod larger than any node is legal here: it is a request that fails.
Result<Workload> MakeWorkload(std::string name, ClusterNodes cluster,
                              const std::vector<trace::Job>& jobs,
                              const std::vector<trace::Task>& tasks, int target_percent = 95);

// Jobs of whole cards on machines of one type, for comparing card choices: `jobs` jobs of a size
// drawn from `sizes`, durations exponential with mean `mean_us`, Poisson arrivals at `load` of the
// cluster's cards (reference: topology.md, 5.4).
struct CardJobs {
  std::string machine;  // description; every node is one
  std::string card_model = "GPU";
  int nodes = 16;
  int jobs = 4000;
  std::vector<int> sizes{1, 2, 3, 4, 5, 6, 7, 8};
  double load = 0.9;
  std::int64_t mean_us = 3'600'000'000;
  int comm_milli = 0;
  std::uint64_t seed = 42;
};
Result<Workload> MakeCardJobs(const CardJobs& options);

}  // namespace basalt::sim
