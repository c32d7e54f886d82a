// Environments, idle reclaim and the colocation ladder: hand-computed.
#include "test/support/workloads.h"
#include "test/unit/platform_test_util.h"

namespace basalt::sim {
namespace {

constexpr DurationSpec Exactly(std::int64_t us) {
  return {DurationSpec::Kind::kConstant, us, 1, 0, std::numeric_limits<std::int64_t>::max()};
}

// One user who comes each day at 9 for 8 hours and works 10 minutes of each half hour: the first
// burst begins at 9:20, the last at 16:50. 16 bursts of 10 minutes a day.
SandboxSpec OneUser(int milli) {
  auto box = Work<SandboxSpec>("box", Part(milli, 4096));
  box.users = 1;
  box.day_spread_us = 0;
  box.session = Exactly(8 * kHourUs);
  box.burst = Exactly(10 * kMinuteUs);
  box.think = Exactly(20 * kMinuteUs);
  box.working_days = 7;
  return box;
}

TEST(PlatformSandbox, HoldsItsSliceDayAndNight) {
  PlatformSpec spec = Platform(Nodes("g", 1, 1, 16'384), 48);
  spec.sandboxes = {OneUser(500)};
  const PlatformResult r = RunOk(spec);
  const WorkloadResult& w = Of(r, "box");
  EXPECT_EQ(w.completed, 32);
  EXPECT_EQ(w.submitted, 1);
  EXPECT_NEAR(w.allocated_gpu_hours, 39 * 0.5, 1e-9);  // from 9 on the first day
  EXPECT_NEAR(w.served_gpu_hours, 32 / 6.0 * 0.5, 1e-9);
  EXPECT_DOUBLE_EQ(w.slowdown.max, 1);
}

TEST(PlatformSandbox, IdleOnesAreCommittedAndComeBack) {
  PlatformSpec spec = Platform(Nodes("g", 1, 1, 16'384), 48);
  SandboxSpec box = OneUser(500);
  box.image_mib = 10 * 1024;
  spec.sandboxes = {box};
  spec.reclaim.idle_after_us = 6 * kHourUs;
  spec.reclaim.measure_step_us = kHourUs;
  spec.runtime.commit_us = 60 * kSecondUs;
  spec.runtime.commit_us_per_gib = 6 * kSecondUs;
  spec.runtime.restart_us = 60 * kSecondUs;
  spec.runtime.restart_us_per_gib = 3 * kSecondUs;
  const PlatformResult r = RunOk(spec);
  const WorkloadResult& w = Of(r, "box");
  // Its last burst ends at 17:00; measured each hour; at 23:00 it did nothing for 6 hours. Two
  // minutes of commit, out at 23:02, back at 9:00 of the next day, there at 9:01:30. The second
  // night's commit comes an hour before the end.
  EXPECT_EQ(w.reclaimed, 2);
  EXPECT_EQ(w.commits, 2);
  EXPECT_EQ(w.returns, 1);
  EXPECT_EQ(w.restarts, 1);
  EXPECT_NEAR(w.return_wait_minutes, 1.5, 1e-9);
  EXPECT_NEAR(w.reclaimed_gpu_hours, 0.5 * (9 + 58 / 60.0 + 58 / 60.0), 1e-9);
  EXPECT_NEAR(w.allocated_gpu_hours, 0.5 * 2 * (14 + 2 / 60.0), 1e-9);
  EXPECT_EQ(w.completed, 32);  // nothing was hit: the first burst is at 9:20
  EXPECT_DOUBLE_EQ(w.slowdown.max, 1);
}

TEST(PlatformSandbox, ReclaimHitsWhoOnlyThinks) {
  // Works 10 minutes every 12 hours, present all the time.
  PlatformSpec spec = Platform(Nodes("g", 1, 1, 16'384), 24);
  SandboxSpec box = OneUser(500);
  box.day_start_us = 0;
  box.session = Exactly(24 * kHourUs);
  box.think = Exactly(11 * kHourUs);
  spec.sandboxes = {box};
  spec.reclaim.idle_after_us = 6 * kHourUs;
  spec.reclaim.measure_step_us = kHourUs;
  spec.runtime.restart_us = 5 * kMinuteUs;
  const PlatformResult r = RunOk(spec);
  const WorkloadResult& w = Of(r, "box");
  EXPECT_EQ(w.returns, 2);                 // at 11:00 and at 22:10
  EXPECT_NEAR(w.slowdown.max, 1.5, 1e-9);  // 5 minutes on top of 10
  EXPECT_EQ(w.completed, 2);
}

TEST(PlatformSandbox, LeasesEndWhenNobodyIsThere) {
  PlatformSpec spec = Platform(Nodes("g", 1, 1, 16'384), 24);
  spec.sandboxes = {OneUser(500)};
  spec.reclaim.lease_us = 5 * kHourUs;
  const PlatformResult r = RunOk(spec);
  // From 9, renewed at 14, over at 19.
  EXPECT_EQ(Of(r, "box").reclaimed, 1);
  EXPECT_NEAR(Of(r, "box").allocated_gpu_hours, 0.5 * 10, 1e-9);
}

TEST(PlatformSandbox, WhoGoesHomeWithoutAnEnvironmentHasWaited) {
  PlatformSpec spec = Platform(Nodes("g", 1, 1, 16'384), 48);
  spec.services = {Service("s", Part(1000), {1000})};
  spec.sandboxes = {OneUser(500)};
  const PlatformResult r = RunOk(spec);
  EXPECT_EQ(Of(r, "box").started, 0);
  EXPECT_EQ(Of(r, "box").wait_seconds.count, 2);  // a day each
  EXPECT_DOUBLE_EQ(Of(r, "box").wait_seconds.mean, 8 * 3600);
}

TEST(PlatformSandbox, GivenBackDaily) {
  PlatformSpec spec = Platform(Nodes("g", 1, 1, 16'384), 48);
  SandboxSpec box = OneUser(500);
  box.give_back_daily = true;
  spec.sandboxes = {box};
  const PlatformResult r = RunOk(spec);
  EXPECT_NEAR(Of(r, "box").allocated_gpu_hours, 0.5 * 16, 1e-9);
  EXPECT_EQ(Of(r, "box").submitted, 2);
  EXPECT_EQ(Of(r, "box").restarts, 0);
}

// --- the ladder: a service that needs all of the card in every second hour, and a job that would
// take 4 hours alone on it ---
PlatformSpec Colocated(std::vector<LadderStep> steps) {
  NodeGroupSpec group = Nodes("g", 1, 1, 10'240);
  group.compute_ratio_percent = 200;
  PlatformSpec spec = Platform(group, 24);
  spec.demand_step_us = kHourUs;
  ServiceSpec s = Service("high", Part(1000 - 1, 2048), {1000, 0});
  s.use_milli = 1000;
  s.compute_cap = false;
  s.high = true;
  spec.services = {s};
  TrainingSpec t = Training("low", Part(1000 - 1, 4096), 0, 0);
  t.use_milli = 1000;
  t.compute_cap = false;
  spec.training = {t};
  spec.runtime.ladder.steps = std::move(steps);
  spec.runtime.offload_us_per_gib = 15 * kSecondUs;  // a minute for its 4 GiB
  spec.runtime.ladder.backoff_us = kMinuteUs;
  return spec;
}

// The low job as a trace of one, from 0.
PlatformResult RunColocated(PlatformSpec spec, std::int64_t checkpoint_us = 0) {
  spec.training.clear();
  support::Pod pod;
  pod.spec = Part(999, 4096);
  pod.duration_us = 4 * kHourUs;
  const Workload w = support::MakeToy({}, {pod});
  TraceJobsSpec jobs;
  jobs.name = "low";
  jobs.tenant = "t";
  jobs.workload = &w;
  jobs.use_milli = 1000;
  jobs.compute_cap = false;
  jobs.checkpoint_us = checkpoint_us;
  spec.jobs = {jobs};
  return RunOk(spec);
}

TEST(PlatformLadder, Blocked) {
  const PlatformResult r = RunColocated(Colocated({{LadderAction::kBlocked, 0}}));
  const WorkloadResult& low = Of(r, "low");
  EXPECT_EQ(low.completed, 1);
  EXPECT_NEAR(low.slowdown.max, 2, 1e-9);  // hours 1, 3, 5, 7 of 8
  EXPECT_NEAR(low.blocked_hours, 4, 1e-9);
  EXPECT_DOUBLE_EQ(Of(r, "high").slowdown.max, 1);
  EXPECT_DOUBLE_EQ(low.lost_gpu_hours, 0);
}

TEST(PlatformLadder, ThrottledGetsWhatIsLeft) {
  PlatformSpec spec = Colocated({{LadderAction::kThrottled, 0}});
  spec.services[0].use_milli = 600;
  const PlatformResult r = RunColocated(spec);
  // 0.4 in even hours, 1 in odd: 1.4 in two hours; 4 = 2 x 1.4 + 0.4 + 0.8.
  EXPECT_NEAR(Of(r, "low").slowdown.max, 5.8 / 4, 1e-9);
  EXPECT_NEAR(Of(r, "low").throttled_hours, 3, 1e-9);
  EXPECT_DOUBLE_EQ(Of(r, "low").blocked_hours, 0);
}

TEST(PlatformLadder, OffloadedComesBackLater) {
  const PlatformResult r = RunColocated(Colocated({{LadderAction::kOffloaded, 0}}));
  // A minute of each odd hour to come back: 59 of 60 minutes; 4 hours need 4 of those and 4
  // minutes of a fifth, which begins at 9:01.
  EXPECT_NEAR(Of(r, "low").slowdown.max, (9 * 60 + 1 + 4) / 240.0, 1e-9);
  EXPECT_NEAR(Of(r, "low").offloaded_hours, 5 + 5 / 60.0, 1e-9);
}

TEST(PlatformLadder, EvictedLosesItsWork) {
  // Killed at 2:00, 4:00, ...; queued again after a minute, and killed again while the hour lasts.
  const PlatformResult r = RunColocated(Colocated({{LadderAction::kEvicted, 0}}));
  const WorkloadResult& low = Of(r, "low");
  EXPECT_EQ(low.completed, 0);  // never has 4 hours
  EXPECT_GT(low.ladder_evictions, 100);
  EXPECT_EQ(low.evictions, low.ladder_evictions);
  EXPECT_NEAR(low.lost_gpu_hours, 11, 0.2);  // all odd hours but the last
  // With checkpoints each half hour nothing is lost.
  const PlatformResult kept =
      RunColocated(Colocated({{LadderAction::kEvicted, 0}}), 30 * kMinuteUs);
  EXPECT_EQ(Of(kept, "low").completed, 1);
  EXPECT_LT(Of(kept, "low").lost_gpu_hours, 4 * 0.5);
}

TEST(PlatformLadder, CommitsAndExitsAfterAWhileOfBlocking) {
  PlatformSpec spec =
      Colocated({{LadderAction::kBlocked, 0}, {LadderAction::kCommitExit, 20 * kMinuteUs}});
  spec.runtime.commit_us = 5 * kMinuteUs;
  spec.runtime.ladder.backoff_us = kHourUs;
  const PlatformResult r = RunColocated(spec, kMinuteUs);
  const WorkloadResult& low = Of(r, "low");
  // Needed from 0:00: exits at 0:25, back at 1:25; needed from 2:00: exits 2:25, back 3:25, ...
  // 35 minutes of each two hours: 4 hours are 6 x 35 + 30, done at 13:55.
  EXPECT_EQ(low.completed, 1);
  EXPECT_EQ(low.commits, 7);
  EXPECT_EQ(low.restarts, 7);
  EXPECT_NEAR(low.blocked_hours, 7 * 25 / 60.0, 1e-6);
  EXPECT_NEAR(low.lost_gpu_hours, 0, 0.02);
}

TEST(PlatformLadder, BelowTheTriggerNobodyGivesWay) {
  PlatformSpec spec = Colocated({{LadderAction::kBlocked, 0}});
  spec.services[0].use_milli = 100;  // not more than the trigger
  const PlatformResult r = RunColocated(spec);
  EXPECT_DOUBLE_EQ(Of(r, "low").blocked_hours, 0);
  EXPECT_NEAR(Of(r, "low").slowdown.max, (4 + 0.2 + 0.02) / 4, 0.006);
  spec.runtime.ladder.trigger_milli = 99;
  EXPECT_NEAR(Of(RunColocated(spec), "low").slowdown.max, 2, 1e-9);
}

TEST(PlatformLadder, QuietTimeHoldsTheStep) {
  PlatformSpec spec = Colocated({{LadderAction::kBlocked, 0}});
  spec.runtime.ladder.quiet_us = 30 * kMinuteUs;
  // Half of each odd hour: 8 of them.
  EXPECT_NEAR(Of(RunColocated(spec), "low").slowdown.max, 16 / 4, 1e-9);
}

}  // namespace
}  // namespace basalt::sim
