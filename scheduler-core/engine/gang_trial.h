// One candidate region for a gang of several tasks, tried on copies of the counts and of the nodes
// that are touched. Greedy with backtracking over the sub-groups' regions first; where that finds
// nothing, every member on every node, which is a proof when it ends within the budget.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "scheduler-core/engine/gang_context.h"

namespace basalt {

class GangTrial {
 public:
  GangTrial(const GangContext& context, const GangSearchLimits& limits, const Region& region);
  bool Solve();
  bool exhausted() const { return exhausted_; }  // not solved, and that proves nothing
  // Not just the empty answer to a gang that already has its min.
  bool found_any() const { return !places_.empty() || something_needed_; }
  std::uint64_t steps() const { return steps_; }
  std::vector<GangAnswer::Place> TakePlaces();  // by task, then in leaf order

 private:
  struct Put {
    std::size_t task;
    std::uint32_t leaf;
    CardPlan plan;
  };
  // A sub-group, or all tasks of none.
  struct Unit {
    std::int32_t group = kWholeGang;
    std::vector<std::size_t> tasks;  // largest first
    LevelWish level;
    Region region;  // where it went
  };
  // What members of one sub-group share so far, for the search member by member.
  struct Reach {
    DomainId join;
    std::int64_t leaf = -1;  // the only one; -2: several
  };

  const Shape& ShapeOf(std::size_t task) const {
    return c_.state.shape(c_.shapes[c_.shape_of[task]]);
  }
  SlotIndex::Slots& SlotsOf(std::size_t task) { return slots_[c_.shape_of[task]]; }
  bool Step();
  NodeDraft& DraftOf(std::uint32_t leaf);
  void Recount(std::uint32_t leaf, const NodeDraft& draft);
  bool PlaceCount(std::size_t task, std::int64_t count, const Region& region);
  void UndoTo(std::size_t size);
  void GoHome();
  void MakeUnits();
  bool Optional(const Unit& unit) const;
  std::int64_t MilliOf(const Unit& unit) const;
  bool SolveAll();
  bool SolveUnit(std::size_t u);
  void AddExtras();
  bool MemberByMember();
  void Extend(Reach* reach, std::uint32_t leaf) const;
  bool NextMember(std::size_t k, std::uint32_t from, const std::vector<Reach>& reach);
  bool RestFits(std::size_t k);
  bool TriedAlike(std::uint32_t leaf, const std::vector<std::uint32_t>& tried);
  std::vector<CardPlan> Choices(std::size_t task, std::uint32_t leaf);

  const GangContext& c_;
  const Region region_;
  std::vector<std::int32_t> need_;       // by task: still to be placed
  std::vector<std::int32_t> extra_;      // by task: may be placed beyond
  std::vector<SlotIndex::Slots> slots_;  // by distinct shape
  std::vector<std::int32_t> draft_of_;   // by leaf of the region; -1: none yet
  std::deque<NodeDraft> drafts_;
  std::vector<Put> places_;
  std::vector<Unit> units_;
  std::vector<std::size_t> members_;  // tasks of the members, in the order of the last search
  std::vector<std::vector<std::int64_t>> rest_;  // by position and distinct shape
  int most_copies_;
  std::uint64_t steps_ = 0;
  std::uint64_t budget_;
  bool something_needed_ = false;
  bool exhausted_ = false;
  bool picks_uuids_ = false;  // some task names cards: then no two are alike
  bool cut_ = false;          // the last search did not look at all sets of cards
};

}  // namespace basalt
