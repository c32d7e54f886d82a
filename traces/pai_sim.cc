// The job list of the simulator published with cluster-trace-gpu-v2020.
#include <algorithm>
#include <array>

#include "traces/pai.h"
#include "traces/text.h"

namespace basalt::trace {
namespace {

enum Column : std::size_t {
  kJobId,
  kNumInst,
  kSubmitTime,
  kNumCpu,
  kNumGpu,
  kGpuType,
  kDuration,
  kUser,
  kGroup,
  kWaitTime,
  kFirstEstimate
};
constexpr std::array<CsvColumn, 14> kColumns = {{{"job_id"},
                                                 {"num_inst"},
                                                 {"submit_time"},
                                                 {"num_cpu"},
                                                 {"num_gpu"},
                                                 {"gpu_type"},
                                                 {"duration"},
                                                 {"user"},
                                                 {"group", false},
                                                 {"wait_time", false},
                                                 {"user_dur", false},
                                                 {"user_gpu_dur", false},
                                                 {"group_dur", false},
                                                 {"group_gpu_dur", false}}};

}  // namespace

Trace ParsePaiSim(const SourceTexts& texts, Diagnostics* diagnostics) {
  Trace trace;
  const SourceText* source = FindText(texts, "jobs");
  if (source == nullptr) return trace;
  std::size_t assumed = 0, rounded = 0;
  SourceTable table(*source, kColumns, diagnostics);
  while (table.Next("jobs")) {
    Job& job = trace.jobs.emplace_back();
    Task& task = trace.tasks.emplace_back();
    job.id = table.UniqueName(kJobId);
    task.job_id = job.id;
    task.task = "worker";
    job.user = table.Word(kUser);
    table.Time(kSubmitTime, &job.submit_us);
    table.Time(kDuration, &job.duration_us);
    std::int64_t instances = 1, cpu = 0, gpu = 0;
    table.NumberOr(kNumInst, 1, 1, kMaxReplicas, &instances);
    table.NumberOr(kNumCpu, 1000, 0, kMaxAmount, &cpu);
    if (table.NumberOr(kNumGpu, kWholeCard, 0, kMaxAmount, &gpu)) {
      const std::int64_t each = (gpu + instances - 1) / instances;
      bool exact = gpu % instances == 0 && (each <= kWholeCard || each % kWholeCard == 0);
      if (each > std::int64_t{kMaxCards} * kWholeCard) {
        table.Report(kNumGpu, "num_gpu " + Quoted(table.Cell(kNumGpu)) + " is more than " +
                                  std::to_string(kMaxCards) +
                                  " for one instance; correct it or num_inst");
      } else {
        exact &= AskForMilliGpus(each, &task);
      }
      if (instances > 1 || !exact) {
        task.split = "assumed";
        ++assumed;
      }
    }
    job.gpu_total_milli = gpu;
    job.cpu_total_milli = cpu;
    task.replicas = static_cast<std::int32_t>(instances);
    task.cpu_milli = cpu / instances;
    const std::string type = table.Word(kGpuType);
    if (task.gpu_num > 0 && type != "CPU") task.gpu_spec = type;
    std::map<std::string, std::string> extra;
    if (task.gpu_spec != type) extra["gpu_type"] = type;
    for (std::size_t column = kGroup; column < kColumns.size(); ++column) {
      if (!table.Unknown(column)) extra[std::string(kColumns[column].name)] = table.Word(column);
    }
    job.extra = JsonOf(extra);
  }
  rounded = table.rounded();
  Manifest& manifest = trace.manifest;
  manifest.source = "alibaba cluster-trace-gpu-v2020, the simulator's job list";
  manifest.licence = "CC-BY-4.0";
  manifest.attribution =
      "Weng et al., MLaaS in the Wild: Workload Analysis and Scheduling in Large-Scale "
      "Heterogeneous GPU Clusters, NSDI 2022";
  manifest.importer = "pai-sim 1";
  manifest.notes = {
      "num_cpu and num_gpu are taken as of the whole job, as the published simulator does, and "
      "divided over num_inst replicas",
      "gpu_type is taken as the model asked for",
      "memory is not in the source: 0 asked; starts and ends are not in it either",
      "times are seconds from the source's hidden origin"};
  if (assumed > 0) {
    manifest.notes.push_back(
        CountOf(assumed, "job", "jobs") +
        " with several instances, or GPUs that do not divide: the parts are an assumption, and "
        "rounded up; gpu_total_milli is exact");
  }
  if (rounded > 0) {
    manifest.notes.push_back(CountOf(rounded, "number", "numbers") +
                             " rounded to milli-units or microseconds");
  }
  ReadCanonicalNodes(texts, &trace, diagnostics);
  return trace;
}

}  // namespace basalt::trace
