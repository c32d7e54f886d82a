// Drawings: every card, switch and NIC is in them, and an SVG is well-formed enough to be read.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/unit/topology_bandwidth_test_util.h"
#include "topology/files/catalog.h"
#include "topology/files/draw.h"

namespace basalt::topology {
namespace {

using testing::HasSubstr;

TEST(Draw, TextOfASmallMachine) {
  const MachineGraph g = MustParse(
      "4xV100 link=0-1:nv2,1-2:nv1 pcie=0+1-s0:gen3,i0-s0:gen3,s0-n0:10000,2-n1:gen3 "
      "socket=n0-n1:6000 nics=12500");
  EXPECT_EQ(DrawText(g, {.free = CardSet(0b1101), .chosen = CardSet(0b0001)}),
            "4 cards, NVIDIA, NVLink, compute capability 7.0\n"
            "\n"
            "numa0  (to numa1 6)\n"
            "└─   10 pcie0\n"
            "   ├─   12 GPU0 *\n"
            "   ├─   12 GPU1 (taken)\n"
            "   └─   12 NIC0 100 Gb/s\n"
            "numa1  (to numa0 6)\n"
            "└─   12 GPU2\n"
            "PCIe path not known: GPU3\n"
            "\n"
            "NVLink between cards, GB/s one way\n"
            "        0   1   2   3\n"
            "    0   .  40   .   .\n"
            "    1  40   .  20   .\n"
            "    2   .  20   .   .\n"
            "    3   .   .   .   .\n");
}

TEST(Draw, NamesAreEscaped) {
  MachineGraph g = MustParse("2 link=0-1:1000");
  g.name = "<script>&\"";
  const std::string svg = DrawSvg(g, {.free = All(2), .chosen = {}});
  EXPECT_THAT(svg, HasSubstr("&lt;script&gt;&amp;&quot;"));
  EXPECT_EQ(svg.find("<script"), std::string::npos);
}

// Tags open and close in order.
void ExpectWellFormed(const std::string& svg) {
  std::vector<std::string> open;
  for (std::size_t at = svg.find('<'); at != std::string::npos; at = svg.find('<', at + 1)) {
    const std::size_t end = svg.find('>', at);
    ASSERT_NE(end, std::string::npos);
    const std::string tag = svg.substr(at + 1, end - at - 1);
    if (tag.starts_with("/")) {
      ASSERT_FALSE(open.empty());
      ASSERT_EQ(open.back(), tag.substr(1));
      open.pop_back();
    } else if (!tag.ends_with("/")) {
      open.push_back(tag.substr(0, tag.find(' ')));
    }
  }
  EXPECT_TRUE(open.empty());
  for (const char* bad : {"nan", "inf", "@CARDS@"}) EXPECT_EQ(svg.find(bad), std::string::npos);
}

TEST(Draw, EveryCatalogMachine) {
  for (const std::string& name : CatalogNames()) {
    SCOPED_TRACE(name);
    const MachineGraph g = *CatalogMachine(name);
    const DrawOptions options{.free = All(g.cards()), .chosen = CardSet(3)};
    const std::string text = DrawText(g, options);
    for (const Vertex& v : g.vertices) {
      if (v.kind == VertexKind::kFabricSwitch) continue;
      EXPECT_THAT(text, HasSubstr(v.name));
    }
    const std::string svg = DrawSvg(g, options);
    ExpectWellFormed(svg);
    EXPECT_THAT(svg, HasSubstr("viewBox=\"0 0 800 "));
    EXPECT_EQ(svg.find("href"), std::string::npos);
  }
}

TEST(Draw, RandomMachinesOfAllShapes) {
  Rng rng(21);
  for (int round = 0; round < 200; ++round) {
    const MachineGraph g = RandomGraph(rng, 1 + round % 12);
    const DrawOptions options{.free = CardSet(rng.Next()), .chosen = CardSet(1)};
    EXPECT_THAT(DrawText(g, options), HasSubstr("card"));
    ExpectWellFormed(DrawSvg(g, options));
  }
}

}  // namespace
}  // namespace basalt::topology
