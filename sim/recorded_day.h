// A recording as a day's work: what arrived, for how long it ran, and what happened to the cluster
// meanwhile. What a changed policy is driven by; private to sim.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "scheduler-core/base/result.h"
#include "sim/recording.h"

namespace basalt::sim {

struct DayPod {
  PodUid uid;
  RequestSpec spec;
  std::uint64_t job = 0;
  Standing standing = {};
  NodeNames nodes = {};          // that the host ruled out or in, when it was asked last
  std::int32_t gang = -1;        // index into RecordedDay::gangs
  std::int64_t arrived_us = 0;   // first seen or asked
  std::int64_t held_us = -1;     // since when it held, at last; -1: it never did
  std::int64_t ended_us = -1;    // its last hold; -1: it holds to the end
  std::int64_t deleted_us = -1;  // while it held nothing
  std::string node;              // where it held
};
struct DayGang {
  GangSpecRecord spec;  // ShapeIds are indexes into `specs`
  std::vector<RequestSpec> specs;
  std::int64_t arrived_us = 0;
  std::vector<std::size_t> pods;  // indexes into RecordedDay::pods, by member
};
struct DayEvent {
  std::int64_t at_us = 0;
  Event event;
};

struct RecordedDay {
  std::string snapshot;          // at the beginning
  PolicyRecord head;             // that decided first
  std::vector<DayPod> pods;      // by arrival
  std::vector<DayGang> gangs;    // by arrival
  std::vector<DayPod> foreign;   // pods that never were asked for, and those that were there before
  std::vector<DayEvent> events;  // nodes, cards, queues, budgets; pods that never were asked for
  std::int64_t foreign_pods = 0;
  std::int64_t there_before = 0;  // in the snapshot
  SimTime begin, end;
};
Result<RecordedDay> ReadDay(const SegmentSource& source);

}  // namespace basalt::sim
