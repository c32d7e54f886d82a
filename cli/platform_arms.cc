#include "cli/platform_arms.h"

#include <fmt/format.h>

#include <vector>

#include "cli/platform_tables.h"
#include "scheduler-core/base/suggest.h"

namespace basalt::cli {
namespace {

std::vector<std::string> Parts(const std::string& path) {
  std::vector<std::string> parts;
  std::size_t at = 0;
  for (;;) {
    const std::size_t dot = path.find('.', at);
    parts.push_back(path.substr(at, dot - at));
    if (dot == std::string::npos) return parts;
    at = dot + 1;
  }
}

std::string NameOf(const YAML::Node& item) {
  if (!item.IsMap()) return {};
  const YAML::Node name = item["name"];
  return name.IsDefined() && name.IsScalar() ? name.Scalar() : std::string();
}

// What `part` names in the node; nothing found: an error, unless `errors` is null.
std::vector<YAML::Node> Step(const YAML::Node& node, const std::string& part,
                             std::string* unknown) {
  std::vector<YAML::Node> found;
  std::vector<std::string> names;
  if (node.IsSequence()) {
    std::size_t index = 0;
    for (const YAML::Node& item : node) {
      const std::string name = NameOf(item);
      if (part == "*" || part == name || part == std::to_string(index)) found.push_back(item);
      names.push_back(name.empty() ? std::to_string(index) : name);
      ++index;
    }
  } else if (node.IsMap()) {
    for (const auto& entry : node) {
      const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : "";
      if (part == key) found.push_back(entry.second);
      names.push_back(key);
    }
  }
  if (found.empty()) {
    *unknown = names.empty() ? fmt::format("\"{}\"; there is nothing below", part)
                             : SuggestText(part, names);
  }
  return found;
}

// Sections that a file may leave out and an arm may name.
bool MayBeAbsent(const std::string& part) {
  for (const config::OptionInfo& info : PlatformTable().infos()) {
    if (info.name == part) return info.type == "map" && part != "sweep";
  }
  return false;
}

}  // namespace

void SetAtPath(const config::Document& document, YAML::Node path, const YAML::Node& value,
               const std::string& who, config::Errors* errors) {
  const std::string text = path.Scalar();
  const std::vector<std::string> parts = Parts(text);
  const auto wrong = [&](const std::string& unknown) {
    errors->Add(document.file, path, fmt::format("{}path {}: unknown {}", who, text, unknown));
  };
  static const std::vector<std::string> kFixed = {"arms",   "sweep",         "baseline",
                                                  "claims", "equal_service", "assumptions"};
  if (std::find(kFixed.begin(), kFixed.end(), parts[0]) != kFixed.end()) {
    errors->Add(document.file, path,
                fmt::format("{}path {}: an arm cannot change {}", who, text, parts[0]));
    return;
  }
  std::vector<YAML::Node> at = {document.root};
  for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
    std::vector<YAML::Node> below;
    for (YAML::Node& node : at) {
      std::string unknown;
      std::vector<YAML::Node> found = Step(node, parts[i], &unknown);
      if (found.empty() && i == 0 && MayBeAbsent(parts[i])) {
        node.force_insert(parts[i], YAML::Node(YAML::NodeType::Map));
        found = Step(node, parts[i], &unknown);
      }
      if (found.empty()) return wrong(unknown);
      below.insert(below.end(), found.begin(), found.end());
    }
    at = std::move(below);
  }
  const std::string& last = parts.back();
  const auto has = [&last](const YAML::Node& node) { return node[last].IsDefined(); };
  path = last;  // the key keeps its place in the file, for messages
  for (YAML::Node& node : at) {
    std::string unknown;
    if (node.IsSequence() || (node.IsMap() && has(node))) {
      std::vector<YAML::Node> found = Step(node, last, &unknown);
      if (found.empty()) return wrong(unknown);
      for (YAML::Node& slot : found) slot = value;
    } else if (node.IsMap()) {
      node.force_insert(path, value);
    } else {
      return wrong(fmt::format("\"{}\"; there is nothing below", last));
    }
  }
}

std::string TextAtPath(const config::Document& document, const YAML::Node& path,
                       config::Errors* errors) {
  YAML::Node at = document.root;
  for (const std::string& part : Parts(path.Scalar())) {
    std::string unknown;
    const std::vector<YAML::Node> found = Step(at, part, &unknown);
    if (found.empty()) {
      errors->Add(document.file, path, fmt::format("path {}: unknown {}", path.Scalar(), unknown));
      return {};
    }
    at.reset(found.front());
  }
  YAML::Emitter text;
  text << YAML::Flow << at;
  return text.c_str();
}

}  // namespace basalt::cli
