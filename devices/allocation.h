// Which cards a pod has, read back from what a scheduler (HAMi's, Volcano or this one) wrote on it:
// the durable records, hami.io/...-devices-allocated and volcano.sh/vgpu-ids-new, a slot of cards
// for each container, and HAMi v2.10's MIG reservations.
//
// Slots are found by their place where that agrees with the containers that ask for cards; else by
// their order, since versions differ in what they leave out: HAMi up to v2.8 init containers,
// v2.10.0 empty slots on NVIDIA nodes, Volcano all containers without cards.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "devices/assignment.h"
#include "devices/catalog.h"
#include "devices/resources.h"
#include "scheduler-core/base/result.h"
#include "scheduler-core/cluster/inventory.h"
#include "topology/card_set.h"

namespace basalt::devices {

struct GrantedCard {
  std::string uuid = {};  // without an instance in brackets
  bool instance = false;  // there was one: MIG as before HAMi v2.10, or Volcano's
  MiB memory_mib = 0;
  std::int32_t cores = 0;  // as the plugin counts them
  std::string mig_profile = {};
  std::int32_t mig_start = -1;
  friend bool operator==(const GrantedCard&, const GrantedCard&) = default;
};
struct Grant {
  std::string key = {};  // of the annotation
  std::vector<std::vector<GrantedCard>> slots = {};
};

// Whether the annotation is such a record.
bool IsGrant(std::string_view key);

// All records of a pod, ascending by key; none where it has none. Errors (where: the key): a card
// of less than four fields, a number that is none, MIG reservations that are not their JSON. More
// fields are ignored, as HAMi does.
Result<std::vector<Grant>> ReadGrants(const std::map<std::string, std::string>& annotations);

// What the pod holds of the node's cards, ascending by container and card. `init_done`: its init
// containers have ended, and what only they had is free. Errors (where: the pod's or the card's
// name): slots for other containers than ask for cards, a card that the node does not have, a MIG
// instance whose place is not told.
Result<std::vector<SliceTake>> SlicesOf(const Catalog& catalog, const std::vector<Grant>& grants,
                                        const PodRequest& request,
                                        const std::vector<CardSpec>& cards, bool init_done);

// What a node's kubelet has given (podresources, written by adapters/go/nodeagent), for plugins
// that choose the cards by themselves:
//   [{"container":"main","resource":"nvidia.com/gpu","ids":["GPU-a","GPU-b"]}]
inline constexpr std::string_view kGrantedKey = "basalt.io/granted";
// The cards of the node that it names. The id of a share is its card's with "::N" behind. Resources
// none of whose ids is a card's are other devices; empty: there are only such. Errors (where: the
// key): not this form, or a resource of which only some ids are cards of the node.
Result<CardSet> GrantedCards(std::string_view text, const std::vector<CardSpec>& cards);

// Whether both take the same of the same cards, as far as annotations can say: compute is rounded
// to the plugins' cores there.
bool AreAlike(const std::vector<SliceTake>& a, const std::vector<SliceTake>& b);

}  // namespace basalt::devices
