#include "devices/node_file.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <map>

#include "scheduler-core/config/options.h"

namespace basalt::devices {
namespace {

using config::Errors;

YAML::Node Child(const YAML::Node& node, const char* key) {
  return node.IsDefined() && node.IsMap() ? node[key] : YAML::Node(YAML::NodeType::Undefined);
}

std::string TextOf(const YAML::Node& node) {
  return node.IsDefined() && node.IsScalar() ? node.Scalar() : std::string();
}

std::map<std::string, std::string> TextsOf(const std::string& file, const YAML::Node& node,
                                           const std::string& name, Errors* errors) {
  std::map<std::string, std::string> out;
  if (!node.IsDefined() || node.IsNull()) return out;
  if (!node.IsMap()) {
    errors->Add(file, node, name + " must be a map");
    return out;
  }
  for (const auto& entry : node) {
    if (!entry.first.IsScalar() || !entry.second.IsScalar()) {
      errors->Add(file, entry.first, name + " must be a map of texts");
      continue;
    }
    out[entry.first.Scalar()] = entry.second.Scalar();
  }
  return out;
}

}  // namespace

Result<NodeResources> ReadNodeFile(const std::string& file, const std::string& text) {
  const auto document = config::ParseYaml(file, text);
  if (!document) return tl::unexpected<Error>(document.error());
  const YAML::Node& root = document->root;
  if (!root.IsMap()) return Fail(file, "is no node: kubectl get node NAME -o yaml writes one");
  if (Child(root, "items").IsDefined()) return Fail(file, "is a list; write one node a file");
  const YAML::Node kind = Child(root, "kind");
  if (kind.IsDefined() && TextOf(kind) != "Node") return Fail(file, "is no node");
  Errors errors;
  NodeResources out;
  const YAML::Node metadata = Child(root, "metadata");
  out.name = TextOf(Child(metadata, "name"));
  if (out.name.empty()) return Fail(file, "is no node: metadata.name is missing");
  if (!Child(root, "status").IsDefined()) return Fail(file, "is no node: status is missing");
  out.labels = TextsOf(file, Child(metadata, "labels"), "labels", &errors);
  out.annotations = TextsOf(file, Child(metadata, "annotations"), "annotations", &errors);
  const YAML::Node spec = Child(root, "spec"), status = Child(root, "status");
  out.unschedulable = TextOf(Child(spec, "unschedulable")) == "true";
  if (const YAML::Node taints = Child(spec, "taints"); taints.IsDefined() && taints.IsSequence()) {
    for (const YAML::Node& taint : taints) {
      const std::string key = TextOf(Child(taint, "key"));
      if (key.empty() || TextOf(Child(taint, "effect")) == "PreferNoSchedule") continue;
      if (std::ranges::find(out.taints, key) == out.taints.end()) out.taints.push_back(key);
    }
  }
  out.capacity = TextsOf(file, Child(status, "capacity"), "capacity", &errors);
  out.allocatable = TextsOf(file, Child(status, "allocatable"), "allocatable", &errors);
  const YAML::Node conditions = Child(status, "conditions");
  if (conditions.IsDefined() && conditions.IsSequence()) {
    for (const YAML::Node& condition : conditions) {
      if (TextOf(Child(condition, "type")) != "Ready") continue;
      out.ready = TextOf(Child(condition, "status")) == "True";
    }
  }
  if (!errors.ok()) return tl::unexpected<Error>(errors.Joined());
  return out;
}

}  // namespace basalt::devices
