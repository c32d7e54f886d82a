// The one random number generator: PCG32 with explicit seed and stream, and the bounded draw and
// shuffle defined here, because std::*_distribution and std::shuffle differ between libraries.
#pragma once

#include <cstdint>
#include <pcg_random.hpp>
#include <span>
#include <utility>

namespace basalt {

class Rng {
 public:
  // Use one stream for each purpose (order, types, ties), so that one never shifts another.
  explicit Rng(std::uint64_t seed, std::uint64_t stream = 0) : engine_(seed, stream) {}

  std::uint32_t Next() { return engine_(); }

  // Uniform in [0, bound), bound > 0. Lemire's multiply-and-reject (arXiv 1805.10941).
  std::uint32_t Below(std::uint32_t bound) {
    std::uint64_t product = static_cast<std::uint64_t>(Next()) * bound;
    auto low = static_cast<std::uint32_t>(product);
    if (low < bound) {
      const std::uint32_t threshold = (0U - bound) % bound;
      while (low < threshold) {
        product = static_cast<std::uint64_t>(Next()) * bound;
        low = static_cast<std::uint32_t>(product);
      }
    }
    return static_cast<std::uint32_t>(product >> 32);
  }

  // Uniform in [0, 1) with 32 bits.
  double Unit() { return static_cast<double>(Next()) * 0x1p-32; }

  template <class T>
  void Shuffle(std::span<T> items) {
    for (std::size_t i = items.size(); i > 1; --i) {
      std::swap(items[i - 1], items[Below(static_cast<std::uint32_t>(i))]);
    }
  }

 private:
  pcg32 engine_;
};

}  // namespace basalt
