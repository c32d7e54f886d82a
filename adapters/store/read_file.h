// How a store's files are read: no link is followed, and nothing but a regular file is read. What
// somebody put in their place neither leads elsewhere nor holds up the start.
#pragma once

#include <optional>
#include <string>

#include "scheduler-core/base/result.h"

namespace basalt::store {

// Errors: it is not there, is a link or no regular file, or cannot be read.
Result<std::string> ReadAll(const std::string& path);
// None: there is nothing of that name.
Result<std::optional<std::string>> ReadIfThere(const std::string& path);

}  // namespace basalt::store
