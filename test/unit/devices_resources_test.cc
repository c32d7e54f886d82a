// Pods' resources and annotations: each vendor's units, defaults and limits (HAMi v2.10, Volcano),
// neutral names, names of one model, and what is refused.
#include <gmock/gmock.h>

#include "devices/pod_file.h"
#include "devices/quantity.h"
#include "test/unit/devices_test_util.h"

namespace basalt::devices {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// "2 x 300m 3000 MiB", "1 x 0m 100%"
std::string Text(const RequestSpec& s) {
  std::string text = std::to_string(s.gpus) + " x " + std::to_string(s.gpu_milli) + "m";
  if (s.compute_units > 0) text += " " + std::to_string(s.compute_units) + " units";
  if (s.gpu_memory_mib > 0) text += " " + std::to_string(s.gpu_memory_mib) + " MiB";
  if (s.gpu_memory_percent > 0) text += " " + std::to_string(s.gpu_memory_percent) + "%";
  return text;
}
std::string Ask(Amounts limits, std::map<std::string, std::string> annotations = {}) {
  return Text(MustRead(One(std::move(limits), std::move(annotations))).spec);
}
std::string Why(Amounts limits, std::map<std::string, std::string> annotations = {}) {
  return WhyNot(One(std::move(limits), std::move(annotations)));
}

TEST(Quantities, AreThoseOfKubernetes) {
  const auto value = [](std::string_view text) { return ParseQuantity(text, "q")->value; };
  EXPECT_EQ(value("0"), 0);
  EXPECT_EQ(value("+3"), 3);
  EXPECT_EQ(value("4096Mi"), std::int64_t{4096} << 20);
  EXPECT_EQ(value("1.5Gi"), std::int64_t{3} << 29);
  EXPECT_EQ(value("1e3"), 1000);
  EXPECT_EQ(value("2E+2"), 200);
  EXPECT_EQ(value("3k"), 3000);
  EXPECT_EQ(value("1500e-3"), 2) << "rounded up";
  EXPECT_EQ(ParseQuantity("500m", "q")->milli, 500);
  EXPECT_EQ(ParseQuantity("1.5", "q")->milli, 1500);
  EXPECT_FALSE(ParseQuantity("1.5", "q")->whole);
  EXPECT_FALSE(ParseQuantity("1000m", "q")->value != 1);
  EXPECT_TRUE(ParseQuantity("1000m", "q")->whole);
  EXPECT_TRUE(ParseQuantity("5Mi", "q")->has_suffix);
  for (const char* bad : {"", "x", "1x", "1 ", " 1", "1..2", "--1", "-1", "1e", "1e99", "1Ei", "1E",
                          "9223372036854775807", "99999999999999999999999999999999", "."}) {
    EXPECT_FALSE(ParseQuantity(bad, "q")) << bad;
  }
}

TEST(Nvidia, HamisDefaults) {
  // A count alone is exclusive: the webhook adds 100 % of the compute.
  EXPECT_EQ(Ask({{"nvidia.com/gpu", "2"}}), "2 x 1000m 100%");
  EXPECT_EQ(Ask({{"nvidia.com/gpu", "2"}, {"nvidia.com/gpumem", "3000"}}), "2 x 0m 3000 MiB");
  EXPECT_EQ(
      Ask({{"nvidia.com/gpu", "2"}, {"nvidia.com/gpumem", "3000"}, {"nvidia.com/gpucores", "30"}}),
      "2 x 300m 3000 MiB");
  EXPECT_EQ(Ask({{"nvidia.com/gpu", "1"}, {"nvidia.com/gpumem-percentage", "50"}}), "1 x 0m 50%");
  EXPECT_EQ(Ask({{"nvidia.com/gpu", "1"}, {"nvidia.com/gpumem-percentage", "100"}}),
            "1 x 1000m 100%");
  EXPECT_EQ(Ask({{"nvidia.com/gpu", "1"}, {"nvidia.com/gpucores", "100"}}), "1 x 1000m 100%");
  EXPECT_EQ(Ask({{"nvidia.com/gpu", "1"}, {"nvidia.com/gpucores", "40"}}), "1 x 400m 100%");
  EXPECT_EQ(Ask({{"nvidia.com/gpu", "1"}, {"nvidia.com/gpucores", "0"}}), "1 x 0m 100%");
  EXPECT_EQ(Ask({{"nvidia.com/gpu", "1"}, {"nvidia.com/gpucores", "250"}}), "1 x 1000m 100%")
      << "HAMi takes more than 100 as 100";
  // Memory wins over percent; percent 0 is unset; amounts alone are for one card.
  EXPECT_EQ(Ask({{"nvidia.com/gpu", "1"},
                 {"nvidia.com/gpumem", "1000"},
                 {"nvidia.com/gpumem-percentage", "50"}}),
            "1 x 0m 1000 MiB");
  EXPECT_EQ(Ask({{"nvidia.com/gpumem", "4000"}}), "1 x 0m 4000 MiB");
  EXPECT_EQ(Ask({{"nvidia.com/gpucores", "25"}}), "1 x 250m 100%");
  EXPECT_EQ(Ask({{"nvidia.com/gpu", "0"}}), "0 x 0m");
  EXPECT_THAT(MustRead(One({{"nvidia.com/gpu", "1"}})).spec.vendors, ElementsAre("nvidia"));
  EXPECT_THAT(MustRead(One({{"nvidia.com/gpu", "1"}})).spec.models, IsEmpty());
}

TEST(Nvidia, LimitsAreReadBeforeRequests) {
  PodContainer c{.name = "c",
                 .limits = {{"nvidia.com/gpu", "1"}},
                 .requests = {{"nvidia.com/gpu", "3"}, {"nvidia.com/gpumem", "500"}}};
  EXPECT_EQ(Text(MustRead(Pod({c})).spec), "1 x 0m 500 MiB");
}

TEST(Nvidia, OutOfRangeIsAnErrorNotNothing) {
  EXPECT_THAT(Why({{"nvidia.com/gpu", "-1"}}), HasSubstr("negative"));
  EXPECT_THAT(Why({{"nvidia.com/gpu", "65"}}), HasSubstr("65 is outside 1..64"));
  EXPECT_THAT(Why({{"nvidia.com/gpu", "500m"}}), HasSubstr("must be a whole number"));
  EXPECT_THAT(Why({{"nvidia.com/gpu", "one"}}), HasSubstr("no quantity"));
  EXPECT_THAT(Why({{"nvidia.com/gpu", "1"}, {"nvidia.com/gpumem", "3Gi"}}),
              HasSubstr("container c0: nvidia.com/gpumem"));
  EXPECT_THAT(Why({{"nvidia.com/gpu", "1"}, {"nvidia.com/gpumem-percentage", "101"}}),
              HasSubstr("101 is outside 0..100"));
}

TEST(Nvidia, TypesAndUuids) {
  const RequestSpec s =
      MustRead(One({{"nvidia.com/gpu", "1"}}, {{"nvidia.com/use-gputype", "A100, h800"},
                                               {"nvidia.com/nouse-gputype", "80GB"},
                                               {"nvidia.com/use-gpuuuid", "GPU-1, GPU-2"},
                                               {"nvidia.com/nouse-gpuuuid", "GPU-2"}}))
          .spec;
  EXPECT_THAT(s.models, ElementsAre("A100", "H800")) << "substrings, without regard to case";
  EXPECT_THAT(s.nouse_models, testing::Contains("A100-80G"));
  EXPECT_THAT(s.use_uuids, ElementsAre("GPU-1", "GPU-2"));
  EXPECT_THAT(s.nouse_uuids, ElementsAre("GPU-2"));
  EXPECT_THAT(
      MustRead(One({{"nvidia.com/gpu", "1"}}, {{"nvidia.com/use-gputype", ""}})).spec.models,
      IsEmpty());
  EXPECT_THAT(Why({{"nvidia.com/gpu", "1"}}, {{"nvidia.com/use-gputype", "Voodoo"}}),
              HasSubstr("no model of the catalog"));
}

TEST(Nvidia, MigProfiles) {
  const RequestSpec s = MustRead(One({{"nvidia.com/mig-1g.10gb.me", "2"}})).spec;
  EXPECT_EQ(s.gpus, 2);
  EXPECT_EQ(s.mig_profile, "1g.10gb+me");
  EXPECT_EQ(s.gpu_memory_mib, 9728) << "the least of the models that have it";
  EXPECT_THAT(Why({{"nvidia.com/mig-9g.10gb", "1"}}), HasSubstr("no model"));
  EXPECT_THAT(Why({{"nvidia.com/mig-1g.10gb", "1"}, {"nvidia.com/mig-2g.20gb", "1"}}),
              HasSubstr("one MIG profile"));
}

TEST(Volcano, PercentWinsAndMemoryAloneIsOneCard) {
  EXPECT_EQ(Ask({{"volcano.sh/vgpu-memory", "3000"}}), "1 x 0m 3000 MiB");
  EXPECT_EQ(Ask({{"volcano.sh/vgpu-number", "2"},
                 {"volcano.sh/vgpu-memory", "3000"},
                 {"volcano.sh/vgpu-memory-percentage", "25"},
                 {"volcano.sh/vgpu-cores", "50"}}),
            "2 x 500m 25%");
  EXPECT_EQ(Ask({{"volcano.sh/vgpu-number", "1"}}), "1 x 0m 100%") << "all memory, not exclusive";
  const PodContainer requests{.name = "c", .requests = {{"volcano.sh/vgpu-number", "1"}}};
  EXPECT_EQ(MustRead(Pod({requests})).spec.gpus, 0) << "limits only";
}

TEST(Ascend, TemplatesAndWholeCards) {
  const RequestSpec s =
      MustRead(One({{"huawei.com/Ascend910B3", "1"}, {"huawei.com/Ascend910B3-memory", "10000"}}))
          .spec;
  EXPECT_EQ(Text(s), "1 x 0m 10000 MiB");  // the card makes a template of it
  EXPECT_THAT(s.vendors, ElementsAre("ascend"));
  EXPECT_THAT(s.models, ElementsAre("Ascend910B3"));
  EXPECT_EQ(Ask({{"huawei.com/Ascend910B3", "2"}}), "2 x 1000m 100%");
  // Beyond the largest template, the whole card: up to the capacity, though less can be had.
  EXPECT_EQ(Ask({{"huawei.com/Ascend310P", "1"}, {"huawei.com/Ascend310P-memory", "12289"}}),
            "1 x 1000m 100%");
  EXPECT_EQ(Ask({{"huawei.com/Ascend310P", "1"}, {"huawei.com/Ascend310P-memory", "24576"}}),
            "1 x 1000m 100%");
  EXPECT_THAT(Why({{"huawei.com/Ascend310P", "1"}, {"huawei.com/Ascend310P-memory", "24577"}}),
              HasSubstr("24577 MiB are more than a card has, 24576"));
  EXPECT_THAT(Why({{"huawei.com/Ascend910A", "2"}, {"huawei.com/Ascend910A-memory", "2000"}}),
              HasSubstr("2 cards of Ascend910A are whole ones"));
  EXPECT_THAT(Why({{"huawei.com/Ascend910A-memory", "2000"}}),
              HasSubstr("needs a number of cards, huawei.com/Ascend910A"));
  EXPECT_THAT(Why({{"huawei.com/Ascend910A", "1"}, {"huawei.com/Ascend910B4", "1"}}),
              HasSubstr("two ways, ascend/hami Ascend910A and ascend/hami Ascend910B4"));
}

TEST(Ascend, SoftSplittingNeedsItsMode) {
  const std::map<std::string, std::string> mode = {{"huawei.com/vnpu-mode", "hami-core"}};
  const Amounts amounts = {{"huawei.com/Ascend910B3", "2"},
                           {"huawei.com/Ascend910B3-memory", "10000"},
                           {"huawei.com/Ascend910B3-core", "25"}};
  const RequestSpec s = MustRead(One(amounts, mode)).spec;
  EXPECT_EQ(Text(s), "2 x 250m 10000 MiB");
  EXPECT_THAT(s.models, ElementsAre("Ascend910B3-soft"));
  EXPECT_THAT(Why(amounts), HasSubstr("needs the annotation huawei.com/vnpu-mode: hami-core"));
}

TEST(Ascend, The910CGoesAsModules) {
  EXPECT_EQ(Ask({{"huawei.com/Ascend910C", "1"}}), "2 x 1000m 100%");
  EXPECT_EQ(Ask({{"huawei.com/Ascend910C", "4"}}), "4 x 1000m 100%");
  EXPECT_THAT(Why({{"huawei.com/Ascend910C", "3"}}), HasSubstr("its containers may have 2, 4"));
}

TEST(Cambricon, MemoryInUnitsOf256) {
  EXPECT_EQ(Ask({{"cambricon.com/vmlu", "1"},
                 {"cambricon.com/mlu.smlu.vmemory", "20"},
                 {"cambricon.com/mlu.smlu.vcore", "10"}}),
            "1 x 100m 5120 MiB");
  EXPECT_EQ(Ask({{"cambricon.com/vmlu", "1"}}), "1 x 1000m 100%");
  EXPECT_THAT(Why({{"cambricon.com/vmlu", "1"}, {"cambricon.com/mlu.smlu.vmemory", "3906251"}}),
              HasSubstr("3906251 units of 256 MiB"));
}

TEST(Hygon, CoresDefaultToAll) {
  EXPECT_EQ(Ask({{"hygon.com/dcunum", "1"}, {"hygon.com/dcumem", "2000"}}), "1 x 1000m 2000 MiB");
  EXPECT_EQ(
      Ask({{"hygon.com/dcunum", "1"}, {"hygon.com/dcumem", "2000"}, {"hygon.com/dcucores", "60"}}),
      "1 x 600m 2000 MiB");
}

TEST(Iluvatar, SeveralCardsAreWhole) {
  const RequestSpec s = MustRead(One({{"iluvatar.ai/MR-V100-vgpu", "1"},
                                      {"iluvatar.ai/MR-V100.vMem", "64"},
                                      {"iluvatar.ai/MR-V100.vCore", "50"}}))
                            .spec;
  EXPECT_EQ(Text(s), "1 x 500m 16384 MiB");
  EXPECT_THAT(s.models, ElementsAre("MR-V100"));
  EXPECT_EQ(Ask({{"iluvatar.ai/MR-V100-vgpu", "1"}}), "1 x 0m 100%");
  EXPECT_EQ(Ask({{"iluvatar.ai/BI-V150-vgpu", "2"}, {"iluvatar.ai/BI-V150.vMem", "4"}}),
            "2 x 1000m 100%");
}

TEST(Mthreads, AmountsAreTotals) {
  EXPECT_EQ(Ask({{"mthreads.com/vgpu", "1"},
                 {"mthreads.com/sgpu-memory", "32"},
                 {"mthreads.com/sgpu-core", "8"}}),
            "1 x 500m 16384 MiB");
  EXPECT_EQ(Ask({{"mthreads.com/vgpu", "1"}}), "1 x 1000m 100%");
  EXPECT_EQ(Ask({{"mthreads.com/vgpu", "2"},
                 {"mthreads.com/sgpu-memory", "192"},
                 {"mthreads.com/sgpu-core", "32"}}),
            "2 x 1000m 100%")
      << "several are whole: 16 cores and 96 units each";
  EXPECT_THAT(Why({{"mthreads.com/vgpu", "1"}, {"mthreads.com/sgpu-memory", "10"}}),
              HasSubstr("10 is not one of 2, 4, 8, 16, 32, 64, 96"));
}

TEST(Metax, PlainNumbersAreGibibytes) {
  EXPECT_EQ(Ask({{"metax-tech.com/sgpu", "1"},
                 {"metax-tech.com/vmemory", "4"},
                 {"metax-tech.com/vcore", "60"}}),
            "1 x 600m 4096 MiB");
  EXPECT_EQ(Ask({{"metax-tech.com/sgpu", "1"},
                 {"metax-tech.com/vmemory", "4096Mi"},
                 {"metax-tech.com/vcore", "60"}}),
            "1 x 600m 4096 MiB");
  EXPECT_EQ(Ask({{"metax-tech.com/sgpu", "2"}}), "2 x 1000m 100%");
  EXPECT_EQ(Ask({{"metax-tech.com/gpu", "2"}}), "2 x 1000m 100%");
  const PodContainer requests{.name = "c", .requests = {{"metax-tech.com/sgpu", "1"}}};
  EXPECT_EQ(MustRead(Pod({requests})).spec.gpus, 0) << "limits only";
}

TEST(Metax, QosClasses) {
  const Amounts amounts = {{"metax-tech.com/sgpu", "1"}, {"metax-tech.com/vcore", "10"}};
  EXPECT_EQ(MustRead(One(amounts)).spec.qos, "best-effort");
  EXPECT_EQ(MustRead(One(amounts, {{"metax-tech.com/sgpu-qos-policy", "fixed-share"}})).spec.qos,
            "fixed-share");
  EXPECT_THAT(Why(amounts, {{"metax-tech.com/sgpu-qos-policy", "fixed-shaer"}}),
              HasSubstr("did you mean \"fixed-share\"?"));
}

TEST(Enflame, SlotsOrMemoryAndCompute) {
  EXPECT_EQ(Ask({{"enflame.com/drs-gcu", "2"}}), "1 x 500m 24576 MiB");
  EXPECT_EQ(Ask({{"enflame.com/drs-gcu", "4"}}), "1 x 1000m 100%");
  EXPECT_EQ(Ask({{"enflame.com/gcu-memory", "20"}}), "1 x 0m 20480 MiB");
  EXPECT_EQ(Ask({{"enflame.com/gcu-memory", "20480"}}), "1 x 0m 20480 MiB")
      << "more than twice the largest profile's GB: it is MiB";
  EXPECT_EQ(Ask({{"enflame.com/gcu-core", "30"}}), "1 x 300m");
  EXPECT_EQ(Ask({{"enflame.com/gcu", "3"}}), "3 x 1000m 100%");
  EXPECT_THAT(Why({{"enflame.com/drs-gcu", "5"}}), HasSubstr("there are 1, 2, 3, 4"));
}

TEST(Kunlun, WholeCardsAndSlices) {
  EXPECT_EQ(Ask({{"kunlunxin.com/xpu", "4"}}), "4 x 1000m 100%");
  EXPECT_THAT(Why({{"kunlunxin.com/xpu", "3"}}), HasSubstr("may have 1, 2, 4, 8"));
  EXPECT_EQ(Ask({{"kunlunxin.com/vxpu", "1"}, {"kunlunxin.com/vxpu-memory", "24000"}}),
            "1 x 0m 24000 MiB");
  EXPECT_EQ(Ask({{"kunlunxin.com/vxpu", "1"}, {"kunlunxin.com/vxpu-memory", "49153"}}),
            "1 x 1000m 100%");
  EXPECT_EQ(Ask({{"kunlunxin.com/vxpu", "1"}}), "1 x 1000m 100%");
  // Both pairs of annotations must pass.
  const RequestSpec s =
      MustRead(One({{"kunlunxin.com/xpu", "1"}}, {{"baidu.com/use-gpuuuid", "a,b"},
                                                  {"hami.io/use-xpu-uuid", "b,c"},
                                                  {"hami.io/no-use-xpu-uuid", "d"}}))
          .spec;
  EXPECT_THAT(s.use_uuids, ElementsAre("b"));
  EXPECT_THAT(s.nouse_uuids, ElementsAre("d"));
}

TEST(Amd, PercentOfComputeUnits) {
  EXPECT_EQ(Ask({{"amd.com/gpu", "1"}}), "1 x 1000m 100%");
  // The models differ in their number of CUs: 33 % stays 330 milli until the card is known.
  EXPECT_EQ(Ask({{"amd.com/gpu", "1"}, {"amd.com/gpumem", "4096"}, {"amd.com/gpucores", "33"}}),
            "1 x 330m 4096 MiB");
}

// As KubeVirt's pods ask for a card that a virtual machine gets whole.
TEST(Passthrough, IsWholeCardsOfTheNamedModel) {
  for (const auto& [name, model] :
       std::map<std::string, std::string>{{"nvidia.com/TU104GL_Tesla_T4", "T4"},
                                          {"nvidia.com/TU104GL_TESLA_T4", "T4"},
                                          {"nvidia.com/GA100_A100_SXM4_80GB", "A100-80G"},
                                          {"nvidia.com/GA100_A100_PCIe_40GB", "A100"},
                                          {"nvidia.com/GV100GL_Tesla_V100_SXM2_32GB", "V100M32"},
                                          {"nvidia.com/GH100_H100_SXM5_80GB", "H100"},
                                          {"nvidia.com/AD102GL_L20", "L20"}}) {
    const RequestSpec s = MustRead(One({{name, "2"}})).spec;
    EXPECT_TRUE(s.passthrough) << name;
    EXPECT_EQ(s.gpus, 2) << name;
    EXPECT_EQ(s.gpu_milli, kWholeCard) << name;
    EXPECT_THAT(s.models, ElementsAre(model)) << name;
    EXPECT_TRUE(IsCardResource(Cards(), name));
  }
  // No chip, no model, another domain: no cards of ours.
  for (const char* name :
       {"nvidia.com/Tesla_T4", "nvidia.com/TU104GL_Tesla_T9", "nvidia.com/TU104GL",
        "example.com/TU104GL_Tesla_T4", "devices.kubevirt.io/kvm"}) {
    EXPECT_EQ(MustRead(One({{name, "1"}})).spec.gpus, 0) << name;
    EXPECT_FALSE(IsCardResource(Cards(), name));
  }
  EXPECT_FALSE(MustRead(One({{"nvidia.com/gpu", "1"}})).spec.passthrough);
  EXPECT_THAT(Why({{"nvidia.com/TU104GL_Tesla_T4", "1"}, {"nvidia.com/gpu", "1"}}),
              HasSubstr("stands beside"));
  PodResources pod = One({{"nvidia.com/gpu", "1"}});
  pod.containers.push_back({.name = "vm", .limits = {{"nvidia.com/TU104GL_Tesla_T4", "1"}}});
  const auto both = ReadRequest(Cards(), pod);
  ASSERT_FALSE(both.has_value());
  EXPECT_THAT(both.error().ToString(), HasSubstr("passthrough cards or others, not both"));
}

TEST(ModelNames, AskWithoutLabelsOrTaints) {
  const RequestSpec s = MustRead(One({{"gpu-a100", "2"}})).spec;
  EXPECT_EQ(Text(s), "2 x 1000m 100%");
  EXPECT_THAT(s.models, ElementsAre("A100", "A100-80G"));
  EXPECT_THAT(s.node_selector, IsEmpty());
  EXPECT_THAT(s.tolerations, IsEmpty());
  EXPECT_THAT(MustRead(One({{"example.com/gpu-h20", "1"}})).spec.models, ElementsAre("H20"));
  const PodRequest l20 = MustRead(One({{"vgpu-number-l20", "1"}, {"vgpu-memory-l20", "8000"}}));
  EXPECT_EQ(Text(l20.spec), "1 x 0m 8000 MiB");
  EXPECT_THAT(l20.spec.models, ElementsAre("L20"));
  EXPECT_EQ(l20.interface, "nvidia/volcano");
  EXPECT_THAT(Why({{"gpu-a100", "1"}, {"gpu-h20", "1"}}), HasSubstr("another model"));
  EXPECT_THAT(Why({{"gpu-a100", "1"}, {"nvidia.com/gpu", "1"}}), HasSubstr("stands beside"));
  EXPECT_EQ(MustRead(One({{"gpu-voodoo", "1"}})).spec.gpus, 0) << "somebody else's name";
}

TEST(Neutral, AnyAllowedVendor) {
  const PodRequest r = MustRead(One({{"basalt.io/gpu", "1"},
                                     {"basalt.io/gpu-memory", "16Gi"},
                                     {"basalt.io/gpu-compute-units", "70"}},
                                    {{"basalt.io/vendors", "nvidia, ascend,metax"},
                                     {"basalt.io/nouse-models", "nvidia t4"},
                                     {"basalt.io/service-class", "burstable"}}));
  EXPECT_EQ(Text(r.spec), "1 x 0m 70 units 16384 MiB");
  EXPECT_THAT(r.spec.vendors, ElementsAre("nvidia", "ascend", "metax"));
  EXPECT_THAT(r.spec.nouse_models, ElementsAre("T4"));
  EXPECT_EQ(r.spec.service_class, ServiceClass::kBurstable);
  EXPECT_EQ(r.interface, "");
  EXPECT_EQ(Ask({{"basalt.io/gpu", "2"}}), "2 x 1000m 100%");
  // Memory that is not asked, or 0, is all of it.
  EXPECT_EQ(Ask({{"basalt.io/gpu-compute-units", "50"}}), "1 x 0m 50 units 100%");
  EXPECT_EQ(Ask({{"basalt.io/gpu-compute-units", "50"}, {"basalt.io/gpu-memory", "0"}}),
            "1 x 0m 50 units 100%");
  EXPECT_EQ(Ask({{"basalt.io/gpu-memory", "4000"}}), "1 x 0m 4000 MiB");
  EXPECT_EQ(Ask({{"basalt.io/gpu", "1"}, {"basalt.io/gpu-memory-percent", "30"}}), "1 x 0m 30%");
  EXPECT_THAT(Why({{"basalt.io/gpu", "1"}}, {{"basalt.io/vendors", "nvida"}}),
              HasSubstr("did you mean \"nvidia\"?"));
  EXPECT_THAT(Why({{"basalt.io/gpu", "1"}, {"nvidia.com/gpu", "1"}}), HasSubstr("use one"));
  EXPECT_THAT(Why({{"nvidia.com/gpu", "1"}}, {{"basalt.io/vendors", "nvidia"}}),
              HasSubstr("one vendor's names already"));
  EXPECT_THAT(Why({{"basalt.io/gpu", "1"}}, {{"basalt.io/passthrough", "yes"}}),
              HasSubstr("true or false"));
}

TEST(Selectors, MistypedNamesHaveHints) {
  const Amounts card = {{"basalt.io/gpu", "1"}};
  EXPECT_THAT(Why(card, {{"basalt.io/models", "A100, MLU370-X5"}}),
              HasSubstr("annotation basalt.io/models: unknown model \"MLU370-X5\"; did you mean "
                        "\"MLU370-X4\"? Else add it to a catalog file"));
  EXPECT_THAT(Why(card, {{"basalt.io/nouse-models", "T5"}}), HasSubstr("did you mean \"T4\"?"));
  EXPECT_THAT(Why({{"nvidia.com/gpu", "1"}}, {{"nvidia.com/use-gputype", "A1000"}}),
              HasSubstr("did you mean \"A100\"? Else add it to a catalog file"));
  EXPECT_THAT(Why(card, {{"basalt.io/modles", "A100"}}),
              HasSubstr("annotation basalt.io/modles: is unknown; did you mean "
                        "\"basalt.io/models\"?"));
  EXPECT_EQ(Ask(card, {{"basalt.io/team", "x"}, {"example.com/modles", "A100"}}), "1 x 1000m 100%")
      << "somebody else's annotations";
}

TEST(Selectors, ThatLeaveNothingAreErrors) {
  const Amounts card = {{"basalt.io/gpu", "1"}};
  const auto nothing = [](const char* first) {
    return HasSubstr("every model that is allowed is also excluded, by name or by vendor (" +
                     std::string(first) + "); leave one");
  };
  EXPECT_THAT(
      Why(card, {{"basalt.io/models", "A100,T4"}, {"basalt.io/nouse-models", "a100,Tesla T4"}}),
      nothing("T4"));
  EXPECT_THAT(Why(card, {{"basalt.io/vendors", "enflame"}, {"basalt.io/nouse-models", "S60"}}),
              nothing("S60"));
  EXPECT_THAT(Why(card, {{"basalt.io/vendors", "amd"}, {"basalt.io/models", "T4"}}), nothing("T4"));
  EXPECT_THAT(Why(card, {{"basalt.io/use-uuids", "a,b"}, {"basalt.io/nouse-uuids", "b, a"}}),
              HasSubstr("every card that is allowed by UUID is also excluded (a)"));
  EXPECT_THAT(Why({{"kunlunxin.com/xpu", "1"}},
                  {{"baidu.com/use-gpuuuid", "a"}, {"hami.io/use-xpu-uuid", "b"}}),
              HasSubstr("annotation hami.io/use-xpu-uuid: allows no card"));
  EXPECT_THAT(Why({{"gpu-a100", "1"}}, {{"basalt.io/models", "H100"}}),
              HasSubstr("annotation basalt.io/models: allows no model that the pod's other names "
                        "and annotations allow (A100, A100-80G)"));
}

TEST(Selectors, OwnAnnotationsNarrowAVendors) {
  const RequestSpec s =
      MustRead(One({{"gpu-a100", "1"}}, {{"basalt.io/models", "H100,A100-80G"},
                                         {"nvidia.com/use-gpuuuid", "GPU-1,GPU-2"},
                                         {"basalt.io/use-uuids", "GPU-2,GPU-3"}}))
          .spec;
  EXPECT_THAT(s.models, ElementsAre("A100-80G"));
  EXPECT_THAT(s.use_uuids, ElementsAre("GPU-2"));
}

// As templates write it for the vendors that a pod does not want.
TEST(Selectors, ACountOfNothingIsNoAsk) {
  const PodRequest r = MustRead(One({{"nvidia.com/gpu", "0"}, {"amd.com/gpu", "1"}}));
  EXPECT_EQ(r.interface, "amd/hami");
  EXPECT_EQ(r.spec.gpus, 1);
}

TEST(Containers, EachHasItsOwnSlices) {
  PodContainer web = Limits("web", {{"cpu", "500m"}, {"memory", "1Gi"}});
  PodContainer a = Limits("a", {{"nvidia.com/gpu", "1"}, {"nvidia.com/gpumem", "3000"}});
  PodContainer b = Limits("b", {{"nvidia.com/gpu", "2"}, {"nvidia.com/gpucores", "20"}});
  const PodRequest r = MustRead(Pod({web, a, b}));
  EXPECT_EQ(r.spec.gpus, 3);
  EXPECT_EQ(r.spec.gpu_memory_mib, 0);
  ASSERT_EQ(r.spec.containers.size(), 3U);
  EXPECT_EQ(r.spec.containers[1].gpus, 1);
  EXPECT_EQ(r.spec.containers[1].gpu_memory_mib, 3000);
  EXPECT_EQ(r.spec.containers[2].gpu_milli, 200);
  EXPECT_EQ(r.spec.containers[2].gpu_memory_percent, 100);
  EXPECT_EQ(r.spec.cpu_milli, 500);
  EXPECT_EQ(r.spec.memory_mib, 1024);
  EXPECT_EQ(r.slots[0].container, -1);
  EXPECT_EQ(r.slots[2].container, 2);
}

TEST(Containers, OneWithCardsIsThePodsAsk) {
  const PodRequest r = MustRead(
      Pod({Limits("web", {{"cpu", "1"}}), Limits("gpu", {{"nvidia.com/gpumem", "3000"}})}));
  EXPECT_EQ(Text(r.spec), "1 x 0m 3000 MiB");
  ASSERT_EQ(r.spec.containers.size(), 2U);
  EXPECT_FALSE(r.spec.containers[1].asks_card());
}

TEST(Containers, InitContainersUseALaterOnesCards) {
  PodContainer init = Limits("init", {{"nvidia.com/gpu", "1"}, {"cpu", "4"}});
  init.init = true;
  PodContainer side = Limits("side", {{"cpu", "1"}});
  side.init = side.sidecar = true;
  const PodContainer app = Limits("app", {{"nvidia.com/gpu", "1"}, {"cpu", "2"}});
  const PodRequest r = MustRead(Pod({init, side, app}));
  EXPECT_EQ(r.spec.gpus, 1);
  EXPECT_EQ(r.spec.cpu_milli, 4000) << "max(init, sum of the others)";
  EXPECT_EQ(r.slots[0].container, 1);
  EXPECT_EQ(r.slots[1].container, -1);
  EXPECT_EQ(r.slots[2].container, 1);
  init.limits["nvidia.com/gpu"] = "2";
  EXPECT_THAT(WhyNot(Pod({init, side, app})), HasSubstr("init container init"));
}

TEST(PodFiles, YamlJsonAndTemplates) {
  const std::string yaml = R"(apiVersion: v1
kind: Pod
metadata:
  name: p
  annotations: {nvidia.com/use-gputype: A100}
spec:
  nodeSelector: {pool: a}
  initContainers:
  - {name: i, restartPolicy: Always}
  containers:
  - name: c
    resources:
      limits: {nvidia.com/gpu: 1, cpu: "2"}
      requests: {cpu: 1500m, memory: 2Gi}
)";
  const auto pod = ReadPodFile("f", yaml);
  ASSERT_TRUE(pod) << pod.error().ToString();
  EXPECT_EQ(pod->name, "p");
  ASSERT_EQ(pod->containers.size(), 2U);
  EXPECT_TRUE(pod->containers[0].init && pod->containers[0].sidecar);
  const PodRequest r = MustRead(*pod);
  EXPECT_EQ(Text(r.spec), "1 x 1000m 100%");
  EXPECT_EQ(r.spec.cpu_milli, 1500) << "the request, not the limit";
  EXPECT_EQ(r.spec.memory_mib, 2048);
  ASSERT_EQ(r.spec.node_selector.size(), 1U);
  EXPECT_EQ(r.spec.node_selector[0].value, "a");
  const auto job = ReadPodFile(
      "f", R"({"kind":"Job","metadata":{"name":"j"},"spec":{"template":{"spec":{"containers":
         [{"name":"c","resources":{"limits":{"metax-tech.com/sgpu":"1"}}}]}}}})");
  ASSERT_TRUE(job) << job.error().ToString();
  EXPECT_EQ(job->name, "j");
  EXPECT_EQ(MustRead(*job).interface, "metax/sgpu");
  for (const auto& [text, part] : std::vector<std::pair<std::string, std::string>>{
           {"a: 1", "spec.containers is missing"},
           {"items: []", "is a list"},
           {"[]", "is no pod"},
           {"spec: {containers: 3}", "f:1:20: containers must be a list"},
           {"spec: {containers: [{resources: {limits: [1]}}]}", "limits must be a map"},
           {"spec: {containers: [{resources: {limits: {a: 1, a: 2}}}]}", "\"a\" twice"},
           {"{", "f:"}}) {
    const auto bad = ReadPodFile("f", text);
    ASSERT_FALSE(bad) << text;
    EXPECT_THAT(bad.error().ToString(), HasSubstr(part));
  }
}

}  // namespace
}  // namespace basalt::devices
