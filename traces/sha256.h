// SHA-256 (FIPS 180-4), to name the exact input files in a trace's manifest. Not used for secrets.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace basalt::trace {

class Sha256 {
 public:
  void Update(std::string_view bytes);
  // 64 lower-case hexadecimal digits. Ends the computation.
  std::string Hex();

 private:
  void Block(const unsigned char* bytes);

  std::array<std::uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<unsigned char, 64> buffer_{};
  std::size_t buffered_ = 0;
  std::uint64_t length_ = 0;
};

std::string Sha256Hex(std::string_view bytes);

}  // namespace basalt::trace
