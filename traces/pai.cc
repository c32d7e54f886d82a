#include "traces/pai.h"

#include <algorithm>
#include <array>
#include <unordered_map>
#include <utility>

#include "traces/text.h"

namespace basalt::trace {
namespace {

constexpr std::int64_t kPercentCpu = 10;  // milli-cores, milli-GPU
constexpr std::int64_t kGb = 1024;        // MiB
constexpr std::int64_t kMillion = 1'000'000;

enum MachineColumn : std::size_t { kMachine, kGpuType, kCapCpu, kCapMem, kCapGpu };
constexpr std::array<CsvColumn, 5> kMachineColumns = {
    {{"machine"}, {"gpu_type"}, {"cap_cpu"}, {"cap_mem"}, {"cap_gpu"}}};

enum JobColumn : std::size_t { kJobName, kJobInst, kUser, kJobStatus, kJobStart, kJobEnd };
constexpr std::array<CsvColumn, 6> kJobColumns = {
    {{"job_name"}, {"inst_id"}, {"user"}, {"status"}, {"start_time"}, {"end_time"}}};

enum TaskColumn : std::size_t {
  kTaskJob,
  kTaskName,
  kInstNum,
  kTaskStatus,
  kTaskStart,
  kTaskEnd,
  kPlanCpu,
  kPlanMem,
  kPlanGpu,
  kAssignedType
};
constexpr std::array<CsvColumn, 10> kTaskColumns = {{{"job_name"},
                                                     {"task_name"},
                                                     {"inst_num"},
                                                     {"status"},
                                                     {"start_time"},
                                                     {"end_time"},
                                                     {"plan_cpu"},
                                                     {"plan_mem"},
                                                     {"plan_gpu"},
                                                     {"gpu_type"}}};

enum InstanceColumn : std::size_t {
  kOfJob,
  kOfTask,
  kInstName,
  kWorker,
  kOfInst,
  kInstStatus,
  kInstStart,
  kInstEnd,
  kOnMachine
};
constexpr std::array<CsvColumn, 9> kInstanceColumns = {{{"job_name"},
                                                        {"task_name"},
                                                        {"inst_name"},
                                                        {"worker_name"},
                                                        {"inst_id"},
                                                        {"status"},
                                                        {"start_time"},
                                                        {"end_time"},
                                                        {"machine"}}};

enum SensorColumn : std::size_t {
  kSensorJob,
  kSensorTask,
  kSensorWorker,
  kSensorInst,
  kSensorMachine,
  kGpuName,
  kFirstMetric
};
constexpr std::array<CsvColumn, 16> kSensorColumns = {{{"job_name"},
                                                       {"task_name"},
                                                       {"worker_name"},
                                                       {"inst_id"},
                                                       {"machine"},
                                                       {"gpu_name"},
                                                       {"cpu_usage"},
                                                       {"gpu_wrk_util"},
                                                       {"avg_mem"},
                                                       {"max_mem"},
                                                       {"avg_gpu_wrk_mem"},
                                                       {"max_gpu_wrk_mem"},
                                                       {"read"},
                                                       {"write"},
                                                       {"read_count"},
                                                       {"write_count"}}};
struct Metric {
  const char* name;
  std::int64_t factor;  // to millionths of the canonical unit
};
constexpr std::array<Metric, 10> kMetrics = {{{"cpu_util_pct", kMillion},
                                              {"gpu_util_pct", kMillion},
                                              {"mem_mib", kGb* kMillion},
                                              {"mem_max_mib", kGb* kMillion},
                                              {"gpu_mem_mib", kGb* kMillion},
                                              {"gpu_mem_max_mib", kGb* kMillion},
                                              {"net_read_bytes", kMillion},
                                              {"net_write_bytes", kMillion},
                                              {"net_read_count", kMillion},
                                              {"net_write_count", kMillion}}};

enum TagColumn : std::size_t { kTagInst, kTagUser, kTypeSpec, kGroup, kWorkload };
constexpr std::array<CsvColumn, 5> kTagColumns = {
    {{"inst_id"}, {"user"}, {"gpu_type_spec"}, {"group"}, {"workload"}}};

std::string StatusOf(std::string_view word) {
  if (word == "Terminated") return "completed";
  if (word == "Failed") return "failed";
  if (word == "Running") return "running";
  if (word == "Waiting") return "pending";
  return {};
}

struct Tag {
  std::string gpu_type_spec, group, workload;
};

// The tables one after the other; each needs those before it.
class Pai {
 public:
  explicit Pai(Diagnostics* diagnostics) : diagnostics_(diagnostics) {}

