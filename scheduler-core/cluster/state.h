// The cluster's current state: plain columns over nodes and cards, and nothing a decision could not
// be replayed from. Invariants (checked by Audit in engine/engine.h):
//   free = capacity - what allocations hold, for every column;
//   the derived columns of a node (gpu_free, max_card_free, full_cards) match its cards;
//   only Transaction (cluster/transaction.h) takes and gives back.
// Every change of a node appends its id to the change log; caches hold a cursor into the log and
// catch up, so an event costs what it touches. The log never rolls back: undoing a change is one
// more entry, so a cache can never keep a score of a state that was undone.
#pragma once

#include <tsl/robin_map.h>

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "scheduler-core/base/digest.h"
#include "scheduler-core/base/ids.h"
#include "scheduler-core/base/result.h"
#include "scheduler-core/cluster/inventory.h"
#include "scheduler-core/workload/request.h"
#include "topology/bandwidth.h"
#include "topology/card_set.h"

namespace basalt {

// Marks of nodes; 0 is none and closed to nobody.
inline constexpr int kNodeMarks = 64;

// One node's hot columns, kept together: a decision that looks at a node reads one cache line here
// and one of cards.
struct NodeHot {
  std::int32_t cpu_free = 0;     // milli-cores; an observation may make it negative
  std::int32_t memory_free = 0;  // MiB
  std::int32_t pods_free = 0;
  std::int32_t gpu_free = 0;  // sum of CardFree over the node's cards, milli
  std::uint32_t first_card = 0;
  std::uint32_t node_class = 0;
  std::int16_t cards = 0;
  std::int16_t max_card_free = 0;  // largest CardFree, milli
  std::int16_t full_cards = 0;     // cards with at least 1000 milli free
  bool schedulable = false;        // in the cluster and not cordoned
  bool complex = false;        // mixed models, card memory, modes, model rules: look at each card
  bool planned_cards = false;  // MIG instances or groups of cards: slices are planned (draft.h)
  std::uint8_t mark = 0;  // below kNodeMarks; what it means is its setter's (ClusterState::Closed)
};

// The first test of feasibility, one 16-byte row a node so that it is one vector comparison: a node
// whose row is below a shape's row in any lane cannot take the shape. For nodes that are not
// `complex` it is the whole test but for models, labels and taints.
using FilterRow [[gnu::vector_size(16)]] = std::int32_t;
// Lanes: CPU free (or -1 when the node takes no pod at all), memory free, card level, and a stamp
// that is never compared: the low 30 bits of the number of the node's last change, times 2, plus 1
// when the node is complex. The card level of a node is 1000 x its full cards, or its largest free
// milli when no card is full; a shape of n whole cards needs level 1000 n, one of a fraction that
// fraction.
inline bool Below(FilterRow row, FilterRow need) {
  const FilterRow less = row < need;
#ifdef __SSE2__
  return _mm_movemask_epi8(reinterpret_cast<__m128i>(less)) != 0;
#else
  return (less[0] | less[1] | less[2] | less[3]) != 0;
#endif
}

// A card's columns that decisions rarely need. What they always need, the free milli, is a column
// of its own (CardFree).
struct CardState {
  std::int32_t free_milli = 0;       // capacity - taken; CardFree is this, or 0 when unusable
  std::int32_t memory_free = 0;      // MiB
  std::int32_t memory_total = 0;     // MiB that may be handed out; 0 unknown
  std::int32_t memory_physical = 0;  // MiB; memory_total is more where it is oversubscribed
  std::int32_t guaranteed_free = 0;  // MiB of the physical memory that no guaranteed slice has
  std::int16_t compute_total = 0;    // milli
  std::int16_t slices = 0;           // on the card
  std::int16_t slots = 0;            // share slots, 0: no limit
  std::int16_t numa = -1;
  std::uint16_t model = 0;
  std::int8_t group = -1;  // module, network, link zone or wing
  std::uint8_t qos = 0;    // of the slices on it, where the model's rules ask for one
  CardMode mode = CardMode::kShared;
  bool healthy = true;
  bool cordoned = false;  // takes nothing more (drained)
  bool serves = true;     // false: MIG without rules
  // MIG instances over each memory slot, four bits a slot, and with media engines as a ninth: two
  // can only be an observation or a nomination.
  std::uint64_t mig = 0;
};
static_assert(sizeof(CardState) <= 48);
// The taken memory slots of a MIG card as bits; bit kMaxMigSlots: the media engines.
std::uint32_t MigOccupied(const CardState& card);
// It is handed out now or after what is on it has gone: neither broken nor drained.
bool CountsInTotals(const CardState& card);

struct NodeCapacity {
  std::int32_t cpu = 0;
  std::int32_t memory = 0;
  std::int32_t pods = 0;
  std::int32_t gpu_milli = 0;
  // 1000 / gpu_milli in units of 2^-40, rounded up: (x * this) >> 40 is 1000 x / gpu_milli rounded
  // down for every x that a node can have (64 cards of 2000 milli), without a division.
  static constexpr int kPerMilleShift = 40;
  std::uint64_t per_mille = 0;
};

// A machine type of the cluster. The pair scores are what HAMi and go-gpuallocator add up
// (topology/peer_rules.h).
struct Machine {
  std::shared_ptr<const topology::MachineType> type;
  Eigen::MatrixXi pair_scores;
};

// The NUMA nodes and NICs of a node where something can be pinned: more than one NUMA node, a
// Topology Manager policy, or known NICs.
struct NodeNuma {
  topology::NumaPolicy policy = topology::NumaPolicy::kNone;
  topology::NumaScope scope = topology::NumaScope::kContainer;
  int nodes = 1;
  bool cards_known = true;  // every card's NUMA node is known; else cards give no hint
  std::array<topology::NumaAmounts, topology::kMaxNumaNodes> installed{};
  std::array<CardSet, topology::kMaxNumaNodes> cards{};
  std::array<std::uint32_t, topology::kMaxNumaNodes> nics{};  // NICs of each, as bits
  std::uint32_t nics_free = 0;
  // Pods on each NIC: two can only be an observation; it is free again when the last has left.
  std::array<std::uint16_t, kMaxNicsPerNode> nic_pods{};
  std::array<std::int32_t, topology::kMaxNumaNodes> cpu_free{};
  std::array<std::int32_t, topology::kMaxNumaNodes> memory_free{};
};

// Sums over the schedulable nodes, kept up to date with each change.
struct ClusterTotals {
  std::int64_t nodes = 0;
  std::int64_t cards = 0;         // usable cards
  std::int64_t gpu_capacity = 0;  // milli
  std::int64_t gpu_free = 0;      // milli
  std::int64_t cpu_capacity = 0;
  std::int64_t cpu_free = 0;
  std::int64_t gpu_usable = 0;  // milli that a decision may use: the sum of NodeHot::gpu_free
  std::int64_t idle_cards = 0;  // usable cards without a slice
  std::int64_t idle_nodes = 0;  // nodes with cards and without a pod
};

// The same for the usable cards of one model, on schedulable nodes.
struct ModelTotals {
  std::int64_t cards = 0;
  std::int64_t gpu_capacity = 0;
  std::int64_t gpu_free = 0;
};

struct ShapeEntry {
  Shape shape;
  FilterRow need = {};
  bool filter_decides = false;  // on nodes that are not complex, but for the class
  bool every_class_ok = false;
  std::vector<std::uint8_t> class_ok;  // by NodeClassId: models, labels and taints allow it
  std::uint64_t closed = 0;            // bit m: nodes with mark m do not take it
};

// One step of a Transaction, enough to apply or undo it.
struct UndoStep {
  NodeId node;
  ShapeId shape;
  CardSet cards;
  int sign;
  std::shared_ptr<const NumaTake> numa;
};

class ClusterState {
 public:
  ClusterState();

