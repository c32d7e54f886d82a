// A recording as a reader: the folder of one cluster in a store that records (generations of
// snapshot, journal and decisions), or a copy of it. Reads one generation at a time: a day may be
// larger than memory. The server may be writing to the newest one meanwhile.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "scheduler-core/base/result.h"
#include "scheduler-core/engine/recording.h"

namespace basalt::store {

class Recording {
 public:
  // `cut_tail`: a torn or damaged end of a file counts as its end, and is noted; else it is an
  // error. Errors: no folder, or nothing in it that is a generation.
  static Result<Recording> Open(const std::string& folder, bool cut_tail);

  const std::vector<std::uint64_t>& generations() const { return generations_; }
  // Errors name the file, and of damage the byte.
  Result<RecordedSegment> Read(std::size_t index);
  // What is not there: generations that were cut by the limit or are missing in between, ends that
  // were cut now. For people.
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  std::string folder_;
  bool cut_tail_ = false;
  std::vector<std::uint64_t> generations_;
  std::vector<std::string> notes_;
};

}  // namespace basalt::store
