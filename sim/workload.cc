#include "sim/workload.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <unordered_map>

#include "scheduler-core/base/digest.h"
#include "scheduler-core/base/rng.h"
#include "scheduler-core/base/suggest.h"
#include "topology/synthetic.h"
#include "traces/domains.h"

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

// Level names from narrow to wide such that every node's own order holds, of those that are free in
// the order in which they are first named. An order that contradicts itself is the trace's fault.
Result<std::vector<std::string>> TierOrder(const std::vector<trace::Node>& rows) {
  std::vector<std::string> names;            // as first named
  std::vector<std::set<std::size_t>> after;  // by name: the narrower ones that it must follow
  const auto index_of = [&](std::string_view name) {
    const auto found = std::find(names.begin(), names.end(), name);
    if (found != names.end()) return static_cast<std::size_t>(found - names.begin());
    names.emplace_back(name);
    after.emplace_back();
    return names.size() - 1;
  };
  for (const trace::Node& row : rows) {
    std::size_t before = 0;
    bool first = true;
    for (const trace::Domain& domain : trace::DomainsOf(row)) {
      const std::size_t at = index_of(domain.tier);
      if (!first) after[at].insert(before);
      before = at;
      first = false;
    }
  }
  if (names.size() > static_cast<std::size_t>(topology::kMaxTiers)) {
    return Fail("nodes",
                fmt::format("{} network levels; at most {}", names.size(), topology::kMaxTiers));
  }
  std::vector<std::string> order;
  std::vector<char> placed(names.size(), 0);
  while (order.size() < names.size()) {
    std::size_t next = names.size();
    std::string left;
    for (std::size_t n = names.size(); n-- > 0;) {
      if (placed[n] != 0) continue;
      left = names[n] + (left.empty() ? "" : ", ") + left;
      const bool free = std::all_of(after[n].begin(), after[n].end(),
                                    [&](std::size_t narrower) { return placed[narrower] != 0; });
      if (free) next = n;
    }
    if (next == names.size()) {
      return Fail("nodes", "their domains contradict each other: which of the levels " + left +
                               " is narrower?");
    }
    placed[next] = 1;
    order.push_back(names[next]);
  }
  return order;
}

// A level of a gang by its name: "node", a tier's name, "cluster", or empty for `otherwise`.
Result<int> TierNamed(const std::map<int, std::string>& tiers, const std::string& name,
                      int otherwise, const std::string& job) {
  if (name.empty()) return otherwise;
  if (name == "node") return 0;
  if (name == "cluster") return kAnyTier;
  std::vector<std::string> names{"node", "cluster"};
  for (const auto& [tier, known] : tiers) {
    if (known == name) return tier;
    names.push_back(known);
  }
  return Fail("job " + job, "unknown network level " + SuggestText(name, names));
}

}  // namespace

Result<ClusterNodes> NodesFromTrace(const std::vector<trace::Node>& rows,
                                    const MachineResolver& resolve) {
  if (rows.empty()) return Fail("nodes", "the cluster has no nodes");
  const Result<std::vector<std::string>> tiers = TierOrder(rows);
  if (!tiers) return tl::unexpected<Error>(tiers.error());
  ClusterNodes out;
  for (std::size_t t = 0; t < tiers->size(); ++t) {
    out.tier_names[static_cast<int>(t) + 1] = (*tiers)[t];
  }
  std::map<std::string, std::string> machines;
  std::vector<NodeSpec>& nodes = out.nodes;
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
    for (auto& [key, value] : trace::LabelsOf(row)) {
      if (key == "rack" || key == "pool") continue;  // those are the columns
      node.labels.push_back(LabelRequirement{key, std::move(value)});
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
    for (const trace::Domain& domain : trace::DomainsOf(row)) {
      const auto tier = std::find(tiers->begin(), tiers->end(), domain.tier) - tiers->begin();
      node.network.push_back({static_cast<int>(tier) + 1, std::string(domain.name)});
    }
    if (!row.topology.empty()) {
      auto [known, is_new] = machines.try_emplace(row.topology);
      if (is_new) {
        Result<std::string> text = resolve ? resolve(row.topology) : row.topology;
        if (!text) {
          return Fail("node " + row.id, "topology: " + text.error().ToString());
        }
        known->second = std::move(*text);
      }
      node.machine = known->second;
    }
    if (Status ok = ValidateNode(node, "node " + row.id); !ok) {
      return tl::unexpected<Error>(ok.error());
    }
    nodes.push_back(std::move(node));
    ++row_number;
  }
  return out;
}

