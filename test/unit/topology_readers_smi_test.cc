// nvidia-smi's matrices: each trap of the format, on texts made here, and texts with faults.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

#include "topology/files/machine_file.h"
#include "topology/files/nvidia_smi.h"

namespace basalt::topology {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// A text with tabs from a table written with single blanks; "_" is an empty cell.
std::string Tabs(const std::string& table) {
  std::string out;
  std::stringstream lines(table);
  for (std::string line; std::getline(lines, line);) {
    std::stringstream words(line);
    std::string row;
    for (std::string word; words >> word;) {
      if (!row.empty()) row += '\t';
      if (word == "X") word = " X ";
      if (word == "CPU" || word == "NUMA") word += " Affinity";
      if (word == "ID") word = "GPU NUMA ID";
      row += word == "_" ? (row.empty() ? " " : "") : word;
    }
    if (row.starts_with(' ')) row.erase(0, 1);
    out += row + '\n';
  }
  return out;
}

// As a terminal shows it: tabs become blanks up to the next multiple of 8.
std::string Expand(const std::string& text) {
  std::string out;
  std::size_t column = 0;
  for (const char c : text) {
    if (c == '\t') {
      do {
        out += ' ';
      } while (++column % 8 != 0);
    } else {
      out += c;
      column = c == '\n' ? 0 : column + 1;
    }
  }
  return out;
}

const char kFour[] =
    "_ GPU0 GPU1 GPU2 GPU3 NIC0 CPU NUMA ID\n"
    "GPU0 X PIX NODE SYS PIX 0-7,16-23 0 _ N/A\n"
    "GPU1 PIX X NODE SYS PIX 0-7,16-23 0 _ N/A\n"
    "GPU2 NODE NODE X SYS NODE 0-7,16-23 0 _ N/A\n"
    "GPU3 SYS SYS SYS X SYS 8-15,24-31 1 _ N/A\n"
    "NIC0 PIX PIX NODE SYS X\n";

MachineGraph Read(const std::string& text, const MatrixOptions& options = {}) {
  auto graph = ReadMachine(text, "f", options);
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

// The vertex above on the way to the root; -1 at a root.
int Above(const MachineGraph& g, int vertex) {
  for (const Link& l : g.links) {
    if (l.kind != LinkKind::kPcie || (l.a != vertex && l.b != vertex)) continue;
    const int other = l.a == vertex ? l.b : l.a;
    // NICs and cards are below; switches are added after the bridge that they hang on.
    const bool below =
        V(g, other).kind == VertexKind::kCard || V(g, other).kind == VertexKind::kNic ||
        (V(g, vertex).kind == VertexKind::kHostBridge && V(g, other).kind != VertexKind::kNuma) ||
        (V(g, vertex).kind == VertexKind::kPcieSwitch &&
         V(g, other).kind == VertexKind::kPcieSwitch && other > vertex) ||
        V(g, vertex).kind == VertexKind::kNuma;
    if (!below) return other;
  }
  return -1;
}

int RootOf(const MachineGraph& g, int vertex) {
  for (int next = vertex; next >= 0; next = Above(g, next)) vertex = next;
  return vertex;
}

TEST(Smi, TreeFollowsTheLabels) {
  const MachineGraph g = Read(Tabs(kFour));
  EXPECT_EQ(g.cards(), 4);
  EXPECT_EQ(g.vendor, "NVIDIA");
  EXPECT_EQ(V(g, Above(g, 0)).kind, VertexKind::kPcieSwitch);
  EXPECT_EQ(Above(g, 0), Above(g, 1));
  EXPECT_EQ(Above(g, 0), Above(g, 4));  // the NIC
  EXPECT_EQ(V(g, Above(g, 2)).kind, VertexKind::kHostBridge);
  EXPECT_NE(Above(g, Above(g, 0)), Above(g, 2));
  EXPECT_EQ(RootOf(g, 0), RootOf(g, 2));
  EXPECT_NE(RootOf(g, 0), RootOf(g, 3));
  EXPECT_EQ(V(g, RootOf(g, 3)).numa, 1);
  EXPECT_EQ(V(g, 3).cpus, "8-15,24-31");
  EXPECT_EQ(V(g, 4).kind, VertexKind::kNic);
  EXPECT_EQ(V(g, 4).nic_mbps, 0);
  EXPECT_THAT(g.warnings, Contains("PCIe links of 24000 MB/s inferred"));
  EXPECT_THAT(g.warnings, Contains("links of 10000 MB/s between NUMA nodes inferred"));
}

TEST(Smi, LevelsAboveSwitches) {
  const MachineGraph g =
      Read(Tabs("_ GPU0 GPU1 GPU2 GPU3 CPU\n"
                "GPU0 X PIX PXB PHB 0-7\n"
                "GPU1 PIX X PXB PHB 0-7\n"
                "GPU2 PXB PXB X PHB 0-7\n"
                "GPU3 PHB PHB PHB X 0-7\n"));
  const int upper = Above(g, 2);
  EXPECT_EQ(V(g, upper).kind, VertexKind::kPcieSwitch);
  EXPECT_EQ(Above(g, Above(g, 0)), upper);
  EXPECT_EQ(V(g, Above(g, 3)).kind, VertexKind::kHostBridge);
  EXPECT_EQ(Above(g, upper), Above(g, 3));
  EXPECT_EQ(V(g, 0).numa, 0);
}

TEST(Smi, OptionsWinOverInference) {
  const MachineGraph g = Read(Tabs(kFour), {90, 32, 8, 7000});
  EXPECT_EQ(g.sm, 90);
  for (const Link& link : g.links) {
    if (link.kind == LinkKind::kSocket) {
      EXPECT_EQ(link.mbps, 7000);
    }
    if (link.a < 4) {
      EXPECT_EQ(link.mbps, 24000);
    }
  }
  EXPECT_THAT(g.warnings, ElementsAre(std::string(kP2pUnknown)));
}

TEST(Smi, FormsOfTheSameText) {
  const std::string plain = Tabs(kFour);
  const MachineGraph expected = Read(plain);
  const auto same = [&](const std::string& text) { EXPECT_EQ(Read(text), expected) << text; };
  same(Expand(plain));
  std::string crlf;
  for (const char c : plain) crlf += c == '\n' ? std::string("\r\n") : std::string(1, c);
  same(crlf);
  same("user@host:~$ nvidia-smi topo -m\n" + plain);
  same("\xEF\xBB\xBF" + plain);
  same(plain + "\nLegend:\n\n  X    = Self\n  SYS  = Connection traversing PCIe\n");
  // The underlining, after the first tab and before it.
  same(Replace(Replace(plain, "GPU0", "\x1b[4mGPU0"), "ID\n", "ID\x1b[0m\n"));
  same("\x1b[4m" + Replace(plain, "ID\n", "ID\x1b[0m\n"));
  // Without the second tab in the tail, and with tabs after the NIC's row.
  same(Replace(plain, "0\t\tN/A", "0\tN/A"));
  same(plain.substr(0, plain.size() - 1) + "\t\t\t\t\n");
  // Blank lines in between, as some pages copy it.
  same(Replace(plain, "\nGPU2", "\n\nGPU2"));
}

TEST(Smi, NicNames) {
  const std::string legend = "\nNIC Legend:\n\n  NIC0: mlx5_3\n";
  EXPECT_EQ(V(Read(Tabs(kFour) + legend), 4).name, "mlx5_3");
  std::string old = Tabs(kFour);
  old = Replace(Replace(old, "NIC0", "mlx4_0"), "NIC0", "mlx4_0");
  EXPECT_EQ(V(Read(old), 4).name, "mlx4_0");
}

TEST(Smi, ColumnsByDriverAge) {
  const std::string oldest =
      "_ GPU0 GPU1 GPU2 CPU\n"
      "GPU0 X SYS PHB 0-11,24-35\n"
      "GPU1 SYS X SYS 12-23,36-47\n"
      "GPU2 PHB SYS X 0-11,24-35\n";
  const MachineGraph g = Read(Tabs(oldest));
  EXPECT_EQ(V(g, 0).numa, 0);
  EXPECT_EQ(V(g, 1).numa, 1);
  EXPECT_EQ(V(g, 2).numa, 0);
  EXPECT_EQ(RootOf(g, 0), RootOf(g, 2));
  EXPECT_THAT(g.warnings, Contains(HasSubstr("no NUMA column")));
  EXPECT_EQ(Read(Expand(Tabs(oldest))), g);

  const std::string none = "_ GPU0 GPU1\nGPU0 X PHB\nGPU1 PHB X\n";
  EXPECT_EQ(V(Read(Tabs(none)), 0).numa, -1);

  const std::string one = "_ GPU0 CPU NUMA ID\nGPU0 X 0-7 N/A _ N/A\n";
  EXPECT_EQ(Read(Tabs(one)).cards(), 1);
  EXPECT_EQ(V(Read(Tabs(one)), 0).numa, -1);
  EXPECT_EQ(Read(Expand(Tabs(one))), Read(Tabs(one)));
  EXPECT_EQ(Read("\tGPU0\nGPU0\t X \n").cards(), 1);
}

TEST(Smi, AffinityThatIsEmptyOrARange) {
  const std::string text = Tabs(
      "_ GPU0 GPU1 CPU NUMA ID\n"
      "GPU0 X NODE 0-35 0-7 _ N/A\n"
      "GPU1 NODE X _ 1 _ N/A\n");
  const MachineGraph g = Read(text);
  EXPECT_EQ(V(g, 1).cpus, "");
  EXPECT_EQ(V(g, 1).numa, 1);
  EXPECT_THAT(g.warnings, Contains(HasSubstr("GPU0 is near several NUMA nodes (0-7)")));
  EXPECT_EQ(Read(Expand(text)), g);  // found by where the next cell starts
}

TEST(Smi, RunTogetherColumnsAreRefused) {
  const std::string header = "_ GPU0 GPU1 CPU NUMA ID\n";
  const std::string good = "GPU1 SYS X 46-91,138-183 1 _ N/A\n";
  const std::string glued = Tabs(header + "GPU0 X SYS 0-45,92-1370 _ _ N/A\n" + good);
  EXPECT_THAT(Fault(glued), AllOf(HasSubstr("f:2:"), HasSubstr("GPU0"), HasSubstr("missing")));
  EXPECT_THAT(Fault(Expand(glued)), HasSubstr("run together"));
  // Where the NUMA column is there, the lists betray it.
  EXPECT_THAT(Fault(Tabs(header + "GPU0 X SYS 0-45,92-1370 0 _ N/A\n" + good)),
              HasSubstr("overlap in part"));
  EXPECT_THAT(Fault(Tabs(header + "GPU0 X SYS 0-45,92-13700 0 _ N/A\n" + good)),
              HasSubstr("not a list of CPUs"));
}

TEST(Smi, SysInsideANumaNodeIsKept) {
  const MachineGraph g =
      Read(Tabs("_ GPU0 GPU1 GPU2 CPU NUMA\n"
                "GPU0 X SYS NV12 0-31 0\n"
                "GPU1 SYS X SYS 0-31 0\n"
                "GPU2 NV12 SYS X 0-31 0\n"));
  EXPECT_NE(RootOf(g, 0), RootOf(g, 1));
  int sockets = 0;
  for (const Link& l : g.links) sockets += l.kind == LinkKind::kSocket ? 1 : 0;
  EXPECT_EQ(sockets, 3);  // each to the node's own vertex
  EXPECT_EQ(g.Of(VertexKind::kNuma).size(), 4U);
  EXPECT_EQ(g.DirectFabric()(0, 2), 240000);
  EXPECT_EQ(g.SwitchedFabric().sum(), 0);
}

TEST(Smi, LabelsThatContradict) {
  const MachineGraph g =
      Read(Tabs("_ GPU0 GPU1 GPU2 CPU\n"
                "GPU0 X PIX PHB 0-7\n"
                "GPU1 PIX X PIX 0-7\n"
                "GPU2 PHB PIX X 0-7\n"));
  EXPECT_THAT(g.warnings, Contains(HasSubstr("not transitive: GPU0 and GPU2 are PHB")));
  const MachineGraph n =
      Read(Tabs("_ GPU0 GPU1 CPU NUMA\n"
                "GPU0 X NODE 0-7 0\n"
                "GPU1 NODE X 8-15 1\n"));
  EXPECT_THAT(n.warnings, Contains(HasSubstr("the column is taken")));
  EXPECT_NE(RootOf(n, 0), RootOf(n, 1));
}

// All pairs with `label`.
std::string Uniform(int cards, const std::string& label) {
  std::string head = "_", rows;
  for (int i = 0; i < cards; ++i) {
    head += " GPU" + std::to_string(i);
    rows += "GPU" + std::to_string(i);
    for (int j = 0; j < cards; ++j) rows += i == j ? std::string(" X") : ' ' + label;
    rows += " 0-47 0\n";
  }
  return Tabs(head + " CPU NUMA\n" + rows);
}

TEST(Smi, SwitchOrDirect) {
  const MachineGraph hopper = Read(Uniform(8, "NV18"));
  EXPECT_EQ(hopper.sm, 90);
  EXPECT_TRUE(hopper.in_network_reduction);
  EXPECT_EQ(hopper.SwitchedFabric()(7), 18 * 20600);
  EXPECT_TRUE(hopper.DirectFabric().isZero());
  EXPECT_FALSE(Read(Uniform(6, "NV18")).in_network_reduction);  // a part of a board
  EXPECT_FALSE(Read(Uniform(8, "NV12")).in_network_reduction);
  EXPECT_EQ(Read(Uniform(16, "NV6")).SwitchedFabric()(0), 120000);
  EXPECT_EQ(Read(Uniform(8, "NV18"), {100}).SwitchedFabric()(0), 18 * 40100);
  // Boards of four without switches.
  EXPECT_EQ(Read(Uniform(4, "NV2")).DirectFabric()(0, 3), 40000);
  EXPECT_EQ(Read(Uniform(4, "NV4")).DirectFabric()(0, 3), 80000);
  EXPECT_EQ(Read(Uniform(2, "NV12")).DirectFabric()(0, 1), 240000);
  EXPECT_EQ(Read(Uniform(2, "NV4")).sm, 86);
  // A failed card leaves a switch for the others.
  std::string failed = Uniform(4, "NV18");
  for (int i = 0; i < 3; ++i) failed = Replace(failed, "NV18\t0-47", "SYS\t0-47");
  const std::size_t last = failed.find("\nGPU3");
  std::string row = failed.substr(last);
  for (int i = 0; i < 3; ++i) row = Replace(row, "NV18", "SYS");
  const MachineGraph g = Read(failed.substr(0, last) + row);
  EXPECT_EQ(g.SwitchedFabric()(0), 18 * 20600);
  EXPECT_EQ(g.SwitchedFabric()(3), 0);
}

TEST(Smi, FaultsNameRowAndColumn) {
  const std::string text = Tabs(kFour);
  EXPECT_THAT(Fault(Replace(text, "NODE", "NOD")),
              AllOf(HasSubstr("f:2:14: row GPU0, column GPU2: \"NOD\""), HasSubstr("PXB")));
  EXPECT_THAT(Fault(Replace(text, "NODE", "PHB")), HasSubstr("must be symmetric"));
  EXPECT_THAT(Fault(Replace(text, "NODE\t", "")), HasSubstr("row GPU0, column NIC0"));
  EXPECT_THAT(Fault(Replace(text, "NODE", "NODE\tNODE")), HasSubstr("row GPU0"));
  EXPECT_THAT(Fault(Replace(text, "NODE", "X")), HasSubstr("\"X\" for two devices"));
  EXPECT_THAT(Fault(Replace(text, " X ", "PIX")), HasSubstr("for a device and itself"));
  EXPECT_THAT(Fault(Replace(text, "NODE", "NV0")), HasSubstr("NV0"));
  EXPECT_THAT(Fault(Replace(text, "NODE", "NV999")), HasSubstr("NV999"));
  EXPECT_THAT(Fault(text.substr(0, text.find("GPU3\tSYS"))), HasSubstr("row GPU3 is missing"));
  const std::size_t third = text.find("\nGPU2") + 1;
  const std::string row = text.substr(third, text.find('\n', third) + 1 - third);
  EXPECT_THAT(Fault(Replace(text, row, row + row)), HasSubstr("row GPU2 is there twice"));
  EXPECT_THAT(Fault(text + Replace(row, "GPU2", "GPU7")), HasSubstr("\"GPU7\" has no column"));
  EXPECT_THAT(Fault(Replace(text, "GPU1", "GPU0")), HasSubstr("column GPU0 is there twice"));
  EXPECT_THAT(Fault(Replace(text, "\t0\t\tN/A", "\t0\t\tN/A\t5")), HasSubstr("a cell too many"));
  EXPECT_THAT(Fault(Replace(text, "\t0\t\tN/A", "\tzero\t\tN/A")), HasSubstr("not a NUMA node"));
  EXPECT_THAT(Fault(Replace(text, "\t0\t\tN/A", "\t0\t\tzero")), HasSubstr("not a NUMA node"));
  EXPECT_THAT(Fault(Uniform(65, "SYS")), HasSubstr("65 cards"));
}

TEST(Smi, P2p) {
  const std::string p2p =
      "\nhost$ nvidia-smi topo -p2p r\n"
      " \tGPU0\tGPU1\tGPU2\tGPU3\n"
      " GPU0\tX\tOK\tCNS\tOK\n"
      " GPU1\tOK\tX\tOK\tU\n"
      " GPU2\tOK\tOK\tX\tGNS\n"
      " GPU3\tOK\tU\tTNS\tX\n"
      "\nLegend:\n\n  X    = Self\n  OK   = Status Ok\n";
  const MachineGraph g = Read(Tabs(kFour) + p2p);
  EXPECT_EQ(g.PeerToPeer(0, 1), P2p::kYes);
  EXPECT_EQ(g.PeerToPeer(0, 2), P2p::kNo);  // one way only
  EXPECT_EQ(g.PeerToPeer(2, 0), P2p::kNo);
  EXPECT_EQ(g.PeerToPeer(1, 3), P2p::kUnknown);
  EXPECT_EQ(g.PeerToPeer(2, 3), P2p::kNo);
  EXPECT_THAT(g.warnings, testing::Not(Contains(std::string(kP2pUnknown))));
  // A second matrix can only take away.
  const std::string write = Replace(p2p, "X\tOK\tCNS\tOK", "X\tNS\tCNS\tOK");
  EXPECT_EQ(Read(Tabs(kFour) + p2p + write).PeerToPeer(0, 1), P2p::kNo);
  EXPECT_EQ(Read(Tabs(kFour) + write + p2p).PeerToPeer(0, 1), P2p::kNo);
  // NVLink and atomics say nothing about PCIe.
  EXPECT_THAT(Read(Tabs(kFour) + Replace(p2p, "-p2p r", "-p2p n")).p2p, IsEmpty());
  EXPECT_THAT(Fault(p2p), HasSubstr("a P2P matrix alone"));
  EXPECT_THAT(Fault(Tabs(kFour) + Replace(p2p, "CNS", "???")), HasSubstr("is not one of X OK"));
  EXPECT_THAT(Fault(Tabs("_ GPU0 GPU1\nGPU0 X SYS\nGPU1 SYS X\n") + p2p),
              HasSubstr("other cards than the 2"));
}

// Whatever is done to a text, the answer is an error or a valid graph.
TEST(Smi, MutationsNeverCrash) {
  const std::vector<std::string> texts = {Tabs(kFour), Expand(Tabs(kFour)), Uniform(3, "NV18")};
  const std::vector<std::string> words = {"X", "SYS", "NV4", "", "0-3", "GPU0", "\x1b[", "N/A"};
  int read = 0;
  const auto check = [&](const std::string& text) {
    const auto graph = ReadMachine(text, "f");
    if (!graph) {
      EXPECT_TRUE(graph.error().where.starts_with("f")) << graph.error().ToString();
      EXPECT_FALSE(graph.error().message.empty());
      return;
    }
    ++read;
    EXPECT_TRUE(ValidateGraph(*graph, "g"));
    EXPECT_GT(graph->cards(), 0);
  };
  for (const std::string& text : texts) {
    for (std::size_t i = 0; i <= text.size(); ++i) check(text.substr(0, i));
    for (std::size_t i = 0; i < text.size(); ++i) {
      check(text.substr(0, i) + text.substr(i + 1));
      check(text.substr(0, i) + '\t' + text.substr(i));
      check(text.substr(0, i) + '\n' + text.substr(i));
    }
    for (std::size_t i = 0; i < text.size(); ++i) {
      const std::size_t end = text.find_first_of("\t\n ", i);
      if (end == i || end == std::string::npos) continue;
      for (const std::string& word : words) check(text.substr(0, i) + word + text.substr(end));
      i = end;
    }
  }
  EXPECT_GT(read, 0);
}

}  // namespace
}  // namespace basalt::topology