  void Machines(const SourceText& source);
  void Tags(const SourceText& source);
  void Jobs(const SourceText& source);
  void Tasks(const SourceText& source);
  void Instances(const SourceText& source);
  void Sensors(const SourceText& source);
  Trace Finish();

 private:
  // Of the job that a row names, or null, which is reported.
  std::size_t* FindJob(SourceTable& table, std::size_t column, const std::string& name);

  Trace trace_;
  Diagnostics* diagnostics_;
  std::unordered_map<std::string, Tag> tags_;         // by inst_id
  std::unordered_map<std::string, std::size_t> job_;  // by job_name
  std::vector<const Tag*> tag_of_job_;
  std::vector<bool> has_task_;
  std::map<std::pair<std::size_t, std::string>, std::size_t> task_;  // (job, task_name)
  struct Instance {
    std::int32_t replica = 0, attempts = 0;
  };
  std::map<std::pair<std::size_t, std::string>, Instance> instance_;    // (task, inst_name)
  std::vector<std::int32_t> replicas_seen_;                             // by task
  std::map<std::pair<std::size_t, std::string>, std::int32_t> worker_;  // (task, worker_name)
  std::size_t assumed_ = 0, no_plan_ = 0, rounded_ = 0, other_machines_ = 0, strange_workers_ = 0;
};

std::size_t* Pai::FindJob(SourceTable& table, std::size_t column, const std::string& name) {
  const auto found = job_.find(name);
  if (found != job_.end()) return &found->second;
  table.Report(column, "there is no job " + Quoted(name) +
                           " in the job table; add its row or remove this one");
  return nullptr;
}

void Pai::Machines(const SourceText& source) {
  SourceTable table(source, kMachineColumns, diagnostics_, /*header=*/false);
  while (table.Next("machines")) {
    Node& node = trace_.nodes.emplace_back();
    node.id = table.UniqueName(kMachine);
    const std::string type = table.Word(kGpuType);
    std::int64_t cards = 0;
    if (table.Number(kCapGpu, 1, 0, kMaxCards, &cards)) {
      node.gpu_count = static_cast<std::int32_t>(cards);
      if ((type == "CPU" || type.empty()) != (cards == 0)) {
        table.Report(kGpuType, "gpu_type is " + Quoted(type) + " but cap_gpu is " +
                                   std::to_string(cards) + "; a machine without GPUs is CPU");
      }
    }
    if (type != "CPU") node.model = type;
    table.Number(kCapCpu, 1000, 0, kMaxAmount, &node.cpu_milli);
    table.Number(kCapMem, kGb, 0, kMaxAmount, &node.memory_mib);
  }
}

void Pai::Tags(const SourceText& source) {
  SourceTable table(source, kTagColumns, diagnostics_, /*header=*/false);
  while (table.Next("tags")) {
    tags_[table.UniqueName(kTagInst)] = {table.Word(kTypeSpec), table.Word(kGroup),
                                         table.Word(kWorkload)};
  }
}

void Pai::Jobs(const SourceText& source) {
  SourceTable table(source, kJobColumns, diagnostics_, /*header=*/false);
  while (table.Next("jobs")) {
    Job& job = trace_.jobs.emplace_back();
    job.id = table.UniqueName(kJobName);
    job_.emplace(job.id, trace_.jobs.size() - 1);
    job.user = table.Word(kUser);
    job.status_raw = table.Word(kJobStatus);
    job.status = StatusOf(job.status_raw);
    table.Time(kJobStart, &job.submit_us);
    table.Time(kJobEnd, &job.end_us);
    table.Ordered(kJobEnd, job.submit_us, job.end_us);
    job.gpu_total_milli = job.cpu_total_milli = job.memory_total_mib = 0;
    std::map<std::string, std::string> extra;
    const std::string inst = table.Word(kJobInst);
    if (!inst.empty()) extra["inst_id"] = inst;
    const auto tag = tags_.find(inst);
    tag_of_job_.push_back(tag == tags_.end() ? nullptr : &tag->second);
    if (tag != tags_.end()) {
      job.kind = tag->second.workload;
      if (!tag->second.group.empty()) extra["group"] = tag->second.group;
    }
    job.extra = JsonOf(extra);
  }
  has_task_.assign(trace_.jobs.size(), false);
}

void Pai::Tasks(const SourceText& source) {
  SourceTable table(source, kTaskColumns, diagnostics_, /*header=*/false);
  while (table.Next("tasks")) {
    const std::string name = table.Name(kTaskJob);
    const std::size_t* found = FindJob(table, kTaskJob, name);
    Task task;
    task.job_id = name;
    task.task = table.Name(kTaskName);
    std::int64_t start = kUnknownTime, end = kUnknownTime;
    std::int64_t cpu = -1, memory = -1, gpu = -1;
    table.NumberOr(kInstNum, 1, 1, kMaxReplicas, &task.replicas);
    table.Time(kTaskStart, &start);
    table.Time(kTaskEnd, &end);
    table.Ordered(kTaskEnd, start, end);
    table.NumberOr(kPlanCpu, kPercentCpu, 0, kMaxAmount, &cpu);
    table.NumberOr(kPlanMem, kGb, 0, kMaxAmount, &memory);
    table.NumberOr(kPlanGpu, kPercentCpu, 0, std::int64_t{kMaxCards} * kWholeCard, &gpu);
    if (cpu < 0 || memory < 0 || gpu < 0) ++no_plan_;
    task.cpu_milli = std::max<std::int64_t>(cpu, 0);
    task.memory_mib = std::max<std::int64_t>(memory, 0);
    gpu = std::max<std::int64_t>(gpu, 0);
    std::map<std::string, std::string> extra;
    if (!AskForMilliGpus(gpu, &task) || (gpu > kWholeCard && gpu % kWholeCard != 0)) {
      task.split = "assumed";
      extra["plan_gpu"] = table.Cell(kPlanGpu);
      ++assumed_;
    }
    if (const std::string type = table.Word(kAssignedType); !type.empty()) {
      extra["gpu_type"] = type;
    }
    if (!table.Unknown(kPlanMem)) extra["plan_mem"] = table.Cell(kPlanMem);
    for (const auto& [column, key] :
         {std::pair(kTaskStatus, "status"), {kTaskStart, "start_s"}, {kTaskEnd, "end_s"}}) {
      if (!table.Unknown(column)) extra[key] = table.Word(column);
    }
    task.extra = JsonOf(extra);
    if (found == nullptr) continue;
    Job& job = trace_.jobs[*found];
    has_task_[*found] = true;
    const auto [known, added] = task_.emplace(std::pair(*found, task.task), trace_.tasks.size());
    if (!added) {
      table.Report(kTaskName, "job " + Quoted(name) + " already has the task " + Quoted(task.task) +
                                  "; remove one of the two rows");
    }
    if (const Tag* tag = tag_of_job_[*found]; tag != nullptr && task.gpu_num > 0) {
      task.gpu_spec = tag->gpu_type_spec;
    }
    if (start != kUnknownTime) {
      job.start_us = job.start_us == kUnknownTime ? start : std::min(job.start_us, start);
      table.Ordered(kTaskStart, start, job.end_us);
    }
    job.gpu_total_milli += gpu * task.replicas;
    job.cpu_total_milli += task.cpu_milli * task.replicas;
    job.memory_total_mib += task.memory_mib * task.replicas;
    trace_.tasks.push_back(std::move(task));
  }
  rounded_ += table.rounded();
  replicas_seen_.assign(trace_.tasks.size(), 0);
}

void Pai::Instances(const SourceText& source) {
  std::unordered_map<std::string, bool> machines;
  for (const Node& node : trace_.nodes) machines[node.id] = true;
  SourceTable table(source, kInstanceColumns, diagnostics_, /*header=*/false);
  while (table.Next("instances")) {
    Placement placement;
    placement.job_id = table.Name(kOfJob);
    placement.task = table.Name(kOfTask);
    placement.node_id = table.Word(kOnMachine);
    placement.outcome = table.Word(kInstStatus);
    table.Time(kInstStart, &placement.start_us);
    table.Time(kInstEnd, &placement.end_us);
    table.Ordered(kInstEnd, placement.start_us, placement.end_us);
    const std::string inst = table.Name(kInstName), worker = table.Word(kWorker);
    const std::size_t* job = FindJob(table, kOfJob, placement.job_id);
    if (job == nullptr) continue;
    const auto task = task_.find({*job, placement.task});
    if (task == task_.end()) {
      table.Report(kOfTask, "job " + Quoted(placement.job_id) + " has no task " +
                                Quoted(placement.task) +
                                " in the task table; add its row or remove this one");
      continue;
    }
    const auto [instance, added] = instance_.try_emplace({task->second, inst});
    if (added) instance->second.replica = replicas_seen_[task->second]++;
    placement.replica = instance->second.replica;
    placement.attempt = instance->second.attempts++;
    if (!worker.empty()) worker_[{task->second, worker}] = placement.replica;
    if (!placement.node_id.empty() && !machines.contains(placement.node_id)) ++other_machines_;
    trace_.placements.push_back(std::move(placement));
  }
}

void Pai::Sensors(const SourceText& source) {
  SourceTable table(source, kSensorColumns, diagnostics_, /*header=*/false);
  while (table.Next("sensor rows")) {
    Usage usage;
    usage.job_id = table.Name(kSensorJob);
    usage.task = table.Name(kSensorTask);
    usage.node_id = table.Word(kSensorMachine);
    usage.gpu_id = table.Word(kGpuName);
    const std::size_t* job = FindJob(table, kSensorJob, usage.job_id);
    if (job == nullptr) continue;
    const auto task = task_.find({*job, usage.task});
    if (task == task_.end()) {
      table.Report(kSensorTask, "job " + Quoted(usage.job_id) + " has no task " +
                                    Quoted(usage.task) +
                                    " in the task table; add its row or remove this one");
      continue;
    }
    const auto worker = worker_.find({task->second, table.Word(kSensorWorker)});
    if (worker != worker_.end()) {
      usage.replica = worker->second;
    } else {
      ++strange_workers_;
    }
    for (std::size_t m = 0; m < kMetrics.size(); ++m) {
      const std::size_t column = kFirstMetric + m;
      if (table.Unknown(column)) continue;
      usage.metric = kMetrics[m].name;
      if (table.Number(column, kMetrics[m].factor, 0, kMaxTimeUs, &usage.value_micro)) {
        trace_.usage.push_back(usage);
      }
    }
  }
  rounded_ += table.rounded();
}

Trace Pai::Finish() {
  // A job without a task asks for nothing and the canonical form has none; it is named instead.
  std::size_t kept = 0, dropped = 0;
  std::string first_dropped;
  for (std::size_t i = 0; i < trace_.jobs.size(); ++i) {
    if (!has_task_[i]) {
      if (dropped++ == 0) first_dropped = trace_.jobs[i].id;
      continue;
    }
    if (kept != i) trace_.jobs[kept] = std::move(trace_.jobs[i]);
    ++kept;
  }
  trace_.jobs.resize(kept);
  std::vector<std::string>& notes = trace_.manifest.notes;
  const auto note = [&](std::size_t n, std::string_view one, std::string_view many,
                        std::string_view rest) {
    if (n > 0) notes.push_back(CountOf(n, one, many) + std::string(rest));
  };
  if (!trace_.jobs.empty()) {
    notes.emplace_back(
        "times are seconds from the source's hidden origin; as UTC+8 they have the true hour and "
        "weekday, with another date");
    notes.emplace_back(
        "a job's start_time is its submission and the earliest start_time of its tasks its start");
    notes.emplace_back(
        "plan_mem is taken as GB of 1024 MiB and rounded to MiB; the cell as written, and a task's "
        "own status and times, stand in its extra");
    notes.emplace_back(
        "gpu_type of a task is what it was given, not what it asked for: it stands in extra; "
        "gpu_spec comes from the tags");
    notes.emplace_back("card memory is not in the source and stays unknown");
  }
  note(dropped, "job", "jobs",
       " without a row in the task table left out, the first is " + Quoted(first_dropped));
  note(assumed_, "task asks", "tasks ask",
       " for more than one GPU but no whole number of them: so many equal parts (150 % is 2 x 750 "
       "milli), an assumption");
  note(no_plan_, "task has", "tasks have", " no plan for CPU, memory or GPU: 0 asked");
  note(rounded_, "number", "numbers", " rounded (requests to MiB and milli, usage to six digits)");
  if (!trace_.placements.empty()) {
    notes.emplace_back(
        "instances are numbered by their first row in each task; inst_name and worker_name are "
        "not kept; which cards they had is not in the source");
    note(other_machines_, "instance is", "instances are", " on machines that are not in the list");
  }
  if (!trace_.usage.empty()) {
    notes.emplace_back(
        "usage is the average over a worker's whole life (the _max metrics its maximum), so it has "
        "no time");
    note(strange_workers_, "sensor row is", "sensor rows are",
         " of workers without an instance row: the replica is unknown");
  }
  Manifest& manifest = trace_.manifest;
  manifest.source = "alibaba cluster-trace-gpu-v2020 (PAI)";
  manifest.licence = "CC-BY-4.0";
  manifest.attribution =
      "Weng et al., MLaaS in the Wild: Workload Analysis and Scheduling in Large-Scale "
      "Heterogeneous GPU Clusters, NSDI 2022";
  manifest.importer = "pai2020 1";
  return std::move(trace_);
}

}  // namespace

Trace ParsePai2020(const SourceTexts& texts, Diagnostics* diagnostics) {
  Pai pai(diagnostics);
  const SourceText* jobs = FindText(texts, "jobs");
  const SourceText* tasks = FindText(texts, "tasks");
  if ((jobs == nullptr) != (tasks == nullptr)) {
    diagnostics->Add(jobs == nullptr ? "--jobs" : "--tasks",
                     "is missing; the job table and the task table come together");
    return {};
  }
  for (const char* option : {"instances", "sensors", "tags"}) {
    if (jobs == nullptr && FindText(texts, option) != nullptr) {
      diagnostics->Add("--jobs", "is missing; --" + std::string(option) +
                                     " needs the job table and the task table");
      return {};
    }
  }
  const auto read = [&](const char* option, auto member) {
    if (const SourceText* text = FindText(texts, option)) (pai.*member)(*text);
  };
  read("nodes", &Pai::Machines);
  read("tags", &Pai::Tags);
  read("jobs", &Pai::Jobs);
  read("tasks", &Pai::Tasks);
  read("instances", &Pai::Instances);
  read("sensors", &Pai::Sensors);
  return pai.Finish();
}

}  // namespace basalt::trace
