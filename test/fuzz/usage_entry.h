// What the fuzzer of Prometheus' formats does with one input; see entry.h.
#pragma once

#include "test/fuzz/entry.h"
#include "traces/usage_attach.h"
#include "traces/usage_names.h"
#include "traces/usage_prometheus.h"

namespace basalt::fuzz {

// What is accepted gives rows that a trace may have.
inline void UsageFile(std::string_view input) {
  trace::Diagnostics d;
  const trace::UsageFile file = trace::ParsePrometheus("f", input, &d);
  CheckDiagnostics(d);
  if (!d.ok()) return;
  for (const trace::UsageSeries& s : file.series) {
    BASALT_FUZZ_CHECK(!s.points.empty());
    BASALT_FUZZ_CHECK(s.name >= 0 && static_cast<std::size_t>(s.name) < trace::UsageNames().size());
    for (const trace::UsagePoint& p : s.points) BASALT_FUZZ_CHECK(p.value_micro >= 0);
  }
  trace::Trace t;
  t.manifest.time_zero = "2026-01-01T00:00:00Z";
  t.nodes.emplace_back().id = "n";
  for (const char* id : {"p", "ns/p"}) {
    t.jobs.emplace_back().id = id;
    trace::Task& task = t.tasks.emplace_back();
    task.job_id = id;
    task.task = "t";
  }
  const auto attached = trace::AttachUsage({file}, t);
  BASALT_FUZZ_CHECK(attached.has_value());
  std::size_t points = 0;
  for (const trace::UsageSeries& s : file.series) points += s.points.size();
  BASALT_FUZZ_CHECK(points == attached->of_jobs + attached->of_cards + attached->strangers +
                                  attached->nameless + attached->doubled);
  t.usage = attached->rows;
  trace::Diagnostics found = trace::Validate(t);
  BASALT_FUZZ_CHECK(found.ok());
}

}  // namespace basalt::fuzz
