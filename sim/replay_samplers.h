// What a replay measures over time: the cluster's state in equal buckets, and the sets of 8 cards
// that are left whole. Each call books the time since the last one with the state that held until
// now.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <vector>

#include "scheduler-core/engine/engine.h"
#include "sim/result.h"

namespace basalt::sim {

inline constexpr double kMicrosPerHour = 3.6e9;

// Time-weighted means of what the cluster looked like, in equal buckets of simulated time.
class TimeSampler {
 public:
  TimeSampler(std::int64_t from_us, std::int64_t to_us, int points, std::int64_t weight)
      : from_(from_us),
        width_(std::max<std::int64_t>(1, (to_us - from_us + points - 1) / points)),
        weight_(static_cast<double>(weight)),
        buckets_(static_cast<std::size_t>(points)) {}

  // The state held from the last call until `now`.
  void Advance(Engine& engine, std::int64_t now, std::size_t queued) {
    if (now > at_) {
      const ClusterTotals& t = engine.state().totals();
      const NodeFragment& f = engine.fragmentation()->total();
      Bucket value;
      const auto capacity = static_cast<double>(t.gpu_capacity);
      const double milli = static_cast<double>(f.fragment()) / weight_;
      value.allocation = 100 * static_cast<double>(t.gpu_capacity - t.gpu_free) / capacity;
      value.fragmentation = 100 * milli / capacity;
      value.ratio = f.idle > 0 ? 100 * milli / static_cast<double>(f.idle) : 0;
      value.idle_cards = static_cast<double>(t.idle_cards);
      value.idle_nodes = static_cast<double>(t.idle_nodes);
      value.queued = static_cast<double>(queued);
      for (std::size_t c = 0; c < kStrandCauses; ++c) {
        value.causes[c] = static_cast<double>(f.causes[c]) / weight_ / 1000;
      }
      std::int64_t from = std::max(at_, from_);
      while (from < now) {
        const auto b = static_cast<std::size_t>((from - from_) / width_);
        if (b >= buckets_.size()) break;
        const std::int64_t until =
            std::min(now, from_ + width_ * (static_cast<std::int64_t>(b) + 1));
        buckets_[b].Add(value, static_cast<double>(until - from));
        from = until;
      }
    }
    at_ = std::max(at_, now);
  }

  Series Finish() const {
    Series s;
    for (std::size_t b = 0; b < buckets_.size(); ++b) {
      const Bucket& bucket = buckets_[b];
      const auto mean = [&](double sum) {
        return bucket.time > 0 ? sum / bucket.time : std::numeric_limits<double>::quiet_NaN();
      };
      s.x.push_back((static_cast<double>(b) + 0.5) * static_cast<double>(width_) / kMicrosPerHour);
      s.allocation_pct.push_back(mean(bucket.allocation));
      s.fragmentation_pct.push_back(mean(bucket.fragmentation));
      s.fragmentation_ratio_pct.push_back(mean(bucket.ratio));
      s.idle_cards.push_back(mean(bucket.idle_cards));
      s.idle_nodes.push_back(mean(bucket.idle_nodes));
      s.queued.push_back(mean(bucket.queued));
      for (std::size_t c = 0; c < kStrandCauses; ++c) {
        s.cause_gpus[c].push_back(mean(bucket.causes[c]));
      }
    }
    return s;
  }

 private:
  struct Bucket {
    double time = 0, allocation = 0, fragmentation = 0, ratio = 0, idle_cards = 0, idle_nodes = 0,
           queued = 0;
    std::array<double, kStrandCauses> causes{};
    void Add(const Bucket& v, double dt) {
      time += dt;
      allocation += v.allocation * dt;
      fragmentation += v.fragmentation * dt;
      ratio += v.ratio * dt;
      idle_cards += v.idle_cards * dt;
      idle_nodes += v.idle_nodes * dt;
      queued += v.queued * dt;
      for (std::size_t c = 0; c < kStrandCauses; ++c) causes[c] += v.causes[c] * dt;
    }
  };
  std::int64_t from_;
  std::int64_t width_;
  std::int64_t at_ = std::numeric_limits<std::int64_t>::min();
  double weight_;
  std::vector<Bucket> buckets_;
};

// How many sets of 8 cards with their full bandwidth are left, kept up to date from the change log
// and averaged over time.
class IntactSets {
 public:
  explicit IntactSets(const ClusterState& state) : state_(state), sets_(state.node_slots(), 0) {
    for (const NodeId node : state.order()) {
      const Machine* machine = state.machine(node);
      any_ = any_ || (machine != nullptr && machine->type->cards() >= 8);
      Count(node);
    }
    cursor_ = state.change_count();
  }
  bool any() const { return any_; }
  void Advance(std::int64_t now) {
    if (!any_) return;
    CatchUp();  // what changed at the last instant has held since then
    if (now > at_) {
      if (at_ >= 0) weighted_ += static_cast<double>(sum_) * static_cast<double>(now - at_);
      time_ += at_ >= 0 ? now - at_ : 0;
      at_ = now;
    }
  }
  double mean() const { return time_ > 0 ? weighted_ / static_cast<double>(time_) : 0; }

 private:
  void CatchUp() {
    if (!state_.ChangesAvailable(cursor_)) {
      for (const NodeId node : state_.order()) Count(node);
    } else {
      for (; cursor_ < state_.change_count(); ++cursor_) {
        const NodeId node = state_.ChangedNode(cursor_);
        if (state_.IsLastChange(cursor_, node)) Count(node);
      }
    }
    cursor_ = state_.change_count();
  }
  void Count(NodeId node) {
    const Machine* machine = state_.machine(node);
    if (machine == nullptr || machine->type->cards() < 8) return;
    CardSet idle;
    const auto free = state_.CardFree(node);
    for (std::size_t c = 0; c < free.size(); ++c) {
      if (free[c] >= kWholeCard) idle.Add(static_cast<int>(c));
    }
    const int now = machine->type->Intact(8, idle);
    sum_ += now - sets_[node.index()];
    sets_[node.index()] = now;
  }
  const ClusterState& state_;
  std::vector<int> sets_;  // by node slot
  std::uint64_t cursor_ = 0;
  std::int64_t sum_ = 0;
  std::int64_t at_ = -1;
  std::int64_t time_ = 0;
  double weighted_ = 0;
  bool any_ = false;
};

}  // namespace basalt::sim
