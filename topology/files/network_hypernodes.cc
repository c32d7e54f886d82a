// Volcano's HyperNodes.
#include <fmt/format.h>
#include <yaml-cpp/depthguard.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <set>

#include "scheduler-core/base/suggest.h"
#include "topology/files/name_pattern.h"
#include "topology/files/network_files.h"
#include "topology/files/network_forest.h"

namespace basalt::topology {

using namespace network;  // what the readers share

namespace {

// A part of the text that is one YAML document, and the line before its first.
struct Chunk {
  std::size_t lines_before = 0;
  std::string text;
  bool content = false;
};

// Found in the text and parsed one by one: asking yaml-cpp 0.7 for all documents never ends on
// an input like ",".
std::vector<Chunk> Documents(const std::string& text) {
  std::vector<Chunk> chunks(1);
  std::size_t line = 0;
  for (std::size_t at = 0; at < text.size(); ++line) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    std::string row = text.substr(at, end - at);
    at = end + 1;
    const bool ends = row.starts_with("...") || row.starts_with("---");
    if (ends && (row.size() == 3 || row[3] == ' ' || row[3] == '\r')) {
      chunks.push_back({line, "", false});
      row.replace(0, 3, "   ");
    }
    const std::size_t first = row.find_first_not_of(" \t\r");
    if (row.starts_with('%') && !chunks.back().content) row.clear();  // a directive
    if (!row.empty() && first != std::string::npos && row[first] != '#') {
      chunks.back().content = true;
    }
    chunks.back().text += row + '\n';
  }
  std::erase_if(chunks, [](const Chunk& chunk) { return !chunk.content; });
  return chunks;
}

// The value of a key of a map; undefined for anything else.
YAML::Node Get(const YAML::Node& map, const char* key) {
  if (!map.IsDefined() || !map.IsMap()) return YAML::Node(YAML::NodeType::Undefined);
  return map[key];
}

std::string TextOf(const YAML::Node& node) {
  return node.IsDefined() && node.IsScalar() ? node.Scalar() : std::string();
}

bool IsText(const YAML::Node& node) { return !TextOf(node).empty(); }

class HyperNodeReader {
 public:
  HyperNodeReader(const std::string& file, const std::vector<NodeLabels>& nodes)
      : file_(file), nodes_(nodes) {}

  Result<NetworkMap> Read(const std::string& text) {
    for (const Chunk& chunk : Documents(text)) {
      lines_before_ = chunk.lines_before;
      YAML::Mark mark;
      std::string problem;
      try {
        const YAML::Node root = YAML::Load(chunk.text);
        if (root.IsNull()) continue;
        if (const Status status = ReadObject(root, ""); !status) {
          return tl::unexpected<Error>(status.error());
        }
      } catch (const YAML::DeepRecursion& e) {
        mark = e.mark;
        problem = "is nested too deeply";
      } catch (const YAML::Exception& e) {
        mark = e.mark;
        problem = e.msg;
      }
      if (!problem.empty()) return Fail(Place(mark), problem);
    }
    if (forest_.domains().empty()) return Fail(file_, "has no object of kind HyperNode");
    Status status = forest_.Link();
    if (status) status = CheckTiers();
    if (!status) return tl::unexpected<Error>(status.error());
    NetworkMap map = forest_.Paths();
    map.tier_names = std::move(tier_names_);
    for (const Domain& domain : forest_.domains()) {
      map.tier_names.emplace(domain.tier, fmt::format("tier{}", domain.tier));
    }
    map.warnings = std::move(warnings_);
    return map;
  }

 private:
  std::string Place(const YAML::Mark& mark) const {
    if (mark.is_null()) return file_;
    return fmt::format("{}:{}:{}", file_, lines_before_ + static_cast<std::size_t>(mark.line) + 1,
                       mark.column + 1);
  }
  tl::unexpected<Error> FailAt(const YAML::Node& at, std::string message) const {
    return Fail(Place(at.Mark()), std::move(message));
  }

  // `kind` is what an object is that does not say so: the items of a HyperNodeList may not.
  Status ReadObject(const YAML::Node& object, const std::string& kind_of_list) {
    if (!object.IsMap()) return FailAt(object, "is no Kubernetes object");
    std::string kind = TextOf(Get(object, "kind"));
    if (kind.empty()) kind = kind_of_list;
    if (kind.empty()) return FailAt(object, "\"kind\" is missing: HyperNode or List");
    if (kind_of_list.empty() && (kind == "List" || kind == "HyperNodeList")) {
      const YAML::Node items = Get(object, "items");
      if (!items.IsDefined() || !items.IsSequence()) {
        return FailAt(object, "a List has a list of \"items\"");
      }
      for (const YAML::Node& item : items) {
        const Status status = ReadObject(item, kind == "List" ? "?" : "HyperNode");
        if (!status) return status;
      }
      return {};
    }
    if (kind == "?") return FailAt(object, "\"kind\" is missing: HyperNode");
    if (kind != "HyperNode") return {};
    const YAML::Node version = Get(object, "apiVersion");
    if (version.IsDefined() ? TextOf(version) != "topology.volcano.sh/v1alpha1"
                            : kind_of_list != "HyperNode") {
      return FailAt(version.IsDefined() ? version : object,
                    "a HyperNode has apiVersion: topology.volcano.sh/v1alpha1");
    }
    return ReadHyperNode(object);
  }

