#include "traces/check.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <map>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <utility>

#include "traces/canonical.h"
#include "traces/domains.h"
#include "traces/limits.h"
#include "traces/text.h"

namespace basalt::trace {
namespace {

// Applies one kind of rule to one field after another; says which field broke it.
class Rules {
 public:
  explicit Rules(const FieldReport& report) : report_(report) {}

  void Id(std::string_view field, const std::string& text) {
    if (text.empty()) report_(field, "is empty; every row needs one");
    Name(field, text);
  }
  void Name(std::string_view field, const std::string& text) { Bytes(field, text, kMaxNameBytes); }
  void Json(std::string_view field, const std::string& text) {
    if (text.empty() || !Bytes(field, text, kMaxJsonBytes)) return;
    if (text[text.find_first_not_of(" \t\r\n") % text.size()] != '{' ||
        !nlohmann::json::accept(text)) {
      report_(field, "is not a JSON object; write one such as {\"zone\":\"a\"}, or nothing");
    }
  }
  bool Bytes(std::string_view field, const std::string& text, std::size_t most) {
    if (text.size() > most) {
      report_(field, "is longer than " + std::to_string(most) + " bytes; shorten it");
      return false;
    }
    if (IsUtf8WithoutNul(text)) return true;
    report_(field, "is not valid UTF-8 or holds a NUL byte");
    return false;
  }
  void Range(std::string_view field, std::int64_t value, std::int64_t low, std::int64_t high) {
    if (value >= low && value <= high) return;
    report_(field, "is " + std::to_string(value) + "; the range is " + std::to_string(low) + ".." +
                       std::to_string(high));
  }
  void RangeOrUnknown(std::string_view field, std::int64_t value, std::int64_t low,
                      std::int64_t high) {
    if (value != -1) Range(field, value, low, high);
  }
  void Time(std::string_view field, std::int64_t us) {
    if (us != kUnknownTime && (us > kMaxTimeUs || us < -kMaxTimeUs)) {
      report_(field, "is out of range; the largest is 1000000000000 seconds");
    }
  }
  void Duration(std::string_view field, std::int64_t us) {
    Time(field, us);
    if (us != kUnknownTime && us < 0) report_(field, "is negative; a duration starts at 0");
  }
  void Ordered(std::string_view field, std::int64_t begin_us, std::int64_t end_us,
               std::string_view begin_field) {
    if (begin_us == kUnknownTime || end_us == kUnknownTime || end_us >= begin_us) return;
    report_(field, "is before " + std::string(begin_field) + "; swap or correct them");
  }
  void OneOf(std::string_view field, const std::string& text,
             std::initializer_list<std::string_view> words) {
    if (text.empty() || std::ranges::find(words, text) != words.end()) return;
    std::string known;
    for (const std::string_view word : words) {
      if (!known.empty()) known += ", ";
      known += word;
    }
    report_(field, "has the unknown value " + Quoted(text) + DidYouMean(text, words, ";") +
                       " known: " + known + ", or empty");
  }
  void Tier(std::string_view field, const std::string& text) {
    Name(field, text);
    if (text.find_first_of("=;") != std::string::npos) {
      report_(field, Quoted(text) + " is not the name of a tier; write one, such as rack");
    }
  }
  void Report(std::string_view field, std::string message) { report_(field, std::move(message)); }

