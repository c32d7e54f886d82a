#include "cli/platform_values.h"

#include <array>
#include <charconv>
#include <cmath>

namespace basalt::cli {
namespace {

struct Unit {
  std::string_view name;
  double factor;
};

std::string_view Trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

// A number and a unit directly behind it.
template <std::size_t N>
std::optional<std::int64_t> WithUnit(std::string_view text, const std::array<Unit, N>& units) {
  text = Trim(text);
  if (text == "0") return 0;
  const std::size_t digits = text.find_first_not_of("0123456789.");
  if (digits == std::string_view::npos || digits == 0) return {};
  const auto number = ParseNumber(text.substr(0, digits));
  if (!number) return {};
  for (const Unit& unit : units) {
    if (text.substr(digits) != unit.name) continue;
    const double value = *number * unit.factor;
    constexpr double kLargest = 9e18;
    if (value > kLargest) return {};
    return static_cast<std::int64_t>(std::llround(value));
  }
  return {};
}

// The parts between commas of "name(a, b)", the name first; one part where there are no brackets.
std::vector<std::string_view> CallParts(std::string_view text) {
  text = Trim(text);
  std::vector<std::string_view> parts;
  const std::size_t open = text.find('(');
  if (open == std::string_view::npos) return {text};
  if (text.back() != ')') return {};
  parts.push_back(Trim(text.substr(0, open)));
  std::string_view inside = text.substr(open + 1, text.size() - open - 2);
  for (;;) {
    const std::size_t comma = inside.find(',');
    parts.push_back(Trim(inside.substr(0, comma)));
    if (comma == std::string_view::npos) return parts;
    inside.remove_prefix(comma + 1);
  }
}

}  // namespace

std::optional<double> ParseNumber(std::string_view text) {
  text = Trim(text);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) return {};
  return value;
}

std::optional<std::int64_t> ParseDurationUs(std::string_view text) {
  static constexpr std::array<Unit, 5> kUnits{
      {{"ms", 1e3}, {"s", 1e6}, {"m", 6e7}, {"h", 3.6e9}, {"d", 8.64e10}}};
  return WithUnit(text, kUnits);
}

std::optional<std::int64_t> ParseSizeMib(std::string_view text) {
  static constexpr std::array<Unit, 3> kUnits{{{"MiB", 1}, {"GiB", 1024}, {"TiB", 1048576}}};
  return WithUnit(text, kUnits);
}

std::optional<std::int64_t> ParseShareMilli(std::string_view text) {
  static constexpr std::array<Unit, 1> kUnits{{{"%", 10}}};
  return WithUnit(text, kUnits);
}

std::optional<sim::DurationSpec> ParseDrawnDuration(std::string_view text) {
  using Kind = sim::DurationSpec::Kind;
  const std::vector<std::string_view> parts = CallParts(text);
  if (parts.empty()) return {};
  sim::DurationSpec out;
  std::size_t next = 1;
  if (parts.size() == 1) {
    const auto mean = ParseDurationUs(parts[0]);
    if (!mean) return {};
    out.mean_us = *mean;
    return out;
  }
  const auto mean = ParseDurationUs(parts[next++]);
  if (!mean) return {};
  out.mean_us = *mean;
  if (parts[0] == "exponential") {
    out.kind = Kind::kExponential;
  } else if (parts[0] == "lognormal") {
    out.kind = Kind::kLogNormal;
    if (next >= parts.size()) return {};
    const auto sigma = ParseNumber(parts[next++]);
    if (!sigma || *sigma < 0 || *sigma > 10) return {};
    out.sigma = *sigma;
  } else {
    return {};
  }
  if (next < parts.size()) {
    const std::string_view bounds = parts[next++];
    const std::size_t dots = bounds.find("..");
    if (dots == std::string_view::npos) return {};
    const auto low = ParseDurationUs(bounds.substr(0, dots));
    const auto high = ParseDurationUs(bounds.substr(dots + 2));
    if (!low || !high || *low > *high) return {};
    out.min_us = *low;
    out.max_us = *high;
  }
  return next == parts.size() ? std::optional(out) : std::nullopt;
}

std::string FormatDuration(std::int64_t us) {
  static constexpr std::array<Unit, 5> kUnits{
      {{"d", 8.64e10}, {"h", 3.6e9}, {"m", 6e7}, {"s", 1e6}, {"ms", 1e3}}};
  for (const Unit& unit : kUnits) {
    if (static_cast<double>(us) >= unit.factor) {
      return fmt::format("{:g}{}", static_cast<double>(us) / unit.factor, unit.name);
    }
  }
  return "0";
}

}  // namespace basalt::cli