  // --- inventory (observations; each is an event of the Engine) ---
  Result<NodeId> AddNode(const NodeSpec& spec);
  void RemoveNode(NodeId node);  // its allocations must be gone
  // Whether a node may be described so, whatever its name; the machine is known from then on.
  Status CheckNode(const NodeSpec& spec);
  // The node is described anew, under its name and in its slot, as a new generation. What it had
  // was given back, and CheckNode has passed. `from`: for each card the one that it was, or -1: its
  // health and its cordon stay. So do the node's cordon, and its rank where the spec has none.
  void ChangeNode(NodeId node, const NodeSpec& spec, std::span<const int> from);
  // Other labels and taints, and all else as it is, pods too.
  void Relabel(NodeId node, std::vector<LabelRequirement> labels, std::vector<std::string> taints);
  void SetCordoned(NodeId node, bool cordoned);
  void SetCardHealth(NodeId node, int card, bool healthy);
  // A change of the node like any other for who follows changes. Not part of the digest: it follows
  // from what is.
  void SetMark(NodeId node, std::uint8_t mark);
  void SetCardCordoned(NodeId node, int card, bool cordoned);
  // Errors: something is on the card; it has slices of another mode then.
  Status SetCardMode(NodeId node, int card, CardMode mode);
  // What a model allows. Before nodes with such cards come: an error when one is there already
  // and the rules differ.
  Status SetCardRules(const CardRules& rules);
  const CardRules* RulesOf(ModelId model) const { return rules_[model].get(); }
  // All rules that were set, by model id.
  std::vector<CardRules> AllRules() const;
  NodeId FindNode(std::string_view name) const;  // invalid id when unknown
  NodeSpec SpecOf(NodeId node) const;

