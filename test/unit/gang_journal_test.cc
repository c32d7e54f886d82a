// Gangs in journal and snapshot, and journals of the format before there were gangs.
#include <gtest/gtest.h>

#include <string>

#include "scheduler-core/base/digest.h"
#include "test/support/cluster.h"
#include "test/support/gangs.h"

namespace basalt {
namespace {

using support::Ask;
using support::CheckGangs;
using support::GangEngine;
using support::MakeGang;
using support::Racks;

const RequestSpec kCard = Ask(1000, 1, 1000);

// A history with every kind of effect on gangs, small enough to be cut at every byte.
std::string Story(Digest128* state) {
  JournalBuffer journal;
  EngineOptions options;
  options.journal = &journal;
  options.lease_ttl_us = 10;
  auto engine = GangEngine(Racks(2, 2, 2), options);
  const GangRequest a = MakeGang(*engine, 1, {{kCard, 2, 3}, {Ask(500), 1, 1, 0}}, {}, {{}});
  EXPECT_TRUE(engine->PlaceGang(a, SimTime{1})->placed());
  const GangRequest b = MakeGang(*engine, 2, {{kCard, 4, 4}});
  const auto proposed = engine->ProposeGang(b, SimTime{2});
  EXPECT_TRUE(engine->ReserveGang(b, *proposed, SimTime{2}).has_value());
  EXPECT_EQ(engine->ProposeGang(MakeGang(*engine, 3, {{kCard, 4, 4}}), SimTime{3})->kind,
            OutcomeKind::kWait);
  EXPECT_EQ(engine->Expire(SimTime{12}), 1U);  // all of b at once
  EXPECT_TRUE(engine->Apply(PodGone{GangMemberUid(a.uid, 1), true}, SimTime{13}).has_value());
  EXPECT_TRUE(engine->PlaceGang(a, SimTime{14})->placed());
  EXPECT_TRUE(engine->PlaceGang(b, SimTime{15})->placed());
  EXPECT_TRUE(engine->ReleaseGang(b.uid, SimTime{16}).has_value());
  *state = engine->StateDigest();
  return journal.bytes();
}

TEST(GangJournal, ATornTailAtEveryByteLeavesNoPartOfAGang) {
  Digest128 end;
  const std::string bytes = Story(&end);
  std::size_t gangs = 0;
  for (std::size_t cut = 16; cut <= bytes.size(); ++cut) {
    const auto read = ReadJournal(std::string_view(bytes).substr(0, cut));
    ASSERT_TRUE(read.has_value());
    auto engine = GangEngine({});
    for (const JournalRecord& record : read->records) {
      const Status ok = engine->ApplyRecord(record);
      ASSERT_TRUE(ok.has_value()) << ok.error().ToString();
    }
    ASSERT_EQ(CheckGangs(*engine), "") << "cut at " << cut;
    gangs += engine->gangs().size();
    if (cut == bytes.size()) {
      ASSERT_EQ(engine->StateDigest(), end);
    }
  }
  EXPECT_GT(gangs, 100U);
}

TEST(GangJournal, SnapshotAndTheRestOfTheJournal) {
  JournalBuffer journal;
  EngineOptions options;
  options.lease_ttl_us = 100;
  auto first = GangEngine(Racks(2, 2, 2), options);
  const GangRequest a = MakeGang(*first, 1, {{kCard, 2, 3}});
  const auto proposed = first->ProposeGang(a, SimTime{});
  const auto lease = first->ReserveGang(a, *proposed, SimTime{});
  ASSERT_TRUE(first->Apply(PodGone{GangMemberUid(a.uid, 0), true}, SimTime{1}).has_value());
  const std::string snapshot = first->Snapshot();
  options.journal = &journal;
  auto second = Engine::Restore(snapshot, support::Policy("binpack"), options);
  ASSERT_TRUE(second.has_value()) << second.error().ToString();
  EXPECT_EQ((*second)->StateDigest(), first->StateDigest());
  EXPECT_EQ((*second)->FindGang(a.uid)->homes, first->FindGang(a.uid)->homes);
  // The lease goes on in the restored engine; the lost member is replaced, and one more grows.
  ASSERT_TRUE((*second)->ConfirmGang(*lease, SimTime{2}).has_value());
  const GangRequest same = MakeGang(**second, 1, {{kCard, 2, 3}});
  ASSERT_EQ((*second)->PlaceGang(same, SimTime{3})->members.size(), 2U);
  auto third = Engine::Restore(snapshot, support::Policy("binpack"), EngineOptions{});
  const auto read = ReadJournal(journal.bytes());
  for (const JournalRecord& record : read->records) {
    const Status ok = (*third)->ApplyRecord(record);
    ASSERT_TRUE(ok.has_value()) << ok.error().ToString();
  }
  EXPECT_EQ((*third)->StateDigest(), (*second)->StateDigest());
  EXPECT_EQ(CheckGangs(**third), "");
}

TEST(GangJournal, RecordsThatCannotBeAreErrorsAndTakeNothing) {
  auto engine = GangEngine(Racks(1, 2, 2));
  ASSERT_TRUE(engine->ApplyRecord({SimTime{}, ShapeRecord{kCard}}).has_value());
  GangReservedRecord good;
  good.gang.uid = PodUid{1, 1};
  good.gang.spec.tasks = {{"", ShapeId(std::size_t{0}), 2, 2, -1}};
  good.gang.pods = {PodUid{1, 2}, PodUid{1, 3}};
  good.members = {{0, "r0n0", CardSet(1), nullptr}, {1, "r0n1", CardSet(1), nullptr}};
  good.epoch = 1;
  const Digest128 before = engine->StateDigest();
  const auto refused = [&](auto change) {
    GangReservedRecord bad = good;
    change(bad);
    const bool error = !engine->ApplyRecord({SimTime{}, bad}).has_value();
    return error && engine->StateDigest() == before && engine->gangs().empty();
  };
  EXPECT_TRUE(refused([](auto& r) { r.members[1].node = "zz"; }));
  EXPECT_TRUE(refused([](auto& r) { r.members[1].cards = CardSet(0b100); }));
  EXPECT_TRUE(refused([](auto& r) { r.members[1].member = 0; }));
  EXPECT_TRUE(refused([](auto& r) { r.members[1].member = 2; }));
  EXPECT_TRUE(refused([](auto& r) { r.members[1].member = -1; }));
  EXPECT_TRUE(refused([](auto& r) { r.members.clear(); }));
  EXPECT_TRUE(refused([](auto& r) { r.gang.spec.tasks[0].shape = ShapeId(std::size_t{1}); }));
  EXPECT_FALSE(engine->ApplyRecord({SimTime{}, GangConfirmedRecord{good.gang.uid, 1}}).has_value());
  EXPECT_FALSE(engine->ApplyRecord({SimTime{}, GangReleasedRecord{good.gang.uid}}).has_value());
  ASSERT_TRUE(engine->ApplyRecord({SimTime{}, good}).has_value());
  EXPECT_FALSE(engine->ApplyRecord({SimTime{}, good}).has_value());
  EXPECT_EQ(engine->allocation_count(), 2U);
  EXPECT_EQ(CheckGangs(*engine), "");
}

TEST(GangJournal, SnapshotsThatContradictThemselvesAreRefused) {
  auto engine = GangEngine(Racks(1, 2, 2));
  const GangRequest a = MakeGang(*engine, 1, {{kCard, 2, 3}});
  ASSERT_TRUE(engine->PlaceGang(a, SimTime{})->placed());
  ASSERT_TRUE(engine->Apply(PodGone{GangMemberUid(a.uid, 0), true}, SimTime{}).has_value());
  const auto good = DecodeSnapshot(engine->Snapshot());
  ASSERT_TRUE(good.has_value());
  const auto restores = [](const SnapshotContents& contents) {
    return Engine::Restore(EncodeSnapshot(contents), support::Policy("binpack"), EngineOptions{})
        .has_value();
  };
  EXPECT_TRUE(restores(*good));
  for (const auto& damage : std::vector<void (*)(SnapshotContents&)>{
           [](SnapshotContents& c) { c.gangs.clear(); },
           [](SnapshotContents& c) { c.gangs.push_back(c.gangs[0]); },
           [](SnapshotContents& c) { c.gangs[0].members[0] = 1; },
           [](SnapshotContents& c) { c.gangs[0].members[1] = 0; },
           [](SnapshotContents& c) { c.gangs[0].members[0] = 4; },
           [](SnapshotContents& c) { c.gangs[0].homes[1] = {}; },
           [](SnapshotContents& c) { c.gangs[0].homes[7] = {}; },
           [](SnapshotContents& c) { c.gangs[0].gang.uid = PodUid{9, 9}; },
           [](SnapshotContents& c) {
             c.gangs[0].gang.spec.tasks[0].shape = ShapeId(std::size_t{7});
           },
           [](SnapshotContents& c) { c.gangs[0].gang.pods[1] = PodUid{9, 9}; },
           [](SnapshotContents& c) { c.allocations[0].member = 2; },
           [](SnapshotContents& c) { c.allocations[0].member = 99; },
           [](SnapshotContents& c) {
             c.allocations.clear();
             c.gangs[0].members = {3, 0, 0};
           }}) {
    SnapshotContents bad = *good;
    damage(bad);
    EXPECT_FALSE(restores(bad));
  }
}

// The layout of format version 1, written out by hand: no gangs, no NUMA takes, no networks.
class OldWriter {
 public:
  explicit OldWriter(const char* magic) : out_(magic) {
    U32(1);
    U32(0);
  }
  void U8(std::uint8_t v) { out_.push_back(static_cast<char>(v)); }
  void U32(std::uint32_t v) { Little(v, 4); }
  void U64(std::uint64_t v) { Little(v, 8); }
  void I64(std::int64_t v) { Little(static_cast<std::uint64_t>(v), 8); }
  void Text(std::string_view v) {
    U32(static_cast<std::uint32_t>(v.size()));
    out_ += v;
  }
  void Uid(std::uint64_t n) {
    U64(0x5eed);
    U64(n);
  }
  void CardRequest() {  // 1 CPU, 1 card of 500 milli
    for (const std::int64_t v : {1000, 0, 1, 500, 0, 0}) I64(v);
    for (int lists = 0; lists < 3; ++lists) U32(0);  // models, selector, tolerations
  }
  void Node() {
    Text("a");
    for (const std::int64_t v : {0, 8000, 4096, 0, 1}) I64(v);  // rank, CPU, memory, pods, NUMA
    U32(0);
    U32(0);  // labels, taints
    U32(2);
    for (int card = 0; card < 2; ++card) {
      Text("");
      Text("T4");
      for (const std::int64_t v : {0, 1000, 0, -1}) I64(v);  // memory, compute, slots, NUMA
      U8(0);
    }
  }
  // Everything since the last frame becomes one.
  template <class Fn>
  void Frame(std::int64_t now, const Fn& fill) {
    std::string head = std::move(out_);
    out_.clear();
    I64(now);
    fill();
    const std::string body = std::move(out_);
    out_ = std::move(head);
    U32(static_cast<std::uint32_t>(body.size()));
    U64(DigestOf(body).lo);
    out_ += body;
  }
  std::string out_;

