// A recording of a live cluster (scheduler-core/engine/recording.h) in the simulator: decided again
// as it was, and driven again under other policies. Segments are read one at a time by the caller's
// function; each begins with a snapshot, so nothing depends on one that is missing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "scheduler-core/base/result.h"
#include "scheduler-core/engine/engine.h"
#include "scheduler-core/engine/recording.h"
#include "sim/result.h"
#include "sim/simulator.h"

namespace basalt::sim {

struct SegmentSource {
  std::size_t segments = 0;
  std::function<Result<RecordedSegment>(std::size_t)> read;
};

// The engine's options that a journal's first record tells.
Result<EngineOptions> OptionsOf(const PolicyRecord& record);
// As ReplayJournal, from a snapshot's state on.
Result<JournalReplay> ReplayJournalFrom(const std::string& snapshot, const JournalContents& journal,
                                        const Registry& registry, const std::string& policy);

struct RecordingReplay {
  std::size_t segments = 0;
  std::size_t without_decisions = 0;  // segments of which only the journal is there
  std::size_t decisions = 0;          // evictions among them
  std::size_t evictions = 0;
  std::size_t different = 0;
  std::string first_difference;  // empty when none
  // Of all decisions but evictions, as Engine::DecisionDigest makes it.
  Digest128 recorded, replayed;
  std::string policy;  // at the beginning
  SimTime begin, end;
  // A segment's end against the snapshot that the server wrote next. They differ where something is
  // missing in between: a crash that lost the journal's end, a full disk.
  std::size_t states = 0;
  std::size_t states_different = 0;
  std::string first_gap;
  Digest128 state_digest;  // at the end
};
// Decides everything again under the recorded policies, at the recorded times, and compares.
// Effects are the recorded ones. Errors: a segment that cannot be read; a policy that is none.
Result<RecordingReplay> ReplayRecording(const SegmentSource& source, const Registry& registry);

// One way the recorded day goes. Pods that were asked for are arrivals; arrivals = placed + waiting
// + refused + withdrawn.
struct WhatIfRun {
  std::string name;            // the policy; kAsItHappened
  std::string policy;          // expression
  std::int64_t arrivals = 0;   // pods
  std::int64_t placed = 0;     // ever
  std::int64_t waiting = 0;    // to the end, though they might have fitted one day
  std::int64_t refused = 0;    // to the end, as they fit nowhere even when empty
  std::int64_t withdrawn = 0;  // deleted before they were placed
  std::int64_t running = 0;    // of the placed, at the end
  std::int64_t gangs = 0, gangs_placed = 0;
  WaitTimes wait;  // of the pods that were placed
  // Means over the recorded time, and at its end. Percent of the cluster's GPU.
  double allocation_pct = 0, stranded_pct = 0, idle_cards = 0, waiting_pods = 0;
  double end_allocation_pct = 0, end_stranded_pct = 0;
  std::array<double, kStrandCauses> stranded_gpus{};  // mean, by cause
  Digest128 decision_digest;                          // n/a for kAsItHappened
};
inline constexpr const char* kAsItHappened = "as it happened";

struct WhatIf {
  std::int64_t foreign_pods = 0;  // never asked for; they stay where they were seen
  std::int64_t there_before = 0;  // pods in the first snapshot; they stay, too
  std::size_t target_classes = 0;
  bool target_from_day = false;  // else the recorded one
  SimTime begin, end;
  std::vector<WhatIfRun> runs;  // as it happened, then the policies
};
// Arrivals, ends and events of the nodes as recorded, placements by each policy. docs/serve.md says
// what is kept and what is not.
Result<WhatIf> DriveRecording(const SegmentSource& source, const Registry& registry,
                              const std::vector<std::string>& policies);

}  // namespace basalt::sim
