// What a pod asks for, from its resources and annotations: HAMi's, Volcano's, the vendors' and
// Basalt's own names become one neutral RequestSpec. HAMi takes a quantity that is out of range as
// no request at all; here it is an error. docs/devices.md lists names and defaults.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "devices/catalog.h"
#include "scheduler-core/base/result.h"
#include "scheduler-core/workload/request.h"

namespace basalt::devices {

// Names that any allowed vendor may serve.
inline constexpr std::string_view kNeutralCards = "basalt.io/gpu";
inline constexpr std::string_view kNeutralMemory = "basalt.io/gpu-memory";  // MiB, or with a suffix
inline constexpr std::string_view kNeutralPercent = "basalt.io/gpu-memory-percent";
inline constexpr std::string_view kNeutralUnits = "basalt.io/gpu-compute-units";
inline constexpr std::string_view kVendorsKey = "basalt.io/vendors";
inline constexpr std::string_view kModelsKey = "basalt.io/models";
inline constexpr std::string_view kNouseModelsKey = "basalt.io/nouse-models";
inline constexpr std::string_view kUseUuidsKey = "basalt.io/use-uuids";
inline constexpr std::string_view kNouseUuidsKey = "basalt.io/nouse-uuids";
inline constexpr std::string_view kServiceClassKey = "basalt.io/service-class";
inline constexpr std::string_view kMigProfileKey = "basalt.io/mig-profile";
inline constexpr std::string_view kPassthroughKey = "basalt.io/passthrough";

using Amounts = std::map<std::string, std::string>;  // resource -> quantity, as written

struct PodContainer {
  std::string name = {};
  bool init = false;     // runs before the others, and gives back what it had
  bool sidecar = false;  // an init container that stays (restartPolicy: Always)
  Amounts limits = {};
  Amounts requests = {};
};
// What a pod's resource claims ask for, after their selectors were evaluated.
struct ClaimedCards {
  std::string driver = {};                 // of CardDrivers
  std::int32_t count = 0;                  // 0: none
  std::string mig_profile = {};            // empty: whole cards
  std::vector<std::string> products = {};  // SlicedCard::product; empty: any
  std::vector<std::string> uuids = {};     // SlicedCard::uuid; empty: any
};
struct PodResources {
  std::string name = {};
  std::vector<PodContainer> containers = {};  // init containers first, each in the pod's order
  std::map<std::string, std::string> annotations = {};
  std::vector<LabelRequirement> node_selector = {};
  ClaimedCards claimed = {};
};

// Where a container of the pod gets its cards. One slot a container, in PodResources' order: the
// order that plugins count in.
struct ContainerSlot {
  std::string name = {};
  bool init = false;
  // The container of the RequestSpec (SliceTake::container) whose cards it has; -1: no cards. An
  // init container has those of the first container that asks for the same.
  int container = -1;
  bool sidecar = false;  // an init container that stays
};

struct PodRequest {
  RequestSpec spec = {};
  std::vector<ContainerSlot> slots = {};
  std::string interface = {};  // Interface::name by which it asks; empty: neutral, or no cards
};

// Errors name the container and the resource or annotation: quantities that are none, out of range
// or not allowed; amounts without a count; two interfaces in one pod; types that no model has; a
// count that the vendor's rules do not allow; slices on several cards where the vendor gives whole
// ones; an init container whose cards no other container's are like; models that the catalog does
// not have; selectors that leave no model or no card; mistyped names of Basalt's own annotations;
// claimed cards of an unknown driver, or beside cards that are asked for by resources.
Result<PodRequest> ReadRequest(const Catalog& catalog, const PodResources& pod);

// Errors: the request allows only models, or only cards, that it excludes.
Status CheckSelection(const Catalog& catalog, const RequestSpec& spec, const std::string& where);
// `unknown model "H10"; did you mean "H100"? ...` as the end of a message.
std::string UnknownModel(const Catalog& catalog, const std::string& name);

// Whether ReadRequest reads the resource: an interface's, a model's, or one of Basalt's own.
bool IsCardResource(const Catalog& catalog, const std::string& resource);

// One container's ask, before it is a ContainerSpec. Memory in MiB, compute in milli.
struct CardsAsked {
  std::int64_t count = 0;
  std::int64_t memory_mib = 0;
  std::int64_t percent = 0;
  std::int64_t milli = 0;
  std::int64_t units = 0;
  std::string mig_profile = {};
  friend bool operator==(const CardsAsked&, const CardsAsked&) = default;
};

}  // namespace basalt::devices
