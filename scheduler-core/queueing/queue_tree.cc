#include "scheduler-core/queueing/queue_tree.h"

#include <fmt/format.h>

#include <algorithm>

#include "scheduler-core/base/check.h"
#include "scheduler-core/base/suggest.h"

namespace basalt {
namespace {

constexpr std::string_view kRootName = "root";

std::string Where(const QueueSpec& spec, std::string_view field) {
  return fmt::format("queue '{}': {}", spec.name, field);
}

bool Names(const AmountMap& amounts, const std::string& resource) {
  return amounts.find(resource) != amounts.end();
}

}  // namespace

QueueTree::QueueTree() {
  Queue root;
  root.spec.name = kRootName;
  root.alive = true;
  queues_.push_back(std::move(root));
  order_ = {kRoot};
}

std::optional<QueueId> QueueTree::Find(std::string_view name) const {
  if (name == kRootName) return kRoot;
  const auto it = by_name_.find(name);
  return it == by_name_.end() ? std::nullopt : std::optional<QueueId>(it->second);
}

bool QueueTree::IsUnder(QueueId queue, QueueId ancestor) const {
  while (queue.valid() && queue != ancestor) queue = queues_[queue].parent;
  return queue == ancestor;
}

std::int32_t QueueTree::memory_ratio(QueueId queue) const {
  std::int32_t lowest = 0;
  for (; queue.valid(); queue = queues_[queue].parent) {
    const std::int32_t own = queues_[queue].spec.memory_ratio_percent;
    if (own != 0 && (lowest == 0 || own < lowest)) lowest = own;
  }
  return lowest;
}

// --- structure ----------------------------------------------------------------------------------

// What one spec must keep by itself.
Status QueueTree::CheckSpec(const QueueSpec& spec, QueueId self) const {
  if (spec.name.empty() || spec.name == kRootName) {
    return Fail("name", fmt::format("\"{}\" is not a name for a queue", spec.name));
  }
  if (const auto other = Find(spec.name); other && *other != self) {
    return Fail(Where(spec, "name"), "another queue has this name");
  }
  if (spec.weight < 0 || spec.weight > kMaxQueueWeight) {
    return Fail(Where(spec, "weight"),
                fmt::format("{} is outside 0..{}", spec.weight, kMaxQueueWeight));
  }
  const std::int32_t ratio = spec.memory_ratio_percent;
  if (ratio != 0 && (ratio < 100 || ratio > 200)) {
    return Fail(Where(spec, "memory_ratio_percent"),
                fmt::format("{} is neither 0 (none) nor in 100..200", ratio));
  }
  for (const SlotQuota& slots : spec.slots) {
    if (slots.cards < 1 || slots.cards > kMaxCardsPerNode) {
      return Fail(Where(spec, "slots"),
                  fmt::format("a node has 1..{} cards, not {}", kMaxCardsPerNode, slots.cards));
    }
    if (slots.count < 1 || slots.count > 1'000'000) {
      return Fail(Where(spec, "slots"), fmt::format("{} nodes: say 1..1000000", slots.count));
    }
  }
  const std::pair<std::string_view, const AmountMap*> fields[] = {
      {"guarantee", &spec.guarantee}, {"deserved", &spec.deserved}, {"capacity", &spec.capacity}};
  for (const auto& [field, amounts] : fields) {
    for (const auto& [resource, amount] : *amounts) {
      if (Status valid = ValidateResourceName(resource, Where(spec, field)); !valid) return valid;
      if (amount < 0 || amount > kMaxQuotaAmount) {
        return Fail(Where(spec, field),
                    fmt::format("{} of {} is outside 0..{}", amount, resource, kMaxQuotaAmount));
      }
    }
  }
  return {};
}

Result<QueueId> QueueTree::Add(const QueueSpec& spec) {
  return AddAll({spec}).map([](const std::vector<QueueId>& ids) { return ids.front(); });
}

Result<std::vector<QueueId>> QueueTree::AddAll(const std::vector<QueueSpec>& specs) {
  QueueTree next = *this;  // all or none
  std::map<std::string, std::size_t, std::less<>> new_names;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    if (Status valid = CheckSpec(specs[i], QueueId()); !valid) {
      return tl::unexpected(valid.error());
    }
    if (!new_names.emplace(specs[i].name, i).second) {
      return Fail(Where(specs[i], "name"), "two queues have this name");
    }
  }
  std::vector<QueueId> ids;
  for (const QueueSpec& spec : specs) {
    std::size_t slot = 1;
    while (slot < next.queues_.size() && next.queues_[QueueId(slot)].alive) ++slot;
    if (slot == next.queues_.size()) next.queues_.push_back(Queue());
    const QueueId id(slot);
    const std::uint64_t version = next.queues_[id].version;  // never falls when a slot is reused
    next.queues_[id] = Queue();
    next.queues_[id].version = version + 1;
    next.queues_[id].alive = true;
    next.by_name_.emplace(spec.name, id);
    ids.push_back(id);
  }
  for (std::size_t i = 0; i < specs.size(); ++i) {
    if (Status placed = next.Place(ids[i], specs[i]); !placed) {
      return tl::unexpected(placed.error());
    }
  }
  if (Status sound = next.Rebuild(); !sound) return tl::unexpected(sound.error());
  *this = std::move(next);
  return ids;
}

