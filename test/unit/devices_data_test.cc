// A node that Volcano sent to its extender (a captured request of the shared data), read as kubectl
// would have written it.
#include <gmock/gmock.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "devices/node_file.h"
#include "test/unit/devices_test_util.h"

namespace basalt::devices {
namespace {

using nlohmann::json;

TEST(NodeData, ANodeOfVolcanosDevicePlugin) {
  const char* shared = std::getenv("BASALT_SHARED");
  const std::string path =
      std::string(shared != nullptr ? shared : BASALT_SOURCE_DIR "/../shared") +
      "/data/kubernetes/vc-extender-vgpu.predicate.json";
  if (!std::filesystem::is_regular_file(path)) GTEST_SKIP() << "skipped: no shared data";
  std::ifstream file(path);
  const json captured = json::parse(file);
  const auto node = ReadNodeFile("captured", captured.at("node").at("Node").dump());
  ASSERT_TRUE(node.has_value()) << node.error().ToString();
  EXPECT_EQ(node->name, "gpu-3");
  EXPECT_TRUE(node->ready);
  const auto read = ReadNode(Cards(), *node);
  ASSERT_TRUE(read.has_value()) << read.error().ToString();
  EXPECT_EQ(read->spec.cpu_milli, 64'000);
  EXPECT_EQ(read->spec.memory_mib, 512 * 1024);
  EXPECT_FALSE(read->cordoned);
  // nvidia.com/gpu says 8; the two that the plugin registered are what there is.
  ASSERT_EQ(read->spec.cards.size(), 2U);
  for (std::size_t i = 0; i < 2; ++i) {
    const CardSpec& card = read->spec.cards[i];
    EXPECT_EQ(card.uuid, "GPU-gpu-3-" + std::to_string(i));
    EXPECT_EQ(card.model, "H100");
    EXPECT_EQ(card.memory_mib, 81'920);
    EXPECT_EQ(card.memory_ratio_percent, 100);
    EXPECT_EQ(card.slots, 10);
    EXPECT_EQ(read->facts.platforms[i], "volcano");
    EXPECT_EQ(read->conditions[i], (CardCondition{.healthy = true, .cordoned = false}));
  }
}

}  // namespace
}  // namespace basalt::devices
