// A 128-bit running digest of integers and strings. It answers "did the same things happen in the
// same order" across runs, threads and machines; it is not cryptographic. The mixing step is the
// 64x64->128 multiply of wyhash (public domain idea, own code); values are absorbed as numbers, not
// as memory, so padding and byte order never enter.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

namespace basalt {

struct Digest128 {
  std::uint64_t hi = 0;
  std::uint64_t lo = 0;
  friend constexpr auto operator<=>(const Digest128&, const Digest128&) = default;
  std::string ToHex() const {
    static constexpr char kHex[] = "0123456789abcdef";
    std::string out(32, '0');
    for (std::size_t i = 0; i < 16; ++i) {
      out[15 - i] = kHex[(hi >> (4 * i)) & 15];
      out[31 - i] = kHex[(lo >> (4 * i)) & 15];
    }
    return out;
  }
};

inline std::uint64_t MixPair(std::uint64_t a, std::uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

class Digest {
 public:
  void Add(std::uint64_t value) {
    a_ = MixPair(a_ ^ value ^ 0xa0761d6478bd642fULL, b_ ^ 0xe7037ed1a0b428dbULL);
    b_ = MixPair(b_ ^ value ^ 0x8ebc6af09c88c6e3ULL, a_ ^ 0x589965cc75374cc3ULL) + count_;
    ++count_;
  }
  void Add(std::int64_t value) { Add(static_cast<std::uint64_t>(value)); }
  void Add(std::int32_t value) {
    Add(static_cast<std::uint64_t>(static_cast<std::int64_t>(value)));
  }
  void Add(std::uint32_t value) { Add(static_cast<std::uint64_t>(value)); }
  void Add(const Digest128& other) {
    Add(other.hi);
    Add(other.lo);
  }
  void Add(std::string_view text) {
    Add(static_cast<std::uint64_t>(text.size()));
    std::uint64_t word = 0;
    unsigned shift = 0;
    for (const char c : text) {
      word |= static_cast<std::uint64_t>(static_cast<unsigned char>(c)) << shift;
      shift += 8;
      if (shift == 64) {
        Add(word);
        word = 0;
        shift = 0;
      }
    }
    if (shift != 0) Add(word);
  }
  Digest128 value() const { return Digest128{MixPair(a_, b_ ^ 0x1d8e4e27c47d124fULL), a_ ^ b_}; }

 private:
  std::uint64_t a_ = 0x2d358dccaa6c78a5ULL;
  std::uint64_t b_ = 0x8bb84b93962eacc9ULL;
  std::uint64_t count_ = 0;
};

inline Digest128 DigestOf(std::string_view text) {
  Digest d;
  d.Add(text);
  return d.value();
}

}  // namespace basalt
