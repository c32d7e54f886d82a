// `basalt sim --scenario` on a platform scenario (platform_file.h).
#pragma once

#include <yaml-cpp/yaml.h>

#include <string>

#include "cli/common.h"

namespace basalt::cli {

// Whether the file is a platform scenario; small ones have `nodes` and `pods`.
bool IsPlatformScenario(const YAML::Node& root);

void RunPlatformScenario(Context* context, const std::string& path, const std::string& report_path,
                         Format format);

}  // namespace basalt::cli
