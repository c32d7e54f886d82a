// How independent runs are spread over threads. The simulator names the work; whoever calls it
// brings the threads (TBB in the command, std::thread in the sanitizer tests). Results never depend
// on the executor: each run owns its engine and writes its own slot.
#pragma once

#include <cstddef>
#include <functional>

namespace basalt::sim {

class Executor {
 public:
  virtual ~Executor() = default;
  // Calls fn(0) .. fn(count - 1), each once, in any order and on any thread, and waits for all.
  virtual void ForEach(std::size_t count, const std::function<void(std::size_t)>& fn) = 0;
};

class SerialExecutor : public Executor {
 public:
  void ForEach(std::size_t count, const std::function<void(std::size_t)>& fn) override {
    for (std::size_t i = 0; i < count; ++i) fn(i);
  }
};

}  // namespace basalt::sim
