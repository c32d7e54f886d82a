// A day of churn, in simulated time: pods and gangs come and go, every one asks for another amount,
// leases expire, hosts veto, requests are said again, nodes change and are replaced, streams break,
// victims are evicted, use is reported, snapshots are written. After the first hours nothing that
// the server keeps may grow: not its books, not its shapes, not the bytes that are allocated.
// 24 hours always; BASALT_TEST_SCALE times as many events in them.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "adapters/service/uid.h"
#include "scheduler-core/base/rng.h"
#include "test/support/service_bed.h"

namespace basalt {
namespace {

namespace pb = placement::v1;
using support::UidOf;

constexpr std::int64_t kSecond = 1'000'000;
constexpr int kHours = 24;
constexpr int kNodes = 12;
constexpr std::size_t kRunning = 120;  // jobs, about
const service::Caller kCaller{"churn", true};

// What is kept, by name: gauges of the service, and bytes.
std::map<std::string, double> Kept(service::Service& service) {
  service::MetricsText text;
  service.WriteMetrics(&text);
  std::map<std::string, double> out;
  const std::string all = text.Text();
  for (std::size_t at = 0; at < all.size();) {
    const std::size_t end = all.find('\n', at);
    const std::string line = all.substr(at, end - at);
    at = end + 1;
    const bool counts =
        line.starts_with("basalt_book_entries{") || line.starts_with("basalt_asks{") ||
        line.starts_with("basalt_shapes{") || line.starts_with("basalt_open_actions{") ||
        line.starts_with("basalt_nominations{") || line.starts_with("basalt_gangs{");
    if (!counts) continue;
    const std::size_t blank = line.rfind(' ');
    double value = 0;
    std::from_chars(line.data() + blank + 1, line.data() + line.size(), value);
    out[line.substr(0, blank)] = value;
  }
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  out["allocated bytes"] = static_cast<double>(mallinfo2().uordblks);
#endif
  return out;
}

class Churn {
 public:
  explicit Churn(std::uint64_t seed) : rng_(seed, 3), bed_(Config()) {
    for (int n = 0; n < kNodes; ++n) nodes_.push_back(NextNode());
    Relist();
  }
  static service::ClusterConfig Config() {
    service::ClusterConfig config = support::TestCluster();
    config.max_asks = 2'000;
    config.lease_ttl_us = 20 * kSecond;
    return config;
  }

  void Second(int events) {
    bed_.Wait(kSecond);
    service().Tick(bed_.now());
    for (int e = 0; e < events; ++e) Event();
    while (!running_.empty() && running_.front().ends_us <= bed_.elapsed) {
      EndJob(running_.front());
      running_.pop_front();
    }
    for (const pb::Action& action : service().ActionsAfter(0, {}, 100)) Obey(action);
    if (bed_.store.JournalBytes("") > (1 << 20)) {
      EXPECT_TRUE(service().WriteSnapshot().has_value());
    }
    bed_.store.Sync();
  }
  service::Service& service() { return bed_.service(); }
  std::uint64_t placed() const { return placed_; }
  std::uint64_t vetoes() const { return vetoes_; }
  std::uint64_t abandoned() const { return abandoned_; }
  std::uint64_t evicted() const { return evicted_; }
  std::uint64_t exhausted() const { return exhausted_; }

 private:
  struct Job {
    std::vector<std::uint64_t> pods;
    pb::Lease lease;
    std::int64_t ends_us = 0;
  };

