// Registers of device plugins: the reference's vectors, what versions differ in, and what is
// refused.
#include <gmock/gmock.h>

#include "devices/registration.h"
#include "test/unit/devices_test_util.h"

namespace basalt::devices {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr const char* kNvidia = "hami.io/node-nvidia-register";

Register MustRegister(const std::string& key, const std::string& text) {
  auto read = ReadRegister(key, text, "n1");
  EXPECT_TRUE(read.has_value()) << read.error().ToString();
  return read ? *read : Register();
}
std::string WhyNotRegister(const std::string& key, const std::string& text) {
  const auto read = ReadRegister(key, text, "n1");
  EXPECT_FALSE(read.has_value()) << text;
  return read ? "" : read.error().ToString();
}

TEST(Register, TextOfNineFields) {
  const Register reg = MustRegister(kNvidia,
                                    "GPU-1,10,24576,100,NVIDIA A30,0,true,0,hami-core:"
                                    "GPU-2,10,24576,100,NVIDIA A30,1,false,1,mig:");
  EXPECT_EQ(reg.vendor, "nvidia");
  EXPECT_EQ(reg.platform, "hami");
  EXPECT_EQ(reg.version, HamiVersion::kV2_7);
  ASSERT_THAT(reg.cards, SizeIs(2));
  const RegisteredCard& first = reg.cards[0];
  EXPECT_EQ(first.uuid, "GPU-1");
  EXPECT_EQ(first.type, "NVIDIA A30");
  EXPECT_EQ(first.slots, 10);
  EXPECT_EQ(first.memory_mib, 24576);
  EXPECT_EQ(first.cores, 100);
  EXPECT_EQ(first.numa, 0);
  EXPECT_EQ(first.index, 0);
  EXPECT_EQ(first.mode, "hami-core");
  EXPECT_TRUE(first.healthy);
  EXPECT_FALSE(reg.cards[1].healthy);
  EXPECT_EQ(reg.cards[1].mode, "mig");
  EXPECT_EQ(reg.cards[1].numa, 1);
  EXPECT_EQ(reg.cards[1].index, 1);
}

TEST(Register, TextOfSevenFields) {
  const Register reg =
      MustRegister("hami.io/node-mlu-register", "MLU-1,10,23308,0,MLU-MLU370-X4,0,false:");
  EXPECT_EQ(reg.vendor, "cambricon");
  EXPECT_EQ(reg.version, HamiVersion::kUnknown);
  ASSERT_THAT(reg.cards, SizeIs(1));
  EXPECT_EQ(reg.cards[0].index, 0);
  EXPECT_EQ(reg.cards[0].mode, "hami-core");
  EXPECT_EQ(reg.cards[0].cores, 0);
  EXPECT_FALSE(reg.cards[0].healthy);
}

TEST(Register, JsonLeavesOutZeros) {
  const Register reg = MustRegister(
      kNvidia,
      R"([{"id":"GPU-1","count":10,"devmem":24576,"devcore":100,"type":"NVIDIA A30","mode":"hami-core","health":true},)"
      R"({"id":"GPU-2","index":1,"count":10,"devmem":24576,"devcore":100,"type":"NVIDIA A30","numa":1,"mode":"hami-core"}])");
  EXPECT_EQ(reg.version, HamiVersion::kV2_10);
  ASSERT_THAT(reg.cards, SizeIs(2));
  EXPECT_TRUE(reg.cards[0].healthy);
  EXPECT_EQ(reg.cards[0].index, 0);
  EXPECT_EQ(reg.cards[0].numa, 0);
  EXPECT_FALSE(reg.cards[1].healthy);
  EXPECT_EQ(reg.cards[1].numa, 1);
}

// v2.8.0 writes a member that v2.10.0 does not, v2.10.0 MIG profiles.
TEST(Register, JsonOfTwoVersions) {
  const std::string card =
      R"("id":"GPU-1","count":7,"devmem":40960,"devcore":100,"type":"NVIDIA A100-SXM4-40GB","mode":"mig","health":true)";
  const Register old = MustRegister(kNvidia, "[{" + card + R"(,"devicepairscore":{}}])");
  EXPECT_EQ(old.version, HamiVersion::kV2_8);
  EXPECT_THAT(old.cards.at(0).mig, IsEmpty());
  const Register now = MustRegister(
      kNvidia, "[{" + card +
                   R"(,"migProfiles":[{"name":"2g.10gb","memoryMB":9984,"core":29,"sliceCount":2,)"
                   R"("placements":[{"start":0,"size":2},{"start":2,"size":2}]}],"later":[1]}])");
  EXPECT_EQ(now.version, HamiVersion::kV2_10);
  EXPECT_THAT(now.cards.at(0).mig, ElementsAre(RegisteredMig{"2g.10gb", 9984}));
}

TEST(Register, Volcano) {
  const Register reg =
      MustRegister("volcano.sh/node-vgpu-register",
                   "GPU-a,10,81920,NVIDIA-H100,true,hami-core:GPU-b,10,81920,NVIDIA-H100,false,"
                   "hami-core,more:");
  EXPECT_EQ(reg.platform, "volcano");
  ASSERT_THAT(reg.cards, SizeIs(2));
  EXPECT_EQ(reg.cards[0].memory_mib, 81920);
  EXPECT_EQ(reg.cards[0].index, -1);
  EXPECT_EQ(reg.cards[0].numa, -1);
  EXPECT_EQ(reg.cards[0].cores, 0);
  EXPECT_FALSE(reg.cards[1].healthy);
}

TEST(Register, EveryVendorsKey) {
  const auto of = [](const std::string& key) {
    EXPECT_TRUE(IsRegister(key)) << key;
    const Register reg =
        MustRegister(key, key == "enflame.com/gcu-drs-capacity" ? "{\"devices\":[]}" : "[]");
    return reg.vendor + '/' + reg.word;
  };
  EXPECT_EQ(of("hami.io/node-nvidia-register"), "nvidia/");
  EXPECT_EQ(of("hami.io/node-register-Ascend910B3"), "ascend/Ascend910B3");
  EXPECT_EQ(of("hami.io/node-register-xpu"), "kunlunxin/");
  EXPECT_EQ(of("hami.io/node-dcu-register"), "hygon/");
  EXPECT_EQ(of("hami.io/node-MR-V100-register"), "iluvatar/MR-V100");
  EXPECT_EQ(of("hami.io/node-amd-register"), "amd/");
  EXPECT_EQ(of("hami.io/node-va-register"), "/");
  EXPECT_EQ(of("hami.io/node-biren-register"), "/");
  EXPECT_EQ(of("metax-tech.com/node-gpu-devices"), "metax/");
  EXPECT_EQ(of("enflame.com/gcu-drs-capacity"), "enflame/");
  for (const char* key :
       {"hami.io/node-register-", "hami.io/node--register", "hami.io/node-register",
        "hami.io/node-handshake", "hami.io/node-nvidia-score", ""}) {
    EXPECT_FALSE(IsRegister(key)) << key;
  }
}

TEST(Register, AscendKnowsItsNetworks) {
  const Register reg = MustRegister(
      "hami.io/node-register-Ascend910B3",
      R"([{"id":"npu-0","count":4,"devmem":65536,"devcore":20,"type":"Ascend910B3","health":true,"custominfo":{"NetworkID":0}},)"
      R"({"id":"npu-4","index":4,"count":4,"devmem":65536,"devcore":20,"type":"Ascend910B3","health":true,"custominfo":{"NetworkID":1}},)"
      R"({"id":"npu-5","index":5,"type":"Ascend910B3","health":true,"custominfo":{"AIC":"x"}}])");
  ASSERT_THAT(reg.cards, SizeIs(3));
  EXPECT_EQ(reg.cards[0].group, 0);
  EXPECT_EQ(reg.cards[1].group, 1);
  EXPECT_EQ(reg.cards[2].group, -1);
}

TEST(Register, MetaxHasLinkZones) {
  const Register reg = MustRegister(
      "metax-tech.com/node-gpu-devices",
      R"([{"uuid":"GPU-m0","bdf":"0000:0a:00.0","model":"MXC500","totalDevCount":16,"totalCompute":100,"totalVRam":65536,"availableVRam":1,"numa":1,"healthy":true,"qosPolicy":"burst-share","linkZone":2},)"
      R"({"uuid":"GPU-m1","model":"MXC500","totalDevCount":16,"totalCompute":100,"totalVRam":65536}])");
  ASSERT_THAT(reg.cards, SizeIs(2));
  EXPECT_EQ(reg.cards[0].type, "MXC500");
  EXPECT_EQ(reg.cards[0].slots, 16);
  EXPECT_EQ(reg.cards[0].memory_mib, 65536);
  EXPECT_EQ(reg.cards[0].group, 2);
  EXPECT_EQ(reg.cards[0].numa, 1);
  EXPECT_TRUE(reg.cards[0].healthy);
  EXPECT_EQ(reg.cards[1].group, -1);
  EXPECT_FALSE(reg.cards[1].healthy);
}

TEST(Register, EnflameHasProfilesAndMinors) {
  const Register reg = MustRegister(
      "enflame.com/gcu-drs-capacity",
      R"({"devices":[{"index":"0","minor":"0","capacity":6},{"index":"2","minor":"5","capacity":"6"}],"profiles":{"1g.6gb":"0","3g.20gb":"1","6g.40gb":"2"}})");
  ASSERT_THAT(reg.cards, SizeIs(2));
  EXPECT_EQ(reg.cards[1].uuid, "n1-enflame-drs-2");
  EXPECT_EQ(reg.cards[1].index, 2);
  EXPECT_EQ(reg.cards[1].minor, "5");
  EXPECT_EQ(reg.cards[1].memory_mib, 40 * 1024);
  EXPECT_TRUE(reg.cards[1].healthy);
  EXPECT_EQ(reg.profile_ids.at("3g.20gb"), "1");
  // Numbers will do; a list there must be.
  EXPECT_EQ(MustRegister("enflame.com/gcu-drs-capacity",
                         R"({"devices":[{"index":4,"minor":7,"capacity":4}]})")
                .cards.at(0)
                .minor,
            "7");
  EXPECT_THAT(WhyNotRegister("enflame.com/gcu-drs-capacity", "{}"), HasSubstr("no devices"));
}

TEST(Register, NothingIsNoCards) {
  for (const char* text : {"", " \n", "null", "[]", " [ ] "}) {
    EXPECT_THAT(MustRegister(kNvidia, text).cards, IsEmpty()) << text;
  }
}

TEST(Register, WhatIsRefused) {
  EXPECT_EQ(WhyNotRegister(kNvidia, "nonsense"),
            "hami.io/node-nvidia-register: is neither JSON nor a list of cards that end with ':'");
  EXPECT_THAT(WhyNotRegister(kNvidia, "GPU-1,10,24576,100,A30,0,true,0:"),
              HasSubstr("8 fields, not 7 or 9"));
  EXPECT_THAT(WhyNotRegister(kNvidia, "GPU-1,10,x,100,A30,0,true:"), HasSubstr("devmem"));
  EXPECT_THAT(WhyNotRegister(kNvidia, "GPU-1,10,-1,100,A30,0,true:"), HasSubstr("devmem"));
  EXPECT_THAT(WhyNotRegister(kNvidia, "GPU-1,10,1,100,A30,0,yes:"), HasSubstr("health"));
  EXPECT_THAT(WhyNotRegister(kNvidia, ",10,1,100,A30,0,true:"), HasSubstr("UUID"));
  EXPECT_THAT(WhyNotRegister(kNvidia, "a,1,1,1,A30,0,true:a,1,1,1,A30,0,true:"),
              HasSubstr("a card twice: a"));
  EXPECT_THAT(WhyNotRegister(kNvidia, "[{\"id\":\"a\""), HasSubstr("is not its JSON"));
  EXPECT_THAT(WhyNotRegister(kNvidia, "[3]"), HasSubstr("not an object"));
  EXPECT_THAT(WhyNotRegister(kNvidia, "[{}]"), HasSubstr("without a UUID"));
  EXPECT_THAT(WhyNotRegister(kNvidia, R"([{"id":3}])"), HasSubstr("id is not a text"));
  EXPECT_THAT(WhyNotRegister(kNvidia, R"([{"id":"a\u0001"}])"), HasSubstr("not printable"));
  EXPECT_THAT(WhyNotRegister(kNvidia, R"([{"id":"a","devmem":1.5}])"), HasSubstr("devmem"));
  EXPECT_THAT(WhyNotRegister(kNvidia, R"([{"id":"a","devmem":18446744073709551615}])"),
              HasSubstr("devmem"));
  EXPECT_THAT(WhyNotRegister(kNvidia, R"([{"id":"a","health":"true"}])"), HasSubstr("health"));
  EXPECT_THAT(WhyNotRegister(kNvidia, R"([{"id":"a","migProfiles":{}}])"),
              HasSubstr("migProfiles"));
  EXPECT_THAT(WhyNotRegister("volcano.sh/node-vgpu-register", "GPU-a,10,81920,NVIDIA-H100:"),
              HasSubstr("4 fields, not 6"));
  EXPECT_THAT(WhyNotRegister("enflame.com/gcu-drs-capacity", "[]"), HasSubstr("is not its JSON"));
  EXPECT_THAT(WhyNotRegister("hami.io/node-handshake", "[]"), HasSubstr("no register"));
}

TEST(Register, CapacityCountsWhatNoPluginRegisters) {
  const auto count = [](const Amounts& capacity,
                        const std::map<std::string, std::string>& labels = {},
                        const std::vector<Register>& known = {}) {
    auto read = CountCards(capacity, labels, "n1", known);
    EXPECT_TRUE(read.has_value()) << read.error().ToString();
    return read ? *read : std::vector<Register>();
  };
  const auto mlu =
      count({{"cambricon.com/mlu.smlu.vcore", "200"}, {"cambricon.com/mlu.smlu.vmemory", "192"}});
  ASSERT_THAT(mlu, SizeIs(1));
  ASSERT_THAT(mlu[0].cards, SizeIs(2));
  EXPECT_EQ(mlu[0].cards[1].uuid, "n1-cambricon-mlu-1");
  EXPECT_EQ(mlu[0].cards[1].memory_mib, 192 * 256 / 2);
  EXPECT_TRUE(mlu[0].counted);
  const auto mthreads =
      count({{"mthreads.com/sgpu-core", "32"}, {"mthreads.com/sgpu-memory", "192"}});
  ASSERT_THAT(mthreads.at(0).cards, SizeIs(2));
  EXPECT_EQ(mthreads[0].cards[0].uuid, "n1-mthreads-0");
  EXPECT_EQ(mthreads[0].cards[0].memory_mib, 192 * 512 / 2);
  const auto kunlun = count({{"kunlunxin.com/xpu", "8"}});
  ASSERT_THAT(kunlun.at(0).cards, SizeIs(8));
  EXPECT_EQ(kunlun[0].cards[3].numa, 0);
  EXPECT_EQ(kunlun[0].cards[4].numa, 1);
  EXPECT_EQ(kunlun[0].cards[4].uuid, "n1-kunlun-4");
  EXPECT_EQ(count({{"enflame.com/gcu", "1"}}).at(0).cards.at(0).uuid, "n1-GCU-0");
  EXPECT_EQ(count({{"metax-tech.com/gpu", "1"}}).at(0).cards.at(0).memory_mib, 65536);
  // A vendor that registers is not counted again.
  EXPECT_THAT(
      count({{"kunlunxin.com/xpu", "8"}}, {}, {MustRegister("hami.io/node-register-xpu", "[]")}),
      IsEmpty());
  EXPECT_THAT(count({{"kunlunxin.com/xpu", "0"}, {"cpu", "8"}}), IsEmpty());
}

TEST(Register, VendorsOwnPluginsKnowNoIds) {
  const auto count = [](const std::map<std::string, std::string>& labels) {
    return CountCards({{"nvidia.com/gpu", "8"}}, labels, "n1", {})->at(0);
  };
  const Register whole = count({});
  EXPECT_EQ(whole.platform, "plugin");
  ASSERT_THAT(whole.cards, SizeIs(8));
  EXPECT_EQ(whole.cards[7].uuid, "n1/7");  // as the engine calls cards without a UUID
  EXPECT_EQ(whole.cards[7].slots, 1);
  const Register shared = count({{"nvidia.com/gpu.count", "2"}});
  ASSERT_THAT(shared.cards, SizeIs(2));
  EXPECT_EQ(shared.cards[0].slots, 4);
  EXPECT_THAT(count({{"nvidia.com/gpu.count", "many"}}).cards, SizeIs(8));
}

TEST(Register, CapacityThatIsNone) {
  const auto why = [](const std::string& quantity) {
    const auto read = CountCards({{"nvidia.com/gpu", quantity}}, {}, "n1", {});
    return read ? "" : read.error().ToString();
  };
  EXPECT_EQ(why("65"), "nvidia.com/gpu: counts 65 cards; a node has at most 64");
  EXPECT_THAT(why("x"), HasSubstr("nvidia.com/gpu"));
  EXPECT_THAT(why("1e12"), HasSubstr("is too much"));
}

TEST(Register, TypesAreTheCatalogsModels) {
  const auto model = [](const std::string& type) {
    const CardModel* found = ModelOfType(Cards(), type);
    return found == nullptr ? std::string("none") : found->name;
  };
  EXPECT_EQ(model("NVIDIA A30"), "A30");
  EXPECT_EQ(model("NVIDIA-NVIDIA A30"), "A30");  // plugins before v2.8
  EXPECT_EQ(model("NVIDIA-Tesla V100-SXM2-32GB"), "V100M32");
  EXPECT_EQ(model("NVIDIA-A100-SXM4-80GB"), "A100-80G");  // as node labels write it
  EXPECT_EQ(model("Ascend910B3"), "Ascend910B3");
  EXPECT_EQ(model("MLU-MLU370-X4"), "MLU370-X4");
  EXPECT_EQ(model("DCU-K100_AI"), "K100-AI");
  EXPECT_EQ(model("MXC500"), "C500");
  EXPECT_EQ(model("Voodoo 2"), "none");
}

}  // namespace
}  // namespace basalt::devices
