// Dates and times of sources: a clock on a wall, whose zone nobody says, and instants.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace basalt::trace {

// "2017-10-09 07:01:55" as seconds since 1970 of the same clock; false when it is no such time.
bool ParseWallClock(std::string_view text, std::int64_t* seconds);

// "2023-03-01 00:18:22+08:00", "2026-11-21T02:30:21.5Z" as microseconds since 1970 UTC: a date, T
// or a space, a time with up to nine digits of a fraction (what is below a microsecond is cut), and
// a zone, without which it is no instant and the answer is false.
bool ParseInstant(std::string_view text, std::int64_t* microseconds);

// "2026-11-21T02:30:21Z", with a fraction where there is one. Requires a year of four digits.
std::string FormatInstant(std::int64_t microseconds);

}  // namespace basalt::trace
