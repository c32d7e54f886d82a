// Typed dense ids. An Id<Tag> is an index into the columns of its own kind and nothing else: no
// implicit construction, no arithmetic, and IdVector<I, T> can be indexed only by I. Ids are
// process-local slots: they are never written to a journal, a snapshot or a report.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <utility>
#include <vector>

namespace basalt {

template <class Tag>
class Id {
 public:
  using Rep = std::uint32_t;
  static constexpr Rep kInvalid = std::numeric_limits<Rep>::max();

  constexpr Id() = default;
  constexpr explicit Id(Rep value) : value_(value) {}
  constexpr explicit Id(std::size_t value) : value_(static_cast<Rep>(value)) {}

  constexpr Rep value() const { return value_; }
  constexpr std::size_t index() const { return value_; }
  constexpr bool valid() const { return value_ != kInvalid; }
  friend constexpr auto operator<=>(Id, Id) = default;

 private:
  Rep value_ = kInvalid;
};

using NodeId = Id<struct NodeTag>;
using NodeClassId = Id<struct NodeClassTag>;
using ModelId = Id<struct ModelTag>;
using ShapeId = Id<struct ShapeTag>;
using JobId = Id<struct JobTag>;
using QueueId = Id<struct QueueTag>;
using LabelId = Id<struct LabelTag>;

// A vector that only its own id can index.
template <class I, class T>
class IdVector {
 public:
  IdVector() = default;
  explicit IdVector(std::size_t n, const T& value = T()) : items_(n, value) {}

  T& operator[](I id) { return items_[id.index()]; }
  const T& operator[](I id) const { return items_[id.index()]; }
  std::size_t size() const { return items_.size(); }
  bool empty() const { return items_.empty(); }
  void resize(std::size_t n) { items_.resize(n); }
  void resize(std::size_t n, const T& value) { items_.resize(n, value); }
  void reserve(std::size_t n) { items_.reserve(n); }
  void clear() { items_.clear(); }
  I push_back(T value) {
    items_.push_back(std::move(value));
    return I(items_.size() - 1);
  }
  T* data() { return items_.data(); }
  const T* data() const { return items_.data(); }
  auto begin() { return items_.begin(); }
  auto end() { return items_.end(); }
  auto begin() const { return items_.begin(); }
  auto end() const { return items_.end(); }
  bool contains(I id) const { return id.index() < items_.size(); }

 private:
  std::vector<T> items_;
};

}  // namespace basalt

template <class Tag>
struct std::hash<basalt::Id<Tag>> {
  std::size_t operator()(basalt::Id<Tag> id) const noexcept { return id.value(); }
};
