// `basalt topo network`: the tree of network domains that a file describes.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "cli/common.h"
#include "topology/files/network_files.h"
#include "traces/canonical.h"

namespace basalt::cli {
namespace {

std::vector<topology::NodeLabels> LabelsOf(const sim::ClusterNodes& cluster) {
  std::vector<topology::NodeLabels> nodes;
  for (const NodeSpec& node : cluster.nodes) {
    topology::NodeLabels labels{node.name, {}};
    for (const LabelRequirement& l : node.labels) labels.labels.emplace_back(l.key, l.value);
    nodes.push_back(std::move(labels));
  }
  return nodes;
}

struct DomainNode {
  int tier = 0;
  std::int64_t nodes = 0;  // in it and below
  std::map<std::pair<int, std::string>, DomainNode> children;
};

std::string TierName(const topology::NetworkMap& map, int tier) {
  const auto known = map.tier_names.find(tier);
  return known == map.tier_names.end() ? fmt::format("tier {}", tier) : known->second;
}

void Draw(const topology::NetworkMap& map, const DomainNode& at, const std::string& indent) {
  for (const auto& [key, child] : at.children) {
    std::printf("%s%s %s  %lld node%s\n", indent.c_str(), TierName(map, key.first).c_str(),
                key.second.c_str(), static_cast<long long>(child.nodes),
                child.nodes == 1 ? "" : "s");
    Draw(map, child, indent + "  ");
  }
}

nlohmann::json ToJson(const topology::NetworkMap& map, const DomainNode& at) {
  nlohmann::json out = nlohmann::json::array();
  for (const auto& [key, child] : at.children) {
    out.push_back({{"tier", key.first},
                   {"level", TierName(map, key.first)},
                   {"name", key.second},
                   {"nodes", child.nodes},
                   {"domains", ToJson(map, child)}});
  }
  return out;
}

void Flatten(const topology::NetworkMap& map, const DomainNode& at, const std::string& path,
             report::Table* table) {
  for (const auto& [key, child] : at.children) {
    const std::string name = path.empty() ? key.second : path + "/" + key.second;
    table->rows.push_back({TierName(map, key.first), name, std::to_string(child.nodes)});
    Flatten(map, child, name, table);
  }
}

void Run(const std::string& file, const std::string& trace, Format format, Context* context) {
  const auto text = ReadFile(file, std::size_t{16} << 20);
  if (!text) return context->BadInput(text.error());
  std::vector<topology::NodeLabels> nodes;
  if (!trace.empty()) {
    const auto read = trace::ReadTrace(trace);
    if (!read) return context->BadInput(read.error());
    const auto cluster = sim::NodesFromTrace(read->nodes, MachineText);
    if (!cluster) return context->BadInput(cluster.error());
    nodes = LabelsOf(*cluster);
  }
  const auto map = topology::ReadNetwork(*text, file, nodes);
  if (!map) return context->BadInput(map.error());
  if (trace.empty() && (text->find("regexMatch") != std::string::npos ||
                        text->find("labelMatch") != std::string::npos)) {
    std::fprintf(stderr,
                 "warning: members by pattern or label are judged against a cluster's nodes; name "
                 "one with --trace DIR\n");
  }
  for (const std::string& warning : map->warnings) {
    std::fprintf(stderr, "warning: %s\n", warning.c_str());
  }
  DomainNode root;
  std::int64_t nowhere = 0;
  for (const auto& [node, path] : map->paths) {
    ++root.nodes;
    nowhere += path.empty() ? 1 : 0;
    DomainNode* at = &root;
    for (std::size_t i = path.size(); i-- > 0;) {  // widest first
      at = &at->children[{path[i].tier, path[i].name}];
      ++at->nodes;
    }
  }
  if (format == Format::kJson) {
    return Print(nlohmann::json{
        {"nodes", root.nodes}, {"unknown", nowhere}, {"domains", ToJson(*map, root)}});
  }
  if (format != Format::kTable) {
    report::Table table;
    table.header = {"level", "domain", "nodes"};
    table.right = {false, false, true};
    Flatten(*map, root, "", &table);
    return Print(table, format);
  }
  std::printf("cluster  %lld node%s\n", static_cast<long long>(root.nodes),
              root.nodes == 1 ? "" : "s");
  Draw(*map, root, "  ");
  if (nowhere > 0) {
    std::printf("  in no domain: %lld nodes, each by itself\n", static_cast<long long>(nowhere));
  }
}

}  // namespace

Status ApplyNetwork(const std::string& file, sim::ClusterNodes* cluster) {
  Result<topology::NetworkMap> map;
  if (file == "labels") {
    map = topology::NetworkFromLabels(topology::CommonNetworkLevels(), LabelsOf(*cluster));
  } else {
    const auto text = ReadFile(file, std::size_t{16} << 20);
    if (!text) return tl::unexpected<Error>(text.error());
    map = topology::ReadNetwork(*text, file, LabelsOf(*cluster));
  }
  if (!map) return tl::unexpected<Error>(map.error());
  std::size_t known = 0;
  for (NodeSpec& node : cluster->nodes) {
    const auto path = map->paths.find(node.name);
    node.network = path == map->paths.end() ? topology::NetworkPath{} : path->second;
    known += node.network.empty() ? 0 : 1;
  }
  if (known == 0) {
    return Fail(file, file == "labels"
                          ? "no node has a label that names a network domain (docs/topology.md)"
                          : "names none of the cluster's nodes; the first of them is " +
                                cluster->nodes.front().name);
  }
  cluster->tier_names = map->tier_names;
  for (const std::string& warning : map->warnings) {
    std::fprintf(stderr, "warning: %s\n", warning.c_str());
  }
  return {};
}

void AddTopoNetwork(CLI::App* topo, Context* context) {
  struct Options {
    std::string file;
    std::string trace;
    Format format = Format::kTable;
  };
  auto o = std::make_shared<Options>();
  CLI::App* app = topo->add_subcommand(
      "network", "the network domains of a file: ours, Volcano HyperNodes, Slurm topology.conf");
  app->add_option("FILE", o->file, "the file")->required();
  app->add_option("--trace", o->trace, "the nodes that patterns and labels choose from")
      ->type_name("DIR");
  AddFormat(app, &o->format);
  app->callback([o, context] { Run(o->file, o->trace, o->format, context); });
}

}  // namespace basalt::cli
