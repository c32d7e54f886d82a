// What the fuzzers do with foreign traces. As entry.h: what is accepted keeps the module's
// promises: it is valid and survives the canonical form.
#pragma once

#include <array>
#include <string_view>
#include <utility>

#include "test/fuzz/entry.h"
#include "traces/alibaba_logs.h"
#include "traces/k8s.h"
#include "traces/pai.h"
#include "traces/philly_json.h"
#include "traces/slurm_logs.h"
#include "traces/source.h"
#include "traces/swf.h"

namespace basalt::fuzz {

// `input` is one text after another between 0x1e bytes, for the options in this order; an option
// whose text is empty is not given.
template <std::size_t n>
void Import(trace::Trace (*parse)(const trace::SourceTexts&, trace::Diagnostics*),
            const std::array<const char*, n>& options, std::string_view input) {
  trace::SourceTexts texts;
  for (const char* option : options) {
    const std::size_t end = std::min(input.find('\x1e'), input.size());
    // Messages start with the file's name, which CheckDiagnostics wants to be an f.
    if (end > 0) texts[option] = {"f", std::string(input.substr(0, end))};
    input.remove_prefix(std::min(end + 1, input.size()));
  }
  trace::Diagnostics d, again;
  const trace::Trace t = parse(texts, &d);
  if (d.total == 1 && d.errors[0].where.starts_with("--")) return;  // a file that must be there
  CheckDiagnostics(d);
  if (!d.ok()) return;
  // Only rules that no importer can check by row may be left: that there is something at all, and
  // limits on sizes of text.
  const trace::Diagnostics faults = trace::Validate(t);
  if (!faults.ok()) return;
  BASALT_FUZZ_CHECK(trace::ParseNodes("f", trace::FormatNodes(t.nodes), &again) == t.nodes);
  BASALT_FUZZ_CHECK(trace::ParseJobs("f", trace::FormatJobs(t.jobs), &again) == t.jobs);
  BASALT_FUZZ_CHECK(trace::ParseTasks("f", trace::FormatTasks(t.tasks), &again) == t.tasks);
  BASALT_FUZZ_CHECK(trace::ParsePlacements("f", trace::FormatPlacements(t.placements), &again) ==
                    t.placements);
  BASALT_FUZZ_CHECK(trace::ParseUsage("f", trace::FormatUsage(t.usage), &again) == t.usage);
  BASALT_FUZZ_CHECK(trace::ParseQueues("f", trace::FormatQueues(t.queues), &again) == t.queues);
  BASALT_FUZZ_CHECK(trace::ParseCapacity("f", trace::FormatCapacity(t.capacity), &again) ==
                    t.capacity);
  BASALT_FUZZ_CHECK(again.ok());
  const trace::Trace twice = parse(texts, &again);
  BASALT_FUZZ_CHECK(again.ok() && twice == t);
}

// The first byte chooses the importer.
inline void ImportTables(std::string_view input) {
  if (input.empty()) return;
  const char kind = input.front();
  input.remove_prefix(1);
  using Two = std::array<const char*, 2>;
  if (kind == 'p') {
    Import(trace::ParsePai2020,
           std::array<const char*, 6>{"nodes", "jobs", "tasks", "instances", "sensors", "tags"},
           input);
  }
  if (kind == 'q') Import(trace::ParsePaiSim, Two{"jobs", "nodes"}, input);
  if (kind == 'd') Import(trace::ParseDlrm2025, Two{"jobs", "nodes"}, input);
  if (kind == 's') Import(trace::ParseSpot2026, Two{"nodes", "jobs"}, input);
  if (kind == 'h') Import(trace::ParseHelios, Two{"jobs", "capacity"}, input);
  if (kind == 'a') Import(trace::ParseAcme, Two{"jobs", "nodes"}, input);
  if (kind == 'w') Import(trace::ParseSwf, Two{"jobs", "nodes"}, input);
}

inline void ImportPhillyJson(std::string_view input) {
  Import(trace::ParsePhillyJson, std::array<const char*, 2>{"jobs", "nodes"}, input);
}

inline void ImportVolcano(std::string_view input) {
  Import(trace::ParseVolcano, std::array<const char*, 2>{"jobs", "pods"}, input);
}

inline void ImportK8s(std::string_view input) {
  Import(trace::ParseK8s, std::array<const char*, 2>{"nodes", "pods"}, input);
}

}  // namespace basalt::fuzz
