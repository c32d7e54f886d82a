#include "adapters/rpc/rate_limits.h"

#include <algorithm>

namespace basalt::rpc {

void RateLimits::Configure(const service::ServerConfig& config) {
  const auto limit = [](std::int64_t per_second, std::int64_t burst) {
    return Limit{per_second, burst > 0 ? burst : per_second};
  };
  const std::scoped_lock lock(mutex_);
  all_ = limit(config.calls_per_second, config.calls_burst);
  bool some = all_.per_second > 0;
  named_.clear();
  for (const service::AccessRule& rule : config.access) {
    if (rule.calls_per_second < 0) continue;
    named_[rule.identity] = limit(rule.calls_per_second, rule.calls_burst);
    some = some || rule.calls_per_second > 0;
  }
  some_.store(some, std::memory_order_relaxed);
}

RateLimits::Limit RateLimits::LimitOf(std::string_view identity) const {
  const auto it = named_.find(identity);
  return it == named_.end() ? all_ : it->second;
}

std::int64_t RateLimits::Take(std::string_view identity, std::int64_t tokens, std::int64_t now_us) {
  if (!some_.load(std::memory_order_relaxed)) return 0;
  const std::scoped_lock lock(mutex_);
  const Limit limit = LimitOf(identity);
  if (limit.per_second == 0) return 0;
  auto it = buckets_.find(identity);
  if (it == buckets_.end()) {
    if (buckets_.size() >= kMaxBuckets) ForgetFullOnes(now_us);
    it = buckets_.emplace(std::string(identity), Bucket{}).first;
  }
  Bucket& bucket = it->second;
  if (bucket.limit != limit) bucket = Bucket{limit, CapacityUs(limit), now_us};
  const std::int64_t passed = std::max<std::int64_t>(0, now_us - bucket.at_us);
  bucket.at_us = std::max(bucket.at_us, now_us);
  bucket.tokens_us = std::min(CapacityUs(limit), bucket.tokens_us + passed);
  const std::int64_t one_us = std::max<std::int64_t>(1, 1'000'000 / limit.per_second);
  if (bucket.tokens_us < one_us) {
    refused_.fetch_add(1, std::memory_order_relaxed);
    return one_us - bucket.tokens_us;
  }
  bucket.tokens_us -= std::max<std::int64_t>(1, tokens) * 1'000'000 / limit.per_second;
  return 0;
}

void RateLimits::ForgetFullOnes(std::int64_t now_us) {
  std::erase_if(buckets_, [now_us](const auto& entry) {
    const Bucket& bucket = entry.second;
    return bucket.tokens_us + (now_us - bucket.at_us) >= CapacityUs(bucket.limit);
  });
  // All of them busy: the bound counts more than what they have used.
  if (buckets_.size() >= kMaxBuckets) buckets_.clear();
}

std::size_t RateLimits::buckets() const {
  const std::scoped_lock lock(mutex_);
  return buckets_.size();
}

std::string TooFast(std::string_view identity, std::int64_t wait_us) {
  const std::int64_t wait_ms = (wait_us + 999) / 1000;
  return (identity.empty() ? "callers without an identity make"
                           : "\"" + std::string(identity) + "\" makes") +
         std::string(" more calls a second than it may; ask again in ") + std::to_string(wait_ms) +
         " ms";
}

}  // namespace basalt::rpc
