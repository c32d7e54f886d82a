#include "traces/philly_json.h"

#include <algorithm>
#include <array>
#include <unordered_map>
#include <utility>

#include "traces/json_records.h"
#include "traces/text.h"
#include "traces/wall_clock.h"

namespace basalt::trace {
namespace {

using Kind = JsonValue::Kind;
constexpr std::int64_t kSecond = 1'000'000;  // microseconds

enum MachineColumn : std::size_t { kMachineId, kGpus, kGpuMemory };
constexpr std::array<CsvColumn, 3> kMachineColumns = {
    {{"machineId"}, {"number of GPUs"}, {"single GPU mem"}}};
constexpr std::array<CsvColumn, 3> kSpacedColumns = {
    {{"machineId"}, {" number of GPUs"}, {" single GPU mem"}}};

std::string StatusOf(std::string_view word) {
  if (word == "Pass") return "completed";
  if (word == "Killed") return "cancelled";
  if (word == "Failed") return "failed";
  return {};
}

class Philly {
 public:
  Philly(const SourceText& source, Diagnostics* diagnostics)
      : source_(source), diagnostics_(diagnostics) {}

  Trace Read();

 private:
  struct Machine {  // a detail of an attempt
    std::string ip, gpus;
    std::int64_t count = 0;
  };
  void Report(const JsonValue& at, std::string message) {
    diagnostics_->Add(At(source_.name, at.line), std::move(message));
  }
  void AddJob(const JsonValue& record);
  std::string Text(const JsonValue& record, std::string_view key, bool required);
  std::int64_t Time(const JsonValue& record, std::string_view key);
  std::vector<Machine> Machines(const JsonValue& attempt);
  void Ask(const JsonValue& record, const std::vector<Machine>& machines, Job* job);
  void Place(const std::vector<Machine>& machines, Placement placement, std::size_t first_task);