 private:
  void Little(std::uint64_t v, int bytes) {
    for (int i = 0; i < bytes; ++i) out_.push_back(static_cast<char>((v >> (8 * i)) & 0xFF));
  }
};

TEST(OldFormat, AJournalOfVersionOneIsRead) {
  OldWriter w("BSLTJRNL");
  w.Frame(0, [&] {  // policy
    w.U8(1);
    w.Text("binpack");
    w.U64(7);
    w.U32(0);
    w.I64(0);
  });
  w.Frame(1, [&] {  // node added
    w.U8(3);
    w.Node();
  });
  w.Frame(1, [&] {  // shape 0
    w.U8(2);
    w.CardRequest();
  });
  for (std::uint64_t pod = 0; pod < 3; ++pod) {
    w.Frame(2, [&] {  // reserved
      w.U8(10);
      w.Uid(pod);
      w.U32(0);
      w.U32(0);
      w.U64(0);
      w.Text("a");
      w.U64(pod == 0 ? 1 : 2);
      w.U64(pod + 1);
      w.I64(100);
    });
    w.Frame(3, [&] {  // confirmed
      w.U8(11);
      w.Uid(pod);
    });
  }
  w.Frame(4, [&] {  // gone, without a word about failure
    w.U8(8);
    w.Uid(1);
  });
  w.Frame(5, [&] {  // observed
    w.U8(7);
    w.Uid(9);
    w.U32(0);
    w.CardRequest();
    w.U64(0);
    w.Text("a");
    w.U64(1);
  });
  const auto read = ReadJournal(w.out_);
  ASSERT_TRUE(read.has_value());
  ASSERT_EQ(read->tail_problem, "");
  ASSERT_EQ(read->records.size(), 11U);
  EXPECT_FALSE(std::get<PodGone>(std::get<EventRecord>(read->records[9].body).event).failed);
  auto engine = support::MakeEngine("binpack", {});
  for (const JournalRecord& record : read->records) {
    ASSERT_TRUE(engine->ApplyRecord(record).has_value());
  }
  EXPECT_EQ(engine->allocation_count(), 3U);
  const ClusterState& state = engine->state();
  const NodeId a = state.FindNode("a");
  EXPECT_EQ(state.card(a, 0).free_milli, 0);
  EXPECT_EQ(state.card(a, 1).free_milli, 500);
  EXPECT_EQ(state.hot(a).cpu_free, 5000);
  EXPECT_TRUE(engine->Audit().has_value());
}

TEST(OldFormat, ASnapshotOfVersionOneIsRead) {
  OldWriter body("");
  body.out_.clear();
  body.U64(5);  // next epoch
  body.I64(9);  // now
  body.U32(1);
  body.Node();
  body.U8(0);   // not cordoned
  body.U32(1);  // an unhealthy card
  body.U8(1);
  body.U32(1);
  body.CardRequest();
  body.U32(1);
  body.Uid(3);
  body.U32(2);
  body.U32(0);
  body.U64(0);
  body.Text("a");
  body.U64(1);
  body.U64(4);
  body.I64(50);
  body.U8(1);
  OldWriter w("BSLTSNAP");
  w.U64(DigestOf(body.out_).lo);
  auto engine = Engine::Restore(w.out_ + body.out_, support::Policy("binpack"), EngineOptions{});
  ASSERT_TRUE(engine.has_value()) << engine.error().ToString();
  ASSERT_NE((*engine)->Find(support::Uid(3)), nullptr);
  EXPECT_EQ((*engine)->Find(support::Uid(3))->attempt, 2U);
  EXPECT_EQ((*engine)->Find(support::Uid(3))->member, -1);
  EXPECT_TRUE((*engine)->gangs().empty());
  EXPECT_TRUE((*engine)->Audit().has_value());
}

}  // namespace
}  // namespace basalt
