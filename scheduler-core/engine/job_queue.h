// The jobs that wait, grouped so that a refused question is asked once and not once a job.
//
// A question is what the nodes are asked: a shape, or a gang's description. Whether it has an
// answer now does not depend on who asks, so all jobs of a question are refused together. A class
// is a question with a standing (queue, priority, preemptible or not) and whether its jobs have
// waited too long: its jobs are equal but for who came first and how long they run. Classes are in
// lanes: starved jobs in lane 0, the others in one lane, or one a queue when queues take turns.
//
// A refused question stays refused until a node changes on which one of its shapes fits now.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "scheduler-core/base/ids.h"
#include "scheduler-core/engine/backfill_plan.h"
#include "scheduler-core/engine/job_scheduler.h"

namespace basalt {

using QuestionId = Id<struct QuestionTag>;
using JobClassId = Id<struct JobClassTag>;

// Order inside a lane: high priorities first, then who came first.
struct JobKey {
  std::int32_t priority = 0;
  SimTime submitted;
  PodUid uid;
  friend bool operator<(const JobKey& a, const JobKey& b) {
    return std::tie(b.priority, a.submitted, a.uid) < std::tie(a.priority, b.submitted, b.uid);
  }
  friend bool operator==(const JobKey&, const JobKey&) = default;
};

struct WaitingJob {
  PlannedJob job;
  Standing standing;
  SimTime submitted;
  JobClassId job_class;
  JobKey key;
  Amounts pending;  // as its queue was told
  std::string why;  // it waits; empty: there is no room, and the engine says more
};

struct Question {
  enum class State : std::uint8_t {
    kOpen,     // not asked since something changed
    kRefused,  // no room
    kHeld,     // room, but taking it would delay a protected job
  };
  std::vector<ShapeId> shapes;
  bool needs_cards = false;  // compute on cards, in every task
  State state = State::kOpen;
  // kHeld: jobs expected to run this long or longer are held back,
  std::int64_t held_from_us = 0;
  std::vector<NodeId> held_on;     // on these nodes,
  std::uint64_t plan_version = 0;  // by the plan of this version,
  PodUid held_for;                 // in which this job was the last protected one.
  std::uint64_t possible_in = 0;   // structure version in which it was not infeasible
  std::int64_t waiting = 0;        // jobs
  std::vector<JobClassId> classes;
  std::string why;  // it was refused: of gangs
};

struct JobClass {
  QuestionId question;
  std::size_t lane = 0;
  std::set<JobKey> jobs;
  // The queue's quota refused it; asked again when what held it back has changed.
  bool over_quota = false;
  std::uint64_t quota_version = 0;
  std::string why;  // over quota
  // There was no eviction plan after so many ends, and after so many ends and starts.
  std::uint64_t no_plan_ends = 0;
  std::uint64_t no_plan_changes = 0;
};

class JobQueue {
 public:
  JobQueue(JobOrder order, std::int64_t starvation_us)
      : order_(order), starvation_us_(starvation_us) {}

  // A job that was taken out waits again.
  void AddBack(WaitingJob job);
  // False: a job of that uid waits already.
  bool Add(const JobRequest& request, std::int32_t estimate_factor_milli,
           const ClusterState& state);
  bool Remove(const PodUid& uid);
  WaitingJob* Find(const PodUid& uid);
  const std::map<PodUid, WaitingJob>& jobs() const { return jobs_; }

  // Moves those that have waited too long to lane 0.
  void Starve(SimTime now);
  std::optional<SimTime> NextStarved() const;
  // No room, or none that does not delay others; until Wake, Taken, or Reopen.
  void Refuse(QuestionId question);
  void Hold(QuestionId question, std::int64_t estimate_us, std::vector<NodeId> on,
            std::uint64_t plan_version, const PodUid& protected_job);
  void Reopen(QuestionId question);
  // Whether a node changed since EndPass on which the question's shapes fit. After Wake.
  bool Touched(const ClusterState& state, QuestionId question) const;
  // Opens what may have got an answer since EndPass, and what was held by another plan.
  void Wake(const ClusterState& state, std::uint64_t plan_version);
  // Places were taken by a job that started: another place may be the engine's choice now.
  void Taken(const ClusterState& state, const std::vector<Trial::Place>& places);
  void EndPass(const ClusterState& state);

  Question& question(QuestionId id) { return questions_[id]; }
  JobClass& job_class(JobClassId id) { return classes_[id]; }
  // Open questions that jobs wait for.
  const std::set<QuestionId>& open() const { return open_; }
  const std::set<QuestionId>& shut() const { return shut_; }
  // The first job of each class, in order. What is behind it is in JobClass::jobs.
  using Fronts = std::set<std::pair<JobKey, JobClassId>>;
  std::size_t lanes() const { return lanes_.size(); }
  const Fronts& Lane(std::size_t lane) const { return lanes_[lane]; }
  const std::string& LaneQueue(std::size_t lane) const { return lane_queues_[lane]; }
  std::size_t LaneOf(const std::string& queue) const { return lane_ids_.find(queue)->second; }
  static constexpr std::size_t kStarvedLane = 0;
  bool IsStarved(const WaitingJob& job) const {
    return classes_[job.job_class].lane == kStarvedLane;
  }

 private:
  using ClassKey =
      std::tuple<std::uint32_t, std::string, std::int32_t, bool, std::string, std::string, bool>;
  QuestionId InternQuestion(const GangSpec& spec, bool is_pod, const ClusterState& state);
  JobClassId InternClass(const WaitingJob& job, QuestionId question, bool starved);
  void Enter(WaitingJob& job, QuestionId question, bool starved);
  void Leave(const WaitingJob& job);
  void Shut(QuestionId question, Question::State state);

  JobOrder order_;
  std::int64_t starvation_us_;
  std::map<PodUid, WaitingJob> jobs_;
  std::set<std::pair<SimTime, PodUid>> not_starved_;
  std::map<std::vector<std::int64_t>, QuestionId> question_ids_;
  IdVector<QuestionId, Question> questions_;
  std::map<ClassKey, JobClassId> class_ids_;
  IdVector<JobClassId, JobClass> classes_;
  std::set<QuestionId> open_, shut_;  // with waiting jobs
  std::vector<Fronts> lanes_{1};
  std::vector<std::string> lane_queues_{std::string()};
  std::map<std::string, std::size_t> lane_ids_;
  std::uint64_t cursor_ = 0;  // change log, at EndPass
  std::uint64_t structure_version_ = 0;
  bool all_changed_ = true;  // as of the last Wake
  std::vector<NodeId> changed_;
};

}  // namespace basalt