  const SourceText& source_;
  Diagnostics* diagnostics_;
  Trace trace_;
  std::unordered_map<std::string, std::uint32_t> lines_;  // jobid -> line
  std::size_t never_ran_ = 0, reshaped_ = 0;
};

std::string Philly::Text(const JsonValue& record, std::string_view key, bool required) {
  const JsonValue* value = record.Find(key);
  if (value == nullptr || value->Is(Kind::kNull) ||
      (value->Is(Kind::kString) && value->text.empty())) {
    if (required) Report(record, std::string(key) + " is missing; every job needs one");
    return {};
  }
  if (!value->Is(Kind::kString) || value->text.size() > kMaxNameBytes) {
    Report(*value, std::string(key) + " is not a string of at most 4096 bytes; correct it");
    return {};
  }
  return IsUnknown(value->text) ? std::string() : value->text;
}

std::int64_t Philly::Time(const JsonValue& record, std::string_view key) {
  const JsonValue* value = record.Find(key);
  if (value == nullptr || value->Is(Kind::kNull)) return kUnknownTime;
  std::int64_t seconds = 0;
  if (value->Is(Kind::kString)) {
    if (IsUnknown(value->text)) return kUnknownTime;
    if (ParseWallClock(value->text, &seconds)) return seconds * kSecond;
  }
  Report(*value, std::string(key) + ' ' + Quoted(value->text) +
                     " is not a date and time; write 2017-10-09 07:01:55, or \"None\"");
  return kUnknownTime;
}

std::vector<Philly::Machine> Philly::Machines(const JsonValue& attempt) {
  std::vector<Machine> out;
  const JsonValue* detail = attempt.Find("detail");
  if (detail == nullptr || detail->Is(Kind::kNull)) return out;
  if (!detail->Is(Kind::kArray)) {
    Report(*detail, "detail is not a list of {\"ip\", \"gpus\"}; correct it");
    return out;
  }
  for (const JsonValue& item : detail->items) {
    Machine& machine = out.emplace_back();
    machine.ip = Text(item, "ip", /*required=*/true);
    const JsonValue* gpus = item.Find("gpus");
    if (gpus == nullptr || !gpus->Is(Kind::kArray)) {
      Report(item, "gpus is not a list of names; write [\"gpu0\"]");
      continue;
    }
    for (const JsonValue& gpu : gpus->items) {
      if (!gpu.Is(Kind::kString) || gpu.text.empty() || gpu.text.find(';') != std::string::npos) {
        Report(gpu, "a GPU's name is not a string without ; in it; write \"gpu0\"");
        continue;
      }
      if (!machine.gpus.empty()) machine.gpus += ';';
      machine.gpus += gpu.text;
      ++machine.count;
    }
    if (machine.count > kMaxCards) {
      Report(*gpus, "more than " + std::to_string(kMaxCards) + " GPUs on one machine; correct it");
    }
  }
  return out;
}

// A task for each number of GPUs that a machine of the first attempt gave, the most first.
void Philly::Ask(const JsonValue& record, const std::vector<Machine>& machines, Job* job) {
  std::map<std::int64_t, std::int32_t, std::greater<>> sizes;
  std::int64_t total = 0;
  for (const Machine& machine : machines) {
    ++sizes[std::min<std::int64_t>(machine.count, kMaxCards)];
    total += machine.count;
  }
  if (machines.size() > static_cast<std::size_t>(kMaxReplicas)) {
    Report(record, "the first attempt has more than 1000000 machines; correct it");
    return;
  }
  if (sizes.empty()) {
    sizes[0] = 1;
    ++never_ran_;
  } else {
    job->gpu_total_milli = total * kWholeCard;
    job->node_count = static_cast<std::int32_t>(machines.size());
  }
  for (const auto& [gpus, replicas] : sizes) {
    Task task;
    task.job_id = job->id;
    task.task = "worker";
    if (gpus != sizes.begin()->first) {
      task.task += '-' + std::to_string(std::distance(sizes.begin(), sizes.find(gpus)));
    }
    task.replicas = task.gang_min = replicas;
    task.gpu_num = static_cast<std::int32_t>(gpus);
    task.gpu_milli = gpus > 0 ? kWholeCard : 0;
    task.split = machines.empty() ? "assumed" : "exact";
    trace_.tasks.push_back(std::move(task));
  }
}

// Each machine of an attempt is the next replica of the task that has so many GPUs; one that has
// another number than any is the next of the first task.
void Philly::Place(const std::vector<Machine>& machines, Placement placement,
                   std::size_t first_task) {
  std::vector<std::int32_t> next(trace_.tasks.size() - first_task, 0);
  bool other = false;
  for (const Machine& machine : machines) {
    std::size_t task = 0;
    while (task < next.size() && trace_.tasks[first_task + task].gpu_num != machine.count) ++task;
    if (task == next.size()) {
      task = 0;
      other = true;
    }
    placement.task = trace_.tasks[first_task + task].task;
    placement.replica = next[task]++;
    other |= placement.replica >= trace_.tasks[first_task + task].replicas;
    placement.node_id = machine.ip;
    placement.gpu_ids = machine.gpus;
    trace_.placements.push_back(placement);
  }
  if (other) ++reshaped_;
}

void Philly::AddJob(const JsonValue& record) {
  Job job;
  job.id = Text(record, "jobid", /*required=*/true);
  const auto [known, added] = lines_.emplace(job.id, record.line);
  if (!added && !job.id.empty()) {
    Report(record, "jobid " + Quoted(job.id) + " is already on line " +
                       std::to_string(known->second) + "; remove one of the two jobs");
  }
  job.queue = Text(record, "vc", false);
  job.user = Text(record, "user", false);
  job.status_raw = Text(record, "status", false);
  job.status = StatusOf(job.status_raw);
  job.submit_us = Time(record, "submitted_time");
  const JsonValue* attempts = record.Find("attempts");
  if (attempts != nullptr && !attempts->Is(Kind::kArray) && !attempts->Is(Kind::kNull)) {
    Report(*attempts, "attempts is not a list; write [] when there was none");
    return;
  }
  const std::size_t first_task = trace_.tasks.size();
  std::int64_t ran = 0;
  bool all_known = true, first = true;
  if (attempts != nullptr) {
    for (const JsonValue& attempt : attempts->items) {
      Placement placement;
      placement.job_id = job.id;
      placement.start_us = Time(attempt, "start_time");
      placement.end_us = Time(attempt, "end_time");
      placement.attempt = static_cast<std::int32_t>(&attempt - attempts->items.data());
      const bool known_times =
          placement.start_us != kUnknownTime && placement.end_us != kUnknownTime;
      if (known_times && placement.end_us < placement.start_us) {
        Report(attempt, "end_time is before start_time; correct the attempt or remove it");
      }
      const std::vector<Machine> machines = Machines(attempt);
      if (first) Ask(record, machines, &job);
      if (first) job.start_us = placement.start_us;
      first = false;
      all_known &= known_times;
      if (known_times) ran += placement.end_us - placement.start_us;
      job.end_us = placement.end_us;
      Place(machines, std::move(placement), first_task);
    }
  }
  if (first) {
    Ask(record, {}, &job);
  } else if (all_known) {
    job.duration_us = ran;
  }
  if (job.start_us != kUnknownTime && job.end_us != kUnknownTime && job.end_us < job.start_us) {
    Report(record, "the last attempt ends before the first starts; correct their order");
  }
  trace_.jobs.push_back(std::move(job));
}

void ReadMachines(const SourceText& source, Trace* trace, Diagnostics* diagnostics) {
  const std::string_view header = std::string_view(source.text).substr(0, source.text.find('\n'));
  const bool spaced = header.find(", ") != std::string_view::npos;
  SourceTable table(source, spaced ? kSpacedColumns : kMachineColumns, diagnostics);
  while (table.Next("machines")) {
    Node& node = trace->nodes.emplace_back();
    node.id = table.UniqueName(kMachineId);
    const auto trimmed = [&](std::size_t column) {
      std::string_view cell = table.Cell(column);
      while (cell.starts_with(' ')) cell.remove_prefix(1);
      return cell;
    };
    std::int64_t cards = 0, memory = 0;
    if (ParseWhole(trimmed(kGpus), false, &cards) != NumberFault::kNone || cards > kMaxCards) {
      table.Report(kGpus, "number of GPUs " + Quoted(table.Cell(kGpus)) +
                              " is not a whole number; write 0.." + std::to_string(kMaxCards));
    }
    node.gpu_count = static_cast<std::int32_t>(std::min<std::int64_t>(cards, kMaxCards));
    if (cards > 0) node.model = "GPU";  // the source does not say which
    std::string_view size = trimmed(kGpuMemory);
    if (IsUnknown(size)) continue;
    if (size.ends_with("GB")) size.remove_suffix(2);
    if (ParseWhole(size, false, &memory) != NumberFault::kNone || memory < 1 ||
        memory > kMaxAmount / 1024) {
      table.Report(kGpuMemory, "single GPU mem " + Quoted(table.Cell(kGpuMemory)) +
                                   " is not a number of GB; write 24GB");
      continue;
    }
    node.gpu_mem_mib = memory * 1024;
  }
}

Trace Philly::Read() {
  const std::size_t faults = diagnostics_->total;
  ReadJsonRecords(source_, diagnostics_, [&](const JsonValue& record) { AddJob(record); });
  if (trace_.jobs.empty() && diagnostics_->total == faults) {
    diagnostics_->Add(At(source_.name, 1), "no jobs: the list is empty");
  }
  Manifest& manifest = trace_.manifest;
  manifest.source = "Microsoft Philly, cluster_job_log";
  manifest.licence = "CC-BY-4.0";
  manifest.attribution =
      "Jeon et al., Analysis of Large-Scale Multi-Tenant GPU Clusters for DNN Training Workloads, "
      "USENIX ATC 2019";
  manifest.importer = "philly 1";
  std::string zero = FormatInstant(StartAtFirstSubmission(&trace_));
  zero.pop_back();  // its zone is not UTC but unknown
  zero[10] = ' ';
  manifest.notes = {
      "time 0 is " + zero +
          " as written, the earliest submission: local time without a zone; the strings are taken "
          "as "
          "they are, so times after the end of daylight saving (2017-11-05) are an hour less than "
          "what passed",
      "a job asks for the GPUs of its first attempt, in replicas as they were on its machines, all "
      "or nothing; duration_s is the sum of its attempts where all their times are known",
      "CPU and memory are not in the source: 0 asked; nor is the reason why an attempt ended"};
  if (never_ran_ > 0) {
    manifest.notes.push_back(CountOf(never_ran_, "job has", "jobs have") +
                             " no attempt with machines: how many GPUs they wanted is not in the "
                             "source, 0 asked");
  }
  if (reshaped_ > 0) {
    manifest.notes.push_back(CountOf(reshaped_, "attempt has", "attempts have") +
                             " another shape than the first: machines beyond the task's replicas "
                             "are numbered on");
  }
  return std::move(trace_);
}

}  // namespace

Trace ParsePhillyJson(const SourceTexts& texts, Diagnostics* diagnostics) {
  const SourceText* jobs = FindText(texts, "jobs");
  if (jobs == nullptr) return {};
  Trace trace = Philly(*jobs, diagnostics).Read();
  if (const SourceText* nodes = FindText(texts, "nodes")) {
    ReadMachines(*nodes, &trace, diagnostics);
    trace.manifest.notes.emplace_back(
        "CPU and memory of machines are not in the source: 0; the model of the GPUs is not either: "
        "GPU; their memory is taken as GB of 1024 MiB");
  } else {
    trace.manifest.notes.emplace_back(
        "no list of machines was given: this trace is a workload and where it ran");
  }
  return trace;
}

}  // namespace basalt::trace
