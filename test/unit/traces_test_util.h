// Files and data for the traces tests.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>

#include "test/support/files.h"
#include "traces/diagnostics.h"

namespace basalt::trace {

using support::Slurp;
using support::TempDir;

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
