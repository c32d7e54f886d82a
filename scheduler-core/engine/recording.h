// What an engine was asked and answered, beside its journal. The journal has effects, which is all
// that recovery needs; this has every decision, also those that took nothing (a proposal that was
// placed, a plan of victims), so that a replay decides exactly what was decided, and in between of
// which effects. A recording is a run of segments: a snapshot, the journal after it, and these.
//
// Bytes: 16-byte header (magic "BSLTDCSN", format version, a check of it), then frames like the
// journal's. Written by the service (adapters/service) in step with its journal, read by sim.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "scheduler-core/base/digest.h"
#include "scheduler-core/base/result.h"
#include "scheduler-core/engine/eviction.h"
#include "scheduler-core/engine/journal.h"

namespace basalt {

inline constexpr std::uint32_t kDecisionsVersion = 1;

// What a pod asks for, by names. Shapes are numbered in the order of RecordedShape, from 0.
struct RecordedAsk {
  PodUid uid;
  std::uint32_t attempt = 0;
  std::uint32_t shape = 0;
  std::uint64_t job = 0;
  Standing standing = {};
  NodeNames nodes = {};
};
struct RecordedPlace {
  std::int32_t member = -1;  // of a gang
  std::string node;
  CardSet cards;
  Score score = 0;  // of a single pod
  friend bool operator==(const RecordedPlace&, const RecordedPlace&) = default;
};

struct RecordedShape {
  RequestSpec spec;
};
struct RecordedDecision {  // Engine::Propose
  RecordedAsk ask;
  OutcomeKind kind = OutcomeKind::kWait;
  RecordedPlace place;  // kPlaced
};
struct RecordedGangDecision {  // Engine::ProposeGang
  GangSpecRecord gang;         // ShapeIds are the numbers here
  OutcomeKind kind = OutcomeKind::kWait;
  std::vector<RecordedPlace> places;
};
struct RecordedEviction {  // Engine::ProposeEviction
  std::variant<RecordedAsk, GangSpecRecord> ask;
  EvictionRules rules;
  bool found = false;
  std::vector<PodUid> victims;
  std::vector<RecordedPlace> places;
};
// A pod that the cluster told before it was on a node, the first time.
struct RecordedSeen {
  RecordedAsk ask;
};
// A pod that held nothing is gone: the journal does not say so.
struct RecordedGone {
  PodUid uid;
};

struct DecisionEntry {
  std::uint64_t after = 0;  // so many records of the journal came before
  SimTime now;
  std::variant<RecordedShape, RecordedDecision, RecordedGangDecision, RecordedEviction,
               RecordedSeen, RecordedGone>
      body;
};

class DecisionSink {
 public:
  virtual ~DecisionSink() = default;
  virtual void Append(const DecisionEntry& entry) = 0;
};

std::string DecisionsHeader();
std::string EncodeDecision(const DecisionEntry& entry);

struct DecisionContents {
  std::vector<DecisionEntry> entries;
  std::size_t valid_bytes = 0;
  std::string tail_problem;  // empty: it ends cleanly
};
// An error only when it is no such file or of a newer format.
Result<DecisionContents> ReadDecisions(std::string_view bytes);

// Adds what Engine::DecisionDigest adds for the same decision; evictions are no part of it.
void AddToDigest(const RecordedDecision& decision, SimTime now, Digest* digest);
void AddToDigest(const RecordedGangDecision& decision, SimTime now, Digest* digest);

// One generation of a store.
struct RecordedSegment {
  std::uint64_t generation = 0;
  std::string snapshot;  // Engine::Snapshot
  JournalContents journal;
  std::vector<DecisionEntry> decisions;
  bool has_decisions = false;  // false: it was not recorded, the journal is all there is
};

}  // namespace basalt
