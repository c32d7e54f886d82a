// Nodes in Kubernetes' words, and pods whose cards stand in annotations: the service reads both
// with devices, and writes assignments that the node's plugin understands.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>

#include "test/support/service_bed.h"

namespace basalt {
namespace {

using support::Bed;
using support::GoneDelta;
using support::NodeDelta;
using support::UidOf;
using testing::HasSubstr;

namespace pb = placement::v1;

constexpr const char* kRegister = "hami.io/node-nvidia-register";
constexpr const char* kAllocated = "hami.io/vgpu-devices-allocated";

std::string Registered(const std::string& node, int cards, const std::string& health = "true") {
  std::string out;
  for (int i = 0; i < cards; ++i) {
    out += "GPU-" + node + '-' + std::to_string(i) + ",10,24576,100,NVIDIA A30,0," + health + ',' +
           std::to_string(i) + ",hami-core:";
  }
  return out;
}

pb::Delta KubeNode(const std::string& name, const std::string& registered) {
  pb::Delta delta;
  pb::NodeResources* node = delta.mutable_node()->mutable_kubernetes();
  node->set_name(name);
  (*node->mutable_allocatable())["cpu"] = "64";
  (*node->mutable_allocatable())["memory"] = "256Gi";
  if (!registered.empty()) (*node->mutable_annotations())[kRegister] = registered;
  return delta;
}

// Asks in HAMi's words: a container without cards, and one with a part of one.
pb::PodRequest HamiPod(std::uint64_t uid, const std::string& memory, const std::string& cores) {
  pb::PodRequest pod;
  pod.mutable_pod()->set_uid(UidOf(uid));
  pb::PodResources* resources = pod.mutable_ask()->mutable_pod();
  resources->set_name("pod");
  resources->add_containers()->set_name("none");
  pb::PodResources::Container* c = resources->add_containers();
  c->set_name("c");
  (*c->mutable_limits())["nvidia.com/gpu"] = "1";
  (*c->mutable_limits())["nvidia.com/gpumem"] = memory;
  (*c->mutable_limits())["nvidia.com/gpucores"] = cores;
  return pod;
}

pb::Delta On(const pb::PodRequest& pod, const std::string& node,
             const std::map<std::string, std::string>& annotations) {
  pb::Delta delta = support::PodDelta(pod, node);
  for (const auto& [key, text] : annotations)
    (*delta.mutable_pod()->mutable_annotations())[key] = text;
  return delta;
}

std::string Metrics(Bed& bed) {
  service::MetricsText text;
  bed.service().WriteMetrics(&text);
  return text.Text();
}

pb::ReserveResponse Reserve(Bed& bed, const pb::PodRequest& pod) {
  pb::ReserveRequest request;
  *request.mutable_pod() = pod;
  request.set_want_assignment(true);
  return bed.service().Reserve(bed.caller, request, bed.now()).body;
}

TEST(ServiceKube, NodesAreReadAndReadAgain) {
  Bed bed;
  bed.List({KubeNode("n1", Registered("n1", 2))});
  const ClusterState& state = bed.engine().state();
  ASSERT_EQ(state.hot(state.FindNode("n1")).cards, 2);
  EXPECT_EQ(state.CardUuid(state.FindNode("n1"), 1), "GPU-n1-1");
  EXPECT_EQ(state.SpecOf(state.FindNode("n1")).cards[0].model, "A30");
  const auto lease = Reserve(bed, HamiPod(1, "3000", "30"));
  ASSERT_TRUE(lease.has_lease());
  // Its plugin finds the cards ill, one comes, the node is cordoned: the pod stays.
  pb::Delta changed = KubeNode("n1", Registered("n1", 3, "false"));
  changed.mutable_node()->mutable_kubernetes()->set_unschedulable(true);
  EXPECT_EQ(bed.Tell({changed}).rejected_size(), 0);
  EXPECT_EQ(state.hot(state.FindNode("n1")).cards, 3);
  EXPECT_FALSE(state.card(state.FindNode("n1"), 0).healthy);
  EXPECT_TRUE(state.cordoned(state.FindNode("n1")));
  EXPECT_NE(bed.engine().Find(support::Uid(1)), nullptr);
  // A register that cannot be read changes nothing.
  const std::string digest = bed.service().StateDigest();
  const pb::SyncResponse refused = bed.Tell({KubeNode("n1", "nonsense")});
  ASSERT_EQ(refused.rejected_size(), 1);
  EXPECT_EQ(refused.rejected(0).object(), "node n1");
  EXPECT_THAT(refused.rejected(0).reason(), HasSubstr("hami.io/node-nvidia-register"));
  EXPECT_EQ(bed.service().StateDigest(), digest);
  EXPECT_TRUE(bed.service().Audit().has_value());
  // Listed by its name there, too: it is not swept.
  bed.List({KubeNode("n1", Registered("n1", 2))});
  EXPECT_TRUE(state.FindNode("n1").valid());
  EXPECT_THAT(Metrics(bed), HasSubstr("basalt_nodes_wired{cluster=\"c1\",source=\"unknown\"} 1"));
}

TEST(ServiceKube, WhatIsWrittenIsReadBackAsTheLease) {
  Bed bed;
  bed.List({KubeNode("n1", Registered("n1", 2))});
  const pb::PodRequest pod = HamiPod(1, "3000", "30");
  const auto answer = Reserve(bed, pod);
  const pb::Assignment& assignment = answer.pod().placement().assignment();
  EXPECT_EQ(assignment.interface(), "nvidia/hami");
  EXPECT_TRUE(assignment.enforced());
  EXPECT_EQ(assignment.annotations().at(kAllocated), ";GPU-n1-0,NVIDIA,3000,30:;");
  EXPECT_EQ(assignment.annotations().at("hami.io/bind-phase"), "allocating");
  ASSERT_EQ(bed.Confirm(answer.lease()), pb::LEASE_ANSWER_OK);
  const std::uint64_t position = bed.service().position();
  bed.Tell({On(pod, "n1", {assignment.annotations().begin(), assignment.annotations().end()})});
  EXPECT_EQ(bed.service().position(), position);  // nothing new
  EXPECT_THAT(Metrics(bed), HasSubstr("basalt_mismatches_total{cluster=\"c1\"} 0"));
}

TEST(ServiceKube, ForeignPodsHaveWhatTheirAnnotationsSay) {
  Bed bed;
  bed.List({KubeNode("n1", Registered("n1", 4)),
            On(HamiPod(1, "3000", "30"), "n1", {{kAllocated, ";GPU-n1-2,NVIDIA,3000,30:;"}}),
            // Another scheduler gave more than was asked.
            On(HamiPod(2, "3000", "30"), "n1", {{kAllocated, ";GPU-n1-3,NVIDIA,8000,50:;"}})});
  const ClusterState& state = bed.engine().state();
  const NodeId node = state.FindNode("n1");
  ASSERT_NE(bed.engine().Find(support::Uid(1)), nullptr);
  EXPECT_EQ(bed.engine().Find(support::Uid(1))->cards, CardSet::Of(2));
  EXPECT_EQ(state.card(node, 2).free_milli, 700);
  EXPECT_EQ(state.card(node, 2).memory_free, 24576 - 3000);
  EXPECT_EQ(bed.engine().Find(support::Uid(2))->cards, CardSet::Of(3));
  EXPECT_EQ(state.card(node, 3).free_milli, 500);
  EXPECT_EQ(state.card(node, 3).memory_free, 24576 - 8000);
  EXPECT_TRUE(bed.service().Audit().has_value());
}

TEST(ServiceKube, GrantsThatDifferFromTheLeaseWin) {
  Bed bed;
  bed.List({KubeNode("n1", Registered("n1", 2))});
  const pb::PodRequest pod = HamiPod(1, "3000", "30");
  Reserve(bed, pod);
  bed.Tell({On(pod, "n1", {{kAllocated, ";GPU-n1-1,NVIDIA,3000,30:;"}})});
  EXPECT_EQ(bed.engine().Find(support::Uid(1))->cards, CardSet::Of(1));
  EXPECT_THAT(Metrics(bed), HasSubstr("basalt_mismatches_total{cluster=\"c1\"} 1"));
}

// No annotation's text can do more than not be read.
TEST(ServiceKube, GrantsThatCannotBeReadAreAsIfTheyWereNotThere) {
  Bed bed;
  bed.List({KubeNode("n1", Registered("n1", 2))});
  const pb::PodRequest held = HamiPod(1, "3000", "30");
  ASSERT_TRUE(Reserve(bed, held).has_lease());
  std::uint64_t uid = 1;
  for (const std::string text :
       {"nonsense", ";GPU-n1-0,NVIDIA,x,30:;", ";GPU-other,NVIDIA,3000,30:;", "\n\x01;;;:::,,,",
        ";GPU-n1-0[0-1],NVIDIA,3000,30:;", "GPU-n1-0,NVIDIA,1,1:;GPU-n1-0,NVIDIA,1,1:;"}) {
    const pb::SyncResponse answer =
        bed.Tell({On(HamiPod(uid++, "3000", "30"), "n1", {{kAllocated, text}})});
    EXPECT_EQ(answer.rejected_size(), 0) << text;
  }
  EXPECT_EQ(bed.engine().allocation_count(), 6u);
  EXPECT_EQ(bed.engine().Find(support::Uid(1))->cards, CardSet::Of(0));
  EXPECT_THAT(Metrics(bed), HasSubstr("basalt_grants_unread_total{cluster=\"c1\"} 6"));
  EXPECT_TRUE(bed.service().Audit().has_value());
}

// NVIDIA's own plugin chooses the cards: nothing that claims otherwise is written.
TEST(ServiceKube, StockPluginsAreAdvisedNotTold) {
  Bed bed;
  pb::Delta stock = KubeNode("n1", "");
  (*stock.mutable_node()->mutable_kubernetes()->mutable_capacity())["nvidia.com/gpu"] = "2";
  (*stock.mutable_node()->mutable_kubernetes()->mutable_labels())["nvidia.com/gpu.product"] =
      "NVIDIA-A30";
  bed.List({stock});
  pb::PodRequest pod = HamiPod(1, "3000", "30");
  auto* limits = pod.mutable_ask()->mutable_pod()->mutable_containers(1)->mutable_limits();
  limits->clear();
  (*limits)["nvidia.com/gpu"] = "1";
  const auto answer = Reserve(bed, pod);
  ASSERT_TRUE(answer.has_lease());
  const pb::Place& place = answer.pod().placement();
  EXPECT_EQ(place.card_uuids(0), "n1/0");
  EXPECT_FALSE(place.assignment().enforced());
  EXPECT_TRUE(place.assignment().annotations().empty());
}

// A plugin reads its own names: a pod that speaks another's would never start there.
TEST(ServiceKube, PodsLandWhereTheirWordsAreUnderstood) {
  Bed bed;
  pb::Delta volcano = KubeNode("volcano", "");
  pb::NodeResources* node = volcano.mutable_node()->mutable_kubernetes();
  (*node->mutable_annotations())["volcano.sh/node-vgpu-register"] =
      "GPU-v-0,10,24576,NVIDIA A30,true,hami-core:";
  pb::Delta stock = KubeNode("stock", "");
  (*stock.mutable_node()->mutable_kubernetes()->mutable_capacity())["nvidia.com/gpu"] = "2";
  (*stock.mutable_node()->mutable_kubernetes()->mutable_labels())["nvidia.com/gpu.product"] =
      "NVIDIA-A30";
  bed.List({KubeNode("hami", Registered("hami", 2)), volcano, stock, NodeDelta("told", 8000, 0)});
  const auto pod = [](const std::map<std::string, std::string>& limits) {
    pb::PodRequest out;
    out.mutable_pod()->set_uid(UidOf(1));
    pb::PodResources::Container* c = out.mutable_ask()->mutable_pod()->add_containers();
    c->set_name("c");
    for (const auto& [name, amount] : limits) (*c->mutable_limits())[name] = amount;
    return out;
  };
  const auto fits = [&](const pb::PodRequest& asks) {
    pb::EvaluateRequest request;
    *request.mutable_pod() = asks;
    for (const char* name : {"hami", "volcano", "stock"}) request.add_nodes(name);
    std::string out;
    const auto answer = bed.service().Evaluate(bed.caller, request, bed.now());
    for (const pb::NodeVerdict& v : answer.body.verdicts()) {
      if (v.reason() == pb::REASON_FITS) out += v.node() + ' ';
    }
    return out;
  };
  EXPECT_EQ(fits(pod({{"nvidia.com/gpu", "1"}, {"nvidia.com/gpumem", "8000"}})), "hami ");
  EXPECT_EQ(fits(pod({{"volcano.sh/vgpu-number", "1"}, {"volcano.sh/vgpu-memory", "8000"}})),
            "volcano ");
  EXPECT_EQ(fits(pod({{"volcano.sh/vgpu-number", "1"}})), "volcano ");
  EXPECT_EQ(fits(pod({{"nvidia.com/gpu", "1"}})), "hami stock ");
  EXPECT_EQ(fits(pod({{"basalt.io/gpu", "1"}})), "hami volcano stock ");
  EXPECT_EQ(fits(pod({{"cpu", "1"}})), "hami volcano stock ");
  // A spec of our own speaks no plugin's words.
  EXPECT_EQ(fits(support::PodOf(1, 1000, 1, 1000)), "hami volcano stock ");
}

pb::Delta StockNode(const std::string& name, int cards, const std::string& machine = "") {
  pb::Delta delta = KubeNode(name, "");
  pb::NodeResources* node = delta.mutable_node()->mutable_kubernetes();
  (*node->mutable_capacity())["nvidia.com/gpu"] = std::to_string(cards);
  (*node->mutable_labels())["nvidia.com/gpu.product"] = "NVIDIA-A30";
  if (!machine.empty()) (*node->mutable_annotations())["basalt.io/machine"] = machine;
  return delta;
}

pb::PodRequest StockPod(std::uint64_t uid, const std::string& cards) {
  pb::PodRequest pod = HamiPod(uid, "0", "0");
  auto* limits = pod.mutable_ask()->mutable_pod()->mutable_containers(1)->mutable_limits();
  limits->clear();
  (*limits)["nvidia.com/gpu"] = cards;
  return pod;
}

std::string Granted(const std::string& ids) {
  return R"([{"container":"c","resource":"nvidia.com/gpu","ids":[)" + ids + "]}]";
}

constexpr const char* kGranted = "basalt.io/granted";
constexpr const char* kPublished = "2 link=0-1:25000 uuids=GPU-b,GPU-a";

// Cards of a plugin that knows no ids are places until the node tells their UUIDs; their pods stay.
TEST(ServiceKube, StockCardsGetTheirUuidsAndKeepTheirPods) {
  Bed bed;
  bed.List({StockNode("n1", 2)});
  const auto lease = Reserve(bed, StockPod(1, "1"));
  ASSERT_TRUE(lease.has_lease());
  EXPECT_EQ(lease.pod().placement().card_uuids(0), "n1/0");
  ASSERT_EQ(bed.Confirm(lease.lease()), pb::LEASE_ANSWER_OK);
  ASSERT_EQ(bed.Tell({StockNode("n1", 2, kPublished)}).rejected_size(), 0);
  const ClusterState& state = bed.engine().state();
  const Allocation* held = bed.engine().Find(support::Uid(1));
  ASSERT_NE(held, nullptr);
  EXPECT_EQ(held->cards, CardSet::Of(0));
  EXPECT_TRUE(held->confirmed);
  EXPECT_EQ(state.CardUuid(state.FindNode("n1"), 0), "GPU-b");
  EXPECT_EQ(Reserve(bed, StockPod(2, "1")).pod().placement().card_uuids(0), "GPU-a");
  EXPECT_THAT(Metrics(bed), HasSubstr("basalt_nodes_wired{cluster=\"c1\",source=\"published\"} 1"));
  // And back: the annotation is taken off.
  ASSERT_EQ(bed.Tell({StockNode("n1", 2)}).rejected_size(), 0);
  EXPECT_EQ(bed.engine().Find(support::Uid(1))->cards, CardSet::Of(0));
  EXPECT_TRUE(bed.service().Audit().has_value());
}

// What its annotation says holds after a restart, with the journal and without.
TEST(ServiceKube, StockCardsAreTheSameAfterARestart) {
  for (const bool journal : {true, false}) {
    Bed bed;
    bed.List({StockNode("n1", 4)});
    for (std::uint64_t uid = 1; uid <= 3; ++uid) {
      const auto lease = Reserve(bed, StockPod(uid, "1"));
      ASSERT_EQ(bed.Confirm(lease.lease()), pb::LEASE_ANSWER_OK);
      ASSERT_FALSE(lease.pod().placement().card_uuids(0).empty());
    }
    bed.Tell({GoneDelta(1)});
    const std::string digest = bed.service().StateDigest();
    Bed without;
    Bed& after = journal ? bed : without;
    if (journal) after.Restart();
    std::vector<pb::Delta> listing = {StockNode("n1", 4)};
    for (std::uint64_t uid = 2; uid <= 3; ++uid) {
      listing.push_back(On(StockPod(uid, "1"), "n1", {}));
      listing.back().mutable_pod()->add_granted_uuids("n1/" + std::to_string(uid - 1));
    }
    after.List(listing);
    EXPECT_EQ(after.engine().Find(support::Uid(2))->cards, CardSet::Of(1));
    EXPECT_EQ(after.engine().Find(support::Uid(3))->cards, CardSet::Of(2));
    if (journal) {
      EXPECT_EQ(after.service().StateDigest(), digest);
    }
    EXPECT_THAT(Metrics(after), HasSubstr("basalt_mismatches_total{cluster=\"c1\"} 0"));
    // The same words, once the node has told which card is which.
    listing[0] = StockNode("n1", 4, "4 uuids=GPU-w,GPU-x,GPU-y,GPU-z");
    Bed named;
    named.List(listing);
    EXPECT_EQ(named.engine().Find(support::Uid(3))->cards, CardSet::Of(2));
  }
}

// Advice is not kept: what the kubelet really gave counts, and both are told.
TEST(ServiceKube, WhatTheKubeletGaveIsReconciled) {
  Bed bed;
  bed.List({StockNode("n1", 2, kPublished)});
  const pb::PodRequest pod = StockPod(1, "1");
  const auto lease = Reserve(bed, pod);
  ASSERT_EQ(lease.pod().placement().card_uuids(0), "GPU-b");
  EXPECT_FALSE(lease.pod().placement().assignment().enforced());
  ASSERT_EQ(bed.Confirm(lease.lease()), pb::LEASE_ANSWER_OK);
  const auto tell = [&](const std::string& text) {
    pb::Delta delta = On(pod, "n1", {{kGranted, text}});
    delta.mutable_pod()->add_granted_uuids("GPU-b");  // basalt.io/cards still says what was advised
    EXPECT_EQ(bed.Tell({delta}).rejected_size(), 0) << text;
    return bed.engine().Find(support::Uid(1))->cards;
  };
  EXPECT_EQ(tell(Granted(R"("GPU-b")")), CardSet::Of(0));
  EXPECT_THAT(Metrics(bed), HasSubstr("basalt_mismatches_total{cluster=\"c1\"} 0"));
  EXPECT_EQ(tell(Granted(R"("GPU-a")")), CardSet::Of(1));
  EXPECT_THAT(Metrics(bed), HasSubstr("basalt_mismatches_total{cluster=\"c1\"} 1"));
  const auto events = bed.service().WatchAfter(0, 1000);
  const auto mismatch = std::ranges::find_if(
      events, [](const pb::WatchEvent& event) { return event.has_mismatch(); });
  ASSERT_NE(mismatch, events.end());
  EXPECT_EQ(mismatch->mismatch().chosen(0), "GPU-b");
  EXPECT_EQ(mismatch->mismatch().granted(0), "GPU-a");
  // The card that was advised is free again.
  EXPECT_EQ(Reserve(bed, StockPod(2, "1")).pod().placement().card_uuids(0), "GPU-b");
  // What is not a word about its cards, or of as many as it asked for, changes nothing.
  for (const std::string& bad :
       {std::string("nonsense"), Granted(R"("GPU-a","GPU-b")"), Granted(R"("GPU-a","GPU-q")")}) {
    pb::Delta delta = On(pod, "n1", {{kGranted, bad}});
    EXPECT_EQ(bed.Tell({delta}).rejected_size(), 0) << bad;
    EXPECT_EQ(bed.engine().Find(support::Uid(1))->cards, CardSet::Of(1)) << bad;
  }
  EXPECT_THAT(Metrics(bed), HasSubstr("basalt_grants_unread_total{cluster=\"c1\"} 3"));
  EXPECT_TRUE(bed.service().Audit().has_value());
}

TEST(ServiceKube, NumaNodesAreTold) {
  Bed bed;
  pb::Delta node = StockNode("n1", 2);
  pb::NumaReport* numa = node.mutable_node()->mutable_kubernetes()->mutable_numa();
  numa->set_policy("single-numa-node");
  for (const char* name : {"node-0", "node-1"}) {
    pb::NumaReport::Zone* zone = numa->add_zones();
    zone->set_name(name);
    (*zone->mutable_allocatable())["cpu"] = "32";
    (*zone->mutable_allocatable())["memory"] = "128Gi";
    (*zone->mutable_allocatable())["nvidia.com/gpu"] = "1";
  }
  bed.List({node});
  EXPECT_THAT(Metrics(bed), HasSubstr("basalt_nodes_wired{cluster=\"c1\",source=\"nrt\"} 1"));
  // Two cards are on two NUMA nodes: the kubelet would refuse the pod there.
  EXPECT_TRUE(Reserve(bed, StockPod(1, "1")).has_lease());
  EXPECT_FALSE(Reserve(bed, StockPod(2, "2")).has_lease());
  Bed plain;
  plain.List({StockNode("n1", 2)});
  EXPECT_TRUE(Reserve(plain, StockPod(2, "2")).has_lease());
}

// The catalog's machine stands for a node that tells nothing, only where that is asked for; and it
// is called a guess.
TEST(ServiceKube, AGuessIsMarkedAsOne) {
  service::ClusterConfig config = support::TestCluster();
  const std::string unknown = "basalt_nodes_wired{cluster=\"c1\",source=\"unknown\"}";
  Bed told(config);
  told.List({StockNode("n1", 3)});
  EXPECT_THAT(Metrics(told), HasSubstr(unknown + " 1"));
  config.guess_wiring = true;
  Bed bed(config);
  // Two of the known machines have two such cards: no telling which.
  bed.List({StockNode("n1", 3), StockNode("n2", 2), StockNode("n3", 4),
            StockNode("n4", 3, "3 link=0-1:25000")});
  const std::string text = Metrics(bed);
  const ClusterState& state = bed.engine().state();
  EXPECT_THAT(text, HasSubstr("basalt_nodes_wired{cluster=\"c1\",source=\"catalog-guess\"} 1"));
  EXPECT_THAT(text, HasSubstr("basalt_nodes_wired{cluster=\"c1\",source=\"published\"} 1"));
  EXPECT_THAT(text, HasSubstr(unknown + " 2"));
  EXPECT_EQ(state.SpecOf(state.FindNode("n1")).machine, "3 link=0..2-f0:80000");
  EXPECT_EQ(state.SpecOf(state.FindNode("n2")).machine, "");
  // Whoever asks why is told what the choice stands on.
  pb::ExplainRequest explain;
  *explain.mutable_pod() = StockPod(9, "3");
  explain.set_top(3);
  std::map<std::string, std::string> wired;
  const auto explained = bed.service().Explain(bed.caller, explain, bed.now());
  for (const pb::NodeVerdict& v : explained.body.best()) {
    wired[v.node()] = v.text();
  }
  EXPECT_EQ(wired["n1"], "wired: catalog-guess");
  EXPECT_EQ(wired["n3"], "wired: unknown");
  EXPECT_EQ(wired["n4"], "wired: published");
}

TEST(ServiceKube, HelloTellsWhatToSend) {
  Bed bed;
  const auto hello = bed.service().Hello(bed.caller, {}, bed.now());
  const auto& node = hello.body.node_annotation_keys();
  EXPECT_NE(std::find(node.begin(), node.end(), kRegister), node.end());
  const auto& grants = hello.body.grant_annotation_keys();
  EXPECT_NE(std::find(grants.begin(), grants.end(), kAllocated), grants.end());
  EXPECT_NE(std::find(grants.begin(), grants.end(), kGranted), grants.end());
  const auto& usage = hello.body.usage_metric_names();
  EXPECT_NE(std::find(usage.begin(), usage.end(), "DCGM_FI_DEV_GPU_UTIL"), usage.end());
  // What differs from pod to pod is no part of the ask.
  const auto& pod = hello.body.pod_annotation_keys();
  EXPECT_EQ(std::find(pod.begin(), pod.end(), kAllocated), pod.end());
}

}  // namespace
}  // namespace basalt
