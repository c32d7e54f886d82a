// NCCL's and hwloc's XML, on documents made here.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "topology/files/graph_builder.h"
#include "topology/files/machine_file.h"

namespace basalt::topology {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

MachineGraph Read(const std::string& text) {
  auto graph = ReadMachine(text, "f");
  EXPECT_TRUE(graph) << graph.error().ToString() << "\n" << text;
  return graph ? *graph : MachineGraph();
}

std::string Fault(const std::string& text) {
  const auto graph = ReadMachine(text, "f");
  return graph ? "read" : graph.error().ToString();
}

std::string Replace(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

const Vertex& V(const MachineGraph& g, int i) { return g.vertices[static_cast<std::size_t>(i)]; }

int Count(const MachineGraph& g, LinkKind kind) {
  int out = 0;
  for (const Link& link : g.links) out += link.kind == kind ? 1 : 0;
  return out;
}

// Two cards and a NIC on one socket, in an order that is not their numbers'; one on the other.
const char kNccl[] = R"(<?xml version="1.0"?>
<system version="1">
  <cpu numaid="0" affinity="0000,00000fff" arch="x86_64" vendor="GenuineIntel" familyid="6" modelid="143">
    <pci busid="0000:10:00.0" class="0x060400" link_speed="32.0 GT/s PCIe" link_width="16">
      <pci busid="0000:1A:00.0" class="0x030200" link_speed="32.0 GT/s PCIe" link_width="16">
        <gpu dev="1" sm="90" rank="1" gdr="1">
          <nvlink target="0000:1b:00.0" count="3" tclass="0x030200"/>
          <nvlink target="0000:ff:00.0" count="6" tclass="0x068000"/>
        </gpu>
      </pci>
      <pci busid="0000:1b:00.0" class="0x030200" link_speed="16 GT/s" link_width="8">
        <gpu dev="0" sm="90" rank="0" gdr="1">
          <nvlink target="0000:1A:00.0" count="3" tclass="0x030200"/>
        </gpu>
      </pci>
      <pci busid="0000:1c:00.0" class="0x020700" link_speed="32.0 GT/s PCIe" link_width="16">
        <nic>
          <net name="mlx5_0" dev="0" speed="400000" port="1" gdr="1"/>
        </nic>
      </pci>
    </pci>
  </cpu>
  <cpu numaid="1" affinity="ffff,fffff000" arch="x86_64" vendor="GenuineIntel" familyid="6" modelid="143">
    <pci busid="0000:90:00.0" class="0x030200" link_speed="" link_width="0">
      <gpu dev="2" sm="90"/>
    </pci>
    <nic><net name="eth0" speed="25000"/></nic>
  </cpu>
</system>
)";

TEST(Nccl, Tree) {
  const MachineGraph g = Read(kNccl);
  ASSERT_EQ(g.cards(), 3);
  EXPECT_EQ(V(g, 0).name, "GPU0");
  EXPECT_EQ(V(g, 0).pci, "0000:1b:00.0");
  EXPECT_EQ(V(g, 1).pci, "0000:1a:00.0");
  EXPECT_EQ(g.FindCard("00000000:1A:00.0"), 1);
  EXPECT_EQ(V(g, 2).numa, 1);
  EXPECT_EQ(g.sm, 90);
  EXPECT_EQ(g.DirectFabric()(0, 1), 3 * 20600);
  EXPECT_EQ(g.SwitchedFabric()(1), 6 * 20600);
  EXPECT_EQ(g.SwitchedFabric()(0), 0);
  const std::vector<int> nics = g.Of(VertexKind::kNic);
  ASSERT_EQ(nics.size(), 2U);
  EXPECT_EQ(V(g, nics[0]).name, "mlx5_0");
  EXPECT_EQ(V(g, nics[0]).nic_mbps, 50000);
  EXPECT_EQ(V(g, nics[1]).nic_mbps, 3125);
  const std::vector<int> numa = g.Of(VertexKind::kNuma);
  ASSERT_EQ(numa.size(), 2U);
  EXPECT_EQ(V(g, numa[0]).cpus, "0-11");
  EXPECT_EQ(V(g, numa[1]).cpus, "12-47");
  for (const Link& link : g.links) {
    if (link.kind == LinkKind::kSocket) {
      EXPECT_EQ(link.mbps, 22000);
    }
    if (link.kind == LinkKind::kPcie && link.a == 0) {
      EXPECT_EQ(link.mbps, 12000);
    }
    if (link.kind == LinkKind::kPcie && link.a == 1) {
      EXPECT_EQ(link.mbps, 48000);
    }
    if (link.kind == LinkKind::kPcie && link.a == 2) {
      EXPECT_EQ(link.mbps, 12000);
    }
  }
  EXPECT_THAT(g.warnings, Contains(HasSubstr("without a known speed")));
}

TEST(Nccl, WhereNvlinksEnd) {
  const std::string text = kNccl;
  // One direction only, or another number, is the lower one.
  const std::string two = Replace(text, "1b:00.0\" count=\"3\"", "1b:00.0\" count=\"2\"");
  EXPECT_EQ(Read(two).DirectFabric()(0, 1), 2 * 20600);
  EXPECT_THAT(Read(two).warnings, Contains(HasSubstr("differ by direction")));
  const std::string self = Replace(text, "target=\"0000:1b:00.0\"", "target=\"0000:1a:00.0\"");
  EXPECT_EQ(Read(self).DirectFabric()(0, 1), 3 * 20600);  // from the other card's side
  EXPECT_THAT(Read(self).warnings, Contains(HasSubstr("a card to itself")));
  const std::string outside =
      Replace(text, "target=\"0000:ff:00.0\" count=\"6\" tclass=\"0x068000\"",
              "target=\"0000:ff:00.0\" count=\"6\" tclass=\"0x030200\"");
  EXPECT_EQ(Read(outside).SwitchedFabric().sum(), 0);
  const std::string unknown = Replace(text, "tclass=\"0x068000\"", "");
  EXPECT_EQ(Read(unknown).SwitchedFabric()(1), 6 * 20600);
  EXPECT_THAT(Read(unknown).warnings, Contains(HasSubstr("unknown target")));
  const std::string cpu = Replace(text, "0x068000", "0x068001");
  EXPECT_EQ(Read(cpu).SwitchedFabric().sum(), 0);
  EXPECT_EQ(Count(Read(cpu), LinkKind::kFabric), 2);
}

TEST(Nccl, PartialFiles) {
  const MachineGraph g = Read(R"(<system><cpu numaid="-1">
    <pci busid="1:0" class="0x030200" link_speed="16 GT/s" link_width="16"/>
    <pci busid="2:0" class="0x030000" link_speed="16 GT/s" link_width="16"/>
    <pci busid="3:0" class="0x010802" link_speed="16 GT/s" link_width="4"/>
    <pci busid="4:0" class="0x020000" link_speed="16 GT/s" link_width="4"/>
    <storage/></cpu></system>)");
  EXPECT_EQ(g.cards(), 2);
  EXPECT_EQ(V(g, 1).name, "GPU1");
  EXPECT_EQ(V(g, 0).numa, -1);
  EXPECT_EQ(g.Of(VertexKind::kNic).size(), 1U);
  EXPECT_THAT(g.warnings,
              AllOf(Contains(HasSubstr("without <gpu dev>")), Contains(HasSubstr("no <nvlink>")),
                    Contains("element <storage> is passed over"),
                    Contains(HasSubstr("class \"0x010802\""))));
}

TEST(Nccl, Faults) {
  const std::string text = kNccl;
  EXPECT_THAT(Fault("<graphs version=\"1\"><graph id=\"0\"/></graphs>"),
              AllOf(HasSubstr("f:1:"), HasSubstr("NCCL_TOPO_DUMP_FILE")));
  EXPECT_THAT(Fault(Replace(text, "</cpu>", "</cpi>")), HasSubstr("f:22:"));
  EXPECT_THAT(Fault(Replace(text, "0000:1A:00.0", "0000:1b:00.0")),
              AllOf(HasSubstr("f:11:"), HasSubstr("a second <pci> with busid 0000:1b:00.0")));
  EXPECT_THAT(Fault(Replace(text, "busid=\"0000:10:00.0\"", "")), HasSubstr("without a busid"));
  EXPECT_THAT(Fault(Replace(text, "count=\"3\"", "count=\"-3\"")), HasSubstr("count=\"-3\""));
  EXPECT_THAT(Fault(Replace(text, "count=\"3\"", "")), HasSubstr("<nvlink> count=\"\""));
  EXPECT_THAT(Fault(Replace(text, "count=\"3\"", "count=\"1000\"")), HasSubstr("from 1 to 64"));
  EXPECT_THAT(Fault(Replace(text, "numaid=\"1\"", "numaid=\"0\"")), HasSubstr("a second <cpu>"));
  EXPECT_THAT(Fault(Replace(text, "numaid=\"1\"", "")), HasSubstr("numaid"));
  EXPECT_THAT(Fault(Replace(text, "dev=\"1\"", "dev=\"0\"")), HasSubstr("a second <gpu>"));
  EXPECT_THAT(Fault(Replace(text, "400000", "fast")), HasSubstr("speed=\"fast\""));
  EXPECT_THAT(Fault("<system/>"), HasSubstr("no cards"));
  EXPECT_THAT(Fault("<house/>"), AllOf(HasSubstr("\"house\""), HasSubstr("known:")));
  EXPECT_THAT(Fault("<"), HasSubstr("f"));
  std::string many = "<system><cpu numaid=\"0\">";
  for (int i = 0; i < 65; ++i) {
    many += "<pci busid=\"" + std::to_string(i) + "\" class=\"0x030200\"/>";
  }
  EXPECT_THAT(Fault(many + "</cpu></system>"), HasSubstr("more than 64 cards"));
  std::string deep = "<system><cpu numaid=\"0\">", close;
  for (int i = 0; i < 50; ++i) {
    deep += "<pci busid=\"" + std::to_string(i) + "\" class=\"0x060400\">";
    close += "</pci>";
  }
  EXPECT_THAT(Fault(deep + close + "</cpu></system>"), HasSubstr("too deep"));
}

// A card with its bridge and its names.
std::string HwlocCard(int index, const std::string& bus, const std::string& link) {
  const std::string i = std::to_string(index);
  return R"(<object type="Bridge" gp_index="5)" + i + R"(" bridge_type="1-1" pci_busid="0000:)" +
         bus + R"(0:00.0" pci_type="0604 [8086:2030] [8086:0000] 04 00" pci_link_speed=")" + link +
         R"("><object type="PCIDev" gp_index="6)" + i + R"(" pci_busid="0000:)" + bus +
         R"(1:00.0" pci_type="0302 [10de:1db8] [10de:131d] a1 00" pci_link_speed="15.753846">)" +
         R"(<object type="OSDev" gp_index="7)" + i + R"(" name="nvml)" + i +
         R"(" osdev_type="5"><info name="GPUModel" value="Tesla V100-SXM3"/>)" +
         R"(<info name="NVIDIAUUID" value="GPU-)" + i + R"("/></object></object></object>)";
}

