#include "traces/domains.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "traces/text.h"

namespace basalt::trace {

std::vector<Domain> DomainsOf(const Node& node) {
  if (node.domains.empty()) {
    if (node.rack.empty()) return {};
    return {{"rack", node.rack}};
  }
  std::vector<Domain> domains;
  std::string_view rest = node.domains;
  while (true) {
    const std::size_t end = rest.find(';');
    const std::string_view part = rest.substr(0, end);
    const std::size_t equals = part.find('=');
    // Without a '=' all of it is the tier and the name is empty, which is a fault.
    domains.push_back({part.substr(0, equals), equals == std::string_view::npos
                                                   ? std::string_view()
                                                   : part.substr(equals + 1)});
    if (end == std::string_view::npos) return domains;
    rest.remove_prefix(end + 1);
  }
}

std::vector<std::pair<std::string, std::string>> LabelsOf(const Node& node) {
  std::vector<std::pair<std::string, std::string>> labels;
  const auto json = nlohmann::json::parse(node.labels, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return labels;  // empty, or a fault that check.h names
  for (const auto& [key, value] : json.items()) {
    if (value.is_string()) labels.emplace_back(key, value.get<std::string>());
  }
  return labels;
}

std::string DomainsFault(const Node& node) {
  if (node.domains.empty()) return {};
  // Counted before they are split, because separators are cheap to send.
  if (static_cast<std::size_t>(std::ranges::count(node.domains, ';')) >= kMaxTiers) {
    return "names more than " + std::to_string(kMaxTiers) + " tiers; leave some out";
  }
  const std::vector<Domain> domains = DomainsOf(node);
  std::string_view rack;
  for (std::size_t i = 0; i < domains.size(); ++i) {
    const auto& [tier, name] = domains[i];
    if (tier.empty() || name.empty() || name.find('=') != std::string_view::npos) {
      return Quoted(node.domains) +
             " is not a list of tier=name; write them narrow to wide, such as rack=r1;zone=z0";
    }
    if (tier == "node") return "names the tier node, which is the node itself; leave it out";
    if (tier == "cluster") return "names the tier cluster, which is all nodes; leave it out";
    for (std::size_t j = 0; j < i; ++j) {
      if (domains[j].tier == tier) {
        return "names the tier " + Quoted(tier) + " twice; a node is in one domain of each";
      }
    }
    if (tier == "rack") rack = name;
  }
  if (node.rack.empty() || node.rack == rack) return {};
  return rack.empty() ? "has no rack, but the rack column says " + Quoted(node.rack) +
                            "; add rack= at its place"
                      : "says the rack is " + Quoted(rack) + ", the rack column says " +
                            Quoted(node.rack) + "; make them agree";
}

}  // namespace basalt::trace
