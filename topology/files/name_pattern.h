// A regular expression on node names, as HyperNodes have it. Its cost is bounded: the text may come
// from anyone, and "(a+)+$" must not stop the scheduler. Only what Go (Volcano) and ECMAScript both
// know, with the same meaning, is let through.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <regex>
#include <string>
#include <string_view>

#include "scheduler-core/base/result.h"
#include "topology/files/hostlist.h"

namespace basalt::topology {

inline constexpr std::size_t kMaxPatternLength = 256;

// Matches anywhere in a name unless it is anchored.
class NamePattern {
 public:
  static Result<NamePattern> Make(const std::string& text) {
    if (const std::string bad = Problem(text); !bad.empty()) return Fail("", bad);
    NamePattern pattern;
    try {
      // Not backtracking: "(a+)+$" would not end on a long name.
      pattern.regex_.assign(text, std::regex::ECMAScript | std::regex_constants::__polynomial);
    } catch (const std::regex_error& e) {
      return Fail("", fmt::format("pattern \"{}\" is not understood: {}", text, e.what()));
    }
    pattern.prefix_ = Prefix(text);
    return pattern;
  }
  bool Matches(const std::string& name) const {
    return name.size() <= kMaxNodeNameLength && name.starts_with(prefix_) &&
           std::regex_search(name, regex_);
  }

 private:
  static std::string Problem(const std::string& text) {
    if (text.size() > kMaxPatternLength) {
      return fmt::format("pattern is longer than {} characters", kMaxPatternLength);
    }
    std::uint64_t repeats = 1;
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '\\') {
        ++i;
        const char c = i < text.size() ? text[i] : 'x';
        if (std::isalnum(static_cast<unsigned char>(c)) != 0 &&
            std::string_view("dDwWsSbB").find(c) == std::string_view::npos) {
          return fmt::format("pattern \"{}\": \"\\{}\" is not read", text, c);
        }
      } else if (text.compare(i, 2, "(?") == 0 && text.compare(i, 3, "(?:") != 0) {
        return fmt::format("pattern \"{}\": of groups with \"(?\" only \"(?:\" is read", text);
      } else if (text[i] == '{') {
        // The largest number in the braces; nested ones multiply.
        std::uint64_t largest = 1;
        std::uint64_t number = 0;
        for (++i; i < text.size() && text[i] != '}'; ++i) {
          const bool digit = std::isdigit(static_cast<unsigned char>(text[i])) != 0;
          number = digit ? std::min<std::uint64_t>(
                               number * 10 + static_cast<std::uint64_t>(text[i] - '0'), 1000)
                         : 0;
          largest = std::max(largest, number);
        }
        repeats *= largest;
        if (repeats * text.size() > kMaxUnrolled) {
          return fmt::format(
              "pattern \"{}\" is longer than {} characters when its counts are "
              "written out",
              text, kMaxUnrolled);
        }
      }
    }
    return "";
  }
  // What every match starts with, so that most names need no regular expression.
  static std::string Prefix(const std::string& text) {
    if (!text.starts_with('^') || text.find('|') != std::string::npos) return "";
    std::size_t end = 1;
    while (end < text.size() && (std::isalnum(static_cast<unsigned char>(text[end])) != 0 ||
                                 text[end] == '-' || text[end] == '_')) {
      ++end;
    }
    const bool optional =
        end < text.size() && std::string_view("*?{").find(text[end]) != std::string_view::npos;
    if (optional && end > 1) --end;
    return text.substr(1, end - 1);
  }

  // An upper bound of it: length times all counts. Time grows with its square.
  static constexpr std::uint64_t kMaxUnrolled = 512;
  std::regex regex_;
  std::string prefix_;
};

}  // namespace basalt::topology
