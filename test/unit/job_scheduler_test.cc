// The job scheduler by hand-made cases: orders, backfill, starvation, eviction, quotas, work.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "scheduler-core/engine/trial.h"
#include "test/support/cluster.h"
#include "test/support/gangs.h"
#include "test/support/jobs.h"

namespace basalt::support {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

using World = JobWorld<JobScheduler>;

std::unique_ptr<Engine> Cluster(int nodes, int cards) {
  std::vector<NodeSpec> specs;
  for (int n = 0; n < nodes; ++n) specs.push_back(Node("n" + std::to_string(n), 96'000, cards));
  return MakeEngine("best-fit", specs);
}

TestJob Job(std::uint64_t id, int cards, std::int64_t run_s, std::int64_t submit_s = 0) {
  TestJob job;
  job.id = id;
  job.spec = Ask(1000, cards, 1000);
  job.run_s = job.estimate_s = run_s;
  job.submit_s = submit_s;
  return job;
}
TestJob Unknown(TestJob job) {
  job.estimate_s = -1;
  return job;
}
TestJob Of(TestJob job, std::string queue, std::int32_t priority = 0) {
  job.queue = std::move(queue);
  job.priority = priority;
  return job;
}
SchedulerOptions Options(Backfill backfill, JobOrder order = JobOrder::kFifo) {
  SchedulerOptions options;
  options.order = order;
  options.backfill = backfill;
  return options;
}
void AddQueue(Engine& engine, const std::string& name, std::int32_t weight = 1,
              AmountMap capacity = {}) {
  QueueSpec spec;
  spec.name = name;
  spec.weight = weight;
  spec.capacity = std::move(capacity);
  ASSERT_TRUE(engine.Apply(QueueSet{spec}, SimTime{}).has_value());
}

// 1: three of four cards for 100 s; 2 needs all four; 3 and 4 need one.
std::vector<TestJob> OneBlocked() {
  return {Job(1, 3, 100), Job(2, 4, 100, 1), Job(3, 1, 50, 2), Job(4, 1, 500, 3)};
}

TEST(JobOrder, StrictFifoLetsNobodyPass) {
  World world(Cluster(1, 4), Options(Backfill::kStrict));
  world.Add(OneBlocked());
  world.Run();
  EXPECT_EQ(world.StartOf(2), 100);
  EXPECT_EQ(world.StartOf(3), 200);
  EXPECT_EQ(world.StartOf(4), 200);
}

TEST(JobOrder, NoneLetsEverybodyPassWhoFits) {
  World world(Cluster(1, 4), Options(Backfill::kNone));
  world.Add(OneBlocked());
  world.Run();
  EXPECT_EQ(world.StartOf(3), 2);
  EXPECT_EQ(world.StartOf(4), 52);
  EXPECT_EQ(world.StartOf(2), 552);
}

TEST(JobOrder, PriorityThenSubmitThenUid) {
  World world(Cluster(1, 1), Options(Backfill::kStrict, JobOrder::kPriority));
  world.Add({Job(9, 1, 10), Of(Job(3, 1, 10, 1), "", 0), Of(Job(2, 1, 10, 1), "", 0),
             Of(Job(5, 1, 10, 2), "", 7), Of(Job(4, 1, 10, 3), "", 7)});
  world.Run();
  EXPECT_THAT(world.log(), ElementsAre("0 start 9", "10000000 start 5", "20000000 start 4",
                                       "30000000 start 2", "40000000 start 3"));
}

TEST(JobOrder, FairShareGivesQueuesCardsByWeight) {
  World world(Cluster(1, 6), Options(Backfill::kNone, JobOrder::kFairShare));
  AddQueue(world.engine(), "a", 1);
  AddQueue(world.engine(), "b", 2);
  for (std::uint64_t i = 0; i < 12; ++i) {
    world.Add(Of(Job(i, 1, 100), i < 6 ? "a" : "b"));
  }
  world.Step();
  // Shares are 0:0, 1/6:0, 1/6:1/12, 1/6:1/6, ...: ties go to the queue that was added first.
  EXPECT_THAT(world.log(), ElementsAre("0 start 0", "0 start 6", "0 start 7", "0 start 1",
                                       "0 start 8", "0 start 9"));
}

// DRF's example (NSDI'11): 9 CPUs and 18 cards here in place of memory; A asks <1 CPU, 4 cards>, B
// <3 CPUs, 1 card>: A gets 3 jobs, B 2.
TEST(JobOrder, FairShareIsDominant) {
  World world(MakeEngine("best-fit", {Node("n", 9000, 18)}),
              Options(Backfill::kNone, JobOrder::kFairShare));
  AddQueue(world.engine(), "a");
  AddQueue(world.engine(), "b");
  for (std::uint64_t i = 0; i < 20; ++i) {
    TestJob job = Of(Job(i, 4, 100), i < 10 ? "a" : "b");
    job.spec = i < 10 ? Ask(1000, 4, 1000) : Ask(3000, 1, 1000);
    world.Add(job);
  }
  world.Step();
  int a = 0;
  for (const std::string& line : world.log()) a += std::stoi(line.substr(line.rfind(' '))) < 10;
  EXPECT_EQ(a, 3);
  EXPECT_EQ(world.log().size(), 5U);
}

TEST(JobOrder, FairShareStrictBlocksOnlyTheOwnQueue) {
  World world(Cluster(1, 4), Options(Backfill::kStrict, JobOrder::kFairShare));
  AddQueue(world.engine(), "a");
  AddQueue(world.engine(), "b");
  world.Add({Of(Job(1, 3, 100), "a"), Of(Job(2, 4, 100, 1), "a"), Of(Job(3, 1, 50, 2), "a"),
             Of(Job(4, 1, 50, 3), "b")});
  world.Run();
  EXPECT_EQ(world.StartOf(4), 3);
  EXPECT_EQ(world.StartOf(2), 100);
  EXPECT_EQ(world.StartOf(3), 200);
}

TEST(Backfill, EasyLetsThosePassThatEndInTime) {
  World world(Cluster(1, 4), Options(Backfill::kEasy));
  world.Add(OneBlocked());
  world.Run();
  EXPECT_EQ(world.StartOf(3), 2);
  EXPECT_EQ(world.StartOf(2), 100);
  EXPECT_EQ(world.StartOf(4), 200);
}

TEST(Backfill, EasyLetsLongOnesPassOnOtherNodes) {
  std::vector<NodeSpec> nodes = {Node("n0", 96'000, 4), Node("n1", 96'000, 2)};
  World world(MakeEngine("best-fit", nodes), Options(Backfill::kEasy));
  world.Add({Job(1, 3, 100), Job(2, 4, 100, 1), Job(3, 2, 500, 2), Job(4, 1, 500, 3)});
  world.Run();
  EXPECT_EQ(world.StartOf(3), 2);  // n1 is of no use to job 2
  EXPECT_EQ(world.StartOf(2), 100);
  EXPECT_EQ(world.StartOf(4), 200);
}

TEST(Backfill, AJobOfUnknownLengthNeverPassesAProtectedHead) {
  World world(Cluster(1, 4), Options(Backfill::kEasy));
  world.Add({Job(1, 3, 100), Job(2, 4, 100, 1), Unknown(Job(3, 1, 10, 2))});
  while (world.StartOf(2) < 0) {
    world.Step();
    if (world.StartOf(2) < 0 && world.scheduler().waiting() == 2) {
      EXPECT_THAT(world.scheduler().WhyWaiting(PodUid{0x10b, 3}), HasSubstr("unknown"));
    }
  }
  world.Run();
  EXPECT_EQ(world.StartOf(2), 100);
  EXPECT_EQ(world.StartOf(3), 200);
}

// By sums four cards are free at 100; on one node only at 200.
TEST(Backfill, TheShadowIsOfNodesNotOfCounts) {
  World world(Cluster(2, 4), Options(Backfill::kEasy));
  // best-fit fills n0 first: 1 and 2 on n0, 3 and 4 on n1.
  world.Add({Job(1, 2, 100), Job(2, 2, 200), Job(3, 2, 50), Job(4, 2, 300)});
  world.Add({Job(5, 4, 100, 1), Job(6, 2, 140, 51)});
  world.Run();
  EXPECT_EQ(world.StartOf(6), 51);
  EXPECT_EQ(world.StartOf(5), 200);
}

TEST(Backfill, AnOverrunMovesTheShadow) {
  World world(Cluster(1, 4), Options(Backfill::kEasy));
  TestJob late = Job(1, 3, 400);
  late.estimate_s = 100;
  // At 100 the head should start; then job 1 is expected to end at 200, and 3 fits before.
  world.Add({late, Job(2, 4, 100, 1), Job(3, 1, 98, 2), Job(4, 1, 99, 3)});
  world.Run();
  EXPECT_EQ(world.StartOf(3), 2);
  EXPECT_EQ(world.StartOf(4), 100);  // as soon as it is known that job 1 is late
  EXPECT_EQ(world.StartOf(2), 400);
}

TEST(Backfill, ConservativeProtectsAllThatWait) {
  for (const bool conservative : {false, true}) {
    World world(Cluster(1, 4), Options(conservative ? Backfill::kConservative : Backfill::kEasy));
    // 2 waits for all four until 100; 3 needs two, from 200 on; 4 needs one for 250 s and would
    // take from 3 what 2 leaves.
    world.Add({Job(1, 3, 100), Job(2, 3, 100, 1), Job(3, 4, 100, 2), Job(4, 1, 250, 3)});
    world.Run();
    EXPECT_EQ(world.StartOf(2), 100);
    EXPECT_EQ(world.StartOf(4), conservative ? 300 : 3);
    EXPECT_EQ(world.StartOf(3), conservative ? 200 : 253);
  }
}

TEST(Backfill, GangsAreProtectedAndBackfilled) {
  World world(GangEngine(Racks(2, 2, 2), {}, "best-fit"), Options(Backfill::kEasy));
  TestJob gang = Job(2, 2, 100, 1);  // two whole nodes of one rack
  gang.members = 2;
  gang.level = {kRack, kRack};
  TestJob small = Job(3, 1, 500, 2);
  // Job 1 takes a rack and a node; the gang can have the first rack at 100, or the second at 200.
  TestJob first = Job(1, 2, 100);
  first.members = 2;
  first.level = {kRack, kRack};
  world.Add({first, Job(4, 2, 200), gang, small, Job(5, 1, 90, 3)});
  world.Run();
  EXPECT_EQ(world.StartOf(2), 100);
  EXPECT_EQ(world.StartOf(3), 2);  // beside job 4: the gang does not need that rack
}

TEST(Starvation, ALimitBoundsTheWait) {
  for (const bool limited : {false, true}) {
    SchedulerOptions options = Options(Backfill::kNone);
    if (limited) options.starvation_us = 300 * kSecond;
    World world(Cluster(1, 4), options);
    world.Add(Job(1000, 4, 50, 5));
    // Two streams of two-card jobs, one always running.
    for (std::uint64_t i = 0; i < 100; ++i) {
      world.Add(Job(i, 2, 100, static_cast<std::int64_t>(i) * 50));
    }
    world.Run();
    if (limited) {
      // Starved at 305; what then runs ends within 100 s.
      EXPECT_GE(world.StartOf(1000), 305);
      EXPECT_LE(world.StartOf(1000), 405);
    } else {
      EXPECT_GT(world.StartOf(1000), 5000);
    }
  }
}

TEST(Starvation, OfUnknownLengthNobodyPasses) {
  SchedulerOptions options = Options(Backfill::kNone);
  options.starvation_us = 100 * kSecond;
  World world(Cluster(1, 4), options);
  world.Add({Unknown(Job(1, 2, 1000)), Job(2, 4, 50, 1), Job(3, 2, 10, 50), Job(4, 2, 10, 150)});
  world.Run();
  EXPECT_EQ(world.StartOf(3), 50);
  EXPECT_EQ(world.StartOf(2), 1000);
  EXPECT_EQ(world.StartOf(4), 1050);
}

// A job that waits for a cordoned node must not stop the others for ever.
TEST(Starvation, WhoCannotBeServedProtectsNothing) {
  SchedulerOptions options = Options(Backfill::kNone);
  options.starvation_us = 100 * kSecond;
  std::vector<NodeSpec> nodes = {Node("big", 96'000, 8), Node("small", 96'000, 4)};
  World world(MakeEngine("best-fit", nodes), options);
  ASSERT_TRUE(world.engine().Apply(NodeCordoned{"big", true}, SimTime{}).has_value());
  world.Add({Job(1, 8, 10), Job(2, 4, 10, 200)});
  while (world.StartOf(2) < 0) world.Step();
  EXPECT_EQ(world.StartOf(2), 200);
}

TEST(Quota, ARefusedQueueDoesNotStopTheOthers) {
  World world(Cluster(1, 4), Options(Backfill::kEasy));
  AddQueue(world.engine(), "a", 1, {{"cards", 1}});
  AddQueue(world.engine(), "b");
  world.Add({Of(Job(1, 1, 100), "a"), Of(Job(2, 1, 100, 1), "a"),
             Of(Unknown(Job(3, 1, 10, 2)), "b"), Of(Job(4, 1, 100, 3), "a")});
  while (world.StartOf(3) < 0) world.Step();
  EXPECT_EQ(world.StartOf(3), 2);
  EXPECT_THAT(world.scheduler().WhyWaiting(PodUid{0x10b, 2}), HasSubstr("queue 'a'"));
  world.Run();
  EXPECT_EQ(world.StartOf(2), 100);
  EXPECT_EQ(world.StartOf(4), 200);
}

TEST(Quota, PendingIsToldToTheTreeAndTakenBack) {
  auto engine = Cluster(1, 4);
  AddQueue(*engine, "a");
  const QueueId a = *engine->queues().Find("a");
  {
    JobScheduler scheduler(*engine, Options(Backfill::kNone));
    for (std::uint64_t i = 1; i <= 3; ++i) {
      ASSERT_TRUE(scheduler.Submit(MakeJob(*engine, Of(Job(i, 2, 10), "a")), SimTime{}));
    }
    EXPECT_EQ(engine->queues().pending_jobs(a), 3);
    EXPECT_EQ(scheduler.Schedule(SimTime{}).size(), 2U);
    EXPECT_EQ(engine->queues().pending_jobs(a), 1);
  }
  EXPECT_EQ(engine->queues().pending_jobs(a), 0);
}

TEST(Input, WhatIsRefusedAndWhatIsInfeasible) {
  auto engine = Cluster(1, 4);
  JobScheduler scheduler(*engine, Options(Backfill::kNone));
  const JobRequest job = MakeJob(*engine, Job(1, 5, 10));
  ASSERT_TRUE(scheduler.Submit(job, SimTime{}).has_value());
  EXPECT_THAT(scheduler.Submit(job, SimTime{}).error().ToString(), HasSubstr("waits already"));
  EXPECT_THAT(
      scheduler.Submit(MakeJob(*engine, Of(Job(2, 1, 10), "nobody")), SimTime{}).error().ToString(),
      HasSubstr("queue 'nobody' is unknown"));
  JobRequest bad = MakeJob(*engine, Job(3, 1, 10));
  bad.spec.tasks.clear();
  EXPECT_FALSE(scheduler.Submit(bad, SimTime{}).has_value());
  const std::vector<Action> actions = scheduler.Schedule(SimTime{});
  ASSERT_EQ(actions.size(), 1U);
  EXPECT_EQ(Text(actions[0]), "infeasible 1");
  EXPECT_FALSE(actions[0].reason.empty());
  EXPECT_EQ(scheduler.waiting(), 0U);
  EXPECT_FALSE(scheduler.Cancel(PodUid{0x10b, 1}, SimTime{}));
}

TEST(Input, ACancelledHeadMakesRoom) {
  World world(Cluster(1, 4), Options(Backfill::kStrict));
  world.Add({Job(1, 3, 100), Job(2, 4, 100, 1), Job(3, 1, 10, 2)});
  while (world.scheduler().waiting() < 2) world.Step();
  EXPECT_TRUE(world.scheduler().Cancel(PodUid{0x10b, 2}, SimTime{3 * kSecond}));
  const std::vector<Action> actions = world.scheduler().Schedule(SimTime{3 * kSecond});
  ASSERT_EQ(actions.size(), 1U);
  EXPECT_EQ(Text(actions[0]), "start 3");
}

class Eviction : public testing::Test {
 protected:
  Eviction() : engine(Cluster(1, 4)) {
    options.evict = true;
    scheduler.emplace(*engine, options);
    // Four cards, all with low-priority pods.
    for (std::uint64_t i = 1; i <= 4; ++i) Submit(Job(i, 1, 100), 0);
    EXPECT_EQ(Pass(0).size(), 4U);
  }
  void Submit(const TestJob& job, std::int64_t now, std::uint32_t attempt = 0) {
    JobRequest request = MakeJob(*engine, job);
    request.attempt = attempt;
    ASSERT_TRUE(scheduler->Submit(request, SimTime{now}).has_value());
  }
  std::vector<std::string> Pass(std::int64_t now) {
    std::vector<std::string> said;
    for (const Action& a : scheduler->Schedule(SimTime{now})) said.push_back(Text(a));
    return said;
  }
  void Gone(std::uint64_t id, std::int64_t now) {
    ASSERT_TRUE(engine->Release(PodUid{0x10b, id}, SimTime{now}).has_value());
    scheduler->Ended(PodUid{0x10b, id}, SimTime{now});
  }
  std::unique_ptr<Engine> engine;
  SchedulerOptions options = Options(Backfill::kNone, JobOrder::kPriority);
  std::optional<JobScheduler> scheduler;
};

TEST_F(Eviction, RoundTrip) {
  Submit(Of(Job(10, 2, 100), "", 5), 1);
  const std::vector<std::string> said = Pass(1);
  ASSERT_EQ(said.size(), 3U);
  EXPECT_EQ(said[2], "nominate 10");
  EXPECT_EQ(scheduler->nominated(), 1U);
  EXPECT_EQ(scheduler->waiting(), 0U);
  const std::uint64_t first = std::stoull(said[0].substr(6));
  const std::uint64_t second = std::stoull(said[1].substr(6));
  Gone(first, 2);
  // What the first victim left is not for the next one in the queue.
  Submit(Job(11, 1, 100), 2);
  EXPECT_THAT(Pass(2), IsEmpty());
  Gone(second, 3);
  EXPECT_THAT(Pass(3), ElementsAre("start 10"));
  EXPECT_EQ(scheduler->nominated(), 0U);
  EXPECT_TRUE(engine->Audit().has_value());
}

TEST_F(Eviction, EqualsAndHigherOnesAreLeftAlone) {
  Submit(Job(10, 1, 100), 1);
  EXPECT_THAT(Pass(1), IsEmpty());
  EXPECT_EQ(scheduler->work().eviction_plans, 0U);
}

TEST_F(Eviction, VictimsDoNotEvictInTurn) {
  Submit(Of(Job(20, 1, 100), "", 3), 1);
  const std::vector<std::string> said = Pass(1);  // one low job leaves for job 20
  ASSERT_EQ(said.size(), 2U);
  Gone(std::stoull(said[0].substr(6)), 2);
  EXPECT_THAT(Pass(2), ElementsAre("start 20"));
  // Job 30 needs all: three low ones and job 20 leave. Job 20 comes again at once: it would have
  // had the right to evict a low one.
  Submit(Of(Job(30, 2, 100), "", 9), 3);
  Submit(Job(40, 1, 100), 3);
  const std::vector<std::string> more = Pass(3);
  ASSERT_EQ(more.size(), 3U);
  EXPECT_EQ(more[2], "nominate 30");
  const std::uint64_t victim = std::stoull(more[0].substr(6));
  Gone(victim, 3);
  Submit(Of(Job(victim, 1, 100), "", 3), 3, 1);
  EXPECT_THAT(Pass(3), IsEmpty());
  EXPECT_THAT(Pass(4), IsEmpty());  // still making room for job 30
  Gone(std::stoull(more[1].substr(6)), 5);
  const std::vector<std::string> settled = Pass(5);
  ASSERT_GE(settled.size(), 1U);
  EXPECT_EQ(settled[0], "start 30");
}

TEST_F(Eviction, ACancelledPreemptorSparesWhoIsStillThere) {
  Submit(Of(Job(10, 2, 100), "", 5), 1);
  const std::vector<std::string> said = Pass(1);
  ASSERT_EQ(said.size(), 3U);
  const std::string second = said[1].substr(6, said[1].find(" for") - 6);
  Gone(std::stoull(said[0].substr(6)), 2);
  EXPECT_TRUE(scheduler->Cancel(PodUid{0x10b, 10}, SimTime{3}));
  EXPECT_EQ(scheduler->nominated(), 0U);
  Submit(Job(11, 1, 100), 3);
  EXPECT_THAT(Pass(3), ElementsAre("spare " + second, "start 11"));
  EXPECT_TRUE(engine->Audit().has_value());
}

TEST_F(Eviction, MinimumRuntimesAreWaitedFor) {
  for (std::uint64_t i = 1; i <= 4; ++i) Gone(i, 1);
  for (std::uint64_t i = 5; i <= 8; ++i) {
    JobRequest request = MakeJob(*engine, Job(i, 1, 100));
    request.standing.min_runtime_us = 60 * kSecond;
    ASSERT_TRUE(scheduler->Submit(request, SimTime{1}).has_value());
  }
  EXPECT_EQ(Pass(1).size(), 4U);
  Submit(Of(Job(10, 1, 100), "", 5), 2);
  EXPECT_THAT(Pass(2), IsEmpty());
  const std::optional<SimTime> next = scheduler->NextPass();
  ASSERT_TRUE(next.has_value());
  EXPECT_EQ(next->us, 1 + 60 * kSecond);
  EXPECT_EQ(Pass(next->us).size(), 2U);
}

// Pods that were bound by somebody else have minimum runtimes too.
TEST(Foreign, MinimumRuntimesAreWaitedFor) {
  auto engine = Cluster(1, 1);
  SchedulerOptions options = Options(Backfill::kNone, JobOrder::kPriority);
  options.evict = true;
  JobScheduler scheduler(*engine, options);
  PodObserved pod{Uid(1), 0, Ask(1000, 1, 1000), 0, "n0", CardSet(1)};
  pod.standing.min_runtime_us = 60 * kSecond;
  ASSERT_TRUE(engine->Apply(pod, SimTime{7}).has_value());
  ASSERT_TRUE(scheduler.Submit(MakeJob(*engine, Of(Job(10, 1, 100), "", 5)), SimTime{8}));
  EXPECT_THAT(scheduler.Schedule(SimTime{8}), IsEmpty());
  const std::optional<SimTime> next = scheduler.NextPass();
  ASSERT_TRUE(next.has_value());
  EXPECT_EQ(next->us, 7 + 60 * kSecond);
  EXPECT_THAT(scheduler.Schedule(SimTime{next->us - 1}), IsEmpty());
  const std::vector<Action> actions = scheduler.Schedule(*next);
  ASSERT_EQ(actions.size(), 2U);
  EXPECT_EQ(actions[0].kind, Action::Kind::kEvict);
  EXPECT_EQ(actions[0].pod, Uid(1));
}

// A lease of somebody else's that is confirmed late begins to count then.
TEST(Foreign, MinimumRuntimesBeginWithTheConfirm) {
  auto engine = Cluster(1, 1);
  SchedulerOptions options = Options(Backfill::kNone, JobOrder::kPriority);
  options.evict = true;
  JobScheduler scheduler(*engine, options);
  Request foreign = For(*engine, Ask(1000, 1, 1000), 1);
  foreign.standing.min_runtime_us = 100 * kSecond;
  const auto lease =
      engine->Reserve(foreign, engine->Propose(foreign, SimTime{}).placement, SimTime{});
  ASSERT_TRUE(lease.has_value());
  ASSERT_TRUE(scheduler.Submit(MakeJob(*engine, Of(Job(10, 1, 100), "", 5)), SimTime{1}));
  EXPECT_THAT(scheduler.Schedule(SimTime{1}), IsEmpty());
  ASSERT_TRUE(engine->Confirm(*lease, SimTime{20 * kSecond}).has_value());
  std::vector<std::int64_t> passes;
  std::vector<Action> actions;
  while (actions.empty() && scheduler.NextPass() && passes.size() < 10) {
    passes.push_back(scheduler.NextPass()->us);
    actions = scheduler.Schedule(*scheduler.NextPass());
  }
  ASSERT_FALSE(passes.empty());
  EXPECT_EQ(passes.back(), 120 * kSecond);
  EXPECT_LE(passes.size(), 2U);
  EXPECT_EQ(actions.size(), 2U);
}

TEST_F(Eviction, AMinimumRuntimeWithoutEndNeverEnds) {
  for (std::uint64_t i = 1; i <= 4; ++i) Gone(i, 1);
  for (std::uint64_t i = 5; i <= 8; ++i) {
    JobRequest request = MakeJob(*engine, Job(i, 1, 100));
    request.standing.min_runtime_us = std::numeric_limits<std::int64_t>::max();
    ASSERT_TRUE(scheduler->Submit(request, SimTime{1}).has_value());
  }
  EXPECT_EQ(Pass(1).size(), 4U);
  Submit(Of(Job(10, 1, 100), "", 5), 2);
  EXPECT_THAT(Pass(2), IsEmpty());
  EXPECT_FALSE(scheduler->NextPass().has_value());
}

TEST(Quota, PendingCountsTheSku) {
  auto engine = Cluster(1, 2);
  AddQueue(*engine, "a");
  const QueueId a = *engine->queues().Find("a");
  const auto pending = [&] {
    const auto sku = engine->queues().resources().Find("sku/small");
    return sku ? engine->queues().pending(a)[*sku] : -1;
  };
  JobScheduler scheduler(*engine, Options(Backfill::kNone));
  for (std::uint64_t i = 1; i <= 2; ++i) {
    JobRequest job = MakeJob(*engine, Of(Job(i, 1, 10), "a"));
    if (i == 2) job.spec.tasks[0].min = job.spec.tasks[0].max = 3;
    job.standing.sku = "small";
    ASSERT_TRUE(scheduler.Submit(job, SimTime{}).has_value());
  }
  EXPECT_EQ(pending(), 4);
  EXPECT_TRUE(scheduler.Cancel(PodUid{0x10b, 2}, SimTime{}));
  EXPECT_EQ(pending(), 1);
}

// A dry run between two passes is no event: promises stay, and nothing is planned again.
TEST(Backfill, DryRunsBetweenPassesChangeNothing) {
  auto engine = Cluster(2, 4);
  JobScheduler scheduler(*engine, Options(Backfill::kEasy));
  const auto submit = [&](const TestJob& job, std::int64_t now) {
    ASSERT_TRUE(scheduler.Submit(MakeJob(*engine, job), SimTime{now}).has_value());
  };
  submit(Job(1, 4, 100), 0);
  submit(Job(2, 3, 200), 0);
  submit(Job(3, 4, 50), 0);
  submit(Job(4, 1, 1000), 0);
  scheduler.Schedule(SimTime{});
  ASSERT_EQ(scheduler.ReservedStart(PodUid{0x10b, 3}), SimTime{100 * kSecond});
  const std::uint64_t plans = scheduler.work().plans;
  const auto pass = [&](std::int64_t now) {
    submit(Job(static_cast<std::uint64_t>(now), 4, 2000), now);  // something to try
    EXPECT_THAT(scheduler.Schedule(SimTime{now}), IsEmpty());
    EXPECT_EQ(scheduler.ReservedStart(PodUid{0x10b, 3}), SimTime{100 * kSecond});
    EXPECT_EQ(scheduler.work().plans, plans);
  };
  const Request probe = For(*engine, Ask(1000, 4, 1000), 77);
  {
    Trial trial(*engine);
    const Allocation* one = engine->Find(PodUid{0x10b, 1});
    trial.Give({one->shape, {one->node, one->cards, 0, 0, one->numa}});
    trial.Take({probe.shape, trial.PlaceOn(probe, probe.shape, one->node)});
  }
  pass(11);
  Request high = probe;
  high.standing.priority = 9;
  EXPECT_TRUE(engine->ProposeEviction(high, EvictionRules{}, SimTime{12}).found);
  pass(13);
  {
    // Longer than the change log.
    Trial trial(*engine);
    const Allocation* one = engine->Find(PodUid{0x10b, 1});
    const Trial::Place place{one->shape, {one->node, one->cards, 0, 0, one->numa}};
    for (int i = 0; i < 3000; ++i) {
      trial.Give(place);
      trial.Take(place);
    }
  }
  pass(14);
  // A selector nobody used before reclassifies nodes, and moves none.
  RequestSpec labelled = Ask(1000, 1, 1000);
  labelled.node_selector = {{"never", "seen"}};
  ASSERT_TRUE(engine->InternShape(labelled).has_value());
  pass(15);
  // What does change something is still noticed.
  ASSERT_TRUE(engine->Apply(NodeCordoned{"n0", true}, SimTime{16}).has_value());
  scheduler.Schedule(SimTime{16});
  EXPECT_FALSE(scheduler.ReservedStart(PodUid{0x10b, 3}).has_value());
}

// A promise is for places that the queue may have.
TEST(Backfill, APromiseKeepsToTheModelsOfItsQueue) {
  auto engine = MakeEngine("best-fit", {Node("a", 96'000, 2, "A100"), Node("h", 96'000, 1, "H20")});
  World world(std::move(engine), Options(Backfill::kEasy));
  AddQueue(world.engine(), "q", 1, {{"gpu/A100", 1000}});
  const auto on = [](TestJob job, const char* model) {
    job.spec.models = {model};
    return job;
  };
  world.Add({Of(on(Job(1, 1, 1000), "A100"), "q"), on(Job(2, 1, 100), "H20"),
             Of(Job(3, 1, 10, 1), "q"), on(Job(4, 1, 500, 2), "A100")});
  world.Run();
  EXPECT_EQ(world.StartOf(3), 100);
  EXPECT_EQ(world.StartOf(4), 2);  // it is in nobody's way
}

// The queue's own end frees what it may have: the promise is for then.
TEST(Backfill, APromiseCountsWhatItsQueueGivesBack) {
  auto engine = MakeEngine("best-fit", {Node("a", 96'000, 2, "A100"), Node("h", 96'000, 1, "H20")});
  World world(std::move(engine), Options(Backfill::kEasy));
  AddQueue(world.engine(), "q", 1, {{"gpu/A100", 1000}});
  const auto on = [](TestJob job, const char* model) {
    job.spec.models = {model};
    return job;
  };
  world.Add({Of(on(Job(1, 1, 50), "A100"), "q"), on(Job(2, 1, 100), "H20"),
             Of(Job(3, 1, 10, 1), "q"), on(Job(4, 1, 500, 2), "A100")});
  while (world.StartOf(4) < 0) world.Step();
  EXPECT_EQ(world.StartOf(4), 2);
  EXPECT_EQ(world.scheduler().ReservedStart(PodUid{0x10b, 3}), SimTime{50 * kSecond});
  world.Run();
  EXPECT_EQ(world.StartOf(3), 50);
}

TEST(Backfill, APromiseToAGangKeepsToTheModelsOfItsQueue) {
  auto engine = MakeEngine("best-fit", {Node("a", 96'000, 3, "A100"), Node("h", 96'000, 2, "H20")});
  World world(std::move(engine), Options(Backfill::kEasy));
  AddQueue(world.engine(), "q", 1, {{"gpu/A100", 1000}});
  const auto on = [](TestJob job, const char* model) {
    job.spec.models = {model};
    return job;
  };
  TestJob gang = Of(Job(3, 1, 10, 1), "q");
  gang.members = 2;
  world.Add({Of(on(Job(1, 1, 1000), "A100"), "q"), on(Job(2, 2, 100), "H20"), gang,
             on(Job(4, 2, 500, 2), "A100")});
  world.Run();
  EXPECT_EQ(world.StartOf(3), 100);
  EXPECT_EQ(world.StartOf(4), 2);
}

TEST(Backfill, APromiseKeepsToTheOversubscriptionOfItsQueue) {
  NodeSpec node = Node("n", 96'000, 1, "T4", 10'000);
  node.cards[0].memory_ratio_percent = 200;
  World world(MakeEngine("best-fit", {node}), Options(Backfill::kEasy));
  QueueSpec queue;
  queue.name = "q";
  queue.memory_ratio_percent = 150;
  ASSERT_TRUE(world.engine().Apply(QueueSet{queue}, SimTime{}).has_value());
  const auto of = [](TestJob job, MiB memory) {
    job.spec = Ask(1000, 1, 100);
    job.spec.gpu_memory_mib = memory;
    job.spec.service_class = ServiceClass::kBestEffort;
    return job;
  };
  world.Add({Of(of(Job(1, 1, 100), 8000), "q"), Of(of(Job(2, 1, 10, 1), 8000), "q"),
             of(Job(3, 1, 500, 2), 5000)});
  world.Run();
  EXPECT_EQ(world.StartOf(3), 2);
  EXPECT_EQ(world.StartOf(2), 100);
}

TEST(Reclaim, AQueueGetsItsShareBack) {
  auto engine = Cluster(1, 4);
  AddQueue(*engine, "a");
  AddQueue(*engine, "b");
  SchedulerOptions options = Options(Backfill::kNone, JobOrder::kFairShare);
  options.evict = true;
  JobScheduler scheduler(*engine, options);
  for (std::uint64_t i = 1; i <= 6; ++i) {
    ASSERT_TRUE(scheduler.Submit(MakeJob(*engine, Of(Job(i, 1, 100), "a")), SimTime{}));
  }
  EXPECT_EQ(scheduler.Schedule(SimTime{}).size(), 4U);
  for (std::uint64_t i = 11; i <= 14; ++i) {
    ASSERT_TRUE(scheduler.Submit(MakeJob(*engine, Of(Job(i, 1, 100), "b")), SimTime{1}));
  }
  int evicted = 0;
  for (const Action& action : scheduler.Schedule(SimTime{1})) {
    if (action.kind != Action::Kind::kEvict) continue;
    ++evicted;
    EXPECT_EQ(action.why, EvictionReason::kReclaim);
  }
  EXPECT_EQ(evicted, 2);
  EXPECT_EQ(scheduler.nominated(), 2U);
  EXPECT_THAT(scheduler.Schedule(SimTime{2}), IsEmpty());
}

// A long queue that cannot start costs next to nothing an event.
TEST(Work, AnEventDoesNotLookAtAllThatWait) {
  World world(Cluster(4, 8), Options(Backfill::kEasy, JobOrder::kPriority));
  for (std::uint64_t i = 0; i < 20'000; ++i) {
    TestJob job = Job(i, 1 + static_cast<int>(i % 4) * 2, 100 + static_cast<std::int64_t>(i % 7));
    job.priority = static_cast<std::int32_t>(i % 3);
    world.Add(job);
  }
  world.Step();
  const SchedulerWork before = world.scheduler().work();
  std::uint64_t events = 0;
  while (world.scheduler().waiting() > 18'000) {
    world.Step();
    ++events;
  }
  const SchedulerWork& after = world.scheduler().work();
  const std::uint64_t started = 20'000 - world.scheduler().waiting();
  // Twelve classes of four questions; each start asks once, and each event at most once a question
  // and once a job that is held back.
  EXPECT_LE(after.asked - before.asked, started + 4 * events + 110 * events);
  EXPECT_LE(after.tried - before.tried, started + 120 * events);
  // Nothing happens: nothing is asked.
  const SchedulerWork idle = world.scheduler().work();
  for (int i = 0; i < 100; ++i) EXPECT_THAT(world.scheduler().Schedule(SimTime{}), IsEmpty());
  EXPECT_EQ(world.scheduler().work().asked, idle.asked);
}

}  // namespace
}  // namespace basalt::support
