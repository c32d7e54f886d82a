// Dividing identical members over the sub-domains and nodes of a domain that has room for them:
// arithmetic on slot counts, no search. Sources: Kueue's Topology Aware Scheduling (KEP-2724: best
// fit for the last domain, balanced placement), Slurm's block segments.
#pragma once

#include <cstdint>
#include <vector>

#include "scheduler-core/cluster/domains.h"
#include "scheduler-core/workload/gang.h"

namespace basalt {

// A place to put members: a domain, or one node.
struct Region {
  DomainId domain;                   // invalid: one node
  std::uint32_t begin = 0, end = 0;  // its leaves
  int tier = kNodeTier;
  static Region OfDomain(const DomainTree& tree, DomainId id) {
    const Domain& d = tree.domain(id);
    return Region{id, d.begin, d.end, d.tier};
  }
  static Region OfLeaf(std::uint32_t leaf) { return Region{DomainId(), leaf, leaf + 1, kNodeTier}; }
};

std::int64_t PlacesIn(const SlotIndex::Slots& slots, const Region& region);

struct LeafCount {
  std::uint32_t leaf;
  std::int32_t count;
};

// `count` members over the region's leaves, in leaf order; the region has at least as many places.
//   packed: sub-domains and nodes with the most places first; the last is the smallest that holds
//     what is left. With identical members that touches the fewest.
//   balanced: over the fewest sub-domains that can each take an equal part (differing by one), the
//     tightest such; packed inside each. Where no equal division exists: packed.
//   spread: over as many nodes as there are, as evenly as they allow.
std::vector<LeafCount> DivideMembers(const DomainTree& tree, const SlotIndex::Slots& slots,
                                     const Region& region, std::int64_t count, GangLayout layout);

}  // namespace basalt
