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
  request_.resize(tree.slots(), 0);
  given_.resize(tree.slots(), 0);
  for (Amounts& share : shares_) share.Clear();
  if (options.rule == ShareRule::kDominant) return DivideByDominance(tree);
  for (std::size_t r = 0; r < tree.resources().size(); ++r) {
    DivideResource(tree, options, usage, ResourceId(r));
  }
}

void FairShares::DivideResource(const QueueTree& tree, const DivisionOptions& options,
                                const DecayedUsage* usage, ResourceId r) {
  const std::vector<QueueId>& order = tree.order();
  for (const QueueId queue : order) request_[queue] = 0;
  for (std::size_t i = order.size(); i-- > 0;) {  // children first
    const QueueId queue = order[i];
    if (tree.IsLeaf(queue)) request_[queue] = tree.allocated(queue)[r] + tree.pending(queue)[r];
    request_[queue] = std::min(request_[queue], tree.capacity(queue)[r]);
    if (queue != QueueTree::kRoot) request_[tree.parent(queue)] += request_[queue];
  }
  if (request_[QueueTree::kRoot] == 0) return;
  given_[QueueTree::kRoot] = request_[QueueTree::kRoot];
  for (const QueueId queue : order) {
    if (given_[queue] != 0) shares_[queue].Set(r, given_[queue]);
    const std::vector<QueueId>& children = tree.children(queue);
    if (children.empty()) continue;
    claims_.clear();
    std::int64_t wanted = 0;
    for (const QueueId child : children) {
      const std::int64_t weight = tree.spec(child).weight;
      claims_.push_back({tree.guarantee(child)[r], tree.deserved(child)[r], request_[child], weight,
                         weight, tree.spec(child).priority});
      wanted += request_[child];
    }
    if (wanted <= given_[queue]) {
      // Nothing to divide, except that weight 0 never borrows.
      for (std::size_t i = 0; i < children.size(); ++i) {
        const ShareClaim& c = claims_[i];
        given_[children[i]] = c.weight > 0 ? c.limit : std::min(c.limit, c.deserved);
      }
      continue;
    }
    if (options.usage_factor_milli > 0) WeighByUsage(tree, options, *usage, queue, r);
    out_.assign(children.size(), 0);
    DivideAmount(given_[queue], claims_, out_, &scratch_);
    for (std::size_t i = 0; i < children.size(); ++i) given_[children[i]] = out_[i];
  }
}

void FairShares::WeighByUsage(const QueueTree& tree, const DivisionOptions& options,
                              const DecayedUsage& usage, QueueId parent, ResourceId r) {
  const std::int64_t total = tree.total()[r];
  if (total == Limits::kNone || total <= 0) return;
  const std::vector<QueueId>& children = tree.children(parent);
  std::map<std::int32_t, std::int64_t> weights;  // by priority
  const auto wants = [](const ShareClaim& c) { return c.limit > c.deserved && c.weight > 0; };
  for (const ShareClaim& claim : claims_) {
    if (wants(claim)) weights[claim.priority] += claim.weight;
  }
  for (std::size_t i = 0; i < children.size(); ++i) {
    ShareClaim& claim = claims_[i];
    if (!wants(claim)) continue;
    const std::int64_t normal = claim.weight * kWeightOne / weights[claim.priority];
    const auto used = static_cast<std::int64_t>(static_cast<Wide>(usage.usage(children[i], r)) *
                                                kWeightOne / total);
    const std::int64_t bonus = static_cast<std::int64_t>(
        static_cast<Wide>(options.usage_factor_milli) * (normal - used) / 1000);
    claim.weight = std::max<std::int64_t>(0, normal + bonus);
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

DominantShare DominantShareOf(const QueueTree& tree, QueueId queue) {
  const std::int64_t weight = queue == QueueTree::kRoot ? 1 : tree.spec(queue).weight;
  const Amounts& held = tree.allocated(queue);
  DominantShare best{0, weight, ResourceId()};
  for (std::size_t i = 0; i < held.size(); ++i) {
    const ResourceId r(i);
    const std::int64_t total = tree.total()[r];
    if (held[r] <= 0 || total == Limits::kNone || total <= 0) continue;
    const DominantShare share{held[r], total * weight, r};
    if (!best.resource.valid() || best < share) best = share;
  }
  return best;
}

bool operator<(const DominantShare& a, const DominantShare& b) {
  if (a.of == 0 || b.of == 0) return a.of != 0;
  return static_cast<Wide>(a.amount) * b.of < static_cast<Wide>(b.amount) * a.of;
}

const QueueOrder::Key& QueueOrder::KeyOf(const QueueTree& tree, QueueId queue) {
  Key& key = keys_[queue];
  if (key.known && key.version == tree.version(queue) &&
      key.total_version == tree.total_version()) {
    return key;
  }
  key = Key{tree.version(queue),       tree.total_version(),        true, false,
            tree.spec(queue).priority, DominantShareOf(tree, queue)};
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
                                        const IdVector<QueueId, char>& blocked) {
  if (keys_.size() < tree.slots()) keys_.resize(tree.slots());
  return NextBelow(tree, blocked, QueueTree::kRoot);
}

std::optional<QueueId> QueueOrder::NextBelow(const QueueTree& tree,
                                             const IdVector<QueueId, char>& blocked,
                                             QueueId queue) {
  const auto open = [&](QueueId child) {
    if (tree.pending_jobs(child) == 0) return false;
    return !blocked.contains(child) || blocked[child] == 0;
  };
  const auto before = [&](QueueId a, QueueId b) {
    const Key& x = KeyOf(tree, a);
    const Key& y = KeyOf(tree, b);
    if (x.borrows != y.borrows) return y.borrows;
    if (x.priority != y.priority) return x.priority > y.priority;
    return x.share < y.share;
  };
  std::optional<QueueId> best;
  std::optional<QueueId> leaf;
  for (const QueueId child : tree.children(queue)) {
    if (!open(child) || (best && !before(child, *best))) continue;
    // An inner queue counts if a leaf below it can be served.
    const auto below = tree.IsLeaf(child) ? child : NextBelow(tree, blocked, child);
    if (!below) continue;
    best = child;
    leaf = below;
  }
  return leaf;
}

}  // namespace basalt
