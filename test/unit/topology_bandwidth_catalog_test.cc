// The catalog: its machines are valid and what they are called; files of users are refused with
// places.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "test/unit/topology_bandwidth_test_util.h"
#include "topology/files/catalog.h"

namespace basalt::topology {
namespace {

TEST(Catalog, HasTheMachines) {
  const std::vector<std::string> names = CatalogNames();
  EXPECT_TRUE(std::ranges::is_sorted(names));
  for (const char* name : {"dgx-1-v100", "dgx-a100", "hgx-h100", "hgx-h200", "hgx-h20",
                           "a100-pcie-bridged", "l20-pcie", "l40s-pcie", "rtx-4090",
                           "gb200-nvl72-tray", "ascend-910b", "metax-c500", "kunlun-p800"}) {
    EXPECT_NE(std::ranges::find(names, name), names.end()) << name;
  }
}

TEST(Catalog, EveryEntryIsWhole) {
  for (const std::string& name : CatalogNames()) {
    SCOPED_TRACE(name);
    const auto entry = FindCatalogEntry(name);
    ASSERT_TRUE(entry) << entry.error().ToString();
    EXPECT_EQ(entry->name, name);
    EXPECT_EQ(entry->graph.name, name);
    EXPECT_FALSE(entry->help.empty());
    EXPECT_FALSE(entry->card_model.empty());
    EXPECT_GT(entry->card_memory_mib, 8192);
    EXPECT_FALSE(entry->graph.vendor.empty());
    EXPECT_FALSE(entry->graph.Of(VertexKind::kNic).empty());
    EXPECT_FALSE(entry->graph.Of(VertexKind::kNuma).empty());
    for (const int card : entry->graph.Of(VertexKind::kCard)) {
      EXPECT_GE(entry->graph.vertices[static_cast<std::size_t>(card)].numa, 0);
    }
    const auto type = MustMake(entry->graph);
    for (int k = 2; k <= type->cards(); ++k) EXPECT_GT(type->Best(k), 0);
    // Each file says where its figures are from.
    std::ifstream file(std::string(BASALT_SOURCE_DIR) + "/topology/files/catalog/" + name +
                       ".yaml");
    std::string first;
    std::getline(file, first);
    EXPECT_TRUE(first.starts_with("# ")) << first;
    for (std::string line; std::getline(file, line);) EXPECT_LE(line.size(), 120U) << line;
  }
}

TEST(Catalog, UnknownNames) {
  const auto near = CatalogMachine("hgx-h1000");
  ASSERT_FALSE(near);
  EXPECT_NE(near.error().message.find("did you mean \"hgx-h100\"?"), std::string::npos);
  const auto far = CatalogMachine("toaster-oven");
  ASSERT_FALSE(far);
  EXPECT_NE(far.error().message.find("dgx-a100, "), std::string::npos) << far.error().ToString();
}

constexpr char kGood[] =
    "machine: m\n"
    "help: two cards\n"
    "card_model: X\n"
    "card_memory_mib: 1024\n"
    "cards: 2\n"
    "sm: 70\n"
    "links:\n"
    "  - 0-1:nv2\n";

TEST(Catalog, FilesOfUsers) {
  const auto entry = ParseCatalogEntry("m.yaml", kGood);
  ASSERT_TRUE(entry) << entry.error().ToString();
  EXPECT_EQ(FormatGraph(entry->graph), "2 sm=70 link=0-1:2*20000");
  const auto with = [](std::string from, const std::string& to) {
    std::string text = kGood;
    text.replace(text.find(from), from.size(), to);
    return text;
  };
  const std::tuple<std::string, const char*, const char*> kCases[] = {
      {with("links", "link"), "m.yaml:7:1", "did you mean \"links\"?"},
      {with("0-1:nv2", "0-2:nv2"), "m.yaml:8:5", "\"0-2:nv2\": expected a card"},
      {with("cards: 2", "cards: 65"), "m.yaml:5:8", "65"},
      {with("cards: 2\n", ""), "m.yaml:1:1", "cards"},
      {with("sm: 70", "sm: seventy"), "m.yaml:6:5", "expected a number"},
      {with("  - 0-1:nv2\n", "  - 0-1:nv2\n  - 1-0:nv1\n"), "m.yaml", "there twice"},
      {with("card_memory_mib: 1024", "card_memory_mib: 0"), "m.yaml:4:18", "0"},
      {with("links:\n", "links: 5\nx:\n"), "m.yaml:7:8", "list"},
      {"", "m.yaml", "empty"},
      {"[1, 2]", "m.yaml:1:1", ""},
      {"a: [", "m.yaml", ""},
  };
  for (const auto& [text, place, says] : kCases) {
    const auto bad = ParseCatalogEntry("m.yaml", text);
    ASSERT_FALSE(bad) << text;
    EXPECT_NE(bad.error().ToString().find(place), std::string::npos) << bad.error().ToString();
    EXPECT_NE(bad.error().ToString().find(says), std::string::npos) << bad.error().ToString();
  }
}

TEST(Catalog, KeysAreDocumented) {
  std::ifstream file(std::string(BASALT_SOURCE_DIR) + "/docs/topology.md");
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_NE(text.str().find(CatalogKeys()), std::string::npos)
      << "docs/topology.md must have this table:\n"
      << CatalogKeys();
}

}  // namespace
}  // namespace basalt::topology
