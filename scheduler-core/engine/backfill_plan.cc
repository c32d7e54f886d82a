#include "scheduler-core/engine/backfill_plan.h"

#include <algorithm>
#include <utility>

#include "scheduler-core/base/check.h"

namespace basalt {
namespace {

// A victim that was asked to leave is expected to take this long, then twice as long, and so on.
constexpr std::int64_t kLeavingUs = 1'000'000;

std::int64_t EndOf(std::int64_t start, std::int64_t estimate_us) {
  if (estimate_us < 0 || start >= kSomeDay) return kSomeDay;
  return start + std::min(std::max<std::int64_t>(estimate_us, 1), kSomeDay - start);
}

bool Holds(const std::vector<NodeId>& sorted, NodeId node) {
  return std::binary_search(sorted.begin(), sorted.end(), node);
}

std::vector<NodeId> NodesOf(const std::vector<Trial::Place>& places) {
  std::vector<NodeId> nodes;
  nodes.reserve(places.size());
  for (const Trial::Place& p : places) nodes.push_back(p.at.node);
  std::sort(nodes.begin(), nodes.end());
  nodes.erase(std::unique(nodes.begin(), nodes.end()), nodes.end());
  return nodes;
}

// Each once, in the order that breaks ties.
void InOrder(const ClusterState& state, std::vector<NodeId>* nodes) {
  std::sort(nodes->begin(), nodes->end(),
            [&state](NodeId a, NodeId b) { return state.position(a) < state.position(b); });
  nodes->erase(std::unique(nodes->begin(), nodes->end()), nodes->end());
}

}  // namespace

std::int64_t PlannedJob::EndFrom(std::int64_t start) const { return EndOf(start, estimate_us); }

std::vector<Trial::Place> PlacesOf(const PlannedJob& job, const Proposal& proposal) {
  if (job.is_pod) return {Trial::Place{job.pod.shape, proposal.pod}};
  std::vector<Trial::Place> places;
  places.reserve(proposal.gang.members.size());
  std::size_t task = 0;
  std::int32_t end = job.gang.spec.tasks[0].max;
  for (const GangOutcome::Member& m : proposal.gang.members) {
    while (m.member >= end) end += job.gang.spec.tasks[++task].max;
    places.push_back({job.gang.spec.tasks[task].shape, m.placement});
  }
  return places;
}

// The future, instant by instant, in a trial.
class BackfillPlan::Walk {
 public:
  Walk(BackfillPlan& plan, const PlannedJob& job, SimTime now, const Extra* extra,
       std::int64_t not_after)
      : trial(plan.engine_),
        standing(job.standing()),
        plan_(plan),
        extra_(extra),
        next_end_(plan.ends_.begin()),
        not_after_(not_after) {
    if (job.is_pod) {
      shape = trial.InQueue(job.pod.shape, standing);
    } else {
      gang = trial.InQueue(job.gang.spec, standing);
      gang_on_models = trial.OnAllowedModels(job.gang);
    }
    const auto add = [&](std::int64_t at, bool take, const std::vector<Trial::Place>& places,
                         const Standing& its) {
      for (const Trial::Place& p : places) {
        known_.push_back({std::max(at, now.us), take, {p.shape, p.at, &its}});
      }
      others_charged_ = others_charged_ || !its.queue.empty();
    };
    for (const Reservation& r : plan.reservations_) {
      if (!r.possible || r.job.uid == job.uid || (extra != nullptr && r.job.uid == extra->uid)) {
        continue;
      }
      add(r.start, true, r.proposal.places, r.job.standing());
      if (r.end > r.start) add(r.end, false, r.proposal.places, r.job.standing());
    }
    if (extra != nullptr) {
      for (const Trial::Place& p : extra->places) trial.Take(p);
      add(extra->end, false, extra->places, extra->standing);
    }
    // What comes free at an instant can be taken at it.
    std::stable_sort(known_.begin(), known_.end(), [](const Step& a, const Step& b) {
      return a.at != b.at ? a.at < b.at : a.take < b.take;
    });
    instants_.push_back({now.us, 0, 0, trial.Checkpoint()});
    Collect(now.us);
  }

