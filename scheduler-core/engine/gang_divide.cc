#include "scheduler-core/engine/gang_divide.h"

#include <algorithm>

#include "scheduler-core/base/check.h"

namespace basalt {
namespace {

class Divider {
 public:
  Divider(const DomainTree& tree, const SlotIndex::Slots& slots, std::vector<LeafCount>* out)
      : tree_(tree), slots_(slots), out_(out) {}

  void Packed(const Region& region, std::int64_t count) {
    if (count == 0) return;
    if (!region.domain.valid() || tree_.domain(region.domain).children.empty()) {
      return PackedLeaves(region.begin, region.end, count);
    }
    const std::vector<Unit> units = UnitsOf(region);
    for (std::size_t i = 0; count > 0; ++i) {
      BASALT_CHECK(i < units.size());
      if (units[i].places < count) {
        Packed(units[i].region, units[i].places);
        count -= units[i].places;
        continue;
      }
      // The smallest that holds the rest; the first of equals.
      std::size_t last = i;
      while (last + 1 < units.size() && units[last + 1].places >= count) ++last;
      while (last > i && units[last - 1].places == units[last].places) --last;
      return Packed(units[last].region, count);
    }
  }

  void Balanced(const Region& region, std::int64_t count) {
    if (!region.domain.valid()) return PackedLeaves(region.begin, region.end, count);
    const std::vector<Unit> units = UnitsOf(region);  // most places first
    std::int64_t sum = 0;
    for (std::size_t m = 1; m <= units.size(); ++m) {
      sum += units[m - 1].places;
      if (sum < count) continue;
      const auto parts = static_cast<std::int64_t>(m);
      const std::int64_t small = count / parts;
      const auto larger = static_cast<std::size_t>(count % parts);  // these get one more
      const std::size_t can_large = CountWith(units, small + 1);
      const std::size_t can_small = CountWith(units, small);
      if (can_large < larger || can_small < m || small == 0) continue;
      // The tightest: the last ones of the sorted list that are still large enough.
      std::vector<std::size_t> chosen;
      for (std::size_t i = can_small; i-- > can_large && chosen.size() < m - larger;) {
        chosen.push_back(i);
      }
      for (std::size_t i = can_large; i-- > 0 && chosen.size() < m;) chosen.push_back(i);
      std::sort(chosen.begin(), chosen.end());
      for (std::size_t k = 0; k < m; ++k) {
        const std::int64_t part = small + (k < larger ? 1 : 0);
        if (m == 1) {
          Balanced(units[chosen[k]].region, part);
        } else {
          Packed(units[chosen[k]].region, part);
        }
      }
      return;
    }
    Packed(region, count);
  }

