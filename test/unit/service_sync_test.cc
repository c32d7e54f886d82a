// Sync: generations, readiness, sweeps, observed pods; and restarts.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "test/support/service_bed.h"

namespace basalt {
namespace {

using service::Code;
using support::Bed;
using support::GangOf;
using support::GoneDelta;
using support::NodeDelta;
using support::PodDelta;
using support::PodOf;
using support::Uid;
using support::UidOf;

namespace pb = placement::v1;

pb::SyncOpen OpenOf(const std::string& source, std::vector<pb::SyncKind> kinds) {
  pb::SyncOpen open;
  open.set_source(source);
  for (const pb::SyncKind kind : kinds) open.add_kinds(kind);
  return open;
}

TEST(ServiceSync, GenerationsHaveNoHoles) {
  Bed bed;
  service::Service& s = bed.service();
  ASSERT_TRUE(s.SyncOpen(bed.caller, OpenOf("a", {pb::SYNC_KIND_NODES}), 7, bed.now()).ok());
  pb::SyncDeltas deltas;
  *deltas.add_deltas() = NodeDelta("n1", 8000, 1);
  deltas.set_generation(1);
  EXPECT_EQ(s.SyncDeltas(deltas, 7, bed.now()).body.applied_generation(), 1u);
  // The same again changes nothing.
  const std::string digest = s.StateDigest();
  EXPECT_EQ(s.SyncDeltas(deltas, 7, bed.now()).body.applied_generation(), 1u);
  EXPECT_EQ(s.StateDigest(), digest);
  // A hole: nothing more is taken from this stream.
  deltas.set_generation(3);
  deltas.mutable_deltas(0)->mutable_node()->mutable_spec()->set_name("n3");
  const auto hole = s.SyncDeltas(deltas, 7, bed.now());
  EXPECT_TRUE(hole.body.relist());
  deltas.set_generation(2);
  EXPECT_TRUE(s.SyncDeltas(deltas, 7, bed.now()).body.relist());
  EXPECT_EQ(s.StateDigest(), digest);
  EXPECT_EQ(s.SyncDeltas(deltas, 8, bed.now()).code, Code::kPrecondition);
}

TEST(ServiceSync, OneSourceAKind) {
  Bed bed;
  service::Service& s = bed.service();
  ASSERT_TRUE(s.SyncOpen(bed.caller, OpenOf("a", {pb::SYNC_KIND_NODES}), 1, bed.now()).ok());
  EXPECT_EQ(
      s.SyncOpen(bed.caller, OpenOf("b", {pb::SYNC_KIND_NODES, pb::SYNC_KIND_PODS}), 2, bed.now())
          .code,
      Code::kExists);
  EXPECT_TRUE(s.SyncOpen(bed.caller, OpenOf("b", {pb::SYNC_KIND_PODS}), 3, bed.now()).ok());
  // The same source again takes over its own broken stream.
  EXPECT_TRUE(s.SyncOpen(bed.caller, OpenOf("a", {pb::SYNC_KIND_NODES}), 4, bed.now()).ok());
  pb::SyncDeltas deltas;
  deltas.set_generation(1);
  EXPECT_EQ(s.SyncDeltas(deltas, 1, bed.now()).code, Code::kPrecondition);
  s.SyncClosed(4);
  EXPECT_TRUE(s.SyncOpen(bed.caller, OpenOf("c", {pb::SYNC_KIND_NODES}), 5, bed.now()).ok());
  // What a stream does not carry it may not tell.
  *deltas.add_deltas() = PodDelta(PodOf(1, 1000), "n1");
  EXPECT_EQ(s.SyncDeltas(deltas, 5, bed.now()).body.rejected_size(), 1);
  EXPECT_EQ(s.SyncOpen(bed.caller, OpenOf("d", {}), 6, bed.now()).code, Code::kInvalid);
}

TEST(ServiceSync, AStreamResumesWhereItEnded) {
  Bed bed;
  bed.List({NodeDelta("n1", 8000, 1)});
  service::Service& s = bed.service();
  s.SyncClosed(1);
  pb::SyncOpen open =
      OpenOf("bed", {pb::SYNC_KIND_NODES, pb::SYNC_KIND_PODS, pb::SYNC_KIND_QUEUES});
  open.set_resume_generation(1);
  open.set_server_epoch(1);
  const auto resumed = s.SyncOpen(bed.caller, open, 20, bed.now());
  EXPECT_FALSE(resumed.body.relist());
  EXPECT_EQ(resumed.body.applied_generation(), 1u);
  EXPECT_TRUE(resumed.body.ready());
  s.SyncClosed(20);
  open.set_server_epoch(2);  // of another boot
  EXPECT_TRUE(s.SyncOpen(bed.caller, open, 21, bed.now()).body.relist());
}

TEST(ServiceSync, CompleteSweepsWhatWasNotListed) {
  Bed bed;
  bed.List({NodeDelta("n1", 8000, 4), NodeDelta("n2", 8000, 4),
            PodDelta(PodOf(1, 1000, 1, 1000), "n1"), PodDelta(PodOf(2, 1000, 1, 1000), "n2"),
            PodDelta(PodOf(3, 1000, 1, 1000), "n1")});
  EXPECT_EQ(bed.engine().allocation_count(), 3u);
  bed.Wait(1);
  pb::PodRequest fourth = PodOf(4, 1000, 1, 1000);
  fourth.mutable_constraints()->add_only_nodes("n1");
  pb::PodRequest fifth = PodOf(5, 1000, 1, 1000);
  fifth.mutable_constraints()->add_only_nodes("n1");
  ASSERT_TRUE(bed.Reserve(fourth).body.has_lease());
  const auto confirmed = bed.Reserve(fifth);
  ASSERT_EQ(bed.Confirm(confirmed.body.lease()), pb::LEASE_ANSWER_OK);
  bed.Wait(1);
  bed.List({NodeDelta("n1", 8000, 4), PodDelta(PodOf(1, 1000, 1, 1000), "n1")});
  EXPECT_NE(bed.engine().Find(Uid(1)), nullptr);
  EXPECT_EQ(bed.engine().Find(Uid(2)), nullptr);  // with its node
  EXPECT_EQ(bed.engine().Find(Uid(3)), nullptr);  // not listed
  EXPECT_EQ(bed.engine().Find(Uid(5)), nullptr);  // confirmed before, and not listed
  // A lease that is not confirmed has its time.
  EXPECT_NE(bed.engine().Find(Uid(4)), nullptr);
  EXPECT_FALSE(bed.engine().state().FindNode("n2").valid());
  EXPECT_TRUE(bed.service().Audit().has_value());
}

TEST(ServiceSync, WhatIsBoundWhileListingIsNotSwept) {
  Bed bed;
  bed.List({NodeDelta("n1", 8000, 4)});
  service::Service& s = bed.service();
  ASSERT_TRUE(
      s.SyncOpen(bed.caller,
                 OpenOf("bed", {pb::SYNC_KIND_NODES, pb::SYNC_KIND_PODS, pb::SYNC_KIND_QUEUES}), 50,
                 bed.now())
          .ok());
  bed.Wait(10);
  const auto lease = bed.Reserve(PodOf(5, 1000, 1, 1000));
  ASSERT_EQ(bed.Confirm(lease.body.lease()), pb::LEASE_ANSWER_OK);
  pb::SyncDeltas deltas;
  deltas.set_generation(1);
  *deltas.add_deltas() = NodeDelta("n1", 8000, 4);
  s.SyncDeltas(deltas, 50, bed.now());
  pb::SyncComplete complete;
  complete.set_generation(1);
  complete.add_kinds(pb::SYNC_KIND_PODS);
  complete.add_kinds(pb::SYNC_KIND_NODES);
  EXPECT_EQ(s.SyncComplete(complete, 50, bed.now()).body.swept_pods(), 0);
  EXPECT_NE(bed.engine().Find(Uid(5)), nullptr);
}

// Which of the deltas were of the listing is not known: what is held and was not listed would stay
// for ever, so the source lists anew.
TEST(ServiceSync, ACompleteThatDeltasOvertookAsksForTheListingAgain) {
  Bed bed;
  bed.List({NodeDelta("n1", 8000, 4), PodDelta(PodOf(1, 1000, 1, 1000), "n1"),
            PodDelta(PodOf(2, 1000, 1, 1000), "n1")});
  bed.Wait(1);
  service::Service& s = bed.service();
  const auto kinds = {pb::SYNC_KIND_NODES, pb::SYNC_KIND_PODS, pb::SYNC_KIND_QUEUES};
  ASSERT_TRUE(s.SyncOpen(bed.caller, OpenOf("bed", kinds), 50, bed.now()).ok());
  pb::SyncDeltas listing;
  listing.set_generation(1);
  *listing.add_deltas() = NodeDelta("n1", 8000, 4);
  ASSERT_TRUE(s.SyncDeltas(listing, 50, bed.now()).ok());
  pb::SyncDeltas behind;
  behind.set_generation(2);
  *behind.add_deltas() = PodDelta(PodOf(1, 1000, 1, 1000), "n1");
  ASSERT_FALSE(s.SyncDeltas(behind, 50, bed.now()).body.relist());
  pb::SyncComplete complete;
  complete.set_generation(1);
  for (const pb::SyncKind kind : kinds) complete.add_kinds(kind);
  EXPECT_TRUE(s.SyncComplete(complete, 50, bed.now()).body.relist());
  EXPECT_NE(bed.engine().Find(Uid(2)), nullptr);
  bed.List({NodeDelta("n1", 8000, 4), PodDelta(PodOf(1, 1000, 1, 1000), "n1")});
  EXPECT_NE(bed.engine().Find(Uid(1)), nullptr);
  EXPECT_EQ(bed.engine().Find(Uid(2)), nullptr);
}

// One that is said again, behind later deltas, is no news.
TEST(ServiceSync, ACompleteThatComesTwiceChangesNothing) {
  Bed bed;
  service::Service& s = bed.service();
  ASSERT_TRUE(s.SyncOpen(bed.caller, OpenOf("a", {pb::SYNC_KIND_NODES}), 50, bed.now()).ok());
  pb::SyncDeltas deltas;
  deltas.set_generation(1);
  *deltas.add_deltas() = NodeDelta("n1", 8000, 4);
  ASSERT_TRUE(s.SyncDeltas(deltas, 50, bed.now()).ok());
  pb::SyncComplete complete;
  complete.set_generation(1);
  complete.add_kinds(pb::SYNC_KIND_NODES);
  ASSERT_FALSE(s.SyncComplete(complete, 50, bed.now()).body.relist());
  deltas.set_generation(2);
  ASSERT_TRUE(s.SyncDeltas(deltas, 50, bed.now()).ok());
  EXPECT_FALSE(s.SyncComplete(complete, 50, bed.now()).body.relist());
  EXPECT_TRUE(bed.engine().state().FindNode("n1").valid());
}

TEST(ServiceSync, ADescribedNodeKeepsItsPods) {
  Bed bed;
  bed.List({NodeDelta("n1", 8000, 2)});
  const auto lease = bed.Reserve(PodOf(1, 1000, 1, 1000));
  pb::Delta changed = NodeDelta("n1", 16000, 2);
  pb::Label* label = changed.mutable_node()->mutable_spec()->add_labels();
  label->set_key("zone");
  label->set_value("a");
  changed.mutable_node()->set_cordoned(true);
  changed.mutable_node()->mutable_spec()->mutable_cards(1)->set_unhealthy(true);
  EXPECT_EQ(bed.Tell({changed}).rejected_size(), 0);
  EXPECT_EQ(bed.Confirm(lease.body.lease()), pb::LEASE_ANSWER_OK);
  const NodeId node = bed.engine().state().FindNode("n1");
  EXPECT_TRUE(bed.engine().state().cordoned(node));
  EXPECT_FALSE(bed.engine().state().card(node, 1).healthy);
  EXPECT_EQ(bed.engine().state().capacity(node).cpu, 16000);
  EXPECT_TRUE(bed.service().Audit().has_value());
}

TEST(ServiceSync, BoundPodsConfirmTheirLease) {
  Bed bed;
  bed.List({NodeDelta("n1", 8000, 4)});
  const auto lease = bed.Reserve(PodOf(1, 1000, 1, 1000));
  const std::string digest = bed.service().StateDigest();
  bed.Tell({PodDelta(PodOf(1, 1000, 1, 1000), "n1")});
  const Allocation* held = bed.engine().Find(Uid(1));
  ASSERT_NE(held, nullptr);
  EXPECT_TRUE(held->confirmed);
  EXPECT_EQ(held->epoch, lease.body.lease().epoch());
  EXPECT_EQ(held->cards.bits(), 1u);
  // The Confirm that comes after it finds it done; and a bound pod is not given back.
  EXPECT_EQ(bed.Confirm(lease.body.lease()), pb::LEASE_ANSWER_OK);
  EXPECT_EQ(bed.Release(lease.body.lease()), pb::LEASE_ANSWER_FENCED);
  const std::uint64_t position = bed.service().position();
  bed.Tell({PodDelta(PodOf(1, 1000, 1, 1000), "n1")});
  EXPECT_EQ(bed.service().position(), position);  // nothing new
}

TEST(ServiceSync, ForeignPodsHaveTheCardsThatAreTold) {
  Bed bed;
  bed.List({NodeDelta("n1", 8000, 4)});
  pb::Delta told = PodDelta(PodOf(1, 1000, 1, 1000), "n1");
  told.mutable_pod()->add_granted_uuids("GPU-n1-2");
  pb::Delta wrong = PodDelta(PodOf(2, 1000, 1, 1000), "n1");
  wrong.mutable_pod()->add_granted_uuids("GPU-other");
  const pb::SyncResponse answer = bed.Tell({told, wrong, PodDelta(PodOf(3, 1000, 1, 1000), "n1")});
  EXPECT_EQ(answer.rejected_size(), 1);
  EXPECT_EQ(bed.engine().Find(Uid(1))->cards.bits(), 4u);
  EXPECT_EQ(bed.engine().Find(Uid(3))->cards.bits(), 1u);  // as the policy would
  // More than fit: recorded all the same, on the emptiest cards.
  bed.Tell({PodDelta(PodOf(4, 1000, 2, 1000), "n1"), PodDelta(PodOf(5, 1000, 1, 1000), "n1")});
  EXPECT_EQ(bed.engine().allocation_count(), 4u);
  EXPECT_EQ(bed.engine().state().totals().gpu_free, -1000);
  EXPECT_TRUE(bed.service().Audit().has_value());
}

TEST(ServiceSync, GrantsThatDifferWinAndAreTold) {
  Bed bed;
  bed.List({NodeDelta("n1", 8000, 4)});
  bed.Reserve(PodOf(1, 1000, 1, 1000));
  const std::uint64_t from = bed.service().last_event();
  pb::Delta granted = PodDelta(PodOf(1, 1000, 1, 1000), "n1");
  granted.mutable_pod()->add_granted_uuids("GPU-n1-3");
  bed.Tell({granted});
  EXPECT_EQ(bed.engine().Find(Uid(1))->cards.bits(), 8u);
  bool told = false;
  for (const pb::WatchEvent& event : bed.service().WatchAfter(from, 10)) {
    if (!event.has_mismatch()) continue;
    told = true;
    EXPECT_EQ(event.mismatch().chosen(0), "GPU-n1-0");
    EXPECT_EQ(event.mismatch().granted(0), "GPU-n1-3");
  }
  EXPECT_TRUE(told);
}

TEST(ServiceSync, PodsMayComeBeforeTheirNode) {
  Bed bed;
  bed.List({PodDelta(PodOf(1, 1000, 1, 1000), "n1"), PodDelta(PodOf(2, 1000, 1, 1000), "n1")});
  EXPECT_EQ(bed.engine().allocation_count(), 0u);
  bed.Tell({GoneDelta(2)});
  bed.Tell({NodeDelta("n1", 8000, 2)});
  EXPECT_NE(bed.engine().Find(Uid(1)), nullptr);
  EXPECT_EQ(bed.engine().Find(Uid(2)), nullptr);
}

TEST(ServiceSync, DeletedPodsTakeNothingAnyMore) {
  Bed bed;
  bed.List({NodeDelta("n1", 8000, 2)});
  bed.Reserve(PodOf(1, 1000, 1, 1000));
  bed.Tell({GoneDelta(1)});
  EXPECT_EQ(bed.engine().allocation_count(), 0u);
  const auto late = bed.Reserve(PodOf(1, 1000, 1, 1000));
  EXPECT_FALSE(late.body.has_lease());
  EXPECT_NE(late.body.pod().reason().find("deleted"), std::string::npos);
  bed.Wait(601'000'000);
  bed.service().Tick(bed.now());
  EXPECT_TRUE(bed.Reserve(PodOf(1, 1000, 1, 1000)).body.has_lease());
}

TEST(ServiceSync, QueuesMayComeInAnyOrderAndClose) {
  Bed bed;
  const auto queue = [](const std::string& name, const std::string& parent, int cards) {
    pb::Delta delta;
    delta.mutable_queue()->set_name(name);
    delta.mutable_queue()->set_parent(parent);
    pb::Amount* amount = delta.mutable_queue()->add_capacity();
    amount->set_resource("gpu");
    amount->set_amount(cards * 1000);
    return delta;
  };
  bed.List({NodeDelta("n1", 8000, 4), queue("leaf", "top", 1), queue("top", "", 2)});
  EXPECT_TRUE(bed.engine().queues().Find("leaf").has_value());
  pb::PodRequest pod = PodOf(1, 1000, 1, 1000);
  pod.mutable_standing()->set_queue("leaf");
  EXPECT_TRUE(bed.Reserve(pod).body.has_lease());
  pb::PodRequest second = PodOf(2, 1000, 1, 1000);
  second.mutable_standing()->set_queue("leaf");
  const auto over = bed.Reserve(second);
  EXPECT_TRUE(over.body.pod().by_quota());
  pb::Delta closed = queue("leaf", "top", 2);
  closed.mutable_queue()->set_closed(true);
  bed.Tell({closed});
  EXPECT_NE(bed.Reserve(second).body.pod().reason().find("closed"), std::string::npos);
  bed.Tell({queue("leaf", "top", 2)});
  EXPECT_TRUE(bed.Reserve(second).body.has_lease());
}

TEST(ServiceSync, ARestartKnowsWhatItKnew) {
  Bed bed;
  const std::vector<pb::Delta> listed = {NodeDelta("n1", 8000, 4), NodeDelta("n2", 8000, 4)};
  bed.List(listed);
  const auto open = bed.Reserve(PodOf(1, 1000, 1, 1000));
  const auto confirmed = bed.Reserve(PodOf(2, 1000, 1, 1000));
  ASSERT_EQ(bed.Confirm(confirmed.body.lease()), pb::LEASE_ANSWER_OK);
  const auto gang = bed.Reserve(GangOf(100, 3, 3, 1, 1000));
  bed.Renew(open.body.lease(), 120'000'000);
  const std::string digest = bed.service().StateDigest();
  bed.Restart();
  EXPECT_EQ(bed.service().StateDigest(), digest);
  EXPECT_FALSE(bed.service().ready());
  EXPECT_EQ(bed.Confirm(open.body.lease()), pb::LEASE_ANSWER_NOT_READY);
  EXPECT_EQ(bed.Renew(gang.body.lease(), 90'000'000), pb::LEASE_ANSWER_OK);
  std::vector<pb::Delta> pods = listed;
  pods.push_back(PodDelta(PodOf(1, 1000, 1, 1000), ""));
  pods.push_back(PodDelta(PodOf(2, 1000, 1, 1000), "n1"));
  bed.List(pods);
  EXPECT_EQ(bed.Confirm(open.body.lease()), pb::LEASE_ANSWER_OK);
  EXPECT_EQ(bed.Confirm(gang.body.lease()), pb::LEASE_ANSWER_OK);
  // Later leases are above all of the boot before.
  const auto later = bed.Reserve(PodOf(9, 1000));
  EXPECT_EQ(later.body.lease().epoch() >> service::kEpochBits, 2u);
}

TEST(ServiceSync, ALeaseThatWasLostIsFenced) {
  Bed bed;
  const std::vector<pb::Delta> listed = {NodeDelta("n1", 8000, 1)};
  bed.List(listed);
  const std::size_t durable = bed.store.journal_size();
  const auto lost = bed.Reserve(PodOf(1, 1000, 1, 1000));
  bed.Restart(durable);
  bed.List(listed);
  EXPECT_EQ(bed.Confirm(lost.body.lease()), pb::LEASE_ANSWER_FENCED);
  const auto other = bed.Reserve(PodOf(2, 1000, 1, 1000));
  ASSERT_TRUE(other.body.has_lease());
  EXPECT_EQ(bed.Release(lost.body.lease()), pb::LEASE_ANSWER_FENCED);
  EXPECT_EQ(bed.engine().allocation_count(), 1u);
}

// A Release that was refused after a restart, or timed out, and comes again once its own host has
// reserved the same lease anew and is binding the pod.
TEST(ServiceSync, ALateReleaseEndsNothingThatIsReservedAgain) {
  for (const bool gang : {false, true}) {
    for (const bool restart : {false, true}) {
      Bed bed;
      const std::vector<pb::Delta> listed = {NodeDelta("n1", 8000, 2)};
      bed.List(listed);
      const auto reserve = [&](const std::string& id) {
        const auto answer = gang ? bed.Reserve(GangOf(100, 2, 2, 1, 1000), id)
                                 : bed.Reserve(PodOf(1, 1000, 1, 1000), id);
        EXPECT_TRUE(answer.body.has_lease());
        return answer.body.lease();
      };
      const std::size_t pods = gang ? 2 : 1;
      const pb::Lease first = reserve("r1");
      ASSERT_EQ(bed.Confirm(first), pb::LEASE_ANSWER_OK);
      if (restart) {
        bed.Restart();
        std::vector<pb::Delta> all = listed;
        for (const std::uint64_t pod : {1U, 101U, 102U}) {
          all.push_back(PodDelta(PodOf(pod, 1000, 1, 1000), ""));
        }
        bed.List(all);
        EXPECT_EQ(bed.Release(first), pb::LEASE_ANSWER_FENCED);
      }
      const pb::Lease again = reserve("r2");
      EXPECT_EQ(again.epoch(), first.epoch());
      EXPECT_GT(again.turn(), first.turn());
      ASSERT_EQ(bed.Confirm(again), pb::LEASE_ANSWER_OK);
      bed.Confirm(first);  // late, too
      EXPECT_EQ(bed.Release(first), pb::LEASE_ANSWER_FENCED);
      if (gang) {
        pb::Lease member = first;
        member.set_uid(support::UidOf(101));
        member.set_gang(false);
        EXPECT_EQ(bed.Release(member), pb::LEASE_ANSWER_FENCED);
      }
      EXPECT_EQ(bed.engine().allocation_count(), pods);
      // A copy of the request is the same turn; what it is good for ends by its own lease.
      EXPECT_EQ(reserve("r2").turn(), again.turn());
      EXPECT_EQ(bed.Release(again), pb::LEASE_ANSWER_OK);
      EXPECT_EQ(bed.engine().allocation_count(), 0u);
    }
  }
}

// Late copies of an older turn's Confirm and Release, after a restart that knows no turns.
TEST(ServiceSync, ALateConfirmTakesNoTurnAfterARestart) {
  Bed bed;
  const std::vector<pb::Delta> listed = {NodeDelta("n1", 8000, 2),
                                         PodDelta(PodOf(1, 1000, 1, 1000), "")};
  bed.List(listed);
  const pb::Lease first = bed.Reserve(PodOf(1, 1000, 1, 1000), "r1").body.lease();
  ASSERT_EQ(bed.Confirm(first), pb::LEASE_ANSWER_OK);
  const pb::Lease again = bed.Reserve(PodOf(1, 1000, 1, 1000), "r2").body.lease();
  ASSERT_EQ(bed.Confirm(again), pb::LEASE_ANSWER_OK);  // the host binds from here on
  bed.Restart();
  bed.List(listed);
  EXPECT_EQ(bed.Confirm(first), pb::LEASE_ANSWER_OK);
  EXPECT_EQ(bed.Release(first), pb::LEASE_ANSWER_FENCED);
  EXPECT_EQ(bed.Release(again), pb::LEASE_ANSWER_FENCED);
  const pb::Lease third = bed.Reserve(PodOf(1, 1000, 1, 1000), "r3").body.lease();
  EXPECT_EQ(bed.Release(first), pb::LEASE_ANSWER_FENCED);
  EXPECT_EQ(bed.engine().allocation_count(), 1u);
  EXPECT_EQ(bed.Release(third), pb::LEASE_ANSWER_OK);
}

TEST(ServiceSync, AMemberOfAnOlderPartIsGivenBackByTheNewestLease) {
  Bed bed;
  bed.List({NodeDelta("n1", 8000, 2)});
  const pb::Lease first = bed.Reserve(GangOf(100, 4, 2, 1, 1000), "r1").body.lease();
  ASSERT_EQ(bed.Confirm(first), pb::LEASE_ANSWER_OK);
  bed.Tell({NodeDelta("n2", 8000, 2)});
  const pb::Lease grown = bed.Reserve(GangOf(100, 4, 2, 1, 1000), "r2").body.lease();
  ASSERT_GT(grown.epoch(), first.epoch());
  ASSERT_EQ(bed.engine().allocation_count(), 4u);
  pb::Lease member = first;  // the newest answer named its place, too: it may be binding
  member.set_uid(support::UidOf(101));
  member.set_gang(false);
  EXPECT_EQ(bed.Release(member), pb::LEASE_ANSWER_FENCED);
  member.set_epoch(grown.epoch());
  member.set_turn(grown.turn());
  EXPECT_EQ(bed.Release(member), pb::LEASE_ANSWER_OK);
  EXPECT_EQ(bed.engine().allocation_count(), 3u);
}

TEST(ServiceSync, ARestartAtEveryRecordIsConsistent) {
  // Wherever the journal ends, the state is one that was: it audits, and listing makes it ready.
  Bed bed;
  const std::vector<pb::Delta> listed = {NodeDelta("n1", 8000, 4), NodeDelta("n2", 8000, 4)};
  bed.List(listed);
  const auto gang = bed.Reserve(GangOf(100, 3, 3, 1, 1000));
  bed.Confirm(gang.body.lease());
  bed.Reserve(PodOf(1, 1000, 1, 1000));
  bed.Tell({PodDelta(PodOf(7, 1000, 1, 500), "n2"), NodeDelta("n2", 9000, 4), GoneDelta(7)});
  const std::string bytes_digest = bed.service().StateDigest();
  const auto options = service::EngineOptionsOf(support::TestCluster(), support::TestEnvironment());
  int distinct = 0;
  std::string last;
  for (std::size_t keep = 16; keep <= bed.store.journal_size(); ++keep) {
    const auto engine = bed.store.Recover(support::Policy("binpack"), *options, keep);
    ASSERT_TRUE(engine.has_value()) << engine.error().ToString() << " at byte " << keep;
    ASSERT_TRUE((*engine)->Audit().has_value()) << "at byte " << keep;
    const Gang* held = (*engine)->FindGang(Uid(100));
    ASSERT_TRUE(held == nullptr || held->held == 3) << "a part of a gang at byte " << keep;
    const std::string digest = (*engine)->StateDigest().ToHex();
    distinct += digest != last ? 1 : 0;
    last = digest;
  }
  EXPECT_EQ(last, bytes_digest);
  EXPECT_GT(distinct, 5);
}

// What is refused is told in valid UTF-8, or the syncer could not read the answer, nor the next one
// after it has listed again. Messages quote the first bytes of what they refuse.
TEST(ServiceSync, WhatIsRefusedIsToldAsText) {
  Bed bed;
  bed.List({NodeDelta("n1", 8000, 4)});
  pb::Delta delta;
  std::string half(63, 'x');
  half += "\xC3\xA4";  // cut inside the last letter
  delta.mutable_pod()->mutable_pod()->set_uid(half);
  pb::Delta control;
  control.mutable_pod_gone()->set_uid("a\nb\x1b[2J");
  const pb::SyncResponse answer = bed.Tell({delta, control});
  ASSERT_EQ(answer.rejected_size(), 2);
  pb::SyncResponse read;
  ASSERT_TRUE(read.ParseFromString(answer.SerializeAsString()));  // refuses what is no UTF-8
  EXPECT_NE(read.rejected(0).reason().find("\\xc3"), std::string::npos);
  EXPECT_EQ(read.rejected(1).reason().find('\n'), std::string::npos);
  EXPECT_EQ(read.rejected(1).object().find('\x1b'), std::string::npos);
}

// Telling a cluster costs what it tells: no decision is made, no node looked at for another one.
TEST(ServiceSync, AListingLooksAtNoOtherNodes) {
  const auto work = [](int nodes) {
    Bed bed;
    std::vector<pb::Delta> deltas;
    for (int n = 0; n < nodes; ++n) deltas.push_back(NodeDelta("n" + std::to_string(n), 64000, 8));
    for (int p = 0; p < 8 * nodes; ++p) {
      const int node = p / 8;
      pb::Delta pod = support::PodDelta(PodOf(static_cast<std::uint64_t>(p + 1), 1000, 1, 1000),
                                        "n" + std::to_string(node));
      pod.mutable_pod()->add_granted_uuids("GPU-n" + std::to_string(node) + "-" +
                                           std::to_string(p % 8));
      deltas.push_back(pod);
    }
    bed.List(deltas);
    EXPECT_EQ(bed.engine().allocation_count(), static_cast<std::size_t>(8 * nodes));
    EXPECT_EQ(bed.engine().state().shape_count(), 1u);  // an ask is read once
    return bed.engine().work();
  };
  const WorkCounters small = work(20);
  const WorkCounters large = work(200);
  EXPECT_EQ(large.decisions, 0u);
  EXPECT_EQ(large.index_rebuilds, 0u);
  EXPECT_EQ(large.nodes_checked, 10 * small.nodes_checked);
  EXPECT_LE(large.nodes_checked, 8u * 200);
  EXPECT_EQ(large.nodes_scored, 10 * small.nodes_scored);
}

// Asks that nobody holds are forgotten when they are many; what is held, its leases and the digest
// stay. When that does not help calls are refused, and what runs is recorded all the same.
TEST(ServiceSync, AsksThatNobodyHoldsAreForgotten) {
  service::ClusterConfig config = support::TestCluster();
  config.max_asks = 1000;
  Bed bed(config);
  bed.List({NodeDelta("n1", 64'000, 8), NodeDelta("n2", 64'000, 8)});
  const auto lease = bed.Reserve(PodOf(1, 1000, 1, 500)).body.lease();
  ASSERT_EQ(bed.Confirm(lease), pb::LEASE_ANSWER_OK);
  const auto open = bed.Reserve(support::GangOf(10, 2, 2, 1, 500)).body.lease();
  const auto ask = [&bed](int memory) {
    pb::ProposeRequest request;
    *request.mutable_pod() = PodOf(500, 1000, 1, 500);
    request.mutable_pod()->mutable_ask()->mutable_spec()->set_memory_mib(memory);
    return bed.service().Propose(bed.caller, request, bed.now());
  };
  const std::size_t snapshot = bed.engine().Snapshot().size();
  const std::uint64_t handle = ask(1).body.pod().shape();
  int refused_at = 0;
  for (int memory = 2; refused_at == 0 && memory < 2000; ++memory) {
    const auto answer = ask(memory);
    if (answer.ok()) continue;
    EXPECT_EQ(answer.code, service::Code::kExhausted);
    EXPECT_NE(answer.message.find("max_asks"), std::string::npos) << answer.message;
    refused_at = memory;
  }
  EXPECT_EQ(refused_at, 1000);  // one is held
  EXPECT_EQ(bed.engine().Snapshot().size(), snapshot) << "only what is held is kept on disk";
  pb::Delta foreign = support::PodDelta(PodOf(2, 1234, 1, 1000), "n2");
  EXPECT_EQ(bed.Tell({foreign}).rejected_size(), 0);
  EXPECT_NE(bed.engine().Find(support::Uid(2)), nullptr);
  const std::string digest = bed.service().StateDigest();
  bed.Wait(1'100'000);
  bed.service().Tick(bed.now());
  EXPECT_EQ(bed.engine().state().shape_count(), 2u);
  EXPECT_EQ(bed.service().StateDigest(), digest);
  EXPECT_TRUE(bed.service().Audit().has_value());
  EXPECT_TRUE(ask(refused_at).ok());
  // A handle of one that was forgotten is never another ask's.
  pb::ProposeRequest old;
  *old.mutable_pod() = PodOf(500, 1000, 1, 500);
  old.mutable_pod()->mutable_ask()->set_shape(handle);
  EXPECT_EQ(bed.service().Propose(bed.caller, old, bed.now()).code, service::Code::kPrecondition);
  // Leases live on, in the journal, too.
  EXPECT_EQ(bed.Confirm(open), pb::LEASE_ANSWER_OK);
  EXPECT_EQ(bed.Release(lease), pb::LEASE_ANSWER_OK);
  const std::string after = bed.service().StateDigest();
  bed.store.Sync();
  bed.Restart();
  EXPECT_EQ(bed.service().StateDigest(), after);
}

}  // namespace
}  // namespace basalt
