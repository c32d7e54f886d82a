// The parts of ReadRequest (resources.h) that turn one container's amounts into cards asked.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "devices/catalog.h"
#include "devices/resources.h"
#include "scheduler-core/base/result.h"

namespace basalt::devices {

// An interface with its word filled in, and the models that asking through it allows.
struct Offer {
  Interface interface;
  std::vector<const CardModel*> models;
  bool some_models = false;  // not all of the vendor's
};

// The amounts of one container under the names of interfaces: model resources renamed.
struct NamedAmounts {
  Amounts limits;
  Amounts requests;
  std::vector<std::string> models;  // that the renamed ones allow; empty: all
  bool passthrough = false;         // they name cards of the passthrough pool
};

// All interfaces of the catalog whose mode the annotations choose.
std::vector<Offer> OffersFor(const Catalog& catalog,
                             const std::map<std::string, std::string>& annotations);

// Names of one model, and names of passthrough cards, become those of the interface that they mean.
// Errors: a renamed resource stands beside the one it is renamed to, or names two models.
Result<NamedAmounts> RenameModelResources(const Catalog& catalog, const PodContainer& container,
                                          const std::string& where);

// Whether the container asks through the interface at all.
bool AsksThrough(const Interface& interface, const NamedAmounts& amounts);

// What the container asks through the offer. Whole cards are 1000 milli.
Result<CardsAsked> AskThrough(const Offer& offer, const NamedAmounts& amounts,
                              const std::string& where);
// Through Basalt's own names; a count of 0 when it does not.
Result<CardsAsked> AskNeutral(const NamedAmounts& amounts, const std::string& where);

// CPU in milli-cores and memory in MiB (rounded up): the request, else the limit, else 0.
Result<std::int64_t> CpuMilliOf(const PodContainer& container, const std::string& where);
Result<std::int64_t> MemoryMibOf(const PodContainer& container, const std::string& where);

}  // namespace basalt::devices
