#include "sim/workload.h"

#include <fmt/format.h>

#include <map>
#include <unordered_map>

#include "scheduler-core/base/digest.h"

namespace basalt::sim {
namespace {

std::vector<std::string> SplitModels(const std::string& spec) {
  std::vector<std::string> models;
  for (std::size_t start = 0; start < spec.size();) {
    const std::size_t end = std::min(spec.find('|', start), spec.size());
    if (end > start) models.push_back(spec.substr(start, end - start));
    start = end + 1;
  }
  return models;
}

}  // namespace

Result<std::vector<NodeSpec>> NodesFromTrace(const std::vector<trace::Node>& rows) {
  if (rows.empty()) return Fail("nodes", "the cluster has no nodes");
  std::vector<NodeSpec> nodes;
  nodes.reserve(rows.size());
  std::int64_t row_number = 0;
  for (const trace::Node& row : rows) {
    NodeSpec node;
    node.name = row.id;
    node.rank = row.rank >= 0 ? row.rank : row_number;
    node.cpu_milli = row.cpu_milli;
    node.memory_mib = row.memory_mib;
    node.numa_nodes = row.numa > 0 ? row.numa : 1;
    for (const auto& [key, value] :
         {std::pair<const char*, const std::string&>{"rack", row.rack}, {"pool", row.pool}}) {
      if (!value.empty()) node.labels.push_back(LabelRequirement{key, value});
    }
    CardSpec card;
    card.model = row.model;
    card.compute_milli = row.gpu_milli;
    card.memory_mib = row.gpu_mem_mib > 0 ? row.gpu_mem_mib : 0;
    node.cards.assign(static_cast<std::size_t>(std::max(row.gpu_count, 0)), card);
    for (std::size_t i = 0; i < node.cards.size() && row.numa > 0; ++i) {
      node.cards[i].numa =
          static_cast<std::int32_t>(i * static_cast<std::size_t>(row.numa) / node.cards.size());
    }
    if (Status ok = ValidateNode(node, "node " + row.id); !ok) {
      return tl::unexpected<Error>(ok.error());
    }
    nodes.push_back(std::move(node));
    ++row_number;
  }
  return nodes;
}

Result<Workload> MakeWorkload(std::string name, std::vector<NodeSpec> nodes,
                              const std::vector<trace::Job>& jobs,
                              const std::vector<trace::Task>& tasks, int target_percent) {
  Workload out;
  out.name = std::move(name);
  out.nodes = std::move(nodes);
  for (const NodeSpec& node : out.nodes) {
    out.cards += static_cast<std::int64_t>(node.cards.size());
    for (const CardSpec& card : node.cards) out.gpu_milli += card.compute_milli;
  }
  if (tasks.empty()) return Fail(out.name, "the trace has no pods");
  std::unordered_map<std::string_view, const trace::Job*> job_by_id;
  job_by_id.reserve(jobs.size());
  for (const trace::Job& job : jobs) job_by_id.emplace(job.id, &job);
  std::map<RequestSpec, std::uint32_t> request_ids;
  std::vector<std::int64_t> counts;
  out.arrivals.reserve(tasks.size());
  out.pod_names.reserve(tasks.size());
  for (const trace::Task& task : tasks) {
    const auto found = job_by_id.find(task.job_id);
    if (found == job_by_id.end()) {
      return Fail(out.name, fmt::format("task of unknown job \"{}\"", task.job_id));
    }
    const trace::Job& job = *found->second;
    RequestSpec spec;
    spec.cpu_milli = task.cpu_milli;
    spec.memory_mib = task.memory_mib;
    spec.gpus = task.gpu_num;
    spec.gpu_milli = task.gpu_milli;
    spec.gpu_memory_mib = task.gpu_mem_mib > 0 ? task.gpu_mem_mib : 0;
    spec.models = SplitModels(task.gpu_spec);
    const auto [it, is_new] =
        request_ids.emplace(spec, static_cast<std::uint32_t>(out.requests.size()));
    if (is_new) {
      if (Status ok = ValidateRequest(spec, "pod " + task.job_id); !ok) {
        return tl::unexpected<Error>(ok.error());
      }
      out.requests.push_back(spec);
      counts.push_back(0);
    }
    const std::uint64_t job_key = DigestOf(task.job_id).lo | 1;
    for (std::int32_t replica = 0; replica < task.replicas; ++replica) {
      std::string pod = task.job_id;
      if (task.replicas > 1) pod += fmt::format("/{}/{}", task.task, replica);
      Arrival arrival;
      arrival.request = it->second;
      arrival.uid = PodUidFromName(pod);
      arrival.job = job_key;
      arrival.submit_us = job.submit_us == trace::kUnknownTime ? 0 : job.submit_us;
      const std::int64_t run_time = trace::RunTimeUs(job);
      if (run_time != trace::kUnknownTime) arrival.duration_us = run_time;
      out.arrivals.push_back(arrival);
      out.pod_names.push_back(std::move(pod));
      ++counts[it->second];
    }
  }
  std::vector<TargetWorkload::Counted> counted;
  for (std::size_t i = 0; i < out.requests.size(); ++i) {
    counted.push_back({out.requests[i], counts[i]});
  }
  out.target = TargetWorkload(counted, target_percent);
  return out;
}

}  // namespace basalt::sim
