// `basalt sim --scenario` on a platform scenario (platform_file.h).
#pragma once

#include <string>

#include "cli/common.h"

namespace basalt::cli {

void RunPlatformScenario(Context* context, const std::string& path, const std::string& report_path,
                         Format format);

}  // namespace basalt::cli
