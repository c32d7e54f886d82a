#include <algorithm>
#include <utility>

#include "adapters/service/commands.h"

namespace basalt::service {

namespace pb = placement::v1;

bool CommandBook::IsOver(const State& state) {
  return state.phase() == pb::COMMAND_PHASE_DONE || state.phase() == pb::COMMAND_PHASE_FAILED;
}

Status CommandBook::Read(const std::string& bytes) {
  pb::ListCommandsResponse book;
  if (!book.ParseFromString(bytes)) return Fail("commands", "are no book of commands");
  for (State& state : *book.mutable_commands()) {
    const std::uint64_t number = state.number();
    by_id_[state.command().id()] = number;
    next_ = std::max(next_, number + 1);
    all_[number] = std::move(state);
  }
  Count();
  return {};
}

std::string CommandBook::Bytes() const {
  pb::ListCommandsResponse book;
  for (const auto& [number, state] : all_) *book.add_commands() = state;
  return book.SerializeAsString();
}

CommandBook::State* CommandBook::Find(const std::string& id) {
  const auto it = by_id_.find(id);
  return it == by_id_.end() ? nullptr : &all_.at(it->second);
}

CommandBook::State* CommandBook::Add(State state) {
  state.set_number(next_++);
  by_id_[state.command().id()] = state.number();
  const std::uint64_t number = state.number();
  State* added = &all_.emplace(number, std::move(state)).first->second;
  Count();
  return added;
}

void CommandBook::Remove(const std::string& id) {
  const auto it = by_id_.find(id);
  if (it == by_id_.end()) return;
  all_.erase(it->second);
  by_id_.erase(it);
  Count();
}

void CommandBook::Prune() {
  Count();
  for (auto it = all_.begin(); it != all_.end() && all_.size() - open_ > kEndedKept;) {
    if (!IsOver(it->second)) {
      ++it;
      continue;
    }
    by_id_.erase(it->second.command().id());
    it = all_.erase(it);
  }
}

void CommandBook::Count() {
  open_ = static_cast<std::size_t>(
      std::ranges::count_if(all_, [](const auto& entry) { return !IsOver(entry.second); }));
}

std::vector<CommandBook::State*> CommandBook::Open() {
  std::vector<State*> out;
  for (auto& [number, state] : all_) {
    if (!IsOver(state)) out.push_back(&state);
  }
  return out;
}

}  // namespace basalt::service
