#include "scheduler-core/queueing/fair_share.h"

#include <algorithm>

#include "scheduler-core/base/check.h"

namespace basalt {
namespace {

__extension__ typedef __int128 Wide;

constexpr std::int64_t kWeightOne = 1'000'000'000;  // normalized weights and usage

// amount x fraction / kDrfOne, rounded down or up.
std::int64_t Part(std::int64_t amount, std::int64_t fraction, bool up) {
  const Wide exact = static_cast<Wide>(amount) * fraction + (up ? kDrfOne - 1 : 0);
  return static_cast<std::int64_t>(exact / kDrfOne);
}

// The largest fraction of `demand` that stays within `limit`.
std::int64_t FractionWithin(std::int64_t demand, std::int64_t limit) {
  if (demand <= limit) return kDrfOne;
  return static_cast<std::int64_t>(static_cast<Wide>(kDrfOne) * limit / demand);
}

}  // namespace

void FairShares::Divide(const QueueTree& tree, const DivisionOptions& options,
                        const DecayedUsage* usage) {
  BASALT_CHECK(options.usage_factor_milli >= 0 && options.usage_factor_milli <= 100'000);
  BASALT_CHECK(options.usage_factor_milli == 0 || usage != nullptr);
  shares_.resize(tree.slots());
  for (Amounts& share : shares_) share.Clear();
  if (options.rule == ShareRule::kDominant) return DivideByDominance(tree);
  Gather(tree);
  for (std::size_t r = 0; r < tree.resources().size(); ++r) {
    DivideResource(tree, options, usage, ResourceId(r));
  }
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    for (std::size_t r = tree.resources().size(); r-- > 0;) {  // the last first: one allocation
      const std::int64_t given = given_[r * rows_.size() + i];
      if (given != 0) shares_[rows_[i].queue].Set(ResourceId(r), given);
    }
  }
}

// Level by level, so that the children of one queue stand together, by priority; and for each
// resource the claims of all queues in that order. One walk over the queues instead of one for each
// resource: they are large and lie apart.
void FairShares::Gather(const QueueTree& tree) {
  rows_.clear();
  rows_.push_back({QueueTree::kRoot, 0, 0, 0});
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    const std::vector<QueueId>& children = tree.children(rows_[i].queue);
    rows_[i].begin = static_cast<std::uint32_t>(rows_.size());
    rows_[i].end = static_cast<std::uint32_t>(rows_.size() + children.size());
    for (const QueueId child : children) {
      rows_.push_back({child, static_cast<std::uint32_t>(i), 0, 0});
    }
    std::stable_sort(rows_.begin() + rows_[i].begin, rows_.end(), [&](const Row& a, const Row& b) {
      return tree.spec(a.queue).priority > tree.spec(b.queue).priority;
    });
  }
  const std::size_t resources = tree.resources().size();
  claims_.resize(rows_.size() * resources);
  given_.assign(rows_.size() * resources, 0);
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    const QueueId queue = rows_[i].queue;
    const QueueSpec& spec = tree.spec(queue);
    const bool leaf = tree.IsLeaf(queue);
    for (std::size_t k = 0; k < resources; ++k) {
      const ResourceId r(k);
      ShareClaim& claim = claims_[k * rows_.size() + i];
      claim = {tree.guarantee(queue)[r],
               tree.deserved(queue)[r],
               0,
               spec.weight,
               spec.weight,
               spec.priority};
      if (leaf) {
        const std::int64_t request = tree.allocated(queue)[r] + tree.pending(queue)[r];
        claim.limit = std::min(request, tree.capacity(queue)[r]);
      }
    }
  }
}

void FairShares::DivideResource(const QueueTree& tree, const DivisionOptions& options,
                                const DecayedUsage* usage, ResourceId r) {
  const std::span<ShareClaim> claims(&claims_[r.index() * rows_.size()], rows_.size());
  const std::span<std::int64_t> given(&given_[r.index() * rows_.size()], rows_.size());
  for (std::size_t i = rows_.size(); i-- > 0;) {  // children first
    if (rows_[i].begin < rows_[i].end) {
      claims[i].limit = std::min(claims[i].limit, tree.capacity(rows_[i].queue)[r]);
    }
    if (i > 0) claims[rows_[i].parent].limit += claims[i].limit;
  }
  given[0] = claims[0].limit;
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    const std::size_t count = rows_[i].end - rows_[i].begin;
    if (count == 0 || given[i] == 0) continue;
    const std::span<ShareClaim> children = claims.subspan(rows_[i].begin, count);
    const std::span<std::int64_t> out = given.subspan(rows_[i].begin, count);
    std::int64_t wanted = 0;
    for (const ShareClaim& child : children) wanted += child.limit;
    if (wanted <= given[i]) {
      // Nothing to divide, except that weight 0 never borrows.
      for (std::size_t k = 0; k < count; ++k) {
        const ShareClaim& c = children[k];
        out[k] = c.weight > 0 ? c.limit : std::min(c.limit, c.deserved);
      }
      continue;
    }
    if (options.usage_factor_milli > 0) {
      WeighByUsage(tree, options, *usage, rows_[i].begin, children, r);
    }
    DivideAmount(given[i], children, out, &scratch_);
  }
}

