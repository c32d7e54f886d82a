// Claims: expressions over the results of the arms, and the range in which a document's figure
// holds.
//
//   utilization[dynamic pools] / utilization[all passthrough]
//   100 * (1 - cards_needed[sliced] / cards_needed[whole])
//   wait_p99[sliced, training]
//
// A metric is a name with an arm, and where it has parts, one of them (a class of work or a
// workload). Operators + - * / ( ), numbers.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/platform_file.h"
#include "sim/platform/result.h"

namespace basalt::cli {

struct ArmOutcome {
  std::string name;
  const sim::PlatformResult* result = nullptr;
  double cards_needed = sim::kNotMeasured;        // for the baseline's service
  double utilization_needed = sim::kNotMeasured;  // with these cards
};

struct ClaimVerdict {
  double value = sim::kNotMeasured;
  enum class Kind { kHolds, kDoesNotHold, kNotMeasured } kind = Kind::kNotMeasured;
};

// Adds an error for what is no expression, an unknown metric or arm, and what is no range.
void CheckClaim(const config::Document& document, const YAML::Node& at, const ClaimEntry& claim,
                const std::vector<std::string>& arms, config::Errors* errors);
// The claim must have passed the check.
ClaimVerdict Judge(const ClaimEntry& claim, const std::vector<ArmOutcome>& arms);

// Names and meanings of the metrics as Markdown.
std::string MetricKeys();

}  // namespace basalt::cli