Status QueueTree::Update(QueueId queue, const QueueSpec& spec) {
  BASALT_CHECK(contains(queue) && queue != kRoot);
  if (Status valid = CheckSpec(spec, queue); !valid) return valid;
  QueueTree next = *this;
  const QueueId old_parent = queues_[queue].parent;
  if (spec.name != name(queue)) {
    next.by_name_.erase(name(queue));
    next.by_name_.emplace(spec.name, queue);
  }
  const bool moves = spec.parent.empty() ? old_parent != kRoot : Find(spec.parent) != old_parent;
  if (moves) {
    auto& siblings = next.queues_[old_parent].children;
    siblings.erase(std::find(siblings.begin(), siblings.end(), queue));
    if (siblings.empty()) {  // a leaf now, and what was below it has moved
      Queue& left = next.queues_[old_parent];
      left.allocated = left.firm = left.pending = Amounts();
      left.pending_jobs = 0;
    }
    if (Status placed = next.Place(queue, spec); !placed) return placed;
  }
  next.queues_[queue].spec = spec;
  if (Status sound = next.Rebuild(); !sound) return sound;
  *this = std::move(next);
  return {};
}

Status QueueTree::Place(QueueId queue, const QueueSpec& spec) {
  const auto parent = spec.parent.empty() ? kRoot : Find(spec.parent);
  if (!parent) {
    std::vector<std::string> names;
    for (const auto& [name, id] : by_name_) names.push_back(name);
    return Fail(Where(spec, "parent"), "unknown queue " + SuggestText(spec.parent, names));
  }
  const Queue& above = queues_[*parent];
  const bool holds = above.pods > 0 || !above.allocated.IsZero() || !above.pending.IsZero() ||
                     above.pending_jobs > 0;
  if (*parent != kRoot && above.children.empty() && holds) {
    return Fail(Where(spec, "parent"),
                fmt::format("'{}' holds pods or has pending jobs itself; only leaves may",
                            above.spec.name));
  }
  queues_[queue].spec = spec;
  queues_[queue].parent = *parent;
  queues_[*parent].children.push_back(queue);
  return {};
}

Status QueueTree::Remove(QueueId queue) {
  BASALT_CHECK(contains(queue) && queue != kRoot);
  Queue& q = queues_[queue];
  const std::string where = fmt::format("queue '{}'", q.spec.name);
  if (!q.children.empty()) {
    return Fail(where, fmt::format("has {} queues below it: remove them first", q.children.size()));
  }
  if (q.pods > 0 || !q.allocated.IsZero()) return Fail(where, "holds pods: drain it first");
  if (!q.pending.IsZero() || q.pending_jobs > 0) {
    return Fail(where, "has pending jobs: cancel or move them first");
  }
  auto& siblings = queues_[q.parent].children;
  siblings.erase(std::find(siblings.begin(), siblings.end(), queue));
  by_name_.erase(q.spec.name);
  q.alive = false;
  BASALT_CHECK(Rebuild().has_value());  // a sum became smaller
  return {};
}

// Order, depths, effective values, sums over children and claims. Refuses what does not fit.
Status QueueTree::Rebuild() {
  order_.clear();
  std::vector<QueueId> stack = {kRoot};
  while (!stack.empty()) {
    const QueueId at = stack.back();
    stack.pop_back();
    order_.push_back(at);
    Queue& q = queues_[at];
    q.depth = at == kRoot ? 0 : queues_[q.parent].depth + 1;
    for (auto child = q.children.rbegin(); child != q.children.rend(); ++child) {
      stack.push_back(*child);
    }
  }
  if (order_.size() != by_name_.size() + 1) {
    std::vector<char> reached(queues_.size(), 0);
    for (const QueueId id : order_) reached[id.index()] = 1;
    for (const auto& [name, id] : by_name_) {
      if (!reached[id.index()]) {
        return Fail(fmt::format("queue '{}': parent", name), "is below itself");
      }
    }
  }
  for (auto it = order_.rbegin(); it != order_.rend(); ++it) {
    if (Status sound = Derive(*it); !sound) return sound;
  }
  if (Status sound = CheckSlots(); !sound) return sound;
  ++structure_version_;
  ++total_version_;
  return {};
}

