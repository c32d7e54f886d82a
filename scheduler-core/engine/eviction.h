// Making room: which running pods give way to a pod or a gang that does not fit, and holding the
// room for it while they leave.
//
// A plan is a value, like an outcome: a dry run in a transaction finds it and changes nothing.
// Nominating carries it out in the state: the preemptor takes its places at once, beside victims
// that are still there, so that a card that comes free goes to whom it was freed for. A node with
// a nomination is overdrawn until its victims are gone; what is negative takes nothing more, and
// the nomination cannot be confirmed before. Victims are told to leave by the caller (sim, server);
// they end by Release, PodGone or ending their lease.
//
// Victims are cheapest first, lexicographically: disruption budgets that would be broken (none may,
// unless allowed); the highest priority among them as low as can be; gangs broken; lost work
// (milli-GPU x time since the last checkpoint, plus restart); how many. A gang that would fall
// below its min loses all its members, and they count together. No cascades: a victim never
// preempts in turn for what it lost in the same pass, and a nominated preemptor is nobody's victim
// before its lease is confirmed. Sources: algorithms of KAI, Kubernetes and Goedel, docs/queues.md.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "scheduler-core/base/units.h"
#include "scheduler-core/engine/outcome.h"
#include "scheduler-core/workload/gang.h"
#include "scheduler-core/workload/request.h"

namespace basalt {

enum class EvictionReason : std::uint8_t {
  kPreempt,  // the preemptor has the higher priority (in its own queue, or anywhere if allowed)
  kReclaim,  // its queue is within its fair share, the victims' queues are over theirs
};

struct EvictionRules {
  bool preempt = true;  // lower priorities give way
  bool preempt_across_queues = true;
  bool reclaim = true;  // queues over their share give way to queues within theirs
  std::int64_t max_victims = 100'000;
  bool break_budgets = false;  // disruption budgets may be broken when nothing else helps
  // Reclaim stops when the reclaimer's share times this per mille would pass the victims' queue's
  // (KAI's reclaimerUtilizationMultiplier): prevents two queues from taking turns.
  std::int32_t reclaim_ratio_milli = 1000;
};

struct Victim {
  PodUid uid;
  NodeId node;
  std::int32_t priority = 0;
  std::string queue;
  PodUid gang;                     // zero: of none
  std::int64_t lost_milli_us = 0;  // milli-GPU x us of work that is lost
  EvictionReason why = EvictionReason::kPreempt;
};

struct EvictionPlan {
  bool found = false;
  std::string reason;           // why not, when not found
  std::vector<Victim> victims;  // in the order they were chosen
  // Disruptions beyond what budgets allow, where the rules let budgets be broken.
  std::int64_t beyond_budgets = 0;
  Placement placement;  // of a single pod
  GangOutcome gang;     // of a gang
};

}  // namespace basalt
