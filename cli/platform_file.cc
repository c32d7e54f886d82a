#include "cli/platform_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "cli/common.h"
#include "cli/platform_arms.h"
#include "cli/platform_claims.h"
#include "cli/platform_convert.h"
#include "cli/platform_fit.h"
#include "cli/platform_tables.h"

namespace basalt::cli {
namespace {

constexpr std::size_t kMaxArms = 64;
constexpr std::size_t kMaxFileBytes = 16U << 20;
constexpr double kMaxArrivals = 50e6;  // of all arms: some hours of running

// Names that stand twice in a list.
template <class List>
void CheckNames(const config::Document& document, const YAML::Node& at, const List& list,
                const char* what, config::Errors* errors) {
  std::set<std::string> seen;
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (list[i].name.empty() || seen.insert(list[i].name).second) continue;
    errors->Add(document.file, at[i]["name"],
                fmt::format("{} \"{}\" stands twice", what, list[i].name));
  }
}

void CheckArms(const config::Document& document, const PlatformHead& head, config::Errors* errors) {
  CheckNames(document, document.root["arms"], head.arms, "arm", errors);
  std::vector<std::string> names;
  for (const ArmEntry& arm : head.arms) names.push_back(arm.name);
  const auto known = [&](const std::string& name, const YAML::Node& at) {
    if (std::find(names.begin(), names.end(), name) != names.end()) return;
    errors->Add(document.file, at,
                names.empty() ? "there are no arms" : "unknown arm " + SuggestText(name, names));
  };
  if (!head.baseline.empty()) known(head.baseline, document.root["baseline"]);
  if (!head.sweep) return;
  const YAML::Node sweep = document.root["sweep"];
  for (std::size_t i = 0; i < head.sweep->arms.size(); ++i) {
    known(head.sweep->arms[i], sweep["arms"][i]);
  }
}

// The arms of the file, then those of the sweep.
std::vector<ArmEntry> AllArms(const PlatformHead& head) {
  std::vector<ArmEntry> arms = head.arms;
  for (std::size_t i = 0; i < arms.size(); ++i) arms[i].from = static_cast<int>(i);
  if (arms.empty()) arms.emplace_back().name = "as given";
  if (!head.sweep) return arms;
  const std::size_t base = arms.size();
  const std::string& key = head.sweep->key;
  const std::string last = key.substr(key.rfind('.') + 1);
  std::vector<std::string> names = head.sweep->arms;
  if (names.empty()) names.push_back(head.baseline.empty() ? arms[0].name : head.baseline);
  for (const std::string& name : names) {
    for (std::size_t v = 0; v < head.sweep->values.size(); ++v) {
      for (std::size_t i = 0; i < base; ++i) {
        if (arms[i].name != name) continue;
        ArmEntry arm = arms[i];
        arm.name = fmt::format("{}, {} {}", name, last, head.sweep->values[v]);
        arm.set.emplace_back(key, head.sweep->values[v]);
        arm.sweep_value = static_cast<int>(v);
        arms.push_back(std::move(arm));
      }
    }
  }
  return arms;
}

// The document with the arm's keys.
void ApplyArm(const config::Document& document, const ArmEntry& arm, config::Errors* errors) {
  const std::string who = fmt::format("arm \"{}\": ", arm.name);
  if (arm.from >= 0) {
    const YAML::Node set = document.root["arms"][arm.from]["set"];
    std::vector<std::pair<YAML::Node, YAML::Node>> entries;
    if (set.IsDefined()) {
      for (const auto& entry : set) entries.emplace_back(entry.first, entry.second);
    }
    for (const auto& [path, value] : entries) {
      SetAtPath(document, path, value, who, errors);
    }
  }
  if (arm.sweep_value >= 0) {
    const YAML::Node sweep = document.root["sweep"];
    SetAtPath(document, sweep["key"], sweep["values"][arm.sweep_value], who, errors);
  }
}

void AddErrors(const ArmEntry& arm, const config::Errors& from, std::set<std::string>* seen,
               std::vector<Error>* out) {
  for (Error error : from.list()) {
    const std::string who = fmt::format("arm \"{}\": ", arm.name);
    if (!seen->insert(error.where + error.message).second) continue;
    if (arm.from >= 0 && !error.message.starts_with(who)) error.message = who + error.message;
    out->push_back(std::move(error));
  }
}

}  // namespace

