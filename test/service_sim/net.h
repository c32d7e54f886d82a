// Virtual time and a bad network: messages are delayed (and so overtake each other), duplicated and
// lost, and some peers are cut off for a while, in one direction or both. What a crash ends is not
// delivered any more.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <queue>
#include <utility>
#include <vector>

#include "scheduler-core/base/rng.h"

namespace basalt::service_sim {

// Who talks with the server.
enum class Peer : std::uint8_t { kScheduler0, kScheduler1, kScheduler2, kSyncer, kExecutor };
inline constexpr std::uint32_t kPeers = 5;

struct Faults {
  std::uint32_t drop_percent = 3;
  std::uint32_t duplicate_percent = 3;
  std::uint32_t slow_percent = 5;  // up to a second instead of a few milliseconds
};

class Net {
 public:
  explicit Net(std::uint64_t seed) : rng_(seed, 11) {}
  std::int64_t now_us() const { return now_us_; }
  Faults faults;

  // A timer: runs in any case.
  void After(std::int64_t micros, std::function<void()> fn) {
    queue_.push({now_us_ + micros, next_++, std::move(fn)});
  }
  // What is under way from or to the peer is lost until Mend.
  void Cut(Peer peer, bool requests, bool replies) {
    cut_[static_cast<std::size_t>(peer)] = {requests, replies};
  }
  void Mend(Peer peer) { Cut(peer, false, false); }
  enum class Way : std::uint8_t { kRequest, kReply };
  // A message: may be lost, come twice, or come late.
  void Send(Peer peer, Way way, const std::function<void()>& fn) {
    const auto& [requests, replies] = cut_[static_cast<std::size_t>(peer)];
    if (way == Way::kRequest ? requests : replies) return;
    if (rng_.Below(100) < faults.drop_percent) return;
    After(Delay(), fn);
    if (rng_.Below(100) < faults.duplicate_percent) After(Delay(), fn);
  }
  // Runs the next event; false: there is none.
  bool Step() {
    if (queue_.empty()) return false;
    Event event = std::move(const_cast<Event&>(queue_.top()));  // it is popped at once
    queue_.pop();
    now_us_ = event.at;
    event.fn();
    return true;
  }
  Rng& rng() { return rng_; }
  bool OneIn(std::uint32_t n) { return rng_.Below(n) == 0; }
  std::int64_t Micros(std::uint32_t below) { return static_cast<std::int64_t>(rng_.Below(below)); }

 private:
  std::int64_t Delay() {
    return rng_.Below(100) < faults.slow_percent ? Micros(1'000'000) : 100 + Micros(5'000);
  }
  struct Event {
    std::int64_t at;
    std::uint64_t number;
    std::function<void()> fn;
    bool operator<(const Event& other) const {
      return at != other.at ? at > other.at : number > other.number;
    }
  };
  struct Severed {
    bool requests = false;
    bool replies = false;
  };
  std::array<Severed, kPeers> cut_ = {};
  Rng rng_;
  std::priority_queue<Event> queue_;
  std::int64_t now_us_ = 0;
  std::uint64_t next_ = 0;
};

}  // namespace basalt::service_sim
