// The offered load of a trace and how to change it: submissions move closer together or apart, and
// nothing else. Integers only: the same trace and load give the same result on every machine.
#pragma once

#include <cstdint>

#include "scheduler-core/base/result.h"
#include "traces/trace.h"

namespace basalt::trace {

// Of the GPU capacity, what the jobs would keep busy between the first and the last submission:
// sum of (GPUs x run time) / (capacity x span). 1 is all of it. An error when a submission, a job
// with GPUs' run time, or the capacity is unknown, or all jobs come at once.
Result<double> OfferedLoad(const Trace& trace);

// Moves the submissions, in proportion from the first on, such that the offered load is `load`
// (above 0, at most 100, counted in millionths). Run times stay; recorded starts and ends, which
// no longer fit, become unknown; the manifest gets a note.
Status ScaleLoad(Trace* trace, double load);

}  // namespace basalt::trace