// A node must be of one kind at most, and a leaf have its slots of a kind from one queue.
Status QueueTree::CheckSlots() const {
  struct Seen {
    QueueId queue;
    const SlotQuota* slots;
  };
  std::vector<Seen> seen;
  std::size_t kinds = 0;
  for (const QueueId queue : order_) {
    const QueueSpec& spec = queues_[queue].spec;
    for (const SlotQuota& slots : spec.slots) {
      bool is_new = true;
      for (const Seen& other : seen) {
        if (other.slots->cards != slots.cards) continue;
        const std::string& its = name(other.queue);
        if (other.slots->model.empty() != slots.model.empty()) {
          return Fail(Where(spec, "slots"),
                      fmt::format("nodes of {} cards are asked with a model here or in '{}', and "
                                  "without one in the other: name it in both or in none",
                                  slots.cards, its));
        }
        if (other.slots->model != slots.model) continue;
        is_new = false;
        if (other.queue == queue) {
          return Fail(Where(spec, "slots"),
                      fmt::format("nodes of {} cards stand twice: give their sum", slots.cards));
        }
        if (IsUnder(queue, other.queue)) {
          return Fail(Where(spec, "slots"),
                      fmt::format("'{}' above it has nodes of {} cards for all below it: give them "
                                  "to one of the two",
                                  its, slots.cards));
        }
      }
      kinds += is_new ? 1 : 0;
      seen.push_back({queue, &slots});
    }
  }
  if (seen.size() + kinds <= kMaxSlotQuotas) return {};
  return Fail("queues", fmt::format("{} slot quotas on {} kinds of nodes; together at most {}",
                                    seen.size(), kinds, kMaxSlotQuotas));
}

Status QueueTree::Derive(QueueId id) {
  Queue& q = queues_[id];
  ++q.version;
  Amounts guarantees, deserveds;
  if (!q.children.empty()) {
    q.allocated = q.firm = q.pending = q.child_claims = Amounts();
    q.pending_jobs = 0;
    for (const QueueId child : q.children) {
      const Queue& c = queues_[child];
      guarantees += c.guarantee;
      deserveds += c.deserved;
      q.allocated += c.allocated;
      q.firm += c.firm;
      q.pending += c.pending;
      q.pending_jobs += c.pending_jobs;
      q.child_claims += c.claim;
    }
  } else {
    q.child_claims = Amounts();
  }
  if (id != kRoot) {
    q.capacity = Limits();
    for (const auto& [name, limit] : q.spec.capacity)
      q.capacity.Set(resources_.Intern(name), limit);
    for (const auto& [name, amount] : q.spec.guarantee) resources_.Intern(name);
    for (const auto& [name, amount] : q.spec.deserved) resources_.Intern(name);
  }
  for (std::size_t i = 0; i < resources_.size(); ++i) {
    const ResourceId r(i);
    const std::string& resource = resources_.name(r);
    const auto sum_fits = [&](const AmountMap& own, std::string_view field,
                              std::int64_t sum) -> Status {
      const auto named = own.find(resource);
      if (named == own.end() || sum <= named->second) return {};
      return Fail(
          Where(q.spec, field),
          fmt::format("the queues below it have {} {} together, more than its {}",
                      resources_.Format(r, sum), resource, resources_.Format(r, named->second)));
    };
    if (Status fits = sum_fits(q.spec.guarantee, "guarantee", guarantees[r]); !fits) return fits;
    if (Status fits = sum_fits(q.spec.deserved, "deserved", deserveds[r]); !fits) return fits;
    const auto own = [&](const AmountMap& amounts, std::int64_t otherwise) {
      const auto named = amounts.find(resource);
      return named == amounts.end() ? otherwise : named->second;
    };
    const std::int64_t guarantee = own(q.spec.guarantee, guarantees[r]);
    const bool names_deserved = Names(q.spec.deserved, resource);
    std::int64_t deserved = own(q.spec.deserved, std::max(guarantee, deserveds[r]));
    const std::int64_t capacity = id == kRoot ? Limits::kNone : q.capacity[r];
    const auto exceeds = [&](std::string_view field, std::int64_t amount, std::string_view limit,
                             std::int64_t at_most) {
      return Fail(Where(q.spec, field),
                  fmt::format("{} {} is more than its {}, {}", resources_.Format(r, amount),
                              resource, limit, resources_.Format(r, at_most)));
    };
    if (guarantee > capacity) return exceeds("guarantee", guarantee, "capacity", capacity);
    if (guarantee > deserved) return exceeds("guarantee", guarantee, "deserved", deserved);
    if (deserved > capacity && names_deserved) {
      return exceeds("deserved", deserved, "capacity", capacity);
    }
    deserved = std::min(deserved, capacity);  // the children's sum may be more than it can hold
    q.guarantee.Set(r, guarantee);
    q.deserved.Set(r, deserved);
    q.claim.Set(r, ClaimOf(q, r, q.child_claims[r], q.firm[r], q.allocated[r]));
  }
  return {};
}

