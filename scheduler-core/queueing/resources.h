// What queues are measured in. A resource is a name with a unit; names are interned to dense ids in
// the order in which they are first met, so amounts are plain vectors. A name that comes later
// invalidates nothing: an amount that a vector does not reach is 0 (Amounts) or no limit (Limits).
//
// name                 unit                  what
// cpu                  milli-cores
// memory               MiB                   host memory
// gpu, gpu/MODEL       milli-GPU             compute, over all models and of one
// cards, cards/MODEL   cards                 taken whole
// slices               slices                parts of cards
// gpu-memory, gpu-memory/MODEL  MiB          card memory
// sku/NAME             count                 named bundles
// anything else        count
// A queue may limit gpu and gpu/A100 at once: whoever charges counts a card under both
// (CardResources), the tree does not know that one is part of the other.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "scheduler-core/base/ids.h"
#include "scheduler-core/base/result.h"

namespace basalt {

using ResourceId = Id<struct ResourceTag>;

// The largest amount of one resource in a queue's quota or a cluster: products of two of them and a
// weight then fit 128 bits. 10^12 MiB are an exabyte.
inline constexpr std::int64_t kMaxQuotaAmount = 1'000'000'000'000;

// By resource id; what the vector does not reach is 0. Amounts may be negative only in between.
class Amounts {
 public:
  std::int64_t operator[](ResourceId id) const {
    return id.index() < values_.size() ? values_[id.index()] : 0;
  }
  void Set(ResourceId id, std::int64_t amount) {
    Reach(id.index() + 1);
    values_[id.index()] = amount;
  }
  void Add(ResourceId id, std::int64_t amount) { Set(id, (*this)[id] + amount); }
  // Ids at and beyond this are 0. Loop: for (size_t r = 0; r < a.size(); ++r) a[ResourceId(r)].
  std::size_t size() const { return values_.size(); }
  void Clear() { values_.clear(); }  // keeps its memory
  bool IsZero() const {
    return std::all_of(values_.begin(), values_.end(), [](std::int64_t v) { return v == 0; });
  }
  Amounts& operator+=(const Amounts& other) {
    Reach(other.values_.size());
    for (std::size_t r = 0; r < other.values_.size(); ++r) values_[r] += other.values_[r];
    return *this;
  }
  Amounts& operator-=(const Amounts& other) {
    Reach(other.values_.size());
    for (std::size_t r = 0; r < other.values_.size(); ++r) values_[r] -= other.values_[r];
    return *this;
  }
  friend bool operator==(const Amounts& a, const Amounts& b) {
    for (std::size_t r = 0; r < std::max(a.size(), b.size()); ++r) {
      if (a[ResourceId(r)] != b[ResourceId(r)]) return false;
    }
    return true;
  }

 private:
  void Reach(std::size_t size) {
    if (values_.size() < size) values_.resize(size, 0);
  }
  std::vector<std::int64_t> values_;
};

// Upper limits by resource id; what was not set is not limited.
class Limits {
 public:
  static constexpr std::int64_t kNone = std::numeric_limits<std::int64_t>::max();
  std::int64_t operator[](ResourceId id) const {
    return id.index() < values_.size() ? values_[id.index()] : kNone;
  }
  bool limits(ResourceId id) const { return (*this)[id] != kNone; }
  void Set(ResourceId id, std::int64_t limit) {
    if (values_.size() <= id.index()) values_.resize(id.index() + 1, kNone);
    values_[id.index()] = limit;
  }
  std::size_t size() const { return values_.size(); }

 private:
  std::vector<std::int64_t> values_;
};

// name -> amount, as configuration writes it.
using AmountMap = std::map<std::string, std::int64_t>;

// The resources that cards of one model count under; look them up once per model.
struct CardResources {
  ResourceId gpu, gpu_model;
  ResourceId cards, cards_model;
  ResourceId slices;
  ResourceId memory, memory_model;
};

class ResourceTable {
 public:
  // The name's id; a new name gets the next one. The name must be valid (ValidateResourceName).
  ResourceId Intern(std::string_view name);
  std::optional<ResourceId> Find(std::string_view name) const;
  const std::string& name(ResourceId id) const { return names_[id.index()]; }
  std::size_t size() const { return names_.size(); }

  // `model` empty: cards of no known model count under the totals only.
  CardResources ForModel(std::string_view model);
  Amounts Make(const AmountMap& amounts);  // names must be valid

  // "2.5" for 2500 of gpu, "40" for 40 of cards, "1024 MiB" for memory: without the name.
  std::string Format(ResourceId id, std::int64_t amount) const;

 private:
  std::vector<std::string> names_;
  std::map<std::string, ResourceId, std::less<>> by_name_;
};

// Refuses empty names, blanks, and an empty part before or behind the slash ("gpu/").
Status ValidateResourceName(std::string_view name, const std::string& where);

// Adds `count` cards of `milli` compute (1..1000) and `memory_mib` card memory each: whole cards
// count as cards, smaller parts as slices.
void AddCards(const CardResources& ids, std::int64_t count, std::int64_t milli,
              std::int64_t memory_mib, Amounts* out);

}  // namespace basalt
