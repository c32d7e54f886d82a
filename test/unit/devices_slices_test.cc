// ResourceSlices: cards, partitions by counters, what is left out, wiring from PCIe roots; nodes
// made of them; devices of placements and placements of devices.
#include <gmock/gmock.h>

#include "devices/node_resources.h"
#include "devices/resource_slices.h"
#include "test/support/resource_slices.h"
#include "test/unit/devices_test_util.h"
#include "topology/synthetic.h"

namespace basalt::devices {
namespace {

using support::Consumes;
using support::CutCard;
using support::GpuDevice;
using support::MigDevice;
using support::SliceSpec;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr const char* kDriver = "gpu.nvidia.com";

NodeRead MustRead(const std::vector<std::string>& slices,
                  const std::map<std::string, std::string>& annotations = {},
                  const Amounts& capacity = {}) {
  NodeResources node{.name = "n1"};
  node.resource_slices = slices;
  node.annotations = annotations;
  node.capacity = capacity;
  node.allocatable = {{"cpu", "64"}, {"memory", "256Gi"}};
  node.allocatable.insert(capacity.begin(), capacity.end());
  auto read = ReadNode(Cards(), node);
  EXPECT_TRUE(read.has_value()) << read.error().ToString();
  return read ? *read : NodeRead();
}
std::string WhyNot(const std::string& slice) {
  const auto read = ReadResourceSlices(Cards(), {slice});
  EXPECT_FALSE(read.has_value()) << slice;
  return read ? "" : read.error().ToString();
}

TEST(ResourceSlices, CardsAreByNameWithTheirAttributes) {
  const NodeRead read = MustRead({SliceSpec(
      GpuDevice(10, "NVIDIA A30", "24Gi") + ',' +
      GpuDevice(2, "NVIDIA A30", "24Gi", R"(,"taints":[{"key":"x","effect":"NoSchedule"}])"))});
  ASSERT_THAT(read.spec.cards, SizeIs(2));
  EXPECT_EQ(read.spec.cards[0].uuid, "GPU-2");
  EXPECT_EQ(read.spec.cards[1].uuid, "GPU-10");
  EXPECT_EQ(read.spec.cards[0].model, "A30");
  EXPECT_EQ(read.spec.cards[0].memory_mib, 24576);
  EXPECT_EQ(read.spec.cards[0].mode, CardMode::kExclusive);
  EXPECT_TRUE(read.conditions[0].cordoned);
  EXPECT_FALSE(read.conditions[1].cordoned);
  EXPECT_THAT(read.notes, Contains(HasSubstr("GPU-2: has a taint")));
  // Only pods that claim get there.
  EXPECT_THAT(read.spec.taints, ElementsAre("basalt.io/dra"));
  EXPECT_THAT(read.spec.labels, Contains(LabelRequirement{"dra.basalt.io/gpu.nvidia.com", "true"}));
  EXPECT_EQ(read.facts.platforms[0], "dra");
  EXPECT_EQ(read.facts.devices[0].whole, (DeviceName{kDriver, "n1", "gpu-2"}));
}

TEST(ResourceSlices, PartitionsAreMigProfilesByTheirCounters) {
  const NodeRead read = MustRead({SliceSpec(CutCard(0))});
  ASSERT_THAT(read.spec.cards, SizeIs(1));
  EXPECT_EQ(read.spec.cards[0].mode, CardMode::kMig);
  EXPECT_EQ(read.spec.cards[0].model, "A100-80G");
  const CardDevices& devices = read.facts.devices[0];
  EXPECT_THAT(devices.instances, SizeIs(9));
  EXPECT_THAT(devices.others, IsEmpty());
  EXPECT_THAT(devices.instances, Contains(DeviceInstance{"3g.40gb", 4, "gpu-0-mig-3g-40gb-4"}));
  // There and back: an instance, and the whole card.
  const std::vector<CardSpec>& cards = read.spec.cards;
  for (const char* name : {"gpu-0-mig-3g-40gb-4", "gpu-0-mig-1g-10gb-6", "gpu-0"}) {
    const DeviceName device{kDriver, "n1", name};
    const auto slices = SlicesOfDevices(Cards(), read.facts.devices, {}, cards, {device});
    ASSERT_TRUE(slices.has_value()) << slices.error().ToString();
    ASSERT_THAT(*slices, SizeIs(1));
    const bool whole = device.device == "gpu-0";
    EXPECT_THAT(*DevicesOf(read.facts.devices, cards, Cards(), *slices, whole),
                ElementsAre(device));
    const MigProfile& profile =
        FindModel(Cards(), "A100-80G")
            ->rules.mig[static_cast<std::size_t>(slices->front().mig_profile)];
    EXPECT_EQ(profile.name, whole                                           ? "7g.80gb"
                            : device.device.find("3g") != std::string::npos ? "3g.40gb"
                                                                            : "1g.10gb");
    EXPECT_EQ(slices->front().mig_start, whole ? 0 : profile.size == 4 ? 4 : 6);
  }
}

TEST(ResourceSlices, WhatCannotBeSaidIsNotUsed) {
  const NodeRead read = MustRead({SliceSpec(
      GpuDevice(0, "NVIDIA A100-SXM4-80GB", "80Gi", Consumes(0, 0, 8)) + ',' +
      MigDevice(0, "1g.10gb", 3, 1) + ',' + MigDevice(0, "9g.90gb", 0, 1) +
      ',' +                                  // no such profile
      MigDevice(0, "3g.40gb", 2, 4) + ',' +  // no such place
      MigDevice(0, "1g.20gb", 0, 1) + ',' +  // too few slices
      MigDevice(0, "1g.10gb", 5, 1, "partition") + ',' + MigDevice(7, "1g.10gb", 0, 1))});
  ASSERT_THAT(read.facts.devices, SizeIs(1));
  EXPECT_THAT(read.facts.devices[0].instances, SizeIs(1));
  EXPECT_THAT(read.facts.devices[0].others, SizeIs(4));
  EXPECT_THAT(read.notes, Contains(HasSubstr("no MIG profile \"9g.90gb\"")));
  EXPECT_THAT(read.notes, Contains(HasSubstr("memory slices are not those of 3g.40gb")));
  EXPECT_THAT(read.notes, Contains(HasSubstr("a part of a card that is not published")));
  const DeviceName other{kDriver, "n1", "gpu-0-mig-3g-40gb-2"};
  // Whoever has one of them has the card; one of no card has nothing.
  const auto taken =
      SlicesOfDevices(Cards(), read.facts.devices, read.facts.left_out, read.spec.cards,
                      {other, {kDriver, "n1", "gpu-7-mig-1g-10gb-0"}});
  ASSERT_TRUE(taken.has_value()) << taken.error().ToString();
  ASSERT_THAT(*taken, SizeIs(1));
  EXPECT_EQ(taken->front().milli, kWholeCard);
  EXPECT_FALSE(
      SlicesOfDevices(Cards(), read.facts.devices, {}, read.spec.cards, {{kDriver, "n1", "gpu-99"}})
          .has_value());
}

TEST(ResourceSlices, SharedDevicesAndOtherDriversAreLeftOut) {
  const NodeRead read = MustRead(
      {SliceSpec(GpuDevice(0, "NVIDIA A30", "24Gi", R"(,"allowMultipleAllocations":true)")),
       SliceSpec(R"({"name":"nic-0"})", "nic.example.com")});
  EXPECT_THAT(read.spec.cards, IsEmpty());
  EXPECT_THAT(read.spec.taints, IsEmpty());
  EXPECT_THAT(read.notes, ElementsAre(HasSubstr("consumable capacity")));
}

TEST(ResourceSlices, OfAPluginAndADriverOneCounts) {
  const std::string slice = SliceSpec(GpuDevice(0, "NVIDIA A30", "24Gi"));
  const std::string registered = "GPU-0,10,24576,100,NVIDIA A30,0,true,0,hami-core:";
  const NodeRead plugin = MustRead({slice}, {{"hami.io/node-nvidia-register", registered}});
  ASSERT_THAT(plugin.spec.cards, SizeIs(1));
  EXPECT_EQ(plugin.facts.platforms[0], "hami");
  EXPECT_THAT(plugin.facts.devices, IsEmpty());
  EXPECT_THAT(plugin.notes, Contains(HasSubstr("ResourceSlices are not used")));
  const NodeRead counted = MustRead({slice}, {}, {{"nvidia.com/gpu", "1"}});
  ASSERT_THAT(counted.spec.cards, SizeIs(1));
  EXPECT_EQ(counted.facts.platforms[0], "dra");
  EXPECT_THAT(counted.notes, Contains(HasSubstr("nvidia.com/gpu is not used")));
}

TEST(ResourceSlices, PcieRootsAndNumaNodesWireTheMachine) {
  const auto rooted = [](int card, const std::string& root, int numa) {
    std::string device = GpuDevice(card, "NVIDIA L40S", "46068Mi");
    const std::string more = R"("resource.kubernetes.io/pcieRoot":{"string":")" + root +
                             R"("},"resource.kubernetes.io/numaNode":{"int":)" +
                             std::to_string(numa) + "},";
    return device.insert(device.find(R"("type")"), more);
  };
  const NodeRead read =
      MustRead({SliceSpec(rooted(0, "pci0000:15", 0) + ',' + rooted(1, "pci0000:15", 0) + ',' +
                          rooted(2, "pci0000:97", 1))});
  EXPECT_EQ(read.spec.cards[2].numa, 1);
  EXPECT_EQ(read.spec.numa_nodes, 2);
  EXPECT_EQ(read.machine_source, "dra");
  const auto graph = topology::ParseGraph(read.spec.machine);
  ASSERT_TRUE(graph.has_value()) << graph.error().ToString();
  EXPECT_EQ(graph->cards(), 3);
  EXPECT_THAT(read.notes, Contains(HasSubstr("links between cards are not told")));
  // An operator's description wins.
  EXPECT_EQ(MustRead({SliceSpec(rooted(0, "a", 0) + ',' + rooted(1, "a", 0))},
                     {{"basalt.io/machine", "2xL40S"}})
                .machine_source,
            "published");
}

