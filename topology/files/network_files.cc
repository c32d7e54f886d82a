// Our own YAML, and which of the formats a text has.
#include "topology/files/network_files.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <map>
#include <regex>
#include <set>

#include "scheduler-core/base/suggest.h"
#include "scheduler-core/config/options.h"
#include "topology/files/hostlist.h"
#include "topology/files/network_forest.h"

namespace basalt::topology {

using namespace network;  // what the readers share

namespace {

constexpr std::size_t kMaxErrors = 100;

std::string TextOf(const YAML::Node& node) {
  return node.IsDefined() && node.IsScalar() ? node.Scalar() : std::string();
}

class NetworkYamlReader {
 public:
  explicit NetworkYamlReader(const config::Document& document) : file_(document.file) {}

  Result<NetworkMap> Read(const YAML::Node& root) {
    static const std::vector<config::OptionInfo> kKeys = {
        {.name = "levels", .help = "the levels, narrow to wide", .required = true},
        {.name = "nodes", .help = "nodes and their domains"},
        {.name = "tree", .help = "domains and their nodes, nested from the widest level"}};
    if (config::CheckKeys(file_, root, kKeys, &errors_) && errors_.ok()) {
      ReadLevels(root["levels"]);
      const YAML::Node nodes = root["nodes"];
      const YAML::Node tree = root["tree"];
      if (!nodes.IsDefined() && !tree.IsDefined()) {
        errors_.Add(file_, root, "has neither \"nodes\" nor \"tree\"");
      }
      if (errors_.ok() && nodes.IsDefined()) ReadNodes(nodes);
      NetworkPath wide;
      if (errors_.ok() && tree.IsDefined()) ReadTree(tree, &wide);
    }
    if (!errors_.ok()) return tl::unexpected<Error>(errors_.Joined());
    return std::move(map_);
  }

 private:
  bool Enough() const { return errors_.list().size() >= kMaxErrors; }

  void ReadLevels(const YAML::Node& levels) {
    if (!config::CheckList(file_, levels, {.name = "levels"}, &errors_)) return;
    for (const YAML::Node& level : levels) {
      std::string name;
      if (!config::ReadText(file_, level, {.name = "a level"}, &name, &errors_)) return;
      if (name == "node" || name == "nodes" || name == "cluster") {
        errors_.Add(file_, level, fmt::format("a level cannot be called \"{}\"", name));
      } else if (std::find(levels_.begin(), levels_.end(), name) != levels_.end()) {
        errors_.Add(file_, level, fmt::format("level \"{}\" stands twice", name));
      } else if (levels_.size() == static_cast<std::size_t>(kMaxTiers)) {
        errors_.Add(file_, level, fmt::format("more than {} levels", kMaxTiers));
        return;
      }
      levels_.push_back(name);
      map_.tier_names[static_cast<int>(levels_.size())] = name;
      if (Enough()) return;
    }
    if (levels_.empty()) errors_.Add(file_, levels, "name at least one level");
  }

  void ReadNodes(const YAML::Node& nodes) {
    if (nodes.IsNull()) return;
    if (nodes.IsSequence()) {
      for (const YAML::Node& entry : nodes) {
        if (Enough()) return;
        ReadEntry(entry, {}, false);
      }
    } else if (nodes.IsMap()) {
      for (const auto& entry : nodes) {
        if (Enough()) return;
        std::vector<std::string> names;
        AddHosts(entry.first, &names);
        ReadEntry(entry.second, names, true);
      }
    } else {
      errors_.Add(file_, nodes, "nodes must be a list, or a map by node name");
    }
  }

  // `names` are the nodes when they stand outside of the entry.
  void ReadEntry(const YAML::Node& entry, std::vector<std::string> names, bool named) {
    if (!entry.IsMap()) {
      errors_.Add(file_, entry, "must be a map of level: domain");
      return;
    }
    std::vector<std::string> known(levels_);
    if (!named) known.insert(known.end(), {"node", "nodes"});
    std::set<std::string> seen;
    NetworkPath path;
    std::vector<std::string> unknown;
    for (const auto& pair : entry) {
      const YAML::Node& key_node = pair.first;
      const YAML::Node& value = pair.second;
      const std::string key = TextOf(key_node);
      const auto at = std::find(known.begin(), known.end(), key);
      if (at == known.end()) {
        errors_.Add(file_, key_node, "unknown key " + SuggestText(key, known));
      } else if (!seen.insert(key).second) {
        errors_.Add(file_, key_node, fmt::format("key \"{}\" stands twice", key));
      } else if (at - known.begin() >= std::ssize(levels_)) {
        if (seen.contains("node") && seen.contains("nodes")) {
          errors_.Add(file_, key_node, "write either \"node\" or \"nodes\"");
        } else {
          AddHosts(value, &names);
          named = true;
        }
      } else if (value.IsNull() || (value.IsScalar() && value.Scalar().empty())) {
        unknown.push_back(key);
      } else if (!value.IsScalar()) {
        errors_.Add(file_, value, fmt::format("{} must be the name of one domain", key));
      } else {
        path.push_back({static_cast<int>(at - known.begin()) + 1, value.Scalar()});
      }
      if (Enough()) return;
    }
    if (!named) errors_.Add(file_, entry, "\"node\" or \"nodes\" is missing");
    std::sort(path.begin(), path.end());
    AddNodes(entry, names, path);
    for (const std::string& level : unknown) {
      map_.warnings.push_back(fmt::format("{}:{}: {}: {} is empty: in no {}", file_,
                                          entry.Mark().line + 1, Some(names), level, level));
    }
  }

