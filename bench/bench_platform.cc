// A month of a shared platform, simulated: 100,000 training jobs (single and gangs), 150 services
// with replicas that follow their demand, 1,000 people with environments, on 1,000 nodes of 8 cards
// whose memory and compute are handed out 1.5 times; a queue tree with guarantees and borrowing,
// three priorities, eviction, idle reclaim, failures. Counters: events, passes, jobs completed,
// evictions. To reach: 20 s on one core.
//
//   bench_platform [--benchmark_filter=Month/1000]   (the argument: nodes; jobs are 100 a node)
#include <benchmark/benchmark.h>

#include <string>

#include "policies/builtin.h"
#include "scheduler-core/base/check.h"
#include "sim/platform/platform.h"

namespace basalt::sim {
namespace {

RequestSpec Cards(int cards, int milli, MiB memory, ServiceClass service_class) {
  RequestSpec request;
  request.gpus = cards;
  request.gpu_milli = milli;
  request.gpu_memory_mib = memory;
  request.cpu_milli = 4000 * cards;
  request.memory_mib = 16'384 * cards;
  request.service_class = service_class;
  return request;
}

template <class Spec>
Spec Work(const std::string& name, const std::string& tenant, RequestSpec request, int priority) {
  Spec spec;
  spec.name = name;
  spec.tenant = tenant;
  spec.priority = priority;
  OfferSpec offer;
  offer.request = std::move(request);
  offer.start_us = 30 * kSecondUs;
  spec.offers.push_back(std::move(offer));
  return spec;
}

PlatformSpec Month(int nodes, int hours) {
  const double scale = nodes / 1000.0;
  PlatformSpec spec;
  spec.name = "month";
  spec.horizon_us = 30 * kDayUs;
  ClusterSpec cluster;
  cluster.name = "c";
  NodeGroupSpec group;
  group.name = "node";
  group.count = nodes;
  group.cards = 8;
  group.cpu_milli = 192'000;
  group.memory_mib = 2'097'152;
  group.model = "A100";
  group.card_memory_mib = 81'920;
  group.memory_ratio_percent = 150;
  group.compute_ratio_percent = 150;
  group.mtbf_us = 4000 * kHourUs;
  group.repair = {DurationSpec::Kind::kExponential, 6 * kHourUs};
  cluster.groups.push_back(group);
  spec.clusters.push_back(cluster);
  const std::int64_t milli = std::int64_t{nodes} * 8 * 1000;
  for (const char* name : {"online", "research", "sandbox"}) {
    QueueSpec queue;
    queue.name = name;
    queue.guarantee = {{"gpu", name == std::string("online") ? milli / 4 : milli / 8}};
    queue.weight = name == std::string("research") ? 3 : 1;
    spec.queues.push_back(queue);
    TenantSpec tenant;
    tenant.name = name;
    tenant.department = "d";
    tenant.queue = name;
    spec.tenants.push_back(tenant);
  }
  const auto day = *ShapeByName("business-day", 96);
  const int services = std::max(1, static_cast<int>(150 * scale));
  for (int i = 0; i < services; ++i) {
    auto s = Work<ServiceSpec>("s" + std::to_string(i), "online",
                               Cards(1, 500, 40'960, ServiceClass::kGuaranteed), 100);
    s.high = true;
    s.replicas_max = 12;
    DemandSampler sampler(day, 42, static_cast<std::uint64_t>(i));
    for (int k = 0; k < 7 * 96; ++k) s.demand_milli.push_back(sampler.Next());
    spec.services.push_back(std::move(s));
  }
  auto box =
      Work<SandboxSpec>("box", "sandbox", Cards(1, 250, 20'480, ServiceClass::kBurstable), 50);
  box.users = static_cast<std::int32_t>(1000 * scale);
  box.image_mib = 20'480;
  spec.sandboxes.push_back(box);
  const struct {
    int cards;
    double per_hour;
  } sizes[] = {{1, 80}, {2, 30}, {4, 15}, {8, 14}};
  for (const auto& [cards, per_hour] : sizes) {
    auto t = Work<TrainingSpec>("train" + std::to_string(cards), "research",
                                Cards(cards, 1000, 0, ServiceClass::kGuaranteed), cards % 3);
    t.jobs_per_hour = per_hour * scale;
    t.duration = {DurationSpec::Kind::kLogNormal, hours * kHourUs, 1.5, kMinuteUs, 5 * kDayUs};
    t.checkpoint_us = kHourUs;
    t.gang_sizes = {{1, 0.9}, {2, 0.07}, {4, 0.03}};
    spec.training.push_back(std::move(t));
  }
  spec.reclaim.idle_after_us = 8 * kHourUs;
  spec.runtime.kappa = 0.05;
  spec.scheduling.options.order = JobOrder::kFairShare;
  spec.scheduling.options.evict = true;
  return spec;
}

void Run(benchmark::State& state) {
  Registry registry;
  RegisterBuiltinPolicies(registry);
  const PlatformSpec spec =
      Month(static_cast<int>(state.range(0)), static_cast<int>(state.range(1)));
  PlatformResult result;
  for (auto _ : state) {
    auto run = RunPlatform(spec, registry);
    BASALT_CHECK(run.has_value());
    result = std::move(*run);
  }
  for (const WorkloadResult& row : result.classes) {
    if (row.work_class != WorkClass::kTraining) continue;
    state.counters["jobs"] = static_cast<double>(row.submitted);
    state.counters["completed"] = static_cast<double>(row.completed);
    state.counters["evictions"] = static_cast<double>(row.evictions);
    state.counters["p99_wait_s"] = row.wait_seconds.p99;
  }
  state.counters["utilization"] = result.utilization_pct;
  state.counters["allocation"] = result.allocation_pct;
  state.counters["events"] = static_cast<double>(result.events);
  state.counters["passes"] = static_cast<double>(result.passes);
}

BENCHMARK(Run)
    ->Name("Month")
    ->Args({1000, 10})
    ->Args({1000, 16})
    ->Args({1000, 22})
    ->Args({1000, 24})
    ->Args({1000, 26})
    ->Unit(benchmark::kSecond)
    ->Iterations(1);

}  // namespace
}  // namespace basalt::sim

BENCHMARK_MAIN();
