#include "cli/platform_claims.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <functional>

#include "scheduler-core/base/suggest.h"

namespace basalt::cli {
namespace {

using sim::PlatformResult;
using sim::WorkloadResult;

struct Metric {
  const char* name;
  const char* help;
  double (*of)(const ArmOutcome& arm);
};
struct PartMetric {
  const char* name;
  const char* help;
  double (*of)(const WorkloadResult& part);
};

double Peak(const std::vector<double>& part, const std::vector<double>& whole) {
  double peak = sim::kNotMeasured;
  for (std::size_t i = 0; i < part.size(); ++i) {
    if (!(whole[i] > 0)) continue;
    const double share = 100 * part[i] / whole[i];
    if (std::isnan(peak) || share > peak) peak = share;
  }
  return peak;
}

// Share of the samples, in percent, in which utilization is within ten points of its mean.
double Steady(const ArmOutcome& arm) {
  const sim::PlatformSeries& s = arm.result->series;
  double inside = 0, all = 0;
  for (std::size_t i = 0; i < s.served_cards.size(); ++i) {
    if (!(s.capacity_cards[i] > 0)) continue;
    const double share = 100 * s.served_cards[i] / s.capacity_cards[i];
    all += 1;
    inside += std::abs(share - arm.result->utilization_pct) <= 10 ? 1 : 0;
  }
  return all > 0 ? 100 * inside / all : sim::kNotMeasured;
}

const std::vector<Metric>& Metrics() {
  static const std::vector<Metric> metrics = {
      {"utilization", "served work / physical capacity, time-weighted, %",
       [](const ArmOutcome& a) { return a.result->utilization_pct; }},
      {"utilization_peak", "the highest of one series step, %",
       [](const ArmOutcome& a) {
         return Peak(a.result->series.served_cards, a.result->series.capacity_cards);
       }},
      {"utilization_steady", "share of the series steps within 10 points of the mean, %", Steady},
      {"allocation", "compute handed out / capacity, %",
       [](const ArmOutcome& a) { return a.result->allocation_pct; }},
      {"touched", "cards with something on them / capacity, %",
       [](const ArmOutcome& a) { return a.result->touched_pct; }},
      {"capacity_gpu_hours", "of cards that were there",
       [](const ArmOutcome& a) { return a.result->capacity_gpu_hours; }},
      {"served_gpu_hours", "useful work",
       [](const ArmOutcome& a) { return a.result->served_gpu_hours; }},
      {"lost_gpu_hours", "work that was done and lost",
       [](const ArmOutcome& a) { return a.result->lost_gpu_hours; }},
      {"cost_month", "cost per month",
       [](const ArmOutcome& a) { return a.result->cost_per_month; }},
      {"cost_served_hour", "cost of a served GPU-hour",
       [](const ArmOutcome& a) { return a.result->cost_per_served_hour; }},
      {"cost_allocated_hour", "cost of an allocated GPU-hour",
       [](const ArmOutcome& a) { return a.result->cost_per_allocated_hour; }},
      {"cards", "of owned and subscribed groups",
       [](const ArmOutcome& a) { return static_cast<double>(a.result->cards); }},
      {"cards_needed", "that give the baseline's service (equal_service)",
       [](const ArmOutcome& a) { return a.cards_needed; }},
      {"utilization_needed", "with cards_needed, %",
       [](const ArmOutcome& a) { return a.utilization_needed; }},
      {"waiting", "units without a place, mean",
       [](const ArmOutcome& a) { return a.result->mean_waiting; }},
      {"slots_short", "whole nodes that queues with slots could not have, mean",
       [](const ArmOutcome& a) { return a.result->slots_short; }},
  };
  return metrics;
}

const std::vector<PartMetric>& PartMetrics() {
  static const std::vector<PartMetric> metrics = {
      {"wait_mean", "from submission to work, s",
       [](const WorkloadResult& w) { return w.wait_seconds.mean; }},
      {"wait_p50", "median, s", [](const WorkloadResult& w) { return w.wait_seconds.p50; }},
      {"wait_p99", "99th percentile, s",
       [](const WorkloadResult& w) { return w.wait_seconds.p99; }},
      {"slowdown_mean", "run time / run time at full speed",
       [](const WorkloadResult& w) { return w.slowdown.mean; }},
      {"slowdown_p99", "99th percentile", [](const WorkloadResult& w) { return w.slowdown.p99; }},
      {"slow_share", "slower than runtime.slowdown, %",
       [](const WorkloadResult& w) { return w.slow_share_pct; }},
      {"overload_minutes", "slice-minutes slower than that",
       [](const WorkloadResult& w) { return w.overload_minutes; }},
      {"evictions", "of any kind",
       [](const WorkloadResult& w) { return static_cast<double>(w.evictions); }},
      {"commits", "images committed",
       [](const WorkloadResult& w) { return static_cast<double>(w.commits); }},
      {"completed", "jobs, bursts, machines",
       [](const WorkloadResult& w) { return static_cast<double>(w.completed); }},
      {"submitted", "jobs, machines, environments, replicas",
       [](const WorkloadResult& w) { return static_cast<double>(w.submitted); }},
      {"completed_gpu_hours", "work finished",
       [](const WorkloadResult& w) { return w.completed_gpu_hours; }},
      {"wanted_gpu_hours", "demand", [](const WorkloadResult& w) { return w.wanted_gpu_hours; }},
      {"allocated_gpu_hours", "handed out",
       [](const WorkloadResult& w) { return w.allocated_gpu_hours; }},
      {"done", "completed / wanted, %",
       [](const WorkloadResult& w) {
         return w.wanted_gpu_hours > 0 ? 100 * w.completed_gpu_hours / w.wanted_gpu_hours
                                       : sim::kNotMeasured;
       }},
  };
  return metrics;
}

std::vector<std::string> MetricNames() {
  std::vector<std::string> names;
  for (const Metric& m : Metrics()) names.emplace_back(m.name);
  for (const PartMetric& m : PartMetrics()) names.emplace_back(m.name);
  return names;
}

const WorkloadResult* FindPart(const PlatformResult& result, const std::string& name) {
  for (const auto* list : {&result.classes, &result.workloads}) {
    for (const WorkloadResult& part : *list) {
      if (part.name == name) return &part;
    }
  }
  return nullptr;
}

// Calls `value` for each metric and what stands in its brackets.
class Expression {
 public:
  using Value = std::function<double(const std::string& metric, const std::string& inside)>;
  Expression(std::string_view text, Value value) : text_(text), value_(std::move(value)) {}

