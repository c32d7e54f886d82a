// What device plugins register on nodes, as a trace has it: their cards with model, memory and
// health. The forms are devices/registration.h's.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "traces/diagnostics.h"
#include "traces/json_records.h"

namespace basalt::trace {

struct RegisteredCard {
  std::string model;          // the catalog's name where it knows the plugin's, else the plugin's
  std::int64_t mem_mib = -1;  // -1: not said
  bool healthy = false;
};

// Volcano's plugin has resource names of its own, so beside its register alone nvidia.com/gpu
// counts cards; under HAMi's it counts shares, and the register has all that there is.
enum class Registers { kNone, kVolcano, kOthers };

// The cards of all registers among a node's annotations. Registers that cannot be read are
// reported.
Registers ReadRegisters(const std::string& file, const JsonValue* annotations,
                        std::vector<RegisteredCard>* cards, Diagnostics* diagnostics);

// "NVIDIA-Tesla V100-SXM2-32GB", or with hyphens for spaces as node labels write it, as the catalog
// of card models calls it; itself when it does not know it. `soft_split`: the model with soft
// splitting where there is one.
std::string CatalogModel(std::string_view type, bool soft_split);

}  // namespace basalt::trace
