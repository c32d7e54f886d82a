#include "traces/philly.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "traces/canonical.h"
#include "traces/csv.h"
#include "traces/draws.h"
#include "traces/limits.h"
#include "traces/text.h"
#include "traces/wall_clock.h"

namespace basalt::trace {
namespace {

constexpr std::int64_t kMaxGpus = 128;
constexpr std::int32_t kCardsOfMachine = 8;
constexpr std::int64_t kSecond = 1'000'000;  // microseconds

enum Column : std::size_t { kTimestamp, kDuration, kNumGpus, kGpuTime, kCluster };
constexpr std::array<CsvColumn, 5> kColumns = {
    {{"timestamp"}, {"duration"}, {"num_gpus"}, {"gpu_time"}, {"cluster"}}};

// Duration, GPUs and their product; false when one of them is wrong, which is reported.
bool ReadSize(CsvReader& reader, Job* job, std::int64_t* gpus) {
  std::int64_t duration = 0, gpu_time = 0;
  const bool all = static_cast<int>(reader.Seconds(kDuration, /*negative=*/false, &duration)) &
                   static_cast<int>(reader.Integer(kNumGpus, 1, kMaxGpus, gpus)) &
                   static_cast<int>(reader.Seconds(kGpuTime, /*negative=*/false, &gpu_time));
  if (!all) return false;
  job->duration_us = duration;
  job->gpu_total_milli = *gpus * kWholeCard;
  if (duration < kSecond) {
    reader.Report(kDuration, "duration is below 1 second; the source has none that short");
    return false;
  }
  std::int64_t product = 0;
  if (__builtin_mul_overflow(duration, *gpus, &product) || product != gpu_time) {
    reader.Report(kGpuTime, "gpu_time " + Quoted(reader.Field(kGpuTime)) + " is not duration " +
                                Quoted(reader.Field(kDuration)) + " x num_gpus " +
                                std::to_string(*gpus) + "; correct the one that is wrong");
    return false;
  }
  return true;
}

}  // namespace

void AskForGpus(std::int64_t gpus, Task* task) {
  std::int32_t each = kCardsOfMachine;
  if (gpus <= kCardsOfMachine) {
    each = static_cast<std::int32_t>(gpus);
  } else {
    while (gpus % each != 0) each /= 2;
  }
  task->gpu_num = each;
  task->gpu_milli = kWholeCard;
  task->replicas = static_cast<std::int32_t>(gpus) / each;
  task->gang_min = task->replicas;
}

PhillyJobs ParsePhillyJobs(const std::string& name, std::string_view text,
                           Diagnostics* diagnostics) {
  CsvReader reader(name, text, kColumns, diagnostics);
  PhillyJobs out;
  if (!reader.ReadHeader()) return out;
  // Bounded, because line ends are cheap to send.
  constexpr std::size_t kMostReserved = std::size_t{1} << 17;
  out.jobs.reserve(
      std::min(kMostReserved, static_cast<std::size_t>(std::ranges::count(text, '\n'))));
  out.tasks.reserve(out.jobs.capacity());
  const std::size_t faults = diagnostics->total;
  std::int64_t first = std::numeric_limits<std::int64_t>::max();
  while (reader.Next()) {
    Job& job = out.jobs.emplace_back();
    Task& task = out.tasks.emplace_back();
    job.id = Numbered("job-", out.jobs.size() - 1, 6);
    task.job_id = job.id;
    task.task = "worker";
    job.queue = reader.Field(kCluster);
    if (job.queue.empty() || job.queue.size() > kMaxNameBytes) {
      reader.Report(kCluster, job.queue.empty() ? "cluster is empty; name the job's virtual cluster"
                                                : "cluster is longer than 4096 bytes; shorten it");
    }
    std::int64_t gpus = 0, seconds = 0;
    if (ReadSize(reader, &job, &gpus)) AskForGpus(gpus, &task);
    if (task.replicas > 1) task.split = "assumed";
    if (!ParseWallClock(reader.Field(kTimestamp), &seconds)) {
      reader.Report(kTimestamp, "timestamp " + Quoted(reader.Field(kTimestamp)) +
                                    " is not a date and time; write 2017-10-09 07:01:55");
      continue;
    }
    job.submit_us = seconds * kSecond;  // years have four digits: far inside the range
    if (job.submit_us < first) {
      first = job.submit_us;
      out.first_submission = reader.Field(kTimestamp);
    }
  }
  if (out.jobs.empty() && diagnostics->total == faults) {
    diagnostics->Add(At(name, 2, 1), "no jobs: the file has a header and no rows");
  }
  for (Job& job : out.jobs) {
    if (job.submit_us != kUnknownTime) job.submit_us -= first;
  }
  return out;
}

std::vector<Node> PhillyNodes() {
  struct Kind {
    std::int32_t cards;
    std::size_t machines, racks;
    MilliCpu cpu_milli;
    MiB memory_mib;
    const char* wiring;  // docs/topology.md, synthetic descriptions
  };
  // The wiring is assumed too: PCIe 3, pairs below a switch, two sockets for eight cards, one
  // 100 Gb/s InfiniBand port (the paper has InfiniBand in the racks, and no more about machines).
  constexpr const char* kEight =
      "8 pcie=0+1-s0:gen3,2+3-s1:gen3,4+5-s2:gen3,6+7-s3:gen3,s0-i0:gen3,s0+1-h0:10000,"
      "s2+3-h1:10000,h0-n0:10000,h1-n1:10000 socket=n0-n1:6000 nics=12500";
  constexpr const char* kTwo = "2 pcie=0+1-s0:gen3,s0-i0:gen3,s0-h0:10000,h0-n0:10000 nics=12500";
  // 8 a + 2 b = 2,490 and a + b = 552 have one solution. Jobs ask for neither CPU nor memory.
  constexpr std::array<Kind, 2> kKinds = {
      {{kCardsOfMachine, 231, 29, 64'000, 524'288, kEight}, {2, 321, 21, 16'000, 131'072, kTwo}}};
  std::vector<Node> nodes;
  for (const Kind& kind : kKinds) {
    const std::string cards = std::to_string(kind.cards);
    for (std::size_t i = 0; i < kind.machines; ++i) {
      Node& node = nodes.emplace_back();
      node.id = Numbered("gpu" + cards + '-', i, 3);
      node.pool = cards + "-gpu";
      node.model = "GPU";  // the source does not say which
      node.gpu_count = kind.cards;
      node.topology = kind.wiring;
      node.cpu_milli = kind.cpu_milli;
      node.memory_mib = kind.memory_mib;
      node.rack = Numbered("rack" + cards + '-', i * kind.racks / kind.machines, 2);
    }
  }
  return nodes;
}

Result<Trace> ImportPhilly(const std::string& nodes_csv, const std::string& jobs_csv) {
  Trace trace;
  Manifest& manifest = trace.manifest;
  Diagnostics diagnostics;
  if (nodes_csv.empty()) {
    trace.nodes = PhillyNodes();
  } else if (const auto text = ReadText(nodes_csv, &manifest.files.emplace_back())) {
    trace.nodes = ParseNodes(nodes_csv, *text, &diagnostics);
  } else {
    diagnostics.Add(text.error());
  }
  PhillyJobs read;
  if (const auto text = ReadText(jobs_csv, &manifest.files.emplace_back())) {
    read = ParsePhillyJobs(jobs_csv, *text, &diagnostics);
  } else {
    diagnostics.Add(text.error());
  }
  if (!diagnostics.ok()) return tl::unexpected(diagnostics.ToError());
  trace.jobs = std::move(read.jobs);
  trace.tasks = std::move(read.tasks);
  const auto gangs =
      std::ranges::count_if(trace.tasks, [](const Task& t) { return t.replicas > 1; });
  manifest.source = "Microsoft Philly, the job list of Pollux and Sia";
  manifest.licence = "CC-BY-4.0 (the trace that the list was derived from)";
  manifest.attribution =
      "Jeon et al., Analysis of Large-Scale Multi-Tenant GPU Clusters for DNN Training Workloads, "
      "USENIX ATC 2019";
  manifest.importer = "philly-csv 1";
  manifest.notes = {
      "time 0 is " + read.first_submission +
          " as written: local time without a zone; the strings are taken as they are, so times "
          "after the end of daylight saving (2017-11-05) are an hour less than what passed",
      "the source has no job ids: they number the rows, whose order is kept",
      std::to_string(gangs) +
          " jobs have more GPUs than a machine of 8: replicas of 8 GPUs each (of 4, 2 or 1 where 8 "
          "does not divide), all or nothing; how the source spread them is not in the list",
      "CPU and memory are not in the source: 0 asked",
      "user, status, attempts and placement are not in the source"};
  if (nodes_csv.empty()) {
    manifest.notes.push_back(
        "the machine list is not in the source; assumed: 552 machines with 2,490 GPUs, 231 with 8 "
        "and 321 with 2, in 29 and 21 racks of one kind each; model, wiring, CPU and memory are "
        "made up");
  }
  return trace;
}

}  // namespace basalt::trace
