// What a shadow recorded, judged: the bindings of another scheduler against a policy's choices,
// each on the recorded state just before (scheduler-core/engine/shadow.h); and the same as a trace.
#pragma once

#include <string>

#include "scheduler-core/base/result.h"
#include "scheduler-core/engine/shadow.h"
#include "sim/recording.h"
#include "traces/trace.h"

namespace basalt::sim {

struct ShadowReport {
  std::string policy;
  bool measured = false;           // there was something to measure fragments against
  std::size_t target_classes = 0;  // at the end
  std::int64_t there_before = 0;   // pods on nodes when it began to look: not judged
  std::int64_t nodes = 0, cards = 0;
  SimTime begin, end;
  ShadowBook book;
  ShadowBook::Waiting waiting;  // at the end
};
// `policy` empty: the recorded one. Errors: as for ReplayRecording; nothing was judged in it.
Result<ShadowReport> ReportShadow(const SegmentSource& source, const Registry& registry,
                                  const std::string& policy = "");

// The canonical trace of what was seen, of any recording: nodes as described last, pods with their
// times and places, ids are their UIDs. Times begin with the recording.
Result<trace::Trace> TraceOfRecording(const SegmentSource& source);

}  // namespace basalt::sim
