// The server's log: one JSON object a line on stderr. Text from outside is quoted, cut and free of
// control characters; annotations and keys are never logged.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace basalt::rpc {

void Log(std::string_view event,
         std::initializer_list<std::pair<std::string_view, std::string>> fields = {});

}  // namespace basalt::rpc
