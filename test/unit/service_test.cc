// The calls of the service: what is decided, leased, fenced, forgotten and refused.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "adapters/service/uid.h"
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
using support::UidOf;

namespace pb = placement::v1;

pb::Lease MustReserve(Bed& bed, const pb::PodRequest& pod) {
  const auto answer = bed.Reserve(pod);
  EXPECT_TRUE(answer.ok()) << answer.message;
  EXPECT_TRUE(answer.body.has_lease()) << answer.body.DebugString();
  return answer.body.lease();
}

TEST(Service, NothingIsDecidedBeforeTheSyncIsComplete) {
  Bed bed;
  EXPECT_FALSE(bed.service().ready());
  EXPECT_EQ(bed.Propose(PodOf(1, 1000)).kind(), pb::OUTCOME_KIND_NOT_READY);
  const auto reserved = bed.Reserve(PodOf(1, 1000));
  EXPECT_TRUE(reserved.ok());
  EXPECT_EQ(reserved.body.pod().kind(), pb::OUTCOME_KIND_NOT_READY);
  EXPECT_FALSE(reserved.body.has_lease());
  pb::EvaluateRequest evaluate;
  *evaluate.mutable_pod() = PodOf(1, 1000);
  evaluate.add_nodes("n1");
  EXPECT_EQ(bed.service().Evaluate(bed.caller, evaluate, bed.now()).body.kind(),
            pb::OUTCOME_KIND_NOT_READY);
  bed.List({NodeDelta("n1", 8000, 2)});
  EXPECT_EQ(bed.Propose(PodOf(1, 1000)).kind(), pb::OUTCOME_KIND_PLACED);
  // And never against a state older than the caller knows.
  pb::ProposeRequest newer;
  newer.mutable_header()->set_min_generation(99);
  *newer.mutable_pod() = PodOf(1, 1000);
  EXPECT_EQ(bed.service().Propose(bed.caller, newer, bed.now()).body.pod().kind(),
            pb::OUTCOME_KIND_NOT_READY);
}

TEST(Service, ProposeChangesNothing) {
  Bed bed;
  bed.List({NodeDelta("n1", 8000, 2)});
  const std::string before = bed.service().StateDigest();
  const pb::Decision decision = bed.Propose(PodOf(1, 1000, 1, 1000));
  EXPECT_EQ(decision.kind(), pb::OUTCOME_KIND_PLACED);
  EXPECT_EQ(decision.placement().node(), "n1");
  ASSERT_EQ(decision.placement().card_uuids_size(), 1);
  EXPECT_EQ(decision.placement().card_uuids(0), "GPU-n1-0");
  EXPECT_EQ(bed.service().StateDigest(), before);
}

TEST(Service, ReasonsAndInfeasible) {
  Bed bed;
  bed.List({NodeDelta("n1", 8000, 2), NodeDelta("n2", 500, 0)});
  const pb::Decision decision = bed.Propose(PodOf(1, 1000, 4, 1000), true);
  EXPECT_EQ(decision.kind(), pb::OUTCOME_KIND_INFEASIBLE);
  std::int64_t nodes = 0;
  for (const pb::ReasonCount& count : decision.counts()) nodes += count.nodes();
  EXPECT_EQ(nodes, 2);
  EXPECT_FALSE(decision.reason().empty());
}

