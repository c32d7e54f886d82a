// A Kubernetes node as the engine wants it: its cards from what its device plugins registered
// (registration.h), from ResourceSlices or from its capacity, with oversubscription told from the
// register and the catalog, how they are wired from HAMi's pair scores, CPU and memory from what is
// allocatable.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "devices/assignment.h"
#include "devices/catalog.h"
#include "devices/node_numa.h"
#include "devices/registration.h"
#include "devices/resource_slices.h"
#include "devices/resources.h"
#include "scheduler-core/base/result.h"
#include "scheduler-core/cluster/inventory.h"

namespace basalt::devices {

// How the node's cards are wired, as one line (topology/published.h): an operator's, or what
// `basalt topo publish` says on the node.
inline constexpr std::string_view kMachineKey = "basalt.io/machine";

struct NodeResources {
  std::string name = {};
  std::map<std::string, std::string> labels = {};
  std::map<std::string, std::string> annotations = {};  // of NodeAnnotationKeys at least
  Amounts capacity = {};
  Amounts allocatable = {};              // of what is missing here the capacity counts
  std::vector<std::string> taints = {};  // keys of NoSchedule and NoExecute
  bool unschedulable = false;
  bool ready = true;
  NumaReport numa = {};                           // no zones: there is none
  std::vector<std::string> resource_slices = {};  // specs as JSON (resource_slices.h)
};

// What assignments to the node need beside its NodeSpec, card by card as there.
struct NodeFacts {
  std::vector<NodeCard> cards = {};
  std::vector<std::string> platforms = {};  // by card: whose plugin serves it, Interface::platform
  // Taints by which pods in other plugins' words keep away (plugins.h), ascending.
  std::vector<std::string> plugins = {};
  HamiVersion version = HamiVersion::kUnknown;
  std::map<std::string, std::string> profile_ids = {};
  std::vector<CardDevices> devices = {};  // by card, of a node whose cards ResourceSlices tell
  std::vector<DeviceName> left_out = {};  // SlicedCards::left_out
  // Whether devices of claims are its cards: ResourceSlices tell them, or it has none yet.
  bool platform_is_dra() const { return !devices.empty() || cards.empty(); }
};

struct CardCondition {
  bool healthy = true;
  bool cordoned = false;
  friend bool operator==(const CardCondition&, const CardCondition&) = default;
};

struct NodeRead {
  NodeSpec spec = {};  // cards by register, ascending by index; every one has its UUID
  std::vector<CardCondition> conditions = {};  // by card
  bool cordoned = false;
  NodeFacts facts = {};
  // "published", "hami-scores" or "dra"; empty: how it is wired is unknown.
  std::string machine_source = {};
  std::string numa_source = {};         // "nrt"; empty: NUMA nodes are those of the cards
  std::vector<std::string> notes = {};  // what was guessed or left out, a line each
};

// A card whose plugin could not do what would be decided is cordoned, with a note: MIG before HAMi
// v2.10, Enflame profiles that are not the catalog's. All cards are unhealthy when the plugin has
// withdrawn them (their resource is allocatable, and 0). Registers that were left behind by another
// platform's plugin do not count. ResourceSlices count where no plugin has registered cards; such a
// node gets DriverLabel and kClaimsOnlyTaint, and its cards are of the platform "dra". Errors: a
// register, quantity or slice that cannot be read; more than 64 cards; what ValidateNode refuses.
Result<NodeRead> ReadNode(const Catalog& catalog, const NodeResources& node);

// The annotations that ReadNode looks at, ascending.
std::vector<std::string> NodeAnnotationKeys(const Catalog& catalog);
// The annotations of pods that tell their cards (allocation.h), ascending.
std::vector<std::string> GrantAnnotationKeys(const Catalog& catalog);

}  // namespace basalt::devices