  // Goes on to the next instant; false: nothing more happens, or not in time.
  bool Next() {
    std::int64_t at = kNothing;
    if (next_known_ < known_.size()) at = known_[next_known_].at;
    if (next_end_ != plan_.ends_.end()) at = std::min(at, next_end_->first);
    if (at == kNothing || at > not_after_) return false;
    instants_.push_back({at, steps_.size(), steps_.size(), trial.Checkpoint()});
    Collect(at);
    return true;
  }
  // Back (or forth) to how it is after an instant that was reached before.
  void GoTo(std::size_t instant) {
    if (instant < here_) {
      trial.Rollback(instants_[instant + 1].before);
      here_ = instant;
    }
    while (here_ < instant) {
      const Instant& next = instants_[++here_];
      for (std::size_t s = next.first; s < next.end; ++s) Apply(steps_[s]);
    }
  }
  std::size_t here() const { return here_; }
  std::int64_t now() const { return instants_[here_].at; }
  // Nodes that this instant has changed, each once, in the order that breaks ties.
  const std::vector<NodeId>& Touched() {
    touched_.clear();
    for (std::size_t s = instants_[here_].first; s < instants_[here_].end; ++s) {
      touched_.push_back(steps_[s].place.at.node);
    }
    InOrder(trial.state(), &touched_);
    return touched_;
  }

  // Whether the job's queue may hold so much more at this instant. Until then what ends in it is
  // given back, and what was reserved is charged.
  bool QueueAllows(const Amounts& ask) {
    if (standing.queue.empty()) return true;
    if (!others_charged_ && trial.QueueAllows(trial.queues(), ask, standing)) return true;
    const std::size_t steps = instants_[here_].end;
    if (!queues_ || charged_ > steps) {
      queues_ = trial.queues();
      charged_ = 0;
      if (extra_ != nullptr) {
        for (const Trial::Place& p : extra_->places) {
          trial.ChargeIn(&*queues_, {p.shape, p.at, &extra_->standing}, +1);
        }
      }
    }
    for (; charged_ < steps; ++charged_) {
      trial.ChargeIn(&*queues_, steps_[charged_].place, steps_[charged_].take ? +1 : -1);
    }
    return trial.QueueAllows(*queues_, ask, standing);
  }

  Trial trial;
  const Standing& standing;
  // What is asked, as the job's queue may have it.
  ShapeId shape;
  GangSpec gang;
  std::optional<GangSpec> gang_on_models;

 private:
  static constexpr std::int64_t kNothing = std::numeric_limits<std::int64_t>::max();
  struct Step {
    std::int64_t at;
    bool take;
    Trial::Place place;
  };
  struct Instant {
    std::int64_t at;
    std::size_t first, end;  // its steps
    std::size_t before;      // the trial's checkpoint
  };
  void Apply(const Step& step) {
    if (step.take) {
      trial.Take(step.place);
    } else {
      trial.Give(step.place);
    }
  }
  void Collect(std::int64_t at) {
    const auto add = [this](bool take, Trial::Place place) {
      steps_.push_back({instants_.back().at, take, std::move(place)});
      Apply(steps_.back());
    };
    for (; next_end_ != plan_.ends_.end() && next_end_->first <= at; ++next_end_) {
      for (Trial::Place& place : plan_.Held(next_end_->second)) add(false, std::move(place));
    }
    for (; next_known_ < known_.size() && known_[next_known_].at <= at; ++next_known_) {
      add(known_[next_known_].take, known_[next_known_].place);
    }
    instants_.back().end = steps_.size();
    here_ = instants_.size() - 1;
  }