TEST(ResourceSlices, WhatIsNoSliceIsRefusedWhole) {
  EXPECT_THAT(WhyNot("{}"), HasSubstr("resource slice 0: is not a ResourceSlice's spec"));
  EXPECT_THAT(WhyNot("[1"), HasSubstr("is not a ResourceSlice's spec"));
  EXPECT_THAT(WhyNot(SliceSpec("{}")), HasSubstr("a device has no name"));
  const std::string one = GpuDevice(0, "NVIDIA A30", "24Gi");
  EXPECT_THAT(WhyNot(SliceSpec(one + ',' + one)), HasSubstr("gpu-0 is listed twice"));
  EXPECT_THAT(WhyNot(SliceSpec(GpuDevice(0, "NVIDIA A30", "much"))), HasSubstr("gpu-0: memory"));
  EXPECT_THAT(WhyNot(SliceSpec(GpuDevice(0, "A", "1Gi", Consumes(0, 0, 1)) + ',' +
                               GpuDevice(1, "A", "1Gi", Consumes(0, 1, 1)))),
              HasSubstr("another whole card takes counters"));
  EXPECT_THAT(WhyNot(SliceSpec(R"({"name":"g","attributes":{"uuid":{"string":"a,b"}}})")),
              HasSubstr("no clean UUID"));
}

