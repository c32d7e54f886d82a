// The things that a platform run keeps: cards, slices, units, and who owns them. All refer to each
// other by index (dense, never reused except slices), so that the state is plain data.
//
// A unit is what is queued and placed as one: a service replica, an environment, a virtual machine,
// a job (a gang is one). It is placed many times in its life: each placement is an attempt.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "scheduler-core/engine/engine.h"
#include "scheduler-core/engine/job_scheduler.h"
#include "sim/job_speed.h"
#include "sim/platform/draws.h"
#include "sim/platform/ledger.h"
#include "sim/platform/result.h"
#include "sim/platform/spec.h"

namespace basalt::sim::platform {

using Index = std::uint32_t;
inline constexpr Index kNone = 0xFFFFFFFF;
inline constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();

enum class LadderState : std::uint8_t {
  kFree,
  kThrottled,
  kBlocked,
  kOffloaded,  // its memory leaves until `moved_at`, then it is out
  kReturning,  // its memory comes back until `moved_at`
};

// A part of one card that a unit holds.
struct Slice {
  Index unit = kNone;
  Index card = kNone;
  std::int32_t milli = 0;
  std::int64_t memory_mib = 0;
  bool whole = false;
  bool guaranteed = true;
  LadderState ladder = LadderState::kFree;
  std::int64_t moved_at = 0;
  double use = 0;  // milli of the card that it wants now
  double rate = 0;
  double compute_factor = 1, memory_factor = 1;
  std::int64_t served_micro = 0;  // micro-GPU, as booked in the totals
};

enum class CardMove : std::uint8_t { kNo, kEmptying, kDraining };

struct Card {
  Index node = kNone;
  std::int32_t number = 0;
  bool passthrough = false;
  CardMove move = CardMove::kNo;  // to the other mode
  std::int64_t move_since = 0;
  std::vector<Index> slices;
  bool dirty = false;
  std::int64_t need_since = -1;   // high priority needs it since; -1: it does not
  std::int64_t quiet_since = -1;  // needed no more since, but not for long enough yet
  std::int32_t ladder_step = -1;  // taken last
  std::uint32_t ladder_version = 0;
  // Ledger of the card, in milli x us and us.
  std::int64_t booked_at = 0;
  std::int64_t allocated_milli = 0, served_micro = 0;
  bool compute_over = false, memory_over = false;
  double allocated = 0, served = 0, compute_over_us = 0, memory_over_us = 0;
};

struct Node {
  std::string name;
  Index cluster = 0;
  Index group = 0;
  NodeId id;
  Index first_card = 0;
  std::int64_t cpu_used = 0, memory_used = 0;  // really, by its pods
  double host_factor = 1;
  bool dirty = false;
  int cordons = 0;  // reasons to be cordoned: failure, maintenance
  bool down = false;
  std::int64_t down_since = 0;
  std::int32_t touched_cards = 0;
  std::vector<Index> units;  // with a pod here, once a pod
  Rng failures{0};
};

struct Group {
  const NodeGroupSpec* spec = nullptr;
  Index cluster = 0;
  Index first_node = 0;
  bool present = false;
  std::int64_t touched_cards = 0, touched_nodes = 0;
  std::int64_t booked_at = 0;
  double paid_us = 0;                          // card x us of capacity
  std::int64_t peak = 0;                       // cards rented at once
  double allocated = 0, served = 0, lost = 0;  // milli x us
};

// What one offer of a workload asks for.
struct Ask {
  std::vector<std::uint32_t> requests;  // by task, into World::requests_
  const GangJob* gang = nullptr;        // a trace's gang; else one task
  std::int64_t start_us = 0;
  std::int64_t after_us = 0;
  Index sku = kNone;
};

struct Option {
  Index cluster = 0;
  Index offer = 0;
  std::int64_t after_us = 0;
};

enum class Phase : std::uint8_t {
  kIdle,     // not wanted (an environment that is not there, a replica that is not needed)
  kDelayed,  // will be queued again
  kWaiting,
  kParked,    // waits, but no queue takes it before the cluster changes
  kStarting,  // has its place
  kRunning,
  kCommitting,  // its image is being saved, then it exits
  kLeaving,     // told to leave
  kGone,
};

enum class Leave : std::uint8_t {
  kFinished,   // its work or its time is over, or it is wanted no more
  kEvicted,    // by the queue, maintenance, a pool
  kLadder,     // by the ladder, killed
  kCommitted,  // image saved: by the ladder or by idle reclaim
  kFailed,     // its node went down
};

enum SlowCause : std::uint8_t { kNotSlow, kSlowCompute, kSlowMemory, kSlowHost, kSlowOther };

struct PodPlace {
  Index node = kNone;
  std::int64_t cpu = 0, memory = 0;  // really used
};

struct Unit {
  Index work = kNone;   // World::works_
  Index owner = kNone;  // service, user, or job record
  Index tenant = 0;
  Index first_ask = 0;
  std::int32_t pods = 1;
  std::int32_t priority = 0;
  bool high = false;
  Phase phase = Phase::kIdle;
  bool measured = false;  // first submitted after the warm-up
  bool placed_before = false;
  bool began = false;  // to work, in this placement
  Leave leaves_why = Leave::kEvicted;
  std::uint32_t leaving = 0;  // how often it was told to leave, and left or stayed
  bool nominated = false;
  bool submitted_now = false;    // to the scheduler of its option
  std::uint64_t infeasible = 0;  // bit i: option i will never take it
  bool dirty = false;
  Index option = 0;
  std::uint32_t attempt = 0;
  std::uint32_t version = 0;     // of its completion
  std::int64_t submitted = 0;    // first
  std::int64_t queued = 0;       // this time
  std::int64_t waits_since = 0;  // in a queue
  std::int64_t need_at = -1;     // its user has waited for it since, after a reclaim
  std::int64_t ready_at = 0;
  // Work, in us at full speed on the reference card; no end: negative.
  double work_left = -1;
  double work_total = 0;         // of jobs, for checkpoints
  double speed = 0;              // work per us
  double stretch = 1;            // by wiring
  double level = 0;              // of its full use, that it wants now
  double rate = 0;               // the least of its slices
  std::uint8_t slow = kNotSlow;  // slower than allowed, because of this
  double served_kept = 0;        // milli x us, booked as served and not lost
  double done = 0;               // work that served_kept belongs to
  double served_total = 0;       // milli x us, of all time
  std::int64_t run_us = 0;       // in places, after the start
  std::int64_t booked_at = 0;
  std::int64_t allocated_milli = 0;
  std::int64_t estimate_us = -1;
  std::int32_t comm_milli = 0;
  std::vector<Index> slices;
  std::vector<PodPlace> places;
};

// Is wanted and has not begun to work, with a place or without.
inline bool Waits(const Unit& unit) {
  return !unit.began && unit.phase != Phase::kIdle && unit.phase != Phase::kGone;
}

struct Work {  // a workload at run time
  const WorkloadSpec* spec = nullptr;
  WorkClass work_class = WorkClass::kTraining;
  Index number = 0;  // in its list of the spec
  Index tenant = kNone;
  std::string queue;
  Index first_ask = 0;
  Index offers = 0;
  std::vector<Option> options;
  WorkAccount account;
  Digest demand;
};

struct Cluster {
  const ClusterSpec* spec = nullptr;
  std::unique_ptr<Engine> engine;
  std::unique_ptr<JobScheduler> scheduler;
  std::unique_ptr<JobSpeed> speed;  // made when first needed
  std::vector<ShapeId> shapes;      // by request, as far as interned
  std::vector<Index> node_of;       // by engine's node id
  std::uint64_t freed = 1;          // grows when something may fit that did not
  // By ask: refused for so many pods when `freed` was this. Nothing came free since: still refused.
  std::vector<std::pair<std::uint64_t, std::int32_t>> refused;
  std::vector<Index> parked;
  bool pass_wanted = false;
  std::int64_t pass_at = kNever;  // the next pass that is planned
  std::int64_t last_pass = -1;
  bool more_nodes_come = false;
  std::int64_t overflowed_in = 0;
  // Waiting for it, first choice: for the pools.
  std::int64_t waiting_cards = 0;  // passthrough
  std::int64_t waiting_milli = 0;  // shared
};

struct Service {
  const ServiceSpec* spec = nullptr;
  Index work = 0;
  std::vector<Index> units;  // all it ever had
  std::int32_t desired = 0;
  std::int64_t below_since = -1;  // fewer would do since
  double load = 0;                // replicas' worth of demand, now
  bool refused = false;           // no replica can run anywhere
  bool dirty = false;
  std::int64_t booked_at = 0;
  double served = 0;   // replicas' worth, now
  double replica = 0;  // milli of the reference card that a replica uses at peak, all its cards
};

struct Burst {
  std::int64_t at = 0;
  double length = 0;  // us at full speed
  bool measured = false;
};

// Who works in an environment or a virtual machine.
struct User {
  Index work = 0;
  Index unit = 0;
  const SandboxSpec* sandbox = nullptr;  // else a VM
  Rng days{0};
  Rng bursts{0};
  bool present = false;
  bool gone = false;       // a VM that was given back
  bool reclaimed = false;  // its environment exited while it was away or thinking
  std::int64_t reclaimed_at = 0;
  std::uint32_t session = 0;
  std::uint32_t tenure = 0;
  std::int64_t session_end = 0;
  std::int64_t late_us = 0;  // a VM: from being asked for to working
  std::int64_t day = 0;      // of the session
  double next_length = 0;    // of the burst that comes next
  std::int64_t reclaimed_milli = 0;
  std::deque<Burst> backlog;
  std::deque<double> served_at;  // Unit::served_total at the last measurements, oldest first
};

// One job of a workflow; all are drawn when the workflow arrives.
struct JobPlan {
  std::int32_t pods = 1;
  std::int64_t duration_us = 0;
};
struct Workflow {
  Index work = 0;
  std::vector<JobPlan> steps;
  std::size_t next = 0;
};

// Where arrivals come from: training, virtual machines, a trace.
struct Source {
  Index work = 0;
  Rng times{0}, sizes{0}, lengths{0};
  std::vector<std::uint32_t> order;  // trace: first arrival of each job, by submit time
  std::vector<Index> asks;           // trace: by request and, after those, by gang
  std::size_t next = 0;
};

}  // namespace basalt::sim::platform
