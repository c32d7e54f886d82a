// Which cards the importer k8s finds on nodes: the registers of all device plugins (HAMi v2.4 ..
// v2.10, Volcano, MetaX, Enflame), capacities and labels.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "test/unit/traces_import_util.h"
#include "test/unit/traces_kube_util.h"
#include "traces/k8s.h"

namespace basalt::trace {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;
using Notes = std::map<std::string, std::string>;

std::string NodeOf(const Notes& annotations, const Notes& labels, const std::string& allocatable) {
  return NodeWith(",\"annotations\":" + nlohmann::json(annotations).dump() +
                      ",\"labels\":" + nlohmann::json(labels).dump(),
                  allocatable);
}
Trace Import(const Notes& annotations, const std::string& allocatable = R"("cpu":"1")",
             const Notes& labels = {}) {
  return Parsed(ParseK8s, {{"nodes", NodeOf(annotations, labels, allocatable)}});
}
// "A30 x 1 of 24576"
std::string Cards(const Trace& t) {
  const Node& n = t.nodes.at(0);
  return n.model + " x " + std::to_string(n.gpu_count) + " of " + std::to_string(n.gpu_mem_mib);
}
std::string Registered(const std::string& key, const std::string& text) {
  return Cards(Import({{key, text}}));
}
std::string Why(const std::string& key, const std::string& text) {
  return Fault(ParseK8s, {{"nodes", NodeOf({{key, text}}, {}, "")}});
}

TEST(K8sNodes, TextRegisters) {
  // Nine fields; the second card is not healthy.
  const Trace t = Import({{"hami.io/node-nvidia-register",
                           "GPU-1,10,24576,100,NVIDIA A30,0,true,0,hami-core:"
                           "GPU-2,10,24576,100,NVIDIA A30,1,false,1,mig:"}},
                         R"("cpu":"1","nvidia.com/gpu":"10")");
  EXPECT_EQ(Cards(t), "A30 x 1 of 24576");
  EXPECT_THAT(t.manifest.notes,
              Contains(HasSubstr("1 registered card is not healthy: they are not counted")));
  EXPECT_EQ(t.nodes[0].extra, "");
  // Seven.
  EXPECT_EQ(Registered("hami.io/node-dcu-register",
                       "DCU-1,4,32768,100,DCU-Z100,0,true:DCU-2,4,32768,100,DCU-Z100,0,true:"),
            "Z100 x 2 of 32768");
  EXPECT_EQ(Registered("hami.io/node-mlu-register", "MLU-1,10,23308,0,MLU-MLU370-X4,0,false:"),
            " x 0 of -1");
  EXPECT_EQ(Registered("hami.io/node-MR-V100-register", "u,10,32768,100,MR-V100,0,true:"),
            "MR-V100 x 1 of 32768");
  EXPECT_EQ(Registered("hami.io/node-nvidia-register",
                       "GPU-a,10,24576,100,NVIDIA-NVIDIA GeForce RTX 3090,0,true,0,hami-core:"),
            "RTX3090 x 1 of 24576");
  EXPECT_EQ(Registered("hami.io/node-nvidia-register", ""), " x 0 of -1");
}

TEST(K8sNodes, JsonRegisters) {
  // Health that is left out means false, an index that is left out 0.
  EXPECT_EQ(
      Registered("hami.io/node-nvidia-register",
                 R"([{"id":"GPU-1","count":10,"devmem":24576,"devcore":100,"type":"NVIDIA A30",
                      "mode":"hami-core","health":true},
                     {"id":"GPU-2","index":1,"count":10,"devmem":24576,"devcore":100,
                      "type":"NVIDIA A30","numa":1,"mode":"hami-core"}])"),
      "A30 x 1 of 24576");
  EXPECT_EQ(Registered("hami.io/node-amd-register",
                       R"([{"id":"a","devmem":196608,"type":"AMD-MI300X","health":true}])"),
            "MI300X x 1 of 196608");
  EXPECT_EQ(Registered("hami.io/node-register-xpu",
                       R"([{"id":"a","devmem":98304,"type":"P800-OAM","health":true}])"),
            "P800 x 1 of 98304");
  EXPECT_EQ(Registered("hami.io/node-nvidia-register", "[]"), " x 0 of -1");
  const Notes ascend = {
      {"hami.io/node-register-Ascend910B3",
       R"([{"id":"a","count":4,"devmem":65536,"devcore":20,"type":"Ascend910B3","health":true}])"}};
  EXPECT_EQ(Cards(Import(ascend, R"("cpu":"1","huawei.com/Ascend910B3":"4")")),
            "Ascend910B3 x 1 of 65536");
  Notes soft = ascend;
  soft["hami-vnpu-core"] = "true";
  EXPECT_EQ(Cards(Import(soft)), "Ascend910B3-soft x 1 of 65536");
}

TEST(K8sNodes, RegistersOfOtherPlugins) {
  EXPECT_EQ(Registered("volcano.sh/node-vgpu-register",
                       "GPU-a,10,81920,NVIDIA-H100,true,hami-core:"
                       "GPU-b,10,81920,NVIDIA-H100,false,hami-core:"),
            "H100 x 1 of 81920");
  EXPECT_EQ(Registered("volcano.sh/node-vgpu-register", "GPU-a,10,81920,NVIDIA-H100,true:"),
            "H100 x 1 of 81920");
  EXPECT_EQ(Registered("metax-tech.com/node-gpu-devices",
                       R"([{"uuid":"G-1","bdf":"0000:01:00.0","model":"MXC500","totalDevCount":4,
                            "totalCompute":100,"totalVRam":65536,"numa":0,"healthy":true,
                            "qosPolicy":"best-effort","linkZone":1},
                           {"uuid":"G-2","model":"MXC500","totalVRam":65536,"healthy":false}])"),
            "C500 x 1 of 65536");
  const Trace enflame = Import({{"enflame.com/gcu-drs-capacity",
                                 R"({"devices":[{"index":0,"minor":0,"capacity":4},
                                                {"index":1,"minor":1,"capacity":4}],
                                     "profiles":{"1g.12gb":"7"}})"}});
  EXPECT_EQ(Cards(enflame), "enflame x 2 of -1");
  EXPECT_THAT(enflame.manifest.notes, Contains(HasSubstr("no model of its cards")));
}

