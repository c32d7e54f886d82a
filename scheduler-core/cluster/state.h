// The cluster's current state: plain columns over nodes and cards, and nothing a decision could not
// be replayed from. Invariants (checked by Audit in engine/engine.h):
//   free = capacity - what allocations hold, for every column;
//   the derived columns of a node (gpu_free, max_card_free, full_cards) match its cards;
//   only Transaction (cluster/transaction.h) takes and gives back.
// Every change of a node appends its id to the change log; caches hold a cursor into the log and
// catch up, so an event costs what it touches. The log never rolls back: undoing a change is one
// more entry, so a cache can never keep a score of a state that was undone.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <tsl/robin_map.h>

#include "scheduler-core/base/digest.h"
#include "scheduler-core/base/ids.h"
#include "scheduler-core/base/result.h"
#include "scheduler-core/cluster/inventory.h"
#include "scheduler-core/workload/request.h"
#include "topology/card_set.h"

namespace basalt {

// One node's hot columns, kept together: a decision that looks at a node reads one cache line here
// and one of cards.
struct NodeHot {
  std::int32_t cpu_free = 0;      // milli-cores; an observation may make it negative
  std::int32_t memory_free = 0;   // MiB
  std::int32_t pods_free = 0;
  std::int32_t gpu_free = 0;      // sum of CardFree over the node's cards, milli
  std::uint32_t first_card = 0;
  std::uint32_t node_class = 0;
  std::int16_t cards = 0;
  std::int16_t max_card_free = 0; // largest CardFree, milli
  std::int16_t full_cards = 0;    // cards with at least 1000 milli free
  bool schedulable = false;       // in the cluster and not cordoned
  bool complex = false;           // mixed models, card memory, or oversubscribed compute: look at each card
};

// A card's columns that decisions rarely need. What they always need, the free milli, is a column
// of its own (CardFree).
struct CardState {
  std::int32_t free_milli = 0;    // capacity - taken; CardFree is this, or 0 when unusable
  std::int32_t memory_free = 0;   // MiB
  std::int32_t memory_total = 0;  // MiB, 0 unknown
  std::int16_t compute_total = 0; // milli
  std::int16_t slices = 0;        // allocations on the card
  std::int16_t slots = 0;         // share slots, 0: no limit
  std::int16_t numa = -1;
  std::uint16_t model = 0;
  CardMode mode = CardMode::kShared;
  bool healthy = true;
};

struct NodeCapacity {
  std::int32_t cpu = 0;
  std::int32_t memory = 0;
  std::int32_t pods = 0;
  std::int32_t gpu_milli = 0;
};

// Sums over the schedulable nodes, kept up to date with each change.
struct ClusterTotals {
  std::int64_t nodes = 0;
  std::int64_t cards = 0;          // usable cards
  std::int64_t gpu_capacity = 0;   // milli
  std::int64_t gpu_free = 0;       // milli
  std::int64_t cpu_capacity = 0;
  std::int64_t cpu_free = 0;
  std::int64_t idle_cards = 0;     // usable cards without a slice
  std::int64_t idle_nodes = 0;     // nodes with cards and without a pod
};

// The same for the usable cards of one model, on schedulable nodes.
struct ModelTotals {
  std::int64_t cards = 0;
  std::int64_t gpu_capacity = 0;
  std::int64_t gpu_free = 0;
};

struct ShapeEntry {
  Shape shape;
  std::vector<std::uint8_t> class_ok;  // by NodeClassId: models, labels and taints allow it
};

// One step of a Transaction, enough to apply or undo it.
struct UndoStep {
  NodeId node;
  ShapeId shape;
  CardSet cards;
  int sign;
};

class ClusterState {
 public:
  ClusterState();

  // --- inventory (observations; each is an event of the Engine) ---
  Result<NodeId> AddNode(const NodeSpec& spec);
  void RemoveNode(NodeId node);                 // its allocations must be gone
  void SetCordoned(NodeId node, bool cordoned);
  void SetCardHealth(NodeId node, int card, bool healthy);
  NodeId FindNode(std::string_view name) const;  // invalid id when unknown
  NodeSpec SpecOf(NodeId node) const;

  // --- reading ---
  std::size_t node_slots() const { return hot_.size(); }  // ids are below this; some may be unused
  bool exists(NodeId node) const { return cold_[node].exists; }
  const NodeHot& hot(NodeId node) const { return hot_[node]; }
  const NodeCapacity& capacity(NodeId node) const { return cold_[node].capacity; }
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
  std::string CardUuid(NodeId node, int card) const;
  // Pods of each workload kind on the node (kShareKind, whole-card kinds); CPU-only pods are not
  // counted. `distinct_kinds` of them are non-zero.
  int kind_count(NodeId node, int kind) const {
    return cold_[node].kind_count[static_cast<std::size_t>(kind)];
  }
  int distinct_kinds(NodeId node) const { return cold_[node].distinct_kinds; }
  int pods_on(NodeId node) const { return cold_[node].pods; }

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

