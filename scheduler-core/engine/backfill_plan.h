// When the jobs that wait could start, if those that run end as expected: one reservation a
// protected job, with concrete places, and the test whether another job may start now without
// moving any of them.
//
// A reservation is found by walking the future in a Trial: what ends gives its places back, what
// was reserved earlier takes its own, and after each instant the job is tried on the nodes, with
// the engine's own feasibility. So fragments, cards, NUMA and network levels count, and so do the
// quotas of the job's queue, with what has come and gone in it by then. A reserved job must fit
// from its start to its end beside the reservations that start in between.
//
// Invariants:
//  - Admit never lets a reservation of the newcomer's tier or a higher one start later: those in
//    the way are planned again with the newcomer in place, and it is refused if one would move.
//  - As long as jobs end when they were expected to and nothing else touches the cluster, a
//    reservation is kept. An earlier end makes the first one be looked for afresh (the rest start
//    earlier when they fit); anything unexpected drops them all.
// Ends are estimates: a job that overruns is expected to take twice as long, again and again. A job
// of unknown length ends at kSomeDay, later than all that are known.
#pragma once

#include <tsl/robin_map.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "scheduler-core/engine/engine.h"
#include "scheduler-core/engine/trial.h"

namespace basalt {

inline constexpr std::int64_t kSomeDay = std::numeric_limits<std::int64_t>::max() / 2;

// A job as the plan sees it: a pod or a gang, and how long it runs (us; -1 unknown).
struct PlannedJob {
  PodUid uid;
  bool is_pod = true;
  Request pod;
  GangRequest gang;
  std::int64_t estimate_us = -1;
  // Reservations of lower tiers give way to those of higher ones.
  std::int64_t tier = 0;
  std::int64_t EndFrom(std::int64_t start) const;
  const Standing& standing() const { return is_pod ? pod.standing : gang.standing; }
};

// What a job would take, in the engine's words.
struct Proposal {
  Placement pod;
  GangOutcome gang;
  std::vector<Trial::Place> places;
};
std::vector<Trial::Place> PlacesOf(const PlannedJob& job, const Proposal& proposal);

struct Reservation {
  PlannedJob job;
  std::int64_t start = 0;  // us; kSomeDay: after jobs of unknown length
  std::int64_t end = 0;
  bool possible = true;  // false: not even when all that runs has ended; reserves nothing
  Proposal proposal;
};

class BackfillPlan {
 public:
  explicit BackfillPlan(Engine& engine) : engine_(engine) {}

  // --- what runs ---
  void Started(const PodUid& uid, bool is_pod, std::int64_t estimate_us, SimTime now);
  void Ended(const PodUid& uid, SimTime now);  // also: has left
  void AskedToLeave(const PodUid& uid, SimTime now);
  void MayStay(const PodUid& uid);  // after all
  // Overruns, and what happened to the cluster since EndPass. First in a pass.
  void BeginPass(SimTime now);
  void EndPass();
  // BeginPass has seen changes of the cluster that it was not told of.
  bool outside() const { return outside_; }
  // The first expected end; kSomeDay: none is known.
  std::int64_t NextEnd() const { return ends_.empty() ? kSomeDay : ends_.begin()->first; }

  // --- reservations ---
  // Makes reservations for the jobs, in this order, where they have none.
  void Protect(const std::vector<const PlannedJob*>& jobs, SimTime now);
  void Drop(const PodUid& uid);
  // Keeps the wanted reservations only.
  template <class Wanted>
  void DropUnless(const Wanted& wanted) {
    const auto gone = std::remove_if(reservations_.begin(), reservations_.end(),
                                     [&](const Reservation& r) { return !wanted(r); });
    if (gone == reservations_.end()) return;
    reservations_.erase(gone, reservations_.end());
    ++version_;
  }
  const Reservation* Find(const PodUid& uid) const;
  const std::vector<Reservation>& reservations() const { return reservations_; }
  // Whether the job may take these places now and keep them until its end. True: the reservations
  // that had to be moved to other places have been.
  bool Admit(const PlannedJob& job, const std::vector<Trial::Place>& places, SimTime now);
  // Changes whenever an answer of Admit could: what was refused need not be asked again before.
  std::uint64_t version() const { return version_; }
  std::uint64_t plans_made() const { return plans_made_; }

 private:
  struct UidHash {
    std::size_t operator()(const PodUid& uid) const {
      return uid.lo ^ (uid.hi * 0x9E3779B97F4A7C15);
    }
  };
  struct Running {
    bool is_pod = true;
    std::int64_t start = 0;
    std::int64_t end = 0;
    std::int64_t estimate_us = -1;
    SimTime started;
    std::vector<NodeId> nodes;  // one a pod
  };
  // A job that is about to start: taken now, given back at its end; its own reservation is void.
  struct Extra {
    PodUid uid;
    std::vector<Trial::Place> places;
    std::int64_t end = 0;
    Standing standing;
  };
  // Of the reservations that start after `from` (or at it too), before `to`.
  struct Window {
    std::int64_t from = 0;
    std::int64_t to = 0;
    bool from_too = false;
  };
  class Walk;

  void SetEnd(const PodUid& uid, Running& running, std::int64_t end);
  bool OutsideChange();
  std::vector<Trial::Place> Held(const PodUid& uid) const;
  // The earliest start, not later than `not_after`.
  Reservation Plan(const PlannedJob& job, SimTime now, const Extra* extra, std::int64_t not_after);
  bool PlanPod(Walk& walk, const Extra* extra, Reservation& found);
  bool PlanGang(Walk& walk, const Extra* extra, Reservation& found);
  bool TryGang(Walk& walk, const Extra* extra, Reservation& found);
  // Whether the reservations of the window still fit on these nodes beside the places.
  bool LeavesRoom(Trial& trial, const PodUid& self, const std::vector<Trial::Place>& places,
                  const Window& window, const Extra* extra) const;

  Engine& engine_;
  tsl::robin_map<PodUid, Running, UidHash> running_;
  std::set<std::pair<std::int64_t, PodUid>> ends_;
  std::vector<Reservation> reservations_;
  std::map<NodeId, std::int64_t> expected_changes_;  // places given back since EndPass
  std::uint64_t kept_changes_ = 0;                   // the state's, at EndPass and with those
  std::uint64_t cursor_ = 0;                         // change log, at EndPass
  std::uint64_t structure_version_ = 0;
  bool improved_ = false;   // something ended earlier than expected
  bool surprised_ = false;  // something is later than expected
  bool outside_ = false;
  std::uint64_t version_ = 0;
  std::uint64_t plans_made_ = 0;
};

}  // namespace basalt