  // On failure `error` says what is wrong.
  std::optional<double> Parse() {
    auto result = Sum();
    Skip();
    if (result && at_ < text_.size()) {
      error = fmt::format("expects an operator at \"{}\"", text_.substr(at_, 20));
      return {};
    }
    return result;
  }
  std::string error;

 private:
  void Skip() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
  }
  bool Take(char c) {
    Skip();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  std::optional<double> Sum() {
    auto left = Product();
    while (left) {
      const bool plus = Take('+');
      if (!plus && !Take('-')) break;
      const auto right = Product();
      if (!right) return {};
      *left += plus ? *right : -*right;
    }
    return left;
  }
  std::optional<double> Product() {
    auto left = Factor();
    while (left) {
      const bool times = Take('*');
      if (!times && !Take('/')) break;
      const auto right = Factor();
      if (!right) return {};
      if (!times && *right == 0) {
        *left = sim::kNotMeasured;
      } else {
        *left = times ? *left * *right : *left / *right;
      }
    }
    return left;
  }
  std::optional<double> Factor() {
    if (Take('(')) {
      if (depth_ == kMaxDepth) {
        error = "is nested too deeply";
        return {};
      }
      ++depth_;
      auto inside = Sum();
      --depth_;
      if (inside && !Take(')')) {
        error = "lacks a \")\"";
        return {};
      }
      return inside;
    }
    Skip();
    const std::size_t from = at_;
    while (at_ < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[at_])) != 0 ||
                                  text_[at_] == '_' || text_[at_] == '.')) {
      ++at_;
    }
    const std::string word(text_.substr(from, at_ - from));
    if (word.empty()) {
      error = fmt::format("expects a number or a metric at \"{}\"", text_.substr(from, 20));
      return {};
    }
    if (const auto number = ParseNumber(word)) return number;
    if (!Take('[')) {
      error = fmt::format("expects [ARM] behind {}", word);
      return {};
    }
    const std::size_t close = text_.find(']', at_);
    if (close == std::string_view::npos) {
      error = "lacks a \"]\"";
      return {};
    }
    const std::string inside(text_.substr(at_, close - at_));
    at_ = close + 1;
    return value_(word, inside);
  }

  std::string_view text_;
  Value value_;
  std::size_t at_ = 0;
  static constexpr int kMaxDepth = 200;
  int depth_ = 0;
};

struct Range {
  double low = -INFINITY, high = INFINITY;
  bool open_low = false, open_high = false;
  bool Contains(double v) const {
    return (open_low ? v > low : v >= low) && (open_high ? v < high : v <= high);
  }
};

