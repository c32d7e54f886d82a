// Importer of the Standard Workload Format, version 2.2 (Feitelson's Parallel Workloads Archive):
// lines of 18 numbers between spaces, -1 for unknown, comments after ';', among them the header
// ("; UnixStartTime: 1136070024").
//
//   1 job, 2 submit, 3 wait, 4 run time, 5 processors, 6 CPU time used, 7 memory used (KB a
//   processor), 8 processors asked, 9 time asked, 10 memory asked (KB a processor), 11 status,
//   12 user, 13 group, 14 executable, 15 queue, 16 partition, 17 preceding job, 18 think time
//
// A job has one task "process" with a replica of one core for each processor, all or nothing.
#pragma once

#include "traces/diagnostics.h"
#include "traces/source.h"
#include "traces/trace.h"

namespace basalt::trace {

Trace ParseSwf(const SourceTexts& texts, Diagnostics* diagnostics);

}  // namespace basalt::trace
