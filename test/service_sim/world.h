// A server, a syncer, an executor and several schedulers over a bad network, in one thread and in
// virtual time. Everything random comes from one seed.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "test/service_sim/api_model.h"
#include "test/service_sim/net.h"
#include "test/support/service_bed.h"

namespace basalt::service_sim {

namespace pb = placement::v1;

struct Tally {
  std::uint64_t crashes = 0, torn = 0, client_crashes = 0, relists = 0, jumps = 0, lost_answers = 0,
                evictions = 0, fenced = 0, expired = 0, deletions = 0, node_losses = 0,
                partitions = 0, full_disks = 0, writes_refused = 0, renewals = 0, probes = 0,
                not_ready = 0, freed = 0;
};

// The server: a Service, its store, its disk's slowness, its clock's errors, its crashes.
class Server {
 public:
  Server(Net* net, Tally* tally);
  bool up() const { return service_ != nullptr; }
  std::uint64_t boot() const { return boot_; }  // the present run, or the last one
  service::Service& service() { return *service_; }
  const service::Service& service() const { return *service_; }
  SimTime clock() const { return SimTime{kStart + net_->now_us() + skew_us_}; }
  void SetSkew(std::int64_t micros) { skew_us_ = micros; }
  // All that is not durable may be lost, and a part of a record may be left.
  void Crash();
  // An error ends the test.
  std::string Start();
  void Tick();
  // What executors are told: once it is durable that they are.
  std::vector<pb::Action> Actions();
  void FillDisk(int records) {  // after so many more
    ++tally_->full_disks;
    store_.full = true;
    store_.fail_after = records;
  }
  void MendDisk() {
    store_.full = false;
    store_.fail_after = -1;
  }
  // The call is made when the request arrives; its answer leaves when what it hangs on is durable.
  template <class Body, class Call>
  void Ask(Peer peer, const Call& call,
           const std::function<void(const service::Answer<Body>&)>& reply) {
    net_->Send(peer, Net::Way::kRequest, [this, peer, call, reply] {
      if (!up()) return;
      auto answer = std::make_shared<service::Answer<Body>>(call(*service_, clock()));
      if (answer->code == service::Code::kDataLoss) ++tally_->writes_refused;
      if (answer->position <= store_.synced_position) {
        Reply<Body>(peer, answer, reply);
        return;
      }
      const std::uint64_t boot = boot_;
      net_->After(200 + net_->Micros(10'000), [this, peer, boot, answer, reply] {
        if (!up() || boot != boot_) {
          ++tally_->lost_answers;
          return;
        }
        store_.Sync();
        if (store_.synced_position < answer->position) {  // its record was not written
          ++tally_->lost_answers;
          return;
        }
        Reply<Body>(peer, answer, reply);
      });
    });
  }

 private:
  static constexpr std::int64_t kStart = 1'000'000'000;
  template <class Body>
  void Reply(Peer peer, const std::shared_ptr<service::Answer<Body>>& answer,
             const std::function<void(const service::Answer<Body>&)>& reply) {
    net_->Send(peer, Net::Way::kReply, [answer, reply] { reply(*answer); });
  }
  Net* net_;
  Tally* tally_;
  support::MemoryStore store_;
  std::unique_ptr<service::Service> service_;
  std::uint64_t boot_ = 0;
  std::int64_t skew_us_ = 0;
  std::size_t keep_ = 0;
  std::string digest_;  // of the state at a crash that loses nothing
};

// Tells the server what the API knows: one message at a time, said again until it is answered.
class Syncer {
 public:
  Syncer(Net* net, ApiModel* api, Server* server, Tally* tally);
  void Begin();  // also after a break: a new stream
  void Break();  // the connection is gone