 private:
  const FieldReport& report_;
};

bool IsDigits(std::string_view text, std::size_t from, std::size_t count) {
  if (text.size() < from + count) return false;
  return std::ranges::all_of(text.substr(from, count), [](char c) { return c >= '0' && c <= '9'; });
}

// 2017-08-07T00:00:00[.fraction](Z|+08:00): the shape, not the calendar.
bool IsInstant(std::string_view text) {
  if (text.size() < 20) return false;
  constexpr std::string_view kShape = "dddd-dd-ddTdd:dd:dd";
  for (std::size_t i = 0; i < kShape.size(); ++i) {
    if (kShape[i] == 'd' ? !IsDigits(text, i, 1) : text[i] != kShape[i]) return false;
  }
  std::size_t at = kShape.size();
  if (text[at] == '.') {
    const std::size_t from = ++at;
    while (IsDigits(text, at, 1)) ++at;
    if (at == from) return false;
  }
  const std::string_view zone = text.substr(at);
  return zone == "Z" || (zone.size() == 6 && (zone[0] == '+' || zone[0] == '-') &&
                         IsDigits(zone, 1, 2) && zone[3] == ':' && IsDigits(zone, 4, 2));
}

std::string RowLabel(Table table, std::size_t row) {
  return std::string(kTableNames[static_cast<std::size_t>(table)]) + '[' + std::to_string(row) +
         ']';
}

}  // namespace

void CheckNode(const Node& node, const FieldReport& report) {
  Rules rules(report);
  rules.Id("node_id", node.id);
  rules.RangeOrUnknown("rank", node.rank, 0, kMaxAmount);
  rules.Name("pool", node.pool);
  rules.Name("model", node.model);
  if (node.model.find('|') != std::string::npos) {
    rules.Report("model", "holds a |, which separates the models of a gpu_spec; rename it");
  }
  rules.Range("gpu_count", node.gpu_count, 0, kMaxCards);
  if (node.gpu_count == 0 && !node.model.empty()) {
    rules.Report("model", "names " + Quoted(node.model) +
                              " but gpu_count is 0; leave it empty or give the node cards");
  }
  rules.Range("gpu_milli", node.gpu_milli, 1, kWholeCard);
  rules.RangeOrUnknown("gpu_mem_mib", node.gpu_mem_mib, 1, kMaxAmount);
  rules.Range("cpu_milli", node.cpu_milli, 0, kMaxAmount);
  rules.Range("memory_mib", node.memory_mib, 0, kMaxAmount);
  rules.RangeOrUnknown("disk_mib", node.disk_mib, 0, kMaxAmount);
  rules.RangeOrUnknown("nic_milli", node.nic_milli, 0, kMaxSmall);
  rules.RangeOrUnknown("numa", node.numa, 1, kMaxSmall);
  rules.Name("rack", node.rack);
  rules.Name("domains", node.domains);
  if (std::string fault = DomainsFault(node); !fault.empty()) {
    rules.Report("domains", std::move(fault));
  }
  rules.Name("topology", node.topology);
  rules.Time("available_from_s", node.available_from_us);
  rules.Time("available_until_s", node.available_until_us);
  rules.Ordered("available_until_s", node.available_from_us, node.available_until_us,
                "available_from_s");
  rules.Json("labels", node.labels);
  rules.Json("extra", node.extra);
}

void CheckJob(const Job& job, const FieldReport& report) {
  Rules rules(report);
  rules.Id("job_id", job.id);
  rules.Name("parent_id", job.parent_id);
  rules.Name("tenant", job.tenant);
  rules.Name("user", job.user);
  rules.Name("queue", job.queue);
  rules.Name("kind", job.kind);
  rules.Name("priority_class", job.priority_class);
  rules.RangeOrUnknown("preemptible", job.preemptible, 0, 1);
  rules.Time("submit_s", job.submit_us);
  rules.Time("start_s", job.start_us);
  rules.Time("end_s", job.end_us);
  rules.Ordered("end_s", job.start_us, job.end_us, "start_s");
  rules.Duration("duration_s", job.duration_us);
  rules.Duration("walltime_limit_s", job.walltime_limit_us);
  rules.OneOf("status", job.status,
              {"completed", "failed", "cancelled", "timeout", "node_fail", "evicted", "running",
               "pending"});
  rules.Name("status_raw", job.status_raw);
  rules.RangeOrUnknown("gpu_total_milli", job.gpu_total_milli, 0, kMaxAmount);
  rules.RangeOrUnknown("cpu_total_milli", job.cpu_total_milli, 0, kMaxAmount);
  rules.RangeOrUnknown("memory_total_mib", job.memory_total_mib, 0, kMaxAmount);
  rules.RangeOrUnknown("node_count", job.node_count, 0, kMaxReplicas);
  rules.OneOf("censor", job.censor, {"left", "right", "both"});
  rules.RangeOrUnknown("comm_share", job.comm_milli, 0, 1000);
  rules.Tier("required_tier", job.required_tier);
  rules.Tier("preferred_tier", job.preferred_tier);
  rules.Json("extra", job.extra);
}

void CheckTask(const Task& task, const FieldReport& report) {
  Rules rules(report);
  rules.Id("job_id", task.job_id);
  rules.Id("task", task.task);
  rules.Range("replicas", task.replicas, 1, kMaxReplicas);
  if (task.gang_min != -1) {
    rules.Range("gang_min", task.gang_min, 0, std::clamp(task.replicas, 1, kMaxReplicas));
  }
  rules.Range("gpu_num", task.gpu_num, 0, kMaxCards);
  rules.Range("gpu_milli", task.gpu_milli, 0, kWholeCard);
  if ((task.gpu_num == 0) != (task.gpu_milli == 0)) {
    rules.Report("gpu_milli", task.gpu_num == 0
                                  ? "must be 0 when gpu_num is 0"
                                  : "is 0 but gpu_num is not; write the milli-GPU wanted of each "
                                    "card, 1..1000");
  }
  rules.RangeOrUnknown("gpu_mem_mib", task.gpu_mem_mib, 0, kMaxAmount);
  rules.Name("gpu_spec", task.gpu_spec);
  if (!task.gpu_spec.empty() && (task.gpu_spec.front() == '|' || task.gpu_spec.back() == '|' ||
                                 task.gpu_spec.find("||") != std::string::npos)) {
    rules.Report("gpu_spec",
                 "has an empty alternative in " + Quoted(task.gpu_spec) + "; write models as A|B");
  }
  rules.Range("cpu_milli", task.cpu_milli, 0, kMaxAmount);
  rules.Range("memory_mib", task.memory_mib, 0, kMaxAmount);
  rules.RangeOrUnknown("disk_mib", task.disk_mib, 0, kMaxAmount);
  rules.RangeOrUnknown("nic_milli", task.nic_milli, 0, kMaxSmall);
  rules.RangeOrUnknown("max_per_node", task.max_per_node, 1, kMaxReplicas);
  rules.OneOf("colocate", task.colocate, {"none", "node", "nvlink", "numa", "rack"});
  rules.OneOf("split", task.split, {"exact", "assumed"});
  rules.Json("extra", task.extra);
}

void CheckPlacement(const Placement& placement, const FieldReport& report) {
  Rules rules(report);
  rules.Id("job_id", placement.job_id);
  rules.Id("task", placement.task);
  rules.Range("replica", placement.replica, 0, kMaxReplicas);
  rules.Range("attempt", placement.attempt, 0, kMaxReplicas);
  rules.Name("node_id", placement.node_id);
  rules.Name("gpu_ids", placement.gpu_ids);
  if (!placement.gpu_ids.empty() &&
      (placement.gpu_ids.front() == ';' || placement.gpu_ids.back() == ';' ||
       placement.gpu_ids.find(";;") != std::string::npos)) {
    rules.Report("gpu_ids",
                 "has an empty name in " + Quoted(placement.gpu_ids) + "; write cards as 0;1;2");
  }
  rules.Time("start_s", placement.start_us);
  rules.Time("end_s", placement.end_us);
  rules.Ordered("end_s", placement.start_us, placement.end_us, "start_s");
  rules.Name("outcome", placement.outcome);
}

void CheckUsage(const Usage& usage, const FieldReport& report) {
  Rules rules(report);
  rules.Name("job_id", usage.job_id);
  rules.Name("task", usage.task);
  rules.Name("node_id", usage.node_id);
  if (usage.job_id.empty() && usage.node_id.empty()) {
    rules.Report("job_id", "and node_id are both empty; say what was measured");
  }
  if (usage.job_id.empty() && !usage.task.empty()) {
    rules.Report("task", "is there without a job_id; name the job or drop the task");
  }
  rules.RangeOrUnknown("replica", usage.replica, 0, kMaxReplicas);
  rules.Name("gpu_id", usage.gpu_id);
  rules.Time("time_s", usage.time_us);
  rules.Id("metric", usage.metric);
  if (!std::ranges::all_of(usage.metric, [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
      })) {
    rules.Report("metric", Quoted(usage.metric) +
                               " is not a name; write small letters, digits and _, such as "
                               "gpu_util_pct");
  }
  rules.Range("value", usage.value_micro, 0, kMaxTimeUs);
}

void CheckQueue(const Queue& queue, const FieldReport& report) {
  Rules rules(report);
  rules.Id("name", queue.name);
  rules.Name("parent", queue.parent);
  if (queue.parent == queue.name && !queue.name.empty()) {
    rules.Report("parent", "is the queue itself; name another or none");
  }
  rules.RangeOrUnknown("weight", queue.weight, 0, kMaxAmount);
  rules.Json("guarantee", queue.guarantee);
  rules.Json("deserved", queue.deserved);
  rules.Json("capacity", queue.capacity);
  rules.Json("extra", queue.extra);
}

void CheckCapacity(const Capacity& capacity, const FieldReport& report) {
  Rules rules(report);
  rules.Time("time_s", capacity.time_us);
  rules.Id("pool", capacity.pool);
  rules.Name("model", capacity.model);
  rules.Range("gpu_count", capacity.gpu_count, 0, kMaxAmount);
}

void CheckManifest(const Manifest& manifest, const FieldReport& report) {
  Rules rules(report);
  rules.Bytes("source", manifest.source, kMaxJsonBytes);
  rules.Bytes("licence", manifest.licence, kMaxJsonBytes);
  rules.Bytes("attribution", manifest.attribution, kMaxJsonBytes);
  rules.Bytes("importer", manifest.importer, kMaxJsonBytes);
  if (!manifest.time_zero.empty() && !IsInstant(manifest.time_zero)) {
    rules.Report("time_zero", Quoted(manifest.time_zero) +
                                  " is not ISO 8601 with a zone, such as 2017-10-03T00:00:00Z");
  }
  for (const SourceFile& file : manifest.files) {
    rules.Id("files", file.name);
    const bool hex = file.sha256.size() == 64 && std::ranges::all_of(file.sha256, [](char c) {
                       return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
                     });
    if (!hex)
      rules.Report("files", "the sha256 of " + Quoted(file.name) +
                                " must be 64 lower-case hexadecimal digits");
  }
  for (const std::string& note : manifest.notes) rules.Bytes("notes", note, kMaxJsonBytes);
}

void CheckReferences(const Trace& trace, const RowName& name, const RowReport& report) {
  if (trace.nodes.empty() && trace.jobs.empty()) {
    report(Table::kNodes, 0, "", "the trace has no nodes and no jobs; it holds nothing");
  }
  using RowById = std::unordered_map<std::string_view, std::size_t>;
  const auto index = [&](const auto& rows, Table table, std::string_view field) {
    RowById by_id;
    by_id.reserve(rows.size());
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const auto [it, added] = by_id.emplace(rows[i].id, i);
      if (!added) {
        report(table, i, field,
               Quoted(rows[i].id) + " is already the id of " + name(table, it->second) +
                   "; ids must be unique");
      }
    }
    return by_id;
  };
  index(trace.nodes, Table::kNodes, "node_id");
  const RowById jobs = index(trace.jobs, Table::kJobs, "job_id");

