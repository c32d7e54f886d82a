// The last use that was reported of each card and of each pod on a card. It enters no decision: it
// is shown beside what is allocated.
//
// Invariant: a sample is no newer than the server's time when it came, and pods are those that the
// engine holds.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "adapters/rpc/placement.pb.h"
#include "scheduler-core/base/units.h"
#include "scheduler-core/engine/engine.h"

namespace basalt::service {

// A scrape of one node has some KiB; of a federating Prometheus, its message must be cut in parts.
inline constexpr std::size_t kMaxExpositionBytes = std::size_t{4} << 20;

class UsageBook {
 public:
  struct Sample {
    SimTime time;
    std::int32_t compute_milli = -1;  // -1: not measured
    std::int64_t memory_mib = -1;
  };
  // A pod by namespace and name; empty: none that is known.
  using PodNamed = std::function<std::optional<PodUid>(const std::string&, const std::string&)>;

  // Samples older than the newest of the same card or pod are stale; cards are known by node and
  // UUID (of a MIG instance: before the '/'), or by place where they have none; pods by what the
  // engine holds. Of the exposition what traces/usage_names.h knows counts, the first row of the
  // table where several measure the same; lines that cannot be read count as unknown.
  placement::v1::ReportUsageResponse Report(const Engine& engine,
                                            const placement::v1::ReportUsageRequest& request,
                                            SimTime now, const PodNamed& named);
  void PodGone(const PodUid& uid);
  void NodeGone(const std::string& node);
  // What is older than this is forgotten.
  void Expire(SimTime before);
  const std::map<std::pair<std::string, std::string>, Sample>& cards() const { return cards_; }
  // By pod and card; without a card, the pod's on all of its cards.
  const std::map<std::pair<PodUid, std::string>, Sample>& pods() const { return pods_; }

 private:
  using Response = placement::v1::ReportUsageResponse;
  void TakeExposition(const Engine& engine, const placement::v1::ReportUsageRequest& request,
                      SimTime now, const PodNamed& named, Response* out);

  std::map<std::pair<std::string, std::string>, Sample> cards_;  // by node and UUID
  std::map<std::pair<PodUid, std::string>, Sample> pods_;
};

}  // namespace basalt::service
