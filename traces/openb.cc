#include "traces/openb.h"

#include <algorithm>
#include <array>
#include <unordered_map>
#include <utility>

#include "traces/csv.h"
#include "traces/limits.h"
#include "traces/text.h"

namespace basalt::trace {
namespace {

// Reports a name that is empty, too long or that an earlier row has.
class UniqueNames {
 public:
  UniqueNames(CsvReader* reader, std::size_t column, std::string_view what, std::size_t expected)
      : reader_(reader), column_(column), what_(what) {
    lines_.reserve(expected);
  }
  void Check(const std::string& name) {
    if (name.empty()) {
      reader_->Report(column_, std::string(what_) + " is empty; every row needs one");
      return;
    }
    if (name.size() > kMaxNameBytes) {
      reader_->Report(column_, std::string(what_) + " is longer than 4096 bytes; shorten it");
      return;
    }
    const auto [it, added] = lines_.emplace(name, reader_->line());
    if (!added) {
      reader_->Report(column_, std::string(what_) + ' ' + Quoted(name) + " is already on line " +
                                   std::to_string(it->second) + "; names must be unique");
    }
  }

 private:
  CsvReader* reader_;
  std::size_t column_;
  std::string_view what_;
  std::unordered_map<std::string, std::size_t> lines_;
};

std::string_view StatusOf(std::string_view phase) {
  if (phase == "Running") return "running";
  if (phase == "Succeeded") return "completed";
  if (phase == "Failed") return "failed";
  if (phase == "Pending") return "pending";
  return {};
}

// At most how many rows there are, to make room once; bounded, because line ends are cheap to send.
std::size_t RowGuess(std::string_view text) {
  constexpr std::size_t kMost = std::size_t{1} << 16;
  return std::min(kMost, static_cast<std::size_t>(std::ranges::count(text, '\n')));
}

enum NodeColumn : std::size_t { kSn, kNodeCpu, kNodeMemory, kNodeGpu, kModel };
constexpr std::array<CsvColumn, 5> kNodeColumns = {
    {{"sn"}, {"cpu_milli"}, {"memory_mib"}, {"gpu"}, {"model"}}};

enum PodColumn : std::size_t {
  kName,
  kPodCpu,
  kPodMemory,
  kNumGpu,
  kGpuMilli,
  kGpuSpec,
  kQos,
  kPhase,
  kCreated,
  kDeleted,
  kScheduled
};
constexpr std::array<CsvColumn, 11> kPodColumns = {{{"name"},
                                                    {"cpu_milli"},
                                                    {"memory_mib"},
                                                    {"num_gpu"},
                                                    {"gpu_milli"},
                                                    {"gpu_spec", false},
                                                    {"qos", false},
                                                    {"pod_phase", false},
                                                    {"creation_time", false},
                                                    {"deletion_time", false},
                                                    {"scheduled_time", false}}};

void ReadGpuRequest(CsvReader& reader, Task* task) {
  std::int64_t num = 0, milli = 0;
  const bool both = static_cast<int>(reader.Integer(kNumGpu, 0, kMaxCards, &num)) &
                    static_cast<int>(reader.Integer(kGpuMilli, 0, kWholeCard, &milli));
  if (!both) return;
  task->gpu_num = static_cast<std::int32_t>(num);
  task->gpu_milli = static_cast<MilliGpu>(milli);
  if (num == 0 && milli != 0) {
    reader.Report(kGpuMilli, "gpu_milli is " + std::to_string(milli) +
                                 " but num_gpu is 0; both are 0 or neither");
  } else if (num != 0 && milli == 0) {
    reader.Report(kGpuMilli, "gpu_milli is 0 but num_gpu is " + std::to_string(num) +
                                 "; both are 0 or neither");
  } else if (num > 1 && milli != kWholeCard) {
    reader.Report(kGpuMilli, "gpu_milli is " + std::to_string(milli) + " of each of " +
                                 std::to_string(num) + " GPUs; with several it must be 1000");
  }
}

void ReadGpuSpec(CsvReader& reader, Task* task) {
  task->gpu_spec = reader.String(kGpuSpec);
  const std::string& spec = task->gpu_spec;
  if (spec.empty()) return;
  if (spec.front() == '|' || spec.back() == '|' || spec.find("||") != std::string::npos) {
    reader.Report(kGpuSpec,
                  "gpu_spec " + Quoted(spec) + " has an empty alternative; write models as A|B");
  } else if (spec.size() > kMaxNameBytes) {
    reader.Report(kGpuSpec, "gpu_spec is longer than 4096 bytes; shorten it");
  }
}

void ReadTimes(CsvReader& reader, Job* job) {
  const auto time = [&](std::size_t column, std::int64_t* us) {
    return reader.Field(column).empty() || reader.Seconds(column, /*negative=*/false, us);
  };
  const bool created = time(kCreated, &job->submit_us);
  const bool started = time(kScheduled, &job->start_us);
  const bool ended = time(kDeleted, &job->end_us);
  if (!created || !started || !ended || job->end_us == kUnknownTime) return;
  if (job->start_us != kUnknownTime && job->end_us < job->start_us) {
    reader.Report(kDeleted, "deletion_time is before scheduled_time; correct them");
  }
}

}  // namespace

std::vector<Node> ParseOpenbNodes(const std::string& name, std::string_view text,
                                  Diagnostics* diagnostics) {
  CsvReader reader(name, text, kNodeColumns, diagnostics);
  std::vector<Node> nodes;
  if (!reader.ReadHeader()) return nodes;
  nodes.reserve(RowGuess(text));
  UniqueNames unique(&reader, kSn, "sn", nodes.capacity());
  const std::size_t faults = diagnostics->total;
  while (reader.Next()) {
    Node& node = nodes.emplace_back();
    node.id = reader.String(kSn);
    unique.Check(node.id);
    reader.Integer(kNodeCpu, 0, kMaxAmount, &node.cpu_milli);
    reader.Integer(kNodeMemory, 0, kMaxAmount, &node.memory_mib);
    node.model = reader.String(kModel);
    std::int64_t gpus = 0;
    if (!reader.Integer(kNodeGpu, 0, kMaxCards, &gpus)) continue;
    node.gpu_count = static_cast<std::int32_t>(gpus);
    if (gpus == 0 && !node.model.empty()) {
      reader.Report(kModel, "model is " + Quoted(node.model) +
                                " but gpu is 0; leave the model empty or correct gpu");
    } else if (gpus > 0 && node.model.empty()) {
      reader.Report(kModel,
                    "model is empty but gpu is " + std::to_string(gpus) + "; name the model");
    } else if (node.model.find('|') != std::string::npos || node.model.size() > kMaxNameBytes) {
      reader.Report(kModel, "model " + Quoted(node.model) +
                                " is too long or holds a |, which separates models in gpu_spec");
    }
  }
  if (nodes.empty() && diagnostics->total == faults) {
    diagnostics->Add(At(name, 2, 1), "no nodes: the file has a header and no rows");
  }
  return nodes;
}

OpenbPods ParseOpenbPods(const std::string& name, std::string_view text, Diagnostics* diagnostics) {
  CsvReader reader(name, text, kPodColumns, diagnostics);
  OpenbPods pods;
  if (!reader.ReadHeader()) return pods;
  pods.jobs.reserve(RowGuess(text));
  pods.tasks.reserve(pods.jobs.capacity());
  UniqueNames unique(&reader, kName, "name", pods.jobs.capacity());
  const std::size_t faults = diagnostics->total;
  while (reader.Next()) {
    Job& job = pods.jobs.emplace_back();
    Task& task = pods.tasks.emplace_back();
    job.id = reader.String(kName);
    unique.Check(job.id);
    task.job_id = job.id;
    task.task = "pod";
    reader.Integer(kPodCpu, 0, kMaxAmount, &task.cpu_milli);
    reader.Integer(kPodMemory, 0, kMaxAmount, &task.memory_mib);
    ReadGpuRequest(reader, &task);
    ReadGpuSpec(reader, &task);
    job.priority_class = reader.String(kQos);
    job.status_raw = reader.String(kPhase);
    for (const auto& [column, value] :
         {std::pair(kQos, &job.priority_class), std::pair(kPhase, &job.status_raw)}) {
      if (value->size() > kMaxNameBytes) {
        reader.Report(column, "the text is longer than 4096 bytes; shorten it");
      }
    }
    job.status = StatusOf(job.status_raw);
    ReadTimes(reader, &job);
  }
  if (pods.jobs.empty() && diagnostics->total == faults) {
    diagnostics->Add(At(name, 2, 1), "no pods: the file has a header and no rows");
  }
  return pods;
}

Result<std::vector<Node>> ReadOpenbNodes(const std::string& path, SourceFile* source) {
  const Result<std::string> text = ReadText(path, source);
  if (!text) return tl::unexpected(text.error());
  Diagnostics diagnostics;
  std::vector<Node> nodes = ParseOpenbNodes(path, *text, &diagnostics);
  if (!diagnostics.ok()) return tl::unexpected(diagnostics.ToError());
  return nodes;
}

Result<OpenbPods> ReadOpenbPods(const std::string& path, SourceFile* source) {
  const Result<std::string> text = ReadText(path, source);
  if (!text) return tl::unexpected(text.error());
  Diagnostics diagnostics;
  OpenbPods pods = ParseOpenbPods(path, *text, &diagnostics);
  if (!diagnostics.ok()) return tl::unexpected(diagnostics.ToError());
  return pods;
}

Result<Trace> ImportOpenb(const std::string& nodes_csv, const std::string& pods_csv) {
  Trace trace;
  SourceFile nodes_file, pods_file;
  Result<std::vector<Node>> nodes = ReadOpenbNodes(nodes_csv, &nodes_file);
  Result<OpenbPods> pods = ReadOpenbPods(pods_csv, &pods_file);
  if (!nodes || !pods) {
    Diagnostics both;
    if (!nodes) both.Add(nodes.error());
    if (!pods) both.Add(pods.error());
    return tl::unexpected(both.ToError());
  }
  trace.nodes = *std::move(nodes);
  trace.jobs = std::move(pods->jobs);
  trace.tasks = std::move(pods->tasks);
  Manifest& manifest = trace.manifest;
  manifest.source = "alibaba cluster-trace-gpu-v2023 (openb)";
  manifest.licence = "not stated in the files; the publisher allows research and study";
  manifest.attribution = "Weng et al., Beware of Fragmentation, USENIX ATC 2023";
  manifest.files = {std::move(nodes_file), std::move(pods_file)};
  manifest.importer = "openb 1";
  manifest.notes = {"each pod became a job with one task of one replica; row order is kept",
                    "times are seconds from the source's hidden origin",
                    "card memory is not in the source and stays unknown"};
  return trace;
}

}  // namespace basalt::trace
