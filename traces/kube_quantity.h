// Quantities of Kubernetes: "500m", "64", "16Gi", "1.5e3", "100M" (apimachinery's
// resource.Quantity).
#pragma once

#include <cstdint>
#include <string_view>

namespace basalt::trace {

enum class Round { kUp, kDown };  // requests up, capacities down: never more fits than does

// The quantity times num/den, as an integer: 1000/1 for milli-cores, 1/2^20 for MiB of bytes.
// *exact, when given, becomes false when it was rounded. False: not a quantity, negative or too
// large for 64 bits. Requires num and den within 1..2^20.
bool ParseQuantity(std::string_view text, std::int64_t num, std::int64_t den, Round round,
                   std::int64_t* value, bool* exact = nullptr);

}  // namespace basalt::trace
