// Engine states for `explain` and `snapshot`: from a snapshot file, or by filling a cluster with a
// trace up to some load.
#pragma once

#include <functional>
#include <string>

#include "cli/common.h"
#include "scheduler-core/engine/engine.h"

namespace basalt::cli {

struct StateInput {
  TraceInput trace;
  std::string snapshot;
  std::string policy = "fgd";
  std::uint64_t seed = 42;
  int at_percent = 90;
};
void AddStateInput(CLI::App* app, StateInput* input, bool with_snapshot);

// Calls `use` with the engine. `journal` may be null.
Status WithEngine(const StateInput& input, const Registry& registry, JournalSink* journal,
                  const std::function<void(Engine&)>& use);

}  // namespace basalt::cli