std::string Hwloc(const std::string& tables) {
  return R"(<?xml version="1.0"?><!DOCTYPE topology SYSTEM "hwloc2.dtd">
<topology version="2.0"><object type="Machine" nodeset="0x00000003">
<object type="Package" nodeset="0x00000001" gp_index="3"><info name="CPUVendor" value="AuthenticAMD"/>
<object type="NUMANode" os_index="0" cpuset="0x0000000f" nodeset="0x00000001" gp_index="4"/>
<object type="Bridge" bridge_type="0-1" gp_index="10">
<object type="Bridge" bridge_type="1-1" gp_index="11" pci_busid="0000:00:01.0" pci_link_speed="31.5">)" +
         HwlocCard(1, "a", "15.753846") + HwlocCard(0, "b", "7.876923") +
         R"(</object>
<object type="PCIDev" gp_index="12" pci_busid="0000:00:02.0" pci_type="0300 [1a03:2000] [0:0] 00 00"/>
<object type="PCIDev" gp_index="13" pci_busid="0000:00:03.0" pci_type="0200 [15b3:1017] [0:0] 00 00" pci_link_speed="15.753846">
<object type="OSDev" name="eth0" gp_index="14"/><object type="OSDev" name="mlx5_0" gp_index="15"><info name="NodeGUID" value="1"/></object></object>
<object type="PCIDev" gp_index="16" subtype="NVSwitch" pci_busid="0000:00:04.0" pci_type="0680 [10de:1ac2] [0:0] a1 00"/>
</object></object>
<object type="Package" nodeset="0x00000002" gp_index="30">
<object type="NUMANode" os_index="1" cpuset="0xf0" nodeset="0x00000002" gp_index="31"/></object>
</object>)" +
         tables + "</topology>";
}

