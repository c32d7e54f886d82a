// What plugins are told: the vectors of HAMi v2.10 and Volcano, each vendor's extras, and one
// unchanged request written out for three vendors.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

#include "test/unit/devices_test_util.h"

namespace basalt::devices {
namespace {

using nlohmann::json;
using testing::HasSubstr;

AssignmentInput On(const std::string& model, int cards, std::vector<SliceTake> slices,
                   const std::string& prefix = "GPU-") {
  AssignmentInput input{.node = "node-1", .time_ns = 1'700'000'000'123'456'789};
  for (int i = 0; i < cards; ++i) input.cards.push_back({prefix + std::to_string(i), model, ""});
  input.slices = std::move(slices);
  return input;
}
SliceTake Take(int card, int milli, int memory, int container = 0) {
  return {.card = static_cast<std::int8_t>(card),
          .container = static_cast<std::int8_t>(container),
          .milli = static_cast<std::int16_t>(milli),
          .memory = memory,
          .whole = milli == 1000};
}

std::vector<CardSpec> TwoOf(const CardModel& model) {
  CardSpec card;
  card.model = model.name;
  card.memory_mib = model.memory_mib;
  return {card, card};
}

// [init none, app 2 cards of 3000 MiB and 30 %, app none] of the reference.
PodRequest ReferencePod(const std::string& domain) {
  PodContainer init = Limits("init", {});
  init.init = true;
  Amounts amounts;
  if (domain == "nvidia") {
    amounts = {
        {"nvidia.com/gpu", "2"}, {"nvidia.com/gpumem", "3000"}, {"nvidia.com/gpucores", "30"}};
  } else {
    amounts = {{"volcano.sh/vgpu-number", "2"},
               {"volcano.sh/vgpu-memory", "3000"},
               {"volcano.sh/vgpu-cores", "30"}};
  }
  return MustRead(Pod({init, Limits("app", amounts), Limits("side", {})}));
}

TEST(Assign, TheReferencesVector) {
  const AssignmentInput input = On("NVIDIA A30", 3, {Take(2, 300, 3000), Take(1, 300, 3000)});
  const Assignment hami = MustAssign(ReferencePod("nvidia"), input);
  const auto notes = AsMap(hami.annotations);
  const std::string slots = ";GPU-1,NVIDIA,3000,30:GPU-2,NVIDIA,3000,30:;;";
  EXPECT_EQ(notes.at("hami.io/vgpu-devices-to-allocate"), slots);
  EXPECT_EQ(notes.at("hami.io/vgpu-devices-allocated"), slots);
  EXPECT_EQ(notes.at("hami.io/vgpu-node"), "node-1");
  EXPECT_EQ(notes.at("hami.io/vgpu-time"), "1700000000");
  EXPECT_FALSE(notes.contains("hami.io/vgpu-mig-allocations"));
  EXPECT_EQ(AsMap(hami.labels).at("hami.io/vgpu-node"), "node-1");
  ASSERT_EQ(hami.limits.size(), 3U);
  EXPECT_TRUE(hami.limits[0].empty() && hami.limits[2].empty());
  EXPECT_EQ(hami.limits[1], (Amounts{{"nvidia.com/gpu", "2"},
                                     {"nvidia.com/gpumem", "3000"},
                                     {"nvidia.com/gpucores", "30"}}));
  const auto volcano = AsMap(MustAssign(ReferencePod("volcano"), input).annotations);
  EXPECT_EQ(volcano.at("volcano.sh/vgpu-ids-new"), "GPU-1,NVIDIA,3000,30:GPU-2,NVIDIA,3000,30:");
  EXPECT_EQ(volcano.at("volcano.sh/devices-to-allocate"), volcano.at("volcano.sh/vgpu-ids-new"));
  EXPECT_EQ(volcano.at("volcano.sh/vgpu-node"), "node-1");
}

// What binding adds travels with the assignment.
TEST(Assign, BindPhaseOfBothPlatforms) {
  const AssignmentInput input = On("NVIDIA A30", 3, {Take(2, 300, 3000), Take(1, 300, 3000)});
  const auto hami = AsMap(MustAssign(ReferencePod("nvidia"), input).annotations);
  EXPECT_EQ(hami.at("hami.io/bind-phase"), "allocating");
  EXPECT_EQ(hami.at("hami.io/bind-time"), "1700000000");
  const auto volcano = AsMap(MustAssign(ReferencePod("volcano"), input).annotations);
  EXPECT_EQ(volcano.at("volcano.sh/bind-phase"), "allocating");
  EXPECT_EQ(volcano.at("volcano.sh/bind-time"), "1700000000");
  EXPECT_FALSE(volcano.contains("hami.io/bind-phase"));
}

// Written for the version that the node's register shows.
TEST(Assign, SlotsByVersion) {
  AssignmentInput input = On("NVIDIA A30", 3, {Take(2, 300, 3000), Take(1, 300, 3000)});
  const auto slots = [&](const PodRequest& request, HamiVersion version) {
    input.version = version;
    return AsMap(MustAssign(request, input).annotations).at("hami.io/vgpu-devices-to-allocate");
  };
  const std::string cards = "GPU-1,NVIDIA,3000,30:GPU-2,NVIDIA,3000,30:;";
  const PodRequest pod = ReferencePod("nvidia");
  EXPECT_EQ(slots(pod, HamiVersion::kV2_7), cards + ';');
  EXPECT_EQ(slots(pod, HamiVersion::kV2_8), ';' + cards + ';');
  EXPECT_EQ(slots(pod, HamiVersion::kV2_10), ';' + cards + ';');
  // An init container with cards needs its slot in every version: the plugin takes the next one.
  const Amounts amounts = {
      {"nvidia.com/gpu", "2"}, {"nvidia.com/gpumem", "3000"}, {"nvidia.com/gpucores", "30"}};
  PodContainer init = Limits("init", amounts);
  init.init = true;
  EXPECT_EQ(slots(MustRead(Pod({init, Limits("app", amounts)})), HamiVersion::kV2_7),
            cards + cards);
}

TEST(Assign, MigNeedsTheNewestHami) {
  const PodRequest r = MustRead(One({{"nvidia.com/gpu", "1"}, {"nvidia.com/gpumem", "4000"}}));
  SliceTake take = Take(0, 142, 4864);
  take.mig_profile = 0;
  take.mig_start = 6;
  AssignmentInput input = On("A100", 1, {take});
  input.version = HamiVersion::kV2_10;
  EXPECT_EQ(json::parse(AsMap(MustAssign(r, input).annotations).at("hami.io/vgpu-mig-allocations")),
            json::parse(R"([{"containerIndex":0,"deviceIndex":0,"gpuUUID":"GPU-0",
                             "profile":"1g.5gb","placement":{"start":6,"size":1}}])"));
  for (const HamiVersion old : {HamiVersion::kV2_7, HamiVersion::kV2_8}) {
    input.version = old;
    const auto refused = Assign(Cards(), r, input);
    ASSERT_FALSE(refused.has_value());
    EXPECT_THAT(refused.error().message, HasSubstr("older than v2.10"));
  }
}

// By the numbers that the plugin gave them, where they have holes.
TEST(Assign, IndexAndMinorAreThePlugins) {
  AssignmentInput input = On("S60", 2, {Take(1, 500, 24576)}, "u");
  input.cards[1].index = "3";
  input.cards[1].minor = "7";
  const auto notes =
      AsMap(MustAssign(MustRead(One({{"enflame.com/drs-gcu", "2"}})), input).annotations);
  EXPECT_EQ(notes.at("enflame.com/gcu-assigned-index"), "3");
  EXPECT_EQ(notes.at("enflame.com/gcu-assigned-minor"), "7");
  input.cards[1].index = "3;";
  EXPECT_FALSE(Assign(Cards(), MustRead(One({{"enflame.com/drs-gcu", "2"}})), input).has_value());
}

TEST(Assign, ContainersKeepTheirSlots) {
  const PodRequest r =
      MustRead(Pod({Limits("none", {}), Limits("gpu", {{"nvidia.com/gpumem", "5000"}})}));
  const auto notes = AsMap(MustAssign(r, On("T4", 1, {Take(0, 0, 5000, 1)})).annotations);
  EXPECT_EQ(notes.at("hami.io/vgpu-devices-allocated"), ";GPU-0,NVIDIA,5000,0:;");
  const PodRequest two =
      MustRead(Pod({Limits("a", {{"volcano.sh/vgpu-memory", "1000"}}), Limits("b", {}),
                    Limits("c", {{"volcano.sh/vgpu-memory", "2000"}})}));
  const auto volcano =
      AsMap(MustAssign(two, On("T4", 1, {Take(0, 0, 1000, 0), Take(0, 0, 2000, 2)})).annotations);
  EXPECT_EQ(volcano.at("volcano.sh/vgpu-ids-new"), "GPU-0,NVIDIA,1000,0:;GPU-0,NVIDIA,2000,0:");
}

TEST(Assign, MigAllocations) {
  const PodRequest r =
      MustRead(Pod({Limits("none", {}),
                    Limits("gpu", {{"nvidia.com/gpu", "2"}, {"nvidia.com/gpumem", "9000"}})}));
  const CardModel& a100 = *FindModel(Cards(), "A100");
  const int profile = MigProfileFor({}, "2g.10gb", a100.rules);
  SliceTake a = Take(0, 285, 9984);
  a.mig_profile = static_cast<std::int8_t>(profile);
  a.mig_start = 4;
  SliceTake b = a;
  b.card = 1;
  b.mig_start = 0;
  a.container = b.container = 1;
  const auto notes = AsMap(MustAssign(r, On("A100", 2, {a, b})).annotations);
  EXPECT_EQ(json::parse(notes.at("hami.io/vgpu-mig-allocations")), json::parse(R"([
    {"containerIndex":1,"deviceIndex":0,"gpuUUID":"GPU-0","profile":"2g.10gb",
     "placement":{"start":4,"size":2}},
    {"containerIndex":1,"deviceIndex":1,"gpuUUID":"GPU-1","profile":"2g.10gb",
     "placement":{"start":0,"size":2}}])"));
  EXPECT_EQ(notes.at("hami.io/vgpu-devices-allocated"),
            ";GPU-0,NVIDIA,9984,29:GPU-1,NVIDIA,9984,29:;");
  const PodRequest by_name = MustRead(One({{"nvidia.com/mig-2g.10gb", "1"}}));
  a.container = 0;
  const Assignment plugin = MustAssign(by_name, On("A100", 1, {a}));
  EXPECT_TRUE(plugin.annotations.empty());
  EXPECT_EQ(plugin.limits[0], (Amounts{{"nvidia.com/mig-2g.10gb", "1"}}));
}

TEST(Assign, Ascend) {
  const PodRequest part = MustRead(
      Pod({Limits("none", {}), Limits("npu", {{"huawei.com/Ascend910B3", "1"},
                                              {"huawei.com/Ascend910B3-memory", "10000"}})}));
  auto notes =
      AsMap(MustAssign(part, On("Ascend910B3", 8, {Take(3, 250, 16384, 1)}, "npu-")).annotations);
  EXPECT_EQ(notes.at("hami.io/Ascend910B3-devices-to-allocate"), ";npu-3,Ascend910B3,16384,0:;");
  EXPECT_EQ(notes.at("huawei.com/Ascend910B3"), R"([{"UUID":"npu-3","temp":"vir05_1c_16g"}])");
  EXPECT_EQ(notes.at("predicate-time"), "1700000000");
  const PodRequest whole = MustRead(One({{"huawei.com/Ascend910B3", "2"}}));
  notes = AsMap(
      MustAssign(whole, On("Ascend910B3", 8, {Take(0, 1000, 65536), Take(1, 1000, 65536)}, "npu-"))
          .annotations);
  EXPECT_EQ(notes.at("huawei.com/Ascend910B3"), R"([{"UUID":"npu-0"},{"UUID":"npu-1"}])");
  const PodRequest soft = MustRead(One({{"huawei.com/Ascend910B3", "1"},
                                        {"huawei.com/Ascend910B3-memory", "5000"},
                                        {"huawei.com/Ascend910B3-core", "25"}},
                                       {{"huawei.com/vnpu-mode", "hami-core"}}));
  notes =
      AsMap(MustAssign(soft, On("Ascend910B3-soft", 1, {Take(0, 250, 5000)}, "npu-")).annotations);
  EXPECT_EQ(notes.at("huawei.com/Ascend910B3"), R"([{"UUID":"npu-0","memory":5000,"core":25}])");
  EXPECT_EQ(notes.at("hami.io/Ascend910B3-devices-allocated"), "npu-0,Ascend910B3,5000,25:;");
}

// The annotations of one container's slices on cards of a model.
std::map<std::string, std::string> Notes(Amounts amounts, const std::string& model,
                                         std::vector<SliceTake> slices) {
  return AsMap(MustAssign(MustRead(One(std::move(amounts))), On(model, 8, std::move(slices), "u"))
                   .annotations);
}

TEST(Assign, EveryOtherVendor) {
  auto notes = Notes({{"cambricon.com/vmlu", "1"},
                      {"cambricon.com/mlu.smlu.vmemory", "20"},
                      {"cambricon.com/mlu.smlu.vcore", "10"}},
                     "MLU370-X4", {Take(2, 100, 5120)});
  EXPECT_EQ(notes.at("hami.io/cambricon-mlu-devices-allocated"), "u2,MLU,5120,10:;");
  EXPECT_EQ(notes.at("CAMBRICON_DSMLU_PROFILE"), "2_10_20");
  EXPECT_EQ(notes.at("CAMBRICON_DSMLU_ASSIGNED"), "false");

  notes = Notes({{"hygon.com/dcunum", "1"}}, "K100-AI", {Take(0, 1000, 65536)});
  EXPECT_EQ(notes.at("hami.io/dcu-devices-to-allocate"), "u0,DCU,65536,100:;");

  notes = Notes({{"iluvatar.ai/MR-V100-vgpu", "1"}, {"iluvatar.ai/MR-V100.vMem", "64"}}, "MR-V100",
                {Take(0, 0, 16384)});
  EXPECT_EQ(notes.at("hami.io/MR-V100-devices-allocated"), "u0,MR-V100,16384,0:;");

  notes =
      Notes({{"mthreads.com/vgpu", "2"}}, "S4000", {Take(0, 1000, 49152), Take(1, 1000, 49152)});
  EXPECT_EQ(notes.at("hami.io/mthreads-vgpu-devices-allocated"),
            "u0,Mthreads,49152,16:u1,Mthreads,49152,16:;");
  EXPECT_FALSE(notes.contains("hami.io/mthreads-vgpu-devices-to-allocate"));
  EXPECT_EQ(notes.at("mthreads.com/gpu-index"), "0,1");
  EXPECT_EQ(notes.at("mthreads.com/predicate-node"), "node-1");
  EXPECT_EQ(notes.at("mthreads.com/predicate-time"), "1700000000123456789");

  notes = Notes({{"metax-tech.com/gpu", "1"}}, "C500", {Take(5, 1000, 65536)});
  EXPECT_EQ(notes.at("hami.io/metax-gpu-devices-allocated"), "u5,Metax-GPU,65536,100:;");

  notes = Notes({{"enflame.com/drs-gcu", "2"}}, "S60", {Take(3, 500, 24576)});
  EXPECT_EQ(notes.at("hami.io/enflame-vgpu-devices-allocated"), "u3,Enflame,24576,50:;");
  EXPECT_EQ(notes.at("enflame.com/gcu-assigned-index"), "3");
  EXPECT_EQ(notes.at("enflame.com/gcu-request-size"), "2");
  EXPECT_EQ(json::parse(notes.at("assigned-containers")),
            json::parse(R"({"c0":{"allocated":false,"request":2,"profileID":"",
                            "profileName":"2g.24gb"}})"));

