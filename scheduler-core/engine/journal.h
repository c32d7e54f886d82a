// The journal's records and the byte format of journal and snapshot. Everything the engine does is
// an effect with its time; recovery applies effects and decides nothing, and `replay` (sim/) is the
// one that decides again and compares. Node names and request specs are written, never ids.
//
// Journal bytes: 16-byte header (magic "BSLTJRNL", format version, 0), then frames of
// [length u32][checksum u64][payload]; little endian. The first frame whose length, checksum or
// payload is wrong ends the journal: what follows is a torn or corrupted tail, and is reported.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "scheduler-core/base/result.h"
#include "scheduler-core/base/units.h"
#include "scheduler-core/engine/event.h"
#include "scheduler-core/engine/outcome.h"
#include "scheduler-core/workload/gang.h"
#include "scheduler-core/workload/node_choice.h"

namespace basalt {

class ClusterState;

inline constexpr std::uint32_t kCodecVersion = 5;

// Written first: what decided what follows. With the events after it, it is all a replay needs.
// Written again when another policy decides from then on; shapes are numbered from 0 again, too.
struct PolicyRecord {
  struct Class {
    RequestSpec spec;
    std::int64_t count = 0;
  };
  std::string expression;
  std::uint64_t seed = 0;
  std::vector<Class> target;      // the target workload's classes, in order
  std::int64_t target_count = 0;  // of all requests, before the cut
  std::int64_t lease_ttl_us = 0;  // EngineOptions::lease_ttl_us; 0: of an older version, unknown
};
// A NodeChoice by names. Of `only`, an empty name is no node.
struct NodeNames {
  std::vector<std::string> excluded;
  std::vector<std::string> only;
  bool empty() const { return excluded.empty() && only.empty(); }
};
NodeNames NamesOf(const ClusterState& state, const std::shared_ptr<const NodeChoice>& choice);
// Null for an empty one. Names that no node has are passed over.
std::shared_ptr<const NodeChoice> ChoiceOf(const ClusterState& state, const NodeNames& names);

struct ShapeRecord {  // shapes are numbered in the order of these records, from 0
  RequestSpec spec;
};
struct EventRecord {
  Event event;
};
struct DecisionRecord {  // a proposal that did not place
  PodUid uid;
  std::uint32_t attempt = 0;
  std::uint32_t shape = 0;
  std::uint64_t job = 0;
  OutcomeKind kind = OutcomeKind::kWait;
  Standing standing = {};
  NodeNames nodes = {};
};
struct ReservedRecord {
  PodUid uid;
  std::uint32_t attempt = 0;
  std::uint32_t shape = 0;
  std::uint64_t job = 0;
  std::string node;
  CardSet cards;
  std::uint64_t epoch = 0;
  SimTime expires;
  std::shared_ptr<const NumaTake> numa = nullptr;
  Standing standing = {};
  NodeNames nodes = {};  // that it was asked for with
};
struct ConfirmedRecord {
  PodUid uid;
};
struct ReleasedRecord {
  PodUid uid;
};
struct RenewedRecord {
  PodUid uid;  // of the pod or gang
  bool gang = false;
  std::uint64_t epoch = 0;
  SimTime expires;
};
struct ExpiredRecord {
  PodUid uid;
};

// What a gang is, with its shapes by their number in the journal.
struct GangSpecRecord {
  PodUid uid;
  std::uint32_t attempt = 0;
  std::uint64_t job = 0;
  GangSpec spec;  // ShapeIds are journal numbers here
  std::vector<PodUid> pods;
  Standing standing = {};
  NodeNames nodes = {};  // of this request, no part of the gang
  std::vector<NodeNames> task_nodes = {};
};
// Members take their places together: one record, so that no torn journal holds a part of a gang.
struct GangReservedRecord {
  struct Member {
    std::int32_t member = 0;
    std::string node;
    CardSet cards;
    std::shared_ptr<const NumaTake> numa = nullptr;
  };
  GangSpecRecord gang;
  std::vector<Member> members;
  std::uint64_t epoch = 0;
  SimTime expires;
};
struct GangDecisionRecord {  // a proposal that did not place
  GangSpecRecord gang;
  OutcomeKind kind = OutcomeKind::kWait;
};
struct GangConfirmedRecord {
  PodUid uid;
  std::uint64_t epoch = 0;
};
struct GangReleasedRecord {
  PodUid uid;
};
// Places taken beside pods that are told to leave for them; their lease does not expire before.
struct NominatedRecord {
  std::variant<ReservedRecord, GangReservedRecord> places;
  std::vector<PodUid> victims;  // that were there
};

struct JournalRecord {
  SimTime now;
  std::variant<PolicyRecord, ShapeRecord, EventRecord, DecisionRecord, ReservedRecord,
               ConfirmedRecord, ReleasedRecord, ExpiredRecord, GangReservedRecord,
               GangDecisionRecord, GangConfirmedRecord, GangReleasedRecord, NominatedRecord,
               RenewedRecord>
      body;
};

class JournalSink {
 public:
  virtual ~JournalSink() = default;
  virtual void Append(const JournalRecord& record) = 0;
};

// The journal's bytes: first the header, then a frame for each record.
std::string JournalHeader();
std::string EncodeFrame(const JournalRecord& record);

// A journal in memory, in its byte format.
class JournalBuffer : public JournalSink {
 public:
  JournalBuffer();
  void Append(const JournalRecord& record) override;
  const std::string& bytes() const { return bytes_; }
  std::size_t records() const { return records_; }