TEST(K8sNodes, SeveralRegisters) {
  const Trace t = Import({{"hami.io/node-nvidia-register", "a,10,24576,100,NVIDIA A30,0,true:"},
                          {"hami.io/node-dcu-register", "b,4,32768,100,DCU-Z100,0,true:"}});
  EXPECT_EQ(t.nodes[0].gpu_count, 2);
  EXPECT_EQ(t.nodes[0].gpu_mem_mib, 24'576) << "the smallest";
  EXPECT_THAT(t.manifest.notes, Contains(HasSubstr("cards of several models or sizes")));
  // A node is HAMi's or Volcano's: what the other left behind does not count.
  EXPECT_EQ(Cards(Import({{"hami.io/node-nvidia-register", "a,10,24576,100,NVIDIA A30,0,true:"},
                          {"volcano.sh/node-vgpu-register", "a,10,24576,NVIDIA A30,true,x:"}})),
            "A30 x 1 of 24576");
}

TEST(K8sNodes, RegistersThatCannotBeRead) {
  constexpr char kNvidia[] = "hami.io/node-nvidia-register";
  for (const auto& [key, text] : std::initializer_list<std::pair<const char*, const char*>>{
           {kNvidia, "a,10,24576,100,NVIDIA A30,0,true,0:"},  // eight fields
           {kNvidia, "a,10,24576,100,NVIDIA A30,0,yes:"},     // health
           {kNvidia, "a,10,24GiB,100,NVIDIA A30,0,true:"},    // memory
           {kNvidia, "a,10,24576,100,NVIDIA A30,0,true"},     // no colon
           {kNvidia, "[{\"id\":\"a\"}"},                      // not closed
           {kNvidia, "[3]"},                                  // no object
           {kNvidia, "{}"},                                   // no list
           {"volcano.sh/node-vgpu-register", "a,10,81920,true:"},
           {"metax-tech.com/node-gpu-devices", "a,10,24576,100,C500,0,true:"},
           {"enflame.com/gcu-drs-capacity", R"({"profiles":{}})"}}) {
    EXPECT_EQ(Why(key, text), "nodes:1: \"" + std::string(key) +
                                  "\" is not a device register that is known here; remove the "
                                  "annotation or correct it");
  }
}

TEST(K8sNodes, CapacitiesWithoutARegister) {
  const auto capacity = [](const std::string& allocatable) {
    return Cards(Import({}, R"("cpu":"1",)" + allocatable));
  };
  EXPECT_EQ(capacity(R"("metax-tech.com/gpu":"8")"), "metax x 8 of -1");
  EXPECT_EQ(capacity(R"("kunlunxin.com/xpu":"8")"), "kunlunxin x 8 of -1");
  EXPECT_EQ(capacity(R"("enflame.com/gcu":"4")"), "enflame x 4 of -1");
  EXPECT_EQ(capacity(R"("huawei.com/Ascend910":"8")"), "ascend x 8 of -1");
  EXPECT_EQ(capacity(R"("huawei.com/Ascend310P":"4")"), "Ascend310P x 4 of -1");
  // vcore / 100 cards; vmemory x 256 x 100 / vcore MiB on each.
  EXPECT_EQ(
      capacity(R"("cambricon.com/mlu.smlu.vcore":"400","cambricon.com/mlu.smlu.vmemory":"368")"),
      "cambricon x 4 of 23552");
  // core / 16 cards; memory x 512 x 16 / core MiB on each.
  EXPECT_EQ(capacity(R"("mthreads.com/sgpu-core":"32","mthreads.com/sgpu-memory":"192")"),
            "mthreads x 2 of 49152");
}

TEST(K8sNodes, SharesWithoutARegister) {
  const Trace t = Import({}, R"("cpu":"1","volcano.sh/vgpu-number":"20")");
  EXPECT_EQ(Cards(t), " x 0 of -1");
  EXPECT_EQ(t.nodes[0].extra, R"({"resources":{"volcano.sh/vgpu-number":"20"}})");
  EXPECT_THAT(t.manifest.notes, Contains(HasSubstr("1 node offers shares of cards")));
  EXPECT_THAT(Import({}, R"("cpu":"1","volcano.sh/vgpu-number":"0")").manifest.notes,
              Not(Contains(HasSubstr("offers shares"))));
}

TEST(K8sNodes, LabelsAsTheFeatureDiscoveryWritesThem) {
  for (const auto& [label, model] : std::initializer_list<std::pair<const char*, const char*>>{
           {"NVIDIA-A100-SXM4-80GB", "A100-80G"},
           {"Tesla-V100-SXM2-32GB", "V100M32"},
           {"NVIDIA-H100-80GB-HBM3", "H100"},
           {"NVIDIA-GeForce-RTX-4090", "RTX4090"},
           {"NVIDIA-L99", "NVIDIA-L99"}}) {
    EXPECT_EQ(Cards(Import({}, R"("nvidia.com/gpu":"8")", {{"nvidia.com/gpu.product", label}})),
              std::string(model) + " x 8 of -1");
  }
}

}  // namespace
}  // namespace basalt::trace
