// The event queue of the platform simulator: by time, then kind (what ends before what begins),
// then the order in which they were added.
#pragma once

#include <cstdint>
#include <queue>
#include <vector>

namespace basalt::sim {

enum class EventKind : std::uint8_t {
  kWarmupEnd,
  kUnitDone,          // a: unit, b: version; its work or its time is over
  kUnitGone,          // a: unit, b: attempt; it has left its place after being told to
  kNodeFailed,        // a: node
  kNodeBack,          // a: node
  kMaintenance,       // a: index
  kMaintenanceEvict,  // a: index
  kMaintenanceOver,   // a: index
  kNodesCome,         // a: group
  kCardDrained,       // a: card
  kUnitReady,         // a: unit, b: attempt; starts to work
  kCommitted,         // a: unit, b: attempt; its image is safe, it exits
  kCheckpoint,        // a: unit, b: attempt
  kDemand,            // all services
  kUserLeaves,        // a: user, b: session
  kUserEnds,          // a: user, b: tenure
  kUserComes,         // a: user, b: session
  kBurst,             // a: user, b: session
  kArrival,           // a: source
  kSubmit,            // a: unit, b: attempt; queued again after a delay
  kLadder,            // a: card, b: version
  kSliceBack,         // a: card; an offloaded slice is back
  kMeasure,           // idle environments
  kLease,             // a: unit, b: attempt
  kPools,
  kRetry,  // a: unit, b: attempt
  kPass,   // a: cluster
};

struct PlatformEvent {
  std::int64_t at = 0;
  std::uint64_t sequence = 0;
  EventKind kind = EventKind::kDemand;
  std::uint32_t a = 0;
  std::uint32_t b = 0;
};

class EventQueue {
 public:
  void Add(std::int64_t at, EventKind kind, std::uint32_t a = 0, std::uint32_t b = 0) {
    heap_.push(PlatformEvent{at, next_++, kind, a, b});
  }
  bool empty() const { return heap_.empty(); }
  const PlatformEvent& top() const { return heap_.top(); }
  PlatformEvent Pop() {
    PlatformEvent event = heap_.top();
    heap_.pop();
    return event;
  }

 private:
  struct Later {
    bool operator()(const PlatformEvent& x, const PlatformEvent& y) const {
      if (x.at != y.at) return x.at > y.at;
      if (x.kind != y.kind) return x.kind > y.kind;
      return x.sequence > y.sequence;
    }
  };
  std::priority_queue<PlatformEvent, std::vector<PlatformEvent>, Later> heap_;
  std::uint64_t next_ = 0;
};

}  // namespace basalt::sim