  notes = Notes({{"enflame.com/gcu", "1"}}, "S60", {Take(3, 1000, 49152)});
  EXPECT_EQ(notes.at("hami.io/enflame-gcu-devices-to-allocate"), "u3,GCU,49152,100:;");

  notes = Notes({{"kunlunxin.com/xpu", "2"}}, "P800", {Take(4, 1000, 98304), Take(0, 1000, 98304)});
  EXPECT_EQ(notes.at("hami.io/kunlun-allocated"), "u0,kunlun,98304,100:u4,kunlun,98304,100:;");
  EXPECT_EQ(notes.at("BAIDU_COM_DEVICE_IDX"), "0,4");

  notes = Notes({{"kunlunxin.com/vxpu", "1"}, {"kunlunxin.com/vxpu-memory", "24576"}}, "P800",
                {Take(1, 250, 24576)});
  EXPECT_EQ(notes.at("hami.io/xpu-devices-to-allocate"), "u1,XPU,24576,25:;");
}

// max(1, CUs x percent / 100), rounded down, and the type as registered.
TEST(Assign, AmdTellsComputeUnits) {
  const auto told = [](const std::string& name, Amounts amounts) {
    amounts["amd.com/gpu"] = "1";
    const PodRequest r = MustRead(One(std::move(amounts)));
    const std::vector<CardSpec> node = TwoOf(*FindModel(Cards(), name));
    AssignmentInput input = On(name, 1, UniformSlices(Cards(), r.spec, CardSet::Of(0), node), "u");
    input.cards[0].type = "AMD-" + name;
    return AsMap(MustAssign(r, input).annotations).at("hami.io/amd-devices-allocated");
  };
  for (const auto& [name, percent, cus] : {std::tuple{"MI300X", "33", "100"},
                                           {"MI300X", "1", "3"},
                                           {"MI300X", "50", "152"},
                                           {"MI210", "33", "34"},
                                           {"MI210", "1", "1"},
                                           {"MI210", "99", "102"}}) {
    EXPECT_EQ(told(name, {{"amd.com/gpumem", "4096"}, {"amd.com/gpucores", percent}}),
              "u0,AMD-" + std::string(name) + ",4096," + cus + ":;");
  }
  EXPECT_EQ(told("MI210", {{"amd.com/gpucores", "33"}}), "u0,AMD-MI210,65536,34:;");
  EXPECT_EQ(told("MI300X", {{"amd.com/gpumem", "4096"}}), "u0,AMD-MI300X,196608,304:;");
}

