#include "scheduler-core/queueing/division.h"

#include <algorithm>

#include "scheduler-core/base/check.h"

namespace basalt {
namespace {

__extension__ typedef __int128 Wide;

Wide Times(std::int64_t a, std::int64_t b) { return static_cast<Wide>(a) * b; }

// a / b rounded up; a >= 0, b > 0.
Wide CeilDivide(Wide a, Wide b) { return (a + b - 1) / b; }

}  // namespace

std::int64_t WaterFill(std::int64_t amount, std::span<const FillItem> items,
                       std::span<std::int64_t> out, FillScratch* scratch) {
  BASALT_CHECK(amount >= 0 && items.size() == out.size());
  std::vector<std::uint32_t>& open = scratch->open;
  open.clear();
  std::int64_t weight = 0;
  Wide wanted = 0;
  for (std::uint32_t i = 0; i < items.size(); ++i) {
    if (items[i].limit <= 0 || items[i].weight <= 0) continue;
    open.push_back(i);
    weight += items[i].weight;
    wanted += items[i].limit;
  }
  if (wanted <= amount) {
    for (const std::uint32_t i : open) out[i] += items[i].limit;
    return amount - static_cast<std::int64_t>(wanted);
  }
  // Who has its limit at the level amount / weight has it at any later one: the level only rises as
  // they leave. A few rounds do for most inputs; when many rounds each settle a few, halve instead.
  const auto full = [&](std::uint32_t i) {
    return Times(items[i].limit, weight) <= Times(items[i].weight, amount);
  };
  const auto settle = [&](std::uint32_t i) {
    out[i] += items[i].limit;
    amount -= items[i].limit;
    weight -= items[i].weight;
  };
  bool settled = true;
  for (int round = 0; settled && round < 8; ++round) {
    const std::int64_t level_amount = amount;
    const std::int64_t level_weight = weight;
    std::size_t kept = 0;
    for (const std::uint32_t i : open) {
      if (Times(items[i].limit, level_weight) <= Times(items[i].weight, level_amount)) {
        settle(i);
      } else {
        open[kept++] = i;
      }
    }
    settled = kept < open.size();
    open.resize(kept);
  }
  if (settled) {
    std::sort(open.begin(), open.end(), [&](std::uint32_t a, std::uint32_t b) {
      const Wide left = Times(items[a].limit, items[b].weight);
      const Wide right = Times(items[b].limit, items[a].weight);
      return left != right ? left < right : a < b;
    });
    std::size_t done = 0;
    while (done < open.size() && full(open[done])) settle(open[done++]);
    open.erase(open.begin(), open.begin() + static_cast<std::ptrdiff_t>(done));
  }
  // The rest share one level, below everyone's limit: a unit more than the floor never exceeds it.
  auto& parts = scratch->parts;
  parts.clear();
  std::int64_t left = amount;
  for (const std::uint32_t i : open) {
    const Wide exact = Times(items[i].weight, amount);
    const auto narrow = static_cast<std::int64_t>(exact);  // 128-bit division is dear
    const auto part = narrow == exact ? narrow / weight : static_cast<std::int64_t>(exact / weight);
    out[i] += part;
    left -= part;
    parts.push_back({i, exact - Times(part, weight)});
  }
  if (left > 0) {
    BASALT_CHECK(static_cast<std::size_t>(left) < parts.size());
    const auto last = parts.begin() + static_cast<std::ptrdiff_t>(left);
    std::nth_element(parts.begin(), last, parts.end(), [](const auto& a, const auto& b) {
      return a.remainder != b.remainder ? a.remainder > b.remainder : a.item < b.item;
    });
    for (auto it = parts.begin(); it != last; ++it) ++out[it->item];
  }
  return 0;
}

std::int64_t DivideAmount(std::int64_t amount, std::span<const ShareClaim> claims,
                          std::span<std::int64_t> out, FillScratch* scratch) {
  BASALT_CHECK(claims.size() == out.size());
  std::fill(out.begin(), out.end(), 0);
  std::vector<FillItem>& items = scratch->items;
  std::vector<std::int64_t>& given = scratch->given;
  // What is owed first: by weight = what is owed, the level is the fraction that everyone gets.
  const auto owe = [&](auto owed) {
    items.clear();
    bool any = false;
    for (std::size_t i = 0; i < claims.size(); ++i) {
      const std::int64_t want = std::max<std::int64_t>(0, owed(claims[i]) - out[i]);
      const std::int64_t limit = std::min(want, claims[i].limit - out[i]);
      items.push_back({std::max<std::int64_t>(0, limit), want});
      any |= limit > 0;
    }
    if (any) amount = WaterFill(amount, items, out, scratch);
  };
  owe([](const ShareClaim& c) { return c.guarantee; });
  if (amount > 0) owe([](const ShareClaim& c) { return c.deserved; });
  // What is left, priority by priority.
  std::vector<std::uint32_t>& members = scratch->members;
  members.clear();
  for (std::uint32_t i = 0; i < claims.size(); ++i) {
    if (out[i] < claims[i].limit) members.push_back(i);
  }
  const auto higher = [&](std::uint32_t a, std::uint32_t b) {
    return claims[a].priority > claims[b].priority;
  };
  if (!std::is_sorted(members.begin(), members.end(), higher)) {
    std::stable_sort(members.begin(), members.end(), higher);
  }
  for (std::size_t begin = 0; begin < members.size() && amount > 0;) {
    std::size_t end = begin;
    while (end < members.size() && !higher(members[begin], members[end])) ++end;
    const auto fill = [&](std::int64_t ShareClaim::* weight) {
      items.clear();
      for (std::size_t k = begin; k < end; ++k) {
        const ShareClaim& claim = claims[members[k]];
        items.push_back({claim.limit - out[members[k]], claim.*weight});
      }
      given.assign(items.size(), 0);
      amount = WaterFill(amount, items, given, scratch);
      for (std::size_t k = 0; k < given.size(); ++k) out[members[begin + k]] += given[k];
    };
    fill(&ShareClaim::weight);
    if (amount > 0) fill(&ShareClaim::spare_weight);
    begin = end;
  }
  return amount;
}

namespace {

// Progressive filling in fixed point: kAll is a whole total and a dominant share of 1. A user's
// `rate` is what a resource loses (as a part of its total) per unit of dominant share. While a user
// grows, its share is weight x level. All roundings make what is left smaller, so the result never
// exceeds a total.
constexpr Wide kAll = Wide{1} << 60;

class Filling {
 public:
  Filling(const Limits& total, std::span<const DrfUser> users) {
    for (const DrfUser& user : users) {
      for (std::size_t r = totals_.size(); r < user.demand.size(); ++r) {
        totals_.push_back(total[ResourceId(r)]);
      }
      max_weight_ = std::max(max_weight_, user.weight);
    }
    left_.assign(totals_.size(), kAll);
    growth_.assign(totals_.size(), 0);
    closed_.assign(totals_.size(), false);
    dust_ = static_cast<Wide>(users.size()) + 2;
    for (const DrfUser& user : users) people_.push_back(Start(user));
  }

