// Measured use of cards from Prometheus: one scrape in the text exposition format (0.0.4, or
// OpenMetrics, which ends in "# EOF"), or what the HTTP API answers to `query` (vector) and
// `query_range` (matrix). Which metric is what: usage_names.h. Metrics that are not in that table
// are counted by name, not refused, for a scrape holds hundreds of others.
//
// Values that say "not measured" (NaN, infinities, negative ones, DCGM's blank numbers: whatever is
// above 10,000 % or 10^8 MiB) are counted and left out. Times are microseconds since 1970; a scrape
// without timestamps has kUnknownTime, which in a Usage row means "of the whole run".
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "scheduler-core/base/result.h"
#include "traces/diagnostics.h"

namespace basalt::trace {

inline constexpr std::size_t kMaxUsageBytes = std::size_t{512} << 20;     // a scrape, after gunzip
inline constexpr std::size_t kMaxUsageJsonBytes = std::size_t{64} << 20;  // an answer of the API

struct UsagePoint {
  std::int64_t time_us = 0;
  std::int64_t value_micro = 0;  // millionths of the canonical unit, 0..kMaxTimeUs
  friend bool operator==(const UsagePoint&, const UsagePoint&) = default;
};

struct UsageSeries {
  std::int32_t name = -1;  // row of UsageNames()
  std::string name_space, pod, container;
  std::string node, uuid, index;  // of the card; a MIG instance has /mig and its id behind both
  std::vector<UsagePoint> points;
  friend bool operator==(const UsageSeries&, const UsageSeries&) = default;
};

struct UsageFile {
  std::vector<UsageSeries> series;             // in file order, each with at least one point
  std::map<std::string, std::size_t> unknown;  // metrics that are not in the table: their samples
  std::size_t not_measured = 0;                // samples whose value says so
};

// `name` stands for the file in messages.
UsageFile ParsePrometheusText(const std::string& name, std::string_view text,
                              Diagnostics* diagnostics);
UsageFile ParsePrometheusJson(const std::string& name, std::string_view text,
                              Diagnostics* diagnostics);
// By its first character: '{' begins JSON, which no exposition does.
UsageFile ParsePrometheus(const std::string& name, std::string_view text, Diagnostics* diagnostics);
// Also packed with gzip, when the name ends in .gz.
Result<UsageFile> ReadUsageFile(const std::string& path);

}  // namespace basalt::trace