  // --- reading ---
  std::size_t node_slots() const { return hot_.size(); }  // ids are below this; some may be unused
  bool exists(NodeId node) const { return cold_[node].exists; }
  const NodeHot& hot(NodeId node) const { return hot_[node]; }
  const NodeCapacity& capacity(NodeId node) const { return capacity_[node]; }
  const std::string& name(NodeId node) const { return cold_[node].name; }
  const Digest128& name_digest(NodeId node) const { return cold_[node].name_digest; }
  std::uint32_t generation(NodeId node) const { return cold_[node].generation; }
  NodeClassId node_class(NodeId node) const { return NodeClassId(hot_[node].node_class); }
  bool cordoned(NodeId node) const { return cold_[node].cordoned; }
  // Free milli of each card that a decision may use; 0 for a card that takes nothing more.
  std::span<const std::int16_t> CardFree(NodeId node) const {
    return {card_free_.data() + hot_[node].first_card, static_cast<std::size_t>(hot_[node].cards)};
  }
  const CardState& card(NodeId node, int card) const {
    return cards_[hot_[node].first_card + static_cast<std::uint32_t>(card)];
  }
  // Cards that are handed out to pods at all, healthy or not.
  int HandedOutCards(NodeId node) const;
  std::string CardUuid(NodeId node, int card) const;
  // Pods of each workload kind on the node (kShareKind, whole-card kinds); CPU-only pods are not
  // counted. `distinct_kinds` of them are non-zero.
  int kind_count(NodeId node, int kind) const {
    return pods_[node].kind_count[static_cast<std::size_t>(kind)];
  }
  int distinct_kinds(NodeId node) const { return pods_[node].distinct_kinds; }
  int pods_on(NodeId node) const { return pods_[node].pods; }
  // How the node's cards are wired; null when unknown.
  const Machine* machine(NodeId node) const {
    const std::uint16_t m = machine_of_[node];
    return m == kNoMachine ? nullptr : &machines_[m];
  }
  // Null where nothing can be pinned.
  const NodeNuma* numa(NodeId node) const {
    const std::uint32_t n = numa_of_[node];
    return n == kNoNuma ? nullptr : &numa_[n];
  }
  bool unlimited_pods(NodeId node) const { return pods_[node].unlimited; }
  // The node is said to have one NUMA node, so that whatever runs there is aligned.
  bool single_numa(NodeId node) const { return cold_[node].numa_nodes == 1; }
  const topology::NetworkPath& network(NodeId node) const { return cold_[node].network; }

  const NodeClass& class_of(NodeClassId id) const { return classes_[id]; }
  std::size_t class_count() const { return classes_.size(); }
  const std::string& model_name(ModelId id) const { return models_[id]; }
  std::size_t model_count() const { return models_.size(); }
  ModelId FindModel(std::string_view name) const;
  const ClusterTotals& totals() const { return totals_; }
  const ModelTotals& model_totals(ModelId id) const { return model_totals_[id]; }

  // --- shapes ---
  // The spec must have passed ValidateRequest. Interning a spec that uses a new label key
  // reclassifies the nodes, once a key.
  ShapeId InternShape(const RequestSpec& spec);
  const Shape& shape(ShapeId id) const { return shapes_[id].shape; }
  std::size_t shape_count() const { return shapes_.size(); }
  bool ClassAllows(ShapeId id, NodeClassId node_class) const {
    return shapes_[id].class_ok[node_class.index()] != 0;
  }

