// Kubernetes quantities: "2", "500m", "4096Mi", "1.5Gi", "1e3".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "scheduler-core/base/result.h"

namespace basalt::devices {

struct Quantity {
  std::int64_t value = 0;   // rounded up
  std::int64_t milli = 0;   // thousandths, rounded up; at most 2^63 - 1
  bool whole = true;        // is an integer
  bool has_suffix = false;  // a letter
};

// Errors: no quantity, negative, or too large for thousandths in 64 bits.
Result<Quantity> ParseQuantity(std::string_view text, const std::string& where);

}  // namespace basalt::devices
