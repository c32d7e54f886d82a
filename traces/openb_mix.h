// The request and node mix of openb's default pod list and GPU node list, as counts (numbers
// derived from Alibaba's cluster-trace-gpu-v2023; openb_mix.cc names the source).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace basalt::trace {

struct RequestClass {
  std::int64_t cpu_milli, memory_mib;
  std::int32_t gpu_num, gpu_milli;
  std::uint32_t count;
};

struct NodeConfiguration {
  std::string_view model;
  std::int32_t gpu_count;
  std::int64_t cpu_milli, memory_mib;
  std::uint32_t count;
};

std::span<const RequestClass> OpenbRequestClasses();           // most frequent first; sum 8,152
std::span<const NodeConfiguration> OpenbNodeConfigurations();  // most frequent first; sum 1,213

}  // namespace basalt::trace