// amd.com/gpucores is 1..100: memory alone says the least of it.
TEST(Assign, AmdNamesHaveNoZeroPercent) {
  const PodRequest r = MustRead(One({{"basalt.io/gpu-memory", "4096"}}));
  const Assignment a = MustAssign(r, On("MI210", 1, {Take(0, 0, 4096)}));
  EXPECT_EQ(a.limits[0],
            (Amounts{{"amd.com/gpu", "1"}, {"amd.com/gpumem", "4096"}, {"amd.com/gpucores", "1"}}));
}

TEST(Assign, MetaxSlices) {
  const PodRequest r =
      MustRead(Pod({Limits("none", {}), Limits("a", {{"metax-tech.com/sgpu", "2"},
                                                     {"metax-tech.com/vmemory", "4"},
                                                     {"metax-tech.com/vcore", "60"}})}));
  const Assignment a =
      MustAssign(r, On("C500", 8, {Take(0, 600, 4096, 1), Take(1, 600, 4096, 1)}, "u"));
  const auto notes = AsMap(a.annotations);
  EXPECT_EQ(notes.at("hami.io/metax-sgpu-devices-to-allocate"),
            ";u0,Metax-SGPU,4096,60:u1,Metax-SGPU,4096,60:;");
  EXPECT_EQ(json::parse(notes.at("metax-tech.com/gpu-devices-allocated")),
            json::parse(R"([[],[{"uuid":"u0","compute":60,"vRam":4096},
                                {"uuid":"u1","compute":60,"vRam":4096}]])"));
  EXPECT_EQ(notes.at("metax-tech.com/predicate-time"), "1700000000123456789");
  EXPECT_EQ(a.limits[1].at("metax-tech.com/vmemory"), "4096Mi");
}

