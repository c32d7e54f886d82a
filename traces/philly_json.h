// Importer of Microsoft's Philly trace as published (Jeon et al., USENIX ATC'19): --jobs
// cluster_job_log, a JSON array, and optionally --nodes cluster_machine_list, a CSV of
// machineId,number of GPUs,single GPU mem (spaces after the commas are as published).
//
//   {"status": "Pass"|"Killed"|"Failed", "vc", "jobid", "user", "submitted_time",
//    "attempts": [{"start_time", "end_time", "detail": [{"ip", "gpus": ["gpu0", ...]}]}]}
//
// Times are "2017-10-09 07:01:55" of an unnamed zone, or "None" for unknown. A job asks for the
// GPUs of its first attempt, in replicas as they were then; every attempt is a placement for each
// machine.
#pragma once

#include "traces/diagnostics.h"
#include "traces/source.h"
#include "traces/trace.h"

namespace basalt::trace {

Trace ParsePhillyJson(const SourceTexts& texts, Diagnostics* diagnostics);

}  // namespace basalt::trace
