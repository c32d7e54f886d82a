// What the fuzzers do with one input, shared with test/unit/fuzz_corpus_test.cc so that every
// build replays the committed corpus. Beyond "does not crash", an input that is accepted must keep
// the module's promises; a broken promise aborts with its line.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "traces/canonical.h"
#include "traces/check.h"
#include "traces/csv.h"
#include "traces/limits.h"
#include "traces/openb.h"
#include "traces/orders.h"
#include "traces/text.h"

#define BASALT_FUZZ_CHECK(condition)                                                       \
  do {                                                                                     \
    if (!(condition)) {                                                                    \
      std::fprintf(stderr, "%s:%d: broken promise: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                        \
    }                                                                                      \
  } while (false)

namespace basalt::fuzz {

inline void CheckDiagnostics(const trace::Diagnostics& d) {
  BASALT_FUZZ_CHECK(d.errors.size() == std::min(d.total, trace::kMaxErrors));
  for (const Error& error : d.errors) {
    BASALT_FUZZ_CHECK(error.where.starts_with("f"));
    BASALT_FUZZ_CHECK(!error.message.empty());
    BASALT_FUZZ_CHECK(error.message.find('\0') == std::string::npos);
  }
  if (!d.ok()) BASALT_FUZZ_CHECK(!d.ToError().message.empty());
}

// An accepted node list is valid as a trace and survives the canonical form.
inline void OpenbNodes(std::string_view input) {
  trace::Diagnostics d;
  trace::Trace t;
  t.nodes = trace::ParseOpenbNodes("f", input, &d);
  CheckDiagnostics(d);
  if (!d.ok()) return;
  BASALT_FUZZ_CHECK(!t.nodes.empty());
  BASALT_FUZZ_CHECK(trace::Validate(t).ok());
  trace::Diagnostics again;
  BASALT_FUZZ_CHECK(trace::ParseNodes("f", trace::FormatNodes(t.nodes), &again) == t.nodes);
  BASALT_FUZZ_CHECK(again.ok());
}

inline void OpenbPods(std::string_view input) {
  trace::Diagnostics d;
  trace::OpenbPods pods = trace::ParseOpenbPods("f", input, &d);
  CheckDiagnostics(d);
  BASALT_FUZZ_CHECK(pods.jobs.size() == pods.tasks.size());
  if (!d.ok()) return;
  BASALT_FUZZ_CHECK(!pods.jobs.empty());
  trace::Trace t;
  t.jobs = pods.jobs;
  t.tasks = pods.tasks;
  BASALT_FUZZ_CHECK(trace::Validate(t).ok());
  trace::Diagnostics again;
  BASALT_FUZZ_CHECK(trace::ParseJobs("f", trace::FormatJobs(t.jobs), &again) == t.jobs);
  BASALT_FUZZ_CHECK(trace::ParseTasks("f", trace::FormatTasks(t.tasks), &again) == t.tasks);
  BASALT_FUZZ_CHECK(again.ok());
}

// The first byte chooses the file: n, j, t or m. What is accepted reads back the same, and writing
// it again gives the same bytes.
inline void CanonicalCsv(std::string_view input) {
  if (input.empty()) return;
  const char kind = input.front();
  input.remove_prefix(1);
  trace::Diagnostics d, again;
  const auto table = [&](auto parse, auto format) {
    const auto rows = parse("f", input, &d, nullptr);
    CheckDiagnostics(d);
    if (!d.ok()) return;
    const std::string text = format(rows);
    const auto back = parse("f", text, &again, nullptr);
    BASALT_FUZZ_CHECK(again.ok());
    BASALT_FUZZ_CHECK(back == rows);
    BASALT_FUZZ_CHECK(format(back) == text);
  };
  if (kind == 'n') table(trace::ParseNodes, trace::FormatNodes);
  if (kind == 'j') table(trace::ParseJobs, trace::FormatJobs);
  if (kind == 't') table(trace::ParseTasks, trace::FormatTasks);
  if (kind != 'm') return;
  trace::Counts counts, counts_back;
  const trace::Manifest manifest = trace::ParseManifest("f", input, &d, &counts);
  CheckDiagnostics(d);
  if (!d.ok()) return;
  const std::string text = trace::FormatManifest(manifest, counts);
  BASALT_FUZZ_CHECK(trace::ParseManifest("f", text, &again, &counts_back) == manifest);
  BASALT_FUZZ_CHECK(again.ok() && counts == counts_back);
}

// The first two bytes are the numbers of nodes and of pods.
inline void Orders(std::string_view input) {
  if (input.size() < 2) return;
  const auto nodes = static_cast<unsigned char>(input[0]);
  const auto pods = static_cast<unsigned char>(input[1]);
  const auto order = trace::ParseArrivalOrder("f", input.substr(2), nodes, pods);
  if (!order) {
    BASALT_FUZZ_CHECK(order.error().where.starts_with("f:"));
    return;
  }
  BASALT_FUZZ_CHECK(order->node_rank.size() == nodes && !order->pods.empty());
  std::string seen(nodes, '\0');
  for (const std::uint32_t rank : order->node_rank) {
    BASALT_FUZZ_CHECK(rank < nodes && seen[rank] == '\0');
    seen[rank] = 1;
  }
  for (const std::uint32_t row : order->pods) BASALT_FUZZ_CHECK(row < pods);
}

inline void Gunzip(std::string_view input) {
  const trace::TextLimits limits{1 << 20, 1 << 16};
  const auto text = trace::Gunzip("f", input, limits);
  if (text) BASALT_FUZZ_CHECK(text->size() <= limits.max_bytes);
}

}  // namespace basalt::fuzz