  // The shape, but not on nodes with these marks (bit m: mark m): another shape, of the same spec.
  // For deciding only; what is held keeps the shape that was asked.
  ShapeId Closed(ShapeId id, std::uint64_t marks);
  // Models, labels, taints and marks allow the node.
  bool Admits(const ShapeEntry& entry, NodeId node) const {
    const NodeHot& h = hot_[node];
    return entry.class_ok[h.node_class] != 0 && ((entry.closed >> h.mark) & 1) == 0;
  }

  // True when the shape fits the node now. This is the only feasibility test there is.
  bool Fits(ShapeId id, NodeId node) const { return Fits(shapes_[id], node); }
  bool Fits(const ShapeEntry& entry, NodeId node) const {
    const FilterRow row = filter_[node];
    if (Below(row, entry.need)) return false;
    if (!entry.every_class_ok && !Admits(entry, node)) return false;
    if (entry.filter_decides && (row[3] & 1) == 0) return true;
    return FitsCards(entry.shape, node);
  }
  // The rows of all slots; unused slots take no pod.
  std::span<const FilterRow> FilterRows() const { return {filter_.data(), filter_.size()}; }
  bool any_complex() const { return any_complex_; }  // some node is, or was
  const ShapeEntry& shape_entry(ShapeId id) const { return shapes_[id]; }
  // Asks the processor for what a decision is about to read of the node.
  void PrefetchFilter(NodeId node) const { __builtin_prefetch(&filter_[node]); }
  void PrefetchForScore(NodeId node) const {
    __builtin_prefetch(&hot_[node]);
    __builtin_prefetch(&capacity_[node]);
  }
  void PrefetchForTake(NodeId node) const {
    const NodeHot& h = hot_[node];
    __builtin_prefetch(&pods_[node], 1);
    __builtin_prefetch(card_free_.data() + h.first_card, 1);
    const char* cards = reinterpret_cast<const char*>(cards_.data() + h.first_card);
    for (std::size_t at = 0; at < sizeof(CardState) * static_cast<std::size_t>(h.cards); at += 64) {
      __builtin_prefetch(cards + at, 1);
    }
  }
  // The cards' part of Fits, and what is planned with them: NUMA nodes, NICs, required bandwidth.
  bool FitsCards(const Shape& shape, NodeId node) const;
  bool any_aligned() const { return aligned_nodes_ > 0; }  // some node has a NUMA policy
  // True when placing the shape on the node is planned (cluster/draft.h) and not card by card.
  bool IsPlanned(const Shape& shape, NodeId node) const {
    return shape.planned || (shape.gpus > 0 && hot_[node].planned_cards) ||
           (aligned_nodes_ > 0 && numa(node) != nullptr &&
            numa(node)->policy != topology::NumaPolicy::kNone);
  }
  // Every node that the shape fits, in rank order.
  void CollectFeasible(ShapeId id, std::vector<NodeId>* nodes) const;
  // A slice of the shape fits the card: of the shape's own ask, or of some container's.
  bool CardFits(const Shape& s, NodeId node, int card) const;
  // The same for a card as it may become (a draft's); `node` and `index` say which one it is.
  bool CardFits(const Shape& s, const CardState& card, NodeId node, int index) const;
  // What one slice of the ask takes of the card, whatever is on it now. False: the model cannot
  // serve it (then the amounts are as asked). A MIG instance has no start yet.
  bool SliceOf(const Shape& s, const CardAsk& ask, const CardState& card, SliceTake* take) const;
  // What stops a slice of the ask on this card now, the first in this order.
  enum class SliceVerdict : std::uint8_t {
    kFits,
    kUnusable,    // unhealthy, cordoned, taken exclusively, or of another pool or mode
    kNotAllowed,  // model, vendor or UUID; or a size or number that the model does not have
    kSlotsUsed,   // share slots
    kComputeShort,
    kMemoryShort,
    kGuaranteedShort,  // enough memory, but only by oversubscription
    kRuleForbids,      // another QoS class, another slice size, or no MIG slots in a row
  };
  static constexpr std::size_t kSliceVerdicts = 8;
  SliceVerdict JudgeSlice(const Shape& s, const CardAsk& ask, const CardState& card,
                          SliceTake* take) const;
  bool UuidAllowed(const Shape& s, NodeId node, int card) const;
  // The card as if nothing were on it, healthy, uncordoned; of the pool that the shape asks, since
  // cards may be moved.
  CardState EmptyCard(const Shape& s, const CardState& card) const;
  // Puts a slice on the card, or takes it off (sign -1).
  void ChargeSlice(CardState& card, const SliceTake& slice, const Shape& s, int sign) const;
  // The slices that a pod of the shape has on these cards: those listed, else one a card.
  template <class Fn>
  void ForEachSlice(const Shape& s, NodeId node, CardSet cards, const NumaTake* listed,
                    const Fn& fn) const {
    if (listed != nullptr && !listed->slices.empty()) {
      for (const SliceTake& slice : listed->slices) fn(slice);
      return;
    }
    for (const int i : cards) {
      SliceTake slice;
      SliceOf(s, s.ask, card(node, i), &slice);
      slice.card = static_cast<std::int8_t>(i);
      fn(slice);
    }
  }
  int CountFittingCards(const Shape& s, NodeId node) const;
  CardSet FittingCards(const Shape& s, NodeId node) const;
  // MiB that one slice of the shape takes on the card.
  std::int32_t CardMemoryNeed(const Shape& s, const CardState& card) const;
  // Observations may take more than there is, but not without end: false when taking this would run
  // a column out of its type.
  bool CanRecord(ShapeId id, NodeId node, CardSet cards, const NumaTake* numa) const;
  // True when the shape would fit this node if nothing ran on it.
  bool FitsEmpty(ShapeId id, NodeId node) const;