// --- amounts ------------------------------------------------------------------------------------

void QueueTree::SetTotal(ResourceId resource, std::int64_t amount) {
  BASALT_CHECK(amount >= 0);
  queues_[kRoot].capacity.Set(resource, amount);
  ++total_version_;
}

Status QueueTree::CheckGuarantees() const {
  for (std::size_t i = 0; i < resources_.size(); ++i) {
    const ResourceId r(i);
    if (guarantee(kRoot)[r] <= total()[r]) continue;
    return Fail("queues", fmt::format("guarantees of {} add up to {}, the cluster has {}",
                                      resources_.name(r), resources_.Format(r, guarantee(kRoot)[r]),
                                      resources_.Format(r, total()[r])));
  }
  return {};
}

std::int64_t QueueTree::ClaimOf(const Queue& queue, ResourceId resource, std::int64_t child_claims,
                                std::int64_t firm, std::int64_t allocated) const {
  const std::int64_t kept = queue.spec.reclaimable ? firm : allocated;
  return std::max({queue.guarantee[resource], child_claims, kept});
}

std::optional<QuotaRefusal> QueueTree::Refusal(QueueId leaf, const Amounts& ask, bool preemptible,
                                               const IdVector<QueueId, Amounts>* taken) const {
  std::optional<QuotaRefusal> first;
  const auto held = [&](QueueId at, ResourceId r) {
    return queues_[at].allocated[r] - (taken == nullptr ? 0 : (*taken)[at][r]);
  };
  Check(leaf, ask, preemptible, held, [&](const QuotaRefusal& refusal) {
    first = refusal;
    return false;
  });
  return first;
}

std::optional<QuotaRefusal> QueueTree::RefusalByQueues(QueueId leaf, const Amounts& ask,
                                                       bool preemptible) const {
  std::optional<QuotaRefusal> first;
  const auto held = [&](QueueId at, ResourceId r) { return queues_[at].allocated[r]; };
  Check(leaf, ask, preemptible, held, [&](const QuotaRefusal& refusal) {
    if (refusal.queue == kRoot && refusal.kind == QuotaRefusal::Kind::kCapacity) return true;
    first = refusal;
    return false;
  });
  return first;
}

std::optional<QuotaRefusal> QueueTree::FirmRefusal(QueueId leaf, const Amounts& ask,
                                                   bool preemptible) const {
  std::optional<QuotaRefusal> first;
  const auto held = [&](QueueId at, ResourceId r) { return queues_[at].firm[r]; };
  Check(leaf, ask, preemptible, held, [&](const QuotaRefusal& refusal) {
    first = refusal;
    return false;
  });
  return first;
}

Amounts QueueTree::Lack(QueueId leaf, const Amounts& ask, bool preemptible) const {
  Amounts lack;
  const auto held = [&](QueueId at, ResourceId r) { return queues_[at].allocated[r]; };
  Check(leaf, ask, preemptible, held, [&](const QuotaRefusal& refusal) {
    const std::int64_t missing = refusal.held + refusal.asked - refusal.limit;
    lack.Set(refusal.resource, std::max(lack[refusal.resource], missing));
    return true;
  });
  return lack;
}

// Tells `report` of each refusal, from the leaf up and by resource id, until it returns false.
template <class Held, class Report>
void QueueTree::Check(QueueId leaf, const Amounts& ask, bool preemptible, const Held& held,
                      const Report& report) const {
  BASALT_CHECK(IsLeaf(leaf));
  // By how much the claim of the queue below grows.
  Amounts grows;
  for (QueueId at = leaf; at.valid(); at = queues_[at].parent) {
    const Queue& q = queues_[at];
    for (std::size_t i = 0; i < ask.size(); ++i) {
      const ResourceId r(i);
      if (ask[r] <= 0) continue;
      const std::int64_t here = held(at, r);
      const std::int64_t limit = q.capacity[r];
      if (here + ask[r] > limit) {
        if (!report({QuotaRefusal::Kind::kCapacity, at, r, here, limit, ask[r]})) return;
      }
      const std::int64_t claim = ClaimOf(q, r, q.child_claims[r] + grows[r],
                                         q.firm[r] + (preemptible ? 0 : ask[r]), here + ask[r]);
      if (claim > q.claim[r] && claim > limit) {
        const std::int64_t more = claim - q.claim[r];
        if (!report({QuotaRefusal::Kind::kGuarantees, at, r, q.claim[r], limit, more})) return;
      }
      if (claim != q.claim[r] || grows[r] != 0) grows.Set(r, claim - q.claim[r]);
    }
  }
}

