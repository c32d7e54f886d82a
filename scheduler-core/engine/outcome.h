// What the engine answers. Not placing is a value with reasons, never an error: Wait may fit later,
// Infeasible cannot fit on this cluster even when it is empty.
#pragma once

#include <cstdint>
#include <memory>
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
  // What is pinned beside the cards; null for most pods.
  std::shared_ptr<const NumaTake> numa = nullptr;
};

enum class OutcomeKind : std::uint8_t { kPlaced, kWait, kInfeasible };
std::string_view OutcomeKindName(OutcomeKind kind);

struct Outcome {
  OutcomeKind kind = OutcomeKind::kWait;
  Placement placement;                // kPlaced
  bool already_held = false;          // kPlaced: the pod and attempt hold this placement already
  bool earlier_attempt_held = false;  // kWait: an earlier attempt of the pod is still allocated
  bool by_quota = false;              // not placed: a queue stands in the way, `reason` says which
  std::string reason;                 // only when by_quota; else Explain counts nodes
  bool placed() const { return kind == OutcomeKind::kPlaced; }
};

// What became of a gang. Placed: `members` are the new places (none when it holds all it can have).
// Not placed: `reason` is the certificate in words, with the domain, what it has and what is
// needed.
struct GangOutcome {
  struct Member {
    std::int32_t member = 0;
    Placement placement;
  };
  OutcomeKind kind = OutcomeKind::kWait;
  std::vector<Member> members;  // ascending
  std::int32_t held = 0;        // members that hold already
  bool earlier_attempt_held = false;
  int tier = 0;           // of the narrowest domain that holds the whole gang; 0: one node
  std::string domain;     // its name
  bool proven = false;    // kWait: counting shows it, not a search that gave up
  bool by_quota = false;  // not placed: a queue stands in the way
  std::string reason;
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
  kLabelOrTaint,     // node selector or an untolerated taint
  kModelNotAllowed,  // model, vendor or UUID, or a slice that the models there do not have
  kSlotsUsed,        // share slots of the cards
  kNoCardFree,       // no (or not enough) cards with the compute asked
  kCardMemoryShort,  // compute would fit, memory on the cards does not
  kGuaranteedShort,  // memory would fit, but only by oversubscription
  kCardRule,         // QoS class, slice size or MIG slots of what is on the cards
  kCpuShort,
  kMemoryShort,
  kPodLimit,
  kNumaNotAligned,  // amounts suffice, but not on NUMA nodes that the policy admits
  kNicShort,
  kBandwidthShort,  // enough cards, but no set of them with the bandwidth required
  kSlicesApart,     // each slice would fit, but not all together
  kKeptForSlots,    // it would fit, but that would break what a queue's slots promise
  kExcluded,        // it would fit, but whoever asks has ruled the node out (NodeChoice)
};
inline constexpr std::size_t kReasons = 18;
std::string_view ReasonKey(Reason reason);

// What a decision would say of one node.
struct NodeVerdict {
  Reason reason = Reason::kFits;
  Score score = kNoScore;  // of those that fit: what nodes are compared by
  CardSet cards;           // of those that fit: what would be taken there
};

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
