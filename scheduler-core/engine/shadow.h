// Looking on beside another scheduler: what it did with each pod, against what this engine would
// have done on the state just before. Every value is of that state; what the other one does later
// is not blamed on it, and not excused by it.
//
// A choice of place adds to the fragment of its node (cluster/fragmentation.h): idle GPU that the
// target workload can no longer use. What the live choice adds beyond ours is what it stranded;
// less than ours is negative. Without a target workload nothing of this is measured.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "scheduler-core/engine/engine.h"

namespace basalt {

struct ShadowChoice {
  std::string node;  // empty: none
  CardSet cards;
  bool fits = false;  // by this engine's books
  Reason reason = Reason::kFits;
  Score score = kNoScore;                                 // the policy's, of nodes that fit
  std::array<std::int64_t, kStrandCauses> added_milli{};  // milli-GPU of fragment, by cause
  int idle_cards = 0;                                     // cards without a slice that it takes
  std::int64_t added() const {
    std::int64_t sum = 0;
    for (const std::int64_t a : added_milli) sum += a;
    return sum;
  }
};

struct ShadowVerdict {
  SimTime at;
  PodUid uid;
  std::string shape;  // in words
  bool measured = false;
  OutcomeKind kind = OutcomeKind::kWait;  // ours
  ShadowChoice live, ours;
  std::int64_t waited_us = 0;  // since the pod was seen first
  bool same_node() const { return live.node == ours.node; }
  bool same() const { return same_node() && live.cards == ours.cards; }
  // There are two places that hold the pod: else there is nothing to compare.
  bool comparable() const { return live.fits && !ours.node.empty(); }
  std::int64_t stranded_milli() const {
    return measured && comparable() ? live.added() - ours.added() : 0;
  }
};

// "2 x 1000m, 8 CPU": cards, their milli or memory, CPU.
std::string ShapeWords(const RequestSpec& spec);

// `ours` is what the engine proposed for the request just now; the pod holds nothing yet. Changes
// nothing. The live cards must be of the node.
ShadowVerdict JudgeBinding(Engine& engine, const Request& request, const Outcome& ours,
                           const PodObserved& live, SimTime now);

class ShadowBook {
 public:
  static constexpr std::size_t kWorst = 20;

  struct Totals {
    std::int64_t bound = 0;              // pods judged
    std::int64_t same_cards = 0;         // of them as we would have
    std::int64_t same_node = 0;          // the cards may differ
    std::int64_t not_ours = 0;           // we would have let them wait
    std::int64_t overbooked = 0;         // they did not fit where they went
    std::int64_t stranded_milli = 0;     // the live choices' beyond ours, as it adds up
    std::int64_t worse = 0, better = 0;  // choices that stranded more, or less, than ours
    std::int64_t idle_cards_more = 0;    // idle cards that were begun beyond ours
    std::array<std::int64_t, kStrandCauses> by_cause_milli{};
  };
  struct ByShape {
    std::int64_t bound = 0;
    std::int64_t same_node = 0;
    std::int64_t stranded_milli = 0;
  };
  // Who waits at one moment though there is a place. Gangs are pods of one job that wait together.
  struct Waiting {
    std::int64_t pods = 0, pods_that_fit = 0;
    std::int64_t gangs = 0, gangs_that_fit = 0;
    std::int64_t idle_cards = 0;  // beside them
    std::int64_t longest_us = 0;
  };

  void Waits(const Request& request, SimTime now);
  // From here on `to` is asked, whose shapes have numbers of their own.
  void Move(const Engine& from, Engine* to);
  void Gone(const PodUid& uid) { waiting_.erase(uid); }
  const ShadowVerdict& Bound(ShadowVerdict verdict);
  Waiting WaitingNow(Engine& engine, SimTime now) const;
  std::size_t waiting() const { return waiting_.size(); }

  const Totals& totals() const { return totals_; }
  const std::map<std::string, ByShape>& by_shape() const { return by_shape_; }
  const std::vector<ShadowVerdict>& worst() const { return worst_; }  // most stranded first

 private:
  struct Waiter {
    Request request;
    SimTime since;
  };
  std::map<PodUid, Waiter> waiting_;
  Totals totals_;
  std::map<std::string, ByShape> by_shape_;
  std::vector<ShadowVerdict> worst_;
  ShadowVerdict last_;
};

}  // namespace basalt
