#include "sim/oversubscription.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace basalt::sim {
namespace {

constexpr std::int64_t kGrid = 2000;  // cells of a capacity, at most
constexpr std::int64_t kMaxCapacity = 1'000'000'000'000;
constexpr double kMinutes = 30 * 24 * 60.0;  // of 30 days
constexpr int kNoiseSteps = 24;              // each side; of a quarter of the sd

// What a service may use in one slot, in cells, each with its probability; ascending.
using Loads = std::vector<std::pair<std::int64_t, double>>;

double NormalCdf(double z) { return 0.5 * std::erfc(-z / std::sqrt(2.0)); }

// Loads, per mille of the peak.
Loads LoadsOf(const ServiceDemand& service, std::int64_t slot) {
  const double level = service.curve.AtSlot(slot);
  if (service.on_off) {
    if (level <= 0) return {{0, 1}};
    if (level >= kFullLoad) return {{kFullLoad, 1}};
    return {{0, 1 - level / kFullLoad}, {kFullLoad, level / kFullLoad}};
  }
  if (service.curve.noise_sd == 0) return {{static_cast<std::int64_t>(level), 1}};
  // The normal distribution in steps, each step's mass at its upper end, the tails at the ends.
  const double step = 0.25;
  Loads out;
  double below = 0;
  for (int i = -kNoiseSteps; i <= kNoiseSteps; ++i) {
    const double upto = i == kNoiseSteps ? 1 : NormalCdf(i * step);
    const double load = std::clamp(level + i * step * service.curve.noise_sd, 0.0, 1000.0);
    const auto whole = static_cast<std::int64_t>(std::ceil(load));
    if (!out.empty() && out.back().first == whole) {
      out.back().second += upto - below;
    } else {
      out.emplace_back(whole, upto - below);
    }
    below = upto;
  }
  return out;
}

// The sum of what services use of one capacity, in every slot of the week.
class Sum {
 public:
  Sum(std::int64_t capacity, std::int64_t unit, std::size_t slots)
      : unit_(unit), cells_(capacity / unit), slots_(slots) {
    for (Slot& slot : slots_) {
      slot.mass.assign(static_cast<std::size_t>(cells_) + 1, 0.0);
      slot.mass[0] = 1;
      slot.together = {{1.0, 0}};
    }
  }

  // `amount` at the peak, of which `held` per mille whatever the load.
  void Add(const Loads& loads, std::int64_t amount, std::int64_t held, std::size_t at) {
    Slot& slot = slots_[at];
    Loads parts;
    for (const auto& [load, p] : loads) {
      // Up to a cell: what is rounded never hides an overload.
      const std::int64_t milli = held + (1000 - held) * load / 1000;
      const std::int64_t used = (amount * milli + 999) / 1000;
      parts.emplace_back((used + unit_ - 1) / unit_, p);
      slot.mean += p * static_cast<double>(amount) * static_cast<double>(milli);
    }
    std::vector<double> next(slot.mass.size(), 0.0);
    double over = slot.over;
    std::int64_t top = 0;
    for (const auto& [cells, p] : parts) {
      for (std::int64_t i = 0; i <= slot.top; ++i) {
        const double q = slot.mass[static_cast<std::size_t>(i)] * p;
        if (i + cells > cells_) {
          over += q;
        } else {
          next[static_cast<std::size_t>(i + cells)] += q;
        }
      }
      top = std::max(top, std::min(slot.top + cells, cells_));
    }
    slot.mass = std::move(next);
    slot.over = over;
    slot.top = top;
    AddTogether(parts, &slot);
  }

  double Mean(std::size_t at) const { return slots_[at].mean; }
  // Probability of overload in a slot.
  double Overload(std::size_t at, double correlation) const {
    const Slot& slot = slots_[at];
    double together = 0, below = 0;
    for (const auto& [upto, cells] : slot.together) {
      if (cells > cells_) together += upto - below;
      below = upto;
    }
    return std::max(slot.over, (1 - correlation) * slot.over + correlation * together);
  }

