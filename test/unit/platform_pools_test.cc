// Cards that move between shared and passthrough.
#include "test/unit/platform_test_util.h"

namespace basalt::sim {
namespace {

RequestSpec Machine() {
  RequestSpec request = Part(1000);
  request.passthrough = true;
  return request;
}

// Four shared cards; a service on two of them; a machine is wanted from the start.
PlatformSpec OnePool() {
  PlatformSpec spec = Platform(Nodes("g", 2, 2), 10);
  ServiceSpec s = Service("s", Part(1000), {1000});
  s.replicas_min = s.replicas_max = 2;
  spec.services = {s};
  auto vm = Work<VmSpec>("vm", Machine());
  vm.at_start = 1;
  vm.hold = {DurationSpec::Kind::kConstant, 2 * kHourUs};
  spec.vms = {vm};
  spec.pools.dynamic = true;
  spec.pools.decide_every_us = 10 * kMinuteUs;
  spec.pools.drain_us = 15 * kMinuteUs;
  spec.pools.max_moving_milli = 1000;
  return spec;
}

TEST(PlatformPools, ACardMovesAfterItsDrain) {
  const PlatformResult r = RunOk(OnePool());
  // Decided at 0:10, ready at 0:25.
  EXPECT_EQ(Of(r, "vm").completed, 1);
  EXPECT_DOUBLE_EQ(Of(r, "vm").wait_seconds.max, 25 * 60);
  EXPECT_EQ(r.pools.moves_to_passthrough, 1);
  EXPECT_EQ(r.pools.moves_to_shared, 0);  // nobody asks for it
  EXPECT_NEAR(r.pools.drain_hours, 0.25, 1e-9);
  EXPECT_DOUBLE_EQ(r.pools.emptying_hours, 0);
  EXPECT_DOUBLE_EQ(r.series.passthrough_cards.back(), 1);
  EXPECT_DOUBLE_EQ(r.series.shared_cards.back(), 3);
}

TEST(PlatformPools, StaticPoolsLeaveItWaiting) {
  PlatformSpec spec = OnePool();
  spec.pools.dynamic = false;
  const PlatformResult r = RunOk(spec);
  EXPECT_EQ(Of(r, "vm").started, 0);
}

TEST(PlatformPools, BackWhenSlicesWaitForIt) {
  PlatformSpec spec = OnePool();
  // From hour 5 on four replicas are wanted: the machine has ended by 2:25.
  spec.demand_step_us = kHourUs;
  spec.services[0].replicas_min = 2;
  spec.services[0].replicas_max = 4;
  spec.services[0].target_load_milli = 1000;
  spec.services[0].demand_milli = {500, 500, 500, 500, 500, 1000, 1000, 1000, 1000, 1000};
  const PlatformResult r = RunOk(spec);
  EXPECT_EQ(r.pools.moves_to_passthrough, 1);
  EXPECT_EQ(r.pools.moves_to_shared, 1);
  EXPECT_EQ(Of(r, "s").started, 4);
  EXPECT_DOUBLE_EQ(Of(r, "s").wait_seconds.max, 15 * 60);  // decided at once
}

TEST(PlatformPools, WaitsUntilACardIsEmptyUnlessItMayEvict) {
  PlatformSpec spec = OnePool();
  // All cards have a replica; the fourth service ends at 3:00.
  spec.services[0].replicas_min = spec.services[0].replicas_max = 3;
  ServiceSpec short_lived = Service("short", Part(1000), {1000});
  short_lived.to_us = 3 * kHourUs;
  spec.services.push_back(short_lived);
  spec.demand_step_us = kHourUs;
  spec.vms[0].vms_per_hour = 0;
  // Something is on every card: only eviction frees one before 3:00.
  const PlatformResult waits = RunOk(spec);
  EXPECT_DOUBLE_EQ(Of(waits, "vm").wait_seconds.max, (3 * 60 + 15) * 60.0);
  spec.pools.evict = true;
  const PlatformResult evicts = RunOk(spec);
  EXPECT_DOUBLE_EQ(Of(evicts, "vm").wait_seconds.max, 25 * 60);
  EXPECT_EQ(Of(evicts, "s").evictions + Of(evicts, "short").evictions, 1);
  // Not if they say no.
  for (ServiceSpec& s : spec.services) s.preemptible = false;
  EXPECT_DOUBLE_EQ(Of(RunOk(spec), "vm").wait_seconds.max, (3 * 60 + 15) * 60.0);
}

TEST(PlatformPools, LimitsHold) {
  PlatformSpec spec = OnePool();
  spec.vms[0].at_start = 4;
  spec.pools.min_shared_milli = 750;  // three of four stay
  EXPECT_EQ(RunOk(spec).pools.moves_to_passthrough, 1);
  spec.pools.min_shared_milli = 0;
  spec.pools.max_moving_milli = 250;  // one at a time
  const PlatformResult r = RunOk(spec);
  EXPECT_EQ(r.pools.moves_to_passthrough, 2);  // the other two have replicas
  EXPECT_DOUBLE_EQ(r.pools.drain_hours, 0.5);
}

}  // namespace
}  // namespace basalt::sim
