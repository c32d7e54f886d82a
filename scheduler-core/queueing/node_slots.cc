#include "scheduler-core/queueing/node_slots.h"

#include <fmt/format.h>

#include "scheduler-core/base/check.h"

namespace basalt {

void NodeSlots::Reset(const QueueTree& tree) {
  ++version_;
  kinds_.clear();
  quotas_.clear();
  quota_of_.clear();
  for (const QueueId queue : tree.order()) {
    for (const SlotQuota& slots : tree.spec(queue).slots) {
      const auto same = [&](const Kind& k) {
        return k.cards == slots.cards && k.model == slots.model;
      };
      auto kind = std::find_if(kinds_.begin(), kinds_.end(), same);
      if (kind == kinds_.end()) kind = kinds_.insert(kind, Kind{slots.cards, slots.model});
      kind->unbound += slots.count;
      quotas_.push_back(
          Quota{queue, static_cast<std::int32_t>(kind - kinds_.begin()), slots.count, 0});
    }
  }
  quota_of_.assign(kinds_.size(), std::vector<std::int16_t>(tree.slots(), -1));
  for (std::size_t q = 0; q < quotas_.size(); ++q) {
    auto& of_kind = quota_of_[static_cast<std::size_t>(quotas_[q].kind)];
    for (const QueueId queue : tree.order()) {
      if (tree.IsUnder(queue, quotas_[q].queue)) {
        of_kind[queue.index()] = static_cast<std::int16_t>(q);
      }
    }
  }
  BASALT_CHECK(kinds_.size() + quotas_.size() <= kMaxSlotQuotas);
}

int NodeSlots::KindOf(int cards, std::string_view model) const {
  for (std::size_t k = 0; k < kinds_.size(); ++k) {
    const bool model_ok = kinds_[k].model.empty() || kinds_[k].model == model;
    if (kinds_[k].cards == cards && model_ok) return static_cast<int>(k);
  }
  return -1;
}

int NodeSlots::QuotaOf(std::size_t kind, QueueId leaf) const {
  const auto& of_kind = quota_of_[kind];
  return leaf.valid() && leaf.index() < of_kind.size() ? of_kind[leaf.index()] : -1;
}

int NodeSlots::QuotaAt(SlotMark mark) const {
  return mark > kinds_.size() ? static_cast<int>(mark - kinds_.size()) - 1 : -1;
}

SlotMark NodeSlots::HeldBy(int kind, QueueId leaf) const {
  const int quota = QuotaOf(static_cast<std::size_t>(kind), leaf);
  return quota < 0 ? kOutside
                   : static_cast<SlotMark>(1 + kinds_.size() + static_cast<std::size_t>(quota));
}

void NodeSlots::Move(SlotMark from, SlotMark to) {
  if (from == to) return;
  ++version_;
  const auto add = [this](SlotMark mark, std::int64_t sign) {
    if (mark == kOutside) return;
    if (const int q = QuotaAt(mark); q >= 0) {
      Quota& quota = quotas_[static_cast<std::size_t>(q)];
      Kind& kind = kinds_[static_cast<std::size_t>(quota.kind)];
      kind.unbound -= quota.unbound();
      quota.held += sign;
      kind.unbound += quota.unbound();
      BASALT_CHECK(quota.held >= 0);
    } else {
      Kind& kind = kinds_[mark - std::size_t{1}];
      kind.open += sign;
      BASALT_CHECK(kind.open >= 0);
    }
  };
  add(from, -1);
  add(to, +1);
}

std::uint64_t NodeSlots::Closed(QueueId leaf) const {
  std::uint64_t marks = 0;
  for (std::size_t k = 0; k < kinds_.size(); ++k) {
    if (kinds_[k].slack() >= 1) continue;  // one node fewer does no harm
    const int own = QuotaOf(k, leaf);
    const bool binds = own >= 0 && quotas_[static_cast<std::size_t>(own)].unbound() > 0;
    if (!binds) marks |= std::uint64_t{1} << (k + 1);
    for (std::size_t q = 0; q < quotas_.size(); ++q) {
      const bool others = std::cmp_equal(quotas_[q].kind, k) && std::cmp_not_equal(q, own);
      // A node beyond its slots is nobody's promise.
      if (others && quotas_[q].held <= quotas_[q].count) {
        marks |= std::uint64_t{1} << (1 + kinds_.size() + q);
      }
    }
  }
  return marks;
}

std::uint64_t NodeSlots::ClosedToMany(QueueId leaf) const {
  std::uint64_t marks = 0;
  for (std::size_t k = 0; k < kinds_.size(); ++k) {
    const int own = QuotaOf(k, leaf);
    marks |= std::uint64_t{1} << (k + 1);
    for (std::size_t q = 0; q < quotas_.size(); ++q) {
      if (std::cmp_equal(quotas_[q].kind, k) && std::cmp_not_equal(q, own)) {
        marks |= std::uint64_t{1} << (1 + kinds_.size() + q);
      }
    }
  }
  return marks;
}

bool NodeSlots::MayEnter(QueueId leaf, std::span<const SlotMark> nodes) const {
  NodeSlots after = *this;
  for (const SlotMark mark : nodes) {
    if (mark == kOutside) continue;
    const int quota = QuotaAt(mark);
    const auto kind = quota < 0 ? static_cast<std::int32_t>(mark) - 1
                                : quotas_[static_cast<std::size_t>(quota)].kind;
    const SlotMark own = HeldBy(kind, leaf);
    after.Move(mark, quota < 0 || mark == own ? own : kOutside);
  }
  for (std::size_t k = 0; k < kinds_.size(); ++k) {
    if (after.kinds_[k].slack() < std::min<std::int64_t>(kinds_[k].slack(), 0)) return false;
  }
  return true;
}

bool NodeSlots::Claims(QueueId leaf, SlotMark mark) const {
  if (mark == kOutside) return false;
  const int at = QuotaAt(mark);
  const int kind = at < 0 ? mark - 1 : quotas_[static_cast<std::size_t>(at)].kind;
  const int own = QuotaOf(static_cast<std::size_t>(kind), leaf);
  if (own < 0) return false;
  const Quota& quota = quotas_[static_cast<std::size_t>(own)];
  return at < 0 ? quota.unbound() > 0 : at == own && quota.held <= quota.count;
}

std::string NodeSlots::KeptFor(const QueueTree& tree) const {
  std::vector<QueueId> queues;
  const bool some_closed =
      std::any_of(kinds_.begin(), kinds_.end(), [](const Kind& k) { return k.slack() < 1; });
  for (const Quota& quota : quotas_) {
    const bool counts = !some_closed || kinds_[static_cast<std::size_t>(quota.kind)].slack() < 1;
    const bool new_name = queues.empty() || queues.back() != quota.queue;
    if (counts && new_name) queues.push_back(quota.queue);
  }
  std::string text = queues.size() == 1 ? "queue " : "queues ";
  for (std::size_t i = 0; i < queues.size(); ++i) {
    text += fmt::format("{}'{}'",
                        i == 0                   ? ""
                        : i + 1 == queues.size() ? " and "
                                                 : ", ",
                        tree.name(queues[i]));
  }
  return text;
}

}  // namespace basalt
