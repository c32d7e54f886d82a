// Kubernetes nodes as the engine's: cards from registers of both HAMi versions and of Volcano, from
// capacity, oversubscription, cordons, MIG, wiring from pair scores; and what is written for them.
#include <gmock/gmock.h>

#include "devices/node_resources.h"
#include "test/unit/devices_test_util.h"
#include "topology/synthetic.h"

namespace basalt::devices {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr const char* kNvidia = "hami.io/node-nvidia-register";

NodeResources NodeOf(std::map<std::string, std::string> annotations, Amounts allocatable = {}) {
  NodeResources node{.name = "n1"};
  node.annotations = std::move(annotations);
  node.allocatable = {{"cpu", "63500m"}, {"memory", "526000000Ki"}, {"pods", "110"}};
  node.allocatable.insert(allocatable.begin(), allocatable.end());
  node.capacity = node.allocatable;
  return node;
}
NodeRead MustNode(const NodeResources& node) {
  auto read = ReadNode(Cards(), node);
  EXPECT_TRUE(read.has_value()) << read.error().ToString();
  return read ? *read : NodeRead();
}
std::string WhyNotNode(const NodeResources& node) {
  const auto read = ReadNode(Cards(), node);
  EXPECT_FALSE(read.has_value());
  return read ? "" : read.error().ToString();
}
std::string Json(int index, const std::string& type, std::int64_t memory,
                 const std::string& more = "") {
  return R"({"id":"GPU-)" + std::to_string(index) + R"(","index":)" + std::to_string(index) +
         R"(,"count":10,"devmem":)" + std::to_string(memory) + R"(,"devcore":100,"type":")" + type +
         R"(","mode":"hami-core","health":true)" + more + '}';
}

