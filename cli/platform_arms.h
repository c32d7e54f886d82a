// Arms of a platform scenario: keys of the YAML document set anew, before it is read.
#pragma once

#include <string>

#include "scheduler-core/config/options.h"

namespace basalt::cli {

// Puts `value` at the path that `path` (a scalar of the same document, which is used up) names:
// keys by name, entries of lists by their `name` or index, `*` for all. The last key may be one
// that the file leaves to its default. Errors have the place of `path`.
void SetAtPath(const config::Document& document, YAML::Node path, const YAML::Node& value,
               const std::string& who, config::Errors* errors);

// What stands at the path, in one line; empty and an error when nothing does. `*` means the first.
std::string TextAtPath(const config::Document& document, const YAML::Node& path,
                       config::Errors* errors);

}  // namespace basalt::cli
