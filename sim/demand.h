// Demand curves: how much of its peak a service uses over a day and a week, with noise, and sets of
// them whose peaks fall together or apart. All values are whole per mille of the peak, so that what
// is decided from them is decided from integers. Days and weeks begin where the caller's clock is
// 0: day 0 is a Monday.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "scheduler-core/base/result.h"
#include "scheduler-core/base/rng.h"
#include "scheduler-core/base/units.h"

namespace basalt::sim {

inline constexpr std::int64_t kDayUs = 86'400'000'000;
inline constexpr std::int32_t kFullLoad = 1000;  // per mille

struct DemandCurve {
  std::vector<std::int32_t> day;  // load in each part of a day, 0..1000; 24 or 96 of them
  std::array<std::int32_t, 7> week = {1000, 1000, 1000, 1000, 1000, 1000, 1000};  // factors
  // Around the curve: an AR(1) process from part to part of the day, cut at 0 and at the peak.
  std::int32_t noise_sd = 0;   // per mille of the peak, 0..1000
  std::int32_t noise_rho = 0;  // autocorrelation from one part to the next, per mille, 0..999

  std::int64_t SlotUs() const { return kDayUs / static_cast<std::int64_t>(day.size()); }
  // Without noise. `slot` counts parts of the day from the clock's 0, and may be negative.
  std::int32_t AtSlot(std::int64_t slot) const;
  std::int32_t At(SimTime now) const;
  friend bool operator==(const DemandCurve&, const DemandCurve&) = default;
};
Status ValidateDemand(const DemandCurve& curve, const std::string& where);

// business-day (9 to 18, weekdays), evening-peak (20 to 23), night-batch (0 to 7), flat. Their
// levels are assumptions of ours in round numbers; measured ones come from FitDemand.
std::span<const std::string_view> DemandShapes();
Result<DemandCurve> ShapeByName(std::string_view name, std::int32_t slots = 24);

// The same curve later by so many parts in a thousand of a day, 0..1000; between two values it is
// interpolated. The week stays.
DemandCurve Shift(const DemandCurve& curve, std::int32_t day_milli);

// Curve plus noise, slot by slot from slot 0; the same seed and stream give the same values.
class DemandSampler {
 public:
  DemandSampler(const DemandCurve& curve, std::uint64_t seed, std::uint64_t stream);
  std::int32_t Next();

 private:
  const DemandCurve& curve_;
  Rng rng_;
  std::int64_t slot_ = 0;
  double state_ = 0, innovation_ = 0;
};

// How the days of several services lie to each other.
struct Phasing {
  enum class Kind : std::uint8_t {
    kStaggered,    // spread evenly over the day
    kIndependent,  // each anywhere
    kAsGiven,      // as the curves are
  };
  Kind kind = Kind::kAsGiven;
  // Shrinks the distances: 0 as above, 1000 all at one time (all-by-day).
  std::int32_t together = 0;
};
// "as-given", "staggered", "independent", "all-by-day", or a number 0..1: staggered, and so far
// together.
Result<Phasing> ParsePhasing(std::string_view text);
// By how much service `i` is later than its curve, in parts of a thousand of a day. Of `count`
// staggered services each is 1/count of a day from the next; count 0: how many come is unknown, and
// every first n are spread nearly evenly (van der Corput).
std::int32_t PhaseOf(const Phasing& phasing, std::int64_t i, std::int64_t count,
                     std::uint64_t seed);

// A curve for each service: shapes in turn, then shifted.
struct DemandSetOptions {
  std::int64_t services = 1;
  std::vector<DemandCurve> shapes;  // at least one
  Phasing phasing;
  std::uint64_t seed = 42;
};
std::vector<DemandCurve> MakeDemandSet(const DemandSetOptions& options);

// Measured use.
struct DemandSample {
  SimTime at;
  std::int64_t value = 0;  // in any unit, 0 or more
};
struct FitOptions {
  std::int32_t harmonics = 3;  // of the day, 0..11
  std::int32_t slots = 24;
  bool weekly = true;  // fit a factor for each day of the week that was seen
};
struct DemandFit {
  DemandCurve curve;      // with noise_sd and noise_rho from the residuals
  std::int64_t peak = 0;  // the curve's 1000, in the unit of the samples
  std::int64_t residual_sd = 0;
  std::int64_t measured_peak = 0;    // the largest sample
  std::int32_t explained_milli = 0;  // R^2, per mille, 0 or more
  std::size_t samples = 0;
};
// Least squares on value = week[day] x (a0 + sum a_k cos + b_k sin), the week's factors and the
// day's curve in turns, negative parts of the curve cut off. Days of the week without samples get
// the mean factor of the others. Needs samples over a whole day: in at least 2 x harmonics + 1
// hours of it and 20 of them. Time order is not needed.
Result<DemandFit> FitDemand(std::span<const DemandSample> samples, const FitOptions& options);

// Pearson's correlation of several services that were measured at the same times (rows), each in
// -1..1; a service that never changes correlates 0 with all others.
std::vector<std::vector<double>> CorrelationMatrix(
    const std::vector<std::vector<std::int64_t>>& services);

}  // namespace basalt::sim
