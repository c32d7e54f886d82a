#include "sim/backfill.h"

#include <algorithm>

namespace basalt::sim {
namespace {

struct Free {
  std::int64_t cpu, memory, milli, cards;
};

std::int64_t PlacesOn(const Free& free, const Shape& shape) {
  std::int64_t places = std::numeric_limits<std::int32_t>::max();
  const auto limit = [&places](std::int64_t have, std::int64_t each) {
    if (each > 0) places = std::min(places, std::max<std::int64_t>(have, 0) / each);
  };
  limit(free.cpu, shape.cpu);
  limit(free.memory, shape.memory);
  if (shape.gpus > 0) {
    if (shape.whole) {
      limit(free.cards, shape.gpus);
    } else {
      limit(free.milli, shape.total_milli());
    }
  }
  return places;
}

}  // namespace

std::int64_t ShadowTime(const ClusterState& state, const std::vector<const Running*>& running,
                        const std::vector<Wanted>& wanted) {
  std::vector<Free> free(state.node_slots(), Free{0, 0, 0, 0});
  std::vector<std::int64_t> missing;
  const auto allowed = [&](const Wanted& w, NodeId node) {
    return state.hot(node).schedulable && state.ClassAllows(w.id, state.node_class(node));
  };
  for (const NodeId node : state.order()) {
    const NodeHot& hot = state.hot(node);
    free[node.index()] = Free{hot.cpu_free, hot.memory_free, hot.gpu_free, hot.full_cards};
  }
  // Each task by itself: several shapes at once on one node are rare, and the engine has the last
  // word.
  for (const Wanted& w : wanted) {
    std::int64_t places = 0;
    for (const NodeId node : state.order()) {
      if (allowed(w, node)) places += PlacesOn(free[node.index()], *w.shape);
    }
    missing.push_back(w.count - places);
  }
  const auto fits = [&] {
    return std::all_of(missing.begin(), missing.end(), [](std::int64_t m) { return m <= 0; });
  };
  for (const Running* job : running) {
    for (const Share& share : job->shares) {
      Free& at = free[share.node.index()];
      for (std::size_t i = 0; i < wanted.size(); ++i) {
        if (allowed(wanted[i], share.node)) missing[i] += PlacesOn(at, *wanted[i].shape);
      }
      at.cpu += share.cpu;
      at.memory += share.memory;
      at.milli += share.milli + share.cards * std::int64_t{kWholeCard};
      // Which card a slice leaves is not known; a card may be whole again as soon as its milli are
      // there. Too early a shadow only makes backfilling stricter.
      at.cards = std::max(at.cards + share.cards, at.milli / kWholeCard);
      for (std::size_t i = 0; i < wanted.size(); ++i) {
        if (allowed(wanted[i], share.node)) missing[i] -= PlacesOn(at, *wanted[i].shape);
      }
    }
    if (fits()) return job->ends_us;
  }
  return kNever;
}

}  // namespace basalt::sim