  BackfillPlan& plan_;
  const Extra* extra_;
  bool others_charged_ = false;      // by reservations and the newcomer
  std::optional<QueueTree> queues_;  // as they will be after so many steps; made when asked for
  std::size_t charged_ = 0;
  std::vector<Step> known_;  // of reservations and the newcomer, in order
  std::size_t next_known_ = 0;
  std::set<std::pair<std::int64_t, PodUid>>::const_iterator next_end_;
  std::int64_t not_after_;
  std::vector<Step> steps_;  // of all instants so far
  std::vector<Instant> instants_;
  std::size_t here_ = 0;
  std::vector<NodeId> touched_;
};

// --- what runs ---

void BackfillPlan::SetEnd(const PodUid& uid, Running& running, std::int64_t end) {
  ends_.erase({running.end, uid});
  running.end = end;
  ends_.emplace(end, uid);
}

std::vector<Trial::Place> BackfillPlan::Held(const PodUid& uid) const {
  std::vector<Trial::Place> places;
  const auto add = [&](const Allocation* a) {
    if (a == nullptr) return;
    places.push_back({a->shape,
                      Placement{a->node, a->cards, 0, engine_.state().generation(a->node), a->numa},
                      a->queue.valid() ? a->standing : nullptr});
  };
  if (running_.at(uid).is_pod) {
    add(engine_.Find(uid));
  } else if (const Gang* gang = engine_.FindGang(uid); gang != nullptr) {
    for (std::size_t m = 0; m < gang->pods.size(); ++m) {
      if (gang->members[m] == Gang::Member::kHeld) add(engine_.Find(gang->pods[m]));
    }
  }
  return places;
}

void BackfillPlan::Started(const PodUid& uid, bool is_pod, std::int64_t estimate_us, SimTime now) {
  Running& running = running_[uid];
  ends_.erase({running.end, uid});
  running = Running{is_pod, now.us, EndOf(now.us, estimate_us), estimate_us, now, {}};
  ends_.emplace(running.end, uid);
  for (const Trial::Place& place : Held(uid)) running.nodes.push_back(place.at.node);
}

void BackfillPlan::Ended(const PodUid& uid, SimTime now) {
  const auto it = running_.find(uid);
  if (it == running_.end()) return;
  const Running& running = it->second;
  improved_ = improved_ || running.end > now.us;
  for (const NodeId node : running.nodes) {
    ++expected_changes_[node];
    kept_changes_ += ClusterState::KeptChange(node);
  }
  ends_.erase({running.end, uid});
  running_.erase(it);
}

void BackfillPlan::AskedToLeave(const PodUid& uid, SimTime now) {
  const auto it = running_.find(uid);
  if (it == running_.end()) return;
  Running& running = it.value();
  if (running.end <= now.us + kLeavingUs) return;
  running.start = now.us;
  SetEnd(uid, running, now.us + kLeavingUs);
  improved_ = true;
}

void BackfillPlan::MayStay(const PodUid& uid) {
  const auto it = running_.find(uid);
  if (it == running_.end()) return;
  Running& running = it.value();
  running.start = running.started.us;
  SetEnd(uid, running, EndOf(running.start, running.estimate_us));
  surprised_ = true;
}

// Something else than the ends that we were told of has changed a node.
bool BackfillPlan::OutsideChange() {
  const ClusterState& state = engine_.state();
  if (kept_changes_ == state.kept_changes()) return false;  // dry runs may have left their entries
  if (structure_version_ != state.structure_version() || !state.ChangesAvailable(cursor_)) {
    return true;
  }
  for (std::uint64_t i = cursor_; i < state.change_count(); ++i) {
    if (--expected_changes_[state.ChangedNode(i)] < 0) return true;
  }
  return false;
}

void BackfillPlan::BeginPass(SimTime now) {
  while (!ends_.empty() && ends_.begin()->first < now.us) {
    const PodUid uid = ends_.begin()->second;
    Running& running = running_.find(uid).value();
    std::int64_t length = std::max<std::int64_t>(running.end - running.start, 1);
    while (running.start + length < now.us) length = std::min(length * 2, kSomeDay - running.start);
    SetEnd(uid, running, running.start + length);
    surprised_ = true;
  }
  outside_ = OutsideChange();
  if (outside_) surprised_ = true;
  expected_changes_.clear();
  if (surprised_) {
    if (!reservations_.empty()) ++version_;
    reservations_.clear();
    improved_ = false;
  }
  surprised_ = false;
  // There is more room than those who were refused were told of.
  if (improved_) ++version_;
  // A promise was not kept, for a reason that the plan does not know: all are made afresh, or who
  // lost its own would wait for those behind it.
  if (std::any_of(reservations_.begin(), reservations_.end(),
                  [now](const Reservation& r) { return r.start < now.us; })) {
    reservations_.clear();
    ++version_;
  }
}

void BackfillPlan::EndPass() {
  cursor_ = engine_.state().change_count();
  kept_changes_ = engine_.state().kept_changes();
  structure_version_ = engine_.state().structure_version();
}

// --- reservations ---

const Reservation* BackfillPlan::Find(const PodUid& uid) const {
  const auto it = std::find_if(reservations_.begin(), reservations_.end(),
                               [&uid](const Reservation& r) { return r.job.uid == uid; });
  return it == reservations_.end() ? nullptr : &*it;
}

void BackfillPlan::Drop(const PodUid& uid) {
  const std::size_t before = reservations_.size();
  DropUnless([&uid](const Reservation& r) { return r.job.uid != uid; });
  // It starts early, or never: those behind it may have been promised less than there is now.
  if (reservations_.size() < before) improved_ = true;
}

bool BackfillPlan::LeavesRoom(Trial& trial, const PodUid& self,
                              const std::vector<Trial::Place>& places, const Window& window,
                              const Extra* extra) const {
  struct Step {
    std::int64_t at;
    bool take;
    const Trial::Place* place;
    const Standing* standing;  // of who takes it
  };
  std::vector<Step> steps;
  const std::vector<NodeId> nodes = NodesOf(places);
  const auto add = [&](std::int64_t at, bool take, const std::vector<Trial::Place>& at_places,
                       const Standing& standing) {
    bool any = false;
    if (at >= window.to) return any;
    for (const Trial::Place& p : at_places) {
      if (!Holds(nodes, p.at.node)) continue;
      steps.push_back({at, take, &p, &standing});
      any = true;
    }
    return any;
  };
  bool any_take = false;
  for (const Reservation& r : reservations_) {
    if (!r.possible || r.job.uid == self || (extra != nullptr && r.job.uid == extra->uid)) continue;
    const std::int64_t start = std::max(r.start, window.from);
    const bool taken_already = r.start <= window.from && !window.from_too;
    const Standing& its = r.job.standing();
    if (!taken_already && add(start, true, r.proposal.places, its)) any_take = true;
    if (r.end > start) add(r.end, false, r.proposal.places, its);
  }
  if (!any_take) return true;
  if (extra != nullptr && extra->end > window.from) {
    add(extra->end, false, extra->places, extra->standing);
  }
  std::vector<Trial::Place> running;
  std::vector<std::int64_t> ends;
  for (const NodeId node : nodes) {
    engine_.ForEachOn(node, [&](const Allocation& a) {
      const auto it = running_.find(a.member >= 0 ? a.gang : a.uid);
      if (it == running_.end()) return;
      const std::int64_t end = it->second.end;
      if (end >= window.to || end < window.from || (end == window.from && !window.from_too)) return;
      running.push_back({a.shape, Placement{a.node, a.cards, 0, 0, a.numa}});
      ends.push_back(end);
    });
  }
  for (std::size_t i = 0; i < running.size(); ++i) {
    steps.push_back({ends[i], false, &running[i], nullptr});
  }
  std::stable_sort(steps.begin(), steps.end(), [](const Step& a, const Step& b) {
    return a.at != b.at ? a.at < b.at : a.take < b.take;
  });
  const std::size_t checkpoint = trial.Checkpoint();
  for (const Trial::Place& p : places) trial.Take(p);
  bool room = true;
  for (const Step& step : steps) {
    if (!step.take) {
      trial.Give(*step.place);
    } else if (trial.IsFree(*step.place, *step.standing)) {
      trial.Take(*step.place);
    } else {
      room = false;
      break;
    }
  }
  trial.Rollback(checkpoint);
  return room;
}

bool BackfillPlan::PlanPod(Walk& walk, const Extra* extra, Reservation& found) {
  const PlannedJob& job = found.job;
  // Nodes on which it would fit, by what the queue would have to allow for them.
  std::vector<std::pair<Amounts, std::vector<NodeId>>> over_quota;
  const auto try_node = [&](NodeId node) {
    if (!walk.trial.state().Fits(walk.shape, node)) return false;
    Proposal proposal;
    proposal.pod = walk.trial.PlaceOn(job.pod, walk.shape, node);
    proposal.places = PlacesOf(job, proposal);
    if (!walk.standing.queue.empty()) {
      Amounts ask = walk.trial.AmountsOf(proposal.places, walk.standing);
      if (!walk.QueueAllows(ask)) {
        auto at = std::find_if(over_quota.begin(), over_quota.end(),
                               [&ask](const auto& known) { return known.first == ask; });
        if (at == over_quota.end()) {
          at = over_quota.insert(at, {std::move(ask), {}});
        }
        at->second.push_back(node);
        return false;
      }
    }
    const Window window{walk.now(), job.EndFrom(walk.now()), false};
    if (!LeavesRoom(walk.trial, job.uid, proposal.places, window, extra)) return false;
    found.proposal = std::move(proposal);
    return true;
  };
  for (const NodeId node : walk.trial.state().order()) {
    if (try_node(node)) return true;
  }
  // A node on which it did not fit stays so until something happens there, or in its queue.
  while (walk.Next()) {
    std::vector<NodeId> nodes = walk.Touched();
    for (auto& [ask, waiting] : over_quota) {
      if (waiting.empty() || !walk.QueueAllows(ask)) continue;
      nodes.insert(nodes.end(), waiting.begin(), waiting.end());
      waiting.clear();
    }
    InOrder(walk.trial.state(), &nodes);
    for (const NodeId node : nodes) {
      if (try_node(node)) return true;
    }
  }
  return false;
}

bool BackfillPlan::TryGang(Walk& walk, const Extra* extra, Reservation& found) {
  const PlannedJob& job = found.job;
  // As Engine::ProposeGang: first where all of it may go, then anywhere that the quota bears.
  for (const GangSpec* spec : {walk.gang_on_models ? &*walk.gang_on_models : nullptr, &walk.gang}) {
    if (spec == nullptr || !walk.trial.GangMayFit(*spec)) continue;
    std::optional<GangOutcome> gang = walk.trial.FindGang(job.gang, *spec);
    if (!gang) continue;
    Proposal proposal;
    proposal.gang = std::move(*gang);
    proposal.places = PlacesOf(job, proposal);
    if (!walk.standing.queue.empty() &&
        !walk.QueueAllows(walk.trial.AmountsOf(proposal.places, walk.standing))) {
      continue;
    }
    const Window window{walk.now(), job.EndFrom(walk.now()), false};
    if (!LeavesRoom(walk.trial, job.uid, proposal.places, window, extra)) continue;
    found.proposal = std::move(proposal);
    return true;
  }
  return false;
}

// A search for a gang is dear. Where counting lets it pass and the search fails, instants are
// left out, more each time, and the earliest is found backwards from the first that serves.
bool BackfillPlan::PlanGang(Walk& walk, const Extra* extra, Reservation& found) {
  constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();
  std::size_t failed = kNone;  // the last instant at which a search failed
  std::size_t leave_out = 0, left_out = 0;
  bool more = true;
  while (more) {
    bool serves = false;
    if (walk.trial.GangMayFit(walk.gang)) {
      if (left_out < leave_out) {
        ++left_out;
      } else {
        serves = TryGang(walk, extra, found);
        left_out = 0;
        if (!serves) {
          failed = walk.here();
          leave_out = 2 * leave_out + 1;
        }
      }
    }
    if (!serves) {
      more = walk.Next();
      if (more || left_out == 0) continue;
      serves = TryGang(walk, extra, found);  // the last instant was left out
      if (!serves) return false;
    }
    std::size_t first = failed == kNone ? walk.here() : failed;
    std::size_t last = walk.here();
    while (last > first + 1) {
      const std::size_t middle = first + (last - first) / 2;
      walk.GoTo(middle);
      (TryGang(walk, extra, found) ? last : first) = middle;
    }
    walk.GoTo(last);
    return true;
  }
  return false;
}

Reservation BackfillPlan::Plan(const PlannedJob& job, SimTime now, const Extra* extra,
                               std::int64_t not_after) {
  ++plans_made_;
  Reservation found;
  found.job = job;
  Walk walk(*this, found.job, now, extra, not_after);
  found.possible = job.is_pod ? PlanPod(walk, extra, found) : PlanGang(walk, extra, found);
  found.start = found.possible ? walk.now() : kSomeDay;
  found.end = job.EndFrom(found.start);
  return found;
}

void BackfillPlan::Protect(const std::vector<const PlannedJob*>& jobs, SimTime now) {
  if (improved_ && !reservations_.empty()) {
    Reservation& first = reservations_.front();
    Reservation better = Plan(first.job, now, nullptr, first.start);
    if (better.possible) {
      first = std::move(better);
      ++version_;
    }
  }
  improved_ = false;
  for (const PlannedJob* job : jobs) {
    if (Find(job->uid) != nullptr) continue;
    const auto lower = std::remove_if(reservations_.begin(), reservations_.end(),
                                      [&](const Reservation& r) { return r.job.tier < job->tier; });
    reservations_.erase(lower, reservations_.end());
    reservations_.push_back(Plan(*job, now, nullptr, kSomeDay));
    ++version_;
  }
}

bool BackfillPlan::Admit(const PlannedJob& job, const std::vector<Trial::Place>& places,
                         SimTime now) {
  const std::int64_t end = job.EndFrom(now.us);
  {
    Trial trial(engine_);
    if (LeavesRoom(trial, job.uid, places, {now.us, end, true}, nullptr)) return true;
  }
  const std::vector<Reservation> before = reservations_;
  const Extra extra{job.uid, places, end, job.standing()};
  const std::vector<NodeId> nodes = NodesOf(places);
  std::vector<PodUid> give_way;
  for (Reservation& r : reservations_) {
    if (!r.possible || r.job.uid == job.uid || r.start >= end) continue;
    const bool meets = std::any_of(r.proposal.places.begin(), r.proposal.places.end(),
                                   [&](const Trial::Place& p) { return Holds(nodes, p.at.node); });
    if (!meets) continue;
    Reservation moved = Plan(r.job, now, &extra, r.start);
    if (moved.possible) {
      r = std::move(moved);
    } else if (r.job.tier < job.tier) {
      give_way.push_back(r.job.uid);
    } else {
      reservations_ = before;
      return false;
    }
  }
  std::erase_if(reservations_, [&](const Reservation& r) {
    return std::find(give_way.begin(), give_way.end(), r.job.uid) != give_way.end();
  });
  ++version_;
  return true;
}

}  // namespace basalt
