// What queues held in the past, with a half-life: an exponentially weighted average of the
// allocation, in the resource's own units. After holding `a` for one half-life the usage is a/2,
// after two 3a/4; what was held h half-lives ago counts 2^-h. Integer arithmetic only, so that the
// same history gives the same shares on every machine.
#pragma once

#include <cstdint>
#include <vector>

#include "scheduler-core/base/ids.h"
#include "scheduler-core/base/units.h"
#include "scheduler-core/queueing/queue_tree.h"

namespace basalt {

// 2^-(elapsed / half_life), times 2^62. Both in the same unit, elapsed >= 0, half_life > 0;
// relative error below 2^-54.
std::int64_t DecayFactor(std::int64_t elapsed, std::int64_t half_life);

class DecayedUsage {
 public:
  explicit DecayedUsage(std::int64_t half_life_us, SimTime start);  // half_life_us > 0

  // Brings the leaf and all above it to `now`, with what they have held since the last call. Call
  // it before each Charge and Uncharge of the leaf; `now` never goes back.
  void Advance(const QueueTree& tree, QueueId leaf, SimTime now);
  // All queues: before a division.
  void AdvanceAll(const QueueTree& tree, SimTime now);
  // Drops what a removed queue used: call it when a queue was removed, before its id is reused.
  void Forget(QueueId queue, SimTime now);

  std::int64_t usage(QueueId queue, ResourceId resource) const;  // as of its last advance

 private:
  struct Average {
    SimTime at;
    std::vector<std::int64_t> values;  // by resource, 2^-20 units
  };
  void AdvanceOne(const QueueTree& tree, QueueId queue, SimTime now);
  Average& Of(QueueId queue);

  std::int64_t half_life_us_;
  SimTime start_;
  std::int64_t last_elapsed_ = -1;  // the last factor: many queues advance by the same time
  std::int64_t last_factor_ = 0;
  IdVector<QueueId, Average> averages_;
};

}  // namespace basalt
