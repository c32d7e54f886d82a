// What only the whole file shows of its queues: names that count nothing, and promises that no
// cluster can keep.
#include <algorithm>
#include <cctype>
#include <map>

#include "cli/platform_convert.h"
#include "scheduler-core/base/suggest.h"

namespace basalt::cli {
namespace {

std::string Lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

// The names that the engine charges (docs/queues.md).
struct ResourceNames {
  std::vector<std::string> all;   // those of the file's own cards and SKUs first
  std::vector<std::string> here;  // without the models that only the catalog has
};
ResourceNames NamesFor(const sim::PlatformSpec& spec, const devices::Catalog& catalog) {
  ResourceNames names;
  std::vector<std::string> models;
  const auto add = [&](const std::string& model, bool here) {
    if (std::find(models.begin(), models.end(), model) != models.end()) return;
    models.push_back(model);
    for (const char* kind : {"gpu/", "cards/", "gpu-memory/"}) {
      names.all.push_back(kind + model);
      if (here) names.here.push_back(kind + model);
    }
  };
  names.all = {"cpu", "memory", "gpu", "cards", "slices", "gpu-memory"};
  for (const sim::SkuSpec& sku : spec.skus) names.all.push_back("sku/" + sku.name);
  names.here = names.all;
  for (const sim::ClusterSpec& cluster : spec.clusters) {
    for (const sim::NodeGroupSpec& group : cluster.groups) add(group.model, true);
  }
  for (const devices::Vendor& vendor : catalog.vendors) {
    for (const devices::CardModel& model : vendor.models) add(model.name, false);
  }
  return names;
}

std::string Unknown(const std::string& name, const ResourceNames& names) {
  std::vector<std::string> lower;
  for (const std::string& known : names.all) lower.push_back(Lower(known));
  const std::string near = NearestName(Lower(name), lower);
  if (near.empty()) return SuggestText(name, names.here);
  const auto at = std::find(lower.begin(), lower.end(), near) - lower.begin();
  return fmt::format("\"{}\"; did you mean \"{}\"?", name, names.all[static_cast<std::size_t>(at)]);
}

// What the cluster has of a resource with all its nodes, as the engine counts it; nothing: no
// hardware limits it.
std::optional<std::int64_t> TotalOf(const sim::ClusterSpec& cluster, const std::string& resource) {
  const std::size_t slash = resource.find('/');
  const std::string kind = resource.substr(0, slash);
  if (kind == "slices" || kind == "sku") return {};
  std::int64_t total = 0;
  for (const sim::NodeGroupSpec& g : cluster.groups) {
    if (slash != std::string::npos && resource.substr(slash + 1) != g.model) continue;
    const std::int64_t cards = std::int64_t{g.count} * g.cards;
    if (kind == "cpu") {
      total += std::int64_t{g.count} * g.cpu_milli * g.cpu_ratio_percent / 100;
    } else if (kind == "memory") {
      total += std::int64_t{g.count} * g.memory_mib * g.host_memory_ratio_percent / 100;
    } else if (kind == "gpu") {
      total += cards * kWholeCard * g.compute_ratio_percent / 100;
    } else if (kind == "cards") {
      total += cards;
    } else {
      total += cards * g.card_memory_mib * g.memory_ratio_percent / 100;  // gpu-memory
    }
  }
  return total;
}

std::int64_t NodesFor(const sim::ClusterSpec& cluster, const SlotQuota& slots) {
  std::int64_t nodes = 0;
  for (const sim::NodeGroupSpec& g : cluster.groups) {
    if (g.cards == slots.cards && (slots.model.empty() || g.model == slots.model)) nodes += g.count;
  }
  return nodes;
}

}  // namespace

void CheckQueues(const QueueCheck& in, config::Errors* errors) {
  const auto wrong = [&](const YAML::Node& at, std::string message) {
    errors->Add(in.file, at.IsDefined() ? at : in.at, std::move(message));
  };
  QueueTree tree;
  if (const auto added = tree.AddAll(in.queues); !added) wrong(in.at, added.error().ToString());

  const ResourceNames names = NamesFor(in.spec, in.catalog);
  std::map<std::string, YAML::Node> guaranteed;  // resource: where it stands first
  const YAML::Node list = in.at;
  for (std::size_t i = 0; i < in.queues.size(); ++i) {
    const YAML::Node queue = list[i];
    for (const char* key : {"guarantee", "deserved", "capacity"}) {
      const YAML::Node amounts = queue[key];
      if (!amounts.IsDefined()) continue;
      for (const auto& entry : amounts) {
        const std::string name = entry.first.Scalar();
        if (std::find(names.all.begin(), names.all.end(), name) == names.all.end()) {
          wrong(entry.first, fmt::format("queue '{}': {}: unknown resource {}", in.queues[i].name,
                                         key, Unknown(name, names)));
        } else if (std::string_view(key) == "guarantee") {
          guaranteed.emplace(name, entry.first);
        }
      }
    }
  }
  if (in.clusters.empty()) return;  // each has a tree of its own
  for (const auto& [name, at] : guaranteed) {
    const auto id = tree.resources().Find(name);
    if (!id) continue;  // the tree was refused
    const std::int64_t promised = tree.guarantee(QueueTree::kRoot)[*id];
    const sim::ClusterSpec* largest = nullptr;
    std::int64_t most = -1;
    for (const sim::ClusterSpec* cluster : in.clusters) {
      const auto total = TotalOf(*cluster, name);
      if (total && *total > most) {
        most = *total;
        largest = cluster;
      }
    }
    if (largest == nullptr || promised <= most) continue;
    wrong(at, fmt::format("guarantees of {} add up to {}, and cluster \"{}\", which has most, has "
                          "{}: lower them, or add nodes",
                          name, tree.resources().Format(*id, promised), largest->name,
                          tree.resources().Format(*id, most)));
  }

  std::map<std::pair<std::int32_t, std::string>, std::int64_t> wanted;
  for (std::size_t i = 0; i < in.queues.size(); ++i) {
    for (std::size_t s = 0; s < in.queues[i].slots.size(); ++s) {
      const SlotQuota& slots = in.queues[i].slots[s];
      const std::string kind =
          fmt::format("{} {}cards", slots.cards, slots.model.empty() ? "" : slots.model + " ");
      std::int64_t nodes = 0;
      for (const sim::ClusterSpec* cluster : in.clusters) {
        nodes = std::max(nodes, NodesFor(*cluster, slots));
      }
      std::int64_t& sum = wanted[{slots.cards, slots.model}];
      const bool told = sum > nodes;
      sum += slots.count;
      const YAML::Node at = list[i]["slots"][s];
      if (nodes == 0) {
        wrong(at,
              fmt::format("queue '{}': slots: no group has nodes of {}", in.queues[i].name, kind));
      } else if (sum > nodes && !told) {
        wrong(at, fmt::format("queue '{}': slots: {} nodes of {} in all, and no cluster has more "
                              "than {}: ask for fewer, or add nodes",
                              in.queues[i].name, sum, kind, nodes));
      }
    }
  }
}

}  // namespace basalt::cli