 private:
  struct Slot {
    std::vector<double> mass;  // by cells, while independent; 0 above top
    std::int64_t top = 0;
    double mean = 0;
    double over = 0;  // what left the grid: added up, so that small ones stay exact
    // All at one quantile: cells used up to each quantile, both ascending.
    std::vector<std::pair<double, std::int64_t>> together;
  };

  static void AddTogether(const Loads& parts, Slot* slot) {
    std::vector<std::pair<double, std::int64_t>> merged;
    double upto = 0;
    std::size_t i = 0;
    for (std::size_t k = 0; k < parts.size(); ++k) {
      // The sum of the parts is 1 but for rounding; both lists must end together.
      upto = k + 1 == parts.size() ? 1.0 : upto + parts[k].second;
      while (i < slot->together.size() && slot->together[i].first < upto) {
        merged.emplace_back(slot->together[i].first, slot->together[i].second + parts[k].first);
        ++i;
      }
      const std::size_t here = std::min(i, slot->together.size() - 1);
      merged.emplace_back(upto, slot->together[here].second + parts[k].first);
      if (i < slot->together.size() && slot->together[i].first == upto) ++i;
    }
    slot->together = std::move(merged);
  }

  std::int64_t unit_, cells_;
  std::vector<Slot> slots_;
};

// The size of a cell: at least a 2000th of the capacity, and one that divides the capacity and all
// peaks, if there is one not much larger, so that what is held all the time is not rounded.
std::int64_t UnitOf(std::int64_t capacity, const std::vector<std::int64_t>& peaks) {
  const std::int64_t least = (capacity + kGrid - 1) / kGrid;
  std::int64_t common = capacity;
  for (const std::int64_t peak : peaks) common = std::gcd(common, peak);
  for (std::int64_t unit = least; unit <= std::min(common, 16 * least); ++unit) {
    if (common % unit == 0) return unit;
  }
  return least;
}

std::int64_t PeakOf(const ServiceDemand& s, Bottleneck what) {
  return what == Bottleneck::kMemory ? (s.memory_mib * s.memory_peak_milli + 999) / 1000
                                     : (s.compute_milli * s.peak_milli + 999) / 1000;
}

struct Risk {
  double mean = 0, worst = 0;
  std::size_t slot = 0;  // of the worst; of equal ones that in which most is used
};
Risk RiskOf(const Sum& sum, std::size_t slots, double correlation) {
  Risk risk;
  for (std::size_t s = 0; s < slots; ++s) {
    const double p = sum.Overload(s, correlation);
    risk.mean += p;
    if (p > risk.worst || (p == risk.worst && sum.Mean(s) > sum.Mean(risk.slot))) risk.slot = s;
    risk.worst = std::max(risk.worst, p);
  }
  risk.mean /= static_cast<double>(slots);
  return risk;
}

Status Check(const std::vector<ServiceDemand>& services, const OversubscriptionOptions& options) {
  const auto out_of = [](std::int64_t v, std::int64_t low, std::int64_t high) {
    return v < low || v > high;
  };
  if (services.empty()) return Fail("services", "there are none");
  if (out_of(options.compute_milli, 0, kMaxCapacity) ||
      out_of(options.memory_mib, 0, kMaxCapacity) ||
      (options.compute_milli == 0 && options.memory_mib == 0)) {
    return Fail("card", "must have compute or memory, at most 10^12");
  }
  if (out_of(options.risk_ppm, 0, 1'000'000)) return Fail("risk", "is 0..1000000 per million");
  if (out_of(options.correlation, 0, 1000)) return Fail("correlation", "is 0..1000 per mille");
  if (out_of(options.max_services, 1, 100'000)) return Fail("max_services", "is 1..100000");
  for (const ServiceDemand& s : services) {
    const std::string where = "service \"" + s.name + "\"";
    if (Status ok = ValidateDemand(s.curve, where); !ok) return ok;
    if (s.curve.day.size() != services[0].curve.day.size()) {
      return Fail(where, "its day has another number of parts than the others'");
    }
    if (out_of(s.compute_milli, 0, kMaxCapacity) || out_of(s.memory_mib, 0, kMaxCapacity)) {
      return Fail(where, "asks less than 0 or more than 10^12");
    }
    if (out_of(s.peak_milli, 0, 100'000) || out_of(s.memory_peak_milli, 0, 100'000))
      return Fail(where, "its peak is 0..100000 per mille");
    if (out_of(s.memory_idle_milli, 0, 1000)) return Fail(where, "its idle memory is 0..1000");
    if (out_of(s.copies, 1, 100'000)) return Fail(where, "its copies are 1..100000");
  }
  return {};
}

}  // namespace

Result<OversubscriptionPlan> PlanOversubscription(const std::vector<ServiceDemand>& services,
                                                  const OversubscriptionOptions& options) {
  if (Status ok = Check(services, options); !ok) return tl::unexpected<Error>(ok.error());
  const std::size_t per_day = services[0].curve.day.size();
  const std::size_t slots = 7 * per_day;
  const double correlation = options.correlation / 1000.0;
  const double accepted = options.risk_ppm / 1e6;
  struct Dimension {
    Bottleneck what;
    std::int64_t capacity, ServiceDemand::*ask;
    std::int64_t sold = 0;
    Sum sum;
  };
  std::vector<Dimension> dimensions;
  const auto look_at = [&](Bottleneck what, std::int64_t capacity,
                           std::int64_t ServiceDemand::* ask) {
    if (capacity == 0) return;
    std::vector<std::int64_t> peaks;
    for (const ServiceDemand& s : services) peaks.push_back(PeakOf(s, what));
    dimensions.push_back({what, capacity, ask, 0, Sum(capacity, UnitOf(capacity, peaks), slots)});
  };
  look_at(Bottleneck::kCompute, options.compute_milli, &ServiceDemand::compute_milli);
  look_at(Bottleneck::kMemory, options.memory_mib, &ServiceDemand::memory_mib);
  // One round of the mix: the copies of a service apart from each other.
  std::vector<const ServiceDemand*> round;
  std::int64_t most = 0;
  for (const ServiceDemand& s : services) most = std::max(most, s.copies);
  for (std::int64_t k = 0; k < std::min(most, options.max_services); ++k) {
    for (const ServiceDemand& s : services) {
      if (k < s.copies) round.push_back(&s);
    }
  }

  OversubscriptionPlan plan;
  for (std::int64_t n = 0; n < options.max_services; ++n) {
    ServiceDemand next = *round[static_cast<std::size_t>(n) % round.size()];
    next.curve = Shift(next.curve, PhaseOf(options.phasing, n, 0, options.seed));
    double worst_mean = 0;
    Risk worst;
    Bottleneck worst_of = Bottleneck::kNone;
    for (Dimension& d : dimensions) {
      const std::int64_t peak = PeakOf(next, d.what);
      const std::int64_t held = d.what == Bottleneck::kMemory ? next.memory_idle_milli : 0;
      for (std::size_t s = 0; s < slots; ++s) {
        d.sum.Add(LoadsOf(next, static_cast<std::int64_t>(s)), peak, held, s);
      }
      const Risk risk = RiskOf(d.sum, slots, correlation);
      if (risk.mean > worst_mean) {
        worst_mean = risk.mean;
        worst = risk;
        worst_of = d.what;
      }
    }
    if (worst_mean > accepted) {
      plan.binding = worst_of;
      plan.next_overload_minutes = worst_mean * kMinutes;
      plan.weekday = static_cast<std::int32_t>(worst.slot / per_day);
      plan.minute = static_cast<std::int32_t>(worst.slot % per_day * 1440 / per_day);
      plan.binding_probability = worst.worst;
      break;
    }
    ++plan.services;
    plan.overload_minutes = worst_mean * kMinutes;
    for (Dimension& d : dimensions) d.sold += next.*d.ask;
  }
  plan.unlimited = plan.binding == Bottleneck::kNone;
  for (const Dimension& d : dimensions) {
    const std::int64_t percent = d.sold * 100 / d.capacity;
    (d.what == Bottleneck::kCompute ? plan.compute_percent : plan.memory_percent) = percent;
  }
  return plan;
}

}  // namespace basalt::sim
