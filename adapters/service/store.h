// Where a service's journals and snapshots go: the only way out of it. adapters/store writes files;
// tests and the simulation keep bytes in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "scheduler-core/base/result.h"
#include "scheduler-core/engine/recording.h"

namespace basalt::service {

class Store {
 public:
  virtual ~Store() = default;
  // A new generation of the cluster: this snapshot, durable when the call returns, and an empty
  // journal after it. The sink takes what happens from then on; it lives until the next Begin of
  // the cluster. On an error the old generation stays, and so does its journal's error.
  virtual Result<JournalSink*> Begin(const std::string& cluster, std::string_view snapshot) = 0;
  // Grows with every record appended, over all generations. An answer that depends on what was
  // appended waits until the journal is durable up to here.
  virtual std::uint64_t Position(const std::string& cluster) const = 0;
  // Of the present journal; what is not on disk yet counts.
  virtual std::int64_t JournalBytes(const std::string& cluster) const = 0;
  // Why the cluster's journal cannot be written; empty: it can. A failed append is latched until
  // Begin succeeds.
  virtual std::string ErrorOf(const std::string& cluster) const = 0;
  // Whole records of its journal that stood behind a damage at the last start, and are lost.
  virtual std::size_t LostRecords(const std::string& /*cluster*/) const { return 0; }
  // A small book beside the journal, replaced as a whole and durable when the call returns (the
  // service's commands: few, and each is waited for). A store that keeps nothing has none.
  virtual Status Keep(const std::string& /*cluster*/, std::string_view /*book*/) { return {}; }
  // The last one; empty: none. Errors: it is damaged.
  virtual Result<std::string> Kept(const std::string& /*cluster*/) { return std::string(); }
  // Where decisions of the present generation go, beside its journal and in step with it; until the
  // next Begin. Null: nothing is recorded.
  virtual DecisionSink* DecisionsOf(const std::string& cluster) {
    static_cast<void>(cluster);
    return nullptr;
  }
  // What is kept for a replay.
  struct Recording {
    std::uint64_t oldest = 0;  // generation; 0: none
    std::uint64_t cut = 0;     // the newest that had to go, by the limit; 0: none had to
    std::int64_t bytes = 0;    // of the generations before the present one
  };
  virtual Recording RecordingOf(const std::string& cluster) const {
    static_cast<void>(cluster);
    return {};
  }
};

}  // namespace basalt::service