void FairShares::WeighByUsage(const QueueTree& tree, const DivisionOptions& options,
                              const DecayedUsage& usage, std::size_t first_row,
                              std::span<ShareClaim> children, ResourceId r) const {
  const std::int64_t total = tree.total()[r];
  if (total == Limits::kNone || total <= 0) return;
  const auto wants = [](const ShareClaim& c) { return c.limit > c.deserved && c.weight > 0; };
  for (std::size_t begin = 0, end = 0; begin < children.size(); begin = end) {
    std::int64_t weights = 0;  // of one priority
    for (; end < children.size() && children[end].priority == children[begin].priority; ++end) {
      if (wants(children[end])) weights += children[end].weight;
    }
    for (std::size_t i = begin; i < end; ++i) {
      ShareClaim& claim = children[i];
      if (!wants(claim)) continue;
      const std::int64_t normal = claim.weight * kWeightOne / weights;
      const auto used = static_cast<std::int64_t>(
          static_cast<Wide>(usage.usage(rows_[first_row + i].queue, r)) * kWeightOne / total);
      const auto bonus = static_cast<std::int64_t>(static_cast<Wide>(options.usage_factor_milli) *
                                                   (normal - used) / 1000);
      claim.weight = std::max<std::int64_t>(0, normal + bonus);
    }
  }
}

void FairShares::DivideByDominance(const QueueTree& tree) {
  const std::size_t resources = tree.resources().size();
  const auto limited = [&](ResourceId r) { return tree.total().limits(r); };
  // What each queue asks for, in its own proportions, and the part of it that its capacity allows.
  IdVector<QueueId, DrfUser> users(tree.slots());
  for (std::size_t i = tree.order().size(); i-- > 0;) {
    const QueueId queue = tree.order()[i];
    DrfUser& user = users[queue];
    if (tree.IsLeaf(queue)) {
      user.demand = tree.allocated(queue);
      user.demand += tree.pending(queue);
    }
    if (queue == QueueTree::kRoot) break;
    user.weight = tree.spec(queue).weight;
    user.floor = kDrfOne;
    for (std::size_t k = 0; k < resources; ++k) {
      const ResourceId r(k);
      if (user.demand[r] <= 0) continue;
      user.ceiling =
          std::min(user.ceiling, FractionWithin(user.demand[r], tree.capacity(queue)[r]));
      if (limited(r)) {
        user.floor = std::min(user.floor, FractionWithin(user.demand[r], tree.guarantee(queue)[r]));
      }
    }
    user.floor = std::min(user.floor, user.ceiling);
    Amounts& above = users[tree.parent(queue)].demand;
    for (std::size_t k = 0; k < resources; ++k) {
      const ResourceId r(k);
      const std::int64_t part = Part(user.demand[r], user.ceiling, true);
      if (part != 0) above.Add(r, part);
    }
  }
  // What a parent passes on is rounded up, so that a child which needs one unit of something is not
  // stopped by a fraction of it; the children's shares are then cut to the parent's.
  IdVector<QueueId, Limits> passes(tree.slots());
  passes[QueueTree::kRoot] = tree.total();
  for (std::size_t k = 0; k < resources; ++k) {
    const ResourceId r(k);
    const std::int64_t asked = users[QueueTree::kRoot].demand[r];
    if (asked != 0) shares_[QueueTree::kRoot].Set(r, std::min(asked, tree.total()[r]));
  }
  std::vector<DrfUser> siblings;
  for (const QueueId queue : tree.order()) {
    const std::vector<QueueId>& children = tree.children(queue);
    if (children.empty()) continue;
    siblings.clear();
    for (const QueueId child : children) siblings.push_back(users[child]);
    const std::vector<std::int64_t> fractions = DivideDominant(passes[queue], siblings);
    Amounts left = shares_[queue];
    for (std::size_t i = 0; i < children.size(); ++i) {
      for (std::size_t k = 0; k < resources; ++k) {
        const ResourceId r(k);
        const std::int64_t demand = siblings[i].demand[r];
        if (demand == 0) continue;
        if (limited(r)) passes[children[i]].Set(r, Part(demand, fractions[i], true));
        const std::int64_t share = std::min(Part(demand, fractions[i], false), left[r]);
        if (share == 0) continue;
        shares_[children[i]].Set(r, share);
        left.Add(r, -share);
      }
    }
  }
}

