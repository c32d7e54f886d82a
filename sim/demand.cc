#include "sim/demand.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string>

#include "scheduler-core/base/check.h"
#include "scheduler-core/base/suggest.h"

namespace basalt::sim {
namespace {

struct Shape {
  std::string_view name;
  std::array<std::int32_t, 24> day;
  std::array<std::int32_t, 7> week;
};
constexpr std::array<Shape, 4> kShapes = {{
    {"business-day",
     {80,  60,  50,   50,   50,  60,  100, 200, 450, 800, 950, 1000,
      850, 900, 1000, 1000, 980, 900, 650, 450, 350, 250, 180, 120},
     {1000, 1000, 1000, 1000, 1000, 250, 200}},
    {"evening-peak",
     {350, 220, 140, 100, 90,  100, 150, 250, 350,  420,  480, 550,
      600, 560, 520, 520, 560, 640, 760, 900, 1000, 1000, 850, 600},
     {850, 850, 850, 850, 950, 1000, 1000}},
    {"night-batch",
     {1000, 1000, 1000, 1000, 1000, 950, 800, 500, 200, 50,  20,  20,
      20,   20,   20,   20,   20,   20,  20,  50,  100, 200, 500, 900},
     {1000, 1000, 1000, 1000, 1000, 1000, 1000}},
    {"flat",
     {1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000,
      1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000},
     {1000, 1000, 1000, 1000, 1000, 1000, 1000}},
}};
constexpr auto kShapeNames = [] {
  std::array<std::string_view, kShapes.size()> names;
  for (std::size_t i = 0; i < names.size(); ++i) names[i] = kShapes[i].name;
  return names;
}();

// The value `at` parts of 1/scale of a slot from the start of the day, interpolated.
std::int32_t Between(const std::vector<std::int32_t>& day, std::int64_t at, std::int64_t scale) {
  const auto n = static_cast<std::int64_t>(day.size());
  at = ((at % (n * scale)) + n * scale) % (n * scale);
  const std::int64_t low = day[static_cast<std::size_t>(at / scale)];
  const std::int64_t high = day[static_cast<std::size_t>((at / scale + 1) % n)];
  const std::int64_t part = at % scale;
  return static_cast<std::int32_t>((low * (scale - part) + high * part + scale / 2) / scale);
}

// Nearly normal, mean 0 and sd 1, within +-6: twelve uniforms, without a function of libm.
double Normal(Rng& rng) {
  double sum = -6;
  for (int i = 0; i < 12; ++i) sum += rng.Unit();
  return sum;
}

std::int64_t FloorDiv(std::int64_t a, std::int64_t b) { return a / b - (a % b < 0 ? 1 : 0); }

}  // namespace

std::int32_t DemandCurve::AtSlot(std::int64_t slot) const {
  const auto n = static_cast<std::int64_t>(day.size());
  const std::int64_t on = FloorDiv(slot, n);
  const std::int64_t weekday = on - FloorDiv(on, 7) * 7;
  const std::int64_t load = day[static_cast<std::size_t>(slot - on * n)];
  return static_cast<std::int32_t>(
      (load * week[static_cast<std::size_t>(weekday)] + kFullLoad / 2) / kFullLoad);
}

std::int32_t DemandCurve::At(SimTime now) const { return AtSlot(FloorDiv(now.us, SlotUs())); }

Status ValidateDemand(const DemandCurve& curve, const std::string& where) {
  const auto bad = [](std::int32_t v) { return v < 0 || v > kFullLoad; };
  if (curve.day.size() != 24 && curve.day.size() != 96) {
    return Fail(where, "a day has 24 or 96 values, not " + std::to_string(curve.day.size()));
  }
  if (std::ranges::any_of(curve.day, bad)) return Fail(where, "a day's values are 0..1000");
  if (std::ranges::any_of(curve.week, bad)) return Fail(where, "a week's factors are 0..1000");
  if (bad(curve.noise_sd)) return Fail(where, "the noise is 0..1000");
  if (curve.noise_rho < 0 || curve.noise_rho > 999) {
    return Fail(where, "the noise's autocorrelation is 0..999");
  }
  return {};
}

std::span<const std::string_view> DemandShapes() { return kShapeNames; }

Result<DemandCurve> ShapeByName(std::string_view name, std::int32_t slots) {
  const auto found = std::ranges::find(kShapes, name, &Shape::name);
  if (found == kShapes.end()) {
    return Fail("shape", "unknown shape " + SuggestText(name, kShapeNames));
  }
  if (slots != 24 && slots != 96) return Fail("slots", "a day has 24 or 96 parts");
  DemandCurve curve;
  curve.week = found->week;
  const std::vector<std::int32_t> hours(found->day.begin(), found->day.end());
  for (std::int32_t s = 0; s < slots; ++s) curve.day.push_back(Between(hours, s * 24, slots));
  return curve;
}

DemandCurve Shift(const DemandCurve& curve, std::int32_t day_milli) {
  DemandCurve out = curve;
  const auto n = static_cast<std::int64_t>(curve.day.size());
  for (std::int64_t s = 0; s < n; ++s) {
    out.day[static_cast<std::size_t>(s)] = Between(curve.day, s * 1000 - n * day_milli, 1000);
  }
  return out;
}

DemandSampler::DemandSampler(const DemandCurve& curve, std::uint64_t seed, std::uint64_t stream)
    : curve_(curve), rng_(seed, stream) {
  const double rho = curve.noise_rho / 1000.0;
  innovation_ = curve.noise_sd * std::sqrt(1 - rho * rho);  // so that the sd stays
  state_ = curve.noise_sd * Normal(rng_);
}

std::int32_t DemandSampler::Next() {
  const double value = curve_.AtSlot(slot_++) + state_;
  state_ = state_ * (curve_.noise_rho / 1000.0) + innovation_ * Normal(rng_);
  return static_cast<std::int32_t>(std::clamp(std::floor(value + 0.5), 0.0, 1000.0));
}

Result<Phasing> ParsePhasing(std::string_view text) {
  using Kind = Phasing::Kind;
  if (text == "as-given") return Phasing{Kind::kAsGiven, 0};
  if (text == "staggered") return Phasing{Kind::kStaggered, 0};
  if (text == "independent") return Phasing{Kind::kIndependent, 0};
  if (text == "all-by-day") return Phasing{Kind::kStaggered, 1000};
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !(value >= 0) || !(value <= 1)) {
    return Fail("phasing",
                "\"" + std::string(text.substr(0, 40)) +
                    "\" is not as-given, staggered, independent, all-by-day or a number 0..1");
  }
  return Phasing{Kind::kStaggered, static_cast<std::int32_t>(std::lround(value * 1000))};
}

