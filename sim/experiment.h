// Many runs as one experiment: every trace x policy x seed, spread by the caller's executor,
// results in a fixed order whatever the threads did.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "scheduler-core/base/executor.h"
#include "sim/simulator.h"

namespace basalt::sim {

enum class Mode : std::uint8_t { kSaturation, kReplay };

struct Experiment {
  Mode mode = Mode::kSaturation;
  std::vector<const Workload*> workloads;
  std::vector<ConfiguredPolicy> policies;
  std::vector<std::uint64_t> seeds;
  int inflate_percent = 130;
  ReplayOptions replay;
  RunOptions run;
  bool map_of_first_seed = false;  // keep the card map of each policy's first run
  // The order of a saturation run, when it is not to be made from the seed.
  std::function<Result<Order>(const Workload&, std::uint64_t seed)> read_order;
  // CPU seconds of the calling thread so far; the simulator has no clock of its own.
  std::function<double()> thread_cpu_seconds;
  std::function<void(std::size_t done, std::size_t all)> progress;  // called from any thread
};

// In the order traces, then policies, then seeds. The first error in that order wins.
Result<std::vector<RunResult>> RunExperiment(const Experiment& experiment, Executor& executor);

}  // namespace basalt::sim