std::string QueueTree::Describe(const QuotaRefusal& refusal) const {
  const auto text = [&](std::int64_t amount) {
    return resources_.Format(refusal.resource, amount);
  };
  const std::string who =
      refusal.queue == kRoot ? "the cluster" : fmt::format("queue '{}'", name(refusal.queue));
  const std::string& resource = resources_.name(refusal.resource);
  if (refusal.kind == QuotaRefusal::Kind::kCapacity) {
    return fmt::format("{} has {} of {} {}, {} more asked", who, text(refusal.held),
                       text(refusal.limit), resource, text(refusal.asked));
  }
  return fmt::format(
      "{} has {} {}, of which {} are guaranteed to queues or held by work that cannot be taken "
      "back; {} more would break a guarantee",
      who, text(refusal.limit), resource, text(refusal.held), text(refusal.asked));
}

void QueueTree::Apply(QueueId leaf, const Amounts& amounts, bool preemptible, std::int64_t sign) {
  BASALT_CHECK(IsLeaf(leaf));
  queues_[leaf].pods += sign;
  Amounts grows;
  for (QueueId at = leaf; at.valid(); at = queues_[at].parent) {
    Queue& q = queues_[at];
    ++q.version;
    for (std::size_t i = 0; i < amounts.size(); ++i) {
      const ResourceId r(i);
      const std::int64_t amount = amounts[r];
      if (amount == 0) continue;
      BASALT_CHECK(amount > 0);
      q.allocated.Add(r, sign * amount);
      if (!preemptible) q.firm.Add(r, sign * amount);
      q.child_claims.Add(r, grows[r]);
      BASALT_CHECK(q.firm[r] >= 0 && q.allocated[r] >= q.firm[r]);
      const std::int64_t claim = ClaimOf(q, r, q.child_claims[r], q.firm[r], q.allocated[r]);
      if (claim != q.claim[r] || grows[r] != 0) grows.Set(r, claim - q.claim[r]);
      q.claim.Set(r, claim);
    }
  }
}

void QueueTree::Charge(QueueId leaf, const Amounts& amounts, bool preemptible) {
  Apply(leaf, amounts, preemptible, 1);
}

void QueueTree::Uncharge(QueueId leaf, const Amounts& amounts, bool preemptible) {
  Apply(leaf, amounts, preemptible, -1);
}

void QueueTree::AddPending(QueueId leaf, const Amounts& amounts) {
  BASALT_CHECK(IsLeaf(leaf));
  for (QueueId at = leaf; at.valid(); at = queues_[at].parent) {
    Queue& q = queues_[at];
    ++q.version;
    ++q.pending_jobs;
    q.pending += amounts;
  }
}

void QueueTree::RemovePending(QueueId leaf, const Amounts& amounts) {
  BASALT_CHECK(IsLeaf(leaf));
  for (QueueId at = leaf; at.valid(); at = queues_[at].parent) {
    Queue& q = queues_[at];
    ++q.version;
    --q.pending_jobs;
    BASALT_CHECK(q.pending_jobs >= 0);
    q.pending -= amounts;
    for (std::size_t r = 0; r < amounts.size(); ++r) BASALT_CHECK(q.pending[ResourceId(r)] >= 0);
  }
}

void QueueTree::Audit() const {
  QueueTree again = *this;
  BASALT_CHECK(again.Rebuild().has_value());
  BASALT_CHECK(again.order_ == order_);
  for (const QueueId id : order_) {
    const Queue& a = queues_[id];
    const Queue& b = again.queues_[id];
    BASALT_CHECK(a.allocated == b.allocated && a.firm == b.firm && a.pending == b.pending);
    BASALT_CHECK(a.pending_jobs == b.pending_jobs && a.depth == b.depth);
    BASALT_CHECK(a.guarantee == b.guarantee && a.deserved == b.deserved);
    BASALT_CHECK(a.claim == b.claim && a.child_claims == b.child_claims);
  }
}

}  // namespace basalt
