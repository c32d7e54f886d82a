#include "test/service_sim/api_model.h"

#include <utility>

namespace basalt::service_sim {

std::string ApiModel::AddNode() {
  std::string name = "node-" + std::to_string(next_node_++);  // a name is never used again
  nodes_[name] = 0;
  log_.push_back({LogEntry::Kind::kNode, 0, false, name});
  return name;
}

void ApiModel::RemoveNode(const std::string& name) {
  nodes_.erase(name);
  log_.push_back({LogEntry::Kind::kNodeGone, 0, false, name});
  std::vector<std::uint64_t> there;
  for (const auto& [number, pod] : pods_) {
    if (pod.node == name) there.push_back(number);
  }
  for (const std::uint64_t pod : there) DeletePod(pod, true);
  taken_.erase(name);
}

void ApiModel::Touch(const std::string& name) {
  ++nodes_.at(name);
  log_.push_back({LogEntry::Kind::kNode, 0, false, name});
}

std::uint64_t ApiModel::AddJob(Job job, int pods) {
  job.number = next_job_++;
  for (int p = 0; p < pods; ++p) {
    const Pod pod{next_pod_++, job.number, "", 0, 0, false};
    job.pods.push_back(pod.number);
    pods_.emplace(pod.number, pod);
    log_.push_back({LogEntry::Kind::kPod, pod.number, false, ""});
  }
  const std::uint64_t number = job.number;
  jobs_.emplace(number, std::move(job));
  return number;
}

const Job* ApiModel::JobOf(std::uint64_t pod) const {
  const auto it = pods_.find(pod);
  return it == pods_.end() ? nullptr : &jobs_.at(it->second.job);
}

bool ApiModel::IsBound(std::uint64_t pod) const {
  const auto it = pods_.find(pod);
  return it != pods_.end() && !it->second.node.empty();
}

void ApiModel::DeletePod(std::uint64_t pod, bool failed) {
  if (const auto it = pods_.find(pod); it != pods_.end()) DeleteJob(it->second.job, failed);
}

void ApiModel::DeleteJob(std::uint64_t job, bool failed) {
  const auto it = jobs_.find(job);
  if (it == jobs_.end()) return;
  for (const std::uint64_t number : it->second.pods) {
    const auto pod = pods_.find(number);
    if (!pod->second.node.empty()) Count(pod->second, -1);
    pods_.erase(pod);
    log_.push_back({LogEntry::Kind::kPodGone, number, failed, ""});
  }
  jobs_.erase(it);
}

bool ApiModel::Bind(std::uint64_t number, const std::string& node, std::uint64_t cards) {
  const auto it = pods_.find(number);
  if (it == pods_.end() || !nodes_.contains(node)) return false;
  Pod& pod = it->second;
  if (!pod.node.empty()) return pod.node == node && pod.cards == cards;
  pod.node = node;
  pod.cards = cards;
  ++binds_;
  Count(pod, 1);
  log_.push_back({LogEntry::Kind::kPod, number, false, ""});
  return true;
}

void ApiModel::Count(const Pod& pod, int sign) {
  const Job& job = jobs_.at(pod.job);
  Taken& taken = taken_[pod.node];
  taken.cpu += sign * job.cpu_milli;
  taken.memory += sign * job.memory_mib;
  if (!pod.leaves) CountQueue(pod, sign);
  int cards = 0;
  for (int c = 0; c < kCards; ++c) {
    if (((pod.cards >> c) & 1) == 0) continue;
    ++cards;
    int& milli = taken.milli[static_cast<std::size_t>(c)];
    milli += sign * job.milli;
    if (milli > 1000 && sign > 0) {
      violation_ = "card " + std::to_string(c) + " of " + pod.node + " is taken twice, by pod " +
                   std::to_string(pod.number);
    }
  }
  if (sign > 0 && (taken.cpu > kCpuMilli || taken.memory > kMemoryMib)) {
    violation_ = "CPU or memory of " + pod.node + " is taken twice";
  }
  if (cards != job.gpus || (pod.cards >> kCards) != 0) {
    violation_ = "pod " + std::to_string(pod.number) + " has not the cards that it asked for";
  }
}

void ApiModel::CountQueue(const Pod& pod, int sign) {
  const Job& job = jobs_.at(pod.job);
  int& milli = queue_milli_[static_cast<std::size_t>(job.queue)];
  milli += sign * job.gpus * job.milli;
  if (sign > 0 && job.queue != 0 && milli > kQueueMilli) {
    violation_ = "queue " + job.QueueName() + " has more than its capacity, with pod " +
                 std::to_string(pod.number);
  }
}

void ApiModel::Leaves(std::uint64_t number) {
  const auto it = pods_.find(number);
  if (it == pods_.end() || it->second.leaves) return;
  if (!it->second.node.empty()) CountQueue(it->second, -1);
  it->second.leaves = true;
}

}  // namespace basalt::service_sim
