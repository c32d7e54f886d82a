#include "traces/import.h"

#include <array>

#include "traces/canonical.h"
#include "traces/check.h"
#include "traces/openb.h"
#include "traces/text.h"

namespace basalt::trace {
namespace {

constexpr std::array<Importer, 2> kImporters = {{
    {"canonical", "a trace directory in this project's format, gputrace/1", "--dir DIR",
     [](const ImportFiles& files) { return ReadTrace(files.directory); }},
    {"openb", "Alibaba cluster-trace-gpu-v2023: a node list and a pod list",
     "--nodes FILE --pods FILE",
     [](const ImportFiles& files) { return ImportOpenb(files.nodes, files.pods); }},
}};

// `files` of the importer names exactly the options that must be given.
Status CheckFiles(const Importer& importer, const ImportFiles& given) {
  const std::array<std::pair<std::string_view, const std::string*>, 3> options = {
      {{"--nodes", &given.nodes}, {"--pods", &given.pods}, {"--dir", &given.directory}}};
  for (const auto& [option, value] : options) {
    const bool needed = importer.files.find(option) != std::string_view::npos;
    if (needed == !value->empty()) continue;
    return Fail(std::string(option), std::string(needed ? "is missing" : "is not used") +
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
