// A server's recording as input, for `replay` and `shadow`: a cluster's folder in a store, or a
// copy of it (adapters/store/recording.h).
#pragma once

#include <functional>
#include <string>

#include "cli/common.h"
#include "sim/recording.h"

namespace basalt::cli {

struct RecordingInput {
  std::string folder;
  bool cut_tail = false;
};
void AddRecordingInput(CLI::App* app, RecordingInput* input);

// Opens it and lets `use` read its segments. Errors are bad input, with the folder in front where
// they name a file in it; what is missing in the recording is said on stderr.
void WithRecording(const RecordingInput& input, Context* context,
                   const std::function<Status(const sim::SegmentSource&)>& use);

void AddReplay(CLI::App* app, Context* context);
void AddShadow(CLI::App* app, Context* context);

}  // namespace basalt::cli
