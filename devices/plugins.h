// Whose plugin serves a node's cards, and whose words a pod speaks. HAMi's and Volcano's plugins
// and the vendors' own read different resource names: a pod that asks in the words of one never
// starts on a node of another. To the engine that is a taint: a node has one for each vendor whose
// cards more than one kind of plugin may serve, and a pod tolerates those of the plugins that
// understand it. Nodes that are not told in Kubernetes' words have none.
#pragma once

#include <string>
#include <vector>

#include "devices/catalog.h"
#include "devices/resources.h"

namespace basalt::devices {

// "basalt.io/nvidia-by-volcano"; empty where the catalog has but one kind of plugin for the vendor.
std::string PluginTaint(const Catalog& catalog, const std::string& vendor,
                        const std::string& platform);

// All of them that the pod may land on, ascending. A pod in neutral words, or without cards, has
// all. Whole cards under a name that another plugin offers too (nvidia.com/gpu: HAMi's, and the
// vendor's own) may be of either.
std::vector<std::string> PluginTolerations(const Catalog& catalog, const PodRequest& request);

}  // namespace basalt::devices
