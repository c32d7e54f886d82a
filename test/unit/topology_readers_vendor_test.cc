// Other vendors' matrices and the recognition of formats, on texts made here.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "topology/files/machine_file.h"
#include "topology/files/vendor_matrix.h"

namespace basalt::topology {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;

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

const char kAscend[] =
    "           NPU0       NPU1       NPU2       CPU Affinity\n"
    "NPU0       X          HCCS       PHB        0-23\n"
    "NPU1       HCCS       X          SYS        24-47\n"
    "NPU2       PHB        SYS        X          0-23\n";

TEST(Vendor, Ascend) {
  const MachineGraph g = Read(kAscend);
  EXPECT_EQ(g.vendor, "Huawei");
  EXPECT_EQ(g.fabric, "HCCS");
  EXPECT_EQ(g.DirectFabric()(0, 1), 28000);
  EXPECT_EQ(g.DirectFabric()(0, 2), 0);
  EXPECT_EQ(V(g, 1).cpus, "24-47");
  EXPECT_EQ(V(g, 1).numa, 1);
  EXPECT_THAT(g.warnings, Contains(HasSubstr("not measured")));
  EXPECT_THAT(g.warnings, Contains("links of 6000 MB/s between NUMA nodes inferred"));
  EXPECT_THAT(Fault(Replace(kAscend, "PHB", "PIB")), HasSubstr("\"PIB\" is not one of"));
  EXPECT_THAT(Fault(Replace(kAscend, "HCCS", "NV1")), HasSubstr("NV1"));
  // Two dies a package, packages on switches; newer models print no CPUs.
  const MachineGraph dies = Read(
      "     NPU0 NPU1 NPU2\n"
      "NPU0 X SIO HCCS_SW\n"
      "NPU1 SIO X HCCS_SW\n"
      "NPU2 HCCS_SW HCCS_SW X\n");
  EXPECT_EQ(dies.DirectFabric()(0, 1), 216000);
  EXPECT_EQ(dies.SwitchedFabric()(2), 196000);
  EXPECT_EQ(dies.Of(VertexKind::kFabricSwitch).size(), 1U);
}

const char kMetaX[] =
    "=================== MetaX System Management Interface Log ===================\n"
    "Attached GPUs                                     : 3\n"
    "        GPU0    GPU1    GPU2\n"
    "GPU0    X       MX      SYS\n"
    "GPU1    MX      X       SYS\n"
    "GPU2    SYS     SYS     X\n";

TEST(Vendor, MetaX) {
  const MachineGraph g = Read(kMetaX);
  EXPECT_EQ(g.vendor, "MetaX");
  EXPECT_EQ(g.DirectFabric()(0, 1), 25000);
  EXPECT_EQ(g.Of(VertexKind::kNuma).size(), 2U);
  EXPECT_EQ(V(g, 0).numa, -1);
  EXPECT_THAT(g.warnings, Contains(HasSubstr("NUMA nodes are not told")));
  const std::string text = kMetaX;
  EXPECT_EQ(Read(text.substr(text.find("        GPU0"))).vendor, "MetaX");  // by its words
}

TEST(Vendor, Kunlun) {
  const MachineGraph g = Read(
      "\tXPU0\tXPU1\tXPU2\tNIC0\tCPU Affinity\tNUMA Affinity\n"
      "XPU0\t X \tXL\tSYS\tPIX\t0-95,192-287\t0\n"
      "XPU1\tXL\t X \tSYS\tPHB\t0-95,192-287\t0\n"
      "XPU2\tSYS\tSYS\t X \tSYS\t96-191,288-383\t1\n"
      "NIC0\tPIX\tPHB\tSYS\t X \n");
  EXPECT_EQ(g.vendor, "Kunlunxin");
  EXPECT_EQ(g.DirectFabric()(0, 1), 25000);
  EXPECT_EQ(g.Of(VertexKind::kNic).size(), 1U);
  EXPECT_THAT(g.warnings, Contains("links of 16000 MB/s between NUMA nodes inferred"));
}

TEST(Vendor, Cambricon) {
  const MachineGraph g = Read(
      "      MLU0  MLU1  MLU2  MLU3\n"
      "MLU0  X     MLK   MUL   CPU\n"
      "MLU1  MLK   X     CPU   CPU\n"
      "MLU2  MUL   CPU   X     SYS\n"
      "MLU3  CPU   CPU   SYS   X\n");
  EXPECT_EQ(g.vendor, "Cambricon");
  EXPECT_EQ(g.DirectFabric()(0, 1), 25000);
  EXPECT_THAT(g.warnings, Contains(HasSubstr("from a description only")));
}

const char kAmd[] =
    "================================ Hops between two GPUs =================================\n"
    "       GPU0         GPU1         GPU2\n"
    "GPU0   0            1            2\n"
    "GPU1   1            0            1\n"
    "GPU2   2            1            0\n"
    "\n"
    "=============================== Link Type between two GPUs ===============================\n"
    "       GPU0         GPU1         GPU2\n"
    "GPU0   0            XGMI         XGMI\n"
    "GPU1   XGMI         0            PCIE\n"
    "GPU2   XGMI         PCIE         0\n"
    "\n"
    "======================================= Numa Nodes =======================================\n"
    "GPU[0]\t\t: (Topology) Numa Node: 0\n"
    "GPU[0]\t\t: (Topology) Numa Affinity: 0\n"
    "GPU[1]\t\t: (Topology) Numa Node: 0\n"
    "GPU[2]\t\t: (Topology) Numa Node: 1\n"
    "=================================== End of ROCm SMI Log ===================================\n";

TEST(Vendor, Amd) {
  const MachineGraph g = Read(kAmd);
  EXPECT_EQ(g.vendor, "AMD");
  EXPECT_EQ(g.fabric, "XGMI");
  EXPECT_EQ(g.DirectFabric()(0, 1), 48000);
  EXPECT_EQ(g.DirectFabric()(0, 2), 0);  // two hops
  EXPECT_EQ(V(g, 2).numa, 1);
  EXPECT_EQ(g.Of(VertexKind::kNuma).size(), 2U);
  const std::string text = kAmd;
  EXPECT_THAT(Read(text.substr(text.find("=============================== Link"))).warnings,
              Contains(HasSubstr("no matrix of hops")));
  EXPECT_THAT(Fault(Replace(text, "PCIE", "XXXX")), AllOf(HasSubstr("f:10:"), HasSubstr("TPX")));
  EXPECT_THAT(Fault(text.substr(0, text.find("=============================== Link"))),
              HasSubstr("is missing"));
  EXPECT_THAT(Fault(Replace(text, "Numa Node: 1", "Numa Node: x")), HasSubstr("f:17:"));
  EXPECT_THAT(Fault(Replace(text, "GPU[2]", "GPU[7]")), HasSubstr("f:17:"));
}

TEST(MachineFile, Recognition) {
  EXPECT_THAT(Fault(""), HasSubstr("f: the file is empty"));
  EXPECT_THAT(Fault(" \n\t"), HasSubstr("empty"));
  EXPECT_THAT(Fault(std::string("GPU0\0", 5)), HasSubstr("f:1:5: a NUL byte"));
  EXPECT_THAT(Fault(std::string(kMaxMachineBytes + 1, ' ')), HasSubstr("at most 1048576"));
  EXPECT_THAT(Fault("hello\n"), AllOf(HasSubstr("nvidia-smi topo -m"), HasSubstr("lstopo"),
                                      HasSubstr("npu-smi"), HasSubstr("rocm-smi")));
  EXPECT_THAT(Fault("Package:2 [NUMANode(memory=1073741824)] Core:5 PU:6\n"),
              HasSubstr("CPUs only"));
  EXPECT_EQ(MachineFormats().size(), 8U);
}

}  // namespace
}  // namespace basalt::topology
