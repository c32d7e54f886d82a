#include "traces/decimal.h"

#include <limits>

namespace basalt::trace {
namespace {

__extension__ using Wide = __int128;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// "e-05" and the like, at the end of the text. False when it is something else.
bool ParseExponent(std::string_view text, int* exponent) {
  if (text.empty()) return true;
  text.remove_prefix(1);  // the e
  const bool minus = !text.empty() && text.front() == '-';
  if (minus || (!text.empty() && text.front() == '+')) text.remove_prefix(1);
  if (text.empty() || text.size() > 2) return false;
  int sum = 0;
  for (const char c : text) {
    if (!IsDigit(c)) return false;
    sum = sum * 10 + (c - '0');
  }
  *exponent = minus ? -sum : sum;
  return true;
}

}  // namespace

DecimalFault ParseDecimal(std::string_view text, std::int64_t factor, Decimal* out) {
  constexpr int kSignificant = 18;
  const bool minus = !text.empty() && text.front() == '-';
  if (minus || (!text.empty() && text.front() == '+')) text.remove_prefix(1);
  std::int64_t mantissa = 0;
  int taken = 0, scale = 0;  // the number is mantissa / 10^scale
  bool digits = false, point = false, lost = false;
  std::size_t at = 0;
  for (; at < text.size(); ++at) {
    const char c = text[at];
    if (c == '.' && !point) {
      point = true;
      continue;
    }
    if (!IsDigit(c)) break;
    digits = true;
    if (taken == kSignificant) {
      lost |= c != '0';
      if (!point && --scale < -40) return DecimalFault::kTooLarge;
      continue;
    }
    mantissa = mantissa * 10 + (c - '0');
    if (mantissa != 0) ++taken;
    // Zeros before the first digit that counts may go on for long; there is no value so small.
    if (point && ++scale > 1000) return DecimalFault::kNotANumber;
  }
  int exponent = 0;
  if (!digits || (at < text.size() && text[at] != 'e' && text[at] != 'E') ||
      !ParseExponent(text.substr(at), &exponent)) {
    return DecimalFault::kNotANumber;
  }
  scale -= exponent;
  Wide value = Wide{mantissa} * factor;
  for (; scale < 0 && value != 0; ++scale) {
    if (value > std::numeric_limits<std::int64_t>::max()) return DecimalFault::kTooLarge;
    value *= 10;
  }
  Wide divisor = 1;
  for (; scale > 0; --scale) {
    if (divisor > value * 10) break;  // the quotient rounds to 0
    divisor *= 10;
  }
  const Wide rest = value % divisor;
  value /= divisor;
  if (rest * 2 >= divisor && rest != 0) ++value;
  if (value > std::numeric_limits<std::int64_t>::max()) return DecimalFault::kTooLarge;
  out->value = static_cast<std::int64_t>(minus ? -value : value);
  out->rounded = lost || rest != 0;
  return DecimalFault::kNone;
}

}  // namespace basalt::trace
