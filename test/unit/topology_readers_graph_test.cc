// The capacity graph itself: what is valid, what it answers, the constants.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "topology/graph.h"

namespace basalt::topology {
namespace {

using testing::HasSubstr;

Vertex Make(VertexKind kind, std::string name) {
  Vertex out;
  out.kind = kind;
  out.name = std::move(name);
  return out;
}

// Two cards under a switch under a NUMA node, two more under another; NVLink 0-1, NVSwitch 2-3.
MachineGraph Sample() {
  MachineGraph g;
  for (int i = 0; i < 4; ++i) {
    g.vertices.push_back(Make(VertexKind::kCard, "GPU" + std::to_string(i)));
  }
  g.vertices[0].uuid = "GPU-AB12";
  g.vertices[1].pci = "0000:4f:00.0";
  g.vertices.push_back(Make(VertexKind::kPcieSwitch, "pcie0"));  // 4
  g.vertices.push_back(Make(VertexKind::kNuma, "numa0"));        // 5
  g.vertices.push_back(Make(VertexKind::kNuma, "numa1"));        // 6
  g.vertices.push_back(Make(VertexKind::kFabricSwitch, "nvs"));  // 7
  g.vertices.push_back(Make(VertexKind::kNic, "mlx5_0"));        // 8
  g.links = {{0, 1, LinkKind::kFabric, 2, 40000},  {0, 4, LinkKind::kPcie, 1, 24000},
             {1, 4, LinkKind::kPcie, 1, 24000},    {2, 6, LinkKind::kPcie, 1, 24000},
             {2, 7, LinkKind::kFabric, 6, 120000}, {3, 6, LinkKind::kPcie, 1, 24000},
             {3, 7, LinkKind::kFabric, 6, 120000}, {4, 5, LinkKind::kPcie, 1, 24000},
             {4, 8, LinkKind::kPcie, 1, 24000},    {5, 6, LinkKind::kSocket, 1, 10000}};
  return g;
}

std::string Fault(const MachineGraph& g) {
  const Status status = ValidateGraph(g, "here");
  return status ? "" : status.error().ToString();
}

TEST(Graph, Answers) {
  const MachineGraph g = Sample();
  EXPECT_EQ(Fault(g), "");
  EXPECT_EQ(g.cards(), 4);
  EXPECT_THAT(g.Of(VertexKind::kNuma), testing::ElementsAre(5, 6));
  EXPECT_EQ(g.FindCard("gpu-ab12"), 0);
  EXPECT_EQ(g.FindCard("00000000:4F:00.0"), 1);
  EXPECT_EQ(g.FindCard("4f:00.0"), 1);
  EXPECT_EQ(g.FindCard(""), -1);
  EXPECT_EQ(g.FindCard("0001:4f:00.0"), -1);
  EXPECT_EQ(g.DirectFabric()(0, 1), 40000);
  EXPECT_EQ(g.DirectFabric()(1, 0), 40000);
  EXPECT_EQ(g.DirectFabric().sum(), 80000);
  EXPECT_EQ(g.SwitchedFabric()(2), 120000);
  EXPECT_EQ(g.SwitchedFabric().sum(), 240000);
}

TEST(Graph, Peers) {
  MachineGraph g = Sample();
  EXPECT_EQ(g.PeerToPeer(0, 2), P2p::kUnknown);
  EXPECT_TRUE(g.CanPeer(0, 2));
  g.p2p_by_default = false;
  EXPECT_FALSE(g.CanPeer(0, 2));
  EXPECT_TRUE(g.CanPeer(1, 1));
  EXPECT_TRUE(g.CanPeer(1, 0));  // a link
  EXPECT_TRUE(g.CanPeer(3, 2));  // a switch
  g.p2p.assign(16, P2p::kNo);
  g.p2p[0 * 4 + 2] = g.p2p[2 * 4 + 0] = P2p::kYes;
  EXPECT_EQ(Fault(g), "");
  EXPECT_TRUE(g.CanPeer(0, 2));
  EXPECT_FALSE(g.CanPeer(1, 2));
  EXPECT_EQ(g.PeerToPeer(3, 3), P2p::kYes);
}

TEST(Graph, RefusesWhatReadersMustNotMake) {
  const auto fault = [](auto change) {
    MachineGraph g = Sample();
    change(g);
    return Fault(g);
  };
  EXPECT_THAT(fault([](auto& g) { std::swap(g.vertices[3], g.vertices[4]); }),
              HasSubstr("here: the cards must come first"));
  EXPECT_THAT(fault([](auto& g) { std::swap(g.links[0], g.links[1]); }), HasSubstr("out of order"));
  EXPECT_THAT(fault([](auto& g) { g.links.push_back(g.links.back()); }), HasSubstr("there twice"));
  EXPECT_THAT(fault([](auto& g) { std::swap(g.links[0].a, g.links[0].b); }),
              HasSubstr("lower one first"));
  EXPECT_THAT(fault([](auto& g) { g.links[0].b = 99; }), HasSubstr("9 vertices"));
  EXPECT_THAT(fault([](auto& g) { g.links[0].mbps = 0; }), HasSubstr("GPU0-GPU1"));
  EXPECT_THAT(fault([](auto& g) { g.links[0].count = -1; }), HasSubstr("positive"));
  EXPECT_THAT(fault([](auto& g) {
                g.links[2] = {1, 5, LinkKind::kPcie, 1, 9},
                g.links.insert(g.links.begin() + 2, {1, 4, LinkKind::kPcie, 1, 9});
              }),
              HasSubstr("closes a circle"));
  EXPECT_THAT(fault([](auto& g) { g.links.back().kind = LinkKind::kPcie; }),
              HasSubstr("in one PCIe tree"));
  EXPECT_THAT(fault([](auto& g) { g.links[1].kind = LinkKind::kSocket; }),
              HasSubstr("cannot have a link of this kind"));
  EXPECT_THAT(fault([](auto& g) { g.p2p.resize(3); }), HasSubstr("3 cells for 4 cards"));
  EXPECT_THAT(fault([](auto& g) {
                g.p2p.resize(16);
                g.p2p[1] = P2p::kNo;
              }),
              HasSubstr("differs by direction"));
  EXPECT_THAT(fault([](auto& g) { g.vertices[2].pci = g.vertices[1].pci; }),
              HasSubstr("two cards at 0000:4f:00.0"));
  EXPECT_THAT(fault([](auto& g) { g.measured.push_back({CardSet::Of(5), 0, 10}); }),
              HasSubstr("measured"));
  EXPECT_THAT(fault([](auto& g) { g.measured.push_back({CardSet(), 5, 10}); }),
              HasSubstr("measured"));
  EXPECT_EQ(fault([](auto& g) { g.measured.push_back({CardSet(), 4, 10}); }), "");
  EXPECT_THAT(fault([](auto& g) {
                g.links.clear();
                g.vertices.assign(65, Make(VertexKind::kCard, "c"));
              }),
              HasSubstr("65 cards"));
}

TEST(Graph, Constants) {
  EXPECT_EQ(NvlinkMbps(70), 20000);
  EXPECT_EQ(NvlinkMbps(90), 20600);
  EXPECT_EQ(NvlinkMbps(89), 12000);  // the nearest older one
  EXPECT_EQ(NvlinkMbps(120), 40100);
  EXPECT_EQ(NvlinkMbps(0), 20000);
  EXPECT_EQ(PcieMbps(2.5, 16), 3000);
  EXPECT_EQ(PcieMbps(8, 16), 12000);
  EXPECT_EQ(PcieMbps(16, 8), 12000);
  EXPECT_EQ(PcieMbps(64, 16), 96000);
  EXPECT_EQ(PcieMbps(3, 16), 0);
}

}  // namespace
}  // namespace basalt::topology
