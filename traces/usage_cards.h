// What the trace calls a card that an exporter names by its UUID. Placements name cards as their
// source did, mostly 0, 1, 2, and some exporters (HAMi's slices) tell the UUID alone. In this
// order: the trace knows the UUID itself; another series has the UUID and the card's number; only
// one card is left where the pods on it can be, by their placements; else the cards left there are
// taken in the order in which the UUIDs are first seen, which is a guess and is counted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "traces/trace.h"
#include "traces/usage_prometheus.h"

namespace basalt::trace {

struct UsageOwner {
  std::int64_t job = -1;   // index, -1 none
  std::int64_t task = -1;  // index, -1 any
  std::int32_t replica = -1;
};
struct OwnedSeries {
  const UsageSeries* series = nullptr;
  UsageOwner owner;
};

struct CardName {
  std::string node, card;  // node: empty where nobody says; card: the UUID where nothing else fits
};
struct CardNames {
  std::map<std::string_view, CardName> by_uuid;  // views into the series
  std::size_t guessed = 0;
};
CardNames NameCards(const std::vector<OwnedSeries>& all, const Trace& trace);

}  // namespace basalt::trace
