// What is written on pods is read back as the same slices, for every vendor; and what HAMi's and
// Volcano's versions write differently is read all the same.
#include <gmock/gmock.h>

#include <tuple>

#include "devices/allocation.h"
#include "test/unit/devices_test_util.h"

namespace basalt::devices {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr const char* kHami = "hami.io/vgpu-devices-allocated";
constexpr const char* kVolcano = "volcano.sh/vgpu-ids-new";
using Notes = std::map<std::string, std::string>;

std::vector<CardSpec> Node(const std::string& model, int cards) {
  std::vector<CardSpec> out;
  for (int i = 0; i < cards; ++i) {
    CardSpec& card = out.emplace_back();
    card.uuid = "GPU-" + std::to_string(i);
    card.model = model;
    card.memory_mib = FindModel(Cards(), model)->memory_mib;
  }
  return out;
}

std::vector<Grant> MustGrants(const Notes& notes) {
  auto grants = ReadGrants(notes);
  EXPECT_TRUE(grants.has_value()) << grants.error().ToString();
  return grants ? *grants : std::vector<Grant>();
}
std::string WhyNotGrants(const Notes& notes) {
  const auto grants = ReadGrants(notes);
  EXPECT_FALSE(grants.has_value());
  return grants ? "" : grants.error().ToString();
}

// (container, card) of each slice.
using Where = std::vector<std::pair<int, int>>;
Where On(const Notes& notes, const PodRequest& request, bool init_done = false,
         const std::string& model = "A100") {
  const auto slices = SlicesOf(Cards(), MustGrants(notes), request, Node(model, 8), init_done);
  EXPECT_TRUE(slices.has_value()) << slices.error().ToString();
  Where out;
  if (!slices) return out;
  for (const SliceTake& take : *slices) out.emplace_back(take.container, take.card);
  return out;
}
std::string WhyNot(const Notes& notes, const PodRequest& request,
                   const std::vector<CardSpec>& cards) {
  const auto slices = SlicesOf(Cards(), MustGrants(notes), request, cards, false);
  EXPECT_FALSE(slices.has_value());
  return slices ? "" : slices.error().ToString();
}

PodContainer Init(std::string name, Amounts limits) {
  PodContainer out = Limits(std::move(name), std::move(limits));
  out.init = true;
  return out;
}
const Amounts kPart = {
    {"nvidia.com/gpu", "1"}, {"nvidia.com/gpumem", "3000"}, {"nvidia.com/gpucores", "30"}};

TEST(Grants, AreWhatWasWrittenForEveryVendor) {
  for (const auto& [model, cards, limits] : std::vector<std::tuple<std::string, CardSet, Amounts>>{
           {"A100",
            CardSet(6),
            {{"nvidia.com/gpu", "2"},
             {"nvidia.com/gpumem", "3000"},
             {"nvidia.com/gpucores", "30"}}},
           {"A100", CardSet(9), {{"nvidia.com/gpu", "2"}}},
           {"T4", CardSet(1), {{"nvidia.com/gpumem-percentage", "25"}}},
           {"A100",
            CardSet(5),
            {{"volcano.sh/vgpu-number", "2"},
             {"volcano.sh/vgpu-memory", "3000"},
             {"volcano.sh/vgpu-cores", "30"}}},
           {"Ascend910B3",
            CardSet(8),
            {{"huawei.com/Ascend910B3", "1"}, {"huawei.com/Ascend910B3-memory", "16000"}}},
           {"Ascend910B3", CardSet(3), {{"huawei.com/Ascend910B3", "2"}}},
           {"MLU370-X4",
            CardSet(2),
            {{"cambricon.com/vmlu", "1"},
             {"cambricon.com/mlu.smlu.vmemory", "4"},
             {"cambricon.com/mlu.smlu.vcore", "10"}}},
           {"K100-AI",
            CardSet(4),
            {{"hygon.com/dcunum", "1"},
             {"hygon.com/dcumem", "4096"},
             {"hygon.com/dcucores", "20"}}},
           {"MR-V100",
            CardSet(1),
            {{"iluvatar.ai/MR-V100-vgpu", "1"},
             {"iluvatar.ai/MR-V100.vMem", "8"},
             {"iluvatar.ai/MR-V100.vCore", "25"}}},
           {"P800", CardSet(3), {{"kunlunxin.com/xpu", "2"}}},
           {"P800",
            CardSet(2),
            {{"kunlunxin.com/vxpu", "1"}, {"kunlunxin.com/vxpu-memory", "20000"}}},
           {"C500",
            CardSet(2),
            {{"metax-tech.com/sgpu", "1"},
             {"metax-tech.com/vmemory", "4"},
             {"metax-tech.com/vcore", "60"}}},
           {"C500", CardSet(128), {{"metax-tech.com/gpu", "1"}}},
           {"S4000",
            CardSet(16),
            {{"mthreads.com/vgpu", "1"},
             {"mthreads.com/sgpu-memory", "8"},
             {"mthreads.com/sgpu-core", "5"}}},
           {"S60", CardSet(1), {{"enflame.com/drs-gcu", "2"}}},
           {"S60", CardSet(1), {{"enflame.com/gcu", "1"}}},
           {"MI300X",
            CardSet(1),
            {{"amd.com/gpu", "1"}, {"amd.com/gpumem", "4096"}, {"amd.com/gpucores", "33"}}},
       }) {
    SCOPED_TRACE(model + ' ' + limits.begin()->first);
    const PodRequest request = MustRead(Pod({Limits("none", {}), Limits("c", limits)}));
    const std::vector<CardSpec> node = Node(model, 8);
    AssignmentInput input{.node = "n1", .time_ns = 1};
    for (const CardSpec& card : node)
      input.cards.push_back({.uuid = card.uuid, .model = card.model});
    input.slices = UniformSlices(Cards(), request.spec, cards, node);
    const Notes notes = AsMap(MustAssign(request, input).annotations);
    const auto read = SlicesOf(Cards(), MustGrants(notes), request, node, true);
    ASSERT_TRUE(read.has_value()) << read.error().ToString();
    EXPECT_TRUE(AreAlike(*read, input.slices));
    EXPECT_THAT(*read, SizeIs(static_cast<std::size_t>(cards.size())));
    CardSet on;
    for (const SliceTake& take : *read) on.Add(take.card);
    EXPECT_EQ(on, cards);
    EXPECT_EQ(read->front().memory, input.slices.front().memory);
  }
}

TEST(Grants, SlotsOfAllVersions) {
  const PodRequest request = MustRead(Pod({Init("i", {}),
                                           Limits("app", {{"nvidia.com/gpu", "2"},
                                                          {"nvidia.com/gpumem", "3000"},
                                                          {"nvidia.com/gpucores", "30"}}),
                                           Limits("side", {})}));
  const int app = request.slots[1].container;
  const std::string cards = "GPU-1,NVIDIA,3000,30:GPU-2,NVIDIA,3000,30:";
  const Where both = {{app, 1}, {app, 2}};
  EXPECT_EQ(On({{kHami, ';' + cards + ";;"}}, request), both);  // v2.9 and later
  EXPECT_EQ(On({{kHami, cards + ";;"}}, request), both);        // app containers only, to v2.8
  EXPECT_EQ(On({{kHami, cards + ';'}}, request), both);         // v2.10.0, empty slots dropped
  EXPECT_EQ(On({{kHami, ';' + cards + ";;;;;"}}, request), both);
  EXPECT_EQ(On({{kVolcano, cards}}, request), both);
  EXPECT_EQ(On({{kHami, ";GPU-1,NVIDIA,3000,30,more,9:GPU-2,word,3000,30:;;"}}, request), both);
}

TEST(Grants, SlotsOfSeveralContainers) {
  const PodRequest request =
      MustRead(Pod({Limits("a", kPart), Limits("none", {}), Limits("b", kPart)}));
  const int a = request.slots[0].container, b = request.slots[2].container;
  const Where both = {{a, 3}, {b, 1}};
  const std::string on_a = "GPU-3,NVIDIA,3000,30:", on_b = "GPU-1,NVIDIA,3000,30:";
  EXPECT_EQ(On({{kHami, on_a + ";;" + on_b + ';'}}, request), both);
  EXPECT_EQ(On({{kHami, on_a + ';' + on_b + ';'}}, request), both);
  EXPECT_EQ(On({{kVolcano, on_a + ';' + on_b}}, request), both);
  EXPECT_THAT(WhyNot({{kHami, on_a + ';' + on_b + ';' + on_a + ';'}}, request, Node("A100", 8)),
              HasSubstr("slots for other containers"));
}

TEST(Grants, AnInitContainersOwnCardsAreFreeWhenItHasEnded) {
  const PodRequest request = MustRead(Pod({Init("i", kPart), Limits("app", kPart)}));
  const int app = request.slots[1].container;
  const std::string slots = "GPU-0,NVIDIA,3000,30:;GPU-1,NVIDIA,3000,30:;";
  EXPECT_EQ(On({{kHami, slots}}, request, false), (Where{{app, 0}, {app, 1}}));
  EXPECT_EQ(On({{kHami, slots}}, request, true), (Where{{app, 1}}));
  // The same card is held once.
  EXPECT_EQ(On({{kHami, "GPU-1,NVIDIA,3000,30:;GPU-1,NVIDIA,3000,30:;"}}, request, false),
            (Where{{app, 1}}));
}

TEST(Grants, ASidecarKeepsItsCards) {
  PodContainer sidecar = Init("s", kPart);
  sidecar.sidecar = true;
  const PodRequest request = MustRead(Pod({sidecar, Limits("app", kPart)}));
  EXPECT_EQ(On({{kHami, "GPU-0,NVIDIA,3000,30:;GPU-1,NVIDIA,3000,30:;"}}, request, true),
            (Where{{request.slots[0].container, 0}, {request.slots[1].container, 1}}));
}

TEST(Grants, MigInstancesHaveTheirPlace) {
  const PodRequest request = MustRead(Pod(
      {Limits("none", {}), Limits("c", {{"nvidia.com/gpu", "1"}, {"nvidia.com/gpumem", "4000"}})}));
  std::vector<CardSpec> node = Node("A100", 2);
  for (CardSpec& card : node) card.mode = CardMode::kMig;
  const std::string slots = ";GPU-1,NVIDIA,4864,14:;";
  const std::string place =
      R"([{"containerIndex":1,"gpuUUID":"GPU-1","profile":"1g.5gb","placement":{"start":6,"size":1}}])";
  const Notes notes = {{kHami, slots}, {"hami.io/vgpu-mig-allocations", place}};
  const auto slices = SlicesOf(Cards(), MustGrants(notes), request, node, true);
  ASSERT_TRUE(slices.has_value()) << slices.error().ToString();
  ASSERT_THAT(*slices, SizeIs(1));
  EXPECT_EQ(slices->front().card, 1);
  EXPECT_EQ(slices->front().mig_profile, 0);
  EXPECT_EQ(slices->front().mig_start, 6);
  EXPECT_EQ(slices->front().memory, 4864);
  EXPECT_EQ(slices->front().milli, 142);
  EXPECT_THAT(WhyNot({{kHami, slots}}, request, node), HasSubstr("is not told"));
  EXPECT_THAT(WhyNot({{kHami, ";GPU-1[0-3],NVIDIA,4864,14:;"}}, request, node),
              HasSubstr("card GPU-1: has a MIG instance"));
  EXPECT_THAT(
      WhyNotGrants({{kHami, ";GPU-0,NVIDIA,4864,14:;"}, {"hami.io/vgpu-mig-allocations", place}}),
      HasSubstr("is not the one of hami.io/vgpu-devices-allocated"));
  EXPECT_THAT(WhyNotGrants({{kHami, slots}, {"hami.io/vgpu-mig-allocations", "[{}]"}}),
              HasSubstr("lacks"));
  EXPECT_THAT(WhyNotGrants({{kHami, slots}, {"hami.io/vgpu-mig-allocations", "{"}}),
              HasSubstr("not a JSON list"));
}

TEST(Grants, WhatIsNoneAndWhatIsRefused) {
  EXPECT_THAT(MustGrants({}), IsEmpty());
  EXPECT_THAT(MustGrants({{kHami, ""}, {kVolcano, ";;"}, {"hami.io/vgpu-node", "n1"}}), IsEmpty());
  EXPECT_THAT(MustGrants({{"hami.io/vgpu-devices-to-allocate", "GPU-1,NVIDIA,1,1:;"}}), IsEmpty());
  EXPECT_TRUE(IsGrant("hami.io/Ascend910B3-devices-allocated"));
  EXPECT_TRUE(IsGrant("hami.io/kunlun-allocated"));
  EXPECT_FALSE(IsGrant("hami.io/-devices-allocated"));
  EXPECT_FALSE(IsGrant("metax-tech.com/gpu-devices-allocated"));
  EXPECT_EQ(WhyNotGrants({{kHami, "GPU-1,NVIDIA,1:;"}}),
            "hami.io/vgpu-devices-allocated: a card has 3 fields, not 4");
  for (const char* bad : {"GPU-1,NVIDIA,x,1:;", "GPU-1,NVIDIA,1,:;", "GPU-1,NVIDIA,-1,1:;",
                          "GPU-1,NVIDIA,2147483648,1:;"}) {
    EXPECT_THAT(WhyNotGrants({{kHami, bad}}), HasSubstr("no whole number")) << bad;
  }
  EXPECT_THAT(WhyNotGrants({{kHami, ",NVIDIA,1,1:;"}}), HasSubstr("no UUID"));
  const PodRequest one = MustRead(One(kPart));
  EXPECT_EQ(WhyNot({{kHami, "GPU-9,NVIDIA,3000,30:;"}}, one, Node("A100", 8)),
            "card GPU-9: is not on the node");
}

// A model that the catalog lacks is read in percent.
TEST(Grants, UnknownModels) {
  std::vector<CardSpec> node = Node("A100", 1);
  node[0].model = "Voodoo 2";
  const auto slices = SlicesOf(Cards(), MustGrants({{kHami, "GPU-0,NVIDIA,3000,30:;"}}),
                               MustRead(One(kPart)), node, true);
  ASSERT_TRUE(slices.has_value());
  EXPECT_THAT(*slices,
              ElementsAre(SliceTake{.card = 0, .container = 0, .milli = 300, .memory = 3000}));
}

TEST(Grants, AlikeUpToACore) {
  const SliceTake take{.card = 1, .milli = 300, .memory = 3000};
  SliceTake more = take, other = take, memory = take;
  more.milli = 310;
  other.card = 2;
  memory.memory = 3001;
  EXPECT_TRUE(AreAlike({take, other}, {other, more}));
  EXPECT_FALSE(AreAlike({take}, {other}));
  EXPECT_FALSE(AreAlike({take}, {memory}));
  EXPECT_FALSE(AreAlike({take}, {take, other}));
}

TEST(Allocation, WhatTheKubeletGave) {
  const std::vector<CardSpec> cards = Node("A30", 4);
  const auto read = [&](const std::string& text) { return GrantedCards(text, cards); };
  const auto entry = [](const std::string& ids) {
    return R"({"container":"c","resource":"nvidia.com/gpu","ids":[)" + ids + "]}";
  };
  EXPECT_EQ(read('[' + entry(R"("GPU-2","GPU-0")") + ']').value(), CardSet(0b0101));
  EXPECT_EQ(read('[' + entry(R"("GPU-1")") + ',' + entry(R"("GPU-3")") + ']').value(),
            CardSet(0b1010));
  EXPECT_EQ(read('[' + entry(R"("GPU-1::3","GPU-1::0")") + ']').value(), CardSet::Of(1));  // shares
  // Other devices, and cards of another plugin's names, are none.
  EXPECT_TRUE(read('[' + entry(R"("mlx5_0")") + ']')->empty());
  EXPECT_TRUE(read("[]")->empty());
  for (const std::string bad :
       {"", "x", "{}", "[1]", "[{}]", R"([{"ids":"GPU-0"}])", R"([{"ids":[0]}])"}) {
    EXPECT_FALSE(read(bad).has_value()) << bad;
  }
  const auto some = read('[' + entry(R"("GPU-0","GPU-9")") + ']');
  ASSERT_FALSE(some.has_value());
  EXPECT_EQ(some.error().where, "basalt.io/granted");
}

}  // namespace
}  // namespace basalt::devices
