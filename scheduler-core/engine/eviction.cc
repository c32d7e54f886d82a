#include "scheduler-core/engine/eviction.h"

#include "scheduler-core/engine/engine.h"

namespace basalt {

EvictionPlan Engine::ProposeEviction(const Request&, const EvictionRules&, SimTime,
                                     const FairShares*) {
  return {};
}
Result<EvictionPlan> Engine::ProposeEviction(const GangRequest&, const EvictionRules&, SimTime,
                                             const FairShares*) {
  return EvictionPlan{};
}

}  // namespace basalt
