// Replays a committed corpus through its fuzz entry, in every build.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace basalt::fuzz {

class FuzzCorpus
    : public testing::TestWithParam<std::pair<const char*, void (*)(std::string_view)>> {};

TEST_P(FuzzCorpus, EveryInputKeepsThePromises) {
  const auto& [name, entry] = GetParam();
  std::vector<std::filesystem::path> files;
  for (const auto& file : std::filesystem::directory_iterator(std::string(BASALT_SOURCE_DIR) +
                                                              "/test/fuzz/corpus/" + name)) {
    files.push_back(file.path());
  }
  std::ranges::sort(files);
  ASSERT_FALSE(files.empty());
  for (const auto& path : files) {
    SCOPED_TRACE(path.string());
    std::stringstream bytes;
    bytes << std::ifstream(path, std::ios::binary).rdbuf();
    entry(bytes.str());
  }
}

}  // namespace basalt::fuzz
