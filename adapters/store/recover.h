// What a folder of snapshots and journals holds: the newest snapshot that can be read, and every
// record after it. Applies effects and decides nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "scheduler-core/base/result.h"
#include "scheduler-core/engine/engine.h"

namespace basalt::store {

struct Recovered {
  std::unique_ptr<Engine> engine;  // null: there is no snapshot; nothing was lost
  std::uint64_t newest = 0;        // generation of any file there
  std::uint64_t snapshot = 0;      // generation that was read
  std::size_t records = 0;         // applied after it
  // A torn or damaged end of the last journal, which was cut off; empty: it ended cleanly.
  std::string tail_problem;
  std::int64_t cut_bytes = 0;
  // Whole records among what was cut. A torn end has none: they were written, and perhaps answered,
  // before something else damaged what stands in front of them.
  std::size_t lost_records = 0;
  std::string damaged;  // newer snapshots that could not be read, and why
};

// `options` without a journal. Errors: nothing there can be read; a journal of a newer format; a
// record that does not fit what came before it.
Result<Recovered> Recover(const std::string& folder, const ConfiguredPolicy& policy,
                          const EngineOptions& options);

}  // namespace basalt::store