  // --- order: the stored rank decides every tie ---
  // Nodes in ascending (rank, name); position is the inverse. Rebuilt after nodes came or went.
  std::span<const NodeId> order() const {
    if (order_stale_) RebuildOrder();
    return order_;
  }
  // True when the node in slot i is i-th in the order, as after nodes came in rank order.
  bool OrderIsSlotOrder() const { return order_is_slots_; }
  std::uint32_t position(NodeId node) const { return position_[node.index()]; }
  // Grows when nodes come, go or change class; every cache is void then.
  std::uint64_t structure_version() const { return structure_version_; }

  // --- change log ---
  std::uint64_t change_count() const { return change_count_; }
  // The changes since `cursor` may have been overwritten; then a cache starts afresh.
  bool ChangesAvailable(std::uint64_t cursor) const {
    return change_count_ - cursor <= change_ring_.size();
  }
  // True when the node of change `index` has not changed again: reading only these entries meets
  // each changed node once.
  bool IsLastChange(std::uint64_t index, NodeId node) const {
    return static_cast<std::uint32_t>(filter_[node][3]) >> 1 == (index & kStampMask);
  }
  // Of the changes so far but those that a transaction took back: a sum of KeptChange(node), so
  // that it says which nodes changed how often, and a dry run leaves it as it was.
  std::uint64_t kept_changes() const { return kept_changes_; }
  static std::uint64_t KeptChange(NodeId node) {
    return MixPair(node.value() + 0x9E3779B97F4A7C15ULL, 0xD6E8FEB86659FD93ULL);
  }
  NodeId ChangedNode(std::uint64_t index) const {
    return change_ring_[index & (change_ring_.size() - 1)];
  }

  // Order-free digest of names, capacities and free amounts of all nodes.
  Digest128 ComputeDigest() const;

 private:
  friend class Transaction;
  static constexpr std::uint64_t kStampMask = (std::uint64_t{1} << 30) - 1;
  struct NodeCold {
    std::string name;
    Digest128 name_digest;
    std::int64_t rank = 0;
    std::vector<LabelRequirement> labels;                     // sorted
    std::vector<std::string> taints;                          // sorted
    std::vector<std::pair<std::int16_t, std::string>> uuids;  // the cards that were given one
    std::uint32_t generation = 0;
    std::uint32_t card_rows = 0;  // from first_card on, those that are not used too
    std::int32_t numa_nodes = 1;
    topology::NetworkPath network;
    std::vector<topology::NumaAmounts> numa_spec;
    bool exists = false;
    bool cordoned = false;
  };
  struct NodePods {
    std::int32_t pods = 0;
    std::uint16_t kind_count[kWorkloadKinds] = {};
    std::uint8_t distinct_kinds = 0;
    bool unlimited = true;  // no pod limit
  };
  void RebuildOrder() const;

