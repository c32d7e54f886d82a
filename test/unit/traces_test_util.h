// Files and data for the traces tests.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>

#include "traces/diagnostics.h"

namespace basalt::trace {

// A fresh directory for one test, removed afterwards.
class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "basalt-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  std::string operator/(std::string_view name) const { return path_ + '/' + std::string(name); }
  std::string Write(std::string_view name, std::string_view text) const {
    const std::string path = *this / name;
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }

 private:
  std::string path_;
};

inline std::string Slurp(const std::string& path) {
  std::stringstream out;
  out << std::ifstream(path, std::ios::binary).rdbuf();
  return out.str();
}

// The shared data folder, or empty when it is not there.
inline std::string SharedData() {
  const char* shared = std::getenv("BASALT_SHARED");
  std::string root = shared != nullptr ? shared : std::string(BASALT_SOURCE_DIR) + "/../shared";
  root += "/data";
  return std::filesystem::is_directory(root) ? root : std::string();
}

// "where: message" of the only error; all of them, marked, when there is another number.
inline std::string OnlyError(const Diagnostics& d) {
  if (d.total == 1) return d.errors.front().ToString();
  return std::to_string(d.total) + " errors:\n" + d.ToString();
}

}  // namespace basalt::trace
