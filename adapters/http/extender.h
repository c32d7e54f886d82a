// What stock schedulers call over HTTP: Volcano's extender plugin and kube-scheduler's extenders
// (JSON in, JSON out). The endpoints keep no state of the cluster, which comes over Sync, or with
// `learn` from the bodies of Volcano's predicates (learn.h); they remember what one call says and a
// later one does not: a pod's ask between filter and bind, a job's queue, the leases that they
// took. A restart forgets these; the leases end by themselves.
//
// Both protocols: what is asked of pods without an answer in time, or before the sync is complete,
// is refused: no pod is bound that the engine does not know of. Volcano's onSessionOpen is answered
// and means nothing; do not configure it (docs/serve.md).
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "adapters/http/http_server.h"
#include "adapters/http/learn.h"
#include "adapters/http/pod_json.h"
#include "adapters/rpc/rooms.h"

namespace basalt::http {

// The newest `capacity` of what was put.
template <class T>
class Recent {
 public:
  explicit Recent(std::size_t capacity) : capacity_(capacity) {}
  void Put(const std::string& key, T value) {
    if (entries_.insert_or_assign(key, std::move(value)).second) order_.push_back(key);
    while (order_.size() > capacity_) {
      entries_.erase(order_.front());
      order_.pop_front();
    }
  }
  std::optional<T> Find(const std::string& key) const {
    const auto it = entries_.find(key);
    if (it == entries_.end()) return std::nullopt;
    return it->second;
  }

 private:
  std::size_t capacity_;
  std::map<std::string, T> entries_;
  std::deque<std::string> order_;  // each key once
};

struct ExtenderOptions {
  std::chrono::milliseconds turn{1000};  // a call waits so long for the engine
  std::chrono::milliseconds bind{4000};  // and a bind so long for its executor
  // A bind that nobody has answered may land for so long: kube-apiserver gives a request a minute.
  std::chrono::milliseconds landing{90'000};
  // What the access rules call whoever comes over HTTP.
  service::Caller caller = {.identity = "http", .local = true};
};

// One cluster's endpoints. Calls come from many threads at once.
class Extender {
 public:
  Extender(rpc::Room* room, ExtenderOptions options);
  // `verb` is the last part of the path; 404 for one that is none, 400 for a body that cannot be
  // read, 503 when the server is too busy or draining.
  HttpAnswer Volcano(std::string_view verb, const std::string& body);
  HttpAnswer Kube(std::string_view verb, const std::string& body);

 private:
  struct Task;      // Volcano's TaskInfo
  struct KubeArgs;  // kube-scheduler's ExtenderArgs
  using Parser = simdjson::ondemand::parser;

  // --- extender.cc ---
  rpc::Deadline TurnBy() const;
  rpc::Reply<pb::EvaluateResponse> Evaluate(const char* who, pb::PodRequest pod,
                                            const std::vector<std::string>& nodes);
  // `node` empty: anywhere, or where it holds something.
  rpc::Reply<pb::ReserveResponse> Reserve(const char* who, pb::PodRequest pod,
                                          const std::string& node, bool want_assignment,
                                          std::int64_t ttl_us);  // 0: the cluster's
  rpc::Reply<pb::ReleaseResponse> Release(const char* who, const pb::Lease& lease);
  rpc::Reply<pb::EvictResponse> PlanEviction(const char* who, pb::PodRequest pod,
                                             const std::vector<std::string>& nodes, bool preempt,
                                             bool reclaim);
  pb::Header HeaderOf(const char* who) const;

  // --- extender_volcano.cc ---
  Result<Task> ReadTask(simdjson::ondemand::object task) const;
  pb::PodRequest RequestOf(const Task& task) const;
  HttpAnswer Predicate(simdjson::ondemand::object root);
  HttpAnswer Prioritize(simdjson::ondemand::object root);
  HttpAnswer Allocate(simdjson::ondemand::object root);
  HttpAnswer Deallocate(simdjson::ondemand::object root);
  HttpAnswer Victims(simdjson::ondemand::object root, bool reclaim);
  HttpAnswer QueueOverused(simdjson::ondemand::object root);
  HttpAnswer JobEnqueueable(simdjson::ondemand::object root);
  HttpAnswer JobReady(simdjson::ondemand::object root);
  // The queue is full of cards: nothing more can be placed in it. Unknown queues: nothing is known.
  std::optional<bool> IsFull(const std::string& queue);

  // --- extender_kube.cc ---
  Result<KubeArgs> ReadArgs(simdjson::ondemand::object root);
  HttpAnswer Filter(simdjson::ondemand::object root);
  HttpAnswer KubePrioritize(simdjson::ondemand::object root);
  HttpAnswer Preempt(simdjson::ondemand::object root);
  HttpAnswer Bind(simdjson::ondemand::object root);
  std::string BindOn(const std::string& uid, const std::string& node);  // empty: bound
  std::string HeldOn(const std::string& uid) const;                     // a node; empty: on none
  // Nobody answered an earlier bind, and it may be carried out yet.
  bool MayLand(const std::string& uid);

  rpc::Room* room_;
  const ExtenderOptions options_;
  AnnotationKeys keys_;
  std::unique_ptr<Learner> learner_;  // null: the cluster is synced
  mutable std::mutex mutex_;          // of the books below
  Recent<pb::PodRequest> asks_;
  Recent<std::string> queue_of_job_;
  Recent<pb::Lease> leases_;  // by pod; what Volcano's allocateFunc took
  Recent<std::chrono::steady_clock::time_point> unanswered_;  // binds by pod, since then
};

// --- for the two protocols ---

HttpAnswer JsonAnswer(std::string body);
HttpAnswer BadBody(const Error& error);
// 503 for what may be asked again, 500 for the rest.
HttpAnswer Refused(rpc::CallCode code, const std::string& message);
// The engine's words for a node that does not fit.
std::string WhyNot(const pb::NodeVerdict& verdict);
// Scores as places among the answers: the best has `most`, the worst 0, all `most` if all are
// equal. Nodes that do not fit have 0.
std::vector<int> RankScores(const pb::EvaluateResponse& answer, int most);
// Of an object element: its text, and the name at metadata.name or `Name` in it.
Result<std::string> NameInRaw(simdjson::ondemand::parser* parser, std::string_view raw,
                              const char* outer, const char* field);

}  // namespace basalt::http
