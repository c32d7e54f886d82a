// Where a node stands in the network, as the canonical trace says it: the `domains` column,
// "nvlink=c0;rack=r1;spine=s0;zone=z0" from the narrowest tier to the widest, or only `rack`.
// Every name is there once and not empty; "node" is the node itself and never listed; a node that
// has both columns says the same rack in both.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "traces/trace.h"

namespace basalt::trace {

inline constexpr std::size_t kMaxTiers = 16;  // as many as topology/network.h has

struct Domain {
  std::string_view tier, name;  // views into the node
  friend bool operator==(const Domain&, const Domain&) = default;
};

// What is wrong with the two columns, for a message after the column's name; empty: nothing.
std::string DomainsFault(const Node& node);

// Narrow to wide; with a rack alone, that; nothing when the source says nothing. Requires a node
// without fault, and lives as long as it.
std::vector<Domain> DomainsOf(const Node& node);

// The node's own labels, the text members of its JSON object, by key; others are passed over.
std::vector<std::pair<std::string, std::string>> LabelsOf(const Node& node);

}  // namespace basalt::trace