std::optional<Range> ParseRange(std::string_view text) {
  Range range;
  if (const std::size_t dots = text.find(".."); dots != std::string_view::npos) {
    const auto low = ParseNumber(text.substr(0, dots)), high = ParseNumber(text.substr(dots + 2));
    if (!low || !high || *low > *high) return {};
    range.low = *low;
    range.high = *high;
    return range;
  }
  for (const std::string_view sign : {">=", "<=", ">", "<"}) {
    if (!text.starts_with(sign)) continue;
    const auto bound = ParseNumber(text.substr(sign.size()));
    if (!bound) return {};
    if (sign[0] == '>') {
      range.low = *bound;
      range.open_low = sign.size() == 1;
    } else {
      range.high = *bound;
      range.open_high = sign.size() == 1;
    }
    return range;
  }
  return {};
}

// An arm's name may hold commas ("sliced, inference 40%"): the longest arm that the text begins
// with wins, and what is behind it is the part.
std::optional<std::pair<std::size_t, std::string>> SplitArm(const std::string& inside,
                                                            const std::vector<std::string>& arms) {
  std::optional<std::pair<std::size_t, std::string>> best;
  for (std::size_t i = 0; i < arms.size(); ++i) {
    std::string part;
    if (inside != arms[i]) {
      if (!inside.starts_with(arms[i] + ",")) continue;
      part = inside.substr(arms[i].size() + 1);
      part.erase(0, part.find_first_not_of(' '));
    }
    if (!best || arms[i].size() > arms[best->first].size()) best = {i, part};
  }
  return best;
}

}  // namespace

void CheckClaim(const config::Document& document, const YAML::Node& at, const ClaimEntry& claim,
                const std::vector<std::string>& arms, config::Errors* errors) {
  if (!ParseRange(claim.holds)) {
    errors->Add(document.file, at["holds"],
                "holds must be a range such as \">= 80\", \"< 5\" or \"60..70\"");
  }
  Expression expression(claim.metric, [&](const std::string& metric, const std::string& inside) {
    const std::vector<std::string> names = MetricNames();
    const auto known = std::find(names.begin(), names.end(), metric);
    if (known == names.end()) {
      errors->Add(document.file, at["metric"], "unknown metric " + SuggestText(metric, names));
      return 1.0;
    }
    const auto arm = SplitArm(inside, arms);
    if (!arm) {
      errors->Add(document.file, at["metric"], "unknown arm " + SuggestText(inside, arms));
      return 1.0;
    }
    const bool of_part = static_cast<std::size_t>(known - names.begin()) >= Metrics().size();
    if (of_part != !arm->second.empty()) {
      errors->Add(document.file, at["metric"],
                  of_part ? fmt::format("{} needs a class of work or a workload: {}[{}, training]",
                                        metric, metric, inside)
                          : fmt::format("{} is of the arm as a whole", metric));
    }
    return 1.0;
  });
  if (!expression.Parse() && !expression.error.empty()) {
    errors->Add(document.file, at["metric"], "the expression " + expression.error);
  }
}

ClaimVerdict Judge(const ClaimEntry& claim, const std::vector<ArmOutcome>& arms) {
  std::vector<std::string> names;
  for (const ArmOutcome& arm : arms) names.push_back(arm.name);
  Expression expression(claim.metric, [&](const std::string& metric, const std::string& inside) {
    const auto arm = SplitArm(inside, names);
    if (!arm) return sim::kNotMeasured;
    for (const Metric& m : Metrics()) {
      if (metric == m.name) return m.of(arms[arm->first]);
    }
    const WorkloadResult* part = FindPart(*arms[arm->first].result, arm->second);
    for (const PartMetric& m : PartMetrics()) {
      if (metric == m.name && part != nullptr) return m.of(*part);
    }
    return sim::kNotMeasured;
  });
  ClaimVerdict verdict;
  verdict.value = expression.Parse().value_or(sim::kNotMeasured);
  const auto range = ParseRange(claim.holds);
  if (std::isnan(verdict.value) || !range) return verdict;
  verdict.kind = range->Contains(verdict.value) ? ClaimVerdict::Kind::kHolds
                                                : ClaimVerdict::Kind::kDoesNotHold;
  return verdict;
}

std::string MetricKeys() {
  std::string out = "| metric | of | meaning |\n|---|---|---|\n";
  for (const Metric& m : Metrics()) out += fmt::format("| `{}` | arm | {} |\n", m.name, m.help);
  for (const PartMetric& m : PartMetrics()) {
    out += fmt::format("| `{}` | arm and part | {} |\n", m.name, m.help);
  }
  return out;
}

}  // namespace basalt::cli
