// Services on shared cards, in time: hand-computed.
#include "test/unit/platform_test_util.h"

namespace basalt::sim {
namespace {

// Two services that each need 800 of a card at peak and 200 off peak, on one card whose compute is
// handed out twice; an hour up, an hour down, for a day.
PlatformSpec TwoServices(bool together) {
  NodeGroupSpec group = Nodes("g", 1, 1);
  group.compute_ratio_percent = 200;
  PlatformSpec spec = Platform(group, 24);
  spec.demand_step_us = kHourUs;
  ServiceSpec a = Service("a", Part(800), {1000, 250});
  ServiceSpec b = Service(
      "b", Part(800),
      together ? std::vector<std::int32_t>{1000, 250} : std::vector<std::int32_t>{250, 1000});
  a.high = b.high = true;
  spec.services = {a, b};
  return spec;
}

TEST(PlatformServices, StaggeredPeaksFitOnOneCard) {
  const PlatformResult r = RunOk(TwoServices(false));
  EXPECT_DOUBLE_EQ(r.utilization_pct, 100);  // 800 + 200 at all times
  EXPECT_DOUBLE_EQ(r.allocation_pct, 160);
  EXPECT_DOUBLE_EQ(Of(r, "a").overload_minutes, 0);
  EXPECT_DOUBLE_EQ(r.card_overload_compute_minutes, 0);
  EXPECT_DOUBLE_EQ(Of(r, "a").slowdown.p99, 1);
  EXPECT_DOUBLE_EQ(Of(r, "a").slow_share_pct, 0);
  EXPECT_NEAR(Of(r, "a").served_gpu_hours, 12 * 0.8 + 12 * 0.2, 1e-9);
}

TEST(PlatformServices, PeaksTogetherAreOverloadMinutesOfBoth) {
  const PlatformResult r = RunOk(TwoServices(true));
  // 12 hours of 1600 wanted: both at 1000/1600 of their speed.
  EXPECT_DOUBLE_EQ(r.card_overload_compute_minutes, 12 * 60);
  for (const char* name : {"a", "b"}) {
    const WorkloadResult& w = Of(r, name);
    EXPECT_DOUBLE_EQ(w.overload_minutes, 12 * 60);
    EXPECT_DOUBLE_EQ(w.overload_compute_minutes, 12 * 60);
    EXPECT_NEAR(w.slowdown.max, 1.6, 1e-9);
    EXPECT_NEAR(w.wanted_gpu_hours, 12, 1e-9);
    EXPECT_NEAR(w.served_gpu_hours, 12 * 0.5 + 12 * 0.2, 1e-9);
    EXPECT_NEAR(w.slow_share_pct, 80, 1e-9);  // of the demand: 9.6 of 12
  }
  EXPECT_NEAR(r.utilization_pct, 70, 1e-9);  // 12 hours of 100 %, 12 of 40 %
}

TEST(PlatformServices, ReplicasFollowTheLoad) {
  PlatformSpec spec = Platform(Nodes("g", 1, 8), 8);
  spec.demand_step_us = kHourUs;
  // Up to 8 replicas at 80 % of theirs: 3.2 replicas' worth want 4, 6.4 want 8.
  ServiceSpec s = Service("s", Part(1000), {400, 800, 400, 400});
  s.replicas_min = 1;
  s.replicas_max = 8;
  s.scale_down_us = kHourUs;
  spec.services = {s};
  const PlatformResult r = RunOk(spec);
  const WorkloadResult& w = Of(r, "s");
  EXPECT_NEAR(w.served_gpu_hours, 2 * (3.2 + 6.4 + 3.2 + 3.2), 1e-9);
  // 4, 8, 8 (fewer would do, an hour passes), 4: twice, but the second time begins with 4.
  EXPECT_NEAR(w.allocated_gpu_hours, 2 * (4 + 8 + 8 + 4), 1e-9);
  EXPECT_EQ(w.submitted, 4 + 4 + 4);
  EXPECT_DOUBLE_EQ(w.slowdown.max, 1);
}

TEST(PlatformServices, TooFewReplicasServeLess) {
  PlatformSpec spec = Platform(Nodes("g", 1, 2), 10);
  ServiceSpec s = Service("s", Part(1000), {1000});
  s.replicas_max = s.replicas_min = 4;  // two find no card
  spec.services = {s};
  const PlatformResult r = RunOk(spec);
  const WorkloadResult& w = Of(r, "s");
  EXPECT_EQ(w.submitted, 4);
  EXPECT_EQ(w.started, 2);
  EXPECT_NEAR(w.wanted_gpu_hours, 40, 1e-9);
  EXPECT_NEAR(w.served_gpu_hours, 20, 1e-9);
  EXPECT_NEAR(w.slowdown.mean, 2, 1e-9);
  EXPECT_DOUBLE_EQ(r.mean_waiting, 2);
}

TEST(PlatformServices, AFasterCardServesTheSameWithLessOfIt) {
  NodeGroupSpec group = Nodes("g", 1, 1);
  group.speed_milli = 2000;
  PlatformSpec spec = Platform(group, 10);
  ServiceSpec s = Service("s", Part(1000), {1000});
  s.use_milli = 800;  // of the reference card
  spec.services = {s};
  const PlatformResult r = RunOk(spec);
  EXPECT_NEAR(Of(r, "s").wanted_gpu_hours, 8, 1e-9);
  EXPECT_NEAR(Of(r, "s").completed_gpu_hours, 8, 1e-9);
  EXPECT_NEAR(Of(r, "s").served_gpu_hours, 4, 1e-9);
}

TEST(PlatformServices, MemoryOverTheCardSlowsTheBurstable) {
  NodeGroupSpec group = Nodes("g", 1, 1, 10'000);
  PlatformSpec spec = Platform(group, 10);
  spec.demand_step_us = kHourUs;
  spec.runtime.memory_beta = 5;
  ServiceSpec a = Service("a", Part(300, 5000), {1000});
  ServiceSpec b = Service("b", Part(300, 5000), {1000, 0});
  // b really uses more than it said.
  b.offers[0].request.service_class = ServiceClass::kBurstable;
  b.working_set_mib = 7000;
  b.idle_working_set_mib = 1000;
  spec.services = {a, b};
  const PlatformResult r = RunOk(spec);
  EXPECT_DOUBLE_EQ(r.card_overload_memory_minutes, 5 * 60);
  EXPECT_DOUBLE_EQ(Of(r, "a").overload_minutes, 0);
  EXPECT_DOUBLE_EQ(Of(r, "b").overload_memory_minutes, 5 * 60);
  EXPECT_NEAR(Of(r, "b").slowdown.max, 2, 1e-9);  // pressure 1.2
}

TEST(PlatformServices, HostCpuThatIsNotThereSlowsTheNode) {
  NodeGroupSpec group = Nodes("g", 1, 2);
  group.cpu_milli = 10'000;
  group.cpu_ratio_percent = 200;
  PlatformSpec spec = Platform(group, 4);
  spec.runtime.cpu_bound_milli = 1000;
  RequestSpec request = Part(1000);
  request.cpu_milli = 10'000;
  spec.services = {Service("a", request, {1000}), Service("b", request, {1000})};
  spec.services[1].from_us = 2 * kHourUs;
  const PlatformResult r = RunOk(spec);
  EXPECT_NEAR(Of(r, "a").served_gpu_hours, 2 + 2 * 0.5, 1e-9);
  EXPECT_DOUBLE_EQ(Of(r, "a").overload_host_minutes, 120);
}

}  // namespace
}  // namespace basalt::sim
