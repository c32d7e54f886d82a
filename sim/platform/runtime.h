// What the slices of one card get from it at one moment: the model of sharing (algorithms reference
// 1.4 and 4.6). Pure arithmetic on what is on the card; ledgers and time are elsewhere.
//
// Compute. A slice wants `use` of the card, at most `cap`. kPartitions: everybody gets what it
// wants. kTimeSlicing: all together at most the card, in proportion. kSlices: high priority first,
// in proportion if it alone wants more than the card; low priority shares the rest the same way.
// `stopped` slices (a ladder step) get nothing.
// Losses. n busy slices slow each other by 1 + kappa (n - 1); slicing, time slicing with neighbours
// and partitions cost their overheads. Memory: in the order guaranteed, high, others, those up to
// whom the working sets exceed the card's memory run at 1/(1 + beta (pressure - 1)), pressure =
// working sets up to and including them / memory.
// A slice's rate is what it gets / what it would use alone on the card, losses included.
#pragma once

#include <cstdint>
#include <span>

#include "sim/platform/spec.h"

namespace basalt::sim {

struct CardShare {
  double use = 0;  // milli of this card that it would use alone
  double cap = 0;  // milli that it may use
  std::int64_t working_set_mib = 0;
  bool high = false;
  bool guaranteed = true;
  bool whole = false;    // the whole card: no slicing overhead
  bool stopped = false;  // by a ladder step; its working set stays
  // Out:
  double rate = 0;
  double compute_factor = 1;  // of the rate: what caps and neighbours left
  double memory_factor = 1;
};

struct CardLoad {
  bool compute_over = false;  // wanted more than there is (stopped ones not counted)
  bool memory_over = false;
  double high_wanted = 0;  // milli, by high priority
};

// `memory_mib` 0: unknown, no memory rule. `shares` includes those that do nothing (use 0).
CardLoad ShareCard(const RuntimeSpec& runtime, Sharing sharing, std::int64_t memory_mib,
                   std::span<CardShare> shares);

// The factor by which a node's pods are slowed by host CPU and memory that is not there.
double HostFactor(const RuntimeSpec& runtime, std::int64_t cpu_used, std::int64_t cpu,
                  std::int64_t memory_used, std::int64_t memory);

}  // namespace basalt::sim