TEST(ClaimedCards, BecomeARequest) {
  PodResources pod{.name = "p", .containers = {{.name = "c"}, {.name = "d"}}};
  pod.claimed = {.driver = kDriver, .count = 2, .products = {"NVIDIA A30", "NVIDIA New"}};
  auto read = ReadRequest(Cards(), pod);
  ASSERT_TRUE(read.has_value()) << read.error().ToString();
  EXPECT_EQ(read->spec.gpus, 2);
  EXPECT_EQ(read->spec.gpu_milli, kWholeCard);
  EXPECT_THAT(read->spec.models, ElementsAre("A30", "NVIDIA New"));
  EXPECT_THAT(read->spec.tolerations, ElementsAre("basalt.io/dra"));
  EXPECT_THAT(read->spec.node_selector,
              ElementsAre(LabelRequirement{"dra.basalt.io/gpu.nvidia.com", "true"}));
  pod.claimed = {.driver = kDriver, .count = 1, .mig_profile = "1g.10gb", .uuids = {"GPU-0"}};
  read = ReadRequest(Cards(), pod);
  ASSERT_TRUE(read.has_value()) << read.error().ToString();
  EXPECT_EQ(read->spec.mig_profile, "1g.10gb");
  EXPECT_EQ(read->spec.gpu_milli, 0);
  EXPECT_THAT(read->spec.use_uuids, ElementsAre("GPU-0"));
  pod.containers[0].limits = {{"nvidia.com/gpu", "1"}};
  EXPECT_THAT(ReadRequest(Cards(), pod).error().ToString(), HasSubstr("use one"));
  pod.containers[0].limits.clear();
  pod.claimed.driver = "nic.example.com";
  EXPECT_THAT(ReadRequest(Cards(), pod).error().ToString(), HasSubstr("unknown driver"));
}

}  // namespace
}  // namespace basalt::devices
