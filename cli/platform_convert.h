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

// Multiplies the demand (platform_load.cc). False: a share of inference is asked for and there are
// no services or no training to make it of.
bool ApplyLoad(const LoadEntry& load, sim::PlatformSpec* spec);

}  // namespace basalt::cli
