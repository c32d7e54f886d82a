// Environments that nobody works in: found by measured use, not by what they hold. Their image is
// committed and they exit; their processes and what was on the card are lost, and their user waits
// for a restart.
#include <algorithm>

#include "sim/platform/world.h"

namespace basalt::sim::platform {

void World::Measure() {
  const ReclaimSpec& reclaim = spec_.reclaim;
  const auto steps = static_cast<std::size_t>(
      std::max<std::int64_t>(1, reclaim.idle_after_us / reclaim.measure_step_us));
  for (Index i = 0; i < users_.size(); ++i) {
    User& user = users_[i];
    if (user.sandbox == nullptr || !user.sandbox->reclaim) continue;
    Unit& unit = units_[user.unit];
    if (unit.phase != Phase::kRunning) continue;
    BookUnit(unit);
    user.served_at.push_back(unit.served_total);
    if (user.served_at.size() <= steps) continue;
    const double used = user.served_at.back() - user.served_at.front();
    user.served_at.pop_front();
    const double held = static_cast<double>(unit.allocated_milli) * static_cast<double>(steps) *
                        static_cast<double>(reclaim.measure_step_us);
    if (used * 1000 < held * reclaim.idle_below_milli) CommitAndExit(user.unit, true);
  }
  events_.Add(now_ + reclaim.measure_step_us, EventKind::kMeasure);
}

void World::Lease(Index u, std::uint32_t attempt) {
  Unit& unit = units_[u];
  if (unit.phase != Phase::kRunning) return;
  if (users_[unit.owner].present) {  // renewed
    events_.Add(now_ + spec_.reclaim.lease_us, EventKind::kLease, u, attempt);
    return;
  }
  CommitAndExit(u, true);
}

void World::CommitAndExit(Index u, bool reclaim) {
  Unit& unit = units_[u];
  if (unit.phase == Phase::kStarting) return TellToLeave(u, Leave::kLadder);  // nothing to save
  if (unit.phase != Phase::kRunning) return;
  const Work& work = works_[unit.work];
  BookUnit(unit);
  SetUse(u, 0);
  unit.phase = Phase::kCommitting;
  ++unit.version;
  if (reclaim) {
    User& user = users_[unit.owner];
    user.reclaimed = true;
    user.reclaimed_milli = unit.allocated_milli;
    ++works_[unit.work].account.reclaimed;
  }
  events_.Add(now_ + CommitTime(*work.spec), EventKind::kCommitted, u, unit.attempt);
}

// Its user needs it again: what it would have held until now was saved.
void World::BackFromReclaim(User& user) {
  WorkAccount& account = works_[user.work].account;
  const std::int64_t from = std::max(user.reclaimed_at, measured_from_);
  account.reclaimed_milli_us += static_cast<double>(user.reclaimed_milli) *
                                static_cast<double>(std::max<std::int64_t>(0, now_ - from));
  ++account.returns;
  user.reclaimed = false;
  units_[user.unit].need_at = now_;
}

}  // namespace basalt::sim::platform
