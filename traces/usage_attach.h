// Prometheus' series become rows of the canonical trace: a pod finds its job, a card its node and
// the name it has in the trace, the calendar becomes the trace's own clock, and of several
// exporters that measured the same thing one is taken.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "scheduler-core/base/result.h"
#include "traces/trace.h"
#include "traces/usage_prometheus.h"

namespace basalt::trace {

struct AttachedUsage {
  std::vector<Usage> rows;
  std::size_t of_jobs = 0, of_cards = 0;  // points in rows, by what they are of
  // Points left out: of slices whose pod the trace does not have; with neither pod nor card;
  // doubled by an exporter that comes earlier in the table.
  std::size_t strangers = 0, nameless = 0, doubled = 0;
  // Cards named by UUID alone that were taken for the trace's in the order of first sight
  // (usage_cards.h).
  std::size_t cards_by_order = 0;
};

// A pod is of the job whose id is NAMESPACE/POD or POD; else, as Volcano names them, of the job JOB
// or NAMESPACE/JOB where POD is JOB-TASK-INDEX. What an exporter measures of a whole card counts
// for the pod in its labels only where no other pod has that card in the same input; otherwise it
// is of the card. Rows are in order of (job, task, replica, node, card, metric, time). Errors:
// points with a time, and a trace without time_zero.
Result<AttachedUsage> AttachUsage(const std::vector<UsageFile>& files, const Trace& trace);

}  // namespace basalt::trace
