// Rows made by schema, through an importer.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>

#include "test/unit/traces_test_util.h"
#include "traces/canonical.h"
#include "traces/check.h"
#include "traces/source.h"

namespace basalt::trace {

using Parse = Trace (*)(const SourceTexts& texts, Diagnostics* diagnostics);

inline SourceTexts Texts(const std::map<std::string, std::string>& files) {
  SourceTexts texts;
  for (const auto& [option, text] : files) texts[option] = {option, text};
  return texts;
}

// The trace of files without fault, by option. It is valid and survives the canonical form.
inline Trace Parsed(Parse parse, const std::map<std::string, std::string>& files) {
  Diagnostics d;
  Trace trace = parse(Texts(files), &d);
  EXPECT_EQ(d.ToString(), "");
  EXPECT_EQ(Validate(trace).ToString(), "");
  const TempDir dir;
  const Status written = WriteTrace(trace, dir / "t");
  EXPECT_TRUE(written) << written.error().ToString();
  const auto back = ReadTrace(dir / "t");
  EXPECT_TRUE(back) << back.error().ToString();
  EXPECT_TRUE(back && *back == trace);
  return trace;
}

// The only error.
inline std::string Fault(Parse parse, const std::map<std::string, std::string>& files) {
  Diagnostics d;
  parse(Texts(files), &d);
  return OnlyError(d);
}

inline std::string Csv(const Trace& trace, const std::string& table) {
  if (table == "nodes") return FormatNodes(trace.nodes);
  if (table == "jobs") return FormatJobs(trace.jobs);
  if (table == "tasks") return FormatTasks(trace.tasks);
  if (table == "placements") return FormatPlacements(trace.placements);
  if (table == "usage") return FormatUsage(trace.usage);
  if (table == "queues") return FormatQueues(trace.queues);
  return FormatCapacity(trace.capacity);
}

// The table without its header and without the columns in which every row has the same default, as
// "column=value" of those that differ: the exact canonical result in words that can be read.
inline std::string Rows(const Trace& trace, const std::string& table) {
  const std::string text = Csv(trace, table);
  std::vector<CsvColumn> columns;
  const std::string header = text.substr(0, text.find('\n'));
  for (std::size_t at = 0; at <= header.size();) {
    const std::size_t end = std::min(header.find(',', at), header.size());
    columns.push_back({std::string_view(header).substr(at, end - at)});
    at = end + 1;
  }
  Diagnostics d;
  CsvReader reader("t", text, columns, &d);
  EXPECT_TRUE(reader.ReadHeader()) << d.ToString();
  std::string out;
  while (reader.Next()) {
    std::string row;
    for (std::size_t c = 0; c < columns.size(); ++c) {
      if (reader.Field(c).empty()) continue;
      if (!row.empty()) row += ' ';
      row += std::string(columns[c].name) + '=' + std::string(reader.Field(c));
    }
    out += row + '\n';
  }
  return out;
}

}  // namespace basalt::trace
