// Cards that ResourceSlices tell: asked for by claims, placed with their devices named, held by
// what claims were allocated; and network tiers from node labels.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "test/support/resource_slices.h"
#include "test/support/service_bed.h"

namespace basalt {
namespace {

using support::Bed;
using support::UidOf;
using testing::HasSubstr;

namespace pb = placement::v1;

constexpr const char* kDriver = "gpu.nvidia.com";

pb::Delta SlicedNode(const std::string& name, const std::string& devices) {
  pb::Delta delta;
  pb::NodeResources* node = delta.mutable_node()->mutable_kubernetes();
  node->set_name(name);
  (*node->mutable_allocatable())["cpu"] = "64";
  (*node->mutable_allocatable())["memory"] = "256Gi";
  if (!devices.empty()) node->add_resource_slices(support::SliceSpec(devices));
  return delta;
}

pb::PodRequest Claiming(std::uint64_t uid, int count, const std::string& profile = "") {
  pb::PodRequest pod;
  pod.mutable_pod()->set_uid(UidOf(uid));
  pb::PodResources* resources = pod.mutable_ask()->mutable_pod();
  resources->set_name("pod");
  resources->add_containers()->set_name("c");
  if (count > 0) {
    resources->mutable_claimed()->set_driver(kDriver);
    resources->mutable_claimed()->set_count(count);
    resources->mutable_claimed()->set_mig_profile(profile);
  }
  return pod;
}

pb::Delta Has(std::uint64_t uid, const std::vector<std::string>& devices) {
  pb::Delta delta;
  pb::PodState* pod = delta.mutable_pod();
  *pod->mutable_pod() = Claiming(uid, 0).pod();
  *pod->mutable_ask() = Claiming(uid, 0).ask();
  pod->set_node("n1");
  pod->set_phase("Running");
  for (const std::string& name : devices) {
    pb::Device* device = pod->add_devices();
    device->set_driver(kDriver);
    device->set_pool("n1");
    device->set_device(name);
  }
  return delta;
}

std::string TwoCards() {
  return support::GpuDevice(0, "NVIDIA A30", "24Gi") + ',' +
         support::GpuDevice(1, "NVIDIA A30", "24Gi");
}

TEST(ServiceClaims, APlaceNamesItsDevices) {
  Bed bed;
  bed.List({SlicedNode("n1", TwoCards())});
  // Somebody else's claim has gpu-0.
  EXPECT_EQ(bed.Tell({Has(1, {"gpu-0"})}).rejected_size(), 0);
  const auto got = bed.Reserve(Claiming(2, 1));
  ASSERT_TRUE(got.ok());
  ASSERT_TRUE(got.body.has_lease()) << got.body.pod().reason();
  const pb::Place& place = got.body.pod().placement();
  ASSERT_EQ(place.devices_size(), 1);
  EXPECT_EQ(place.devices(0).device(), "gpu-1");
  EXPECT_EQ(place.devices(0).pool(), "n1");
  EXPECT_EQ(place.devices(0).driver(), kDriver);
  EXPECT_EQ(bed.Confirm(got.body.lease()), pb::LEASE_ANSWER_OK);
  // The pod is seen with what it holds: nothing changes.
  const std::string digest = bed.service().StateDigest();
  EXPECT_EQ(bed.Tell({Has(2, {"gpu-1"})}).rejected_size(), 0);
  EXPECT_EQ(bed.service().StateDigest(), digest);
  // All is held; a device plugin's pod does not get there when it is free, either.
  EXPECT_EQ(bed.Propose(Claiming(3, 1)).kind(), pb::OUTCOME_KIND_WAIT);
  EXPECT_EQ(bed.Tell({support::GoneDelta(1), support::GoneDelta(2)}).rejected_size(), 0);
  EXPECT_EQ(bed.Propose(Claiming(3, 2)).kind(), pb::OUTCOME_KIND_PLACED);
  pb::PodRequest plugin = Claiming(4, 0);
  (*plugin.mutable_ask()
        ->mutable_pod()
        ->mutable_containers(0)
        ->mutable_limits())["nvidia.com/gpu"] = "1";
  EXPECT_EQ(bed.Propose(plugin).kind(), pb::OUTCOME_KIND_INFEASIBLE);
  EXPECT_TRUE(bed.engine().Audit().has_value());
}

// Two pods share a claim: the first holds its devices; when it ends the second is told with them.
TEST(ServiceClaims, AHolderTakesOver) {
  Bed bed;
  bed.List({SlicedNode("n1", TwoCards())});
  EXPECT_EQ(bed.Tell({Has(1, {"gpu-0"}), Has(2, {})}).rejected_size(), 0);
  EXPECT_EQ(bed.Propose(Claiming(9, 2)).kind(), pb::OUTCOME_KIND_WAIT);
  EXPECT_EQ(bed.Propose(Claiming(9, 1)).placement().devices(0).device(), "gpu-1");
  EXPECT_EQ(bed.Tell({Has(2, {"gpu-0"}), support::GoneDelta(1)}).rejected_size(), 0);
  EXPECT_EQ(bed.Propose(Claiming(9, 2)).kind(), pb::OUTCOME_KIND_WAIT);
  EXPECT_EQ(bed.Propose(Claiming(9, 1)).placement().devices(0).device(), "gpu-1");
  EXPECT_EQ(bed.Tell({support::GoneDelta(2)}).rejected_size(), 0);
  EXPECT_EQ(bed.Propose(Claiming(9, 2)).kind(), pb::OUTCOME_KIND_PLACED);
}

TEST(ServiceClaims, InstancesOfACardThatIsCut) {
  Bed bed;
  bed.List({SlicedNode("n1", support::CutCard(0))});
  // Memory slices 0 to 3 are somebody's: a 3g.40gb has the other half, and then nothing fits.
  EXPECT_EQ(bed.Tell({Has(1, {"gpu-0-mig-3g-40gb-0"})}).rejected_size(), 0);
  EXPECT_EQ(bed.Propose(Claiming(8, 1)).kind(), pb::OUTCOME_KIND_WAIT);  // the whole card
  const auto half = bed.Reserve(Claiming(2, 1, "3g.40gb"));
  ASSERT_TRUE(half.body.has_lease()) << half.body.pod().reason();
  ASSERT_EQ(half.body.pod().placement().devices_size(), 1);
  EXPECT_EQ(half.body.pod().placement().devices(0).device(), "gpu-0-mig-3g-40gb-4");
  EXPECT_EQ(bed.Propose(Claiming(3, 1, "1g.10gb")).kind(), pb::OUTCOME_KIND_WAIT);
  EXPECT_EQ(bed.Release(half.body.lease()), pb::LEASE_ANSWER_OK);
  EXPECT_EQ(bed.Tell({support::GoneDelta(1)}).rejected_size(), 0);
  const pb::Decision whole = bed.Propose(Claiming(8, 1));
  ASSERT_EQ(whole.kind(), pb::OUTCOME_KIND_PLACED) << whole.reason();
  ASSERT_EQ(whole.placement().devices_size(), 1);
  EXPECT_EQ(whole.placement().devices(0).device(), "gpu-0");
  EXPECT_TRUE(bed.engine().Audit().has_value());
}

TEST(ServiceClaims, DevicesThatAreNotThereYetAreRefusedUntilTheyAre) {
  Bed bed;
  bed.List({SlicedNode("n1", "")});
  const pb::SyncResponse early = bed.Tell({Has(1, {"gpu-0"})});
  ASSERT_EQ(early.rejected_size(), 1);
  EXPECT_THAT(early.rejected(0).reason(), HasSubstr("gpu.nvidia.com/n1/gpu-0"));
  EXPECT_EQ(bed.Tell({SlicedNode("n1", TwoCards()), Has(1, {"gpu-0"})}).rejected_size(), 0);
  EXPECT_EQ(bed.Propose(Claiming(9, 2)).kind(), pb::OUTCOME_KIND_WAIT);
}

TEST(ServiceClaims, ALabelIsANetworkTier) {
  service::ClusterConfig config = support::TestCluster();
  config.tier_names = {{1, "clique"}, {2, "leaf"}};
  config.tier_labels = {{1, "nvidia.com/gpu.clique"}};
  Bed bed(config);
  std::vector<pb::Delta> nodes;
  for (int i = 1; i <= 4; ++i) {
    nodes.push_back(
        SlicedNode("n" + std::to_string(i), support::GpuDevice(0, "NVIDIA A30", "24Gi")));
    (*nodes.back()
          .mutable_node()
          ->mutable_kubernetes()
          ->mutable_labels())["nvidia.com/gpu.clique"] = i == 1 ? "x.1" : "x.2";
  }
  bed.List(nodes);
  pb::GangRequest gang;
  gang.mutable_gang()->set_uid(UidOf(50));
  pb::GangTask* task = gang.add_tasks();
  task->set_name("t");
  task->set_min(3);
  *task->mutable_ask() = Claiming(0, 1).ask();
  for (std::uint64_t i = 0; i < 3; ++i) task->add_members()->set_uid(UidOf(51 + i));
  gang.mutable_level()->set_required_name("nvidia.com/gpu.clique");
  const auto got = bed.Reserve(gang);
  ASSERT_TRUE(got.ok());
  ASSERT_EQ(got.body.gang().members_size(), 3) << got.body.gang().reason();
  EXPECT_EQ(got.body.gang().domain(), "x.2");
  for (const auto& member : got.body.gang().members()) {
    EXPECT_NE(member.placement().node(), "n1");
    EXPECT_EQ(member.placement().devices_size(), 1);
  }
  // A synced path wins for the tiers that it has.
  pb::Delta path;
  path.mutable_path()->set_node("n2");
  pb::DomainStep* step = path.mutable_path()->add_network();
  step->set_tier(2);
  step->set_name("leaf0");
  service::Service& s = bed.service();
  pb::SyncOpen open;
  open.set_source("paths");
  open.add_kinds(pb::SYNC_KIND_TOPOLOGY);
  ASSERT_TRUE(s.SyncOpen(bed.caller, open, 900, bed.now()).ok());
  pb::SyncDeltas deltas;
  deltas.set_generation(1);
  *deltas.add_deltas() = path;
  ASSERT_TRUE(s.SyncDeltas(deltas, 900, bed.now()).ok());
  const ClusterState& state = bed.engine().state();
  EXPECT_EQ(state.network(state.FindNode("n2")), (topology::NetworkPath{{1, "x.2"}, {2, "leaf0"}}));
  // A level that no tier is of is bad input.
  gang.mutable_gang()->set_uid(UidOf(60));
  gang.mutable_level()->set_required_name("nvidia.com/gpu.cliq");
  EXPECT_FALSE(bed.Reserve(gang).ok());
}

}  // namespace
}  // namespace basalt