  // A host list, or a list of them.
  void AddHosts(const YAML::Node& node, std::vector<std::string>* names) {
    if (node.IsSequence()) {
      for (const YAML::Node& item : node) {
        if (Enough()) return;
        if (!item.IsScalar()) {
          errors_.Add(file_, item, "must be a node name or a range such as n[0-17]");
        } else {
          AddHosts(item, names);
        }
      }
      return;
    }
    if (!node.IsScalar()) {
      errors_.Add(file_, node, "must be a node name or a range such as n[0-17]");
      return;
    }
    Result<std::vector<std::string>> hosts = ExpandHostlist(node.Scalar(), names_left_);
    if (!hosts) {
      errors_.Add(file_, node, hosts.error().message);
      return;
    }
    names_left_ -= hosts->size();
    std::move(hosts->begin(), hosts->end(), std::back_inserter(*names));
  }

  void AddNodes(const YAML::Node& at, const std::vector<std::string>& names,
                const NetworkPath& path) {
    for (const std::string& name : names) {
      const auto [first, fresh] = lines_.emplace(name, at.Mark().line + 1);
      if (!fresh) {
        errors_.Add(file_, at,
                    fmt::format("node {} stands twice; first in line {}", name, first->second));
        if (Enough()) return;
      } else {
        map_.paths.emplace(name, path);
      }
    }
  }

  // `wide` is the path to here, widest first. No deeper than the levels.
  void ReadTree(const YAML::Node& node, NetworkPath* wide) {
    if (node.IsNull()) return;  // a domain without nodes
    if (!node.IsMap()) {
      if (wide->empty()) {
        errors_.Add(file_, node, "tree must be a map by the widest level's domains");
        return;
      }
      std::vector<std::string> names;
      AddHosts(node, &names);
      AddNodes(node, names, NetworkPath(wide->rbegin(), wide->rend()));
      return;
    }
    if (wide->size() == levels_.size()) {
      errors_.Add(file_, node, fmt::format("is deeper than the {} levels", levels_.size()));
      return;
    }
    std::set<std::string> seen;
    for (const auto& pair : node) {
      const YAML::Node& key = pair.first;
      const YAML::Node& value = pair.second;
      if (Enough()) return;
      if (domains_left_-- == 0) {  // aliases can make a small text endless
        errors_.Add(file_, key, fmt::format("more than {} domains", kMaxNodeNames));
        domains_left_ = 0;
        return;
      }
      if (TextOf(key).empty()) {
        errors_.Add(file_, key, "a domain has no name");
      } else if (!seen.insert(TextOf(key)).second) {
        errors_.Add(file_, key, fmt::format("domain \"{}\" stands twice", TextOf(key)));
      } else {
        const int tier = static_cast<int>(levels_.size() - wide->size());
        wide->push_back({tier, TextOf(key)});
        ReadTree(value, wide);
        wide->pop_back();
      }
    }
  }

  const std::string& file_;
  config::Errors errors_;
  std::vector<std::string> levels_;
  std::size_t names_left_ = kMaxNodeNames;
  std::size_t domains_left_ = kMaxNodeNames;
  std::map<std::string, int> lines_;
  NetworkMap map_;
};

}  // namespace

Result<NetworkMap> ReadNetworkYaml(const std::string& text, const std::string& file) {
  if (const Status status = CheckText(text, file); !status) {
    return tl::unexpected<Error>(status.error());
  }
  const Result<config::Document> document = config::ParseYaml(file, text);
  if (!document) return tl::unexpected<Error>(document.error());
  try {
    return NetworkYamlReader(*document).Read(document->root);
  } catch (const YAML::Exception& e) {
    return Fail(file, e.msg);
  }
}

Result<NetworkMap> ReadNetwork(const std::string& text, const std::string& file,
                               const std::vector<NodeLabels>& nodes) {
  if (const Status status = CheckText(text, file); !status) {
    return tl::unexpected<Error>(status.error());
  }
  static const std::regex kSlurmLine("^(switchname|blockname|blocksizes)=", std::regex::icase);
  static const std::regex kObject("^[-{\\s]*\"?(apiVersion|kind|items)\"?\\s*:");
  bool slurm = false;
  bool object = false;
  for (std::size_t at = 0; at < text.size() && !slurm && !object;) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::size_t first = text.find_first_not_of(" \t\r\xEF\xBB\xBF", at);
    if (first < end) {
      const std::string start = text.substr(first, std::min<std::size_t>(end - first, 40));
      slurm = std::regex_search(start, kSlurmLine);
      object = std::regex_search(start, kObject);
    }
    at = end + 1;
  }
  if (object) return ReadHyperNodes(text, file, nodes);
  Result<NetworkMap> map = slurm ? ReadSlurmTopology(text, file) : ReadNetworkYaml(text, file);
  if (map) WarnOfNodes(nodes, file, &*map);
  return map;
}

}  // namespace basalt::topology
