// How many calls a second each identity may make: a token bucket an identity. A call takes a token
// before it waits for anything; who has none is told when to ask again. Calls that give something
// back or keep a promise (Confirm, Renew, Release, acknowledgements, sync messages) take none: to
// refuse them would cost more than to answer them. A batch takes a token an item and may overdraw,
// so that one that is larger than the bucket is slow instead of impossible.
//
// Callers without an identity share one bucket. Off unless configured.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

#include "adapters/service/config.h"

namespace basalt::rpc {

class RateLimits {
 public:
  RateLimits() = default;
  // Buckets are full again where the limit of their identity is another one.
  void Configure(const service::ServerConfig& config);
  // Microseconds until it may ask again; 0: go on, the tokens are taken. `now_us` never goes back.
  std::int64_t Take(std::string_view identity, std::int64_t tokens, std::int64_t now_us);
  long refused() const { return refused_.load(std::memory_order_relaxed); }
  std::size_t buckets() const;

  // More identities than this at a time forget the ones that are full anyway.
  static constexpr std::size_t kMaxBuckets = 4'096;

 private:
  struct Limit {
    std::int64_t per_second = 0;  // 0: none
    std::int64_t burst = 0;
    friend bool operator==(const Limit&, const Limit&) = default;
  };
  struct Bucket {
    Limit limit;
    std::int64_t tokens_us = 0;  // tokens x 1,000,000 / per_second: time that is saved up
    std::int64_t at_us = 0;
  };
  static std::int64_t CapacityUs(const Limit& limit) {
    return limit.burst * 1'000'000 / limit.per_second;
  }
  Limit LimitOf(std::string_view identity) const;
  void ForgetFullOnes(std::int64_t now_us);

  std::atomic<bool> some_{false};  // any limit at all
  std::atomic<long> refused_{0};
  mutable std::mutex mutex_;
  Limit all_;
  std::map<std::string, Limit, std::less<>> named_;
  std::map<std::string, Bucket, std::less<>> buckets_;
};

// The message for who is refused.
std::string TooFast(std::string_view identity, std::int64_t wait_us);

}  // namespace basalt::rpc
