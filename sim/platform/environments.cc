// People in environments, and virtual machines. When users come, what they start and how long it
// would take is drawn from streams of their own and does not depend on what the platform does; what
// waits for an environment is worked off when it is there, in order.
#include <algorithm>

#include "sim/platform/world.h"

namespace basalt::sim::platform {

void World::SetUpUsers() {
  for (Index w = 0; w < works_.size(); ++w) {
    const Work& work = works_[w];
    if (work.work_class != WorkClass::kSandbox) continue;
    const SandboxSpec& spec = spec_.sandboxes[work.number];
    for (std::int32_t i = 0; i < spec.users; ++i) {
      const auto index = static_cast<Index>(users_.size());
      User user;
      user.work = w;
      user.sandbox = &spec;
      user.unit = NewUnit(w, index, 1);
      user.days = StreamFor(spec_.seed, spec.name, "days", static_cast<std::uint64_t>(i));
      user.bursts = StreamFor(spec_.seed, spec.name, "bursts", static_cast<std::uint64_t>(i));
      users_.push_back(std::move(user));
      if (spec.tenure.mean_us > 0) NewTenure(index, 0);
      PlanDay(index, 0);
    }
  }
  if (spec_.reclaim.idle_after_us > 0 && !users_.empty()) {
    events_.Add(spec_.reclaim.measure_step_us, EventKind::kMeasure);
  }
}

void World::NewTenure(Index i, std::int64_t from) {
  User& user = users_[i];
  // The first users are in the middle of theirs.
  const double part = user.tenure == 0 ? user.days.Unit() : 1;
  const double length = static_cast<double>(Draw(user.sandbox->tenure, user.days)) * part;
  events_.Add(from + static_cast<std::int64_t>(length), EventKind::kUserEnds, i, user.tenure);
}

// The next day on which the user comes, from `day` on.
void World::PlanDay(Index i, std::int64_t day) {
  User& user = users_[i];
  const SandboxSpec& spec = *user.sandbox;
  ++user.session;
  for (; day * kDayUs < spec_.horizon_us; ++day) {
    const double come = user.days.Unit(), when = user.days.Unit();
    const std::int64_t length = std::max<std::int64_t>(1, Draw(spec.session, user.days));
    if (day % 7 >= spec.working_days || come * 1000 >= spec.come_milli) continue;
    const std::int64_t at =
        day * kDayUs + spec.day_start_us +
        static_cast<std::int64_t>(when * static_cast<double>(spec.day_spread_us));
    if (at < now_) continue;
    user.session_end = at + length;
    user.day = day;
    events_.Add(at, EventKind::kUserComes, i, user.session);
    return;
  }
}

void World::UserComes(Index i, std::uint32_t session) {
  User& user = users_[i];
  if (user.session != session) return;
  user.present = true;
  works_[user.work].demand.Add(i);
  works_[user.work].demand.Add(now_);
  events_.Add(user.session_end, EventKind::kUserLeaves, i, session);
  NextBurst(i, now_);
  NeedEnvironment(i);
}

namespace {

// Between a machine's bursts, so that the share of time in bursts is the one that is given.
DurationSpec VmThink(const VmSpec& spec) {
  const double used = std::clamp(spec.used_milli, 1, 1000) / 1000.0;
  DurationSpec think = spec.burst;
  think.kind = DurationSpec::Kind::kExponential;
  think.mean_us =
      static_cast<std::int64_t>(static_cast<double>(spec.burst.mean_us) * (1 - used) / used);
  return think;
}

}  // namespace

void World::NextBurst(Index i, std::int64_t from) {
  User& user = users_[i];
  const Work& work = works_[user.work];
  const bool vm = work.work_class == WorkClass::kVm;
  const DurationSpec& burst = vm ? spec_.vms[work.number].burst : user.sandbox->burst;
  const DurationSpec think = vm ? VmThink(spec_.vms[work.number]) : user.sandbox->think;
  const std::int64_t at = from + Draw(think, user.bursts);
  user.next_length = static_cast<double>(std::max<std::int64_t>(1, Draw(burst, user.bursts)));
  if (at < user.session_end) events_.Add(at, EventKind::kBurst, i, user.session);
}

void World::BurstComes(Index i, std::uint32_t session) {
  User& user = users_[i];
  if (user.session != session || user.gone) return;
  Work& work = works_[user.work];
  if (user.sandbox != nullptr) {  // a machine's were counted when it was asked for
    work.demand.Add(now_);
    work.demand.Add(static_cast<std::int64_t>(user.next_length));
    work.account.wanted += user.next_length * WorkOf(units_[user.unit]);
  }
  user.backlog.push_back({now_, user.next_length, now_ - user.late_us >= measured_from_});
  NextBurst(i, now_ + static_cast<std::int64_t>(user.next_length));
  if (units_[user.unit].phase == Phase::kIdle) {
    NeedEnvironment(i);
  } else {
    WorkOnBacklog(i);
  }
}

void World::WorkOnBacklog(Index i) {
  const User& user = users_[i];
  Unit& unit = units_[user.unit];
  if (unit.phase != Phase::kRunning || unit.level > 0 || user.backlog.empty()) return;
  BookUnit(unit);
  if (unit.work_left < 0) {  // else it was spared in the middle of it
    unit.work_left = unit.work_total = user.backlog.front().length;
    unit.served_kept = unit.done = 0;
  }
  SetUse(user.unit, 1);
}

void World::BurstDone(Index u) {
  Unit& unit = units_[u];
  BookUnit(unit);
  User& user = users_[unit.owner];
  WorkAccount& account = works_[unit.work].account;
  const Burst& burst = user.backlog.front();
  if (burst.measured) {
    if (user.sandbox != nullptr) ++account.completed;
    account.slowdown.Add(static_cast<double>(now_ - burst.at) / burst.length);
    account.completed_work += burst.length * WorkOf(unit);
  }
  user.backlog.pop_front();
  unit.work_left = -1;
  unit.served_kept = unit.done = 0;
  SetUse(u, 0);
  if (!user.backlog.empty()) {
    WorkOnBacklog(unit.owner);
  } else if (user.sandbox != nullptr && user.sandbox->give_back_daily && !user.present) {
    GiveBack(unit.owner);
  }
}

void World::NeedEnvironment(Index i) {
  User& user = users_[i];
  if (units_[user.unit].phase != Phase::kIdle) return;
  if (user.reclaimed) BackFromReclaim(user);
  Queue(user.unit, !units_[user.unit].placed_before);
}

void World::EnvironmentReady(Index u) {
  Unit& unit = units_[u];
  User& user = users_[unit.owner];
  WorkAccount& account = works_[unit.work].account;
  if (unit.need_at >= 0) account.return_wait_us += static_cast<double>(now_ - unit.need_at);
  unit.need_at = -1;
  user.served_at.clear();
  if (works_[unit.work].work_class == WorkClass::kVm && user.session == 0) {
    user.session = 1;
    user.late_us = now_ - unit.submitted;
    const VmSpec& spec = spec_.vms[works_[unit.work].number];
    user.session_end = now_ + std::max<std::int64_t>(1, Draw(spec.hold, user.days));
    events_.Add(user.session_end, EventKind::kUserEnds, unit.owner, user.tenure);
    NextBurst(unit.owner, now_);
  }
  if (spec_.reclaim.lease_us > 0 && user.sandbox != nullptr && user.sandbox->reclaim) {
    events_.Add(now_ + spec_.reclaim.lease_us, EventKind::kLease, u, unit.attempt);
  }
}

void World::UserLeaves(Index i, std::uint32_t session) {
  User& user = users_[i];
  if (user.session != session || !user.present) return;
  user.present = false;
  Unit& unit = units_[user.unit];
  const bool waits = unit.phase == Phase::kWaiting || unit.phase == Phase::kParked ||
                     unit.phase == Phase::kDelayed;
  if (waits) {
    // Nobody starts work for somebody who has gone home.
    works_[user.work].account.abandoned += static_cast<std::int64_t>(user.backlog.size());
    user.backlog.clear();
    unit.need_at = -1;
    Withdraw(user.unit);
  } else if (user.sandbox->give_back_daily && user.backlog.empty()) {
    GiveBack(i);
  }
  PlanDay(i, user.day + 1);
}

// The environment is not needed any more, and nothing of it is kept.
void World::GiveBack(Index i) {
  User& user = users_[i];
  Unit& unit = units_[user.unit];
  works_[user.work].account.abandoned += static_cast<std::int64_t>(user.backlog.size());
  user.backlog.clear();
  if (user.reclaimed && unit.places.empty()) {
    BackFromReclaim(user);
    --works_[user.work].account.returns;  // nobody came back
    unit.need_at = -1;
  }
  user.reclaimed = false;
  if (!unit.places.empty()) {
    EndPlacement(user.unit, Leave::kFinished);
  } else if (unit.phase != Phase::kIdle && unit.phase != Phase::kGone) {
    Withdraw(user.unit);
  }
  unit.placed_before = false;
  unit.work_left = -1;
}

void World::UserEnds(Index i, std::uint32_t tenure) {
  User& user = users_[i];
  if (user.tenure != tenure) return;
  ++user.tenure;
  if (user.sandbox == nullptr) {
    user.gone = true;
    GiveBack(i);
    Unit& unit = units_[users_[i].unit];
    if (unit.measured) ++works_[unit.work].account.completed;
    unit.phase = Phase::kGone;
    return;
  }
  user.present = false;
  GiveBack(i);
  const std::int64_t next = now_ + Draw(user.sandbox->gap, user.days);
  NewTenure(i, next);
  PlanDay(i, next / kDayUs + 1);
}

// A machine's bursts begin when it does, but its work is wanted from when it is asked for, whether
// it starts or not: as if it began at once.
void World::CountWanted(Index i) {
  const User& user = users_[i];
  Work& work = works_[user.work];
  const VmSpec& spec = spec_.vms[work.number];
  Rng days = user.days, bursts = user.bursts;
  const DurationSpec think = VmThink(spec);
  const std::int64_t held = std::max<std::int64_t>(1, Draw(spec.hold, days));
  const std::int64_t end = held < spec_.horizon_us - now_ ? now_ + held : spec_.horizon_us;
  for (std::int64_t from = now_;;) {
    const std::int64_t at = from + Draw(think, bursts);
    if (at >= end) return;
    const std::int64_t length = std::max<std::int64_t>(1, Draw(spec.burst, bursts));
    if (at >= measured_from_) {
      work.account.wanted += static_cast<double>(length) * WorkOf(units_[user.unit]);
    }
    from = at + length;
  }
}

void World::VmArrives(Source& source) {
  const auto index = static_cast<Index>(users_.size());
  const VmSpec& spec = spec_.vms[works_[source.work].number];
  User user;
  user.work = source.work;
  user.unit = NewUnit(source.work, index, 1);
  user.days = StreamFor(spec_.seed, spec.name, "hold", source.next);
  user.bursts = StreamFor(spec_.seed, spec.name, "bursts", source.next);
  user.present = true;
  ++source.next;
  users_.push_back(std::move(user));
  works_[users_[index].work].demand.Add(now_);
  CountWanted(index);
  Queue(users_[index].unit, true);
}

}  // namespace basalt::sim::platform
