// What the vendor of the chosen cards wants to be told: the annotations and labels by which its
// device plugin finds a pod's cards, and the resource names and quantities under which the pod
// would have asked for just these slices. All forms come from the catalog (Interface), so the same
// neutral request can be written out for any vendor.
//
// Names that annotation forms may hold, as $name or ${name}:
//   of a slice      uuid index minor type memory (MiB) memory_units cores template slots profile_id
//                   mig_profile mig_start mig_size slice_index (in its container)
//   of a container  container (its name) container_index slices
//   of the pod      node time (seconds) time_ns containers
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "devices/catalog.h"
#include "devices/registration.h"
#include "devices/resources.h"
#include "scheduler-core/base/result.h"
#include "scheduler-core/cluster/inventory.h"
#include "topology/card_set.h"

namespace basalt::devices {

// A card of the chosen node; its place in the list is its local index.
struct NodeCard {
  std::string uuid = {};
  std::string model = {};  // CardSpec::model
  std::string type = {};   // as the plugin registered it; empty: the model
  std::string index = {};  // by which the plugin counts it; empty: its place in the list
  std::string minor = {};  // empty: the index
};

struct AssignmentInput {
  std::string node = {};
  std::int64_t time_ns = 0;  // since 1970
  std::vector<NodeCard> cards = {};
  std::vector<SliceTake> slices = {};  // of the pod, in any order
  // Whose names to use where the pod asked neutrally: "hami", "volcano" or "plugin".
  std::string platform = "hami";
  // Of the node's NVIDIA plugin. Before v2.9 init containers without cards have no slot.
  HamiVersion version = HamiVersion::kUnknown;
  std::map<std::string, std::string> profile_ids = {};  // Enflame: template -> the node's id of it
};

using Texts = std::vector<std::pair<std::string, std::string>>;

struct Assignment {
  std::string interface = {};  // Interface::name
  Texts annotations = {};
  Texts labels = {};
  std::vector<Amounts> limits = {};  // by slot of the request
};

// Errors: cards of several vendors or interfaces; a vendor or model that the catalog does not know;
// no interface that can say it; a name or UUID with a character that the forms cannot hold; MIG
// slices for HAMi before v2.10, which names them by tables of its own configuration.
Result<Assignment> Assign(const Catalog& catalog, const PodRequest& request,
                          const AssignmentInput& input);

// The slices of a placement that has no slices of its own (NumaTake::slices is empty): on each card
// what the request asks, cards ascending by container.
std::vector<SliceTake> UniformSlices(const Catalog& catalog, const RequestSpec& spec, CardSet cards,
                                     const std::vector<CardSpec>& node);

// The names that annotation forms may hold, for the catalog's check.
bool IsFormName(std::string_view name);
// The names in a text; empty texts for "$" that starts no name.
std::vector<std::string> NamesIn(std::string_view text);

}  // namespace basalt::devices
