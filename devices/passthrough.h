// Cards that virtual machines get whole, by PCI passthrough. NVIDIA's KubeVirt device plugin offers
// them under the name that the PCI database has for the device, chip first, with '_' for spaces:
// nvidia.com/TU104GL_Tesla_T4, nvidia.com/GA100_A100_SXM4_80GB. They are of the passthrough pool:
// no container gets one, and no virtual machine another card.
#pragma once

#include <string_view>

#include "devices/catalog.h"

namespace basalt::devices {

// The model that the resource means; null: it is no such name, or the catalog has no such model.
// Spaces, hyphens and case do not count: versions of the plugin write them differently.
const CardModel* PassthroughModel(const Catalog& catalog, std::string_view resource);

}  // namespace basalt::devices
