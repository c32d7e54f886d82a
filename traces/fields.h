// The columns of the canonical files, each table's said once and in file order. A visitor reads,
// writes or lists them: Text(name, string&), Number(name, integer&, Cell), Time(name, int64&),
// Share(name, int32& thousandths), Millionths(name, int64&).
// Internal to the canonical reader and writer.
#pragma once

#include <concepts>
#include <type_traits>

#include "traces/trace.h"

namespace basalt::trace {

enum class Cell {
  kMust,    // the column is required and no cell is empty
  kUsual,   // an absent column or empty cell means the field's default; always written
  kUnknown  // an absent column or empty cell means -1, which is written as an empty cell
};

template <class AnyNode, class Visitor>
  requires std::same_as<std::remove_const_t<AnyNode>, Node>
void VisitFields(AnyNode& node, Visitor& v) {
  v.Text("node_id", node.id, Cell::kMust);
  v.Number("rank", node.rank, Cell::kUnknown);
  v.Text("pool", node.pool);
  v.Text("model", node.model);
  v.Number("gpu_count", node.gpu_count, Cell::kMust);
  v.Number("gpu_milli", node.gpu_milli, Cell::kUsual);
  v.Number("gpu_mem_mib", node.gpu_mem_mib, Cell::kUnknown);
  v.Number("cpu_milli", node.cpu_milli, Cell::kMust);
  v.Number("memory_mib", node.memory_mib, Cell::kMust);
  v.Number("disk_mib", node.disk_mib, Cell::kUnknown);
  v.Number("nic_milli", node.nic_milli, Cell::kUnknown);
  v.Number("numa", node.numa, Cell::kUnknown);
  v.Text("rack", node.rack);
  v.Text("domains", node.domains);
  v.Text("topology", node.topology);
  v.Time("available_from_s", node.available_from_us);
  v.Time("available_until_s", node.available_until_us);
  v.Text("labels", node.labels);
  v.Text("extra", node.extra);
}

template <class AnyJob, class Visitor>
  requires std::same_as<std::remove_const_t<AnyJob>, Job>
void VisitFields(AnyJob& job, Visitor& v) {
  v.Text("job_id", job.id, Cell::kMust);
  v.Text("parent_id", job.parent_id);
  v.Text("tenant", job.tenant);
  v.Text("user", job.user);
  v.Text("queue", job.queue);
  v.Text("kind", job.kind);
  v.Text("priority_class", job.priority_class);
  v.Number("preemptible", job.preemptible, Cell::kUnknown);
  v.Time("submit_s", job.submit_us);
  v.Time("start_s", job.start_us);
  v.Time("end_s", job.end_us);
  v.Time("duration_s", job.duration_us);
  v.Time("walltime_limit_s", job.walltime_limit_us);
  v.Text("status", job.status);
  v.Text("status_raw", job.status_raw);
  v.Number("gpu_total_milli", job.gpu_total_milli, Cell::kUnknown);
  v.Number("cpu_total_milli", job.cpu_total_milli, Cell::kUnknown);
  v.Number("memory_total_mib", job.memory_total_mib, Cell::kUnknown);
  v.Number("node_count", job.node_count, Cell::kUnknown);
  v.Text("censor", job.censor);
  v.Share("comm_share", job.comm_milli);
  v.Text("required_tier", job.required_tier);
  v.Text("preferred_tier", job.preferred_tier);
  v.Text("extra", job.extra);
}

template <class AnyTask, class Visitor>
  requires std::same_as<std::remove_const_t<AnyTask>, Task>
void VisitFields(AnyTask& task, Visitor& v) {
  v.Text("job_id", task.job_id, Cell::kMust);
  v.Text("task", task.task, Cell::kMust);
  v.Number("replicas", task.replicas, Cell::kUsual);
  v.Number("gang_min", task.gang_min, Cell::kUnknown);
  v.Number("gpu_num", task.gpu_num, Cell::kMust);
  v.Number("gpu_milli", task.gpu_milli, Cell::kMust);
  v.Number("gpu_mem_mib", task.gpu_mem_mib, Cell::kUnknown);
  v.Text("gpu_spec", task.gpu_spec);
  v.Number("cpu_milli", task.cpu_milli, Cell::kMust);
  v.Number("memory_mib", task.memory_mib, Cell::kMust);
  v.Number("disk_mib", task.disk_mib, Cell::kUnknown);
  v.Number("nic_milli", task.nic_milli, Cell::kUnknown);
  v.Number("max_per_node", task.max_per_node, Cell::kUnknown);
  v.Text("colocate", task.colocate);
  v.Text("split", task.split);
  v.Text("extra", task.extra);
}

template <class AnyPlacement, class Visitor>
  requires std::same_as<std::remove_const_t<AnyPlacement>, Placement>
void VisitFields(AnyPlacement& placement, Visitor& v) {
  v.Text("job_id", placement.job_id, Cell::kMust);
  v.Text("task", placement.task, Cell::kMust);
  v.Number("replica", placement.replica, Cell::kMust);
  v.Number("attempt", placement.attempt, Cell::kUsual);
  v.Text("node_id", placement.node_id);
  v.Text("gpu_ids", placement.gpu_ids);
  v.Time("start_s", placement.start_us);
  v.Time("end_s", placement.end_us);
  v.Text("outcome", placement.outcome);
}

template <class AnyUsage, class Visitor>
  requires std::same_as<std::remove_const_t<AnyUsage>, Usage>
void VisitFields(AnyUsage& usage, Visitor& v) {
  v.Text("job_id", usage.job_id);
  v.Text("task", usage.task);
  v.Number("replica", usage.replica, Cell::kUnknown);
  v.Text("node_id", usage.node_id);
  v.Text("gpu_id", usage.gpu_id);
  v.Time("time_s", usage.time_us);
  v.Text("metric", usage.metric, Cell::kMust);
  v.Millionths("value", usage.value_micro);
}

template <class AnyQueue, class Visitor>
  requires std::same_as<std::remove_const_t<AnyQueue>, Queue>
void VisitFields(AnyQueue& queue, Visitor& v) {
  v.Text("name", queue.name, Cell::kMust);
  v.Text("parent", queue.parent);
  v.Number("weight", queue.weight, Cell::kUnknown);
  v.Text("guarantee", queue.guarantee);
  v.Text("deserved", queue.deserved);
  v.Text("capacity", queue.capacity);
  v.Text("extra", queue.extra);
}

template <class AnyCapacity, class Visitor>
  requires std::same_as<std::remove_const_t<AnyCapacity>, Capacity>
void VisitFields(AnyCapacity& capacity, Visitor& v) {
  v.Time("time_s", capacity.time_us);
  v.Text("pool", capacity.pool, Cell::kMust);
  v.Text("model", capacity.model);
  v.Number("gpu_count", capacity.gpu_count, Cell::kMust);
}

}  // namespace basalt::trace