Result<PlatformFile> ParsePlatformFile(const std::string& path, const std::string& text,
                                       const Registry& registry) {
  auto document = config::ParseYaml(path, text);
  if (!document) return tl::unexpected<Error>(document.error());
  PlatformFile file;
  config::Errors errors;
  PlatformEntry entry;
  PlatformTable().Parse(path, document->root, &entry, &errors);
  if (!errors.ok()) return tl::unexpected<Error>(errors.Joined());
  CheckArms(*document, entry, &errors);
  // The base is checked by itself, so that its faults are told once and without an arm's name.
  ToSpec(*document, entry, registry, &errors);
  for (std::size_t i = 0; i < entry.assumptions.size(); ++i) {
    AssumptionEntry& assumption = entry.assumptions[i];
    const YAML::Node at = document->root["assumptions"][i];
    if (assumption.key.empty() == assumption.value.empty()) {
      errors.Add(path, at, "needs either a key or a value");
    } else if (assumption.value.empty()) {
      assumption.value = TextAtPath(*document, at["key"], &errors);
    }
  }
  if (!errors.ok()) return tl::unexpected<Error>(errors.Joined());

  const std::vector<ArmEntry> arms = AllArms(entry);
  if (arms.size() > kMaxArms) {
    errors.Add(path, document->root, fmt::format("{} arms; at most {}", arms.size(), kMaxArms));
  }
  std::vector<std::string> names;
  for (const ArmEntry& arm : arms) names.push_back(arm.name);
  for (std::size_t i = 0; i < entry.claims.size(); ++i) {
    CheckClaim(*document, document->root["claims"][i], entry.claims[i], names, &errors);
  }
  if (!errors.ok()) return tl::unexpected<Error>(errors.Joined());

  std::set<std::string> seen;
  std::vector<Error> faults;
  FitCheck fit;
  ExpectedArrivals arrivals;
  for (const ArmEntry& arm : arms) {
    auto copy = config::ParseYaml(path, text);
    config::Errors here;
    PlatformEntry changed;
    ApplyArm(*copy, arm, &here);
    if (here.ok()) PlatformTable().Parse(path, copy->root, &changed, &here);
    sim::PlatformSpec spec;
    if (here.ok()) spec = ToSpec(*copy, changed, registry, &here);
    spec.name = arm.name;
    if (here.ok()) {
      if (Status ok = fit.Add(*copy, changed, spec, registry); !ok) {
        here.Add(path, copy->root["clusters"], ok.error().ToString());
      }
      Expect(*copy, spec, &arrivals);
    }
    AddErrors(arm, here, &seen, &faults);
    file.arms.push_back({arm, std::move(spec)});
  }
  if (!faults.empty()) {
    Error joined = faults.front();
    for (std::size_t i = 1; i < std::min<std::size_t>(faults.size(), 20); ++i) {
      joined.message += "\n" + faults[i].ToString();
    }
    return tl::unexpected<Error>(joined);
  }
  if (arrivals.all > kMaxArrivals) {
    errors.Add(path, arrivals.at,
               fmt::format("about {:.0f} arrivals (jobs, machines, bursts of work) are expected in "
                           "all arms together, at most {:.0f} are run; \"{}\" brings {:.0f} of "
                           "them in one arm: lower its rate or `load`, or shorten the horizon",
                           arrivals.all, kMaxArrivals, arrivals.name, arrivals.most));
  }
  fit.Finish(&errors, &file.warnings);
  if (!errors.ok()) return tl::unexpected<Error>(errors.Joined());
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i] == entry.baseline) file.baseline = i;
  }
  file.head = static_cast<const PlatformHead&>(entry);
  return file;
}

Result<PlatformFile> ReadPlatformFile(const std::string& path, const Registry& registry) {
  const auto text = ReadFile(path, kMaxFileBytes);
  if (!text) return tl::unexpected<Error>(text.error());
  return ParsePlatformFile(path, *text, registry);
}

}  // namespace basalt::cli
