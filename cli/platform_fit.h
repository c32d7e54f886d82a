// Workloads of a platform scenario that can never run, found before any arm does: one whose offers
// fit no node of its places in any arm is an error; one that fits in some arms only, or by some of
// its offers only, is a warning, since arms compare just that (all cards passthrough, say).
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "cli/platform_tables.h"
#include "scheduler-core/engine/registry.h"
#include "sim/platform/spec.h"

namespace basalt::cli {

class FitCheck {
 public:
  // Looks at an arm: the document with its keys, what was read from it, and the spec of that.
  // Errors: what the engine refuses of the arm's nodes.
  Status Add(const config::Document& document, const PlatformEntry& entry,
             const sim::PlatformSpec& spec, const Registry& registry);
  // Of all arms. Warnings are whole lines with their place in the file.
  void Finish(config::Errors* errors, std::vector<std::string>* warnings) const;

 private:
  struct Refused {
    std::vector<std::string> arms;
    std::string why;  // in the first of them
  };
  struct Found {
    std::string file, name;
    YAML::Node at;
    std::size_t arms = 0;                   // in which it wants anything
    Refused all;                            // arms in which none of its offers fits
    std::map<std::string, Refused> offers;  // in which this one does not, and another does
  };
  std::map<std::pair<std::string, std::string>, Found> found_;  // by section and name
};

}  // namespace basalt::cli
