// Whose turn is before whose, and which of those that wait are protected.
#include <algorithm>
#include <utility>

#include "scheduler-core/base/check.h"
#include "scheduler-core/engine/scheduler_pass.h"

namespace basalt {

// The first jobs of a lane that have the turn before the job, which may be in another lane.
void JobScheduler::Impl::TakeFirst(std::size_t lane, const WaitingJob& job, std::size_t limit,
                                   std::vector<const WaitingJob*>* found) {
  const bool same_lane = queue.job_class(job.job_class).lane == lane;
  const JobQueue::Fronts& fronts = queue.Lane(lane);
  auto front = fronts.begin();
  std::set<Candidate> next;
  while (found->size() < limit) {
    // Classes enter the merge when their first job is reached.
    while (front != fronts.end() && (next.empty() || front->first < next.begin()->first)) {
      if (!queue.job_class(front->second).over_quota) next.insert(*front);
      ++front;
    }
    if (next.empty()) return;
    const Candidate first = *next.begin();
    next.erase(next.begin());
    if (same_lane && !(first.first < job.key)) return;
    found->push_back(queue.Find(first.first.uid));
    const std::set<JobKey>& jobs = queue.job_class(first.second).jobs;
    if (const auto after = jobs.upper_bound(first.first); after != jobs.end()) {
      next.emplace(*after, first.second);
    }
  }
}

// Lanes of queues with waiting jobs that are not over quota: the first whose turn it is first.
std::vector<std::size_t> JobScheduler::Impl::LanesInTurn() {
  const QueueTree& tree = engine.CaughtUpQueues();
  IdVector<QueueId, char> blocked(tree.slots(), 1);
  std::vector<std::size_t> lanes;
  std::vector<std::size_t> outside;
  std::size_t in_queues = 0;
  for (std::size_t lane = 1; lane < queue.lanes(); ++lane) {
    const JobQueue::Fronts& fronts = queue.Lane(lane);
    if (std::all_of(fronts.begin(), fronts.end(),
                    [this](const Candidate& c) { return queue.job_class(c.second).over_quota; })) {
      continue;
    }
    const std::optional<QueueId> leaf = tree.Find(queue.LaneQueue(lane));
    if (!leaf || *leaf == QueueTree::kRoot) {
      outside.push_back(lane);
      continue;
    }
    ++in_queues;
    for (QueueId at = *leaf; at != QueueTree::kRoot; at = tree.parent(at)) blocked[at] = 0;
  }
  const DecayedUsage* past = engine.PastUsage();
  while (lanes.size() < in_queues) {
    const std::optional<QueueId> leaf = turns.Next(tree, blocked, past);
    if (!leaf) break;
    blocked[*leaf] = 1;
    lanes.push_back(queue.LaneOf(tree.name(*leaf)));
  }
  lanes.insert(lanes.end(), outside.begin(), outside.end());
  return lanes;
}

std::vector<const WaitingJob*> JobScheduler::Impl::Before(const WaitingJob& job,
                                                          std::size_t limit) {
  std::vector<const WaitingJob*> found;
  TakeFirst(JobQueue::kStarvedLane, job, limit, &found);
  if (queue.IsStarved(job) || found.size() >= limit) return found;
  const std::size_t own = queue.job_class(job.job_class).lane;
  if (OneLane() || options.backfill == Backfill::kStrict) {
    TakeFirst(own, job, limit, &found);
    return found;
  }
  const std::vector<std::size_t> lanes = LanesInTurn();
  if (limit - found.size() == 1) {
    // The one whose turn is first of all.
    if (!lanes.empty()) TakeFirst(lanes.front(), job, limit, &found);
    return found;
  }
  // The queues' first jobs in turn, then their second ones, and so on. Of other queues those count
  // that have been refused; others have not had their turn.
  std::vector<std::vector<const WaitingJob*>> by_lane(lanes.size());
  const std::size_t room = limit - found.size();
  for (std::size_t l = 0; l < lanes.size(); ++l) {
    TakeFirst(lanes[l], job, room, &by_lane[l]);
    if (lanes[l] == own) continue;
    std::erase_if(by_lane[l], [this](const WaitingJob* other) {
      return queue.question(queue.job_class(other->job_class).question).state ==
             Question::State::kOpen;
    });
  }
  for (std::size_t k = 0; k < room && found.size() < limit; ++k) {
    for (const auto& jobs : by_lane) {
      if (k < jobs.size() && found.size() < limit) found.push_back(jobs[k]);
    }
  }
  return found;
}

std::vector<const PlannedJob*> JobScheduler::Impl::ProtectedBefore(const WaitingJob& job) {
  const auto depth = static_cast<std::size_t>(std::max(options.depth, 1));
  std::vector<const WaitingJob*> before;
  if (options.backfill == Backfill::kConservative) {
    before = Before(job, depth);
  } else {
    TakeFirst(JobQueue::kStarvedLane, job, depth, &before);
    if (options.backfill == Backfill::kEasy && !queue.IsStarved(job)) {
      std::size_t limit = before.size() + 1;
      const std::vector<const WaitingJob*> all = Before(job, limit);
      if (all.size() > before.size()) before.push_back(all.back());
    }
  }
  std::vector<const PlannedJob*> jobs;
  jobs.reserve(before.size());
  for (const WaitingJob* b : before) jobs.push_back(&b->job);
  return jobs;
}

PodUid JobScheduler::Impl::LastProtected(const WaitingJob& job) {
  // Under kConservative more protected jobs come before it, never fewer but by a start or a cancel,
  // which change the plan.
  if (options.backfill != Backfill::kEasy) return {};
  const std::vector<const PlannedJob*> before = ProtectedBefore(job);
  return before.empty() ? PodUid{} : before.back()->uid;
}

// A job that its quota refused is passed by other queues' jobs, but not by those of its own queue
// in a strict order or when it has waited too long: they would use up what it waits for.
bool JobScheduler::Impl::QueueIsBlocked(const WaitingJob& job) {
  const JobClass& own = queue.job_class(job.job_class);
  return std::any_of(over_quota.begin(), over_quota.end(), [&](JobClassId id) {
    const JobClass& c = queue.job_class(id);
    if (id == job.job_class || c.jobs.empty()) return false;
    const WaitingJob& first = *queue.Find(c.jobs.begin()->uid);
    if (first.standing.queue != job.standing.queue) return false;
    const bool starved = c.lane == JobQueue::kStarvedLane;
    if (options.backfill != Backfill::kStrict && !starved) return false;
    return c.lane != own.lane ? starved : first.key < job.key;
  });
}

std::uint64_t JobScheduler::Impl::QuotaVersion(const Standing& standing) const {
  const QueueTree& tree = engine.queues();
  std::uint64_t version =
      tree.structure_version() + tree.total_version() + engine.node_slots().version();
  const std::optional<QueueId> leaf = tree.Find(standing.queue);
  if (!leaf) return version;
  for (QueueId at = *leaf; at != QueueTree::kRoot; at = tree.parent(at))
    version += tree.version(at);
  return version;
}

void JobScheduler::Impl::WakeQuotas() {
  std::erase_if(over_quota, [this](JobClassId id) {
    JobClass& c = queue.job_class(id);
    const bool waits = !c.jobs.empty() &&
                       c.quota_version == QuotaVersion(queue.Find(c.jobs.begin()->uid)->standing) &&
                       !queue.Touched(engine.state(), c.question);
    c.over_quota = waits;
    return !waits;
  });
}

}  // namespace basalt
