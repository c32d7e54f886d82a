// Files of a test or a benchmark, in a folder of its own.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>

#include "scheduler-core/base/check.h"

namespace basalt::support {

inline std::string Slurp(const std::string& path) {
  std::ostringstream bytes;
  bytes << std::ifstream(path, std::ios::binary).rdbuf();
  return bytes.str();
}
inline void Spill(const std::string& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

// Made fresh, and removed with all that is in it.
class TempDir {
 public:
  TempDir() : path_((std::filesystem::temp_directory_path() / "basalt-XXXXXX").string()) {
    BASALT_CHECK(mkdtemp(path_.data()) != nullptr);
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::string& path() const { return path_; }
  std::string operator/(std::string_view name) const { return path_ + '/' + std::string(name); }
  // Writes a file; its path.
  std::string Write(std::string_view name, std::string_view text) const {
    std::string path = *this / name;
    Spill(path, text);
    return path;
  }

 private:
  std::string path_;
};

}  // namespace basalt::support
