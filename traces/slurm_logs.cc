#include "traces/slurm_logs.h"

#include <algorithm>
#include <array>
#include <utility>

#include "traces/text.h"
#include "traces/wall_clock.h"

namespace basalt::trace {
namespace {

// Both logs' columns; each table names the ones that it has.
enum Column : std::size_t {
  kJobId,
  kUser,
  kGpuNum,
  kCpuNum,
  kNodeNum,
  kState,
  kSubmit,
  kStart,
  kEnd,
  kDuration,
  kQueue,
  kVc,          // helios
  kType = kVc,  // acme
  kGpuTime,     // acme from here
  kMemPerPod,
  kSharedMem,
  kFailTime,
  kStopTime
};
constexpr std::array<CsvColumn, 12> kHeliosColumns = {{{"job_id"},
                                                       {"user"},
                                                       {"gpu_num"},
                                                       {"cpu_num"},
                                                       {"node_num"},
                                                       {"state"},
                                                       {"submit_time"},
                                                       {"start_time"},
                                                       {"end_time"},
                                                       {"duration"},
                                                       {"queue"},
                                                       {"vc"}}};
constexpr std::array<CsvColumn, 17> kAcmeColumns = {{{"job_id"},
                                                     {"user"},
                                                     {"gpu_num"},
                                                     {"cpu_num"},
                                                     {"node_num"},
                                                     {"state"},
                                                     {"submit_time"},
                                                     {"start_time"},
                                                     {"end_time"},
                                                     {"duration"},
                                                     {"queue"},
                                                     {"type"},
                                                     {"gpu_time"},
                                                     {"mem_per_pod_GB", false},
                                                     {"shared_mem_per_pod", false},
                                                     {"fail_time", false},
                                                     {"stop_time", false}}};

std::string StatusOf(std::string_view state) {
  constexpr std::array<std::pair<std::string_view, const char*>, 7> kStates = {
      {{"COMPLETED", "completed"},
       {"CANCELLED", "cancelled"},
       {"FAILED", "failed"},
       {"TIMEOUT", "timeout"},
       {"NODE_FAIL", "node_fail"},
       {"RUNNING", "running"},
       {"PENDING", "pending"}}};
  for (const auto& [word, status] : kStates) {
    if (state == word) return status;
  }
  return {};
}

struct Log {
  std::size_t no_nodes = 0, uneven = 0, other_states = 0;
};

// What the two logs have in common; times are the caller's.
void ReadJob(SourceTable& table, Trace* trace, std::map<std::string, std::string>* extra,
             Log* log) {
  Job& job = trace->jobs.emplace_back();
  job.id = table.UniqueName(kJobId);
  job.user = table.Word(kUser);
  job.status_raw = table.Word(kState);
  job.status = StatusOf(job.status_raw);
  if (job.status.empty() && !job.status_raw.empty()) ++log->other_states;
  table.Time(kDuration, &job.duration_us);
  if (!table.Unknown(kQueue)) (*extra)["queue_s"] = table.Word(kQueue);
}

void ReadSize(SourceTable& table, std::int64_t memory_mib, Trace* trace, Log* log) {
  Job& job = trace->jobs.back();
  std::int64_t gpus = 0, nodes = 0;
  std::int64_t cpu = 0;
  const bool all = static_cast<int>(table.Number(kGpuNum, 1, 0, kMaxReplicas, &gpus)) &
                   static_cast<int>(table.NumberOr(kCpuNum, 1000, 0, kMaxAmount, &cpu)) &
                   static_cast<int>(table.NumberOr(kNodeNum, 1, 0, kMaxReplicas, &nodes));
  if (!all) return;
  job.gpu_total_milli = gpus * kWholeCard;
  if (!table.Unknown(kCpuNum)) job.cpu_total_milli = cpu;
  if (!table.Unknown(kNodeNum)) job.node_count = static_cast<std::int32_t>(nodes);
  if (nodes == 0) ++log->no_nodes;
  if (nodes > 0 && (gpus % nodes != 0 || cpu % nodes != 0)) ++log->uneven;
  if (!DivideOverNodes(job, gpus, cpu, memory_mib, nodes, &trace->tasks)) {
    table.Report(kGpuNum, "gpu_num " + Quoted(table.Cell(kGpuNum)) + " on " +
                              std::to_string(nodes) + " nodes is more than " +
                              std::to_string(kMaxCards) + " on one; correct it or node_num");
  }
}

void AddNotes(const Log& log, Trace* trace) {
  std::vector<std::string>& notes = trace->manifest.notes;
  notes.emplace_back(
      "a job is as many replicas as it had nodes, all or nothing, with equal shares of its GPUs "
      "and "
      "CPU; the source has only the totals");
  notes.emplace_back(
      "duration_s is the source's own and can differ from end - start; its queue time stands in "
      "extra.queue_s");
  notes.emplace_back("card memory, models and placement are not in the source");
  if (log.uneven > 0) {
    notes.push_back(CountOf(log.uneven, "job does", "jobs do") +
                    " not divide by their nodes: the first replicas have one GPU more, CPU is "
                    "rounded down; an assumption");
  }
  if (log.no_nodes > 0) {
    notes.push_back(CountOf(log.no_nodes, "job says", "jobs say") +
                    " no number of nodes: replicas of up to 8 GPUs are assumed");
  }
  if (log.other_states > 0) {
    notes.push_back(CountOf(log.other_states, "job has", "jobs have") +
                    " a state without a canonical word: it stands in status_raw alone");
  }
}

// date,<vc>,...,total: a row for each day and virtual cluster. Returns on how many days the total
// is not their sum.
std::size_t ReadCapacity(const SourceText& source, Trace* trace, Diagnostics* diagnostics) {
  // The columns are the source's own names, so the header is read here first.
  std::string_view header(source.text);
  header = header.substr(0, header.find('\n'));
  if (header.ends_with('\r')) header.remove_suffix(1);
  if (header.starts_with("\xEF\xBB\xBF")) header.remove_prefix(3);
  std::vector<CsvColumn> columns;
  for (std::size_t at = 0; at <= header.size();) {
    const std::size_t comma = std::min(header.find(',', at), header.size());
    columns.push_back({header.substr(at, comma - at)});
    at = comma + 1;
  }
  constexpr std::size_t kMostColumns = 10'000;
  if (columns.size() < 2 || columns.size() > kMostColumns || columns.front().name != "date" ||
      std::ranges::any_of(columns, [](const CsvColumn& c) {
        return c.name.empty() || c.name.find('"') != std::string_view::npos;
      })) {
    diagnostics->Add(At(source.name, 1, 1),
                     "is not date and the names of virtual clusters; write date,vc1,vc2,total");
    return 0;
  }
  std::size_t unequal = 0;
  SourceTable table(source, columns, diagnostics);
  while (table.Next("days")) {
    // A day is its first second.
    std::int64_t seconds = 0;
    std::string day(table.Cell(0));
    if (day.size() == 10) day += " 00:00:00";
    if (!ParseWallClock(day, &seconds)) {
      table.Report(0, "date " + Quoted(table.Cell(0)) + " is not a day; write 2020-04-01");
      continue;
    }
    std::int64_t sum = 0, total = -1;
    for (std::size_t c = 1; c < columns.size(); ++c) {
      std::int64_t gpus = -1;
      if (!table.NumberOr(c, 1, 0, kMaxAmount, &gpus) || gpus < 0) continue;
      if (columns[c].name == "total") {
        total = gpus;
        continue;
      }
      sum += gpus;
      trace->capacity.push_back({seconds * 1'000'000, std::string(columns[c].name), "", gpus});
    }
    if (total >= 0 && total != sum) ++unequal;
  }
  return unequal;
}

}  // namespace

Trace ParseHelios(const SourceTexts& texts, Diagnostics* diagnostics) {
  Trace trace;
  const SourceText* source = FindText(texts, "jobs");
  if (source == nullptr) return trace;
  Log log;
  SourceTable table(*source, kHeliosColumns, diagnostics);
  while (table.Next("jobs")) {
    std::map<std::string, std::string> extra;
    std::int64_t submit = kUnknownTime, start = kUnknownTime, end = kUnknownTime;
    table.WallClock(kSubmit, &submit);
    table.WallClock(kStart, &start);
    table.WallClock(kEnd, &end);
    table.Ordered(kEnd, start, end);
    ReadJob(table, &trace, &extra, &log);
    Job& job = trace.jobs.back();
    job.submit_us = submit;
    job.start_us = start;
    job.end_us = end;
    job.queue = table.Word(kVc);
    job.extra = JsonOf(extra);
    ReadSize(table, 0, &trace, &log);
  }
  std::size_t unequal = 0;
  if (const SourceText* capacity = FindText(texts, "capacity")) {
    unequal = ReadCapacity(*capacity, &trace, diagnostics);
  }
  Manifest& manifest = trace.manifest;
  manifest.source = "SenseTime Helios, one cluster's log";
  manifest.licence = "CC-BY-4.0";
  manifest.attribution =
      "Hu et al., Characterization and Prediction of Deep Learning Workloads in Large-Scale GPU "
      "Datacenters, SC 2021";
  manifest.importer = "helios 1";
  std::string first = FormatInstant(StartAtFirstSubmission(&trace));
  first.back() = ' ';  // its zone is not UTC but unknown
  first[10] = ' ';
  manifest.notes = {"time 0 is " + first +
                        "as written, the earliest submission: local time without a zone, taken as "
                        "it is",
                    "the virtual cluster is the queue; nothing is left out: jobs without GPUs, "
                    "running ones and long ones are in",
                    "memory is not in the source: 0 asked"};
  if (unequal > 0) {
    manifest.notes.push_back(
        "on " + CountOf(unequal, "day", "days") +
        " of the GPU numbers the total is not the sum of the virtual clusters; "
        "the total is not kept");
  }
  AddNotes(log, &trace);
  ReadCanonicalNodes(texts, &trace, diagnostics);
  return trace;
}

Trace ParseAcme(const SourceTexts& texts, Diagnostics* diagnostics) {
  Trace trace;
  const SourceText* source = FindText(texts, "jobs");
  if (source == nullptr) return trace;
  Log log;
  SourceTable table(*source, kAcmeColumns, diagnostics);
  while (table.Next("jobs")) {
    std::map<std::string, std::string> extra;
    std::int64_t submit = kUnknownTime, start = kUnknownTime, end = kUnknownTime;
    table.Instant(kSubmit, &submit);
    table.Instant(kStart, &start);
    table.Instant(kEnd, &end);
    table.Ordered(kEnd, start, end);
    ReadJob(table, &trace, &extra, &log);
    Job& job = trace.jobs.back();
    job.submit_us = submit;
    job.start_us = start;
    job.end_us = end;
    job.kind = table.Word(kType);
    std::int64_t memory = 0, unused = 0;
    table.NumberOr(kMemPerPod, 1024, 0, kMaxAmount, &memory);
    table.Instant(kFailTime, &unused);
    table.Instant(kStopTime, &unused);
    for (const std::size_t column : {kGpuTime, kMemPerPod, kSharedMem, kFailTime, kStopTime}) {
      if (!table.Unknown(column)) {
        extra[std::string(kAcmeColumns[column].name)] = table.Word(column);
      }
    }
    job.extra = JsonOf(extra);
    ReadSize(table, memory, &trace, &log);
  }
  const bool kalos = table.Has(kMemPerPod);
  Manifest& manifest = trace.manifest;
  manifest.source = std::string("AcmeTrace, ") + (kalos ? "Kalos" : "Seren");
  manifest.licence = "CC-BY-4.0";
  manifest.attribution =
      "Hu et al., Characterization of Large Language Model Development in the Datacenter, NSDI "
      "2024";
  manifest.importer = "acme 1";
  const std::int64_t first = StartAtFirstSubmission(&trace);
  if (std::ranges::any_of(trace.jobs,
                          [](const Job& job) { return job.submit_us != kUnknownTime; })) {
    manifest.time_zero = FormatInstant(first);
  }
  manifest.notes = {
      "the times' own zones are honoured: time_zero is the earliest submission in UTC",
      kalos ? "mem_per_pod_GB is taken as GB of 1024 MiB and asked for by every replica; "
              "shared_mem_per_pod, fail_time, stop_time and gpu_time stand in extra"
            : "memory is not in Seren's log: 0 asked; gpu_time stands in extra"};
  AddNotes(log, &trace);
  ReadCanonicalNodes(texts, &trace, diagnostics);
  return trace;
}

}  // namespace basalt::trace