std::int32_t PhaseOf(const Phasing& phasing, std::int64_t i, std::int64_t count,
                     std::uint64_t seed) {
  std::int64_t phase = 0;  // millionths of a day
  switch (phasing.kind) {
    case Phasing::Kind::kAsGiven:
      break;
    case Phasing::Kind::kIndependent:
      phase = Rng(seed, static_cast<std::uint64_t>(i)).Below(1'000'000);
      break;
    case Phasing::Kind::kStaggered:
      if (count > 0) {
        phase = (i % count) * 1'000'000 / count;
      } else {
        std::int64_t step = 1'000'000;
        for (std::int64_t bits = i; bits > 0; bits /= 2) {
          step /= 2;
          phase += bits % 2 * step;
        }
      }
      break;
  }
  // Towards the common time the shorter way round.
  if (phase > 500'000) phase -= 1'000'000;
  phase = phase * (1000 - phasing.together) / 1000;
  return static_cast<std::int32_t>((phase + 1'000'000) % 1'000'000 / 1000);
}

std::vector<DemandCurve> MakeDemandSet(const DemandSetOptions& options) {
  BASALT_CHECK(!options.shapes.empty());
  std::vector<DemandCurve> out;
  for (std::int64_t i = 0; i < options.services; ++i) {
    const auto& shape = options.shapes[static_cast<std::size_t>(i) % options.shapes.size()];
    out.push_back(Shift(shape, PhaseOf(options.phasing, i, options.services, options.seed)));
  }
  return out;
}

}  // namespace basalt::sim
