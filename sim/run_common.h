// What saturation and replay share: an engine filled with the workload's nodes and shapes, and the
// bookkeeping at the end of a run.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "scheduler-core/engine/engine.h"
#include "sim/result.h"
#include "sim/simulator.h"
#include "sim/workload.h"

namespace basalt::sim {

struct PreparedRun {
  std::unique_ptr<Engine> engine;
  std::vector<ShapeId> shapes;  // by Workload::requests
};

// `ranks` by node, empty: the workload's. Nodes are added in rank order, so that the engine's
// columns are in the order in which ties are decided.
Result<PreparedRun> Prepare(const Workload& workload, const ConfiguredPolicy& policy,
                            std::uint64_t seed, const std::vector<std::int64_t>& ranks,
                            const RunOptions& options);

// Failed requests by shape.
class FailureTally {
 public:
  explicit FailureTally(const Workload& workload)
      : workload_(workload), entries_(workload.requests.size()) {}
  void Add(std::uint32_t request, OutcomeKind kind) {
    ++entries_[request].count;
    entries_[request].kind = kind;
  }
  // Explains each failed shape against the engine's present state.
  std::vector<FailedShape> Explain(Engine& engine, const std::vector<ShapeId>& shapes) const;

 private:
  struct Entry {
    std::int64_t count = 0;
    OutcomeKind kind = OutcomeKind::kWait;
  };
  const Workload& workload_;
  std::vector<Entry> entries_;
};

void FinishRun(Engine& engine, const FailureTally& failures, const std::vector<ShapeId>& shapes,
               const RunOptions& options, const std::function<std::string(const PodUid&)>& pod_name,
               RunResult& result);

}  // namespace basalt::sim
