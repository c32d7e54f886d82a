// Runs a workload through an Engine by its public calls (propose, reserve, confirm, release,
// expire); there is no placement loop beside it, and no clock: simulated time goes in as `now`.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "scheduler-core/base/result.h"
#include "scheduler-core/engine/engine.h"
#include "sim/job_speed.h"
#include "sim/result.h"
#include "sim/workload.h"

namespace basalt::sim {

struct RunOptions {
  bool keep_map = false;
  bool explain_failures = true;   // count reasons for each failed shape at the end
  bool scan_every_node = false;   // the oracle: no index
  std::uint32_t audit_every = 0;  // audit after every n-th commit
  JournalSink* journal = nullptr;
  Executor* executor = nullptr;  // searches the domains of a gang; not owned
  int stop_at_percent = 0;       // saturation: stop once this much demand has arrived; 0: never
  std::function<void(Engine&)> inspect;  // called with the engine at the end of the run
};

// The order in which pods arrive in a saturation run, and the nodes' ranks.
struct Order {
  std::vector<std::uint32_t> pods;       // indexes into Workload::arrivals, repeats allowed
  std::vector<std::int64_t> node_ranks;  // by node; empty: as the workload says
};

// The ATC'23 method: shuffle the trace, then append pods drawn with replacement while the demand
// stays within `inflate_percent` of GPU capacity, or drop random pods until it is. The draw that
// would pass the target by its milli on one card ends the inflation, as published. The generator is
// ours (pcg), so orders are the authors' only when read from files. Without GPU capacity or demand
// the trace is only shuffled.
Order MakeSaturationOrder(const Workload& workload, std::uint64_t seed, int inflate_percent = 130);

// No departures, no queue: what does not fit is dropped. Sampled at every arrival; a point is the
// mean over the arrivals whose cumulative demand rounds to that percentage of capacity, with the
// rounding of the published analysis (fgd-and-traces, section 2.5).
Result<RunResult> RunSaturation(const Workload& workload, const ConfiguredPolicy& policy,
                                std::uint64_t seed, const Order& order, const RunOptions& options);

enum class QueueOrder : std::uint8_t {
  kFifo,      // the head waits, and all behind it
  kFifoSkip,  // those behind may pass a head that does not fit
  kEasy,      // they may if the head does not start later for it (sim/backfill.h)
};
struct ReplayOptions {
  QueueOrder queue = QueueOrder::kFifo;
  int points = 120;          // time buckets, each a time-weighted mean
  int backfill_depth = 100;  // kEasy: jobs behind the head that are looked at, each time
  // A job of several cards waits for so much of its best possible bandwidth, in percent; 0: takes
  // what there is. It is what `topology in node choice` costs and buys (docs/topology.md).
  int wait_for_bandwidth_pct = 0;
  SpeedOptions speed;
};

// Arrivals at their submit times, departures after their durations (longer where the placement's
// bandwidth is less than the best, by the job's communication share), a FIFO queue retried whenever
// capacity came free. A gang is one job. What can never fit is refused on arrival.
Result<RunResult> RunReplay(const Workload& workload, const ConfiguredPolicy& policy,
                            std::uint64_t seed, const ReplayOptions& replay,
                            const RunOptions& options);

// Decides again everything that a journal recorded, with the policy that it names (or `policy`),
// and compares each placement. `now`, events, confirms, releases and expiries are as recorded.
struct JournalReplay {
  std::size_t decisions = 0;
  std::size_t different = 0;
  std::string first_difference;  // empty when none
  Digest128 state_digest;
};
Result<JournalReplay> ReplayJournal(const JournalContents& journal, const Registry& registry,
                                    const std::string& policy = "");

// The cluster as it stands, for the card map. `pod_name` names a pod by its uid.
std::vector<MapNode> DrawMap(Engine& engine,
                             const std::function<std::string(const PodUid&)>& pod_name);

}  // namespace basalt::sim
