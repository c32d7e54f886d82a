// The readers on published outputs, where the shared data is at hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "topology/files/machine_file.h"
#include "topology/files/nvidia_smi.h"
#include "topology/files/vendor_matrix.h"

namespace basalt::topology {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class TopologyData : public testing::Test {
 protected:
  void SetUp() override {
    const char* shared = std::getenv("BASALT_SHARED");
    const std::string root = shared != nullptr ? shared : BASALT_SOURCE_DIR "/../shared";
    data_ = root + "/data/topology/";
    if (!fs::is_directory(data_ + "smi")) GTEST_SKIP() << "skipped: no shared data";
  }
  std::string Slurp(const std::string& path) const {
    std::stringstream out;
    out << std::ifstream(data_ + path, std::ios::binary).rdbuf();
    return out.str();
  }
  // Stems of the files of a folder with this ending, sorted.
  std::vector<std::string> Stems(const std::string& folder, const std::string& ending) const {
    std::vector<std::string> out;
    for (const auto& file : fs::directory_iterator(data_ + folder)) {
      if (file.path().extension() == ending) out.push_back(file.path().stem().string());
    }
    std::ranges::sort(out);
    return out;
  }
  MachineGraph Read(const std::string& path) const {
    auto graph = ReadMachine(Slurp(path), path);
    EXPECT_TRUE(graph) << graph.error().ToString();
    if (!graph) return {};
    const Status valid = ValidateGraph(*graph, path);
    EXPECT_TRUE(valid) << valid.error().ToString();
    EXPECT_EQ(graph->DirectFabric(), graph->DirectFabric().transpose());
    return *graph;
  }
  void ExpectDerived(const LabelMatrix& m, const std::string& stem) const {
    const auto derived = nlohmann::json::parse(Slurp("derived/" + stem + ".json"));
    EXPECT_EQ(m.devices, derived["devices"].get<std::vector<std::string>>());
    EXPECT_EQ(m.cards, derived["n_gpu"].get<int>());
    for (int i = 0; i < m.cards; ++i) {
      const auto card = static_cast<std::size_t>(i);
      const auto& numa = derived["numa"][card];
      EXPECT_EQ(m.numa[card], numa.is_null() ? -1 : numa.get<int>());
      const auto& cpus = derived["cpu_affinity"][card];
      EXPECT_EQ(m.cpus[card], cpus.is_null() ? "" : cpus.get<std::string>());
    }
    const int size = static_cast<int>(m.devices.size());
    for (int i = 0; i < size; ++i) {
      for (int j = 0; j < size; ++j) {
        EXPECT_EQ(m.tokens[m.Cell(i, j)],
                  derived["link"][static_cast<std::size_t>(i)][static_cast<std::size_t>(j)]
                      .get<std::string>());
        EXPECT_EQ(m.tokens[m.Cell(i, j)], m.tokens[m.Cell(j, i)]);
      }
    }
  }
  std::string data_;
};

TEST_F(TopologyData, SmiMatricesAreAsDerived) {
  int read = 0;
  for (const std::string& stem : Stems("smi", ".txt")) {
    SCOPED_TRACE(stem);
    const std::string text = Slurp("smi/" + stem + ".txt");
    if (stem.starts_with("malformed")) {
      const auto graph = ReadMachine(text, stem);
      ASSERT_FALSE(graph);
      EXPECT_THAT(graph.error().ToString(), HasSubstr("run together"));
      EXPECT_THAT(graph.error().where, HasSubstr(stem + ":2:"));
      continue;
    }
    const auto found = ReadMatrix(text, stem, SmiDialect());
    ASSERT_TRUE(found) << found.error().ToString();
    ExpectDerived(found->matrix, stem);
    EXPECT_EQ(Read("smi/" + stem + ".txt").cards(), found->matrix.cards);
    ++read;
  }
  EXPECT_GE(read, 17);
}

TEST_F(TopologyData, VendorMatricesAreAsDerived) {
  const std::pair<const char*, MatrixTool> cases[] = {
      {"ascend_910b_8npu_npu-smi_topo", MatrixTool::kNpuSmi},
      {"metax_c500_8gpu_mx-smi_topo_m", MatrixTool::kMxSmi}};
  for (const auto& [stem, tool] : cases) {
    SCOPED_TRACE(stem);
    const std::string path = std::string("vendor/") + stem + ".txt";
    const auto matrix = ReadVendorMatrix(Slurp(path), stem, tool);
    ASSERT_TRUE(matrix) << matrix.error().ToString();
    ExpectDerived(*matrix, stem);
    EXPECT_EQ(Read(path).cards(), 8);
  }
  EXPECT_EQ(Read("vendor/ascend_910b_8npu_npu-smi_topo.txt").vendor, "Huawei");
  const MachineGraph metax = Read("vendor/metax_c500_8gpu_mx-smi_topo_m.txt");
  EXPECT_EQ(metax.vendor, "MetaX");
  EXPECT_EQ(metax.Of(VertexKind::kNuma).size(), 2U);
  const MachineGraph amd = Read("vendor/amd_mi3xx_8gpu_rocm-smi_showtopo.txt");
  EXPECT_EQ(amd.vendor, "AMD");
  EXPECT_EQ(amd.DirectFabric().sum(), 56 * 48000);
}

TEST_F(TopologyData, Fabrics) {
  const MachineGraph h100 = Read("smi/hgx_h100_8nic_pix.txt");
  EXPECT_TRUE(h100.in_network_reduction);
  EXPECT_EQ(h100.SwitchedFabric()(0), 370800);
  const MachineGraph a100 = Read("smi/dgx_a100_nvswitch_12nic.txt");
  EXPECT_EQ(a100.SwitchedFabric()(7), 240000);
  EXPECT_EQ(a100.vertices[0].numa, 3);
  EXPECT_FALSE(Read("smi/gb200_nvl72_tray_4gpu_ansi.txt").in_network_reduction);
  EXPECT_EQ(Read("smi/gb200_nvl72_tray_4gpu_ansi.txt").vertices[4].name, "mlx5_0");
  EXPECT_EQ(Read("smi/nv12_pairs_crossed_k8s_dp_546.txt").DirectFabric().sum(), 8 * 240000);
  // The same mesh with other numbers: the same degrees, another matrix.
  const auto mesh = Read("smi/dgx1_v100_hcm_1nic.txt").DirectFabric();
  const auto other = Read("smi/v100_hcm_alt_numbering_2nic.txt").DirectFabric();
  EXPECT_NE(mesh, other);
  EXPECT_EQ(mesh.rowwise().sum(), other.rowwise().sum());
  EXPECT_EQ(mesh.row(0).sum(), 6 * 20000);
}

TEST_F(TopologyData, NcclFiles) {
  for (const std::string& stem : Stems("nccl", ".xml")) {
    SCOPED_TRACE(stem);
    if (stem == "azure_ncv4-graph") {
      const auto graph = ReadMachine(Slurp("nccl/" + stem + ".xml"), stem);
      ASSERT_FALSE(graph);
      EXPECT_THAT(graph.error().message, HasSubstr("NCCL_GRAPH_DUMP_FILE"));
      continue;
    }
    const MachineGraph g = Read("nccl/" + stem + ".xml");
    EXPECT_EQ(g.cards(), stem == "azure_ncv4-topo" ? 4 : 8);
  }
  EXPECT_EQ(Read("nccl/azure_ndv4-topo.xml").Of(VertexKind::kNic).size(), 8U);
  EXPECT_EQ(Read("nccl/azure_ndv5-topo.xml").Of(VertexKind::kNic).size(), 8U);
  const MachineGraph p5 = Read("nccl/aws_p5.48xl-topo.xml");
  EXPECT_EQ(p5.Of(VertexKind::kNic).size(), 32U);
  EXPECT_EQ(p5.vertices[static_cast<std::size_t>(p5.Of(VertexKind::kNic)[0])].nic_mbps, 12500);
  EXPECT_EQ(Read("nccl/synth_dgx1v.xml").DirectFabric(),
            Read("smi/dgx1_v100_hcm_1nic.txt").DirectFabric());
}

TEST_F(TopologyData, HwlocFiles) {
  const MachineGraph dgx2 = Read("hwloc/nvidiaDGX2.xml");
  ASSERT_EQ(dgx2.cards(), 16);
  EXPECT_EQ(dgx2.Of(VertexKind::kFabricSwitch).size(), 12U);
  for (int card = 0; card < 16; ++card) {
    int links = 0;
    for (const Link& link : dgx2.links) {
      if (link.kind == LinkKind::kFabric && link.a == card) links += link.count;
    }
    EXPECT_EQ(links, 6);
    EXPECT_EQ(dgx2.SwitchedFabric()(card), 120000);
  }
  EXPECT_EQ(dgx2.FindCard("GPU-D3977428-7a30-086b-2e20-5c1eeed647c6"), 0);
  EXPECT_EQ(dgx2.vertices[15].numa, 1);
  MachineGraph no_pcie = dgx2;
  no_pcie.p2p_by_default = false;
  EXPECT_TRUE(no_pcie.CanPeer(0, 15));
  const MachineGraph power8 = Read("hwloc/power8gpudistances.xml");
  ASSERT_EQ(power8.cards(), 4);
  EXPECT_EQ(power8.DirectFabric()(0, 1), 36000);
  EXPECT_EQ(power8.DirectFabric()(1, 2), 0);
  int to_cpu = 0;
  for (const Link& link : power8.links) {
    to_cpu += link.kind == LinkKind::kFabric && link.b >= 4 ? 1 : 0;
  }
  EXPECT_EQ(to_cpu, 4);
}

// Every published text with one line left out, or cut off, is refused or still a machine.
TEST_F(TopologyData, TornFiles) {
  for (const std::string folder : {"smi", "vendor"}) {
    for (const std::string& stem : Stems(folder, ".txt")) {
      const std::string text = Slurp(folder + '/' + stem + ".txt");
      for (std::size_t at = 0; at < text.size(); at = text.find('\n', at) + 1) {
        const std::size_t end = text.find('\n', at);
        if (end == std::string::npos) break;
        for (const std::string& torn :
             {text.substr(0, at) + text.substr(end + 1), text.substr(0, (at + end) / 2)}) {
          const auto graph = ReadMachine(torn, "f");
          if (graph) {
            EXPECT_TRUE(ValidateGraph(*graph, stem));
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace basalt::topology
