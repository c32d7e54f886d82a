// The model against what was computed and measured elsewhere, where the shared data is at hand.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "test/unit/topology_bandwidth_test_util.h"
#include "topology/files/catalog.h"

namespace basalt::topology {
namespace {

class TopologyData : public testing::Test {
 protected:
  void SetUp() override {
    const char* shared = std::getenv("BASALT_SHARED");
    folder_ = std::string(shared != nullptr ? shared : BASALT_SOURCE_DIR "/../shared") +
              "/data/topology/derived/";
    if (!std::filesystem::is_directory(folder_)) GTEST_SKIP() << "skipped: no shared data";
  }
  std::vector<std::vector<std::string>> Rows(const std::string& name) const {
    std::ifstream file(folder_ + name);
    std::vector<std::vector<std::string>> rows;
    std::string line;
    std::getline(file, line);
    while (std::getline(file, line)) {
      std::stringstream in(line);
      rows.emplace_back();
      for (std::string cell; std::getline(in, cell, ',');) rows.back().push_back(cell);
    }
    return rows;
  }
  std::string folder_;
};

TEST_F(TopologyData, EveryDgx1SubsetIsTheRingPacking) {
  const auto type = MustMake(*CatalogMachine("dgx-1-v100"));
  MachineGraph pcie = type->graph();
  std::erase_if(pcie.links, [](const Link& l) { return l.kind == LinkKind::kFabric; });
  const auto without = MustMake(pcie);
  const Eigen::MatrixXi direct = type->graph().DirectFabric();
  int checked = 0;
  int rings = 0;
  int at_cut = 0;
  for (const std::vector<std::string>& row : Rows("dgx1v_subsets.csv")) {
    CardSet set;
    std::vector<int> cards;
    for (const char c : row[1]) {
      set.Add(c - '0');
      cards.push_back(c - '0');
    }
    const std::int64_t packing = std::llround(std::stod(row[4]) * 1000);
    EXPECT_EQ(RingPacking(direct(cards, cards)), packing) << row[1];
    EXPECT_EQ(SmallestCut(direct(cards, cards)), std::llround(std::stod(row[5]) * 1000)) << row[1];
    EXPECT_EQ(type->Bandwidth(set), packing > 0 ? packing : without->Bandwidth(set)) << row[1];
    ++checked;
    rings += packing > 0 ? 1 : 0;
    at_cut += packing > 0 && std::stod(row[4]) == std::stod(row[5]) ? 1 : 0;
  }
  EXPECT_EQ(checked, 247);
  EXPECT_EQ(rings, 93);
  EXPECT_EQ(at_cut, 67);
}

// Each row of busbw_measured.csv by its first words, as a machine. `nic_mbps` 0: one machine.
struct Case {
  const char* row;
  std::string machine;
  std::uint64_t cards;
  std::int32_t nic_mbps = 0;
};

TEST_F(TopologyData, WithinTwentyPercentOfWhatWasMeasured) {
  const std::string bridged =
      "4xA100 link=0-1:nv12,2-3:nv12 pcie=0..3-n0:gen4";  // nccl-tests#178, without its measurement
  const std::string spr = "pcie=0..3-n0:40000,4..7-n1:40000 socket=n0-n1:24000";
  const Case kCases[] = {
      {"A100-SXM NVSwitch 1 node", "8xA100 link=0..7-f0:nv12", 0xFF},
      {"A100 PCIe bonded pair NV12", bridged, 0b0011},
      {"A100 PCIe pair + 1 GPU in same socket (NODE)", bridged, 0b0111},
      {"H100-SXM NVSwitch 1 node ring", "8xH100 link=0..7-f0:nv18", 0xFF},
      {"H100-SXM NVSwitch 1 node NVLS", "8xH100 nvls link=0..7-f0:nv18", 0xFF},
      {"H200-SXM NVLS", "8xH200 nvls link=0..7-f0:nv18", 0xFF},
      {"H800-SXM NVLS (8 links)", "8xH800 nvls link=0..7-f0:nv8", 0xFF},
      {"DGX A100 multi-node ring 8x200G", "8xA100 link=0..7-f0:nv12", 0xFF, 8 * 25'000},
      {"3 nodes A100 4xHDR", "8xA100 link=0..7-f0:nv12", 0xFF, 4 * 25'000},
      {"GB200 3 racks x NVL4 ring NVLS off", "4xGB200 link=0..3-f0:nv18", 0xF, 4 * 50'000},
      {"GB200 3 racks x NVL8 ring NVLS off", "8xGB200 link=0..7-f0:nv18", 0xFF, 8 * 50'000},
      {"NDR 400G per NIC", "1", 1, 50'000},
      // The largest machine that a card set holds stands for the rack of 72: all are alike.
      {"GB200 NVL72 full rack NVLS", "64xGB200 nvls link=0..63-f0:nv18", ~std::uint64_t{0}},
      {"4x RTX5090 PCIe5", "8 p2p=all " + spr, 0b1111},
      {"8x RTX5090 PCIe5 2 sockets", "8 p2p=all " + spr, 0xFF},
      {"8 GPUs no P2P: 4 in one NUMA", "8 p2p=none pcie=0..3-n0:gen5,4..7-n1:gen5", 0b1111},
      {"8 GPUs no P2P: 2+2 across NUMA", "8 p2p=none pcie=0..3-n0:gen5,4..7-n1:gen5", 0b110011},
  };
  std::set<std::string> used;
  int rows = 0;
  for (const std::vector<std::string>& row : Rows("busbw_measured.csv")) {
    ++rows;
    for (const Case& c : kCases) {
      if (row[0] != c.row) continue;
      used.insert(row[0]);
      const auto type = MustMake(MustParse(c.machine));
      std::int32_t model = type->Bandwidth(CardSet(c.cards));
      if (c.nic_mbps != 0) {
        model = AcrossNodes(type->cards() == 1 ? 1'000'000 : model, c.nic_mbps);
      }
      // "46-48": the middle counts.
      const std::size_t dash = row[4].find('-');
      const double measured =
          dash == std::string::npos
              ? std::stod(row[4])
              : (std::stod(row[4].substr(0, dash)) + std::stod(row[4].substr(dash + 1))) / 2;
      const double off = model / 1000.0 / measured - 1;
      EXPECT_LE(std::abs(off), 0.2 + 1e-9) << row[0] << ": " << model << " against " << measured;
      std::printf("%-46s %7.1f  measured %7.1f  %+5.1f %%\n", row[0].c_str(), model / 1000.0,
                  measured, 100 * off);
    }
  }
  EXPECT_EQ(used.size(), std::size(kCases));
  // Left out: the outlier that its source calls a defect, and trees over two nodes (no model).
  EXPECT_EQ(rows - static_cast<int>(used.size()), 2);
}

}  // namespace
}  // namespace basalt::topology
