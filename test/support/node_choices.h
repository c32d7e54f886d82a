// Random choices of nodes for tests, by name: so that they mean the same to several engines.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "scheduler-core/base/rng.h"
#include "scheduler-core/engine/engine.h"

namespace basalt::support {

struct NamedChoice {
  std::vector<std::string> excluded, only;
  std::shared_ptr<const NodeChoice> In(const Engine& engine) const;
  bool Allows(const std::string& node) const;
};

// Sometimes neither, sometimes names that are gone or stand twice.
NamedChoice DrawChoice(Rng& rng, const Engine& engine);

}  // namespace basalt::support
