// Decimal numbers as sources write them, "600.0", "29.296875", "1.5e-05", turned into integers
// without a double in between: the value times a factor, rounded to nearest, halves away from 0.
#pragma once

#include <cstdint>
#include <string_view>

namespace basalt::trace {

enum class DecimalFault { kNone, kNotANumber, kTooLarge };

struct Decimal {
  std::int64_t value = 0;  // of number x factor
  bool rounded = false;    // whether digits were lost
};

// An optional sign, digits with an optional point, an optional exponent within +-99; nothing else.
// Digits after the eighteenth significant one are taken as lost. Requires 0 < factor <= 2^40.
DecimalFault ParseDecimal(std::string_view text, std::int64_t factor, Decimal* out);

}  // namespace basalt::trace