DominantShare DominantShareOf(const QueueTree& tree, QueueId queue, const DecayedUsage* past,
                              std::int32_t factor_milli) {
  const std::int64_t weight = queue == QueueTree::kRoot ? 1 : tree.spec(queue).weight;
  const Amounts& held = tree.allocated(queue);
  DominantShare best{0, weight, ResourceId()};
  for (std::size_t i = 0; i < tree.resources().size(); ++i) {
    const ResourceId r(i);
    const std::int64_t total = tree.total()[r];
    std::int64_t amount = held[r];
    if (past != nullptr) amount += past->usage(queue, r) * factor_milli / 1000;
    if (amount <= 0 || total == Limits::kNone || total <= 0) continue;
    const DominantShare share{amount, total * weight, r};
    if (!best.resource.valid() || best < share) best = share;
  }
  return best;
}

bool operator<(const DominantShare& a, const DominantShare& b) {
  if (a.of == 0 || b.of == 0) return a.of != 0;
  return static_cast<Wide>(a.amount) * b.of < static_cast<Wide>(b.amount) * a.of;
}

const QueueOrder::Key& QueueOrder::KeyOf(const QueueTree& tree, const DecayedUsage* past,
                                         QueueId queue) {
  Key& key = keys_[queue];
  // What was held in the past moves with time, of which versions know nothing.
  if (past == nullptr && key.known && key.version == tree.version(queue) &&
      key.total_version == tree.total_version()) {
    return key;
  }
  key = Key{
      tree.version(queue),       tree.total_version(),
      past == nullptr,           false,
      tree.spec(queue).priority, DominantShareOf(tree, queue, past, options_.usage_factor_milli)};
  if (options_.deserved_first) {
    bool deserves = false;
    bool reached = false;
    for (std::size_t i = 0; i < tree.pending(queue).size(); ++i) {
      const ResourceId r(i);
      if (tree.pending(queue)[r] <= 0 || tree.deserved(queue)[r] <= 0) continue;
      deserves = true;
      reached |= tree.allocated(queue)[r] >= tree.deserved(queue)[r];
    }
    key.borrows = !deserves || reached;
  }
  return key;
}

std::optional<QueueId> QueueOrder::Next(const QueueTree& tree,
                                        const IdVector<QueueId, char>& blocked,
                                        const DecayedUsage* past) {
  if (options_.usage_factor_milli == 0) past = nullptr;
  if (keys_.size() < tree.slots()) keys_.resize(tree.slots());
  return NextBelow(tree, blocked, past, QueueTree::kRoot);
}

std::optional<QueueId> QueueOrder::NextBelow(const QueueTree& tree,
                                             const IdVector<QueueId, char>& blocked,
                                             const DecayedUsage* past, QueueId queue) {
  const auto open = [&](QueueId child) {
    if (tree.pending_jobs(child) == 0) return false;
    return !blocked.contains(child) || blocked[child] == 0;
  };
  const auto before = [&](QueueId a, QueueId b) {
    const Key& x = KeyOf(tree, past, a);
    const Key& y = KeyOf(tree, past, b);
    if (x.borrows != y.borrows) return y.borrows;
    if (x.priority != y.priority) return x.priority > y.priority;
    return x.share < y.share;
  };
  std::optional<QueueId> best;
  std::optional<QueueId> leaf;
  for (const QueueId child : tree.children(queue)) {
    if (!open(child) || (best && !before(child, *best))) continue;
    // An inner queue counts if a leaf below it can be served.
    const auto below = tree.IsLeaf(child) ? child : NextBelow(tree, blocked, past, child);
    if (!below) continue;
    best = child;
    leaf = below;
  }
  return leaf;
}

}  // namespace basalt
