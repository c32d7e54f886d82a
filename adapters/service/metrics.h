// Counters and histograms of one service, and the Prometheus text format 0.0.4. Values only: who
// measures time is outside.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace basalt::service {

// Families in ascending order of name, each with HELP and TYPE once, however many services add to
// it.
class MetricsText {
 public:
  using Labels = std::vector<std::pair<std::string, std::string>>;
  // `suffix` is put behind the family's name: "_bucket", "_sum", "_count".
  void Add(const std::string& family, std::string_view type, std::string_view help,
           const Labels& labels, double value, std::string_view suffix = "");
  std::string Text() const;

 private:
  struct Family {
    std::string type;
    std::string help;
    std::vector<std::string> lines;
  };
  std::map<std::string, Family> families_;
};

// Seconds in fixed buckets from 5 us to 5 s.
class Histogram {
 public:
  static constexpr std::array<std::int64_t, 19> kBounds = {
      5,      10,     25,     50,      100,     250,     500,       1'000,     2'500,    5'000,
      10'000, 25'000, 50'000, 100'000, 250'000, 500'000, 1'000'000, 2'500'000, 5'000'000};
  void Observe(std::int64_t micros);
  void Write(const std::string& family, std::string_view help, MetricsText::Labels labels,
             MetricsText* out) const;
  std::uint64_t count() const { return count_; }

 private:
  std::array<std::uint64_t, kBounds.size() + 1> buckets_{};
  std::uint64_t count_ = 0;
  std::int64_t sum_us_ = 0;
};

class Metrics {
 public:
  void Observe(const std::string& call, std::int64_t micros) { calls_[call].Observe(micros); }
  // An outcome of a decision: "placed", "wait", ... and what stood in the way, or nothing.
  void CountOutcome(std::string_view kind, std::string_view cause) {
    ++outcomes_[{std::string(kind), std::string(cause)}];
  }
  void Count(const std::string& name, std::uint64_t n = 1) { counters_[name] += n; }
  std::uint64_t counter(const std::string& name) const;
  void Write(const std::string& cluster, MetricsText* out) const;

 private:
  std::map<std::string, Histogram> calls_;
  std::map<std::pair<std::string, std::string>, std::uint64_t> outcomes_;
  std::map<std::string, std::uint64_t> counters_;
};

}  // namespace basalt::service
