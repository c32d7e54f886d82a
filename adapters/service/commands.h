// What operators told running pods and cards to do: each command as it was accepted, and how far it
// is. The book is stored as a whole with every change, so that what is open goes on after a
// restart. commands.cc has the rules; this is the list.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "adapters/rpc/placement.pb.h"
#include "scheduler-core/base/result.h"

namespace basalt::service {

class CommandBook {
 public:
  using State = placement::v1::CommandState;
  static constexpr std::size_t kMostOpen = 1'024;
  static constexpr std::size_t kEndedKept = 256;

  static bool IsOver(const State& state);
  // What Bytes wrote. Errors: bytes that are no book.
  Status Read(const std::string& bytes);
  std::string Bytes() const;
  // Null: unknown, or ended long ago.
  State* Find(const std::string& id);
  State* Add(State state);  // under a new id; numbered
  void Remove(const std::string& id);
  // After a phase has changed: the oldest ended ones are forgotten.
  void Prune();
  std::vector<State*> Open();  // in order of acceptance
  std::size_t open() const { return open_; }
  const std::map<std::uint64_t, State>& all() const { return all_; }

 private:
  void Count();
  std::map<std::uint64_t, State> all_;  // by number
  std::map<std::string, std::uint64_t> by_id_;
  std::uint64_t next_ = 1;
  std::size_t open_ = 0;
};

}  // namespace basalt::service
