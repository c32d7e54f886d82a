#include "traces/import.h"

#include <array>

#include "traces/canonical.h"
#include "traces/check.h"
#include "traces/openb.h"
#include "traces/philly.h"
#include "traces/text.h"

namespace basalt::trace {
namespace {

constexpr std::array<Importer, 3> kImporters = {{
    {"canonical", "a trace directory in this project's format, gputrace/1", "--dir DIR",
     [](const ImportFiles& files) { return ReadTrace(files.directory); }},
    {"openb", "Alibaba cluster-trace-gpu-v2023: a node list and a pod list",
     "--nodes FILE --pods FILE",
     [](const ImportFiles& files) { return ImportOpenb(files.nodes, files.pods); }},
    {"philly-csv", "Microsoft Philly, the job list of Pollux and Sia; nodes: a canonical nodes.csv",
     "[--nodes FILE] --pods FILE",
     [](const ImportFiles& files) { return ImportPhilly(files.nodes, files.pods); }},
}};

// `files` of the importer names the options that must be given, and in brackets those that may.
Status CheckFiles(const Importer& importer, const ImportFiles& given) {
  const std::array<std::pair<std::string_view, const std::string*>, 3> options = {
      {{"--nodes", &given.nodes}, {"--pods", &given.pods}, {"--dir", &given.directory}}};
  for (const auto& [option, value] : options) {
    const std::size_t at = importer.files.find(option);
    const bool known = at != std::string_view::npos;
    if (known && at > 0 && importer.files[at - 1] == '[') continue;
    if (known == !value->empty()) continue;
    return Fail(std::string(option), std::string(known ? "is missing" : "is not used") +
                                         "; format " + std::string(importer.name) + " reads " +
                                         std::string(importer.files));
  }
  return {};
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
    Result<Trace> trace = importer.import(files);
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
