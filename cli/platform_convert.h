// From the entries of a platform scenario to what the simulator runs.
#pragma once

#include "cli/platform_tables.h"
#include "scheduler-core/engine/registry.h"
#include "sim/platform/spec.h"

namespace basalt::cli {

// Adds an error for each name that nothing defines, each model without known memory, and whatever
// else only the whole file shows. With errors the spec is of no use.
sim::PlatformSpec ToSpec(const config::Document& document, const PlatformEntry& entry,
                         const Registry& registry, config::Errors* errors);

}  // namespace basalt::cli