 private:
  std::string bytes_;
  std::size_t records_ = 0;
};

struct JournalContents {
  std::vector<JournalRecord> records;
  std::size_t valid_bytes = 0;  // the prefix that is whole
  std::string tail_problem;     // empty: the journal ends cleanly
};
// An error only when it is no journal at all or of a newer format.
Result<JournalContents> ReadJournal(std::string_view bytes);

// The snapshot's contents (Engine::Snapshot and Restore translate).
struct SnapshotAllocation {
  PodUid uid;
  std::uint32_t attempt = 0;
  std::uint32_t shape = 0;  // index into shapes
  std::uint64_t job = 0;
  std::string node;
  CardSet cards;
  std::uint64_t epoch = 0;
  SimTime expires;
  bool confirmed = false;
  std::shared_ptr<const NumaTake> numa = nullptr;
  PodUid gang = {};
  std::int32_t member = -1;
  Standing standing = {};
  SimTime started = {};
  SimTime checkpoint = {};
  PodUid leaving = {};
};
struct SnapshotNomination {
  PodUid uid;
  bool gang = false;
  std::uint64_t epoch = 0;
  std::vector<PodUid> waiting;  // for these
};
struct SnapshotGang {
  GangSpecRecord gang;  // shapes as indexes into shapes
  std::vector<std::uint8_t> members;
  std::map<std::int32_t, topology::NetworkPath> homes;
};
struct SnapshotNode {
  NodeSpec spec;
  bool cordoned = false;
  std::vector<std::uint8_t> unhealthy_cards;
  std::vector<std::uint8_t> cordoned_cards;
};
struct SnapshotContents {
  std::vector<CardRules> rules;
  std::vector<SnapshotNode> nodes;
  std::vector<RequestSpec> shapes;
  std::vector<SnapshotAllocation> allocations;
  std::vector<SnapshotGang> gangs;
  std::vector<QueueSpec> queues;  // parents before children, siblings in their order
  std::vector<DisruptionBudgetSet> budgets;
  std::vector<SnapshotNomination> nominations;
  std::uint64_t next_epoch = 1;
  SimTime now;  // the latest time the engine saw
};
std::string EncodeSnapshot(const SnapshotContents& contents);
Result<SnapshotContents> DecodeSnapshot(std::string_view bytes);

}  // namespace basalt