  // True when the shape fits the node now. This is the only feasibility test there is.
  bool Fits(ShapeId id, NodeId node) const {
    const ShapeEntry& entry = shapes_[id];
    const Shape& s = entry.shape;
    const NodeHot& h = hot_[node];
    if (h.cpu_free < s.cpu || h.memory_free < s.memory || h.pods_free < 1 || !h.schedulable) {
      return false;
    }
    if (s.gpus == 0) return entry.class_ok[h.node_class] != 0;
    if (!h.complex && s.card_memory == 0) {
      if (s.whole ? h.full_cards < s.gpus : (s.gpus == 1 && h.max_card_free < s.milli)) return false;
      if (entry.class_ok[h.node_class] == 0) return false;
      return s.whole || s.gpus == 1 || CountFittingCards(s, node) >= s.gpus;
    }
    return entry.class_ok[h.node_class] != 0 && CountFittingCards(s, node) >= s.gpus;
  }
  bool CardFits(const Shape& s, NodeId node, int card) const;
  int CountFittingCards(const Shape& s, NodeId node) const;
  CardSet FittingCards(const Shape& s, NodeId node) const;
  // MiB that one slice of the shape takes on the card.
  std::int32_t CardMemoryNeed(const Shape& s, const CardState& card) const;
  // True when the shape would fit this node if nothing ran on it.
  bool FitsEmpty(ShapeId id, NodeId node) const;

  // --- order: the stored rank decides every tie ---
  // Nodes in ascending (rank, name); position is the inverse. Rebuilt after nodes came or went.
  std::span<const NodeId> order() const;
  std::uint32_t position(NodeId node) const {
    order();
    return position_[node.index()];
  }
  // Grows when nodes come, go or change class; every cache is void then.
  std::uint64_t structure_version() const { return structure_version_; }

  // --- change log ---
  std::uint64_t change_count() const { return change_count_; }
  // The changes since `cursor` may have been overwritten; then a cache starts afresh.
  bool ChangesAvailable(std::uint64_t cursor) const {
    return change_count_ - cursor <= change_ring_.size();
  }
  NodeId ChangedNode(std::uint64_t index) const {
    return change_ring_[index & (change_ring_.size() - 1)];
  }

  // Order-free digest of names, capacities and free amounts of all nodes.
  Digest128 ComputeDigest() const;

 private:
  friend class Transaction;
  struct NodeCold {
    std::string name;
    Digest128 name_digest;
    std::int64_t rank = 0;
    NodeCapacity capacity;
    std::vector<LabelRequirement> labels;  // sorted
    std::vector<std::string> taints;       // sorted
    std::vector<std::pair<std::int16_t, std::string>> uuids;  // the cards that were given one
    std::uint32_t generation = 0;
    std::int32_t numa_nodes = 1;
    std::int32_t pods = 0;
    std::uint16_t kind_count[kWorkloadKinds] = {};
    std::uint8_t distinct_kinds = 0;
    bool exists = false;
    bool cordoned = false;
    bool unlimited_pods = true;
  };

  // Take/Give and their exact inverses; Transaction is the only caller.
  void Apply(NodeId node, const Shape& shape, CardSet cards, int sign);
  void RefreshNode(NodeId node);  // derived columns, totals, change log
  void ContributeTotals(NodeId node, int sign);
  NodeClassId InternClass(NodeId node);
  void ReclassifyAll();
  bool ComputeClassOk(const RequestSpec& spec, const NodeClass& node_class) const;
  ModelId InternModel(const std::string& name);

  IdVector<NodeId, NodeHot> hot_;
  IdVector<NodeId, NodeCold> cold_;
  std::vector<std::int16_t> card_free_;
  std::vector<CardState> cards_;
  std::vector<NodeId> free_slots_;  // of removed nodes; the lowest is reused first
  tsl::robin_map<std::string, NodeId> by_name_;
  std::int64_t next_rank_ = 0;

  IdVector<ModelId, std::string> models_;
  IdVector<NodeClassId, NodeClass> classes_;
  std::map<NodeClass, NodeClassId> class_ids_;
  std::vector<std::string> used_label_keys_;  // sorted
  IdVector<ShapeId, ShapeEntry> shapes_;
  std::map<RequestSpec, ShapeId> shape_ids_;

  ClusterTotals totals_;
  IdVector<ModelId, ModelTotals> model_totals_;
  std::vector<UndoStep> undo_log_;  // of the open transactions
  std::vector<NodeId> change_ring_;  // size is a power of two
  std::uint64_t change_count_ = 0;
  std::uint64_t structure_version_ = 1;
  mutable std::vector<NodeId> order_;
  mutable std::vector<std::uint32_t> position_;
  mutable bool order_stale_ = true;
};

}  // namespace basalt
