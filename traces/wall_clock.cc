#include "traces/wall_clock.h"

#include <chrono>

namespace basalt::trace {
namespace {

constexpr std::int64_t kSecond = 1'000'000;  // microseconds
constexpr std::int64_t kDay = 86'400;        // seconds

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

bool HasShape(std::string_view text, std::string_view shape) {
  if (text.size() != shape.size()) return false;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 'd' ? !IsDigit(text[i]) : text[i] != shape[i]) return false;
  }
  return true;
}

int Two(std::string_view text, std::size_t at) {
  return (text[at] - '0') * 10 + (text[at + 1] - '0');
}

std::string Padded(std::int64_t number, std::size_t digits) {
  const std::string text = std::to_string(number);
  return std::string(text.size() < digits ? digits - text.size() : 0, '0') + text;
}

}  // namespace

bool ParseWallClock(std::string_view text, std::int64_t* seconds) {
  if (!HasShape(text, "dddd-dd-dd dd:dd:dd")) return false;
  const std::chrono::year_month_day day(std::chrono::year(Two(text, 0) * 100 + Two(text, 2)),
                                        std::chrono::month(static_cast<unsigned>(Two(text, 5))),
                                        std::chrono::day(static_cast<unsigned>(Two(text, 8))));
  if (!day.ok() || Two(text, 11) > 23 || Two(text, 14) > 59 || Two(text, 17) > 59) return false;
  *seconds = std::chrono::sys_days(day).time_since_epoch().count() * kDay + Two(text, 11) * 3600 +
             Two(text, 14) * 60 + Two(text, 17);
  return true;
}

bool ParseInstant(std::string_view text, std::int64_t* microseconds) {
  constexpr std::size_t kClock = 19;
  if (text.size() <= kClock) return false;
  std::string clock(text.substr(0, kClock));
  if (clock[10] == 'T') clock[10] = ' ';
  std::int64_t seconds = 0;
  if (!ParseWallClock(clock, &seconds)) return false;
  text.remove_prefix(kClock);
  std::int64_t fraction = 0;
  if (text.front() == '.') {
    std::size_t digits = 1;
    while (digits < text.size() && IsDigit(text[digits])) ++digits;
    if (digits == 1 || digits > 10) return false;
    for (std::size_t i = 1; i <= 6; ++i)
      fraction = fraction * 10 + (i < digits ? text[i] - '0' : 0);
    text.remove_prefix(digits);
  }
  if (text != "Z") {
    if (!HasShape(text, "+dd:dd") && !HasShape(text, "-dd:dd")) return false;
    if (Two(text, 1) > 23 || Two(text, 4) > 59) return false;
    const std::int64_t offset = Two(text, 1) * 3600 + Two(text, 4) * 60;
    seconds -= text.front() == '-' ? -offset : offset;
  }
  *microseconds = seconds * kSecond + fraction;
  return true;
}

std::string FormatInstant(std::int64_t microseconds) {
  using std::chrono::floor;
  const std::chrono::sys_time<std::chrono::microseconds> at{
      std::chrono::microseconds(microseconds)};
  const auto days = floor<std::chrono::days>(at);
  const std::chrono::year_month_day day(days);
  const std::int64_t us = (at - days).count();
  const std::int64_t s = us / kSecond;
  std::string out = Padded(int{day.year()}, 4) + '-' + Padded(unsigned{day.month()}, 2) + '-' +
                    Padded(unsigned{day.day()}, 2) + 'T' + Padded(s / 3600, 2) + ':' +
                    Padded(s / 60 % 60, 2) + ':' + Padded(s % 60, 2);
  if (us % kSecond != 0) {
    std::string part = Padded(us % kSecond, 6);
    part.erase(part.find_last_not_of('0') + 1);
    out += '.' + part;
  }
  return out + 'Z';
}

}  // namespace basalt::trace
