// A random history with every kind of effect, journaled: what the journal's tests read back.
#pragma once

#include <memory>
#include <string>

#include "scheduler-core/engine/engine.h"

namespace basalt::support {

struct Story {
  JournalBuffer journal;
  std::unique_ptr<Engine> engine;  // at the end of the history
};

// Some pods are reserved and left to expire; the rest are placed, released, observed and lost.
std::unique_ptr<Story> Tell(std::uint64_t seed, const std::string& policy, int steps);

}  // namespace basalt::support
