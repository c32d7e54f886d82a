#include "adapters/service/metrics.h"

#include <fmt/format.h>

#include <algorithm>

#include "adapters/service/shown.h"

namespace basalt::service {
namespace {

// Names come from outside: a scrape with one byte that is no UTF-8 is refused as a whole.
std::string Escaped(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at <= text.size();) {
    const std::string_view line = text.substr(at, text.find('\n', at) - at);
    if (at > 0) out += "\\n";
    for (const char c : Shown(line, 4 * line.size())) {
      if (c == '\\' || c == '"') out += '\\';
      out += c;
    }
    at += line.size() + 1;
  }
  return out;
}

}  // namespace

void MetricsText::Add(const std::string& family, std::string_view type, std::string_view help,
                      const Labels& labels, double value, std::string_view suffix) {
  Family& entry = families_[family];
  if (entry.type.empty()) {
    entry.type = type;
    entry.help = help;
  }
  std::string line = family + std::string(suffix);
  for (const auto& [name, text] : labels) {
    line +=
        fmt::format("{}{}=\"{}\"", &name == &labels.front().first ? "{" : ",", name, Escaped(text));
  }
  if (!labels.empty()) line += "}";
  entry.lines.push_back(line + fmt::format(" {}", value));
}

std::string MetricsText::Text() const {
  std::string out;
  for (const auto& [name, family] : families_) {
    out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, family.help, name, family.type);
    for (const std::string& line : family.lines) out += line + "\n";
  }
  return out;
}

void Histogram::Observe(std::int64_t micros) {
  const auto bucket = std::lower_bound(kBounds.begin(), kBounds.end(), micros) - kBounds.begin();
  ++buckets_[static_cast<std::size_t>(bucket)];
  ++count_;
  sum_us_ += micros;
}

void Histogram::Write(const std::string& family, std::string_view help, MetricsText::Labels labels,
                      MetricsText* out) const {
  std::uint64_t below = 0;
  labels.emplace_back("le", "");
  for (std::size_t b = 0; b <= kBounds.size(); ++b) {
    below += buckets_[b];
    labels.back().second =
        b == kBounds.size() ? "+Inf" : fmt::format("{}", static_cast<double>(kBounds[b]) / 1e6);
    out->Add(family, "histogram", help, labels, static_cast<double>(below), "_bucket");
  }
  labels.pop_back();
  out->Add(family, "histogram", help, labels, static_cast<double>(sum_us_) / 1e6, "_sum");
  out->Add(family, "histogram", help, labels, static_cast<double>(count_), "_count");
}

std::uint64_t Metrics::counter(const std::string& name) const {
  const auto it = counters_.find(name);
  return it == counters_.end() ? 0 : it->second;
}

void Metrics::Write(const std::string& cluster, MetricsText* out) const {
  for (const auto& [call, histogram] : calls_) {
    histogram.Write("basalt_call_seconds", "Time of a call, with its wait for the engine.",
                    {{"cluster", cluster}, {"call", call}}, out);
  }
  for (const auto& [key, count] : outcomes_) {
    out->Add("basalt_outcomes_total", "counter", "Decisions by what came of them.",
             {{"cluster", cluster}, {"kind", key.first}, {"cause", key.second}},
             static_cast<double>(count));
  }
  for (const auto& [name, count] : counters_) {
    out->Add("basalt_" + name + "_total", "counter", "Events of this kind since the start.",
             {{"cluster", cluster}}, static_cast<double>(count));
  }
}

}  // namespace basalt::service
