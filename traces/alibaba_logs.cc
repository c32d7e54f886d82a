#include "traces/alibaba_logs.h"

#include <array>
#include <utility>

#include "traces/text.h"

namespace basalt::trace {
namespace {

constexpr std::int64_t kGib = 1024;  // MiB

enum DlrmColumn : std::size_t {
  kInstance,
  kRole,
  kApp,
  kCpu,
  kCpuLimit,
  kGpu,
  kGpuLimit,
  kRdma,
  kRdmaLimit,
  kMemory,
  kMemoryLimit,
  kDisk,
  kDiskLimit,
  kMaxPerNode,
  kCreation,
  kScheduled,
  kDeletion
};
constexpr std::array<CsvColumn, 17> kDlrmColumns = {{{"instance_sn"},
                                                     {"role"},
                                                     {"app_name"},
                                                     {"cpu_request"},
                                                     {"cpu_limit"},
                                                     {"gpu_request"},
                                                     {"gpu_limit"},
                                                     {"rdma_request"},
                                                     {"rdma_limit"},
                                                     {"memory_request"},
                                                     {"memory_limit"},
                                                     {"disk_request"},
                                                     {"disk_limit"},
                                                     {"max_instance_per_node"},
                                                     {"creation_time"},
                                                     {"scheduled_time"},
                                                     {"deletion_time"}}};

enum SpotNodeColumn : std::size_t { kNodeName, kNodeModel, kNodeGpus, kNodeCpu };
constexpr std::array<CsvColumn, 4> kSpotNodeColumns = {
    {{"node_name"}, {"gpu_model"}, {"gpu_capacity_num"}, {"cpu_num"}}};

enum SpotColumn : std::size_t {
  kJobName,
  kOrganization,
  kModel,
  kCpuRequest,
  kGpuRequest,
  kWorkers,
  kSubmit,
  kDuration,
  kJobType
};
constexpr std::array<CsvColumn, 9> kSpotColumns = {{{"job_name"},
                                                    {"organization"},
                                                    {"gpu_model"},
                                                    {"cpu_request"},
                                                    {"gpu_request"},
                                                    {"worker_num"},
                                                    {"submit_time"},
                                                    {"duration"},
                                                    {"job_type"}}};

// Request and limit; a limit that is another goes into extra under its own name.
std::int64_t Request(SourceTable& table, std::size_t column, std::int64_t factor, std::int64_t high,
                     std::map<std::string, std::string>* extra) {
  std::int64_t request = 0, limit = -1;
  table.Number(column, factor, 0, high, &request);
  table.NumberOr(column + 1, factor, 0, kMaxAmount, &limit);
  if (limit >= 0 && limit != request) {
    (*extra)[std::string(kDlrmColumns[column + 1].name)] = table.Cell(column + 1);
  }
  return request;
}

void ReadSpotNodes(const SourceText& source, Trace* trace, Diagnostics* diagnostics) {
  SourceTable table(source, kSpotNodeColumns, diagnostics);
  while (table.Next("nodes")) {
    Node& node = trace->nodes.emplace_back();
    node.id = table.UniqueName(kNodeName);
    table.Number(kNodeCpu, 1000, 0, kMaxAmount, &node.cpu_milli);
    node.model = table.Word(kNodeModel);
    std::int64_t cards = 0;
    if (!table.Number(kNodeGpus, 1, 0, kMaxCards, &cards)) continue;
    node.gpu_count = static_cast<std::int32_t>(cards);
    if (node.model.empty() != (cards == 0)) {
      table.Report(kNodeModel, "gpu_model is " + Quoted(node.model) + " but gpu_capacity_num is " +
                                   std::to_string(cards) + "; name the model of the GPUs");
    }
  }
}

void ReadSpotJobs(const SourceText& source, Trace* trace, Diagnostics* diagnostics) {
  SourceTable table(source, kSpotColumns, diagnostics);
  while (table.Next("jobs")) {
    Job& job = trace->jobs.emplace_back();
    Task& task = trace->tasks.emplace_back();
    job.id = table.UniqueName(kJobName);
    task.job_id = job.id;
    task.task = "worker";
    job.tenant = table.Word(kOrganization);
    job.priority_class = table.Word(kJobType);
    if (job.priority_class == "HP") {
      job.preemptible = 0;
    } else if (job.priority_class == "Spot") {
      job.preemptible = 1;
    } else {
      table.Report(kJobType, "job_type " + Quoted(table.Cell(kJobType)) +
                                 " is neither HP nor Spot; correct it");
    }
    table.Time(kSubmit, &job.submit_us);
    table.Time(kDuration, &job.duration_us);
    table.Number(kCpuRequest, 1000, 0, kMaxAmount, &task.cpu_milli);
    std::int64_t workers = 1, gpu = 0;
    table.Number(kWorkers, 1, 1, kMaxReplicas, &workers);
    task.replicas = task.gang_min = static_cast<std::int32_t>(workers);
    if (table.Number(kGpuRequest, kWholeCard, 0, std::int64_t{kMaxCards} * kWholeCard, &gpu)) {
      if (!AskForMilliGpus(gpu, &task) || (gpu > kWholeCard && gpu % kWholeCard != 0)) {
        table.Report(kGpuRequest, "gpu_request " + Quoted(table.Cell(kGpuRequest)) +
                                      " is neither a part of one GPU nor whole GPUs; correct it");
      }
    }
    job.gpu_total_milli = gpu * workers;
    if (task.gpu_num > 0) task.gpu_spec = table.Word(kModel);
  }
}

}  // namespace

Trace ParseDlrm2025(const SourceTexts& texts, Diagnostics* diagnostics) {
  Trace trace;
  const SourceText* source = FindText(texts, "jobs");
  if (source == nullptr) return trace;
  SourceTable table(*source, kDlrmColumns, diagnostics);
  while (table.Next("instances")) {
    Job& job = trace.jobs.emplace_back();
    Task& task = trace.tasks.emplace_back();
    job.id = table.UniqueName(kInstance);
    task.job_id = job.id;
    task.task = table.Name(kRole);
    job.tenant = table.Name(kApp);
    job.kind = "infer";
    job.priority_class = "LS";
    std::map<std::string, std::string> extra;
    task.cpu_milli = Request(table, kCpu, 1000, kMaxAmount, &extra);
    const std::int64_t cards = Request(table, kGpu, 1, kMaxCards, &extra);
    task.gpu_num = static_cast<std::int32_t>(cards);
    task.gpu_milli = cards > 0 ? kWholeCard : 0;
    task.nic_milli = static_cast<std::int32_t>(Request(table, kRdma, 10, 1000, &extra));
    task.memory_mib = Request(table, kMemory, kGib, kMaxAmount, &extra);
    task.disk_mib = Request(table, kDisk, kGib, kMaxAmount, &extra);
    std::int64_t most = -1;
    table.Number(kMaxPerNode, 1, -1, kMaxReplicas, &most);
    if (most == 0) {
      table.Report(kMaxPerNode,
                   "max_instance_per_node is 0, which no node could hold; write -1 "
                   "for no limit");
    }
    task.max_per_node = static_cast<std::int32_t>(most);
    task.extra = JsonOf(extra);
    table.Time(kCreation, &job.submit_us);
    table.Time(kScheduled, &job.start_us);
    table.Time(kDeletion, &job.end_us);
    table.Ordered(kDeletion, job.start_us, job.end_us);
    const bool left = job.submit_us == kUnknownTime, right = job.end_us == kUnknownTime;
    job.censor = left ? (right ? "both" : "left") : (right ? "right" : "");
  }
  Manifest& manifest = trace.manifest;
  manifest.source = "alibaba cluster-trace-gpu-v2025 (disaggregated DLRM serving)";
  manifest.licence = "not stated in the files; the publisher allows research and study";
  manifest.attribution =
      "Yang et al., GPU-Disaggregated Serving for Deep Learning Recommendation Models at Scale, "
      "NSDI 2025";
  manifest.importer = "dlrm2025 1";
  manifest.notes = {
      "each instance became a job with one task of one replica; row order is kept",
      "every instance is inference and latency-sensitive (LS), says the publisher",
      "max_per_node is of the instances of one tenant, the service, on one node",
      "times are seconds from the start of the window, rounded to microseconds: the source has "
      "floating-point dust such as 475.00000000000006",
      "memory and disk are rounded to MiB; a limit that differs from the request stands in the "
      "task's extra, in the source's unit",
      "GPU models and card memory are not in the source"};
  ReadCanonicalNodes(texts, &trace, diagnostics);
  return trace;
}

Trace ParseSpot2026(const SourceTexts& texts, Diagnostics* diagnostics) {
  Trace trace;
  const SourceText* nodes = FindText(texts, "nodes");
  const SourceText* jobs = FindText(texts, "jobs");
  if (nodes != nullptr) ReadSpotNodes(*nodes, &trace, diagnostics);
  if (jobs != nullptr) ReadSpotJobs(*jobs, &trace, diagnostics);
  Manifest& manifest = trace.manifest;
  manifest.source = "alibaba cluster-trace-v2026-spot-gpu";
  manifest.licence = "not stated in the files; the publisher allows research and study";
  manifest.attribution =
      "Duan et al., GFS: A Preemptive Scheduling Framework for GPU Clusters with Predictive Spot "
      "Management, ASPLOS 2026";
  manifest.importer = "spot2026 1";
  if (nodes != nullptr) {
    manifest.notes.emplace_back("memory of nodes is not in the source: 0, and no job asks for any");
    manifest.notes.emplace_back("card memory is not in the source and stays unknown");
  }
  if (jobs != nullptr) {
    manifest.notes.emplace_back(
        "cpu_request and gpu_request are taken as of each worker, and all workers as a gang");
    manifest.notes.emplace_back(
        "Spot jobs are preemptible, HP jobs are not; times are seconds from the first submission; "
        "starts and ends are not in the source");
  }
  return trace;
}

}  // namespace basalt::trace