  std::vector<std::int64_t> Run() {
    Floors();
    std::vector<Event> events;
    for (std::uint32_t i = 0; i < people_.size(); ++i) {
      const Person& p = people_[i];
      if (p.state == State::kDone) continue;
      events.push_back({CeilDivide(p.share * kDrfOne, p.weight), i, false});
      events.push_back({CeilDivide(p.most * kDrfOne, p.weight), i, true});
    }
    std::sort(events.begin(), events.end(), [](const Event& a, const Event& b) {
      return a.level != b.level ? a.level < b.level
                                : (a.person != b.person ? a.person < b.person : a.ends < b.ends);
    });
    CloseUsedUp();
    for (std::size_t next = 0; next < events.size();) {
      Wide step = events[next].level - level_;
      for (std::size_t r = 0; r < left_.size(); ++r) {
        if (growth_[r] > 0) step = std::min(step, left_[r] * kDrfOne / growth_[r]);
      }
      level_ += step;
      for (std::size_t r = 0; r < left_.size(); ++r) {
        left_[r] -= CeilDivide(growth_[r] * step, kDrfOne);
      }
      CloseUsedUp();
      for (; next < events.size() && events[next].level <= level_; ++next) {
        Person& p = people_[events[next].person];
        if (events[next].ends) {
          Stop(&p);
        } else if (p.state == State::kWaiting) {
          Grow(&p, 1);
          p.state = State::kGrowing;
        }
      }
    }
    std::vector<std::int64_t> out;
    for (const Person& p : people_) out.push_back(Fraction(p));
    return out;
  }