Result<Workload> MakeWorkload(std::string name, ClusterNodes cluster,
                              const std::vector<trace::Job>& jobs,
                              const std::vector<trace::Task>& tasks, int target_percent) {
  Workload out;
  out.name = std::move(name);
  out.nodes = std::move(cluster.nodes);
  out.tier_names = std::move(cluster.tier_names);
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
  // A job is a gang when a task of it must have more than one pod at once, or several tasks must.
  std::unordered_map<std::string_view, std::vector<const trace::Task*>> gang_tasks;
  for (const trace::Task& task : tasks) {
    if (task.gang_min > 0) gang_tasks[task.job_id].push_back(&task);
  }
  std::erase_if(gang_tasks, [](const auto& job) {
    return job.second.size() == 1 && job.second[0]->replicas == 1;
  });
  const auto add_task = [&](const trace::Task& task, const trace::Job& job,
                            std::int32_t gang) -> Result<std::uint32_t> {
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
      if (task.replicas > 1 || gang >= 0) pod += fmt::format("/{}/{}", task.task, replica);
      Arrival arrival;
      arrival.request = it->second;
      arrival.uid = PodUidFromName(pod);
      arrival.job = job_key;
      arrival.gang = gang;
      arrival.comm_milli = static_cast<std::int16_t>(std::max(job.comm_milli, 0));
      arrival.submit_us = job.submit_us == trace::kUnknownTime ? 0 : job.submit_us;
      const std::int64_t run_time = trace::RunTimeUs(job);
      if (run_time != trace::kUnknownTime) arrival.duration_us = run_time;
      out.arrivals.push_back(arrival);
      out.pod_names.push_back(std::move(pod));
      ++counts[it->second];
    }
    return it->second;
  };
  for (const trace::Task& task : tasks) {
    const auto found = job_by_id.find(task.job_id);
    if (found == job_by_id.end()) {
      return Fail(out.name, fmt::format("task of unknown job \"{}\"", task.job_id));
    }
    const trace::Job& job = *found->second;
    const auto together = gang_tasks.find(task.job_id);
    const bool in_gang = together != gang_tasks.end() && task.gang_min > 0;
    if (!in_gang) {
      for (const std::string* level : {&job.required_tier, &job.preferred_tier}) {
        const auto known = TierNamed(out.tier_names, *level, 0, job.id);
        if (!known) return tl::unexpected<Error>(known.error());
      }
      if (!job.required_tier.empty() && (task.replicas > 1 || together != gang_tasks.end())) {
        return Fail("job " + job.id, "requires the level " + job.required_tier + ", but its task " +
                                         task.task + " is of no gang; give it a gang_min");
      }
      if (const auto added = add_task(task, job, -1); !added) {
        return tl::unexpected<Error>(added.error());
      }
      continue;
    }
    if (together->second.front() != &task) continue;  // came with its gang's first task
    GangJob gang;
    gang.name = task.job_id;
    gang.first = static_cast<std::uint32_t>(out.arrivals.size());
    const auto required = TierNamed(out.tier_names, job.required_tier, kAnyTier, job.id);
    if (!required) return tl::unexpected<Error>(required.error());
    const auto preferred = TierNamed(out.tier_names, job.preferred_tier, 0, job.id);
    if (!preferred) return tl::unexpected<Error>(preferred.error());
    gang.spec.level = LevelWish{*preferred, *required};
    for (const trace::Task* member : together->second) {
      const auto request = add_task(*member, job, static_cast<std::int32_t>(out.gangs.size()));
      if (!request) return tl::unexpected<Error>(request.error());
      GangTask part;
      part.name = member->task;
      part.shape = ShapeId(*request);
      part.min = member->gang_min;
      part.max = member->replicas;
      gang.spec.tasks.push_back(std::move(part));
    }
    if (Status ok = ValidateGang(gang.spec, "job " + job.id); !ok) {
      return tl::unexpected<Error>(ok.error());
    }
    gang.pods = static_cast<std::uint32_t>(out.arrivals.size()) - gang.first;
    out.gangs.push_back(std::move(gang));
  }
  std::vector<std::pair<PodUid, std::uint32_t>> uids;
  uids.reserve(out.arrivals.size());
  for (std::uint32_t i = 0; i < out.arrivals.size(); ++i) uids.emplace_back(out.arrivals[i].uid, i);
  std::sort(uids.begin(), uids.end());
  const auto twice = std::adjacent_find(
      uids.begin(), uids.end(), [](const auto& a, const auto& b) { return a.first == b.first; });
  if (twice != uids.end()) {
    return Fail(out.name, fmt::format("two pods are called \"{}\"; rename a job or a task",
                                      out.pod_names[twice->second]));
  }
  std::vector<TargetWorkload::Counted> counted;
  for (std::size_t i = 0; i < out.requests.size(); ++i) {
    counted.push_back({out.requests[i], counts[i]});
  }
  out.target = TargetWorkload(counted, target_percent);
  return out;
}

