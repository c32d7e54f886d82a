// Descriptions: what they say, that they survive being written and read, and what is refused where.
#include <gtest/gtest.h>

#include "test/unit/topology_bandwidth_test_util.h"
#include "topology/files/catalog.h"

namespace basalt::topology {
namespace {

TEST(Synthetic, ShortForms) {
  const MachineGraph v100 = MustParse("8xV100 link=0-1:nv2,1..3-1..3:nv1,4..7-f0+1:nv3");
  EXPECT_EQ(v100.cards(), 8);
  EXPECT_EQ(v100.vendor, "NVIDIA");
  EXPECT_EQ(v100.fabric, "NVLink");
  EXPECT_EQ(v100.sm, 70);
  EXPECT_TRUE(v100.p2p_by_default);
  EXPECT_FALSE(MustParse("2xRTX4090").p2p_by_default);
  EXPECT_EQ(FormatGraph(MustParse("4xH100 link=0..3-f0:nv18")),
            "4 vendor=NVIDIA fabric=NVLink sm=90 link=0..3-f0:18*20600");
  EXPECT_EQ(FormatGraph(MustParse(" 4  pcie=0..3-n0:gen4,i0-n0:gen5x8 nics=50000\n")),
            "4 pcie=0..3-n0:24000,n0-i0:24000 nics=50000");
  EXPECT_EQ(FormatGraph(MustParse("1")), "1");
}

TEST(Synthetic, SaysWhatTheGraphHas) {
  const MachineGraph g = MustParse(
      "4 fabric=a%20b sm=80 nvls p2p-unknown=no p2p-no=0-1..3 link=0-1:3/50001 "
      "pcie=0+1-s0:12000,s0-h0:12000,h0-n1:24000,2-n0:24000 socket=n0-n1:6000 nics=12500,0*2 "
      "numa=1,1,0,? numa-ids=4,9 measured=k2:11,0+2:12 with=n2,f1");
  EXPECT_EQ(g.fabric, "a b");
  EXPECT_TRUE(g.in_network_reduction);
  EXPECT_EQ(g.PeerToPeer(0, 3), P2p::kNo);
  EXPECT_EQ(g.PeerToPeer(1, 2), P2p::kUnknown);
  EXPECT_EQ(g.DirectFabric()(0, 1), 50001);
  EXPECT_EQ(g.Of(VertexKind::kNuma).size(), 2U);
  EXPECT_EQ(g.Of(VertexKind::kFabricSwitch).size(), 1U);
  EXPECT_EQ(g.Of(VertexKind::kNic).size(), 3U);
  EXPECT_EQ(g.vertices[0].numa, 1);
  EXPECT_EQ(g.vertices[3].numa, -1);
  ASSERT_EQ(g.measured.size(), 2U);
  EXPECT_EQ(g.measured[1].cards, CardSet(0b101));
  const std::string text = FormatGraph(g);
  EXPECT_EQ(FormatGraph(MustParse(text)), text);
}

TEST(Synthetic, NumaFollowsTheTreeUnlessSaid) {
  const std::string tree = "2 pcie=0-s0:1000,s0-n0:1000,1-n1:1000,i0-s0:1000 nics=1";
  const MachineGraph g = MustParse(tree);
  EXPECT_EQ(g.vertices[0].numa, 0);
  EXPECT_EQ(g.vertices[1].numa, 1);
  EXPECT_EQ(g.vertices.back().numa, 0);
  EXPECT_EQ(FormatGraph(MustParse(tree + " numa=0,1")), FormatGraph(g));
  EXPECT_EQ(MustParse(tree + " numa-ids=3,7").vertices[1].numa, 7);
  EXPECT_EQ(MustParse(tree + " numa=1*2").vertices[0].numa, 1);
  EXPECT_EQ(MustParse(tree + " nic-numa=?").vertices.back().numa, -1);
}

void ExpectRoundTrip(const MachineGraph& g) {
  const std::string text = FormatGraph(g);
  const auto back = ParseGraph(text);
  ASSERT_TRUE(back) << text << "\n" << back.error().ToString();
  EXPECT_EQ(FormatGraph(*back), text);
  const auto again = ParseGraph(text);
  EXPECT_EQ(*again, *back);
  EXPECT_EQ(SetBandwidth(*back).Table(), SetBandwidth(g).Table()) << text;
}

TEST(Synthetic, RandomMachinesSurvive) {
  Rng rng(11);
  for (int round = 0; round < 400; ++round) {
    const MachineGraph g = RandomGraph(rng, 1 + round % 9);
    ASSERT_TRUE(ValidateGraph(g, "")) << ValidateGraph(g, "").error().ToString();
    ExpectRoundTrip(g);
    if (HasFailure()) return;
  }
}

TEST(Synthetic, CatalogMachinesSurviveInShort) {
  for (const std::string& name : CatalogNames()) {
    SCOPED_TRACE(name);
    const MachineGraph g = *CatalogMachine(name);
    ExpectRoundTrip(g);
    EXPECT_LE(FormatGraph(g).size(), 4096U);
  }
}

TEST(Synthetic, EqualMachinesInOtherOrderAreEqualText) {
  // Links in any order and grouping are the same machine.
  EXPECT_EQ(FormatGraph(MustParse("3 link=1-2:7,0-2:7,0-1:7")),
            FormatGraph(MustParse("3 link=0..2-0..2:7")));
  EXPECT_EQ(FormatGraph(MustParse("3 link=0..2-0..2:7")), "3 link=0..2-0..2:7");
  EXPECT_EQ(FormatGraph(MustParse("3 measured=k3:9,k2:8")),
            FormatGraph(MustParse("3 measured=k2:8,k3:9")));
}

TEST(Synthetic, ErrorsNameTheColumn) {
  const std::pair<const char*, std::pair<const char*, const char*>> kCases[] = {
      {"", {"column 1", "the number of cards"}},
      {"x", {"column 1", "the number of cards"}},
      {"0", {"column 1", "(1..64)"}},
      {"65", {"column 1", "(1..64)"}},
      {"8xV10O", {"column 3", "did you mean \"V100\"?"}},
      {"8 lnik=0-1:5", {"column 3", "did you mean \"link\"?"}},
      {"8 link=0-8:5", {"column 10", "(0..7)"}},
      {"8 link=0-1", {"column 11", "\":\""}},
      {"8 link=0-1:nv2", {"column 12", "needs the clause sm"}},
      {"8 link=0-1:nv2 sm=70 sm=80", {"column 22", "twice"}},
      {"8 link=0-1:0", {"column 12", "MB/s"}},
      {"8 link=0-1:05", {"column 12", "MB/s"}},
      {"8 link=0-1:5,", {"column 14", "a card"}},
      {"8 link=0-1:5;0-2:5", {"column 13", "\",\""}},
      {"8 link=3..1-0:5", {"column 11", "the end of the range"}},
      {"8 link=0-1:5,1-0:5", {"column 1", "there twice"}},
      {"8 pcie=0-s0:gen9", {"column 16", "PCIe generation"}},
      {"8 pcie=0-s0:nv1", {"column 13", "MB/s"}},
      {"8 pcie=0-s0:5,0-s1:5,s0-s1:5", {"column 1", "circle"}},
      {"8 socket=n0-h0:5", {"column 1", "bridge0 cannot have a link of this kind"}},
      {"8 nvls=maybe", {"column 8", "\"yes\" or \"no\""}},
      {"8 oops", {"column 3", "key=value"}},
      {"8 p2p=some", {"column 7", "\"all\" or \"none\""}},
      {"8 p2p-no=0-s1", {"column 10", "cards"}},
      {"8 numa=0*7", {"column 1", "one value a card"}},
      {"8 numa=0,x", {"column 10", "a number"}},
      {"8 pcie=i0-n0:5", {"column 1", "i0 has no speed"}},
      {"8 with=i3", {"column 8", "f (fabric switches)"}},
      {"8 measured=k9:5", {"column 13", "(2..8)"}},
      {"8 measured=0:5", {"column 12", "at least two"}},
      {"8 measured=k2:5,k2:6", {"column 17", "already"}},
      {"8 fabric=a%2", {"column 11", "%XX"}},
      {"8 fabric=", {"column 10", "a name"}},
      {"8 nics=99999999999", {"column 8", "a number"}},
      {"8 nics=1*5000", {"column 10", "how often"}},
  };
  for (const auto& [text, expected] : kCases) {
    const auto graph = ParseGraph(text);
    ASSERT_FALSE(graph) << text;
    EXPECT_EQ(graph.error().where, expected.first) << text << ": " << graph.error().ToString();
    EXPECT_NE(graph.error().message.find(expected.second), std::string::npos)
        << text << ": " << graph.error().ToString();
  }
}

TEST(Synthetic, HugeTextsAreRefusedQuickly) {
  EXPECT_FALSE(ParseGraph(std::string(100'000, '1')));
  std::string many = "64 with=f1000 link=0..63-f0..999:1";
  for (int i = 0; i < 50; ++i) many += ",s0..999-s0..999:1";
  EXPECT_FALSE(ParseGraph(many));
  EXPECT_FALSE(ParseGraph("64 pcie=s0..999-h0..999:1"));
}

TEST(Synthetic, NoTextCrashes) {
  Rng rng(12);
  const std::string good =
      "8xV100 link=0-1:nv2,1..3-1..3:nv1 pcie=0+1-s0:gen3x8,s0-n0:2*5 nics=1*2 measured=k2:5";
  const std::string alphabet = "0123456789xkfshin:-.,+*/=%? gevV";
  for (int round = 0; round < 20'000; ++round) {
    std::string text = good;
    for (std::uint32_t edits = 1 + rng.Below(4); edits > 0; --edits) {
      const std::size_t at = rng.Below(static_cast<std::uint32_t>(text.size()));
      const char c = alphabet[rng.Below(static_cast<std::uint32_t>(alphabet.size()))];
      switch (rng.Below(3)) {
        case 0:
          text[at] = c;
          break;
        case 1:
          text.erase(at, 1);
          break;
        default:
          text.insert(at, 1, c);
      }
    }
    const auto graph = ParseGraph(text);
    if (!graph) continue;
    const std::string canonical = FormatGraph(*graph);
    const auto back = ParseGraph(canonical);
    ASSERT_TRUE(back) << text << "\n" << canonical;
    ASSERT_EQ(FormatGraph(*back), canonical) << text;
  }
}

}  // namespace
}  // namespace basalt::topology