const char kTable[] =
    R"(<distances2 type="NUMANode" nbobjs="2" kind="5" name="NUMALatency" indexing="os"><indexes length="4">0 1 </indexes><u64values length="12">10 40 40 10 </u64values></distances2>
<distances2hetero nbobjs="4" kind="25" name="NVLinkBandwidth"><indexes length="1">OSDev:70 OSDev:71 </indexes><indexes length="1">PCIDev:16 Package:3 </indexes>
<u64values length="1">1000000 50000 25000 0 </u64values><u64values length="1">50000 1000000 0 50000 25000 0 1000000 0 0 50000 0 1000000 </u64values></distances2hetero>)";

TEST(Hwloc, Tree) {
  const MachineGraph g = Read(Hwloc(kTable));
  ASSERT_EQ(g.cards(), 2);
  EXPECT_EQ(g.sm, 70);
  EXPECT_EQ(V(g, 0).uuid, "GPU-0");
  EXPECT_EQ(V(g, 0).pci, "0000:b1:00.0");
  EXPECT_EQ(V(g, 0).name, "GPU0");
  EXPECT_EQ(V(g, 0).numa, 0);
  EXPECT_EQ(V(g, 0).cpus, "0-3");
  EXPECT_EQ(g.Of(VertexKind::kPcieSwitch).size(), 1U);  // bridges with one device are none
  ASSERT_EQ(g.Of(VertexKind::kNic).size(), 1U);
  EXPECT_EQ(V(g, g.Of(VertexKind::kNic)[0]).name, "mlx5_0");
  EXPECT_EQ(g.Of(VertexKind::kNuma).size(), 2U);
  EXPECT_EQ(g.DirectFabric()(0, 1), 40000);
  EXPECT_EQ(g.SwitchedFabric()(0), 20000);
  EXPECT_EQ(g.SwitchedFabric()(1), 0);
  EXPECT_EQ(Count(g, LinkKind::kFabric), 3);  // and one to the package
  for (const Link& link : g.links) {
    if (link.kind == LinkKind::kPcie && link.a == 0) {
      EXPECT_EQ(link.mbps, 6000);
    }
    if (link.kind == LinkKind::kPcie && link.a == 1) {
      EXPECT_EQ(link.mbps, 12000);
    }
    if (link.kind == LinkKind::kSocket) {
      EXPECT_EQ(link.mbps, 16000);
    }
    if (link.kind == LinkKind::kFabric && link.b == 1) {
      EXPECT_EQ(link.count, 2);
    }
  }
}

