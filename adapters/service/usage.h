// The last use that was reported of each card and pod. It enters no decision: it is shown beside
// what is allocated.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "adapters/rpc/placement.pb.h"
#include "scheduler-core/base/units.h"
#include "scheduler-core/engine/engine.h"

namespace basalt::service {

class UsageBook {
 public:
  struct Sample {
    SimTime time;
    std::int32_t compute_milli = -1;  // -1: not measured
    std::int64_t memory_mib = -1;
  };
  // Samples older than the newest of the same card or pod are stale; cards are known by node and
  // UUID (of a MIG instance: before the '/'), pods by what the engine holds.
  placement::v1::ReportUsageResponse Report(const Engine& engine,
                                            const placement::v1::ReportUsageRequest& request);
  void PodGone(const PodUid& uid) { pods_.erase(uid); }
  void NodeGone(const std::string& node);
  // What is older than this is forgotten.
  void Expire(SimTime before);
  const std::map<std::pair<std::string, std::string>, Sample>& cards() const { return cards_; }
  const std::map<PodUid, Sample>& pods() const { return pods_; }

 private:
  std::map<std::pair<std::string, std::string>, Sample> cards_;  // by node and UUID
  std::map<PodUid, Sample> pods_;
};

}  // namespace basalt::service