// The same request, unchanged: 12 GiB and 70 TFLOPS of a card, on an A100, an Ascend 910B3 and a
// MetaX C500.
TEST(Assign, OneNeutralRequestOnThreeVendors) {
  const PodRequest r = MustRead(One({{"basalt.io/gpu", "1"},
                                     {"basalt.io/gpu-memory", "12Gi"},
                                     {"basalt.io/gpu-compute-units", "70"}}));
  const auto on = [&](const std::string& name) {
    const CardModel& model = *FindModel(Cards(), name);
    const std::vector<CardSpec> node = TwoOf(model);
    AssignmentInput input = On(name, 2, UniformSlices(Cards(), r.spec, CardSet::Of(1), node), "u");
    return MustAssign(r, input);
  };
  const Assignment nvidia = on("A100");
  EXPECT_EQ(nvidia.interface, "nvidia/hami");
  EXPECT_EQ(AsMap(nvidia.annotations).at("hami.io/vgpu-devices-allocated"),
            "u1,NVIDIA,12288,23:;");  // 70 of 312: 22.4 %
  EXPECT_EQ(nvidia.limits[0], (Amounts{{"nvidia.com/gpu", "1"},
                                       {"nvidia.com/gpumem", "12288"},
                                       {"nvidia.com/gpucores", "23"}}));
  const Assignment ascend = on("Ascend910B3");
  EXPECT_EQ(ascend.interface, "ascend/hami");
  EXPECT_EQ(AsMap(ascend.annotations).at("huawei.com/Ascend910B3"),
            R"([{"UUID":"u1","temp":"vir05_1c_16g"}])");  // 70 of 313 is in a quarter
  EXPECT_EQ(AsMap(ascend.annotations).at("hami.io/Ascend910B3-devices-allocated"),
            "u1,Ascend910B3,16384,0:;");
  EXPECT_EQ(ascend.limits[0],
            (Amounts{{"huawei.com/Ascend910B3", "1"}, {"huawei.com/Ascend910B3-memory", "16384"}}));
  const Assignment metax = on("C500");
  EXPECT_EQ(metax.interface, "metax/sgpu");
  EXPECT_EQ(AsMap(metax.annotations).at("hami.io/metax-sgpu-devices-allocated"),
            "u1,Metax-SGPU,12288,25:;");  // 70 of 280
  EXPECT_EQ(AsMap(metax.annotations).at("metax-tech.com/sgpu-qos-policy"), "best-effort");
  EXPECT_EQ(AsMap(metax.annotations).at("metax-tech.com/gpu-devices-allocated"),
            R"([[{"uuid":"u1","compute":25,"vRam":12288}]])");
  EXPECT_EQ(metax.limits[0], (Amounts{{"metax-tech.com/sgpu", "1"},
                                      {"metax-tech.com/vmemory", "12288Mi"},
                                      {"metax-tech.com/vcore", "25"}}));
}

