// The canonical trace: what every importer produces, the simulator replays and `basalt trace`
// reads, writes and checks. On disk it is a directory with manifest.json, nodes.csv, jobs.csv,
// tasks.csv and, where the source knows them, placements.csv, usage.csv, queues.csv and
// capacity.csv (docs/traces.md); in memory it is this. Units are in the field names; times are
// microseconds since the manifest's time_zero; an unknown time is kUnknownTime, 0 is a value.
// Importers do not invent: what a source does not say stays unknown (empty, or -1 for amounts).
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "scheduler-core/base/units.h"

namespace basalt::trace {

inline constexpr std::int64_t kUnknownTime = std::numeric_limits<std::int64_t>::min();

struct Node {
  std::string id;          // unique
  std::int64_t rank = -1;  // tie order: the smaller wins; -1: unknown, the row number is used
  std::string pool;
  std::string model;           // card model; empty when there are no cards
  std::int32_t gpu_count = 0;  // cards, 0..64
  MilliGpu gpu_milli = kWholeCard;
  MiB gpu_mem_mib = -1;  // per card; -1 unknown (then card memory is not scheduled)
  MilliCpu cpu_milli = 0;
  MiB memory_mib = 0;
  MiB disk_mib = -1;
  std::int32_t nic_milli = -1;
  std::int32_t numa = -1;  // NUMA nodes; -1 unknown
  std::string rack;        // the rack domain
  std::string domains;     // "nvlink=c0;rack=r1;zone=z0", narrow to wide (domains.h); or empty
  std::string topology;    // name of the machine type, or a synthetic description
  std::int64_t available_from_us = kUnknownTime;
  std::int64_t available_until_us = kUnknownTime;
  std::string labels;  // a JSON object, or empty
  std::string extra;   // likewise: what the source says beyond the columns
  friend bool operator==(const Node&, const Node&) = default;
};

struct Job {
  std::string id;  // unique
  std::string parent_id, tenant, user, queue, kind, priority_class;
  std::int32_t preemptible = -1;  // 0, 1, -1 unknown
  std::int64_t submit_us = kUnknownTime, start_us = kUnknownTime, end_us = kUnknownTime;
  std::int64_t duration_us = kUnknownTime, walltime_limit_us = kUnknownTime;
  std::string status, status_raw;
  std::int64_t gpu_total_milli = -1, cpu_total_milli = -1, memory_total_mib = -1;
  std::int32_t node_count = -1;
  std::string censor;  // "", left, right, both
  // Thousandths of the run time that are communication at the best bandwidth; -1 unknown.
  std::int32_t comm_milli = -1;
  // Names of tiers (node, nvlink, rack, spine, zone, ...) in one domain of which all of the job
  // must, or should, be; empty: none.
  std::string required_tier, preferred_tier;
  std::string extra;  // a JSON object, or empty
  friend bool operator==(const Job&, const Job&) = default;
};

struct Task {
  std::string job_id;  // a Job's id
  std::string task;    // unique within the job
  std::int32_t replicas = 1;
  std::int32_t gang_min = -1;
  std::int32_t gpu_num = 0;
  MilliGpu gpu_milli = 0;  // per card, 0..1000; 0 exactly when gpu_num is 0
  MiB gpu_mem_mib = -1;    // per card; -1 not asked
  std::string gpu_spec;    // allowed models "A|B"; empty: any
  MilliCpu cpu_milli = 0;
  MiB memory_mib = 0;
  MiB disk_mib = -1;
  std::int32_t nic_milli = -1, max_per_node = -1;
  std::string colocate;  // "", none, node, nvlink, numa, rack
  std::string split;     // "", exact, assumed
  std::string extra;
  friend bool operator==(const Task&, const Task&) = default;
};

// One replica of a task in one place: an attempt to run it, or where it is in a snapshot.
struct Placement {
  std::string job_id, task;  // of a Task
  std::int32_t replica = 0;  // 0-based; where the source has more than the task says, above it
  std::int32_t attempt = 0;  // 0-based
  std::string node_id;       // empty: unknown; need not be in the node list, which may be partial
  std::string gpu_ids;       // "0;1;2", names as the source has them; empty: unknown or none
  std::int64_t start_us = kUnknownTime, end_us = kUnknownTime;
  std::string outcome;  // the source's own word
  friend bool operator==(const Placement&, const Placement&) = default;
};

// One measurement. Allocation is a task's request, usage is what was measured: never the same.
struct Usage {
  std::string job_id, task;   // task empty: of the whole job; both empty: of the node
  std::int32_t replica = -1;  // -1: unknown, or all
  std::string node_id, gpu_id;
  std::int64_t time_us = kUnknownTime;  // unknown: of the whole run
  std::string metric;                   // with its unit: gpu_util_pct, gpu_mem_mib, ...
  std::int64_t value_micro = 0;         // millionths of the unit
  friend bool operator==(const Usage&, const Usage&) = default;
};

// A queue of the source's scheduler. Amounts stay in the source's words: which resources there are
// is its business.
struct Queue {
  std::string name, parent;                   // empty parent: the root
  std::int64_t weight = -1;                   // -1 unknown
  std::string guarantee, deserved, capacity;  // JSON objects, resource -> quantity; empty: unknown
  std::string extra;
  friend bool operator==(const Queue&, const Queue&) = default;
};

// How many cards a pool had from a time on, until its next row.
struct Capacity {
  std::int64_t time_us = kUnknownTime;
  std::string pool, model;
  std::int64_t gpu_count = 0;
  friend bool operator==(const Capacity&, const Capacity&) = default;
};

struct SourceFile {
  std::string name;    // as given by the user, without its folder
  std::string sha256;  // of the bytes as read (before decompression)
  friend bool operator==(const SourceFile&, const SourceFile&) = default;
};

struct Manifest {
  std::string source, licence, attribution;
  std::string time_zero;  // ISO 8601 with zone; empty: unknown
  std::vector<SourceFile> files;
  std::string importer;            // name and version
  std::vector<std::string> notes;  // what was lost or assumed
  friend bool operator==(const Manifest&, const Manifest&) = default;
};

struct Trace {
  Manifest manifest;
  std::vector<Node> nodes;
  std::vector<Job> jobs;
  std::vector<Task> tasks;  // in file order; the tasks of one job need not be adjacent
  std::vector<Placement> placements;
  std::vector<Usage> usage;
  std::vector<Queue> queues;
  std::vector<Capacity> capacity;
  friend bool operator==(const Trace&, const Trace&) = default;
};

// How long the job ran: its duration where the source states one, else end - start, else unknown.
// The two can differ in real traces (pauses, restarts), so both are kept and this one rule picks.
inline std::int64_t RunTimeUs(const Job& job) {
  if (job.duration_us != kUnknownTime) return job.duration_us;
  if (job.start_us == kUnknownTime || job.end_us == kUnknownTime) return kUnknownTime;
  return job.end_us - job.start_us;
}

}  // namespace basalt::trace