TEST(Hwloc, ForWhatIsNotInIt) {
  EXPECT_EQ(Count(Read(Hwloc("")), LinkKind::kFabric), 0);
  // Without a known model: 0.8 of the line rate.
  std::string other = Hwloc(kTable);
  for (int i = 0; i < 2; ++i) other = Replace(other, "Tesla V100-SXM3", "Z1");
  EXPECT_EQ(Read(other).sm, 0);
  EXPECT_EQ(Read(other).DirectFabric()(0, 1), 40000);
  // Tables of one kind of objects give the type once.
  EXPECT_EQ(
      Read(
          Hwloc(
              R"(<distances2 type="OSDev" nbobjs="2" name="NVLinkBandwidth" indexing="gp"><indexes>70 71</indexes><u64values>1 25000 25000 1</u64values></distances2>)"))
          .DirectFabric()(0, 1),
      20000);
}

TEST(Hwloc, Faults) {
  EXPECT_THAT(Fault(Replace(Hwloc(kTable), "version=\"2.0\"", "")), HasSubstr("hwloc 2 or 3"));
  EXPECT_THAT(Fault(Replace(Hwloc(kTable), "1000000 50000", "1000000")),
              HasSubstr("15 values for 4 objects"));
  EXPECT_THAT(Fault(Replace(Hwloc(kTable), " 50000", " -5")), HasSubstr("no whole number"));
  EXPECT_THAT(Fault(Replace(Hwloc(""), "nvml1", "nvml0")), HasSubstr("two cards with number 0"));
  EXPECT_THAT(Fault(Replace(Hwloc(""), "os_index=\"1\"", "os_index=\"0\"")),
              HasSubstr("a second NUMA node 0"));
  EXPECT_THAT(Fault(Replace(Hwloc(""), "0000:b1:00.0", "0000:a1:00.0")), HasSubstr("two cards at"));
  EXPECT_THAT(Fault(R"(<topology version="2.0"><object type="Machine"/></topology>)"),
              HasSubstr("no cards"));
}

