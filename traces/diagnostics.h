// All that is wrong with an input, in the order it was found: the first kMaxErrors in full and the
// count of the rest, so that a user mends a file in one round and a broken one cannot flood them.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "scheduler-core/base/result.h"
#include "traces/limits.h"

namespace basalt::trace {

struct Diagnostics {
  std::vector<Error> errors;  // at most kMaxErrors
  std::size_t total = 0;      // of all that were added

  bool ok() const { return total == 0; }
  void Add(std::string where, std::string message);
  void Add(Error error) { Add(std::move(error.where), std::move(error.message)); }
  // Takes over the errors of another part of the same input.
  void Append(Diagnostics other);

  // One line an error, then "... and N more errors". Empty when ok.
  std::string ToString() const;
  // All of it as one Error: the first one's place, the others as further lines of the message.
  // Requires !ok().
  Error ToError() const;
};

}  // namespace basalt::trace