 private:
  enum class State { kWaiting, kGrowing, kDone };  // waiting: the level is below its floor
  struct Person {
    State state = State::kDone;
    std::vector<Wide> rate;              // by resource, kDrfOne: as the dominant one
    std::int64_t demand = 0, total = 1;  // of the dominant resource
    std::int64_t unlimited = 0;          // the fraction of one that asks for nothing limited
    Wide weight = 0;                     // of the heaviest: kDrfOne
    Wide share = 0, most = 0;            // of kAll
  };
  struct Event {
    Wide level;
    std::uint32_t person;
    bool ends;
  };

  Person Start(const DrfUser& user) const {
    Person p;
    p.rate.assign(totals_.size(), 0);
    for (std::size_t r = 0; r < totals_.size(); ++r) {
      const std::int64_t demand = user.demand[ResourceId(r)];
      if (demand <= 0 || totals_[r] == Limits::kNone) continue;
      if (totals_[r] <= 0) return p;  // the cluster has none of it: no share of anything
      if (p.demand == 0 || Times(demand, p.total) > Times(p.demand, totals_[r])) {
        p.demand = demand;
        p.total = totals_[r];
      }
    }
    if (p.demand == 0) {
      p.unlimited = user.ceiling;
      return p;
    }
    for (std::size_t r = 0; r < totals_.size(); ++r) {
      const std::int64_t demand = user.demand[ResourceId(r)];
      if (demand <= 0 || totals_[r] == Limits::kNone) continue;
      p.rate[r] = CeilDivide(Times(demand, p.total) * kDrfOne, Times(totals_[r], p.demand));
    }
    // Nobody's dominant share exceeds 1: cut there, or large demands would not fit 128 bits.
    const auto share_of = [&](std::int64_t fraction) {
      return std::min(kAll, Times(fraction, p.demand) * (kAll / kDrfOne) / p.total);
    };
    p.most = share_of(user.ceiling);
    p.share = share_of(std::min(user.floor, user.ceiling));
    p.weight = max_weight_ == 0 ? 0 : Times(user.weight, kDrfOne) / max_weight_;
    if (p.weight > 0 && p.share < p.most) p.state = State::kWaiting;
    return p;
  }

  void Floors() {
    std::vector<Wide> used(totals_.size(), 0);
    Wide cut = kDrfOne;
    for (std::size_t r = 0; r < used.size(); ++r) {
      for (const Person& p : people_) used[r] += Used(p, r);
      if (used[r] > kAll) cut = std::min(cut, kAll * kDrfOne / used[r]);
    }
    for (Person& p : people_) {
      if (cut < kDrfOne) p.share = p.share * cut / kDrfOne;
      for (std::size_t r = 0; r < left_.size(); ++r) left_[r] -= Used(p, r);
    }
  }

  static Wide Used(const Person& p, std::size_t r) {
    return CeilDivide(p.rate[r] * p.share, kDrfOne);
  }

  // Who needs a resource that is used up gets no more. A step that ends there leaves less than a
  // unit for each user.
  void CloseUsedUp() {
    for (std::size_t r = 0; r < left_.size(); ++r) {
      if (closed_[r] || left_[r] > dust_) continue;
      closed_[r] = true;
      for (Person& p : people_) {
        if (p.rate[r] > 0) Stop(&p);
      }
    }
  }

  void Stop(Person* p) {
    if (p->state == State::kGrowing) {
      p->share = std::min(p->most, std::max(p->share, p->weight * level_ / kDrfOne));
      Grow(p, -1);
    }
    p->state = State::kDone;
  }

  void Grow(Person* p, int sign) {
    for (std::size_t r = 0; r < growth_.size(); ++r) {
      growth_[r] += sign * CeilDivide(p->rate[r] * p->weight, kDrfOne);
    }
  }

  std::int64_t Fraction(const Person& p) const {
    if (p.demand == 0) return p.unlimited;
    return static_cast<std::int64_t>(p.share * p.total / p.demand / (kAll / kDrfOne));
  }

  std::vector<std::int64_t> totals_;
  std::vector<Wide> left_, growth_;  // parts of the totals; per unit of level
  std::vector<bool> closed_;
  std::int64_t max_weight_ = 0;
  Wide dust_ = 0;
  std::vector<Person> people_;
  Wide level_ = 0;
};

}  // namespace

std::vector<std::int64_t> DivideDominant(const Limits& total, std::span<const DrfUser> users) {
  return Filling(total, users).Run();
}

}  // namespace basalt
