#include "scheduler-core/engine/job_queue.h"

#include <algorithm>
#include <utility>

#include "scheduler-core/base/check.h"

namespace basalt {

QuestionId JobQueue::InternQuestion(const GangSpec& spec, bool is_pod, const ClusterState& state) {
  std::vector<std::int64_t> key;
  for (const GangTask& task : spec.tasks) {
    key.push_back(task.shape.value());
    if (!is_pod) key.insert(key.end(), {task.min, task.max, task.group});
  }
  if (!is_pod) {
    key.insert(key.end(),
               {-1, spec.level.preferred, spec.level.required, static_cast<int>(spec.layout)});
    for (const GangGroup& group : spec.groups) {
      key.insert(key.end(), {group.level.preferred, group.level.required});
    }
  }
  const auto [it, is_new] = question_ids_.try_emplace(std::move(key), QuestionId());
  if (!is_new) return it->second;
  Question question;
  question.needs_cards = true;
  for (const GangTask& task : spec.tasks) {
    question.shapes.push_back(task.shape);
    question.needs_cards = question.needs_cards && state.shape(task.shape).milli > 0;
  }
  std::sort(question.shapes.begin(), question.shapes.end());
  question.shapes.erase(std::unique(question.shapes.begin(), question.shapes.end()),
                        question.shapes.end());
  return it->second = questions_.push_back(std::move(question));
}

JobClassId JobQueue::InternClass(const WaitingJob& job, QuestionId question, bool starved) {
  const Standing& s = job.standing;
  const auto [it, is_new] = class_ids_.try_emplace(
      ClassKey{question.value(), s.queue, s.priority, s.preemptible, s.budget, s.sku, starved},
      JobClassId());
  if (!is_new) return it->second;
  JobClass job_class;
  job_class.question = question;
  if (!starved) {
    const std::string lane = order_ == JobOrder::kFairShare ? s.queue : std::string();
    const auto [at, is_new_lane] = lane_ids_.try_emplace(lane, lanes_.size());
    if (is_new_lane) {
      lanes_.emplace_back();
      lane_queues_.push_back(lane);
    }
    job_class.lane = at->second;
  }
  it->second = classes_.push_back(std::move(job_class));
  questions_[question].classes.push_back(it->second);
  return it->second;
}

void JobQueue::Enter(WaitingJob& job, QuestionId question, bool starved) {
  job.job_class = InternClass(job, question, starved);
  const bool by_priority = order_ != JobOrder::kFifo && !starved;
  job.key = {by_priority ? job.standing.priority : 0, job.submitted, job.job.uid};
  job.job.tier = starved                         ? std::int64_t{1} << 40
                 : order_ == JobOrder::kPriority ? job.standing.priority
                                                 : 0;
  JobClass& job_class = classes_[job.job_class];
  Fronts& fronts = lanes_[job_class.lane];
  if (!job_class.jobs.empty()) fronts.erase({*job_class.jobs.begin(), job.job_class});
  job_class.jobs.insert(job.key);
  fronts.emplace(*job_class.jobs.begin(), job.job_class);
  Question& q = questions_[question];
  if (q.waiting++ == 0) open_.insert(question);
  // It may have the turn before whom the others are held back for, or run for a shorter time.
  if (q.state == Question::State::kHeld) Reopen(question);
}

void JobQueue::Leave(const WaitingJob& job) {
  JobClass& job_class = classes_[job.job_class];
  Fronts& fronts = lanes_[job_class.lane];
  fronts.erase({*job_class.jobs.begin(), job.job_class});
  job_class.jobs.erase(job.key);
  if (!job_class.jobs.empty()) fronts.emplace(*job_class.jobs.begin(), job.job_class);
  Question& q = questions_[job_class.question];
  if (--q.waiting > 0) return;
  // Nobody follows what happens to it until somebody waits for it again.
  q.state = Question::State::kOpen;
  open_.erase(job_class.question);
  shut_.erase(job_class.question);
}

void JobQueue::Shut(QuestionId question, Question::State state) {
  questions_[question].state = state;
  open_.erase(question);
  shut_.insert(question);
}

void JobQueue::Refuse(QuestionId question) { Shut(question, Question::State::kRefused); }

void JobQueue::Hold(QuestionId question, std::int64_t estimate_us, std::vector<NodeId> on,
                    std::uint64_t plan_version, const PodUid& protected_job) {
  Question& q = questions_[question];
  q.held_from_us = estimate_us;
  q.held_on = std::move(on);
  q.plan_version = plan_version;
  q.held_for = protected_job;
  Shut(question, Question::State::kHeld);
}

void JobQueue::Reopen(QuestionId question) {
  Question& q = questions_[question];
  q.state = Question::State::kOpen;
  if (q.waiting == 0) return;
  shut_.erase(question);
  open_.insert(question);
}

bool JobQueue::Add(const JobRequest& request, std::int32_t estimate_factor_milli,
                   const ClusterState& state) {
  const auto [it, is_new] = jobs_.try_emplace(request.uid);
  if (!is_new) return false;
  WaitingJob& job = it->second;
  job.job.uid = request.uid;
  job.job.is_pod = request.is_pod();
  if (job.job.is_pod) {
    job.job.pod = Request{request.uid, request.attempt, request.spec.tasks[0].shape, request.job};
  } else {
    job.job.gang =
        GangRequest{request.uid, request.attempt, request.spec, request.members, request.job};
  }
  if (request.estimate_us >= 0) {
    // In parts, so that nothing overflows: a longest estimate is as good as unknown.
    const std::int64_t factor = estimate_factor_milli;
    const std::int64_t longest = kSomeDay / std::max<std::int64_t>(factor, 1);
    const std::int64_t us = request.estimate_us;
    job.job.estimate_us =
        us / 1000 >= longest ? kSomeDay : us / 1000 * factor + us % 1000 * factor / 1000;
  }
  job.job.pod.standing = job.job.gang.standing = job.standing = request.standing;
  job.submitted = request.submitted;
  Enter(job, InternQuestion(request.spec, job.job.is_pod, state), false);
  if (starvation_us_ > 0) not_starved_.emplace(job.submitted, request.uid);
  return true;
}

void JobQueue::AddBack(WaitingJob job) {
  const QuestionId question = classes_[job.job_class].question;
  const auto [it, is_new] = jobs_.emplace(job.job.uid, std::move(job));
  BASALT_CHECK(is_new);
  Enter(it->second, question, false);
  if (starvation_us_ > 0) not_starved_.emplace(it->second.submitted, it->first);
}

bool JobQueue::Remove(const PodUid& uid) {
  const auto it = jobs_.find(uid);
  if (it == jobs_.end()) return false;
  Leave(it->second);
  not_starved_.erase({it->second.submitted, uid});
  jobs_.erase(it);
  return true;
}

WaitingJob* JobQueue::Find(const PodUid& uid) {
  const auto it = jobs_.find(uid);
  return it == jobs_.end() ? nullptr : &it->second;
}

void JobQueue::Starve(SimTime now) {
  while (!not_starved_.empty() && not_starved_.begin()->first.Plus(starvation_us_) <= now) {
    WaitingJob& job = jobs_.find(not_starved_.begin()->second)->second;
    not_starved_.erase(not_starved_.begin());
    const QuestionId question = classes_[job.job_class].question;
    Leave(job);
    Enter(job, question, true);
  }
}

std::optional<SimTime> JobQueue::NextStarved() const {
  if (not_starved_.empty()) return {};
  return not_starved_.begin()->first.Plus(starvation_us_);
}

namespace {

// The node has changed: whether that could change the answer.
bool Concerns(const ClusterState& state, const Question& q, NodeId node) {
  if (q.state == Question::State::kHeld &&
      std::find(q.held_on.begin(), q.held_on.end(), node) != q.held_on.end()) {
    return true;
  }
  return std::any_of(q.shapes.begin(), q.shapes.end(),
                     [&](ShapeId shape) { return state.Fits(shape, node); });
}

}  // namespace

void JobQueue::Wake(const ClusterState& state, std::uint64_t plan_version) {
  all_changed_ =
      structure_version_ != state.structure_version() || !state.ChangesAvailable(cursor_);
  changed_.clear();
  for (std::uint64_t i = cursor_; !all_changed_ && i < state.change_count(); ++i) {
    const NodeId node = state.ChangedNode(i);
    if (state.IsLastChange(i, node)) changed_.push_back(node);
  }
  std::vector<QuestionId> wake;
  for (const QuestionId id : shut_) {
    const Question& q = questions_[id];
    if ((q.state == Question::State::kHeld && q.plan_version != plan_version) ||
        Touched(state, id)) {
      wake.push_back(id);
    }
  }
  for (const QuestionId id : wake) Reopen(id);
}

bool JobQueue::Touched(const ClusterState& state, QuestionId question) const {
  return all_changed_ || std::any_of(changed_.begin(), changed_.end(), [&](NodeId node) {
           return Concerns(state, questions_[question], node);
         });
}

void JobQueue::Taken(const ClusterState& state, const std::vector<Trial::Place>& places) {
  std::vector<QuestionId> wake;
  for (const QuestionId id : shut_) {
    const Question& q = questions_[id];
    if (q.state != Question::State::kHeld) continue;
    if (std::any_of(places.begin(), places.end(),
                    [&](const Trial::Place& p) { return Concerns(state, q, p.at.node); })) {
      wake.push_back(id);
    }
  }
  for (const QuestionId id : wake) Reopen(id);
}

void JobQueue::EndPass(const ClusterState& state) {
  cursor_ = state.change_count();
  structure_version_ = state.structure_version();
}

}  // namespace basalt
