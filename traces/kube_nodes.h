// Which cards a node has: from its device plugins' registers, else from its capacity.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "traces/diagnostics.h"
#include "traces/json_records.h"
#include "traces/kube_devices.h"

namespace basalt::trace {

// The cards of a node, from its allocatable resources, which lose the names that were understood,
// its labels and its device plugins' annotations.
struct NodeCards {
  std::int64_t count = 0;
  std::string model;  // the vendor where only a capacity is known; empty: not even that
  std::int64_t mem_mib = -1;
  bool mixed = false;      // cards of several models or sizes: the smallest memory, the first model
  bool by_vendor = false;  // the model is the vendor's name
  std::int64_t unhealthy = 0;  // registered cards that are not counted
  // Names that offer shares of cards on a node without a register: how many cards is not known.
  std::vector<std::string> shares;
};
NodeCards CardsOfNode(const std::string& file, const JsonValue& node, Amounts* allocatable,
                      Diagnostics* diagnostics);

}  // namespace basalt::trace
