// Text from outside as it may stand in messages, logs and pages.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace basalt::service {

// Control characters and bytes that are no UTF-8 become "\xNN", and what is longer than `most`
// bytes is cut between two characters and ends with "...". The result is valid UTF-8 of one line.
std::string Shown(std::string_view text, std::size_t most = 2'000);

}  // namespace basalt::service
