// The bounds that every reader, importer and generator of traces keeps to. Amounts are bounded so
// that sums over a whole trace stay inside int64: 10^12 each times 10^6 rows or replicas.
#pragma once

#include <cstddef>
#include <cstdint>

namespace basalt::trace {

inline constexpr std::size_t kMaxTextBytes = std::size_t{4} << 30;   // after decompression
inline constexpr std::size_t kMaxLineBytes = std::size_t{16} << 20;  // one line, and one record
inline constexpr std::size_t kMaxManifestBytes = std::size_t{16} << 20;
inline constexpr std::size_t kMaxErrors = 20;  // kept; the rest is counted

inline constexpr std::size_t kMaxNameBytes = 4096;                  // an id, a model, a user
inline constexpr std::size_t kMaxJsonBytes = std::size_t{1} << 20;  // labels, extra, a note

inline constexpr std::int64_t kMaxAmount = 1'000'000'000'000;  // milli-cores, MiB, milli-GPU
inline constexpr std::int64_t kMaxTimeUs = 1'000'000'000'000'000'000;  // 31,688 years
inline constexpr std::int32_t kMaxCards = 64;                          // of one node, of one task
inline constexpr std::int32_t kMaxReplicas = 1'000'000;
inline constexpr std::int32_t kMaxSmall = 1'000'000;  // NUMA nodes, NIC milli, ...

}  // namespace basalt::trace