Result<Workload> MakeCardJobs(const CardJobs& options) {
  Result<topology::MachineGraph> graph = topology::ParseGraph(options.machine);
  if (!graph) return tl::unexpected<Error>(graph.error());
  ClusterNodes cluster;
  for (int n = 0; n < options.nodes; ++n) {
    NodeSpec node;
    node.name = fmt::format("node-{:04}", n);
    node.rank = n;
    node.cpu_milli = 1'000'000;
    node.memory_mib = 1'000'000;
    node.machine = options.machine;
    CardSpec card;
    card.model = options.card_model;
    node.cards.assign(static_cast<std::size_t>(graph->cards()), card);
    cluster.nodes.push_back(std::move(node));
  }
  Rng rng(options.seed, 7);
  const auto exponential = [&rng](double mean) { return -std::log1p(-rng.Unit()) * mean; };
  double mean_size = 0;
  for (const int size : options.sizes) mean_size += size;
  mean_size /= static_cast<double>(options.sizes.size());
  const double cards = static_cast<double>(options.nodes) * graph->cards();
  const double gap = mean_size * static_cast<double>(options.mean_us) / (cards * options.load);
  std::vector<trace::Job> jobs;
  std::vector<trace::Task> tasks;
  double at = 0;
  for (int j = 0; j < options.jobs; ++j) {
    at += exponential(gap);
    trace::Job job;
    job.id = fmt::format("job-{:06}", j);
    job.submit_us = static_cast<std::int64_t>(at);
    job.duration_us = std::max<std::int64_t>(
        1, static_cast<std::int64_t>(exponential(static_cast<double>(options.mean_us))));
    job.comm_milli = options.comm_milli;
    trace::Task task;
    task.job_id = job.id;
    task.task = "worker";
    const auto pick = rng.Below(static_cast<std::uint32_t>(options.sizes.size()));
    task.gpu_num = options.sizes[pick];
    task.gpu_milli = kWholeCard;
    jobs.push_back(std::move(job));
    tasks.push_back(std::move(task));
  }
  return MakeWorkload(fmt::format("{} nodes, load {:g}", options.nodes, options.load),
                      std::move(cluster), jobs, tasks);
}

}  // namespace basalt::sim