  void Spread(const Region& region, std::int64_t count) {
    // The smallest level at which the leaves, giving at most that many each, hold all.
    std::int64_t low = 1;
    std::int64_t high = 0;
    for (std::uint32_t leaf = region.begin; leaf < region.end; ++leaf) {
      high = std::max<std::int64_t>(high, slots_.copies[leaf]);
    }
    const auto held = [&](std::int64_t level) {
      std::int64_t sum = 0;
      for (std::uint32_t leaf = region.begin; leaf < region.end; ++leaf) {
        sum += std::min<std::int64_t>(slots_.copies[leaf], level);
      }
      return sum;
    };
    while (low < high) {
      const std::int64_t middle = (low + high) / 2;
      if (held(middle) >= count) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    std::int64_t below = held(low - 1);  // everybody gets these; then one more each until all have
    for (std::uint32_t leaf = region.begin; leaf < region.end; ++leaf) {
      std::int64_t n = std::min<std::int64_t>(slots_.copies[leaf], low - 1);
      if (slots_.copies[leaf] >= low && below < count) {
        ++n;
        ++below;
      }
      Put(leaf, n);
    }
  }

 private:
  struct Unit {
    std::int64_t places;
    Region region;
  };

  // Sub-domains and own nodes with places, most first; equals in domain order.
  std::vector<Unit> UnitsOf(const Region& region) const {
    std::vector<Unit> units;
    const Domain& domain = tree_.domain(region.domain);
    for (std::uint32_t leaf = domain.begin; leaf < domain.own_end; ++leaf) {
      if (slots_.copies[leaf] > 0) {
        units.push_back(Unit{slots_.copies[leaf], Region::OfLeaf(leaf)});
      }
    }
    for (const DomainId child : domain.children) {
      if (slots_.sum[child] > 0) {
        units.push_back(Unit{slots_.sum[child], Region::OfDomain(tree_, child)});
      }
    }
    std::stable_sort(units.begin(), units.end(),
                     [](const Unit& a, const Unit& b) { return a.places > b.places; });
    return units;
  }

  static std::size_t CountWith(const std::vector<Unit>& units, std::int64_t places) {
    return static_cast<std::size_t>(
        std::partition_point(units.begin(), units.end(),
                             [places](const Unit& u) { return u.places >= places; }) -
        units.begin());
  }

  // The same rule as in Packed, by counting sort: there may be thousands of nodes.
  void PackedLeaves(std::uint32_t begin, std::uint32_t end, std::int64_t count) {
    std::uint16_t most = 0;
    for (std::uint32_t leaf = begin; leaf < end; ++leaf) most = std::max(most, slots_.copies[leaf]);
    std::vector<std::uint32_t> with(std::size_t{most} + 1, 0);
    for (std::uint32_t leaf = begin; leaf < end; ++leaf) ++with[slots_.copies[leaf]];
    std::vector<std::uint32_t> full(std::size_t{most} + 1, 0);
    std::size_t last = 0;  // places of the node that takes the rest
    std::int64_t rest = count;
    for (std::size_t v = most; v > 0 && rest > 0; --v) {
      const auto each = static_cast<std::int64_t>(v);
      full[v] = static_cast<std::uint32_t>(std::min<std::int64_t>(with[v], (rest - 1) / each));
      with[v] -= full[v];
      rest -= each * full[v];
      if (with[v] == 0) continue;
      last = static_cast<std::size_t>(rest);  // v >= rest here
      while (with[last] == 0) ++last;
      break;
    }
    BASALT_CHECK(last > 0 || rest == 0);
    for (std::uint32_t leaf = begin; leaf < end && count > 0; ++leaf) {
      const std::size_t v = slots_.copies[leaf];
      std::int64_t n = 0;
      if (v == last && rest > 0) {
        n = rest;
        rest = 0;
      } else if (v > 0 && full[v] > 0) {
        --full[v];
        n = static_cast<std::int64_t>(v);
      }
      Put(leaf, n);
      count -= n;
    }
    BASALT_CHECK(count == 0);
  }

  void Put(std::uint32_t leaf, std::int64_t n) {
    if (n > 0) out_->push_back(LeafCount{leaf, static_cast<std::int32_t>(n)});
  }

  const DomainTree& tree_;
  const SlotIndex::Slots& slots_;
  std::vector<LeafCount>* out_;
};

}  // namespace

std::int64_t PlacesIn(const SlotIndex::Slots& slots, const Region& region) {
  return region.domain.valid() ? slots.sum[region.domain]
                               : std::int64_t{slots.copies[region.begin]};
}

std::vector<LeafCount> DivideMembers(const DomainTree& tree, const SlotIndex::Slots& slots,
                                     const Region& region, std::int64_t count, GangLayout layout) {
  BASALT_CHECK(PlacesIn(slots, region) >= count);
  std::vector<LeafCount> out;
  Divider divider(tree, slots, &out);
  if (layout == GangLayout::kSpread) {
    divider.Spread(region, count);
  } else if (layout == GangLayout::kBalanced) {
    divider.Balanced(region, count);
  } else {
    divider.Packed(region, count);
  }
  std::sort(out.begin(), out.end(),
            [](const LeafCount& a, const LeafCount& b) { return a.leaf < b.leaf; });
  return out;
}

}  // namespace basalt