  constexpr std::size_t kNone = ~std::size_t{0};
  std::vector<std::size_t> first_task(trace.jobs.size(), kNone);
  // Only jobs with several tasks need the map.
  std::map<std::pair<std::size_t, std::string_view>, std::size_t> tasks;
  for (std::size_t i = 0; i < trace.tasks.size(); ++i) {
    const Task& task = trace.tasks[i];
    const auto job = jobs.find(task.job_id);
    if (job == jobs.end()) {
      report(Table::kTasks, i, "job_id",
             "there is no job " + Quoted(task.job_id) + "; add it to the jobs or correct the id");
      continue;
    }
    std::size_t& first = first_task[job->second];
    if (first == kNone) {
      first = i;
      continue;
    }
    tasks.emplace(std::pair(job->second, std::string_view(trace.tasks[first].task)), first);
    const auto [it, added] = tasks.emplace(std::pair(job->second, std::string_view(task.task)), i);
    if (!added) {
      report(Table::kTasks, i, "task",
             "job " + Quoted(task.job_id) + " already has the task " + Quoted(task.task) + " in " +
                 name(Table::kTasks, it->second));
    }
  }
  // Whether the job and its task exist; an empty task is any.
  const auto refer = [&](Table table, std::size_t row, const std::string& id,
                         const std::string& task) {
    const auto job = jobs.find(id);
    if (job == jobs.end()) {
      report(table, row, "job_id",
             "there is no job " + Quoted(id) + "; add it to the jobs or correct the id");
      return;
    }
    const std::size_t first = first_task[job->second];
    if (task.empty() || (first != kNone && trace.tasks[first].task == task) ||
        tasks.contains(std::pair(job->second, std::string_view(task)))) {
      return;
    }
    report(table, row, "task",
           "job " + Quoted(id) + " has no task " + Quoted(task) + "; correct the name");
  };
  for (std::size_t i = 0; i < trace.placements.size(); ++i) {
    refer(Table::kPlacements, i, trace.placements[i].job_id, trace.placements[i].task);
  }
  for (std::size_t i = 0; i < trace.usage.size(); ++i) {
    const Usage& usage = trace.usage[i];
    if (!usage.job_id.empty()) refer(Table::kUsage, i, usage.job_id, usage.task);
  }
  RowById queues;
  for (std::size_t i = 0; i < trace.queues.size(); ++i) {
    const auto [it, added] = queues.emplace(trace.queues[i].name, i);
    if (!added) {
      report(Table::kQueues, i, "name",
             Quoted(trace.queues[i].name) + " is already the name of " +
                 name(Table::kQueues, it->second) + "; names must be unique");
    }
  }
  for (std::size_t i = 0; i < trace.queues.size(); ++i) {
    const std::string& parent = trace.queues[i].parent;
    if (!parent.empty() && !queues.contains(parent)) {
      report(Table::kQueues, i, "parent",
             "there is no queue " + Quoted(parent) + "; add it or correct the name");
    }
  }
  for (std::size_t i = 0; i < trace.jobs.size(); ++i) {
    // A repeated job was reported above and its tasks count for the first one.
    if (first_task[i] != kNone || jobs.at(trace.jobs[i].id) != i) continue;
    report(Table::kJobs, i, "job_id", "job " + Quoted(trace.jobs[i].id) + " has no task");
  }
}