  // Take/Give and their exact inverses; Transaction is the only caller.
  void Apply(NodeId node, const Shape& shape, CardSet cards, int sign, const NumaTake* numa);
  Result<std::uint16_t> InternMachine(const std::string& text, const std::string& where);
  Result<std::uint16_t> MachineOf(const NodeSpec& spec);  // kNoMachine: it names none
  // All columns of a node but for its totals and what follows from them.
  void SetUp(NodeId node, const NodeSpec& spec, std::uint16_t machine);
  void DropNuma(NodeId node);
  void AddNuma(NodeId node, const NodeSpec& spec);
  void RefreshNode(NodeId node);  // derived columns, totals, change log
  void ContributeTotals(NodeId node, int sign);
  NodeClassId InternClass(NodeId node);
  void ReclassifyAll();
  void AddClassOk(ShapeEntry& entry, const NodeClass& node_class);
  bool ComputeClassOk(const Shape& shape, const NodeClass& node_class) const;
  ModelId InternModel(const std::string& name);
  bool ModelServes(const Shape& s, ModelId model) const;
  static void Charge(CardState& card, const SliceTake& slice, const Shape& s, int sign);
  void CountQos(std::uint32_t row, const Shape& s, int sign);
  // A listed slice names a profile and start that the card has, and runs no counter over.
  bool SliceRecordable(const CardState& card, const SliceTake& slice) const;
  void SetCardFlags(NodeId node);  // complex, planned_cards, CardState::serves

  IdVector<NodeId, NodeHot> hot_;
  IdVector<NodeId, FilterRow> filter_;
  IdVector<NodeId, NodePods> pods_;
  IdVector<NodeId, NodeCapacity> capacity_;
  IdVector<NodeId, NodeCold> cold_;
  std::vector<std::int16_t> card_free_;
  std::vector<CardState> cards_;
  static constexpr std::uint16_t kNoMachine = 0xFFFF;
  static constexpr std::uint32_t kNoNuma = 0xFFFFFFFF;
  IdVector<NodeId, std::uint16_t> machine_of_;
  IdVector<NodeId, std::uint32_t> numa_of_;
  std::vector<Machine> machines_;  // one a description, kept for the state's lifetime
  std::map<std::string, std::uint16_t> machine_ids_;
  std::vector<NodeNuma> numa_;
  std::vector<std::uint32_t> free_numa_;
  std::int32_t aligned_nodes_ = 0;  // nodes with a Topology Manager policy
  std::vector<NodeId> free_slots_;  // of removed nodes; the lowest is reused first
  tsl::robin_map<std::string, NodeId> by_name_;
  std::int64_t next_rank_ = 0;

  IdVector<ModelId, std::string> models_;
  IdVector<ModelId, std::shared_ptr<const CardRules>> rules_;
  std::vector<std::string> qos_names_;  // a shape's qos is its index + 1
  // Of cards whose slices must be of one class: how many are of each, by card row. More than one
  // class can only be an observation or a nomination; then nothing more is admitted.
  std::map<std::uint32_t, std::map<std::uint8_t, std::int32_t>> qos_slices_;
  IdVector<NodeClassId, NodeClass> classes_;
  std::map<NodeClass, NodeClassId> class_ids_;
  std::vector<std::string> used_label_keys_;  // sorted
  IdVector<ShapeId, ShapeEntry> shapes_;
  std::map<RequestSpec, ShapeId> shape_ids_;
  std::map<std::pair<ShapeId, std::uint64_t>, ShapeId> closed_shapes_;

  ClusterTotals totals_;
  IdVector<ModelId, ModelTotals> model_totals_;
  std::vector<UndoStep> undo_log_;   // of the open transactions
  std::vector<NodeId> change_ring_;  // size is a power of two
  std::uint64_t change_count_ = 0;
  std::uint64_t kept_changes_ = 0;
  std::uint64_t structure_version_ = 1;
  mutable std::vector<NodeId> order_;
  mutable std::vector<std::uint32_t> position_;
  bool any_complex_ = false;
  mutable bool order_stale_ = true;
  mutable bool order_is_slots_ = false;
};

}  // namespace basalt
