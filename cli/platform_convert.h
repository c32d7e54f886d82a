// From the entries of a platform scenario to what the simulator runs.
#pragma once

#include <string>
#include <vector>

#include "cli/platform_tables.h"
#include "devices/catalog.h"
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

// A tree of queues (platform_queues.cc). Adds an error for a tree that contradicts itself, names of
// resources that nothing is charged under, and guarantees and slots beyond the largest cluster.
struct QueueCheck {
  const std::string& file;
  const YAML::Node at;  // the list of queues, in the same order
  const std::vector<QueueSpec>& queues;
  std::vector<const sim::ClusterSpec*> clusters;  // that have this tree
  const sim::PlatformSpec& spec;                  // its clusters and SKUs
  const devices::Catalog& catalog;
};
void CheckQueues(const QueueCheck& in, config::Errors* errors);

// Arrivals that are expected until the horizon: jobs, machines, bursts of work (platform_load.cc).
struct ExpectedArrivals {
  double all = 0;
  double most = 0;   // of one workload in one arm
  std::string name;  // of that workload, and its place
  YAML::Node at;
};
// Adds those of an arm.
void Expect(const config::Document& document, const sim::PlatformSpec& spec, ExpectedArrivals* out);

}  // namespace basalt::cli