 private:
  void Say();
  void OnAnswer(std::uint64_t life, std::uint64_t generation,
                const service::Answer<pb::SyncResponse>& answer);
  pb::SyncDeltas Next();
  pb::Delta DeltaOf(const LogEntry& entry) const;
  pb::Delta PodDelta(const Pod& pod) const;
  pb::Delta NodeDelta(const std::string& name) const;
  Net* net_;
  ApiModel* api_;
  Server* server_;
  Tally* tally_;
  enum class State { kOpening, kTelling, kCompleting } state_ = State::kOpening;
  std::uint64_t life_ = 0;
  std::uint64_t stream_ = 0;
  std::uint64_t said_ = 0;        // messages, to tell a late timeout from one that counts
  std::uint64_t generation_ = 0;  // of the message that is being said
  std::size_t at_ = 0;            // in the API's log
  bool completed_ = false;
  pb::SyncDeltas message_;
};

// A scheduler: places the jobs that are its own, gangs or single pods.
class Scheduler {
 public:
  Scheduler(Net* net, ApiModel* api, Server* server, Tally* tally, std::uint64_t number,
            std::uint64_t of);
  void Begin();
  void Crash();
  bool Owns(std::uint64_t job) const { return job % of_ == number_; }
  // For reports of what went wrong: where the job stands, and the server's last words on it.
  std::string About(std::uint64_t job);
  // What an answer broke of what the server promises; empty: nothing.
  const std::string& violation() const { return violation_; }

 private:
  Peer peer() const { return static_cast<Peer>(number_); }
  enum class State { kIdle, kReserving, kFiltering, kConfirming, kReleasing, kEvicting };
  struct Work {
    State state = State::kIdle;
    std::uint64_t said = 0;
    std::string request_id;
    std::string last;  // what the server said
    int tries = 0;
    pb::Lease lease;
    std::map<std::uint64_t, std::pair<std::string, std::uint64_t>> places;  // pod -> node, cards
  };
  void Scan();
  void Reserve(std::uint64_t job);
  void Confirm(std::uint64_t job);
  void Release(std::uint64_t job);
  void Evict(std::uint64_t job);
  void Bind(std::uint64_t job);
  void Forget(std::uint64_t job) { work_.erase(job); }
  // The work, if it still waits for the answer to this saying of this life.
  Work* Waiting(std::uint64_t life, std::uint64_t job, State state, std::uint64_t said);
  std::uint64_t Say(std::uint64_t job, State state, const std::function<void()>& again);
  Net* net_;
  ApiModel* api_;
  Server* server_;
  Tally* tally_;
  std::uint64_t number_;
  std::uint64_t of_;
  std::uint64_t life_ = 0;
  std::uint64_t requests_ = 0;
  std::map<std::uint64_t, Work> work_;
  std::string name_;
  std::string violation_;
};

// The request of a job, as its scheduler makes it.
void FillPod(const Job& job, pb::PodRequest* out);
void FillGang(const Job& job, pb::GangRequest* out);

class World {
 public:
  explicit World(std::uint64_t seed);
  // So many steps under faults, or until something is wrong: then why.
  std::string Run(std::uint64_t steps);
  // Faults end, some jobs go, and what is left must be placed; leases must be none, and the server
  // must know exactly what is true. Empty, or why not.
  std::string Settle();
  const Tally& tally() const { return tally_; }
  const ApiModel& api() const { return api_; }
  const Server& server() const { return server_; }

 private:
  void Churn();
  void Trouble();
  void Execute();
  void Tick();
  std::string Check();
  void AddJob();
  // --- probe.cc: what must hold at any moment, asked of the service itself ---
  std::string Probe();
  std::string ProbeNotReady();
  std::string ProbeDryRuns(const Job& job);
  std::string ProbeExplanation(const Job& job);
  std::string ProbeMoreRoom(const Job& job);
  std::string ProbeGangs() const;
  Net net_;
  Tally tally_;
  ApiModel api_;
  Server server_;
  Syncer syncer_;
  std::vector<std::unique_ptr<Scheduler>> schedulers_;
  std::set<std::uint64_t> made_to_leave_;  // pods that were victims
  std::string wrong_;
  bool faults_ = true;
  std::uint64_t steps_ = 0;
};

}  // namespace basalt::service_sim
