#include "test/support/story.h"

#include "scheduler-core/base/check.h"
#include "test/support/cluster.h"
#include "test/support/random_world.h"

namespace basalt::support {

std::unique_ptr<Story> Tell(std::uint64_t seed, const std::string& policy, int steps) {
  auto story = std::make_unique<Story>();
  World world(seed, {});
  EngineOptions options;
  options.seed = seed;
  options.journal = &story->journal;
  options.lease_ttl_us = 3;
  story->engine = MakeEngine(policy, world.nodes, options);
  for (int i = 0; i < steps; ++i) {
    const SimTime now{i};
    const Step step = world.Next();
    const auto* arrive = std::get_if<Arrive>(&step);
    if (arrive != nullptr && arrive->uid % 3 == 0) {  // reserved and left to expire
      const Request request = For(*story->engine, world.shapes[arrive->shape], arrive->uid,
                                  arrive->attempt, arrive->job);
      const Outcome outcome = story->engine->Propose(request, now);
      if (outcome.placed()) {
        BASALT_CHECK(story->engine->Reserve(request, outcome.placement, now).has_value());
      }
    } else {
      Play(*story->engine, world, step, now);
    }
    if (i % 4 == 0) story->engine->Expire(now);
  }
  return story;
}

}  // namespace basalt::support
