// Measured use of a trace: its own usage.csv and files from Prometheus.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "cli/common.h"
#include "traces/trace.h"
#include "traces/usage_attach.h"

namespace basalt::cli {

struct UsageInput {
  std::string directory;
  std::vector<std::string> files;
};
void AddUsageInput(CLI::App* app, UsageInput* input);

struct MeasuredTrace {
  trace::Trace trace;  // with all rows of usage
  // Of the files; rows is empty, they are in the trace.
  trace::AttachedUsage attached;
  std::map<std::string, std::size_t> unknown;
  std::size_t not_measured = 0;
};
Result<MeasuredTrace> LoadMeasured(const UsageInput& input);
// What was left out, on stderr.
void SayLeftOut(const MeasuredTrace& measured);

}  // namespace basalt::cli