  std::string NextNode() { return fmt::format("node-{}", next_node_++); }
  static pb::Delta NodeDelta(const std::string& name, int version = 0) {
    pb::Delta delta = support::NodeDelta(name, 64'000, 8);
    pb::Label* label = delta.mutable_node()->mutable_spec()->add_labels();
    label->set_key("version");
    label->set_value(std::to_string(version));
    return delta;
  }
  void Relist() {
    std::vector<pb::Delta> deltas;
    for (const std::string& node : nodes_) deltas.push_back(NodeDelta(node));
    for (const auto& [pod, node] : bound_) deltas.push_back(Bound(pod, node));
    bed_.List(deltas);
  }
  pb::Delta Bound(std::uint64_t pod, const std::string& node) const {
    return support::PodDelta(support::PodOf(pod, 1'000, 1, 500), node);
  }

  void Event() {
    const std::uint32_t dice = rng_.Below(200);
    if (dice == 0) return Relist();  // the stream broke
    if (dice == 1) return ReplaceNode();
    if (dice < 6) return Touch();
    if (dice < 10) return Report();
    if (dice < 14) return Evict();
    if (running_.size() < kRunning) Place(dice % 4 == 0 ? 2 + static_cast<int>(rng_.Below(6)) : 1);
  }

  pb::ReserveRequest Request(const std::vector<std::uint64_t>& pods) {
    pb::ReserveRequest request;
    request.mutable_header()->set_scheduler("churn");
    request.mutable_header()->set_request_id(fmt::format("request-{}", ++requests_));
    // Another amount of memory every time: shapes never end.
    const auto memory = static_cast<std::int64_t>(1 + rng_.Below(30'000));
    if (pods.size() == 1) {
      *request.mutable_pod() = support::PodOf(pods[0], 1'000, 1, 500);
      request.mutable_pod()->mutable_ask()->mutable_spec()->set_memory_mib(memory);
      request.mutable_pod()->set_job(fmt::format("job-{}", pods[0]));
    } else {
      *request.mutable_gang() = support::GangOf(pods[0] - 1, static_cast<int>(pods.size()),
                                                static_cast<int>(pods.size()), 1, 500);
      request.mutable_gang()->mutable_tasks(0)->mutable_ask()->mutable_spec()->set_memory_mib(
          memory);
    }
    return request;
  }

  void Place(int size) {
    std::vector<std::uint64_t> pods;
    ++next_pod_;  // the gang's own number
    for (int p = 0; p < size; ++p) pods.push_back(next_pod_++);
    std::vector<pb::Delta> pending;
    for (const std::uint64_t pod : pods) pending.push_back(Bound(pod, ""));
    bed_.Tell(pending);
    pb::ReserveRequest request = Request(pods);
    auto answer = service().Reserve(kCaller, request, bed_.now());
    if (answer.code == service::Code::kExhausted) ++exhausted_;
    if (rng_.Below(3) == 0) {  // the same again, as a client does that heard nothing
      const auto again = service().Reserve(kCaller, request, bed_.now());
      EXPECT_EQ(again.body.lease().epoch(), answer.body.lease().epoch());
    }
    if (size == 1 && answer.body.has_lease() && rng_.Below(5) == 0) {  // the host's veto
      ++vetoes_;
      Release(answer.body.lease());
      request.mutable_header()->set_request_id(fmt::format("request-{}", ++requests_));
      *request.mutable_pod()->mutable_constraints()->add_excluded_nodes() =
          answer.body.pod().placement().node();
      answer = service().Reserve(kCaller, request, bed_.now());
    }
    if (!answer.body.has_lease() || rng_.Below(10) == 0) {  // given up; a lease is left to its time
      ++abandoned_;
      std::vector<pb::Delta> gone;
      if (rng_.Below(2) == 0) {
        for (const std::uint64_t pod : pods) gone.push_back(support::GoneDelta(pod, false));
      }
      if (!gone.empty()) bed_.Tell(gone);
      if (gone.empty()) forgotten_.insert(forgotten_.end(), pods.begin(), pods.end());
      while (forgotten_.size() > 50) {
        bed_.Tell({support::GoneDelta(forgotten_.front(), false)});
        forgotten_.pop_front();
      }
      return;
    }
    pb::ConfirmRequest confirm;
    confirm.mutable_header()->set_scheduler("churn");
    *confirm.mutable_lease() = answer.body.lease();
    EXPECT_EQ(service().Confirm(kCaller, confirm, bed_.now()).body.answer(), pb::LEASE_ANSWER_OK);
    std::vector<pb::Delta> bound;
    for (std::size_t p = 0; p < pods.size(); ++p) {
      const std::string& node =
          size == 1 ? answer.body.pod().placement().node()
                    : answer.body.gang().members(static_cast<int>(p)).placement().node();
      bound_[pods[p]] = node;
      bound.push_back(Bound(pods[p], node));
    }
    bed_.Tell(bound);
    ++placed_;
    running_.push_back({pods, answer.body.lease(), 0});
    // Jobs end in the order in which they came.
    running_.back().ends_us = bed_.elapsed + 120 * kSecond;
  }
  void Release(const pb::Lease& lease) {
    pb::ReleaseRequest release;
    release.mutable_header()->set_scheduler("churn");
    *release.mutable_lease() = lease;
    EXPECT_EQ(service().Release(kCaller, release, bed_.now()).body.answer(), pb::LEASE_ANSWER_OK);
  }
  void EndPods(const std::vector<std::uint64_t>& pods, bool failed) {
    std::vector<pb::Delta> gone;
    for (const std::uint64_t pod : pods) {
      if (bound_.erase(pod) != 0) gone.push_back(support::GoneDelta(pod, failed));
    }
    if (!gone.empty()) bed_.Tell(gone);
  }
  void EndJob(const Job& job) { EndPods(job.pods, rng_.Below(4) == 0); }

  void ReplaceNode() {
    std::string& node = nodes_[rng_.Below(kNodes)];
    std::vector<std::uint64_t> there;
    for (const auto& [pod, on] : bound_) {
      if (on == node) there.push_back(pod);
    }
    EndPods(there, true);
    pb::Delta gone;
    gone.set_node_gone(node);
    node = NextNode();
    bed_.Tell({gone, NodeDelta(node)});
  }
  void Touch() {
    pb::Delta delta = NodeDelta(nodes_[rng_.Below(kNodes)], static_cast<int>(++touched_));
    delta.mutable_node()->set_cordoned(rng_.Below(10) == 0);
    bed_.Tell({delta});
  }
  void Report() {
    pb::ReportUsageRequest request;
    for (const auto& [pod, node] : bound_) {
      pb::ReportUsageRequest::Sample* sample = request.add_samples();
      sample->mutable_pod()->set_uid(UidOf(pod));
      sample->set_time_us(bed_.now().us);
      sample->set_compute_milli(250);
      if (request.samples_size() == 20) break;
    }
    static_cast<void>(service().ReportUsage(kCaller, request, bed_.now()));
  }
  void Evict() {
    const std::uint64_t pod = ++next_pod_;
    ++next_pod_;
    pb::EvictRequest request;
    *request.mutable_pod() = support::PodOf(pod, 1'000, 8, 1000);
    request.mutable_pod()->mutable_standing()->set_priority(10);
    const auto answer = service().Evict(kCaller, request, bed_.now());
    if (answer.body.has_lease()) bound_later_.push_back(answer.body.lease());
    // Whoever asked for the room gives it back later.
    while (bound_later_.size() > 3) {
      pb::ReleaseRequest release;
      *release.mutable_lease() = bound_later_.front();
      static_cast<void>(service().Release(kCaller, release, bed_.now()));
      bound_later_.pop_front();
    }
  }
  void Obey(const pb::Action& action) {
    ++evicted_;
    const Result<PodUid> uid = service::ParseUid(action.pod().uid());
    ASSERT_TRUE(uid);
    pb::AckActionRequest ack;
    ack.set_id(action.id());
    ack.set_server_epoch(action.server_epoch());
    ack.set_done(true);
    static_cast<void>(service().AckAction(kCaller, ack, bed_.now()));
    for (const Job& job : running_) {
      if (std::ranges::find(job.pods, uid->lo) == job.pods.end()) continue;
      EndPods(job.pods, true);
      break;
    }
  }

  Rng rng_;
  support::Bed bed_;
  std::vector<std::string> nodes_;
  std::map<std::uint64_t, std::string> bound_;
  std::deque<Job> running_;
  std::deque<std::uint64_t> forgotten_;
  std::deque<pb::Lease> bound_later_;
  std::uint64_t next_node_ = 1, next_pod_ = 1, requests_ = 0, touched_ = 0;
  std::uint64_t placed_ = 0, vetoes_ = 0, abandoned_ = 0, evicted_ = 0, exhausted_ = 0;
};

TEST(ServiceChurn, NothingGrowsInADay) {
  const int scale = support::Scaled(1);
  Churn churn(20'261);
  std::array<std::map<std::string, double>, kHours> most;
  for (int hour = 0; hour < kHours; ++hour) {
    for (int second = 0; second < 3600; ++second) {
      churn.Second(scale);
      if (second % 60 != 0) continue;
      for (const auto& [name, value] : Kept(churn.service())) {
        double& highest = most[static_cast<std::size_t>(hour)][name];
        highest = std::max(highest, value);
      }
    }
    ASSERT_TRUE(churn.service().Audit().has_value()) << "hour " << hour;
  }
  // It was a busy day.
  EXPECT_GT(churn.placed(), 20'000u);
  EXPECT_GT(churn.vetoes(), 2'000u);
  EXPECT_GT(churn.abandoned(), 2'000u);
  EXPECT_GT(churn.evicted(), 100u);
  EXPECT_EQ(churn.exhausted(), 0u) << "asks that nobody holds must be forgotten in time";
  const auto between = [&](int from, int to, const std::string& name) {
    double highest = 0;
    for (int hour = from; hour < to; ++hour) {
      const auto& of = most[static_cast<std::size_t>(hour)];
      if (const auto it = of.find(name); it != of.end()) highest = std::max(highest, it->second);
    }
    return highest;
  };
  ASSERT_FALSE(most[kHours - 1].empty());
  for (const auto& [name, value] : most[kHours - 1]) {
    const double early = between(3, 9, name);
    const double late = between(18, kHours, name);
    const double slack = name == "allocated bytes" ? 256.0 * 1024 : 10;
    EXPECT_LE(late, early * 1.1 + slack) << name << ": it grows";
  }
}

}  // namespace
}  // namespace basalt
