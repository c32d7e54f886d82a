// Slurm's host lists, expanded: "n[0-7,9],m[01-02]r[0-1]". A leading zero gives the width. The work
// is bounded by a limit on the number of names and on the length of one. Errors have no place: the
// caller knows where the list stands.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "scheduler-core/base/result.h"

namespace basalt::topology {

inline constexpr std::size_t kMaxNodeNames = 200'000;
inline constexpr std::size_t kMaxNodeNameLength = 253;  // as in Kubernetes

namespace hostlist {

inline tl::unexpected<Error> HostError(std::string message) { return Fail("", std::move(message)); }

inline Result<std::uint32_t> HostNumber(std::string_view digits) {
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size() || digits.size() > 9) {
    return HostError(
        fmt::format("\"{}\" in brackets is no number of at most 9 digits", digits.substr(0, 40)));
  }
  return value;
}

// What stands in one pair of brackets: "0-7,9" or "001-010".
inline Result<std::vector<std::string>> ExpandBrackets(std::string_view inside, std::size_t limit) {
  std::vector<std::string> out;
  while (true) {
    const std::size_t comma = std::min(inside.find(','), inside.size());
    const std::string_view item = inside.substr(0, comma);
    const std::size_t dash = item.find('-');
    const std::string_view low_text = item.substr(0, std::min(dash, item.size()));
    const Result<std::uint32_t> low = HostNumber(low_text);
    if (!low) return tl::unexpected<Error>(low.error());
    const Result<std::uint32_t> high =
        dash == std::string_view::npos ? low : HostNumber(item.substr(dash + 1));
    if (!high) return tl::unexpected<Error>(high.error());
    if (*high < *low) return HostError(fmt::format("range \"{}\" runs backwards", item));
    if (*high - *low >= limit - std::min(limit, out.size())) {
      return HostError(
          fmt::format("range \"{}\" makes too many names; at most {} in all", item, kMaxNodeNames));
    }
    for (std::uint32_t i = *low; i <= *high; ++i) {
      out.push_back(fmt::format("{:0{}}", i, low_text.size()));
    }
    if (comma == inside.size()) return out;
    inside.remove_prefix(comma + 1);
  }
}

// One host with its brackets.
inline Result<std::vector<std::string>> ExpandHost(std::string_view host, std::size_t limit) {
  std::vector<std::string> names = {""};
  while (!host.empty()) {
    std::vector<std::string> ends;
    if (host.front() == '[') {
      const std::size_t close = host.find(']');
      if (close == std::string_view::npos) return HostError("\"[\" is not closed by \"]\"");
      Result<std::vector<std::string>> inside = ExpandBrackets(host.substr(1, close - 1), limit);
      if (!inside) return inside;
      ends = std::move(*inside);
      host.remove_prefix(close + 1);
    } else {
      const std::size_t open = std::min(host.find('['), host.size());
      ends.emplace_back(host.substr(0, open));
      host.remove_prefix(open);
      for (const char c : ends.back()) {
        const auto u = static_cast<unsigned char>(c);
        if (std::isalnum(u) != 0 || u >= 0x80 || c == '-' || c == '_' || c == '.') continue;
        return HostError(u < 0x20 ? std::string("a control character in a node name")
                                  : fmt::format("\"{}\" in a node name", c));
      }
    }
    if (names.size() * ends.size() > limit) {
      return HostError(fmt::format("makes too many names; at most {} in all", kMaxNodeNames));
    }
    std::vector<std::string> longer;
    longer.reserve(names.size() * ends.size());
    for (const std::string& name : names) {
      for (const std::string& end : ends) {
        if (name.size() + end.size() > kMaxNodeNameLength) {
          return HostError(fmt::format("a node name is longer than {}", kMaxNodeNameLength));
        }
        longer.push_back(name + end);
      }
    }
    names = std::move(longer);
  }
  return names;
}

}  // namespace hostlist

// More than `limit` names are an error.
inline Result<std::vector<std::string>> ExpandHostlist(std::string_view text,
                                                       std::size_t limit = kMaxNodeNames) {
  std::vector<std::string> out;
  while (true) {
    std::size_t end = 0;  // the next comma outside of brackets
    for (bool inside = false; end < text.size() && (inside || text[end] != ','); ++end) {
      if (text[end] == '[') inside = true;
      if (text[end] == ']') inside = false;
    }
    if (end == 0) return hostlist::HostError("a node name is missing");
    Result<std::vector<std::string>> names =
        hostlist::ExpandHost(text.substr(0, end), limit - out.size());
    if (!names) return names;
    std::move(names->begin(), names->end(), std::back_inserter(out));
    if (end == text.size()) return out;
    text.remove_prefix(end + 1);
  }
}

}  // namespace basalt::topology
