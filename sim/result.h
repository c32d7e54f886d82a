// What a run measured. Percentages are of the cluster's GPU capacity unless the name says more;
// a value that was never sampled is NaN ("n/a" in reports), never 0.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "scheduler-core/base/digest.h"
#include "scheduler-core/cluster/fragmentation.h"
#include "scheduler-core/engine/policy.h"

namespace basalt::sim {

struct Series {
  std::vector<double> x;  // arrived % of capacity, or hours
  std::vector<double> allocation_pct;
  std::vector<double> fragmentation_pct;                      // stranded, of the cluster
  std::vector<double> fragmentation_ratio_pct;                // stranded, of what is idle
  std::array<std::vector<double>, kStrandCauses> cause_gpus;  // stranded GPUs by cause
  std::vector<double> idle_cards;
  std::vector<double> idle_nodes;
  std::vector<double> queued;  // replay only
};

struct FailedShape {
  std::string shape;
  std::int64_t count = 0;
  double gpus = 0;      // asked by these requests together
  std::string outcome;  // Wait or Infeasible
  std::string reason;   // counted, at the end of the run
};

struct CardSlice {
  std::string pod;
  std::int32_t milli = 0;
  std::int64_t memory_mib = 0;
  int kind = 0;  // kShareKind, or whole cards: how many
};
struct MapCard {
  std::int32_t free_milli = 0;
  std::int64_t memory_free_mib = -1;  // -1: memory is not tracked
  bool usable = false;                // some typical request fits this card now
  std::string cause;                  // why not, a StrandCauseKey
  std::vector<CardSlice> slices;
};
struct MapNode {
  std::string name;
  std::string model;
  std::int64_t cpu_free_milli = 0;
  std::int64_t cpu_milli = 0;
  std::vector<MapCard> cards;
};

struct WaitTimes {  // replay, seconds, over the jobs that started
  double mean = 0, p50 = 0, p95 = 0, p99 = 0, max = 0;
};

// Replay: what the wiring gave to jobs of two cards and more.
struct TopologyResult {
  struct BySize {
    int cards = 0;
    std::int64_t jobs = 0;
    double bandwidth_pct = 0;  // mean of got / best possible
  };
  struct ByTier {
    std::string tier;  // "node", or the name of the narrowest tier that holds the job
    std::int64_t jobs = 0;
  };
  std::int64_t jobs = 0;  // with known wiring; 0: the rest is n/a
  double bandwidth_pct = 0;
  double at_best_pct = 0;  // share of jobs with the best possible bandwidth
  double stretch = 1;      // mean run time / recorded duration
  std::vector<BySize> by_size;
  std::vector<ByTier> by_tier;  // of all jobs of two cards and more
  double intact8_mean = 0;      // sets of 8 cards with their best bandwidth left, over time
};

struct RunResult {
  std::string trace;
  std::string policy;
  std::uint64_t seed = 0;
  std::int64_t arrivals = 0;
  std::int64_t placed = 0;
  std::int64_t failed = 0;  // dropped (saturation), refused or never started (replay)
  Series series;
  double final_allocation_pct = 0;
  WaitTimes wait;               // replay, of jobs (a gang is one)
  WaitTimes gang_wait;          // of the gangs among them
  WaitTimes completion;         // from submission to the end (JCT)
  std::int64_t gangs = 0;       // that started
  std::int64_t backfilled = 0;  // jobs that passed a waiting head
  TopologyResult topology;
  std::vector<FailedShape> failed_shapes;  // most GPUs first
  Digest128 decision_digest;
  WorkCounters work;
  std::uint64_t engine_calls = 0;  // proposals: one an arrival, and one a retry
  double cpu_seconds = 0;          // filled by the caller's clock
  std::vector<MapNode> map;        // when asked for: at the end; replay: after the last arrival
};

}  // namespace basalt::sim
