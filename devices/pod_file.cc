#include "devices/pod_file.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include "scheduler-core/config/options.h"

namespace basalt::devices {
namespace {

using config::Errors;

constexpr std::size_t kMaxPodContainers = 256;

struct Reader {
  const std::string& file;
  Errors errors;

  // A map of texts. JSON numbers are texts here: their spelling is kept.
  template <class Put>
  void Texts(const YAML::Node& node, const std::string& name, const Put& put) {
    if (!node.IsDefined() || node.IsNull()) return;
    if (!node.IsMap()) {
      errors.Add(file, node, name + " must be a map");
      return;
    }
    for (const auto& entry : node) {
      if (!entry.first.IsScalar() || !entry.second.IsScalar()) {
        errors.Add(file, entry.first, name + " must be a map of texts");
        continue;
      }
      if (!put(entry.first.Scalar(), entry.second.Scalar())) {
        errors.Add(file, entry.first,
                   fmt::format("{} has \"{}\" twice", name, entry.first.Scalar().substr(0, 80)));
      }
    }
  }

  void Containers(const YAML::Node& list, bool init, PodResources* pod) {
    if (!list.IsDefined() || list.IsNull()) return;
    if (!list.IsSequence()) {
      errors.Add(file, list, "containers must be a list");
      return;
    }
    for (const YAML::Node& node : list) {
      if (!node.IsMap()) {
        errors.Add(file, node, "a container must be a map");
        continue;
      }
      if (pod->containers.size() == kMaxPodContainers) {
        errors.Add(file, node, fmt::format("more than {} containers", kMaxPodContainers));
        return;
      }
      PodContainer container{.init = init};
      const YAML::Node name = node["name"];
      container.name = name.IsDefined() && name.IsScalar() ? name.Scalar()
                                                           : std::to_string(pod->containers.size());
      const YAML::Node restart = node["restartPolicy"];
      container.sidecar =
          init && restart.IsDefined() && restart.IsScalar() && restart.Scalar() == "Always";
      const YAML::Node resources = node["resources"];
      if (resources.IsDefined() && resources.IsMap()) {
        Texts(resources["limits"], "limits", [&](const std::string& key, const std::string& value) {
          return container.limits.emplace(key, value).second;
        });
        Texts(resources["requests"], "requests",
              [&](const std::string& key, const std::string& value) {
                return container.requests.emplace(key, value).second;
              });
      } else if (resources.IsDefined() && !resources.IsNull()) {
        errors.Add(file, resources, "resources must be a map");
      }
      pod->containers.push_back(std::move(container));
    }
  }
};

YAML::Node Child(const YAML::Node& node, const char* key) {
  return node.IsDefined() && node.IsMap() ? node[key] : YAML::Node(YAML::NodeType::Undefined);
}

}  // namespace

Result<PodResources> ReadPodFile(const std::string& file, const std::string& text) {
  const auto document = config::ParseYaml(file, text);
  if (!document) return tl::unexpected<Error>(document.error());
  YAML::Node pod = document->root;
  if (!pod.IsMap()) return Fail(file, "is no pod: kubectl get pod NAME -o yaml writes one");
  const YAML::Node items = Child(pod, "items");
  if (items.IsDefined()) return Fail(file, "is a list; write one pod a file");
  const YAML::Node outer = Child(pod, "metadata");
  // CronJob: spec.jobTemplate.spec.template; Deployment, Job and others: spec.template.
  for (const char* key : {"jobTemplate", "template"}) {
    const YAML::Node inner = Child(Child(pod, "spec"), key);
    if (inner.IsDefined() && inner.IsMap()) pod.reset(inner);
  }
  const YAML::Node spec = Child(pod, "spec");
  if (!Child(spec, "containers").IsDefined()) {
    return Fail(file, "is no pod: spec.containers is missing");
  }
  Reader reader{.file = file, .errors = {}};
  PodResources out;
  for (const YAML::Node& metadata : {outer, Child(pod, "metadata")}) {
    const YAML::Node name = Child(metadata, "name");
    if (name.IsDefined() && name.IsScalar()) out.name = name.Scalar();
  }
  if (out.name.empty()) out.name = "pod";
  reader.Texts(Child(Child(pod, "metadata"), "annotations"), "annotations",
               [&](const std::string& key, const std::string& value) {
                 return out.annotations.emplace(key, value).second;
               });
  reader.Texts(Child(spec, "nodeSelector"), "nodeSelector",
               [&](const std::string& key, const std::string& value) {
                 out.node_selector.push_back({key, value});
                 return true;
               });
  reader.Containers(Child(spec, "initContainers"), true, &out);
  reader.Containers(Child(spec, "containers"), false, &out);
  if (!reader.errors.ok()) return tl::unexpected<Error>(reader.errors.Joined());
  return out;
}

}  // namespace basalt::devices
