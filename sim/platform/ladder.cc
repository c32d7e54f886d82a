// Priority colocation: what happens to low priority on a card that high priority needs. Steps are
// taken by events of their own, so that nothing is evicted while a card is being rated.
#include <algorithm>

#include "sim/platform/world.h"

namespace basalt::sim::platform {

std::int64_t World::MoveTime(const Slice& slice) const {
  const auto mib = static_cast<double>(WorkingSet(units_[slice.unit], slice));
  return static_cast<std::int64_t>(static_cast<double>(spec_.runtime.offload_us_per_gib) * mib /
                                   1024);
}

bool World::UpdateLadder(Index c, double high_wanted) {
  Card& card = cards_[c];
  const LadderSpec& ladder = spec_.runtime.ladder;
  if (ladder.steps.empty() || SharingOf(card) != Sharing::kSlices) return false;
  if (high_wanted > ladder.trigger_milli) {
    card.quiet_since = -1;
    if (card.need_since >= 0) return false;
    card.need_since = now_;
    card.ladder_step = -1;
    ++card.ladder_version;
    events_.Add(now_ + ladder.steps.front().after_us, EventKind::kLadder, c, card.ladder_version);
    return false;
  }
  if (card.need_since < 0) return false;
  if (ladder.quiet_us > 0) {
    if (card.quiet_since < 0) {
      card.quiet_since = now_;
      events_.Add(now_ + ladder.quiet_us, EventKind::kLadder, c, card.ladder_version);
    }
    if (now_ < card.quiet_since + ladder.quiet_us) return false;
  }
  return EndNeed(c);
}

void World::LadderEvent(Index c, std::uint32_t version) {
  Card& card = cards_[c];
  if (card.ladder_version != version || card.need_since < 0) return;
  const std::vector<LadderStep>& steps = spec_.runtime.ladder.steps;
  if (card.quiet_since >= 0 && now_ >= card.quiet_since + spec_.runtime.ladder.quiet_us) {
    Touch(c);  // rating it ends the need
    return;
  }
  bool taken = false;
  while (card.ladder_step + 1 < static_cast<std::int32_t>(steps.size()) &&
         card.need_since + steps[static_cast<std::size_t>(card.ladder_step + 1)].after_us <= now_) {
    ++card.ladder_step;
    taken = true;
  }
  if (card.ladder_step < 0) return;
  const auto next = static_cast<std::size_t>(card.ladder_step + 1);
  if (taken && next < steps.size()) {
    events_.Add(card.need_since + steps[next].after_us, EventKind::kLadder, c, version);
  }
  ApplyStep(c, steps[static_cast<std::size_t>(card.ladder_step)].action);
}

void World::ApplyStep(Index c, LadderAction action) {
  const std::vector<Index> slices = cards_[c].slices;
  for (const Index s : slices) {
    const Index u = slices_[s].unit;
    if (u == kNone || units_[u].high || slices_[s].card != c) continue;
    BookUnit(units_[u]);
    Slice& slice = slices_[s];
    switch (action) {
      case LadderAction::kThrottled:
        slice.ladder = LadderState::kThrottled;
        break;
      case LadderAction::kBlocked:
        slice.ladder = LadderState::kBlocked;
        break;
      case LadderAction::kOffloaded:
        if (slice.ladder == LadderState::kOffloaded) break;
        slice.moved_at = now_ + MoveTime(slice);
        slice.ladder = LadderState::kOffloaded;
        events_.Add(slice.moved_at, EventKind::kSliceBack, c);
        break;
      case LadderAction::kCommitExit:
        CommitAndExit(u, false);
        break;
      case LadderAction::kEvicted:
        TellToLeave(u, Leave::kLadder);
        break;
    }
  }
  Touch(c);
}

// True when some slice goes on.
bool World::EndNeed(Index c) {
  Card& card = cards_[c];
  card.need_since = card.quiet_since = -1;
  card.ladder_step = -1;
  ++card.ladder_version;
  bool changed = false;
  for (const Index s : card.slices) {
    Slice& slice = slices_[s];
    if (slice.ladder == LadderState::kFree || slice.ladder == LadderState::kReturning) continue;
    BookUnit(units_[slice.unit]);
    changed = true;
    if (slice.ladder == LadderState::kOffloaded) {
      slice.moved_at = std::max(now_, slice.moved_at) + MoveTime(slice);
      slice.ladder = LadderState::kReturning;
      events_.Add(slice.moved_at, EventKind::kSliceBack, c);
    } else {
      slice.ladder = LadderState::kFree;
    }
    TouchUnit(slice.unit);
  }
  return changed;
}

}  // namespace basalt::sim::platform
