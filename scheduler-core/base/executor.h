// How independent pieces of work are run. The caller brings the threads (TBB in the command, plain
// threads in tests, none at all): nothing in core or sim makes one. Results never depend on it:
// each piece writes its own slot, and whoever asked reduces the slots in order.
#pragma once

#include <cstddef>
#include <functional>

namespace basalt {

class Executor {
 public:
  virtual ~Executor() = default;
  // Calls fn(0) .. fn(n-1), each once, in any order and possibly at once; returns when all are
  // done.
  virtual void ForEach(std::size_t n, const std::function<void(std::size_t)>& fn) = 0;
};

class SerialExecutor : public Executor {
 public:
  void ForEach(std::size_t n, const std::function<void(std::size_t)>& fn) override {
    for (std::size_t i = 0; i < n; ++i) fn(i);
  }
};

}  // namespace basalt
