// A set of cards of one node as a 64-bit mask: bit i is the card with local index i. A node has at
// most 64 cards (checked where nodes enter). A set is a value; iteration is in ascending index.
#pragma once

#include <bit>
#include <compare>
#include <cstdint>

namespace basalt {

inline constexpr int kMaxCardsPerNode = 64;

class CardSet {
 public:
  constexpr CardSet() = default;
  constexpr explicit CardSet(std::uint64_t bits) : bits_(bits) {}
  static constexpr CardSet Of(int card) { return CardSet(std::uint64_t{1} << card); }

  constexpr void Add(int card) { bits_ |= std::uint64_t{1} << card; }
  constexpr bool Has(int card) const { return ((bits_ >> card) & 1) != 0; }
  constexpr int size() const { return std::popcount(bits_); }
  constexpr bool empty() const { return bits_ == 0; }
  constexpr std::uint64_t bits() const { return bits_; }
  constexpr int lowest() const { return std::countr_zero(bits_); }
  friend constexpr auto operator<=>(CardSet, CardSet) = default;

  // for (const int card : set)
  class Iterator {
   public:
    constexpr explicit Iterator(std::uint64_t bits) : bits_(bits) {}
    constexpr int operator*() const { return std::countr_zero(bits_); }
    constexpr Iterator& operator++() {
      bits_ &= bits_ - 1;
      return *this;
    }
    friend constexpr bool operator==(Iterator, Iterator) = default;

   private:
    std::uint64_t bits_;
  };
  constexpr Iterator begin() const { return Iterator(bits_); }
  constexpr Iterator end() const { return Iterator(0); }

 private:
  std::uint64_t bits_ = 0;
};

}  // namespace basalt
