// Slurm's topology.conf.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <string_view>

#include "scheduler-core/base/suggest.h"
#include "topology/files/hostlist.h"
#include "topology/files/network_files.h"
#include "topology/files/network_forest.h"

namespace basalt::topology {

using namespace network;  // what the readers share

namespace {

bool SameWord(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](unsigned char x, unsigned char y) {
    return std::tolower(x) == std::tolower(y);
  });
}

constexpr std::array<std::string_view, 6> kSlurmKeys = {"SwitchName", "Switches",  "Nodes",
                                                        "LinkSpeed",  "BlockName", "BlockSizes"};
struct SlurmField {
  std::string_view key;  // one of kSlurmKeys
  std::string_view value;
  std::string where;
};

// The key=value pairs of a line.
Result<std::vector<SlurmField>> SlurmFields(std::string_view row, const std::string& file,
                                            std::size_t line) {
  std::vector<SlurmField> fields;
  row = row.substr(0, row.find('#'));
  std::size_t at = 0;
  while ((at = row.find_first_not_of(" \t\r", at)) != std::string_view::npos) {
    const std::size_t end = std::min(row.find_first_of(" \t\r", at), row.size());
    const std::string_view pair = row.substr(at, end - at);
    std::string where = fmt::format("{}:{}:{}", file, line, at + 1);
    const std::size_t equals = pair.find('=');
    if (equals == std::string_view::npos) {
      return Fail(where, fmt::format("\"{}\" is no key=value", pair.substr(0, 80)));
    }
    const std::string_view key = pair.substr(0, equals);
    const auto known = std::find_if(kSlurmKeys.begin(), kSlurmKeys.end(),
                                    [key](std::string_view name) { return SameWord(name, key); });
    if (known == kSlurmKeys.end())
      return Fail(where, "unknown key " + SuggestText(key, kSlurmKeys));
    if (equals + 1 == pair.size()) return Fail(where, fmt::format("{} has no value", *known));
    for (const SlurmField& other : fields) {
      if (other.key == *known) return Fail(where, fmt::format("{} stands twice", *known));
    }
    fields.push_back({*known, pair.substr(equals + 1), std::move(where)});
    at = end;
  }
  return fields;
}

// One switch or block.
Result<Domain> SlurmDomain(const std::vector<SlurmField>& fields, std::size_t* names_left) {
  Domain domain;
  bool has_nodes = false;
  for (const SlurmField& field : fields) {
    const bool is_block = field.key == "BlockName";
    if (is_block || field.key == "SwitchName") {
      if (!domain.name.empty()) return Fail(field.where, "a line names one switch or one block");
      domain.name = field.value;
      domain.where = field.where;
      domain.block = is_block;
    } else if (field.key == "Nodes" || field.key == "Switches") {
      Result<std::vector<std::string>> names = ExpandHostlist(field.value, *names_left);
      if (!names) return Fail(field.where, names.error().message);
      *names_left -= names->size();
      has_nodes = has_nodes || field.key == "Nodes";
      if (field.key == "Nodes") {
        domain.nodes = std::move(*names);
      } else {
        for (std::string& name : *names) {
          domain.children.emplace_back(std::move(name), field.where);
        }
      }
    } else if (field.key == "BlockSizes") {
      return Fail(field.where, "BlockSizes stands on a line of its own");
    }
  }
  const std::string& where = fields.front().where;
  if (domain.name.empty()) return Fail(where, "SwitchName= or BlockName= is missing");
  if (domain.block && !domain.children.empty()) {
    return Fail(where, fmt::format("block {} has Switches=; it has Nodes=", domain.name));
  }
  if (has_nodes == !domain.children.empty()) {
    return Fail(where, fmt::format("{} has {} Nodes= and Switches=; write one of them", domain.name,
                                   has_nodes ? "both" : "neither"));
  }
  return domain;
}

// A switch is one tier above the highest of its children.
Status SlurmTiers(Forest* forest) {
  std::vector<Domain>& domains = forest->domains();
  for (Domain& leaf : domains) {
    if (!leaf.children.empty()) continue;
    leaf.tier = 1;
    int tier = 2;
    for (int at = leaf.parent; at != -1; at = forest->Of(at).parent, ++tier) {
      Domain& above = domains[static_cast<std::size_t>(at)];
      if (above.tier >= tier) break;  // a longer branch came by
      if (tier > kMaxTiers) {
        return Fail(above.where, fmt::format("switch {} is above more than {} tiers", above.name,
                                             kMaxTiers - 1));
      }
      above.tier = tier;
    }
  }
  return {};
}

}  // namespace

Result<NetworkMap> ReadSlurmTopology(const std::string& text, const std::string& file) {
  if (const Status status = CheckText(text, file); !status) {
    return tl::unexpected<Error>(status.error());
  }
  Forest forest("domain");
  std::size_t names_left = kMaxNodeNames;
  std::vector<std::string> warnings;
  std::size_t line = 0;
  bool blocks = false;
  bool switches = false;
  for (std::size_t at = text.starts_with("\xEF\xBB\xBF") ? 3 : 0; at < text.size();) {
    // A backslash at the end of a line joins the next one to it.
    std::string row;
    const std::size_t first = line + 1;
    for (bool more = true; more && at < text.size();) {
      const std::size_t end = std::min(text.find('\n', at), text.size());
      row.append(text, at, end - at);
      at = end + 1;
      ++line;
      if (row.ends_with('\r')) row.pop_back();
      more = row.ends_with('\\');
      if (more) row.back() = ' ';
    }
    const Result<std::vector<SlurmField>> fields = SlurmFields(row, file, first);
    if (!fields) return tl::unexpected<Error>(fields.error());
    if (fields->empty()) continue;
    if (fields->size() == 1 && fields->front().key == "BlockSizes") {
      if (fields->front().value.find(',') != std::string_view::npos) {
        warnings.push_back(
            fmt::format("{}: of BlockSizes the larger ones are not read: blocks are "
                        "not joined",
                        fields->front().where));
      }
      continue;
    }
    Result<Domain> domain = SlurmDomain(*fields, &names_left);
    if (!domain) return tl::unexpected<Error>(domain.error());
    (domain->block ? blocks : switches) = true;
    if (const Status added = forest.Add(std::move(*domain)); !added) {
      return tl::unexpected<Error>(added.error());
    }
  }
  if (forest.domains().empty()) return Fail(file, "has no SwitchName= and no BlockName=");
  Status status = forest.Link();
  if (status) status = SlurmTiers(&forest);
  if (!status) return tl::unexpected<Error>(status.error());
  for (const Domain& domain : forest.domains()) {
    if (domain.parent == -1 || !domain.block) continue;
    return Fail(domain.where, fmt::format("block {} is among the Switches= of {}", domain.name,
                                          forest.Of(domain.parent).name));
  }
  NetworkMap map = forest.Paths();
  map.warnings = std::move(warnings);
  for (const Domain& domain : forest.domains()) {
    map.tier_names.emplace(domain.tier, domain.tier > 1 ? fmt::format("switch{}", domain.tier)
                                        : !blocks       ? "leaf"
                                        : !switches     ? "block"
                                                        : "leaf or block");
  }
  return map;
}

}  // namespace basalt::topology
