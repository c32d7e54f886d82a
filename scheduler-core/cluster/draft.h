// One node's amounts, copied out of the state, to try placements on: a gang puts several members on
// a node before anything is taken, and a pod that is aligned to NUMA nodes or needs a bandwidth is
// planned as a whole. A draft answers exactly as the state would after the same takes (draft_test),
// so what is planned here can be taken there. It holds no memory of its own.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <memory>

#include "scheduler-core/cluster/cards.h"
#include "scheduler-core/cluster/state.h"

namespace basalt {

struct CardPlan {
  bool fits = false;
  CardSet cards;
  std::shared_ptr<const NumaTake> numa;  // null: nothing is pinned or listed
  // The search for slices that fit together came to its end of steps: there may be some.
  bool exhausted = false;
};

class NodeDraft {
 public:
  // As it is now, or as if nothing ran there (then cordons and card health do not count: they may
  // come back). The state must outlive the draft.
  void Load(const ClusterState& state, NodeId node);
  // Modes that the shape cannot use may change, but for MIG.
  void LoadEmpty(const ClusterState& state, NodeId node, const Shape& shape);
  NodeId node() const { return node_; }

  // The whole feasibility test of the shape, but for the node's class (labels, taints, models).
  bool Fits(const Shape& shape) const;
  // Cards, NUMA nodes and NICs for one pod of the shape. Looks at cards and NUMA only.
  CardPlan PlanCards(const Shape& shape, CardRule rule, std::uint64_t seed) const;
  void Take(const Shape& shape, const CardPlan& plan);
  // How many pods of the shape fit one after another. Exact; for planned shapes by
  // trying, at most 512.
  int Copies(const Shape& shape, int at_most) const;
  // No more than this many fit in any order. Equal to Copies but for planned shapes, which Copies
  // counts by trying.
  int CopiesBound(const Shape& shape, int at_most) const;
  // For several cards a pod: a plan after which Copies is one less than before, whatever the card
  // rule would choose. Not for planned shapes.
  CardPlan PlanForCopies(const Shape& shape) const;

  // The slices listed in the plan are free and are what the shape asks of these cards.
  bool ListedFit(const Shape& shape, const CardPlan& plan) const;

  // For explanations: what alone would stop a planned shape.
  int FreeNics() const { return numa_ == nullptr ? 0 : std::popcount(nics_free_); }
  bool HasBandwidth(const Shape& shape) const;

  std::int16_t CardFree(int card) const { return free_[static_cast<std::size_t>(card)]; }
  std::int32_t CardMemoryFree(int card) const {
    return cards_[static_cast<std::size_t>(card)].memory_free;
  }
  bool CardFits(const Shape& shape, int card) const;
  CardSet FittingCards(const Shape& shape) const;
  // No shape that is not planned can tell the two cards apart.
  bool SameCards(int a, int b) const { return SameCard(*this, a, b); }
  // The same for two nodes of one class.
  bool SameAmounts(const NodeDraft& other) const;

 private:
  bool SameCard(const NodeDraft& other, int mine, int others) const;
  int CopiesByCounting(const Shape& shape, int copies) const;
  // Pods of the shape that could have a slice of the card, at most `limit`.
  std::int32_t SlicesLeft(const Shape& shape, int card, std::int32_t limit) const;
  bool Planned(const Shape& shape) const {
    return shape.planned || ListsSlices(shape) ||
           (numa_ != nullptr && numa_->policy != topology::NumaPolicy::kNone);
  }
  CardSet Pick(const CardWish& wish, CardSet from, CardRule rule, std::uint64_t seed) const;
  // The slices of one container, and the cards that its NUMA nodes allow.
  struct Want {
    int container = 0;
    const CardAsk* ask = nullptr;
    int count = 0;  // slices, on as many cards but for MIG
    CardSet from;
  };
  // Slices for all of them together (draft_slices.cc).
  void PlanSlices(const Shape& shape, std::vector<Want> wants, CardRule rule, std::uint64_t seed,
                  NumaTake* take, CardPlan* plan) const;
  bool ListsSlices(const Shape& shape) const {
    return shape.lists_slices() || (shape.gpus > 0 && planned_cards_);
  }
  friend class SliceSearch;
  CardPlan PlanAligned(const Shape& shape, CardRule rule, std::uint64_t seed) const;
  void LoadAmounts(NodeId node);

  const ClusterState* state_ = nullptr;
  NodeId node_;
  std::int32_t cpu_ = 0;
  std::int32_t memory_ = 0;
  std::int32_t pods_ = 0;
  bool schedulable_ = false;
  bool complex_ = false;
  bool planned_cards_ = false;
  bool unlimited_pods_ = false;
  int count_ = 0;
  const NodeNuma* numa_ = nullptr;  // what is installed; null: nothing can be pinned
  std::uint32_t nics_free_ = 0;
  std::array<std::int32_t, topology::kMaxNumaNodes> cpu_free_;
  std::array<std::int32_t, topology::kMaxNumaNodes> memory_free_;
  std::array<std::int16_t, kMaxCardsPerNode> free_;
  std::array<CardState, kMaxCardsPerNode> cards_;
};

// Free milli that a card can still hand out; 0 when it takes nothing more.
std::int16_t UsableMilli(const CardState& card);

}  // namespace basalt
