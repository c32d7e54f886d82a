#include "devices/quantity.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <limits>

namespace basalt::devices {
namespace {

__extension__ using Wide = unsigned __int128;

constexpr Wide kMax = std::numeric_limits<std::int64_t>::max();

struct Suffix {
  std::string_view text;
  std::int64_t times;  // in thousandths
};
constexpr std::int64_t k = 1000;
constexpr std::array<Suffix, 14> kSuffixes = {{{"", k},
                                               {"m", 1},
                                               {"k", k* k},
                                               {"M", k* k* k},
                                               {"G", k* k* k* k},
                                               {"T", k* k* k* k* k},
                                               {"P", k* k* k* k* k* k},
                                               {"Ki", k << 10},
                                               {"Mi", k << 20},
                                               {"Gi", k << 30},
                                               {"Ti", k << 40},
                                               {"Pi", k << 50},
                                               {"E", -1},
                                               {"Ei", -1}}};

}  // namespace

Result<Quantity> ParseQuantity(std::string_view text, const std::string& where) {
  const auto bad = [&](std::string_view what) {
    std::string shown(text.substr(0, 80));
    std::ranges::replace_if(shown, [](char c) { return (c >= 0 && c < ' ') || c == 0x7f; }, '?');
    return Fail(where, fmt::format("\"{}\" {}", shown, what));
  };
  constexpr std::string_view kForm = "is no quantity; write 2, 500m or 4096Mi";
  if (!text.empty() && text.front() == '-') return bad("is negative");
  std::size_t at = !text.empty() && text.front() == '+' ? 1 : 0;
  Wide digits = 0;
  int count = 0;
  int fraction = 0;
  bool point = false;
  for (; at < text.size(); ++at) {
    const char c = text[at];
    if (c == '.' && !point) {
      point = true;
      continue;
    }
    if (c < '0' || c > '9') break;
    digits = digits * 10 + static_cast<unsigned>(c - '0');
    fraction += point ? 1 : 0;
    if (++count > 30) return bad("has too many digits");
  }
  if (count == 0) return bad(kForm);
  std::string_view rest = text.substr(at);
  Quantity q;
  std::int64_t times = k;
  int exponent = -fraction;
  if (rest.size() > 1 && (rest[0] == 'e' || rest[0] == 'E') && rest != "Ei") {
    int e = 0;
    const std::string_view number = rest.substr(rest[1] == '+' ? 2 : 1);
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), e);
    if (error != std::errc() || end != number.data() + number.size()) return bad(kForm);
    if (e < -18 || e > 18) return bad("is out of range");
    exponent += e;
  } else {
    q.has_suffix = !rest.empty();
    bool found = false;
    for (const Suffix& suffix : kSuffixes) {
      if (suffix.text != rest) continue;
      if (suffix.times < 0) return bad("is out of range");
      times = suffix.times;
      found = true;
    }
    if (!found) return bad(kForm);
  }
  // digits has at most 30 digits (100 bits); what would overflow is too large anyway.
  Wide milli = digits;
  if (milli != 0 && static_cast<Wide>(times) > (~Wide{0}) / milli) return bad("is out of range");
  milli *= static_cast<Wide>(times);
  bool exact = true;
  for (; exponent > 0 && milli != 0; --exponent) {
    milli *= 10;
    if (milli > kMax) return bad("is out of range");
  }
  for (; exponent < 0; ++exponent) {
    exact = exact && milli % 10 == 0;
    milli /= 10;
  }
  milli += exact ? 0 : 1;
  if (milli > kMax) return bad("is out of range");
  q.milli = static_cast<std::int64_t>(milli);
  q.whole = exact && q.milli % k == 0;
  q.value = q.milli / k + (q.milli % k == 0 ? 0 : 1);
  return q;
}

}  // namespace basalt::devices
