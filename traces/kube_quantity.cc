#include "traces/kube_quantity.h"

#include <array>
#include <limits>

namespace basalt::trace {
namespace {

__extension__ using Wide = __int128;

struct Suffix {
  std::string_view text;
  std::int64_t num, den;
};
constexpr std::int64_t kKilo = 1000, kKibi = 1024;
constexpr std::array<Suffix, 16> kSuffixes = {
    {{"", 1, 1},
     {"n", 1, kKilo* kKilo* kKilo},
     {"u", 1, kKilo* kKilo},
     {"m", 1, kKilo},
     {"k", kKilo, 1},
     {"M", kKilo* kKilo, 1},
     {"G", kKilo* kKilo* kKilo, 1},
     {"T", kKilo* kKilo* kKilo* kKilo, 1},
     {"P", kKilo* kKilo* kKilo* kKilo* kKilo, 1},
     {"E", kKilo* kKilo* kKilo* kKilo* kKilo* kKilo, 1},
     {"Ki", kKibi, 1},
     {"Mi", kKibi* kKibi, 1},
     {"Gi", kKibi* kKibi* kKibi, 1},
     {"Ti", kKibi* kKibi* kKibi* kKibi, 1},
     {"Pi", kKibi* kKibi* kKibi* kKibi* kKibi, 1},
     {"Ei", kKibi* kKibi* kKibi* kKibi* kKibi* kKibi, 1}}};

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// The power of ten of "e3", "E-2"; false when it is something else, such as the suffix E.
bool ParseExponent(std::string_view text, int* exponent) {
  if (text.size() < 2 || (text[0] != 'e' && text[0] != 'E')) return false;
  text.remove_prefix(1);
  const bool minus = text.front() == '-';
  if (minus || text.front() == '+') text.remove_prefix(1);
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

bool ParseQuantity(std::string_view text, std::int64_t num, std::int64_t den, Round round,
                   std::int64_t* value, bool* exact) {
  if (text.starts_with('+')) text.remove_prefix(1);
  constexpr Wide kMost = Wide{1} << 100;
  Wide top = 0, bottom = 1;
  bool digits = false, point = false;
  std::size_t at = 0;
  for (; at < text.size(); ++at) {
    if (text[at] == '.' && !point) {
      point = true;
      continue;
    }
    if (!IsDigit(text[at])) break;
    digits = true;
    if (top > std::numeric_limits<std::int64_t>::max() / 10) return false;
    if (bottom > std::numeric_limits<std::int64_t>::max() / 10) return false;
    top = top * 10 + (text[at] - '0');
    if (point) bottom *= 10;
  }
  if (!digits) return false;
  const std::string_view rest = text.substr(at);
  int exponent = 0;
  if (!ParseExponent(rest, &exponent)) {
    const Suffix* found = nullptr;
    for (const Suffix& suffix : kSuffixes) {
      if (suffix.text == rest) found = &suffix;
    }
    if (found == nullptr) return false;
    if (__builtin_mul_overflow(top, Wide{found->num}, &top)) return false;
    bottom *= found->den;
  }
  for (; exponent > 0 && top != 0; --exponent) {
    if (top > kMost) return false;
    top *= 10;
  }
  for (; exponent < 0; ++exponent) {
    if (bottom > kMost) return false;
    bottom *= 10;
  }
  if (__builtin_mul_overflow(top, Wide{num}, &top) ||
      __builtin_mul_overflow(bottom, Wide{den}, &bottom)) {
    return false;
  }
  Wide result = top / bottom;
  const bool rest_is_zero = top % bottom == 0;
  if (!rest_is_zero && round == Round::kUp) ++result;
  if (result > std::numeric_limits<std::int64_t>::max()) return false;
  *value = static_cast<std::int64_t>(result);
  if (exact != nullptr && !rest_is_zero) *exact = false;
  return true;
}

}  // namespace basalt::trace
