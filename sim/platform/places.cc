// The life of a placement: from having its places to having left them.
#include <algorithm>

#include "scheduler-core/base/check.h"
#include "sim/platform/world.h"

namespace basalt::sim::platform {
namespace {

constexpr double kGiB = 1024;

std::int64_t Scaled(std::int64_t us_per_gib, std::int64_t mib) {
  return static_cast<std::int64_t>(static_cast<double>(us_per_gib) * static_cast<double>(mib) /
                                   kGiB);
}

}  // namespace

std::int64_t World::CommitTime(const WorkloadSpec& spec) const {
  return spec_.runtime.commit_us + Scaled(spec_.runtime.commit_us_per_gib, spec.image_mib);
}
std::int64_t World::RestartTime(const WorkloadSpec& spec) const {
  return spec_.runtime.restart_us + Scaled(spec_.runtime.restart_us_per_gib, spec.image_mib);
}

// What the engine gave it becomes slices on cards and use of nodes.
void World::TakePlaces(Index u) {
  const WorkloadSpec& spec = *works_[units_[u].work].spec;
  const Index c = works_[units_[u].work].options[units_[u].option].cluster;
  Cluster& cluster = clusters_[c];
  const ClusterState& state = cluster.engine->state();
  for (std::int32_t m = 0; m < units_[u].pods; ++m) {
    const Allocation* a = cluster.engine->Find(MemberUid(u, m));
    BASALT_CHECK(a != nullptr);
    const Shape& shape = state.shape(a->shape);
    const Index n = cluster.node_of[a->node.index()];
    Node& node = nodes_[n];
    const auto add = [&](int number, std::int32_t milli, std::int64_t memory, bool whole) {
      Index s;
      if (free_slices_.empty()) {
        s = static_cast<Index>(slices_.size());
        slices_.emplace_back();
      } else {
        s = free_slices_.back();
        free_slices_.pop_back();
      }
      Slice slice;
      slice.unit = u;
      slice.card = node.first_card + static_cast<Index>(number);
      slice.milli = milli;
      slice.memory_mib = memory;
      slice.whole = whole;
      slice.guaranteed = shape.spec.service_class == ServiceClass::kGuaranteed;
      slices_[s] = slice;
      units_[u].slices.push_back(s);
      units_[u].allocated_milli += milli;
      allocated_milli_ += milli;
      Card& card = cards_[slice.card];
      BookCard(card);
      card.allocated_milli += milli;
      card.slices.push_back(s);
      if (card.slices.size() == 1) TouchedCards(slice.card, 1);
      if (card.ladder_step >= 0 && !units_[u].high) {  // its step holds for newcomers too
        events_.Add(now_, EventKind::kLadder, slice.card, card.ladder_version);
      }
      Touch(slice.card);
    };
    state.ForEachSlice(shape, a->node, a->cards, a->numa.get(), [&](const SliceTake& take) {
      // A whole card is one, with the memory it has, however far it is oversubscribed for others.
      const MiB physical = groups_[node.group].spec->card_memory_mib;
      add(take.card, take.whole ? kWholeCard : take.milli,
          take.whole ? std::min<MiB>(take.memory, physical) : take.memory, take.whole);
    });
    PodPlace place;
    place.node = n;
    place.cpu = std::int64_t{shape.cpu} * spec.cpu_use_milli / 1000;
    place.memory = std::int64_t{shape.memory} * spec.memory_use_milli / 1000;
    node.cpu_used += place.cpu;
    node.memory_used += place.memory;
    node.units.push_back(u);
    units_[u].places.push_back(place);
    TouchNode(n);
  }
}

void World::GivePlaces(Index u) {
  Unit& unit = units_[u];
  for (const Index s : unit.slices) {
    Slice& slice = slices_[s];
    Card& card = cards_[slice.card];
    BookCard(card);
    SetServed(slice, 0);
    card.allocated_milli -= slice.milli;
    allocated_milli_ -= slice.milli;
    card.slices.erase(std::find(card.slices.begin(), card.slices.end(), s));
    Touch(slice.card);
    if (card.slices.empty()) {
      TouchedCards(slice.card, -1);
      if (card.move == CardMove::kEmptying) CardEmptied(slice.card);
    }
    slice.unit = kNone;
    free_slices_.push_back(s);
  }
  unit.slices.clear();
  unit.allocated_milli = 0;
  for (const PodPlace& place : unit.places) {
    Node& node = nodes_[place.node];
    node.cpu_used -= place.cpu;
    node.memory_used -= place.memory;
    node.units.erase(std::find(node.units.begin(), node.units.end(), u));
    TouchNode(place.node);
  }
  unit.places.clear();
  unit.rate = unit.speed = unit.level = 0;
  unit.slow = kNotSlow;
}

void World::Start(Index u) {
  Unit& unit = units_[u];
  Work& work = works_[unit.work];
  const Option& option = work.options[unit.option];
  StopWaiting(unit);
  unit.submitted_now = false;
  unit.nominated = false;
  unit.phase = Phase::kStarting;
  unit.booked_at = now_;
  if (option.cluster != work.options.front().cluster) ++clusters_[option.cluster].overflowed_in;
  TakePlaces(u);
  units_[u].stretch = WiringStretch(u);
  std::int64_t ready =
      now_ + AskOf(units_[u]).start_us + clusters_[option.cluster].spec->start_delay_us;
  if (units_[u].placed_before) ready += RestartTime(*work.spec);
  units_[u].ready_at = ready;
  if (ready > now_) {
    events_.Add(ready, EventKind::kUnitReady, u, units_[u].attempt);
  } else {
    Ready(u);
  }
}

void World::Ready(Index u) {
  Unit& unit = units_[u];
  WorkAccount& account = works_[unit.work].account;
  BookWait(unit);
  if (unit.measured && !unit.placed_before) ++account.started;
  if (unit.placed_before) ++account.restarts;
  unit.placed_before = true;
  unit.began = true;
  const WorkClass work_class = works_[unit.work].work_class;
  if (work_class == WorkClass::kSandbox || work_class == WorkClass::kVm) EnvironmentReady(u);
  PlanCheckpoint(u);
  GoOn(u);
}

// From being queued to now: when it begins to work, or will not any more. The wait of who never
// began is longer than this, so that the percentiles of waits are at least what they say.
void World::BookWait(const Unit& unit) {
  if (unit.queued < measured_from_) return;
  works_[unit.work].account.waits.push_back(static_cast<double>(now_ - unit.queued) / 1e6);
}

void World::GoOn(Index u) {
  Unit& unit = units_[u];
  unit.phase = Phase::kRunning;
  switch (works_[unit.work].work_class) {
    case WorkClass::kService:
      TouchService(unit.owner);
      break;
    case WorkClass::kSandbox:
    case WorkClass::kVm:
      WorkOnBacklog(unit.owner);
      break;
    case WorkClass::kTraining:
    case WorkClass::kJob:
      SetUse(u, 1);
      break;
  }
}

std::int64_t World::CheckpointOf(const Unit& unit) const {
  const Work& work = works_[unit.work];
  if (work.work_class == WorkClass::kTraining) return spec_.training[work.number].checkpoint_us;
  if (work.work_class == WorkClass::kJob) return spec_.jobs[work.number].checkpoint_us;
  return 0;
}

// The engine is told of checkpoints where it may choose victims by the work they would lose.
void World::PlanCheckpoint(Index u) {
  const Unit& unit = units_[u];
  const std::int64_t step = CheckpointOf(unit);
  if (step <= 0 || !spec_.scheduling.options.evict || !works_[unit.work].spec->preemptible) return;
  const double done = unit.work_total - unit.work_left;
  const double next =
      (std::floor(done / static_cast<double>(step)) + 1) * static_cast<double>(step);
  const double wait =
      unit.speed > 0 ? std::ceil((next - done) / unit.speed) : static_cast<double>(step);
  if (next >= unit.work_total || wait > static_cast<double>(spec_.horizon_us)) return;
  events_.Add(now_ + std::max<std::int64_t>(1, static_cast<std::int64_t>(wait)),
              EventKind::kCheckpoint, u, unit.attempt);
}

void World::Checkpoint(Index u) {
  Unit& unit = units_[u];
  BookUnit(unit);
  // Slower than was planned: then it comes later.
  const auto step = static_cast<double>(CheckpointOf(unit));
  const double done = unit.work_total - unit.work_left;
  if (done - std::floor(done / step) * step < 1 + unit.speed) {
    Cluster& cluster = clusters_[works_[unit.work].options[unit.option].cluster];
    BASALT_CHECK(Apply(cluster, PodCheckpointed{JobUid(u)}).has_value());
  }
  PlanCheckpoint(u);
}

void World::TellToLeave(Index u, Leave why) {
  Unit& unit = units_[u];
  if (unit.places.empty() || unit.phase == Phase::kLeaving) return;
  if (spec_.runtime.evict_grace_us == 0) return EndPlacement(u, why);
  BookUnit(unit);
  SetUse(u, 0);
  unit.phase = Phase::kLeaving;
  unit.leaves_why = why;
  ++unit.version;
  events_.Add(now_ + spec_.runtime.evict_grace_us, EventKind::kUnitGone, u, unit.leaving);
}

// It was told to leave and may stay: it goes on, or goes on starting.
void World::Stay(Index u) {
  Unit& unit = units_[u];
  if (unit.phase != Phase::kLeaving) return;
  ++unit.leaving;
  if (unit.began) return GoOn(u);
  unit.phase = Phase::kStarting;
  events_.Add(std::max(unit.ready_at, now_), EventKind::kUnitReady, u, unit.attempt);
}

void World::Gone(Index u, std::uint32_t leaving) {
  if (units_[u].phase == Phase::kLeaving && units_[u].leaving == leaving) {
    EndPlacement(u, units_[u].leaves_why);
  }
}

// Work since the last checkpoint (a burst: all of it) is done again.
void World::LoseWork(Unit& unit) {
  Work& work = works_[unit.work];
  if (unit.work_left < 0) return;
  const std::int64_t checkpoint = CheckpointOf(unit);
  const double done = unit.work_total - unit.work_left;
  double lost = done;
  if (checkpoint > 0) {
    const auto step = static_cast<double>(checkpoint);
    lost = done - std::floor(done / step) * step;
  }
  unit.work_left += lost;
  if (unit.done <= 0) return;
  const double served = unit.served_kept * std::min(1.0, lost / unit.done);
  unit.served_kept -= served;
  unit.done -= std::min(lost, unit.done);
  work.account.served -= served;
  work.account.lost += served;
  tenant_books_[unit.tenant].served -= served;
  tenant_books_[unit.tenant].lost += served;
  if (const Index sku = AskOf(unit).sku; sku != kNone) {
    sku_books_[sku].served -= served;
    sku_books_[sku].lost += served;
  }
  for (const Index s : unit.slices) {
    Group& group = groups_[nodes_[cards_[slices_[s].card].node].group];
    const double part = served * slices_[s].milli / static_cast<double>(unit.allocated_milli);
    group.served -= part;
    group.lost += part;
  }
}

void World::EndPlacement(Index u, Leave why) {
  BookUnit(units_[u]);
  if (why != Leave::kFinished) LoseWork(units_[u]);
  if (!units_[u].began) BookWait(units_[u]);
  if (units_[u].ready_at < now_) units_[u].run_us += now_ - units_[u].ready_at;
  const Index c = works_[units_[u].work].options[units_[u].option].cluster;
  Cluster& cluster = clusters_[c];
  GivePlaces(u);
  Unit& unit = units_[u];
  const PodUid uid = JobUid(u);
  const SimTime now{now_};
  BASALT_CHECK(
      (unit.pods > 1 ? cluster.engine->ReleaseGang(uid, now) : cluster.engine->Release(uid, now))
          .has_value());
  cluster.scheduler->Ended(uid, now);
  ++cluster.freed;
  WantPass(c);
  ++unit.attempt;
  ++unit.version;
  ++unit.leaving;
  unit.began = false;
  unit.phase = Phase::kIdle;
  AfterLeaving(u, why);
}

void World::AfterLeaving(Index u, Leave why) {
  Unit& unit = units_[u];
  Work& work = works_[unit.work];
  if (why == Leave::kEvicted || why == Leave::kLadder) ++work.account.evictions;
  if (why == Leave::kLadder) ++work.account.ladder_evictions;
  if (why == Leave::kFailed) ++work.account.failures;
  if (why == Leave::kCommitted) ++work.account.commits;
  bool wanted = why != Leave::kFinished;
  switch (work.work_class) {
    case WorkClass::kService:
      TouchService(unit.owner);
      break;
    case WorkClass::kSandbox:
    case WorkClass::kVm: {
      User& user = users_[unit.owner];
      // Its process is lost; the work that waits for it is not.
      unit.work_left = -1;
      if (why == Leave::kCommitted) user.reclaimed_at = now_;
      wanted = wanted && !user.gone &&
               (work.work_class == WorkClass::kVm || !user.backlog.empty() ||
                (user.present && !user.reclaimed));
      if (wanted && user.reclaimed) BackFromReclaim(user);
      break;
    }
    case WorkClass::kTraining:
    case WorkClass::kJob:
      if (!wanted) unit.phase = Phase::kGone;
      break;
  }
  if (!wanted) return;
  unit.queued = now_;
  unit.phase = Phase::kDelayed;
  const bool ladder = why == Leave::kLadder ||
                      (why == Leave::kCommitted && work.work_class != WorkClass::kVm &&
                       !(work.work_class == WorkClass::kSandbox && users_[unit.owner].reclaimed));
  const std::int64_t backoff = std::max(spec_.runtime.ladder.backoff_us, kSecondUs);
  events_.Add(now_ + (ladder ? backoff : 0), EventKind::kSubmit, u, unit.attempt);
}

}  // namespace basalt::sim::platform
