#include "traces/import.h"

#include <array>

#include "traces/alibaba_logs.h"
#include "traces/canonical.h"
#include "traces/check.h"
#include "traces/k8s.h"
#include "traces/openb.h"
#include "traces/pai.h"
#include "traces/philly.h"
#include "traces/philly_json.h"
#include "traces/slurm_logs.h"
#include "traces/swf.h"
#include "traces/text.h"

namespace basalt::trace {
namespace {

constexpr std::array<Importer, 13> kImporters = {{
    {"canonical", "a trace directory in this project's format, gputrace/1", "--dir DIR",
     [](const ImportFiles& files) { return ReadTrace(files.directory); }, nullptr},
    {"openb", "Alibaba cluster-trace-gpu-v2023: a node list and a pod list",
     "--nodes FILE --pods FILE",
     [](const ImportFiles& files) { return ImportOpenb(files.nodes, files.pods); }, nullptr},
    {"philly-csv", "Microsoft Philly, the job list of Pollux and Sia; nodes: a canonical nodes.csv",
     "[--nodes FILE] --pods FILE",
     [](const ImportFiles& files) { return ImportPhilly(files.nodes, files.pods); }, nullptr},
    {"philly", "Microsoft Philly as published: cluster_job_log and cluster_machine_list",
     "[--nodes FILE] --jobs FILE", nullptr, ParsePhillyJson},
    {"pai2020",
     "Alibaba cluster-trace-gpu-v2020: the pai_*.csv tables; --jobs and --tasks together",
     "[--nodes FILE] [--jobs FILE] [--tasks FILE] [--instances FILE] [--sensors FILE] [--tags "
     "FILE]",
     nullptr, ParsePai2020},
    {"pai-sim", "the job list of the simulator of cluster-trace-gpu-v2020; nodes: canonical",
     "[--nodes FILE] --jobs FILE", nullptr, ParsePaiSim},
    {"dlrm2025", "Alibaba cluster-trace-gpu-v2025: instances of DLRM services; nodes: canonical",
     "[--nodes FILE] --jobs FILE", nullptr, ParseDlrm2025},
    {"spot2026", "Alibaba cluster-trace-v2026-spot-gpu: node_info_df.csv and job_info_df.csv",
     "[--nodes FILE] [--jobs FILE]", nullptr, ParseSpot2026},
    {"helios", "SenseTime Helios: a cluster_log.csv and a cluster_gpu_number.csv; nodes: canonical",
     "[--nodes FILE] --jobs FILE [--capacity FILE]", nullptr, ParseHelios},
    {"acme", "AcmeTrace: trace_seren.csv or trace_kalos.csv; nodes: canonical",
     "[--nodes FILE] --jobs FILE", nullptr, ParseAcme},
    {"swf", "the Standard Workload Format of the Parallel Workloads Archive; nodes: canonical",
     "[--nodes FILE] --jobs FILE", nullptr, ParseSwf},
    {"k8s", "Nodes and Pods from kubectl get -o json, in one file or several",
     "[--nodes FILE] [--pods FILE]", nullptr, ParseK8s},
    {"volcano", "likewise, with Volcano's Jobs, PodGroups and Queues",
     "[--nodes FILE] [--pods FILE] [--jobs FILE] [--queues FILE]", nullptr, ParseVolcano},
}};

// `files` of the importer names the options that must be given, and in brackets those that may.
Status CheckFiles(const Importer& importer, const ImportFiles& given) {
  bool any = false;
  for (const FileOption& option : kFileOptions) {
    const std::string& value = given.*option.value;
    const std::size_t at = importer.files.find(option.name);
    const bool known = at != std::string_view::npos;
    any |= !value.empty();
    if (known && at > 0 && importer.files[at - 1] == '[') continue;
    if (known == !value.empty()) continue;
    return Fail(std::string(option.name), std::string(known ? "is missing" : "is not used") +
                                              "; format " + std::string(importer.name) + " reads " +
                                              std::string(importer.files));
  }
  if (any) return {};
  return Fail("--format", std::string(importer.name) + " needs a file; it reads " +
                              std::string(importer.files));
}

// All texts first, so that every fault of every file is reported in one go.
Result<Trace> ParseFiles(const Importer& importer, const ImportFiles& files) {
  // JSON may be one long line; tables keep to a record's limit by themselves (csv.h).
  constexpr TextLimits kLimits{kMaxTextBytes, kMaxTextBytes};
  SourceTexts texts;
  std::vector<SourceFile> sources;
  Diagnostics diagnostics;
  for (const FileOption& option : kFileOptions) {
    const std::string& path = files.*option.value;
    if (path.empty()) continue;
    Result<std::string> text = ReadText(path, &sources.emplace_back(), kLimits);
    if (text) {
      texts[std::string(option.name.substr(2))] = {path, *std::move(text)};
    } else {
      diagnostics.Add(text.error());
    }
  }
  if (!diagnostics.ok()) return tl::unexpected(diagnostics.ToError());
  Trace trace = importer.parse(texts, &diagnostics);
  if (!diagnostics.ok()) return tl::unexpected(diagnostics.ToError());
  trace.manifest.files = std::move(sources);
  return trace;
}

}  // namespace

std::span<const Importer> Importers() { return kImporters; }

Result<Trace> Import(std::string_view format, const ImportFiles& files) {
  std::vector<std::string_view> names;
  for (const Importer& importer : kImporters) {
    names.push_back(importer.name);
    if (importer.name != format) continue;
    if (const Status given = CheckFiles(importer, files); !given) {
      return tl::unexpected(given.error());
    }
    Result<Trace> trace =
        importer.parse != nullptr ? ParseFiles(importer, files) : importer.import(files);
    if (!trace) return trace;
    const Diagnostics faults = Validate(*trace);
    if (!faults.ok()) return tl::unexpected(faults.ToError());
    return trace;
  }
  std::string message = "unknown trace format " + Quoted(format) + DidYouMean(format, names, ";");
  message += " Known:";
  for (const std::string_view name : names) message += ' ' + std::string(name);
  return Fail("--format", message);
}

}  // namespace basalt::trace
