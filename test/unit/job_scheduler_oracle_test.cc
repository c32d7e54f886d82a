// The job scheduler against one that is slow and obvious, and what backfilling promises, on random
// histories.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "scheduler-core/base/rng.h"
#include "test/support/cluster.h"
#include "test/support/gangs.h"
#include "test/support/jobs.h"

namespace basalt::support {
namespace {

struct Story {
  std::vector<NodeSpec> nodes;
  std::vector<TestJob> jobs;
  std::vector<QueueSpec> queues;
};

struct StoryOptions {
  bool exact = false;  // every estimate is the run time
  bool gangs = true;
  bool priorities = true;
  int jobs = 40;
};

Story RandomStory(std::uint64_t seed, const StoryOptions& options) {
  Rng rng(seed);
  Story story;
  const int racks = 1 + static_cast<int>(rng.Below(2));
  story.nodes =
      Racks(racks, 1 + static_cast<int>(rng.Below(3)), 2 + static_cast<int>(rng.Below(3)));
  for (NodeSpec& node : story.nodes) node.cpu_milli = 16'000 + 4000 * rng.Below(4);
  for (const char* name : {"a", "b", "c"}) {
    QueueSpec queue;
    queue.name = name;
    queue.weight = static_cast<std::int32_t>(1 + rng.Below(3));
    story.queues.push_back(queue);
  }
  std::int64_t at = 0;
  for (int i = 0; i < options.jobs; ++i) {
    TestJob job;
    job.id = static_cast<std::uint64_t>(i);
    at += rng.Below(3) == 0 ? 0 : rng.Below(40);
    job.submit_s = at;
    switch (rng.Below(5)) {
      case 0:
        job.spec = Ask(4000);
        break;
      case 1:
        job.spec = Ask(2000, 1, 250 * static_cast<MilliGpu>(1 + rng.Below(3)));
        break;
      default:
        job.spec = Ask(2000, 1 + static_cast<int>(rng.Below(4)), 1000);
        break;
    }
    if (options.gangs && rng.Below(5) == 0) {
      job.members = 2 + static_cast<std::int32_t>(rng.Below(2));
      if (rng.Below(2) == 0) job.level = {kRack, kRack};
    }
    job.queue = story.queues[rng.Below(3)].name;
    if (options.priorities) job.priority = static_cast<std::int32_t>(rng.Below(3));
    job.run_s = 10 * (1 + rng.Below(15));
    job.estimate_s = job.run_s;
    if (!options.exact) {
      const std::uint32_t kind = rng.Below(6);
      if (kind == 0) job.estimate_s = -1;
      if (kind == 1) job.estimate_s = 1 + rng.Below(200);
      if (kind == 2) job.estimate_s = 2 * job.run_s;
    }
    story.jobs.push_back(job);
  }
  return story;
}

std::unique_ptr<Engine> EngineOf(const Story& story) {
  auto engine = GangEngine(story.nodes, {}, "best-fit");
  for (const QueueSpec& queue : story.queues) {
    EXPECT_TRUE(engine->Apply(QueueSet{queue}, SimTime{}).has_value());
  }
  return engine;
}

std::string NameOf(const SchedulerOptions& options) {
  return fmt::format("order {} backfill {} depth {}", static_cast<int>(options.order),
                     static_cast<int>(options.backfill), options.depth);
}

TEST(JobSchedulerOracle, SameActionsAsTryingEveryJob) {
  const int rounds = Scaled(60);
  std::int64_t actions = 0;
  for (int round = 0; round < rounds; ++round) {
    for (const JobOrder order : {JobOrder::kFifo, JobOrder::kPriority, JobOrder::kFairShare}) {
      for (const Backfill backfill : {Backfill::kStrict, Backfill::kNone, Backfill::kEasy}) {
        const auto seed = static_cast<std::uint64_t>(round);
        const Story story = RandomStory(seed, {});
        SchedulerOptions options;
        options.order = order;
        options.backfill = backfill;
        options.depth = round % 3 == 0 ? 2 : 100;
        SCOPED_TRACE(fmt::format("seed {} {}", seed, NameOf(options)));
        JobWorld<JobScheduler> fast(EngineOf(story), options);
        JobWorld<SlowScheduler> slow(EngineOf(story), options);
        slow.scheduler().policy = Policy("best-fit");
        slow.scheduler().engine_options.target = SmallTarget();
        fast.Add(story.jobs);
        slow.Add(story.jobs);
        fast.Run();
        slow.Run();
        const auto at = std::mismatch(fast.log().begin(), fast.log().end(), slow.log().begin(),
                                      slow.log().end());
        ASSERT_TRUE(at.first == fast.log().end() && at.second == slow.log().end())
            << (at.first == fast.log().end() ? "nothing" : *at.first) << " instead of "
            << (at.second == slow.log().end() ? "nothing" : *at.second);
        actions += static_cast<std::int64_t>(fast.log().size());
        ASSERT_EQ(fast.scheduler().waiting(), 0U);
        ASSERT_EQ(fast.engine().StateDigest(), slow.engine().StateDigest());
      }
    }
  }
  EXPECT_GT(actions, rounds * 200);
}

// With exact estimates the head starts no later than it would have if nobody had passed it from
// the moment at which it became the head: the shadow that the slow scheduler finds by replaying.
TEST(JobSchedulerOracle, EasyNeverDelaysTheHead) {
  const int rounds = Scaled(60);
  std::int64_t heads = 0;
  for (int round = 0; round < rounds; ++round) {
    const auto seed = static_cast<std::uint64_t>(1000 + round);
    SCOPED_TRACE(fmt::format("seed {}", seed));
    StoryOptions story_options;
    story_options.exact = true;
    story_options.priorities = false;
    const Story story = RandomStory(seed, story_options);
    SchedulerOptions options;
    options.order = JobOrder::kFifo;
    options.backfill = Backfill::kEasy;
    JobWorld<SlowScheduler> slow(EngineOf(story), options);
    slow.scheduler().policy = Policy("best-fit");
    slow.scheduler().engine_options.target = SmallTarget();
    slow.Add(story.jobs);
    slow.Run();
    JobWorld<JobScheduler> fast(EngineOf(story), options);
    fast.Add(story.jobs);
    fast.Run();
    for (const auto& [uid, shadow] : slow.scheduler().shadows) {
      ++heads;
      EXPECT_LE(fast.StartOf(uid.lo) * kSecond, shadow) << "job " << uid.lo;
    }
  }
  EXPECT_GT(heads, rounds);
}

// With exact estimates no reservation ever moves later, and every job starts at the latest when it
// was first promised to.
TEST(JobSchedulerOracle, ConservativeReservationsNeverMoveLater) {
  const int rounds = Scaled(100);
  std::int64_t promised = 0, backfilled = 0;
  for (int round = 0; round < rounds; ++round) {
    const auto seed = static_cast<std::uint64_t>(2000 + round);
    SCOPED_TRACE(fmt::format("seed {}", seed));
    StoryOptions story_options;
    story_options.exact = true;
    story_options.priorities = false;
    story_options.jobs = 60;
    const Story story = RandomStory(seed, story_options);
    SchedulerOptions options;
    options.order = round % 2 == 0 ? JobOrder::kFifo : JobOrder::kFairShare;
    options.backfill = Backfill::kConservative;
    options.depth = round % 3 == 0 ? 5 : 100;
    JobWorld<JobScheduler> world(EngineOf(story), options);
    world.Add(story.jobs);
    std::map<std::uint64_t, std::int64_t> promise;
    world.after_pass = [&](std::int64_t) {
      for (const TestJob& job : story.jobs) {
        const auto start = world.scheduler().ReservedStart(PodUid{0x10b, job.id});
        if (!start) continue;
        const auto [it, is_new] = promise.try_emplace(job.id, start->us);
        EXPECT_LE(start->us, it->second) << "job " << job.id;
        it->second = std::min(it->second, start->us);
      }
    };
    world.Run();
    for (const auto& [id, start] : promise) {
      ++promised;
      EXPECT_LE(world.StartOf(id) * kSecond, start) << "job " << id;
    }
    std::int64_t latest = 0;
    for (const TestJob& job : story.jobs) {
      if (world.StartOf(job.id) < 0) continue;  // infeasible
      backfilled += world.StartOf(job.id) < latest ? 1 : 0;
      latest = std::max(latest, world.StartOf(job.id));
    }
  }
  EXPECT_GT(promised, rounds * 3);
  EXPECT_GT(backfilled, rounds);
}

// Whatever estimates are worth, a limit bounds the wait: from then on nobody passes who has come
// later, so the longest that runs or waits before it, one after another.
TEST(JobSchedulerOracle, EverythingEndsUnderEveryMode) {
  const int rounds = Scaled(40);
  for (int round = 0; round < rounds; ++round) {
    const auto seed = static_cast<std::uint64_t>(3000 + round);
    const Story story = RandomStory(seed, {});
    for (const Backfill backfill :
         {Backfill::kStrict, Backfill::kNone, Backfill::kEasy, Backfill::kConservative}) {
      for (const std::int64_t limit : {0, 200}) {
        SchedulerOptions options;
        options.order = static_cast<JobOrder>(round % 3);
        options.backfill = backfill;
        options.starvation_us = limit * kSecond;
        SCOPED_TRACE(fmt::format("seed {} {} limit {}", seed, NameOf(options), limit));
        JobWorld<JobScheduler> world(EngineOf(story), options);
        world.Add(story.jobs);
        int steps = 0;
        while (!world.Done()) {
          world.Step();
          ASSERT_LT(++steps, 20'000);
        }
        EXPECT_EQ(world.scheduler().waiting(), 0U);
        EXPECT_EQ(world.engine().allocation_count(), 0U);
        EXPECT_TRUE(world.engine().Audit().has_value());
      }
    }
  }
}

}  // namespace
}  // namespace basalt::support