Diagnostics Validate(const Trace& trace) {
  Diagnostics out;
  CheckManifest(trace.manifest, [&](std::string_view field, std::string message) {
    out.Add("manifest: " + std::string(field), std::move(message));
  });
  const auto rows = [&](const auto& table_rows, Table table, auto check) {
    std::size_t row = 0;
    const FieldReport report = [&](std::string_view field, std::string message) {
      out.Add(RowLabel(table, row), std::string(field) + ' ' + std::move(message));
    };
    for (; row < table_rows.size(); ++row) check(table_rows[row], report);
  };
  rows(trace.nodes, Table::kNodes, CheckNode);
  rows(trace.jobs, Table::kJobs, CheckJob);
  rows(trace.tasks, Table::kTasks, CheckTask);
  rows(trace.placements, Table::kPlacements, CheckPlacement);
  rows(trace.usage, Table::kUsage, CheckUsage);
  rows(trace.queues, Table::kQueues, CheckQueue);
  rows(trace.capacity, Table::kCapacity, CheckCapacity);
  CheckReferences(trace, RowLabel,
                  [&](Table table, std::size_t row, std::string_view field, std::string message) {
                    out.Add(field.empty() ? "trace" : RowLabel(table, row), std::move(message));
                  });
  return out;
}

Diagnostics CheckTrace(const std::string& path) {
  Diagnostics out;
  ReadTrace(path, &out);
  return out;
}

}  // namespace basalt::trace
