// The last events of a cluster, numbered. Watchers ask for what came after the number that they saw
// last; who asks for what is no longer kept is told so.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "adapters/rpc/placement.pb.h"

namespace basalt::service {

class WatchRing {
 public:
  explicit WatchRing(std::size_t capacity) : capacity_(capacity) {}
  void Add(placement::v1::WatchEvent event);
  std::vector<placement::v1::WatchEvent> After(std::uint64_t from, std::size_t max) const;
  std::uint64_t last() const { return last_; }
  std::size_t size() const { return events_.size(); }

 private:
  std::size_t capacity_;
  std::deque<placement::v1::WatchEvent> events_;
  std::uint64_t last_ = 0;
};

}  // namespace basalt::service
