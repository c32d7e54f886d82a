// Which cards the importers k8s and volcano read from pods: every vendor's names with the units,
// defaults and templates of HAMi v2.10 and Volcano's vGPU.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/unit/traces_import_util.h"
#include "test/unit/traces_kube_util.h"
#include "traces/k8s.h"

namespace basalt::trace {
namespace {

using testing::Contains;
using testing::HasSubstr;

std::string Text(const Task& task) {
  return std::to_string(task.gpu_num) + " x " + std::to_string(task.gpu_milli) + " of " +
         std::to_string(task.gpu_mem_mib) + (task.gpu_spec.empty() ? "" : " on " + task.gpu_spec) +
         (task.extra.empty() ? "" : ' ' + task.extra);
}

// A pod of one container with these limits. Of `spec`: what stands beside the containers.
std::string Ask(const std::string& limits, const std::string& annotations = "",
                const std::string& spec = "") {
  const Trace t =
      Parsed(ParseK8s, {{"pods", PodWith("p", annotations, "\"limits\":{" + limits + "}", spec)}});
  return Text(t.tasks.at(0));
}
std::string Why(const std::string& limits, const std::string& annotations = "") {
  return Fault(ParseK8s, {{"pods", PodWith("p", annotations, "\"limits\":{" + limits + "}")}});
}

TEST(K8sCards, NvidiaByHami) {
  EXPECT_EQ(Ask(R"("nvidia.com/gpu":"2","nvidia.com/gpumem":"3000","nvidia.com/gpucores":"30")"),
            "2 x 300 of 3000");
  // All of the memory and a part of the compute: no column holds "all of it".
  EXPECT_EQ(Ask(R"("nvidia.com/gpucores":"40")"), R"(1 x 400 of -1 {"gpu_mem_percent":"100"})");
  EXPECT_EQ(Ask(R"("nvidia.com/gpu":"1","nvidia.com/gpucores":"250")"), "1 x 1000 of -1");
  EXPECT_EQ(
      Ask(R"("nvidia.com/gpu":"1","nvidia.com/gpumem":"1k","nvidia.com/gpumem-percentage":50)"),
      R"(1 x 1 of 1000 {"gpu_compute":"unlimited"})")
      << "memory wins over percent";
}

TEST(K8sCards, NvidiaByVolcano) {
  EXPECT_EQ(Ask(R"("volcano.sh/vgpu-number":"2")"), "2 x 1000 of -1") << "all of the memory";
  EXPECT_EQ(Ask(R"("volcano.sh/vgpu-memory":"3000")"),
            R"(1 x 1 of 3000 {"gpu_compute":"unlimited"})");
  EXPECT_EQ(Ask(R"("volcano.sh/vgpu-number":"1","volcano.sh/vgpu-memory":"3000",
                   "volcano.sh/vgpu-memory-percentage":"50")"),
            R"(1 x 500 of -1 {"gpu_mem_percent":"50"})")
      << "percent wins over memory";
}

TEST(K8sCards, AscendsTemplates) {
  EXPECT_EQ(Ask(R"("huawei.com/Ascend910A":"1","huawei.com/Ascend910A-memory":"2184")"),
            "1 x 66 of 2184 on Ascend910A");
  EXPECT_EQ(Ask(R"("huawei.com/Ascend910B3":"1","huawei.com/Ascend910B3-memory":"20000")"),
            "1 x 500 of 32768 on Ascend910B3");
  EXPECT_EQ(Ask(R"("huawei.com/Ascend910B3":"1","huawei.com/Ascend910B3-memory":"40000")"),
            "1 x 1000 of -1 on Ascend910B3")
      << "beyond the largest template: the card";
  EXPECT_EQ(Ask(R"("huawei.com/Ascend310P":"1","huawei.com/Ascend310P-memory":"3072")"),
            "1 x 125 of 3072 on Ascend310P");
  EXPECT_EQ(Ask(R"("huawei.com/Ascend910B4-1":"2")"), "2 x 1000 of -1 on Ascend910B4-1");
  EXPECT_EQ(Ask(R"("huawei.com/Ascend910C":"1")"), "2 x 1000 of -1 on Ascend910C")
      << "a module has two dies";
  const std::string soft = R"("huawei.com/Ascend910B3":"1","huawei.com/Ascend910B3-memory":"10000",
                              "huawei.com/Ascend910B3-core":"30")";
  EXPECT_EQ(Ask(soft, R"("huawei.com/vnpu-mode":"hami-core")"),
            "1 x 300 of 10000 on Ascend910B3-soft");
  EXPECT_EQ(Why(soft),
            "pods:1: container c: huawei.com/Ascend910B3-core: needs the annotation "
            "huawei.com/vnpu-mode: hami-core");
}

TEST(K8sCards, OtherVendors) {
  EXPECT_EQ(Ask(R"("cambricon.com/vmlu":"1","cambricon.com/mlu.smlu.vmemory":"20",
                   "cambricon.com/mlu.smlu.vcore":"10")"),
            "1 x 100 of 5120")
      << "units of 256 MiB";
  EXPECT_EQ(Ask(R"("cambricon.com/vmlu":"1")"), "1 x 1000 of -1");
  EXPECT_EQ(Ask(R"("metax-tech.com/sgpu":"1","metax-tech.com/vmemory":"4",
                   "metax-tech.com/vcore":"60")"),
            "1 x 600 of 4096");
  EXPECT_EQ(Ask(R"("metax-tech.com/sgpu":"1","metax-tech.com/vmemory":"4096Mi",
                   "metax-tech.com/vcore":"60")"),
            "1 x 600 of 4096");
  EXPECT_EQ(Ask(R"("metax-tech.com/sgpu":"2")"), "2 x 1000 of -1");
  EXPECT_EQ(Ask(R"("metax-tech.com/gpu":"4")"), "4 x 1000 of -1");
  EXPECT_EQ(Ask(R"("amd.com/gpu":"1","amd.com/gpumem":"4096","amd.com/gpucores":"33")"),
            "1 x 330 of 4096");
  EXPECT_EQ(Ask(R"("amd.com/gpu":"1","amd.com/gpumem":"4096")"), "1 x 1000 of 4096");
  EXPECT_EQ(Ask(R"("hygon.com/dcunum":"1","hygon.com/dcumem":"2000","hygon.com/dcucores":"60")"),
            "1 x 600 of 2000");
  EXPECT_EQ(Ask(R"("kunlunxin.com/xpu":"4")"), "4 x 1000 of -1");
  EXPECT_EQ(Ask(R"("kunlunxin.com/vxpu":"1","kunlunxin.com/vxpu-memory":"24000")"),
            "1 x 250 of 24576")
      << "rounded up to a quarter";
  EXPECT_EQ(Ask(R"("kunlunxin.com/vxpu":"1","kunlunxin.com/vxpu-memory":"49153")"),
            "1 x 1000 of -1");
  EXPECT_EQ(Ask(R"("mthreads.com/vgpu":"1","mthreads.com/sgpu-memory":"32",
                   "mthreads.com/sgpu-core":"8")"),
            "1 x 500 of 16384")
      << "512 MiB and sixteenths";
  EXPECT_EQ(Ask(R"("mthreads.com/vgpu":"2","mthreads.com/sgpu-memory":"192",
                   "mthreads.com/sgpu-core":"32")"),
            "2 x 1000 of -1");
  EXPECT_EQ(Ask(R"("enflame.com/drs-gcu":"2")"), "1 x 500 of 24576");
  EXPECT_EQ(Ask(R"("enflame.com/gcu-memory":"20")"), "1 x 500 of 24576")
      << "the smallest profile that has it";
  EXPECT_EQ(Ask(R"("enflame.com/gcu-core":"30")"), "1 x 500 of 24576");
  EXPECT_EQ(Ask(R"("enflame.com/gcu":"3")"), "3 x 1000 of -1");
  EXPECT_EQ(Ask(R"("iluvatar.ai/MR-V100-vgpu":"1","iluvatar.ai/MR-V100.vMem":"64",
                   "iluvatar.ai/MR-V100.vCore":"50")"),
            "1 x 500 of 16384 on MR-V100");
  EXPECT_EQ(Ask(R"("iluvatar.ai/BI-V150-vgpu":"2","iluvatar.ai/BI-V150.vMem":"4")"),
            "2 x 1000 of -1 on BI-V150");
  // Whole cards of vendors that the catalog does not have.
  EXPECT_EQ(Ask(R"("birentech.com/gpu":"2")"), "2 x 1000 of -1");
  EXPECT_EQ(Ask(R"("huawei.com/Ascend910":"8")"), "8 x 1000 of -1");
}

TEST(K8sCards, NamesOfOneModelAndMig) {
  EXPECT_EQ(Ask(R"("gpu-a100":"2")"), "2 x 1000 of -1 on A100|A100-80G");
  EXPECT_EQ(Ask(R"("example.com/gpu-h20":"1")"), "1 x 1000 of -1 on H20");
  EXPECT_EQ(Ask(R"("vgpu-number-l20":"1","vgpu-memory-l20":"8000")"),
            R"(1 x 1 of 8000 on L20 {"gpu_compute":"unlimited"})");
  EXPECT_EQ(Ask(R"("nvidia.com/mig-1g.10gb.me":"2")"),
            R"(2 x 142 of 9728 {"mig_profile":"1g.10gb+me"})")
      << "the smallest of the models that have it";
}

TEST(K8sCards, NeutralNames) {
  EXPECT_EQ(Ask(R"("basalt.io/gpu":"2")"), "2 x 1000 of -1");
  EXPECT_EQ(Ask(R"("basalt.io/gpu-memory":"16Gi","basalt.io/gpu-compute-units":"70")"),
            R"(1 x 1 of 16384 {"gpu_compute_units":"70"})");
  EXPECT_EQ(Ask(R"("basalt.io/gpu":"1")", R"("basalt.io/models":"A100, h100")"),
            "1 x 1000 of -1 on A100|H100");
  EXPECT_EQ(Ask(R"("basalt.io/gpu-memory":"4096")", R"("basalt.io/vendors":"hygon")"),
            R"(1 x 1 of 4096 on Z100|K100-AI {"gpu_compute":"unlimited"})");
  EXPECT_EQ(Ask(R"("basalt.io/gpu":"1")", R"("basalt.io/mig-profile":"1g.5gb")"),
            R"(1 x 142 of 4864 {"mig_profile":"1g.5gb"})");
  EXPECT_THAT(Why(R"("basalt.io/gpu":"1")", R"("basalt.io/vendors":"nvida")"),
              HasSubstr("pods:1: annotation basalt.io/vendors: unknown vendor \"nvida\"; did you "
                        "mean \"nvidia\"?"));
}

TEST(K8sCards, ChosenTypes) {
  EXPECT_EQ(Ask(R"("nvidia.com/gpu":"1")", R"("nvidia.com/use-gputype":"A100,H800",
                                              "nvidia.com/nouse-gputype":"80GB")"),
            "1 x 1000 of -1 on A100|H800");
  EXPECT_EQ(Ask(R"("hygon.com/dcunum":"1")", R"("hygon.com/nouse-dcutype":"Z100")"),
            "1 x 1000 of -1 on K100-AI")
      << "the others that the catalog has";
  const Trace t = Parsed(
      ParseK8s,
      {{"pods", PodWith("p", R"("nvidia.com/use-gputype":"Voodoo","nvidia.com/nouse-gputype":"T4")",
                        R"("limits":{"nvidia.com/gpu":"1"})")}});
  EXPECT_THAT(Text(t.tasks.at(0)),
              HasSubstr(R"({"gpu_types":{"nvidia.com/use-gputype":"Voodoo"}})"));
  EXPECT_THAT(t.tasks.at(0).gpu_spec, HasSubstr("|A100|"));
  EXPECT_THAT(t.tasks.at(0).gpu_spec, testing::Not(HasSubstr("T4")));
  EXPECT_THAT(t.manifest.notes,
              Contains(HasSubstr("1 pod chooses types of cards that the catalog does not have")));
}

TEST(K8sCards, UnknownNamesAreKept) {
  EXPECT_EQ(Ask(R"("example.com/accelerator":"2","nvidia.com/mig-2g.48gb":"1",
                   "nvidia.com/gpu.shared":"1")"),
            R"(0 x 0 of -1 {"resources":{"example.com/accelerator":"2",)"
            R"("nvidia.com/gpu.shared":"1","nvidia.com/mig-2g.48gb":"1"}})");
}

TEST(K8sCards, InitContainersAndSidecars) {
  const auto init = [](const std::string& limits, const std::string& rest = "") {
    return R"(,"initContainers":[{"name":"i")" + rest + R"(,"resources":{"limits":{)" + limits +
           "}}}]";
  };
  const std::string one = R"("nvidia.com/gpu":"1")";
  EXPECT_EQ(Ask(one, "", init(one)), "1 x 1000 of -1");
  EXPECT_EQ(Ask(one, "", init(R"("nvidia.com/gpu":"2")")), "2 x 1000 of -1");
  EXPECT_EQ(Ask(R"("cpu":"1")", "", init(one)), "1 x 1000 of -1");
  EXPECT_EQ(Ask(one, "", init(one, R"(,"restartPolicy":"Always")")), "2 x 1000 of -1");
}

TEST(K8sCards, WhatNoPodCanAsk) {
  EXPECT_EQ(Why(R"("nvidia.com/gpu":"1","nvidia.com/gpumem-percentage":"101")"),
            "pods:1: container c: nvidia.com/gpumem-percentage: 101 is outside 0..100");
  EXPECT_EQ(Why(R"("amd.com/gpu":"1","nvidia.com/gpu":"1")"),
            "pods:1: container c: the pod asks for cards in two ways, amd/hami and nvidia/hami; "
            "use one");
  EXPECT_EQ(Why(R"("birentech.com/gpu":"1","nvidia.com/gpu":"1")"),
            "pods:1: the pod: asks for cards of several vendors; leave one of them");
  EXPECT_EQ(Why(R"("nvidia.com/gpu":"\u00071")"),
            "pods:1: container c: nvidia.com/gpu: \"?1\" is no quantity; write 2, 500m or 4096Mi");
  // Templates write 0 for the vendors that are not wanted.
  EXPECT_EQ(Ask(R"("amd.com/gpu":"0","nvidia.com/gpu":"1")"), "1 x 1000 of -1");
}

TEST(VolcanoCards, PodGroupsShareTheirMinimumOut) {
  const auto member = [](int members, const std::string& resources) {
    const Trace t = Parsed(
        ParseVolcano, {{"jobs", R"({"apiVersion":"scheduling.volcano.sh/v1beta1","kind":"PodGroup",
              "metadata":{"name":"g","namespace":"a"},"spec":{"minMember":)" +
                                    std::to_string(members) + R"(,"minResources":{)" + resources +
                                    R"(}},"status":{"phase":"Inqueue"}})"}});
    Task task = t.tasks.at(0);
    EXPECT_EQ(task.replicas, members);
    EXPECT_TRUE(task.extra.starts_with(R"({"min_resources":{)")) << task.extra;
    task.extra.erase(0, task.extra.find('}') + 1);  // what follows them
    return Text(task);
  };
  EXPECT_EQ(member(4, R"("volcano.sh/vgpu-number":"8","volcano.sh/vgpu-memory":"32k",
                        "volcano.sh/vgpu-cores":"100")"),
            "2 x 250 of 8000 }");
  EXPECT_EQ(member(2, R"("metax-tech.com/sgpu":"2","metax-tech.com/vmemory":"8Gi",
                        "metax-tech.com/vcore":"120")"),
            "1 x 600 of 4096 }")
      << "with a suffix it is bytes";
  EXPECT_EQ(member(2, R"("nvidia.com/gpu":"2","nvidia.com/gpumem-percentage":"100")"),
            R"(1 x 500 of -1 ,"gpu_mem_percent":"50"})");
  EXPECT_EQ(member(3, R"("gpu-h20":"24")"), "8 x 1000 of -1 on H20 }");
}

}  // namespace
}  // namespace basalt::trace