TEST(Xml, MutationsNeverCrash) {
  for (const std::string& text : {std::string(kNccl), Hwloc(kTable)}) {
    const auto check = [](const std::string& mutant) {
      const auto graph = ReadMachine(mutant, "f");
      if (!graph) {
        EXPECT_TRUE(graph.error().where.starts_with("f"));
      } else {
        EXPECT_TRUE(ValidateGraph(*graph, "g"));
      }
    };
    for (std::size_t i = 0; i <= text.size(); ++i) check(text.substr(0, i));
    for (std::size_t i = 0; i < text.size(); ++i) {
      check(text.substr(0, i) + text.substr(i + 1));
      if (text[i] >= '0' && text[i] <= '9') check(text.substr(0, i) + "99" + text.substr(i + 1));
    }
  }
}

TEST(CpuLists, Masks) {
  EXPECT_EQ(CpuListOfMask("0000,0fffff00,000fffff"), "0-19,40-59");
  EXPECT_EQ(CpuListOfMask("0x00000303,0x03030000,,0x3"), "0-1,80-81,88-89,96-97,104-105");
  EXPECT_EQ(CpuListOfMask(""), "");
  EXPECT_EQ(CpuListOfMask("0xf...f"), std::nullopt);
  EXPECT_EQ(CpuListOfMask("123456789"), std::nullopt);
  EXPECT_EQ(ParseCpuList("3"), (CpuRanges{{3, 3}}));
  for (const char* const bad : {"", "3-", "-3", "5-3", "0-4,4", "0-4,", "a", "0-9999", "1 2"}) {
    EXPECT_FALSE(ParseCpuList(bad)) << bad;
  }
}

TEST(SocketLinks, AsNccl) {
  EXPECT_EQ(SocketMbps("x86_64", "GenuineIntel", 6, 79), 6000);
  EXPECT_EQ(SocketMbps("x86_64", "GenuineIntel", 6, 85), 10000);
  EXPECT_EQ(SocketMbps("x86_64", "GenuineIntel", 6, 143), 22000);
  EXPECT_EQ(SocketMbps("x86_64", "GenuineIntel", 6, 207), 40000);
  EXPECT_EQ(SocketMbps("x86_64", "AuthenticAMD", 25, 17), 16000);
  EXPECT_EQ(SocketMbps("ppc64le", "", 0, 0), 32000);
  EXPECT_EQ(SocketMbps("arm64", "", 0, 0), 6000);
}

}  // namespace
}  // namespace basalt::topology
