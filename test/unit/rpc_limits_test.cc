// What keeps a server from its callers: how many calls an identity may make, and what their text
// becomes in messages and in the log.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "adapters/rpc/log.h"
#include "adapters/rpc/rate_limits.h"
#include "adapters/service/shown.h"

namespace basalt::rpc {
namespace {

using testing::HasSubstr;

constexpr std::int64_t kSecond = 1'000'000;

service::ServerConfig Limited(std::int64_t per_second, std::int64_t burst) {
  service::ServerConfig config;
  config.calls_per_second = per_second;
  config.calls_burst = burst;
  return config;
}

TEST(RateLimits, OffUnlessConfigured) {
  RateLimits limits;
  for (int i = 0; i < 100'000; ++i) ASSERT_EQ(limits.Take("a", 1, 0), 0);
  EXPECT_EQ(limits.buckets(), 0U);
  EXPECT_EQ(limits.refused(), 0);
}

TEST(RateLimits, ABurstAndThenTheRate) {
  RateLimits limits;
  limits.Configure(Limited(10, 5));
  std::int64_t now = 7 * kSecond;
  for (int i = 0; i < 5; ++i) EXPECT_EQ(limits.Take("a", 1, now), 0) << i;
  EXPECT_EQ(limits.Take("a", 1, now), kSecond / 10);  // when to ask again
  EXPECT_EQ(limits.Take("b", 1, now), 0) << "identities do not share";
  EXPECT_NE(limits.Take("a", 1, now + kSecond / 10 - 1), 0);
  EXPECT_EQ(limits.Take("a", 1, now + kSecond / 10), 0);
  EXPECT_EQ(limits.refused(), 2);
  // Over a long time exactly the rate, however often it is tried.
  int taken = 0;
  for (now += 100 * kSecond; now < 200 * kSecond; now += 1'000) {
    taken += limits.Take("a", 1, now) == 0 ? 1 : 0;
  }
  EXPECT_NEAR(taken, 10 * (200 - 107) + 5, 1);
  // A pause saves no more than the burst.
  now += 3600 * kSecond;
  for (int i = 0; i < 5; ++i) EXPECT_EQ(limits.Take("a", 1, now), 0) << i;
  EXPECT_NE(limits.Take("a", 1, now), 0);
}

TEST(RateLimits, ALargeBatchIsPaidForAfterwards) {
  RateLimits limits;
  limits.Configure(Limited(100, 10));
  EXPECT_EQ(limits.Take("a", 1'000, 0), 0) << "larger than the bucket, and yet possible";
  EXPECT_NE(limits.Take("a", 1, 9 * kSecond), 0);
  EXPECT_EQ(limits.Take("a", 1, 10 * kSecond), 0);
}

TEST(RateLimits, RulesOfAnIdentityWin) {
  RateLimits limits;
  service::ServerConfig config = Limited(1, 1);
  config.access.push_back({.identity = "free", .calls_per_second = 0});
  config.access.push_back({.identity = "fast", .calls_per_second = 1'000});
  config.access.push_back({.identity = "plain"});
  limits.Configure(config);
  const auto in_a_row = [&](const char* identity) {
    int calls = 0;
    while (calls < 5'000 && limits.Take(identity, 1, 0) == 0) ++calls;
    return calls;
  };
  EXPECT_EQ(in_a_row("free"), 5'000);
  EXPECT_EQ(in_a_row("fast"), 1'000);
  EXPECT_EQ(in_a_row("plain"), 1);
  EXPECT_EQ(in_a_row("unknown"), 1);
  EXPECT_EQ(in_a_row(""), 1) << "callers without an identity share one bucket";
  // A reload counts at once.
  config.access[2].calls_per_second = 7;
  limits.Configure(config);
  EXPECT_EQ(in_a_row("plain"), 7);
}

TEST(RateLimits, ManyIdentitiesAreForgotten) {
  RateLimits limits;
  limits.Configure(Limited(10, 10));
  for (std::size_t i = 0; i < 3 * RateLimits::kMaxBuckets; ++i) {
    EXPECT_EQ(limits.Take(std::to_string(i), 1, static_cast<std::int64_t>(i) * kSecond), 0);
  }
  EXPECT_LE(limits.buckets(), RateLimits::kMaxBuckets);
}

TEST(RateLimits, TheMessageSaysWhen) {
  EXPECT_THAT(TooFast("team-a", 1'500), HasSubstr("\"team-a\""));
  EXPECT_THAT(TooFast("team-a", 1'500), HasSubstr("in 2 ms"));
  EXPECT_THAT(TooFast("", 1), HasSubstr("callers without an identity"));
}

TEST(Shown, IsOneLineOfUtf8) {
  using service::Shown;
  EXPECT_EQ(Shown("a b\xC3\xA4\xE2\x82\xAC\xF0\x9F\x8C\x8B"),
            "a b\xC3\xA4\xE2\x82\xAC\xF0\x9F\x8C\x8B");
  EXPECT_EQ(Shown(std::string_view("a\0b\n\r\t\x1b[31m\x7f", 12)),
            "a\\x00b\\x0a\\x0d\\x09\\x1b[31m\\x7f");
  EXPECT_EQ(Shown("\xC2\x9B"
                  "31m"),
            "\\xc2\\x9b31m")
      << "C1 controls are obeyed by terminals";
  // Halves of characters, overlong forms, surrogates, what is too large.
  EXPECT_EQ(Shown("\xC3"), "\\xc3");
  EXPECT_EQ(Shown("\xE2\x82"), "\\xe2\\x82");
  EXPECT_EQ(Shown("\x80\xFF"), "\\x80\\xff");
  EXPECT_EQ(Shown("\xC0\xAF"), "\\xc0\\xaf");
  EXPECT_EQ(Shown("\xED\xA0\x80"), "\\xed\\xa0\\x80");
  EXPECT_EQ(Shown("\xF4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");
  // Cut between two characters.
  EXPECT_EQ(Shown("abcd", 4), "abcd");
  EXPECT_EQ(Shown("abcde", 4), "abcd...");
  EXPECT_EQ(Shown("abc\xC3\xA4", 4), "abc...");
}

// One line an event, whatever stands in it: nobody forges another event, or clears a terminal.
TEST(Log, IsOneLineOfAscii) {
  testing::internal::CaptureStderr();
  Log("refused", {{"pod", "a\"}\n{\"event\":\"forged\"\x1b[2J\xFF\xC3\xA4"},
                  {"long", std::string(10'000, 'x')}});
  const std::string line = testing::internal::GetCapturedStderr();
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  for (const char c : line.substr(0, line.size() - 1)) EXPECT_TRUE(c >= 0x20 && c < 0x7F);
  EXPECT_THAT(line, HasSubstr(R"("pod":"a\"}\u000a{\"event\":\"forged\"\u001b[2J\u00ff)"));
  EXPECT_LT(line.size(), 1'000U);
}

}  // namespace
}  // namespace basalt::rpc
