// The part of ReadRequest (resources.h) that reads which cards a pod chooses: annotations with
// models, vendors, UUIDs and QoS classes.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "devices/catalog.h"
#include "devices/resources.h"
#include "devices/resources_spec.h"
#include "scheduler-core/base/result.h"

namespace basalt::devices {

using Annotations = std::map<std::string, std::string>;

// The annotations of the interface through which the pod asks; `models`: that its resource names
// allow, empty: all of the offer's.
Status ReadSelectors(const Offer& offer, const Annotations& annotations,
                     const std::vector<std::string>& models, RequestSpec* spec);
// Basalt's own, which hold beside a vendor's: a card must pass both. `neutral`: the pod asks under
// Basalt's names.
Status ReadOwnAnnotations(const Catalog& catalog, const Annotations& annotations, bool neutral,
                          RequestSpec* spec);

}  // namespace basalt::devices
