// The ground truth: which pods and nodes there are and what is bound where, as a Kubernetes API
// server knows it, with a log for who watches. It knows nothing of Basalt's state, and it is the
// auditor: whatever is bound is counted card by card, with CPU and memory of its node and the cards
// of its queue, and more than there is ends the test.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "scheduler-core/base/rng.h"

namespace basalt::service_sim {

inline constexpr int kCards = 4;
inline constexpr int kCpuMilli = 32'000;
inline constexpr int kMemoryMib = 40'960;
// Of the three queues: "" (none), "a" and "b", the last two with this much compute of cards.
inline constexpr int kQueues = 3;
inline constexpr int kQueueMilli = 14'000;

struct Job {
  std::uint64_t number = 0;
  bool gang = false;
  int gpus = 0;   // of each pod
  int milli = 0;  // on each card
  int cpu_milli = 0;
  int memory_mib = 0;
  int priority = 0;
  int queue = 0;
  std::string QueueName() const { return queue == 0 ? "" : std::string(1, "?ab"[queue]); }
  std::vector<std::uint64_t> pods;
};

struct Pod {
  std::uint64_t number = 0;
  std::uint64_t job = 0;
  std::string node;  // empty: pending
  std::uint64_t cards = 0;
  std::int64_t ends_us = 0;  // 0: not known yet
  bool leaves = false;       // it was chosen to make room
};

struct LogEntry {
  enum class Kind { kPod, kPodGone, kNode, kNodeGone } kind;
  std::uint64_t pod = 0;
  bool failed = false;
  std::string node;
};

class ApiModel {
 public:
  // --- what happens ---
  std::string AddNode();
  void RemoveNode(const std::string& name);  // with what is bound there
  void Touch(const std::string& name);       // its labels have changed
  // Of `asks` the number and the pods are filled in.
  std::uint64_t AddJob(Job asks, int pods);
  void DeletePod(std::uint64_t pod, bool failed);  // a gang goes with any of its pods
  void DeleteJob(std::uint64_t job, bool failed);
  // Refused when the pod is gone or bound elsewhere, or the node is gone. Said again it is true.
  bool Bind(std::uint64_t pod, const std::string& node, std::uint64_t cards);

  const std::map<std::uint64_t, Job>& jobs() const { return jobs_; }
  const std::map<std::uint64_t, Pod>& pods() const { return pods_; }
  const std::map<std::string, int>& nodes() const { return nodes_; }  // name -> labels' version
  const std::vector<LogEntry>& log() const { return log_; }
  const Job* JobOf(std::uint64_t pod) const;
  bool IsBound(std::uint64_t pod) const;
  // Its queue's share is no longer its own: whoever comes instead may hold it beside it.
  void Leaves(std::uint64_t pod);

  // --- the audit ---
  const std::string& violation() const { return violation_; }
  std::uint64_t binds() const { return binds_; }

 private:
  struct Taken {
    int cpu = 0;
    int memory = 0;
    std::vector<int> milli = std::vector<int>(kCards, 0);
  };
  void Count(const Pod& pod, int sign);
  void CountQueue(const Pod& pod, int sign);
  std::map<std::uint64_t, Job> jobs_;
  std::map<std::uint64_t, Pod> pods_;
  std::map<std::string, int> nodes_;
  std::map<std::string, Taken> taken_;
  std::vector<int> queue_milli_ = std::vector<int>(kQueues, 0);
  std::vector<LogEntry> log_;
  std::string violation_;
  std::uint64_t next_pod_ = 1;
  std::uint64_t next_job_ = 1;
  std::uint64_t next_node_ = 1;
  std::uint64_t binds_ = 0;
};

}  // namespace basalt::service_sim
