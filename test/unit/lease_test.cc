// Leases with times of their own: how long they live, how they are renewed, and that a restart
// knows of it.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "scheduler-core/base/rng.h"
#include "scheduler-core/engine/engine.h"
#include "test/support/cluster.h"
#include "test/support/gangs.h"
#include "test/support/random_world.h"

namespace basalt {
namespace {

using support::Ask;
using support::For;
using support::MakeEngine;
using support::Node;
using support::Policy;
using support::Uid;

constexpr std::int64_t kTtl = 100;

EngineOptions Short(JournalSink* journal = nullptr) {
  EngineOptions options;
  options.lease_ttl_us = kTtl;
  options.journal = journal;
  return options;
}

Lease Take(Engine& engine, std::uint64_t uid, SimTime now, std::int64_t ttl_us = 0) {
  const Request request = For(engine, Ask(1000, 1, 100), uid);
  const auto lease = engine.Reserve(request, engine.Propose(request, now).placement, now, ttl_us);
  EXPECT_TRUE(lease.has_value());
  return *lease;
}

TEST(Lease, LivesAsLongAsWasAsked) {
  auto engine = MakeEngine("binpack", {Node("a", 64'000, 4)}, Short());
  EXPECT_EQ(Take(*engine, 1, SimTime{0}).expires, SimTime{100});
  EXPECT_EQ(Take(*engine, 2, SimTime{0}, 7).expires, SimTime{7});
  EXPECT_EQ(Take(*engine, 3, SimTime{0}, 1000).expires, SimTime{1000});
  EXPECT_EQ(Take(*engine, 3, SimTime{1}, 5000).expires, SimTime{1000});  // said again: the same
  const Request bad = For(*engine, Ask(1000, 1, 100), 4);
  const Outcome outcome = engine->Propose(bad, SimTime{1});
  EXPECT_FALSE(engine->Reserve(bad, outcome.placement, SimTime{1}, -1).has_value());
  EXPECT_EQ(engine->Expire(SimTime{6}), 0U);
  EXPECT_EQ(engine->Expire(SimTime{7}), 1U);
  EXPECT_EQ(engine->Expire(SimTime{100}), 1U);
  EXPECT_NE(engine->Find(Uid(3)), nullptr);
  EXPECT_EQ(engine->Expire(SimTime{1000}), 1U);
}

TEST(Lease, IsRenewedAndNeverShortened) {
  auto engine = MakeEngine("binpack", {Node("a", 64'000, 4)}, Short());
  const Lease lease = Take(*engine, 1, SimTime{0});
  EXPECT_EQ(engine->Renew(lease, 30, SimTime{10})->expires, SimTime{100});
  EXPECT_EQ(engine->Renew(lease, 0, SimTime{10})->expires, SimTime{110});
  EXPECT_EQ(engine->Renew(lease, 500, SimTime{20})->expires, SimTime{520});
  EXPECT_EQ(engine->Renew(lease, 500, SimTime{20})->epoch, lease.epoch);
  EXPECT_EQ(engine->Expire(SimTime{519}), 0U);  // the entries of the earlier times are stale
  EXPECT_TRUE(engine->Confirm(lease, SimTime{519}).has_value());
  EXPECT_EQ(engine->Renew(lease, 5000, SimTime{600})->expires, SimTime{520});  // it needs none
  EXPECT_EQ(engine->Expire(SimTime{10'000}), 0U);
}

TEST(Lease, RenewIsRefusedLikeConfirm) {
  auto engine = MakeEngine("binpack", {Node("a", 64'000, 4)}, Short());
  const Lease first = Take(*engine, 1, SimTime{0});
  EXPECT_FALSE(engine->Renew(first, -1, SimTime{0}).has_value());
  EXPECT_FALSE(engine->Renew(first, 10, SimTime{100}).has_value());  // its time is up, not swept
  EXPECT_EQ(engine->Expire(SimTime{100}), 1U);
  EXPECT_EQ(engine->Renew(first, 10, SimTime{100}).error().message,
            "holds no lease: it expired, was released, or never was");
  const Lease second = Take(*engine, 1, SimTime{100});
  EXPECT_EQ(engine->Renew(first, 10, SimTime{101}).error().message,
            "lease 1 was replaced by lease 2");
  EXPECT_EQ(engine->Find(Uid(1))->expires, second.expires);
  const GangRequest gang = support::MakeGang(*engine, 5, {{Ask(1000, 1, 100), 2, 2}});
  const Lease of_gang =
      *engine->ReserveGang(gang, *engine->ProposeGang(gang, SimTime{101}), SimTime{101}, 40);
  EXPECT_EQ(of_gang.expires, SimTime{141});
  const PodUid member = engine->FindGang(gang.uid)->pods[0];
  EXPECT_FALSE(engine->Renew(Lease{member, of_gang.epoch, {}}, 10, SimTime{102}).has_value());
  EXPECT_FALSE(engine->RenewGang(Lease{gang.uid, 99, {}}, 10, SimTime{102}).has_value());
  EXPECT_FALSE(engine->RenewGang(Lease{Uid(77), 1, {}}, 10, SimTime{102}).has_value());
  EXPECT_FALSE(engine->RenewGang(of_gang, 10, SimTime{141}).has_value());
}

TEST(Lease, AGangsIsRenewedAsAWhole) {
  auto engine = MakeEngine("binpack", {Node("a", 64'000, 4)}, Short());
  const GangRequest gang = support::MakeGang(*engine, 5, {{Ask(1000, 1, 1000), 2, 4}});
  GangOutcome outcome = *engine->ProposeGang(gang, SimTime{0});
  const Lease lease = *engine->ReserveGang(gang, outcome, SimTime{0});
  EXPECT_EQ(engine->RenewGang(lease, 500, SimTime{50})->expires, SimTime{550});
  EXPECT_EQ(engine->Expire(SimTime{549}), 0U);
  EXPECT_EQ(engine->FindGang(gang.uid)->held, 4);
  EXPECT_TRUE(engine->ConfirmGang(lease, SimTime{549}).has_value());
  EXPECT_EQ(engine->RenewGang(lease, 500, SimTime{600})->expires, SimTime{550});
  const GangRequest late = support::MakeGang(*engine, 6, {{Ask(1000, 0, 0), 2, 2}});
  const Lease other =
      *engine->ReserveGang(late, *engine->ProposeGang(late, SimTime{600}), SimTime{600});
  ASSERT_TRUE(engine->RenewGang(other, 300, SimTime{650}).has_value());
  EXPECT_GT(engine->Expire(SimTime{950}), 0U);
  EXPECT_EQ(engine->FindGang(late.uid), nullptr);
}

// While its room is not free a lease has no end; renewing it does not give it one.
TEST(Lease, ANominationHasNoEndToMove) {
  auto engine = MakeEngine("binpack", {Node("a", 64'000, 1)}, Short());
  ASSERT_TRUE(engine->Place(For(*engine, Ask(1000, 1, 1000), 1), SimTime{0}).placed());
  Request high = For(*engine, Ask(1000, 1, 1000), 2);
  high.standing.priority = 3;
  const Lease lease = *engine->Nominate(
      high, engine->ProposeEviction(high, EvictionRules{}, SimTime{1}), SimTime{1});
  EXPECT_EQ(engine->Renew(lease, 10, SimTime{2})->expires, kNever);
  ASSERT_TRUE(engine->Release(Uid(1), SimTime{5}).has_value());
  EXPECT_EQ(engine->Find(Uid(2))->expires, SimTime{105});
  EXPECT_EQ(engine->Renew(lease, 200, SimTime{6})->expires, SimTime{206});
  EXPECT_EQ(engine->Expire(SimTime{205}), 0U);
  EXPECT_EQ(engine->Expire(SimTime{206}), 1U);
}

// Snapshot and journal both know how long a lease has; epochs go on above all that were given.
TEST(Lease, ARestartKnowsTheNewEnd) {
  JournalBuffer journal;
  auto engine = MakeEngine("binpack", {Node("a", 64'000, 4)}, Short(&journal));
  const Lease pod = Take(*engine, 1, SimTime{0}, 20);
  const GangRequest gang = support::MakeGang(*engine, 5, {{Ask(1000, 1, 100), 2, 2}});
  const Lease of_gang =
      *engine->ReserveGang(gang, *engine->ProposeGang(gang, SimTime{0}), SimTime{0}, 30);
  ASSERT_TRUE(engine->Renew(pod, 1000, SimTime{10}).has_value());
  ASSERT_TRUE(engine->RenewGang(of_gang, 2000, SimTime{10}).has_value());
  const std::size_t records = journal.records();
  ASSERT_TRUE(engine->Renew(pod, 10, SimTime{10}).has_value());  // moves nothing
  EXPECT_EQ(journal.records(), records);
  auto restored = Engine::Restore(engine->Snapshot(), Policy("binpack"), Short());
  ASSERT_TRUE(restored.has_value());
  auto recovered = MakeEngine("binpack", {}, Short());
  const auto read = ReadJournal(journal.bytes());
  ASSERT_TRUE(read.has_value());
  for (const JournalRecord& record : read->records) {
    ASSERT_TRUE(recovered->ApplyRecord(record).has_value());
  }
  for (Engine* again : {restored->get(), recovered.get()}) {
    ASSERT_EQ(again->StateDigest(), engine->StateDigest());
    again->RaiseEpoch(1U << 20);
    EXPECT_EQ(Take(*again, 9, SimTime{11}, 5).epoch, 1U << 20);
    again->RaiseEpoch(7);  // never lowers it
    EXPECT_EQ(Take(*again, 10, SimTime{11}, 5).epoch, (1U << 20) + 1);
    EXPECT_EQ(again->Expire(SimTime{1009}), 2U);
    EXPECT_TRUE(again->Renew(pod, 1, SimTime{1009}).has_value());
    EXPECT_EQ(again->Expire(SimTime{1010}), 1U);
    EXPECT_TRUE(again->ConfirmGang(of_gang, SimTime{1500}).has_value());
  }
  // The snapshot of a raised engine keeps the raise.
  auto third = Engine::Restore((*restored)->Snapshot(), Policy("binpack"), Short());
  EXPECT_GT(Take(**third, 11, SimTime{2000}).epoch, 1U << 20);
}

TEST(Lease, RecordsOfLeasesThatAreNotOpenAreRefused) {
  auto engine = MakeEngine("binpack", {Node("a", 64'000, 4)}, Short());
  const Lease lease = Take(*engine, 1, SimTime{0});
  const auto applies = [&](const RenewedRecord& record) {
    return engine->ApplyRecord(JournalRecord{SimTime{1}, record}).has_value();
  };
  EXPECT_FALSE(applies({Uid(2), false, 1, SimTime{9}}));
  EXPECT_FALSE(applies({Uid(1), false, lease.epoch + 1, SimTime{900}}));
  EXPECT_FALSE(applies({Uid(1), true, lease.epoch, SimTime{900}}));
  EXPECT_TRUE(applies({Uid(1), false, lease.epoch, SimTime{900}}));
  EXPECT_EQ(engine->Find(Uid(1))->expires, SimTime{900});
  ASSERT_TRUE(engine->Confirm(lease, SimTime{2}).has_value());
  EXPECT_FALSE(applies({Uid(1), false, lease.epoch, SimTime{901}}));
}

// Against a plain list of ends: who lives at each moment.
TEST(Lease, RandomRenewals) {
  for (int i = 0; i < support::Scaled(60); ++i) {
    Rng rng(static_cast<std::uint64_t>(i), 9);
    auto engine = MakeEngine("binpack", {Node("a", 640'000, 40)}, Short());
    struct Open {
      Lease lease;
      bool confirmed = false;
    };
    std::vector<Open> open;
    std::uint64_t uids = 0;
    for (std::int64_t t = 0; t < 400; ++t) {
      const SimTime now{t};
      engine->Expire(now);
      std::erase_if(open, [&](const Open& o) { return !o.confirmed && o.lease.expires <= now; });
      ASSERT_EQ(engine->allocation_count(), open.size()) << "seed " << i << " at " << t;
      std::uint64_t last = 0;
      std::size_t met = 0;
      engine->ForEachAllocation([&](const Allocation& a) {
        EXPECT_TRUE(met == 0 || a.uid.lo > last);  // ascending, each once
        last = a.uid.lo;
        ++met;
      });
      ASSERT_EQ(met, open.size());
      const std::uint32_t what = rng.Below(6);
      if (what < 2 && open.size() < 200) {
        open.push_back({Take(*engine, ++uids, now, 1 + rng.Below(60))});
      } else if (!open.empty()) {
        Open& one = open[rng.Below(static_cast<std::uint32_t>(open.size()))];
        if (what < 5) {
          const auto renewed = engine->Renew(one.lease, 1 + rng.Below(60), now);
          ASSERT_TRUE(renewed.has_value());
          ASSERT_GE(renewed->expires, one.lease.expires);
          one.lease = *renewed;
        } else {
          ASSERT_TRUE(engine->Confirm(one.lease, now).has_value());
          one.confirmed = true;
        }
      }
    }
  }
}

}  // namespace
}  // namespace basalt
