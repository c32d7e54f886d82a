// What executors are told to do, until they have said that it is done: at least once, in order of
// sequence, idempotent by id.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "adapters/rpc/placement.pb.h"
#include "scheduler-core/base/units.h"

namespace basalt::service {

struct ActionResult {
  bool done = false;
  std::string error = {};
  bool unanswered = false;  // its time has passed: it may be carried out yet
};

class ActionLog {
 public:
  // The action as it is sent, its sequence filled in. Said again under an id that is open, it is
  // the one that stands there.
  const placement::v1::Action& Add(placement::v1::Action action);
  // False: unknown or known already. What failed or was done is kept for ResultOf: ten minutes, up
  // to a limit.
  bool Ack(const std::string& id, ActionResult result, SimTime now);
  std::optional<ActionResult> ResultOf(const std::string& id) const;
  bool Knows(const std::string& id) const;
  // Open actions of the pod are over: those that were to end it are done, the others failed.
  void PodGone(const std::string& uid, SimTime now);
  std::vector<placement::v1::Action> After(std::uint64_t sequence,
                                           const std::vector<placement::v1::ActionKind>& kinds,
                                           std::size_t max) const;
  // Open ones whose deadline is past fail; old results are forgotten.
  void Expire(SimTime now);
  std::size_t open() const { return open_.size(); }
  std::size_t results() const { return results_.size(); }
  const std::map<std::uint64_t, placement::v1::Action>& all_open() const { return open_; }

 private:
  void Finish(std::uint64_t sequence, ActionResult result, SimTime now);
  std::map<std::uint64_t, placement::v1::Action> open_;  // by sequence
  std::map<std::string, std::uint64_t> by_id_;           // open ones
  std::map<std::string, ActionResult> results_;
  std::map<std::int64_t, std::string> result_order_;  // by when they came, in microseconds
  std::uint64_t next_ = 1;
};

}  // namespace basalt::service
