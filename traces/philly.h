// Importer of the job list that Pollux (OSDI'21) and Sia (SOSP'23) derived from Microsoft's Philly
// trace (Jeon et al., USENIX ATC'19): one CSV, columns by name in any order; nothing depends on
// the file's name. Row order, which is not that of time, is kept.
//
//   timestamp   2017-10-09 07:01:55, local time of an unknown zone, taken as it is
//   duration    seconds, 1 or more
//   num_gpus    1..128, whole GPUs
//   gpu_time    duration x num_gpus, checked
//   cluster     the virtual cluster, which becomes the job's queue
//
// A job has one task "worker". More GPUs than the largest machine has make it a gang: so many
// replicas of 8 GPUs (of 4, 2 or 1 where 8 does not divide: 12 is 3 x 4), all or nothing.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "scheduler-core/base/result.h"
#include "traces/diagnostics.h"
#include "traces/trace.h"

namespace basalt::trace {

struct PhillyJobs {
  std::vector<Job> jobs;  // row i of the file is jobs[i] and tasks[i]; submit from the earliest, 0
  std::vector<Task> tasks;
  std::string first_submission;  // the earliest timestamp, as written
};

PhillyJobs ParsePhillyJobs(const std::string& name, std::string_view text,
                           Diagnostics* diagnostics);

// Asks for so many whole GPUs, 1 or more, as the head of this file says; leaves `split` alone.
void AskForGpus(std::int64_t gpus, Task* task);

// A stand-in for Philly's machine list, which is not published with the job list: the paper's 552
// machines with 8 and 2 GPUs, here 231 and 321, which makes 2,490 GPUs, in racks of one kind of
// machine (29 and 21, as even as can be). Counts by kind, racks, wiring, CPU and memory are
// assumptions.
std::vector<Node> PhillyNodes();

// With a manifest. Without `nodes_csv` (a canonical nodes.csv) the cluster is PhillyNodes().
Result<Trace> ImportPhilly(const std::string& nodes_csv, const std::string& jobs_csv);

}  // namespace basalt::trace