TEST(Service, ReserveConfirmReleaseHoldsAndGivesBack) {
  Bed bed;
  bed.List({NodeDelta("n1", 8000, 1)});
  const std::string empty = bed.service().StateDigest();
  const pb::Lease lease = MustReserve(bed, PodOf(1, 1000, 1, 1000));
  EXPECT_EQ(lease.ttl_us(), 60'000'000);
  EXPECT_EQ(lease.server_epoch(), 1u);
  EXPECT_EQ(lease.epoch() >> service::kEpochBits, 1u);
  EXPECT_EQ(bed.Propose(PodOf(2, 1000, 1, 1000)).kind(), pb::OUTCOME_KIND_WAIT);
  EXPECT_EQ(bed.Confirm(lease), pb::LEASE_ANSWER_OK);
  EXPECT_EQ(bed.Confirm(lease), pb::LEASE_ANSWER_OK);  // said again
  bed.Wait(3'600'000'000);
  bed.service().Tick(bed.now());
  EXPECT_EQ(bed.Propose(PodOf(2, 1000, 1, 1000)).kind(), pb::OUTCOME_KIND_WAIT);
  EXPECT_EQ(bed.Release(lease), pb::LEASE_ANSWER_OK);
  EXPECT_EQ(bed.service().StateDigest(), empty);
  EXPECT_EQ(bed.Release(lease), pb::LEASE_ANSWER_EXPIRED);
}

TEST(Service, ReserveSaidAgainIsTheSameLease) {
  Bed bed;
  bed.List({NodeDelta("n1", 8000, 4)});
  const pb::Lease first = MustReserve(bed, PodOf(1, 1000, 1, 1000));
  bed.Wait(5'000'000);
  const auto again = bed.Reserve(PodOf(1, 1000, 1, 1000));
  EXPECT_EQ(again.body.lease().epoch(), first.epoch());
  EXPECT_TRUE(again.body.pod().already_held());
  EXPECT_EQ(again.body.lease().ttl_us(), 55'000'000);
  EXPECT_EQ(again.position, 0u);  // nothing waits for a lease to be on disk
  EXPECT_EQ(bed.engine().allocation_count(), 1u);
  // Another attempt waits for the first one's end.
  pb::PodRequest second = PodOf(1, 1000, 1, 1000);
  second.mutable_pod()->set_attempt(1);
  const auto refused = bed.Reserve(second);
  EXPECT_TRUE(refused.body.pod().earlier_attempt_held());
  EXPECT_FALSE(refused.body.has_lease());
}

TEST(Service, ALateCopyOfARequestTakesNothing) {
  Bed bed;
  bed.List({NodeDelta("n1", 8000, 4)});
  const auto first = bed.Reserve(PodOf(1, 1000, 1, 1000), "r1");
  ASSERT_TRUE(first.body.has_lease());
  EXPECT_EQ(bed.Reserve(PodOf(1, 1000, 1, 1000), "r1").body.lease().epoch(),
            first.body.lease().epoch());
  ASSERT_EQ(bed.Release(first.body.lease()), pb::LEASE_ANSWER_OK);
  const auto late = bed.Reserve(PodOf(1, 1000, 1, 1000), "r1");
  EXPECT_FALSE(late.body.has_lease());
  EXPECT_FALSE(late.body.refused().empty());
  EXPECT_EQ(bed.engine().allocation_count(), 0u);
  EXPECT_TRUE(bed.Reserve(PodOf(1, 1000, 1, 1000), "r2").body.has_lease());
}

TEST(Service, LeasesExpireAndAreFenced) {
  Bed bed;
  bed.List({NodeDelta("n1", 8000, 1)});
  const pb::Lease first = MustReserve(bed, PodOf(1, 1000, 1, 1000));
  bed.Wait(60'000'000);
  EXPECT_EQ(bed.Confirm(first), pb::LEASE_ANSWER_EXPIRED);
  const pb::Lease second = MustReserve(bed, PodOf(1, 1000, 1, 1000));
  EXPECT_GT(second.epoch(), first.epoch());
  EXPECT_EQ(bed.Confirm(first), pb::LEASE_ANSWER_FENCED);
  EXPECT_EQ(bed.Release(first), pb::LEASE_ANSWER_FENCED);
  EXPECT_EQ(bed.Renew(first, 1'000'000), pb::LEASE_ANSWER_FENCED);
  EXPECT_EQ(bed.Confirm(second), pb::LEASE_ANSWER_OK);
}

TEST(Service, RenewMovesTheEndAndNeverBack) {
  Bed bed;
  bed.List({NodeDelta("n1", 8000, 1)});
  const pb::Lease lease = MustReserve(bed, PodOf(1, 1000));
  bed.Wait(50'000'000);
  pb::Lease renewed;
  EXPECT_EQ(bed.Renew(lease, 30'000'000, &renewed), pb::LEASE_ANSWER_OK);
  EXPECT_EQ(renewed.epoch(), lease.epoch());
  EXPECT_EQ(renewed.ttl_us(), 30'000'000);
  EXPECT_EQ(bed.Renew(lease, 1'000'000, &renewed), pb::LEASE_ANSWER_OK);
  EXPECT_EQ(renewed.ttl_us(), 30'000'000);
  // No longer than the server allows.
  EXPECT_EQ(bed.Renew(lease, 1'000'000'000'000, &renewed), pb::LEASE_ANSWER_OK);
  EXPECT_EQ(renewed.ttl_us(), 3'600'000'000);
  bed.Wait(3'600'000'000);
  EXPECT_EQ(bed.Renew(lease, 30'000'000), pb::LEASE_ANSWER_EXPIRED);
}

TEST(Service, GivenPlacesAreTakenAsTheyAreOrRefused) {
  Bed bed;
  bed.List({NodeDelta("n1", 8000, 2), NodeDelta("n2", 8000, 2)});
  const pb::Decision proposed = bed.Propose(PodOf(1, 1000, 1, 1000));
  pb::ReserveRequest request;
  *request.mutable_pod() = PodOf(1, 1000, 1, 1000);
  *request.mutable_placement() = proposed.placement();
  const auto taken = bed.service().Reserve(bed.caller, request, bed.now());
  ASSERT_TRUE(taken.body.has_lease()) << taken.body.DebugString();
  EXPECT_EQ(taken.body.pod().placement().cards(), proposed.placement().cards());
  // The same place for somebody else is not free any more.
  *request.mutable_pod() = PodOf(2, 1000, 1, 1000);
  const auto refused = bed.service().Reserve(bed.caller, request, bed.now());
  EXPECT_FALSE(refused.body.has_lease());
  EXPECT_FALSE(refused.body.refused().empty());
  // A node alone: the policy chooses its cards there.
  request.mutable_placement()->Clear();
  request.mutable_placement()->set_node("n2");
  const auto on_node = bed.service().Reserve(bed.caller, request, bed.now());
  ASSERT_TRUE(on_node.body.has_lease());
  EXPECT_EQ(on_node.body.pod().placement().node(), "n2");
  // What holds a place elsewhere is told so.
  request.mutable_placement()->set_node("n1");
  const auto elsewhere = bed.service().Reserve(bed.caller, request, bed.now());
  EXPECT_FALSE(elsewhere.body.has_lease());
  EXPECT_NE(elsewhere.body.refused().find("n2"), std::string::npos);
}

TEST(Service, ExcludedNodesAreNeverChosen) {
  Bed bed;
  bed.List({NodeDelta("n1", 8000, 2), NodeDelta("n2", 8000, 2), NodeDelta("n3", 8000, 2)});
  pb::PodRequest pod = PodOf(1, 1000, 1, 1000);
  pod.mutable_constraints()->add_excluded_nodes("n1");
  pod.mutable_constraints()->add_excluded_nodes("gone");
  EXPECT_EQ(bed.Propose(pod).placement().node(), "n2");
  pod.mutable_constraints()->add_only_nodes("n3");
  EXPECT_EQ(bed.Propose(pod).placement().node(), "n3");
  pod.mutable_constraints()->add_excluded_nodes("n3");
  EXPECT_EQ(bed.Propose(pod).kind(), pb::OUTCOME_KIND_WAIT);
  pod.mutable_constraints()->Clear();
  pod.mutable_constraints()->add_only_nodes("gone");
  EXPECT_EQ(bed.Propose(pod).kind(), pb::OUTCOME_KIND_WAIT);
}

TEST(Service, AlternativesAreOtherNodesBestFirst) {
  Bed bed;
  bed.List({NodeDelta("n1", 8000, 2), NodeDelta("n2", 8000, 2), NodeDelta("n3", 8000, 2)});
  pb::PodRequest pod = PodOf(1, 1000, 1, 1000);
  pod.set_alternatives(16);
  const pb::Decision decision = bed.Propose(pod);
  EXPECT_EQ(decision.placement().node(), "n1");
  ASSERT_EQ(decision.alternatives_size(), 2);
  EXPECT_EQ(decision.alternatives(0).node(), "n2");
  EXPECT_EQ(decision.alternatives(1).node(), "n3");
  // Reserve tells the same, of what was there before it took its place.
  const auto held = bed.Reserve(pod);
  ASSERT_EQ(held.body.pod().alternatives_size(), 2);
  EXPECT_EQ(held.body.pod().placement().node(), decision.placement().node());
  EXPECT_EQ(held.body.pod().alternatives(0).node(), "n2");
  EXPECT_EQ(held.body.pod().alternatives(1).node(), "n3");
  EXPECT_EQ(bed.Reserve(pod).body.pod().alternatives_size(), 0);  // it holds its place
}

TEST(Service, EvaluateJudgesEachNode) {
  Bed bed;
  pb::Delta cordoned = NodeDelta("n3", 8000, 2);
  cordoned.mutable_node()->set_cordoned(true);
  bed.List({NodeDelta("n1", 8000, 2), NodeDelta("n2", 500, 2), cordoned});
  pb::EvaluateRequest request;
  *request.mutable_pod() = PodOf(1, 1000, 1, 1000);
  for (const char* node : {"n1", "n2", "n3", "n4"}) request.add_nodes(node);
  const std::string before = bed.service().StateDigest();
  const auto answer = bed.service().Evaluate(bed.caller, request, bed.now());
  ASSERT_EQ(answer.body.verdicts_size(), 4);
  EXPECT_EQ(answer.body.verdicts(0).reason(), pb::REASON_FITS);
  EXPECT_EQ(answer.body.verdicts(0).cards(), 1u);
  EXPECT_EQ(answer.body.verdicts(1).reason(), pb::REASON_CPU_SHORT);
  EXPECT_EQ(answer.body.verdicts(2).reason(), pb::REASON_CORDONED);
  EXPECT_NE(answer.body.verdicts(3).reason(), pb::REASON_FITS);
  EXPECT_EQ(bed.service().StateDigest(), before);
  // A pod that holds a place fits there only.
  MustReserve(bed, PodOf(1, 1000, 1, 1000));
  request.set_nodes(1, "n1");
  const auto held = bed.service().Evaluate(bed.caller, request, bed.now());
  EXPECT_EQ(held.body.verdicts(0).reason(), pb::REASON_FITS);
  EXPECT_EQ(held.body.verdicts(3).reason(), pb::REASON_EXCLUDED);
}

TEST(Service, ExplainAddsUp) {
  Bed bed;
  bed.List({NodeDelta("n1", 8000, 2), NodeDelta("n2", 500, 2)});
  pb::ExplainRequest request;
  *request.mutable_pod() = PodOf(1, 1000, 1, 1000);
  request.set_top(3);
  const auto answer = bed.service().Explain(bed.caller, request, bed.now());
  EXPECT_EQ(answer.body.kind(), pb::OUTCOME_KIND_PLACED);
  EXPECT_EQ(answer.body.nodes(), 2);
  std::int64_t counted = 0;
  for (const pb::ReasonCount& count : answer.body.counts()) counted += count.nodes();
  EXPECT_EQ(counted, 2);
  ASSERT_EQ(answer.body.best_size(), 1);
  EXPECT_EQ(answer.body.best(0).node(), answer.body.placement().node());
}

TEST(Service, HandlesSkusAndPodsMeanTheSameShape) {
  Bed bed;
  bed.List({NodeDelta("n1", 8000, 2)});
  const pb::Decision decision = bed.Propose(PodOf(1, 1000, 1, 500));
  ASSERT_NE(decision.shape(), 0u);
  pb::PodRequest by_handle;
  by_handle.mutable_pod()->set_uid(UidOf(1));
  by_handle.mutable_ask()->set_shape(decision.shape());
  EXPECT_EQ(bed.Propose(by_handle).placement().node(), "n1");
  EXPECT_EQ(bed.Propose(by_handle).shape(), decision.shape());
  pb::PodRequest by_sku;
  by_sku.mutable_pod()->set_uid(UidOf(1));
  by_sku.mutable_ask()->set_sku("half-t4");
  EXPECT_EQ(bed.Propose(by_sku).shape(), decision.shape());
  pb::ProposeRequest stale;
  *stale.mutable_pod() = by_handle;
  stale.mutable_pod()->mutable_ask()->set_shape(decision.shape() + (std::uint64_t{1} << 32));
  EXPECT_EQ(bed.service().Propose(bed.caller, stale, bed.now()).code, Code::kPrecondition);
  // A pod in its own words, whatever its name.
  for (const char* name : {"a", "b"}) {
    pb::PodRequest pod;
    pod.mutable_pod()->set_uid(UidOf(2));
    pb::PodResources* resources = pod.mutable_ask()->mutable_pod();
    resources->set_name(name);
    pb::PodResources::Container* container = resources->add_containers();
    container->set_name("main");
    (*container->mutable_limits())["nvidia.com/gpu"] = "1";
    const pb::Decision first = bed.Propose(pod);
    EXPECT_EQ(first.kind(), pb::OUTCOME_KIND_PLACED) << first.reason();
    EXPECT_EQ(bed.Propose(pod).shape(), first.shape());
  }
}

TEST(Service, AssignmentsSayWhichCards) {
  Bed bed;
  pb::Delta node = NodeDelta("n1", 8000, 2, "T4");
  for (pb::CardSpec& card : *node.mutable_node()->mutable_spec()->mutable_cards()) {
    card.set_memory_mib(15'360);
  }
  bed.List({node});
  pb::ReserveRequest request;
  request.mutable_pod()->mutable_pod()->set_uid(UidOf(2));
  pb::PodResources* resources = request.mutable_pod()->mutable_ask()->mutable_pod();
  pb::PodResources::Container* container = resources->add_containers();
  container->set_name("main");
  (*container->mutable_limits())["nvidia.com/gpu"] = "1";
  (*container->mutable_limits())["nvidia.com/gpumem"] = "4000";
  request.set_want_assignment(true);
  const auto answer = bed.service().Reserve(bed.caller, request, bed.now());
  ASSERT_TRUE(answer.body.has_lease()) << answer.message << answer.body.DebugString();
  const pb::Assignment& assignment = answer.body.pod().placement().assignment();
  bool named = false;
  for (const auto& [key, value] : assignment.annotations()) {
    named = named || value.find("GPU-n1-") != std::string::npos;
  }
  EXPECT_TRUE(named) << answer.body.DebugString();
  EXPECT_TRUE(assignment.enforced());
}

TEST(Service, BadInputIsRefusedAndChangesNothing) {
  Bed bed;
  bed.List({NodeDelta("n1", 8000, 2)});
  const std::string before = bed.service().StateDigest();
  pb::ProposeRequest none;
  EXPECT_EQ(bed.service().Propose(bed.caller, none, bed.now()).code, Code::kInvalid);
  pb::ProposeRequest request;
  *request.mutable_pod() = PodOf(1, 1000);
  request.mutable_pod()->mutable_pod()->set_uid("not-a-uid");
  EXPECT_EQ(bed.service().Propose(bed.caller, request, bed.now()).code, Code::kInvalid);
  *request.mutable_pod() = PodOf(1, -5);
  EXPECT_EQ(bed.service().Propose(bed.caller, request, bed.now()).code, Code::kInvalid);
  *request.mutable_pod() = PodOf(1, 1000);
  request.mutable_pod()->mutable_ask()->set_sku("nothing-like-it");
  request.mutable_pod()->mutable_ask()->clear_of();
  const auto sku = bed.service().Propose(bed.caller, request, bed.now());
  EXPECT_EQ(sku.code, Code::kInvalid);
  EXPECT_NE(sku.message.find("SKU"), std::string::npos);
  request.mutable_pod()->clear_ask();
  EXPECT_EQ(bed.service().Propose(bed.caller, request, bed.now()).code, Code::kInvalid);
  *request.mutable_pod() = PodOf(1, 1000);
  request.mutable_header()->set_cluster("another");
  EXPECT_EQ(bed.service().Propose(bed.caller, request, bed.now()).code, Code::kInvalid);
  pb::ReserveRequest ttl;
  *ttl.mutable_pod() = PodOf(1, 1000);
  ttl.set_ttl_us(-1);
  EXPECT_EQ(bed.service().Reserve(bed.caller, ttl, bed.now()).code, Code::kInvalid);
  EXPECT_EQ(bed.service().StateDigest(), before);
}

TEST(Service, GangsAreAllOrNothing) {
  Bed bed;
  bed.List({NodeDelta("n1", 8000, 2), NodeDelta("n2", 8000, 2)});
  const auto too_many = bed.Reserve(GangOf(100, 5, 5, 1, 1000));
  EXPECT_FALSE(too_many.body.has_lease());
  EXPECT_EQ(bed.engine().allocation_count(), 0u);
  EXPECT_FALSE(too_many.body.gang().reason().empty());
  const auto fits = bed.Reserve(GangOf(200, 4, 4, 1, 1000));
  ASSERT_TRUE(fits.body.has_lease());
  ASSERT_EQ(fits.body.gang().members_size(), 4);
  EXPECT_EQ(fits.body.gang().members(0).pod().uid(), UidOf(201));
  EXPECT_TRUE(fits.body.lease().gang());
  // Said again: the same lease, and the places are told again.
  const auto again = bed.Reserve(GangOf(200, 4, 4, 1, 1000));
  EXPECT_EQ(again.body.lease().epoch(), fits.body.lease().epoch());
  EXPECT_EQ(again.body.gang().members_size(), 4);
  EXPECT_EQ(again.body.gang().members(3).placement().node(),
            fits.body.gang().members(3).placement().node());
  EXPECT_EQ(bed.Confirm(fits.body.lease()), pb::LEASE_ANSWER_OK);
  EXPECT_EQ(bed.Confirm(fits.body.lease()), pb::LEASE_ANSWER_OK);
  // What is confirmed ends by the lease that was given last.
  EXPECT_EQ(bed.Release(fits.body.lease()), pb::LEASE_ANSWER_FENCED);
  EXPECT_EQ(bed.Release(again.body.lease()), pb::LEASE_ANSWER_OK);
  EXPECT_EQ(bed.engine().allocation_count(), 0u);
}

TEST(Service, GangsAvoidExcludedNodesAndTakeGivenPlaces) {
  Bed bed;
  bed.List({NodeDelta("n1", 8000, 2), NodeDelta("n2", 8000, 2), NodeDelta("n3", 8000, 2)});
  pb::GangRequest gang = GangOf(200, 4, 4, 1, 1000);
  gang.mutable_tasks(0)->mutable_constraints()->add_excluded_nodes("n1");
  pb::ProposeRequest propose;
  *propose.mutable_gang() = gang;
  const auto proposed = bed.service().Propose(bed.caller, propose, bed.now());
  ASSERT_EQ(proposed.body.gang().members_size(), 4);
  for (const auto& member : proposed.body.gang().members()) {
    EXPECT_NE(member.placement().node(), "n1");
  }
  pb::ReserveRequest reserve;
  *reserve.mutable_gang() = gang;
  *reserve.mutable_members() = proposed.body.gang().members();
  const auto taken = bed.service().Reserve(bed.caller, reserve, bed.now());
  ASSERT_TRUE(taken.body.has_lease()) << taken.body.DebugString();
  for (int m = 0; m < 4; ++m) {
    EXPECT_EQ(taken.body.gang().members(m).placement().cards(),
              proposed.body.gang().members(m).placement().cards());
  }
  gang.mutable_constraints()->add_excluded_nodes("n2");
  gang.mutable_gang()->set_uid(UidOf(300));
  for (int m = 0; m < 4; ++m) {
    gang.mutable_tasks(0)->mutable_members(m)->set_uid(UidOf(301 + static_cast<unsigned>(m)));
  }
  *propose.mutable_gang() = gang;
  EXPECT_NE(bed.service().Propose(bed.caller, propose, bed.now()).body.gang().kind(),
            pb::OUTCOME_KIND_PLACED);
}

TEST(Service, AMemberThatCannotStartIsMissedAndPlacedAgain) {
  Bed bed;
  bed.List({NodeDelta("n1", 8000, 2), NodeDelta("n2", 8000, 2)});
  const auto gang = bed.Reserve(GangOf(200, 3, 3, 1, 1000));
  ASSERT_TRUE(gang.body.has_lease());
  ASSERT_EQ(bed.Confirm(gang.body.lease()), pb::LEASE_ANSWER_OK);
  pb::Lease one = gang.body.lease();
  one.set_gang(false);
  one.set_uid(UidOf(202));
  EXPECT_EQ(bed.Release(one), pb::LEASE_ANSWER_OK);
  EXPECT_EQ(bed.engine().allocation_count(), 2u);
  ASSERT_NE(bed.engine().FindGang(support::Uid(200)), nullptr);
  EXPECT_TRUE(bed.engine().FindGang(support::Uid(200))->degraded);
  const auto repaired = bed.Reserve(GangOf(200, 3, 3, 1, 1000));
  ASSERT_TRUE(repaired.body.has_lease()) << repaired.body.DebugString();
  ASSERT_EQ(repaired.body.gang().members_size(), 1);
  EXPECT_EQ(repaired.body.gang().members(0).pod().uid(), UidOf(202));
  // Giving the repair back leaves those that run.
  EXPECT_EQ(bed.Release(repaired.body.lease()), pb::LEASE_ANSWER_OK);
  EXPECT_EQ(bed.engine().allocation_count(), 2u);
}

TEST(Service, BatchesSeeWhatCameBefore) {
  Bed bed;
  bed.List({NodeDelta("n1", 8000, 2)});
  pb::BatchRequest batch;
  batch.mutable_header()->set_cluster("c1");
  for (std::uint64_t pod = 1; pod <= 4; ++pod) {
    *batch.add_items()->mutable_reserve()->mutable_pod() = PodOf(pod, 1000, 1, 1000);
  }
  batch.mutable_items(0)->mutable_reserve()->set_confirm(true);
  batch.mutable_items(1)->mutable_reserve()->mutable_pod()->mutable_pod()->set_uid("bad");
  const std::uint64_t before = bed.service().position();
  const auto all = bed.service().Batch(bed.caller, batch, bed.now());
  ASSERT_EQ(all.body.results_size(), 4);
  EXPECT_TRUE(all.body.results(0).reserve().has_lease());
  EXPECT_FALSE(all.body.results(1).bad_input().empty());
  EXPECT_TRUE(all.body.results(2).reserve().has_lease());
  EXPECT_FALSE(all.body.results(3).reserve().has_lease());
  EXPECT_GT(all.position, before);  // of the one that is confirmed
  batch.set_stop_at_first_wait(true);
  EXPECT_EQ(bed.service().Batch(bed.caller, batch, bed.now()).body.results_size(), 2);
}

// A budget is known by the pods' labels, so the sync tells it, also of pods that hold a lease.
TEST(Service, EvictionRespectsBudgetsThatTheSyncTells) {
  Bed bed;
  bed.List({NodeDelta("n1", 8000, 2)});
  std::vector<pb::Delta> pods;
  for (std::uint64_t uid = 1; uid <= 2; ++uid) {
    pb::PodRequest low = PodOf(uid, 1000, 1, 1000);
    low.mutable_standing()->set_min_runtime_us(1);
    ASSERT_EQ(bed.Confirm(MustReserve(bed, low)), pb::LEASE_ANSWER_OK);
    pods.push_back(PodDelta(low, "n1"));
    pods.back().mutable_pod()->mutable_standing()->set_budget("ns/web");
  }
  bed.Wait(10);
  pb::SyncOpen open;
  open.set_source("budgets");
  open.add_kinds(pb::SYNC_KIND_BUDGETS);
  ASSERT_TRUE(bed.service().SyncOpen(bed.caller, open, 50, bed.now()).ok());
  std::uint64_t generation = 0;
  const auto budget = [&](int must_stay) {
    pb::SyncDeltas deltas;
    deltas.set_generation(++generation);
    pb::Budget* b = deltas.add_deltas()->mutable_budget();
    b->set_name("ns/web");
    if (must_stay >= 0) b->set_min_available(must_stay);
    EXPECT_TRUE(bed.service().SyncDeltas(deltas, 50, bed.now()).ok());
  };
  const auto victims = [&] {
    pb::EvictRequest evict;
    *evict.mutable_pod() = PodOf(9, 1000, 1, 1000);
    evict.mutable_pod()->mutable_standing()->set_priority(10);
    evict.set_dry_run(true);
    return bed.service().Evict(bed.caller, evict, bed.now()).body.victims_size();
  };
  const std::uint64_t epoch = bed.engine().Find(support::Uid(1))->epoch;
  budget(2);
  EXPECT_EQ(victims(), 1);  // nobody has said that these are its pods
  EXPECT_EQ(bed.Tell(pods).rejected_size(), 0);
  EXPECT_EQ(victims(), 0);
  budget(1);
  EXPECT_EQ(victims(), 1);
  budget(2);
  // It is the pods' own after a restart, too; the rest of what they were asked with stays.
  bed.Restart();
  bed.List({NodeDelta("n1", 8000, 2), pods[0], pods[1]});
  EXPECT_EQ(victims(), 0);
  const Allocation* held = bed.engine().Find(support::Uid(1));
  EXPECT_EQ(held->epoch, epoch);
  EXPECT_EQ(held->standing->budget, "ns/web");
  EXPECT_EQ(held->standing->min_runtime_us, 1);
  ASSERT_TRUE(bed.service().SyncOpen(bed.caller, open, 500, bed.now()).ok());
  for (pb::Delta& pod : pods) pod.mutable_pod()->mutable_standing()->clear_budget();
  bed.Tell(pods);
  EXPECT_EQ(victims(), 1);
}

// Exporters' words: of a card and of a pod on it, by the names that DCGM and HAMi give.
TEST(Service, UsageOfAnExposition) {
  Bed bed;
  bed.List({NodeDelta("n1", 8000, 2)});
  const pb::PodRequest pod = PodOf(1, 1000, 1, 500);
  ASSERT_EQ(bed.Confirm(MustReserve(bed, pod)), pb::LEASE_ANSWER_OK);
  bed.Tell({PodDelta(pod, "n1")});
  const auto report = [&](const std::string& text, const std::string& node = "n1") {
    pb::ReportUsageRequest request;
    request.set_exposition(text);
    request.set_node(node);
    return bed.service().ReportUsage(bed.caller, request, bed.now());
  };
  const auto metric = [&](const std::string& name) {
    service::MetricsText text;
    bed.service().WriteMetrics(&text);
    const std::string all = text.Text();
    const std::string line = "basalt_" + name + "{cluster=\"c1\"} ";
    const std::size_t at = all.find(line);
    return at == std::string::npos
               ? std::string("none")
               : all.substr(at + line.size(), all.find('\n', at) - at - line.size());
  };
  // DCGM says the same twice; the better row of the table counts. HAMi's line is of the pod.
  const auto first = report(
      "DCGM_FI_PROF_GR_ENGINE_ACTIVE{gpu=\"0\",UUID=\"GPU-n1-0\"} 0.9\n"
      "DCGM_FI_DEV_GPU_UTIL{gpu=\"0\",UUID=\"GPU-n1-0\"} 37\n"
      "DCGM_FI_DEV_FB_USED{gpu=\"0\",UUID=\"GPU-n1-0\"} 1234\n"
      "DCGM_FI_DEV_GPU_UTIL{gpu=\"7\",UUID=\"GPU-other\"} 1\n"
      "vGPU_device_memory_usage_in_bytes{podnamespace=\"ns\",podname=\"pod-1\",ctrname=\"c\","
      "vdeviceid=\"0\",deviceuuid=\"GPU-n1-0\"} 1.048576e+09\n"
      "vGPU_device_memory_usage_in_bytes{podnamespace=\"ns\",podname=\"gone\"} 1\n"
      "this is no metric at all {{{\n");
  ASSERT_TRUE(first.ok()) << first.message;
  EXPECT_EQ(first.body.taken(), 2);
  EXPECT_EQ(first.body.unknown(), 3);
  EXPECT_EQ(metric("usage_cards"), "1");
  EXPECT_EQ(metric("usage_compute_milli"), "370");
  EXPECT_EQ(metric("usage_memory_mib"), "1234");
  // A node that the metrics name themselves; and one without such cards.
  EXPECT_EQ(
      report("DCGM_FI_DEV_GPU_UTIL{UUID=\"GPU-n1-1\",Hostname=\"n1\"} 100\n", "").body.taken(), 1);
  EXPECT_EQ(report("DCGM_FI_DEV_GPU_UTIL{UUID=\"GPU-n1-1\"} 1\n", "n2").body.unknown(), 1);
  EXPECT_EQ(metric("usage_compute_milli"), "1370");
  // The two halves of one look at an exporter may come in two parts.
  report("DCGM_FI_DEV_FB_USED{UUID=\"GPU-n1-1\"} 66\n");
  EXPECT_EQ(metric("usage_compute_milli"), "1370");
  EXPECT_EQ(metric("usage_memory_mib"), "1300");
  // What nobody has said again for ten minutes is not known any more.
  bed.Wait(601'000'000);
  bed.service().Tick(bed.now());
  EXPECT_EQ(metric("usage_cards"), "0");
  EXPECT_EQ(report(std::string(service::kMaxExpositionBytes + 1, 'x')).code,
            service::Code::kExhausted);
  // From the future it is of now: it must not outlive its time.
  report("DCGM_FI_DEV_GPU_UTIL{UUID=\"GPU-n1-1\"} 1 99999999999999\n");
  EXPECT_EQ(metric("usage_cards"), "1");
  bed.Wait(601'000'000);
  bed.service().Tick(bed.now());
  EXPECT_EQ(metric("usage_cards"), "0");
}

TEST(Service, EvictionTellsVictimsAndWaitsForThem) {
  Bed bed;
  bed.List({NodeDelta("n1", 8000, 1)});
  pb::PodRequest low = PodOf(1, 1000, 1, 1000);
  ASSERT_EQ(bed.Confirm(MustReserve(bed, low)), pb::LEASE_ANSWER_OK);
  bed.Tell({PodDelta(low, "n1")});
  pb::EvictRequest evict;
  *evict.mutable_pod() = PodOf(2, 1000, 1, 1000);
  evict.mutable_pod()->mutable_standing()->set_priority(10);
  evict.set_dry_run(true);
  const std::string before = bed.service().StateDigest();
  const auto plan = bed.service().Evict(bed.caller, evict, bed.now());
  ASSERT_TRUE(plan.body.found()) << plan.body.reason();
  EXPECT_EQ(bed.service().StateDigest(), before);
  EXPECT_TRUE(bed.service().ActionsAfter(0, {}, 10).empty());
  evict.set_dry_run(false);
  const auto done = bed.service().Evict(bed.caller, evict, bed.now());
  ASSERT_TRUE(done.body.found());
  ASSERT_EQ(done.body.victims_size(), 1);
  EXPECT_EQ(done.body.victims(0).pod().uid(), UidOf(1));
  EXPECT_EQ(done.body.victims(0).pod().name(), "pod-1");
  EXPECT_EQ(bed.Confirm(done.body.lease()), pb::LEASE_ANSWER_ROOM_NOT_FREE);
  const auto actions = bed.service().ActionsAfter(0, {pb::ACTION_KIND_EVICT}, 10);
  ASSERT_EQ(actions.size(), 1u);
  EXPECT_EQ(actions[0].pod().uid(), UidOf(1));
  EXPECT_EQ(actions[0].in_favour_of(), UidOf(2));
  bed.service().Tick(bed.now());
  EXPECT_EQ(bed.service().ActionsAfter(0, {}, 10).size(), 1u);  // told once
  // Acked and still there: the room is free when the pod is gone, not before.
  pb::AckActionRequest ack;
  ack.set_id(actions[0].id());
  ack.set_server_epoch(actions[0].server_epoch() + 1);
  ack.set_done(true);
  EXPECT_FALSE(bed.service().AckAction(bed.caller, ack, bed.now()).body.known());
  ack.set_server_epoch(actions[0].server_epoch());
  EXPECT_TRUE(bed.service().AckAction(bed.caller, ack, bed.now()).body.known());
  EXPECT_EQ(bed.Confirm(done.body.lease()), pb::LEASE_ANSWER_ROOM_NOT_FREE);
  bed.Tell({GoneDelta(1)});
  EXPECT_EQ(bed.Confirm(done.body.lease()), pb::LEASE_ANSWER_OK);
}

TEST(Service, AfterARestartVictimsAreToldAgain) {
  Bed bed;
  const pb::Delta node = NodeDelta("n1", 8000, 1);
  bed.List({node});
  pb::PodRequest low = PodOf(1, 1000, 1, 1000);
  ASSERT_EQ(bed.Confirm(MustReserve(bed, low)), pb::LEASE_ANSWER_OK);
  pb::EvictRequest evict;
  *evict.mutable_pod() = PodOf(2, 1000, 1, 1000);
  evict.mutable_pod()->mutable_standing()->set_priority(10);
  const auto done = bed.service().Evict(bed.caller, evict, bed.now());
  ASSERT_TRUE(done.body.has_lease());
  const std::string id = bed.service().ActionsAfter(0, {}, 10).at(0).id();
  bed.Restart();
  const auto actions = bed.service().ActionsAfter(0, {}, 10);
  ASSERT_EQ(actions.size(), 1u);
  EXPECT_EQ(actions[0].id(), id);
  EXPECT_EQ(actions[0].server_epoch(), 2u);
}

TEST(Service, ADrainingServerTakesNothingNew) {
  Bed bed;
  bed.List({NodeDelta("n1", 8000, 2)});
  const pb::Lease lease = MustReserve(bed, PodOf(1, 1000));
  bed.service().Drain();
  EXPECT_EQ(bed.Reserve(PodOf(2, 1000)).code, Code::kUnavailable);
  EXPECT_EQ(bed.service().open_leases(), 1);
  EXPECT_EQ(bed.Confirm(lease), pb::LEASE_ANSWER_OK);
  EXPECT_EQ(bed.service().open_leases(), 0);
}

TEST(Service, AJournalThatCannotBeWrittenPromisesNothing) {
  Bed bed;
  bed.List({NodeDelta("n1", 8000, 2)});
  const pb::Lease lease = MustReserve(bed, PodOf(1, 1000));
  const std::string before = bed.service().StateDigest();
  // The very record fails: the lease is given back.
  bed.store.fail_after = 0;
  bed.store.full = true;
  EXPECT_EQ(bed.Reserve(PodOf(2, 1000)).code, Code::kDataLoss);
  EXPECT_EQ(bed.service().StateDigest(), before);
  EXPECT_EQ(bed.Reserve(GangOf(10, 2, 2, 0, 0)).code, Code::kDataLoss);
  pb::ConfirmRequest confirm;
  *confirm.mutable_lease() = lease;
  EXPECT_EQ(bed.service().Confirm(bed.caller, confirm, bed.now()).code, Code::kDataLoss);
  // Proposals and observations go on.
  EXPECT_EQ(bed.Propose(PodOf(3, 1000)).kind(), pb::OUTCOME_KIND_PLACED);
  bed.Tell({PodDelta(PodOf(9, 1000), "n1")});
  bed.Wait(2'000'000);
  bed.service().Tick(bed.now());
  EXPECT_EQ(bed.Reserve(PodOf(2, 1000)).code, Code::kDataLoss);
  // There is room again: a new snapshot holds all that the journal missed.
  bed.store.full = false;
  bed.Wait(2'000'000);
  bed.service().Tick(bed.now());
  EXPECT_EQ(bed.Confirm(lease), pb::LEASE_ANSWER_OK);
  EXPECT_TRUE(bed.Reserve(PodOf(2, 1000)).ok());
  const std::string digest = bed.service().StateDigest();
  bed.Restart();
  EXPECT_EQ(bed.service().StateDigest(), digest);
  EXPECT_NE(bed.engine().Find(support::Uid(9)), nullptr);
}

TEST(Service, RightsAreByQueueSkuAndRole) {
  service::Access access({{"cert:a", service::Role::kScheduler, {"team-a"}, {}, {}},
                          {"cert:b", service::Role::kScheduler, {}, {"b/x"}, {"half-t4"}},
                          {"cert:v", service::Role::kViewer, {}, {}, {}}});
  Bed bed(support::TestCluster(), access);
  const auto queue = [](const std::string& name, const std::string& parent) {
    pb::Delta delta;
    delta.mutable_queue()->set_name(name);
    delta.mutable_queue()->set_parent(parent);
    return delta;
  };
  bed.List(
      {NodeDelta("n1", 8000, 2), queue("a/one", "team-a"), queue("team-a", ""), queue("b/x", "")});
  const auto code = [&](const std::string& who, const std::string& in, const std::string& sku) {
    pb::ProposeRequest request;
    *request.mutable_pod() = PodOf(1, 1000);
    request.mutable_pod()->mutable_standing()->set_queue(in);
    if (!sku.empty()) {
      request.mutable_pod()->mutable_ask()->clear_of();
      request.mutable_pod()->mutable_ask()->set_sku(sku);
    }
    return bed.service().Propose({who, false}, request, bed.now()).code;
  };
  EXPECT_EQ(code("cert:a", "a/one", ""), Code::kOk);
  EXPECT_EQ(code("cert:a", "b/x", ""), Code::kDenied);
  EXPECT_EQ(code("cert:a", "", ""), Code::kDenied);
  EXPECT_EQ(code("cert:b", "b/x", ""), Code::kOk);
  EXPECT_EQ(code("cert:b", "b/x", "half-t4"), Code::kOk);
  EXPECT_EQ(code("cert:b", "a/one", ""), Code::kDenied);
  EXPECT_EQ(code("cert:v", "b/x", ""), Code::kDenied);
  EXPECT_EQ(code("stranger", "b/x", ""), Code::kDenied);
  // Every call that names a pod asks the same; a viewer explains, and decides nothing.
  const auto ask = [&](const std::string& in) {
    pb::PodRequest pod = PodOf(1, 1000);
    pod.mutable_standing()->set_queue(in);
    return pod;
  };
  const auto all = [&](const std::string& who, const std::string& in) {
    const service::Caller caller{who, false};
    pb::ReserveRequest reserve;
    *reserve.mutable_pod() = ask(in);
    pb::EvaluateRequest evaluate;
    *evaluate.mutable_pod() = ask(in);
    pb::EvictRequest evict;
    *evict.mutable_pod() = ask(in);
    pb::ExplainRequest explain;
    *explain.mutable_pod() = ask(in);
    pb::BatchRequest batch;
    *batch.add_items()->mutable_reserve() = reserve;
    batch.add_items()->mutable_propose()->mutable_pod()->CopyFrom(ask(in));
    const pb::BatchResponse done = bed.service().Batch(caller, batch, bed.now()).body;
    std::vector<bool> may = {bed.service().Reserve(caller, reserve, bed.now()).ok(),
                             bed.service().Evaluate(caller, evaluate, bed.now()).ok(),
                             bed.service().Evict(caller, evict, bed.now()).ok(),
                             bed.service().Explain(caller, explain, bed.now()).ok(),
                             !done.results(0).has_bad_input(),
                             !done.results(1).has_bad_input()};
    return may;
  };
  using Rights = std::vector<bool>;
  EXPECT_EQ(all("cert:a", "b/x"), Rights(6, false));
  EXPECT_EQ(all("stranger", "b/x"), Rights(6, false));
  EXPECT_EQ(all("cert:v", "b/x"), (Rights{false, false, false, true, false, false}));
  EXPECT_EQ(bed.engine().allocation_count(), 0u);
  EXPECT_TRUE(bed.service().IsLimited({"cert:a", false}));
  EXPECT_FALSE(bed.service().IsLimited({"cert:v", false}));
  EXPECT_TRUE(bed.service().MayRead({"cert:v", false}));
  EXPECT_FALSE(bed.service().MayRead({"stranger", false}));
  EXPECT_FALSE(bed.service().MayAdminister({"cert:a", false}));
  // Another's lease is not released either.
  pb::PodRequest pod = PodOf(5, 1000);
  pod.mutable_standing()->set_queue("a/one");
  const pb::Lease lease = MustReserve(bed, pod);
  pb::ReleaseRequest release;
  *release.mutable_lease() = lease;
  EXPECT_EQ(bed.service().Release({"cert:b", false}, release, bed.now()).code, Code::kDenied);
  EXPECT_EQ(bed.engine().allocation_count(), 1u);
}

TEST(Service, WatchersSeeWhatHappened) {
  Bed bed;
  bed.List({NodeDelta("n1", 8000, 1)});
  const std::uint64_t from = bed.service().last_event();
  const auto reserved = bed.Reserve(PodOf(1, 1000, 1, 1000), "r1");
  bed.Propose(PodOf(2, 1000, 1, 1000));
  bed.Confirm(reserved.body.lease());
  const auto events = bed.service().WatchAfter(from, 100);
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0].reserved().epoch(), reserved.body.lease().epoch());
  EXPECT_EQ(events[0].request_id(), "r1");
  EXPECT_EQ(events[1].pod().kind(), pb::OUTCOME_KIND_WAIT);
  EXPECT_EQ(events[2].confirmed().uid(), UidOf(1));
  EXPECT_EQ(bed.service().WatchAfter(events[1].number(), 100).size(), 1u);
  EXPECT_TRUE(bed.service().WatchAfter(bed.service().last_event(), 100).empty());
}

TEST(Service, ReloadTakesAnotherPolicyAndKeepsWhatIsHeld) {
  Bed bed;
  bed.List({NodeDelta("n1", 8000, 2), NodeDelta("n2", 8000, 2)});
  const pb::Lease lease = MustReserve(bed, PodOf(1, 1000, 1, 500));
  const std::string digest = bed.service().StateDigest();
  service::ClusterConfig config = support::TestCluster();
  config.policy = "no-such-policy";
  EXPECT_FALSE(bed.service().Reload(config, {}, bed.now()).has_value());
  config.policy = "fgd";  // it needs a target workload
  EXPECT_FALSE(bed.service().Reload(config, {}, bed.now()).has_value());
  EXPECT_EQ(bed.engine().policy().expression, "binpack");
  config.target_skus = {"half-t4"};
  ASSERT_TRUE(bed.service().Reload(config, {}, bed.now()).has_value());
  EXPECT_EQ(bed.engine().policy().expression, "fgd");
  EXPECT_EQ(bed.service().StateDigest(), digest);
  EXPECT_EQ(bed.Confirm(lease), pb::LEASE_ANSWER_OK);
}

TEST(Service, StrandedCardsAreToldByShapeAndCause) {
  service::ClusterConfig config = support::TestCluster();
  config.target_skus = {"half-t4"};  // 1 CPU, half a card
  Bed bed(config);
  bed.List({NodeDelta("n1", 8000, 2), NodeDelta("n2", 500, 1)});
  const auto stranded = [&](const std::string& cause) {
    service::MetricsText text;
    bed.service().WriteMetrics(&text);
    const std::string line =
        "basalt_stranded_cards{cluster=\"c1\",shape=\"half-t4\",cause=\"" + cause + "\"} ";
    const std::size_t at = text.Text().find(line);
    return at == std::string::npos ? -1 : std::stod(text.Text().substr(at + line.size()));
  };
  EXPECT_DOUBLE_EQ(stranded("cpu_short"), 1);
  EXPECT_DOUBLE_EQ(stranded("dust"), 0);
  const pb::Lease lease = MustReserve(bed, PodOf(1, 1000, 1, 700));
  EXPECT_DOUBLE_EQ(stranded("dust"), 0.3);  // the rest of its card
  ASSERT_EQ(bed.Release(lease), pb::LEASE_ANSWER_OK);
  EXPECT_DOUBLE_EQ(stranded("dust"), 0);
  bed.Tell({NodeDelta("n2", 4000, 1)});
  EXPECT_DOUBLE_EQ(stranded("cpu_short"), 0);
  config.target_skus.clear();
  ASSERT_TRUE(bed.service().Reload(config, {}, bed.now()).has_value());
  EXPECT_EQ(stranded("dust"), -1);
}

TEST(Service, UsageIsKnownByCardAndPodAndOld) {
  Bed bed;
  bed.List({NodeDelta("n1", 8000, 1)});
  MustReserve(bed, PodOf(1, 1000, 1, 500));
  pb::ReportUsageRequest request;
  const auto add = [&](const std::string& card, std::uint64_t pod, std::int64_t at) {
    auto* sample = request.add_samples();
    sample->set_node("n1");
    sample->set_card_uuid(card);
    if (pod != 0) sample->mutable_pod()->set_uid(UidOf(pod));
    sample->set_time_us(at);
    sample->set_compute_milli(300);
  };
  const std::int64_t now = bed.now().us;
  add("GPU-n1-0", 0, now);
  add("GPU-n1-0/mig3", 0, now);
  add("", 1, now);
  add("GPU-none", 0, now);
  add("", 7, now);
  add("GPU-n1-0", 0, now - 1);
  const auto answer = bed.service().ReportUsage(bed.caller, request, bed.now());
  EXPECT_EQ(answer.body.taken(), 3);
  EXPECT_EQ(answer.body.unknown(), 2);
  EXPECT_EQ(answer.body.stale(), 1);
  service::MetricsText text;
  bed.service().WriteMetrics(&text);
  EXPECT_NE(text.Text().find("basalt_usage_cards{cluster=\"c1\"} 2\n"), std::string::npos);
}

}  // namespace
}  // namespace basalt
