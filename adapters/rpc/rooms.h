// The services of a process behind their locks: what the gRPC and the HTTP server share. A room is
// one cluster: its service, the gate before it, and whoever waits for news of it. A call runs in
// the thread that brought it, under the gate, and its answer leaves when the journal is durable as
// far as the answer depends on it.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "adapters/rpc/engine_gate.h"
#include "adapters/rpc/rate_limits.h"
#include "adapters/service/metrics.h"
#include "adapters/service/service.h"
#include "scheduler-core/base/result.h"
#include "scheduler-core/base/units.h"

namespace basalt::rpc {

namespace pb = placement::v1;

// gRPC's numbers, for shells that do not speak it.
enum class CallCode : int {
  kOk = 0,
  kInvalid = 3,
  kDeadline = 4,
  kNotFound = 5,
  kExists = 6,
  kDenied = 7,
  kExhausted = 8,
  kPrecondition = 9,
  kUnavailable = 14,
  kDataLoss = 15,
};
CallCode CodeOf(service::Code code);

template <class T>
struct Reply {
  CallCode code = CallCode::kOk;
  std::string message = {};
  T body = {};
  bool ok() const { return code == CallCode::kOk; }
};

// Microseconds since 1970 that never go back: the system's clock at the start, and from then on the
// steady one. A system clock that is set forward would end every lease at once.
class ServerClock {
 public:
  // Not before `least`, the newest time that was recovered.
  explicit ServerClock(SimTime least);
  SimTime Now() const;

 private:
  std::int64_t offset_us_;
};

using Deadline = std::chrono::system_clock::time_point;
inline constexpr Deadline kNoDeadline = Deadline::max();

// Waits until the cluster's journal is durable up to the position. False: it cannot be written.
using WaitDurable = std::function<bool(const std::string& cluster, std::uint64_t position)>;

class Room {
 public:
  Room(std::unique_ptr<service::Service> service, int max_waiting, const ServerClock* clock,
       WaitDurable durable);

  const std::string& id() const { return id_; }
  const EngineGate& gate() const { return gate_; }

  // `call(service, now)` returns a service::Answer<T>. kExhausted when too many wait; kDeadline
  // when the time was up before its turn: then nothing was done. `name` is the call's in the
  // metrics. `patient`: observations wait for their turn however many do. `gone()`: whether the
  // caller has hung up, asked only of one that had to wait: gRPC polls its sockets to answer it.
  template <class Call, class Gone = bool (*)()>
  auto Run(
      const char* name, Deadline deadline, bool patient, Call&& call,
      Gone&& gone = [] { return false; }) {
    using Body = decltype(call(*service_, SimTime{}).body);
    Reply<Body> reply;
    EngineGate::Turn turn = patient ? gate_.EnterAlways() : gate_.Enter();
    if (!turn) {
      reply.code = CallCode::kExhausted;
      reply.message = "too many calls wait for cluster " + id_ + "; try again later";
      return reply;
    }
    if (deadline != kNoDeadline && std::chrono::system_clock::now() >= deadline) {
      reply.code = CallCode::kDeadline;
      reply.message = "the deadline passed before the call's turn; nothing was done";
      return reply;
    }
    if (turn.waited() && gone()) {
      reply.code = CallCode::kUnavailable;
      reply.message = "the call was cancelled; nothing was done";
      return reply;
    }
    const SimTime begin = clock_->Now();
    auto answer = call(*service_, begin);
    service_->ObserveCall(name, clock_->Now().us - begin.us);
    turn.End();
    reply.code = CodeOf(answer.code);
    reply.message = std::move(answer.message);
    reply.body = std::move(answer.body);
    if (reply.ok() && answer.position != 0 && !durable_(id_, answer.position)) {
      reply.code = CallCode::kDataLoss;
      reply.message = "the journal of cluster " + id_ + " cannot be written";
    }
    Notify();
    return reply;
  }
  // Under the gate, without the rest: `use(service, now)`.
  template <class Use>
  auto With(Use&& use) {
    const EngineGate::Turn turn = gate_.EnterAlways();
    return use(*service_, clock_->Now());
  }
  bool Durable(std::uint64_t position) { return position == 0 || durable_(id_, position); }

  // Every 100 ms.
  void Tick();
  // Waits until a call has run since `seen` was read, at most so long. Returns the present number.
  std::uint64_t WaitForNews(std::uint64_t seen, std::chrono::milliseconds most);
  std::uint64_t news() const { return news_.load(std::memory_order_relaxed); }

 private:
  void Notify();

  const std::string id_;
  std::unique_ptr<service::Service> service_;
  EngineGate gate_;
  const ServerClock* clock_;
  WaitDurable durable_;
  std::atomic<std::uint64_t> news_{0};
  std::atomic<int> listeners_{0};
  std::mutex news_mutex_;
  std::condition_variable news_changed_;
};

// Refused as a whole when a cluster's part is refused; then nothing has changed.
using ReloadFn = std::function<pb::ReloadResponse(const std::string& yaml, bool dry_run)>;

class Rooms {
 public:
  Rooms(std::vector<std::unique_ptr<Room>> rooms, const ServerClock* clock)
      : rooms_(std::move(rooms)), clock_(clock) {}

  // The cluster of that name; without a name the only one. Null: none.
  Room* Find(std::string_view cluster) const;
  std::string UnknownCluster(std::string_view cluster) const;  // the message for it
  const std::vector<std::unique_ptr<Room>>& all() const { return rooms_; }
  const ServerClock& clock() const { return *clock_; }
  RateLimits& limits() { return limits_; }
  // Microseconds until the caller may ask again; 0: now.
  std::int64_t Limit(const service::Caller& caller, std::int64_t tokens = 1) {
    return limits_.Take(caller.identity, tokens, clock_->Now().us);
  }

  void Tick();
  void Drain();
  std::int64_t OpenLeases();
  // Empty: every cluster decides. Else why not, a line a cluster.
  std::string NotReady();
  // Prometheus text of all rooms and gates.
  std::string Metrics();

 private:
  std::vector<std::unique_ptr<Room>> rooms_;
  const ServerClock* clock_;
  RateLimits limits_;
};

}  // namespace basalt::rpc
