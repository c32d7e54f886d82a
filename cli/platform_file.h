// Platform scenarios: a YAML file that says what a shared GPU platform is made of (clusters and
// prices, tenants, SKUs, workloads, the rules of the runtime), what is compared (arms), which
// figures of a document are checked (claims) and what was assumed. docs/scenarios.md lists the
// keys.
//
// An arm is the file with some keys set anew before it is read, so whatever is wrong with an arm
// has a place in the file. Who reads the same file with the same arm gets the same spec.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cli/platform_values.h"
#include "scheduler-core/base/result.h"
#include "scheduler-core/engine/registry.h"
#include "sim/platform/spec.h"

namespace basalt::cli {

// One figure of the document that the scenario is after.
struct ClaimEntry : Entry {
  std::string text;    // what the document says
  std::string source;  // which document
  std::string metric;  // expression over results (platform_claims.h)
  std::string holds;   // ">= 80", "60..70": the range of the metric in which the claim holds
  std::string unit;    // of the metric, for the report
};

struct AssumptionEntry : Entry {
  std::string name;
  std::string value;   // as text; empty: what stands at `key`
  std::string key;     // path of the key that holds it
  std::string range;   // in which it is plausible
  std::string source;  // or the reason
};

struct ArmEntry : Entry {
  std::string name;
  std::string about;
  std::vector<std::pair<std::string, std::string>> set;  // path, value as text; for the report
  int from = -1;                                         // entry of `arms` whose `set` it takes
  // Sweep: these paths get the value of this entry of the sweep's `values`.
  int sweep_value = -1;
  bool other_demand() const { return sweep_value >= 0; }
};

struct SweepEntry : Entry {
  std::string key;
  std::vector<std::string> values;
  std::vector<std::string> arms;  // each of them at each value; empty: the baseline
};

// What stands beside the platform itself.
struct PlatformHead : Entry {
  std::string title, about, document, currency = "CNY";
  std::vector<ArmEntry> arms;
  std::optional<SweepEntry> sweep;
  std::string baseline;
  bool equal_service = false;
  std::vector<ClaimEntry> claims;
  std::vector<AssumptionEntry> assumptions;
};

struct PlatformArm {
  ArmEntry entry;
  sim::PlatformSpec spec;
};

struct PlatformFile {
  PlatformHead head;
  std::vector<PlatformArm> arms;  // at least one; those of the sweep behind the others
  std::size_t baseline = 0;
  // Lines with their place: what can never run in some arms (platform_fit.h).
  std::vector<std::string> warnings;
};

// Errors: all faults as file:line:column; faults of an arm name it.
Result<PlatformFile> ReadPlatformFile(const std::string& path, const Registry& registry);
Result<PlatformFile> ParsePlatformFile(const std::string& path, const std::string& text,
                                       const Registry& registry);

// All keys as Markdown, for docs/scenarios.md.
std::string PlatformKeys();

}  // namespace basalt::cli
