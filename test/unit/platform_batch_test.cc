// Jobs, machines, failures, several clusters and what they cost: hand-computed.
#include "test/support/workloads.h"
#include "test/unit/platform_test_util.h"

namespace basalt::sim {
namespace {

// Jobs of a trace at given seconds, as (submit, duration, cards).
Workload Jobs(const std::vector<std::array<std::int64_t, 3>>& rows) {
  std::vector<support::Pod> pods;
  for (const auto& [submit, duration, cards] : rows) {
    support::Pod pod;
    pod.spec = Part(1000, 0, static_cast<int>(cards));
    pod.submit_us = submit * kSecondUs;
    pod.duration_us = duration * kSecondUs;
    pods.push_back(pod);
  }
  return support::MakeToy({}, pods);
}

TraceJobsSpec Trace(const Workload& workload) {
  TraceJobsSpec jobs;
  jobs.name = "jobs";
  jobs.tenant = "t";
  jobs.workload = &workload;
  return jobs;
}

TEST(PlatformBatch, JobsQueueAndRunTheirLength) {
  PlatformSpec spec = Platform(Nodes("g", 1, 2), 1);
  const Workload w = Jobs({{0, 600, 2}, {60, 600, 1}, {120, 1200, 1}});
  spec.jobs = {Trace(w)};
  const PlatformResult r = RunOk(spec);
  const WorkloadResult& jobs = Of(r, "jobs");
  EXPECT_EQ(jobs.completed, 3);
  EXPECT_DOUBLE_EQ(jobs.wait_seconds.max, 540);  // 0, 540, 480
  EXPECT_DOUBLE_EQ(jobs.wait_seconds.mean, 340);
  EXPECT_NEAR(jobs.served_gpu_hours, (1200 + 600 + 1200) / 3600.0, 1e-9);
  EXPECT_NEAR(jobs.completed_gpu_hours, jobs.wanted_gpu_hours, 1e-12);
  EXPECT_NEAR(r.utilization_pct, 100 * 3000 / 7200.0, 1e-9);
  EXPECT_NEAR(r.waited_hours, 1020 / 3600.0, 1e-9);
  EXPECT_NEAR(r.mean_waiting, r.waited_hours / 1.0, 1e-9);
  EXPECT_DOUBLE_EQ(jobs.slowdown.max, 1);
}

TEST(PlatformBatch, WhoStillWaitsAtTheEndHasWaitedSoLong) {
  const auto run = [](int cards) {
    PlatformSpec spec = Platform(Nodes("g", 1, cards), 1);
    const Workload w = Jobs({{0, 7200, 1}, {0, 7200, 1}, {600, 7200, 1}, {1200, 7200, 1}});
    spec.jobs = {Trace(w)};
    return RunOk(spec);
  };
  const PlatformResult enough = run(4), few = run(1);
  const WorkloadResult& jobs = Of(few, "jobs");
  EXPECT_EQ(jobs.started, 1);
  EXPECT_EQ(jobs.wait_seconds.count, 4);
  EXPECT_DOUBLE_EQ(jobs.wait_seconds.max, 3600);
  EXPECT_DOUBLE_EQ(jobs.wait_seconds.mean, (0 + 3600 + 3000 + 2400) / 4.0);
  // No job ends in either, so that only the waits tell them apart.
  const ServiceComparison comparison = CompareService(few, enough);
  EXPECT_FALSE(comparison.equal);
  EXPECT_EQ(comparison.reason, "job: p99 wait is worse");
  EXPECT_TRUE(CompareService(enough, enough).equal);
}

TEST(PlatformBatch, WhoIsEvictedBeforeItBeginsHasWaited) {
  PlatformSpec spec = Platform(Nodes("g", 1, 1), 2);
  spec.clusters[0].start_delay_us = 20 * kMinuteUs;
  const Workload w = Jobs({{0, 600, 1}});
  spec.jobs = {Trace(w)};
  spec.maintenance.push_back({"c", "g", 0, 1, 10 * kMinuteUs, 0, 30 * kMinuteUs});
  const WorkloadResult jobs = Of(RunOk(spec), "jobs");
  EXPECT_EQ(jobs.completed, 1);
  EXPECT_EQ(jobs.wait_seconds.count, 2);  // 10 minutes, and 30 + 20 after the eviction
  EXPECT_DOUBLE_EQ(jobs.wait_seconds.mean, 30 * 60);
  EXPECT_DOUBLE_EQ(jobs.wait_seconds.max, 50 * 60);
}

TEST(PlatformBatch, TwoJobsOnOneCardTakeTwiceAsLong) {
  NodeGroupSpec group = Nodes("g", 1, 1);
  group.compute_ratio_percent = 200;
  PlatformSpec spec = Platform(group, 2);
  spec.runtime.kappa = 0.25;
  std::vector<support::Pod> pods(2);
  for (int i = 0; i < 2; ++i) {
    pods[static_cast<std::size_t>(i)].spec = Part(800);
    pods[static_cast<std::size_t>(i)].submit_us = i * 300 * kSecondUs;
    pods[static_cast<std::size_t>(i)].duration_us = 600 * kSecondUs;
  }
  const Workload w = support::MakeToy({}, pods);
  spec.jobs = {Trace(w)};
  // Alone: rate 1. Both: each 500 of 800, and 1/1.25 of that: 0.5. The first has 300 s left when
  // the second comes, done at 900; the second then has done 300 of 600, done at 1200.
  const PlatformResult r = RunOk(spec);
  const WorkloadResult& jobs = Of(r, "jobs");
  EXPECT_EQ(jobs.completed, 2);
  EXPECT_DOUBLE_EQ(jobs.slowdown.mean, 1.5);
  EXPECT_NEAR(jobs.overload_compute_minutes, 2 * 10, 1e-6);
  EXPECT_NEAR(jobs.served_gpu_hours, 2 * 600 * 0.8 / 3600, 1e-9);
}

TEST(PlatformBatch, AWholeCardIsOneHoweverFarItIsOversubscribed) {
  NodeGroupSpec group = Nodes("g", 1, 1, 10'000);
  group.compute_ratio_percent = group.memory_ratio_percent = 150;
  PlatformSpec spec = Platform(group, 2);
  const Workload w = Jobs({{0, 3600, 1}});
  spec.jobs = {Trace(w)};
  const PlatformResult r = RunOk(spec);
  EXPECT_DOUBLE_EQ(Of(r, "jobs").slowdown.max, 1);
  EXPECT_NEAR(Of(r, "jobs").allocated_gpu_hours, 1, 1e-9);
  EXPECT_DOUBLE_EQ(r.card_overload_memory_minutes, 0);
}

TEST(PlatformBatch, TrainingGangsAndWorkflows) {
  PlatformSpec spec = Platform(Nodes("g", 2, 4), 100);
  TrainingSpec t = Training("t", Part(1000), 1, 2 * kHourUs);
  t.gang_sizes = {{8, 1.0}};
  t.steps_min = t.steps_max = 2;
  t.jobs_per_hour = 0.05;
  spec.training = {t};
  const PlatformResult r = RunOk(spec);
  const WorkloadResult& w = Of(r, "t");
  ASSERT_GT(w.completed, 1);
  EXPECT_NEAR(w.served_gpu_hours, w.wanted_gpu_hours, 8 * 2 + 1e-9);  // the last may be cut off
  EXPECT_NEAR(w.completed_gpu_hours, 16.0 * static_cast<double>(w.completed), 1e-9);
}

TEST(PlatformBatch, AFailureCostsTheWorkSinceTheCheckpoint) {
  PlatformSpec spec = Platform(Nodes("g", 2, 1), 3);
  const Workload w = Jobs({{0, 3600, 1}});
  spec.jobs = {Trace(w)};
  spec.jobs[0].checkpoint_us = 600 * kSecondUs;
  spec.runtime.restart_us = 30 * kSecondUs;
  // Maintenance of the first node, without grace, stands for the failure: at 1000 s.
  spec.maintenance.push_back({"c", "g", 0, 1, 1000 * kSecondUs, 0, kHourUs});
  const PlatformResult r = RunOk(spec);
  const WorkloadResult& jobs = Of(r, "jobs");
  EXPECT_EQ(jobs.evictions, 1);
  EXPECT_EQ(jobs.restarts, 1);
  EXPECT_EQ(jobs.completed, 1);
  EXPECT_NEAR(jobs.lost_gpu_hours, 400 / 3600.0, 1e-9);
  EXPECT_NEAR(jobs.served_gpu_hours, 1, 1e-9);
  EXPECT_NEAR(jobs.allocated_gpu_hours, (3600 + 400 + 30) / 3600.0, 1e-9);
  EXPECT_NEAR(jobs.slowdown.max, 4000.0 / 3600, 1e-9);
  EXPECT_EQ(jobs.wait_seconds.count, 2);
  EXPECT_DOUBLE_EQ(jobs.wait_seconds.max, 30);
}

TEST(PlatformBatch, NodesFailAndComeBack) {
  NodeGroupSpec group = Nodes("g", 20, 1);
  group.mtbf_us = 100 * kHourUs;
  group.repair = {DurationSpec::Kind::kConstant, 10 * kHourUs};
  PlatformSpec spec = Platform(group, 2000);
  const Workload w = Jobs({{0, 100'000'000, 1}});  // without end, without checkpoints
  spec.jobs = {Trace(w)};
  const PlatformResult r = RunOk(spec);
  const WorkloadResult& jobs = Of(r, "jobs");
  // 2000 hours at 1/100 per hour: 20 failures of its node, sd 4.5.
  EXPECT_GT(jobs.failures, 6);
  EXPECT_LT(jobs.failures, 38);
  EXPECT_EQ(jobs.restarts, jobs.failures);
  // A node is down 10 of 110 hours: 20 x 2000 x 1/11.
  EXPECT_NEAR(r.failed_gpu_hours, 3636, 600);
  EXPECT_GT(jobs.lost_gpu_hours, 1000);  // all but the last run
  EXPECT_NEAR(jobs.lost_gpu_hours + jobs.served_gpu_hours, 2000, 1e-6);
}

TEST(PlatformBatch, VirtualMachinesHoldWholeCardsUsedOrNot) {
  PlatformSpec spec = Platform(Nodes("g", 1, 4), 1000);
  auto vm = Work<VmSpec>("vm", Part(1000));
  vm.at_start = 4;
  vm.hold = {DurationSpec::Kind::kConstant, 500 * kHourUs};
  vm.used_milli = 250;
  spec.vms = {vm};
  const PlatformResult r = RunOk(spec);
  const WorkloadResult& w = Of(r, "vm");
  EXPECT_EQ(w.completed, 4);
  EXPECT_NEAR(w.allocated_gpu_hours, 2000, 1e-9);
  EXPECT_NEAR(w.served_gpu_hours, 500, 50);  // a quarter of it; ~1000 bursts a machine
  EXPECT_NEAR(r.utilization_pct, 12.5, 1.3);
}

TEST(PlatformBatch, MachinesThatNeverStartWantTheirWorkAsWell) {
  const auto run = [](int cards, std::int64_t warmup_hours) {
    PlatformSpec spec = Platform(Nodes("g", 1, cards), 400);
    spec.warmup_us = warmup_hours * kHourUs;
    auto vm = Work<VmSpec>("vm", Part(1000));
    vm.at_start = 4;
    vm.hold = {DurationSpec::Kind::kConstant, 100 * kHourUs};
    vm.used_milli = 500;
    spec.vms = {vm};
    return Of(RunOk(spec), "vm");
  };
  const WorkloadResult all = run(4, 0), half = run(1, 0);
  EXPECT_NEAR(all.wanted_gpu_hours, 200, 40);
  EXPECT_DOUBLE_EQ(half.wanted_gpu_hours, all.wanted_gpu_hours);  // whatever the platform does
  EXPECT_EQ(half.started, 4);                                     // one after the other
  EXPECT_LE(half.completed_gpu_hours, half.wanted_gpu_hours);
  const WorkloadResult late = run(1, 50);
  EXPECT_GT(late.completed_gpu_hours, 0);
  EXPECT_LE(late.completed_gpu_hours, late.wanted_gpu_hours);
  EXPECT_NEAR(late.wanted_gpu_hours, 100, 30);
  // Two of three never start.
  PlatformSpec spec = Platform(Nodes("g", 1, 1), 50);
  auto vm = Work<VmSpec>("vm", Part(1000));
  vm.at_start = 3;
  vm.hold = {DurationSpec::Kind::kConstant, 100 * kHourUs};
  vm.used_milli = 500;
  spec.vms = {vm};
  const WorkloadResult one = Of(RunOk(spec), "vm");
  EXPECT_EQ(one.started, 1);
  EXPECT_LT(one.completed_gpu_hours, 0.6 * one.wanted_gpu_hours);
}

// Two clusters: one card owned at 1 an hour, two to rent at 3 an hour, after 10 minutes' wait and
// with 5 minutes more to start.
TEST(PlatformClusters, OverflowWaitsAndCosts) {
  PlatformSpec spec = Platform(Nodes("own", 1, 1), 2);
  spec.clusters[0].groups[0].price.card_hour = 1;
  ClusterSpec cloud;
  cloud.name = "cloud";
  cloud.is_private = false;
  cloud.start_delay_us = 5 * kMinuteUs;
  cloud.groups = {Nodes("rent", 2, 1)};
  cloud.groups[0].price = {Billing::kOnDemand, 3, 0, 1, false};
  spec.clusters.push_back(cloud);
  const Workload w = Jobs({{0, 3600, 1}, {0, 1800, 1}});
  spec.jobs = {Trace(w)};
  spec.jobs[0].places = {{"c", 0}, {"cloud", 10 * kMinuteUs}};
  spec.jobs[0].retry_us = kMinuteUs;
  const PlatformResult r = RunOk(spec);
  EXPECT_EQ(Of(r, "jobs").completed, 2);
  EXPECT_DOUBLE_EQ(Of(r, "jobs").wait_seconds.max, 900);
  ASSERT_EQ(r.clusters.size(), 2U);
  EXPECT_NEAR(r.clusters[0].cost, 2, 1e-9);              // owned all the time
  EXPECT_NEAR(r.clusters[1].cost, 3 * 35 / 60.0, 1e-9);  // while rented
  EXPECT_EQ(r.clusters[1].overflowed_in, 1);
  EXPECT_DOUBLE_EQ(r.clusters[1].rented_peak_cards, 1);
  EXPECT_NEAR(r.clusters[1].capacity_gpu_hours, 35 / 60.0, 1e-9);
  EXPECT_NEAR(r.cost_per_served_hour, (2 + 1.75) / 1.5, 1e-9);
  EXPECT_NEAR(r.utilization_pct, 100 * 1.5 / (2 + 35 / 60.0), 1e-9);
  // Paid by the hour at the monthly rate.
  EXPECT_NEAR(r.cost_per_month, 3.75 * 365, 1e-6);
}

TEST(PlatformClusters, SubscriptionsAreThereAfterTheLeadTimeAndOwedByTheMonth) {
  NodeGroupSpec group = Nodes("g", 1, 2);
  group.price = {Billing::kSubscription, 0, 730, 12, false};
  group.lead_time_us = 40 * kHourUs;
  PlatformSpec spec = Platform(group, 100);
  const Workload w = Jobs({{0, 3600, 2}});
  spec.jobs = {Trace(w)};
  const PlatformResult r = RunOk(spec);
  EXPECT_DOUBLE_EQ(Of(r, "jobs").wait_seconds.max, 40 * 3600);
  EXPECT_EQ(Of(r, "jobs").infeasible, 0);
  EXPECT_NEAR(r.capacity_gpu_hours, 2 * 60, 1e-9);
  EXPECT_NEAR(r.cost, 2 * 60, 1e-9);
  EXPECT_NEAR(r.clusters[0].committed, 2 * 730 * (12 - 60 / 730.0), 1e-6);
}

TEST(PlatformClusters, WhatFitsNowhereIsInfeasible) {
  PlatformSpec spec = Platform(Nodes("g", 1, 2), 1);
  const Workload w = Jobs({{0, 60, 4}, {0, 60, 1}});
  spec.jobs = {Trace(w)};
  const PlatformResult r = RunOk(spec);
  EXPECT_EQ(Of(r, "jobs").infeasible, 1);
  EXPECT_EQ(Of(r, "jobs").completed, 1);
}

TEST(PlatformClusters, WhatIsRefusedBeforeTheWarmUpEndsIsTold) {
  PlatformSpec spec = Platform(Nodes("g", 1, 2), 2);
  spec.warmup_us = kHourUs;
  spec.services = {Service("s", Part(1000, 0, 4), {1000})};
  EXPECT_EQ(Of(RunOk(spec), "s").infeasible, 1);
}

TEST(PlatformClusters, AlternativesAreTakenWhereTheyFit) {
  // The first offer wants a whole card; the card is taken but for a third.
  PlatformSpec spec = Platform(Nodes("g", 1, 1), 4);
  spec.services = {Service("s", Part(600), {1000})};
  auto box = Work<VmSpec>("vm", Part(1000));
  box.offers.push_back(Offer(Part(330)));
  box.offers[1].start_us = 10 * kMinuteUs;
  box.at_start = 1;
  box.hold = {DurationSpec::Kind::kConstant, kHourUs};
  spec.vms = {box};
  const PlatformResult r = RunOk(spec);
  EXPECT_EQ(Of(r, "vm").completed, 1);
  EXPECT_DOUBLE_EQ(Of(r, "vm").wait_seconds.max, 600);
  EXPECT_NEAR(Of(r, "vm").allocated_gpu_hours, 0.33 * (1 + 1 / 6.0), 1e-9);
}

TEST(PlatformSpecErrors, NameWhatIsWrong) {
  PlatformSpec spec = Platform(Nodes("g", 1, 1), 1);
  spec.services = {Service("s", Part(100), {1000})};
  spec.services[0].tenant = "tt";
  auto result = RunPlatform(spec, support::Builtins());
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().ToString(), "service s: tenant: unknown \"tt\"; did you mean \"t\"?");
  spec.services[0].tenant = "t";
  spec.services[0].places = {{"k", 0}};
  result = RunPlatform(spec, support::Builtins());
  ASSERT_FALSE(result.has_value());
  EXPECT_NE(result.error().ToString().find("service s: cluster: unknown \"k\""), std::string::npos);
  spec.services[0].places.clear();
  spec.scheduling.policy = "pack";
  EXPECT_FALSE(RunPlatform(spec, support::Builtins()).has_value());
  spec.scheduling.policy = "binpack";
  spec.warmup_us = spec.horizon_us;
  EXPECT_FALSE(RunPlatform(spec, support::Builtins()).has_value());
}

QueueSpec Queue(const std::string& name) {
  QueueSpec queue;
  queue.name = name;
  return queue;
}

TraceJobsSpec InQueue(const std::string& queue, const Workload& workload, bool preemptible) {
  TraceJobsSpec jobs = Trace(workload);
  jobs.name = jobs.queue = queue;
  jobs.preemptible = preemptible;
  return jobs;
}

TEST(PlatformQueues, SlotsKeepAWholeNodeForTheirQueue) {
  PlatformSpec spec = Platform(Nodes("g", 2, 8), 4);
  spec.queues = {Queue("a"), Queue("b")};
  const Workload of_b = Jobs({{0, 3600, 8}, {0, 3600, 8}});
  const Workload of_a = Jobs({{60, 600, 8}});
  spec.jobs = {InQueue("a", of_a, false), InQueue("b", of_b, false)};
  const PlatformResult without = RunOk(spec);
  EXPECT_DOUBLE_EQ(Of(without, "a").wait_seconds.max, 3540);
  EXPECT_DOUBLE_EQ(Of(without, "b").wait_seconds.max, 0);
  spec.queues[0].slots = {{8, 1, "GPU"}};
  const PlatformResult with = RunOk(spec);
  EXPECT_DOUBLE_EQ(Of(with, "a").wait_seconds.max, 0);
  EXPECT_DOUBLE_EQ(Of(with, "b").wait_seconds.max, 3600);  // the node of the first
  EXPECT_DOUBLE_EQ(with.slots_short, 0);
  spec.queues[0].slots = {{8, 3, "GPU"}};
  EXPECT_DOUBLE_EQ(RunOk(spec).slots_short, 1);  // 3 of 2 nodes, and b never starts
}

TEST(PlatformQueues, SlotsAreTakenBackFromWhoGivesWay) {
  PlatformSpec spec = Platform(Nodes("g", 2, 8), 4);
  spec.queues = {Queue("a"), Queue("b")};
  spec.scheduling.options.evict = true;
  spec.scheduling.options.eviction.preempt = false;
  const Workload of_b = Jobs({{0, 3600, 8}, {0, 3600, 8}});
  const Workload of_a = Jobs({{60, 600, 8}});
  spec.jobs = {InQueue("a", of_a, false), InQueue("b", of_b, true)};
  const PlatformResult without = RunOk(spec);
  EXPECT_EQ(Of(without, "b").evictions, 0);  // a deserves nothing that it could take back for good
  EXPECT_DOUBLE_EQ(Of(without, "a").wait_seconds.max, 3540);
  spec.queues[0].slots = {{8, 1, ""}};
  const PlatformResult with = RunOk(spec);
  EXPECT_EQ(Of(with, "b").evictions, 1);
  EXPECT_LE(Of(with, "a").wait_seconds.max, 60);
}

TEST(PlatformQueues, DominantSharesTakeBackWhatEachResourceByItselfDoesNot) {
  NodeGroupSpec group = Nodes("g", 1, 8);
  PlatformSpec spec = Platform(group, 2);
  spec.queues = {Queue("a"), Queue("b")};
  spec.queues[0].deserved = {{"cpu", 0}, {"gpu", 0}};  // both count
  spec.scheduling.options.evict = true;
  spec.scheduling.options.eviction.preempt = false;
  const auto jobs = [](int count, std::int64_t at_s, MilliCpu cpu) {
    std::vector<support::Pod> pods(static_cast<std::size_t>(count));
    for (support::Pod& pod : pods) {
      pod.spec = Part(1000);
      pod.spec.cpu_milli = cpu;
      pod.submit_us = at_s * kSecondUs;
      pod.duration_us = 2 * kHourUs;
    }
    return support::MakeToy({}, pods);
  };
  // b has half of the cards and all of the CPU: a half of each by itself, but its dominant share is
  // twice that of a.
  const Workload of_a = jobs(8, 60, 0);
  const Workload of_b = jobs(4, 0, 32'000);
  spec.jobs = {InQueue("a", of_a, true), InQueue("b", of_b, true)};
  EXPECT_EQ(Of(RunOk(spec), "b").evictions, 0);
  spec.scheduling.options.division.rule = ShareRule::kDominant;
  EXPECT_EQ(Of(RunOk(spec), "b").evictions, 1);  // 5 1/3 cards of a against 2 2/3 of b
}

TEST(PlatformQueues, PastUseLowersAShare) {
  PlatformSpec spec = Platform(Nodes("g", 1, 4), 3);
  spec.queues = {Queue("a"), Queue("b")};
  spec.scheduling.options.evict = true;
  spec.scheduling.options.eviction.preempt = false;
  const Workload of_b = Jobs({{0, 10'800, 1}, {0, 10'800, 1}, {0, 10'800, 1}, {0, 10'800, 1}});
  const Workload of_a = Jobs({{3600, 7200, 1}, {3600, 7200, 1}, {3600, 7200, 1}, {3600, 7200, 1}});
  spec.jobs = {InQueue("a", of_a, true), InQueue("b", of_b, true)};
  EXPECT_EQ(Of(RunOk(spec), "b").evictions, 2);  // to equal shares
  // After one half-life b counts as having used half of the cluster: weights 3 to 2.
  spec.scheduling.usage_half_life_us = kHourUs;
  spec.scheduling.options.division.usage_factor_milli = 2000;
  EXPECT_GT(Of(RunOk(spec), "b").evictions, 2);
}

TEST(PlatformQueues, WhoUsedLessInThePastIsNext) {
  PlatformSpec spec = Platform(Nodes("g", 1, 1), 10);
  spec.queues = {Queue("a"), Queue("b")};
  spec.scheduling.options.order = JobOrder::kFairShare;
  // One card, 2 hours of a; then a's second job and b's are there, a's first in stored order.
  const Workload of_a = Jobs({{0, 7200, 1}, {600, 3600, 1}}), of_b = Jobs({{600, 3600, 1}});
  spec.jobs = {InQueue("a", of_a, true), InQueue("b", of_b, true)};
  const double held_only = Of(RunOk(spec), "b").wait_seconds.max;
  spec.scheduling.usage_half_life_us = kHourUs;
  spec.scheduling.options.division.usage_factor_milli = 1000;
  const double with_past = Of(RunOk(spec), "b").wait_seconds.max;
  EXPECT_DOUBLE_EQ(held_only, 7200 - 600 + 3600);
  EXPECT_DOUBLE_EQ(with_past, 7200 - 600);
}

}  // namespace
}  // namespace basalt::sim
