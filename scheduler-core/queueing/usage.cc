#include "scheduler-core/queueing/usage.h"

#include <array>

#include "scheduler-core/base/check.h"

namespace basalt {
namespace {

__extension__ typedef __int128 Wide;

constexpr int kFactorBits = 62;
constexpr int kValueBits = 20;
constexpr std::int64_t kFactorOne = std::int64_t{1} << kFactorBits;

// floor(sqrt(x)) for x < 2^126.
constexpr std::int64_t Root(Wide x) {
  Wide low = 0;
  Wide high = Wide{1} << 63;
  while (high - low > 1) {
    const Wide middle = (low + high) / 2;
    (middle * middle <= x ? low : high) = middle;
  }
  return static_cast<std::int64_t>(low);
}

// 2^-(2^-(i + 1)) x 2^62: each is the root of the one before.
constexpr std::array<std::int64_t, kFactorBits> HalfPowers() {
  std::array<std::int64_t, kFactorBits> out{};
  std::int64_t last = kFactorOne / 2;
  for (auto& power : out) {
    power = Root(static_cast<Wide>(last) << kFactorBits);
    last = power;
  }
  return out;
}
constexpr std::array<std::int64_t, kFactorBits> kHalfPowers = HalfPowers();

}  // namespace

std::int64_t DecayFactor(std::int64_t elapsed, std::int64_t half_life) {
  BASALT_CHECK(elapsed >= 0 && half_life > 0);
  const std::int64_t whole = elapsed / half_life;
  if (whole >= kFactorBits) return 0;
  Wide rest = elapsed % half_life;
  std::int64_t factor = kFactorOne;
  // The binary digits of rest / half_life, one at a time.
  for (std::size_t i = 0; i < kHalfPowers.size() && rest != 0; ++i) {
    rest *= 2;
    if (rest < half_life) continue;
    rest -= half_life;
    factor = static_cast<std::int64_t>((static_cast<Wide>(factor) * kHalfPowers[i]) >> kFactorBits);
  }
  return factor >> whole;
}

DecayedUsage::DecayedUsage(std::int64_t half_life_us, SimTime start)
    : half_life_us_(half_life_us), start_(start) {
  BASALT_CHECK(half_life_us > 0);
}

DecayedUsage::Average& DecayedUsage::Of(QueueId queue) {
  if (averages_.size() <= queue.index()) averages_.resize(queue.index() + 1, Average{start_, {}});
  return averages_[queue];
}

void DecayedUsage::AdvanceOne(const QueueTree& tree, QueueId queue, SimTime now) {
  Average& average = Of(queue);
  const std::int64_t elapsed = now.us - average.at.us;
  BASALT_CHECK(elapsed >= 0);
  if (elapsed == 0) return;
  average.at = now;
  if (elapsed != last_elapsed_) {
    last_elapsed_ = elapsed;
    last_factor_ = DecayFactor(elapsed, half_life_us_);
  }
  const Amounts& allocated = tree.allocated(queue);
  if (average.values.size() < allocated.size()) average.values.resize(allocated.size(), 0);
  for (std::size_t r = 0; r < average.values.size(); ++r) {
    // value moves towards what is held: held + (value - held) x factor, rounded to nearest.
    const std::int64_t held = allocated[ResourceId(r)] * (std::int64_t{1} << kValueBits);
    const Wide gap = static_cast<Wide>(average.values[r] - held) * last_factor_;
    average.values[r] =
        held + static_cast<std::int64_t>((gap + (Wide{1} << (kFactorBits - 1))) >> kFactorBits);
  }
}

void DecayedUsage::Advance(const QueueTree& tree, QueueId leaf, SimTime now) {
  for (QueueId at = leaf; at.valid(); at = tree.parent(at)) AdvanceOne(tree, at, now);
}

void DecayedUsage::AdvanceAll(const QueueTree& tree, SimTime now) {
  for (const QueueId queue : tree.order()) AdvanceOne(tree, queue, now);
}

void DecayedUsage::Forget(QueueId queue, SimTime now) { Of(queue) = Average{now, {}}; }

std::int64_t DecayedUsage::usage(QueueId queue, ResourceId resource) const {
  if (queue.index() >= averages_.size()) return 0;
  const std::vector<std::int64_t>& values = averages_[queue].values;
  return resource.index() < values.size() ? values[resource.index()] >> kValueBits : 0;
}

}  // namespace basalt
