// The lock of what one thread at a time may use (an engine, the service), with a bound on how many
// wait for it: beyond the bound a caller is turned away at once, so that a burst costs its senders
// an error and not the others their deadlines. Whoever holds a turn runs the call itself: handing
// it to another thread would cost more than most decisions.
//
// A turn says nothing about time: callers look at their deadline after they have it, because the
// wait is what uses it up.
#pragma once

#include <atomic>
#include <mutex>
#include <utility>

namespace basalt::rpc {

class EngineGate {
 public:
  // `max_waiting`: how many may wait besides the one inside; at least 0.
  explicit EngineGate(int max_waiting) : max_waiting_(max_waiting) {}
  EngineGate(const EngineGate&) = delete;
  EngineGate& operator=(const EngineGate&) = delete;

  // False: turned away.
  class [[nodiscard]] Turn {
   public:
    explicit operator bool() const { return lock_.owns_lock(); }
    // It was not free at once.
    bool waited() const { return waited_; }
    void End() {
      if (lock_.owns_lock()) lock_.unlock();
    }

   private:
    friend class EngineGate;
    Turn() = default;
    explicit Turn(std::unique_lock<std::mutex> lock, bool waited = false)
        : lock_(std::move(lock)), waited_(waited) {}
    std::unique_lock<std::mutex> lock_;
    bool waited_ = false;
  };

  Turn Enter() {
    std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
    if (lock.owns_lock()) return Turn(std::move(lock));
    if (waiting_.fetch_add(1, std::memory_order_relaxed) >= max_waiting_) {
      waiting_.fetch_sub(1, std::memory_order_relaxed);
      turned_away_.fetch_add(1, std::memory_order_relaxed);
      return Turn();
    }
    lock.lock();
    waiting_.fetch_sub(1, std::memory_order_relaxed);
    return Turn(std::move(lock), true);
  }
  // For what must not be lost: observations, the ticker, reload. Waits as long as it takes.
  Turn EnterAlways() { return Turn(std::unique_lock<std::mutex>(mutex_)); }

  int waiting() const { return waiting_.load(std::memory_order_relaxed); }
  long turned_away() const { return turned_away_.load(std::memory_order_relaxed); }

 private:
  std::mutex mutex_;
  const int max_waiting_;
  std::atomic<int> waiting_{0};
  std::atomic<long> turned_away_{0};
};

}  // namespace basalt::rpc
