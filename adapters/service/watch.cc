#include "adapters/service/watch.h"

#include <utility>

namespace basalt::service {

void WatchRing::Add(placement::v1::WatchEvent event) {
  event.set_number(++last_);
  events_.push_back(std::move(event));
  if (events_.size() > capacity_) events_.pop_front();
}

std::vector<placement::v1::WatchEvent> WatchRing::After(std::uint64_t from, std::size_t max) const {
  std::vector<placement::v1::WatchEvent> out;
  if (events_.empty() || from >= last_) return out;
  const std::uint64_t oldest = events_.front().number();
  const std::size_t begin = from < oldest ? 0 : static_cast<std::size_t>(from - oldest + 1);
  for (std::size_t i = begin; i < events_.size() && out.size() < max; ++i) {
    out.push_back(events_[i]);
  }
  if (from + 1 < oldest && !out.empty()) out.front().set_lagged(true);
  return out;
}

}  // namespace basalt::service
