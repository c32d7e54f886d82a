// What the engine answers. Not placing is a value with reasons, never an error: Wait may fit later,
// Infeasible cannot fit on this cluster even when it is empty.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "scheduler-core/base/ids.h"
#include "scheduler-core/base/units.h"
#include "scheduler-core/engine/policy.h"
#include "scheduler-core/workload/request.h"
#include "topology/card_set.h"

namespace basalt {

struct Placement {
  NodeId node;
  CardSet cards;
  Score score = kNoScore;
  // Of the node's slot: a placement on a node that was removed since is refused, even when another
  // node has taken its slot.
  std::uint32_t generation = 0;
};

enum class OutcomeKind : std::uint8_t { kPlaced, kWait, kInfeasible };
std::string_view OutcomeKindName(OutcomeKind kind);

struct Outcome {
  OutcomeKind kind = OutcomeKind::kWait;
  Placement placement;                // kPlaced
  bool already_held = false;          // kPlaced: the pod and attempt hold this placement already
  bool earlier_attempt_held = false;  // kWait: an earlier attempt of the pod is still allocated
  bool placed() const { return kind == OutcomeKind::kPlaced; }
};

// A held placement. `epoch` grows with every lease the engine ever gave: a confirm that presents an
// older epoch is refused (fencing). An unconfirmed lease ends at `expires`.
struct Lease {
  PodUid uid;
  std::uint64_t epoch = 0;
  SimTime expires;
};

// Why a node does not take a shape: the first of these that holds, in this order, so that each
// node is counted once.
enum class Reason : std::uint8_t {
  kFits,  // it does take it
  kCordoned,
  kLabelOrTaint,  // node selector or an untolerated taint
  kModelNotAllowed,
  kNoCardFree,       // no (or not enough) cards with the compute asked
  kCardMemoryShort,  // compute would fit, memory on the cards does not
  kCpuShort,
  kMemoryShort,
  kPodLimit,
};
inline constexpr std::size_t kReasons = 9;
std::string_view ReasonKey(Reason reason);

struct ReasonCount {
  Reason reason = Reason::kFits;
  std::int64_t nodes = 0;
  std::int64_t least_short = 0;  // CPU, memory: the smallest shortfall among these nodes
  std::string text;              // "412 nodes: no card with 460 milli free"
};

struct Explanation {
  OutcomeKind kind = OutcomeKind::kWait;
  Placement placement;              // kPlaced
  std::int64_t nodes = 0;           // the counts below add up to this
  std::vector<ReasonCount> counts;  // most nodes first
  std::string text;                 // the counts joined by "; "
  struct Candidate {
    NodeId node;
    Score score;
    CardSet cards;
  };
  std::vector<Candidate> best;  // the best few, in decision order; the first is the placement
};

}  // namespace basalt
