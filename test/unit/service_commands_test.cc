// What operators tell running pods and cards: every command is durable when it is accepted, told to
// executors of this run, and over when the sync shows it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "adapters/service/uid.h"
#include "test/support/service_bed.h"

namespace basalt {
namespace {

using service::Code;
using support::Bed;
using support::GoneDelta;
using support::NodeDelta;
using support::PodDelta;
using support::PodOf;
using support::UidOf;
using testing::HasSubstr;

namespace pb = placement::v1;

pb::CommandRequest Order(const std::string& id, pb::ActionKind kind, std::uint64_t uid = 0) {
  pb::CommandRequest request;
  request.set_id(id);
  request.set_kind(kind);
  if (uid != 0) request.set_pod_uid(UidOf(uid));
  return request;
}

pb::CommandRequest Move(const std::string& id, const std::string& card, pb::CardMode mode) {
  pb::CommandRequest request = Order(id, pb::ACTION_KIND_MOVE_CARD);
  request.set_node("n1");
  request.set_card_uuid(card);
  request.set_mode(mode);
  return request;
}

service::Answer<pb::CommandState> Say(Bed& bed, const pb::CommandRequest& request) {
  return bed.service().Command(bed.caller, request, bed.now());
}

pb::CommandState StateOf(Bed& bed, const std::string& id) {
  const pb::ListCommandsResponse all = bed.service().ListCommands();
  for (const pb::CommandState& state : all.commands()) {
    if (state.command().id() == id) return state;
  }
  return {};
}

bool Ack(Bed& bed, const pb::Action& action, const std::string& error = "") {
  pb::AckActionRequest ack;
  ack.set_id(action.id());
  ack.set_server_epoch(action.server_epoch());
  ack.set_done(error.empty());
  ack.set_error(error);
  return bed.service().AckAction(bed.caller, ack, bed.now()).body.known();
}

std::vector<pb::Action> Actions(Bed& bed) { return bed.service().ActionsAfter(0, {}, 100); }

pb::PodRequest Job(std::uint64_t uid, int gpus = 1) {
  pb::PodRequest pod = PodOf(uid, 1000, gpus, gpus > 0 ? 1000 : 0);
  pod.set_job("ns/train");
  return pod;
}

// Two nodes of two T4; pod 1 of the job runs on n1.
std::string Running(Bed& bed, const pb::PodRequest& pod) {
  const auto reserved = bed.Reserve(pod);
  EXPECT_EQ(bed.Confirm(reserved.body.lease()), pb::LEASE_ANSWER_OK);
  const std::string node = reserved.body.pod().placement().node();
  bed.Tell({PodDelta(pod, node)});
  return node;
}

void List(Bed& bed, const std::vector<pb::Delta>& more = {}) {
  std::vector<pb::Delta> all = {NodeDelta("n1", 8000, 2), NodeDelta("n2", 8000, 2)};
  all.insert(all.end(), more.begin(), more.end());
  bed.List(all);
}

std::string CardOf(Bed& bed, const std::string& node, int card) {
  return bed.engine().state().CardUuid(bed.engine().state().FindNode(node), card);
}

TEST(ServiceCommands, OnlyAdminsAndOnlyWhatIsThere) {
  service::Access access({{"cert:op", service::Role::kAdmin, {}, {}, {}},
                          {"cert:s", service::Role::kScheduler, {}, {}, {}}});
  Bed bed(support::TestCluster(), access);
  EXPECT_EQ(Say(bed, Order("a", pb::ACTION_KIND_BLOCK, 1)).code, Code::kUnavailable);
  List(bed);
  Running(bed, Job(1));
  const auto code = [&](const char* who, const pb::CommandRequest& request) {
    return bed.service().Command({who, false}, request, bed.now()).code;
  };
  EXPECT_EQ(code("cert:s", Order("a", pb::ACTION_KIND_BLOCK, 1)), Code::kDenied);
  EXPECT_EQ(code("stranger", Order("a", pb::ACTION_KIND_BLOCK, 1)), Code::kDenied);
  EXPECT_EQ(code("cert:op", Order("", pb::ACTION_KIND_BLOCK, 1)), Code::kInvalid);
  EXPECT_EQ(code("cert:op", Order("a b", pb::ACTION_KIND_BLOCK, 1)), Code::kInvalid);
  EXPECT_EQ(code("cert:op", Order("a", pb::ACTION_KIND_BLOCK, 9)), Code::kPrecondition);
  EXPECT_EQ(code("cert:op", Order("a", pb::ACTION_KIND_BIND, 1)), Code::kPrecondition);
  EXPECT_EQ(code("cert:op", Move("a", "none", pb::CARD_MODE_EXCLUSIVE)), Code::kPrecondition);
  EXPECT_EQ(code("cert:op", Move("a", CardOf(bed, "n1", 0), pb::CARD_MODE_MIG)),
            Code::kPrecondition);  // a T4
  pb::CommandRequest negative = Order("a", pb::ACTION_KIND_BLOCK, 1);
  negative.set_ttl_us(-1);
  EXPECT_EQ(code("cert:op", negative), Code::kInvalid);
  EXPECT_EQ(bed.service().ListCommands().commands_size(), 0);
  EXPECT_TRUE(Actions(bed).empty());
  EXPECT_EQ(code("cert:op", Order("a", pb::ACTION_KIND_BLOCK, 1)), Code::kOk);
}

TEST(ServiceCommands, BlockAndResumeAreToldOnceInOrderAndKeepThePlace) {
  Bed bed;
  List(bed);
  Running(bed, Job(1));
  const std::string before = bed.service().StateDigest();
  EXPECT_EQ(Say(bed, Order("b", pb::ACTION_KIND_BLOCK, 1)).body.phase(), pb::COMMAND_PHASE_ORDERED);
  EXPECT_EQ(Say(bed, Order("b", pb::ACTION_KIND_BLOCK, 1)).body.phase(), pb::COMMAND_PHASE_ORDERED);
  EXPECT_EQ(Say(bed, Order("b", pb::ACTION_KIND_RESUME, 1)).code, Code::kInvalid);  // another one
  Say(bed, Order("r", pb::ACTION_KIND_RESUME, 1));
  const auto actions = Actions(bed);
  ASSERT_EQ(actions.size(), 2u);
  EXPECT_EQ(actions[0].kind(), pb::ACTION_KIND_BLOCK);
  EXPECT_EQ(actions[1].kind(), pb::ACTION_KIND_RESUME);
  EXPECT_LT(actions[0].sequence(), actions[1].sequence());
  EXPECT_EQ(actions[0].pod().name(), "pod-1");
  EXPECT_TRUE(Ack(bed, actions[0]));
  EXPECT_FALSE(Ack(bed, actions[0]));
  EXPECT_EQ(StateOf(bed, "b").phase(), pb::COMMAND_PHASE_DONE);
  EXPECT_TRUE(Ack(bed, actions[1], "the pod has no agent"));
  EXPECT_EQ(StateOf(bed, "r").phase(), pb::COMMAND_PHASE_FAILED);
  EXPECT_EQ(StateOf(bed, "r").reason(), "the pod has no agent");
  EXPECT_EQ(bed.service().StateDigest(), before);
  // What nobody carries out in time has failed; a pod that is gone cannot be resumed.
  pb::CommandRequest brief = Order("late", pb::ACTION_KIND_BLOCK, 1);
  brief.set_ttl_us(1'000'000);
  Say(bed, brief);
  Say(bed, Order("gone", pb::ACTION_KIND_RESUME, 1));
  bed.Wait(1'500'000);
  bed.service().Tick(bed.now());
  EXPECT_EQ(StateOf(bed, "late").phase(), pb::COMMAND_PHASE_FAILED);
  bed.Tell({GoneDelta(1)});
  EXPECT_EQ(StateOf(bed, "gone").phase(), pb::COMMAND_PHASE_FAILED);
  EXPECT_TRUE(Actions(bed).empty());
}

TEST(ServiceCommands, WhatEndsIsFreeWhenItIsSeenToHaveEnded) {
  Bed bed;
  List(bed);
  Running(bed, Job(1));
  Say(bed, Order("c", pb::ACTION_KIND_COMMIT_AND_EXIT, 1));
  EXPECT_EQ(Say(bed, Order("e", pb::ACTION_KIND_EVICT, 1)).code, Code::kPrecondition);
  const auto actions = Actions(bed);
  ASSERT_EQ(actions.size(), 1u);
  EXPECT_TRUE(actions[0].commit());
  bed.Wait(5'000'000);
  ASSERT_TRUE(Ack(bed, actions[0]));
  EXPECT_EQ(StateOf(bed, "c").phase(), pb::COMMAND_PHASE_ENDING);
  const Allocation* held = bed.engine().Find(*service::ParseUid(UidOf(1)));
  ASSERT_NE(held, nullptr);  // acknowledged, and still there
  EXPECT_EQ(held->checkpoint, bed.now());
  bed.Wait(3'600'000'000);
  bed.service().Tick(bed.now());
  EXPECT_EQ(StateOf(bed, "c").phase(), pb::COMMAND_PHASE_ENDING);
  EXPECT_EQ(bed.engine().allocation_count(), 1u);
  bed.Tell({GoneDelta(1)});
  EXPECT_EQ(StateOf(bed, "c").phase(), pb::COMMAND_PHASE_DONE);
  EXPECT_EQ(bed.engine().allocation_count(), 0u);
}

TEST(ServiceCommands, AnAcceptedCommandSurvivesACrashAndIsToldAgainByTheNewRun) {
  Bed bed;
  const pb::PodRequest pod = Job(1);
  List(bed);
  const std::string node = Running(bed, pod);
  Say(bed, Order("c", pb::ACTION_KIND_COMMIT_AND_EXIT, 1));
  const pb::Action old = Actions(bed).at(0);
  bed.Restart();
  const auto actions = Actions(bed);
  ASSERT_EQ(actions.size(), 1u);
  EXPECT_EQ(actions[0].id(), old.id());
  EXPECT_GT(actions[0].server_epoch(), old.server_epoch());
  EXPECT_FALSE(Ack(bed, old));  // an executor that has not seen the restart
  EXPECT_EQ(Say(bed, Order("c", pb::ACTION_KIND_COMMIT_AND_EXIT, 1)).body.phase(),
            pb::COMMAND_PHASE_ORDERED);
  // It ended while the server was away: the listing shows it.
  List(bed);
  EXPECT_EQ(StateOf(bed, "c").phase(), pb::COMMAND_PHASE_DONE);
  // What cannot be stored is not accepted.
  List(bed, {PodDelta(Job(2), node)});
  bed.store.full = true;
  EXPECT_EQ(Say(bed, Order("d", pb::ACTION_KIND_BLOCK, 2)).code, Code::kDataLoss);
  EXPECT_TRUE(Actions(bed).empty());
  bed.store.full = false;
  EXPECT_EQ(Say(bed, Order("d", pb::ACTION_KIND_BLOCK, 2)).code, Code::kOk);
}

TEST(ServiceCommands, AMigrationHoldsThePlaceForTheSuccessor) {
  Bed bed;
  List(bed);
  const pb::PodRequest old = Job(1, 2);
  const std::string from = Running(bed, old);
  const std::string to = from == "n1" ? "n2" : "n1";
  pb::CommandRequest command = Order("m", pb::ACTION_KIND_MIGRATE, 1);
  command.set_commit(true);
  const auto said = Say(bed, command);
  ASSERT_TRUE(said.ok()) << said.message;
  EXPECT_EQ(said.body.to().node(), to);
  EXPECT_EQ(bed.service().open_leases(), 0);  // nobody confirms the hold
  const auto actions = Actions(bed);
  ASSERT_EQ(actions.size(), 1u);
  EXPECT_EQ(actions[0].kind(), pb::ACTION_KIND_MIGRATE);
  EXPECT_EQ(actions[0].to().node(), to);
  EXPECT_TRUE(actions[0].commit());
  // Others do not get it, not even after a restart.
  pb::PodRequest other = PodOf(7, 1000, 1, 1000);
  EXPECT_EQ(bed.Propose(other).kind(), pb::OUTCOME_KIND_WAIT);
  bed.Restart();
  List(bed, {PodDelta(old, from)});
  EXPECT_EQ(bed.Propose(other).kind(), pb::OUTCOME_KIND_WAIT);
  ASSERT_TRUE(Ack(bed, Actions(bed).at(0)));
  EXPECT_EQ(StateOf(bed, "m").phase(), pb::COMMAND_PHASE_ENDING);
  bed.Tell({GoneDelta(1)});
  EXPECT_EQ(StateOf(bed, "m").phase(), pb::COMMAND_PHASE_PLACING);
  // The successor: the same job and shape, another pod. Where it may not go there, it goes
  // elsewhere.
  const pb::PodRequest successor = Job(2, 2);
  pb::PodRequest elsewhere = successor;
  elsewhere.mutable_constraints()->add_excluded_nodes(to);
  EXPECT_EQ(bed.Propose(elsewhere).placement().node(), from);
  EXPECT_EQ(bed.Propose(successor).placement().node(), to);
  pb::EvaluateRequest judge;
  *judge.mutable_pod() = successor;
  judge.add_nodes(from);
  judge.add_nodes(to);
  const auto verdicts = bed.service().Evaluate(bed.caller, judge, bed.now()).body;
  EXPECT_EQ(verdicts.verdicts(0).reason(), pb::REASON_EXCLUDED);
  EXPECT_EQ(verdicts.verdicts(1).reason(), pb::REASON_FITS);
  const auto reserved = bed.Reserve(successor);
  ASSERT_TRUE(reserved.body.has_lease()) << reserved.body.refused();
  EXPECT_EQ(reserved.body.pod().placement().node(), to);
  EXPECT_EQ(StateOf(bed, "m").phase(), pb::COMMAND_PHASE_DONE);
  EXPECT_EQ(bed.engine().allocation_count(), 1u);
  EXPECT_TRUE(bed.service().Audit().has_value());
}

TEST(ServiceCommands, AMigrationThatNobodyFollowsGivesItsPlaceBack) {
  Bed bed;
  List(bed);
  Running(bed, Job(1, 2));
  pb::CommandRequest command = Order("m", pb::ACTION_KIND_MIGRATE, 1);
  command.set_ttl_us(60'000'000);
  ASSERT_TRUE(Say(bed, command).ok());
  EXPECT_EQ(bed.engine().allocation_count(), 2u);
  bed.Wait(61'000'000);
  bed.service().Tick(bed.now());
  EXPECT_EQ(StateOf(bed, "m").phase(), pb::COMMAND_PHASE_FAILED);
  EXPECT_EQ(bed.engine().allocation_count(), 1u);
  // No room elsewhere, no job by which a successor would be known: refused, with nothing changed.
  Running(bed, PodOf(5, 1000, 2, 1000));
  EXPECT_THAT(Say(bed, Order("n", pb::ACTION_KIND_MIGRATE, 1)).message,
              HasSubstr("no other place"));
  EXPECT_THAT(Say(bed, Order("o", pb::ACTION_KIND_MIGRATE, 5)).message, HasSubstr("no job"));
  EXPECT_EQ(bed.engine().allocation_count(), 2u);
}

TEST(ServiceCommands, ACardMovesWhenNothingIsOnIt) {
  Bed bed;
  List(bed);
  pb::PodRequest pod = Job(1);
  pod.mutable_constraints()->add_only_nodes("n1");
  Running(bed, pod);
  const ClusterState& state = bed.engine().state();
  const NodeId n1 = state.FindNode("n1");
  const int card = bed.engine().Find(*service::ParseUid(UidOf(1)))->cards.lowest();
  const std::string uuid = CardOf(bed, "n1", card);
  const auto said = Say(bed, Move("m", uuid, pb::CARD_MODE_EXCLUSIVE));
  ASSERT_TRUE(said.ok()) << said.message;
  EXPECT_EQ(said.body.phase(), pb::COMMAND_PHASE_WAITING);
  EXPECT_TRUE(state.card(n1, card).cordoned);
  EXPECT_TRUE(Actions(bed).empty());
  EXPECT_EQ(Say(bed, Move("again", uuid, pb::CARD_MODE_MIG)).code, Code::kPrecondition);
  // The sync tells the node anew, without a cordon: it stays, also over a restart.
  bed.Tell({NodeDelta("n1", 8000, 2)});
  EXPECT_TRUE(state.card(n1, card).cordoned);
  bed.Restart();
  List(bed, {PodDelta(pod, "n1")});
  EXPECT_TRUE(bed.engine().state().card(n1, card).cordoned);
  bed.Tell({GoneDelta(1)});
  const auto actions = Actions(bed);
  ASSERT_EQ(actions.size(), 1u);
  EXPECT_EQ(actions[0].node(), "n1");
  EXPECT_EQ(actions[0].card().uuid(), uuid);
  EXPECT_EQ(actions[0].card().mode(), pb::CARD_MODE_EXCLUSIVE);
  EXPECT_EQ(bed.engine().state().card(n1, card).mode, CardMode::kShared);
  ASSERT_TRUE(Ack(bed, actions[0]));
  EXPECT_EQ(StateOf(bed, "m").phase(), pb::COMMAND_PHASE_DONE);
  EXPECT_EQ(bed.engine().state().card(n1, card).mode, CardMode::kExclusive);
  EXPECT_FALSE(bed.engine().state().card(n1, card).cordoned);
}

TEST(ServiceCommands, AMoveThatFailsLeavesTheCardAsItWas) {
  Bed bed;
  List(bed);
  pb::PodRequest pod = Job(1);
  pod.mutable_constraints()->add_only_nodes("n1");
  Running(bed, pod);
  const NodeId n1 = bed.engine().state().FindNode("n1");
  const int card = bed.engine().Find(*service::ParseUid(UidOf(1)))->cards.lowest();
  pb::CommandRequest evicting = Move("m", CardOf(bed, "n1", card), pb::CARD_MODE_PASSTHROUGH);
  evicting.set_evict(true);
  evicting.set_ttl_us(60'000'000);
  Say(bed, evicting);
  const auto actions = Actions(bed);
  ASSERT_EQ(actions.size(), 1u);
  EXPECT_EQ(actions[0].kind(), pb::ACTION_KIND_EVICT);
  EXPECT_EQ(actions[0].pod().uid(), UidOf(1));
  bed.Wait(61'000'000);
  bed.service().Tick(bed.now());
  EXPECT_EQ(StateOf(bed, "m").phase(), pb::COMMAND_PHASE_FAILED);
  EXPECT_FALSE(bed.engine().state().card(n1, card).cordoned);
  EXPECT_EQ(bed.engine().state().card(n1, card).mode, CardMode::kShared);
  EXPECT_TRUE(Actions(bed).empty());
}

TEST(ServiceWatch, RoomThatComesFreeIsTold) {
  Bed bed;
  List(bed);
  const std::string node = Running(bed, Job(1));
  const std::string card =
      CardOf(bed, node, bed.engine().Find(*service::ParseUid(UidOf(1)))->cards.lowest());
  std::uint64_t from = bed.service().last_event();
  bed.Tell({GoneDelta(1), GoneDelta(99)});
  auto events = bed.service().WatchAfter(from, 10);
  ASSERT_EQ(events.size(), 1u);  // who held nothing frees nothing
  EXPECT_EQ(events[0].freed().node(), node);
  EXPECT_THAT(events[0].freed().card_uuids(), testing::ElementsAre(card));
  EXPECT_EQ(events[0].about().uid(), UidOf(1));
  from = bed.service().last_event();
  bed.Tell({NodeDelta("n1", 8000, 2)});  // as it was
  EXPECT_EQ(bed.service().last_event(), from);
  pb::Delta queue;
  queue.mutable_queue()->set_name("q");
  bed.Tell({NodeDelta("n3", 8000, 1), queue});
  events = bed.service().WatchAfter(from, 10);
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].freed().node(), "n3");
  EXPECT_EQ(events[1].freed().node(), "");
}

}  // namespace
}  // namespace basalt