// Cards for virtual machines stand beside those that HAMi has registered, in a pool of their own.
TEST(Node, PassthroughCardsAreCountedFromTheirResource) {
  NodeResources node = NodeOf({{kNvidia, "[" + Json(0, "NVIDIA A30", 24'576) + "]"}},
                              {{"nvidia.com/gpu", "10"},
                               {"nvidia.com/TU104GL_Tesla_T4", "2"},
                               {"devices.kubevirt.io/kvm", "1k"},
                               {"nvidia.com/XX_T4", "4"}});
  node.allocatable["nvidia.com/TU104GL_Tesla_T4"] = "1";
  const NodeRead read = MustNode(node);
  ASSERT_THAT(read.spec.cards, SizeIs(3));
  EXPECT_EQ(read.spec.cards[0].mode, CardMode::kShared);
  for (const int i : {1, 2}) {
    const CardSpec& card = read.spec.cards[static_cast<std::size_t>(i)];
    EXPECT_EQ(card.mode, CardMode::kPassthrough);
    EXPECT_EQ(card.model, "T4");
    EXPECT_EQ(card.memory_mib, 16'384);
    EXPECT_EQ(card.uuid, "n1/TU104GL_Tesla_T4/" + std::to_string(i - 1));
  }
  EXPECT_TRUE(read.conditions[1].healthy);
  EXPECT_FALSE(read.conditions[2].healthy);
  EXPECT_THAT(WhyNotNode(NodeOf({}, {{"nvidia.com/TU104GL_Tesla_T4", "65"}})),
              HasSubstr("a node has at most"));
}

TEST(Node, HostAndLabels) {
  NodeResources node = NodeOf({});
  node.labels = {{"zone", "a"}};
  node.taints = {"gpu"};
  node.ready = false;
  const NodeRead read = MustNode(node);
  EXPECT_EQ(read.spec.name, "n1");
  EXPECT_EQ(read.spec.cpu_milli, 63'500);
  EXPECT_EQ(read.spec.memory_mib, 513'671);
  EXPECT_EQ(read.spec.max_pods, 110);
  EXPECT_THAT(read.spec.labels, ElementsAre(LabelRequirement{"zone", "a"}));
  EXPECT_THAT(read.spec.taints, ElementsAre("gpu"));
  EXPECT_TRUE(read.cordoned);
  EXPECT_THAT(read.spec.cards, IsEmpty());
  EXPECT_FALSE(MustNode(NodeOf({})).cordoned);
  EXPECT_THAT(WhyNotNode(NodeOf({}, {{"nvidia.com/gpu", "x"}})),
              HasSubstr("node n1: nvidia.com/gpu"));
  NodeResources bad = NodeOf({});
  bad.allocatable["cpu"] = "many";
  EXPECT_THAT(WhyNotNode(bad), HasSubstr("node n1: cpu"));
}

// The order of the annotation is random; a card's place is by its index.
TEST(Node, CardsAreByIndexWhateverTheirOrder) {
  const std::string a = Json(0, "NVIDIA A30", 24576),
                    b = Json(1, "NVIDIA A30", 24576, R"(,"numa":1)");
  const NodeRead read = MustNode(NodeOf({{kNvidia, '[' + b + ',' + a + ']'}}));
  ASSERT_THAT(read.spec.cards, SizeIs(2));
  EXPECT_EQ(read.spec.cards[0].uuid, "GPU-0");
  EXPECT_EQ(read.spec.cards[1].uuid, "GPU-1");
  EXPECT_EQ(read.spec.cards[0].model, "A30");
  EXPECT_EQ(read.spec.cards[0].slots, 10);
  EXPECT_EQ(read.spec.cards[0].compute_milli, kWholeCard);
  EXPECT_EQ(read.spec.cards[0].memory_ratio_percent, 100);
  EXPECT_EQ(read.spec.cards[1].numa, 1);
  EXPECT_EQ(read.spec.numa_nodes, 2);
  EXPECT_EQ(read.facts.version, HamiVersion::kV2_10);
  EXPECT_THAT(read.facts.platforms, ElementsAre("hami", "hami"));
  EXPECT_EQ(read.facts.cards[1].type, "NVIDIA A30");
  EXPECT_EQ(read.facts.cards[1].index, "1");
  EXPECT_EQ(MustNode(NodeOf({{kNvidia, '[' + a + ',' + b + ']'}})).spec, read.spec);
}

TEST(Node, TextAndJsonTellTheSameNode) {
  const NodeRead json = MustNode(NodeOf({{kNvidia, '[' + Json(0, "NVIDIA A30", 24576) + ']'}}));
  const NodeRead text =
      MustNode(NodeOf({{kNvidia, "GPU-0,10,24576,100,NVIDIA-NVIDIA A30,0,true,0,hami-core:"}}));
  EXPECT_EQ(text.spec, json.spec);
  EXPECT_EQ(text.facts.version, HamiVersion::kV2_7);
}

TEST(Node, OversubscriptionIsToldFromTheCatalog) {
  const auto card = [](const std::string& devmem, const std::string& devcore = "100") {
    return MustNode(NodeOf({{kNvidia, "GPU-0,10," + devmem + ',' + devcore +
                                          ",NVIDIA A30,0,true,0,hami-core:"}}))
        .spec.cards.at(0);
  };
  const auto schedulable = [](const CardSpec& c) {
    return c.memory_mib * c.memory_ratio_percent / 100;
  };
  EXPECT_EQ(card("24576").memory_ratio_percent, 100);
  EXPECT_EQ(card("24000").memory_mib, 24000);  // what the driver keeps is not oversubscription
  EXPECT_EQ(card("24000").memory_ratio_percent, 100);
  EXPECT_EQ(card("12288").memory_mib, 12288);  // a plugin may offer less
  EXPECT_EQ(card("36864").memory_mib, 24576);
  EXPECT_EQ(card("36864").memory_ratio_percent, 150);
  EXPECT_EQ(card("49152").memory_ratio_percent, 200);
  // Never more than was registered.
  for (const std::int64_t devmem : {26'000, 30'001, 36'865, 49'151}) {
    const CardSpec c = card(std::to_string(devmem));
    EXPECT_GT(c.memory_ratio_percent, 100);
    EXPECT_LE(schedulable(c), devmem);
    EXPECT_GE(schedulable(c), devmem - 2);
  }
  EXPECT_EQ(card("73728").memory_mib, 24576);  // 300 %: more than the engine hands out
  EXPECT_EQ(card("73728").memory_ratio_percent, 200);
  EXPECT_EQ(card("24576", "150").compute_milli, 1500);
  EXPECT_EQ(card("24576", "400").compute_milli, 2000);
  EXPECT_EQ(card("24576", "0").compute_milli, 1000);
}

TEST(Node, UnknownModelsAreTakenAsTheyAre) {
  const NodeRead read = MustNode(NodeOf({{kNvidia, '[' + Json(0, "NVIDIA Voodoo 2", 8192) + ']'}}));
  EXPECT_EQ(read.spec.cards.at(0).model, "NVIDIA Voodoo 2");
  EXPECT_EQ(read.spec.cards[0].memory_mib, 8192);
  EXPECT_THAT(read.notes, Contains(HasSubstr("no model \"NVIDIA Voodoo 2\"")));
}

TEST(Node, HealthCordonsAndWithdrawnCards) {
  const std::string cards =
      "GPU-0,10,24576,100,NVIDIA A30,0,true,0,hami-core:"
      "GPU-1,10,24576,100,NVIDIA A30,0,false,1,hami-core:";
  const NodeRead read = MustNode(NodeOf(
      {{kNvidia, cards}, {"hami.io/device-cordon", "GPU-7, GPU-0"}}, {{"nvidia.com/gpu", "20"}}));
  EXPECT_THAT(read.conditions, ElementsAre(CardCondition{true, true}, CardCondition{false, false}));
  const NodeRead gone = MustNode(NodeOf({{kNvidia, cards}}, {{"nvidia.com/gpu", "0"}}));
  EXPECT_THAT(gone.conditions,
              ElementsAre(CardCondition{false, false}, CardCondition{false, false}));
  EXPECT_THAT(gone.notes, Contains(HasSubstr("offers no cards now")));
}

TEST(Node, MigByVersion) {
  const std::string card =
      R"({"id":"GPU-0","count":7,"devmem":40960,"devcore":100,"type":"NVIDIA A100-SXM4-40GB","mode":"mig","health":true)";
  const NodeRead now = MustNode(NodeOf(
      {{kNvidia,
        '[' + card +
            R"(,"migProfiles":[{"name":"1g.5gb","memoryMB":4864},{"name":"1g.10gb"},{"name":"2g.10gb"},{"name":"3g.20gb"},{"name":"4g.20gb"}]}])"}}));
  EXPECT_EQ(now.spec.cards.at(0).mode, CardMode::kMig);
  EXPECT_EQ(now.spec.cards[0].slots, 0);
  EXPECT_FALSE(now.conditions[0].cordoned);
  EXPECT_THAT(now.notes, ElementsAre(HasSubstr("does not offer the MIG profile 7g.40gb")));
  for (const std::string& old :
       {'[' + card + R"(,"devicepairscore":{}}])",
        std::string("GPU-0,7,40960,100,NVIDIA A100-SXM4-40GB,0,true,0,mig:")}) {
    const NodeRead read = MustNode(NodeOf({{kNvidia, old}}));
    EXPECT_TRUE(read.conditions.at(0).cordoned);
    EXPECT_EQ(read.spec.cards[0].mode, CardMode::kShared);
    EXPECT_THAT(read.notes, Contains(HasSubstr("MIG cards take no new pods")));
  }
}

TEST(Node, HamiOrVolcanoWhicheverRuns) {
  const std::map<std::string, std::string> both = {
      {kNvidia, "GPU-0,10,24576,100,NVIDIA A30,0,true,0,hami-core:"},
      {"volcano.sh/node-vgpu-register", "GPU-0,8,24576,NVIDIA-NVIDIA A30,true,hami-core:"}};
  EXPECT_THAT(MustNode(NodeOf(both)).facts.platforms, ElementsAre("hami"));
  const NodeRead volcano = MustNode(NodeOf(both, {{"volcano.sh/vgpu-number", "8"}}));
  EXPECT_THAT(volcano.facts.platforms, ElementsAre("volcano"));
  EXPECT_EQ(volcano.spec.cards.at(0).slots, 8);
  EXPECT_EQ(volcano.spec.cards[0].model, "A30");
  EXPECT_EQ(volcano.spec.cards[0].numa, -1);
  const NodeRead factor = MustNode(
      NodeOf({{"volcano.sh/node-vgpu-register", "GPU-0,8,24,NVIDIA-NVIDIA A30,true,hami-core:"}}));
  EXPECT_THAT(factor.notes, Contains(HasSubstr("gpuMemoryFactor")));
}

TEST(Node, OtherVendors) {
  NodeResources soft = NodeOf(
      {{"hami.io/node-register-Ascend910B3",
        R"([{"id":"npu-0","count":4,"devmem":65536,"devcore":20,"type":"Ascend910B3","health":true,"custominfo":{"NetworkID":1}}])"},
       {"hami-vnpu-core", "true"}});
  EXPECT_EQ(MustNode(soft).spec.cards.at(0).model, "Ascend910B3-soft");
  EXPECT_EQ(MustNode(soft).spec.cards[0].group, 1);
  EXPECT_EQ(MustNode(soft).spec.cards[0].compute_milli, kWholeCard);
  soft.annotations["hami-vnpu-core"] = "false";
  EXPECT_EQ(MustNode(soft).spec.cards.at(0).model, "Ascend910B3");
  const NodeRead iluvatar = MustNode(NodeOf(
      {{"hami.io/node-MR-V100-register", "GPU-i,100,32768,100,Iluvatar,0,true,0,hami-core:"}}));
  EXPECT_EQ(iluvatar.spec.cards.at(0).model, "MR-V100");
  const NodeRead kunlun = MustNode(NodeOf({}, {{"kunlunxin.com/xpu", "8"}}));
  EXPECT_EQ(kunlun.spec.cards.at(7).model, "P800");
  EXPECT_EQ(kunlun.spec.cards[7].uuid, "n1-kunlun-7");
  EXPECT_EQ(kunlun.spec.cards[7].mode, CardMode::kExclusive);
  EXPECT_EQ(kunlun.spec.numa_nodes, 2);
  EXPECT_THAT(kunlun.notes, Contains(HasSubstr("taken for P800")));
  const NodeRead mlu = MustNode(NodeOf(
      {}, {{"cambricon.com/mlu.smlu.vcore", "100"}, {"cambricon.com/mlu.smlu.vmemory", "192"}}));
  EXPECT_EQ(mlu.spec.cards.at(0).model, "MLU370-X8");
  EXPECT_EQ(mlu.spec.cards[0].mode, CardMode::kShared);
}

TEST(Node, EnflameProfilesMustBeTheCatalogs) {
  const auto drs = [](const std::string& profiles) {
    return MustNode(NodeOf(
        {{"enflame.com/gcu-drs-capacity",
          R"({"devices":[{"index":"3","minor":"4","capacity":4}],"profiles":)" + profiles + '}'}}));
  };
  const NodeRead same = drs(R"({"1g.12gb":"0","2g.24gb":"1","3g.36gb":"2","4g.48gb":"3"})");
  EXPECT_EQ(same.spec.cards.at(0).model, "S60");
  EXPECT_EQ(same.spec.cards[0].memory_mib, 49152);
  EXPECT_FALSE(same.conditions[0].cordoned);
  EXPECT_EQ(same.facts.cards[0].minor, "4");
  EXPECT_EQ(same.facts.profile_ids.at("2g.24gb"), "1");
  const NodeRead other = drs(R"({"1g.6gb":"0","3g.20gb":"1","6g.40gb":"2"})");
  EXPECT_TRUE(other.conditions.at(0).cordoned);
  EXPECT_THAT(other.notes, Contains(HasSubstr("give its profiles in a catalog file")));
}

TEST(Node, StockPlugins) {
  NodeResources node = NodeOf({}, {{"nvidia.com/gpu", "8"}});
  node.labels = {{"nvidia.com/gpu.product", "NVIDIA-A100-SXM4-80GB"},
                 {"nvidia.com/gpu.count", "8"}};
  const NodeRead read = MustNode(node);
  ASSERT_THAT(read.spec.cards, SizeIs(8));
  EXPECT_EQ(read.spec.cards[7].uuid, "n1/7");
  EXPECT_EQ(read.spec.cards[7].model, "A100-80G");
  EXPECT_EQ(read.spec.cards[7].memory_mib, 81920);
  EXPECT_EQ(read.spec.cards[7].mode, CardMode::kExclusive);
  EXPECT_EQ(read.facts.platforms[7], "plugin");
  node.labels["nvidia.com/gpu.count"] = "2";
  const NodeRead shared = MustNode(node);
  ASSERT_THAT(shared.spec.cards, SizeIs(2));
  EXPECT_EQ(shared.spec.cards[0].mode, CardMode::kShared);
  EXPECT_EQ(shared.spec.cards[0].slots, 4);
  node.labels.clear();
  EXPECT_EQ(MustNode(node).spec.cards.at(0).model, "nvidia");
}

TEST(Node, WiredAsPairScoresTell) {
  const std::string cards =
      "GPU-0,10,40960,100,NVIDIA A100-PCIE-40GB,0,true,0,hami-core:"
      "GPU-1,10,40960,100,NVIDIA A100-PCIE-40GB,0,true,1,hami-core:"
      "GPU-2,10,40960,100,NVIDIA A100-PCIE-40GB,1,true,2,hami-core:"
      "GPU-3,10,40960,100,NVIDIA A100-PCIE-40GB,1,true,3,hami-core:";
  const auto with = [&](const std::string& scores) {
    return MustNode(NodeOf({{kNvidia, cards}, {"hami.io/node-nvidia-score", scores}}));
  };
  const NodeRead read = with(
      R"([{"uuid":"GPU-0","score":{"GPU-1":1250,"GPU-2":10,"GPU-3":10}},{"uuid":"GPU-1","score":{"GPU-0":1250,"GPU-2":10,"GPU-3":10}},)"
      R"({"uuid":"GPU-2","score":{"GPU-0":10,"GPU-1":10,"GPU-3":1250}},{"uuid":"GPU-3","score":{"GPU-0":10,"GPU-1":10,"GPU-2":1250}}])");
  EXPECT_EQ(read.machine_source, "hami-scores");
  const auto graph = topology::ParseGraph(read.spec.machine);
  ASSERT_TRUE(graph.has_value()) << graph.error().ToString();
  EXPECT_EQ(graph->cards(), 4);
  const Eigen::MatrixXi links = graph->DirectFabric();
  EXPECT_GT(links(0, 1), 0);
  EXPECT_EQ(links(0, 1), links(2, 3));
  EXPECT_EQ(links(0, 2), 0);
  for (const std::string bad :
       {R"([{"uuid":"GPU-0"}])", R"([{"uuid":"GPU-9","score":{}}])", "{", R"([{"score":{}}])",
        R"([{"uuid":"GPU-0","score":{"GPU-1":-1}}])", R"([{"uuid":"GPU-0","score":[]}])"}) {
    const NodeRead none = with(bad);
    EXPECT_EQ(none.spec.machine, "") << bad;
    EXPECT_EQ(none.machine_source, "") << bad;
    EXPECT_THAT(none.notes, Contains(HasSubstr("hami.io/node-nvidia-score"))) << bad;
  }
}

TEST(Node, AnOperatorSaysHowItIsWired) {
  const std::string cards =
      "GPU-0,10,40960,100,NVIDIA A100-PCIE-40GB,0,true,0,hami-core:"
      "GPU-1,10,40960,100,NVIDIA A100-PCIE-40GB,0,true,1,hami-core:";
  const NodeRead read =
      MustNode(NodeOf({{kNvidia, cards}, {"basalt.io/machine", "2xA100 link=0-1:nv12"}}));
  EXPECT_EQ(read.machine_source, "published");
  EXPECT_TRUE(topology::ParseGraph(read.spec.machine).has_value());
  const NodeRead wrong = MustNode(NodeOf({{kNvidia, cards}, {"basalt.io/machine", "3xA100"}}));
  EXPECT_EQ(wrong.spec.machine, "");
  EXPECT_THAT(wrong.notes, Contains(HasSubstr("has 3 cards, the node 2")));
}

// What the node itself has told wins over scores; it says which card is which, and by that names
// those of a plugin that knows no ids.
TEST(Node, PublishedWiringAndUuids) {
  const std::string cards =
      "GPU-0,10,40960,100,NVIDIA A100-PCIE-40GB,0,true,0,hami-core:"
      "GPU-1,10,40960,100,NVIDIA A100-PCIE-40GB,0,true,1,hami-core:";
  const std::string scores =
      R"([{"uuid":"GPU-0","score":{"GPU-1":50}},{"uuid":"GPU-1","score":{"GPU-0":50}}])";
  const auto with = [&](const std::string& machine) {
    return MustNode(NodeOf(
        {{kNvidia, cards}, {"hami.io/node-nvidia-score", scores}, {"basalt.io/machine", machine}}));
  };
  EXPECT_EQ(with("2xA100 link=0-1:nv12 uuids=GPU-0,GPU-1").machine_source, "published");
  // Of other cards, or who knows of which: the next best source.
  for (const std::string other : {"uuids=GPU-1,GPU-0", "uuids=GPU-0,GPU-7"}) {
    const NodeRead read = with("2xA100 link=0-1:nv12 " + other);
    EXPECT_EQ(read.machine_source, "hami-scores") << other;
    EXPECT_THAT(read.notes, Contains(HasSubstr("in another order"))) << other;
  }
  EXPECT_THAT(with("2xA100 uuids=x").notes, Contains(HasSubstr("but the machine has 2 cards")));

  NodeResources stock = NodeOf({{"basalt.io/machine", "2xA100 link=0-1:nv12 uuids=GPU-b,GPU-a"}},
                               {{"nvidia.com/gpu", "2"}});
  NodeRead read = MustNode(stock);
  ASSERT_THAT(read.spec.cards, SizeIs(2));
  EXPECT_EQ(read.spec.cards[0].uuid, "GPU-b");
  EXPECT_EQ(read.facts.cards[1].uuid, "GPU-a");
  EXPECT_EQ(read.facts.platforms[1], "plugin");
  EXPECT_EQ(read.machine_source, "published");
  // One fell out: which of them is not told.
  stock = NodeOf(stock.annotations, {{"nvidia.com/gpu", "1"}});
  read = MustNode(stock);
  EXPECT_EQ(read.spec.cards.at(0).uuid, "n1/0");
  EXPECT_THAT(read.notes, Contains(HasSubstr("has 2 cards, the node 1")));
}

NodeResources Numa(std::vector<NumaZone> zones, const std::string& policy = "",
                   const std::string& scope = "") {
  NodeResources node = NodeOf({}, {{"nvidia.com/gpu", "4"}});
  node.numa = {std::move(zones), policy, scope};
  return node;
}

TEST(Node, NumaNodesOfItsNodeResourceTopology) {
  const NodeRead read =
      MustNode(Numa({{"node-1", {{"cpu", "31"}, {"memory", "200Gi"}, {"nvidia.com/gpu", "3"}}},
                     {"node-0", {{"cpu", "30500m"}, {"memory", "100Gi"}, {"nvidia.com/gpu", "1"}}}},
                    "single-numa-node", "pod"));
  EXPECT_EQ(read.numa_source, "nrt");
  EXPECT_EQ(read.machine_source, "");
  EXPECT_EQ(read.spec.numa_nodes, 2);
  ASSERT_THAT(read.spec.numa, SizeIs(2));
  EXPECT_EQ(read.spec.numa[0].cpu, 30'500);
  EXPECT_EQ(read.spec.numa[1].cpu, 31'000);
  EXPECT_EQ(read.spec.numa[1].memory, 200 * 1024);
  EXPECT_EQ(read.spec.numa_policy, topology::NumaPolicy::kSingleNumaNode);
  EXPECT_EQ(read.spec.numa_scope, topology::NumaScope::kPod);
  EXPECT_EQ(read.spec.cards.at(0).numa, 0);
  EXPECT_EQ(read.spec.cards.at(1).numa, 1);
  EXPECT_EQ(read.spec.cards.at(3).numa, 1);
  EXPECT_THAT(read.notes, Contains(HasSubstr("assumed, in order")));
  // The older form; its policy holds for the scope that it names.
  const NodeRead old = MustNode(Numa({{"node-0", {}}}, "RestrictedPodLevel"));
  EXPECT_EQ(old.spec.numa_policy, topology::NumaPolicy::kRestricted);
  EXPECT_EQ(old.spec.numa_scope, topology::NumaScope::kPod);
  EXPECT_EQ(MustNode(Numa({})).numa_source, "");
}

TEST(Node, NumaZonesNeverHaveMoreThanTheNode) {
  const NodeRead read = MustNode(Numa({{"node-0", {{"cpu", "64"}, {"memory", "400Gi"}}},
                                       {"node-1", {{"cpu", "64"}, {"memory", "400Gi"}}}}));
  EXPECT_EQ(read.spec.numa.at(0).cpu, 63'500 / 2);
  EXPECT_EQ(read.spec.numa.at(1).memory, 513'671 / 2);
  EXPECT_EQ(
      MustNode(Numa({{"node-0", {{"cpu", "999999999"}, {"memory", "900Ti"}}}})).spec.numa.at(0).cpu,
      63'500);
}

// An exporter's fault costs the node nothing but what it tells.
TEST(Node, NumaReportsThatCannotBeUsed) {
  for (const auto& [zones, why] : std::vector<std::pair<std::vector<NumaZone>, std::string>>{
           {{{"node-0", {}}, {"node-2", {}}}, "NUMA nodes from 0"},
           {{{"node-0", {}}, {"other-0", {}}}, "a number of its own"},
           {{{"node", {}}}, "a number of its own"},
           {{{"node-99999999999", {}}}, "a number of its own"},
           {{{"node-0", {{"cpu", "many"}}}}, "zone node-0"}}) {
    const NodeRead read = MustNode(Numa(zones, "single-numa-node"));
    EXPECT_EQ(read.numa_source, "") << why;
    EXPECT_EQ(read.spec.numa_nodes, 1) << why;
    EXPECT_EQ(read.spec.numa_policy, topology::NumaPolicy::kNone) << why;
    EXPECT_THAT(read.notes, Contains(HasSubstr(why)));
  }
  const NodeRead policy = MustNode(Numa({{"node-0", {}}}, "sometimes"));
  EXPECT_THAT(policy.notes, Contains(HasSubstr("none that is known")));
  EXPECT_EQ(policy.numa_source, "nrt");
  NodeResources hami =
      NodeOf({{kNvidia, '[' + Json(0, "NVIDIA A30", 24576, R"(,"numa":3)") + ']'}});
  hami.numa.zones = {{"node-0", {}}, {"node-1", {}}};
  EXPECT_THAT(MustNode(hami).notes, Contains(HasSubstr("more NUMA nodes")));
  EXPECT_EQ(MustNode(hami).spec.numa_nodes, 4);
}

TEST(Node, WhatIsRefused) {
  EXPECT_EQ(WhyNotNode(NodeOf({{kNvidia, "nonsense"}})),
            "node n1: hami.io/node-nvidia-register: is neither JSON nor a list of cards that end "
            "with ':'");
  std::string many;
  for (int i = 0; i < 65; ++i) {
    many += "GPU-" + std::to_string(i) + ",10,24576,100,NVIDIA A30,0,true," + std::to_string(i) +
            ",hami-core:";
  }
  EXPECT_EQ(WhyNotNode(NodeOf({{kNvidia, many}})), "node n1: 65 cards; a node has at most 64");
  EXPECT_EQ(WhyNotNode(NodeOf({{kNvidia, "x,10,24576,100,NVIDIA A30,0,true:"},
                               {"hami.io/node-dcu-register", "x,10,32768,100,DCU-Z100,0,true:"}})),
            "node n1: two registers have the card x");
  EXPECT_EQ(WhyNotNode(NodeResources{}), "node : a node needs a name");
}

TEST(Node, KeysThatAreLookedAt) {
  const auto keys = NodeAnnotationKeys(Cards());
  for (const char* key :
       {kNvidia, "hami.io/node-register-Ascend910B3", "hami.io/node-MR-V100-register",
        "hami.io/node-nvidia-score", "hami.io/device-cordon", "hami-vnpu-core",
        "volcano.sh/node-vgpu-register", "basalt.io/machine"}) {
    EXPECT_THAT(keys, Contains(key));
  }
  const auto grants = GrantAnnotationKeys(Cards());
  for (const char* key :
       {"hami.io/vgpu-devices-allocated", "volcano.sh/vgpu-ids-new", "hami.io/kunlun-allocated",
        "hami.io/Ascend910B3-devices-allocated", "hami.io/vgpu-mig-allocations"}) {
    EXPECT_THAT(grants, Contains(key));
  }
  EXPECT_THAT(grants, testing::Not(Contains("hami.io/vgpu-devices-to-allocate")));
}

}  // namespace
}  // namespace basalt::devices