  Status ReadHyperNode(const YAML::Node& object) {
    Domain domain;
    const YAML::Node name = Get(Get(object, "metadata"), "name");
    if (!IsText(name)) return FailAt(object, "\"metadata: name\" is missing");
    domain.name = TextOf(name);
    domain.where = Place(name.Mark());
    const YAML::Node spec = Get(object, "spec");
    const YAML::Node tier = Get(spec, "tier");
    if (!tier.IsDefined()) {
      return FailAt(object, fmt::format("HyperNode {}: \"spec: tier\" is missing", domain.name));
    }
    // Older Volcano has it as text; Scalar() is the same for both.
    const std::string digits = TextOf(tier);
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), domain.tier);
    if (error != std::errc() || end != digits.data() + digits.size() || domain.tier < 1 ||
        domain.tier > kMaxTiers) {
      return FailAt(tier, fmt::format("HyperNode {}: tier must be a whole number in 1..{}",
                                      domain.name, kMaxTiers));
    }
    if (const YAML::Node named = Get(spec, "tierName"); IsText(named)) {
      if (TextOf(named) == "node" || TextOf(named) == "cluster") {
        return FailAt(named, fmt::format("HyperNode {}: a tier cannot be called \"{}\": that is {}",
                                         domain.name, TextOf(named),
                                         TextOf(named) == "node" ? "one node" : "all of them"));
      }
      const auto [at, fresh] = tier_names_.emplace(domain.tier, TextOf(named));
      if (!fresh && at->second != TextOf(named)) {
        warnings_.push_back(fmt::format("{}: tier {} is called {} here and {} before",
                                        Place(named.Mark()), domain.tier, TextOf(named),
                                        at->second));
      }
    }
    const YAML::Node members = Get(spec, "members");
    if (members.IsDefined() && !members.IsNull()) {
      if (!members.IsSequence()) return FailAt(members, "members must be a list");
      for (const YAML::Node& member : members) {
        if (const Status status = ReadMember(member, &domain); !status) return status;
      }
    }
    if (domain.nodes.empty() && domain.children.empty()) {
      warnings_.push_back(
          fmt::format("{}: HyperNode {} has no members", domain.where, domain.name));
    }
    return forest_.Add(std::move(domain));
  }

  Status ReadMember(const YAML::Node& member, Domain* domain) {
    static constexpr std::array<std::string_view, 2> kTypes = {"Node", "HyperNode"};
    const YAML::Node type_node = Get(member, "type");
    const std::string type = TextOf(type_node);
    if (type.empty()) return FailAt(member, "\"type\" of a member is missing: Node or HyperNode");
    if (type != kTypes[0] && type != kTypes[1]) {
      return FailAt(type_node, "unknown type " + SuggestText(type, kTypes));
    }
    const YAML::Node selector = Get(member, "selector");
    const YAML::Node exact = Get(selector, "exactMatch");
    const YAML::Node regex = Get(selector, "regexMatch");
    const YAML::Node labels = Get(selector, "labelMatch");
    if (int{exact.IsDefined()} + int{regex.IsDefined()} + int{labels.IsDefined()} != 1) {
      return FailAt(member, "a member has one selector: exactMatch, regexMatch or labelMatch");
    }
    if (type == "HyperNode" && !exact.IsDefined()) {
      return FailAt(member, "a member of type HyperNode is named with exactMatch (as in Volcano)");
    }
    if (exact.IsDefined()) {
      const YAML::Node name = Get(exact, "name");
      if (!IsText(name)) return FailAt(exact, "\"name\" of exactMatch is missing");
      if (type == "HyperNode") {
        domain->children.emplace_back(TextOf(name), Place(name.Mark()));
        return {};
      }
      return AddNode(name, TextOf(name), domain);
    }
    const std::size_t before = domain->nodes.size();
    const Status status = regex.IsDefined() ? ByPattern(regex, domain) : ByLabels(labels, domain);
    if (status && domain->nodes.size() == before) {
      warnings_.push_back(fmt::format("{}: a member of HyperNode {} matches no node",
                                      Place(member.Mark()), domain->name));
    }
    return status;
  }

  Status AddNode(const YAML::Node& at, const std::string& name, Domain* domain) {
    if (names_left_-- == 0) {
      return FailAt(at, fmt::format("members name more than {} nodes", kMaxNodeNames));
    }
    domain->nodes.push_back(name);
    return {};
  }

  Status ByPattern(const YAML::Node& regex, Domain* domain) {
    const YAML::Node text = Get(regex, "pattern");
    if (!IsText(text)) return FailAt(regex, "\"pattern\" of regexMatch is missing");
    const Result<NamePattern> pattern = NamePattern::Make(TextOf(text));
    if (!pattern) return FailAt(text, pattern.error().message);
    for (const NodeLabels& node : nodes_) {
      if (!pattern->Matches(node.node)) continue;
      if (const Status status = AddNode(text, node.node, domain); !status) return status;
    }
    return {};
  }

  // Kubernetes' label selector: all of its terms hold.
  struct Term {
    std::string key;
    bool present = true;  // In, Exists; false: NotIn, DoesNotExist
    bool any = false;     // Exists, DoesNotExist: no values
    std::set<std::string> values = {};

    bool Holds(const NodeLabels& node) const {
      for (const auto& [label, value] : node.labels) {
        if (label == key) return (any || values.contains(value)) == present;
      }
      return !present;
    }
  };

  Status ByLabels(const YAML::Node& labels, Domain* domain) {
    static constexpr std::array<std::string_view, 4> kOperators = {"In", "NotIn", "Exists",
                                                                   "DoesNotExist"};
    std::vector<Term> terms;
    if (const YAML::Node match = Get(labels, "matchLabels"); match.IsDefined()) {
      if (!match.IsMap()) return FailAt(match, "matchLabels must be a map");
      for (const auto& entry : match) {
        if (!entry.second.IsScalar()) return FailAt(entry.first, "a label's value must be text");
        terms.push_back({TextOf(entry.first), true, false, {entry.second.Scalar()}});
      }
    }
    if (const YAML::Node match = Get(labels, "matchExpressions"); match.IsDefined()) {
      if (!match.IsSequence()) return FailAt(match, "matchExpressions must be a list");
      for (const YAML::Node& item : match) {
        const std::string op = TextOf(Get(item, "operator"));
        const YAML::Node values = Get(item, "values");
        if (!IsText(Get(item, "key"))) return FailAt(item, "\"key\" is missing");
        if (std::find(kOperators.begin(), kOperators.end(), op) == kOperators.end()) {
          return FailAt(item, "unknown operator " + SuggestText(op, kOperators));
        }
        Term term{TextOf(Get(item, "key")), !op.ends_with("NotIn") && !op.starts_with("Does"),
                  op.ends_with("xists") || op.starts_with("Does")};
        if (!term.any) {
          if (!values.IsDefined() || !values.IsSequence() || values.size() == 0) {
            return FailAt(item, fmt::format("operator {} needs a list of \"values\"", op));
          }
          for (const YAML::Node& value : values) term.values.insert(TextOf(value));
        }
        terms.push_back(std::move(term));
      }
    }
    if (terms.empty()) return {};  // as in Volcano: chooses nothing
    for (const NodeLabels& node : nodes_) {
      const bool holds = std::all_of(terms.begin(), terms.end(),
                                     [&node](const Term& term) { return term.Holds(node); });
      if (!holds) continue;
      if (const Status status = AddNode(labels, node.node, domain); !status) return status;
    }
    return {};
  }

  Status CheckTiers() {
    for (const Domain& domain : forest_.domains()) {
      if (domain.parent == -1) continue;
      const Domain& parent = forest_.Of(domain.parent);
      if (domain.tier < parent.tier) continue;
      return Fail(domain.where,
                  fmt::format("HyperNode {} of tier {} is a member of {} of tier {}; a member's "
                              "tier must be lower",
                              domain.name, domain.tier, parent.name, parent.tier));
    }
    return {};
  }

  const std::string& file_;
  const std::vector<NodeLabels>& nodes_;
  Forest forest_{"HyperNode"};
  std::size_t lines_before_ = 0;
  std::size_t names_left_ = kMaxNodeNames;
  std::map<int, std::string> tier_names_;
  std::vector<std::string> warnings_;
};

}  // namespace

Result<NetworkMap> ReadHyperNodes(const std::string& text, const std::string& file,
                                  const std::vector<NodeLabels>& nodes) {
  if (const Status status = CheckText(text, file); !status) {
    return tl::unexpected<Error>(status.error());
  }
  Result<NetworkMap> map = HyperNodeReader(file, nodes).Read(text);
  if (map) WarnOfNodes(nodes, file, &*map);
  return map;
}

}  // namespace basalt::topology
