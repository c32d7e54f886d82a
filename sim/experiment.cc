#include "sim/experiment.h"

#include <optional>

namespace basalt::sim {

Result<std::vector<RunResult>> RunExperiment(const Experiment& e, Executor& executor) {
  const std::size_t policies = e.policies.size();
  const std::size_t seeds = e.seeds.size();
  const std::size_t count = e.workloads.size() * policies * seeds;
  std::vector<RunResult> results(count);
  std::vector<std::optional<Error>> errors(count);
  // Orders are shared by the policies of one trace and seed.
  std::vector<Order> orders(e.mode == Mode::kSaturation ? e.workloads.size() * seeds : 0);
  std::vector<std::optional<Error>> order_errors(orders.size());
  executor.ForEach(orders.size(), [&](std::size_t i) {
    const Workload& workload = *e.workloads[i / seeds];
    const std::uint64_t seed = e.seeds[i % seeds];
    if (!e.read_order) {
      orders[i] = MakeSaturationOrder(workload, seed, e.inflate_percent);
      return;
    }
    Result<Order> order = e.read_order(workload, seed);
    if (order) {
      orders[i] = std::move(*order);
    } else {
      order_errors[i] = order.error();
    }
  });
  for (const auto& error : order_errors) {
    if (error) return tl::unexpected<Error>(*error);
  }
  std::atomic<std::size_t> done{0};
  executor.ForEach(count, [&](std::size_t i) {
    const std::size_t trace = i / (policies * seeds);
    const std::size_t policy = i / seeds % policies;
    const std::size_t seed = i % seeds;
    RunOptions options = e.run;
    options.keep_map = options.keep_map || (e.map_of_first_seed && trace == 0 && seed == 0);
    const double before = e.thread_cpu_seconds ? e.thread_cpu_seconds() : 0;
    Result<RunResult> result =
        e.mode == Mode::kSaturation
            ? RunSaturation(*e.workloads[trace], e.policies[policy], e.seeds[seed],
                            orders[trace * seeds + seed], options)
            : RunReplay(*e.workloads[trace], e.policies[policy], e.seeds[seed], e.replay, options);
    if (result) {
      results[i] = std::move(*result);
      if (e.thread_cpu_seconds) results[i].cpu_seconds = e.thread_cpu_seconds() - before;
    } else {
      errors[i] = result.error();
    }
    const std::size_t now_done = done.fetch_add(1) + 1;
    if (e.progress) e.progress(now_done, count);
  });
  for (const auto& error : errors) {
    if (error) return tl::unexpected<Error>(*error);
  }
  return results;
}

}  // namespace basalt::sim