// What the names say is what was given: reading the limits back asks for the same slice, on every
// model of the catalog that can serve it.
TEST(Assign, LimitsAskForTheSameSliceAgain) {
  int checked = 0;
  std::set<std::string> computed;  // vendors with a slice of both amounts
  const auto check = [&](const CardModel& model, const Amounts& amounts) {
    const PodRequest neutral = MustRead(One(amounts));
    const std::vector<CardSpec> node = TwoOf(model);
    RequestSpec spec = neutral.spec;
    const bool modules = model.rules.grouping == CardGrouping::kModules;
    const CardSet cards(modules ? 3 : 1);
    spec.gpus = cards.size();
    const std::vector<SliceTake> takes = UniformSlices(Cards(), spec, cards, node);
    if (takes[0].milli == 0 && takes[0].memory == 0) return;  // does not fit
    EXPECT_GT(takes[0].memory, 0);
    const Assignment a = MustAssign(neutral, On(model.name, 2, takes, "u"));
    const bool soft = model.name.ends_with("-soft");
    const PodRequest again = MustRead(One(
        a.limits[0], soft
                         ? std::map<std::string, std::string>{{"huawei.com/vnpu-mode", "hami-core"}}
                         : std::map<std::string, std::string>()));
    const std::vector<SliceTake> same = UniformSlices(Cards(), again.spec, cards, node);
    EXPECT_EQ(same[0].memory, takes[0].memory);
    EXPECT_EQ(same[0].whole, takes[0].whole);
    const bool least = model.vendor == "amd" && takes[0].milli == 0;  // it has no 0 %
    EXPECT_EQ(same[0].milli, least ? 10 : takes[0].milli);
    EXPECT_EQ(again.interface, a.interface);
    if (!takes[0].whole && amounts.contains("basalt.io/gpu-compute-units")) {
      computed.insert(model.vendor);
    }
    ++checked;
  };
  for (const Vendor& vendor : Cards().vendors) {
    for (const CardModel& model : vendor.models) {
      for (const char* memory : {"", "3Gi", "12Gi", "20Gi"}) {
        for (const char* percent : {"", "50"}) {
          for (const int share : {0, 1, 10, 33, 50, 99, 100}) {
            const std::int64_t units = std::int64_t{model.rules.compute_units} * share / 100;
            Amounts amounts = {{"basalt.io/gpu", "1"}};
            if (*memory != '\0') amounts["basalt.io/gpu-memory"] = memory;
            if (*percent != '\0') amounts["basalt.io/gpu-memory-percent"] = percent;
            if (units > 0) amounts["basalt.io/gpu-compute-units"] = std::to_string(units);
            SCOPED_TRACE(model.name + " memory " + memory + " percent " + percent + " units " +
                         std::to_string(units));
            check(model, amounts);
          }
        }
      }
    }
  }
  EXPECT_GT(checked, 1'500);
  EXPECT_GE(computed.size(), 7U) << testing::PrintToString(computed);
}

TEST(Assign, Refuses) {
  const PodRequest r = MustRead(One({{"nvidia.com/gpu", "1"}}));
  const auto why = [&](const AssignmentInput& input) {
    const auto a = Assign(Cards(), r, input);
    EXPECT_FALSE(a);
    return a ? "" : a.error().ToString();
  };
  EXPECT_THAT(why(On("Voodoo", 1, {Take(0, 1000, 1)})), HasSubstr("no model \"Voodoo\""));
  EXPECT_THAT(why(On("C500", 1, {Take(0, 1000, 1)})), HasSubstr("nvidia/hami cannot say"));
  EXPECT_THAT(why(On("T4", 1, {Take(1, 1000, 1)})), HasSubstr("card 1"));
  EXPECT_THAT(why(On("T4", 1, {})), HasSubstr("no slices"));
  EXPECT_THAT(why(On("T4", 1, {Take(0, 1000, 1)}, "a,b")), HasSubstr("cannot read"));
  AssignmentInput two = On("T4", 2, {Take(0, 1000, 1), Take(1, 1000, 1)});
  two.cards[1].model = "C500";
  EXPECT_THAT(why(two), HasSubstr("two vendors"));
  const PodRequest neutral = MustRead(One({{"basalt.io/gpu", "2"}}));
  AssignmentInput words = On("Ascend910B3", 2, {Take(0, 1000, 65536), Take(1, 1000, 65536)});
  words.cards[1].model = "Ascend910B4";
  const auto mixed = Assign(Cards(), neutral, words);
  ASSERT_FALSE(mixed);
  EXPECT_THAT(mixed.error().ToString(), HasSubstr("plugins keep apart"));
  AssignmentInput volcano = On("C500", 1, {Take(0, 1000, 65536)});
  volcano.platform = "volcano";
  const auto none = Assign(Cards(), neutral, volcano);
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error().ToString(), HasSubstr("no interface of the platform volcano"));
}

}  // namespace
}  // namespace basalt::devices
